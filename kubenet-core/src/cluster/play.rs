//! Plays controllers and scheduler: the pods that a control plane would make of workloads, on the nodes it would choose.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use super::control_plane::{Made, Make, Names, WorkloadIn};
use super::resolve::Input;
use super::said::Places;
use super::schedule::{Fit, Note, Scheduler, daemon_tolerations};
use super::{Node, Pod};
use crate::identity::identity;
use crate::origin::{Diagnostic, ObjectRef, Origin};

/// The pods that the controllers would make beside those of the input, each on the node that the scheduler would choose.
pub(super) fn played_pods(
    input: &mut Input,
    nodes: &[Node],
    made_up: bool,
    places: &Places,
    log: &mut Vec<Diagnostic>,
) -> Vec<Pod> {
    let scheduler = Scheduler::new(nodes, made_up);
    let mut names = Names::default();
    let mut existing: BTreeMap<ObjectRef, (u32, BTreeSet<u32>)> = BTreeMap::new();
    let mut pods = Vec::new();
    for p in input.pods.drain(..) {
        names.claim(&p.pod.namespace, &p.pod.name);
        let own = ObjectRef::namespaced("Pod", &p.pod.namespace, &p.pod.name);
        let key = identity(&["Pod", &p.pod.namespace, &p.pod.name]);
        let alone = Made { pod: p.pod, template: p.template, key, replica: 0 };
        let mut done = schedule(alloc::vec![alone], &own, &scheduler, places, log);
        for pod in &done {
            for owner in pod.owners.iter().filter(|_| !pod.terminal) {
                let (count, on) = existing.entry(owner.clone()).or_default();
                *count += 1;
                on.extend(pod.node);
            }
        }
        pods.append(&mut done);
    }
    let mut workloads = core::mem::take(&mut input.workloads);
    workloads.sort_by(|a, b| a.object.cmp(&b.object));
    let controlled =
        |w: &WorkloadIn| input.parents.get(&w.object).is_some_and(|p| is_workload(&workloads, p));
    for workload in workloads.iter().filter(|w| !controlled(w)) {
        let (count, on) = existing.remove(&workload.object).unwrap_or_default();
        if workload.make == Make::PerNode {
            pods.extend(daemon_pods(workload, &on, &scheduler, nodes, &mut names, log));
        } else {
            let made = workload.pods(count, &mut names);
            pods.append(&mut schedule(made, &workload.object, &scheduler, places, log));
        }
    }
    pods
}

fn is_workload(sorted: &[WorkloadIn], object: &ObjectRef) -> bool {
    sorted.binary_search_by(|w| w.object.cmp(object)).is_ok()
}

/// Chooses nodes for the pods of one workload.
fn schedule(
    made: Vec<Made>,
    workload: &ObjectRef,
    scheduler: &Scheduler<'_>,
    places: &Places,
    log: &mut Vec<Diagnostic>,
) -> Vec<Pod> {
    let Some(first) = made.first() else { return Vec::new() };
    let fixed = first.template.asks.node_name.as_ref().map(|name| scheduler.named(name));
    let placed = places.get(workload).copied();
    let needs_a_choice =
        placed.is_none() && fixed.is_none() && first.pod.node.is_none() && !first.pod.terminal;
    let fit = if needs_a_choice { scheduler.fit(&first.template.asks) } else { Fit::default() };
    if let Some(note) = &fit.note {
        log.push(tell_note(note, workload, &first.pod.origin));
    }
    let replicas = made.iter().map(|m| m.replica as usize + 1).max().unwrap_or(0);
    let ranked = scheduler.rank(first.key, &fit, replicas);
    let choose = |made: Made| {
        let mut pod = made.pod;
        let own = ObjectRef {
            kind: Cow::Borrowed("Pod"),
            namespace: Some(pod.namespace.clone()),
            name: pod.name.clone(),
        };
        let said = places.get(&own).copied().or(placed);
        let at =
            (made.replica as usize).checked_rem(fit.nodes.len()).and_then(|rank| ranked.get(rank).copied());
        pod.node = said.or(pod.node).or(fixed.flatten()).or(at);
        pod
    };
    made.into_iter().map(choose).collect()
}

fn daemon_pods(
    workload: &WorkloadIn,
    on: &BTreeSet<u32>,
    scheduler: &Scheduler<'_>,
    nodes: &[Node],
    names: &mut Names,
    log: &mut Vec<Diagnostic>,
) -> Vec<Pod> {
    let template = &workload.template;
    let mut asks = template.asks.clone();
    asks.tolerations.extend(daemon_tolerations(template.host_network));
    let fit = match &asks.node_name {
        Some(name) => Fit { nodes: scheduler.named(name).into_iter().collect(), note: None },
        None => scheduler.fit(&asks),
    };
    if let Some(note) = &fit.note {
        log.push(tell_note(note, &workload.object, &workload.origin));
    }
    let free = fit.nodes.into_iter().filter(|place| !on.contains(place));
    let one = |place: u32| Some(workload.daemon(place, &nodes.get(place as usize)?.name, names).pod);
    free.filter_map(one).collect()
}

fn tell_note(note: &Note, workload: &ObjectRef, origin: &Origin) -> Diagnostic {
    match note {
        Note::Pretended(labels) => Diagnostic::note(
            "made-up-labels",
            format!(
                "{workload} asks for nodes with {labels}; the made-up nodes are treated as if they had it"
            ),
        )
        .from_origin(origin)
        .help("give Node objects to say which nodes have it"),
        Note::Unschedulable(why) => {
            Diagnostic::warning("unschedulable", format!("pods of {workload} stay pending: {why}"))
                .from_origin(origin)
        }
    }
}
