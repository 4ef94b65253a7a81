//! What each fuzz target does with its bytes. Shared by the cargo-fuzz binaries (`fuzz_targets/`) and by the test that replays
//! the corpus on stable Rust (`kubenet-core/tests/fuzz_corpus.rs`), so it names nothing but the library.
//!
//! A target panics when something is wrong: the library panicked, a machine did not come to rest, or what was printed does
//! not read back.

use std::sync::{Arc, LazyLock};

use kubenet_core::addr::{Family, MacAddr, Protocol};
use kubenet_core::assume::{Assume, Fault, KEYS};
use kubenet_core::dataplane::{Choices, Client, EventId, FlowId, Log, Machine, Recorder, Seeded, Skb};
use kubenet_core::k8s::load::{LoadOptions, Source};
use kubenet_core::network::{Limits, Network, Question, Table};
use kubenet_core::packet::{self, View};
use kubenet_core::plan::{
    Action, Address, Backend, BridgePort, Chain, FdbEntry, Hook, IpRule, Link, LinkKind, MachineId,
    MachineKind, MachinePlan, Match, Netns, Origin, Process, Relay, Route, RouteKind, RouteScope, Rule,
    RuleAction, SegmentId, Socket, SocketState, Vxlan,
};
use kubenet_core::question::Endpoint;
use kubenet_core::scenario::Scenario;
use kubenet_core::text::{self, WithoutOrigin};
use kubenet_core::time::{Duration, Instant};
use kubenet_core::trace::{self, Detail};

/// A target.
pub(crate) struct Target {
    /// Its name, which is also its folder in the corpus.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) run: fn(&[u8]),
    /// How many inputs it takes in the time in which `frames` takes one, about.
    pub(crate) pace: u64,
}

/// All targets.
pub(crate) const ALL: [Target; 18] = [
    Target { name: "frames", run: frames, pace: 1 },
    Target { name: "packet", run: packet, pace: 100 },
    Target { name: "manifests", run: manifests, pace: 1 },
    Target { name: "scenario", run: scenario, pace: 2 },
    Target { name: "question", run: question, pace: 100 },
    Target { name: "assume", run: assume, pace: 20 },
    Target { name: "text_route", run: text_route, pace: 6 },
    Target { name: "text_rule", run: text_rule, pace: 6 },
    Target { name: "text_link", run: text_link, pace: 2 },
    Target { name: "text_neigh", run: text_neigh, pace: 20 },
    Target { name: "text_fdb", run: text_fdb, pace: 6 },
    Target { name: "text_ss", run: text_ss, pace: 10 },
    Target { name: "text_iptables", run: text_iptables, pace: 4 },
    Target { name: "text_ipset", run: text_ipset, pace: 10 },
    Target { name: "text_ipvs", run: text_ipvs, pace: 10 },
    Target { name: "text_conntrack", run: text_conntrack, pace: 10 },
    Target { name: "text_nft", run: text_nft, pace: 4 },
    Target { name: "text_nmstate", run: text_nmstate, pace: 40 },
];

/// Manifests or dumps, loaded, resolved, and asked: an inventory, the tables of a node, a trace between two pods.
pub(crate) fn manifests(data: &[u8]) {
    let source = Source { name: "fuzz.yaml", bytes: data };
    let network = Network::load(&[source], &LoadOptions::default(), Assume::default(), None);
    network.diagnostics().for_each(|diagnostic| assert!(!diagnostic.to_string().is_empty()));
    assert!(network.inventory().pods == network.cluster().pods.len());
    let cluster = network.cluster();
    for node in cluster.nodes.iter().take(2) {
        for table in [Table::IpRoute, Table::IpAddr, Table::BridgeFdb, Table::Ss] {
            let _a_name_may_be_no_word =
                network.render(&format!("node/{}", node.name), "default", table, false);
        }
    }
    let addresses = cluster.pods.iter().flat_map(|pod| &pod.addresses).take(3);
    let ends: Vec<String> = addresses.map(|addr| format!("{addr}")).collect();
    let small = Limits { steps: 2_000, branches: 4, bytes: 1 << 20 };
    for (from, to) in ends.iter().zip(ends.iter().rev()) {
        let to = if to.contains(':') { format!("[{to}]:80") } else { format!("{to}:80") };
        let question = Question { limits: small, ..Question::new(from, to) };
        let Ok(trace) = network.trace(&question) else { continue };
        for case in &trace.outcomes {
            assert!(!trace::lines(&trace, case, Detail::Full).is_empty());
            assert!(trace::mermaid(&trace, case).starts_with("sequenceDiagram"));
            assert!(!trace::pcapng(case).is_empty());
        }
    }
}

