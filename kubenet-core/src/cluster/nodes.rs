//! Which nodes there are: those of the input, those that are made up, those that only pods name.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::resolve::Input;
use super::{InputMode, Node};
use crate::assume::Assume;
use crate::origin::{Diagnostic, ObjectRef, Origin};

/// How many nodes are made up when nobody says.
const DEFAULT_NODES: u32 = 2;

/// The nodes of the input, or made-up ones, and those that only pods name; sorted by name.
pub(super) fn all_nodes(
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
