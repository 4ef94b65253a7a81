use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use super::{AskError, Dump, Limits, Network, Question};
use crate::addr::Protocol;
use crate::assume::Assume;
use crate::k8s::Objects;
use crate::k8s::build::{Node, Pod, Service};
use crate::plan::{Audience, MachineId, MachinePlan, PlanSource, Segment, SegmentId, Station};
use crate::trace::{Chance, Outcome, Verdict};

fn two_pods() -> Network {
    let mut objects = Objects::default();
    objects.put(Pod::new("client").on_node("alpha").build());
    objects.put(Pod::new("server").on_node("beta").port(Protocol::Tcp, 8080).build());
    Network::new(objects, Assume::default(), None)
}

#[test]
fn a_network_may_be_shared_between_threads() {
    fn check<T: Send + Sync + Clone>(_: &T) {}
    check(&two_pods());
}

/// Counts what a trace asks for.
struct Counted<'a, P> {
    below: &'a P,
    machines: RefCell<BTreeSet<MachineId>>,
    everyone: Cell<u32>,
}

impl<P: PlanSource> PlanSource for Counted<'_, P> {
    fn machine_count(&self) -> u32 {
        self.below.machine_count()
    }

    fn machine(&self, id: MachineId) -> Option<Arc<MachinePlan>> {
        self.machines.borrow_mut().insert(id);
        self.below.machine(id)
    }

    fn machine_named(&self, name: &str) -> Option<MachineId> {
        self.below.machine_named(name)
    }

    fn segment(&self, id: SegmentId) -> Option<Segment> {
        self.below.segment(id)
    }

    fn stations(&self, segment: SegmentId, audience: Audience) -> Vec<Station> {
        if audience == Audience::Everyone {
            self.everyone.set(self.everyone.get() + 1);
        }
        self.below.stations(segment, audience)
    }
}

#[test]
fn one_trace_among_five_thousand_nodes_asks_for_the_machines_that_it_meets() {
    let mut objects = Objects::default();
    for number in 0..5_000 {
        let name = format!("app-{number}");
        objects.put(Pod::new(&name).label("app", &name).port(Protocol::Tcp, 8080).deployment(20));
    }
    let network = Network::new(objects, Assume { nodes: Some(5_000), ..Assume::default() }, None);
    let cluster = network.cluster();
    assert_eq!((cluster.nodes.len(), cluster.pods.len()), (5_000, 100_000));
    let from = &cluster.pods[0];
    let to = cluster.pods.iter().find(|pod| pod.node != from.node).expect("another node");
    let plans = network.plans();
    let counted = Counted { below: &plans, machines: RefCell::default(), everyone: Cell::new(0) };
    let question = Question::new(format!("pod/{}", from.name), format!("pod/{}:8080", to.name));
    let trace = network.trace_through(&counted, &question).expect("an answer");
    assert_eq!(trace.verdict(), Some(Verdict::Connected));
    let met: BTreeSet<_> = [from.node, to.node].into_iter().flatten().map(MachineId).collect();
    assert_eq!(*counted.machines.borrow(), met);
    assert_eq!(counted.everyone.get(), 0);
}

#[test]
fn a_limit_of_bytes_ends_a_run_and_says_so() {
    let question = Question {
        limits: Limits { bytes: 500, ..Limits::default() },
        ..Question::new("pod/client", "pod/server:8080")
    };
    let trace = two_pods().trace(&question).expect("an answer");
    let case = &trace.outcomes[0];
    assert_eq!((case.outcome, case.verdict), (Outcome::Unknown, Verdict::Unknown));
    let reason = case.reason.as_ref().expect("a reason");
    assert_eq!(reason.text, "the run recorded as many bytes as its limit allows");
}

#[test]
fn a_cancelled_trace_ends_with_an_error() {
    let network = two_pods();
    let question = Question::new("pod/client", "pod/server:8080");
    assert_eq!(network.traces_until(&question, &|| true), Err(AskError::Cancelled));
}

