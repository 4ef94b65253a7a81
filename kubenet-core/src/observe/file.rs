//! What a file of a dump is: by its name, or else by what stands in it.

use crate::addr::Family;
use crate::text::iptables_save;

/// A table of a node that a file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `ip link`.
    Links,
    /// `ip addr`.
    Addresses,
    /// `ip route`, of either family and any table.
    Routes,
    /// `ip rule`.
    Rules(Family),
    /// `ip neigh`.
    Neighbours,
    /// `bridge fdb`.
    Fdb,
    /// `ss -lntu`.
    Sockets,
    /// `iptables-save`, `ip6tables-save`.
    Iptables(Family),
    /// `nft list ruleset`.
    Nft,
    /// `ipset save`.
    Ipsets,
    /// `ipvsadm -Sn`, `/proc/net/ip_vs`.
    Ipvs,
    /// `conntrack -L`.
    Conntrack,
    /// `sysctl -a`.
    Sysctl,
}

/// Words in a file's name, longest meaning first.
const NAMES: [(&str, Kind); 22] = [
    ("ip6tables", Kind::Iptables(Family::V6)),
    ("iptables", Kind::Iptables(Family::V4)),
    ("ip-6-route", Kind::Routes),
    ("ip6-route", Kind::Routes),
    ("ip-route", Kind::Routes),
    ("ip_route", Kind::Routes),
    ("ip-6-rule", Kind::Rules(Family::V6)),
    ("ip6-rule", Kind::Rules(Family::V6)),
    ("ip-rule", Kind::Rules(Family::V4)),
    ("ip-addr", Kind::Addresses),
    ("ip_addr", Kind::Addresses),
    ("ip-link", Kind::Links),
    ("ip_link", Kind::Links),
    ("ip-neigh", Kind::Neighbours),
    ("bridge-fdb", Kind::Fdb),
    ("ipset", Kind::Ipsets),
    ("ipvsadm", Kind::Ipvs),
    ("ip_vs", Kind::Ipvs),
    ("conntrack", Kind::Conntrack),
    ("sysctl", Kind::Sysctl),
    ("nft", Kind::Nft),
    ("ss-", Kind::Sockets),
];

impl Kind {
    /// What a file is. The name is that of the file alone, without its folder.
    pub fn of(name: &str, text: &str) -> Option<Self> {
        let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let by_name = NAMES.iter().find(|(word, _)| file.contains(word)).map(|(_, kind)| *kind);
        match by_name {
            // The heading knows better than a name that is often cut short.
            Some(Self::Iptables(family)) => {
                Some(Self::Iptables(iptables_save::family_of(text).unwrap_or(family)))
            }
            Some(kind) => Some(kind),
            None if file.starts_with("ss.") => Some(Self::Sockets),
            None => Self::of_content(text),
        }
    }

    fn of_content(text: &str) -> Option<Self> {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let line = line.unwrap_or_default();
        let table = ["*filter", "*nat", "*mangle", "*raw", "*security"].contains(&line);
        if table {
            return Some(Self::Iptables(iptables_save::family_of(text).unwrap_or(Family::V4)));
        }
        let mut words = line.split_whitespace();
        match (words.next()?, words.next()) {
            ("table", Some("ip" | "ip6" | "inet" | "arp" | "bridge" | "netdev")) => Some(Self::Nft),
            ("create", Some(_)) if line.contains(':') => Some(Self::Ipsets),
            ("-A", Some("-t" | "-u" | "-f" | "--sctp-service")) | ("IP", Some("Virtual")) => Some(Self::Ipvs),
            ("tcp" | "udp" | "icmp" | "sctp" | "ipv4" | "ipv6", Some(_)) if line.contains(" src=") => {
                Some(Self::Conntrack)
            }
            ("1:", Some("lo:")) if text.contains(" inet") => Some(Self::Addresses),
            ("1:", Some("lo:")) => Some(Self::Links),
            ("default", Some("via" | "dev")) => Some(Self::Routes),
            (key, Some("=")) if key.starts_with("net.") => Some(Self::Sysctl),
            _ => None,
        }
    }
}
