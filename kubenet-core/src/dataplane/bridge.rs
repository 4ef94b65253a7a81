//! The bridge: learning, forwarding, flooding, hairpin, and the IP hooks of br_netfilter.
//!
//! Sources: `net/bridge/br_input.c br_handle_frame_finish`, `br_forward.c should_deliver`, `br_fdb.c`,
//! `br_netfilter_hooks.c`; spec/linux.md §3. A frame larger than the port's MTU is lost without a word. A look-up is
//! one hash probe; a flood costs O(ports).

use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::choices::Choices;
use super::event::{EventKind, Recorder, Stage};
use super::fib::{Found, Query};
use super::frame::Skb;
use super::machine::Stack;
use super::netns::FdbState;
use super::reason::DropReason;
use crate::addr::MacAddr;
use crate::packet;
use crate::plan::{Hook, LinkKind};
use crate::time::Duration;

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// A port of a bridge got a frame.
    pub(super) fn bridge_input(
        &mut self,
        bridge: u32,
        port: u32,
        hairpin: bool,
        isolated: bool,
        mut skb: Skb,
    ) {
        let source = packet::source_mac(&skb.bytes);
        if source.is_multicast() || source == MacAddr::ZERO {
            self.drop(skb, Some(port), Stage::Bridge, DropReason::MacInvalidSource, || {
                (format!("{source} cannot be a source"), None)
            });
            return;
        }
        match self.st.fdb.get_mut(&(bridge, source)) {
            Some(entry) if entry.permanent => {}
            Some(entry) => (entry.port, entry.seen) = (port, self.now),
            None => {
                self.st.fdb.insert((bridge, source), FdbState { port, seen: self.now, permanent: false });
            }
        }
        if self.st.default_bridge_filter && skb.ip().is_some() {
            skb.phys_in = Some(port);
            let was = skb.ip().map(|ip| ip.dst);
            let Some(seen) = self.hooks(Hook::Prerouting, skb, Some(bridge), None) else { return };
            skb = seen;
            skb.prerouted = true;
            // A rule changed the destination: a neighbour behind this bridge is reached by the bridge, everything else by
            // the stack above it (`br_nf_pre_routing_finish`).
            if let Some(dst) = skb.ip().map(|ip| ip.dst).filter(|dst| Some(*dst) != was) {
                if self.is_behind(bridge, dst, skb.mark) {
                    skb.bridging = Some(source);
                    self.neighbour_output(bridge, dst, skb);
                } else {
                    skb.rerouted = true;
                    self.bridge_pass_up(bridge, true, skb);
                }
                return;
            }
        }
        self.bridge_finish(bridge, port, hairpin, isolated, skb);
    }

    /// Whether an address is a neighbour that is reached by a bridge.
    fn is_behind(&mut self, bridge: u32, dst: IpAddr, mark: u32) -> bool {
        if self.st.local_link(dst).is_some() {
            return false;
        }
        let fib = self.st.fib(self.plan, dst);
        let query = Query { dst, src: None, iif: None, oif: None, mark };
        match fib.lookup(self.plan, &query) {
            Found::Route { hops, .. } => {
                hops.first().is_some_and(|h| h.via.is_none() && h.link == Some(bridge))
            }
            Found::None | Found::Rule(_) | Found::Unmodelled(_) => false,
        }
    }

    /// A packet that came in by a port, whose destination a rule changed, and whose new neighbour is known
    /// (`br_nf_pre_routing_finish_bridge`): bridged on, with its own source MAC.
    pub(super) fn bridge_on(&mut self, bridge: u32, source: MacAddr, to: MacAddr, mut skb: Skb) {
        skb.bridging = None;
        packet::set_macs(&mut skb.bytes, source, to);
        let Some(port) = skb.phys_in else { return };
        let Some((_, hairpin, isolated)) = self.st.link(port).and_then(|l| l.master) else { return };
        self.bridge_finish(bridge, port, hairpin, isolated, skb);
    }

    fn bridge_finish(&mut self, bridge: u32, port: u32, hairpin: bool, isolated: bool, skb: Skb) {
        let to = packet::destination_mac(&skb.bytes);
        if to.is_multicast() {
            self.bridge_flood(bridge, Some((port, hairpin, isolated)), skb.clone());
            self.bridge_pass_up(bridge, false, skb);
            return;
        }
        match self.bridge_lookup(bridge, to) {
            Some(entry) if entry.permanent && entry.port == bridge => self.bridge_pass_up(bridge, true, skb),
            Some(entry) if entry.port == port && !hairpin => {
                let name = self.link_name(port);
                self.drop(skb, Some(port), Stage::Bridge, DropReason::BridgeNoEgressPort, || {
                    (format!("{to} is behind {name}, where the frame came from, and hairpin is off"), None)
                });
            }
            Some(entry) if isolated && self.is_isolated(entry.port) => {
                self.drop(skb, Some(port), Stage::Bridge, DropReason::BridgeNoEgressPort, || {
                    ("both ports are isolated".into(), None)
                });
            }
            Some(entry) => self.bridge_forward(bridge, Some(port), entry.port, skb),
            None => self.bridge_flood(bridge, Some((port, hairpin, isolated)), skb),
        }
    }

    /// The stack sends a frame by a bridge device.
    pub(super) fn bridge_transmit(&mut self, bridge: u32, skb: Skb) {
        let to = packet::destination_mac(&skb.bytes);
        match self.bridge_lookup(bridge, to) {
            Some(entry) if !to.is_multicast() && entry.port != bridge => {
                self.bridge_forward(bridge, None, entry.port, skb);
            }
            Some(_) | None => self.bridge_flood(bridge, None, skb),
        }
    }

    fn bridge_lookup(&self, bridge: u32, mac: MacAddr) -> Option<FdbState> {
        let entry = *self.st.fdb.get(&(bridge, mac))?;
        let ageing = match self.plan.links.get(bridge as usize).map(|l| &l.kind) {
            Some(LinkKind::Bridge { ageing_secs }) => Duration::from_secs(u64::from(*ageing_secs)),
            _ => Duration::from_secs(300),
        };
        (entry.permanent || self.now.saturating_since(entry.seen) <= ageing).then_some(entry)
    }

    fn is_isolated(&self, port: u32) -> bool {
        self.st.link(port).and_then(|l| l.master).is_some_and(|(_, _, isolated)| isolated)
    }

    fn bridge_pass_up(&mut self, bridge: u32, host: bool, mut skb: Skb) {
        if self.st.link(bridge).is_none_or(|l| !l.up) {
            let name = self.link_name(bridge);
            self.drop(skb, Some(bridge), Stage::Bridge, DropReason::DevReady, || {
                (format!("{name} is down"), None)
            });
            return;
        }
        self.note(&mut skb, Some(bridge), Stage::Ingress, || (EventKind::Received, None));
        self.receive_up(bridge, host, skb);
    }

    /// `from` is `None` for a frame of the machine's own.
    fn bridge_forward(&mut self, bridge: u32, from: Option<u32>, port: u32, mut skb: Skb) {
        let name = self.link_name(port);
        self.note(&mut skb, Some(bridge), Stage::Bridge, || (EventKind::Forwarded { port: name }, None));
        if let (Some(from), true, true) = (from, self.st.default_bridge_filter, skb.ip().is_some()) {
            (skb.phys_in, skb.phys_out) = (Some(from), Some(port));
            let Some(seen) = self.hooks(Hook::Forward, skb, Some(bridge), Some(bridge)) else { return };
            let Some(seen) = self.hooks(Hook::Postrouting, seen, Some(bridge), Some(bridge)) else { return };
            skb = seen;
            (skb.phys_out, skb.prerouted) = (None, false);
        }
        self.port_transmit(port, skb);
    }

    fn bridge_flood(&mut self, bridge: u32, from: Option<(u32, bool, bool)>, mut skb: Skb) {
        let Some(state) = self.st.link(bridge) else { return };
        let ports: Vec<u32> = state
            .ports
            .iter()
            .copied()
            .filter(|p| {
                self.st.link(*p).is_some_and(|l| l.up)
                    && from.is_none_or(|(from, hairpin, isolated)| {
                        (*p != from || hairpin) && !(isolated && self.is_isolated(*p))
                    })
            })
            .collect();
        if ports.is_empty() {
            if !packet::destination_mac(&skb.bytes).is_multicast() {
                let reason = DropReason::BridgeNoEgressPort;
                self.drop(skb, Some(bridge), Stage::Bridge, reason, || {
                    ("the bridge has no other port".into(), None)
                });
            }
            return;
        }
        let count = ports.len() as u32;
        self.note(&mut skb, Some(bridge), Stage::Bridge, || (EventKind::Flooded { ports: count }, None));
        skb.prerouted = false;
        for port in ports {
            self.port_transmit(port, skb.clone());
        }
    }

    fn port_transmit(&mut self, port: u32, skb: Skb) {
        let mtu = self.st.link(port).map_or(0, |l| l.mtu);
        if skb.ip().is_some_and(|ip| u32::from(ip.len) > mtu) {
            let name = self.link_name(port);
            self.drop(skb, Some(port), Stage::Bridge, DropReason::PktTooBig, || {
                (format!("larger than the MTU of {name} ({mtu}); a bridge sends no ICMP"), None)
            });
            return;
        }
        self.transmit(port, skb);
    }
}
