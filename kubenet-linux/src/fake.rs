//! Machines in memory, and machines that fail.

use kubenet_core::origin::Origin;
use kubenet_core::plan::{Change, MachineKind, MachinePlan, Netns, What, apply};
use kubenet_core::text::nft::settle;

use crate::kernel::{Error, Kernel, Observe};
use crate::own::ours;

/// A machine in memory. What is done to it carries the mark of kubenet, as on a kernel; what is put into [`Self::plan`] by hand does not.
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
        for change in changes {
            let change = Change { what: marked(&change.what), ..change.clone() };
            apply(&mut self.plan, &change);
            mark(&mut self.plan, &change);
        }
        Ok(())
    }
}

/// The same with our mark on what is made, and rules as a kernel lists them.
fn marked(what: &What) -> What {
    let mut what = what.clone();
    match &mut what {
        What::AddLink { link, peer } => {
            link.origin = ours();
            peer.iter_mut().for_each(|peer| peer.link.origin = ours());
        }
        What::AddRoute(route) => route.origin = ours(),
        What::AddRule(rule) => rule.origin = ours(),
        What::AddNeighbour(neighbour) => neighbour.origin = ours(),
        What::Nft(change) => settle(&mut change.added),
        _ => {}
    }
    what
}

/// Marks what a change does not bring with an origin of its own.
fn mark(plan: &mut MachinePlan, change: &Change) {
    let Some(netns) = plan.netns.iter_mut().find(|netns| netns.name == change.netns) else { return };
    match &change.what {
        What::AddNetns => netns.origin = ours(),
        What::AddAddress { link, net, .. } => {
            let link = netns.links.iter_mut().filter(|other| other.name == *link);
            let added = link.flat_map(|link| &mut link.addresses).filter(|address| address.net == *net);
            added.for_each(|address| address.origin = ours());
        }
        _ => {}
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
