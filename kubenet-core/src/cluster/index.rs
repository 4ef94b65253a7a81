//! The resolved cluster and its indexes.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use ipnet::IpNet;

use super::slices::{ZoneCpu, service_of, zone_cpu};
use super::virtual_address::VirtualAddress;
use super::{
    Announcement, InputMode, Missing, Namespace, Node, Pod, PodPort, ProxyMode, Service, Settings,
    Unmodelled, Workload,
};
use super::{load_balancer, proxy_ports, virtual_address};
use crate::addr::Family;
use crate::assume::Fault;
use crate::k8s::types::{AdvertisementSpec, EndpointSlice, Shared};
use crate::k8s::{Objects, sloppy};
use crate::origin::{ObjectRef, Origin};

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// A cluster, resolved. Cheap to clone: everything is behind `Arc`.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Whether the control plane was played.
    pub mode: InputMode,
    /// How the network is set up.
    pub settings: Arc<Settings>,
    /// All nodes, sorted by name.
    pub nodes: Arc<Vec<Arc<Node>>>,
    /// All pods, sorted by namespace and name.
    pub pods: Arc<Vec<Arc<Pod>>>,
    /// For each node, its pods as indices into `pods`, ascending.
    pub pods_on_node: Arc<Vec<Vec<u32>>>,
    /// All Services, sorted by namespace and name.
    pub services: Arc<Vec<Arc<Service>>>,
    /// Workloads with their pods, sorted by kind, namespace and name. One that has no pod is there too.
    pub workloads: Arc<Vec<Workload>>,
    /// All namespaces, sorted by name.
    pub namespaces: Arc<Vec<Arc<Namespace>>>,
    /// Things that the model does not execute.
    pub unmodelled: Arc<Vec<Unmodelled>>,
    /// Kinds that a snapshot does not hold.
    pub missing: Arc<Vec<Missing>>,
    /// What the user broke.
    pub faults: Arc<Vec<Fault>>,
    /// Ports that a process listens on because the user says so, sorted.
    pub listeners: Arc<Vec<PodPort>>,
    /// Ports that nothing listens on because the user says so, sorted.
    pub closed: Arc<Vec<PodPort>>,
    /// The objects that it was resolved from.
    pub objects: Arc<Objects>,
    pub(super) index: Arc<Index>,
}

/// What a [`Cluster`] is made of. [`Cluster::new`] sorts it and builds the indexes.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Whether the control plane was played.
    pub mode: InputMode,
    /// How the network is set up.
    pub settings: Settings,
    /// The nodes, sorted by name.
    pub nodes: Vec<Arc<Node>>,
    /// The pods, sorted by namespace and name, with indices into `nodes`.
    pub pods: Vec<Arc<Pod>>,
    /// The Services.
    pub services: Vec<Arc<Service>>,
    /// The workloads, with indices into `pods`.
    pub workloads: Vec<Workload>,
    /// The namespaces.
    pub namespaces: Vec<Arc<Namespace>>,
    /// Things that the model does not execute.
    pub unmodelled: Vec<Unmodelled>,
    /// Kinds that a snapshot does not hold.
    pub missing: Vec<Missing>,
    /// What the user broke.
    pub faults: Vec<Fault>,
    /// Ports that a process listens on.
    pub listeners: Vec<PodPort>,
    /// Ports that nothing listens on.
    pub closed: Vec<PodPort>,
    /// The objects that it is resolved from.
    pub objects: Arc<Objects>,
}

