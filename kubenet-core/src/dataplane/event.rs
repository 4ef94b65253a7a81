//! What happened, stage by stage: the vocabulary of a trace, and who takes it down.
//!
//! Every frame that a stack makes starts a [`Flow`]; its flow points at the event that caused it (an ARP request at
//! the packet that waits for it, an ICMP error at the drop, a reply at the delivery), so a run is a tree of flows.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::reason::DropReason;
use crate::addr::MacAddr;
use crate::packet::Side;
use crate::plan::netfilter::CtState;
use crate::plan::{MachineId, Origin, RouteKind, SegmentId, Unknown};
use crate::time::Instant;

/// Numbers an event within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub u32);

impl EventId {
    /// No event: the run began here, or nothing is recorded.
    pub const NONE: Self = Self(u32::MAX);
}

/// Numbers a flow within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowId(pub u32);

/// Why a frame was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKind {
    /// The first packet of what was asked for.
    Request,
    /// The same again, because no answer came in time.
    Retransmission,
    /// The answer to a request: SYN+ACK, UDP reply, echo reply, RST.
    Reply,
    /// What completes or uses the connection: ACK, data.
    Data,
    /// ARP or NDP, asking and answering.
    Neighbour,
    /// An ICMP error or redirect.
    IcmpError,
    /// The outer packet of a tunnel.
    Tunnel,
    /// Fed in from outside.
    Injected,
    /// A process hands on what it was asked, over a connection of its own.
    Relayed,
}

/// Where in the stack something happened, in Linux's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// A socket or the kernel makes a packet, or a socket gets one.
    Socket,
    /// A device hands a frame to the stack.
    Ingress,
    /// Before routing.
    Prerouting,
    /// The routing decision.
    Route,
    /// To a local socket.
    Input,
    /// From link to link.
    Forward,
    /// From a local socket.
    Output,
    /// After routing.
    Postrouting,
    /// Neighbour resolution.
    Neighbour,
    /// A bridge decides.
    Bridge,
    /// A VXLAN device wraps or unwraps.
    Vxlan,
    /// The stack hands a frame to a device.
    Egress,
    /// A switch between machines.
    Switch,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum EventKind {
    /// A socket or the kernel made this packet.
    Sent,
    /// A device received the frame.
    Received,
    /// A device sent the frame.
    Transmitted,
    /// A route was found.
    Routed {
        /// Its destination.
        dst: IpNet,
        /// Its table.
        table: u32,
        /// What it does.
        kind: RouteKind,
        /// The router.
        via: Option<IpAddr>,
        /// The link's name.
        dev: Option<alloc::sync::Arc<str>>,
    },
    /// The address is this machine's own.
    Local,
    /// The next hop's MAC was known.
    NeighbourKnown {
        /// The next hop.
        addr: IpAddr,
        /// Its MAC.
        mac: MacAddr,
    },
    /// The next hop's MAC is asked for; the packet waits.
    NeighbourAsked {
        /// The next hop.
        addr: IpAddr,
        /// Which try, from 1.
        attempt: u8,
    },
    /// The answer is in; waiting packets go on.
    NeighbourResolved {
        /// The next hop.
        addr: IpAddr,
        /// Its MAC.
        mac: MacAddr,
    },
    /// A bridge or switch sends the frame out by one port.
    Forwarded {
        /// The port's name (a link, or a machine on a switch).
        port: alloc::sync::Arc<str>,
    },
    /// A bridge or switch sends the frame out by every port.
    Flooded {
        /// How many ports.
        ports: u32,
    },
    /// The packet was wrapped.
    Encapsulated {
        /// The VXLAN network.
        vni: u32,
        /// The other end.
        remote: IpAddr,
    },
    /// The packet was unwrapped.
    Decapsulated {
        /// The VXLAN network.
        vni: u32,
    },
    /// TTL went down by one.
    TtlDecremented,
    /// The packet was cut.
    Fragmented {
        /// To fit this MTU.
        mtu_bytes: u32,
        /// Into so many.
        pieces: u32,
    },
    /// The pieces were put together.
    Reassembled,
    /// A netfilter rule decided.
    Filtered {
        /// The chain.
        chain: alloc::sync::Arc<str>,
        /// `accept` or `drop`.
        verdict: String,
    },
    /// A rule changed the packet, led elsewhere or decided.
    Rule {
        /// The table, as its tool names it: `nat`, `ip kube-proxy`.
        table: alloc::sync::Arc<str>,
        /// The chain.
        chain: alloc::sync::Arc<str>,
        /// The rule's place in the chain, from 1; `None` for the chain's policy, and where a chain is not there whole.
        rule: Option<u32>,
        /// What it did, in the words of its tool.
        did: String,
    },
    /// Its connection, as `conntrack -L` shows it, and its state in it.
    Tracked {
        /// The packet's state.
        state: CtState,
        /// The connection.
        connection: String,
    },
    /// An address, and perhaps a port, was changed.
    Translated {
        /// Which end.
        side: Side,
        /// What it was.
        from: SocketAddr,
        /// What it is. A port of 0 stands for none.
        to: SocketAddr,
        /// It undoes on the way back what was done to the first packet.
        reply: bool,
    },
    /// It reached a socket or the namespace that it was meant for.
    Delivered {
        /// `None`: nothing says whether a process listens.
        listener: Option<String>,
        /// The port.
        port: Option<u16>,
    },
    /// It goes no further.
    Dropped {
        /// The kernel's reason.
        reason: DropReason,
        /// In words.
        why: String,
    },
    /// What happens from here on is not known.
    Unknown(Unknown),
}

