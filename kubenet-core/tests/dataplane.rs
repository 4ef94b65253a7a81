//! What Linux does to a packet, one behaviour at a time: a host with a few links and the routes that `ip route` prints, one
//! packet, and every event of it. Expected from kernel documentation and from runs of a 6.18 kernel in namespaces.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "events without words of their own are told by their name"
)]

use core::net::IpAddr;
use std::sync::Arc;

use expect_test::{Expect, expect};
use kubenet_core::addr::{Family, MacAddr};
use kubenet_core::dataplane::{
    Client, EventId, EventKind, Flow, FlowKind, Log, Machine, Place, Recorder, Seeded, Skb, Stage,
};
use kubenet_core::packet::{self, Ipv4Meta, TcpSegment, describe};
use kubenet_core::plan::{
    Address, BridgePort, Link, LinkKind, MachineId, MachineKind, MachinePlan, Netns, Origin, Process,
    Protocol, RouteScope, SegmentId, Socket, SocketState, Undeclared, Vxlan,
};
use kubenet_core::text::{ip_route, ip_rule};
use kubenet_core::time::Instant;

/// A host whose cards are plugged into segments of their own.
struct Host(Netns);

/// The last byte of the hardware address of the n-th link.
const fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

/// Somebody on the other side of a link.
const THEM: MacAddr = mac(0xee);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

impl Host {
    fn new() -> Self {
        let mut netns = Netns::new("", Origin::implied("test"));
        netns.sysctls.ip_forward = true;
        netns.sysctls.ipv6_forwarding = true;
        Self(netns)
    }

    fn link(mut self, name: &str, kind: LinkKind, addresses: &[&str]) -> Self {
        let last = self.0.links.len() as u8;
        let mut link = Link::new(name, kind, mac(last), 1500, Origin::implied("test"));
        for net in addresses {
            let net = net.parse().unwrap_or_else(|error| panic!("{net}: {error}"));
            link.addresses.push(Address { net, scope: RouteScope::Global, origin: Origin::implied("test") });
        }
        self.0.links.push(link);
        self
    }

    fn card(self, name: &str, addresses: &[&str]) -> Self {
        let segment = Some(SegmentId(self.0.links.len() as u32));
        self.link(name, LinkKind::Nic { segment }, addresses)
    }

    fn port(self, name: &str, bridge: &str, hairpin: bool, isolated: bool) -> Self {
        let mut host = self.card(name, &[]);
        let port = BridgePort { bridge: bridge.into(), hairpin, isolated };
        host.0.links.last_mut().expect("a link").port = Some(port);
        host
    }

    fn routes(mut self, text: &str) -> Self {
        let parsed = ip_route::parse(text, "routes");
        assert_eq!(parsed.diagnostics, []);
        self.0.routes.extend(parsed.items);
        self
    }

    fn rules(mut self, text: &str) -> Self {
        let parsed = ip_rule::parse(text, "rules", Family::V4);
        assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
        self.0.rules.extend(parsed.items);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Netns)) -> Self {
        change(&mut self.0);
        self
    }

    fn listen(mut self, protocol: Protocol, port: u16) -> Self {
        let (state, process) = (SocketState::Listen, Process::Echo);
        let origin = Origin::implied("test");
        self.0.sockets.push(Socket { protocol, addr: None, dev: None, port, state, process, origin });
        self
    }

    /// The neighbours on every card are known.
    fn knows(mut self, addrs: &[(&str, &str)]) -> Self {
        for (addr, dev) in addrs {
            self.0.neighbours.push(kubenet_core::plan::Neighbour {
                addr: ip(addr),
                dev: (*dev).into(),
                mac: Some(THEM),
                state: kubenet_core::plan::NeighbourState::Permanent,
                origin: Origin::implied("test"),
            });
        }
        self
    }

    fn plan(self) -> Arc<MachinePlan> {
        Arc::new(MachinePlan {
            name: "host".into(),
            kind: MachineKind::Node,
            netns: vec![self.0],
            origin: Origin::implied("test"),
        })
    }

    fn index(&self, link: &str) -> u32 {
        self.0.link_named(link).unwrap_or_else(|| panic!("no link {link}")).0 as u32
    }

    /// Feeds a frame into a link, and tells everything that happens within four seconds.
    fn feed(self, link: &str, frame: Vec<u8>, expect: &Expect) {
        self.feed_all(link, vec![frame], expect);
    }

    fn feed_all(self, link: &str, frames: Vec<Vec<u8>>, expect: &Expect) {
        let link = self.index(link);
        let plan = self.plan();
        let (mut machine, mut log) = (Machine::new(MachineId(0), plan.clone()), Log::default());
        for frame in frames {
            let flow = log.flow(Flow { kind: FlowKind::Injected, cause: EventId::NONE });
            let skb = Skb::new(frame, flow, EventId::NONE);
            machine.handle_frame(Instant::START, (0, link), skb, &mut Seeded(0), &mut log);
        }
        finish(&mut machine, &mut log, 40);
        expect.assert_eq(&told(&plan, &log));
    }

    /// A process sends a packet.
    fn send(self, client: Client, expect: &Expect) {
        let plan = self.plan();
        let (mut machine, mut log) = (Machine::new(MachineId(0), plan.clone()), Log::default());
        machine.open(Instant::START, client, &mut Seeded(0), &mut log);
        finish(&mut machine, &mut log, 4);
        expect.assert_eq(&told(&plan, &log));
    }
}

