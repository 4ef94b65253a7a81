//! Printing links.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ipnet::IpNet;

use super::Details;
use crate::addr::MacAddr;
use crate::plan::{Address, Link, LinkKind, MachinePlan, RouteScope};
use crate::text::ip_route::scope_name;
use crate::text::json::{Writer, array};

/// Which command is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::text) enum With {
    /// `ip link`.
    Links,
    /// `ip addr`.
    Addresses,
}

/// What both forms print of a link.
struct Shown<'p> {
    ifindex: usize,
    link: &'p Link,
    /// `@veth1`, in the same namespace.
    partner: Option<&'p str>,
    /// `@if5 link-netnsid 1`, in another.
    elsewhere: Option<(usize, u32)>,
    flags: Vec<&'static str>,
    qdisc: &'static str,
    state: &'static str,
    link_type: &'static str,
    brd: MacAddr,
}

pub(in crate::text) fn lines_of(machine: &MachinePlan, netns: usize, details: Details, with: With) -> String {
    let Some(plan) = machine.netns.get(netns) else { return String::new() };
    let links = plan.links.iter().enumerate();
    links.map(|(place, link)| lines(&Shown::new(machine, netns, place, link), details, with)).collect()
}

pub(in crate::text) fn json_of(machine: &MachinePlan, netns: usize, details: Details, with: With) -> String {
    let links = machine.netns.get(netns).into_iter().flat_map(|plan| {
        let links = plan.links.iter().enumerate();
        links.map(move |(place, link)| object(&Shown::new(machine, netns, place, link), details, with))
    });
    format!("{}\n", array(links))
}

impl<'p> Shown<'p> {
    fn new(machine: &'p MachinePlan, netns: usize, place: usize, link: &'p Link) -> Self {
        let (mut partner, mut elsewhere) = (None, None);
        if let LinkKind::Veth { peer_netns, peer } = &link.kind {
            if *peer_netns as usize == netns {
                partner = Some(&**peer);
            } else {
                let there = machine.netns.get(*peer_netns as usize).and_then(|n| n.link_named(peer));
                elsewhere = Some((there.map_or(0, |(place, _)| place + 1), *peer_netns));
            }
        }
        let loopback = link.kind == LinkKind::Loopback;
        let stacked = matches!(link.kind, LinkKind::Veth { .. });
        let has_state =
            matches!(link.kind, LinkKind::Veth { .. } | LinkKind::Bridge { .. } | LinkKind::Nic { .. });
        let mut flags = Vec::new();
        let all = [
            (link.up && !link.carrier, "NO-CARRIER"),
            (loopback, "LOOPBACK"),
            (!loopback, "BROADCAST"),
            (!loopback && !link.noarp, "MULTICAST"),
            (link.noarp, "NOARP"),
            (link.up, "UP"),
            (link.up && link.carrier, "LOWER_UP"),
            (link.up && !link.carrier && stacked, "M-DOWN"),
        ];
        flags.extend(all.iter().filter(|flag| flag.0).map(|flag| flag.1));
        let state = match (link.up, link.carrier) {
            (false, _) => "DOWN",
            (true, true) if has_state => "UP",
            (true, true) => "UNKNOWN",
            (true, false) if stacked => "LOWERLAYERDOWN",
            (true, false) => "DOWN",
        };
        Self {
            ifindex: place + 1,
            link,
            partner,
            elsewhere,
            flags,
            qdisc: match (link.up, &link.kind) {
                (false, _) => "noop",
                (true, LinkKind::Nic { .. }) => "mq",
                (true, _) => "noqueue",
            },
            state,
            link_type: if loopback { "loopback" } else { "ether" },
            brd: if loopback { MacAddr::ZERO } else { MacAddr::BROADCAST },
        }
    }
}

fn lines(shown: &Shown<'_>, details: Details, with: With) -> String {
    let link = shown.link;
    let partner = match (shown.partner, shown.elsewhere) {
        (Some(name), _) => format!("@{name}"),
        (None, Some((index, _))) => format!("@if{index}"),
        (None, None) => String::new(),
    };
    let mut out = format!(
        "{}: {}{partner}: <{}> mtu {} qdisc {}",
        shown.ifindex,
        link.name,
        shown.flags.join(","),
        link.mtu_bytes,
        shown.qdisc
    );
    if let Some(port) = &link.port {
        out.push_str(&format!(" master {}", port.bridge));
    }
    out.push_str(&format!(" state {}", shown.state));
    if with == With::Links {
        out.push_str(" mode DEFAULT");
    }
    out.push_str(&format!(
        " group default qlen 1000\n    link/{} {} brd {}",
        shown.link_type, link.mac, shown.brd
    ));
    if let Some((_, netns)) = shown.elsewhere {
        out.push_str(&format!(" link-netnsid {netns}"));
    }
    if details == Details::Show {
        out.push_str(&format!(" promiscuity {}", u8::from(link.port.is_some())));
    }
    out.push('\n');
    if details == Details::Show {
        if let Some(kind) = kind_line(link) {
            out.push_str(&format!("    {kind}\n"));
        }
        if let Some(port) = &link.port {
            let (hairpin, isolated) = (on(port.hairpin), on(port.isolated));
            out.push_str(&format!("    bridge_slave hairpin {hairpin} isolated {isolated}\n"));
        }
    }
    if with == With::Addresses {
        for (place, address) in link.addresses.iter().enumerate() {
            out.push_str(&address_lines(link, place, address));
        }
    }
    out
}

