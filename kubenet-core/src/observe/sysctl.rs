//! `sysctl -a`: the settings that change what happens to a packet.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::plan::Netns;

/// Reads `KEY = VALUE` lines.
pub(super) fn read(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (key, value) = line.split_once('=')?;
        Some((key.trim().replace('/', "."), value.trim().to_string()))
    };
    text.lines().filter_map(pair).collect()
}

/// Sets what the model reads. Values that are no numbers are left.
pub(super) fn apply(settings: &[(String, String)], host: &mut Netns) {
    for (key, value) in settings {
        let Ok(number) = value.parse::<u32>() else { continue };
        let small = u8::try_from(number).unwrap_or(u8::MAX);
        let on = number != 0;
        let all = &mut host.sysctls;
        match key.as_str() {
            "net.ipv4.ip_forward" => all.ip_forward = on,
            "net.ipv6.conf.all.forwarding" => all.ipv6_forwarding = on,
            "net.ipv4.conf.all.rp_filter" => all.rp_filter = small,
            "net.ipv4.conf.all.accept_local" => all.accept_local = on,
            "net.ipv4.conf.all.route_localnet" => all.route_localnet = on,
            "net.ipv4.conf.all.send_redirects" => all.send_redirects = on,
            "net.ipv4.conf.all.arp_ignore" => all.arp_ignore = small,
            "net.bridge.bridge-nf-call-iptables" => all.bridge_nf_call_iptables = on,
            "net.ipv4.fib_multipath_hash_policy" => all.fib_multipath_hash_policy = small,
            "net.ipv4.icmp_echo_ignore_all" => all.icmp_echo_ignore_all = on,
            "net.ipv6.conf.all.disable_ipv6" => all.disable_ipv6 = on,
            "net.ipv4.ip_default_ttl" => all.default_ttl = small,
            "net.netfilter.nf_conntrack_max" | "net.nf_conntrack_max" => all.conntrack.max = number,
            "net.netfilter.nf_conntrack_tcp_timeout_established" => {
                all.conntrack.tcp_established_secs = number
            }
            "net.netfilter.nf_conntrack_tcp_timeout_close_wait" => all.conntrack.tcp_close_wait_secs = number,
            "net.netfilter.nf_conntrack_udp_timeout" => all.conntrack.udp_secs = number,
            "net.netfilter.nf_conntrack_udp_timeout_stream" => all.conntrack.udp_stream_secs = number,
            "net.netfilter.nf_conntrack_tcp_be_liberal" => all.conntrack.tcp_be_liberal = on,
            other => of_link(other, small, host),
        }
    }
}

/// `net.ipv4.conf.LINK.SETTING`; a link's name may hold dots.
fn of_link(key: &str, value: u8, host: &mut Netns) {
    let Some((name, setting)) = key.strip_prefix("net.ipv4.conf.").and_then(|rest| rest.rsplit_once('.'))
    else {
        return;
    };
    let Some(link) = host.links.iter_mut().find(|link| &*link.name == name) else { return };
    match setting {
        "rp_filter" => link.rp_filter = value,
        "accept_local" => link.accept_local = value != 0,
        "route_localnet" => link.route_localnet = value != 0,
        _ => {}
    }
}
