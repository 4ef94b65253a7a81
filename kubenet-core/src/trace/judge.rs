//! Judges a run: what became of the packet, what the client lived through, and why.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::path::{Events, Path};
use super::run::Request;
use super::{Case, Delivery, Experience, FlowRecord, Hop, Outcome, Reason, Reply, Source, Verdict, Who};
use crate::cluster::{Cluster, Pod};
use crate::compile;
use crate::dataplane::{
    DropReason, Event, EventId, EventKind, Failure, FlowId, FlowKind, Log, Notice, NoticeKind, Place,
    Probability, RELAYS_IN_A_ROW, Stage, Stopped, World,
};
use crate::observe::is_observed;
use crate::packet::{self, Side, describe};
use crate::plan::{MachineId, MachineKind, PlanSource};

/// What a run left behind.
pub(super) struct Judge<'r, 'p, P: PlanSource + ?Sized> {
    pub(super) cluster: &'r Cluster,
    pub(super) request: &'r Request,
    pub(super) world: &'r mut World<'p, P>,
    pub(super) log: &'r Log,
}

/// Whether two cases tell the asker the same.
pub(super) fn same_answer(a: &Case, b: &Case) -> bool {
    (a.outcome, a.verdict, &a.reason, &a.delivered_to, source_of(a))
        == (b.outcome, b.verdict, &b.reason, &b.delivered_to, source_of(b))
        && sent_to(a) == sent_to(b)
}

/// The source that the receiver saw; which of its ports a relay took says nothing.
fn source_of(case: &Case) -> Option<(IpAddr, Option<u16>)> {
    let source = case.source_seen.as_ref()?;
    let gets = |hop: &Hop| matches!(hop.event, EventKind::Delivered { .. });
    let relayed = case.hops.split_last().is_some_and(|(_, before)| before.iter().any(gets));
    Some((source.ip, source.port.filter(|_| !relayed)))
}

/// Where the packet of a case was translated to, where it was not delivered: nobody else tells the ends apart.
#[allow(clippy::wildcard_enum_match_arm, reason = "one event of many")]
fn sent_to(case: &Case) -> Option<core::net::SocketAddr> {
    if case.outcome == Outcome::Delivered {
        return None;
    }
    case.hops.iter().rev().find_map(|hop| match &hop.event {
        EventKind::Translated { side: packet::Side::Destination, to, reply: false, .. } => Some(*to),
        _ => None,
    })
}

impl<P: PlanSource + ?Sized> Judge<'_, '_, P> {
    pub(super) fn case(mut self, notices: &[Notice], client: Vec<Experience>, stopped: Stopped) -> Case {
        let events = Events(self.log);
        let answered = notices.last().map(|notice| notice.event).filter(|id| *id != EventId::NONE);
        let request = events.request(answered).unwrap_or_else(|| self.unfinished());
        let reply = request.last().and_then(|end| events.reply(*end));
        let (outcome, reason) = self.outcome(&request, reply.as_deref(), stopped);
        let reply_judged = reply.as_deref().map(|path| self.outcome(path, None, stopped));
        let delivered_to = self.delivered_to(&request);
        let source_seen = if outcome == Outcome::Delivered { self.source_seen(&request) } else { None };
        let wrong = outcome == Outcome::Delivered && self.is_wrong_peer(&request);
        let verdict = match (&reply_judged, stopped) {
            _ if outcome == Outcome::Loop => Verdict::Loop,
            _ if outcome == Outcome::Unknown => Verdict::Unknown,
            (Some((Outcome::Unknown, _)), _) => Verdict::Unknown,
            (Some((Outcome::Loop, _)), _) => Verdict::Loop,
            _ if wrong => Verdict::WrongPeer,
            _ => verdict_of(notices),
        };
        // The reason that counts for the client may lie on the way back.
        let reason = match (&reply_judged, reason) {
            (Some((Outcome::Unknown, Some(why))), _) if outcome != Outcome::Unknown => Some(why.clone()),
            (_, Some(reason)) => Some(reason),
            (Some((_, Some(why))), None) if !verdict.is_success() => Some(why.clone()),
            (_, None) if verdict.is_success() => None,
            (_, None) => self.without_a_drop(notices, wrong, delivered_to.as_ref()),
        };
        Case {
            probability: Probability::ONE,
            choices: Vec::new(),
            outcome,
            verdict,
            reason,
            otherwise: None,
            delivered_to,
            source_seen,
            client,
            hops: self.hops(&request),
            reply: reply.zip(reply_judged).map(|(path, (outcome, reason))| Reply {
                outcome,
                reason,
                hops: self.hops(&path),
            }),
            flows: self.flows(),
        }
    }

