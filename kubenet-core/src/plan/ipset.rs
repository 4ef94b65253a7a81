//! IP sets (`ipset`): what netfilter's `set` match looks things up in.
//!
//! A set has a type, which says what an entry is made of, part by part: `hash:ip,port` has an address and a port. A match names
//! the same number of directions (`src,dst`), one for each part. Types and options: `ipset(8)` 7.17.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Family, MacAddr, Origin};

/// One set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpSet {
    /// Its name, at most 31 bytes.
    pub name: Arc<str>,
    /// What its entries are made of.
    pub kind: IpSetKind,
    /// The family of its addresses. IPv4 for the types that have none.
    pub family: Family,
    /// What it was created with, in order.
    pub options: Vec<IpSetOption>,
    /// Its entries, in order.
    pub entries: Vec<IpSetEntry>,
    /// Why it is there.
    pub origin: Origin,
}

impl IpSet {
    /// An empty set without options.
    pub fn new(name: impl Into<Arc<str>>, kind: IpSetKind, family: Family, origin: Origin) -> Self {
        let (options, entries) = (Vec::new(), Vec::new());
        Self { name: name.into(), kind, family, options, entries, origin }
    }

    /// How long an entry stays that says nothing itself, in seconds; `None`: entries stay, and cannot say how long.
    pub fn timeout_secs(&self) -> Option<u32> {
        self.options.iter().find_map(|option| match option {
            IpSetOption::Timeout(secs) => Some(*secs),
            IpSetOption::Range(_)
            | IpSetOption::Netmask(_)
            | IpSetOption::Bitmask(_)
            | IpSetOption::Markmask(_)
            | IpSetOption::Other(_) => None,
        })
    }
}

/// The type of a set: how entries are stored, and what each is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IpSetKind {
    /// IPv4 addresses of a range.
    #[serde(rename = "bitmap:ip")]
    BitmapIp,
    /// IPv4 addresses of a range, each with a MAC address that may be missing.
    #[serde(rename = "bitmap:ip,mac")]
    BitmapIpMac,
    /// Ports of any protocol.
    #[serde(rename = "bitmap:port")]
    BitmapPort,
    /// Addresses.
    #[serde(rename = "hash:ip")]
    HashIp,
    /// MAC addresses.
    #[serde(rename = "hash:mac")]
    HashMac,
    /// An address and a MAC address.
    #[serde(rename = "hash:ip,mac")]
    HashIpMac,
    /// An address and a mark.
    #[serde(rename = "hash:ip,mark")]
    HashIpMark,
    /// An address and a port.
    #[serde(rename = "hash:ip,port")]
    HashIpPort,
    /// An address, a port and an address.
    #[serde(rename = "hash:ip,port,ip")]
    HashIpPortIp,
    /// An address, a port and a prefix.
    #[serde(rename = "hash:ip,port,net")]
    HashIpPortNet,
    /// Prefixes; the longest that holds the address decides.
    #[serde(rename = "hash:net")]
    HashNet,
    /// Two prefixes.
    #[serde(rename = "hash:net,net")]
    HashNetNet,
    /// A prefix and a port.
    #[serde(rename = "hash:net,port")]
    HashNetPort,
    /// A prefix, a port and a prefix.
    #[serde(rename = "hash:net,port,net")]
    HashNetPortNet,
    /// A prefix and a link.
    #[serde(rename = "hash:net,iface")]
    HashNetIface,
    /// Other sets, asked one after the other.
    #[serde(rename = "list:set")]
    ListSet,
}

impl IpSetKind {
    /// All types.
    pub const ALL: [Self; 16] = [
        Self::BitmapIp,
        Self::BitmapIpMac,
        Self::BitmapPort,
        Self::HashIp,
        Self::HashMac,
        Self::HashIpMac,
        Self::HashIpMark,
        Self::HashIpPort,
        Self::HashIpPortIp,
        Self::HashIpPortNet,
        Self::HashNet,
        Self::HashNetNet,
        Self::HashNetPort,
        Self::HashNetPortNet,
        Self::HashNetIface,
        Self::ListSet,
    ];

