//! What a run of comparisons came to: a row per feature, a column per proxy mode.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::gaps::Gaps;
use super::site::Compared;

/// How often something was compared, and how often it was different.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Flows compared.
    pub compared: usize,
    /// Flows that differ in a way that is known.
    pub gaps: usize,
    /// Flows that differ.
    pub different: usize,
    /// Flows of which the model says that it does not know.
    pub unknown: usize,
    /// Frames that the kernel showed.
    pub frames: usize,
    /// Rules that the kernel showed.
    pub rules: usize,
    /// Connections and datagrams that servers received.
    pub received: usize,
    /// Entries of the kernel's tables.
    pub entries: usize,
    /// Reasons for which the model drops that the kernel can say.
    pub drops: usize,
}

impl Tally {
    const fn add(&mut self, other: Self) {
        self.compared += other.compared;
        self.gaps += other.gaps;
        self.different += other.different;
        self.unknown += other.unknown;
        self.frames += other.frames;
        self.rules += other.rules;
        self.received += other.received;
        self.entries += other.entries;
        self.drops += other.drops;
    }
}

/// A difference that no gap explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// How to see it again: the seed or the scenario, and the flow.
    pub what: String,
    /// What is different.
    pub differences: Vec<String>,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// By feature and mode.
    #[serde(with = "rows")]
    pub rows: BTreeMap<(String, String), Tally>,
    /// What is different and not known.
    pub failures: Vec<Failure>,
    /// The gaps that were seen: the feature, the mode, the gap.
    pub seen: BTreeSet<(String, String, String)>,
    /// What this machine lacks, so that it was not compared: the mode, and why.
    pub lacking: BTreeMap<String, String>,
}

impl Report {
    /// Takes down a comparison.
    pub fn add(&mut self, feature: &str, mode: &str, what: &str, compared: &Compared, gaps: &Gaps) {
        let tally = self.rows.entry((feature.into(), mode.into())).or_default();
        tally.compared += 1;
        tally.frames += compared.frames;
        tally.rules += compared.rules;
        tally.received += compared.received;
        tally.entries += compared.entries;
        tally.drops += compared.drops;
        let mut unexplained = Vec::new();
        for difference in &compared.differences {
            match gaps.explains(mode, feature, difference) {
                Some(gap) => {
                    self.seen.insert((feature.into(), mode.into(), gap.id.clone()));
                }
                None => unexplained.push(difference.clone()),
            }
        }
        if !unexplained.is_empty() {
            tally.different += 1;
            self.failures.push(Failure { what: what.into(), differences: unexplained });
        } else if !compared.agrees() {
            tally.gaps += 1;
        }
    }

    /// Takes down a flow of which the model does not know what happens.
    pub fn add_unknown(&mut self, feature: &str, mode: &str) {
        self.rows.entry((feature.into(), mode.into())).or_default().unknown += 1;
    }

    /// Joins another run.
    pub fn join(&mut self, other: Self) {
        for (key, tally) in other.rows {
            self.rows.entry(key).or_default().add(tally);
        }
        self.failures.extend(other.failures);
        self.seen.extend(other.seen);
        self.lacking.extend(other.lacking);
    }

    /// All rows together.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in self.rows.values() {
            total.add(*tally);
        }
        total
    }

    /// The modes that were run.
    pub fn modes(&self) -> Vec<String> {
        let modes: BTreeSet<&String> = self.rows.keys().map(|(_, mode)| mode).collect();
        modes.into_iter().cloned().collect()
    }

    /// The rows of each mode together.
    pub fn by_mode(&self) -> Self {
        let mut rows: BTreeMap<(String, String), Tally> = BTreeMap::new();
        for ((_, mode), tally) in &self.rows {
            rows.entry(("flows".into(), mode.clone())).or_default().add(*tally);
        }
        Self { rows, ..self.clone() }
    }

    /// The gaps that were seen.
    pub fn used(&self) -> BTreeSet<&str> {
        self.seen.iter().map(|(_, _, gap)| &**gap).collect()
    }
}

/// Rows as a list: JSON has no keys of two words.
mod rows {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Tally;

    type Rows = BTreeMap<(String, String), Tally>;

    pub(super) fn serialize<S: Serializer>(rows: &Rows, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(rows)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rows, D::Error> {
        Ok(Vec::<((String, String), Tally)>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "{}", failure.what)?;
            for difference in &failure.differences {
                writeln!(f, "  {}", difference.replace('\n', "\n  "))?;
            }
        }
        let width = self.rows.keys().map(|(feature, _)| feature.len()).max().unwrap_or(0).max(7);
        writeln!(
            f,
            "{:width$}  {:10}  {:>8}  {:>9}  {:>4}  {:>7}  {:>7}  {:>6}  {:>8}  {:>7}  {:>5}",
            "feature",
            "mode",
            "compared",
            "different",
            "gaps",
            "unknown",
            "frames",
            "rules",
            "received",
            "entries",
            "drops"
        )?;
        let total = (("all".to_owned(), String::new()), self.total());
        let rows = self.rows.iter().map(|(key, tally)| (key.clone(), *tally)).chain([total]);
        for ((feature, mode), tally) in rows {
            let Tally { compared, gaps, different, unknown, frames, rules, received, entries, drops } = tally;
            writeln!(
                f,
                "{feature:width$}  {mode:10}  {compared:>8}  {different:>9}  {gaps:>4}  {unknown:>7}  {frames:>7}  {rules:>6}  {received:>8}  {entries:>7}  {drops:>5}"
            )?;
        }
        let used: Vec<&str> = self.used().into_iter().collect();
        if !used.is_empty() {
            writeln!(f, "known gaps that were seen: {}", used.join(", "))?;
        }
        for (mode, why) in &self.lacking {
            writeln!(f, "not compared on this machine: {mode}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kubenet_core::trace::Verdict;

    use super::*;

    fn compared(differences: &[&str]) -> Compared {
        Compared {
            model: Verdict::Connected,
            kernel: Verdict::Connected,
            frames: 3,
            rules: 1,
            received: 1,
            entries: 1,
            drops: 1,
            differences: differences.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn a_known_difference_is_a_gap_and_another_one_a_failure() {
        let gaps = Gaps::parse("[[gap]]\nid = \"a\"\nreason = \"r\"\nshows = [\"x\"]\n").expect("a file");
        let mut report = Report::default();
        report.add("pods", "nftables", "seed 1", &compared(&[]), &gaps);
        report.add("pods", "nftables", "seed 2", &compared(&["an x"]), &gaps);
        report.add("pods", "nftables", "seed 3", &compared(&["an x", "a y"]), &gaps);
        let total = report.total();
        assert_eq!((total.compared, total.gaps, total.different, total.frames), (3, 1, 1, 9));
        assert_eq!(report.failures[0].differences, ["a y"]);
        assert_eq!(report.used(), BTreeSet::from(["a"]));
        assert!(report.to_string().starts_with("seed 3\n  a y\n"), "{report}");
    }
}
