//! Expressions.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::lex::{Kind, Token};
use super::names::{CTS, FIB_KEYS, FIB_RESULTS, FIELDS, METAS};
use super::types::{Type, read_duration, types_of};
use crate::plan::nft::{BinaryOp, Data, Element, Expr, Value, Verdict};
use crate::text::line::{any_number, number};

/// How deep expressions may be nested.
const DEEPEST: u32 = 16;

/// Tokens, taken one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens<'a, 't> {
    all: &'a [Token<'t>],
    depth: u32,
}

impl<'a, 't> Tokens<'a, 't> {
    pub(super) const fn new(all: &'a [Token<'t>]) -> Self {
        Self { all, depth: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) const fn rest(&self) -> &'a [Token<'t>] {
        self.all
    }

    pub(super) fn peek(&self) -> Option<Token<'t>> {
        self.all.first().copied()
    }

    /// The next one, if it is a word.
    pub(super) fn peek_word(&self) -> Option<&'t str> {
        self.peek().filter(|token| token.kind == Kind::Word).map(|token| token.text)
    }

    pub(super) fn next(&mut self) -> Option<Token<'t>> {
        let (first, rest) = self.all.split_first()?;
        self.all = rest;
        Some(*first)
    }

    /// Takes a word.
    pub(super) fn word(&mut self) -> Option<&'t str> {
        let word = self.peek_word()?;
        self.next();
        Some(word)
    }

    /// Takes and reads a word.
    pub(super) fn read<T>(&mut self, read: impl FnOnce(&'t str) -> Option<T>) -> Option<T> {
        read(self.word()?)
    }

    /// Takes the word if it is next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.peek_word() == Some(text);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn eat_kind(&mut self, kind: Kind) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == kind);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn skip_ends(&mut self) {
        while self.eat_kind(Kind::End) {}
    }
}

/// `A . B …`, each with operators. Constants are of these types.
pub(super) fn expr(tokens: &mut Tokens<'_, '_>, types: &[Type]) -> Option<Expr> {
    tokens.depth += 1;
    if tokens.depth > DEEPEST {
        return None;
    }
    let kind = |place: usize| types.get(place).copied().unwrap_or(Type::Plain);
    let mut parts = Vec::from([binary(tokens, kind(0), 0)?]);
    while tokens.eat(".") {
        parts.push(binary(tokens, kind(parts.len()), 0)?);
    }
    tokens.depth -= 1;
    let whole = if parts.len() == 1 { parts.pop()? } else { Expr::Concat(parts) };
    if !tokens.eat("map") {
        return Some(whole);
    }
    let map = map_of(tokens, &types_of(&whole), types)?;
    Some(Expr::Map { key: Box::new(whole), map: Box::new(map) })
}

/// `{ KEY : DATA, … }` or `@NAME`.
pub(super) fn map_of(tokens: &mut Tokens<'_, '_>, key: &[Type], data: &[Type]) -> Option<Expr> {
    if let Some(name) = tokens.peek_word().and_then(|word| word.strip_prefix('@')) {
        tokens.next();
        return Some(Expr::Named(name.into()));
    }
    elements(tokens, key, data).map(Expr::Elements)
}

const OPERATORS: [(&str, BinaryOp, u8); 10] = [
    ("|", BinaryOp::Or, 1),
    ("or", BinaryOp::Or, 1),
    ("^", BinaryOp::Xor, 2),
    ("xor", BinaryOp::Xor, 2),
    ("&", BinaryOp::And, 3),
    ("and", BinaryOp::And, 3),
    ("<<", BinaryOp::ShiftLeft, 4),
    ("lshift", BinaryOp::ShiftLeft, 4),
    (">>", BinaryOp::ShiftRight, 4),
    ("rshift", BinaryOp::ShiftRight, 4),
];

fn binary(tokens: &mut Tokens<'_, '_>, kind: Type, least: u8) -> Option<Expr> {
    let mut left = primary(tokens, kind)?;
    while let Some(word) = tokens.peek_word() {
        let Some((_, op, binds)) = OPERATORS.iter().find(|(name, _, binds)| *name == word && *binds > least)
        else {
            break;
        };
        tokens.next();
        let of_left = types_of(&left).first().copied().filter(|kind| *kind != Type::Plain).unwrap_or(kind);
        let right = binary(tokens, of_left, *binds)?;
        left = Expr::Binary { op: *op, left: Box::new(left), right: Box::new(right) };
    }
    Some(left)
}

