//! How long a dump of rules takes to read and to print.
//!
//! 50,000 rules of 10,000 services with four endpoints' chains each, as `iptables-save` prints them.

use divan::{Bencher, black_box};
use kubenet_core::addr::Family;
use kubenet_core::text::iptables_save::{self, Dialect, Marks};

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
