//! Sets and maps: which element holds a key.
//!
//! Elements without ranges are found by one hash look-up, ranges of one field by binary search. Of concatenations with
//! ranges the field that is exact in most elements is hashed, and the elements that share it are tried in turn. The answer
//! is the first element that a scan of all would find (`tests::a_look_up_means_what_a_scan_means`).
//!
//! Elements that packets add ([`Dynamic`]) live on virtual time, and no more than the set's size
//! (`nft_dynset.c nft_dynset_new`; 65,535 when none is given).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::HashTable;

use super::value::{self, Kind, Scalar};
use crate::plan::nft::{Data, Element, Set, Value};
use crate::time::{Duration, Instant};

/// The size of a dynamic set that has none.
const SIZE: u64 = 65_535;

/// What makes the elements of one set quick to look up.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct SetIndex {
    exact: HashTable<u32>,
    /// Ranges that do not overlap, in order.
    ranges: Vec<(Kind, u128, u128, u32)>,
    /// The field of a concatenation that is hashed, and the elements that have the same there.
    by: usize,
    buckets: HashTable<Vec<u32>>,
    /// Elements that are tried one by one.
    rest: Vec<u32>,
    /// `*`.
    wild: Option<u32>,
    /// The fields in which an element has a name, a bit for each: beside a number it is one whose number is not known.
    names: u64,
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This element.
    At(u32),
    /// None.
    None,
    /// None, but there are elements whose meaning is not known.
    NotKnown,
}

impl SetIndex {
    /// O(elements).
    pub(in super::super) fn new(elements: &[Element]) -> Self {
        let mut index = Self { by: hashed_field(elements), ..Self::default() };
        for (at, element) in (0_u32..).zip(elements) {
            let key: Option<value::Key<'_>> = element.key.iter().map(value::exact).collect();
            for (field, value) in (0..u64::BITS).zip(&element.key) {
                index.names |= u64::from(matches!(value::exact(value), Some(Scalar::Name(_)))) << field;
            }
            match (&element.key[..], key) {
                ([], _) => index.wild = index.wild.or(Some(at)),
                (_, Some(key)) => index.add_exact(elements, &key, at),
                ([one], None) => match value::bounds(one) {
                    Some((kind, first, last)) => index.ranges.push((kind, first, last, at)),
                    None => index.rest.push(at),
                },
                (fields, None) => match fields.get(index.by).and_then(value::exact) {
                    Some(field) => index.add_to_bucket(elements, field, at),
                    None => index.rest.push(at),
                },
            }
        }
        index.ranges.sort_unstable();
        let overlap = index.ranges.windows(2).any(|pair| match pair {
            [(kind, _, last, _), (next, first, _, _)] => kind == next && last >= first,
            _ => false,
        });
        if overlap {
            index.rest.extend(index.ranges.drain(..).map(|(_, _, _, at)| at));
            index.rest.sort_unstable();
        }
        index
    }

