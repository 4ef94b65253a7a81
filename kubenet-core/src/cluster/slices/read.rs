//! EndpointSlices of the input, and those that mirror `Endpoints`.

use alloc::borrow::Cow;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Endpoint, EndpointPort, EndpointSlice};
use crate::addr::{Family, Protocol};
use crate::cluster::{Cluster, Service};
use crate::identity::{identity, name_suffix};
use crate::k8s::types::{self, NamedZone, Object, Shared, TargetRef};
use crate::k8s::{DEFAULT_NAMESPACE, sloppy};
use crate::origin::{ObjectRef, Origin};

/// The label that names the Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that hides a slice from kube-proxy.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// `Endpoints` with this label are not mirrored if its value is true.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// `Endpoints` with this annotation are a lock, not a list.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// How many addresses of a subset are mirrored (`--mirroring-max-endpoints-per-subset`).
const MAX_MIRRORED: usize = 1000;

/// The Service that a slice of the input belongs to, as namespace and name.
pub(in crate::cluster) fn service_of(slice: &types::EndpointSlice) -> Option<(Arc<str>, Arc<str>)> {
    let service = slice.metadata.labels.get(SERVICE_NAME).filter(|name| !name.is_empty())?;
    Some((namespace(&slice.metadata), service.clone()))
}

/// Reads a slice of the input with the API server's defaults. `None` for one of DNS names, or that belongs to no Service.
/// Endpoints without an address that can be read are left out, as are ports of an unknown transport.
pub fn read_slice(slice: &Shared<types::EndpointSlice>) -> Option<EndpointSlice> {
    let (namespace, service) = service_of(slice)?;
    let family = match &*slice.address_type {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        _ => return None,
    };
    let endpoints = slice.endpoints.iter().enumerate();
    Some(EndpointSlice {
        namespace,
        name: slice.metadata.name.clone(),
        service,
        family,
        headless: slice.metadata.labels.contains_key(HEADLESS),
        ports: ports(&slice.ports),
        endpoints: endpoints
            .filter_map(|(at, endpoint)| read_endpoint(slice, family, at, endpoint))
            .collect(),
        origin: slice.origin.clone(),
    })
}

fn read_endpoint(
    slice: &Object<types::EndpointSlice>,
    family: Family,
    at: usize,
    endpoint: &types::Endpoint,
) -> Option<Endpoint> {
    let addresses = endpoint.addresses.iter().filter_map(|text| sloppy::addr(text));
    let addresses: smallvec::SmallVec<_> = addresses.filter(|addr| Family::of(*addr) == family).collect();
    if addresses.is_empty() {
        return None;
    }
    let conditions = &endpoint.conditions;
    let names = |zones: &[NamedZone]| zones.iter().map(|zone| zone.name.clone()).collect();
    let hints = endpoint.hints.as_ref();
    Some(Endpoint {
        addresses,
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        node: text(&endpoint.node_name),
        zone: text(&endpoint.zone),
        hostname: text(&endpoint.hostname),
        for_zones: hints.map(|hints| names(&hints.for_zones)).unwrap_or_default(),
        for_nodes: hints.map(|hints| names(&hints.for_nodes)).unwrap_or_default(),
        pod: pod_ref(endpoint.target_ref.as_ref(), &slice.metadata),
        origin: slice.origin.with_field(format!("endpoints[{at}]")),
    })
}

/// What the mirroring controller makes of the `Endpoints` of a Service: one slice per subset and family.
pub(super) fn mirrored(cluster: &Cluster, service: &Service) -> Vec<EndpointSlice> {
    let key = (service.namespace.clone(), service.name.clone());
    let Some(endpoints) = cluster.objects.endpoints.get(&key) else { return Vec::new() };
    let skipped = endpoints.metadata.labels.get(SKIP_MIRROR).is_some_and(|value| &**value == "true");
    if skipped || endpoints.metadata.annotations.contains_key(LEADER) {
        return Vec::new();
    }
    let object = ObjectRef {
        kind: Cow::Borrowed("Endpoints"),
        namespace: Some(service.namespace.clone()),
        name: service.name.clone(),
    };
    let mut slices = Vec::new();
    for (at, subset) in endpoints.subsets.iter().enumerate() {
        for family in [Family::V4, Family::V6] {
            let ready = subset.addresses.iter().enumerate().map(|(i, a)| (a, true, "addresses", i));
            let not_ready = subset
                .not_ready_addresses
                .iter()
                .enumerate()
                .map(|(i, a)| (a, false, "notReadyAddresses", i));
            let all =
                ready.chain(not_ready).take(MAX_MIRRORED).filter_map(|(address, ready, list, place)| {
                    let addr = sloppy::addr(&address.ip).filter(|addr| Family::of(*addr) == family)?;
                    Some(Endpoint {
                        addresses: smallvec::smallvec![addr],
                        ready,
                        serving: ready,
                        terminating: false,
                        node: text(&address.node_name),
                        zone: None,
                        hostname: text(&address.hostname),
                        for_zones: Vec::new(),
                        for_nodes: Vec::new(),
                        pod: pod_ref(address.target_ref.as_ref(), &endpoints.metadata),
                        origin: endpoints.origin.with_field(format!("subsets[{at}].{list}[{place}]")),
                    })
                });
            let all: Vec<Endpoint> = all.collect();
            if all.is_empty() {
                continue;
            }
            let words =
                ["EndpointSlice", &service.namespace, &service.name, &format!("subset {at} {family}")];
            slices.push(EndpointSlice {
                namespace: service.namespace.clone(),
                name: slice_name(&service.name, identity(&words)),
                service: service.name.clone(),
                family,
                headless: service.cluster_ips.is_empty(),
                ports: ports(&subset.ports),
                endpoints: all,
                origin: Origin::made_up(object.clone(), "EndpointSlice"),
            });
        }
    }
    slices
}

/// `service-<suffix>`, cut to 63 letters as `generateName` is.
pub(super) fn slice_name(service: &str, hash: u64) -> Arc<str> {
    let base: alloc::string::String = format!("{service}-").chars().take(58).collect();
    format!("{base}{}", name_suffix(hash)).into()
}

fn ports(ports: &[types::EndpointPort]) -> Vec<EndpointPort> {
    let read = ports.iter().filter_map(|port| {
        let protocol = match port.protocol.as_deref().unwrap_or("TCP") {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => return None,
        };
        Some(EndpointPort { name: port.name.clone().unwrap_or_default(), port: port.port, protocol })
    });
    read.collect()
}

fn pod_ref(target: Option<&TargetRef>, metadata: &types::ObjectMeta) -> Option<(Arc<str>, Arc<str>)> {
    let target = target.filter(|target| &*target.kind == "Pod" && !target.name.is_empty())?;
    Some((target.namespace.clone().unwrap_or_else(|| namespace(metadata)), target.name.clone()))
}

fn namespace(metadata: &types::ObjectMeta) -> Arc<str> {
    metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.into())
}

fn text(text: &Option<Arc<str>>) -> Option<Arc<str>> {
    text.clone().filter(|text| !text.is_empty())
}
