//! Host routes: the pod range of every other node by that node's address (kindnet; flannel's `host-gw` backend).

use super::super::kernel::route;
use super::super::node::{CARD, range_origin};
use crate::addr::Family;
use crate::cluster::{Cluster, Node};
use crate::plan::Netns;

pub(super) fn add(cluster: &Cluster, node: &Node, host: &mut Netns) {
    for other in cluster.nodes.iter().filter(|other| other.name != node.name) {
        for net in &other.pod_cidrs {
            let family = Family::of_net(*net);
            if let Some(router) = other.addresses.iter().find(|addr| Family::of(**addr) == family) {
                host.routes.push(route(*net, Some(*router), CARD, &range_origin(other)));
            }
        }
    }
}
