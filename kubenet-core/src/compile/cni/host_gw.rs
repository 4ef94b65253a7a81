//! Host routes: the pod range of every other node by that node's address (kindnet; flannel's `host-gw` backend).

use alloc::sync::Arc;

use super::super::kernel::route;
use super::super::node::CARD;
use crate::cluster::Cluster;
use crate::plan::Netns;

pub(super) fn add(cluster: &Cluster, place: u32, host: &mut Netns) {
    let card: Arc<str> = CARD.into();
    for range in cluster.node_ranges().iter().filter(|range| range.node != place) {
        if let Some(router) = range.router {
            host.routes.push(route(range.net, Some(router), card.clone(), &range.origin));
        }
    }
}
