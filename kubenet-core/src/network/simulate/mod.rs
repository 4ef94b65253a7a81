//! Simulations: a script of events on virtual time, with packets before, during and after them.
//!
//! In: a network and a script (the lines of `script.rs`; `docs/simulate.md`). Out: what each line came to. Between two lines the
//! machines keep what they have learned: connections, tracked connections and their translations, neighbours, affinity. A change
//! is known to every node at once; kube-proxy then cleans stale UDP entries out of conntrack, as it does after a sync
//! (`pkg/proxy/conntrack/cleanup.go`). Not modelled: the time that the control plane takes, and what controllers would do by
//! themselves but for replacing pods that are deleted or drained.
//!
//! Costs a new look at the network for each change, and one packet for each question.

mod script;
mod show;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::script::ScriptError;
use self::script::{Action, Line};
use super::Network;
use super::question::{LookedUp, Prepared, prepare_one};
use super::words::words;
use crate::addr::{Family, Protocol};
use crate::assume::{Assume, PodState, ProxyMode};
use crate::cluster::{Cluster, Kind, Pod};
use crate::compile::Plans;
use crate::compile::service::conntrack_cleanup::{Cleanup, Entry};
use crate::compile::service::{Port, ProxyConfig, ports_of_service};
use crate::dataplane::{self, ClientId, Parked, Pinned, Probability, Seeded, World};
use crate::k8s::{AnyObject, ObjectChange, Objects};
use crate::origin::ObjectRef;
use crate::plan::{ConntrackEntry, ConntrackKey, MachineId};
use crate::question::{Endpoint, What};
use crate::time::Instant;
use crate::trace::{Chance, Request, RunError, Trace, attempt};

/// The schema of a simulation.
pub const SCHEMA: &str = "kubenet/simulation/v1";

/// What a script came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    /// `kubenet/simulation/v1`.
    pub schema: String,
    /// Its lines, in order.
    pub steps: Vec<Step>,
}

/// What a line came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When, in nanoseconds since the beginning.
    pub at: Instant,
    /// The line of the script, from 1.
    pub line: u32,
    /// Its words.
    pub text: String,
    /// What came of it.
    #[serde(flatten)]
    pub result: Outcome,
}

/// What came of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The network is another.
    Changed(Change),
    /// A packet was sent.
    Trace(Box<Trace>),
    /// What a command on a machine prints.
    Shown(String),
    /// It could not be done, and why.
    Refused(String),
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Pods that came, went or are different.
    pub pods: Vec<String>,
    /// Tracked UDP connections that kube-proxy deleted, as node and entry.
    pub conntrack_deleted: Vec<String>,
}

/// A connection that has a name.
#[derive(Clone)]
struct Connection {
    /// As it was looked up when it began.
    prepared: Box<Prepared>,
    client: ClientId,
    question: String,
    /// The machine's name: numbers change when nodes come and go.
    machine: Arc<str>,
    netns: Arc<str>,
}

struct Run {
    network: Network,
    assume: Assume,
    parked: Parked,
    connections: BTreeMap<String, Connection>,
    outside: Vec<IpAddr>,
    /// The workload of each pod that went.
    owned: BTreeMap<String, String>,
    /// Nodes that take no new pods.
    cordoned: BTreeSet<String>,
    namespace: Arc<str>,
}

/// Runs a script. Names without a namespace are looked up in `namespace`.
///
/// # Errors
///
/// [`ScriptError`] when the script cannot be read. A line that cannot be done is told in its step, and the rest goes on.
pub(super) fn simulate(network: &Network, script: &str, namespace: &str) -> Result<Simulation, ScriptError> {
    let lines = script::read(script)?;
    let mut run = Run {
        network: network.clone(),
        assume: network.assume().clone(),
        parked: Parked::default(),
        connections: BTreeMap::new(),
        outside: Vec::new(),
        owned: BTreeMap::new(),
        cordoned: BTreeSet::new(),
        namespace: namespace.into(),
    };
    let mut steps = Vec::new();
    for line in lines {
        let result = run.line(&line).unwrap_or_else(Outcome::Refused);
        steps.push(Step { at: line.at, line: line.number, text: line.text, result });
    }
    Ok(Simulation { schema: SCHEMA.into(), steps })
}

