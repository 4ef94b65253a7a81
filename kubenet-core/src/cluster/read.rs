//! Reads Kubernetes objects into the cluster's own words.
//!
//! In: [`Objects`]. Out: [`Input`], and diagnostics for addresses, protocols and the like that cannot be read; the object
//! goes on without them.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::str::FromStr;

use super::control_plane::{Make, Template, WorkloadIn};
use super::load_balancer::{self, Pools};
use super::resolve::{Input, PodIn};
use super::schedule::{Asks, Toleration};
use super::services::{FamilyPolicy, ServiceIn};
use super::{Container, ContainerPort, Namespace, Node, Pod, Service, ServicePort, TargetPort};
use crate::addr::{Family, Protocol};
use crate::k8s::types::{
    self, IntOrString, Map, ObjectMeta, OwnerReference, PodSpec, PodTemplate, Shared, WorkloadSpec,
};
use crate::k8s::{DEFAULT_NAMESPACE, Objects, sloppy};
use crate::origin::{Diagnostic, ObjectRef, Origin};

type Log = Vec<Diagnostic>;

/// Reads everything.
pub(super) fn input(objects: &Objects, log: &mut Log) -> Input {
    let mut input = Input { has_uid: objects.has_uid(), ..Input::default() };
    input.nodes = objects.nodes.values().map(|node| read_node(node, log)).collect();
    input.namespaces = objects.namespaces.values().map(read_namespace).collect();
    input.pods = objects.pods.values().map(|pod| read_pod(pod, log)).collect();
    input.pools = Pools::read(objects, log);
    input.services = objects.services.values().map(|service| read_service(service, log)).collect();
    read_workloads(objects, &mut input, log);
    input
}

fn read_workloads(objects: &Objects, input: &mut Input, log: &mut Log) {
    let mut add =
        |kind: &'static str, meta: &ObjectMeta, origin: &Origin, template: &PodTemplate, path, make| {
            let object = object_ref(kind, meta);
            if let Some(owner) = meta.controller() {
                input.parents.insert(object.clone(), owner_ref(owner, &namespace_of(meta)));
            }
            let origin = origin.with_field(path);
            let template =
                Arc::new(read_template(&template.metadata.labels, &template.spec, &origin, path, log));
            input.workloads.push(WorkloadIn { object, make, template, origin });
        };
    const TEMPLATE: &str = "spec.template";
    let replicas = |spec: &WorkloadSpec| spec.replicas.unwrap_or(1);
    for o in objects.deployments.values() {
        add(
            "Deployment",
            &o.metadata,
            &o.origin,
            &o.spec.template,
            TEMPLATE,
            Make::Deployment(replicas(&o.spec)),
        );
    }
    for o in objects.replica_sets.values() {
        add(
            "ReplicaSet",
            &o.metadata,
            &o.origin,
            &o.spec.template,
            TEMPLATE,
            Make::Replicas(replicas(&o.spec)),
        );
    }
    for o in objects.replication_controllers.values() {
        let make = Make::Replicas(replicas(&o.spec));
        add("ReplicationController", &o.metadata, &o.origin, &o.spec.template, TEMPLATE, make);
    }
    for o in objects.stateful_sets.values() {
        let first = o.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start);
        let make = Make::Ordinals { first, count: replicas(&o.spec) };
        let mut template = o.spec.template.clone();
        template.spec.subdomain.clone_from(&o.spec.service_name);
        add("StatefulSet", &o.metadata, &o.origin, &template, TEMPLATE, make);
    }
    for o in objects.daemon_sets.values() {
        add("DaemonSet", &o.metadata, &o.origin, &o.spec.template, TEMPLATE, Make::PerNode);
    }
    for o in objects.jobs.values() {
        let (count, indexed) = job(&o.spec, false);
        let make = Make::Job { count, indexed };
        add("Job", &o.metadata, &o.origin, &o.spec.template, TEMPLATE, make);
    }
    for o in objects.cron_jobs.values() {
        let spec = &o.spec.job_template.spec;
        let (count, indexed) = job(spec, o.spec.suspend);
        let make = Make::CronJob { count, indexed };
        add("CronJob", &o.metadata, &o.origin, &spec.template, "spec.jobTemplate.spec.template", make);
    }
}

