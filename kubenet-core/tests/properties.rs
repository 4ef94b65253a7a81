//! What holds for every cluster: the network model of Kubernetes, and the short cuts of the model itself.
//!
//! The four rules (<https://kubernetes.io/docs/concepts/services-networking/>): every pod has its own address; containers of a
//! pod share it and reach each other by localhost; pods reach all pods without NAT; a node's agents reach all pods of the node.

use std::collections::BTreeSet;

use kubenet_core::addr::Family;
use kubenet_core::assume::{Assume, Cni, Underlay};
use kubenet_core::compile::{Plans, pod_netns};
use kubenet_core::dataplane::{Client, Limits, Notice, NoticeKind, Seeded, World};
use kubenet_core::k8s::{ObjectChange, Objects};
use kubenet_core::network::{Network, Question, Table};
use kubenet_core::origin::ObjectRef;
use kubenet_core::plan::{MachineId, Protocol};
use kubenet_core::trace::{Detail, Verdict};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

/// What a random cluster is made of.
#[derive(Clone, Debug)]
struct Shape {
    cni: Cni,
    underlay: Underlay,
    families: u8,
    nodes: u32,
    /// Per pod: whether it is on the host's network.
    pods: Vec<bool>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let cni = prop_oneof![Just(Cni::Bridge), Just(Cni::Flannel), Just(Cni::Kindnet)];
    let underlay = prop_oneof![Just(Underlay::HostGw), Just(Underlay::Vxlan), Just(Underlay::Routed)];
    let pods = proptest::collection::vec(prop::bool::weighted(0.15), 2..8);
    (cni, underlay, 0..3_u8, 1..5_u32, pods).prop_map(|(cni, underlay, families, nodes, pods)| Shape {
        cni,
        underlay,
        families,
        nodes,
        pods,
    })
}

fn pod(name: &str, host: bool) -> serde_json::Value {
    let ports = if host { json!([]) } else { json!([{"containerPort": 8080}]) };
    json!({
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"hostNetwork": host, "containers": [{"name": "main", "ports": ports}]},
    })
}

fn assume(shape: &Shape) -> Assume {
    let nets = |v4: &str, v6: &str| {
        let all = [v4, v6].into_iter().enumerate().filter(|(at, _)| match shape.families {
            0 => *at == 0,
            1 => *at == 1,
            _ => true,
        });
        Some(all.map(|(_, net)| net.parse().expect("a prefix")).collect())
    };
    Assume {
        cni: Some(shape.cni.clone()),
        underlay: Some(shape.underlay),
        nodes: Some(shape.nodes),
        cluster_cidr: nets("10.244.0.0/16", "fd00:10:244::/56"),
        service_cidr: nets("10.96.0.0/12", "fd00:10:96::/112"),
        node_network: nets("172.18.0.0/16", "fd00:172:18::/64"),
        ..Assume::default()
    }
}

fn objects(shape: &Shape) -> Objects {
    let mut objects = Objects::default();
    for (place, host) in shape.pods.iter().enumerate() {
        objects.put_json(&pod(&format!("pod-{place}"), *host)).expect("a good pod");
    }
    objects
}

fn network(shape: &Shape) -> Network {
    Network::new(objects(shape), assume(shape), None)
}

fn families(shape: &Shape) -> &'static [Family] {
    match shape.families {
        0 => &[Family::V4],
        1 => &[Family::V6],
        _ => &[Family::V4, Family::V6],
    }
}

