//! Rules as a node shows them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::IpAddr;

use ipnet::IpNet;

use super::matches::{ADDR_TYPES, BURST, TCP_FLAGS};
use super::name_word;
use super::options::print_ports;
use super::targets::rejects;
use super::words::{carried, string};
use crate::addr::Family;
use crate::plan::netfilter::{CtState, CtStatus, LimitRate, NatFlags, PortRange};
use crate::plan::xt::{
    Addrtype, Connmark, Conntrack, IcmpType, Inv, Masked, Match, NatTo, Physdev, Policy, PortSide, Ports,
    Recent, RecentOp, Rule, Statistic, Table, Target, Tcp,
};
use crate::text::protocol;

/// How a version spells what the plan has one word for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `-p ipv6-icmp`, as iptables 1.8 prints it.
    #[default]
    Current,
    /// `-p icmpv6`, as iptables up to 1.6 printed it.
    Old,
}

impl Dialect {
    /// The one that a text is written in.
    pub fn of(text: &str) -> Self {
        if text.contains("-p icmpv6 ") { Self::Old } else { Self::Current }
    }
}

/// What `iptables-save` prints, without the comments around each table. Chains without counters have zeros.
pub fn render(tables: &[Table], dialect: Dialect) -> String {
    let mut out = String::new();
    for table in tables {
        frame(table, &mut out, |chain, rule, out| {
            if let Some((packets, bytes)) = rule.counters {
                _ = write!(out, "[{packets}:{bytes}] ");
            }
            _ = write!(out, "-A {chain}");
            for condition in &rule.matches {
                print_match(condition, table.family, dialect, out);
            }
            if let Some(target) = &rule.target {
                print_target(target, table.family, out);
            }
            out.push('\n');
        });
    }
    out
}

/// A table's lines around and between the rules.
pub(super) fn frame(table: &Table, out: &mut String, mut rule_line: impl FnMut(&str, &Rule, &mut String)) {
    _ = writeln!(out, "*{}", name_word(&table.name));
    let names: Vec<String> = table.chains.iter().map(|chain| name_word(&chain.name)).collect();
    for (chain, name) in table.chains.iter().zip(&names) {
        let policy = match chain.policy {
            Some(Policy::Accept) => "ACCEPT",
            Some(Policy::Drop) => "DROP",
            None => "-",
        };
        let (packets, bytes) = chain.counters.unwrap_or((0, 0));
        // A name that needs quotes has them around the colon too.
        let word =
            if name.starts_with('"') { name_word(&format!(":{}", chain.name)) } else { format!(":{name}") };
        _ = writeln!(out, "{word} {policy} [{packets}:{bytes}]");
    }
    for (chain, name) in table.chains.iter().zip(&names) {
        for rule in &chain.rules {
            rule_line(name, rule, out);
        }
    }
    out.push_str("COMMIT\n");
}

/// ` ! KEY VALUE`.
pub(super) fn option<T>(key: &str, value: &Inv<T>, print: impl FnOnce(&T) -> String, out: &mut String) {
    out.push_str(if value.not { " ! " } else { " " });
    out.push_str(key);
    let printed = print(&value.value);
    if !printed.is_empty() {
        out.push(' ');
        out.push_str(&printed);
    }
}

fn maybe<T>(key: &str, value: Option<&Inv<T>>, print: impl FnOnce(&T) -> String, out: &mut String) {
    if let Some(value) = value {
        option(key, value, print, out);
    }
}

fn flag(key: &str, value: Option<&Inv<()>>, out: &mut String) {
    maybe(key, value, |()| String::new(), out);
}

