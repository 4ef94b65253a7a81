//! Packets as bytes: reading what a stage needs, building what a stack sends, and describing both.
//!
//! In: Ethernet II frames. Out: a [`View`] (addresses, ports and offsets, a few words that are kept with the frame),
//! built frames with right checksums, or a [`Summary`] for people. Header layouts and checksums are etherparse's;
//! SCTP (RFC 9260) and the VXLAN header (RFC 7348) are ours.

mod build;
mod describe;
mod rewrite;
mod sctp;

use core::net::IpAddr;

use etherparse::{Ethernet2HeaderSlice, Ipv4HeaderSlice, Ipv6HeaderSlice, NetSlice, SlicedPacket};

pub(crate) use self::build::rebuild;
pub use self::build::{
    IcmpError, Ipv4Meta, TcpSegment, VXLAN_HEADER_BYTES, arp, decrement_ttl, fragment_ipv4, icmp_echo,
    icmp_error, ndp_advertisement, ndp_redirect, ndp_solicitation, set_macs, tcp, udp, vxlan_encapsulate,
    vxlan_vni,
};
pub use self::describe::{ArpSummary, IpSummary, Summary, describe};
pub use self::rewrite::{Side, rewrite, rewrite_quoted};
pub use self::sctp::{Chunk, chunk_of, sctp};
use crate::addr::{Family, MacAddr};

/// Length of an Ethernet II header.
pub const ETHERNET_BYTES: usize = 14;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// IP protocol numbers that the model reads.
pub mod number {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// What is wrong with a frame's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its headers say.
    Short,
    /// An IP header with a wrong version, length or option field.
    IpHeader,
    /// The IPv4 header checksum is wrong.
    IpChecksum,
}

/// What a frame carries above Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// ARP for IPv4 over Ethernet.
    Arp(Arp),
    /// An IP packet.
    Ip(Ip),
    /// Another EtherType.
    Other(u16),
}

/// An ARP packet (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request (1) or reply (2).
    pub request: bool,
    /// Sender's MAC.
    pub sender_mac: MacAddr,
    /// Sender's address.
    pub sender: IpAddr,
    /// Target's MAC, zero in a request.
    pub target_mac: MacAddr,
    /// Target's address.
    pub target: IpAddr,
}

/// What the stages read of an IP packet. Offsets count from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// The protocol of the payload, behind extension headers.
    pub protocol: u8,
    /// Length of the whole IP packet in bytes.
    pub len: u16,
    /// Where the payload (or the fragment's piece of it) starts.
    pub l4: u16,
    /// Source and destination port, where the protocol has them and this packet carries them.
    pub ports: Option<(u16, u16)>,
    /// The packet is a fragment: offset in bytes, more follow, identification.
    pub fragment: Option<(u16, bool, u32)>,
    /// IPv4's DF; always true in IPv6, where routers never fragment.
    pub dont_fragment: bool,
}

impl Ip {
    /// The family.
    pub const fn family(&self) -> Family {
        Family::of(self.src)
    }
}

/// Reads a frame. Checks what the kernel checks before it looks at an address (`ip_rcv_core`, `ip6_rcv_core`).
///
/// # Errors
/// [`Malformed`] says which check failed. Trailing bytes behind the IP packet (Ethernet padding) are no error.
pub fn view(frame: &[u8]) -> Result<View, Malformed> {
    let eth = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| Malformed::Short)?;
    let body = frame.get(ETHERNET_BYTES..).ok_or(Malformed::Short)?;
    match eth.ether_type().0 {
        ETHERTYPE_IPV4 => view_ipv4(frame, body),
        ETHERTYPE_IPV6 => view_ipv6(frame, body),
        ETHERTYPE_ARP => view_arp(body),
        other => Ok(View::Other(other)),
    }
}

