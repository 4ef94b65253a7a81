//! From the bytes of a source to text, and from a byte's offset to its line and column.
//!
//! In: bytes. Out: [`Text`]s, the parts of the source that are worth reading, each valid UTF-8. `kubectl cluster-info dump` without
//! `--output-directory` prints the logs of all containers between the objects, each between `==== START logs …` and
//! `==== END logs …` (`cluster_info_dump.go` in kubectl): those are left out, whatever bytes they hold.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::origin::{Diagnostic, Location};

/// The line before the logs of a container.
pub(super) const LOGS_START: &str = "==== START logs for container ";
const LOGS_END: &str = "==== END logs for container ";

/// A part of a source.
#[derive(Debug)]
pub(super) struct Text<'a> {
    /// The source's name.
    pub(super) file: Arc<str>,
    /// The part.
    pub(super) text: &'a str,
    /// Where it starts in the source.
    start: Position,
    cursor: Position,
}

/// A place in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    offset: usize,
    line: u32,
    column: u32,
}

impl Position {
    const START: Self = Self { offset: 0, line: 1, column: 1 };

    /// The place behind some bytes.
    fn after(self, bytes: &[u8]) -> Self {
        let characters = |bytes| count(bytes, |b| b & 0xc0 != 0x80);
        let offset = self.offset + bytes.len();
        let lines = count(bytes, |b| b == b'\n');
        if lines == 0 {
            return Self { offset, line: self.line, column: self.column.saturating_add(characters(bytes)) };
        }
        let last = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
        Self { offset, line: self.line.saturating_add(lines), column: characters(&bytes[last..]) + 1 }
    }
}

/// Counts bytes, in pieces that a register of bytes can sum up.
fn count(bytes: &[u8], is: impl Fn(u8) -> bool) -> u32 {
    bytes.chunks(255).map(|piece| u32::from(piece.iter().map(|&b| u8::from(is(b))).sum::<u8>())).sum()
}

impl<'a> Text<'a> {
    /// What starts at an offset, as a text of its own.
    pub(super) fn tail(&self, offset: usize) -> Self {
        let start = self.position(offset);
        Self { file: self.file.clone(), text: &self.text[offset..], start, cursor: start }
    }

    /// A part, as a text of its own.
    pub(super) fn slice(&self, start: usize, end: usize) -> Self {
        Self { text: &self.text[start..end], ..self.tail(start) }
    }

    /// The place of a range of [`Self::text`]. Cheap when places are asked for in order.
    pub(super) fn location(&mut self, start: usize, end: usize) -> Location {
        self.cursor = self.position(start);
        self.place(self.cursor, end.saturating_sub(start))
    }

    /// The same without moving on: for places that are asked for out of order.
    pub(super) fn look_up(&self, start: usize, end: usize) -> Location {
        self.place(self.position(start), end.saturating_sub(start))
    }

    fn position(&self, offset: usize) -> Position {
        let here = self.cursor.offset - self.start.offset;
        let from = if here <= offset { self.cursor } else { self.start };
        let bytes = self.text.as_bytes();
        from.after(&bytes[from.offset - self.start.offset..offset.min(bytes.len())])
    }

    fn place(&self, position: Position, len: usize) -> Location {
        let Position { offset, line, column } = position;
        let end = (offset + len).min(self.start.offset + self.text.len());
        Location { file: self.file.clone(), line, column, start: offset, end: end.max(offset) }
    }
}

