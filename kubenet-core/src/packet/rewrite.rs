//! Changing addresses and ports in place, as NAT does.
//!
//! Checksums are mended by the difference (RFC 1624, `net/netfilter/nf_nat_proto.c`), so a wrong one stays wrong.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ETHERNET_BYTES, Ip, number};
use crate::addr::Family;

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// Gives the packet in a frame another address and port at one end.
///
/// The port is left alone where the packet has none (a later fragment, another protocol); of an ICMP echo it is the
/// identifier. `ip` is what [`view`](super::view) says of the frame before.
pub fn rewrite(frame: &mut [u8], ip: &Ip, side: Side, to: (IpAddr, u16)) {
    let first = ip.fragment.is_none_or(|(offset, ..)| offset == 0);
    let l4 = usize::from(ip.l4);
    edit(frame, ETHERNET_BYTES, first.then_some(l4), ip.protocol, side, to);
    let end = ETHERNET_BYTES + usize::from(ip.len);
    if ip.protocol == number::SCTP
        && ip.fragment.is_none()
        && let Some(bytes) = frame.get_mut(l4..end)
    {
        super::sctp::set_checksum(bytes);
    }
}

/// The same for the packet that an ICMP error in a frame quotes; the error's own checksum is mended too.
pub fn rewrite_quoted(frame: &mut [u8], l4: u16, family: Family, side: Side, to: (IpAddr, u16)) {
    let icmp = usize::from(l4);
    let inner = icmp + 8;
    let Some((protocol, header)) = quoted_header(frame, inner, family) else { return };
    let before = sum(frame.get(icmp..).unwrap_or(&[]));
    edit(frame, inner, Some(inner + header), protocol, side, to);
    let after = sum(frame.get(icmp..).unwrap_or(&[]));
    mend(frame, icmp + 2, !before, after);
}

fn quoted_header(frame: &[u8], inner: usize, family: Family) -> Option<(u8, usize)> {
    match family {
        Family::V4 => Some((*frame.get(inner + 9)?, usize::from(frame.get(inner)? & 15) * 4)),
        Family::V6 => Some((*frame.get(inner + 6)?, 40)),
    }
}

fn edit(
    frame: &mut [u8],
    start: usize,
    l4: Option<usize>,
    protocol: u8,
    side: Side,
    (addr, port): (IpAddr, u16),
) {
    // What the transport checksum covers: address and port, old (complemented) and new.
    let (mut old, mut new) = (0, 0);
    match addr {
        IpAddr::V4(addr) => {
            let at = start + if side == Side::Source { 12 } else { 16 };
            let Some(field) = frame.get_mut(at..at + 4) else { return };
            (old, new) = (old + sum(field), new + sum(&addr.octets()));
            field.copy_from_slice(&addr.octets());
            mend(frame, start + 10, !fold(old), fold(new));
        }
        IpAddr::V6(addr) => {
            let at = start + if side == Side::Source { 8 } else { 24 };
            let Some(field) = frame.get_mut(at..at + 16) else { return };
            (old, new) = (old + sum(field), new + sum(&addr.octets()));
            field.copy_from_slice(&addr.octets());
        }
    }
    let Some(l4) = l4 else { return };
    let (port_at, sum_at) = match protocol {
        number::TCP => (if side == Side::Source { 0 } else { 2 }, Some(16)),
        number::UDP => (if side == Side::Source { 0 } else { 2 }, Some(6)),
        number::SCTP => (if side == Side::Source { 0 } else { 2 }, None),
        number::ICMP | number::ICMPV6 => {
            if protocol == number::ICMP {
                // No pseudo header.
                (old, new) = (0, 0);
            }
            (4, Some(2))
        }
        _ => return,
    };
    let echo = match frame.get(l4) {
        Some(kind) if protocol == number::ICMP => matches!(kind, 0 | 8 | 13..=18),
        Some(kind) if protocol == number::ICMPV6 => matches!(kind, 128 | 129),
        _ => true,
    };
    if echo && let Some(field) = frame.get_mut(l4 + port_at..l4 + port_at + 2) {
        (old, new) = (old + sum(field), new + u32::from(port));
        field.copy_from_slice(&port.to_be_bytes());
    }
    let Some(sum_at) = sum_at else { return };
    let absent = protocol == number::UDP && frame.get(l4 + sum_at..l4 + sum_at + 2) == Some(&[0, 0]);
    if !absent {
        mend(frame, l4 + sum_at, !fold(old), fold(new));
        if protocol == number::UDP && frame.get(l4 + sum_at..l4 + sum_at + 2) == Some(&[0, 0]) {
            frame.iter_mut().skip(l4 + sum_at).take(2).for_each(|byte| *byte = 0xff);
        }
    }
}

/// The one's complement sum of words, unfolded.
fn sum(bytes: &[u8]) -> u32 {
    let mut total = 0_u32;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        total += u32::from(word);
    }
    u32::from(fold(total))
}

