//! Where a dump shows the namespaces that were computed: behind which link each address is.
//!
//! A namespace is found by a route of its own (`10.244.1.5 dev veth…`), or by the neighbour table (address to MAC) and the
//! bridge's forwarding table (MAC to port). The link's other end is then the namespace's own card, with the MAC that was
//! seen. Where neither tells, a link of the computed name is it. A namespace that the dump does not show at all is behind one
//! of the links, but nobody knows which: what it sends, and what is sent to it, comes to an unknown end.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use crate::addr::MacAddr;
use crate::origin::Origin;
use crate::plan::{Action, Chain, FdbEntry, Hook, LinkKind, MachinePlan, Match, Netns, Rule, Unknown};

/// Plugs the namespaces of a machine into the links of its own one.
pub(super) fn plug_in(machine: &mut MachinePlan, host: &mut Netns, fdb: &[FdbEntry]) {
    let mut lost: Vec<(usize, Vec<IpNet>)> = Vec::new();
    for place in 1..machine.netns.len() {
        let Some(netns) = machine.netns.get(place) else { continue };
        let addresses: Vec<IpAddr> =
            netns.addresses().map(|net| net.addr()).filter(|addr| !addr.is_loopback()).collect();
        let mut pairs = netns.links.iter().enumerate().filter_map(|(card, link)| match &link.kind {
            LinkKind::Veth { peer, .. } => Some((card, peer.clone())),
            LinkKind::Loopback
            | LinkKind::Nic { .. }
            | LinkKind::Bridge { .. }
            | LinkKind::Dummy
            | LinkKind::Vxlan(_)
            | LinkKind::Other(_) => None,
        });
        let Some((card, computed)) = pairs.next() else { continue };
        let named = || host.link_named(&computed).filter(|(_, link)| is_veth(&link.kind));
        let seen = addresses.iter().find_map(|addr| behind(host, fdb, *addr));
        let seen = seen.or_else(|| named().map(|_| (computed.clone(), None)));
        let Some(inside) = machine.netns.get_mut(place).and_then(|netns| netns.links.get_mut(card)) else {
            continue;
        };
        match seen {
            Some((name, mac)) => {
                if let Some(mac) = mac {
                    inside.mac = mac;
                }
                let own = inside.name.clone();
                inside.kind = LinkKind::Veth { peer_netns: 0, peer: name.clone() };
                if let Some(link) = host.links.iter_mut().find(|link| link.name == name) {
                    link.kind = LinkKind::Veth { peer_netns: place as u32, peer: own };
                }
            }
            None => {
                inside.kind = LinkKind::Nic { segment: None };
                lost.push((place, addresses.into_iter().map(IpNet::from).collect()));
            }
        }
    }
    for (place, own) in &lost {
        let name = machine.netns.get(*place).map_or_else(|| Arc::from(""), |netns| netns.name.clone());
        let unknown = || {
            Action::Unknown(Unknown {
                why: format!("the dump of {} does not show which link {name} is behind", machine.name),
                what_would_settle_it:
                    "ip neigh show, bridge fdb show and ip route show of the node, collected \
                                       while the pod sends"
                        .into(),
            })
        };
        // To itself a namespace needs no link.
        let itself = guard(Hook::Output, own, Action::Accept);
        let leaves = Chain { policy: unknown(), ..itself };
        for (other, netns) in machine.netns.iter_mut().enumerate().skip(1) {
            if other == *place {
                netns.chains.push(leaves.clone());
            } else if lost.binary_search_by_key(&other, |(place, _)| *place).is_err() {
                netns.chains.push(guard(Hook::Output, own, unknown()));
            }
        }
        host.chains.push(guard(Hook::Postrouting, own, unknown()));
    }
}

/// What happens to packets for some addresses, after everything else at a hook.
fn guard(hook: Hook, to: &[IpNet], action: Action) -> Chain {
    let matches = Vec::from([Match::Destination(to.to_vec())]);
    let rule = Rule { matches, action, origin: Origin::implied("dump") };
    Chain {
        name: "unseen".into(),
        hook,
        priority: i32::MAX,
        policy: Action::Accept,
        rules: Vec::from([rule]),
    }
}

const fn is_veth(kind: &LinkKind) -> bool {
    matches!(kind, LinkKind::Veth { .. })
}

/// The link behind which an address is, and its MAC where it is known.
fn behind(host: &Netns, fdb: &[FdbEntry], addr: IpAddr) -> Option<(Arc<str>, Option<MacAddr>)> {
    let neighbour = host.neighbours.iter().find(|entry| entry.addr == addr);
    let mac = neighbour.and_then(|entry| entry.mac);
    let own = host
        .routes
        .iter()
        .find(|route| route.dst.addr() == addr && route.dst.prefix_len() == route.dst.max_prefix_len());
    let by_route = own.and_then(|route| route.next_hops.first()).and_then(|hop| hop.dev.clone());
    let is_pair = |name: &str| host.link_named(name).is_some_and(|(_, link)| is_veth(&link.kind));
    if let Some(name) = by_route.filter(|name| is_pair(name)) {
        return Some((name, mac));
    }
    let mac = mac?;
    let port = fdb.iter().find(|entry| entry.mac == mac && is_pair(&entry.dev))?;
    Some((port.dev.clone(), Some(mac)))
}
