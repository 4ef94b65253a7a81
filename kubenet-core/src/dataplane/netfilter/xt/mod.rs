//! Chains of `iptables` and `ip6tables` executed.
//!
//! Source: `net/ipv4/netfilter/ip_tables.c ipt_do_table`. A rule's matches are tried in order until one fails; then its
//! target acts. RETURN in a built-in chain, and its end, is the policy.
//!
//! A match that is not modelled makes the decision unknown, unless another match of the rule certainly fails or the rule
//! has no effect. Consecutive rules that `statistic` decides between are one choice (`chance`), named
//! `statistic TABLE CHAIN`.

mod eval;
mod index;
mod passing;
mod target;

use alloc::format;

use super::call::{Calls, ChainRef, Frame};
use super::chance;
use super::index::Cursor;
use super::state::{Language, Place as Memory, Price};
use super::walk::{self, Hits, Step, Walk, WalkMode, missing};
use super::{Decision, Host, Seen, Sets};
use crate::dataplane::choices::Choices;
use crate::plan::xt::{Chain, Inv, Match, Policy, Rule, Statistic, Table, Target};
use crate::plan::{Ruleset, Truth, Unknown};

pub(super) use self::index::required;
pub(super) use self::passing::passing;
pub(super) use self::target::{describe_nat, reject_name};

/// Runs one built-in chain.
pub(super) fn run<'w, H: Host + Sets, C: Choices, R: Hits>(
    walk: Walk<'w, H, C, R>,
    ruleset: &'w Ruleset,
    (number, place): (u32, u32),
    seen: &mut Seen<'_>,
) -> Decision {
    let Some(table) = ruleset.xt.get(number as usize) else { return Decision::Accept };
    let Some(base) = table.chains.get(place as usize) else { return Decision::Accept };
    let rules = walk.rules;
    let hotdrop = seen.is_cut_off();
    let mut run = Run { walk, table, number, seen, hotdrop };
    let cursor = run.cursor_of(rules, place, base);
    let mut calls = Calls::new(Frame::new(ChainRef::Held(&**base), cursor));
    loop {
        let step = match calls.current.cursor.next() {
            Some(at) => run.rule(&mut calls.current, at),
            None => Step::Return,
        };
        let entered = match step {
            Step::Next => continue,
            Step::Return if calls.leave() => continue,
            Step::Return => return run.policy(base),
            Step::Into(Lead { jump: true, name, frame }) => calls.jump(name, frame),
            Step::Into(Lead { jump: false, name, frame }) => calls.goto(name, frame),
            Step::Done(decision) => return decision,
        };
        if let Err(unknown) = entered {
            return Decision::Unknown(unknown);
        }
    }
}

/// A chain that a rule leads to.
struct Lead<'r> {
    /// It comes back.
    jump: bool,
    name: alloc::sync::Arc<str>,
    frame: Frame<'r, Chain>,
}

struct Run<'w, 's, 'p, H, C, R> {
    walk: Walk<'w, H, C, R>,
    table: &'w Table,
    number: u32,
    seen: &'s mut Seen<'p>,
    /// A header is cut off: a match that reads it drops the packet.
    hotdrop: bool,
}

/// What a rule's matches say before chance is asked.
enum Matched {
    No,
    Yes,
    /// Yes, if chance says so.
    Perhaps(Inv<u32>),
    /// The packet ends at a match.
    Drop,
    Unknown(Unknown),
}

