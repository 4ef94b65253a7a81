//! Printing routes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::{LEADING, METRICS, PROTOCOLS, VALUED, protocol_number, scope_name, table_name};
use crate::addr::Family;
use crate::plan::{NextHop, Route, RouteKind, RouteProtocol, RouteScope, TABLE_MAIN};
use crate::text::json::{Writer, array};

/// The lines of `ip route show table all`: the word `table` for all but the main one.
pub fn render(routes: &[Route]) -> String {
    routes.iter().map(|route| line(route, route.table != TABLE_MAIN)).collect()
}

/// The lines of `ip route show table N` (`ip -6 route show table N`).
pub fn render_table(routes: &[Route], family: Family, table: u32) -> String {
    let of = |route: &&Route| route.table == table && Family::of_net(route.dst) == family;
    routes.iter().filter(of).map(|route| line(route, false)).collect()
}

/// What `ip -j route show table all` prints. JSON has no place for comments.
pub fn render_json(routes: &[Route]) -> String {
    let mut out = array(routes.iter().map(object));
    out.push('\n');
    out
}

fn line(route: &Route, with_table: bool) -> String {
    let mut words: Vec<String> = Vec::new();
    if route.kind != RouteKind::Unicast {
        words.push(kind_name(route.kind).into());
    }
    words.push(destination(route.dst));
    let (leading, carried) = split_carried(route);
    words.extend(leading.iter().flat_map(|(key, value)| [key.to_string(), value.to_string()]));
    let only = only_hop(route);
    if let Some(hop) = only {
        words.extend(hop.via.map(|via| format!("via {}", router(via, route))));
        words.extend(hop.dev.as_ref().map(|dev| format!("dev {dev}")));
    }
    if is_dropping_v6(route) {
        words.push("dev lo".into());
    }
    if with_table {
        words.push(format!("table {}", table_name(route.table)));
    }
    if route.protocol != RouteProtocol::Boot {
        words.push(format!("proto {}", protocol_name(route.protocol)));
    }
    if route.scope != RouteScope::Global {
        words.push(format!("scope {}", scope_name(route.scope)));
    }
    words.extend(route.prefsrc.map(|src| format!("src {src}")));
    if has_metric(route) {
        words.push(format!("metric {}", route.metric));
    }
    words.extend(route_flags(route).into_iter().map(String::from));
    words.extend(route.mtu_bytes.map(|mtu| format!("mtu {mtu}")));
    words.extend(carried.iter().map(ToString::to_string));
    if has_default_pref(route, &carried) {
        words.push("pref medium".into());
    }
    let mut out = words.join(" ");
    if let Some(comment) = &route.comment {
        out.push_str(&format!("  # {comment}"));
    }
    out.push('\n');
    if only.is_none() {
        for hop in &route.next_hops {
            out.push_str("\tnexthop");
            out.push_str(&hop.via.map_or_else(String::new, |via| format!(" via {}", router(via, route))));
            out.push_str(&hop.dev.as_ref().map_or_else(String::new, |dev| format!(" dev {dev}")));
            out.push_str(&format!(" weight {}", hop.weight));
            hop_flags(hop).iter().for_each(|flag| out.push_str(&format!(" {flag}")));
            out.push('\n');
        }
    }
    out
}

fn object(route: &Route) -> String {
    let mut out = Writer::default();
    if route.kind != RouteKind::Unicast {
        out.text("type", kind_name(route.kind));
    }
    out.text("dst", destination(route.dst));
    let (leading, carried) = split_carried(route);
    for (key, value) in &leading {
        out.text(key, value);
    }
    let only = only_hop(route);
    if let Some(hop) = only {
        hop_object(&mut out, hop, route);
    }
    if is_dropping_v6(route) {
        out.text("dev", "lo");
    }
    if route.table != TABLE_MAIN {
        out.text("table", table_name(route.table));
    }
    if route.protocol != RouteProtocol::Boot {
        out.text("protocol", protocol_name(route.protocol));
    }
    if route.scope != RouteScope::Global {
        out.text("scope", scope_name(route.scope));
    }
    out.maybe("prefsrc", route.prefsrc);
    if has_metric(route) {
        out.raw("metric", route.metric);
    }
    out.words("flags", &route_flags(route));
    let mut metrics = Writer::default();
    if let Some(mtu) = route.mtu_bytes {
        metrics.raw("mtu", mtu);
    }
    let mut others = Vec::new();
    let mut rest = carried.iter().copied().peekable();
    while let Some(key) = rest.next() {
        let value = rest.next_if(|_| key == "pref" || METRICS.contains(&key) || VALUED.contains(&key));
        match value {
            Some(value) if METRICS.contains(&key) => _ = metrics.scalar(key, value),
            value => others.push((key, value)),
        }
    }
    let metrics = metrics.end();
    if metrics != "{}" {
        out.raw("metrics", format!("[{metrics}]"));
    }
    for (key, value) in others {
        match value {
            Some(value) => out.scalar(key, value),
            None => out.raw(key, "null"),
        };
    }
    if has_default_pref(route, &carried) {
        out.text("pref", "medium");
    }
    if only.is_none() && !route.next_hops.is_empty() {
        let hops = route.next_hops.iter().map(|hop| {
            let mut out = Writer::default();
            hop_object(&mut out, hop, route);
            out.raw("weight", hop.weight).words("flags", &hop_flags(hop));
            out.end()
        });
        out.raw("nexthops", array(hops));
    }
    out.end()
}

