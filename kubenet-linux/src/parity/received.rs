//! What processes received, and from whom: the source that they saw.
//!
//! In: a case, or what the servers of a lab took down. Out: [`Likeness`]es by namespace: each connection that was accepted and each
//! datagram, with both ends as the process sees them. A relay receives too.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use kubenet_core::addr::Protocol;
use kubenet_core::dataplane::{EventKind, Stage};
use kubenet_core::packet::{self, Ip, View, number};
use kubenet_core::time::Instant;
use kubenet_core::trace::{Case, Hop};

use super::likeness::Likeness;
use super::lists::ByPlace;
use super::site::Place;
use crate::lab::Received;

/// What the processes of a case received up to a moment.
pub(super) fn of_case(case: &Case, until: Instant) -> ByPlace {
    let mut hops: Vec<&Hop> = case.flows.iter().flat_map(|flow| &flow.events).collect();
    hops.sort_by_key(|hop| hop.id);
    let (mut receipts, mut opened) = (ByPlace::new(), BTreeSet::new());
    for hop in hops.into_iter().filter(|hop| hop.at <= until && hop.stage == Stage::Socket) {
        let EventKind::Delivered { listener: Some(listener), port: Some(_) } = &hop.event else { continue };
        let Ok(View::Ip(ip)) = packet::view(&hop.bytes) else { continue };
        let Some((sport, dport)) = ip.ports else { continue };
        let (local, peer) = (SocketAddr::new(ip.dst, dport), SocketAddr::new(ip.src, sport));
        let place: Place = (hop.machine.to_string(), hop.netns.to_string());
        // A process that listens is named by its port; who opened a connection, by what it is.
        let listens = listener.contains('/');
        let is_whole = match ip.protocol {
            number::UDP => listens,
            // The segment that ends the handshake: the first after the question, which goes to a socket that listens.
            number::TCP => {
                let flags = packet::l4_bytes(&hop.bytes, &ip).get(13).copied().unwrap_or(0);
                let key = (place.clone(), local, peer);
                if listens && flags & SYN != 0 {
                    opened.insert(key);
                    false
                } else {
                    flags & (SYN | RST) == 0 && opened.remove(&key)
                }
            }
            number::SCTP => listens && is_cookie(&hop.bytes, &ip),
            _ => false,
        };
        if let (true, Some(protocol)) = (is_whole, protocol(ip.protocol)) {
            receipts.entry(place).or_default().push(receipt(protocol, local, peer));
        }
    }
    receipts
}

/// What the servers took down.
pub(super) fn of_servers(records: &[Received]) -> ByPlace {
    let mut receipts = ByPlace::new();
    for one in records {
        let place = (one.machine.to_string(), one.netns.to_string());
        receipts.entry(place).or_default().push(receipt(one.protocol, one.local, one.peer));
    }
    receipts
}

/// The flags of TCP.
const SYN: u8 = 2;
const RST: u8 = 4;

fn is_cookie(frame: &[u8], ip: &Ip) -> bool {
    packet::chunk_of(packet::l4_bytes(frame, ip))
        .is_some_and(|(chunk, ..)| chunk == packet::Chunk::CookieEcho)
}

const fn protocol(number: u8) -> Option<Protocol> {
    match number {
        number::TCP => Some(Protocol::Tcp),
        number::UDP => Some(Protocol::Udp),
        number::SCTP => Some(Protocol::Sctp),
        _ => None,
    }
}

fn receipt(protocol: Protocol, local: SocketAddr, peer: SocketAddr) -> Likeness {
    Likeness {
        text: format!("{protocol} at {} port {{}}: from {} port {{}}", local.ip(), peer.ip()),
        ports: vec![local.port(), peer.port()],
    }
}

#[cfg(test)]
mod tests {
    use kubenet_core::network::{Network, Question};

    use super::*;

    const PODS: &str = "
kind: Pod
apiVersion: v1
metadata: { name: a }
spec: { containers: [{ name: c }] }
---
kind: Pod
apiVersion: v1
metadata: { name: b }
spec: { containers: [{ name: c, ports: [{ containerPort: 80 }, { containerPort: 53, protocol: UDP }] }] }
";

    fn received(to: &str, protocol: Protocol) -> Vec<String> {
        let network = Network::from_text("pods.yaml", PODS);
        let mut question = Question::new("pod/a".to_owned(), to.to_owned());
        (question.protocol, question.sport, question.payload) = (Some(protocol), Some(20_000), 12);
        let trace = network.trace(&question).expect("an answer");
        let receipts = of_case(&trace.outcomes[0], Instant::from_nanos(u64::MAX));
        receipts
            .iter()
            .flat_map(|((_, netns), list)| list.iter().map(move |one| format!("{netns}: {one}")))
            .collect()
    }

    #[test]
    fn a_connection_is_received_once_however_many_segments_it_has_and_so_is_a_datagram() {
        for (to, protocol, port) in [("pod/b:80", Protocol::Tcp, 80), ("pod/b:53", Protocol::Udp, 53)] {
            let told = received(to, protocol);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].starts_with(&format!("default/b: {protocol} at 10.")), "{told:?}");
            assert!(told[0].contains(&format!(" port {port}: from 10.")), "{told:?}");
            assert!(told[0].ends_with(" port 20000"), "{told:?}");
        }
    }

    #[test]
    fn what_nobody_listens_for_and_what_the_kernel_answers_is_received_by_no_process() {
        assert_eq!(received("pod/b:81", Protocol::Tcp), [""; 0]);
        assert_eq!(received("pod/b", Protocol::Icmp), [""; 0]);
    }
}