pub(super) fn print_match(condition: &Match, family: Family, dialect: Dialect, out: &mut String) {
    match condition {
        Match::Source(net) => option("-s", net, IpNet::to_string, out),
        Match::Destination(net) => option("-d", net, IpNet::to_string, out),
        Match::Iif(name) => option("-i", name, |name| name_word(name), out),
        Match::Oif(name) => option("-o", name, |name| name_word(name), out),
        Match::Protocol(protocol) => option("-p", protocol, |p| protocol_name(*p, dialect), out),
        Match::Fragment(inv) => option("-f", inv, |()| String::new(), out),
        Match::Comment(text) => {
            out.push_str(" -m comment --comment ");
            out.push_str(&string(text));
        }
        Match::Tcp(tcp) => print_tcp(tcp, out),
        Match::Udp(ports) => print_ports_of("udp", ports, out),
        Match::Sctp(ports) => print_ports_of("sctp", ports, out),
        Match::Icmp(kind) => {
            let (module, key) = match family {
                Family::V4 => (" -m icmp", "--icmp-type"),
                Family::V6 => (" -m icmp6", "--icmpv6-type"),
            };
            out.push_str(module);
            option(key, kind, |kind| kind.map_or_else(|| "any".into(), icmp_type), out);
        }
        Match::Multiport(multiport) => {
            let key = match multiport.side {
                PortSide::Source => "--sports",
                PortSide::Destination => "--dports",
                PortSide::Either => "--ports",
            };
            out.push_str(" -m multiport");
            let list = |ports: &Vec<PortRange>| joined(ports.iter().map(|ports| print_ports(*ports, ':')));
            option(key, &multiport.ports, list, out);
        }
        Match::Conntrack(conntrack) => print_conntrack(conntrack, out),
        Match::State(states) => {
            out.push_str(" -m state");
            option("--state", states, |states| joined(states.iter().map(|s| state(*s).into())), out);
        }
        Match::Addrtype(addrtype) => print_addrtype(addrtype, out),
        Match::Mark(mark) => {
            out.push_str(" -m mark");
            option("--mark", mark, short_mask, out);
        }
        Match::Connmark(mark) => {
            out.push_str(" -m connmark");
            option("--mark", mark, short_mask, out);
        }
        Match::Iprange { src, dst } => {
            out.push_str(" -m iprange");
            let range = |(first, last): &(IpAddr, IpAddr)| format!("{first}-{last}");
            maybe("--src-range", src.as_deref(), range, out);
            maybe("--dst-range", dst.as_deref(), range, out);
        }
        Match::Limit { rate, burst } => {
            _ = write!(out, " -m limit --limit {}", print_rate(*rate));
            if *burst != BURST {
                _ = write!(out, " --limit-burst {burst}");
            }
        }
        Match::Owner { uid, gid, socket_exists } => {
            out.push_str(" -m owner");
            flag("--socket-exists", socket_exists.as_ref(), out);
            let ids = |(first, last): &(u32, u32)| {
                if first == last { format!("{first}") } else { format!("{first}-{last}") }
            };
            maybe("--uid-owner", uid.as_ref(), ids, out);
            maybe("--gid-owner", gid.as_ref(), ids, out);
        }
        Match::Physdev(physdev) => print_physdev(physdev, out),
        Match::Recent(recent) => print_recent(recent, out),
        Match::Set { set, options } => {
            let directions = |src: &bool| String::from(if *src { "src" } else { "dst" });
            out.push_str(" -m set");
            let print = |it: &crate::plan::xt::SetRef| {
                format!("{} {}", name_word(&it.name), joined(it.src.iter().map(directions)))
            };
            option("--match-set", set, print, out);
            carried(options.iter().map(|word| &**word), out);
        }
        Match::Statistic(statistic) => print_statistic(*statistic, out),
        Match::Ipvs { ipvs, protocol, addr, port } => {
            out.push_str(" -m ipvs");
            flag("--ipvs", ipvs.as_ref(), out);
            maybe("--vproto", protocol.as_ref(), |p| protocol_name(*p, dialect), out);
            maybe("--vaddr", addr.as_ref(), short_net, out);
            maybe("--vport", port.as_ref(), u16::to_string, out);
        }
        Match::Other { module, words } => {
            if !module.is_empty() {
                _ = write!(out, " -m {}", name_word(module));
            }
            carried(words.iter().map(|word| &**word), out);
        }
    }
}

