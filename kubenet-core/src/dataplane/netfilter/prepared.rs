//! What makes a ruleset quick to walk: its base chains by hook, its chains by name, the index of each long chain.
//!
//! In: a [`Netfilter`]. Out: [`Base`] chains in the order in which the kernel runs them. Everything is built when it is first
//! needed and is a function of the ruleset alone, so one `Prepared` serves any number of runs.
//!
//! Order: by priority, at one priority chains of `iptables` before those of `nft`, then as listed. All chains of type
//! nat of a hook run in the place of one hook of the kernel's, at -100 before routing and 100 after it, and among
//! themselves by their own priority (`nf_nat_core.c nf_nat_register_fn`).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{OnceCell, RefCell};

use super::index::{ChainIndex, Cursor, LONG};
use super::ipset::IpSetIndex;
use super::nft::SetIndex;
use super::passing::Kinds;
use super::state::Map;
use super::{Seen, nft, xt};
use crate::plan::nft::{ChainKind, TableFamily};
use crate::plan::{Family, Hook, IpSet, Netfilter, Ruleset};
use crate::plan::{nft as plan_nft, xt as plan_xt};

/// A base chain: where its hook runs it, and where it stands in the ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Lower runs first. For chains of type nat it is that of the hook that runs them all.
    pub priority: i32,
    /// Its type. A nat chain is for the first packet of a connection.
    pub kind: ChainKind,
    /// The priority that the chain itself has.
    pub(super) own: i32,
    pub(super) at: Position,
}

/// Where a chain stands in a ruleset: the number of its table, and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Xt(u32, u32),
    Nft(u32, u32),
}

/// The order and the indexes of one ruleset.
#[derive(Debug, Default)]
pub struct Prepared {
    bases: [[Vec<Base>; HOOKS]; 2],
    xt: Vec<Table>,
    nft: Vec<Table>,
    ipset_names: OnceCell<Map<Arc<str>, u32>>,
    ipsets: Vec<OnceCell<Box<IpSetIndex>>>,
    /// Chains and sets of `nft` that were made when they were looked up: they do not depend on the packet.
    made_chains: Made<plan_nft::Chain>,
    made_sets: Made<plan_nft::Set>,
}

/// What was made, by the number of its table and its name; `None` where nothing is.
type Made<T> = RefCell<Map<(u32, Arc<str>), Option<Arc<T>>>>;

pub(in super::super) const HOOKS: usize = 7;
/// Sets with so many elements are scanned.
const FEW: usize = 4;

/// The names and indexes of one table.
#[derive(Debug, Default)]
pub(super) struct Table {
    names: OnceCell<Map<Arc<str>, u32>>,
    indexes: Vec<OnceCell<Box<ChainIndex>>>,
    set_names: OnceCell<Map<Arc<str>, u32>>,
    set_indexes: Vec<OnceCell<Box<SetIndex>>>,
}

impl Table {
    fn of(chains: usize, sets: usize) -> Self {
        Self {
            indexes: (0..chains).map(|_| OnceCell::new()).collect(),
            set_indexes: (0..sets).map(|_| OnceCell::new()).collect(),
            ..Self::default()
        }
    }

    /// The number of the chain with this name. O(chains) once.
    pub(super) fn named<'n>(&self, names: impl Iterator<Item = &'n Arc<str>>, name: &str) -> Option<u32> {
        self.names.get_or_init(|| by_name(names)).get(name).copied()
    }

    /// The number of the set with this name. O(sets) once.
    pub(super) fn set_named<'n>(&self, names: impl Iterator<Item = &'n Arc<str>>, name: &str) -> Option<u32> {
        self.set_names.get_or_init(|| by_name(names)).get(name).copied()
    }

    /// The rules of a chain that the packet could match. O(rules) once.
    pub(super) fn cursor<'i>(
        &'i self,
        chain: u32,
        rules: usize,
        seen: &Seen<'_>,
        build: impl FnOnce() -> ChainIndex,
    ) -> Cursor<'i> {
        if rules <= LONG {
            return Cursor::all(rules);
        }
        let Some(cell) = self.indexes.get(chain as usize) else { return Cursor::all(rules) };
        let index = cell.get_or_init(|| Box::new(build()));
        index.cursor(seen).unwrap_or_else(|| Cursor::all(rules))
    }
}

