//! A node on a bench: its rules and addresses, a card, pods behind a link, and a router that takes whatever leaves.
//!
//! In: the node's own namespace, and packets. Out: for each packet its [`Outcome`]. Packets come days apart, so that none finds what
//! an earlier one left behind.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Sender;
use crate::addr::{Family, MacAddr, Protocol};
use crate::cluster::Cluster;
use crate::compile::service::Port;
use crate::dataplane::{
    Client, EventId, EventKind, Flow, FlowKind, Log, Machine, Probability, Recorder, Script, Skb, explore,
};
use crate::packet::{self, Chunk, Ipv4Meta, Side, TcpSegment};
use crate::plan::{
    Address, Link, LinkKind, MachineId, MachineKind, MachinePlan, Neighbour, NeighbourState, Netns, Origin,
    Route, RouteScope, SegmentId, Undeclared,
};
use crate::time::{Duration, Instant};

/// Ways of one packet that are followed.
const WAYS: usize = 4096;
/// Between two packets: more than any affinity lasts.
const PAUSE: Duration = Duration::from_secs(2 * 86_400);
/// Packets after which the bench begins anew.
const RENEW: u64 = 1024;
/// The MAC of everything that is not the node.
const THEM: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xee]);

/// A first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Packet {
    /// Where it comes from.
    pub from: Sender,
    /// The frontend.
    pub to: SocketAddr,
    /// Its transport.
    pub protocol: Protocol,
}

/// The addresses that packets come from.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pod: Option<(IpAddr, IpNet)>,
    node: IpAddr,
    outside: IpAddr,
}

impl Sources {
    /// Those of a node. The pod is none of the input: it has the last address of the node's range.
    pub(super) fn new(cluster: &Cluster, node: u32, family: Family, node_ip: IpAddr) -> Self {
        let ranges =
            cluster.nodes.get(node as usize).map(|node| node.pod_cidrs.as_slice()).unwrap_or_default();
        let mut ranges = ranges.iter().chain(&cluster.settings.cluster_cidr.value);
        let range = ranges.find(|net| Family::of_net(**net) == family);
        let outside = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x77)),
        };
        Self { pod: range.map(|net| (last_host(*net), *net)), node: node_ip, outside }
    }

    /// Who sends to every frontend.
    pub(super) fn of_node(&self) -> impl Iterator<Item = (Sender, IpAddr)> + use<> {
        let pod = self.pod.map(|(addr, _)| (Sender::Pod, addr));
        pod.into_iter().chain([(Sender::Node, self.node), (Sender::Outside, self.outside)])
    }

    /// The source of a packet to a service port.
    pub(super) fn address(&self, packet: &Packet, port: &Port) -> Option<IpAddr> {
        match packet.from {
            Sender::Pod => self.pod.map(|(addr, _)| addr),
            Sender::Node => Some(self.node),
            Sender::Outside => Some(self.outside),
            Sender::Allowed => port.record.source_ranges.first().map(|net| last_host(*net)),
        }
    }
}

/// The last address of a range that a host can have.
fn last_host(net: IpNet) -> IpAddr {
    match net {
        IpNet::V4(net) if net.prefix_len() < 31 => IpAddr::V4((u32::from(net.broadcast()) - 1).into()),
        IpNet::V4(net) => net.addr().into(),
        IpNet::V6(net) => net.broadcast().into(),
    }
}

/// What becomes of a packet one way that chance can fall.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Endpoint(SocketAddr),
    Rejected,
    Dropped,
    /// No rule changed or ended it.
    Untouched,
    Unknown(String),
}

/// What becomes of a packet in every way.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) shares: BTreeMap<Fate, Probability>,
    /// Whether the source is replaced on the way to an endpoint; `None` where that is not known.
    pub(super) masqueraded: BTreeMap<SocketAddr, Option<bool>>,
}

impl Outcome {
    /// That of a packet that no rule knows.
    pub(super) fn untouched() -> Self {
        Self { shares: BTreeMap::from([(Fate::Untouched, Probability::ONE)]), ..Self::default() }
    }

    /// The endpoints that it may reach, in order.
    pub(super) fn endpoints(&self) -> Vec<SocketAddr> {
        self.masqueraded.keys().copied().collect()
    }

    /// Why it is not known.
    pub(super) fn unknown(&self) -> Option<&str> {
        self.shares.keys().find_map(|fate| match fate {
            Fate::Unknown(why) => Some(why.as_str()),
            Fate::Endpoint(_) | Fate::Rejected | Fate::Dropped | Fate::Untouched => None,
        })
    }

