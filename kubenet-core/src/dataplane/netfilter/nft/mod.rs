//! Chains of `nft` executed.
//!
//! Source: `net/netfilter/nf_tables_core.c nft_do_chain`. A rule's statements are executed in order until one does not
//! hold; a verdict leads on. What has no verdict gets the policy of the base chain.
//!
//! An expression that is not modelled makes the decision unknown, unless another condition of the rule certainly fails or
//! the rule has no effect. `numgen random` is one choice of equal ends, named `numgen TABLE CHAIN`; `jhash` with a seed
//! is computed as the kernel does, without one it is a choice (`jhash TABLE CHAIN`) that stays for the same key.

mod expr;
mod index;
mod jhash;
mod lookup;
mod passing;
mod set;
mod statement;
mod value;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use super::call::{Calls, ChainRef, Frame};
use super::index::Cursor;
use super::walk::{self, Hits, Rules, Step, Walk, WalkMode, missing};
use super::{Decision, Host, Seen, Sets};
use crate::dataplane::choices::Choices;
use crate::plan::nft::{Chain, Statement, Table, TableFamily, Verdict};
use crate::plan::xt::Policy;
use crate::plan::{Hook, Ruleset, Unknown};

use self::lookup::At;

pub(super) use self::index::required;
pub(super) use self::passing::passing;
pub(super) use self::set::{Dynamic, SetIndex};

/// So many calls may be open (`NFT_JUMP_STACK_SIZE`); deeper rules are not loaded.
const CALLS: usize = 16;

/// Runs one base chain.
pub(super) fn run<'w, H: Host + Sets, C: Choices, R: Hits>(
    walk: Walk<'w, H, C, R>,
    ruleset: &'w Ruleset,
    (number, place): (u32, u32),
    seen: &mut Seen<'_>,
) -> Decision {
    let Some(table) = ruleset.nft.get(number as usize) else { return Decision::Accept };
    let Some(base) = table.chains.get(place as usize) else { return Decision::Accept };
    if !hangs_at(base, seen) {
        return Decision::Accept;
    }
    let rules = walk.rules;
    let mut run = Run { walk, table, name: Name(table), number, seen };
    let cursor = run.cursor_of(rules, place, base);
    let mut calls = Calls::new(Frame::new(ChainRef::Held(&**base), cursor));
    loop {
        let step = match calls.current.cursor.next() {
            Some(at) => run.rule(&calls.current, at),
            None => Step::Return,
        };
        let entered = match step {
            Step::Next => continue,
            Step::Return if calls.leave() => continue,
            Step::Return => return run.policy(base),
            Step::Into(Lead { jump: true, name, .. }) if calls.depth() >= CALLS => Err(Unknown {
                why: format!(
                    "more than {CALLS} calls are open at chain {name}, which the kernel does not load"
                ),
                what_would_settle_it: "the rules as the kernel lists them: nft list ruleset".into(),
            }),
            Step::Into(Lead { jump: true, name, frame }) => calls.jump(name, frame),
            Step::Into(Lead { jump: false, name, frame }) => calls.goto(name, frame),
            Step::Done(decision) => return decision,
        };
        if let Err(unknown) = entered {
            return Decision::Unknown(unknown);
        }
    }
}

/// Whether a chain at a device hangs at the device of the packet.
fn hangs_at(base: &Chain, seen: &Seen<'_>) -> bool {
    let Some(at) = &base.base else { return true };
    let device = match at.hook {
        Hook::Ingress => seen.iif,
        Hook::Egress => seen.oif,
        Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Output | Hook::Postrouting => return true,
    };
    at.devices.iter().any(|name| Some(&**name) == device)
}

/// A chain that a verdict leads to.
struct Lead<'r> {
    /// It comes back.
    jump: bool,
    name: Arc<str>,
    frame: Frame<'r, Chain>,
}

/// `ip NAME`: a table as `nft` names it.
#[derive(Clone, Copy)]
struct Name<'w>(&'w Table);

impl core::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let family = match self.0.family {
            TableFamily::Ip => "ip",
            TableFamily::Ip6 => "ip6",
            TableFamily::Inet => "inet",
            TableFamily::Arp => "arp",
            TableFamily::Bridge => "bridge",
            TableFamily::Netdev => "netdev",
        };
        write!(f, "{family} {}", self.0.name)
    }
}

struct Run<'w, 's, 'p, H, C, R> {
    walk: Walk<'w, H, C, R>,
    table: &'w Table,
    name: Name<'w>,
    number: u32,
    seen: &'s mut Seen<'p>,
}

/// What a statement leads to.
enum Go<'r> {
    /// The next statement.
    On,
    /// The next rule.
    Break,
    /// Away from this rule.
    Step(Step<Lead<'r>>),
}

