//! What a user waits for: one trace and one change, over the number of pods.
//!
//! `cargo bench -p kubenet-core --bench trace`. `n` pods are `n/10` Deployments of ten replicas with a Service each, on `n/20` nodes;
//! the trace goes from a pod on one node to a pod on another, or in each mode of kube-proxy to a Service of pods on others.
//! Nothing is kept between two traces.

use std::sync::LazyLock;

use divan::Bencher;
use kubenet_core::addr::Protocol;
use kubenet_core::assume::{Assume, ProxyMode, Underlay};
use kubenet_core::k8s::build::{Pod, Service};
use kubenet_core::k8s::{ObjectChange, Objects};
use kubenet_core::network::{Network, Question, Table};
use kubenet_core::trace::Verdict;

fn main() {
    divan::main();
}

const PODS: [u32; 4] = [100, 1_000, 10_000, 100_000];

fn network(pods: u32) -> &'static Network {
    static NETWORKS: LazyLock<Vec<(u32, Network)>> =
        LazyLock::new(|| PODS.iter().map(|pods| (*pods, build(*pods, Underlay::HostGw))).collect());
    let found = NETWORKS.iter().find(|(size, _)| *size == pods);
    &found.expect("a size of the curve").1
}

fn build(pods: u32, underlay: Underlay) -> Network {
    let mut objects = Objects::default();
    for i in 0..pods / 10 {
        let name = format!("app-{i}");
        objects.put(Pod::new(&name).label("app", &name).port(Protocol::Tcp, 8080).deployment(10));
        objects.put(Service::new(&name).selector("app", &name).port(Protocol::Tcp, 80, 8080).build());
    }
    let nodes = Some((pods / 20).max(2));
    Network::new(objects, Assume { nodes, underlay: Some(underlay), ..Assume::default() }, None)
}

/// Two pods on different nodes.
fn question(network: &Network) -> Question {
    let pods = &network.cluster().pods;
    let from = &pods[0];
    let to = pods.iter().find(|pod| pod.node != from.node).expect("a pod on another node");
    Question::new(format!("pod/{}", from.name), format!("pod/{}:8080", to.name))
}

/// One trace, from the question's words to the verdict, every machine on the way compiled anew.
#[divan::bench(args = PODS)]
fn cold_trace(bencher: Bencher<'_, '_>, pods: u32) {
    let network = network(pods);
    let question = question(network);
    bencher.bench_local(|| network.trace(&question).expect("an answer"));
}

/// The modes of kube-proxy that are compiled.
const MODES: &[ProxyMode] =
    &[ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs, ProxyMode::Userspace];

/// One trace to one of 10,000 Services among 100,000 pods, every machine on the way compiled anew.
#[divan::bench(args = MODES)]
fn cold_trace_to_a_service(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let network = network(100_000);
    let assume = Assume { proxy_mode: Some(mode), ..network.assume().clone() };
    let network = network.with_assume(assume);
    let from = &network.cluster().pods[0].name;
    let question = Question::new(format!("pod/{from}"), "svc/app-5000:80");
    let verdict = network.trace(&question).expect("an answer").verdict();
    assert!(matches!(verdict, Some(Verdict::Connected | Verdict::Answered)), "{verdict:?}");
    bencher.bench_local(|| network.trace(&question).expect("an answer"));
}

/// One pod more, and the network built from it.
#[divan::bench(args = PODS, sample_count = 10)]
fn change_by_with(bencher: Bencher<'_, '_>, pods: u32) {
    let network = network(pods);
    let change = [ObjectChange::Put(Pod::new("one-more").port(Protocol::Tcp, 8080).build())];
    bencher.bench_local(|| network.with(&change));
}

/// One node's tables: O(nodes) with host routes.
#[divan::bench(args = PODS)]
fn routes_of_a_node(bencher: Bencher<'_, '_>, pods: u32) {
    let network = network(pods);
    bencher.bench_local(|| network.render("node-1", "default", Table::IpRoute, false).expect("a node"));
}
