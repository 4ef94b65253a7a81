//! One machine: fed with frames and the time, drained of frames, deadlines and notices.
//!
//! After every `handle_*` or [`Machine::open`], drain [`Machine::poll_transmit`] until `None`; then
//! [`Machine::poll_timeout`] says when to call [`Machine::handle_timeout`]. Namespaces come to life when the first
//! frame meets them.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::choices::Choices;
use super::event::{Event, EventId, EventKind, Flow, FlowKind, Place, Recorder, Stage};
use super::frame::Skb;
use super::ipvs::IpvsConnection;
use super::netns::{FragmentKey, NetnsState};
use super::reason::DropReason;
use super::socket::{Client, ClientId, ConnectionKey, Notice};
use crate::plan::{
    ConntrackEntry, FdbEntry, MachineId, MachinePlan, Neighbour, NeighbourState, Netns, Origin, SegmentId,
    Unknown,
};
use crate::time::Instant;

/// A frame that leaves a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The namespace of the card.
    pub netns: u32,
    /// The card.
    pub link: u32,
    /// The segment that it is plugged into.
    pub segment: SegmentId,
    /// The frame.
    pub frame: Skb,
}

/// What a deadline is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Answers of this instant are in: take one and send what waits.
    NeighbourFlush { netns: u32, link: u32, addr: IpAddr },
    /// Ask again, or give up.
    NeighbourRetry { netns: u32, link: u32, addr: IpAddr },
    /// A connection waits for an answer.
    Connection { netns: u32, key: ConnectionKey },
    /// Fragments did not all come.
    Fragments { netns: u32, key: FragmentKey },
    /// A relay waits for a backend, or keeps a socket for this client.
    Relay { netns: u32, client: ConnectionKey },
}

impl Timer {
    const fn reason(&self) -> &'static str {
        match self {
            Self::NeighbourFlush { .. } => "neighbour answered",
            Self::NeighbourRetry { .. } => "neighbour retransmission",
            Self::Connection { .. } => "connection retransmission",
            Self::Fragments { .. } => "fragment reassembly",
            Self::Relay { .. } => "relay timeout",
        }
    }

    /// The same in a namespace that has another place, on a link that may have another too.
    fn moved(self, netns: u32, link_of: impl Fn(u32) -> Option<u32>) -> Option<Self> {
        Some(match self {
            Self::NeighbourFlush { link, addr, .. } => {
                Self::NeighbourFlush { netns, link: link_of(link)?, addr }
            }
            Self::NeighbourRetry { link, addr, .. } => {
                Self::NeighbourRetry { netns, link: link_of(link)?, addr }
            }
            Self::Connection { key, .. } => Self::Connection { netns, key },
            Self::Fragments { key, .. } => Self::Fragments { netns, key },
            Self::Relay { client, .. } => Self::Relay { netns, client },
        })
    }

    const fn netns(&self) -> u32 {
        match self {
            Self::NeighbourFlush { netns, .. }
            | Self::NeighbourRetry { netns, .. }
            | Self::Connection { netns, .. }
            | Self::Fragments { netns, .. }
            | Self::Relay { netns, .. } => *netns,
        }
    }
}

/// What the namespaces of a machine share.
#[derive(Debug, Default)]
pub(super) struct Io {
    queue: VecDeque<(u32, u32, Skb)>,
    out: VecDeque<Transmit>,
    timers: BTreeMap<(Instant, u32), Timer>,
    notices: VecDeque<Notice>,
    serial: u32,
    pub(super) clients: u32,
}

impl Io {
    pub(super) fn hand_over(&mut self, netns: u32, link: u32, skb: Skb) {
        self.queue.push_back((netns, link, skb));
    }

    pub(super) fn wake_at(&mut self, at: Instant, timer: Timer) {
        self.serial = self.serial.wrapping_add(1);
        self.timers.insert((at, self.serial), timer);
    }

    pub(super) fn transmit(&mut self, transmit: Transmit) {
        self.out.push_back(transmit);
    }

    pub(super) fn notify(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }
}

/// A host: its plan, and what it has learned.
#[derive(Debug)]
pub struct Machine {
    id: MachineId,
    plan: Arc<MachinePlan>,
    netns: Vec<Option<Box<NetnsState>>>,
    io: Io,
    overrun: bool,
}

