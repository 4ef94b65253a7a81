//! The changes that make one plan of a machine out of another.
//!
//! In: the machine as it is, or nothing, and as it shall be. Out: [`Change`]s in an order in which each can be done when its turn
//! comes: what goes (in reverse), then namespaces with their sysctls, links, addresses, routes, rules, neighbours, forwarding
//! entries and rulesets. It decides nothing: what is equal is left, what differs is changed. O(n log n).
//!
//! Equal means equal for a kernel. Not compared: origins, comments of routes, counters; what the kernel adds by itself (table
//! `local`, the addresses of `lo`, link-local addresses formed from the MAC address, the default routing rules, a bridge's entries for
//! its own ports); what comes and goes with packets (learned neighbours and forwarding entries, connections, elements of dynamic
//! sets); sockets and who answers at them. A NIC is the same whether or not it is known what it is plugged into.

mod links;
mod rules;
mod tables;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

pub(in crate::plan) use self::tables::{are_same_ip_rules, are_same_routes};
use super::change::{Change, What};
use super::{Link, LinkKind, MachinePlan, Netns};

/// The changes from a plan to another; from `None`, the machine has its own namespace and nothing in it.
pub fn diff(from: Option<&MachinePlan>, to: &MachinePlan) -> Vec<Change> {
    let empty = MachinePlan { netns: Vec::new(), ..to.clone() };
    between(from.unwrap_or(&empty), to)
}

/// The changes that take everything of a plan away. The machine's own namespace stays, with its sysctls.
pub fn remove(plan: &MachinePlan) -> Vec<Change> {
    let own = plan.netns.iter().filter(|netns| netns.name.is_empty()).map(|netns| {
        let mut bare = Netns::new("", netns.origin.clone());
        bare.sysctls = netns.sysctls.clone();
        // `lo` is as it was found.
        if let (Some(lo), Some(found)) = (bare.links.first_mut(), netns.link_named("lo")) {
            *lo = Link { addresses: Vec::new(), ..found.1.clone() };
        }
        bare
    });
    let bare = MachinePlan { netns: own.collect(), ..plan.clone() };
    between(plan, &bare)
}

fn between(from: &MachinePlan, to: &MachinePlan) -> Vec<Change> {
    let mut out = Vec::new();
    let pairs = pairs(from, to);
    let gone = links::gone(from, to, &pairs);
    let mut turn = Turn { from, to, gone: &gone, out: &mut out };
    for pair in &pairs {
        tables::take_away(&mut turn, pair);
    }
    links::take_away(&mut turn, &pairs);
    for pair in pairs.iter().rev().filter(|pair| pair.new.is_none() && !pair.name.is_empty()) {
        turn.push(&pair.name, What::RemoveNetns);
    }
    for pair in pairs.iter().filter(|pair| pair.old.is_none() && !pair.name.is_empty()) {
        turn.push(&pair.name, What::AddNetns);
    }
    for pair in &pairs {
        tables::set_sysctls(&mut turn, pair);
    }
    links::add(&mut turn, &pairs);
    for pair in &pairs {
        tables::add(&mut turn, pair);
    }
    for pair in &pairs {
        rules::change(&mut turn, pair);
    }
    out
}

/// A namespace as it is and as it shall be.
struct Pair<'p> {
    name: Arc<str>,
    old: Option<&'p Netns>,
    new: Option<&'p Netns>,
}

impl<'p> Pair<'p> {
    fn old_link(&self, name: &str) -> Option<&'p Link> {
        Some(self.old?.link_named(name)?.1)
    }

    fn new_link(&self, name: &str) -> Option<&'p Link> {
        Some(self.new?.link_named(name)?.1)
    }
}

/// What the parts of a comparison share.
struct Turn<'p, 'o> {
    from: &'p MachinePlan,
    to: &'p MachinePlan,
    /// Links that are there and go, or are made anew; what hangs on them goes with them.
    gone: &'o BTreeSet<LinkId>,
    out: &'o mut Vec<Change>,
}

/// A link by the names of its namespace and its own.
type LinkId = (Arc<str>, Arc<str>);

impl Turn<'_, '_> {
    fn push(&mut self, netns: &Arc<str>, what: What) {
        self.out.push(Change { netns: netns.clone(), what });
    }

    fn is_gone(&self, netns: &Arc<str>, link: &Arc<str>) -> bool {
        self.gone.contains(&(netns.clone(), link.clone()))
    }
}

/// Namespaces by name: those of the new plan in its order, then those that go.
fn pairs<'p>(from: &'p MachinePlan, to: &'p MachinePlan) -> Vec<Pair<'p>> {
    let mut old: BTreeMap<&str, &Netns> = from.netns.iter().map(|netns| (&*netns.name, netns)).collect();
    let mut pairs: Vec<Pair<'p>> = Vec::new();
    let mut seen = BTreeSet::new();
    for new in to.netns.iter().filter(|netns| seen.insert(netns.name.clone())) {
        pairs.push(Pair { name: new.name.clone(), old: old.remove(&*new.name), new: Some(new) });
    }
    for left in from.netns.iter().filter(|netns| seen.insert(netns.name.clone())) {
        pairs.push(Pair { name: left.name.clone(), old: old.remove(&*left.name), new: None });
    }
    pairs
}

/// The other end of a veth pair, by names.
fn peer_of(plan: &MachinePlan, link: &Link) -> Option<LinkId> {
    let LinkKind::Veth { peer_netns, peer } = &link.kind else { return None };
    let netns = plan.netns.get(*peer_netns as usize)?;
    Some((netns.name.clone(), peer.clone()))
}

#[cfg(test)]
mod tests;