fn print_tcp(tcp: &Tcp, out: &mut String) {
    out.push_str(" -m tcp");
    maybe("--sport", tcp.sport.as_ref(), |ports| print_ports(*ports, ':'), out);
    maybe("--dport", tcp.dport.as_ref(), |ports| print_ports(*ports, ':'), out);
    maybe("--tcp-option", tcp.option.as_ref(), u8::to_string, out);
    maybe("--tcp-flags", tcp.flags.as_ref(), |(mask, set)| format!("{} {}", flags(*mask), flags(*set)), out);
}

fn flags(bits: u8) -> String {
    let set = TCP_FLAGS.iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0);
    let names = joined(set.map(|(_, name)| String::from(*name)));
    if names.is_empty() { "NONE".into() } else { names }
}

fn print_ports_of(module: &str, ports: &Ports, out: &mut String) {
    _ = write!(out, " -m {module}");
    maybe("--sport", ports.sport.as_ref(), |ports| print_ports(*ports, ':'), out);
    maybe("--dport", ports.dport.as_ref(), |ports| print_ports(*ports, ':'), out);
    carried(ports.words.iter().map(|word| &**word), out);
}

fn icmp_type(kind: IcmpType) -> String {
    match kind.code {
        Some(code) => format!("{}/{code}", kind.kind),
        None => format!("{}", kind.kind),
    }
}

const fn state(state: CtState) -> &'static str {
    match state {
        CtState::Invalid => "INVALID",
        CtState::Established => "ESTABLISHED",
        CtState::Related => "RELATED",
        CtState::New => "NEW",
        CtState::Untracked => "UNTRACKED",
    }
}

const fn status(status: CtStatus) -> &'static str {
    match status {
        CtStatus::Expected => "EXPECTED",
        CtStatus::SeenReply => "SEEN_REPLY",
        CtStatus::Assured => "ASSURED",
        CtStatus::Confirmed => "CONFIRMED",
        CtStatus::Snat => "SNAT",
        CtStatus::Dnat => "DNAT",
        CtStatus::Dying => "DYING",
    }
}

fn print_conntrack(it: &Conntrack, out: &mut String) {
    out.push_str(" -m conntrack");
    let states = |(states, statuses): &(Vec<CtState>, Vec<CtStatus>)| {
        joined(states.iter().map(|s| state(*s).into()).chain(statuses.iter().map(|s| status(*s).into())))
    };
    let ports = |ports: &PortRange| print_ports(*ports, ':');
    maybe("--ctstate", it.state.as_ref(), states, out);
    maybe("--ctproto", it.protocol.as_ref(), u8::to_string, out);
    maybe("--ctorigsrc", it.orig_src.as_ref(), short_net, out);
    maybe("--ctorigdst", it.orig_dst.as_ref(), short_net, out);
    maybe("--ctreplsrc", it.reply_src.as_ref(), short_net, out);
    maybe("--ctrepldst", it.reply_dst.as_ref(), short_net, out);
    maybe("--ctorigsrcport", it.orig_sport.as_ref(), ports, out);
    maybe("--ctorigdstport", it.orig_dport.as_ref(), ports, out);
    maybe("--ctreplsrcport", it.reply_sport.as_ref(), ports, out);
    maybe("--ctrepldstport", it.reply_dport.as_ref(), ports, out);
    maybe("--ctstatus", it.status.as_ref(), |all| joined(all.iter().map(|s| status(*s).into())), out);
    carried(it.words.iter().map(|word| &**word), out);
    if let Some(original) = it.original {
        out.push_str(if original { " --ctdir ORIGINAL" } else { " --ctdir REPLY" });
    }
}

