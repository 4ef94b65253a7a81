use alloc::vec::Vec;

use expect_test::expect;

use super::told;
use crate::plan::{LinkKind, MachineKind, MachinePlan, Netns, Origin};
use crate::text::ip_link::{Details, NETNS_UNSAID, connect};
use crate::text::{ip_addr, ip_link};

/// As iproute2 6.1 prints it with `-d`.
const DETAILED: &str = "\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00 promiscuity 0  allmulti 0 minmtu 0 maxmtu 0 addrgenmode eui64 numtxqueues 1 numrxqueues 1 gso_max_size 65536 gso_max_segs 65535 tso_max_size 524280 tso_max_segs 65535 gro_max_size 65536 
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
2: br0: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1450 qdisc noqueue state DOWN group default qlen 1000
    link/ether 4a:12:2c:60:4e:cb brd ff:ff:ff:ff:ff:ff promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535 
    bridge forward_delay 1500 hello_time 200 ageing_time 12000 stp_state 0 bridge_id 8000.4a:12:2c:60:4e:cb hello_timer    0.00 addrgenmode eui64 
    inet 10.0.0.1/24 brd 10.0.0.255 scope global br0
       valid_lft forever preferred_lft forever
    inet6 2001:db8::1/64 scope global dynamic 
       valid_lft 86000sec preferred_lft 14000sec
3: v0@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue master br0 state UP group default qlen 1000
    link/ether 8e:64:8c:b5:72:6e brd ff:ff:ff:ff:ff:ff link-netnsid 0 promiscuity 1  allmulti 1 minmtu 68 maxmtu 65535 
    veth 
    bridge_slave state forwarding priority 32 cost 2 hairpin on guard off isolated off locked off 
5: vx: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN group default qlen 1000
    link/ether a2:61:34:d9:99:51 brd ff:ff:ff:ff:ff:ff promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535 
    vxlan id 1 local 10.0.0.1 dev br0 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 udpcsum 
6: eth0: <BROADCAST,MULTICAST> mtu 1500 qdisc mq state DOWN group default qlen 1000
    link/ether a2:61:34:d9:99:52 brd ff:ff:ff:ff:ff:ff promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535 
7: tunl0@NONE: <NOARP> mtu 1480 qdisc noop state DOWN group default qlen 1000
    link/ipip 0.0.0.0 brd 0.0.0.0 promiscuity 0 minmtu 0 maxmtu 0 
    ipip any remote any local any ttl inherit nopmtudisc 
";

