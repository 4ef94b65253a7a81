//! A machine that is fed frames by hand: no cluster, no clock, no sockets of the operating system.
//!
//! ```sh
//! cargo run -p kubenet-core --example machine_by_hand
//! ```

#![allow(clippy::print_stdout, reason = "an example shows something")]

use std::net::Ipv4Addr;
use std::sync::Arc;

use kubenet_core::addr::MacAddr;
use kubenet_core::dataplane::{EventId, FlowId, Machine, Seeded, Skb};
use kubenet_core::origin::OriginKind;
use kubenet_core::packet::{self, Ipv4Meta};
use kubenet_core::plan::{
    Address, Link, LinkKind, MachineId, MachinePlan, Netns, Origin, Route, RouteScope, SegmentId,
};
use kubenet_core::time::Instant;

const NODE: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(172, 18, 0, 2));
const NEIGHBOUR: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(172, 18, 0, 1));

fn main() {
    // A machine is fed with frames and drained of them. Everything that it could get from outside (time, chance) is an
    // argument; a `Log` instead of `()` would take down every step.
    let mut machine = Machine::new(MachineId(0), Arc::new(plan()));
    let mut choices = Seeded(0);
    let mut now = Instant::START;

    let broadcast = |mut frame: Vec<u8>| {
        packet::set_macs(&mut frame, NEIGHBOUR.0, MacAddr::BROADCAST);
        frame
    };
    let to_node = |mut frame: Vec<u8>| {
        packet::set_macs(&mut frame, NEIGHBOUR.0, NODE.0);
        frame
    };
    let (src, dst) = (NEIGHBOUR.1.into(), NODE.1.into());
    let echo = Ipv4Meta { src, dst, ttl: 64, dont_fragment: true, id: 1 };
    let elsewhere = Ipv4Meta { dst: Ipv4Addr::new(203, 0, 113, 9).into(), ..echo };
    let stranger = Ipv4Meta { src: Ipv4Addr::new(172, 18, 0, 77).into(), ..echo };
    let frames = [
        // Who has 172.18.0.2? The answer comes at once, and the machine has learned who asked.
        broadcast(packet::arp(true, NEIGHBOUR, (MacAddr::ZERO, NODE.1))),
        // An echo request: the reply needs no question of its own.
        to_node(packet::icmp_echo(&echo, false, 7, 1, b"hello")),
        // A datagram to a port where nobody listens: an ICMP error.
        to_node(packet::udp(&echo, 40000, 9, b"anybody?")),
        // A packet for somebody else: this machine does not forward, so nothing leaves.
        to_node(packet::icmp_echo(&elsewhere, false, 7, 2, b"hello")),
        // From an address that the machine has no neighbour entry for: it asks before it replies.
        to_node(packet::icmp_echo(&stranger, false, 7, 3, b"hello")),
    ];
    for frame in frames {
        println!("in   {}", words(&frame));
        // Namespace 0, link 1: `lo` is link 0.
        machine.handle_frame(now, (0, 1), Skb::new(frame, FlowId(0), EventId::NONE), &mut choices, &mut ());
        // After every call, drain.
        while let Some(sent) = machine.poll_transmit() {
            println!("out  {}", words(&sent.frame.bytes));
        }
    }

    // What is due later is a deadline, not a sleep: nobody answers, so the machine asks again and gives up.
    while let Some((at, why)) = machine.poll_timeout() {
        println!("at {at}: {why}");
        now = at;
        machine.handle_timeout(now, &mut choices, &mut ());
        while let Some(sent) = machine.poll_transmit() {
            println!("out  {}", words(&sent.frame.bytes));
        }
    }
    println!("\nip neigh:\n{}", kubenet_core::text::ip_neigh::render(&machine.neighbours(0)));
}

/// One card in one namespace.
fn plan() -> MachinePlan {
    let origin = Origin::new(OriginKind::Embedder);
    let mut netns = Netns::new("", origin.clone());
    let nic = LinkKind::Nic { segment: Some(SegmentId(0)) };
    let mut eth0 = Link::new("eth0", nic, NODE.0, 1500, origin.clone());
    let net = "172.18.0.2/16".parse().expect("a prefix");
    eth0.addresses.push(Address { net, scope: RouteScope::Global, origin: origin.clone() });
    netns.links.push(eth0);
    netns.routes.push(Route::unicast(net, None, "eth0", origin));
    netns.into()
}

fn words(frame: &[u8]) -> String {
    packet::describe(frame).map_or_else(|| "not a frame".into(), |summary| summary.to_string())
}
