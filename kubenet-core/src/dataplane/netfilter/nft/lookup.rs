//! Looking up a key in a set or map, wherever its elements are: in the rule, in the ruleset, with those who make them when they
//! are asked for, or with what packets added.

use alloc::format;
use alloc::sync::Arc;

use smallvec::SmallVec;

use super::super::state::{Language, Place};
use super::super::walk::Hits;
use super::super::{Host, Sets};
use super::Run;
use super::expr::{Stop, unmodelled};
use super::set::{self, Dynamic, Found};
use super::value::{Part, Parts, key_of, parts_of};
use crate::dataplane::choices::Choices;
use crate::plan::Unknown;
use crate::plan::nft::{Chain, Data, Element, Expr, Set, Value, Verdict};

/// The rule that is executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) chain: &'a Chain,
    pub(super) rule: u32,
    pub(super) part: u32,
}

/// What a look-up found.
pub(super) enum Hit<'a> {
    /// An element of the ruleset.
    Held(&'a Element),
    /// One that was made.
    Made(Element),
    /// One that a packet added, and what a map gives for it.
    Added(Option<Arc<Data>>),
}

impl<'a> Hit<'a> {
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let data = match self {
            Self::Held(element) => element.data.as_ref(),
            Self::Made(element) => element.data.as_ref(),
            Self::Added(data) => data.as_deref(),
        };
        match data {
            Some(Data::Verdict(verdict)) => Some(verdict.clone()),
            Some(Data::Values(_)) | None => None,
        }
    }

    pub(super) fn parts(&self) -> Option<Parts<'a>> {
        fn made<'b>(data: &Data) -> Option<Parts<'b>> {
            Some(parts_of(data)?.into_iter().map(Part::made).collect())
        }
        match self {
            Self::Held(element) => element.data.as_ref().and_then(parts_of),
            Self::Made(element) => element.data.as_ref().and_then(made),
            Self::Added(data) => data.as_deref().and_then(made),
        }
    }
}

