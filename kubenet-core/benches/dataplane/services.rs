//! What 10,000 Services of ten endpoints each cost a packet on the node that it leaves: the whole way from the pod's socket
//! to the node's card.
//!
//! With `nothing` there are no rules, and the packet is for an endpoint; with `tracking` there is an empty table, so that connections
//! are tracked; else kube-proxy's whole ruleset is there and the packet is for a Service.

#[path = "../service/cluster.rs"]
mod cluster;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use kubenet_core::addr::Protocol;
use kubenet_core::assume::ProxyMode;
use kubenet_core::compile::{Plans, pod_netns};
use kubenet_core::dataplane::{Client, EventId, FlowId, Limits, Machine, NoticeKind, Seeded, Skb, World};
use kubenet_core::packet::{self, Ipv4Meta, TcpSegment};
use kubenet_core::plan::xt::{Chain, Policy, Table};
use kubenet_core::plan::{Family, MachineId, MachinePlan, Netfilter, PlanSource, Replaced, Ruleset};
use kubenet_core::time::Instant;

use super::gate;

/// What the client's node has for rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    Nothing,
    Tracking,
    Of(ProxyMode),
}

const RULES: [Rules; 5] = [
    Rules::Nothing,
    Rules::Tracking,
    Rules::Of(cluster::MODES[0]),
    Rules::Of(cluster::MODES[1]),
    Rules::Of(cluster::MODES[2]),
];

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Tracking => f.write_str("tracking"),
            Self::Of(mode) => write!(f, "{mode:?}"),
        }
    }
}

/// The first node, and where its packets come from and go to.
struct Node {
    machine: Machine,
    client: Client,
    /// Frontends or endpoints whose packets leave by neighbours that are known.
    targets: Vec<(IpAddr, u16)>,
    /// Sent by the other side of an open connection, so that the client acknowledges it.
    answered: Vec<u8>,
    /// The client's card.
    card: (u32, u32),
    opened: u32,
}

/// Services whose endpoints are on the same ten nodes.
const EVERY: usize = cluster::NODES / cluster::ENDPOINTS;

impl Node {
    fn new(rules: Rules) -> Self {
        let mode = if let Rules::Of(mode) = rules { mode } else { ProxyMode::Iptables };
        let cluster = cluster::of(mode);
        let plans = Plans::new(cluster.clone());
        let id = MachineId(0);
        let mut plan = MachinePlan::clone(&plans.machine(id).expect("a node"));
        let host = &mut plan.netns[0];
        host.sysctls.conntrack.max = u32::MAX;
        host.netfilter = match rules {
            Rules::Nothing => Netfilter::Empty,
            Rules::Tracking => Netfilter::Whole(Arc::new(empty_table())),
            Rules::Of(_) => Netfilter::Whole(host.netfilter.whole()),
        };
        let plans = Replaced::new(plans, id, Arc::new(plan));

        let place =
            (0..).zip(cluster.pods.iter()).find(|(_, pod)| pod.node == Some(0)).expect("a pod on the node").0;
        let (_, netns) = pod_netns(cluster, place).expect("a namespace");
        let addr_of = |service: usize, endpoint: usize| {
            let pod = cluster.pod_named("default", &format!("app-{service}-{endpoint}")).expect("a pod");
            (cluster.pods[pod as usize].addresses[0], 8080)
        };
        let frontend = |service: usize| {
            let place = cluster.service_named("default", &format!("app-{service}")).expect("a Service");
            (cluster.services[place as usize].cluster_ips[0], 80)
        };
        let services = (EVERY / 2..cluster::SERVICES).step_by(EVERY);
        let targets: Vec<(IpAddr, u16)> = match rules {
            Rules::Nothing | Rules::Tracking => services.map(|service| addr_of(service, 0)).collect(),
            Rules::Of(_) => services.map(frontend).collect(),
        };
        let client = Client {
            netns,
            protocol: Protocol::Tcp,
            src: Some(cluster.pods[place as usize].addresses[0]),
            sport: 1024,
            dst: targets[0].0,
            dport: targets[0].1,
            payload: 0,
        };

        // Connections to all ten nodes, so that their neighbours are known, and one to a target.
        let mut world = World::new(&plans);
        let limits = Limits { steps: u64::MAX, until: Instant::from_nanos(u64::MAX) };
        let ends = (0..cluster::ENDPOINTS).map(|endpoint| addr_of(EVERY / 2, endpoint));
        for ((dst, dport), sport) in ends.chain([targets[0]]).zip(1..) {
            world.open(id, Client { dst, dport, sport, ..client }, &mut Seeded(0), &mut ());
            world.run(limits, &mut Seeded(0), &mut (), |_| false, &|| false);
            let mut notices = std::iter::from_fn(|| world.poll_notice());
            let is_up = notices.any(|(_, notice)| notice.kind == NoticeKind::Connected);
            assert!(is_up, "{rules}: no connection to {dst}");
        }
        let machine = world.machine(id).expect("the node is awake");
        let fresh = Machine::new(id, machine.plan().clone());
        let machine = std::mem::replace(machine, fresh);

        let inside = &machine.plan().netns[netns as usize];
        let (link, card) = inside.link_named("eth0").expect("the pod's card");
        let meta = Ipv4Meta {
            src: client.dst,
            dst: client.src.expect("its address"),
            ttl: 62,
            dont_fragment: true,
            id: 9,
        };
        let (seq, ack) = (1, Some(1));
        let sport = cluster::ENDPOINTS as u16 + 1;
        let segment =
            TcpSegment { sport: client.dport, dport: sport, seq, ack, psh: true, ..TcpSegment::default() };
        let mut answered = packet::tcp(&meta, &segment, b"x");
        packet::set_macs(&mut answered, card.mac, card.mac);
        Self { machine, client, targets, answered, card: (netns, link as u32), opened: 0 }
    }

