//! A pod network whose inside is not known: pods and nodes are plugged into one segment that delivers to the owner of an
//! address, as the Kubernetes network model demands of every CNI.

use alloc::vec::Vec;

use ipnet::IpNet;

use super::super::fabric::POD_NETWORK;
use super::super::kernel::{any, own_link, route, setting_origin};
use super::super::node::own_pods;
use super::super::pod::{self, INTERFACE};
use crate::addr::Family;
use crate::cluster::{Cluster, Node};
use crate::plan::{Link, LinkKind, MachinePlan};

/// The node's link to the pod network.
pub(in super::super) const POD_NETWORK_LINK: &str = "pod-network";

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