    fn add_exact(&mut self, elements: &[Element], key: &[Scalar<'_>], at: u32) {
        let hash = hash_of(key);
        // Of two equal elements the first counts.
        if self.exact.find(hash, |at| is_exactly(elements, *at, key)).is_none() {
            self.exact.insert_unique(hash, at, |at| rehash(elements, *at));
        }
    }

    fn add_to_bucket(&mut self, elements: &[Element], field: Scalar<'_>, at: u32) {
        let by = self.by;
        let hash = hash_of(&[field]);
        let same = |list: &Vec<u32>| list.first().and_then(|at| field_of(elements, *at, by)) == Some(field);
        if let Some(list) = self.buckets.find_mut(hash, same) {
            list.push(at);
            return;
        }
        self.buckets.insert_unique(hash, alloc::vec![at], |list| {
            hash_of(&[list.first().and_then(|at| field_of(elements, *at, by)).unwrap_or(Scalar::Name(""))])
        });
    }

    /// The first element that holds the key.
    pub(super) fn find(&self, elements: &[Element], key: &[Scalar<'_>]) -> Found {
        let exact = self.exact.find(hash_of(key), |at| is_exactly(elements, *at, key)).copied();
        let range = match key {
            [Scalar::Bits(kind, bits)] if !self.ranges.is_empty() => {
                let after = self.ranges.partition_point(|(k, first, _, _)| (*k, *first) <= (*kind, *bits));
                let candidate = after.checked_sub(1).and_then(|at| self.ranges.get(at));
                candidate.filter(|(k, _, last, _)| k == kind && bits <= last).map(|(_, _, _, at)| *at)
            }
            _ => None,
        };
        let tried = |list: &[u32]| list.iter().copied().find(|at| has(elements, *at, key) == Some(true));
        let bucket = key.get(self.by).filter(|_| !self.buckets.is_empty()).and_then(|field| {
            let same = |list: &Vec<u32>| {
                list.first().and_then(|at| field_of(elements, *at, self.by)) == Some(*field)
            };
            self.buckets.find(hash_of(&[*field]), same).and_then(|list| tried(list))
        });
        let first = [exact, range, bucket, tried(&self.rest)].into_iter().flatten().min();
        match first.or(self.wild) {
            Some(at) => Found::At(at),
            None if (0..u64::BITS)
                .zip(key)
                .any(|(field, part)| self.names >> field & 1 == 1 && matches!(part, Scalar::Bits(..))) =>
            {
                Found::NotKnown
            }
            None => Found::None,
        }
    }
}

/// The first element that holds the key, by trying all of them.
pub(super) fn scan(elements: &[Element], key: &[Scalar<'_>]) -> Found {
    let mut known = true;
    let mut wild = None;
    // `numgen … map { 0 : …, 1 : … }`: the elements are in the order of the numbers.
    if let [Scalar::Bits(Kind::Number, number)] = key
        && let Ok(at) = u32::try_from(*number)
        && let Some([Value::Number(n)]) = elements.get(at as usize).map(|e| &e.key[..])
        && u128::from(*n) == *number
        && elements.first().is_some_and(|e| e.key == [Value::Number(0)])
    {
        return Found::At(at);
    }
    for (at, element) in (0_u32..).zip(elements) {
        if element.key.is_empty() {
            wild = wild.or(Some(at));
            continue;
        }
        match has(elements, at, key) {
            Some(true) => return Found::At(at),
            Some(false) => {}
            None => known = false,
        }
    }
    match wild {
        Some(at) => Found::At(at),
        None if known => Found::None,
        None => Found::NotKnown,
    }
}

/// The field of concatenations with ranges that is exact in most of them.
fn hashed_field(elements: &[Element]) -> usize {
    let mut exact = [0_u32; 8];
    for element in elements.iter().filter(|e| e.key.len() > 1) {
        for (count, value) in exact.iter_mut().zip(&element.key) {
            *count += u32::from(value::exact(value).is_some());
        }
    }
    // The first of those that are exact equally often.
    let best = (0..exact.len()).max_by_key(|at| (exact[*at], core::cmp::Reverse(*at)));
    best.unwrap_or(0)
}

fn hash_of(key: &[Scalar<'_>]) -> u64 {
    foldhash::fast::FixedState::default().hash_one(key)
}

fn rehash(elements: &[Element], at: u32) -> u64 {
    let element = elements.get(at as usize);
    let key: value::Key<'_> =
        element.into_iter().flat_map(|e| e.key.iter().filter_map(value::exact)).collect();
    hash_of(&key)
}

fn field_of(elements: &[Element], at: u32, field: usize) -> Option<Scalar<'_>> {
    elements.get(at as usize)?.key.get(field).and_then(value::exact)
}

fn is_exactly(elements: &[Element], at: u32, key: &[Scalar<'_>]) -> bool {
    elements.get(at as usize).is_some_and(|element| equals(&element.key, key))
}

fn equals(values: &[Value], key: &[Scalar<'_>]) -> bool {
    values.len() == key.len()
        && values.iter().zip(key).all(|(value, part)| value::exact(value) == Some(*part))
}

/// Whether an element holds a key, part by part.
fn has(elements: &[Element], at: u32, key: &[Scalar<'_>]) -> Option<bool> {
    let Some(element) = elements.get(at as usize).filter(|e| e.key.len() == key.len()) else {
        return Some(false);
    };
    let mut known = Some(true);
    for (value, part) in element.key.iter().zip(key) {
        match value::holds(*part, value) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => known = None,
        }
    }
    known
}

/// Whether an element that was there at the start is still there.
pub(super) fn lives(set: &Set, element: &Element, now: Instant) -> bool {
    deadline(set, element).is_none_or(|end| now < end)
}

fn deadline(set: &Set, element: &Element) -> Option<Instant> {
    let left = element.expires_ms.or(element.timeout_ms).or(set.timeout_ms)?;
    (left > 0).then(|| Instant::START + Duration::from_millis(left))
}

/// The elements of a set that packets change, as they are now.
#[derive(Clone, Debug)]
pub(in super::super) struct Dynamic {
    size: usize,
    timeout_ms: Option<u64>,
    elements: HashTable<Live>,
}

#[derive(Clone, Debug)]
struct Live {
    key: Vec<Value>,
    end: Option<Instant>,
    data: Option<Arc<Data>>,
}

impl Dynamic {
    /// Begins with the elements of the plan that have no ranges.
    pub(super) fn new(set: &Set, now: Instant) -> Self {
        let size = usize::try_from(set.size.filter(|size| *size > 0).unwrap_or(SIZE)).unwrap_or(usize::MAX);
        let mut dynamic = Self { size, timeout_ms: set.timeout_ms, elements: HashTable::new() };
        for element in set.elements.iter().filter(|element| lives(set, element, now)) {
            let key: Option<value::Key<'_>> = element.key.iter().map(value::exact).collect();
            if let Some(key) = key.filter(|key| !key.is_empty()) {
                let data = element.data.clone().map(Arc::new);
                dynamic.put(&key, &element.key, deadline(set, element), data);
            }
        }
        dynamic
    }

    /// The element with this key: what a map gives for it.
    pub(super) fn find(&self, key: &[Scalar<'_>], now: Instant) -> Option<Option<&Arc<Data>>> {
        let live = self.elements.find(hash_of(key), |live| equals(&live.key, key))?;
        live.end.is_none_or(|end| now < end).then_some(live.data.as_ref())
    }

    /// Adds an element, or sets its time anew where that is asked. False when the set is full.
    pub(super) fn add(
        &mut self,
        key: &[Scalar<'_>],
        values: &[Value],
        timeout_ms: Option<u64>,
        data: Option<Arc<Data>>,
        renew: bool,
        now: Instant,
    ) -> bool {
        let timeout = timeout_ms.or(self.timeout_ms).filter(|ms| *ms > 0);
        let end = timeout.map(|ms| now + Duration::from_millis(ms));
        if let Some(live) = self.elements.find_mut(hash_of(key), |live| equals(&live.key, key)) {
            let expired = live.end.is_some_and(|end| now >= end);
            if expired {
                live.data = data;
            }
            if renew || expired {
                live.end = end;
            }
            return true;
        }
        if self.elements.len() >= self.size {
            self.elements.retain(|live| live.end.is_none_or(|end| now < end));
        }
        let room = self.elements.len() < self.size;
        if room {
            self.put(key, values, end, data);
        }
        room
    }

    fn put(&mut self, key: &[Scalar<'_>], values: &[Value], end: Option<Instant>, data: Option<Arc<Data>>) {
        let live = Live { key: values.to_vec(), end, data };
        self.elements.insert_unique(hash_of(key), live, |live| {
            let key: value::Key<'_> = live.key.iter().filter_map(value::exact).collect();
            hash_of(&key)
        });
    }

    pub(super) fn remove(&mut self, key: &[Scalar<'_>]) {
        if let Ok(entry) = self.elements.find_entry(hash_of(key), |live| equals(&live.key, key)) {
            entry.remove();
        }
    }

    /// How many elements there are, those that have expired and were not yet cleared included.
    pub(in super::super) fn len(&self) -> usize {
        self.elements.len()
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;

    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let number = 0..12_u64;
        prop_oneof![
            4 => number.clone().prop_map(Value::Number),
            1 => (number.clone(), number).prop_map(|(a, b)| {
                Value::Range(Box::new(Value::Number(a.min(b))), Box::new(Value::Number(a.max(b))))
            }),
            2 => (0..4_u8).prop_map(|last| Value::Addr([10, 0, 0, last].into())),
            1 => (24..33_u8).prop_map(|len| {
                Value::Prefix(ipnet::IpNet::new([10, 0, 0, 2].into(), len).expect("at most 32"))
            }),
            1 => prop_oneof![Just("eth0"), Just("eth*"), Just("local")].prop_map(|name| Value::Name(name.into())),
        ]
    }

    fn elements(fields: usize) -> impl Strategy<Value = Vec<Element>> {
        let key = prop_oneof![30 => proptest::collection::vec(value(), fields), 1 => Just(Vec::new())];
        let element = key.prop_map(|key| Element {
            key,
            data: None,
            timeout_ms: None,
            expires_ms: None,
            statements: None,
            comment: None,
            origin: None,
        });
        proptest::collection::vec(element, 0..40)
    }

    fn scalar() -> impl Strategy<Value = Scalar<'static>> {
        prop_oneof![
            (0..13_u128).prop_map(|n| Scalar::Bits(Kind::Number, n)),
            (0x0a00_0000..0x0a00_0005_u128).prop_map(|bits| Scalar::Bits(Kind::V4, bits)),
            prop_oneof![Just("eth0"), Just("eth1"), Just("lo")].prop_map(Scalar::Name),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_look_up_means_what_a_scan_means(
            (elements, keys) in (1..4_usize).prop_flat_map(|fields| {
                (elements(fields), proptest::collection::vec(proptest::collection::vec(scalar(), fields), 1..20))
            }),
        ) {
            let index = SetIndex::new(&elements);
            for key in keys {
                let (found, scanned) = (index.find(&elements, &key), scan(&elements, &key));
                // The kernel takes no two elements that hold the same key; where there are, any of them will do.
                let holds = |at: usize| scan(&elements[at..=at], &key) == Found::At(0);
                let several = (0..elements.len()).filter(|at| holds(*at)).count() > 1;
                // Where a name is not known, the index may say so of more keys than the scan.
                if let (true, Found::At(at)) = (several, found) {
                    prop_assert!(holds(at as usize));
                } else if found != Found::NotKnown {
                    prop_assert_eq!(found, scanned);
                } else {
                    prop_assert!(matches!(scanned, Found::None | Found::NotKnown));
                }
            }
        }
    }
}
