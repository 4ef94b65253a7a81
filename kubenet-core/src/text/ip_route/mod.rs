//! `ip route`: routes of one table or of all (`table all`), both families.
//!
//! In: plain lines or `-j` JSON. Out: [`Route`]s; [`load_table`] then says what the kernel would hold. Fields that are
//! not printed have the values that iproute2 leaves out (`iproute.c print_route`): unicast, table main, proto boot, scope
//! global, metric 0 (IPv6: 1024). `default` is IPv6 when a router, a source or `pref` says so.
//!
//! Words that the model does not read are kept in [`Route::carried`] and printed again; those that choose packets or change
//! them (`tos`, `from`, `encap`, `nhid`) are told as warnings. A comment behind a route stays with it.

mod read;
mod table;
mod write;

pub use self::table::load_table;
pub use self::write::{render, render_json, render_table};
use super::Parsed;
use super::json::is_json;
use crate::plan::{Route, RouteProtocol, RouteScope, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};

/// Reads plain lines; routes without the word `table` are of the main one.
///
/// ```
/// let read = kubenet_core::text::ip_route::parse("10.244.1.0/24 via 172.18.0.4 dev eth0\n", "node-1");
/// assert_eq!(read.items[0].dst.to_string(), "10.244.1.0/24");
/// assert!(read.diagnostics.is_empty());
/// ```
pub fn parse(text: &str, file: &str) -> Parsed<Route> {
    read::plain(text, file, TABLE_MAIN)
}

/// Reads the JSON of `ip -j route`.
pub fn parse_json(text: &str, file: &str) -> Parsed<Route> {
    read::json(text, file, TABLE_MAIN)
}

/// Reads either form.
pub fn parse_any(text: &str, file: &str) -> Parsed<Route> {
    parse_table(text, file, TABLE_MAIN)
}

/// Reads either form of `ip route show table N`, which does not print the table.
pub fn parse_table(text: &str, file: &str, table: u32) -> Parsed<Route> {
    if is_json(text) { read::json(text, file, table) } else { read::plain(text, file, table) }
}

/// Carried words that iproute2 prints right behind the destination, each with one value.
const LEADING: [&str; 4] = ["from", "nhid", "tos", "dsfield"];

/// Carried words that JSON has under `metrics` (`RTAX_*`).
const METRICS: [&str; 14] = [
    "window",
    "rtt",
    "rttvar",
    "ssthresh",
    "cwnd",
    "advmss",
    "reordering",
    "hoplimit",
    "initcwnd",
    "features",
    "rto_min",
    "initrwnd",
    "quickack",
    "congctl",
];
/// Carried words with a value and no other place.
const VALUED: [&str; 9] =
    ["expires", "error", "users", "age", "mark", "uid", "realm", "realms", "ttl-propagate"];

/// Names of `rt_protos` as iproute2 has them built in.
const PROTOCOLS: [(u8, &str); 20] = [
    (0, "unspec"),
    (1, "redirect"),
    (2, "kernel"),
    (3, "boot"),
    (4, "static"),
    (8, "gated"),
    (9, "ra"),
    (10, "mrt"),
    (11, "zebra"),
    (12, "bird"),
    (13, "dnrouted"),
    (14, "xorp"),
    (15, "ntk"),
    (16, "dhcp"),
    (18, "keepalived"),
    (42, "babel"),
    (186, "bgp"),
    (187, "isis"),
    (188, "ospf"),
    (189, "rip"),
];

const fn protocol_number(protocol: RouteProtocol) -> u8 {
    match protocol {
        RouteProtocol::Unspec => 0,
        RouteProtocol::Redirect => 1,
        RouteProtocol::Kernel => 2,
        RouteProtocol::Boot => 3,
        RouteProtocol::Static => 4,
        RouteProtocol::Ra => 9,
        RouteProtocol::Bird => 12,
        RouteProtocol::Dhcp => 16,
        RouteProtocol::Bgp => 186,
        RouteProtocol::Ospf => 188,
        RouteProtocol::Other(number) => number,
    }
}

const fn protocol_of(number: u8) -> RouteProtocol {
    match number {
        0 => RouteProtocol::Unspec,
        1 => RouteProtocol::Redirect,
        2 => RouteProtocol::Kernel,
        3 => RouteProtocol::Boot,
        4 => RouteProtocol::Static,
        9 => RouteProtocol::Ra,
        12 => RouteProtocol::Bird,
        16 => RouteProtocol::Dhcp,
        186 => RouteProtocol::Bgp,
        188 => RouteProtocol::Ospf,
        other => RouteProtocol::Other(other),
    }
}

pub(super) const SCOPES: [(RouteScope, &str); 5] = [
    (RouteScope::Global, "global"),
    (RouteScope::Site, "site"),
    (RouteScope::Link, "link"),
    (RouteScope::Host, "host"),
    (RouteScope::Nowhere, "nowhere"),
];

/// A scope by name or number (`rt_scopes`).
pub(super) fn scope_of(text: &str) -> Option<RouteScope> {
    if let Some((scope, _)) = SCOPES.iter().find(|(_, name)| *name == text) {
        return Some(*scope);
    }
    Some(match super::line::number::<u8>(text)? {
        0 => RouteScope::Global,
        200 => RouteScope::Site,
        253 => RouteScope::Link,
        254 => RouteScope::Host,
        255 => RouteScope::Nowhere,
        other => RouteScope::Other(other),
    })
}

pub(super) fn scope_name(scope: RouteScope) -> alloc::string::String {
    match SCOPES.iter().find(|(known, _)| *known == scope) {
        Some((_, name)) => (*name).into(),
        None => match scope {
            RouteScope::Other(number) => alloc::format!("{number}"),
            RouteScope::Global
            | RouteScope::Site
            | RouteScope::Link
            | RouteScope::Host
            | RouteScope::Nowhere => alloc::string::String::new(),
        },
    }
}

const TABLES: [(u32, &str); 3] = [(TABLE_LOCAL, "local"), (TABLE_MAIN, "main"), (TABLE_DEFAULT, "default")];

/// A table by name or number (`rt_tables`).
pub(super) fn table_of(text: &str) -> Option<u32> {
    let named = TABLES.iter().find(|(_, name)| *name == text).map(|(id, _)| *id);
    named.or_else(|| super::line::number(text))
}

pub(super) fn table_name(table: u32) -> alloc::string::String {
    let named = TABLES.iter().find(|(id, _)| *id == table);
    named.map_or_else(|| alloc::format!("{table}"), |(_, name)| (*name).into())
}
