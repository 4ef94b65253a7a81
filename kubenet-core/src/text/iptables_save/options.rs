//! The options of one module or target, and the values in them.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::addr::Family;
use crate::plan::netfilter::PortRange;
use crate::plan::xt::{Inv, Masked};
use crate::text::line::{Span, any_number, net, number, number_and_mask};

/// An option with its values.
#[derive(Clone, Debug)]
pub(super) struct Opt<'t> {
    /// A `!` stands before it.
    pub(super) not: bool,
    /// Its name, `--dport`.
    pub(super) key: &'t str,
    /// What follows it.
    pub(super) values: Vec<Cow<'t, str>>,
    pub(super) span: Span,
}

impl Opt<'_> {
    /// The one value that it has.
    pub(super) fn one(&self) -> Option<&str> {
        match &*self.values {
            [value] => Some(value),
            _ => None,
        }
    }

    /// The one value, read, with the negation.
    pub(super) fn inv<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Option<Inv<T>> {
        Some(Inv { not: self.not, value: read(self.one()?)? })
    }

    /// The one value, read; no `!` may stand before.
    pub(super) fn plain<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        (!self.not).then(|| read(self.one()?)).flatten()
    }

    /// A flag without a value, that may be negated.
    pub(super) fn flag(&self) -> Option<Inv<()>> {
        self.values.is_empty().then_some(Inv { not: self.not, value: () })
    }

    /// A flag without a value that may not be negated.
    pub(super) fn set(&self) -> Option<bool> {
        (self.values.is_empty() && !self.not).then_some(true)
    }

    /// The option as words.
    pub(super) fn words(&self, out: &mut Vec<Arc<str>>) {
        out.extend(self.not.then(|| "!".into()));
        out.push(self.key.into());
        out.extend(self.values.iter().map(|value| Arc::from(&**value)));
    }
}

/// All options as words.
pub(super) fn words(options: &[Opt<'_>]) -> Vec<Arc<str>> {
    let mut out = Vec::new();
    options.iter().for_each(|option| option.words(&mut out));
    out
}

/// `80`, `1000:2000`, `:80`, `1024:`.
pub(super) fn ports(text: &str) -> Option<PortRange> {
    let Some((first, last)) = text.split_once(':') else { return number(text).map(PortRange::one) };
    let first = if first.is_empty() { 0 } else { number(first)? };
    let last = if last.is_empty() { u16::MAX } else { number(last)? };
    Some(PortRange { first, last })
}

/// `80` or `1000-2000`, as targets have it.
pub(super) fn nat_ports(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(PortRange { first: number(first)?, last: number(last)? })
}

/// `80` or `80:90`.
pub(super) fn print_ports(ports: PortRange, between: char) -> String {
    let PortRange { first, last } = ports;
    if first == last { alloc::format!("{first}") } else { alloc::format!("{first}{between}{last}") }
}

/// `a,b`, each read.
pub(super) fn list<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(read).collect()
}

/// A prefix of the family, also with a mask of bits: `10.0.0.0/255.0.0.0`.
pub(super) fn prefix(text: &str, family: Family) -> Option<IpNet> {
    let masked = || {
        let (addr, mask) = text.split_once('/')?;
        let (addr, mask): (Ipv4Addr, Ipv4Addr) = (addr.parse().ok()?, mask.parse().ok()?);
        Ipv4Net::with_netmask(addr, mask).ok().map(IpNet::V4)
    };
    net(text).or_else(masked).filter(|net| Family::of_net(*net) == family)
}

/// `10.0.0.1-10.0.0.9`, or one address.
pub(super) fn addr_range(text: &str) -> Option<(IpAddr, IpAddr)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
    (first.is_ipv4() == last.is_ipv4()).then_some((first, last))
}

/// `VALUE` or `VALUE/MASK`.
pub(super) fn masked(text: &str) -> Option<Masked> {
    number_and_mask(text).map(|(value, mask)| Masked { value, mask })
}

/// A mask alone.
pub(super) fn mask(text: &str) -> Option<u32> {
    any_number(text)
}

/// `5` or `5-7`.
pub(super) fn ids(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((number(first)?, number(last)?))
}
