//! Expressions: what they come to for one packet.
//!
//! Sources: nft(8); `nft_payload.c`, `nft_meta.c`, `nft_ct.c`, `nft_fib.c`, `nft_numgen.c`, `nft_hash.c`. A field that the
//! packet does not have ends the rule (`NFT_BREAK`), as do the protocol tests that `nft` puts before it.

use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::super::chance::pick_equal;
use super::super::walk::Hits;
use super::super::{Host, Seen, Sets, Tuple};
use super::Run;
use super::jhash;
use super::lookup::At;
use super::value::{Part, Parts};
use crate::addr::Family;
use crate::dataplane::choices::Choices;
use crate::packet::{self, number};
use crate::plan::Unknown;
use crate::plan::nft::{BinaryOp, CtKey, Expr, FibKey, FibResult, Field, Meta, Value};
use crate::plan::xt::AddrType;

/// Why an expression has no value.
#[derive(Debug)]
pub(super) enum Stop {
    /// The rule ends: the packet has no such field.
    Break,
    /// It is not known.
    Unknown(Unknown),
}

pub(super) type Value1<'a> = Result<Part<'a>, Stop>;

pub(super) fn unmodelled(what: core::fmt::Arguments<'_>) -> Stop {
    Stop::Unknown(Unknown {
        why: format!("the expression `{what}` is not modelled"),
        what_would_settle_it: "what the rule says of such a packet, on the machine: nft monitor trace".into(),
    })
}

/// Whether an expression asks no chance and counts nothing.
pub(super) fn is_pure(expr: &Expr) -> bool {
    match expr {
        Expr::Numgen { .. } | Expr::Jhash { .. } => false,
        Expr::Concat(parts) => parts.iter().all(is_pure),
        Expr::Map { key, map } => is_pure(key) && is_pure(map),
        Expr::Binary { left, right, .. } => is_pure(left) && is_pure(right),
        Expr::Value(_)
        | Expr::Elements(_)
        | Expr::Named(_)
        | Expr::Field(_)
        | Expr::Meta(_)
        | Expr::Ct { .. }
        | Expr::Fib { .. }
        | Expr::Flags(_)
        | Expr::Other(_) => true,
    }
}

/// Whether an expression comes to one part, if to anything: it is no concatenation and gives no element's data.
pub(super) const fn is_single(expr: &Expr) -> bool {
    !matches!(expr, Expr::Concat(_) | Expr::Map { .. })
}

/// Whether a constant beside the expression means "one of these bits".
pub(super) fn is_flags(expr: &Expr) -> bool {
    match expr {
        Expr::Ct { key, .. } => matches!(key, CtKey::State | CtKey::Status),
        Expr::Field(field) => *field == Field::TcpFlags,
        Expr::Binary { left, .. } => is_flags(left),
        Expr::Value(_)
        | Expr::Elements(_)
        | Expr::Named(_)
        | Expr::Meta(_)
        | Expr::Fib { .. }
        | Expr::Numgen { .. }
        | Expr::Jhash { .. }
        | Expr::Concat(_)
        | Expr::Map { .. }
        | Expr::Flags(_)
        | Expr::Other(_) => false,
    }
}

