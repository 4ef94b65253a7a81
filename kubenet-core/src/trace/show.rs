//! A trace in words: lines for people, from which the command line, scenarios and the browser make what they show.
//!
//! In: a [`Trace`] and how much detail. Out: [`Line`]s, each of parts with a [`Style`], so that colour is the caller's business.
//! The text of a line is the same everywhere.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::judge::stage_word;
use super::{Case, Hop, Outcome, Reason, Trace, Verdict};
use crate::dataplane::{DropReason, EventId, EventKind, FlowKind};
use crate::origin::{Origin, OriginKind};
use crate::packet::{IpSummary, Side, Summary};
use crate::plan::RouteKind;

/// How much is told of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detail {
    /// What changes the packet or decides its fate.
    Changes,
    /// Every hop.
    Full,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineKind {
    /// A hop of the request, with its number from 1.
    Hop(u32),
    /// A hop of the reply, with its number.
    ReplyHop(u32),
    /// What became of the packet.
    Outcome,
    /// Something else that got lost: data behind the handshake, a retransmission, an ICMP error.
    Aside,
    /// What the client lives through.
    Verdict,
}

/// How a part of a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Style {
    /// Plain words.
    Plain,
    /// A place: machine, namespace, device.
    Place,
    /// A stage.
    Stage,
    /// A header field that this hop changed.
    Changed,
    /// An object or setting that something comes from.
    Origin,
    /// It works.
    Good,
    /// It does not.
    Bad,
    /// It is not known.
    Open,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub kind: LineKind,
    /// The event that it tells, if it tells one.
    pub event: Option<EventId>,
    /// Where: `node-1`, or `shop/cart-0` for a pod's namespace; empty for outcome and verdict.
    pub place: String,
    /// The link, if one is concerned.
    pub device: String,
    /// The stage; `delivered`, `dropped` and so on for the outcome.
    pub stage: String,
    /// What happens, in parts.
    pub parts: Vec<(Style, String)>,
    /// What decided, if it is worth telling.
    pub origin: Option<Origin>,
}

