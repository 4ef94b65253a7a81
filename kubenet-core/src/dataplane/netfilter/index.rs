//! An index of a long chain: the rules that one packet could match, in their order.
//!
//! In: what each rule requires for certain ([`Required`]). Out: a [`Cursor`] over the rules that a packet with these
//! addresses, protocol, port and links does not fail at once. A rule stands in one list, that of the most telling
//! thing it requires; a packet looks up one list of each kind and walks them merged, beside the list of rules that
//! require nothing. So a chain of 10,000 rules, each for one address and port, costs a hash look-up per kind that
//! occurs (here one) and the rules for that address and port. Building is O(rules), about 40 bytes each.
//!
//! The meaning is that of the plain walk: a rule that is left out fails at a condition that has no effect, before any
//! that has one (`tests::an_index_means_what_the_plain_walk_means`).

use alloc::sync::Arc;
use core::net::IpAddr;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Seen;

/// Chains with fewer rules are walked.
pub(super) const LONG: usize = 16;

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// What a rule requires of a packet, as far as an index uses it.
#[derive(Clone, Debug, Default)]
pub(super) struct Required {
    pub(super) src: Option<IpAddr>,
    pub(super) dst: Option<IpAddr>,
    pub(super) protocol: Option<u8>,
    pub(super) dport: Option<u16>,
    pub(super) iif: Option<Arc<str>>,
    pub(super) oif: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    DestinationPort(IpAddr, u8, u16),
    Destination(IpAddr),
    Source(IpAddr),
    Port(u8, u16),
}

const WILD: &[u32] = &[];

/// Rules by number, in order. Most lists have one.
type List = SmallVec<[u32; 4]>;

/// The lists of one chain, each in the order of the rules.
#[derive(Clone, Debug, Default)]
pub(super) struct ChainIndex {
    keyed: Map<Key, List>,
    /// Which kinds of [`Key`] occur.
    kinds: [bool; 4],
    iif: Map<Arc<str>, List>,
    oif: Map<Arc<str>, List>,
    wild: List,
}

impl ChainIndex {
    pub(super) fn new(rules: impl Iterator<Item = Required>) -> Self {
        let mut index = Self::default();
        // Most chains that are long ask for another address or port in each rule.
        index.keyed.reserve(rules.size_hint().0);
        for (place, rule) in (0_u32..).zip(rules) {
            let port = rule.protocol.zip(rule.dport);
            let key = match (rule.dst, rule.src, port) {
                (Some(dst), _, Some((protocol, port))) => {
                    Some((0, Key::DestinationPort(dst, protocol, port)))
                }
                (Some(dst), _, None) => Some((1, Key::Destination(dst))),
                (None, Some(src), _) => Some((2, Key::Source(src))),
                (None, None, Some((protocol, port))) => Some((3, Key::Port(protocol, port))),
                (None, None, None) => None,
            };
            let list = match (key, rule.iif, rule.oif) {
                (Some((kind, key)), _, _) => {
                    index.kinds[kind] = true;
                    index.keyed.entry(key).or_default()
                }
                (None, Some(iif), _) => index.iif.entry(iif).or_default(),
                (None, None, Some(oif)) => index.oif.entry(oif).or_default(),
                (None, None, None) => &mut index.wild,
            };
            list.push(place);
        }
        index
    }

    /// The rules that a packet could match. `None`: all of them, since a header is cut off and a rule that looks at it
    /// drops the packet.
    pub(super) fn cursor(&self, seen: &Seen<'_>) -> Option<Cursor<'_>> {
        let ip = seen.ip;
        if seen.is_cut_off() {
            return None;
        }
        let keyed = |kind: usize, key: Key| {
            if self.kinds[kind] { self.keyed.get(&key).map_or(WILD, List::as_slice) } else { WILD }
        };
        let (mut exact, mut port) = (WILD, WILD);
        if let Some((_, dport)) = ip.ports {
            exact = keyed(0, Key::DestinationPort(ip.dst, ip.protocol, dport));
            port = keyed(3, Key::Port(ip.protocol, dport));
        }
        let lists = [
            exact,
            port,
            keyed(1, Key::Destination(ip.dst)),
            keyed(2, Key::Source(ip.src)),
            by_link(&self.iif, seen.iif),
            by_link(&self.oif, seen.oif),
            &self.wild,
        ];
        Some(Cursor::Merged(lists.into_iter().filter(|list| !list.is_empty()).collect()))
    }
}

fn by_link<'i>(map: &'i Map<Arc<str>, List>, name: Option<&str>) -> &'i [u32] {
    if map.is_empty() {
        return WILD;
    }
    name.and_then(|name| map.get(name)).map_or(WILD, List::as_slice)
}

/// The rules of a chain that are still to be looked at.
#[derive(Clone, Debug)]
pub(super) enum Cursor<'i> {
    /// All from the first number up to the second.
    Plain(u32, u32),
    /// Those of the lists, which have none in common. Few packets have more than two.
    Merged(SmallVec<[&'i [u32]; 2]>),
}

impl Cursor<'_> {
    /// All rules of a chain.
    pub(super) fn all(rules: usize) -> Self {
        Self::Plain(0, u32::try_from(rules).unwrap_or(u32::MAX))
    }

    /// The next rule's number.
    #[inline]
    pub(super) fn next(&mut self) -> Option<u32> {
        match self {
            Self::Plain(next, end) => {
                let at = *next;
                (at < *end).then(|| {
                    *next += 1;
                    at
                })
            }
            Self::Merged(lists) => {
                let first =
                    lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list.first())?;
                let (at, rest) = first.split_first()?;
                *first = rest;
                Some(*at)
            }
        }
    }

    /// Leaves out all rules up to this one.
    pub(super) fn skip_to_after(&mut self, at: u32) {
        match self {
            Self::Plain(next, _) => *next = (*next).max(at + 1),
            Self::Merged(lists) => {
                for list in lists {
                    let passed = list.partition_point(|rule| *rule <= at);
                    *list = list.get(passed..).unwrap_or(&[]);
                }
            }
        }
    }
}
