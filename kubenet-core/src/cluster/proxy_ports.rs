//! The ports of a node that kube-proxy has in mode `userspace`: one to listen at for every service port, and the node ports, which
//! it holds open.
//!
//! In: Services, pods and nodes. Out: which ports others have, and warnings where there are not enough left or where a pod listens
//! at one that kube-proxy holds. Kubernetes 1.21, `pkg/proxy/userspace/{proxier,port_allocator}.go`: without
//! `--proxy-port-range` the kernel chooses from `net.ipv4.ip_local_port_range`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use super::{Node, Pod, ProxyMode, Service, ServicePort, Settings};
use crate::addr::{Family, Protocol};
use crate::origin::Diagnostic;

/// Ports of a node that others have.
pub(crate) type Held = BTreeSet<(Protocol, u16)>;

/// The default of `net.ipv4.ip_local_port_range`: its first port.
pub(crate) const FIRST: u16 = 32768;
/// How many there are.
pub(crate) const COUNT: u16 = 28232;

/// The family that a node's kube-proxy serves: that of the node's first address.
pub(crate) fn family_of(node: &Node) -> Family {
    node.addresses.first().map_or(Family::V4, |addr| Family::of(*addr))
}

/// The ports that kube-proxy does not get to listen at: node ports, and what pods of the node have. O(Services + pods).
pub(crate) fn held<'a>(
    services: impl Iterator<Item = &'a Service>,
    pods: impl Iterator<Item = &'a Pod>,
) -> Held {
    let node_ports = services.flat_map(|service| &service.ports);
    let mut held: Held = node_ports.filter_map(|port| Some((port.protocol, port.node_port?))).collect();
    for pod in pods.filter(|pod| !pod.terminal) {
        for port in pod.containers.iter().flat_map(|container| &container.ports) {
            let number = if pod.host_network { Some(port.port) } else { port.host_port };
            held.extend(number.map(|number| (port.protocol, number)));
        }
    }
    held.retain(|(_, number)| (FIRST..FIRST + COUNT).contains(number));
    held
}

/// Whether kube-proxy of a family listens for a port of a Service.
fn is_served(service: &Service, port: &ServicePort, family: Family) -> bool {
    let transport = match port.protocol {
        Protocol::Tcp | Protocol::Udp => true,
        // "SCTP is unsupported for user space" (`proxysocket.go`).
        Protocol::Sctp | Protocol::Icmp => false,
    };
    transport && service.cluster_ips.first().is_some_and(|addr| Family::of(*addr) == family)
}

/// Pods on the host's network that listen at a node port of a Service, which kube-proxy holds open on that node.
pub(super) fn node_port_clashes<'a>(
    settings: &Settings,
    nodes: &[Node],
    pods: &[Pod],
    services: impl Iterator<Item = &'a Service>,
) -> Vec<Diagnostic> {
    let mut log = Vec::new();
    if settings.proxy_mode.value != ProxyMode::Userspace {
        return log;
    }
    let mut owners: BTreeMap<(Protocol, u16), Vec<(&Service, &ServicePort)>> = BTreeMap::new();
    for service in services {
        for port in &service.ports {
            if let Some(number) = port.node_port {
                owners.entry((port.protocol, number)).or_default().push((service, port));
            }
        }
    }
    for pod in pods.iter().filter(|pod| pod.host_network && !pod.terminal) {
        let Some(node) = pod.node.and_then(|node| nodes.get(node as usize)) else { continue };
        let family = family_of(node);
        for port in pod.containers.iter().flat_map(|container| &container.ports) {
            let owners = owners.get(&(port.protocol, port.port)).into_iter().flatten();
            let mut served = owners.filter(|(service, port)| is_served(service, port, family));
            let Some((service, _)) = served.next() else { continue };
            let message = format!(
                "pod {}/{} listens at port {}/{} of node {}, which is a node port of service {}/{}",
                pod.namespace, pod.name, port.port, port.protocol, node.name, service.namespace, service.name
            );
            log.push(
                Diagnostic::warning("node-port-clash", message)
                    .from_origin(&port.origin)
                    .related("it is a node port here", service.origin.location().cloned())
                    .help(
                        "in mode userspace kube-proxy holds node ports open, so that one of the two cannot listen; the rules \
                         are as if kube-proxy had come first",
                    ),
            );
        }
    }
    log
}

/// Nodes on which there are fewer ports than kube-proxy needs. The ports are given in the order of the Services, so the last ones
/// get none.
pub(super) fn missing_proxy_ports<'a>(
    settings: &Settings,
    nodes: &[Node],
    pods: &[Pod],
    services: impl Iterator<Item = &'a Service> + Clone,
) -> Vec<Diagnostic> {
    let mut log = Vec::new();
    if settings.proxy_mode.value != ProxyMode::Userspace {
        return log;
    }
    // Each of these takes at most one port of the range, of every service port its node port one more.
    let service_ports: usize = services.clone().map(|service| service.ports.len()).sum();
    let pod_ports = pods.iter().flat_map(|pod| &pod.containers).map(|container| container.ports.len());
    if service_ports * 2 + pod_ports.sum::<usize>() <= usize::from(COUNT) {
        return log;
    }
    let mut on_node: BTreeMap<u32, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        if let Some(node) = pod.node {
            on_node.entry(node).or_default().push(pod);
        }
    }
    let node_ports = held(services.clone(), core::iter::empty());
    for (place, node) in (0..).zip(nodes) {
        let mut held = held(core::iter::empty(), on_node.get(&place).into_iter().flatten().copied());
        held.extend(&node_ports);
        let family = family_of(node);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let taken = held.iter().filter(|(of, _)| *of == protocol).count();
            let free = usize::from(COUNT) - taken;
            let all =
                services.clone().flat_map(|service| service.ports.iter().map(move |port| (service, port)));
            let wanting =
                all.filter(|(service, port)| port.protocol == protocol && is_served(service, port, family));
            let mut without = wanting.skip(free);
            let Some((service, port)) = without.next() else { continue };
            let message = format!(
                "node {}: kube-proxy finds no free port of {FIRST}-{} for {} service ports, the first of them {}/{} of \
                 service {}/{}",
                node.name,
                FIRST + (COUNT - 1),
                without.count() + 1,
                port.port,
                port.protocol,
                service.namespace,
                service.name
            );
            log.push(Diagnostic::warning("no-proxy-port", message).from_origin(&service.origin).help(
                "in mode userspace every service port needs a port of the node; without one it has no rules",
            ));
        }
    }
    log
}
