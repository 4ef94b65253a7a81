//! Tables, chains and rules of x_tables: what `iptables` and `ip6tables` configure.
//!
//! A rule is data in the order in which `iptables-save` prints it; what it means for a packet stands in
//! `dataplane::netfilter`. What is carried but not modelled is `Other` and keeps its words.
//! Sources: iptables-extensions(8), `net/netfilter/xt_*.c`, `net/ipv4/netfilter/ipt_*.c`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::netfilter::{CtState, CtStatus, Hook, LimitRate, NatFlags, PortRange, Reject};
use super::{Family, Origin};

/// A table of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `iptables` or `ip6tables`.
    pub family: Family,
    /// `filter`, `nat`, `mangle`, `raw` or `security`.
    pub name: Arc<str>,
    /// Its chains, built-in and user-defined, in the order of `iptables-save`.
    pub chains: Vec<Arc<Chain>>,
}

impl Table {
    /// The chain with this name. O(chains).
    pub fn chain(&self, name: &str) -> Option<&Arc<Chain>> {
        self.chains.iter().find(|chain| &*chain.name == name)
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its name.
    pub name: Arc<str>,
    /// What a built-in chain does with a packet that no rule decides; `None` for user-defined chains.
    pub policy: Option<Policy>,
    /// Packets and bytes, as printed.
    pub counters: Option<(u64, u64)>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// What becomes of a packet at the end of a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It ends.
    Drop,
}

/// Where a built-in chain of a table hangs, and its priority (`enum nf_ip_hook_priorities`); `None` for other names.
pub fn base(table: &str, chain: &str) -> Option<(Hook, i32)> {
    let hook = match chain {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        "POSTROUTING" => Hook::Postrouting,
        _ => return None,
    };
    let priority = match (table, hook) {
        ("raw", Hook::Prerouting | Hook::Output) => -300,
        ("mangle", _) => -150,
        ("nat", Hook::Prerouting | Hook::Output) => -100,
        ("nat", Hook::Input | Hook::Postrouting) => 100,
        ("filter", Hook::Input | Hook::Forward | Hook::Output) => 0,
        ("security", Hook::Input | Hook::Forward | Hook::Output) => 50,
        _ => return None,
    };
    Some((hook, priority))
}

/// A rule: when every match holds, the target is taken; without a target the packet goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// All of these must hold, in the order in which they are printed.
    pub matches: Vec<Match>,
    /// What is done.
    pub target: Option<Target>,
    /// Packets and bytes (`iptables-save -c`).
    pub counters: Option<(u64, u64)>,
    /// Why it is there.
    pub origin: Origin,
}

/// A value that may be negated (`! --option value`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Inv<T> {
    /// The condition is that the value does *not* match.
    pub not: bool,
    /// The value.
    pub value: T,
}

impl<T> Inv<T> {
    /// The value as it is.
    pub const fn is(value: T) -> Self {
        Self { not: false, value }
    }

    /// Anything but the value.
    pub const fn not(value: T) -> Self {
        Self { not: true, value }
    }
}

/// A condition on a packet: an option of the rule itself, or one use of a match module (`-m`).
///
/// What is large and seldom is boxed: a node of 10,000 Services has half a million of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Match {
    /// `-s`.
    Source(Inv<IpNet>),
    /// `-d`.
    Destination(Inv<IpNet>),
    /// `-i`; a name that ends in `+` stands for all that begin so.
    Iif(Inv<Arc<str>>),
    /// `-o`.
    Oif(Inv<Arc<str>>),
    /// `-p`, by number.
    Protocol(Inv<u8>),
    /// `-f`: second and further fragments.
    Fragment(Inv<()>),
    /// `-m comment`: always holds.
    Comment(Arc<str>),
    /// `-m tcp`.
    Tcp(Tcp),
    /// `-m udp`.
    Udp(Ports),
    /// `-m sctp`.
    Sctp(Ports),
    /// `-m icmp --icmp-type` or `-m icmp6 --icmpv6-type`; `None` is `any`.
    Icmp(Inv<Option<IcmpType>>),
    /// `-m multiport`.
    Multiport(Multiport),
    /// `-m conntrack`.
    Conntrack(Box<Conntrack>),
    /// `-m state --state`.
    State(Inv<Vec<CtState>>),
    /// `-m addrtype`.
    Addrtype(Box<Addrtype>),
    /// `-m mark --mark value/mask`.
    Mark(Inv<Masked>),
    /// `-m connmark --mark value/mask`.
    Connmark(Inv<Masked>),
    /// `-m iprange`.
    Iprange {
        /// `--src-range`.
        src: Option<Box<Inv<(IpAddr, IpAddr)>>>,
        /// `--dst-range`.
        dst: Option<Box<Inv<(IpAddr, IpAddr)>>>,
    },
    /// `-m limit`.
    Limit {
        /// `--limit`.
        rate: LimitRate,
        /// `--limit-burst`.
        burst: u32,
    },
    /// `-m owner`: only packets of local sockets have one.
    Owner {
        /// `--uid-owner`, an inclusive range.
        uid: Option<Inv<(u32, u32)>>,
        /// `--gid-owner`, an inclusive range.
        gid: Option<Inv<(u32, u32)>>,
        /// `--socket-exists`.
        socket_exists: Option<Inv<()>>,
    },
    /// `-m physdev`.
    Physdev(Box<Physdev>),
    /// `-m recent`.
    Recent(Box<Recent>),
    /// `-m set --match-set`.
    Set {
        /// The set and the directions of its dimensions, and whether it must not hold the packet.
        set: Box<Inv<SetRef>>,
        /// Further words (`--return-nomatch`, `--packets-gt 3` …), as printed.
        options: Vec<Arc<str>>,
    },
    /// `-m statistic`.
    Statistic(Statistic),
    /// `-m ipvs`.
    Ipvs {
        /// `--ipvs`: it belongs to an IPVS connection.
        ipvs: Option<Inv<()>>,
        /// `--vproto`.
        protocol: Option<Inv<u8>>,
        /// `--vaddr`.
        addr: Option<Inv<IpNet>>,
        /// `--vport`.
        port: Option<Inv<u16>>,
    },
    /// Carried, not modelled.
    Other {
        /// The module's name; empty for an option of the rule itself.
        module: Arc<str>,
        /// Its options word by word, unquoted.
        words: Vec<Arc<str>>,
    },
}