/// A scenario file, read and run.
pub(crate) fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(scenario) = Scenario::parse("fuzz.md", text) else { return };
    let updated = scenario.updated(&scenario.run());
    // What came is what is expected from then on.
    let again = Scenario::parse("fuzz.md", &updated).expect("an answer ends no block");
    assert!(again.run().iter().all(kubenet_core::scenario::Check::is_good), "{updated}");
}

/// Frames for a node with a bridge, a VXLAN device and a pod.
///
/// The input is a list of frames: one byte that says how (the low two bits the link, bit 2 that the IPv4 checksum is put right
/// first, bit 3 that a second passes before, bit 4 that what the machine then sends comes back to it), two bytes of length,
/// the frame. At most 64 are fed.
pub(crate) fn frames(data: &[u8]) {
    static PLAN: LazyLock<Arc<MachinePlan>> = LazyLock::new(|| Arc::new(node()));
    feed(PLAN.clone(), data, &mut ());
    feed(PLAN.clone(), data, &mut Log::default());
}

fn feed<R: Recorder>(plan: Arc<MachinePlan>, mut data: &[u8], log: &mut R) {
    const PORTS: [(u32, u32); 4] = [(0, 1), (0, 3), (1, 1), (0, 4)];
    let mut machine = Machine::new(MachineId(0), plan);
    let mut choices = Seeded(7);
    let mut now = Instant::START;
    for (serial, protocol) in (0..).zip([Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::Sctp]) {
        let dst = [10, 244, 2, 7].into();
        let client =
            Client { netns: 1, protocol, src: None, sport: 40000 + serial, dst, dport: 80, payload: 9 };
        machine.open(now, client, &mut choices, log);
    }
    drain(&mut machine);
    for _ in 0..64 {
        let [how, high, low, rest @ ..] = data else { break };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (frame, after) = rest.split_at(len);
        data = after;
        if how & 8 != 0 {
            now = now + Duration::from_secs(1);
            machine.handle_timeout(now, &mut choices, log);
            drain(&mut machine);
        }
        let mut frame = frame.to_vec();
        if how & 4 != 0 {
            mend_checksum(&mut frame);
        }
        let port = PORTS[usize::from(how & 3)];
        let sent = hand(&mut machine, now, port, frame, &mut choices, log);
        if how & 16 != 0 {
            for (port, frame) in sent.into_iter().take(32) {
                hand(&mut machine, now, port, frame, &mut choices, log);
            }
        }
    }
    // Whatever was fed, the machine comes to rest.
    for _ in 0..10_000 {
        let Some((at, _)) = machine.poll_timeout() else { return };
        now = now.max(at);
        machine.handle_timeout(now, &mut choices, log);
        drain(&mut machine);
    }
    panic!("the machine still waits for {:?} at {now}", machine.poll_timeout());
}

fn hand<C: Choices, R: Recorder>(
    machine: &mut Machine,
    now: Instant,
    port: (u32, u32),
    frame: Vec<u8>,
    choices: &mut C,
    log: &mut R,
) -> Vec<((u32, u32), Vec<u8>)> {
    machine.handle_frame(now, port, Skb::new(frame, FlowId(0), EventId::NONE), choices, log);
    drain(machine)
}

fn drain(machine: &mut Machine) -> Vec<((u32, u32), Vec<u8>)> {
    let mut sent = Vec::new();
    while let Some(transmit) = machine.poll_transmit() {
        assert!(sent.len() < 10_000, "one frame makes thousands");
        sent.push(((transmit.netns, transmit.link), transmit.frame.bytes));
    }
    while machine.poll_notice().is_some() {}
    let neighbours: usize = (0..2).map(|netns| machine.neighbours(netns).len()).sum();
    assert!(neighbours < 4096, "the neighbour table grows without end");
    sent
}

