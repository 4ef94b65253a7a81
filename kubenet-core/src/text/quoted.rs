//! Lines in which a word may be quoted, as `iptables-save` and `ipset save` print them.
//!
//! A word goes on over blanks between double quotes. A line that begins with `#` is a comment. Quotes end with their line.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::line::{Line, Span, Word, is_blank};
use super::reader::Fault;

/// What a backslash does between quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backslash {
    /// It takes the next character as it is (`iptables`).
    Escapes,
    /// Nothing (`ipset`).
    Stands,
}

/// Splits a text into lines, without empty ones and comments.
pub(super) fn lines(text: &str, backslash: Backslash) -> impl Iterator<Item = Result<Line<'_>, Fault>> {
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut number = 0;
    core::iter::from_fn(move || {
        loop {
            let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
            let piece = rest.split('\n').next().unwrap_or(rest);
            let start = at;
            at += piece.len() + 1;
            number += 1;
            let bare = piece.trim_start_matches(is_blank);
            if !bare.is_empty() && !bare.starts_with('#') {
                return Some(split(piece, number, start, backslash));
            }
        }
    })
}

fn split(piece: &str, line: u32, start: usize, backslash: Backslash) -> Result<Line<'_>, Fault> {
    // A dump of rules is mostly of this many words a line.
    let mut words: Vec<Word<'_>> = Vec::with_capacity(20);
    let (mut at, mut column) = (0, 1);
    while let Some(rest) = piece.get(at..) {
        let blank = rest.len() - rest.trim_start_matches(is_blank).len();
        (at, column) = (at + blank, column + blank as u32);
        let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) else { break };
        let (length, closed) = word(rest, backslash);
        let text = rest.get(..length).unwrap_or(rest);
        let span = Span { line, column, start: start + at, end: start + at + length };
        if !closed {
            return Err(Fault::new(span, "a quote is not closed on its line"));
        }
        words.push(Word { text, span });
        at += length;
        column += if text.is_ascii() { length as u32 } else { text.chars().count() as u32 };
    }
    let span = match (words.first(), words.last()) {
        (Some(first), Some(last)) => Span { end: last.span.end, ..first.span },
        (None, _) | (_, None) => Span { line, column: 1, start, end: start + piece.len() },
    };
    Ok(Line::from_words(words, span))
}

/// How long the word is that a text begins with, and whether its quotes are closed.
fn word(text: &str, backslash: Backslash) -> (usize, bool) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted && backslash == Backslash::Escapes => escaped = true,
            b'"' => quoted = !quoted,
            _ if !quoted && is_blank(char::from(byte)) => return (at, true),
            _ => {}
        }
    }
    (text.len(), !quoted)
}

/// A word without its quotes, its characters as they are printed ([`on_one_line`]).
pub(super) fn unquote(word: &str, backslash: Backslash) -> Cow<'_, str> {
    if !word.contains('"') {
        return Cow::Borrowed(word);
    }
    let inner = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(inner) = inner.filter(|inner| !inner.contains(['"', '\\', '\r', '\0'])) {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(word.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in word.chars() {
        match c {
            _ if escaped => {
                out.push(on_one_line(c));
                escaped = false;
            }
            '\\' if quoted && backslash == Backslash::Escapes => escaped = true,
            '"' => quoted = !quoted,
            _ => out.push(on_one_line(c)),
        }
    }
    Cow::Owned(out)
}

/// A character of a name or a comment, or a blank if it would end the line that it stands on.
pub(super) const fn on_one_line(c: char) -> char {
    if matches!(c, '\n' | '\r' | '\0') { ' ' } else { c }
}

/// A word with its quotes, to be printed as it is.
pub(super) fn verbatim(word: &str) -> String {
    word.chars().map(on_one_line).collect()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn words(text: &str, backslash: Backslash) -> Vec<Vec<String>> {
        let words = |mut line: Line<'_>| {
            core::iter::from_fn(|| line.next())
                .map(|word| unquote(word.text, backslash).into_owned())
                .collect()
        };
        lines(text, backslash).map(|line| line.map_or_else(|_| Vec::new(), words)).collect()
    }

    #[test]
    fn quotes_hold_blanks_together_and_backslashes_hold_quotes() {
        let text = "\u{feff}# a\n a \"b c\"d \"\" \"\\\"\\\\\"\n\n\"open\nx\\ y#z\r\n";
        let read = words(text, Backslash::Escapes);
        assert_eq!(read, [vec!["a", "b cd", "", "\"\\"], vec![], vec!["x\\", "y#z"]]);
        assert_eq!(words("\"a \\\" b", Backslash::Stands), [vec!["a \\", "b"]]);
    }

    #[test]
    fn columns_count_characters() {
        let text = "é \"ü ü\" z";
        let line = lines(text, Backslash::Escapes).next().expect("a line").expect("closed quotes");
        let mut line = line;
        let spans: Vec<_> =
            core::iter::from_fn(|| line.next()).map(|w| (w.span.column, w.span.start)).collect();
        assert_eq!(spans, [(1, 0), (3, 3), (9, 11)]);
    }
}
