//! A host of a few links, fed with a packet, and what it does in words.

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
    Protocol, RouteScope, SegmentId, Socket, SocketState,
};
use kubenet_core::text::{ip_route, ip_rule};
use kubenet_core::time::Instant;

/// A host whose cards are plugged into segments of their own.
pub(crate) struct Host(pub(crate) Netns);

/// The last byte of the hardware address of the n-th link.
pub(crate) const fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

/// Somebody on the other side of a link.
pub(crate) const THEM: MacAddr = mac(0xee);

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

impl Host {
    pub(crate) fn new() -> Self {
        let mut netns = Netns::new("", Origin::implied("test"));
        netns.sysctls.ip_forward = true;
        netns.sysctls.ipv6_forwarding = true;
        Self(netns)
    }

    pub(crate) fn link(mut self, name: &str, kind: LinkKind, addresses: &[&str]) -> Self {
        let last = self.0.links.len() as u8;
        let mut link = Link::new(name, kind, mac(last), 1500, Origin::implied("test"));
        for net in addresses {
            let net = net.parse().unwrap_or_else(|error| panic!("{net}: {error}"));
            link.addresses.push(Address { net, scope: RouteScope::Global, origin: Origin::implied("test") });
        }
        self.0.links.push(link);
        self
    }

    pub(crate) fn card(self, name: &str, addresses: &[&str]) -> Self {
        let segment = Some(SegmentId(self.0.links.len() as u32));
        self.link(name, LinkKind::Nic { segment }, addresses)
    }

    pub(crate) fn port(self, name: &str, bridge: &str, hairpin: bool, isolated: bool) -> Self {
        let mut host = self.card(name, &[]);
        let port = BridgePort { bridge: bridge.into(), hairpin, isolated };
        host.0.links.last_mut().expect("a link").port = Some(port);
        host
    }

    pub(crate) fn routes(mut self, text: &str) -> Self {
        let parsed = ip_route::parse(text, "routes");
        assert_eq!(parsed.diagnostics, []);
        self.0.routes.extend(parsed.items);
        self
    }

    pub(crate) fn rules(mut self, text: &str) -> Self {
        let parsed = ip_rule::parse(text, "rules", Family::V4);
        assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
        self.0.rules.extend(parsed.items);
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Netns)) -> Self {
        change(&mut self.0);
        self
    }

    pub(crate) fn listen(mut self, protocol: Protocol, port: u16) -> Self {
        let (state, process) = (SocketState::Listen, Process::Echo);
        let origin = Origin::implied("test");
        self.0.sockets.push(Socket { protocol, addr: None, dev: None, port, state, process, origin });
        self
    }

    /// The neighbours on every card are known.
    pub(crate) fn knows(mut self, addrs: &[(&str, &str)]) -> Self {
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

    pub(crate) fn plan(self) -> Arc<MachinePlan> {
        Arc::new(MachinePlan {
            name: "host".into(),
            kind: MachineKind::Node,
            netns: vec![self.0],
            origin: Origin::implied("test"),
        })
    }

    pub(crate) fn index(&self, link: &str) -> u32 {
        self.0.link_named(link).unwrap_or_else(|| panic!("no link {link}")).0 as u32
    }

    /// Feeds a frame into a link, and tells everything that happens within four seconds.
    pub(crate) fn feed(self, link: &str, frame: Vec<u8>, expect: &Expect) {
        self.feed_all(link, vec![frame], expect);
    }

    pub(crate) fn feed_all(self, link: &str, frames: Vec<Vec<u8>>, expect: &Expect) {
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
    pub(crate) fn send(self, client: Client, expect: &Expect) {
        let plan = self.plan();
        let (mut machine, mut log) = (Machine::new(MachineId(0), plan.clone()), Log::default());
        machine.open(Instant::START, client, &mut Seeded(0), &mut log);
        finish(&mut machine, &mut log, 4);
        expect.assert_eq(&told(&plan, &log));
    }
}

/// Lets time pass until nothing is due within so many seconds.
pub(crate) fn finish(machine: &mut Machine, log: &mut Log, secs: u64) {
    while let Some((at, _)) = machine.poll_timeout()
        && at <= Instant::from_nanos(secs * 1_000_000_000)
    {
        machine.handle_timeout(at, &mut Seeded(0), log);
    }
    while machine.poll_transmit().is_some() {}
}

/// Events as `link stage: what`, with what left the machine, and what the time is when it is not zero.
pub(crate) fn told(plan: &MachinePlan, log: &Log) -> String {
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

pub(crate) fn meta(src: &str, dst: &str) -> Ipv4Meta {
    Ipv4Meta { src: ip(src), dst: ip(dst), ttl: 64, dont_fragment: true, id: 7 }
}

pub(crate) fn to(link_mac: MacAddr, mut frame: Vec<u8>) -> Vec<u8> {
    packet::set_macs(&mut frame, THEM, link_mac);
    frame
}

pub(crate) fn udp(src: &str, dst: &str) -> Vec<u8> {
    to(mac(1), packet::udp(&meta(src, dst), 4000, 53, &[0; 8]))
}

pub(crate) fn syn(src: &str, dst: &str, dport: u16) -> Vec<u8> {
    let segment =
        TcpSegment { sport: 4000, dport, seq: 1, syn: true, mss: Some(1460), ..TcpSegment::default() };
    to(mac(1), packet::tcp(&meta(src, dst), &segment, &[]))
}

/// A router between 10.0.1.0/24 on `eth0` and 10.0.2.0/24 on `eth1`.
pub(crate) fn router() -> Host {
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

pub(crate) fn client(protocol: Protocol, dst: &str, dport: u16) -> Client {
    Client { netns: 0, protocol, src: None, sport: 4000, dst: ip(dst), dport, payload: 0 }
}
