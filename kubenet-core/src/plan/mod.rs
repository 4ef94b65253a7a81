//! The plan: the network in the kernel's own vocabulary, as plain data.
//!
//! In: nothing; a plan decides nothing. `compile` makes the desired one from a cluster, `text` and the Linux adapter
//! the observed one from a node. Out: what `dataplane` walks, `text` prints and the adapter applies. Everything in
//! it has an [`Origin`].
//!
//! A plan is asked, not carried: [`PlanSource`] hands out one machine at a time, so a trace in a cluster of 5,000
//! nodes builds only the machines that it meets.

mod apply;
mod change;
mod conntrack;
mod diff;
mod ipset;
mod ipvs;
mod link;
pub mod netfilter;
pub mod nft;
mod route;
pub mod same;
mod socket;
pub mod sysctl;
pub mod xt;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::apply::apply;
pub use self::change::{
    Change, IpsetChange, IpsetEdit, IpvsChange, LinkSetting, NftChange, NftEdit, Peer, What, XtBuiltin,
    XtChange, XtEdit,
};
pub use self::conntrack::{ConntrackEntry, ConntrackHold, ConntrackKey, ConntrackTuple};
pub use self::diff::{diff, remove};
pub use self::ipset::{IpSet, IpSetEntry, IpSetKind, IpSetOption, IpSetPart, IpSetPartKind, IpSetRange};
pub use self::ipvs::{
    Forwarding, IpvsProtocol, Persistence, RealServer, RealServerCounts, Scheduler, VirtualId, VirtualServer,
};
pub use self::link::{
    Address, BridgePort, FdbEntry, Link, LinkKind, Neighbour, NeighbourState, ProxyNeighbour, Vxlan,
};
pub use self::netfilter::{Action, Chain, Hook, Match, Netfilter, Rule, Ruleset, Supply, Truth, Unknown};
pub use self::route::{
    IpRule, NextHop, Route, RouteKind, RouteProtocol, RouteScope, RuleAction, TABLE_DEFAULT, TABLE_LOCAL,
    TABLE_MAIN,
};
pub use self::socket::{Backend, MoreSockets, Process, Relay, Socket, SocketState, SocketSupply, Undeclared};
pub use crate::addr::{Family, MacAddr, Protocol};
pub use crate::origin::Origin;

/// Numbers a machine within one [`PlanSource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MachineId(pub u32);

/// Numbers a layer-2 segment (a switch with its cables) within one [`PlanSource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentId(pub u32);

/// Whom a frame on a segment has to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every station: full flooding. Costs O(stations).
    Everyone,
    /// Stations that own this MAC address.
    Mac(MacAddr),
    /// Stations that would answer a neighbour request for this address: its owners and their proxies.
    Address(IpAddr),
}

/// A station on a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    /// The machine.
    pub machine: MachineId,
    /// The namespace whose link is plugged in, by its place in `MachinePlan::netns`.
    pub netns: u32,
    /// The link.
    pub link: Arc<str>,
}

/// What a segment is called, and what it carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The switch's name in a trace.
    pub name: Arc<str>,
    /// Larger IP packets are lost without a word, as on a real switch.
    pub mtu_bytes: u32,
    /// `Some`: the inside is not modelled (a foreign CNI); what crosses it is delivered, but its inner hops are unknown.
    pub opaque: Option<Unknown>,
    /// Why it is there.
    pub origin: Origin,
}

/// Hands out the machines of a plan, one at a time and on demand.
///
/// An embedder may wrap one to replace a machine by its own.
pub trait PlanSource {
    /// How many machines there are: their ids are `0..count`.
    fn machine_count(&self) -> u32;
    /// One machine, built when asked for; `None` for an id out of range.
    fn machine(&self, id: MachineId) -> Option<Arc<MachinePlan>>;
    /// The machine with this name.
    fn machine_named(&self, name: &str) -> Option<MachineId>;
    /// What a segment is.
    fn segment(&self, id: SegmentId) -> Option<Segment>;
    /// The stations of a segment that an [`Audience`] means, in a stable order, through an index for the narrow ones.
    fn stations(&self, segment: SegmentId, audience: Audience) -> Vec<Station>;
}

