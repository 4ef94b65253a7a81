//! The parts of an entry: `10.0.0.1,tcp:80,10.0.0.0/8`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ipnet::IpNet;

use super::super::line::{Word, any_number, net, number};
use super::super::protocol;
use super::super::quoted::{Backslash, on_one_line, unquote};
use super::super::reader::Fault;
use crate::addr::Family;
use crate::plan::{IpSet, IpSetKind, IpSetPart, IpSetPartKind};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Type, code and name (ipset `lib/icmp.c`). The first name of a type and code is printed.
const ICMP_NAMES: [(u8, u8, &str); 34] = [
    (0, 0, "echo-reply"),
    (0, 0, "pong"),
    (3, 0, "network-unreachable"),
    (3, 1, "host-unreachable"),
    (3, 2, "protocol-unreachable"),
    (3, 3, "port-unreachable"),
    (3, 4, "fragmentation-needed"),
    (3, 5, "source-route-failed"),
    (3, 6, "network-unknown"),
    (3, 7, "host-unknown"),
    (3, 9, "network-prohibited"),
    (3, 10, "host-prohibited"),
    (3, 11, "TOS-network-unreachable"),
    (3, 12, "TOS-host-unreachable"),
    (3, 13, "communication-prohibited"),
    (3, 14, "host-precedence-violation"),
    (3, 15, "precedence-cutoff"),
    (4, 0, "source-quench"),
    (5, 0, "network-redirect"),
    (5, 1, "host-redirect"),
    (5, 2, "TOS-network-redirect"),
    (5, 3, "TOS-host-redirect"),
    (8, 0, "echo-request"),
    (8, 0, "ping"),
    (9, 0, "router-advertisement"),
    (10, 0, "router-solicitation"),
    (11, 0, "ttl-zero-during-transit"),
    (11, 1, "ttl-zero-during-reassembly"),
    (12, 0, "ip-header-bad"),
    (12, 1, "required-option-missing"),
    (13, 0, "timestamp-request"),
    (14, 0, "timestamp-reply"),
    (17, 0, "address-mask-request"),
    (18, 0, "address-mask-reply"),
];

/// The same of ICMPv6 (ipset `lib/icmpv6.c`).
const ICMPV6_NAMES: [(u8, u8, &str); 19] = [
    (1, 0, "no-route"),
    (1, 1, "communication-prohibited"),
    (1, 3, "address-unreachable"),
    (1, 4, "port-unreachable"),
    (2, 0, "packet-too-big"),
    (3, 0, "ttl-zero-during-transit"),
    (3, 1, "ttl-zero-during-reassembly"),
    (4, 0, "bad-header"),
    (4, 1, "unknown-header-type"),
    (4, 2, "unknown-option"),
    (128, 0, "echo-request"),
    (128, 0, "ping"),
    (129, 0, "echo-reply"),
    (129, 0, "pong"),
    (133, 0, "router-solicitation"),
    (134, 0, "router-advertisement"),
    (135, 0, "neighbour-solicitation"),
    (136, 0, "neighbour-advertisement"),
    (137, 0, "redirect"),
];

/// Reads an entry of a set.
pub(super) fn read_parts(word: Word<'_>, set: &IpSet) -> Result<Vec<IpSetPart>, Fault> {
    let kinds = set.kind.parts();
    let text = unquote(word.text, Backslash::Stands);
    let wrong = |text: &str, what: &str| Fault::new(word.span, format!("'{text}' is not {what}"));
    if set.kind == IpSetKind::ListSet {
        return Ok(Vec::from([IpSetPart::Set(text.into())]));
    }
    let pieces: Vec<&str> = text.splitn(kinds.len(), ',').collect();
    let may_lack = usize::from(set.kind == IpSetKind::BitmapIpMac);
    if pieces.len() + may_lack < kinds.len() {
        let message =
            format!("'{text}' has {} parts, a '{}' has {}", pieces.len(), set.kind.as_str(), kinds.len());
        return Err(Fault::new(word.span, message));
    }
    let read = |(piece, kind): (&&str, &IpSetPartKind)| match kind {
        IpSetPartKind::Addr => {
            address(piece, set.family, true).ok_or_else(|| wrong(piece, "an address of the set's family"))
        }
        IpSetPartKind::Net => {
            address(piece, set.family, false).ok_or_else(|| wrong(piece, "a prefix of the set's family"))
        }
        IpSetPartKind::Port => port(piece).ok_or_else(|| wrong(piece, "PROTOCOL:PORT")),
        IpSetPartKind::PortAlone => {
            number(piece).map(IpSetPart::PortAlone).ok_or_else(|| wrong(piece, "a port"))
        }
        IpSetPartKind::Mac => piece.parse().map(IpSetPart::Mac).map_err(|_| wrong(piece, "a MAC address")),
        IpSetPartKind::Mark => any_number(piece).map(IpSetPart::Mark).ok_or_else(|| wrong(piece, "a mark")),
        IpSetPartKind::Link => Ok(match piece.strip_prefix("physdev:") {
            Some(port) => IpSetPart::BridgePort(port.into()),
            None => IpSetPart::Link((*piece).into()),
        }),
        IpSetPartKind::Set => Ok(IpSetPart::Set((*piece).into())),
    };
    pieces.iter().zip(kinds).map(read).collect()
}

