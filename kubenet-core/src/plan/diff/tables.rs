//! Sysctls, addresses, routes, routing rules, neighbours and forwarding entries.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::{Pair, Turn};
use crate::addr::{Family, MacAddr};
use crate::plan::change::What;
use crate::plan::{
    FdbEntry, IpRule, Link, Neighbour, NeighbourState, Netns, Route, RouteKind, RouteProtocol, RouteScope,
    RuleAction, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN, sysctl,
};

/// Sets what differs; all of a namespace that is made, since what it begins with is the kernel's choice.
pub(super) fn set_sysctls(turn: &mut Turn<'_, '_>, pair: &Pair<'_>) {
    let Some(new) = pair.new else { return };
    let mut old = pair.old.map(|old| sysctl::of_netns(&old.sysctls));
    for (key, value) in sysctl::of_netns(&new.sysctls) {
        let before = old.as_mut().and_then(Iterator::next);
        if before != Some((key, value)) {
            turn.push(&pair.name, What::Sysctl { key: key.into(), value });
        }
    }
}

/// Takes away what is not in the new plan, in the reverse order of [`add`]. What hangs on a link that goes, goes with it.
pub(super) fn take_away(turn: &mut Turn<'_, '_>, pair: &Pair<'_>) {
    let Some(old) = pair.old else { return };
    if pair.new.is_none() && !pair.name.is_empty() {
        return;
    }
    let was = Tables::of(turn, old, Side::Old);
    let shall = pair.new.map(|new| Tables::of(turn, new, Side::New)).unwrap_or_default();
    for (_, fdb) in was.fdb.iter().rev().filter(|(key, _)| !shall.fdb.contains_key(*key)) {
        turn.push(&pair.name, What::RemoveFdb((*fdb).clone()));
    }
    for (_, neighbour) in was.neighbours.iter().rev().filter(|(key, _)| !shall.neighbours.contains_key(*key))
    {
        turn.push(&pair.name, What::RemoveNeighbour((*neighbour).clone()));
    }
    for (_, rule) in was.rules.iter().rev().filter(|(key, _)| !shall.rules.contains_key(*key)) {
        turn.push(&pair.name, What::RemoveRule((*rule).clone()));
    }
    let routes = was.routes.iter().filter(|(key, _)| !shall.routes.contains_key(*key));
    let mut routes: Vec<&Route> = routes.map(|(_, route)| *route).collect();
    routes.sort_by_key(|route| core::cmp::Reverse(rank(route)));
    for route in routes {
        turn.push(&pair.name, What::RemoveRoute(route.clone()));
    }
    for (link, net) in was.addresses.keys().rev().filter(|key| !shall.addresses.contains_key(*key)) {
        turn.push(&pair.name, What::RemoveAddress { link: link.clone(), net: *net });
    }
}

/// Adds what the old plan does not have.
pub(super) fn add(turn: &mut Turn<'_, '_>, pair: &Pair<'_>) {
    let Some(new) = pair.new else { return };
    let was = pair.old.map(|old| Tables::of(turn, old, Side::Left)).unwrap_or_default();
    let shall = Tables::of(turn, new, Side::New);
    // Addresses in the order of the plan: the first of a prefix is the primary one.
    for link in &new.links {
        for address in link.addresses.iter().filter(|address| is_own_address(link, address.net)) {
            let key = (link.name.clone(), address.net);
            if was.addresses.get(&key) != shall.addresses.get(&key) {
                let (link, net) = key;
                turn.push(&pair.name, What::AddAddress { link, net, scope: address.scope });
            }
        }
    }
    let routes = shall.routes.iter().filter(|(key, _)| !was.routes.contains_key(*key));
    let mut routes: Vec<&Route> = routes.map(|(_, route)| *route).collect();
    routes.sort_by_key(|route| rank(route));
    for route in routes {
        turn.push(&pair.name, What::AddRoute(route.clone()));
    }
    for (_, rule) in shall.rules.iter().filter(|(key, _)| !was.rules.contains_key(*key)) {
        turn.push(&pair.name, What::AddRule((*rule).clone()));
    }
    for (_, neighbour) in shall.neighbours.iter().filter(|(key, _)| !was.neighbours.contains_key(*key)) {
        turn.push(&pair.name, What::AddNeighbour((*neighbour).clone()));
    }
    for (_, fdb) in shall.fdb.iter().filter(|(key, _)| !was.fdb.contains_key(*key)) {
        turn.push(&pair.name, What::AddFdb((*fdb).clone()));
    }
}

