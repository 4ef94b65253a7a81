use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{ip, net, node, pod};
use crate::cluster::address::{give_node_addresses, give_pod_addresses, give_pod_cidrs};
use crate::cluster::{Node, Pod, Setting, Settings};
use crate::origin::{Diagnostic, ObjectRef, Origin};

fn made_up(number: u32) -> Node {
    let name = format!("node-{number}");
    Node { origin: Origin::made_up(ObjectRef::cluster("Node", &name), "node"), ..node(&name, &[]) }
}

fn give(nodes: &mut [Node], pods: &mut [Pod], settings: &Settings) -> Vec<Diagnostic> {
    let mut log = Vec::new();
    give_pod_cidrs(nodes, pods, settings, &mut log);
    give_node_addresses(nodes, settings, &mut log);
    give_pod_addresses(nodes, pods, settings, &mut log);
    log
}

fn check(mut nodes: Vec<Node>, mut pods: Vec<Pod>, settings: &Settings, expect: Expect) {
    let log = give(&mut nodes, &mut pods, settings);
    let words = |items: &[String]| items.join(" ");
    let strings = |addrs: &[IpAddr]| words(&addrs.iter().map(ToString::to_string).collect::<Vec<_>>());
    let mut out = String::new();
    for n in &nodes {
        let nets: Vec<String> = n.pod_cidrs.iter().map(ToString::to_string).collect();
        out += &format!("{}: {} pods {}\n", n.name, strings(&n.addresses), words(&nets));
    }
    for p in &pods {
        out += &format!("{}: {}\n", p.name, strings(&p.addresses));
    }
    for d in log {
        out += &format!("{d}\n");
    }
    expect.assert_eq(&out);
}

