//! A node: its own namespace with card, addresses and routes, and the namespaces of its pods.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::kernel::{add_address, any, node_mac, route, setting_origin, sort_routes, sysctls};
use super::{cni, fabric, load_balancer, pod, services, sockets};
use crate::addr::Family;
use crate::cluster::{Cluster, Node};
use crate::origin::Origin;
use crate::plan::{Link, LinkKind, MachineKind, MachinePlan, Netns, Undeclared};

/// The name of a node's card.
pub(super) const CARD: &str = "eth0";

/// The plan of a node. O(nodes + its pods × log).
pub(super) fn node(cluster: &Cluster, place: u32) -> Option<MachinePlan> {
    let node = cluster.nodes.get(place as usize)?;
    let mut host = Netns::new("", node.origin.clone());
    host.sysctls = sysctls(cluster);
    host.sysctls.route_localnet |= services::sets_route_localnet(cluster, place);
    host.undeclared = Undeclared::Unsaid;
    add_card(cluster, node, &mut host);
    load_balancer::add_to_node(cluster, place, &mut host);
    let mut plan = MachinePlan {
        name: node.name.clone(),
        kind: MachineKind::Node,
        netns: Vec::from([host]),
        origin: node.origin.clone(),
    };
    cni::add(cluster, node, place, &mut plan);
    sockets::add(cluster, place, &mut plan);
    services::add(cluster, node, &mut plan);
    plan.netns.iter_mut().for_each(sort_routes);
    Some(plan)
}

/// The card with the node's addresses, and the way to everywhere else.
fn add_card(cluster: &Cluster, node: &Node, host: &mut Netns) {
    let settings = &cluster.settings;
    let kind = LinkKind::Nic { segment: Some(fabric::SWITCH) };
    host.links.push(Link::new(CARD, kind, node_mac(node), settings.mtu.value, node.origin.clone()));
    for addr in &node.addresses {
        add_address(host, CARD, card_net(cluster, *addr), &node.origin.with_field("status.addresses"));
    }
    let network = setting_origin(&settings.node_network, "nodeNetwork");
    for addr in fabric::gateway_addresses(cluster) {
        let family = Family::of(addr);
        if node.addresses.iter().any(|own| Family::of(*own) == family) {
            host.routes.push(route(any(family), Some(addr), CARD, &network));
        }
    }
}

/// An address of a node's card with the prefix of the network that it is in.
pub(super) fn card_net(cluster: &Cluster, addr: IpAddr) -> IpNet {
    let network = cluster.settings.node_network.value.iter().find(|net| net.contains(&addr));
    let alone = IpNet::from(addr);
    network.and_then(|net| IpNet::new(addr, net.prefix_len()).ok()).unwrap_or(alone)
}

/// The pods that have a namespace of their own on a node, in the order of their namespaces.
pub(super) fn own_pods(
    cluster: &Cluster,
    place: u32,
) -> impl Iterator<Item = (u32, &Arc<crate::cluster::Pod>)> {
    let pods = cluster.pods_on_node.get(place as usize).map_or(&[][..], Vec::as_slice);
    pods.iter()
        .filter_map(|at| Some((*at, cluster.pods.get(*at as usize)?)))
        .filter(|(_, p)| pod::has_netns(p))
}

/// The pod range of a node that an address is in, or else its range of that family.
pub(super) fn pod_net(node: &Node, addr: IpAddr) -> Option<IpNet> {
    let family = |net: &&IpNet| Family::of_net(**net) == Family::of(addr);
    let holding = node.pod_cidrs.iter().find(|net| net.contains(&addr));
    holding.or_else(|| node.pod_cidrs.iter().find(family)).copied()
}

/// The first host of a pod range: the node's own address in it, which its pods use as their gateway.
pub(super) fn gateway_of(net: IpNet) -> IpAddr {
    match net {
        IpNet::V4(net) => u32::from(net.network())
            .checked_add(1)
            .map_or(net.addr().into(), |first| IpAddr::V4(first.into())),
        IpNet::V6(net) => u128::from(net.network())
            .checked_add(1)
            .map_or(net.addr().into(), |first| IpAddr::V6(first.into())),
    }
}

/// The origin of a node's pod range.
pub(super) fn range_origin(node: &Node) -> Origin {
    node.origin.with_field("spec.podCIDRs")
}