fn hop_object(out: &mut Writer, hop: &NextHop, route: &Route) {
    match hop.via {
        Some(via @ IpAddr::V6(_)) if Family::of_net(route.dst) == Family::V4 => {
            out.raw("via", format!(r#"{{"family":"inet6","host":"{via}"}}"#));
        }
        via => _ = out.maybe("gateway", via),
    }
    out.maybe("dev", hop.dev.as_ref());
}

/// The next hop that is printed on the route's own line.
fn only_hop(route: &Route) -> Option<&NextHop> {
    match &*route.next_hops {
        [only] if only.weight == 1 => Some(only),
        _ => None,
    }
}

fn route_flags(route: &Route) -> Vec<&'static str> {
    match only_hop(route) {
        Some(hop) => hop_flags(hop),
        // The route itself is marked when every hop is (`fib_dump_info`).
        None if Family::of_net(route.dst) == Family::V4
            && !route.next_hops.is_empty()
            && route.next_hops.iter().all(|hop| hop.linkdown) =>
        {
            Vec::from(["linkdown"])
        }
        None => Vec::new(),
    }
}

fn hop_flags(hop: &NextHop) -> Vec<&'static str> {
    [(hop.onlink, "onlink"), (hop.linkdown, "linkdown")].iter().filter(|f| f.0).map(|f| f.1).collect()
}

/// The words that go behind the destination, and the others.
fn split_carried(route: &Route) -> (Vec<(&str, &str)>, Vec<&str>) {
    let (mut leading, mut others) = (Vec::new(), Vec::new());
    let mut words = route.carried.as_deref().unwrap_or("").split(' ').filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        match LEADING.contains(&word).then(|| words.next()).flatten() {
            Some(value) => leading.push((word, value)),
            None => others.push(word),
        }
    }
    (leading, others)
}

fn has_metric(route: &Route) -> bool {
    Family::of_net(route.dst) == Family::V6 || route.metric != 0
}

fn has_default_pref(route: &Route, carried: &[&str]) -> bool {
    Family::of_net(route.dst) == Family::V6 && !carried.contains(&"pref")
}

/// IPv6 hangs a route without a next hop on `lo`.
fn is_dropping_v6(route: &Route) -> bool {
    route.next_hops.is_empty() && Family::of_net(route.dst) == Family::V6
}

fn router(via: IpAddr, route: &Route) -> String {
    if via.is_ipv6() && Family::of_net(route.dst) == Family::V4 {
        return format!("inet6 {via}");
    }
    via.to_string()
}

fn destination(dst: IpNet) -> String {
    match dst.prefix_len() {
        0 => "default".into(),
        len if len == dst.max_prefix_len() => dst.addr().to_string(),
        _ => dst.to_string(),
    }
}

fn protocol_name(protocol: RouteProtocol) -> String {
    let number = protocol_number(protocol);
    let named = PROTOCOLS.iter().find(|(known, _)| *known == number);
    named.map_or_else(|| number.to_string(), |(_, name)| (*name).into())
}

const fn kind_name(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Unicast => "unicast",
        RouteKind::Local => "local",
        RouteKind::Broadcast => "broadcast",
        RouteKind::Anycast => "anycast",
        RouteKind::Multicast => "multicast",
        RouteKind::Blackhole => "blackhole",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Prohibit => "prohibit",
        RouteKind::Throw => "throw",
    }
}
