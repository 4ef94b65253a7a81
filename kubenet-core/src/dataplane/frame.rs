//! A frame on its way through a stack: the kernel's `sk_buff`, as far as the model needs it.

use alloc::vec::Vec;

use super::event::{EventId, FlowId};
use crate::packet::{self, Malformed, View};

/// A frame with what the stack remembers about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skb {
    /// The bytes, Ethernet header included.
    pub bytes: Vec<u8>,
    /// What the bytes say above Ethernet.
    pub view: Result<View, Malformed>,
    /// The flow that it belongs to.
    pub flow: FlowId,
    /// The last event that befell it.
    pub last: EventId,
    /// The firewall mark.
    pub mark: u32,
    /// The bridge has run the IP prerouting hook already (`ip_sabotage_in`).
    pub(super) prerouted: bool,
    /// How often it has been wrapped; the kernel gives up at `XMIT_RECURSION_LIMIT` (8).
    pub(super) nesting: u8,
}

impl Skb {
    /// Takes a frame in.
    pub fn new(bytes: Vec<u8>, flow: FlowId, cause: EventId) -> Self {
        let view = packet::view(&bytes);
        Self { bytes, view, flow, last: cause, mark: 0, prerouted: false, nesting: 0 }
    }

    /// The IP header's fields, if it is an IP packet.
    pub const fn ip(&self) -> Option<&packet::Ip> {
        match &self.view {
            Ok(View::Ip(ip)) => Some(ip),
            Ok(View::Arp(_) | View::Other(_)) | Err(_) => None,
        }
    }
}
