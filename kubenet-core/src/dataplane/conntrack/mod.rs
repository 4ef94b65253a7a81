//! Connection tracking: which connection a packet belongs to, and in which state it is.
//!
//! In: a packet's tuple and flags, the time. Out: its connection and its state in it. An entry is two tuples, the first
//! packet's and the reply's that is expected; NAT edits the latter (`dataplane::nat`). A look-up is one hash probe;
//! entries end by their timeouts, which are checked when they are met.
//!
//! Sources: `net/netfilter/nf_conntrack_core.c` (`nf_conntrack_in`, `resolve_normal_ct`, `__nf_conntrack_confirm`),
//! `nf_conntrack_proto_{tcp,udp,icmp,icmpv6,sctp,generic}.c`. Zones are carried by rules and not modelled here. Not modelled:
//! expectations of helpers (FTP …), the TCP window check, early drop by hash bucket (the oldest entry that is not assured
//! goes instead).

mod listing;
mod tcp;
#[cfg(test)]
mod tests;
mod tuple;
mod tuples;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

pub use self::tcp::TcpState;
use self::tuples::Tuples;
use super::netfilter::{CtSeen, Tuple};
use crate::addr::Family;
use crate::packet::{self, Ip, number};
use crate::plan::ConntrackSysctls;
use crate::plan::netfilter::{CtState, CtStatus};
use crate::time::{Duration, Instant};

/// How long an entry lives after its last packet (`net.netfilter.nf_conntrack_*_timeout*`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    tcp_syn_sent: Duration,
    tcp_syn_recv: Duration,
    tcp_established: Duration,
    tcp_fin_wait: Duration,
    tcp_close_wait: Duration,
    tcp_last_ack: Duration,
    tcp_time_wait: Duration,
    tcp_close: Duration,
    udp: Duration,
    udp_stream: Duration,
    icmp: Duration,
    sctp_established: Duration,
    generic: Duration,
}

impl Timeouts {
    fn new(sysctls: &ConntrackSysctls) -> Self {
        let secs = |n: u32| Duration::from_secs(u64::from(n));
        Self {
            tcp_syn_sent: secs(120),
            tcp_syn_recv: secs(60),
            tcp_established: secs(sysctls.tcp_established_secs),
            tcp_fin_wait: secs(120),
            tcp_close_wait: secs(sysctls.tcp_close_wait_secs),
            tcp_last_ack: secs(30),
            tcp_time_wait: secs(120),
            tcp_close: secs(10),
            udp: secs(sysctls.udp_secs),
            udp_stream: secs(sysctls.udp_stream_secs),
            icmp: secs(30),
            sctp_established: secs(210),
            generic: secs(600),
        }
    }
}

/// A connection: what `conntrack -L` prints as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The first packet's addresses and ports as they were when it was first seen.
    pub orig: Tuple,
    /// The reply that is expected; where it is not the reverse of `orig`, there is NAT.
    pub reply: Tuple,
    /// Bits of [`CtStatus`].
    pub status: u32,
    /// Its mark.
    pub mark: u32,
    /// The state of TCP connections.
    pub tcp: Option<TcpState>,
    /// When it ends, if no packet comes.
    pub expires: Instant,
    began: Instant,
    /// NAT was decided for its source and its destination, if only to leave them alone.
    pub(super) bound: (bool, bool),
}

impl Connection {
    fn new(orig: Tuple, now: Instant) -> Self {
        Self {
            orig,
            reply: orig.inverse(),
            status: 0,
            mark: 0,
            tcp: (orig.protocol == number::TCP).then_some(TcpState::None),
            expires: now,
            began: now,
            bound: (false, false),
        }
    }

    /// Whether a status bit is set.
    pub const fn is(&self, status: CtStatus) -> bool {
        self.status & status.bit() != 0
    }

    pub(super) const fn set(&mut self, status: CtStatus) {
        self.status |= status.bit();
    }
}

