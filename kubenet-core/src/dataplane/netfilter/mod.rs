//! Rules executed: what the chains of `iptables` and `nft` say of one packet.
//!
//! In: a packet as the hook sees it ([`Seen`]), the rules of the namespace, what they remember ([`RuleState`]) and what
//! routing says of addresses ([`Host`]). Out: a [`Decision`] for each base chain, and every rule that acted on the way.
//! The hook's caller (`dataplane::hooks`) carries the decision out: it drops, answers, or binds the connection.
//!
//! [`Prepared`] knows the base chains of each hook in their order and finds chains, rules and elements quickly; [`run`]
//! walks one base chain. What is not modelled and could decide makes the decision [`Decision::Unknown`].
//!
//! Sources: `net/netfilter/x_tables.c`, `ipt_do_table`; `net/netfilter/nf_tables_core.c nft_do_chain`; nft(8).
//! Not modelled: chains of the `bridge` and `arp` families, connections' zones, quotas and connection counts.

mod call;
mod chance;
mod index;
mod ipset;
mod nft;
mod passing;
mod prepared;
mod recent;
mod state;
#[cfg(test)]
mod testing;
mod walk;
mod xt;

use alloc::string::String;
use alloc::sync::Arc;
use core::net::IpAddr;

use crate::packet::{self, Ip, number};
use crate::plan::netfilter::PacketKey;
use crate::plan::netfilter::{CtState, NatFlags, PortRange, Reject};
use crate::plan::xt::{AddrType, SetRef};
use crate::plan::{Hook, Origin, Truth, Unknown};
use crate::time::Instant;

pub use self::passing::Kinds;
pub use self::prepared::{Base, Prepared};
pub(super) use self::prepared::{HOOKS, place_of};
pub use self::state::RuleState;
pub use self::walk::{Hits, Rules, WalkMode, run};

/// One direction of a connection: what conntrack calls a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port; the identifier of an ICMP echo.
    pub sport: u16,
    /// Destination port; type and code of an ICMP message.
    pub dport: u16,
    /// The IP protocol's number.
    pub protocol: u8,
}

/// The packet's connection, as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtSeen {
    /// The packet's state in it.
    pub state: CtState,
    /// Bits of [`CtStatus`](crate::plan::netfilter::CtStatus).
    pub status: u32,
    /// The connection's mark.
    pub mark: u32,
    /// The packet goes in the direction of the first one.
    pub original: bool,
    /// The connection as its first packet came.
    pub orig: Tuple,
    /// The reply that it expects.
    pub reply: Tuple,
}

/// A packet as rules see it at a hook, and what they may change of it.
#[derive(Debug)]
pub struct Seen<'p> {
    /// The hook.
    pub hook: Hook,
    /// The IP header.
    pub ip: &'p Ip,
    /// The whole frame.
    pub frame: &'p [u8],
    /// The input link.
    pub iif: Option<&'p str>,
    /// The output link.
    pub oif: Option<&'p str>,
    /// The bridge port that a bridged packet came in by (`physdev`).
    pub phys_iif: Option<&'p str>,
    /// The bridge port that a bridged packet leaves by.
    pub phys_oif: Option<&'p str>,
    /// The packet is bridged, not routed.
    pub bridged: bool,
    /// A socket of this namespace sends it.
    pub from_socket: bool,
    /// The packet's mark.
    pub mark: u32,
    /// Its connection; `None` before conntrack has seen it, and when it is not tracked.
    pub ct: Option<CtSeen>,
    /// A rule asked not to track it.
    pub notrack: bool,
    /// It belongs to an IPVS connection, and to which virtual server.
    pub ipvs: Option<(IpAddr, u16, u8)>,
    /// The time.
    pub now: Instant,
}