impl<'w, 'p, H: Host + Sets, C: Choices, R: Hits> Run<'w, '_, 'p, H, C, R> {
    fn cursor_of(&self, rules: Rules<'w>, place: u32, chain: &Chain) -> Cursor<'w> {
        match rules.mode {
            WalkMode::Plain => Cursor::all(chain.rules.len()),
            WalkMode::Indexed => rules.prepared.nft_cursor((self.number, place), chain, self.seen),
        }
    }

    fn policy(&mut self, base: &Chain) -> Decision {
        if base.base.as_ref().is_none_or(|at| at.policy == Policy::Accept) {
            return Decision::Accept;
        }
        let (table, chain) = (self.name, &base.name);
        self.walk.hit(|| {
            let table = format!("{table}").into();
            (walk::Place { table, chain: chain.clone(), rule: None, origin: None }, "policy drop".into())
        });
        Decision::Drop
    }

    fn rule(&mut self, frame: &Frame<'w, Chain>, number: u32) -> Step<Lead<'w>> {
        let Some(rule) = frame.chain.rules.get(number as usize) else { return Step::Next };
        let mut at = At { chain: &frame.chain, rule: number, part: 0 };
        for (statement, part) in rule.statements.iter().zip(0_u32..) {
            at.part = part;
            let rest = rule.statements.get(part as usize + 1..).unwrap_or(&[]);
            // Most statements are conditions, and most rules end at one.
            let done = if let Statement::Match { left, op, right } = statement {
                match self.holds(&at, left, *op, right) {
                    Ok(true) => continue,
                    Ok(false) => return Step::Next,
                    Err(stop) => Err(stop),
                }
            } else {
                self.statement(&at, statement)
            };
            match done {
                Ok(Go::On) => {}
                Ok(Go::Break) | Err(expr::Stop::Break) => return Step::Next,
                Ok(Go::Step(step)) => return step,
                Err(expr::Stop::Unknown(unknown)) => {
                    let moot = is_condition(statement)
                        && (rest.iter().all(is_condition) || self.certainly_breaks(&at, rest));
                    return if moot { Step::Next } else { Step::Done(Decision::Unknown(unknown)) };
                }
            }
        }
        Step::Next
    }

    /// Whether one of the conditions fails, up to the first statement that has an effect.
    fn certainly_breaks(&mut self, at: &At<'_>, statements: &[Statement]) -> bool {
        let conditions = statements.iter().take_while(|s| {
            let Statement::Match { left, right, .. } = s else { return is_condition(s) };
            expr::is_pure(left) && expr::is_pure(right)
        });
        for statement in conditions {
            if matches!(statement, Statement::Match { .. })
                && matches!(self.statement(at, statement), Ok(Go::Break) | Err(expr::Stop::Break))
            {
                return true;
            }
        }
        false
    }

    /// Leads to where a verdict says.
    fn verdict(&mut self, at: &At<'_>, verdict: &Verdict) -> Go<'w> {
        let (jump, name) = match verdict {
            Verdict::Continue => return Go::On,
            Verdict::Accept => return self.done(at, Decision::Accept, || "accept".into()),
            Verdict::Drop => return self.done(at, Decision::Drop, || "drop".into()),
            Verdict::Return => {
                self.hit(at, || "return".into());
                return Go::Step(Step::Return);
            }
            Verdict::Jump(name) => (true, name),
            Verdict::Goto(name) => (false, name),
        };
        let Some(frame) = self.chain(name) else {
            let unknown = missing(&self.table.name, &at.chain.name, name);
            return Go::Step(Step::Done(Decision::Unknown(unknown)));
        };
        self.hit(at, || format!("{} {name}", if jump { "jump" } else { "goto" }));
        Go::Step(Step::Into(Lead { jump, name: name.clone(), frame }))
    }

    /// The chain with this name: one that is there, or one that is made.
    fn chain(&self, name: &Arc<str>) -> Option<Frame<'w, Chain>> {
        let rules = self.walk.rules;
        let names = self.table.chains.iter().map(|chain| &chain.name);
        if let Some(place) = rules.prepared.nft(self.number).and_then(|table| table.named(names, name)) {
            let chain = self.table.chains.get(place as usize)?;
            return Some(Frame::new(ChainRef::Held(&**chain), self.cursor_of(rules, place, chain)));
        }
        let supply = rules.netfilter.supply()?;
        let make = || supply.nft_chain(self.table.family, &self.table.name, name);
        let made = rules.prepared.made_chain(self.number, name, make)?;
        let cursor = Cursor::all(made.rules.len());
        Some(Frame::new(ChainRef::Made(made), cursor))
    }

    fn done(&mut self, at: &At<'_>, decision: Decision, did: impl FnOnce() -> String) -> Go<'w> {
        self.hit(at, did);
        Go::Step(Step::Done(decision))
    }

    fn hit(&mut self, at: &At<'_>, did: impl FnOnce() -> String) {
        let name = self.name;
        self.walk.hit(|| {
            let origin = at.chain.rules.get(at.rule as usize).map(|rule| rule.origin.clone());
            let (table, chain) = (format!("{name}").into(), at.chain.name.clone());
            (walk::Place { table, chain, rule: Some(at.rule + 1), origin }, did())
        });
    }
}

/// A statement that only asks or counts.
const fn is_condition(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Match { .. } | Statement::Counter(_) | Statement::Log(_) | Statement::Limit { .. }
    )
}

#[cfg(test)]
mod tests;
