//! IPVS: connections to virtual servers, scheduled to real ones and translated there and back.
//!
//! In: packets at the input, output and forward hooks. A packet to a virtual server gets a real server and goes on to it by
//! the output hook; a packet from the real server gets the virtual server's address back. Sources:
//! `net/netfilter/ipvs/ip_vs_core.c` (`ip_vs_in_hook`, `ip_vs_schedule`, `ip_vs_sched_persist`, `ip_vs_leave`, `ip_vs_out_icmp`),
//! `ip_vs_conn.c`, `ip_vs_xmit.c ip_vs_nat_xmit`, `ip_vs_nfct.c ip_vs_update_conntrack` (`net.ipv4.vs.conntrack=1`).
//! A packet of a known connection costs one hash probe, a new one that and O(real servers). Not modelled: direct routing and tunnels (their packets' way is
//! not known), ICMP errors about packets to a client (`ip_vs_in_icmp`), application helpers, synchronisation.

mod connections;
mod scheduler;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use self::connections::{Connection, Connections};
use self::scheduler::{Chosen, Client, Flags, Memory, Server};
use super::choices::Choices;
use super::conntrack::{Ct, quoted_bytes, tcp_flags};
use super::event::{EventKind, Recorder, Stage};
use super::frame::Skb;
use super::machine::Stack;
use super::netfilter::Tuple;
use super::netns::Map;
use super::reason::DropReason;
use crate::addr::Family;
use crate::packet::{self, IcmpError, Side, number};
use crate::plan::{Forwarding, Hook, IpvsProtocol, Netfilter, Origin, Unknown, VirtualId, VirtualServer};
use crate::time::{Duration, Instant};

/// `tcp_timeouts[ESTABLISHED]`, `[FIN_WAIT]`, `[SYN_RECV]`; `udp_timeouts`.
const ESTABLISHED: Duration = Duration::from_secs(15 * 60);
const FIN_WAIT: Duration = Duration::from_secs(2 * 60);
const SYN_RECV: Duration = Duration::from_secs(60);
const DATAGRAMS: Duration = Duration::from_secs(5 * 60);

/// A virtual server at run time.
#[derive(Debug)]
struct VirtualState {
    plan: Arc<VirtualServer>,
    servers: Vec<Server>,
    memory: Memory,
}

/// A connection through a virtual server, as `ipvsadm -Lnc` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpvsConnection {
    /// The virtual server.
    pub virtual_id: VirtualId,
    /// The real one.
    pub server: (IpAddr, u16),
    /// The client.
    pub client: (IpAddr, u16),
    /// It counts as active, not as inactive.
    pub active: bool,
}

/// The connections and virtual servers of a namespace.
#[derive(Debug, Default)]
pub(super) struct Ipvs {
    /// Where the virtual servers stand that are there without asking. Made at the first look-up.
    places: Option<Map<VirtualId, usize>>,
    /// Those that packets asked for.
    virtuals: Map<VirtualId, VirtualState>,
    connections: Connections,
    /// Persistence: the server of a client (its address under the mask) and until when.
    templates: Map<(VirtualId, IpAddr), (usize, Instant)>,
}

impl Ipvs {
    /// The virtual server that a packet asks for (`net/netfilter/ipvs/ip_vs_ctl.c`): by mark, by address and port, by address alone.
    fn virtual_of(&mut self, netfilter: &Netfilter, tuple: &Tuple, mark: u32) -> Option<VirtualId> {
        let protocol = match tuple.protocol {
            number::TCP => IpvsProtocol::Tcp,
            number::UDP => IpvsProtocol::Udp,
            number::SCTP => IpvsProtocol::Sctp,
            _ => return None,
        };
        let family = Family::of(tuple.dst);
        let marked = (mark != 0).then_some(VirtualId::Fwmark { family, mark });
        let at = |port| VirtualId::Addr { protocol, addr: tuple.dst, port };
        let wanted = [marked, Some(at(tuple.dport)), Some(at(0))];
        wanted.into_iter().flatten().find(|wanted| self.virtual_state(netfilter, wanted).is_some())
    }

