//! VXLAN devices: which machine a frame goes to, wrapping and unwrapping.
//!
//! Sources: `drivers/net/vxlan/vxlan_core.c vxlan_xmit, vxlan_rcv`, RFC 7348; spec/linux.md §6 (outer TTL 64, outer
//! source port a flow hash in the local port range, 50 bytes more).

use alloc::format;
use alloc::string::ToString;
use core::net::IpAddr;

use super::choices::Choices;
use super::conntrack::Ct;
use super::event::{EventKind, FlowKind, Recorder, Stage};
use super::frame::Skb;
use super::machine::Stack;
use super::output::Outgoing;
use super::reason::DropReason;
use crate::addr::{Family, MacAddr};
use crate::packet::{self, Ip, VXLAN_HEADER_BYTES};
use crate::plan::{LinkKind, Vxlan};

/// `XMIT_RECURSION_LIMIT` of net/core/dev.c.
const MAX_NESTING: u8 = 8;

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// A frame leaves by a VXLAN device.
    pub(super) fn vxlan_transmit(&mut self, link: u32, skb: Skb) {
        let plan = self.plan;
        let Some(LinkKind::Vxlan(vxlan)) = plan.links.get(link as usize).map(|l| &l.kind) else { return };
        let to = packet::destination_mac(&skb.bytes);
        let exact = self.st.vxlan_fdb.get(&(link, to));
        let Some(remotes) = exact.or_else(|| self.st.vxlan_fdb.get(&(link, MacAddr::ZERO))).cloned() else {
            let name = self.link_name(link);
            self.drop(skb, Some(link), Stage::Vxlan, DropReason::VxlanNoRemote, || {
                (format!("{name} has no forwarding entry for {to}"), None)
            });
            return;
        };
        for remote in remotes {
            self.encapsulate(link, vxlan, remote, skb.clone());
        }
    }

    fn encapsulate(&mut self, link: u32, vxlan: &Vxlan, remote: IpAddr, mut skb: Skb) {
        if skb.nesting >= MAX_NESTING {
            self.drop(skb, Some(link), Stage::Vxlan, DropReason::RecursionLimit, || {
                ("the tunnel's packets go through the tunnel".into(), None)
            });
            return;
        }
        let hash = skb.ip().map_or(0, |ip| packet::flow_hash(ip, true));
        // `udp_flow_src_port`: the hash scaled into ip_local_port_range, 32768–60999.
        let sport = 32768 + ((u64::from(hash) * (60999 - 32768)) >> 32) as u16;
        let plan = self.plan;
        let to = packet::destination_mac(&skb.bytes);
        self.note(&mut skb, Some(link), Stage::Vxlan, || {
            (EventKind::Encapsulated { vni: vxlan.vni, remote }, fdb_origin(plan, link, to))
        });
        let (vni, dport, src) = (vxlan.vni, vxlan.port, vxlan.local);
        let (cause, nesting) = (skb.last, skb.nesting + 1);
        let outgoing = Outgoing {
            kind: FlowKind::Tunnel,
            cause,
            src,
            dst: remote,
            nesting,
            ct: Ct::None,
            relays: skb.relays,
            origin: None,
        };
        let sent = self.send_out(outgoing, |meta| {
            // `df` is unset by default: the outer packet may be fragmented.
            let outer = packet::Ipv4Meta { dont_fragment: false, ..*meta };
            packet::vxlan_encapsulate(&outer, sport, dport, vni, &skb.bytes)
        });
        if let Err(failure) = sent {
            self.drop(skb, Some(link), Stage::Vxlan, DropReason::IpOutNoRoutes, || {
                (failure.to_string(), None)
            });
        }
    }

    /// A UDP datagram may be for a VXLAN device: then the frame in it is received there. `false` if it is not.
    pub(super) fn vxlan_input(&mut self, in_link: u32, ip: &Ip, skb: &Skb) -> bool {
        let Some((_, dport)) = ip.ports else { return false };
        if !self.st.vxlan_ports.iter().any(|(port, _)| *port == dport) {
            return false;
        }
        let payload = packet::l4_bytes(&skb.bytes, ip).get(8..).unwrap_or(&[]);
        let mut skb = skb.clone();
        let Some(vni) = packet::vxlan_vni(payload) else {
            self.drop(skb, Some(in_link), Stage::Vxlan, DropReason::VxlanInvalidHdr, || {
                ("the VXLAN header has no valid VNI".into(), None)
            });
            return true;
        };
        let plan = self.plan;
        let device = self.st.vxlan_ports.iter().find_map(|(port, link)| {
            let Some(LinkKind::Vxlan(vxlan)) = plan.links.get(*link as usize).map(|l| &l.kind) else {
                return None;
            };
            // The socket of a device has the family of its outer addresses (`vxlan_sock_add`).
            let family = vxlan.local.is_none_or(|local| Family::of(local) == ip.family());
            (*port == dport && vxlan.vni == vni && family).then_some((*link, vxlan.learning))
        });
        let Some((link, learning)) = device else {
            self.drop(skb, Some(in_link), Stage::Vxlan, DropReason::VxlanVniNotFound, || {
                (format!("no VXLAN device has VNI {vni} on port {dport}"), None)
            });
            return true;
        };
        let inner = payload.get(VXLAN_HEADER_BYTES..).unwrap_or(&[]).to_vec();
        self.note(&mut skb, Some(link), Stage::Vxlan, || (EventKind::Decapsulated { vni }, None));
        let from = packet::source_mac(&inner);
        if from.is_multicast() || from == MacAddr::ZERO {
            self.drop(skb, Some(link), Stage::Vxlan, DropReason::MacInvalidSource, || {
                (format!("{from} cannot be a source"), None)
            });
            return true;
        }
        if learning {
            let remotes = self.st.vxlan_fdb.entry((link, from)).or_default();
            if !remotes.contains(&ip.src) {
                remotes.clear();
                remotes.push(ip.src);
            }
        }
        let mut inner = Skb::new(inner, skb.flow, skb.last);
        inner.relays = skb.relays;
        self.io.hand_over(self.st.index, link, inner);
        true
    }
}

fn fdb_origin(plan: &crate::plan::Netns, link: u32, mac: MacAddr) -> Option<crate::plan::Origin> {
    let name = &plan.links.get(link as usize)?.name;
    let entry = plan.fdb.iter().find(|e| e.dev == *name && e.mac == mac)?;
    Some(entry.origin.clone())
}
