//! What the servers received, for those who compare.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kubenet_core::addr::Protocol;
use serde::{Deserialize, Serialize};

/// How many are kept: the oldest go first.
const KEPT: usize = 65_536;

/// A connection that a server accepted, or a datagram that it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    /// Counts up from 0, without gaps.
    pub number: u64,
    /// Microseconds since 1970.
    pub at_micros: u64,
    /// The machine.
    pub machine: Arc<str>,
    /// The namespace on it: empty for the machine's own, `NAMESPACE/NAME` for a pod's.
    pub netns: Arc<str>,
    /// The transport.
    pub protocol: Protocol,
    /// The server's own end.
    pub local: SocketAddr,
    /// The other end, as the server sees it.
    pub peer: SocketAddr,
}

/// The last of them, shared by all servers.
#[derive(Debug, Default)]
pub struct Records(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    last: VecDeque<Received>,
}

impl Records {
    pub(super) fn add(
        &self,
        (machine, netns): (&Arc<str>, &Arc<str>),
        protocol: Protocol,
        local: SocketAddr,
        peer: SocketAddr,
    ) {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = Received {
            number: kept.next,
            at_micros: u64::try_from(micros).unwrap_or(u64::MAX),
            machine: machine.clone(),
            netns: netns.clone(),
            protocol,
            local: canonical(local),
            peer: canonical(peer),
        };
        kept.next += 1;
        if kept.last.len() >= KEPT {
            kept.last.pop_front();
        }
        kept.last.push_back(one);
    }

    /// The number that the next one gets.
    pub fn next_number(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next
    }

    /// Those with this number and later ones, the oldest first.
    pub fn since(&self, number: u64) -> Vec<Received> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.last.partition_point(|one| one.number < number);
        kept.last.range(first..).cloned().collect()
    }
}

/// An IPv4 address as such, also where a socket of both families shows it.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_those_after_a_number_are_found() {
        let records = Records::default();
        let place = (&Arc::from("node-1"), &Arc::from("default/web"));
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        for port in 0..10 {
            records.add(place, Protocol::Udp, at(53), at(port));
        }
        let ports = |number| records.since(number).iter().map(|one| one.peer.port()).collect::<Vec<_>>();
        assert_eq!(ports(7), [7, 8, 9]);
        assert_eq!(ports(0).len(), 10);
        for _ in 0..KEPT {
            records.add(place, Protocol::Udp, at(53), at(99));
        }
        assert_eq!(records.since(0).len(), KEPT);
        assert_eq!(records.since(0).first().map(|one| one.number), Some(10));
    }

    #[test]
    fn an_ipv4_peer_of_a_socket_of_both_families_is_shown_as_one() {
        let mapped = "[::ffff:10.1.2.3]:80".parse().expect("an address");
        assert_eq!(canonical(mapped), SocketAddr::from(([10, 1, 2, 3], 80)));
    }
}