/// How many pods of a Job run at once, and whether they have an index.
fn job(spec: &types::JobSpec, suspended: bool) -> (u32, bool) {
    let count = match (suspended || spec.suspend, spec.parallelism.unwrap_or(1), spec.completions) {
        (true, ..) => 0,
        (false, parallelism, Some(completions)) => parallelism.min(completions),
        (false, parallelism, None) => parallelism,
    };
    (count, spec.completion_mode.as_deref() == Some("Indexed"))
}

fn read_node(node: &Shared<types::Node>, log: &mut Log) -> Node {
    let mut addresses = Vec::new();
    let mut external_addresses = Vec::new();
    for stated in &node.status.addresses {
        let list = match &*stated.r#type {
            "InternalIP" => &mut addresses,
            "ExternalIP" => &mut external_addresses,
            _ => continue,
        };
        if let Some(addr) = address(&stated.address, &node.origin, "status.addresses", log) {
            one_per_family(list, addr);
        }
    }
    let first = node.spec.pod_cidr.iter().filter(|_| node.spec.pod_cidrs.is_empty());
    let mut pod_cidrs: Vec<ipnet::IpNet> = Vec::new();
    for text in node.spec.pod_cidrs.iter().chain(first).filter(|text| !text.is_empty()) {
        if let Some(net) = parse::<ipnet::IpNet>(text, "a range", &node.origin, "spec.podCIDRs", log)
            && !pod_cidrs.iter().any(|other| Family::of_net(*other) == Family::of_net(net))
        {
            pod_cidrs.push(net.trunc());
        }
    }
    let taint = |taint: &types::Taint| {
        let value =
            taint.value.as_deref().filter(|v| !v.is_empty()).map(|v| format!("={v}")).unwrap_or_default();
        Arc::from(format!("{}{value}:{}", taint.key, taint.effect))
    };
    let mut taints: Vec<Arc<str>> = node.spec.taints.iter().map(taint).collect();
    let cordoned: Arc<str> = "node.kubernetes.io/unschedulable:NoSchedule".into();
    if node.spec.unschedulable && !taints.contains(&cordoned) {
        taints.push(cordoned);
    }
    Node {
        name: node.metadata.name.clone(),
        addresses,
        external_addresses,
        pod_cidrs,
        labels: pairs(&node.metadata.labels),
        taints,
        origin: node.origin.clone(),
    }
}

fn read_namespace(namespace: &Shared<types::Namespace>) -> Namespace {
    let name = namespace.metadata.name.clone();
    let mut labels = namespace.metadata.labels.clone();
    labels.insert("kubernetes.io/metadata.name".into(), name.clone());
    Namespace { name, labels: pairs(&labels), origin: namespace.origin.clone() }
}

