//! Values: what an expression comes to, and how it is compared with constants of the plan.

use alloc::sync::Arc;
use core::net::IpAddr;

use smallvec::SmallVec;

use crate::plan::nft::{Data, Value};

/// One part of a value; a concatenation has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Number(u64),
    Addr(IpAddr),
    Name(&'a str),
    /// A name from an element that was made for this look-up.
    Made(Arc<str>),
    /// From the first to the last, which a map may give to NAT.
    Numbers(u64, u64),
    Addrs(IpAddr, IpAddr),
}

/// What an expression comes to, part by part.
pub(super) type Parts<'a> = SmallVec<[Part<'a>; 4]>;

/// A part that is one thing: what hashes and compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scalar<'a> {
    /// A number or an address: what it is, and its bits.
    Bits(Kind, u128),
    Name(&'a str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Number,
    V4,
    V6,
}

/// A key, part by part.
pub(super) type Key<'a> = SmallVec<[Scalar<'a>; 4]>;

impl Part<'_> {
    pub(super) fn scalar(&self) -> Option<Scalar<'_>> {
        Some(match self {
            Part::Number(n) => Scalar::Bits(Kind::Number, (*n).into()),
            Part::Addr(addr) => bits_of(*addr),
            Part::Name(name) => Scalar::Name(name),
            Part::Made(name) => Scalar::Name(name),
            Part::Numbers(..) | Part::Addrs(..) => return None,
        })
    }
}

impl<'a> Part<'a> {
    /// A constant as a value.
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        Some(match value {
            Value::Number(n) => Part::Number(*n),
            Value::Addr(addr) => Part::Addr(*addr),
            Value::Prefix(net) => Part::Addrs(net.network(), net.broadcast()),
            Value::Range(first, last) => match (&**first, &**last) {
                (Value::Number(first), Value::Number(last)) => Part::Numbers(*first, *last),
                (Value::Addr(first), Value::Addr(last)) => Part::Addrs(*first, *last),
                _ => return None,
            },
            Value::Name(name) => symbol(name).map_or(Part::Name(name), Part::Number),
        })
    }

    /// The same, owning its name.
    pub(super) fn made<'b>(self) -> Part<'b> {
        match self {
            Part::Number(n) => Part::Number(n),
            Part::Addr(addr) => Part::Addr(addr),
            Part::Name(name) => Part::Made(name.into()),
            Part::Made(name) => Part::Made(name),
            Part::Numbers(first, last) => Part::Numbers(first, last),
            Part::Addrs(first, last) => Part::Addrs(first, last),
        }
    }

    /// As a constant of the plan.
    pub(super) fn value(&self) -> Value {
        let range = |first, last| Value::Range(alloc::boxed::Box::new(first), alloc::boxed::Box::new(last));
        match self {
            Part::Number(n) => Value::Number(*n),
            Part::Addr(addr) => Value::Addr(*addr),
            Part::Name(name) => Value::Name((*name).into()),
            Part::Made(name) => Value::Name(name.clone()),
            Part::Numbers(first, last) => range(Value::Number(*first), Value::Number(*last)),
            Part::Addrs(first, last) => range(Value::Addr(*first), Value::Addr(*last)),
        }
    }
}

/// What a map gives, as a value; `None` for a verdict.
pub(super) fn parts_of(data: &Data) -> Option<Parts<'_>> {
    match data {
        Data::Values(values) => values.iter().map(Part::of).collect(),
        Data::Verdict(_) => None,
    }
}

/// The key that parts make; `None` when one of them is a range.
pub(super) fn key_of<'a>(parts: &'a [Part<'_>]) -> Option<Key<'a>> {
    let mut key = Key::with_capacity(parts.len());
    for part in parts {
        key.push(part.scalar()?);
    }
    Some(key)
}

fn bits_of(addr: IpAddr) -> Scalar<'static> {
    match addr {
        IpAddr::V4(addr) => Scalar::Bits(Kind::V4, addr.to_bits().into()),
        IpAddr::V6(addr) => Scalar::Bits(Kind::V6, addr.to_bits()),
    }
}

/// Names of numbers that stand for an answer of `fib`.
fn symbol(name: &str) -> Option<u64> {
    const TYPES: [&str; 9] = [
        "unspec",
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
    ];
    match name {
        "missing" => Some(0),
        "exists" => Some(1),
        _ => TYPES.iter().position(|kind| *kind == name).map(|at| at as u64),
    }
}

/// A constant that is one thing.
pub(super) fn exact(value: &Value) -> Option<Scalar<'_>> {
    match value {
        Value::Name(name) => match symbol(name) {
            Some(number) => Some(Scalar::Bits(Kind::Number, number.into())),
            None => (!name.ends_with('*')).then_some(Scalar::Name(name)),
        },
        Value::Number(_) | Value::Addr(_) | Value::Prefix(_) | Value::Range(..) => {
            let (kind, first, last) = bounds(value)?;
            (first == last).then_some(Scalar::Bits(kind, first))
        }
    }
}

/// The first and the last number or address that a constant stands for; `None` for a name.
pub(super) fn bounds(value: &Value) -> Option<(Kind, u128, u128)> {
    let bits = |addr: IpAddr| match bits_of(addr) {
        Scalar::Bits(kind, bits) => (kind, bits),
        Scalar::Name(_) => (Kind::Number, 0),
    };
    match value {
        Value::Number(n) => Some((Kind::Number, (*n).into(), (*n).into())),
        Value::Addr(addr) => {
            let (kind, bits) = bits(*addr);
            Some((kind, bits, bits))
        }
        Value::Prefix(net) => {
            let (kind, first) = bits(net.network());
            Some((kind, first, bits(net.broadcast()).1))
        }
        Value::Range(first, last) => {
            let (kind, first, _) = bounds(first)?;
            let (other, _, last) = bounds(last)?;
            (kind == other).then_some((kind, first, last))
        }
        Value::Name(_) => None,
    }
}

/// Whether a part is what a constant stands for; `None` when the constant is a name whose number is not known. Only names of
/// links end in `*`.
pub(super) fn holds(part: Scalar<'_>, value: &Value) -> Option<bool> {
    match (part, value) {
        (Scalar::Name(part), Value::Name(name)) => Some(match name.strip_suffix('*') {
            Some(beginning) => part.starts_with(beginning),
            None => part == &**name,
        }),
        (Scalar::Name(_), _) => Some(false),
        (Scalar::Bits(kind, bits), Value::Name(name)) => {
            if name.ends_with('*') {
                return Some(false);
            }
            symbol(name).map(|number| kind == Kind::Number && bits == number.into())
        }
        (Scalar::Bits(kind, bits), value) => Some(
            bounds(value).is_some_and(|(other, first, last)| kind == other && (first..=last).contains(&bits)),
        ),
    }
}
