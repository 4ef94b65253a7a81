//! What a change makes of a plan: the same in memory as the adapter does to a kernel.
//!
//! In: a plan and a [`Change`]. Out: the plan after it. A change that is done twice does no more than once.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ipnet::IpNet;

use super::change::{
    Change, IpsetChange, IpvsChange, LinkSetting, NftChange, NftEdit, Peer, What, XtChange, XtEdit,
};
use super::diff::{are_same_ip_rules, are_same_routes};
use super::{
    Address, FdbEntry, Link, LinkKind, MachinePlan, Netfilter, Netns, Route, Ruleset, nft, same, sysctl, xt,
};
use crate::origin::Origin;

/// Does a change to a plan. One that names a namespace or link which is not there does nothing.
pub fn apply(plan: &mut MachinePlan, change: &Change) {
    match &change.what {
        What::AddNetns => {
            if plan.netns_named(&change.netns).is_none() {
                plan.netns.push(bare(&change.netns));
            }
        }
        What::RemoveNetns => remove_netns(plan, &change.netns),
        What::AddLink { link, peer } => add_link(plan, &change.netns, link, peer.as_deref()),
        What::RemoveLink { link, .. } => remove_link(plan, &change.netns, link),
        What::SetLink { .. }
        | What::AddAddress { .. }
        | What::RemoveAddress { .. }
        | What::AddRoute(_)
        | What::RemoveRoute(_)
        | What::AddRule(_)
        | What::RemoveRule(_)
        | What::AddNeighbour(_)
        | What::RemoveNeighbour(_)
        | What::AddFdb(_)
        | What::RemoveFdb(_)
        | What::Sysctl { .. }
        | What::Ipset(_)
        | What::Nft(_)
        | What::Xt(_)
        | What::Ipvs(_) => {
            if let Some(netns) = named(plan, &change.netns) {
                inside(netns, &change.what);
            }
        }
    }
}

/// A namespace as a kernel makes it: `lo`, down.
fn bare(name: &Arc<str>) -> Netns {
    let mut netns = Netns::new(name.clone(), Origin::implied("ip netns add"));
    netns.links.iter_mut().for_each(|lo| lo.up = false);
    netns
}

/// The machine's own namespace is always there.
fn named<'p>(plan: &'p mut MachinePlan, name: &Arc<str>) -> Option<&'p mut Netns> {
    if name.is_empty() && plan.netns_named("").is_none() {
        plan.netns.insert(0, bare(name));
        for link in plan.netns.iter_mut().flat_map(|netns| &mut netns.links) {
            if let LinkKind::Veth { peer_netns, .. } = &mut link.kind {
                *peer_netns += 1;
            }
        }
    }
    plan.netns.iter_mut().find(|netns| netns.name == *name)
}

fn remove_netns(plan: &mut MachinePlan, name: &Arc<str>) {
    let Some((place, netns)) = plan.netns_named(name) else { return };
    let links: Vec<Arc<str>> = netns.links.iter().map(|link| link.name.clone()).collect();
    for link in &links {
        remove_link(plan, name, link);
    }
    plan.netns.remove(place);
    for link in plan.netns.iter_mut().flat_map(|netns| &mut netns.links) {
        if let LinkKind::Veth { peer_netns, .. } = &mut link.kind
            && *peer_netns as usize > place
        {
            *peer_netns -= 1;
        }
    }
}

fn add_link(plan: &mut MachinePlan, netns: &Arc<str>, link: &Link, peer: Option<&Peer>) {
    let _ = named(plan, netns);
    let Some((here, inside)) = plan.netns_named(netns) else { return };
    if inside.link_named(&link.name).is_some() {
        return;
    }
    let there = peer.and_then(|peer| Some((plan.netns_named(&peer.netns)?.0, peer)));
    let mut link = link.clone();
    if let Some((there, peer)) = there
        && let Some(netns) = plan.netns.get_mut(there)
    {
        link.kind = LinkKind::Veth { peer_netns: there as u32, peer: peer.link.name.clone() };
        let kind = LinkKind::Veth { peer_netns: here as u32, peer: link.name.clone() };
        netns.links.push(Link { kind, ..as_made(&peer.link) });
    }
    if let Some(netns) = plan.netns.get_mut(here) {
        netns.links.push(as_made(&link));
    }
}

