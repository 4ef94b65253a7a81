//! A namespace at run time: the plan's names turned into indices, and the little state that grows while packets pass.
//!
//! Built when the first packet meets the namespace: O(links + addresses + entries). Routing tables are built at the
//! first look-up that needs them, O(routes).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use hashbrown::HashMap;
use ipnet::IpNet;
use smallvec::SmallVec;

use super::conntrack::{Connection, Conntrack};
use super::fib::Fib;
use super::frame::Skb;
use super::hooks::{Station, stations};
use super::ipvs::Ipvs;
use super::netfilter::{HOOKS, Prepared, RuleState, place_of};
use super::redirect::Redirects;
use super::socket::Connections;
use crate::addr::{Family, MacAddr};
use crate::plan::{
    FdbEntry, Hook, LinkKind, MachinePlan, NeighbourState, Netfilter, Netns, Origin, SegmentId,
};
use crate::time::{Duration, Instant};

/// `gc_thresh3`: entries that the neighbour table holds, those set by hand aside.
const NEIGHBOURS: usize = 1024;

pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// What a link is, with its partners as indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Loopback,
    Veth { netns: u32, link: u32 },
    Bridge,
    Vxlan,
    Nic(Option<SegmentId>),
    Sink,
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct LinkState {
    pub(super) device: Device,
    pub(super) mac: MacAddr,
    pub(super) mtu: u32,
    /// Up and with a carrier.
    pub(super) up: bool,
    pub(super) noarp: bool,
    /// The bridge that it is a port of, and whether it hairpins or is isolated.
    pub(super) master: Option<(u32, bool, bool)>,
    /// Ports, when it is a bridge.
    pub(super) ports: SmallVec<[u32; 8]>,
    /// Effective `rp_filter`: the larger of `all` and the link's.
    pub(super) rp_filter: u8,
    pub(super) accept_local: bool,
    pub(super) route_localnet: bool,
}

#[derive(Clone, Debug)]
pub(super) struct NeighbourEntry {
    pub(super) state: NeighbourState,
    pub(super) mac: MacAddr,
    pub(super) updated: Instant,
    pub(super) probes: u8,
    /// A packet was sent to it, and the header for the next ones is kept (`neigh_hh_init`).
    pub(super) has_header: bool,
    pub(super) queue: VecDeque<Skb>,
    /// Answers that came at the same instant: who is first is chance.
    pub(super) candidates: SmallVec<[MacAddr; 2]>,
    pub(super) origin: Option<Origin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FdbState {
    /// The port; the bridge itself for its own addresses.
    pub(super) port: u32,
    pub(super) seen: Instant,
    pub(super) permanent: bool,
}

/// The pieces of a fragmented packet.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    pub(super) frames: Vec<Skb>,
    pub(super) bytes: usize,
    pub(super) first_at: Instant,
}

/// Source, destination, protocol and identification: what fragments of one packet share (RFC 791 §3.2).
pub(super) type FragmentKey = (IpAddr, IpAddr, u8, u32);

/// Look-ups that scan the routes before the tables are built: building costs about as much as that many scans.
const SCANS: u8 = 16;
/// With so few routes the tables are built at once.
const FEW_ROUTES: usize = 64;