impl<'w, 'p, H: Host + Sets, C: Choices, R: Hits> Run<'w, '_, 'p, H, C, R> {
    /// What an expression comes to.
    pub(super) fn eval<'a>(&mut self, at: &At<'a>, expr: &'a Expr) -> Result<Parts<'a>, Stop>
    where
        'w: 'a,
        'p: 'a,
    {
        if let Expr::Concat(parts) = expr {
            let mut all = Parts::new();
            for part in parts {
                if is_single(part) {
                    all.push(self.single(at, part)?);
                } else {
                    all.extend(self.eval(at, part)?);
                }
            }
            return Ok(all);
        }
        if let Expr::Map { key, map } = expr {
            let key = self.eval(at, key)?;
            let found = self.find(map, &key)?.ok_or(Stop::Break)?;
            return found.parts().ok_or_else(|| unmodelled(format_args!("… map … with verdicts")));
        }
        let mut parts = Parts::new();
        parts.push(self.single(at, expr)?);
        Ok(parts)
    }

    /// What an expression comes to that has one part ([`is_single`]).
    pub(super) fn single<'a>(&mut self, at: &At<'a>, expr: &'a Expr) -> Value1<'a>
    where
        'w: 'a,
        'p: 'a,
    {
        Ok(match expr {
            Expr::Concat(_) | Expr::Map { .. } => return self.eval_one(at, expr),
            Expr::Value(value) => {
                Part::of(value).ok_or_else(|| unmodelled(format_args!("a range of names")))?
            }
            Expr::Flags(values) => Part::Number(flags(values)?),
            Expr::Field(field) => self.field(*field)?,
            Expr::Meta(key) => self.meta(*key)?,
            Expr::Ct { original, key } => self.ct(*original, *key)?,
            Expr::Fib { keys, result } => self.fib(keys, *result)?,
            Expr::Numgen { random: true, modulus, offset } => {
                let point = format_args!("numgen {} {}", self.name, at.chain.name);
                let state = &mut *self.walk.state;
                let picked = pick_equal(self.walk.choices, &mut state.ones, point, *modulus);
                Part::Number(u64::from(picked) + u64::from(*offset))
            }
            Expr::Numgen { random: false, modulus, offset } => {
                let count = self.walk.state.count(self.memory(at), *modulus);
                Part::Number(u64::from(count) + u64::from(*offset))
            }
            Expr::Jhash { of, modulus, seed, offset } => {
                let parts = self.eval(at, of)?;
                let hash = self.jhash(at, of, &parts, *modulus, *seed)?;
                Part::Number(u64::from(hash) + u64::from(*offset))
            }
            Expr::Binary { op, left, right } => {
                let (left, right) = (self.eval_one(at, left)?, self.eval_one(at, right)?);
                binary(*op, &left, &right).ok_or_else(|| unmodelled(format_args!("an operation on names")))?
            }
            Expr::Elements(_) | Expr::Named(_) => return Err(unmodelled(format_args!("a set as a value"))),
            Expr::Other(text) => return Err(unmodelled(format_args!("{text}"))),
        })
    }

    /// What an expression of one part comes to.
    pub(super) fn eval_one<'a>(&mut self, at: &At<'a>, expr: &'a Expr) -> Value1<'a>
    where
        'w: 'a,
        'p: 'a,
    {
        if is_single(expr) {
            return self.single(at, expr);
        }
        let mut parts = self.eval(at, expr)?;
        match (parts.pop(), parts.is_empty()) {
            (Some(part), true) => Ok(part),
            _ => Err(unmodelled(format_args!("a concatenation as one value"))),
        }
    }

    fn field<'a>(&self, field: Field) -> Value1<'a> {
        let seen = &*self.seen;
        let (frame, ip) = (seen.frame, seen.ip);
        let l3 =
            |family: Family, part: Part<'a>| if ip.family() == family { Ok(part) } else { Err(Stop::Break) };
        let byte = |at: usize| u64::from(frame.get(packet::ETHERNET_BYTES + at).copied().unwrap_or(0));
        let word = |at: usize| byte(at) << 8 | byte(at + 1);
        let (v4, v6) = (Family::V4, Family::V6);
        match field {
            Field::IpSaddr => l3(v4, Part::Addr(ip.src)),
            Field::IpDaddr => l3(v4, Part::Addr(ip.dst)),
            Field::IpProtocol => l3(v4, Part::Number(byte(9))),
            Field::IpTtl => l3(v4, Part::Number(byte(8))),
            Field::IpLength => l3(v4, Part::Number(word(2))),
            Field::IpId => l3(v4, Part::Number(word(4))),
            Field::IpDscp => l3(v4, Part::Number(byte(1) >> 2)),
            Field::IpFragOff => l3(v4, Part::Number(word(6))),
            Field::Ip6Saddr => l3(v6, Part::Addr(ip.src)),
            Field::Ip6Daddr => l3(v6, Part::Addr(ip.dst)),
            Field::Ip6Nexthdr => l3(v6, Part::Number(byte(6))),
            Field::Ip6Hoplimit => l3(v6, Part::Number(byte(7))),
            Field::Ip6Length => l3(v6, Part::Number(word(4))),
            Field::ThSport => l4(seen, None, 0, 2),
            Field::ThDport => l4(seen, None, 2, 2),
            Field::TcpSport => l4(seen, Some(number::TCP), 0, 2),
            Field::TcpDport => l4(seen, Some(number::TCP), 2, 2),
            Field::TcpFlags => l4(seen, Some(number::TCP), 13, 1),
            Field::UdpSport => l4(seen, Some(number::UDP), 0, 2),
            Field::UdpDport => l4(seen, Some(number::UDP), 2, 2),
            Field::SctpSport => l4(seen, Some(number::SCTP), 0, 2),
            Field::SctpDport => l4(seen, Some(number::SCTP), 2, 2),
            Field::IcmpType => l4(seen, Some(number::ICMP), 0, 1),
            Field::IcmpCode => l4(seen, Some(number::ICMP), 1, 1),
            Field::Icmpv6Type => l4(seen, Some(number::ICMPV6), 0, 1),
            Field::Icmpv6Code => l4(seen, Some(number::ICMPV6), 1, 1),
            Field::EtherSaddr if seen.iif.is_some() => Ok(Part::Number(mac(packet::source_mac(frame)))),
            Field::EtherDaddr if seen.iif.is_some() => Ok(Part::Number(mac(packet::destination_mac(frame)))),
            Field::EtherType if seen.iif.is_some() => Ok(Part::Number(ethertype(seen))),
            Field::EtherSaddr
            | Field::EtherDaddr
            | Field::EtherType
            | Field::ArpOperation
            | Field::ArpSaddrIp
            | Field::ArpDaddrIp => Err(Stop::Break),
        }
    }

    fn meta<'a>(&self, key: Meta) -> Value1<'a>
    where
        'p: 'a,
    {
        let seen = &*self.seen;
        Ok(match key {
            Meta::Mark => Part::Number(seen.mark.into()),
            Meta::Iif | Meta::Iifname => Part::Name(seen.iif.unwrap_or("")),
            Meta::Oif | Meta::Oifname => Part::Name(seen.oif.unwrap_or("")),
            Meta::L4proto => Part::Number(seen.ip.protocol.into()),
            Meta::Nfproto => Part::Number(nfproto(seen.ip.src)),
            Meta::Protocol => Part::Number(ethertype(seen)),
            Meta::Length => Part::Number(seen.ip.len.into()),
            Meta::Skuid | Meta::Skgid | Meta::Cgroup if !seen.from_socket => return Err(Stop::Break),
            Meta::Iiftype
            | Meta::Oiftype
            | Meta::Pkttype
            | Meta::Priority
            | Meta::Skuid
            | Meta::Skgid
            | Meta::Cgroup
            | Meta::Ibrname
            | Meta::Obrname
            | Meta::Time
            | Meta::Hour
            | Meta::Day => return Err(unmodelled(format_args!("meta {key:?}"))),
        })
    }

    fn ct<'a>(&self, original: Option<bool>, key: CtKey) -> Value1<'a> {
        if key == CtKey::State {
            return Ok(Part::Number(self.seen.ct_state().bit().into()));
        }
        let ct = self.seen.tracked().ok_or(Stop::Break)?;
        let tuple: Option<&Tuple> = original.map(|original| if original { &ct.orig } else { &ct.reply });
        let addr = |of: fn(&Tuple) -> IpAddr, v4: bool| {
            let addr =
                tuple.map(of).ok_or_else(|| unmodelled(format_args!("ct {key:?} without a direction")))?;
            if addr.is_ipv4() == v4 { Ok(Part::Addr(addr)) } else { Err(Stop::Break) }
        };
        let port = |of: fn(&Tuple) -> u16| {
            let port =
                tuple.map(of).ok_or_else(|| unmodelled(format_args!("ct {key:?} without a direction")))?;
            Ok(Part::Number(port.into()))
        };
        match key {
            CtKey::State => Ok(Part::Number(ct.state.bit().into())),
            CtKey::Status => Ok(Part::Number(ct.status.into())),
            CtKey::Mark => Ok(Part::Number(ct.mark.into())),
            CtKey::Direction => Ok(Part::Number((!ct.original).into())),
            CtKey::L3proto => Ok(Part::Number(nfproto(ct.orig.src))),
            CtKey::Protocol => Ok(Part::Number(ct.orig.protocol.into())),
            CtKey::IpSaddr => addr(|t| t.src, true),
            CtKey::IpDaddr => addr(|t| t.dst, true),
            CtKey::Ip6Saddr => addr(|t| t.src, false),
            CtKey::Ip6Daddr => addr(|t| t.dst, false),
            CtKey::ProtoSrc => port(|t| t.sport),
            CtKey::ProtoDst => port(|t| t.dport),
            CtKey::Expiration
            | CtKey::Helper
            | CtKey::Zone
            | CtKey::Id
            | CtKey::Count
            | CtKey::Packets
            | CtKey::Bytes
            | CtKey::Avgpkt => Err(unmodelled(format_args!("ct {key:?}"))),
        }
    }

    /// `nft_fib_ipv4.c nft_fib4_eval`: what routing says of an address, as far as a link is concerned.
    fn fib<'a>(&self, keys: &[FibKey], result: FibResult) -> Value1<'a>
    where
        'w: 'a,
    {
        let seen = &*self.seen;
        let has = |key| keys.contains(&key);
        let addr = if has(FibKey::Saddr) { seen.ip.src } else { seen.ip.dst };
        let link = match (has(FibKey::Iif), has(FibKey::Oif)) {
            (true, _) => seen.iif,
            (false, true) => seen.oif,
            (false, false) => None,
        };
        let host = self.walk.host;
        if result == FibResult::Type {
            return Ok(Part::Number(type_number(host.addr_type(addr, link))));
        }
        let mark = if has(FibKey::Mark) { seen.mark } else { 0 };
        // Only a route to another host counts, and with a link only one by that link.
        let routed = host.addr_type(addr, None) == AddrType::Unicast;
        let route = host.route_link(addr, mark).filter(|_| routed);
        let route = route.filter(|(name, _)| link.is_none_or(|link| link == *name));
        Ok(match (result, route) {
            (FibResult::Oifname, route) => Part::Name(route.map_or("", |(name, _)| name)),
            (FibResult::Check, route) => Part::Number(route.is_some().into()),
            (FibResult::Oif | FibResult::Type, route) => {
                Part::Number(route.map_or(0, |(_, index)| index.into()))
            }
        })
    }

    fn jhash(
        &mut self,
        at: &At<'_>,
        of: &Expr,
        parts: &[Part<'_>],
        modulus: u32,
        seed: Option<u32>,
    ) -> Result<u32, Stop> {
        let mut bytes = Vec::new();
        let exprs: &[Expr] = if let Expr::Concat(exprs) = of { exprs } else { core::slice::from_ref(of) };
        let alone = exprs.len() == 1;
        for (expr, part) in exprs.iter().zip(parts) {
            write_register(&mut bytes, expr, part, alone)
                .ok_or_else(|| unmodelled(format_args!("jhash of {expr:?}")))?;
        }
        if let Some(seed) = seed {
            return Ok(jhash::scale(jhash::jhash(&bytes, seed), modulus));
        }
        // The kernel draws a seed when the rule is loaded: any answer is possible, and stays the same for the same key.
        let place = self.memory(at);
        if let Some(known) = self.walk.state.hashed(&place, &bytes) {
            return Ok(known);
        }
        let point = format_args!("jhash {} {}", self.name, at.chain.name);
        let state = &mut *self.walk.state;
        let picked = pick_equal(self.walk.choices, &mut state.ones, point, modulus);
        state.remember_hash(place, bytes, picked);
        Ok(picked)
    }
}

