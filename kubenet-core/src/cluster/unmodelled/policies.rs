//! NetworkPolicies: which pods they isolate is known, what they allow is not evaluated.
//!
//! A policy that allows everything in a direction forbids nothing there. A pod's own node is never forbidden to it (Kubernetes,
//! Network Policies, "Traffic to and from the node where a Pod is running is always allowed").

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::pods_of;
use crate::cluster::{Effect, Parts, Touches, Unmodelled};
use crate::k8s::Objects;
use crate::k8s::types::{NetworkPolicyPeer, NetworkPolicyRule, NetworkPolicySpec};

/// The pods of a namespace by label.
type ByLabel<'a> = BTreeMap<(&'a Arc<str>, &'a Arc<str>), Vec<u32>>;

pub(super) fn find(objects: &Objects, parts: &Parts, found: &mut Vec<Unmodelled>) {
    if !parts.settings.policy_enforced.value {
        return;
    }
    let mut indexes: BTreeMap<&Arc<str>, (Vec<u32>, ByLabel<'_>)> = BTreeMap::new();
    for ((namespace, name), policy) in &objects.network_policies {
        let (all, by_label) = indexes.entry(namespace).or_insert_with(|| {
            let all = pods_of(&parts.pods, namespace);
            let mut by_label = ByLabel::new();
            for place in &all {
                for (key, value) in parts.pods.get(*place as usize).iter().flat_map(|pod| &pod.labels) {
                    by_label.entry((key, value)).or_default().push(*place);
                }
            }
            (all, by_label)
        });
        let selector = &policy.spec.pod_selector;
        let candidates = match selector.match_labels.iter().next() {
            Some(label) => by_label.get(&label).map_or(&[][..], Vec::as_slice),
            None => all,
        };
        let selects =
            |place: &u32| parts.pods.get(*place as usize).is_some_and(|pod| selector.matches(&pod.labels));
        let pods: Vec<u32> = candidates.iter().copied().filter(selects).collect();
        if pods.is_empty() {
            continue;
        }
        let (ingress, egress) = directions(&policy.spec);
        let mut add = |end: &str, touches: Touches| {
            found.push(Unmodelled {
                why: format!(
                    "NetworkPolicy {namespace}/{name} selects the {end} pod; what NetworkPolicies allow is not evaluated"
                ),
                what_would_settle_it: format!(
                    "kubectl describe networkpolicy {name} -n {namespace}, or the connection itself, tried from the sender"
                ),
                effect: Effect::Forbid,
                touches,
                origin: policy.origin.clone(),
            });
        };
        if ingress && !allows_all(policy.spec.ingress.as_deref(), |rule| rule.from.as_deref()) {
            add("receiving", Touches::Accepted(pods.clone()));
        }
        if egress && !allows_all(policy.spec.egress.as_deref(), |rule| rule.to.as_deref()) {
            add("sending", Touches::Opened(pods));
        }
    }
}

/// Which directions a policy is about. Without `policyTypes`: ingress, and egress if it has rules for it.
fn directions(spec: &NetworkPolicySpec) -> (bool, bool) {
    if spec.policy_types.is_empty() {
        return (true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()));
    }
    let has = |name: &str| spec.policy_types.iter().any(|kind| &**kind == name);
    (has("Ingress"), has("Egress"))
}

/// Whether one of the rules names neither peers nor ports.
fn allows_all<'a>(
    rules: Option<&'a [NetworkPolicyRule]>,
    peers: impl Fn(&'a NetworkPolicyRule) -> Option<&'a [NetworkPolicyPeer]>,
) -> bool {
    rules.unwrap_or_default().iter().any(|rule| {
        peers(rule).is_none_or(<[_]>::is_empty) && rule.ports.as_deref().is_none_or(<[_]>::is_empty)
    })
}
