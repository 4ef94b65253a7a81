//! Reads serde types from a [`Tree`].
//!
//! In: a node. Out: the value, or a [`Fault`] that knows its node. What fits which type is decided as kubectl decides: `null` is
//! the zero value of whatever is expected (Go's `encoding/json`), `80.0` is the whole number 80, a number or boolean is no text.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::scalar::Scalar;
use super::tree::{Kind, NodeId, Tree};

/// Why a node cannot be read.
#[derive(Debug)]
pub(super) struct Fault {
    /// Which node.
    pub(super) node: Option<NodeId>,
    /// What is wrong, to follow the field's name: `is 80000, …`.
    pub(super) message: String,
    /// What to write instead.
    pub(super) help: Option<String>,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self { node: None, message: message.into(), help: None }
    }

    fn at(mut self, node: NodeId) -> Self {
        self.node.get_or_insert(node);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("is {}, not {expected}", shown(unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("is '{variant}'; use {}", expected.join(" or ")))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("is no field here; use one of {}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("lacks {field}"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("has {field} twice, or under its old and its new name"))
    }
}

/// A value in words. Texts are not shown: they could be anything.
fn shown(unexpected: Unexpected<'_>) -> Cow<'static, str> {
    match unexpected {
        Unexpected::Bool(value) => format!("the boolean {value}").into(),
        Unexpected::Unsigned(value) => value.to_string().into(),
        Unexpected::Signed(value) => value.to_string().into(),
        Unexpected::Float(value) => value.to_string().into(),
        Unexpected::Unit | Unexpected::Option => "null".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a mapping".into(),
        Unexpected::Char(_)
        | Unexpected::Str(_)
        | Unexpected::Bytes(_)
        | Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => "text".into(),
    }
}

/// A node to read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'de, 'a> {
    pub(super) tree: &'de Tree<'a>,
    pub(super) id: NodeId,
}

impl<'de, 'a> At<'de, 'a> {
    fn fault(self, expected: &str) -> Fault {
        let is = match self.tree.scalar(self.id) {
            Some(scalar) => self.scalar_words(scalar),
            None => match self.tree.node(self.id).kind {
                Kind::Seq => "a list".into(),
                Kind::Map => "a mapping".into(),
                Kind::Plain | Kind::Quoted | Kind::Bad => "unusable".into(),
            },
        };
        Fault::new(format!("is {is}, not {expected}")).at(self.id)
    }

    fn scalar_words(self, scalar: Scalar<'_>) -> Cow<'static, str> {
        let text = self.tree.text(self.id);
        match scalar {
            Scalar::Null => "null".into(),
            Scalar::Bool(value) if text.eq_ignore_ascii_case(if value { "true" } else { "false" }) => {
                format!("the boolean {text}").into()
            }
            Scalar::Bool(_) => format!("the boolean that YAML 1.1 makes of an unquoted {text}").into(),
            Scalar::Int(_) | Scalar::UInt(_) | Scalar::Float(_) => format!("the number {text}").into(),
            Scalar::Text("") => "empty text".into(),
            // A short word helps to find it; a long text does not.
            Scalar::Text(word) if word.len() <= 24 => format!("the text \"{}\"", word.escape_debug()).into(),
            Scalar::Text(_) => "text".into(),
        }
    }

    /// A boolean or number where text is needed.
    fn not_text(self, scalar: Scalar<'_>) -> Fault {
        let text = self.tree.text(self.id);
        let help = match scalar {
            Scalar::Bool(_) => format!(
                "write \"{text}\": kubectl reads YAML 1.1, where unquoted y, n, yes, no, on, off, true and false are booleans"
            ),
            Scalar::Null | Scalar::Int(_) | Scalar::UInt(_) | Scalar::Float(_) | Scalar::Text(_) => {
                format!("write \"{text}\"")
            }
        };
        Fault { help: Some(help), ..self.fault("text") }
    }

    fn whole(self) -> Result<Option<i128>, Fault> {
        match self.tree.scalar(self.id) {
            Some(Scalar::Null) => Ok(Some(0)),
            Some(Scalar::Int(number)) => Ok(Some(number.into())),
            Some(Scalar::UInt(number)) => Ok(Some(number.into())),
            Some(Scalar::Float(number)) => Ok(whole(number).map(i128::from)),
            Some(Scalar::Text(text)) if text.parse::<i128>().is_ok() => {
                let help = format!("write {text} without quotes");
                Err(Fault { help: Some(help), ..self.fault("a number") })
            }
            Some(Scalar::Bool(_) | Scalar::Text(_)) | None => Err(self.fault("a number")),
        }
    }
}

/// A float that JSON would print without a fraction.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let inside = (-EXACT..=EXACT).contains(&number);
    (inside && number as i64 as f64 == number).then_some(number as i64)
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let range = || format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
            let number = self.whole()?.and_then(|number| <$type>::try_from(number).ok());
            let number = number.ok_or_else(|| self.fault(&range()))?;
            visitor.$visit(number).map_err(|fault: Fault| fault.at(self.id))
        }
    )+};
}