/// Frames that one call may move inside a machine before it counts as a loop.
const STEPS_PER_CALL: u32 = 4096;

impl Machine {
    /// A machine that has seen nothing yet.
    pub fn new(id: MachineId, plan: Arc<MachinePlan>) -> Self {
        let netns = plan.netns.iter().map(|_| None).collect();
        Self { id, plan, netns, io: Io::default(), overrun: false }
    }

    /// Its plan.
    pub const fn plan(&self) -> &Arc<MachinePlan> {
        &self.plan
    }

    /// Takes a frame from a cable.
    pub fn handle_frame<C: Choices, R: Recorder>(
        &mut self,
        now: Instant,
        (netns, link): (u32, u32),
        frame: Skb,
        choices: &mut C,
        log: &mut R,
    ) {
        self.io.hand_over(netns, link, frame);
        self.run(now, choices, log);
    }

    /// A process opens a connection or sends a datagram; what comes of it arrives at [`Machine::poll_notice`].
    pub fn open<C: Choices, R: Recorder>(
        &mut self,
        now: Instant,
        client: Client,
        choices: &mut C,
        log: &mut R,
    ) -> ClientId {
        self.io.clients += 1;
        let id = ClientId(self.io.clients);
        self.within(client.netns, now, choices, log, |stack| stack.open(id, client));
        self.run(now, choices, log);
        id
    }

    /// A client sends again on the connection that it has. False when it has none any more.
    pub fn send<C: Choices, R: Recorder>(
        &mut self,
        now: Instant,
        (netns, client): (u32, ClientId),
        payload: u16,
        choices: &mut C,
        log: &mut R,
    ) -> bool {
        let mut sent = false;
        self.within(netns, now, choices, log, |stack| sent = stack.send_more(client, payload));
        self.run(now, choices, log);
        sent
    }

    /// The same machine under another plan: what its namespaces have learned (connections, neighbours, what rules remember)
    /// stays, as far as the links and namespaces are still there by their names.
    pub fn replan(&mut self, id: MachineId, plan: Arc<MachinePlan>) {
        let old_plan = core::mem::replace(&mut self.plan, plan);
        let mut old = core::mem::take(&mut self.netns);
        self.id = id;
        let place_of = |name: &str| self.plan.netns_named(name).map(|(place, _)| place as u32);
        let mut netns: Vec<Option<Box<NetnsState>>> = self.plan.netns.iter().map(|_| None).collect();
        for (before, was) in old_plan.netns.iter().enumerate() {
            let (Some(Some(state)), Some(now)) = (old.get_mut(before).map(Option::take), place_of(&was.name))
            else {
                continue;
            };
            let fresh = NetnsState::new(&self.plan, now);
            if let (Some(mut fresh), Some(slot), Some(is)) =
                (fresh, netns.get_mut(now as usize), self.plan.netns.get(now as usize))
            {
                fresh.inherit(*state, was, is);
                *slot = Some(Box::new(fresh));
            }
        }
        let timers = core::mem::take(&mut self.io.timers);
        for (when, timer) in timers {
            let was = old_plan.netns.get(timer.netns() as usize);
            let Some((was, now)) = was.and_then(|was| Some((was, place_of(&was.name)?))) else { continue };
            let link_of = |link: u32| {
                let name = &was.links.get(link as usize)?.name;
                Some(self.plan.netns.get(now as usize)?.link_named(name)?.0 as u32)
            };
            if let Some(timer) = timer.moved(now, link_of) {
                self.io.timers.insert(when, timer);
            }
        }
        self.io.queue.clear();
        self.netns = netns;
    }

