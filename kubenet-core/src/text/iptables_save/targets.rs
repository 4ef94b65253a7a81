//! Targets, read into the plan.

use alloc::sync::Arc;

use super::options::{Opt, addr_range, mask, masked, nat_ports, words};
use super::rule::Draft;
use crate::addr::Family;
use crate::plan::netfilter::{NatFlags, PortRange, Reject};
use crate::plan::xt::{Connmark, Masked, NatTo, Target};

/// Targets that are neither a verdict nor a chain.
const EXTENSIONS: [&str; 36] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CLUSTERIP",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DNAT",
    "DNPT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "LOG",
    "MARK",
    "MASQUERADE",
    "NETMAP",
    "NFLOG",
    "NFQUEUE",
    "NOTRACK",
    "RATEEST",
    "REDIRECT",
    "REJECT",
    "SECMARK",
    "SET",
    "SNAT",
    "SNPT",
    "SYNPROXY",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TPROXY",
    "TTL",
];

/// Whether a target of this name is an extension even without options.
pub(super) fn is_extension(name: &str) -> bool {
    EXTENSIONS.contains(&name) || matches!(name, "TRACE" | "QUEUE" | "ULOG")
}

/// The names of `--reject-with`, first those of the family. Where two mean one thing, the first is printed.
pub(super) const REJECTS_V4: [(Reject, &str); 15] = [
    (Reject::PortUnreachable, "icmp-port-unreachable"),
    (Reject::NetUnreachable, "icmp-net-unreachable"),
    (Reject::HostUnreachable, "icmp-host-unreachable"),
    (Reject::ProtoUnreachable, "icmp-proto-unreachable"),
    (Reject::NetProhibited, "icmp-net-prohibited"),
    (Reject::HostProhibited, "icmp-host-prohibited"),
    (Reject::AdminProhibited, "icmp-admin-prohibited"),
    (Reject::TcpReset, "tcp-reset"),
    (Reject::PortUnreachable, "port-unreach"),
    (Reject::NetUnreachable, "net-unreach"),
    (Reject::HostUnreachable, "host-unreach"),
    (Reject::ProtoUnreachable, "proto-unreach"),
    (Reject::NetProhibited, "net-prohib"),
    (Reject::HostProhibited, "host-prohib"),
    (Reject::AdminProhibited, "admin-prohib"),
];
/// The same of IPv6.
pub(super) const REJECTS_V6: [(Reject, &str); 13] = [
    (Reject::PortUnreachable, "icmp6-port-unreachable"),
    (Reject::NetUnreachable, "icmp6-no-route"),
    (Reject::HostUnreachable, "icmp6-addr-unreachable"),
    (Reject::AdminProhibited, "icmp6-adm-prohibited"),
    (Reject::PolicyFail, "icmp6-policy-fail"),
    (Reject::RejectRoute, "icmp6-reject-route"),
    (Reject::TcpReset, "tcp-reset"),
    (Reject::PortUnreachable, "port-unreach"),
    (Reject::NetUnreachable, "no-route"),
    (Reject::HostUnreachable, "addr-unreach"),
    (Reject::AdminProhibited, "adm-prohibited"),
    (Reject::PolicyFail, "policy-fail"),
    (Reject::RejectRoute, "reject-route"),
];

/// The names of a family.
pub(super) const fn rejects(family: Family) -> &'static [(Reject, &'static str)] {
    match family {
        Family::V4 => &REJECTS_V4,
        Family::V6 => &REJECTS_V6,
    }
}

/// The target, if all of its options have a type.
pub(super) fn typed(target: &Draft<'_>, family: Family) -> Option<Target> {
    let options = &*target.options;
    let bare = |target: Target| options.is_empty().then_some(target);
    match target.name {
        "ACCEPT" => bare(Target::Accept),
        "DROP" => bare(Target::Drop),
        "RETURN" => bare(Target::Return),
        "REJECT" => reject(options, family).map(Target::Reject),
        "DNAT" => nat_to(options, "--to-destination", family).map(Target::Dnat),
        "SNAT" => nat_to(options, "--to-source", family).map(Target::Snat),
        "MASQUERADE" => local_nat(options).map(|(ports, flags)| Target::Masquerade { ports, flags }),
        "REDIRECT" => local_nat(options).map(|(ports, flags)| Target::Redirect { ports, flags }),
        "MARK" => mark(options).map(Target::Mark),
        "CONNMARK" => connmark(options).map(Target::Connmark),
        "NOTRACK" => bare(Target::Notrack(false)),
        "CT" => match options {
            [option] if option.key == "--notrack" && option.set().is_some() => Some(Target::Notrack(true)),
            _ => Some(Target::Ct(words(options))),
        },
        name @ ("LOG" | "NFLOG" | "TRACE" | "AUDIT" | "CHECKSUM") => {
            Some(Target::Pass(Arc::from(name), words(options)))
        }
        _ => None,
    }
}