impl Run {
    fn line(&mut self, line: &Line) -> Result<Outcome, String> {
        match &line.action {
            Action::Trace { question, label } => self.trace(line.at, question, label.as_deref()),
            Action::Send { label, payload } => self.send(line.at, label, *payload),
            Action::Show { shown, what } => self.show(line.at, *shown, what),
            Action::Delete { pod } => {
                let pod = self.pod(pod)?;
                self.remove(pod)?;
                Ok(self.changed(line.at, None))
            }
            Action::DeleteObject { kind, name } => {
                let object = self.object(kind, name)?;
                let of = object.metadata();
                let (kind, namespace) = (object.kind().into(), of.namespace.clone());
                let object = ObjectRef { kind, namespace, name: of.name.clone() };
                Ok(self.changed(line.at, Some(Vec::from([ObjectChange::Delete(object)]))))
            }
            Action::Ready { pod, ready } => {
                let name = self.pod_name(self.pod(pod)?)?;
                if *ready {
                    self.assume.pods.remove(&name);
                } else {
                    self.assume.pods.insert(name, PodState::Unready);
                }
                Ok(self.changed(line.at, None))
            }
            Action::Terminate { pod } => {
                let name = self.pod_name(self.pod(pod)?)?;
                self.assume.pods.insert(name, PodState::Terminating);
                Ok(self.changed(line.at, None))
            }
            Action::Scale { workload, replicas } => {
                let key = self.workload(workload)?;
                self.settle(&key, *replicas);
                Ok(self.changed(line.at, None))
            }
            Action::Drain { node } => self.drain(line.at, node),
            Action::Uncordon { node } => {
                if !self.cordoned.remove(node) {
                    return Err(format!("node {node} is not drained"));
                }
                Ok(self.changed(line.at, None))
            }
            Action::Patch { kind, name, field, value } => self.patch(line.at, kind, name, field, value),
            Action::Assume { key, value } => {
                self.assume.set(key, value).map_err(|error| error.to_string())?;
                Ok(self.changed(line.at, None))
            }
        }
    }

