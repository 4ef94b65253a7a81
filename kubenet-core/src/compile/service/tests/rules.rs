#![allow(clippy::wildcard_enum_match_arm, reason = "what is not expected here shows in a dump")]

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::objects;
use crate::addr::Family;
use crate::assume::Assume;
use crate::cluster::{Cluster, ProxyMode, resolve};
use crate::compile::service::{NodeRules, NodeSupply, nftables, touched_services};
use crate::plan::netfilter::{PacketKey, Ruleset, Supply};
use crate::plan::nft;
use crate::plan::xt::{Match, Ports, Rule, Table, Target, Tcp};

/// What a Service or a pod is like, bit by bit.
pub(super) type Traits = u32;

fn has(traits: Traits, bit: u32) -> bool {
    traits >> bit & 1 == 1
}

fn service(number: usize, traits: Traits) -> Value {
    let target = if has(traits, 2) { json!("http") } else { json!(8080) };
    let kind = ["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer"][(traits & 3) as usize];
    let mut spec = json!({
        "selector": {"app": format!("app-{}", number % 3)},
        "type": kind,
        "ports": [
            {"name": "web", "port": 80, "targetPort": target},
            {"name": "dns", "port": 53, "protocol": "UDP"},
        ],
    });
    if has(traits, 3) {
        spec["externalTrafficPolicy"] = json!("Local");
        spec["healthCheckNodePort"] = json!(30500 + number);
    }
    if has(traits, 4) {
        spec["internalTrafficPolicy"] = json!("Local");
    }
    if has(traits, 5) {
        spec["sessionAffinity"] = json!("ClientIP");
    }
    if has(traits, 6) {
        // Two Services may share an address.
        spec["externalIPs"] = json!([format!("198.51.100.{}", number / 2)]);
    }
    if has(traits, 7) {
        spec["loadBalancerSourceRanges"] = json!(["203.0.113.0/24"]);
    }
    let mut service = json!({"kind": "Service", "metadata": {"name": format!("svc-{number}")}, "spec": spec});
    if traits & 3 > 1 {
        service["status"] = json!({"loadBalancer": {"ingress": [{"ip": format!("192.0.2.{number}")}]}});
    }
    service
}

