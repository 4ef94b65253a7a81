//! The JSON of `ip -j`: an array of objects, each with its place, and a writer that keeps the order of the fields.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::line::Span;
use super::reader::{Fault, Reader};

/// A JSON object and its place.
pub(super) struct Object {
    pub(super) map: Map<String, Value>,
    pub(super) span: Span,
}

/// The objects of a JSON array. What is not one is told.
pub(super) fn objects(text: &str, reader: &mut Reader) -> Vec<Object> {
    let bare = text.trim_start_matches('\u{feff}');
    if bare.trim().is_empty() {
        return Vec::new(); // some versions print nothing for an empty table
    }
    let skipped = text.len() - bare.len();
    let text = bare;
    let raws: Vec<&RawValue> = match serde_json::from_str(text) {
        Ok(raws) => raws,
        Err(error) => {
            reader.fault(Fault::new(place_of(text, &error), error.to_string()));
            return Vec::new();
        }
    };
    let mut cursor = Cursor::new(text);
    let mut out = Vec::with_capacity(raws.len());
    for raw in raws {
        let mut span = cursor.of(raw);
        (span.start, span.end) = (span.start + skipped, span.end + skipped);
        match serde_json::from_str(raw.get()) {
            // `ip -j` prints `{}` for what a filter leaves out.
            Ok(Value::Object(map)) if map.is_empty() => {}
            Ok(Value::Object(map)) => out.push(Object { map, span }),
            Ok(_) => reader.fault(Fault::new(span, "this element is not an object")),
            Err(error) => reader.fault(Fault::new(span, error.to_string())),
        }
    }
    out
}

/// Whether a text is JSON rather than plain lines.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim_start().starts_with(['[', '{'])
}

pub(super) fn place_of(text: &str, error: &serde_json::Error) -> Span {
    let line = error.line().max(1);
    let line_start = text.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
    let end = text.len();
    let start = (line_start + error.column().saturating_sub(1)).min(end);
    let column = text.get(line_start..start).map_or(error.column(), |before| before.chars().count() + 1);
    Span { line: line as u32, column: column as u32, start, end: end.min(start + 1) }
}

/// Finds the lines and columns of elements, from first to last, in one pass over the text.
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    column: u32,
}

impl<'t> Cursor<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, at: 0, line: 1, column: 1 }
    }

    /// The place of an element, which is a slice of the text.
    pub(super) fn of(&mut self, raw: &RawValue) -> Span {
        let start = (raw.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        for c in self.text.get(self.at..start).unwrap_or("").chars() {
            if c == '\n' {
                (self.line, self.column) = (self.line + 1, 1);
            } else {
                self.column += 1;
            }
        }
        self.at = start.max(self.at);
        Span { line: self.line, column: self.column, start, end: start + raw.get().len() }
    }
}

/// A scalar as the word that the plain form prints; `None` for arrays and objects.
pub(super) fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(String::from(if *on { "on" } else { "off" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Writes one object, fields in the order of the calls.
#[derive(Debug, Default)]
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn raw(&mut self, key: &str, value: impl Display) -> &mut Self {
        let before = if self.0.is_empty() { "{" } else { "," };
        self.0.push_str(&alloc::format!("{before}{}:{value}", quoted(key)));
        self
    }

    pub(super) fn text(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.raw(key, quoted(&value.to_string()))
    }

    /// A number as one, anything else as text.
    pub(super) fn scalar(&mut self, key: &str, value: &str) -> &mut Self {
        let number = value.parse::<i64>().ok().filter(|number| number.to_string() == value);
        match number {
            Some(number) => self.raw(key, number),
            None => self.text(key, value),
        }
    }

    pub(super) fn maybe(&mut self, key: &str, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    pub(super) fn words(&mut self, key: &str, words: &[&str]) -> &mut Self {
        self.raw(key, array(words.iter().map(|w| quoted(w))))
    }

    pub(super) fn end(&mut self) -> String {
        let mut out = core::mem::take(&mut self.0);
        out.push_str(if out.is_empty() { "{}" } else { "}" });
        out
    }
}

/// `[a,b]`.
pub(super) fn array(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    alloc::format!("[{}]", items.join(","))
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
