//! Differences that are known: what is different, and why it stays so for now.
//!
//! In: `known_gaps.toml`. Out: for a difference the gap that it belongs to. A gap that explains nothing in a whole run is closed, and
//! then the run fails until the gap is taken out.

use std::collections::BTreeSet;

use serde::Deserialize;

/// The modes whose rules are those of nf_tables.
const RULED: [&str; 3] = ["iptables", "nftables", "userspace"];

/// The known differences.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gaps {
    /// Each of them.
    #[serde(default, rename = "gap")]
    pub gaps: Vec<Gap>,
}

/// A difference that is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// A short name, unique.
    pub id: String,
    /// Why model and kernel are different there.
    pub reason: String,
    /// The proxy modes that it is seen in; all of them where none is named.
    #[serde(default)]
    pub modes: Vec<String>,
    /// The feature of the flow, or the scenario, that it is seen in; any where none is named.
    #[serde(default)]
    pub feature: Option<String>,
    /// Seen in long runs only: that a run does not see it says nothing.
    #[serde(default)]
    pub seldom: bool,
    /// Texts that all stand in the difference.
    pub shows: Vec<String>,
}

impl Gaps {
    /// Those of this version: the file `known_gaps.toml`.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub fn known() -> Result<Self, String> {
        Self::parse(include_str!("../../../known_gaps.toml"))
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Where it is no TOML, has a field that is none, or names a gap twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let gaps: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut ids = BTreeSet::new();
        for gap in &gaps.gaps {
            if !ids.insert(&gap.id) {
                return Err(format!("the gap '{}' stands twice", gap.id));
            }
            if gap.shows.is_empty() {
                return Err(format!("the gap '{}' would explain everything: say what it shows", gap.id));
            }
        }
        Ok(gaps)
    }

    /// The gap that explains a difference: one of its feature before one of any.
    pub fn explains(&self, mode: &str, feature: &str, difference: &str) -> Option<&Gap> {
        let fits = |gap: &&Gap| {
            let in_mode = gap.modes.is_empty() || gap.modes.iter().any(|known| known == mode);
            let in_feature = gap.feature.as_ref().is_none_or(|known| known == feature);
            in_mode && in_feature && gap.shows.iter().all(|words| difference.contains(words.as_str()))
        };
        self.gaps.iter().filter(fits).max_by_key(|gap| gap.feature.is_some())
    }

    /// The gaps that are not among those that explained something, though all modes were run that they are seen in. Those of no mode
    /// are seen in the modes whose rules are compared.
    pub fn closed<'g>(&'g self, used: &BTreeSet<&str>, modes: &[String]) -> Vec<&'g Gap> {
        let was_run = |gap: &&Gap| {
            let every = RULED.map(str::to_owned);
            let at = if gap.modes.is_empty() { &every } else { &gap.modes[..] };
            !gap.seldom && at.iter().all(|mode| modes.contains(mode))
        };
        self.gaps.iter().filter(was_run).filter(|gap| !used.contains(&*gap.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "[[gap]]\nid = \"a\"\nreason = \"r\"\nmodes = [\"nftables\"]\nshows = [\"x\", \"y\"]\n";

    #[test]
    fn a_gap_explains_only_what_shows_all_that_it_says_in_its_modes() {
        let gaps = Gaps::parse(FILE).expect("a file");
        assert!(gaps.explains("nftables", "any", "y and x").is_some());
        assert!(gaps.explains("nftables", "any", "x alone").is_none());
        assert!(gaps.explains("iptables", "any", "y and x").is_none());
    }

    #[test]
    fn a_gap_of_the_feature_explains_before_one_of_any() {
        let file = "[[gap]]\nid = \"own\"\nreason = \"r\"\nfeature = \"mtu\"\nshows = [\"x\"]\n\
                    [[gap]]\nid = \"any\"\nreason = \"r\"\nshows = [\"x\"]\n";
        let gaps = Gaps::parse(file).expect("a file");
        let explains = |feature| gaps.explains("iptables", feature, "x").map(|gap| &*gap.id);
        assert_eq!(explains("mtu"), Some("own"));
        assert_eq!(explains("ttl"), Some("any"));
    }

    #[test]
    fn a_gap_that_explained_nothing_is_closed_where_its_mode_was_run() {
        let gaps = Gaps::parse(FILE).expect("a file");
        assert_eq!(gaps.closed(&BTreeSet::new(), &["nftables".into()]).len(), 1);
        assert!(gaps.closed(&BTreeSet::new(), &["iptables".into()]).is_empty());
        assert!(gaps.closed(&BTreeSet::from(["a"]), &["nftables".into()]).is_empty());
    }

    #[test]
    fn a_gap_that_is_seldom_seen_is_not_closed_by_a_run_without_it() {
        let gaps = Gaps::parse(&FILE.replacen("id =", "seldom = true\nid =", 1)).expect("a file");
        assert!(gaps.closed(&BTreeSet::new(), &["nftables".into()]).is_empty());
    }

    #[test]
    fn the_file_of_this_version_reads() {
        assert_eq!(Gaps::known().map(drop), Ok(()));
    }

    #[test]
    fn a_gap_of_no_mode_is_closed_only_by_a_run_of_all_whose_rules_are_compared() {
        let gaps = Gaps::parse("[[gap]]\nid = \"a\"\nreason = \"r\"\nshows = [\"x\"]\n").expect("a file");
        let closed = |modes: &[&str]| {
            let modes: Vec<String> = modes.iter().map(|mode| (*mode).to_owned()).collect();
            gaps.closed(&BTreeSet::new(), &modes).len()
        };
        assert_eq!(closed(&["ipvs"]), 0);
        assert_eq!(closed(&["iptables", "nftables"]), 0);
        assert_eq!(closed(&["iptables", "nftables", "userspace"]), 1);
    }

    #[test]
    fn a_gap_without_words_and_one_that_stands_twice_are_refused() {
        assert!(Gaps::parse(&FILE.replace("[\"x\", \"y\"]", "[]")).is_err());
        assert!(Gaps::parse(&format!("{FILE}{FILE}")).is_err());
        assert!(Gaps::parse("[[gap]]\nid = 1").is_err());
    }
}