    /// A world under these plans at a time, with everything that was learned before.
    fn world<'p>(&mut self, plans: &'p Plans, at: Instant) -> World<'p, Plans> {
        let mut world = World::new(plans).with_parked(core::mem::take(&mut self.parked));
        world.wait_until(at, &mut Seeded(0), &mut ());
        world
    }

    fn trace(&mut self, at: Instant, text: &str, label: Option<&str>) -> Result<Outcome, String> {
        let mut question = words(text)?;
        if *question.namespace == *crate::k8s::DEFAULT_NAMESPACE {
            question.namespace = self.namespace.clone();
        }
        let mut prepared = match prepare_one(&self.network, &question).map_err(|error| error.to_string())? {
            LookedUp::Ready(prepared) => prepared,
            LookedUp::Answered(trace) => return Ok(Outcome::Trace(trace)),
        };
        let Chance::Seeded { seed, pins } = &question.chance else {
            return Err("a simulation goes one way: use --seed or --pin instead of --explore".into());
        };
        let mut choices = Pinned { pins: pins.clone(), rest: Seeded(*seed) };
        let mut request = prepared.request.clone();
        if question.sport.is_none() {
            // A client that connects again has another port.
            request.sport = request.sport.wrapping_add(self.connections.len() as u16);
        }
        let plans = self.with_outside(prepared.plans.clone());
        self.outside = plans.outside_addresses().to_vec();
        let mut world = self.world(&plans, at);
        let limits = dataplane::Limits { steps: question.limits.steps, ..dataplane::Limits::default() };
        let cluster = self.network.cluster().clone();
        let done = attempt(&mut world, &cluster, &request, None, &mut choices, limits, &|| false);
        let (machine, netns) = names(&mut world, &request);
        self.parked = world.park();
        let (case, client) = done.map_err(|error| error.to_string())?;
        let name = label.map_or_else(|| format!("line {}", self.connections.len()), ToString::to_string);
        prepared.request = request;
        let connection =
            Connection { prepared: prepared.clone(), client, question: text.into(), machine, netns };
        self.connections.insert(name, connection);
        Ok(Outcome::Trace(prepared.finish(&cluster, Vec::from([case]), Probability::ZERO).into()))
    }

    fn send(&mut self, at: Instant, label: &str, payload: u16) -> Result<Outcome, String> {
        let Some(connection) = self.connections.get(label).cloned() else {
            return Err(format!("no connection is called '{label}': name one with 'trace … as {label}'"));
        };
        let question = words(&connection.question)?;
        let plans = self.with_outside(self.network.plans());
        let mut world = self.world(&plans, at);
        let place = place_of(&mut world, &plans, &connection);
        let Some((machine, netns)) = place else {
            self.parked = world.park();
            return Err(format!("the client of '{label}' is gone"));
        };
        // The ends are told as the question names them now, or as it did when that has no meaning any more.
        let mut prepared = match prepare_one(&self.network, &question) {
            Ok(LookedUp::Ready(prepared)) => prepared,
            Ok(LookedUp::Answered(_)) | Err(_) => {
                let mut before = connection.prepared.clone();
                before.request.intended = None;
                before
            }
        };
        let intended = prepared.request.intended;
        let request = Request { machine, netns, payload, intended, ..connection.prepared.request };
        let limits = dataplane::Limits { steps: question.limits.steps, ..dataplane::Limits::default() };
        let cluster = self.network.cluster().clone();
        let client = Some(connection.client);
        let done = attempt(&mut world, &cluster, &request, client, &mut Seeded(0), limits, &|| false);
        self.parked = world.park();
        let (case, _) = match done {
            Err(RunError::NoConnection) => return Err(format!("the connection '{label}' is closed")),
            done => done.map_err(|error| error.to_string())?,
        };
        prepared.request = request;
        Ok(Outcome::Trace(prepared.finish(&cluster, Vec::from([case]), Probability::ZERO).into()))
    }

    /// Plans with every outside host that was met before.
    fn with_outside(&self, plans: Plans) -> Plans {
        self.outside.iter().fold(plans, |plans, addr| plans.with_outside(*addr))
    }

    /// Makes the network anew, carries what was learned over, and lets kube-proxy clean up.
    fn changed(&mut self, at: Instant, objects: Option<Vec<ObjectChange>>) -> Outcome {
        let old = self.network.clone();
        let mut network = match objects {
            Some(changes) => self.network.with(&changes),
            None => self.network.clone(),
        };
        if *network.assume() != self.assume {
            network = network.with_assume(self.assume.clone());
        }
        self.network = self.without_cordoned(old.cluster(), network);
        let plans = self.with_outside(self.network.plans());
        // What was due before the change happens under the plans before it.
        let old_plans = self.with_outside(old.plans());
        let world = self.world(&old_plans, at);
        let mut world = world.onto(&plans);
        let conntrack_deleted = clean_up(old.cluster(), self.network.cluster(), &mut world);
        self.parked = world.park();
        let pods = changed_pods(old.cluster(), self.network.cluster());
        Outcome::Changed(Change { pods, conntrack_deleted })
    }

    fn pod(&self, name: &str) -> Result<u32, String> {
        let (namespace, name) = name.split_once('/').unwrap_or((&self.namespace, name));
        let cluster = self.network.cluster();
        let alone = |wanted: &str| cluster.pod_named(namespace, wanted);
        if let Some(pod) = alone(name) {
            return Ok(pod);
        }
        // A workload means its first pod by name, as in a question.
        let endpoint = Endpoint::parse(&format!("pod/{name}")).and_then(|e| e.resolve(cluster, namespace));
        match endpoint.map(|resolved| resolved.targets) {
            Ok(targets) => match targets.first().map(|target| &target.what) {
                Some(What::Pod(pod)) => Ok(*pod),
                _ => Err(format!("there is no pod {namespace}/{name}")),
            },
            Err(error) => Err(error.to_string()),
        }
    }

    fn pod_name(&self, pod: u32) -> Result<String, String> {
        let pod = self.network.cluster().pods.get(pod as usize).ok_or("there is no such pod")?;
        Ok(format!("{}/{}", pod.namespace, pod.name))
    }

    fn workload(&self, text: &str) -> Result<String, String> {
        let cluster = self.network.cluster();
        if let Some(idle) = self.idle_workload(text) {
            return Ok(idle);
        }
        let resolved = Endpoint::parse(text)
            .and_then(|endpoint| endpoint.resolve(cluster, &self.namespace))
            .map_err(|error| error.to_string())?;
        let first = resolved.targets.first().map(|target| &target.what);
        let owner = match first {
            Some(What::Pod(pod)) => {
                cluster.pods.get(*pod as usize).and_then(|pod| pod.owners.first().cloned())
            }
            _ => None,
        };
        owner.map(|owner| key_of(&owner)).ok_or_else(|| format!("'{text}' is no workload with pods"))
    }

    /// A workload without pods, `KIND/NAME` or `NS/KIND/NAME`: no end of a packet, but one that can be scaled.
    fn idle_workload(&self, text: &str) -> Option<String> {
        let (rest, name) = text.rsplit_once('/')?;
        let (namespace, kind) = rest.split_once('/').unwrap_or((&self.namespace, rest));
        let kind = Kind::from_word(kind)?.as_str().into();
        let object = ObjectRef { kind, namespace: Some(namespace.into()), name: name.into() };
        let workload = self.network.cluster().workload(&object)?;
        workload.pods.is_empty().then(|| key_of(&object))
    }

    /// A pod goes; a workload that it belongs to makes another one.
    fn remove(&mut self, pod: u32) -> Result<(), String> {
        let cluster = self.network.cluster().clone();
        let name = self.pod_name(pod)?;
        if let Some(owner) = cluster.pods.get(pod as usize).and_then(|pod| pod.owners.first()) {
            let own = cluster.workloads.iter().find(|workload| workload.object == *owner);
            let here = own.map_or(0, |workload| workload.pods.len() as u32);
            self.owned.insert(name.clone(), key_of(owner));
            self.assume.pods.insert(name, PodState::Gone);
            self.settle(&key_of(owner), here);
            return Ok(());
        }
        self.assume.pods.insert(name, PodState::Gone);
        Ok(())
    }

    /// Has a workload make as many pods as it needs for so many to be there: those that went are made, and gone.
    fn settle(&mut self, workload: &str, wanted: u32) {
        let gone = self.owned.values().filter(|owner| **owner == *workload).count() as u32;
        for more in 0..=gone {
            self.assume.replicas.insert(workload.into(), wanted.saturating_add(more));
            let network = self.network.with_assume(self.assume.clone());
            let own = network.cluster().workloads.iter().find(|other| key_of(&other.object) == workload);
            if own.is_some_and(|workload| workload.pods.len() as u32 >= wanted) {
                return;
            }
        }
    }

    /// The network with the pods that just came to cordoned nodes on others: each on the node that has the fewest. Those of
    /// DaemonSets stay (`node.kubernetes.io/unschedulable:NoSchedule` is tolerated). Where every node is cordoned they stay too:
    /// a pod without a node has no network to look at.
    fn without_cordoned(&mut self, old: &Cluster, network: Network) -> Network {
        if self.cordoned.is_empty() {
            return network;
        }
        let cluster = network.cluster();
        let nodes = || cluster.nodes.iter().zip(cluster.pods_on_node.iter());
        let mut load: BTreeMap<&str, usize> = nodes()
            .filter(|(node, _)| !self.cordoned.contains(&*node.name))
            .map(|(node, pods)| (&*node.name, pods.len()))
            .collect();
        let mut moved = false;
        for (node, pods) in nodes() {
            if !self.cordoned.contains(&*node.name) {
                continue;
            }
            let all = pods.iter().filter_map(|pod| cluster.pods.get(*pod as usize));
            let is_new = |pod: &&Arc<Pod>| old.pod_named(&pod.namespace, &pod.name).is_none();
            for pod in all.filter(|pod| !stays_on_a_drained_node(pod)).filter(is_new) {
                let Some((target, count)) = load.iter_mut().min_by_key(|(_, count)| **count) else { break };
                *count += 1;
                self.assume.place.insert(format!("{}/{}", pod.namespace, pod.name), (*target).into());
                moved = true;
            }
        }
        if moved { network.with_assume(self.assume.clone()) } else { network }
    }

    fn drain(&mut self, at: Instant, node: &str) -> Result<Outcome, String> {
        let cluster = self.network.cluster().clone();
        let place = cluster.node_named(node).ok_or_else(|| format!("there is no node {node}"))?;
        let pods: Vec<u32> = cluster.pods_on_node.get(place as usize).cloned().unwrap_or_default();
        self.cordoned.insert(node.into());
        for pod in pods {
            if cluster.pods.get(pod as usize).is_some_and(|pod| !stays_on_a_drained_node(pod)) {
                self.remove(pod)?;
            }
        }
        Ok(self.changed(at, None))
    }

    /// The object of this kind and name.
    fn object(&self, kind: &str, name: &str) -> Result<AnyObject, String> {
        let (namespace, name) = name.split_once('/').unwrap_or((&self.namespace, name));
        let kind = AnyObject::KINDS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(kind))
            .ok_or_else(|| format!("'{kind}' is not a kind that is read"))?;
        let meant = |object: &AnyObject| {
            let of = object.metadata();
            object.kind() == *kind
                && *of.name == *name
                && of.namespace.as_deref().is_none_or(|ns| ns == namespace)
        };
        self.network
            .objects()
            .iter()
            .find(meant)
            .ok_or_else(|| format!("there is no {kind} {namespace}/{name}"))
    }

    fn patch(
        &mut self,
        at: Instant,
        kind: &str,
        name: &str,
        field: &str,
        value: &str,
    ) -> Result<Outcome, String> {
        let object = self.object(kind, name)?;
        let mut json = object.to_json().map_err(|error| error.to_string())?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::from(value));
        let mut at_field = &mut json;
        // `ports[0]` and `ports.0` are the same.
        let words = field.split(['.', '[']).map(|word| word.strip_suffix(']').unwrap_or(word));
        for word in words {
            #[allow(clippy::wildcard_enum_match_arm, reason = "what is no list becomes an object")]
            let inside = match at_field {
                serde_json::Value::Array(items) => word.parse().ok().and_then(|at: usize| items.get_mut(at)),
                field => {
                    if !field.is_object() {
                        *field = serde_json::Value::Object(serde_json::Map::new());
                    }
                    field.as_object_mut().map(|map| map.entry(word).or_insert(serde_json::Value::Null))
                }
            };
            at_field = inside.ok_or_else(|| format!("{kind} {name} has no field {field}"))?;
        }
        *at_field = value;
        let mut changed = Objects::default();
        changed.put_json(&json).map_err(|error| error.to_string())?;
        let changes = changed.iter().map(ObjectChange::Put).collect();
        Ok(self.changed(at, Some(changes)))
    }
}

