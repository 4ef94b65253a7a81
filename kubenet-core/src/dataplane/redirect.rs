//! How often a router tells a sender of a shorter way.
//!
//! Sources: `net/ipv4/route.c ip_rt_send_redirect` with its `ip_rt_redirect_number`, `_load` and `_silence`. O(1) each.

use core::net::Ipv4Addr;

use super::netns::Map;
use crate::time::{Duration, Instant};

/// Redirects in a row, after which a sender that does not listen gets none.
const NUMBER: u8 = 9;
/// The pause after the first; it doubles with each.
const LOAD: Duration = Duration::from_millis(20);
/// After so long without any, a sender counts as a new one.
const SILENCE: Duration = Duration::from_millis(20 << 10);
/// Senders that are remembered (`inet_peer_threshold`).
const SENDERS: usize = 65_664;

/// What a router remembers of those that it told.
#[derive(Debug, Default)]
pub(super) struct Redirects(Map<Ipv4Addr, Told>);

#[derive(Clone, Copy, Debug)]
struct Told {
    times: u8,
    last: Instant,
}

impl Redirects {
    /// Whether a sender is told now; if so, that counts.
    pub(super) fn may_tell(&mut self, sender: Ipv4Addr, now: Instant) -> bool {
        let known = self.0.get(&sender).filter(|told| now <= told.last + SILENCE).copied();
        let told = match known {
            None => Told { times: 1, last: now },
            Some(told) if told.times >= NUMBER => Told { last: now, ..told },
            Some(told) if now > told.last + LOAD * (1 << told.times) => {
                Told { times: told.times + 1, last: now }
            }
            Some(_) => return false,
        };
        if self.0.len() < SENDERS || self.0.contains_key(&sender) {
            self.0.insert(sender, told);
        }
        known.is_none_or(|known| known.times < NUMBER)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const SENDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn told(millis: impl IntoIterator<Item = u64>) -> Vec<bool> {
        let mut redirects = Redirects::default();
        millis.into_iter().map(|at| redirects.may_tell(SENDER, Instant::from_nanos(at * 1_000_000))).collect()
    }

    #[test]
    fn a_sender_is_told_at_once_and_then_after_pauses_that_double() {
        assert_eq!(told([0, 0, 40, 41, 120, 122]), [true, false, false, true, false, true]);
    }

    #[test]
    fn who_does_not_listen_nine_times_is_told_again_only_after_a_silence() {
        let eager = told((0..100).map(|turn| turn * 6_000));
        assert_eq!(eager.iter().filter(|told| **told).count(), 9);
        assert_eq!(told((0..10).map(|turn| turn * 12_000).chain([140_000])).last(), Some(&true));
    }
}
