//! Addresses, routes, routing rules, neighbours and forwarding entries, as rtnetlink lists them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use kubenet_core::addr::{Family, MacAddr};
use kubenet_core::origin::Origin;
use kubenet_core::plan::{
    Address, FdbEntry, IpRule, Neighbour, NeighbourState, NextHop, Route as PlanRoute, RouteKind,
    RouteProtocol, RouteScope, RuleAction, TABLE_LOCAL,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use netlink_packet_route::neighbour::{
    self, NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
    RouteType, RouteVia,
};
use netlink_packet_route::rule::{self, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::decode;
use super::encode::PROTOCOL;
use super::socket::Route;
use crate::own::{ours, seen};

/// The names of links by their numbers.
pub(crate) type Names = BTreeMap<u32, Arc<str>>;

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

fn origin(is_ours: bool) -> Origin {
    if is_ours { ours() } else { seen() }
}

const fn scope(number: u8) -> RouteScope {
    match number {
        0 => RouteScope::Global,
        200 => RouteScope::Site,
        253 => RouteScope::Link,
        254 => RouteScope::Host,
        255 => RouteScope::Nowhere,
        other => RouteScope::Other(other),
    }
}

/// Addresses with the numbers of their links.
pub(super) fn addresses(route: &mut Route) -> io::Result<Vec<(u32, Address)>> {
    let listing = route.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    Ok(listing
        .iter()
        .filter_map(
            |message| if let RouteNetlinkMessage::NewAddress(it) = message { address(it) } else { None },
        )
        .collect())
}

fn address(message: &AddressMessage) -> Option<(u32, Address)> {
    let (mut local, mut peer, mut is_ours) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(addr) => local = Some(*addr),
            AddressAttribute::Address(addr) => peer = Some(*addr),
            AddressAttribute::Protocol(protocol) => is_ours = *protocol == AddressProtocol::Other(PROTOCOL),
            _ => {}
        }
    }
    let net = IpNet::new(local.or(peer)?, message.header.prefix_len).ok()?;
    let address = Address { net, scope: scope(message.header.scope.into()), origin: origin(is_ours) };
    Some((message.header.index, address))
}

/// Routes of all tables but `local`, which follows from the addresses.
pub(super) fn routes(route: &mut Route, names: &Names) -> io::Result<Vec<PlanRoute>> {
    let mut all = Vec::new();
    for family in FAMILIES {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let listing = route.dump(RouteNetlinkMessage::GetRoute(message))?;
        all.extend(listing.iter().filter_map(|message| {
            if let RouteNetlinkMessage::NewRoute(it) = message { one_route(it, names) } else { None }
        }));
    }
    Ok(all)
}

fn ip(addr: &RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(addr) => Some(IpAddr::V4(*addr)),
        RouteAddress::Inet6(addr) => Some(IpAddr::V6(*addr)),
        _ => None,
    }
}

fn via(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(addr) => ip(addr),
        RouteAttribute::Via(RouteVia::Inet(addr)) => Some(IpAddr::V4(*addr)),
        RouteAttribute::Via(RouteVia::Inet6(addr)) => Some(IpAddr::V6(*addr)),
        _ => None,
    }
}

