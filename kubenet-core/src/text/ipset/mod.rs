//! `ipset save`: sets and what is in them.
//!
//! In: the lines of `ipset save`, or what `ipset restore` takes of them (`create`, `add`, `-N`, `-A`, `-exist`, `-!`). Out:
//! [`IpSet`]s. A comment stands between double quotes and holds none; ranges of addresses and ports, which `save` does not
//! print, are not read. Form: ipset 7.17 `lib/session.c`, `lib/print.c`; the order of options is that of `lib/ipset_*.c`.

mod part;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::net::IpAddr;

use self::part::{print_parts, read_parts};
use super::Parsed;
use super::line::{Line, Word, any_number, net, number};
use super::quoted::{self, Backslash, on_one_line, unquote, verbatim};
use super::reader::{Fault, Reader};
use crate::addr::Family;
use crate::plan::{IpSet, IpSetEntry, IpSetKind, IpSetOption, IpSetRange};

/// Options of a set that have a value and mean nothing to a look-up.
const SET_PAIRS: [&str; 7] = ["hashsize", "maxelem", "bucketsize", "initval", "size", "probes", "resize"];
/// Options of a set that stand alone and mean nothing to a look-up.
const SET_FLAGS: [&str; 4] = ["counters", "comment", "skbinfo", "forceadd"];
/// Options of an entry that have a value and mean nothing to a look-up, in the order in which they are printed: those before
/// the comment and those behind it.
const ENTRY_PAIRS: [&str; 5] = ["packets", "bytes", "skbmark", "skbprio", "skbqueue"];
/// How many of [`ENTRY_PAIRS`] stand before the comment.
const BEFORE_COMMENT: usize = 2;

/// Reads the sets. An entry for a set that was not created before it is told.
pub fn parse(text: &str, file: &str) -> Parsed<IpSet> {
    let mut reader = Reader::new(file);
    let mut out: Vec<IpSet> = Vec::new();
    let mut places: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for line in quoted::lines(text, Backslash::Stands) {
        let read = line.and_then(|mut line| command(&mut line, &mut out, &mut places, &mut reader));
        reader.take(read);
    }
    reader.finish(out)
}

/// What `ipset save` prints.
pub fn render<T: Borrow<IpSet>>(sets: &[T]) -> String {
    let mut out = String::new();
    for set in sets.iter().map(Borrow::borrow) {
        let name = safe(&set.name);
        out.push_str(&format!("create {name} {}", set.kind.as_str()));
        if set.kind.has_family() {
            out.push_str(if set.family == Family::V4 { " family inet" } else { " family inet6" });
        }
        for option in &set.options {
            out.push(' ');
            out.push_str(&print_option(option));
        }
        out.push('\n');
        for entry in &set.entries {
            out.push_str("add ");
            out.push_str(&name);
            out.push(' ');
            print_entry(entry, &mut out);
            out.push('\n');
        }
    }
    out
}

fn command(
    line: &mut Line<'_>,
    sets: &mut Vec<IpSet>,
    places: &mut BTreeMap<Arc<str>, usize>,
    reader: &mut Reader,
) -> Result<(), Fault> {
    let span = line.span;
    let missing = |what: &str| Fault::new(span, format!("the line ends before its {what}"));
    while line.eat("-exist") || line.eat("-!") {}
    let verb = line.next().ok_or_else(|| missing("command"))?;
    while line.eat("-exist") || line.eat("-!") {}
    match verb.text {
        "create" | "-N" | "--create" => {
            let name: Arc<str> = unquote(line.value(verb)?.text, Backslash::Stands).into();
            let set = create(line, name.clone(), reader)?;
            if places.contains_key(&name) {
                return Err(Fault::new(span, format!("set '{name}' is created twice")));
            }
            places.insert(name, sets.len());
            sets.push(set);
            Ok(())
        }
        "add" | "-A" | "--add" => {
            let word = line.value(verb)?;
            let name = unquote(word.text, Backslash::Stands);
            let set = places.get(&*name).and_then(|place| sets.get_mut(*place));
            let Some(set) = set else {
                return Err(Fault::new(word.span, format!("set '{name}' was not created before this line")));
            };
            let entry = add(line, set, reader)?;
            set.entries.push(entry);
            Ok(())
        }
        "COMMIT" | "quit" | "-q" => Ok(()),
        other => Err(Fault::new(verb.span, format!("'{other}' is neither 'create' nor 'add'"))),
    }
}