    /// The way of a packet that has not ended: as far as it came, or what a relay made of it.
    fn unfinished(&self) -> Path {
        let relayed = |flow: FlowId| {
            self.log.flows().get(flow.0 as usize).is_some_and(|flow| flow.kind == FlowKind::Relayed)
        };
        let is_of_it = |event: &Event| event.flow == FlowId(0) || relayed(event.flow);
        let last = self.log.events().iter().rposition(is_of_it);
        last.map_or_else(Vec::new, |place| Events(self.log).back(EventId(place as u32)))
    }

    fn outcome(
        &mut self,
        path: &[EventId],
        reply: Option<&[EventId]>,
        stopped: Stopped,
    ) -> (Outcome, Option<Reason>) {
        let events = Events(self.log);
        let Some((end, event)) = path.last().and_then(|id| Some((*id, events.event(*id)?))) else {
            return (Outcome::Unknown, None);
        };
        let place = event.clone();
        let circle = self.circle(path);
        match &event.kind {
            EventKind::Delivered { .. } => (Outcome::Delivered, None),
            EventKind::Unknown(unknown) => {
                let reason = self.reason(&place, unknown.why.clone(), None);
                let settle = Some(unknown.what_would_settle_it.clone());
                (Outcome::Unknown, Some(Reason { what_would_settle_it: settle, ..reason }))
            }
            EventKind::Dropped { reason: DropReason::IpInhdr, .. } if circle.is_some() => {
                let text = circle.unwrap_or_default();
                (Outcome::Loop, Some(self.reason(&place, text, Some(DropReason::IpInhdr))))
            }
            EventKind::Dropped { reason, why } if events.relays(path) >= usize::from(RELAYS_IN_A_ROW) => {
                (Outcome::Loop, Some(self.reason(&place, why.clone(), Some(*reason))))
            }
            EventKind::Dropped { reason, why } => {
                let told = reply.is_some() || self.caused_a_reply(end);
                let outcome = if told { Outcome::Rejected } else { Outcome::Dropped };
                (outcome, Some(self.reason(&place, why.clone(), Some(*reason))))
            }
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
            | EventKind::Translated { .. } => {
                if stopped == Stopped::Cancelled {
                    let text = "the run recorded as many bytes as its limit allows".into();
                    let settle = Some("ask with a larger limit".into());
                    let reason = self.reason(&place, text, None);
                    return (Outcome::Unknown, Some(Reason { what_would_settle_it: settle, ..reason }));
                }
                if stopped != Stopped::Steps {
                    return (Outcome::Dropped, None);
                }
                let text = circle.unwrap_or_else(|| "more frames than a trace follows".into());
                (Outcome::Loop, Some(self.reason(&place, text, None)))
            }
        }
    }

    /// Whether an event made somebody send an answer, arrived or not.
    fn caused_a_reply(&self, end: EventId) -> bool {
        self.log.flows().iter().any(|flow| flow.cause == end)
    }

    /// In words, where a packet went in circles: a stack that forwarded it twice.
    fn circle(&mut self, path: &[EventId]) -> Option<String> {
        let events = Events(self.log);
        let mut seen: Vec<Place> = Vec::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        for id in path {
            let Some(event) = events.event(*id) else { continue };
            let Place::Netns { machine, netns, .. } = event.place else { continue };
            if event.kind != EventKind::TtlDecremented {
                continue;
            }
            let place = Place::Netns { machine, netns, link: None };
            if let Some(first) = seen.iter().position(|other| *other == place) {
                let round = names.get(first..).unwrap_or(&[]);
                let ring: Vec<&str> = round.iter().map(|name| &**name).collect();
                let back = ring.first().copied().unwrap_or("?");
                return Some(format!(
                    "it goes in circles until the TTL runs out: {} → {back}",
                    ring.join(" → ")
                ));
            }
            seen.push(place);
            names.push(self.names(event.place).0);
        }
        None
    }

    fn reason(&mut self, event: &Event, text: String, drop: Option<DropReason>) -> Reason {
        let (machine, netns, device) = self.names(event.place);
        Reason {
            drop,
            text,
            machine: Some(machine),
            netns: Some(netns),
            device,
            stage: Some(event.stage),
            origin: event.origin.clone(),
            what_would_settle_it: None,
        }
    }

