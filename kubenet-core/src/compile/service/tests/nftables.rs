#![allow(clippy::wildcard_enum_match_arm, reason = "what is not expected here shows in a dump")]

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use expect_test::expect;

use super::shop;
use crate::addr::Family;
use crate::compile::service::{Detector, NodePortAddresses, ProxyConfig, nftables};
use crate::plan::nft::{Chain, Data, Element, Expr, Nat, Op, Rule, Statement, Table, Value, Verdict};

fn value(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Addr(addr) => addr.to_string(),
        Value::Prefix(net) => net.to_string(),
        Value::Name(name) => name.to_string(),
        Value::Range(..) => format!("{value:?}"),
    }
}

fn values(list: &[Value]) -> String {
    list.iter().map(value).collect::<Vec<_>>().join(" . ")
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn element(element: &Element) -> String {
    let data = match &element.data {
        None => String::new(),
        Some(Data::Values(list)) => format!(" : {}", values(list)),
        Some(Data::Verdict(v)) => format!(" : {}", verdict(v)),
    };
    let comment = element.comment.as_ref().map(|text| format!(" \"{text}\"")).unwrap_or_default();
    format!("{}{comment}{data}", values(&element.key))
}

fn expr(of: &Expr) -> String {
    match of {
        Expr::Value(constant) => value(constant),
        Expr::Elements(list) => format!("{{ {} }}", list.iter().map(element).collect::<Vec<_>>().join(", ")),
        Expr::Named(name) => format!("@{name}"),
        Expr::Concat(parts) => parts.iter().map(expr).collect::<Vec<_>>().join(" . "),
        Expr::Map { key, map } => format!("{} map {}", expr(key), expr(map)),
        Expr::Binary { op, left, right } => format!("({} {op:?} {})", expr(left), expr(right)),
        Expr::Numgen { modulus, .. } => format!("numgen {modulus}"),
        Expr::Field(field) => format!("{field:?}"),
        Expr::Meta(meta) => format!("{meta:?}"),
        Expr::Ct { key, .. } => format!("ct{key:?}"),
        Expr::Fib { keys, .. } => format!("fib{keys:?}"),
        other => format!("{other:?}"),
    }
}

fn statement(of: &Statement) -> String {
    match of {
        Statement::Match { left, op: Op::Implicit, right } => format!("{} {}", expr(left), expr(right)),
        Statement::Match { left, op, right } => format!("{} {op:?} {}", expr(left), expr(right)),
        Statement::Verdict(v) => verdict(v),
        Statement::Vmap { key, map } => format!("{} vmap {}", expr(key), expr(map)),
        Statement::Assign { target, value } => format!("set {} {}", expr(target), expr(value)),
        Statement::Dnat(Nat { family, addr: Some(addr), port, .. }) => {
            let family = family.map(|family| format!("{family:?} ")).unwrap_or_default();
            let port = port.as_ref().map(|port| format!(":{}", expr(port))).unwrap_or_default();
            format!("dnat {family}{}{port}", expr(addr))
        }
        Statement::Masquerade { flags, .. } => format!("masquerade random {}", flags.fully_random),
        Statement::SetOp { op, set, key, .. } => format!("{op:?} @{set} {}", expr(key)),
        Statement::Reject(None) => "reject".to_string(),
        other => format!("{other:?}"),
    }
}

fn rule(rule: &Rule) -> String {
    let statements: Vec<String> = rule.statements.iter().map(statement).collect();
    let comment = rule.comment.as_ref().map(|text| format!(" \"{text}\"")).unwrap_or_default();
    format!("{}{comment}", statements.join(" "))
}

fn chain(chain: &Chain) -> String {
    let base = chain.base.as_ref().map(|base| format!(" {:?} {:?} {}", base.kind, base.hook, base.priority));
    let mut text = format!("chain {}{}\n", chain.name, base.unwrap_or_default());
    chain.rules.iter().for_each(|r| text.push_str(&format!("  {}\n", rule(r))));
    text
}

fn dump(table: &Table) -> String {
    let mut text = format!("table {:?} {}\n", table.family, table.name);
    for set in &table.sets {
        let timeout = set.timeout_ms.map(|ms| format!(" timeout {ms}")).unwrap_or_default();
        text.push_str(&format!("set {} {} {}{timeout}\n", set.name, set.key.join("."), set.data.join(".")));
        set.elements.iter().for_each(|e| text.push_str(&format!("  {}\n", element(e))));
    }
    table.chains.iter().for_each(|c| text.push_str(&chain(c)));
    text
}

#[test]
fn a_service_of_each_kind_is_written_as_kube_proxy_does() {
    let mut config = shop::config();
    config.node_port_addresses = NodePortAddresses::Primary;
    expect![[r#"
        table Ip kube-proxy
        set hairpin-connections ipv4_addr.ipv4_addr.inet_proto.inet_service 
          10.244.1.1 . 10.244.1.1 . 6 . 8080
          10.244.1.2 . 10.244.1.2 . 6 . 8080
          10.244.1.3 . 10.244.1.3 . 6 . 8080
        set cluster-ips ipv4_addr 
          10.96.0.1
          10.96.0.2
          10.96.0.3
          10.96.0.4
          10.96.0.5
          10.96.0.6
        set nodeport-ips ipv4_addr 
          192.168.0.2
        set no-endpoint-services ipv4_addr.inet_proto.inet_service verdict
          10.96.0.5 . 6 . 80 "shop/away:web" : drop
          10.96.0.6 . 17 . 53 "shop/empty:dns" : goto reject-chain
        set no-endpoint-nodeports inet_proto.inet_service verdict
          17 . 30006 "shop/empty:dns" : goto reject-chain
        set firewall-ips ipv4_addr.inet_proto.inet_service verdict
          192.0.2.4 . 6 . 80 : goto firewall-QG3PUUXT-shop/balanced/tcp/web
        set service-ips ipv4_addr.inet_proto.inet_service verdict
          10.96.0.1 . 6 . 80 : goto service-52UP5EAQ-shop/plain/tcp/web
          10.96.0.2 . 6 . 80 : goto service-XTTMLEHD-shop/sticky/tcp/web
          10.96.0.3 . 6 . 80 : goto service-UBHTXQSV-shop/local/tcp/web
          10.96.0.4 . 6 . 80 : goto service-QG3PUUXT-shop/balanced/tcp/web
          192.0.2.3 . 6 . 80 : goto external-UBHTXQSV-shop/local/tcp/web
          192.0.2.4 . 6 . 80 : goto external-QG3PUUXT-shop/balanced/tcp/web
          198.51.100.7 . 6 . 80 : goto external-QG3PUUXT-shop/balanced/tcp/web
        set service-nodeports inet_proto.inet_service verdict
          6 . 30003 : goto external-UBHTXQSV-shop/local/tcp/web
          6 . 30004 : goto external-QG3PUUXT-shop/balanced/tcp/web
        set affinity-S4FTKANX-shop/sticky/tcp/web__10.244.1.2/8080 ipv4_addr  timeout 10800000
        set affinity-OULDVFXV-shop/sticky/tcp/web__10.244.2.3/8080 ipv4_addr  timeout 10800000
        chain filter-prerouting-pre-dnat Filter Prerouting -110
          ctState 8 jump firewall-check
        chain filter-output-pre-dnat Filter Output -110
          ctState 8 jump firewall-check
        chain filter-input Filter Input 0
          ctState 8 jump nodeport-endpoints-check
          ctState 8 jump service-endpoints-check
        chain filter-forward Filter Forward 0
          ctState 8 jump service-endpoints-check
          ctState 8 jump cluster-ips-check
        chain filter-output Filter Output 0
          ctState 8 jump service-endpoints-check
          ctState 8 jump cluster-ips-check
        chain nat-prerouting Nat Prerouting -100
          jump services
        chain nat-output Nat Output -100
          jump services
        chain nat-postrouting Nat Postrouting 100
          jump masquerading
        chain nodeport-endpoints-check
          IpDaddr @nodeport-ips L4proto . ThDport vmap @no-endpoint-nodeports
        chain service-endpoints-check
          IpDaddr . L4proto . ThDport vmap @no-endpoint-services
        chain firewall-check
          IpDaddr . L4proto . ThDport vmap @firewall-ips
        chain services
          IpDaddr @cluster-ips IpSaddr Ne 10.244.0.0/16 set Mark (Mark Or 16384) "masquerade clusterIP traffic from outside cluster"
          IpDaddr . L4proto . ThDport vmap @service-ips
          IpDaddr @nodeport-ips L4proto . ThDport vmap @service-nodeports
        chain masquerading
          (Mark And 16384) Ne 0 set Mark (Mark Xor 16384) masquerade random true
          ctStatus 32 IpSaddr . IpDaddr . L4proto . ThDport @hairpin-connections masquerade random true
        chain cluster-ips-check
          IpDaddr @cluster-ips reject "Reject traffic to invalid ports of ClusterIPs"
          IpDaddr { 10.96.0.0/12 } drop "Drop traffic to unallocated ClusterIPs"
        chain reject-chain
          reject
        chain service-QG3PUUXT-shop/balanced/tcp/web
          L4proto 6 dnat V4 numgen 1 map { 0 : 10.244.2.5 . 8080 }
        chain external-QG3PUUXT-shop/balanced/tcp/web
          set Mark (Mark Or 16384) "masquerade"
          goto service-QG3PUUXT-shop/balanced/tcp/web
        chain firewall-QG3PUUXT-shop/balanced/tcp/web
          IpSaddr Ne { 203.0.113.0/24, 192.168.0.0/16, 192.0.2.4 } drop
        chain service-UBHTXQSV-shop/local/tcp/web
          L4proto 6 dnat V4 numgen 2 map { 0 : 10.244.1.3 . 8080, 1 : 10.244.2.4 . 8080 }
        chain local-UBHTXQSV-shop/local/tcp/web
          L4proto 6 dnat V4 numgen 1 map { 0 : 10.244.1.3 . 8080 }
        chain external-UBHTXQSV-shop/local/tcp/web
          IpSaddr 10.244.0.0/16 goto service-UBHTXQSV-shop/local/tcp/web "short-circuit pod traffic"
          fib[Saddr] 2 set Mark (Mark Or 16384) "masquerade local traffic"
          fib[Saddr] 2 goto service-UBHTXQSV-shop/local/tcp/web "short-circuit local traffic"
          goto local-UBHTXQSV-shop/local/tcp/web
        chain service-52UP5EAQ-shop/plain/tcp/web
          L4proto 6 dnat V4 numgen 3 map { 0 : 10.244.1.1 . 8080, 1 : 10.244.2.1 . 8080, 2 : 10.244.2.2 . 8080 }
        chain service-XTTMLEHD-shop/sticky/tcp/web
          IpSaddr @affinity-S4FTKANX-shop/sticky/tcp/web__10.244.1.2/8080 goto endpoint-S4FTKANX-shop/sticky/tcp/web__10.244.1.2/8080
          IpSaddr @affinity-OULDVFXV-shop/sticky/tcp/web__10.244.2.3/8080 goto endpoint-OULDVFXV-shop/sticky/tcp/web__10.244.2.3/8080
          numgen 2 vmap { 0 : goto endpoint-S4FTKANX-shop/sticky/tcp/web__10.244.1.2/8080, 1 : goto endpoint-OULDVFXV-shop/sticky/tcp/web__10.244.2.3/8080 }
        chain endpoint-S4FTKANX-shop/sticky/tcp/web__10.244.1.2/8080
          Update @affinity-S4FTKANX-shop/sticky/tcp/web__10.244.1.2/8080 IpSaddr
          L4proto 6 dnat 10.244.1.2:8080
        chain endpoint-OULDVFXV-shop/sticky/tcp/web__10.244.2.3/8080
          Update @affinity-OULDVFXV-shop/sticky/tcp/web__10.244.2.3/8080 IpSaddr
          L4proto 6 dnat 10.244.2.3:8080
    "#]].assert_eq(&dump(&nftables::table(&config, &shop::ports(&config))));
}

fn named(config: &ProxyConfig, name: &str) -> String {
    let table = nftables::table(config, &shop::ports(config));
    chain(table.chain(name).expect("a chain"))
}

#[test]
fn node_ports_at_all_addresses_go_by_the_type_of_the_address() {
    let config = shop::config();
    expect![[r#"
        chain services
          IpDaddr @cluster-ips IpSaddr Ne 10.244.0.0/16 set Mark (Mark Or 16384) "masquerade clusterIP traffic from outside cluster"
          IpDaddr . L4proto . ThDport vmap @service-ips
          fib[Daddr] 2 IpDaddr Ne 127.0.0.0/8 L4proto . ThDport vmap @service-nodeports
    "#]].assert_eq(&named(&config, "services"));
    expect![[r#"
        chain nodeport-endpoints-check
          IpDaddr Ne 127.0.0.0/8 L4proto . ThDport vmap @no-endpoint-nodeports
    "#]]
    .assert_eq(&named(&config, "nodeport-endpoints-check"));
    assert!(nftables::base_table(&config).set("nodeport-ips").is_none());
}

#[test]
fn the_other_family_has_its_own_words() {
    let mut config = ProxyConfig::new(Family::V6, "here");
    config.masquerade_all = true;
    let table = nftables::base_table(&config);
    expect![[r#"
        chain services
          Ip6Daddr @cluster-ips set Mark (Mark Or 16384) "masquerade all clusterIP traffic"
          Ip6Daddr . L4proto . ThDport vmap @service-ips
          fib[Daddr] 2 Ip6Daddr Ne ::1 L4proto . ThDport vmap @service-nodeports
    "#]]
    .assert_eq(&chain(table.chain("services").expect("a chain")));
    config.masquerade_all = false;
    config.detector = Some(Detector::LinkPrefix("veth".into()));
    expect![[r#"
        chain services
          Ip6Daddr @cluster-ips Iifname Ne veth* set Mark (Mark Or 16384) "masquerade clusterIP traffic from outside cluster"
          Ip6Daddr . L4proto . ThDport vmap @service-ips
          fib[Daddr] 2 Ip6Daddr Ne ::1 L4proto . ThDport vmap @service-nodeports
    "#]].assert_eq(&chain(nftables::base_table(&config).chain("services").expect("a chain")));
}
