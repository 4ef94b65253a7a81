//! The options of match modules, read into the plan.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ipnet::IpNet;

use super::options::{Opt, addr_range, ids, list, masked, ports, words};
use super::rule::Draft;
use crate::plan::netfilter::{CtState, CtStatus, LimitRate};
use crate::plan::xt::{
    AddrType, Addrtype, Conntrack, IcmpType, Inv, Match, Multiport, Physdev, PortSide, Ports, Recent,
    RecentOp, SetRef, Statistic, Tcp,
};
use crate::text::line::{net, number};
use crate::text::protocol;

/// What `--limit-burst` is when it is not said.
pub(super) const BURST: u32 = 5;

/// Names of ICMP types that a program may feed; `iptables-save` prints numbers.
const ICMP_NAMES: [(&str, u8, Option<u8>); 8] = [
    ("echo-reply", 0, None),
    ("destination-unreachable", 3, None),
    ("fragmentation-needed", 3, Some(4)),
    ("redirect", 5, None),
    ("echo-request", 8, None),
    ("time-exceeded", 11, None),
    ("parameter-problem", 12, None),
    ("timestamp-request", 13, None),
];
/// The same of ICMPv6.
const ICMPV6_NAMES: [(&str, u8, Option<u8>); 10] = [
    ("destination-unreachable", 1, None),
    ("packet-too-big", 2, None),
    ("time-exceeded", 3, None),
    ("parameter-problem", 4, None),
    ("echo-request", 128, None),
    ("echo-reply", 129, None),
    ("router-solicitation", 133, None),
    ("router-advertisement", 134, None),
    ("neighbour-solicitation", 135, None),
    ("neighbour-advertisement", 136, None),
];

/// Whether a module has an option of this name.
pub(super) fn knows(module: &str, key: &str) -> bool {
    let keys: &[&str] = match module {
        "tcp" => &[
            "--sport",
            "--source-port",
            "--dport",
            "--destination-port",
            "--tcp-flags",
            "--syn",
            "--tcp-option",
        ],
        "udp" => &["--sport", "--source-port", "--dport", "--destination-port"],
        "sctp" => &["--sport", "--source-port", "--dport", "--destination-port", "--chunk-types"],
        "icmp" => &["--icmp-type"],
        "icmp6" => &["--icmpv6-type"],
        "comment" => &["--comment"],
        "multiport" => &["--sports", "--source-ports", "--dports", "--destination-ports", "--ports"],
        "conntrack" => return key.starts_with("--ct"),
        "state" => &["--state"],
        "addrtype" => &["--src-type", "--dst-type", "--limit-iface-in", "--limit-iface-out"],
        "mark" | "connmark" => &["--mark"],
        "iprange" => &["--src-range", "--dst-range"],
        "limit" => &["--limit", "--limit-burst"],
        "owner" => &["--uid-owner", "--gid-owner", "--socket-exists", "--suppl-groups"],
        "physdev" => return key.starts_with("--physdev-"),
        "recent" => &[
            "--set",
            "--rcheck",
            "--update",
            "--remove",
            "--seconds",
            "--reap",
            "--hitcount",
            "--rttl",
            "--name",
            "--mask",
            "--rsource",
            "--rdest",
        ],
        "set" => &["--match-set", "--set", "--return-nomatch"],
        "statistic" => &["--mode", "--probability", "--every", "--packet"],
        "policy" => &["--proto"],
        "ipvs" => &["--ipvs", "--vproto", "--vaddr", "--vport"],
        _ => &[],
    };
    keys.contains(&key)
}

/// The match of a module, if all of its options have a type.
pub(super) fn typed(module: &Draft<'_>) -> Option<Match> {
    let options = &*module.options;
    match module.name {
        "comment" => single(options, "--comment")?.plain(|text| Some(Match::Comment(text.into()))),
        "tcp" => tcp(options).map(Match::Tcp),
        "udp" => only_ports(options).map(Match::Udp),
        "sctp" => only_ports(options).map(Match::Sctp),
        "icmp" => single(options, "--icmp-type")?.inv(|text| icmp(text, &ICMP_NAMES)).map(Match::Icmp),
        "icmp6" => single(options, "--icmpv6-type")?.inv(|text| icmp(text, &ICMPV6_NAMES)).map(Match::Icmp),
        "multiport" => multiport(options),
        "conntrack" => conntrack(options).map(Box::new).map(Match::Conntrack),
        "state" => single(options, "--state")?.inv(|text| list(text, state)).map(Match::State),
        "addrtype" => addrtype(options).map(Box::new).map(Match::Addrtype),
        "mark" => single(options, "--mark")?.inv(masked).map(Match::Mark),
        "connmark" => single(options, "--mark")?.inv(masked).map(Match::Connmark),
        "iprange" => iprange(options),
        "limit" => limit(options),
        "owner" => owner(options),
        "physdev" => physdev(options).map(Box::new).map(Match::Physdev),
        "recent" => recent(options).map(Box::new).map(Match::Recent),
        "set" => set(options),
        "statistic" => statistic(options).map(Match::Statistic),
        "ipvs" => ipvs(options),
        _ => None,
    }
}