/// Settings that come later are the kernel's at first.
fn as_made(link: &Link) -> Link {
    let new = Link::new(link.name.clone(), link.kind.clone(), link.mac, link.mtu_bytes, link.origin.clone());
    Link { up: false, carrier: link.carrier, noarp: matches!(link.kind, LinkKind::Dummy), ..new }
}

/// What hangs on a link goes with it, and so does the other end of a pair.
fn remove_link(plan: &mut MachinePlan, netns: &Arc<str>, name: &Arc<str>) {
    let Some((place, inside)) = plan.netns_named(netns) else { return };
    let Some((_, link)) = inside.link_named(name) else { return };
    let peer = match &link.kind {
        LinkKind::Veth { peer_netns, peer } => Some((*peer_netns as usize, peer.clone())),
        LinkKind::Loopback
        | LinkKind::Bridge { .. }
        | LinkKind::Vxlan(_)
        | LinkKind::Nic { .. }
        | LinkKind::Dummy
        | LinkKind::Other(_) => None,
    };
    for (place, name) in [Some((place, name.clone())), peer].into_iter().flatten() {
        let Some(netns) = plan.netns.get_mut(place) else { continue };
        let on_it =
            |link: &Link| matches!(&link.kind, LinkKind::Vxlan(vxlan) if vxlan.dev.as_ref() == Some(&name));
        let gone: Vec<Arc<str>> = netns
            .links
            .iter()
            .filter(|link| link.name == name || on_it(link))
            .map(|link| link.name.clone())
            .collect();
        netns.links.retain(|link| !gone.contains(&link.name));
        for link in &mut netns.links {
            link.port = link.port.take().filter(|port| !gone.contains(&port.bridge));
        }
        drop_routes(netns, &gone);
        netns.neighbours.retain(|neighbour| !gone.contains(&neighbour.dev));
        netns.fdb.retain(|fdb| !gone.contains(&fdb.dev));
    }
}

fn drop_routes(netns: &mut Netns, by: &[Arc<str>]) {
    let by_one = |dev: &Arc<str>| by.contains(dev);
    netns.routes.retain(|route| !route.next_hops.iter().filter_map(|hop| hop.dev.as_ref()).any(by_one));
}

fn inside(netns: &mut Netns, what: &What) {
    match what {
        What::SetLink { link, setting } => set_link(netns, link, setting),
        What::AddAddress { link, net, scope } => {
            if let Some(link) = netns.links.iter_mut().find(|other| other.name == *link) {
                link.addresses.retain(|address| address.net != *net);
                let origin = Origin::implied("ip addr add");
                link.addresses.push(Address { net: *net, scope: *scope, origin });
            }
        }
        What::RemoveAddress { link, net } => remove_address(netns, link, *net),
        What::AddRoute(route) => add_to(&mut netns.routes, route, are_same_routes),
        What::RemoveRoute(route) => netns.routes.retain(|other| !are_same_routes(other, route)),
        What::AddRule(rule) => {
            add_to(&mut netns.rules, rule, are_same_ip_rules);
            netns.rules.sort_by_key(|rule| rule.priority);
        }
        What::RemoveRule(rule) => netns.rules.retain(|other| !are_same_ip_rules(other, rule)),
        What::AddNeighbour(new) => {
            netns.neighbours.retain(|other| (other.addr, &other.dev) != (new.addr, &new.dev));
            netns.neighbours.push(new.clone());
        }
        What::RemoveNeighbour(old) => {
            netns.neighbours.retain(|other| (other.addr, &other.dev) != (old.addr, &old.dev));
        }
        What::AddFdb(fdb) => add_to(&mut netns.fdb, fdb, are_same_fdb),
        What::RemoveFdb(fdb) => netns.fdb.retain(|other| !are_same_fdb(other, fdb)),
        What::Sysctl { key, value } => {
            sysctl::set(netns, key, *value);
        }
        What::Ipset(change) => rules(netns, |ruleset| ipsets(ruleset, change)),
        What::Nft(change) => rules(netns, |ruleset| nft(ruleset, change)),
        What::Xt(change) => rules(netns, |ruleset| xt(ruleset, change)),
        What::Ipvs(change) => rules(netns, |ruleset| ipvs(ruleset, change)),
        What::AddNetns | What::RemoveNetns | What::AddLink { .. } | What::RemoveLink { .. } => {}
    }
}