/// Where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In a namespace of a machine, at a link of it if one is concerned.
    Netns {
        /// The machine.
        machine: MachineId,
        /// The namespace's index.
        netns: u32,
        /// The link's index.
        link: Option<u32>,
    },
    /// On a segment.
    Segment(SegmentId),
}

/// One event, as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its flow.
    pub flow: FlowId,
    /// What befell the same frame (or the one it was copied from) before; the flow's cause for the first.
    pub before: EventId,
    /// When.
    pub at: Instant,
    /// Where.
    pub place: Place,
    /// At which stage.
    pub stage: Stage,
    /// What.
    pub kind: EventKind,
    /// The rule, route, entry or setting behind it.
    pub origin: Option<Origin>,
}

/// One flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Why it was made.
    pub kind: FlowKind,
    /// The event that caused it.
    pub cause: EventId,
}

/// Takes down what happens. `()` takes down nothing, and then nothing is built to be taken down.
pub trait Recorder {
    /// Whether anything is taken down.
    const ON: bool;
    /// A new flow begins.
    fn flow(&mut self, flow: Flow) -> FlowId;
    /// Something happened to a frame.
    fn event(&mut self, event: impl FnOnce() -> Event, frame: &[u8]) -> EventId;
}

impl Recorder for () {
    const ON: bool = false;

    fn flow(&mut self, _: Flow) -> FlowId {
        FlowId(0)
    }

    fn event(&mut self, _: impl FnOnce() -> Event, _: &[u8]) -> EventId {
        EventId::NONE
    }
}

/// Takes everything down, frames included. Frames share one buffer: one event costs one copy and no allocation.
#[derive(Clone, Debug, Default)]
pub struct Log {
    flows: Vec<Flow>,
    events: Vec<Event>,
    frames: Vec<Range<usize>>,
    bytes: Vec<u8>,
}

impl Log {
    /// All flows in order.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// All events in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The frame of an event.
    pub fn frame(&self, id: EventId) -> &[u8] {
        self.frames.get(id.0 as usize).and_then(|range| self.bytes.get(range.clone())).unwrap_or(&[])
    }

    /// Forgets everything but keeps its buffers.
    pub fn clear(&mut self) {
        self.flows.clear();
        self.events.clear();
        self.frames.clear();
        self.bytes.clear();
    }
}

impl Recorder for Log {
    const ON: bool = true;

    fn flow(&mut self, flow: Flow) -> FlowId {
        self.flows.push(flow);
        FlowId((self.flows.len() - 1) as u32)
    }

    fn event(&mut self, event: impl FnOnce() -> Event, frame: &[u8]) -> EventId {
        self.events.push(event());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        self.frames.push(start..self.bytes.len());
        EventId((self.events.len() - 1) as u32)
    }
}
