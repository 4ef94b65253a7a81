//! Pods whose connections go another way than their interface shows: service meshes, further interfaces, virtual machines.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::table::{INJECTIONS, Injection, NETWORKS, SIDECARS, VIRTUAL_MACHINE};
use crate::cluster::{Effect, InputMode, Parts, Pod, Touches, Unmodelled};
use crate::k8s::Objects;
use crate::k8s::types::{ObjectMeta, PodSpec};
use crate::origin::ObjectRef;

/// What a pod has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Has {
    Sidecar(&'static str, &'static str),
    Injected(&'static str, &'static str),
    Ambient(&'static str),
    Networks(String),
    VirtualMachine,
}

/// Pods of one workload that have the same are told together.
pub(super) fn find(objects: &Objects, parts: &Parts, found: &mut Vec<Unmodelled>) {
    let mut groups: BTreeMap<(ObjectRef, Has), Vec<u32>> = BTreeMap::new();
    // Pods of a namespace stand together.
    let mut asked: (&str, Vec<&'static Injection>) = ("", Vec::new());
    for (place, pod) in (0u32..).zip(&parts.pods) {
        if *pod.namespace != *asked.0 {
            asked = (&pod.namespace, asked_by(objects, parts.mode, &pod.namespace));
        }
        if pod.host_network || pod.terminal {
            continue;
        }
        let Some((metadata, spec)) = stated(objects, pod) else { continue };
        let owner = || {
            let itself = || ObjectRef::namespaced("Pod", &pod.namespace, &pod.name);
            pod.owners.first().cloned().unwrap_or_else(itself)
        };
        for has in what(parts.mode, &asked.1, metadata, spec) {
            groups.entry((owner(), has)).or_default().push(place);
        }
    }
    for ((owner, has), pods) in groups {
        let Some(first) = pods.first().and_then(|place| parts.pods.get(*place as usize)) else { continue };
        let (what, settle) = match has {
            Has::Sidecar(container, mesh) => (
                format!("has {mesh}'s sidecar {container}, which redirects its connections"),
                format!("the access log of {container}"),
            ),
            Has::Injected(key, mesh) => (
                format!("gets a sidecar of {mesh}, which redirects its connections ({key} asks for it)"),
                "the pod as it runs: kubectl get pod -o yaml".into(),
            ),
            Has::Ambient(mesh) => (
                format!("is part of {mesh}, which redirects its connections"),
                "the access log of ztunnel on its node".into(),
            ),
            Has::Networks(names) => (
                format!("has further interfaces ({names}), whose routes are not known"),
                format!(
                    "ip route in the pod: kubectl exec {} -n {} -- ip route",
                    first.name, first.namespace
                ),
            ),
            Has::VirtualMachine => (
                "is a virtual machine, whose own network stack is not modelled".into(),
                "the connection itself, tried from or to the machine".into(),
            ),
        };
        found.push(Unmodelled {
            why: format!("{owner} {what}"),
            what_would_settle_it: settle,
            effect: Effect::Change,
            touches: Touches::Pods(pods),
            origin: first.origin.clone(),
        });
    }
}

/// What the input says of a pod: the pod itself, or the template that it is made from.
fn stated<'a>(objects: &'a Objects, pod: &Pod) -> Option<(&'a ObjectMeta, &'a PodSpec)> {
    if let Some(object) = objects.pods.get(&(pod.namespace.clone(), pod.name.clone())) {
        return Some((&object.metadata, &object.spec));
    }
    pod.owners.iter().rev().find_map(|owner| {
        let key = (owner.namespace.clone()?, owner.name.clone());
        let template = match &*owner.kind {
            "Deployment" => &objects.deployments.get(&key)?.spec.template,
            "ReplicaSet" => &objects.replica_sets.get(&key)?.spec.template,
            "StatefulSet" => &objects.stateful_sets.get(&key)?.spec.template,
            "DaemonSet" => &objects.daemon_sets.get(&key)?.spec.template,
            "ReplicationController" => &objects.replication_controllers.get(&key)?.spec.template,
            "Job" => &objects.jobs.get(&key)?.spec.template,
            "CronJob" => &objects.cron_jobs.get(&key)?.spec.job_template.spec.template,
            _ => return None,
        };
        Some((&template.metadata, &template.spec))
    })
}