    /// The likeliest fate of those that lead to no endpoint.
    pub(super) fn end(&self) -> Option<&Fate> {
        let ends = self.shares.iter().filter(|(fate, _)| !matches!(fate, Fate::Endpoint(_)));
        ends.max_by_key(|(_, share)| **share).map(|(fate, _)| fate)
    }
}

/// A node's rules, ready to be tried.
#[derive(Debug)]
pub(super) struct Bench {
    plan: Arc<MachinePlan>,
    /// Whether a scheduler remembers whom it chose, so that each packet needs a machine of its own.
    remembers: bool,
    machine: Machine,
    now: Instant,
    sent: u64,
}

impl Bench {
    pub(super) fn new(host: &Netns, sources: &Sources) -> Self {
        let plan = Arc::new(plan(host, sources));
        Self {
            remembers: host.netfilter.has_ipvs(),
            machine: Machine::new(MachineId(0), plan.clone()),
            plan,
            now: Instant::START,
            sent: 0,
        }
    }

    /// Sends a packet in every way.
    pub(super) fn send(&mut self, packet: &Packet, source: IpAddr) -> Outcome {
        let found = explore(WAYS, |script: &mut Script| self.one(packet, source, script));
        let mut outcome = Outcome::default();
        for (share, _, (fate, masqueraded)) in found.runs {
            if let Fate::Endpoint(to) = fate {
                let known = outcome.masqueraded.entry(to).or_insert(masqueraded);
                if *known != masqueraded {
                    *known = None;
                }
            }
            let all = outcome.shares.entry(fate).or_insert(Probability::ZERO);
            *all = all.plus(share);
        }
        if found.unexplored != Probability::ZERO {
            outcome.shares.insert(Fate::Unknown("it can go more than 4,096 ways".into()), found.unexplored);
        }
        outcome
    }

    fn one(&mut self, packet: &Packet, source: IpAddr, script: &mut Script) -> (Fate, Option<bool>) {
        if self.remembers || self.sent.is_multiple_of(RENEW) {
            self.machine = Machine::new(MachineId(0), self.plan.clone());
            self.now = Instant::START;
        }
        self.sent += 1;
        self.now = self.now + PAUSE;
        let sport = 1024 + (self.sent % 60_000) as u16;
        let (dst, dport, protocol) = (packet.to.ip(), packet.to.port(), packet.protocol);
        let mut log = Log::default();
        let link = match packet.from {
            Sender::Node => None,
            Sender::Pod => Some(2),
            Sender::Outside | Sender::Allowed => Some(1),
        };
        match link {
            None => {
                let client = Client { netns: 0, protocol, src: Some(source), sport, dst, dport, payload: 0 };
                self.machine.open(self.now, client, script, &mut log);
            }
            Some(place) => {
                let flow = log.flow(Flow { kind: FlowKind::Injected, cause: EventId::NONE });
                let skb = Skb::new(frame(packet, source, sport, card(place)), flow, EventId::NONE);
                self.machine.handle_frame(self.now, (0, u32::from(place)), skb, script, &mut log);
            }
        }
        while self.machine.poll_transmit().is_some() {}
        while self.machine.poll_notice().is_some() {}
        fate(&log)
    }
}

const fn card(place: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, place])
}

fn frame(packet: &Packet, src: IpAddr, sport: u16, to: MacAddr) -> Vec<u8> {
    let (dst, dport) = (packet.to.ip(), packet.to.port());
    let ip = Ipv4Meta { src, dst, ttl: 64, dont_fragment: true, id: 1 };
    let mut frame = match packet.protocol {
        Protocol::Udp => packet::udp(&ip, sport, dport, &[]),
        Protocol::Sctp => packet::sctp(&ip, sport, dport, 0, Chunk::Init, 1),
        Protocol::Icmp => packet::icmp_echo(&ip, false, sport, 1, &[]),
        Protocol::Tcp => {
            packet::tcp(&ip, &TcpSegment { sport, dport, syn: true, ..TcpSegment::default() }, &[])
        }
    };
    packet::set_macs(&mut frame, THEM, to);
    frame
}

