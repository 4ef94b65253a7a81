//! Sockets: local delivery, listeners, and connections as their clients live through them.
//!
//! In: packets for this namespace, and [`Client`]s that want something. Out: answers, and [`Notice`]s. A listener
//! accepts and echoes, or hands on what it gets ([`relay`]; the process behind a port is an assumption that the plan states);
//! what a port without a socket does is the plan's [`Undeclared`]. Sources: `net/ipv4/ip_input.c`, `tcp_ipv4.c`, `udp.c`; RFC 9293, RFC 9260.

mod relay;
mod tcp;
mod turns;

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::choices::Choices;
use super::conntrack::Ct;
use super::event::{EventId, EventKind, FlowKind, Recorder, Stage};
use super::frame::Skb;
use super::hooks::transport;
use super::icmp::{fragment_words, reassemble};
use super::machine::{Stack, Timer};
use super::netns::{FragmentKey, Map, Pieces};
use super::output::Outgoing;
use super::reason::DropReason;
use crate::addr::{Family, Protocol};
use crate::packet::{self, Chunk, IcmpError, Ip};
use crate::plan::{Hook, Netns, Origin, Process, Socket, SocketState, Undeclared};
use crate::time::{Duration, Instant};

pub use self::relay::RELAYS_IN_A_ROW;

/// Something that a process wants from the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The namespace it runs in.
    pub netns: u32,
    /// The transport; ICMP means an echo request.
    pub protocol: Protocol,
    /// The source address to bind; chosen by the route when `None`.
    pub src: Option<IpAddr>,
    /// The source port, or the echo identifier.
    pub sport: u16,
    /// The destination.
    pub dst: IpAddr,
    /// The destination port; ignored for ICMP.
    pub dport: u16,
    /// Bytes of payload: in the datagram or echo, or sent once a TCP connection is up (at most one segment).
    pub payload: u16,
}

/// Numbers a client within a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u32);

/// What a client lived through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which client.
    pub client: ClientId,
    /// What.
    pub kind: NoticeKind,
    /// When.
    pub at: Instant,
    /// The event that brought it.
    pub event: EventId,
}

/// Kinds of [`Notice`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// The connection is up.
    Connected,
    /// Data (or an echo) came back.
    Answered,
    /// Refused: RST to the SYN, ABORT to the INIT, or port unreachable.
    Refused,
    /// Ended by the other side after it was up, with RST.
    Reset,
    /// Ended by the other side after it was up, with FIN.
    Closed,
    /// The network or this machine said no.
    Failed(Failure),
    /// Nothing came in time.
    TimedOut,
}

/// Why a packet could not be sent, or what an ICMP error said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// ENETUNREACH.
    #[error("network is unreachable")]
    NetUnreachable,
    /// EHOSTUNREACH.
    #[error("no route to host")]
    HostUnreachable,
    /// ECONNREFUSED.
    #[error("connection refused: port unreachable")]
    PortUnreachable,
    /// EACCES.
    #[error("administratively prohibited")]
    Prohibited,
    /// EHOSTUNREACH from "time exceeded".
    #[error("time to live exceeded in transit")]
    TimeExceeded,
    /// The path's MTU is smaller.
    #[error("message too long for a path MTU of {0}")]
    TooBig(u32),
    /// EINVAL: a blackhole route.
    #[error("invalid argument (blackhole route)")]
    InvalidArgument,
    /// EADDRNOTAVAIL.
    #[error("no source address of this family")]
    NoSourceAddress,
    /// EPERM: a rule of the own machine ended it.
    #[error("operation not permitted")]
    NotPermitted,
    /// EADDRINUSE.
    #[error("the source port is in use")]
    AddressInUse,
}

/// The ends of a connection, seen from this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ConnectionKey {
    pub(super) protocol: Protocol,
    pub(super) local: (IpAddr, u16),
    pub(super) remote: (IpAddr, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for the answer to its first packet.
    Opening,
    /// Answered a SYN, waits for the ACK.
    Answered,
    Established,
    /// The process has closed it; its FIN waits until what was sent before is acknowledged.
    Draining,
    /// FIN is sent.
    Closing,
    Done,
}

