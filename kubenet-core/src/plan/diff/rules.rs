//! Rulesets: one change for each tool, with no more in it than what differs.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Pair, Turn};
use crate::addr::Family;
use crate::plan::change::{
    IpsetChange, IpsetEdit, IpvsChange, NftChange, NftEdit, What, XtBuiltin, XtChange, XtEdit,
};
use crate::plan::nft::{self, Expr, Statement, TableFamily};
use crate::plan::{IpSet, IpSetOption, IpSetPart, Netfilter, Ruleset, VirtualServer, xt};

/// Sets come before the rules that ask them, and go after them.
pub(super) fn change(turn: &mut Turn<'_, '_>, pair: &Pair<'_>) {
    let Some(new) = pair.new else { return };
    let old = pair.old.map(|old| &old.netfilter);
    if let (Netfilter::Whole(new), Some(Netfilter::Whole(old))) = (&new.netfilter, old)
        && Arc::ptr_eq(new, old)
    {
        return;
    }
    let old = old.map(Netfilter::whole).unwrap_or_default();
    let new = new.netfilter.whole();
    let mut sets = ipsets(&old, &new);
    let removed = IpsetChange { removed: core::mem::take(&mut sets.removed), ..IpsetChange::default() };
    let name = &pair.name;
    if sets != IpsetChange::default() {
        turn.push(name, What::Ipset(sets));
    }
    let tables = nft(&old, &new);
    if tables != NftChange::default() {
        turn.push(name, What::Nft(tables));
    }
    for family in [Family::V4, Family::V6] {
        let tables = xt(&old, &new, family);
        if !tables.is_empty() {
            turn.push(name, What::Xt(XtChange { family, tables }));
        }
    }
    let servers = ipvs(&old, &new);
    if servers != IpvsChange::default() {
        turn.push(name, What::Ipvs(servers));
    }
    if removed != IpsetChange::default() {
        turn.push(name, What::Ipset(removed));
    }
}

fn ipsets(old: &Ruleset, new: &Ruleset) -> IpsetChange {
    let mut out = IpsetChange::default();
    let mut left: BTreeMap<&str, &Arc<IpSet>> = old.ipsets.iter().map(|set| (&*set.name, set)).collect();
    for set in &new.ipsets {
        match left.remove(&*set.name) {
            Some(old) if Arc::ptr_eq(old, set) => {}
            Some(old) if is_same_set(old, set) => out.edited.extend(edit_set(old, set)),
            // Made anew under its name.
            Some(_) | None => out.added.push(set.clone()),
        }
    }
    out.removed = left.into_values().map(|set| set.name.clone()).collect();
    out
}

fn is_same_set(old: &IpSet, new: &IpSet) -> bool {
    // How large the hash table is says nothing of what is in it.
    const SIZES: [&str; 4] = ["hashsize", "maxelem", "bucketsize", "initval"];
    let matters = |option: &&IpSetOption| match option {
        IpSetOption::Other(text) => !SIZES.iter().any(|word| text.starts_with(word)),
        IpSetOption::Range(_)
        | IpSetOption::Netmask(_)
        | IpSetOption::Bitmask(_)
        | IpSetOption::Markmask(_)
        | IpSetOption::Timeout(_) => true,
    };
    let same_options = old.options.iter().filter(matters).eq(new.options.iter().filter(matters));
    old.kind == new.kind && old.family == new.family && same_options
}

fn edit_set(old: &IpSet, new: &IpSet) -> Option<IpsetEdit> {
    let key =
        |entry: &crate::plan::IpSetEntry| -> (Vec<IpSetPart>, bool) { (entry.parts.clone(), entry.nomatch) };
    let was: BTreeSet<_> = old.entries.iter().map(key).collect();
    let shall: BTreeSet<_> = new.entries.iter().map(key).collect();
    let added: Vec<_> = new.entries.iter().filter(|entry| !was.contains(&key(entry))).cloned().collect();
    let removed: Vec<_> = old.entries.iter().filter(|entry| !shall.contains(&key(entry))).cloned().collect();
    let set = Arc::new(IpSet { entries: Vec::new(), ..new.clone() });
    (!added.is_empty() || !removed.is_empty()).then_some(IpsetEdit { set, added, removed })
}

