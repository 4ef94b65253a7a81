//! Machines in memory, and machines that fail.

use kubenet_core::origin::Origin;
use kubenet_core::plan::{Change, MachineKind, MachinePlan, Netns, apply};

use crate::kernel::{Error, Kernel, Observe};

/// A machine in memory.
#[derive(Clone, Debug)]
pub struct Fake {
    /// What it holds.
    pub plan: MachinePlan,
}

impl Fake {
    /// One with nothing in it but its own namespace.
    pub fn new(machine: &str) -> Self {
        let origin = Origin::implied("a machine in memory");
        let mut netns = Netns::new("", origin.clone());
        netns.links.iter_mut().for_each(|lo| lo.up = false);
        let kind = MachineKind::Node;
        Self { plan: MachinePlan { name: machine.into(), kind, netns: vec![netns], origin } }
    }
}

impl Observe for Fake {
    fn observe(&mut self) -> Result<MachinePlan, Error> {
        Ok(self.plan.clone())
    }
}

impl Kernel for Fake {
    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        changes.iter().for_each(|change| apply(&mut self.plan, change));
        Ok(())
    }
}

/// A machine that does so many changes and then fails.
#[derive(Debug)]
pub struct Flaky<K> {
    /// The machine.
    pub kernel: K,
    /// How many changes it does yet; `None`: it never fails.
    pub left: Option<usize>,
}

impl<K> Flaky<K> {
    /// A machine that fails after this many changes.
    pub const fn new(kernel: K, left: usize) -> Self {
        Self { kernel, left: Some(left) }
    }
}

impl<K: Observe> Observe for Flaky<K> {
    fn observe(&mut self) -> Result<MachinePlan, Error> {
        self.kernel.observe()
    }
}

impl<K: Kernel> Kernel for Flaky<K> {
    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        let Some(left) = self.left else { return self.kernel.apply(changes) };
        if left >= changes.len() {
            self.left = Some(left - changes.len());
            return self.kernel.apply(changes);
        }
        self.left = None;
        self.kernel.apply(changes.get(..left).unwrap_or(changes))?;
        Err(Error::Flaky(left))
    }

    fn can(&self, change: &Change) -> bool {
        self.kernel.can(change)
    }
}