    /// Why it failed although nothing was dropped on the way.
    fn without_a_drop(&self, notices: &[Notice], wrong: bool, got: Option<&Delivery>) -> Option<Reason> {
        let text = match (wrong, notices.last().map(|notice| &notice.kind)) {
            (true, _) => {
                format!("it was delivered to {}", got.map_or_else(|| "nobody".into(), |d| d.who.to_string()))
            }
            (false, Some(kind)) => kind.to_string(),
            (false, None) => "no answer within the time that a trace follows".into(),
        };
        Some(Reason::of_text(text))
    }

    fn end_place(&self, path: &[EventId]) -> Option<(MachineId, u32, EventId)> {
        let id = *path.last()?;
        let event = Events(self.log).event(id)?;
        let EventKind::Delivered { .. } = event.kind else { return None };
        match event.place {
            Place::Netns { machine, netns, .. } => Some((machine, netns, id)),
            Place::Segment(_) => None,
        }
    }

    /// Whether the packet was delivered to somebody else than the one that the address belongs to, who did not hand it on: a node
    /// that changes the destination of a packet to one of its ports, or relays it, does as it is meant to.
    fn is_wrong_peer(&self, request: &[EventId]) -> bool {
        let Some(intended) = self.request.intended else { return false };
        let handed_on = |id: &EventId| {
            Events(self.log).event(*id).is_some_and(|event| {
                let forward =
                    matches!(event.kind, EventKind::Translated { side: Side::Destination, reply: false, .. });
                let there = matches!(
                    event.place,
                    Place::Netns { machine, netns, .. } if (machine, netns) == intended
                );
                let relayed = matches!(event.kind, EventKind::Delivered { .. }) && request.last() != Some(id);
                (forward || relayed) && there
            })
        };
        self.end_place(request).is_some_and(|(machine, netns, _)| (machine, netns) != intended)
            && !request.iter().any(handed_on)
    }

    fn delivered_to(&mut self, request: &[EventId]) -> Option<Delivery> {
        let (machine, netns, id) = self.end_place(request)?;
        let ip = ip_of(self.log, id)?;
        let port = ip.ports.map(|ports| ports.1);
        let on_host = port.filter(|_| netns == 0).and_then(|port| host_pod(self.cluster, machine, port));
        let who = on_host.or_else(|| self.who(machine, netns))?;
        Some(Delivery { who, ip: ip.dst, port })
    }

    fn source_seen(&self, request: &[EventId]) -> Option<Source> {
        let (.., id) = self.end_place(request)?;
        let ip = ip_of(self.log, id)?;
        Some(Source { ip: ip.src, port: ip.ports.map(|ports| ports.0) })
    }

    fn who(&mut self, machine: MachineId, netns: u32) -> Option<Who> {
        if let Some(who) = who_is(self.cluster, machine, netns) {
            return Some(who);
        }
        let plan = self.world.machine(machine)?.plan();
        let kind = match plan.kind {
            MachineKind::Node => "Node",
            MachineKind::Gateway => "Gateway",
            MachineKind::Outside => "Outside",
        };
        Some(Who { kind: kind.into(), namespace: None, name: plan.name.clone(), node: None })
    }

    /// Machine (or switch), namespace and link of a place.
    fn names(&mut self, place: Place) -> (Arc<str>, Arc<str>, Option<Arc<str>>) {
        match place {
            Place::Netns { machine, netns, link } => {
                let Some(machine) = self.world.machine(machine) else {
                    return ("?".into(), "".into(), None);
                };
                let plan = machine.plan();
                let inside = plan.netns.get(netns as usize);
                let device =
                    inside.zip(link).and_then(|(n, l)| n.links.get(l as usize)).map(|l| l.name.clone());
                (plan.name.clone(), inside.map_or_else(|| "".into(), |n| n.name.clone()), device)
            }
            Place::Segment(segment) => {
                let name = self.world.segment(segment).map_or_else(|| Arc::from("?"), |s| s.name.clone());
                (name, "".into(), None)
            }
        }
    }

    fn hops(&mut self, path: &[EventId]) -> Vec<Hop> {
        path.iter().filter_map(|id| self.hop(*id)).collect()
    }