#[test]
fn details_say_what_a_link_is() {
    let parsed = ip_addr::parse(DETAILED, "x");
    expect![[r#"
        7:12 note not-modelled: other settings of 'bridge' are not modelled
        10:39 note not-modelled: 'dynamic' is not modelled
        11:8 note not-modelled: an address expires, which is not modelled
        15:18 note not-modelled: other settings of 'bridge_slave' are not modelled
        18:39 note not-modelled: other settings of 'vxlan' are not modelled
        23:10 note not-modelled: other settings of 'ipip' are not modelled"#]]
    .assert_eq(&told(&parsed));
    let kinds: Vec<_> = parsed
        .items
        .iter()
        .map(|n| {
            alloc::format!(
                "{} {} {:?} {:?} up={}",
                n.ifindex,
                n.link.name,
                n.link.kind,
                n.link.port,
                n.link.up
            )
        })
        .collect();
    expect![[r#"
        1 lo Loopback None up=true
        2 br0 Bridge { ageing_secs: 120 } None up=true
        3 v0 Veth { peer_netns: 0, peer: "if2" } Some(BridgePort { bridge: "br0", hairpin: true, isolated: false }) up=true
        5 vx Vxlan(Vxlan { vni: 1, port: 8472, local: Some(10.0.0.1), dev: Some("br0"), learning: false }) None up=true
        6 eth0 Nic { segment: None } None up=false
        7 tunl0 Other("ipip") None up=false"#]]
    .assert_eq(&kinds.join("\n"));
    assert!(!parsed.items[1].link.carrier, "NO-CARRIER");
    assert!(parsed.items[5].link.noarp);
    assert_eq!(parsed.items[1].link.addresses.len(), 2);
}

#[test]
fn without_details_a_link_is_known_by_its_ports_and_its_partner() {
    let text = "\
2: cni0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UP mode DEFAULT group default qlen 1000
    link/ether 4a:12:2c:60:4e:cb brd ff:ff:ff:ff:ff:ff
3: v0@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue master cni0 state UP mode DEFAULT group default qlen 1000
    link/ether 8e:64:8c:b5:72:6e brd ff:ff:ff:ff:ff:ff link-netns kbn-x
4: eth0: <BROADCAST,MULTICAST,PROMISC,UP,LOWER_UP> mtu 1500 qdisc mq state UP mode DEFAULT group default qlen 1000
    link/ether 8e:64:8c:b5:72:6f brd ff:ff:ff:ff:ff:ff
    altname enp0s3
5: wg0: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1420 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000
    link/none 
";
    let parsed = ip_link::parse(text, "x");
    expect![[r#"
        7:5 note not-modelled: 'altname' is not modelled
        5:1 note not-modelled: the flag PROMISC of a link is not modelled
        5:1 note not-modelled: what kind of link this is is not said: it counts as a network card (ip -d link tells)
        8:1 note not-modelled: the flag POINTOPOINT of a link is not modelled"#]]
    .assert_eq(&told(&parsed));
    let kinds: Vec<_> = parsed.items.into_iter().map(|n| n.link.kind).collect();
    assert_eq!(
        kinds,
        [
            LinkKind::Bridge { ageing_secs: 300 },
            LinkKind::Veth { peer_netns: NETNS_UNSAID, peer: "if2".into() },
            LinkKind::Nic { segment: None },
            LinkKind::Other("none".into()),
        ]
    );
}

#[test]
fn an_address_line_below_a_broken_header_is_not_given_to_another_link() {
    let text = "\
2: a: <UP> mtu 1500 qdisc mq state UP
    link/ether 4a:12:2c:60:4e:cb brd ff:ff:ff:ff:ff:ff
3: b: <UP> mtu many
    inet 10.0.0.1/24 scope global b
";
    let parsed = ip_addr::parse(text, "x");
    assert_eq!(told(&parsed).lines().next(), Some("3:16 error unreadable: 'many' is not an MTU"));
    assert!(parsed.items[0].link.addresses.is_empty());
}

#[test]
fn veth_ends_find_each_other_across_namespaces() {
    let host = "\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
7: veth7@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP
    link/ether 8e:64:8c:b5:72:07 brd ff:ff:ff:ff:ff:ff link-netnsid 5
9: veth9@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP
    link/ether 8e:64:8c:b5:72:09 brd ff:ff:ff:ff:ff:ff link-netnsid 6
11: a@b: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP
    link/ether 8e:64:8c:b5:72:0a brd ff:ff:ff:ff:ff:ff
12: veth12@if44: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP
    link/ether 8e:64:8c:b5:72:0c brd ff:ff:ff:ff:ff:ff link-netnsid 1
";
    let pod = |host: u32| {
        alloc::format!(
            "3: eth0@if{host}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP\n    \
             link/ether 8e:64:8c:b5:73:{host:02} brd ff:ff:ff:ff:ff:ff link-netnsid 0\n"
        )
    };
    let texts = [host.into(), pod(9), pod(7)];
    let mut lists: Vec<_> = texts.iter().map(|text| ip_link::parse(text, "x").items).collect();
    assert_eq!(connect(&mut lists), 1, "veth12 leads to a namespace that is not there");
    let veth = |netns: u32, peer: &str| LinkKind::Veth { peer_netns: netns, peer: peer.into() };
    assert_eq!(lists[0][1].link.kind, veth(2, "eth0"));
    assert_eq!(lists[0][2].link.kind, veth(1, "eth0"));
    assert_eq!(lists[0][3].link.kind, veth(0, "b"));
    assert_eq!(lists[1][0].link.kind, veth(0, "veth9"));
    assert_eq!(lists[2][0].link.kind, veth(0, "veth7"));
}

#[test]
fn links_are_printed_in_the_form_of_iproute2() {
    let origin = Origin::implied("test");
    let parsed = ip_addr::parse(DETAILED, "x");
    let mut netns = Netns::new("", origin.clone());
    netns.links = parsed.items.into_iter().map(|n| n.link).collect();
    let machine =
        MachinePlan { name: "m".into(), kind: MachineKind::Node, netns: Vec::from([netns]), origin };
    let text = ip_addr::render(&machine, 0, Details::Hide);
    expect![[r#"
        1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
            link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
            inet 127.0.0.1/8 scope host lo
               valid_lft forever preferred_lft forever
        2: br0: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1450 qdisc noqueue state DOWN group default qlen 1000
            link/ether 4a:12:2c:60:4e:cb brd ff:ff:ff:ff:ff:ff
            inet 10.0.0.1/24 brd 10.0.0.255 scope global br0
               valid_lft forever preferred_lft forever
            inet6 2001:db8::1/64 scope global
               valid_lft forever preferred_lft forever
        3: v0@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue master br0 state UP group default qlen 1000
            link/ether 8e:64:8c:b5:72:6e brd ff:ff:ff:ff:ff:ff
        4: vx: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN group default qlen 1000
            link/ether a2:61:34:d9:99:51 brd ff:ff:ff:ff:ff:ff
        5: eth0: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN group default qlen 1000
            link/ether a2:61:34:d9:99:52 brd ff:ff:ff:ff:ff:ff
        6: tunl0: <BROADCAST,NOARP> mtu 1480 qdisc noop state DOWN group default qlen 1000
            link/ether 00:00:00:00:00:00 brd ff:ff:ff:ff:ff:ff
    "#]]
    .assert_eq(&text);
}
