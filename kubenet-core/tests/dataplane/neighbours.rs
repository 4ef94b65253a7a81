//! What a host believes about its neighbours, as they ask and answer.

use kubenet_core::addr::MacAddr;
use kubenet_core::dataplane::{EventId, FlowId, Log, Machine, Seeded, Skb};
use kubenet_core::packet;
use kubenet_core::plan::{MachineId, NeighbourState, Protocol};
use kubenet_core::time::{Duration, Instant};

use crate::host::{Host, THEM, client, ip, mac};

/// Somebody else who says that the address is his.
const OTHER: MacAddr = mac(0xdd);

/// A host that has asked for 10.0.1.9 and waits for the answer.
fn asking() -> (Machine, Log) {
    let host = Host::new()
        .card("eth0", &["10.0.1.1/24"])
        .routes("10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.1\n");
    let (mut machine, mut log) = (Machine::new(MachineId(0), host.plan()), Log::default());
    machine.open(Instant::START, client(Protocol::Udp, "10.0.1.9", 53), &mut Seeded(0), &mut log);
    (machine, log)
}

/// 10.0.1.9 asks for the host's address, or answers that its own is at a MAC; a nanosecond passes.
fn hear(machine: &mut Machine, log: &mut Log, at: Instant, request: bool, from: MacAddr) -> NeighbourState {
    let (core::net::IpAddr::V4(own), core::net::IpAddr::V4(them)) = (ip("10.0.1.1"), ip("10.0.1.9")) else {
        panic!("IPv4")
    };
    let frame = packet::arp(request, (from, them), (mac(1), own));
    let skb = Skb::new(frame, FlowId(0), EventId::NONE);
    machine.handle_frame(at, (0, 1), skb, &mut Seeded(0), log);
    machine.handle_timeout(at + Duration::from_nanos(1), &mut Seeded(0), log);
    let neighbours = machine.neighbours(0);
    assert_eq!(neighbours.len(), 1, "{neighbours:?}");
    neighbours[0].state
}

#[test]
fn a_question_of_a_neighbour_that_is_reachable_changes_nothing() {
    let (mut machine, mut log) = asking();
    assert_eq!(hear(&mut machine, &mut log, Instant::START, false, THEM), NeighbourState::Reachable);
    let later = Instant::START + Duration::from_secs(5);
    assert_eq!(hear(&mut machine, &mut log, later, true, THEM), NeighbourState::Reachable);
    assert_eq!(machine.neighbours(0)[0].mac, Some(THEM));
}

#[test]
fn a_question_from_another_mac_is_believed_after_a_second_but_not_confirmed() {
    let (mut machine, mut log) = asking();
    assert_eq!(hear(&mut machine, &mut log, Instant::START, false, THEM), NeighbourState::Reachable);
    let soon = Instant::START + Duration::from_millis(500);
    assert_eq!(hear(&mut machine, &mut log, soon, true, OTHER), NeighbourState::Reachable);
    assert_eq!(machine.neighbours(0)[0].mac, Some(THEM));
    let later = Instant::START + Duration::from_secs(5);
    assert_eq!(hear(&mut machine, &mut log, later, true, OTHER), NeighbourState::Stale);
    assert_eq!(machine.neighbours(0)[0].mac, Some(OTHER));
}