#[derive(Debug)]
pub(super) struct NetnsState {
    pub(super) index: u32,
    pub(super) links: Vec<LinkState>,
    /// Local addresses and the link that holds each.
    pub(super) local: Map<IpAddr, u32>,
    /// Subnet broadcast addresses.
    pub(super) broadcast: Map<Ipv4Addr, u32>,
    fib_v4: Option<Arc<Fib>>,
    fib_v6: Option<Arc<Fib>>,
    /// How often each was asked for before it was built.
    fib_asked: (u8, u8),
    pub(super) neighbours: Map<(u32, IpAddr), NeighbourEntry>,
    pub(super) fdb: Map<(u32, MacAddr), FdbState>,
    /// Where a VXLAN device sends a MAC to; the all-zero MAC is for everything else.
    pub(super) vxlan_fdb: Map<(u32, MacAddr), SmallVec<[IpAddr; 2]>>,
    /// UDP port of each VXLAN device.
    pub(super) vxlan_ports: SmallVec<[(u16, u32); 1]>,
    pub(super) connections: Connections,
    /// A rule ended the last packet of the output hook.
    pub(super) refused: bool,
    /// What rules remember.
    pub(super) rules: Option<Box<RuleState>>,
    /// Made of the rules when the first packet meets them.
    pub(super) prepared: Option<Box<Prepared>>,
    /// By family and hook.
    stations: [[Option<Arc<[Station]>>; HOOKS]; 2],
    pub(super) ipvs: Ipvs,
    /// Whether there is a virtual server.
    has_ipvs: bool,
    /// `None` where no rule asks for it: the kernel then does not track.
    pub(super) conntrack: Option<Conntrack>,
    pub(super) fragments: Map<FragmentKey, Pieces>,
    /// Bytes of all pieces that wait.
    pub(super) fragment_bytes: usize,
    pub(super) ip_id: u16,
    pub(super) redirects: Redirects,
    pub(super) default_bridge_filter: bool,
}

impl NetnsState {
    pub(super) fn new(machine: &MachinePlan, index: u32) -> Option<Self> {
        let plan = machine.netns.get(index as usize)?;
        let mut state = Self {
            index,
            links: Vec::with_capacity(plan.links.len()),
            local: Map::default(),
            broadcast: Map::default(),
            fib_v4: None,
            fib_v6: None,
            fib_asked: (0, 0),
            neighbours: Map::default(),
            fdb: Map::default(),
            vxlan_fdb: Map::default(),
            vxlan_ports: SmallVec::new(),
            connections: Connections::default(),
            refused: false,
            rules: None,
            prepared: None,
            stations: Default::default(),
            ipvs: Ipvs::default(),
            has_ipvs: plan.netfilter.has_ipvs(),
            conntrack: None,
            fragments: Map::default(),
            fragment_bytes: 0,
            ip_id: 0,
            redirects: Redirects::default(),
            default_bridge_filter: plan.sysctls.bridge_nf_call_iptables,
        };
        if !plan.netfilter.is_empty() || !plan.conntrack.is_empty() {
            let mut table = Conntrack::new(&plan.sysctls.conntrack);
            for entry in &plan.conntrack {
                let connection = Connection::from_entry(entry, Instant::START);
                // A second entry with the tuple of another is a fault of the listing; the first one counts.
                let _ = table.insert(connection, Instant::START);
            }
            state.conntrack = Some(table);
        }
        state.add_links(machine, plan);
        state.add_neighbours(plan);
        for entry in &plan.fdb {
            state.add_fdb(plan, entry);
        }
        Some(state)
    }

