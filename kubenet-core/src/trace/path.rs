//! The paths of a run: which events belong to the packet that was asked about, and which to its answer.
//!
//! Every event points at the one before it; the first of a flow points at what caused the flow. So the way of a packet is read
//! backwards from where it ended. The way of a request that a relay has handed on goes on with the relay's own connection.
//! Costs O(events × length of a path).

use alloc::vec::Vec;

use crate::dataplane::{DropReason, Event, EventId, EventKind, FlowKind, Log};

/// The events of a run, ready to be read backwards.
#[derive(Clone, Copy)]
pub(super) struct Events<'l>(pub(super) &'l Log);

/// A way of a packet: its events in order. The last one says how it ended.
pub(super) type Path = Vec<EventId>;

/// What a way says about the packet: how many relays it went through, what its end says, and when the last relay sent.
type Order = (usize, u8, Option<EventId>);

impl<'l> Events<'l> {
    pub(super) fn event(self, id: EventId) -> Option<&'l Event> {
        self.0.events().get(id.0 as usize)
    }

    pub(super) fn kind_of_flow(self, id: EventId) -> Option<FlowKind> {
        let flow = self.event(id)?.flow;
        self.0.flows().get(flow.0 as usize).map(|flow| flow.kind)
    }

    /// Everything that led to an event, oldest first, through all flows.
    pub(super) fn back(self, id: EventId) -> Path {
        let mut path = Vec::new();
        let mut at = id;
        while let Some(event) = self.event(at) {
            path.push(at);
            // Causes are older than their effects; anything else would go in circles.
            if event.before.0 >= at.0 {
                break;
            }
            at = event.before;
        }
        path.reverse();
        path
    }

    /// The way of the packet that was asked about. `answered`: the event that brought the client its answer, if one did.
    pub(super) fn request(self, answered: Option<EventId>) -> Option<Path> {
        let of_answer: Vec<EventId> = answered.map_or_else(Vec::new, |id| self.back(id));
        let mut best: Option<(Order, Path)> = None;
        for (id, event) in self.ends() {
            let path = self.back(id);
            let is_request = |kind| {
                matches!(
                    kind,
                    FlowKind::Request
                        | FlowKind::Retransmission
                        | FlowKind::Tunnel
                        | FlowKind::Injected
                        | FlowKind::Relayed
                )
            };
            if !path.iter().all(|at| self.kind_of_flow(*at).is_some_and(is_request)) {
                continue;
            }
            // What is delivered to a relay has not come to its end when the relay hands it on, or says that it cannot.
            let (relays, ends) = (self.relays(&path), !self.goes_on(id, event));
            let rank = match (of_answer.contains(&id), ends) {
                (_, false) => 1,
                (true, true) => 5,
                (false, true) => rank(&event.kind),
            };
            // Of several backends that were asked the last one counts.
            let asked = path.iter().rev().find(|at| self.is_relaying(**at)).copied();
            let order = (relays, rank, asked);
            if best.as_ref().is_none_or(|(other, _)| order > *other) {
                best = Some((order, path));
            }
        }
        best.map(|(_, path)| self.last_attempt(path))
    }

    /// How many relays have handed on what went this way.
    pub(super) fn relays(self, path: &[EventId]) -> usize {
        path.iter().filter(|at| self.is_relaying(**at)).count()
    }

    /// Whether a relay sends a packet of its own here.
    fn is_relaying(self, id: EventId) -> bool {
        self.kind_of_flow(id) == Some(FlowKind::Relayed)
            && self.event(id).is_some_and(|event| event.kind == EventKind::Sent)
    }

    /// Whether something else happens to a frame after it was delivered.
    fn goes_on(self, id: EventId, event: &Event) -> bool {
        let follows = |other: &Event| other.before == id && other.flow == event.flow;
        matches!(event.kind, EventKind::Delivered { .. })
            && self.0.events().get(id.0 as usize..).unwrap_or(&[]).iter().any(follows)
    }

    /// The way of the answer to a packet that ended at `end`.
    pub(super) fn reply(self, end: EventId) -> Option<Path> {
        let mut best: Option<(u8, Path)> = None;
        for (id, event) in self.ends() {
            let path = self.back(id);
            let Some(place) = path.iter().position(|at| *at == end) else { continue };
            let after = path.get(place + 1..).unwrap_or(&[]);
            // What a router tells about the answer goes to the one that answers.
            let Some(starts @ (FlowKind::Reply | FlowKind::IcmpError)) =
                after.first().and_then(|at| self.kind_of_flow(*at))
            else {
                continue;
            };
            let is_reply = |kind| kind == starts || kind == FlowKind::Tunnel;
            if !after.iter().all(|at| self.kind_of_flow(*at).is_some_and(is_reply)) {
                continue;
            }
            let rank = rank(&event.kind);
            // What a relay passes on goes further than what it got.
            let is_better = best.as_ref().is_none_or(|(other, path): &(u8, Path)| {
                rank > *other || after.len() > path.len() && after.starts_with(path)
            });
            if is_better {
                best = Some((rank, after.to_vec()));
            }
        }
        best.map(|(_, path)| path)
    }

    /// Of a packet that was sent again only the last way counts: without the first sendings, which nothing else has in common
    /// with it.
    fn last_attempt(self, path: Path) -> Path {
        let is_sent = |at: &EventId| self.event(*at).is_some_and(|event| event.kind == EventKind::Sent);
        let is_again = |at: &EventId| is_sent(at) && self.kind_of_flow(*at) == Some(FlowKind::Retransmission);
        let after = path.iter().skip(1).map(is_again).chain([false]);
        path.iter().zip(after).filter_map(|(at, again)| (!(is_sent(at) && again)).then_some(*at)).collect()
    }

    /// Events at which a frame ends.
    fn ends(self) -> impl Iterator<Item = (EventId, &'l Event)> {
        self.0
            .events()
            .iter()
            .enumerate()
            .filter_map(|(place, event)| (rank(&event.kind) > 0).then_some((EventId(place as u32), event)))
    }
}

/// How much an end says about the packet: a delivery most, a copy that was not meant for its receiver least.
const fn rank(kind: &EventKind) -> u8 {
    match kind {
        EventKind::Delivered { .. } => 4,
        EventKind::Unknown(_) => 3,
        EventKind::Dropped { reason: DropReason::OtherHost, .. } => 1,
        EventKind::Dropped { .. } => 2,
        EventKind::Sent
        | EventKind::Received
        | EventKind::Transmitted
        | EventKind::Routed { .. }
        | EventKind::Local
        | EventKind::NeighbourKnown { .. }
        | EventKind::NeighbourAsked { .. }
        | EventKind::NeighbourResolved { .. }
        | EventKind::Forwarded { .. }
        | EventKind::Flooded { .. }
        | EventKind::Encapsulated { .. }
        | EventKind::Decapsulated { .. }
        | EventKind::TtlDecremented
        | EventKind::Fragmented { .. }
        | EventKind::Reassembled
        | EventKind::Filtered { .. }
        | EventKind::Rule { .. }
        | EventKind::Tracked { .. }
        | EventKind::Translated { .. } => 0,
    }
}
