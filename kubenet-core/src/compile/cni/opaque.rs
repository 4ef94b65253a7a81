//! A pod network whose inside is not known: pods and nodes are plugged into one segment that delivers to the owner of an
//! address, as the Kubernetes network model demands of every CNI.

use alloc::vec::Vec;

use ipnet::IpNet;

use super::super::fabric::POD_NETWORK;
use super::super::kernel::{any, own_link, route, setting_origin};
use super::super::node::{CARD, own_pods};
use super::super::pod::{self, INTERFACE};
use crate::addr::Family;
use crate::cluster::{Cluster, Node};
use crate::origin::Origin;
use crate::plan::{Link, LinkKind, MachinePlan, Netns};

/// The node's link to the pod network.
pub(in super::super) const POD_NETWORK_LINK: &str = "pod-network";

/// Where a cloud's CNI takes the pods' addresses from the nodes' own network, the way to the pods is more specific than the card's
/// connected route, and the way to each other node more specific still. O(nodes) there, nothing elsewhere.
fn among_nodes(cluster: &Cluster, place: u32, pods: IpNet, host: &mut Netns, origin: &Origin) {
    let shared =
        cluster.settings.node_network.value.iter().filter(|net| pods.contains(*net) || net.contains(&pods));
    for net in shared {
        let inside = if pods.contains(net) { net } else { &pods };
        let halves = net.subnets(net.prefix_len().saturating_add(1)).into_iter().flatten();
        for half in halves.filter(|_| pods.contains(net)) {
            host.routes.push(route(half, None, POD_NETWORK_LINK, origin));
        }
        for (other, node) in (0u32..).zip(cluster.nodes.iter()) {
            let others = node.addresses.iter().filter(|addr| other != place && inside.contains(*addr));
            host.routes.extend(others.map(|addr| route(IpNet::from(*addr), None, CARD, origin)));
        }
    }
}

pub(super) fn add(cluster: &Cluster, node: &Node, place: u32, plan: &mut MachinePlan) {
    let cni = setting_origin(&cluster.settings.cni, "cni");
    let mtu = cluster.settings.mtu.value;
    let kind = || LinkKind::Nic { segment: Some(POD_NETWORK) };
    let mut insides = Vec::new();
    let Some(host) = plan.netns.first_mut() else { return };
    let mut link = own_link(node, POD_NETWORK_LINK, kind(), mtu, &cni);
    link.noarp = true;
    host.links.push(link);
    for net in &cluster.settings.cluster_cidr.value {
        host.routes.push(route(*net, None, POD_NETWORK_LINK, &cni));
        among_nodes(cluster, place, *net, host, &cni);
    }
    for (_, one) in own_pods(cluster, place) {
        let mut inside = pod::netns(one);
        let mut interface = Link::new(INTERFACE, kind(), pod::mac(one), mtu, cni.clone());
        interface.noarp = true;
        inside.links.push(interface);
        for (own, _) in pod::add_addresses(one, &mut inside, |addr| Some(IpNet::from(addr))) {
            inside.routes.push(route(any(Family::of_net(own)), None, INTERFACE, &cni));
            // A pod outside of the cluster's range still has a route on its own node.
            if !cluster.settings.cluster_cidr.value.iter().any(|net| net.contains(&own)) {
                host.routes.push(route(own, None, POD_NETWORK_LINK, &cni));
            }
        }
        insides.push(inside);
    }
    plan.netns.append(&mut insides);
}
