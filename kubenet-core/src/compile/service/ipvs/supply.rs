//! What a packet looks up, made for that packet alone from the Services that its addresses and ports mean.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::chain::{self, CHAINS, Present};
use super::part::{entries, frontends, is_bound, loop_back, out_filter, server};
use super::{Shared, ordered};
use crate::addr::Family;
use crate::cluster::Cluster;
use crate::compile::service::port::records_of_service;
use crate::compile::service::{ProxyConfig, ServicePort, ports_of_service};
use crate::origin::Origin;
use crate::plan::netfilter::PacketKey;
use crate::plan::xt::{Chain, Rule};
use crate::plan::{IpSetEntry, IpSetPart, VirtualId, VirtualServer};

/// A chain with the rules that the packet could match: those whose sets hold something of the Services that it may be for.
pub(in crate::compile::service) fn chain(
    cluster: &Cluster,
    config: &ProxyConfig,
    (table, name): (&str, &str),
    key: &PacketKey,
) -> Option<Arc<Chain>> {
    if !CHAINS.contains(&(table, name)) {
        return None;
    }
    let at = |addr| records(cluster, config, cluster.services_at(addr));
    let mut out: Vec<Rule> = Vec::new();
    let mut sets: Vec<Shared> = Vec::new();
    if name == "KUBE-IPVS-OUT-FILTER" {
        // The packet is on its way to an endpoint; its source is still the load balancer's address.
        let rules = at(key.src).into_iter().flat_map(|record| out_filter(config, &record));
        out.extend(rules);
    } else if name == "KUBE-POSTROUTING" {
        let port = key.ports.map(|(_, dport)| IpSetPart::Port(key.protocol, dport));
        let (dst, src) = (IpSetPart::Net(key.dst.into()), IpSetPart::Net(key.src.into()));
        let itself = port.and_then(|port| entry(cluster, config, Shared::LoopBack, &[dst, port, src]));
        sets.extend(itself.map(|_| Shared::LoopBack));
    } else {
        let on_nodes = key.ports.map_or(&[][..], |(_, dport)| cluster.services_with_node_port(dport));
        let meant = [at(key.dst), at(key.src), records(cluster, config, on_nodes)];
        let entries = meant.iter().flatten().flat_map(|record| entries(config, record));
        sets.extend(entries.map(|(shared, _)| shared));
    }
    let present = Present { has: &|shared| sets.contains(&shared), out_filter: out };
    chain::made(config, table, name, present).map(Arc::new)
}

/// The entry of a set that holds these parts of a packet: of ranges the longest.
pub(in crate::compile::service) fn entry(
    cluster: &Cluster,
    config: &ProxyConfig,
    shared: Shared,
    parts: &[IpSetPart],
) -> Option<IpSetEntry> {
    let found: Vec<(Shared, IpSetEntry)> = match (shared, parts) {
        (Shared::LoopBack, [IpSetPart::Net(to), ..]) => {
            let services = cluster.services_with_endpoint(to.addr());
            let ports = services.into_iter().flat_map(|place| ports_of_service(cluster, place, config));
            ports.flat_map(|port| loop_back(&port).collect::<Vec<_>>()).collect()
        }
        (Shared::NodePortSctp | Shared::NodePortLocalSctp, [_, IpSetPart::Port(_, number)])
        | (_, [IpSetPart::PortAlone(number)]) => {
            let services = cluster.services_with_node_port(*number);
            records(cluster, config, services).iter().flat_map(|record| entries(config, record)).collect()
        }
        (_, [IpSetPart::Net(to), ..]) => {
            let services = cluster.services_at(to.addr());
            records(cluster, config, services).iter().flat_map(|record| entries(config, record)).collect()
        }
        _ => return None,
    };
    let of_set = found.into_iter().filter(|(of, _)| *of == shared).map(|(_, entry)| entry);
    let holding = ordered(of_set).into_iter().filter(|entry| holds(entry, parts));
    holding.max_by_key(range_length)
}

fn holds(entry: &IpSetEntry, parts: &[IpSetPart]) -> bool {
    let holds = |(part, shown): (&IpSetPart, &IpSetPart)| match (part, shown) {
        (IpSetPart::Net(net), IpSetPart::Net(shown)) => net.contains(&shown.addr()),
        (part, shown) => part == shown,
    };
    entry.parts.len() == parts.len() && entry.parts.iter().zip(parts).all(holds)
}

fn range_length(entry: &IpSetEntry) -> u8 {
    match entry.parts.last() {
        Some(IpSetPart::Net(net)) => net.prefix_len(),
        _ => 0,
    }
}

/// The virtual server of that name. Of two Services that claim one the later counts.
pub(in crate::compile::service) fn virtual_server(
    cluster: &Cluster,
    config: &ProxyConfig,
    wanted: &VirtualId,
) -> Option<Arc<VirtualServer>> {
    let VirtualId::Addr { addr, port, .. } = *wanted else { return None };
    let mut services: Vec<u32> =
        cluster.services_at(addr).iter().chain(cluster.services_with_node_port(port)).copied().collect();
    services.sort_unstable();
    services.dedup();
    services.into_iter().rev().find_map(|place| {
        let claims = |record: &ServicePort| {
            frontends(config, record).into_iter().rev().find(|front| front.id == *wanted)
        };
        let records = records_of_service(cluster, place, config);
        let (at, front) = (0..records.len()).rev().find_map(|at| Some((at, claims(records.get(at)?)?)))?;
        let ports = ports_of_service(cluster, place, config);
        ports.get(at).map(|port| server(config, port, front))
    })
}

fn records(cluster: &Cluster, config: &ProxyConfig, services: &[u32]) -> Vec<ServicePort> {
    services.iter().flat_map(|place| records_of_service(cluster, *place, config)).collect()
}

/// The addresses that `kube-ipvs0` has in the family of the configuration, in order, each with the last Service that it is for.
/// O(Services): every node on a packet's way has them all.
pub(in crate::compile) fn bound<'c>(
    cluster: &'c Cluster,
    config: &ProxyConfig,
) -> impl Iterator<Item = (IpAddr, &'c Origin)> {
    let mut last = None;
    let of_family = cluster.virtual_addresses().iter().filter(|it| Family::of(it.addr) == config.family);
    of_family
        .filter(|it| it.of_cluster || is_bound(config, it.addr))
        .filter(move |it| last.replace(it.addr) != Some(it.addr))
        .map(|it| (it.addr, &it.origin))
}
