#![allow(clippy::wildcard_enum_match_arm, reason = "what is not expected here shows in a dump")]

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use expect_test::expect;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::iptables::dump;
use super::rules::{NOWHERE, cluster, rules, traits};
use super::{objects, shop};
use crate::addr::{Family, Protocol};
use crate::assume::Assume;
use crate::cluster::{Cluster, ProxyMode, resolve};
use crate::compile::machine;
use crate::compile::service::conntrack_cleanup::{Cleanup, Entry};
use crate::compile::service::{NodeSupply, ProxyConfig, userspace};
use crate::k8s::Objects;
use crate::plan::netfilter::{PacketKey, Ruleset, Supply};
use crate::plan::xt::{Match, Ports, Rule, Tcp};
use crate::plan::{MachineId, MoreSockets, Process, Relay, Socket};

#[test]
fn a_service_of_each_kind_is_written_as_kube_proxy_did() {
    let config = shop::config();
    let tables = userspace::shown(&Objects::default(), &config, &shop::ports(&config));
    let kube_proxy: Vec<_> = tables.into_iter().filter(|table| &*table.name != "mangle").collect();
    expect![[r#"
        *filter
        :INPUT
          -j KUBE-FIREWALL
          "Ensure that non-local NodePort traffic can flow" -j KUBE-NODEPORT-NON-LOCAL
        :FORWARD
        :OUTPUT
          -j KUBE-FIREWALL
        :KUBE-FIREWALL
          ! -s 127.0.0.0/8 -d 127.0.0.0/8 "block incoming localnet connections" ! ctstate ([Related, Established], [Dnat]) DROP
        :KUBE-KUBELET-CANARY
        :KUBE-NODEPORT-NON-LOCAL
          -p 6 "shop/balanced:web" tcp dport 47021 state [New] ACCEPT
          -p 17 "shop/empty:dns" udp dport 57041 state [New] ACCEPT
          -p 6 "shop/local:web" tcp dport 36992 state [New] ACCEPT
        *nat
        :PREROUTING
          "handle ClusterIPs; NOTE: this must be before the NodePort rules" -j KUBE-PORTALS-CONTAINER
          dst LOCAL "handle service NodePorts; NOTE: this must be the last rule in the chain" -j KUBE-NODEPORT-CONTAINER
        :INPUT
        :OUTPUT
          "handle ClusterIPs; NOTE: this must be before the NodePort rules" -j KUBE-PORTALS-HOST
          dst LOCAL "handle service NodePorts; NOTE: this must be the last rule in the chain" -j KUBE-NODEPORT-HOST
        :POSTROUTING
        :KUBE-KUBELET-CANARY
        :KUBE-NODEPORT-CONTAINER
          -p 6 "shop/balanced:web" tcp dport 30004 REDIRECT 47021
          -p 17 "shop/empty:dns" udp dport 30006 REDIRECT 57041
          -p 6 "shop/local:web" tcp dport 30003 REDIRECT 36992
        :KUBE-NODEPORT-HOST
          -p 6 "shop/balanced:web" tcp dport 30004 DNAT 192.168.0.2:47021
          -p 17 "shop/empty:dns" udp dport 30006 DNAT 192.168.0.2:57041
          -p 6 "shop/local:web" tcp dport 30003 DNAT 192.168.0.2:36992
        :KUBE-PORTALS-CONTAINER
          -d 10.96.0.5/32 -p 6 "shop/away:web" tcp dport 80 REDIRECT 57807
          -d 10.96.0.4/32 -p 6 "shop/balanced:web" tcp dport 80 REDIRECT 47021
          -d 198.51.100.7/32 -p 6 "shop/balanced:web" tcp dport 80 ! physdev in REDIRECT 47021
          -d 198.51.100.7/32 -p 6 "shop/balanced:web" tcp dport 80 dst LOCAL REDIRECT 47021
          -d 192.0.2.4/32 -p 6 "shop/balanced:web" tcp dport 80 REDIRECT 47021
          -d 10.96.0.6/32 -p 17 "shop/empty:dns" udp dport 53 REDIRECT 57041
          -d 10.96.0.3/32 -p 6 "shop/local:web" tcp dport 80 REDIRECT 36992
          -d 192.0.2.3/32 -p 6 "shop/local:web" tcp dport 80 REDIRECT 36992
          -d 10.96.0.1/32 -p 6 "shop/plain:web" tcp dport 80 REDIRECT 38104
          -d 10.96.0.2/32 -p 6 "shop/sticky:web" tcp dport 80 REDIRECT 53378
        :KUBE-PORTALS-HOST
          -d 10.96.0.5/32 -p 6 "shop/away:web" tcp dport 80 DNAT 192.168.0.2:57807
          -d 10.96.0.4/32 -p 6 "shop/balanced:web" tcp dport 80 DNAT 192.168.0.2:47021
          -d 198.51.100.7/32 -p 6 "shop/balanced:web" tcp dport 80 dst LOCAL DNAT 192.168.0.2:47021
          -d 192.0.2.4/32 -p 6 "shop/balanced:web" tcp dport 80 DNAT 192.168.0.2:47021
          -d 10.96.0.6/32 -p 17 "shop/empty:dns" udp dport 53 DNAT 192.168.0.2:57041
          -d 10.96.0.3/32 -p 6 "shop/local:web" tcp dport 80 DNAT 192.168.0.2:36992
          -d 192.0.2.3/32 -p 6 "shop/local:web" tcp dport 80 DNAT 192.168.0.2:36992
          -d 10.96.0.1/32 -p 6 "shop/plain:web" tcp dport 80 DNAT 192.168.0.2:38104
          -d 10.96.0.2/32 -p 6 "shop/sticky:web" tcp dport 80 DNAT 192.168.0.2:53378
    "#]].assert_eq(&dump(&kube_proxy));
}

/// A cluster in mode `userspace` with these Services, all with the selector `app: web`.
fn with(nets: &[&str], services: &[Value], pods: &[Value]) -> Cluster {
    let addresses: Vec<Value> = nets
        .iter()
        .map(|net| {
            let addr = if net.contains(':') { "fd00:18::2" } else { "172.18.0.2" };
            json!({"type": "InternalIP", "address": addr})
        })
        .collect();
    let node = json!({"kind": "Node", "metadata": {"name": "node-1"}, "status": {"addresses": addresses}});
    let list: Vec<Value> = [node].into_iter().chain(services.iter().chain(pods).cloned()).collect();
    let pods = nets.iter().map(|net| if net.contains(':') { "fd00:10:244::/56" } else { "10.244.0.0/16" });
    let assume = Assume {
        proxy_mode: Some(ProxyMode::Userspace),
        service_cidr: Some(nets.iter().map(|net| net.parse().expect("a range")).collect()),
        cluster_cidr: Some(pods.map(|net| net.parse().expect("a range")).collect()),
        ..Assume::default()
    };
    resolve(&Arc::new(objects(&list)), &assume, None).0
}

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"app": "web"});
    if spec.get("ports").is_none() {
        spec["ports"] = json!([{"port": 80}]);
    }
    json!({"kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn sockets(cluster: &Cluster) -> Vec<Socket> {
    machine(cluster, MachineId(0)).expect("a node").netns[0].more_sockets.whole()
}

fn relay(socket: &Socket) -> &Relay {
    match &socket.process {
        Process::Relay(relay) => relay,
        other => panic!("{other:?}"),
    }
}

/// Where kube-proxy listens, by the service port.
fn numbers(cluster: &Cluster) -> BTreeMap<String, u16> {
    let with_address = sockets(cluster).into_iter().filter(|socket| socket.addr.is_some());
    with_address.map(|socket| (format!("{} {}", socket.origin, socket.protocol), socket.port)).collect()
}

#[test]
fn a_service_that_comes_or_goes_moves_no_other() {
    let some: Vec<Value> = (0..50).map(|n| service(&format!("s{n}"), json!({}))).collect();
    let all = numbers(&with(&["10.96.0.0/12"], &some, &[]));
    assert_eq!(all.len(), 50);
    assert_eq!(all.values().collect::<BTreeSet<_>>().len(), 50, "each has its own");
    assert!(all.values().all(|number| (32768..=60999).contains(number)));
    let mut fewer = all.clone();
    fewer.retain(|name, _| !name.contains("Service default/s7 "));
    assert_eq!(fewer.len(), 49);
    let others: Vec<Value> = some.iter().filter(|s| s["metadata"]["name"] != "s7").cloned().collect();
    assert_eq!(numbers(&with(&["10.96.0.0/12"], &others, &[])), fewer);
}

#[test]
fn a_port_that_is_taken_is_not_listened_at() {
    let web = service("web", json!({}));
    let alone = numbers(&with(&["10.96.0.0/12"], core::slice::from_ref(&web), &[]));
    let wanted = *alone.values().next().expect("a number");
    let pod = |spec: Value| {
        let mut spec = spec;
        spec["nodeName"] = json!("node-1");
        json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    };
    let ports = |port: Value| json!([{"name": "c", "ports": [port]}]);
    let on_host = pod(json!({"hostNetwork": true, "containers": ports(json!({"containerPort": wanted}))}));
    let host_port = pod(json!({"containers": ports(json!({"containerPort": 1, "hostPort": wanted}))}));
    let of_udp = json!({"containerPort": 1, "hostPort": wanted, "protocol": "UDP"});
    let of_udp = pod(json!({"containers": ports(of_udp)}));
    let own = pod(json!({"containers": ports(json!({"containerPort": wanted}))}));
    let node_port =
        service("other", json!({"type": "NodePort", "ports": [{"port": 81, "nodePort": wanted}]}));
    let got = |pods: &[Value], others: &[Value]| {
        let services: Vec<Value> = others.iter().chain([&web]).cloned().collect();
        let all = numbers(&with(&["10.96.0.0/12"], &services, pods));
        all.into_iter().find(|(name, _)| name.contains("default/web")).expect("a number").1
    };
    assert_ne!(got(&[on_host], &[]), wanted);
    assert_ne!(got(&[host_port], &[]), wanted);
    assert_ne!(got(&[], &[node_port]), wanted);
    assert_eq!(got(&[of_udp], &[]), wanted, "of another transport");
    assert_eq!(got(&[own], &[]), wanted, "a pod has ports of its own");
}

#[test]
fn service_ports_that_find_no_free_port_have_no_rules() {
    let one = shop::ports(&shop::config())[0].record.clone();
    let records: Vec<_> = (0..28_240)
        .map(|n| {
            let mut record = (*one).clone();
            record.port_name = n.to_string().into();
            record
        })
        .collect();
    let numbers = userspace::of_records(&records.iter().collect::<Vec<_>>());
    let given: BTreeSet<u16> = (0..28_240).filter_map(|place| numbers.number(place, 0)).collect();
    assert_eq!(given.len(), 28_232);
    let part = userspace::part(&shop::config(), &records[0], None);
    assert_eq!(part, userspace::Part::default());
}

#[test]
fn a_socket_asks_ready_endpoints_wherever_they_are() {
    let pod = |name: &str, ready: &str, leaves: bool| {
        let mut pod = json!({
            "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "c"}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        });
        if leaves {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        pod
    };
    let spec = json!({
        "type": "NodePort", "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Local",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}],
    });
    let pods = [pod("a", "True", false), pod("b", "False", false), pod("c", "True", true)];
    let cluster = with(&["10.96.0.0/12"], &[service("web", spec)], &pods);
    let all = sockets(&cluster);
    let [held, asked] = &all[..] else { panic!("{all:?}") };
    assert_eq!((held.addr, held.port), (None, 30080));
    assert_eq!(asked.addr, "0.0.0.0".parse().ok());
    let relay = relay(asked);
    let backends: Vec<String> = relay.backends.iter().map(|it| format!("{}", it.origin)).collect();
    assert_eq!(backends, ["Pod default/a"]);
    assert_eq!(relay.affinity, Some(Duration::from_secs(60)));
    assert_eq!(relay.udp_idle, Duration::from_millis(250));
}

#[test]
fn only_the_family_of_the_nodes_first_address_is_served_and_sctp_is_not() {
    let both = json!({"ipFamilyPolicy": "RequireDualStack"});
    let sctp = json!({"ports": [{"port": 80, "protocol": "SCTP", "nodePort": 30080}], "type": "NodePort"});
    let services = [
        service("both", both.clone()),
        service("four", json!({"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})),
        service("six", json!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"})),
        service("sctp", sctp),
    ];
    let named = |nets: &[&str]| -> Vec<String> {
        sockets(&with(nets, &services, &[]))
            .iter()
            .map(|it| format!("{} {}", it.origin, it.addr.expect("an address")))
            .collect()
    };
    let mut four = named(&["10.96.0.0/12", "fd00:96::/112"]);
    four.sort();
    assert_eq!(
        four,
        ["Service default/both spec.ports[0] 0.0.0.0", "Service default/four spec.ports[0] 0.0.0.0"]
    );
    let six_first = with(&["fd00:96::/112", "10.96.0.0/12"], &services, &[]);
    let whole = rules(&six_first);
    let has = |family| whole.xt_table(family, "nat").is_some_and(|t| t.chain("KUBE-PORTALS-HOST").is_some());
    assert!(has(Family::V6) && !has(Family::V4));
    let v4 = whole.xt_table(Family::V4, "nat").expect("the table");
    assert!(
        v4.chains.iter().flat_map(|chain| &chain.rules).all(|rule| rule.origin.to_string() != "kube-proxy")
    );
}

#[test]
fn entries_of_a_udp_service_port_that_is_gone_are_deleted() {
    let config = shop::config();
    let ports = shop::ports(&config);
    let all: Vec<_> = ports.iter().map(|port| &*port.record).collect();
    let rest: Vec<_> = all.iter().copied().filter(|record| &*record.name != "empty").collect();
    let entry = |addr: &str, protocol| Entry {
        protocol,
        original_destination: (addr.parse().expect("an address"), 5353),
        reply_source: ("192.168.0.2".parse().expect("an address"), 57041),
    };
    let gone = Cleanup::of_userspace(all.iter().copied(), rest.iter().copied());
    assert!(gone.deletes(&entry("10.96.0.6", Protocol::Udp)), "whatever the port");
    assert!(!gone.deletes(&entry("10.96.0.6", Protocol::Tcp)));
    assert!(!gone.deletes(&entry("10.96.0.1", Protocol::Udp)));
    let kept = Cleanup::of_userspace(all.iter().copied(), all.iter().copied());
    assert!(!kept.deletes(&entry("10.96.0.6", Protocol::Udp)), "an endpoint that changes is not kube-proxy");
}

/// A packet that a rule is for.
fn key(rule: &Rule) -> PacketKey {
    let mut key = PacketKey { src: NOWHERE, dst: NOWHERE, protocol: 6, ports: None };
    for condition in &rule.matches {
        match condition {
            Match::Destination(net) => key.dst = net.value.addr(),
            Match::Protocol(number) => key.protocol = number.value,
            Match::Tcp(Tcp { dport: Some(port), .. }) | Match::Udp(Ports { dport: Some(port), .. }) => {
                key.ports = Some((40000, port.value.first));
            }
            _ => {}
        }
    }
    key
}

fn hold_rules(supply: &NodeSupply, whole: &Ruleset) {
    for table in &whole.xt {
        let base = supply.ruleset().xt_table(table.family, &table.name).expect("the table");
        for chain in &table.chains {
            if let Some(held) = base.chain(&chain.name) {
                assert_eq!(held, chain);
                continue;
            }
            let nobody = PacketKey { src: NOWHERE, dst: NOWHERE, protocol: 6, ports: Some((1, 2)) };
            for key in chain.rules.iter().map(key).chain([nobody]) {
                let made = supply.xt_chain(table.family, &table.name, &chain.name, &key).expect("the chain");
                let mut rest = chain.rules.iter();
                assert!(made.rules.iter().all(|rule| rest.any(|other| other == rule)), "in order");
                let could = |rule: &&Rule| self::key(rule) == key;
                let (there, all) = (made.rules.iter().filter(could), chain.rules.iter().filter(could));
                assert!(there.eq(all), "{} {key:?}", chain.name);
            }
        }
    }
}

fn hold_sockets(cluster: &Cluster) {
    let node = machine(cluster, MachineId(0)).expect("a node");
    let MoreSockets::Supplied(supply) = &node.netns[0].more_sockets else { panic!("there are none") };
    let whole = supply.whole();
    let mut seen = BTreeSet::new();
    for socket in &whole {
        assert!(seen.insert((socket.protocol, socket.port)), "{socket:?}");
        let made = |family| supply.socket(socket.protocol, family, socket.port);
        assert_eq!(made(Family::V4).as_ref(), Some(socket));
        assert_eq!(made(Family::V6).as_ref(), Some(socket).filter(|_| socket.addr.is_none()));
    }
    for port in [1, 80, 30000, 40000] {
        let there = whole.iter().find(|socket| (socket.protocol, socket.port) == (Protocol::Tcp, port));
        assert_eq!(supply.socket(Protocol::Tcp, Family::V4, port).as_ref(), there);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_made_when_it_is_looked_up_is_what_is_made_as_a_whole(services in traits(5), pods in traits(8)) {
        let cluster = cluster(ProxyMode::Userspace, &services, &pods);
        let whole = rules(&cluster);
        let supply = NodeSupply::new(&cluster, 0).expect("a node");
        prop_assert_eq!(supply.whole(), whole.clone());
        hold_rules(&supply, &whole);
        hold_sockets(&cluster);
    }
}

#[test]
fn rules_lead_to_the_sockets() {
    let cluster = cluster(ProxyMode::Userspace, &[1, 0b100_0010], &[0b10_0100]);
    let config = ProxyConfig::of_node(&cluster, 0, Family::V4).expect("a node");
    let node_ip: IpAddr = config.node_ip.expect("an address");
    let listened: BTreeSet<String> =
        sockets(&cluster).iter().map(|socket| format!("{}", socket.port)).collect();
    let text = dump(&rules(&cluster).xt);
    let targets = text.lines().filter_map(|line| {
        let (_, port) =
            line.split_once(" REDIRECT ").or_else(|| line.split_once(&format!(" DNAT {node_ip}:")))?;
        Some(port)
    });
    let targets: BTreeSet<String> = targets.map(Into::into).collect();
    assert_eq!(targets.len(), 4);
    assert!(targets.is_subset(&listened));
}
