//! What was seen in the kernel, beside a case of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kubenet_core::network::Tables;
use kubenet_core::time::Instant as Moment;
use kubenet_core::trace::{Case, Verdict};

use super::client::Open;
use super::drops::{self, Heard};
use super::frames::{self, Cards, Difference, Shots};
use super::learned::Learned;
use super::likeness::Ports;
use super::lists::{self, ByPlace};
use super::received;
use super::rules::{self, Hit};
use super::site::{Compared, Place, called};

/// What passed in the kernel.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) shots: Shots,
    pub(super) lines: BTreeMap<Place, Vec<String>>,
    pub(super) hits: BTreeMap<Place, Vec<Hit>>,
}

/// What became of a flow in the kernel.
pub(super) struct Seen {
    pub(super) verdict: Verdict,
    pub(super) passed: Passed,
    /// Of the first record that a server could have made of it.
    pub(super) number: u64,
    pub(super) received: Option<ByPlace>,
    pub(super) learned: BTreeMap<Place, Learned>,
    pub(super) heard: Heard,
    pub(super) until: Moment,
    pub(super) sport: u16,
    /// Kept as long as frames are collected, so that no reset is among them.
    pub(super) _open: Open,
}

/// Compares one way that chance can fall with what was seen.
pub(super) struct Judge<'s> {
    pub(super) seen: &'s Seen,
    pub(super) cards: &'s Cards,
    pub(super) known: &'s [u16],
    pub(super) broadcasts: &'s BTreeSet<IpAddr>,
}

impl Judge<'_> {
    /// What is different, and how far apart they are: how many frames of the kernel are behind the first difference of their device,
    /// and rules behind that of their namespace.
    pub(super) fn compared(&self, case: &Case) -> (usize, Compared, Ports) {
        let seen = self.seen;
        let model = frames::of_case(case, self.cards, seen.until);
        let known = self.known.iter().copied().chain([seen.sport]);
        let mut ports = Ports::with_known(known);
        let found = frames::compare(&model, &seen.passed.shots, &mut ports);
        let apart = found.iter().map(|difference| {
            let frames = seen.passed.shots.get(&difference.device).map_or(0, Vec::len);
            frames.saturating_sub(difference.place) + usize::from(difference.kernel.is_none())
        });
        let mut apart: usize = apart.sum();
        let mut differences: Vec<String> = found.iter().map(Difference::to_string).collect();
        // Of a packet that goes in circles the client hears, or not: that the error comes is among the frames.
        let is_loop =
            case.verdict == Verdict::Loop && matches!(seen.verdict, Verdict::Timeout | Verdict::Unreachable);
        if case.verdict != seen.verdict && !is_loop {
            differences.push(format!("the client: model {}, kernel {}", case.verdict, seen.verdict));
        }
        let ours = rules::of_case(case, seen.until);
        let mut rules = 0;
        for (place, theirs) in &seen.passed.hits {
            rules += theirs.len();
            let none = Vec::new();
            let ours = ours.get(place).unwrap_or(&none);
            let longest = ours.len().max(theirs.len());
            if let Some(at) = (0..longest).find(|at| ours.get(*at) != theirs.get(*at)) {
                apart += longest - at;
                let shown = |hit: Option<&Hit>| hit.map_or_else(|| "nothing".into(), Hit::to_string);
                let (ours, theirs) = (shown(ours.get(at)), shown(theirs.get(at)));
                let place = called(place);
                differences.push(format!("{place}, rule {}:\n  model   {ours}\n  kernel  {theirs}", at + 1));
            }
        }
        let frames = frames::count(&seen.passed.shots);
        let received = seen.received.as_ref().map_or(0, lists::count);
        let entries = seen.learned.values().map(Learned::count).sum();
        let (model, kernel) = (case.verdict, seen.verdict);
        let drops = drops::count(&drops::of_case(case, self.broadcasts, seen.until), &seen.heard);
        let compared = Compared { model, kernel, frames, rules, received, entries, drops, differences };
        (apart, compared, ports)
    }

    /// What came of the same frames: what servers received, and what the namespaces hold.
    pub(super) fn aftermath(&self, case: &Case, tables: &[Tables], ports: &mut Ports) -> Vec<String> {
        let seen = self.seen;
        let mut differences = Vec::new();
        if let Some(theirs) = &seen.received {
            let ours = received::of_case(case, seen.until);
            differences.extend(lists::compare_all("received", &ours, theirs, ports));
        }
        let place = |tables: &Tables| (tables.machine.to_string(), tables.netns.to_string());
        let met: BTreeMap<Place, Learned> =
            tables.iter().map(|tables| (place(tables), Learned::of_tables(tables))).collect();
        for (place, theirs) in &seen.learned {
            // Whom no packet met learned nothing.
            let ours = met.get(place).cloned().unwrap_or_default();
            differences.extend(ours.compare(place, theirs, ports));
        }
        differences.extend(drops::compare(&drops::of_case(case, self.broadcasts, seen.until), &seen.heard));
        differences
    }
}
