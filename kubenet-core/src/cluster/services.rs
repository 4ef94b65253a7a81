//! The API server's part for Services: virtual addresses and node ports for those that have none.
//!
//! In: Services with what they state. Out: the same with an address per family and a node port where the type has one.
//! What the input states is taken first; the rest is chosen by the [`identity`] of the Service within the dynamic bands,
//! the next free one where that is held. Families follow `storage/alloc.go` (v1.36), see [`ServiceIn::families`]. The
//! first address belongs to `default/kubernetes` whether it is in the input or not.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::load_balancer::{Pools, Wishes};
use super::{Announcement, BalancedAddress, IpMode, Service, Settings};
use crate::addr::Family;
use crate::identity::identity;
use crate::ipam::{ClusterIps, NodePortWish, NodePorts};
use crate::origin::Diagnostic;

/// How many families a Service asks for (`spec.ipFamilyPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyPolicy {
    Single,
    Prefer,
    Require,
}

/// A Service of the input.
#[derive(Clone, Debug)]
pub(super) struct ServiceIn {
    pub(super) service: Service,
    /// `None` where nothing is said.
    pub(super) policy: Option<FamilyPolicy>,
    /// `spec.ipFamilies`.
    pub(super) families: Vec<Family>,
    /// It gets virtual addresses: neither headless nor `ExternalName`.
    pub(super) virtual_addresses: bool,
    /// It gets node ports.
    pub(super) node_ports: bool,
    /// What it asks its load balancer for.
    pub(super) wishes: Option<Wishes>,
}

impl ServiceIn {
    /// The families that it gets addresses of, in order: those that it names, else those of its addresses, else the
    /// cluster's first; the other one of a dual-stack cluster is added unless the policy is `SingleStack`.
    fn families(&self, cluster: &[Family]) -> Vec<Family> {
        let mut families = self.families.clone();
        if families.is_empty() {
            families = self.service.cluster_ips.iter().map(|addr| Family::of(*addr)).collect();
        }
        if families.is_empty() {
            families.extend(cluster.first());
        }
        match self.policy {
            Some(FamilyPolicy::Prefer | FamilyPolicy::Require) => {
                let missing: Vec<Family> =
                    cluster.iter().copied().filter(|f| !families.contains(f)).collect();
                families.extend(missing);
            }
            Some(FamilyPolicy::Single) | None => {}
        }
        families
    }
}

/// Gives every Service its addresses and node ports. Sorted input gives sorted output. O(n log n).
pub(super) fn give(
    services: Vec<ServiceIn>,
    settings: &Settings,
    balancers: &Pools,
    log: &mut Vec<Diagnostic>,
) -> Vec<Service> {
    let mut pools: Vec<ClusterIps> = Vec::new();
    for net in &settings.service_cidr.value {
        match ClusterIps::new(*net) {
            Ok(mut pool) => {
                let first = pool.first();
                let holds_first = |s: &ServiceIn| s.service.cluster_ips.contains(&first);
                if !services.iter().any(holds_first) {
                    let _fresh = pool.allocate(first);
                }
                pools.push(pool);
            }
            Err(error) => {
                log.push(
                    Diagnostic::warning("service-range", format!("service range {error}"))
                        .help("set serviceCidr"),
                );
            }
        }
    }
    let mut ports = NodePorts::default();
    for service in &services {
        hold_stated(service, &mut pools, &mut ports, settings, log);
    }
    let cluster: Vec<Family> = settings.service_cidr.value.iter().map(|net| Family::of_net(*net)).collect();
    let balanced = services.iter().filter_map(|s| s.service.load_balancer.as_ref());
    let mut held: BTreeSet<IpAddr> =
        balanced.flat_map(|balancer| balancer.addresses.iter().map(|address| address.addr)).collect();
    let mut given = Vec::with_capacity(services.len());
    for service in services {
        let wishes = service.wishes.clone();
        let mut service = give_one(service, &cluster, &mut pools, &mut ports, log);
        if let Some(wishes) = wishes {
            give_balancer(&mut service, &wishes, balancers, &mut held, log);
            give_health_check_port(&mut service, &mut ports, log);
        }
        given.push(service);
    }
    given
}

