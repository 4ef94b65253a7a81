//! Where a dump shows the namespaces that were computed: behind which link each address is.
//!
//! A namespace is found by a route of its own (`10.244.1.5 dev veth…`), or by the neighbour table (address to MAC) and the
//! bridge's forwarding table (MAC to port). The link's other end is then the namespace's own card, with the MAC that was
//! seen. A namespace that the dump does not show is left without a cable.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::addr::MacAddr;
use crate::plan::{FdbEntry, LinkKind, MachinePlan, Netns};

/// Plugs the namespaces of a machine into the links of its own one.
pub(super) fn plug_in(machine: &mut MachinePlan, host: &mut Netns, fdb: &[FdbEntry]) {
    for place in 1..machine.netns.len() {
        let Some(netns) = machine.netns.get(place) else { continue };
        let addresses: Vec<IpAddr> =
            netns.addresses().map(|net| net.addr()).filter(|addr| !addr.is_loopback()).collect();
        let Some((card, _)) = netns.links.iter().enumerate().find(|(_, link)| is_veth(&link.kind)) else {
            continue;
        };
        let seen = addresses.iter().find_map(|addr| behind(host, fdb, *addr));
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
            None => inside.kind = LinkKind::Nic { segment: None },
        }
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