const fn fold(mut total: u32) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// RFC 1624: HC' = ~(~HC + ~m + m'); `not_old` is ~m.
fn mend(frame: &mut [u8], at: usize, not_old: impl Into<u32>, new: impl Into<u32>) {
    let Some([high, low]) = frame.get(at..at + 2) else { return };
    let old = !u16::from_be_bytes([*high, *low]);
    let not_old = not_old.into() & 0xffff;
    let mended = !fold(u32::from(old) + not_old + u32::from(fold(new.into())));
    if let Some(field) = frame.get_mut(at..at + 2) {
        field.copy_from_slice(&mended.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::packet::{self, Ipv4Meta, TcpSegment, View, icmp_echo, icmp_error, tcp, udp};

    fn meta(src: &str, dst: &str) -> Ipv4Meta {
        let (src, dst) = (src.parse().expect("address"), dst.parse().expect("address"));
        Ipv4Meta { src, dst, ttl: 64, dont_fragment: true, id: 7 }
    }

    fn ip(frame: &[u8]) -> packet::Ip {
        match packet::view(frame).expect("a frame") {
            View::Ip(ip) => ip,
            View::Arp(_) | View::Other(_) => unreachable!("built as IP"),
        }
    }

    fn same_as_built(mut frame: Vec<u8>, side: Side, to: (IpAddr, u16), built: &[u8]) {
        let seen = ip(&frame);
        rewrite(&mut frame, &seen, side, to);
        assert_eq!(frame, built);
        assert!(packet::l4_checksum_is_right(&frame, &ip(&frame)));
    }

    #[test]
    fn a_rewritten_segment_is_the_one_that_would_have_been_built() {
        let segment = TcpSegment { sport: 40000, dport: 80, seq: 9, syn: true, ..TcpSegment::default() };
        let other = TcpSegment { dport: 8080, ..segment };
        let to = ("10.244.1.5".parse().expect("address"), 8080);
        let before = tcp(&meta("10.244.0.9", "10.96.0.10"), &segment, b"hello");
        same_as_built(
            before,
            Side::Destination,
            to,
            &tcp(&meta("10.244.0.9", "10.244.1.5"), &other, b"hello"),
        );
        let before = tcp(&meta("fd00::9", "fd96::10"), &segment, b"hello");
        let to = ("fd00:1::5".parse().expect("address"), 8080);
        same_as_built(before, Side::Destination, to, &tcp(&meta("fd00::9", "fd00:1::5"), &other, b"hello"));
    }

    #[test]
    fn a_rewritten_datagram_and_echo_keep_right_checksums() {
        let to = ("192.0.2.1".parse().expect("address"), 1234);
        let before = udp(&meta("10.244.0.9", "8.8.8.8"), 53000, 53, b"q");
        same_as_built(before, Side::Source, to, &udp(&meta("192.0.2.1", "8.8.8.8"), 1234, 53, b"q"));
        let before = icmp_echo(&meta("10.244.0.9", "8.8.8.8"), false, 77, 1, b"ping");
        same_as_built(
            before,
            Side::Source,
            to,
            &icmp_echo(&meta("192.0.2.1", "8.8.8.8"), false, 1234, 1, b"ping"),
        );
        let to6 = ("2001:db8::1".parse().expect("address"), 1234);
        let before = icmp_echo(&meta("fd00::9", "2001:db8::8"), false, 77, 1, b"ping");
        let built = icmp_echo(&meta("2001:db8::1", "2001:db8::8"), false, 1234, 1, b"ping");
        same_as_built(before, Side::Source, to6, &built);
    }

    #[test]
    fn a_quoted_packet_is_rewritten_and_the_error_stays_whole() {
        for (client, vip, pod, node) in [
            ("10.244.0.9", "10.96.0.10", "10.244.1.5", "10.244.1.1"),
            ("fd00::9", "fd96::10", "fd00:1::5", "fd00:1::1"),
        ] {
            let quote = |dst: &str, port| {
                let frame = udp(&meta(client, dst), 53000, port, b"question");
                let view = ip(&frame);
                packet::ip_bytes(&frame, &view).to_vec()
            };
            let error =
                |quote: &[u8]| icmp_error(&meta(node, client), packet::IcmpError::PortUnreachable, quote);
            let mut frame = error(&quote(pod, 5353));
            let seen = ip(&frame);
            let to = (vip.parse().expect("address"), 53);
            rewrite_quoted(&mut frame, seen.l4, seen.family(), Side::Destination, to);
            assert_eq!(frame, error(&quote(vip, 53)), "{client}");
        }
    }

    #[test]
    fn short_frames_are_left_alone() {
        let whole = tcp(&meta("10.0.0.2", "10.0.0.3"), &TcpSegment::default(), b"");
        let mut frame = [0; 20];
        rewrite(&mut frame, &ip(&whole), Side::Source, ("10.0.0.1".parse().expect("address"), 1));
        rewrite_quoted(&mut frame, 34, Family::V4, Side::Source, ("10.0.0.1".parse().expect("address"), 1));
        rewrite_quoted(&mut frame, 34, Family::V6, Side::Source, ("fd00::1".parse().expect("address"), 1));
        assert_eq!(frame, [0; 20]);
    }
}
