//! A JSON value as a tree: the way of objects that the types cannot take as they are.
//!
//! In: a value that is known to be JSON. Out: nodes of a [`Tree`]. Each level is read by serde_json as raw values whose places in the
//! text are known, so that deep objects are read once per level; only faulty objects come this way.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::place_of;
use super::json_seed::AnyText;
use super::object::Sink;
use super::text::Text;
use super::tree::{Kind, NodeId, Tree};
use super::yaml_map;
use crate::origin::Diagnostic;

/// Makes a tree of a value that is known to be JSON.
pub(super) struct Builder<'b, 'a, 's> {
    pub(super) tree: &'b mut Tree<'a>,
    pub(super) text: &'b Text<'a>,
    pub(super) sink: &'b mut Sink<'s>,
}

impl<'a> Builder<'_, 'a, '_> {
    /// Adds a value; whether it is within the limits.
    pub(super) fn node(&mut self, json: &'a str, depth: usize) -> bool {
        let start = place_of(self.text.text, json);
        let limits = self.sink.limits;
        if depth > limits.depth || self.tree.end() as usize >= limits.nodes {
            let message = format!(
                "the object has more than {} levels or {} nodes: it is left out",
                limits.depth, limits.nodes
            );
            let location = self.text.look_up(start, start + 1);
            self.sink.log.push(Diagnostic::error("limit", message).at(Some(location)));
            return false;
        }
        let span = start..start + json.len();
        match json.as_bytes().first() {
            Some(b'{') => {
                let id = self.tree.open(start, Kind::Map);
                let entries: Entries<'a> = serde_json::from_str(json).unwrap_or_default();
                for (key, value) in &entries.0 {
                    match key {
                        Cow::Borrowed(key) => {
                            let at = place_of(self.text.text, key);
                            // The span has the quotes.
                            let span = at.saturating_sub(1)..at + key.len() + 1;
                            self.tree.push_borrowed(span, Kind::Quoted, at..at + key.len());
                        }
                        Cow::Owned(key) => {
                            let at = place_of(self.text.text, value.get());
                            self.tree.push_owned(at..at + 1, Kind::Quoted, key);
                        }
                    }
                    let skipped = key == "managedFields";
                    if !self.node(if skipped { "null" } else { value.get() }, depth + 1) {
                        return false;
                    }
                }
                self.tree.close(id);
                self.drop_repeated(id);
            }
            Some(b'[') => {
                let id = self.tree.open(start, Kind::Seq);
                let items: Vec<&'a RawValue> = serde_json::from_str(json).unwrap_or_default();
                for item in items {
                    if !self.node(item.get(), depth + 1) {
                        return false;
                    }
                }
                self.tree.close(id);
            }
            Some(b'"') => match serde_json::from_str::<Word<'_>>(json) {
                Ok(Word(Cow::Borrowed(text))) => {
                    let within = place_of(self.text.text, text);
                    self.tree.push_borrowed(span, Kind::Quoted, within..within + text.len());
                }
                Ok(Word(Cow::Owned(text))) => self.tree.push_owned(span, Kind::Quoted, &text),
                Err(_) => self.tree.push_owned(span, Kind::Bad, ""),
            },
            _ => self.tree.push_owned(span, Kind::Plain, json),
        }
        true
    }

    fn drop_repeated(&mut self, id: NodeId) {
        for (earlier, later) in self.tree.repeated(id) {
            self.tree.drop_node(earlier);
            self.sink.broken(|| yaml_map::repeated(self.tree, self.text, earlier, later));
        }
    }
}

#[derive(serde::Deserialize)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

/// The entries of an object, in order, with repetitions.
#[derive(Default)]
struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for Entries<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(key) = map.next_key_seed(AnyText)? {
            self.0.push((key.unwrap_or_default(), map.next_value()?));
        }
        Ok(self)
    }
}
