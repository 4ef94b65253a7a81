//! What a look-up and a change cost, counted: no clock is asked.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde_json::{Value, json};

use super::objects;
use crate::addr::Family;
use crate::assume::Assume;
use crate::cluster::{Cluster, ProxyMode, resolve};
use crate::compile::service::{NodeRules, NodeSupply};
use crate::plan::netfilter::{PacketKey, Ruleset, Supply};
use crate::plan::xt::Chain;

/// So many Services, each with a pod.
fn cluster(services: usize) -> Cluster {
    let node = json!({"kind": "Node", "metadata": {"name": "node-1"}});
    let of = |number: usize| {
        let name = format!("app-{number}");
        let pod = json!({
            "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {"nodeName": "node-1"},
        });
        let spec = json!({
            "clusterIP": format!("10.96.{}.{}", number / 200, 1 + number % 200),
            "selector": {"app": name}, "ports": [{"port": 80}],
        });
        [pod, json!({"kind": "Service", "metadata": {"name": name}, "spec": spec})]
    };
    let list: Vec<Value> = [node].into_iter().chain((0..services).flat_map(of)).collect();
    let assume = Assume { proxy_mode: Some(ProxyMode::Iptables), ..Assume::default() };
    resolve(&Arc::new(objects(&list)), &assume, None).0
}

#[test]
fn a_look_up_makes_the_rules_of_its_own_service_however_many_there_are() {
    let rules = |services| {
        let cluster = cluster(services);
        let supply = NodeSupply::new(&cluster, 0).expect("a node");
        let dst: IpAddr = "10.96.0.2".parse().expect("an address");
        let key = PacketKey { src: dst, dst, protocol: 6, ports: Some((40000, 80)) };
        supply.xt_chain(Family::V4, "nat", "KUBE-SERVICES", &key).map(|chain| chain.rules.len())
    };
    // Its own, and the last one that leads to node ports.
    assert_eq!((rules(2), rules(200)), (Some(2), Some(2)));
}

#[test]
fn a_change_makes_the_chains_of_its_own_service_and_leaves_the_others_as_they_are() {
    let cluster = cluster(50);
    let mut rules = NodeRules::new(&cluster, 0).expect("a node");
    let before = rules.ruleset(&cluster);
    rules.update(&cluster, Some(&BTreeSet::from([("default".into(), "app-1".into())])));
    let after = rules.ruleset(&cluster);
    let chains = |ruleset: &Ruleset| {
        let nat = ruleset.xt_table(Family::V4, "nat").expect("a table").clone();
        let own = ["KUBE-SVC-", "KUBE-SEP-", "KUBE-EXT-"];
        let is_own = |chain: &Arc<Chain>| own.iter().any(|head| chain.name.starts_with(head));
        nat.chains.into_iter().filter(is_own).collect::<Vec<_>>()
    };
    let (before, after) = (chains(&before), chains(&after));
    assert_eq!(before, after);
    let made = before.iter().zip(&after).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
    // The Service's chain and that of its endpoint.
    assert_eq!((made, before.len() > 80), (2, true));
}
