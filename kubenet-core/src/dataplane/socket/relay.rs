//! Relays: processes that accept, and hand what they get to one of their backends over a connection of their own.
//!
//! In: what reaches a socket whose process is [`Process::Relay`]. Out: connections from this namespace to the backends, with the
//! address that the route chooses and a port of `ip_local_port_range` as their source, and what comes back to the client.
//!
//! Behaves as kube-proxy's userspace mode did (Kubernetes 1.21, `pkg/proxy/userspace/proxysocket.go`). TCP: the kernel accepts
//! before any backend is asked. Then up to four are dialled, each the next one in turn ([`Turns`]), for 250 ms, 500 ms, 1 s and
//! 2 s; a refusal goes to the next at once. When none answers, the client is hung up on. An end of either side closes both. UDP:
//! each client's address and port gets a connected socket to one backend, which is closed when nothing passed for a while, or
//! when an ICMP error came for it; what the process sends back has the source that the route chooses, unless its socket is bound
//! to an address. Not modelled: that a client waits in the accept queue while the process dials for another.

use core::net::IpAddr;

use super::tcp::Arrived;
use super::turns::{Seat, Turns};
use super::{Bound, Client, Connection, ConnectionKey, Connections, Failure, Owner, State, bound_socket};
use crate::addr::{Family, Protocol};
use crate::dataplane::choices::Choices;
use crate::dataplane::conntrack::Ct;
use crate::dataplane::event::{EventId, FlowId, FlowKind, Recorder, Stage};
use crate::dataplane::frame::Skb;
use crate::dataplane::machine::{Stack, Timer};
use crate::dataplane::netns::Map;
use crate::dataplane::output::Outgoing;
use crate::dataplane::reason::DropReason;
use crate::packet::{self, Ip};
use crate::plan::{Backend, Netns, Origin, Process, SocketState};
use crate::time::{Duration, Instant};

/// How many relays in a row may hand on the same request. A relay that leads to itself opens connections until its machine has
/// no more of them; here it ends after so many.
pub const RELAYS_IN_A_ROW: u8 = 16;
/// How long each dial waits for its backend.
const DIAL_TIMEOUTS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Clients that the relays of a namespace hold at once: fewer than there are ports, so that a free one is near. A process' limit
/// of open files is mostly smaller.
const CLIENTS: usize = 16_384;
/// `ip_local_port_range`: the first port, and how many there are.
const LOCAL_PORTS: (u16, u16) = (32_768, 28_232);

/// What the relays of a namespace remember.
#[derive(Clone, Debug, Default)]
pub(super) struct Relays {
    /// By the connection to the client, seen from this machine.
    sessions: Map<ConnectionKey, Session>,
    turns: Turns,
    /// How far the local ports were handed out.
    next_port: u16,
}

/// One client of a relay.
#[derive(Clone, Debug)]
struct Session {
    phase: Phase,
    /// The flow of the packet that opened it, and the event that brought it.
    opened: (FlowId, EventId),
    /// How many relays in a row have led to it.
    relays: u8,
    backend: Option<(ConnectionKey, Origin)>,
    /// Backends that were asked.
    dials: usize,
    /// Bytes of the client that wait for a backend.
    unread: u16,
    /// The client has ended its side.
    ended: bool,
    deadline: Instant,
    /// A timer is set, for the deadline or before.
    is_armed: bool,
    /// The source of datagrams to the client; the route chooses when `None`.
    source: Option<IpAddr>,
    /// For how long a datagram keeps it.
    idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The handshake with the client is not over.
    Accepting,
    /// A backend is asked.
    Dialling,
    /// A backend is there.
    Up,
    /// Both ends are being closed.
    Closing,
}

impl Session {
    fn new(skb: &Skb, now: Instant) -> Self {
        Self {
            phase: Phase::Accepting,
            opened: (skb.flow, skb.last),
            relays: skb.relays,
            backend: None,
            dials: 0,
            unread: 0,
            ended: false,
            deadline: now,
            is_armed: false,
            source: None,
            idle: Duration::ZERO,
        }
    }
}

impl Relays {
    pub(super) fn replanned(&mut self, plan: &Netns) {
        self.turns.replanned(plan);
    }

    /// How many relays in a row are behind what a connection sends, and why it is sent to its other end.
    pub(super) fn behind(&self, owner: Owner) -> (u8, Option<Origin>) {
        let Owner::Dialled(client) = owner else { return (0, None) };
        self.sessions.get(&client).map_or((0, None), |session| {
            (session.relays.saturating_add(1), session.backend.as_ref().map(|(_, origin)| origin.clone()))
        })
    }
}