impl Line {
    /// What happens, without styles.
    pub fn text(&self) -> String {
        self.parts.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// What decided, with its place in the input.
    pub fn origin_words(&self) -> String {
        self.origin.as_ref().map(origin_words).unwrap_or_default()
    }

    /// What decided, without its place in the input: the same wherever the object stands.
    pub fn origin_without_place(&self) -> String {
        match self.origin.as_ref().map(Origin::kind) {
            Some(OriginKind::Object { object, field: Some(field), .. }) => format!("{object} {field}"),
            Some(OriginKind::Object { object, field: None, .. }) => object.to_string(),
            Some(
                OriginKind::Assumption { .. }
                | OriginKind::MadeUp { .. }
                | OriginKind::Implied { .. }
                | OriginKind::Dump { .. }
                | OriginKind::Embedder,
            )
            | None => self.origin_words(),
        }
    }
}

/// The lines of one case.
pub fn lines(trace: &Trace, case: &Case, detail: Detail) -> Vec<Line> {
    let mut out = Vec::new();
    path_lines(&case.hops, detail, LineKind::Hop, &mut out);
    out.push(outcome_line(case));
    if let Some(reply) = &case.reply {
        path_lines(&reply.hops, detail, LineKind::ReplyHop, &mut out);
    }
    asides(case, &mut out);
    out.push(verdict_line(trace, case));
    out
}

/// How many lost packets beside the main path are told.
const ASIDES: usize = 5;

/// Packets of the same exchange that got lost, when they are neither the request nor its answer.
fn asides(case: &Case, out: &mut Vec<Line>) {
    let reply = case.reply.iter().flat_map(|reply| &reply.hops);
    let told: Vec<EventId> = case.hops.iter().chain(reply).map(|hop| hop.id).collect();
    let mut seen: Vec<(FlowKind, String)> = Vec::new();
    for flow in &case.flows {
        let word = match flow.kind {
            FlowKind::Data => "data",
            FlowKind::Reply => "reply",
            FlowKind::IcmpError => "ICMP error",
            FlowKind::Tunnel => "tunnel packet",
            FlowKind::Relayed => "relay",
            FlowKind::Request | FlowKind::Retransmission | FlowKind::Neighbour | FlowKind::Injected => {
                continue;
            }
        };
        for hop in &flow.events {
            let EventKind::Dropped { reason, why } = &hop.event else { continue };
            if *reason == DropReason::OtherHost || told.contains(&hop.id) || seen.len() >= ASIDES {
                continue;
            }
            let text = format!("{word}: {why} [{}]", reason.name());
            if !seen.contains(&(flow.kind, text.clone())) {
                seen.push((flow.kind, text.clone()));
                out.push(Line {
                    kind: LineKind::Aside,
                    event: Some(hop.id),
                    place: place_words(hop),
                    device: hop.device.as_deref().unwrap_or("").into(),
                    stage: "lost".into(),
                    parts: Vec::from([(Style::Bad, text)]),
                    origin: hop.origin.clone().filter(is_worth_a_word),
                });
            }
        }
    }
}

fn path_lines(hops: &[Hop], detail: Detail, kind: fn(u32) -> LineKind, out: &mut Vec<Line>) {
    let mut before: Option<&Summary> = None;
    let mut rounds: Vec<(String, u32)> = Vec::new();
    let mut cut = false;
    let last = hops.len().saturating_sub(1);
    let idle = idle_rules(hops);
    let mut number = 0;
    for (place, hop) in hops.iter().enumerate() {
        let first = place == 0;
        // The end of the way is told as the outcome; that of a reply too, but for a drop.
        let ends = place == last && matches!(hop.event, EventKind::Delivered { .. });
        // A relay gets the packet, and sends one of its own.
        let gets = matches!(hop.event, EventKind::Delivered { .. }) && place != last;
        let sends = place.checked_sub(1).and_then(|before| hops.get(before)).is_some_and(|before| {
            hop.event == EventKind::Sent && matches!(before.event, EventKind::Delivered { .. })
        });
        let shown = match detail {
            _ if idle.get(place) == Some(&true) => false,
            Detail::Full => true,
            Detail::Changes => first || gets || sends || (!ends && matters(hop)),
        };
        let again = detail == Detail::Changes && hop.event == EventKind::TtlDecremented && {
            let place = hop.place().to_string();
            match rounds.iter_mut().find(|(other, _)| *other == place) {
                Some((_, times)) => {
                    *times += 1;
                    *times > 2
                }
                None => {
                    rounds.push((place, 1));
                    false
                }
            }
        };
        if again && !cut {
            cut = true;
            let parts = Vec::from([(Style::Plain, "… and so on".into())]);
            let kind = kind(number + 1);
            let (place, device, stage) = (place_words(hop), String::new(), stage_word(hop.stage).into());
            out.push(Line { kind, event: None, place, device, stage, parts, origin: None });
        }
        if shown && !again {
            number += 1;
            out.push(hop_line(hop, kind(number), before, first));
        }
        before = hop.packet.as_ref().or(before);
    }
}

/// Which events are rules that only led to chains where nothing was done, or back from one.
fn idle_rules(hops: &[Hop]) -> Vec<bool> {
    let mut idle = Vec::from_iter(hops.iter().map(|_| false));
    // The chain that something was done in, seen from behind.
    let mut wanted: Option<&str> = None;
    for (place, hop) in hops.iter().enumerate().rev() {
        let EventKind::Rule { chain, did, .. } = &hop.event else {
            wanted = None;
            continue;
        };
        let leads_to = did.strip_prefix("jump ").or_else(|| did.strip_prefix("goto "));
        let useful = match leads_to {
            Some(target) => wanted == Some(target),
            None => did != "return",
        };
        if useful {
            wanted = Some(chain);
        } else if let Some(slot) = idle.get_mut(place) {
            *slot = true;
        }
    }
    idle
}

/// Whether an event changes the packet or decides its fate.
fn matters(hop: &Hop) -> bool {
    match &hop.event {
        EventKind::Encapsulated { .. }
        | EventKind::Decapsulated { .. }
        | EventKind::TtlDecremented
        | EventKind::Fragmented { .. }
        | EventKind::Reassembled
        | EventKind::Filtered { .. }
        | EventKind::Translated { .. }
        | EventKind::Dropped { .. }
        | EventKind::Unknown(_)
        | EventKind::NeighbourAsked { attempt: 2.., .. } => true,
        EventKind::NeighbourAsked { .. }
        | EventKind::Sent
        | EventKind::Received
        | EventKind::Transmitted
        | EventKind::Routed { .. }
        | EventKind::Local
        | EventKind::NeighbourKnown { .. }
        | EventKind::NeighbourResolved { .. }
        | EventKind::Forwarded { .. }
        | EventKind::Flooded { .. }
        | EventKind::Rule { .. }
        | EventKind::Tracked { .. }
        | EventKind::Delivered { .. } => false,
    }
}

/// Where it happened; of a machine that its dump shows, that it does.
fn place_words(hop: &Hop) -> String {
    if hop.observed { format!("{} (dump)", hop.place()) } else { hop.place().to_string() }
}

/// An end of a packet; port 0 stands for none.
fn end_words(end: core::net::SocketAddr) -> String {
    if end.port() == 0 { end.ip().to_string() } else { end.to_string() }
}

fn hop_line(hop: &Hop, kind: LineKind, before: Option<&Summary>, first: bool) -> Line {
    let mut parts = Vec::new();
    let mut say = |style: Style, text: String| parts.push((style, text));
    let was = before.and_then(|packet| packet.ip.as_ref());
    let is = hop.packet.as_ref().and_then(|packet| packet.ip.as_ref());
    match &hop.event {
        EventKind::Sent => {
            say(Style::Plain, "sends ".into());
            say(Style::Changed, hop.packet.as_ref().map_or_else(String::new, Summary::to_string));
        }
        EventKind::Received => say(Style::Plain, "receives".into()),
        EventKind::Transmitted => {
            say(Style::Plain, "sends".into());
            if let Some(packet) = &hop.packet {
                say(Style::Plain, format!(" {} → {}", packet.src_mac, packet.dst_mac));
            }
        }
        EventKind::Routed { dst, kind, via, dev, table } => {
            let mut text = match kind {
                RouteKind::Unicast => route_words(&dst.to_string()),
                RouteKind::Local
                | RouteKind::Broadcast
                | RouteKind::Anycast
                | RouteKind::Multicast
                | RouteKind::Blackhole
                | RouteKind::Unreachable
                | RouteKind::Prohibit
                | RouteKind::Throw => format!("{kind:?} {dst}").to_ascii_lowercase(),
            };
            if let Some(via) = via {
                text += &format!(" via {via}");
            }
            if let Some(dev) = dev {
                text += &format!(" dev {dev}");
            }
            if *table != crate::plan::TABLE_MAIN {
                text += &format!(" table {table}");
            }
            say(Style::Plain, text);
        }
        EventKind::Local => say(Style::Plain, "it is for this machine".into()),
        EventKind::NeighbourKnown { addr, mac } => say(Style::Plain, format!("{addr} is at {mac}")),
        EventKind::NeighbourAsked { addr, attempt: 1 } => say(Style::Plain, format!("who has {addr}?")),
        EventKind::NeighbourAsked { addr, attempt } => {
            say(Style::Plain, format!("who has {addr}? try {attempt}"));
        }
        EventKind::NeighbourResolved { addr, mac } => {
            say(Style::Plain, format!("answer: {addr} is at {mac}"));
        }
        EventKind::Forwarded { port } => say(Style::Plain, format!("to {port}")),
        EventKind::Flooded { ports: 1 } => say(Style::Plain, "floods to 1 port".into()),
        EventKind::Flooded { ports } => say(Style::Plain, format!("floods to {ports} ports")),
        EventKind::Encapsulated { vni, remote } => {
            say(Style::Changed, format!("wraps for {remote}"));
            say(Style::Plain, format!(" (VNI {vni})"));
        }
        EventKind::Decapsulated { vni } => {
            say(Style::Changed, "unwraps".into());
            say(Style::Plain, format!(" (VNI {vni})"));
        }
        EventKind::TtlDecremented => say(Style::Plain, "forwards".into()),
        EventKind::Fragmented { mtu_bytes, pieces } => {
            say(Style::Changed, format!("cuts into {pieces} fragments"));
            say(Style::Plain, format!(" for MTU {mtu_bytes}"));
        }
        EventKind::Reassembled => say(Style::Changed, "puts the fragments together".into()),
        EventKind::Filtered { chain, verdict } => say(Style::Plain, format!("{verdict} in chain {chain}")),
        EventKind::Rule { table, chain, rule, did } => {
            let rule = rule.map_or_else(String::new, |rule| format!(" rule {rule}"));
            say(Style::Plain, format!("{table} {chain}{rule}: {did}"));
        }
        EventKind::Tracked { state, connection } => {
            say(Style::Plain, format!("conntrack {}: {connection}", state.name()));
        }
        EventKind::Translated { side, from, to, reply } => {
            let word = match (side, reply) {
                (Side::Destination, false) => "dnat",
                (Side::Source, false) => "snat",
                (Side::Source, true) => "un-dnat",
                (Side::Destination, true) => "un-snat",
            };
            say(Style::Changed, format!("{word} {} → {}", end_words(*from), end_words(*to)));
        }
        EventKind::Delivered { listener, port } => match (listener, port) {
            (Some(who), Some(_)) | (Some(who), None) => say(Style::Good, format!("delivers to {who}")),
            (None, Some(port)) => say(Style::Good, format!("delivers to port {port}")),
            (None, None) => say(Style::Good, "delivers".into()),
        },
        EventKind::Dropped { reason, why } => {
            say(Style::Bad, format!("drops: {why}"));
            say(Style::Plain, format!(" [{}]", reason.name()));
        }
        EventKind::Unknown(unknown) => say(Style::Open, unknown.why.clone()),
    }
    let is_change = !first && matches!(hop.event, EventKind::TtlDecremented);
    if let (true, Some(was), Some(is)) = (is_change, was, is) {
        parts.extend(changes(was, is).into_iter().map(|text| (Style::Changed, format!(", {text}"))));
    }
    Line {
        kind,
        event: Some(hop.id),
        place: place_words(hop),
        device: hop.device.as_deref().unwrap_or("").into(),
        stage: stage_word(hop.stage).into(),
        parts,
        origin: hop.origin.clone().filter(is_worth_a_word),
    }
}

fn route_words(dst: &str) -> String {
    if dst == "0.0.0.0/0" || dst == "::/0" { "default".into() } else { dst.into() }
}

/// Which fields of the IP and transport headers are different.
fn changes(was: &IpSummary, is: &IpSummary) -> Vec<String> {
    let mut out = Vec::new();
    let end = |addr: IpAddr, port: Option<u16>| {
        port.map_or_else(
            || addr.to_string(),
            |port| match addr {
                IpAddr::V4(addr) => format!("{addr}:{port}"),
                IpAddr::V6(addr) => format!("[{addr}]:{port}"),
            },
        )
    };
    if (was.src, was.sport) != (is.src, is.sport) {
        out.push(format!("source {} → {}", end(was.src, was.sport), end(is.src, is.sport)));
    }
    if (was.dst, was.dport) != (is.dst, is.dport) {
        out.push(format!("destination {} → {}", end(was.dst, was.dport), end(is.dst, is.dport)));
    }
    if was.ttl != is.ttl {
        out.push(format!("ttl {} → {}", was.ttl, is.ttl));
    }
    out
}

/// An object, a dump or a setting is; habits of the kernel are not.
fn is_worth_a_word(origin: &Origin) -> bool {
    !matches!(origin.kind(), OriginKind::Implied { .. })
}

/// Where something comes from. What is made up for an object comes from it.
fn origin_words(origin: &Origin) -> String {
    match origin.kind() {
        OriginKind::Object { .. }
        | OriginKind::Assumption { .. }
        | OriginKind::Dump { .. }
        | OriginKind::Embedder => origin.to_string(),
        OriginKind::MadeUp { object, .. } => object.to_string(),
        OriginKind::Implied { .. } => String::new(),
    }
}

fn outcome_line(case: &Case) -> Line {
    let style = match case.outcome {
        Outcome::Delivered => Style::Good,
        Outcome::Dropped | Outcome::Rejected | Outcome::Loop => Style::Bad,
        Outcome::Unknown => Style::Open,
    };
    let mut parts = Vec::new();
    let mut origin = None;
    match (&case.outcome, &case.delivered_to, &case.reason) {
        (Outcome::Delivered, Some(got), _) => {
            let port = got.port.map_or_else(String::new, |port| format!(", port {port}"));
            parts.push((style, format!("{}{port}", got.who)));
            if let Some(source) = &case.source_seen {
                parts.push((Style::Plain, format!(", which sees the source {}", source.ip)));
            }
            let last = case.hops.last();
            match last.map(|hop| &hop.event) {
                Some(EventKind::Delivered { listener: None, port: Some(_) }) => {
                    parts.push((Style::Open, "; nothing says whether a process listens".into()));
                }
                _ => {
                    origin = last.and_then(|hop| hop.origin.clone());
                }
            }
        }
        (_, _, Some(reason)) => {
            parts.push((style, reason_words(reason)));
            origin = reason.origin.clone();
        }
        (_, _, None) => parts.push((style, "the trace ended before the packet did".into())),
    }
    Line {
        kind: LineKind::Outcome,
        event: None,
        place: String::new(),
        device: String::new(),
        stage: case.outcome.to_string(),
        parts,
        origin,
    }
}

/// `on node-1 dev eth0: no route to 10.0.0.1 [IP_OUTNOROUTES]`.
fn reason_words(reason: &Reason) -> String {
    let mut text = String::new();
    if let Some(machine) = &reason.machine {
        let netns = reason.netns.as_deref().filter(|netns| !netns.is_empty());
        text += &format!("at {}", netns.unwrap_or(machine));
        if let Some(device) = &reason.device {
            text += &format!(" dev {device}");
        }
        text += ": ";
    }
    text += &reason.text;
    if let Some(drop) = reason.drop {
        text += &format!(" [{}]", drop.name());
    }
    text
}

fn verdict_line(trace: &Trace, case: &Case) -> Line {
    let style = match case.verdict {
        Verdict::Connected | Verdict::Answered => Style::Good,
        Verdict::Unknown => Style::Open,
        Verdict::Refused
        | Verdict::Reset
        | Verdict::Closed
        | Verdict::Timeout
        | Verdict::Unreachable
        | Verdict::WrongPeer
        | Verdict::Loop => Style::Bad,
    };
    let mut parts = Vec::new();
    let from = trace
        .question
        .from
        .who
        .as_ref()
        .map_or_else(|| trace.question.from.text.to_string(), |who| who.name.to_string());
    let words = match case.verdict {
        Verdict::Connected => format!("{from} is connected"),
        Verdict::Answered => format!("{from} gets an answer"),
        Verdict::Refused => format!("{from}: connection refused"),
        Verdict::Reset => format!("{from}: connection reset by peer"),
        Verdict::Closed => format!("{from} is connected, and the other side closes without an answer"),
        Verdict::Timeout => format!("{from} gets no answer"),
        Verdict::Unreachable => format!("{from}: {}", case.client.last().map_or("unreachable", |c| &c.text)),
        Verdict::WrongPeer => format!("{from} reaches somebody else"),
        Verdict::Loop => format!("{from}: the packet goes in circles"),
        Verdict::Unknown => "what the client lives through is not known".into(),
    };
    parts.push((style, words));
    if let (Verdict::Timeout | Verdict::Unreachable | Verdict::Loop, Some(last)) =
        (case.verdict, case.client.last())
    {
        let secs = last.at.as_nanos() / 1_000_000_000;
        if secs > 0 {
            parts.push((Style::Plain, format!(" (after {secs} s)")));
        }
    }
    // Why, where the outcome's line does not say it: the reply's fate.
    if let Some(reason) = &case.reason
        && case.outcome == Outcome::Delivered
        && !case.verdict.is_success()
    {
        parts.push((Style::Plain, format!(": {}", reason_words(reason))));
    }
    if let Some(otherwise) = case.otherwise {
        parts.push((Style::Plain, format!("; without that: {otherwise}")));
    }
    if let Some(settle) = case.reason.as_ref().and_then(|reason| reason.what_would_settle_it.as_ref()) {
        parts.push((Style::Plain, format!("; to find out: {settle}")));
    }
    Line {
        kind: LineKind::Verdict,
        event: None,
        place: String::new(),
        device: String::new(),
        stage: case.verdict.to_string(),
        parts,
        origin: None,
    }
}
