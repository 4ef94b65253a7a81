//! Sockets and the processes behind them.

use alloc::sync::Arc;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Origin, Protocol};

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
    /// Accepts, and opens a connection of its own to somewhere else.
    TcpRelay {
        /// Where to.
        to: (IpAddr, u16),
    },
    /// Accepts, and answers any HTTP request with this status.
    Http {
        /// The status code.
        status: u16,
    },
}