fn reject(options: &[Opt<'_>], family: Family) -> Option<Reject> {
    let read = |text: &str| rejects(family).iter().find(|(_, name)| *name == text).map(|(reject, _)| *reject);
    match options {
        [] => Some(Reject::PortUnreachable),
        [option] if option.key == "--reject-with" => option.plain(read),
        _ => None,
    }
}

/// Takes an option that says how NAT chooses.
fn nat_flag(option: &Opt<'_>, flags: &mut NatFlags) -> Option<()> {
    match option.key {
        "--random" => flags.random = option.set()?,
        "--random-fully" => flags.fully_random = option.set()?,
        "--persistent" => flags.persistent = option.set()?,
        _ => return None,
    }
    Some(())
}

fn nat_to(options: &[Opt<'_>], key: &str, family: Family) -> Option<NatTo> {
    let mut flags = NatFlags::default();
    let mut to = None;
    for option in options {
        if option.key == key {
            to = Some(option.plain(|text| read_to(text, family))?);
        } else {
            nat_flag(option, &mut flags)?;
        }
    }
    let (addrs, ports) = to?;
    Some(NatTo { addrs, ports, flags })
}

type To = (Option<(core::net::IpAddr, core::net::IpAddr)>, Option<PortRange>);

/// `10.0.0.1-10.0.0.5:80-90`, `[fd00::1-fd00::5]:80`, `fd00::1`, `:80`.
fn read_to(text: &str, family: Family) -> Option<To> {
    let addrs = |text: &str| addr_range(text).filter(|(first, _)| Family::of(*first) == family);
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        let port = match port.strip_prefix(':') {
            Some(port) => Some(nat_ports(port)?),
            None if port.is_empty() => None,
            None => return None,
        };
        return Some((Some(addrs(inner)?), port));
    }
    if family == Family::V6 && !text.starts_with(':') || text.starts_with("::") {
        return Some((Some(addrs(text)?), None));
    }
    match text.split_once(':') {
        Some(("", port)) => Some((None, Some(nat_ports(port)?))),
        Some((addr, port)) => Some((Some(addrs(addr)?), Some(nat_ports(port)?))),
        None => Some((Some(addrs(text)?), None)),
    }
}

fn local_nat(options: &[Opt<'_>]) -> Option<(Option<PortRange>, NatFlags)> {
    let (mut ports, mut flags) = (None, NatFlags::default());
    for option in options {
        if option.key == "--to-ports" {
            ports = Some(option.plain(nat_ports)?);
        } else {
            nat_flag(option, &mut flags)?;
        }
    }
    Some((ports, flags))
}

/// The ways to say what becomes of a mark come to one: bits that are cleared, and bits that are then flipped.
fn set_mark(option: &Opt<'_>) -> Option<Masked> {
    let value = option.plain(masked)?;
    let Masked { value: bits, mask } = value;
    Some(match option.key {
        "--set-xmark" => value,
        "--set-mark" => Masked { value: bits, mask: mask | bits },
        "--or-mark" => Masked { value: bits, mask: bits },
        "--xor-mark" => Masked { value: bits, mask: 0 },
        "--and-mark" => Masked { value: 0, mask: !bits },
        _ => return None,
    })
}

fn mark(options: &[Opt<'_>]) -> Option<Masked> {
    let [option] = options else { return None };
    set_mark(option)
}

fn connmark(options: &[Opt<'_>]) -> Option<Connmark> {
    let [first, rest @ ..] = options else { return None };
    let saves = match first.key {
        "--save-mark" => true,
        "--restore-mark" => false,
        _ if rest.is_empty() => return set_mark(first).map(Connmark::Set),
        _ => return None,
    };
    first.set()?;
    let (mut nfmask, mut ctmask) = (u32::MAX, u32::MAX);
    for option in rest {
        let bits = option.plain(mask)?;
        match option.key {
            "--mask" => (nfmask, ctmask) = (bits, bits),
            "--nfmask" => nfmask = bits,
            "--ctmask" => ctmask = bits,
            _ => return None,
        }
    }
    Some(if saves { Connmark::Save { nfmask, ctmask } } else { Connmark::Restore { nfmask, ctmask } })
}
