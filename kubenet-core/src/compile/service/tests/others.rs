//! What others than kube-proxy write: host ports and masquerading.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use expect_test::expect;
use serde_json::{Value, json};

use super::iptables::words;
use super::objects;
use crate::addr::Family;
use crate::assume::Assume;
use crate::cluster::{Cluster, resolve};
use crate::compile::service::NodeRules;

fn cluster(cni: &str, list: &[Value]) -> (Cluster, Vec<String>) {
    let mut all = Vec::from([json!({"kind": "Node", "metadata": {"name": "node-1"}})]);
    all.extend(list.iter().cloned());
    let assume = Assume { cni: Some(cni.into()), ..Assume::default() };
    let (cluster, log) = resolve(&Arc::new(objects(&all)), &assume, None);
    (cluster, log.into_iter().map(|told| told.message).collect())
}

/// The chains of `nat` whose rules are not kube-proxy's.
fn nat(cluster: &Cluster) -> String {
    let rules = NodeRules::new(cluster, 0).expect("a node").ruleset(cluster);
    let nat = rules.xt_table(Family::V4, "nat").expect("the table");
    let mut text = String::new();
    for chain in nat.chains.iter().filter(|chain| !chain.name.starts_with("KUBE-") && !chain.rules.is_empty())
    {
        text.push_str(&format!(":{}\n", chain.name));
        chain.rules.iter().for_each(|rule| text.push_str(&format!("  {}\n", words(rule))));
    }
    text
}

fn pod(name: &str, ports: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "ports": ports}]}})
}

