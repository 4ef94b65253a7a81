use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use expect_test::expect;

use super::told;
use crate::dataplane::{EventId, FlowId, Machine, Seeded, Skb};
use crate::packet::{self, Ipv4Meta, View};
use crate::plan::{Address, Link, LinkKind, MachineId, Netns, Origin, Route, RouteScope, SegmentId};
use crate::text::{WithoutOrigin, ip_route};
use crate::time::Instant;

/// The table of a node whose operator added one line twice.
const SEED: &str = "\
default via 172.18.0.1 dev eth0
10.244.0.0/24 via 172.18.0.4 dev eth0
10.244.2.0/24 via 172.18.0.3 dev eth0  # send to node2
10.244.1.1 dev veth2609878b scope host
10.244.1.1 dev veth23974a9d scope host
172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2
";

#[test]
fn of_two_equal_routes_the_first_is_held_and_the_second_told_as_eexist() {
    let loaded = ip_route::load_table(ip_route::parse(SEED, "node-1"));
    expect![[r#"5:1 error route-exists: route 10.244.1.1/32 is refused by the kernel (EEXIST, File exists): one with the same destination, TOS and metric is held"#]]
        .assert_eq(&told(&loaded));
    assert_eq!(loaded.diagnostics[0].related[0].1.line, 4);
    expect![[r#"
        default via 172.18.0.1 dev eth0
        10.244.0.0/24 via 172.18.0.4 dev eth0
        10.244.1.1 dev veth2609878b scope host
        10.244.2.0/24 via 172.18.0.3 dev eth0  # send to node2
        172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2
    "#]]
    .assert_eq(&ip_route::render(&loaded.items));
}

/// The link by which a forwarded packet leaves, and the neighbour that is asked for.
fn leaves_by(routes: &[Route], dst: [u8; 4]) -> Option<(Arc<str>, core::net::IpAddr)> {
    let origin = Origin::implied("test");
    let mut netns = Netns::new("", origin.clone());
    netns.sysctls.ip_forward = true;
    netns.routes = routes.to_vec();
    for (place, (name, net)) in [
        ("eth0", "172.18.0.2/16"),
        ("veth2609878b", "10.244.1.9/32"),
        ("veth23974a9d", "10.244.1.9/32"),
        ("in0", "192.168.7.1/24"),
    ]
    .into_iter()
    .enumerate()
    {
        let mac = crate::addr::MacAddr([2, 0, 0, 0, 0, place as u8]);
        let nic = LinkKind::Nic { segment: Some(SegmentId(place as u32)) };
        let mut link = Link::new(name, nic, mac, 1500, origin.clone());
        let net = net.parse().expect("a prefix");
        link.addresses.push(Address { net, scope: RouteScope::Global, origin: origin.clone() });
        netns.links.push(link);
    }
    let own = netns.links[4].mac;
    let meta = Ipv4Meta {
        src: Ipv4Addr::new(192, 168, 7, 2).into(),
        dst: Ipv4Addr::from(dst).into(),
        ttl: 64,
        dont_fragment: true,
        id: 1,
    };
    let mut frame = packet::icmp_echo(&meta, false, 1, 1, b"hi");
    packet::set_macs(&mut frame, crate::addr::MacAddr([2, 0, 0, 0, 1, 0]), own);
    let mut machine = Machine::new(MachineId(0), Arc::new(netns.into()));
    let skb = Skb::new(frame, FlowId(0), EventId::NONE);
    machine.handle_frame(Instant::START, (0, 4), skb, &mut Seeded(0), &mut ());
    let sent = machine.poll_transmit()?;
    let name = machine.plan().netns[0].links[sent.link as usize].name.clone();
    match packet::view(&sent.frame.bytes) {
        Ok(View::Arp(arp)) => Some((name, arp.target)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn packets_leave_by_the_longest_prefix_of_a_parsed_table() {
    let routes = ip_route::load_table(ip_route::parse(SEED, "node-1")).items;
    for (dst, link, router) in [
        ([10, 244, 0, 5], "eth0", [172, 18, 0, 4]),
        ([10, 244, 2, 5], "eth0", [172, 18, 0, 3]),
        ([10, 244, 1, 1], "veth2609878b", [10, 244, 1, 1]),
        ([8, 8, 8, 8], "eth0", [172, 18, 0, 1]),
    ] {
        let expected = (Arc::from(link), core::net::IpAddr::from(router));
        assert_eq!(leaves_by(&routes, dst), Some(expected), "{dst:?}");
    }
}

#[test]
fn the_kernel_appends_its_own_routes_and_refuses_equal_ones_of_others() {
    let text = "\
10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.1
10.0.0.0/24 dev eth1 proto kernel scope link src 10.0.0.2
10.0.0.0/24 via 10.0.0.9 dev eth1
10.0.0.0/24 via 10.0.0.9 dev eth1 metric 7
10.0.0.0/24 tos 0x10 via 10.0.0.9 dev eth1
blackhole 10.0.0.0/24 metric 7
fe80::/64 dev eth0 proto kernel metric 256 pref medium
fe80::/64 dev eth1 proto kernel metric 256 pref medium
fe80::/64 dev eth1 proto kernel metric 256 pref medium
";
    let loaded = ip_route::load_table(ip_route::parse(text, "x"));
    let refused = loaded.diagnostics.iter().filter(|d| d.code == "route-exists");
    let lines: Vec<u32> = refused.filter_map(|d| Some(d.location.as_ref()?.line)).collect();
    assert_eq!(lines, [3, 6, 9]);
}

/// What iproute2 6.1 printed of a namespace with these routes, its blanks at line ends cut.
const PRINTED: &str = "\
prohibit 10.6.0.0/16 table 100
default via 10.0.0.254 dev br0 linkdown
10.0.0.0/24 dev br0 proto kernel scope link src 10.0.0.1 linkdown
10.1.0.0/16 via 10.0.0.253 dev br0 proto static src 10.0.0.3 metric 5 linkdown mtu 1400
10.2.0.0/16 proto static linkdown
\tnexthop via 10.0.0.5 dev br0 weight 1 linkdown
\tnexthop via 10.0.0.6 dev br0 weight 3 linkdown
blackhole 10.3.0.0/16
unreachable 10.4.0.0/16 metric 7
throw 10.5.0.0/16
10.7.0.0/16 via 1.2.3.4 dev br0 onlink linkdown
10.8.0.0/17 via inet6 fe80::5 dev br0 metric 4 linkdown mtu 1300 advmss 1400
10.8.0.0/16 via inet6 fe80::5 dev br0 linkdown
10.55.0.0/16 dev br0 proto 77 scope link
10.57.0.0/16 dev br0 proto bgp scope 100
10.77.0.0/16 tos 0x10 via 10.0.0.9 dev br0 linkdown
local 10.0.0.1 dev br0 table local proto kernel scope host src 10.0.0.1
broadcast 10.0.0.255 dev br0 table local proto kernel scope link src 10.0.0.1 linkdown
2001:db8::/64 dev br0 proto kernel metric 256 linkdown pref medium
2001:db8:1::/48 via 2001:db8::5 dev br0 metric 1024 linkdown pref medium
2001:db8:2::/48 metric 1024 pref medium
\tnexthop via 2001:db8::6 dev br0 weight 2 linkdown
\tnexthop via 2001:db8::7 dev br0 weight 1 linkdown
blackhole 2001:db8:3::/48 dev lo metric 1024 pref medium
fe80::/64 dev br0 proto kernel metric 256 linkdown pref medium
default via fe80::1 dev br0 proto static metric 50 linkdown mtu 1280 pref medium
local ::1 dev lo table local proto kernel metric 0 pref medium
multicast ff00::/8 dev br0 table local proto kernel metric 256 linkdown pref medium
";

#[test]
fn what_iproute2_prints_is_printed_again() {
    let parsed = ip_route::parse(PRINTED, "x");
    expect![[r#"16:14 warning not-modelled: 'tos' of a route is kept but not modelled: the route is used without it"#]]
        .assert_eq(&told(&parsed));
    assert_eq!(ip_route::render(&parsed.items), PRINTED);
    let loaded = ip_route::load_table(parsed);
    assert_eq!(ip_route::render(&loaded.items), PRINTED, "and it is in the kernel's order");
}

#[test]
fn both_forms_say_the_same() {
    let json = r#"[{"dst":"10.1.0.0/16","gateway":"10.0.0.253","dev":"br0","protocol":"static","prefsrc":"10.0.0.3","metric":5,"flags":["linkdown"],"metrics":[{"mtu":1400}]},{"dst":"10.2.0.0/16","protocol":"static","flags":["linkdown"],"nexthops":[{"gateway":"10.0.0.5","dev":"br0","weight":1,"flags":["linkdown"]},{"via":{"family":"inet6","host":"fe80::1"},"dev":"br0","weight":3,"flags":["linkdown"]}]},{"type":"blackhole","dst":"10.3.0.0/16","flags":[]},{"dst":"10.8.0.0/16","via":{"family":"inet6","host":"fe80::5"},"dev":"br0","flags":[]},{"type":"local","dst":"10.0.0.1","dev":"br0","table":"local","protocol":"kernel","scope":"host","prefsrc":"10.0.0.1","flags":[]},{"type":"blackhole","dst":"2001:db8:3::/48","dev":"lo","metric":1024,"flags":[],"pref":"medium"},{"dst":"default","gateway":"fe80::1","dev":"br0","protocol":"static","metric":50,"flags":[],"metrics":[{"mtu":1280}],"pref":"medium"}]
"#;
    let plain = "\
10.1.0.0/16 via 10.0.0.253 dev br0 proto static src 10.0.0.3 metric 5 linkdown mtu 1400
10.2.0.0/16 proto static linkdown
\tnexthop via 10.0.0.5 dev br0 weight 1 linkdown
\tnexthop via inet6 fe80::1 dev br0 weight 3 linkdown
blackhole 10.3.0.0/16
10.8.0.0/16 via inet6 fe80::5 dev br0
local 10.0.0.1 dev br0 table local proto kernel scope host src 10.0.0.1
blackhole 2001:db8:3::/48 dev lo metric 1024 pref medium
default via fe80::1 dev br0 proto static metric 50 mtu 1280 pref medium
";
    let (from_json, from_plain) = (ip_route::parse_any(json, "x"), ip_route::parse_any(plain, "x"));
    assert_eq!(told(&from_json), "");
    assert_eq!(ip_route::render_json(&from_plain.items), json);
    assert_eq!(from_json.items.without_origin(), from_plain.items.without_origin());
}

#[test]
fn one_line_output_is_read_as_lines() {
    let text = "10.2.0.0/16 \\\tnexthop via 10.0.0.5 dev br0 weight 1 onlink \\\tnexthop via inet6 fe80::1 dev br0 weight 1 \n";
    let parsed = ip_route::parse(text, "x");
    assert_eq!(told(&parsed), "");
    let [route] = &*parsed.items else { panic!("{parsed:?}") };
    assert_eq!(route.next_hops.len(), 2);
    assert!(route.next_hops[0].onlink);
}

#[test]
fn a_table_that_is_named_by_the_command_holds_its_routes() {
    let parsed = ip_route::parse_table("prohibit 10.6.0.0/16 \n10.7.0.0/16 dev a table 9\n", "x", 100);
    let tables: Vec<u32> = parsed.items.iter().map(|route| route.table).collect();
    assert_eq!(tables, [100, 9]);
    assert_eq!(ip_route::render_table(&parsed.items, crate::addr::Family::V4, 100), "prohibit 10.6.0.0/16\n");
}