/// `-m tcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp {
    /// `--sport`.
    pub sport: Option<Inv<PortRange>>,
    /// `--dport`.
    pub dport: Option<Inv<PortRange>>,
    /// `--tcp-flags MASK SET`, as bits of the header's flag byte (FIN 1 … URG 32).
    pub flags: Option<Inv<(u8, u8)>>,
    /// `--tcp-option`.
    pub option: Option<Inv<u8>>,
}

/// The ports of `-m udp` and `-m sctp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// `--sport`.
    pub sport: Option<Inv<PortRange>>,
    /// `--dport`.
    pub dport: Option<Inv<PortRange>>,
    /// Further words (`--chunk-types …` of SCTP), as printed; they are not modelled.
    pub words: Vec<Arc<str>>,
}

/// An ICMP type, with a code or any code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IcmpType {
    /// The type.
    pub kind: u8,
    /// The code; `None` is any.
    pub code: Option<u8>,
}

/// `-m multiport`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Multiport {
    /// Which port is looked at.
    pub side: PortSide,
    /// The ports and ranges.
    pub ports: Inv<Vec<PortRange>>,
}

/// Which port of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortSide {
    /// `--sports`.
    Source,
    /// `--dports`.
    Destination,
    /// `--ports`: one of them.
    Either,
}

/// `-m conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conntrack {
    /// `--ctstate`: states, and DNAT and SNAT as statuses.
    pub state: Option<Inv<(Vec<CtState>, Vec<CtStatus>)>>,
    /// `--ctstatus`.
    pub status: Option<Inv<Vec<CtStatus>>>,
    /// `--ctproto`.
    pub protocol: Option<Inv<u8>>,
    /// `--ctorigsrc`.
    pub orig_src: Option<Inv<IpNet>>,
    /// `--ctorigdst`.
    pub orig_dst: Option<Inv<IpNet>>,
    /// `--ctreplsrc`.
    pub reply_src: Option<Inv<IpNet>>,
    /// `--ctrepldst`.
    pub reply_dst: Option<Inv<IpNet>>,
    /// `--ctorigsrcport`.
    pub orig_sport: Option<Inv<PortRange>>,
    /// `--ctorigdstport`.
    pub orig_dport: Option<Inv<PortRange>>,
    /// `--ctreplsrcport`.
    pub reply_sport: Option<Inv<PortRange>>,
    /// `--ctrepldstport`.
    pub reply_dport: Option<Inv<PortRange>>,
    /// `--ctdir`: true for ORIGINAL.
    pub original: Option<bool>,
    /// Further words (`--ctexpire`), as printed; they are not modelled.
    pub words: Vec<Arc<str>>,
}

/// `-m addrtype`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addrtype {
    /// `--src-type`.
    pub src: Option<Inv<Vec<AddrType>>>,
    /// `--dst-type`.
    pub dst: Option<Inv<Vec<AddrType>>>,
    /// `--limit-iface-in`.
    pub limit_in: bool,
    /// `--limit-iface-out`.
    pub limit_out: bool,
}

/// What routing says of an address (`RTN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the names of linux/rtnetlink.h")]
pub enum AddrType {
    Unspec,
    Unicast,
    Local,
    Broadcast,
    Anycast,
    Multicast,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
    Nat,
    Xresolve,
}