fn ask(network: &Network, from: &str, to: &str, family: Family) -> kubenet_core::trace::Trace {
    let question = Question { family: Some(family), ..Question::new(from, to) };
    network.trace(&question).unwrap_or_else(|error| panic!("{from} → {to}: {error}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pod_has_its_own_address(shape in shape()) {
        let network = network(&shape);
        let mut seen = BTreeSet::new();
        for pod in network.cluster().pods.iter().filter(|pod| !pod.host_network) {
            prop_assert_eq!(pod.addresses.len(), families(&shape).len());
            for addr in &pod.addresses {
                prop_assert!(seen.insert(*addr), "{} is given twice", addr);
            }
        }
    }

    #[test]
    fn containers_of_a_pod_reach_each_other_by_localhost(shape in shape(), which in any::<Index>()) {
        let network = network(&shape);
        let place = which.index(shape.pods.len());
        let trace = network.trace(&Question::new(format!("pod/pod-{place}"), "127.0.0.1:8080"))?;
        prop_assert_eq!(trace.verdict(), Some(Verdict::Connected), "{:?}", trace.outcomes[0].reason);
        let devices: BTreeSet<_> = trace.outcomes[0].hops.iter().filter_map(|hop| hop.device.as_deref()).collect();
        prop_assert_eq!(devices, BTreeSet::from(["lo"]));
    }

    #[test]
    fn pods_reach_all_pods_without_nat(shape in shape()) {
        let network = network(&shape);
        let cluster = network.cluster();
        for from in cluster.pods.iter().filter(|pod| !pod.host_network) {
            for to in cluster.pods.iter().filter(|pod| !pod.host_network) {
                for family in families(&shape) {
                    let (a, b) = (format!("pod/{}", from.name), format!("pod/{}:8080", to.name));
                    let trace = ask(&network, &a, &b, *family);
                    let case = &trace.outcomes[0];
                    let text = kubenet_core::scenario::describe(&trace, Detail::Full);
                    prop_assert_eq!(case.verdict, Verdict::Connected, "{}", text);
                    let seen = case.source_seen.as_ref().map(|source| source.ip);
                    let own = from.addresses.iter().find(|addr| Family::of(**addr) == *family);
                    prop_assert_eq!(seen.as_ref(), own, "{}", text);
                }
            }
        }
    }

    #[test]
    fn a_node_reaches_all_pods_of_that_node(shape in shape()) {
        let network = network(&shape);
        let cluster = network.cluster();
        for pod in cluster.pods.iter().filter(|pod| !pod.host_network) {
            let node = &cluster.nodes[pod.node.expect("a node") as usize].name;
            for family in families(&shape) {
                let trace = ask(&network, &format!("node/{node}"), &format!("pod/{}:8080", pod.name), *family);
                let text = kubenet_core::scenario::describe(&trace, Detail::Full);
                prop_assert_eq!(trace.verdict(), Some(Verdict::Connected), "{}", text);
            }
        }
    }

    #[test]
    fn asking_only_who_could_answer_equals_flooding(shape in shape(), a in any::<Index>(), b in any::<Index>()) {
        let network = network(&shape);
        let cluster = network.cluster();
        let (a, b) = (a.index(cluster.pods.len()) as u32, b.index(cluster.pods.len()) as u32);
        let Some((machine, netns)) = pod_netns(cluster, a) else { return Ok(()) };
        for family in families(&shape) {
            let find = |at: u32| cluster.pods[at as usize].addresses.iter().find(|addr| Family::of(**addr) == *family);
            let Some(dst) = find(b) else { continue };
            let client = Client {
                netns,
                protocol: Protocol::Tcp,
                src: None,
                sport: 40000,
                dst: *dst,
                dport: 8080,
                payload: 0,
            };
            let narrow = notices(&network.plans(), machine, client.clone(), false);
            let wide = notices(&network.plans(), machine, client, true);
            prop_assert_eq!(narrow, wide);
        }
    }

    #[test]
    fn a_changed_network_equals_one_that_is_built_anew(
        shape in shape(),
        changes in proptest::collection::vec((any::<Index>(), 0..3_u8), 1..5),
    ) {
        let before = network(&shape);
        let mut changed = before.clone();
        let mut objects = objects(&shape);
        for (which, what) in changes {
            let name = format!("pod-{}", which.index(shape.pods.len() + 2));
            let mut put = Objects::default();
            put.put_json(&pod(&name, what == 2)).expect("a good pod");
            let change: Vec<ObjectChange> = match what {
                0 => vec![ObjectChange::Delete(ObjectRef::namespaced("Pod", "default", &name))],
                _ => put.iter().map(ObjectChange::Put).collect(),
            };
            changed = changed.with(&change);
            objects.apply(&change);
        }
        let anew = Network::new(objects, assume(&shape), None);
        let (a, b) = (changed.cluster(), anew.cluster());
        prop_assert_eq!(&a.pods, &b.pods);
        prop_assert_eq!(&a.nodes, &b.nodes);
        prop_assert_eq!(&a.pods_on_node, &b.pods_on_node);
        let text = |network: &Network| -> Vec<String> {
            let tables = [Table::IpRoute, Table::IpAddr, Table::Ss];
            let nodes = network.cluster().nodes.iter();
            nodes.flat_map(|node| tables.map(|table| network.render(&node.name, "default", table, false)))
                .map(|text| text.expect("a node"))
                .collect()
        };
        prop_assert_eq!(text(&changed), text(&anew));
    }
}

/// What the client of one connection lives through.
fn notices(plans: &Plans, machine: MachineId, client: Client, flood: bool) -> Vec<(NoticeKind, u64)> {
    let mut world = World::new(plans);
    if flood {
        world.flood_everyone();
    }
    let mut choices = Seeded(0);
    world.open(machine, client, &mut choices, &mut ()).expect("a machine");
    let mut all: Vec<Notice> = Vec::new();
    let done = |world: &mut World<'_, Plans>| {
        while let Some((_, notice)) = world.poll_notice() {
            all.push(notice);
        }
        !all.is_empty()
    };
    world.run(Limits::default(), &mut choices, &mut (), done, &|| false);
    all.into_iter().map(|notice| (notice.kind, notice.at.as_nanos())).collect()
}

