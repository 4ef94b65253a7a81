//! A VXLAN overlay as flannel's: a device per family, and for every other node a route, a permanent neighbour and a forwarding
//! entry, so that nothing is asked for and nothing is learned.
//!
//! Source: flannel `pkg/backend/vxlan/{vxlan,device,vxlan_network}.go`: VNI 1, UDP port 8472 (the kernel's default),
//! `nolearning`, the device's address is the network address of the node's pod range.

use alloc::sync::Arc;
use core::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::super::kernel::{add_address, onlink_route, own_link, setting_origin};
use super::super::node::{CARD, range_origin};
use crate::addr::{Family, MacAddr};
use crate::cluster::{Cluster, Node, Settings};
use crate::identity::identity;
use crate::plan::{FdbEntry, LinkKind, Neighbour, NeighbourState, Netns, Vxlan};

const VNI: u32 = 1;
const PORT: u16 = 8472;

/// The device of a family.
const fn device(family: Family) -> &'static str {
    match family {
        Family::V4 => "flannel.1",
        Family::V6 => "flannel-v6.1",
    }
}

/// Bytes that the outer headers of a family take: IP, UDP (8), VXLAN (8) and the inner Ethernet header (14).
const fn overhead(family: Family) -> u32 {
    match family {
        Family::V4 => 50,
        Family::V6 => 70,
    }
}

/// The MTU inside of the overlay: that of the first family's device.
pub(super) fn inner_mtu(settings: &Settings) -> u32 {
    let family = settings.cluster_cidr.value.first().map_or(Family::V4, |net| Family::of_net(*net));
    settings.mtu.value.saturating_sub(overhead(family))
}

fn device_mac(node: &Node, family: Family) -> MacAddr {
    MacAddr::local_from_hash(identity(&["Node", &node.name, device(family)]))
}

/// The addresses of a node's devices.
pub(super) fn addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    let has_family =
        |net: &&IpNet| node.addresses.iter().any(|addr| Family::of(*addr) == Family::of_net(**net));
    node.pod_cidrs.iter().filter(has_family).map(|net| net.network())
}

pub(super) fn add(cluster: &Cluster, node: &Node, place: u32, host: &mut Netns) {
    let underlay = setting_origin(&cluster.settings.underlay, "underlay");
    let mut families: SmallVec<[Family; 2]> = SmallVec::new();
    for net in &node.pod_cidrs {
        let family = Family::of_net(*net);
        let Some(local) = node.addresses.iter().find(|addr| Family::of(**addr) == family) else { continue };
        let kind = LinkKind::Vxlan(Vxlan {
            vni: VNI,
            port: PORT,
            local: Some(*local),
            dev: Some(CARD.into()),
            learning: false,
        });
        let mtu = cluster.settings.mtu.value.saturating_sub(overhead(family));
        host.links.push(own_link(node, device(family), kind, mtu, &underlay));
        add_address(host, device(family), IpNet::from(net.network()), &range_origin(node));
        families.push(family);
    }
    let names: [(Family, Arc<str>); 2] =
        [Family::V4, Family::V6].map(|family| (family, device(family).into()));
    for range in cluster.node_ranges().iter().filter(|range| range.node != place) {
        let family = Family::of_net(range.net);
        let Some(other) = cluster.nodes.get(range.node as usize) else { continue };
        let (Some(remote), true) = (range.router, families.contains(&family)) else { continue };
        let Some((_, dev)) = names.iter().find(|(of, _)| *of == family) else { continue };
        let (mac, router) = (device_mac(other, family), range.net.network());
        host.routes.push(onlink_route(range.net, router, dev.clone(), &range.origin));
        host.neighbours.push(Neighbour {
            addr: router,
            dev: dev.clone(),
            mac: Some(mac),
            state: NeighbourState::Permanent,
            origin: range.origin.clone(),
        });
        host.fdb.push(FdbEntry {
            mac,
            dev: dev.clone(),
            master: None,
            dst: Some(remote),
            permanent: true,
            origin: range.origin.clone(),
        });
    }
}
