mod addresses;
mod change;
mod contradictions;
mod load_balancer;
mod objects;
mod played;
mod proxy_ports;
mod settings;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::{Container, ContainerPort, Node, Pod};
use crate::addr::Protocol;
use crate::origin::{ObjectRef, Origin};

fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A node of the input that states these ranges.
fn node(name: &str, pod_cidrs: &[&str]) -> Node {
    Node {
        name: name.into(),
        addresses: Vec::new(),
        external_addresses: Vec::new(),
        pod_cidrs: pod_cidrs.iter().map(|n| net(n)).collect(),
        labels: Vec::new(),
        taints: Vec::new(),
        origin: Origin::object(ObjectRef::cluster("Node", name)),
    }
}

/// A running pod `default/NAME`.
fn pod(name: &str, node: Option<u32>, addresses: &[&str]) -> Pod {
    Pod {
        namespace: "default".into(),
        name: name.into(),
        labels: Vec::new(),
        node,
        addresses: addresses.iter().map(|a| ip(a)).collect(),
        hostname: None,
        subdomain: None,
        host_network: false,
        terminal: false,
        ready: true,
        terminating: false,
        containers: Vec::new(),
        owners: Vec::new(),
        origin: Origin::object(ObjectRef::namespaced("Pod", "default", name)),
    }
}

fn container(name: &str, ports: &[(u16, Protocol)]) -> Container {
    let port = |(port, protocol): &(u16, Protocol)| ContainerPort {
        name: None,
        port: *port,
        protocol: *protocol,
        host_port: None,
        host_ip: None,
        origin: Origin::implied("test"),
    };
    Container { name: Arc::from(name), ports: ports.iter().map(port).collect(), probes: Vec::new() }
}
