//! Chance, made explicit: wherever the kernel would roll a die, the model asks [`Choices`].
//!
//! A point is named by what is chosen, such as `race neighbour 10.244.0.5`; its weights are integers, so every
//! probability is an exact fraction. [`Seeded`] answers like a die that falls the same way for the same seed,
//! [`Pinned`] with what the user said, [`Script`] with a prepared list while it notes what it was asked, which is
//! what [`explore`] branches on.

use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Answers where the kernel would be free.
pub trait Choices {
    /// Picks an index into `weights`, which is not empty and not all zero. The point's name is only formatted when
    /// it is needed.
    fn pick(&mut self, point: fmt::Arguments<'_>, weights: &[u64]) -> usize;
}

/// Falls the same way for the same seed and the same point.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeded(pub u64);

impl Choices for Seeded {
    fn pick(&mut self, point: fmt::Arguments<'_>, weights: &[u64]) -> usize {
        let total: u128 = weights.iter().map(|w| u128::from(*w)).sum();
        if total == 0 {
            return 0;
        }
        let mut rest = u128::from(hash(self.0, &point.to_string())) % total;
        for (index, weight) in weights.iter().enumerate() {
            let weight = u128::from(*weight);
            if rest < weight {
                return index;
            }
            rest -= weight;
        }
        0
    }
}

fn hash(seed: u64, text: &str) -> u64 {
    let mut state = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // splitmix64's finaliser spreads FNV's weak high bits.
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Gives fixed answers at named points, and asks another for the rest.
#[derive(Clone, Debug)]
pub struct Pinned<C> {
    /// Point name to index.
    pub pins: BTreeMap<String, usize>,
    /// Who answers the rest.
    pub rest: C,
}

impl<C: Choices> Choices for Pinned<C> {
    fn pick(&mut self, point: fmt::Arguments<'_>, weights: &[u64]) -> usize {
        if !self.pins.is_empty()
            && let Some(index) = self.pins.get(&point.to_string())
            && *index < weights.len()
        {
            return *index;
        }
        self.rest.pick(point, weights)
    }
}

/// A probability as an exact fraction in lowest terms; text is `1/3`, or `1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Probability {
    numerator: u128,
    denominator: u128,
}

impl Probability {
    /// Certain.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };
    /// Impossible.
    pub const ZERO: Self = Self { numerator: 0, denominator: 1 };

    /// `numerator / denominator`, reduced; a denominator of 0 gives zero.
    pub const fn new(numerator: u128, denominator: u128) -> Self {
        if denominator == 0 {
            return Self::ZERO;
        }
        let (mut a, mut b) = (numerator, denominator);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self { numerator: numerator / a, denominator: denominator / a }
    }

    /// The product; terms too large for 128 bits saturate (a chance below 2^-120).
    #[must_use]
    pub const fn times(self, other: Self) -> Self {
        let a = Self::new(self.numerator, other.denominator);
        let b = Self::new(other.numerator, self.denominator);
        Self::new(a.numerator.saturating_mul(b.numerator), a.denominator.saturating_mul(b.denominator))
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        let left = self.numerator.saturating_mul(other.denominator);
        let right = other.numerator.saturating_mul(self.denominator);
        Self::new(left.saturating_add(right), self.denominator.saturating_mul(other.denominator))
    }
}

impl Ord for Probability {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = self.numerator.saturating_mul(other.denominator);
        left.cmp(&other.numerator.saturating_mul(self.denominator))
    }
}

impl PartialOrd for Probability {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.denominator == 1 {
            return write!(f, "{}", self.numerator);
        }
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

impl fmt::Debug for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Probability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Probability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = alloc::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let (numerator, denominator) = text.split_once('/').unwrap_or((&text, "1"));
        match (numerator.parse(), denominator.parse()) {
            (Ok(n), Ok(d)) if d != 0 => Ok(Self::new(n, d)),
            _ => Err(serde::de::Error::custom("a probability is N or N/M")),
        }
    }
}

/// One answer that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The point's name.
    pub point: String,
    /// The index that was picked.
    pub index: usize,
    /// How many there were.
    pub of: usize,
    /// Its share.
    pub probability: Probability,
}

/// Follows prepared answers, then takes the likeliest, and notes both.
#[derive(Clone, Debug, Default)]
pub struct Script {
    prepared: Vec<usize>,
    asked: Vec<(String, Vec<u64>, usize)>,
}

impl Script {
    /// What was answered, in order.
    pub fn taken(&self) -> impl Iterator<Item = Taken> + '_ {
        self.asked.iter().map(|(point, weights, index)| Taken {
            point: point.clone(),
            index: *index,
            of: weights.len(),
            probability: share(weights, *index),
        })
    }
}