impl Parts {
    /// Parts without any object.
    pub fn new(mode: InputMode, settings: Settings) -> Self {
        Self {
            mode,
            settings,
            nodes: Vec::new(),
            pods: Vec::new(),
            services: Vec::new(),
            workloads: Vec::new(),
            namespaces: Vec::new(),
            unmodelled: Vec::new(),
            missing: Vec::new(),
            faults: Vec::new(),
            listeners: Vec::new(),
            closed: Vec::new(),
            objects: Arc::new(Objects::default()),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    pods: Map<IpAddr, u32>,
    nodes: Map<IpAddr, u32>,
    /// Nodes with an address that another node was indexed with.
    other_nodes: Vec<(IpAddr, u32)>,
    /// The first two addresses of each node's pod ranges: the network's, which a VXLAN device takes, and the first host.
    range_heads: Map<IpAddr, u32>,
    /// Every node's pod ranges, in order of the address.
    ranges: Vec<NodeRange>,
    /// Why the nodes' pod ranges do not explain the pods' addresses.
    pod_network_gap: Option<String>,
    services: Map<IpAddr, u32>,
    /// Services by namespace and the first pair of their selector.
    selectors: Map<(Arc<str>, Label), Vec<u32>>,
    /// Pods by namespace and label, for the labels that a Service selects by.
    labelled: Map<(Arc<str>, Label), Vec<u32>>,
    /// The input's EndpointSlices by namespace and Service, sorted by name.
    slices: Map<Name, Vec<Shared<EndpointSlice>>>,
    /// CPUs per zone.
    zone_cpu: Option<ZoneCpu>,
    /// Services by every address that they have: virtual, external, of a load balancer.
    frontends: Map<IpAddr, Vec<u32>>,
    /// Services by their ports on nodes, that of the health check included.
    node_ports: Map<u16, Vec<u32>>,
    /// `spec.externalIPs`, each with its Service, in order of the Services.
    external_ips: Vec<(IpAddr, u32)>,
    /// Services with a load balancer, ascending.
    balanced: Vec<u32>,
    /// An address is that of a load balancer that is a machine.
    has_balancer: bool,
    /// Services by the addresses in EndpointSlices and Endpoints of the input.
    given_endpoints: Map<IpAddr, Vec<u32>>,
    /// In mode `ipvs`, where each node has them all.
    pub(super) virtual_addresses: Vec<VirtualAddress>,
    /// In mode `userspace`.
    pub(super) proxy_ports: proxy_ports::Common,
}

type Label = (Arc<str>, Arc<str>);
/// Namespace and name.
type Name = (Arc<str>, Arc<str>);

/// Adds a Service to the list of an address or a port, once.
fn list<K: core::hash::Hash + Eq>(map: &mut Map<K, Vec<u32>>, key: K, place: u32) {
    let services = map.entry(key).or_default();
    if services.last() != Some(&place) {
        services.push(place);
    }
}

impl Index {
    /// Notes where Services are reached and where they lead to, as far as objects state it. O(Services + stated endpoints).
    fn add_frontends(&mut self, services: &[Arc<Service>], objects: &Objects) {
        for (place, service) in (0u32..).zip(services) {
            for addr in &service.cluster_ips {
                list(&mut self.frontends, *addr, place);
            }
            for port in service.ports.iter().filter_map(|port| port.node_port) {
                list(&mut self.node_ports, port, place);
            }
            if let Some(balancer) = &service.load_balancer {
                self.balanced.push(place);
                for address in &balancer.addresses {
                    list(&mut self.frontends, address.addr, place);
                    self.has_balancer |= address.by == Announcement::Machine;
                }
                if let Some(port) = balancer.health_check_node_port {
                    list(&mut self.node_ports, port, place);
                }
            }
            let key = (service.namespace.clone(), service.name.clone());
            if let Some(stated) = objects.services.get(&key) {
                for addr in stated.spec.external_ips.iter().filter_map(|text| sloppy::addr(text)) {
                    list(&mut self.frontends, addr, place);
                    self.external_ips.push((addr, place));
                }
            }
            let slices = self.slices.get(&key).into_iter().flatten();
            let of_slices =
                slices.flat_map(|slice| slice.endpoints.iter().filter_map(|e| e.addresses.first()));
            let of_endpoints = objects.endpoints.get(&key).into_iter().flat_map(|endpoints| {
                let subsets = endpoints.subsets.iter();
                subsets
                    .flat_map(|s| s.addresses.iter().chain(&s.not_ready_addresses).map(|address| &address.ip))
            });
            for addr in of_slices.chain(of_endpoints).filter_map(|text| sloppy::addr(text)) {
                list(&mut self.given_endpoints, addr, place);
            }
        }
    }

    /// Lists the pods of the labels that Services select by.
    fn label_pods(&mut self, pods: &[Arc<Pod>]) {
        if self.labelled.is_empty() {
            return;
        }
        for (place, pod) in (0u32..).zip(pods) {
            for label in &pod.labels {
                if let Some(list) = self.labelled.get_mut(&(pod.namespace.clone(), label.clone())) {
                    list.push(place);
                }
            }
        }
    }
}

/// A pod range with the node that has it: what other nodes' routes are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRange {
    /// The range.
    pub net: IpNet,
    /// The node as an index into [`Cluster::nodes`].
    pub node: u32,
    /// The node's internal address of the same family.
    pub router: Option<IpAddr>,
    /// Where the range comes from.
    pub origin: Origin,
}

impl Cluster {
    /// Builds the indexes. Nodes and pods keep their order, because others refer to it; the rest is sorted. Of several
    /// owners of one address the first counts. O(n log n).
    pub fn new(mut parts: Parts) -> Self {
        parts.services.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        parts.workloads.sort_by(|a, b| a.object.cmp(&b.object));
        parts.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
        for ports in [&mut parts.listeners, &mut parts.closed] {
            ports.sort_unstable();
            ports.dedup();
        }
        let mut index = Index::default();
        for (place, node) in (0u32..).zip(&parts.nodes) {
            for addr in node.addresses.iter().chain(&node.external_addresses) {
                match index.nodes.entry(*addr) {
                    Entry::Vacant(free) => drop(free.insert(place)),
                    Entry::Occupied(held) if *held.get() == place => {}
                    Entry::Occupied(_) => index.other_nodes.push((*addr, place)),
                }
            }
            for net in &node.pod_cidrs {
                let head = IpNet::from(net.network());
                index.range_heads.entry(head.addr()).or_insert(place);
                if let Some(first) = net.hosts().find(|host| *host != head.addr()) {
                    index.range_heads.entry(first).or_insert(place);
                }
            }
        }
        let mut pods_on_node = alloc::vec![Vec::new(); parts.nodes.len()];
        for (place, pod) in (0u32..).zip(&parts.pods) {
            if let Some(pods) = pod.node.and_then(|node| pods_on_node.get_mut(node as usize)) {
                pods.push(place);
            }
            if !pod.host_network && !pod.terminal {
                for addr in &pod.addresses {
                    index.pods.entry(*addr).or_insert(place);
                }
            }
        }
        for (place, service) in (0u32..).zip(&parts.services) {
            for addr in &service.cluster_ips {
                index.services.entry(*addr).or_insert(place);
            }
            if let Some(first) = service.selector.first() {
                let key = (service.namespace.clone(), first.clone());
                index.selectors.entry(key).or_default().push(place);
            }
            for label in &service.selector {
                index.labelled.entry((service.namespace.clone(), label.clone())).or_default();
            }
        }
        index.label_pods(&parts.pods);
        for slice in parts.objects.endpoint_slices.values() {
            if let Some(service) = service_of(slice) {
                index.slices.entry(service).or_default().push(slice.clone());
            }
        }
        index.zone_cpu = zone_cpu(&parts.objects);
        index.add_frontends(&parts.services, &parts.objects);
        if parts.settings.proxy_mode.value == ProxyMode::Ipvs {
            index.virtual_addresses = virtual_address::all(&parts.services, &parts.objects);
        }
        if parts.settings.proxy_mode.value == ProxyMode::Userspace {
            index.proxy_ports = proxy_ports::Common::new(&parts.services);
        }
        index.ranges = node_ranges(&parts.nodes);
        index.pod_network_gap = pod_network_gap(&parts);
        Self {
            mode: parts.mode,
            settings: Arc::new(parts.settings),
            nodes: Arc::new(parts.nodes),
            pods: Arc::new(parts.pods),
            pods_on_node: Arc::new(pods_on_node),
            services: Arc::new(parts.services),
            workloads: Arc::new(parts.workloads),
            namespaces: Arc::new(parts.namespaces),
            unmodelled: Arc::new(parts.unmodelled),
            missing: Arc::new(parts.missing),
            faults: Arc::new(parts.faults),
            listeners: Arc::new(parts.listeners),
            closed: Arc::new(parts.closed),
            objects: parts.objects,
            index: Arc::new(index),
        }
    }

