//! The EndpointSlice controller: from the pods that a Service selects to its slices.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::read::slice_name;
use super::{Endpoint, EndpointPort, EndpointSlice, hints};
use crate::addr::{Family, Protocol};
use crate::cluster::{Cluster, Node, Pod, Service, ServicePort, TargetPort};
use crate::identity::identity;
use crate::k8s::types;
use crate::origin::{ObjectRef, Origin};

/// How many endpoints a slice has at most (`--max-endpoints-per-slice`).
const MAX_ENDPOINTS: usize = 100;
/// The label that names a node's zone.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

/// The slices of a Service: per family and list of ports, 100 endpoints each, in the order of the pods.
pub(super) fn from_pods(cluster: &Cluster, service: &Service) -> Vec<EndpointSlice> {
    let key = (service.namespace.clone(), service.name.clone());
    let stated = cluster.objects.services.get(&key);
    let spec = stated.map(|service| &service.value.spec);
    if spec.and_then(|spec| spec.r#type.as_deref()) == Some("ExternalName") {
        return Vec::new();
    }
    let publish = spec.is_some_and(|spec| spec.publish_not_ready_addresses);
    let mut slices = Vec::new();
    for family in families(cluster, service, spec) {
        let mut by_ports: BTreeMap<Vec<EndpointPort>, Vec<Endpoint>> = BTreeMap::new();
        for place in cluster.pods_selected_by(service) {
            let Some(pod) = cluster.pods.get(place as usize) else { continue };
            let Some(endpoint) = endpoint(cluster, service, pod, family, publish) else { continue };
            by_ports.entry(ports(service, pod)).or_default().push(endpoint);
        }
        let mut all: Vec<&mut Endpoint> = by_ports.values_mut().flatten().collect();
        if let Some(stated) = stated {
            hints::give(stated, cluster.zone_cpu(), &mut all);
        }
        let mut made = Vec::new();
        for (ports, endpoints) in by_ports {
            let mut endpoints = endpoints.into_iter().peekable();
            while endpoints.peek().is_some() {
                let some = endpoints.by_ref().take(MAX_ENDPOINTS).collect();
                made.push(slice(service, family, made.len(), ports.clone(), some));
            }
        }
        if made.is_empty() {
            // One empty slice shows that the controller has been there.
            made.push(slice(service, family, 0, Vec::new(), Vec::new()));
        }
        slices.append(&mut made);
    }
    slices
}

fn slice(
    service: &Service,
    family: Family,
    number: usize,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let words = ["EndpointSlice", &service.namespace, &service.name, &format!("{family} {number}")];
    let object = ObjectRef {
        kind: Cow::Borrowed("Service"),
        namespace: Some(service.namespace.clone()),
        name: service.name.clone(),
    };
    EndpointSlice {
        namespace: service.namespace.clone(),
        name: slice_name(&service.name, identity(&words)),
        service: service.name.clone(),
        family,
        headless: service.cluster_ips.is_empty(),
        ports,
        endpoints,
        origin: Origin::made_up(object, "EndpointSlice"),
    }
}

/// The families of a Service: those of its addresses, those that a headless one names, else what the API server would give it.
fn families(cluster: &Cluster, service: &Service, spec: Option<&types::ServiceSpec>) -> Vec<Family> {
    let mut families: Vec<Family> = service.cluster_ips.iter().map(|addr| Family::of(*addr)).collect();
    if families.is_empty() {
        let named = spec.into_iter().flat_map(|spec| &spec.ip_families);
        families.extend(named.filter_map(|family| match &**family {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        }));
    }
    if families.is_empty() {
        let both = matches!(
            spec.and_then(|spec| spec.ip_family_policy.as_deref()),
            Some("PreferDualStack" | "RequireDualStack")
        );
        let of_cluster = cluster.settings.service_cidr.value.iter().map(|net| Family::of_net(*net));
        families.extend(of_cluster.take(if both { 2 } else { 1 }));
    }
    families
}

fn endpoint(
    cluster: &Cluster,
    service: &Service,
    pod: &Pod,
    family: Family,
    publish: bool,
) -> Option<Endpoint> {
    let addr: IpAddr = pod.addresses.iter().copied().find(|addr| Family::of(*addr) == family)?;
    if pod.terminal {
        return None;
    }
    let node: Option<&Arc<Node>> = pod.node.and_then(|place| cluster.nodes.get(place as usize));
    if node.is_none_or(|node| is_gone(cluster, node)) && !publish {
        return None;
    }
    let zone = node.and_then(|node| node.labels.iter().find(|(key, _)| &**key == ZONE));
    Some(Endpoint {
        addresses: smallvec::smallvec![addr],
        ready: publish || (pod.ready && !pod.terminating),
        serving: pod.ready,
        terminating: pod.terminating,
        node: node.map(|node| node.name.clone()),
        zone: zone.map(|(_, zone)| zone.clone()),
        // A host name counts below the Service that is the pod's subdomain.
        hostname: pod.hostname.clone().filter(|_| pod.subdomain.as_deref() == Some(&*service.name)),
        for_zones: Vec::new(),
        for_nodes: Vec::new(),
        pod: Some((pod.namespace.clone(), pod.name.clone())),
        origin: pod.origin.clone(),
    })
}

/// A node that the input should have and has not.
fn is_gone(cluster: &Cluster, node: &Node) -> bool {
    cluster.objects.collected.contains("Node")
        && !cluster.objects.nodes.contains_key(&(Arc::from(""), node.name.clone()))
}

/// The ports that a pod has of a Service's. One that the pod does not name is left out.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let port = |port: &ServicePort| {
        let number = match &port.target {
            TargetPort::Number(number) => *number,
            TargetPort::Name(name) => named_port(pod, name, port.protocol)?,
        };
        let name = port.name.clone().unwrap_or_default();
        Some(EndpointPort { name, port: Some(number), protocol: port.protocol })
    };
    service.ports.iter().filter_map(port).collect()
}

fn named_port(pod: &Pod, name: &str, protocol: Protocol) -> Option<u16> {
    let all = pod.containers.iter().flat_map(|container| &container.ports);
    let mut named = all.filter(|port| port.name.as_deref() == Some(name) && port.protocol == protocol);
    named.next().map(|port| port.port)
}