fn share(weights: &[u64], index: usize) -> Probability {
    let total = weights.iter().map(|w| u128::from(*w)).sum();
    Probability::new(weights.get(index).copied().map_or(0, u128::from), total)
}

impl Choices for Script {
    fn pick(&mut self, point: fmt::Arguments<'_>, weights: &[u64]) -> usize {
        let likeliest = || {
            let best = weights
                .iter()
                .enumerate()
                .max_by_key(|(index, weight)| (**weight, core::cmp::Reverse(*index)));
            best.map_or(0, |(index, _)| index)
        };
        let prepared = self.prepared.get(self.asked.len()).copied().filter(|index| *index < weights.len());
        let index = prepared.unwrap_or_else(likeliest);
        self.asked.push((point.to_string(), weights.to_vec(), index));
        index
    }
}

/// What [`explore`] found.
#[derive(Clone, Debug)]
pub struct Explored<T> {
    /// Each run's result with its probability and the choices that led to it, likeliest first.
    pub runs: Vec<(Probability, Vec<Taken>, T)>,
    /// The probability of what was not run, because the limit was reached.
    pub unexplored: Probability,
}

/// Runs `run` for every way the choices can fall, most likely first, at most `limit` times.
///
/// Costs one run per leaf of the choice tree; the frontier is kept in a heap.
pub fn explore<T>(limit: usize, mut run: impl FnMut(&mut Script) -> T) -> Explored<T> {
    struct Branch {
        probability: Probability,
        order: usize,
        prepared: Vec<usize>,
    }
    impl PartialEq for Branch {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other) == Ordering::Equal
        }
    }
    impl Eq for Branch {}
    impl PartialOrd for Branch {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Branch {
        fn cmp(&self, other: &Self) -> Ordering {
            self.probability.cmp(&other.probability).then_with(|| other.order.cmp(&self.order))
        }
    }
    let mut frontier = BinaryHeap::new();
    let mut order = 0;
    frontier.push(Branch { probability: Probability::ONE, order, prepared: Vec::new() });
    let mut runs = Vec::new();
    while runs.len() < limit.max(1) {
        let Some(branch) = frontier.pop() else { break };
        let known = branch.prepared.len();
        let mut script = Script { prepared: branch.prepared, asked: Vec::new() };
        let result = run(&mut script);
        let mut before = Probability::ONE;
        let mut path = Vec::new();
        for (depth, (_, weights, index)) in script.asked.iter().enumerate() {
            if depth >= known {
                for (other, weight) in weights.iter().enumerate() {
                    if other != *index && *weight > 0 {
                        order += 1;
                        let mut prepared = path.clone();
                        prepared.push(other);
                        let probability = before.times(share(weights, other));
                        frontier.push(Branch { probability, order, prepared });
                    }
                }
            }
            before = before.times(share(weights, *index));
            path.push(*index);
        }
        runs.push((before, script.taken().collect(), result));
    }
    let unexplored = frontier.iter().fold(Probability::ZERO, |sum, b| sum.plus(b.probability));
    runs.sort_by_key(|run| core::cmp::Reverse(run.0));
    Explored { runs, unexplored }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_equal_ends_are_each_exactly_one_in_a_thousand() {
        let found = explore(4096, |c| c.pick(format_args!("endpoint"), &[1; 1000]));
        assert_eq!(found.runs.len(), 1000);
        assert_eq!(found.unexplored, Probability::ZERO);
        assert!(found.runs.iter().all(|(p, _, _)| p.to_string() == "1/1000"));
        let mut seen: Vec<_> = found.runs.iter().map(|r| r.2).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn the_unexplored_mass_is_told_and_the_likeliest_comes_first() {
        let found = explore(1, |c| (c.pick(format_args!("a"), &[1, 3]), c.pick(format_args!("b"), &[1, 1])));
        assert_eq!(found.runs.len(), 1);
        assert_eq!(found.runs[0].2, (1, 0));
        assert_eq!(found.runs[0].0.to_string(), "3/8");
        assert_eq!(found.unexplored.to_string(), "5/8");
    }

    #[test]
    fn pins_answer_first_and_a_seed_repeats_itself() {
        let mut pinned = Pinned { pins: BTreeMap::from([("x".to_string(), 2)]), rest: Seeded(7) };
        assert_eq!(pinned.pick(format_args!("x"), &[1, 1, 1]), 2);
        let again = Seeded(7).pick(format_args!("y"), &[1; 50]);
        assert_eq!(pinned.pick(format_args!("y"), &[1; 50]), again);
    }
}
