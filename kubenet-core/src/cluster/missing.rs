//! What a snapshot does not hold, and which answers that leaves open.
//!
//! In: the kinds that were neither collected nor met, and the settings. Out: one [`Missing`] for each kind that could change a
//! verdict, with the `kubectl get` that settles it. Empty for manifests: there, what is not written does not exist.

use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::{Effect, Missing, Settings, Touches};
use crate::k8s::Objects;

/// The kinds that matter and that the input lacks.
pub(super) fn missing(objects: &Objects, settings: &Settings) -> Vec<Missing> {
    let absent = |kind: &'static str| !objects.collected.contains(kind) && objects.count(kind) == 0;
    let mut found = Vec::new();
    let mut add = |kind: &'static str, resource: &str, why: &str, touches: Touches| {
        let policies = kind == "NetworkPolicy" || kind == "Namespace";
        let scope = if kind == "Node" || kind == "Namespace" { "" } else { " -A" };
        found.push(Missing {
            kind: Cow::Borrowed(kind),
            why: why.to_string(),
            command: alloc::format!("kubectl get {resource}{scope} -o yaml"),
            effect: if policies { Effect::Forbid } else { Effect::Change },
            touches,
        });
    };
    if absent("Pod") {
        add(
            "Pod",
            "pods",
            "the input holds no Pods: nothing says who has which address",
            Touches::Everything,
        );
    }
    if absent("Node") {
        let why = "the input holds no Nodes: their pod ranges are not known, and their addresses only from their pods";
        add("Node", "nodes", why, Touches::BetweenNodes);
    }
    // A CNI that is known to enforce nothing makes policies harmless; an assumed one does not.
    let nothing_says = settings.policy_enforced.is_assumed() && settings.cni.is_assumed();
    let enforced = settings.policy_enforced.value || nothing_says;
    if absent("NetworkPolicy") && enforced {
        let why = "the input holds no NetworkPolicies: any of them could forbid it";
        add("NetworkPolicy", "networkpolicies", why, Touches::Everything);
    }
    if absent("Namespace") && !objects.network_policies.is_empty() {
        let why =
            "the input holds no Namespaces: which of them a policy's namespaceSelector means is not known";
        add("Namespace", "namespaces", why, Touches::Everything);
    }
    let services = || Touches::To(settings.service_cidr.value.clone());
    if absent("Service") {
        add(
            "Service",
            "services",
            "the input holds no Services: whose virtual address this is, is not known",
            services(),
        );
    }
    if absent("EndpointSlice") && absent("Endpoints") {
        let why = "the input holds no EndpointSlices: which pods a Service leads to is not known";
        add("EndpointSlice", "endpointslices.discovery.k8s.io", why, services());
    }
    found
}
