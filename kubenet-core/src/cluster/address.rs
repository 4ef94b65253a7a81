//! Makes up what the control plane would have given: ranges and addresses of nodes, addresses of pods.
//!
//! In: nodes and pods, some of them with what the input states. Out: the same with every range and address that is missing.
//! What is made up follows from the owner's name: the [`identity`] hash chooses a place in the range, and the next
//! free one is taken. So adding or removing one object moves no other, unless both wanted the same place.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::{Node, Pod, Settings};
use crate::addr::Family;
use crate::identity::identity;
use crate::ipam::{CidrSet, Held, bounds, from_number, to_number};
use crate::origin::{Diagnostic, OriginKind};

/// The number of a node that was made up: 1 for `node-1`.
pub(super) fn made_up_number(node: &Node) -> Option<u64> {
    if !matches!(node.origin.kind(), OriginKind::MadeUp { .. }) {
        return None;
    }
    node.name.strip_prefix("node-")?.parse::<u64>().ok().filter(|n| *n > 0)
}

/// Nodes that were made up by number have the first choice; then the others, by name.
fn numbered_first(nodes: &mut [Node]) -> impl Iterator<Item = &mut Node> {
    let mut all: Vec<&mut Node> = nodes.iter_mut().collect();
    all.sort_by_key(|node| made_up_number(node).map_or((1, 0), |number| (0, number)));
    all.into_iter()
}

/// Gives every node a pod range of every family that the cluster has, as the range allocator would: what overlaps the
/// Service range is left out, what the input states is kept. A node whose pods state addresses gets the block of the first.
pub(super) fn give_pod_cidrs(
    nodes: &mut [Node],
    pods: &[Pod],
    settings: &Settings,
    log: &mut Vec<Diagnostic>,
) {
    let mut stated_on: BTreeMap<(Family, Arc<str>), IpAddr> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.host_network && !pod.terminal) {
        let Some(node) = pod.node.and_then(|node| nodes.get(node as usize)) else { continue };
        for addr in &pod.addresses {
            stated_on.entry((Family::of(*addr), node.name.clone())).or_insert(*addr);
        }
    }
    for cluster in &settings.cluster_cidr.value {
        let family = Family::of_net(*cluster);
        let mask = match family {
            Family::V4 => settings.node_cidr_mask_v4.value,
            Family::V6 => settings.node_cidr_mask_v6.value,
        };
        let mut set = match CidrSet::new(*cluster, mask) {
            Ok(set) => set,
            Err(error) => {
                let help = "set clusterCidr, nodeCidrMaskV4 or nodeCidrMaskV6";
                log.push(Diagnostic::warning("cluster-range", format!("cluster range {error}")).help(help));
                continue;
            }
        };
        let stated = nodes.iter().flat_map(|node| &node.pod_cidrs);
        for net in settings.service_cidr.value.iter().chain(stated) {
            let _outside_is_fine = set.occupy(*net);
        }
        for node in numbered_first(nodes) {
            if node.pod_cidrs.iter().any(|net| Family::of_net(*net) == family) {
                continue;
            }
            let of_pods = stated_on.get(&(family, node.name.clone()));
            let of_pods = of_pods.and_then(|addr| set.index_of(IpNet::from(*addr)).ok());
            let index = match (of_pods, made_up_number(node)) {
                (Some(index), _) => index,
                (None, Some(number)) => number - 1,
                (None, None) => identity(&["Node", &node.name, "podCIDR"]),
            };
            match set.allocate_from(index) {
                Ok(block) => node.pod_cidrs.push(block),
                Err(error) => log.push(
                    Diagnostic::warning(
                        "range-full",
                        format!("node {} has no pod range: {error}", node.name),
                    )
                    .from_origin(&node.origin)
                    .help("set a larger clusterCidr, or a longer nodeCidrMaskV4"),
                ),
            }
        }
    }
    for node in nodes {
        sort_by_family(&mut node.pod_cidrs, settings, |net| Family::of_net(*net));
    }
}

