//! A frame on its way through a stack: the kernel's `sk_buff`, as far as the model needs it.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::conntrack::Ct;
use super::event::{EventId, FlowId};
use crate::addr::MacAddr;
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
    /// Its connection, as far as this namespace has looked.
    pub(super) ct: Ct,
    /// The bridge port that it came in by, where br_netfilter hands bridged frames to the IP hooks.
    pub(super) phys_in: Option<u32>,
    /// The bridge port that it leaves by, while it is bridged.
    pub(super) phys_out: Option<u32>,
    /// It waits for the MAC of its new destination, to be bridged on from this one (`br_nf_pre_routing_finish_bridge`).
    pub(super) bridging: Option<MacAddr>,
    /// IPVS has changed it: the virtual server's address, port and protocol.
    pub(super) ipvs: Option<(IpAddr, u16, u8)>,
    /// A socket of this namespace made it.
    pub(super) from_socket: bool,
    /// The bridge has run the IP prerouting hook already (`ip_sabotage_in`).
    pub(super) prerouted: bool,
    /// The bridge has routed it anew, since that hook changed its destination. To IPv6 it then came in by the link that it leaves by
    /// (`ip6_rcv` takes the incoming link from the route).
    pub(super) rerouted: bool,
    /// How often it has been wrapped; the kernel gives up at `XMIT_RECURSION_LIMIT` (8).
    pub(super) nesting: u8,
    /// How many relays in a row have handed on what it is about. Stays with it from machine to machine.
    pub(super) relays: u8,
}

impl Skb {
    /// Takes a frame in.
    pub fn new(bytes: Vec<u8>, flow: FlowId, cause: EventId) -> Self {
        let view = packet::view(&bytes);
        Self {
            bytes,
            view,
            flow,
            last: cause,
            mark: 0,
            ct: Ct::None,
            phys_in: None,
            phys_out: None,
            bridging: None,
            ipvs: None,
            from_socket: false,
            prerouted: false,
            rerouted: false,
            nesting: 0,
            relays: 0,
        }
    }

    /// What another namespace must not see (`skb_scrub_packet`).
    pub(super) fn scrub(&mut self) {
        self.ct = Ct::None;
        self.mark = 0;
        (self.phys_in, self.phys_out) = (None, None);
        self.ipvs = None;
        self.from_socket = false;
        (self.prerouted, self.rerouted) = (false, false);
    }

    /// The IP header's fields, if it is an IP packet.
    pub const fn ip(&self) -> Option<&packet::Ip> {
        match &self.view {
            Ok(View::Ip(ip)) => Some(ip),
            Ok(View::Arp(_) | View::Other(_)) | Err(_) => None,
        }
    }
}