fn read_pod(pod: &Shared<types::Pod>, log: &mut Log) -> PodIn {
    let template = read_template(&pod.metadata.labels, &pod.spec, &pod.origin, "spec", log);
    let phase = pod.status.phase.as_deref();
    let terminal = matches!(phase, Some("Succeeded" | "Failed"));
    let listed = pod.status.pod_ips.iter().map(|ip| &ip.ip).chain(&pod.status.pod_ip);
    let mut addresses = Vec::new();
    for text in listed.filter(|text| !text.is_empty() && !terminal) {
        if let Some(addr) = address(text, &pod.origin, "status.podIPs", log) {
            one_per_family(&mut addresses, addr);
        }
    }
    let mut host_ips = Vec::new();
    for text in pod.status.host_ips.iter().map(|ip| &ip.ip).chain(&pod.status.host_ip) {
        if let Ok(addr) = text.parse() {
            one_per_family(&mut host_ips, addr);
        }
    }
    let condition = pod.status.conditions.iter().find(|condition| &*condition.r#type == "Ready");
    let ready = match (condition, phase) {
        (Some(condition), _) => &*condition.status == "True",
        (None, Some(phase)) => phase == "Running",
        (None, None) => true,
    };
    let namespace = namespace_of(&pod.metadata);
    // A static pod is owned by its node, which is no workload.
    let controller = pod.metadata.controller().filter(|owner| &*owner.kind != "Node");
    let controller = controller.map(|owner| owner_ref(owner, &namespace));
    PodIn {
        pod: Pod {
            namespace,
            name: pod.metadata.name.clone(),
            labels: template.labels.clone(),
            node: None,
            addresses,
            hostname: template.hostname.clone(),
            subdomain: template.subdomain.clone(),
            host_network: template.host_network,
            terminal,
            ready: ready && !terminal,
            terminating: pod.metadata.deletion_timestamp.is_some(),
            containers: template.containers.clone(),
            owners: Vec::new(),
            origin: pod.origin.clone(),
        },
        template: Arc::new(template),
        host_ips,
        controller,
    }
}

fn read_template(labels: &Map, spec: &PodSpec, origin: &Origin, path: &str, log: &mut Log) -> Template {
    let toleration = |t: &types::Toleration| Toleration {
        key: t.key.clone().filter(|key| !key.is_empty()),
        value: match t.operator.as_deref() {
            Some("Exists") => None,
            _ => Some(t.value.clone().unwrap_or_default()),
        },
        effect: t.effect.clone().filter(|effect| !effect.is_empty()),
    };
    let prefix = if path == "spec" { "spec".to_string() } else { format!("{path}.spec") };
    let sidecar = |c: &(usize, &types::Container)| c.1.restart_policy.as_deref() == Some("Always");
    let init = spec.init_containers.iter().enumerate().filter(sidecar);
    let sidecars = init.map(|(at, container)| ("initContainers", at, container));
    let containers = spec.containers.iter().enumerate().map(|(at, container)| ("containers", at, container));
    let containers = containers.chain(sidecars).map(|(list, at, container)| {
        read_container(container, origin, &format!("{prefix}.{list}[{at}]"), log)
    });
    Template {
        labels: pairs(labels),
        asks: Asks {
            node_name: spec.node_name.clone().filter(|name| !name.is_empty()),
            selector: pairs(&spec.node_selector),
            tolerations: spec.tolerations.iter().map(toleration).collect(),
        },
        hostname: spec.hostname.clone().filter(|name| !name.is_empty()),
        subdomain: spec.subdomain.clone().filter(|name| !name.is_empty()),
        host_network: spec.host_network,
        containers: containers.collect(),
    }
}

fn read_container(container: &types::Container, origin: &Origin, path: &str, log: &mut Log) -> Container {
    let mut ports = Vec::with_capacity(container.ports.len());
    for (at, port) in container.ports.iter().enumerate() {
        let field = format!("{path}.ports[{at}]");
        let Some(protocol) = read_protocol(port.protocol.as_deref(), origin, &field, log) else { continue };
        let host_ip = port.host_ip.as_deref().filter(|text| !text.is_empty());
        ports.push(ContainerPort {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: port.container_port,
            protocol,
            host_port: port.host_port.filter(|port| *port > 0),
            host_ip: host_ip.and_then(|text| address(text, origin, &field, log)),
            origin: origin.with_field(field),
        });
    }
    let mut probes: Vec<(u16, bool)> = Vec::new();
    let all = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    for probe in all.into_iter().flatten() {
        let actions = [(&probe.http_get, true), (&probe.tcp_socket, false), (&probe.grpc, false)];
        for (action, http) in actions.into_iter().filter_map(|(action, http)| Some((action.as_ref()?, http)))
        {
            let elsewhere = action.host.as_deref().is_some_and(|host| !host.is_empty());
            let port = action.port.as_ref().and_then(|port| named_port(port, &ports));
            if let (false, Some(port)) = (elsewhere, port)
                && !probes.contains(&(port, http))
            {
                probes.push((port, http));
            }
        }
    }
    Container { name: container.name.clone(), ports, probes }
}

fn named_port(port: &IntOrString, ports: &[ContainerPort]) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok().filter(|port| *port > 0),
        IntOrString::String(name) => {
            let named = ports.iter().find(|port| port.name.as_deref() == Some(&**name)).map(|port| port.port);
            named.or_else(|| name.parse().ok())
        }
    }
}

