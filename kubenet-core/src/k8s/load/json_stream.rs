//! A JSON list of objects without a fault, in one pass.
//!
//! In: a text that starts with a JSON value. Out: its objects, if it is a list of objects of which each says what it is before anything
//! else (as all servers and tools print them), or whose list does, and nothing is wrong with any. Else nothing, and
//! [`super::json`] reads the value again in a way that can tell what is wrong.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::group;
use super::json::{is_named, place_of};
use super::json_seed::{AnyText, Named};
use super::object::{Head, Route, Sink, complete, known};
use super::text::Text;
use crate::k8s::AnyObject;
use crate::k8s::types::ObjectMeta;

/// Reads a list; gives back how many bytes it has.
pub(super) fn list(text: &mut Text<'_>, json: &str, sink: &mut Sink<'_>) -> Option<usize> {
    let mark = sink.mark();
    let mut pass = Pass { text, sink, objects: Vec::new(), kind: None, api_version: None, is_list: false };
    let mut reader = serde_json::Deserializer::from_str(json);
    let read = reader.deserialize_any(&mut pass);
    let Pass { objects, kind, api_version, is_list, .. } = pass;
    if read.is_err() || !is_list {
        sink.reset(mark);
        return None;
    }
    match kind {
        Some(list) => drop(sink.item_kind(&list, api_version.as_deref())),
        None => drop(sink.hinted_kind()),
    }
    objects.into_iter().for_each(|object| sink.put(object));
    Some(reader.into_iter::<IgnoredAny>().byte_offset())
}

/// What is known on the way.
struct Pass<'p, 'a, 's> {
    text: &'p mut Text<'a>,
    sink: &'p mut Sink<'s>,
    objects: Vec<AnyObject>,
    kind: Option<String>,
    api_version: Option<String>,
    is_list: bool,
}

/// This way does not lead on.
fn no_way<E: Error>() -> E {
    E::custom("")
}

impl<'de> Visitor<'de> for &mut Pass<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(AnyText)? {
            match key.as_deref() {
                Some("kind") => self.kind = map.next_value_seed(AnyText)?.map(Into::into),
                Some("apiVersion") => self.api_version = map.next_value_seed(AnyText)?.map(Into::into),
                Some("metadata") => drop(map.next_value::<IgnoredAny>()?),
                Some("items") if !self.is_list => map.next_value_seed(Items(self))?,
                Some(_) | None => return Err(no_way()),
            }
            if self.kind.as_deref().is_some_and(|kind| !kind.ends_with("List")) {
                return Err(no_way());
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        Items(self).visit_seq(seq)
    }
}

/// The items of a list.
struct Items<'i, 'p, 'a, 's>(&'i mut Pass<'p, 'a, 's>);

impl<'de> DeserializeSeed<'de> for Items<'_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.is_list = true;
        while seq.next_element_seed(Item(self.0))?.is_some() {}
        Ok(())
    }
}

/// An item of a list.
struct Item<'i, 'p, 'a, 's>(&'i mut Pass<'p, 'a, 's>);

impl<'de> DeserializeSeed<'de> for Item<'_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Item<'_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Pass { text, sink, objects, kind: list, api_version: list_api_version, .. } = self.0;
        let (mut kind, mut api_version) = (None, None);
        let mut place = None;
        let first = loop {
            let Some(Some(Cow::Borrowed(key))) = map.next_key_seed(AnyText)? else { return Err(no_way()) };
            place.get_or_insert_with(|| {
                let start = place_of(text.text, key);
                start.saturating_sub(1)..start + key.len() + 1
            });
            match key {
                "kind" => kind = map.next_value_seed(AnyText)?,
                "apiVersion" => api_version = map.next_value_seed(AnyText)?,
                _ => break key,
            }
        };
        let place = place.unwrap_or(0..0);
        let rest = MapAccessDeserializer::new(Rest { first: Some(first), map });
        let of_list = match list {
            Some(list) => list.strip_suffix("List").filter(|kind| !kind.is_empty()),
            None => sink.hint.kind.as_deref(),
        };
        let (kind, api_version) = match (&kind, &api_version) {
            (Some(kind), Some(api_version)) => (&**kind, Some(&**api_version)),
            (None, None) => (of_list.ok_or_else(no_way)?, list_api_version.as_deref()),
            (Some(_), None) | (None, Some(_)) => return Err(no_way()),
        };
        let read = known(kind).filter(|kind| api_version.is_none_or(|v| group::serves(v, kind)));
        if let Some(kind) = read {
            let options = sink.options();
            let origin = |metadata: &mut ObjectMeta| {
                complete(kind, metadata, options, text.location(place.start, place.end))
            };
            return match AnyObject::deserialize(kind, origin, rest) {
                Some(Ok(object)) if is_named(&object) => {
                    objects.push(object);
                    Ok(())
                }
                Some(_) | None => Err(no_way()),
            };
        }
        if kind.ends_with("List") || kind == "Assumptions" {
            return Err(no_way());
        }
        let kind = String::from(kind);
        let api_version = api_version.map(String::from);
        let Named { metadata } = Named::deserialize(rest)?;
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        let head = Head { kind: &kind, api_version: api_version.as_deref(), namespace, name, in_list: true };
        match sink.route(&head, false, false, &text.location(place.start, place.end)) {
            Route::Done => Ok(()),
            Route::Typed(_) | Route::List | Route::Assumptions => Err(no_way()),
        }
    }
}

/// The entries of an object from one on whose key is read already. A late `kind` ends the pass.
struct Rest<'de, A> {
    first: Option<&'de str>,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let key = match self.first.take() {
            Some(key) => key,
            None => match self.map.next_key_seed(AnyText)? {
                Some(Some(Cow::Borrowed("kind" | "apiVersion"))) => return Err(no_way()),
                Some(Some(Cow::Borrowed(key))) => key,
                Some(_) => return Err(no_way()),
                None => return Ok(None),
            },
        };
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