#[test]
fn a_pinned_race_falls_as_it_is_told() {
    let mut objects = Objects::default();
    for name in ["client", "server", "other"] {
        objects.put(Pod::new(name).on_node("alpha").port(Protocol::Tcp, 8080).build());
    }
    let plain = Network::new(objects, Assume::default(), None);
    let server = plain.cluster().pods.iter().find(|pod| &*pod.name == "server").expect("the server");
    let addr = server.addresses[0];
    let mut assume = Assume::default();
    let fault = format!("duplicate-address default/other dev eth0 {addr}/24");
    assume.set("faults", &fault).expect("a fault");
    let network = plain.with_assume(assume);
    let explored = Question {
        chance: Chance::Explored { branches: 16 },
        ..Question::new("pod/client", "pod/server:8080")
    };
    let all = network.trace(&explored).expect("an answer");
    let told: Vec<String> =
        all.outcomes.iter().map(|case| format!("{} {}", case.probability, case.verdict)).collect();
    assert_eq!(told, ["1/2 connected", "1/2 wrong-peer"]);
    for case in &all.outcomes {
        let pins = case.choices.iter().map(|taken| (taken.point.clone(), taken.index)).collect();
        let pinned = Question { chance: Chance::Seeded { seed: 7, pins }, ..explored.clone() };
        let trace = network.trace(&pinned).expect("an answer");
        assert_eq!(trace.outcomes[0].verdict, case.verdict);
        assert_eq!(trace.outcomes[0].choices, case.choices);
        assert!(trace.question.said.is_empty(), "{:?}", trace.question.said);
    }
    let point = all.outcomes[0].choices[0].point.clone();
    let pins = [("nowhere".into(), 1), (point.clone(), 2)].into();
    let idle = Question { chance: Chance::Seeded { seed: 7, pins }, ..explored };
    let said = network.trace(&idle).expect("an answer").question.said;
    let wanted = [
        format!("the pin 'nowhere=1' met no choice; there were '{point}' of 2"),
        format!("the pin '{point}=2' has 2 ways, counted from 0"),
    ];
    assert_eq!(said, wanted);
}

#[test]
fn a_workload_with_a_star_is_every_pod_of_it() {
    let mut objects = Objects::default();
    objects.put(Pod::new("web").port(Protocol::Tcp, 8080).deployment(3));
    objects.put(Pod::new("client").build());
    let network = Network::new(objects, Assume::default(), None);
    let question = Question::new("pod/client", "deploy/web[*]:8080");
    assert_eq!(network.traces(&question).expect("answers").len(), 3);
    let error = network.trace(&question).expect_err("it means three pods");
    assert_eq!(format!("{error}"), "'deploy/web[*]:8080' means 3 pods; name one");
}

#[test]
fn a_port_of_a_service_is_a_listener_of_its_pods() {
    let mut objects = Objects::default();
    objects.put(Pod::new("client").build());
    objects.put(Pod::new("web").label("app", "web").build());
    objects.put(Service::new("web").selector("app", "web").port(Protocol::Tcp, 80, 9090).build());
    let network = Network::new(objects, Assume::default(), None);
    let trace = network.trace(&Question::new("pod/client", "pod/web:9090")).expect("an answer");
    let told: Vec<&str> = trace.assumptions.iter().map(|assumption| &*assumption.text).collect();
    assert_eq!(told[0], "a process listens on port 9090 of default/web: Service default/web leads there");
}

#[test]
fn the_transport_of_a_port_is_the_one_that_it_is_declared_for() {
    let mut objects = Objects::default();
    objects.put(Pod::new("client").build());
    objects.put(Pod::new("dns").port(Protocol::Udp, 53).build());
    let network = Network::new(objects, Assume::default(), None);
    let trace = network.trace(&Question::new("pod/client", "pod/dns:53")).expect("an answer");
    assert_eq!((trace.question.protocol, trace.verdict()), (Protocol::Udp, Some(Verdict::Answered)));
    assert_eq!(trace.question.said, ["port 53 is declared for udp"]);
    let error = network.trace(&Question::new("pod/client", "node/node-1")).expect_err("no port");
    assert_eq!(format!("{error}"), "say which port: node/node-1:PORT, or --proto icmp for an echo request");
}

#[test]
fn pods_of_a_node_without_a_range_reach_each_other_somehow() {
    // A snapshot in which nobody says which CNI gave the addresses.
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "uid": "1"},
         "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "uid": "2"},
         "spec": {"nodeName": "a"}, "status": {"phase": "Running", "podIP": "192.168.1.1"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "y", "uid": "3"},
         "spec": {"nodeName": "a"}, "status": {"phase": "Running", "podIP": "192.168.1.2"}}
    ]}"#;
    let network = Network::from_text("dump.json", text);
    assert!(network.cluster().pod_network_gap().is_some());
    let trace = network.trace(&Question::new("pod/x", "pod/y:80")).expect("an answer");
    // Nobody collected NetworkPolicies; but for them it is delivered.
    assert_eq!(trace.verdict(), Some(Verdict::Unknown));
    assert_eq!(trace.outcomes[0].otherwise, Some(Verdict::Connected));
    assert!(trace.outcomes[0].hops.iter().any(|hop| hop.machine.starts_with("pod network")));
}

