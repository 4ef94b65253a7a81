//! Faults that a user adds to the network, one line each.
//!
//! ```text
//! link-down WHERE dev LINK
//! route-removed WHERE DST
//! route-replaced WHERE DST [via ADDR] [dev LINK]
//! route-replaced WHERE blackhole|unreachable|prohibit DST
//! neighbour-silent WHERE dev LINK
//! mtu WHERE dev LINK BYTES
//! ip-forward-off WHERE
//! duplicate-address WHERE dev LINK ADDR/LEN
//! ```
//!
//! `WHERE` is a node's name, `gateway`, or a pod as `NAMESPACE/NAME`. `DST` is a prefix, an address or `default` (of the
//! family of `ADDR`, else IPv4; `::/0` for IPv6). The words behind `WHERE` are those of `ip route` and `ip link`.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::plan::RouteKind;

/// The place of a fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Where {
    /// A node, by its name.
    Node(Arc<str>),
    /// The nodes' gateway.
    Gateway,
    /// A pod.
    Pod {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => f.write_str(name),
            Self::Gateway => f.write_str("gateway"),
            Self::Pod { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

/// Something that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A link is administratively down.
    LinkDown {
        /// Where.
        at: Where,
        /// The link's name.
        dev: Arc<str>,
    },
    /// Every route for this very prefix is gone.
    RouteRemoved {
        /// Where.
        at: Where,
        /// The prefix.
        dst: IpNet,
    },
    /// The routes for this very prefix are replaced by one other.
    RouteReplaced {
        /// Where.
        at: Where,
        /// The prefix.
        dst: IpNet,
        /// What the new route does: `Unicast`, `Blackhole`, `Unreachable` or `Prohibit`.
        kind: RouteKind,
        /// Its router.
        via: Option<IpAddr>,
        /// Its link.
        dev: Option<Arc<str>>,
    },
    /// Nobody answers ARP or NDP on this link.
    NeighbourSilent {
        /// Where.
        at: Where,
        /// The link's name.
        dev: Arc<str>,
    },
    /// A link has another MTU.
    Mtu {
        /// Where.
        at: Where,
        /// The link's name.
        dev: Arc<str>,
        /// The MTU in bytes.
        bytes: u32,
    },
    /// `net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding` are 0.
    IpForwardOff {
        /// Where.
        at: Where,
    },
    /// A link has an address that belongs to somebody else.
    DuplicateAddress {
        /// Where.
        at: Where,
        /// The link's name.
        dev: Arc<str>,
        /// The address with its prefix length.
        addr: IpNet,
    },
}

impl Fault {
    /// Where it is.
    pub const fn at(&self) -> &Where {
        match self {
            Self::LinkDown { at, .. }
            | Self::RouteRemoved { at, .. }
            | Self::RouteReplaced { at, .. }
            | Self::NeighbourSilent { at, .. }
            | Self::Mtu { at, .. }
            | Self::IpForwardOff { at }
            | Self::DuplicateAddress { at, .. } => at,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkDown { at, dev } => write!(f, "link-down {at} dev {dev}"),
            Self::RouteRemoved { at, dst } => write!(f, "route-removed {at} {dst}"),
            Self::RouteReplaced { at, dst, kind, via, dev } => {
                let kind = match kind {
                    RouteKind::Blackhole => "blackhole ",
                    RouteKind::Unreachable => "unreachable ",
                    RouteKind::Prohibit => "prohibit ",
                    RouteKind::Unicast
                    | RouteKind::Local
                    | RouteKind::Broadcast
                    | RouteKind::Anycast
                    | RouteKind::Multicast
                    | RouteKind::Throw => "",
                };
                write!(f, "route-replaced {at} {kind}{dst}")?;
                if let Some(via) = via {
                    write!(f, " via {via}")?;
                }
                if let Some(dev) = dev {
                    write!(f, " dev {dev}")?;
                }
                Ok(())
            }
            Self::NeighbourSilent { at, dev } => write!(f, "neighbour-silent {at} dev {dev}"),
            Self::Mtu { at, dev, bytes } => write!(f, "mtu {at} dev {dev} {bytes}"),
            Self::IpForwardOff { at } => write!(f, "ip-forward-off {at}"),
            Self::DuplicateAddress { at, dev, addr } => write!(f, "duplicate-address {at} dev {dev} {addr}"),
        }
    }
}

/// The line is not a fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("fault '{text}': expected {expected} at character {}, found {found}", offset + 1)]
pub struct FaultError {
    /// The whole line.
    pub text: String,
    /// Where it goes wrong, in characters from 0.
    pub offset: usize,
    /// What should stand there.
    pub expected: &'static str,
    /// What stands there.
    pub found: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut words = Words { text, at: 0 };
        let (start, kind) = words.next();
        let fault = match kind {
            "link-down" => {
                let at = words.place()?;
                Self::LinkDown { at, dev: words.dev()? }
            }
            "route-removed" => {
                let at = words.place()?;
                let (offset, word) = words.next();
                Self::RouteRemoved { at, dst: words.prefix(offset, word, None)? }
            }
            "route-replaced" => words.route_replaced()?,
            "neighbour-silent" => {
                let at = words.place()?;
                Self::NeighbourSilent { at, dev: words.dev()? }
            }
            "mtu" => {
                let at = words.place()?;
                let dev = words.dev()?;
                Self::Mtu { at, dev, bytes: words.parse("an MTU in bytes")? }
            }
            "ip-forward-off" => Self::IpForwardOff { at: words.place()? },
            "duplicate-address" => {
                let at = words.place()?;
                let dev = words.dev()?;
                Self::DuplicateAddress { at, dev, addr: words.parse("an address with its prefix length")? }
            }
            found => return Err(words.error(start, FAULTS, found)),
        };
        match words.next() {
            (_, "") => Ok(fault),
            (offset, found) => Err(words.error(offset, "nothing more", found)),
        }
    }
}