/// Of two with one name the first counts.
fn by_name<'n>(names: impl Iterator<Item = &'n Arc<str>>) -> Map<Arc<str>, u32> {
    let mut map = Map::default();
    map.reserve(names.size_hint().0);
    for (name, at) in names.zip(0..) {
        map.entry(name.clone()).or_insert(at);
    }
    map
}

impl Prepared {
    /// Finds the base chains. O(chains).
    pub fn new(netfilter: &Netfilter) -> Self {
        let mut prepared = Self::default();
        let Some(ruleset) = netfilter.ruleset() else { return prepared };
        for (number, table) in (0_u32..).zip(&ruleset.xt) {
            prepared.xt.push(Table::of(table.chains.len(), 0));
            for (place, chain) in (0_u32..).zip(&table.chains) {
                let (Some(_), Some((hook, own))) = (chain.policy, plan_xt::base(&table.name, &chain.name))
                else {
                    continue;
                };
                let kind = if &*table.name == "nat" { ChainKind::Nat } else { ChainKind::Filter };
                prepared.add(&[table.family], hook, kind, own, Position::Xt(number, place));
            }
        }
        for (number, table) in (0_u32..).zip(&ruleset.nft) {
            prepared.nft.push(Table::of(table.chains.len(), table.sets.len()));
            if table.flags.iter().any(|flag| &**flag == "dormant") {
                continue;
            }
            for (place, chain) in (0_u32..).zip(&table.chains) {
                if let Some(base) = &chain.base {
                    let families = families(table.family);
                    prepared.add(families, base.hook, base.kind, base.priority, Position::Nft(number, place));
                }
            }
        }
        prepared.ipsets = ruleset.ipsets.iter().map(|_| OnceCell::new()).collect();
        for base in prepared.bases.iter_mut().flatten() {
            base.sort_by_key(|base| (base.priority, base.own));
        }
        prepared
    }

    /// The base chains of a hook in the order in which they run.
    pub fn bases(&self, family: Family, hook: Hook) -> &[Base] {
        let families = match family {
            Family::V4 => &self.bases[0],
            Family::V6 => &self.bases[1],
        };
        &families[place_of(hook)]
    }

    /// Whether no chain hangs anywhere.
    pub fn is_empty(&self) -> bool {
        self.bases.iter().flatten().all(Vec::is_empty)
    }

    /// The kinds of packets to which a base chain certainly does nothing, those aside whose header is cut off. O(rules), of 1,024
    /// at most.
    pub fn passing(&self, netfilter: &Netfilter, base: &Base) -> Kinds {
        let Some(ruleset) = netfilter.ruleset() else { return Kinds::NONE };
        let found = match base.at {
            Position::Xt(number, place) => ruleset.xt.get(number as usize).and_then(|table| {
                let chain = table.chains.get(place as usize)?;
                Some(xt::passing(ruleset, table, self.xt(number)?, chain))
            }),
            Position::Nft(number, place) => ruleset.nft.get(number as usize).and_then(|table| {
                let chain = table.chains.get(place as usize)?;
                Some(nft::passing(table, self.nft(number)?, chain))
            }),
        };
        found.unwrap_or(Kinds::NONE)
    }

    fn add(&mut self, families: &[Family], hook: Hook, kind: ChainKind, own: i32, at: Position) {
        let priority = match (kind, hook) {
            (ChainKind::Nat, Hook::Prerouting | Hook::Output) => -100,
            (ChainKind::Nat, Hook::Input | Hook::Postrouting) => 100,
            (ChainKind::Nat, Hook::Ingress | Hook::Forward | Hook::Egress)
            | (ChainKind::Filter | ChainKind::Route, _) => own,
        };
        for family in families {
            let place = usize::from(*family == Family::V6);
            self.bases[place][place_of(hook)].push(Base { priority, kind, own, at });
        }
    }

    pub(super) fn xt(&self, table: u32) -> Option<&Table> {
        self.xt.get(table as usize)
    }

    pub(super) fn nft(&self, table: u32) -> Option<&Table> {
        self.nft.get(table as usize)
    }

