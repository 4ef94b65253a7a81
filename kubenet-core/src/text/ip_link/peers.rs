//! The two ends of veth pairs, found in the lists of several namespaces.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::NumberedLink;
use crate::plan::LinkKind;

/// The place of a namespace that a list does not say.
pub const NETNS_UNSAID: u32 = u32::MAX;

/// One end of a pair: namespace, place in its list, own ifindex, the other end's.
type End = (u32, usize, u32, u32);

/// Gives each veth end the namespace and the name of its other end. `namespaces` are the lists of one machine, in the order
/// of `MachinePlan::netns`.
///
/// Two ends belong together when each names the other's ifindex and they are in different namespaces. Where several could
/// (ifindexes are numbered anew in each namespace), those are taken that name each other's namespace as `link-netnsid`, then
/// the first that is free. Returns how many ends stay without a partner. O(n log n).
pub fn connect(namespaces: &mut [Vec<NumberedLink>]) -> usize {
    let mut ends: Vec<End> = Vec::new();
    let mut said: Vec<u32> = Vec::new();
    let mut by_numbers: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
    for (netns, links) in (0..).zip(namespaces.iter_mut()) {
        for (place, numbered) in links.iter_mut().enumerate() {
            let LinkKind::Veth { peer_netns, peer } = &mut numbered.link.kind else { continue };
            let Some(other) = peer.strip_prefix("if").and_then(crate::text::line::number::<u32>) else {
                *peer_netns = netns; // named: the other end is in the same namespace
                continue;
            };
            by_numbers.entry((numbered.ifindex, other)).or_default().push(ends.len());
            ends.push((netns, place, numbered.ifindex, other));
            said.push(*peer_netns);
        }
    }
    let mut partner: Vec<Option<usize>> = ends.iter().map(|_| None).collect();
    for by_hint in [true, false] {
        for (at, (netns, _, own, other)) in ends.iter().enumerate() {
            if partner.get(at).copied().flatten().is_some() {
                continue;
            }
            let candidates = by_numbers.get(&(*other, *own)).map_or(&[][..], Vec::as_slice);
            let found = candidates.iter().copied().find(|c| {
                let free = partner.get(*c).is_some_and(Option::is_none);
                let there = ends.get(*c).map(|end| end.0);
                let hinted = there == said.get(at).copied() && said.get(*c) == Some(netns);
                free && there != Some(*netns) && (!by_hint || hinted)
            });
            if let Some(found) = found {
                for (one, two) in [(at, found), (found, at)] {
                    if let Some(slot) = partner.get_mut(one) {
                        *slot = Some(two);
                    }
                }
            }
        }
    }
    for (end, partner) in ends.iter().zip(&partner) {
        let Some((there, place, ..)) = partner.and_then(|partner| ends.get(partner)).copied() else {
            continue;
        };
        let named: Option<Arc<str>> =
            namespaces.get(there as usize).and_then(|links| links.get(place)).map(|n| n.link.name.clone());
        let own = namespaces.get_mut(end.0 as usize).and_then(|links| links.get_mut(end.1));
        if let (Some(name), Some(own)) = (named, own) {
            own.link.kind = LinkKind::Veth { peer_netns: there, peer: name };
        }
    }
    partner.iter().filter(|p| p.is_none()).count()
}
