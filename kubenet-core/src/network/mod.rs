//! The façade: a network that is loaded once, asked many questions, and changed by value.
//!
//! In: objects and assumptions. Out: diagnostics, traces, tables as a node shows them, an inventory. [`Network`] is `Send + Sync`,
//! cheap to clone, and never changes: [`Network::with`] gives a new one that shares what is equal.

mod aftermath;
mod inventory;
mod question;
mod render;
mod simulate;
#[cfg(test)]
mod tests;
mod words;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use self::aftermath::Tables;
pub use self::inventory::{Inventory, KindCount, NodeLine, SettingLine};
pub use self::question::{AskError, Question, Side};
pub use self::render::{RenderError, Table};
pub use self::simulate::{Change, Outcome, SCHEMA as SIMULATION_SCHEMA, ScriptError, Simulation, Step};
pub use self::words::words;
use crate::assume::Assume;
use crate::cluster::{Changed, Cluster, InputMode, resolve};
use crate::compile::{self, Plans};
use crate::drift::{self, Drift};
use crate::k8s::load::{LoadOptions, Source, load};
use crate::k8s::{ObjectChange, Objects};
use crate::observe;
use crate::origin::{Diagnostic, ObjectRef, Severity};
use crate::plan::{MachineId, MachinePlan, PlanSource, Unknown};
use crate::time::Instant;
use crate::trace::Trace;

/// How much one call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames that one run carries between machines.
    pub steps: u64,
    /// Runs of one exploration.
    pub branches: usize,
    /// Bytes of frames that one run records.
    pub bytes: usize,
}

impl Default for Limits {
    /// 100,000 frames, 4,096 branches, 64 MiB.
    fn default() -> Self {
        Self { steps: 100_000, branches: 4096, bytes: 64 << 20 }
    }
}

/// A cluster's network.
///
/// ```
/// use kubenet_core::network::{Network, Question};
/// use kubenet_core::trace::Verdict;
///
/// let manifests = r#"
/// apiVersion: v1
/// kind: Pod
/// metadata: {name: web}
/// spec: {containers: [{name: main, ports: [{containerPort: 80}]}]}
/// ---
/// apiVersion: v1
/// kind: Pod
/// metadata: {name: client}
/// "#;
/// let network = Network::from_text("pods.yaml", manifests);
/// let trace = network.trace(&Question::new("pod/client", "pod/web:80"))?;
/// assert_eq!(trace.verdict(), Some(Verdict::Connected));
/// # Ok::<(), kubenet_core::network::AskError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Network(Arc<Inner>);

/// The dump of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// The node's name.
    pub node: Arc<str>,
    /// What origins and diagnostics call the dump.
    pub folder: String,
    /// Its files: name and content.
    pub files: Vec<(String, String)>,
}

#[derive(Debug)]
struct Inner {
    objects: Arc<Objects>,
    assume: Assume,
    mode: Option<InputMode>,
    cluster: Cluster,
    loading: Arc<Vec<Diagnostic>>,
    resolving: Vec<Diagnostic>,
    changed: Changed,
    dumps: Arc<Vec<Dump>>,
    observed: Vec<(MachineId, Arc<MachinePlan>)>,
    observing: Vec<Diagnostic>,
}

impl Network {
    /// A network of objects. Without `mode`, a uid on any of them makes the input a snapshot. O(n log n).
    pub fn new(objects: Objects, assume: Assume, mode: Option<InputMode>) -> Self {
        Self::build(Arc::new(objects), assume, mode, Arc::default())
    }

    /// A network of one text in YAML or JSON, with everything else as it is assumed. What is wrong with the text is in
    /// [`Network::diagnostics`].
    pub fn from_text(name: &str, text: &str) -> Self {
        let source = Source { name, bytes: text.as_bytes() };
        Self::load(&[source], &LoadOptions::default(), Assume::default(), None)
    }

