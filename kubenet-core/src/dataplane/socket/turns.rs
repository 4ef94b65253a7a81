//! Whose turn it is: the order in which a relay asks its backends, and which of them a client's address is kept to.
//!
//! In: a relay, the address of its client, time and chance. Out: the place of a backend in the relay's list. The order of the
//! first round is drawn one backend at a time, each uniformly among those not yet asked; later rounds repeat it. That equals a
//! shuffle when the backends become known and taking turns from then on, with a share for each backend that is exact however
//! many there are. Behaves as `NextEndpoint` of Kubernetes 1.21's `pkg/proxy/userspace/roundrobin.go`: a list that changed is
//! shuffled anew, and a client stays kept to a backend that is still in it.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::bound_socket;
use crate::addr::{Family, Protocol};
use crate::dataplane::choices::Choices;
use crate::dataplane::netns::Map;
use crate::plan::{Netns, Process, Relay};
use crate::time::Instant;

/// Clients' addresses that a relay remembers.
const KEPT: usize = 65_536;

/// A relay's socket: what it is known by while its backends come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seat {
    pub(super) protocol: Protocol,
    /// Each family has an order of its own, as each has its own proxier.
    pub(super) family: Family,
    /// The address that it is bound to; `None` for any.
    pub(super) addr: Option<IpAddr>,
    pub(super) port: u16,
}

impl Seat {
    /// Some address that its socket is found by.
    fn probe(&self) -> IpAddr {
        self.addr.unwrap_or(match self.family {
            Family::V4 => IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED),
        })
    }
}

/// The turns of all relays of a namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Map<Seat, Turn>);

#[derive(Clone, Debug, Default)]
struct Turn {
    /// The backends that `order` is about.
    backends: Vec<(IpAddr, u16)>,
    /// Places in `backends`, as far as they are drawn.
    order: Vec<usize>,
    /// The place in `order` of the one that is next.
    next: usize,
    kept: Map<IpAddr, Kept>,
}

/// The backend that a client's address is kept to.
#[derive(Clone, Copy, Debug)]
struct Kept {
    backend: (IpAddr, u16),
    used: Instant,
}

impl Turns {
    /// The backend for a client. `again`: the one that it was given before did not answer, so that it is not kept to that one.
    /// O(backends).
    pub(super) fn next(
        &mut self,
        seat: Seat,
        relay: &Relay,
        client: IpAddr,
        now: Instant,
        again: bool,
        choices: &mut impl Choices,
    ) -> Option<usize> {
        let turn = self.0.entry(seat).or_default();
        turn.learn(relay);
        let Some(lasts) = relay.affinity else { return turn.take(seat, choices) };
        let fresh = |kept: &Kept| kept.used + lasts > now;
        if let Some(kept) = turn.kept.get_mut(&client).filter(|kept| !again && fresh(kept))
            && let Some(place) = turn.backends.iter().position(|backend| *backend == kept.backend)
        {
            kept.used = now;
            return Some(place);
        }
        let place = turn.take(seat, choices)?;
        if turn.kept.len() >= KEPT {
            turn.kept.retain(|_, kept| fresh(kept));
        }
        if let Some(backend) = turn.backends.get(place).copied()
            && (turn.kept.len() < KEPT || turn.kept.contains_key(&client))
        {
            turn.kept.insert(client, Kept { backend, used: now });
        }
        Some(place)
    }

    /// The namespace has another plan: what belongs to relays that are gone is forgotten.
    pub(super) fn replanned(&mut self, plan: &Netns) {
        self.0.retain(|seat, turn| {
            let socket = bound_socket(plan, seat.protocol, seat.probe(), seat.port);
            match socket.map(|socket| socket.process) {
                Some(Process::Relay(relay)) => {
                    turn.learn(&relay);
                    true
                }
                Some(Process::Echo | Process::Http { .. }) | None => false,
            }
        });
    }
}

impl Turn {
    /// Begins anew if the backends are others than before.
    fn learn(&mut self, relay: &Relay) {
        let of = |backend: &crate::plan::Backend| (backend.addr, backend.port);
        if relay.backends.iter().map(of).eq(self.backends.iter().copied()) {
            return;
        }
        self.backends = relay.backends.iter().map(of).collect();
        self.order.clear();
        self.next = 0;
        let backends = &self.backends;
        self.kept.retain(|_, kept| backends.contains(&kept.backend));
    }