fn view_ipv4(frame: &[u8], body: &[u8]) -> Result<View, Malformed> {
    let header = Ipv4HeaderSlice::from_slice(body).map_err(|_| Malformed::IpHeader)?;
    let header_bytes = header.slice().len();
    let len = header.total_len();
    if usize::from(len) < header_bytes || usize::from(len) > body.len() {
        return Err(Malformed::Short);
    }
    if !ipv4_checksum_is_right(header.slice()) {
        return Err(Malformed::IpChecksum);
    }
    let offset = header.fragments_offset().value() * 8;
    let fragment = header
        .is_fragmenting_payload()
        .then(|| (offset, header.more_fragments(), u32::from(header.identification())));
    let l4 = ETHERNET_BYTES + header_bytes;
    let end = ETHERNET_BYTES + usize::from(len);
    let protocol = header.protocol().0;
    Ok(View::Ip(Ip {
        src: IpAddr::V4(header.source_addr()),
        dst: IpAddr::V4(header.destination_addr()),
        protocol,
        len,
        l4: l4 as u16,
        ports: ports(protocol, offset, frame.get(l4..end).unwrap_or(&[])),
        fragment,
        dont_fragment: header.dont_fragment(),
    }))
}

fn view_ipv6(frame: &[u8], body: &[u8]) -> Result<View, Malformed> {
    let header = Ipv6HeaderSlice::from_slice(body).map_err(|_| Malformed::IpHeader)?;
    let end = ETHERNET_BYTES + 40 + usize::from(header.payload_length());
    if end > frame.len() {
        return Err(Malformed::Short);
    }
    let (src, dst) = (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()));
    let first = header.next_header();
    let len = 40 + header.payload_length();
    let plain = matches!(first.0, number::TCP | number::UDP | number::ICMPV6 | number::SCTP);
    if plain {
        let l4 = ETHERNET_BYTES + 40;
        let ports = ports(first.0, 0, frame.get(l4..end).unwrap_or(&[]));
        let l4 = l4 as u16;
        return Ok(View::Ip(Ip {
            src,
            dst,
            protocol: first.0,
            len,
            l4,
            ports,
            fragment: None,
            dont_fragment: true,
        }));
    }
    // Extension headers: rare, so etherparse walks them.
    let whole = frame.get(..end).unwrap_or(frame);
    let sliced = SlicedPacket::from_ethernet(whole).map_err(|_| Malformed::IpHeader)?;
    let Some(NetSlice::Ipv6(slice)) = sliced.net else { return Err(Malformed::IpHeader) };
    let payload = slice.payload();
    let l4 = end - payload.payload.len().min(end);
    let mut fragment = None;
    let mut offset = 0;
    for extension in slice.extensions().clone() {
        if let etherparse::Ipv6ExtensionSlice::Fragment(f) = extension {
            let header = f.to_header();
            offset = header.fragment_offset.value() * 8;
            fragment = Some((offset, header.more_fragments, header.identification));
        }
    }
    Ok(View::Ip(Ip {
        src,
        dst,
        protocol: payload.ip_number.0,
        len,
        l4: l4 as u16,
        ports: ports(payload.ip_number.0, offset, payload.payload),
        fragment,
        dont_fragment: true,
    }))
}

fn view_arp(body: &[u8]) -> Result<View, Malformed> {
    let arp = etherparse::ArpPacketSlice::from_slice(body).map_err(|_| Malformed::Short)?;
    let Ok(arp) = arp.to_packet().try_eth_ipv4() else { return Ok(View::Other(ETHERTYPE_ARP)) };
    Ok(View::Arp(Arp {
        request: arp.operation == etherparse::ArpOperation::REQUEST,
        sender_mac: MacAddr(arp.sender_mac),
        sender: IpAddr::from(arp.sender_ipv4),
        target_mac: MacAddr(arp.target_mac),
        target: IpAddr::from(arp.target_ipv4),
    }))
}

fn ports(protocol: u8, fragment_offset: u16, payload: &[u8]) -> Option<(u16, u16)> {
    if fragment_offset != 0 || !matches!(protocol, number::TCP | number::UDP | number::SCTP) {
        return None;
    }
    match payload {
        [a, b, c, d, ..] => Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))),
        _ => None,
    }
}

fn ipv4_checksum_is_right(header: &[u8]) -> bool {
    etherparse::checksum::Sum16BitWords::new().add_slice(header).ones_complement() == 0
}

/// The destination MAC of a frame.
pub fn destination_mac(frame: &[u8]) -> MacAddr {
    mac_at(frame, 0)
}

/// The source MAC of a frame.
pub fn source_mac(frame: &[u8]) -> MacAddr {
    mac_at(frame, 6)
}

