//! A node with a relay on port 40000 that a pod of it asks, told as a trace.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use expect_test::{Expect, expect};

use crate::addr::Protocol;
use crate::dataplane::{FlowKind, Probability};
use crate::network::{Network, words};
use crate::origin::ObjectRef;
use crate::plan::{
    Backend, MachineId, MoreSockets, Origin, PlanSource, Process, Relay, Replaced, Socket, SocketState,
    SocketSupply,
};
use crate::time::Duration;
use crate::trace::{Chance, Detail, LineKind, Outcome, Trace, Verdict, lines, mermaid, pcapng};

const PODS: &str = "
apiVersion: kubenet/v1
kind: Assumptions
spec:
  closed: [default/web-1:81, default/web-2:81]
  place: { default/client: node-1, default/web-0: node-1, default/web-1: node-2, default/web-2: node-2 }
---
apiVersion: v1
kind: Pod
metadata: { name: client }
---
apiVersion: v1
kind: Pod
metadata: { name: web-0 }
spec: { containers: [{ name: main, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: web-1 }
spec: { containers: [{ name: main, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: web-2 }
spec: { containers: [{ name: main, ports: [{ containerPort: 8080 }] }] }
";

/// A relay on port 40000.
#[derive(Debug)]
struct One(Relay);

impl SocketSupply for One {
    fn socket(&self, protocol: Protocol, _: crate::addr::Family, port: u16) -> Option<Socket> {
        let process = Process::Relay(self.0.clone().into());
        let (addr, dev, state, origin) = (None, None, SocketState::Listen, Origin::assumption("the relay"));
        (port == 40_000).then_some(Socket { protocol, addr, dev, port, state, process, origin })
    }

    fn whole(&self) -> Vec<Socket> {
        Vec::new()
    }
}

/// What becomes of a request to the relay, which has these pods as its backends.
fn ask(pods: &[&str], port: u16, options: &str, chance: Option<Chance>) -> Trace {
    ask_at("node/node-1", pods, port, options, chance)
}

fn ask_at(at: &str, pods: &[&str], port: u16, options: &str, chance: Option<Chance>) -> Trace {
    let network = Network::from_text("pods.yaml", PODS);
    let cluster = network.cluster();
    let backend = |name: &&str| {
        let pod = cluster.pods.iter().find(|pod| &*pod.name == *name).expect("a pod");
        let origin = Origin::object(ObjectRef::namespaced("Pod", "default", name));
        Backend { addr: pod.addresses[0], port, origin }
    };
    let relay = Relay {
        backends: pods.iter().map(backend).collect(),
        affinity: None,
        udp_idle: Duration::from_millis(250),
    };
    let plans = network.plans();
    let id: MachineId = plans.machine_named("node-1").expect("a node");
    let mut node = (*plans.machine(id).expect("a node")).clone();
    node.netns[0].more_sockets = MoreSockets::Supplied(Arc::new(One(relay)));
    let plans = Replaced::new(plans, id, Arc::new(node));
    let mut question = words(&format!("pod/client {at}:40000 {options}")).expect("a question");
    if let Some(chance) = chance {
        question.chance = chance;
    }
    network.trace_through(&plans, &question).expect("an answer")
}

fn told(trace: &Trace) -> String {
    let mut out = String::new();
    for line in lines(trace, &trace.outcomes[0], Detail::Changes) {
        let mark = if matches!(line.kind, LineKind::ReplyHop(_)) { "< " } else { "" };
        let (place, stage, text, origin) = (&line.place, &line.stage, line.text(), line.origin_words());
        out += format!("{mark}{place} {stage}: {text} ({origin})\n").trim_start();
    }
    out
}

fn check(trace: &Trace, expect: &Expect) {
    expect.assert_eq(&told(trace));
    let case = &trace.outcomes[0];
    assert!(mermaid(trace, case).starts_with("sequenceDiagram"));
    assert!(!pcapng(case).is_empty());
}

#[test]
fn the_path_goes_on_from_the_relay_to_the_pod_which_sees_the_node() {
    let trace = ask(&["web-1"], 8080, "", None);
    check(
        &trace,
        &expect![[r#"
            default/client socket: sends 10.244.0.105:40000 → 172.18.0.2:40000 tcp SYN ttl 64 ()
            node-1 socket: delivers to tcp/40000, which hands it to 10.244.1.38:8080 (assumed: the relay)
            node-1 socket: sends 172.18.0.2:32768 → 10.244.1.38:8080 tcp SYN ttl 64 (Pod default/web-1)
            node-2 forward: forwards, ttl 64 → 63 ()
            delivered: pod default/web-1 on node-2, port 8080, which sees the source 172.18.0.2 (Pod default/web-1 spec.containers[0].ports[0] (pods.yaml:17))
            < default/web-1 socket: sends 10.244.1.38:8080 → 172.18.0.2:32768 tcp SYN+ACK ttl 64 ()
            < node-2 forward: forwards, ttl 64 → 63 ()
            connected: client is connected ()
        "#]],
    );
    let case = &trace.outcomes[0];
    assert_eq!((case.outcome, case.verdict), (Outcome::Delivered, Verdict::Connected));
    assert_eq!(case.delivered_to.as_ref().map(|got| &*got.who.name), Some("web-1"));
    assert!(case.flows.iter().any(|flow| flow.kind == FlowKind::Relayed && flow.cause.is_some()));
}

#[test]
fn data_is_answered_through_the_relay() {
    let trace = ask(&["web-1"], 8080, "--payload 10", None);
    let case = &trace.outcomes[0];
    assert_eq!((case.outcome, case.verdict), (Outcome::Delivered, Verdict::Answered));
    assert_eq!(case.delivered_to.as_ref().map(|got| &*got.who.name), Some("web-1"));
}

#[test]
fn a_datagram_and_its_answer_go_through_the_relay() {
    let trace = ask_at("10.244.0.1", &["web-1"], 8080, "--proto udp --payload 5", None);
    check(
        &trace,
        &expect![[r#"
        default/client socket: sends 10.244.0.105:40000 → 10.244.0.1:40000 udp ttl 64 ()
        node-1 socket: delivers to udp/40000, which hands it to 10.244.1.38:8080 (assumed: the relay)
        node-1 socket: sends 172.18.0.2:32768 → 10.244.1.38:8080 udp ttl 64 (Pod default/web-1)
        node-2 forward: forwards, ttl 64 → 63 ()
        delivered: pod default/web-1 on node-2, port 8080, which sees the source 172.18.0.2; nothing says whether a process listens ()
        < default/web-1 socket: sends 10.244.1.38:8080 → 172.18.0.2:32768 udp ttl 64 ()
        < node-2 forward: forwards, ttl 64 → 63 ()
        < node-1 socket: delivers to the relay ()
        < node-1 socket: sends 10.244.0.1:40000 → 10.244.0.105:40000 udp ttl 64 ()
        answered: client gets an answer ()
    "#]],
    );
}

#[test]
fn an_answer_has_the_source_that_the_route_chooses() {
    let trace = ask(&["web-1"], 8080, "--proto udp --payload 5", None);
    assert!(told(&trace).contains("sends 10.244.0.1:40000"), "{}", told(&trace));
    assert_eq!(trace.outcomes[0].verdict, Verdict::Timeout);
}

#[test]
fn all_backends_refuse_and_the_client_is_hung_up_on() {
    let trace = ask(&["web-1"], 81, "", None);
    check(
        &trace,
        &expect![[r#"
        default/client socket: sends 10.244.0.105:40000 → 172.18.0.2:40000 tcp SYN ttl 64 ()
        node-1 socket: delivers to tcp/40000, which hands it to 10.244.1.38:81 (assumed: the relay)
        node-1 socket: sends 172.18.0.2:32771 → 10.244.1.38:81 tcp SYN ttl 64 (Pod default/web-1)
        node-2 forward: forwards, ttl 64 → 63 ()
        default/web-1 socket: drops: nothing listens on tcp port 81 [NO_SOCKET] (assumed: closed)
        rejected: at default/web-1 dev eth0: nothing listens on tcp port 81 [NO_SOCKET] (assumed: closed)
        < default/web-1 socket: sends 10.244.1.38:81 → 172.18.0.2:32771 tcp RST+ACK ttl 64 ()
        < node-2 forward: forwards, ttl 64 → 63 ()
        < node-1 socket: delivers to the relay ()
        < node-1 socket: sends 172.18.0.2:40000 → 10.244.0.105:40000 tcp FIN+ACK ttl 64 ()
        default/web-1 lost: relay: nothing listens on tcp port 81 [NO_SOCKET] (assumed: closed)
        closed: client is connected, and the other side closes without an answer ()
    "#]],
    );
    assert_eq!(trace.outcomes[0].verdict, Verdict::Closed);
}

#[test]
fn the_backend_that_took_it_is_the_end_of_the_path() {
    for seed in 0..4 {
        let chance = Chance::Seeded { seed, pins: alloc::collections::BTreeMap::new() };
        // Nobody refuses at web-0, where nothing says whether a process listens on the port.
        let trace = ask(&["web-0", "web-1"], 81, "", Some(chance));
        let case = &trace.outcomes[0];
        assert_eq!(case.delivered_to.as_ref().map(|got| &*got.who.name), Some("web-0"));
        assert_eq!((case.outcome, case.verdict), (Outcome::Delivered, Verdict::Connected));
    }
}

#[test]
fn a_relay_without_backends_is_where_the_packet_ends() {
    check(
        &ask(&[], 8080, "", None),
        &expect![[r#"
        default/client socket: sends 10.244.0.105:40000 → 172.18.0.2:40000 tcp SYN ttl 64 ()
        node-1 socket: delivers to tcp/40000, which has nobody to hand it to (assumed: the relay)
        node-1 socket: drops: the process has no backend to hand it to [NOT_SPECIFIED] (assumed: the relay)
        rejected: at node-1 dev cni0: the process has no backend to hand it to [NOT_SPECIFIED] (assumed: the relay)
        < node-1 socket: sends 172.18.0.2:40000 → 10.244.0.105:40000 tcp FIN+ACK ttl 64 ()
        closed: client is connected, and the other side closes without an answer ()
    "#]],
    );
    check(
        &ask(&[], 8080, "--proto udp", None),
        &expect![[r#"
        default/client socket: sends 10.244.0.105:40000 → 172.18.0.2:40000 udp ttl 64 ()
        node-1 socket: delivers to udp/40000, which has nobody to hand it to (assumed: the relay)
        node-1 socket: drops: the process has no backend to hand it to [NOT_SPECIFIED] (assumed: the relay)
        dropped: at node-1 dev cni0: the process has no backend to hand it to [NOT_SPECIFIED] (assumed: the relay)
        timeout: client gets no answer (after 5 s) ()
    "#]],
    );
}

#[test]
fn every_backend_is_a_case_of_its_own() {
    let trace = ask(&["web-0", "web-1", "web-2"], 8080, "", Some(Chance::Explored { branches: 100 }));
    assert_eq!(trace.unexplored, Probability::ZERO);
    let mut cases: Vec<(String, Probability)> = Vec::new();
    for case in &trace.outcomes {
        let name = case.delivered_to.as_ref().map_or_else(String::new, |got| String::from(&*got.who.name));
        cases.push((name, case.probability));
    }
    cases.sort();
    let third = Probability::new(1, 3);
    assert_eq!(cases, ["web-0", "web-1", "web-2"].map(|name| (name.into(), third)));
}

#[test]
fn a_backend_is_one_case_whether_it_was_asked_first_or_after_one_that_refused() {
    let chance = Chance::Explored { branches: 100 };
    let trace = ask(&["web-0", "web-1", "web-2"], 81, "", Some(chance));
    let case = &trace.outcomes[0];
    assert_eq!((trace.outcomes.len(), case.probability), (1, Probability::ONE));
    assert_eq!(case.delivered_to.as_ref().map(|got| &*got.who.name), Some("web-0"));
}
