//! Sysctls by their names, with `/` between the words: `net/ipv4/conf/flannel.1/rp_filter`.

use alloc::format;
use alloc::string::String;

use super::{Link, Netns, Sysctls};

/// A setting of a namespace: its name, how it is read and how it is set.
type Row = (&'static str, fn(&Sysctls) -> u32, fn(&mut Sysctls, u32));

/// `arp_ignore` of a link that answers for none of its addresses (`ip-sysctl.rst`).
const ARP_SILENT: u32 = 8;

const ROWS: [Row; 19] = [
    ("net/ipv6/conf/all/disable_ipv6", |s| s.disable_ipv6.into(), |s, v| s.disable_ipv6 = v != 0),
    ("net/ipv4/ip_forward", |s| s.ip_forward.into(), |s, v| s.ip_forward = v != 0),
    ("net/ipv6/conf/all/forwarding", |s| s.ipv6_forwarding.into(), |s, v| s.ipv6_forwarding = v != 0),
    ("net/ipv4/conf/all/rp_filter", |s| s.rp_filter.into(), |s, v| s.rp_filter = small(v)),
    ("net/ipv4/conf/all/accept_local", |s| s.accept_local.into(), |s, v| s.accept_local = v != 0),
    ("net/ipv4/conf/all/route_localnet", |s| s.route_localnet.into(), |s, v| s.route_localnet = v != 0),
    ("net/ipv4/conf/all/send_redirects", |s| s.send_redirects.into(), |s, v| s.send_redirects = v != 0),
    ("net/ipv4/conf/all/arp_ignore", |s| s.arp_ignore.into(), |s, v| s.arp_ignore = small(v)),
    (
        "net/bridge/bridge-nf-call-iptables",
        |s| s.bridge_nf_call_iptables.into(),
        |s, v| s.bridge_nf_call_iptables = v != 0,
    ),
    // The sister of the row before; what is read is told by that one.
    ("net/bridge/bridge-nf-call-ip6tables", |s| s.bridge_nf_call_iptables.into(), |_, _| {}),
    (
        "net/ipv4/fib_multipath_hash_policy",
        |s| s.fib_multipath_hash_policy.into(),
        |s, v| s.fib_multipath_hash_policy = small(v),
    ),
    (
        "net/ipv4/icmp_echo_ignore_all",
        |s| s.icmp_echo_ignore_all.into(),
        |s, v| s.icmp_echo_ignore_all = v != 0,
    ),
    ("net/ipv4/ip_default_ttl", |s| s.default_ttl.into(), |s, v| s.default_ttl = small(v)),
    ("net/netfilter/nf_conntrack_max", |s| s.conntrack.max, |s, v| s.conntrack.max = v),
    (
        "net/netfilter/nf_conntrack_tcp_timeout_established",
        |s| s.conntrack.tcp_established_secs,
        |s, v| s.conntrack.tcp_established_secs = v,
    ),
    (
        "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
        |s| s.conntrack.tcp_close_wait_secs,
        |s, v| s.conntrack.tcp_close_wait_secs = v,
    ),
    ("net/netfilter/nf_conntrack_udp_timeout", |s| s.conntrack.udp_secs, |s, v| s.conntrack.udp_secs = v),
    (
        "net/netfilter/nf_conntrack_udp_timeout_stream",
        |s| s.conntrack.udp_stream_secs,
        |s, v| s.conntrack.udp_stream_secs = v,
    ),
    (
        "net/netfilter/nf_conntrack_tcp_be_liberal",
        |s| s.conntrack.tcp_be_liberal.into(),
        |s, v| s.conntrack.tcp_be_liberal = v != 0,
    ),
];

fn small(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// The settings of a namespace with their values, in the order in which they are set.
pub fn of_netns(sysctls: &Sysctls) -> impl Iterator<Item = (&'static str, u32)> {
    ROWS.iter().map(|(key, read, _)| (*key, read(sysctls)))
}

/// The settings of a link with their values.
pub fn of_link(link: &Link) -> impl Iterator<Item = (String, u32)> {
    let silent = if link.answers_neighbours { 0 } else { ARP_SILENT };
    let rows = [
        ("rp_filter", link.rp_filter.into()),
        ("accept_local", link.accept_local.into()),
        ("route_localnet", link.route_localnet.into()),
        ("proxy_arp", link.proxy_arp.into()),
        ("arp_ignore", silent),
    ];
    rows.into_iter().map(|(name, value)| (format!("net/ipv4/conf/{}/{name}", link.name), value))
}

/// Sets a setting of a namespace or of a link of it. Whether it is one that a plan has.
pub fn set(netns: &mut Netns, key: &str, value: u32) -> bool {
    if let Some((_, _, set)) = ROWS.iter().find(|(name, ..)| *name == key) {
        set(&mut netns.sysctls, value);
        return true;
    }
    let Some((link, name)) = key.strip_prefix("net/ipv4/conf/").and_then(|rest| rest.rsplit_once('/')) else {
        return false;
    };
    let Some(link) = netns.links.iter_mut().find(|other| &*other.name == link) else { return false };
    match name {
        "rp_filter" => link.rp_filter = small(value),
        "accept_local" => link.accept_local = value != 0,
        "route_localnet" => link.route_localnet = value != 0,
        "proxy_arp" => link.proxy_arp = value != 0,
        "arp_ignore" => link.answers_neighbours = value != ARP_SILENT,
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;
    use crate::plan::{LinkKind, MacAddr};
    use alloc::string::ToString;
    use alloc::vec::Vec;

    #[test]
    fn what_is_read_under_a_name_is_what_was_set_under_it() {
        let origin = Origin::implied("a test");
        let mut netns = Netns::new("", origin.clone());
        netns.links.push(Link::new("flannel.1", LinkKind::Dummy, MacAddr::ZERO, 1500, origin));
        let all = |netns: &Netns| -> Vec<(String, u32)> {
            let own = of_netns(&netns.sysctls).map(|(key, value)| (key.to_string(), value));
            own.chain(netns.links.iter().flat_map(of_link)).collect()
        };
        for (key, value) in all(&netns) {
            let other = match (key.ends_with("/arp_ignore"), value) {
                (true, 0) => ARP_SILENT,
                (_, 0) => 1,
                _ => 0,
            };
            assert!(set(&mut netns, &key, other), "{key}");
            let there = all(&netns).contains(&(key.clone(), other));
            assert!(there || key.ends_with("call-ip6tables"), "{key}");
        }
        assert!(!set(&mut netns, "net/ipv4/conf/none/rp_filter", 1));
        assert!(!set(&mut netns, "net/ipv4/tcp_syncookies", 1));
    }
}