    /// The name that `ipset` has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BitmapIp => "bitmap:ip",
            Self::BitmapIpMac => "bitmap:ip,mac",
            Self::BitmapPort => "bitmap:port",
            Self::HashIp => "hash:ip",
            Self::HashMac => "hash:mac",
            Self::HashIpMac => "hash:ip,mac",
            Self::HashIpMark => "hash:ip,mark",
            Self::HashIpPort => "hash:ip,port",
            Self::HashIpPortIp => "hash:ip,port,ip",
            Self::HashIpPortNet => "hash:ip,port,net",
            Self::HashNet => "hash:net",
            Self::HashNetNet => "hash:net,net",
            Self::HashNetPort => "hash:net,port",
            Self::HashNetPortNet => "hash:net,port,net",
            Self::HashNetIface => "hash:net,iface",
            Self::ListSet => "list:set",
        }
    }

    /// What an entry is made of.
    pub const fn parts(self) -> &'static [IpSetPartKind] {
        use IpSetPartKind::{Addr, Link, Mac, Mark, Net, Port, PortAlone, Set};
        match self {
            Self::BitmapIp | Self::HashIp => &[Addr],
            Self::BitmapIpMac | Self::HashIpMac => &[Addr, Mac],
            Self::BitmapPort => &[PortAlone],
            Self::HashMac => &[Mac],
            Self::HashIpMark => &[Addr, Mark],
            Self::HashIpPort => &[Addr, Port],
            Self::HashIpPortIp => &[Addr, Port, Addr],
            Self::HashIpPortNet => &[Addr, Port, Net],
            Self::HashNet => &[Net],
            Self::HashNetNet => &[Net, Net],
            Self::HashNetPort => &[Net, Port],
            Self::HashNetPortNet => &[Net, Port, Net],
            Self::HashNetIface => &[Net, Link],
            Self::ListSet => &[Set],
        }
    }

    /// Whether a set of this type says a family.
    pub const fn has_family(self) -> bool {
        !matches!(self, Self::BitmapIp | Self::BitmapIpMac | Self::BitmapPort | Self::HashMac | Self::ListSet)
    }
}

/// What one part of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpSetPartKind {
    /// An address.
    Addr,
    /// A prefix.
    Net,
    /// A protocol with a port, or with the type and code of ICMP.
    Port,
    /// A port of any protocol.
    PortAlone,
    /// A MAC address.
    Mac,
    /// A mark.
    Mark,
    /// A link.
    Link,
    /// A set.
    Set,
}

/// What a set was created with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IpSetOption {
    /// The first and the last that a bitmap holds.
    Range(IpSetRange),
    /// Addresses are cut to a prefix of this length before they are stored and looked up.
    Netmask(u8),
    /// Addresses are masked by this one before they are stored and looked up.
    Bitmask(IpAddr),
    /// Marks are masked by this one before they are stored and looked up.
    Markmask(u32),
    /// How long entries stay, in seconds; 0: for ever, unless an entry says so itself.
    Timeout(u32),
    /// What means nothing to a look-up, as text: `hashsize 1024`, `counters`.
    Other(Arc<str>),
}

/// What a bitmap covers, first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IpSetRange {
    /// Addresses.
    Addrs(IpAddr, IpAddr),
    /// Ports.
    Ports(u16, u16),
}

/// One entry of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpSetEntry {
    /// As many parts as [`IpSetKind::parts`] has, each of that kind. Only the MAC address of `bitmap:ip,mac` may be missing.
    pub parts: Vec<IpSetPart>,
    /// What it holds is not in the set, though a shorter prefix may say so.
    pub nomatch: bool,
    /// How long it stays, in seconds; 0: for ever. `None`: as long as the set says.
    pub timeout_secs: Option<u32>,
    /// The link's name is the beginning of a name.
    pub wildcard: bool,
    /// What means nothing to a look-up, each as text: `packets 0`, `skbmark 0x1`.
    pub carried: Vec<Arc<str>>,
    /// A comment.
    pub comment: Option<Arc<str>>,
    /// Why it is there.
    pub origin: Origin,
}

impl IpSetEntry {
    /// An entry that says no more than what it is.
    pub const fn new(parts: Vec<IpSetPart>, origin: Origin) -> Self {
        Self {
            parts,
            nomatch: false,
            timeout_secs: None,
            wildcard: false,
            carried: Vec::new(),
            comment: None,
            origin,
        }
    }
}

/// One part of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IpSetPart {
    /// An address or a prefix.
    Net(IpNet),
    /// A protocol (its IP number) and a port. Of ICMP and ICMPv6 it is `type << 8 | code`; other protocols have 0.
    Port(u8, u16),
    /// A port of any protocol.
    PortAlone(u16),
    /// A MAC address.
    Mac(MacAddr),
    /// A mark.
    Mark(u32),
    /// A link by its name.
    Link(Arc<str>),
    /// A port of a bridge by its name (`physdev:`).
    BridgePort(Arc<str>),
    /// A set by its name.
    Set(Arc<str>),
}
