//! Building frames, and the in-place edits of forwarding.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header,
    Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, TcpHeader, TcpOptionElement, UdpHeader,
    icmpv4, icmpv6,
};

use super::{ETHERNET_BYTES, Ip, ip_bytes};
use crate::addr::{Family, MacAddr};

/// Length of the VXLAN header (RFC 7348 §5).
pub const VXLAN_HEADER_BYTES: usize = 8;

/// The fields of an IP header that a sender chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Meta {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DF; ignored in IPv6.
    pub dont_fragment: bool,
    /// Identification; ignored in IPv6.
    pub id: u16,
}

/// A TCP segment to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TcpSegment {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; `None` leaves ACK clear.
    pub ack: Option<u32>,
    /// SYN.
    pub syn: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
    /// PSH.
    pub psh: bool,
    /// The MSS option, in a SYN.
    pub mss: Option<u16>,
}

fn frame_with_ip(
    ip: &Ipv4Meta,
    protocol: IpNumber,
    l4_len: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::with_capacity(ETHERNET_BYTES + 40 + l4_len);
    let ether_type = match ip.dst {
        IpAddr::V4(_) => EtherType::IPV4,
        IpAddr::V6(_) => EtherType::IPV6,
    };
    out.extend_from_slice(&Ethernet2Header { source: [0; 6], destination: [0; 6], ether_type }.to_bytes());
    match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = Ipv4Header {
                total_len: u16::try_from(20 + l4_len).unwrap_or(u16::MAX),
                identification: ip.id,
                dont_fragment: ip.dont_fragment,
                time_to_live: ip.ttl,
                protocol,
                source: src.octets(),
                destination: dst.octets(),
                ..Ipv4Header::default()
            };
            header.header_checksum = header.calc_header_checksum();
            out.extend_from_slice(&header.to_bytes());
        }
        (src, dst) => {
            let header = Ipv6Header {
                payload_length: u16::try_from(l4_len).unwrap_or(u16::MAX),
                next_header: protocol,
                hop_limit: ip.ttl,
                source: as_v6(src).octets(),
                destination: as_v6(dst).octets(),
                ..Ipv6Header::default()
            };
            out.extend_from_slice(&header.to_bytes());
        }
    }
    write(&mut out);
    out
}

const fn as_v6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    }
}

/// A TCP segment in a frame; MAC addresses are filled in by the neighbour layer.
pub fn tcp(ip: &Ipv4Meta, segment: &TcpSegment, payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(segment.sport, segment.dport, segment.seq, 64240);
    (header.syn, header.fin, header.rst, header.psh) = (segment.syn, segment.fin, segment.rst, segment.psh);
    if segment.rst {
        header.window_size = 0;
    }
    if let Some(ack) = segment.ack {
        header.ack = true;
        header.acknowledgment_number = ack;
    }
    if let Some(mss) = segment.mss {
        // One option of four bytes always fits.
        let _ = header.set_options(&[TcpOptionElement::MaximumSegmentSize(mss)]);
    }
    header.checksum = match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), payload)
        }
        (src, dst) => header.calc_checksum_ipv6_raw(as_v6(src).octets(), as_v6(dst).octets(), payload),
    }
    .unwrap_or(0);
    let bytes = header.to_bytes();
    frame_with_ip(ip, IpNumber::TCP, bytes.len() + payload.len(), |out| {
        out.extend_from_slice(&bytes);
        out.extend_from_slice(payload);
    })
}

/// A UDP datagram in a frame.
pub fn udp(ip: &Ipv4Meta, sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let header = match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let ip = Ipv4Header { source: src.octets(), destination: dst.octets(), ..Ipv4Header::default() };
            UdpHeader::with_ipv4_checksum(sport, dport, &ip, payload)
        }
        (src, dst) => {
            let ip = Ipv6Header {
                source: as_v6(src).octets(),
                destination: as_v6(dst).octets(),
                ..Ipv6Header::default()
            };
            UdpHeader::with_ipv6_checksum(sport, dport, &ip, payload)
        }
    };
    let header = header.unwrap_or_default().to_bytes();
    frame_with_ip(ip, IpNumber::UDP, header.len() + payload.len(), |out| {
        out.extend_from_slice(&header);
        out.extend_from_slice(payload);
    })
}

