//! What a change of the input changes in the cluster.
//!
//! In: the cluster before and after. Out: the names of nodes, pods and Services that came, went or are different, and the
//! cluster after with everything that is equal shared with the one before, so that caches may compare by pointer.
//! O(n): both are sorted.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Cluster, Node, Pod, Service, Touches};

/// The derived units that a change touches, each list sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// A setting, a fault, a listener or closed port, or something not modelled is different: everything may be.
    pub everything: bool,
    /// Nodes that came, went or are different.
    pub nodes: Vec<Arc<str>>,
    /// Nodes that are the same but have another pod, or one pod less. When a node changed, every node's routes may have.
    pub nodes_by_pods: Vec<Arc<str>>,
    /// Pods that came, went or are different, as namespace and name.
    pub pods: Vec<(Arc<str>, Arc<str>)>,
    /// Services that came, went or are different, as namespace and name.
    pub services: Vec<(Arc<str>, Arc<str>)>,
}

impl Changed {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        !self.everything
            && self.nodes.is_empty()
            && self.nodes_by_pods.is_empty()
            && self.pods.is_empty()
            && self.services.is_empty()
    }
}

impl Cluster {
    /// Compares with an earlier state and shares with it all that is equal.
    #[must_use]
    pub fn changed_since(mut self, before: &Self) -> (Self, Changed) {
        let mut changed = Changed {
            everything: self.mode != before.mode
                || self.settings != before.settings
                || !same_unmodelled(before, &self)
                || self.missing != before.missing
                || self.faults != before.faults
                || self.listeners != before.listeners
                || self.closed != before.closed,
            ..Changed::default()
        };
        let node_name = |node: &Arc<Node>| node.name.clone();
        changed.nodes = share(&before.nodes, &mut self.nodes, node_name, |a, b| a == b);
        let same_place = |a: &Pod, b: &Pod| before.node_name(a) == self.node_name(b) && same_but_node(a, b);
        let pod_name = |pod: &Arc<Pod>| (pod.namespace.clone(), pod.name.clone());
        let mut pods = self.pods.clone();
        changed.pods = share(&before.pods, &mut pods, pod_name, same_place);
        let mut touched = BTreeSet::new();
        for (namespace, name) in &changed.pods {
            for cluster in [before, &self] {
                let pod = cluster.pod_named(namespace, name).and_then(|at| cluster.pods.get(at as usize));
                touched.extend(pod.and_then(|pod| cluster.node_name(pod)).cloned());
            }
        }
        // An index into other nodes is no reason to share: pods are shared where their node's index is the same too.
        changed.nodes_by_pods =
            touched.into_iter().filter(|n| changed.nodes.binary_search(n).is_err()).collect();
        let service_name = |service: &Arc<Service>| (service.namespace.clone(), service.name.clone());
        changed.services = share(&before.services, &mut self.services, service_name, |a, b| a == b);
        self.pods = pods;
        (self, changed)
    }

    fn node_name(&self, pod: &Pod) -> Option<&Arc<str>> {
        self.nodes.get(pod.node? as usize).map(|node| &node.name)
    }
}

/// Whether the same is not modelled, but for pods and nodes that came or went.
fn same_unmodelled(before: &Cluster, after: &Cluster) -> bool {
    before.unmodelled.len() == after.unmodelled.len()
        && before.unmodelled.iter().zip(after.unmodelled.iter()).all(|(a, b)| {
            (&a.why, &a.what_would_settle_it, a.effect, &a.origin)
                == (&b.why, &b.what_would_settle_it, b.effect, &b.origin)
                && same_touches((before, &a.touches), (after, &b.touches))
        })
}

fn same_touches((before, a): (&Cluster, &Touches), (after, b): (&Cluster, &Touches)) -> bool {
    fn pods<'c>(of: &'c Cluster, other: &'c Cluster, places: &'c [u32]) -> impl Iterator<Item = &'c Pod> {
        let pods = places.iter().filter_map(|place| of.pods.get(*place as usize));
        pods.map(|pod| &**pod).filter(|pod| other.pod_named(&pod.namespace, &pod.name).is_some())
    }
    fn nodes<'c>(of: &'c Cluster, other: &'c Cluster, places: &'c [u32]) -> impl Iterator<Item = &'c str> {
        let nodes = places.iter().filter_map(|place| of.nodes.get(*place as usize));
        nodes.map(|node| &*node.name).filter(|name| other.node_named(name).is_some())
    }
    let same_pods = |a: &[u32], b: &[u32]| {
        let name = |pod: &Pod| (pod.namespace.clone(), pod.name.clone());
        pods(before, after, a).map(name).eq(pods(after, before, b).map(name))
    };
    match (a, b) {
        (Touches::Pods(a), Touches::Pods(b))
        | (Touches::Opened(a), Touches::Opened(b))
        | (Touches::Accepted(a), Touches::Accepted(b))
        | (Touches::PodsOutside(a), Touches::PodsOutside(b)) => same_pods(a, b),
        (Touches::Nodes(a), Touches::Nodes(b)) => nodes(before, after, a).eq(nodes(after, before, b)),
        (a, b) => a == b,
    }
}

/// Everything but the index of the node, which other nodes can move.
fn same_but_node(a: &Pod, b: &Pod) -> bool {
    let Pod {
        namespace,
        name,
        labels,
        node: _,
        addresses,
        hostname,
        subdomain,
        host_network,
        terminal,
        ready,
        terminating,
        containers,
        owners,
        origin,
    } = a;
    (namespace, name, labels, addresses) == (&b.namespace, &b.name, &b.labels, &b.addresses)
        && (hostname, subdomain) == (&b.hostname, &b.subdomain)
        && (host_network, terminal, ready, terminating)
            == (&b.host_network, &b.terminal, &b.ready, &b.terminating)
        && (containers, owners, origin) == (&b.containers, &b.owners, &b.origin)
}

/// Walks two lists that are sorted by `key`; gives the keys of what differs and lets `after` share what is equal.
fn share<T: PartialEq, K: Ord>(
    before: &[Arc<T>],
    after: &mut Arc<Vec<Arc<T>>>,
    key: impl Fn(&Arc<T>) -> K,
    same: impl Fn(&T, &T) -> bool,
) -> Vec<K> {
    let mut changed = Vec::new();
    let mut old = before.iter().peekable();
    let mut shared = Vec::with_capacity(after.len());
    for new in after.iter() {
        let name = key(new);
        while let Some(gone) = old.next_if(|o| key(o) < name) {
            changed.push(key(gone));
        }
        match old.next_if(|o| key(o) == name) {
            Some(o) if same(o, new) => shared.push(if **o == **new { o.clone() } else { new.clone() }),
            Some(_) | None => {
                changed.push(name);
                shared.push(new.clone());
            }
        }
    }
    changed.extend(old.map(key));
    *after = Arc::new(shared);
    changed
}
