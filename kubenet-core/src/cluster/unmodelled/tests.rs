use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;

use expect_test::{Expect, expect, expect_file};
use serde_json::{Value, json};

use super::table::{INJECTIONS, KINDS, NETWORKS, NODES, SIDECARS, VIRTUAL_MACHINE, Whose};
use crate::assume::Assume;
use crate::cluster::{Cluster, Effect, Touches, resolve};
use crate::k8s::Objects;

fn cluster(values: &[Value], assume: &str) -> Cluster {
    let mut objects = Objects::default();
    for value in values {
        objects.put_json(value).unwrap_or_else(|e| panic!("{e}"));
    }
    resolve(&Arc::new(objects), &serde_json::from_str::<Assume>(assume).unwrap(), None).0
}

/// What is not modelled, with whom it touches by name.
fn check(values: &[Value], assume: &str, expect: Expect) {
    let cluster = cluster(values, assume);
    let pods = |places: &[u32]| {
        let names = places.iter().map(|at| &*cluster.pods[*at as usize].name);
        names.map(|name| name.split('-').next().unwrap_or(name)).collect::<Vec<_>>().join(" ")
    };
    let mut lines = String::new();
    for thing in cluster.unmodelled.iter() {
        assert!(!thing.what_would_settle_it.is_empty(), "{}", thing.why);
        let touches = match &thing.touches {
            Touches::Everything => "everything".into(),
            Touches::Pods(places) => format!("pods {}", pods(places)),
            Touches::Opened(places) => format!("opened by {}", pods(places)),
            Touches::Accepted(places) => format!("accepted by {}", pods(places)),
            Touches::PodsOutside(places) => format!("{} and outside", pods(places)),
            Touches::Outside => "outside".into(),
            Touches::Nodes(places) => {
                let names = places.iter().map(|at| &*cluster.nodes[*at as usize].name);
                format!("nodes {}", names.collect::<Vec<_>>().join(" "))
            }
            Touches::BetweenNodes => "between nodes".into(),
            Touches::To(nets) => format!("to {nets:?}"),
        };
        let effect = match thing.effect {
            Effect::Forbid => "forbids",
            Effect::Change => "changes",
        };
        writeln!(lines, "{effect} {touches}: {}", thing.why).unwrap();
    }
    expect.assert_eq(&lines);
}

fn pod(namespace: &str, name: &str, labels: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"containers": [{"name": "main"}]}})
}

fn other(api: &str, kind: &str, namespace: Option<&str>) -> Value {
    let mut value = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}});
    if let Some(namespace) = namespace {
        value["metadata"]["namespace"] = namespace.into();
    }
    value
}

#[test]
fn objects_of_foreign_kinds_touch_whom_they_could_mean() {
    let pods = [pod("a", "one", json!({})), pod("a", "two", json!({})), pod("b", "three", json!({}))];
    let mut host = pod("a", "host", json!({}));
    host["spec"]["hostNetwork"] = json!(true);
    let kinds = [
        other("cilium.io/v2", "CiliumNetworkPolicy", Some("a")),
        other("cilium.io/v2", "CiliumNetworkPolicy", None),
        other("cilium.io/v2", "CiliumClusterwideNetworkPolicy", None),
        other("crd.projectcalico.org/v1", "NetworkPolicy", Some("b")),
        other("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", None),
        other("k8s.ovn.org/v1", "EgressFirewall", Some("a")),
        other("k8s.ovn.org/v1", "EgressIP", None),
        other("cilium.io/v2", "CiliumEnvoyConfig", Some("a")),
        other("example.com/v1", "NetworkPolicy", Some("a")),
        other("cilium.io/v2", "CiliumEndpoint", Some("a")),
        other("security.istio.io/v1", "AuthorizationPolicy", Some("b")),
    ];
    let values: Vec<Value> = pods.into_iter().chain([host]).chain(kinds).collect();
    check(
        &values,
        r#"{"cni": "cilium"}"#,
        expect![[r#"
            forbids pods one two: CiliumNetworkPolicy a/x could forbid it; that is not modelled
            forbids everything: CiliumNetworkPolicy x could forbid it; that is not modelled
            forbids everything: CiliumClusterwideNetworkPolicy x could forbid it; that is not modelled
            forbids pods three: NetworkPolicy b/x of crd.projectcalico.org could forbid it; that is not modelled
            forbids everything: AdminNetworkPolicy x could forbid it; that is not modelled
            forbids one two and outside: EgressFirewall a/x could forbid it; that is not modelled
            changes outside: EgressIP x could change the address that it leaves with; that is not modelled
            changes to [10.96.0.0/12]: CiliumEnvoyConfig a/x could send it through Envoy; that is not modelled
            forbids pods three: AuthorizationPolicy b/x could forbid it; that is not modelled
        "#]],
    );
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "a", "name": name}, "spec": spec})
}

