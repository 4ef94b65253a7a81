//! Where in an object a fault lies, and how much of the object it costs.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::tree::{Kind, NodeId, Tree};

/// One step down from a mapping or sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// What to drop to be rid of it: the key, or the item.
    node: NodeId,
    /// The key; `None` for an item.
    key: Option<String>,
    /// Its place among the items.
    index: usize,
}

/// The way from an object to one of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field(Vec<Step>);

/// What a fault costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// The entry with this key, or this item.
    Part(NodeId),
    /// All of it.
    Object,
}

/// Mappings that select: without one of their entries they would select more.
const SELECTORS: [&str; 6] =
    ["selector", "matchLabels", "matchExpressions", "podSelector", "namespaceSelector", "nodeSelector"];

impl Field {
    /// The way to a node, or to the value of a key.
    pub(super) fn of(tree: &Tree<'_>, root: NodeId, node: NodeId) -> Self {
        let mut steps = Vec::new();
        let mut at = root;
        'down: while at != node && matches!(tree.node(at).kind, Kind::Seq | Kind::Map) {
            let map = tree.node(at).kind == Kind::Map;
            let mut children = tree.children(at);
            let mut index = 0;
            while let Some(child) = children.next() {
                let (key, value) = match map {
                    true => (Some(String::from(tree.text(child))), children.next().unwrap_or(child)),
                    false => (None, child),
                };
                if (child..tree.node(value).next).contains(&node) {
                    steps.push(Step { node: child, key, index });
                    if node < value {
                        break 'down;
                    }
                    at = value;
                    continue 'down;
                }
                index += 1;
            }
            break;
        }
        Self(steps)
    }

    /// Whether its first keys are these.
    pub(super) fn is_below(&self, keys: &[&str]) -> bool {
        self.0.len() >= keys.len()
            && self.0.iter().zip(keys).all(|(step, key)| step.key.as_deref() == Some(key))
    }

    /// The path as text: `spec.ports[0].port`, `metadata.labels[app.kubernetes.io/name]`.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.0 {
            match &step.key {
                None => path += &format!("[{}]", step.index),
                Some(key) if key.contains(['.', '[', ' ']) || key.is_empty() => path += &format!("[{key}]"),
                Some(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path += key;
                }
            }
        }
        path
    }

    /// How much of an object of a kind is lost to a fault there: the innermost item of a list, or else the field. Where what is
    /// left would mean more than was written, all of it: a policy without one of its rules or a selector without one of its
    /// labels is another one.
    pub(super) fn cost(&self, kind: &str) -> Cost {
        let Some(last) = self.0.last() else { return Cost::Object };
        let selects = |step: &Step| step.key.as_deref().is_some_and(|key| SELECTORS.contains(&key));
        let named = self.is_below(&["metadata", "name"]) || self.is_below(&["metadata", "namespace"]);
        let trunk = self.0.len() == 1 && (self.is_below(&["spec"]) || self.is_below(&["metadata"]));
        let policy = kind == "NetworkPolicy" && self.is_below(&["spec"]);
        if named || trunk || policy || self.0.iter().any(selects) {
            return Cost::Object;
        }
        let Some(item) = self.0.iter().rposition(|step| step.key.is_none()) else {
            return Cost::Part(last.node);
        };
        // A container is worth keeping without one of its fields.
        let of = |at: usize| self.0.get(at).and_then(|step| step.key.as_deref());
        let in_container = item > 0 && matches!(of(item - 1), Some("containers" | "initContainers"));
        match of(item + 1) {
            Some(field) if in_container && field != "name" => Cost::Part(last.node),
            _ => Cost::Part(self.0[item].node),
        }
    }
}
