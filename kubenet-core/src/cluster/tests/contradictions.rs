use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use expect_test::{Expect, expect};

use super::{container, ip, net, node, pod};
use crate::addr::Protocol::{Tcp, Udp};
use crate::cluster::check::contradictions;
use crate::cluster::{Cni, InputMode, Node, Pod, Service, Setting, Settings};
use crate::origin::{ObjectRef, Origin};

fn check_all(mode: InputMode, settings: &Settings, nodes: &[Node], pods: &[Pod], expect: Expect) {
    let service = Service {
        namespace: "default".into(),
        name: "api".into(),
        cluster_ips: alloc::vec![ip("10.96.0.10")],
        selector: Vec::new(),
        ports: Vec::new(),
        load_balancer: None,
        origin: Origin::object(ObjectRef::namespaced("Service", "default", "api")),
    };
    let log = contradictions(mode, settings, nodes, pods, &[Arc::new(service)]);
    let lines: String = log.iter().map(|d| format!("{d}\n")).collect();
    expect.assert_eq(&lines);
}

fn check(nodes: &[Node], pods: &[Pod], expect: Expect) {
    check_all(InputMode::Manifests, &Settings::default(), nodes, pods, expect);
}

#[test]
fn one_address_has_one_holder_but_for_host_network_and_ended_pods() {
    let mut n = node("n1", &["10.244.1.0/24"]);
    n.addresses.push(ip("172.18.0.2"));
    let mut host = pod("host", Some(0), &["172.18.0.2"]);
    host.host_network = true;
    let mut done = pod("done", Some(0), &["10.244.1.5"]);
    done.terminal = true;
    let pods = [
        pod("a", Some(0), &["10.244.1.5"]),
        pod("b", Some(0), &["10.244.1.5"]),
        done,
        host,
        pod("vip", None, &["10.96.0.10"]),
    ];
    check(
        &[n],
        &pods,
        expect![[r#"
        warning[duplicate-address]: pod default/b has 10.244.1.5, which pod default/a has too
        warning[duplicate-address]: service default/api has 10.96.0.10, which pod default/vip has too
    "#]],
    );
}

#[test]
fn node_ranges_that_overlap_are_told_once_each() {
    let nodes = [
        node("a", &["10.244.0.0/23"]),
        node("b", &["10.244.1.0/24"]),
        node("c", &["10.244.2.0/24", "fd00::/64"]),
        node("d", &["10.244.1.0/25"]),
    ];
    check(
        &nodes,
        &[],
        expect![[r#"
        warning[overlapping-ranges]: node b: pod range 10.244.1.0/24 overlaps 10.244.0.0/23 of node a
        warning[overlapping-ranges]: node d: pod range 10.244.1.0/25 overlaps 10.244.0.0/23 of node a
    "#]],
    );
}

#[test]
fn ranges_that_somebody_named_must_be_apart() {
    let settings =
        Settings { service_cidr: Setting::given(alloc::vec![net("10.244.128.0/17")]), ..Settings::default() };
    check_all(
        InputMode::Manifests,
        &settings,
        &[],
        &[],
        expect![[r#"
        warning[overlapping-ranges]: clusterCidr 10.244.0.0/16 overlaps serviceCidr 10.244.128.0/17
    "#]],
    );
    let settings =
        Settings { cluster_cidr: Setting::given(alloc::vec![net("10.0.0.0/16")]), ..Settings::default() };
    check_all(
        InputMode::Manifests,
        &settings,
        &[node("a", &["10.244.0.0/24"])],
        &[],
        expect![[r#"
        warning[range-outside-cluster]: node a: pod range 10.244.0.0/24 is outside of the cluster's 10.0.0.0/16
    "#]],
    );
}

#[test]
fn a_pod_outside_of_its_nodes_range_is_wrong_only_where_the_range_is_used() {
    let nodes = [node("n1", &["10.244.1.0/24"])];
    let pods = [pod("inside", Some(0), &["10.244.1.5"]), pod("outside", Some(0), &["10.244.2.5"])];
    let manifests = InputMode::Manifests;
    check_all(
        manifests,
        &Settings::default(),
        &nodes,
        &pods,
        expect![[r#"
        warning[pod-outside-node-range]: pod default/outside has 10.244.2.5, outside of 10.244.1.0/24 of its node n1, from which bridge gives addresses
    "#]],
    );
    check_all(InputMode::Snapshot, &Settings::default(), &nodes, &pods, expect![[r#""#]]);
    let flannel = Settings {
        cni: Setting::detected(Cni::Flannel, "a DaemonSet", Origin::implied("test")),
        ..Settings::default()
    };
    check_all(
        InputMode::Snapshot,
        &flannel,
        &nodes,
        &pods,
        expect![[r#"
        warning[pod-outside-node-range]: pod default/outside has 10.244.2.5, outside of 10.244.1.0/24 of its node n1, from which flannel gives addresses
    "#]],
    );
    let calico = Settings { cni: Setting::given(Cni::Other("calico".into())), ..Settings::default() };
    check_all(manifests, &calico, &nodes, &pods, expect![[r#""#]]);
}

#[test]
fn dual_stack_pods_have_both_families() {
    let both = alloc::vec![net("10.244.0.0/16"), net("fd00::/56")];
    let settings = Settings { cluster_cidr: Setting::given(both), ..Settings::default() };
    let pods = [
        pod("both", None, &["10.244.1.5", "fd00::5"]),
        pod("four", None, &["10.244.1.6"]),
        pod("none", None, &[]),
    ];
    check_all(
        InputMode::Snapshot,
        &settings,
        &[],
        &pods,
        expect![[r#"
        warning[missing-family]: pod default/four has no IPv6 address, but the cluster has fd00::/56
    "#]],
    );
}

#[test]
fn containers_of_a_pod_share_its_ports() {
    let mut p = pod("p", None, &[]);
    p.containers = alloc::vec![
        container("web", &[(80, Tcp), (53, Udp)]),
        container("dns", &[(53, Tcp), (53, Udp)]),
        container("side", &[(80, Tcp), (80, Tcp)]),
    ];
    check(
        &[],
        &[p],
        expect![[r#"
        warning[port-clash]: pod default/p: containers web and dns both bind 53/udp
        warning[port-clash]: pod default/p: containers web and side both bind 80/tcp
    "#]],
    );
}

#[test]
fn ten_are_told_and_the_rest_counted() {
    let pods: Vec<Pod> = (0..14).map(|i| pod(&format!("p{i:02}"), None, &["10.244.1.5"])).collect();
    let log = contradictions(InputMode::Manifests, &Settings::default(), &[], &pods, &[]);
    assert_eq!(log.len(), 11);
    assert_eq!(log[10].message, "3 more of duplicate-address");
}
