//! Statements of a rule.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::expr::{Tokens, elements, expr, map_of, verdict};
use super::lex::{Kind, Token};
use super::types::{Type, read_duration, types_of};
use crate::addr::Family;
use crate::plan::netfilter::{LimitRate, NatFlags, Reject};
use crate::plan::nft::{BinaryOp, Data, Expr, Nat, Op, SetOp, Statement, Value};
use crate::text::line::number;

/// What `reject with` says, and what it means: first the form that is printed.
pub(super) const REJECTS: [(&str, Reject); 16] = [
    ("tcp reset", Reject::TcpReset),
    ("icmp net-unreachable", Reject::NetUnreachable),
    ("icmp host-unreachable", Reject::HostUnreachable),
    ("icmp prot-unreachable", Reject::ProtoUnreachable),
    ("icmp port-unreachable", Reject::PortUnreachable),
    ("icmp net-prohibited", Reject::NetProhibited),
    ("icmp host-prohibited", Reject::HostProhibited),
    ("icmp admin-prohibited", Reject::AdminProhibited),
    ("icmpv6 no-route", Reject::NetUnreachable),
    ("icmpv6 addr-unreachable", Reject::HostUnreachable),
    ("icmpv6 port-unreachable", Reject::PortUnreachable),
    ("icmpv6 admin-prohibited", Reject::AdminProhibited),
    ("icmpx port-unreachable", Reject::IcmpxPortUnreachable),
    ("icmpx host-unreachable", Reject::IcmpxHostUnreachable),
    ("icmpx no-route", Reject::IcmpxNoRoute),
    ("icmpx admin-prohibited", Reject::IcmpxAdminProhibited),
];