fn what(mode: InputMode, asked: &[&'static Injection], metadata: &ObjectMeta, spec: &PodSpec) -> Vec<Has> {
    let mut all = Vec::new();
    if let Some((container, mesh)) = sidecar(spec) {
        all.push(Has::Sidecar(container, mesh));
    } else if let Some(rule) = injected(mode, asked, metadata) {
        all.push(if rule.ambient { Has::Ambient(rule.mesh) } else { Has::Injected(rule.key, rule.mesh) });
    }
    if let Some(names) = metadata.annotations.get(NETWORKS).and_then(|text| networks(text)) {
        all.push(Has::Networks(names));
    }
    let (key, value) = VIRTUAL_MACHINE;
    if metadata.labels.get(key).is_some_and(|label| &**label == value) {
        all.push(Has::VirtualMachine);
    }
    all
}

fn sidecar(spec: &PodSpec) -> Option<(&'static str, &'static str)> {
    let all = || spec.containers.iter().chain(&spec.init_containers);
    let runs = |name: &str| all().find(|container| &*container.name == name);
    let rule = SIDECARS.iter().find(|rule| {
        let by = rule.by.is_none_or(|by| runs(by).is_some());
        // Istio's gateways are the same program, and redirect nothing.
        let router = |args: &[Arc<str>]| args.iter().any(|arg| &**arg == "router");
        by && runs(rule.container).is_some_and(|container| !router(&container.args))
    })?;
    Some((rule.container, rule.mesh))
}

/// Those that count. A pod of a snapshot that has no sidecar was made without one, whatever its namespace asks for now.
fn injections(mode: InputMode) -> impl Iterator<Item = &'static Injection> {
    INJECTIONS.iter().filter(move |rule| rule.ambient || mode == InputMode::Manifests)
}

fn said<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.get(key).or_else(|| metadata.annotations.get(key)).map(|value| &**value)
}

fn asks(rule: &Injection, value: &str) -> bool {
    match rule.values {
        [] => !matches!(value, "" | "disabled" | "false"),
        values => values.contains(&value),
    }
}

/// What a namespace asks for.
fn asked_by(objects: &Objects, mode: InputMode, namespace: &Arc<str>) -> Vec<&'static Injection> {
    let Some(object) = objects.namespaces.get(&("".into(), namespace.clone())) else { return Vec::new() };
    let of = |rule: &&Injection| said(&object.metadata, rule.key).is_some_and(|value| asks(rule, value));
    injections(mode).filter(of).collect()
}

/// Who gives a pod a sidecar: what itself asks for, or else what its namespace does and it does not refuse.
fn injected(
    mode: InputMode,
    asked: &[&'static Injection],
    metadata: &ObjectMeta,
) -> Option<&'static Injection> {
    let mut refused: Vec<&str> = Vec::new();
    for rule in injections(mode) {
        match said(metadata, rule.key) {
            Some(value) if asks(rule, value) => return Some(rule),
            Some(_) => refused.push(rule.mesh),
            None => {}
        }
    }
    asked.iter().copied().find(|rule| !refused.contains(&rule.mesh))
}

/// The names of further networks, from a list in words or in JSON.
fn networks(text: &str) -> Option<String> {
    let text = text.trim();
    let names: Vec<String> = match serde_json::from_str::<Vec<serde_json::Value>>(text) {
        Ok(list) => list.iter().filter_map(|one| Some(one.get("name")?.as_str()?.into())).collect(),
        Err(_) => {
            text.split(',').map(|name| name.trim().into()).filter(|name: &String| !name.is_empty()).collect()
        }
    };
    (!names.is_empty()).then(|| names.join(", "))
}