    /// Takes the next frame to put on a cable.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.io.out.pop_front()
    }

    /// Takes the next thing that a socket lived through.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.io.notices.pop_front()
    }

    /// When [`Machine::handle_timeout`] is due, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.io.timers.first_key_value().map(|((at, _), timer)| (*at, timer.reason()))
    }

    /// Does what is due at `now`.
    pub fn handle_timeout<C: Choices, R: Recorder>(&mut self, now: Instant, choices: &mut C, log: &mut R) {
        while let Some(entry) = self.io.timers.first_entry()
            && entry.key().0 <= now
        {
            let timer = entry.remove();
            self.within(timer.netns(), now, choices, log, |stack| stack.expire(timer));
            self.run(now, choices, log);
        }
    }

    /// Whether a call moved so many frames that they must be going in circles.
    pub const fn overrun(&self) -> bool {
        self.overrun
    }

    /// Whether a relay still looks for a backend for somebody, or hangs up on him.
    pub fn is_relaying(&self) -> bool {
        self.netns.iter().flatten().any(|state| state.connections.is_relaying())
    }

    /// The neighbour table of a namespace as it is now, sorted, as `ip neigh` would show it.
    pub fn neighbours(&self, netns: u32) -> Vec<Neighbour> {
        let plan = self.plan.netns.get(netns as usize);
        let state = self.netns.get(netns as usize).and_then(Option::as_ref);
        let (Some(plan), Some(state)) = (plan, state) else {
            return plan.map_or_else(Vec::new, |p| p.neighbours.clone());
        };
        let mut out: Vec<Neighbour> = Vec::new();
        #[allow(clippy::iter_over_hash_type, reason = "sorted right after")]
        for ((link, addr), entry) in &state.neighbours {
            let Some(link) = plan.links.get(*link as usize) else { continue };
            let known = !matches!(entry.state, NeighbourState::Incomplete | NeighbourState::Failed);
            out.push(Neighbour {
                addr: *addr,
                dev: link.name.clone(),
                mac: known.then_some(entry.mac),
                state: entry.state,
                origin: entry.origin.clone().unwrap_or_else(|| Origin::implied("neighbour resolution")),
            });
        }
        out.sort_by(|a, b| (&a.dev, a.addr).cmp(&(&b.dev, b.addr)));
        out
    }

    /// The forwarding entries of a namespace's bridges as they are now, sorted, and those of its VXLAN devices, as `bridge fdb`
    /// would show them. Entries of a bridge for its ports' own addresses are left out.
    pub fn fdb(&self, netns: u32) -> Vec<FdbEntry> {
        let plan = self.plan.netns.get(netns as usize);
        let state = self.netns.get(netns as usize).and_then(Option::as_ref);
        let (Some(plan), Some(state)) = (plan, state) else {
            return plan.map_or_else(Vec::new, |p| p.fdb.clone());
        };
        let mut out = plan.fdb.clone();
        let name = |link: u32| plan.links.get(link as usize).map(|link| link.name.clone());
        #[allow(clippy::iter_over_hash_type, reason = "sorted right after")]
        for ((bridge, mac), entry) in &state.fdb {
            let (Some(master), Some(dev)) = (name(*bridge), name(entry.port)) else { continue };
            if entry.permanent {
                continue;
            }
            out.push(FdbEntry {
                mac: *mac,
                dev,
                master: Some(master),
                dst: None,
                permanent: false,
                origin: Origin::implied("learned by the bridge"),
            });
        }
        out.sort_by(|a, b| (&a.dev, a.mac, a.dst).cmp(&(&b.dev, b.mac, b.dst)));
        out
    }

    /// The tracked connections of a namespace as they are now, as `conntrack -L` would list them.
    pub fn conntrack(&self, netns: u32, now: Instant) -> Vec<ConntrackEntry> {
        let state = self.netns.get(netns as usize).and_then(Option::as_ref);
        match state.and_then(|state| state.conntrack.as_ref()) {
            Some(table) => table.entries(now),
            None => self.plan.netns.get(netns as usize).map_or_else(Vec::new, |plan| plan.conntrack.clone()),
        }
    }

    /// The connections of a namespace through IPVS as they are now, as `ipvsadm -Lnc` would list them.
    pub fn ipvs_connections(&self, netns: u32, now: Instant) -> Vec<IpvsConnection> {
        let state = self.netns.get(netns as usize).and_then(Option::as_ref);
        state.map_or_else(Vec::new, |state| state.ipvs.connections(now))
    }

    /// Removes tracked connections, as `conntrack -D` does; says how many went.
    pub fn forget_connections(
        &mut self,
        netns: u32,
        now: Instant,
        which: impl Fn(&ConntrackEntry) -> bool,
    ) -> usize {
        let state = self.netns.get_mut(netns as usize).and_then(Option::as_mut);
        let Some(table) = state.and_then(|state| state.conntrack.as_mut()) else { return 0 };
        table.remove(|connection| which(&connection.to_entry(now)))
    }

    fn run<C: Choices, R: Recorder>(&mut self, now: Instant, choices: &mut C, log: &mut R) {
        let mut steps = 0;
        while let Some((netns, link, skb)) = self.io.queue.pop_front() {
            steps += 1;
            if steps > STEPS_PER_CALL {
                self.overrun = true;
                self.io.queue.clear();
                return;
            }
            self.within(netns, now, choices, log, |stack| stack.receive(link, skb));
        }
    }

    fn within<C: Choices, R: Recorder>(
        &mut self,
        netns: u32,
        now: Instant,
        choices: &mut C,
        log: &mut R,
        act: impl FnOnce(&mut Stack<'_, C, R>),
    ) {
        let (Some(slot), Some(plan)) =
            (self.netns.get_mut(netns as usize), self.plan.netns.get(netns as usize))
        else {
            return;
        };
        if slot.is_none() {
            *slot = NetnsState::new(&self.plan, netns).map(Box::new);
        }
        let Some(state) = slot else { return };
        let machine = &*self.plan;
        act(&mut Stack { id: self.id, machine, plan, st: state, io: &mut self.io, now, choices, log });
    }
}

