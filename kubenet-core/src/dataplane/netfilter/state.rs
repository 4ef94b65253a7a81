//! What rules remember from one packet to the next.
//!
//! Everything here is bounded by what is configured: a list of `recent` has 100 addresses, a rule with a rate one bucket, a
//! dynamic set its size. Rules are known by table, chain and place, so that what a chain remembers outlives a change of
//! another one.

use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::chance::Shares;
use super::nft::Dynamic;
use super::recent::RecentLists;
use crate::plan::netfilter::LimitRate;
use crate::plan::{Family, nft};
use crate::time::Instant;

pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// What the rules of one namespace remember. Starts empty: buckets are full, counters at their beginning.
#[derive(Debug, Default)]
pub struct RuleState {
    pub(super) recent: RecentLists,
    buckets: Map<Place, Bucket>,
    counters: Map<Place, u32>,
    /// What `jhash` without a seed said, by place and key.
    hashes: Map<(Place, Vec<u8>), u32>,
    /// Sets that packets change, by table and name.
    pub(super) sets: Map<Place, Dynamic>,
    /// Buffers.
    pub(super) shares: Shares,
    pub(super) ones: Vec<u64>,
}

/// So many answers of `jhash` are remembered.
const HASHES: usize = 65_536;

/// A table of either language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Language {
    Xt(Family),
    Nft(nft::TableFamily),
}

/// Where something that remembers stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) language: Language,
    pub(super) table: Arc<str>,
    pub(super) chain: Arc<str>,
    pub(super) rule: u32,
    /// The match or statement of the rule.
    pub(super) part: u32,
}

/// What is left of a rate, in nanoseconds of waiting that were saved.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    saved: u64,
    at: Instant,
}

/// What a rate costs, in nanoseconds of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Price {
    /// One packet.
    pub(super) cost: u64,
    /// The most that is saved.
    pub(super) most: u64,
}

impl Price {
    /// As `nft_limit` counts: packets, or the bytes of this one.
    pub(super) fn of_nft(rate: LimitRate, burst: Option<u32>, bytes: u16) -> Self {
        let nanos = u64::from(rate.per_secs).saturating_mul(1_000_000_000);
        match rate.unit_bytes {
            None => {
                let cost = nanos / rate.amount.max(1);
                Self { cost, most: cost.saturating_mul(burst.filter(|b| *b > 0).unwrap_or(5).into()) }
            }
            Some(unit) => {
                let rate = u128::from(rate.amount).saturating_mul(unit.into()).max(1);
                let cost = u128::from(nanos) * u128::from(bytes) / rate;
                let most = u128::from(nanos) * (rate + u128::from(burst.unwrap_or(0))) / rate;
                let whole = |nanos| u64::try_from(nanos).unwrap_or(u64::MAX);
                Self { cost: whole(cost), most: whole(most) }
            }
        }
    }

    /// As `xt_limit` counts: in steps of 100 µs (`XT_LIMIT_SCALE`).
    pub(super) fn of_packets(rate: LimitRate, burst: u32) -> Self {
        let steps = u64::from(rate.per_secs) * 10_000 / rate.amount.max(1);
        let cost = steps * 100_000;
        Self { cost, most: cost.saturating_mul(burst.into()) }
    }
}

impl RuleState {
    /// Nothing remembered.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many addresses a list of `recent` holds.
    pub fn recent_len(&self, name: &str) -> usize {
        self.recent.len(name)
    }

    /// How many elements a set has that packets change; `None` as long as none has.
    pub fn set_len(&self, family: nft::TableFamily, table: &str, set: &str) -> Option<usize> {
        let place = Place {
            language: Language::Nft(family),
            table: table.into(),
            chain: set.into(),
            rule: 0,
            part: 0,
        };
        self.sets.get(&place).map(Dynamic::len)
    }

    /// What a hash with a seed that is not known was for a key.
    pub(super) fn hashed(&self, place: &Place, key: &[u8]) -> Option<u32> {
        if self.hashes.is_empty() { None } else { self.hashes.get(&(place.clone(), key.to_vec())).copied() }
    }

    /// Remembers it, as far as there is room.
    pub(super) fn remember_hash(&mut self, place: Place, key: Vec<u8>, hash: u32) {
        if self.hashes.len() < HASHES {
            self.hashes.insert((place, key), hash);
        }
    }

    /// Whether a packet is within the rate at a place. A bucket that was not used yet is full.
    pub(super) fn within(&mut self, place: Place, price: Price, now: Instant) -> bool {
        let bucket = self.buckets.entry(place).or_insert(Bucket { saved: price.most, at: now });
        let passed = u64::try_from((now - bucket.at).as_nanos()).unwrap_or(u64::MAX);
        let saved = bucket.saved.saturating_add(passed).min(price.most);
        let left = saved.checked_sub(price.cost);
        *bucket = Bucket { saved: left.unwrap_or(saved), at: now };
        left.is_some()
    }

    /// Counts at a place from 0 up to `modulus`, and begins again.
    pub(super) fn count(&mut self, place: Place, modulus: u32) -> u32 {
        let counter = self.counters.entry(place).or_insert(0);
        let value = *counter;
        *counter = if value + 1 < modulus { value + 1 } else { 0 };
        value
    }
}
