#![allow(clippy::wildcard_enum_match_arm, reason = "what is not expected here shows in a dump")]

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use expect_test::expect;

use super::shop;
use crate::compile::service::{Detector, NodePortAddresses, ProxyConfig, iptables};
use crate::plan::xt::{Inv, Match, Recent, Rule, Statistic, Table, Target, Tcp};

fn inv<T>(inv: &Inv<T>, option: &str, value: impl core::fmt::Display) -> String {
    format!("{}{option} {value}", if inv.not { "! " } else { "" })
}

/// A rule as `iptables-save` has it, as far as kube-proxy uses it.
pub(super) fn words(rule: &Rule) -> String {
    let mut words: Vec<String> = rule.matches.iter().map(condition).collect();
    words.extend(rule.target.as_ref().map(target));
    words.join(" ")
}

fn condition(condition: &Match) -> String {
    match condition {
        Match::Source(net) => inv(net, "-s", net.value),
        Match::Destination(net) => inv(net, "-d", net.value),
        Match::Iif(name) => inv(name, "-i", &name.value),
        Match::Oif(name) => inv(name, "-o", &name.value),
        Match::Protocol(number) => format!("-p {}", number.value),
        Match::Comment(text) => format!("\"{text}\""),
        Match::Tcp(Tcp { dport: Some(port), .. }) => format!("tcp dport {}", port.value.first),
        Match::Tcp(_) => "tcp".to_string(),
        Match::Udp(ports) | Match::Sctp(ports) => match &ports.dport {
            Some(port) => format!("udp dport {}", port.value.first),
            None => "udp".to_string(),
        },
        Match::Conntrack(conntrack) => {
            let state = conntrack.state.as_ref().expect("a state");
            inv(state, "ctstate", format!("{:?}", state.value))
        }
        Match::State(state) => inv(state, "state", format!("{:?}", state.value)),
        Match::Addrtype(addrtype) => match (&addrtype.src, &addrtype.dst) {
            (Some(src), _) => inv(src, "src", "LOCAL"),
            (None, dst) => inv(dst.as_ref().expect("a type"), "dst", "LOCAL"),
        },
        Match::Mark(mark) => inv(mark, "mark", format!("{:#x}/{:#x}", mark.value.value, mark.value.mask)),
        Match::Recent(recent) => {
            let Recent { op, seconds, name, reap, .. } = &**recent;
            format!("recent {:?} {seconds:?} reap {reap} {name}", op.value)
        }
        Match::Statistic(Statistic::Random(share)) => {
            format!("probability {:.10}", f64::from(share.value) / f64::from(Statistic::ONE))
        }
        Match::Set { set, .. } => {
            let sides: Vec<&str> = set.value.src.iter().map(|src| if *src { "src" } else { "dst" }).collect();
            inv(set, "set", format!("{} {}", set.value.name, sides.join(",")))
        }
        Match::Physdev(_) => "! physdev in".to_string(),
        Match::Multiport(multiport) => {
            let ports: Vec<String> =
                multiport.ports.value.iter().map(|port| port.first.to_string()).collect();
            format!("multiport {}", ports.join(","))
        }
        other => format!("{other:?}"),
    }
}

fn target(target: &Target) -> String {
    match target {
        Target::Accept => "ACCEPT".to_string(),
        Target::Drop => "DROP".to_string(),
        Target::Return => "RETURN".to_string(),
        Target::Jump(chain) => format!("-j {chain}"),
        Target::Reject(_) => "REJECT".to_string(),
        Target::Dnat(to) => {
            let (addr, _) = to.addrs.expect("an address");
            format!("DNAT {addr}:{}", to.ports.expect("a port").first)
        }
        Target::Redirect { ports, .. } => format!("REDIRECT {}", ports.expect("a port").first),
        Target::Masquerade { flags, .. } => format!("MASQUERADE random {}", flags.fully_random),
        Target::Mark(mark) => format!("MARK {:#x}/{:#x}", mark.value, mark.mask),
        other => format!("{other:?}"),
    }
}

