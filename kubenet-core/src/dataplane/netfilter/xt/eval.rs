//! What a match says of a packet, for all that remember nothing.
//!
//! Sources: `ip_tables.c ip_packet_match`, `net/netfilter/xt_*.c`, `net/ipv4/netfilter/ipt_rpfilter.c`.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::IpAddr;

use super::super::walk::Rules;
use super::super::{Host, Seen, Sets, ipset};
use crate::packet::number;
use crate::plan::netfilter::{CtStatus, PortRange};
use crate::plan::xt::{
    AddrType, Addrtype, Conntrack, IcmpType, Inv, Masked, Match, Multiport, Physdev, PortSide, Ports,
    Statistic, Tcp,
};
use crate::plan::{Truth, Unknown};

/// Remembers nothing and asks no chance, so that it may be tried at any time.
pub(super) const fn is_pure(condition: &Match) -> bool {
    !matches!(condition, Match::Limit { .. } | Match::Recent(_) | Match::Statistic(_))
}

/// Asks chance alone.
pub(super) const fn is_random(condition: &Match) -> bool {
    matches!(condition, Match::Statistic(Statistic::Random(_)))
}

/// Reads the header of this packet's transport: when it is cut off, the packet ends there (`par->hotdrop`).
pub(super) const fn reads_header(condition: &Match, seen: &Seen<'_>) -> bool {
    match condition {
        Match::Tcp(_) => seen.ip.protocol == number::TCP,
        Match::Udp(_) => seen.ip.protocol == number::UDP,
        Match::Sctp(_) => seen.ip.protocol == number::SCTP,
        Match::Multiport(_) => matches!(seen.ip.protocol, number::TCP | number::UDP | number::SCTP),
        Match::Icmp(_) => matches!(seen.ip.protocol, number::ICMP | number::ICMPV6),
        Match::Source(_)
        | Match::Destination(_)
        | Match::Iif(_)
        | Match::Oif(_)
        | Match::Protocol(_)
        | Match::Fragment(_)
        | Match::Comment(_)
        | Match::Conntrack(_)
        | Match::State(_)
        | Match::Addrtype(_)
        | Match::Mark(_)
        | Match::Connmark(_)
        | Match::Iprange { .. }
        | Match::Limit { .. }
        | Match::Owner { .. }
        | Match::Physdev(_)
        | Match::Recent(_)
        | Match::Set { .. }
        | Match::Statistic(_)
        | Match::Ipvs { .. }
        | Match::Other { .. } => false,
    }
}

/// Whether the match holds. Of those that remember something ([`is_pure`]) it is not known.
pub(super) fn pure<H: Host + Sets>(condition: &Match, seen: &Seen<'_>, host: &H, rules: Rules<'_>) -> Truth {
    let ip = seen.ip;
    let holds = match condition {
        Match::Source(net) => net.value.contains(&ip.src) != net.not,
        Match::Destination(net) => net.value.contains(&ip.dst) != net.not,
        Match::Iif(name) => is_link(&name.value, seen.iif) != name.not,
        Match::Oif(name) => is_link(&name.value, seen.oif) != name.not,
        // 0 is "all", inverted or not.
        Match::Protocol(protocol) => protocol.value == 0 || (ip.protocol == protocol.value) != protocol.not,
        Match::Fragment(fragment) => seen.is_later_fragment() != fragment.not,
        Match::Comment(_) => true,
        Match::Tcp(tcp) => is_tcp(tcp, seen),
        Match::Udp(ports) => return has_ports(ports, number::UDP, seen),
        Match::Sctp(ports) => return has_ports(ports, number::SCTP, seen),
        Match::Icmp(kind) => is_icmp(kind, seen),
        Match::Multiport(multiport) => is_multiport(multiport, seen),
        Match::Conntrack(conntrack) => return is_connection(conntrack, seen),
        Match::State(states) => states.value.contains(&seen.ct_state()) != states.not,
        Match::Addrtype(addrtype) => is_type(addrtype, seen, host),
        Match::Mark(mark) => is_mark(mark, seen.mark),
        Match::Connmark(mark) => seen.tracked().is_some_and(|ct| is_mark(mark, ct.mark)),
        Match::Iprange { src, dst } => is_within(src.as_deref(), ip.src) && is_within(dst.as_deref(), ip.dst),
        Match::Owner { uid, gid, socket_exists } => return is_owned(*uid, *gid, *socket_exists, seen),
        Match::Physdev(physdev) => is_port(physdev, seen),
        Match::Set { set, options } => {
            let holds = ipset::contains(&set.value, seen, rules).map(truth);
            return match holds.unwrap_or_else(|| host.contains(&set.value, seen)) {
                truth if options.is_empty() => truth_of_inverted(truth, set.not),
                unknown @ Truth::Unknown(_) => unknown,
                Truth::Yes | Truth::No => unmodelled(format_args!("set --match-set {} …", set.value.name)),
            };
        }
        Match::Ipvs { ipvs, protocol, addr, port } => match (seen.ipvs, ipvs) {
            (belongs, Some(wanted)) => belongs.is_some() != wanted.not,
            (None, None) => false,
            (Some((vaddr, vport, vprotocol)), None) => {
                protocol.is_none_or(|p| (p.value == vprotocol) != p.not)
                    && addr.is_none_or(|a| a.value.contains(&vaddr) != a.not)
                    && port.is_none_or(|p| (p.value == vport) != p.not)
            }
        },
        Match::Other { module, words } => return other(module, words, seen, host),
        Match::Limit { .. } => return unmodelled(format_args!("limit")),
        Match::Recent(recent) => return unmodelled(format_args!("recent --name {}", recent.name)),
        Match::Statistic(_) => return unmodelled(format_args!("statistic")),
    };
    truth(holds)
}

