//! One base chain and one packet.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use super::prepared::{Base, Position, Prepared};
use super::state::RuleState;
use super::{Decision, Hit, Host, Seen, Sets, nft, xt};
use crate::dataplane::choices::Choices;
use crate::plan::{Netfilter, Origin, Unknown};

/// The rules of a namespace, and what makes them quick to walk.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'r> {
    /// The rules.
    pub netfilter: &'r Netfilter,
    /// Made of these rules.
    pub prepared: &'r Prepared,
    /// How long chains are walked.
    pub mode: WalkMode,
}

/// How long chains are walked. Both ways mean the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WalkMode {
    /// Only the rules that an index finds for the packet.
    #[default]
    Indexed,
    /// Every rule in turn.
    Plain,
}

/// Takes down the rules that acted.
pub trait Hits {
    /// Whether anything is taken down; where not, it is not made either.
    const ON: bool;
    /// Takes one down.
    fn hit(&mut self, hit: Hit);
}

impl Hits for () {
    const ON: bool = false;
    fn hit(&mut self, _: Hit) {}
}

impl Hits for alloc::vec::Vec<Hit> {
    const ON: bool = true;
    fn hit(&mut self, hit: Hit) {
        self.push(hit);
    }
}

/// Runs one base chain on a packet, which may get another mark ([`Seen::mark`], the mark of [`Seen::ct`]) or leave
/// conntrack ([`Seen::notrack`]) on the way.
///
/// Costs the rules that the packet meets; with an index, in chains of more than 16 rules, only those that do not ask for
/// another address, port or link. Allocates next to nothing when hits are not taken down, except to say what is not known.
pub fn run<H: Host + Sets, C: Choices, R: Hits>(
    base: &Base,
    seen: &mut Seen<'_>,
    rules: Rules<'_>,
    state: &mut RuleState,
    host: &H,
    choices: &mut C,
    hits: &mut R,
) -> Decision {
    let Some(ruleset) = rules.netfilter.ruleset() else { return Decision::Accept };
    let walk = Walk { rules, state, host, choices, hits };
    match base.at {
        Position::Xt(table, chain) => xt::run(walk, ruleset, (table, chain), seen),
        Position::Nft(table, chain) => nft::run(walk, ruleset, (table, chain), seen),
    }
}

/// What a walk uses.
pub(super) struct Walk<'w, H, C, R> {
    pub(super) rules: Rules<'w>,
    pub(super) state: &'w mut RuleState,
    pub(super) host: &'w H,
    pub(super) choices: &'w mut C,
    pub(super) hits: &'w mut R,
}

impl<H, C, R: Hits> Walk<'_, H, C, R> {
    /// Takes down what a rule did; `what` is made only when it is wanted.
    pub(super) fn hit(&mut self, what: impl FnOnce() -> (Place, String)) {
        if R::ON {
            let (Place { table, chain, rule, origin }, did) = what();
            self.hits.hit(Hit { table, chain, rule, did, origin });
        }
    }
}

/// Where a hit was.
pub(super) struct Place {
    pub(super) table: Arc<str>,
    pub(super) chain: Arc<str>,
    pub(super) rule: Option<u32>,
    pub(super) origin: Option<Origin>,
}

/// What leads on from a rule.
pub(super) enum Step<J> {
    /// The next rule.
    Next,
    /// Back to the calling chain.
    Return,
    /// Another chain.
    Into(J),
    /// The chain is through.
    Done(Decision),
}

/// A rule leads to a chain that is not there.
pub(super) fn missing(table: &str, chain: &str, target: &str) -> Unknown {
    Unknown {
        why: format!("chain {chain} of table {table} leads to {target}, which is not there"),
        what_would_settle_it: format!("a whole listing of table {table}"),
    }
}
