//! A service port on a node: its record, its endpoints, and what follows from both for every mode.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Endpoint, ProxyConfig, Selected, ServicePort, endpoints, select, service_ports};
use crate::cluster::{Cluster, EndpointSlice, read_slice};
use crate::k8s::Objects;

/// A service port as one node's kube-proxy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// What the Service says.
    pub record: Arc<ServicePort>,
    /// All endpoints, in the order of their texts.
    pub endpoints: Vec<Endpoint>,
    /// Those that the node uses.
    pub selected: Selected,
}

/// What becomes of a packet to a frontend without endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEndpoints {
    /// There are none in the cluster: the packet is rejected.
    Anywhere,
    /// There are some, but none on this node, where the policy is `Local`: the packet is dropped.
    Here,
}

impl Port {
    /// A service port with the endpoints that slices of its Service hold.
    pub fn new(record: ServicePort, slices: &[EndpointSlice], config: &ProxyConfig) -> Self {
        let (name, protocol) = (&record.port_name, record.protocol);
        let endpoints = endpoints(slices, name, protocol, record.family(), &config.node_name);
        let selected = select(&record, &endpoints, &config.node_name, config.zone.as_deref());
        Self { record: Arc::new(record), endpoints, selected }
    }

    /// The endpoints for policy `Cluster`, in order.
    pub fn cluster(&self) -> impl ExactSizeIterator<Item = &Endpoint> {
        self.at(self.selected.cluster.as_deref().unwrap_or_default())
    }

    /// The endpoints for policy `Local`, in order.
    pub fn local(&self) -> impl ExactSizeIterator<Item = &Endpoint> {
        self.at(self.selected.local.as_deref().unwrap_or_default())
    }

    /// The endpoints that the node uses, in order.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Endpoint> {
        self.at(&self.selected.all)
    }

    fn at<'a>(&'a self, places: &'a [usize]) -> impl ExactSizeIterator<Item = &'a Endpoint> {
        // The places are those of this list.
        places.iter().map(|at| &self.endpoints[*at])
    }

    /// What keeps packets to the cluster IP from any endpoint.
    pub fn internal(&self) -> Result<(), NoEndpoints> {
        self.reach(self.record.internal_local)
    }

    /// What keeps packets from outside to the other frontends from any endpoint.
    pub fn external(&self) -> Result<(), NoEndpoints> {
        self.reach(self.record.external_local)
    }

    fn reach(&self, local_policy: bool) -> Result<(), NoEndpoints> {
        match (self.selected.any, local_policy && self.local().len() == 0) {
            (false, _) => Err(NoEndpoints::Anywhere),
            (true, true) => Err(NoEndpoints::Here),
            (true, false) => Ok(()),
        }
    }

    /// Whether there are rules for the frontends beside the cluster IP.
    pub fn uses_external(&self) -> bool {
        self.selected.any && self.record.externally_accessible()
    }

    /// Whether the load balancer's addresses have a firewall.
    pub fn has_firewall(&self) -> bool {
        !self.record.vips.is_empty() && !self.record.source_ranges.is_empty()
    }
}

/// The service ports of a Service of a cluster, by its place in [`Cluster::services`]. O(its pods).
pub fn ports_of_service(cluster: &Cluster, service: u32, config: &ProxyConfig) -> Vec<Port> {
    let records = records_of_service(cluster, service, config);
    if records.is_empty() {
        return Vec::new();
    }
    let slices = cluster.endpoint_slices(service);
    records.into_iter().map(|record| Port::new(record, &slices, config)).collect()
}

/// What a Service of a cluster says of each of its service ports, in their order. O(its ports).
pub(super) fn records_of_service(cluster: &Cluster, service: u32, config: &ProxyConfig) -> Vec<ServicePort> {
    let Some(given) = cluster.services.get(service as usize) else { return Vec::new() };
    let key = (given.namespace.clone(), given.name.clone());
    let stated = cluster.objects.services.get(&key);
    stated.map(|stated| service_ports(stated, Some(given), config.family)).unwrap_or_default()
}

/// The service ports of all Services of a set of objects, as they are stated: nothing is made up, and only slices count.
pub fn ports_of_objects(objects: &Objects, config: &ProxyConfig) -> Vec<Port> {
    let mut slices: BTreeMap<(Arc<str>, Arc<str>), Vec<EndpointSlice>> = BTreeMap::new();
    for slice in objects.endpoint_slices.values().filter_map(read_slice) {
        slices.entry((slice.namespace.clone(), slice.service.clone())).or_default().push(slice);
    }
    let mut ports = Vec::new();
    for (name, service) in &objects.services {
        let slices = slices.get(name).map_or(&[][..], Vec::as_slice);
        let records = service_ports(service, None, config.family);
        ports.extend(records.into_iter().map(|record| Port::new(record, slices, config)));
    }
    ports
}
