//! Whether the node has a way to the pods of every other node.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::{Finding, FindingKind};
use crate::cluster::Cluster;
use crate::plan::{Netns, Route, RouteKind, TABLE_LOCAL};

/// Compares the ways to the pod ranges of other nodes. Which link and router lead there is the CNI's business; that none does, or
/// that the router is another node, is told. O(nodes × routes).
pub(super) fn compare(cluster: &Cluster, node: u32, called_for: &Netns, seen: &Netns) -> Vec<Finding> {
    let Some(own) = cluster.nodes.get(node as usize) else { return Vec::new() };
    let mut findings = Vec::new();
    for (place, other) in cluster.nodes.iter().enumerate().filter(|(place, _)| *place != node as usize) {
        for range in &other.pod_cidrs {
            let Some(wanted) = way(called_for, *range).filter(|route| leads_there(route)) else { continue };
            let owner = format!("the pod range of {}", other.name);
            let message = match way(seen, *range) {
                None => format!("{} has no route to {range}, {owner}", own.name),
                Some(route) if refuses(route) => format!("{} refuses packets to {range}, {owner}", own.name),
                Some(route) => match wrong_node(cluster, route, place) {
                    Some(wrong) => format!("{} sends packets to {range}, {owner}, to {wrong}", own.name),
                    None => continue,
                },
            };
            findings.push(finding(message, wanted));
        }
    }
    findings
}

fn finding(message: String, wanted: &Route) -> Finding {
    Finding {
        kind: FindingKind::Route,
        message,
        service: None,
        endpoints: Vec::new(),
        packets: Vec::new(),
        origin: Some(wanted.origin.clone()),
    }
}

/// The most specific route that covers a range and is no default route, in any table.
fn way(netns: &Netns, range: IpNet) -> Option<&Route> {
    let covers = |route: &&Route| {
        route.table != TABLE_LOCAL && route.dst.prefix_len() > 0 && route.dst.contains(&range)
    };
    netns.routes.iter().filter(covers).max_by_key(|route| route.dst.prefix_len())
}

const fn refuses(route: &Route) -> bool {
    matches!(route.kind, RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit)
}

fn leads_there(route: &Route) -> bool {
    !refuses(route) && !route.next_hops.is_empty()
}

/// The node that the route leads to, if it is another one than the range's owner.
fn wrong_node(cluster: &Cluster, route: &Route, owner: usize) -> Option<String> {
    let via: IpAddr = route.next_hops.first()?.via?;
    let place = cluster.node_by_address(via)? as usize;
    let node = cluster.nodes.get(place).filter(|_| place != owner)?;
    Some(format!("{} ({via})", node.name))
}
