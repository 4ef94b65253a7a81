//! The switch: what the cards of the lab's machines are plugged into.
//!
//! In: the segments of a plan. Out: one namespace with a bridge for each of them, and for each card a cable: the other end of a veth
//! pair, a port of the segment's bridge. A bridge has its segment's MTU, so what is larger is lost without a word, as there.

use std::path::Path;
use std::sync::Arc;

use kubenet_core::addr::MacAddr;
use kubenet_core::identity::identity;
use kubenet_core::plan::{
    Link, LinkKind, MachineKind, MachinePlan, Netns as NetnsPlan, Origin, PlanSource, Segment, SegmentId,
    diff,
};

use super::LabError;
use crate::netns::Netns;
use crate::{Cable, Kernel as _, Netlink, NoWiring, Others, Wiring};

/// The name of its namespace.
pub(super) const SWITCH: &str = "switch";
/// How long a bridge remembers where a station is, in seconds: the kernel's default.
const AGEING_SECS: u32 = 300;

/// The namespace with the bridges.
#[derive(Debug)]
pub(super) struct Switch {
    netns: Arc<Netns>,
    kernel: Netlink,
    plan: MachinePlan,
}

impl Switch {
    /// An empty one. The namespace is mounted in the folder.
    pub(super) fn new(folder: &Path) -> Result<Self, LabError> {
        let path = folder.join(SWITCH);
        let failed = |error| LabError::Netns { name: SWITCH.into(), error };
        let host = Netns::named(&path).map_err(failed)?;
        let netns = Arc::new(Netns::open(&path).map_err(failed)?);
        let others = Others { folder: folder.into(), prefix: String::new() };
        let mut kernel = Netlink::new(SWITCH, host, others, Box::new(NoWiring));
        let origin = Origin::implied("the lab's switch");
        let plan = MachinePlan {
            name: SWITCH.into(),
            kind: MachineKind::Gateway,
            netns: vec![NetnsPlan::new("", origin.clone())],
            origin,
        };
        kernel.apply(&diff(None, &plan)).map_err(|error| LabError::machine(SWITCH, error))?;
        Ok(Self { netns, kernel, plan })
    }

    /// Sees to it that there is a bridge for each segment that a machine's cards are plugged into.
    pub(super) fn add_segments(
        &mut self,
        plans: &dyn PlanSource,
        machine: &MachinePlan,
    ) -> Result<(), LabError> {
        let mut plan = self.plan.clone();
        let Some(host) = plan.netns.first_mut() else { return Ok(()) };
        for id in segments(machine) {
            let name = bridge(id);
            if host.link_named(&name).is_some() {
                continue;
            }
            let Some(segment) = plans.segment(id) else { continue };
            host.links.push(bridge_of(&segment, &name));
        }
        if plan == self.plan {
            return Ok(());
        }
        let changes = diff(Some(&self.plan), &plan);
        self.kernel.apply(&changes).map_err(|error| LabError::machine(SWITCH, error))?;
        self.plan = plan;
        Ok(())
    }

    /// The cables of a machine.
    pub(super) fn wiring(&self, machine: &str) -> Cables {
        Cables { switch: self.netns.clone(), machine: machine.into() }
    }

    pub(super) const fn netns(&self) -> &Arc<Netns> {
        &self.netns
    }
}

/// The segments that a machine's cards are plugged into.
fn segments(machine: &MachinePlan) -> Vec<SegmentId> {
    let of = |link: &Link| match &link.kind {
        LinkKind::Nic { segment } => *segment,
        LinkKind::Loopback
        | LinkKind::Veth { .. }
        | LinkKind::Bridge { .. }
        | LinkKind::Vxlan(_)
        | LinkKind::Dummy
        | LinkKind::Other(_) => None,
    };
    let mut all: Vec<SegmentId> =
        machine.netns.iter().flat_map(|netns| netns.links.iter().filter_map(of)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether the segments of a machine can be made.
pub(super) fn check(plans: &dyn PlanSource, machine: &MachinePlan) -> Result<(), LabError> {
    for segment in segments(machine).into_iter().filter_map(|id| plans.segment(id)) {
        if let Some(unknown) = segment.opaque {
            return Err(LabError::Opaque { segment: segment.name, why: unknown.why });
        }
    }
    Ok(())
}

fn bridge_of(segment: &Segment, name: &str) -> Link {
    let kind = LinkKind::Bridge { ageing_secs: AGEING_SECS };
    let mac = MacAddr::local_from_hash(identity(&["segment", name]));
    Link::new(name, kind, mac, segment.mtu_bytes, segment.origin.clone())
}

fn bridge(id: SegmentId) -> String {
    format!("br{}", id.0)
}

/// Where a machine's cards are plugged in.
#[derive(Debug)]
pub(super) struct Cables {
    switch: Arc<Netns>,
    machine: Arc<str>,
}

impl Wiring for Cables {
    fn plug(&self, netns: &str, link: &Link, segment: SegmentId) -> Option<Cable> {
        let hash = identity(&["port", &self.machine, netns, &link.name]);
        // A name of a link has at most 15 bytes.
        let name = format!("p{:013x}", hash >> 12);
        Some(Cable { netns: self.switch.clone(), name, bridge: Some(bridge(segment)) })
    }
}
