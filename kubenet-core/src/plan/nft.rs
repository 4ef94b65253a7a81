//! Tables, chains, sets and rules of nf_tables: what `nft` configures.
//!
//! Expressions are those of nft(8), typed as far as they are modelled; a constant is a number, an address or a name,
//! and what it means follows from the expression beside it, as in the kernel's registers. What a rule means for a packet
//! stands in `dataplane::netfilter`. What is carried but not modelled is `Other` and keeps its text.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Origin;
use super::netfilter::{Hook, LimitRate, NatFlags, Reject};
use super::xt::Policy;
use crate::addr::Family;

/// The packets that a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFamily {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// ARP.
    Arp,
    /// Bridged frames.
    Bridge,
    /// Frames at a device.
    Netdev,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The packets that it sees.
    pub family: TableFamily,
    /// Its name.
    pub name: Arc<str>,
    /// `flags`, as printed (`dormant`, `owner` …).
    pub flags: Vec<Arc<str>>,
    /// `comment`.
    pub comment: Option<Arc<str>>,
    /// Its named sets and maps, in the order of `nft list`.
    pub sets: Vec<Arc<Set>>,
    /// Its chains, in the order of `nft list`.
    pub chains: Vec<Arc<Chain>>,
    /// Other objects (counters, quotas, flowtables …).
    pub others: Vec<Object>,
    /// Why it is there.
    pub origin: Origin,
}

impl Table {
    /// The chain with this name. O(chains).
    pub fn chain(&self, name: &str) -> Option<&Arc<Chain>> {
        self.chains.iter().find(|chain| &*chain.name == name)
    }

    /// The set or map with this name. O(sets).
    pub fn set(&self, name: &str) -> Option<&Arc<Set>> {
        self.sets.iter().find(|set| &*set.name == name)
    }
}

/// An object that is carried, not modelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// `counter`, `quota`, `flowtable`, `ct helper` …
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What stands between its braces.
    pub text: Arc<str>,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Its name.
    pub name: Arc<str>,
    /// Where it hangs, if it is a base chain.
    pub base: Option<Base>,
    /// `comment`.
    pub comment: Option<Arc<str>>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// What makes a chain a base chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its type.
    pub kind: ChainKind,
    /// The hook.
    pub hook: Hook,
    /// The devices of a `netdev` chain.
    pub devices: Vec<Arc<str>>,
    /// Lower comes first.
    pub priority: i32,
    /// What becomes of a packet that no rule decides.
    pub policy: Policy,
}

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// Every packet.
    Filter,
    /// The first packet of a connection; the result is kept.
    Nat,
    /// Routes anew when the mark or the addresses changed.
    Route,
}

/// A rule: statements are executed in order until one does not hold or ends the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its statements.
    pub statements: Vec<Statement>,
    /// `comment`.
    pub comment: Option<Arc<str>>,
    /// Its number (`nft -a`).
    pub handle: Option<u64>,
    /// Why it is there.
    pub origin: Origin,
}

/// A named set or map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// Its name.
    pub name: Arc<str>,
    /// The types of its key, one for each part of a concatenation: `ipv4_addr`, `inet_proto`, `inet_service` …
    pub key: Vec<Arc<str>>,
    /// It was declared by `typeof`: the expressions as printed. `key` is then what they come to, where that is known.
    pub key_typeof: Option<Arc<str>>,
    /// What a map gives: types, or `verdict`. Empty for a set.
    pub data: Vec<Arc<str>>,
    /// `flags`.
    pub flags: SetFlags,
    /// `timeout` of elements, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// `gc-interval`, in milliseconds.
    pub gc_interval_ms: Option<u64>,
    /// `size`.
    pub size: Option<u64>,
    /// `auto-merge`.
    pub auto_merge: bool,
    /// `comment`.
    pub comment: Option<Arc<str>>,
    /// The statements that every element has, as text: `counter`.
    pub statements: Option<Arc<str>>,
    /// Its elements.
    pub elements: Vec<Element>,
    /// Why it is there.
    pub origin: Origin,
}

/// Flags of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of nft(8)")]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
pub struct SetFlags {
    pub constant: bool,
    pub dynamic: bool,
    pub interval: bool,
    pub timeout: bool,
}