impl<'w, H: Host + Sets, C: Choices, R: Hits> Run<'w, '_, '_, H, C, R> {
    fn cursor_of(&self, rules: walk::Rules<'w>, place: u32, chain: &Chain) -> Cursor<'w> {
        match rules.mode {
            WalkMode::Plain => Cursor::all(chain.rules.len()),
            WalkMode::Indexed => rules.prepared.xt_cursor((self.number, place), chain, self.seen),
        }
    }

    fn policy(&mut self, base: &Chain) -> Decision {
        if base.policy != Some(Policy::Drop) {
            return Decision::Accept;
        }
        let (table, chain) = (&self.table.name, &base.name);
        let place = || walk::Place { table: table.clone(), chain: chain.clone(), rule: None, origin: None };
        self.walk.hit(|| (place(), "policy drop".into()));
        Decision::Drop
    }

    fn rule(&mut self, frame: &mut Frame<'w, Chain>, at: u32) -> Step<Lead<'w>> {
        let Some(rule) = frame.chain.rules.get(at as usize) else { return Step::Next };
        match self.matched(&frame.chain, at, rule) {
            Matched::No => Step::Next,
            Matched::Drop => {
                self.hit(frame, at, || "drop".into());
                Step::Done(Decision::Drop)
            }
            Matched::Unknown(unknown) if target::acts(rule) => Step::Done(Decision::Unknown(unknown)),
            Matched::Unknown(_) => Step::Next,
            Matched::Perhaps(_) if !target::acts(rule) => Step::Next,
            Matched::Perhaps(share) => match self.one_of(frame, at, share) {
                Some(at) => self.target(frame, at),
                None => Step::Next,
            },
            Matched::Yes => self.target(frame, at),
        }
    }

    /// Whether the matches of a rule hold; they are tried in order, and those that remember something note the packet.
    fn matched(&mut self, chain: &Chain, at: u32, rule: &Rule) -> Matched {
        let mut share = None;
        for (part, condition) in rule.matches.iter().enumerate() {
            let rest = rule.matches.get(part + 1..).unwrap_or(&[]);
            if self.hotdrop && eval::reads_header(condition, self.seen) {
                return Matched::Drop;
            }
            let holds = if let Match::Recent(recent) = condition {
                self.walk.state.recent.matches(recent, self.seen)
            } else if let Match::Limit { rate, burst } = condition {
                let price = Price::of_packets(*rate, *burst);
                self.walk.state.within(self.memory(chain, at, part), price, self.seen.now)
            } else if let Match::Statistic(Statistic::Nth { every, packet, not }) = condition {
                let memory = self.memory(chain, at, part);
                (self.walk.state.count(memory, *every) == *packet) != *not
            } else if let Match::Statistic(Statistic::Random(random)) = condition {
                if share.is_none() && rest.iter().all(eval::is_pure) {
                    share = Some(*random);
                    continue;
                }
                if self.certainly_fails(rest) {
                    return Matched::No;
                }
                self.alone(chain, *random)
            } else {
                match eval::pure(condition, self.seen, self.walk.host, self.walk.rules) {
                    Truth::Yes => true,
                    Truth::No => false,
                    Truth::Unknown(_) if self.certainly_fails(rest) => false,
                    Truth::Unknown(unknown) => return Matched::Unknown(unknown),
                }
            };
            if !holds {
                return Matched::No;
            }
        }
        share.map_or(Matched::Yes, Matched::Perhaps)
    }

    /// Whether one of the matches fails, up to the first that remembers something.
    fn certainly_fails(&self, matches: &[Match]) -> bool {
        let known = matches.iter().take_while(|m| eval::is_pure(m) || eval::is_random(m));
        known
            .filter(|m| eval::is_pure(m))
            .any(|m| eval::pure(m, self.seen, self.walk.host, self.walk.rules) == Truth::No)
    }

    /// One random match by itself.
    fn alone(&mut self, chain: &Chain, random: Inv<u32>) -> bool {
        self.walk.state.shares.begin();
        let _ = self.walk.state.shares.take(share_of(random));
        let point = format_args!("statistic {} {}", self.table.name, chain.name);
        self.walk.state.shares.pick(self.walk.choices, point).is_some()
    }

    /// Which of the rules from `first` on chance takes, if any: those that follow and whose other matches hold take part.
    /// The walk goes on behind the rule that is taken, or behind them all.
    fn one_of(&mut self, frame: &mut Frame<'w, Chain>, first: u32, share: Inv<u32>) -> Option<u32> {
        let begin = frame.cursor.clone();
        self.walk.state.shares.begin();
        let _ = self.walk.state.shares.take(share_of(share));
        let (mut ahead, mut last) = (begin.clone(), first);
        while let Some(at) = ahead.next() {
            let Some(rule) = frame.chain.rules.get(at as usize) else { break };
            match self.share_ahead(rule) {
                Ahead::No => {}
                Ahead::Share(share) if self.walk.state.shares.take(share) => last = at,
                Ahead::Share(_) | Ahead::End => break,
            }
        }
        let point = format_args!("statistic {} {}", self.table.name, frame.chain.name);
        let Some(picked) = self.walk.state.shares.pick(self.walk.choices, point) else {
            frame.cursor.skip_to_after(last);
            return None;
        };
        // The same rules again, up to the one that was picked.
        let (mut ahead, mut taken) = (begin, first);
        let mut left = picked;
        while left > 0 {
            let Some(at) = ahead.next() else { break };
            let Some(rule) = frame.chain.rules.get(at as usize) else { break };
            if matches!(self.share_ahead(rule), Ahead::Share(_)) {
                (taken, left) = (at, left - 1);
            }
        }
        frame.cursor.skip_to_after(taken);
        Some(taken)
    }

    /// What a rule adds to a choice that began before it.
    fn share_ahead(&self, rule: &Rule) -> Ahead {
        let mut share = None;
        let mut end = false;
        for condition in &rule.matches {
            if self.hotdrop && eval::reads_header(condition, self.seen) {
                return Ahead::End;
            }
            if let Match::Statistic(Statistic::Random(random)) = condition {
                end |= share.replace(*random).is_some();
                continue;
            }
            if !eval::is_pure(condition) {
                return Ahead::End;
            }
            match eval::pure(condition, self.seen, self.walk.host, self.walk.rules) {
                Truth::Yes => {}
                Truth::No => return Ahead::No,
                Truth::Unknown(_) => end = true,
            }
        }
        match share {
            Some(share) if !end && target::acts(rule) => Ahead::Share(share_of(share)),
            _ => Ahead::End,
        }
    }

    fn memory(&self, chain: &Chain, rule: u32, part: usize) -> Memory {
        Memory {
            language: Language::Xt(self.table.family),
            table: self.table.name.clone(),
            chain: chain.name.clone(),
            rule,
            part: u32::try_from(part).unwrap_or(u32::MAX),
        }
    }

    /// The chain with this name: one that is there, or one that is made for this packet.
    fn chain(&self, name: &str) -> Option<Frame<'w, Chain>> {
        let rules = self.walk.rules;
        let names = self.table.chains.iter().map(|chain| &chain.name);
        if let Some(place) = rules.prepared.xt(self.number).and_then(|table| table.named(names, name)) {
            let chain = self.table.chains.get(place as usize)?;
            return Some(Frame::new(ChainRef::Held(&**chain), self.cursor_of(rules, place, chain)));
        }
        let supply = rules.netfilter.supply()?;
        let made = supply.xt_chain(self.table.family, &self.table.name, name, &self.seen.key())?;
        let cursor = Cursor::all(made.rules.len());
        Some(Frame::new(ChainRef::Made(made), cursor))
    }

    /// Leads to a chain, if there is anything in it.
    fn lead(
        &mut self,
        frame: &Frame<'w, Chain>,
        at: u32,
        name: &alloc::sync::Arc<str>,
        jump: bool,
    ) -> Step<Lead<'w>> {
        let Some(to) = self.chain(name) else {
            return Step::Done(Decision::Unknown(missing(&self.table.name, &frame.chain.name, name)));
        };
        self.hit(frame, at, || format!("{} {name}", if jump { "jump" } else { "goto" }));
        Step::Into(Lead { jump, name: name.clone(), frame: to })
    }

