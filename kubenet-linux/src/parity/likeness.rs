//! What two frames must have in common to count as the same.
//!
//! In: a frame of the model or of the kernel. Out: its headers in words, outermost first, with a hole for every port; and the ports.
//! Left out is what the kernel is free to choose: identification, sequence numbers, TCP options and window, the flow label, checksums
//! of layer 4 (virtual devices leave them open), how much of a packet an ICMP error quotes, the source port of a tunnel. Ports are compared apart, since a
//! translated one is the kernel's free choice too ([`Ports`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use kubenet_core::packet::{self, View, number};

/// A frame's headers in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Likeness {
    /// With `{}` for each port and identifier.
    pub text: String,
    /// The ports and identifiers, in order.
    pub ports: Vec<u16>,
}

impl Likeness {
    /// Of a frame.
    pub fn of(frame: &[u8]) -> Self {
        let mut likeness = Self { text: String::new(), ports: Vec::new() };
        likeness.frame(frame);
        likeness
    }

    fn frame(&mut self, frame: &[u8]) {
        let (from, to) = (packet::source_mac(frame), packet::destination_mac(frame));
        let _ = write!(self.text, "{from} > {to} ");
        match packet::view(frame) {
            Ok(View::Arp(arp)) => {
                let word = if arp.request { "who-has" } else { "is-at" };
                let (sender, mac, target) = (arp.sender, arp.sender_mac, arp.target);
                let _ = write!(self.text, "arp {word} {target} from {sender} {mac}");
            }
            Ok(View::Ip(ip)) => self.ip(frame, &ip),
            Ok(View::Other(kind)) => {
                let _ = write!(self.text, "ethertype {kind:#06x}");
            }
            Err(what) => {
                let _ = write!(self.text, "malformed: {what:?}");
            }
        }
    }

    fn ip(&mut self, frame: &[u8], ip: &packet::Ip) {
        let ttl = packet::ttl(frame, ip.family());
        let _ = write!(self.text, "{} > {} ttl {ttl}", ip.src, ip.dst);
        if ip.dont_fragment && ip.src.is_ipv4() {
            self.text.push_str(" DF");
        }
        if let Some((offset, more, _)) = ip.fragment {
            let _ = write!(self.text, " fragment {offset}{}", if more { "+" } else { "" });
            if offset > 0 {
                return;
            }
        }
        self.transport(ip, packet::l4_bytes(frame, ip), true);
    }

    fn port(&mut self, at: Option<&[u8]>) {
        let port = at.and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
        self.text.push_str(" {}");
        self.ports.push(port);
    }

    fn transport(&mut self, ip: &packet::Ip, body: &[u8], whole: bool) {
        let at = |from: usize| body.get(from..from + 2);
        match ip.protocol {
            number::TCP => {
                self.text.push_str(" tcp");
                self.port(at(0));
                self.port(at(2));
                if !whole {
                    return;
                }
                let offset = body.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4);
                // Explicit congestion notification is offered or not, as a setting says.
                let flags = body.get(13).map_or(0, |flags| flags & 0x3f);
                for (bit, name) in [(2, "SYN"), (1, "FIN"), (4, "RST"), (8, "PSH"), (16, "ACK")] {
                    if flags & bit != 0 {
                        self.text.push(' ');
                        self.text.push_str(name);
                    }
                }
                let _ = write!(self.text, " payload {}", body.len().saturating_sub(offset));
            }
            number::UDP => {
                let payload = body.get(8..).unwrap_or(&[]);
                let port = at(2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
                if let Some(vni) = packet::vxlan_vni(payload)
                    && is_vxlan(port)
                    && whole
                {
                    let _ = write!(self.text, " udp {port} vxlan {vni} [");
                    self.frame(payload.get(packet::VXLAN_HEADER_BYTES..).unwrap_or(&[]));
                    self.text.push(']');
                    return;
                }
                self.text.push_str(" udp");
                self.port(at(0));
                self.port(at(2));
                if whole {
                    let _ = write!(self.text, " payload {}", payload.len());
                }
            }
            number::SCTP => {
                self.text.push_str(" sctp");
                self.port(at(0));
                self.port(at(2));
                if let Some((chunk, ..)) = packet::chunk_of(body).filter(|_| whole) {
                    let _ = write!(self.text, " {}", chunk.name());
                }
            }
            number::ICMP => self.icmp(body, whole),
            number::ICMPV6 => self.icmpv6(body, whole),
            other => {
                let _ = write!(self.text, " protocol {other}");
            }
        }
    }