    /// The rules of a chain of `nft` that the packet could match.
    pub(super) fn nft_cursor<'i>(
        &'i self,
        (table, place): (u32, u32),
        chain: &plan_nft::Chain,
        seen: &Seen<'_>,
    ) -> Cursor<'i> {
        let build = || ChainIndex::new(chain.rules.iter().map(nft::required));
        match self.nft(table) {
            Some(table) => table.cursor(place, chain.rules.len(), seen, build),
            None => Cursor::all(chain.rules.len()),
        }
    }

    /// A chain of `nft` that is made when it is looked up, once.
    pub(super) fn made_chain(
        &self,
        table: u32,
        name: &Arc<str>,
        make: impl FnOnce() -> Option<Arc<plan_nft::Chain>>,
    ) -> Option<Arc<plan_nft::Chain>> {
        made(&self.made_chains, table, name, make)
    }

    /// A set of `nft` that is made when it is looked up, once.
    pub(super) fn made_set(
        &self,
        table: u32,
        name: &Arc<str>,
        make: impl FnOnce() -> Option<Arc<plan_nft::Set>>,
    ) -> Option<Arc<plan_nft::Set>> {
        made(&self.made_sets, table, name, make)
    }

    /// The set of `ipset` with this name, and its number. O(sets) once.
    pub(super) fn ipset<'r>(&self, ruleset: &'r Ruleset, name: &str) -> Option<(u32, &'r IpSet)> {
        let names = self.ipset_names.get_or_init(|| by_name(ruleset.ipsets.iter().map(|set| &set.name)));
        let number = *names.get(name)?;
        Some((number, ruleset.ipsets.get(number as usize)?))
    }

    /// The index of a set of `ipset`. O(entries) once.
    pub(super) fn ipset_index(&self, number: u32, set: &IpSet) -> Option<&IpSetIndex> {
        let cell = self.ipsets.get(number as usize)?;
        Some(cell.get_or_init(|| Box::new(IpSetIndex::new(set))))
    }

    /// The index of a set. O(elements) once; `None` for a few elements.
    pub(super) fn set_index(&self, table: u32, number: u32, set: &plan_nft::Set) -> Option<&SetIndex> {
        if set.elements.len() <= FEW {
            return None;
        }
        let cell = self.nft(table)?.set_indexes.get(number as usize)?;
        Some(cell.get_or_init(|| Box::new(SetIndex::new(&set.elements))))
    }

    /// The rules of a chain of `iptables` that the packet could match.
    pub(super) fn xt_cursor<'i>(
        &'i self,
        (table, place): (u32, u32),
        chain: &plan_xt::Chain,
        seen: &Seen<'_>,
    ) -> Cursor<'i> {
        let build = || ChainIndex::new(chain.rules.iter().map(xt::required));
        match self.xt(table) {
            Some(table) => table.cursor(place, chain.rules.len(), seen, build),
            None => Cursor::all(chain.rules.len()),
        }
    }
}

fn made<T>(
    cache: &Made<T>,
    table: u32,
    name: &Arc<str>,
    make: impl FnOnce() -> Option<Arc<T>>,
) -> Option<Arc<T>> {
    if let Some(known) = cache.borrow().get(&(table, name.clone())) {
        return known.clone();
    }
    let made = make();
    cache.borrow_mut().insert((table, name.clone()), made.clone());
    made
}

/// The families whose packets a table sees.
const fn families(family: TableFamily) -> &'static [Family] {
    match family {
        TableFamily::Ip => &[Family::V4],
        TableFamily::Ip6 => &[Family::V6],
        TableFamily::Inet | TableFamily::Netdev => &[Family::V4, Family::V6],
        TableFamily::Arp | TableFamily::Bridge => &[],
    }
}

/// The place of a hook in a list of all.
pub(in super::super) const fn place_of(hook: Hook) -> usize {
    match hook {
        Hook::Ingress => 0,
        Hook::Prerouting => 1,
        Hook::Input => 2,
        Hook::Forward => 3,
        Hook::Output => 4,
        Hook::Postrouting => 5,
        Hook::Egress => 6,
    }
}