pub(super) fn dump(tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables {
        text.push_str(&format!("*{}\n", table.name));
        for chain in &table.chains {
            text.push_str(&format!(":{}\n", chain.name));
            chain.rules.iter().for_each(|rule| text.push_str(&format!("  {}\n", words(rule))));
        }
    }
    text
}

#[test]
fn a_service_of_each_kind_is_fed_as_kube_proxy_writes_it() {
    let config = shop::config();
    expect![[r#"
        *filter
        :KUBE-SERVICES
          -d 10.96.0.5/32 -p 6 "shop/away:web has no local endpoints" tcp dport 80 DROP
          -d 10.96.0.6/32 -p 17 "shop/empty:dns has no endpoints" udp dport 53 REJECT
        :KUBE-EXTERNAL-SERVICES
          -p 17 "shop/empty:dns has no endpoints" dst LOCAL udp dport 30006 REJECT
        :KUBE-FORWARD
          ctstate ([Invalid], []) DROP
          "kubernetes forwarding rules" mark 0x4000/0x4000 ACCEPT
          "kubernetes forwarding conntrack rule" ctstate ([Related, Established], []) ACCEPT
        :KUBE-NODEPORTS
          -p 6 "shop/local:web health check node port" tcp dport 30100 ACCEPT
        :KUBE-PROXY-FIREWALL
          -d 192.0.2.4/32 -p 6 "shop/balanced:web traffic not accepted by KUBE-FW-A35QZEOAXHAO567C" tcp dport 80 DROP
        :KUBE-FIREWALL
          ! -s 127.0.0.0/8 -d 127.0.0.0/8 "block incoming localnet connections" ! ctstate ([Related, Established], [Dnat]) DROP
        *nat
        :KUBE-SERVICES
          -d 10.96.0.4/32 -p 6 "shop/balanced:web cluster IP" tcp dport 80 -j KUBE-SVC-A35QZEOAXHAO567C
          -d 198.51.100.7/32 -p 6 "shop/balanced:web external IP" tcp dport 80 -j KUBE-EXT-A35QZEOAXHAO567C
          -d 192.0.2.4/32 -p 6 "shop/balanced:web loadbalancer IP" tcp dport 80 -j KUBE-FW-A35QZEOAXHAO567C
          -d 10.96.0.3/32 -p 6 "shop/local:web cluster IP" tcp dport 80 -j KUBE-SVC-PULSO253BKUCLCP5
          -d 192.0.2.3/32 -p 6 "shop/local:web loadbalancer IP" tcp dport 80 -j KUBE-EXT-PULSO253BKUCLCP5
          -d 10.96.0.1/32 -p 6 "shop/plain:web cluster IP" tcp dport 80 -j KUBE-SVC-Q2Z32HBIWB2447SC
          -d 10.96.0.2/32 -p 6 "shop/sticky:web cluster IP" tcp dport 80 -j KUBE-SVC-S4DS4SNQHC4POKGM
          "kubernetes service nodeports; NOTE: this must be the last rule in this chain" dst LOCAL -j KUBE-NODEPORTS
        :KUBE-NODEPORTS
          -p 6 "shop/balanced:web" tcp dport 30004 -j KUBE-EXT-A35QZEOAXHAO567C
          -p 6 "shop/local:web" tcp dport 30003 -j KUBE-EXT-PULSO253BKUCLCP5
        :KUBE-POSTROUTING
          ! mark 0x4000/0x4000 RETURN
          MARK 0x4000/0x0
          "kubernetes service traffic requiring SNAT" MASQUERADE random true
        :KUBE-MARK-MASQ
          MARK 0x4000/0x4000
        :KUBE-SVC-A35QZEOAXHAO567C
          ! -s 10.244.0.0/16 -d 10.96.0.4/32 -p 6 "shop/balanced:web cluster IP" tcp dport 80 -j KUBE-MARK-MASQ
          "shop/balanced:web -> 10.244.2.5:8080" -j KUBE-SEP-4CAYS2YLKQROSD4F
        :KUBE-EXT-A35QZEOAXHAO567C
          "masquerade traffic for shop/balanced:web external destinations" -j KUBE-MARK-MASQ
          -j KUBE-SVC-A35QZEOAXHAO567C
        :KUBE-FW-A35QZEOAXHAO567C
          -s 203.0.113.0/24 "shop/balanced:web loadbalancer IP" -j KUBE-EXT-A35QZEOAXHAO567C
          -s 192.168.0.0/16 "shop/balanced:web loadbalancer IP" -j KUBE-EXT-A35QZEOAXHAO567C
          -s 192.0.2.4/32 "shop/balanced:web loadbalancer IP" -j KUBE-EXT-A35QZEOAXHAO567C
          "other traffic to shop/balanced:web will be dropped by KUBE-PROXY-FIREWALL"
        :KUBE-SEP-4CAYS2YLKQROSD4F
          -s 10.244.2.5/32 "shop/balanced:web" -j KUBE-MARK-MASQ
          -p 6 "shop/balanced:web" tcp DNAT 10.244.2.5:8080
        :KUBE-SVC-PULSO253BKUCLCP5
          ! -s 10.244.0.0/16 -d 10.96.0.3/32 -p 6 "shop/local:web cluster IP" tcp dport 80 -j KUBE-MARK-MASQ
          "shop/local:web -> 10.244.1.3:8080" probability 0.5000000000 -j KUBE-SEP-WHN4ARHQ4IXQRDRN
          "shop/local:web -> 10.244.2.4:8080" -j KUBE-SEP-AZCJSRKBDYFD65NW
        :KUBE-SVL-PULSO253BKUCLCP5
          "shop/local:web -> 10.244.1.3:8080" -j KUBE-SEP-WHN4ARHQ4IXQRDRN
        :KUBE-EXT-PULSO253BKUCLCP5
          -s 10.244.0.0/16 "pod traffic for shop/local:web external destinations" -j KUBE-SVC-PULSO253BKUCLCP5
          "masquerade LOCAL traffic for shop/local:web external destinations" src LOCAL -j KUBE-MARK-MASQ
          "route LOCAL traffic for shop/local:web external destinations" src LOCAL -j KUBE-SVC-PULSO253BKUCLCP5
          -j KUBE-SVL-PULSO253BKUCLCP5
        :KUBE-SEP-WHN4ARHQ4IXQRDRN
          -s 10.244.1.3/32 "shop/local:web" -j KUBE-MARK-MASQ
          -p 6 "shop/local:web" tcp DNAT 10.244.1.3:8080
        :KUBE-SEP-AZCJSRKBDYFD65NW
          -s 10.244.2.4/32 "shop/local:web" -j KUBE-MARK-MASQ
          -p 6 "shop/local:web" tcp DNAT 10.244.2.4:8080
        :KUBE-SVC-Q2Z32HBIWB2447SC
          ! -s 10.244.0.0/16 -d 10.96.0.1/32 -p 6 "shop/plain:web cluster IP" tcp dport 80 -j KUBE-MARK-MASQ
          "shop/plain:web -> 10.244.1.1:8080" probability 0.3333333335 -j KUBE-SEP-CD7VE6QMNMRUZZ6O
          "shop/plain:web -> 10.244.2.1:8080" probability 0.5000000000 -j KUBE-SEP-NBXJXFL6BQBKH2YD
          "shop/plain:web -> 10.244.2.2:8080" -j KUBE-SEP-LZXZRPWWOKDEUYMD
        :KUBE-SEP-CD7VE6QMNMRUZZ6O
          -s 10.244.1.1/32 "shop/plain:web" -j KUBE-MARK-MASQ
          -p 6 "shop/plain:web" tcp DNAT 10.244.1.1:8080
        :KUBE-SEP-NBXJXFL6BQBKH2YD
          -s 10.244.2.1/32 "shop/plain:web" -j KUBE-MARK-MASQ
          -p 6 "shop/plain:web" tcp DNAT 10.244.2.1:8080
        :KUBE-SEP-LZXZRPWWOKDEUYMD
          -s 10.244.2.2/32 "shop/plain:web" -j KUBE-MARK-MASQ
          -p 6 "shop/plain:web" tcp DNAT 10.244.2.2:8080
        :KUBE-SVC-S4DS4SNQHC4POKGM
          ! -s 10.244.0.0/16 -d 10.96.0.2/32 -p 6 "shop/sticky:web cluster IP" tcp dport 80 -j KUBE-MARK-MASQ
          "shop/sticky:web -> 10.244.1.2:8080" recent Rcheck Some(10800) reap true KUBE-SEP-QP2AIVGDEA6F2NWC -j KUBE-SEP-QP2AIVGDEA6F2NWC
          "shop/sticky:web -> 10.244.2.3:8080" recent Rcheck Some(10800) reap true KUBE-SEP-SXIK7PW7AEYT7NYW -j KUBE-SEP-SXIK7PW7AEYT7NYW
          "shop/sticky:web -> 10.244.1.2:8080" probability 0.5000000000 -j KUBE-SEP-QP2AIVGDEA6F2NWC
          "shop/sticky:web -> 10.244.2.3:8080" -j KUBE-SEP-SXIK7PW7AEYT7NYW
        :KUBE-SEP-QP2AIVGDEA6F2NWC
          -s 10.244.1.2/32 "shop/sticky:web" -j KUBE-MARK-MASQ
          -p 6 "shop/sticky:web" recent Set None reap false KUBE-SEP-QP2AIVGDEA6F2NWC tcp DNAT 10.244.1.2:8080
        :KUBE-SEP-SXIK7PW7AEYT7NYW
          -s 10.244.2.3/32 "shop/sticky:web" -j KUBE-MARK-MASQ
          -p 6 "shop/sticky:web" recent Set None reap false KUBE-SEP-SXIK7PW7AEYT7NYW tcp DNAT 10.244.2.3:8080
    "#]].assert_eq(&dump(&iptables::fed(&config, &shop::ports(&config))));
}

#[test]
fn a_node_shows_the_jumps_in_the_order_in_which_they_were_prepended() {
    let config = shop::config();
    let tables = iptables::shown(&config, &[]);
    let builtin = |table: &Table| {
        let mut text = format!("*{}\n", table.name);
        for chain in &table.chains {
            text.push_str(&format!(":{}\n", chain.name));
            for rule in chain.rules.iter().filter(|_| chain.policy.is_some()) {
                text.push_str(&format!("  {}\n", words(rule)));
            }
        }
        text
    };
    expect![[r#"
        *mangle
        :PREROUTING
        :INPUT
        :FORWARD
        :OUTPUT
        :POSTROUTING
        :KUBE-IPTABLES-HINT
        :KUBE-KUBELET-CANARY
        :KUBE-PROXY-CANARY
        *filter
        :INPUT
          -j KUBE-FIREWALL
          ctstate ([New], []) "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
          "kubernetes health check service ports" -j KUBE-NODEPORTS
          ctstate ([New], []) "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
        :FORWARD
          ctstate ([New], []) "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
          "kubernetes forwarding rules" -j KUBE-FORWARD
          ctstate ([New], []) "kubernetes service portals" -j KUBE-SERVICES
          ctstate ([New], []) "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
        :OUTPUT
          -j KUBE-FIREWALL
          ctstate ([New], []) "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
          ctstate ([New], []) "kubernetes service portals" -j KUBE-SERVICES
        :KUBE-EXTERNAL-SERVICES
        :KUBE-FIREWALL
        :KUBE-FORWARD
        :KUBE-KUBELET-CANARY
        :KUBE-NODEPORTS
        :KUBE-PROXY-CANARY
        :KUBE-PROXY-FIREWALL
        :KUBE-SERVICES
        *nat
        :PREROUTING
          "kubernetes service portals" -j KUBE-SERVICES
        :INPUT
        :OUTPUT
          "kubernetes service portals" -j KUBE-SERVICES
        :POSTROUTING
          "kubernetes postrouting rules" -j KUBE-POSTROUTING
        :KUBE-KUBELET-CANARY
        :KUBE-MARK-MASQ
        :KUBE-NODEPORTS
        :KUBE-POSTROUTING
        :KUBE-PROXY-CANARY
        :KUBE-SERVICES
    "#]]
    .assert_eq(&tables.iter().map(builtin).collect::<String>());
}

/// The rules of one chain.
fn chain(config: &ProxyConfig, table: &str, name: &str) -> String {
    let tables = iptables::fed(config, &shop::ports(config));
    let table = tables.iter().find(|t| &*t.name == table).expect("a table");
    let chain = table.chain(name).expect("a chain");
    chain.rules.iter().map(|rule| format!("{}\n", words(rule))).collect()
}

#[test]
fn everything_to_a_cluster_ip_is_masqueraded_where_that_is_set_and_nothing_without_a_detector() {
    let mut config = shop::config();
    let svc = "KUBE-SVC-Q2Z32HBIWB2447SC";
    config.masquerade_all = true;
    let all = chain(&config, "nat", svc);
    assert!(
        all.starts_with(
            "-d 10.96.0.1/32 -p 6 \"shop/plain:web cluster IP\" tcp dport 80 -j KUBE-MARK-MASQ\n"
        )
    );
    config.masquerade_all = false;
    config.detector = None;
    assert!(!chain(&config, "nat", svc).contains("KUBE-MARK-MASQ"));
    config.detector = Some(Detector::Bridge("cni0".into()));
    assert!(chain(&config, "nat", svc).contains("! -i cni0 -p 6 "));
    config.detector = Some(Detector::LinkPrefix("veth".into()));
    assert!(chain(&config, "nat", svc).contains("! -i veth+ -p 6 "));
}

#[test]
fn node_ports_answer_where_the_setting_says() {
    let mut config = shop::config();
    let last = |config: &ProxyConfig| -> Vec<String> {
        let services = chain(config, "nat", "KUBE-SERVICES");
        services.lines().filter(|line| line.ends_with("KUBE-NODEPORTS")).map(Into::into).collect()
    };
    let note = "\"kubernetes service nodeports; NOTE: this must be the last rule in this chain\"";
    assert_eq!(last(&config), [format!("{note} dst LOCAL -j KUBE-NODEPORTS")]);
    config.localhost_node_ports = false;
    assert_eq!(last(&config), [format!("! -d 127.0.0.0/8 {note} dst LOCAL -j KUBE-NODEPORTS")]);
    config.node_port_addresses = NodePortAddresses::In(
        ["192.168.0.0/16", "127.0.0.0/8"].map(|net| net.parse().expect("a range")).into(),
    );
    assert_eq!(last(&config), [format!("-d 192.168.0.2/32 {note} -j KUBE-NODEPORTS")]);
    config.localhost_node_ports = true;
    assert_eq!(last(&config).len(), 2);
}

#[test]
fn a_large_cluster_has_no_comments_on_endpoints() {
    let config = shop::config();
    for port in shop::ports(&config) {
        let small = iptables::part(&config, &port, iptables::ClusterSize::of(1000));
        let large = iptables::part(&config, &port, iptables::ClusterSize::of(1001));
        let plain = |mut rules: Vec<Rule>| {
            rules.iter_mut().for_each(|rule| rule.matches.retain(|m| !matches!(m, Match::Comment(_))));
            rules
        };
        for (a, b) in small.chains.iter().zip(&large.chains) {
            assert_eq!(plain(a.rules.clone()), plain(b.rules.clone()));
            let commented = b.rules.iter().any(|rule| matches!(rule.matches.last(), Some(Match::Comment(_))));
            assert!(!b.name.starts_with("KUBE-SEP-") || !commented);
        }
        assert_eq!((small.nat_services, small.filter_external), (large.nat_services, large.filter_external));
    }
}

#[test]
fn an_invalid_packet_is_dropped_unless_conntrack_is_liberal() {
    let mut config = shop::config();
    assert!(chain(&config, "filter", "KUBE-FORWARD").starts_with("ctstate ([Invalid], []) DROP\n"));
    config.be_liberal = true;
    assert!(!chain(&config, "filter", "KUBE-FORWARD").contains("DROP"));
}
