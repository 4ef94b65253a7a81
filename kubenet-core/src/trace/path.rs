//! The paths of a run: which events belong to the packet that was asked about, and which to its answer.
//!
//! Every event points at the one before it; the first of a flow points at what caused the flow. So the way of a packet is read
//! backwards from where it ended. Costs O(events × length of a path).

use alloc::vec::Vec;

use crate::dataplane::{DropReason, Event, EventId, EventKind, FlowKind, Log};

/// The events of a run, ready to be read backwards.
#[derive(Clone, Copy)]
pub(super) struct Events<'l>(pub(super) &'l Log);

/// A way of a packet: its events in order. The last one says how it ended.
pub(super) type Path = Vec<EventId>;

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
        let mut best: Option<(u8, Path)> = None;
        for (id, event) in self.ends() {
            let path = self.back(id);
            let is_request = |kind| {
                matches!(
                    kind,
                    FlowKind::Request | FlowKind::Retransmission | FlowKind::Tunnel | FlowKind::Injected
                )
            };
            if !path.iter().all(|at| self.kind_of_flow(*at).is_some_and(is_request)) {
                continue;
            }
            let rank = if of_answer.contains(&id) { 5 } else { rank(&event.kind) };
            if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                best = Some((rank, path));
            }
        }
        best.map(|(_, path)| self.last_attempt(path))
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
            if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                best = Some((rank, after.to_vec()));
            }
        }
        best.map(|(_, path)| path)
    }

    /// The first of several ways is the one that was sent first; of a packet that was sent again only the last way counts.
    fn last_attempt(self, path: Path) -> Path {
        let starts = |at: &EventId| {
            matches!(self.kind_of_flow(*at), Some(FlowKind::Request | FlowKind::Retransmission))
                && self.event(*at).is_some_and(|event| event.kind == EventKind::Sent)
        };
        let start = path.iter().rposition(starts).unwrap_or(0);
        path.get(start..).unwrap_or(&[]).to_vec()
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