/// The routes of IPv4 by a link go with its last address of IPv4.
fn remove_address(netns: &mut Netns, name: &Arc<str>, net: IpNet) {
    let Some(link) = netns.links.iter_mut().find(|other| other.name == *name) else { return };
    let v4 = |link: &Link| link.addresses.iter().filter(|address| address.net.addr().is_ipv4()).count();
    let before = v4(link);
    link.addresses.retain(|address| address.net != net);
    if before > 0 && v4(link) == 0 {
        let by_link = |route: &Route| route.next_hops.iter().any(|hop| hop.dev.as_ref() == Some(name));
        netns.routes.retain(|route| route.dst.addr().is_ipv6() || !by_link(route));
    }
}

fn add_to<T: Clone>(list: &mut Vec<T>, new: &T, are_same: impl Fn(&T, &T) -> bool) {
    if !list.iter().any(|other| are_same(other, new)) {
        list.push(new.clone());
    }
}

fn are_same_fdb(one: &FdbEntry, other: &FdbEntry) -> bool {
    (&one.dev, one.mac, one.dst, &one.master) == (&other.dev, other.mac, other.dst, &other.master)
}

fn set_link(netns: &mut Netns, name: &Arc<str>, setting: &LinkSetting) {
    let Some(link) = netns.links.iter_mut().find(|link| link.name == *name) else { return };
    match setting {
        LinkSetting::Mac(mac) => link.mac = *mac,
        LinkSetting::Mtu(bytes) => link.mtu_bytes = *bytes,
        LinkSetting::Up(up) => {
            let was = core::mem::replace(&mut link.up, *up);
            // A kernel has no routes by a link that is down, whatever a plan says of one.
            if !(was && *up) {
                drop_routes(netns, core::slice::from_ref(name));
            }
        }
        LinkSetting::Noarp(noarp) => link.noarp = *noarp,
        LinkSetting::Port(port) => link.port.clone_from(port),
        LinkSetting::Ageing(secs) => link.kind = LinkKind::Bridge { ageing_secs: *secs },
    }
}

fn rules(netns: &mut Netns, change: impl FnOnce(&mut Ruleset)) {
    let mut whole = netns.netfilter.whole();
    change(Arc::make_mut(&mut whole));
    netns.netfilter = if whole.is_empty() { Netfilter::Empty } else { Netfilter::Whole(whole) };
}

fn ipsets(ruleset: &mut Ruleset, change: &IpsetChange) {
    let gone =
        |name: &Arc<str>| change.removed.contains(name) || change.added.iter().any(|set| set.name == *name);
    ruleset.ipsets.retain(|set| !gone(&set.name));
    ruleset.ipsets.extend(change.added.iter().cloned());
    for edit in &change.edited {
        for set in ruleset.ipsets.iter_mut().filter(|set| set.name == edit.set.name) {
            let set = Arc::make_mut(set);
            set.entries.retain(|entry| {
                let listed = edit.removed.iter().chain(&edit.added);
                !listed.into_iter().any(|other| other.parts == entry.parts && other.nomatch == entry.nomatch)
            });
            set.entries.extend(edit.added.iter().cloned());
        }
    }
}

fn nft(ruleset: &mut Ruleset, change: &NftChange) {
    let is = |table: &nft::Table, family, name: &Arc<str>| table.family == family && table.name == *name;
    ruleset.nft.retain(|table| {
        !change.removed.iter().any(|(family, name)| is(table, *family, name))
            && !change.added.iter().any(|new| is(table, new.family, &new.name))
    });
    ruleset.nft.extend(change.added.iter().cloned());
    for edit in &change.edited {
        for table in ruleset.nft.iter_mut().filter(|table| is(table, edit.family, &edit.table)) {
            edit_table(table, edit);
        }
    }
}

