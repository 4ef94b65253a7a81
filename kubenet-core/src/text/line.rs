//! Lines and words, and the scalars in them, on nom.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{digit1, hex_digit1};
use nom::combinator::{all_consuming, map_opt};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::reader::Fault;

/// Where a word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A word and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'t> {
    pub(super) text: &'t str,
    pub(super) span: Span,
}

impl<'t> Word<'t> {
    /// Reads the whole word, or says what it should have been.
    pub(super) fn read<T>(self, what: &str, read: impl FnOnce(&'t str) -> Option<T>) -> Result<T, Fault> {
        read(self.text).ok_or_else(|| Fault::new(self.span, alloc::format!("'{}' is not {what}", self.text)))
    }
}

/// The words of one line, taken one by one.
#[derive(Clone, Debug)]
pub(super) struct Line<'t> {
    words: Vec<Word<'t>>,
    next: usize,
    /// It began with a blank: it goes on with the line before.
    pub(super) indented: bool,
    /// What stood behind `#`.
    pub(super) comment: Option<&'t str>,
    pub(super) span: Span,
}

impl<'t> Line<'t> {
    /// A line made of words that all stand at one place: those of a JSON object.
    pub(super) fn of_words(texts: &'t [String], span: Span) -> Self {
        let words = texts.iter().map(|text| Word { text, span }).collect();
        Self { words, next: 0, indented: false, comment: None, span }
    }

    /// A line made of words that were split elsewhere.
    pub(super) fn from_words(words: Vec<Word<'t>>, span: Span) -> Self {
        Self { words, next: 0, indented: false, comment: None, span }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<Word<'t>> {
        let word = self.words.get(self.next).copied();
        self.next += usize::from(word.is_some());
        word
    }

    pub(super) fn peek(&self) -> Option<&'t str> {
        self.words.get(self.next).map(|word| word.text)
    }

    /// Takes the next word if it is this one.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.peek() == Some(text);
        self.next += usize::from(found);
        found
    }

    /// Takes the value of a key.
    pub(super) fn value(&mut self, key: Word<'t>) -> Result<Word<'t>, Fault> {
        self.next().ok_or_else(|| Fault::new(key.span, alloc::format!("nothing follows '{}'", key.text)))
    }

    /// Takes and reads the value of a key.
    pub(super) fn read<T>(
        &mut self,
        key: Word<'t>,
        what: &str,
        read: impl FnOnce(&'t str) -> Option<T>,
    ) -> Result<T, Fault> {
        self.value(key)?.read(what, read)
    }
}

/// Splits a text into lines. A backslash (`ip -o`) starts a new, indented one.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let (mut line, mut column, mut continued) = (1, 1, false);
    core::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let piece = rest.split(['\n', '\\']).next().unwrap_or(rest);
        let mut out = words_of(piece, Span { line, column, start: at, end: at + piece.len() });
        out.indented |= continued;
        at += piece.len();
        continued = text.as_bytes().get(at) == Some(&b'\\');
        if continued {
            column += piece.chars().count() as u32 + 1;
        } else {
            (line, column) = (line + 1, 1);
        }
        at += 1;
        Some(out)
    })
}

fn words_of(piece: &str, span: Span) -> Line<'_> {
    let indented = piece.starts_with(is_blank);
    let mut out = Line { words: Vec::new(), next: 0, indented, comment: None, span };
    let (mut rest, mut column, mut start) = (piece, span.column, span.start);
    while let Ok((after, (blank, text))) = word(rest) {
        column += blank.chars().count() as u32;
        start += blank.len();
        if let Some(comment) = text.starts_with('#').then(|| rest.get(blank.len() + 1..)).flatten() {
            out.comment = Some(comment.trim()).filter(|c| !c.is_empty());
            break;
        }
        let end = start + text.len();
        out.words.push(Word { text, span: Span { line: span.line, column, start, end } });
        (rest, start) = (after, end);
        column += text.chars().count() as u32;
    }
    if let (Some(first), Some(last)) = (out.words.first(), out.words.last()) {
        out.span = Span { end: last.span.end, ..first.span };
    }
    out
}

pub(super) const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\0' | '\u{b}' | '\u{c}')
}

fn word(input: &str) -> IResult<&str, (&str, &str)> {
    (take_while(is_blank), take_while1(|c| !is_blank(c))).parse(input)
}

/// The whole text by one parser.
fn whole<'t, T>(
    text: &'t str,
    parser: impl Parser<&'t str, Output = T, Error = nom::error::Error<&'t str>>,
) -> Option<T> {
    all_consuming(parser).parse(text).ok().map(|(_, value)| value)
}

fn decimal_or_hex(input: &str) -> IResult<&str, u32> {
    let hex = map_opt(preceded(tag("0x"), hex_digit1), |d: &str| u32::from_str_radix(d, 16).ok());
    alt((hex, map_opt(digit1, |d: &str| d.parse().ok()))).parse(input)
}

/// A decimal number.
pub(super) fn number<T: core::str::FromStr>(text: &str) -> Option<T> {
    whole(text, map_opt(digit1, |d: &str| d.parse().ok()))
}

/// A number, decimal or `0x`.
pub(super) fn any_number(text: &str) -> Option<u32> {
    whole(text, decimal_or_hex)
}

/// `VALUE` or `VALUE/MASK`.
pub(super) fn number_and_mask(text: &str) -> Option<(u32, u32)> {
    let mask = nom::combinator::opt(preceded(tag("/"), decimal_or_hex));
    let (value, mask) = whole(text, (decimal_or_hex, mask))?;
    Some((value, mask.unwrap_or(u32::MAX)))
}

/// An IP address.
pub(super) fn addr(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// A prefix; a bare address is one of full length. Host bits may be set.
pub(super) fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| addr(text).map(IpNet::from))
}

/// A link's name as the kernel allows it (`dev_valid_name`), without the length limit.
pub(super) fn name(text: &str) -> Option<&str> {
    let fits = !text.is_empty() && text != "." && text != ".." && !text.contains('/');
    fits.then_some(text)
}
