//! The lists of `-m recent`: addresses with the times when they were seen.
//!
//! Source: `net/netfilter/xt_recent.c`. A list holds 100 addresses (`ip_list_tot`); a new one takes the place of the one
//! that was noted the longest ago. Each keeps 32 times, or as many as `--hitcount` rounded up to a power of two.
//! Not modelled: lists that were filled before the run (`/proc/net/xt_recent`).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Seen;
use crate::packet;
use crate::plan::xt::{Recent, RecentOp};
use crate::time::{Duration, Instant};

/// `ip_list_tot`.
const ADDRESSES: usize = 100;
/// Times of an address when no `--hitcount` says otherwise.
const STAMPS: u32 = 32;
/// `--hitcount` is at most this.
const MOST_STAMPS: u32 = 65_535;

/// All lists of a namespace, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentLists(HashMap<Arc<str>, List, foldhash::fast::FixedState>);

/// The addresses of a list; the one that was noted the longest ago stands first.
#[derive(Clone, Debug, Default)]
struct List(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    addr: IpAddr,
    ttl: u8,
    /// A ring: `index` is where the next time goes.
    stamps: SmallVec<[Instant; 2]>,
    index: usize,
}

impl RecentLists {
    /// Whether a match holds, and what it notes.
    pub(super) fn matches(&mut self, rule: &Recent, seen: &Seen<'_>) -> bool {
        let addr = masked(if rule.by_destination { seen.ip.dst } else { seen.ip.src }, rule.mask);
        // The TTL as it was before forwarding took one away.
        let ttl = packet::ttl(seen.frame, seen.ip.family());
        let ttl = if seen.oif.is_some() && !seen.from_socket { ttl.wrapping_add(1) } else { ttl };
        let op = rule.op.value;
        if op != RecentOp::Set && !self.0.contains_key(&rule.name) {
            return rule.op.not;
        }
        let list = self.0.entry(rule.name.clone()).or_default();
        let wanted = if rule.rttl { ttl } else { 0 };
        let at = list.0.iter().position(|e| e.addr == addr && (wanted == 0 || e.ttl == 0 || e.ttl == wanted));
        let Some(at) = at else {
            if op == RecentOp::Set {
                list.note(addr, ttl, seen.now);
            }
            return (op == RecentOp::Set) != rule.op.not;
        };
        let holds = match op {
            RecentOp::Set => true,
            RecentOp::Remove => {
                list.0.remove(at);
                return !rule.op.not;
            }
            RecentOp::Rcheck | RecentOp::Update => list.0.get(at).is_some_and(|e| e.is_fresh(rule, seen.now)),
        } != rule.op.not;
        let note = op == RecentOp::Set || (op == RecentOp::Update && holds);
        let mut at = at;
        // The oldest goes when it is too old, unless it is the one that is about to be noted.
        if rule.reap
            && matches!(op, RecentOp::Rcheck | RecentOp::Update)
            && !(note && at == 0)
            && list.0.first().is_some_and(|e| is_past(e.latest(), rule.seconds, seen.now))
        {
            list.0.remove(0);
            if at == 0 {
                return holds;
            }
            at -= 1;
        }
        if note && at < list.0.len() {
            let mut entry = list.0.remove(at);
            entry.stamp(seen.now, rule.hitcount);
            entry.ttl = ttl;
            list.0.push(entry);
        }
        holds
    }

    /// How many addresses a list holds.
    pub(super) fn len(&self, name: &str) -> usize {
        self.0.get(name).map_or(0, |list| list.0.len())
    }
}

impl List {
    fn note(&mut self, addr: IpAddr, ttl: u8, now: Instant) {
        if self.0.len() >= ADDRESSES {
            self.0.remove(0);
        }
        let mut stamps = SmallVec::new();
        stamps.push(now);
        self.0.push(Entry { addr, ttl, stamps, index: 1 });
    }
}

impl Entry {
    fn latest(&self) -> Instant {
        self.index.checked_sub(1).and_then(|at| self.stamps.get(at)).copied().unwrap_or(Instant::START)
    }

    /// Whether it was seen often enough in the time that counts.
    fn is_fresh(&self, rule: &Recent, now: Instant) -> bool {
        let counted = self.stamps.iter().filter(|stamp| !is_past(**stamp, rule.seconds, now)).count();
        counted >= rule.hitcount.map_or(1, |hits| hits.max(1) as usize)
    }

    fn stamp(&mut self, now: Instant, hitcount: Option<u32>) {
        let most = hitcount
            .filter(|hits| *hits > 0)
            .map_or(STAMPS, |hits| hits.min(MOST_STAMPS).next_power_of_two());
        if self.index >= most as usize {
            self.index = 0;
        }
        match self.stamps.get_mut(self.index) {
            Some(stamp) => *stamp = now,
            None => self.stamps.push(now),
        }
        self.index += 1;
    }
}

/// Whether a time is more than so many seconds ago; without a limit it never is.
fn is_past(stamp: Instant, seconds: Option<u32>, now: Instant) -> bool {
    seconds.filter(|s| *s > 0).is_some_and(|s| now - stamp > Duration::from_secs(s.into()))
}

fn masked(addr: IpAddr, mask: Option<IpAddr>) -> IpAddr {
    match (addr, mask) {
        (IpAddr::V4(addr), Some(IpAddr::V4(mask))) => IpAddr::V4(addr & mask),
        (IpAddr::V6(addr), Some(IpAddr::V6(mask))) => IpAddr::V6(addr & mask),
        (addr, _) => addr,
    }
}