    /// The pod that holds an address of its own. Pods on the host's network have none: ask [`Cluster::node_by_address`].
    pub fn pod_by_address(&self, addr: IpAddr) -> Option<u32> {
        self.index.pods.get(&addr).copied()
    }

    /// The node that has an internal or external address.
    pub fn node_by_address(&self, addr: IpAddr) -> Option<u32> {
        self.index.nodes.get(&addr).copied()
    }

    /// Other nodes that have an address too, against the rules.
    pub fn other_nodes_by_address(&self, addr: IpAddr) -> impl Iterator<Item = u32> {
        self.index.other_nodes.iter().filter(move |(other, _)| *other == addr).map(|(_, place)| *place)
    }

    /// The node whose pod range begins with this address (or the one before it): what its bridge and its VXLAN device have.
    pub fn node_by_range_head(&self, addr: IpAddr) -> Option<u32> {
        self.index.range_heads.get(&addr).copied()
    }

    /// Every node's pod ranges, in order of the address, so that routes to them come sorted.
    pub fn node_ranges(&self) -> &[NodeRange] {
        &self.index.ranges
    }

    /// Why the nodes' addresses and pod ranges cannot explain how pods reach each other, if they cannot: then no CNI that uses
    /// them can be modelled.
    pub fn pod_network_gap(&self) -> Option<&str> {
        self.index.pod_network_gap.as_deref()
    }