/// Routes by which others are found come first: those without a router, then those whose router is a neighbour by word, then the
/// narrow ones before the wide ones.
fn rank(route: &Route) -> (u8, core::cmp::Reverse<u8>) {
    let via = route.next_hops.iter().any(|hop| hop.via.is_some());
    let onlink = route.next_hops.iter().all(|hop| hop.onlink);
    let turn = match (via, onlink) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => 2,
    };
    (turn, core::cmp::Reverse(route.dst.prefix_len()))
}

type Hop<'p> = (Option<IpAddr>, Option<&'p str>, u32, bool);

/// All that makes a route what it is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct RouteId<'p> {
    table: u32,
    dst: IpNet,
    metric: u32,
    kind: RouteKind,
    hops: Vec<Hop<'p>>,
    protocol: RouteProtocol,
    scope: RouteScope,
    prefsrc: Option<IpAddr>,
    mtu_bytes: Option<u32>,
}

/// All that makes a routing rule what it is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct RuleId<'p> {
    family: Family,
    priority: u32,
    invert: bool,
    from: Option<IpNet>,
    to: Option<IpNet>,
    iif: Option<&'p str>,
    oif: Option<&'p str>,
    fwmark: Option<(u32, u32)>,
    action: (u8, u32),
    carried: Option<&'p str>,
}

/// All that makes a forwarding entry what it is.
type FdbId<'p> = (Arc<str>, MacAddr, Option<IpAddr>, Option<&'p str>);

/// What a namespace holds of its own doing, by what makes each thing what it is.
#[derive(Default)]
struct Tables<'p> {
    addresses: BTreeMap<(Arc<str>, IpNet), RouteScope>,
    routes: BTreeMap<RouteId<'p>, &'p Route>,
    rules: BTreeMap<RuleId<'p>, &'p IpRule>,
    neighbours: BTreeMap<(&'p str, IpAddr, Option<MacAddr>), &'p Neighbour>,
    fdb: BTreeMap<FdbId<'p>, &'p FdbEntry>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Old,
    /// What is left of the old one when all that goes is gone.
    Left,
    New,
}

impl<'p> Tables<'p> {
    fn of(turn: &Turn<'_, '_>, netns: &'p Netns, side: Side) -> Self {
        // What hangs on a link that goes is as good as gone.
        let here = |link: &Arc<str>| side == Side::New || !turn.is_gone(&netns.name, link);
        let links: BTreeMap<&str, &Link> = netns.links.iter().map(|link| (&*link.name, link)).collect();
        let mut out = Self::default();
        for link in netns.links.iter().filter(|link| here(&link.name)) {
            let own = link.addresses.iter().filter(|address| is_own_address(link, address.net));
            out.addresses.extend(own.map(|address| ((link.name.clone(), address.net), address.scope)));
        }
        // A kernel keeps no route by a link that is down or not there, and takes none to a router that no link reaches.
        let usable = |dev: &Arc<str>| here(dev) && links.get(&**dev).is_some_and(|link| link.up);
        let flushed = |route: &Route| {
            let v4 = matches!(route.dst, IpNet::V4(_));
            let mut devs = route.next_hops.iter().filter_map(|hop| hop.dev.as_ref());
            side == Side::Left && v4 && devs.any(|dev| loses_ipv4(turn, netns, dev))
        };
        for route in netns.routes.iter().filter(|route| is_own_route(route) && !flushed(route)) {
            if route.next_hops.iter().all(|hop| hop.dev.as_ref().is_some_and(usable)) || refuses(route) {
                out.routes.entry(route_id(route)).or_insert(route);
            }
        }
        out.rules.extend(netns.rules.iter().filter(|rule| !is_kernel_rule(rule)).map(|r| (rule_id(r), r)));
        for neighbour in
            netns.neighbours.iter().filter(|n| n.state == NeighbourState::Permanent && usable(&n.dev))
        {
            out.neighbours.insert((&*neighbour.dev, neighbour.addr, neighbour.mac), neighbour);
        }
        for fdb in netns.fdb.iter().filter(|fdb| fdb.permanent && here(&fdb.dev) && is_own_fdb(fdb, &links)) {
            out.fdb.insert((fdb.dev.clone(), fdb.mac, fdb.dst, fdb.master.as_deref()), fdb);
        }
        out
    }
}

/// Whether every IPv4 address of a link goes: with the last one the kernel drops all IPv4 routes by the link, until others come
/// (`fib_inetaddr_event`, `net/ipv4/fib_frontend.c`).
fn loses_ipv4(turn: &Turn<'_, '_>, old: &Netns, link: &Arc<str>) -> bool {
    let v4 = |netns: &Netns| -> Vec<IpNet> {
        let link = netns.link_named(link).map(|(_, link)| link);
        let all = link.into_iter().flat_map(|link| &link.addresses).map(|address| address.net);
        all.filter(|net| matches!(net, IpNet::V4(_))).collect()
    };
    let was = v4(old);
    let shall = turn.to.netns_named(&old.name).map(|(_, new)| v4(new)).unwrap_or_default();
    !was.is_empty() && !was.iter().any(|net| shall.contains(net))
}

