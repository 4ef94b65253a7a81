//! From Kubernetes objects to a cluster, through the public door.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::played::show;
use crate::assume::Assume;
use crate::cluster::{Cluster, InputMode, resolve};
use crate::k8s::{ObjectChange, Objects};
use crate::origin::{Diagnostic, ObjectRef};

fn objects(values: &[Value]) -> Objects {
    let mut objects = Objects::default();
    for value in values {
        objects.put_json(value).unwrap_or_else(|e| panic!("{e}"));
    }
    objects
}

fn run(values: &[Value], assume: &str) -> (Cluster, Vec<Diagnostic>) {
    let assume: Assume = serde_json::from_str(assume).unwrap();
    resolve(&Arc::new(objects(values)), &assume, None)
}

fn check(values: &[Value], assume: &str, expect: Expect) {
    let (cluster, log) = run(values, assume);
    expect.assert_eq(&show(&cluster, &log));
}

fn deployment(name: &str, replicas: Value) -> Value {
    json!({"kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas, "template": {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}]},
    }}})
}

#[test]
fn manifests_become_a_running_cluster() {
    let values = [
        deployment("web", json!(2)),
        deployment("one", Value::Null),
        deployment("none", json!(0)),
        json!({"kind": "Service", "metadata": {"name": "web"}, "spec": {"type": "NodePort", "ports": [
            {"name": "http", "port": 80, "targetPort": "http"},
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]}}),
        json!({"kind": "Service", "metadata": {"name": "db"}, "spec": {"clusterIP": "None", "ports": [{"port": 5432}]}}),
        json!({"kind": "Service", "metadata": {"name": "ext"}, "spec": {"type": "ExternalName", "externalName": "x.org"}}),
        json!({"kind": "Job", "metadata": {"name": "paused"}, "spec": {"suspend": true, "template": {}}}),
        json!({"kind": "Job", "metadata": {"name": "wide", "namespace": "shop"},
            "spec": {"parallelism": 5, "completions": 2, "completionMode": "Indexed", "template": {}}}),
    ];
    check(
        &values,
        "{}",
        expect![[r#"
        node-1 [172.18.0.2] pods [10.244.0.0/24]
        node-2 [172.18.0.3] pods [10.244.1.0/24]
        default/one-5957d6c5f7-b8nkj on node-2 [10.244.1.49]
        default/web-7d46f85c8d-5jqvv on node-2 [10.244.1.12]
        default/web-7d46f85c8d-6qrrz on node-1 [10.244.0.103]
        shop/wide-0-dtjbt on node-1 [10.244.0.174]
        shop/wide-1-hzts2 on node-2 [10.244.1.143]
        service db [] 5432:-
        service ext [] 
        service web [10.106.214.80] 80:30631 53:30632 53:30632
    "#]],
    );
}

#[test]
fn nodes_of_the_input_are_used_with_their_taints_and_ranges() {
    let values = [
        json!({"kind": "Node", "metadata": {"name": "cp"}, "spec": {"podCIDR": "10.244.0.0/24",
            "taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]},
            "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}, {"type": "Hostname", "address": "cp"}]}}),
        json!({"kind": "Node", "metadata": {"name": "w1", "labels": {"disk": "ssd"}}}),
        json!({"kind": "Node", "metadata": {"name": "w2"}, "spec": {"unschedulable": true}}),
        deployment("web", json!(2)),
        json!({"kind": "DaemonSet", "metadata": {"name": "proxy", "namespace": "kube-system"}, "spec": {"template": {
            "spec": {"hostNetwork": true, "tolerations": [{"operator": "Exists"}]}}}}),
        json!({"kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "kube-system"}, "spec": {"template": {}}}),
        json!({"kind": "Pod", "metadata": {"name": "fast"}, "spec": {"nodeSelector": {"disk": "ssd"}}}),
    ];
    check(
        &values,
        "{}",
        expect![[r#"
        cp [172.18.0.2] pods [10.244.0.0/24]
        w1 [172.18.221.105] pods [10.244.3.0/24]
        w2 [172.18.106.132] pods [10.244.220.0/24]
        default/fast on w1 [10.244.3.121]
        default/web-7d46f85c8d-5jqvv on w1 [10.244.3.12]
        default/web-7d46f85c8d-6qrrz on w1 [10.244.3.103]
        kube-system/agent-htt86 on w2 [10.244.220.254]
        kube-system/agent-vhb8k on w1 [10.244.3.10]
        kube-system/proxy-79724 on w1 [172.18.221.105]
        kube-system/proxy-c28xf on w2 [172.18.106.132]
        kube-system/proxy-st29n on cp [172.18.0.2]
    "#]],
    );
}

#[test]
fn a_snapshot_states_everything_and_terminal_pods_hold_nothing() {
    let pod = |name: &str, status: Value| json!({"kind": "Pod", "metadata": {"name": name, "uid": name}, "spec": {"nodeName": "w1"}, "status": status});
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let values = [
        pod(
            "a",
            json!({"phase": "Running", "podIP": "10.1.0.5", "hostIP": "192.168.0.9", "conditions": ready}),
        ),
        pod("b", json!({"phase": "Succeeded", "podIP": "10.1.0.5"})),
        pod(
            "c",
            json!({"phase": "Running", "podIPs": [{"ip": "10.1.0.6"}, {"ip": "fd00::6"}], "podIP": "10.1.0.6"}),
        ),
        pod("d", json!({"phase": "Pending"})),
        deployment("web", json!(3)),
    ];
    check(
        &values,
        "{}",
        expect![[r#"
        w1 [192.168.0.9] pods []
        default/a on w1 [10.1.0.5]
        default/b on w1 []
        default/c on w1 [10.1.0.6 fd00::6]
        default/d on w1 []
    "#]],
    );
    let (cluster, _) = run(&values, "{}");
    let states: Vec<String> = cluster
        .pods
        .iter()
        .map(|p| format!("{} ready {} terminal {}", p.name, p.ready, p.terminal))
        .collect();
    expect![[r#"
        [
            "a ready true terminal false",
            "b ready false terminal true",
            "c ready true terminal false",
            "d ready false terminal false",
        ]
    "#]]
    .assert_debug_eq(&states);
}

#[test]
fn the_mode_can_be_said() {
    let values = [json!({"kind": "Pod", "metadata": {"name": "a", "uid": "1"}}), deployment("web", json!(1))];
    let objects = Arc::new(objects(&values));
    let count = |mode| resolve(&objects, &Assume::default(), mode).0.pods.len();
    assert_eq!([count(None), count(Some(InputMode::Manifests)), count(Some(InputMode::Snapshot))], [1, 2, 1]);
}

#[test]
fn values_that_cannot_be_read_cost_only_themselves() {
    let values = [
        json!({"kind": "Node", "metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.244.0.0/33"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "host.local"}]}}),
        json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "ports": [
            {"containerPort": 80, "protocol": "tcp"}, {"containerPort": 81}]}]}, "status": {"podIP": "10.0.0.256"}}),
    ];
    let (cluster, log) = run(&values, "{}");
    assert_eq!(cluster.pods[0].containers[0].ports.len(), 1);
    let lines: String =
        log.iter().map(|d| format!("{d} ({})\n", d.field.as_deref().unwrap_or("-"))).collect();
    expect![[r#"
        warning[unreadable-value]: Node n: 'host.local' is not an address (status.addresses)
        warning[unreadable-value]: Node n: '10.244.0.0/33' is not a range (spec.podCIDRs)
        warning[unreadable-value]: Pod default/p: 'tcp' is not a protocol; Kubernetes knows TCP, UDP and SCTP (spec.containers[0].ports[0])
        warning[unreadable-value]: Pod default/p: '10.0.0.256' is not an address (status.podIPs)
    "#]].assert_eq(&lines);
}

#[test]
fn probes_and_sidecars_are_read() {
    let container = json!({"name": "web", "ports": [{"name": "http", "containerPort": 8080}],
        "livenessProbe": {"httpGet": {"port": "http"}}, "readinessProbe": {"tcpSocket": {"port": 9000}},
        "startupProbe": {"httpGet": {"port": 1, "host": "example.org"}}});
    let values = [
        json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container], "initContainers": [
        {"name": "setup", "ports": [{"containerPort": 1}]},
        {"name": "mesh", "restartPolicy": "Always", "ports": [{"containerPort": 15001}]}]}}),
    ];
    let (cluster, _) = run(&values, "{}");
    let read: Vec<String> = cluster.pods[0]
        .containers
        .iter()
        .map(|c| {
            format!(
                "{} ports {:?} probes {:?}",
                c.name,
                c.ports.iter().map(|p| p.port).collect::<Vec<_>>(),
                c.probes
            )
        })
        .collect();
    assert_eq!(
        read,
        ["web ports [8080] probes [(8080, true), (9000, false)]", "mesh ports [15001] probes []"]
    );
    assert_eq!(
        cluster.pods[0].containers[0].ports[0].origin.to_string(),
        "Pod default/p spec.containers[0].ports[0]"
    );
}

#[test]
fn what_a_snapshot_lacks_is_named_with_its_command() {
    let pod = json!({"kind": "Pod", "metadata": {"name": "a", "uid": "1"}});
    let lacks = |values: &[Value], assume: &str| {
        let (cluster, _) = run(values, assume);
        cluster.missing.iter().map(|m| m.kind.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(lacks(&[deployment("web", json!(1))], "{}"), "", "in manifests nothing is missing");
    assert_eq!(lacks(core::slice::from_ref(&pod), "{}"), "Node NetworkPolicy Service EndpointSlice");
    assert_eq!(lacks(core::slice::from_ref(&pod), r#"{"cni": "flannel"}"#), "Node Service EndpointSlice");
    let policy = json!({"kind": "NetworkPolicy", "metadata": {"name": "p"}});
    let endpoints = json!({"kind": "Endpoints", "metadata": {"name": "p"}, "subsets": null});
    assert_eq!(lacks(&[pod.clone(), policy, endpoints], "{}"), "Node Namespace Service");
    let mut collected = objects(&[pod]);
    collected.collected.extend(["NetworkPolicy", "Node", "Service", "Endpoints"].map(Into::into));
    let (cluster, _) = resolve(&Arc::new(collected), &Assume::default(), None);
    assert!(cluster.missing.is_empty(), "an empty list was collected too");
}

/// One of a few objects, so that changes meet each other.
fn change() -> impl Strategy<Value = (u8, u8, bool)> {
    (0u8..4, 0u8..4, any::<bool>())
}

fn object(kind: u8, id: u8, replicas: u32) -> Value {
    let name = format!("x{id}");
    match kind {
        0 => deployment(&name, json!(replicas)),
        1 => json!({"kind": "Pod", "metadata": {"name": name}}),
        2 => json!({"kind": "Node", "metadata": {"name": name}}),
        _ => json!({"kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}),
    }
}

proptest! {
    #[test]
    fn a_change_equals_a_rebuild(start in proptest::collection::vec(change(), 0..12), changes in proptest::collection::vec(change(), 1..6)) {
        let mut all = Objects::default();
        for (kind, id, _) in start {
            all.put_json(&object(kind, id, 1)).unwrap();
        }
        let (before, _) = resolve(&Arc::new(all.clone()), &Assume::default(), None);
        let changes: Vec<ObjectChange> = changes
            .into_iter()
            .map(|(kind, id, put)| {
                let mut one = Objects::default();
                one.put_json(&object(kind, id, 2)).unwrap();
                let object = one.iter().next().unwrap();
                let name = ObjectRef::namespaced(object.kind(), "default", &object.metadata().name);
                if put { ObjectChange::Put(object) } else { ObjectChange::Delete(name) }
            })
            .collect();
        let mut changed = all;
        changed.apply(&changes);
        let mut rebuilt = Objects::default();
        for object in changed.iter() {
            rebuilt.put(object);
        }
        prop_assert_eq!(&changed, &rebuilt);
        let (fresh, fresh_log) = resolve(&Arc::new(rebuilt), &Assume::default(), None);
        let (after, log) = resolve(&Arc::new(changed), &Assume::default(), None);
        let (after, units) = after.changed_since(&before);
        prop_assert_eq!(show(&after, &log), show(&fresh, &fresh_log));
        prop_assert_eq!(units.is_empty(), show(&after, &[]) == show(&before, &[]) && after.pods == before.pods);
    }
}

#[test]
fn one_more_pod_below_a_policy_changes_nothing_else() {
    let pod = |name: &str| json!({"kind": "Pod", "metadata": {"name": name}});
    let policy = |selector: Value| json!({"kind": "NetworkPolicy", "metadata": {"name": "deny"}, "spec": {"podSelector": selector}});
    let run = |values: &[Value]| run(values, r#"{"cni": "calico"}"#).0;
    let before = run(&[pod("b"), pod("c"), policy(json!({}))]);
    let (_, changed) = run(&[pod("a"), pod("b"), pod("c"), policy(json!({}))]).changed_since(&before);
    assert!(!changed.everything);
    assert_eq!(changed.pods, [("default".into(), "a".into())]);
    let nobody = policy(json!({"matchLabels": {"app": "x"}}));
    assert!(run(&[pod("b"), pod("c"), nobody]).changed_since(&before).1.everything);
}

#[test]
fn a_sysctl_that_is_not_modelled_is_told() {
    let (_, log) = run(
        &[],
        r#"{"sysctls": {"net/ipv4/ip_forward": 0, "net.ipv4.tcp_syncookies": 1, "net.ipv4.ip_default_ttl": 9}}"#,
    );
    let lines: Vec<String> = log.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["warning[assumption-unknown]: sysctls: net.ipv4.tcp_syncookies is not modelled; it changes nothing"]
    );
}