/// A plan in which one machine is another: an embedder's own, or one that was observed.
///
/// Its links plug into the same segments, and its addresses are those that the others expect: the index of stations is that of
/// the plan below.
#[derive(Clone, Debug)]
pub struct Replaced<P> {
    below: P,
    id: MachineId,
    machine: Arc<MachinePlan>,
}

impl<P: PlanSource> Replaced<P> {
    /// Puts a machine in the place of the one with this number.
    pub const fn new(below: P, id: MachineId, machine: Arc<MachinePlan>) -> Self {
        Self { below, id, machine }
    }
}

impl<P: PlanSource> PlanSource for Replaced<P> {
    fn machine_count(&self) -> u32 {
        self.below.machine_count()
    }

    fn machine(&self, id: MachineId) -> Option<Arc<MachinePlan>> {
        if id == self.id { Some(self.machine.clone()) } else { self.below.machine(id) }
    }

    fn machine_named(&self, name: &str) -> Option<MachineId> {
        self.below.machine_named(name)
    }

    fn segment(&self, id: SegmentId) -> Option<Segment> {
        self.below.segment(id)
    }

    fn stations(&self, segment: SegmentId, audience: Audience) -> Vec<Station> {
        self.below.stations(segment, audience)
    }
}

/// What a machine is for. Only for display and grouping: the dataplane treats all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineKind {
    /// A Kubernetes node.
    Node,
    /// A router of the underlay or the way to the internet.
    Gateway,
    /// A host outside the cluster.
    Outside,
}

/// One machine: everything with a kernel of its own, its network namespaces included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachinePlan {
    /// Its name: the node's name, `gateway`, `internet/8.8.8.8`.
    pub name: Arc<str>,
    /// What it is for.
    pub kind: MachineKind,
    /// Its network namespaces. The first is the machine's own; pods follow.
    pub netns: Vec<Netns>,
    /// Why it is there.
    pub origin: Origin,
}

impl MachinePlan {
    /// The namespace with this name, with its index.
    pub fn netns_named(&self, name: &str) -> Option<(usize, &Netns)> {
        self.netns.iter().enumerate().find(|(_, n)| &*n.name == name)
    }
}

/// One network namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Netns {
    /// Empty for the machine's own, `NAMESPACE/NAME` for a pod's.
    pub name: Arc<str>,
    /// Its links; the first is `lo`. A link's ifindex is its place plus one.
    pub links: Vec<Link>,
    /// `ip rule`, in order of priority; empty means the kernel's three (local, main, default).
    pub rules: Vec<IpRule>,
    /// Routes of all tables in the order of `ip route`. The `local` table is derived from the addresses unless routes
    /// of table 255 are given. O(nodes) on a node that routes to every other.
    pub routes: Vec<Route>,
    /// Permanent neighbour entries (`ip neigh`).
    pub neighbours: Vec<Neighbour>,
    /// Addresses that it answers ARP and NDP for without holding them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<ProxyNeighbour>,
    /// Permanent forwarding entries (`bridge fdb`).
    pub fdb: Vec<FdbEntry>,
    /// Base chains for what is not known, in order of registration. Those of one hook and priority run before the rules of
    /// `netfilter`.
    pub chains: Vec<Chain>,
    /// The rules of `iptables` and `nft`.
    #[serde(default, skip_serializing_if = "Netfilter::is_empty")]
    pub netfilter: Netfilter,
    /// Connections that are tracked already, as a listing has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conntrack: Vec<ConntrackEntry>,
    /// Per-namespace switches.
    pub sysctls: Sysctls,
    /// Listening sockets.
    pub sockets: Vec<Socket>,
    /// Listening sockets that are made when a packet asks for them; those of `sockets` come first.
    #[serde(default, skip_serializing_if = "MoreSockets::is_none")]
    pub more_sockets: MoreSockets,
    /// What a port without a socket does.
    pub undeclared: Undeclared,
    /// Why it is there.
    pub origin: Origin,
}

impl Netns {
    /// An empty namespace: `lo` only, kernel defaults.
    pub fn new(name: impl Into<Arc<str>>, origin: Origin) -> Self {
        Self {
            name: name.into(),
            links: alloc::vec![Link::loopback()],
            rules: Vec::new(),
            routes: Vec::new(),
            neighbours: Vec::new(),
            proxies: Vec::new(),
            fdb: Vec::new(),
            chains: Vec::new(),
            netfilter: Netfilter::Empty,
            conntrack: Vec::new(),
            sysctls: Sysctls::default(),
            sockets: Vec::new(),
            more_sockets: MoreSockets::None,
            undeclared: Undeclared::Closed,
            origin,
        }
    }

