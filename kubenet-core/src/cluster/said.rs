//! Looks up what the assumptions name: pods and workloads in `place`, pods with listeners and closed ports, places of faults, sysctls.
//!
//! What does not exist is told and left out; a fault of an unknown place stays, and does nothing.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Cluster, Kind, Node, PodPort};
use crate::assume::{Assume, Fault, PortRef, SYSCTLS, Where};
use crate::k8s::DEFAULT_NAMESPACE;
use crate::origin::{Diagnostic, ObjectRef};

/// On which node a workload's pods, or a pod, are put.
pub(super) type Places = BTreeMap<ObjectRef, u32>;

/// `place` of the assumptions, looked up.
pub(super) fn places(assume: &Assume, nodes: &[Node], log: &mut Vec<Diagnostic>) -> Places {
    let mut places = Places::new();
    for (what, node) in &assume.place {
        let Some(object) = parse_place(what) else {
            let message = format!("place: '{what}' is neither [NAMESPACE/]KIND/NAME nor NAMESPACE/POD");
            log.push(Diagnostic::error("assumption-unknown", message));
            continue;
        };
        match nodes.binary_search_by(|n| (*n.name).cmp(node)) {
            Ok(place) => {
                places.insert(object, place as u32);
            }
            Err(_) => {
                let names: Vec<&str> = nodes.iter().map(|n| &*n.name).take(5).collect();
                let message = format!("place: no node '{node}'; there are {}", names.join(", "));
                log.push(Diagnostic::error("assumption-unknown", message));
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

/// Ports of pods that exist.
pub(super) fn pod_ports(
    cluster: &Cluster,
    key: &str,
    refs: &[PortRef],
    log: &mut Vec<Diagnostic>,
) -> Vec<PodPort> {
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

/// Tells which faults are at places that do not exist.
pub(super) fn known_faults(cluster: &Cluster, log: &mut Vec<Diagnostic>) {
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

/// Tells which sysctls are not modelled.
pub(super) fn known_sysctls(assume: &Assume, log: &mut Vec<Diagnostic>) {
    let unknown = assume.sysctls.keys().filter(|name| !SYSCTLS.contains(&&*name.replace('/', ".")));
    for name in unknown {
        let message = format!("sysctls: {name} is not modelled; it changes nothing");
        let help = format!("modelled are {}", SYSCTLS.join(", "));
        log.push(Diagnostic::warning("assumption-unknown", message).help(help));
    }
}

fn unknown(key: &str, what: &str) -> Diagnostic {
    Diagnostic::error("assumption-unknown", format!("{key}: no {what}"))
        .help("kubenet inventory lists what there is")
}