/// Splits a source into the parts that are worth reading.
pub(super) fn texts<'a>(file: &Arc<str>, bytes: &'a [u8], log: &mut Vec<Diagnostic>) -> Vec<Text<'a>> {
    let bytes_at = |position: Position| {
        let Position { offset, line, column } = position;
        Some(Location { file: file.clone(), line, column, start: offset, end: offset + 1 })
    };
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        log.push(
            Diagnostic::error("encoding", format!("{file} is UTF-16, not UTF-8"))
                .at(bytes_at(Position::START))
                .help(format!("convert it: iconv -f UTF-16 -t UTF-8 {file}; PowerShell writes UTF-8 with '| Out-File -Encoding utf8'")),
        );
        return Vec::new();
    }
    let mut position = Position::START;
    let mut rest = bytes;
    if let Some(after) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        (rest, position.offset) = (after, 3);
    }
    // Most sources are one text. JSON has its own way to deal with the rest.
    if let Ok(text) = core::str::from_utf8(rest) {
        let start = text.trim_start();
        if start.is_empty() {
            return Vec::new();
        }
        if start.starts_with(['{', '[']) || !(text.contains('\0') || text.contains(LOGS_START)) {
            return alloc::vec![Text { file: file.clone(), text, start: position, cursor: position }];
        }
    }
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let end = line_start(rest, LOGS_START).unwrap_or(rest.len());
        for part in readable(&rest[..end], position, file, log) {
            let start = position.after(&rest[..part.0]);
            texts.push(Text { file: file.clone(), text: part.1, start, cursor: start });
        }
        let logs = &rest[end..];
        let skipped = logs_len(logs);
        position = position.after(&rest[..end + skipped]);
        rest = &logs[skipped..];
    }
    texts
}

/// How many bytes the logs of a container have that a text starts with, the lines around them included; all if they have no end.
pub(super) fn logs_len(bytes: &[u8]) -> usize {
    let Some(last) = line_start(bytes, LOGS_END) else { return bytes.len() };
    bytes[last..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |end| last + end + 1)
}

/// The parts of a part that are text: all of it, or the documents without a bad byte. Each with its offset.
fn readable<'a>(
    bytes: &'a [u8],
    position: Position,
    file: &Arc<str>,
    log: &mut Vec<Diagnostic>,
) -> Vec<(usize, &'a str)> {
    let nul = bytes.iter().position(|&b| b == 0);
    if nul.is_none()
        && let Ok(text) = core::str::from_utf8(bytes)
    {
        return if text.trim().is_empty() { Vec::new() } else { alloc::vec![(0, text)] };
    }
    let (mut good, mut from, mut told) = (Vec::new(), 0, 0);
    while from < bytes.len() {
        let len = line_start(&bytes[from + 1..], "---").map_or(bytes.len() - from, |next| next + 1);
        let document = &bytes[from..from + len];
        let nul = document.iter().position(|&b| b == 0);
        let utf8 = core::str::from_utf8(document);
        let bad = match (&utf8, nul) {
            (Ok(_), None) => None,
            (Ok(_), Some(nul)) => Some((nul, "is a NUL byte".into())),
            (Err(error), nul) => {
                let at = error.valid_up_to().min(nul.unwrap_or(usize::MAX));
                Some((at, format!("is 0x{:02x}, which is not UTF-8 there", document[at])))
            }
        };
        match (bad, utf8) {
            (None, Ok(text)) => good.push((from, text)),
            (None, Err(_)) => {}
            (Some((at, what)), _) => {
                told += 1;
                if told == 1 {
                    let place = position.after(&bytes[..from + at]);
                    let Position { offset, line, column } = place;
                    let location =
                        Location { file: file.clone(), line, column, start: offset, end: offset + 1 };
                    log.push(
                        Diagnostic::error("encoding", format!("{file} is not text: byte {offset} {what}"))
                            .at(Some(location))
                            .help("documents with such bytes are left out; archives must be unpacked first"),
                    );
                }
            }
        }
        from += len;
    }
    good
}

/// Where the first line starts that begins with some bytes.
fn line_start(bytes: &[u8], prefix: &str) -> Option<usize> {
    if bytes.starts_with(prefix.as_bytes()) {
        return Some(0);
    }
    let mut from = 0;
    while let Some(newline) = bytes[from..].iter().position(|&b| b == b'\n') {
        from += newline + 1;
        if bytes[from..].starts_with(prefix.as_bytes()) {
            return Some(from);
        }
    }
    None
}
