//! What keeps a machine as its plan says while the plan changes.
//!
//! In: the plan that is wanted now, and the time. Out: the machine, changed. As long as all goes well, no more is done than what the
//! last plan and this one differ in; the machine is looked at when the agent starts, after an error, and every so often, since
//! others may have changed it.

use std::time::Duration;

use kubenet_core::plan::{Change, MachinePlan, diff};
use kubenet_core::time::Instant;

use crate::kernel::{Error, Kernel, Observe};
use crate::own::{difference, undo};

/// Why a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The plan may be another one, or time has gone by.
    Plan,
    /// Somebody wants the machine to be looked at.
    Resync,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many changes were done.
    pub changes: usize,
    /// Whether the machine was looked at.
    pub observed: bool,
}

/// Keeps one machine.
#[derive(Debug)]
pub struct Agent<K> {
    /// The machine.
    pub kernel: K,
    resync: Duration,
    /// The plan that the machine is known to be as, and since when.
    applied: Option<MachinePlan>,
    looked: Option<Instant>,
    /// Plans that were begun with: what they name is ours.
    begun: Vec<MachinePlan>,
}

impl<K: Kernel + Observe> Agent<K> {
    /// An agent that looks at its machine at least this often.
    pub const fn new(kernel: K, resync: Duration) -> Self {
        Self { kernel, resync, applied: None, looked: None, begun: Vec::new() }
    }

    /// Brings the machine to a plan.
    ///
    /// # Errors
    ///
    /// Where it cannot be looked at or changed; the next step looks at it again and does what is left.
    pub fn step(&mut self, plan: &MachinePlan, now: Instant, reason: Reason) -> Result<Step, Error> {
        let fresh = self.looked.is_some_and(|looked| now.saturating_since(looked) < self.resync);
        let applied = self.applied.take().filter(|_| fresh && reason == Reason::Plan);
        let observed = applied.is_none();
        let mut changes = match &applied {
            Some(applied) => diff(Some(applied), plan),
            None => {
                let seen = self.kernel.observe()?;
                difference(&seen, &self.begun.iter().collect::<Vec<_>>(), plan)
            }
        };
        changes.retain(|change| self.kernel.can(change));
        if changes.is_empty()
            && let Some(applied) = applied
        {
            self.applied = Some(applied);
            return Ok(Step { changes: 0, observed });
        }
        if !self.begun.contains(plan) {
            self.begun.push(plan.clone());
        }
        self.kernel.apply(&changes)?;
        if observed {
            self.looked = Some(now);
        }
        // All that earlier plans named and this one does not is gone.
        self.begun.retain(|begun| begun == plan);
        self.applied = Some(plan.clone());
        Ok(Step { changes: changes.len(), observed })
    }

    /// Takes everything of ours away from the machine: what carries a mark, and what this plan or one that was begun with names.
    ///
    /// # Errors
    ///
    /// Where it cannot be looked at or changed.
    pub fn undo(&mut self, plan: &MachinePlan) -> Result<Vec<Change>, Error> {
        let seen = self.kernel.observe()?;
        let known: Vec<&MachinePlan> = self.begun.iter().chain([plan]).collect();
        let changes = undo(&seen, &known);
        self.applied = None;
        self.kernel.apply(&changes)?;
        self.begun.clear();
        Ok(changes)
    }

    /// When it will look again by itself, if it is asked then.
    pub fn next_look(&self) -> Option<Instant> {
        let looked = self.looked?;
        let nanos = u64::try_from(self.resync.as_nanos()).unwrap_or(u64::MAX);
        Some(Instant::from_nanos(looked.as_nanos().saturating_add(nanos)))
    }
}

#[cfg(test)]
mod tests {
    use kubenet_core::network::Network;
    use kubenet_core::plan::{MachineId, PlanSource as _};

    use super::*;
    use crate::{Fake, Flaky};

    fn plan() -> MachinePlan {
        let network = Network::from_text("shop.yaml", include_str!("../../examples/shop.yaml"));
        (*network.plans().machine(MachineId(0)).expect("a node")).clone()
    }

    fn at(secs: u64) -> Instant {
        Instant::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn a_steady_machine_is_only_changed_by_what_differs() {
        let mut plan = plan();
        let mut agent = Agent::new(Fake::new("node-1"), Duration::from_secs(30));
        let first = agent.step(&plan, at(0), Reason::Plan).expect("applied");
        assert!(first.observed && first.changes > 100, "{first:?}");
        assert_eq!(
            agent.step(&plan, at(1), Reason::Plan).expect("applied"),
            Step { changes: 0, observed: false }
        );
        plan.netns[0].sysctls.rp_filter = 1;
        assert_eq!(
            agent.step(&plan, at(2), Reason::Plan).expect("applied"),
            Step { changes: 1, observed: false }
        );
    }

    #[test]
    fn what_others_undid_is_done_again_when_the_time_has_come() {
        let plan = plan();
        let mut agent = Agent::new(Fake::new("node-1"), Duration::from_secs(30));
        agent.step(&plan, at(0), Reason::Plan).expect("applied");
        agent.kernel.plan.netns[0].sysctls.ip_forward = false;
        assert_eq!(
            agent.step(&plan, at(29), Reason::Plan).expect("applied"),
            Step { changes: 0, observed: false }
        );
        assert_eq!(agent.next_look(), Some(at(30)));
        assert_eq!(
            agent.step(&plan, at(30), Reason::Plan).expect("applied"),
            Step { changes: 1, observed: true }
        );
        agent.kernel.plan.netns[0].sysctls.ip_forward = false;
        assert_eq!(
            agent.step(&plan, at(31), Reason::Resync).expect("applied"),
            Step { changes: 1, observed: true }
        );
    }

    #[test]
    fn after_an_error_the_machine_is_looked_at_and_the_rest_is_done() {
        let plan = plan();
        let mut agent = Agent::new(Flaky::new(Fake::new("node-1"), 50), Duration::from_secs(30));
        agent.step(&plan, at(0), Reason::Plan).expect_err("it fails");
        let second = agent.step(&plan, at(1), Reason::Plan).expect("applied");
        assert!(second.observed && second.changes > 50, "{second:?}");
        agent.undo(&plan).expect("undone");
        assert_eq!(agent.kernel.kernel.plan.netns.len(), 1);
    }
}