#[test]
fn a_node_of_the_input_is_used_as_it_is() {
    let mut objects = Objects::default();
    objects.put(Node::new("alpha").address("192.168.7.5").pod_cidr("10.9.4.0/24").build());
    objects.put(Pod::new("web").build());
    let network = Network::new(objects, Assume::default(), None);
    let pod = &network.cluster().pods[0];
    assert!(format!("{}", pod.addresses[0]).starts_with("10.9.4."), "{:?}", pod.addresses);
}

/// The dump of a node: one file.
fn dump(node: &str, file: &str, text: &str) -> Dump {
    Dump { node: node.into(), folder: node.into(), files: Vec::from([(file.into(), text.into())]) }
}

#[test]
fn a_packet_that_would_ask_rules_which_were_read_in_part_comes_to_an_unknown_end() {
    let question = Question::new("pod/client", "pod/server:8080");
    let trace = |node: &str, text: &str| {
        let network = two_pods().observe(Vec::from([dump(node, "iptables-save.txt", text)]));
        network.trace(&question).expect("a trace")
    };
    let whole = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";
    let broken = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -d nonsense -j DROP\nCOMMIT\n";
    for node in ["alpha", "beta"] {
        assert_eq!(trace(node, whole).verdict(), Some(Verdict::Connected));
        let cut = trace(node, whole.trim_end_matches("COMMIT\n"));
        for unknown in [trace(node, broken), cut] {
            assert_eq!(unknown.verdict(), Some(Verdict::Unknown));
            let told = format!("iptables-save of {node} could not be read whole");
            assert!(format!("{unknown:?}").contains(&told), "{unknown:?}");
        }
    }
    // Rules that a packet does not meet are no doubt.
    let input = "*nat\n:INPUT ACCEPT [0:0]\nCOMMIT\n*raw\nCOMMIT\n*mangle\nCOMMIT\n*filter\nCOMMIT\n";
    assert_eq!(trace("alpha", input).verdict(), Some(Verdict::Connected));
    let other = two_pods().observe(Vec::from([dump("gamma", "iptables-save.txt", broken)]));
    assert_eq!(other.trace(&question).expect("a trace").verdict(), Some(Verdict::Connected));
    let six = two_pods().observe(Vec::from([dump("alpha", "ip6tables-save.txt", broken)]));
    assert_eq!(six.trace(&question).expect("a trace").verdict(), Some(Verdict::Connected));
}

#[test]
fn a_dump_of_a_node_that_the_input_does_not_have_is_told_where_it_has_others() {
    let told = |network: &Network| -> Vec<String> {
        let of = network.diagnostics().filter(|told| told.code == "dump-node");
        of.map(|told| format!("{}: {}", told.severity, told.message)).collect()
    };
    let rules = |node| dump(node, "iptables-save.txt", "*filter\nCOMMIT\n");
    let typo = two_pods().observe(Vec::from([rules("alpha"), rules("typo")]));
    let message = "warning: --dump names node 'typo', which the input does not have (it has alpha, beta): it is taken as one \
                   more node";
    assert_eq!(told(&typo), [message]);
    assert_eq!(told(&typo.with(&[])), [message], "a change keeps it");
    assert!(typo.cluster().node_named("typo").is_some());
    assert_eq!(told(&two_pods().observe(Vec::from([rules("alpha")]))), [""; 0]);
    // Nodes that are only made up are none of the input's.
    let alone = Network::from_text("none.yaml", "").observe(Vec::from([rules("a"), rules("b")]));
    assert_eq!(told(&alone), [""; 0]);
}

#[test]
fn a_made_up_node_that_is_dumped_stays_beside_one_that_the_input_does_not_have() {
    let rules = |node| dump(node, "iptables-save.txt", "*filter\nCOMMIT\n");
    let network = Network::from_text("none.yaml", "").observe(Vec::from([rules("node-1"), rules("worker")]));
    let names: Vec<&str> = network.observed().map(|machine| &*machine.name).collect();
    assert_eq!(names, ["node-1", "worker"]);
}
