//! Tokens of nft's language.

use alloc::vec::Vec;

use crate::text::line::{Span, Word, is_blank};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word.
    Word,
    /// A text between double quotes, quotes included.
    Text,
    /// `{`.
    Open,
    /// `}`.
    Close,
    /// `(` or `)`.
    Paren,
    /// `,`.
    Comma,
    /// `:` by itself.
    Colon,
    /// The end of a line, or `;`.
    End,
    /// `# handle N`: the word is the number.
    Handle,
    /// A quote that is not closed on its line.
    Unclosed,
}

/// A token and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    pub(super) span: Span,
}

impl<'t> Token<'t> {
    /// Its text, without quotes.
    pub(super) fn name(&self) -> &'t str {
        self.text.trim_matches('"')
    }

    pub(super) const fn word(self) -> Word<'t> {
        Word { text: self.text, span: self.span }
    }
}

/// Splits a text into tokens. Other comments are left out, and so is a backslash at the end of a line with that end.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut out = Vec::with_capacity(text.len() / 6);
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let (mut line, mut line_start) = (1, at);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let blank = rest.len() - rest.trim_start_matches(is_blank).len();
        if blank > 0 {
            at += blank;
            continue;
        }
        let (kind, length) = token(rest);
        let column = text.get(line_start..at).map_or(1, |before| before.chars().count() as u32 + 1);
        let span = Span { line, column, start: at, end: at + length };
        let piece = rest.get(..length).unwrap_or(rest);
        match kind {
            Some(kind) => out.push(Token { kind, text: piece, span }),
            None if piece.starts_with('#') => {
                let handle = piece.strip_prefix("# handle ").map(str::trim);
                out.extend(handle.map(|text| Token { kind: Kind::Handle, text, span }));
            }
            None => {}
        }
        if piece.ends_with('\n') {
            (line, line_start) = (line + 1, at + length);
        }
        at += length;
    }
    out
}

/// The kind of the token that a text begins with, and its length. `None` for what is skipped.
fn token(text: &str) -> (Option<Kind>, usize) {
    let first = text.chars().next().unwrap_or(' ');
    match first {
        '\n' | ';' => (Some(Kind::End), 1),
        '{' => (Some(Kind::Open), 1),
        '}' => (Some(Kind::Close), 1),
        '(' | ')' => (Some(Kind::Paren), 1),
        ',' => (Some(Kind::Comma), 1),
        '|' => (Some(Kind::Word), 1),
        ':' if text.get(1..).is_none_or(|rest| rest.starts_with(|c: char| is_blank(c) || c == '\n')) => {
            (Some(Kind::Colon), 1)
        }
        '#' => (None, text.find('\n').unwrap_or(text.len())),
        '\\' if text.starts_with("\\\n") => (None, 2),
        '"' => match text.get(1..).and_then(|rest| rest.find(['"', '\n'])) {
            Some(end) if text.get(1 + end..).is_some_and(|rest| rest.starts_with('"')) => {
                (Some(Kind::Text), end + 2)
            }
            Some(end) => (Some(Kind::Unclosed), end + 1),
            None => (Some(Kind::Unclosed), text.len()),
        },
        _ => {
            let ends =
                |c: char| is_blank(c) || matches!(c, '\n' | ';' | '{' | '}' | '(' | ')' | ',' | '"' | '|');
            let length = text.find(ends).unwrap_or(text.len()).max(first.len_utf8());
            // `0: …` is a key and a colon; `fd00::` is an address.
            let word = text.get(..length).unwrap_or(text);
            let key = word.strip_suffix(':').filter(|key| !key.is_empty() && !key.contains(':'));
            (Some(Kind::Word), key.map_or(length, str::len))
        }
    }
}
