//! What a run came to.

use std::collections::BTreeMap;
use std::fmt;

use super::case::Fault;

/// How the cases of a set ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The library says what the case says.
    pub passed: usize,
    /// It does not, or the case is malformed.
    pub failed: usize,
    /// Nothing judges the case.
    pub unsupported: usize,
}

/// A case that makes the run fail.
#[derive(Debug)]
pub struct Failure {
    /// Its set.
    pub set: String,
    /// Its name.
    pub id: String,
    /// What is wrong.
    pub fault: Fault,
}

/// The sum of a run. Its `Display` is one line for each failing case, one for each set, and why
/// a set is not supported.
#[derive(Debug, Default)]
pub struct Report {
    sets: BTreeMap<String, Counts>,
    reasons: BTreeMap<&'static str, &'static str>,
    failures: Vec<Failure>,
}

impl Report {
    /// The sets that had cases.
    pub const fn sets(&self) -> &BTreeMap<String, Counts> {
        &self.sets
    }

    /// The cases that make the run fail, in the order of their files.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// How many cases there were.
    pub fn cases(&self) -> usize {
        self.sets.values().map(|counts| counts.passed + counts.failed + counts.unsupported).sum()
    }

    /// Whether there were cases and none failed.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.cases() > 0
    }

    /// Adds what another run came to.
    pub fn merge(&mut self, other: Self) {
        for (set, counts) in other.sets {
            let sum = self.sets.entry(set).or_default();
            sum.passed += counts.passed;
            sum.failed += counts.failed;
            sum.unsupported += counts.unsupported;
        }
        self.reasons.extend(other.reasons);
        self.failures.extend(other.failures);
    }

    pub(super) fn passed(&mut self, set: &str) {
        self.counts(set).passed += 1;
    }

    pub(super) fn listed(&mut self, set: &str, (name, reason): (&'static str, &'static str)) {
        self.counts(set).unsupported += 1;
        self.reasons.insert(name, reason);
    }

    pub(super) fn failed(&mut self, set: &str, id: String, fault: Fault) {
        let counts = self.counts(set);
        match fault {
            Fault::Unsupported(_) => counts.unsupported += 1,
            Fault::Differs(_) | Fault::Malformed(_) => counts.failed += 1,
        }
        self.failures.push(Failure { set: set.into(), id, fault });
    }

    fn counts(&mut self, set: &str) -> &mut Counts {
        self.sets.entry(set.into()).or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        for (set, Counts { passed, failed, unsupported }) in &self.sets {
            writeln!(f, "{set}: {passed} passed, {failed} failed, {unsupported} unsupported")?;
        }
        for (set, reason) in &self.reasons {
            writeln!(f, "  {set} is not supported: {reason}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAIL {} {}: ", self.set, self.id)?;
        match &self.fault {
            Fault::Malformed(message) => f.write_str(message),
            Fault::Unsupported(why) => write!(f, "not supported: {why}"),
            Fault::Differs(differences) => {
                if let Some(first) = differences.first() {
                    write!(f, "{}: expected {}, got {}", first.at, first.expected, first.got)?;
                }
                match differences.len() {
                    0 | 1 => Ok(()),
                    more => write!(f, " (and {} more)", more - 1),
                }
            }
        }
    }
}
