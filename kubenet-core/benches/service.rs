//! kube-proxy's rules at 10,000 Services of ten endpoints each: compiled as a whole, after one change, and by look-up.
//!
//! `cargo bench -p kubenet-core --bench service`. The run fails when one change is not far cheaper than everything anew.

#[path = "service/cluster.rs"]
mod cluster;
mod gate;

use std::collections::BTreeSet;
use std::net::IpAddr;

use cluster::{MODES, of};
use divan::{Bencher, black_box};
use kubenet_core::addr::Family;
use kubenet_core::assume::ProxyMode;
use kubenet_core::compile::service::{NodeRules, NodeSupply, ServiceName};
use kubenet_core::plan::netfilter::{PacketKey, Supply};
use kubenet_core::plan::{IpvsProtocol, VirtualId, nft};

fn main() {
    divan::main();
    for mode in MODES {
        let cluster = of(*mode);
        let mut rules = NodeRules::new(cluster, 0).expect("a node");
        let all = || NodeRules::new(cluster, 0);
        let touched = touched();
        let hundred = || (0..100).for_each(|_| rules.update(black_box(cluster), Some(&touched)));
        gate::at_least(
            &format!("{mode:?}: all anew against 100 changes"),
            2.0,
            gate::best_of(3, all, hundred),
        );
    }
}

fn touched() -> BTreeSet<ServiceName> {
    BTreeSet::from([("default".into(), "app-5000".into())])
}

/// All parts of all Services on one node.
#[divan::bench(args = MODES, sample_count = 8, sample_size = 1)]
fn compile(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let cluster = of(mode);
    bencher.bench_local(|| NodeRules::new(black_box(cluster), 0));
}

/// The ruleset of the parts.
#[divan::bench(args = MODES, sample_count = 8, sample_size = 1)]
fn assemble(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let cluster = of(mode);
    let rules = NodeRules::new(cluster, 0).expect("a node");
    bencher.bench_local(|| black_box(&rules).ruleset(cluster));
}

/// One Service whose endpoints changed.
#[divan::bench(args = MODES)]
fn one_change(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let cluster = of(mode);
    let mut rules = NodeRules::new(cluster, 0).expect("a node");
    let touched = touched();
    bencher.bench_local(|| rules.update(black_box(cluster), Some(&touched)));
}

/// What a node's supply costs before the first packet.
#[divan::bench(args = MODES)]
fn supply(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let cluster = of(mode);
    bencher.bench_local(|| NodeSupply::new(black_box(cluster), 0));
}

/// The look-ups of the first packet of a connection.
#[divan::bench(args = MODES)]
fn look_up(bencher: Bencher<'_, '_>, mode: ProxyMode) {
    let cluster = of(mode);
    let supply = NodeSupply::new(cluster, 0).expect("a node");
    let dst: IpAddr = "10.96.20.1".parse().expect("an address");
    let key = PacketKey { src: dst, dst, protocol: 6, ports: Some((40000, 80)) };
    let element = [nft::Value::Addr(dst), nft::Value::Number(6), nft::Value::Number(80)];
    bencher.bench_local(|| match mode {
        ProxyMode::Nftables => {
            let found = supply.nft_element(nft::TableFamily::Ip, "kube-proxy", "service-ips", &element);
            assert!(black_box(found).is_some());
        }
        ProxyMode::Ipvs => {
            let id = VirtualId::Addr { protocol: IpvsProtocol::Tcp, addr: dst, port: 80 };
            let found = supply.virtual_server(&id);
            assert_eq!(black_box(found).map(|server| server.servers.len()), Some(10));
        }
        ProxyMode::Iptables | ProxyMode::Userspace => {
            let found = supply.xt_chain(Family::V4, "nat", "KUBE-SERVICES", &key);
            assert_eq!(black_box(found).map(|chain| chain.rules.len()), Some(2));
        }
    });
}
