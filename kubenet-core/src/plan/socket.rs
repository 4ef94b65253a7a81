//! Sockets and the processes behind them.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Origin, Protocol};
use crate::addr::Family;

/// A bound socket, as `ss -lntu` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Its transport.
    pub protocol: Protocol,
    /// The bound address; `None` for any address of both families.
    pub addr: Option<IpAddr>,
    /// The bound link, if any (`%eth0`).
    pub dev: Option<Arc<str>>,
    /// The port.
    pub port: u16,
    /// Whether anything listens there.
    pub state: SocketState,
    /// Who answers.
    pub process: Process,
    /// Why we think so.
    pub origin: Origin,
}

/// Whether a port is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketState {
    /// A process listens.
    Listen,
    /// The input proves that nobody does.
    Closed,
}

/// What a port does for which there is no [`Socket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Undeclared {
    /// Nothing listens: RST, or port unreachable.
    Closed,
    /// Nothing says whether a process listens: counts as delivered, with that assumption named.
    Unsaid,
}

/// What answers behind a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Process {
    /// Accepts, and sends back what it gets.
    Echo,
    /// Accepts, and hands what it gets to one of its backends over a connection of its own.
    Relay(Arc<Relay>),
    /// Accepts, and answers any HTTP request with this status.
    Http {
        /// The status code.
        status: u16,
    },
}

/// A process that hands each client to one of several backends.
///
/// The backends are shuffled when the process learns of them and then take turns, so that the first client gets any of them with
/// the same chance, and each of the next clients one that was not asked in this round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relay {
    /// Whom it asks. Where there is nobody, a connection is accepted and closed.
    pub backends: Vec<Backend>,
    /// For how long after its last connection a client's address is kept to the backend that it had.
    pub affinity: Option<Duration>,
    /// For how long a UDP client's socket to its backend is kept without a packet.
    pub udp_idle: Duration,
}

/// Whom a [`Relay`] may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its address.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// Why it is one.
    pub origin: Origin,
}

/// Sockets that are made when a packet asks for them.
pub trait SocketSupply: Debug + Send + Sync {
    /// The socket bound to any address of a family at a port.
    fn socket(&self, protocol: Protocol, family: Family, port: u16) -> Option<Socket>;

    /// All of them, in the order of protocol and port.
    fn whole(&self) -> Vec<Socket>;
}

/// The sockets of a namespace besides those that its plan lists.
#[derive(Clone, Debug, Default)]
pub enum MoreSockets {
    /// None.
    #[default]
    None,
    /// They are made when a packet asks for them.
    Supplied(Arc<dyn SocketSupply>),
}

impl MoreSockets {
    /// All of them. O(sockets).
    pub fn whole(&self) -> Vec<Socket> {
        match self {
            Self::None => Vec::new(),
            Self::Supplied(supply) => supply.whole(),
        }
    }

    /// The socket bound to any address of a family at a port.
    pub fn socket(&self, protocol: Protocol, family: Family, port: u16) -> Option<Socket> {
        match self {
            Self::None => None,
            Self::Supplied(supply) => supply.socket(protocol, family, port),
        }
    }

    /// Whether there are none for certain.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl PartialEq for MoreSockets {
    /// By the sockets, however they are held. O(sockets).
    fn eq(&self, other: &Self) -> bool {
        self.whole() == other.whole()
    }
}

impl Serialize for MoreSockets {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.whole().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MoreSockets {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sockets = Vec::<Socket>::deserialize(deserializer)?;
        Ok(if sockets.is_empty() { Self::None } else { Self::Supplied(Arc::new(Listed(sockets))) })
    }
}

/// Sockets that are all there.
#[derive(Debug)]
struct Listed(Vec<Socket>);

impl SocketSupply for Listed {
    fn socket(&self, protocol: Protocol, family: Family, port: u16) -> Option<Socket> {
        let bound = |addr: Option<IpAddr>| addr.is_none_or(|addr| Family::of(addr) == family);
        let at = |socket: &&Socket| socket.protocol == protocol && socket.port == port && bound(socket.addr);
        self.0.iter().find(at).cloned()
    }

    fn whole(&self) -> Vec<Socket> {
        self.0.clone()
    }
}