    /// The Service that has a virtual address.
    pub fn service_by_address(&self, addr: IpAddr) -> Option<u32> {
        self.index.services.get(&addr).copied()
    }

    /// The Services whose selector matches a pod, ascending. O(labels + Services that share a label with it).
    pub fn services_selecting(&self, pod: &Pod) -> Vec<u32> {
        let mut found = Vec::new();
        for label in &pod.labels {
            let key = (pod.namespace.clone(), label.clone());
            for place in self.index.selectors.get(&key).into_iter().flatten() {
                let service = self.services.get(*place as usize);
                let has = |label: &Label| pod.labels.binary_search(label).is_ok();
                if service.is_some_and(|service| service.selector.iter().all(has)) {
                    found.push(*place);
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// The pods that a Service selects, ascending; none for a Service without a selector. O(pods of its rarest label).
    pub fn pods_selected_by(&self, service: &Service) -> Vec<u32> {
        let rarest = self.rarest(service);
        let has_all = |place: &&u32| {
            let pod = self.pods.get(**place as usize);
            pod.is_some_and(|pod| {
                service.selector.iter().all(|label| pod.labels.binary_search(label).is_ok())
            })
        };
        rarest.iter().filter(has_all).copied().collect()
    }

    /// How many pods have the rarest of the labels that a Service selects by.
    pub(super) fn pods_with_rarest_label(&self, service: &Service) -> usize {
        self.rarest(service).len()
    }

    fn rarest(&self, service: &Service) -> &[u32] {
        let of_label = |label: &Label| {
            let pods = self.index.labelled.get(&(service.namespace.clone(), label.clone()));
            pods.map_or(&[][..], Vec::as_slice)
        };
        service.selector.iter().map(of_label).min_by_key(|pods| pods.len()).unwrap_or_default()
    }

    /// The Services that have an address, virtual, external or of a load balancer, ascending.
    pub fn services_at(&self, addr: IpAddr) -> &[u32] {
        self.index.frontends.get(&addr).map_or(&[], Vec::as_slice)
    }

    /// The Services that have a port on nodes, as node port or for health checks, ascending.
    pub fn services_with_node_port(&self, port: u16) -> &[u32] {
        self.index.node_ports.get(&port).map_or(&[], Vec::as_slice)
    }

    /// `spec.externalIPs` of all Services, each with its Service as an index into [`Cluster::services`].
    pub fn external_ips(&self) -> &[(IpAddr, u32)] {
        &self.index.external_ips
    }

    /// The Services that have a load balancer, ascending.
    pub fn services_with_load_balancer(&self) -> &[u32] {
        &self.index.balanced
    }

    /// Whether a load balancer is a machine before the nodes.
    pub fn has_load_balancer_machine(&self) -> bool {
        self.index.has_balancer
    }

    /// What the advertisements of an address say about nodes; only MetalLB's addresses have any.
    pub fn advertisements(&self, by: &Announcement) -> Vec<&AdvertisementSpec> {
        load_balancer::advertisements(&self.objects, by)
    }

    /// The Services that may have an endpoint with this address, ascending. O(pods with the address).
    pub fn services_with_endpoint(&self, addr: IpAddr) -> Vec<u32> {
        let mut services = self.index.given_endpoints.get(&addr).cloned().unwrap_or_default();
        let own = self.pod_by_address(addr);
        let nodes = self.node_by_address(addr).into_iter().chain(self.other_nodes_by_address(addr));
        let of_nodes = nodes.filter_map(|node| self.pods_on_node.get(node as usize)).flatten().copied();
        for place in own.into_iter().chain(of_nodes) {
            let pod = self.pods.get(place as usize);
            if let Some(pod) = pod.filter(|pod| pod.addresses.contains(&addr)) {
                services.extend(self.services_selecting(pod));
            }
        }
        services.sort_unstable();
        services.dedup();
        services
    }

    /// The EndpointSlices of the input that belong to a Service, sorted by name.
    pub(super) fn given_slices(&self, namespace: &Arc<str>, service: &Arc<str>) -> &[Shared<EndpointSlice>] {
        let slices = self.index.slices.get(&(namespace.clone(), service.clone()));
        slices.map_or(&[], Vec::as_slice)
    }

    /// CPUs per zone, where every node says both.
    pub(super) fn zone_cpu(&self) -> Option<&ZoneCpu> {
        self.index.zone_cpu.as_ref()
    }

    /// The node with this name. O(log nodes).
    pub fn node_named(&self, name: &str) -> Option<u32> {
        found(self.nodes.binary_search_by(|node| (*node.name).cmp(name)))
    }

    /// The pod with this name. O(log pods).
    pub fn pod_named(&self, namespace: &str, name: &str) -> Option<u32> {
        found(self.pods.binary_search_by(|pod| (&*pod.namespace, &*pod.name).cmp(&(namespace, name))))
    }

    /// The Service with this name. O(log Services).
    pub fn service_named(&self, namespace: &str, name: &str) -> Option<u32> {
        found(self.services.binary_search_by(|s| (&*s.namespace, &*s.name).cmp(&(namespace, name))))
    }

    /// The workload with this kind and name. O(log workloads).
    pub fn workload(&self, object: &ObjectRef) -> Option<&Workload> {
        let at = found(self.workloads.binary_search_by(|w| w.object.cmp(object)))?;
        self.workloads.get(at as usize)
    }

    /// The namespace with this name. O(log namespaces).
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        let at = found(self.namespaces.binary_search_by(|n| (*n.name).cmp(name)))?;
        self.namespaces.get(at as usize)
    }
}

fn node_ranges(nodes: &[Arc<Node>]) -> Vec<NodeRange> {
    let mut ranges: Vec<NodeRange> = Vec::new();
    for (place, node) in (0u32..).zip(nodes) {
        let origin = node.origin.with_field("spec.podCIDRs");
        ranges.extend(node.pod_cidrs.iter().map(|net| NodeRange {
            net: *net,
            node: place,
            router: node.addresses.iter().find(|addr| Family::of(**addr) == Family::of_net(*net)).copied(),
            origin: origin.clone(),
        }));
    }
    ranges.sort_by_key(|range| range.net);
    ranges
}

/// The first pod or node that does not fit. Pods outside of their node's range are a contradiction where the CNI is known, and
/// show that it is another one where it is only assumed. O(nodes + pods).
fn pod_network_gap(parts: &Parts) -> Option<String> {
    if parts.mode == InputMode::Manifests || !parts.settings.cni.value.uses_pod_cidr() {
        return None;
    }
    let own = |pod: &&Arc<Pod>| !pod.host_network && !pod.terminal && !pod.addresses.is_empty();
    for pod in parts.pods.iter().filter(own) {
        let Some(node) = pod.node.and_then(|node| parts.nodes.get(node as usize)) else { continue };
        if node.addresses.is_empty() {
            return Some(format!("the address of node {} is not known", node.name));
        }
        for addr in &pod.addresses {
            let family = Family::of(*addr);
            let mut ranges = node.pod_cidrs.iter().filter(|net| Family::of_net(**net) == family).peekable();
            if ranges.peek().is_none() {
                return Some(format!("the {family} pod range of node {} is not known", node.name));
            }
            if parts.settings.cni.is_assumed() && !ranges.any(|net| net.contains(addr)) {
                return Some(format!(
                    "nothing says which CNI gave pod {}/{} its address {addr}, outside of the pod range of node {}",
                    pod.namespace, pod.name, node.name
                ));
            }
        }
    }
    None
}

fn found(place: Result<usize, usize>) -> Option<u32> {
    place.ok().and_then(|at| u32::try_from(at).ok())
}
