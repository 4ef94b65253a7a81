use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::EndpointSlice;
use crate::assume::Assume;
use crate::cluster::{Cluster, InputMode, resolve};
use crate::k8s::Objects;

fn objects(list: &[Value]) -> Arc<Objects> {
    let mut objects = Objects::default();
    list.iter().for_each(|object| objects.put_json(object).expect("a good object"));
    Arc::new(objects)
}

fn cluster(list: &[Value]) -> Cluster {
    resolve(&objects(list), &Assume::default(), Some(InputMode::Snapshot)).0
}

fn pod(name: &str, addr: &str, rest: Value) -> Value {
    let mut pod = json!({
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "a", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": addr, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    merge(&mut pod, rest);
    pod
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn node(name: &str, zone: &str, cpu: &str) -> Value {
    json!({
        "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn service(rest: Value) -> Value {
    let mut service = json!({
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {
            "clusterIP": "10.96.0.10",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    });
    merge(&mut service, rest);
    service
}

fn words(slices: &[EndpointSlice]) -> String {
    let mut text = String::new();
    for slice in slices {
        let ports: Vec<String> = slice
            .ports
            .iter()
            .map(|port| format!("{}:{}/{}", port.name, port.port.unwrap_or_default(), port.protocol))
            .collect();
        text.push_str(&format!("{} {} [{}]\n", slice.name, slice.family, ports.join(" ")));
        for e in &slice.endpoints {
            let flag = |on: bool, word: &str| if on { format!(" {word}") } else { String::new() };
            let hint = |word: &str, to: &[Arc<str>]| match to {
                [] => String::new(),
                _ => format!(" {word}={}", to.join(",")),
            };
            text.push_str(&format!(
                "  {} on {}{}{}{}{}{}{}\n",
                e.addresses[0],
                e.node.as_deref().unwrap_or("-"),
                flag(e.ready, "ready"),
                flag(e.serving, "serving"),
                flag(e.terminating, "terminating"),
                hint("zones", &e.for_zones),
                hint("nodes", &e.for_nodes),
                hint("hostname", &e.hostname.iter().cloned().collect::<Vec<_>>()),
            ));
        }
    }
    text
}

fn check(list: &[Value], expect: Expect) {
    expect.assert_eq(&words(&cluster(list).endpoint_slices(0)));
}

#[test]
fn conditions_say_what_a_pod_is_ready_for() {
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let list = [
        service(json!({})),
        pod("a", "10.0.0.1", json!({})),
        pod("b", "10.0.0.2", not_ready.clone()),
        pod("c", "10.0.0.3", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
        pod("d", "10.0.0.4", json!({"status": {"phase": "Succeeded"}})),
        pod("e", "10.0.0.5", json!({"metadata": {"labels": {"app": "other"}}})),
        pod("f", "", json!({})),
    ];
    check(
        &list,
        expect![[r#"
            web-tlcg5 IPv4 [http:8080/tcp]
              10.0.0.1 on a ready serving
              10.0.0.2 on a
              10.0.0.3 on a serving terminating
        "#]],
    );
    let publish = json!({"spec": {"publishNotReadyAddresses": true}});
    check(
        &[service(publish), pod("b", "10.0.0.2", not_ready)],
        expect![[r#"
            web-tlcg5 IPv4 [http:8080/tcp]
              10.0.0.2 on a ready
        "#]],
    );
}

#[test]
fn pods_with_other_numbers_for_a_named_port_are_in_other_slices() {
    let other =
        json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 9090}]}]}});
    let without = json!({"spec": {"containers": [{"name": "c"}]}});
    let udp = json!({"spec": {"containers": [{"name": "c", "ports": [
        {"name": "http", "containerPort": 53, "protocol": "UDP"},
    ]}]}});
    let sidecar = json!({"spec": {
        "initContainers": [{"name": "s", "restartPolicy": "Always", "ports": [{"name": "http", "containerPort": 15000}]}],
    }});
    check(
        &[
            service(json!({})),
            pod("a", "10.0.0.1", json!({})),
            pod("b", "10.0.0.2", other),
            pod("c", "10.0.0.3", without),
            pod("d", "10.0.0.4", udp),
            pod("e", "10.0.0.5", sidecar),
        ],
        expect![[r#"
            web-tlcg5 IPv4 []
              10.0.0.3 on a ready serving
              10.0.0.4 on a ready serving
            web-4fccm IPv4 [http:8080/tcp]
              10.0.0.1 on a ready serving
              10.0.0.5 on a ready serving
            web-rstlk IPv4 [http:9090/tcp]
              10.0.0.2 on a ready serving
        "#]],
    );
}

#[test]
fn a_slice_holds_a_hundred_endpoints() {
    let mut list = Vec::from([service(json!({}))]);
    list.extend((0..250).map(|i| pod(&format!("p{i:03}"), &format!("10.0.1.{i}"), json!({}))));
    let slices = cluster(&list).endpoint_slices(0);
    assert_eq!(slices.iter().map(|slice| slice.endpoints.len()).collect::<Vec<_>>(), [100, 100, 50]);
    let mut names: Vec<&str> = slices.iter().map(|slice| &*slice.name).collect();
    names.dedup();
    assert_eq!(names.len(), 3);
}

#[test]
fn each_family_of_a_service_has_slices_and_one_without_pods_has_an_empty_one() {
    let dual = json!({"spec": {"clusterIPs": ["10.96.0.10", "fd00:96::a"]}});
    let both = json!({"status": {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}});
    check(
        &[service(dual.clone()), pod("a", "10.0.0.1", both)],
        expect![[r#"
            web-tlcg5 IPv4 [http:8080/tcp]
              10.0.0.1 on a ready serving
            web-m5wsj IPv6 [http:8080/tcp]
              fd00::1 on a ready serving
        "#]],
    );
    check(
        &[service(dual), pod("a", "10.0.0.1", json!({"metadata": {"labels": {"app": "x"}}}))],
        expect![[r#"
            web-tlcg5 IPv4 []
            web-m5wsj IPv6 []
        "#]],
    );
}

#[test]
fn a_pod_has_a_name_below_the_service_that_is_its_subdomain() {
    let named = |subdomain: &str| json!({"spec": {"hostname": "db-0", "subdomain": subdomain}});
    check(
        &[service(json!({})), pod("a", "10.0.0.1", named("web")), pod("b", "10.0.0.2", named("other"))],
        expect![[r#"
            web-tlcg5 IPv4 [http:8080/tcp]
              10.0.0.1 on a ready serving hostname=db-0
              10.0.0.2 on a ready serving
        "#]],
    );
}

#[test]
fn slices_of_the_input_are_used_as_given() {
    let slice = json!({
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 81}, {"name": "odd", "port": 1, "protocol": "QUIC"}],
        "endpoints": [
            {"addresses": ["10.9.0.01"], "nodeName": "z", "hints": {"forZones": [{"name": "q"}]}},
            {"addresses": ["x"]},
            {"addresses": ["10.9.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        ],
    });
    check(
        &[service(json!({})), pod("a", "10.0.0.1", json!({})), slice],
        expect![[r#"
            web-1 IPv4 [http:81/tcp]
              10.9.0.1 on z ready serving zones=q
              10.9.0.2 on - serving terminating
        "#]],
    );
}

#[test]
fn endpoints_are_mirrored_where_nothing_selects_pods() {
    let endpoints = |labels: Value| {
        json!({
            "kind": "Endpoints",
            "metadata": {"name": "web", "labels": labels},
            "subsets": [{
                "addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
                "notReadyAddresses": [{"ip": "192.0.2.2", "nodeName": "b"}],
                "ports": [{"name": "http", "port": 443}],
            }],
        })
    };
    let plain = service(json!({"spec": {"selector": Value::Null}}));
    check(
        &[plain.clone(), endpoints(json!({}))],
        expect![[r#"
            web-j9vmd IPv4 [http:443/tcp]
              192.0.2.1 on - ready serving
              192.0.2.2 on b
            web-j7bl7 IPv6 [http:443/tcp]
              2001:db8::1 on - ready serving
        "#]],
    );
    check(&[plain, endpoints(json!({"endpointslice.kubernetes.io/skip-mirror": "true"}))], expect![""]);
}

#[test]
fn traffic_distribution_hints_at_the_own_zone_and_node() {
    let on = |name: &str, addr: &str, node: &str| pod(name, addr, json!({"spec": {"nodeName": node}}));
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let near = |how: &str| {
        [
            service(json!({"spec": {"trafficDistribution": how}})),
            node("a", "east", "1"),
            node("b", "west", "1"),
            on("p", "10.0.0.1", "a"),
            on("q", "10.0.0.2", "b"),
            pod("r", "10.0.0.3", not_ready.clone()),
        ]
    };
    check(
        &near("PreferClose"),
        expect![[r#"
            web-tlcg5 IPv4 [http:8080/tcp]
              10.0.0.1 on a ready serving zones=east
              10.0.0.2 on b ready serving zones=west
              10.0.0.3 on a
        "#]],
    );
    let slices = |how: &str| cluster(&near(how)).endpoint_slices(0);
    assert_eq!(slices("PreferClose"), slices("PreferSameZone"));
    check(
        &near("PreferSameNode"),
        expect![[r#"
            web-tlcg5 IPv4 [http:8080/tcp]
              10.0.0.1 on a ready serving zones=east nodes=a
              10.0.0.2 on b ready serving zones=west nodes=b
              10.0.0.3 on a
        "#]],
    );
}

#[test]
fn topology_mode_auto_gives_zones_endpoints_by_their_cpus() {
    let auto = json!({"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}});
    let world = |cpus: [&str; 2], pods: usize| {
        let mut list =
            Vec::from([service(auto.clone()), node("a", "east", cpus[0]), node("b", "west", cpus[1])]);
        list.extend((0..pods).map(|i| {
            let node = if i < 2 { "a" } else { "b" };
            pod(&format!("p{i}"), &format!("10.0.0.{i}"), json!({"spec": {"nodeName": node}}))
        }));
        list
    };
    // Two of six are in the zone with half of the CPUs: one more is hinted to it.
    check(
        &world(["4", "4000m"], 6),
        expect![[r#"
            web-tlcg5 IPv4 [http:8080/tcp]
              10.0.0.0 on a ready serving zones=east
              10.0.0.1 on a ready serving zones=east
              10.0.0.2 on b ready serving zones=east
              10.0.0.3 on b ready serving zones=west
              10.0.0.4 on b ready serving zones=west
              10.0.0.5 on b ready serving zones=west
        "#]],
    );
    let hinted = |list: &[Value]| {
        cluster(list).endpoint_slices(0).iter().flat_map(|s| &s.endpoints).any(|e| !e.for_zones.is_empty())
    };
    assert!(!hinted(&world(["4", "4"], 1)), "fewer endpoints than zones");
    assert!(!hinted(&world(["4", "0"], 6)), "a node does not say its CPUs");
    assert!(!hinted(&world(["4", "4"], 3)), "each zone needs two of three, or one is overloaded");
    assert!(hinted(&world(["8", "2"], 3)), "two and one are enough");
}

#[test]
fn a_slice_that_contradicts_its_pods_is_told() {
    let endpoint = |addr: &str, pod: &str, ready: bool| {
        json!({
            "addresses": [addr], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": pod},
        })
    };
    let slice = json!({
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [
            endpoint("10.0.0.1", "good", true),
            endpoint("10.0.0.2", "gone", true),
            endpoint("10.0.0.3", "good", true),
            endpoint("10.0.0.4", "sick", true),
            endpoint("10.0.0.4", "sick", false),
            endpoint("10.0.0.5", "going", true),
        ],
    });
    let list = [
        service(json!({})),
        slice,
        pod("good", "10.0.0.1", json!({})),
        pod("sick", "10.0.0.4", json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}})),
        pod("going", "10.0.0.5", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
    ];
    let (_, log) = resolve(&objects(&list), &Assume::default(), Some(InputMode::Snapshot));
    let told: Vec<&str> = log.iter().filter(|d| d.code == "stale-endpoint").map(|d| &*d.message).collect();
    expect![[r#"
        endpointslice default/web-1: 10.0.0.2 is of pod default/gone, which does not exist
        endpointslice default/web-1: 10.0.0.3 is not an address of its pod default/good, which has 10.0.0.1
        endpointslice default/web-1: 10.0.0.4 is ready, but its pod default/sick is not
        endpointslice default/web-1: 10.0.0.5 is ready, but its pod default/going is being deleted"#]]
    .assert_eq(&told.join("\n"));
}
