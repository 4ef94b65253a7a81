//! Tables, sets and chains.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::expr::{STATEMENTS, Tokens, elements};
use super::lex::{Kind, Token, tokens};
use super::prio;
use super::statement::{spaced, statements};
use super::types::{Type, read_duration, types_of};
use crate::plan::netfilter::Hook;
use crate::plan::nft::{Base, Chain, ChainKind, Object, Rule, Set, SetFlags, Statement, Table, TableFamily};
use crate::plan::xt::Policy;
use crate::text::line::{Span, number};
use crate::text::reader::{Fault, Reader};

/// Words of families.
pub(super) const FAMILIES: [(&str, TableFamily); 6] = [
    ("ip", TableFamily::Ip),
    ("ip6", TableFamily::Ip6),
    ("inet", TableFamily::Inet),
    ("arp", TableFamily::Arp),
    ("bridge", TableFamily::Bridge),
    ("netdev", TableFamily::Netdev),
];

/// Words of hooks.
pub(super) const HOOKS: [(&str, Hook); 7] = [
    ("ingress", Hook::Ingress),
    ("prerouting", Hook::Prerouting),
    ("input", Hook::Input),
    ("forward", Hook::Forward),
    ("output", Hook::Output),
    ("postrouting", Hook::Postrouting),
    ("egress", Hook::Egress),
];

/// A block that is read: the tokens of its heading, and what stands between its braces.
struct Block<'a, 't> {
    head: &'a [Token<'t>],
    body: &'a [Token<'t>],
}

/// Reads all tables.
pub(super) fn tables(text: &str, reader: &mut Reader) -> Vec<Table> {
    let all = tokens(text);
    let mut out: Vec<Table> = Vec::new();
    for item in items(&all, reader) {
        let read = match item {
            Item::Block(block) => table(&block, text, reader),
            Item::Line(line) => {
                let Some(first) = line.first() else { continue };
                Err(Fault::new(first.span, format!("'{}' is not the beginning of a table", first.text)))
            }
        };
        out.extend(reader.take(read));
    }
    out
}

/// What a body is made of.
enum Item<'a, 't> {
    Block(Block<'a, 't>),
    Line(&'a [Token<'t>]),
}

/// The words that begin a block with a name.
const BLOCKS: [&str; 13] = [
    "table",
    "chain",
    "set",
    "map",
    "counter",
    "quota",
    "limit",
    "flowtable",
    "ct",
    "secmark",
    "synproxy",
    "tunnel",
    "meter",
];

/// After so many lines with a brace too many the rest of a body is left alone: each costs O(rest).
const MOST_UNCLOSED: u32 = 64;

/// Splits tokens into blocks and lines.
fn items<'a, 't>(all: &'a [Token<'t>], reader: &mut Reader) -> Vec<Item<'a, 't>> {
    split(all, is_block, reader)
}