const FAULTS: &str =
    "link-down, route-removed, route-replaced, neighbour-silent, mtu, ip-forward-off or duplicate-address";

/// Reads a line word by word. The empty word is the end.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    /// The next word and its byte offset.
    fn next(&mut self) -> (usize, &'a str) {
        let rest = self.text.get(self.at..).unwrap_or("");
        let trimmed = rest.trim_start();
        let start = self.at + rest.len() - trimmed.len();
        let word = trimmed.split_whitespace().next().unwrap_or("");
        self.at = start + word.len();
        (start, word)
    }

    fn error(&self, byte: usize, expected: &'static str, found: &str) -> FaultError {
        let offset = self.text.get(..byte).map_or(0, |before| before.chars().count());
        let found = if found.is_empty() { "the end".into() } else { format!("'{found}'") };
        FaultError { text: self.text.into(), offset, expected, found }
    }

    fn parse<T: FromStr>(&mut self, expected: &'static str) -> Result<T, FaultError> {
        let (offset, word) = self.next();
        word.parse().map_err(|_| self.error(offset, expected, word))
    }

    fn place(&mut self) -> Result<Where, FaultError> {
        const EXPECTED: &str = "a node, 'gateway' or a pod as NAMESPACE/NAME";
        let (offset, word) = self.next();
        match word.split_once('/') {
            None if word == "gateway" => Ok(Where::Gateway),
            None if !word.is_empty() => Ok(Where::Node(word.into())),
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Where::Pod { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(self.error(offset, EXPECTED, word)),
        }
    }

    fn dev(&mut self) -> Result<Arc<str>, FaultError> {
        match self.next() {
            (_, "dev") => self.link(),
            (offset, found) => Err(self.error(offset, "'dev'", found)),
        }
    }

    fn link(&mut self) -> Result<Arc<str>, FaultError> {
        match self.next() {
            (offset, "") => Err(self.error(offset, "a link", "")),
            (_, link) => Ok(link.into()),
        }
    }

    fn prefix(&self, offset: usize, word: &str, family_of: Option<IpAddr>) -> Result<IpNet, FaultError> {
        let any = match family_of {
            Some(IpAddr::V6(_)) => IpNet::V6(ipnet::Ipv6Net::default()),
            Some(IpAddr::V4(_)) | None => IpNet::V4(ipnet::Ipv4Net::default()),
        };
        if word == "default" {
            return Ok(any);
        }
        let addr = word.parse::<IpAddr>().map(IpNet::from);
        addr.or_else(|_| word.parse::<IpNet>().map(|net| net.trunc()))
            .map_err(|_| self.error(offset, "a prefix, an address or 'default'", word))
    }

    fn route_replaced(&mut self) -> Result<Fault, FaultError> {
        let at = self.place()?;
        let (mut offset, mut word) = self.next();
        let kind = match word {
            "blackhole" => RouteKind::Blackhole,
            "unreachable" => RouteKind::Unreachable,
            "prohibit" => RouteKind::Prohibit,
            _ => RouteKind::Unicast,
        };
        if kind != RouteKind::Unicast {
            (offset, word) = self.next();
            let dst = self.prefix(offset, word, None)?;
            return Ok(Fault::RouteReplaced { at, dst, kind, via: None, dev: None });
        }
        self.prefix(offset, word, None)?;
        let (mut via, mut dev) = (None, None);
        loop {
            match self.next() {
                (_, "via") if via.is_none() => via = Some(self.parse("a router's address")?),
                (_, "dev") if dev.is_none() => dev = Some(self.link()?),
                (_, "") if via.is_some() || dev.is_some() => break,
                (offset, found) => return Err(self.error(offset, "'via ADDR' or 'dev LINK'", found)),
            }
        }
        let dst = self.prefix(offset, word, via)?;
        Ok(Fault::RouteReplaced { at, dst, kind, via, dev })
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
