//! One packet of an established TCP flow between pods on two nodes, every device on the way walked.
//!
//! `cargo bench -p kubenet-core --bench dataplane`. Each round feeds a segment to the client's pod, whose ACK then goes the whole
//! way: socket, veth, bridge, route, card, switch, card, route, bridge, veth, socket; so a round is a little more than one
//! packet. `recorded` takes down every step with its frame, `unrecorded` nothing. `services` has the client's node alone, with
//! the rules of 10,000 Services.

mod gate;
#[path = "dataplane/services.rs"]
mod services;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use kubenet_core::addr::{MacAddr, Protocol};
use kubenet_core::dataplane::{Client, Limits, Log, NoticeKind, Recorder, Seeded, World};
use kubenet_core::packet::{self, Ipv4Meta, TcpSegment};
use kubenet_core::plan::{
    Address, Audience, BridgePort, Link, LinkKind, MachineId, MachineKind, MachinePlan, Netns, Origin,
    PlanSource, Process, Route, RouteScope, Segment, SegmentId, Socket, SocketState, Station,
};
use kubenet_core::time::Instant;

fn main() {
    divan::main();
    services::hold();
}

/// Two nodes on one switch, a bridge and a pod on each.
struct Plans([Arc<MachinePlan>; 2]);

const LIMITS: Limits = Limits { steps: u64::MAX, until: Instant::from_nanos(u64::MAX) };
const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 244, 1, 5), 40_000);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 244, 2, 5), 80);

impl PlanSource for Plans {
    fn machine_count(&self) -> u32 {
        2
    }

    fn machine(&self, id: MachineId) -> Option<Arc<MachinePlan>> {
        self.0.get(id.0 as usize).cloned()
    }

    fn machine_named(&self, name: &str) -> Option<MachineId> {
        (0..).zip(&self.0).find(|(_, plan)| &*plan.name == name).map(|(id, _)| MachineId(id))
    }

    fn segment(&self, _: SegmentId) -> Option<Segment> {
        let origin = Origin::implied("bench");
        Some(Segment { name: "switch".into(), mtu_bytes: 1500, opaque: None, origin })
    }

    fn stations(&self, _: SegmentId, _: Audience) -> Vec<Station> {
        let station = |id| Station { machine: MachineId(id), netns: 0, link: "eth0".into() };
        (0..2).map(station).collect()
    }
}

fn mac(node: u8, last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, node, last])
}

fn node(number: u8, other: u8) -> Arc<MachinePlan> {
    let origin = || Origin::implied("bench");
    let link = |name: &str, kind: LinkKind, last: u8, addr: Option<String>| {
        let mut link = Link::new(name, kind, mac(number, last), 1500, origin());
        let address = |text: String| {
            let net = text.parse().expect("a prefix");
            Address { net, scope: RouteScope::Global, origin: origin() }
        };
        link.addresses = addr.map(address).into_iter().collect();
        link
    };
    let route = |dst: String, via: Option<String>, dev: &str| {
        let via: Option<IpAddr> = via.map(|via| via.parse().expect("an address"));
        Route::unicast(dst.parse().expect("a prefix"), via, dev, origin())
    };
    let mut host = Netns::new("", origin());
    let nic = LinkKind::Nic { segment: Some(SegmentId(0)) };
    host.links.push(link("eth0", nic, 1, Some(format!("172.18.0.{number}/16"))));
    let bridge = LinkKind::Bridge { ageing_secs: 300 };
    host.links.push(link("cni0", bridge, 2, Some(format!("10.244.{number}.1/24"))));
    let mut veth = link("veth1", LinkKind::Veth { peer_netns: 1, peer: "eth0".into() }, 3, None);
    veth.port = Some(BridgePort { bridge: "cni0".into(), hairpin: true, isolated: false });
    host.links.push(veth);
    host.sysctls.ip_forward = true;
    host.routes = vec![
        route("0.0.0.0/0".into(), Some("172.18.0.254".into()), "eth0"),
        route("172.18.0.0/16".into(), None, "eth0"),
        route(format!("10.244.{number}.0/24"), None, "cni0"),
        route(format!("10.244.{other}.0/24"), Some(format!("172.18.0.{other}")), "eth0"),
    ];
    let mut pod = Netns::new(format!("default/pod-{number}"), origin());
    let veth = LinkKind::Veth { peer_netns: 0, peer: "veth1".into() };
    pod.links.push(link("eth0", veth, 4, Some(format!("10.244.{number}.5/24"))));
    pod.routes = vec![
        route("0.0.0.0/0".into(), Some(format!("10.244.{number}.1")), "eth0"),
        route(format!("10.244.{number}.0/24"), None, "eth0"),
    ];
    pod.sockets.push(Socket {
        protocol: Protocol::Tcp,
        addr: None,
        dev: None,
        port: SERVER.1,
        state: SocketState::Listen,
        process: Process::Echo,
        origin: origin(),
    });
    let (name, kind) = (format!("node-{number}").into(), MachineKind::Node);
    Arc::new(MachinePlan { name, kind, netns: vec![host, pod], origin: origin() })
}