impl fmt::Display for Connection {
    /// As `conntrack -L` does, but for the time that is left, which depends on when one looks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, icmp) = match self.orig.protocol {
            number::TCP => ("tcp", false),
            number::UDP => ("udp", false),
            number::SCTP => ("sctp", false),
            number::ICMP => ("icmp", true),
            number::ICMPV6 => ("icmpv6", true),
            _ => ("unknown", false),
        };
        write!(f, "{name} {}", self.orig.protocol)?;
        if let Some(state) = self.tcp {
            write!(f, " {state}")?;
        }
        let tuple = |f: &mut fmt::Formatter<'_>, t: &Tuple| {
            write!(f, " src={} dst={}", t.src, t.dst)?;
            if icmp {
                let [kind, code] = t.dport.to_be_bytes();
                write!(f, " type={kind} code={code} id={}", t.sport)
            } else {
                write!(f, " sport={} dport={}", t.sport, t.dport)
            }
        };
        tuple(f, &self.orig)?;
        if !self.is(CtStatus::SeenReply) {
            f.write_str(" [UNREPLIED]")?;
        }
        tuple(f, &self.reply)?;
        if self.is(CtStatus::Assured) {
            f.write_str(" [ASSURED]")?;
        }
        write!(f, " mark={}", self.mark)
    }
}

/// What a packet knows of its connection (`skb->_nfct`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Ct {
    /// Not looked at yet, or INVALID.
    #[default]
    None,
    /// A rule, or its kind, keeps it out.
    Untracked,
    /// It begins a connection that is not in the table before it leaves (`__nf_conntrack_confirm`).
    New(Box<Connection>),
    /// Its connection is in the table.
    Known { id: u32, original: bool, state: CtState },
    /// It is an answer of this machine about a packet whose connection is not in the table (`nf_ct_attach`).
    About { connection: Box<Connection>, original: bool },
}

/// The connections of a namespace.
#[derive(Debug)]
pub struct Conntrack {
    tuples: Tuples,
    entries: Vec<Option<Connection>>,
    free: Vec<u32>,
    timeouts: Timeouts,
    max: usize,
}

/// Why a packet may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// `nf_conntrack_max` entries are there, and none may go.
    #[error("nf_conntrack: table full, dropping packet")]
    Full,
    /// Another connection has one of its tuples (`insert_failed`).
    #[error("another connection has the same addresses and ports (conntrack insert_failed)")]
    Clash,
}

impl Conntrack {
    /// An empty table.
    pub fn new(sysctls: &ConntrackSysctls) -> Self {
        Self {
            tuples: Tuples::default(),
            entries: Vec::new(),
            free: Vec::new(),
            timeouts: Timeouts::new(sysctls),
            max: sysctls.max as usize,
        }
    }

    /// Other settings, from now on.
    pub(super) fn set_sysctls(&mut self, sysctls: &ConntrackSysctls) {
        self.timeouts = Timeouts::new(sysctls);
        self.max = sysctls.max as usize;
    }

    /// How many entries there are, those included whose time is up and that nobody met since.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries that are alive, in order of their original tuples. O(n log n).
    pub fn list(&self, now: Instant) -> Vec<&Connection> {
        let mut list: Vec<_> = self.entries.iter().flatten().filter(|c| c.expires > now).collect();
        list.sort_unstable_by_key(|connection| connection.orig);
        list
    }