/// Not one that the kernel puts there itself: those of `lo`, and the link-local address of the link's MAC address.
fn is_own_address(link: &Link, net: IpNet) -> bool {
    match net {
        IpNet::V4(v4) => !(link.mac == MacAddr::ZERO && v4.addr().is_loopback()),
        IpNet::V6(v6) => !v6.addr().is_loopback() && v6.addr() != link.mac.to_link_local(),
    }
}

/// Not one that the kernel derives from addresses.
fn is_own_route(route: &Route) -> bool {
    let of_loopback = matches!(route.dst, IpNet::V6(net) if net.addr().is_loopback());
    let of_groups = matches!(route.dst, IpNet::V6(net) if net.addr().is_multicast());
    let kernels = route.protocol == RouteProtocol::Kernel && (of_loopback || of_groups);
    route.table != TABLE_LOCAL && !kernels
}

const fn refuses(route: &Route) -> bool {
    match route.kind {
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw => true,
        RouteKind::Unicast
        | RouteKind::Local
        | RouteKind::Broadcast
        | RouteKind::Anycast
        | RouteKind::Multicast => false,
    }
}

/// Whether two routes are one for a kernel.
pub(in crate::plan) fn are_same_routes(one: &Route, other: &Route) -> bool {
    route_id(one) == route_id(other)
}

/// Whether two routing rules are one for a kernel.
pub(in crate::plan) fn are_same_ip_rules(one: &IpRule, other: &IpRule) -> bool {
    rule_id(one) == rule_id(other)
}

fn route_id(route: &Route) -> RouteId<'_> {
    let v6 = matches!(route.dst, IpNet::V6(_));
    let single = route.next_hops.len() < 2;
    let hops = route
        .next_hops
        .iter()
        .filter(|_| !refuses(route))
        .map(|hop| (hop.via, hop.dev.as_deref(), if single { 1 } else { hop.weight }, hop.onlink));
    let mut hops: Vec<Hop<'_>> = hops.collect();
    hops.sort_unstable();
    RouteId {
        table: route.table,
        dst: route.dst.trunc(),
        // 0 stands for the default of IPv6 (`IP6_RT_PRIO_USER`).
        metric: if v6 && route.metric == 0 { 1024 } else { route.metric },
        kind: route.kind,
        hops,
        protocol: route.protocol,
        // IPv6 has no scopes of routes.
        scope: if v6 || refuses(route) { RouteScope::Global } else { route.scope },
        prefsrc: route.prefsrc,
        mtu_bytes: route.mtu_bytes,
    }
}

fn rule_id(rule: &IpRule) -> RuleId<'_> {
    RuleId {
        family: rule.family,
        priority: rule.priority,
        invert: rule.invert,
        from: rule.from,
        to: rule.to,
        iif: rule.iif.as_deref(),
        oif: rule.oif.as_deref(),
        fwmark: rule.fwmark,
        action: match rule.action {
            RuleAction::Lookup(table) => (0, table),
            RuleAction::Blackhole => (1, 0),
            RuleAction::Unreachable => (2, 0),
            RuleAction::Prohibit => (3, 0),
            RuleAction::Goto(priority) => (4, priority),
            RuleAction::Nop => (5, 0),
        },
        carried: rule.carried.as_deref(),
    }
}

/// One of the three that every namespace begins with (`fib_default_rules_init`).
fn is_kernel_rule(rule: &IpRule) -> bool {
    let plain = !rule.invert
        && rule.from.is_none()
        && rule.to.is_none()
        && rule.iif.is_none()
        && rule.oif.is_none()
        && rule.fwmark.is_none();
    let kernels = [(0, TABLE_LOCAL), (32766, TABLE_MAIN), (32767, TABLE_DEFAULT)];
    plain
        && kernels
            .iter()
            .any(|(priority, table)| rule.priority == *priority && rule.action == RuleAction::Lookup(*table))
}

/// Not one that the kernel makes for a port's own address and for groups.
fn is_own_fdb(fdb: &FdbEntry, links: &BTreeMap<&str, &Link>) -> bool {
    if fdb.dst.is_some() {
        return true;
    }
    let of_link = |name: &str| links.get(name).is_some_and(|link| link.mac == fdb.mac);
    let bridge = links.get(&*fdb.dev).and_then(|link| link.port.as_ref());
    let of_bridge = bridge.is_some_and(|port| of_link(&port.bridge));
    !(fdb.mac.is_multicast() || of_link(&fdb.dev) || of_bridge)
}