fn nft(old: &Ruleset, new: &Ruleset) -> NftChange {
    let mut out = NftChange::default();
    let id = |table: &nft::Table| (table.family, table.name.clone());
    let mut left: BTreeMap<(TableFamily, Arc<str>), &nft::Table> =
        old.nft.iter().map(|table| (id(table), table)).collect();
    for table in &new.nft {
        match left.remove(&id(table)) {
            None => out.added.push(table.clone()),
            Some(old) => match edit_table(old, table) {
                Edit::Same => {}
                Edit::Parts(edit) => out.edited.push(edit),
                Edit::Whole => out.added.push(table.clone()),
            },
        }
    }
    out.removed = left.into_keys().collect();
    out
}

enum Edit {
    Same,
    Parts(NftEdit),
    /// What differs cannot be changed in place.
    Whole,
}

fn edit_table(old: &nft::Table, new: &nft::Table) -> Edit {
    if old.flags != new.flags || old.comment != new.comment || old.others != new.others {
        return Edit::Whole;
    }
    let mut edit = NftEdit {
        family: new.family,
        table: new.name.clone(),
        sets_added: Vec::new(),
        sets_removed: Vec::new(),
        elements_added: Vec::new(),
        elements_removed: Vec::new(),
        chains_added: Vec::new(),
        chains_replaced: Vec::new(),
        chains_removed: Vec::new(),
    };
    let mut sets: BTreeMap<&str, &Arc<nft::Set>> = old.sets.iter().map(|set| (&*set.name, set)).collect();
    for set in &new.sets {
        match sets.remove(&*set.name) {
            None => edit.sets_added.push(set.clone()),
            Some(old) if Arc::ptr_eq(old, set) => {}
            Some(old) if header(old) != header(set) => return Edit::Whole,
            Some(old) => edit_elements(old, set, &mut edit),
        }
    }
    edit.sets_removed = sets.into_values().cloned().collect();
    let mut chains: BTreeMap<&str, &Arc<nft::Chain>> =
        old.chains.iter().map(|chain| (&*chain.name, chain)).collect();
    for chain in &new.chains {
        match chains.remove(&*chain.name) {
            None => edit.chains_added.push(chain.clone()),
            Some(old) if Arc::ptr_eq(old, chain) => {}
            Some(old) if old.base != chain.base || old.comment != chain.comment => return Edit::Whole,
            Some(old) if !are_same_rules(&old.rules, &chain.rules) => {
                edit.chains_replaced.push(chain.clone())
            }
            Some(_) => {}
        }
    }
    edit.chains_removed = chains.into_values().map(|chain| chain.name.clone()).collect();
    let empty = edit.sets_added.is_empty()
        && edit.sets_removed.is_empty()
        && edit.elements_added.is_empty()
        && edit.elements_removed.is_empty()
        && edit.chains_added.is_empty()
        && edit.chains_replaced.is_empty()
        && edit.chains_removed.is_empty();
    if empty { Edit::Same } else { Edit::Parts(edit) }
}

/// A set without what is in it.
fn header(set: &nft::Set) -> nft::Set {
    let origin = crate::origin::Origin::implied("a set");
    nft::Set { elements: Vec::new(), origin, ..without_elements(set) }
}

fn without_elements(set: &nft::Set) -> nft::Set {
    nft::Set {
        name: set.name.clone(),
        key: set.key.clone(),
        key_typeof: set.key_typeof.clone(),
        data: set.data.clone(),
        flags: set.flags,
        timeout_ms: set.timeout_ms,
        gc_interval_ms: set.gc_interval_ms,
        size: set.size,
        auto_merge: set.auto_merge,
        comment: set.comment.clone(),
        statements: set.statements.clone(),
        elements: Vec::new(),
        origin: set.origin.clone(),
    }
}

