//! Addresses, routes, rules, neighbours, sockets, ICMP.

use core::net::IpAddr;
use expect_test::expect;
use kubenet_core::addr::MacAddr;
use kubenet_core::dataplane::{Client, Log, Machine, Seeded};
use kubenet_core::packet::{self, Ipv4Meta};
use kubenet_core::plan::{MachineId, Protocol, Undeclared};
use kubenet_core::time::Instant;

use super::host::*;

#[test]
fn a_router_forwards_with_one_ttl_less() {
    router().feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.9"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn a_frame_for_another_station_is_not_taken() {
    let frame = to(mac(0x77), packet::udp(&meta("10.0.1.9", "10.0.2.9"), 1, 2, &[]));
    router().feed(
        "eth0",
        frame,
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:1 → 10.0.2.9:2 udp ttl 64
        eth0 ingress: drop OTHERHOST: the frame is for 02:00:00:00:00:77, this link is 02:00:00:00:00:01
    "#]],
    );
}

#[test]
fn sources_that_cannot_be_are_dropped() {
    for (src, expect) in [
        (
            "127.0.0.1",
            expect![[r#"
            eth0 ingress: in 127.0.0.1:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_LOCALNET: a 127.0.0.0/8 address came from outside, and route_localnet is 0
        "#]],
        ),
        (
            "10.0.1.1",
            expect![[r#"
            eth0 ingress: in 10.0.1.1:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_LOCAL_SOURCE: 10.0.1.1 is an address of this machine, and accept_local is 0
        "#]],
        ),
        (
            "0.0.0.0",
            expect![[r#"
            eth0 ingress: in 0.0.0.0:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_INVALID_SOURCE: 0.0.0.0 cannot be a source
        "#]],
        ),
        (
            "224.0.0.5",
            expect![[r#"
            eth0 ingress: in 224.0.0.5:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_INVALID_SOURCE: 224.0.0.5 cannot be a source
        "#]],
        ),
        (
            "255.255.255.255",
            expect![[r#"
            eth0 ingress: in 255.255.255.255:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_INVALID_SOURCE: 255.255.255.255 cannot be a source
        "#]],
        ),
    ] {
        router().feed("eth0", udp(src, "10.0.2.9"), &expect);
    }
}

#[test]
fn a_loopback_destination_from_outside_is_dropped_unless_route_localnet_is_set() {
    router().feed(
        "eth0",
        udp("10.0.1.9", "127.0.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 127.0.0.1:53 udp ttl 64
        eth0 route: drop IP_LOCALNET: a 127.0.0.0/8 address came from outside, and route_localnet is 0
    "#]],
    );
    router().listen(Protocol::Udp, 53).with(|host| host.links[1].route_localnet = true).feed(
        "eth0",
        udp("10.0.1.9", "127.0.0.1"),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 127.0.0.1:53 udp ttl 64
            eth0 route: Local
            eth0 socket: Delivered
            - socket: made 127.0.0.1:53 → 10.0.1.9:4000 udp ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 127.0.0.1:53 → 10.0.1.9:4000 udp ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
}

#[test]
fn class_e_and_the_zero_network_are_forwarded_and_a_broadcast_address_is_local() {
    let with_default = || router().routes("default via 10.0.2.9 dev eth1");
    with_default().feed(
        "eth0",
        udp("10.0.1.9", "240.0.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 240.0.0.1:53 udp ttl 64
        eth0 route: route 0.0.0.0/0 via 10.0.2.9 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.1.9:4000 → 240.0.0.1:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
    with_default().feed(
        "eth0",
        udp("10.0.1.9", "0.0.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 0.0.0.1:53 udp ttl 64
        eth0 route: route 0.0.0.0/0 via 10.0.2.9 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.1.9:4000 → 0.0.0.1:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
    with_default().listen(Protocol::Udp, 53).feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.255"),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.0.2.255:53 udp ttl 64
            eth0 route: Local
            eth0 socket: Delivered
            - socket: made 10.0.1.1:53 → 10.0.1.9:4000 udp ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1:53 → 10.0.1.9:4000 udp ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
}

#[test]
fn tcp_takes_and_opens_no_connection_to_an_address_of_many() {
    router().listen(Protocol::Tcp, 80).feed(
        "eth0",
        syn("10.0.1.9", "10.0.2.255", 80),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.255:80 tcp SYN ttl 64
        eth0 route: Local
        eth0 socket: drop NOT_SPECIFIED: TCP takes no connection to 10.0.2.255, which many hold
    "#]],
    );
    for dst in ["224.0.0.1", "10.0.2.255", "255.255.255.255"] {
        let plan = router().plan();
        let (mut machine, mut log) = (Machine::new(MachineId(0), plan), Log::default());
        machine.open(Instant::START, client(Protocol::Tcp, dst, 80), &mut Seeded(0), &mut log);
        let notice = machine.poll_notice().map(|notice| notice.kind.to_string());
        assert_eq!(notice.as_deref(), Some("network is unreachable"), "{dst}");
        assert!(machine.poll_transmit().is_none(), "{dst}");
    }
}

#[test]
fn rp_filter_strict_wants_the_way_back_by_the_same_link_and_loose_any_way() {
    let spoofed = || udp("10.0.2.9", "10.0.2.77");
    for (mode, expect) in [
        (
            0,
            expect![[r#"
        eth0 ingress: in 10.0.2.9:4000 → 10.0.2.77:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.2.9:4000 → 10.0.2.77:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
        ),
        (
            1,
            expect![[r#"
        eth0 ingress: in 10.0.2.9:4000 → 10.0.2.77:53 udp ttl 64
        eth0 route: drop IP_RPFILTER: a packet to 10.0.2.9 would not leave by eth0 (rp_filter 1)
    "#]],
        ),
        (
            2,
            expect![[r#"
        eth0 ingress: in 10.0.2.9:4000 → 10.0.2.77:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.2.9:4000 → 10.0.2.77:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
        ),
    ] {
        router().knows(&[("10.0.2.77", "eth1")]).with(|host| host.sysctls.rp_filter = mode).feed(
            "eth0",
            spoofed(),
            &expect,
        );
    }
}

#[test]
fn the_ttl_runs_out_and_the_address_of_the_way_back_tells() {
    let short = Ipv4Meta { ttl: 1, ..meta("10.0.1.9", "10.0.2.9") };
    let frame = to(mac(1), packet::udp(&short, 4000, 53, &[0; 8]));
    router().feed(
        "eth0",
        frame,
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 1
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth0 forward: drop IP_INHDR: the TTL ran out
        - socket: made 10.0.1.1 → 10.0.1.9 icmp time exceeded ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp time exceeded ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn refusing_routes_and_no_route_answer_each_in_its_way() {
    let refusing = || {
        router().routes(
            "unreachable 10.1.0.0/16\nprohibit 10.2.0.0/16\nblackhole 10.3.0.0/16\nthrow 10.4.0.0/16\n",
        )
    };
    for (dst, expect) in [
        (
            "10.1.0.1",
            expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.1.0.1:53 udp ttl 64
            eth0 route: drop IP_INNOROUTES: the route to 10.1.0.1 is unreachable
            - socket: made 10.0.1.1 → 10.0.1.9 icmp host unreachable ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp host unreachable ttl 64 to 02:00:00:00:00:ee
        "#]],
        ),
        (
            "10.2.0.1",
            expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.2.0.1:53 udp ttl 64
            eth0 route: drop IP_INNOROUTES: the route to 10.2.0.1 is prohibit
            - socket: made 10.0.1.1 → 10.0.1.9 icmp administratively prohibited ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp administratively prohibited ttl 64 to 02:00:00:00:00:ee
        "#]],
        ),
        (
            "10.3.0.1",
            expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.3.0.1:53 udp ttl 64
            eth0 route: drop NOT_SPECIFIED: the route to 10.3.0.1 is blackhole
        "#]],
        ),
        (
            "10.4.0.1",
            expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.4.0.1:53 udp ttl 64
            eth0 route: drop IP_INNOROUTES: no route to 10.4.0.1
            - socket: made 10.0.1.1 → 10.0.1.9 icmp network unreachable ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp network unreachable ttl 64 to 02:00:00:00:00:ee
        "#]],
        ),
        (
            "8.8.8.8",
            expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 8.8.8.8:53 udp ttl 64
            eth0 route: drop IP_INNOROUTES: no route to 8.8.8.8
            - socket: made 10.0.1.1 → 10.0.1.9 icmp network unreachable ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp network unreachable ttl 64 to 02:00:00:00:00:ee
        "#]],
        ),
    ] {
        refusing().feed("eth0", udp("10.0.1.9", dst), &expect);
    }
}

#[test]
fn too_big_with_df_is_told_and_without_df_is_cut() {
    let small = || router().with(|host| host.links[2].mtu_bytes = 1400);
    let big = |df| {
        let meta = Ipv4Meta { dont_fragment: df, ..meta("10.0.1.9", "10.0.2.9") };
        to(mac(1), packet::udp(&meta, 4000, 53, &[0; 1450]))
    };
    small().feed(
        "eth0",
        big(true),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth0 forward: drop PKT_TOO_BIG: 1478 bytes do not fit eth1 (MTU 1400), and it must not be fragmented
        - socket: made 10.0.1.1 → 10.0.1.9 icmp fragmentation needed, mtu 1400 ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp fragmentation needed, mtu 1400 ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    small().feed(
        "eth0",
        big(false),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 postrouting: Fragmented
        eth1 egress: out 10.0.1.9:4000 → 10.0.2.9:53 udp fragment 0+ ttl 63 to 02:00:00:00:00:ee
        eth1 egress: out 10.0.1.9 → 10.0.2.9 udp fragment 1376 ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn a_smaller_mtu_of_a_route_counts() {
    router().routes("10.9.0.0/16 via 10.0.2.9 dev eth1 mtu 600").feed(
        "eth0",
        to(mac(1), packet::udp(&meta("10.0.1.9", "10.9.0.1"), 4000, 53, &[0; 800])),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.9.0.1:53 udp ttl 64
            eth0 route: route 10.9.0.0/16 via 10.0.2.9 dev eth1 table 254
            eth0 forward: drop PKT_TOO_BIG: 828 bytes do not fit eth1 (MTU 600), and it must not be fragmented
            - socket: made 10.0.1.1 → 10.0.1.9 icmp fragmentation needed, mtu 600 ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp fragmentation needed, mtu 600 ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
}

#[test]
fn a_packet_that_goes_back_where_it_came_from_brings_a_redirect() {
    router().routes("10.9.0.0/16 via 10.0.1.8 dev eth0").knows(&[("10.0.1.8", "eth0")]).feed(
        "eth0",
        udp("10.0.1.9", "10.9.0.1"),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.9.0.1:53 udp ttl 64
            eth0 route: route 10.9.0.0/16 via 10.0.1.8 dev eth0 table 254
            - socket: made 10.0.1.1 → 10.0.1.9 icmp redirect to 10.0.1.8 ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp redirect to 10.0.1.8 ttl 64 to 02:00:00:00:00:ee
            eth0 forward: TtlDecremented
            eth0 egress: out 10.0.1.9:4000 → 10.9.0.1:53 udp ttl 63 to 02:00:00:00:00:ee
        "#]],
    );
}

#[test]
fn without_ip_forward_only_own_addresses_count() {
    router().with(|host| host.sysctls.ip_forward = false).feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.9"),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: drop IP_INADDRERRORS: 10.0.2.9 is not an address of this machine, and ip_forward is 0
        "#]],
    );
}

#[test]
fn a_closed_port_is_refused_and_an_undeclared_one_is_taken_where_nothing_is_known() {
    router().feed(
        "eth0",
        syn("10.0.1.9", "10.0.1.1", 80),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.1.1:80 tcp SYN ttl 64
        eth0 route: Local
        eth0 socket: drop NO_SOCKET: nothing listens on tcp port 80
        - socket: made 10.0.1.1:80 → 10.0.1.9:4000 tcp RST+ACK ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1:80 → 10.0.1.9:4000 tcp RST+ACK ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.1:53 udp ttl 64
        eth0 route: Local
        eth0 socket: drop NO_SOCKET: nothing listens on udp port 53
        - socket: made 10.0.2.1 → 10.0.1.9 icmp port unreachable ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.2.1 → 10.0.1.9 icmp port unreachable ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.undeclared = Undeclared::Unsaid).feed(
        "eth0",
        syn("10.0.1.9", "10.0.1.1", 80),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.0.1.1:80 tcp SYN ttl 64
            eth0 route: Local
            eth0 socket: Delivered
            - socket: made 10.0.1.1:80 → 10.0.1.9:4000 tcp SYN+ACK ttl 64
            - route: route 10.0.1.0/24 dev eth0 table 254
            eth0 egress: out 10.0.1.1:80 → 10.0.1.9:4000 tcp SYN+ACK ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
}

#[test]
fn wrong_checksums_and_short_packets_are_dropped() {
    let broken = |at: usize| {
        let mut frame = syn("10.0.1.9", "10.0.1.1", 80);
        frame[at] ^= 0xff;
        frame
    };
    router().listen(Protocol::Tcp, 80).feed(
        "eth0",
        broken(24),
        &expect![[r#"
        eth0 ingress: in ethertype 0x0800
        eth0 ingress: drop IP_CSUM: the IPv4 header checksum is wrong
    "#]],
    );
    router().listen(Protocol::Tcp, 80).feed(
        "eth0",
        broken(50),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.1.1:80 tcp SYN ttl 64
        eth0 route: Local
        eth0 socket: drop TCP_CSUM: the tcp checksum is wrong
    "#]],
    );
    router().feed(
        "eth0",
        syn("10.0.1.9", "10.0.1.1", 80)[..30].to_vec(),
        &expect![[r#"
        eth0 ingress: in ethertype 0x0800
        eth0 ingress: drop IP_INHDR: the IP header is wrong
    "#]],
    );
}

#[test]
fn a_silent_neighbour_is_asked_three_times_and_then_the_sender_is_told() {
    router().feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.50"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.2.50:53 udp ttl 64
        eth0 route: route 10.0.2.0/24 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 neighbour: NeighbourAsked
        eth1 neighbour: made arp who-has 10.0.2.50 tell 10.0.2.1
        eth1 egress: out arp who-has 10.0.2.50 tell 10.0.2.1 to ff:ff:ff:ff:ff:ff
        1s eth1 neighbour: NeighbourAsked
        1s eth1 neighbour: made arp who-has 10.0.2.50 tell 10.0.2.1
        1s eth1 egress: out arp who-has 10.0.2.50 tell 10.0.2.1 to ff:ff:ff:ff:ff:ff
        2s eth1 neighbour: NeighbourAsked
        2s eth1 neighbour: made arp who-has 10.0.2.50 tell 10.0.2.1
        2s eth1 egress: out arp who-has 10.0.2.50 tell 10.0.2.1 to ff:ff:ff:ff:ff:ff
        3s eth1 neighbour: drop NEIGH_FAILED: nobody answered for 10.0.2.50 on eth1 after 3 tries
        3s - socket: made 10.0.1.1 → 10.0.1.9 icmp host unreachable ttl 64
        3s - route: route 10.0.1.0/24 dev eth0 table 254
        3s eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp host unreachable ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn arp_is_answered_for_any_local_address_and_for_others_by_a_proxy() {
    let who_has = |target: &str| {
        let IpAddr::V4(target) = ip(target) else { panic!("IPv4") };
        packet::arp(true, (THEM, "10.0.1.9".parse().expect("an address")), (MacAddr::ZERO, target))
    };
    router().feed(
        "eth0",
        who_has("10.0.2.1"),
        &expect![[r#"
        eth0 ingress: in arp who-has 10.0.2.1 tell 10.0.1.9
        eth0 neighbour: Delivered
        eth0 neighbour: made arp 10.0.2.1 is-at 02:00:00:00:00:01
        eth0 egress: out arp 10.0.2.1 is-at 02:00:00:00:00:01 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.sysctls.arp_ignore = 1).feed(
        "eth0",
        who_has("10.0.2.1"),
        &expect![[r#"
        eth0 ingress: in arp who-has 10.0.2.1 tell 10.0.1.9
        eth0 neighbour: drop NOT_SPECIFIED: 10.0.2.1 is not an address of this namespace
    "#]],
    );
    router().with(|host| host.links[1].proxy_arp = true).feed(
        "eth0",
        who_has("10.0.2.9"),
        &expect![[r#"
        eth0 ingress: in arp who-has 10.0.2.9 tell 10.0.1.9
        eth0 neighbour: Delivered
        eth0 neighbour: made arp 10.0.2.9 is-at 02:00:00:00:00:01
        eth0 egress: out arp 10.0.2.9 is-at 02:00:00:00:00:01 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.links[1].answers_neighbours = false).feed(
        "eth0",
        who_has("10.0.1.1"),
        &expect![[r#"
            eth0 ingress: in arp who-has 10.0.1.1 tell 10.0.1.9
            eth0 neighbour: drop NOT_SPECIFIED: 10.0.1.1 is not an address of this namespace
        "#]],
    );
}

#[test]
fn rules_choose_the_table() {
    let two_tables = || {
        router().routes("default via 10.0.2.9 dev eth1\ndefault via 10.0.1.9 dev eth0 table 100\n").rules(
            "0: from all lookup local\n\
             100: from 10.0.1.0/24 to 10.7.0.0/16 lookup 100\n\
             200: from all to 10.6.0.0/16 prohibit\n\
             32766: from all lookup main\n",
        )
    };
    two_tables().feed(
        "eth0",
        udp("10.0.1.9", "10.7.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.7.0.1:53 udp ttl 64
        eth0 route: route 0.0.0.0/0 via 10.0.1.9 dev eth0 table 100
        - socket: made 10.0.1.1 → 10.0.1.9 icmp redirect to 10.0.1.9 ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp redirect to 10.0.1.9 ttl 64 to 02:00:00:00:00:ee
        eth0 forward: TtlDecremented
        eth0 egress: out 10.0.1.9:4000 → 10.7.0.1:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
    two_tables().feed(
        "eth0",
        udp("10.0.1.9", "10.6.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.6.0.1:53 udp ttl 64
        eth0 route: drop IP_INNOROUTES: the route to 10.6.0.1 is prohibit
        - socket: made 10.0.1.1 → 10.0.1.9 icmp administratively prohibited ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp administratively prohibited ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    two_tables().feed(
        "eth0",
        udp("10.0.1.9", "10.5.0.1"),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.5.0.1:53 udp ttl 64
        eth0 route: route 0.0.0.0/0 via 10.0.2.9 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out 10.0.1.9:4000 → 10.5.0.1:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn a_rule_that_is_not_modelled_leaves_the_way_open() {
    router()
        .rules("0: from all lookup local\n50: from all uidrange 0-99 lookup 7\n32766: from all lookup main\n")
        .feed(
            "eth0",
            udp("10.0.1.9", "10.0.2.9"),
            &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: unknown: ip rule 50 has a selector that is not modelled
        "#]],
        );
}

#[test]
fn flows_are_spread_over_the_next_hops_by_weight_and_stay_where_they_are() {
    let host = || {
        router()
            .routes(
                "10.9.0.0/16 nexthop via 10.0.1.9 dev eth0 weight 1 nexthop via 10.0.2.9 dev eth1 weight 3",
            )
            .with(|host| host.sysctls.fib_multipath_hash_policy = 1)
    };
    let mut by_eth1 = 0;
    for port in 1..=400_u16 {
        let link_of = || {
            let plan = host().plan();
            let (mut machine, mut log) = (Machine::new(MachineId(0), plan), Log::default());
            let client = Client { sport: port, ..client(Protocol::Udp, "10.9.0.1", 53) };
            machine.open(
                Instant::START,
                Client { src: Some(ip("10.0.1.1")), ..client },
                &mut Seeded(0),
                &mut log,
            );
            machine.poll_transmit().expect("a frame").link
        };
        let link = link_of();
        assert_eq!(link, link_of());
        by_eth1 += u32::from(link == 2);
    }
    assert!((260..340).contains(&by_eth1), "{by_eth1} of 400 by the hop of weight 3 of 4");
}

#[test]
fn the_source_is_chosen_by_route_then_by_link() {
    router().send(
        client(Protocol::Udp, "10.0.2.9", 53),
        &expect![[r#"
        - socket: made 10.0.2.1:4000 → 10.0.2.9:53 udp ttl 64
        - route: route 10.0.2.0/24 dev eth1 table 254
        eth1 egress: out 10.0.2.1:4000 → 10.0.2.9:53 udp ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().routes("10.9.0.0/16 via 10.0.2.9 dev eth1 src 10.0.1.1").send(
        client(Protocol::Udp, "10.9.0.1", 53),
        &expect![[r#"
            - socket: made 10.0.1.1:4000 → 10.9.0.1:53 udp ttl 64
            - route: route 10.9.0.0/16 via 10.0.2.9 dev eth1 table 254
            eth1 egress: out 10.0.1.1:4000 → 10.9.0.1:53 udp ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
    router().send(
        client(Protocol::Udp, "8.8.8.8", 53),
        &expect![[r#"
        - socket: made 0.0.0.0:4000 → 8.8.8.8:53 udp ttl 64
        - route: drop IP_OUTNOROUTES: network is unreachable
    "#]],
    );
}

#[test]
fn ipv6_forwards_answers_neighbours_and_never_cuts() {
    let udp6 = |dst: &str, payload: usize| {
        let meta = meta("fd00:1::9", dst);
        to(mac(1), packet::udp(&meta, 4000, 53, &vec![0; payload]))
    };
    router().feed(
        "eth0",
        udp6("fd00:2::9", 8),
        &expect![[r#"
        eth0 ingress: in [fd00:1::9]:4000 → [fd00:2::9]:53 udp ttl 64
        eth0 route: route fd00:2::/64 dev eth1 table 254
        eth1 forward: TtlDecremented
        eth1 egress: out [fd00:1::9]:4000 → [fd00:2::9]:53 udp ttl 63 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.links[2].mtu_bytes = 1300).feed(
        "eth0",
        udp6("fd00:2::9", 1400),
        &expect![[r#"
            eth0 ingress: in [fd00:1::9]:4000 → [fd00:2::9]:53 udp ttl 64
            eth0 route: route fd00:2::/64 dev eth1 table 254
            eth0 forward: drop PKT_TOO_BIG: 1448 bytes do not fit eth1 (MTU 1300), and it must not be fragmented
            - socket: made fd00:1::1 → fd00:1::9 icmpv6 packet too big, mtu 1300 ttl 64
            - route: route fd00:1::/64 dev eth0 table 254
            eth0 egress: out fd00:1::1 → fd00:1::9 icmpv6 packet too big, mtu 1300 ttl 64 to 02:00:00:00:00:ee
        "#]],
    );
    router().feed(
        "eth0",
        udp6("fd00:9::1", 8),
        &expect![[r#"
        eth0 ingress: in [fd00:1::9]:4000 → [fd00:9::1]:53 udp ttl 64
        eth0 route: drop IP_INNOROUTES: no route to fd00:9::1
        - socket: made fd00:1::1 → fd00:1::9 icmpv6 no route ttl 64
        - route: route fd00:1::/64 dev eth0 table 254
        eth0 egress: out fd00:1::1 → fd00:1::9 icmpv6 no route ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.sysctls.disable_ipv6 = true).feed(
        "eth0",
        udp6("fd00:2::9", 8),
        &expect![[r#"
        eth0 ingress: in [fd00:1::9]:4000 → [fd00:2::9]:53 udp ttl 64
        eth0 ingress: drop IPV6DISABLED: disable_ipv6 is set
    "#]],
    );
}

#[test]
fn fragments_are_put_together_before_delivery_and_dropped_when_one_is_missing() {
    let whole =
        packet::udp(&Ipv4Meta { dont_fragment: false, ..meta("10.0.1.9", "10.0.1.1") }, 4000, 53, &[0; 1000]);
    let Ok(packet::View::Ip(header)) = packet::view(&whole) else { panic!("an IP packet") };
    let pieces: Vec<Vec<u8>> =
        packet::fragment_ipv4(&whole, &header, 600).into_iter().map(|piece| to(mac(1), piece)).collect();
    let mut reversed = pieces.clone();
    reversed.reverse();
    router().listen(Protocol::Udp, 53).feed_all(
        "eth0",
        reversed,
        &expect![[r#"
        eth0 ingress: in 10.0.1.9 → 10.0.1.1 udp fragment 576 ttl 64
        eth0 route: Local
        eth0 ingress: in 10.0.1.9:4000 → 10.0.1.1:53 udp fragment 0+ ttl 64
        eth0 route: Local
        eth0 input: Reassembled
        eth0 socket: Delivered
        - socket: made 10.0.1.1:53 → 10.0.1.9:4000 udp ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1:53 → 10.0.1.9:4000 udp ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().listen(Protocol::Udp, 53).feed(
        "eth0",
        pieces[0].clone(),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:4000 → 10.0.1.1:53 udp fragment 0+ ttl 64
        eth0 route: Local
        30s - input: drop FRAG_REASM_TIMEOUT: 1 fragments waited 30 s for the rest
    "#]],
    );
}

#[test]
fn a_link_that_is_down_takes_and_sends_nothing() {
    router().with(|host| host.links[1].up = false).feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.9"),
        &expect![[r#"
        eth0 ingress: drop DEV_READY: eth0 is down
    "#]],
    );
    router().with(|host| host.links[2].carrier = false).feed(
        "eth0",
        udp("10.0.1.9", "10.0.2.9"),
        &expect![[r#"
            eth0 ingress: in 10.0.1.9:4000 → 10.0.2.9:53 udp ttl 64
            eth0 route: route 10.0.2.0/24 dev eth1 table 254
            eth1 forward: TtlDecremented
            eth1 egress: drop DEV_READY: eth1 is down
        "#]],
    );
}

#[test]
fn echo_requests_are_answered_unless_the_sysctl_says_no() {
    let ping = || to(mac(1), packet::icmp_echo(&meta("10.0.1.9", "10.0.2.1"), false, 9, 1, &[1; 8]));
    router().feed(
        "eth0",
        ping(),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9 → 10.0.2.1 icmp echo request ttl 64
        eth0 route: Local
        eth0 socket: Delivered
        - socket: made 10.0.2.1 → 10.0.1.9 icmp echo reply ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.2.1 → 10.0.1.9 icmp echo reply ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
    router().with(|host| host.sysctls.icmp_echo_ignore_all = true).feed(
        "eth0",
        ping(),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9 → 10.0.2.1 icmp echo request ttl 64
        eth0 route: Local
        eth0 socket: drop NOT_SPECIFIED: icmp_echo_ignore_all is set
    "#]],
    );
}

#[test]
fn an_ipv6_datagram_that_its_source_would_cut_has_an_unknown_fate() {
    let big = Client { payload: 2000, ..client(Protocol::Udp, "fd00:2::9", 53) };
    router().send(
        big,
        &expect![[r#"
        - socket: made [fd00:2::1]:4000 → [fd00:2::9]:53 udp ttl 64
        - route: route fd00:2::/64 dev eth1 table 254
        eth1 output: unknown: 2048 bytes do not fit the path MTU 1500, and fragments of IPv6 are not modelled
    "#]],
    );
}
