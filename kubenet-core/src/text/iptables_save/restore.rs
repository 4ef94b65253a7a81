//! Rules as a program feeds them to `iptables-restore`.
//!
//! The comment comes first; the module of the protocol, the protocol, the destination and the ports stand together
//! (`-m tcp -p tcp -d 10.96.0.1 --dport 443`); other addresses and links follow what they narrow. Shares have ten decimals, marks
//! are set by `--or-mark` and `--xor-mark`, and what `iptables` fills in by itself is left out.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::name_word;
use super::options::print_ports;
use super::write::{Dialect, frame, option, print_match, print_target, protocol_name, recent_op, short_net};
use crate::addr::Family;
use crate::plan::netfilter::{PortRange, Reject};
use crate::plan::xt::{Inv, Masked, Match, Ports, Recent, Rule, Statistic, Table, Target};

/// How marks are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marks {
    /// `0x00004000`.
    #[default]
    Padded,
    /// `0x4000`.
    Short,
}

impl Marks {
    fn print(self, bits: u32) -> String {
        match self {
            Self::Padded => format!("{bits:#010x}"),
            Self::Short => format!("{bits:#x}"),
        }
    }
}

/// What `iptables-restore` is fed with.
pub fn render_restore(tables: &[Table], marks: Marks) -> String {
    let mut out = String::new();
    for table in tables {
        frame(table, &mut out, |chain, rule, out| {
            _ = write!(out, "-A {chain}");
            print_rule(rule, table.family, marks, out);
            out.push('\n');
        });
    }
    out
}

fn print_rule(rule: &Rule, family: Family, marks: Marks, out: &mut String) {
    let (own, modules): (Vec<&Match>, Vec<&Match>) = rule.matches.iter().partition(|it| is_own(it));
    let mut own = Own::new(&own);
    let has_ports = modules.iter().any(|it| matches!(it, Match::Tcp(_) | Match::Udp(_) | Match::Sctp(_)));
    let mut modules = modules.into_iter().peekable();
    while let Some(comment @ Match::Comment(_)) = modules.peek() {
        print_module(comment, family, marks, out);
        modules.next();
    }
    // Without a module of ports, addresses stand before the modules, but behind what says more by itself.
    if !has_ports && !matches!(modules.peek(), Some(Match::Addrtype(_) | Match::Set { .. })) {
        own.print_rest(out);
    }
    for module in modules {
        let of_ports = print_with_ports(module, &mut own, family, out);
        if !of_ports {
            print_module(module, family, marks, out);
        }
        if of_ports || !has_ports {
            own.print_rest(out);
        }
    }
    own.print_rest(out);
    match &rule.target {
        None => {}
        Some(Target::Mark(Masked { value, mask })) if value == mask => {
            _ = write!(out, " -j MARK --or-mark {}", marks.print(*value));
        }
        Some(Target::Mark(Masked { value, mask: 0 })) => {
            _ = write!(out, " -j MARK --xor-mark {}", marks.print(*value));
        }
        Some(Target::Reject(Reject::PortUnreachable)) => out.push_str(" -j REJECT"),
        Some(target) => print_target(target, family, out),
    }
}

/// Whether it is an option of the rule itself.
fn is_own(condition: &Match) -> bool {
    match condition {
        Match::Source(_)
        | Match::Destination(_)
        | Match::Iif(_)
        | Match::Oif(_)
        | Match::Protocol(_)
        | Match::Fragment(_) => true,
        Match::Other { module, .. } => module.is_empty(),
        Match::Comment(_)
        | Match::Tcp(_)
        | Match::Udp(_)
        | Match::Sctp(_)
        | Match::Icmp(_)
        | Match::Multiport(_)
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
        | Match::Ipvs { .. } => false,
    }
}

/// A rule's own options that are not printed yet.
struct Own<'r> {
    protocol: Option<&'r Match>,
    destination: Option<&'r Match>,
    rest: Vec<&'r Match>,
}