#[test]
fn a_load_balancer_is_found_without_flooding_too() {
    let version = "metallb.io/v1beta1";
    let metallb = |kind: &str, spec: serde_json::Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "all"}, "spec": spec});
    let pool = |net: &str| metallb("IPAddressPool", json!({"addresses": [net]}));
    let anybody = |kind: &str| metallb(kind, json!({}));
    let announced = [
        vec![],
        vec![pool("203.0.113.128/28"), anybody("L2Advertisement")],
        vec![pool("203.0.113.128/28"), anybody("BGPAdvertisement")],
    ];
    let outside: std::net::IpAddr = "198.51.100.10".parse().expect("an address");
    for others in announced {
        let mut objects = Objects::default();
        let server = json!({
            "kind": "Pod", "metadata": {"name": "server", "labels": {"app": "server"}},
            "spec": {"containers": [{"name": "main", "ports": [{"containerPort": 8080}]}]},
        });
        let service = json!({
            "kind": "Service", "metadata": {"name": "web"},
            "spec": {"type": "LoadBalancer", "selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        for object in others.iter().chain([&server, &service]) {
            objects.put_json(object).expect("a good object");
        }
        let network = Network::new(objects, Assume::default(), None);
        let balancer = network.cluster().services[0].load_balancer.clone().expect("a load balancer");
        let client = Client {
            netns: 0,
            protocol: Protocol::Tcp,
            src: None,
            sport: 40000,
            dst: balancer.addresses[0].addr,
            dport: 80,
            payload: 0,
        };
        let plans = network.plans().with_outside(outside);
        let machine = plans.outside(outside).expect("a host");
        let narrow = notices(&plans, machine, client.clone(), false);
        assert_eq!(narrow, notices(&plans, machine, client, true), "{:?}", balancer.addresses);
        assert!(matches!(narrow[..], [(NoticeKind::Connected, _)]), "{narrow:?} {:?}", balancer.addresses);
    }
}
