//! Sets of `ipset`: whether one holds what a packet shows.
//!
//! A set's type says what is looked at, the match's directions from which side. Addresses, ports and marks are found by one
//! hash look-up, prefixes by the longest that holds the address; an entry with `nomatch` then says no. Entries that share
//! all but their prefixes are tried in turn.
//! Sources: ipset(8), `net/netfilter/ipset/ip_set_hash_*.c`, `ip_set_getport.c`. Not modelled: entries that rules add
//! (`-j SET`), counters.

use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::Seen;
use super::state::Map;
use super::walk::Rules;
use crate::addr::MacAddr;
use crate::lpm::Lpm;
use crate::packet::{self, number};
use crate::plan::xt::SetRef;
use crate::plan::{IpSet, IpSetEntry, IpSetKind, IpSetOption, IpSetPart, IpSetPartKind, Supply};
use crate::time::{Duration, Instant};

/// A list of sets does not hold lists (`list:set`); dumps may.
const NESTED: u32 = 4;

/// What a packet shows for one part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Shown<'p> {
    Addr(IpAddr),
    Port(u8, u16),
    PortAlone(u16),
    Mac(MacAddr),
    Mark(u32),
    /// The name of the link, and of the bridge port.
    Links(Option<&'p str>, Option<&'p str>),
}

/// A part of an entry that is one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cell {
    Addr(IpAddr),
    Port(u8, u16),
    Number(u64),
}

type Cells = SmallVec<[Cell; 4]>;

/// What makes the entries of one set quick to look up.
#[derive(Debug, Default)]
pub(super) struct IpSetIndex {
    /// Entries by all their parts that are one thing.
    by: Map<Cells, Vec<u32>>,
    /// Entries that are tried one by one.
    rest: Vec<u32>,
    /// Prefixes alone.
    prefixes: Option<Lpm<u32>>,
}

impl IpSetIndex {
    /// O(entries).
    pub(super) fn new(set: &IpSet) -> Self {
        let mut index = Self::default();
        if set.kind == IpSetKind::HashNet {
            let prefixes = (0_u32..)
                .zip(&set.entries)
                .filter_map(|(at, entry)| Some((net_of(entry.parts.first()?)?, at)));
            index.prefixes = Some(Lpm::new(prefixes));
            return index;
        }
        for (at, entry) in (0_u32..).zip(&set.entries) {
            match cells_of(set.kind, entry) {
                Some(cells) => index.by.entry(cells).or_default().push(at),
                None => index.rest.push(at),
            }
        }
        index
    }
}

/// Whether a set holds what the packet shows; `None` if there is no such set.
pub(super) fn contains(wanted: &SetRef, seen: &Seen<'_>, rules: Rules<'_>) -> Option<bool> {
    within(&wanted.name, &wanted.src, seen, rules, NESTED)
}

