//! Expressions and statements as `nft list` prints them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::names::{CTS, FIB_KEYS, FIB_RESULTS, FIELDS, METAS};
use super::statement::REJECTS;
use super::types::{Type, duration, quoted, types_of};
use crate::addr::Family;
use crate::plan::netfilter::{LimitRate, NatFlags, Reject};
use crate::plan::nft::{
    BinaryOp, Data, Element, Expr, Field, Meta, Nat, Op, Rule, SetOp, Statement, TableFamily, Value, Verdict,
};

/// What a version of nft leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `dnat ip to … map { 0 : A . P }`, as nft 1.0.6 lists it.
    #[default]
    Listed,
    /// `dnat ip addr . port to …`, as it is fed, and as later versions list it.
    Whole,
}

impl Dialect {
    /// The one that a text is written in.
    pub fn of(text: &str) -> Self {
        if text.contains(" addr . port to ") { Self::Whole } else { Self::Listed }
    }
}

/// How rules are printed.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) dialect: Dialect,
    pub(super) family: TableFamily,
}

impl Style {
    pub(super) fn rule(self, rule: &Rule) -> String {
        let v6 = self.family == TableFamily::Ip6 || rule.statements.iter().any(of_ipv6);
        let mut words: Vec<String> =
            rule.statements.iter().map(|statement| self.statement(statement, v6)).collect();
        words.extend(rule.comment.as_ref().map(|comment| format!("comment {}", quoted(comment))));
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }

    fn statement(self, statement: &Statement, v6: bool) -> String {
        match statement {
            Statement::Match { left, op, right } => print_match(left, *op, right),
            Statement::Verdict(verdict) => print_verdict(verdict),
            Statement::Vmap { key, map } => {
                format!("{} vmap {}", print(key, &[]), print(map, &types_of(key)))
            }
            Statement::Assign { target, value } => {
                format!("{} set {}", print_target(target), print(value, &types_of(target)))
            }
            Statement::Dnat(nat) => format!("dnat{}", self.nat(nat)),
            Statement::Snat(nat) => format!("snat{}", self.nat(nat)),
            Statement::Masquerade { port, flags } => {
                format!("masquerade{}", local_nat(port.as_ref(), *flags))
            }
            Statement::Redirect { port, flags } => format!("redirect{}", local_nat(port.as_ref(), *flags)),
            Statement::Reject(None) => "reject".into(),
            Statement::Reject(Some(reject)) => print_reject(v6, *reject),
            Statement::RejectOf(family, reject) => print_reject(*family == Family::V6, *reject),
            Statement::Notrack => "notrack".into(),
            Statement::Counter(None) => "counter".into(),
            Statement::Counter(Some((packets, bytes))) => format!("counter packets {packets} bytes {bytes}"),
            Statement::Limit { rate, over, burst } => limit(*rate, *over, *burst),
            Statement::Log(options) if options.is_empty() => "log".into(),
            Statement::Log(options) => format!("log {options}"),
            Statement::SetOp { op, set, key, timeout_ms, data } => {
                let op = match op {
                    SetOp::Add => "add",
                    SetOp::Update => "update",
                    SetOp::Delete => "delete",
                };
                let timeout = timeout_ms.map_or_else(String::new, |ms| format!(" timeout {}", duration(ms)));
                let data = data.as_ref().map_or_else(String::new, |data| format!(" : {}", print(data, &[])));
                format!("{op} @{set} {{ {}{timeout}{data} }}", print(key, &[]))
            }
            Statement::Other(text) => text.to_string(),
        }
    }

    fn nat(self, nat: &Nat) -> String {
        let family = match nat.family {
            Some(Family::V4) => " ip",
            Some(Family::V6) => " ip6",
            None => "",
        };
        let both = if nat.addr_and_port && self.dialect == Dialect::Whole { " addr . port" } else { "" };
        let port = nat.port.as_ref().map(|port| print(port, &[Type::Port]));
        let to = match (&nat.addr, port) {
            (Some(addr), None) => print(addr, &[Type::Addr, Type::Port]),
            (Some(Expr::Value(addr)), Some(port)) => match addr {
                Value::Addr(addr) if addr.is_ipv6() => format!("[{addr}]:{port}"),
                Value::Range(first, last) => {
                    let (first, last) = (Type::Addr.print(first), Type::Addr.print(last));
                    if first.contains(':') {
                        format!("[{first}]-[{last}]:{port}")
                    } else {
                        format!("{first}-{last}:{port}")
                    }
                }
                Value::Number(_) | Value::Addr(_) | Value::Prefix(_) | Value::Name(_) => {
                    format!("{}:{port}", Type::Addr.print(addr))
                }
            },
            (Some(addr), Some(port)) => format!("{} : {port}", print(addr, &[Type::Addr])),
            (None, port) => format!(":{}", port.unwrap_or_default()),
        };
        format!("{family}{both} to {to}{}", nat_flags(nat.flags))
    }
}