impl<'r> Own<'r> {
    fn new(own: &[&'r Match]) -> Self {
        let mut out = Self { protocol: None, destination: None, rest: Vec::new() };
        for condition in own {
            if let Match::Protocol(_) = condition {
                out.protocol = Some(condition);
            } else if let Match::Destination(_) = condition {
                out.destination = Some(condition);
            } else {
                out.rest.push(condition);
            }
        }
        out
    }

    /// `-m tcp -p tcp [-d ADDRESS] [--dport PORT]`. A negated destination narrows the rest and follows it.
    fn print_ports(
        &mut self,
        name: &str,
        sport: Option<Inv<PortRange>>,
        dport: Option<Inv<PortRange>>,
        out: &mut String,
    ) {
        _ = write!(out, " -m {name}");
        self.print_protocol(out);
        if let Some(Match::Destination(Inv { not: false, .. })) = self.destination {
            self.print_destination(out);
        }
        for (key, ports) in [("--sport", sport), ("--dport", dport)] {
            if let Some(ports) = ports {
                option(key, &ports, |ports| print_ports(*ports, ':'), out);
            }
        }
    }

    fn print_protocol(&mut self, out: &mut String) {
        if let Some(Match::Protocol(protocol)) = self.protocol.take() {
            option("-p", protocol, |protocol| protocol_name(*protocol, Dialect::Current), out);
        }
    }

    fn print_destination(&mut self, out: &mut String) {
        if let Some(Match::Destination(net)) = self.destination.take() {
            option("-d", net, short_net, out);
        }
    }

    fn print_rest(&mut self, out: &mut String) {
        self.print_protocol(out);
        self.print_destination(out);
        for condition in core::mem::take(&mut self.rest) {
            if let Match::Source(net) = condition {
                option("-s", net, short_net, out);
            } else {
                print_match(condition, Family::V4, Dialect::Current, out);
            }
        }
    }
}

/// Prints a module that has ports; whether it is one.
fn print_with_ports(module: &Match, own: &mut Own<'_>, family: Family, out: &mut String) -> bool {
    if let Match::Tcp(tcp) = module {
        own.print_ports("tcp", tcp.sport, tcp.dport, out);
        maybe_tcp(tcp, family, out);
    } else if let Match::Udp(ports) = module {
        print_ports_of(own, "udp", ports, out);
    } else if let Match::Sctp(ports) = module {
        print_ports_of(own, "sctp", ports, out);
    } else {
        return false;
    }
    true
}

fn maybe_tcp(tcp: &crate::plan::xt::Tcp, family: Family, out: &mut String) {
    if tcp.option.is_none() && tcp.flags.is_none() {
        return;
    }
    let mut rest = String::new();
    let more = crate::plan::xt::Tcp { sport: None, dport: None, ..tcp.clone() };
    print_match(&Match::Tcp(more), family, Dialect::Current, &mut rest);
    out.push_str(rest.strip_prefix(" -m tcp").unwrap_or(&rest));
}

fn print_ports_of(own: &mut Own<'_>, name: &str, ports: &Ports, out: &mut String) {
    own.print_ports(name, ports.sport, ports.dport, out);
    super::words::carried(ports.words.iter().map(|word| &**word), out);
}

fn print_module(module: &Match, family: Family, marks: Marks, out: &mut String) {
    if let Match::Comment(text) = module {
        out.push_str(" -m comment --comment ");
        out.push_str(&name_word(text));
    } else if let Match::Mark(mark) = module {
        out.push_str(" -m mark");
        let print = |it: &Masked| match it.mask {
            u32::MAX => marks.print(it.value),
            mask => format!("{}/{}", marks.print(it.value), marks.print(mask)),
        };
        option("--mark", mark, print, out);
    } else if let Match::Recent(recent) = module {
        print_recent(recent, out);
    } else if let Match::Statistic(Statistic::Random(share)) = module {
        out.push_str(" -m statistic --mode random");
        option("--probability", share, |share| decimals(*share), out);
    } else {
        print_match(module, family, Dialect::Current, out);
    }
}

/// The name first; what is so by itself is not said.
fn print_recent(recent: &Recent, out: &mut String) {
    _ = write!(out, " -m recent --name {}", name_word(&recent.name));
    option(recent_op(recent.op.value), &recent.op, |_| String::new(), out);
    if let Some(seconds) = recent.seconds {
        _ = write!(out, " --seconds {seconds}");
    }
    out.push_str(if recent.reap { " --reap" } else { "" });
    if let Some(hitcount) = recent.hitcount {
        _ = write!(out, " --hitcount {hitcount}");
    }
    out.push_str(if recent.rttl { " --rttl" } else { "" });
    let whole = |mask: &core::net::IpAddr| match mask {
        core::net::IpAddr::V4(mask) => mask.to_bits() == u32::MAX,
        core::net::IpAddr::V6(mask) => mask.to_bits() == u128::MAX,
    };
    if let Some(mask) = recent.mask.filter(|mask| !whole(mask)) {
        _ = write!(out, " --mask {}", mask);
    }
    out.push_str(if recent.by_destination { " --rdest" } else { "" });
}

/// A share with ten decimals: that of one in `n` where the share is one, else as it is.
fn decimals(share: u32) -> String {
    const UNIT: u64 = 10_000_000_000;
    let one = u64::from(Statistic::ONE);
    let n = (one + u64::from(share) / 2).checked_div(u64::from(share)).unwrap_or(0);
    let of_n = u32::try_from(n).is_ok_and(|n| Statistic::one_in(n) == Statistic::Random(Inv::is(share)));
    let rounded = if of_n {
        (UNIT + n / 2) / n.max(1)
    } else {
        let scaled = u128::from(share) * u128::from(UNIT) + u128::from(one / 2);
        (scaled / u128::from(one)) as u64
    };
    format!("{}.{:010}", rounded / UNIT, rounded % UNIT)
}