#[test]
fn host_ports_are_written_as_the_portmap_plugin_does() {
    let ports = json!([
        {"containerPort": 80, "hostPort": 8080},
        {"containerPort": 443, "hostPort": 8443, "hostIP": "172.18.0.2"},
        {"containerPort": 53, "hostPort": 8053, "protocol": "UDP", "hostIP": "0.0.0.0"},
        {"containerPort": 54, "hostPort": 8054, "hostIP": "fd00::1"},
        {"containerPort": 55},
    ]);
    let (cluster, told) = cluster("bridge", &[pod("web", ports)]);
    assert!(told.is_empty(), "{told:?}");
    expect![[r#"
        :PREROUTING
          "kubernetes service portals" -j KUBE-SERVICES
          dst LOCAL -j CNI-HOSTPORT-DNAT
        :OUTPUT
          "kubernetes service portals" -j KUBE-SERVICES
          dst LOCAL -j CNI-HOSTPORT-DNAT
        :POSTROUTING
          "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
          "kubernetes postrouting rules" -j KUBE-POSTROUTING
          "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ chain" ! dst LOCAL -j IP-MASQ
        :CNI-DN-0584b801c377a805a9892
          -s 10.244.26.0/24 -p 6 tcp dport 8080 -j CNI-HOSTPORT-SETMARK
          -s 127.0.0.1/32 -p 6 tcp dport 8080 -j CNI-HOSTPORT-SETMARK
          -p 6 tcp dport 8080 DNAT 10.244.26.212:80
          -s 10.244.26.0/24 -d 172.18.0.2/32 -p 6 tcp dport 8443 -j CNI-HOSTPORT-SETMARK
          -s 127.0.0.1/32 -d 172.18.0.2/32 -p 6 tcp dport 8443 -j CNI-HOSTPORT-SETMARK
          -d 172.18.0.2/32 -p 6 tcp dport 8443 DNAT 10.244.26.212:443
          -s 10.244.26.0/24 -p 17 udp dport 8053 -j CNI-HOSTPORT-SETMARK
          -s 127.0.0.1/32 -p 17 udp dport 8053 -j CNI-HOSTPORT-SETMARK
          -p 17 udp dport 8053 DNAT 10.244.26.212:53
        :CNI-HOSTPORT-DNAT
          -p 6 "dnat name: "bridge" id: "82b3ade9d00cd1642a4d420e670d6cd98eb4849a2ee0ff66d6689e645c8eb33f"" multiport 8080,8443,8054 -j CNI-DN-0584b801c377a805a9892
          -p 17 "dnat name: "bridge" id: "82b3ade9d00cd1642a4d420e670d6cd98eb4849a2ee0ff66d6689e645c8eb33f"" multiport 8053 -j CNI-DN-0584b801c377a805a9892
        :CNI-HOSTPORT-MASQ
          mark 0x2000/0x2000 MASQUERADE random false
        :CNI-HOSTPORT-SETMARK
          "CNI portfwd masquerade mark" MARK 0x2000/0x2000
        :IP-MASQ
          -d 10.244.0.0/16 "ip-masq-agent: local traffic is not subject to MASQUERADE" RETURN
          -d 172.18.0.0/16 "ip-masq-agent: local traffic is not subject to MASQUERADE" RETURN
          -d 169.254.0.0/16 "ip-masq-agent: local traffic is not subject to MASQUERADE" RETURN
          "ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)" MASQUERADE random true
    "#]].assert_eq(&nat(&cluster));
}

#[test]
fn two_pods_that_want_one_port_of_a_node_are_told() {
    let port = |addr: &str| json!([{"containerPort": 80, "hostPort": 8080, "hostIP": addr}]);
    let told = |a: &str, b: &str| cluster("bridge", &[pod("a", port(a)), pod("b", port(b))]).1;
    let message = "pod default/b wants port 8080/tcp of node node-1, which pod default/a has";
    assert_eq!(told("", ""), [message]);
    assert_eq!(told("0.0.0.0", "172.18.0.2"), [message]);
    assert!(told("172.18.0.2", "172.18.0.3").is_empty());
    let mut host = pod("b", json!([{"containerPort": 8080}]));
    host["spec"]["hostNetwork"] = json!(true);
    assert_eq!(cluster("bridge", &[pod("a", port("")), host]).1, [message]);
}

#[test]
fn what_leaves_the_pod_network_is_masqueraded_as_each_cni_does() {
    expect![[r#"
        :PREROUTING
          "kubernetes service portals" -j KUBE-SERVICES
        :OUTPUT
          "kubernetes service portals" -j KUBE-SERVICES
        :POSTROUTING
          "kubernetes postrouting rules" -j KUBE-POSTROUTING
          "flanneld masq" -j FLANNEL-POSTRTG
        :FLANNEL-POSTRTG
          mark 0x4000/0x4000 "flanneld masq" RETURN
          -s 10.244.26.0/24 -d 10.244.0.0/16 "flanneld masq" RETURN
          -s 10.244.0.0/16 -d 10.244.26.0/24 "flanneld masq" RETURN
          ! -s 10.244.0.0/16 -d 10.244.26.0/24 "flanneld masq" RETURN
          -s 10.244.0.0/16 ! -d 224.0.0.0/4 "flanneld masq" MASQUERADE random true
          ! -s 10.244.0.0/16 -d 10.244.0.0/16 "flanneld masq" MASQUERADE random true
    "#]]
    .assert_eq(&nat(&cluster("flannel", &[]).0));
    expect![[r#"
        :PREROUTING
          "kubernetes service portals" -j KUBE-SERVICES
        :OUTPUT
          "kubernetes service portals" -j KUBE-SERVICES
        :POSTROUTING
          "kubernetes postrouting rules" -j KUBE-POSTROUTING
          ! dst LOCAL "kind-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom KIND-MASQ-AGENT chain" -j KIND-MASQ-AGENT
        :KIND-MASQ-AGENT
          -d 10.244.0.0/16 "kind-masq-agent: local traffic is not subject to MASQUERADE" RETURN
          "kind-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)" MASQUERADE random false
    "#]].assert_eq(&nat(&cluster("kindnet", &[]).0));
    expect![[r#"
        :PREROUTING
          "kubernetes service portals" -j KUBE-SERVICES
        :OUTPUT
          "kubernetes service portals" -j KUBE-SERVICES
        :POSTROUTING
          "kubernetes postrouting rules" -j KUBE-POSTROUTING
          "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ chain" ! dst LOCAL -j IP-MASQ
        :IP-MASQ
          -d 10.244.0.0/16 "ip-masq-agent: local traffic is not subject to MASQUERADE" RETURN
          -d 172.18.0.0/16 "ip-masq-agent: local traffic is not subject to MASQUERADE" RETURN
          -d 169.254.0.0/16 "ip-masq-agent: local traffic is not subject to MASQUERADE" RETURN
          "ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)" MASQUERADE random true
    "#]].assert_eq(&nat(&cluster("bridge", &[]).0));
    assert!(!nat(&cluster("cilium", &[]).0).contains("MASQUERADE"));
}
