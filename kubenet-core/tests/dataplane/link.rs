//! Bridges and VXLAN devices.

use expect_test::expect;
use kubenet_core::addr::MacAddr;
use kubenet_core::dataplane::{EventId, Flow, FlowKind, Log, Machine, Recorder, Seeded, Skb};
use kubenet_core::packet::{self};
use kubenet_core::plan::{LinkKind, MachineId, Origin, Protocol, Vxlan};
use kubenet_core::time::Instant;

use super::host::*;

/// A bridge with two ports and an address.
fn bridge(hairpin: bool, isolated: bool) -> Host {
    Host::new()
        .link("br0", LinkKind::Bridge { ageing_secs: 300 }, &["10.0.1.1/24"])
        .port("p1", "br0", hairpin, isolated)
        .port("p2", "br0", false, isolated)
        .routes("10.0.1.0/24 dev br0 proto kernel scope link src 10.0.1.1")
}

fn frame_from(from: u8, to: MacAddr) -> Vec<u8> {
    let mut frame = packet::udp(&meta("10.0.1.8", "10.0.1.9"), 4000, 53, &[0; 8]);
    packet::set_macs(&mut frame, mac(from), to);
    frame
}

#[test]
fn a_bridge_floods_what_it_has_not_learned_and_forwards_what_it_has() {
    let teach = || frame_from(0xb2, MacAddr::BROADCAST);
    bridge(false, false).feed(
        "p1",
        frame_from(0xb1, mac(0xb2)),
        &expect![[r#"
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 bridge: Flooded
        p2 egress: out 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64 to 02:00:00:00:00:b2
    "#]],
    );
    // p1 learns 0xb2, so a frame for it that comes in by p2 leaves by p1 only.
    let host = bridge(false, false);
    let (p1, p2) = (host.index("p1"), host.index("p2"));
    let plan = host.plan();
    let (mut machine, mut log) = (Machine::new(MachineId(0), plan.clone()), Log::default());
    let mut feed = |machine: &mut Machine, link, frame| {
        let flow = log.flow(Flow { kind: FlowKind::Injected, cause: EventId::NONE });
        machine.handle_frame(
            Instant::START,
            (0, link),
            Skb::new(frame, flow, EventId::NONE),
            &mut Seeded(0),
            &mut log,
        );
        let mut links = Vec::new();
        while let Some(sent) = machine.poll_transmit() {
            links.push(sent.link);
        }
        links
    };
    assert_eq!(feed(&mut machine, p1, teach()), [p2]);
    assert_eq!(feed(&mut machine, p2, frame_from(0xb1, mac(0xb2))), [p1]);
}

#[test]
fn a_frame_never_leaves_by_the_port_it_came_in_by_unless_hairpin_is_on() {
    let frames = || vec![frame_from(0xb2, MacAddr::BROADCAST), frame_from(0xb1, mac(0xb2))];
    bridge(false, false).feed_all("p1", frames(), &expect![[r#"
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 bridge: Flooded
        p2 egress: out 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64 to ff:ff:ff:ff:ff:ff
        br0 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 route: route 10.0.1.0/24 dev br0 table 254
        br0 forward: drop NOT_SPECIFIED: a packet in a group frame is not forwarded
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        p1 bridge: drop BRIDGE_NO_EGRESS_PORT: 02:00:00:00:00:b2 is behind p1, where the frame came from, and hairpin is off
    "#]]);
    bridge(true, false).feed_all(
        "p1",
        frames(),
        &expect![[r#"
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 bridge: Flooded
        p1 egress: out 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64 to ff:ff:ff:ff:ff:ff
        p2 egress: out 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64 to ff:ff:ff:ff:ff:ff
        br0 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 route: route 10.0.1.0/24 dev br0 table 254
        br0 forward: drop NOT_SPECIFIED: a packet in a group frame is not forwarded
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 bridge: Forwarded
        p1 egress: out 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64 to 02:00:00:00:00:b2
    "#]],
    );
}

#[test]
fn isolated_ports_do_not_talk_to_each_other() {
    bridge(false, true).feed(
        "p1",
        frame_from(0xb1, mac(0xb2)),
        &expect![[r#"
        p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
        br0 bridge: drop BRIDGE_NO_EGRESS_PORT: the bridge has no other port
    "#]],
    );
}

#[test]
fn a_frame_larger_than_the_port_is_lost_without_a_word() {
    let mut frame = packet::udp(&meta("10.0.1.8", "10.0.1.9"), 4000, 53, &[0; 1350]);
    packet::set_macs(&mut frame, mac(0xb1), mac(0xb2));
    bridge(false, false)
        .with(|host| {
            host.links.iter_mut().filter(|link| &*link.name == "p2").for_each(|p| p.mtu_bytes = 1300)
        })
        .feed(
            "p1",
            frame,
            &expect![[r#"
            p1 ingress: in 10.0.1.8:4000 → 10.0.1.9:53 udp ttl 64
            br0 bridge: Flooded
            p2 bridge: drop PKT_TOO_BIG: larger than the MTU of p2 (1300); a bridge sends no ICMP
        "#]],
        );
}

/// A node with a VXLAN device to another.
fn vtep() -> Host {
    let vxlan =
        Vxlan { vni: 1, port: 8472, local: Some(ip("10.0.1.1")), dev: Some("eth0".into()), learning: false };
    Host::new()
        .card("eth0", &["10.0.1.1/24"])
        .link("vx", LinkKind::Vxlan(vxlan), &["10.5.1.0/32"])
        .routes("10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.1\n10.5.2.0/24 via 10.5.2.0 dev vx onlink\n")
        .knows(&[("10.0.1.9", "eth0"), ("10.5.2.0", "vx")])
        .with(|host| {
            host.fdb.push(kubenet_core::plan::FdbEntry {
                mac: THEM,
                dev: "vx".into(),
                master: None,
                dst: Some(ip("10.0.1.9")),
                permanent: true,
                origin: Origin::implied("test"),
            });
        })
}

#[test]
fn a_vxlan_device_wraps_into_fifty_bytes_more() {
    vtep().send(client(Protocol::Udp, "10.5.2.9", 53), &expect![[r#"
        - socket: made 10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64
        - route: route 10.5.2.0/24 via 10.5.2.0 dev vx table 254
        vx egress: out 10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64 to 02:00:00:00:00:ee
        vx vxlan: Encapsulated
        - socket: made 10.0.1.1:44086 → 10.0.1.9:8472 vxlan [10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64] ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1:44086 → 10.0.1.9:8472 vxlan [10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64] ttl 64 to 02:00:00:00:00:ee
    "#]]);
}

#[test]
fn a_wrapped_frame_is_unwrapped_by_its_vni_and_port() {
    let wrapped = |vni: u32, dport: u16| {
        let mut inner = packet::udp(&meta("10.5.2.9", "10.5.1.0"), 4000, 53, &[0; 8]);
        packet::set_macs(&mut inner, THEM, mac(2));
        to(mac(1), packet::vxlan_encapsulate(&meta("10.0.1.9", "10.0.1.1"), 50_000, dport, vni, &inner))
    };
    vtep().listen(Protocol::Udp, 53).feed("eth0", wrapped(1, 8472), &expect![[r#"
        eth0 ingress: in 10.0.1.9:50000 → 10.0.1.1:8472 vxlan [10.5.2.9:4000 → 10.5.1.0:53 udp ttl 64] ttl 64
        eth0 route: Local
        vx vxlan: Decapsulated
        vx ingress: in 10.5.2.9:4000 → 10.5.1.0:53 udp ttl 64
        vx route: Local
        vx socket: Delivered
        - socket: made 10.5.1.0:53 → 10.5.2.9:4000 udp ttl 64
        - route: route 10.5.2.0/24 via 10.5.2.0 dev vx table 254
        vx egress: out 10.5.1.0:53 → 10.5.2.9:4000 udp ttl 64 to 02:00:00:00:00:ee
        vx vxlan: Encapsulated
        - socket: made 10.0.1.1:54799 → 10.0.1.9:8472 vxlan [10.5.1.0:53 → 10.5.2.9:4000 udp ttl 64] ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1:54799 → 10.0.1.9:8472 vxlan [10.5.1.0:53 → 10.5.2.9:4000 udp ttl 64] ttl 64 to 02:00:00:00:00:ee
    "#]]);
    vtep().feed(
        "eth0",
        wrapped(2, 8472),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:50000 → 10.0.1.1:8472 vxlan [10.5.2.9:4000 → 10.5.1.0:53 udp ttl 64] ttl 64
        eth0 route: Local
        eth0 vxlan: drop VXLAN_VNI_NOT_FOUND: no VXLAN device has VNI 2 on port 8472
    "#]],
    );
    vtep().feed(
        "eth0",
        wrapped(1, 4789),
        &expect![[r#"
        eth0 ingress: in 10.0.1.9:50000 → 10.0.1.1:4789 vxlan [10.5.2.9:4000 → 10.5.1.0:53 udp ttl 64] ttl 64
        eth0 route: Local
        eth0 socket: drop NO_SOCKET: nothing listens on udp port 4789
        - socket: made 10.0.1.1 → 10.0.1.9 icmp port unreachable ttl 64
        - route: route 10.0.1.0/24 dev eth0 table 254
        eth0 egress: out 10.0.1.1 → 10.0.1.9 icmp port unreachable ttl 64 to 02:00:00:00:00:ee
    "#]],
    );
}

#[test]
fn a_vxlan_device_without_an_entry_drops() {
    vtep().with(|host| host.fdb.clear()).send(
        client(Protocol::Udp, "10.5.2.9", 53),
        &expect![[r#"
        - socket: made 10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64
        - route: route 10.5.2.0/24 via 10.5.2.0 dev vx table 254
        vx egress: out 10.5.1.0:4000 → 10.5.2.9:53 udp ttl 64 to 02:00:00:00:00:ee
        vx vxlan: drop VXLAN_NO_REMOTE: vx has no forwarding entry for 02:00:00:00:00:ee
    "#]],
    );
}
