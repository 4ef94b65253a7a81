//! Runs a request through the dataplane, once or for every way that chance can fall.

use alloc::vec::Vec;
use core::cell::Cell;
use core::net::IpAddr;

use super::judge::{Judge, same_answer};
use super::{Case, Experience};
use crate::addr::Protocol;
use crate::cluster::Cluster;
use crate::dataplane::{
    Choices, Client, ClientId, Event, EventId, EventKind, Flow, FlowId, FlowKind, Limits, Log, Notice,
    NoticeKind, Pinned, Probability, Recorder, Script, Seeded, Stopped, World, explore,
};
use crate::plan::{MachineId, PlanSource};
use crate::time::Instant;

/// What is sent, from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The machine of the process that sends.
    pub machine: MachineId,
    /// Its namespace there.
    pub netns: u32,
    /// The transport.
    pub protocol: Protocol,
    /// The source address to bind; the route chooses when `None`.
    pub src: Option<IpAddr>,
    /// The source port, or the identifier of an echo request.
    pub sport: u16,
    /// The destination.
    pub dst: IpAddr,
    /// The destination port.
    pub dport: u16,
    /// Bytes of payload; for TCP they are sent once the connection is up.
    pub payload: u16,
    /// Where it should arrive, if that is known: anywhere else is the wrong peer.
    pub intended: Option<(MachineId, u32)>,
    /// The most bytes of frames that a run records; beyond, the answer is not known.
    pub most_bytes: usize,
}

/// How chance falls.
#[derive(Clone, Debug)]
pub enum Chance {
    /// As a die that falls the same way for the same seed, but for the points that are pinned.
    Seeded {
        /// The seed.
        seed: u64,
        /// Point names with the index to pick.
        pins: alloc::collections::BTreeMap<alloc::string::String, usize>,
    },
    /// Every way, likeliest first, at most so many.
    Explored {
        /// The most runs.
        branches: usize,
    },
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The caller's cancel check said so.
    #[error("the trace was cancelled")]
    Cancelled,
    /// There is no such machine.
    #[error("machine {} does not exist", .0.0)]
    NoMachine(MachineId),
    /// The client has no connection any more.
    #[error("the connection is closed")]
    NoConnection,
}

/// Sends the request and tells what becomes of it. Cases that come to the same are merged.
///
/// # Errors
///
/// [`RunError::Cancelled`] when `cancelled` says so (it is asked every 256 frames), [`RunError::NoMachine`].
pub fn run<P: PlanSource + ?Sized>(
    plans: &P,
    cluster: &Cluster,
    request: &Request,
    chance: &Chance,
    limits: Limits,
    cancelled: &dyn Fn() -> bool,
) -> Result<(Vec<Case>, Probability), RunError> {
    match chance {
        Chance::Seeded { seed, pins } => {
            let mut choices =
                Noted { inner: Pinned { pins: pins.clone(), rest: Seeded(*seed) }, taken: Vec::new() };
            let mut case = once(plans, cluster, request, &mut choices, limits, cancelled)?;
            case.choices = choices.taken;
            Ok((Vec::from([case]), Probability::ZERO))
        }
        Chance::Explored { branches } => {
            let mut failed = None;
            let found = explore(*branches, |script: &mut Script| {
                if failed.is_some() {
                    return None;
                }
                match once(plans, cluster, request, script, limits, cancelled) {
                    Ok(case) => Some(case),
                    Err(error) => {
                        failed = Some(error);
                        None
                    }
                }
            });
            if let Some(error) = failed {
                return Err(error);
            }
            let mut cases: Vec<Case> = Vec::new();
            for (probability, taken, case) in found.runs {
                let Some(case) = case else { continue };
                let case = Case { probability, choices: taken, ..case };
                match cases.iter_mut().find(|other| same_answer(other, &case)) {
                    Some(other) => other.probability = other.probability.plus(probability),
                    None => cases.push(case),
                }
            }
            cases.sort_by_key(|case| core::cmp::Reverse(case.probability));
            Ok((cases, found.unexplored))
        }
    }
}

/// Remembers what was picked.
struct Noted<C> {
    inner: C,
    taken: Vec<crate::dataplane::Taken>,
}

impl<C: Choices> Choices for Noted<C> {
    fn pick(&mut self, point: core::fmt::Arguments<'_>, weights: &[u64]) -> usize {
        let index = self.inner.pick(point, weights);
        let total = weights.iter().map(|weight| u128::from(*weight)).sum();
        let share = weights.get(index).copied().map_or(0, u128::from);
        self.taken.push(crate::dataplane::Taken {
            point: alloc::string::ToString::to_string(&point),
            index,
            of: weights.len(),
            probability: Probability::new(share, total),
        });
        index
    }
}

