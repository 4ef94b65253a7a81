//! What sources claim about one setting, and which of them counts.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::Setting;
use crate::origin::{Diagnostic, Origin};

/// How specific a source is, the least specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// What a distribution or program does when nobody says. Anything that is said contradicts it rightly.
    Default,
    /// What an installer was told.
    Installer,
    /// What a program is configured with.
    Config,
    /// What a program runs with, or says that it does.
    Running,
}

/// What one source says.
#[derive(Clone, Debug)]
pub(super) struct Claim<T> {
    pub(super) value: T,
    /// In words: who says what.
    pub(super) because: String,
    pub(super) origin: Origin,
    pub(super) rank: Rank,
}

/// What all sources say about one setting.
#[derive(Clone, Debug)]
pub(super) struct Claims<T>(Vec<Claim<T>>);

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone + PartialEq> Claims<T> {
    /// Takes a claim. One that repeats another adds nothing.
    pub(super) fn add(&mut self, claim: Claim<T>) {
        let told = |other: &Claim<T>| other.value == claim.value && other.rank >= claim.rank;
        if !self.0.iter().any(told) {
            self.0.push(claim);
        }
    }

    /// The claim that counts: the most specific one, the first of them.
    pub(super) fn best(&self) -> Option<&Claim<T>> {
        let rank = self.0.iter().map(|claim| claim.rank).max()?;
        self.0.iter().find(|claim| claim.rank == rank)
    }

    /// Gives the setting its value, and tells which claims are contradicted, unless the user says what is right.
    pub(super) fn settle(self, key: &str, said: bool, setting: &mut Setting<T>, log: &mut Vec<Diagnostic>) {
        let Some(best) = self.best() else { return };
        let contradicts = |other: &&Claim<T>| other.rank > Rank::Default && other.value != best.value;
        for other in self.0.iter().filter(|_| !said).filter(contradicts) {
            let message = format!("{key}: {}, but {}; the first counts", best.because, other.because);
            log.push(
                Diagnostic::warning("contradicting-settings", message)
                    .from_origin(&other.origin)
                    .related("what counts is said here", best.origin.location().cloned())
                    .help(format!("--assume {key}=… says which one is right")),
            );
        }
        *setting = Setting::detected(best.value.clone(), best.because.clone(), best.origin.clone());
    }
}