const fn truth(holds: bool) -> Truth {
    if holds { Truth::Yes } else { Truth::No }
}

fn truth_of_inverted(truth: Truth, not: bool) -> Truth {
    match (truth, not) {
        (Truth::Yes, true) => Truth::No,
        (Truth::No, true) => Truth::Yes,
        (truth, _) => truth,
    }
}

fn unmodelled(what: core::fmt::Arguments<'_>) -> Truth {
    Truth::Unknown(Unknown {
        why: format!("the match `-m {what}` is not modelled"),
        what_would_settle_it: "the counters of the rule before and after such a packet: iptables-save -c"
            .into(),
    })
}

/// Whether a link has this name, or a name that begins so (`eth+`).
fn is_link(wanted: &str, link: Option<&str>) -> bool {
    let link = link.unwrap_or("");
    match wanted.strip_suffix('+') {
        Some(beginning) => link.starts_with(beginning),
        None => link == wanted,
    }
}

fn is_one(ports: Option<Inv<PortRange>>, port: u16) -> bool {
    ports.is_none_or(|ports| ports.value.contains(port) != ports.not)
}

fn is_tcp(tcp: &Tcp, seen: &Seen<'_>) -> bool {
    let Some((sport, dport)) = seen.ip.ports.filter(|_| seen.ip.protocol == number::TCP) else {
        return false;
    };
    if !is_one(tcp.sport, sport) || !is_one(tcp.dport, dport) {
        return false;
    }
    let header = seen.l4();
    if let Some(flags) = tcp.flags {
        let (mask, set) = flags.value;
        if (header.get(13).is_some_and(|bits| bits & mask == set)) == flags.not {
            return false;
        }
    }
    tcp.option.is_none_or(|option| has_tcp_option(header, option.value) != option.not)
}

/// Whether the header has an option of this kind (RFC 9293 §3.1).
fn has_tcp_option(header: &[u8], kind: u8) -> bool {
    let end = header.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    let mut options = header.get(20..end).unwrap_or(&[]);
    while let [first, rest @ ..] = options {
        if *first == kind {
            return true;
        }
        // End of list and padding are one byte; others say their length.
        let length =
            if *first < 2 { 1 } else { rest.first().map_or(1, |length| usize::from(*length).max(1)) };
        options = options.get(length..).unwrap_or(&[]);
    }
    false
}

fn has_ports(ports: &Ports, protocol: u8, seen: &Seen<'_>) -> Truth {
    let Some((sport, dport)) = seen.ip.ports.filter(|_| seen.ip.protocol == protocol) else {
        return Truth::No;
    };
    if !is_one(ports.sport, sport) || !is_one(ports.dport, dport) {
        return Truth::No;
    }
    if ports.words.is_empty() {
        Truth::Yes
    } else {
        unmodelled(format_args!("{}", joined("sctp", &ports.words)))
    }
}

