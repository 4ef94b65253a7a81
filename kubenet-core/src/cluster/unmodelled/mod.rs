//! Things of the input that can change a packet and that the model does not execute, each with the answers that it could change.
//!
//! In: objects, and the cluster that they became. Out: [`Unmodelled`] things, those of single pods first. What is recognised stands in
//! [`table`], as data; `docs/unmodelled.md` is printed from it. O(objects + pods), and for NetworkPolicies the pods that
//! have the first label of their selectors.

mod nodes;
mod pods;
mod policies;
mod table;

#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use self::table::{KINDS, Whose};
use super::detect::{Dataplane, Reach};
use super::{InputMode, Parts, Pod, Touches, Unmodelled};
use crate::k8s::{AnyObject, Objects};

/// Everything of the input that is not modelled.
pub(super) fn unmodelled(objects: &Objects, parts: &Parts, dataplanes: Vec<Dataplane>) -> Vec<Unmodelled> {
    let mut found = Vec::new();
    pods::find(objects, parts, &mut found);
    policies::find(objects, parts, &mut found);
    foreign_kinds(objects, parts, &mut found);
    nodes::find(objects, parts, &mut found);
    found.extend(dataplanes.into_iter().map(|dataplane| Unmodelled {
        why: dataplane.why,
        what_would_settle_it: dataplane.what_would_settle_it,
        effect: dataplane.effect,
        touches: match dataplane.reach {
            Reach::Services => Touches::To(parts.settings.service_cidr.value.clone()),
            Reach::BetweenNodes => Touches::BetweenNodes,
        },
        origin: dataplane.origin,
    }));
    found
}

/// Objects of kinds that are not read, by the table.
fn foreign_kinds(objects: &Objects, parts: &Parts, found: &mut Vec<Unmodelled>) {
    for other in &objects.others {
        let group = other.api_version.split_once('/').map_or("", |(group, _)| group);
        let is = |rule: &&table::KindRule| rule.group == group && rule.kinds.contains(&&*other.object.kind);
        let Some(rule) = KINDS.iter().find(is) else { continue };
        if rule.whose == Whose::Meshed && parts.mode == InputMode::Snapshot {
            continue;
        }
        let namespace = other.object.namespace.as_deref();
        let touches = match (rule.whose, namespace) {
            (Whose::Namespace | Whose::Meshed, Some(namespace)) => {
                Touches::Pods(pods_of(&parts.pods, namespace))
            }
            (Whose::Namespace | Whose::Meshed | Whose::Everything, _) => Touches::Everything,
            (Whose::NamespaceOutside, Some(namespace)) => {
                Touches::PodsOutside(pods_of(&parts.pods, namespace))
            }
            (Whose::NamespaceOutside | Whose::Outside, _) => Touches::Outside,
            (Whose::Services, _) => Touches::To(parts.settings.service_cidr.value.clone()),
        };
        let scope = namespace.map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
        let kind = other.object.kind.to_ascii_lowercase();
        // Several groups have a kind of this name.
        let of = match AnyObject::is_namespaced(&other.object.kind) {
            Some(_) => format!(" of {group}"),
            None => String::new(),
        };
        found.push(Unmodelled {
            why: format!("{}{of} {}; that is not modelled", other.object, rule.does),
            what_would_settle_it: format!(
                "kubectl describe {kind}.{group} {}{scope}, or the connection itself, tried from the sender",
                other.object.name
            ),
            effect: rule.effect,
            touches,
            origin: other.origin.clone(),
        });
    }
}

/// The pods of a namespace that have an address of their own, ascending. O(log pods + found).
fn pods_of(pods: &[alloc::sync::Arc<Pod>], namespace: &str) -> Vec<u32> {
    let first = pods.partition_point(|pod| &*pod.namespace < namespace);
    let of = (0u32..).zip(pods).skip(first).take_while(|(_, pod)| &*pod.namespace == namespace);
    of.filter(|(_, pod)| !pod.host_network && !pod.terminal).map(|(place, _)| place).collect()
}
