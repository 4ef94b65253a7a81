//! Hardware addresses and small address helpers.
//!
//! IP addresses are `core::net` types, prefixes are [`ipnet`] types; only what those lack stands here.

use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An Ethernet hardware (MAC) address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`, every station of the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// `00:00:00:00:00:00`: what the loopback device has, and "unknown" in an ARP request.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether the group bit is set: broadcast and multicast (IEEE 802.3 §3.2.3).
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The MAC that the bridge plugin gives an interface from its IPv4 address: `0a:58` and the four bytes
    /// (containernetworking/plugins `pkg/utils/hwaddr`).
    pub const fn from_ipv4(addr: Ipv4Addr) -> Self {
        let o = addr.octets();
        Self([0x0a, 0x58, o[0], o[1], o[2], o[3]])
    }

    /// A locally administered unicast address from 48 bits of a hash.
    pub const fn local_from_hash(hash: u64) -> Self {
        let b = hash.to_be_bytes();
        Self([(b[2] & 0xfc) | 0x02, b[3], b[4], b[5], b[6], b[7]])
    }

    /// The Ethernet multicast address of an IPv6 multicast group: `33:33` and the last four bytes (RFC 2464 §7).
    pub const fn from_ipv6_multicast(group: Ipv6Addr) -> Self {
        let o = group.octets();
        Self([0x33, 0x33, o[12], o[13], o[14], o[15]])
    }

    /// The Ethernet multicast address of an IPv4 group: `01:00:5e` and 23 bits (RFC 1112 §6.4).
    pub const fn from_ipv4_multicast(group: Ipv4Addr) -> Self {
        let o = group.octets();
        Self([0x01, 0x00, 0x5e, o[1] & 0x7f, o[2], o[3]])
    }

    /// The IPv6 link-local address that the kernel forms from this MAC by EUI-64 (RFC 4291 appendix A).
    pub const fn to_link_local(self) -> Ipv6Addr {
        let m = self.0;
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            u16::from_be_bytes([m[0] ^ 0x02, m[1]]),
            u16::from_be_bytes([m[2], 0xff]),
            u16::from_be_bytes([0xfe, m[3]]),
            u16::from_be_bytes([m[4], m[5]]),
        )
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six two-digit hexadecimal bytes with `:` or `-` between them.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("'{0}' is not a MAC address (six hexadecimal bytes, such as 0a:58:0a:f4:01:05)")]
pub struct MacAddrError(pub String);

impl FromStr for MacAddr {
    type Err = MacAddrError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let fail = || MacAddrError(String::from(s));
        let mut bytes = [0; 6];
        let mut parts = s.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(fail)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(fail());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| fail())?;
        }
        if parts.next().is_some() { Err(fail()) } else { Ok(Self(bytes)) }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = alloc::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An IP version. Dual-stack things hold one value per family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The family of a prefix.
    pub const fn of_net(net: ipnet::IpNet) -> Self {
        match net {
            ipnet::IpNet::V4(_) => Self::V4,
            ipnet::IpNet::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A transport that kubenet walks. Other IP protocols travel as opaque payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, IP protocol 6.
    #[serde(alias = "TCP")]
    Tcp,
    /// UDP, IP protocol 17.
    #[serde(alias = "UDP")]
    Udp,
    /// SCTP, IP protocol 132.
    #[serde(alias = "SCTP")]
    Sctp,
    /// ICMP (1) or ICMPv6 (58), by family.
    #[serde(alias = "ICMP")]
    Icmp,
}

impl Protocol {
    /// The name in lower case, as `ip` and `nft` write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
        }
    }

    /// The IP protocol number in a family (IANA protocol numbers).
    pub const fn number(self, family: Family) -> u8 {
        match (self, family) {
            (Self::Tcp, _) => 6,
            (Self::Udp, _) => 17,
            (Self::Sctp, _) => 132,
            (Self::Icmp, Family::V4) => 1,
            (Self::Icmp, Family::V6) => 58,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is none of `tcp`, `udp`, `sctp`, `icmp` (in any case).
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("'{0}' is not a protocol; use tcp, udp, sctp or icmp")]
pub struct ProtocolError(pub String);

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        [Self::Tcp, Self::Udp, Self::Sctp, Self::Icmp]
            .into_iter()
            .find(|p| p.as_str().eq_ignore_ascii_case(s))
            .ok_or_else(|| ProtocolError(String::from(s)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn mac_addresses_read_back_what_they_print() {
        let mac = MacAddr([0x0a, 0x58, 10, 244, 1, 5]);
        assert_eq!(mac.to_string(), "0a:58:0a:f4:01:05");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert!("0a:58:0a:f4:01".parse::<MacAddr>().is_err());
        assert!("0a:58:0a:f4:01:05:06".parse::<MacAddr>().is_err());
        assert!("0a:58:0a:f4:01:+5".parse::<MacAddr>().is_err());
    }

    #[test]
    fn bridge_plugin_mac_carries_the_ipv4_address() {
        assert_eq!(MacAddr::from_ipv4(Ipv4Addr::new(10, 244, 1, 5)).to_string(), "0a:58:0a:f4:01:05");
    }

    #[test]
    fn link_local_flips_the_universal_bit() {
        let mac = MacAddr([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);
        assert_eq!(mac.to_link_local().to_string(), "fe80::5054:ff:fe12:3456");
    }
}