/// A world with the connection up, and the segment that makes the client send an ACK.
fn established(plans: &Plans) -> (World<'_, Plans>, Vec<u8>) {
    let mut world = World::new(plans);
    let (dst, dport) = SERVER;
    let protocol = Protocol::Tcp;
    let (src, sport) = (Some(CLIENT.0.into()), CLIENT.1);
    let client = Client { netns: 1, protocol, src, sport, dst: dst.into(), dport, payload: 0 };
    world.open(MachineId(0), client, &mut Seeded(0), &mut ());
    world.run(LIMITS, &mut Seeded(0), &mut (), |_| false, &|| false);
    let connected = world.poll_notice().is_some_and(|(_, notice)| notice.kind == NoticeKind::Connected);
    assert!(connected, "the flow is not established");
    let (src, dst) = (SERVER.0.into(), CLIENT.0.into());
    let meta = Ipv4Meta { src, dst, ttl: 62, dont_fragment: true, id: 9 };
    let segment = TcpSegment {
        sport: SERVER.1,
        dport: CLIENT.1,
        seq: 1,
        ack: Some(1),
        psh: true,
        ..TcpSegment::default()
    };
    let mut frame = packet::tcp(&meta, &segment, b"x");
    packet::set_macs(&mut frame, mac(1, 2), mac(1, 4));
    (world, frame)
}

fn walk<R: Recorder>(world: &mut World<'_, Plans>, frame: &[u8], log: &mut R) {
    world.inject(MachineId(0), (1, 1), frame.to_vec(), &mut Seeded(0), log);
    world.run(LIMITS, &mut Seeded(0), log, |_| false, &|| false);
}

fn plans() -> Plans {
    Plans([node(1, 2), node(2, 1)])
}

#[divan::bench(sample_count = 200, sample_size = 500)]
fn unrecorded(bencher: Bencher<'_, '_>) {
    let plans = plans();
    let (mut world, frame) = established(&plans);
    // The ACK reaches the other pod's socket.
    let mut log = Log::default();
    walk(&mut world, &frame, &mut log);
    assert!(log.events().len() >= 20, "the walk is cut short: {:#?}", log.events());
    walk(&mut world, &frame, &mut ());
    while world.poll_notice().is_some() {}
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| walk(&mut world, &frame, &mut ()));
    assert!(world.poll_notice().is_none());
}

#[divan::bench(sample_count = 200, sample_size = 500)]
fn recorded(bencher: Bencher<'_, '_>) {
    let plans = plans();
    let (mut world, frame) = established(&plans);
    let mut log = Log::default();
    walk(&mut world, &frame, &mut log);
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        log.clear();
        walk(&mut world, &frame, &mut log);
        log.events().len()
    });
}
