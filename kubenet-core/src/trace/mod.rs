//! Traces: what happens to a packet and its answer, as plain data.
//!
//! In: a [`PlanSource`](crate::plan::PlanSource), a cluster that says what its machines are, and what is to be sent
//! ([`Request`]). Out: a [`Trace`]: for every way that chance can fall a [`Case`] with the packet's [`Outcome`], the client's
//! [`Verdict`], the main path of hops, the reply's, and the whole tree of flows. The serialised form is the schema
//! `kubenet/trace/v1` (`docs/schema/trace-v1.json`).

mod assumptions;
mod doubt;
mod judge;
mod mermaid;
mod path;
mod pcapng;
mod run;
mod show;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::mermaid::mermaid;
pub use self::pcapng::pcapng;
pub(crate) use self::run::attempt;
pub use self::run::{Chance, Request, RunError, run};
pub use self::show::{Detail, Line, LineKind, Style, lines};
use crate::addr::Protocol;
use crate::cluster::Cluster;
use crate::dataplane::{DropReason, EventId, EventKind, FlowId, FlowKind, Probability, Stage, Taken};
use crate::origin::{Diagnostic, Origin};
use crate::packet::Summary;
use crate::time::Instant;

/// The name of the serialised form.
pub const SCHEMA: &str = "kubenet/trace/v1";

/// The answer to "what happens to this packet?".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Trace {
    /// [`SCHEMA`].
    pub schema: Cow<'static, str>,
    /// What was asked, looked up.
    pub question: Asked,
    /// What can happen, likeliest first. One case unless chance was explored. Never empty.
    pub outcomes: Vec<Case>,
    /// The probability of what was not explored because the limit was reached.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub unexplored: Probability,
    /// What the answer rests on, those that could change the verdict first.
    pub assumptions: Vec<Assumption>,
    /// What is to be told about the question. What is wrong with the input is the network's.
    pub diagnostics: Vec<Diagnostic>,
}

const fn zero() -> Probability {
    Probability::ZERO
}

fn is_zero(probability: &Probability) -> bool {
    *probability == Probability::ZERO
}

impl Trace {
    /// The one verdict of all cases; `None` when they differ.
    pub fn verdict(&self) -> Option<Verdict> {
        let first = self.outcomes.first()?.verdict;
        self.outcomes.iter().all(|case| case.verdict == first).then_some(first)
    }

    /// How the command line ends: 0 when every case is connected or answered, 3 when a case is not known, else 1.
    pub fn exit_status(&self) -> u8 {
        let any = |wanted: fn(Verdict) -> bool| self.outcomes.iter().any(|case| wanted(case.verdict));
        if any(|v| !v.is_success() && v != Verdict::Unknown) {
            1
        } else if any(|v| v == Verdict::Unknown) || !is_zero(&self.unexplored) {
            3
        } else {
            0
        }
    }
}

/// A question, looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Where the packet starts.
    pub from: End,
    /// Where it is sent.
    pub to: End,
    /// The transport.
    pub protocol: Protocol,
    /// What was chosen for the asker, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<String>,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The question's words.
    pub text: Arc<str>,
    /// What it is; `None` for an address that belongs to nobody known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The port, or the identifier of an echo request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Who is at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// `Pod`, `Node`, `Service`, `Gateway` or `Outside`.
    pub kind: Cow<'static, str>,
    /// The namespace of a Pod or Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// The node that a pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
}

impl fmt::Display for Who {
    /// `pod shop/cart-0 on node-1`, `node node-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.kind.chars() {
            write!(f, "{}", c.to_ascii_lowercase())?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " {namespace}/{}", self.name)?,
            None => write!(f, " {}", self.name)?,
        }
        match &self.node {
            Some(node) => write!(f, " on {node}"),
            None => Ok(()),
        }
    }
}

/// What became of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It reached a socket, or the namespace that it was meant for.
    Delivered,
    /// It ended without a word to its sender.
    Dropped,
    /// It ended, and its sender was told (RST, ABORT or an ICMP error).
    Rejected,
    /// It went in circles.
    Loop,
    /// The input cannot tell.
    Unknown,
}

impl Outcome {
    /// The word of the schema.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::Rejected => "rejected",
            Self::Loop => "loop",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the client lives through, reply and retries included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The connection is up (`connect()` returns).
    Connected,
    /// An answer came.
    Answered,
    /// `ECONNREFUSED`.
    Refused,
    /// `ECONNRESET` after it was up.
    Reset,
    /// The other side ended the connection after it was up, in order but without an answer.
    Closed,
    /// No answer in time.
    Timeout,
    /// `EHOSTUNREACH`, `ENETUNREACH` and their like.
    Unreachable,
    /// Somebody else answered.
    WrongPeer,
    /// The packet went in circles.
    Loop,
    /// The input cannot tell.
    Unknown,
}

impl Verdict {
    /// The word of the schema.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::WrongPeer => "wrong-peer",
            Self::Loop => "loop",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the client got what it wanted.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Connected | Self::Answered)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One way that chance can fall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Its probability, as an exact fraction. Cases that come to the same are one, with the sum.
    pub probability: Probability,
    /// The choices that led to it, in order (of the likeliest, where several come to the same).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Taken>,
    /// What became of the packet.
    pub outcome: Outcome,
    /// What the client lives through.
    pub verdict: Verdict,
    /// Why, unless it was delivered and answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The verdict if what is not known turned out to be harmless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Verdict>,
    /// Who got it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_to: Option<Delivery>,
    /// The source that the receiver saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_seen: Option<Source>,
    /// What the client lived through, in order.
    pub client: Vec<Experience>,
    /// The main path of the packet.
    pub hops: Vec<Hop>,
    /// The answer, if one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// Everything that was sent, as a tree: a flow points at the event that caused it.
    pub flows: Vec<FlowRecord>,
}

