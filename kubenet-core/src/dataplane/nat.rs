//! Address translation: binding a connection to other addresses, and changing its packets.
//!
//! A rule binds the first packet's connection by editing the reply that it expects; from then on every packet of the
//! connection, and every ICMP error about it, is changed by what the two tuples say. Sources: `net/netfilter/nf_nat_core.c`
//! (`nf_nat_inet_fn`, `nf_nat_setup_info`, `get_unique_tuple`, `nf_nat_l4proto_unique_tuple`), `nf_nat_proto.c`
//! (`nf_nat_icmp_reply_translation`), `nf_nat_masquerade.c`, `nf_nat_redirect.c`; spec/linux.md §2.
//!
//! Which port replaces one that is taken is the kernel's chance; here it is a function of the connection, and whether the
//! own port was kept is what a trace says. Unlike the kernel, which tries 128 ports and gives up sooner, a port is found if
//! one is free. Not modelled: keeping the mapping of a source for its other destinations (`find_appropriate_src`).

use alloc::format;
use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::choices::Choices;
use super::conntrack::{Connection, Conntrack, Ct, quoted_bytes};
use super::event::{EventKind, Recorder, Stage};
use super::fib::{Found, Query};
use super::frame::Skb;
use super::machine::Stack;
use super::netfilter::{NatKind, NatRange, Tuple};
use crate::addr::Family;
use crate::packet::{self, Side, number};
use crate::plan::netfilter::{CtStatus, NatFlags, PortRange};
use crate::plan::{Hook, Origin};
use crate::time::Instant;

/// What is translated at a hook (`HOOK2MANIP`).
pub(super) const fn side_of(hook: Hook) -> Option<Side> {
    match hook {
        Hook::Prerouting | Hook::Output => Some(Side::Destination),
        Hook::Input | Hook::Postrouting => Some(Side::Source),
        Hook::Forward | Hook::Ingress | Hook::Egress => None,
    }
}

/// No port is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Connection {
    /// Whether NAT was decided for a side.
    pub(super) const fn is_bound(&self, side: Side) -> bool {
        match side {
            Side::Source => self.bound.0,
            Side::Destination => self.bound.1,
        }
    }

    /// Binds one side to a range; `None` leaves it alone, unless another connection has its tuple.
    pub(super) fn bind(
        &mut self,
        table: &mut Conntrack,
        side: Side,
        range: Option<NatRange>,
        now: Instant,
        pick: &mut dyn FnMut(u64) -> u64,
    ) -> Result<(), Exhausted> {
        // The tuple of the packet as it is now, NAT of the other side included.
        let current = self.reply.inverse();
        let range = range.unwrap_or(NatRange { addrs: None, ports: None, flags: NatFlags::default() });
        let chosen = unique(table, current, side, &range, now, pick)?;
        if chosen != current {
            self.reply = chosen.inverse();
            self.set(match side {
                Side::Source => CtStatus::Snat,
                Side::Destination => CtStatus::Dnat,
            });
        }
        match side {
            Side::Source => self.bound.0 = true,
            Side::Destination => self.bound.1 = true,
        }
        Ok(())
    }
}

const fn end(tuple: &Tuple, side: Side) -> (IpAddr, u16) {
    match side {
        Side::Source => (tuple.src, tuple.sport),
        Side::Destination => (tuple.dst, tuple.dport),
    }
}

/// What a packet is given at an end. An ICMP query has its identifier at either (`icmp_manip_pkt`).
const fn written(tuple: &Tuple, side: Side) -> (IpAddr, u16) {
    let (addr, port) = end(tuple, side);
    match tuple.protocol {
        number::ICMP | number::ICMPV6 => (addr, tuple.sport),
        _ => (addr, port),
    }
}

const fn with_end(mut tuple: Tuple, side: Side, (addr, port): (IpAddr, u16)) -> Tuple {
    match side {
        Side::Source => (tuple.src, tuple.sport) = (addr, port),
        Side::Destination => (tuple.dst, tuple.dport) = (addr, port),
    }
    tuple
}