/// The only option, which has this name.
fn single<'o, 't>(options: &'o [Opt<'t>], key: &str) -> Option<&'o Opt<'t>> {
    match options {
        [option] if option.key == key => Some(option),
        _ => None,
    }
}

fn tcp(options: &[Opt<'_>]) -> Option<Tcp> {
    let mut out = Tcp::default();
    for option in options {
        match option.key {
            "--sport" | "--source-port" => out.sport = Some(option.inv(ports)?),
            "--dport" | "--destination-port" => out.dport = Some(option.inv(ports)?),
            "--tcp-option" => out.option = Some(option.inv(number)?),
            "--tcp-flags" => {
                let [mask, set] = &*option.values else { return None };
                out.flags = Some(Inv { not: option.not, value: (flags(mask)?, flags(set)?) });
            }
            // FIN, SYN, RST and ACK; SYN alone.
            "--syn" => out.flags = Some(Inv { not: option.flag()?.not, value: (0x17, 0x02) }),
            _ => return None,
        }
    }
    Some(out)
}

/// The flags of TCP, lowest bit first.
pub(super) const TCP_FLAGS: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];

fn flags(text: &str) -> Option<u8> {
    match text {
        "NONE" => Some(0),
        "ALL" => Some(0x3f),
        _ => text.split(',').try_fold(0, |bits, name| {
            let bit = TCP_FLAGS.iter().position(|flag| *flag == name)?;
            Some(bits | 1 << bit)
        }),
    }
}