fn primary(tokens: &mut Tokens<'_, '_>, kind: Type) -> Option<Expr> {
    let token = tokens.peek()?;
    match token.kind {
        Kind::Open => return elements(tokens, &[kind], &[]).map(Expr::Elements),
        Kind::Paren if token.text == "(" => {
            tokens.next();
            tokens.depth += 1;
            if tokens.depth > DEEPEST {
                return None;
            }
            let inner = binary(tokens, kind, 0)?;
            tokens.depth -= 1;
            let closed = tokens.next()?;
            return (closed.kind == Kind::Paren && closed.text == ")").then(|| as_flags(inner));
        }
        Kind::Text => {
            tokens.next();
            return kind.read(token.text).map(Expr::Value);
        }
        Kind::Word => {}
        Kind::Paren | Kind::Close | Kind::Comma | Kind::Colon | Kind::End | Kind::Handle | Kind::Unclosed => {
            return None;
        }
    }
    if let Some(name) = token.text.strip_prefix('@') {
        tokens.next();
        // `@th,16,16` is a piece of the header.
        return (!name.is_empty() && tokens.peek().is_none_or(|next| next.kind != Kind::Comma))
            .then(|| Expr::Named(name.into()));
    }
    let before = *tokens;
    if let Some(found) = selector(tokens) {
        return Some(found);
    }
    *tokens = before;
    constant(tokens, kind)
}

/// Values that are or-ed are a list of flags.
fn as_flags(expr: Expr) -> Expr {
    fn values(expr: &Expr, out: &mut Vec<Value>) -> Option<()> {
        match expr {
            Expr::Value(value) => out.push(value.clone()),
            Expr::Flags(values) => out.extend(values.iter().cloned()),
            Expr::Binary { op: BinaryOp::Or, left, right } => {
                values(left, out)?;
                values(right, out)?;
            }
            Expr::Binary { .. }
            | Expr::Elements(_)
            | Expr::Named(_)
            | Expr::Field(_)
            | Expr::Meta(_)
            | Expr::Ct { .. }
            | Expr::Fib { .. }
            | Expr::Numgen { .. }
            | Expr::Jhash { .. }
            | Expr::Concat(_)
            | Expr::Map { .. }
            | Expr::Other(_) => return None,
        }
        Some(())
    }
    let mut out = Vec::new();
    match values(&expr, &mut out) {
        Some(()) if out.len() > 1 => Expr::Flags(out),
        _ => expr,
    }
}

/// A constant, or a list of flags.
fn constant(tokens: &mut Tokens<'_, '_>, kind: Type) -> Option<Expr> {
    let first = kind.read(tokens.word()?)?;
    let mut list = Vec::from([first]);
    while kind.is_flags() && tokens.peek().is_some_and(|token| token.kind == Kind::Comma) {
        let mut ahead = *tokens;
        ahead.next();
        let Some(value) = ahead.read(|word| kind.read(word)) else { break };
        list.push(value);
        *tokens = ahead;
    }
    Some(if list.len() == 1 { Expr::Value(list.pop()?) } else { Expr::Flags(list) })
}

/// What is looked at: a field, `meta`, `ct`, `fib`, `numgen`, `jhash`.
fn selector(tokens: &mut Tokens<'_, '_>) -> Option<Expr> {
    let word = tokens.word()?;
    match word {
        "meta" => return meta(tokens.word()?),
        "ct" => return ct(tokens),
        "fib" => return fib(tokens),
        "numgen" => {
            let random = match tokens.word()? {
                "random" => true,
                "inc" => false,
                _ => return None,
            };
            let modulus = modulus(tokens)?;
            return Some(Expr::Numgen { random, modulus, offset: offset(tokens)? });
        }
        "jhash" => {
            let of = Box::new(expr(tokens, &[])?);
            let modulus = modulus(tokens)?;
            let seed = if tokens.eat("seed") { Some(tokens.read(any_number)?) } else { None };
            return Some(Expr::Jhash { of, modulus, seed, offset: offset(tokens)? });
        }
        _ => {}
    }
    let next = tokens.peek_word();
    for (protocol, name, field) in FIELDS {
        let (name, more) = name.split_once(' ').map_or((name, None), |(name, more)| (name, Some(more)));
        if protocol == word && next == Some(name) {
            tokens.next();
            return more.is_none_or(|more| tokens.eat(more)).then_some(Expr::Field(field));
        }
    }
    meta(word)
}

fn meta(word: &str) -> Option<Expr> {
    METAS.iter().find(|(name, ..)| *name == word).map(|(_, key, _)| Expr::Meta(*key))
}

fn ct(tokens: &mut Tokens<'_, '_>) -> Option<Expr> {
    let original = if tokens.eat("original") {
        Some(true)
    } else if tokens.eat("reply") {
        Some(false)
    } else {
        None
    };
    let word = tokens.word()?;
    let key = CTS.iter().find(|(name, _)| {
        let (name, more) = name.split_once(' ').map_or((*name, None), |(name, more)| (name, Some(more)));
        name == word && (more.is_none() || more == tokens.peek_word())
    });
    let (name, key) = key?;
    if name.contains(' ') {
        tokens.next();
    }
    Some(Expr::Ct { original, key: *key })
}

