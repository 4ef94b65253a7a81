//! A change as the command that a person would type.

use alloc::string::{String, ToString};
use core::fmt::{self, Display, Formatter, Write as _};

use super::{Change, IpsetChange, IpvsChange, LinkSetting, NftChange, Peer, What, XtChange};
use crate::addr::Family;
use crate::plan::{
    FdbEntry, IpRule, Link, LinkKind, NextHop, Route, RouteKind, RouteProtocol, RouteScope, RuleAction,
    TABLE_MAIN,
};

impl Display for Change {
    /// `ip -n NETNS …` and `ip netns exec NETNS …`, as a shell takes it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let netns = &*self.netns;
        match &self.what {
            What::AddNetns => return write!(f, "ip netns add {}", word(netns)),
            What::RemoveNetns => return write!(f, "ip netns delete {}", word(netns)),
            What::AddLink { .. }
            | What::RemoveLink { .. }
            | What::SetLink { .. }
            | What::AddAddress { .. }
            | What::RemoveAddress { .. }
            | What::AddRoute(_)
            | What::RemoveRoute(_)
            | What::AddRule(_)
            | What::RemoveRule(_)
            | What::AddNeighbour(_)
            | What::RemoveNeighbour(_)
            | What::AddFdb(_)
            | What::RemoveFdb(_) => {}
            What::Sysctl { .. } | What::Ipset(_) | What::Nft(_) | What::Xt(_) | What::Ipvs(_) => {
                if !netns.is_empty() {
                    write!(f, "ip netns exec {} ", word(netns))?;
                }
                return self.what.fmt(f);
            }
        }
        if netns.is_empty() {
            return self.what.fmt(f);
        }
        let command = self.what.to_string();
        let (tool, rest) = command.split_once(' ').unwrap_or((&command, ""));
        write!(f, "{tool} -n {} {rest}", word(netns))
    }
}

impl Display for What {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddNetns => f.write_str("ip netns add"),
            Self::RemoveNetns => f.write_str("ip netns delete"),
            Self::AddLink { link, peer } => add_link(link, peer.as_deref(), f),
            Self::RemoveLink { link, .. } => write!(f, "ip link delete {}", word(link)),
            Self::SetLink { link, setting } => set_link(&word(link), setting, f),
            Self::AddAddress { link, net, scope } => {
                write!(f, "ip addr add {net} dev {} noprefixroute", word(link))?;
                if net.addr().is_ipv6() {
                    f.write_str(" nodad")
                } else {
                    write!(f, " scope {}", Scope(*scope))
                }
            }
            Self::RemoveAddress { link, net } => write!(f, "ip addr delete {net} dev {}", word(link)),
            Self::AddRoute(it) => {
                write!(f, "ip{} route add {}", six(it.dst.addr().is_ipv6()), RouteWords(it))
            }
            Self::RemoveRoute(it) => {
                write!(f, "ip{} route delete {}", six(it.dst.addr().is_ipv6()), RouteWords(it))
            }
            Self::AddRule(it) => write!(f, "ip{} rule add {}", six(it.family == Family::V6), RuleWords(it)),
            Self::RemoveRule(it) => {
                write!(f, "ip{} rule delete {}", six(it.family == Family::V6), RuleWords(it))
            }
            Self::AddNeighbour(it) => {
                write!(f, "ip neigh replace {}", it.addr)?;
                if let Some(mac) = it.mac {
                    write!(f, " lladdr {mac}")?;
                }
                write!(f, " dev {} nud permanent", word(&it.dev))
            }
            Self::RemoveNeighbour(it) => write!(f, "ip neigh delete {} dev {}", it.addr, word(&it.dev)),
            Self::AddFdb(it) => {
                // One group of addresses has several ends.
                let several = it.dst.is_some() && (it.mac.is_multicast() || it.mac.0 == [0; 6]);
                write!(f, "bridge fdb {} {}", if several { "append" } else { "replace" }, FdbWords(it))
            }
            Self::RemoveFdb(it) => write!(f, "bridge fdb delete {}", FdbWords(it)),
            Self::Sysctl { key, value } => write!(f, "sysctl -w {}", word(&alloc::format!("{key}={value}"))),
            Self::Ipset(change) => ipset(change, f),
            Self::Nft(change) => nft(change, f),
            Self::Xt(change) => xt(change, f),
            Self::Ipvs(change) => ipvs(change, f),
        }
    }
}