/// Why a packet got no further, or why an answer is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The kernel's `skb_drop_reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<DropReason>,
    /// In words.
    pub text: String,
    /// The machine, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Arc<str>>,
    /// The namespace there; empty for the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<Arc<str>>,
    /// The link there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    /// The stage there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// The rule, route, object or setting behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// For what is not known: a command or a setting that settles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what_would_settle_it: Option<String>,
}

impl Reason {
    /// A reason that no single place has.
    pub(crate) const fn of_text(text: String) -> Self {
        Self {
            drop: None,
            text,
            machine: None,
            netns: None,
            device: None,
            stage: None,
            origin: None,
            what_would_settle_it: None,
        }
    }
}

/// Who got a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Who.
    #[serde(flatten)]
    pub who: Who,
    /// The address that it was delivered to.
    pub ip: IpAddr,
    /// The port, where the protocol has ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// A source as a receiver sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The address.
    pub ip: IpAddr,
    /// The port, where the protocol has ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// One thing that the client lived through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experience {
    /// When, in nanoseconds since the first packet.
    pub at: Instant,
    /// What, in words.
    pub text: String,
}

/// The answer's way back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What became of it.
    pub outcome: Outcome,
    /// Why it got no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Its path.
    pub hops: Vec<Hop>,
}

/// One thing that happened to a frame, with the frame as it was then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// Its number within the case.
    pub id: EventId,
    /// What befell the frame before, or what caused the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<EventId>,
    /// When, in nanoseconds since the first packet.
    pub at: Instant,
    /// The machine, or the switch.
    pub machine: Arc<str>,
    /// The machine is as its dump shows it, not as the manifests call for.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub observed: bool,
    /// The namespace there; empty for the machine's own.
    pub netns: Arc<str>,
    /// The link, where one is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    /// The stage, in Linux's words.
    pub stage: Stage,
    /// What happened.
    pub event: EventKind,
    /// The frame's headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<Summary>,
    /// The frame, as hexadecimal digits.
    #[serde(with = "hex")]
    pub bytes: Arc<[u8]>,
    /// What decided, and where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Hop {
    /// Where it happened, for people: the namespace of a pod, else the machine or switch.
    pub fn place(&self) -> &Arc<str> {
        if self.netns.is_empty() { &self.machine } else { &self.netns }
    }
}

/// One flow with everything that happened to its frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Its number within the case.
    pub id: FlowId,
    /// Why it was made.
    pub kind: FlowKind,
    /// The event that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventId>,
    /// What happened.
    pub events: Vec<Hop>,
}

/// Something that the answer rests on and that the input does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assumption {
    /// The field of [`Assume`](crate::assume::Assume) that says otherwise.
    pub key: Cow<'static, str>,
    /// What is assumed.
    pub text: String,
    /// Whether the alternative would change the verdict.
    pub decisive: bool,
}

/// The answer to a question whose destination's address is not known.
pub(crate) fn not_known(question: Asked, why: String, settle: String) -> Trace {
    let reason = Reason { what_would_settle_it: Some(settle), ..Reason::of_text(why) };
    let case = Case {
        probability: Probability::ONE,
        choices: Vec::new(),
        outcome: Outcome::Unknown,
        verdict: Verdict::Unknown,
        reason: Some(reason),
        otherwise: None,
        delivered_to: None,
        source_seen: None,
        client: Vec::new(),
        hops: Vec::new(),
        reply: None,
        flows: Vec::new(),
    };
    Trace {
        schema: Cow::Borrowed(SCHEMA),
        question,
        outcomes: Vec::from([case]),
        unexplored: Probability::ZERO,
        assumptions: Vec::new(),
        diagnostics: Vec::new(),
    }
}

/// Adds to the cases of a run what they rest on, and what leaves them open.
pub(crate) fn finish(
    cluster: &Cluster,
    request: &Request,
    question: Asked,
    mut cases: Vec<Case>,
    unexplored: Probability,
) -> Trace {
    for case in &mut cases {
        let ends = doubt::Ends::of(cluster, request, case);
        doubt::apply(cluster, &ends, case);
    }
    let assumptions = assumptions::of(cluster, request, &cases);
    let diagnostics = Vec::new();
    Trace { schema: Cow::Borrowed(SCHEMA), question, outcomes: cases, unexplored, assumptions, diagnostics }
}

/// Bytes as hexadecimal digits.
mod hex {
    use alloc::borrow::Cow;
    use alloc::string::String;
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
        let text: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let wrong = || de::Error::custom("bytes are pairs of hexadecimal digits");
        let byte = |pair: &[u8]| {
            let text = core::str::from_utf8(pair).map_err(|_| wrong())?;
            u8::from_str_radix(text, 16).map_err(|_| wrong())
        };
        if !text.len().is_multiple_of(2) {
            return Err(wrong());
        }
        let bytes: Result<Vec<u8>, D::Error> = text.as_bytes().chunks(2).map(byte).collect();
        bytes.map(Arc::from)
    }
}
