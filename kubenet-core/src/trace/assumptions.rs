//! What an answer rests on that the input does not say: only what lies on the path, those first whose alternative would change
//! the verdict.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::run::Request;
use super::{Assumption, Case, Hop, Outcome};
use crate::cluster::{Cluster, Cni, InputMode, Pod};
use crate::compile;
use crate::dataplane::{DropReason, EventKind};
use crate::origin::OriginKind;

/// The assumptions of some cases, each once.
pub(super) fn of(cluster: &Cluster, request: &Request, cases: &[Case]) -> Vec<Assumption> {
    let mut found: Vec<Assumption> = Vec::new();
    let mut add = |key: &'static str, decisive: bool, text: String| {
        if !found.iter().any(|other| other.text == text) {
            found.push(Assumption { key: key.into(), text, decisive });
        }
    };
    for case in cases {
        listener(case, &mut add);
        policies(cluster, request, case, &mut add);
        sizes(cluster, case, &mut add);
        network(cluster, case, &mut add);
        made_up(cluster, request, case, &mut add);
    }
    found.sort_by_key(|assumption| !assumption.decisive);
    found
}

type Add<'a> = dyn FnMut(&'static str, bool, String) + 'a;

fn path(case: &Case) -> impl Iterator<Item = &Hop> {
    case.hops.iter().chain(case.reply.iter().flat_map(|reply| &reply.hops))
}

/// Whether a process listens is an assumption, unless a dump shows it or the user says so.
fn listener(case: &Case, add: &mut Add<'_>) {
    let Some(hop) = case.hops.last() else { return };
    let EventKind::Delivered { listener, port } = &hop.event else { return };
    let Some(port) = port else { return };
    let at = hop.place();
    let Some(_) = listener else {
        add("listeners", true, format!("nothing says whether a process listens on port {port} of {at}"));
        return;
    };
    match hop.origin.as_ref().map(crate::origin::Origin::kind) {
        Some(OriginKind::Object { object, .. }) => {
            let why = match &*object.kind {
                "Service" => format!("{object} leads there"),
                _ => "it is declared".into(),
            };
            add("closed", true, format!("a process listens on port {port} of {at}: {why}"));
        }
        Some(OriginKind::MadeUp { .. }) => {
            add("closed", true, format!("a process listens on port {port} of {at}: it is declared"));
        }
        Some(
            OriginKind::Assumption { .. }
            | OriginKind::Implied { .. }
            | OriginKind::Dump { .. }
            | OriginKind::Embedder,
        )
        | None => {}
    }
}

/// Policies that nobody enforces, as far as is known.
fn policies(cluster: &Cluster, request: &Request, case: &Case, add: &mut Add<'_>) {
    let enforced = &cluster.settings.policy_enforced;
    if enforced.value || cluster.objects.network_policies.is_empty() || case.outcome != Outcome::Delivered {
        return;
    }
    let ends = [Some((request.machine, request.netns)), request.intended];
    let pods = ends.into_iter().flatten();
    let pods = pods.filter_map(|(machine, netns)| compile::pod_of_netns(cluster, machine, netns));
    let namespaces: Vec<_> =
        pods.filter_map(|pod| cluster.pods.get(pod as usize)).map(|pod| &pod.namespace).collect();
    let near = cluster.objects.network_policies.keys().filter(|key| namespaces.contains(&&key.0)).count();
    if near > 0 {
        let cni = &cluster.settings.cni.value;
        let text = format!("{cni} enforces no NetworkPolicy ({near} in these namespaces are ignored)");
        add("policyEnforced", enforced.is_assumed(), text);
    }
}

/// MTUs, where they decided.
fn sizes(cluster: &Cluster, case: &Case, add: &mut Add<'_>) {
    let decided = path(case).any(|hop| {
        matches!(
            hop.event,
            EventKind::Fragmented { .. } | EventKind::Dropped { reason: DropReason::PktTooBig, .. }
        )
    });
    let mtu = &cluster.settings.mtu;
    if decided && mtu.is_assumed() {
        add("mtu", true, format!("the nodes' cards have an MTU of {} bytes", mtu.value));
    }
}

/// How pods and nodes are connected, as far as the path shows it.
fn network(cluster: &Cluster, case: &Case, add: &mut Add<'_>) {
    let settings = &cluster.settings;
    let has_pod = path(case).any(|hop| !hop.netns.is_empty());
    let mut machines: Vec<&str> = Vec::new();
    for hop in path(case) {
        if cluster.node_named(&hop.machine).is_some() && !machines.contains(&&*hop.machine) {
            machines.push(&hop.machine);
        }
    }
    let unknown_inside = cluster.pod_network_gap().is_some() || matches!(settings.cni.value, Cni::Other(_));
    if has_pod && unknown_inside {
        let who = match &settings.cni.value {
            Cni::Other(name) if !settings.cni.is_assumed() => name.as_str(),
            Cni::Other(_) | Cni::Bridge | Cni::Kindnet | Cni::Flannel => "the CNI",
        };
        add("cni", false, format!("{who} delivers between pods, as the Kubernetes network model demands"));
        return;
    }
    let alone = machines.len() < 2;
    match (has_pod && settings.cni.is_assumed(), !alone && settings.underlay.is_assumed()) {
        (true, true) => {
            let (cni, underlay) = (&settings.cni.value, settings.underlay.value);
            add("cni", false, format!("pods are connected by the CNI '{cni}', nodes by {underlay}"));
        }
        (true, false) => add("cni", false, format!("pods are connected by the CNI '{}'", settings.cni.value)),
        (false, true) => {
            add("underlay", false, format!("nodes are connected by {}", settings.underlay.value));
        }
        (false, false) => {}
    }
}

/// Nodes, pods and addresses that the input does not have.
fn made_up(cluster: &Cluster, request: &Request, case: &Case, add: &mut Add<'_>) {
    if cluster.mode != InputMode::Manifests {
        return;
    }
    let mut nodes = Vec::new();
    for hop in path(case) {
        let Some(node) = cluster.node_named(&hop.machine).and_then(|at| cluster.nodes.get(at as usize))
        else {
            continue;
        };
        if matches!(node.origin.kind(), OriginKind::MadeUp { .. }) && !nodes.contains(&&*node.name) {
            nodes.push(&*node.name);
        }
    }
    nodes.sort_unstable();
    let ends = [Some((request.machine, request.netns)), request.intended];
    let pod = |(machine, netns)| {
        compile::pod_of_netns(cluster, machine, netns).and_then(|at| cluster.pods.get(at as usize))
    };
    let pods: Vec<&Pod> = ends.into_iter().flatten().filter_map(pod).map(|pod| &**pod).collect();
    if !pods.is_empty() {
        let text =
            "pods run, are ready and have made-up addresses and places (kubenet plays the control plane)";
        add("place", false, text.into());
    }
    if !nodes.is_empty() {
        let list = nodes.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
        add("nodes", false, format!("made-up nodes: {list}"));
    }
}