fn within(name: &str, src: &[bool], seen: &Seen<'_>, rules: Rules<'_>, nested: u32) -> Option<bool> {
    let ruleset = rules.netfilter.ruleset()?;
    let (number, set) = rules.prepared.ipset(ruleset, name)?;
    if set.kind == IpSetKind::ListSet {
        // A member that is not there makes the answer unknown only if no other holds the packet.
        let mut all_known = true;
        for part in set.entries.iter().filter_map(|entry| entry.parts.first()) {
            if let IpSetPart::Set(member) = part {
                match if nested == 0 { None } else { within(member, src, seen, rules, nested - 1) } {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => all_known = false,
                }
            }
        }
        return all_known.then_some(false);
    }
    let of_family =
        !set.kind.has_family() && set.kind != IpSetKind::BitmapIp && set.kind != IpSetKind::BitmapIpMac
            || set.family == seen.ip.family();
    let kinds = set.kind.parts();
    if !of_family || src.len() < kinds.len() {
        return Some(false);
    }
    let shown: Option<SmallVec<[Shown<'_>; 4]>> =
        kinds.iter().zip(src).map(|(kind, src)| shows(*kind, *src, set, seen)).collect();
    let Some(shown) = shown else { return Some(false) };
    if let Some(supply) = rules.netfilter.supply()
        && supply.asks_entries(name)
    {
        return Some(is_supplied(supply, name, &shown));
    }
    let index = rules.prepared.ipset_index(number, set)?;
    let found = find(set, index, &shown, seen.now);
    Some(found.is_some_and(|entry| !entry.nomatch))
}

fn is_supplied(supply: &dyn Supply, name: &str, shown: &[Shown<'_>]) -> bool {
    let parts: SmallVec<[IpSetPart; 4]> = shown
        .iter()
        .map(|part| match *part {
            Shown::Addr(addr) => IpSetPart::Net(addr.into()),
            Shown::Port(protocol, port) => IpSetPart::Port(protocol, port),
            Shown::PortAlone(port) => IpSetPart::PortAlone(port),
            Shown::Mac(mac) => IpSetPart::Mac(mac),
            Shown::Mark(mark) => IpSetPart::Mark(mark),
            Shown::Links(link, _) => IpSetPart::Link(link.unwrap_or("").into()),
        })
        .collect();
    supply.ipset_entry(name, &parts).is_some_and(|entry| !entry.nomatch)
}

/// What a packet shows for a part; `None` when it has nothing of the kind.
fn shows<'p>(kind: IpSetPartKind, src: bool, set: &IpSet, seen: &Seen<'p>) -> Option<Shown<'p>> {
    let addr = if src { seen.ip.src } else { seen.ip.dst };
    let side = |(sport, dport): (u16, u16)| if src { sport } else { dport };
    let has_ports = matches!(seen.ip.protocol, number::TCP | number::UDP | number::SCTP);
    Some(match kind {
        IpSetPartKind::Addr => Shown::Addr(masked(addr, &set.options)),
        IpSetPartKind::Net => Shown::Addr(addr),
        IpSetPartKind::Port if has_ports => Shown::Port(seen.ip.protocol, side(seen.ip.ports?)),
        IpSetPartKind::Port => {
            let icmp = matches!(seen.ip.protocol, number::ICMP | number::ICMPV6);
            let port = match seen.l4() {
                [kind, code, ..] if icmp && !seen.is_later_fragment() => u16::from_be_bytes([*kind, *code]),
                _ => 0,
            };
            Shown::Port(seen.ip.protocol, port)
        }
        IpSetPartKind::PortAlone => {
            let ports = seen.ip.ports.filter(|_| matches!(seen.ip.protocol, number::TCP | number::UDP));
            Shown::PortAlone(side(ports?))
        }
        IpSetPartKind::Mac => {
            seen.iif?;
            let source = src || set.kind == IpSetKind::BitmapIpMac;
            Shown::Mac(if source {
                packet::source_mac(seen.frame)
            } else {
                packet::destination_mac(seen.frame)
            })
        }
        IpSetPartKind::Mark => {
            let mask = set.options.iter().find_map(|option| match option {
                IpSetOption::Markmask(mask) => Some(*mask),
                IpSetOption::Range(_)
                | IpSetOption::Netmask(_)
                | IpSetOption::Bitmask(_)
                | IpSetOption::Timeout(_)
                | IpSetOption::Other(_) => None,
            });
            Shown::Mark(seen.mark & mask.unwrap_or(u32::MAX))
        }
        IpSetPartKind::Link if src => Shown::Links(seen.iif, seen.phys_iif),
        IpSetPartKind::Link => Shown::Links(seen.oif, seen.phys_oif),
        IpSetPartKind::Set => return None,
    })
}

/// An address as a set with `netmask` or `bitmask` stores it.
fn masked(addr: IpAddr, options: &[IpSetOption]) -> IpAddr {
    options.iter().fold(addr, |addr, option| match (option, addr) {
        (IpSetOption::Netmask(len), addr) => IpNet::new(addr, *len).map_or(addr, |net| net.network()),
        (IpSetOption::Bitmask(IpAddr::V4(mask)), IpAddr::V4(addr)) => IpAddr::V4(addr & *mask),
        (IpSetOption::Bitmask(IpAddr::V6(mask)), IpAddr::V6(addr)) => IpAddr::V6(addr & *mask),
        _ => addr,
    })
}

/// The entry that decides: of those that hold the packet the one with the longest prefixes.
fn find<'s>(set: &'s IpSet, index: &IpSetIndex, shown: &[Shown<'_>], now: Instant) -> Option<&'s IpSetEntry> {
    if let (Some(prefixes), [Shown::Addr(addr)]) = (&index.prefixes, shown) {
        let entry = set.entries.get(prefixes.lookup(*addr)? as usize)?;
        // Behind one that has expired a shorter one may stand.
        return if lives(set, entry, now) {
            Some(entry)
        } else {
            longest(set, 0..set.entries.len(), shown, now)
        };
    }
    let mut cells = Cells::new();
    for (kind, part) in set.kind.parts().iter().zip(shown) {
        cells.extend(cell_of_shown(*kind, *part));
    }
    let list = index.by.get(&cells).map_or(&[][..], Vec::as_slice);
    longest(set, list.iter().chain(&index.rest).map(|at| *at as usize), shown, now)
}

fn longest<'s>(
    set: &'s IpSet,
    entries: impl Iterator<Item = usize>,
    shown: &[Shown<'_>],
    now: Instant,
) -> Option<&'s IpSetEntry> {
    let entries = entries.filter_map(|at| Some((at, set.entries.get(at)?)));
    let held = entries.filter(|(_, entry)| holds(entry, shown) && lives(set, entry, now));
    let lengths = |entry: &IpSetEntry| -> SmallVec<[u8; 4]> {
        entry.parts.iter().filter_map(net_of).map(|net| net.prefix_len()).collect()
    };
    held.max_by_key(|(at, entry)| (lengths(entry), Reverse(*at))).map(|(_, entry)| entry)
}