impl<'de, 'a> Deserializer<'de> for At<'de, 'a> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value = match self.tree.scalar(self.id) {
            Some(Scalar::Null) => visitor.visit_unit(),
            Some(Scalar::Bool(value)) => visitor.visit_bool(value),
            Some(Scalar::Int(number)) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(number),
            },
            Some(Scalar::UInt(number)) => visitor.visit_u64(number),
            Some(Scalar::Float(number)) => match whole(number) {
                Some(number) => visitor.visit_i64(number),
                None if number.is_finite() => visitor.visit_f64(number),
                None => Err(self.fault("a finite number, and JSON knows no other")),
            },
            Some(Scalar::Text(text)) => visitor.visit_borrowed_str(text),
            None => match self.tree.node(self.id).kind {
                Kind::Seq => return self.deserialize_seq(visitor),
                Kind::Map => return self.deserialize_map(visitor),
                Kind::Plain | Kind::Quoted | Kind::Bad => Err(self.fault("a value")),
            },
        };
        value.map_err(|fault: Fault| fault.at(self.id))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value = match self.tree.scalar(self.id) {
            Some(Scalar::Bool(value)) => value,
            Some(Scalar::Null) => false,
            Some(Scalar::Int(_) | Scalar::UInt(_) | Scalar::Float(_) | Scalar::Text(_)) | None => {
                return Err(self.fault("true or false"));
            }
        };
        visitor.visit_bool(value).map_err(|fault: Fault| fault.at(self.id))
    }

    integers! {
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_i128 visit_i128 i128, deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let number = match self.tree.scalar(self.id) {
            Some(Scalar::Float(number)) => number,
            Some(Scalar::Int(number)) => number as f64,
            Some(Scalar::UInt(number)) => number as f64,
            Some(Scalar::Null) => 0.0,
            Some(Scalar::Bool(_) | Scalar::Text(_)) | None => return Err(self.fault("a number")),
        };
        visitor.visit_f64(number).map_err(|fault: Fault| fault.at(self.id))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let text = match self.tree.scalar(self.id) {
            Some(Scalar::Text(text)) => text,
            Some(Scalar::Null) => "",
            Some(scalar @ (Scalar::Bool(_) | Scalar::Int(_) | Scalar::UInt(_) | Scalar::Float(_))) => {
                return Err(self.not_text(scalar));
            }
            None => return Err(self.fault("text")),
        };
        visitor.visit_borrowed_str(text).map_err(|fault: Fault| fault.at(self.id))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.tree.scalar(self.id) == Some(Scalar::Null) {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let (at, end) = match self.tree.node(self.id).kind {
            Kind::Seq => (self.id + 1, self.tree.node(self.id).next),
            Kind::Plain if self.tree.scalar(self.id) == Some(Scalar::Null) => (0, 0),
            Kind::Plain | Kind::Quoted | Kind::Map | Kind::Bad => return Err(self.fault("a list")),
        };
        visitor.visit_seq(Items { tree: self.tree, at, end }).map_err(|fault: Fault| fault.at(self.id))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let (at, end) = match self.tree.node(self.id).kind {
            Kind::Map => (self.id + 1, self.tree.node(self.id).next),
            Kind::Plain if self.tree.scalar(self.id) == Some(Scalar::Null) => (0, 0),
            Kind::Plain | Kind::Quoted | Kind::Seq | Kind::Bad => return Err(self.fault("a mapping")),
        };
        visitor.visit_map(Items { tree: self.tree, at, end }).map_err(|fault: Fault| fault.at(self.id))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Some(Scalar::Text(text)) = self.tree.scalar(self.id) else { return Err(self.fault("a word")) };
        let word: de::value::StrDeserializer<'_, Fault> = text.into_deserializer();
        visitor.visit_enum(word).map_err(|fault: Fault| fault.at(self.id))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { u128 bytes byte_buf unit unit_struct identifier }
}

/// The children of a sequence or mapping that are not dropped.
struct Items<'de, 'a> {
    tree: &'de Tree<'a>,
    at: NodeId,
    end: NodeId,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        while self.at < self.end {
            let (id, node) = (self.at, self.tree.node(self.at));
            self.at = node.next;
            if !node.dropped {
                let item = seed.deserialize(At { tree: self.tree, id });
                return item.map(Some).map_err(|fault| fault.at(id));
            }
        }
        Ok(None)
    }
}

impl<'de> MapAccess<'de> for Items<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        while self.at < self.end {
            let (id, node) = (self.at, self.tree.node(self.at));
            self.at = node.next;
            if !node.dropped {
                let key = BorrowedStrDeserializer::<Fault>::new(self.tree.text(id));
                return seed.deserialize(key).map(Some).map_err(|fault| fault.at(id));
            }
            self.at = self.tree.node(self.at).next;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        if self.at >= self.end {
            return Err(Fault::custom("has a key without a value"));
        }
        let id = self.at;
        self.at = self.tree.node(id).next;
        seed.deserialize(At { tree: self.tree, id }).map_err(|fault| fault.at(id))
    }
}
