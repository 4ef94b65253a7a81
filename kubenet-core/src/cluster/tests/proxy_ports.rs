use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use expect_test::{Expect, expect};

use super::{container, ip, node, pod};
use crate::addr::Protocol;
use crate::addr::Protocol::{Sctp, Tcp, Udp};
use crate::cluster::proxy_ports::{COUNT, missing_proxy_ports, node_port_clashes};
use crate::cluster::{Node, Pod, ProxyMode, Service, ServicePort, Setting, Settings, TargetPort};
use crate::origin::{Diagnostic, ObjectRef, Origin};

fn settings(mode: ProxyMode) -> Settings {
    Settings { proxy_mode: Setting::given(mode), ..Settings::default() }
}

fn nodes() -> [Node; 2] {
    ["n1", "n2"].map(|name| Node { addresses: Vec::from([ip("172.18.0.2")]), ..node(name, &[]) })
}

fn host_pod(name: &str, node: u32, ports: &[(u16, Protocol)]) -> Pod {
    let containers = Vec::from([container("main", ports)]);
    Pod { host_network: true, containers, ..pod(name, Some(node), &[]) }
}

/// `default/NAME` with one port, and its node port.
fn service(name: &str, cluster_ip: &str, protocol: Protocol, node_port: Option<u16>) -> Service {
    let target = TargetPort::Number(8080);
    Service {
        namespace: "default".into(),
        name: name.into(),
        cluster_ips: Vec::from([ip(cluster_ip)]),
        selector: Vec::new(),
        ports: Vec::from([ServicePort { name: None, port: 80, protocol, target, node_port }]),
        load_balancer: None,
        origin: Origin::object(ObjectRef::namespaced("Service", "default", name)),
    }
}

fn check(log: &[Diagnostic], expect: Expect) {
    let lines: String = log.iter().map(|told| format!("{told}\n")).collect();
    expect.assert_eq(&lines);
}

#[test]
fn a_pod_of_the_host_network_at_a_node_port_is_in_the_way_of_kube_proxy_that_holds_it() {
    let services = [
        service("web", "10.96.0.1", Tcp, Some(30080)),
        service("six", "fd00::1", Tcp, Some(30081)),
        service("sctp", "10.96.0.3", Sctp, Some(30082)),
        service("inside", "10.96.0.4", Udp, None),
    ];
    let pods = [
        host_pod("same", 0, &[(30080, Tcp)]),
        host_pod("same-elsewhere", 1, &[(30080, Tcp)]),
        host_pod("another-transport", 0, &[(30080, Udp)]),
        host_pod("another-family", 0, &[(30081, Tcp)]),
        host_pod("not-served", 0, &[(30082, Sctp)]),
        Pod { terminal: true, ..host_pod("ended", 0, &[(30080, Tcp)]) },
        Pod { host_network: false, ..host_pod("own-address", 0, &[(30080, Tcp)]) },
    ];
    let told = |mode| node_port_clashes(&settings(mode), &nodes(), &pods, services.iter());
    check(
        &told(ProxyMode::Userspace),
        expect![[r#"
        warning[node-port-clash]: pod default/same listens at port 30080/tcp of node n1, which is a node port of service default/web
        warning[node-port-clash]: pod default/same-elsewhere listens at port 30080/tcp of node n2, which is a node port of service default/web
    "#]],
    );
    for mode in [ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs] {
        check(&told(mode), expect![[""]]);
    }
}

#[test]
fn service_ports_without_a_port_of_the_node_are_counted() {
    let mut services: Vec<Service> =
        (0..COUNT).map(|n| service(&format!("s{n:05}"), "10.96.0.1", Tcp, None)).collect();
    services.push(service("udp", "10.96.0.1", Udp, None));
    services.push(service("six", "fd00::1", Tcp, None));
    let told = |services: &[Service], pods: &[Pod]| {
        missing_proxy_ports(&settings(ProxyMode::Userspace), &nodes(), pods, services.iter())
    };
    // There is one for each.
    check(&told(&services, &[host_pod("low", 0, &[(80, Tcp)])]), expect![[""]]);
    // Two of them are a pod's on one node.
    let pods = [host_pod("agent", 1, &[(40000, Tcp), (40001, Tcp), (40000, Udp)])];
    check(
        &told(&services, &pods),
        expect![[r#"
        warning[no-proxy-port]: node n2: kube-proxy finds no free port of 32768-60999 for 2 service ports, the first of them 80/tcp of service default/s28230
    "#]],
    );
    // A node port is nobody's on any node.
    services.insert(0, service("a", "10.96.0.1", Udp, Some(40001)));
    services.insert(0, service("b", "10.96.0.1", Tcp, Some(40001)));
    check(
        &told(&services, &pods),
        expect![[r#"
        warning[no-proxy-port]: node n1: kube-proxy finds no free port of 32768-60999 for 2 service ports, the first of them 80/tcp of service default/s28230
        warning[no-proxy-port]: node n2: kube-proxy finds no free port of 32768-60999 for 3 service ports, the first of them 80/tcp of service default/s28229
    "#]],
    );
    let iptables = settings(ProxyMode::Iptables);
    check(&missing_proxy_ports(&iptables, &nodes(), &pods, services.iter()), expect![[""]]);
}
