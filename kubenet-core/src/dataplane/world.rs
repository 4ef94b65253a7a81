//! The fabric: carries frames between machines over segments, on virtual time.
//!
//! In: a [`PlanSource`], which is asked only for the machines that a frame meets. A segment is an ideal learning
//! switch. A frame for everyone goes only to stations that could answer or change state: the owners of the address
//! that is asked for (through the source's index) and every machine that is awake; that this equals full flooding is a
//! property test ([`World::flood_everyone`]).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::choices::Choices;
use super::event::{Event, EventId, EventKind, Flow, FlowKind, Place, Recorder, Stage};
use super::frame::Skb;
use super::machine::{Machine, Transmit};
use super::netns::Map;
use super::reason::DropReason;
use super::socket::{Client, ClientId, Notice};
use crate::addr::MacAddr;
use crate::packet;
use crate::plan::{Audience, LinkKind, MachineId, PlanSource, Segment, SegmentId, Station};
use crate::time::Instant;

/// How much a run may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames carried between machines.
    pub steps: u64,
    /// The end of virtual time.
    pub until: Instant,
}

impl Default for Limits {
    /// 100,000 frames, ten minutes.
    fn default() -> Self {
        Self { steps: 100_000, until: Instant::from_nanos(600_000_000_000) }
    }
}

/// Why a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing is left to happen.
    Idle,
    /// The caller's condition holds.
    Done,
    /// Time is up.
    Time,
    /// Too many frames: something goes in circles.
    Steps,
    /// The caller asked to stop.
    Cancelled,
}

#[derive(Debug)]
struct SegmentState {
    plan: Segment,
    learned: Map<MacAddr, (MachineId, u32, u32)>,
}

/// Machines, cables and a clock.
pub struct World<'p, P: PlanSource + ?Sized> {
    plans: &'p P,
    machines: BTreeMap<MachineId, Machine>,
    segments: Map<SegmentId, SegmentState>,
    wire: VecDeque<(MachineId, Transmit)>,
    notices: VecDeque<(MachineId, Notice)>,
    now: Instant,
    flood_everyone: bool,
    steps: u64,
    overrun: bool,
}

impl<P: PlanSource + ?Sized> core::fmt::Debug for World<'_, P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now)
            .field("awake", &self.machines.len())
            .finish_non_exhaustive()
    }
}

impl<'p, P: PlanSource + ?Sized> World<'p, P> {
    /// A world in which nothing has happened yet.
    pub fn new(plans: &'p P) -> Self {
        Self {
            plans,
            machines: BTreeMap::new(),
            segments: Map::default(),
            wire: VecDeque::new(),
            notices: VecDeque::new(),
            now: Instant::START,
            flood_everyone: false,
            steps: 0,
            overrun: false,
        }
    }