/// Splits tokens into lines and what this says is the heading of a block.
fn split<'a, 't>(
    all: &'a [Token<'t>],
    is_block: impl Fn(&[Token<'t>]) -> bool,
    reader: &mut Reader,
) -> Vec<Item<'a, 't>> {
    let mut out = Vec::new();
    let (mut at, mut unclosed) = (0, 0);
    while let Some(first) = all.get(at) {
        if matches!(first.kind, Kind::End | Kind::Handle) {
            at += 1;
            continue;
        }
        if first.kind == Kind::Close {
            reader.fault(Fault::new(first.span, "'}' closes nothing"));
            at += 1;
            continue;
        }
        let (mut end, mut depth, mut opened) = (at, 0_u32, None);
        while let Some(token) = all.get(end) {
            match (token.kind, depth) {
                (Kind::Open, _) => {
                    opened = opened.or(Some(end));
                    depth += 1;
                }
                (Kind::Close | Kind::End, 0) => break,
                (Kind::Close, _) => depth -= 1,
                (
                    Kind::Word
                    | Kind::Text
                    | Kind::Paren
                    | Kind::Comma
                    | Kind::Colon
                    | Kind::End
                    | Kind::Handle
                    | Kind::Unclosed,
                    _,
                ) => {}
            }
            end += 1;
            // A block ends with its brace.
            if token.kind == Kind::Close
                && depth == 0
                && is_block(all.get(at..opened.unwrap_or(at)).unwrap_or(&[]))
            {
                break;
            }
        }
        let head = opened.map(|opened| all.get(at..opened).unwrap_or(&[]));
        if depth > 0 {
            reader.fault(Fault::new(first.span, "a '{' is not closed").help("the dump may be cut"));
            if !head.is_some_and(&is_block) {
                // The brace is missed on this line: what follows is read again without it.
                let line = all.get(at..).unwrap_or(&[]).iter().position(|token| token.kind == Kind::End);
                unclosed += 1;
                if unclosed > MOST_UNCLOSED {
                    break;
                }
                at += line.unwrap_or(end - at) + 1;
                continue;
            }
        }
        let piece = all.get(at..end).unwrap_or(&[]);
        match head.filter(|head| is_block(head)) {
            Some(head) => {
                let closed = usize::from(depth == 0);
                let body = piece.get(head.len() + 1..piece.len().saturating_sub(closed)).unwrap_or(&[]);
                out.push(Item::Block(Block { head, body }));
            }
            None => match piece.iter().find(|token| token.kind == Kind::Unclosed) {
                Some(quote) => reader.fault(Fault::new(quote.span, "a quote is not closed on its line")),
                None => out.push(Item::Line(piece)),
            },
        }
        at = end.max(at + 1);
    }
    out
}

/// `set NAME`, `ct helper NAME`, `table FAMILY NAME`.
fn is_block(head: &[Token<'_>]) -> bool {
    let Some(first) = head.first() else { return false };
    let words = match first.text {
        "table" => 2..=3,
        "ct" => 3..=3,
        _ => 2..=2,
    };
    first.kind == Kind::Word
        && BLOCKS.contains(&first.text)
        && words.contains(&head.len())
        && head.iter().skip(1).all(|token| matches!(token.kind, Kind::Word | Kind::Text))
}

fn span_of(block: &Block<'_, '_>) -> Span {
    let none = Span { line: 1, column: 1, start: 0, end: 0 };
    let (first, last) = (block.head.first(), block.head.last());
    first.zip(last).map_or(none, |(first, last)| Span { end: last.span.end, ..first.span })
}

fn table(block: &Block<'_, '_>, text: &str, reader: &mut Reader) -> Result<Table, Fault> {
    let span = span_of(block);
    let [first, words @ .., name] = block.head else {
        return Err(Fault::new(span, "a table without a name"));
    };
    if first.text != "table" {
        return Err(Fault::new(first.span, format!("'{}' stands outside of a table", first.text)));
    }
    let family = match words.first() {
        Some(word) => {
            let known =
                |text: &str| FAMILIES.iter().find(|(name, _)| *name == text).map(|(_, family)| *family);
            word.word().read("a family of nft", known)?
        }
        None => TableFamily::Ip,
    };
    let mut out = Table {
        family,
        name: name.name().into(),
        flags: Vec::new(),
        comment: None,
        sets: Vec::new(),
        chains: Vec::new(),
        others: Vec::new(),
        origin: reader.origin(span),
    };
    for item in items(block.body, reader) {
        match item {
            Item::Line([key, value]) if key.text == "comment" => out.comment = Some(value.name().into()),
            Item::Line([key, flags @ ..]) if key.text == "flags" => {
                out.flags = flags
                    .iter()
                    .filter(|flag| flag.kind == Kind::Word)
                    .map(|flag| flag.text.into())
                    .collect();
            }
            Item::Line(line) => {
                if let Some(first) = line.first() {
                    let message = format!("'{}' is not known in a table", first.text);
                    reader.fault(Fault::new(first.span, message));
                }
            }
            Item::Block(inner) => part(&inner, &mut out, text, reader),
        }
    }
    Ok(out)
}

/// A chain, a set, a map or an object of a table.
fn part(block: &Block<'_, '_>, table: &mut Table, text: &str, reader: &mut Reader) {
    match block.head {
        [kind, name] if kind.text == "chain" => {
            let chain = chain(name.name(), block, table.family, text, reader);
            match table.chains.iter_mut().find(|known| known.name == chain.name) {
                // A table that is written in two parts names its chains first.
                Some(known) => {
                    let known = Arc::make_mut(known);
                    known.base = known.base.take().or(chain.base);
                    known.rules.extend(chain.rules);
                }
                None => table.chains.push(Arc::new(chain)),
            }
        }
        [kind, name] if matches!(kind.text, "set" | "map") => {
            table.sets.push(Arc::new(set(name.name(), block, text, reader)));
        }
        [kinds @ .., name] if !kinds.is_empty() && kinds.iter().all(|kind| kind.text != "table") => {
            let kind = kinds.iter().map(|kind| kind.text).collect::<Vec<_>>().join(" ");
            let lines = split(block.body, |_| false, reader);
            let lines: Vec<Arc<str>> = lines.iter().map(|item| line_of(item, text)).collect();
            let text = lines.join("\n").into();
            reader.note(span_of(block), format!("'{kind}' is kept but not modelled"));
            table.others.push(Object { kind: kind.into(), name: name.name().into(), text });
        }
        _ => reader.fault(Fault::new(span_of(block), "this block is not known in a table")),
    }
}

fn line_of(item: &Item<'_, '_>, text: &str) -> Arc<str> {
    match item {
        Item::Line(line) => spaced(line, text),
        Item::Block(block) => spaced(block.body, text),
    }
}

fn chain(name: &str, block: &Block<'_, '_>, family: TableFamily, text: &str, reader: &mut Reader) -> Chain {
    let mut out = Chain { name: name.into(), base: None, comment: None, rules: Vec::new() };
    for item in split(block.body, |_| false, reader) {
        let Item::Line(line) = item else { continue };
        match line {
            [key, ..] if key.text == "type" => {
                let base = base(line, family);
                if base.is_none() {
                    reader.fault(Fault::new(key.span, "the hook of this chain cannot be read"));
                }
                out.base = base;
            }
            [key, value] if key.text == "policy" => {
                let policy = match value.text {
                    "accept" => Some(Policy::Accept),
                    "drop" => Some(Policy::Drop),
                    _ => None,
                };
                match (policy, &mut out.base) {
                    (Some(policy), Some(base)) => base.policy = policy,
                    _ => reader.fault(Fault::new(value.span, "a policy that cannot be read")),
                }
            }
            [key, value] if key.text == "comment" && value.kind == Kind::Text => {
                out.comment = Some(value.name().into());
            }
            _ => out.rules.push(rule(line, text, reader)),
        }
    }
    out
}

/// `type filter hook input [device "lo"] priority filter`.
fn base(line: &[Token<'_>], family: TableFamily) -> Option<Base> {
    let mut cursor = Tokens::new(line);
    cursor.word()?;
    let kind = match cursor.word()? {
        "filter" => ChainKind::Filter,
        "nat" => ChainKind::Nat,
        "route" => ChainKind::Route,
        _ => return None,
    };
    let hook = cursor.eat("hook").then(|| cursor.word())??;
    let hook = HOOKS.iter().find(|(name, _)| *name == hook)?.1;
    let mut devices = Vec::new();
    if cursor.eat("device") {
        devices.push(cursor.next()?.name().into());
    } else if cursor.eat("devices") {
        cursor.eat("=");
        cursor.next().filter(|token| token.kind == Kind::Open)?;
        loop {
            let token = cursor.next()?;
            if token.kind == Kind::Close {
                break;
            }
            if matches!(token.kind, Kind::Word | Kind::Text) {
                devices.push(token.name().into());
            }
        }
    }
    let words: Vec<&str> =
        cursor.eat("priority").then(|| cursor.rest().iter().map(|token| token.text).collect())?;
    let priority = prio::read(&words, family)?;
    Some(Base { kind, hook, devices, priority, policy: Policy::Accept })
}

fn rule(line: &[Token<'_>], text: &str, reader: &mut Reader) -> Rule {
    let mut line = line;
    let mut handle = None;
    if let [rest @ .., last] = line
        && last.kind == Kind::Handle
    {
        (line, handle) = (rest, number(last.text));
    }
    let mut comment = None;
    if let [rest @ .., key, value] = line
        && key.text == "comment"
        && value.kind == Kind::Text
    {
        (line, comment) = (rest, Some(value.name().into()));
    }
    let statements = statements(line, text);
    let none = Span { line: 1, column: 1, start: 0, end: 0 };
    let span =
        line.first().zip(line.last()).map_or(none, |(first, last)| Span { end: last.span.end, ..first.span });
    for statement in &statements {
        if let Statement::Other(text) = statement {
            let first = text.split(' ').take(2).collect::<Vec<_>>().join(" ");
            reader.warn(span, format!("'{first} …' of a rule is kept but not modelled"));
        }
    }
    Rule { statements, comment, handle, origin: reader.origin(span) }
}

fn set(name: &str, block: &Block<'_, '_>, text: &str, reader: &mut Reader) -> Set {
    let span = span_of(block);
    let mut out = Set {
        name: name.into(),
        key: Vec::new(),
        key_typeof: None,
        data: Vec::new(),
        flags: SetFlags::default(),
        timeout_ms: None,
        gc_interval_ms: None,
        size: None,
        auto_merge: false,
        statements: None,
        comment: None,
        elements: Vec::new(),
        origin: reader.origin(span),
    };
    let mut held: &[Token<'_>] = &[];
    for item in items(block.body, reader) {
        let Item::Line(line) = item else { continue };
        let [key, values @ ..] = line else { continue };
        let duration = || values.first().and_then(|value| read_duration(value.text));
        match key.text {
            "type" => {
                out.key_typeof = None;
                (out.key, out.data) = types(values);
            }
            "typeof" => {
                out.key_typeof = Some(spaced(values, text));
                (out.key, out.data) = typeofs(values);
            }
            "flags" => flags(values, &mut out.flags, reader),
            "timeout" => out.timeout_ms = duration(),
            "gc-interval" => out.gc_interval_ms = duration(),
            "size" => out.size = values.first().and_then(|value| number(value.text)),
            "auto-merge" => out.auto_merge = true,
            "comment" => out.comment = values.first().map(|value| value.name().into()),
            "elements" => held = values,
            word if STATEMENTS.contains(&word) => out.statements = Some(spaced(line, text)),
            other => reader.note(key.span, format!("'{other}' of a set is not modelled")),
        }
    }
    let (key, data): (Vec<Type>, Vec<Type>) = (named(&out.key), named(&out.data));
    if let [sign, rest @ ..] = held {
        let mut cursor = Tokens::new(rest);
        match elements(&mut cursor, &key, &data) {
            Some(mut elements) => {
                for element in &mut elements {
                    element.origin = Some(out.origin.clone());
                }
                out.elements = elements;
            }
            None => {
                let at = cursor.rest().first().map_or(sign.span, |token| token.span);
                reader.fault(Fault::new(at, format!("the elements of '{name}' cannot be read from here on")));
            }
        }
    }
    out
}

pub(super) fn named(names: &[Arc<str>]) -> Vec<Type> {
    names.iter().map(|name| Type::named(name)).collect()
}

type Names = (Vec<Arc<str>>, Vec<Arc<str>>);

/// `A . B : C`.
fn types(values: &[Token<'_>]) -> Names {
    let mut sides = values.split(|token| token.kind == Kind::Colon);
    let mut side = || -> Vec<Arc<str>> {
        let words = sides.next().unwrap_or(&[]).iter();
        words
            .filter(|token| token.kind == Kind::Word && token.text != ".")
            .map(|token| token.text.into())
            .collect()
    };
    (side(), side())
}

/// The same of expressions.
fn typeofs(values: &[Token<'_>]) -> Names {
    let mut sides = values.split(|token| token.kind == Kind::Colon);
    let mut side = || -> Vec<Arc<str>> {
        let side = sides.next().unwrap_or(&[]);
        if let [only] = side
            && only.text == "verdict"
        {
            return Vec::from(["verdict".into()]);
        }
        let read = super::expr::expr(&mut Tokens::new(side), &[]);
        read.map_or_else(Vec::new, |expr| {
            types_of(&expr).into_iter().map(|kind| kind.name().into()).collect()
        })
    };
    (side(), side())
}

fn flags(values: &[Token<'_>], out: &mut SetFlags, reader: &mut Reader) {
    for value in values.iter().filter(|value| value.kind == Kind::Word) {
        match value.text {
            "constant" => out.constant = true,
            "dynamic" => out.dynamic = true,
            "interval" => out.interval = true,
            "timeout" => out.timeout = true,
            other => reader.note(value.span, format!("flag '{other}' of a set is not modelled")),
        }
    }
}