/// Writes the checksum that an IPv4 header should have, so that changed bytes get further than the first check.
fn mend_checksum(frame: &mut [u8]) {
    if frame.get(12..14) != Some(&[8, 0]) {
        return;
    }
    let words = usize::from(frame.get(14).copied().unwrap_or(0) & 15);
    let Some(header) = frame.get_mut(14..14 + words * 4).filter(|header| header.len() >= 20) else { return };
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// A node: `eth0`, `cni0` with the pod's end and a second port, `flannel.1`, routes, a rule, chains; and a pod that listens.
fn node() -> MachinePlan {
    let origin = Origin::implied("fuzz");
    let mac = |last: u8| MacAddr([2, 0, 0, 0, 0, last]);
    let address = |text: &str| {
        let net = text.parse().expect("a prefix");
        Address { net, scope: RouteScope::Global, origin: Origin::implied("fuzz") }
    };
    let route = |dst: &str, via: Option<&str>, dev: &str| {
        let via = via.map(|via| via.parse().expect("an address"));
        Route::unicast(dst.parse().expect("a prefix"), via, dev, Origin::implied("fuzz"))
    };
    let with = |name: &str, kind: LinkKind, last: u8, mtu: u32, addresses: &[&str]| {
        let mut link = Link::new(name, kind, mac(last), mtu, Origin::implied("fuzz"));
        link.addresses = addresses.iter().map(|text| address(text)).collect();
        link
    };
    let port = |hairpin: bool| Some(BridgePort { bridge: "cni0".into(), hairpin, isolated: false });
    let nic = |segment: u32| LinkKind::Nic { segment: Some(SegmentId(segment)) };

    let mut host = Netns::new("", origin.clone());
    let veth = |peer_netns: u32, peer: &str| LinkKind::Veth { peer_netns, peer: peer.into() };
    host.links.push(with("eth0", nic(0), 1, 1500, &["172.18.0.2/16", "fd00:18::2/64"]));
    let bridge = LinkKind::Bridge { ageing_secs: 300 };
    host.links.push(with("cni0", bridge, 2, 1450, &["10.244.1.1/24", "fd00:244:1::1/64"]));
    host.links.push(Link { port: port(true), ..with("veth1", veth(1, "eth0"), 3, 1450, &[]) });
    host.links.push(Link { port: port(false), ..with("port2", nic(1), 4, 1450, &[]) });
    let vxlan = Vxlan {
        vni: 1,
        port: 8472,
        local: Some([172, 18, 0, 2].into()),
        dev: Some("eth0".into()),
        learning: true,
    };
    host.links.push(with("flannel.1", LinkKind::Vxlan(vxlan), 5, 1450, &["10.244.1.0/32"]));
    host.links.push(with("dummy0", LinkKind::Dummy, 6, 1500, &["10.9.0.1/24"]));
    host.sysctls.ip_forward = true;
    host.sysctls.ipv6_forwarding = true;
    host.sysctls.rp_filter = 2;
    host.sysctls.bridge_nf_call_iptables = true;
    host.routes = vec![
        route("0.0.0.0/0", Some("172.18.0.1"), "eth0"),
        route("172.18.0.0/16", None, "eth0"),
        route("10.244.1.0/24", None, "cni0"),
        route("10.244.2.0/24", Some("10.244.2.0"), "flannel.1"),
        // The tunnel's own remote is reached through the tunnel.
        route("10.66.0.0/16", Some("10.66.0.1"), "flannel.1"),
        Route { mtu_bytes: Some(600), ..route("10.9.0.0/24", None, "dummy0") },
        Route {
            kind: RouteKind::Unreachable,
            next_hops: Default::default(),
            ..route("10.13.0.0/16", None, "x")
        },
        route("fd00:18::/64", None, "eth0"),
        route("fd00:244:1::/64", None, "cni0"),
        route("::/0", Some("fd00:18::1"), "eth0"),
    ];
    let rule = |priority: u32, to: Option<&str>, action: RuleAction| IpRule {
        family: Family::V4,
        priority,
        invert: false,
        from: None,
        to: to.map(|to| to.parse().expect("a prefix")),
        iif: None,
        oif: None,
        fwmark: None,
        action,
        carried: None,
        origin: Origin::implied("fuzz"),
    };
    host.rules = vec![
        rule(100, Some("10.14.0.0/16"), RuleAction::Prohibit),
        rule(200, Some("10.15.0.0/16"), RuleAction::Goto(32766)),
        rule(32766, None, RuleAction::Lookup(254)),
    ];
    let remote = |mac: MacAddr, dst: [u8; 4]| FdbEntry {
        mac,
        dev: "flannel.1".into(),
        master: None,
        dst: Some(dst.into()),
        permanent: true,
        origin: Origin::implied("fuzz"),
    };
    host.fdb = vec![
        remote(MacAddr::ZERO, [172, 18, 0, 3]),
        remote(MacAddr::ZERO, [10, 66, 0, 9]),
        remote(mac(9), [172, 18, 0, 4]),
    ];
    let drop_telnet = Rule {
        matches: vec![Match::Protocol(Protocol::Tcp), Match::Dport(23, 23)],
        action: Action::Drop,
        origin: origin.clone(),
    };
    host.chains = vec![Chain {
        name: "forward".into(),
        hook: Hook::Forward,
        priority: 0,
        policy: Action::Accept,
        rules: vec![drop_telnet],
    }];

    let mut pod = Netns::new("default/pod", origin.clone());
    pod.links.push(with("eth0", veth(0, "veth1"), 7, 1450, &["10.244.1.5/24", "fd00:244:1::5/64"]));
    pod.routes = vec![
        route("0.0.0.0/0", Some("10.244.1.1"), "eth0"),
        route("10.244.1.0/24", None, "eth0"),
        route("::/0", Some("fd00:244:1::1"), "eth0"),
        route("fd00:244:1::/64", None, "eth0"),
    ];
    let socket = |protocol: Protocol, port: u16, process: Process| Socket {
        protocol,
        addr: None,
        dev: None,
        port,
        state: SocketState::Listen,
        process,
        origin: Origin::implied("fuzz"),
    };
    let backend = Backend { addr: [10, 244, 2, 7].into(), port: 80, origin: Origin::implied("fuzz") };
    let (affinity, udp_idle) = (None, Duration::from_millis(250));
    let relay = Relay { backends: vec![backend], affinity, udp_idle };
    pod.sockets = vec![
        socket(Protocol::Tcp, 80, Process::Http { status: 200 }),
        socket(Protocol::Tcp, 81, Process::Relay(relay.into())),
        socket(Protocol::Udp, 53, Process::Echo),
        socket(Protocol::Sctp, 9, Process::Echo),
    ];
    MachinePlan { name: "node".into(), kind: MachineKind::Node, netns: vec![host, pod], origin }
}

/// Reading, describing, cutting and unwrapping one frame; the first two bytes are an MTU.
pub(crate) fn packet(data: &[u8]) {
    let [high, low, frame @ ..] = data else { return };
    let mtu = u32::from(u16::from_be_bytes([*high, *low]));
    let mut frame = frame.to_vec();
    for _ in 0..2 {
        if let Some(summary) = packet::describe(&frame) {
            assert!(!summary.to_string().is_empty());
        }
        if let Ok(View::Ip(ip)) = packet::view(&frame) {
            let _ = packet::l4_checksum_is_right(&frame, &ip);
            let _ = packet::flow_hash(&ip, true);
            let l4 = packet::l4_bytes(&frame, &ip);
            let _ = (packet::chunk_of(l4), packet::vxlan_vni(l4));
            assert!(packet::ip_bytes(&frame, &ip).len() <= frame.len());
            if ip.src.is_ipv4() {
                let pieces = packet::fragment_ipv4(&frame, &ip, mtu);
                assert!(pieces.len() <= 65536);
            }
            packet::decrement_ttl(&mut frame.clone(), ip.family());
        }
        packet::set_macs(&mut frame, MacAddr::ZERO, MacAddr::BROADCAST);
        mend_checksum(&mut frame);
    }
}

/// The grammar of questions.
pub(crate) fn question(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Endpoint::parse(&text) {
        Ok(endpoint) => assert_eq!(*endpoint.text, *text),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Faults and the values of assumptions; a fault that was read prints as one that reads the same.
pub(crate) fn assume(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(fault) = text.parse::<Fault>() {
        let printed = fault.to_string();
        assert_eq!(printed.parse::<Fault>().ok(), Some(fault), "{text:?} prints as {printed:?}");
    }
    for key in KEYS {
        let _ = Assume::default().set(key, &text);
    }
    if let Some((key, value)) = text.split_once('=') {
        let _ = Assume::default().set(key, value);
    }
}

/// What was read of plain text prints as text that reads the same.
fn stable<T: WithoutOrigin + PartialEq + std::fmt::Debug>(
    items: Vec<T>,
    print: impl Fn(&[T]) -> String,
    read: impl Fn(&str) -> Vec<T>,
) {
    let printed = print(&items);
    let again = read(&printed);
    assert!(
        again.without_origin() == items.without_origin(),
        "this does not read back as what it was printed from:\n{printed}"
    );
}

/// `ip route`.
pub(crate) fn text_route(data: &[u8]) {
    use text::ip_route::{load_table, parse, parse_json, render, render_json};
    let text = String::from_utf8_lossy(data);
    let json = parse_json(&text, "x");
    let _ = (render(&json.items), render_json(&json.items), load_table(json));
    let plain = parse(&text, "x");
    let _ = (render_json(&plain.items), load_table(plain.clone()));
    stable(plain.items, render, |text| parse(text, "x").items);
}

/// `ip rule`.
pub(crate) fn text_rule(data: &[u8]) {
    use text::ip_rule::{parse, parse_json, render, render_json};
    let text = String::from_utf8_lossy(data);
    for family in [Family::V4, Family::V6] {
        let json = parse_json(&text, "x", family);
        let _ = (render(&json.items, family), render_json(&json.items, family));
        let plain = parse(&text, "x", family);
        let _ = render_json(&plain.items, family);
        stable(plain.items, |rules| render(rules, family), |text| parse(text, "x", family).items);
    }
}

/// `ip link` and `ip addr`.
pub(crate) fn text_link(data: &[u8]) {
    use text::ip_link::{Details, connect, parse, parse_json};
    let text = String::from_utf8_lossy(data);
    for parsed in [parse(&text, "x"), parse_json(&text, "x")] {
        let mut lists = [parsed.items.clone(), parsed.items];
        connect(&mut lists);
        let mut netns = Netns::new("", Origin::implied("fuzz"));
        netns.links = lists.into_iter().flatten().map(|numbered| numbered.link).collect();
        let machine = MachinePlan::from(netns);
        for details in [Details::Hide, Details::Show] {
            let printed = text::ip_addr::render(&machine, 0, details);
            let _ = parse(&printed, "x");
            let _ = text::ip_addr::render_json(&machine, 0, details);
        }
    }
}

/// `ip neigh`.
pub(crate) fn text_neigh(data: &[u8]) {
    use text::ip_neigh::{parse, parse_json, render, render_json};
    let text = String::from_utf8_lossy(data);
    let json = parse_json(&text, "x");
    let _ = (render(&json.items), render_json(&json.items));
    stable(parse(&text, "x").items, render, |text| parse(text, "x").items);
}

/// `bridge fdb`.
pub(crate) fn text_fdb(data: &[u8]) {
    use text::bridge_fdb::{parse, parse_json, render, render_json};
    let text = String::from_utf8_lossy(data);
    let json = parse_json(&text, "x");
    let _ = (render(&json.items), render_json(&json.items));
    stable(parse(&text, "x").items, render, |text| parse(text, "x").items);
}

/// `ss -lntu`.
pub(crate) fn text_ss(data: &[u8]) {
    use text::ss::{parse, render};
    let text = String::from_utf8_lossy(data);
    stable(parse(&text, "x").items, render, |text| parse(text, "x").items);
}

/// `iptables-save` and `ip6tables-save`, and what `iptables-restore` is fed with.
pub(crate) fn text_iptables(data: &[u8]) {
    use text::iptables_save::{Dialect, Marks, family_of, parse, render, render_restore};
    let text = String::from_utf8_lossy(data);
    let _ = family_of(&text);
    for family in [Family::V4, Family::V6] {
        let items = parse(&text, "x", family).items;
        assert!(!parse(&render_restore(&items, Marks::Padded), "x", family).has_errors());
        stable(items, |tables| render(tables, Dialect::of(&text)), |text| parse(text, "x", family).items);
    }
}

/// `ipset save`.
pub(crate) fn text_ipset(data: &[u8]) {
    use text::ipset::{parse, render};
    let text = String::from_utf8_lossy(data);
    stable(parse(&text, "x").items, render, |text| parse(text, "x").items);
}

/// `ipvsadm -Sn` and `/proc/net/ip_vs`.
pub(crate) fn text_ipvs(data: &[u8]) {
    use text::ipvsadm::{parse, parse_any, parse_table, render, render_table};
    let text = String::from_utf8_lossy(data);
    let table = parse_table(&text, "x").items;
    let _ = (render(&table), render_table(&table), parse_any(&text, "x"));
    let saved = parse(&text, "x").items;
    let _ = parse_table(&render_table(&saved), "x");
    stable(saved, render, |text| parse(text, "x").items);
}

/// `conntrack -L`.
pub(crate) fn text_conntrack(data: &[u8]) {
    use text::conntrack::{Layer3, parse, render};
    let text = String::from_utf8_lossy(data);
    for layer3 in [Layer3::Hide, Layer3::Show] {
        stable(parse(&text, "x").items, |entries| render(entries, layer3), |text| parse(text, "x").items);
    }
}

/// `nft list ruleset`.
pub(crate) fn text_nft(data: &[u8]) {
    use text::nft::{Dialect, parse, parse_json, render, render_feed};
    let text = String::from_utf8_lossy(data);
    let _ = render(&parse_json(&text, "x").items, Dialect::Whole);
    let items = parse(&text, "x").items;
    let _ = render_feed(&items);
    stable(items, |tables| render(tables, Dialect::Listed), |text| parse(text, "x").items);
}

/// nmstate.
pub(crate) fn text_nmstate(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let state = text::nmstate::parse(&text, "x");
    let _ = text::ip_route::render(&state.routes);
}
