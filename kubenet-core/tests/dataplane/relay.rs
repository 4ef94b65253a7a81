//! Relays: a process that accepts at once, and hands its clients to backends over connections of its own.
//!
//! A host with a relay on port 40000 routes between namespaces on veth pairs: `10.0.N.2` is the N-th one, and the first is the
//! client's. Expected from `pkg/proxy/userspace` of Kubernetes 1.21 and from what Linux does to sockets.

use core::fmt;
use core::net::IpAddr;
use std::sync::Arc;

use expect_test::{Expect, expect};
use kubenet_core::dataplane::{
    Choices, Client, ClientId, EventId, EventKind, Flow, FlowKind, Log, Machine, NoticeKind, Probability,
    Recorder, Script, Seeded, Skb, explore,
};
use kubenet_core::packet::{self, Ipv4Meta, TcpSegment, View, describe, view};
use kubenet_core::plan::{
    Action, Address, Backend, Chain, Hook, Link, LinkKind, MachineId, MachineKind, MachinePlan, MoreSockets,
    Netns, Origin, Process, Protocol, Relay, Route, RouteScope, Socket, SocketState, SocketSupply,
    Undeclared,
};
use kubenet_core::time::{Duration, Instant};

use super::host::{ip, mac};

const PORT: u16 = 40_000;

fn origin() -> Origin {
    Origin::implied("test")
}

fn socket(protocol: Protocol, port: u16, process: Process) -> Socket {
    let (addr, dev, state) = (None, None, SocketState::Listen);
    Socket { protocol, addr, dev, port, state, process, origin: origin() }
}

fn relay(backends: &[&str]) -> Relay {
    let backend = |addr: &&str| Backend { addr: ip(addr), port: 80, origin: origin() };
    Relay {
        backends: backends.iter().map(backend).collect(),
        affinity: None,
        udp_idle: Duration::from_millis(250),
    }
}

/// A host with so many namespaces beside it; all but the first listen on TCP and UDP port 80.
fn plan(pods: u8, relay: Relay) -> MachinePlan {
    let address = |link: &mut Link, net: &str| {
        let net = net.parse().expect("a prefix");
        link.addresses.push(Address { net, scope: RouteScope::Global, origin: origin() });
        net
    };
    let mut host = Netns::new("", origin());
    host.sysctls.ip_forward = true;
    let relay = Process::Relay(relay.into());
    host.sockets = vec![socket(Protocol::Tcp, PORT, relay.clone()), socket(Protocol::Udp, PORT, relay)];
    let mut machine =
        MachinePlan { name: "host".into(), kind: MachineKind::Node, netns: vec![host], origin: origin() };
    for n in 1..=pods {
        let pair = LinkKind::Veth { peer_netns: n.into(), peer: "eth0".into() };
        let mut near = Link::new(format!("veth{n}"), pair, mac(n), 1500, origin());
        let net = address(&mut near, &format!("10.0.{n}.1/24"));
        machine.netns[0].routes.push(Route::unicast(net, None, &*format!("veth{n}"), origin()));
        machine.netns[0].links.push(near);
        let mut pod = Netns::new(format!("pod{n}"), origin());
        let pair = LinkKind::Veth { peer_netns: 0, peer: format!("veth{n}").into() };
        let mut far = Link::new("eth0", pair, mac(100 + n), 1500, origin());
        let net = address(&mut far, &format!("10.0.{n}.2/24"));
        pod.links.push(far);
        pod.routes.push(Route::unicast(net, None, "eth0", origin()));
        let all = "0.0.0.0/0".parse().expect("a prefix");
        pod.routes.push(Route::unicast(all, Some(ip(&format!("10.0.{n}.1"))), "eth0", origin()));
        if n > 1 {
            let listens = [Protocol::Tcp, Protocol::Udp];
            pod.sockets = listens.map(|protocol| socket(protocol, 80, Process::Echo)).into();
        }
        pod.undeclared = Undeclared::Closed;
        machine.netns.push(pod);
    }
    machine
}

/// A run: a machine, what happened to it, and what its clients lived through.
struct Run<C> {
    machine: Machine,
    log: Log,
    now: Instant,
    choices: C,
    lived: Vec<(Instant, NoticeKind)>,
}

impl<C: Choices> Run<C> {
    fn new(plan: MachinePlan, choices: C) -> Self {
        let machine = Machine::new(MachineId(0), Arc::new(plan));
        Self { machine, log: Log::default(), now: Instant::START, choices, lived: Vec::new() }
    }