fn is_icmp(kind: &Inv<Option<IcmpType>>, seen: &Seen<'_>) -> bool {
    if !matches!(seen.ip.protocol, number::ICMP | number::ICMPV6) || seen.is_later_fragment() {
        return false;
    }
    let Some(wanted) = kind.value else { return true };
    let [has, code, ..] = seen.l4() else { return false };
    (wanted.kind == *has && wanted.code.is_none_or(|wanted| wanted == *code)) != kind.not
}

fn is_multiport(multiport: &Multiport, seen: &Seen<'_>) -> bool {
    let Some((sport, dport)) = seen.ip.ports else { return false };
    let one = |port: u16| multiport.ports.value.iter().any(|range| range.contains(port));
    let holds = match multiport.side {
        PortSide::Source => one(sport),
        PortSide::Destination => one(dport),
        PortSide::Either => one(sport) || one(dport),
    };
    holds != multiport.ports.not
}

/// `xt_conntrack.c conntrack_mt`: without a connection only a question about the state may hold.
fn is_connection(wanted: &Conntrack, seen: &Seen<'_>) -> Truth {
    let connection = seen.tracked();
    if let Some(Inv { not, value: (states, statuses) }) = &wanted.state {
        let nat = connection.is_some_and(|ct| {
            statuses
                .iter()
                .filter(|s| matches!(s, CtStatus::Snat | CtStatus::Dnat))
                .any(|s| ct.status & s.bit() != 0)
        });
        if (nat || states.contains(&seen.ct_state())) == *not {
            return Truth::No;
        }
    }
    let Some(ct) = connection else { return truth(wanted.state.is_some()) };
    let nets = [
        (wanted.orig_src, ct.orig.src),
        (wanted.orig_dst, ct.orig.dst),
        (wanted.reply_src, ct.reply.src),
        (wanted.reply_dst, ct.reply.dst),
    ];
    let ports = [
        (wanted.orig_sport, ct.orig.sport),
        (wanted.orig_dport, ct.orig.dport),
        (wanted.reply_sport, ct.reply.sport),
        (wanted.reply_dport, ct.reply.dport),
    ];
    let holds = wanted.original.is_none_or(|original| original == ct.original)
        && nets.iter().all(|(net, addr)| net.is_none_or(|net| net.value.contains(addr) != net.not))
        && wanted.protocol.is_none_or(|p| (p.value == ct.orig.protocol) != p.not)
        && ports.iter().all(|(ports, port)| is_one(*ports, *port))
        && wanted.status.as_ref().is_none_or(|statuses| {
            statuses.value.iter().any(|status| ct.status & status.bit() != 0) != statuses.not
        });
    match (holds, wanted.words.is_empty()) {
        (false, _) => Truth::No,
        (true, true) => Truth::Yes,
        (true, false) => unmodelled(format_args!("{}", joined("conntrack", &wanted.words))),
    }
}

fn is_type(wanted: &Addrtype, seen: &Seen<'_>, host: &impl Host) -> bool {
    let link = match (wanted.limit_in, wanted.limit_out) {
        (true, _) => seen.iif,
        (false, true) => seen.oif,
        (false, false) => None,
    };
    let is = |types: &Option<Inv<alloc::vec::Vec<AddrType>>>, addr: IpAddr| {
        types.as_ref().is_none_or(|types| is_one_of(&types.value, addr, link, host) != types.not)
    };
    is(&wanted.src, seen.ip.src) && is(&wanted.dst, seen.ip.dst)
}

/// IPv4 asks routing for the one type of an address. IPv6 first looks at the address itself, so that one of this
/// machine is unicast too (`xt_addrtype.c match_type6`).
fn is_one_of(types: &[AddrType], addr: IpAddr, link: Option<&str>, host: &impl Host) -> bool {
    let IpAddr::V6(v6) = addr else { return types.contains(&host.addr_type(addr, link)) };
    let routed = [AddrType::Local, AddrType::Anycast, AddrType::Unreachable];
    let fails = types.iter().any(|kind| match kind {
        AddrType::Multicast => !v6.is_multicast(),
        AddrType::Unicast => v6.is_multicast() || v6.is_unspecified() || v6.to_ipv4_mapped().is_some(),
        AddrType::Unspec => !v6.is_unspecified(),
        AddrType::Local
        | AddrType::Broadcast
        | AddrType::Anycast
        | AddrType::Blackhole
        | AddrType::Unreachable
        | AddrType::Prohibit
        | AddrType::Throw
        | AddrType::Nat
        | AddrType::Xresolve => false,
    });
    if fails {
        return false;
    }
    if types.iter().any(|kind| routed.contains(kind)) {
        return types.contains(&host.addr_type(addr, link));
    }
    true
}