/// A value with a mask: `value & mask` is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Masked {
    /// The value.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// `-m physdev`: the bridge ports of a bridged packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Physdev {
    /// `--physdev-in`.
    pub iif: Option<Inv<Arc<str>>>,
    /// `--physdev-out`.
    pub oif: Option<Inv<Arc<str>>>,
    /// `--physdev-is-in`.
    pub is_in: Option<Inv<()>>,
    /// `--physdev-is-out`.
    pub is_out: Option<Inv<()>>,
    /// `--physdev-is-bridged`.
    pub is_bridged: Option<Inv<()>>,
}

/// `-m recent`: lists of addresses with the times when they were seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// What is done or asked.
    pub op: Inv<RecentOp>,
    /// `--seconds`.
    pub seconds: Option<u32>,
    /// `--reap`: older entries go.
    pub reap: bool,
    /// `--hitcount`.
    pub hitcount: Option<u32>,
    /// `--rttl`.
    pub rttl: bool,
    /// `--name`.
    pub name: Arc<str>,
    /// `--mask`.
    pub mask: Option<IpAddr>,
    /// `--rdest`: by destination instead of source.
    pub by_destination: bool,
}

/// What `-m recent` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecentOp {
    /// `--set`: note the address; always holds.
    Set,
    /// `--rcheck`: is it there?
    Rcheck,
    /// `--update`: is it there? Then note it.
    Update,
    /// `--remove`: is it there? Then forget it.
    Remove,
}

/// A set and which side of the packet each of its dimensions is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetRef {
    /// The set's name.
    pub name: Arc<str>,
    /// Source (true) or destination, for each dimension.
    pub src: Vec<bool>,
}

/// `-m statistic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Statistic {
    /// `--mode random --probability`: holds for `value` of 2³¹ packets.
    Random(Inv<u32>),
    /// `--mode nth`: every so many packets, the one with this number.
    Nth {
        /// `--every`.
        every: u32,
        /// `--packet`.
        packet: u32,
        /// Negated.
        not: bool,
    },
}

impl Statistic {
    /// The share as the kernel counts it: `lround(p × 2³¹)` of 2³¹.
    pub const ONE: u32 = 1 << 31;

    /// Holds once in `n` times, as exactly as the kernel can say it.
    pub const fn one_in(n: u32) -> Self {
        let half = n / 2;
        let share = if n == 0 { 0 } else { (Self::ONE as u64 + half as u64) / n as u64 };
        Self::Random(Inv::is(share as u32))
    }
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// Ends the table.
    Accept,
    /// Ends the packet.
    Drop,
    /// Back to the calling chain; the policy in a built-in one.
    Return,
    /// On in another chain, and back at its end.
    Jump(Arc<str>),
    /// `-g`: on in another chain; its end is the end of this one too.
    Goto(Arc<str>),
    /// Ends the packet with an answer.
    Reject(Reject),
    /// Changes the destination of the connection.
    Dnat(NatTo),
    /// Changes the source of the connection.
    Snat(NatTo),
    /// Changes the source to the address of the output link.
    Masquerade {
        /// `--to-ports`.
        ports: Option<PortRange>,
        /// How ports are chosen.
        flags: NatFlags,
    },
    /// Changes the destination to this machine.
    Redirect {
        /// `--to-ports`.
        ports: Option<PortRange>,
        /// How ports are chosen.
        flags: NatFlags,
    },
    /// `MARK --set-xmark value/mask`: clears the mask's bits, then xors the value.
    Mark(Masked),
    /// `CONNMARK`.
    Connmark(Connmark),
    /// `NOTRACK` or `CT --notrack`; true for the latter.
    Notrack(bool),
    /// `CT`: settings of the connection, word by word; carried.
    Ct(Vec<Arc<str>>),
    /// `LOG`, `NFLOG`, `TRACE`, `AUDIT` and `CHECKSUM`: no effect on the packet's way. The target's name, then its words.
    Pass(Arc<str>, Vec<Arc<str>>),
    /// Carried, not modelled.
    Other {
        /// The target's name.
        name: Arc<str>,
        /// Its options word by word, unquoted.
        words: Vec<Arc<str>>,
    },
}

/// Where `DNAT` and `SNAT` lead to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatTo {
    /// The first and last address; `None` when only the port changes.
    pub addrs: Option<(IpAddr, IpAddr)>,
    /// The ports.
    pub ports: Option<PortRange>,
    /// How addresses and ports are chosen.
    pub flags: NatFlags,
}

/// What `CONNMARK` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Connmark {
    /// `--set-xmark`: on the connection.
    Set(Masked),
    /// `--save-mark`: from the packet to the connection, with `--nfmask` and `--ctmask`.
    Save {
        /// Bits of the packet.
        nfmask: u32,
        /// Bits of the connection.
        ctmask: u32,
    },
    /// `--restore-mark`: from the connection to the packet.
    Restore {
        /// Bits of the packet.
        nfmask: u32,
        /// Bits of the connection.
        ctmask: u32,
    },
}