    fn open(&mut self, protocol: Protocol, sport: u16, payload: u16) -> ClientId {
        let (dst, src) = (ip("10.0.1.1"), None);
        let client = Client { netns: 1, protocol, src, sport, dst, dport: PORT, payload };
        let id = self.machine.open(self.now, client, &mut self.choices, &mut self.log);
        self.pass(Duration::from_millis(1));
        id
    }

    fn send(&mut self, client: ClientId) {
        assert!(self.machine.send(self.now, (1, client), 5, &mut self.choices, &mut self.log));
        self.pass(Duration::from_millis(1));
    }

    fn take(&mut self) {
        while let Some(notice) = self.machine.poll_notice() {
            self.lived.push((notice.at, notice.kind));
        }
    }

    fn pass(&mut self, time: Duration) {
        self.take();
        let until = self.now + time;
        while let Some((at, _)) = self.machine.poll_timeout()
            && at <= until
        {
            self.machine.handle_timeout(at, &mut self.choices, &mut self.log);
            self.take();
        }
        self.now = until;
        assert!(!self.machine.overrun());
    }

    /// What sockets sent, but for ARP, and what was dropped, and what the clients lived through.
    fn told(&self) -> String {
        let mut out = String::new();
        for (id, event) in self.log.events().iter().enumerate() {
            let at = event.at.as_nanos() / 1_000_000;
            let frame = self.log.frame(EventId(id as u32));
            let kind = self.log.flows()[event.flow.0 as usize].kind;
            let packet = || describe(frame).map_or_else(String::new, |packet| packet.to_string());
            if let EventKind::Dropped { why, .. } = &event.kind {
                out += &format!("{at} ms drop: {why}\n");
            }
            if event.kind == EventKind::Sent && kind != FlowKind::Neighbour {
                out += &format!("{at} ms {kind:?}: {}\n", packet());
            }
            if let EventKind::Delivered { listener: Some(listener), .. } = &event.kind
                && listener.contains("which")
            {
                out += &format!("{at} ms delivered to {listener}\n");
            }
        }
        for (at, kind) in &self.lived {
            out += &format!("client at {} ms: {kind}\n", at.as_nanos() / 1_000_000);
        }
        out
    }

    /// The backends that were asked, in order.
    fn asked(&self) -> Vec<IpAddr> {
        let flows = self.log.flows();
        let events = self.log.events().iter().enumerate().filter(|(_, event)| {
            event.kind == EventKind::Sent && flows[event.flow.0 as usize].kind == FlowKind::Relayed
        });
        let frames = events.map(|(id, _)| view(self.log.frame(EventId(id as u32))));
        frames.filter_map(|frame| if let Ok(View::Ip(ip)) = frame { Some(ip.dst) } else { None }).collect()
    }

    fn lived_in_ms(&self) -> Vec<(u64, NoticeKind)> {
        self.lived.iter().map(|(at, kind)| (at.as_nanos() / 1_000_000, kind.clone())).collect()
    }

    fn verdict(&self) -> Option<&NoticeKind> {
        self.lived.last().map(|(_, kind)| kind)
    }
}

/// A backend that drops what it gets.
fn silent() -> MachinePlan {
    let mut plan = plan(2, relay(&["10.0.2.2"]));
    plan.netns[2].chains.push(Chain {
        name: "input".into(),
        hook: Hook::Input,
        priority: 0,
        policy: Action::Drop,
        rules: Vec::new(),
    });
    plan
}

fn check(plan: MachinePlan, protocol: Protocol, payload: u16, expect: &Expect) {
    let mut run = Run::new(plan, Seeded(0));
    run.open(protocol, 5000, payload);
    run.pass(Duration::from_secs(40));
    assert!(!run.machine.is_relaying());
    expect.assert_eq(&run.told());
}

