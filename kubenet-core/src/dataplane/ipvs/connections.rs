//! The connections of IPVS: found by either side, forgotten when their time is up.
//!
//! A look-up costs one hash probe; a connection costs O(log connections) when it comes and when it ends, however often its
//! time is put off in between (`ip_vs_conn.c`, where each has a timer).

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use smallvec::SmallVec;

use crate::dataplane::netfilter::Tuple;
use crate::dataplane::netns::Map;
use crate::plan::VirtualId;
use crate::time::Instant;

/// A connection to a virtual server.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) virtual_id: VirtualId,
    /// The place of its real server.
    pub(super) server: usize,
    /// From the client to the virtual server.
    pub(super) client: Tuple,
    /// From the real server to the client.
    pub(super) real: Tuple,
    pub(super) expires: Instant,
    /// It counts as active, not as inactive.
    pub(super) active: bool,
}

/// The connections of a namespace.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_client: Map<Tuple, u32>,
    /// A real server's side may be that of several: the last one counts.
    by_real: Map<Tuple, SmallVec<[u32; 1]>>,
    /// One entry for each connection at [`Slot::queued`]; others are of the past.
    ends: BinaryHeap<Reverse<(Instant, u32)>>,
}

#[derive(Debug)]
struct Slot {
    connection: Connection,
    /// When it is looked at again: not after it ends.
    queued: Instant,
}

