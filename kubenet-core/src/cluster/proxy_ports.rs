//! The ports of a node that kube-proxy has in mode `userspace`: one to listen at for every service port, and the node ports, which
//! it holds open.
//!
//! In: Services, pods and nodes. Out: which ports others have, and warnings where there are not enough left or where a pod listens
//! at one that kube-proxy holds; and the port that is made up for each service port. Kubernetes 1.21, `pkg/proxy/userspace/{proxier,port_allocator}.go`: without
//! `--proxy-port-range` the kernel chooses from `net.ipv4.ip_local_port_range`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::{Cluster, Node, Pod, ProxyMode, Service, ServicePort, Settings};
use crate::addr::{Family, Protocol};
use crate::identity::identity;
use crate::origin::Diagnostic;

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

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

/// The ports of a node at which kube-proxy listens, each for one service port.
///
/// kube-proxy leaves the choice to the kernel, which takes any free port of `net.ipv4.ip_local_port_range`; here it is made up from
/// the service port's identity, in that range's default: the hash of its namespace, name, port name and transport, and where that
/// port is taken the next free one, in the order of the Services. So one Service that comes or goes moves no other, but for those
/// that wanted the same port. When there is no free port left, a service port gets none.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyPorts {
    /// By the Service's place, and the port's place in it.
    numbers: Map<(u32, u32), u16>,
    owners: Map<(Protocol, u16), u32>,
    held: Held,
}

impl ProxyPorts {
    /// With the ports that others hold, and room for so many of its own.
    pub(crate) fn new(held: Held, count: usize) -> Self {
        let mut all = Self { held, ..Self::default() };
        all.numbers.reserve(count);
        all.owners.reserve(count);
        all
    }

    /// Those for Services whose first address is of the family. O(service ports).
    pub(crate) fn of_services(services: &[Arc<Service>], family: Family, held: Held) -> Self {
        let mut all = Self::new(held, services.len());
        for (place, service) in (0..).zip(services) {
            if service.cluster_ips.first().is_none_or(|addr| Family::of(*addr) != family) {
                continue;
            }
            for (at, port) in (0..).zip(&service.ports) {
                let name = port.name.as_deref().unwrap_or_default();
                all.give((place, at), [&service.namespace, &service.name, name], port.protocol);
            }
        }
        all
    }

    /// Gives one to a port of a Service, by the places of both.
    pub(crate) fn give(
        &mut self,
        owner: (u32, u32),
        [namespace, name, port_name]: [&str; 3],
        protocol: Protocol,
    ) {
        match protocol {
            Protocol::Tcp | Protocol::Udp => {}
            // "SCTP is unsupported for user space" (`proxysocket.go`).
            Protocol::Sctp | Protocol::Icmp => return,
        }
        let wanted = identity(&["proxyPort", namespace, name, port_name, protocol.as_str()]);
        let wanted = (wanted % u64::from(COUNT)) as u16;
        let is_free = |number: &u16| {
            let at = (protocol, *number);
            !self.owners.contains_key(&at) && !self.held.contains(&at)
        };
        let found = (wanted..COUNT).chain(0..wanted).map(|step| FIRST + step).find(is_free);
        if let Some(number) = found {
            self.owners.insert((protocol, number), owner.0);
            self.numbers.insert(owner, number);
        }
    }

    /// The number of a port of a Service, by the places of both.
    pub(crate) fn number(&self, service: u32, port: u32) -> Option<u16> {
        self.numbers.get(&(service, port)).copied()
    }

    /// The Service that kube-proxy listens for at a port of the node, by its place.
    pub(crate) fn owner(&self, protocol: Protocol, number: u16) -> Option<u32> {
        self.owners.get(&(protocol, number)).copied()
    }
}

/// What every node has in common in mode `userspace`: the ports that nobody but Services holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    v4: Arc<ProxyPorts>,
    v6: Arc<ProxyPorts>,
}

impl Common {
    /// O(service ports).
    pub(super) fn new(services: &[Arc<Service>]) -> Self {
        let held = held(services.iter().map(|service| &**service), core::iter::empty());
        let of = |family| Arc::new(ProxyPorts::of_services(services, family, held.clone()));
        Self { v4: of(Family::V4), v6: of(Family::V6) }
    }
}

impl Cluster {
    /// The ports of a node's kube-proxy in mode `userspace`. O(pods of the node + node ports in the range) where no pod
    /// holds a port of the range, else O(service ports).
    pub(crate) fn proxy_ports(&self, node: u32, family: Family) -> Arc<ProxyPorts> {
        let common = match family {
            Family::V4 => &self.index.proxy_ports.v4,
            Family::V6 => &self.index.proxy_ports.v6,
        };
        let held = self.held_ports(node);
        if held.len() == common.held.len() {
            return common.clone();
        }
        Arc::new(ProxyPorts::of_services(&self.services, family, held))
    }

    /// The ports of a node that kube-proxy does not get in mode `userspace`. O(pods of the node + node ports in the range).
    pub(crate) fn held_ports(&self, node: u32) -> Held {
        let mut all = held(core::iter::empty(), self.pods_of(node));
        all.extend(&self.index.proxy_ports.v4.held);
        all
    }

    fn pods_of(&self, node: u32) -> impl Iterator<Item = &Pod> {
        let places = self.pods_on_node.get(node as usize).into_iter().flatten();
        places.filter_map(|place| self.pods.get(*place as usize)).map(|pod| &**pod)
    }
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