/// Lets time pass until nothing is due within so many seconds.
fn finish(machine: &mut Machine, log: &mut Log, secs: u64) {
    while let Some((at, _)) = machine.poll_timeout()
        && at <= Instant::from_nanos(secs * 1_000_000_000)
    {
        machine.handle_timeout(at, &mut Seeded(0), log);
    }
    while machine.poll_transmit().is_some() {}
}

/// Events as `link stage: what`, with what left the machine, and what the time is when it is not zero.
fn told(plan: &MachinePlan, log: &Log) -> String {
    let mut out = String::new();
    for (id, event) in log.events().iter().enumerate() {
        let Place::Netns { link, .. } = event.place else { continue };
        let link =
            link.and_then(|link| plan.netns[0].links.get(link as usize)).map_or("-", |link| &link.name);
        let frame = log.frame(EventId(id as u32));
        let packet = || describe(frame).map_or_else(String::new, |packet| packet.to_string());
        let what = match &event.kind {
            EventKind::Dropped { reason, why } => format!("drop {reason}: {why}"),
            EventKind::Sent => format!("made {}", packet()),
            EventKind::Transmitted => format!("out {} to {}", packet(), packet::destination_mac(frame)),
            EventKind::Received => format!("in {}", packet()),
            EventKind::Unknown(unknown) => format!("unknown: {}", unknown.why),
            EventKind::Routed { dst, via, dev, table, .. } => {
                let via = via.map_or_else(String::new, |via| format!(" via {via}"));
                let dev = dev.as_deref().unwrap_or("-");
                format!("route {dst}{via} dev {dev} table {table}")
            }
            other => format!("{other:?}").split([' ', '{', '(']).next().unwrap_or("").to_string(),
        };
        let stage = format!("{:?}", event.stage).to_lowercase();
        let secs = event.at.as_nanos() / 1_000_000_000;
        let at = if secs > 0 { format!("{secs}s ") } else { String::new() };
        let hidden =
            event.stage == Stage::Neighbour && matches!(event.kind, EventKind::NeighbourKnown { .. });
        if !hidden {
            out += &format!("{at}{link} {stage}: {what}\n");
        }
    }
    out
}

fn meta(src: &str, dst: &str) -> Ipv4Meta {
    Ipv4Meta { src: ip(src), dst: ip(dst), ttl: 64, dont_fragment: true, id: 7 }
}

fn to(link_mac: MacAddr, mut frame: Vec<u8>) -> Vec<u8> {
    packet::set_macs(&mut frame, THEM, link_mac);
    frame
}

fn udp(src: &str, dst: &str) -> Vec<u8> {
    to(mac(1), packet::udp(&meta(src, dst), 4000, 53, &[0; 8]))
}

fn syn(src: &str, dst: &str, dport: u16) -> Vec<u8> {
    let segment =
        TcpSegment { sport: 4000, dport, seq: 1, syn: true, mss: Some(1460), ..TcpSegment::default() };
    to(mac(1), packet::tcp(&meta(src, dst), &segment, &[]))
}

/// A router between 10.0.1.0/24 on `eth0` and 10.0.2.0/24 on `eth1`.
fn router() -> Host {
    Host::new()
        .card("eth0", &["10.0.1.1/24", "fd00:1::1/64"])
        .card("eth1", &["10.0.2.1/24", "fd00:2::1/64"])
        .routes(
            "10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.1\n\
             10.0.2.0/24 dev eth1 proto kernel scope link src 10.0.2.1\n\
             fd00:1::/64 dev eth0 proto kernel metric 256 pref medium\n\
             fd00:2::/64 dev eth1 proto kernel metric 256 pref medium\n",
        )
        .knows(&[("10.0.1.9", "eth0"), ("10.0.2.9", "eth1"), ("fd00:1::9", "eth0"), ("fd00:2::9", "eth1")])
}

fn client(protocol: Protocol, dst: &str, dport: u16) -> Client {
    Client { netns: 0, protocol, src: None, sport: 4000, dst: ip(dst), dport, payload: 0 }
}

#[test]
fn a_router_forwards_with_one_ttl_less() {
    router().feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.9"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn a_frame_for_another_station_is_not_taken() {
    let frame = to(mac(0x77), packet::udp(&meta("10.0.1.9", "10.0.2.9"), 1, 2, &[]));
    router().feed(
        "eth0",
        frame,
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:1 → 10.0.2.9:2 udp ttl 64
        eth0 ingress: drop OTHERHOST: the frame is for 02:00:00:00:00:77, this link is 02:00:00:00:00:01
    "#]],
    );
}

