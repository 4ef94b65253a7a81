//! From what the objects say to a resolved [`Cluster`].
//!
//! In: [`Objects`], read into [`Input`], and an [`Assume`]. Out: a cluster and diagnostics. *Manifests*: the controllers', the
//! scheduler's and the allocators' parts are played, each in its own file. A *snapshot* is only put in order.
//! O(n log n) in the objects, but O(workloads × nodes) for the choice of nodes.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::control_plane::{Template, WorkloadIn};
use super::layers::{self, Facts};
use super::load_balancer::Pools;
use super::services::ServiceIn;
use super::{
    Announcement, Cluster, InputMode, Namespace, Node, Parts, Pod, Settings, Workload, address, check,
    detect, missing, nodes, play, read, said, services, slices, unmodelled,
};
use crate::assume::Assume;
use crate::k8s::{DEFAULT_NAMESPACE, Objects};
use crate::origin::{Diagnostic, ObjectRef, Origin};

/// What the objects say, in the cluster's own words.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) nodes: Vec<Node>,
    pub(super) pods: Vec<PodIn>,
    pub(super) workloads: Vec<WorkloadIn>,
    /// Who controls a ReplicaSet or a Job.
    pub(super) parents: BTreeMap<ObjectRef, ObjectRef>,
    pub(super) services: Vec<ServiceIn>,
    /// Where addresses of load balancers come from.
    pub(super) pools: Pools,
    pub(super) namespaces: Vec<Namespace>,
    /// An object has a uid.
    pub(super) has_uid: bool,
}

/// A pod of the input.
#[derive(Debug)]
pub(super) struct PodIn {
    pub(super) pod: Pod,
    pub(super) template: Arc<Template>,
    /// `status.hostIPs`.
    pub(super) host_ips: Vec<IpAddr>,
    /// The controller among its owners.
    pub(super) controller: Option<ObjectRef>,
}

/// Resolves objects. Without `mode`, a uid on any of them makes the input a snapshot.
///
/// ```
/// use std::sync::Arc;
///
/// use kubenet_core::assume::Assume;
/// use kubenet_core::cluster::resolve;
/// use kubenet_core::k8s::Objects;
///
/// let mut objects = Objects::default();
/// objects.put_json(&serde_json::json!({
///     "kind": "Deployment",
///     "metadata": {"name": "web"},
///     "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "web"}}}},
/// }))?;
/// let (cluster, diagnostics) = resolve(&Arc::new(objects), &Assume::default(), None);
/// assert!(diagnostics.is_empty());
/// assert_eq!((cluster.nodes.len(), cluster.pods.len()), (2, 2));
/// # Ok::<(), kubenet_core::k8s::ObjectError>(())
/// ```
pub fn resolve(
    objects: &Arc<Objects>,
    assume: &Assume,
    mode: Option<InputMode>,
) -> (Cluster, Vec<Diagnostic>) {
    let mut log = Vec::new();
    let input = read::input(objects, &mut log);
    let detected = detect::detect(objects, assume, &mut log);
    let (mut parts, mut found) = resolve_input(input, detected.settings, assume, mode);
    log.append(&mut found);
    if parts.mode == InputMode::Snapshot {
        parts.missing = missing::missing(objects, &parts.settings);
    }
    parts.unmodelled = unmodelled::unmodelled(objects, &parts, detected.dataplanes);
    parts.objects = objects.clone();
    let cluster = finish(parts, assume, &mut log);
    check::tell(&mut log, slices::stale(&cluster));
    (cluster, log)
}

/// Resolves what the objects say.
pub(super) fn resolve_input(
    mut input: Input,
    detected: Settings,
    assume: &Assume,
    mode: Option<InputMode>,
) -> (Parts, Vec<Diagnostic>) {
    let mode = mode.unwrap_or(if input.has_uid { InputMode::Snapshot } else { InputMode::Manifests });
    let mut log = Vec::new();
    name_owners(&mut input);
    let (mut nodes, made_up) = nodes::all_nodes(&mut input, assume, mode, &mut log);
    let facts = facts(&input, &nodes);
    let settings = layers::settings(detected, &facts, assume);
    said::replicas(assume, &mut input.workloads, &mut log);
    let workload_refs: Vec<ObjectRef> = input.workloads.iter().map(|w| w.object.clone()).collect();
    let mut pods = match mode {
        InputMode::Manifests => {
            let place = said::places(assume, &nodes, &mut log);
            play::played_pods(&mut input, &nodes, made_up, &place, &mut log)
        }
        InputMode::Snapshot => {
            if !assume.place.is_empty() {
                let message = "place has no effect: in a snapshot every pod is where the input says";
                log.push(Diagnostic::warning("assumption-unused", message).help("use --input manifests"));
            }
            input.pods.drain(..).map(|p| p.pod).collect()
        }
    };
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    said::pod_states(assume, &mut pods, &mut log);
    let mut services: Vec<super::Service> = match mode {
        InputMode::Manifests => {
            address::give_pod_cidrs(&mut nodes, &pods, &settings, &mut log);
            address::give_node_addresses(&mut nodes, &settings, &mut log);
            address::give_pod_addresses(&nodes, &mut pods, &settings, &mut log);
            input.services.sort_by(|a, b| {
                (&a.service.namespace, &a.service.name).cmp(&(&b.service.namespace, &b.service.name))
            });
            services::give(input.services, &settings, &input.pools, &mut log)
        }
        InputMode::Snapshot => {
            host_network_addresses(&nodes, &mut pods);
            input.services.into_iter().map(|s| s.service).collect()
        }
    };
    services.iter_mut().for_each(|service| announce(service, &input.pools, &nodes));
    let services: Vec<Arc<super::Service>> = services.into_iter().map(Arc::new).collect();
    log.extend(check::contradictions(mode, &settings, &nodes, &pods, &services));

    let mut parts = Parts::new(mode, settings);
    parts.namespaces = namespaces(input.namespaces, &pods, &services, &workload_refs);
    parts.workloads = workloads(workload_refs, &pods);
    parts.nodes = nodes.into_iter().map(Arc::new).collect();
    parts.pods = pods.into_iter().map(Arc::new).collect();
    parts.services = services;
    (parts, log)
}

