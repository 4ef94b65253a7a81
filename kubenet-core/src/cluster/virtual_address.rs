//! Virtual addresses: those at which kube-proxy answers for Services.
//!
//! In: a Service of the input, and the addresses that it was given. Out: its cluster IP, `spec.externalIPs`, and the addresses of a
//! load balancer that packets keep as their destination (`pkg/proxy/serviceport.go`, v1.36). In mode `ipvs` every node has all of them
//! on a link of its own, so they are listed once for a cluster.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Cluster, IpMode, LoadBalancer, Service};
use crate::addr::{Family, Protocol};
use crate::k8s::{Objects, sloppy, types};
use crate::origin::Origin;

/// The label that leaves a Service to another proxy, whatever its value.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// Whether kube-proxy makes rules for a Service: it has virtual addresses, and nobody else is to do it.
pub fn is_proxied(service: &types::Service) -> bool {
    let spec = &service.spec;
    let headless = spec.cluster_ip.as_deref() == Some("None")
        || spec.cluster_ips.first().is_some_and(|addr| &**addr == "None");
    let named = spec.r#type.as_deref() == Some("ExternalName");
    !headless && !named && !service.metadata.labels.contains_key(PROXY_NAME)
}

/// A virtual address and the Service that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VirtualAddress {
    pub(crate) addr: IpAddr,
    /// It is a cluster IP.
    pub(crate) of_cluster: bool,
    /// The Service.
    pub(crate) origin: Origin,
}

impl Cluster {
    /// The virtual addresses of all Services, in order; of those that are equal the one of the later Service comes first. Listed in
    /// mode `ipvs` only.
    pub(crate) fn virtual_addresses(&self) -> &[VirtualAddress] {
        &self.index.virtual_addresses
    }
}

/// Lists the virtual addresses of Services. O(n log n).
pub(super) fn all(services: &[Arc<Service>], objects: &Objects) -> Vec<VirtualAddress> {
    let mut all = Vec::with_capacity(services.len());
    for given in services {
        let key = (given.namespace.clone(), given.name.clone());
        let Some(stated) = objects.services.get(&key) else { continue };
        let spec = &stated.spec;
        if !is_proxied(stated) || spec.ports.iter().all(|port| transport(port).is_none()) {
            continue;
        }
        for family in [Family::V4, Family::V6] {
            let Some(cluster_ip) = cluster_ip(stated, Some(given), family) else { continue };
            let others = external_ips(spec, family).chain(vips(given.load_balancer.as_ref(), family));
            let others = others.map(|addr| (addr, false)).chain([(cluster_ip, true)]);
            all.extend(others.map(|(addr, of_cluster)| {
                let origin = stated.origin.clone();
                VirtualAddress { addr, of_cluster, origin }
            }));
        }
    }
    all.reverse();
    all.sort_by_key(|virtual_address| virtual_address.addr);
    all
}

/// The cluster IP of a family: the one that was given, else the one that the Service states.
pub(crate) fn cluster_ip(
    service: &types::Service,
    given: Option<&Service>,
    family: Family,
) -> Option<IpAddr> {
    let mut of_family = |addr: IpAddr| (Family::of(addr) == family).then_some(addr);
    if let Some(given) = given {
        return given.cluster_ips.iter().copied().find_map(of_family);
    }
    let spec = &service.spec;
    let first = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.is_empty());
    spec.cluster_ips.iter().chain(first).filter_map(|text| sloppy::addr(text)).find_map(&mut of_family)
}

/// `spec.externalIPs` of a family.
pub(crate) fn external_ips(spec: &types::ServiceSpec, family: Family) -> impl Iterator<Item = IpAddr> {
    let read = spec.external_ips.iter().filter_map(|text| sloppy::addr(text));
    read.filter(move |addr| Family::of(*addr) == family)
}

/// The addresses of a load balancer that packets keep as their destination.
pub(crate) fn vips(balancer: Option<&LoadBalancer>, family: Family) -> impl Iterator<Item = IpAddr> {
    let addresses = balancer.into_iter().flat_map(|balancer| &balancer.addresses);
    let kept = addresses.filter(|address| address.mode == IpMode::Vip).map(|address| address.addr);
    kept.filter(move |addr| Family::of(*addr) == family)
}

/// The transport of a Service's port; `None` for one that there is not.
pub(crate) fn transport(port: &types::ServicePort) -> Option<Protocol> {
    match port.protocol.as_deref().unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}
