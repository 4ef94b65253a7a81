//! All rules of one node's kube-proxy, kept in parts so that a change costs what it touches.
//!
//! In: a cluster and a node; later, clusters after changes and the Services that they touch. Out: the same rules as from scratch.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::iptables::{self, ClusterSize};
use super::userspace;
use super::{Port, ProxyConfig, ServicePort, ipvs, nftables, ports_of_objects, ports_of_service};
use crate::addr::Family;
use crate::assume::ProxyMode;
use crate::cluster::proxy_ports::{Held, family_of};
use crate::cluster::{Changed, Cluster, Service};
use crate::compile::egress;
use crate::compile::service::portmap;
use crate::compile::tables::Tables;
use crate::k8s::Objects;
use crate::plan::Ruleset;

/// Namespace and name of a Service.
pub type ServiceName = (Arc<str>, Arc<str>);

/// The rules of a node: those of kube-proxy, of the portmap plugin, and those that masquerade what leaves the pod network.
#[derive(Clone, Debug)]
pub struct NodeRules {
    node: u32,
    mode: ProxyMode,
    families: Vec<FamilyRules>,
}

/// What kube-proxy makes in one family.
#[derive(Clone, Debug)]
struct FamilyRules {
    config: ProxyConfig,
    size: ClusterSize,
    services: BTreeMap<ServiceName, Compiled>,
    /// How many endpoints all service ports have together.
    endpoints: usize,
    /// Ports of the node that kube-proxy does not get for itself, in mode `userspace`.
    held: Held,
}

/// A Service, compiled.
#[derive(Clone, Debug)]
struct Compiled {
    parts: Parts,
    endpoints: usize,
}

/// The parts of a Service, one for each of its ports.
#[derive(Clone, Debug)]
enum Parts {
    Iptables(Vec<Arc<iptables::Part>>),
    Nftables(Vec<Arc<nftables::Part>>),
    Ipvs(Vec<Arc<ipvs::Part>>),
    Userspace(Vec<Listening>),
}

/// A service port that kube-proxy listens for.
#[derive(Clone, Debug)]
struct Listening {
    record: ServicePort,
    part: Arc<userspace::Part>,
}

/// The families that a cluster has Services in.
pub(super) fn families(cluster: &Cluster) -> impl Iterator<Item = Family> {
    [Family::V4, Family::V6].into_iter().filter(|family| {
        let settings = &cluster.settings;
        let mut nets = settings.service_cidr.value.iter().chain(&settings.cluster_cidr.value);
        nets.any(|net| Family::of_net(*net) == *family)
    })
}

/// Whether kube-proxy works in a family on a node: in mode `userspace` only in one.
pub(super) fn is_served(cluster: &Cluster, node: u32, mode: ProxyMode, family: Family) -> bool {
    let node = cluster.nodes.get(node as usize);
    mode != ProxyMode::Userspace || node.is_some_and(|node| family_of(node) == family)
}

impl NodeRules {
    /// Compiles everything for a node, by its place in [`Cluster::nodes`]. `None` where there is no such node.
    /// O(Services × endpoints).
    pub fn new(cluster: &Cluster, node: u32) -> Option<Self> {
        let mode = cluster.settings.proxy_mode.value;
        let mut all = Vec::new();
        for family in families(cluster) {
            let config = ProxyConfig::of_node(cluster, node, family)?;
            all.push(FamilyRules::new(cluster, node, config, mode));
        }
        Some(Self { node, mode, families: all })
    }

    /// Compiles again what a change touches: Services that came, went or are different, or whose endpoints are. `None` stands for
    /// all. The cluster has the same settings and nodes as before. O(touched Services × endpoints).
    pub fn update(&mut self, cluster: &Cluster, touched: Option<&BTreeSet<ServiceName>>) {
        for family in &mut self.families {
            match touched {
                Some(touched) => family.update(cluster, self.node, touched, self.mode),
                None => *family = FamilyRules::new(cluster, self.node, family.config.clone(), self.mode),
            }
        }
    }

    /// All rules, as the node shows them. O(rules).
    pub fn ruleset(&self, cluster: &Cluster) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for family in &self.families {
            let mut tables = Tables::new(family.config.family);
            match self.mode {
                ProxyMode::Nftables => {
                    let parts = family.nftables();
                    ruleset.nft.push(nftables::assemble(&family.config, parts.into_iter()));
                }
                ProxyMode::Ipvs => {
                    let parts = family.ipvs();
                    ipvs::add_jumps(&mut tables);
                    ipvs::add(&family.config, parts.into_iter(), &mut tables, &mut ruleset);
                }
                ProxyMode::Iptables => {
                    let parts = family.iptables();
                    iptables::add_jumps(&mut tables);
                    iptables::add_chains(&family.config, parts.into_iter(), &mut tables);
                }
                ProxyMode::Userspace => {
                    if is_served(cluster, self.node, self.mode, family.config.family) {
                        let parts = family.userspace();
                        userspace::add_jumps(&mut tables);
                        userspace::add_chains(parts.into_iter(), &mut tables);
                    }
                }
            }
            iptables::add_kubelet(&mut tables, family.config.family);
            add_others(cluster, self.node, &mut tables, family.config.family);
            ruleset.xt.extend(tables.finish());
        }
        ruleset
    }
}