/// Reads the statements of a rule. What cannot be read is kept as text from there on, a verdict at the end aside.
pub(super) fn statements(tokens: &[Token<'_>], text: &str) -> Vec<Statement> {
    let mut cursor = Tokens::new(tokens);
    let mut out = Vec::new();
    while !cursor.is_empty() {
        let before = cursor;
        if let Some(statement) = statement(&mut cursor, text) {
            out.push(statement);
            continue;
        }
        let rest = before.rest();
        let end = verdict_at_end(rest);
        let (carried, last) = rest.split_at(rest.len() - end);
        out.push(Statement::Other(spaced(carried, text)));
        out.extend(verdict(&mut Tokens::new(last)).map(Statement::Verdict));
        break;
    }
    out
}

/// How many tokens at the end are a verdict behind something else.
fn verdict_at_end(tokens: &[Token<'_>]) -> usize {
    for length in [1, 2] {
        let Some(at) = tokens.len().checked_sub(length).filter(|at| *at > 0) else { continue };
        let mut last = Tokens::new(tokens.get(at..).unwrap_or(&[]));
        if verdict(&mut last).is_some() && last.is_empty() {
            return length;
        }
    }
    0
}

/// Tokens as text, with one blank where there are any.
pub(super) fn spaced(tokens: &[Token<'_>], text: &str) -> Arc<str> {
    let mut out = alloc::string::String::new();
    let mut end = None;
    for token in tokens.iter().filter(|token| !matches!(token.kind, Kind::End | Kind::Handle)) {
        let apart = end.is_some_and(|end| end < token.span.start);
        let between = text.get(end.unwrap_or(0)..token.span.start).unwrap_or("");
        if apart && between.contains(|c: char| c.is_whitespace() || matches!(c, '\0' | ';' | '#')) {
            out.push(' ');
        }
        out.push_str(token.text);
        end = Some(token.span.end);
    }
    out.chars().map(crate::text::quoted::on_one_line).collect::<alloc::string::String>().into()
}

fn statement(tokens: &mut Tokens<'_, '_>, text: &str) -> Option<Statement> {
    if let Some(verdict) = verdict(tokens) {
        return Some(Statement::Verdict(verdict));
    }
    let before = *tokens;
    let found = match tokens.word()? {
        "reject" => reject(tokens),
        "notrack" => Some(Statement::Notrack),
        "counter" => counter(tokens).map(Statement::Counter),
        "limit" => limit(tokens),
        "log" => Some(Statement::Log(log(tokens, text))),
        "dnat" => nat(tokens).map(Statement::Dnat),
        "snat" => nat(tokens).map(Statement::Snat),
        "masquerade" => local_nat(tokens).map(|(port, flags)| Statement::Masquerade { port, flags }),
        "redirect" => local_nat(tokens).map(|(port, flags)| Statement::Redirect { port, flags }),
        "add" => set_op(tokens, SetOp::Add),
        "update" => set_op(tokens, SetOp::Update),
        "delete" => set_op(tokens, SetOp::Delete),
        _ => {
            *tokens = before;
            compared(tokens)
        }
    };
    if found.is_none() {
        *tokens = before;
    }
    found
}

/// `with KIND TYPE`, or nothing.
fn reject(tokens: &mut Tokens<'_, '_>) -> Option<Statement> {
    if !tokens.eat("with") {
        return Some(Statement::Reject(None));
    }
    let kind = tokens.word()?;
    tokens.eat("type");
    let name = tokens.word()?;
    let says = |known: &str| known.split_once(' ') == Some((kind, name));
    let (_, reject) = REJECTS.iter().find(|(known, _)| says(known))?;
    Some(match kind {
        "icmp" => Statement::RejectOf(Family::V4, *reject),
        "icmpv6" => Statement::RejectOf(Family::V6, *reject),
        _ => Statement::Reject(Some(*reject)),
    })
}

fn counter(tokens: &mut Tokens<'_, '_>) -> Option<Option<(u64, u64)>> {
    if tokens.peek_word() == Some("name") || tokens.peek().is_some_and(|token| token.kind == Kind::Text) {
        return None;
    }
    if !tokens.eat("packets") {
        return Some(None);
    }
    let packets = tokens.read(number)?;
    let bytes = tokens.eat("bytes").then(|| tokens.read(number))??;
    Some(Some((packets, bytes)))
}

/// `rate [over] 10/second [burst 5 packets]`, `rate 10 kbytes/second [burst 5 kbytes]`.
fn limit(tokens: &mut Tokens<'_, '_>) -> Option<Statement> {
    if !tokens.eat("rate") {
        return None;
    }
    let over = tokens.eat("over");
    tokens.eat("until");
    let word = tokens.word()?;
    let (amount, unit) = match word.split_once('/') {
        Some((amount, unit)) => (number(amount)?, (None, unit)),
        None => {
            let (size, unit) = tokens.word()?.split_once('/')?;
            (number(word)?, (Some(unit_bytes(size)?), unit))
        }
    };
    let per_secs = match unit.1 {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86400,
        "week" => 604_800,
        _ => return None,
    };
    let burst = if tokens.eat("burst") {
        let burst = tokens.read(number)?;
        // A burst of bytes in another unit than the rate has no place.
        let of = match tokens.word()? {
            "packets" => None,
            size => Some(unit_bytes(size)?),
        };
        (of == unit.0).then_some(Some(burst))?
    } else {
        None
    };
    Some(Statement::Limit { rate: LimitRate { amount, unit_bytes: unit.0, per_secs }, over, burst })
}

fn unit_bytes(text: &str) -> Option<u32> {
    match text {
        "bytes" => Some(1),
        "kbytes" => Some(1024),
        "mbytes" => Some(1024 * 1024),
        _ => None,
    }
}

/// The options of `log`, as text.
fn log(tokens: &mut Tokens<'_, '_>, text: &str) -> Arc<str> {
    let all = tokens.rest();
    loop {
        let before = *tokens;
        let key = tokens.word();
        let known =
            matches!(key, Some("prefix" | "level" | "flags" | "group" | "snaplen" | "queue-threshold"));
        if !known || tokens.next().is_none() {
            *tokens = before;
            break;
        }
        // `flags tcp sequence,options`
        while key == Some("flags") {
            let more = tokens.peek().is_some_and(|token| token.kind == Kind::Comma)
                || matches!(tokens.peek_word(), Some("sequence" | "options"));
            if !more {
                break;
            }
            tokens.next();
        }
    }
    let taken = all.len() - tokens.rest().len();
    spaced(all.get(..taken).unwrap_or(&[]), text)
}

/// `random,persistent`
fn flags(tokens: &mut Tokens<'_, '_>) -> Option<NatFlags> {
    let mut out = NatFlags::default();
    while let Some(word) = tokens.peek_word() {
        match word {
            "random" => out.random = true,
            "fully-random" => out.fully_random = true,
            "persistent" => out.persistent = true,
            _ => break,
        }
        tokens.next();
        tokens.eat_kind(Kind::Comma);
    }
    Some(out)
}

fn local_nat(tokens: &mut Tokens<'_, '_>) -> Option<(Option<Expr>, NatFlags)> {
    let port = if tokens.eat("to") {
        match tokens.word()?.strip_prefix(':') {
            Some("") | None => return None,
            Some(port) => Some(Expr::Value(Type::Port.read(port)?)),
        }
    } else {
        None
    };
    Some((port, flags(tokens)?))
}

/// `[ip|ip6] [addr . port] to …`
fn nat(tokens: &mut Tokens<'_, '_>) -> Option<Nat> {
    let family = match tokens.peek_word() {
        Some("ip") => Some(Family::V4),
        Some("ip6") => Some(Family::V6),
        _ => None,
    };
    if family.is_some() {
        tokens.next();
    }
    let said = tokens.eat("addr");
    if said && !(tokens.eat(".") && tokens.eat("port")) {
        return None;
    }
    if !tokens.eat("to") {
        return None;
    }
    let (addr, port) = match tokens.peek_word().and_then(target) {
        Some((to, of)) => {
            tokens.next();
            (to.map(Expr::Value), of.map(Expr::Value))
        }
        None => (Some(expr(tokens, &[Type::Addr, Type::Port])?), None),
    };
    let addr_and_port = said || addr.as_ref().is_some_and(gives_two);
    Some(Nat { family, addr, addr_and_port, port, flags: flags(tokens)? })
}

/// Whether an expression is a map that gives an address and a port.
fn gives_two(expr: &Expr) -> bool {
    let Expr::Map { map, .. } = expr else { return false };
    let Expr::Elements(elements) = &**map else { return false };
    elements.iter().any(|element| matches!(&element.data, Some(Data::Values(values)) if values.len() == 2))
}

/// `10.0.0.1`, `10.0.0.1:80`, `10.0.0.1-10.0.0.9:80-90`, `[fd00::1]:80`, `:80`.
fn target(text: &str) -> Option<(Option<Value>, Option<Value>)> {
    let port =
        |text: &str| Type::Port.read(text).filter(|port| !matches!(port, Value::Name(_) | Value::Addr(_)));
    let addr = |text: &str| {
        let value = Type::Addr.read(text)?;
        matches!(&value, Value::Addr(_) | Value::Range(..) | Value::Prefix(_)).then_some(value)
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (first, rest) = rest.split_once(']')?;
        // `[fd00::1]-[fd00::5]:80`
        if let Some(rest) = rest.strip_prefix("-[") {
            let (last, of) = rest.split_once("]:")?;
            let range = Value::Range(addr(first)?.into(), addr(last)?.into());
            return Some((Some(range), Some(port(of)?)));
        }
        return Some((Some(addr(first)?), Some(port(rest.strip_prefix(':')?)?)));
    }
    if let Some(of) = text.strip_prefix(':').filter(|of| !of.starts_with(':')) {
        return Some((None, Some(port(of)?)));
    }
    if let Some(value) = addr(text) {
        return Some((Some(value), None));
    }
    let (to, of) = text.rsplit_once(':')?;
    Some((Some(addr(to)?), Some(port(of)?)))
}

/// `@SET { EXPR [timeout T] [: DATA] }`
fn set_op(tokens: &mut Tokens<'_, '_>, op: SetOp) -> Option<Statement> {
    let set = tokens.word()?.strip_prefix('@')?.into();
    if !tokens.eat_kind(Kind::Open) {
        return None;
    }
    let key = expr(tokens, &[])?;
    let timeout_ms = if tokens.eat("timeout") { Some(tokens.read(read_duration)?) } else { None };
    let data = if tokens.eat_kind(Kind::Colon) { Some(expr(tokens, &[])?) } else { None };
    tokens.eat_kind(Kind::Close).then_some(Statement::SetOp { op, set, key, timeout_ms, data })
}

/// `EXPR vmap …`, `EXPR set EXPR`, `EXPR [OP] EXPR`.
fn compared(tokens: &mut Tokens<'_, '_>) -> Option<Statement> {
    let left = expr(tokens, &[])?;
    let types = types_of(&left);
    if tokens.eat("vmap") {
        let map = map_of(tokens, &types, &[Type::Verdict])?;
        return Some(Statement::Vmap { key: left, map });
    }
    if tokens.eat("set") {
        let value = expr(tokens, &types)?;
        return Some(Statement::Assign { target: left, value });
    }
    let op = match tokens.peek_word() {
        Some("==" | "eq") => Op::Eq,
        Some("!=" | "ne") => Op::Ne,
        Some("<" | "lt") => Op::Lt,
        Some("<=" | "le") => Op::Le,
        Some(">" | "gt") => Op::Gt,
        Some(">=" | "ge") => Op::Ge,
        Some("!") => {
            tokens.next();
            let right = Expr::Value(Value::Number(0));
            return Some(Statement::Match { left: masked(left, expr(tokens, &types)?), op: Op::Eq, right });
        }
        _ => Op::Implicit,
    };
    if op != Op::Implicit {
        tokens.next();
    }
    let right = if tokens.peek()?.kind == Kind::Open {
        Expr::Elements(elements(tokens, &types, &[])?)
    } else {
        expr(tokens, &types)?
    };
    // Only a constant or a set is compared with without a sign.
    let constant = matches!(
        right,
        Expr::Value(_) | Expr::Flags(_) | Expr::Elements(_) | Expr::Named(_) | Expr::Concat(_)
    );
    if op == Op::Implicit && !constant {
        return None;
    }
    if !tokens.eat("/") {
        return Some(Statement::Match { left, op, right });
    }
    let op = if op == Op::Implicit { Op::Eq } else { op };
    Some(Statement::Match { left: masked(left, expr(tokens, &types)?), op, right })
}

fn masked(left: Expr, mask: Expr) -> Expr {
    Expr::Binary { op: BinaryOp::And, left: left.into(), right: mask.into() }
}
