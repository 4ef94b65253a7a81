//! Requests of rtnetlink for the objects of a plan.
//!
//! Marks of what is ours: links carry the alias [`ALIAS`]; addresses, routing rules, neighbours, and routes for which the plan says no
//! other, the protocol [`PROTOCOL`].

use std::net::IpAddr;
use std::os::fd::RawFd;

use ipnet::{IpNet, Ipv6Net};
use kubenet_core::addr::{Family, MacAddr};
use kubenet_core::plan::{
    BridgePort, FdbEntry, IpRule, Neighbour, NextHop, Route, RouteKind, RouteProtocol, RouteScope,
    RuleAction, Vxlan,
};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData,
    InfoKind, InfoPortData, InfoPortKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    self, RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteType, RouteVia,
};
use netlink_packet_route::rule::{RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::socket::Request;

/// The alias of links that are made here (`ip link` shows it).
pub(crate) const ALIAS: &str = "kubenet";

/// The protocol number of addresses, routes, routing rules and neighbours that are made here. `iproute2` has no name for it.
pub(crate) const PROTOCOL: u8 = 107;

/// Hundredths of a second: the unit of a bridge's times.
const USER_HZ: u32 = 100;

/// A link as it is made.
#[derive(Debug)]
pub(crate) struct NewLink<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u32,
}

impl NewLink<'_> {
    fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(self.name.into()));
        if self.mac != MacAddr::ZERO {
            message.attributes.push(LinkAttribute::Address(self.mac.0.to_vec()));
        }
        message.attributes.push(LinkAttribute::Mtu(self.mtu));
        message
    }

    fn request(&self, kind: InfoKind, data: Option<InfoData>) -> Request {
        let mut message = self.message();
        let mut info = vec![LinkInfo::Kind(kind)];
        info.extend(data.map(LinkInfo::Data));
        message.attributes.push(LinkAttribute::LinkInfo(info));
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        Request { message: RouteNetlinkMessage::NewLink(message), flags, fine: &[] }
    }

    /// A bridge that forwards at once: no spanning tree, no snooping.
    pub(crate) fn bridge(&self, ageing_secs: u32) -> Request {
        let data = vec![
            InfoBridge::AgeingTime(ageing_secs.saturating_mul(USER_HZ)),
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
            InfoBridge::MulticastSnooping(false),
        ];
        self.request(InfoKind::Bridge, Some(InfoData::Bridge(data)))
    }

    /// A device that drops what is sent to it.
    pub(crate) fn dummy(&self) -> Request {
        self.request(InfoKind::Dummy, None)
    }

    /// A veth pair; the other end is made in the namespace of the file descriptor.
    pub(crate) fn veth(&self, peer: &NewLink<'_>, netns: RawFd, peer_up: bool) -> Request {
        let mut other = peer.message();
        other.attributes.push(LinkAttribute::NetNsFd(netns));
        if peer_up {
            other.header.flags = LinkFlags::Up;
            other.header.change_mask = LinkFlags::Up;
        }
        self.request(InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(other))))
    }

    /// A VXLAN device over the link with this number.
    pub(crate) fn vxlan(&self, vxlan: &Vxlan, over: Option<u32>) -> Request {
        let mut data =
            vec![InfoVxlan::Id(vxlan.vni), InfoVxlan::Port(vxlan.port), InfoVxlan::Learning(vxlan.learning)];
        data.extend(over.map(InfoVxlan::Link));
        data.extend(vxlan.local.map(|local| match local {
            IpAddr::V4(local) => InfoVxlan::Local(local),
            IpAddr::V6(local) => InfoVxlan::Local6(local),
        }));
        self.request(InfoKind::Vxlan, Some(InfoData::Vxlan(data)))
    }
}

fn set_link(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message
}

fn set(message: LinkMessage) -> Request {
    Request { message: RouteNetlinkMessage::SetLink(message), flags: 0, fine: &[] }
}

/// Marks a link as ours.
pub(crate) fn mark(name: &str, alias: String) -> Request {
    let mut message = set_link(name);
    message.attributes.push(LinkAttribute::IfAlias(alias));
    set(message)
}