    /// Puts an entry in, as a dump tells it or a test wants it.
    ///
    /// # Errors
    /// [`Refused`] when the table is full or a tuple is taken.
    pub fn insert(&mut self, connection: Connection, now: Instant) -> Result<u32, Refused> {
        if self.taken(&connection.orig, now) || self.taken(&connection.reply, now) {
            return Err(Refused::Clash);
        }
        if self.len() >= self.max && !self.make_room(now) {
            return Err(Refused::Full);
        }
        let (orig, reply) = (connection.orig, connection.reply);
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.entries.push(None);
                (self.entries.len() - 1) as u32
            }
        };
        if let Some(slot) = self.entries.get_mut(id as usize) {
            *slot = Some(connection);
        }
        self.tuples.insert(reply, (id, false));
        self.tuples.insert(orig, (id, true));
        Ok(id)
    }

    /// Removes the entries for which `which` holds, as `conntrack -D` does; says how many. O(n).
    pub fn remove(&mut self, which: impl Fn(&Connection) -> bool) -> usize {
        let gone: Vec<u32> = (0_u32..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.as_ref().is_some_and(&which))
            .map(|(id, _)| id)
            .collect();
        gone.iter().for_each(|id| self.forget(*id));
        gone.len()
    }

    /// The entry that a tuple belongs to, and whether it is the original one. One hash probe.
    #[inline]
    pub fn find(&mut self, tuple: &Tuple, now: Instant) -> Option<(u32, bool)> {
        let (id, original) = self.tuples.get(tuple)?;
        if self.entry(id).is_some_and(|c| c.expires > now) {
            return Some((id, original));
        }
        self.forget(id);
        None
    }

    /// Whether a connection that is alive has this tuple.
    pub(super) fn taken(&mut self, tuple: &Tuple, now: Instant) -> bool {
        self.find(tuple, now).is_some()
    }

    /// An entry.
    pub fn entry(&self, id: u32) -> Option<&Connection> {
        self.entries.get(id as usize)?.as_ref()
    }

    pub(super) fn entry_mut(&mut self, id: u32) -> Option<&mut Connection> {
        self.entries.get_mut(id as usize)?.as_mut()
    }

    fn forget(&mut self, id: u32) {
        let Some(slot) = self.entries.get_mut(id as usize) else { return };
        let Some(entry) = slot.take() else { return };
        self.tuples.remove_of(&entry.orig, id);
        self.tuples.remove_of(&entry.reply, id);
        self.free.push(id);
    }

    /// Makes room in a full table: what is over goes, else the oldest entry that is not assured (`early_drop`). O(n).
    fn make_room(&mut self, now: Instant) -> bool {
        if self.remove(|connection| connection.expires <= now) > 0 {
            return true;
        }
        let oldest = (0_u32..)
            .zip(&self.entries)
            .filter_map(|(id, entry)| Some((id, entry.as_ref()?)))
            .filter(|(_, connection)| !connection.is(CtStatus::Assured))
            .min_by_key(|(id, connection)| (connection.began, *id))
            .map(|(id, _)| id);
        match oldest {
            Some(id) => {
                self.forget(id);
                true
            }
            None => false,
        }
    }

    /// Finds a packet's connection, or begins one (`nf_conntrack_in`).
    ///
    /// # Errors
    /// [`Refused::Full`]: it would begin one, and there is no room.
    pub(super) fn track(&mut self, ip: &Ip, frame: &[u8], now: Instant) -> Result<Ct, Refused> {
        if let Some(related) = self.related(ip, frame, now) {
            return Ok(related);
        }
        if is_neighbour_discovery(ip, frame) {
            return Ok(Ct::Untracked);
        }
        let Some(tuple) = Tuple::of(ip, frame) else { return Ok(Ct::None) };
        let flags = tcp_flags(ip, frame);
        if let Some((id, original)) = self.find(&tuple, now) {
            if let Some(known) = self.follow(id, original, flags, now) {
                return Ok(known);
            }
            self.forget(id); // a new connection of the same tuple
        }
        if !tuple.may_begin() {
            return Ok(Ct::None);
        }
        let mut connection = Connection::new(tuple, now);
        let lives = match tuple.protocol {
            number::TCP => match tcp::step(TcpState::None, flags, true) {
                tcp::Step::To(state) => {
                    connection.tcp = Some(state);
                    state.timeout(&self.timeouts)
                }
                tcp::Step::Ignore | tcp::Step::Invalid => return Ok(Ct::None),
            },
            number::UDP => self.timeouts.udp,
            number::ICMP | number::ICMPV6 => self.timeouts.icmp,
            // INIT only; an association that began before is not picked up.
            number::SCTP
                if packet::chunk_of(packet::l4_bytes(frame, ip))
                    .is_some_and(|(chunk, ..)| chunk == packet::Chunk::Init) =>
            {
                Duration::from_secs(3)
            }
            number::SCTP => return Ok(Ct::None),
            _ => self.timeouts.generic,
        };
        connection.expires = now + lives;
        if self.len() >= self.max && !self.make_room(now) {
            return Err(Refused::Full);
        }
        Ok(Ct::New(Box::new(connection)))
    }

    /// A packet of an entry. `None`: it begins another connection with the same addresses and ports.
    fn follow(&mut self, id: u32, original: bool, flags: u8, now: Instant) -> Option<Ct> {
        let timeouts = self.timeouts;
        let entry = self.entry_mut(id)?;
        let seen = entry.is(CtStatus::SeenReply);
        let mut lives = match entry.orig.protocol {
            number::TCP => {
                let before = entry.tcp.unwrap_or(TcpState::None);
                match tcp::step(before, flags, original) {
                    tcp::Step::To(TcpState::SynSent)
                        if matches!(before, TcpState::TimeWait | TcpState::Close) =>
                    {
                        return None;
                    }
                    tcp::Step::To(state) => {
                        entry.tcp = Some(state);
                        if state == TcpState::Close && !seen && !original {
                            // Its only reply is a reset: it ends with this packet.
                            entry.expires = now;
                            return Some(Ct::Known { id, original, state: CtState::Established });
                        }
                        if state == TcpState::Established && before >= TcpState::SynRecv {
                            entry.set(CtStatus::Assured);
                        }
                        state.timeout(&timeouts)
                    }
                    tcp::Step::Ignore => entry.expires.saturating_since(now),
                    tcp::Step::Invalid => return Some(Ct::None),
                }
            }
            number::UDP if seen && now.saturating_since(entry.began) > Duration::from_secs(2) => {
                entry.set(CtStatus::Assured);
                timeouts.udp_stream
            }
            number::UDP => timeouts.udp,
            number::ICMP | number::ICMPV6 => timeouts.icmp,
            number::SCTP if seen => {
                entry.set(CtStatus::Assured);
                timeouts.sctp_established
            }
            number::SCTP => Duration::from_secs(3),
            _ => timeouts.generic,
        };
        if lives == Duration::ZERO {
            lives = Duration::from_nanos(1);
        }
        entry.expires = now + lives;
        let state = match (original, seen, entry.is(CtStatus::Expected)) {
            (false, ..) => {
                entry.set(CtStatus::SeenReply);
                CtState::Established
            }
            (true, true, _) => CtState::Established,
            (true, false, true) => CtState::Related,
            (true, false, false) => CtState::New,
        };
        Some(Ct::Known { id, original, state })
    }

    /// An ICMP error belongs to the connection of the packet that it quotes (`nf_conntrack_inet_error`).
    fn related(&mut self, ip: &Ip, frame: &[u8], now: Instant) -> Option<Ct> {
        let quote = quoted_bytes(ip, frame)?;
        let Some(inner) = Tuple::quoted(ip.family(), quote) else { return Some(Ct::None) };
        let Some((id, original)) = self.find(&inner.inverse(), now) else { return Some(Ct::None) };
        Some(Ct::Known { id, original, state: CtState::Related })
    }

    /// Puts a new connection into the table, when its first packet leaves.
    ///
    /// # Errors
    /// [`Refused`] when another has its place or the table is full.
    pub(super) fn confirm(&mut self, mut connection: Connection, now: Instant) -> Result<Ct, Refused> {
        connection.set(CtStatus::Confirmed);
        let same = |other: &Connection| other.orig == connection.orig && other.reply == connection.reply;
        if let Some((id, true)) = self.find(&connection.orig, now)
            && self.entry(id).is_some_and(same)
        {
            // The same packet again, by another port of a bridge (`nf_ct_resolve_clash`).
            return Ok(Ct::Known { id, original: true, state: CtState::New });
        }
        let id = self.insert(connection, now)?;
        Ok(Ct::Known { id, original: true, state: CtState::New })
    }

    /// A packet's connection, its state in it, and whether it goes as the first one went.
    fn place<'c>(&'c self, ct: &'c Ct) -> Option<(&'c Connection, CtState, bool)> {
        match ct {
            Ct::None | Ct::Untracked => None,
            Ct::New(connection) => Some((connection, CtState::New, true)),
            Ct::About { connection, original } => Some((connection, CtState::Related, *original)),
            Ct::Known { id, original, state } => Some((self.entry(*id)?, *state, *original)),
        }
    }

    /// What rules see of a packet's connection.
    pub(super) fn seen(&self, ct: &Ct) -> Option<CtSeen> {
        let (connection, state, original) = self.place(ct)?;
        let (orig, reply) = (connection.orig, connection.reply);
        Some(CtSeen { state, status: connection.status, mark: connection.mark, original, orig, reply })
    }

    /// The state of a packet in its connection, as rules see it.
    pub(super) fn state(&self, ct: &Ct) -> Option<CtState> {
        self.place(ct).map(|(_, state, _)| state)
    }

    /// The connection that a packet belongs to.
    pub(super) fn of<'c>(&'c self, ct: &'c Ct) -> Option<&'c Connection> {
        self.place(ct).map(|(connection, ..)| connection)
    }

    /// The connection that a packet belongs to, to be changed.
    pub(super) fn of_mut<'c>(&'c mut self, ct: &'c mut Ct) -> Option<&'c mut Connection> {
        match ct {
            Ct::None | Ct::Untracked => None,
            Ct::New(connection) | Ct::About { connection, .. } => Some(connection),
            Ct::Known { id, .. } => self.entry_mut(*id),
        }
    }
}

