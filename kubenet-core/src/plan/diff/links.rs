//! Links: made, set, taken away.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{LinkId, Pair, Turn, peer_of};
use crate::addr::MacAddr;
use crate::plan::change::{LinkSetting, Peer, What};
use crate::plan::{Link, LinkKind, MachinePlan, sysctl};

/// Links that are there and go, or have to be made anew, and those that cannot be without them.
pub(super) fn gone(from: &MachinePlan, to: &MachinePlan, pairs: &[Pair<'_>]) -> BTreeSet<LinkId> {
    let mut gone = BTreeSet::new();
    for pair in pairs {
        let Some(old) = pair.old else { continue };
        let new: BTreeMap<&str, &Link> =
            pair.new.iter().flat_map(|netns| &netns.links).map(|link| (&*link.name, link)).collect();
        for link in old.links.iter().filter(|link| !is_loopback(link)) {
            let same = new.get(&*link.name).is_some_and(|other| is_same(from, link, to, other));
            if !same {
                gone.insert((pair.name.clone(), link.name.clone()));
                gone.extend(peer_of(from, link));
            }
        }
    }
    // Either end of a pair, and a tunnel over a link that goes.
    for pair in pairs {
        for link in pair.old.iter().flat_map(|netns| &netns.links) {
            let on = match &link.kind {
                LinkKind::Veth { .. } => peer_of(from, link),
                LinkKind::Vxlan(vxlan) => vxlan.dev.clone().map(|dev| (pair.name.clone(), dev)),
                LinkKind::Loopback
                | LinkKind::Bridge { .. }
                | LinkKind::Nic { .. }
                | LinkKind::Dummy
                | LinkKind::Other(_) => None,
            };
            if on.is_some_and(|on| gone.contains(&on)) {
                gone.insert((pair.name.clone(), link.name.clone()));
            }
        }
    }
    gone
}

fn is_loopback(link: &Link) -> bool {
    matches!(link.kind, LinkKind::Loopback)
}

/// Whether the one link can be made the other by settings.
fn is_same(from: &MachinePlan, old: &Link, to: &MachinePlan, new: &Link) -> bool {
    match (&old.kind, &new.kind) {
        (LinkKind::Loopback, LinkKind::Loopback)
        | (LinkKind::Bridge { .. }, LinkKind::Bridge { .. })
        | (LinkKind::Dummy, LinkKind::Dummy) => true,
        (LinkKind::Veth { .. }, LinkKind::Veth { .. }) => peer_of(from, old) == peer_of(to, new),
        (LinkKind::Vxlan(old), LinkKind::Vxlan(new)) => old == new,
        (LinkKind::Nic { segment: old }, LinkKind::Nic { segment: new }) => {
            old.is_none() || new.is_none() || old == new
        }
        (LinkKind::Other(old), LinkKind::Other(new)) => old == new,
        (
            LinkKind::Loopback
            | LinkKind::Veth { .. }
            | LinkKind::Bridge { .. }
            | LinkKind::Vxlan(_)
            | LinkKind::Nic { .. }
            | LinkKind::Dummy
            | LinkKind::Other(_),
            _,
        ) => false,
    }
}

/// When a link is made: a machine's cards come first, as where they are hardware, since the kernel looks for a source address in this
/// order (`inet_select_addr`); bridges before their ports, tunnels after the link below them.
const fn rank(kind: &LinkKind) -> u8 {
    match kind {
        LinkKind::Loopback => 0,
        LinkKind::Nic { .. } | LinkKind::Other(_) => 1,
        LinkKind::Bridge { .. } => 2,
        LinkKind::Dummy => 3,
        LinkKind::Veth { .. } => 4,
        LinkKind::Vxlan(_) => 5,
    }
}

/// Takes links away that go or are made anew, the last made first. What only its namespace holds goes with that.
pub(super) fn take_away(turn: &mut Turn<'_, '_>, pairs: &[Pair<'_>]) {
    let mut all: Vec<(&Pair<'_>, &Link)> = Vec::new();
    for pair in pairs {
        let links = pair.old.iter().flat_map(|netns| &netns.links);
        all.extend(links.filter(|link| turn.is_gone(&pair.name, &link.name)).map(|link| (pair, link)));
    }
    all.sort_by_key(|(_, link)| core::cmp::Reverse(rank(&link.kind)));
    let mut done: BTreeSet<LinkId> = BTreeSet::new();
    for (pair, link) in all {
        // What is in a namespace that goes ends with it; the other end of a pair is named where it stays.
        let with_netns = pair.new.is_none() && !pair.name.is_empty();
        if with_netns || done.contains(&(pair.name.clone(), link.name.clone())) {
            continue;
        }
        done.extend(peer_of(turn.from, link));
        turn.push(&pair.name, What::RemoveLink { link: link.name.clone(), kind: link.kind.clone() });
    }
}

/// Makes links that are not there, then sets all.
pub(super) fn add(turn: &mut Turn<'_, '_>, pairs: &[Pair<'_>]) {
    let mut all: Vec<(&Pair<'_>, &Link)> = Vec::new();
    for pair in pairs {
        all.extend(pair.new.iter().flat_map(|netns| &netns.links).map(|link| (pair, link)));
    }
    all.sort_by_key(|(_, link)| rank(&link.kind));
    let place: BTreeMap<&str, &Pair<'_>> = pairs.iter().map(|pair| (&*pair.name, pair)).collect();
    let mut made: BTreeSet<LinkId> = BTreeSet::new();
    for (pair, link) in &all {
        if is_loopback(link) || is_there(turn, pair, link) {
            continue;
        }
        if !made.insert((pair.name.clone(), link.name.clone())) {
            continue;
        }
        let peer = peer_of(turn.to, link).and_then(|(netns, name)| {
            let other = place.get(&*netns)?.new_link(&name)?;
            made.insert((netns.clone(), name));
            Some(Box::new(Peer { netns, link: bare(other) }))
        });
        turn.push(&pair.name, What::AddLink { link: Box::new(bare(link)), peer });
    }
    for (pair, link) in &all {
        let old = if is_there(turn, pair, link) { pair.old_link(&link.name) } else { None };
        set(turn, &pair.name, old, link);
    }
    for (pair, link) in &all {
        let old = if is_there(turn, pair, link) { pair.old_link(&link.name) } else { None };
        set_sysctls(turn, &pair.name, old, link);
    }
    // Up at the end: ports follow their bridge, and the kernel tells what is below first.
    for (pair, link) in &all {
        let old = if is_there(turn, pair, link) { pair.old_link(&link.name) } else { None };
        let was = old.is_some_and(|old| old.up);
        if was != link.up {
            turn.push(&pair.name, setting(&link.name, LinkSetting::Up(link.up)));
        }
    }
}

fn is_there(turn: &Turn<'_, '_>, pair: &Pair<'_>, link: &Link) -> bool {
    pair.old_link(&link.name).is_some() && !turn.is_gone(&pair.name, &link.name)
}

/// A link as it is made.
fn bare(link: &Link) -> Link {
    Link { addresses: Vec::new(), port: None, up: false, ..link.clone() }
}

fn setting(link: &Arc<str>, setting: LinkSetting) -> What {
    What::SetLink { link: link.clone(), setting }
}

/// What differs between a link as it is, or as it was just made, and as it shall be.
fn set(turn: &mut Turn<'_, '_>, netns: &Arc<str>, old: Option<&Link>, new: &Link) {
    let mut push = |what| turn.push(netns, setting(&new.name, what));
    if let Some(old) = old {
        if old.mac != new.mac && new.mac != MacAddr::ZERO {
            push(LinkSetting::Mac(new.mac));
        }
        if let (LinkKind::Bridge { ageing_secs: old }, LinkKind::Bridge { ageing_secs: new }) =
            (&old.kind, &new.kind)
            && old != new
        {
            push(LinkSetting::Ageing(*new));
        }
    }
    let mtu = match old {
        Some(old) => old.mtu_bytes,
        None if is_loopback(new) => 65536,
        None => new.mtu_bytes,
    };
    if mtu != new.mtu_bytes {
        push(LinkSetting::Mtu(new.mtu_bytes));
    }
    // The kernel makes a dummy device without ARP.
    let noarp = old.map_or(matches!(new.kind, LinkKind::Dummy), |old| old.noarp);
    if noarp != new.noarp && !is_loopback(new) {
        push(LinkSetting::Noarp(new.noarp));
    }
    let port = old.and_then(|old| old.port.as_ref());
    let port_is_gone = port.is_some_and(|port| turn.gone.contains(&(netns.clone(), port.bridge.clone())));
    if port != new.port.as_ref() || port_is_gone && new.port.is_some() {
        turn.push(netns, setting(&new.name, LinkSetting::Port(new.port.clone())));
    }
}

fn set_sysctls(turn: &mut Turn<'_, '_>, netns: &Arc<str>, old: Option<&Link>, new: &Link) {
    let before: Vec<_> = old.into_iter().flat_map(sysctl::of_link).collect();
    for (place, (key, value)) in sysctl::of_link(new).enumerate() {
        if before.get(place).is_none_or(|(_, old)| *old != value) {
            turn.push(netns, What::Sysctl { key: key.into(), value });
        }
    }
}