impl Connections {
    /// Whether a relay looks for a backend, or waits for its client to see that it hung up.
    pub(in crate::dataplane) fn is_relaying(&self) -> bool {
        self.relays.sessions.iter().any(|(client, session)| match session.phase {
            Phase::Dialling => true,
            Phase::Closing => self.by_key.contains_key(client),
            Phase::Accepting | Phase::Up => false,
        })
    }

    fn session(&mut self, client: &ConnectionKey) -> Option<&mut Session> {
        self.relays.sessions.get_mut(client)
    }

    /// Whether the relays have no room for another client.
    pub(super) fn has_too_many_clients(&self) -> bool {
        self.is_full() || self.relays.sessions.len() >= CLIENTS
    }

    fn add_session(&mut self, client: ConnectionKey, session: Session) {
        let old = self.relays.sessions.insert(client, session);
        if let Some((backend, _)) = old.and_then(|old| old.backend) {
            self.forget(&backend);
        }
    }

    /// Forgets one end; and the session with the last one.
    fn forget_end(&mut self, key: ConnectionKey, owner: Owner) {
        self.forget(&key);
        let client = client_of(key, owner);
        let has_client = self.by_key.contains_key(&client);
        let Some(session) = self.session(&client) else { return };
        if session.backend.as_ref().is_some_and(|(backend, _)| *backend == key) {
            session.backend = None;
        }
        if !has_client && session.backend.is_none() && session.phase != Phase::Dialling {
            self.relays.sessions.remove(&client);
        }
    }
}

