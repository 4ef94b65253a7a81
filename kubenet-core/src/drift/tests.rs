//! Nodes whose tables are those of a changed cluster.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use expect_test::{Expect, expect};

use crate::assume::Assume;
use crate::drift::Drift;
use crate::network::{Dump, Network, Table};

const SHOP: &str = r#"
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {type: NodePort, selector: {app: cart}, ports: [{port: 7070, targetPort: 7070, nodePort: 30070}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: main, ports: [{containerPort: 7070}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: shop}
spec: {clusterIP: 10.96.0.53, selector: {app: dns}, ports: [{port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: dns, namespace: shop, labels: {app: dns}}
spec: {containers: [{name: main, ports: [{containerPort: 53, protocol: UDP}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {clusterIP: 10.96.0.77, selector: {app: none}, ports: [{port: 80}]}
"#;

fn network(manifests: &str, mode: &str) -> Network {
    let mut assume = Assume::default();
    assume.set("proxyMode", mode).expect("a mode");
    Network::from_text("shop.yaml", manifests).with_assume(assume)
}

/// The tables of node-2 of a cluster, as a dump.
fn dump(of: &Network) -> Dump {
    let tables = [
        ("ip-route.txt", Table::IpRoute),
        ("iptables-save.txt", Table::IptablesSave),
        ("nft.txt", Table::Nft),
    ];
    let files: Vec<(String, String)> = tables
        .iter()
        .map(|(name, table)| {
            (name.to_string(), of.render("node-2", "default", *table, false).expect("a node"))
        })
        .filter(|(_, text)| !text.is_empty())
        .collect();
    Dump { node: "node-2".into(), folder: "node-2".into(), files }
}

/// The drift of node-2, which works by the second manifests in the second mode.
fn drift((called_for, mode): (&str, &str), (seen, its_mode): (&str, &str)) -> Drift {
    let network = network(called_for, mode);
    let dump = dump(&self::network(seen, its_mode));
    network.observe(Vec::from([dump])).drift("node-2").expect("it was observed")
}

fn words(drift: &Drift) -> String {
    drift.findings.iter().map(|finding| finding.message.clone() + "\n").collect()
}

/// In both modes of the node, whatever the manifests say.
fn check(seen: &str, expect: &Expect) {
    let all = ["iptables", "nftables"];
    let mut told = BTreeSet::new();
    for (mode, its_mode) in all.iter().flat_map(|mode| all.iter().map(move |its_mode| (mode, its_mode))) {
        let drift = drift((SHOP, mode), (seen, its_mode));
        assert_eq!(drift.proxy_mode.map(|mode| mode.to_string()).as_deref(), Some(*its_mode));
        assert_eq!(drift.service_ports, 3);
        assert_eq!(drift.is_drift(), !drift.findings.is_empty());
        told.insert(words(&drift));
    }
    assert_eq!(told.len(), 1, "{told:#?}");
    expect.assert_eq(told.first().expect("one"));
}

#[test]
fn a_node_that_works_as_called_for_has_no_drift_in_any_mode() {
    check(SHOP, &expect![[""]]);
}

#[test]
fn the_virtual_servers_of_a_node_port_at_other_addresses_of_the_node_are_called_for() {
    let network = network(SHOP, "ipvs");
    let mut dump = dump(&network);
    let more =
        [("ipset-save.txt", Table::Ipset), ("ipvsadm.txt", Table::Ipvsadm), ("ip-addr.txt", Table::IpAddr)];
    dump.files.extend(more.map(|(name, table)| {
        (name.to_string(), network.render("node-2", "default", table, false).expect("a node"))
    }));
    let servers = dump.files.iter().find(|(name, _)| name == "ipvsadm.txt").map(|(_, text)| text);
    let at_port = |text: &String| {
        text.lines().filter(|line| line.starts_with("-A") && line.contains(":30070 ")).count()
    };
    assert_eq!(servers.map(at_port), Some(2), "at the node's card and at its bridge");
    let drift = network.observe(Vec::from([dump])).drift("node-2").expect("a node");
    assert!(drift.findings.is_empty(), "{}", words(&drift));
}

#[test]
fn in_mode_userspace_endpoints_are_not_compared() {
    let drift = drift((SHOP, "iptables"), (SHOP, "userspace"));
    assert_eq!(drift.proxy_mode.map(|mode| mode.to_string()).as_deref(), Some("userspace"));
    assert!(!drift.is_drift(), "{:?}", drift.findings);
    assert!(drift.not_compared.iter().any(|what| what.starts_with("Services: ")), "{:?}", drift.not_compared);
}

#[test]
fn an_endpoint_that_the_node_does_not_know_is_told() {
    check(
        &SHOP.replace("replicas: 2", "replicas: 1"),
        &expect![[r#"
        Service shop/cart:7070 has 2 endpoints, node-2 knows 1: 10.244.182.116:7070 is missing
    "#]],
    );
}

#[test]
fn an_endpoint_that_is_no_more_is_told() {
    check(
        &SHOP.replace("replicas: 2", "replicas: 3"),
        &expect![[r#"
        node-2 still sends to 10.244.26.238:7070, which is no endpoint of Service shop/cart:7070
    "#]],
    );
}

#[test]
fn a_service_that_the_node_does_not_know_is_told_and_one_that_nobody_has() {
    check(
        &SHOP.replace("10.96.0.53", "10.96.0.54"),
        &expect![[r#"
        Service shop/dns:53/udp is not known to node-2
        node-2 answers 10.96.0.54:53/udp, which no Service has: it sends to 10.244.26.14:53
    "#]],
    );
}

#[test]
fn a_node_port_that_is_another_one_is_told() {
    check(
        &SHOP.replace("30070", "30071"),
        &expect![[r#"
        node-2 does not answer 172.18.63.86:30070 for Service shop/cart:7070
        node-2 answers 172.18.63.86:30071, which no Service has: it sends to 10.244.26.168:7070, 10.244.182.116:7070
    "#]],
    );
}

#[test]
fn a_service_that_should_have_endpoints_and_is_refused_is_told() {
    check(
        &SHOP.replace("{app: dns}, ports", "{app: gone}, ports"),
        &expect![[r#"
        Service shop/dns:53/udp has 1 endpoint, but node-2 refuses packets to it
    "#]],
    );
}

#[test]
fn a_service_without_endpoints_that_answers_is_told() {
    check(
        &SHOP.replace("{app: none}", "{app: cart}"),
        &expect![[r#"
        node-2 still sends to 10.244.26.168:80, which is no endpoint of Service shop/empty:80
        node-2 still sends to 10.244.182.116:80, which is no endpoint of Service shop/empty:80
    "#]],
    );
}

#[test]
fn a_policy_shows_in_the_endpoints_and_in_the_source_address() {
    check(
        &SHOP.replace("type: NodePort,", "type: NodePort, externalTrafficPolicy: Local,"),
        &expect![[r#"
        Service shop/cart:7070 has 2 endpoints, node-2 knows 1: 10.244.26.168:7070 is missing for packets from outside to 172.18.63.86:30070
        Service shop/cart:7070 is not masqueraded on node-2, but should be: packets from a pod and from outside to 172.18.63.86:30070
    "#]],
    );
}

#[test]
fn a_node_without_a_way_to_the_pods_of_another_is_told() {
    let network = network(SHOP, "iptables");
    let mut dump = dump(&network);
    let routes = &mut dump.files[0].1;
    *routes = routes
        .lines()
        .filter(|line| line.contains("default") || !line.contains(" via "))
        .map(|line| line.to_string() + "\n")
        .collect();
    let drift = network.observe(Vec::from([dump])).drift("node-2").expect("it was observed");
    expect![[r#"
        node-2 has no route to 10.244.26.0/24, the pod range of node-1
    "#]]
    .assert_eq(&words(&drift));
}

#[test]
fn other_weights_are_told_and_rounded_ones_are_not() {
    let network = network(SHOP, "iptables");
    let with = |share: &str| {
        let mut dump = dump(&network);
        let rules = &mut dump.files[1].1;
        assert!(rules.contains("--probability 0.50000000000"), "{rules}");
        *rules = rules.replace("--probability 0.50000000000", &alloc::format!("--probability {share}"));
        words(&network.observe(Vec::from([dump])).drift("node-2").expect("it was observed"))
    };
    expect![[""]].assert_eq(&with("0.49999999983"));
    expect![[r#"
        node-2 sends 75.0 % of the connections to Service shop/cart:7070 to 10.244.26.168:7070; its share is 50.0 %
    "#]].assert_eq(&with("0.25000000000"));
}

#[test]
fn what_the_dump_does_not_show_is_not_compared_and_said_so() {
    let network = network(SHOP, "iptables");
    let files = Vec::from([("ip-neigh.txt".to_string(), String::new())]);
    let dump = Dump { node: "node-2".into(), folder: "node-2".into(), files };
    let drift = network.observe(Vec::from([dump])).drift("node-2").expect("it was observed");
    assert!(!drift.is_drift());
    expect![[r#"
        Services: the dump has no iptables-save, nft list ruleset or ipvsadm
        routes: the dump has no ip route"#]]
    .assert_eq(&drift.not_compared.join("\n"));
}

#[test]
fn a_node_that_was_not_observed_has_no_drift_to_tell() {
    assert_eq!(network(SHOP, "iptables").drift("node-2"), None);
}

#[test]
fn a_dump_without_nat_rules_leaves_open_what_the_node_knows() {
    let network = network(SHOP, "iptables");
    let mut dump = dump(&network);
    let rules = &mut dump.files[1].1;
    *rules = rules.split("*nat").next().expect("the tables before it").to_string();
    let drift = network.observe(Vec::from([dump])).drift("node-2").expect("it was observed");
    assert!(!drift.is_drift());
    expect![[r#"
        the dump of node-2 shows no table nat of IPv4: either it was taken without, or node-2 knows no Service
    "#]]
    .assert_eq(&words(&drift));
}
