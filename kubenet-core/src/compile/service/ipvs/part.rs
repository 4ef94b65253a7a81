//! One service port: its entries in the sets that all share, its virtual servers, and the rules that are for it alone.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Shared;
use crate::addr::{Family, Protocol};
use crate::compile::service::iptables::allows_node;
use crate::compile::service::{Endpoint, Port, ProxyConfig, ServicePort};
use crate::compile::tables::Draft;
use crate::plan::xt::{Inv, Match, Rule, Target};
use crate::plan::{
    IpSetEntry, IpSetPart, IpvsProtocol, Persistence, RealServer, Scheduler, VirtualId, VirtualServer,
};

/// The addresses at which node ports have virtual servers: those of the node, without loopback and, in IPv6, those of a link.
pub(super) fn node_addresses(config: &ProxyConfig) -> Vec<IpAddr> {
    let own = if config.matches_all_addresses() { &config.local_addresses } else { &config.node_port_ips() };
    own.iter().copied().filter(|addr| !addr.is_loopback() && !is_link_local(*addr)).collect()
}

const fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(_) => false,
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

/// Whether `kube-ipvs0` gets an address that is not a cluster IP: no other link may have it.
pub(super) fn is_bound(config: &ProxyConfig, addr: IpAddr) -> bool {
    !config.local_addresses.contains(&addr)
}

/// The entries of a service port in the sets that all share, endpoints aside. O(its frontends × ranges).
pub fn entries(config: &ProxyConfig, record: &ServicePort) -> Vec<(Shared, IpSetEntry)> {
    let mut all = Vec::new();
    let mut add = |shared: Shared, parts: &[IpSetPart]| {
        all.push((shared, IpSetEntry::new(parts.to_vec(), record.origin.clone())));
    };
    let at = |addr: IpAddr| [IpSetPart::Net(addr.into()), port_part(record, record.port)];
    add(Shared::ClusterIp, &at(record.cluster_ip));
    add(Shared::IpvsIps, &[IpSetPart::Net(record.cluster_ip.into())]);
    for addr in &record.external_ips {
        let shared = if record.external_local { Shared::ExternalIpLocal } else { Shared::ExternalIp };
        add(shared, &at(*addr));
    }
    for addr in &record.vips {
        add(Shared::LoadBalancer, &at(*addr));
        if record.external_local {
            add(Shared::LoadBalancerLocal, &at(*addr));
        }
        if record.source_ranges.is_empty() {
            continue;
        }
        add(Shared::LoadBalancerFw, &at(*addr));
        let [to, port] = at(*addr);
        for range in &record.source_ranges {
            add(Shared::LoadBalancerSourceCidr, &[to.clone(), port.clone(), IpSetPart::Net(*range)]);
        }
        if allows_node(config, &record.source_ranges) {
            add(Shared::LoadBalancerSourceIp, &[to.clone(), port, to]);
        }
    }
    for addr in record.external_ips.iter().chain(&record.vips).filter(|addr| is_bound(config, **addr)) {
        add(Shared::IpvsIps, &[IpSetPart::Net((*addr).into())]);
    }
    if let Some(number) = record.node_port {
        let own = node_addresses(config);
        if own.is_empty() {
            // kube-proxy goes on with the next service port.
            return all;
        }
        let (cluster, local) = match record.protocol {
            Protocol::Tcp | Protocol::Icmp => (Shared::NodePortTcp, Shared::NodePortLocalTcp),
            Protocol::Udp => (Shared::NodePortUdp, Shared::NodePortLocalUdp),
            Protocol::Sctp => (Shared::NodePortSctp, Shared::NodePortLocalSctp),
        };
        let sets = [Some(cluster), record.external_local.then_some(local)];
        for shared in sets.into_iter().flatten() {
            if record.protocol == Protocol::Sctp {
                for addr in &own {
                    add(shared, &[IpSetPart::Net((*addr).into()), port_part(record, number)]);
                }
            } else {
                add(shared, &[IpSetPart::PortAlone(number)]);
            }
        }
    }
    if let Some(number) = record.health_check_node_port {
        add(Shared::HealthCheckNodePort, &[IpSetPart::PortAlone(number)]);
    }
    all
}

