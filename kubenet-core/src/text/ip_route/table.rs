//! A list of routes, added one by one: the table that the kernel would then hold.
//!
//! Sources: `net/ipv4/fib_trie.c fib_table_insert` (equal prefix, TOS and priority: EEXIST), `net/ipv6/ip6_fib.c
//! fib6_add_rt2node`. O(n log n).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::net::IpAddr;

use ipnet::IpNet;

use crate::addr::Family;
use crate::origin::Diagnostic;
use crate::plan::{Route, RouteProtocol};
use crate::text::Parsed;

/// Adds the routes in order, each as `ip route add` does, and sorts what is held as `ip route show` prints it.
///
/// Of two routes with the same table, destination, TOS and metric the first stays, and the second is told as
/// `route-exists` (EEXIST), whatever its next hop. The kernel itself appends instead: its own routes (`proto kernel`, and
/// those of IPv6 router advertisements) stand beside equal ones unless the next hop is equal too. So do all of IPv6,
/// where old kernels print the hops of a multipath route as routes of their own.
pub fn load_table(parsed: Parsed<Route>) -> Parsed<Route> {
    let Parsed { items, mut diagnostics } = parsed;
    let mut held: Vec<Route> = Vec::with_capacity(items.len());
    let mut places: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for route in items {
        let key = (route.table, route.dst, tos(&route).map(alloc::string::String::from), route.metric);
        let equals = places.entry(key).or_default();
        let rival = equals.iter().filter_map(|place| held.get(*place)).find(|rival| refuses(rival, &route));
        if let Some(rival) = rival {
            diagnostics.push(exists(&route, rival));
            continue;
        }
        equals.push(held.len());
        held.push(route);
    }
    held.sort_by(show_order);
    Parsed { items: held, diagnostics }
}

/// Whether the kernel refuses `new` because it holds `old` with the same key.
fn refuses(old: &Route, new: &Route) -> bool {
    let by_kernel = |route: &Route| matches!(route.protocol, RouteProtocol::Kernel | RouteProtocol::Ra);
    let same = old.next_hops == new.next_hops && old.kind == new.kind && old.scope == new.scope;
    let appended = Family::of_net(new.dst) == Family::V6 || by_kernel(old) && by_kernel(new);
    same || !appended
}

fn exists(new: &Route, old: &Route) -> Diagnostic {
    let message = format!(
        "route {} is refused by the kernel (EEXIST, File exists): one with the same destination, TOS and metric is held",
        new.dst
    );
    Diagnostic::error("route-exists", message)
        .from_origin(&new.origin)
        .related("held since here", old.origin.location().cloned())
        .help("give it another metric, or add a next hop to the first")
}

fn tos(route: &Route) -> Option<&str> {
    let mut words = route.carried.as_deref()?.split(' ').filter(|word| !word.is_empty());
    words.find(|word| matches!(*word, "tos" | "dsfield")).and_then(|_| words.next())
}

/// The order of `ip route show table all`: IPv4 first; tables by hash bucket; then as each family's trie is walked: IPv4 by
/// address, longer prefixes before shorter ones at the same address; IPv6 with every prefix behind all that it contains.
fn show_order(a: &Route, b: &Route) -> Ordering {
    let key = |route: &Route| {
        let (family, walked) = match route.dst {
            IpNet::V4(net) => (Family::V4, IpAddr::V4(net.network())),
            IpNet::V6(net) => (Family::V6, IpAddr::V6(net.broadcast())),
        };
        (
            family,
            route.table & 0xff,
            route.table,
            walked,
            core::cmp::Reverse(route.dst.prefix_len()),
            route.metric,
        )
    };
    key(a).cmp(&key(b))
}