/// The kernel makes no link-local address up by itself; a link without IPv6 needs no word.
pub(crate) fn no_address_of_its_own(name: &str) -> Request {
    let mut message = set_link(name);
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
    Request { fine: &[Errno::AFNOSUPPORT], ..set(message) }
}

/// A link goes; one that is not there is gone.
pub(crate) fn delete_link(name: &str) -> Request {
    let message = RouteNetlinkMessage::DelLink(set_link(name));
    Request { message, flags: 0, fine: &[Errno::NODEV] }
}

/// Puts a link into a group; one that is not there is not in it.
pub(crate) fn set_group(name: &str, group: u32) -> Request {
    let mut message = set_link(name);
    message.attributes.push(LinkAttribute::Group(group));
    Request { fine: &[Errno::NODEV], ..set(message) }
}

/// The links of a group go, all in one (`rtnl_group_dellink` in `net/core/rtnetlink.c`); an empty group is gone.
pub(crate) fn delete_group(group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    Request { message: RouteNetlinkMessage::DelLink(message), flags: 0, fine: &[Errno::NODEV] }
}

pub(crate) fn set_mac(name: &str, mac: MacAddr) -> Request {
    let mut message = set_link(name);
    message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    set(message)
}

pub(crate) fn set_mtu(name: &str, mtu: u32) -> Request {
    let mut message = set_link(name);
    message.attributes.push(LinkAttribute::Mtu(mtu));
    set(message)
}

pub(crate) fn set_flag(name: &str, flag: LinkFlags, on: bool) -> Request {
    let mut message = set_link(name);
    message.header.change_mask = flag;
    message.header.flags = if on { flag } else { LinkFlags::empty() };
    set(message)
}

/// Makes a link a port of the bridge with this number; 0 takes it out.
pub(crate) fn set_master(name: &str, bridge: u32) -> Request {
    let mut message = set_link(name);
    message.attributes.push(LinkAttribute::Controller(bridge));
    set(message)
}

/// Settings of a port.
pub(crate) fn set_port(name: &str, port: &BridgePort) -> Request {
    let mut message = set_link(name);
    let data = vec![InfoBridgePort::HairpinMode(port.hairpin), InfoBridgePort::Isolated(port.isolated)];
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(data)),
    ]));
    Request { message: RouteNetlinkMessage::NewLink(message), flags: 0, fine: &[] }
}

pub(crate) fn set_ageing(name: &str, secs: u32) -> Request {
    let mut message = set_link(name);
    let data = vec![InfoBridge::AgeingTime(secs.saturating_mul(USER_HZ))];
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(data)),
    ]));
    Request { message: RouteNetlinkMessage::NewLink(message), flags: 0, fine: &[] }
}