impl Seen<'_> {
    /// The packet for those who make rules when they are looked up.
    pub const fn key(&self) -> PacketKey {
        PacketKey { src: self.ip.src, dst: self.ip.dst, protocol: self.ip.protocol, ports: self.ip.ports }
    }

    /// The connection, if conntrack knows the packet as part of one.
    fn tracked(&self) -> Option<&CtSeen> {
        self.ct.as_ref().filter(|ct| !matches!(ct.state, CtState::Invalid | CtState::Untracked))
    }

    /// The state of its connection; what has none is invalid unless it is not tracked (`nf_ct_get`).
    fn ct_state(&self) -> CtState {
        match &self.ct {
            Some(ct) => ct.state,
            None if self.notrack => CtState::Untracked,
            None => CtState::Invalid,
        }
    }

    /// It is a fragment behind the first, which has no header of the transport.
    const fn is_later_fragment(&self) -> bool {
        is_later_fragment(self.ip)
    }

    /// It should have a header of its transport, but that is cut off.
    fn is_cut_off(&self) -> bool {
        is_cut_off(self.ip, self.frame)
    }

    /// What stands above the IP header.
    fn l4(&self) -> &[u8] {
        packet::l4_bytes(self.frame, self.ip)
    }
}

const fn is_later_fragment(ip: &Ip) -> bool {
    matches!(ip.fragment, Some((offset, _, _)) if offset != 0)
}

/// Whether a packet should have a header of its transport, but that is cut off: a match that reads it drops the packet.
pub(super) fn is_cut_off(ip: &Ip, frame: &[u8]) -> bool {
    let ports = matches!(ip.protocol, number::TCP | number::UDP | number::SCTP);
    let icmp = matches!(ip.protocol, number::ICMP | number::ICMPV6);
    !is_later_fragment(ip)
        && ((ports && ip.ports.is_none()) || (icmp && packet::l4_bytes(frame, ip).len() < 4))
}

/// What rules ask of routing.
pub trait Host {
    /// What the address is to this namespace; with a link, only as far as that link holds it.
    fn addr_type(&self, addr: IpAddr, link: Option<&str>) -> AddrType;
    /// The link that a packet to the address would leave by, and its index.
    fn route_link(&self, dst: IpAddr, mark: u32) -> Option<(&str, u32)>;
    /// The index (from 1) of a link.
    fn link_index(&self, name: &str) -> Option<u32>;
}

/// What rules ask of sets of `ipset` that the ruleset does not hold.
pub trait Sets {
    /// Whether the set holds what the packet shows in the directions of the reference.
    fn contains(&self, set: &SetRef, seen: &Seen<'_>) -> Truth;
}

/// A change of address that a rule asks for. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatRange {
    /// Addresses; `None` keeps the packet's own.
    pub addrs: Option<(IpAddr, IpAddr)>,
    /// Ports; `None` keeps the packet's own where that is possible.
    pub ports: Option<PortRange>,
    /// How they are chosen.
    pub flags: NatFlags,
}

/// Which NAT a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// Another destination.
    Dnat(NatRange),
    /// Another source.
    Snat(NatRange),
    /// The address of the output link as source; the range has ports only.
    Masquerade(NatRange),
    /// This machine as destination; the range has ports only.
    Redirect(NatRange),
}

/// What a base chain decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The packet goes on to the next chain of the hook.
    Accept,
    /// It ends without a word.
    Drop,
    /// It ends with an answer.
    Reject(Reject),
    /// It goes on, and its connection is bound.
    Nat(NatKind),
    /// What becomes of it is not known.
    Unknown(Unknown),
}

/// A rule that acted on a packet: it changed it, led elsewhere or decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// `nat`, or `ip kube-proxy`: the table as its tool names it.
    pub table: Arc<str>,
    /// The chain.
    pub chain: Arc<str>,
    /// The rule's place in the chain from 1; `None` for the chain's policy, and where the chain was made for this packet.
    pub rule: Option<u32>,
    /// What it did, in the words of its tool: `jump KUBE-SVC-…`, `dnat to 10.244.1.5:8080`, `mark set 0x4000`.
    pub did: String,
    /// Why the rule is there.
    pub origin: Option<Origin>,
}

#[cfg(test)]
mod tests;
