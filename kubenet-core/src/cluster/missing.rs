//! What a snapshot does not hold, and which answers that leaves open.
//!
//! In: the kinds that were neither collected nor met, and the settings. Out: one [`Missing`] for each kind that could change a
//! verdict, with the `kubectl get` that settles it. Empty for manifests: there, what is not written does not exist.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Effect, Missing, Settings, Touches};
use crate::k8s::Objects;

/// CNIs that enforce policies of kinds of their own, with those kinds, and how `kubectl get` calls them.
const FOREIGN: [(&[&str], &[&str], &str, &str); 3] = [
    (
        &["calico", "canal"],
        &["GlobalNetworkPolicy"],
        "networkpolicies.crd.projectcalico.org,globalnetworkpolicies.crd.projectcalico.org",
        "globalnetworkpolicies",
    ),
    (
        &["cilium", "gke-dataplane-v2"],
        &["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"],
        "ciliumnetworkpolicies.cilium.io,ciliumclusterwidenetworkpolicies.cilium.io",
        "ciliumnetworkpolicies",
    ),
    (
        &["antrea"],
        &["ClusterNetworkPolicy"],
        "networkpolicies.crd.antrea.io,clusternetworkpolicies.crd.antrea.io",
        "clusternetworkpolicies",
    ),
];

/// The kinds that matter and that the input lacks.
pub(super) fn missing(objects: &Objects, settings: &Settings) -> Vec<Missing> {
    let absent = |kind: &str| !objects.collected.contains(kind) && objects.count(kind) == 0;
    let mut found = Vec::new();
    // A CNI that is known to enforce nothing makes policies harmless; an assumed one does not.
    let nothing_says = settings.policy_enforced.is_assumed() && settings.cni.is_assumed();
    let enforced = settings.policy_enforced.value || nothing_says;
    let services = || Touches::To(settings.service_cidr.value.clone());
    if absent("Pod") {
        let why = "the input holds no Pods: nothing says who has which address";
        found.push(change("Pod", get("pods", "pods", true), why, Touches::Everything));
    }
    if absent("Node") {
        let (why, touches) = match settings.cni.value.uses_pod_cidr() {
            true => (
                "the input holds no Nodes: their pod ranges are not known, and their addresses only from their pods",
                Touches::BetweenNodes,
            ),
            // Such a CNI delivers between pods wherever they are.
            false => (
                "the input holds no Nodes: whose address this is, is known only where a pod tells",
                Touches::To(settings.node_network.value.clone()),
            ),
        };
        found.push(change("Node", get("nodes", "nodes", false), why, touches));
    }
    if absent("NetworkPolicy") && enforced {
        let why = "the input holds no NetworkPolicies: any of them could forbid it";
        found.push(forbid("NetworkPolicy", get("networkpolicies", "networkpolicies", true), why.into()));
    }
    if absent("Namespace") && enforced && !objects.network_policies.is_empty() {
        let why =
            "the input holds no Namespaces: which of them a policy's namespaceSelector means is not known";
        found.push(forbid("Namespace", get("namespaces", "namespaces", false), why.into()));
    }
    let cni = settings.cni.value.as_str();
    for (cnis, kinds, resources, file) in FOREIGN {
        if let ([kind, ..], true) = (kinds, enforced && cnis.contains(&cni))
            && kinds.iter().all(|kind| absent(kind))
        {
            let why =
                format!("the input holds no {}: those of {cni} could forbid it", kinds.join(" and no "));
            found.push(forbid(kind, get(resources, file, true), why));
        }
    }
    if absent("Service") {
        let why = "the input holds no Services: whose virtual address this is, is not known";
        found.push(change("Service", get("services", "services", true), why, services()));
    }
    if absent("EndpointSlice") && absent("Endpoints") {
        let why = "the input holds no EndpointSlices: which pods a Service leads to is not known";
        let command = get("endpointslices.discovery.k8s.io", "endpointslices", true);
        found.push(change("EndpointSlice", command, why, services()));
    }
    found
}

/// The command whose file settles it. That the file is named after the kind shows, also where it holds nothing, that there is
/// nothing: the list itself does not.
fn get(resources: &str, file: &str, namespaced: bool) -> String {
    let scope = if namespaced { " -A" } else { "" };
    format!("kubectl get {resources}{scope} -o yaml > {file}.yaml")
}

fn change(kind: &'static str, command: String, why: &str, touches: Touches) -> Missing {
    Missing { kind: Cow::Borrowed(kind), why: why.into(), command, effect: Effect::Change, touches }
}

fn forbid(kind: &'static str, command: String, why: String) -> Missing {
    let (effect, touches) = (Effect::Forbid, Touches::Everything);
    Missing { kind: Cow::Borrowed(kind), why, command, effect, touches }
}