#[test]
fn a_network_policy_touches_the_pods_that_it_selects_in_its_directions() {
    let values = [
        pod("a", "web", json!({"app": "web", "tier": "front"})),
        pod("a", "db", json!({"app": "db"})),
        pod("b", "other", json!({"app": "web"})),
        policy("deny", json!({"podSelector": {}})),
        policy(
            "web",
            json!({"podSelector": {"matchLabels": {"tier": "front", "app": "web"}}, "policyTypes": ["Egress"],
            "egress": [{"ports": [{"port": 53}]}]}),
        ),
        policy(
            "both",
            json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}]},
            "ingress": [{"from": [{"podSelector": {}}]}], "egress": [{"to": [{"podSelector": {}}]}]}),
        ),
        policy(
            "open",
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": []}], "egress": [{}]}),
        ),
        policy("nobody", json!({"podSelector": {"matchLabels": {"app": "gone"}}})),
    ];
    check(
        &values,
        r#"{"cni": "calico"}"#,
        expect![[r#"
        forbids accepted by db: NetworkPolicy a/both selects the receiving pod; what NetworkPolicies allow is not evaluated
        forbids opened by db: NetworkPolicy a/both selects the sending pod; what NetworkPolicies allow is not evaluated
        forbids accepted by db web: NetworkPolicy a/deny selects the receiving pod; what NetworkPolicies allow is not evaluated
        forbids opened by web: NetworkPolicy a/web selects the sending pod; what NetworkPolicies allow is not evaluated
    "#]],
    );
    // flannel enforces none.
    check(&values, r#"{"cni": "flannel"}"#, expect![""]);
}

#[test]
fn sidecars_are_seen_in_pods_and_templates() {
    let container = |name: &str| json!({"name": name});
    let with = |name: &str, containers: Value, init: Value| json!({"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers, "initContainers": init}});
    let native = json!([{"name": "istio-proxy", "restartPolicy": "Always", "args": ["proxy", "sidecar"]}]);
    let gateway = json!([{"name": "istio-proxy", "args": ["proxy", "router"]}]);
    let values = [
        with("meshed", json!([container("main"), container("linkerd-proxy")]), json!([])),
        with("native", json!([container("main")]), native),
        with("gateway", gateway, json!([])),
        with("plain", json!([container("envoy")]), json!([])),
        with("appmesh", json!([container("main"), container("envoy")]), json!([container("proxyinit")])),
        json!({"kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"replicas": 2, "template": {"spec": {
            "containers": [{"name": "main"}, {"name": "istio-proxy"}]}}}}),
    ];
    check(
        &values,
        "{}",
        expect![[r#"
        changes pods shop shop: Deployment default/shop has Istio's sidecar istio-proxy, which redirects its connections
        changes pods appmesh: Pod default/appmesh has App Mesh's sidecar envoy, which redirects its connections
        changes pods meshed: Pod default/meshed has Linkerd's sidecar linkerd-proxy, which redirects its connections
        changes pods native: Pod default/native has Istio's sidecar istio-proxy, which redirects its connections
    "#]],
    );
}

#[test]
fn a_sidecar_that_is_asked_for_comes_to_manifests_but_not_to_a_snapshot() {
    let namespace = |name: &str, labels: Value| json!({"kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let refusing = |namespace: &str| {
        let mut pod = pod(namespace, "refusing", json!({"sidecar.istio.io/inject": "false"}));
        pod["metadata"]["annotations"] = json!({"linkerd.io/inject": "disabled"});
        pod
    };
    let mut values = Vec::from([
        namespace("a", json!({"istio-injection": "enabled"})),
        namespace("b", json!({"istio.io/dataplane-mode": "ambient"})),
        namespace("c", json!({"linkerd.io/inject": "disabled"})),
        pod("a", "asking", json!({})),
        refusing("a"),
        pod("b", "ambient", json!({})),
        pod("c", "plain", json!({})),
        pod("c", "own", json!({"sidecar.istio.io/inject": "true"})),
    ]);
    check(
        &values,
        "{}",
        expect![[r#"
        changes pods asking: Pod a/asking gets a sidecar of Istio, which redirects its connections (istio-injection asks for it)
        changes pods ambient: Pod b/ambient is part of Istio's ambient mode, which redirects its connections
        changes pods own: Pod c/own gets a sidecar of Istio, which redirects its connections (sidecar.istio.io/inject asks for it)
    "#]],
    );
    for value in &mut values {
        value["metadata"]["uid"] = json!("1");
    }
    check(
        &values,
        "{}",
        expect![[r#"
        changes pods ambient: Pod b/ambient is part of Istio's ambient mode, which redirects its connections
    "#]],
    );
}

#[test]
fn further_interfaces_and_virtual_machines_are_seen() {
    let multus = |name: &str, networks: &str| json!({"kind": "Pod", "metadata": {"name": name, "annotations": {NETWORKS: networks}}});
    let values = [
        multus("words", "macvlan, sriov/fast@net1"),
        multus("json", r#"[{"name": "bridge-conf", "interface": "net1"}]"#),
        multus("none", "[]"),
        multus("empty", ""),
        pod("default", "machine", json!({"kubevirt.io": "virt-launcher"})),
    ];
    check(
        &values,
        "{}",
        expect![[r#"
        changes pods json: Pod default/json has further interfaces (bridge-conf), whose routes are not known
        changes pods machine: Pod default/machine is a virtual machine, whose own network stack is not modelled
        changes pods words: Pod default/words has further interfaces (macvlan, sriov/fast@net1), whose routes are not known
    "#]],
    );
}

#[test]
fn nodes_that_are_not_linux_touch_what_passes_them() {
    let node = |name: &str, extra: Value| {
        let mut node = json!({"kind": "Node", "metadata": {"name": name}});
        for (key, value) in extra.as_object().unwrap() {
            node[key] = value.clone();
        }
        node
    };
    let values = [
        node("linux", json!({"status": {"nodeInfo": {"operatingSystem": "linux"}}})),
        node("win", json!({"status": {"nodeInfo": {"operatingSystem": "windows"}}})),
        json!({"kind": "Node", "metadata": {"name": "labelled", "labels": {"kubernetes.io/os": "windows"}}}),
        json!({"kind": "Node", "metadata": {"name": "virtual", "labels": {"type": "virtual-kubelet"}}}),
        json!({"kind": "Node", "metadata": {"name": "fake", "annotations": {"kwok.x-k8s.io/node": "fake"}}}),
    ];
    check(
        &values,
        "{}",
        expect![[r#"
            changes nodes fake: node fake is simulated (kwok); its network is not modelled
            changes nodes labelled: node labelled runs Windows; its network is not modelled
            changes nodes virtual: node virtual is virtual (virtual-kubelet); its network is not modelled
            changes nodes win: node win runs Windows; its network is not modelled
        "#]],
    );
}

#[test]
fn dataplanes_touch_what_they_handle() {
    let set = |namespace: &str, name: &str, image: &str| {
        json!({"kind": "DaemonSet", "metadata": {"namespace": namespace, "name": name},
            "spec": {"template": {"spec": {"hostNetwork": true, "containers": [{"name": "main", "image": image}]}}}})
    };
    check(
        &[set("kube-system", "ovnkube-node", "x/y")],
        r#"{"serviceCidr": "10.96.0.0/16"}"#,
        expect![[r#"
        changes to [10.96.0.0/16]: ovn-kubernetes handles Services instead of kube-proxy (DaemonSet kube-system/ovnkube-node runs image x/y); that is not modelled
    "#]],
    );
    let config = json!({"kind": "ConfigMap", "metadata": {"namespace": "kube-flannel", "name": "kube-flannel-cfg"},
        "data": {"net-conf.json": r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "wireguard"}}"#}});
    check(
        &[set("kube-flannel", "kube-flannel-ds", "flannel/flannel:v1"), config],
        "{}",
        expect![[r#"
        changes between nodes: flannel joins the nodes by wireguard (ConfigMap kube-flannel/kube-flannel-cfg says backend wireguard); that is not modelled
    "#]],
    );
}

#[test]
fn the_page_says_what_the_tables_say() {
    expect_file!["../../../../docs/unmodelled.md"].assert_eq(&page());
}

fn page() -> String {
    let mut page = String::from(
        "# What is recognised and not modelled

Objects that can change a packet, and that kubenet does not execute, make exactly the answers unknown that they could change; the
answer names the object and what would settle it. What can only *forbid* leaves an answer as it is that gets nowhere by itself.
This page is printed from the tables in `kubenet-core/src/cluster/unmodelled/table.rs`; `UPDATE_EXPECT=1 cargo test` writes it anew.

## Objects of kinds that are not read

| API group | kinds | whose packets | what it could do |
|---|---|---|---|
",
    );
    for rule in &KINDS {
        let whose = match rule.whose {
            Whose::Namespace => "pods of its namespace",
            Whose::Everything => "all",
            Whose::Meshed => "pods of its namespace, in manifests",
            Whose::Services => "to Services",
            Whose::NamespaceOutside => "pods of its namespace, to and from hosts outside",
            Whose::Outside => "to and from hosts outside",
        };
        let does = rule.does.trim_start_matches("could ");
        writeln!(page, "| `{}` | {} | {whose} | {does} |", rule.group, code(rule.kinds)).unwrap();
    }
    page += "
## NetworkPolicies

Where the CNI enforces them, a NetworkPolicy could forbid connections to the pods that it selects, or from them, by its directions;
not those between a pod and its own node. One that allows everything in a direction forbids nothing there.

## Pods

A pod of a service mesh sends and gets its packets through a proxy. What changes are all packets of these pods.

| container | mesh | only beside the init container |
|---|---|---|
";
    for rule in &SIDECARS {
        let by = rule.by.map(|by| format!("`{by}`")).unwrap_or_default();
        writeln!(page, "| `{}` | {} | {by} |", rule.container, rule.mesh).unwrap();
    }
    page += "
In manifests, a label or annotation of the pod or of its namespace that asks for a sidecar counts like the sidecar; in a snapshot only
the container does, but for meshes without one.

| label or annotation | values | mesh |
|---|---|---|
";
    for rule in &INJECTIONS {
        let values = if rule.values.is_empty() { "any".into() } else { code(rule.values) };
        writeln!(page, "| `{}` | {values} | {} |", rule.key, rule.mesh).unwrap();
    }
    let (key, value) = VIRTUAL_MACHINE;
    write!(
        page,
        "
Further interfaces (annotation `{NETWORKS}`) and virtual machines (label `{key}: {value}`) count likewise.

## Nodes

All packets of these nodes and of the pods on them. A node whose `status.nodeInfo.operatingSystem` is not `linux` counts too.

| label or annotation | the node |
|---|---|
"
    )
    .unwrap();
    for rule in &NODES {
        writeln!(page, "| `{}: {}` | {} |", rule.key, rule.value, rule.is).unwrap();
    }
    page += "
## Dataplanes

| seen | whose packets |
|---|---|
| Cilium's `kube-proxy-replacement`, Calico's eBPF dataplane, Antrea's AntreaProxy, OVN-Kubernetes, Kube-OVN, GKE Dataplane V2, kube-router's service proxy | to Services |
| a backend of flannel other than `vxlan`, `host-gw` and `alloc`; kindnet's `--ipsec-overlay` | between pods of different nodes |

The inside of a CNI other than the bridge plugin, flannel and kindnet is not modelled either: pods reach each other as the Kubernetes
network model demands, and the hops between them are told to be unknown.
";
    page
}

fn code(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
