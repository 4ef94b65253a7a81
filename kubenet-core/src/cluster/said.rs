//! Looks up what the assumptions name: pods and workloads in `place`, pods with listeners and closed ports, places of faults, sysctls.
//!
//! What does not exist is told and left out; a fault of an unknown place stays, and does nothing.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::control_plane::WorkloadIn;
use super::{Cluster, Kind, Node, Pod, PodPort};
use crate::assume::{Assume, Fault, PodState, PortRef, SYSCTLS, Where};
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

/// Does to pods what the assumptions say befell them.
pub(super) fn pod_states(assume: &Assume, pods: &mut Vec<Pod>, log: &mut Vec<Diagnostic>) {
    for (name, state) in &assume.pods {
        let is_meant = |pod: &Pod| {
            name.split_once('/')
                .is_some_and(|(namespace, name)| *namespace == *pod.namespace && *name == *pod.name)
        };
        let Some(place) = pods.iter().position(is_meant) else {
            let message = format!("assumption pods: there is no pod {name}");
            log.push(Diagnostic::warning("assumption-unused", message).help("write NAMESPACE/NAME"));
            continue;
        };
        match (state, pods.get_mut(place)) {
            (PodState::Gone, _) => {
                pods.remove(place);
            }
            (PodState::Unready, Some(pod)) => pod.ready = false,
            (PodState::Terminating, Some(pod)) => pod.terminating = true,
            (PodState::Unready | PodState::Terminating, None) => {}
        }
    }
}

/// Gives workloads as many pods as the assumptions say.
pub(super) fn replicas(assume: &Assume, workloads: &mut [WorkloadIn], log: &mut Vec<Diagnostic>) {
    for (name, count) in &assume.replicas {
        let meant = workloads.iter_mut().find(|workload| {
            let object = &workload.object;
            let namespace = object.namespace.as_deref().unwrap_or_default();
            *name == format!("{namespace}/{}/{}", object.kind, object.name)
        });
        match meant {
            Some(workload) => workload.make = workload.make.with_count(*count),
            None => {
                let message = format!("assumption replicas: there is no workload {name}");
                log.push(Diagnostic::warning("assumption-unused", message).help("write NAMESPACE/KIND/NAME"));
            }
        }
    }
}
