//! JSON: straight into the types, and into a tree only where something is wrong.
//!
//! In: a text that starts with a JSON value. Out: objects, handed to the [`Sink`]. Values follow one another, with or without `---`
//! between them (`kubectl cluster-info dump`, JSON lines). Where a value is cut off or broken, its complete items are
//! kept and reading goes on at the next line that starts with a brace.

use alloc::format;
use alloc::string::String;
use core::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny};

use super::json_seed::{DocumentSeed, Found, Named, Peek};
use super::json_tree::Builder;
use super::object::{Head, ListHead, Route, Sink, complete, known};
use super::text::{LOGS_START, Text, logs_len};
use super::tree::Tree;
use super::{group, json_stream, template, yaml};
use crate::k8s::AnyObject;
use crate::k8s::types::ObjectMeta;
use crate::origin::Diagnostic;

/// How deep lists may lie in lists.
const LISTS: usize = 8;

/// Reads values; gives back where the text goes on with something else.
pub(super) fn read<'a>(text: &mut Text<'a>, sink: &mut Sink<'_>) -> Option<usize> {
    let all = text.text;
    let mut at = 0;
    loop {
        at += all[at..].len() - all[at..].trim_start().len();
        let rest = &all[at..];
        if let Some(after) = rest.strip_prefix("---")
            && after.is_empty() | after.starts_with(['\n', '\r', ' '])
        {
            at += 3;
            continue;
        }
        if rest.is_empty() {
            return None;
        }
        if rest.starts_with(LOGS_START) {
            at += logs_len(rest.as_bytes());
            continue;
        }
        if !rest.starts_with(['{', '[']) || rest.starts_with("{{") {
            return Some(at);
        }
        if let Some(read) = json_stream::list(text, rest, sink) {
            at += read;
            continue;
        }
        let mut found = Found::default();
        let mut json = serde_json::Deserializer::from_str(rest);
        let result = DocumentSeed(&mut found).deserialize(&mut json);
        let end = at + json.into_iter::<IgnoredAny>().byte_offset();
        match result {
            Ok(()) => {
                document(text, sink, &all[at..end], found, None, 0);
                at = end;
            }
            Err(error) => {
                // A mapping in braces that is YAML and not JSON.
                if !sink.hint.json && !error.is_eof() && yaml::is_good(rest) {
                    return Some(at);
                }
                if template::is_template(rest) {
                    return Some(at);
                }
                let place = at + offset(rest, error.line(), error.column());
                let location = text.location(place, place + 1);
                let what = match error.is_eof() {
                    true => "it ends in the middle".into(),
                    false => strip_position(&format!("{error}")),
                };
                let kept = match found.items.len() {
                    0 => String::new(),
                    complete => format!("; the complete items before it are loaded ({complete})"),
                };
                let message = format!("not JSON: {what}{kept}");
                sink.broken(|| Diagnostic::error("json-syntax", message).at(Some(location)));
                if found.is_list {
                    document(text, sink, "", found, None, 0);
                }
                if sink.gives_up() {
                    return None;
                }
                match all[place.max(at + 1) - 1..].find("\n{") {
                    Some(next) => at = place.max(at + 1) + next,
                    None => return None,
                }
            }
        }
    }
}

