//! A machine under a flood: what it holds stays within the kernel's limits, and it says why it takes no more.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use kubenet_core::addr::MacAddr;
use kubenet_core::dataplane::{
    DropReason, Event, EventId, EventKind, Flow, FlowId, Machine, Recorder, Seeded, Skb,
};
use kubenet_core::packet::{self, Ipv4Meta, TcpSegment, View};
use kubenet_core::plan::{
    Address, Backend, Link, LinkKind, MachineId, Netns, Origin, Process, Protocol, Relay, Route, RouteScope,
    SegmentId, Socket, SocketState,
};
use kubenet_core::time::{Duration, Instant};

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// Counts drops by reason.
#[derive(Default)]
struct Drops(BTreeMap<&'static str, usize>);

impl Recorder for Drops {
    const ON: bool = true;

    fn flow(&mut self, _: Flow) -> FlowId {
        FlowId(0)
    }

    fn event(&mut self, event: impl FnOnce() -> Event, _: &[u8]) -> EventId {
        if let EventKind::Dropped { reason, .. } = event().kind {
            *self.0.entry(reason.name()).or_default() += 1;
        }
        EventId(0)
    }
}

impl Drops {
    fn of(&self, reason: DropReason) -> usize {
        self.0.get(reason.name()).copied().unwrap_or(0)
    }
}

/// A host on a large network, with a listener on port 80.
fn machine() -> Machine {
    let origin = Origin::implied("test");
    let mut netns = Netns::new("", origin.clone());
    let nic = LinkKind::Nic { segment: Some(SegmentId(0)) };
    let mut link = Link::new("eth0", nic, OWN, 1500, origin.clone());
    let net = "10.0.0.2/8".parse().expect("a prefix");
    link.addresses.push(Address { net, scope: RouteScope::Global, origin: origin.clone() });
    netns.links.push(link);
    netns.routes.push(Route::unicast(net, None, "eth0", origin.clone()));
    let (state, process) = (SocketState::Listen, Process::Echo);
    netns.sockets.push(Socket {
        protocol: Protocol::Tcp,
        addr: None,
        dev: None,
        port: 80,
        state,
        process,
        origin: origin.clone(),
    });
    let addr = Ipv4Addr::new(10, 1, 0, 1).into();
    let backend = Backend { addr, port: 80, origin: origin.clone() };
    let relay = Relay {
        backends: vec![backend],
        affinity: Some(Duration::from_secs(60)),
        udp_idle: Duration::from_secs(1),
    };
    netns.sockets.push(Socket {
        protocol: Protocol::Udp,
        addr: None,
        dev: None,
        port: 81,
        state,
        process: Process::Relay(relay.into()),
        origin,
    });
    Machine::new(MachineId(0), Arc::new(netns.into()))
}

/// Feeds frames, a nanosecond apart.
fn flood(machine: &mut Machine, start: Instant, frames: impl IntoIterator<Item = Vec<u8>>) -> Drops {
    let mut drops = Drops::default();
    let mut now = start;
    for mut frame in frames {
        packet::set_macs(&mut frame, OTHER, OWN);
        let skb = Skb::new(frame, FlowId(0), EventId::NONE);
        machine.handle_frame(now, (0, 1), skb, &mut Seeded(0), &mut drops);
        while machine.poll_transmit().is_some() {}
        now = now + Duration::from_nanos(1);
    }
    drops
}

fn from(src: u32) -> Ipv4Meta {
    let src = Ipv4Addr::from(0x0a00_0100 + src).into();
    Ipv4Meta { src, dst: Ipv4Addr::new(10, 0, 0, 2).into(), ttl: 64, dont_fragment: true, id: 1 }
}

#[test]
fn the_neighbour_table_holds_1024_entries_and_makes_room_for_new_ones_later() {
    let mut machine = machine();
    let echo = |from_host: u32| packet::icmp_echo(&from(from_host), false, 1, 1, b"");
    let drops = flood(&mut machine, Instant::START, (0..3000).map(echo));
    assert_eq!(machine.neighbours(0).len(), 1024);
    assert_eq!(drops.of(DropReason::NeighCreateFail), 3000 - 1024, "{:?}", drops.0);
    // Nobody answers: the entries fail, and give way.
    let mut now = Instant::START;
    while let Some((at, _)) = machine.poll_timeout() {
        now = at;
        machine.handle_timeout(now, &mut Seeded(0), &mut ());
        while machine.poll_transmit().is_some() {}
    }
    let drops = flood(&mut machine, now, (5000..5010).map(echo));
    assert_eq!(drops.of(DropReason::NeighCreateFail), 0, "{:?}", drops.0);
    assert_eq!(machine.neighbours(0).len(), 10);
}

#[test]
fn the_same_fragment_is_held_once_and_all_fragments_within_four_mebibytes() {
    let whole = packet::udp(&Ipv4Meta { dont_fragment: false, ..from(1) }, 1, 80, &[7; 2000]);
    let Ok(View::Ip(ip)) = packet::view(&whole) else { panic!("not an IP packet") };
    let first = packet::fragment_ipv4(&whole, &ip, 1500).swap_remove(0);
    let drops = flood(&mut machine(), Instant::START, std::iter::repeat_n(first, 500));
    assert_eq!(drops.of(DropReason::DupFrag), 499, "{:?}", drops.0);

    let firsts = (0..4000).map(|host: u32| {
        let whole = packet::udp(&Ipv4Meta { dont_fragment: false, ..from(host) }, 1, 80, &[7; 2000]);
        let Ok(View::Ip(ip)) = packet::view(&whole) else { panic!("not an IP packet") };
        packet::fragment_ipv4(&whole, &ip, 1500).swap_remove(0)
    });
    let drops = flood(&mut machine(), Instant::START, firsts);
    let held = 4000 - drops.of(DropReason::NotSpecified);
    assert!((2500..=(4 << 20) / 1500).contains(&held), "{held} held, {:?}", drops.0);
}

#[test]
fn half_open_connections_are_limited() {
    let mut machine = machine();
    let syn = |number: u32| {
        let (host, sport) = (number % 2, (number / 2) as u16);
        let segment = TcpSegment { sport, dport: 80, syn: true, ..TcpSegment::default() };
        packet::tcp(&from(host), &segment, &[])
    };
    let drops = flood(&mut machine, Instant::START, (0..66_000).map(syn));
    assert_eq!(drops.of(DropReason::NotSpecified), 66_000 - 65_536, "{:?}", drops.0);
}

#[test]
fn a_relay_holds_so_many_clients_and_has_room_again_when_they_are_silent() {
    let mut machine = machine();
    let datagram = |number: u32| packet::udp(&from(number), 5000, 81, b"");
    let drops = flood(&mut machine, Instant::START, (0..20_000).map(datagram));
    assert_eq!(drops.of(DropReason::NotSpecified), 20_000 - 16_384, "{:?}", drops.0);
    let later = Instant::START + Duration::from_secs(2);
    while let Some((at, _)) = machine.poll_timeout()
        && at <= later
    {
        machine.handle_timeout(at, &mut Seeded(0), &mut ());
        while machine.poll_transmit().is_some() {}
    }
    let drops = flood(&mut machine, later, (30_000..30_100).map(datagram));
    assert_eq!(drops.of(DropReason::NotSpecified), 0, "{:?}", drops.0);
}

#[test]
fn a_frame_from_no_address_teaches_a_bridge_nothing() {
    let origin = Origin::implied("test");
    let mut netns = Netns::new("", origin.clone());
    let bridge = LinkKind::Bridge { ageing_secs: 300 };
    netns.links.push(Link::new("br0", bridge, OWN, 1500, origin.clone()));
    let nic = LinkKind::Nic { segment: Some(SegmentId(0)) };
    let mut port = Link::new("eth0", nic, OWN, 1500, origin);
    port.port =
        Some(kubenet_core::plan::BridgePort { bridge: "br0".into(), hairpin: false, isolated: false });
    netns.links.push(port);
    let mut machine = Machine::new(MachineId(0), Arc::new(netns.into()));
    let mut frame = packet::icmp_echo(&from(1), false, 1, 1, b"");
    packet::set_macs(&mut frame, MacAddr::ZERO, OWN);
    let mut drops = Drops::default();
    let skb = Skb::new(frame, FlowId(0), EventId::NONE);
    machine.handle_frame(Instant::START, (0, 2), skb, &mut Seeded(0), &mut drops);
    assert_eq!(drops.of(DropReason::MacInvalidSource), 1, "{:?}", drops.0);
}