fn address(text: &str, family: Family, whole: bool) -> Option<IpSetPart> {
    let net = net(text).filter(|net| Family::of_net(*net) == family)?;
    (!whole || net.prefix_len() == net.max_prefix_len()).then_some(IpSetPart::Net(net))
}

/// `tcp:80`, `icmp:echo-request`, `icmp:8/0`, `gre:0`, `80` (TCP).
fn port(text: &str) -> Option<IpSetPart> {
    let (protocol, port) = text.split_once(':').unwrap_or(("tcp", text));
    let protocol = protocol::number_of(protocol)?;
    let names: &[(u8, u8, &str)] = match protocol {
        ICMP => &ICMP_NAMES,
        ICMPV6 => &ICMPV6_NAMES,
        _ => return Some(IpSetPart::Port(protocol, number(port)?)),
    };
    let known = names.iter().find(|(_, _, name)| *name == port).map(|(kind, code, _)| (*kind, *code));
    let typed = || port.split_once('/').and_then(|(kind, code)| Some((number(kind)?, number(code)?)));
    let (kind, code) = known.or_else(typed)?;
    Some(IpSetPart::Port(protocol, u16::from_be_bytes([kind, code])))
}

/// Prints an entry.
pub(super) fn print_parts(parts: &[IpSetPart], out: &mut String) {
    let mut word = String::new();
    for (place, part) in parts.iter().enumerate() {
        word.push_str(if place == 0 { "" } else { "," });
        match part {
            IpSetPart::Net(net) => word.push_str(&short(*net)),
            IpSetPart::Port(protocol, port) => word.push_str(&print_port(*protocol, *port)),
            IpSetPart::PortAlone(port) => word.push_str(&format!("{port}")),
            IpSetPart::Mac(mac) => word.push_str(&format!("{mac}").to_ascii_uppercase()),
            IpSetPart::Mark(mark) => word.push_str(&format!("0x{mark:08x}")),
            IpSetPart::Link(name) | IpSetPart::Set(name) => word.push_str(name),
            IpSetPart::BridgePort(name) => word.push_str(&format!("physdev:{name}")),
        }
    }
    let blank = |c: char| c.is_whitespace() || matches!(c, '"' | '\0');
    if word.is_empty() || word.contains(blank) {
        word = word.chars().filter(|c| *c != '"').map(on_one_line).collect();
        word = format!("\"{word}\"");
    }
    out.push_str(&word);
}

fn short(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { format!("{}", net.addr()) } else { format!("{net}") }
}

fn print_port(protocol: u8, port: u16) -> String {
    let name = protocol::name_of(protocol).map_or_else(|| format!("{protocol}"), Into::into);
    let names: &[(u8, u8, &str)] = match protocol {
        ICMP => &ICMP_NAMES,
        ICMPV6 => &ICMPV6_NAMES,
        _ => return format!("{name}:{port}"),
    };
    let [kind, code] = port.to_be_bytes();
    match names.iter().find(|(k, c, _)| (*k, *c) == (kind, code)) {
        Some((_, _, known)) => format!("{name}:{known}"),
        None => format!("{name}:{kind}/{code}"),
    }
}