/// Whether an entry holds what the packet shows, part by part.
fn holds(entry: &IpSetEntry, shown: &[Shown<'_>]) -> bool {
    let is_link = |wanted: &str, link: Option<&str>| {
        link.is_some_and(|link| if entry.wildcard { link.starts_with(wanted) } else { link == wanted })
    };
    let holds = |part: &IpSetPart, shown: Shown<'_>| match (part, shown) {
        (IpSetPart::Net(net), Shown::Addr(addr)) => net.contains(&addr),
        (IpSetPart::Port(protocol, port), Shown::Port(p, n)) => (*protocol, *port) == (p, n),
        (IpSetPart::PortAlone(port), Shown::PortAlone(n)) => *port == n,
        (IpSetPart::Mac(mac), Shown::Mac(m)) => *mac == m,
        (IpSetPart::Mark(mark), Shown::Mark(m)) => *mark == m,
        (IpSetPart::Link(name), Shown::Links(link, _)) => is_link(name, link),
        (IpSetPart::BridgePort(name), Shown::Links(_, port)) => is_link(name, port),
        _ => false,
    };
    // The MAC address of `bitmap:ip,mac` may be missing: then any is right.
    entry.parts.len() <= shown.len() && entry.parts.iter().zip(shown).all(|(part, shown)| holds(part, *shown))
}

fn lives(set: &IpSet, entry: &IpSetEntry, now: Instant) -> bool {
    let secs = entry.timeout_secs.or_else(|| set.timeout_secs()).filter(|secs| *secs > 0);
    secs.is_none_or(|secs| now < Instant::START + Duration::from_secs(secs.into()))
}

const fn net_of(part: &IpSetPart) -> Option<IpNet> {
    match part {
        IpSetPart::Net(net) => Some(*net),
        IpSetPart::Port(..)
        | IpSetPart::PortAlone(_)
        | IpSetPart::Mac(_)
        | IpSetPart::Mark(_)
        | IpSetPart::Link(_)
        | IpSetPart::BridgePort(_)
        | IpSetPart::Set(_) => None,
    }
}

/// The parts of an entry that are one thing; `None` when it has to be tried.
fn cells_of(kind: IpSetKind, entry: &IpSetEntry) -> Option<Cells> {
    let kinds = kind.parts();
    if entry.parts.len() != kinds.len() {
        return None;
    }
    let mut cells = Cells::new();
    for (kind, part) in kinds.iter().zip(&entry.parts) {
        match (kind, part) {
            (IpSetPartKind::Addr, IpSetPart::Net(net)) if net.prefix_len() == net.max_prefix_len() => {
                cells.push(Cell::Addr(net.addr()));
            }
            (IpSetPartKind::Addr, _) => return None,
            (_, IpSetPart::Port(protocol, port)) => cells.push(Cell::Port(*protocol, *port)),
            (_, IpSetPart::PortAlone(port)) => cells.push(Cell::Number((*port).into())),
            (_, IpSetPart::Mac(mac)) => cells.push(Cell::Number(mac_number(*mac))),
            (_, IpSetPart::Mark(mark)) => cells.push(Cell::Number((*mark).into())),
            (_, IpSetPart::Net(_) | IpSetPart::Link(_) | IpSetPart::BridgePort(_) | IpSetPart::Set(_)) => {}
        }
    }
    Some(cells)
}

fn cell_of_shown(kind: IpSetPartKind, shown: Shown<'_>) -> Option<Cell> {
    match shown {
        Shown::Addr(addr) => (kind == IpSetPartKind::Addr).then_some(Cell::Addr(addr)),
        Shown::Port(protocol, port) => Some(Cell::Port(protocol, port)),
        Shown::PortAlone(port) => Some(Cell::Number(port.into())),
        Shown::Mac(mac) => Some(Cell::Number(mac_number(mac))),
        Shown::Mark(mark) => Some(Cell::Number(mark.into())),
        Shown::Links(..) => None,
    }
}

