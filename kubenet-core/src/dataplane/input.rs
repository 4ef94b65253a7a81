//! The way in: device, ARP or IP, routing decision, forwarding or local delivery.
//!
//! Sources: `net/core/dev.c __netif_receive_skb_core`, `net/ipv4/ip_input.c`, `net/ipv4/route.c ip_route_input_slow`,
//! `net/ipv4/fib_frontend.c __fib_validate_source`, `net/ipv4/ip_forward.c`, `net/ipv6/ip6_output.c ip6_forward`.

use alloc::format;
use alloc::string::String;
use core::net::IpAddr;

use super::choices::Choices;
use super::event::{EventKind, Recorder, Stage};
use super::fib::{self, Found, Hop, Query};
use super::frame::Skb;
use super::machine::Stack;
use super::netns::Device;
use super::reason::DropReason;
use crate::addr::{Family, MacAddr};
use crate::packet::{self, IcmpError, Ip, Malformed, View};
use crate::plan::{Hook, Origin, RouteKind, Unknown};

/// What routing said of a packet that came in.
pub(super) enum Routed {
    Hop {
        hop: Hop,
        link: u32,
        mtu: u32,
    },
    /// The route (or the lack of one) forbids it: reason, words, ICMP answer.
    No {
        reason: DropReason,
        why: String,
        error: Option<IcmpError>,
        origin: Option<Origin>,
    },
    Unknown(Unknown),
}

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// A device of this namespace receives a frame.
    pub(super) fn receive(&mut self, link: u32, mut skb: Skb) {
        let Some(state) = self.st.link(link) else { return };
        let (up, master, device, mac, noarp) = (state.up, state.master, state.device, state.mac, state.noarp);
        if !up {
            let name = self.link_name(link);
            let origin = self.link_origin(link);
            self.drop(skb, Some(link), Stage::Ingress, DropReason::DevReady, || {
                (format!("{name} is down"), origin)
            });
            return;
        }
        self.note(&mut skb, Some(link), Stage::Ingress, || (EventKind::Received, None));
        if let Some((bridge, hairpin, isolated)) = master {
            self.bridge_input(bridge, link, hairpin, isolated, skb);
            return;
        }
        let to = packet::destination_mac(&skb.bytes);
        let host = device == Device::Loopback || noarp || to == mac;
        if !host && !to.is_multicast() {
            self.drop(skb, Some(link), Stage::Ingress, DropReason::OtherHost, || {
                (format!("the frame is for {to}, this link is {mac}"), None)
            });
            return;
        }
        self.receive_up(link, host, skb);
    }

    /// A frame that is meant for the stack itself. `host`: addressed to it alone, not to a group.
    pub(super) fn receive_up(&mut self, link: u32, host: bool, skb: Skb) {
        match skb.view {
            Ok(View::Ip(ip)) => self.ip_input(link, host, ip, skb),
            Ok(View::Arp(arp)) => self.arp_input(link, &arp, skb),
            Ok(View::Other(ethertype)) => {
                self.drop(skb, Some(link), Stage::Ingress, DropReason::UnhandledProto, || {
                    (format!("nothing handles EtherType {ethertype:#06x}"), None)
                });
            }
            Err(malformed) => {
                let (reason, why) = match malformed {
                    Malformed::Short => {
                        (DropReason::PktTooSmall, "the frame is shorter than its headers say")
                    }
                    Malformed::IpHeader => (DropReason::IpInhdr, "the IP header is wrong"),
                    Malformed::IpChecksum => (DropReason::IpCsum, "the IPv4 header checksum is wrong"),
                };
                self.drop(skb, Some(link), Stage::Ingress, reason, || (why.into(), None));
            }
        }
    }

    fn ip_input(&mut self, link: u32, host: bool, ip: Ip, skb: Skb) {
        if ip.family() == Family::V6 && self.plan.sysctls.disable_ipv6 {
            let reason = DropReason::Ipv6Disabled;
            self.drop(skb, Some(link), Stage::Ingress, reason, || ("disable_ipv6 is set".into(), None));
            return;
        }
        let mut skb = skb;
        // br_netfilter ran the hook for this stack; the next one that the packet meets runs its own.
        if !core::mem::take(&mut skb.prerouted) {
            let Some(seen) = self.hooks(Hook::Prerouting, skb, Some(link), None) else { return };
            skb = seen;
        }
        // What the rules made of it.
        let Some(ip) = skb.ip().copied() else { return };
        if let Some((reason, why)) = self.martian(link, &ip) {
            self.drop(skb, Some(link), Stage::Route, reason, || (why, None));
            return;
        }
        let local = self.is_local(&ip);
        if let Some((reason, why)) = self.source_is_wrong(link, &ip) {
            self.drop(skb, Some(link), Stage::Route, reason, || (why, None));
            return;
        }
        if local {
            let mut skb = skb;
            self.note(&mut skb, Some(link), Stage::Route, || (EventKind::Local, None));
            self.local_deliver(link, ip, skb);
            return;
        }
        self.route_and_forward(link, host, ip, skb);
    }

    fn is_local(&self, ip: &Ip) -> bool {
        self.is_group(ip.dst) || self.st.local_link(ip.dst).is_some()
    }

    /// Whether an address means many hosts: multicast, or a broadcast address of one of the links.
    pub(super) fn is_group(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => {
                addr.is_broadcast() || addr.is_multicast() || self.st.broadcast.contains_key(&addr)
            }
            IpAddr::V6(addr) => addr.is_multicast(),
        }
    }

    /// Sources and destinations that never come from outside (`ip_route_input_slow`; spec/linux.md §4).
    fn martian(&self, link: u32, ip: &Ip) -> Option<(DropReason, String)> {
        let state = self.st.link(link)?;
        let outside = state.device != Device::Loopback;
        match (ip.src, ip.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                if src.is_multicast() || src.is_broadcast() || (src.is_unspecified() && !dst.is_broadcast()) {
                    return Some((DropReason::IpInvalidSource, format!("{src} cannot be a source")));
                }
                if dst.is_unspecified() {
                    return Some((DropReason::IpInvalidDest, format!("{dst} cannot be a destination")));
                }
                if outside && !state.route_localnet && (src.is_loopback() || dst.is_loopback()) {
                    let why = "a 127.0.0.0/8 address came from outside, and route_localnet is 0".into();
                    return Some((DropReason::IpLocalnet, why));
                }
                None
            }
            (src, dst) => {
                if src.is_multicast() || dst.is_unspecified() {
                    return Some((DropReason::IpInhdr, "not a valid pair of IPv6 addresses".into()));
                }
                if outside && (src.is_loopback() || dst.is_loopback()) {
                    return Some((DropReason::IpInhdr, "::1 came from outside".into()));
                }
                None
            }
        }
    }

    /// Reverse path check of an IPv4 source (`__fib_validate_source`); IPv6 has none in the kernel's routing.
    fn source_is_wrong(&mut self, link: u32, ip: &Ip) -> Option<(DropReason, String)> {
        if ip.family() == Family::V6 || ip.src.is_unspecified() {
            return None;
        }
        let state = self.st.link(link)?;
        if state.device == Device::Loopback {
            return None;
        }
        let (rp_filter, accept_local) = (state.rp_filter, state.accept_local);
        if self.st.local_link(ip.src).is_some() && !accept_local && !ip.src.is_loopback() {
            let why = format!("{} is an address of this machine, and accept_local is 0", ip.src);
            return Some((DropReason::IpLocalSource, why));
        }
        if rp_filter == 0 {
            return None;
        }
        let reached = self.way_back(ip, |found| match found {
            Found::Route { hops, .. } => rp_filter != 1 || hops.iter().any(|h| h.link == Some(link)),
            Found::None | Found::Rule(_) => false,
            Found::Unmodelled(_) => true,
        });
        if reached {
            return None;
        }
        let why = format!(
            "a packet to {} would not leave by {} (rp_filter {rp_filter})",
            ip.src,
            self.link_name(link)
        );
        Some((DropReason::IpRpfilter, why))
    }

    /// Whether the sender is reached by a link without a router: only then is it told of a shorter way (`__mkroute_input`, by what
    /// `__fib_validate_source` says of the next hop's scope).
    pub(super) fn is_neighbour(&mut self, link: u32, ip: &Ip) -> bool {
        self.way_back(ip, |found| match found {
            Found::Route { hops, .. } => hops.iter().any(|hop| hop.link == Some(link) && hop.via.is_none()),
            Found::None | Found::Rule(_) | Found::Unmodelled(_) => false,
        })
    }

    /// Reads the route to a packet's sender.
    fn way_back(&mut self, ip: &Ip, read: impl FnOnce(Found<'_>) -> bool) -> bool {
        let fib = self.st.fib(self.plan, ip.src);
        let query = Query { dst: ip.src, src: Some(ip.dst), iif: None, oif: None, mark: 0 };
        read(fib.lookup(self.plan, &query))
    }

    fn route_and_forward(&mut self, link: u32, host: bool, ip: Ip, mut skb: Skb) {
        let forwards = match ip.family() {
            Family::V4 => self.plan.sysctls.ip_forward,
            Family::V6 => self.plan.sysctls.ipv6_forwarding,
        };
        if !forwards {
            let name = match ip.family() {
                Family::V4 => "ip_forward",
                Family::V6 => "ipv6 forwarding",
            };
            self.drop(skb, Some(link), Stage::Route, DropReason::IpInAddrErrors, || {
                (format!("{} is not an address of this machine, and {name} is 0", ip.dst), None)
            });
            return;
        }
        if ip.src.is_unspecified() || is_link_local(ip.src) && ip.family() == Family::V6 {
            let why = || (format!("{} is not forwarded beyond its link", ip.src), None);
            self.drop(skb, Some(link), Stage::Route, DropReason::IpInAddrErrors, why);
            return;
        }
        match self.lookup(&mut skb, Some(link), &ip) {
            Routed::Hop { hop, link: out, mtu } => self.forward(link, out, host, ip, hop, mtu, skb),
            Routed::No { reason, why, error, origin } => {
                let about = skb.clone();
                let cause = self.drop(skb, Some(link), Stage::Route, reason, || (why, origin));
                if let Some(error) = error {
                    self.icmp_error(about, cause, error);
                }
            }
            Routed::Unknown(unknown) => self.lose(skb, Some(link), Stage::Route, unknown, None),
        }
    }

    /// The routing decision, noted as an event.
    pub(super) fn lookup(&mut self, skb: &mut Skb, iif: Option<u32>, ip: &Ip) -> Routed {
        let fib = self.st.fib(self.plan, ip.dst);
        let plan = self.plan;
        let iif_name = iif.and_then(|l| plan.links.get(l as usize)).map(|l| &*l.name);
        let query = Query { dst: ip.dst, src: Some(ip.src), iif: iif_name, oif: None, mark: skb.mark };
        let (dropped, net_error) = if iif.is_some() {
            (DropReason::IpInNoRoutes, Some(IcmpError::NetUnreachable))
        } else {
            (DropReason::IpOutNoRoutes, None)
        };
        match fib.lookup(plan, &query) {
            Found::None => Routed::No {
                reason: dropped,
                why: format!("no route to {}", ip.dst),
                error: net_error,
                origin: None,
            },
            Found::Rule(kind) => route_error(kind, dropped, ip.dst, None),
            Found::Unmodelled(priority) => Routed::Unknown(Unknown {
                why: format!("ip rule {priority} has a selector that is not modelled"),
                what_would_settle_it: format!("ip route get {} from {}", ip.dst, ip.src),
            }),
            Found::Route { route, hops, table } => {
                let Some(entry) = plan.routes.get(route as usize) else {
                    return route_error(RouteKind::Unreachable, dropped, ip.dst, None);
                };
                if entry.kind != RouteKind::Unicast {
                    return route_error(entry.kind, dropped, ip.dst, Some(entry.origin.clone()));
                }
                let ports = plan.sysctls.fib_multipath_hash_policy == 1;
                let hash = if hops.len() > 1 { packet::flow_hash(ip, ports) } else { 0 };
                let Some((hop, link)) = fib::select(hops, hash).and_then(|h| Some((h, h.link?))) else {
                    return route_error(RouteKind::Unreachable, dropped, ip.dst, Some(entry.origin.clone()));
                };
                let link_mtu = self.st.link(link).map_or(1500, |l| l.mtu);
                let mtu = entry.mtu_bytes.map_or(link_mtu, |m| m.min(link_mtu));
                self.note(skb, iif, Stage::Route, || {
                    let dev = plan.links.get(link as usize).map(|l| l.name.clone());
                    let (dst, kind) = (entry.dst, entry.kind);
                    (EventKind::Routed { dst, table, kind, via: hop.via, dev }, Some(entry.origin.clone()))
                });
                Routed::Hop { hop, link, mtu }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what ip_forward takes from the skb and its route")]
    fn forward(&mut self, iif: u32, oif: u32, host: bool, ip: Ip, hop: Hop, mtu: u32, mut skb: Skb) {
        if !host {
            self.drop(skb, Some(iif), Stage::Forward, DropReason::NotSpecified, || {
                ("a packet in a group frame is not forwarded".into(), None)
            });
            return;
        }
        if packet::ttl(&skb.bytes, ip.family()) <= 1 {
            let about = skb.clone();
            let cause = self.drop(skb, Some(iif), Stage::Forward, DropReason::IpInhdr, || {
                ("the TTL ran out".into(), None)
            });
            self.icmp_error(about, cause, IcmpError::TimeExceeded);
            return;
        }
        let next = hop.via.unwrap_or(ip.dst);
        if core::mem::take(&mut skb.rerouted) || iif == oif {
            self.redirect_v6(iif, &ip, next, &skb);
        }
        // `ip_exceeds_mtu` for DF, `ip6_pkt_too_big` always: routers of IPv6 never fragment.
        if u32::from(ip.len) > mtu && ip.dont_fragment {
            let about = skb.clone();
            let name = self.link_name(oif);
            let cause = self.drop(skb, Some(iif), Stage::Forward, DropReason::PktTooBig, || {
                (
                    format!("{} bytes do not fit {name} (MTU {mtu}), and it must not be fragmented", ip.len),
                    None,
                )
            });
            self.icmp_error(about, cause, IcmpError::TooBig(mtu));
            return;
        }
        if iif == oif {
            self.redirect_v4(iif, &ip, next, &skb);
        }
        packet::decrement_ttl(&mut skb.bytes, ip.family());
        self.note(&mut skb, Some(oif), Stage::Forward, || (EventKind::TtlDecremented, None));
        let Some(skb) = self.hooks(Hook::Forward, skb, Some(iif), Some(oif)) else { return };
        let Some(skb) = self.hooks(Hook::Postrouting, skb, Some(iif), Some(oif)) else { return };
        self.finish_output(oif, next, mtu, skb);
    }
}

fn route_error(kind: RouteKind, none: DropReason, dst: IpAddr, origin: Option<Origin>) -> Routed {
    let (reason, word, error) = match kind {
        RouteKind::Blackhole => (DropReason::NotSpecified, "blackhole", None),
        RouteKind::Prohibit => (none, "prohibit", Some(IcmpError::Prohibited)),
        RouteKind::Unreachable
        | RouteKind::Unicast
        | RouteKind::Local
        | RouteKind::Broadcast
        | RouteKind::Anycast
        | RouteKind::Multicast
        | RouteKind::Throw => (none, "unreachable", Some(IcmpError::HostUnreachable)),
    };
    Routed::No { reason, why: format!("the route to {dst} is {word}"), error, origin }
}

pub(super) const fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    }
}

/// The destination MAC for a group address.
pub(super) const fn group_mac(addr: IpAddr) -> Option<MacAddr> {
    match addr {
        IpAddr::V4(a) if a.is_broadcast() => Some(MacAddr::BROADCAST),
        IpAddr::V4(a) if a.is_multicast() => Some(MacAddr::from_ipv4_multicast(a)),
        IpAddr::V6(a) if a.is_multicast() => Some(MacAddr::from_ipv6_multicast(a)),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}
