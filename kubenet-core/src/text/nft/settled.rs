//! What a ruleset is once `nft` and the kernel have taken it.
//!
//! In: tables as they are fed. Out: the same tables as they are listed from then on: the same meaning, other words.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;

use crate::plan::nft::{Expr, Statement, Table, Value};

/// The size that the kernel gives a set that packets fill and that was declared without one (`net/netfilter/nft_dynset.c`).
const DYNAMIC_SIZE: u64 = 0xffff;

/// Rewrites tables in place. O(rules).
pub fn settle(tables: &mut [Table]) {
    for table in tables {
        let mut filled: BTreeSet<Arc<str>> = BTreeSet::new();
        for chain in &mut table.chains {
            let statements = || chain.rules.iter().flat_map(|rule| &rule.statements);
            for statement in statements() {
                if let Statement::SetOp { set, .. } = statement {
                    filled.insert(set.clone());
                }
            }
            // A chain that others hold too is copied only where it changes.
            let single = |statement: &Statement| matches!(statement, Statement::Match { right, .. } if only_value(right).is_some());
            if statements().any(single) {
                let rules = &mut Arc::make_mut(chain).rules;
                for statement in rules.iter_mut().flat_map(|rule| &mut rule.statements) {
                    if let Statement::Match { right, .. } = statement
                        && let Some(value) = only_value(right)
                    {
                        *right = Expr::Value(value.clone());
                    }
                }
            }
        }
        for set in table.sets.iter_mut().filter(|set| filled.contains(&set.name)) {
            Arc::make_mut(set).size.get_or_insert(DYNAMIC_SIZE);
        }
    }
}

/// A set of one element that is written out is that element (`src/evaluate.c`, `expr_evaluate_set`); a concatenation stays a set.
fn only_value(right: &Expr) -> Option<&Value> {
    let Expr::Elements(elements) = right else { return None };
    let [element] = &elements[..] else { return None };
    let plain = element.data.is_none()
        && element.statements.is_none()
        && element.comment.is_none()
        && element.timeout_ms.is_none();
    let [value] = &element.key[..] else { return None };
    plain.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, parse, render};
    use super::settle;

    #[test]
    fn what_is_fed_is_listed_in_the_kernel_s_words() {
        let fed = "table ip t {\n\tset a {\n\t\ttype ipv4_addr\n\t\tflags dynamic,timeout\n\t\ttimeout 3h\n\t}\n\n\
                   \tset b {\n\t\ttype ipv4_addr\n\t\tflags dynamic\n\t}\n\n\
                   \tchain c {\n\t\tip daddr { 10.0.0.0/12 } drop\n\t\ttcp dport { 80, 443 } drop\n\
                   \t\tip daddr . tcp dport { 1.2.3.4 . 80 } accept\n\t\tupdate @a { ip saddr }\n\t}\n}\n";
        let mut tables = parse(fed, "fed").items;
        settle(&mut tables);
        let listed = fed
            .replace("{ 10.0.0.0/12 }", "10.0.0.0/12")
            .replace("\t\tflags dynamic,timeout", "\t\tsize 65535\n\t\tflags dynamic,timeout");
        assert_eq!(render(&tables, Dialect::default()), listed);
    }
}