/// The bits of a list of flags.
pub(super) fn flags(values: &[Value]) -> Result<u64, Stop> {
    values.iter().try_fold(0, |bits, value| match value {
        Value::Number(n) => Ok(bits | n),
        Value::Addr(_) | Value::Prefix(_) | Value::Range(..) | Value::Name(_) => {
            Err(unmodelled(format_args!("a flag that is no number: {value:?}")))
        }
    })
}

/// A number in the header of the transport; later fragments and other protocols have none.
fn l4<'a>(seen: &Seen<'_>, protocol: Option<u8>, at: usize, bytes: usize) -> Value1<'a> {
    if protocol.is_some_and(|p| p != seen.ip.protocol) || seen.is_later_fragment() {
        return Err(Stop::Break);
    }
    let bytes = seen.l4().get(at..at + bytes).ok_or(Stop::Break)?;
    Ok(Part::Number(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))))
}

fn mac(mac: crate::addr::MacAddr) -> u64 {
    mac.0.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

const fn ethertype(seen: &Seen<'_>) -> u64 {
    match seen.ip.family() {
        Family::V4 => packet::ETHERTYPE_IPV4 as u64,
        Family::V6 => packet::ETHERTYPE_IPV6 as u64,
    }
}

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
const fn nfproto(addr: IpAddr) -> u64 {
    if addr.is_ipv4() { 2 } else { 10 }
}

/// `RTN_*` of `linux/rtnetlink.h`.
pub(super) const fn type_number(kind: AddrType) -> u64 {
    match kind {
        AddrType::Unspec => 0,
        AddrType::Unicast => 1,
        AddrType::Local => 2,
        AddrType::Broadcast => 3,
        AddrType::Anycast => 4,
        AddrType::Multicast => 5,
        AddrType::Blackhole => 6,
        AddrType::Unreachable => 7,
        AddrType::Prohibit => 8,
        AddrType::Throw => 9,
        AddrType::Nat => 10,
        AddrType::Xresolve => 11,
    }
}

/// An operation on bits; `None` where a part is no number.
pub(super) fn binary(op: BinaryOp, left: &Part<'_>, right: &Part<'_>) -> Option<Part<'static>> {
    let apply = |left: u128, right: u128| {
        let by = u32::try_from(right).unwrap_or(u32::MAX);
        match op {
            BinaryOp::And => left & right,
            BinaryOp::Or => left | right,
            BinaryOp::Xor => left ^ right,
            BinaryOp::ShiftLeft => left.checked_shl(by).unwrap_or(0),
            BinaryOp::ShiftRight => left.checked_shr(by).unwrap_or(0),
        }
    };
    Some(match (left, right) {
        (Part::Number(left), Part::Number(right)) => {
            // Registers that are operated on have 32 bits.
            Part::Number((apply(u128::from(*left), u128::from(*right)) & 0xffff_ffff) as u64)
        }
        (Part::Addr(IpAddr::V4(left)), Part::Addr(IpAddr::V4(right))) => {
            let bits = apply(left.to_bits().into(), right.to_bits().into());
            Part::Addr(IpAddr::V4(core::net::Ipv4Addr::from_bits((bits & 0xffff_ffff) as u32)))
        }
        (Part::Addr(IpAddr::V6(left)), Part::Addr(IpAddr::V6(right))) => {
            let bits = apply(left.to_bits(), right.to_bits());
            Part::Addr(IpAddr::V6(core::net::Ipv6Addr::from_bits(bits)))
        }
        _ => return None,
    })
}

