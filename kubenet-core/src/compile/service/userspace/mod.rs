//! userspace mode: what kube-proxy 1.21 wrote into the tables `filter` and `nat`, and the sockets that it listened on
//! (`pkg/proxy/userspace/{proxier,proxysocket,roundrobin}.go`; removed in 1.26).
//!
//! In: service ports on a node. Out: chains and rules that send packets for a Service to a port of the node itself, and behind
//! that port a process that hands them to endpoints over connections of its own ([`Relay`](crate::plan::Relay)). An endpoint therefore sees the
//! node's address, whoever asks; and a client is connected before anybody looks for an endpoint.
//!
//! | chain | from | what |
//! |---|---|---|
//! | `KUBE-PORTALS-CONTAINER` | `nat` PREROUTING, first | virtual addresses, redirected to the node's own port |
//! | `KUBE-PORTALS-HOST` | `nat` OUTPUT, first | likewise for packets of the node, sent to its primary address |
//! | `KUBE-NODEPORT-CONTAINER` | `nat` PREROUTING, last, to local addresses | node ports |
//! | `KUBE-NODEPORT-HOST` | `nat` OUTPUT, last, to local addresses | node ports |
//! | `KUBE-NODEPORT-NON-LOCAL` | `filter` INPUT, first | lets new connections to those ports in |
//!
//! Every service port makes one [`Part`], which no endpoint has a say in. kube-proxy visits service ports in the random order of a Go map, here
//! they are visited in the order that they are given in. One family is served: that of the node's first address
//! (`cmd/kube-proxy/app/server_others.go`), for Services whose first cluster IP is of it. SCTP is not.
//!
//! What came to the API later, or was left to other modes, is not looked at: traffic policies, hints, endpoints that terminate,
//! `loadBalancerSourceRanges`, health check ports, `nodePortAddresses`, the mark to masquerade.
//!
//! Not modelled: `--bind-address` and `--proxy-port-range`; that kube-proxy gives up on the rest of a service port when `iptables`
//! refuses an external address of the other family; `ipMode`, which is newer than this mode, is respected.

mod proxy_ports;
mod sockets;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

pub(super) use self::proxy_ports::{ProxyPorts, of_record, of_records};
pub(in crate::compile) use self::sockets::ProxySockets;
use super::port::records_of_service;
use super::{Port, ProxyConfig, ServicePort, iptables};
use crate::addr::{Family, Protocol};
use crate::cluster::Cluster;
use crate::compile::tables::{Draft, Tables, chain, dnat};
use crate::k8s::{Objects, sloppy};
use crate::origin::Origin;
use crate::plan::netfilter::{CtState, NatFlags, PacketKey, PortRange};
use crate::plan::xt::{Chain, Inv, Match, Physdev, Rule, Table, Target};

/// The chains, by table and name.
const CHAINS: [(&str, &str); 5] = [
    ("nat", "KUBE-PORTALS-CONTAINER"),
    ("nat", "KUBE-PORTALS-HOST"),
    ("nat", "KUBE-NODEPORT-CONTAINER"),
    ("nat", "KUBE-NODEPORT-HOST"),
    ("filter", "KUBE-NODEPORT-NON-LOCAL"),
];

/// The rules of one service port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// `KUBE-PORTALS-CONTAINER`.
    pub portals: Vec<Rule>,
    /// `KUBE-PORTALS-HOST`.
    pub host_portals: Vec<Rule>,
    /// `KUBE-NODEPORT-CONTAINER`.
    pub node_port: Option<Rule>,
    /// `KUBE-NODEPORT-HOST`.
    pub host_node_port: Option<Rule>,
    /// `KUBE-NODEPORT-NON-LOCAL`.
    pub non_local: Option<Rule>,
}

/// The service ports of a Service that kube-proxy knows: all, where its first address is of the family.
pub(super) fn records(cluster: &Cluster, service: u32, config: &ProxyConfig) -> Vec<ServicePort> {
    let first = cluster.services.get(service as usize).and_then(|service| service.cluster_ips.first());
    if first.is_none_or(|addr| Family::of(*addr) != config.family) {
        return Vec::new();
    }
    records_of_service(cluster, service, config)
}

/// Compiles one service port that kube-proxy listens for at a port of the node. O(its frontends).
pub fn part(config: &ProxyConfig, record: &ServicePort, proxy_port: Option<u16>) -> Part {
    match (proxy_port, config.node_ip) {
        (Some(number), Some(node_ip)) => Maker { record, number, node_ip }.part(),
        // It could not listen; without an address of the node it does not even start.
        (None, _) | (_, None) => Part::default(),
    }
}

/// Makes the rules of one service port.
struct Maker<'a> {
    record: &'a ServicePort,
    /// Where kube-proxy listens.
    number: u16,
    node_ip: IpAddr,
}