/// What others than kube-proxy and kubelet write.
pub(super) fn add_others(cluster: &Cluster, node: u32, tables: &mut Tables, family: Family) {
    portmap::add(cluster, node, tables, family);
    if let Some(node) = cluster.nodes.get(node as usize) {
        egress::add(cluster, node, tables, family);
    }
}

impl FamilyRules {
    fn new(cluster: &Cluster, node: u32, config: ProxyConfig, mode: ProxyMode) -> Self {
        if mode == ProxyMode::Userspace {
            return Self::of_userspace(cluster, node, config);
        }
        let ports: Vec<(ServiceName, Vec<Port>)> = places(cluster)
            .map(|(place, service)| (name_of(service), ports_of_service(cluster, place, &config)))
            .filter(|(_, ports)| !ports.is_empty())
            .collect();
        let endpoints = ports.iter().map(|(_, ports)| count(ports)).sum();
        let size = ClusterSize::of(endpoints);
        let services = ports
            .into_iter()
            .map(|(name, ports)| (name, Compiled::new(&config, &ports, size, mode)))
            .collect();
        Self { config, size, services, endpoints, held: Held::new() }
    }

    /// In mode `userspace`, whose rules do not depend on endpoints. O(service ports).
    fn of_userspace(cluster: &Cluster, node: u32, config: ProxyConfig) -> Self {
        let mut services = BTreeMap::new();
        let held = cluster.held_ports(node);
        if is_served(cluster, node, ProxyMode::Userspace, config.family) {
            let numbers = cluster.proxy_ports(node, config.family);
            for (place, service) in places(cluster) {
                let records = userspace::records(cluster, place, &config);
                if records.is_empty() {
                    continue;
                }
                let listening = |record: ServicePort| {
                    let number = userspace::of_record(&numbers, cluster, place, &record);
                    let part = Arc::new(userspace::part(&config, &record, number));
                    Listening { record, part }
                };
                let parts = Parts::Userspace(records.into_iter().map(listening).collect());
                services.insert(name_of(service), Compiled { parts, endpoints: 0 });
            }
        }
        Self { config, size: ClusterSize::Small, services, endpoints: 0, held }
    }

    fn update(&mut self, cluster: &Cluster, node: u32, touched: &BTreeSet<ServiceName>, mode: ProxyMode) {
        if mode == ProxyMode::Userspace {
            // Who comes or goes may take a port of the node from another.
            if cluster.held_ports(node) != self.held || !self.listens_alike(cluster, node, touched) {
                *self = Self::of_userspace(cluster, node, self.config.clone());
            }
            return;
        }
        for name in touched {
            if let Some(old) = self.services.remove(name) {
                self.endpoints -= old.endpoints;
            }
            let place = cluster.service_named(&name.0, &name.1);
            let ports = place.map(|place| ports_of_service(cluster, place, &self.config)).unwrap_or_default();
            if !ports.is_empty() {
                let compiled = Compiled::new(&self.config, &ports, self.size, mode);
                self.endpoints += compiled.endpoints;
                self.services.insert(name.clone(), compiled);
            }
        }
        if ClusterSize::of(self.endpoints) != self.size {
            *self = Self::new(cluster, node, self.config.clone(), mode);
        }
    }

    /// Whether Services have the same service ports as before, in mode `userspace`.
    fn listens_alike(&self, cluster: &Cluster, node: u32, touched: &BTreeSet<ServiceName>) -> bool {
        !is_served(cluster, node, ProxyMode::Userspace, self.config.family)
            || touched.iter().all(|name| {
                let place = cluster.service_named(&name.0, &name.1);
                let now = place.map(|place| userspace::records(cluster, place, &self.config));
                let before = self.services.get(name).map_or(&[][..], Compiled::listening);
                before.iter().map(|listening| &listening.record).eq(now.iter().flatten())
            })
    }

    fn iptables(&self) -> Vec<&iptables::Part> {
        let parts = self.services.values().flat_map(|service| match &service.parts {
            Parts::Iptables(parts) => parts.as_slice(),
            Parts::Nftables(_) | Parts::Ipvs(_) | Parts::Userspace(_) => &[],
        });
        parts.map(|part| &**part).collect()
    }

    fn nftables(&self) -> Vec<&nftables::Part> {
        let parts = self.services.values().flat_map(|service| match &service.parts {
            Parts::Nftables(parts) => parts.as_slice(),
            Parts::Iptables(_) | Parts::Ipvs(_) | Parts::Userspace(_) => &[],
        });
        parts.map(|part| &**part).collect()
    }

    fn userspace(&self) -> Vec<&userspace::Part> {
        let parts = self.services.values().flat_map(Compiled::listening);
        parts.map(|listening| &*listening.part).collect()
    }

    fn ipvs(&self) -> Vec<&ipvs::Part> {
        let parts = self.services.values().flat_map(|service| match &service.parts {
            Parts::Ipvs(parts) => parts.as_slice(),
            Parts::Iptables(_) | Parts::Nftables(_) | Parts::Userspace(_) => &[],
        });
        parts.map(|part| &**part).collect()
    }
}