fn read_service(service: &Shared<types::Service>, log: &mut Log) -> ServiceIn {
    let spec = &service.spec;
    let kind = spec.r#type.as_deref().unwrap_or("ClusterIP");
    let first = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.is_empty());
    let listed: Vec<&Arc<str>> =
        spec.cluster_ips.iter().chain(first).filter(|text| !text.is_empty()).collect();
    let headless = listed.iter().any(|text| &***text == "None");
    let virtual_addresses = !headless && kind != "ExternalName";
    let mut cluster_ips = Vec::new();
    for text in listed.iter().filter(|_| virtual_addresses) {
        if let Some(addr) = address(text, &service.origin, "spec.clusterIPs", log) {
            one_per_family(&mut cluster_ips, addr);
        }
    }
    let mut ports = Vec::with_capacity(spec.ports.len());
    for (at, port) in spec.ports.iter().enumerate() {
        let field = format!("spec.ports[{at}]");
        if let Some(protocol) = read_protocol(port.protocol.as_deref(), &service.origin, &field, log) {
            ports.push(ServicePort {
                name: port.name.clone().filter(|name| !name.is_empty()),
                port: port.port,
                protocol,
                target: target_port(port.target_port.as_ref(), port.port),
                node_port: port.node_port.filter(|port| *port > 0),
            });
        }
    }
    let families = spec.ip_families.iter().filter_map(|family| match &**family {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    });
    let (load_balancer, wishes) = load_balancer::read(service).unzip();
    let balancer = kind == "LoadBalancer" && spec.allocate_load_balancer_node_ports != Some(false);
    ServiceIn {
        policy: match spec.ip_family_policy.as_deref() {
            Some("SingleStack") => Some(FamilyPolicy::Single),
            Some("PreferDualStack") => Some(FamilyPolicy::Prefer),
            Some("RequireDualStack") => Some(FamilyPolicy::Require),
            Some(_) | None => None,
        },
        families: families.collect(),
        virtual_addresses,
        node_ports: kind == "NodePort" || balancer,
        wishes,
        service: Service {
            namespace: namespace_of(&service.metadata),
            name: service.metadata.name.clone(),
            cluster_ips,
            selector: pairs(&spec.selector),
            ports,
            load_balancer,
            origin: service.origin.clone(),
        },
    }
}

/// A number in quotes is a number, and no target is the port itself (`getTargetPort` of the endpoint slice controller).
fn target_port(target: Option<&IntOrString>, port: u16) -> TargetPort {
    let number = |number: i64| TargetPort::Number(u16::try_from(number).unwrap_or(port));
    match target {
        None | Some(IntOrString::Int(0)) => TargetPort::Number(port),
        Some(IntOrString::Int(stated)) => number(*stated),
        Some(IntOrString::String(name)) => match name.parse() {
            Ok(stated) => number(stated),
            Err(_) if name.is_empty() => TargetPort::Number(port),
            Err(_) => TargetPort::Name(name.clone()),
        },
    }
}

fn read_protocol(text: Option<&str>, origin: &Origin, field: &str, log: &mut Log) -> Option<Protocol> {
    match text.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        other => {
            let message = format!("'{other}' is not a protocol; Kubernetes knows TCP, UDP and SCTP");
            log.push(unreadable(message, origin, field));
            None
        }
    }
}

fn address(text: &str, origin: &Origin, field: &str, log: &mut Log) -> Option<IpAddr> {
    let parsed = sloppy::addr(text);
    if parsed.is_none() {
        log.push(unreadable(format!("'{text}' is not an address"), origin, field));
    }
    parsed
}

fn parse<T: FromStr>(text: &str, what: &str, origin: &Origin, field: &str, log: &mut Log) -> Option<T> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        log.push(unreadable(format!("'{text}' is not {what}"), origin, field));
    }
    parsed
}

fn unreadable(message: alloc::string::String, origin: &Origin, field: &str) -> Diagnostic {
    let message = match origin.object_ref() {
        Some(object) => format!("{object}: {message}"),
        None => message,
    };
    Diagnostic::warning("unreadable-value", message).from_origin(origin).field(field)
}

fn one_per_family(list: &mut Vec<IpAddr>, addr: IpAddr) {
    if !list.iter().any(|other| Family::of(*other) == Family::of(addr)) {
        list.push(addr);
    }
}

fn pairs(map: &BTreeMap<Arc<str>, Arc<str>>) -> Vec<(Arc<str>, Arc<str>)> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn namespace_of(metadata: &ObjectMeta) -> Arc<str> {
    metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.into())
}

fn object_ref(kind: &'static str, metadata: &ObjectMeta) -> ObjectRef {
    let namespace = Some(namespace_of(metadata));
    ObjectRef { kind: Cow::Borrowed(kind), namespace, name: metadata.name.clone() }
}

fn owner_ref(owner: &OwnerReference, namespace: &Arc<str>) -> ObjectRef {
    let kind = Cow::Owned(owner.kind.to_string());
    ObjectRef { kind, namespace: Some(namespace.clone()), name: owner.name.clone() }
}
