//! Goes through the steps, and sums up: what passed, what failed, what could not be done here.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::capabilities;
use crate::machine::Machine;
use crate::say;
use crate::steps::{STEPS, Step, Stop};

/// Which steps are asked for, and when to stop.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    fail_fast: bool,
    steps: Vec<String>,
}

impl Wanted {
    /// Reads `[--fail-fast] [STEP…]`.
    ///
    /// # Errors
    ///
    /// A word that is neither.
    pub(crate) fn parse(arguments: &[OsString]) -> Result<Self, String> {
        let mut wanted = Self::default();
        for argument in arguments {
            match argument.to_str() {
                Some("--fail-fast") => wanted.fail_fast = true,
                Some(name) if STEPS.iter().any(|step| step.name == name) => wanted.steps.push(name.into()),
                _ => return Err(format!("no step is called {}; see cargo xtask steps", argument.display())),
            }
        }
        Ok(wanted)
    }

    fn has(&self, step: &Step) -> bool {
        self.steps.is_empty() || self.steps.iter().any(|name| name == step.name)
    }
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Passed,
    Failed(String),
    /// It could not run here, and nobody requires it.
    Gap(String),
}

/// Runs the steps that are wanted. Whether all is well.
pub(crate) fn all(machine: &Machine, wanted: &Wanted) -> bool {
    let required = match capabilities::required(&machine.root) {
        Ok(required) => required,
        Err(error) => {
            say(&error);
            return false;
        }
    };
    let begin = Instant::now();
    let mut done: Vec<(&Step, Duration, Ended)> = Vec::new();
    for step in STEPS.iter().filter(|step| wanted.has(step)) {
        say(&format!("\n== {}: {}", step.name, step.about));
        let start = Instant::now();
        let is_required = machine.is_ci && required.iter().any(|name| name == step.name);
        let ended = ended(attempt(machine, step), is_required);
        match &ended {
            Ended::Passed => {}
            Ended::Failed(why) => say(&format!("failed: {why}")),
            Ended::Gap(why) => say(&format!("not done here: {why}")),
        }
        let is_over = wanted.fail_fast && matches!(ended, Ended::Failed(_));
        done.push((step, start.elapsed(), ended));
        if is_over {
            break;
        }
    }
    summary(&done, begin.elapsed());
    !done.iter().any(|(_, _, ended)| matches!(ended, Ended::Failed(_)))
}

fn attempt(machine: &Machine, step: &Step) -> Result<(), Stop> {
    for need in step.needs {
        machine.provide(*need).map_err(Stop::Missing)?;
    }
    (step.run)(machine)
}

/// What is missing is a failure where it is required, and a gap elsewhere.
fn ended(result: Result<(), Stop>, is_required: bool) -> Ended {
    match result {
        Ok(()) => Ended::Passed,
        Err(Stop::Failed(why)) => Ended::Failed(why),
        Err(Stop::Missing(what)) if is_required => {
            Ended::Failed(format!("{} requires it, and {what}", capabilities::FILE))
        }
        Err(Stop::Missing(what)) => Ended::Gap(what),
    }
}

fn summary(done: &[(&Step, Duration, Ended)], whole: Duration) {
    say("");
    for (step, took, ended) in done {
        let word = match ended {
            Ended::Passed => "passed",
            Ended::Failed(_) => "FAILED",
            Ended::Gap(_) => "gap",
        };
        say(&format!("{:14} {word:7} {:6.1} s", step.name, took.as_secs_f64()));
    }
    let failed = done.iter().filter(|(_, _, ended)| matches!(ended, Ended::Failed(_))).count();
    let passed = done.iter().filter(|(_, _, ended)| *ended == Ended::Passed).count();
    say(&format!("{:14} {:7} {:6.1} s\n", "all", "", whole.as_secs_f64()));
    for (step, _, ended) in done {
        if let Ended::Failed(why) = ended {
            say(&format!("FAILED {}: {why}", step.name));
        }
    }
    say(&format!("steps: {passed} passed, {failed} failed"));
    for (step, _, ended) in done {
        if let Ended::Gap(why) = ended {
            say(&format!("gap: {}: {why}", step.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_fails_only_where_it_is_required() {
        let missing = || Err(Stop::Missing("nft is not here".into()));
        assert_eq!(ended(missing(), false), Ended::Gap("nft is not here".into()));
        assert!(matches!(ended(missing(), true), Ended::Failed(why) if why.contains("nft is not here")));
    }

    #[test]
    fn a_failure_is_one_everywhere() {
        for is_required in [false, true] {
            let failed = Err(Stop::Failed("no".into()));
            assert_eq!(ended(failed, is_required), Ended::Failed("no".into()));
        }
    }

    #[test]
    fn a_step_that_does_not_exist_is_refused() {
        assert!(Wanted::parse(&["fmt".into(), "--fail-fast".into()]).is_ok());
        assert!(Wanted::parse(&["colour".into()]).is_err());
    }
}