impl Ct {
    /// Whether the packet goes in the direction of the first one.
    pub(super) const fn original(&self) -> bool {
        match self {
            Self::None | Self::Untracked | Self::New(_) => true,
            Self::Known { original, .. } | Self::About { original, .. } => *original,
        }
    }

    /// What an answer of this machine to the packet knows (`nf_ct_attach`).
    pub(super) fn answer(&self) -> Self {
        match self {
            Self::None | Self::Untracked | Self::About { .. } => Self::None,
            Self::New(connection) => Self::About { connection: connection.clone(), original: false },
            Self::Known { id, original, .. } => {
                Self::Known { id: *id, original: !original, state: CtState::Related }
            }
        }
    }

    /// Whether it is an ICMP error about a connection.
    pub(super) const fn is_related(&self) -> bool {
        matches!(self, Self::Known { state: CtState::Related, .. } | Self::About { .. })
    }
}

/// The bytes that an ICMP error quotes; `None` for other packets.
pub(super) fn quoted_bytes<'f>(ip: &Ip, frame: &'f [u8]) -> Option<&'f [u8]> {
    if ip.fragment.is_some() {
        return None;
    }
    let body = packet::l4_bytes(frame, ip);
    let error = match (ip.protocol, body.first()?) {
        (number::ICMP, kind) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        (number::ICMPV6, kind) => (1..128).contains(kind),
        _ => false,
    };
    if error { body.get(8..) } else { None }
}

/// Neighbour and group discovery is not tracked (`nf_conntrack_icmpv6_error`, `noct_valid_new`).
fn is_neighbour_discovery(ip: &Ip, frame: &[u8]) -> bool {
    ip.family() == Family::V6
        && ip.protocol == number::ICMPV6
        && packet::l4_bytes(frame, ip).first().is_some_and(|kind| matches!(kind, 130..=136 | 143))
}

/// The flag byte of a TCP header; 0 in other packets.
pub(super) fn tcp_flags(ip: &Ip, frame: &[u8]) -> u8 {
    if ip.protocol == number::TCP { packet::l4_bytes(frame, ip).get(13).copied().unwrap_or(0) } else { 0 }
}
