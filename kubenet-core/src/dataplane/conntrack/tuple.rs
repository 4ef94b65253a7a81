//! Tuples: one direction of a connection, read from a packet, and its reverse.
//!
//! Sources: `net/netfilter/nf_conntrack_core.c nf_ct_get_tuple, nf_ct_invert_tuple`,
//! `nf_conntrack_proto_icmp.c icmp_pkt_to_tuple`, `nf_conntrack_proto_icmpv6.c`.

use core::net::IpAddr;

use crate::addr::Family;
use crate::dataplane::netfilter::Tuple;
use crate::packet::{self, Ip, number};

impl Tuple {
    /// The tuple of a packet; `None` for a later fragment, one that is too short, or an ICMP message without a partner.
    pub(in crate::dataplane) fn of(ip: &Ip, frame: &[u8]) -> Option<Self> {
        if ip.fragment.is_some_and(|(offset, ..)| offset != 0) {
            return None;
        }
        Self::read(ip.src, ip.dst, ip.protocol, packet::l4_bytes(frame, ip))
    }

    /// The tuple of the packet that an ICMP error quotes. `quote` starts with its IP header.
    pub(in crate::dataplane) fn quoted(family: Family, quote: &[u8]) -> Option<Self> {
        let (src, dst, protocol, rest) = match family {
            Family::V4 => {
                let header = etherparse::Ipv4HeaderSlice::from_slice(quote).ok()?;
                let (src, dst) = (header.source_addr().into(), header.destination_addr().into());
                (src, dst, header.protocol().0, quote.get(header.slice().len()..)?)
            }
            Family::V6 => {
                let header = etherparse::Ipv6HeaderSlice::from_slice(quote).ok()?;
                let (src, dst) = (header.source_addr().into(), header.destination_addr().into());
                (src, dst, header.next_header().0, quote.get(40..)?)
            }
        };
        Self::read(src, dst, protocol, rest)
    }

    fn read(src: IpAddr, dst: IpAddr, protocol: u8, l4: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes([*l4.get(at)?, *l4.get(at + 1)?]));
        let (sport, dport) = match protocol {
            number::TCP | number::UDP | number::SCTP => (word(0)?, word(2)?),
            number::ICMP | number::ICMPV6 => (word(4)?, word(0)?),
            _ => (0, 0),
        };
        Some(Self { src, dst, sport, dport, protocol })
    }

    /// The tuple of a reply. ICMP messages that have none get themselves; they never become a connection.
    pub fn inverse(&self) -> Self {
        let (sport, dport) = match self.protocol {
            number::ICMP | number::ICMPV6 => {
                let [kind, code] = self.dport.to_be_bytes();
                let kind = icmp_reply(self.protocol, kind).unwrap_or(kind);
                (self.sport, u16::from_be_bytes([kind, code]))
            }
            _ => (self.dport, self.sport),
        };
        Self { src: self.dst, dst: self.src, sport, dport, protocol: self.protocol }
    }

    /// Whether a packet of this tuple may begin a connection, as far as its ICMP type says.
    pub(super) const fn may_begin(&self) -> bool {
        let kind = self.dport >> 8;
        match self.protocol {
            number::ICMP => matches!(kind, 8 | 13 | 15 | 17),
            number::ICMPV6 => matches!(kind, 128 | 139),
            _ => true,
        }
    }
}

/// The type that answers an ICMP type.
const fn icmp_reply(protocol: u8, kind: u8) -> Option<u8> {
    Some(match (protocol, kind) {
        (number::ICMP, 8) => 0,
        (number::ICMP, 0) => 8,
        (number::ICMP, 13) => 14,
        (number::ICMP, 14) => 13,
        (number::ICMP, 15) => 16,
        (number::ICMP, 16) => 15,
        (number::ICMP, 17) => 18,
        (number::ICMP, 18) => 17,
        (number::ICMPV6, 128) => 129,
        (number::ICMPV6, 129) => 128,
        (number::ICMPV6, 139) => 140,
        (number::ICMPV6, 140) => 139,
        _ => return None,
    })
}