fn pod(number: usize, traits: Traits) -> Value {
    let node = if has(traits, 2) { "node-1" } else { "node-2" };
    let ready = if has(traits, 5) { "True" } else { "False" };
    let host_network = has(traits, 3) && has(traits, 4);
    let port = 8000 + (traits >> 4 & 1);
    let mut pod = json!({
        "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "labels": {"app": format!("app-{}", traits & 3)}},
        "spec": {
            "nodeName": node,
            "hostNetwork": host_network,
            "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}],
        },
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    });
    if has(traits, 6) && has(traits, 7) {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    if has(traits, 8) {
        pod["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(9000 + number);
    }
    pod
}

pub(super) fn cluster(mode: ProxyMode, services: &[Traits], pods: &[Traits]) -> Cluster {
    let mut list: Vec<Value> =
        ["node-1", "node-2"].iter().map(|name| json!({"kind": "Node", "metadata": {"name": name}})).collect();
    list.extend(services.iter().enumerate().map(|(number, traits)| service(number, *traits)));
    list.extend(pods.iter().enumerate().map(|(number, traits)| pod(number, *traits)));
    let assume = Assume { proxy_mode: Some(mode), ..Assume::default() };
    resolve(&Arc::new(objects(&list)), &assume, None).0
}

pub(super) fn rules(cluster: &Cluster) -> Ruleset {
    NodeRules::new(cluster, 0).expect("a node").ruleset(cluster)
}

pub(super) const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

/// A packet that a rule of a shared chain is for.
fn key(rule: &Rule) -> PacketKey {
    let mut key = PacketKey { src: NOWHERE, dst: NOWHERE, protocol: 6, ports: None };
    for condition in &rule.matches {
        match condition {
            Match::Destination(net) => key.dst = net.value.addr(),
            Match::Protocol(number) => key.protocol = number.value,
            Match::Tcp(Tcp { dport: Some(port), .. })
            | Match::Udp(Ports { dport: Some(port), .. })
            | Match::Sctp(Ports { dport: Some(port), .. }) => key.ports = Some((40000, port.value.first)),
            _ => {}
        }
    }
    key
}

/// Chains that all service ports share.
const SHARED: [&str; 4] =
    ["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL"];

/// Follows the jumps of rules through the supply, and holds every chain on the way to be the one of the whole.
fn follow(
    supply: &NodeSupply,
    whole: &Table,
    rules: &[Rule],
    key: &PacketKey,
    seen: &mut BTreeSet<Arc<str>>,
) {
    let base = supply.ruleset().xt_table(whole.family, &whole.name).expect("the table");
    for rule in rules {
        let Some(Target::Jump(name)) = &rule.target else { continue };
        if base.chain(name).is_some() || SHARED.contains(&&**name) || !seen.insert(name.clone()) {
            continue;
        }
        let made = supply.xt_chain(whole.family, &whole.name, name, key);
        let made = made.unwrap_or_else(|| panic!("{name} is not made"));
        assert_eq!(Some(&made), whole.chain(name));
        follow(supply, whole, &made.rules, key, seen);
    }
}

fn hold_iptables(cluster: &Cluster) {
    let whole = rules(cluster);
    let supply = NodeSupply::new(cluster, 0).expect("a node");
    assert_eq!(supply.whole(), whole);
    for table in &whole.xt {
        let base = supply.ruleset().xt_table(table.family, &table.name).expect("the table");
        let mut seen = BTreeSet::new();
        for chain in table.chains.iter().filter(|chain| SHARED.contains(&&*chain.name)) {
            for rule in &chain.rules {
                let key = key(rule);
                let made = supply.xt_chain(table.family, &table.name, &chain.name, &key).expect("the chain");
                assert!(made.rules.contains(rule), "{} lacks {rule:?}", chain.name);
                let mut all = chain.rules.iter();
                assert!(
                    made.rules.iter().all(|rule| all.any(|other| other == rule)),
                    "{} in order",
                    chain.name
                );
                follow(&supply, table, core::slice::from_ref(rule), &key, &mut seen);
            }
        }
        // What is there is whole, and what is not is found by whoever asks.
        let nobody = PacketKey { src: NOWHERE, dst: NOWHERE, protocol: 1, ports: None };
        for chain in table.chains.iter().filter(|chain| !SHARED.contains(&&*chain.name)) {
            let made = || supply.xt_chain(table.family, &table.name, &chain.name, &nobody);
            assert_eq!(base.chain(&chain.name).cloned().or_else(made).as_ref(), Some(chain));
        }
    }
}

fn hold_nftables(cluster: &Cluster) {
    let whole = rules(cluster);
    let supply = NodeSupply::new(cluster, 0).expect("a node");
    for table in &whole.nft {
        let base = supply.ruleset().nft_table(table.family, &table.name).expect("the table");
        for chain in &table.chains {
            let held = base.chain(&chain.name).cloned();
            let made = held.or_else(|| supply.nft_chain(table.family, &table.name, &chain.name));
            assert_eq!(made.as_ref(), Some(chain));
        }
        assert_eq!(base.sets.len(), table.sets.len());
        for set in &table.sets {
            if !supply.asks_elements(table.family, &table.name, &set.name) {
                assert_eq!(base.set(&set.name), Some(set));
                continue;
            }
            assert!(nftables::Shared::named(&set.name).is_some());
            for element in &set.elements {
                let made = supply.nft_element(table.family, &table.name, &set.name, &element.key);
                assert_eq!(made.as_ref(), Some(element), "{}", set.name);
                let mut other = element.key.clone();
                if let Some(nft::Value::Number(port)) = other.last_mut() {
                    *port ^= 1 << 15;
                    assert_eq!(supply.nft_element(table.family, &table.name, &set.name, &other), None);
                }
            }
            let nobody: Vec<nft::Value> = set.key.iter().map(|_| nft::Value::Number(0)).collect();
            assert_eq!(supply.nft_element(table.family, &table.name, &set.name, &nobody), None);
        }
    }
}

pub(super) fn traits(count: usize) -> impl Strategy<Value = Vec<Traits>> {
    prop::collection::vec(0..1_u32 << 9, 0..count)
}

const MODES: [ProxyMode; 4] =
    [ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs, ProxyMode::Userspace];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_made_when_it_is_looked_up_is_what_is_made_as_a_whole(services in traits(6), pods in traits(9)) {
        hold_iptables(&cluster(ProxyMode::Iptables, &services, &pods));
        hold_nftables(&cluster(ProxyMode::Nftables, &services, &pods));
    }

    #[test]
    fn a_change_gives_the_same_rules_as_from_scratch(
        services in traits(6),
        pods in traits(9),
        more_services in traits(6),
        more_pods in traits(9),
        mode in prop::sample::select(&MODES[..]),
    ) {
        let before = cluster(mode, &services, &pods);
        let mut kept = NodeRules::new(&before, 0).expect("a node");
        let (mut changed_services, mut changed_pods) = (services.clone(), pods.clone());
        changed_services.splice(..services.len().min(1), more_services);
        changed_pods.splice(..pods.len().min(1), more_pods);
        let (after, changed) = cluster(mode, &changed_services, &changed_pods).changed_since(&before);
        kept.update(&after, touched_services(&before, &after, &changed).as_ref());
        prop_assert_eq!(kept.ruleset(&after), rules(&after));
    }
}

#[test]
fn a_changed_pod_touches_the_services_that_select_it_and_no_others() {
    let pods = [0b10_0100, 0b10_0101, 0b10_0110];
    let before = cluster(ProxyMode::Iptables, &[0, 0, 0], &pods);
    let sick = [0b10_0100, 0b00_0101, 0b10_0110];
    let (after, changed) = cluster(ProxyMode::Iptables, &[0, 0, 0], &sick).changed_since(&before);
    let touched = touched_services(&before, &after, &changed).expect("not everything");
    let names: Vec<String> = touched.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    assert_eq!(names, ["default/svc-1"]);
}

#[test]
fn a_look_up_of_a_chain_that_is_not_there_finds_nothing() {
    let cluster = cluster(ProxyMode::Iptables, &[0], &[0b10_0100]);
    let supply = NodeSupply::new(&cluster, 0).expect("a node");
    let dst: IpAddr = cluster.services[0].cluster_ips[0];
    let key = PacketKey { src: dst, dst, protocol: 6, ports: Some((1, 80)) };
    for name in ["KUBE-SVC-NOBODY", "KUBE-SEP-NOBODY", "NOBODY", "KUBE-", ""] {
        assert!(supply.xt_chain(Family::V4, "nat", name, &key).is_none(), "{name}");
        assert!(supply.nft_chain(nft::TableFamily::Ip, "kube-proxy", name).is_none(), "{name}");
    }
    assert!(supply.xt_chain(Family::V6, "nat", "KUBE-SERVICES", &key).is_none());
}
