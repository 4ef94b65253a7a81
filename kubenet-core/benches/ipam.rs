//! Giving out addresses, beside a first-fit scan over the addresses that are held.
//!
//! `cargo bench -p kubenet-core --bench ipam`. Each pair fills the same pool to the same degree and then gives and takes
//! back one address: the scan looks at every held address before the first free one, as an allocator without an index does.

use std::collections::HashSet;
use std::net::IpAddr;

use divan::Bencher;
use divan::counter::ItemsCount;
use kubenet_core::ipam::{CidrSet, ClusterIps, HostLocal, Range};

fn main() {
    divan::main();
}

/// Pools of a /24 node, a large Service range and a whole /12, nearly full.
const HELD: [u32; 3] = [200, 50_000, 1_000_000];

fn pool(held: u32) -> ipnet::Ipv4Net {
    let bits = 32 - (held + held / 20).next_power_of_two().trailing_zeros() as u8;
    ipnet::Ipv4Net::new([10, 0, 0, 0].into(), bits).expect("a prefix length below 33")
}

#[divan::bench(args = HELD)]
fn naive_first_fit(bencher: Bencher<'_, '_>, held: u32) {
    let pool = pool(held);
    let mut taken: HashSet<_> = pool.hosts().take(held as usize).collect();
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        let free = pool.hosts().find(|addr| !taken.contains(addr)).expect("room");
        taken.insert(free);
        taken.remove(&free)
    });
}

#[divan::bench(args = HELD)]
fn cluster_ips(bencher: Bencher<'_, '_>, held: u32) {
    let mut ips = ClusterIps::new(pool(held).into()).expect("a large pool");
    for _ in 0..held {
        ips.allocate_next(0).expect("room");
    }
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        let free = ips.allocate_next(0).expect("room");
        ips.release(free)
    });
}

#[divan::bench(args = HELD)]
fn host_local(bencher: Bencher<'_, '_>, held: u32) {
    let mut pods = HostLocal::new([[Range::new(pool(held).into()).expect("a large pool")]]);
    for pod in 0..held {
        pods.allocate(&pod.to_string(), "eth0").expect("room");
    }
    let first: IpAddr = [10, 0, 0, 2].into();
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        pods.set_last_reserved(0, Some(first));
        pods.allocate("one more", "eth0").expect("room");
        pods.release("one more", "eth0")
    });
}

#[divan::bench]
fn node_ranges_of_a_slash_8(bencher: Bencher<'_, '_>) {
    let cluster = "10.0.0.0/8".parse().expect("a prefix");
    bencher.counter(ItemsCount::new(65_536u32)).bench(|| {
        let mut nodes = CidrSet::new(cluster, 24).expect("a fitting mask");
        while nodes.allocate_next().is_ok() {}
        nodes.held()
    });
}