/// `kubectl drain --ignore-daemonsets`; pods on the host's network are taken to be the node's own.
fn stays_on_a_drained_node(pod: &Pod) -> bool {
    pod.owners.iter().any(|owner| owner.kind == "DaemonSet") || pod.host_network
}

fn key_of(owner: &ObjectRef) -> String {
    format!("{}/{}/{}", owner.namespace.as_deref().unwrap_or_default(), owner.kind, owner.name)
}

fn names(world: &mut World<'_, Plans>, request: &Request) -> (Arc<str>, Arc<str>) {
    let Some(machine) = world.machine(request.machine) else { return ("".into(), "".into()) };
    let plan = machine.plan();
    let netns = plan.netns.get(request.netns as usize).map_or_else(|| Arc::from(""), |n| n.name.clone());
    (plan.name.clone(), netns)
}

fn place_of(
    world: &mut World<'_, Plans>,
    plans: &Plans,
    connection: &Connection,
) -> Option<(MachineId, u32)> {
    let id = crate::plan::PlanSource::machine_named(plans, &connection.machine)?;
    let machine = world.machine(id)?;
    let (netns, _) = machine.plan().netns_named(&connection.netns)?;
    Some((id, netns as u32))
}

/// kube-proxy's clean-up of conntrack after a change, on every node that has seen packets.
fn clean_up(before: &Cluster, cluster: &Cluster, world: &mut World<'_, Plans>) -> Vec<String> {
    let nodes: Vec<MachineId> =
        world.awake().map(|(id, _)| id).filter(|id| (id.0 as usize) < cluster.nodes.len()).collect();
    let mut told = Vec::new();
    for id in nodes {
        let now = world.now();
        for family in [Family::V4, Family::V6] {
            let Some(config) = ProxyConfig::of_node(cluster, id.0, family) else { continue };
            let cleanup = cleanup(before, cluster, &config);
            let Some(machine) = world.machine(id) else { continue };
            let stale: Vec<ConntrackEntry> =
                machine.conntrack(0, now).into_iter().filter(|entry| is_stale(&cleanup, entry)).collect();
            let name = machine.plan().name.clone();
            machine.forget_connections(0, now, |entry| is_stale(&cleanup, entry));
            told.extend(stale.iter().map(|entry| {
                let end = |tuple: &crate::plan::ConntrackTuple| format!("{} → {}", tuple.src, tuple.dst);
                format!("{name}: udp {}, replies {}", end(&entry.original), end(&entry.reply))
            }));
        }
    }
    told
}

