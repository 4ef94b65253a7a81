//! One case, and what a handler says of it.

use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::Value;

/// One fact to be checked.
#[derive(Debug)]
pub struct Case<'a> {
    /// The set: `facts/cidrset`, `dns/query`, `netpol/spec`.
    pub set: &'a str,
    /// Names the case within its corpus: file or folder, and the id or place in it.
    pub id: String,
    /// The list of its file that the case stands in, where a file holds several.
    pub list: Option<&'a str>,
    /// The case: a JSON line, an item of a YAML list, a whole YAML file, or the `case.json` of a folder.
    pub value: Value,
    /// The file that the case stands in, for what its cases share; null for JSON lines and folders.
    pub file: &'a Value,
    /// What the paths in a case are relative to, and where the files of a case folder lie.
    pub folder: &'a Path,
}

/// Judges the cases of a set.
///
/// A handler holds what its cases share (a world that was loaded once) behind a lock; most are plain functions.
pub trait Handler: Sync {
    /// Whether the library says what the case says.
    fn judge(&self, case: &Case<'_>) -> Judgement;
}

impl<F: Fn(&Case<'_>) -> Judgement + Sync> Handler for F {
    fn judge(&self, case: &Case<'_>) -> Judgement {
        self(case)
    }
}

/// Nothing, where a case passed.
pub type Judgement = Result<(), Fault>;

/// Why a case did not pass.
#[derive(Debug)]
pub enum Fault {
    /// The library says something else, in one or more places.
    Differs(Vec<Difference>),
    /// The case is not what its schema says.
    Malformed(String),
    /// The case asks for something that its set's handler does not know.
    Unsupported(String),
}

/// One place where the library and the case part.
#[derive(Debug)]
pub struct Difference {
    /// The place: `next`, `shop/web -> shop/db TCP 80`.
    pub at: String,
    /// What the case says.
    pub expected: String,
    /// What the library says.
    pub got: String,
}

impl Difference {
    /// A difference in words.
    pub fn new(at: impl Display, expected: impl Display, got: impl Display) -> Self {
        Self { at: at.to_string(), expected: expected.to_string(), got: got.to_string() }
    }
}

/// Holds one place to be as expected.
pub fn same<T: PartialEq + Debug>(at: &str, expected: &T, got: &T) -> Judgement {
    if expected == got {
        return Ok(());
    }
    let difference = Difference::new(at, format_args!("{expected:?}"), format_args!("{got:?}"));
    Err(Fault::Differs(vec![difference]))
}

impl Case<'_> {
    /// A field that need not be there; null counts as absent.
    pub fn optional(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// A field.
    ///
    /// # Errors
    ///
    /// [`Fault::Malformed`] where the case lacks it.
    pub fn field(&self, key: &str) -> Result<&Value, Fault> {
        self.value.get(key).ok_or_else(|| Fault::Malformed(format!("the case has no {key:?}")))
    }

    /// A field that is a number.
    ///
    /// # Errors
    ///
    /// [`Fault::Malformed`] where it is absent or something else.
    pub fn number(&self, key: &str) -> Result<u64, Fault> {
        let value = self.field(key)?;
        value.as_u64().ok_or_else(|| Fault::Malformed(format!("{key:?} is no number: {value}")))
    }

    /// A field that is a list.
    ///
    /// # Errors
    ///
    /// [`Fault::Malformed`] where it is absent or something else.
    pub fn items(&self, key: &str) -> Result<&[Value], Fault> {
        let value = self.field(key)?;
        value
            .as_array()
            .map(Vec::as_slice)
            .ok_or_else(|| Fault::Malformed(format!("{key:?} is no list: {value}")))
    }

    /// A field that is a prefix, as `10.0.0.0/8`.
    ///
    /// # Errors
    ///
    /// [`Fault::Malformed`] where it is absent or something else.
    pub fn net(&self, key: &str) -> Result<IpNet, Fault> {
        parse(self.field(key)?)
    }

    /// A field that is an address or null.
    ///
    /// # Errors
    ///
    /// [`Fault::Malformed`] where it is absent or something else.
    pub fn addr(&self, key: &str) -> Result<Option<IpAddr>, Fault> {
        self.field(key)?;
        self.optional(key).map(parse).transpose()
    }
}

/// A value that is written as text.
pub(super) fn parse<T: FromStr>(value: &Value) -> Result<T, Fault> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| {
        let wanted = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
        Fault::Malformed(format!("{value} is no {wanted}"))
    })
}