pub(super) const fn is_mark(wanted: &Inv<Masked>, mark: u32) -> bool {
    (mark & wanted.value.mask == wanted.value.value) != wanted.not
}

fn is_within(range: Option<&Inv<(IpAddr, IpAddr)>>, addr: IpAddr) -> bool {
    range.is_none_or(|range| {
        let (first, last) = range.value;
        (first.is_ipv4() == addr.is_ipv4() && first <= addr && addr <= last) != range.not
    })
}

/// `xt_owner.c owner_mt`: what no socket of this namespace sends matches only what is asked inverted.
fn is_owned(
    uid: Option<Inv<(u32, u32)>>,
    gid: Option<Inv<(u32, u32)>>,
    socket_exists: Option<Inv<()>>,
    seen: &Seen<'_>,
) -> Truth {
    if !seen.from_socket {
        let inverted = uid.is_none_or(|u| u.not) && gid.is_none_or(|g| g.not);
        return truth(inverted && socket_exists.is_none_or(|s| s.not));
    }
    if socket_exists.is_some_and(|s| s.not) {
        return Truth::No;
    }
    if uid.is_none() && gid.is_none() {
        return Truth::Yes;
    }
    Truth::Unknown(Unknown {
        why: "whose process sends the packet is not known (`-m owner`)".into(),
        what_would_settle_it: "the process's user: ps -o uid,gid -p PID".into(),
    })
}

/// `xt_physdev.c physdev_mt`: what did not cross a bridge matches only what is asked inverted.
fn is_port(wanted: &Physdev, seen: &Seen<'_>) -> bool {
    let (iif, oif) = (seen.phys_iif, seen.phys_oif);
    let name = |wanted: &Option<Inv<Arc<str>>>, port: Option<&str>| {
        wanted.as_ref().is_none_or(|name| (port.is_some() && is_link(&name.value, port)) != name.not)
    };
    let flag = |wanted: Option<Inv<()>>, is: bool| wanted.is_none_or(|wanted| is != wanted.not);
    flag(wanted.is_bridged, seen.bridged && oif.is_some())
        && flag(wanted.is_in, iif.is_some())
        && flag(wanted.is_out, oif.is_some())
        && name(&wanted.iif, iif)
        && name(&wanted.oif, oif)
}

/// Matches that have no variant of their own.
fn other(module: &str, words: &[Arc<str>], seen: &Seen<'_>, host: &impl Host) -> Truth {
    match module {
        // Counts, and holds unless a quota was set by other means (`xt_nfacct.c`).
        "nfacct" => Truth::Yes,
        "rpfilter" => is_reverse_path(words, seen, host),
        _ => unmodelled(format_args!("{}", joined(module, words))),
    }
}

/// `ipt_rpfilter.c rpfilter_mt`: a packet to the source would leave by the link that this one came in by.
fn is_reverse_path(words: &[Arc<str>], seen: &Seen<'_>, host: &impl Host) -> Truth {
    let (mut loose, mut validmark, mut accept_local, mut invert) = (false, false, false, false);
    for word in words {
        match &**word {
            "--loose" => loose = true,
            "--validmark" => validmark = true,
            "--accept-local" => accept_local = true,
            "--invert" => invert = true,
            _ => return unmodelled(format_args!("{}", joined("rpfilter", words))),
        }
    }
    let (src, dst) = (seen.ip.src, seen.ip.dst);
    let exempt = seen.iif == Some("lo") || (src.is_unspecified() && dst.is_multicast());
    let holds = exempt
        || match host.addr_type(src, None) {
            AddrType::Local => accept_local,
            AddrType::Unicast => {
                let link = host.route_link(src, if validmark { seen.mark } else { 0 });
                link.is_some_and(|(link, _)| loose || Some(link) == seen.iif)
            }
            AddrType::Unspec
            | AddrType::Broadcast
            | AddrType::Anycast
            | AddrType::Multicast
            | AddrType::Blackhole
            | AddrType::Unreachable
            | AddrType::Prohibit
            | AddrType::Throw
            | AddrType::Nat
            | AddrType::Xresolve => false,
        };
    truth(holds != invert)
}

fn joined(module: &str, words: &[Arc<str>]) -> String {
    let mut text = String::from(module);
    for word in words {
        text.push(' ');
        text.push_str(word);
    }
    text
}