/// An element of a set or map, named or written out in a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Element {
    /// Its key, one value for each part of a concatenation; empty for `*`, which matches what nothing else does.
    pub key: Vec<Value>,
    /// What a map gives for it.
    pub data: Option<Data>,
    /// Its own timeout and what is left of it, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// What is left of the timeout, in milliseconds.
    pub expires_ms: Option<u64>,
    /// Its statements and what they have counted, as text: `counter packets 1 bytes 60`, `limit rate 10/second`.
    pub statements: Option<Arc<str>>,
    /// `comment`.
    pub comment: Option<Arc<str>>,
    /// Why it is there.
    pub origin: Option<Origin>,
}

/// What a map gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Data {
    /// Values, one for each part of a concatenation.
    Values(Vec<Value>),
    /// A verdict.
    Verdict(Verdict),
}

/// A constant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// A number: port, protocol, mark, bits of a state …
    Number(u64),
    /// An address.
    Addr(IpAddr),
    /// A prefix.
    Prefix(IpNet),
    /// Inclusive bounds.
    Range(Box<Self>, Box<Self>),
    /// A name: of a link (a trailing `*` stands for all that begin so), or a symbol that is not known.
    Name(Arc<str>),
}

/// What ends the way through a chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Ends this base chain.
    Accept,
    /// Ends the packet.
    Drop,
    /// Goes on with the next rule.
    Continue,
    /// Back to the calling chain.
    Return,
    /// On in another chain, and back at its end.
    Jump(Arc<str>),
    /// On in another chain; its end is the end of this one too.
    Goto(Arc<str>),
}

/// A statement of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Statement {
    /// `EXPR [OP] VALUE`: goes on when it holds.
    Match {
        /// What is looked at.
        left: Expr,
        /// How it is compared.
        op: Op,
        /// With what.
        right: Expr,
    },
    /// A verdict.
    Verdict(Verdict),
    /// `EXPR vmap MAP`: the verdict that the map gives, if it has the key.
    Vmap {
        /// The key.
        key: Expr,
        /// The map: [`Expr::Elements`] or [`Expr::Named`].
        map: Expr,
    },
    /// `meta mark set EXPR`, `ct mark set EXPR` and other changes: of what, to what.
    Assign {
        /// What changes.
        target: Expr,
        /// Its new value.
        value: Expr,
    },
    /// `dnat`.
    Dnat(Nat),
    /// `snat`.
    Snat(Nat),
    /// `masquerade [to :PORT] [FLAGS]`.
    Masquerade {
        /// `to :PORT` or a range.
        port: Option<Expr>,
        /// How ports are chosen.
        flags: NatFlags,
    },
    /// `redirect [to :PORT] [FLAGS]`.
    Redirect {
        /// `to :PORT` or a range.
        port: Option<Expr>,
        /// How ports are chosen.
        flags: NatFlags,
    },
    /// `reject [with …]`; `None` is the default of the family.
    Reject(Option<Reject>),
    /// `reject with icmp …` or `reject with icmpv6 …`, which packets of the other family pass by.
    RejectOf(Family, Reject),
    /// `notrack`.
    Notrack,
    /// `counter [packets N bytes N]`.
    Counter(Option<(u64, u64)>),
    /// `limit rate [over] RATE [burst N packets]`.
    Limit {
        /// The rate.
        rate: LimitRate,
        /// Holds when the rate is exceeded.
        over: bool,
        /// The burst.
        burst: Option<u32>,
    },
    /// `log …`: its options as printed.
    Log(Arc<str>),
    /// `add|update|delete @SET { EXPR [timeout T] }`.
    SetOp {
        /// What is done.
        op: SetOp,
        /// The set.
        set: Arc<str>,
        /// The element.
        key: Expr,
        /// Its own timeout, in milliseconds.
        timeout_ms: Option<u64>,
        /// What a map gives for it.
        data: Option<Expr>,
    },
    /// Carried, not modelled.
    Other(Arc<str>),
}

/// `dnat` and `snat`: where to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nat {
    /// The family that is written (`dnat ip to`), in tables of both.
    pub family: Option<super::Family>,
    /// The address; a range; or both address and port from one expression (`addr . port`).
    pub addr: Option<Expr>,
    /// `addr` gives address and port (`dnat ip addr . port to …`).
    pub addr_and_port: bool,
    /// The port or a range.
    pub port: Option<Expr>,
    /// How addresses and ports are chosen.
    pub flags: NatFlags,
}

