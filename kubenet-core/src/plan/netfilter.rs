//! Netfilter base chains and rules.
//!
//! So far only what a network without Services needs: address, link, protocol and port matches with accept, drop and
//! "not known". A rule is data; what a match means for a packet stands in [`Match::eval`].

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Origin, Protocol};

/// What the input cannot tell us, and how to find out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Unknown {
    /// Why the answer is not known.
    pub why: String,
    /// What would settle it: a command or a setting.
    pub what_would_settle_it: String,
}

/// Three-valued truth: yes, no, or not known and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    Yes,
    /// It does not hold.
    No,
    /// The model carries the condition but does not know what it says of this packet.
    Unknown(Unknown),
}

/// Where a chain hangs (Linux `enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// To a local socket.
    Input,
    /// From one link to another.
    Forward,
    /// From a local socket.
    Output,
    /// After routing, before the link.
    Postrouting,
}

/// A base chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Its name.
    pub name: Arc<str>,
    /// Where it hangs.
    pub hook: Hook,
    /// Lower comes first (0 = filter, -100 = dstnat, 100 = srcnat).
    pub priority: i32,
    /// What happens to a packet that no rule decides.
    pub policy: Action,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// One rule: when every match holds, the action is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// All of these must hold.
    pub matches: Vec<Match>,
    /// What is done.
    pub action: Action,
    /// Why it is there.
    pub origin: Origin,
}

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Match {
    /// The source address is in one of these prefixes.
    Source(Vec<IpNet>),
    /// The destination address is in one of these prefixes.
    Destination(Vec<IpNet>),
    /// The input link has this name.
    Iif(Arc<str>),
    /// The output link has this name.
    Oif(Arc<str>),
    /// The transport.
    Protocol(Protocol),
    /// The destination port is in this inclusive range.
    Dport(u16, u16),
    /// This condition does not hold.
    Not(Box<Self>),
    /// A condition that is carried but not modelled.
    Other(Unknown),
}

/// What a rule or a chain's policy does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Ends this base chain.
    Accept,
    /// Ends the packet.
    Drop,
    /// The packet's fate is not known from here on.
    Unknown(Unknown),
}
