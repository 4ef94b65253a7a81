//! Compares model and kernel: random flows, the scenarios, or all of it, with the table of what was compared.
//!
//! What is compared runs in namespaces of its own, which end with it.

mod parts;
mod table;

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use kubenet_linux::guest::GuestError;
use kubenet_linux::parity::gaps::Gaps;
use kubenet_linux::parity::report::{Failure, Report};

const USAGE: &str = "\
parity random MODE SEED FLOWS        random flows in one mode
parity scenarios PATH                scenarios
parity check SEED FLOWS PART…        parts beside each other: a mode, ipvs in user-mode Linux, or scenarios; fails where they
                                     differ, where a known gap is closed, and where the table of docs/parity.md is old
parity table SEED FLOWS [PART…]      all parts, or these, and writes their columns of the table
parity soak --flows N [--seed S]     so many flows in each mode; a table of what they came to";

/// The status of a run that could not be: the machine lacks something.
const LACKING: i32 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let gaps = Gaps::known()?;
    let report = match words[..] {
        ["random", mode, seed, flows] => parts::alone(&gaps, mode, seed.parse()?, flows.parse()?)?,
        ["scenarios", path] => parts::scenarios(&gaps, Path::new(path))?,
        // What another process of this program asks for; the report is for it alone.
        ["part", part, seed, flows, file] => {
            let report = parts::part(&gaps, part, seed.parse()?, flows.parse()?)?;
            fs::write(file, serde_json::to_string(&report)?)?;
            return Ok(());
        }
        ["check", seed, flows, ref asked @ ..] if !asked.is_empty() => {
            check(&gaps, seed.parse()?, flows.parse()?, asked, table::Purpose::Check)?
        }
        ["table", seed, flows, ref asked @ ..] => {
            let asked = if asked.is_empty() { &parts::ALL } else { asked };
            check(&gaps, seed.parse()?, flows.parse()?, asked, table::Purpose::Write)?
        }
        ["soak", "--flows", flows] => soak(&gaps, 1, flows.parse()?)?,
        ["soak", "--flows", flows, "--seed", seed] | ["soak", "--seed", seed, "--flows", flows] => {
            soak(&gaps, seed.parse()?, flows.parse()?)?
        }
        _ => return Err(USAGE.into()),
    };
    writeln!(std::io::stdout(), "{report}")?;
    if !report.failures.is_empty() {
        return Err("model and kernel differ".into());
    }
    // Nothing at all was compared.
    if report.rows.is_empty() && !report.lacking.is_empty() {
        std::process::exit(LACKING);
    }
    Ok(())
}

/// Runs parts, and looks at the gaps and the table.
fn check(
    gaps: &Gaps,
    seed: u64,
    flows: usize,
    asked: &[&str],
    purpose: table::Purpose,
) -> Result<Report, Box<dyn Error>> {
    let mut report = beside(seed, flows, asked)?;
    for gap in gaps.closed(&report.used(), &report.modes()) {
        let differences = vec!["nothing shows it any more: take it out of known_gaps.toml".into()];
        report.failures.push(Failure { what: format!("the gap {}", gap.id), differences });
    }
    table::settle(&mut report, gaps, purpose)?;
    Ok(report)
}

fn soak(gaps: &Gaps, seed: u64, flows: usize) -> Result<Report, Box<dyn Error>> {
    let modes: Vec<&str> = parts::ALL.into_iter().filter(|part| *part != parts::SCENARIOS).collect();
    let report = beside(seed, flows, &modes)?;
    for gap in gaps.gaps.iter().filter(|gap| report.used().contains(&*gap.id)) {
        writeln!(std::io::stdout(), "known gap {}: {}", gap.id, gap.reason)?;
    }
    Ok(report.by_mode())
}

/// Parts in processes of their own, beside each other. What the machine lacks for a part is told in the report.
fn beside(seed: u64, flows: usize, asked: &[&str]) -> Result<Report, Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("kubenet-parity-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let run = &|part: &str| parts::apart(part, seed, flows, &folder.join(part));
    let ended: Vec<(&str, Result<Report, parts::PartError>)> = std::thread::scope(|scope| {
        let started: Vec<_> = asked.iter().map(|part| (*part, scope.spawn(move || run(part)))).collect();
        let joined = started.into_iter().map(|(part, run)| (part, run.join()));
        joined.filter_map(|(part, ended)| Some((part, ended.ok()?))).collect()
    });
    fs::remove_dir_all(&folder)?;
    let mut report = Report::default();
    for (part, ended) in ended {
        match ended {
            Ok(other) => report.join(other),
            Err(parts::PartError::Guest(error)) if !matches!(error, GuestError::Io { .. }) => {
                report.lacking.insert(part.into(), error.to_string());
            }
            Err(error) => {
                report.failures.push(Failure { what: part.into(), differences: vec![error.to_string()] });
            }
        }
    }
    Ok(report)
}