fn only_ports(options: &[Opt<'_>]) -> Option<Ports> {
    let mut out = Ports::default();
    for option in options {
        match option.key {
            "--sport" | "--source-port" => out.sport = Some(option.inv(ports)?),
            "--dport" | "--destination-port" => out.dport = Some(option.inv(ports)?),
            _ => option.words(&mut out.words),
        }
    }
    Some(out)
}

fn icmp(text: &str, names: &[(&str, u8, Option<u8>)]) -> Option<Option<IcmpType>> {
    if text == "any" {
        return Some(None);
    }
    if let Some((_, kind, code)) = names.iter().find(|(name, ..)| *name == text) {
        return Some(Some(IcmpType { kind: *kind, code: *code }));
    }
    let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
    let code = match code {
        Some(code) => Some(number(code)?),
        None => None,
    };
    let kind: u8 = number(kind)?;
    // The kernel's "any" is type 255 with every code.
    (kind != u8::MAX).then_some(Some(IcmpType { kind, code }))
}

fn multiport(options: &[Opt<'_>]) -> Option<Match> {
    let [option] = options else { return None };
    let side = match option.key {
        "--sports" | "--source-ports" => PortSide::Source,
        "--dports" | "--destination-ports" => PortSide::Destination,
        "--ports" => PortSide::Either,
        _ => return None,
    };
    let ports = option.inv(|text| list(text, ports))?;
    Some(Match::Multiport(Multiport { side, ports }))
}

fn state(text: &str) -> Option<CtState> {
    Some(match text {
        "INVALID" => CtState::Invalid,
        "NEW" => CtState::New,
        "RELATED" => CtState::Related,
        "ESTABLISHED" => CtState::Established,
        "UNTRACKED" => CtState::Untracked,
        _ => return None,
    })
}

fn state_or_nat(text: &str) -> Option<(Vec<CtState>, Vec<CtStatus>)> {
    let (mut states, mut statuses) = (Vec::new(), Vec::new());
    for word in text.split(',') {
        match word {
            "SNAT" => statuses.push(CtStatus::Snat),
            "DNAT" => statuses.push(CtStatus::Dnat),
            _ => states.push(state(word)?),
        }
    }
    Some((states, statuses))
}

fn status(text: &str) -> Option<CtStatus> {
    Some(match text {
        "EXPECTED" => CtStatus::Expected,
        "SEEN_REPLY" => CtStatus::SeenReply,
        "ASSURED" => CtStatus::Assured,
        "CONFIRMED" => CtStatus::Confirmed,
        _ => return None,
    })
}

fn conntrack(options: &[Opt<'_>]) -> Option<Conntrack> {
    let mut out = Conntrack::default();
    for option in options {
        match option.key {
            "--ctstate" => out.state = Some(option.inv(state_or_nat)?),
            "--ctstatus" => out.status = Some(option.inv(|text| list(text, status))?),
            "--ctproto" => out.protocol = Some(option.inv(protocol::number_of)?),
            "--ctorigsrc" => out.orig_src = Some(option.inv(net)?),
            "--ctorigdst" => out.orig_dst = Some(option.inv(net)?),
            "--ctreplsrc" => out.reply_src = Some(option.inv(net)?),
            "--ctrepldst" => out.reply_dst = Some(option.inv(net)?),
            "--ctorigsrcport" => out.orig_sport = Some(option.inv(ports)?),
            "--ctorigdstport" => out.orig_dport = Some(option.inv(ports)?),
            "--ctreplsrcport" => out.reply_sport = Some(option.inv(ports)?),
            "--ctrepldstport" => out.reply_dport = Some(option.inv(ports)?),
            "--ctdir" => {
                out.original = Some(option.plain(|text| match text {
                    "ORIGINAL" => Some(true),
                    "REPLY" => Some(false),
                    _ => None,
                })?);
            }
            _ => option.words(&mut out.words),
        }
    }
    Some(out)
}

/// The names of `linux/rtnetlink.h`.
pub(super) const ADDR_TYPES: [(AddrType, &str); 12] = [
    (AddrType::Unspec, "UNSPEC"),
    (AddrType::Unicast, "UNICAST"),
    (AddrType::Local, "LOCAL"),
    (AddrType::Broadcast, "BROADCAST"),
    (AddrType::Anycast, "ANYCAST"),
    (AddrType::Multicast, "MULTICAST"),
    (AddrType::Blackhole, "BLACKHOLE"),
    (AddrType::Unreachable, "UNREACHABLE"),
    (AddrType::Prohibit, "PROHIBIT"),
    (AddrType::Throw, "THROW"),
    (AddrType::Nat, "NAT"),
    (AddrType::Xresolve, "XRESOLVE"),
];

fn addrtype(options: &[Opt<'_>]) -> Option<Addrtype> {
    let kind = |text: &str| ADDR_TYPES.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind);
    let mut out = Addrtype::default();
    for option in options {
        match option.key {
            "--src-type" => out.src = Some(option.inv(|text| list(text, kind))?),
            "--dst-type" => out.dst = Some(option.inv(|text| list(text, kind))?),
            "--limit-iface-in" => out.limit_in = option.set()?,
            "--limit-iface-out" => out.limit_out = option.set()?,
            _ => return None,
        }
    }
    Some(out)
}

fn iprange(options: &[Opt<'_>]) -> Option<Match> {
    let (mut src, mut dst) = (None, None);
    for option in options {
        match option.key {
            "--src-range" => src = Some(Box::new(option.inv(addr_range)?)),
            "--dst-range" => dst = Some(Box::new(option.inv(addr_range)?)),
            _ => return None,
        }
    }
    Some(Match::Iprange { src, dst })
}

fn limit(options: &[Opt<'_>]) -> Option<Match> {
    // Three an hour, where nothing is said.
    let mut rate = LimitRate { amount: 3, unit_bytes: None, per_secs: 3600 };
    let mut burst = BURST;
    for option in options {
        match option.key {
            "--limit" => rate = option.plain(read_rate)?,
            "--limit-burst" => burst = option.plain(number)?,
            _ => return None,
        }
    }
    Some(Match::Limit { rate, burst })
}

fn read_rate(text: &str) -> Option<LimitRate> {
    let (amount, unit) = text.split_once('/').unwrap_or((text, "sec"));
    let units = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400)];
    let (_, per_secs) = units.into_iter().find(|(name, _)| !unit.is_empty() && name.starts_with(unit))?;
    Some(LimitRate { amount: number(amount).filter(|amount| *amount > 0)?, unit_bytes: None, per_secs })
}

fn owner(options: &[Opt<'_>]) -> Option<Match> {
    let (mut uid, mut gid, mut socket_exists) = (None, None, None);
    for option in options {
        match option.key {
            "--uid-owner" => uid = Some(option.inv(ids)?),
            "--gid-owner" => gid = Some(option.inv(ids)?),
            "--socket-exists" => socket_exists = Some(option.flag()?),
            _ => return None,
        }
    }
    Some(Match::Owner { uid, gid, socket_exists })
}

fn physdev(options: &[Opt<'_>]) -> Option<Physdev> {
    let mut out = Physdev::default();
    for option in options {
        match option.key {
            "--physdev-in" => out.iif = Some(option.inv(|text| Some(text.into()))?),
            "--physdev-out" => out.oif = Some(option.inv(|text| Some(text.into()))?),
            "--physdev-is-in" => out.is_in = Some(option.flag()?),
            "--physdev-is-out" => out.is_out = Some(option.flag()?),
            "--physdev-is-bridged" => out.is_bridged = Some(option.flag()?),
            _ => return None,
        }
    }
    Some(out)
}

fn recent(options: &[Opt<'_>]) -> Option<Recent> {
    let mut op = None;
    let mut out = Recent {
        op: Inv::is(RecentOp::Set),
        seconds: None,
        reap: false,
        hitcount: None,
        rttl: false,
        name: "DEFAULT".into(),
        mask: None,
        by_destination: false,
    };
    for option in options {
        let asked = match option.key {
            "--set" => RecentOp::Set,
            "--rcheck" => RecentOp::Rcheck,
            "--update" => RecentOp::Update,
            "--remove" => RecentOp::Remove,
            key => {
                match key {
                    "--seconds" => out.seconds = Some(option.plain(number)?),
                    "--reap" => out.reap = option.set()?,
                    "--hitcount" => out.hitcount = Some(option.plain(number)?),
                    "--rttl" => out.rttl = option.set()?,
                    "--name" => out.name = option.plain(|text| Some(text.into()))?,
                    "--mask" => out.mask = Some(option.plain(|text| text.parse().ok())?),
                    "--rsource" => out.by_destination = !option.set()?,
                    "--rdest" => out.by_destination = option.set()?,
                    _ => return None,
                }
                continue;
            }
        };
        op = Some(Inv { not: option.flag()?.not, value: asked });
    }
    out.op = op?;
    Some(out)
}

fn set(options: &[Opt<'_>]) -> Option<Match> {
    let [first, rest @ ..] = options else { return None };
    let (["--match-set" | "--set"], [name, directions]) = ([first.key], &*first.values) else { return None };
    let direction = |text: &str| match text {
        "src" => Some(true),
        "dst" => Some(false),
        _ => None,
    };
    let value = SetRef { name: Arc::from(&**name), src: list(directions, direction)? };
    Some(Match::Set { set: Box::new(Inv { not: first.not, value }), options: words(rest) })
}

fn statistic(options: &[Opt<'_>]) -> Option<Statistic> {
    let find = |key: &str| options.iter().find(|option| option.key == key);
    let mode = find("--mode")?.plain(|text| Some(text.len()))?;
    match (mode, options.len()) {
        (6, 2) => find("--probability")?.inv(probability).map(Statistic::Random),
        (3, 2 | 3) => {
            let every = find("--every")?.inv(number).filter(|every: &Inv<u32>| every.value > 0)?;
            let packet = match find("--packet") {
                Some(option) => option.plain(number)?,
                None if options.len() == 2 => 0,
                None => return None,
            };
            Some(Statistic::Nth { every: every.value, packet, not: every.not })
        }
        _ => None,
    }
}

/// A decimal fraction up to 1 as so many of 2³¹, rounded as iptables does it (`lround`).
fn probability(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.get(..fraction.len().min(20))?;
    let digits: u128 = if fraction.is_empty() { 0 } else { number(fraction)? };
    let scale = 10_u128.pow(fraction.len() as u32);
    let value = number::<u128>(whole).filter(|whole| *whole <= 1)? * scale + digits;
    let share = (value * u128::from(Statistic::ONE) + scale / 2) / scale;
    u32::try_from(share).ok().filter(|share| *share <= Statistic::ONE)
}

fn ipvs(options: &[Opt<'_>]) -> Option<Match> {
    let (mut ipvs, mut protocol, mut addr, mut port) = (None, None, None::<Inv<IpNet>>, None);
    for option in options {
        match option.key {
            "--ipvs" => ipvs = Some(option.flag()?),
            "--vproto" => protocol = Some(option.inv(protocol::number_of)?),
            "--vaddr" => addr = Some(option.inv(net)?),
            "--vport" => port = Some(option.inv(number)?),
            _ => return None,
        }
    }
    Some(Match::Ipvs { ipvs, protocol, addr, port })
}
