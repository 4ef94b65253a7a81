//! The table of what was compared, in `docs/parity.md`.
//!
//! A cell has the number of flows, which the seed fixes, and the known gaps that they showed. Which of them a run shows is chance
//! where the kernel chooses: a table that is written keeps those that it had, and one that is looked at may have more and fewer.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use kubenet_linux::parity::gaps::Gaps;
use kubenet_linux::parity::report::{Failure, Report};

/// The line before the table, and the one after it.
const BEGIN: &str = "<!-- written by `cargo xtask parity table 1 500` -->";
const END: &str = "<!-- end -->";
/// The columns.
const MODES: [&str; 4] = ["iptables", "ipvs", "nftables", "userspace"];

/// What is done with the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is looked at: one that is old is a failure.
    Check,
    /// It is written.
    Write,
}

/// Flows, and the known gaps that they showed.
type Cell = (usize, BTreeSet<String>);
/// By feature and mode.
type Table = BTreeMap<(String, String), Cell>;

/// Compares the table with a report, or writes it.
pub(crate) fn settle(report: &mut Report, gaps: &Gaps, purpose: Purpose) -> Result<(), Box<dyn Error>> {
    let path = path();
    let page = fs::read_to_string(&path)?;
    let (head, rest) = page.split_once(BEGIN).ok_or("docs/parity.md: the table's first line is gone")?;
    let (text, tail) = rest.split_once(END).ok_or("docs/parity.md: the table's last line is gone")?;
    let written = read(text);
    let seen = of_report(report);
    if purpose == Purpose::Write {
        let text = markdown(&merged(&written, seen, report, gaps));
        fs::write(&path, format!("{head}{BEGIN}\n\n{text}\n{END}{tail}"))?;
        return Ok(());
    }
    let old = old(&written, &seen, report, gaps);
    if !old.is_empty() {
        let what = "the table of docs/parity.md is old: cargo xtask parity table 1 500".into();
        report.failures.push(Failure { what, differences: old });
    }
    Ok(())
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/parity.md")
}

fn of_report(report: &Report) -> Table {
    let rows = report.rows.iter().filter(|(_, tally)| tally.compared > 0);
    let gaps = |feature: &str, mode: &str| {
        let of = report.seen.iter().filter(|(known, in_mode, _)| known == feature && in_mode == mode);
        of.map(|(_, _, gap)| gap.clone()).collect()
    };
    rows.map(|(key, tally)| (key.clone(), (tally.compared, gaps(&key.0, &key.1)))).collect()
}

/// Whether a run says nothing about a cell: its mode was not run, or the machine lacks what it needs.
fn is_silent(report: &Report, feature: &str, mode: &str) -> bool {
    let was_run = report.rows.keys().any(|(_, run)| run == mode);
    !was_run || report.lacking.contains_key(&format!("{mode}, {feature}"))
}

/// What the new table has: gaps that chance did not show this time stay, as long as they are known.
fn merged(written: &Table, seen: Table, report: &Report, gaps: &Gaps) -> Table {
    let mut table = seen;
    for ((feature, mode), (flows, listed)) in written {
        let known = listed.iter().filter(|id| gaps.gaps.iter().any(|gap| gap.id == **id)).cloned();
        if is_silent(report, feature, mode) {
            table.insert((feature.clone(), mode.clone()), (*flows, known.collect()));
        } else if let Some((_, seen)) = table.get_mut(&(feature.clone(), mode.clone())) {
            seen.extend(known);
        }
    }
    table
}

/// Where the table is not what the run has seen.
fn old(written: &Table, seen: &Table, report: &Report, gaps: &Gaps) -> Vec<String> {
    let mut old = Vec::new();
    let keys: BTreeSet<&(String, String)> = written.keys().chain(seen.keys()).collect();
    for key in keys {
        let (feature, mode) = key;
        if is_silent(report, feature, mode) {
            continue;
        }
        let (before, now) = (written.get(key), seen.get(key));
        let flows = |cell: Option<&Cell>| cell.map_or(0, |(flows, _)| *flows);
        if flows(before) != flows(now) {
            old.push(format!("{feature}, {mode}: {} flows, the table has {}", flows(now), flows(before)));
        }
        let listed = before.map(|(_, ids)| ids).into_iter().flatten();
        for id in listed.filter(|id| gaps.gaps.iter().all(|gap| gap.id != **id)) {
            old.push(format!("{feature}, {mode}: the gap {id} is known no more"));
        }
    }
    old
}

fn markdown(table: &Table) -> String {
    let mut out = format!("| feature | {} |\n|---|{}\n", MODES.join(" | "), "---|".repeat(MODES.len()));
    let features: BTreeSet<&String> = table.keys().map(|(feature, _)| feature).collect();
    for feature in features {
        let cell = |mode: &&str| match table.get(&(feature.clone(), (*mode).to_owned())) {
            None => "–".to_owned(),
            Some((flows, gaps)) => {
                let gaps = gaps.iter().map(|id| format!(", {id}"));
                format!("{flows}{}", gaps.collect::<String>())
            }
        };
        let cells: Vec<String> = MODES.iter().map(cell).collect();
        let _ = writeln!(out, "| {feature} | {} |", cells.join(" | "));
    }
    out
}

/// The cells of a table that [`markdown`] wrote.
fn read(text: &str) -> Table {
    let mut table = Table::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")) {
        let mut cells = line.split(" | ");
        let Some(feature) = cells.next() else { continue };
        for (mode, cell) in MODES.iter().zip(cells) {
            let mut words = cell.split(", ");
            let Some(flows) = words.next().and_then(|word| word.parse().ok()) else { continue };
            let ids = words.map(str::to_owned).collect();
            table.insert((feature.to_owned(), (*mode).to_owned()), (flows, ids));
        }
    }
    table
}