    /// A network of texts. `assume` is laid over the Assumptions documents among them. Loading never fails: what could not be
    /// read is in [`Network::diagnostics`], the rest is there.
    pub fn load(
        sources: &[Source<'_>],
        options: &LoadOptions,
        assume: Assume,
        mode: Option<InputMode>,
    ) -> Self {
        let loaded = load(sources, options);
        let assume = assume.over(loaded.assume.unwrap_or_default());
        Self::build(Arc::new(loaded.objects), assume, mode, Arc::new(loaded.diagnostics))
    }

    fn build(
        objects: Arc<Objects>,
        assume: Assume,
        mode: Option<InputMode>,
        loading: Arc<Vec<Diagnostic>>,
    ) -> Self {
        let (cluster, resolving) = resolve(&objects, &assume, mode);
        let changed = Changed { everything: true, ..Changed::default() };
        Self::made(objects, assume, mode, (cluster, changed), loading, resolving, Arc::default())
    }

    fn made(
        objects: Arc<Objects>,
        assume: Assume,
        mode: Option<InputMode>,
        (cluster, changed): (Cluster, Changed),
        loading: Arc<Vec<Diagnostic>>,
        resolving: Vec<Diagnostic>,
        dumps: Arc<Vec<Dump>>,
    ) -> Self {
        let (mut observed, mut observing) = (Vec::new(), Vec::new());
        for dump in dumps.iter() {
            let Some(node) = cluster.node_named(&dump.node) else { continue };
            let Some(desired) = compile::machine(&cluster, MachineId(node)) else { continue };
            let files: Vec<observe::File<'_>> =
                dump.files.iter().map(|(name, text)| observe::File { name, text }).collect();
            let seen = observe::machine(&desired, &dump.folder, &files);
            observing.extend(seen.diagnostics);
            observed.push((MachineId(node), Arc::new(seen.machine)));
        }
        Self(Arc::new(Inner {
            objects,
            assume,
            mode,
            cluster,
            loading,
            resolving,
            changed,
            dumps,
            observed,
            observing,
        }))
    }

    /// The network with some nodes as their dumps show them, instead of as the manifests call for. A node that no object
    /// names is made up; that is told where there are others. What could not be read is in [`Network::diagnostics`], and a
    /// packet that would ask rules of such a file comes to an unknown end.
    ///
    /// ```
    /// use kubenet_core::network::{Dump, Network};
    ///
    /// let rules = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
    /// let files = vec![("iptables-save.txt".to_string(), rules.to_string())];
    /// let dump = Dump { node: "node-1".into(), folder: "dump".into(), files };
    /// let network = Network::from_text("none.yaml", "").observe(vec![dump]);
    /// assert_eq!(network.observed().count(), 1);
    /// ```
    #[must_use]
    pub fn observe(&self, dumps: Vec<Dump>) -> Self {
        let stated = self.stating(&dumps);
        let mut loading = self.0.loading.clone();
        Arc::make_mut(&mut loading).extend(unnamed(&self.0.cluster, &stated.0.cluster, &dumps));
        // One node that is stated takes the place of all that are made up; the dumped ones among them are stated then.
        let network = stated.stating(&dumps);
        let inner = &network.0;
        Self::made(
            inner.objects.clone(),
            inner.assume.clone(),
            inner.mode,
            (inner.cluster.clone(), inner.changed.clone()),
            loading,
            inner.resolving.clone(),
            Arc::new(dumps),
        )
    }

    /// The network with an object for each node that a dump names and that is not there.
    fn stating(&self, dumps: &[Dump]) -> Self {
        let mut missing =
            dumps.iter().filter(|dump| self.0.cluster.node_named(&dump.node).is_none()).peekable();
        if missing.peek().is_none() {
            return self.clone();
        }
        let mut objects = (*self.0.objects).clone();
        for dump in missing {
            let node = serde_json::json!({"kind": "Node", "metadata": {"name": &*dump.node}});
            // A name that no node can have stays without one; its dump is then about nothing.
            let _ = objects.put_json(&node);
        }
        self.rebuilt(Arc::new(objects), self.0.assume.clone())
    }

    /// The machines that were observed.
    pub fn observed(&self) -> impl Iterator<Item = &Arc<MachinePlan>> {
        self.0.observed.iter().map(|(_, machine)| machine)
    }

    /// The network after a change of its objects. Equal to one that is built anew from the changed objects; nodes, pods and
    /// Services that did not change are shared with this one, and [`Network::changed`] names those that did. O(n log n).
    ///
    /// ```
    /// use kubenet_core::k8s::ObjectChange;
    /// use kubenet_core::network::Network;
    /// use kubenet_core::origin::ObjectRef;
    ///
    /// let before = Network::from_text("pod.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: web}}");
    /// let after = before.with(&[ObjectChange::Delete(ObjectRef::namespaced("Pod", "default", "web"))]);
    /// assert_eq!(after.changed().pods, [("default".into(), "web".into())]);
    /// ```
    #[must_use]
    pub fn with(&self, changes: &[ObjectChange]) -> Self {
        let mut objects = (*self.0.objects).clone();
        objects.apply(changes);
        self.rebuilt(Arc::new(objects), self.0.assume.clone())
    }

    /// The network under other assumptions.
    #[must_use]
    pub fn with_assume(&self, assume: Assume) -> Self {
        self.rebuilt(self.0.objects.clone(), assume)
    }

    fn rebuilt(&self, objects: Arc<Objects>, assume: Assume) -> Self {
        // A change does not turn a snapshot into manifests.
        let mode = self.0.mode.or(Some(self.0.cluster.mode));
        let (cluster, resolving) = resolve(&objects, &assume, mode);
        let (cluster, changed) = cluster.changed_since(&self.0.cluster);
        let (loading, dumps) = (self.0.loading.clone(), self.0.dumps.clone());
        Self::made(objects, assume, mode, (cluster, changed), loading, resolving, dumps)
    }

    /// The resolved cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    /// The objects that it was made of.
    pub fn objects(&self) -> &Arc<Objects> {
        &self.0.objects
    }

    /// What the user said about it.
    pub fn assume(&self) -> &Assume {
        &self.0.assume
    }

    /// What is different from the network that this one was made from by [`Network::with`].
    pub fn changed(&self) -> &Changed {
        &self.0.changed
    }

    /// What was wrong with the input: with its text first, then with what it says.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.loading.iter().chain(&self.0.resolving).chain(&self.0.observing)
    }