/// A log that tells when the packet's fate becomes unknown, so that the run can end.
struct Watched<'c> {
    log: Log,
    lost: &'c Cell<bool>,
    /// Bytes that may still be recorded.
    room: usize,
    full: &'c Cell<bool>,
}

impl Recorder for Watched<'_> {
    const ON: bool = true;

    fn flow(&mut self, flow: Flow) -> FlowId {
        self.log.flow(flow)
    }

    fn event(&mut self, event: impl FnOnce() -> Event, frame: &[u8]) -> EventId {
        let id = self.log.event(event, frame);
        match self.room.checked_sub(frame.len()) {
            Some(room) => self.room = room,
            None => self.full.set(true),
        }
        if let Some(event) = self.log.events().last()
            && matches!(event.kind, EventKind::Unknown(_))
            && let Some(flow) = self.log.flows().get(event.flow.0 as usize)
            && flow.kind != FlowKind::Neighbour
        {
            self.lost.set(true);
        }
        id
    }
}

fn once<P: PlanSource + ?Sized, C: Choices>(
    plans: &P,
    cluster: &Cluster,
    request: &Request,
    choices: &mut C,
    limits: Limits,
    cancelled: &dyn Fn() -> bool,
) -> Result<Case, RunError> {
    let mut world = World::new(plans);
    attempt(&mut world, cluster, request, None, choices, limits, cancelled).map(|(case, _)| case)
}

/// Sends the request in a world where things may have happened before, and tells what becomes of it. With a client the
/// request is one more packet on the connection that it has.
pub(crate) fn attempt<P: PlanSource + ?Sized, C: Choices>(
    world: &mut World<'_, P>,
    cluster: &Cluster,
    request: &Request,
    client: Option<ClientId>,
    choices: &mut C,
    limits: Limits,
    cancelled: &dyn Fn() -> bool,
) -> Result<(Case, ClientId), RunError> {
    let (lost, full) = (Cell::new(false), Cell::new(false));
    let mut log = Watched { log: Log::default(), lost: &lost, room: request.most_bytes, full: &full };
    let began = world.now();
    let no_machine = RunError::NoMachine(request.machine);
    while world.poll_notice().is_some() {}
    let id = match client {
        Some(id) => {
            let there = (request.netns, id);
            if !world.send(request.machine, there, request.payload, choices, &mut log) {
                return Err(RunError::NoConnection);
            }
            id
        }
        None => {
            let client = Client {
                netns: request.netns,
                protocol: request.protocol,
                src: request.src,
                sport: request.sport,
                dst: request.dst,
                dport: request.dport,
                payload: request.payload,
            };
            world.open(request.machine, client, choices, &mut log).ok_or(no_machine)?
        }
    };
    let mut notices: Vec<Notice> = Vec::new();
    let wants_data = request.protocol == Protocol::Tcp && request.payload > 0;
    let limits = Limits { until: began + limits.until.saturating_since(Instant::START), ..limits };
    let stopped = {
        let mut done = |world: &mut World<'_, P>| {
            while let Some((machine, notice)) = world.poll_notice() {
                if machine == request.machine && notice.client == id {
                    notices.push(notice);
                }
            }
            // Who is connected to a relay is not at a backend yet.
            let is_over = notices.iter().any(|notice| is_final(notice, id, wants_data));
            lost.get() || is_over && !world.is_relaying()
        };
        let stop = || full.get() || cancelled();
        let stopped = world.run(limits, choices, &mut log, &mut done, &stop);
        done(world);
        stopped
    };
    if stopped == Stopped::Cancelled && !full.get() {
        return Err(RunError::Cancelled);
    }
    let client = notices
        .iter()
        .map(|notice| Experience { at: notice.at, text: alloc::string::ToString::to_string(&notice.kind) });
    let client = client.collect();
    let judge = Judge { cluster, request, world, log: &log.log };
    Ok((judge.case(&notices, client, stopped), id))
}

fn is_final(notice: &Notice, client: ClientId, wants_data: bool) -> bool {
    notice.client == client
        && match notice.kind {
            NoticeKind::Connected => !wants_data,
            NoticeKind::Answered
            | NoticeKind::Refused
            | NoticeKind::Reset
            | NoticeKind::Closed
            | NoticeKind::Failed(_)
            | NoticeKind::TimedOut => true,
        }
}