    /// A virtual server at run time. O(virtual servers) once.
    fn virtual_state(&mut self, netfilter: &Netfilter, wanted: &VirtualId) -> Option<&mut VirtualState> {
        if !self.virtuals.contains_key(wanted) {
            let there = netfilter.ruleset().map_or(&[][..], |ruleset| &ruleset.ipvs);
            let places = self.places.get_or_insert_with(|| {
                // Of two with one name the first counts.
                (0..there.len()).rev().zip(there.iter().rev()).map(|(place, it)| (it.id, place)).collect()
            });
            let found = places.get(wanted).and_then(|place| there.get(*place)).cloned();
            let found = found.or_else(|| netfilter.supply()?.virtual_server(wanted))?;
            self.virtuals.insert(*wanted, VirtualState::new(found));
        }
        self.virtuals.get_mut(wanted)
    }

    /// Takes over the connections of a table whose virtual servers have changed. A TCP connection stays with its server though
    /// that takes no new ones; datagrams to a server that is gone do not (`expire_nodest_conn`).
    pub(super) fn inherit(&mut self, old: Self, netfilter: &Netfilter) {
        let find_server = |ipvs: &mut Self, id: VirtualId, addr: IpAddr, port: u16| {
            let state = ipvs.virtual_state(netfilter, &id)?;
            state.servers.iter().position(|server| server.addr == addr && server.port == port)
        };
        let mut old_virtuals = old.virtuals;
        #[allow(clippy::iter_over_hash_type, reason = "each goes to a place of its own")]
        for (id, was) in &mut old_virtuals {
            if let Some(is) = self.virtual_state(netfilter, id) {
                is.inherit(was);
            }
        }
        for connection in old.connections.into_all() {
            let (addr, port) = (connection.real.src, connection.real.sport);
            let server = find_server(self, connection.virtual_id, addr, port);
            if server.is_none() && connection.client.protocol != number::TCP {
                continue;
            }
            let server = server.unwrap_or(usize::MAX);
            self.count(connection.virtual_id, server, connection.active, true);
            self.connections.insert(Connection { server, ..connection });
        }
        #[allow(clippy::iter_over_hash_type, reason = "each goes to a place of its own")]
        for ((id, client), (server, until)) in old.templates {
            let was = old_virtuals.get(&id).and_then(|state| state.servers.get(server));
            let Some((addr, port)) = was.map(|server| (server.addr, server.port)) else { continue };
            if let Some(server) = find_server(self, id, addr, port) {
                self.templates.insert((id, client), (server, until));
            }
        }
    }

