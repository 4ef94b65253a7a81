//! Netfilter: hooks, and what the two rule languages ([`xt`], [`nft`]) share.
//!
//! A [`Netfilter`] is what one namespace has configured: a [`Ruleset`] that is there, and a [`Supply`] that makes the rest
//! when it is looked up, so that a packet in a cluster of 10,000 Services meets only the chains on its way.
//!
//! Beside them stand a few chains of our own ([`Chain`], [`Rule`], [`Match`]) for what the input does not tell: address,
//! link, protocol and port matches with accept, drop and "not known".

use core::net::IpAddr;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::ipset::{IpSet, IpSetEntry, IpSetPart};
use super::ipvs::{VirtualId, VirtualServer};
use super::{Family, Origin, Protocol, nft, xt};

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
    /// At a device, before anything else (`netdev` chains).
    Ingress,
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
    /// At a device, on the way out (`netdev` chains).
    Egress,
}

/// What is configured in one namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ruleset {
    /// Tables of `iptables` and `ip6tables`. At one hook and priority they come before those of nf_tables.
    pub xt: Vec<xt::Table>,
    /// Tables of `nft`; chains of one priority run in this order.
    pub nft: Vec<nft::Table>,
    /// Sets of `ipset`, in the order of `ipset save`.
    pub ipsets: Vec<Arc<IpSet>>,
    /// Virtual servers of `ipvsadm`.
    pub ipvs: Vec<Arc<VirtualServer>>,
}

impl Ruleset {
    /// The table of `iptables` or `ip6tables` with this name.
    pub fn xt_table(&self, family: Family, name: &str) -> Option<&xt::Table> {
        self.xt.iter().find(|table| table.family == family && &*table.name == name)
    }

    /// The table of `nft` with this name.
    pub fn nft_table(&self, family: nft::TableFamily, name: &str) -> Option<&nft::Table> {
        self.nft.iter().find(|table| table.family == family && &*table.name == name)
    }

    /// Whether nothing is configured.
    pub fn is_empty(&self) -> bool {
        self.xt.is_empty() && self.nft.is_empty() && self.ipsets.is_empty() && self.ipvs.is_empty()
    }

    /// The set of `ipset` with this name. O(sets).
    pub fn ipset(&self, name: &str) -> Option<&Arc<IpSet>> {
        self.ipsets.iter().find(|set| &*set.name == name)
    }
}

/// What a look-up knows of the packet, to narrow a long chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketKey {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// The IP protocol's number.
    pub protocol: u8,
    /// Source and destination port, where the packet has them.
    pub ports: Option<(u16, u16)>,
}

/// Makes parts of a ruleset when they are looked up.
///
/// Every answer is the same as that of [`Supply::whole`]: a chain holds, in order, at least the rules that the packet of
/// the key could match; a set or map gives the element that holds the key.
pub trait Supply: core::fmt::Debug + Send + Sync {
    /// The tables as far as they do not depend on the packet: all base chains, all chains of a few rules, all small sets.
    /// A chain or set that is here whole is not asked for again; one that is not here is.
    fn ruleset(&self) -> &Ruleset;

    /// A chain of `iptables` or `ip6tables` that [`Supply::ruleset`] does not hold.
    fn xt_chain(&self, family: Family, table: &str, chain: &str, key: &PacketKey) -> Option<Arc<xt::Chain>>;

    /// A chain of `nft` that [`Supply::ruleset`] does not hold.
    fn nft_chain(&self, family: nft::TableFamily, table: &str, chain: &str) -> Option<Arc<nft::Chain>>;

    /// Whether a set or map of `nft` that [`Supply::ruleset`] names without elements (flag [`Supply::asks_elements`])
    /// holds a key, and the element.
    fn nft_element(
        &self,
        family: nft::TableFamily,
        table: &str,
        set: &str,
        key: &[nft::Value],
    ) -> Option<nft::Element>;

    /// A set or map of `nft` that [`Supply::ruleset`] does not hold: its types, flags and timeouts, and its elements unless they
    /// are asked for one at a time. Dynamic sets that packets fill are found here.
    fn nft_set(&self, _family: nft::TableFamily, _table: &str, _set: &str) -> Option<Arc<nft::Set>> {
        None
    }

    /// Whether the elements of a set or map have to be asked for one at a time.
    fn asks_elements(&self, family: nft::TableFamily, table: &str, set: &str) -> bool;

    /// Whether the entries of a set of `ipset` have to be asked for one at a time.
    fn asks_entries(&self, set: &str) -> bool;

    /// The entry of such a set that holds these parts of a packet, one for each direction of the match.
    fn ipset_entry(&self, set: &str, parts: &[IpSetPart]) -> Option<IpSetEntry>;

    /// A virtual server of `ipvsadm` that [`Supply::ruleset`] does not hold.
    fn virtual_server(&self, service: &VirtualId) -> Option<Arc<VirtualServer>>;

    /// Whether there is any virtual server, here or to be asked for.
    fn has_ipvs(&self) -> bool;

    /// Everything, to be printed, applied or compared. O(rules).
    fn whole(&self) -> Ruleset;
}

/// The rules of a namespace: some that are there, and some that are made when they are looked up.
#[derive(Clone, Debug, Default)]
pub enum Netfilter {
    /// None.
    #[default]
    Empty,
    /// All are there.
    Whole(Arc<Ruleset>),
    /// They are made when they are looked up.
    Supplied(Arc<dyn Supply>),
}

