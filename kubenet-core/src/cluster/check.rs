//! Contradictions in what the input states.
//!
//! In: the resolved nodes, pods, Services and settings. Out: diagnostics, all of them warnings: everything is kept as it is
//! stated. Ten of a kind are told in full, the rest are counted.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use hashbrown::HashMap;
use ipnet::IpNet;

use super::layers::overlap;
use super::proxy_ports::{missing_proxy_ports, node_port_clashes};
use super::{Cni, ContainerPort, InputMode, Node, Pod, Service, Setting, Settings};
use crate::addr::{Family, Protocol};
use crate::origin::{Diagnostic, Origin};

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// How many diagnostics of one code are told in full.
const TOLD: usize = 10;

/// Everything that is wrong with a resolved cluster.
pub(super) fn contradictions(
    mode: InputMode,
    settings: &Settings,
    nodes: &[Node],
    pods: &[Pod],
    services: &[Arc<Service>],
) -> Vec<Diagnostic> {
    let mut log = Vec::new();
    for check in [
        same_address(nodes, pods, services),
        overlapping_ranges(settings),
        overlapping_node_ranges(nodes),
        ranges_outside_of_the_cluster(settings, nodes),
        pods_outside_of_their_node(mode, settings, nodes, pods),
        missing_families(settings, pods),
        port_clashes(mode, pods),
        host_port_clashes(nodes, pods),
        node_port_clashes(settings, nodes, pods, services.iter().map(|service| &**service)),
        missing_proxy_ports(settings, nodes, pods, services.iter().map(|service| &**service)),
    ] {
        tell(&mut log, check);
    }
    log
}

/// Adds what is found, ten of a kind in full.
pub(super) fn tell(log: &mut Vec<Diagnostic>, mut found: Vec<Diagnostic>) {
    // Pods of one workload repeat what their template says.
    found.dedup_by(|b, a| a.location.is_some() && a.location == b.location && a.code == b.code);
    let more = found.len().saturating_sub(TOLD);
    let code = found.first().map(|first| first.code.clone());
    found.truncate(TOLD);
    log.append(&mut found);
    if let (Some(code), 1..) = (code, more) {
        let mut rest = Diagnostic::note("more", format!("{more} more of {code}"));
        rest.code = code;
        log.push(rest);
    }
}

/// Who holds an address.
#[derive(Clone, Copy)]
struct Holder<'a> {
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
    origin: &'a Origin,
}