/// A tuple in the range whose reply no other connection has (`get_unique_tuple`). O(ports) when all but the last are taken.
fn unique(
    table: &mut Conntrack,
    current: Tuple,
    side: Side,
    range: &NatRange,
    now: Instant,
    pick: &mut dyn FnMut(u64) -> u64,
) -> Result<Tuple, Exhausted> {
    let random = range.flags.random || range.flags.fully_random;
    let (own_addr, own_port) = end(&current, side);
    let fits_addr = range.addrs.is_none_or(|(first, last)| first <= own_addr && own_addr <= last);
    let icmp = matches!(current.protocol, number::ICMP | number::ICMPV6);
    let has_ports =
        matches!(current.protocol, number::TCP | number::UDP | number::SCTP) || icmp && side == Side::Source;
    let fits_port = range.ports.is_none_or(|ports| !has_ports || ports.contains(own_port));
    if side == Side::Source && !random && fits_addr && fits_port && !table.taken(&current.inverse(), now) {
        return Ok(current);
    }
    let addr = match range.addrs {
        None => own_addr,
        Some((first, last)) if first == last => first,
        Some((first, last)) => address_between(first, last, &current, range.flags.persistent, pick),
    };
    let moved = with_end(current, side, (addr, own_port));
    if !has_ports {
        // An ICMP error's type is not a port, and other protocols have none.
        let clash = side == Side::Source && table.taken(&moved.inverse(), now);
        return if clash { Err(Exhausted) } else { Ok(moved) };
    }
    if !random {
        match range.ports {
            Some(ports) if ports.first == ports.last && !icmp => {
                return Ok(with_end(current, side, (addr, ports.first)));
            }
            Some(ports) if ports.contains(own_port) && !table.taken(&moved.inverse(), now) => {
                return Ok(moved);
            }
            None if !table.taken(&moved.inverse(), now) => return Ok(moved),
            Some(_) | None => {}
        }
    }
    let ports = match range.ports {
        Some(ports) => ports,
        // A destination's port has no other that would do.
        None if side == Side::Destination => return Ok(moved),
        None if icmp => PortRange { first: 0, last: u16::MAX },
        None => port_class(own_port),
    };
    let count = u64::from(ports.last.saturating_sub(ports.first)) + 1;
    let start = pick(count);
    for step in 0..count {
        let port = ports.first.saturating_add(((start + step) % count) as u16);
        let tuple = with_end(current, side, (addr, port));
        if !table.taken(&tuple.inverse(), now) {
            return Ok(tuple);
        }
    }
    Err(Exhausted)
}

/// Ports that may stand for one another: a privileged one stays privileged.
const fn port_class(port: u16) -> PortRange {
    match port {
        0..512 => PortRange { first: 1, last: 511 },
        512..1024 => PortRange { first: 600, last: 1023 },
        _ => PortRange { first: 1024, last: u16::MAX },
    }
}

/// One of a range of addresses, by source and, unless `persistent`, destination (`find_best_ips_proto`).
fn address_between(
    first: IpAddr,
    last: IpAddr,
    tuple: &Tuple,
    persistent: bool,
    pick: &mut dyn FnMut(u64) -> u64,
) -> IpAddr {
    let number = |addr: IpAddr| match addr {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    };
    let span = number(last).saturating_sub(number(first));
    let count = u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1);
    let offset = if persistent {
        spread(&Tuple { dst: tuple.src, sport: 0, dport: 0, ..*tuple }) % count
    } else {
        pick(count)
    };
    match first {
        IpAddr::V4(a) => Ipv4Addr::from(u32::from(a).wrapping_add(offset as u32)).into(),
        IpAddr::V6(a) => Ipv6Addr::from(u128::from(a).wrapping_add(u128::from(offset))).into(),
    }
}

