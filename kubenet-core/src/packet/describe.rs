//! A packet in words: what a person reads in a trace, and what JSON carries beside the bytes.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::IpAddr;

use etherparse::{Icmpv4Type, Icmpv6Type, TcpHeaderSlice, icmpv4};
use serde::{Deserialize, Serialize};

use super::{
    Arp, ETHERTYPE_ARP, Ip, VXLAN_HEADER_BYTES, View, chunk_of, destination_mac, l4_bytes, number,
    source_mac, ttl, view, vxlan_vni,
};
use crate::addr::MacAddr;

/// A frame's headers, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Source MAC.
    pub src_mac: MacAddr,
    /// Destination MAC.
    pub dst_mac: MacAddr,
    /// EtherType.
    pub ethertype: u16,
    /// The ARP packet, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arp: Option<ArpSummary>,
    /// The IP packet, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpSummary>,
    /// The frame inside a VXLAN packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<Box<Self>>,
    /// The frame's length in bytes.
    pub len: usize,
}

/// An ARP packet's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArpSummary {
    /// `request` or `reply`.
    pub op: String,
    /// Sender MAC.
    pub sender_mac: MacAddr,
    /// Sender address.
    pub sender: IpAddr,
    /// Target MAC.
    pub target_mac: MacAddr,
    /// Target address.
    pub target: IpAddr,
}

/// An IP packet's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpSummary {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The payload's protocol by name, or its number.
    pub protocol: String,
    /// Length of the IP packet in bytes.
    pub len: u16,
    /// IPv4's DF.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub dont_fragment: bool,
    /// `OFFSET` or `OFFSET+` of a fragment, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<String>,
    /// Source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    /// Destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
    /// TCP flags, the ICMP message, the SCTP chunk: `SYN`, `echo request`, `time exceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<String>,
}

/// Describes a frame; `None` when not even its Ethernet header is whole.
pub fn describe(frame: &[u8]) -> Option<Summary> {
    if frame.len() < super::ETHERNET_BYTES {
        return None;
    }
    let ethertype = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
    let mut summary = Summary {
        src_mac: source_mac(frame),
        dst_mac: destination_mac(frame),
        ethertype,
        arp: None,
        ip: None,
        inner: None,
        len: frame.len(),
    };
    match view(frame) {
        Ok(View::Arp(arp)) => summary.arp = Some(arp_summary(&arp)),
        Ok(View::Ip(ip)) => {
            let l4 = l4_bytes(frame, &ip);
            let header_end = 8 + VXLAN_HEADER_BYTES;
            if ip.protocol == number::UDP
                && let Some((_, 8472 | 4789)) = ip.ports
                && l4.get(8..).and_then(vxlan_vni).is_some()
            {
                summary.inner = l4.get(header_end..).and_then(describe).map(Box::new);
            }
            summary.ip = Some(ip_summary(frame, &ip, l4));
        }
        Ok(View::Other(_)) | Err(_) => {}
    }
    Some(summary)
}

fn arp_summary(arp: &Arp) -> ArpSummary {
    ArpSummary {
        op: if arp.request { "request" } else { "reply" }.to_string(),
        sender_mac: arp.sender_mac,
        sender: arp.sender,
        target_mac: arp.target_mac,
        target: arp.target,
    }
}

fn ip_summary(frame: &[u8], ip: &Ip, l4: &[u8]) -> IpSummary {
    let first_fragment = ip.fragment.is_none_or(|(offset, ..)| offset == 0);
    IpSummary {
        src: ip.src,
        dst: ip.dst,
        ttl: ttl(frame, ip.family()),
        protocol: protocol_name(ip.protocol),
        len: ip.len,
        dont_fragment: ip.dont_fragment && ip.src.is_ipv4(),
        fragment: ip.fragment.map(|(offset, more, _)| format!("{offset}{}", if more { "+" } else { "" })),
        sport: ip.ports.map(|p| p.0),
        dport: ip.ports.map(|p| p.1),
        info: if first_fragment { info(ip, l4) } else { None },
    }
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        number::ICMP => "icmp".into(),
        number::TCP => "tcp".into(),
        number::UDP => "udp".into(),
        number::ICMPV6 => "icmpv6".into(),
        number::SCTP => "sctp".into(),
        other => other.to_string(),
    }
}

fn info(ip: &Ip, l4: &[u8]) -> Option<String> {
    match ip.protocol {
        number::TCP => {
            let tcp = TcpHeaderSlice::from_slice(l4).ok()?;
            let flags = [
                (tcp.syn(), "SYN"),
                (tcp.fin(), "FIN"),
                (tcp.rst(), "RST"),
                (tcp.psh(), "PSH"),
                (tcp.ack(), "ACK"),
            ];
            let names: alloc::vec::Vec<_> = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
            Some(names.join("+"))
        }
        number::SCTP => Some(chunk_of(l4)?.0.name().to_string()),
        number::ICMP => Some(icmpv4_name(l4)),
        number::ICMPV6 => Some(icmpv6_name(l4)),
        _ => None,
    }
}