/// A part as it stands in the registers: in a concatenation each begins at a multiple of four bytes.
fn write_register(bytes: &mut Vec<u8>, expr: &Expr, part: &Part<'_>, alone: bool) -> Option<()> {
    match part {
        Part::Addr(IpAddr::V4(addr)) => bytes.extend(addr.octets()),
        Part::Addr(IpAddr::V6(addr)) => bytes.extend(addr.octets()),
        Part::Number(number) => {
            // Headers are in network order, the kernel's own values in that of the machine.
            let (width, network) = width(expr)?;
            let whole = number.to_be_bytes();
            let part = whole.get(8 - width..)?;
            if network { bytes.extend(part) } else { bytes.extend(part.iter().rev()) }
        }
        Part::Name(_) | Part::Made(_) | Part::Numbers(..) | Part::Addrs(..) => return None,
    }
    if !alone {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    Some(())
}

/// How many bytes a number has, and whether they are in network order.
fn width(expr: &Expr) -> Option<(usize, bool)> {
    match expr {
        Expr::Field(field) => Some(match field {
            Field::ThSport
            | Field::ThDport
            | Field::TcpSport
            | Field::TcpDport
            | Field::UdpSport
            | Field::UdpDport
            | Field::SctpSport
            | Field::SctpDport
            | Field::IpLength
            | Field::IpId
            | Field::IpFragOff
            | Field::Ip6Length
            | Field::EtherType => (2, true),
            Field::EtherSaddr | Field::EtherDaddr => (6, true),
            Field::IpProtocol
            | Field::IpTtl
            | Field::IpDscp
            | Field::Ip6Nexthdr
            | Field::Ip6Hoplimit
            | Field::TcpFlags
            | Field::IcmpType
            | Field::IcmpCode
            | Field::Icmpv6Type
            | Field::Icmpv6Code => (1, true),
            Field::IpSaddr
            | Field::IpDaddr
            | Field::Ip6Saddr
            | Field::Ip6Daddr
            | Field::ArpOperation
            | Field::ArpSaddrIp
            | Field::ArpDaddrIp => return None,
        }),
        Expr::Meta(Meta::Mark | Meta::Length) => Some((4, false)),
        Expr::Meta(Meta::L4proto | Meta::Nfproto) => Some((1, true)),
        Expr::Meta(Meta::Protocol) => Some((2, true)),
        Expr::Ct { key, .. } => match key {
            CtKey::Mark | CtKey::State | CtKey::Status => Some((4, false)),
            CtKey::ProtoSrc | CtKey::ProtoDst => Some((2, true)),
            CtKey::Protocol | CtKey::Direction | CtKey::L3proto => Some((1, true)),
            CtKey::Expiration
            | CtKey::Helper
            | CtKey::IpSaddr
            | CtKey::IpDaddr
            | CtKey::Ip6Saddr
            | CtKey::Ip6Daddr
            | CtKey::Zone
            | CtKey::Id
            | CtKey::Count
            | CtKey::Packets
            | CtKey::Bytes
            | CtKey::Avgpkt => None,
        },
        Expr::Binary { left, .. } => width(left),
        Expr::Meta(_)
        | Expr::Value(_)
        | Expr::Elements(_)
        | Expr::Named(_)
        | Expr::Fib { .. }
        | Expr::Numgen { .. }
        | Expr::Jhash { .. }
        | Expr::Concat(_)
        | Expr::Map { .. }
        | Expr::Flags(_)
        | Expr::Other(_) => None,
    }
}