/// Builds the cluster and looks up what the assumptions name in it.
pub(super) fn finish(mut parts: Parts, assume: &Assume, log: &mut Vec<Diagnostic>) -> Cluster {
    parts.faults.clone_from(&assume.faults);
    let mut cluster = Cluster::new(parts);
    let listeners = said::pod_ports(&cluster, "listeners", &assume.listeners, log);
    let closed = said::pod_ports(&cluster, "closed", &assume.closed, log);
    (cluster.listeners, cluster.closed) = (Arc::new(listeners), Arc::new(closed));
    said::known_faults(&cluster, log);
    said::known_sysctls(assume, log);
    cluster
}

/// Says how packets to the addresses of a load balancer get to nodes.
fn announce(service: &mut super::Service, pools: &Pools, nodes: &[Node]) {
    for address in service.load_balancer.iter_mut().flat_map(|balancer| &mut balancer.addresses) {
        let has = |node: &Node| {
            node.addresses.contains(&address.addr) || node.external_addresses.contains(&address.addr)
        };
        address.by = match nodes.iter().any(has) {
            true => Announcement::Node,
            false => pools.announcement(address.addr),
        };
    }
}

/// Completes the chain of owners: Deployment before ReplicaSet, CronJob before Job.
fn name_owners(input: &mut Input) {
    for p in &mut input.pods {
        let Some(controller) = &p.controller else { continue };
        let parent = input.parents.get(controller).cloned().or_else(|| deployment_of(controller, &p.pod));
        p.pod.owners = parent.into_iter().chain([controller.clone()]).collect();
    }
}

/// A ReplicaSet that was not collected still shows its Deployment: it is named after it and the pod's template hash.
fn deployment_of(controller: &ObjectRef, pod: &Pod) -> Option<ObjectRef> {
    if controller.kind != "ReplicaSet" {
        return None;
    }
    let (_, hash) = pod.labels.iter().find(|(key, _)| &**key == "pod-template-hash")?;
    let name = controller.name.strip_suffix(&**hash)?.strip_suffix('-')?;
    Some(ObjectRef {
        kind: Cow::Borrowed("Deployment"),
        namespace: controller.namespace.clone(),
        name: name.into(),
    })
}

fn facts(input: &Input, nodes: &[Node]) -> Facts {
    let own = input.pods.iter().filter(|p| !p.pod.host_network && !p.pod.terminal);
    Facts {
        pod_cidrs: nodes.iter().flat_map(|node| node.pod_cidrs.iter().copied()).collect(),
        pod_addresses: own.flat_map(|p| p.pod.addresses.iter().copied()).collect(),
        node_addresses: nodes.iter().flat_map(|node| node.addresses.iter().copied()).collect(),
        cluster_ips: input.services.iter().flat_map(|s| s.service.cluster_ips.iter().copied()).collect(),
        nodes: nodes.len(),
    }
}

fn host_network_addresses(nodes: &[Node], pods: &mut [Pod]) {
    for pod in pods.iter_mut().filter(|pod| pod.host_network && !pod.terminal && pod.addresses.is_empty()) {
        if let Some(node) = pod.node.and_then(|node| nodes.get(node as usize)) {
            pod.addresses.clone_from(&node.addresses);
        }
    }
}

/// The namespaces of the input and those that objects name.
fn namespaces(
    stated: Vec<Namespace>,
    pods: &[Pod],
    services: &[Arc<super::Service>],
    workloads: &[ObjectRef],
) -> Vec<Arc<Namespace>> {
    let mut all: BTreeMap<Arc<str>, Arc<Namespace>> =
        stated.into_iter().map(|namespace| (namespace.name.clone(), Arc::new(namespace))).collect();
    let of_pods = pods.iter().map(|pod| &pod.namespace);
    let of_services = services.iter().map(|service| &service.namespace);
    let of_workloads = workloads.iter().filter_map(|workload| workload.namespace.as_ref());
    let default = Arc::from(DEFAULT_NAMESPACE);
    for name in of_pods.chain(of_services).chain(of_workloads).chain([&default]) {
        if !all.contains_key(name) {
            let object = ObjectRef { kind: Cow::Borrowed("Namespace"), namespace: None, name: name.clone() };
            let labels = alloc::vec![(Arc::from("kubernetes.io/metadata.name"), name.clone())];
            let origin = Origin::made_up(object, "namespace");
            all.insert(name.clone(), Arc::new(Namespace { name: name.clone(), labels, origin }));
        }
    }
    all.into_values().collect()
}

/// Every workload of the input and every owner that a pod names, with its pods.
fn workloads(stated: Vec<ObjectRef>, pods: &[Pod]) -> Vec<Workload> {
    let mut all: BTreeMap<ObjectRef, Vec<u32>> =
        stated.into_iter().map(|object| (object, Vec::new())).collect();
    for (place, pod) in (0u32..).zip(pods) {
        for owner in &pod.owners {
            match all.get_mut(owner) {
                Some(pods) => pods.push(place),
                None => {
                    all.insert(owner.clone(), alloc::vec![place]);
                }
            }
        }
    }
    all.into_iter().map(|(object, pods)| Workload { object, pods }).collect()
}