const fn family_of(addr: IpAddr) -> AddressFamily {
    match addr {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// The number of a scope.
pub(crate) const fn scope_number(scope: RouteScope) -> u8 {
    match scope {
        RouteScope::Global => 0,
        RouteScope::Site => 200,
        RouteScope::Link => 253,
        RouteScope::Host => 254,
        RouteScope::Nowhere => 255,
        RouteScope::Other(number) => number,
    }
}

fn address(index: u32, net: IpNet, scope: RouteScope) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_of(net.addr());
    message.header.prefix_len = net.prefix_len();
    message.header.index = index;
    message.header.scope = scope_number(scope).into();
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message.attributes.push(AddressAttribute::Address(net.addr()));
    message
}

/// An address that is valid at once and brings no route.
pub(crate) fn add_address(index: u32, net: IpNet, scope: RouteScope) -> Request {
    let mut message = address(index, net, scope);
    let flags = AddressFlags::Noprefixroute | AddressFlags::Nodad;
    message.attributes.push(AddressAttribute::Flags(flags));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    let message = RouteNetlinkMessage::NewAddress(message);
    Request { message, flags: NLM_F_CREATE | NLM_F_EXCL, fine: &[Errno::EXIST] }
}

/// The link-local address that IPv6 of a link needs for asking its neighbours.
pub(crate) fn add_link_local(index: u32, mac: MacAddr) -> Option<Request> {
    let net = Ipv6Net::new(mac.to_link_local(), 64).ok()?;
    (mac != MacAddr::ZERO).then(|| add_address(index, net.into(), RouteScope::Link))
}

pub(crate) fn delete_address(index: u32, net: IpNet) -> Request {
    let message = RouteNetlinkMessage::DelAddress(address(index, net, RouteScope::Global));
    Request { message, flags: 0, fine: &[Errno::ADDRNOTAVAIL, Errno::NODEV] }
}

/// Routes of which the plan does not say who made them (`boot`) are marked as ours.
const fn protocol(of: RouteProtocol) -> u8 {
    match of {
        RouteProtocol::Boot => PROTOCOL,
        other => other.number(),
    }
}

/// A route, by the numbers of its links; `None` where a link is not there.
fn route(route: &Route, index: impl Fn(&str) -> Option<u32>) -> Option<RouteMessage> {
    let mut message = RouteMessage::default();
    let v6 = matches!(route.dst, IpNet::V6(_));
    message.header.address_family = family_of(route.dst.addr());
    message.header.destination_prefix_length = route.dst.prefix_len();
    message.header.protocol = protocol(route.protocol).into();
    message.header.scope = if v6 { 0 } else { scope_number(route.scope) }.into();
    message.header.kind = kind(route.kind);
    message.header.table = u8::try_from(route.table).unwrap_or(0);
    if route.table > 255 {
        message.attributes.push(RouteAttribute::Table(route.table));
    }
    if route.dst.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.dst.addr().into()));
    }
    if let Some(source) = route.prefsrc {
        message.attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    if route.metric > 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    if let Some(mtu) = route.mtu_bytes {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    if message.header.kind != RouteType::Unicast {
        return Some(message);
    }
    let numbered = |hop: &NextHop| index(hop.dev.as_deref()?);
    match &route.next_hops[..] {
        [] => {}
        [hop] => {
            message.attributes.push(RouteAttribute::Oif(numbered(hop)?));
            message.attributes.extend(hop.via.map(|via| gateway(via, v6)));
            message.header.flags.set(RouteFlags::Onlink, hop.onlink);
        }
        hops => {
            let hops: Option<Vec<RouteNextHop>> =
                hops.iter().map(|hop| Some(next_hop(hop, numbered(hop)?, v6))).collect();
            message.attributes.push(RouteAttribute::MultiPath(hops?));
        }
    }
    Some(message)
}

fn next_hop(hop: &NextHop, index: u32, v6: bool) -> RouteNextHop {
    let mut out = RouteNextHop::default();
    out.interface_index = index;
    out.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    out.flags.set(RouteNextHopFlags::Onlink, hop.onlink);
    out.attributes.extend(hop.via.map(|via| gateway(via, v6)));
    out
}

fn gateway(via: IpAddr, v6: bool) -> RouteAttribute {
    match via {
        IpAddr::V6(via) if !v6 => RouteAttribute::Via(RouteVia::Inet6(via)),
        via => RouteAttribute::Gateway(RouteAddress::from(via)),
    }
}

const fn kind(kind: RouteKind) -> RouteType {
    match kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Local => RouteType::Local,
        RouteKind::Broadcast => RouteType::Broadcast,
        RouteKind::Anycast => RouteType::Anycast,
        RouteKind::Multicast => RouteType::Multicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
        RouteKind::Throw => RouteType::Throw,
    }
}

pub(crate) fn add_route(of: &Route, index: impl Fn(&str) -> Option<u32>) -> Option<Request> {
    // IPv4 keeps routes of one prefix and metric side by side when told to; IPv6 does by itself.
    let append = if of.dst.addr().is_ipv4() { NLM_F_APPEND } else { 0 };
    let message = RouteNetlinkMessage::NewRoute(route(of, index)?);
    Some(Request { message, flags: NLM_F_CREATE | append, fine: &[Errno::EXIST] })
}

pub(crate) fn delete_route(of: &Route, index: impl Fn(&str) -> Option<u32>) -> Option<Request> {
    let message = RouteNetlinkMessage::DelRoute(route(of, index)?);
    Some(Request { message, flags: 0, fine: &[Errno::SRCH] })
}