fn mac_number(mac: MacAddr) -> u64 {
    mac.0.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::super::testing::Packet;
    use super::super::{Prepared, WalkMode};
    use super::*;
    use crate::plan::{Family, Netfilter, Origin, Ruleset};

    const PACKET: &str = "tcp 10.0.0.1 1234 192.168.0.1 80";

    fn net(text: &str) -> IpSetPart {
        IpSetPart::Net(text.parse().expect("a prefix"))
    }

    fn set(kind: IpSetKind, entries: Vec<Vec<IpSetPart>>) -> IpSet {
        let origin = Origin::implied("test");
        let mut set = IpSet::new("s", kind, Family::V4, origin.clone());
        set.entries = entries.into_iter().map(|parts| IpSetEntry::new(parts, origin.clone())).collect();
        set
    }

    fn ask(sets: Vec<IpSet>, src: &[bool], packet: &Packet) -> Option<bool> {
        let ipsets = sets.into_iter().map(alloc::sync::Arc::new).collect();
        let netfilter = Netfilter::Whole(alloc::sync::Arc::new(Ruleset { ipsets, ..Ruleset::default() }));
        let prepared = Prepared::new(&netfilter);
        let rules = Rules { netfilter: &netfilter, prepared: &prepared, mode: WalkMode::Indexed };
        contains(&SetRef { name: "s".into(), src: src.to_vec() }, &packet.seen(), rules)
    }

    #[track_caller]
    fn check(set: IpSet, src: &[bool], packet: &str, expected: bool) {
        assert_eq!(ask(vec![set], src, &Packet::new(packet)), Some(expected));
    }

    #[test]
    fn addresses_and_ports_from_either_side() {
        let hash_ip = set(IpSetKind::HashIp, vec![vec![net("10.0.0.1/32")]]);
        check(hash_ip.clone(), &[true], PACKET, true);
        check(hash_ip.clone(), &[false], PACKET, false);
        check(hash_ip.clone(), &[true], "udp fd00::1 1 fd00::2 2", false);
        check(hash_ip, &[], PACKET, false);
        let vip = set(IpSetKind::HashIpPort, vec![vec![net("192.168.0.1/32"), IpSetPart::Port(6, 80)]]);
        check(vip.clone(), &[false, false], PACKET, true);
        check(vip.clone(), &[false, true], PACKET, false);
        check(vip, &[false, false], "udp 10.0.0.1 1 192.168.0.1 80", false);
        let ports = set(IpSetKind::BitmapPort, vec![vec![IpSetPart::PortAlone(80)]]);
        check(ports.clone(), &[false], PACKET, true);
        check(ports, &[false], "icmp 10.0.0.1 10.0.0.2", false);
        let echo = set(IpSetKind::HashIpPort, vec![vec![net("10.0.0.2/32"), IpSetPart::Port(1, 8 << 8)]]);
        check(echo, &[false, false], "icmp 10.0.0.1 10.0.0.2", true);
    }

    #[test]
    fn the_longest_prefix_decides() {
        let mut nets = set(IpSetKind::HashNet, vec![vec![net("10.0.0.0/8")], vec![net("10.0.0.0/24")]]);
        check(nets.clone(), &[true], PACKET, true);
        nets.entries[1].nomatch = true;
        check(nets.clone(), &[true], PACKET, false);
        check(nets.clone(), &[true], "tcp 10.0.1.1 1 192.168.0.1 80", true);
        nets.entries[1].timeout_secs = Some(5);
        let later = Packet { now: Instant::START + Duration::from_secs(5), ..Packet::new(PACKET) };
        assert_eq!(ask(vec![nets], &[true], &later), Some(true));
        let source = |text: &str| vec![net("192.168.0.1/32"), IpSetPart::Port(6, 80), net(text)];
        let mut ranges = set(IpSetKind::HashIpPortNet, vec![source("10.0.0.0/24"), source("10.0.0.0/30")]);
        check(ranges.clone(), &[false, false, true], PACKET, true);
        ranges.entries[1].nomatch = true;
        check(ranges, &[false, false, true], PACKET, false);
    }

    #[test]
    fn masks_links_and_lists() {
        let mut masked = set(IpSetKind::HashIp, vec![vec![net("10.0.0.0/32")]]);
        masked.options.push(IpSetOption::Netmask(24));
        check(masked.clone(), &[true], PACKET, true);
        let link = |name: &str| vec![net("10.0.0.0/8"), IpSetPart::Link(name.into())];
        let mut links = set(IpSetKind::HashNetIface, vec![link("eth")]);
        check(links.clone(), &[true, true], PACKET, false);
        links.entries[0].wildcard = true;
        check(links, &[true, true], PACKET, true);
        let list = |names: &[&str]| {
            set(IpSetKind::ListSet, names.iter().map(|name| vec![IpSetPart::Set((*name).into())]).collect())
        };
        let member = IpSet { name: "member".into(), ..masked };
        let packet = Packet::new(PACKET);
        assert_eq!(ask(vec![list(&["lost", "member"]), member.clone()], &[true], &packet), Some(true));
        assert_eq!(ask(vec![list(&["lost", "member"]), member], &[false], &packet), None);
        assert_eq!(ask(vec![list(&["s"])], &[true], &packet), None);
    }
}
