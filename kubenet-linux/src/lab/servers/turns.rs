//! Whose turn it is: the order in which a relay asks its backends, and which of them a client's address is kept to.
//!
//! In: the relay's list of backends, a client's address and the time. Out: a backend. The list is shuffled when it becomes another,
//! and then taken in turns (`pkg/proxy/userspace/roundrobin.go`, Kubernetes 1.21): the same as the model's relay does.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use kubenet_core::plan::Relay;

/// Clients' addresses that are remembered.
const KEPT: usize = 65_536;

/// The turns of one relay.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// As the plan lists them.
    listed: Vec<SocketAddr>,
    /// The same, shuffled.
    order: Vec<SocketAddr>,
    next: usize,
    kept: HashMap<IpAddr, (SocketAddr, Instant)>,
}

impl Turns {
    /// Takes the relay's list, and begins anew if it is another one. A client stays with a backend that is still in it.
    pub(super) fn learn(&mut self, relay: &Relay) {
        let listed: Vec<SocketAddr> =
            relay.backends.iter().map(|backend| SocketAddr::new(backend.addr, backend.port)).collect();
        if listed == self.listed {
            return;
        }
        self.order = shuffled(listed.clone());
        self.next = 0;
        self.kept.retain(|_, (backend, _)| listed.contains(backend));
        self.listed = listed;
    }

    /// The backend for a client. `again`: the one that it was given before did not answer.
    pub(super) fn next(
        &mut self,
        client: IpAddr,
        affinity: Option<Duration>,
        now: Instant,
        again: bool,
    ) -> Option<SocketAddr> {
        let Some(lasts) = affinity else { return self.take() };
        let is_fresh = |used: Instant| now.saturating_duration_since(used) < lasts;
        if let Some((backend, used)) =
            self.kept.get_mut(&client).filter(|(_, used)| !again && is_fresh(*used))
        {
            *used = now;
            return Some(*backend);
        }
        let backend = self.take()?;
        if self.kept.len() >= KEPT {
            self.kept.retain(|_, (_, used)| is_fresh(*used));
        }
        if self.kept.len() < KEPT || self.kept.contains_key(&client) {
            self.kept.insert(client, (backend, now));
        }
        Some(backend)
    }

    fn take(&mut self) -> Option<SocketAddr> {
        let backend = self.order.get(self.next).copied()?;
        self.next = (self.next + 1) % self.order.len().max(1);
        Some(backend)
    }
}

/// A shuffle whose dice are the keys that the standard library gives every hash map.
fn shuffled(mut list: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let dice = RandomState::new();
    for last in (1..list.len()).rev() {
        let mut hasher = dice.build_hasher();
        hasher.write_usize(last);
        let range = u64::try_from(last).unwrap_or(u64::MAX) + 1;
        let other = usize::try_from(hasher.finish() % range).unwrap_or(0);
        list.swap(last, other);
    }
    list
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kubenet_core::plan::{Backend, Origin};

    use super::*;

    fn relay(hosts: &[u8]) -> Relay {
        let backend =
            |host: &u8| Backend { addr: [10, 0, 0, *host].into(), port: 80, origin: Origin::implied("test") };
        Relay {
            backends: hosts.iter().map(backend).collect(),
            affinity: None,
            udp_idle: Duration::from_millis(250),
        }
    }

    fn client(host: u8) -> IpAddr {
        [10, 9, 9, host].into()
    }

    #[test]
    fn a_round_asks_each_backend_once_and_the_next_round_repeats_it() {
        let mut turns = Turns::default();
        turns.learn(&relay(&[1, 2, 3, 4, 5]));
        let now = Instant::now();
        let mut round = || (0..5).map(|_| turns.next(client(1), None, now, false)).collect::<Vec<_>>();
        let first = round();
        assert_eq!(first.iter().flatten().collect::<BTreeSet<_>>().len(), 5);
        assert_eq!(round(), first);
    }

    #[test]
    fn an_address_is_kept_until_it_was_not_seen_for_long_enough_or_its_backend_did_not_answer() {
        let mut turns = Turns::default();
        turns.learn(&relay(&[1, 2, 3]));
        let start = Instant::now();
        let mut ask = |host, secs, again| {
            let at = start + Duration::from_secs(secs);
            turns.next(client(host), Some(Duration::from_secs(10)), at, again)
        };
        let first = ask(1, 0, false);
        assert_ne!(ask(2, 0, false), first);
        assert_eq!([ask(1, 9, false), ask(1, 18, false)], [first; 2]);
        assert_ne!(ask(1, 19, true), first);
        let other = ask(1, 20, false);
        assert_ne!(other, first);
        assert_ne!(ask(1, 31, false), other);
    }

    #[test]
    fn nobody_is_asked_where_nobody_is_there_and_a_shorter_list_begins_anew() {
        let mut turns = Turns::default();
        let now = Instant::now();
        assert_eq!(turns.next(client(1), None, now, false), None);
        turns.learn(&relay(&[1, 2]));
        turns.next(client(1), None, now, false);
        turns.learn(&relay(&[2]));
        assert_eq!(turns.next(client(1), None, now, false), Some(SocketAddr::from(([10, 0, 0, 2], 80))));
        turns.learn(&relay(&[]));
        assert_eq!(turns.next(client(1), Some(Duration::MAX), now, false), None);
    }
}