    fn hit(&mut self, frame: &Frame<'w, Chain>, at: u32, did: impl FnOnce() -> alloc::string::String) {
        let table = self.table;
        self.walk.hit(|| {
            let rule = match frame.chain {
                ChainRef::Held(_) => Some(at + 1),
                ChainRef::Made(_) => None,
            };
            let origin = frame.chain.rules.get(at as usize).map(|rule| rule.origin.clone());
            (walk::Place { table: table.name.clone(), chain: frame.chain.name.clone(), rule, origin }, did())
        });
    }

    fn target(&mut self, frame: &Frame<'w, Chain>, at: u32) -> Step<Lead<'w>> {
        let Some(rule) = frame.chain.rules.get(at as usize) else { return Step::Next };
        match &rule.target {
            Some(Target::Jump(name)) => self.lead(frame, at, name, true),
            Some(Target::Goto(name)) => self.lead(frame, at, name, false),
            Some(target) => self.act(frame, at, target),
            None => Step::Next,
        }
    }
}

/// What a rule adds to a choice.
enum Ahead {
    /// It does not match, whatever chance says.
    No,
    /// It takes this much of what is left.
    Share((u64, u64)),
    /// The choice ends before it.
    End,
}

/// How often a random match holds.
fn share_of(random: Inv<u32>) -> (u64, u64) {
    let (numerator, denominator) = chance::fraction(random.value);
    if random.not { (denominator - numerator, denominator) } else { (numerator, denominator) }
}

#[cfg(test)]
mod tests;