/// Gives every node an internal address of every family that the cluster has.
pub(super) fn give_node_addresses(nodes: &mut [Node], settings: &Settings, log: &mut Vec<Diagnostic>) {
    for network in &settings.node_network.value {
        let family = Family::of_net(*network);
        let mut pool = Pool::new(*network);
        for addr in nodes.iter().flat_map(|node| &node.addresses) {
            pool.hold(*addr);
        }
        for node in numbered_first(nodes) {
            if node.addresses.iter().any(|addr| Family::of(*addr) == family) {
                continue;
            }
            let start = match made_up_number(node) {
                Some(number) => number - 1,
                None => identity(&["Node", &node.name, "InternalIP"]),
            };
            match pool.take(start) {
                Some(addr) => node.addresses.push(addr),
                None => log.push(
                    Diagnostic::warning(
                        "range-full",
                        format!("node {} has no address: {network} is full", node.name),
                    )
                    .from_origin(&node.origin)
                    .help("set a larger nodeNetwork"),
                ),
            }
        }
    }
    for node in nodes {
        sort_by_family(&mut node.addresses, settings, |addr| Family::of(*addr));
    }
}

/// Gives every pod that runs on a node the addresses that it lacks, from the node's ranges; pods on the host's network get
/// the node's. `pods` are sorted by name. O(pods × log).
pub(super) fn give_pod_addresses(
    nodes: &[Node],
    pods: &mut [Pod],
    settings: &Settings,
    log: &mut Vec<Diagnostic>,
) {
    let mut pools: Vec<Vec<(Pool, u64)>> =
        nodes.iter().map(|node| node.pod_cidrs.iter().map(|net| (Pool::new(*net), 0)).collect()).collect();
    for pod in pods.iter() {
        let of_node = pod.node.and_then(|node| pools.get_mut(node as usize));
        for (pool, _) in of_node.into_iter().flatten() {
            pod.addresses.iter().for_each(|addr| pool.hold(*addr));
        }
    }
    for pod in pods.iter_mut() {
        let Some(place) = pod.node else { continue };
        let Some(node) = nodes.get(place as usize) else { continue };
        if pod.terminal {
            continue;
        }
        if pod.host_network {
            if pod.addresses.is_empty() {
                pod.addresses.clone_from(&node.addresses);
            }
            continue;
        }
        for (pool, full) in pools.get_mut(place as usize).into_iter().flatten() {
            if pod.addresses.iter().any(|addr| Family::of(*addr) == pool.family) {
                continue;
            }
            match pool.take(identity(&["Pod", &pod.namespace, &pod.name])) {
                Some(addr) => pod.addresses.push(addr),
                None => *full += 1,
            }
        }
        sort_by_family(&mut pod.addresses, settings, |addr| Family::of(*addr));
    }
    for (node, pools) in nodes.iter().zip(&pools) {
        for (pool, full) in pools.iter().filter(|(_, full)| *full > 0) {
            let message = format!("node {}: {full} pods have no address: {} is full", node.name, pool.net);
            let help = "make up more nodes (--nodes), or set a shorter nodeCidrMaskV4";
            log.push(Diagnostic::warning("range-full", message).from_origin(&node.origin).help(help));
        }
    }
}

/// Host addresses of a prefix, chosen by hash. The network's address, the first host (the gateway) and in IPv4 the broadcast
/// address are left out; of a large IPv6 range only the first 65,534 are used, so that addresses stay short.
struct Pool {
    net: IpNet,
    family: Family,
    first: u128,
    size: u64,
    held: Held,
}

impl Pool {
    fn new(net: IpNet) -> Self {
        let (low, high) = bounds(net);
        let end = match net {
            IpNet::V4(_) => high.saturating_sub(1),
            IpNet::V6(_) => high,
        };
        let size = end.saturating_add(1).saturating_sub(low.saturating_add(2)).min(0xfffe) as u64;
        Self { net, family: Family::of_net(net), first: low.saturating_add(2), size, held: Held::new() }
    }

    fn hold(&mut self, addr: IpAddr) {
        if self.net.contains(&addr)
            && let Some(index) = to_number(addr).checked_sub(self.first)
        {
            self.held.insert(index);
        }
    }

    fn take(&mut self, start: u64) -> Option<IpAddr> {
        let last = self.size.checked_sub(1)?;
        let index = self.held.next_free_around((start % self.size).into(), 0, last.into())?;
        self.held.insert(index);
        Some(from_number(self.family, self.first + index))
    }
}

/// The primary family first.
fn sort_by_family<T>(items: &mut [T], settings: &Settings, family: impl Fn(&T) -> Family) {
    let order = |item: &T| {
        let families = settings.cluster_cidr.value.iter().map(|net| Family::of_net(*net));
        families.take_while(|f| *f != family(item)).count()
    };
    items.sort_by_key(order);
}