fn hold_stated(
    s: &ServiceIn,
    pools: &mut [ClusterIps],
    ports: &mut NodePorts,
    settings: &Settings,
    log: &mut Vec<Diagnostic>,
) {
    let name = || format!("service {}/{}", s.service.namespace, s.service.name);
    for addr in &s.service.cluster_ips {
        let pool = pools.iter_mut().find(|pool| Family::of_net(pool.net()) == Family::of(*addr));
        let said = !settings.service_cidr.is_assumed();
        match pool.map(|pool| (pool.net(), pool.net().contains(addr), pool.allocate(*addr))) {
            // One address twice is told with the other contradictions.
            Some((_, true, _)) => {}
            Some((net, false, _)) if said => log.push(
                Diagnostic::warning(
                    "service-outside-range",
                    format!("{} has {addr}, outside of {net}", name()),
                )
                .from_origin(&s.service.origin.with_field("spec.clusterIP"))
                .help("correct the address, or set serviceCidr"),
            ),
            Some(_) | None => {}
        }
    }
    let mut mine: Vec<u16> = Vec::new();
    let health = s.service.load_balancer.as_ref().and_then(|balancer| balancer.health_check_node_port);
    for port in s.service.ports.iter().filter_map(|port| port.node_port).chain(health) {
        if mine.contains(&port) {
            continue;
        }
        mine.push(port);
        if let Err(error) = ports.allocate(port) {
            log.push(
                Diagnostic::warning("node-port", format!("{}: node {error}", name()))
                    .from_origin(&s.service.origin.with_field("spec.ports")),
            );
        }
    }
}

/// An address of each of its families for a Service that has neither address nor name.
fn give_balancer(
    service: &mut Service,
    wishes: &Wishes,
    pools: &Pools,
    held: &mut BTreeSet<IpAddr>,
    log: &mut Vec<Diagnostic>,
) {
    let families: Vec<Family> = service.cluster_ips.iter().map(|addr| Family::of(*addr)).collect();
    let Some(balancer) = &mut service.load_balancer else { return };
    if wishes.has_name || !balancer.addresses.is_empty() {
        return;
    }
    match pools.give(&families, wishes, (&service.namespace, &service.name), held) {
        Ok(addrs) => balancer.addresses.extend(addrs.into_iter().map(|addr| BalancedAddress {
            addr,
            mode: IpMode::Vip,
            by: Announcement::Machine,
        })),
        Err(message) => log.push(
            Diagnostic::warning(
                "load-balancer",
                format!("service {}/{} stays without an address: {message}", service.namespace, service.name),
            )
            .from_origin(&service.origin),
        ),
    }
}

fn give_health_check_port(service: &mut Service, ports: &mut NodePorts, log: &mut Vec<Diagnostic>) {
    let Some(balancer) = &mut service.load_balancer else { return };
    if !balancer.local || balancer.health_check_node_port.is_some() {
        return;
    }
    let seed = identity(&["Service", &service.namespace, &service.name, "healthCheck"]);
    match ports.allocate_next(seed) {
        Ok(port) => balancer.health_check_node_port = Some(port),
        Err(error) => log.push(
            Diagnostic::warning(
                "node-port",
                format!("service {}/{}: {error}", service.namespace, service.name),
            )
            .from_origin(&service.origin),
        ),
    }
}

fn give_one(
    s: ServiceIn,
    cluster: &[Family],
    pools: &mut [ClusterIps],
    ports: &mut NodePorts,
    log: &mut Vec<Diagnostic>,
) -> Service {
    let families = s.families(cluster);
    let ServiceIn { mut service, policy, virtual_addresses, node_ports, .. } = s;
    let seed = identity(&["Service", &service.namespace, &service.name]);
    let warn = |message: alloc::string::String| {
        let text = format!("service {}/{}: {message}", service.namespace, service.name);
        Diagnostic::warning("service-address", text).from_origin(&service.origin)
    };
    if virtual_addresses {
        if policy == Some(FamilyPolicy::Require) && cluster.len() < 2 {
            log.push(
                warn("it requires two families, but the cluster has one".to_string()).help("set serviceCidr"),
            );
        }
        let mut given = service.cluster_ips.clone();
        for family in families {
            if given.iter().any(|addr| Family::of(*addr) == family) {
                continue;
            }
            let pool = pools.iter_mut().find(|pool| Family::of_net(pool.net()) == family);
            match pool.map(|pool| pool.allocate_next(seed)) {
                Some(Ok(addr)) => given.push(addr),
                Some(Err(error)) => log.push(warn(error.to_string())),
                None => log
                    .push(warn(format!("the cluster has no {family} service range")).help("set serviceCidr")),
            }
        }
        service.cluster_ips = given;
    }
    if node_ports && service.ports.iter().any(|port| port.node_port.is_none()) {
        let wishes: Vec<NodePortWish> = service
            .ports
            .iter()
            .map(|port| NodePortWish { protocol: port.protocol, port: port.port, node_port: port.node_port })
            .collect();
        // What it states is held already; it is given back so that the Service can take all of its ports at once.
        let mut released: Vec<u16> = wishes.iter().filter_map(|wish| wish.node_port).collect();
        released.retain(|port| ports.release(*port));
        match ports.allocate_service(&wishes, seed) {
            Ok(all) => {
                service.ports.iter_mut().zip(all).for_each(|(port, number)| port.node_port = Some(number))
            }
            Err(error) => {
                log.push(
                    Diagnostic::warning(
                        "node-port",
                        format!("service {}/{}: {error}", service.namespace, service.name),
                    )
                    .from_origin(&service.origin),
                );
                for port in released {
                    let _held = ports.allocate(port);
                }
            }
        }
    }
    service
}