/// Any payload with a protocol number in a frame.
pub(super) fn raw(ip: &Ipv4Meta, protocol: u8, payload: &[u8]) -> Vec<u8> {
    frame_with_ip(ip, IpNumber(protocol), payload.len(), |out| out.extend_from_slice(payload))
}

/// An ICMP or ICMPv6 echo request or reply.
pub fn icmp_echo(ip: &Ipv4Meta, reply: bool, id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let echo = etherparse::IcmpEchoHeader { id, seq };
    match Family::of(ip.dst) {
        Family::V4 => {
            let kind = if reply { Icmpv4Type::EchoReply(echo) } else { Icmpv4Type::EchoRequest(echo) };
            icmp4(ip, kind, payload)
        }
        Family::V6 => {
            let kind = if reply { Icmpv6Type::EchoReply(echo) } else { Icmpv6Type::EchoRequest(echo) };
            icmp6(ip, kind, payload)
        }
    }
}

fn icmp4(ip: &Ipv4Meta, kind: Icmpv4Type, payload: &[u8]) -> Vec<u8> {
    let header = Icmpv4Header::with_checksum(kind, payload).to_bytes();
    frame_with_ip(ip, IpNumber::ICMP, header.len() + payload.len(), |out| {
        out.extend_from_slice(&header);
        out.extend_from_slice(payload);
    })
}

fn icmp6(ip: &Ipv4Meta, kind: Icmpv6Type, payload: &[u8]) -> Vec<u8> {
    let (src, dst) = (as_v6(ip.src).octets(), as_v6(ip.dst).octets());
    let Ok(header) = Icmpv6Header::with_checksum(kind, src, dst, payload) else { return Vec::new() };
    let header = header.to_bytes();
    frame_with_ip(ip, IpNumber::IPV6_ICMP, header.len() + payload.len(), |out| {
        out.extend_from_slice(&header);
        out.extend_from_slice(payload);
    })
}

/// Errors that the stack answers with (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// 3/0; ICMPv6 1/0.
    NetUnreachable,
    /// 3/1; ICMPv6 1/3 (address unreachable).
    HostUnreachable,
    /// 3/3; ICMPv6 1/4.
    PortUnreachable,
    /// 3/2; ICMPv6 4/1 (unrecognised next header).
    ProtocolUnreachable,
    /// 3/4 with the next hop's MTU; ICMPv6 2/0.
    TooBig(u32),
    /// 3/13; ICMPv6 1/1.
    Prohibited,
    /// 11/0; ICMPv6 3/0.
    TimeExceeded,
    /// 3 with this code; ICMPv6 1 with it.
    Unreachable(u8),
    /// 5/1: a better router (IPv4 only).
    RedirectHost(Ipv4Addr),
}

