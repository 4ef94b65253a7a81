//! How long rules take to read and to print.
//!
//! `cargo bench -p kubenet-core --bench text`. A dump of 50,000 rules of 10,000 services, as `iptables-save` prints it; and in every
//! form the rules of a node with 10,000 Services of ten endpoints each (230,000 rules in iptables mode).

#[allow(dead_code, reason = "other benches use the rest")]
#[path = "service/cluster.rs"]
mod cluster;

use std::fmt;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use kubenet_core::addr::Family;
use kubenet_core::assume::ProxyMode;
use kubenet_core::compile::service::NodeRules;
use kubenet_core::plan::Ruleset;
use kubenet_core::text::iptables_save::{self, Dialect, Marks};
use kubenet_core::text::{ipset, ipvsadm, nft};

fn main() {
    divan::main();
}

fn dump() -> String {
    let mut out =
        String::from("*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n");
    for service in 0..10_000 {
        out.push_str(&format!(":KUBE-SVC-{service:016} - [0:0]\n:KUBE-SEP-{service:016} - [0:0]\n"));
    }
    for service in 0..10_000 {
        let vip = format!("10.{}.{}.{}", 96 + service / 65536, service / 256 % 256, service % 256);
        let comment = format!("-m comment --comment \"shop/service-{service}:http");
        let (svc, sep) = (format!("KUBE-SVC-{service:016}"), format!("KUBE-SEP-{service:016}"));
        out.push_str(&format!(
            "-A KUBE-SERVICES -d {vip}/32 -p tcp {comment} cluster IP\" -m tcp --dport 80 -j {svc}\n\
             -A {svc} ! -s 10.244.0.0/16 -d {vip}/32 -p tcp {comment} cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ\n\
             -A {svc} {comment} -> 10.244.1.2:8080\" -m statistic --mode random --probability 0.50000000000 -j {sep}\n\
             -A {sep} -s 10.244.1.2/32 {comment}\" -j KUBE-MARK-MASQ\n\
             -A {sep} -p tcp {comment}\" -m tcp -j DNAT --to-destination 10.244.1.2:8080\n"
        ));
    }
    out.push_str("COMMIT\n");
    out
}

#[divan::bench]
fn parse_50_000_rules(bencher: Bencher<'_, '_>) {
    let text = dump();
    assert_eq!(text.matches("\n-A ").count(), 50_000);
    bencher.bench(|| iptables_save::parse(black_box(&text), "node", Family::V4));
}

#[divan::bench]
fn render_50_000_rules(bencher: Bencher<'_, '_>) {
    let tables = iptables_save::parse(&dump(), "node", Family::V4).items;
    bencher.bench(|| iptables_save::render(black_box(&tables), Dialect::Current));
}

#[divan::bench]
fn render_50_000_rules_to_feed(bencher: Bencher<'_, '_>) {
    let tables = iptables_save::parse(&dump(), "node", Family::V4).items;
    bencher.bench(|| iptables_save::render_restore(black_box(&tables), Marks::Padded));
}

/// What prints a form, the form's name, and the mode whose rules it prints.
struct Form(&'static str, ProxyMode, fn(&Ruleset) -> String);

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

const FORMS: [Form; 7] = [
    Form("iptables-save", ProxyMode::Iptables, |rules| iptables_save::render(&rules.xt, Dialect::Current)),
    Form("iptables-restore", ProxyMode::Iptables, |rules| {
        iptables_save::render_restore(&rules.xt, Marks::Padded)
    }),
    Form("nft", ProxyMode::Nftables, |rules| nft::render(&rules.nft, nft::Dialect::default())),
    Form("nft-feed", ProxyMode::Nftables, |rules| nft::render_feed(&rules.nft)),
    Form("iptables-save-ipvs", ProxyMode::Ipvs, |rules| iptables_save::render(&rules.xt, Dialect::Current)),
    Form("ipvsadm", ProxyMode::Ipvs, |rules| ipvsadm::render(&rules.ipvs)),
    Form("ipset", ProxyMode::Ipvs, |rules| ipset::render(&rules.ipsets)),
];

/// Everything that a node with 10,000 Services has, in a form.
#[divan::bench(args = FORMS, sample_count = 8, sample_size = 1)]
fn render_a_node(bencher: Bencher<'_, '_>, form: &Form) {
    let Form(_, mode, render) = form;
    let cluster = cluster::of(*mode);
    let rules = NodeRules::new(cluster, 0).expect("a node").ruleset(cluster);
    let text = render(&rules);
    assert!(text.lines().count() > 20);
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| render(black_box(&rules)));
}