fn fib(tokens: &mut Tokens<'_, '_>) -> Option<Expr> {
    let mut keys = Vec::new();
    loop {
        let word = tokens.word()?;
        keys.push(FIB_KEYS.iter().find(|(name, _)| *name == word)?.1);
        if !tokens.eat(".") {
            break;
        }
    }
    let word = tokens.word()?;
    let result = FIB_RESULTS.iter().find(|(name, _)| *name == word)?.1;
    Some(Expr::Fib { keys, result })
}

/// `mod N`.
fn modulus(tokens: &mut Tokens<'_, '_>) -> Option<u32> {
    tokens.eat("mod").then(|| tokens.read(number))?.filter(|modulus| *modulus > 0)
}

/// `offset N`, or nothing.
fn offset(tokens: &mut Tokens<'_, '_>) -> Option<u32> {
    if tokens.eat("offset") { tokens.read(number) } else { Some(0) }
}

/// `{ A, B : DATA, … }`.
pub(super) fn elements(tokens: &mut Tokens<'_, '_>, key: &[Type], data: &[Type]) -> Option<Vec<Element>> {
    if !tokens.eat_kind(Kind::Open) {
        return None;
    }
    let mut out = Vec::new();
    loop {
        tokens.skip_ends();
        if tokens.eat_kind(Kind::Close) {
            return Some(out);
        }
        out.push(element(tokens, key, data)?);
        tokens.skip_ends();
        if !tokens.eat_kind(Kind::Comma) && tokens.peek()?.kind != Kind::Close {
            return None;
        }
    }
}

/// One element: `KEY [STATEMENTS] [timeout T] [expires T] [comment "C"] [: DATA]`.
fn element(tokens: &mut Tokens<'_, '_>, types: &[Type], data: &[Type]) -> Option<Element> {
    let mut out = Element {
        key: Vec::new(),
        data: None,
        timeout_ms: None,
        expires_ms: None,
        statements: None,
        comment: None,
        origin: None,
    };
    if !tokens.eat("*") {
        out.key = values(tokens, types)?;
    }
    loop {
        match tokens.peek_word() {
            Some("timeout") => {
                tokens.next();
                out.timeout_ms = Some(tokens.read(read_duration)?);
            }
            Some("expires") => {
                tokens.next();
                out.expires_ms = Some(tokens.read(read_duration)?);
            }
            Some("comment") => {
                tokens.next();
                out.comment = Some(tokens.next().filter(|token| token.kind == Kind::Text)?.name().into());
            }
            Some(word) if STATEMENTS.contains(&word) => out.statements = Some(element_statements(tokens)),
            _ => break,
        }
    }
    if tokens.eat_kind(Kind::Colon) {
        out.data = Some(match verdict(tokens) {
            Some(verdict) => Data::Verdict(verdict),
            None => Data::Values(values(tokens, data)?),
        });
    }
    Some(out)
}

/// The statements that an element can have, by their first words.
pub(super) const STATEMENTS: [&str; 5] = ["counter", "limit", "quota", "ct", "last"];

/// The statements of an element as they stand, up to what else it has.
fn element_statements(tokens: &mut Tokens<'_, '_>) -> Arc<str> {
    let mut out = String::new();
    while let Some(word) =
        tokens.peek_word().filter(|word| !matches!(*word, "timeout" | "expires" | "comment"))
    {
        tokens.next();
        out.push_str(if out.is_empty() { "" } else { " " });
        out.push_str(word);
    }
    out.into()
}

/// `A . B`, constants only.
pub(super) fn values(tokens: &mut Tokens<'_, '_>, types: &[Type]) -> Option<Vec<Value>> {
    let mut out = Vec::new();
    loop {
        let token = tokens.next().filter(|token| matches!(token.kind, Kind::Word | Kind::Text))?;
        out.push(types.get(out.len()).copied().unwrap_or(Type::Plain).read(token.text)?);
        if !tokens.eat(".") {
            return Some(out);
        }
    }
}

/// A verdict, if one is next.
pub(super) fn verdict(tokens: &mut Tokens<'_, '_>) -> Option<Verdict> {
    let mut ahead = *tokens;
    let out = match ahead.word()? {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "continue" => Verdict::Continue,
        "return" => Verdict::Return,
        "jump" => Verdict::Jump(chain(&mut ahead)?),
        "goto" => Verdict::Goto(chain(&mut ahead)?),
        _ => return None,
    };
    *tokens = ahead;
    Some(out)
}

fn chain(tokens: &mut Tokens<'_, '_>) -> Option<alloc::sync::Arc<str>> {
    let token = tokens.next().filter(|token| matches!(token.kind, Kind::Word | Kind::Text))?;
    Some(token.name().into())
}