impl Maker<'_> {
    fn part(&self) -> Part {
        let record = self.record;
        let mut part = Part::default();
        self.add_portal(&mut part, record.cluster_ip);
        // An external address may be that of a host: what a bridge carries, and what the node sends elsewhere, is left alone.
        for addr in &record.external_ips {
            let portal = || self.draft(record.port).to(*addr);
            let routed = Physdev { is_in: Some(Inv::not(())), ..Physdev::default() };
            let routed = Match::Physdev(routed.into());
            part.portals.push(self.redirected(portal().module(routed)));
            part.portals.push(self.redirected(portal().local_destination()));
            part.host_portals.push(self.sent_to_the_node(portal().local_destination()));
        }
        record.vips.iter().for_each(|addr| self.add_portal(&mut part, *addr));
        if let Some(node_port) = record.node_port {
            part.node_port = Some(self.redirected(self.draft(node_port)));
            part.host_node_port = Some(self.sent_to_the_node(self.draft(node_port)));
            let new = Match::State(Inv::is(Vec::from([CtState::New])));
            part.non_local = Some(self.draft(self.number).module(new).target(Target::Accept));
        }
        part
    }

    fn add_portal(&self, part: &mut Part, addr: IpAddr) {
        let portal = || self.draft(self.record.port).to(addr);
        part.portals.push(self.redirected(portal()));
        part.host_portals.push(self.sent_to_the_node(portal()));
    }

    fn draft(&self, dport: u16) -> Draft {
        let record = self.record;
        Draft::new(&record.origin).comment(String::from(record)).dport(record.protocol, dport)
    }

    fn redirected(&self, draft: Draft) -> Rule {
        let ports = Some(PortRange::one(self.number));
        draft.target(Target::Redirect { ports, flags: NatFlags::default() })
    }

    fn sent_to_the_node(&self, draft: Draft) -> Rule {
        draft.target(dnat(self.node_ip, self.number))
    }
}

/// A chain with the rules of these parts. `None` for another name.
fn shared_chain<'a>(table: &str, name: &str, parts: impl Iterator<Item = &'a Part>) -> Option<Chain> {
    let rules: Vec<Rule> = match (table, name) {
        ("nat", "KUBE-PORTALS-CONTAINER") => parts.flat_map(|part| &part.portals).cloned().collect(),
        ("nat", "KUBE-PORTALS-HOST") => parts.flat_map(|part| &part.host_portals).cloned().collect(),
        ("nat", "KUBE-NODEPORT-CONTAINER") => parts.filter_map(|part| part.node_port.clone()).collect(),
        ("nat", "KUBE-NODEPORT-HOST") => parts.filter_map(|part| part.host_node_port.clone()).collect(),
        ("filter", "KUBE-NODEPORT-NON-LOCAL") => parts.filter_map(|part| part.non_local.clone()).collect(),
        _ => return None,
    };
    Some(chain(name, rules))
}

/// The rules in built-in chains that lead to kube-proxy's, in the order in which they are made (`iptablesInit`).
pub(super) fn add_jumps(tables: &mut Tables) {
    let origin = Origin::implied("kube-proxy");
    let draft = || Draft::new(&origin);
    let portals = || draft().comment("handle ClusterIPs; NOTE: this must be before the NodePort rules");
    let node_ports = || {
        let words = "handle service NodePorts; NOTE: this must be the last rule in the chain";
        draft().local_destination().comment(words)
    };
    tables.prepend("nat", "PREROUTING", portals().jump("KUBE-PORTALS-CONTAINER"));
    tables.prepend("nat", "OUTPUT", portals().jump("KUBE-PORTALS-HOST"));
    tables.append("nat", "PREROUTING", node_ports().jump("KUBE-NODEPORT-CONTAINER"));
    tables.append("nat", "OUTPUT", node_ports().jump("KUBE-NODEPORT-HOST"));
    let words = "Ensure that non-local NodePort traffic can flow";
    tables.prepend("filter", "INPUT", draft().comment(words).jump("KUBE-NODEPORT-NON-LOCAL"));
}

/// kube-proxy's chains with the rules of these parts.
pub(super) fn add_chains<'a>(parts: impl Iterator<Item = &'a Part> + Clone, tables: &mut Tables) {
    for (table, name) in CHAINS {
        if let Some(chain) = shared_chain(table, name, parts.clone()) {
            tables.chain(table, Arc::new(chain));
        }
    }
}

/// The tables of one family as a node shows them, with kubelet's chains and nothing of others. O(rules).
pub(super) fn shown(objects: &Objects, config: &ProxyConfig, ports: &[Port]) -> Vec<Table> {
    let is_primary = |record: &&ServicePort| {
        let service = objects.services.get(&(record.namespace.clone(), record.name.clone()));
        let stated = service.and_then(|service| service.spec.cluster_ips.first());
        stated.is_none_or(|text| sloppy::addr(text).is_some_and(|addr| Family::of(addr) == config.family))
    };
    let records: Vec<&ServicePort> = ports.iter().map(|port| &*port.record).filter(is_primary).collect();
    let numbers = of_records(&records);
    let parts: Vec<Part> =
        (0..).zip(&records).map(|(place, record)| part(config, record, numbers.number(place, 0))).collect();
    let mut tables = Tables::new(config.family);
    add_jumps(&mut tables);
    iptables::add_kubelet(&mut tables, config.family);
    add_chains(parts.iter(), &mut tables);
    tables.finish()
}

/// A chain with the rules that the packet could match.
pub(super) fn looked_up(
    cluster: &Cluster,
    config: &ProxyConfig,
    numbers: &ProxyPorts,
    (table, name): (&str, &str),
    key: &PacketKey,
) -> Option<Arc<Chain>> {
    if !CHAINS.contains(&(table, name)) {
        return None;
    }
    let dport = key.ports.map_or(0, |(_, dport)| dport);
    let mut services: Vec<u32> = match name {
        "KUBE-PORTALS-CONTAINER" | "KUBE-PORTALS-HOST" => cluster.services_at(key.dst).to_vec(),
        "KUBE-NODEPORT-NON-LOCAL" => {
            [Protocol::Tcp, Protocol::Udp].into_iter().filter_map(|it| numbers.owner(it, dport)).collect()
        }
        _ => cluster.services_with_node_port(dport).to_vec(),
    };
    services.sort_unstable();
    services.dedup();
    let mut parts = Vec::new();
    for place in services {
        let records = records(cluster, place, config);
        parts.extend(records.iter().map(|it| part(config, it, of_record(numbers, cluster, place, it))));
    }
    shared_chain(table, name, parts.iter()).map(Arc::new)
}