/// What kube-proxy deletes on a node: by where entries lead now, or in mode `userspace` by what is gone. A kube-proxy that came in
/// another mode than the one before it knows nothing of what was there.
fn cleanup(before: &Cluster, after: &Cluster, config: &ProxyConfig) -> Cleanup {
    let all = |cluster: &Cluster| -> Vec<Port> {
        let places = 0..u32::try_from(cluster.services.len()).unwrap_or(u32::MAX);
        places.flat_map(|place| ports_of_service(cluster, place, config)).collect()
    };
    let is_userspace = |cluster: &Cluster| cluster.settings.proxy_mode.value == ProxyMode::Userspace;
    let now = all(after);
    if !is_userspace(after) {
        return Cleanup::new(&now);
    }
    let old = if is_userspace(before) { all(before) } else { Vec::new() };
    Cleanup::of_userspace(old.iter().map(|port| &*port.record), now.iter().map(|port| &*port.record))
}

fn is_stale(cleanup: &Cleanup, entry: &ConntrackEntry) -> bool {
    let (ConntrackKey::Ports(_, dport), ConntrackKey::Ports(sport, _)) =
        (entry.original.key, entry.reply.key)
    else {
        return false;
    };
    entry.protocol == crate::packet::number::UDP
        && cleanup.deletes(&Entry {
            protocol: Protocol::Udp,
            original_destination: (entry.original.dst, dport),
            reply_source: (entry.reply.src, sport),
        })
}

