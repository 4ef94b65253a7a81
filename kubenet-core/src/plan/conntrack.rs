//! Entries of the connection tracker, as `conntrack -L` lists them.
//!
//! What a listing says, with as little read into it as that: addresses, what tells flows of a protocol apart, and flags.

use alloc::sync::Arc;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Family, Origin};

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConntrackEntry {
    /// The protocol, by its IP number.
    pub protocol: u8,
    /// Seconds until it goes; `None` in flows that never do so by themselves (offloaded ones).
    pub timeout_secs: Option<u32>,
    /// The state of TCP, SCTP or DCCP: `ESTABLISHED`.
    pub state: Option<Arc<str>>,
    /// The flow as it was first seen.
    pub original: ConntrackTuple,
    /// The flow that counts as its reply.
    pub reply: ConntrackTuple,
    /// No reply was seen.
    pub unreplied: bool,
    /// How firmly it is kept.
    pub hold: ConntrackHold,
    /// The mark, if the listing says it.
    pub mark: Option<u32>,
    /// The security context, if any.
    pub secctx: Option<Arc<str>>,
    /// The zone; 0 for the usual one.
    pub zone: u16,
    /// The helper, such as `ftp`.
    pub helper: Option<Arc<str>>,
    /// How many users hold it.
    pub uses: Option<u32>,
    /// Its number, if the listing says it.
    pub id: Option<u32>,
    /// What has no place here, as text.
    pub carried: Option<Arc<str>>,
    /// Why it is there.
    pub origin: Origin,
}

impl ConntrackEntry {
    /// The family of the original flow.
    pub const fn family(&self) -> Family {
        Family::of(self.original.src)
    }
}

/// How firmly an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConntrackHold {
    /// It may go early when the table is full.
    Loose,
    /// It stays until its timeout (`ASSURED`).
    Assured,
    /// A flow table forwards it (`OFFLOAD`).
    Offload,
    /// A device forwards it (`HW_OFFLOAD`).
    HwOffload,
}

/// One direction of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConntrackTuple {
    /// The source address.
    pub src: IpAddr,
    /// The destination address.
    pub dst: IpAddr,
    /// What tells its flows apart.
    pub key: ConntrackKey,
    /// The zone of this direction alone, if it has one.
    pub zone: Option<u16>,
    /// Packets and bytes, if they are counted.
    pub counters: Option<(u64, u64)>,
}

/// What tells the flows of a protocol apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConntrackKey {
    /// Source and destination port.
    Ports(u16, u16),
    /// Type, code and identifier of ICMP.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
        /// The identifier.
        id: u16,
    },
    /// The two keys of GRE.
    Gre(u16, u16),
    /// Nothing: the addresses alone.
    Nothing,
}