impl core::fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.namespace {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// One address has one holder, but for pods on the host's network and pods that have ended.
fn same_address(nodes: &[Node], pods: &[Pod], services: &[Arc<Service>]) -> Vec<Diagnostic> {
    let mut holders: Map<IpAddr, Holder<'_>> = Map::default();
    let mut log = Vec::new();
    let all_nodes = nodes.iter().flat_map(|node| {
        let holder = Holder { kind: "node", namespace: "", name: &node.name, origin: &node.origin };
        node.addresses.iter().map(move |addr| (*addr, holder))
    });
    let own = pods.iter().filter(|pod| !pod.host_network && !pod.terminal);
    let all_pods = own.flat_map(|pod| {
        let holder = Holder { kind: "pod", namespace: &pod.namespace, name: &pod.name, origin: &pod.origin };
        pod.addresses.iter().map(move |addr| (*addr, holder))
    });
    let all_services = services.iter().flat_map(|service| {
        let (namespace, name) = (&*service.namespace, &*service.name);
        let holder = Holder { kind: "service", namespace, name, origin: &service.origin };
        service.cluster_ips.iter().map(move |addr| (*addr, holder))
    });
    for (addr, holder) in all_nodes.chain(all_pods).chain(all_services) {
        let first = *holders.entry(addr).or_insert(holder);
        if core::ptr::eq(first.name, holder.name) {
            continue;
        }
        log.push(
            Diagnostic::warning("duplicate-address", format!("{holder} has {addr}, which {first} has too"))
                .from_origin(holder.origin)
                .related(format!("{first} has it here"), first.origin.location().cloned())
                .help("one of the two is stale, or the addresses were given by hand"),
        );
    }
    log
}

/// The cluster's, the Services' and the nodes' ranges are apart from each other, where somebody says so.
fn overlapping_ranges(settings: &Settings) -> Vec<Diagnostic> {
    let named: [(&str, &Setting<Vec<IpNet>>); 3] = [
        ("clusterCidr", &settings.cluster_cidr),
        ("serviceCidr", &settings.service_cidr),
        ("nodeNetwork", &settings.node_network),
    ];
    let mut log = Vec::new();
    for (at, (name, setting)) in named.iter().enumerate() {
        for (other_name, other) in named.iter().skip(at + 1) {
            if setting.is_assumed() && other.is_assumed() {
                continue;
            }
            for a in &setting.value {
                for b in other.value.iter().filter(|b| overlap(*a, **b)) {
                    let message = format!("{name} {a} overlaps {other_name} {b}");
                    let help = "an address in both ranges has two meanings; choose ranges that are apart";
                    log.push(Diagnostic::warning("overlapping-ranges", message).help(help));
                }
            }
        }
    }
    log
}

/// No two nodes share a part of their pod ranges. O(n log n).
fn overlapping_node_ranges(nodes: &[Node]) -> Vec<Diagnostic> {
    let mut ranges: Vec<(IpNet, &Node)> =
        nodes.iter().flat_map(|node| node.pod_cidrs.iter().map(move |net| (net.trunc(), node))).collect();
    // Sorted by first address, the wider one first: what overlaps is inside of the widest that is still open.
    ranges.sort_by_key(|(net, node)| (net.network(), net.prefix_len(), node.name.clone()));
    let mut open: Option<(IpNet, &Node)> = None;
    let mut log = Vec::new();
    for (net, node) in ranges {
        match open {
            Some((wider, other)) if wider.contains(&net) => log.push(
                Diagnostic::warning(
                    "overlapping-ranges",
                    format!("node {}: pod range {net} overlaps {wider} of node {}", node.name, other.name),
                )
                .from_origin(&node.origin.with_field("spec.podCIDRs"))
                .related(format!("node {} has {wider}", other.name), other.origin.location().cloned()),
            ),
            _ => open = Some((net, node)),
        }
    }
    log
}

fn ranges_outside_of_the_cluster(settings: &Settings, nodes: &[Node]) -> Vec<Diagnostic> {
    let cluster = &settings.cluster_cidr;
    if cluster.is_assumed() {
        return Vec::new();
    }
    let ranges = nodes.iter().flat_map(|node| node.pod_cidrs.iter().map(move |net| (node, net)));
    let outside = ranges.filter(|(_, net)| !cluster.value.iter().any(|wide| wide.contains(*net)));
    let tell = |(node, net): (&Node, &IpNet)| {
        let message = format!(
            "node {}: pod range {net} is outside of the cluster's {}",
            node.name,
            list(&cluster.value)
        );
        Diagnostic::warning("range-outside-cluster", message)
            .from_origin(&node.origin.with_field("spec.podCIDRs"))
    };
    outside.map(tell).collect()
}

/// Only under a CNI whose IPAM uses `podCIDR`, and in a snapshot only when the input shows that CNI.
fn pods_outside_of_their_node(
    mode: InputMode,
    settings: &Settings,
    nodes: &[Node],
    pods: &[Pod],
) -> Vec<Diagnostic> {
    let sure = mode == InputMode::Manifests || !settings.cni.is_assumed();
    if !sure || !settings.cni.value.uses_pod_cidr() {
        return Vec::new();
    }
    let cni: &Cni = &settings.cni.value;
    let mut log = Vec::new();
    for pod in pods.iter().filter(|pod| !pod.host_network && !pod.terminal) {
        let Some(node) = pod.node.and_then(|node| nodes.get(node as usize)) else { continue };
        for addr in &pod.addresses {
            let mut ranges =
                node.pod_cidrs.iter().filter(|net| Family::of_net(**net) == Family::of(*addr)).peekable();
            if ranges.peek().is_none() || ranges.any(|net| net.contains(addr)) {
                continue;
            }
            let message = format!(
                "pod {}/{} has {addr}, outside of {} of its node {}, from which {cni} gives addresses",
                pod.namespace,
                pod.name,
                list(&node.pod_cidrs),
                node.name
            );
            let help = "correct the address or the range, or say which CNI it is (cni)";
            log.push(
                Diagnostic::warning("pod-outside-node-range", message).from_origin(&pod.origin).help(help),
            );
        }
    }
    log
}

/// In a dual-stack cluster every pod with an address has one of each family.
fn missing_families(settings: &Settings, pods: &[Pod]) -> Vec<Diagnostic> {
    if settings.cluster_cidr.is_assumed() {
        return Vec::new();
    }
    let mut log = Vec::new();
    for pod in pods.iter().filter(|pod| !pod.host_network && !pod.terminal && !pod.addresses.is_empty()) {
        for net in &settings.cluster_cidr.value {
            let family = Family::of_net(*net);
            if pod.addresses.iter().any(|addr| Family::of(*addr) == family) {
                continue;
            }
            let message = format!(
                "pod {}/{} has no {family} address, but the cluster has {net}",
                pod.namespace, pod.name
            );
            log.push(
                Diagnostic::warning("missing-family", message)
                    .from_origin(&pod.origin)
                    .help("the pod is older than the second family, or clusterCidr is wrong"),
            );
        }
    }
    log
}

/// Containers of one pod share its ports: the second that binds one fails with `EADDRINUSE`, unless they bind different
/// addresses. A pod that is ready in a snapshot shows that they do.
fn port_clashes(mode: InputMode, pods: &[Pod]) -> Vec<Diagnostic> {
    let mut log = Vec::new();
    let works = |pod: &&Pod| mode == InputMode::Snapshot && pod.ready;
    for pod in pods.iter().filter(|pod| !works(pod)) {
        let mut bound: Vec<(u16, Protocol, &str, &Origin)> = Vec::new();
        for container in &pod.containers {
            for port in &container.ports {
                let clash = |b: &&(u16, Protocol, &str, &Origin)| {
                    (b.0, b.1) == (port.port, port.protocol) && b.2 != &*container.name
                };
                let again =
                    bound.iter().any(|b| (b.0, b.1, b.2) == (port.port, port.protocol, &*container.name));
                if let (false, Some((.., other, origin))) = (again, bound.iter().find(clash)) {
                    let place = format!("{}/{}", port.port, port.protocol);
                    let message = format!(
                        "pod {}/{}: containers {other} and {} both bind {place}",
                        pod.namespace, pod.name, container.name
                    );
                    log.push(
                        Diagnostic::warning("port-clash", message)
                            .from_origin(&port.origin)
                            .related(format!("{other} binds it here"), origin.location().cloned())
                            .help("containers of a pod share its address and ports; give one of them another port"),
                    );
                }
                bound.push((port.port, port.protocol, &container.name, &port.origin));
            }
        }
    }
    log
}

/// Two pods of a node that want one of its ports: the scheduler would not have put them there, and the rules of the one hide
/// those of the other. Pods on the host's network take the ports that they declare.
fn host_port_clashes(nodes: &[Node], pods: &[Pod]) -> Vec<Diagnostic> {
    type Wanting<'a> = (&'a Pod, &'a ContainerPort);
    let mut taken: Map<(u32, u16, Protocol), Vec<Wanting<'_>>> = Map::default();
    let mut log = Vec::new();
    for pod in pods.iter().filter(|pod| !pod.terminal) {
        let Some(node) = pod.node else { continue };
        for port in pod.containers.iter().flat_map(|container| &container.ports) {
            let own = Some(port.port).filter(|_| pod.host_network);
            let Some(number) = port.host_port.or(own) else { continue };
            let others = taken.entry((node, number, port.protocol)).or_default();
            let clashes = |(other, theirs): &&Wanting<'_>| {
                !core::ptr::eq(*other, pod) && same_host_address(port.host_ip, theirs.host_ip)
            };
            if let Some((other, theirs)) = others.iter().find(clashes) {
                let name = nodes.get(node as usize).map_or("", |node| &node.name);
                let message = format!(
                    "pod {}/{} wants port {number}/{} of node {name}, which pod {}/{} has",
                    pod.namespace, pod.name, port.protocol, other.namespace, other.name
                );
                log.push(
                    Diagnostic::warning("host-port-clash", message)
                        .from_origin(&port.origin)
                        .related("it is wanted here too", theirs.origin.location().cloned())
                        .help(
                            "the scheduler puts such pods on different nodes; one of them would stay pending",
                        ),
                );
            }
            others.push((pod, port));
        }
    }
    log
}

/// Whether host ports at these addresses can clash: no address, or `0.0.0.0`, stands for all.
fn same_host_address(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    let all = |addr: Option<IpAddr>| addr.is_none_or(|addr| addr.is_unspecified());
    all(a) || all(b) || a == b
}

/// Addresses in words.
pub(super) fn list_addresses(addresses: &[IpAddr]) -> String {
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    words.join(" and ")
}

fn list(nets: &[IpNet]) -> String {
    let words: Vec<String> = nets.iter().map(ToString::to_string).collect();
    words.join(" and ")
}
