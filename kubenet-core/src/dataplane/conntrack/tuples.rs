//! The hash table from tuples to entries. Tuples of IPv4 are packed, so that a look-up among a million touches few cache lines.

use core::net::IpAddr;

use crate::dataplane::netfilter::Tuple;
use crate::dataplane::netns::Map;

/// Set in a value: the tuple is the original one of its entry.
const ORIGINAL: u32 = 1 << 31;

/// Addresses, ports and protocol of an IPv4 tuple.
type Packed = [u32; 4];

/// Both tuples of every entry: its place, and whether it is the original one.
#[derive(Debug, Default)]
pub(super) struct Tuples {
    v4: Map<Packed, u32>,
    others: Map<Tuple, u32>,
}

impl Tuples {
    #[inline]
    pub(super) fn get(&self, tuple: &Tuple) -> Option<(u32, bool)> {
        let value = *match packed(tuple) {
            Some(packed) => self.v4.get(&packed)?,
            None => self.others.get(tuple)?,
        };
        Some((value & !ORIGINAL, value & ORIGINAL != 0))
    }

    pub(super) fn insert(&mut self, tuple: Tuple, (id, original): (u32, bool)) {
        let value = if original { id | ORIGINAL } else { id };
        match packed(&tuple) {
            Some(packed) => self.v4.insert(packed, value),
            None => self.others.insert(tuple, value),
        };
    }

    /// Removes a tuple if it belongs to this entry.
    pub(super) fn remove_of(&mut self, tuple: &Tuple, id: u32) {
        if self.get(tuple).is_none_or(|(other, _)| other != id) {
            return;
        }
        match packed(tuple) {
            Some(packed) => self.v4.remove(&packed),
            None => self.others.remove(tuple),
        };
    }
}

#[inline]
fn packed(tuple: &Tuple) -> Option<Packed> {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (tuple.src, tuple.dst) else { return None };
    let ports = u32::from(tuple.sport) << 16 | u32::from(tuple.dport);
    Some([src.to_bits(), dst.to_bits(), ports, u32::from(tuple.protocol)])
}