/// Text as one word of a shell that ends no line and moves no cursor.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into();
    }
    let mut out = String::from(if text.chars().any(char::is_control) { "$'" } else { "'" });
    for c in text.chars() {
        match c {
            '\'' if out.starts_with('$') => out.push_str("\\'"),
            '\'' => out.push_str("'\\''"),
            '\\' if out.starts_with('$') => out.push_str("\\\\"),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

const fn six(v6: bool) -> &'static str {
    if v6 { " -6" } else { "" }
}

fn add_link(link: &Link, peer: Option<&Peer>, f: &mut Formatter<'_>) -> fmt::Result {
    let name = word(&link.name);
    write!(f, "ip link add {name} address {} mtu {} ", link.mac, link.mtu_bytes)?;
    match &link.kind {
        LinkKind::Veth { peer: other, .. } => {
            write!(f, "type veth peer name {}", word(peer.map_or(other, |peer| &peer.link.name)))?;
            let Some(Peer { netns, link }) = peer else { return Ok(()) };
            if !netns.is_empty() {
                write!(f, " netns {}", word(netns))?;
            }
            write!(f, " address {} mtu {}", link.mac, link.mtu_bytes)
        }
        LinkKind::Bridge { ageing_secs } => {
            write!(f, "type bridge ageing_time {}", u64::from(*ageing_secs) * 100)?;
            f.write_str(" forward_delay 0 stp_state 0 mcast_snooping 0")
        }
        LinkKind::Vxlan(vxlan) => {
            write!(f, "type vxlan id {} dstport {}", vxlan.vni, vxlan.port)?;
            if let Some(local) = vxlan.local {
                write!(f, " local {local}")?;
            }
            if let Some(dev) = &vxlan.dev {
                write!(f, " dev {}", word(dev))?;
            }
            f.write_str(if vxlan.learning { "" } else { " nolearning" })
        }
        LinkKind::Dummy => f.write_str("type dummy"),
        LinkKind::Nic { segment: Some(segment) } => write!(f, "type veth # to segment {}", segment.0),
        LinkKind::Nic { segment: None } => f.write_str("type veth # to nothing"),
        LinkKind::Loopback => f.write_str("type loopback"),
        LinkKind::Other(kind) => write!(f, "type {}", word(kind)),
    }
}

fn set_link(link: &str, setting: &LinkSetting, f: &mut Formatter<'_>) -> fmt::Result {
    let on = |on: bool| if on { "on" } else { "off" };
    match setting {
        LinkSetting::Mac(mac) => write!(f, "ip link set {link} address {mac}"),
        LinkSetting::Mtu(bytes) => write!(f, "ip link set {link} mtu {bytes}"),
        LinkSetting::Up(true) => write!(f, "ip link set {link} up"),
        LinkSetting::Up(false) => write!(f, "ip link set {link} down"),
        LinkSetting::Noarp(noarp) => write!(f, "ip link set {link} arp {}", on(!noarp)),
        LinkSetting::Port(None) => write!(f, "ip link set {link} nomaster"),
        LinkSetting::Port(Some(port)) => {
            // The kernel sets up a port once it is one.
            write!(
                f,
                "ip link set {link} master {} && ip link set {link} type bridge_slave ",
                word(&port.bridge)
            )?;
            write!(f, "hairpin {} isolated {}", on(port.hairpin), on(port.isolated))
        }
        LinkSetting::Ageing(secs) => {
            write!(f, "ip link set {link} type bridge ageing_time {}", u64::from(*secs) * 100)
        }
    }
}

/// A scope as `ip` names it.
struct Scope(RouteScope);

impl Display for Scope {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            RouteScope::Global => f.write_str("global"),
            RouteScope::Site => f.write_str("site"),
            RouteScope::Link => f.write_str("link"),
            RouteScope::Host => f.write_str("host"),
            RouteScope::Nowhere => f.write_str("nowhere"),
            RouteScope::Other(number) => number.fmt(f),
        }
    }
}

struct RouteWords<'r>(&'r Route);

impl Display for RouteWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let route = self.0;
        let kind = match route.kind {
            RouteKind::Unicast => "",
            RouteKind::Local => "local ",
            RouteKind::Broadcast => "broadcast ",
            RouteKind::Anycast => "anycast ",
            RouteKind::Multicast => "multicast ",
            RouteKind::Blackhole => "blackhole ",
            RouteKind::Unreachable => "unreachable ",
            RouteKind::Prohibit => "prohibit ",
            RouteKind::Throw => "throw ",
        };
        write!(f, "{kind}{}", route.dst)?;
        match &route.next_hops[..] {
            [] => {}
            [hop] => hop_words(hop, f)?,
            hops => hops.iter().try_for_each(|hop| {
                f.write_str(" nexthop")?;
                hop_words(hop, f)?;
                write!(f, " weight {}", hop.weight)
            })?,
        }
        if route.table != TABLE_MAIN {
            write!(f, " table {}", route.table)?;
        }
        if route.protocol != RouteProtocol::Boot {
            write!(f, " proto {}", route.protocol.number())?;
        }
        if !route.dst.addr().is_ipv6() && route.scope != RouteScope::Global {
            write!(f, " scope {}", Scope(route.scope))?;
        }
        if let Some(src) = route.prefsrc {
            write!(f, " src {src}")?;
        }
        if route.metric != 0 {
            write!(f, " metric {}", route.metric)?;
        }
        route.mtu_bytes.map_or(Ok(()), |mtu| write!(f, " mtu {mtu}"))
    }
}