fn one_route(message: &RouteMessage, names: &Names) -> Option<PlanRoute> {
    let header = &message.header;
    // What was learned of a path is no route.
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let any = match header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Anycast => RouteKind::Anycast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        _ => return None,
    };
    let number: u8 = header.protocol.into();
    let is_ours = number == PROTOCOL;
    let protocol = if is_ours { RouteProtocol::Boot } else { RouteProtocol::from_number(number) };
    let name = |index: u32| names.get(&index).cloned();
    let mut hop = NextHop {
        via: message.attributes.iter().find_map(via),
        dev: None,
        weight: 1,
        onlink: header.flags.contains(RouteFlags::Onlink),
        linkdown: header.flags.contains(RouteFlags::Linkdown),
    };
    let mut out = PlanRoute {
        kind,
        table: header.table.into(),
        protocol,
        scope: scope(header.scope.into()),
        metric: 0,
        ..PlanRoute::unicast(IpNet::new(any, 0).ok()?, None, "", origin(is_ours))
    };
    out.next_hops.clear();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(addr) => {
                out.dst = IpNet::new(ip(addr)?, header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Oif(index) => hop.dev = name(*index),
            RouteAttribute::PrefSource(addr) => out.prefsrc = ip(addr),
            RouteAttribute::Priority(metric) => out.metric = *metric,
            RouteAttribute::Table(table) => out.table = *table,
            RouteAttribute::Metrics(metrics) => {
                out.mtu_bytes = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(hops) => {
                out.next_hops.extend(hops.iter().map(|hop| one_hop(hop, names)))
            }
            _ => {}
        }
    }
    if out.next_hops.is_empty() && hop.dev.is_some() {
        out.next_hops.push(hop);
    }
    (out.table != TABLE_LOCAL).then_some(out)
}

fn one_hop(hop: &RouteNextHop, names: &Names) -> NextHop {
    NextHop {
        via: hop.attributes.iter().find_map(via),
        dev: names.get(&hop.interface_index).cloned(),
        weight: u32::from(hop.hops) + 1,
        onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
        linkdown: hop.flags.contains(RouteNextHopFlags::Linkdown),
    }
}

/// Routing rules of both families by priority, the kernel's own among them.
pub(super) fn rules(route: &mut Route) -> io::Result<Vec<IpRule>> {
    let mut all = Vec::new();
    for family in FAMILIES {
        let mut message = RuleMessage::default();
        message.header.family = family;
        let listing = route.dump(RouteNetlinkMessage::GetRule(message))?;
        all.extend(listing.iter().filter_map(|message| {
            if let RouteNetlinkMessage::NewRule(it) = message { one_rule(it) } else { None }
        }));
    }
    all.sort_by_key(|rule| rule.priority);
    Ok(all)
}

fn one_rule(message: &RuleMessage) -> Option<IpRule> {
    let header = &message.header;
    let family = match header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let mut out = IpRule {
        family,
        priority: 0,
        invert: header.flags.contains(RuleFlags::Invert),
        from: None,
        to: None,
        iif: None,
        oif: None,
        fwmark: None,
        action: RuleAction::Nop,
        carried: None,
        origin: seen(),
    };
    let (mut table, mut goto, mut mask) = (u32::from(header.table), 0, u32::MAX);
    let mut carried = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(addr) => out.from = IpNet::new(*addr, header.src_len).ok(),
            RuleAttribute::Destination(addr) => out.to = IpNet::new(*addr, header.dst_len).ok(),
            RuleAttribute::Iifname(name) => out.iif = Some(name.as_str().into()),
            RuleAttribute::Oifname(name) => out.oif = Some(name.as_str().into()),
            RuleAttribute::Priority(priority) => out.priority = *priority,
            RuleAttribute::FwMark(mark) => out.fwmark = Some((*mark, u32::MAX)),
            RuleAttribute::FwMask(bits) => mask = *bits,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Goto(priority) => goto = *priority,
            RuleAttribute::Protocol(protocol) if u8::from(*protocol) == PROTOCOL => out.origin = ours(),
            // Said of every rule, with a value that asks for nothing.
            RuleAttribute::Protocol(_)
            | RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            RuleAttribute::SuppressPrefixLen(length) => {
                carried.push(format!("suppress_prefixlength {length}"))
            }
            RuleAttribute::UidRange(range) => carried.push(format!("uidrange {}-{}", range.start, range.end)),
            RuleAttribute::L3MDev(true) => carried.push("l3mdev".into()),
            other => carried.push(format!("{other:?}")),
        }
    }
    out.fwmark = out.fwmark.map(|(mark, _)| (mark, mask));
    out.carried = (!carried.is_empty()).then(|| carried.join(" "));
    out.action = match header.action {
        rule::RuleAction::ToTable => RuleAction::Lookup(table),
        rule::RuleAction::Goto => RuleAction::Goto(goto),
        rule::RuleAction::Blackhole => RuleAction::Blackhole,
        rule::RuleAction::Unreachable => RuleAction::Unreachable,
        rule::RuleAction::Prohibit => RuleAction::Prohibit,
        _ => RuleAction::Nop,
    };
    Some(out)
}