/// An ICMP error about a packet: quotes its header and the first bytes, as many as the RFCs ask for
/// (IPv4: up to 576 bytes in all, `icmp_send`; IPv6: up to 1280, RFC 4443 §2.4).
pub fn icmp_error(ip: &Ipv4Meta, error: IcmpError, about: &[u8]) -> Vec<u8> {
    match Family::of(ip.dst) {
        Family::V4 => {
            let quote = about.get(..about.len().min(576 - 28)).unwrap_or(about);
            let unreachable = Icmpv4Type::DestinationUnreachable;
            let kind = match error {
                IcmpError::NetUnreachable => unreachable(icmpv4::DestUnreachableHeader::Network),
                IcmpError::HostUnreachable => unreachable(icmpv4::DestUnreachableHeader::Host),
                IcmpError::PortUnreachable => unreachable(icmpv4::DestUnreachableHeader::Port),
                IcmpError::ProtocolUnreachable => unreachable(icmpv4::DestUnreachableHeader::Protocol),
                IcmpError::Prohibited => unreachable(icmpv4::DestUnreachableHeader::FilterProhibited),
                IcmpError::TooBig(mtu) => unreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded {
                    next_hop_mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
                }),
                IcmpError::TimeExceeded => {
                    Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit)
                }
                IcmpError::Unreachable(code) => {
                    Icmpv4Type::Unknown { type_u8: 3, code_u8: code, bytes5to8: [0; 4] }
                }
                IcmpError::RedirectHost(router) => Icmpv4Type::Redirect(icmpv4::RedirectHeader {
                    code: icmpv4::RedirectCode::RedirectForHost,
                    gateway_internet_address: router.octets(),
                }),
            };
            icmp4(ip, kind, quote)
        }
        Family::V6 => {
            let quote = about.get(..about.len().min(1280 - 48)).unwrap_or(about);
            let unreachable = Icmpv6Type::DestinationUnreachable;
            let kind = match error {
                IcmpError::NetUnreachable => unreachable(icmpv6::DestUnreachableCode::NoRoute),
                IcmpError::HostUnreachable | IcmpError::RedirectHost(_) => {
                    unreachable(icmpv6::DestUnreachableCode::Address)
                }
                IcmpError::PortUnreachable => unreachable(icmpv6::DestUnreachableCode::Port),
                IcmpError::Prohibited => unreachable(icmpv6::DestUnreachableCode::Prohibited),
                IcmpError::Unreachable(code) => {
                    Icmpv6Type::Unknown { type_u8: 1, code_u8: code, bytes5to8: [0; 4] }
                }
                IcmpError::TooBig(mtu) => Icmpv6Type::PacketTooBig { mtu },
                IcmpError::TimeExceeded => {
                    Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded)
                }
                IcmpError::ProtocolUnreachable => {
                    Icmpv6Type::ParameterProblem(icmpv6::ParameterProblemHeader {
                        code: icmpv6::ParameterProblemCode::UnrecognizedNextHeader,
                        pointer: 6,
                    })
                }
            };
            icmp6(ip, kind, quote)
        }
    }
}

/// An ARP request or reply in a frame with its MAC addresses.
pub fn arp(request: bool, from: (MacAddr, Ipv4Addr), to: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    let destination = if request { MacAddr::BROADCAST } else { to.0 };
    let packet = ArpEthIpv4Packet {
        operation: if request { ArpOperation::REQUEST } else { ArpOperation::REPLY },
        sender_mac: from.0.0,
        sender_ipv4: from.1.octets(),
        target_mac: to.0.0,
        target_ipv4: to.1.octets(),
    };
    let ether = Ethernet2Header { source: from.0.0, destination: destination.0, ether_type: EtherType::ARP };
    let mut out = Vec::with_capacity(42);
    out.extend_from_slice(&ether.to_bytes());
    out.extend_from_slice(&packet.to_bytes());
    out
}

/// The solicited-node multicast group of an address (RFC 4291 §2.7.1).
pub(crate) const fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let o = addr.octets();
    Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        u16::from_be_bytes([0xff, o[13]]),
        u16::from_be_bytes([o[14], o[15]]),
    )
}

/// A neighbour solicitation (RFC 4861 §4.3) in a frame with its MAC addresses.
pub fn ndp_solicitation(from: (MacAddr, Ipv6Addr), target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    let ip =
        Ipv4Meta { src: IpAddr::V6(from.1), dst: IpAddr::V6(group), ttl: 255, dont_fragment: true, id: 0 };
    let mut body = Vec::with_capacity(24);
    body.extend_from_slice(&target.octets());
    body.extend_from_slice(&[1, 1]); // option 1: source link-layer address, 8 bytes
    body.extend_from_slice(&from.0.0);
    let mut frame = icmp6(&ip, Icmpv6Type::Unknown { type_u8: 135, code_u8: 0, bytes5to8: [0; 4] }, &body);
    set_macs(&mut frame, from.0, MacAddr::from_ipv6_multicast(group));
    frame
}