/// Whose end of a connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// A process that listens and answers.
    Listener,
    /// A client of the model.
    Client(ClientId),
    /// A relay, toward its client.
    Accepted,
    /// A relay, toward the backend that it asks for this connection of its client.
    Dialled(ConnectionKey),
}

impl Owner {
    /// Who gets what arrives, in words.
    const fn words(self) -> &'static str {
        match self {
            Self::Client(_) => "the client",
            Self::Listener => "the process",
            Self::Accepted | Self::Dialled(_) => "the relay",
        }
    }
}

#[derive(Clone, Debug)]
struct Connection {
    owner: Owner,
    state: State,
    /// The next sequence number to send.
    seq: u32,
    /// The next one expected.
    ack: u32,
    /// Bytes that wait to be sent, or are unanswered.
    payload: u16,
    mss: u16,
    tries: u8,
    deadline: Instant,
    /// The event of the last thing sent.
    sent: EventId,
}

/// All connections of a namespace, and the path MTUs that it has learned.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    by_key: Map<ConnectionKey, Connection>,
    /// The ports that clients send from: nothing listens there, and each talks to one peer.
    client_ports: Map<(Protocol, IpAddr, u16), ()>,
    path_mtus: Map<IpAddr, u32>,
    relays: relay::Relays,
}

impl Connections {
    fn is_full(&self) -> bool {
        self.by_key.len() >= CONNECTIONS
    }

    pub(super) fn path_mtu(&self, dst: IpAddr) -> Option<u32> {
        self.path_mtus.get(&dst).copied()
    }

    /// The namespace has another plan.
    pub(super) fn replanned(&mut self, plan: &Netns) {
        self.relays.replanned(plan);
    }

    /// Forgets a connection that nothing more is expected of.
    fn forget(&mut self, key: &ConnectionKey) {
        self.by_key.remove(key);
        self.client_ports.remove(&(key.protocol, key.local.0, key.local.1));
    }
}

/// Who gets a packet.
enum Listener {
    /// A process.
    Socket(Bound),
    /// Nothing says whether there is one.
    Unsaid,
    /// Nobody: the origin of the proof, if one was given.
    Nobody(Option<Origin>),
}

/// What is bound to a port.
struct Bound {
    addr: Option<IpAddr>,
    state: SocketState,
    process: Process,
    origin: Origin,
}

impl Bound {
    fn of(socket: &Socket) -> Self {
        let Socket { addr, state, process, origin, .. } = socket;
        Self { addr: *addr, state: *state, process: process.clone(), origin: origin.clone() }
    }
}

/// What is bound to an address and port: what listens, before what is known to be closed. Sockets that are made on demand are
/// asked for where the plan lists none.
fn bound_socket(plan: &Netns, protocol: Protocol, dst: IpAddr, dport: u16) -> Option<Bound> {
    let fits = |socket: &Socket| {
        let bound = match socket.addr {
            None => true,
            Some(IpAddr::V4(a)) if a.is_unspecified() => dst.is_ipv4(),
            Some(IpAddr::V6(a)) if a.is_unspecified() => true,
            Some(addr) => addr == dst,
        };
        // A relay copies streams and datagrams; it serves no SCTP.
        let served = protocol != Protocol::Sctp || !matches!(socket.process, Process::Relay(_));
        socket.protocol == protocol && socket.port == dport && bound && served
    };
    let mut closed = None;
    for socket in &plan.sockets {
        if !fits(socket) {
            continue;
        }
        match socket.state {
            SocketState::Listen => return Some(Bound::of(socket)),
            SocketState::Closed => closed = Some(socket),
        }
    }
    match closed {
        Some(socket) => Some(Bound::of(socket)),
        None => {
            let made = plan.more_sockets.socket(protocol, Family::of(dst), dport);
            made.filter(|socket| fits(socket)).as_ref().map(Bound::of)
        }
    }
}