#[test]
fn made_up_nodes_count_from_the_start() {
    let pods = alloc::vec![pod("a", Some(0), &[]), pod("b", Some(1), &[]), pod("c", None, &[])];
    check(
        (1..=3).map(made_up).collect(),
        pods,
        &Settings::default(),
        expect![[r#"
        node-1: 172.18.0.2 pods 10.244.0.0/24
        node-2: 172.18.0.3 pods 10.244.1.0/24
        node-3: 172.18.0.4 pods 10.244.2.0/24
        a: 10.244.0.77
        b: 10.244.1.17
        c: 
    "#]],
    );
}

#[test]
fn what_the_input_states_is_kept_and_avoided() {
    let mut nodes = alloc::vec![node("worker-a", &["10.244.0.0/24"]), node("worker-b", &[])];
    nodes[0].addresses.push(ip("172.18.0.2"));
    let mut host = pod("host", Some(0), &[]);
    host.host_network = true;
    let mut done = pod("done", Some(0), &[]);
    done.terminal = true;
    let pods = alloc::vec![done, host, pod("stated", Some(0), &["10.244.0.9"]), pod("web", Some(0), &[])];
    check(
        nodes,
        pods,
        &Settings::default(),
        expect![[r#"
        worker-a: 172.18.0.2 pods 10.244.0.0/24
        worker-b: 172.18.51.64 pods 10.244.103.0/24
        done: 
        host: 172.18.0.2
        stated: 10.244.0.9
        web: 10.244.0.212
    "#]],
    );
}

#[test]
fn dual_stack_nodes_and_pods_get_both_families_the_primary_first() {
    let settings = Settings {
        cluster_cidr: Setting::given(alloc::vec![net("fd00:10:244::/56"), net("10.244.0.0/16")]),
        node_network: Setting::assumed(alloc::vec![net("fd00:172:18::/64"), net("172.18.0.0/16")]),
        ..Settings::default()
    };
    check(
        (1..=2).map(made_up).collect(),
        alloc::vec![pod("a", Some(1), &["10.244.1.7"])],
        &settings,
        expect![[r#"
            node-1: fd00:172:18::2 172.18.0.2 pods fd00:10:244::/64 10.244.0.0/24
            node-2: fd00:172:18::3 172.18.0.3 pods fd00:10:244:1::/64 10.244.1.0/24
            a: fd00:10:244:1::6d09 10.244.1.7
        "#]],
    );
}

#[test]
fn a_full_range_is_told_and_the_rest_is_given() {
    let settings = Settings {
        cluster_cidr: Setting::given(alloc::vec![net("10.244.0.0/28")]),
        node_cidr_mask_v4: Setting::given(29),
        node_network: Setting::given(alloc::vec![net("172.18.0.0/30")]),
        ..Settings::default()
    };
    let pods = (0..9).map(|i| pod(&format!("p{i}"), Some(0), &[])).collect();
    check(
        (1..=3).map(made_up).collect(),
        pods,
        &settings,
        expect![[r#"
        node-1: 172.18.0.2 pods 10.244.0.0/29
        node-2:  pods 10.244.0.8/29
        node-3:  pods 
        p0: 10.244.0.6
        p1: 10.244.0.2
        p2: 10.244.0.4
        p3: 10.244.0.3
        p4: 10.244.0.5
        p5: 
        p6: 
        p7: 
        p8: 
        warning[range-full]: node node-3 has no pod range: pool 10.244.0.0/28 is full: all 2 of it are held
        warning[range-full]: node node-2 has no address: 172.18.0.0/30 is full
        warning[range-full]: node node-3 has no address: 172.18.0.0/30 is full
        warning[range-full]: node node-1: 4 pods have no address: 10.244.0.0/29 is full
    "#]],
    );
}

proptest! {
    #[test]
    fn every_pod_has_its_own_address_in_its_nodes_range(names in proptest::collection::btree_set("[a-z]{1,6}", 1..120), nodes in 1u32..5) {
        let mut nodes: Vec<Node> = (1..=nodes).map(made_up).collect();
        let count = nodes.len() as u32;
        let mut pods: Vec<Pod> = names.iter().zip(0u32..).map(|(name, i)| pod(name, Some(i % count), &[])).collect();
        let log = give(&mut nodes, &mut pods, &Settings::default());
        prop_assert!(log.is_empty(), "{:?}", log);
        let addresses: BTreeSet<IpAddr> = pods.iter().flat_map(|p| p.addresses.iter().copied()).collect();
        prop_assert_eq!(addresses.len(), pods.len());
        for pod in &pods {
            let range = nodes[pod.node.unwrap() as usize].pod_cidrs[0];
            let addr = pod.addresses[0];
            let last = ipnet::IpNet::broadcast(&range);
            prop_assert!(range.contains(&addr) && addr != range.network() && addr != last);
            prop_assert!(addr != range.hosts().next().unwrap(), "the gateway's");
        }
    }

    #[test]
    fn a_pod_that_goes_moves_only_those_that_it_was_in_the_way_of(names in proptest::collection::btree_set("[a-z]{1,8}", 2..60), gone in any::<prop::sample::Index>()) {
        let run = |names: &BTreeSet<String>| -> BTreeMap<String, IpAddr> {
            let mut nodes = alloc::vec![made_up(1)];
            let mut pods: Vec<Pod> = names.iter().map(|name| pod(name, Some(0), &[])).collect();
            give(&mut nodes, &mut pods, &Settings::default());
            pods.iter().map(|p| (p.name.to_string(), p.addresses[0])).collect()
        };
        let before = run(&names);
        let mut fewer = names.clone();
        let gone = gone.get(&names.iter().cloned().collect::<Vec<_>>()).clone();
        fewer.remove(&gone);
        let after = run(&fewer);
        let freed = before[&gone];
        let mut moved: Vec<(IpAddr, IpAddr)> =
            after.iter().filter(|(name, addr)| before[*name] != **addr).map(|(n, a)| (before[n], *a)).collect();
        // A chain: the first mover takes the freed place, the next the first mover's, and so on.
        let mut free = freed;
        while let Some(at) = moved.iter().position(|(_, now)| *now == free) {
            free = moved.swap_remove(at).0;
        }
        prop_assert!(moved.is_empty(), "moved without need: {:?}", moved);
    }
}