#[test]
fn the_client_is_connected_at_once_and_its_data_goes_there_and_back() {
    check(
        plan(2, relay(&["10.0.2.2"])),
        Protocol::Tcp,
        100,
        &expect![[r#"
        0 ms Request: 10.0.1.2:5000 → 10.0.1.1:40000 tcp SYN ttl 64
        0 ms delivered to tcp/40000, which hands it to 10.0.2.2:80
        0 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 tcp SYN+ACK ttl 64
        0 ms Data: 10.0.1.2:5000 → 10.0.1.1:40000 tcp ACK ttl 64
        0 ms Data: 10.0.1.2:5000 → 10.0.1.1:40000 tcp PSH+ACK ttl 64
        0 ms Relayed: 10.0.2.1:32768 → 10.0.2.2:80 tcp SYN ttl 64
        0 ms Data: 10.0.1.1:40000 → 10.0.1.2:5000 tcp ACK ttl 64
        0 ms Reply: 10.0.2.2:80 → 10.0.2.1:32768 tcp SYN+ACK ttl 64
        0 ms Data: 10.0.2.1:32768 → 10.0.2.2:80 tcp ACK ttl 64
        0 ms Data: 10.0.2.1:32768 → 10.0.2.2:80 tcp PSH+ACK ttl 64
        0 ms Reply: 10.0.2.2:80 → 10.0.2.1:32768 tcp PSH+ACK ttl 64
        0 ms Data: 10.0.2.1:32768 → 10.0.2.2:80 tcp ACK ttl 64
        0 ms Data: 10.0.1.1:40000 → 10.0.1.2:5000 tcp PSH+ACK ttl 64
        0 ms Data: 10.0.1.2:5000 → 10.0.1.1:40000 tcp ACK ttl 64
        client at 0 ms: connected
        client at 0 ms: answered
    "#]],
    );
}

#[test]
fn a_backend_that_refuses_is_followed_by_the_next_at_once() {
    let mut plan = plan(3, relay(&["10.0.2.2", "10.0.3.2"]));
    plan.netns[2].sockets.clear();
    for seed in 0..8 {
        let mut run = Run::new(plan.clone(), Seeded(seed));
        run.open(Protocol::Tcp, 5000, 10);
        run.pass(Duration::from_secs(40));
        assert_eq!(run.asked().last(), Some(&ip("10.0.3.2")));
        assert_eq!(run.lived_in_ms(), [(0, NoticeKind::Connected), (0, NoticeKind::Answered)]);
    }
}

#[test]
fn backends_that_are_silent_get_longer_and_longer_until_the_client_is_hung_up_on() {
    check(
        silent(),
        Protocol::Tcp,
        0,
        &expect![[r#"
            0 ms Request: 10.0.1.2:5000 → 10.0.1.1:40000 tcp SYN ttl 64
            0 ms delivered to tcp/40000, which hands it to 10.0.2.2:80
            0 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 tcp SYN+ACK ttl 64
            0 ms Data: 10.0.1.2:5000 → 10.0.1.1:40000 tcp ACK ttl 64
            0 ms Relayed: 10.0.2.1:32768 → 10.0.2.2:80 tcp SYN ttl 64
            0 ms drop: dropped in chain input
            250 ms Relayed: 10.0.2.1:32769 → 10.0.2.2:80 tcp SYN ttl 64
            250 ms drop: dropped in chain input
            750 ms Relayed: 10.0.2.1:32770 → 10.0.2.2:80 tcp SYN ttl 64
            750 ms drop: dropped in chain input
            1750 ms Relayed: 10.0.2.1:32771 → 10.0.2.2:80 tcp SYN ttl 64
            1750 ms drop: dropped in chain input
            2750 ms Retransmission: 10.0.2.1:32771 → 10.0.2.2:80 tcp SYN ttl 64
            2750 ms drop: dropped in chain input
            3750 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 tcp FIN+ACK ttl 64
            3750 ms Data: 10.0.1.2:5000 → 10.0.1.1:40000 tcp FIN+ACK ttl 64
            3750 ms Data: 10.0.1.1:40000 → 10.0.1.2:5000 tcp ACK ttl 64
            client at 0 ms: connected
            client at 3750 ms: closed by the other side
        "#]],
    );
}

#[test]
fn data_that_nobody_has_read_makes_the_close_a_reset() {
    let mut run = Run::new(silent(), Seeded(0));
    run.open(Protocol::Tcp, 5000, 10);
    run.pass(Duration::from_secs(40));
    assert_eq!(run.lived_in_ms(), [(0, NoticeKind::Connected), (3750, NoticeKind::Reset)]);
}

#[test]
fn without_backends_the_client_is_connected_and_hung_up_on() {
    check(
        plan(1, relay(&[])),
        Protocol::Tcp,
        0,
        &expect![[r#"
        0 ms Request: 10.0.1.2:5000 → 10.0.1.1:40000 tcp SYN ttl 64
        0 ms delivered to tcp/40000, which has nobody to hand it to
        0 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 tcp SYN+ACK ttl 64
        0 ms Data: 10.0.1.2:5000 → 10.0.1.1:40000 tcp ACK ttl 64
        0 ms drop: the process has no backend to hand it to
        0 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 tcp FIN+ACK ttl 64
        0 ms Data: 10.0.1.2:5000 → 10.0.1.1:40000 tcp FIN+ACK ttl 64
        0 ms Data: 10.0.1.1:40000 → 10.0.1.2:5000 tcp ACK ttl 64
        client at 0 ms: connected
        client at 0 ms: closed by the other side
    "#]],
    );
    check(
        plan(1, relay(&[])),
        Protocol::Udp,
        5,
        &expect![[r#"
        0 ms Request: 10.0.1.2:5000 → 10.0.1.1:40000 udp ttl 64
        0 ms delivered to udp/40000, which has nobody to hand it to
        0 ms drop: the process has no backend to hand it to
        client at 5000 ms: timed out
    "#]],
    );
}

#[test]
fn backends_without_a_way_to_them_count_as_asked() {
    check(
        plan(1, relay(&["192.0.2.1"])),
        Protocol::Tcp,
        0,
        &expect![[r#"
        0 ms Request: 10.0.1.2:5000 → 10.0.1.1:40000 tcp SYN ttl 64
        0 ms delivered to tcp/40000, which hands it to 192.0.2.1:80
        0 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 tcp SYN+ACK ttl 64
        0 ms Data: 10.0.1.2:5000 → 10.0.1.1:40000 tcp ACK ttl 64
        0 ms Relayed: 0.0.0.0:0 → 192.0.2.1:80 tcp SYN ttl 64
        0 ms drop: network is unreachable
        0 ms Relayed: 0.0.0.0:0 → 192.0.2.1:80 tcp SYN ttl 64
        0 ms drop: network is unreachable
        0 ms Relayed: 0.0.0.0:0 → 192.0.2.1:80 tcp SYN ttl 64
        0 ms drop: network is unreachable
        0 ms Relayed: 0.0.0.0:0 → 192.0.2.1:80 tcp SYN ttl 64
        0 ms drop: network is unreachable
        0 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 tcp FIN+ACK ttl 64
        0 ms Data: 10.0.1.2:5000 → 10.0.1.1:40000 tcp FIN+ACK ttl 64
        0 ms Data: 10.0.1.1:40000 → 10.0.1.2:5000 tcp ACK ttl 64
        client at 0 ms: connected
        client at 0 ms: closed by the other side
    "#]],
    );
}

#[test]
fn a_datagram_goes_there_and_back_and_its_socket_is_kept_for_a_while() {
    let mut run = Run::new(plan(3, relay(&["10.0.2.2", "10.0.3.2"])), Seeded(0));
    let client = run.open(Protocol::Udp, 5000, 5);
    for wait in [200, 200, 255] {
        run.pass(Duration::from_millis(wait));
        run.send(client);
    }
    run.pass(Duration::from_secs(1));
    let asked = run.asked();
    assert_eq!(asked[..3], [asked[0]; 3]);
    assert_ne!(asked[3], asked[0]);
    expect![[r#"
        0 ms Request: 10.0.1.2:5000 → 10.0.1.1:40000 udp ttl 64
        0 ms delivered to udp/40000, which hands it to one of 2 backends
        0 ms Relayed: 10.0.2.1:32768 → 10.0.2.2:80 udp ttl 64
        0 ms Reply: 10.0.2.2:80 → 10.0.2.1:32768 udp ttl 64
        0 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 udp ttl 64
        201 ms Request: 10.0.1.2:5000 → 10.0.1.1:40000 udp ttl 64
        201 ms delivered to udp/40000, which hands it to one of 2 backends
        201 ms Relayed: 10.0.2.1:32768 → 10.0.2.2:80 udp ttl 64
        201 ms Reply: 10.0.2.2:80 → 10.0.2.1:32768 udp ttl 64
        201 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 udp ttl 64
        402 ms Request: 10.0.1.2:5000 → 10.0.1.1:40000 udp ttl 64
        402 ms delivered to udp/40000, which hands it to one of 2 backends
        402 ms Relayed: 10.0.2.1:32768 → 10.0.2.2:80 udp ttl 64
        402 ms Reply: 10.0.2.2:80 → 10.0.2.1:32768 udp ttl 64
        402 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 udp ttl 64
        658 ms Request: 10.0.1.2:5000 → 10.0.1.1:40000 udp ttl 64
        658 ms delivered to udp/40000, which hands it to one of 2 backends
        658 ms Relayed: 10.0.3.1:32769 → 10.0.3.2:80 udp ttl 64
        658 ms Reply: 10.0.3.2:80 → 10.0.3.1:32769 udp ttl 64
        658 ms Reply: 10.0.1.1:40000 → 10.0.1.2:5000 udp ttl 64
        client at 0 ms: answered
        client at 201 ms: answered
        client at 402 ms: answered
        client at 658 ms: answered
    "#]]
    .assert_eq(&run.told());
}

#[test]
fn an_icmp_error_closes_the_socket_to_a_backend() {
    let mut plan = plan(3, relay(&["10.0.2.2", "10.0.3.2"]));
    plan.netns[2].sockets.clear();
    plan.netns[3].sockets.clear();
    let mut run = Run::new(plan, Seeded(0));
    let client = run.open(Protocol::Udp, 5000, 5);
    run.send(client);
    let asked = run.asked();
    assert!(asked.len() == 2 && asked[0] != asked[1], "{asked:?}");
}

/// Follows a script.
struct Following<'s>(&'s mut Script);

impl Choices for Following<'_> {
    fn pick(&mut self, point: fmt::Arguments<'_>, weights: &[u64]) -> usize {
        self.0.pick(point, weights)
    }
}

#[test]
fn each_backend_is_as_likely_as_any_other() {
    let plan = plan(4, relay(&["10.0.2.2", "10.0.3.2", "10.0.4.2"]));
    let found = explore(100, |script| {
        let mut run = Run::new(plan.clone(), Following(script));
        run.open(Protocol::Tcp, 5000, 1);
        run.pass(Duration::from_secs(40));
        (run.asked(), run.verdict().cloned())
    });
    assert_eq!(found.unexplored, Probability::ZERO);
    let mut cases: Vec<_> =
        found.runs.into_iter().map(|(share, _, (asked, end))| (asked, share, end)).collect();
    cases.sort_by_key(|(asked, ..)| asked.clone());
    let third = Probability::new(1, 3);
    let expected =
        ["10.0.2.2", "10.0.3.2", "10.0.4.2"].map(|addr| (vec![ip(addr)], third, Some(NoticeKind::Answered)));
    assert_eq!(cases, expected);
}

#[test]
fn clients_take_turns_and_an_address_with_affinity_stays() {
    let backends = ["10.0.2.2", "10.0.3.2", "10.0.4.2"];
    let mut run = Run::new(plan(4, relay(&backends)), Seeded(5));
    for n in 0..6 {
        run.open(Protocol::Tcp, 5000 + n, 0);
    }
    let asked = run.asked();
    assert_eq!(asked[..3], asked[3..]);
    let mut sorted = asked[..3].to_vec();
    sorted.sort_unstable();
    assert_eq!(sorted, backends.map(ip));

    let kept = Relay { affinity: Some(Duration::from_secs(10)), ..relay(&backends) };
    let mut run = Run::new(plan(4, kept), Seeded(5));
    for (n, wait) in [0, 9, 9, 11].into_iter().enumerate() {
        run.pass(Duration::from_secs(wait));
        run.open(Protocol::Tcp, 5000 + n as u16, 0);
    }
    let asked = run.asked();
    assert_eq!(asked[..3], [asked[0]; 3]);
    assert_ne!(asked[3], asked[0]);
}

#[test]
fn a_relay_that_asks_itself_ends() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut itself = relay(&["10.0.1.1"]);
        itself.backends[0].port = PORT;
        let mut run = Run::new(plan(1, itself), Seeded(0));
        run.open(protocol, 5000, 10);
        run.pass(Duration::from_secs(100));
        let circles = |event: &&kubenet_core::dataplane::Event| matches!(&event.kind, EventKind::Dropped { why, .. } if why.contains("in circles"));
        assert!(run.log.events().iter().any(|event| circles(&event)), "{}", run.told());
        assert!(run.log.flows().len() < 500, "{}", run.log.flows().len());
        let end = if protocol == Protocol::Tcp { NoticeKind::Closed } else { NoticeKind::TimedOut };
        assert_eq!(run.verdict(), Some(&end));
    }
}

/// A relay on every port of a range.
#[derive(Debug)]
struct Range(Relay);

impl SocketSupply for Range {
    fn socket(&self, protocol: Protocol, _: kubenet_core::addr::Family, port: u16) -> Option<Socket> {
        let process = || Process::Relay(self.0.clone().into());
        (PORT..PORT + 10).contains(&port).then(|| socket(protocol, port, process()))
    }

    fn whole(&self) -> Vec<Socket> {
        Vec::new()
    }
}

#[test]
fn sockets_are_made_where_none_is_listed() {
    let mut plan = plan(2, relay(&[]));
    plan.netns[0].more_sockets = MoreSockets::Supplied(Arc::new(Range(relay(&["10.0.2.2"]))));
    // The one that is listed comes first.
    let mut run = Run::new(plan.clone(), Seeded(0));
    run.open(Protocol::Tcp, 5000, 1);
    run.pass(Duration::from_secs(40));
    assert_eq!(run.verdict(), Some(&NoticeKind::Closed));
    plan.netns[0].sockets.clear();
    for (port, end) in [(PORT, NoticeKind::Answered), (PORT + 11, NoticeKind::Refused)] {
        let mut run = Run::new(plan.clone(), Seeded(0));
        let dst = ip("10.0.1.1");
        let client = Client {
            netns: 1,
            protocol: Protocol::Tcp,
            src: None,
            sport: 5000,
            dst,
            dport: port,
            payload: 1,
        };
        run.machine.open(run.now, client, &mut run.choices, &mut run.log);
        run.pass(Duration::from_secs(40));
        assert_eq!(run.verdict(), Some(&end));
    }
}

#[test]
fn sctp_is_not_served() {
    let mut plan = plan(2, relay(&["10.0.2.2"]));
    plan.netns[0].sockets[0].protocol = Protocol::Sctp;
    let mut run = Run::new(plan, Seeded(0));
    run.open(Protocol::Sctp, 5000, 0);
    assert_eq!(run.verdict(), Some(&NoticeKind::Refused));
}

#[test]
fn another_list_of_backends_counts_from_the_next_client_on() {
    let mut run = Run::new(plan(3, relay(&["10.0.2.2"])), Seeded(0));
    run.open(Protocol::Tcp, 5000, 0);
    run.machine.replan(MachineId(0), Arc::new(plan(3, relay(&["10.0.3.2"]))));
    run.open(Protocol::Tcp, 5001, 0);
    assert_eq!(run.asked(), [ip("10.0.2.2"), ip("10.0.3.2")]);
}

#[test]
fn the_end_of_a_client_is_the_end_of_its_backends_connection() {
    let mut run = Run::new(plan(2, relay(&["10.0.2.2"])), Seeded(0));
    run.open(Protocol::Tcp, 5000, 0);
    let before = run.log.events().len();
    // The client's first segment after its SYN.
    let ack = run.log.flows().iter().position(|flow| flow.kind == FlowKind::Data).expect("an ACK");
    let ack = run.log.events().iter().position(|event| event.flow.0 as usize == ack).expect("its event");
    let frame = run.log.frame(EventId(ack as u32));
    let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
    let (seq, ack) = (number(14 + 20 + 4), number(14 + 20 + 8));
    let (sport, dport) = (5000, PORT);
    let fin = TcpSegment { sport, dport, seq, ack: Some(ack), fin: true, ..TcpSegment::default() };
    let meta = Ipv4Meta { src: ip("10.0.1.2"), dst: ip("10.0.1.1"), ttl: 64, dont_fragment: true, id: 9 };
    let mut frame = packet::tcp(&meta, &fin, &[]);
    packet::set_macs(&mut frame, mac(101), mac(1));
    let flow = run.log.flow(Flow { kind: FlowKind::Injected, cause: EventId::NONE });
    let skb = Skb::new(frame, flow, EventId::NONE);
    run.machine.handle_frame(run.now, (0, 1), skb, &mut run.choices, &mut run.log);
    run.pass(Duration::from_secs(40));
    let mut fins = Vec::new();
    for (id, event) in run.log.events().iter().enumerate().skip(before) {
        let frame = run.log.frame(EventId(id as u32));
        let flags = frame.get(14 + 20 + 13).copied().unwrap_or(0);
        if let (EventKind::Sent, Ok(View::Ip(ip)), true) = (&event.kind, view(frame), flags & 1 != 0) {
            fins.push((ip.src.to_string(), ip.dst.to_string()));
        }
    }
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    let relayed = [pair("10.0.2.1", "10.0.2.2"), pair("10.0.2.2", "10.0.2.1")];
    assert!(relayed.iter().all(|pair| fins.iter().filter(|other| *other == pair).count() == 1), "{fins:?}");
    assert!(fins.contains(&pair("10.0.1.1", "10.0.1.2")), "{fins:?}");
    assert!(!run.machine.is_relaying());
}
