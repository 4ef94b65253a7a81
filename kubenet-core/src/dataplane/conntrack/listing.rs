//! Connections as a listing has them: read from one, and told as one.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Connection, Conntrack, TcpState};
use crate::dataplane::netfilter::Tuple;
use crate::packet::number;
use crate::plan::netfilter::CtStatus;
use crate::plan::{ConntrackEntry, ConntrackHold, ConntrackKey, ConntrackTuple, Origin};
use crate::time::{Duration, Instant};

/// What an entry without a time in its listing still has to live.
const UNSAID: u32 = 600;

impl Connection {
    /// The connection of a line of `conntrack -L`.
    pub fn from_entry(entry: &ConntrackEntry, now: Instant) -> Self {
        let orig = tuple(&entry.original, entry.protocol);
        let reply = tuple(&entry.reply, entry.protocol);
        let mut connection = Self::new(orig, now);
        connection.reply = reply;
        connection.mark = entry.mark.unwrap_or(0);
        if entry.protocol == number::TCP {
            connection.tcp = entry.state.as_deref().and_then(TcpState::from_name);
        }
        let secs = entry.timeout_secs.unwrap_or(UNSAID);
        connection.expires = now + Duration::from_secs(u64::from(secs));
        connection.bound = (true, true);
        connection.set(CtStatus::Confirmed);
        if !entry.unreplied {
            connection.set(CtStatus::SeenReply);
        }
        match entry.hold {
            ConntrackHold::Assured | ConntrackHold::Offload | ConntrackHold::HwOffload => {
                connection.set(CtStatus::Assured);
            }
            ConntrackHold::Loose => {}
        }
        let plain = orig.inverse();
        if (plain.dst, plain.dport) != (reply.dst, reply.dport) {
            connection.set(CtStatus::Snat);
        }
        if (plain.src, plain.sport) != (reply.src, reply.sport) {
            connection.set(CtStatus::Dnat);
        }
        connection
    }

    /// Its line of `conntrack -L`.
    pub fn to_entry(&self, now: Instant) -> ConntrackEntry {
        let left = self.expires.saturating_since(now).as_secs();
        ConntrackEntry {
            protocol: self.orig.protocol,
            timeout_secs: Some(u32::try_from(left).unwrap_or(u32::MAX)),
            state: self.tcp.map(|state| Arc::from(state.name())),
            original: listed(&self.orig),
            reply: listed(&self.reply),
            unreplied: !self.is(CtStatus::SeenReply),
            hold: if self.is(CtStatus::Assured) { ConntrackHold::Assured } else { ConntrackHold::Loose },
            mark: Some(self.mark),
            secctx: None,
            zone: 0,
            helper: None,
            uses: Some(1),
            id: None,
            carried: None,
            origin: Origin::implied("connection tracking"),
        }
    }
}

impl Conntrack {
    /// The table as `conntrack -L` lists it, in order of the original tuples. O(n log n).
    pub fn entries(&self, now: Instant) -> Vec<ConntrackEntry> {
        self.list(now).into_iter().map(|connection| connection.to_entry(now)).collect()
    }
}

fn tuple(listed: &ConntrackTuple, protocol: u8) -> Tuple {
    let (sport, dport) = match listed.key {
        ConntrackKey::Ports(sport, dport) | ConntrackKey::Gre(sport, dport) => (sport, dport),
        ConntrackKey::Icmp { kind, code, id } => (id, u16::from_be_bytes([kind, code])),
        ConntrackKey::Nothing => (0, 0),
    };
    Tuple { src: listed.src, dst: listed.dst, sport, dport, protocol }
}

fn listed(tuple: &Tuple) -> ConntrackTuple {
    let key = match tuple.protocol {
        number::TCP | number::UDP | number::SCTP => ConntrackKey::Ports(tuple.sport, tuple.dport),
        number::ICMP | number::ICMPV6 => {
            let [kind, code] = tuple.dport.to_be_bytes();
            ConntrackKey::Icmp { kind, code, id: tuple.sport }
        }
        _ => ConntrackKey::Nothing,
    };
    ConntrackTuple { src: tuple.src, dst: tuple.dst, key, zone: None, counters: None }
}
