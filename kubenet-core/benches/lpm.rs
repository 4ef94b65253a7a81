//! Route look-up and table building, beside the crates `iptrie` and `prefix-trie` and one hash map per prefix length.
//!
//! `cargo bench -p kubenet-core --bench lpm`. After divan's table the ratios stand alone: each contender answers the same
//! addresses in turn, many times over, and the best round of each counts. The run fails when a crate is faster.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use ipnet::{IpNet, Ipv4Net};
use iptrie::Ipv4Prefix;
use iptrie::map::{LCTrieMap, RTrieMap};
use kubenet_core::lpm::Lpm;
use prefix_trie::PrefixMap;

const PREFIXES: [u32; 3] = [8, 1_000, 5_000];

/// A node's routes: one /24 for each node, its own pods, its network and a default.
fn prefixes(count: u32) -> Vec<(Ipv4Net, u32)> {
    let own = count / 20;
    let nodes = (0..count - own - 3).map(|n| (0x0a80_0000 | n << 8, 24));
    let pods = (0..own).map(|n| (0x0a80_0302 + n, 32));
    let rest = [(0, 0), (0xac12_0000, 16), (0xc0a8_0000, 24)];
    nodes
        .chain(pods)
        .chain(rest)
        .zip(0..)
        .map(|((bits, len), n)| (Ipv4Net::new(Ipv4Addr::from_bits(bits), len).expect("length at most 32"), n))
        .collect()
}

/// Where packets go: nine of ten to a pod, the rest anywhere, in an order without a pattern.
fn addresses(count: u32) -> Vec<Ipv4Addr> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    (0..4096)
        .map(|_| {
            let bits = next() as u32;
            if next() % 10 == 0 {
                return Ipv4Addr::from_bits(bits);
            }
            Ipv4Addr::from_bits(0x0a80_0000 | (next() as u32 % count) << 8 | bits & 255)
        })
        .collect()
}

fn kubenet(routes: &[(Ipv4Net, u32)]) -> Lpm<u32> {
    Lpm::new(routes.iter().map(|&(net, v)| (IpNet::V4(net), v)))
}

fn iptrie_lctrie(routes: &[(Ipv4Net, u32)]) -> LCTrieMap<Ipv4Prefix, u32> {
    let mut map = RTrieMap::new();
    for &(net, value) in routes {
        let prefix = Ipv4Prefix::new(net.addr(), net.prefix_len()).expect("a valid prefix");
        map.insert(prefix, value);
    }
    map.compress()
}

fn prefix_trie(routes: &[(Ipv4Net, u32)]) -> PrefixMap<Ipv4Net, u32> {
    routes.iter().copied().collect()
}

/// What one writes first: a hash map for each length, longest first.
fn hash_maps(routes: &[(Ipv4Net, u32)]) -> Vec<(u8, HashMap<u32, u32, foldhash::fast::FixedState>)> {
    let mut maps: Vec<(u8, HashMap<u32, u32, _>)> = Vec::new();
    for &(net, value) in routes {
        let len = net.prefix_len();
        let place = maps.iter().position(|m| m.0 == len).unwrap_or_else(|| {
            maps.push((len, HashMap::default()));
            maps.len() - 1
        });
        maps[place].1.insert(net.network().to_bits(), value);
    }
    maps.sort_by_key(|m| std::cmp::Reverse(m.0));
    maps
}

fn sum(addresses: &[Ipv4Addr], mut lookup: impl FnMut(Ipv4Addr) -> Option<u32>) -> u64 {
    addresses.iter().map(|&a| lookup(a).map_or(0, u64::from)).sum()
}