/// A neighbour advertisement (RFC 4861 §4.4): solicited, override set.
pub fn ndp_advertisement(from: (MacAddr, Ipv6Addr), to: (MacAddr, Ipv6Addr), router: bool) -> Vec<u8> {
    let ip =
        Ipv4Meta { src: IpAddr::V6(from.1), dst: IpAddr::V6(to.1), ttl: 255, dont_fragment: true, id: 0 };
    let mut body = Vec::with_capacity(24);
    body.extend_from_slice(&from.1.octets());
    body.extend_from_slice(&[2, 1]); // option 2: target link-layer address, 8 bytes
    body.extend_from_slice(&from.0.0);
    let flags = if router { 0xe0 } else { 0x60 };
    let kind = Icmpv6Type::Unknown { type_u8: 136, code_u8: 0, bytes5to8: [flags, 0, 0, 0] };
    let mut frame = icmp6(&ip, kind, &body);
    set_macs(&mut frame, from.0, to.0);
    frame
}

/// A redirect of IPv6 (RFC 4861 §4.5): packets to `dst` go by `target`, whose MAC address is told where it is known. Quotes the
/// packet that it is about, as far as 1280 bytes in all reach.
pub fn ndp_redirect(
    router: Ipv6Addr,
    to: Ipv6Addr,
    target: (Ipv6Addr, Option<MacAddr>),
    dst: Ipv6Addr,
    about: &[u8],
) -> Vec<u8> {
    let ip = Ipv4Meta { src: IpAddr::V6(router), dst: IpAddr::V6(to), ttl: 255, dont_fragment: true, id: 0 };
    let mut body = Vec::with_capacity(48 + about.len());
    body.extend_from_slice(&target.0.octets());
    body.extend_from_slice(&dst.octets());
    if let Some(mac) = target.1 {
        body.extend_from_slice(&[2, 1]); // option 2: target link-layer address, 8 bytes
        body.extend_from_slice(&mac.0);
    }
    // Option 4: redirected header; its length counts eights, and so the quote ends at one.
    let eights = (about.len() + 8).min(1280 - 40 - 8 - body.len()) / 8;
    body.extend_from_slice(&[4, eights as u8, 0, 0, 0, 0, 0, 0]);
    body.extend_from_slice(about.get(..eights * 8 - 8).unwrap_or(about));
    icmp6(&ip, Icmpv6Type::Unknown { type_u8: 137, code_u8: 0, bytes5to8: [0; 4] }, &body)
}

/// Writes the MAC addresses of a frame.
pub fn set_macs(frame: &mut [u8], source: MacAddr, destination: MacAddr) {
    if let Some(header) = frame.get_mut(..12) {
        header[..6].copy_from_slice(&destination.0);
        header[6..].copy_from_slice(&source.0);
    }
}

/// Takes one from the TTL or hop limit and mends the checksum incrementally (RFC 1624 eqn. 3).
pub fn decrement_ttl(frame: &mut [u8], family: Family) {
    match family {
        Family::V4 => {
            let Some([ttl, protocol, high, low]) = frame.get_mut(22..26) else { return };
            let old = u16::from_be_bytes([*ttl, *protocol]);
            *ttl = ttl.saturating_sub(1);
            let new = u16::from_be_bytes([*ttl, *protocol]);
            let mut sum = u32::from(!u16::from_be_bytes([*high, *low])) + u32::from(!old) + u32::from(new);
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            [*high, *low] = (!(sum as u16)).to_be_bytes();
        }
        Family::V6 => {
            if let Some(hops) = frame.get_mut(21) {
                *hops = hops.saturating_sub(1);
            }
        }
    }
}