    fn hop(&mut self, id: EventId) -> Option<Hop> {
        let event = self.log.events().get(id.0 as usize)?.clone();
        let (machine, netns, device) = self.names(event.place);
        let observed = match event.place {
            Place::Netns { machine, netns: 0, .. } => {
                self.world.machine(machine).is_some_and(|machine| is_observed(&machine.plan().origin))
            }
            Place::Netns { .. } | Place::Segment(_) => false,
        };
        let bytes = self.log.frame(id);
        Some(Hop {
            id,
            before: (event.before != EventId::NONE).then_some(event.before),
            at: event.at,
            machine,
            observed,
            netns,
            device,
            stage: event.stage,
            event: event.kind,
            packet: describe(bytes),
            bytes: bytes.into(),
            origin: event.origin,
        })
    }

    fn flows(&mut self) -> Vec<FlowRecord> {
        let mut flows: Vec<FlowRecord> = self
            .log
            .flows()
            .iter()
            .enumerate()
            .map(|(place, flow)| FlowRecord {
                id: FlowId(place as u32),
                kind: flow.kind,
                cause: (flow.cause != EventId::NONE).then_some(flow.cause),
                events: Vec::new(),
            })
            .collect();
        for place in 0..self.log.events().len() {
            let Some(hop) = self.hop(EventId(place as u32)) else { continue };
            let flow = self.log.events().get(place).map(|event| event.flow);
            if let Some(flow) = flow.and_then(|flow| flows.get_mut(flow.0 as usize)) {
                flow.events.push(hop);
            }
        }
        flows
    }
}

/// The node or pod that a namespace of a machine is.
pub(super) fn who_is(cluster: &Cluster, machine: MachineId, netns: u32) -> Option<Who> {
    let node = cluster.nodes.get(machine.0 as usize)?;
    if let Some(pod) =
        compile::pod_of_netns(cluster, machine, netns).and_then(|at| cluster.pods.get(at as usize))
    {
        return Some(pod_who(pod, &node.name));
    }
    Some(Who { kind: "Node".into(), namespace: None, name: node.name.clone(), node: None })
}

/// The pod on the host's network that declares a port of a node.
fn host_pod(cluster: &Cluster, machine: MachineId, port: u16) -> Option<Who> {
    let node = cluster.nodes.get(machine.0 as usize)?;
    let pods = cluster.pods_on_node.get(machine.0 as usize)?;
    let mut pods = pods.iter().filter_map(|at| cluster.pods.get(*at as usize));
    let declares = |pod: &Pod| {
        pod.host_network
            && !pod.terminal
            && pod.containers.iter().flat_map(|c| &c.ports).any(|declared| declared.port == port)
    };
    pods.find(|pod| declares(pod)).map(|pod| pod_who(pod, &node.name))
}

fn pod_who(pod: &Pod, node: &Arc<str>) -> Who {
    Who {
        kind: "Pod".into(),
        namespace: Some(pod.namespace.clone()),
        name: pod.name.clone(),
        node: Some(node.clone()),
    }
}

fn ip_of(log: &Log, id: EventId) -> Option<packet::Ip> {
    match packet::view(log.frame(id)) {
        Ok(packet::View::Ip(ip)) => Some(ip),
        Ok(packet::View::Arp(_) | packet::View::Other(_)) | Err(_) => None,
    }
}

fn verdict_of(notices: &[Notice]) -> Verdict {
    match notices.last().map(|notice| &notice.kind) {
        Some(NoticeKind::Connected) => Verdict::Connected,
        Some(NoticeKind::Answered) => Verdict::Answered,
        Some(NoticeKind::Refused) => Verdict::Refused,
        Some(NoticeKind::Reset) => Verdict::Reset,
        Some(NoticeKind::Closed) => Verdict::Closed,
        Some(NoticeKind::Failed(failure)) => match failure {
            Failure::PortUnreachable => Verdict::Refused,
            Failure::NetUnreachable
            | Failure::HostUnreachable
            | Failure::Prohibited
            | Failure::TimeExceeded
            | Failure::TooBig(_)
            | Failure::InvalidArgument
            | Failure::NoSourceAddress
            | Failure::NotPermitted
            | Failure::AddressInUse => Verdict::Unreachable,
        },
        Some(NoticeKind::TimedOut) | None => Verdict::Timeout,
    }
}

/// The stages in the order in which a packet meets them, for grouping.
pub(super) const fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Socket => "socket",
        Stage::Ingress => "ingress",
        Stage::Prerouting => "prerouting",
        Stage::Route => "route",
        Stage::Input => "input",
        Stage::Forward => "forward",
        Stage::Output => "output",
        Stage::Postrouting => "postrouting",
        Stage::Neighbour => "neighbour",
        Stage::Bridge => "bridge",
        Stage::Vxlan => "vxlan",
        Stage::Egress => "egress",
        Stage::Switch => "switch",
    }
}
