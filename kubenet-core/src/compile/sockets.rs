//! Who listens where: ports that are declared, probed or a Service's target, and what the user says.
//!
//! A process behind such a port is an assumption, and its origin says which. Any other port of a pod is left open
//! ([`Undeclared::Unsaid`](crate::plan::Undeclared)). Pods on the host's network listen in the node's namespace.

use alloc::vec::Vec;

use super::pod;
use crate::cluster::{Cluster, Pod, PodPort, ProxyMode, TargetPort};
use crate::origin::Origin;
use crate::plan::{MachinePlan, Netns, Process, Protocol, Socket, SocketState};

/// Adds the sockets of all pods of a node.
pub(super) fn add(cluster: &Cluster, node: u32, plan: &mut MachinePlan) {
    let pods = cluster.pods_on_node.get(node as usize).map_or(&[][..], Vec::as_slice);
    let mut own = 0;
    if let Some(host) = plan.netns.first_mut() {
        add_health_checks(cluster, node, host);
    }
    for place in pods {
        let Some(one) = cluster.pods.get(*place as usize) else { continue };
        let netns = if pod::has_netns(one) {
            own += 1;
            own
        } else if one.host_network && !one.terminal {
            0
        } else {
            continue;
        };
        if let Some(netns) = plan.netns.get_mut(netns) {
            netns.sockets.extend(of_pod(cluster, *place, one));
            netns.sockets.sort_by_key(|socket| (socket.protocol, socket.port));
        }
    }
}

/// kube-proxy's health checks for load balancers: a node answers 200 for a Service that has an endpoint of its own that is ready,
/// else 503 (`pkg/proxy/healthcheck/service_health.go`, v1.36). Endpoints that terminate do not count. O(endpoints of the
/// Services with such a port). In mode `userspace` nobody listens there.
fn add_health_checks(cluster: &Cluster, node: u32, host: &mut Netns) {
    let Some(own) = cluster.nodes.get(node as usize) else { return };
    let state = match cluster.settings.proxy_mode.value {
        ProxyMode::Iptables | ProxyMode::Nftables | ProxyMode::Ipvs => SocketState::Listen,
        ProxyMode::Userspace => SocketState::Closed,
    };
    for place in cluster.services_with_load_balancer().iter().copied() {
        let Some(service) = cluster.services.get(place as usize) else { continue };
        let Some(port) = service.load_balancer.as_ref().and_then(|balancer| balancer.health_check_node_port)
        else {
            continue;
        };
        let slices = cluster.endpoint_slices(place);
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        let here = endpoints.into_iter().any(|endpoint| {
            endpoint.ready && !endpoint.terminating && endpoint.node.as_deref() == Some(&*own.name)
        });
        host.sockets.push(Socket {
            protocol: Protocol::Tcp,
            addr: None,
            dev: None,
            port,
            state,
            process: Process::Http { status: if here { 200 } else { 503 } },
            origin: service.origin.with_field("spec.healthCheckNodePort"),
        });
    }
    host.sockets.sort_by_key(|socket| (socket.protocol, socket.port));
}

/// The sockets of one pod, each port once: what the user says first, then declared ports, probes, targets of Services.
fn of_pod(cluster: &Cluster, place: u32, one: &Pod) -> Vec<Socket> {
    let mut sockets: Vec<Socket> = Vec::new();
    let mut add = |protocol, port, state, process, origin: Origin| {
        if !sockets.iter().any(|s| s.protocol == protocol && s.port == port) {
            sockets.push(Socket { protocol, addr: None, dev: None, port, state, process, origin });
        }
    };
    let said = |ports: &[PodPort]| {
        let first = ports.partition_point(|port| port.pod < place);
        ports.iter().skip(first).take_while(|port| port.pod == place).copied().collect::<Vec<_>>()
    };
    for port in said(&cluster.closed) {
        add(port.protocol, port.port, SocketState::Closed, Process::Echo, Origin::assumption("closed"));
    }
    for port in said(&cluster.listeners) {
        add(port.protocol, port.port, SocketState::Listen, Process::Echo, Origin::assumption("listeners"));
    }
    let probes: Vec<(u16, bool)> = one.containers.iter().flat_map(|c| c.probes.iter().copied()).collect();
    for port in one.containers.iter().flat_map(|c| &c.ports) {
        let http = port.protocol == Protocol::Tcp && probes.contains(&(port.port, true));
        let process = if http { Process::Http { status: 200 } } else { Process::Echo };
        add(port.protocol, port.port, SocketState::Listen, process, port.origin.clone());
    }
    for (port, http) in probes {
        let process = if http { Process::Http { status: 200 } } else { Process::Echo };
        add(
            Protocol::Tcp,
            port,
            SocketState::Listen,
            process,
            one.origin.with_field("spec.containers probe"),
        );
    }
    for service in cluster.services_selecting(one) {
        let Some(service) = cluster.services.get(service as usize) else { continue };
        for port in &service.ports {
            // A target by name is a declared port, and there already.
            if let TargetPort::Number(number) = port.target {
                let origin = service.origin.with_field("spec.ports targetPort");
                add(port.protocol, number, SocketState::Listen, Process::Echo, origin);
            }
        }
    }
    sockets
}