fn print_addrtype(addrtype: &Addrtype, out: &mut String) {
    let name = |kind| ADDR_TYPES.iter().find(|(known, _)| *known == kind).map_or("UNSPEC", |(_, name)| name);
    let list = |kinds: &Vec<_>| joined(kinds.iter().map(|kind| name(*kind).into()));
    out.push_str(" -m addrtype");
    maybe("--src-type", addrtype.src.as_ref(), list, out);
    maybe("--dst-type", addrtype.dst.as_ref(), list, out);
    out.push_str(if addrtype.limit_in { " --limit-iface-in" } else { "" });
    out.push_str(if addrtype.limit_out { " --limit-iface-out" } else { "" });
}

fn print_physdev(physdev: &Physdev, out: &mut String) {
    out.push_str(" -m physdev");
    flag("--physdev-is-in", physdev.is_in.as_ref(), out);
    maybe("--physdev-in", physdev.iif.as_ref(), |name| name_word(name), out);
    flag("--physdev-is-out", physdev.is_out.as_ref(), out);
    maybe("--physdev-out", physdev.oif.as_ref(), |name| name_word(name), out);
    flag("--physdev-is-bridged", physdev.is_bridged.as_ref(), out);
}

/// `--set` and its kin.
pub(super) fn recent_op(op: RecentOp) -> &'static str {
    match op {
        RecentOp::Set => "--set",
        RecentOp::Rcheck => "--rcheck",
        RecentOp::Update => "--update",
        RecentOp::Remove => "--remove",
    }
}

fn print_recent(recent: &Recent, out: &mut String) {
    out.push_str(" -m recent");
    option(recent_op(recent.op.value), &recent.op, |_| String::new(), out);
    if let Some(seconds) = recent.seconds {
        _ = write!(out, " --seconds {seconds}");
    }
    out.push_str(if recent.reap { " --reap" } else { "" });
    if let Some(hitcount) = recent.hitcount {
        _ = write!(out, " --hitcount {hitcount}");
    }
    out.push_str(if recent.rttl { " --rttl" } else { "" });
    _ = write!(out, " --name {}", name_word(&recent.name));
    if let Some(mask) = recent.mask {
        _ = write!(out, " --mask {mask}");
    }
    out.push_str(if recent.by_destination { " --rdest" } else { " --rsource" });
}

fn print_statistic(statistic: Statistic, out: &mut String) {
    match statistic {
        Statistic::Random(share) => {
            out.push_str(" -m statistic --mode random");
            option("--probability", &share, |share| decimals(*share), out);
        }
        Statistic::Nth { every, packet, not } => {
            out.push_str(" -m statistic --mode nth");
            option("--every", &Inv { not, value: every }, u32::to_string, out);
            _ = write!(out, " --packet {packet}");
        }
    }
}

/// A share of 2³¹ with eleven decimals, rounded to even as `printf` does.
fn decimals(share: u32) -> String {
    const UNIT: u64 = 100_000_000_000;
    let (one, scaled) = (u128::from(Statistic::ONE), u128::from(share) * u128::from(UNIT));
    let (whole, rest) = (scaled / one, scaled % one);
    let up = rest * 2 > one || (rest * 2 == one && whole % 2 == 1);
    let rounded = (whole as u64) + u64::from(up);
    format!("{}.{:011}", rounded / UNIT, rounded % UNIT)
}

