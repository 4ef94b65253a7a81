//! Which packets a base chain certainly lets pass.

use super::super::passing::{Kinds, Survey};
use super::super::prepared;
use super::expr;
use super::value::Part;
use crate::plan::netfilter::CtState;
use crate::plan::nft::{Chain, CtKey, Expr, Meta, Op, Rule, Statement, Table, Value, Verdict};
use crate::plan::xt::Policy;

/// The kinds of packets to which a base chain does nothing.
pub(in super::super) fn passing(table: &Table, names: &prepared::Table, base: &Chain) -> Kinds {
    if base.base.as_ref().is_none_or(|at| at.policy != Policy::Accept) {
        return Kinds::NONE;
    }
    Kinds::ALL.without(chain(&mut Survey::new(), (table, names), base, Kinds::ALL))
}

type Within<'r> = (&'r Table, &'r prepared::Table);

fn chain(survey: &mut Survey, within: Within<'_>, chain: &Chain, kinds: Kinds) -> Kinds {
    survey.chain(&chain.rules, kinds, |survey, each, kinds| rule(survey, within, each, kinds))
}

/// The kinds to which a rule may do something.
fn rule(survey: &mut Survey, within: Within<'_>, rule: &Rule, kinds: Kinds) -> Kinds {
    let (mut kinds, mut known) = (kinds, true);
    for statement in &rule.statements {
        if let Statement::Match { left, op, right } = statement {
            if !expr::is_pure(left) || !expr::is_pure(right) {
                return kinds;
            }
            // A condition that certainly fails settles one that is not known, before or behind it.
            match narrowed(left, *op, right, kinds) {
                Some(narrowed) => kinds = narrowed,
                None => known &= is_known(left, *op, right),
            }
            if kinds.is_empty() {
                return kinds;
            }
        } else if let Statement::Verdict(verdict) = statement {
            return match verdict {
                Verdict::Continue => continue,
                // Nothing is behind these that the packet would be kept from.
                Verdict::Accept | Verdict::Return if known => Kinds::NONE,
                Verdict::Jump(name) | Verdict::Goto(name) if known => {
                    let (table, names) = within;
                    let at = names.named(table.chains.iter().map(|chain| &chain.name), name);
                    let to = at.and_then(|at| table.chains.get(at as usize));
                    to.map_or(kinds, |to| chain(survey, within, to, kinds))
                }
                Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Jump(_) | Verdict::Goto(_) => {
                    kinds
                }
            };
        } else if !matches!(statement, Statement::Counter(_) | Statement::Log(_)) {
            return kinds;
        }
    }
    Kinds::NONE
}

/// The kinds for which a condition may hold; `None` where it asks for something else.
fn narrowed(left: &Expr, op: Op, right: &Expr, kinds: Kinds) -> Option<Kinds> {
    if let Expr::Ct { key: CtKey::State, .. } = left {
        let wanted = if let Expr::Flags(values) = right { expr::flags(values).ok()? } else { number(right)? };
        let holds: fn(u64, u64) -> bool = match op {
            Op::Implicit => |state, wanted| state & wanted != 0,
            Op::Eq => |state, wanted| state == wanted,
            Op::Ne => |state, wanted| state != wanted,
            Op::Lt | Op::Le | Op::Gt | Op::Ge => return None,
        };
        return Some(kinds.of_states(|state: CtState| holds(state.bit().into(), wanted)));
    }
    // What a packet without a mark shows.
    let is_mark = |expr: &Expr| matches!(expr, Expr::Meta(Meta::Mark));
    let shows = if let Expr::Binary { op, left, right } = left
        && is_mark(left)
    {
        expr::binary(*op, &Part::Number(0), &Part::Number(number(right)?))?
    } else if is_mark(left) {
        Part::Number(0)
    } else {
        return None;
    };
    let (Part::Number(shows), wanted) = (shows, number(right)?) else { return None };
    let holds = match op {
        Op::Implicit | Op::Eq => shows == wanted,
        Op::Ne => shows != wanted,
        Op::Lt | Op::Le | Op::Gt | Op::Ge => return None,
    };
    Some(if holds { kinds } else { kinds.marked() })
}

/// A constant that is a number.
const fn number(expr: &Expr) -> Option<u64> {
    if let Expr::Value(Value::Number(number)) = expr { Some(*number) } else { None }
}

/// Whether a condition is always known to hold or not, or ends the rule.
fn is_known(left: &Expr, op: Op, right: &Expr) -> bool {
    let Expr::Value(constant) = right else { return false };
    let is_link = matches!(left, Expr::Meta(Meta::Iif | Meta::Iifname | Meta::Oif | Meta::Oifname));
    let is_plain = is_link
        || matches!(left, Expr::Field(_))
        || matches!(
            left,
            Expr::Meta(Meta::Mark | Meta::L4proto | Meta::Nfproto | Meta::Protocol | Meta::Length)
        );
    let is_exact = match constant {
        Value::Number(_) | Value::Addr(_) | Value::Prefix(_) => true,
        Value::Name(_) => is_link,
        Value::Range(..) => false,
    };
    is_plain && is_exact && matches!(op, Op::Implicit | Op::Eq | Op::Ne)
}