    /// Whether anything of the input could not be loaded.
    pub fn has_errors(&self) -> bool {
        self.diagnostics().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The plan of its machines, each compiled when it is asked for.
    pub fn plans(&self) -> Plans {
        let mut plans = Plans::new(self.0.cluster.clone());
        for (id, machine) in &self.0.observed {
            plans = plans.with_observed(*id, machine.clone());
        }
        if !self.0.observed.is_empty() && self.0.cluster.pods.is_empty() {
            plans = plans.with_unknown_beyond(Unknown {
                why: "the input says nothing of pods, so what holds this address is not known".into(),
                what_would_settle_it: "give the manifests too: kubectl get pods,nodes,services -A -o yaml"
                    .into(),
            });
        }
        plans
    }

    /// Traces a packet. A question whose ends mean several pods (`[*]`) is refused: ask [`Network::traces`].
    ///
    /// # Errors
    ///
    /// [`AskError`] when the question cannot be understood or looked up.
    pub fn trace(&self, question: &Question) -> Result<Trace, AskError> {
        question::one(self, question, &|| false)
    }

    /// Traces a packet for every pair of ends that the question means, in order.
    ///
    /// # Errors
    ///
    /// [`AskError`] when the question cannot be understood or looked up.
    pub fn traces(&self, question: &Question) -> Result<Vec<Trace>, AskError> {
        question::all(self, question, &|| false)
    }

    /// Like [`Network::traces`]; `cancelled` is asked now and then whether to stop.
    ///
    /// # Errors
    ///
    /// [`AskError`], `Cancelled` among them.
    pub fn traces_until(
        &self,
        question: &Question,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Trace>, AskError> {
        question::all(self, question, cancelled)
    }

    /// Traces through an embedder's plan of the same machines, such as one in which a machine is replaced
    /// ([`Replaced`](crate::plan::Replaced)).
    ///
    /// # Errors
    ///
    /// [`AskError`] when the question cannot be understood or looked up.
    pub fn trace_through(&self, plans: &dyn PlanSource, question: &Question) -> Result<Trace, AskError> {
        question::through(self, plans, question, &|| false)
    }

    /// Traces one way that chance can fall (seed 0 where the question explores), and tells what the machines that were met hold
    /// at its end.
    ///
    /// ```
    /// use kubenet_core::network::{Network, Question};
    ///
    /// let pod = "{apiVersion: v1, kind: Pod, metadata: {name: NAME}, spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}}";
    /// let text = format!("{}\n---\n{}", pod.replace("NAME", "a"), pod.replace("NAME", "b"));
    /// let network = Network::from_text("pods.yaml", &text);
    /// let (_, tables) = network.trace_with_tables(&Question::new("pod/a", "pod/b:80"))?;
    /// let of_b = tables.iter().find(|tables| &*tables.netns == "default/b").expect("it was met");
    /// assert_eq!(of_b.neighbours.len(), 1);
    /// # Ok::<(), kubenet_core::network::AskError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AskError`] when the question cannot be understood or looked up.
    pub fn trace_with_tables(&self, question: &Question) -> Result<(Trace, Vec<Tables>), AskError> {
        aftermath::aftermath(self, None, question, Instant::from_nanos(u64::MAX))
    }

    /// Likewise through an embedder's plan of the same machines, and up to a moment at most: later nothing happens any more.
    ///
    /// # Errors
    ///
    /// [`AskError`] when the question cannot be understood or looked up.
    pub fn trace_through_with_tables(
        &self,
        plans: &dyn PlanSource,
        question: &Question,
        until: Instant,
    ) -> Result<(Trace, Vec<Tables>), AskError> {
        aftermath::aftermath(self, Some(plans), question, until)
    }

    /// A table of a node or pod, as the command on it would print it, plain or (`-j`) as JSON. A bare word is a node, the gateway,
    /// or a pod of the namespace.
    ///
    /// # Errors
    ///
    /// [`RenderError`] when there is no such node or pod, or no JSON form.
    pub fn render(
        &self,
        what: &str,
        namespace: &str,
        table: Table,
        json: bool,
    ) -> Result<String, RenderError> {
        render::render(self, what, namespace, table, json)
    }

    /// Runs a script of events on virtual time, with packets before, during and after them (`docs/simulate.md`).
    ///
    /// ```
    /// use kubenet_core::network::{Network, Outcome};
    ///
    /// let pod = "{apiVersion: v1, kind: Pod, metadata: {name: NAME}, spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}}";
    /// let text = format!("{}\n---\n{}", pod.replace("NAME", "a"), pod.replace("NAME", "b"));
    /// let network = Network::from_text("pods.yaml", &text);
    /// let ran = network.simulate("trace pod/a pod/b:80 as it\nat 5s delete pod b\nat 6s send it", "default")?;
    /// assert!(matches!(ran.steps[1].result, Outcome::Changed(_)));
    /// # Ok::<(), kubenet_core::network::ScriptError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ScriptError`] when the script cannot be read.
    pub fn simulate(&self, script: &str, namespace: &str) -> Result<Simulation, ScriptError> {
        simulate::simulate(self, script, namespace)
    }

    /// How an observed node differs from what the objects call for, by what it does with packets. `None` when it was not observed.
    ///
    /// ```
    /// use kubenet_core::network::{Dump, Network};
    ///
    /// let manifests = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.80, ports: [{port: 80}]}}";
    /// let network = Network::from_text("web.yaml", manifests);
    /// let rules = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n";
    /// let files = vec![("iptables-save.txt".to_string(), rules.to_string())];
    /// let dump = Dump { node: "node-1".into(), folder: "dump".into(), files };
    /// let drift = network.observe(vec![dump]).drift("node-1").expect("it was observed");
    /// // The Service has no endpoints, so that packets to it are refused; this node has no rules.
    /// assert!(drift.is_drift());
    /// ```
    pub fn drift(&self, node: &str) -> Option<Drift> {
        let place = self.0.cluster.node_named(node)?;
        let (_, observed) = self.0.observed.iter().find(|(id, _)| *id == MachineId(place))?;
        drift::drift(&self.0.cluster, place, observed)
    }

    /// What was loaded, made up, detected and not understood.
    pub fn inventory(&self) -> Inventory {
        inventory::inventory(self)
    }
}

/// How many nodes a diagnostic lists.
const LISTED: usize = 5;

/// Dumps of nodes that the input does not have, where it has others: `before` with its own nodes, `after` with those of the dumps
/// too and without those that are made up where the input names none.
fn unnamed(before: &Cluster, after: &Cluster, dumps: &[Dump]) -> Vec<Diagnostic> {
    let is_new = |name: &str| before.node_named(name).is_none();
    let names: Vec<&str> = after.nodes.iter().map(|node| &*node.name).filter(|name| !is_new(name)).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let mut list = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(LISTED).filter(|more| *more > 0) {
        list.push_str(&format!(" and {more} more"));
    }
    let tell = |dump: &Dump| {
        let name = &dump.node;
        let message = format!(
            "--dump names node '{name}', which the input does not have (it has {list}): it is taken as one more node"
        );
        Diagnostic::warning("dump-node", message).on(ObjectRef::cluster("Node", name))
    };
    let new = |dump: &&Dump| is_new(&dump.node) && after.node_named(&dump.node).is_some();
    dumps.iter().filter(new).map(tell).collect()
}