/// Hands on what a document holds.
fn document<'a>(
    text: &mut Text<'a>,
    sink: &mut Sink<'_>,
    whole: &'a str,
    found: Found<'a>,
    list: Option<&ListHead<'_>>,
    depth: usize,
) {
    let Found { kind, api_version, items, is_list, is_array } = found;
    let kind = kind.as_deref();
    let is_list = is_list && (is_array || kind.is_none_or(|kind| kind.ends_with("List")));
    if !is_list || depth > LISTS {
        return object(text, sink, whole, kind, api_version.as_deref(), list);
    }
    let of = match kind {
        Some(kind) => sink.item_kind(kind, api_version.as_deref()),
        None => sink.hinted_kind(),
    };
    if kind.is_none() && of.is_none() && items.is_empty() && !is_array {
        return object(text, sink, whole, kind, api_version.as_deref(), list);
    }
    let of = ListHead { kind: of.as_deref(), api_version: api_version.as_deref() };
    for item in items {
        let item = item.get();
        let mut peek = Peek::default();
        // Stops at once when both are known.
        let _ = serde_json::Deserializer::from_str(item).deserialize_any(&mut peek);
        if peek.kind.as_deref().is_some_and(|kind| kind.ends_with("List")) {
            let mut found = Found::default();
            if DocumentSeed(&mut found).deserialize(&mut serde_json::Deserializer::from_str(item)).is_ok() {
                document(text, sink, item, found, Some(&of), depth + 1);
                continue;
            }
        }
        let kind = peek.kind.as_deref().or(of.kind);
        let api_version = peek.api_version.as_deref().or(of.api_version);
        object(text, sink, item, kind, api_version, Some(&of));
    }
}

/// Hands on one object.
fn object<'a>(
    text: &mut Text<'a>,
    sink: &mut Sink<'_>,
    json: &'a str,
    kind: Option<&str>,
    api_version: Option<&str>,
    list: Option<&ListHead<'_>>,
) {
    let place = first_key(text.text, json);
    if let Some(kind) = kind
        && (api_version.is_some() || list.is_some())
    {
        if let Some(kind) = known(kind).filter(|kind| api_version.is_none_or(|v| group::serves(v, kind))) {
            if typed(text, sink, json, place.clone(), kind) {
                return;
            }
        } else if !kind.ends_with("List")
            && kind != "Assumptions"
            && let Ok(named) = serde_json::from_str::<Named<'_>>(json)
        {
            let location = text.location(place.start, place.end);
            let (namespace, name) = (named.metadata.namespace.as_deref(), named.metadata.name.as_deref());
            let head = Head { kind, api_version, namespace, name, in_list: list.is_some() };
            if sink.route(&head, false, false, &location) == Route::Done {
                return;
            }
        }
    }
    let mut tree = Tree::new(text.text);
    let told = sink.log.len();
    let mut builder = Builder { tree: &mut tree, text: &*text, sink: &mut *sink };
    if builder.node(json, 1) {
        sink.object(text, &mut tree, 0, list, told);
    }
}

/// Reads an object straight into its type; whether there was nothing to say about it.
fn typed(
    text: &mut Text<'_>,
    sink: &mut Sink<'_>,
    json: &str,
    place: Range<usize>,
    kind: &'static str,
) -> bool {
    let options = sink.options();
    let origin =
        |metadata: &mut ObjectMeta| complete(kind, metadata, options, text.location(place.start, place.end));
    let mut json = serde_json::Deserializer::from_str(json);
    match AnyObject::deserialize(kind, origin, &mut json) {
        Some(Ok(object)) if is_named(&object) => sink.put(object),
        Some(_) | None => return false,
    }
    true
}

/// Whether an object has a name, and one that is no template's.
pub(super) fn is_named(object: &AnyObject) -> bool {
    let ObjectMeta { name, namespace, .. } = object.metadata();
    !name.is_empty() && !name.contains("{{") && !namespace.as_deref().is_some_and(|ns| ns.contains("{{"))
}

/// Where an object is said to stand: at its first key, with the quotes.
fn first_key(text: &str, object: &str) -> Range<usize> {
    let start = place_of(text, object);
    let Some(quote) = object.find('"') else { return start..start + 1 };
    let len = object[quote + 1..].find('"').unwrap_or(0);
    start + quote..start + quote + len + 2
}

/// Where a part of a text starts in it.
pub(super) fn place_of(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len())
}

/// The offset of a place that serde_json gives; its columns are bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start = match line {
        0 | 1 => 0,
        _ => text.bytes().enumerate().filter(|&(_, b)| b == b'\n').nth(line - 2).map_or(0, |(at, _)| at + 1),
    };
    (start + column.saturating_sub(1)).min(text.len())
}

fn strip_position(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).into()
}
