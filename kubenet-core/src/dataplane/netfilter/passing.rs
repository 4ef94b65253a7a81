//! Base chains that certainly let a packet pass: no rule that the packet could meet changes it, ends it or remembers it.
//!
//! In: a base chain. Out: the [`Kinds`] of packets, by the state of their connection and by whether they are marked, that pass.
//! Most rules ask for `NEW` or for a mark, so an established packet without one passes the chains of a filter, however long,
//! for one test. A survey follows every rule that a kind could meet, whatever else the rule asks, and gives up at a chain that
//! is not there, at a condition whose truth may not be known, at one that remembers or asks chance, and after [`RULES`] rules.
//!
//! The meaning is that of the plain walk (`tests::a_chain_that_lets_a_packet_pass_does_nothing_to_it` of both languages). Only
//! hits are lost: who takes them down must walk.

use crate::plan::netfilter::CtState;

/// So many rules are surveyed for one base chain.
const RULES: u32 = 1024;
/// So many chains may lead from one to the other.
const DEPTH: u32 = 8;

const STATES: [CtState; 5] =
    [CtState::Invalid, CtState::Established, CtState::Related, CtState::New, CtState::Untracked];

/// Kinds of packets: a bit for each state of a connection, with a mark and without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self((1 << (2 * STATES.len())) - 1);

    /// Whether a packet is of one of the kinds.
    pub const fn contain(self, state: CtState, mark: u32) -> bool {
        self.0 & Self::bit(state, mark != 0) != 0
    }

    const fn bit(state: CtState, marked: bool) -> u16 {
        let place = match state {
            CtState::Invalid => 0,
            CtState::Established => 1,
            CtState::Related => 2,
            CtState::New => 3,
            CtState::Untracked => 4,
        };
        1 << (2 * place + marked as u16)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The kinds whose state `may` be.
    pub(super) fn of_states(self, may: impl Fn(CtState) -> bool) -> Self {
        let bits = |state| Self::bit(state, false) | Self::bit(state, true);
        let wanted = STATES.into_iter().filter(|state| may(*state)).fold(0, |all, state| all | bits(state));
        Self(self.0 & wanted)
    }

    /// Those that have a mark.
    pub(super) fn marked(self) -> Self {
        let marked = STATES.into_iter().fold(0, |all, state| all | Self::bit(state, true));
        Self(self.0 & marked)
    }
}

/// How far a survey may still go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survey {
    rules: u32,
    depth: u32,
}

impl Survey {
    pub(super) const fn new() -> Self {
        Self { rules: RULES, depth: 0 }
    }

    /// The kinds of packets that some rule of a chain may do something to.
    pub(super) fn chain<T>(
        &mut self,
        rules: &[T],
        kinds: Kinds,
        mut rule: impl FnMut(&mut Self, &T, Kinds) -> Kinds,
    ) -> Kinds {
        if self.depth >= DEPTH {
            return kinds;
        }
        self.depth += 1;
        let mut met = Kinds::NONE;
        for each in rules {
            let left = kinds.without(met);
            if left.is_empty() {
                break;
            }
            if self.rules == 0 {
                met = kinds;
                break;
            }
            self.rules -= 1;
            met = met.with(rule(self, each, left));
        }
        self.depth -= 1;
        met
    }
}