impl Netfilter {
    /// What is there without asking.
    pub fn ruleset(&self) -> Option<&Ruleset> {
        match self {
            Self::Empty => None,
            Self::Whole(ruleset) => Some(ruleset),
            Self::Supplied(supply) => Some(supply.ruleset()),
        }
    }

    /// Who makes the rest.
    pub fn supply(&self) -> Option<&dyn Supply> {
        match self {
            Self::Empty | Self::Whole(_) => None,
            Self::Supplied(supply) => Some(&**supply),
        }
    }

    /// Everything. O(rules) where they are made when looked up.
    pub fn whole(&self) -> Arc<Ruleset> {
        match self {
            Self::Empty => Arc::default(),
            Self::Whole(ruleset) => ruleset.clone(),
            Self::Supplied(supply) => Arc::new(supply.whole()),
        }
    }

    /// Whether there is any virtual server of IPVS.
    pub fn has_ipvs(&self) -> bool {
        self.ruleset().is_some_and(|ruleset| !ruleset.ipvs.is_empty())
            || self.supply().is_some_and(Supply::has_ipvs)
    }

    /// Whether nothing is configured.
    pub fn is_empty(&self) -> bool {
        self.ruleset().is_none_or(Ruleset::is_empty)
    }
}

impl PartialEq for Netfilter {
    /// By what is configured, however it is held. O(rules).
    fn eq(&self, other: &Self) -> bool {
        self.whole() == other.whole()
    }
}

impl Serialize for Netfilter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.whole().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Netfilter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ruleset = Ruleset::deserialize(deserializer)?;
        Ok(if ruleset.is_empty() { Self::Empty } else { Self::Whole(Arc::new(ruleset)) })
    }
}

/// The state of a packet's connection (`ct state`, `--ctstate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CtState {
    /// It belongs to no connection and could not begin one.
    Invalid,
    /// Packets went both ways.
    Established,
    /// It belongs to another connection: an ICMP error, an expected connection.
    Related,
    /// It begins a connection.
    New,
    /// It is not tracked.
    Untracked,
}

impl CtState {
    /// Its name in the kernel's tools.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::Established => "ESTABLISHED",
            Self::Related => "RELATED",
            Self::New => "NEW",
            Self::Untracked => "UNTRACKED",
        }
    }

    /// The bit of nf_tables (`NF_CT_STATE_BIT`): invalid 1, established 2, related 4, new 8, untracked 64.
    pub const fn bit(self) -> u32 {
        match self {
            Self::Invalid => 1,
            Self::Established => 2,
            Self::Related => 4,
            Self::New => 8,
            Self::Untracked => 64,
        }
    }
}

/// A status of a connection (`ct status`, `--ctstatus`; `enum ip_conntrack_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CtStatus {
    /// Another connection announced it.
    Expected,
    /// A reply was seen.
    SeenReply,
    /// It is not dropped early when the table is full.
    Assured,
    /// Its first packet has left.
    Confirmed,
    /// Its source is changed.
    Snat,
    /// Its destination is changed.
    Dnat,
    /// It is about to go.
    Dying,
}

impl CtStatus {
    /// The bit of the kernel.
    pub const fn bit(self) -> u32 {
        match self {
            Self::Expected => 1,
            Self::SeenReply => 2,
            Self::Assured => 4,
            Self::Confirmed => 8,
            Self::Snat => 16,
            Self::Dnat => 32,
            Self::Dying => 512,
        }
    }
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl PortRange {
    /// One port.
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether the port is one of them.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// A rate of packets or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LimitRate {
    /// How many.
    pub amount: u64,
    /// Bytes for each of them; `None` for packets.
    pub unit_bytes: Option<u32>,
    /// In how many seconds: 1, 60, 3600, 86400 or 604800.
    pub per_secs: u32,
}

/// How NAT chooses addresses and ports (`NF_NAT_RANGE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NatFlags {
    /// `random`: another port even when the own one is free.
    pub random: bool,
    /// `fully-random`: likewise, without a hash.
    pub fully_random: bool,
    /// `persistent`: a client gets the same address each time.
    pub persistent: bool,
}

/// How a packet is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reject {
    /// A TCP RST (`tcp-reset`); other protocols are dropped.
    TcpReset,
    /// ICMP 3/0, ICMPv6 1/0 (`icmp-net-unreachable`, `icmp6-no-route`).
    NetUnreachable,
    /// ICMP 3/1, ICMPv6 1/3 (`icmp-host-unreachable`, `icmp6-addr-unreachable`).
    HostUnreachable,
    /// ICMP 3/2 (`icmp-proto-unreachable`).
    ProtoUnreachable,
    /// ICMP 3/3, ICMPv6 1/4 (`icmp-port-unreachable`, `icmp6-port-unreachable`): the default.
    PortUnreachable,
    /// ICMP 3/9 (`icmp-net-prohibited`).
    NetProhibited,
    /// ICMP 3/10 (`icmp-host-prohibited`).
    HostProhibited,
    /// ICMP 3/13, ICMPv6 1/1 (`icmp-admin-prohibited`, `icmp6-adm-prohibited`).
    AdminProhibited,
    /// ICMPv6 1/5 (`icmp6-policy-fail`).
    PolicyFail,
    /// ICMPv6 1/6 (`icmp6-reject-route`).
    RejectRoute,
    /// `icmpx port-unreachable` and its kin of nf_tables' inet tables: by the packet's family.
    IcmpxPortUnreachable,
    /// `icmpx host-unreachable`.
    IcmpxHostUnreachable,
    /// `icmpx no-route`.
    IcmpxNoRoute,
    /// `icmpx admin-prohibited`.
    IcmpxAdminProhibited,
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
