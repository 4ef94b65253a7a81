//! Silent neighbours: links that answer neither ARP nor neighbour solicitations, while all else works.
//!
//! In: the links. Out: two tables of `nft` of our own that drop answers on their way out (the hook `output` of family `arp`, and
//! advertisements of ICMPv6); none where no link is silent.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::netns::Netns;
use crate::tool::{self, ToolError};

/// The tables' name.
const TABLE: &str = "kubenet-silence";

/// Silences these links, and no others.
pub(super) fn set(netns: &Netns, links: &BTreeSet<Arc<str>>) -> Result<(), ToolError> {
    tool::run(netns, "nft", &["-f", "-"], &script(links)).map(drop)
}

fn script(links: &BTreeSet<Arc<str>>) -> String {
    let mut text = String::new();
    for family in ["arp", "ip6"] {
        // Made if it is not there, so that it can be removed.
        text += &format!("add table {family} {TABLE}\ndelete table {family} {TABLE}\n");
    }
    if links.is_empty() {
        return text;
    }
    let quoted: Vec<String> =
        links.iter().map(|link| format!("\"{}\"", link.replace(['"', '\n'], "_"))).collect();
    let names = quoted.join(", ");
    for (family, answer) in [("arp", "arp operation reply"), ("ip6", "icmpv6 type nd-neighbor-advert")] {
        text += &format!("add table {family} {TABLE}\n");
        text += &format!(
            "add chain {family} {TABLE} output {{ type filter hook output priority 0; policy accept; }}\n"
        );
        text += &format!("add rule {family} {TABLE} output oifname {{ {names} }} {answer} drop\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_silent_links_are_dropped_and_nothing_is_left_without_any() {
        let text = script(&BTreeSet::from(["eth0".into(), "a\"b".into()]));
        let rule = "oifname { \"a_b\", \"eth0\" } arp operation reply drop";
        assert!(text.contains(rule), "{text}");
        assert!(text.contains("icmpv6 type nd-neighbor-advert drop"), "{text}");
        assert!(!script(&BTreeSet::new()).contains("add chain"));
    }
}