    fn add_links(&mut self, machine: &MachinePlan, plan: &Netns) {
        for (place, link) in plan.links.iter().enumerate() {
            let place = place as u32;
            let device = match &link.kind {
                LinkKind::Loopback => Device::Loopback,
                LinkKind::Veth { peer_netns, peer } => machine
                    .netns
                    .get(*peer_netns as usize)
                    .and_then(|n| n.link_named(peer))
                    .map_or(Device::Other, |(l, _)| Device::Veth { netns: *peer_netns, link: l as u32 }),
                LinkKind::Bridge { .. } => Device::Bridge,
                LinkKind::Vxlan(vxlan) => {
                    self.vxlan_ports.push((vxlan.port, place));
                    Device::Vxlan
                }
                LinkKind::Nic { segment } => Device::Nic(*segment),
                LinkKind::Dummy => Device::Sink,
                LinkKind::Other(_) => Device::Other,
            };
            let master = link.port.as_ref().and_then(|port| {
                let (bridge, _) = plan.link_named(&port.bridge)?;
                Some((bridge as u32, port.hairpin, port.isolated))
            });
            self.links.push(LinkState {
                device,
                mac: link.mac,
                mtu: link.mtu_bytes,
                up: link.up && link.carrier,
                noarp: link.noarp || matches!(device, Device::Loopback),
                master,
                ports: SmallVec::new(),
                rp_filter: link.rp_filter.max(plan.sysctls.rp_filter),
                accept_local: link.accept_local || plan.sysctls.accept_local,
                route_localnet: link.route_localnet || plan.sysctls.route_localnet,
            });
            // The kernel takes the local routes of a link away when it goes down, but adds one for every address that a link gets,
            // up or not (`fib_add_ifaddr`, `inet6_addr_add`): dummy links keep addresses without ever being up.
            if !link.up && device != Device::Sink {
                continue;
            }
            self.local.reserve(link.addresses.len());
            for address in &link.addresses {
                self.local.entry(address.net.addr()).or_insert(place);
                if let IpNet::V4(net) = address.net
                    && net.prefix_len() < 31
                {
                    self.broadcast.entry(net.broadcast()).or_insert(place);
                }
            }
            if !plan.sysctls.disable_ipv6 && !matches!(device, Device::Loopback) && link.mac != MacAddr::ZERO
            {
                let link_local = IpAddr::V6(link.mac.to_link_local());
                let has_v6 = link.addresses.iter().any(|a| matches!(a.net, IpNet::V6(_)));
                if has_v6 && master.is_none() {
                    self.local.entry(link_local).or_insert(place);
                }
            }
        }
        for place in 0..self.links.len() {
            let Some((bridge, ..)) = self.links[place].master else { continue };
            let mac = self.links[place].mac;
            if let Some(bridge_state) = self.links.get_mut(bridge as usize) {
                bridge_state.ports.push(place as u32);
            }
            // The bridge holds its ports' own addresses as local (`br_fdb_add_local`).
            let local = FdbState { port: bridge, seen: Instant::START, permanent: true };
            self.fdb.insert((bridge, mac), local);
        }
        for (place, link) in self.links.iter().enumerate() {
            if link.device == Device::Bridge {
                let local = FdbState { port: place as u32, seen: Instant::START, permanent: true };
                self.fdb.insert((place as u32, link.mac), local);
            }
        }
    }

    fn add_neighbours(&mut self, plan: &Netns) {
        for neighbour in &plan.neighbours {
            let (Some((link, _)), Some(mac)) = (plan.link_named(&neighbour.dev), neighbour.mac) else {
                continue;
            };
            let entry = NeighbourEntry {
                state: neighbour.state,
                mac,
                updated: Instant::START,
                probes: 0,
                has_header: false,
                queue: VecDeque::new(),
                candidates: SmallVec::new(),
                origin: Some(neighbour.origin.clone()),
            };
            self.neighbours.insert((link as u32, neighbour.addr), entry);
        }
    }

    fn add_fdb(&mut self, plan: &Netns, entry: &FdbEntry) {
        let Some((link, state)) = plan.link_named(&entry.dev) else { return };
        let link = link as u32;
        match (&entry.master, entry.dst) {
            (None, Some(dst)) => self.vxlan_fdb.entry((link, entry.mac)).or_default().push(dst),
            (Some(_), _) => {
                if let Some(bridge) = state.port.as_ref().and_then(|p| plan.link_named(&p.bridge)) {
                    let seen = Instant::START;
                    let port = FdbState { port: link, seen, permanent: entry.permanent };
                    self.fdb.insert((bridge.0 as u32, entry.mac), port);
                }
            }
            (None, None) => {}
        }
    }

