//! The plans that the model is asked with: those of the network, as far as they leave nothing open that the kernel decides.

use std::net::IpAddr;
use std::sync::Arc;

use kubenet_core::compile::Plans;
use kubenet_core::network::Network;
use kubenet_core::plan::{
    Audience, MachineId, MachinePlan, PlanSource, Segment, SegmentId, Station, Undeclared,
};

/// The plans of a network with hosts outside, and the place of the next hop that flows take.
pub(super) fn quiet(network: &Network, outside: &[IpAddr], hop: usize) -> Quiet {
    let plans = outside.iter().fold(network.plans(), |plans, addr| plans.with_outside(*addr));
    Quiet { plans, hop, redirects: true }
}

/// The most next hops that a route has.
pub(super) fn most_hops(plans: &Plans) -> usize {
    let machines = (0..plans.machine_count()).filter_map(|id| plans.machine(MachineId(id)));
    let hops = |machine: Arc<MachinePlan>| {
        let routes = machine.netns.iter().flat_map(|netns| &netns.routes);
        routes.map(|route| route.next_hops.len()).max().unwrap_or(1)
    };
    machines.map(hops).max().unwrap_or(1).max(1)
}

/// Machines on which only those processes run that the plan names: where the plan leaves open whether anybody listens, nobody does.
///
/// Where a route has several next hops, a flow takes one by a hash with a secret of the kernel: here it is one of each by its place.
#[derive(Debug)]
pub(super) struct Quiet {
    pub(super) plans: Plans,
    hop: usize,
    redirects: bool,
}

impl Quiet {
    /// The same, where no router tells a sender of a shorter way.
    pub(super) const fn without_redirects(mut self) -> Self {
        self.redirects = false;
        self
    }
}

impl PlanSource for Quiet {
    fn machine_count(&self) -> u32 {
        self.plans.machine_count()
    }

    fn machine(&self, id: MachineId) -> Option<Arc<MachinePlan>> {
        let mut machine = self.plans.machine(id)?;
        for netns in &mut Arc::make_mut(&mut machine).netns {
            netns.undeclared = Undeclared::Closed;
            netns.sysctls.send_redirects &= self.redirects;
            for route in netns.routes.iter_mut().filter(|route| route.next_hops.len() > 1) {
                let place = self.hop % route.next_hops.len();
                route.next_hops = route.next_hops.get(place).cloned().into_iter().collect();
            }
        }
        Some(machine)
    }

    fn machine_named(&self, name: &str) -> Option<MachineId> {
        self.plans.machine_named(name)
    }

    fn segment(&self, id: SegmentId) -> Option<Segment> {
        self.plans.segment(id)
    }

    fn stations(&self, segment: SegmentId, audience: Audience) -> Vec<Station> {
        self.plans.stations(segment, audience)
    }
}
