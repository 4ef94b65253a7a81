//! ICMP and ICMPv6: errors that the stack sends, echo, and what errors mean to sockets.
//!
//! Sources: `net/ipv4/icmp.c icmp_send, icmp_rcv`, `net/ipv6/icmp.c`, RFC 792, RFC 4443, RFC 1122 §3.2.2 (when no
//! error may be sent); spec/linux.md §6. Not modelled: rate limits of errors, accepting redirects.

use alloc::format;
use core::net::IpAddr;

use super::choices::Choices;
use super::event::{EventId, EventKind, FlowKind, Recorder, Stage};
use super::frame::Skb;
use super::machine::Stack;
use super::netfilter::Tuple;
use super::reason::DropReason;
use super::socket::{ConnectionKey, Failure};
use crate::addr::{Family, Protocol};
use crate::packet::{self, IcmpError, Ip, View, number};

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// Answers a packet with an ICMP error, where that is allowed.
    pub(super) fn icmp_error(&mut self, about: Skb, cause: EventId, error: IcmpError) {
        let Some(ip) = about.ip().copied() else { return };
        let later_fragment = ip.fragment.is_some_and(|(offset, ..)| offset != 0);
        // What was for everybody, by its address or by its frame, gets no error (`icmp_send`, `icmp6_send`).
        let broadcast =
            |addr| matches!(addr, IpAddr::V4(a) if a.is_broadcast() || self.st.broadcast.contains_key(&a));
        let for_all = packet::destination_mac(&about.bytes).is_multicast();
        let group = ip.dst.is_multicast() || broadcast(ip.dst) || for_all;
        if later_fragment
            || group
            || ip.src.is_unspecified()
            || ip.src.is_multicast()
            || is_error(&about.bytes, &ip)
        {
            return;
        }
        // An address of ours answers as itself; otherwise the route back chooses (`icmp_route_lookup`).
        let src = self.st.local_link(ip.dst).map(|_| ip.dst);
        let quoted = packet::ip_bytes(&about.bytes, &ip);
        // No route back: the error is lost, as in the kernel.
        let ct = about.ct.answer();
        let _ = self.send_about(FlowKind::IcmpError, cause, src, ip.src, about.nesting, ct, |meta| {
            let meta = packet::Ipv4Meta { dont_fragment: false, ..*meta };
            packet::icmp_error(&meta, error, quoted)
        });
    }

    /// Answers a segment with a reset in the name of its receiver (`nf_send_reset`); other packets get nothing.
    pub(super) fn reject_reset(&mut self, about: &Skb, ip: &Ip, cause: EventId) {
        let segment = packet::l4_bytes(&about.bytes, ip);
        let word = |at: usize| {
            let bytes = segment.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u32::from_be_bytes)
        };
        let (Some((sport, dport)), Some(flags), true) =
            (ip.ports, segment.get(13).copied(), ip.protocol == number::TCP)
        else {
            return;
        };
        let (fin, syn, rst, ack) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0, flags & 16 != 0);
        if rst {
            return;
        }
        let header = segment.get(12).map_or(20, |byte| usize::from(byte >> 4) * 4);
        let payload = segment.len().saturating_sub(header) as u32;
        let next = word(4).wrapping_add(payload + u32::from(syn) + u32::from(fin));
        let reset = packet::TcpSegment {
            sport: dport,
            dport: sport,
            seq: if ack { word(8) } else { 0 },
            ack: (!ack).then_some(next),
            rst: true,
            ..packet::TcpSegment::default()
        };
        let ct = about.ct.answer();
        let _ = self.send_about(FlowKind::Reply, cause, Some(ip.dst), ip.src, about.nesting, ct, |meta| {
            packet::tcp(meta, &reset, &[])
        });
    }

    pub(super) fn icmp_input(&mut self, link: u32, ip: Ip, mut skb: Skb) {
        if !packet::l4_checksum_is_right(&skb.bytes, &ip) {
            let why = || ("the ICMP checksum is wrong".into(), None);
            self.drop(skb, Some(link), Stage::Socket, DropReason::IcmpCsum, why);
            return;
        }
        let body = packet::l4_bytes(&skb.bytes, &ip).to_vec();
        match (ip.family(), body.as_slice()) {
            (Family::V4, [8, 0, _, _, a, b, c, d, payload @ ..])
            | (Family::V6, [128, 0, _, _, a, b, c, d, payload @ ..]) => {
                if self.plan.sysctls.icmp_echo_ignore_all && ip.family() == Family::V4 {
                    self.drop(skb, Some(link), Stage::Socket, DropReason::NotSpecified, || {
                        ("icmp_echo_ignore_all is set".into(), None)
                    });
                    return;
                }
                let (id, seq) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
                self.note(&mut skb, Some(link), Stage::Socket, || {
                    (
                        EventKind::Delivered {
                            listener: Some("the kernel answers echo requests".into()),
                            port: None,
                        },
                        None,
                    )
                });
                let src = if ip.dst.is_multicast() { None } else { Some(ip.dst) };
                let _ = self.send_with(FlowKind::Reply, skb.last, src, ip.src, 0, |meta| {
                    let meta = packet::Ipv4Meta { dont_fragment: false, ..*meta };
                    packet::icmp_echo(&meta, true, id, seq, payload)
                });
            }
            (Family::V4, [0, 0, _, _, a, b, ..]) | (Family::V6, [129, 0, _, _, a, b, ..]) => {
                let id = u16::from_be_bytes([*a, *b]);
                let key =
                    ConnectionKey { protocol: Protocol::Icmp, local: (ip.dst, id), remote: (ip.src, 0) };
                self.echo_answered(link, key, skb);
            }
            (Family::V6, [135, 0, ..]) => self.ndp_solicited(link, &body, skb),
            (Family::V6, [136, 0, ..]) => self.ndp_advertised(link, &body, skb),
            _ if is_error(&skb.bytes, &ip) => self.icmp_error_input(link, &ip, &body, skb),
            _ => {
                self.note(&mut skb, Some(link), Stage::Socket, || {
                    (EventKind::Delivered { listener: Some("the kernel".into()), port: None }, None)
                });
            }
        }
    }

    /// An error about something that this namespace sent.
    fn icmp_error_input(&mut self, link: u32, ip: &Ip, body: &[u8], mut skb: Skb) {
        self.note(&mut skb, Some(link), Stage::Socket, || {
            (EventKind::Delivered { listener: Some("the kernel".into()), port: None }, None)
        });
        let failure = match (ip.family(), body) {
            (Family::V4, [3, 4, _, _, _, _, a, b, ..]) => {
                Failure::TooBig(u32::from(u16::from_be_bytes([*a, *b])))
            }
            (Family::V6, [2, _, _, _, a, b, c, d, ..]) => {
                Failure::TooBig(u32::from_be_bytes([*a, *b, *c, *d]))
            }
            (Family::V4, [3, 0 | 6, ..]) | (Family::V6, [1, 0, ..]) => Failure::NetUnreachable,
            (Family::V4, [3, 3, ..]) | (Family::V6, [1, 4, ..]) => Failure::PortUnreachable,
            (Family::V4, [3, 9 | 10 | 13, ..]) | (Family::V6, [1, 1, ..]) => Failure::Prohibited,
            (Family::V4, [3, ..]) | (Family::V6, [1, ..]) => Failure::HostUnreachable,
            (Family::V4, [11, ..]) | (Family::V6, [3, ..]) => Failure::TimeExceeded,
            _ => return,
        };
        let Some(about) = quoted(ip.family(), body.get(8..).unwrap_or(&[])) else { return };
        // A datagram's socket that has not asked for more (`IP_RECVERR`) is told of what will not pass by itself (`__udp4_lib_err`).
        if about.protocol == Protocol::Udp && may_pass(ip.family(), body) {
            return;
        }
        self.connection_failed(about, failure, skb.last);
    }
}