fn hop_words(hop: &NextHop, f: &mut Formatter<'_>) -> fmt::Result {
    if let Some(via) = hop.via {
        write!(f, " via {via}")?;
    }
    if let Some(dev) = &hop.dev {
        write!(f, " dev {}", word(dev))?;
    }
    f.write_str(if hop.onlink { " onlink" } else { "" })
}

struct RuleWords<'r>(&'r IpRule);

impl Display for RuleWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rule = self.0;
        write!(f, "priority {}{}", rule.priority, if rule.invert { " not" } else { "" })?;
        for (key, net) in [("from", rule.from), ("to", rule.to)] {
            if let Some(net) = net {
                write!(f, " {key} {net}")?;
            }
        }
        for (key, link) in [("iif", &rule.iif), ("oif", &rule.oif)] {
            if let Some(link) = link {
                write!(f, " {key} {}", word(link))?;
            }
        }
        if let Some((mark, mask)) = rule.fwmark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        match rule.action {
            RuleAction::Lookup(table) => write!(f, " lookup {table}"),
            RuleAction::Blackhole => f.write_str(" blackhole"),
            RuleAction::Unreachable => f.write_str(" unreachable"),
            RuleAction::Prohibit => f.write_str(" prohibit"),
            RuleAction::Goto(priority) => write!(f, " goto {priority}"),
            RuleAction::Nop => f.write_str(" nop"),
        }
    }
}

struct FdbWords<'f>(&'f FdbEntry);

impl Display for FdbWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fdb = self.0;
        write!(f, "{} dev {}", fdb.mac, word(&fdb.dev))?;
        if let Some(dst) = fdb.dst {
            write!(f, " dst {dst}")?;
        }
        f.write_str(if fdb.master.is_some() { " master permanent" } else { " self permanent" })
    }
}

/// Names behind a `#`, a few of them.
fn some<'n>(what: &str, names: impl Iterator<Item = &'n str>, f: &mut Formatter<'_>) -> fmt::Result {
    let names: alloc::vec::Vec<&str> = names.collect();
    let Some((first, rest)) = names.split_first() else { return Ok(()) };
    write!(f, "; {what} {}", word(first))?;
    match rest.len() {
        0 => Ok(()),
        1 => write!(f, " and {}", rest.first().map(|name| word(name)).unwrap_or_default()),
        more => write!(f, " and {more} more"),
    }
}

fn ipset(change: &IpsetChange, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("ipset restore -exist # sets")?;
    some("made:", change.added.iter().map(|set| &*set.name), f)?;
    some("changed:", change.edited.iter().map(|edit| &*edit.set.name), f)?;
    some("destroyed:", change.removed.iter().map(|name| &**name), f)
}

fn nft(change: &NftChange, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("nft -f - # tables")?;
    some("made:", change.added.iter().map(|table| &*table.name), f)?;
    some("deleted:", change.removed.iter().map(|(_, name)| &**name), f)?;
    for edit in &change.edited {
        some("changed:", core::iter::once(&*edit.table), f)?;
        some("chains made:", edit.chains_added.iter().map(|chain| &*chain.name), f)?;
        some("chains replaced:", edit.chains_replaced.iter().map(|chain| &*chain.name), f)?;
        some("chains deleted:", edit.chains_removed.iter().map(|name| &**name), f)?;
        some("sets made:", edit.sets_added.iter().map(|set| &*set.name), f)?;
        some("sets deleted:", edit.sets_removed.iter().map(|set| &*set.name), f)?;
        some("elements added in", edit.elements_added.iter().map(|set| &*set.name), f)?;
        some("elements deleted in", edit.elements_removed.iter().map(|set| &*set.name), f)?;
    }
    Ok(())
}

fn xt(change: &XtChange, f: &mut Formatter<'_>) -> fmt::Result {
    let six = if change.family == Family::V6 { "6" } else { "" };
    write!(f, "ip{six}tables-restore --noflush #")?;
    for (place, edit) in change.tables.iter().enumerate() {
        write!(f, "{} table {}", if place == 0 { "" } else { ";" }, word(&edit.table))?;
        some("chains written:", edit.chains.iter().map(|chain| &*chain.name), f)?;
        some("chains deleted:", edit.removed.iter().map(|name| &**name), f)?;
        some("rules changed in", edit.builtin.iter().map(|builtin| &*builtin.chain), f)?;
    }
    Ok(())
}

fn ipvs(change: &IpvsChange, f: &mut Formatter<'_>) -> fmt::Result {
    let counts =
        [(change.added.len(), "made"), (change.edited.len(), "changed"), (change.removed.len(), "deleted")];
    f.write_str("ipvsadm --restore # virtual servers")?;
    counts.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, how)| write!(f, "; {count} {how}"))
}