    /// The link with this name, with its index.
    pub fn link_named(&self, name: &str) -> Option<(usize, &Link)> {
        self.links.iter().enumerate().find(|(_, l)| &*l.name == name)
    }

    /// All addresses of the namespace with their prefixes.
    pub fn addresses(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.links.iter().flat_map(|l| l.addresses.iter().map(|a| a.net))
    }
}

/// The sysctls that change what happens to a packet. Names and defaults as in Linux `ip-sysctl.rst`.
///
/// Per-interface values stand on the [`Link`]; the kernel combines them with `all` as the field says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sysctls {
    /// `net.ipv4.ip_forward`.
    pub ip_forward: bool,
    /// `net.ipv6.conf.all.forwarding`.
    pub ipv6_forwarding: bool,
    /// `net.ipv4.conf.all.rp_filter`: 0, 1 (strict) or 2 (loose); the larger of this and the link's counts.
    pub rp_filter: u8,
    /// `net.ipv4.conf.all.accept_local`, or-ed with the link's.
    pub accept_local: bool,
    /// `net.ipv4.conf.all.route_localnet`, or-ed with the link's.
    pub route_localnet: bool,
    /// `net.ipv4.conf.all.send_redirects`, or-ed with the link's.
    pub send_redirects: bool,
    /// `net.ipv4.conf.all.arp_ignore`; the larger of this and the link's counts.
    pub arp_ignore: u8,
    /// `net.bridge.bridge-nf-call-iptables` (and its IPv6 sister): bridged frames see the IP hooks.
    pub bridge_nf_call_iptables: bool,
    /// `net.ipv4.fib_multipath_hash_policy`: 0 by addresses (L3), 1 by five-tuple (L4).
    pub fib_multipath_hash_policy: u8,
    /// `net.ipv4.icmp_echo_ignore_all`.
    pub icmp_echo_ignore_all: bool,
    /// `net.ipv6.conf.all.disable_ipv6`.
    pub disable_ipv6: bool,
    /// `net.netfilter.nf_conntrack_*`.
    pub conntrack: ConntrackSysctls,
    /// `net.ipv4.ip_default_ttl`, and the IPv6 hop limit.
    pub default_ttl: u8,
}

impl Default for Sysctls {
    fn default() -> Self {
        Self {
            ip_forward: false,
            ipv6_forwarding: false,
            rp_filter: 0,
            accept_local: false,
            route_localnet: false,
            send_redirects: true,
            arp_ignore: 0,
            bridge_nf_call_iptables: false,
            fib_multipath_hash_policy: 0,
            icmp_echo_ignore_all: false,
            disable_ipv6: false,
            conntrack: ConntrackSysctls::default(),
            default_ttl: 64,
        }
    }
}

/// The settings of connection tracking (`nf_conntrack-sysctl.rst`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConntrackSysctls {
    /// `nf_conntrack_max`.
    pub max: u32,
    /// `nf_conntrack_tcp_timeout_established`.
    pub tcp_established_secs: u32,
    /// `nf_conntrack_tcp_timeout_close_wait`.
    pub tcp_close_wait_secs: u32,
    /// `nf_conntrack_udp_timeout`.
    pub udp_secs: u32,
    /// `nf_conntrack_udp_timeout_stream`.
    pub udp_stream_secs: u32,
    /// `nf_conntrack_tcp_be_liberal`.
    pub tcp_be_liberal: bool,
}

impl Default for ConntrackSysctls {
    fn default() -> Self {
        Self {
            max: 262_144,
            tcp_established_secs: 432_000,
            tcp_close_wait_secs: 60,
            udp_secs: 30,
            udp_stream_secs: 120,
            tcp_be_liberal: false,
        }
    }
}

/// A machine made of text dumps or by hand needs a name before it has a cluster.
impl From<Netns> for MachinePlan {
    fn from(netns: Netns) -> Self {
        let origin = netns.origin.clone();
        let name: Arc<str> =
            if netns.name.is_empty() { String::from("machine").into() } else { netns.name.clone() };
        Self { name, kind: MachineKind::Outside, netns: alloc::vec![netns], origin }
    }
}
