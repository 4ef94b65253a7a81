//! From what the objects say to a resolved [`Cluster`].
//!
//! In: [`Objects`], read into [`Input`], and an [`Assume`]. Out: a cluster and diagnostics. *Manifests*: the controllers', the
//! scheduler's and the allocators' parts are played, each in its own file. A *snapshot* is only put in order.
//! O(n log n) in the objects, but O(workloads × nodes) for the choice of nodes.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::control_plane::{Made, Make, Names, Template, WorkloadIn};
use super::layers::{self, Facts};
use super::schedule::{Fit, Note, Scheduler, daemon_tolerations};
use super::services::ServiceIn;
use super::{
    Cluster, InputMode, Kind, Namespace, Node, Parts, Pod, PodPort, Settings, Workload, address, check,
    missing, read, services,
};
use crate::assume::{Assume, Fault, PortRef, Where};
use crate::identity::identity;
use crate::k8s::{DEFAULT_NAMESPACE, Objects};
use crate::origin::{Diagnostic, ObjectRef, Origin};

/// How many nodes are made up when nobody says.
const DEFAULT_NODES: u32 = 2;

/// What the objects say, in the cluster's own words.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) nodes: Vec<Node>,
    pub(super) pods: Vec<PodIn>,
    pub(super) workloads: Vec<WorkloadIn>,
    /// Who controls a ReplicaSet or a Job.
    pub(super) parents: BTreeMap<ObjectRef, ObjectRef>,
    pub(super) services: Vec<ServiceIn>,
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
    let detected = Settings::default();
    let (mut parts, mut found) = resolve_input(input, detected, assume, mode);
    log.append(&mut found);
    if parts.mode == InputMode::Snapshot {
        parts.missing = missing::missing(objects, &parts.settings);
    }
    parts.objects = objects.clone();
    (finish(parts, assume, &mut log), log)
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
    let (mut nodes, made_up) = all_nodes(&mut input, assume, mode, &mut log);
    let facts = facts(&input, &nodes);
    let settings = layers::settings(detected, &facts, assume);
    let workload_refs: Vec<ObjectRef> = input.workloads.iter().map(|w| w.object.clone()).collect();
    let mut pods = match mode {
        InputMode::Manifests => {
            let place = places(assume, &nodes, &mut log);
            played_pods(&mut input, &nodes, made_up, &place, &mut log)
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
    let services = match mode {
        InputMode::Manifests => {
            address::give_pod_cidrs(&mut nodes, &pods, &settings, &mut log);
            address::give_node_addresses(&mut nodes, &settings, &mut log);
            address::give_pod_addresses(&nodes, &mut pods, &settings, &mut log);
            input.services.sort_by(|a, b| {
                (&a.service.namespace, &a.service.name).cmp(&(&b.service.namespace, &b.service.name))
            });
            services::give(input.services, &settings, &mut log)
        }
        InputMode::Snapshot => {
            host_network_addresses(&nodes, &mut pods);
            input.services.into_iter().map(|s| Arc::new(s.service)).collect()
        }
    };
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
    let listeners = pod_ports(&cluster, "listeners", &assume.listeners, log);
    let closed = pod_ports(&cluster, "closed", &assume.closed, log);
    (cluster.listeners, cluster.closed) = (Arc::new(listeners), Arc::new(closed));
    known_faults(&cluster, log);
    cluster
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

/// The nodes of the input, or made-up ones, and those that only pods name; sorted by name.
fn all_nodes(
    input: &mut Input,
    assume: &Assume,
    mode: InputMode,
    log: &mut Vec<Diagnostic>,
) -> (Vec<Node>, bool) {
    let mut nodes = core::mem::take(&mut input.nodes);
    let stated = !nodes.is_empty();
    let made_up = mode == InputMode::Manifests && !stated;
    if made_up {
        let count = assume.nodes.unwrap_or(DEFAULT_NODES);
        nodes.extend((1..=count).map(|number| made_up_node(format!("node-{number}").into())));
    } else if assume.nodes.is_some() {
        let message = "nodes has no effect: the input says which nodes there are";
        log.push(Diagnostic::note("assumption-unused", message));
    }
    let mut known: BTreeSet<Arc<str>> = nodes.iter().map(|node| node.name.clone()).collect();
    let named_by_pods = input.pods.iter().filter_map(|p| Some((p.template.asks.node_name.clone()?, Some(p))));
    let by_templates =
        input.workloads.iter().filter_map(|w| Some((w.template.asks.node_name.clone()?, None)));
    let by_templates = by_templates.filter(|_| mode == InputMode::Manifests);
    for (name, pod) in named_by_pods.chain(by_templates) {
        if !known.insert(name.clone()) {
            continue;
        }
        if stated {
            let message = format!("node {name} is named by a pod, but is not in the input");
            let origin = pod.map(|p| p.pod.origin.with_field("spec.nodeName"));
            let told =
                Diagnostic::note("unknown-node", message).help(format!("kubectl get node {name} -o yaml"));
            log.push(match &origin {
                Some(origin) => told.from_origin(origin),
                None => told,
            });
        }
        nodes.push(match (mode, pod) {
            (InputMode::Snapshot, Some(p)) => Node {
                origin: p.pod.origin.with_field("spec.nodeName"),
                labels: Vec::new(),
                ..made_up_node(name)
            },
            _ => made_up_node(name),
        });
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes.dedup_by(|b, a| a.name == b.name);
    // Where the node itself does not say, its pods know its address.
    for p in input.pods.iter_mut() {
        let Some(name) = &p.template.asks.node_name else { continue };
        let Ok(place) = nodes.binary_search_by(|node| node.name.cmp(name)) else { continue };
        p.pod.node = u32::try_from(place).ok();
        if let Some(node) = nodes.get_mut(place)
            && node.addresses.is_empty()
        {
            node.addresses.clone_from(&p.host_ips);
        }
    }
    (nodes, made_up)
}

fn made_up_node(name: Arc<str>) -> Node {
    let label = |key: &str, value: &str| (Arc::from(key), Arc::from(value));
    Node {
        addresses: Vec::new(),
        external_addresses: Vec::new(),
        pod_cidrs: Vec::new(),
        labels: alloc::vec![
            label("beta.kubernetes.io/arch", "amd64"),
            label("beta.kubernetes.io/os", "linux"),
            label("kubernetes.io/arch", "amd64"),
            label("kubernetes.io/hostname", &name),
            label("kubernetes.io/os", "linux"),
        ],
        taints: Vec::new(),
        origin: Origin::made_up(
            ObjectRef { kind: Cow::Borrowed("Node"), namespace: None, name: name.clone() },
            "node",
        ),
        name,
    }
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

type Places = BTreeMap<ObjectRef, u32>;

/// `place` of the assumptions, looked up.
fn places(assume: &Assume, nodes: &[Node], log: &mut Vec<Diagnostic>) -> Places {
    let mut places = Places::new();
    for (what, node) in &assume.place {
        let Some(object) = parse_place(what) else {
            let message = format!("place: '{what}' is neither [NAMESPACE/]KIND/NAME nor NAMESPACE/POD");
            log.push(Diagnostic::warning("assumption-unknown", message));
            continue;
        };
        match nodes.binary_search_by(|n| (*n.name).cmp(node)) {
            Ok(place) => {
                places.insert(object, place as u32);
            }
            Err(_) => {
                let names: Vec<&str> = nodes.iter().map(|n| &*n.name).take(5).collect();
                let message = format!("place: no node '{node}'; there are {}", names.join(", "));
                log.push(Diagnostic::warning("assumption-unknown", message));
            }
        }
    }
    places
}

fn parse_place(text: &str) -> Option<ObjectRef> {
    let words: Vec<&str> = text.split('/').collect();
    if words.iter().any(|word| word.is_empty()) {
        return None;
    }
    let (namespace, kind, name) = match words[..] {
        [namespace, kind, name] => (namespace, Kind::from_word(kind)?, name),
        [first, name] => match Kind::from_word(first) {
            Some(kind) => (DEFAULT_NAMESPACE, kind, name),
            None => (first, Kind::Pod, name),
        },
        _ => return None,
    };
    Some(ObjectRef::namespaced(kind.as_str(), namespace, name))
}

/// The pods that the controllers would make beside those of the input, each on the node that the scheduler would choose.
fn played_pods(
    input: &mut Input,
    nodes: &[Node],
    made_up: bool,
    places: &Places,
    log: &mut Vec<Diagnostic>,
) -> Vec<Pod> {
    let scheduler = Scheduler::new(nodes, made_up);
    let mut names = Names::default();
    let mut existing: BTreeMap<ObjectRef, (u32, BTreeSet<u32>)> = BTreeMap::new();
    let mut pods = Vec::new();
    for p in input.pods.drain(..) {
        names.claim(&p.pod.namespace, &p.pod.name);
        let own = ObjectRef::namespaced("Pod", &p.pod.namespace, &p.pod.name);
        let key = identity(&["Pod", &p.pod.namespace, &p.pod.name]);
        let alone = Made { pod: p.pod, template: p.template, key, replica: 0 };
        let mut done = schedule(alloc::vec![alone], &own, &scheduler, places, log);
        for pod in &done {
            for owner in pod.owners.iter().filter(|_| !pod.terminal) {
                let (count, on) = existing.entry(owner.clone()).or_default();
                *count += 1;
                on.extend(pod.node);
            }
        }
        pods.append(&mut done);
    }
    let mut workloads = core::mem::take(&mut input.workloads);
    workloads.sort_by(|a, b| a.object.cmp(&b.object));
    let controlled =
        |w: &WorkloadIn| input.parents.get(&w.object).is_some_and(|p| is_workload(&workloads, p));
    for workload in workloads.iter().filter(|w| !controlled(w)) {
        let (count, on) = existing.remove(&workload.object).unwrap_or_default();
        if workload.make == Make::PerNode {
            pods.extend(daemon_pods(workload, &on, &scheduler, nodes, &mut names, log));
        } else {
            let made = workload.pods(count, &mut names);
            pods.append(&mut schedule(made, &workload.object, &scheduler, places, log));
        }
    }
    pods
}

fn is_workload(sorted: &[WorkloadIn], object: &ObjectRef) -> bool {
    sorted.binary_search_by(|w| w.object.cmp(object)).is_ok()
}

/// Chooses nodes for the pods of one workload.
fn schedule(
    made: Vec<Made>,
    workload: &ObjectRef,
    scheduler: &Scheduler<'_>,
    places: &Places,
    log: &mut Vec<Diagnostic>,
) -> Vec<Pod> {
    let Some(first) = made.first() else { return Vec::new() };
    let fixed = first.template.asks.node_name.as_ref().map(|name| scheduler.named(name));
    let placed = places.get(workload).copied();
    let needs_a_choice =
        placed.is_none() && fixed.is_none() && first.pod.node.is_none() && !first.pod.terminal;
    let fit = if needs_a_choice { scheduler.fit(&first.template.asks) } else { Fit::default() };
    if let Some(note) = &fit.note {
        log.push(tell_note(note, workload, &first.pod.origin));
    }
    let replicas = made.iter().map(|m| m.replica as usize + 1).max().unwrap_or(0);
    let ranked = scheduler.rank(first.key, &fit, replicas);
    let choose = |made: Made| {
        let mut pod = made.pod;
        let own = ObjectRef {
            kind: Cow::Borrowed("Pod"),
            namespace: Some(pod.namespace.clone()),
            name: pod.name.clone(),
        };
        let said = places.get(&own).copied().or(placed);
        let at =
            (made.replica as usize).checked_rem(fit.nodes.len()).and_then(|rank| ranked.get(rank).copied());
        pod.node = said.or(pod.node).or(fixed.flatten()).or(at);
        pod
    };
    made.into_iter().map(choose).collect()
}

fn daemon_pods(
    workload: &WorkloadIn,
    on: &BTreeSet<u32>,
    scheduler: &Scheduler<'_>,
    nodes: &[Node],
    names: &mut Names,
    log: &mut Vec<Diagnostic>,
) -> Vec<Pod> {
    let template = &workload.template;
    let mut asks = template.asks.clone();
    asks.tolerations.extend(daemon_tolerations(template.host_network));
    let fit = match &asks.node_name {
        Some(name) => Fit { nodes: scheduler.named(name).into_iter().collect(), note: None },
        None => scheduler.fit(&asks),
    };
    if let Some(note) = &fit.note {
        log.push(tell_note(note, &workload.object, &workload.origin));
    }
    let free = fit.nodes.into_iter().filter(|place| !on.contains(place));
    let one = |place: u32| Some(workload.daemon(place, &nodes.get(place as usize)?.name, names).pod);
    free.filter_map(one).collect()
}

fn tell_note(note: &Note, workload: &ObjectRef, origin: &Origin) -> Diagnostic {
    match note {
        Note::Pretended(labels) => Diagnostic::note(
            "made-up-labels",
            format!(
                "{workload} asks for nodes with {labels}; the made-up nodes are treated as if they had it"
            ),
        )
        .from_origin(origin)
        .help("give Node objects to say which nodes have it"),
        Note::Unschedulable(why) => {
            Diagnostic::warning("unschedulable", format!("pods of {workload} stay pending: {why}"))
                .from_origin(origin)
        }
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

fn pod_ports(cluster: &Cluster, key: &str, refs: &[PortRef], log: &mut Vec<Diagnostic>) -> Vec<PodPort> {
    let mut ports = Vec::new();
    for port in refs {
        let namespace = port.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        match cluster.pod_named(namespace, &port.pod) {
            Some(pod) => ports.push(PodPort { pod, port: port.port, protocol: port.protocol }),
            None => log.push(unknown(key, &format!("pod '{}' in namespace '{namespace}'", port.pod))),
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn known_faults(cluster: &Cluster, log: &mut Vec<Diagnostic>) {
    for fault in cluster.faults.iter() {
        if let Some(what) = unknown_place(cluster, fault) {
            log.push(unknown("faults", &what));
        }
    }
}

fn unknown_place(cluster: &Cluster, fault: &Fault) -> Option<String> {
    match fault.at() {
        Where::Gateway => None,
        Where::Node(name) => cluster.node_named(name).is_none().then(|| format!("node '{name}'")),
        Where::Pod { namespace, name } => {
            let missing = cluster.pod_named(namespace, name).is_none();
            missing.then(|| format!("pod '{name}' in namespace '{namespace}'"))
        }
    }
}

fn unknown(key: &str, what: &str) -> Diagnostic {
    Diagnostic::warning("assumption-unknown", format!("{key}: no {what}"))
        .help("kubenet inventory lists what there is")
}
