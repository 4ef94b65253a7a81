//! The way out: source selection, the output hooks, fragmentation, and handing a frame to a device.
//!
//! Sources: `net/ipv4/ip_output.c`, `net/ipv4/devinet.c inet_select_addr`, RFC 6724 (as far as one address per scope
//! and link needs it), `drivers/net/veth.c`.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::choices::Choices;
use super::conntrack::Ct;
use super::event::{EventId, EventKind, FlowKind, Recorder, Stage};
use super::fib::{Found, Query};
use super::frame::Skb;
use super::input::{Routed, is_link_local};
use super::machine::{Stack, Transmit};
use super::netns::Device;
use super::reason::DropReason;
use super::socket::Failure;
use crate::addr::{Family, MacAddr};
use crate::packet::{self, ETHERNET_BYTES, IcmpError, Ipv4Meta, number};
use crate::plan::{Address, Hook, LinkKind, Origin, RouteScope, Unknown};

/// What is known of a packet of this namespace's own before it is built.
pub(super) struct Outgoing {
    pub(super) kind: FlowKind,
    pub(super) cause: EventId,
    /// Chosen by the route when `None`.
    pub(super) src: Option<IpAddr>,
    pub(super) dst: IpAddr,
    pub(super) nesting: u8,
    /// The connection of the packet that it is about.
    pub(super) ct: Ct,
    /// How many relays in a row have led to it.
    pub(super) relays: u8,
    /// Why it is sent there.
    pub(super) origin: Option<Origin>,
}

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// Builds a packet of this namespace's own and sends it. The source is chosen by the route when not given.
    pub(super) fn send_with(
        &mut self,
        kind: FlowKind,
        cause: EventId,
        src: Option<IpAddr>,
        dst: IpAddr,
        nesting: u8,
        build: impl FnOnce(&Ipv4Meta) -> Vec<u8>,
    ) -> Result<EventId, Failure> {
        self.send_about(kind, cause, src, dst, nesting, Ct::None, build)
    }

    /// The same for an answer of the kernel about a packet: it belongs to that packet's connection.
    #[allow(clippy::too_many_arguments, reason = "a packet and where it comes from")]
    pub(super) fn send_about(
        &mut self,
        kind: FlowKind,
        cause: EventId,
        src: Option<IpAddr>,
        dst: IpAddr,
        nesting: u8,
        ct: Ct,
        build: impl FnOnce(&Ipv4Meta) -> Vec<u8>,
    ) -> Result<EventId, Failure> {
        self.send_out(Outgoing { kind, cause, src, dst, nesting, ct, relays: 0, origin: None }, build)
    }

    /// Builds a packet and sends it.
    pub(super) fn send_out(
        &mut self,
        outgoing: Outgoing,
        build: impl FnOnce(&Ipv4Meta) -> Vec<u8>,
    ) -> Result<EventId, Failure> {
        let Outgoing { kind, cause, src, dst, nesting, ct, relays, origin } = outgoing;
        let src = match src {
            Some(src) => src,
            None => self.source_for(dst)?,
        };
        let id = self.st.next_ip_id();
        let meta = Ipv4Meta { src, dst, ttl: self.plan.sysctls.default_ttl, dont_fragment: true, id };
        let mut skb = self.make(kind, cause, build(&meta));
        skb.nesting = nesting;
        skb.from_socket = ct == Ct::None;
        skb.ct = ct;
        skb.relays = relays;
        self.note(&mut skb, None, Stage::Socket, || (EventKind::Sent, origin));
        let sent = skb.last;
        self.local_out(skb).map(|()| sent)
    }

    /// The source address that the kernel would choose for a destination.
    pub(super) fn source_for(&mut self, dst: IpAddr) -> Result<IpAddr, Failure> {
        if self.st.local_link(dst).is_some() {
            return Ok(dst);
        }
        let fib = self.st.fib(self.plan, dst);
        let plan = self.plan;
        let query = Query { dst, src: None, iif: None, oif: None, mark: 0 };
        match fib.lookup(plan, &query) {
            Found::Route { route, hops, .. } => {
                let prefsrc = plan.routes.get(route as usize).and_then(|r| r.prefsrc);
                let hop = hops.first().and_then(|h| Some((h.link?, h.via.unwrap_or(dst))));
                match (prefsrc, hop) {
                    (Some(src), _) => Ok(src),
                    (None, Some((link, near))) => self.source_on(link, near).ok_or(Failure::NoSourceAddress),
                    (None, None) => Err(Failure::HostUnreachable),
                }
            }
            Found::None => Err(Failure::NetUnreachable),
            Found::Rule(_) => Err(Failure::HostUnreachable),
            Found::Unmodelled(_) => self.any_source(Family::of(dst)).ok_or(Failure::NoSourceAddress),
        }
    }

    /// The source address for a neighbour on a link (`inet_select_addr`, `ipv6_dev_get_saddr`): not one that means the host alone.
    pub(super) fn source_on(&self, link: u32, near: IpAddr) -> Option<IpAddr> {
        let plan = self.plan.links.get(link as usize)?;
        let family = Family::of(near);
        let is_usable = |a: &&Address| Family::of_net(a.net) == family && a.scope != RouteScope::Host;
        let mut own = plan.addresses.iter().filter(is_usable);
        if family == Family::V6 && is_link_local(near) && plan.mac != MacAddr::ZERO {
            return Some(IpAddr::V6(plan.mac.to_link_local()));
        }
        // RFC 6724 §5, rule 1.
        if family == Family::V6 && self.st.local_link(near).is_some() {
            return Some(near);
        }
        let near_one = own.clone().find(|a| a.net.contains(&near)).or_else(|| own.next());
        near_one.map(|a| a.net.addr()).or_else(|| self.any_source(family))
    }

    fn any_source(&self, family: Family) -> Option<IpAddr> {
        let mut all = self.plan.links.iter().flat_map(|l| &l.addresses);
        let wide = |scope| !matches!(scope, RouteScope::Host | RouteScope::Link | RouteScope::Nowhere);
        all.find(|a| Family::of_net(a.net) == family && wide(a.scope)).map(|a| a.net.addr())
    }

    /// Sends a packet that this namespace made. It is routed, and routed anew when a rule of the output hook changed its
    /// addresses or its mark (`ip_route_me_harder`).
    fn local_out(&mut self, skb: Skb) -> Result<(), Failure> {
        self.route_out(skb, false)
    }

    /// Sends on a packet that came from outside by the output hook, as IPVS does. It is routed as one of this machine's own.
    pub(super) fn send_on(&mut self, skb: Skb) -> Result<(), Failure> {
        self.route_out(skb, false)
    }

    fn route_out(&mut self, mut skb: Skb, filtered: bool) -> Result<(), Failure> {
        let Some(ip) = skb.ip().copied() else { return Err(Failure::NetUnreachable) };
        let was = (ip.src, ip.dst, skb.mark);
        if self.st.local_link(ip.dst).is_some() {
            self.note(&mut skb, Some(0), Stage::Route, || (EventKind::Local, None));
            if !filtered {
                let Some(seen) = self.output_hook(skb, 0)? else { return Ok(()) };
                skb = seen;
                if !unchanged(&skb, was) {
                    return self.route_out(skb, true);
                }
            }
            let Some(skb) = self.hooks(Hook::Postrouting, skb, None, Some(0)) else { return Ok(()) };
            self.neighbour_output(0, ip.dst, skb);
            return Ok(());
        }
        let (link, next, mut mtu) = match self.lookup(&mut skb, None, &ip) {
            Routed::Hop { hop, link, mtu } => (link, hop.via.unwrap_or(ip.dst), mtu),
            Routed::No { reason, why, error, origin } => {
                let failure = match error {
                    Some(IcmpError::Prohibited) => Failure::Prohibited,
                    Some(_) => Failure::HostUnreachable,
                    None if origin.is_some() => Failure::InvalidArgument,
                    None => Failure::NetUnreachable,
                };
                self.drop(skb, None, Stage::Route, reason, || (why, origin));
                return Err(failure);
            }
            Routed::Unknown(unknown) => {
                self.lose(skb, None, Stage::Route, unknown, None);
                return Ok(());
            }
        };
        if let Some(learned) = self.st.connections.path_mtu(ip.dst) {
            mtu = mtu.min(learned);
        }
        if u32::from(ip.len) > mtu && ip.protocol != number::TCP {
            match ip.family() {
                // IP_PMTUDISC_WANT: what does not fit is sent without DF (`__ip_make_skb`).
                Family::V4 => clear_dont_fragment(&mut skb),
                // The kernel cuts it at the source (`ip6_fragment`), behind a fragment header.
                Family::V6 => {
                    let unknown = Unknown {
                        why: format!(
                            "{} bytes do not fit the path MTU {mtu}, and fragments of IPv6 are not modelled",
                            ip.len
                        ),
                        what_would_settle_it: format!("send at most {mtu} bytes, headers included"),
                    };
                    self.lose(skb, Some(link), Stage::Output, unknown, None);
                    return Ok(());
                }
            }
        }
        if !filtered {
            let Some(seen) = self.output_hook(skb, link)? else { return Ok(()) };
            skb = seen;
            if !unchanged(&skb, was) {
                return self.route_out(skb, true);
            }
        }
        let Some(skb) = self.hooks(Hook::Postrouting, skb, None, Some(link)) else { return Ok(()) };
        self.finish_output(link, next, mtu, skb);
        Ok(())
    }

    /// The output hook. A datagram that a rule ends there is an error of its sender's call; TCP goes on trying.
    fn output_hook(&mut self, skb: Skb, link: u32) -> Result<Option<Skb>, Failure> {
        let datagram = skb.ip().is_some_and(|ip| ip.protocol != number::TCP);
        self.st.refused = false;
        let seen = self.hooks(Hook::Output, skb, None, Some(link));
        if seen.is_none() && self.st.refused && datagram { Err(Failure::NotPermitted) } else { Ok(seen) }
    }

    /// Cuts what does not fit, and resolves the next hop.
    pub(super) fn finish_output(&mut self, link: u32, next: IpAddr, mtu: u32, mut skb: Skb) {
        let Some(ip) = skb.ip().copied() else { return };
        if u32::from(ip.len) <= mtu {
            self.neighbour_output(link, next, skb);
            return;
        }
        if ip.dont_fragment {
            let about = skb.clone();
            let cause = self.drop(skb, Some(link), Stage::Postrouting, DropReason::PktTooBig, || {
                (format!("{} bytes do not fit MTU {mtu}, and it must not be fragmented", ip.len), None)
            });
            self.icmp_error(about, cause, IcmpError::TooBig(mtu));
            return;
        }
        let pieces = packet::fragment_ipv4(&skb.bytes, &ip, mtu);
        let count = pieces.len() as u32;
        self.note(&mut skb, Some(link), Stage::Postrouting, || {
            (EventKind::Fragmented { mtu_bytes: mtu, pieces: count }, None)
        });
        for piece in pieces {
            let mut fragment = Skb::new(piece, skb.flow, skb.last);
            fragment.nesting = skb.nesting;
            fragment.relays = skb.relays;
            self.neighbour_output(link, next, fragment);
        }
    }

    /// Hands a frame to a device.
    pub(super) fn transmit(&mut self, link: u32, mut skb: Skb) {
        let Some(state) = self.st.link(link) else { return };
        let (device, up) = (state.device, state.up);
        if !up {
            let name = self.link_name(link);
            let origin = self.link_origin(link);
            self.drop(skb, Some(link), Stage::Egress, DropReason::DevReady, || {
                (format!("{name} is down"), origin)
            });
            return;
        }
        self.note(&mut skb, Some(link), Stage::Egress, || (EventKind::Transmitted, None));
        match device {
            Device::Loopback => self.io.hand_over(self.st.index, 0, skb),
            Device::Veth { netns, link: peer } => self.veth_transmit(link, netns, peer, skb),
            Device::Bridge => match skb.bridging {
                // `br_nf_dev_xmit`.
                Some(source) => {
                    let to = packet::destination_mac(&skb.bytes);
                    self.bridge_on(link, source, to, skb);
                }
                None => self.bridge_transmit(link, skb),
            },
            Device::Vxlan => self.vxlan_transmit(link, skb),
            Device::Nic(Some(segment)) => {
                skb.scrub();
                self.io.transmit(Transmit { netns: self.st.index, link, segment, frame: skb });
            }
            Device::Nic(None) => {
                let name = self.link_name(link);
                let why = || (format!("no cable in {name}"), None);
                self.drop(skb, Some(link), Stage::Egress, DropReason::DevReady, why);
            }
            Device::Sink => {
                let name = self.link_name(link);
                let why = || (format!("{name} is a dummy device"), None);
                self.drop(skb, Some(link), Stage::Egress, DropReason::NotSpecified, why);
            }
            Device::Other => {
                let kind = match self.plan.links.get(link as usize).map(|l| &l.kind) {
                    Some(LinkKind::Other(kind)) => kind.clone(),
                    _ => "peer is missing".to_string(),
                };
                let name = self.link_name(link);
                let unknown = Unknown {
                    why: format!("{name} is a device that is not modelled ({kind})"),
                    what_would_settle_it: format!("tcpdump -ni {name} on the machine"),
                };
                self.lose(skb, Some(link), Stage::Egress, unknown, None);
            }
        }
    }

    /// The other end of a veth pair takes only what fits its MTU (`is_skb_forwardable`).
    fn veth_transmit(&mut self, link: u32, netns: u32, peer: u32, mut skb: Skb) {
        let other = self.machine.netns.get(netns as usize).and_then(|n| n.links.get(peer as usize));
        let mtu = other.map_or(0, |l| l.mtu_bytes) as usize;
        if skb.bytes.len() > mtu + ETHERNET_BYTES + 4 {
            let name = other.map_or_else(Default::default, |l| l.name.to_string());
            self.drop(skb, Some(link), Stage::Egress, DropReason::PktTooBig, || {
                (format!("the other end {name} takes at most {mtu} bytes"), None)
            });
            return;
        }
        skb.scrub();
        self.io.hand_over(netns, peer, skb);
    }
}

fn unchanged(skb: &Skb, (src, dst, mark): (IpAddr, IpAddr, u32)) -> bool {
    skb.mark == mark && skb.ip().is_some_and(|ip| ip.src == src && ip.dst == dst)
}

fn clear_dont_fragment(skb: &mut Skb) {
    let Some(flags) = skb.bytes.get_mut(20) else { return };
    *flags &= !0x40;
    // The checksum is mended by building it anew: 20 bytes, only for oversized packets.
    if let Some(header) = skb.bytes.get_mut(ETHERNET_BYTES..ETHERNET_BYTES + 20) {
        header[10..12].fill(0);
        let sum = etherparse::checksum::Sum16BitWords::new().add_slice(header).ones_complement();
        header[10..12].copy_from_slice(&sum.to_ne_bytes());
    }
    skb.view = packet::view(&skb.bytes);
}