fn edit_elements(old: &nft::Set, new: &nft::Set, edit: &mut NftEdit) {
    // Packets fill it.
    if new.flags.dynamic {
        return;
    }
    let (was, shall) = (by_key(old), by_key(new));
    let differs = |element: &&nft::Element| was.get(&*element.key) != shall.get(&*element.key);
    let only = |of: &nft::Set| {
        let elements = of.elements.iter().filter(differs).cloned().collect();
        nft::Set { elements, ..without_elements(of) }
    };
    let (added, removed) = (only(new), only(old));
    if !added.elements.is_empty() {
        edit.elements_added.push(added);
    }
    if !removed.elements.is_empty() {
        edit.elements_removed.push(removed);
    }
}

/// What an element says besides its key.
type Said<'e> = (&'e Option<nft::Data>, Option<u64>, &'e Option<Arc<str>>);

fn by_key(set: &nft::Set) -> BTreeMap<&[nft::Value], Said<'_>> {
    set.elements.iter().map(|it| (&*it.key, (&it.data, it.timeout_ms, &it.comment))).collect()
}

fn are_same_rules(old: &[nft::Rule], new: &[nft::Rule]) -> bool {
    let same = |(old, new): (&nft::Rule, &nft::Rule)| {
        let (one, other) = (&old.statements, &new.statements);
        old.comment == new.comment
            && (one == other || one.len() == other.len() && one.iter().zip(other).all(is_same_statement))
    };
    old.len() == new.len() && old.iter().zip(new).all(same)
}

fn is_same_statement((old, new): (&Statement, &Statement)) -> bool {
    if let (Statement::Counter(_), Statement::Counter(_)) = (old, new) {
        return true;
    }
    old == new || plain(old) == plain(new)
}

/// A statement without the origins of elements that are written out in it.
fn plain(statement: &Statement) -> Statement {
    let mut statement = statement.clone();
    match &mut statement {
        Statement::Match { left, right, .. } => [left, right].into_iter().for_each(strip),
        Statement::Vmap { key, map } => [key, map].into_iter().for_each(strip),
        Statement::Assign { target, value } => [target, value].into_iter().for_each(strip),
        Statement::Dnat(nat) | Statement::Snat(nat) => {
            nat.addr.iter_mut().chain(&mut nat.port).for_each(strip);
            // A listing may leave it out.
            nat.addr_and_port = false;
        }
        Statement::Masquerade { port, .. } | Statement::Redirect { port, .. } => {
            port.iter_mut().for_each(strip)
        }
        Statement::SetOp { key, data, .. } => {
            strip(key);
            data.iter_mut().for_each(strip);
        }
        Statement::Verdict(_)
        | Statement::Reject(_)
        | Statement::RejectOf(..)
        | Statement::Notrack
        | Statement::Counter(_)
        | Statement::Limit { .. }
        | Statement::Log(_)
        | Statement::Other(_) => {}
    }
    statement
}

fn strip(expr: &mut Expr) {
    match expr {
        Expr::Elements(elements) => elements.iter_mut().for_each(|element| element.origin = None),
        Expr::Map { key, map } => [key, map].into_iter().for_each(|it| strip(it)),
        Expr::Jhash { of, .. } => strip(of),
        Expr::Concat(parts) => parts.iter_mut().for_each(strip),
        Expr::Binary { left, right, .. } => [left, right].into_iter().for_each(|it| strip(it)),
        Expr::Value(_)
        | Expr::Named(_)
        | Expr::Field(_)
        | Expr::Meta(_)
        | Expr::Ct { .. }
        | Expr::Fib { .. }
        | Expr::Numgen { .. }
        | Expr::Flags(_)
        | Expr::Other(_) => {}
    }
}

fn xt(old: &Ruleset, new: &Ruleset, family: Family) -> Vec<XtEdit> {
    let of_family = |table: &&xt::Table| table.family == family;
    let mut left: BTreeMap<&str, &xt::Table> =
        old.xt.iter().filter(of_family).map(|table| (&*table.name, table)).collect();
    let mut out = Vec::new();
    for table in new.xt.iter().filter(of_family) {
        out.extend(edit_xt(left.remove(&*table.name), Some(table)));
    }
    out.extend(left.into_values().filter_map(|table| edit_xt(Some(table), None)));
    out
}