/// What is told of a pod that was not there before.
fn comes(cluster: &Cluster, name: &str) -> String {
    let pod = name.split_once('/').and_then(|(namespace, name)| cluster.pod_named(namespace, name));
    let node = pod
        .and_then(|pod| cluster.pods.get(pod as usize)?.node)
        .and_then(|node| cluster.nodes.get(node as usize));
    node.map_or_else(|| "comes".into(), |node| format!("comes on {}", node.name))
}

/// Pods that are different, in words.
fn changed_pods(before: &Cluster, after: &Cluster) -> Vec<String> {
    let all = |cluster: &Cluster| -> BTreeMap<String, (bool, bool)> {
        let pods = cluster.pods.iter();
        pods.map(|pod| (format!("{}/{}", pod.namespace, pod.name), (pod.ready, pod.terminating))).collect()
    };
    let (old, new) = (all(before), all(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let word = match (old.get(name), new.get(name)) {
                (None, Some(_)) => return Some(format!("{name} {}", comes(after, name))),
                (Some(_), None) => "is gone",
                (Some((_, false)), Some((_, true))) => "is terminating",
                (Some((true, _)), Some((false, _))) => "is not ready",
                (Some((false, _)), Some((true, _))) => "is ready",
                _ => return None,
            };
            Some(format!("{name} {word}"))
        })
        .collect()
}