/// Cuts an IPv4 packet into fragments that fit `mtu` (RFC 791 §3.2, `ip_fragment`). Empty when even eight bytes do
/// not fit.
pub fn fragment_ipv4(frame: &[u8], ip: &Ip, mtu: u32) -> Vec<Vec<u8>> {
    let header_bytes = usize::from(ip.l4).saturating_sub(ETHERNET_BYTES);
    let (Some(head), Some(packet)) =
        (frame.get(..usize::from(ip.l4)), ip_bytes(frame, ip).get(header_bytes..))
    else {
        return Vec::new();
    };
    let room = (mtu as usize).saturating_sub(header_bytes) & !7;
    if room == 0 {
        return Vec::new();
    }
    let (base, more_behind, _) = ip.fragment.unwrap_or((0, false, 0));
    let count = packet.len().div_ceil(room);
    let cut = |(index, piece): (usize, &[u8])| {
        let mut out = Vec::with_capacity(head.len() + piece.len());
        out.extend_from_slice(head);
        out.extend_from_slice(piece);
        let (mut header, _) = Ipv4Header::from_slice(out.get(ETHERNET_BYTES..)?).ok()?;
        header.total_len = u16::try_from(header_bytes + piece.len()).ok()?;
        header.more_fragments = more_behind || index + 1 < count;
        let offset = usize::from(base) + index * room;
        header.fragment_offset = IpFragOffset::try_new(u16::try_from(offset / 8).ok()?).ok()?;
        header.header_checksum = header.calc_header_checksum();
        out.get_mut(ETHERNET_BYTES..ETHERNET_BYTES + header_bytes)?.copy_from_slice(&header.to_bytes());
        Some(out)
    };
    packet.chunks(room).enumerate().filter_map(cut).collect()
}

/// Wraps a frame into VXLAN over UDP (RFC 7348 §5) with a UDP checksum of zero, as Linux sends it over IPv4.
pub fn vxlan_encapsulate(outer: &Ipv4Meta, sport: u16, dport: u16, vni: u32, inner: &[u8]) -> Vec<u8> {
    let len = 8 + VXLAN_HEADER_BYTES + inner.len();
    let mut payload = Vec::with_capacity(len);
    payload.extend_from_slice(&[0x08, 0, 0, 0]);
    payload.extend_from_slice(&(vni << 8).to_be_bytes());
    payload.extend_from_slice(inner);
    if Family::of(outer.dst) == Family::V6 {
        return udp(outer, sport, dport, &payload); // IPv6 wants a checksum (RFC 8200 §8.1)
    }
    let length = u16::try_from(len).unwrap_or(u16::MAX);
    let header = UdpHeader { source_port: sport, destination_port: dport, length, checksum: 0 };
    frame_with_ip(outer, IpNumber::UDP, len, |out| {
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(&payload);
    })
}

/// The VNI of a VXLAN header, when the I flag says that there is one.
pub fn vxlan_vni(header: &[u8]) -> Option<u32> {
    match header {
        [flags, _, _, _, a, b, c, _, ..] if flags & 0x08 != 0 => Some(u32::from_be_bytes([0, *a, *b, *c])),
        _ => None,
    }
}

/// One whole packet from the header of its first fragment and all payloads (RFC 791 §3.2, RFC 8200 §4.5).
pub(crate) fn rebuild(first: &[u8], ip: &Ip, payload: &[u8]) -> Option<Vec<u8>> {
    let ethernet = first.get(..ETHERNET_BYTES)?;
    match (ip.src, ip.dst) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            let (mut header, _) = Ipv4Header::from_slice(first.get(ETHERNET_BYTES..)?).ok()?;
            let header_bytes = header.header_len();
            header.total_len = u16::try_from(header_bytes + payload.len()).ok()?;
            header.more_fragments = false;
            header.fragment_offset = IpFragOffset::ZERO;
            header.header_checksum = header.calc_header_checksum();
            let mut out = Vec::with_capacity(ETHERNET_BYTES + header_bytes + payload.len());
            out.extend_from_slice(ethernet);
            out.extend_from_slice(&header.to_bytes());
            out.extend_from_slice(payload);
            Some(out)
        }
        _ => {
            let (mut header, _) = Ipv6Header::from_slice(first.get(ETHERNET_BYTES..)?).ok()?;
            header.payload_length = u16::try_from(payload.len()).ok()?;
            header.next_header = IpNumber(ip.protocol);
            let mut out = Vec::with_capacity(ETHERNET_BYTES + 40 + payload.len());
            out.extend_from_slice(ethernet);
            out.extend_from_slice(&header.to_bytes());
            out.extend_from_slice(payload);
            Some(out)
        }
    }
}
