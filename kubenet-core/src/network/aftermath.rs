//! What a packet and its answer leave behind: neighbours, forwarding entries and connections.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::question::{LookedUp, prepare_one};
use super::{AskError, Network, Question};
use crate::dataplane::{self, Machine, Pinned, Probability, Seeded, World};
use crate::plan::{ConntrackEntry, FdbEntry, Neighbour, PlanSource};
use crate::time::Instant;
use crate::trace::{Chance, RunError, Trace, attempt};

/// The tables of one namespace when a trace is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tables {
    /// The machine.
    pub machine: Arc<str>,
    /// The namespace there; empty for the machine's own.
    pub netns: Arc<str>,
    /// As `ip neigh` shows it.
    pub neighbours: Vec<Neighbour>,
    /// As `bridge fdb` shows it, learned entries and those of the plan.
    pub fdb: Vec<FdbEntry>,
    /// As `conntrack -L` shows it.
    pub conntrack: Vec<ConntrackEntry>,
}

/// Traces one way that chance can fall, through other plans if there are any, up to a moment at most; and tells what the machines
/// that were met hold at its end.
pub(super) fn aftermath(
    network: &Network,
    through: Option<&dyn PlanSource>,
    question: &Question,
    until: Instant,
) -> Result<(Trace, Vec<Tables>), AskError> {
    let prepared = match prepare_one(network, question)? {
        LookedUp::Ready(prepared) => prepared,
        LookedUp::Answered(trace) => return Ok((*trace, Vec::new())),
    };
    let (seed, pins) = match &question.chance {
        Chance::Seeded { seed, pins } => (*seed, pins.clone()),
        Chance::Explored { .. } => (0, alloc::collections::BTreeMap::new()),
    };
    let mut choices = Pinned { pins, rest: Seeded(seed) };
    let most = dataplane::Limits::default();
    let limits = dataplane::Limits { steps: question.limits.steps, until: until.min(most.until) };
    let cluster = network.cluster();
    let plans = prepared.plans.clone();
    let mut world = World::new(through.unwrap_or(&plans));
    let done = attempt(&mut world, cluster, &prepared.request, None, &mut choices, limits, &|| false);
    let case = match done {
        Ok((case, _)) => case,
        Err(RunError::Cancelled) => return Err(AskError::Cancelled),
        Err(error @ (RunError::NoMachine(_) | RunError::NoConnection)) => {
            return Err(AskError::From(super::question::unusable(&question.from, error.to_string())));
        }
    };
    let now = world.now();
    let tables = world.awake().flat_map(|(_, machine)| tables(machine, now)).collect();
    Ok((prepared.finish(cluster, Vec::from([case]), Probability::ZERO), tables))
}

fn tables(machine: &Machine, now: Instant) -> Vec<Tables> {
    let plan = machine.plan();
    let of = |place: u32, netns: &crate::plan::Netns| Tables {
        machine: plan.name.clone(),
        netns: netns.name.clone(),
        neighbours: machine.neighbours(place),
        fdb: machine.fdb(place),
        conntrack: machine.conntrack(place, now),
    };
    (0_u32..).zip(&plan.netns).map(|(place, netns)| of(place, netns)).collect()
}