/// The connection to the client that an end belongs to.
const fn client_of(key: ConnectionKey, owner: Owner) -> ConnectionKey {
    match owner {
        Owner::Dialled(client) => client,
        Owner::Listener | Owner::Client(_) | Owner::Accepted => key,
    }
}

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// A request that too many relays have handed on.
    pub(super) fn relay_refuse(&mut self, link: u32, skb: Skb) -> EventId {
        self.drop(skb, Some(link), Stage::Socket, DropReason::NotSpecified, || {
            (alloc::format!("{RELAYS_IN_A_ROW} relays in a row have handed it on: it goes in circles"), None)
        })
    }

    /// A SYN for a relay.
    pub(super) fn relay_opened(&mut self, client: ConnectionKey, skb: &Skb) {
        self.st.connections.add_session(client, Session::new(skb, self.now));
    }

    /// A segment of a connection that a relay has, to a client or to a backend.
    pub(super) fn relay_segment(
        &mut self,
        link: u32,
        key: ConnectionKey,
        owner: Owner,
        arrived: Arrived,
        skb: &Skb,
    ) {
        let (client, event) = (client_of(key, owner), skb.last);
        if self.tcp_acknowledged(&key, arrived.acked) {
            self.tcp_send_data(key, FlowKind::Data, event);
        }
        self.tcp_drained(key, event);
        let state = self.st.connections.by_key.get(&key).map(|connection| connection.state);
        if state != Some(State::Established) {
            if arrived.data > 0 {
                // The process has closed, and data that it does not read is answered with RST.
                self.tcp_abort(key, owner, event);
            }
            return;
        }
        let Some(session) = self.st.connections.session(&client) else { return };
        let (phase, unread) = (session.phase, session.unread);
        let to = session.backend.as_ref().map(|(backend, _)| *backend);
        let onward = if owner == Owner::Accepted { to } else { Some(client) };
        let waits = onward.and_then(|onward| self.st.connections.by_key.get(&onward));
        let room = (u16::MAX - unread).saturating_sub(waits.map_or(0, |connection| connection.payload));
        let (data, ended) = self.tcp_take(key, arrived, room, event);
        if owner != Owner::Accepted {
            self.tcp_add_data(client, data, event);
            if ended {
                self.relay_finish(client, event);
            }
            return;
        }
        if let Some(session) = self.st.connections.session(&client) {
            session.unread += data;
            session.ended |= ended;
        }
        match phase {
            Phase::Accepting => self.relay_accepted(link, client, skb),
            Phase::Up => self.relay_forward(client, event),
            Phase::Dialling | Phase::Closing => {}
        }
    }

    /// The handshake with the client is over, and the process gets the connection.
    fn relay_accepted(&mut self, link: u32, client: ConnectionKey, skb: &Skb) {
        let Some(session) = self.st.connections.session(&client) else { return };
        session.phase = Phase::Dialling;
        let (flow, opened) = session.opened;
        let bound = self.relay_at(client);
        let has_backends = bound.as_ref().is_some_and(|bound| match &bound.process {
            Process::Relay(relay) => !relay.backends.is_empty(),
            Process::Echo | Process::Http { .. } => false,
        });
        if has_backends {
            self.relay_dial(client, opened);
        } else {
            let about = Skb::new(skb.bytes.clone(), flow, opened);
            let event = self.nobody(link, about, bound);
            self.relay_hang_up(client, event);
        }
    }

    fn nobody(&mut self, link: u32, skb: Skb, bound: Option<Bound>) -> EventId {
        self.drop(skb, Some(link), Stage::Socket, DropReason::NotSpecified, || {
            ("the process has no backend to hand it to".into(), bound.map(|bound| bound.origin))
        })
    }

    fn relay_at(&self, client: ConnectionKey) -> Option<Bound> {
        let (addr, port) = client.local;
        let bound = bound_socket(self.plan, client.protocol, addr, port)?;
        (bound.state == SocketState::Listen).then_some(bound)
    }

    /// The backend whose turn it is. `again`: another one did not answer this client.
    fn relay_choose(&mut self, client: ConnectionKey, again: bool) -> Option<Backend> {
        let bound = self.relay_at(client)?;
        let Process::Relay(relay) = &bound.process else { return None };
        let seat = Seat {
            protocol: client.protocol,
            family: Family::of(client.local.0),
            addr: specific(bound.addr),
            port: client.local.1,
        };
        let turns = &mut self.st.connections.relays.turns;
        let place = turns.next(seat, relay, client.remote.0, self.now, again, self.choices)?;
        relay.backends.get(place).cloned()
    }

    /// Asks the next backend for a client, or hangs up when enough were asked.
    fn relay_dial(&mut self, client: ConnectionKey, event: EventId) {
        let now = self.now;
        let Some(session) = self.st.connections.session(&client) else { return };
        let (dials, opened) = (session.dials, session.opened.1);
        session.dials += 1;
        let timeout = DIAL_TIMEOUTS.get(dials).copied();
        let next = timeout.and_then(|timeout| Some((timeout, self.relay_choose(client, dials > 0)?)));
        let Some((timeout, backend)) = next else {
            self.relay_hang_up(client, event);
            return;
        };
        let key = match self.relay_socket(client, &backend) {
            Ok(key) => key,
            Err(event) => {
                self.relay_dial(client, event);
                return;
            }
        };
        if let Some(session) = self.st.connections.session(&client) {
            session.deadline = now + timeout;
        }
        self.relay_arm(client);
        if let Some(connection) = self.st.connections.by_key.get_mut(&key) {
            connection.sent = opened;
        }
        self.send_first(key, FlowKind::Relayed);
    }

    /// A socket of the relay's own, to a backend. Otherwise the event that says why there is none.
    fn relay_socket(&mut self, client: ConnectionKey, backend: &Backend) -> Result<ConnectionKey, EventId> {
        let protocol = client.protocol;
        let to_many = protocol == Protocol::Tcp && self.is_group(backend.addr);
        let local = match self.source_for(backend.addr) {
            Ok(_) if to_many => Err(Failure::NetUnreachable),
            Ok(_) if self.st.connections.is_full() => Err(Failure::AddressInUse),
            Ok(src) => self.free_port(protocol, src).map(|port| (src, port)).ok_or(Failure::AddressInUse),
            Err(failure) => Err(failure),
        };
        let local = local.map_err(|failure| {
            let asks = Client {
                netns: self.st.index,
                protocol,
                src: None,
                sport: 0,
                dst: backend.addr,
                dport: backend.port,
                payload: 0,
            };
            let opened = self.st.connections.session(&client).map_or(EventId::NONE, |s| s.opened.1);
            let origin = R::ON.then(|| backend.origin.clone());
            self.unsendable((FlowKind::Relayed, opened), &asks, failure, origin)
        })?;
        let key = ConnectionKey { protocol, local, remote: (backend.addr, backend.port) };
        let connection = Connection {
            owner: Owner::Dialled(client),
            state: if protocol == Protocol::Tcp { State::Opening } else { State::Established },
            seq: super::initial_sequence(&key),
            ack: 0,
            payload: 0,
            mss: 536,
            tries: 0,
            deadline: self.now,
            sent: EventId::NONE,
        };
        self.st.connections.by_key.insert(key, connection);
        self.st.connections.client_ports.insert((protocol, local.0, local.1), ());
        if let Some(session) = self.st.connections.session(&client) {
            session.backend = Some((key, backend.origin.clone()));
        }
        Ok(key)
    }

    /// A port that no client sends from and nothing is bound to. In order, where the kernel begins at a hash of the ends.
    fn free_port(&mut self, protocol: Protocol, src: IpAddr) -> Option<u16> {
        let (first, count) = LOCAL_PORTS;
        let from = self.st.connections.relays.next_port;
        let free = |port: &u16| {
            !self.st.connections.client_ports.contains_key(&(protocol, src, *port))
                && bound_socket(self.plan, protocol, src, *port).is_none()
        };
        let port = (from..count).chain(0..from).map(|step| first + step).find(free)?;
        self.st.connections.relays.next_port = (port - first + 1) % count;
        Some(port)
    }

    /// A backend has accepted.
    pub(super) fn relay_connected(&mut self, client: ConnectionKey, event: EventId) {
        if let Some(session) = self.st.connections.session(&client) {
            session.phase = Phase::Up;
            self.relay_forward(client, event);
        }
    }

    /// Passes on what the client has sent, and that it is at its end.
    fn relay_forward(&mut self, client: ConnectionKey, event: EventId) {
        let Some(session) = self.st.connections.session(&client) else { return };
        let Some((backend, _)) = &session.backend else { return };
        let (backend, ended) = (*backend, session.ended);
        let unread = core::mem::take(&mut session.unread);
        self.tcp_add_data(backend, unread, event);
        if ended {
            self.relay_finish(client, event);
        }
    }

    /// Either side is at its end: the process closes both.
    fn relay_finish(&mut self, client: ConnectionKey, event: EventId) {
        let Some(session) = self.st.connections.session(&client) else { return };
        session.phase = Phase::Closing;
        let backend = session.backend.as_ref().map(|(backend, _)| *backend);
        if let Some(backend) = backend {
            self.tcp_close(backend, FlowKind::Data, event);
        }
        self.tcp_close(client, FlowKind::Data, event);
    }

    /// No backend was found: the process closes the client's connection. The kernel makes that an RST when the client has sent
    /// what nobody has read (RFC 2525 §2.17, `__tcp_close`), and a FIN otherwise.
    fn relay_hang_up(&mut self, client: ConnectionKey, event: EventId) {
        let Some(session) = self.st.connections.session(&client) else { return };
        session.phase = Phase::Closing;
        let unread = session.unread;
        if unread > 0 {
            self.tcp_abort(client, Owner::Accepted, event);
        } else if self.st.connections.by_key.contains_key(&client) {
            self.tcp_close(client, FlowKind::Reply, event);
        } else {
            self.st.connections.forget_end(client, Owner::Accepted);
        }
    }

    /// One end is lost: refused, reset, or given up.
    pub(super) fn relay_lost(&mut self, key: ConnectionKey, owner: Owner, event: EventId) {
        let client = client_of(key, owner);
        let Some(session) = self.st.connections.session(&client) else { return };
        let phase = session.phase;
        if owner == Owner::Accepted && phase == Phase::Dialling {
            // The process sees it when it has a backend and reads.
            (session.ended, session.unread) = (true, 0);
        }
        self.st.connections.forget_end(key, owner);
        match (phase, owner) {
            (Phase::Dialling, Owner::Dialled(_)) => self.relay_dial(client, event),
            (Phase::Up, _) => self.relay_finish(client, event),
            (
                Phase::Accepting | Phase::Dialling | Phase::Closing,
                Owner::Listener | Owner::Client(_) | Owner::Accepted | Owner::Dialled(_),
            ) => {}
        }
    }

    /// One end is closed on both sides.
    pub(super) fn relay_gone(&mut self, key: ConnectionKey, owner: Owner) {
        self.st.connections.forget_end(key, owner);
    }

    /// Sees to it that a timer is set.
    fn relay_arm(&mut self, client: ConnectionKey) {
        let Some(session) = self.st.connections.session(&client).filter(|session| !session.is_armed) else {
            return;
        };
        session.is_armed = true;
        let (at, netns) = (session.deadline, self.st.index);
        self.io.wake_at(at, Timer::Relay { netns, client });
    }

    pub(in crate::dataplane) fn relay_timeout(&mut self, client: ConnectionKey) {
        let now = self.now;
        let Some(session) = self.st.connections.session(&client) else { return };
        session.is_armed = false;
        if session.deadline > now {
            self.relay_arm(client);
            return;
        }
        let backend = session.backend.as_ref().map(|(backend, _)| *backend);
        match (client.protocol, session.phase, backend) {
            (Protocol::Tcp, Phase::Dialling, Some(backend)) => {
                let sent = self.st.connections.by_key.get(&backend).map(|connection| connection.sent);
                self.relay_lost(backend, Owner::Dialled(client), sent.unwrap_or(EventId::NONE));
            }
            (Protocol::Udp, ..) => self.relay_forget_datagrams(client),
            (
                Protocol::Tcp | Protocol::Sctp | Protocol::Icmp,
                Phase::Accepting | Phase::Dialling | Phase::Up | Phase::Closing,
                Some(_) | None,
            ) => {}
        }
    }

    /// A datagram for a relay.
    pub(super) fn relay_datagram(
        &mut self,
        link: u32,
        client: ConnectionKey,
        bound: &Bound,
        ip: &Ip,
        skb: Skb,
    ) {
        let Process::Relay(relay) = &bound.process else { return };
        if skb.relays >= RELAYS_IN_A_ROW {
            self.relay_refuse(link, skb);
            return;
        }
        if self.st.connections.session(&client).is_none() {
            if self.st.connections.has_too_many_clients() {
                self.too_many(link, skb);
                return;
            }
            let (source, idle) = (specific(bound.addr), relay.udp_idle);
            let deadline = self.now + idle;
            let session =
                Session { phase: Phase::Up, source, idle, deadline, ..Session::new(&skb, self.now) };
            self.st.connections.add_session(client, session);
            if !self.relay_connect(client) {
                self.st.connections.relays.sessions.remove(&client);
                let bound = self.relay_at(client);
                self.nobody(link, skb, bound);
                return;
            }
            self.relay_arm(client);
        }
        let Some(session) = self.st.connections.session(&client) else { return };
        let Some((key, origin)) = session.backend.clone() else { return };
        let outgoing = Outgoing {
            kind: FlowKind::Relayed,
            cause: skb.last,
            src: Some(key.local.0),
            dst: key.remote.0,
            nesting: 0,
            ct: Ct::None,
            relays: skb.relays + 1,
            origin: Some(origin).filter(|_| R::ON),
        };
        let payload = packet::l4_bytes(&skb.bytes, ip).get(8..).unwrap_or(&[]);
        let sent = self.send_out(outgoing, |meta| packet::udp(meta, key.local.1, key.remote.1, payload));
        if sent.is_ok() {
            self.relay_extend(client);
        }
    }

    /// Connects a socket to a backend. That fails only where there is no way to it, and then the next one is tried.
    fn relay_connect(&mut self, client: ConnectionKey) -> bool {
        (0..DIAL_TIMEOUTS.len()).any(|dials| {
            let backend = self.relay_choose(client, dials > 0);
            backend.is_some_and(|backend| self.relay_socket(client, &backend).is_ok())
        })
    }

    fn relay_extend(&mut self, client: ConnectionKey) {
        let now = self.now;
        if let Some(session) = self.st.connections.session(&client) {
            session.deadline = now + session.idle;
        }
    }

    /// A datagram from the backend of a client.
    pub(super) fn relay_answered(&mut self, client: ConnectionKey, ip: &Ip, skb: &Skb) {
        self.relay_extend(client);
        let Some(source) = self.st.connections.session(&client).map(|session| session.source) else { return };
        let payload = packet::l4_bytes(&skb.bytes, ip).get(8..).unwrap_or(&[]);
        let sent = self.send_with(FlowKind::Reply, skb.last, source, client.remote.0, 0, |meta| {
            packet::udp(meta, client.local.1, client.remote.1, payload)
        });
        if sent.is_err() {
            self.relay_forget_datagrams(client);
        }
    }

    /// Closes the socket to a client's backend.
    pub(super) fn relay_forget_datagrams(&mut self, client: ConnectionKey) {
        let session = self.st.connections.relays.sessions.remove(&client);
        if let Some((backend, _)) = session.and_then(|session| session.backend) {
            self.st.connections.forget(&backend);
        }
    }
}

/// The address that a socket is bound to, if it is not any.
fn specific(addr: Option<IpAddr>) -> Option<IpAddr> {
    addr.filter(|addr| !addr.is_unspecified())
}
