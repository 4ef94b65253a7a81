//! A VXLAN overlay as flannel's: a device per family, and for every other node a route, a permanent neighbour and a forwarding
//! entry, so that nothing is asked for and nothing is learned.
//!
//! Source: flannel `pkg/backend/vxlan/{vxlan,device,vxlan_network}.go`: VNI 1, UDP port 8472 (the kernel's default),
//! `nolearning`, the device's address is the network address of the node's pod range.

use core::net::IpAddr;

use ipnet::IpNet;

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

/// A pod range and the node's address of the same family.
fn ends(node: &Node) -> impl Iterator<Item = (IpNet, IpAddr)> {
    node.pod_cidrs.iter().filter_map(|net| {
        let family = Family::of_net(*net);
        let addr = node.addresses.iter().find(|addr| Family::of(**addr) == family)?;
        Some((*net, *addr))
    })
}

pub(super) fn add(cluster: &Cluster, node: &Node, host: &mut Netns) {
    let underlay = setting_origin(&cluster.settings.underlay, "underlay");
    for (net, local) in ends(node) {
        let family = Family::of_net(net);
        let kind = LinkKind::Vxlan(Vxlan {
            vni: VNI,
            port: PORT,
            local: Some(local),
            dev: Some(CARD.into()),
            learning: false,
        });
        let mtu = cluster.settings.mtu.value.saturating_sub(overhead(family));
        host.links.push(own_link(node, device(family), kind, mtu, &underlay));
        add_address(host, device(family), IpNet::from(net.network()), &range_origin(node));
    }
    for other in cluster.nodes.iter().filter(|other| other.name != node.name) {
        for (net, remote) in ends(other) {
            let family = Family::of_net(net);
            if !ends(node).any(|(own, _)| Family::of_net(own) == family) {
                continue;
            }
            let (dev, mac, origin) = (device(family), device_mac(other, family), range_origin(other));
            let router = net.network();
            host.routes.push(onlink_route(net, router, dev, &origin));
            host.neighbours.push(Neighbour {
                addr: router,
                dev: dev.into(),
                mac: Some(mac),
                state: NeighbourState::Permanent,
                origin: origin.clone(),
            });
            host.fdb.push(FdbEntry {
                mac,
                dev: dev.into(),
                master: None,
                dst: Some(remote),
                permanent: true,
                origin,
            });
        }
    }
}
