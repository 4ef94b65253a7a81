//! The scheduler's part: which node a pod runs on, as far as the input can say.
//!
//! In: nodes and what a pod asks for (`nodeName`, `nodeSelector`, tolerations). Out: a node, or the reason why none fits.
//! The nodes that fit are ranked for the pod's workload by rendezvous hashing ([`identity`](crate::identity)) and replica
//! `i` goes to rank `i` modulo their number: replicas spread evenly, and a node that comes or goes moves only its own share.
//! Not modelled: resources, affinity, topology spread, priorities: a real scheduler may choose another of the nodes that fit.
//! Costs O(nodes) per workload, and O(n log n) for a workload with as many replicas as nodes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Node;
use crate::identity::{identity, mix};

/// What a pod asks of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asks {
    /// `spec.nodeName`: the scheduler is passed by.
    pub(super) node_name: Option<Arc<str>>,
    /// `spec.nodeSelector`: labels that the node must have.
    pub(super) selector: Vec<(Arc<str>, Arc<str>)>,
    /// `spec.tolerations`.
    pub(super) tolerations: Vec<Toleration>,
}

/// A toleration. `None` matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Toleration {
    pub(super) key: Option<Arc<str>>,
    /// The value for operator `Equal`; `None` for `Exists`.
    pub(super) value: Option<Arc<str>>,
    pub(super) effect: Option<Arc<str>>,
}

impl Toleration {
    fn tolerates(&self, taint: &Taint) -> bool {
        let key = self.key.as_deref().is_none_or(|key| key == taint.key);
        let value = self.value.as_deref().is_none_or(|value| value == taint.value);
        let effect = self.effect.as_deref().is_none_or(|effect| effect == taint.effect);
        key && value && effect
    }
}

struct Taint {
    key: String,
    value: String,
    effect: String,
}

/// The nodes, prepared for many questions.
pub(super) struct Scheduler<'a> {
    nodes: &'a [Node],
    hashes: Vec<u64>,
    /// Taints that keep pods away, per node.
    taints: Vec<Vec<Taint>>,
    /// Nodes without such taints, for pods that ask for nothing.
    plain: Vec<u32>,
    made_up: bool,
}

/// Where the pods of one workload may run.
#[derive(Debug, Default)]
pub(super) struct Fit {
    /// The nodes that fit, ascending.
    pub(super) nodes: Vec<u32>,
    /// Said when a made-up node is treated as if it had the labels that are asked for, or when no node fits.
    pub(super) note: Option<Note>,
}

/// Why the choice of nodes is worth a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// Nodes are made up and none has these labels: they are treated as if they had.
    Pretended(String),
    /// No node fits: the pods stay pending.
    Unschedulable(String),
}

impl<'a> Scheduler<'a> {
    /// `made_up` says that no node comes from the input.
    pub(super) fn new(nodes: &'a [Node], made_up: bool) -> Self {
        let taints: Vec<Vec<Taint>> =
            nodes.iter().map(|node| node.taints.iter().filter_map(|t| keeps_away(t)).collect()).collect();
        let plain =
            (0u32..).zip(&taints).filter(|(_, taints)| taints.is_empty()).map(|(place, _)| place).collect();
        let hashes = nodes.iter().map(|node| identity(&["Node", &node.name])).collect();
        Self { nodes, hashes, taints, plain, made_up }
    }

    /// The node with this name.
    pub(super) fn named(&self, name: &str) -> Option<u32> {
        self.nodes.binary_search_by(|node| (*node.name).cmp(name)).ok().and_then(|at| u32::try_from(at).ok())
    }

    /// The nodes that fit a pod which does not name its node.
    pub(super) fn fit(&self, asks: &Asks) -> Fit {
        if asks.selector.is_empty() && asks.tolerations.is_empty() {
            let note = self.plain.is_empty().then(|| Note::Unschedulable("every node has a taint".into()));
            return Fit { nodes: self.plain.clone(), note };
        }
        let tolerated = |place: &u32| {
            let taints = self.taints.get(*place as usize).map_or(&[][..], Vec::as_slice);
            taints.iter().all(|taint| asks.tolerations.iter().any(|t| t.tolerates(taint)))
        };
        let all: Vec<u32> = (0..self.nodes.len() as u32).filter(tolerated).collect();
        if all.is_empty() {
            let why = "every node has a taint that the pod does not tolerate";
            return Fit { nodes: all, note: Some(Note::Unschedulable(why.into())) };
        }
        let labelled = |place: &u32| {
            let node = self.nodes.get(*place as usize);
            node.is_some_and(|node| asks.selector.iter().all(|want| node.labels.contains(want)))
        };
        let fitting: Vec<u32> = all.iter().copied().filter(labelled).collect();
        if !fitting.is_empty() {
            return Fit { nodes: fitting, note: None };
        }
        let wanted: Vec<String> = asks.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let wanted = wanted.join(",");
        if self.made_up {
            return Fit { nodes: all, note: Some(Note::Pretended(wanted)) };
        }
        Fit { nodes: Vec::new(), note: Some(Note::Unschedulable(format!("no node has the labels {wanted}"))) }
    }

    /// The first `count` of the nodes that fit, ranked for a workload; fewer when there are fewer.
    pub(super) fn rank(&self, workload: u64, fit: &Fit, count: usize) -> Vec<u32> {
        let score = |place: &u32| {
            let hash = self.hashes.get(*place as usize).copied().unwrap_or(0);
            (core::cmp::Reverse(mix(workload ^ hash)), *place)
        };
        let mut ranked: Vec<_> = fit.nodes.iter().map(score).collect();
        let count = count.min(ranked.len());
        if let Some(last) = count.checked_sub(1) {
            ranked.select_nth_unstable(last);
        }
        ranked.truncate(count);
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, place)| place).collect()
    }
}

/// The taint, if it keeps pods away (`PreferNoSchedule` does not).
fn keeps_away(taint: &str) -> Option<Taint> {
    let (head, effect) = taint.rsplit_once(':')?;
    if !matches!(effect, "NoSchedule" | "NoExecute") {
        return None;
    }
    let (key, value) = head.split_once('=').unwrap_or((head, ""));
    Some(Taint { key: key.to_string(), value: value.to_string(), effect: effect.to_string() })
}

/// What the DaemonSet controller lets its pods tolerate beyond what their template says
/// (`pkg/controller/daemon/util/daemonset_util.go`, `AddOrUpdateDaemonPodTolerations`).
pub(super) fn daemon_tolerations(host_network: bool) -> impl Iterator<Item = Toleration> {
    let all = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    let network = host_network.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    let one = |(key, effect): (&str, &str)| Toleration {
        key: Some(key.into()),
        value: None,
        effect: Some(effect.into()),
    };
    all.into_iter().chain(network).map(one)
}