/// The stack of one namespace while it handles one frame or deadline.
pub(super) struct Stack<'s, C, R> {
    pub(super) id: MachineId,
    pub(super) machine: &'s MachinePlan,
    pub(super) plan: &'s Netns,
    pub(super) st: &'s mut NetnsState,
    pub(super) io: &'s mut Io,
    pub(super) now: Instant,
    pub(super) choices: &'s mut C,
    pub(super) log: &'s mut R,
}

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    fn expire(&mut self, timer: Timer) {
        match timer {
            Timer::NeighbourFlush { link, addr, .. } => self.neighbour_flush(link, addr),
            Timer::NeighbourRetry { link, addr, .. } => self.neighbour_retry(link, addr),
            Timer::Connection { key, .. } => self.connection_timeout(key),
            Timer::Fragments { key, .. } => self.fragments_timeout(key),
            Timer::Relay { client, .. } => self.relay_timeout(client),
        }
    }

    /// Takes down what befalls a frame.
    #[inline]
    pub(super) fn note(
        &mut self,
        skb: &mut Skb,
        link: Option<u32>,
        stage: Stage,
        what: impl FnOnce() -> (EventKind, Option<Origin>),
    ) {
        if !R::ON {
            return;
        }
        let place = Place::Netns { machine: self.id, netns: self.st.index, link };
        let (flow, before, at) = (skb.flow, skb.last, self.now);
        let build = || {
            let (kind, origin) = what();
            Event { flow, before, at, place, stage, kind, origin }
        };
        skb.last = self.log.event(build, &skb.bytes);
    }

    /// Ends a frame.
    pub(super) fn drop(
        &mut self,
        mut skb: Skb,
        link: Option<u32>,
        stage: Stage,
        reason: DropReason,
        why: impl FnOnce() -> (String, Option<Origin>),
    ) -> EventId {
        self.note(&mut skb, link, stage, || {
            let (why, origin) = why();
            (EventKind::Dropped { reason, why }, origin)
        });
        skb.last
    }

    /// Ends a frame whose fate is not known.
    pub(super) fn lose(
        &mut self,
        mut skb: Skb,
        link: Option<u32>,
        stage: Stage,
        unknown: Unknown,
        origin: Option<Origin>,
    ) {
        self.note(&mut skb, link, stage, || (EventKind::Unknown(unknown), origin));
    }

    /// Makes a frame of this namespace's own.
    pub(super) fn make(&mut self, kind: FlowKind, cause: EventId, bytes: Vec<u8>) -> Skb {
        let flow = self.log.flow(Flow { kind, cause });
        Skb::new(bytes, flow, cause)
    }

    /// The name of a link.
    pub(super) fn link_name(&self, link: u32) -> Arc<str> {
        self.plan.links.get(link as usize).map_or_else(|| Arc::from("?"), |l| l.name.clone())
    }

    pub(super) fn link_origin(&self, link: u32) -> Option<Origin> {
        self.plan.links.get(link as usize).map(|l| l.origin.clone())
    }
}