fn mac_at(frame: &[u8], at: usize) -> MacAddr {
    let bytes = frame.get(at..at + 6).and_then(|b| b.try_into().ok());
    MacAddr(bytes.unwrap_or([0; 6]))
}

/// The TTL or hop limit of an IP frame, 0 when it has none.
pub fn ttl(frame: &[u8], family: Family) -> u8 {
    let at = match family {
        Family::V4 => 22,
        Family::V6 => 21,
    };
    frame.get(at).copied().unwrap_or(0)
}

/// The address that an ARP request or a neighbour solicitation asks for. `view` is what [`view()`] says of the frame.
pub fn asked_address(frame: &[u8], view: &View) -> Option<IpAddr> {
    match view {
        View::Arp(arp) if arp.request => Some(arp.target),
        View::Ip(ip) if ip.protocol == number::ICMPV6 && ip.family() == Family::V6 => {
            let body = l4_bytes(frame, ip);
            let target: [u8; 16] = body.get(8..24)?.try_into().ok()?;
            (body.first() == Some(&135)).then(|| IpAddr::from(target))
        }
        View::Arp(_) | View::Ip(_) | View::Other(_) => None,
    }
}

/// The bytes above the IP header.
pub fn l4_bytes<'f>(frame: &'f [u8], ip: &Ip) -> &'f [u8] {
    frame.get(usize::from(ip.l4)..ETHERNET_BYTES + usize::from(ip.len)).unwrap_or(&[])
}

/// The whole IP packet.
pub fn ip_bytes<'f>(frame: &'f [u8], ip: &Ip) -> &'f [u8] {
    frame.get(ETHERNET_BYTES..ETHERNET_BYTES + usize::from(ip.len)).unwrap_or(&[])
}

/// Whether the transport checksum of a whole (unfragmented) packet is right. A UDP/IPv4 checksum of 0 means none.
pub fn l4_checksum_is_right(frame: &[u8], ip: &Ip) -> bool {
    let bytes = l4_bytes(frame, ip);
    match ip.protocol {
        number::TCP if bytes.len() >= 20 => sum_with_pseudo(ip, bytes) == 0,
        number::UDP if bytes.len() >= 8 => {
            let none = bytes.get(6..8) == Some(&[0, 0]);
            if none { ip.family() == Family::V4 } else { sum_with_pseudo(ip, bytes) == 0 }
        }
        number::ICMPV6 if bytes.len() >= 4 => sum_with_pseudo(ip, bytes) == 0,
        number::ICMP if bytes.len() >= 8 => {
            etherparse::checksum::Sum16BitWords::new().add_slice(bytes).ones_complement() == 0
        }
        number::SCTP => sctp::checksum_is_right(bytes),
        number::TCP | number::UDP | number::ICMP | number::ICMPV6 => false,
        _ => true,
    }
}

fn sum_with_pseudo(ip: &Ip, bytes: &[u8]) -> u16 {
    let mut sum = etherparse::checksum::Sum16BitWords::new();
    match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            sum = sum.add_4bytes(src.octets()).add_4bytes(dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            sum = sum.add_16bytes(src.octets()).add_16bytes(dst.octets());
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
    }
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    sum.add_4bytes(len.to_be_bytes()).add_2bytes([0, ip.protocol]).add_slice(bytes).ones_complement()
}

/// A flow hash as the kernel would take one: the same for all packets of a flow, in `0..=u32::MAX`.
///
/// The kernel's own value depends on a boot-time secret; this is FNV-1a over the same fields.
pub fn flow_hash(ip: &Ip, with_ports: bool) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut eat = |byte: u8| hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    for addr in [ip.src, ip.dst] {
        match addr {
            IpAddr::V4(a) => a.octets().iter().for_each(|b| eat(*b)),
            IpAddr::V6(a) => a.octets().iter().for_each(|b| eat(*b)),
        }
    }
    eat(ip.protocol);
    if let (true, Some((sport, dport))) = (with_ports, ip.ports) {
        sport.to_be_bytes().into_iter().chain(dport.to_be_bytes()).for_each(&mut eat);
    }
    // FNV's high bits are poor; fold them in.
    hash ^ (hash >> 15)
}