/// The machine: the rules, settings and addresses of a namespace, and around it nothing that could stop a packet.
fn plan(host: &Netns, sources: &Sources) -> MachinePlan {
    let origin = Origin::implied("bench");
    let mut bench = Netns::new("", origin.clone());
    bench.sysctls = host.sysctls.clone();
    bench.sysctls.ip_forward = true;
    bench.sysctls.ipv6_forwarding = true;
    bench.sysctls.disable_ipv6 = false;
    bench.sysctls.rp_filter = 0;
    bench.undeclared = Undeclared::Unsaid;
    bench.netfilter = host.netfilter.clone();
    bench.chains.clone_from(&host.chains);
    let outside = link_to_outside(host);
    let pods = link_to_pods(host, sources).filter(|name| *name != outside).unwrap_or_else(|| "cni0".into());
    for (name, place) in [(&outside, 1), (&pods, 2)] {
        let kind = LinkKind::Nic { segment: Some(SegmentId(u32::from(place))) };
        bench.links.push(Link::new(name.clone(), kind, card(place), 1500, origin.clone()));
    }
    if let Some(link) = bench.links.get_mut(1) {
        let own = host.addresses().map(|net| net.addr()).filter(|addr| !addr.is_loopback());
        let address = |addr: IpAddr| Address {
            net: IpNet::from(addr),
            scope: RouteScope::Global,
            origin: origin.clone(),
        };
        let node = Some(sources.node).filter(|node| !host.addresses().any(|net| net.addr() == *node));
        link.addresses.extend(own.chain(node).map(address));
    }
    let any: [(IpNet, IpAddr); 2] = [
        (IpNet::V4(ipnet::Ipv4Net::default()), IpAddr::V4(Ipv4Addr::new(100, 64, 0, 1))),
        (
            IpNet::V6(ipnet::Ipv6Net::default()),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
        ),
    ];
    for (dst, router) in any {
        let mut route = Route::unicast(dst, Some(router), outside.clone(), origin.clone());
        route.next_hops.iter_mut().for_each(|hop| hop.onlink = true);
        bench.routes.push(route);
        bench.neighbours.push(Neighbour {
            addr: router,
            dev: outside.clone(),
            mac: Some(THEM),
            state: NeighbourState::Permanent,
            origin: origin.clone(),
        });
    }
    MachinePlan { name: "bench".into(), kind: MachineKind::Node, netns: Vec::from([bench]), origin }
}

/// The link by which the node reaches others: the one that is plugged in, else that of the default route.
fn link_to_outside(host: &Netns) -> Arc<str> {
    let card = host.links.iter().find(|link| matches!(link.kind, LinkKind::Nic { segment: Some(_) }));
    let by_route = || {
        let route = host.routes.iter().find(|route| route.dst.prefix_len() == 0)?;
        route.next_hops.first()?.dev.clone()
    };
    card.map(|link| link.name.clone()).or_else(by_route).unwrap_or_else(|| "eth0".into())
}

/// The link that pods are behind: the one with an address of their range, else a bridge, else a veth.
fn link_to_pods(host: &Netns, sources: &Sources) -> Option<Arc<str>> {
    let range = sources.pod.map(|(_, range)| range);
    let holds = |link: &Link| {
        link.addresses.iter().any(|address| range.is_some_and(|range| range.contains(&address.net.addr())))
    };
    let inside = |link: &&Link| matches!(link.kind, LinkKind::Bridge { .. } | LinkKind::Veth { .. });
    let by_address = host.links.iter().find(|link| inside(link) && holds(link));
    let bridge = || host.links.iter().find(|link| matches!(link.kind, LinkKind::Bridge { .. }));
    let veth = || host.links.iter().find(|link| matches!(link.kind, LinkKind::Veth { .. }));
    by_address.or_else(bridge).or_else(veth).map(|link| link.name.clone())
}

/// What became of the first packet.
#[allow(clippy::wildcard_enum_match_arm, reason = "all other events leave the fate open")]
fn fate(log: &Log) -> (Fate, Option<bool>) {
    let (mut target, mut masqueraded, mut end) = (None, Some(false), None);
    for event in log.events().iter().filter(|event| event.flow.0 == 0) {
        match &event.kind {
            EventKind::Translated { side: Side::Destination, to, reply: false, .. } => target = Some(*to),
            EventKind::Rule { did, .. } if did.starts_with("masquerade") || did.starts_with("snat") => {
                masqueraded = Some(true);
            }
            // What befalls it once an endpoint is chosen is for others to say.
            _ if target.is_some() => {
                if matches!(event.kind, EventKind::Unknown(_)) {
                    masqueraded = None;
                }
            }
            EventKind::Rule { did, .. } if did == "drop" => end = Some(Fate::Dropped),
            EventKind::Rule { did, .. } if did.starts_with("reject") => end = Some(Fate::Rejected),
            EventKind::Unknown(unknown) => return (Fate::Unknown(unknown.why.to_string()), None),
            _ => {}
        }
    }
    match target {
        Some(to) => (Fate::Endpoint(to), masqueraded),
        None => (end.unwrap_or(Fate::Untouched), None),
    }
}