    fn icmp(&mut self, body: &[u8], whole: bool) {
        let [kind, code, ..] = *body else { return };
        let _ = write!(self.text, " icmp {kind}/{code}");
        if matches!(kind, 0 | 8) {
            self.port(body.get(4..6));
            if whole {
                let _ = write!(self.text, " payload {}", body.len().saturating_sub(8));
            }
            return;
        }
        if (kind, code) == (3, 4) {
            let mtu = body.get(6..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
            let _ = write!(self.text, " mtu {mtu}");
        }
        if kind == 5
            && let Some([a, b, c, d]) = body.get(4..8)
        {
            let _ = write!(self.text, " to {a}.{b}.{c}.{d}");
        }
        self.quoted(body.get(8..).unwrap_or(&[]), packet::ETHERTYPE_IPV4);
    }

    fn icmpv6(&mut self, body: &[u8], whole: bool) {
        let [kind, code, ..] = *body else { return };
        let _ = write!(self.text, " icmpv6 {kind}/{code}");
        match kind {
            128 | 129 => {
                self.port(body.get(4..6));
                if whole {
                    let _ = write!(self.text, " payload {}", body.len().saturating_sub(8));
                }
            }
            135 | 136 => {
                let target: Option<[u8; 16]> = body.get(8..24).and_then(|bytes| bytes.try_into().ok());
                let flags = body.get(4).copied().unwrap_or(0) >> 5;
                if let Some(target) = target {
                    let _ = write!(self.text, " {} flags {flags}", std::net::Ipv6Addr::from(target));
                }
            }
            2 => {
                let mtu =
                    body.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
                let _ = write!(self.text, " mtu {mtu}");
                self.quoted(body.get(8..).unwrap_or(&[]), packet::ETHERTYPE_IPV6);
            }
            137 => {
                let addr = |at: usize| address(body.get(at..at + 16)?);
                if let (Some(target), Some(dst)) = (addr(8), addr(24)) {
                    let _ = write!(self.text, " {dst} by {target}");
                }
            }
            1 | 3 | 4 => self.quoted(body.get(8..).unwrap_or(&[]), packet::ETHERTYPE_IPV6),
            _ => {}
        }
    }

    /// The packet that an ICMP error is about: its ends.
    fn quoted(&mut self, quoted: &[u8], kind: u16) {
        self.text.push_str(" about [");
        // Where the ends, the hop limit and the protocol stand, and how long an address and the header are.
        let (ends, width, ttl, protocol, l4) = match (kind, quoted) {
            (packet::ETHERTYPE_IPV4, [first, ..]) => (12, 4, 8, 9, usize::from(first & 15) * 4),
            _ => (8, 16, 7, 6, 40),
        };
        let end = |place: usize| address(quoted.get(ends + place * width..)?.get(..width)?);
        if let (Some(src), Some(dst), Some(ttl), Some(protocol)) =
            (end(0), end(1), quoted.get(ttl), quoted.get(protocol).copied())
        {
            let _ = write!(self.text, "{src} > {dst} ttl {ttl}");
            let ip = packet::Ip {
                src,
                dst,
                protocol,
                len: 0,
                l4: 0,
                ports: None,
                fragment: None,
                dont_fragment: false,
            };
            self.transport(&ip, quoted.get(l4..).unwrap_or(&[]), false);
        }
        self.text.push(']');
    }
}

/// Whether a UDP port is that of tunnels: Linux's or IANA's. A tunnel's source port is a hash with a secret of the kernel.
pub(super) const fn is_vxlan(port: u16) -> bool {
    matches!(port, 8472 | 4789)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

impl std::fmt::Display for Likeness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut ports = self.ports.iter();
        for (place, piece) in self.text.split("{}").enumerate() {
            if place > 0 {
                write!(f, "{}", ports.next().copied().unwrap_or(0))?;
            }
            f.write_str(piece)?;
        }
        Ok(())
    }
}

/// Whether a frame is what a kernel says of its own accord, whatever is asked of it: it looks for routers, joins groups, checks that
/// its own address is nobody else's.
pub fn is_housekeeping(frame: &[u8]) -> bool {
    let Ok(View::Ip(ip)) = packet::view(frame) else { return false };
    let body = packet::l4_bytes(frame, &ip);
    match ip.protocol {
        number::ICMPV6 => {
            let kind = body.first().copied().unwrap_or(0);
            matches!(kind, 130..=134 | 143) || kind == 135 && ip.src.is_unspecified()
        }
        // Multicast listener reports carry a hop-by-hop option first.
        0 => true,
        // IGMP.
        2 => true,
        _ => false,
    }
}

/// Which port of the kernel stands for which of the model. A known port stands for itself; any other pair holds from its first use
/// on, both ways.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    there: BTreeMap<u16, u16>,
    back: BTreeMap<u16, u16>,
}

impl Ports {
    /// With ports that stand for themselves.
    pub fn with_known(known: impl IntoIterator<Item = u16>) -> Self {
        let there: BTreeMap<u16, u16> = known.into_iter().map(|port| (port, port)).collect();
        Self { back: there.clone(), there }
    }

    /// Whether two frames are the same, as far as is known; binds ports that are met for the first time.
    pub fn same(&mut self, model: &Likeness, kernel: &Likeness) -> bool {
        if model.text != kernel.text || model.ports.len() != kernel.ports.len() {
            return false;
        }
        let pairs = || model.ports.iter().zip(&kernel.ports);
        let fits = |(ours, theirs): (&u16, &u16)| match (self.there.get(ours), self.back.get(theirs)) {
            (None, None) => true,
            (bound, back) => bound == Some(theirs) && back == Some(ours),
        };
        if !pairs().all(fits) {
            return false;
        }
        for (ours, theirs) in pairs() {
            self.there.insert(*ours, *theirs);
            self.back.insert(*theirs, *ours);
        }
        true
    }

    /// What the kernel has where the model has this.
    pub fn of_model(&self, port: u16) -> u16 {
        self.there.get(&port).copied().unwrap_or(port)
    }
}
