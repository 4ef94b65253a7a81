//! What a ruleset is once `nft` and the kernel have taken it.
//!
//! In: tables as they are fed. Out: the same tables as they are listed from then on: the same meaning, other words.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;

use crate::plan::nft::{Expr, Statement, Table};

/// The size that the kernel gives a set that packets fill and that was declared without one (`net/netfilter/nft_dynset.c`).
const DYNAMIC_SIZE: u64 = 0xffff;

/// Rewrites tables in place. O(rules).
pub fn settle(tables: &mut [Table]) {
    for table in tables {
        let mut filled: BTreeSet<Arc<str>> = BTreeSet::new();
        for rule in table.chains.iter_mut().flat_map(|chain| &mut Arc::make_mut(chain).rules) {
            for statement in &mut rule.statements {
                if let Statement::Match { right, .. } = statement {
                    unwrap_single(right);
                } else if let Statement::SetOp { set, .. } = statement {
                    filled.insert(set.clone());
                }
            }
        }
        for set in table.sets.iter_mut().filter(|set| filled.contains(&set.name)) {
            Arc::make_mut(set).size.get_or_insert(DYNAMIC_SIZE);
        }
    }
}

/// A set of one element that is written out is that element (`src/evaluate.c`, `expr_evaluate_set`); a concatenation stays a set.
fn unwrap_single(right: &mut Expr) {
    let Expr::Elements(elements) = &*right else { return };
    let [element] = &elements[..] else { return };
    let plain = element.data.is_none() && element.comment.is_none() && element.timeout_ms.is_none();
    if let ([value], true) = (&element.key[..], plain) {
        *right = Expr::Value(value.clone());
    }
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