/// The contenders' answers to the same question; all must agree.
type Contender = (&'static str, Box<dyn Fn(&[Ipv4Addr]) -> u64>);

fn contenders(count: u32) -> Vec<Contender> {
    let routes = prefixes(count);
    let (own, lctrie, trie, maps) =
        (kubenet(&routes), iptrie_lctrie(&routes), prefix_trie(&routes), hash_maps(&routes));
    vec![
        ("kubenet", Box::new(move |a| sum(a, |addr| own.lookup(IpAddr::V4(addr))))),
        ("iptrie lctrie", Box::new(move |a| sum(a, |addr| Some(*lctrie.lookup(&addr).1)))),
        (
            "prefix-trie",
            Box::new(move |a| sum(a, |addr| trie.get_lpm(&Ipv4Net::from(addr)).map(|found| *found.1))),
        ),
        (
            "hash maps",
            Box::new(move |a| {
                sum(a, |addr| {
                    maps.iter().find_map(|(len, map)| {
                        let bits = addr.to_bits();
                        let drop = 32 - u32::from(*len);
                        map.get(&(bits.checked_shr(drop).unwrap_or(0).checked_shl(drop).unwrap_or(0)))
                            .copied()
                    })
                })
            }),
        ),
    ]
}

#[divan::bench_group]
mod lookup {
    use super::*;

    fn run(bencher: Bencher<'_, '_>, count: u32, who: usize) {
        let (_, lookup) = &contenders(count)[who];
        let addresses = addresses(count);
        bencher.counter(ItemsCount::new(addresses.len())).bench_local(|| lookup(black_box(&addresses)));
    }

    #[divan::bench(args = PREFIXES)]
    fn kubenet(bencher: Bencher<'_, '_>, count: u32) {
        run(bencher, count, 0);
    }

    #[divan::bench(args = PREFIXES)]
    fn iptrie_lctrie(bencher: Bencher<'_, '_>, count: u32) {
        run(bencher, count, 1);
    }

    #[divan::bench(args = PREFIXES)]
    fn prefix_trie(bencher: Bencher<'_, '_>, count: u32) {
        run(bencher, count, 2);
    }

    #[divan::bench(args = PREFIXES)]
    fn hash_maps(bencher: Bencher<'_, '_>, count: u32) {
        run(bencher, count, 3);
    }
}

#[divan::bench_group]
mod build {
    use super::*;

    #[divan::bench(args = PREFIXES)]
    fn kubenet(bencher: Bencher<'_, '_>, count: u32) {
        let routes = prefixes(count);
        bencher.bench_local(|| super::kubenet(black_box(&routes)));
    }

    #[divan::bench(args = PREFIXES)]
    fn iptrie_lctrie(bencher: Bencher<'_, '_>, count: u32) {
        let routes = prefixes(count);
        bencher.bench_local(|| super::iptrie_lctrie(black_box(&routes)));
    }

    #[divan::bench(args = PREFIXES)]
    fn prefix_trie(bencher: Bencher<'_, '_>, count: u32) {
        let routes = prefixes(count);
        bencher.bench_local(|| super::prefix_trie(black_box(&routes)));
    }
}

fn main() {
    divan::main();
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let mut slower = false;
    for count in PREFIXES {
        let (contenders, addresses) = (contenders(count), addresses(count));
        let mut best = vec![Duration::MAX; contenders.len()];
        let mut answers = vec![0; contenders.len()];
        for _ in 0..400 {
            for ((who, best), answer) in contenders.iter().zip(&mut best).zip(&mut answers) {
                let start = Instant::now();
                *answer = black_box((who.1)(black_box(&addresses)));
                *best = start.elapsed().min(*best);
            }
        }
        assert!(answers.iter().all(|a| *a == answers[0]), "the contenders disagree: {answers:?}");
        let own = best[0];
        print!("{count} prefixes, {} bytes:", kubenet(&prefixes(count)).heap_bytes());
        for ((name, _), time) in contenders.iter().zip(&best) {
            let each = time.as_nanos() as f64 / addresses.len() as f64;
            let ratio = time.as_secs_f64() / own.as_secs_f64();
            print!("  {name} {each:.2} ns ({ratio:.2}x)");
            slower |= count >= 1_000 && ratio < 1.0;
        }
        println!();
    }
    if slower {
        println!("kubenet is not the fastest: see above");
        std::process::exit(1);
    }
}