    fn take(&mut self, seat: Seat, choices: &mut impl Choices) -> Option<usize> {
        if self.order.len() < self.backends.len() {
            self.draw(seat, choices);
        }
        let place = self.order.get(self.next).copied()?;
        self.next = (self.next + 1) % self.backends.len().max(1);
        Some(place)
    }

    /// Draws the next one of the first round.
    fn draw(&mut self, seat: Seat, choices: &mut impl Choices) {
        let mut asked = vec![false; self.backends.len()];
        for place in &self.order {
            if let Some(slot) = asked.get_mut(*place) {
                *slot = true;
            }
        }
        let mut rest = asked.iter().enumerate().filter_map(|(place, asked)| (!asked).then_some(place));
        let count = rest.clone().count();
        let picked = match count {
            0 | 1 => 0,
            _ => choices.pick(format_args!("relay {}/{}", seat.protocol, seat.port), &vec![1; count]),
        };
        self.order.extend(rest.nth(picked.min(count.saturating_sub(1))));
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::dataplane::choices::Seeded;
    use crate::plan::{Backend, Origin};
    use crate::time::Duration;

    const SEAT: Seat = Seat { protocol: Protocol::Tcp, family: Family::V4, addr: None, port: 40_000 };

    fn relay(hosts: &[u8], affinity: Option<u64>) -> Relay {
        let backend =
            |host: &u8| Backend { addr: [10, 0, 0, *host].into(), port: 80, origin: Origin::implied("test") };
        Relay {
            backends: hosts.iter().map(backend).collect(),
            affinity: affinity.map(Duration::from_secs),
            udp_idle: Duration::from_millis(250),
        }
    }

    fn at(secs: u64) -> Instant {
        Instant::START + Duration::from_secs(secs)
    }

    fn client(host: u8) -> IpAddr {
        [10, 9, 9, host].into()
    }

    #[test]
    fn a_round_asks_each_backend_once_and_the_next_round_repeats_it() {
        let relay = relay(&[1, 2, 3, 4, 5], None);
        for seed in 0..20 {
            let mut turns = Turns::default();
            let mut next =
                || turns.next(SEAT, &relay, client(1), at(0), false, &mut Seeded(seed)).expect("one");
            let first: Vec<usize> = (0..5).map(|_| next()).collect();
            let second: Vec<usize> = (0..5).map(|_| next()).collect();
            let mut sorted = first.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
            assert_eq!(first, second);
        }
    }

    #[test]
    fn an_address_is_kept_to_its_backend_until_it_was_not_seen_for_long_enough() {
        let relay = relay(&[1, 2, 3], Some(10));
        let (mut turns, mut dice) = (Turns::default(), Seeded(1));
        let mut ask = |host, secs, again| {
            turns.next(SEAT, &relay, client(host), at(secs), again, &mut dice).expect("one")
        };
        let first = ask(1, 0, false);
        let other = ask(2, 0, false);
        assert_ne!(first, other);
        // Each use begins the time anew.
        assert_eq!([ask(1, 9, false), ask(1, 18, false), ask(1, 27, false)], [first; 3]);
        let third = ask(1, 37, false);
        assert!(third != first && third != other);
        // One that did not answer is not asked again.
        assert_eq!(ask(1, 38, true), first);
        assert_eq!(ask(1, 39, false), first);
    }

    #[test]
    fn another_list_of_backends_begins_a_new_round_and_keeps_those_that_stay() {
        let (mut turns, mut dice) = (Turns::default(), Seeded(3));
        let both = relay(&[1, 2], Some(100));
        let mut ask = |relay: &Relay, host| {
            let place = turns.next(SEAT, relay, client(host), at(0), false, &mut dice)?;
            relay.backends.get(place).map(|backend| backend.addr)
        };
        let (one, two) = (ask(&both, 1), ask(&both, 2));
        assert_ne!(one, two);
        let Some(IpAddr::V4(left)) = one else { panic!("an address") };
        let smaller = relay(&[left.octets()[3], 7], Some(100));
        assert_eq!(ask(&smaller, 1), one);
        assert_ne!(ask(&smaller, 2), two);
        assert_eq!(ask(&relay(&[], Some(100)), 1), None);
    }

    #[test]
    fn a_relay_that_is_gone_from_the_plan_is_forgotten() {
        let mut turns = Turns::default();
        turns.next(SEAT, &relay(&[1], None), client(1), at(0), false, &mut Seeded(0));
        turns.replanned(&Netns::new("", Origin::implied("test")));
        assert!(turns.0.is_empty());
    }
}