fn kind_line(link: &Link) -> Option<String> {
    Some(match &link.kind {
        LinkKind::Loopback | LinkKind::Nic { .. } => return None,
        LinkKind::Veth { .. } => "veth".into(),
        LinkKind::Bridge { ageing_secs } => format!("bridge ageing_time {}", centisecs(*ageing_secs)),
        LinkKind::Vxlan(vxlan) => {
            let mut out = format!("vxlan id {}", vxlan.vni);
            out.push_str(&vxlan.local.map_or_else(String::new, |local| format!(" local {local}")));
            out.push_str(&vxlan.dev.as_ref().map_or_else(String::new, |dev| format!(" dev {dev}")));
            out.push_str(&format!(" dstport {}", vxlan.port));
            if !vxlan.learning {
                out.push_str(" nolearning");
            }
            out
        }
        LinkKind::Dummy => "dummy".into(),
        LinkKind::Other(kind) => kind.clone(),
    })
}

/// `USER_HZ` is 100.
fn centisecs(secs: u32) -> u64 {
    u64::from(secs) * 100
}

const fn on(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn address_lines(link: &Link, place: usize, address: &Address) -> String {
    let mut out = match address.net {
        IpNet::V4(net) => format!("    inet {net}"),
        IpNet::V6(net) => format!("    inet6 {net}"),
    };
    if let Some(broadcast) = broadcast_of(address) {
        out.push_str(&format!(" brd {broadcast}"));
    }
    out.push_str(&format!(" scope {}", scope_name(address.scope)));
    if is_secondary(link, place, address) {
        out.push_str(" secondary");
    }
    if address.net.addr().is_ipv4() {
        out.push_str(&format!(" {}", link.name));
    }
    out.push_str("\n       valid_lft forever preferred_lft forever\n");
    out
}

fn broadcast_of(address: &Address) -> Option<core::net::Ipv4Addr> {
    match address.net {
        IpNet::V4(net) if net.prefix_len() < 31 && address.scope != RouteScope::Host => Some(net.broadcast()),
        IpNet::V4(_) | IpNet::V6(_) => None,
    }
}

/// IPv4 marks what shares its subnet with an address before it (`__inet_insert_ifa`).
fn is_secondary(link: &Link, place: usize, address: &Address) -> bool {
    let same = |other: &Address| other.net.trunc() == address.net.trunc();
    address.net.addr().is_ipv4() && link.addresses.iter().take(place).any(same)
}

fn object(shown: &Shown<'_>, details: Details, with: With) -> String {
    let link = shown.link;
    let mut out = Writer::default();
    out.raw("ifindex", shown.ifindex);
    match (shown.partner, shown.elsewhere) {
        (Some(name), _) => _ = out.text("link", name),
        (None, Some((index, _))) => _ = out.raw("link_index", index),
        (None, None) => {}
    }
    out.text("ifname", &link.name).words("flags", &shown.flags).raw("mtu", link.mtu_bytes);
    out.text("qdisc", shown.qdisc).maybe("master", link.port.as_ref().map(|port| &port.bridge));
    out.text("operstate", shown.state);
    if with == With::Links {
        out.text("linkmode", "DEFAULT");
    }
    out.text("group", "default").raw("txqlen", 1000).text("link_type", shown.link_type);
    out.text("address", link.mac).text("broadcast", shown.brd);
    if let Some((_, netns)) = shown.elsewhere {
        out.raw("link_netnsid", netns);
    }
    if details == Details::Show {
        out.raw("promiscuity", u8::from(link.port.is_some()));
    }
    if details == Details::Show
        && let Some(info) = link_info(link)
    {
        out.raw("linkinfo", info);
    }
    if with == With::Addresses {
        let addresses = link.addresses.iter().enumerate();
        out.raw("addr_info", array(addresses.map(|(place, address)| address_object(link, place, address))));
    }
    out.end()
}

fn link_info(link: &Link) -> Option<String> {
    let mut out = Writer::default();
    let mut data = Writer::default();
    match &link.kind {
        LinkKind::Loopback | LinkKind::Nic { .. } => {}
        LinkKind::Veth { .. } => _ = out.text("info_kind", "veth"),
        LinkKind::Bridge { ageing_secs } => {
            data.raw("ageing_time", centisecs(*ageing_secs));
            out.text("info_kind", "bridge").raw("info_data", data.end());
        }
        LinkKind::Vxlan(vxlan) => {
            data.raw("id", vxlan.vni);
            let key = if vxlan.local.is_some_and(|local| local.is_ipv6()) { "local6" } else { "local" };
            data.maybe(key, vxlan.local).maybe("link", vxlan.dev.as_ref());
            data.raw("port", vxlan.port).raw("learning", vxlan.learning);
            out.text("info_kind", "vxlan").raw("info_data", data.end());
        }
        LinkKind::Dummy => _ = out.text("info_kind", "dummy"),
        LinkKind::Other(kind) => _ = out.text("info_kind", kind),
    }
    if let Some(port) = &link.port {
        let mut slave = Writer::default();
        slave.raw("hairpin", port.hairpin).raw("isolated", port.isolated);
        out.text("info_slave_kind", "bridge").raw("info_slave_data", slave.end());
    }
    Some(out.end()).filter(|info| info != "{}")
}

fn address_object(link: &Link, place: usize, address: &Address) -> String {
    let mut out = Writer::default();
    let v4 = address.net.addr().is_ipv4();
    out.text("family", if v4 { "inet" } else { "inet6" }).text("local", address.net.addr());
    out.raw("prefixlen", address.net.prefix_len()).maybe("broadcast", broadcast_of(address));
    out.text("scope", scope_name(address.scope));
    if is_secondary(link, place, address) {
        out.raw("secondary", true);
    }
    if v4 {
        out.text("label", link.name.to_string());
    }
    out.raw("valid_life_time", u32::MAX).raw("preferred_life_time", u32::MAX);
    out.end()
}
