//! Tables and chains: the lines of a dump.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::CUT;
use super::rule::{self, Known};
use crate::addr::Family;
use crate::origin::Diagnostic;
use crate::plan::xt::{Chain, Policy, Rule, Table, base};
use crate::text::line::{Line, Span, Word, number};
use crate::text::quoted::{self, Backslash, unquote};
use crate::text::reader::{Fault, Reader};

/// A table that is not whole yet.
struct Draft {
    name: Arc<str>,
    chains: Vec<Chain>,
    places: HashMap<Arc<str>, usize, foldhash::fast::FixedState>,
    /// Where the last rule went: rules of one chain follow each other.
    last: usize,
    span: Span,
}

impl Draft {
    fn new(name: &str, span: Span) -> Self {
        let places = HashMap::with_hasher(foldhash::fast::FixedState::default());
        Self { name: name.into(), chains: Vec::new(), places, last: 0, span }
    }

    /// The place of a chain, which is made if nothing declared it: a program that feeds rules leaves out what is there.
    fn place(&mut self, name: &str) -> usize {
        if self.chains.get(self.last).is_some_and(|chain| &*chain.name == name) {
            return self.last;
        }
        self.last = self.places.get(name).copied().unwrap_or_else(|| {
            let policy = base(&self.name, name).map(|_| Policy::Accept);
            self.add(Chain { name: name.into(), policy, counters: Some((0, 0)), rules: Vec::new() })
        });
        self.last
    }

    fn add(&mut self, chain: Chain) -> usize {
        self.places.insert(chain.name.clone(), self.chains.len());
        self.chains.push(chain);
        self.chains.len() - 1
    }

    fn rules(&mut self, name: &str) -> &mut Vec<Rule> {
        let place = self.place(name);
        let last = self.chains.len() - 1;
        &mut self.chains[place.min(last)].rules
    }

    fn finish(self, family: Family) -> Table {
        Table { family, name: self.name, chains: self.chains.into_iter().map(Arc::new).collect() }
    }
}

impl Known for Draft {
    fn chain(&self, name: &str) -> Option<Arc<str>> {
        self.places.get_key_value(name).map(|(name, _)| name.clone())
    }
}

/// Reads all tables.
pub(super) fn tables(text: &str, family: Family, reader: &mut Reader) -> Vec<Table> {
    let mut out = Vec::new();
    let mut open: Option<Draft> = None;
    for line in quoted::lines(text, Backslash::Escapes) {
        let Some(mut line) = reader.take(line) else { continue };
        let Some(word) = line.next() else { continue };
        if let Some(name) = word.text.strip_prefix('*') {
            out.extend(open.take().map(|draft| uncommitted(draft, family, reader)));
            open = Some(Draft::new(&unquote(name, Backslash::Escapes), word.span));
            continue;
        }
        let Some(draft) = &mut open else {
            let message = format!("'{}' stands before a table such as '*filter'", word.text);
            reader.fault(Fault::new(word.span, message));
            continue;
        };
        if word.text == "COMMIT" {
            out.extend(open.take().map(|draft| draft.finish(family)));
            continue;
        }
        let read = command(draft, word, &mut line, family, reader);
        reader.take(read);
    }
    out.extend(open.map(|draft| uncommitted(draft, family, reader)));
    out
}

fn uncommitted(draft: Draft, family: Family, reader: &mut Reader) -> Table {
    let message = format!("table '{}' has no COMMIT: the dump may be cut", draft.name);
    reader.push(Diagnostic::warning(CUT, message).at(Some(reader.location(draft.span))));
    draft.finish(family)
}

fn command<'t>(
    draft: &mut Draft,
    word: Word<'t>,
    line: &mut Line<'t>,
    family: Family,
    reader: &mut Reader,
) -> Result<(), Fault> {
    if word.text.starts_with([':', '"']) {
        return declare(draft, word, line);
    }
    let mut verb = word;
    let mut counters = None;
    if let Some(inner) = word.text.strip_prefix('[') {
        let pair = inner.strip_suffix(']').and_then(pair);
        counters = Some(
            pair.ok_or_else(|| Fault::new(word.span, format!("'{}' is not [PACKETS:BYTES]", word.text)))?,
        );
        verb = line.value(word)?;
    }
    let chain = |line: &mut Line<'t>| Ok(unquote(line.value(verb)?.text, Backslash::Escapes));
    match verb.text {
        "-A" | "--append" => {
            let name = chain(line)?;
            let mut rule = rule::read(line, family, draft, reader)?;
            rule.counters = rule.counters.or(counters);
            draft.rules(&name).push(rule);
        }
        "-I" | "--insert" => {
            let name = chain(line)?;
            let at: Option<usize> = line.peek().and_then(number);
            if at.is_some() {
                line.next();
            }
            let rule = rule::read(line, family, draft, reader)?;
            let rules = draft.rules(&name);
            let at = at.unwrap_or(1).saturating_sub(1).min(rules.len());
            rules.insert(at, rule);
        }
        "-N" | "--new-chain" => {
            let name = chain(line)?;
            draft.place(&name);
        }
        "-F" | "--flush" => {
            let name = chain(line)?;
            draft.rules(&name).clear();
        }
        "-X" | "--delete-chain" => {
            let name = chain(line)?;
            let place = draft.place(&name);
            draft.chains.remove(place);
            draft.places =
                draft.chains.iter().enumerate().map(|(i, chain)| (chain.name.clone(), i)).collect();
            draft.last = 0;
        }
        "-P" | "--policy" => {
            let name = chain(line)?;
            let policy = policy(line.value(verb)?)?;
            let place = draft.place(&name);
            if let Some(chain) = draft.chains.get_mut(place) {
                chain.policy = policy;
            }
        }
        other => {
            return Err(Fault::new(verb.span, format!("'{other}' is not a command of iptables-restore")));
        }
    }
    Ok(())
}

/// `:INPUT ACCEPT [0:0]`.
fn declare<'t>(draft: &mut Draft, word: Word<'t>, line: &mut Line<'t>) -> Result<(), Fault> {
    let name = unquote(word.text, Backslash::Escapes);
    let name = name.strip_prefix(':').filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Fault::new(word.span, "a chain without a name"))?;
    let policy = policy(line.value(word)?)?;
    let counters = match line.next() {
        Some(word) => {
            let read = |text: &str| pair(text.strip_prefix('[')?.strip_suffix(']')?);
            Some(word.read("[PACKETS:BYTES]", read)?)
        }
        None => Some((0, 0)),
    };
    let place = draft.place(name);
    if let Some(chain) = draft.chains.get_mut(place) {
        (chain.policy, chain.counters) = (policy, counters);
    }
    Ok(())
}

fn policy(word: Word<'_>) -> Result<Option<Policy>, Fault> {
    word.read("a policy: ACCEPT, DROP or '-'", |text| match text {
        "ACCEPT" => Some(Some(Policy::Accept)),
        "DROP" => Some(Some(Policy::Drop)),
        "-" => Some(None),
        _ => None,
    })
}

/// `PACKETS:BYTES`.
fn pair(text: &str) -> Option<(u64, u64)> {
    let (packets, bytes) = text.split_once(':')?;
    Some((number(packets)?, number(bytes)?))
}