    /// The first packet of another connection leaves.
    fn open(&mut self) {
        let number = self.opened;
        self.opened += 1;
        let (dst, dport) = self.targets[number as usize % self.targets.len()];
        // Each target sees every port once.
        let sport = 1024 + (number as usize / self.targets.len()) as u16;
        let client = Client { dst, dport, sport, ..self.client };
        self.machine.open(Instant::START, client, &mut Seeded(u64::from(number)), &mut ());
        assert!(self.machine.poll_transmit().is_some(), "nothing leaves for {dst}");
    }

    /// A packet of the connection that is up leaves: the acknowledgement of one that comes.
    fn answer(&mut self) {
        let frame = Skb::new(self.answered.clone(), FlowId(0), EventId::NONE);
        self.machine.handle_frame(Instant::START, self.card, frame, &mut Seeded(0), &mut ());
        assert!(self.machine.poll_transmit().is_some(), "nothing is answered");
    }
}

fn empty_table() -> Ruleset {
    let chain = |name: &str| {
        let policy = Some(Policy::Accept);
        Arc::new(Chain { name: name.into(), policy, counters: None, rules: Vec::new() })
    };
    let chains = ["INPUT", "FORWARD", "OUTPUT"].map(chain).into();
    let table = Table { family: Family::V4, name: "filter".into(), chains };
    Ruleset { xt: vec![table], ..Ruleset::default() }
}

#[divan::bench(args = RULES, sample_count = 50, sample_size = 200)]
fn new_connection(bencher: Bencher<'_, '_>, rules: Rules) {
    let mut node = Node::new(rules);
    (0..node.targets.len()).for_each(|_| node.open());
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| node.open());
}

#[divan::bench(args = RULES, sample_count = 50, sample_size = 1000)]
fn established(bencher: Bencher<'_, '_>, rules: Rules) {
    let mut node = Node::new(rules);
    node.answer();
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| node.answer());
}

/// An established packet costs little more than one whose connection is tracked, whatever the Services: its connection's NAT. In
/// mode `ipvs` it passes two hooks more and is routed twice (`ip_vs_nat_xmit`); in mode `userspace` the relay answers it.
pub(super) fn hold() {
    let mut tracked = Node::new(Rules::Tracking);
    for rules in RULES {
        let Rules::Of(mode) = rules else { continue };
        let mut node = Node::new(rules);
        let many = |node: &mut Node| (0..5_000).for_each(|_| node.answer());
        let times = gate::best_of(40, || many(&mut tracked), || many(&mut node));
        let goal = if mode == ProxyMode::Ipvs { 0.55 } else { 0.7 };
        gate::at_least(&format!("5,000 established packets, tracked alone against {mode:?}"), goal, times);
    }
}