/// Neighbours, but for what the kernel knows of groups.
pub(crate) fn neighbours(route: &mut Route, names: &Names) -> io::Result<Vec<Neighbour>> {
    let mut all = Vec::new();
    for family in FAMILIES {
        all.extend(entries(route, family)?.iter().filter_map(|it| one_neighbour(it, names)));
    }
    Ok(all)
}

/// The entries of neighbours of a family, or of forwarding (`Bridge`), as they are listed.
pub(crate) fn entries(route: &mut Route, family: AddressFamily) -> io::Result<Vec<NeighbourMessage>> {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    let listing = route.dump(RouteNetlinkMessage::GetNeighbour(message))?;
    let each = listing.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewNeighbour(message) => Some(message),
        _ => None,
    });
    Ok(each.collect())
}

fn one_neighbour(message: &NeighbourMessage, names: &Names) -> Option<Neighbour> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let state = match message.header.state {
        neighbour::NeighbourState::Permanent => NeighbourState::Permanent,
        neighbour::NeighbourState::Reachable => NeighbourState::Reachable,
        neighbour::NeighbourState::Stale => NeighbourState::Stale,
        neighbour::NeighbourState::Delay => NeighbourState::Delay,
        neighbour::NeighbourState::Probe => NeighbourState::Probe,
        neighbour::NeighbourState::Incomplete => NeighbourState::Incomplete,
        neighbour::NeighbourState::Failed => NeighbourState::Failed,
        _ => return None,
    };
    let (mut addr, mut mac, mut is_ours) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(it)) => addr = Some(IpAddr::V4(*it)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(it)) => addr = Some(IpAddr::V6(*it)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Some(decode::mac(bytes)),
            NeighbourAttribute::Protocol(protocol) => is_ours = u8::from(*protocol) == PROTOCOL,
            _ => {}
        }
    }
    let dev = names.get(&message.header.ifindex)?.clone();
    Some(Neighbour { addr: addr?, dev, mac, state, origin: origin(is_ours) })
}

/// Forwarding entries of bridges and VXLAN devices.
pub(super) fn fdb(route: &mut Route, names: &Names) -> io::Result<Vec<FdbEntry>> {
    Ok(entries(route, AddressFamily::Bridge)?.iter().filter_map(|it| one_fdb(it, names)).collect())
}

/// A forwarding entry; the same one is listed once more for each VLAN.
pub(crate) fn one_fdb(message: &NeighbourMessage, names: &Names) -> Option<FdbEntry> {
    let mut out = FdbEntry {
        mac: MacAddr::ZERO,
        dev: names.get(&message.header.ifindex)?.clone(),
        master: None,
        dst: None,
        permanent: message.header.state == neighbour::NeighbourState::Permanent,
        origin: seen(),
    };
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => out.mac = decode::mac(bytes),
            NeighbourAttribute::Controller(index) => out.master = names.get(index).cloned(),
            NeighbourAttribute::Destination(addr) => out.dst = end(addr),
            NeighbourAttribute::Vlan(_) => return None,
            _ => {}
        }
    }
    if message.header.flags.contains(NeighbourFlags::Own) {
        out.master = None;
    }
    Some(out)
}

fn end(addr: &NeighbourAddress) -> Option<IpAddr> {
    match addr {
        NeighbourAddress::Inet(addr) => Some(IpAddr::V4(*addr)),
        NeighbourAddress::Inet6(addr) => Some(IpAddr::V6(*addr)),
        NeighbourAddress::Other(bytes) => {
            let v4 = <[u8; 4]>::try_from(&**bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(&**bytes).map(IpAddr::from)).ok()
        }
        _ => None,
    }
}