    /// The connections whose time is not up, sorted.
    pub(super) fn connections(&self, now: Instant) -> Vec<IpvsConnection> {
        let alive = self.connections.alive(now);
        let mut all: Vec<IpvsConnection> = alive
            .map(|connection| IpvsConnection {
                virtual_id: connection.virtual_id,
                server: (connection.real.src, connection.real.sport),
                client: (connection.client.src, connection.client.sport),
                active: connection.active,
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// Counts a connection at its server: `by` is 1 when it comes and -1 when it goes.
    fn count(&mut self, virtual_id: VirtualId, server: usize, active: bool, up: bool) {
        let Some(state) = self.virtuals.get_mut(&virtual_id) else { return };
        let Some(at) = state.servers.get_mut(server) else { return };
        let counter = if active { &mut at.active } else { &mut at.inactive };
        *counter = if up { counter.saturating_add(1) } else { counter.saturating_sub(1) };
        let Some(plan) = state.plan.servers.get(server) else { return };
        let total = at.active + at.inactive;
        let low = if plan.lower_threshold > 0 { plan.lower_threshold } else { plan.upper_threshold / 4 * 3 };
        if plan.upper_threshold > 0 {
            at.overloaded = total >= plan.upper_threshold || at.overloaded && total > low;
        }
    }

    /// A packet of a connection: its state and its time (`set_tcp_state`).
    fn follow(&mut self, id: u32, flags: u8, from_client: bool, now: Instant) {
        let Some(connection) = self.connections.get(id) else { return };
        let (virtual_id, server, was) = (connection.virtual_id, connection.server, connection.active);
        let (active, lives) = match connection.client.protocol {
            number::TCP if flags & 5 != 0 => (false, FIN_WAIT),
            number::TCP if flags & 2 != 0 => (connection.active, SYN_RECV),
            number::TCP if from_client => (true, ESTABLISHED),
            number::TCP => (connection.active, ESTABLISHED),
            _ => (true, DATAGRAMS),
        };
        self.connections.follow(id, now + lives, active);
        if active != was {
            self.count(virtual_id, server, !active, false);
            self.count(virtual_id, server, active, true);
        }
    }

    /// Forgets connections whose time is up, so that their servers count them no more.
    fn sweep(&mut self, now: Instant) {
        while let Some(over) = self.connections.pop_ended(now) {
            self.count(over.virtual_id, over.server, over.active, false);
        }
    }
}

impl VirtualState {
    fn new(plan: Arc<VirtualServer>) -> Self {
        let server = |server: &crate::plan::RealServer| Server {
            addr: server.addr,
            port: server.port,
            weight: server.weight,
            active: server.counts.map_or(0, |counts| counts.active),
            inactive: server.counts.map_or(0, |counts| counts.inactive),
            overloaded: false,
        };
        let servers = plan.servers.iter().map(server).collect();
        Self { plan, servers, memory: Memory::default() }
    }

    /// Takes over what its scheduler remembers from before its servers changed. The pointer of `rr` and `wrr` stays at its server,
    /// or goes to the one before it where that is gone (`ip_vs_rr_del_dest`); tables of hashes are made anew.
    fn inherit(&mut self, was: &mut Self) {
        if self.plan.scheduler != was.plan.scheduler {
            return;
        }
        let end = |server: &Server| (server.addr, server.port);
        if self.servers.iter().map(end).eq(was.servers.iter().map(end)) {
            self.memory = core::mem::take(&mut was.memory);
            return;
        }
        let place = |old: &Server| self.servers.iter().position(|new| end(new) == end(old));
        let last = was.memory.last().and_then(|last| was.servers.get(..=last)?.iter().rev().find_map(place));
        self.memory = was.memory.moved(last);
    }
}

/// What becomes of a packet.
pub(super) enum Passed {
    /// It goes on at the hook.
    On(Skb),
    /// It went another way or ended.
    Gone,
}

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// IPVS at the input and output hook: a packet to a virtual server, or from a real server on this machine.
    pub(super) fn ipvs_in(&mut self, hook: Hook, skb: Skb, at: Option<u32>, stage: Stage) -> Passed {
        if skb.ipvs.is_some() {
            return Passed::On(skb);
        }
        let skb = match self.ipvs_out(skb, at, stage) {
            Passed::On(skb) if skb.ipvs.is_none() => skb,
            passed @ (Passed::On(_) | Passed::Gone) => return passed,
        };
        let Some(ip) = skb.ip().copied() else { return Passed::On(skb) };
        let Some(tuple) = Tuple::of(&ip, &skb.bytes) else { return Passed::On(skb) };
        let flags = tcp_flags(&ip, &skb.bytes);
        if let Some(id) = self.st.ipvs.connections.of_client(&tuple, self.now) {
            self.st.ipvs.follow(id, flags, true, self.now);
            return self.send_to_real(hook, id, skb, at, stage, None);
        }
        // A segment that begins nothing goes on to the local stack.
        if tuple.protocol == number::TCP && flags & 0x12 != 2 {
            return Passed::On(skb);
        }
        let Some(virtual_id) = self.st.ipvs.virtual_of(&self.plan.netfilter, &tuple, skb.mark) else {
            return Passed::On(skb);
        };
        self.st.ipvs.sweep(self.now);
        match self.schedule(virtual_id, &tuple) {
            Ok((id, origin)) => self.send_to_real(hook, id, skb, at, stage, origin),
            Err(Some(unknown)) => {
                self.lose(skb, at, stage, unknown, None);
                Passed::Gone
            }
            Err(None) => {
                let origin = self.virtual_origin(&virtual_id);
                self.st.refused = true;
                let about = skb.clone();
                let cause = self.drop(skb, at, stage, DropReason::NetfilterDrop, || {
                    ("the virtual server has no usable real server: IPVS rejects it".into(), origin)
                });
                self.icmp_error(about, cause, IcmpError::PortUnreachable);
                Passed::Gone
            }
        }
    }

    fn virtual_origin(&self, virtual_id: &VirtualId) -> Option<Origin> {
        Some(self.st.ipvs.virtuals.get(virtual_id)?.plan.origin.clone())
    }

    /// Gives a new connection its server: the one that persistence remembers, or a scheduled one.
    fn schedule(
        &mut self,
        virtual_id: VirtualId,
        tuple: &Tuple,
    ) -> Result<(u32, Option<Origin>), Option<Unknown>> {
        let now = self.now;
        let ipvs = &mut self.st.ipvs;
        let Some(state) = ipvs.virtuals.get_mut(&virtual_id) else { return Err(None) };
        let plan = state.plan.clone();
        let persistence = plan.persistence;
        let key = persistence.map(|p| (virtual_id, masked(tuple.src, p.mask)));
        let kept = key.as_ref().and_then(|key| ipvs.templates.get(key)).copied();
        // `expire_quiescent_template`: a server of weight 0 loses its clients.
        let kept = kept.filter(|(server, until)| {
            *until > now && state.servers.get(*server).is_some_and(|s| s.weight > 0)
        });
        let server = match kept {
            Some((server, _)) => server,
            None => {
                let [first, second, _] = plan.scheduler_flags;
                let flags = Flags { fallback: first, port: second };
                let client = Client { src: tuple.src, sport: tuple.sport, dst: tuple.dst };
                let name = Name(&virtual_id);
                let point = format_args!("ipvs {name}");
                match scheduler::schedule(
                    &plan.scheduler,
                    flags,
                    &state.servers,
                    &mut state.memory,
                    client,
                    now,
                    self.choices,
                    point,
                ) {
                    Chosen::Server(server) => server,
                    Chosen::None => return Err(None),
                    Chosen::Unknown => {
                        return Err(Some(Unknown {
                            why: format!("the IPVS scheduler {} is not modelled", plan.scheduler.as_str()),
                            what_would_settle_it: "ipvsadm -Lnc on the machine".into(),
                        }));
                    }
                }
            }
        };
        if let (Some(key), Some(persistence)) = (key, persistence) {
            let until = now + Duration::from_secs(u64::from(persistence.timeout_secs));
            ipvs.templates.insert(key, (server, until));
        }
        let Some(real) = plan.servers.get(server) else { return Err(None) };
        if real.forwarding != Forwarding::Masquerade {
            return Err(Some(Unknown {
                why: "IPVS forwards by direct routing or a tunnel, which is not modelled".into(),
                what_would_settle_it: "tcpdump on the real server".into(),
            }));
        }
        let port = if real.port == 0 { tuple.dport } else { real.port };
        let back = Tuple {
            src: real.addr,
            sport: port,
            dst: tuple.src,
            dport: tuple.sport,
            protocol: tuple.protocol,
        };
        let active = tuple.protocol != number::TCP;
        let lives = if active { DATAGRAMS } else { SYN_RECV };
        let (client, expires) = (*tuple, now + lives);
        let connection = Connection { virtual_id, server, client, real: back, expires, active };
        let id = ipvs.connections.insert(connection);
        ipvs.count(virtual_id, server, active, true);
        Ok((id, Some(real.origin.clone())))
    }

    /// Sends a packet to the real server of its connection (`ip_vs_nat_xmit`).
    fn send_to_real(
        &mut self,
        hook: Hook,
        id: u32,
        mut skb: Skb,
        at: Option<u32>,
        stage: Stage,
        origin: Option<Origin>,
    ) -> Passed {
        let Some(connection) = self.st.ipvs.connections.get(id).cloned() else {
            return Passed::Gone;
        };
        let Some(ip) = skb.ip().copied() else { return Passed::Gone };
        let real = (connection.real.src, connection.real.sport);
        if R::ON {
            let state = self.st.ipvs.virtuals.get(&connection.virtual_id);
            let scheduler = state.map_or("", |state| state.plan.scheduler.as_str());
            let words = format!("{}", Name(&connection.virtual_id));
            let did = format!("{scheduler} to {}", core::net::SocketAddr::new(real.0, real.1));
            let chain = Arc::from(&*words);
            let kind = EventKind::Rule { table: "ipvs".into(), chain, rule: None, did };
            self.note(&mut skb, at, stage, || (kind, origin.clone()));
        }
        // `ip_vs_update_conntrack`: the reply will come from the real server.
        if let Ct::New(tracked) = &mut skb.ct {
            (tracked.reply.src, tracked.reply.sport) = real;
        }
        let local = self.st.local_link(real.0).is_some();
        // A packet of the machine itself loses one too (`__ip_vs_get_out_rt`, `decrement_ttl`).
        if !local {
            if packet::ttl(&skb.bytes, ip.family()) <= 1 {
                let about = skb.clone();
                let why = || ("the TTL ran out".into(), None);
                let cause = self.drop(skb, at, stage, DropReason::IpInhdr, why);
                self.icmp_error(about, cause, IcmpError::TimeExceeded);
                return Passed::Gone;
            }
            packet::decrement_ttl(&mut skb.bytes, ip.family());
        }
        packet::rewrite(&mut skb.bytes, &ip, Side::Destination, real);
        skb.view = packet::view(&skb.bytes);
        skb.ipvs = Some((connection.client.dst, connection.client.dport, connection.client.protocol));
        self.translated(&mut skb, &ip, Side::Destination, false, at, stage, origin);
        if local || hook == Hook::Output {
            // The output hook goes on, and the packet is routed anew behind it.
            return Passed::On(skb);
        }
        // Lost packets are what they are; the way in has nobody to tell.
        let _ = self.send_on(skb);
        Passed::Gone
    }

    /// IPVS for packets from a real server: the virtual server's address comes back (`ip_vs_out`).
    pub(super) fn ipvs_out(&mut self, mut skb: Skb, at: Option<u32>, stage: Stage) -> Passed {
        if skb.ipvs.is_some() || self.st.ipvs.connections.is_empty() {
            return Passed::On(skb);
        }
        let Some(ip) = skb.ip().copied() else { return Passed::On(skb) };
        let quote = quoted_bytes(&ip, &skb.bytes);
        if let Some(about) = quote.and_then(|quote| Tuple::quoted(ip.family(), quote)) {
            self.ipvs_error(&mut skb, &ip, &about, at, stage);
            return Passed::On(skb);
        }
        let Some(tuple) = Tuple::of(&ip, &skb.bytes) else { return Passed::On(skb) };
        let Some(id) = self.st.ipvs.connections.of_real(&tuple, self.now) else { return Passed::On(skb) };
        let Some(connection) = self.st.ipvs.connections.get(id) else { return Passed::On(skb) };
        let client = connection.client;
        let flags = tcp_flags(&ip, &skb.bytes);
        self.st.ipvs.follow(id, flags, false, self.now);
        packet::rewrite(&mut skb.bytes, &ip, Side::Source, (client.dst, client.dport));
        skb.view = packet::view(&skb.bytes);
        skb.ipvs = Some((client.dst, client.dport, client.protocol));
        self.translated(&mut skb, &ip, Side::Source, true, at, stage, None);
        Passed::On(skb)
    }

    /// An ICMP error about a packet to a real server: it comes from the virtual server, and what it quotes was sent to that
    /// (`ip_vs_out_icmp`, `ip_vs_nat_icmp`). A redirect and a parameter problem of IPv4 stay as they are.
    fn ipvs_error(&mut self, skb: &mut Skb, ip: &packet::Ip, about: &Tuple, at: Option<u32>, stage: Stage) {
        let kind = packet::l4_bytes(&skb.bytes, ip).first().copied();
        if ip.protocol == number::ICMP && !matches!(kind, Some(3 | 4 | 11)) {
            return;
        }
        let Some(id) = self.st.ipvs.connections.of_real(&about.inverse(), self.now) else { return };
        let Some(connection) = self.st.ipvs.connections.get(id) else { return };
        let client = connection.client;
        let frontend = (client.dst, client.dport);
        packet::rewrite_quoted(&mut skb.bytes, ip.l4, ip.family(), Side::Destination, frontend);
        packet::rewrite(&mut skb.bytes, ip, Side::Source, (client.dst, 0));
        skb.view = packet::view(&skb.bytes);
        skb.ipvs = Some((client.dst, client.dport, client.protocol));
        self.translated(skb, ip, Side::Source, true, at, stage, None);
    }
}

fn masked(addr: IpAddr, mask: IpAddr) -> IpAddr {
    match (addr, mask) {
        (IpAddr::V4(a), IpAddr::V4(m)) => IpAddr::V4(a & m),
        (IpAddr::V6(a), IpAddr::V6(m)) => IpAddr::V6(a & m),
        _ => addr,
    }
}

/// A virtual server in words, written where somebody reads them.
struct Name<'v>(&'v VirtualId);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            VirtualId::Addr { protocol, addr, port } => {
                write!(f, "{} {}", protocol_word(*protocol), core::net::SocketAddr::new(*addr, *port))
            }
            VirtualId::Fwmark { mark, .. } => write!(f, "fwmark {mark}"),
        }
    }
}

const fn protocol_word(protocol: IpvsProtocol) -> &'static str {
    match protocol {
        IpvsProtocol::Tcp => "tcp",
        IpvsProtocol::Udp => "udp",
        IpvsProtocol::Sctp => "sctp",
    }
}
