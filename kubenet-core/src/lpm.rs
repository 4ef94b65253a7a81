//! Longest prefix match: which of many prefixes contains an address most closely.
//!
//! In: prefixes of both families with a small value each (an index, say). Out: the value of the longest prefix that
//! contains an address. The table is built once and then only read.
//!
//! Up to `SMALL` prefixes of a family stand in one list, longest first: a pod's namespace has three routes and pays
//! for three. More become a trie after S. Nilsson and G. Karlsson ("IP-address lookup using LC-tries", 1999): a
//! node skips the bits that all prefixes below it share and then branches on as many bits at once as are
//! well filled; shorter prefixes are pushed down into the slots that they cover, so that a look-up never goes back.
//! Whatever address has a node's skipped bits belongs below that node, so a look-up tries the widest node first (the
//! one with the nodes' pod ranges) and starts at the root only when that one does not fit.
//!
//! Cost: building O(n log n); a look-up is two dependent loads for an address in a node's pod range. A node has at
//! most eight slots per prefix that it tells apart (sixteen at least), eight bytes each for `u32` values: 1,000 nodes'
//! ranges take about 9 KiB, 5,000 about 70 KiB.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::{BitAnd, BitXor, Shl, Shr};

use ipnet::IpNet;

/// So many prefixes of one family are searched one by one.
const SMALL: usize = 8;
/// A node branches on this many bits even when most slots stay equal.
const MIN_STRIDE: u32 = 4;
/// A node branches on at most this many bits.
const MAX_STRIDE: u32 = 16;
/// A wider node may have this many slots for each prefix that it tells apart.
const SLOTS_PER_PREFIX: u64 = 8;

/// Maps prefixes to values. Both families may stand in one table; they never meet.
#[derive(Clone, Debug)]
pub struct Lpm<V> {
    v4: Table<u32, V>,
    v6: Table<u128, V>,
}

impl<V: Copy> Lpm<V> {
    /// Builds the table; of equal prefixes the first counts. Host bits are ignored.
    pub fn new(prefixes: impl IntoIterator<Item = (IpNet, V)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, value) in prefixes {
            match net.trunc() {
                IpNet::V4(net) => {
                    v4.push(Item { bits: net.addr().to_bits(), len: net.prefix_len().into(), value });
                }
                IpNet::V6(net) => {
                    v6.push(Item { bits: net.addr().to_bits(), len: net.prefix_len().into(), value });
                }
            }
        }
        Self { v4: Table::new(v4), v6: Table::new(v6) }
    }

    /// The value of the longest prefix that contains the address.
    #[inline]
    pub fn lookup(&self, addr: IpAddr) -> Option<V> {
        match addr {
            IpAddr::V4(addr) => self.v4.lookup(addr.to_bits()),
            IpAddr::V6(addr) => self.v6.lookup(addr.to_bits()),
        }
    }

    /// Bytes that the table holds on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.v4.heap_bytes() + self.v6.heap_bytes()
    }
}

/// An address as a number: `u32` or `u128`.
trait Bits:
    Copy + Ord + BitAnd<Output = Self> + BitXor<Output = Self> + Shl<u32, Output = Self> + Shr<u32, Output = Self>
{
    const WIDTH: u32;
    const ZERO: Self;
    const ONES: Self;
    fn leading_zeros(self) -> u32;
    /// The lowest 32 bits.
    fn low(self) -> u32;

    /// The first `len` bits set.
    fn mask(len: u32) -> Self {
        if len == 0 { Self::ZERO } else { Self::ONES << (Self::WIDTH - len) }
    }
}

impl Bits for u32 {
    const WIDTH: Self = 32;
    const ZERO: Self = 0;
    const ONES: Self = Self::MAX;
    fn leading_zeros(self) -> u32 {
        self.leading_zeros()
    }
    fn low(self) -> u32 {
        self
    }
}