impl Connections {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_real.is_empty()
    }

    /// Adds a connection; it is found before others with the same tuples.
    pub(super) fn insert(&mut self, connection: Connection) -> u32 {
        let (client, real, queued) = (connection.client, connection.real, connection.expires);
        let slot = Some(Slot { connection, queued });
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        if let Some(place) = self.slots.get_mut(id as usize) {
            *place = slot;
        }
        self.by_client.insert(client, id);
        self.by_real.entry(real).or_default().push(id);
        self.ends.push(Reverse((queued, id)));
        id
    }

    pub(super) fn get(&self, id: u32) -> Option<&Connection> {
        Some(&self.slots.get(id as usize)?.as_ref()?.connection)
    }

    /// Those whose time is not up. O(connections).
    pub(super) fn alive(&self, now: Instant) -> impl Iterator<Item = &Connection> {
        let all = self.slots.iter().flatten().map(|slot| &slot.connection);
        all.filter(move |connection| connection.expires > now)
    }

    /// Says until when it lives, and whether it counts as active.
    pub(super) fn follow(&mut self, id: u32, expires: Instant, active: bool) {
        let Some(Some(slot)) = self.slots.get_mut(id as usize) else { return };
        slot.connection.expires = expires;
        slot.connection.active = active;
        // A later end is seen when the earlier one is due.
        if expires < slot.queued {
            slot.queued = expires;
            self.ends.push(Reverse((expires, id)));
        }
    }

    /// The connection of a packet from a client, if it is alive.
    pub(super) fn of_client(&self, tuple: &Tuple, now: Instant) -> Option<u32> {
        let id = *self.by_client.get(tuple)?;
        self.get(id).filter(|connection| connection.expires > now).map(|_| id)
    }

    /// The connection of a packet from a real server, if it is alive.
    pub(super) fn of_real(&self, tuple: &Tuple, now: Instant) -> Option<u32> {
        let id = *self.by_real.get(tuple)?.last()?;
        self.get(id).filter(|connection| connection.expires > now).map(|_| id)
    }

    /// Forgets one connection whose time is up, and gives it.
    pub(super) fn pop_ended(&mut self, now: Instant) -> Option<Connection> {
        loop {
            let Reverse((at, id)) = *self.ends.peek().filter(|Reverse((at, _))| *at <= now)?;
            self.ends.pop();
            let Some(place) = self.slots.get_mut(id as usize) else { continue };
            let Some(slot) = place.as_mut().filter(|slot| slot.queued == at) else { continue };
            if slot.connection.expires > now {
                slot.queued = slot.connection.expires;
                self.ends.push(Reverse((slot.queued, id)));
                continue;
            }
            let Some(Slot { connection, .. }) = place.take() else { continue };
            self.free.push(id);
            self.unlink(&connection, id);
            return Some(connection);
        }
    }

    fn unlink(&mut self, connection: &Connection, id: u32) {
        if self.by_client.get(&connection.client) == Some(&id) {
            self.by_client.remove(&connection.client);
        }
        if let Some(ids) = self.by_real.get_mut(&connection.real) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_real.remove(&connection.real);
            }
        }
    }

    /// All of them.
    pub(super) fn into_all(self) -> impl Iterator<Item = Connection> {
        self.slots.into_iter().flatten().map(|slot| slot.connection)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::net::IpAddr;

    use proptest::prelude::*;

    use super::{Connection, Connections};
    use crate::dataplane::netfilter::Tuple;
    use crate::plan::{IpvsProtocol, VirtualId};
    use crate::time::{Duration, Instant};

    fn connection(client: u16, real: u8, expires: Instant) -> Connection {
        let (addr, other) = (IpAddr::from([10, 96, 0, 1]), IpAddr::from([10, 244, 0, 5]));
        let back = IpAddr::from([10, 244, 1, real]);
        let tuple = |src, sport, dst, dport| Tuple { src, sport, dst, dport, protocol: 6 };
        Connection {
            virtual_id: VirtualId::Addr { protocol: IpvsProtocol::Tcp, addr, port: 80 },
            server: 0,
            client: tuple(other, client, addr, 80),
            real: tuple(back, 8080, other, client),
            expires,
            active: false,
        }
    }

    fn at(secs: u64) -> Instant {
        Instant::START + Duration::from_secs(secs)
    }

    #[test]
    fn a_shorter_life_ends_before_a_longer_one_that_began_with_it() {
        let mut table = Connections::default();
        let first = table.insert(connection(1, 1, at(900)));
        let second = table.insert(connection(2, 1, at(60)));
        table.follow(first, at(120), true);
        table.follow(second, at(1000), true);
        assert!(table.pop_ended(at(119)).is_none());
        assert_eq!(table.pop_ended(at(120)).map(|it| it.client.sport), Some(1));
        assert!(table.pop_ended(at(900)).is_none());
        assert_eq!(table.of_client(&connection(2, 1, at(0)).client, at(900)), Some(second));
        assert_eq!(table.pop_ended(at(1000)).map(|it| it.client.sport), Some(2));
        assert!(table.is_empty() && table.by_client.is_empty() && table.ends.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_alive_is_what_a_list_would_hold(
            steps in proptest::collection::vec((0..4_u8, 0..12_u16, 1..3_u8, 1..40_u64), 1..120),
        ) {
            let mut table = Connections::default();
            let mut list: Vec<Connection> = Vec::new();
            let mut now = Instant::START;
            for (what, client, real, secs) in steps {
                let soon = now + Duration::from_secs(secs);
                let known = table.of_client(&connection(client, real, now).client, now);
                match (what, known) {
                    (0, _) => now = soon,
                    (_, Some(id)) => {
                        table.follow(id, soon, what == 2);
                        let sport = |it: &&mut Connection| it.client.sport == client;
                        let same = list.iter_mut().find(sport).expect("the list knows it");
                        (same.expires, same.active) = (soon, what == 2);
                    }
                    (_, None) => {
                        while table.pop_ended(now).is_some() {}
                        list.retain(|it| it.expires > now);
                        table.insert(connection(client, real, soon));
                        list.push(connection(client, real, soon));
                    }
                }
                for it in &list {
                    let (found, back) = (table.of_client(&it.client, now), table.of_real(&it.real, now));
                    prop_assert_eq!(found.is_some(), it.expires > now);
                    prop_assert_eq!(found, back);
                    let found = found.and_then(|id| table.get(id));
                    prop_assert!(found.is_none_or(|found| found.active == it.active));
                }
            }
            // No more is kept than what is there.
            while table.pop_ended(now).is_some() {}
            let alive = list.iter().filter(|it| it.expires > now).count();
            prop_assert_eq!(table.by_client.len(), alive);
            prop_assert_eq!(table.slots.iter().flatten().count(), alive);
        }
    }
}