/// How long a client waits for the answer to a datagram or echo.
const DATAGRAM_WAIT: Duration = Duration::from_secs(5);
/// `ip_frag_time`: how long fragments wait for the rest.
const FRAGMENT_WAIT: Duration = Duration::from_secs(30);
/// `ipfrag_high_thresh`: bytes of fragments that wait in a namespace.
const FRAGMENT_BYTES: usize = 4 << 20;
/// Path MTUs that are remembered (`FNHE_HASH_SIZE` × `FNHE_RECLAIM_DEPTH`).
const PATH_MTUS: usize = 10_240;
/// Connections that are held, those of the model's own clients aside; the kernel's limits are those of its memory.
const CONNECTIONS: usize = 65_536;

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// A process opens a connection, or sends a datagram or an echo request.
    pub(super) fn open(&mut self, id: ClientId, client: Client) {
        // `tcp_v4_connect`, `tcp_v6_connect`: a connection has one other end.
        let to_many = client.protocol == Protocol::Tcp && self.is_group(client.dst);
        let src = match client.src.map_or_else(|| self.source_for(client.dst), Ok) {
            Ok(_) if to_many => Err(Failure::NetUnreachable),
            found => found,
        };
        let src = match src {
            Ok(src) => src,
            Err(failure) => {
                let event = self.unsendable((FlowKind::Request, EventId::NONE), &client, failure, None);
                self.tell(id, NoticeKind::Failed(failure), event);
                return;
            }
        };
        let dport = if client.protocol == Protocol::Icmp { 0 } else { client.dport };
        let key = ConnectionKey {
            protocol: client.protocol,
            local: (src, client.sport),
            remote: (client.dst, dport),
        };
        if self.st.connections.by_key.contains_key(&key) {
            self.tell(id, NoticeKind::Failed(Failure::AddressInUse), EventId::NONE);
            return;
        }
        let connection = Connection {
            owner: Owner::Client(id),
            state: State::Opening,
            seq: initial_sequence(&key),
            ack: 0,
            payload: client.payload,
            mss: 536,
            tries: 0,
            deadline: self.now,
            sent: EventId::NONE,
        };
        self.st.connections.by_key.insert(key, connection);
        self.st.connections.client_ports.insert((key.protocol, src, client.sport), ());
        self.send_first(key, FlowKind::Request);
    }

    /// Sends (again) the packet that opens a connection.
    fn send_first(&mut self, key: ConnectionKey, kind: FlowKind) {
        let mss = self.own_mss(key);
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        connection.tries += 1;
        connection.mss = mss;
        let (seq, payload, tries) = (connection.seq, connection.payload, connection.tries);
        let wait = match key.protocol {
            Protocol::Tcp => tcp::syn_timeout(tries),
            Protocol::Sctp => Duration::from_secs(3), // sctp rto_initial
            Protocol::Udp | Protocol::Icmp => DATAGRAM_WAIT,
        };
        connection.deadline = self.now + wait;
        let (deadline, cause, owner) = (connection.deadline, connection.sent, connection.owner);
        let client = Client {
            netns: self.st.index,
            protocol: key.protocol,
            src: Some(key.local.0),
            sport: key.local.1,
            dst: key.remote.0,
            dport: key.remote.1,
            payload,
        };
        let netns = self.st.index;
        self.io.wake_at(deadline, Timer::Connection { netns, key });
        let (relays, origin) = self.st.connections.relays.behind(owner);
        let outgoing = Outgoing {
            kind,
            cause,
            src: client.src,
            dst: client.dst,
            nesting: 0,
            ct: Ct::None,
            relays,
            origin: origin.filter(|_| R::ON),
        };
        let sent = self.send_out(outgoing, |meta| build_first(meta, &client, seq, mss));
        match sent {
            Ok(event) => {
                if let Some(connection) = self.st.connections.by_key.get_mut(&key) {
                    connection.sent = event;
                }
            }
            Err(failure) => self.fail(key, failure, EventId::NONE),
        }
    }

    /// A client sends again on the connection that it has: data over TCP, one more datagram or echo otherwise. False when there
    /// is no such connection any more.
    pub(super) fn send_more(&mut self, id: ClientId, payload: u16) -> bool {
        let connections = &mut self.st.connections.by_key;
        #[allow(clippy::iter_over_hash_type, reason = "a client has one connection")]
        let found = connections.iter_mut().find(|(_, connection)| connection.owner == Owner::Client(id));
        let Some((key, connection)) = found else { return false };
        let key = *key;
        connection.payload = payload;
        connection.tries = 0;
        connection.sent = EventId::NONE;
        match (key.protocol, connection.state) {
            (Protocol::Tcp, State::Established) => {
                self.tcp_send_data(key, FlowKind::Request, EventId::NONE);
                true
            }
            (Protocol::Tcp | Protocol::Sctp, _) => false,
            (Protocol::Udp | Protocol::Icmp, _) => {
                connection.state = State::Opening;
                self.send_first(key, FlowKind::Request);
                true
            }
        }
    }

    /// Nothing can be sent, but the trace shows where it ended.
    fn unsendable(
        &mut self,
        (kind, cause): (FlowKind, EventId),
        client: &Client,
        failure: Failure,
        origin: Option<Origin>,
    ) -> EventId {
        let bytes = self.first_packet(client, client.dst, 0, 536);
        let mut skb = self.make(kind, cause, bytes);
        self.note(&mut skb, None, Stage::Socket, || (EventKind::Sent, origin));
        let why = || (format!("{failure}"), None);
        self.drop(skb, None, Stage::Route, DropReason::IpOutNoRoutes, why)
    }

    fn first_packet(&self, client: &Client, src: IpAddr, seq: u32, mss: u16) -> alloc::vec::Vec<u8> {
        let src = match src {
            IpAddr::V4(_) => IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED),
        };
        let ttl = self.plan.sysctls.default_ttl;
        let meta = packet::Ipv4Meta { src, dst: client.dst, ttl, dont_fragment: true, id: 0 };
        build_first(&meta, client, seq, mss)
    }

    fn own_mss(&mut self, key: ConnectionKey) -> u16 {
        let overhead = match Family::of(key.remote.0) {
            Family::V4 => 40,
            Family::V6 => 60,
        };
        let learned = self.st.connections.path_mtu(key.remote.0);
        let link = self.st.local_link(key.local.0).and_then(|l| self.st.link(l)).map_or(1500, |l| l.mtu);
        let mtu = learned.map_or(link, |m| m.min(link)).min(65535);
        u16::try_from(mtu.saturating_sub(overhead)).unwrap_or(u16::MAX).max(88)
    }

    fn tell(&mut self, client: ClientId, kind: NoticeKind, event: EventId) {
        self.io.notify(Notice { client, kind, at: self.now, event });
    }

    fn fail(&mut self, key: ConnectionKey, failure: Failure, event: EventId) {
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        if connection.state == State::Done {
            return;
        }
        connection.state = State::Done;
        match connection.owner {
            Owner::Client(client) => {
                let kind = if failure == Failure::PortUnreachable {
                    NoticeKind::Refused
                } else {
                    NoticeKind::Failed(failure)
                };
                self.tell(client, kind, event);
            }
            owner @ Owner::Dialled(_) => self.relay_lost(key, owner, event),
            Owner::Listener | Owner::Accepted => {}
        }
    }

    pub(super) fn connection_timeout(&mut self, key: ConnectionKey) {
        let Some(connection) = self.st.connections.by_key.get(&key) else { return };
        if connection.deadline > self.now {
            return;
        }
        let (state, tries, owner) = (connection.state, connection.tries, connection.owner);
        match (state, key.protocol) {
            (State::Done | State::Answered, _) => {}
            (State::Opening, Protocol::Tcp) if tries <= tcp::SYN_RETRIES => {
                self.send_first(key, FlowKind::Retransmission);
            }
            (State::Opening, Protocol::Sctp) if tries <= 8 => self.send_first(key, FlowKind::Retransmission),
            (State::Opening, _) => self.give_up(key, owner),
            (State::Established | State::Draining, _) => self.tcp_data_timeout(key),
            (State::Closing, _) => self.tcp_finish_timeout(key),
        }
    }

    fn give_up(&mut self, key: ConnectionKey, owner: Owner) {
        if let Some(connection) = self.st.connections.by_key.get_mut(&key) {
            connection.state = State::Done;
            let event = connection.sent;
            match owner {
                Owner::Client(client) => self.tell(client, NoticeKind::TimedOut, event),
                Owner::Accepted | Owner::Dialled(_) => self.relay_lost(key, owner, event),
                Owner::Listener => {}
            }
        }
    }

    /// An ICMP error named one of our connections.
    pub(super) fn connection_failed(&mut self, key: ConnectionKey, failure: Failure, event: EventId) {
        if let Failure::TooBig(mtu) = failure {
            let floor = match Family::of(key.remote.0) {
                Family::V4 => 552, // ip_rt_min_pmtu
                Family::V6 => 1280,
            };
            let known = &mut self.st.connections.path_mtus;
            if known.len() < PATH_MTUS || known.contains_key(&key.remote.0) {
                known.insert(key.remote.0, mtu.max(floor));
            }
            let Some(connection) = self.st.connections.by_key.get(&key) else { return };
            match (key.protocol, connection.owner, connection.state) {
                (Protocol::Tcp, _, State::Established) => {
                    self.tcp_send_data(key, FlowKind::Retransmission, event);
                }
                // The datagram is lost, and a connected socket says so (`EMSGSIZE`).
                (Protocol::Udp, Owner::Client(_), State::Opening) => self.fail(key, failure, event),
                _ => {}
            }
            return;
        }
        let Some(connection) = self.st.connections.by_key.get(&key) else { return };
        match (key.protocol, connection.owner, connection.state) {
            // The next read of a connected socket fails, and the process ends.
            (Protocol::Udp, Owner::Dialled(client), _) => self.relay_forget_datagrams(client),
            (_, _, State::Opening) => self.fail(key, failure, event),
            (_, _, State::Answered | State::Established | State::Draining | State::Closing | State::Done) => {
            }
        }
    }

    /// A packet for this namespace.
    pub(super) fn local_deliver(&mut self, link: u32, ip: Ip, skb: Skb) {
        let Some(skb) = self.defragment(link, &ip, skb) else { return };
        let Some(skb) = self.hooks(Hook::Input, skb, Some(link), None) else { return };
        let Some(ip) = skb.ip().copied() else { return };
        match transport(&ip) {
            Some(Protocol::Icmp) => self.icmp_input(link, ip, skb),
            Some(protocol) => {
                if !packet::l4_checksum_is_right(&skb.bytes, &ip) {
                    let reason = match protocol {
                        Protocol::Tcp => DropReason::TcpCsum,
                        Protocol::Udp => DropReason::UdpCsum,
                        Protocol::Sctp | Protocol::Icmp => DropReason::NotSpecified,
                    };
                    let why = || (format!("the {protocol} checksum is wrong"), None);
                    self.drop(skb, Some(link), Stage::Socket, reason, why);
                    return;
                }
                let Some((sport, dport)) = ip.ports else {
                    let why = || ("shorter than its transport header".into(), None);
                    self.drop(skb, Some(link), Stage::Socket, DropReason::PktTooSmall, why);
                    return;
                };
                let key = ConnectionKey { protocol, local: (ip.dst, dport), remote: (ip.src, sport) };
                match protocol {
                    Protocol::Tcp => self.tcp_input(link, key, &ip, skb),
                    Protocol::Udp => self.udp_input(link, key, &ip, skb),
                    Protocol::Sctp => self.sctp_input(link, key, &ip, skb),
                    Protocol::Icmp => {}
                }
            }
            None => {
                let about = skb.clone();
                let cause = self.drop(skb, Some(link), Stage::Socket, DropReason::IpNoProto, || {
                    (format!("nothing handles IP protocol {}", ip.protocol), None)
                });
                self.icmp_error(about, cause, IcmpError::ProtocolUnreachable);
            }
        }
    }

    pub(in crate::dataplane) fn defragment(&mut self, link: u32, ip: &Ip, skb: Skb) -> Option<Skb> {
        let Some((offset, _, id)) = ip.fragment else { return Some(skb) };
        let key: FragmentKey = (ip.src, ip.dst, ip.protocol, id);
        let (now, netns) = (self.now, self.st.index);
        if self.st.fragment_bytes + skb.bytes.len() > FRAGMENT_BYTES {
            let why = || ("too many fragments wait for their rest (ipfrag_high_thresh)".into(), None);
            self.drop(skb, Some(link), Stage::Input, DropReason::NotSpecified, why);
            return None;
        }
        let pieces = self.st.fragments.entry(key).or_insert_with(|| {
            self.io.wake_at(now + FRAGMENT_WAIT, Timer::Fragments { netns, key });
            Pieces { frames: alloc::vec::Vec::new(), bytes: 0, first_at: now }
        });
        let again = |piece: &Skb| piece.ip().and_then(|ip| ip.fragment).is_some_and(|(at, ..)| at == offset);
        if pieces.frames.iter().any(again) {
            let why = || (format!("the piece at {offset} is there already"), None);
            self.drop(skb, Some(link), Stage::Input, DropReason::DupFrag, why);
            return None;
        }
        pieces.bytes += skb.bytes.len();
        self.st.fragment_bytes += skb.bytes.len();
        pieces.frames.push(skb);
        let whole = reassemble(&pieces.frames)?;
        let pieces = self.st.fragments.remove(&key)?;
        self.st.fragment_bytes = self.st.fragment_bytes.saturating_sub(pieces.bytes);
        let last = pieces.frames.last()?;
        let relays = last.relays;
        let mut skb = Skb::new(whole, last.flow, last.last);
        skb.relays = relays;
        self.note(&mut skb, Some(link), Stage::Input, || (EventKind::Reassembled, None));
        Some(skb)
    }

    pub(super) fn fragments_timeout(&mut self, key: FragmentKey) {
        let stale = |p: &Pieces, now: Instant| now.saturating_since(p.first_at) >= FRAGMENT_WAIT;
        if !self.st.fragments.get(&key).is_some_and(|p| stale(p, self.now)) {
            return;
        }
        let Some(pieces) = self.st.fragments.remove(&key) else { return };
        self.st.fragment_bytes = self.st.fragment_bytes.saturating_sub(pieces.bytes);
        let count = pieces.frames.len();
        if let Some(skb) = pieces.frames.into_iter().next() {
            let why = || (fragment_words(count), None);
            self.drop(skb, None, Stage::Input, DropReason::FragReasmTimeout, why);
        }
    }

    fn listener(&self, protocol: Protocol, dst: IpAddr, dport: u16) -> Listener {
        let closed = match bound_socket(self.plan, protocol, dst, dport) {
            Some(bound) if bound.state == SocketState::Listen => return Listener::Socket(bound),
            bound => bound.map(|bound| bound.origin),
        };
        let of_a_client = self.st.connections.client_ports.contains_key(&(protocol, dst, dport));
        match (closed, self.plan.undeclared) {
            (Some(origin), _) => Listener::Nobody(Some(origin)),
            (None, Undeclared::Unsaid) if !of_a_client => Listener::Unsaid,
            (None, Undeclared::Unsaid | Undeclared::Closed) => Listener::Nobody(None),
        }
    }

    /// Notes the delivery to a listener (`None`: nothing says whether there is one); gives the packet back when nobody listens.
    #[allow(clippy::result_large_err, reason = "the packet goes on either way")]
    fn accept(
        &mut self,
        link: u32,
        key: &ConnectionKey,
        skb: Skb,
    ) -> Result<(Skb, Option<Bound>), (Skb, Option<Origin>)> {
        let bound = match self.listener(key.protocol, key.local.0, key.local.1) {
            Listener::Socket(bound) => Some(bound),
            Listener::Unsaid => None,
            Listener::Nobody(origin) => return Err((skb, origin)),
        };
        let mut skb = skb;
        self.note(&mut skb, Some(link), Stage::Socket, || {
            let words =
                |bound: &Bound| format!("{}/{}{}", key.protocol, key.local.1, words_of(&bound.process));
            let listener = bound.as_ref().map(words);
            let origin = bound.as_ref().map(|bound| bound.origin.clone());
            (EventKind::Delivered { listener, port: Some(key.local.1) }, origin)
        });
        Ok((skb, bound))
    }

    fn refuse(&mut self, link: u32, key: &ConnectionKey, skb: Skb, origin: Option<Origin>) -> EventId {
        let (protocol, port) = (key.protocol, key.local.1);
        self.drop(skb, Some(link), Stage::Socket, DropReason::NoSocket, || {
            (format!("nothing listens on {protocol} port {port}"), origin)
        })
    }

    fn hand_to(&mut self, owner: Owner, link: u32, skb: &mut Skb, key: &ConnectionKey) {
        let port = Some(key.local.1);
        self.note(skb, Some(link), Stage::Socket, || {
            (EventKind::Delivered { listener: Some(owner.words().into()), port }, None)
        });
    }

    fn hand_to_client(&mut self, link: u32, skb: &mut Skb, key: &ConnectionKey) {
        let port = Some(key.local.1);
        self.note(skb, Some(link), Stage::Socket, || {
            (EventKind::Delivered { listener: Some("the client".into()), port }, None)
        });
    }

    fn udp_input(&mut self, link: u32, key: ConnectionKey, ip: &Ip, mut skb: Skb) {
        if self.vxlan_input(link, ip, &skb) {
            return;
        }
        if let Some(connection) = self.st.connections.by_key.get_mut(&key) {
            match connection.owner {
                Owner::Client(client) => {
                    connection.state = State::Done;
                    self.hand_to_client(link, &mut skb, &key);
                    self.tell(client, NoticeKind::Answered, skb.last);
                    return;
                }
                Owner::Dialled(client) => {
                    self.hand_to(Owner::Dialled(client), link, &mut skb, &key);
                    self.relay_answered(client, ip, &skb);
                    return;
                }
                Owner::Listener | Owner::Accepted => {}
            }
        }
        match self.accept(link, &key, skb) {
            Ok((skb, Some(bound))) if matches!(bound.process, Process::Relay(_)) => {
                self.relay_datagram(link, key, &bound, ip, skb);
            }
            Ok((skb, _)) => {
                let payload = packet::l4_bytes(&skb.bytes, ip).get(8..).unwrap_or(&[]).to_vec();
                // To a broadcast or multicast address the route chooses who answers (`ip_route_output_key`).
                let source = Some(key.local.0).filter(|addr| self.st.local_link(*addr).is_some());
                let _ = self.send_with(FlowKind::Reply, skb.last, source, key.remote.0, 0, |meta| {
                    packet::udp(meta, key.local.1, key.remote.1, &payload)
                });
            }
            Err((skb, origin)) => {
                let about = skb.clone();
                let cause = self.refuse(link, &key, skb, origin);
                self.icmp_error(about, cause, IcmpError::PortUnreachable);
            }
        }
    }

    pub(super) fn echo_answered(&mut self, link: u32, key: ConnectionKey, mut skb: Skb) {
        self.hand_to_client(link, &mut skb, &key);
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        if connection.state == State::Done {
            return;
        }
        connection.state = State::Done;
        if let Owner::Client(client) = connection.owner {
            self.tell(client, NoticeKind::Answered, skb.last);
        }
    }

    fn sctp_input(&mut self, link: u32, key: ConnectionKey, ip: &Ip, mut skb: Skb) {
        let Some((chunk, _, peer_tag)) = packet::chunk_of(packet::l4_bytes(&skb.bytes, ip)) else {
            let why = || ("no SCTP chunk".into(), None);
            self.drop(skb, Some(link), Stage::Socket, DropReason::PktTooSmall, why);
            return;
        };
        let own_tag = initial_sequence(&key);
        let answer = |stack: &mut Self, kind, cause, tag, chunk| {
            let _ = stack.send_with(kind, cause, Some(key.local.0), key.remote.0, 0, |meta| {
                packet::sctp(meta, key.local.1, key.remote.1, tag, chunk, own_tag)
            });
        };
        let known = self.st.connections.by_key.get(&key).and_then(|c| match c.owner {
            Owner::Client(client) => Some((client, c.state)),
            Owner::Listener | Owner::Accepted | Owner::Dialled(_) => None,
        });
        match (chunk, known) {
            (Chunk::Init, _) => match self.accept(link, &key, skb) {
                Ok((skb, _)) => answer(self, FlowKind::Reply, skb.last, peer_tag, Chunk::InitAck),
                Err((skb, origin)) => {
                    let cause = self.refuse(link, &key, skb, origin);
                    answer(self, FlowKind::Reply, cause, peer_tag, Chunk::Abort);
                }
            },
            (Chunk::InitAck, Some((client, State::Opening))) => {
                if let Some(connection) = self.st.connections.by_key.get_mut(&key) {
                    connection.state = State::Done;
                }
                self.hand_to_client(link, &mut skb, &key);
                answer(self, FlowKind::Data, skb.last, peer_tag, Chunk::CookieEcho);
                self.tell(client, NoticeKind::Connected, skb.last);
            }
            (Chunk::Abort, Some((client, state))) if state != State::Done => {
                if let Some(connection) = self.st.connections.by_key.get_mut(&key) {
                    connection.state = State::Done;
                }
                self.hand_to_client(link, &mut skb, &key);
                self.tell(client, NoticeKind::Refused, skb.last);
            }
            (Chunk::CookieEcho, _) => match self.accept(link, &key, skb) {
                Ok((skb, _)) => answer(self, FlowKind::Data, skb.last, peer_tag, Chunk::CookieAck),
                Err((skb, origin)) => {
                    self.refuse(link, &key, skb, origin);
                }
            },
            (Chunk::InitAck | Chunk::Abort | Chunk::CookieAck | Chunk::Other(_), _) => {
                self.hand_to_client(link, &mut skb, &key);
            }
        }
    }
}

