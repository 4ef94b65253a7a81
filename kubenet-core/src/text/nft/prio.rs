//! Names of priorities (nftables `src/rule.c`).

use alloc::format;
use alloc::string::{String, ToString};

use crate::plan::netfilter::Hook;
use crate::plan::nft::TableFamily;
use crate::text::line::number;

/// How far from a name it is still used.
const REACH: i32 = 10;

/// A name, its number, and the only hook where it is printed.
type Named = (&'static str, i32, Option<Hook>);

const fn names(family: TableFamily) -> &'static [Named] {
    match family {
        TableFamily::Ip | TableFamily::Ip6 | TableFamily::Inet => &[
            ("raw", -300, None),
            ("mangle", -150, None),
            ("dstnat", -100, Some(Hook::Prerouting)),
            ("filter", 0, None),
            ("security", 50, None),
            ("srcnat", 100, Some(Hook::Postrouting)),
        ],
        TableFamily::Arp | TableFamily::Netdev => &[("filter", 0, None)],
        TableFamily::Bridge => &[
            ("dstnat", -300, Some(Hook::Prerouting)),
            ("filter", -200, None),
            ("out", 100, Some(Hook::Output)),
            ("srcnat", 300, Some(Hook::Postrouting)),
        ],
    }
}

/// `filter`, `dstnat - 10`, `-110`.
pub(super) fn read(words: &[&str], family: TableFamily) -> Option<i32> {
    let named =
        |word: &str| names(family).iter().find(|(name, ..)| *name == word).map(|(_, number, _)| *number);
    let integer = |word: &str| match word.strip_prefix('-') {
        Some(digits) => number::<i32>(digits).map(|number| -number),
        None => number(word),
    };
    match words {
        [word] => named(word).or_else(|| integer(word)),
        [word, "+", offset] => named(word)?.checked_add(number(offset)?),
        [word, "-", offset] => named(word)?.checked_sub(number(offset)?),
        _ => None,
    }
}

/// A priority as `nft list` prints it.
pub(super) fn print(priority: i32, hook: Hook, family: TableFamily) -> String {
    let near = names(family).iter().find(|(_, number, only)| {
        only.is_none_or(|only| only == hook)
            && (i64::from(*number) - i64::from(priority)).abs() <= i64::from(REACH)
    });
    match near {
        Some((name, number, _)) if *number == priority => (*name).into(),
        Some((name, number, _)) if priority > *number => format!("{name} + {}", priority - number),
        Some((name, number, _)) => format!("{name} - {}", number - priority),
        None => priority.to_string(),
    }
}