/// What is done to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names of nft(8)")]
pub enum SetOp {
    Add,
    Update,
    Delete,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Equal, in the set, in the range; for flag types (`ct state new`) one of the bits is set.
    Implicit,
    /// `==`.
    Eq,
    /// `!=`.
    Ne,
    /// `<`.
    Lt,
    /// `<=`.
    Le,
    /// `>`.
    Gt,
    /// `>=`.
    Ge,
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Expr {
    /// A constant.
    Value(Value),
    /// `{ … }`: a set or map written out.
    Elements(Vec<Element>),
    /// `@NAME`: a named set or map.
    Named(Arc<str>),
    /// A field of a header.
    Field(Field),
    /// `meta KEY`.
    Meta(Meta),
    /// `ct [original|reply] KEY`.
    Ct {
        /// `Some(true)`: original; `Some(false)`: reply.
        original: Option<bool>,
        /// The key.
        key: CtKey,
    },
    /// `fib KEYS RESULT`.
    Fib {
        /// `saddr`, `daddr`, `mark`, `iif`, `oif`.
        keys: Vec<FibKey>,
        /// What is asked.
        result: FibResult,
    },
    /// `numgen random|inc mod N [offset N]`.
    Numgen {
        /// Random, or counting up.
        random: bool,
        /// The modulus.
        modulus: u32,
        /// Added to the result.
        offset: u32,
    },
    /// `jhash EXPR mod N [seed S] [offset N]`.
    Jhash {
        /// What is hashed.
        of: Box<Self>,
        /// The modulus.
        modulus: u32,
        /// The seed; random when `None`.
        seed: Option<u32>,
        /// Added to the result.
        offset: u32,
    },
    /// `A . B …`.
    Concat(Vec<Self>),
    /// `EXPR map MAP`.
    Map {
        /// The key.
        key: Box<Self>,
        /// The map: [`Expr::Elements`] or [`Expr::Named`].
        map: Box<Self>,
    },
    /// `A & B`, `A | B`, `A ^ B`, `A << B`, `A >> B`.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left.
        left: Box<Self>,
        /// Right.
        right: Box<Self>,
    },
    /// A list of flags: `new,established`. In a match one of them has to be set.
    Flags(Vec<Value>),
    /// Carried, not modelled.
    Other(Arc<str>),
}

/// An operator on bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum BinaryOp {
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// A field of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of nft(8): `ip saddr`, `th dport` …")]
pub enum Field {
    IpSaddr,
    IpDaddr,
    IpProtocol,
    IpTtl,
    IpLength,
    IpId,
    IpDscp,
    IpFragOff,
    Ip6Saddr,
    Ip6Daddr,
    Ip6Nexthdr,
    Ip6Hoplimit,
    Ip6Length,
    ThSport,
    ThDport,
    TcpSport,
    TcpDport,
    TcpFlags,
    UdpSport,
    UdpDport,
    SctpSport,
    SctpDport,
    IcmpType,
    IcmpCode,
    Icmpv6Type,
    Icmpv6Code,
    EtherSaddr,
    EtherDaddr,
    EtherType,
    ArpOperation,
    ArpSaddrIp,
    ArpDaddrIp,
}

/// A key of `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of nft(8)")]
pub enum Meta {
    Mark,
    Iif,
    Oif,
    Iifname,
    Oifname,
    Iiftype,
    Oiftype,
    L4proto,
    Nfproto,
    Protocol,
    Length,
    Pkttype,
    Priority,
    Skuid,
    Skgid,
    Cgroup,
    Ibrname,
    Obrname,
    Time,
    Hour,
    Day,
}

/// A key of `ct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of nft(8)")]
pub enum CtKey {
    State,
    Status,
    Mark,
    Direction,
    Expiration,
    Helper,
    L3proto,
    Protocol,
    IpSaddr,
    IpDaddr,
    Ip6Saddr,
    Ip6Daddr,
    ProtoSrc,
    ProtoDst,
    Zone,
    Id,
    Count,
    Packets,
    Bytes,
    Avgpkt,
}

/// What `fib` looks up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names of nft(8)")]
pub enum FibKey {
    Saddr,
    Daddr,
    Mark,
    Iif,
    Oif,
}

/// What `fib` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names of nft(8)")]
pub enum FibResult {
    Type,
    Oif,
    Oifname,
    Check,
}