fn create(line: &mut Line<'_>, name: Arc<str>, reader: &mut Reader) -> Result<IpSet, Fault> {
    let span = line.span;
    let kind = line.next().ok_or_else(|| Fault::new(span, format!("set '{name}' has no type")))?;
    let kind =
        kind.read("a type of set", |text| IpSetKind::ALL.into_iter().find(|kind| kind.as_str() == text))?;
    let mut set = IpSet::new(name, kind, Family::V4, reader.origin(span));
    while let Some(key) = line.next() {
        let option = match key.text {
            "family" => {
                let family = line.read(key, "'inet' or 'inet6'", |text| match text {
                    "inet" => Some(Family::V4),
                    "inet6" => Some(Family::V6),
                    _ => None,
                })?;
                if kind.has_family() {
                    set.family = family;
                } else {
                    reader.note(key.span, format!("'family' means nothing to a '{}'", kind.as_str()));
                }
                continue;
            }
            "-exist" | "-!" => continue,
            "range" => IpSetOption::Range(range(line.value(key)?, kind)?),
            "netmask" => IpSetOption::Netmask(line.read(key, "a prefix length", number)?),
            "bitmask" => IpSetOption::Bitmask(line.read(key, "an address", |text| text.parse().ok())?),
            "markmask" => IpSetOption::Markmask(line.read(key, "a mark", any_number)?),
            "timeout" => IpSetOption::Timeout(line.read(key, "seconds", number)?),
            flag if SET_FLAGS.contains(&flag) => IpSetOption::Other(flag.into()),
            pair if SET_PAIRS.contains(&pair) => {
                IpSetOption::Other(format!("{pair} {}", verbatim(line.value(key)?.text)).into())
            }
            other => {
                reader.warn(key.span, format!("'{other}' of a set is kept but not modelled"));
                IpSetOption::Other(verbatim(other).into())
            }
        };
        set.options.push(option);
    }
    Ok(set)
}

fn range(word: Word<'_>, kind: IpSetKind) -> Result<IpSetRange, Fault> {
    let pair = |text: &str| -> Option<IpSetRange> {
        if kind == IpSetKind::BitmapPort {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            return Some(IpSetRange::Ports(number(first)?, number(last)?));
        }
        if let Some((first, last)) = text.split_once('-') {
            let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
            return (first.is_ipv4() == last.is_ipv4()).then_some(IpSetRange::Addrs(first, last));
        }
        let net = net(text)?;
        Some(IpSetRange::Addrs(net.network(), net.broadcast()))
    };
    word.read("a range such as 10.0.0.0-10.0.0.255 or 0-65535", pair)
}

fn add(line: &mut Line<'_>, set: &IpSet, reader: &mut Reader) -> Result<IpSetEntry, Fault> {
    let span = line.span;
    let word = line.next().ok_or_else(|| Fault::new(span, "the line ends before its entry"))?;
    let mut entry = IpSetEntry::new(read_parts(word, set)?, reader.origin(span));
    let mut carried: Vec<(usize, String)> = Vec::new();
    while let Some(key) = line.next() {
        match key.text {
            "timeout" => entry.timeout_secs = Some(line.read(key, "seconds", number)?),
            "nomatch" => entry.nomatch = true,
            "wildcard" => entry.wildcard = true,
            "comment" => {
                let comment = unquote(line.value(key)?.text, Backslash::Stands);
                entry.comment = Some(comment.into());
            }
            "-exist" | "-!" => {}
            other => match ENTRY_PAIRS.iter().position(|known| *known == other) {
                Some(rank) => carried.push((rank, format!("{other} {}", verbatim(line.value(key)?.text)))),
                None => {
                    reader.warn(key.span, format!("'{other}' of an entry is kept but not modelled"));
                    carried.push((ENTRY_PAIRS.len(), verbatim(other)));
                }
            },
        }
    }
    carried.sort_by_key(|(rank, _)| *rank);
    entry.carried = carried.into_iter().map(|(_, words)| words.into()).collect();
    Ok(entry)
}

fn print_option(option: &IpSetOption) -> String {
    match option {
        IpSetOption::Range(IpSetRange::Addrs(first, last)) => format!("range {first}-{last}"),
        IpSetOption::Range(IpSetRange::Ports(first, last)) => format!("range {first}-{last}"),
        IpSetOption::Netmask(len) => format!("netmask {len}"),
        IpSetOption::Bitmask(mask) => format!("bitmask {mask}"),
        IpSetOption::Markmask(mask) => format!("markmask 0x{mask:08x}"),
        IpSetOption::Timeout(secs) => format!("timeout {secs}"),
        IpSetOption::Other(text) => verbatim(text),
    }
}

fn print_entry(entry: &IpSetEntry, out: &mut String) {
    print_parts(&entry.parts, out);
    if let Some(secs) = entry.timeout_secs {
        out.push_str(&format!(" timeout {secs}"));
    }
    for (set, word) in [(entry.nomatch, " nomatch"), (entry.wildcard, " wildcard")] {
        out.push_str(if set { word } else { "" });
    }
    let (mut before, mut after) = (String::new(), String::new());
    for words in &entry.carried {
        let rank = ENTRY_PAIRS.iter().position(|known| words.split(' ').next() == Some(known));
        let side = if rank.is_some_and(|rank| rank < BEFORE_COMMENT) { &mut before } else { &mut after };
        side.push(' ');
        side.push_str(&verbatim(words));
    }
    out.push_str(&before);
    if let Some(comment) = &entry.comment {
        let comment: String = comment.chars().filter(|c| *c != '"').map(on_one_line).collect();
        out.push_str(&format!(" comment \"{comment}\""));
    }
    out.push_str(&after);
}

/// A name as one word: the kernel allows any bytes, the lines of `save` do not.
fn safe(name: &str) -> String {
    let plain = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '"' || c == '\0');
    if plain {
        return name.into();
    }
    let inner: String = name.chars().filter(|c| *c != '"').map(on_one_line).collect();
    format!("\"{inner}\"")
}

#[cfg(test)]
mod tests;