fn edit_xt(old: Option<&xt::Table>, new: Option<&xt::Table>) -> Option<XtEdit> {
    let chains = |table: Option<&'_ xt::Table>| -> Vec<Arc<xt::Chain>> {
        table.map(|table| table.chains.clone()).unwrap_or_default()
    };
    let (was, shall) = (chains(old), chains(new));
    let mut left: BTreeMap<&str, &Arc<xt::Chain>> = was.iter().map(|chain| (&*chain.name, chain)).collect();
    let name = new.or(old).map(|table| table.name.clone())?;
    let mut edit = XtEdit { table: name, chains: Vec::new(), removed: Vec::new(), builtin: Vec::new() };
    for chain in &shall {
        let old = left.remove(&*chain.name);
        if old.is_some_and(|old| Arc::ptr_eq(old, chain)) {
            continue;
        }
        let rules = old.map_or(&[][..], |old| &old.rules);
        if let Some(policy) = chain.policy {
            let before = old.and_then(|old| old.policy).unwrap_or(xt::Policy::Accept);
            edit.builtin.extend(edit_builtin(&chain.name, (before, rules), (policy, &chain.rules)));
        } else if old.is_none() || !are_same_xt(rules, &chain.rules) {
            edit.chains.push(chain.clone());
        }
    }
    for chain in left.into_values() {
        match chain.policy {
            Some(policy) => {
                let accept = xt::Policy::Accept;
                edit.builtin.extend(edit_builtin(&chain.name, (policy, &chain.rules), (accept, &[])));
            }
            None => edit.removed.push(chain.name.clone()),
        }
    }
    let empty = edit.chains.is_empty() && edit.removed.is_empty() && edit.builtin.is_empty();
    (!empty).then_some(edit)
}

/// Rules at the end that stay are left where they are.
fn edit_builtin(
    chain: &Arc<str>,
    (before, old): (xt::Policy, &[xt::Rule]),
    (after, new): (xt::Policy, &[xt::Rule]),
) -> Option<XtBuiltin> {
    let kept = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| is_same_xt(old, new)).count();
    let policy = (before != after).then_some(after);
    let front = |rules: &[xt::Rule]| rules.get(..rules.len() - kept).unwrap_or_default().to_vec();
    let (removed, inserted) = (front(old), front(new));
    let empty = policy.is_none() && removed.is_empty() && inserted.is_empty();
    (!empty).then(|| XtBuiltin { chain: chain.clone(), policy, removed, inserted })
}

fn are_same_xt(old: &[xt::Rule], new: &[xt::Rule]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_same_xt(old, new))
}

pub(super) fn is_same_xt(old: &xt::Rule, new: &xt::Rule) -> bool {
    old.matches == new.matches && old.target == new.target
}

fn ipvs(old: &Ruleset, new: &Ruleset) -> IpvsChange {
    let mut out = IpvsChange::default();
    let mut left: BTreeMap<_, &Arc<VirtualServer>> =
        old.ipvs.iter().map(|server| (server.id, server)).collect();
    for server in &new.ipvs {
        match left.remove(&server.id) {
            None => out.added.push(server.clone()),
            Some(old) if Arc::ptr_eq(old, server) || is_same_server(old, server) => {}
            Some(old) => out.edited.push((old.clone(), server.clone())),
        }
    }
    out.removed = left.into_keys().collect();
    out
}

fn is_same_server(old: &VirtualServer, new: &VirtualServer) -> bool {
    let real = |server: &VirtualServer| -> BTreeSet<_> {
        let parts = server
            .servers
            .iter()
            .map(|real| (real.addr, real.port, real.weight, real.upper_threshold, real.lower_threshold));
        parts.collect()
    };
    let forwarding = |server: &VirtualServer| -> BTreeMap<_, _> {
        server.servers.iter().map(|real| ((real.addr, real.port), real.forwarding.clone())).collect()
    };
    old.scheduler == new.scheduler
        && old.scheduler_flags == new.scheduler_flags
        && old.one_packet == new.one_packet
        && old.persistence == new.persistence
        && old.persistence_engine == new.persistence_engine
        && real(old) == real(new)
        && forwarding(old) == forwarding(new)
}