/// The endpoints of a service port on this node, ready or not: what they send to themselves is masqueraded.
pub(super) fn loop_back(port: &Port) -> impl Iterator<Item = (Shared, IpSetEntry)> {
    port.endpoints.iter().filter(|endpoint| endpoint.local).map(|endpoint| {
        let addr = IpSetPart::Net(endpoint.addr.into());
        let parts = Vec::from([addr.clone(), port_part(&port.record, endpoint.port), addr]);
        (Shared::LoopBack, IpSetEntry::new(parts, endpoint.origin.clone()))
    })
}

fn port_part(record: &ServicePort, number: u16) -> IpSetPart {
    IpSetPart::Port(record.protocol.number(record.family()), number)
}

/// The virtual servers of a service port: one for each frontend. O(frontends × endpoints).
pub(super) fn servers(config: &ProxyConfig, port: &Port) -> Vec<Arc<VirtualServer>> {
    frontends(config, &port.record).into_iter().map(|front| server(config, port, front)).collect()
}

/// A frontend of a service port.
#[derive(Clone, Copy)]
pub(super) struct Frontend {
    pub(super) id: VirtualId,
    /// Only endpoints on the node are to be used.
    local: bool,
}

/// The frontends of a service port in the order in which kube-proxy visits them.
pub(super) fn frontends(config: &ProxyConfig, record: &ServicePort) -> Vec<Frontend> {
    let Some(protocol) = ipvs_protocol(record.protocol) else { return Vec::new() };
    let at = |addr, port, local| Frontend { id: VirtualId::Addr { protocol, addr, port }, local };
    let mut all = Vec::from([at(record.cluster_ip, record.port, record.internal_local)]);
    let others = record.external_ips.iter().chain(&record.vips);
    all.extend(others.map(|addr| at(*addr, record.port, record.external_local)));
    if let Some(number) = record.node_port {
        all.extend(node_addresses(config).into_iter().map(|addr| at(addr, number, record.external_local)));
    }
    all
}

/// The virtual server of a frontend. Where policy `Local` finds no endpoint on the node, those of the whole cluster are used.
pub(super) fn server(config: &ProxyConfig, port: &Port, front: Frontend) -> Arc<VirtualServer> {
    let record = &port.record;
    let mut server = VirtualServer::new(front.id, config.scheduler.clone(), record.origin.clone());
    server.scheduler_flags = [false, config.scheduler == Scheduler::Mh, false];
    server.persistence = record.affinity_secs.map(|timeout_secs| Persistence {
        timeout_secs,
        mask: match config.family {
            Family::V4 => IpAddr::from([0xff_u8; 4]),
            Family::V6 => IpAddr::from([0xff_u8; 16]),
        },
    });
    let real = |e: &Endpoint| RealServer::new(e.addr, e.port, e.origin.clone());
    server.servers = if front.local && port.local().len() > 0 {
        port.local().map(real).collect()
    } else {
        port.cluster().map(real).collect()
    };
    Arc::new(server)
}

const fn ipvs_protocol(protocol: Protocol) -> Option<IpvsProtocol> {
    match protocol {
        Protocol::Tcp => Some(IpvsProtocol::Tcp),
        Protocol::Udp => Some(IpvsProtocol::Udp),
        Protocol::Sctp => Some(IpvsProtocol::Sctp),
        Protocol::Icmp => None,
    }
}

/// The rules that keep the node from load balancers that its own address may not use: it comes with theirs.
pub(super) fn out_filter(config: &ProxyConfig, record: &ServicePort) -> Vec<Rule> {
    if record.source_ranges.is_empty() || allows_node(config, &record.source_ranges) {
        return Vec::new();
    }
    let rule = |addr: &IpAddr| {
        let balanced = Match::Ipvs {
            ipvs: None,
            protocol: Some(Inv::is(record.protocol.number(record.family()))),
            addr: Some(Inv::is((*addr).into())),
            port: Some(Inv::is(record.port)),
        };
        Draft::new(&record.origin).from(*addr).module(balanced).target(Target::Drop)
    };
    record.vips.iter().map(rule).collect()
}