    /// Broadcasts reach every station, as on a real switch. Costs O(stations) per broadcast.
    pub const fn flood_everyone(&mut self) {
        self.flood_everyone = true;
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The machines that were met so far.
    pub fn awake(&self) -> impl Iterator<Item = (MachineId, &Machine)> {
        self.machines.iter().map(|(id, machine)| (*id, machine))
    }

    /// Whether a relay of a machine still looks for a backend for somebody, or hangs up on him.
    pub fn is_relaying(&self) -> bool {
        self.machines.values().any(Machine::is_relaying)
    }

    /// What a segment is, if it was met.
    pub fn segment(&self, id: SegmentId) -> Option<&Segment> {
        self.segments.get(&id).map(|s| &s.plan)
    }

    /// A machine, woken if need be.
    pub fn machine(&mut self, id: MachineId) -> Option<&mut Machine> {
        if !self.machines.contains_key(&id) {
            self.machines.insert(id, Machine::new(id, self.plans.machine(id)?));
        }
        self.machines.get_mut(&id)
    }

    /// A process on a machine opens a connection or sends a datagram.
    pub fn open<C: Choices, R: Recorder>(
        &mut self,
        id: MachineId,
        client: Client,
        choices: &mut C,
        log: &mut R,
    ) -> Option<ClientId> {
        let now = self.now;
        let client = self.machine(id)?.open(now, client, choices, log);
        self.drain(id);
        Some(client)
    }

    /// Feeds a frame into a link of a machine, as if it came from a cable or the other end of a pair.
    pub fn inject<C: Choices, R: Recorder>(
        &mut self,
        id: MachineId,
        (netns, link): (u32, u32),
        bytes: Vec<u8>,
        choices: &mut C,
        log: &mut R,
    ) {
        let flow = log.flow(Flow { kind: FlowKind::Injected, cause: EventId::NONE });
        let now = self.now;
        if let Some(machine) = self.machine(id) {
            machine.handle_frame(now, (netns, link), Skb::new(bytes, flow, EventId::NONE), choices, log);
            self.drain(id);
        }
    }

    /// The same world under other plans: machines are known again by their names, and keep what they have learned. A machine that
    /// is not there any more is gone with all that it knew.
    pub fn onto<'q, Q: PlanSource + ?Sized>(self, plans: &'q Q) -> World<'q, Q> {
        World {
            plans,
            machines: under(plans, self.machines),
            segments: Map::default(),
            wire: VecDeque::new(),
            notices: VecDeque::new(),
            now: self.now,
            flood_everyone: self.flood_everyone,
            steps: 0,
            overrun: false,
        }
    }

    /// The machines and the time, to go on with later ([`World::with_parked`]). Frames under way are lost.
    pub fn park(self) -> Parked {
        Parked { machines: self.machines, now: self.now }
    }

    /// Goes on with parked machines: they are known again by their names, and keep what they have learned.
    #[must_use]
    pub fn with_parked(mut self, parked: Parked) -> Self {
        self.machines = under(self.plans, parked.machines);
        self.now = parked.now;
        self
    }

    /// Lets time pass to a later moment, and nothing else happen but what is due.
    pub fn wait_until<C: Choices, R: Recorder>(&mut self, at: Instant, choices: &mut C, log: &mut R) {
        self.steps = 0;
        let limits = Limits { until: at, ..Limits::default() };
        self.run(limits, choices, log, |_| false, &|| false);
        self.now = self.now.max(at);
    }

    /// A client of a machine sends again on the connection that it has. False when it has none any more.
    pub fn send<C: Choices, R: Recorder>(
        &mut self,
        id: MachineId,
        client: (u32, ClientId),
        payload: u16,
        choices: &mut C,
        log: &mut R,
    ) -> bool {
        let now = self.now;
        let Some(machine) = self.machine(id) else { return false };
        let sent = machine.send(now, client, payload, choices, log);
        self.drain(id);
        sent
    }

    /// Takes the next thing that a socket lived through.
    pub fn poll_notice(&mut self) -> Option<(MachineId, Notice)> {
        self.notices.pop_front()
    }

    /// Carries frames and lets time pass until nothing is left, a limit is reached, or `done` says so. `done` is
    /// asked when no frame is under way, before time moves on; `cancelled` every 256 frames.
    pub fn run<C: Choices, R: Recorder>(
        &mut self,
        limits: Limits,
        choices: &mut C,
        log: &mut R,
        mut done: impl FnMut(&mut Self) -> bool,
        cancelled: &dyn Fn() -> bool,
    ) -> Stopped {
        loop {
            while let Some((from, transmit)) = self.wire.pop_front() {
                self.steps += 1;
                if self.steps > limits.steps || self.overrun {
                    return Stopped::Steps;
                }
                if self.steps.is_multiple_of(256) && cancelled() {
                    return Stopped::Cancelled;
                }
                self.carry(from, transmit, choices, log);
            }
            if self.overrun {
                return Stopped::Steps;
            }
            if done(self) {
                return Stopped::Done;
            }
            if cancelled() {
                return Stopped::Cancelled;
            }
            let next = self.machines.iter().filter_map(|(id, m)| Some((m.poll_timeout()?.0, *id))).min();
            let Some((at, id)) = next else { return Stopped::Idle };
            if at > limits.until {
                return Stopped::Time;
            }
            self.now = self.now.max(at);
            let now = self.now;
            if let Some(machine) = self.machines.get_mut(&id) {
                machine.handle_timeout(now, choices, log);
            }
            self.drain(id);
        }
    }

    fn drain(&mut self, id: MachineId) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        while let Some(transmit) = machine.poll_transmit() {
            self.wire.push_back((id, transmit));
        }
        while let Some(notice) = machine.poll_notice() {
            self.notices.push_back((id, notice));
        }
        self.overrun |= machine.overrun();
    }

    fn carry<C: Choices, R: Recorder>(
        &mut self,
        from: MachineId,
        sent: Transmit,
        choices: &mut C,
        log: &mut R,
    ) {
        let Transmit { netns, link, segment, frame: mut skb } = sent;
        if !self.segments.contains_key(&segment) {
            let Some(plan) = self.plans.segment(segment) else { return };
            self.segments.insert(segment, SegmentState { plan, learned: Map::default() });
        }
        let Some(state) = self.segments.get_mut(&segment) else { return };
        let source = packet::source_mac(&skb.bytes);
        let opaque = state.plan.opaque.clone();
        if !source.is_multicast() && opaque.is_none() {
            state.learned.insert(source, (from, netns, link));
        }
        let mtu = state.plan.mtu_bytes;
        let to = packet::destination_mac(&skb.bytes);
        let known = if to.is_multicast() { None } else { state.learned.get(&to).copied() };
        let mut note = |skb: &mut Skb, now: Instant, what: EventKind| {
            if R::ON {
                let (flow, before) = (skb.flow, skb.last);
                let place = Place::Segment(segment);
                let event =
                    Event { flow, before, at: now, place, stage: Stage::Switch, kind: what, origin: None };
                skb.last = log.event(|| event, &skb.bytes);
            }
        };
        if skb.ip().is_some_and(|ip| u32::from(ip.len) > mtu) {
            let why = alloc::format!("larger than the MTU of the switch ({mtu}); a switch sends no ICMP");
            note(&mut skb, self.now, EventKind::Dropped { reason: DropReason::PktTooBig, why });
            return;
        }
        let (targets, flooded): (Vec<(MachineId, u32, u32)>, bool) = match known {
            Some(target) => (Vec::from([target]), false),
            None => self.targets(segment, opaque.is_some(), &skb, (from, netns, link)),
        };
        if targets.is_empty() && !to.is_multicast() {
            // What is behind a segment whose inside is not known, is not known either.
            if let Some(unknown) = opaque {
                note(&mut skb, self.now, EventKind::Unknown(unknown));
                return;
            }
            let why = alloc::format!("no station of the switch has {to}");
            note(&mut skb, self.now, EventKind::Dropped { reason: DropReason::NotSpecified, why });
            return;
        }
        if R::ON {
            let kind = if flooded || targets.len() != 1 {
                EventKind::Flooded { ports: targets.len() as u32 }
            } else {
                let name =
                    targets.first().and_then(|t| self.machine_name(t.0)).unwrap_or_else(|| Arc::from("?"));
                EventKind::Forwarded { port: name }
            };
            note(&mut skb, self.now, kind);
        }
        let last = targets.len().saturating_sub(1);
        let now = self.now;
        let mut skb = Some(skb);
        for (place, (id, netns, link)) in targets.into_iter().enumerate() {
            let copy = if place == last { skb.take() } else { skb.clone() };
            let (Some(mut copy), Some(machine)) = (copy, self.machine(id)) else { continue };
            copy.nesting = 0;
            machine.handle_frame(now, (netns, link), copy, choices, log);
            self.drain(id);
        }
    }

    fn machine_name(&mut self, id: MachineId) -> Option<Arc<str>> {
        self.machine(id).map(|m| m.plan().name.clone())
    }

    /// Whom a frame goes to that is not for a learned station; and whether it was for everyone.
    fn targets(
        &mut self,
        segment: SegmentId,
        opaque: bool,
        skb: &Skb,
        from: (MachineId, u32, u32),
    ) -> (Vec<(MachineId, u32, u32)>, bool) {
        let to = packet::destination_mac(&skb.bytes);
        let asked = skb.view.as_ref().ok().and_then(|view| packet::asked_address(&skb.bytes, view));
        let audience = match (opaque, to.is_multicast(), asked) {
            (true, ..) => skb.ip().map_or(Audience::Everyone, |ip| Audience::Address(ip.dst)),
            (false, true, Some(target)) if !self.flood_everyone => Audience::Address(target),
            (false, true, _) => Audience::Everyone,
            (false, false, _) if self.flood_everyone => Audience::Everyone,
            (false, false, _) => Audience::Mac(to),
        };
        let mut targets: Vec<_> = self
            .plans
            .stations(segment, audience)
            .into_iter()
            .filter_map(|station| self.place_of(&station))
            .collect();
        if to.is_multicast() && matches!(audience, Audience::Address(_)) && !opaque {
            self.add_awake(segment, &mut targets);
        }
        targets.sort_unstable();
        targets.dedup();
        targets.retain(|t| *t != from);
        (targets, to.is_multicast())
    }

    fn place_of(&mut self, station: &Station) -> Option<(MachineId, u32, u32)> {
        let machine = self.machine(station.machine)?;
        let netns = machine.plan().netns.get(station.netns as usize)?;
        let (link, _) = netns.link_named(&station.link)?;
        Some((station.machine, station.netns, link as u32))
    }

    /// Machines that are awake may hold a neighbour entry that a question refreshes.
    fn add_awake(&self, segment: SegmentId, targets: &mut Vec<(MachineId, u32, u32)>) {
        for (id, machine) in &self.machines {
            let Some(host) = machine.plan().netns.first() else { continue };
            for (link, plan) in host.links.iter().enumerate() {
                if plan.kind == (LinkKind::Nic { segment: Some(segment) }) {
                    targets.push((*id, 0, link as u32));
                }
            }
        }
    }
}

/// What the machines of a world have learned, between two uses of it.
#[derive(Debug, Default)]
pub struct Parked {
    machines: BTreeMap<MachineId, Machine>,
    now: Instant,
}

/// Puts machines under other plans. One that is not there any more is left out.
fn under<P: PlanSource + ?Sized>(
    plans: &P,
    old: BTreeMap<MachineId, Machine>,
) -> BTreeMap<MachineId, Machine> {
    let mut machines = BTreeMap::new();
    for (_, mut machine) in old {
        let id = plans.machine_named(&machine.plan().name);
        let Some((id, plan)) = id.and_then(|id| Some((id, plans.machine(id)?))) else { continue };
        machine.replan(id, plan);
        machines.insert(id, machine);
    }
    machines
}
