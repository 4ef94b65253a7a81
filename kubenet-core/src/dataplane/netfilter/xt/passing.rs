//! Which packets a built-in chain certainly lets pass.

use super::super::passing::{Kinds, Survey};
use super::super::prepared;
use super::{eval, target};
use crate::plan::xt::{Chain, Inv, Match, Policy, Rule, Table, Target};
use crate::plan::{IpSetKind, Ruleset};

/// The kinds of packets to which a built-in chain does nothing.
pub(in super::super) fn passing(
    ruleset: &Ruleset,
    table: &Table,
    names: &prepared::Table,
    base: &Chain,
) -> Kinds {
    if base.policy != Some(Policy::Accept) {
        return Kinds::NONE;
    }
    let within = Within { ruleset, table, names };
    Kinds::ALL.without(within.chain(&mut Survey::new(), base, Kinds::ALL))
}

struct Within<'r> {
    ruleset: &'r Ruleset,
    table: &'r Table,
    names: &'r prepared::Table,
}

impl Within<'_> {
    fn chain(&self, survey: &mut Survey, chain: &Chain, kinds: Kinds) -> Kinds {
        survey.chain(&chain.rules, kinds, |survey, rule, kinds| self.rule(survey, rule, kinds))
    }

    /// The kinds to which a rule may do something.
    fn rule(&self, survey: &mut Survey, rule: &Rule, kinds: Kinds) -> Kinds {
        let (mut kinds, mut known) = (kinds, true);
        for condition in &rule.matches {
            kinds = narrowed(condition, kinds);
            // A match that certainly fails settles one that is not known, before or behind it.
            if kinds.is_empty() || !eval::is_pure(condition) {
                return kinds;
            }
            known &= self.is_known(condition);
        }
        match &rule.target {
            _ if !target::acts(rule) => Kinds::NONE,
            // Nothing is behind these that the packet would be kept from.
            Some(Target::Accept | Target::Return) if known => Kinds::NONE,
            Some(Target::Jump(name) | Target::Goto(name)) if known => {
                let names = self.table.chains.iter().map(|chain| &chain.name);
                let to = self.names.named(names, name).and_then(|at| self.table.chains.get(at as usize));
                to.map_or(kinds, |to| self.chain(survey, to, kinds))
            }
            Some(_) | None => kinds,
        }
    }

    /// Whether a match that remembers nothing is always known to hold or not.
    fn is_known(&self, condition: &Match) -> bool {
        match condition {
            Match::Source(_)
            | Match::Destination(_)
            | Match::Iif(_)
            | Match::Oif(_)
            | Match::Protocol(_)
            | Match::Fragment(_)
            | Match::Comment(_)
            | Match::Tcp(_)
            | Match::Icmp(_)
            | Match::Multiport(_)
            | Match::State(_)
            | Match::Addrtype(_)
            | Match::Mark(_)
            | Match::Connmark(_)
            | Match::Iprange { .. }
            | Match::Physdev(_)
            | Match::Ipvs { .. } => true,
            Match::Udp(ports) | Match::Sctp(ports) => ports.words.is_empty(),
            Match::Conntrack(conntrack) => conntrack.words.is_empty(),
            Match::Set { set, options } => {
                let mut there = self.ruleset.ipsets.iter().filter(|one| one.name == set.value.name);
                options.is_empty() && there.next().is_some_and(|one| one.kind != IpSetKind::ListSet)
            }
            Match::Owner { .. }
            | Match::Limit { .. }
            | Match::Recent(_)
            | Match::Statistic(_)
            | Match::Other { .. } => false,
        }
    }
}

/// The kinds for which a match may hold.
fn narrowed(condition: &Match, kinds: Kinds) -> Kinds {
    if let Match::State(Inv { not, value }) = condition {
        kinds.of_states(|state| value.contains(&state) != *not)
    } else if let Match::Conntrack(conntrack) = condition
        && let Some(Inv { not, value: (states, statuses) }) = &conntrack.state
    {
        // SNAT and DNAT stand beside the states: whether a connection has NAT is not known here.
        kinds.of_states(|state| match (states.contains(&state), *not) {
            (true, not) => !not,
            (false, true) => true,
            (false, false) => !statuses.is_empty(),
        })
    } else if let Match::Mark(mark) = condition
        && !eval::is_mark(mark, 0)
    {
        kinds.marked()
    } else {
        kinds
    }
}