fn edit_table(table: &mut nft::Table, edit: &NftEdit) {
    let listed = |set: &nft::Set, name: &Arc<str>| set.name == *name;
    table.sets.retain(|set| {
        !edit.sets_removed.iter().chain(&edit.sets_added).any(|other| listed(other, &set.name))
    });
    table.sets.extend(edit.sets_added.iter().cloned());
    for set in &mut table.sets {
        let of = |sets: &'_ [nft::Set]| -> Vec<nft::Element> {
            let of_set = sets.iter().filter(|other| other.name == set.name);
            of_set.flat_map(|other| other.elements.iter().cloned()).collect()
        };
        let (added, removed) = (of(&edit.elements_added), of(&edit.elements_removed));
        if added.is_empty() && removed.is_empty() {
            continue;
        }
        let mut elements: BTreeMap<Vec<nft::Value>, nft::Element> =
            set.elements.iter().map(|element| (element.key.clone(), element.clone())).collect();
        for element in removed {
            elements.remove(&element.key);
        }
        elements.extend(added.into_iter().map(|element| (element.key.clone(), element)));
        Arc::make_mut(set).elements = elements.into_values().collect();
    }
    let mut chains: BTreeMap<Arc<str>, Arc<nft::Chain>> = BTreeMap::new();
    let old = core::mem::take(&mut table.chains).into_iter();
    let all = old.chain(edit.chains_added.iter().chain(&edit.chains_replaced).cloned());
    chains.extend(all.map(|chain| (chain.name.clone(), chain)));
    for name in &edit.chains_removed {
        chains.remove(name);
    }
    table.chains = chains.into_values().collect();
}

fn xt(ruleset: &mut Ruleset, change: &XtChange) {
    for edit in &change.tables {
        let is = |table: &xt::Table| table.family == change.family && table.name == edit.table;
        if !ruleset.xt.iter().any(is) {
            let (family, name) = (change.family, edit.table.clone());
            ruleset.xt.push(xt::Table { family, name, chains: Vec::new() });
        }
        ruleset.xt.iter_mut().filter(|table| is(table)).for_each(|table| edit_xt(table, edit));
        ruleset.xt.retain(|table| !table.chains.is_empty());
    }
}

fn edit_xt(table: &mut xt::Table, edit: &XtEdit) {
    let mut chains: BTreeMap<(bool, Arc<str>), Arc<xt::Chain>> = BTreeMap::new();
    let old = core::mem::take(&mut table.chains).into_iter();
    let all = old.chain(edit.chains.iter().cloned());
    chains.extend(all.map(|chain| ((chain.policy.is_none(), chain.name.clone()), chain)));
    for name in &edit.removed {
        chains.remove(&(true, name.clone()));
    }
    for builtin in &edit.builtin {
        let new = xt::Chain {
            name: builtin.chain.clone(),
            policy: Some(xt::Policy::Accept),
            counters: None,
            rules: Vec::new(),
        };
        let chain = chains.entry((false, builtin.chain.clone())).or_insert_with(|| Arc::new(new));
        let chain = Arc::make_mut(chain);
        for rule in builtin.removed.iter().chain(&builtin.inserted) {
            if let Some(place) = chain.rules.iter().position(|other| same::xt_rules(other, rule)) {
                chain.rules.remove(place);
            }
        }
        chain.rules.splice(0..0, builtin.inserted.iter().cloned());
        chain.policy = builtin.policy.or(chain.policy);
    }
    // A built-in chain is there as soon as its table is; an empty one says nothing.
    chains.retain(|(own, _), chain| {
        *own || !chain.rules.is_empty() || chain.policy != Some(xt::Policy::Accept)
    });
    table.chains = chains.into_values().collect();
}

fn ipvs(ruleset: &mut Ruleset, change: &IpvsChange) {
    let new = || change.added.iter().chain(change.edited.iter().map(|(_, new)| new));
    ruleset
        .ipvs
        .retain(|server| !change.removed.contains(&server.id) && !new().any(|other| other.id == server.id));
    ruleset.ipvs.extend(new().cloned());
}
