//! Longest prefix match: one hash table per prefix length, longest first.

use alloc::vec::Vec;
use core::net::IpAddr;

use hashbrown::HashMap;
use ipnet::IpNet;

/// Maps prefixes of one family to values.
#[derive(Clone, Debug)]
pub struct Lpm<V> {
    lengths: Vec<(u8, HashMap<u128, V, foldhash::fast::FixedState>)>,
}

fn masked(addr: IpAddr, len: u8) -> u128 {
    let (bits, width) = match addr {
        IpAddr::V4(a) => (u128::from(a.to_bits()), 32),
        IpAddr::V6(a) => (a.to_bits(), 128),
    };
    let drop = width - u32::from(len).min(width);
    if drop >= 128 { 0 } else { bits >> drop << drop }
}

impl<V: Copy> Lpm<V> {
    /// Builds the table; of equal prefixes the first counts. O(prefixes).
    pub fn new(prefixes: impl IntoIterator<Item = (IpNet, V)>) -> Self {
        let mut lengths: Vec<(u8, HashMap<u128, V, foldhash::fast::FixedState>)> = Vec::new();
        for (net, value) in prefixes {
            let len = net.prefix_len();
            let place = lengths.iter().position(|l| l.0 == len).unwrap_or_else(|| {
                lengths.push((len, HashMap::default()));
                lengths.len() - 1
            });
            lengths[place].1.entry(masked(net.addr(), len)).or_insert(value);
        }
        lengths.sort_by_key(|l| core::cmp::Reverse(l.0));
        Self { lengths }
    }

    /// The value of the longest prefix that contains the address. One probe per prefix length present.
    pub fn lookup(&self, addr: IpAddr) -> Option<V> {
        self.lengths.iter().find_map(|(len, map)| map.get(&masked(addr, *len)).copied())
    }
}
