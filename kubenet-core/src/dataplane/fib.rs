//! Routing: longest prefix match over several tables, chosen by `ip rule`s.
//!
//! In: destination, source, links and mark. Out: a next hop, "it is ours", or the error that the kernel would give.
//! Sources: `net/ipv4/fib_rules.c`, `fib_trie.c`, `net/ipv6/route.c`. A look-up costs one longest-prefix match per
//! table asked; building costs O(routes).

use alloc::vec::Vec;
use core::net::IpAddr;

use smallvec::SmallVec;

use crate::addr::Family;
use crate::lpm::Lpm;
use crate::plan::{IpRule, Netns, Route, RouteKind, RuleAction, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};

/// A resolved next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) via: Option<IpAddr>,
    pub(super) link: Option<u32>,
    pub(super) weight: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Index into the plan's routes.
    route: u32,
    hops: SmallVec<[Hop; 1]>,
}

#[derive(Debug)]
struct Table {
    id: u32,
    lpm: Lpm<u32>,
    entries: Vec<Entry>,
}

/// The routing tables of one family.
#[derive(Debug)]
pub(super) struct Fib {
    tables: Vec<Table>,
    /// No rules of its own: main and default, in this order.
    plain: bool,
}

/// What is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'q> {
    pub(super) dst: IpAddr,
    pub(super) src: Option<IpAddr>,
    pub(super) iif: Option<&'q str>,
    pub(super) oif: Option<&'q str>,
    pub(super) mark: u32,
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'f> {
    /// A route of the plan (by index) and its usable hops.
    Route { route: u32, hops: &'f [Hop], table: u32 },
    /// Nothing.
    None,
    /// A rule said so.
    Rule(RouteKind),
    /// A rule that is carried but not modelled stands before the answer.
    Unmodelled(u32),
}

impl Fib {
    pub(super) fn new(plan: &Netns, family: Family) -> Self {
        Self::of(plan, family, |_| true)
    }

    /// Only the routes that hold one destination: enough for a look-up of it. Costs a scan.
    pub(super) fn for_destination(plan: &Netns, dst: IpAddr) -> Self {
        Self::of(plan, Family::of(dst), |route| route.dst.contains(&dst))
    }

    fn of(plan: &Netns, family: Family, wanted: impl Fn(&Route) -> bool) -> Self {
        let of_family = |route: &Route| Family::of_net(route.dst) == family && wanted(route);
        let wanted: Vec<u32> = (0u32..)
            .zip(&plan.routes)
            .filter_map(|(place, route)| of_family(route).then_some(place))
            .collect();
        let mut ids: Vec<u32> = Vec::new();
        for route in wanted.iter().filter_map(|place| plan.routes.get(*place as usize)) {
            if !ids.contains(&route.table) {
                ids.push(route.table);
            }
        }
        let links: super::netns::Map<&str, (u32, bool)> =
            plan.links.iter().enumerate().map(|(i, l)| (&*l.name, (i as u32, l.up))).collect();
        let tables = ids.into_iter().map(|id| Table::new(plan, family, id, &wanted, &links)).collect();
        Self { tables, plain: !plan.rules.iter().any(|r| r.family == family) }
    }

    fn table(&self, id: u32) -> Option<&Table> {
        self.tables.iter().find(|t| t.id == id)
    }

    /// Looks a destination up. Addresses of the machine itself are asked before (the kernel's `local` table is
    /// derived from the addresses).
    pub(super) fn lookup<'f>(&'f self, plan: &Netns, query: &Query<'_>) -> Found<'f> {
        if self.plain {
            return match self.in_table(plan, TABLE_MAIN, query.dst) {
                Found::None => self.in_table(plan, TABLE_DEFAULT, query.dst),
                found @ (Found::Route { .. } | Found::Rule(_) | Found::Unmodelled(_)) => found,
            };
        }
        let family = Family::of(query.dst);
        let mut rules: Vec<&IpRule> = plan.rules.iter().filter(|r| r.family == family).collect();
        rules.sort_by_key(|r| r.priority);
        let mut from = 0;
        let mut place = 0;
        while let Some(rule) = rules.get(place) {
            place += 1;
            if rule.priority < from || rule.matches(query) == rule.invert {
                continue;
            }
            if rule.carried.is_some() {
                return Found::Unmodelled(rule.priority);
            }
            match rule.action {
                RuleAction::Lookup(TABLE_LOCAL) if self.table(TABLE_LOCAL).is_none() => {}
                RuleAction::Lookup(id) => match self.in_table(plan, id, query.dst) {
                    Found::None => {}
                    found @ (Found::Route { .. } | Found::Rule(_) | Found::Unmodelled(_)) => return found,
                },
                RuleAction::Blackhole => return Found::Rule(RouteKind::Blackhole),
                RuleAction::Unreachable => return Found::Rule(RouteKind::Unreachable),
                RuleAction::Prohibit => return Found::Rule(RouteKind::Prohibit),
                RuleAction::Goto(priority) => from = priority.max(rule.priority.saturating_add(1)),
                RuleAction::Nop => {}
            }
        }
        Found::None
    }