/// The Services of a cluster, each with its place.
fn places(cluster: &Cluster) -> impl Iterator<Item = (u32, &Arc<Service>)> {
    (0..).zip(cluster.services.iter())
}

fn name_of(service: &Service) -> ServiceName {
    (service.namespace.clone(), service.name.clone())
}

impl Compiled {
    fn new(config: &ProxyConfig, ports: &[Port], size: ClusterSize, mode: ProxyMode) -> Self {
        let parts = match mode {
            ProxyMode::Nftables => {
                Parts::Nftables(ports.iter().map(|port| Arc::new(nftables::part(config, port))).collect())
            }
            ProxyMode::Ipvs => {
                Parts::Ipvs(ports.iter().map(|port| Arc::new(ipvs::part(config, port))).collect())
            }
            ProxyMode::Iptables | ProxyMode::Userspace => Parts::Iptables(
                ports.iter().map(|port| Arc::new(iptables::part(config, port, size))).collect(),
            ),
        };
        Self { parts, endpoints: count(ports) }
    }

    fn listening(&self) -> &[Listening] {
        match &self.parts {
            Parts::Userspace(parts) => parts,
            Parts::Iptables(_) | Parts::Nftables(_) | Parts::Ipvs(_) => &[],
        }
    }
}

fn count(ports: &[Port]) -> usize {
    ports.iter().map(|port| port.endpoints.len()).sum()
}

/// The Services whose rules a change touches: `None` for all of them. O(objects), by pointer where they are shared.
pub fn touched_services(
    before: &Cluster,
    after: &Cluster,
    changed: &Changed,
) -> Option<BTreeSet<ServiceName>> {
    if changed.everything || !changed.nodes.is_empty() {
        return None;
    }
    let mut touched: BTreeSet<ServiceName> = changed.services.iter().cloned().collect();
    for (namespace, name) in &changed.pods {
        for cluster in [before, after] {
            let pod = cluster.pod_named(namespace, name).and_then(|at| cluster.pods.get(at as usize));
            let services = pod.map(|pod| cluster.services_selecting(pod)).unwrap_or_default();
            let names = services.iter().filter_map(|at| cluster.services.get(*at as usize));
            touched.extend(names.map(|service| (service.namespace.clone(), service.name.clone())));
        }
    }
    let (a, b) = (&before.objects, &after.objects);
    different(&a.services, &b.services, |name, _| touched.insert(name.clone()));
    different(&a.endpoints, &b.endpoints, |name, _| touched.insert(name.clone()));
    different(&a.endpoint_slices, &b.endpoint_slices, |_, slice| {
        let service = slice.metadata.labels.get("kubernetes.io/service-name");
        let namespace =
            slice.metadata.namespace.clone().unwrap_or_else(|| crate::k8s::DEFAULT_NAMESPACE.into());
        service.is_some_and(|service| touched.insert((namespace, service.clone())))
    });
    Some(touched)
}

/// Tells every object that came, went or is different, before and after.
fn different<T: PartialEq>(
    before: &BTreeMap<ServiceName, Arc<T>>,
    after: &BTreeMap<ServiceName, Arc<T>>,
    mut tell: impl FnMut(&ServiceName, &T) -> bool,
) {
    for (some, others) in [(before, after), (after, before)] {
        for (name, object) in some {
            let same = |other: &Arc<T>| Arc::ptr_eq(object, other) || object == other;
            if !others.get(name).is_some_and(same) {
                tell(name, object);
            }
        }
    }
}

/// kube-proxy's and kubelet's rules for a set of objects as they are stated, in the family of the configuration. O(rules).
///
/// ```
/// use kubenet_core::addr::Family;
/// use kubenet_core::assume::ProxyMode;
/// use kubenet_core::compile::service::{ProxyConfig, ruleset_of_objects};
/// use kubenet_core::k8s::Objects;
///
/// let config = ProxyConfig::new(Family::V4, "node-1");
/// let rules = ruleset_of_objects(&Objects::default(), &config, ProxyMode::Iptables);
/// assert!(rules.xt_table(Family::V4, "nat").is_some_and(|nat| nat.chain("KUBE-SERVICES").is_some()));
/// ```
pub fn ruleset_of_objects(objects: &Objects, config: &ProxyConfig, mode: ProxyMode) -> Ruleset {
    let ports = ports_of_objects(objects, config);
    let mut ruleset = Ruleset::default();
    match mode {
        ProxyMode::Nftables => {
            let mut tables = Tables::new(config.family);
            iptables::add_kubelet(&mut tables, config.family);
            ruleset.xt = tables.finish();
            ruleset.nft.push(nftables::table(config, &ports));
        }
        ProxyMode::Ipvs => ruleset = ipvs::shown(config, &ports),
        ProxyMode::Iptables => ruleset.xt = iptables::shown(config, &ports),
        ProxyMode::Userspace => ruleset.xt = userspace::shown(objects, config, &ports),
    }
    ruleset
}