#[test]
fn sources_that_cannot_be_are_dropped() {
    for (src, expect) in [
        (
            "127.0.0.1",
            expect![[r#"
            eth0 ingress: in 127.0.0.1:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_LOCALNET: a 127.0.0.0/8 address came from outside, and route_localnet is 0
        "#]],
        ),
        (
            "10.0.1.1",
            expect![[r#"
            eth0 ingress: in 10.0.1.1:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_LOCAL_SOURCE: 10.0.1.1 is an address of this machine, and accept_local is 0
        "#]],
        ),
        (
            "0.0.0.0",
            expect![[r#"
            eth0 ingress: in 0.0.0.0:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_INVALID_SOURCE: 0.0.0.0 cannot be a source
        "#]],
        ),
        (
            "224.0.0.5",
            expect![[r#"
            eth0 ingress: in 224.0.0.5:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_INVALID_SOURCE: 224.0.0.5 cannot be a source
        "#]],
        ),
        (
            "255.255.255.255",
            expect![[r#"
            eth0 ingress: in 255.255.255.255:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_INVALID_SOURCE: 255.255.255.255 cannot be a source
        "#]],
        ),
    ] {
        router().feed("eth0", udp(src, "10.0.2.9"), &expect);
    }
}

#[test]
fn a_loopback_destination_from_outside_is_dropped_unless_route_localnet_is_set() {
    router().feed(
        "eth0",
        udp("10.0.1.9", "127.0.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 127.0.0.1:53 udp ttl 64
        eth0 route: drop IP_LOCALNET: a 127.0.0.0/8 address came from outside, and route_localnet is 0
    "#]],
    );
    router().listen(Protocol::Udp, 53).with(|host| host.links[1].route_localnet = true).feed(
        "eth0",
        udp("10.0.1.9", "127.0.0.1"),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 127.0.0.1:53 udp ttl 64
            eth0 route: Local
            eth0 socket: Delivered
            - socket: made 127.0.0.1:53 → 10.0.1.9:4000 udp ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 127.0.0.1:53 → 10.0.1.9:4000 udp ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
}

#[test]
fn class_e_and_the_zero_network_are_forwarded_and_a_broadcast_address_is_local() {
    let with_default = || router().routes("default via 10.0.2.9 dev eth1");
    with_default().feed(
        "eth0",
        udp("10.0.1.9", "240.0.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 240.0.0.1:53 udp ttl 64
        eth0 route: route 0.0.0.0/0 via 10.0.2.9 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.1.9:4000 → 240.0.0.1:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
    with_default().feed(
        "eth0",
        udp("10.0.1.9", "0.0.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 0.0.0.1:53 udp ttl 64
        eth0 route: route 0.0.0.0/0 via 10.0.2.9 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.1.9:4000 → 0.0.0.1:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
    with_default().listen(Protocol::Udp, 53).feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.255"),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.0.2.255:53 udp ttl 64
            eth0 route: Local
            eth0 socket: Delivered
            - socket: made 10.0.1.1:53 → 10.0.1.9:4000 udp ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1:53 → 10.0.1.9:4000 udp ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
}

#[test]
fn tcp_takes_and_opens_no_connection_to_an_address_of_many() {
    router().listen(Protocol::Tcp, 80).feed(
        "eth0",
        syn("10.0.1.9", "10.0.2.255", 80),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.255:80 tcp SYN ttl 64
        eth0 route: Local
        eth0 socket: drop NOT_SPECIFIED: TCP takes no connection to 10.0.2.255, which many hold
    "#]],
    );
    for dst in ["224.0.0.1", "10.0.2.255", "255.255.255.255"] {
        let plan = router().plan();
        let (mut machine, mut log) = (Machine::new(MachineId(0), plan), Log::default());
        machine.open(Instant::START, client(Protocol::Tcp, dst, 80), &mut Seeded(0), &mut log);
        let notice = machine.poll_notice().map(|notice| notice.kind.to_string());
        assert_eq!(notice.as_deref(), Some("network is unreachable"), "{dst}");
        assert!(machine.poll_transmit().is_none(), "{dst}");
    }
}

#[test]
fn rp_filter_strict_wants_the_way_back_by_the_same_link_and_loose_any_way() {
    let spoofed = || udp("10.0.2.9", "10.0.2.77");
    for (mode, expect) in [
        (
            0,
            expect![[r#"
        eth0 ingress: in 10.0.2.9:4000 → 10.0.2.77:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.2.9:4000 → 10.0.2.77:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
        ),
        (
            1,
            expect![[r#"
        eth0 ingress: in 10.0.2.9:4000 → 10.0.2.77:53 udp ttl 64
        eth0 route: drop IP_RPFILTER: a packet to 10.0.2.9 would not leave by eth0 (rp_filter 1)
    "#]],
        ),
        (
            2,
            expect![[r#"
        eth0 ingress: in 10.0.2.9:4000 → 10.0.2.77:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.2.9:4000 → 10.0.2.77:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
        ),
    ] {
        router().knows(&[("10.0.2.77", "eth1")]).with(|host| host.sysctls.rp_filter = mode).feed(
            "eth0",
            spoofed(),
            &expect,
        );
    }
}

#[test]
fn the_ttl_runs_out_and_the_address_of_the_way_back_tells() {
    let short = Ipv4Meta { ttl: 1, ..meta("10.0.1.9", "10.0.2.9") };
    let frame = to(mac(1), packet::udp(&short, 4000, 53, &[0; 8]));
    router().feed(
        "eth0",
        frame,
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 1
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth0 forward: drop IP_INHDR: the TTL ran out
        - socket: made 10.0.1.1 → 10.0.1.9 icmp time exceeded ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp time exceeded ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn refusing_routes_and_no_route_answer_each_in_its_way() {
    let refusing = || {
        router().routes(
            "unreachable 10.1.0.0/16\nprohibit 10.2.0.0/16\nblackhole 10.3.0.0/16\nthrow 10.4.0.0/16\n",
        )
    };
    for (dst, expect) in [
        (
            "10.1.0.1",
            expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.1.0.1:53 udp ttl 64
            eth0 route: drop IP_INNOROUTES: the route to 10.1.0.1 is unreachable
            - socket: made 10.0.1.1 → 10.0.1.9 icmp host unreachable ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp host unreachable ttl 64 to 02:00:00:00:00:ee
        "#]],
        ),
        (
            "10.2.0.1",
            expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.2.0.1:53 udp ttl 64
            eth0 route: drop IP_INNOROUTES: the route to 10.2.0.1 is prohibit
            - socket: made 10.0.1.1 → 10.0.1.9 icmp administratively prohibited ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp administratively prohibited ttl 64 to 02:00:00:00:00:ee
        "#]],
        ),
        (
            "10.3.0.1",
            expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.3.0.1:53 udp ttl 64
            eth0 route: drop NOT_SPECIFIED: the route to 10.3.0.1 is blackhole
        "#]],
        ),
        (
            "10.4.0.1",
            expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.4.0.1:53 udp ttl 64
            eth0 route: drop IP_INNOROUTES: no route to 10.4.0.1
            - socket: made 10.0.1.1 → 10.0.1.9 icmp network unreachable ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp network unreachable ttl 64 to 02:00:00:00:00:ee
        "#]],
        ),
        (
            "8.8.8.8",
            expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 8.8.8.8:53 udp ttl 64
            eth0 route: drop IP_INNOROUTES: no route to 8.8.8.8
            - socket: made 10.0.1.1 → 10.0.1.9 icmp network unreachable ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp network unreachable ttl 64 to 02:00:00:00:00:ee
        "#]],
        ),
    ] {
        refusing().feed("eth0", udp("10.0.1.9", dst), &expect);
    }
}

#[test]
fn too_big_with_df_is_told_and_without_df_is_cut() {
    let small = || router().with(|host| host.links[2].mtu_bytes = 1400);
    let big = |df| {
        let meta = Ipv4Meta { dont_fragment: df, ..meta("10.0.1.9", "10.0.2.9") };
        to(mac(1), packet::udp(&meta, 4000, 53, &[0; 1450]))
    };
    small().feed(
        "eth0",
        big(true),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth0 forward: drop PKT_TOO_BIG: 1478 bytes do not fit eth1 (MTU 1400), and it must not be fragmented
        - socket: made 10.0.1.1 → 10.0.1.9 icmp fragmentation needed, mtu 1400 ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp fragmentation needed, mtu 1400 ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    small().feed(
        "eth0",
        big(false),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 postrouting: Fragmented
        eth1 egress: out 10.0.1.9:4000 → 10.0.2.9:53 udp fragment 0+ ttl 63 to 02:00:00:00:00:ee
        eth1 egress: out 10.0.1.9 → 10.0.2.9 udp fragment 1376 ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn a_smaller_mtu_of_a_route_counts() {
    router().routes("10.9.0.0/16 via 10.0.2.9 dev eth1 mtu 600").feed(
        "eth0",
        to(mac(1), packet::udp(&meta("10.0.1.9", "10.9.0.1"), 4000, 53, &[0; 800])),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.9.0.1:53 udp ttl 64
            eth0 route: route 10.9.0.0/16 via 10.0.2.9 dev eth1 table 254
            eth0 forward: drop PKT_TOO_BIG: 828 bytes do not fit eth1 (MTU 600), and it must not be fragmented
            - socket: made 10.0.1.1 → 10.0.1.9 icmp fragmentation needed, mtu 600 ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp fragmentation needed, mtu 600 ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
}

#[test]
fn a_packet_that_goes_back_where_it_came_from_brings_a_redirect() {
    router().routes("10.9.0.0/16 via 10.0.1.8 dev eth0").knows(&[("10.0.1.8", "eth0")]).feed(
        "eth0",
        udp("10.0.1.9", "10.9.0.1"),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.9.0.1:53 udp ttl 64
            eth0 route: route 10.9.0.0/16 via 10.0.1.8 dev eth0 table 254
            - socket: made 10.0.1.1 → 10.0.1.9 icmp redirect to 10.0.1.8 ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp redirect to 10.0.1.8 ttl 64 to 02:00:00:00:00:ee
            eth0 forward: TtlDecremented
            eth0 egress: out 10.0.1.9:4000 → 10.9.0.1:53 udp ttl 63 to 02:00:00:00:00:ee
        "#]],
    );
}

#[test]
fn without_ip_forward_only_own_addresses_count() {
    router().with(|host| host.sysctls.ip_forward = false).feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.9"),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_INADDRERRORS: 10.0.2.9 is not an address of this machine, and ip_forward is 0
        "#]],
    );
}

#[test]
fn a_closed_port_is_refused_and_an_undeclared_one_is_taken_where_nothing_is_known() {
    router().feed(
        "eth0",
        syn("10.0.1.9", "10.0.1.1", 80),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.1.1:80 tcp SYN ttl 64
        eth0 route: Local
        eth0 socket: drop NO_SOCKET: nothing listens on tcp port 80
        - socket: made 10.0.1.1:80 → 10.0.1.9:4000 tcp RST+ACK ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1:80 → 10.0.1.9:4000 tcp RST+ACK ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.1:53 udp ttl 64
        eth0 route: Local
        eth0 socket: drop NO_SOCKET: nothing listens on udp port 53
        - socket: made 10.0.2.1 → 10.0.1.9 icmp port unreachable ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.2.1 → 10.0.1.9 icmp port unreachable ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.undeclared = Undeclared::Unsaid).feed(
        "eth0",
        syn("10.0.1.9", "10.0.1.1", 80),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.0.1.1:80 tcp SYN ttl 64
            eth0 route: Local
            eth0 socket: Delivered
            - socket: made 10.0.1.1:80 → 10.0.1.9:4000 tcp SYN+ACK ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1:80 → 10.0.1.9:4000 tcp SYN+ACK ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
}

#[test]
fn wrong_checksums_and_short_packets_are_dropped() {
    let broken = |at: usize| {
        let mut frame = syn("10.0.1.9", "10.0.1.1", 80);
        frame[at] ^= 0xff;
        frame
    };
    router().listen(Protocol::Tcp, 80).feed(
        "eth0",
        broken(24),
        &expect![[r#"
        eth0 ingress: in ethertype 0x0800
        eth0 ingress: drop IP_CSUM: the IPv4 header checksum is wrong
    "#]],
    );
    router().listen(Protocol::Tcp, 80).feed(
        "eth0",
        broken(50),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.1.1:80 tcp SYN ttl 64
        eth0 route: Local
        eth0 socket: drop TCP_CSUM: the tcp checksum is wrong
    "#]],
    );
    router().feed(
        "eth0",
        syn("10.0.1.9", "10.0.1.1", 80)[..30].to_vec(),
        &expect![[r#"
        eth0 ingress: in ethertype 0x0800
        eth0 ingress: drop IP_INHDR: the IP header is wrong
    "#]],
    );
}

#[test]
fn a_silent_neighbour_is_asked_three_times_and_then_the_sender_is_told() {
    router().feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.50"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.50:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 neighbour: NeighbourAsked
        eth1 neighbour: made arp who-has 10.0.2.50 tell 10.0.2.1
        eth1 egress: out arp who-has 10.0.2.50 tell 10.0.2.1 to ff:ff:ff:ff:ff:ff
        1s eth1 neighbour: NeighbourAsked
        1s eth1 neighbour: made arp who-has 10.0.2.50 tell 10.0.2.1
        1s eth1 egress: out arp who-has 10.0.2.50 tell 10.0.2.1 to ff:ff:ff:ff:ff:ff
        2s eth1 neighbour: NeighbourAsked
        2s eth1 neighbour: made arp who-has 10.0.2.50 tell 10.0.2.1
        2s eth1 egress: out arp who-has 10.0.2.50 tell 10.0.2.1 to ff:ff:ff:ff:ff:ff
        3s eth1 neighbour: drop NEIGH_FAILED: nobody answered for 10.0.2.50 on eth1 after 3 tries
        3s - socket: made 10.0.1.1 → 10.0.1.9 icmp host unreachable ttl 64
        3s - route: route 10.0.1.0/24 dev eth0 table 254
        3s eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp host unreachable ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn arp_is_answered_for_any_local_address_and_for_others_by_a_proxy() {
    let who_has = |target: &str| {
        let IpAddr::V4(target) = ip(target) else { panic!("IPv4") };
        packet::arp(true, (THEM, "10.0.1.9".parse().expect("an address")), (MacAddr::ZERO, target))
    };
    router().feed(
        "eth0",
        who_has("10.0.2.1"),
        &expect![[r#"
        eth0 ingress: in arp who-has 10.0.2.1 tell 10.0.1.9
        eth0 neighbour: Delivered
        eth0 neighbour: made arp 10.0.2.1 is-at 02:00:00:00:00:01
        eth0 egress: out arp 10.0.2.1 is-at 02:00:00:00:00:01 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.sysctls.arp_ignore = 1).feed(
        "eth0",
        who_has("10.0.2.1"),
        &expect![[r#"
        eth0 ingress: in arp who-has 10.0.2.1 tell 10.0.1.9
        eth0 neighbour: drop NOT_SPECIFIED: 10.0.2.1 is not an address of this namespace
    "#]],
    );
    router().with(|host| host.links[1].proxy_arp = true).feed(
        "eth0",
        who_has("10.0.2.9"),
        &expect![[r#"
        eth0 ingress: in arp who-has 10.0.2.9 tell 10.0.1.9
        eth0 neighbour: Delivered
        eth0 neighbour: made arp 10.0.2.9 is-at 02:00:00:00:00:01
        eth0 egress: out arp 10.0.2.9 is-at 02:00:00:00:00:01 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.links[1].answers_neighbours = false).feed(
        "eth0",
        who_has("10.0.1.1"),
        &expect![[r#"
            eth0 ingress: in arp who-has 10.0.1.1 tell 10.0.1.9
            eth0 neighbour: drop NOT_SPECIFIED: 10.0.1.1 is not an address of this namespace
        "#]],
    );
}

#[test]
fn rules_choose_the_table() {
    let two_tables = || {
        router().routes("default via 10.0.2.9 dev eth1\ndefault via 10.0.1.9 dev eth0 table 100\n").rules(
            "0: from all lookup local\n\
             100: from 10.0.1.0/24 to 10.7.0.0/16 lookup 100\n\
             200: from all to 10.6.0.0/16 prohibit\n\
             32766: from all lookup main\n",
        )
    };
    two_tables().feed(
        "eth0",
        udp("10.0.1.9", "10.7.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.7.0.1:53 udp ttl 64
        eth0 route: route 0.0.0.0/0 via 10.0.1.9 dev eth0 table 100
        - socket: made 10.0.1.1 → 10.0.1.9 icmp redirect to 10.0.1.9 ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp redirect to 10.0.1.9 ttl 64 to 02:00:00:00:00:ee
        eth0 forward: TtlDecremented
        eth0 egress: out 10.0.1.9:4000 → 10.7.0.1:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
    two_tables().feed(
        "eth0",
        udp("10.0.1.9", "10.6.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.6.0.1:53 udp ttl 64
        eth0 route: drop IP_INNOROUTES: the route to 10.6.0.1 is prohibit
        - socket: made 10.0.1.1 → 10.0.1.9 icmp administratively prohibited ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp administratively prohibited ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    two_tables().feed(
        "eth0",
        udp("10.0.1.9", "10.5.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.5.0.1:53 udp ttl 64
        eth0 route: route 0.0.0.0/0 via 10.0.2.9 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.1.9:4000 → 10.5.0.1:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn a_rule_that_is_not_modelled_leaves_the_way_open() {
    router()
        .rules("0: from all lookup local\n50: from all uidrange 0-99 lookup 7\n32766: from all lookup main\n")
        .feed(
            "eth0",
            udp("10.0.1.9", "10.0.2.9"),
            &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: unknown: ip rule 50 has a selector that is not modelled
        "#]],
        );
}

#[test]
fn flows_are_spread_over_the_next_hops_by_weight_and_stay_where_they_are() {
    let host = || {
        router()
            .routes(
                "10.9.0.0/16 nexthop via 10.0.1.9 dev eth0 weight 1 nexthop via 10.0.2.9 dev eth1 weight 3",
            )
            .with(|host| host.sysctls.fib_multipath_hash_policy = 1)
    };
    let mut by_eth1 = 0;
    for port in 1..=400_u16 {
        let link_of = || {
            let plan = host().plan();
            let (mut machine, mut log) = (Machine::new(MachineId(0), plan), Log::default());
            let client = Client { sport: port, ..client(Protocol::Udp, "10.9.0.1", 53) };
            machine.open(
                Instant::START,
                Client { src: Some(ip("10.0.1.1")), ..client },
                &mut Seeded(0),
                &mut log,
            );
            machine.poll_transmit().expect("a frame").link
        };
        let link = link_of();
        assert_eq!(link, link_of());
        by_eth1 += u32::from(link == 2);
    }
    assert!((260..340).contains(&by_eth1), "{by_eth1} of 400 by the hop of weight 3 of 4");
}

#[test]
fn the_source_is_chosen_by_route_then_by_link() {
    router().send(
        client(Protocol::Udp, "10.0.2.9", 53),
        &expect![[r#"
        - socket: made 10.0.2.1:4000 → 10.0.2.9:53 udp ttl 64
        - route: route 10.0.2.0/24 dev eth1 table 254
        eth1 egress: out 10.0.2.1:4000 → 10.0.2.9:53 udp ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().routes("10.9.0.0/16 via 10.0.2.9 dev eth1 src 10.0.1.1").send(
        client(Protocol::Udp, "10.9.0.1", 53),
        &expect![[r#"
            - socket: made 10.0.1.1:4000 → 10.9.0.1:53 udp ttl 64
            - route: route 10.9.0.0/16 via 10.0.2.9 dev eth1 table 254
            eth1 egress: out 10.0.1.1:4000 → 10.9.0.1:53 udp ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
    router().send(
        client(Protocol::Udp, "8.8.8.8", 53),
        &expect![[r#"
        - socket: made 0.0.0.0:4000 → 8.8.8.8:53 udp ttl 64
        - route: drop IP_OUTNOROUTES: network is unreachable
    "#]],
    );
}

/// A bridge with two ports and an address.
fn bridge(hairpin: bool, isolated: bool) -> Host {
    Host::new()
        .link("br0", LinkKind::Bridge { ageing_secs: 300 }, &["10.0.1.1/24"])
        .port("p1", "br0", hairpin, isolated)
        .port("p2", "br0", false, isolated)
        .routes("10.0.1.0/24 dev br0 proto kernel scope link src 10.0.1.1")
}

fn frame_from(from: u8, to: MacAddr) -> Vec<u8> {
    let mut frame = packet::udp(&meta("10.0.1.8", "10.0.1.9"), 4000, 53, &[0; 8]);
    packet::set_macs(&mut frame, mac(from), to);
    frame
}

#[test]
fn a_bridge_floods_what_it_has_not_learned_and_forwards_what_it_has() {
    let teach = || frame_from(0xb2, MacAddr::BROADCAST);
    bridge(false, false).feed(
        "p1",
        frame_from(0xb1, mac(0xb2)),
        &expect![[r#"
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 bridge: Flooded
        p2 egress: out 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64 to 02:00:00:00:00:b2
    "#]],
    );
    // p1 learns 0xb2, so a frame for it that comes in by p2 leaves by p1 only.
    let host = bridge(false, false);
    let (p1, p2) = (host.index("p1"), host.index("p2"));
    let plan = host.plan();
    let (mut machine, mut log) = (Machine::new(MachineId(0), plan.clone()), Log::default());
    let mut feed = |machine: &mut Machine, link, frame| {
        let flow = log.flow(Flow { kind: FlowKind::Injected, cause: EventId::NONE });
        machine.handle_frame(
            Instant::START,
            (0, link),
            Skb::new(frame, flow, EventId::NONE),
            &mut Seeded(0),
            &mut log,
        );
        let mut links = Vec::new();
        while let Some(sent) = machine.poll_transmit() {
            links.push(sent.link);
        }
        links
    };
    assert_eq!(feed(&mut machine, p1, teach()), [p2]);
    assert_eq!(feed(&mut machine, p2, frame_from(0xb1, mac(0xb2))), [p1]);
}

#[test]
fn a_frame_never_leaves_by_the_port_it_came_in_by_unless_hairpin_is_on() {
    let frames = || vec![frame_from(0xb2, MacAddr::BROADCAST), frame_from(0xb1, mac(0xb2))];
    bridge(false, false).feed_all("p1", frames(), &expect![[r#"
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 bridge: Flooded
        p2 egress: out 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64 to ff:ff:ff:ff:ff:ff
        br0 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 route: route 10.0.1.0/24 dev br0 table 254
        br0 forward: drop NOT_SPECIFIED: a packet in a group frame is not forwarded
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        p1 bridge: drop BRIDGE_NO_EGRESS_PORT: 02:00:00:00:00:b2 is behind p1, where the frame came from, and hairpin is off
    "#]]);
    bridge(true, false).feed_all(
        "p1",
        frames(),
        &expect![[r#"
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 bridge: Flooded
        p1 egress: out 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64 to ff:ff:ff:ff:ff:ff
        p2 egress: out 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64 to ff:ff:ff:ff:ff:ff
        br0 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 route: route 10.0.1.0/24 dev br0 table 254
        br0 forward: drop NOT_SPECIFIED: a packet in a group frame is not forwarded
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 bridge: Forwarded
        p1 egress: out 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64 to 02:00:00:00:00:b2
    "#]],
    );
}

#[test]
fn isolated_ports_do_not_talk_to_each_other() {
    bridge(false, true).feed(
        "p1",
        frame_from(0xb1, mac(0xb2)),
        &expect![[r#"
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 bridge: drop BRIDGE_NO_EGRESS_PORT: the bridge has no other port
    "#]],
    );
}

#[test]
fn a_frame_larger_than_the_port_is_lost_without_a_word() {
    let mut frame = packet::udp(&meta("10.0.1.8", "10.0.1.9"), 4000, 53, &[0; 1350]);
    packet::set_macs(&mut frame, mac(0xb1), mac(0xb2));
    bridge(false, false)
        .with(|host| {
            host.links.iter_mut().filter(|link| &*link.name == "p2").for_each(|p| p.mtu_bytes = 1300)
        })
        .feed(
            "p1",
            frame,
            &expect![[r#"
            p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
            br0 bridge: Flooded
            p2 bridge: drop PKT_TOO_BIG: larger than the MTU of p2 (1300); a bridge sends no ICMP
        "#]],
        );
}

/// A node with a VXLAN device to another.
fn vtep() -> Host {
    let vxlan =
        Vxlan { vni: 1, port: 8472, local: Some(ip("10.0.1.1")), dev: Some("eth0".into()), learning: false };
    Host::new()
        .card("eth0", &["10.0.1.1/24"])
        .link("vx", LinkKind::Vxlan(vxlan), &["10.5.1.0/32"])
        .routes("10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.1\n10.5.2.0/24 via 10.5.2.0 dev vx onlink\n")
        .knows(&[("10.0.1.9", "eth0"), ("10.5.2.0", "vx")])
        .with(|host| {
            host.fdb.push(kubenet_core::plan::FdbEntry {
                mac: THEM,
                dev: "vx".into(),
                master: None,
                dst: Some(ip("10.0.1.9")),
                permanent: true,
                origin: Origin::implied("test"),
            });
        })
}

#[test]
fn a_vxlan_device_wraps_into_fifty_bytes_more() {
    vtep().send(client(Protocol::Udp, "10.5.2.9", 53), &expect![[r#"
        - socket: made 10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64
        - route: route 10.5.2.0/24 via 10.5.2.0 dev vx table 254
        vx egress: out 10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64 to 02:00:00:00:00:ee
        vx vxlan: Encapsulated
        - socket: made 10.0.1.1:44086 → 10.0.1.9:8472 vxlan [10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64] ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1:44086 → 10.0.1.9:8472 vxlan [10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64] ttl 64 to 02:00:00:00:00:ee
    "#]]);
}

#[test]
fn a_wrapped_frame_is_unwrapped_by_its_vni_and_port() {
    let wrapped = |vni: u32, dport: u16| {
        let mut inner = packet::udp(&meta("10.5.2.9", "10.5.1.0"), 4000, 53, &[0; 8]);
        packet::set_macs(&mut inner, THEM, mac(2));
        to(mac(1), packet::vxlan_encapsulate(&meta("10.0.1.9", "10.0.1.1"), 50_000, dport, vni, &inner))
    };
    vtep().listen(Protocol::Udp, 53).feed("eth0", wrapped(1, 8472), &expect![[r#"
        eth0 ingress: in 10.0.1.9:50000 → 10.0.1.1:8472 vxlan [10.5.2.9:4000 → 10.5.1.0:53 udp ttl 64] ttl 64
        eth0 route: Local
        vx vxlan: Decapsulated
        vx ingress: in 10.5.2.9:4000 → 10.5.1.0:53 udp ttl 64
        vx route: Local
        vx socket: Delivered
        - socket: made 10.5.1.0:53 → 10.5.2.9:4000 udp ttl 64
        - route: route 10.5.2.0/24 via 10.5.2.0 dev vx table 254
        vx egress: out 10.5.1.0:53 → 10.5.2.9:4000 udp ttl 64 to 02:00:00:00:00:ee
        vx vxlan: Encapsulated
        - socket: made 10.0.1.1:54799 → 10.0.1.9:8472 vxlan [10.5.1.0:53 → 10.5.2.9:4000 udp ttl 64] ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1:54799 → 10.0.1.9:8472 vxlan [10.5.1.0:53 → 10.5.2.9:4000 udp ttl 64] ttl 64 to 02:00:00:00:00:ee
    "#]]);
    vtep().feed(
        "eth0",
        wrapped(2, 8472),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:50000 → 10.0.1.1:8472 vxlan [10.5.2.9:4000 → 10.5.1.0:53 udp ttl 64] ttl 64
        eth0 route: Local
        eth0 vxlan: drop VXLAN_VNI_NOT_FOUND: no VXLAN device has VNI 2 on port 8472
    "#]],
    );
    vtep().feed(
        "eth0",
        wrapped(1, 4789),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:50000 → 10.0.1.1:4789 vxlan [10.5.2.9:4000 → 10.5.1.0:53 udp ttl 64] ttl 64
        eth0 route: Local
        eth0 socket: drop NO_SOCKET: nothing listens on udp port 4789
        - socket: made 10.0.1.1 → 10.0.1.9 icmp port unreachable ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp port unreachable ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn a_vxlan_device_without_an_entry_drops() {
    vtep().with(|host| host.fdb.clear()).send(
        client(Protocol::Udp, "10.5.2.9", 53),
        &expect![[r#"
        - socket: made 10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64
        - route: route 10.5.2.0/24 via 10.5.2.0 dev vx table 254
        vx egress: out 10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64 to 02:00:00:00:00:ee
        vx vxlan: drop VXLAN_NO_REMOTE: vx has no forwarding entry for 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn ipv6_forwards_answers_neighbours_and_never_cuts() {
    let udp6 = |dst: &str, payload: usize| {
        let meta = meta("fd00:1::9", dst);
        to(mac(1), packet::udp(&meta, 4000, 53, &vec![0; payload]))
    };
    router().feed(
        "eth0",
        udp6("fd00:2::9", 8),
        &expect![[r#"
        eth0 ingress: in [fd00:1::9]:4000 → [fd00:2::9]:53 udp ttl 64
        eth0 route: route fd00:2::/64 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out [fd00:1::9]:4000 → [fd00:2::9]:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.links[2].mtu_bytes = 1300).feed(
        "eth0",
        udp6("fd00:2::9", 1400),
        &expect![[r#"
            eth0 ingress: in [fd00:1::9]:4000 → [fd00:2::9]:53 udp ttl 64
            eth0 route: route fd00:2::/64 dev eth1 table 254
            eth0 forward: drop PKT_TOO_BIG: 1448 bytes do not fit eth1 (MTU 1300), and it must not be fragmented
            - socket: made fd00:1::1 → fd00:1::9 icmpv6 packet too big, mtu 1300 ttl 64
            - route: route fd00:1::/64 dev eth0 table 254
            eth0 egress: out fd00:1::1 → fd00:1::9 icmpv6 packet too big, mtu 1300 ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
    router().feed(
        "eth0",
        udp6("fd00:9::1", 8),
        &expect![[r#"
        eth0 ingress: in [fd00:1::9]:4000 → [fd00:9::1]:53 udp ttl 64
        eth0 route: drop IP_INNOROUTES: no route to fd00:9::1
        - socket: made fd00:1::1 → fd00:1::9 icmpv6 no route ttl 64
        - route: route fd00:1::/64 dev eth0 table 254
        eth0 egress: out fd00:1::1 → fd00:1::9 icmpv6 no route ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.sysctls.disable_ipv6 = true).feed(
        "eth0",
        udp6("fd00:2::9", 8),
        &expect![[r#"
        eth0 ingress: in [fd00:1::9]:4000 → [fd00:2::9]:53 udp ttl 64
        eth0 ingress: drop IPV6DISABLED: disable_ipv6 is set
    "#]],
    );
}

#[test]
fn fragments_are_put_together_before_delivery_and_dropped_when_one_is_missing() {
    let whole =
        packet::udp(&Ipv4Meta { dont_fragment: false, ..meta("10.0.1.9", "10.0.1.1") }, 4000, 53, &[0; 1000]);
    let Ok(packet::View::Ip(header)) = packet::view(&whole) else { panic!("an IP packet") };
    let pieces: Vec<Vec<u8>> =
        packet::fragment_ipv4(&whole, &header, 600).into_iter().map(|piece| to(mac(1), piece)).collect();
    let mut reversed = pieces.clone();
    reversed.reverse();
    router().listen(Protocol::Udp, 53).feed_all(
        "eth0",
        reversed,
        &expect![[r#"
        eth0 ingress: in 10.0.1.9 → 10.0.1.1 udp fragment 576 ttl 64
        eth0 route: Local
        eth0 ingress: in 10.0.1.9:4000 → 10.0.1.1:53 udp fragment 0+ ttl 64
        eth0 route: Local
        eth0 input: Reassembled
        eth0 socket: Delivered
        - socket: made 10.0.1.1:53 → 10.0.1.9:4000 udp ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1:53 → 10.0.1.9:4000 udp ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().listen(Protocol::Udp, 53).feed(
        "eth0",
        pieces[0].clone(),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.1.1:53 udp fragment 0+ ttl 64
        eth0 route: Local
        30s - input: drop FRAG_REASM_TIMEOUT: 1 fragments waited 30 s for the rest
    "#]],
    );
}

#[test]
fn a_link_that_is_down_takes_and_sends_nothing() {
    router().with(|host| host.links[1].up = false).feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.9"),
        &expect![[r#"
        eth0 ingress: drop DEV_READY: eth0 is down
    "#]],
    );
    router().with(|host| host.links[2].carrier = false).feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.9"),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: route 10.0.2.0/24 dev eth1 table 254
            eth1 forward: TtlDecremented
            eth1 egress: drop DEV_READY: eth1 is down
        "#]],
    );
}

#[test]
fn echo_requests_are_answered_unless_the_sysctl_says_no() {
    let ping = || to(mac(1), packet::icmp_echo(&meta("10.0.1.9", "10.0.2.1"), false, 9, 1, &[1; 8]));
    router().feed(
        "eth0",
        ping(),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9 → 10.0.2.1 icmp echo request ttl 64
        eth0 route: Local
        eth0 socket: Delivered
        - socket: made 10.0.2.1 → 10.0.1.9 icmp echo reply ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.2.1 → 10.0.1.9 icmp echo reply ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.sysctls.icmp_echo_ignore_all = true).feed(
        "eth0",
        ping(),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9 → 10.0.2.1 icmp echo request ttl 64
        eth0 route: Local
        eth0 socket: drop NOT_SPECIFIED: icmp_echo_ignore_all is set
    "#]],
    );
}