    fn in_table<'f>(&'f self, plan: &Netns, id: u32, dst: IpAddr) -> Found<'f> {
        let Some(table) = self.table(id) else { return Found::None };
        let Some(index) = table.lpm.lookup(dst) else { return Found::None };
        let Some(entry) = table.entries.get(index as usize) else { return Found::None };
        match plan.routes.get(entry.route as usize).map(|r| r.kind) {
            Some(RouteKind::Throw) | None => Found::None,
            Some(
                RouteKind::Unicast
                | RouteKind::Local
                | RouteKind::Broadcast
                | RouteKind::Anycast
                | RouteKind::Multicast
                | RouteKind::Blackhole
                | RouteKind::Unreachable
                | RouteKind::Prohibit,
            ) => Found::Route { route: entry.route, hops: &entry.hops, table: id },
        }
    }
}

impl Table {
    fn new(
        plan: &Netns,
        family: Family,
        id: u32,
        wanted: &[u32],
        links: &super::netns::Map<&str, (u32, bool)>,
    ) -> Self {
        let mut order: Vec<u32> =
            wanted.iter().copied().filter(|i| plan.routes[*i as usize].table == id).collect();
        // The lower metric wins; among equals the first, which the kernel kept.
        order.sort_by_key(|i| {
            let route = &plan.routes[*i as usize];
            (route.dst, route.metric)
        });
        let mut entries: Vec<Entry> = Vec::with_capacity(order.len());
        let mut prefixes = Vec::with_capacity(order.len());
        let mut last: Option<(&Route, usize)> = None;
        for index in order {
            let route = &plan.routes[index as usize];
            let hops: SmallVec<[Hop; 1]> = route
                .next_hops
                .iter()
                .filter_map(|hop| {
                    let link = match &hop.dev {
                        // The kernel removes the routes of a link that goes down.
                        Some(dev) => Some(links.get(&**dev).filter(|l| l.1)?.0),
                        None => None,
                    };
                    Some(Hop { via: hop.via, link, weight: hop.weight.max(1) })
                })
                .collect();
            if hops.is_empty() && !route.next_hops.is_empty() {
                continue;
            }
            if let Some((same, place)) = last
                && same.dst == route.dst
            {
                // IPv6 joins equal routes into one multipath route (`fib6_add_rt2node`).
                if family == Family::V6 && same.metric == route.metric && route.kind == RouteKind::Unicast {
                    entries[place].hops.extend(hops);
                }
                continue;
            }
            last = Some((route, entries.len()));
            prefixes.push((route.dst, entries.len() as u32));
            entries.push(Entry { route: index, hops });
        }
        Self { id, lpm: Lpm::new(prefixes), entries }
    }
}

impl IpRule {
    fn matches(&self, query: &Query<'_>) -> bool {
        let named = |want: &Option<alloc::sync::Arc<str>>, is: Option<&str>| {
            want.as_ref().is_none_or(|want| is == Some(&**want))
        };
        self.from.is_none_or(|net| query.src.is_some_and(|src| net.contains(&src)))
            && self.to.is_none_or(|net| net.contains(&query.dst))
            && named(&self.iif, query.iif)
            && named(&self.oif, query.oif)
            && self.fwmark.is_none_or(|(mark, mask)| query.mark & mask == mark & mask)
    }
}

/// Picks a hop by the flow's hash: each hop gets a share of the hash space by weight (`fib_select_multipath`).
pub(super) fn select(hops: &[Hop], hash: u32) -> Option<Hop> {
    if let [only] = hops {
        return Some(*only);
    }
    let total: u64 = hops.iter().map(|h| u64::from(h.weight)).sum();
    // The kernel compares a 31-bit hash with each hop's upper bound.
    let hash = u64::from(hash >> 1);
    let mut sum = 0;
    for hop in hops {
        sum += u64::from(hop.weight);
        let bound = ((sum << 31) + total / 2) / total;
        if hash < bound {
            return Some(*hop);
        }
    }
    hops.last().copied()
}