/// A number that a tuple always has, evenly spread (FNV-1a and a final mix).
fn spread(tuple: &Tuple) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for addr in [tuple.src, tuple.dst] {
        match addr {
            IpAddr::V4(addr) => addr.octets().into_iter().for_each(&mut eat),
            IpAddr::V6(addr) => addr.octets().into_iter().for_each(&mut eat),
        }
    }
    for port in [tuple.sport, tuple.dport] {
        port.to_be_bytes().into_iter().for_each(&mut eat);
    }
    eat(tuple.protocol);
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// What a rule asks for as a range of addresses and ports. `None`: there is no address to take.
    pub(super) fn nat_range(
        &mut self,
        kind: NatKind,
        hook: Hook,
        skb: &Skb,
        iif: Option<u32>,
        oif: Option<u32>,
    ) -> Option<NatRange> {
        let ip = *skb.ip()?;
        let at = |range: NatRange, addr: IpAddr| NatRange { addrs: Some((addr, addr)), ..range };
        match kind {
            NatKind::Dnat(range) | NatKind::Snat(range) => Some(range),
            NatKind::Masquerade(range) => {
                let near = self.next_hop(ip.dst, skb.mark);
                Some(at(range, self.source_on(oif?, near)?))
            }
            NatKind::Redirect(range) => {
                let addr = match (hook, ip.family()) {
                    (Hook::Output, Family::V4) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    (Hook::Output, Family::V6) => IpAddr::V6(Ipv6Addr::LOCALHOST),
                    _ => {
                        let link = self.plan.links.get(iif? as usize)?;
                        let own = link.addresses.iter().map(|a| a.net.addr());
                        own.into_iter().find(|addr| Family::of(*addr) == ip.family())?
                    }
                };
                Some(at(range, addr))
            }
        }
    }

    fn next_hop(&mut self, dst: IpAddr, mark: u32) -> IpAddr {
        let fib = self.st.fib(self.plan, dst);
        let query = Query { dst, src: None, iif: None, oif: None, mark };
        match fib.lookup(self.plan, &query) {
            Found::Route { hops, .. } => hops.first().and_then(|hop| hop.via).unwrap_or(dst),
            Found::None | Found::Rule(_) | Found::Unmodelled(_) => dst,
        }
    }

    /// Binds the connection of its first packet. `Err` says why it cannot be.
    pub(super) fn nat_bind(
        &mut self,
        skb: &mut Skb,
        side: Side,
        range: Option<NatRange>,
    ) -> Result<(), String> {
        let Ct::New(connection) = &mut skb.ct else { return Ok(()) };
        // A function of the connection: the kernel's own choice cannot be known.
        let seed = spread(&connection.orig);
        let mut pick = |count: u64| seed % count.max(1);
        let Some(table) = self.st.conntrack.as_mut() else { return Ok(()) };
        let protocol = connection.orig.protocol;
        connection.bind(table, side, range, self.now, &mut pick).map_err(|Exhausted| {
            let words = match range.and_then(|range| range.ports) {
                Some(ports) => format!("all ports from {} to {}", ports.first, ports.last),
                None => "all ports".into(),
            };
            format!("no port is left: {words} of IP protocol {protocol} are taken for this destination")
        })
    }

    /// Changes a packet as its connection says (`nf_nat_packet`).
    pub(super) fn nat_packet(
        &mut self,
        skb: &mut Skb,
        side: Side,
        at: Option<u32>,
        stage: Stage,
        origin: Option<Origin>,
    ) {
        let Some(table) = self.st.conntrack.as_ref() else { return };
        let Some(connection) = table.of(&skb.ct) else { return };
        let original = skb.ct.original();
        // What replaces the packet's own end is the other direction's opposite end.
        let bit = match (side, original) {
            (Side::Source, true) | (Side::Destination, false) => CtStatus::Snat,
            (Side::Destination, true) | (Side::Source, false) => CtStatus::Dnat,
        };
        if !connection.is(bit) {
            return;
        }
        let other = if original { connection.reply } else { connection.orig };
        let target = other.inverse();
        let Some(ip) = skb.ip().copied() else { return };
        if skb.ct.is_related() && quoted_bytes(&ip, &skb.bytes).is_some() {
            // The error's own end, and the opposite end of the packet that it quotes.
            let (addr, _) = end(&target, side);
            let opposite = match side {
                Side::Source => Side::Destination,
                Side::Destination => Side::Source,
            };
            let quoted = written(&other, opposite);
            packet::rewrite_quoted(&mut skb.bytes, ip.l4, ip.family(), opposite, quoted);
            packet::rewrite(&mut skb.bytes, &ip, side, (addr, 0));
        } else {
            packet::rewrite(&mut skb.bytes, &ip, side, written(&target, side));
        }
        skb.view = packet::view(&skb.bytes);
        self.translated(skb, &ip, side, !original, at, stage, origin);
    }

    /// Takes down that an end of a packet was changed; `ip` is what it was before.
    #[allow(clippy::too_many_arguments, reason = "an event")]
    pub(super) fn translated(
        &mut self,
        skb: &mut Skb,
        ip: &packet::Ip,
        side: Side,
        reply: bool,
        at: Option<u32>,
        stage: Stage,
        origin: Option<Origin>,
    ) {
        let Some(after) = skb.ip().copied() else { return };
        let (from, to) = (socket(ip, side), socket(&after, side));
        if from != to {
            self.note(skb, at, stage, || (EventKind::Translated { side, from, to, reply }, origin));
        }
    }
}

/// An end of a packet, port 0 where it has none.
fn socket(ip: &packet::Ip, side: Side) -> SocketAddr {
    let (sport, dport) = ip.ports.unwrap_or((0, 0));
    match side {
        Side::Source => SocketAddr::new(ip.src, sport),
        Side::Destination => SocketAddr::new(ip.dst, dport),
    }
}