fn rule(rule: &IpRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.header.flags.set(RuleFlags::Invert, rule.invert);
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.push(RuleAttribute::Protocol(PROTOCOL.into()));
    if let Some(from) = rule.from {
        message.header.src_len = from.prefix_len();
        attributes.push(RuleAttribute::Source(from.addr()));
    }
    if let Some(to) = rule.to {
        message.header.dst_len = to.prefix_len();
        attributes.push(RuleAttribute::Destination(to.addr()));
    }
    attributes.extend(rule.iif.as_ref().map(|name| RuleAttribute::Iifname(name.to_string())));
    attributes.extend(rule.oif.as_ref().map(|name| RuleAttribute::Oifname(name.to_string())));
    if let Some((mark, mask)) = rule.fwmark {
        attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]);
    }
    use netlink_packet_route::rule::RuleAction as Kernel;
    message.header.action = match rule.action {
        RuleAction::Lookup(table) => {
            message.header.table = u8::try_from(table).unwrap_or(0);
            attributes.push(RuleAttribute::Table(table));
            Kernel::ToTable
        }
        RuleAction::Goto(priority) => {
            attributes.push(RuleAttribute::Goto(priority));
            Kernel::Goto
        }
        RuleAction::Blackhole => Kernel::Blackhole,
        RuleAction::Unreachable => Kernel::Unreachable,
        RuleAction::Prohibit => Kernel::Prohibit,
        RuleAction::Nop => Kernel::Nop,
    };
    message
}

pub(crate) fn add_rule(of: &IpRule) -> Request {
    let message = RouteNetlinkMessage::NewRule(rule(of));
    Request { message, flags: NLM_F_CREATE | NLM_F_EXCL, fine: &[Errno::EXIST] }
}

pub(crate) fn delete_rule(of: &IpRule) -> Request {
    let message = RouteNetlinkMessage::DelRule(rule(of));
    Request { message, flags: 0, fine: &[Errno::NOENT] }
}

fn neighbour(index: u32, of: &Neighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_of(of.addr);
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(NeighbourAttribute::Destination(match of.addr {
        IpAddr::V4(addr) => NeighbourAddress::Inet(addr),
        IpAddr::V6(addr) => NeighbourAddress::Inet6(addr),
    }));
    message
}

pub(crate) fn add_neighbour(index: u32, of: &Neighbour) -> Request {
    let mut message = neighbour(index, of);
    message.attributes.extend(of.mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())));
    message.attributes.push(NeighbourAttribute::Protocol(route::RouteProtocol::from(PROTOCOL)));
    let message = RouteNetlinkMessage::NewNeighbour(message);
    Request { message, flags: NLM_F_CREATE | NLM_F_REPLACE, fine: &[] }
}

pub(crate) fn delete_neighbour(index: u32, of: &Neighbour) -> Request {
    let message = RouteNetlinkMessage::DelNeighbour(neighbour(index, of));
    Request { message, flags: 0, fine: &[Errno::NOENT] }
}

fn fdb(index: u32, of: &FdbEntry) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = match of.master {
        Some(_) => NeighbourFlags::Controller,
        None => NeighbourFlags::Own,
    };
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(of.mac.0.to_vec()));
    message.attributes.extend(of.dst.map(|dst| {
        NeighbourAttribute::Destination(match dst {
            IpAddr::V4(dst) => NeighbourAddress::Inet(dst),
            IpAddr::V6(dst) => NeighbourAddress::Inet6(dst),
        })
    }));
    message
}

pub(crate) fn add_fdb(index: u32, of: &FdbEntry) -> Request {
    let several = of.dst.is_some() && (of.mac.is_multicast() || of.mac == MacAddr::ZERO);
    let how = if several { NLM_F_APPEND } else { NLM_F_REPLACE };
    let message = RouteNetlinkMessage::NewNeighbour(fdb(index, of));
    Request { message, flags: NLM_F_CREATE | how, fine: &[Errno::EXIST] }
}

pub(crate) fn delete_fdb(index: u32, of: &FdbEntry) -> Request {
    let message = RouteNetlinkMessage::DelNeighbour(fdb(index, of));
    Request { message, flags: 0, fine: &[Errno::NOENT] }
}