impl<'w, 'p, H: Host + Sets, C: Choices, R: Hits> Run<'w, '_, 'p, H, C, R> {
    /// The element of a set or map that holds a key.
    pub(super) fn find<'a>(&self, map: &'a Expr, parts: &[Part<'_>]) -> Result<Option<Hit<'a>>, Stop>
    where
        'w: 'a,
    {
        let Some(key) = key_of(parts) else { return Err(unmodelled(format_args!("a range as a key"))) };
        if let Expr::Elements(elements) = map {
            let found = set::scan(elements, &key);
            return known(found, format_args!("a set in a rule")).map(|at| held(elements, at));
        }
        let Expr::Named(name) = map else { return Err(unmodelled(format_args!("a look-up in no set"))) };
        let now = self.seen.now;
        let added = if self.walk.state.sets.is_empty() {
            None
        } else {
            self.walk.state.sets.get(&self.place_of(name))
        };
        if let Some(data) = added.and_then(|dynamic| dynamic.find(&key, now)) {
            return Ok(Some(Hit::Added(data.cloned())));
        }
        let changed = added.is_some();
        let rules = self.walk.rules;
        let (family, table) = (self.table.family, &self.table.name);
        if let Some(supply) = rules.netfilter.supply()
            && supply.asks_elements(family, table, name)
        {
            let key: SmallVec<[Value; 4]> = parts.iter().map(Part::value).collect();
            return Ok(supply.nft_element(family, table, name, &key).filter(|_| !changed).map(Hit::Made));
        }
        if let Some((number, set)) = self.set(name) {
            let index = rules.prepared.set_index(self.number, number, set);
            let found = match index {
                Some(index) => index.find(&set.elements, &key),
                None => set::scan(&set.elements, &key),
            };
            let element =
                known(found, format_args!("set {name}"))?.and_then(|at| set.elements.get(at as usize));
            // Elements that packets may have taken away stand with those that they added.
            let gone = |e: &&Element| {
                changed && e.key.iter().all(|v| super::value::exact(v).is_some()) && !e.key.is_empty()
            };
            let element = element.filter(|e| !gone(e) && set::lives(set, e, now));
            if let Some(statements) = element.and_then(|e| e.statements.as_deref()).filter(|s| decides(s)) {
                return Err(unmodelled(format_args!("`{statements}` of an element of set {name}")));
            }
            return Ok(element.map(Hit::Held));
        }
        let Some(set) = self.made_set(name) else { return Err(self.no_set(name)) };
        let found = known(set::scan(&set.elements, &key), format_args!("set {name}"))?;
        let element = found.and_then(|at| set.elements.get(at as usize));
        Ok(element.filter(|e| !changed && set::lives(&set, e, now)).cloned().map(Hit::Made))
    }

    /// The set with this name, if the ruleset holds it.
    pub(super) fn set(&self, name: &str) -> Option<(u32, &'w Set)> {
        let names = self.table.sets.iter().map(|set| &set.name);
        let number = self.walk.rules.prepared.nft(self.number)?.set_named(names, name)?;
        Some((number, self.table.sets.get(number as usize)?))
    }

    /// The set with this name, if it is made when it is looked up.
    fn made_set(&self, name: &Arc<str>) -> Option<Arc<Set>> {
        let rules = self.walk.rules;
        let supply = rules.netfilter.supply()?;
        let make = || supply.nft_set(self.table.family, &self.table.name, name);
        rules.prepared.made_set(self.number, name, make)
    }

    /// The elements of a set that packets change.
    pub(super) fn dynamic(&mut self, name: &Arc<str>) -> Result<&mut Dynamic, Stop> {
        let place = self.place_of(name);
        if !self.walk.state.sets.contains_key(&place) {
            let now = self.seen.now;
            let dynamic = match self.set(name) {
                Some((_, set)) => Dynamic::new(set, now),
                None => match self.made_set(name) {
                    Some(set) => Dynamic::new(&set, now),
                    None => return Err(self.no_set(name)),
                },
            };
            self.walk.state.sets.insert(place.clone(), dynamic);
        }
        self.walk.state.sets.get_mut(&place).ok_or(Stop::Break)
    }

    fn no_set(&self, name: &str) -> Stop {
        Stop::Unknown(Unknown {
            why: format!("set {name} of table {} is not there", self.name),
            what_would_settle_it: format!("a whole listing: nft list table {}", self.name),
        })
    }

    fn place_of(&self, set: &Arc<str>) -> Place {
        let language = Language::Nft(self.table.family);
        Place { language, table: self.table.name.clone(), chain: set.clone(), rule: 0, part: 0 }
    }

    /// Where an expression of a rule counts or remembers.
    pub(super) fn memory(&self, at: &At<'_>) -> Place {
        Place {
            language: Language::Nft(self.table.family),
            table: self.table.name.clone(),
            chain: at.chain.name.clone(),
            rule: at.rule,
            part: at.part,
        }
    }
}

fn held(elements: &[Element], at: Option<u32>) -> Option<Hit<'_>> {
    at.and_then(|at| elements.get(at as usize)).map(Hit::Held)
}

fn known(found: Found, what: core::fmt::Arguments<'_>) -> Result<Option<u32>, Stop> {
    match found {
        Found::At(at) => Ok(Some(at)),
        Found::None => Ok(None),
        Found::NotKnown => Err(Stop::Unknown(Unknown {
            why: format!("{what} has names whose numbers are not known"),
            what_would_settle_it: "the rules with numbers: nft -nn list ruleset".into(),
        })),
    }
}

/// Whether statements of an element can keep it from being found; a counter does not.
fn decides(statements: &str) -> bool {
    let mut words = statements.split(' ');
    words.any(|word| matches!(word, "limit" | "quota" | "ct"))
}
