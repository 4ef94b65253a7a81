#![allow(clippy::wildcard_enum_match_arm, reason = "what is not expected here shows in a dump")]

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use expect_test::expect;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::iptables::dump;
use super::rules::{NOWHERE, Traits, cluster, rules, traits};
use super::{objects, shop};
use crate::addr::Family;
use crate::assume::Assume;
use crate::cluster::{Cluster, ProxyMode, resolve};
use crate::compile::machine;
use crate::compile::service::ipvs::{self, Shared};
use crate::compile::service::{NodeSupply, ProxyConfig};
use crate::plan::netfilter::{PacketKey, Ruleset, Supply};
use crate::plan::xt::{Match, Rule};
use crate::plan::{IpSetPart, LinkKind, MachineId, Scheduler, VirtualId};
use crate::text::{ipset, ipvsadm};

#[test]
fn a_service_of_each_kind_is_written_as_kube_proxy_does() {
    let config = shop::config();
    let rules = ipvs::shown(&config, &shop::ports(&config));
    let kube_proxy: Vec<_> = rules.xt.iter().filter(|table| &*table.name != "mangle").cloned().collect();
    expect![[r#"
        *filter
        :INPUT
          -j KUBE-FIREWALL
          "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
          "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
          "kubernetes health check rules" -j KUBE-NODE-PORT
        :FORWARD
          "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
          "kubernetes forwarding rules" -j KUBE-FORWARD
        :OUTPUT
          -j KUBE-FIREWALL
          "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER
        :KUBE-FIREWALL
          ! -s 127.0.0.0/8 -d 127.0.0.0/8 "block incoming localnet connections" ! ctstate ([Related, Established], [Dnat]) DROP
        :KUBE-FORWARD
          "kubernetes forwarding rules" mark 0x4000/0x4000 ACCEPT
          "kubernetes forwarding conntrack rule" ctstate ([Related, Established], []) ACCEPT
        :KUBE-IPVS-FILTER
          set KUBE-LOAD-BALANCER dst,dst RETURN
          set KUBE-CLUSTER-IP dst,dst RETURN
          set KUBE-EXTERNAL-IP dst,dst RETURN
          set KUBE-EXTERNAL-IP-LOCAL dst,dst RETURN
          set KUBE-HEALTH-CHECK-NODE-PORT dst RETURN
          ctstate ([New], []) set KUBE-IPVS-IPS dst REJECT
        :KUBE-IPVS-OUT-FILTER
        :KUBE-KUBELET-CANARY
        :KUBE-NODE-PORT
          "Kubernetes health check node port" set KUBE-HEALTH-CHECK-NODE-PORT dst ACCEPT
        :KUBE-PROXY-FIREWALL
          "Kubernetes service load balancer ip + port for load balancer with sourceRange" set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-SOURCE-RANGES-FIREWALL
        :KUBE-SOURCE-RANGES-FIREWALL
          "Kubernetes service load balancer ip + port + source cidr for packet filter purpose" set KUBE-LOAD-BALANCER-SOURCE-CIDR dst,dst,src RETURN
          "Kubernetes service load balancer ip + port + source IP for packet filter purpose" set KUBE-LOAD-BALANCER-SOURCE-IP dst,dst,src RETURN
          DROP
        *nat
        :PREROUTING
          "kubernetes service portals" -j KUBE-SERVICES
        :INPUT
        :OUTPUT
          "kubernetes service portals" -j KUBE-SERVICES
        :POSTROUTING
          "kubernetes postrouting rules" -j KUBE-POSTROUTING
        :KUBE-KUBELET-CANARY
        :KUBE-LOAD-BALANCER
          "Kubernetes service load balancer ip + port with externalTrafficPolicy=local" set KUBE-LOAD-BALANCER-LOCAL dst,dst RETURN
          -j KUBE-MARK-MASQ
        :KUBE-MARK-MASQ
          MARK 0x4000/0x4000
        :KUBE-NODE-PORT
          -p 6 "Kubernetes nodeport TCP port with externalTrafficPolicy=local" set KUBE-NODE-PORT-LOCAL-TCP dst RETURN
          -p 6 "Kubernetes nodeport TCP port for masquerade purpose" set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ
          -p 17 "Kubernetes nodeport UDP port for masquerade purpose" set KUBE-NODE-PORT-UDP dst -j KUBE-MARK-MASQ
        :KUBE-POSTROUTING
          "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" set KUBE-LOOP-BACK dst,dst,src MASQUERADE random false
          ! mark 0x4000/0x4000 RETURN
          MARK 0x4000/0x0
          "kubernetes service traffic requiring SNAT" MASQUERADE random true
        :KUBE-SERVICES
          -s 127.0.0.0/8 RETURN
          "Kubernetes service lb portal" set KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER
          ! -s 10.244.0.0/16 "Kubernetes service cluster ip + port for masquerade purpose" set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
          "Kubernetes service external ip + port for masquerade and filter purpose" set KUBE-EXTERNAL-IP dst,dst -j KUBE-MARK-MASQ
          "Kubernetes service external ip + port for masquerade and filter purpose" set KUBE-EXTERNAL-IP dst,dst ! physdev in ! src LOCAL ACCEPT
          "Kubernetes service external ip + port for masquerade and filter purpose" set KUBE-EXTERNAL-IP dst,dst dst LOCAL ACCEPT
          dst LOCAL -j KUBE-NODE-PORT
          set KUBE-CLUSTER-IP dst,dst ACCEPT
          set KUBE-LOAD-BALANCER dst,dst ACCEPT
    "#]].assert_eq(&dump(&kube_proxy));
    let sets: Vec<_> = rules.ipsets.iter().map(|set| (**set).clone()).collect();
    expect![[r#"
        create KUBE-LOOP-BACK hash:ip,port,ip family inet hashsize 1024 maxelem 65536
        add KUBE-LOOP-BACK 10.244.1.1,tcp:8080,10.244.1.1
        add KUBE-LOOP-BACK 10.244.1.2,tcp:8080,10.244.1.2
        add KUBE-LOOP-BACK 10.244.1.3,tcp:8080,10.244.1.3
        create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536
        add KUBE-CLUSTER-IP 10.96.0.1,tcp:80
        add KUBE-CLUSTER-IP 10.96.0.2,tcp:80
        add KUBE-CLUSTER-IP 10.96.0.3,tcp:80
        add KUBE-CLUSTER-IP 10.96.0.4,tcp:80
        add KUBE-CLUSTER-IP 10.96.0.5,tcp:80
        add KUBE-CLUSTER-IP 10.96.0.6,udp:53
        create KUBE-EXTERNAL-IP hash:ip,port family inet hashsize 1024 maxelem 65536
        add KUBE-EXTERNAL-IP 198.51.100.7,tcp:80
        create KUBE-EXTERNAL-IP-LOCAL hash:ip,port family inet hashsize 1024 maxelem 65536
        create KUBE-LOAD-BALANCER hash:ip,port family inet hashsize 1024 maxelem 65536
        add KUBE-LOAD-BALANCER 192.0.2.3,tcp:80
        add KUBE-LOAD-BALANCER 192.0.2.4,tcp:80
        create KUBE-LOAD-BALANCER-LOCAL hash:ip,port family inet hashsize 1024 maxelem 65536
        add KUBE-LOAD-BALANCER-LOCAL 192.0.2.3,tcp:80
        create KUBE-LOAD-BALANCER-FW hash:ip,port family inet hashsize 1024 maxelem 65536
        add KUBE-LOAD-BALANCER-FW 192.0.2.4,tcp:80
        create KUBE-LOAD-BALANCER-SOURCE-IP hash:ip,port,ip family inet hashsize 1024 maxelem 65536
        add KUBE-LOAD-BALANCER-SOURCE-IP 192.0.2.4,tcp:80,192.0.2.4
        create KUBE-LOAD-BALANCER-SOURCE-CIDR hash:ip,port,net family inet hashsize 1024 maxelem 65536
        add KUBE-LOAD-BALANCER-SOURCE-CIDR 192.0.2.4,tcp:80,192.168.0.0/16
        add KUBE-LOAD-BALANCER-SOURCE-CIDR 192.0.2.4,tcp:80,203.0.113.0/24
        create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
        add KUBE-NODE-PORT-TCP 30003
        add KUBE-NODE-PORT-TCP 30004
        create KUBE-NODE-PORT-LOCAL-TCP bitmap:port range 0-65535
        add KUBE-NODE-PORT-LOCAL-TCP 30003
        create KUBE-NODE-PORT-UDP bitmap:port range 0-65535
        add KUBE-NODE-PORT-UDP 30006
        create KUBE-NODE-PORT-LOCAL-UDP bitmap:port range 0-65535
        create KUBE-NODE-PORT-SCTP-HASH hash:ip,port family inet hashsize 1024 maxelem 65536
        create KUBE-NODE-PORT-LOCAL-SCTP-HASH hash:ip,port family inet hashsize 1024 maxelem 65536
        create KUBE-HEALTH-CHECK-NODE-PORT bitmap:port range 0-65535
        add KUBE-HEALTH-CHECK-NODE-PORT 30100
        create KUBE-IPVS-IPS hash:ip family inet hashsize 1024 maxelem 65536
        add KUBE-IPVS-IPS 10.96.0.1
        add KUBE-IPVS-IPS 10.96.0.2
        add KUBE-IPVS-IPS 10.96.0.3
        add KUBE-IPVS-IPS 10.96.0.4
        add KUBE-IPVS-IPS 10.96.0.5
        add KUBE-IPVS-IPS 10.96.0.6
        add KUBE-IPVS-IPS 192.0.2.3
        add KUBE-IPVS-IPS 192.0.2.4
        add KUBE-IPVS-IPS 198.51.100.7
    "#]]
    .assert_eq(&ipset::render(&sets));
    let servers: Vec<_> = rules.ipvs.iter().map(|server| (**server).clone()).collect();
    expect![[r#"
        -A -t 10.96.0.1:80 -s rr
        -a -t 10.96.0.1:80 -r 10.244.1.1:8080 -m -w 1
        -a -t 10.96.0.1:80 -r 10.244.2.1:8080 -m -w 1
        -a -t 10.96.0.1:80 -r 10.244.2.2:8080 -m -w 1
        -A -t 10.96.0.2:80 -s rr -p 10800
        -a -t 10.96.0.2:80 -r 10.244.1.2:8080 -m -w 1
        -a -t 10.96.0.2:80 -r 10.244.2.3:8080 -m -w 1
        -A -t 10.96.0.3:80 -s rr
        -a -t 10.96.0.3:80 -r 10.244.1.3:8080 -m -w 1
        -a -t 10.96.0.3:80 -r 10.244.2.4:8080 -m -w 1
        -A -t 10.96.0.4:80 -s rr
        -a -t 10.96.0.4:80 -r 10.244.2.5:8080 -m -w 1
        -A -t 10.96.0.5:80 -s rr
        -A -t 192.0.2.3:80 -s rr
        -a -t 192.0.2.3:80 -r 10.244.1.3:8080 -m -w 1
        -A -t 192.0.2.4:80 -s rr
        -a -t 192.0.2.4:80 -r 10.244.2.5:8080 -m -w 1
        -A -t 192.168.0.2:30003 -s rr
        -a -t 192.168.0.2:30003 -r 10.244.1.3:8080 -m -w 1
        -A -t 192.168.0.2:30004 -s rr
        -a -t 192.168.0.2:30004 -r 10.244.2.5:8080 -m -w 1
        -A -t 198.51.100.7:80 -s rr
        -a -t 198.51.100.7:80 -r 10.244.2.5:8080 -m -w 1
        -A -u 10.96.0.6:53 -s rr
        -A -u 192.168.0.2:30006 -s rr
    "#]]
    .assert_eq(&ipvsadm::render(&servers));
}

#[test]
fn names_of_ipv6_are_cut_to_what_a_name_may_hold_and_found_again() {
    assert_eq!(&*Shared::ClusterIp.name(Family::V6), "KUBE-6-CLUSTER-IP");
    assert_eq!(&*Shared::LoadBalancerSourceCidr.name(Family::V6), "KUBE-6-LOAD-BALANCER-SOURCE-CID");
    for family in [Family::V4, Family::V6] {
        for shared in Shared::ALL {
            let name = shared.name(family);
            assert!(name.len() <= 31, "{name}");
            assert_eq!(Shared::named(&name), Some((shared, family)));
        }
    }
    assert_eq!(Shared::named("KUBE-NOBODY"), None);
}

#[test]
fn the_scheduler_is_the_one_of_the_setting_and_mh_counts_the_port() {
    for (name, flags) in [("sh", [false; 3]), ("mh", [false, true, false])] {
        let mut config = shop::config();
        config.scheduler = Scheduler::from_name(name);
        let rules = ipvs::shown(&config, &shop::ports(&config));
        assert!(rules.ipvs.iter().all(|server| server.scheduler.as_str() == name));
        assert!(rules.ipvs.iter().all(|server| server.scheduler_flags == flags));
    }
}

/// The rules of `KUBE-SERVICES` that ask for cluster IPs.
fn cluster_ip_rules(config: &ProxyConfig) -> String {
    let rules = ipvs::shown(config, &shop::ports(config));
    let nat = rules.xt_table(Family::V4, "nat").expect("the table");
    let services = nat.chain("KUBE-SERVICES").expect("the chain");
    let asks =
        services.rules.iter().map(super::iptables::words).filter(|rule| rule.contains("KUBE-CLUSTER-IP"));
    asks.map(|rule| format!("{rule}\n")).collect()
}

#[test]
fn who_is_masqueraded_to_a_cluster_ip_depends_on_the_detector() {
    let mut config = shop::config();
    config.masquerade_all = true;
    expect![[r#"
        "Kubernetes service cluster ip + port for masquerade purpose" set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
        set KUBE-CLUSTER-IP dst,dst ACCEPT
    "#]].assert_eq(&cluster_ip_rules(&config));
    (config.masquerade_all, config.detector) = (false, None);
    expect![[r#"
        "Kubernetes service cluster ip + port for masquerade purpose" set KUBE-CLUSTER-IP src,dst -j KUBE-MARK-MASQ
        set KUBE-CLUSTER-IP dst,dst ACCEPT
    "#]].assert_eq(&cluster_ip_rules(&config));
}

/// Whether a packet has what a rule wants of sets, of its source and of its connection.
fn could_match(rule: &Rule, key: &PacketKey, whole: &Ruleset) -> bool {
    rule.matches.iter().all(|condition| match condition {
        Match::Source(net) => net.value.contains(&key.src) != net.not,
        Match::Set { set, .. } => {
            let held = whole.ipset(&set.value.name).expect("the set");
            held.entries.iter().any(|entry| {
                entry.parts.iter().zip(&set.value.src).all(|(part, src)| {
                    let addr = if *src { key.src } else { key.dst };
                    let port = key.ports.map(|(sport, dport)| if *src { sport } else { dport });
                    match part {
                        IpSetPart::Net(net) => net.contains(&addr),
                        IpSetPart::Port(protocol, number) => {
                            (*protocol, Some(*number)) == (key.protocol, port)
                        }
                        IpSetPart::PortAlone(number) => Some(*number) == port,
                        other => panic!("{other:?}"),
                    }
                })
            })
        }
        _ => true,
    })
}

/// All addresses and ports that any rule could be about.
fn places(whole: &Ruleset) -> (BTreeSet<IpAddr>, BTreeSet<u16>) {
    let (mut addrs, mut ports) = (BTreeSet::from([NOWHERE]), BTreeSet::from([1]));
    for part in whole.ipsets.iter().flat_map(|set| &set.entries).flat_map(|entry| &entry.parts) {
        match part {
            IpSetPart::Net(net) => drop(addrs.insert(net.addr())),
            IpSetPart::Port(_, port) | IpSetPart::PortAlone(port) => drop(ports.insert(*port)),
            other => panic!("{other:?}"),
        }
    }
    (addrs, ports)
}

fn hold(cluster: &Cluster) {
    let whole = rules(cluster);
    let supply = NodeSupply::new(cluster, 0).expect("a node");
    assert_eq!(supply.whole(), whole);
    assert_eq!(supply.has_ipvs(), !whole.ipvs.is_empty());
    hold_chains(&supply, &whole);
    for set in &whole.ipsets {
        assert!(supply.asks_entries(&set.name));
        let mut empty = (**set).clone();
        empty.entries.clear();
        assert_eq!(supply.ruleset().ipset(&set.name).map(|set| &**set), Some(&empty));
        for entry in &set.entries {
            assert_eq!(supply.ipset_entry(&set.name, &entry.parts).as_ref(), Some(entry), "{}", set.name);
            let mut other = entry.parts.clone();
            match other.last_mut() {
                Some(IpSetPart::Net(net)) => *net = NOWHERE.into(),
                Some(IpSetPart::Port(_, port) | IpSetPart::PortAlone(port)) => *port ^= 1 << 15,
                other => panic!("{other:?}"),
            }
            let held = set.entries.iter().any(|entry| match (entry.parts.last(), other.last()) {
                (Some(IpSetPart::Net(a)), Some(IpSetPart::Net(b))) => a.contains(b),
                _ => false,
            });
            assert_eq!(supply.ipset_entry(&set.name, &other).is_some(), held, "{}", set.name);
        }
    }
    for server in &whole.ipvs {
        assert_eq!(supply.virtual_server(&server.id).as_ref(), Some(server));
        let VirtualId::Addr { protocol, addr, port } = server.id else { panic!("{:?}", server.id) };
        assert!(supply.virtual_server(&VirtualId::Addr { protocol, addr, port: port ^ 1 << 15 }).is_none());
        assert!(supply.virtual_server(&VirtualId::Addr { protocol, addr: NOWHERE, port }).is_none());
    }
}

fn hold_chains(supply: &NodeSupply, whole: &Ruleset) {
    let (addrs, ports) = places(whole);
    for table in &whole.xt {
        let base = supply.ruleset().xt_table(table.family, &table.name).expect("the table");
        for chain in &table.chains {
            if let Some(held) = base.chain(&chain.name) {
                assert_eq!(held, chain);
                continue;
            }
            let pairs = addrs.iter().flat_map(|src| addrs.iter().map(move |dst| (*src, *dst)));
            for ((src, dst), port) in pairs.flat_map(|pair| ports.iter().map(move |port| (pair, *port))) {
                let protocol = if port == 53 { 17 } else { 6 };
                let key = PacketKey { src, dst, protocol, ports: Some((40000, port)) };
                let made = supply.xt_chain(table.family, &table.name, &chain.name, &key).expect("the chain");
                let mut rest = chain.rules.iter();
                for rule in &made.rules {
                    // What stands between is left out, so the packet does not match it.
                    loop {
                        let next = rest.next().unwrap_or_else(|| panic!("{} has {rule:?}", chain.name));
                        if next == rule {
                            break;
                        }
                        assert!(!could_match(next, &key, whole), "{key:?} {next:?}");
                    }
                }
                assert!(!rest.any(|rule| could_match(rule, &key, whole)), "{} {key:?}", chain.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_made_when_it_is_looked_up_is_what_is_made_as_a_whole(services in traits(4), pods in traits(6)) {
        hold(&cluster(ProxyMode::Ipvs, &services, &pods));
    }
}

/// The local addresses of the first node's host in IPv4: those of `kube-ipvs0`, and all others.
fn addresses(cluster: &Cluster) -> (BTreeSet<IpAddr>, BTreeSet<IpAddr>) {
    let node = machine(cluster, MachineId(0)).expect("a node");
    let (mut bound, mut others) = (BTreeSet::new(), BTreeSet::new());
    for link in &node.netns[0].links {
        let set = if &*link.name == ipvs::LINK { &mut bound } else { &mut others };
        set.extend(link.addresses.iter().map(|address| address.net.addr()).filter(IpAddr::is_ipv4));
    }
    (bound, others)
}

#[test]
fn the_dummy_link_has_the_addresses_of_services_that_no_other_link_has() {
    let services: [Traits; 3] = [0b0_0000_0010, 0b0_0100_0011, 0b0_0100_0000];
    let cluster = cluster(ProxyMode::Ipvs, &services, &[0b10_0100]);
    let (bound, _) = addresses(&cluster);
    let whole = rules(&cluster);
    let set = whole.ipset("KUBE-IPVS-IPS").expect("the set");
    let entries: BTreeSet<IpAddr> = set
        .entries
        .iter()
        .map(|entry| match entry.parts[..] {
            [IpSetPart::Net(net)] => net.addr(),
            ref other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bound, entries);
    assert!(bound.contains(&"198.51.100.0".parse().expect("an address")));
    let node = machine(&cluster, MachineId(0)).expect("a node");
    let (_, link) = node.netns[0].link_named(ipvs::LINK).expect("the link");
    assert_eq!((link.up, link.noarp, &link.kind), (false, true, &LinkKind::Dummy));
    let others = cluster_of("bridge", ProxyMode::Iptables);
    assert!(machine(&others, MachineId(0)).expect("a node").netns[0].link_named(ipvs::LINK).is_none());
}

fn cluster_of(cni: &str, mode: ProxyMode) -> Cluster {
    let list: [Value; 2] = [
        json!({"kind": "Node", "metadata": {"name": "node-1"}}),
        json!({"kind": "Pod", "metadata": {"name": "web"}, "spec": {"nodeName": "node-1"}}),
    ];
    let assume = Assume { proxy_mode: Some(mode), cni: Some(cni.into()), ..Assume::default() };
    resolve(&Arc::new(objects(&list)), &assume, None).0
}

#[test]
fn node_ports_are_at_every_address_that_the_node_has() {
    for cni in ["bridge", "flannel", "kindnet", "cilium"] {
        let cluster = cluster_of(cni, ProxyMode::Ipvs);
        let config = ProxyConfig::of_node(&cluster, 0, Family::V4).expect("a node");
        let known: BTreeSet<IpAddr> = config.local_addresses.into_iter().collect();
        assert_eq!(known, addresses(&cluster).1, "{cni}");
    }
}