fn icmpv4_name(l4: &[u8]) -> String {
    let Ok((header, _)) = etherparse::Icmpv4Header::from_slice(l4) else { return "icmp".into() };
    use icmpv4::DestUnreachableHeader as D;
    match header.icmp_type {
        Icmpv4Type::EchoRequest(_) => "echo request".into(),
        Icmpv4Type::EchoReply(_) => "echo reply".into(),
        Icmpv4Type::TimeExceeded(_) => "time exceeded".into(),
        Icmpv4Type::Redirect(r) => {
            format!("redirect to {}", core::net::Ipv4Addr::from(r.gateway_internet_address))
        }
        Icmpv4Type::DestinationUnreachable(D::FragmentationNeeded { next_hop_mtu }) => {
            format!("fragmentation needed, mtu {next_hop_mtu}")
        }
        Icmpv4Type::DestinationUnreachable(D::Network) => "network unreachable".into(),
        Icmpv4Type::DestinationUnreachable(D::Host) => "host unreachable".into(),
        Icmpv4Type::DestinationUnreachable(D::Port) => "port unreachable".into(),
        Icmpv4Type::DestinationUnreachable(D::Protocol) => "protocol unreachable".into(),
        Icmpv4Type::DestinationUnreachable(D::FilterProhibited) => "administratively prohibited".into(),
        Icmpv4Type::Unknown { .. }
        | Icmpv4Type::DestinationUnreachable(_)
        | Icmpv4Type::ParameterProblem(_)
        | Icmpv4Type::TimestampRequest(_)
        | Icmpv4Type::TimestampReply(_) => match l4 {
            [kind, code, ..] => format!("type {kind} code {code}"),
            _ => "icmp".into(),
        },
    }
}

fn icmpv6_name(l4: &[u8]) -> String {
    match l4 {
        [135, ..] => "neighbour solicitation".into(),
        [136, ..] => "neighbour advertisement".into(),
        [137, _, _, _, _, _, _, _, target @ ..] if target.len() >= 16 => {
            let octets: [u8; 16] = target[..16].try_into().unwrap_or_default();
            format!("redirect to {}", core::net::Ipv6Addr::from(octets))
        }
        [128, ..] => "echo request".into(),
        [129, ..] => "echo reply".into(),
        [1, 0, ..] => "no route".into(),
        [1, 1, ..] => "administratively prohibited".into(),
        [1, 3, ..] => "address unreachable".into(),
        [1, 4, ..] => "port unreachable".into(),
        [2, _, _, _, a, b, c, d, ..] => {
            format!("packet too big, mtu {}", u32::from_be_bytes([*a, *b, *c, *d]))
        }
        [3, ..] => "time exceeded".into(),
        [kind, code, ..] => format!("type {kind} code {code}"),
        _ => Icmpv6Type::Unknown { type_u8: 0, code_u8: 0, bytes5to8: [0; 4] }.type_u8().to_string(),
    }
}

impl fmt::Display for Summary {
    /// One line, without MAC addresses: `10.244.0.5:40000 → 10.244.1.7:7070 tcp SYN ttl 64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(arp) = &self.arp {
            return if arp.op == "request" {
                write!(f, "arp who-has {} tell {}", arp.target, arp.sender)
            } else {
                write!(f, "arp {} is-at {}", arp.sender, arp.sender_mac)
            };
        }
        let Some(ip) = &self.ip else {
            return if self.ethertype == ETHERTYPE_ARP {
                f.write_str("arp")
            } else {
                write!(f, "ethertype {:#06x}", self.ethertype)
            };
        };
        write_end(f, ip.src, ip.sport)?;
        f.write_str(" → ")?;
        write_end(f, ip.dst, ip.dport)?;
        match &self.inner {
            Some(inner) => write!(f, " vxlan [{inner}]")?,
            None => write!(f, " {}", ip.protocol)?,
        }
        if let (Some(info), None) = (&ip.info, &self.inner) {
            write!(f, " {info}")?;
        }
        if let Some(fragment) = &ip.fragment {
            write!(f, " fragment {fragment}")?;
        }
        write!(f, " ttl {}", ip.ttl)
    }
}

fn write_end(f: &mut fmt::Formatter<'_>, addr: IpAddr, port: Option<u16>) -> fmt::Result {
    match (addr, port) {
        (IpAddr::V6(a), Some(port)) => write!(f, "[{a}]:{port}"),
        (IpAddr::V4(a), Some(port)) => write!(f, "{a}:{port}"),
        (addr, None) => write!(f, "{addr}"),
    }
}