fn build_first(meta: &packet::Ipv4Meta, client: &Client, seq: u32, mss: u16) -> alloc::vec::Vec<u8> {
    let payload = alloc::vec![0x6b; usize::from(client.payload)];
    match client.protocol {
        Protocol::Tcp => {
            let segment = packet::TcpSegment {
                sport: client.sport,
                dport: client.dport,
                seq,
                syn: true,
                mss: Some(mss),
                ..Default::default()
            };
            packet::tcp(meta, &segment, &[])
        }
        Protocol::Udp => packet::udp(meta, client.sport, client.dport, &payload),
        Protocol::Sctp => packet::sctp(meta, client.sport, client.dport, 0, Chunk::Init, seq),
        Protocol::Icmp => packet::icmp_echo(meta, false, client.sport, 1, &payload),
    }
}

/// Where a connection's sequence numbers begin: the kernel hashes the same fields with a secret (RFC 6528).
fn initial_sequence(key: &ConnectionKey) -> u32 {
    let ip = Ip {
        src: key.local.0,
        dst: key.remote.0,
        protocol: key.protocol.number(Family::of(key.remote.0)),
        len: 0,
        l4: 0,
        ports: Some((key.local.1, key.remote.1)),
        fragment: None,
        dont_fragment: true,
    };
    packet::flow_hash(&ip, true)
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Answered => f.write_str("answered"),
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Closed => f.write_str("closed by the other side"),
            Self::Failed(failure) => write!(f, "{failure}"),
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}

/// What a trace says of a process beside its port.
fn words_of(process: &Process) -> String {
    match process {
        Process::Http { status } if *status != 200 => format!(", which answers HTTP {status}"),
        Process::Relay(relay) => match relay.backends.as_slice() {
            [] => ", which has nobody to hand it to".into(),
            [only] => format!(", which hands it to {}", core::net::SocketAddr::new(only.addr, only.port)),
            several => format!(", which hands it to one of {} backends", several.len()),
        },
        Process::Http { .. } | Process::Echo => String::new(),
    }
}