impl Bits for u128 {
    const WIDTH: u32 = 128;
    const ZERO: Self = 0;
    const ONES: Self = Self::MAX;
    fn leading_zeros(self) -> u32 {
        self.leading_zeros()
    }
    fn low(self) -> u32 {
        self as u32
    }
}

/// A prefix without host bits.
#[derive(Clone, Copy, Debug)]
struct Item<K, V> {
    bits: K,
    len: u32,
    value: V,
}

#[derive(Clone, Debug)]
enum Table<K, V> {
    /// Longest first.
    Small(Vec<Item<K, V>>),
    Trie(Trie<K, V>),
}

impl<K: Bits, V: Copy> Table<K, V> {
    fn new(mut items: Vec<Item<K, V>>) -> Self {
        if items.len() <= SMALL {
            items.sort_by_key(|i| core::cmp::Reverse(i.len));
            return Self::Small(items);
        }
        items.sort_by_key(|i| (i.bits, i.len));
        items.dedup_by_key(|i| (i.bits, i.len));
        Self::Trie(Trie::new(&items))
    }

    #[inline]
    fn lookup(&self, addr: K) -> Option<V> {
        match self {
            Self::Small(items) => {
                items.iter().find(|i| (addr ^ i.bits) & K::mask(i.len) == K::ZERO).map(|i| i.value)
            }
            Self::Trie(trie) => trie.lookup(addr),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Small(items) => items.capacity() * size_of::<Item<K, V>>(),
            Self::Trie(trie) => {
                trie.nodes.capacity() * size_of::<Node<K, V>>() + trie.slots.capacity() * size_of::<Slot<V>>()
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Slot<V> {
    None,
    Value(V),
    /// Goes on at this node.
    Node(u32),
}

#[derive(Clone, Copy, Debug)]
struct Node<K, V> {
    /// What all addresses below have under `mask`.
    key: K,
    mask: K,
    /// The slot's number is `addr >> shift` under `slot_mask`, counted from `base`.
    shift: u32,
    slot_mask: u32,
    base: u32,
    /// What holds for an address that has other bits under `mask`: never a node.
    miss: Slot<V>,
}

#[derive(Clone, Debug)]
struct Trie<K, V> {
    nodes: Vec<Node<K, V>>,
    slots: Vec<Slot<V>>,
    root: Slot<V>,
    /// The node with the most slots.
    widest: Option<Node<K, V>>,
}

impl<K: Bits, V: Copy> Trie<K, V> {
    /// From distinct prefixes in order of (bits, length), so that a prefix stands before all that it contains.
    fn new(items: &[Item<K, V>]) -> Self {
        let mut trie = Self { nodes: Vec::new(), slots: Vec::new(), root: Slot::None, widest: None };
        trie.root = trie.subtree(items, 0, Slot::None);
        trie.widest = trie.nodes.iter().rev().max_by_key(|n| n.slot_mask).copied();
        trie.nodes.shrink_to_fit();
        trie.slots.shrink_to_fit();
        trie
    }

    #[inline]
    fn lookup(&self, addr: K) -> Option<V> {
        let mut slot = match &self.widest {
            Some(node) if (addr ^ node.key) & node.mask == K::ZERO => self.slot(node, addr),
            Some(_) | None => self.root,
        };
        loop {
            match slot {
                Slot::None => return None,
                Slot::Value(value) => return Some(value),
                Slot::Node(index) => {
                    let node = self.nodes.get(index as usize)?;
                    let fits = (addr ^ node.key) & node.mask == K::ZERO;
                    slot = if fits { self.slot(node, addr) } else { node.miss };
                }
            }
        }
    }

    #[inline]
    fn slot(&self, node: &Node<K, V>, addr: K) -> Slot<V> {
        let place = node.base + ((addr >> node.shift).low() & node.slot_mask);
        self.slots.get(place as usize).copied().unwrap_or(Slot::None)
    }

    /// The slot for prefixes that share their first `depth` bits and are no shorter; `cover` is what holds where none
    /// of them does. Goes no deeper than an address is wide, as each level takes at least one bit.
    fn subtree(&mut self, items: &[Item<K, V>], depth: u32, cover: Slot<V>) -> Slot<V> {
        let (cover, items) = match items {
            [first, rest @ ..] if first.len == depth => (Slot::Value(first.value), rest),
            _ => (cover, items),
        };
        let [first, .., last] = items else {
            return match items {
                [] => cover,
                [only, ..] => self.node(&[], only.len, only.bits, Slot::Value(only.value), cover),
            };
        };
        // A prefix that contains all others stands first; its own length ends what can be skipped.
        let common = common_bits(first.bits, last.bits).min(first.len);
        if first.len == common {
            let rest = items.get(1..).unwrap_or_default();
            self.node(rest, common, first.bits, Slot::Value(first.value), cover)
        } else {
            self.node(items, common, first.bits, cover, cover)
        }
    }

    /// A node below `common` bits: `inside` holds where those fit and none of the items does, `miss` elsewhere.
    fn node(&mut self, items: &[Item<K, V>], common: u32, key: K, inside: Slot<V>, miss: Slot<V>) -> Slot<V> {
        let stride = stride(items, common);
        let (base, index) = (self.slots.len(), self.nodes.len());
        let shift = K::WIDTH - common - stride;
        let slot_mask = (1u32 << stride) - 1;
        self.slots.resize(base + (1 << stride), inside);
        let mask = K::mask(common);
        self.nodes.push(Node { key: key & mask, mask, shift, slot_mask, base: base as u32, miss });
        // With nothing skipped and nothing to branch on there is no bit to shift; `subtree` never asks for that.
        let place = |item: &Item<K, V>| base + ((item.bits >> shift).low() & slot_mask) as usize;
        let mut rest = items;
        while let [item, after @ ..] = rest {
            let from = place(item);
            if item.len <= common + stride {
                let covered = 1usize << (common + stride - item.len);
                if let Some(slots) = self.slots.get_mut(from..from + covered) {
                    slots.fill(Slot::Value(item.value));
                }
                rest = after;
            } else {
                let group = rest.iter().take_while(|i| place(i) == from).count();
                let (below, after) = rest.split_at(group);
                let cover = self.slots.get(from).copied().unwrap_or(inside);
                let slot = self.subtree(below, common + stride, cover);
                if let Some(place) = self.slots.get_mut(from) {
                    *place = slot;
                }
                rest = after;
            }
        }
        Slot::Node(index as u32)
    }
}

fn common_bits<K: Bits>(a: K, b: K) -> u32 {
    (a ^ b).leading_zeros()
}

/// How many bits to branch on: the most for which the slots are well filled, and no more than there are.
fn stride<K: Bits, V>(items: &[Item<K, V>], common: u32) -> u32 {
    let longest = items.iter().map(|i| i.len).max().unwrap_or(common);
    let bound = (longest - common).min(MAX_STRIDE);
    // How many neighbours first differ in the n-th bit after the common ones.
    let mut differ = [0u64; MAX_STRIDE as usize];
    for pair in items.windows(2) {
        if let [a, b] = pair
            && let Some(count) = differ.get_mut((common_bits(a.bits, b.bits) - common) as usize)
        {
            *count += 1;
        }
    }
    let mut best = bound.min(MIN_STRIDE);
    let mut distinct = 1;
    for (bits, count) in (1..=bound).zip(differ) {
        distinct += count;
        // A bit that hardly tells more prefixes apart would double the slots for nothing.
        if 1u64 << bits <= distinct * SLOTS_PER_PREFIX && count * 16 >= distinct {
            best = best.max(bits);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    /// The reference: ask every prefix.
    fn scan(prefixes: &[(IpNet, u32)], addr: IpAddr) -> Option<u32> {
        let mut best: Option<(IpNet, u32)> = None;
        for &(net, value) in prefixes {
            if net.contains(&addr) && best.is_none_or(|b| b.0.prefix_len() < net.prefix_len()) {
                best = Some((net, value));
            }
        }
        best.map(|b| b.1)
    }

    /// Few distinct bits, so that prefixes contain each other and addresses hit them.
    fn v4_bits() -> impl Strategy<Value = u32> {
        prop_oneof![
            any::<u32>(),
            (0u32..1024).prop_map(|n| 0x0af4_0000 | n << 8),
            (0u32..16, 0u32..4).prop_map(|(a, b)| a << 28 | b),
            (0u32..256).prop_map(|n| 0x0af4_0100 | n),
        ]
    }

    fn net() -> impl Strategy<Value = IpNet> {
        let len = prop_oneof![Just(0), Just(8), Just(16), Just(24), Just(32), 0u8..=32];
        let v4 = (v4_bits(), len)
            .prop_map(|(bits, len)| IpNet::new(IpAddr::V4(bits.into()), len).expect("length at most 32"));
        let v6 = (v4_bits(), any::<bool>(), 0u8..=128).prop_map(|(bits, low, len)| {
            let bits = if low { u128::from(bits) } else { 0xfd00_u128 << 112 | u128::from(bits) << 64 };
            IpNet::new(IpAddr::V6(bits.into()), len).expect("length at most 128")
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_of_all_prefixes_finds(
            nets in prop::collection::vec(net(), 0..80),
            extra in prop::collection::vec(net(), 0..20),
        ) {
            let prefixes: Vec<(IpNet, u32)> = nets.into_iter().zip(0..).collect();
            let table = Lpm::new(prefixes.iter().copied());
            let ends = prefixes.iter().flat_map(|p| [p.0.network(), p.0.broadcast(), p.0.addr()]);
            for addr in ends.chain(extra.iter().map(IpNet::addr)) {
                prop_assert_eq!(table.lookup(addr), scan(&prefixes, addr), "{} in {:?}", addr, prefixes);
            }
        }
    }

    /// What a node of a large cluster has: a route per node, the pods on it, its own network and a default.
    fn node_table(nodes: u32) -> Vec<(IpNet, u32)> {
        let mut text: Vec<alloc::string::String> =
            (0..nodes).map(|n| format!("10.{}.{}.0/24", 128 + (n >> 8), n & 255)).collect();
        text.extend((2..60).map(|n| format!("10.128.3.{n}/32")));
        text.extend(["0.0.0.0/0".into(), "172.18.0.0/16".into(), "192.168.0.0/24".into()]);
        text.iter().zip(0..).map(|(t, n)| (t.parse().expect("a prefix"), n)).collect()
    }

    #[test]
    fn a_cluster_table_answers_and_stays_small() {
        for (nodes, bytes) in [(1_000, 16 << 10), (5_000, 96 << 10), (16_384, 400 << 10)] {
            let prefixes = node_table(nodes);
            let table = Lpm::new(prefixes.iter().copied());
            assert!(table.heap_bytes() < bytes, "{nodes} nodes take {} bytes", table.heap_bytes());
            for &(net, _) in prefixes.iter().step_by(nodes as usize / 200) {
                for addr in [net.network(), net.broadcast()] {
                    assert_eq!(table.lookup(addr), scan(&prefixes, addr), "{addr}");
                }
            }
        }
    }

    #[test]
    fn the_first_of_equal_prefixes_counts_at_any_size() {
        let one: IpNet = "10.244.1.1/32".parse().expect("a prefix");
        for others in [0, 100] {
            let mut prefixes = alloc::vec![(one, 1), (one, 2)];
            prefixes.extend((0..others).map(|n| (IpNet::new([10, 0, n, 0].into(), 24).expect("24"), 9)));
            assert_eq!(Lpm::new(prefixes).lookup(one.addr()), Some(1), "{others} others");
        }
    }

    #[test]
    fn an_empty_table_holds_nothing_and_finds_nothing() {
        let table = Lpm::<u32>::new([]);
        assert_eq!(table.lookup([10, 0, 0, 1].into()), None);
        assert_eq!(table.heap_bytes(), 0);
    }
}
