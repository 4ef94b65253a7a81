//! IPVS: virtual servers and the real servers behind them.
//!
//! As `ipvsadm -Sn` and `/proc/net/ip_vs` show them. What a scheduler does stands in `net/netfilter/ipvs/ip_vs_*.c`.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Family, Origin};

/// One virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServer {
    /// Which packets it takes.
    pub id: VirtualId,
    /// How it chooses.
    pub scheduler: Scheduler,
    /// The three bits that a scheduler may use, lowest first: of `sh` and `mh`, whether it falls back to another server, and
    /// whether the port counts.
    pub scheduler_flags: [bool; 3],
    /// Each packet is scheduled on its own (`--ops`; UDP).
    pub one_packet: bool,
    /// A client keeps its server.
    pub persistence: Option<Persistence>,
    /// The persistence engine, such as `sip`.
    pub persistence_engine: Option<Arc<str>>,
    /// Its real servers, in order.
    pub servers: Vec<RealServer>,
    /// Why it is there.
    pub origin: Origin,
}

impl VirtualServer {
    /// A virtual server without real servers, persistence and flags.
    pub const fn new(id: VirtualId, scheduler: Scheduler, origin: Origin) -> Self {
        Self {
            id,
            scheduler,
            scheduler_flags: [false; 3],
            one_packet: false,
            persistence: None,
            persistence_engine: None,
            servers: Vec::new(),
            origin,
        }
    }
}

/// Which packets a virtual server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VirtualId {
    /// Those to an address and a port; port 0: all that no other takes, if persistent.
    Addr {
        /// The transport.
        protocol: IpvsProtocol,
        /// The address.
        addr: IpAddr,
        /// The port.
        port: u16,
    },
    /// Those with a mark.
    Fwmark {
        /// The family.
        family: Family,
        /// The mark, not 0.
        mark: u32,
    },
}

/// The transports that IPVS has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvsProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// How a virtual server chooses a real one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    Wlc,
    /// Locality-based least connections.
    Lblc,
    /// The same with a set of servers for each destination.
    Lblcr,
    /// By a hash of the source.
    Sh,
    /// By a hash of the destination.
    Dh,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Maglev hashing.
    Mh,
    /// One that the model does not know: whom it chooses is unknown.
    Other(Arc<str>),
}

impl Scheduler {
    /// The name that the kernel has for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Sh => "sh",
            Self::Dh => "dh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Mh => "mh",
            Self::Other(name) => name,
        }
    }

    /// The scheduler with this name; one that is not known is [`Scheduler::Other`].
    pub fn from_name(name: &str) -> Self {
        match name {
            "rr" => Self::Rr,
            "wrr" => Self::Wrr,
            "lc" => Self::Lc,
            "wlc" => Self::Wlc,
            "lblc" => Self::Lblc,
            "lblcr" => Self::Lblcr,
            "sh" => Self::Sh,
            "dh" => Self::Dh,
            "sed" => Self::Sed,
            "nq" => Self::Nq,
            "mh" => Self::Mh,
            other => Self::Other(other.into()),
        }
    }
}

/// How long a client keeps its server, and what counts as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Persistence {
    /// Seconds since its last connection ended.
    pub timeout_secs: u32,
    /// The bits of the source address that tell clients apart, the highest first; all of them unless set.
    pub mask: IpAddr,
}

/// How many connections a real server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RealServerCounts {
    /// Connections that are established.
    pub active: u32,
    /// Connections in any other state.
    pub inactive: u32,
}

/// One real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RealServer {
    /// Its address.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// How many connections it gets in comparison; 0: no new ones.
    pub weight: u32,
    /// How packets get there.
    pub forwarding: Forwarding,
    /// With more connections than this it gets no new ones; 0: no limit.
    pub upper_threshold: u32,
    /// With fewer than this it gets new ones again; 0: three quarters of the upper.
    pub lower_threshold: u32,
    /// How many connections it has, if the listing says.
    pub counts: Option<RealServerCounts>,
    /// Why it is there.
    pub origin: Origin,
}

impl RealServer {
    /// A real server of weight 1, reached by NAT.
    pub const fn new(addr: IpAddr, port: u16, origin: Origin) -> Self {
        Self {
            addr,
            port,
            weight: 1,
            forwarding: Forwarding::Masquerade,
            upper_threshold: 0,
            lower_threshold: 0,
            counts: None,
            origin,
        }
    }
}

/// How packets get to a real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Forwarding {
    /// The destination is translated (`-m`, `Masq`).
    Masquerade,
    /// A tunnel (`-i`, `Tunnel`); what kind, if not IP in IP, as text: `--tun-type gre --tun-nocsum`.
    Tunnel(Option<Arc<str>>),
    /// Only the next hop changes (`-g`, `Route`).
    Route,
    /// The server is this machine (`Local`).
    Local,
}