    /// Takes over what the namespace had learned under another plan.
    pub(super) fn inherit(&mut self, old: Self, was: &Netns, is: &Netns) {
        let link_of = |link: u32| {
            let name = &was.links.get(link as usize)?.name;
            Some(is.link_named(name)?.0 as u32)
        };
        self.connections = old.connections;
        self.connections.replanned(is);
        self.rules = old.rules;
        self.ip_id = old.ip_id;
        self.fragments = old.fragments;
        self.fragment_bytes = old.fragment_bytes;
        if let (Some(table), Some(mut kept)) = (self.conntrack.as_mut(), old.conntrack) {
            kept.set_sysctls(&is.sysctls.conntrack);
            *table = kept;
        }
        self.ipvs.inherit(old.ipvs, &is.netfilter);
        #[allow(clippy::iter_over_hash_type, reason = "each goes to a place of its own")]
        for ((link, addr), entry) in old.neighbours {
            if let Some(link) = link_of(link) {
                self.neighbours.entry((link, addr)).or_insert(entry);
            }
        }
        #[allow(clippy::iter_over_hash_type, reason = "each goes to a place of its own")]
        for ((bridge, mac), entry) in old.fdb {
            if let (Some(bridge), Some(port), false) = (link_of(bridge), link_of(entry.port), entry.permanent)
            {
                self.fdb.entry((bridge, mac)).or_insert(FdbState { port, ..entry });
            }
        }
    }

    pub(super) fn link(&self, link: u32) -> Option<&LinkState> {
        self.links.get(link as usize)
    }

    /// Whether the address is this namespace's own, 127.0.0.0/8 included; gives the link that holds it.
    pub(super) fn local_link(&self, addr: IpAddr) -> Option<u32> {
        if addr.is_loopback() {
            return Some(0);
        }
        self.local.get(&addr).copied()
    }

    /// The routing tables, as far as a look-up of `dst` asks them. The first look-ups scan the routes; who asks more often gets
    /// tables that are built once.
    pub(super) fn fib(&mut self, plan: &Netns, dst: IpAddr) -> Arc<Fib> {
        let family = Family::of(dst);
        let (slot, asked) = match family {
            Family::V4 => (&mut self.fib_v4, &mut self.fib_asked.0),
            Family::V6 => (&mut self.fib_v6, &mut self.fib_asked.1),
        };
        if let Some(fib) = slot {
            return fib.clone();
        }
        *asked += 1;
        if *asked <= SCANS && plan.routes.len() > FEW_ROUTES {
            return Arc::new(Fib::for_destination(plan, dst));
        }
        slot.insert(Arc::new(Fib::new(plan, family))).clone()
    }

    /// The routing tables for a destination, if they are built.
    pub(super) fn built_fib(&self, dst: IpAddr) -> Option<&Fib> {
        match Family::of(dst) {
            Family::V4 => self.fib_v4.as_deref(),
            Family::V6 => self.fib_v6.as_deref(),
        }
    }

    /// What hangs at a hook for packets of a family, in order of priority. Sorted once.
    pub(super) fn stations(&mut self, netfilter: &Netfilter, family: Family, hook: Hook) -> Arc<[Station]> {
        let slot = &mut self.stations[usize::from(family == Family::V6)][place_of(hook)];
        if let Some(stations) = slot {
            return stations.clone();
        }
        let prepared = self.prepared.get_or_insert_with(|| Box::new(Prepared::new(netfilter)));
        slot.insert(stations(netfilter, prepared, family, hook, self.has_ipvs).into()).clone()
    }

    /// Whether a neighbour entry may be added. A full table first loses what failed and what was not confirmed for five
    /// seconds (`neigh_forced_gc`); entries set by hand do not count.
    pub(super) fn has_room_for_neighbour(&mut self, now: Instant) -> bool {
        if self.neighbours.len() < NEIGHBOURS {
            return true;
        }
        let by_hand =
            |e: &NeighbourEntry| matches!(e.state, NeighbourState::Permanent | NeighbourState::Noarp);
        let count = |entries: &Map<_, NeighbourEntry>| entries.values().filter(|e| !by_hand(e)).count();
        if count(&self.neighbours) < NEIGHBOURS {
            return true;
        }
        self.neighbours.retain(|_, entry| {
            let fresh = now.saturating_since(entry.updated) < Duration::from_secs(5);
            let waits = entry.state == NeighbourState::Incomplete;
            by_hand(entry) || waits || fresh && entry.state != NeighbourState::Failed
        });
        count(&self.neighbours) < NEIGHBOURS
    }

    /// A fresh IPv4 identification.
    pub(super) const fn next_ip_id(&mut self) -> u16 {
        self.ip_id = self.ip_id.wrapping_add(1);
        self.ip_id
    }
}