pub(super) fn print_target(target: &Target, family: Family, out: &mut String) {
    match target {
        Target::Accept => out.push_str(" -j ACCEPT"),
        Target::Drop => out.push_str(" -j DROP"),
        Target::Return => out.push_str(" -j RETURN"),
        Target::Jump(chain) => _ = write!(out, " -j {}", name_word(chain)),
        Target::Goto(chain) => _ = write!(out, " -g {}", name_word(chain)),
        Target::Reject(reject) => {
            let names = rejects(family);
            let name = names.iter().find(|(known, _)| known == reject).or(names.first());
            _ = write!(out, " -j REJECT --reject-with {}", name.map_or("", |(_, name)| name));
        }
        Target::Dnat(to) => {
            _ = write!(out, " -j DNAT --to-destination {}", print_to(to));
            nat_flags(to.flags, out);
        }
        Target::Snat(to) => {
            _ = write!(out, " -j SNAT --to-source {}", print_to(to));
            nat_flags(to.flags, out);
        }
        Target::Masquerade { ports, flags } => local_nat("MASQUERADE", *ports, *flags, out),
        Target::Redirect { ports, flags } => local_nat("REDIRECT", *ports, *flags, out),
        Target::Mark(Masked { value, mask }) => _ = write!(out, " -j MARK --set-xmark {value:#x}/{mask:#x}"),
        Target::Connmark(connmark) => print_connmark(*connmark, out),
        Target::Notrack(false) => out.push_str(" -j NOTRACK"),
        Target::Notrack(true) => out.push_str(" -j CT --notrack"),
        Target::Ct(words) => {
            out.push_str(" -j CT");
            carried(words.iter().map(|word| &**word), out);
        }
        Target::Pass(name, words) | Target::Other { name, words } => {
            _ = write!(out, " -j {}", name_word(name));
            carried(words.iter().map(|word| &**word), out);
        }
    }
}

fn print_connmark(connmark: Connmark, out: &mut String) {
    _ = match connmark {
        Connmark::Set(Masked { value, mask }) => write!(out, " -j CONNMARK --set-xmark {value:#x}/{mask:#x}"),
        Connmark::Save { nfmask, ctmask } => {
            write!(out, " -j CONNMARK --save-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}")
        }
        Connmark::Restore { nfmask, ctmask } => {
            write!(out, " -j CONNMARK --restore-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}")
        }
    };
}

fn print_to(to: &NatTo) -> String {
    let ports = to.ports.map(|ports| format!(":{}", print_ports(ports, '-')));
    let Some((first, last)) = to.addrs else { return ports.unwrap_or_default() };
    let addrs = if first == last { format!("{first}") } else { format!("{first}-{last}") };
    match ports {
        Some(ports) if first.is_ipv6() => format!("[{addrs}]{ports}"),
        Some(ports) => format!("{addrs}{ports}"),
        None => addrs,
    }
}

fn local_nat(name: &str, ports: Option<PortRange>, flags: NatFlags, out: &mut String) {
    _ = write!(out, " -j {name}");
    if let Some(ports) = ports {
        _ = write!(out, " --to-ports {}", print_ports(ports, '-'));
    }
    nat_flags(flags, out);
}

fn nat_flags(flags: NatFlags, out: &mut String) {
    for (set, word) in [
        (flags.random, " --random"),
        (flags.fully_random, " --random-fully"),
        (flags.persistent, " --persistent"),
    ] {
        out.push_str(if set { word } else { "" });
    }
}

/// `0x1`, `0x4000/0x4000`.
fn short_mask(mark: &Masked) -> String {
    match mark.mask {
        u32::MAX => format!("{:#x}", mark.value),
        mask => format!("{:#x}/{mask:#x}", mark.value),
    }
}

/// A prefix, or an address alone.
pub(super) fn short_net(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn print_rate(rate: LimitRate) -> String {
    let unit = match rate.per_secs {
        1 => "sec",
        60 => "min",
        3600 => "hour",
        _ => "day",
    };
    format!("{}/{unit}", rate.amount)
}

/// The name of a protocol, or its number.
pub(super) fn protocol_name(protocol: u8, dialect: Dialect) -> String {
    match (protocol, dialect) {
        (58, Dialect::Old) => "icmpv6".into(),
        _ => protocol::name_of(protocol).map_or_else(|| protocol.to_string(), Into::into),
    }
}

fn joined(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(",")
}