/// Whether a rule is of IPv6 alone by this statement.
fn of_ipv6(statement: &Statement) -> bool {
    let Statement::Match { left, right, op } = statement else { return false };
    let v6 = Expr::Value(Value::Number(10));
    if *left == Expr::Meta(Meta::Nfproto) {
        return *right == v6 && matches!(op, Op::Implicit | Op::Eq);
    }
    let Expr::Field(field) = left else { return false };
    matches!(
        field,
        Field::Ip6Saddr
            | Field::Ip6Daddr
            | Field::Ip6Nexthdr
            | Field::Ip6Hoplimit
            | Field::Ip6Length
            | Field::Icmpv6Type
            | Field::Icmpv6Code
    )
}

fn local_nat(port: Option<&Expr>, flags: NatFlags) -> String {
    let port = port.map_or_else(String::new, |port| format!(" to :{}", print(port, &[Type::Port])));
    format!("{port}{}", nat_flags(flags))
}

fn nat_flags(flags: NatFlags) -> String {
    let all =
        [(flags.random, "random"), (flags.fully_random, "fully-random"), (flags.persistent, "persistent")];
    let set: Vec<&str> = all.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect();
    if set.is_empty() { String::new() } else { format!(" {}", set.join(",")) }
}

fn limit(rate: LimitRate, over: bool, burst: Option<u32>) -> String {
    let unit = match rate.per_secs {
        1 => "second",
        60 => "minute",
        3600 => "hour",
        86400 => "day",
        _ => "week",
    };
    let size = rate.unit_bytes.map(|bytes| match bytes {
        1 => "bytes",
        1024 => "kbytes",
        _ => "mbytes",
    });
    let over = if over { "over " } else { "" };
    let amount = size.map_or_else(|| rate.amount.to_string(), |size| format!("{} {size}", rate.amount));
    let burst =
        burst.map_or_else(String::new, |burst| format!(" burst {burst} {}", size.unwrap_or("packets")));
    format!("limit rate {over}{amount}/{unit}{burst}")
}

pub(super) fn print_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".into(),
        Verdict::Drop => "drop".into(),
        Verdict::Continue => "continue".into(),
        Verdict::Return => "return".into(),
        Verdict::Jump(chain) => format!("jump {}", name(chain)),
        Verdict::Goto(chain) => format!("goto {}", name(chain)),
    }
}

/// A name as one word: what could be read as something else stands between quotes.
pub(super) fn name(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '\\' | '@' | '*');
    if !text.is_empty() && text.chars().all(fits) { text.into() } else { quoted(text) }
}

fn print_match(left: &Expr, op: Op, right: &Expr) -> String {
    let types = types_of(left);
    if let Expr::Binary { op: BinaryOp::And, left: field, right: mask } = left
        && types.first().is_some_and(|kind| kind.is_flags())
        && matches!(op, Op::Eq | Op::Ne)
    {
        let (field, mask) = (print(field, &[]), print(mask, &types));
        return match (op, right) {
            (Op::Eq, Expr::Value(Value::Number(0))) => format!("{field} ! {mask}"),
            (Op::Eq, _) => format!("{field} {} / {mask}", print(right, &types)),
            _ => format!("{field} != {} / {mask}", print(right, &types)),
        };
    }
    let sign = match op {
        Op::Implicit => " ",
        Op::Eq => " == ",
        Op::Ne => " != ",
        Op::Lt => " < ",
        Op::Le => " <= ",
        Op::Gt => " > ",
        Op::Ge => " >= ",
    };
    format!("{}{sign}{}", print(left, &[]), print(right, &types))
}

/// What changes; `meta` is always said of it.
fn print_target(target: &Expr) -> String {
    print(target, &[])
}