/// Whether an ICMP packet is an error (and so may not be answered by one).
fn is_error(frame: &[u8], ip: &Ip) -> bool {
    let kind = packet::l4_bytes(frame, ip).first().copied();
    match (ip.protocol, kind) {
        (number::ICMP, Some(kind)) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        (number::ICMPV6, Some(kind)) => kind < 128 || kind == 137,
        _ => false,
    }
}

/// Whether an error may be gone the next time (`icmp_err_convert`, `icmpv6_err_convert`: those that are not fatal).
const fn may_pass(family: Family, body: &[u8]) -> bool {
    match (family, body) {
        (Family::V4, [3, code, ..]) => matches!(code, 0 | 1 | 5 | 11 | 12),
        (Family::V6, [1, code, ..]) => matches!(code, 0 | 2 | 3),
        (Family::V6, [2, ..]) => false,
        _ => true,
    }
}

/// Which connection a quoted packet belonged to, seen from its sender. The quote may be cut short, so only its
/// addresses and first eight bytes are read.
fn quoted(family: Family, quote: &[u8]) -> Option<ConnectionKey> {
    let tuple = Tuple::quoted(family, quote)?;
    let (protocol, dport) = match tuple.protocol {
        number::TCP => (Protocol::Tcp, tuple.dport),
        number::UDP => (Protocol::Udp, tuple.dport),
        number::SCTP => (Protocol::Sctp, tuple.dport),
        number::ICMP | number::ICMPV6 => (Protocol::Icmp, 0),
        _ => return None,
    };
    Some(ConnectionKey { protocol, local: (tuple.src, tuple.sport), remote: (tuple.dst, dport) })
}

/// Puts fragments back together: the payloads in order behind the first header. `None` while pieces are missing.
pub(super) fn reassemble(pieces: &[Skb]) -> Option<alloc::vec::Vec<u8>> {
    let mut parts: alloc::vec::Vec<(u16, bool, &Skb, Ip)> = alloc::vec::Vec::new();
    for skb in pieces {
        let Ok(View::Ip(ip)) = skb.view else { continue };
        let (offset, more, _) = ip.fragment?;
        parts.push((offset, more, skb, ip));
    }
    parts.sort_by_key(|p| p.0);
    let (first_offset, _, first, first_ip) = *parts.first()?;
    if first_offset != 0 || parts.last()?.1 {
        return None;
    }
    let mut payload = alloc::vec::Vec::new();
    for (offset, _, skb, ip) in &parts {
        if usize::from(*offset) != payload.len() {
            return None;
        }
        payload.extend_from_slice(packet::l4_bytes(&skb.bytes, ip));
    }
    packet::rebuild(&first.bytes, &first_ip, &payload)
}

pub(super) fn fragment_words(count: usize) -> alloc::string::String {
    format!("{count} fragments waited 30 s for the rest")
}
