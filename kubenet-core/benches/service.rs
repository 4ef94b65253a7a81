//! kube-proxy's rules at 10,000 Services of ten endpoints each: compiled as a whole, after one change, and by look-up.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use divan::{Bencher, black_box};
use kubenet_core::addr::Family;
use kubenet_core::assume::{Assume, ProxyMode};
use kubenet_core::cluster::{Cluster, InputMode, resolve};
use kubenet_core::compile::service::{NodeRules, NodeSupply};
use kubenet_core::k8s::Objects;
use kubenet_core::plan::netfilter::{PacketKey, Supply};
use kubenet_core::plan::nft;
use serde_json::json;

const SERVICES: usize = 10_000;
const ENDPOINTS: usize = 10;
const NODES: usize = 1_000;

fn main() {
    divan::main();
}

static IPTABLES: LazyLock<Cluster> = LazyLock::new(|| cluster(ProxyMode::Iptables));
static NFTABLES: LazyLock<Cluster> = LazyLock::new(|| cluster(ProxyMode::Nftables));

/// 10,000 Services and 100,000 pods on 1,000 nodes, without EndpointSlices.
fn cluster(mode: ProxyMode) -> Cluster {
    let mut objects = Objects::default();
    let mut put = |value| objects.put_json(&value).expect("a good object");
    for node in 0..NODES {
        let cidr = format!("10.{}.{}.0/24", 128 + node / 256, node % 256);
        put(
            json!({"kind": "Node", "metadata": {"name": format!("node-{node}"), "uid": "1"}, "spec": {"podCIDR": cidr}}),
        );
    }
    for service in 0..SERVICES {
        let app = format!("app-{service}");
        put(json!({
            "kind": "Service", "metadata": {"name": app},
            "spec": {
                "clusterIP": format!("10.96.{}.{}", service / 250, 1 + service % 250),
                "selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            },
        }));
        for endpoint in 0..ENDPOINTS {
            let pod = service * ENDPOINTS + endpoint;
            let (node, place) = (pod % NODES, pod / NODES);
            put(json!({
                "kind": "Pod", "metadata": {"name": format!("{app}-{endpoint}"), "labels": {"app": app}},
                "spec": {"nodeName": format!("node-{node}")},
                "status": {
                    "phase": "Running", "podIP": format!("10.{}.{}.{}", 128 + node / 256, node % 256, 2 + place),
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }));
        }
    }
    let assume = Assume { proxy_mode: Some(mode), ..Assume::default() };
    resolve(&Arc::new(objects), &assume, Some(InputMode::Snapshot)).0
}

fn of(mode: ProxyMode) -> &'static Cluster {
    match mode {
        ProxyMode::Nftables => &NFTABLES,
        ProxyMode::Iptables | ProxyMode::Ipvs | ProxyMode::Userspace => &IPTABLES,
    }
}

const MODES: [ProxyMode; 2] = [ProxyMode::Iptables, ProxyMode::Nftables];

/// All parts of all Services on one node.
#[divan::bench(args = MODES, sample_count = 5, sample_size = 1)]
fn compile(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let cluster = of(mode);
    bencher.bench_local(|| NodeRules::new(black_box(cluster), 0));
}

/// The ruleset of the parts.
#[divan::bench(args = MODES, sample_count = 5, sample_size = 1)]
fn assemble(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let cluster = of(mode);
    let rules = NodeRules::new(cluster, 0).expect("a node");
    bencher.bench_local(|| black_box(&rules).ruleset(cluster));
}

/// One Service whose endpoints changed.
#[divan::bench(args = MODES)]
fn one_change(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let cluster = of(mode);
    let mut rules = NodeRules::new(cluster, 0).expect("a node");
    let touched = BTreeSet::from([("default".into(), "app-5000".into())]);
    bencher.bench_local(|| rules.update(black_box(cluster), Some(&touched)));
}

/// What a node's supply costs before the first packet.
#[divan::bench(args = MODES)]
fn supply(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let cluster = of(mode);
    bencher.bench_local(|| NodeSupply::new(black_box(cluster), 0));
}

/// The look-ups of the first packet of a connection.
#[divan::bench(args = MODES)]
fn look_up(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let cluster = of(mode);
    let supply = NodeSupply::new(cluster, 0).expect("a node");
    let dst: IpAddr = "10.96.20.1".parse().expect("an address");
    let key = PacketKey { src: dst, dst, protocol: 6, ports: Some((40000, 80)) };
    let element = [nft::Value::Addr(dst), nft::Value::Number(6), nft::Value::Number(80)];
    bencher.bench_local(|| match mode {
        ProxyMode::Nftables => {
            let found = supply.nft_element(nft::TableFamily::Ip, "kube-proxy", "service-ips", &element);
            assert!(black_box(found).is_some());
        }
        ProxyMode::Iptables | ProxyMode::Ipvs | ProxyMode::Userspace => {
            let found = supply.xt_chain(Family::V4, "nat", "KUBE-SERVICES", &key);
            assert_eq!(black_box(found).map(|chain| chain.rules.len()), Some(2));
        }
    });
}