/// An expression; constants are of these types.
pub(super) fn print(expr: &Expr, types: &[Type]) -> String {
    let kind = |place: usize| types.get(place).copied().unwrap_or(Type::Plain);
    match expr {
        Expr::Value(value) => kind(0).print(value),
        Expr::Flags(values) => values.iter().map(|value| kind(0).print(value)).collect::<Vec<_>>().join(","),
        Expr::Elements(elements) => {
            let printed: Vec<String> = elements.iter().map(|it| element(it, types, types)).collect();
            format!("{{ {} }}", printed.join(", "))
        }
        Expr::Named(name) => format!("@{name}"),
        Expr::Field(field) => {
            let found = FIELDS.iter().find(|(.., known)| known == field);
            found.map_or_else(String::new, |(protocol, name, _)| format!("{protocol} {name}"))
        }
        Expr::Meta(meta) => print_meta(*meta),
        Expr::Ct { original, key } => {
            let direction = match original {
                Some(true) => "original ",
                Some(false) => "reply ",
                None => "",
            };
            let name = CTS.iter().find(|(_, known)| known == key).map_or("", |(name, _)| name);
            format!("ct {direction}{name}")
        }
        Expr::Fib { keys, result } => {
            let name = |key| FIB_KEYS.iter().find(|(_, known)| *known == key).map_or("", |(name, _)| name);
            let keys = keys.iter().map(|key| name(*key)).collect::<Vec<_>>().join(" . ");
            let result = FIB_RESULTS.iter().find(|(_, known)| known == result).map_or("", |(name, _)| name);
            format!("fib {keys} {result}")
        }
        Expr::Numgen { random, modulus, offset } => {
            let how = if *random { "random" } else { "inc" };
            format!("numgen {how} mod {modulus}{}", print_offset(*offset))
        }
        Expr::Jhash { of, modulus, seed, offset } => {
            let seed = seed.map_or_else(String::new, |seed| format!(" seed {seed:#x}"));
            format!("jhash {} mod {modulus}{seed}{}", print(of, &[]), print_offset(*offset))
        }
        Expr::Concat(parts) => {
            let printed = parts.iter().enumerate().map(|(place, part)| print(part, &[kind(place)]));
            printed.collect::<Vec<_>>().join(" . ")
        }
        Expr::Map { key, map } => {
            let printed = if let Expr::Elements(elements) = &**map {
                let keys = types_of(key);
                let printed: Vec<String> = elements.iter().map(|it| element(it, &keys, types)).collect();
                format!("{{ {} }}", printed.join(", "))
            } else {
                print(map, &[])
            };
            format!("{} map {printed}", print(key, &[]))
        }
        Expr::Binary { op, left, right } => print_binary(*op, left, right, kind(0)),
        Expr::Other(text) => text.to_string(),
    }
}

const fn binds(op: BinaryOp) -> (u8, &'static str) {
    match op {
        BinaryOp::Or => (1, "|"),
        BinaryOp::Xor => (2, "^"),
        BinaryOp::And => (3, "&"),
        BinaryOp::ShiftLeft => (4, "<<"),
        BinaryOp::ShiftRight => (4, ">>"),
    }
}

fn print_binary(op: BinaryOp, left: &Expr, right: &Expr, kind: Type) -> String {
    let of_left = types_of(left).first().copied().filter(|kind| *kind != Type::Plain).unwrap_or(kind);
    let side = |expr: &Expr, kind: Type, least: u8| {
        if let Expr::Flags(values) = expr {
            let printed: Vec<String> = values.iter().map(|value| kind.print(value)).collect();
            return format!("({})", printed.join(" | "));
        }
        let printed = print(expr, &[kind]);
        let weaker = matches!(expr, Expr::Binary { op, .. } if binds(*op).0 < least);
        if weaker { format!("({printed})") } else { printed }
    };
    let (strength, sign) = binds(op);
    format!("{} {sign} {}", side(left, kind, strength), side(right, of_left, strength + 1))
}

fn print_meta(meta: Meta) -> String {
    let found = METAS.iter().find(|(_, known, _)| *known == meta);
    found.map_or_else(
        String::new,
        |(name, _, bare)| if *bare { (*name).into() } else { format!("meta {name}") },
    )
}

fn print_offset(offset: u32) -> String {
    if offset == 0 { String::new() } else { format!(" offset {offset}") }
}

/// `KEY [STATEMENTS] [timeout T] [expires T] [comment "C"] [: DATA]`.
pub(super) fn element(element: &Element, key: &[Type], data: &[Type]) -> String {
    let mut out = if element.key.is_empty() { "*".into() } else { values(&element.key, key) };
    if let Some(statements) = &element.statements {
        out.push_str(&format!(" {statements}"));
    }
    for (word, ms) in [("timeout", element.timeout_ms), ("expires", element.expires_ms)] {
        if let Some(ms) = ms {
            out.push_str(&format!(" {word} {}", duration(ms)));
        }
    }
    if let Some(comment) = &element.comment {
        out.push_str(&format!(" comment {}", quoted(comment)));
    }
    match &element.data {
        Some(Data::Values(of)) => out.push_str(&format!(" : {}", values(of, data))),
        Some(Data::Verdict(verdict)) => out.push_str(&format!(" : {}", print_verdict(verdict))),
        None => {}
    }
    out
}

fn values(values: &[Value], types: &[Type]) -> String {
    let kind = |place: usize| types.get(place).copied().unwrap_or(Type::Plain);
    values.iter().enumerate().map(|(place, value)| kind(place).print(value)).collect::<Vec<_>>().join(" . ")
}

fn print_reject(v6: bool, reject: Reject) -> String {
    let of_family = |name: &str| !name.starts_with(if v6 { "icmp " } else { "icmpv6 " });
    let found = REJECTS.iter().find(|(name, known)| *known == reject && of_family(name));
    found.map_or_else(|| "reject".into(), |(name, _)| format!("reject with {name}"))
}
