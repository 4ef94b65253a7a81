//! Nodes whose network is not that of Linux.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::table::NODES;
use crate::cluster::{Effect, Node, Parts, Touches, Unmodelled};
use crate::k8s::Objects;

pub(super) fn find(objects: &Objects, parts: &Parts, found: &mut Vec<Unmodelled>) {
    for (place, node) in (0u32..).zip(&parts.nodes) {
        if let Some(is) = is(objects, node) {
            found.push(Unmodelled {
                why: format!("node {} {is}; its network is not modelled", node.name),
                what_would_settle_it: format!(
                    "the connection itself, tried from or to a pod of {}",
                    node.name
                ),
                effect: Effect::Change,
                touches: Touches::Nodes(Vec::from([place])),
                origin: node.origin.clone(),
            });
        }
    }
}

fn is(objects: &Objects, node: &Node) -> Option<String> {
    let object = objects.nodes.get(&("".into(), node.name.clone()));
    let has = |key: &str, value: &str| {
        let label = node.labels.iter().any(|(k, v)| &**k == key && &**v == value);
        let annotation = object.and_then(|object| object.metadata.annotations.get(key));
        label || annotation.is_some_and(|v| &**v == value)
    };
    if let Some(rule) = NODES.iter().find(|rule| has(rule.key, rule.value)) {
        return Some(rule.is.into());
    }
    let system = object.map(|object| &*object.status.node_info.operating_system)?;
    match system {
        "" | "linux" => None,
        "windows" => Some("runs Windows".into()),
        other => Some(format!("runs {other}")),
    }
}
