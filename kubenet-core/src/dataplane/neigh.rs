//! Neighbour resolution: which MAC address owns the next hop.
//!
//! In: a next hop and the link it is reached by, ARP packets, NDP messages. Out: a frame with its MAC addresses, or a
//! question and a queue. Unanswered questions are repeated three times in all, one second apart (`mcast_solicit`,
//! `retrans_time_ms`), then what waits is answered with "host unreachable" and dropped as `NEIGH_FAILED`. The queue
//! holds 101 packets (`unres_qlen_bytes`, spec/linux.md §5). States: RFC 4861 §7.3.2.
//! When several stations answer at the same instant, who is first is chance (`race neighbour …`).
//! Not modelled: probes of stale entries (an entry that was used keeps working).

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use super::choices::Choices;
use super::event::{EventId, EventKind, FlowKind, Recorder, Stage};
use super::fib::{Found, Query};
use super::frame::Skb;
use super::input::group_mac;
use super::machine::{Stack, Timer};
use super::netns::{Device, NeighbourEntry};
use super::reason::DropReason;
use crate::addr::{Family, MacAddr};
use crate::packet::{self, Arp, IcmpError};
use crate::plan::{NeighbourState, RouteKind};
use crate::time::Duration;

const TRIES: u8 = 3;
const RETRANSMIT: Duration = Duration::from_secs(1);
const QUEUE_PACKETS: usize = 101;
/// Different answers of one instant that chance decides between; more change nothing about what can happen.
const ANSWERS: usize = 16;

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// Sends an IP packet to a neighbour on a link.
    pub(super) fn neighbour_output(&mut self, link: u32, next: IpAddr, mut skb: Skb) {
        let Some(state) = self.st.link(link) else { return };
        let (mac, noarp, device) = (state.mac, state.noarp, state.device);
        if device == Device::Loopback {
            packet::set_macs(&mut skb.bytes, MacAddr::ZERO, MacAddr::ZERO);
            self.transmit(link, skb);
            return;
        }
        if let Some(group) = group_mac(next) {
            packet::set_macs(&mut skb.bytes, mac, group);
            self.transmit(link, skb);
            return;
        }
        if let IpAddr::V4(next) = next
            && self.st.broadcast.contains_key(&next)
        {
            packet::set_macs(&mut skb.bytes, mac, MacAddr::BROADCAST);
            self.transmit(link, skb);
            return;
        }
        if noarp {
            packet::set_macs(&mut skb.bytes, mac, MacAddr::ZERO);
            self.transmit(link, skb);
            return;
        }
        let now = self.now;
        match self.st.neighbours.get_mut(&(link, next)) {
            Some(entry) if usable(entry.state) => {
                let to = entry.mac;
                let fast = entry.has_header && is_connected(entry.state);
                entry.has_header = true;
                if R::ON {
                    let origin = entry.origin.clone();
                    self.note(&mut skb, Some(link), Stage::Neighbour, || {
                        (EventKind::NeighbourKnown { addr: next, mac: to }, origin)
                    });
                }
                match skb.bridging {
                    // Its device does not see what a bridge sends on to a neighbour like that (`br_nf_pre_routing_finish_bridge`).
                    Some(source) if fast => self.bridge_on(link, source, to, skb),
                    Some(_) | None => {
                        packet::set_macs(&mut skb.bytes, mac, to);
                        self.transmit(link, skb);
                    }
                }
            }
            Some(entry) if entry.state == NeighbourState::Incomplete => {
                if entry.queue.len() >= QUEUE_PACKETS {
                    let why = || (format!("{QUEUE_PACKETS} packets wait for {next} already"), None);
                    self.drop(skb, Some(link), Stage::Neighbour, DropReason::NeighQueueFull, why);
                    return;
                }
                entry.queue.push_back(skb);
            }
            found @ (Some(_) | None) => {
                if found.is_none() && !self.st.has_room_for_neighbour(now) {
                    self.drop(skb, Some(link), Stage::Neighbour, DropReason::NeighCreateFail, || {
                        ("the neighbour table is full (gc_thresh3)".into(), None)
                    });
                    return;
                }
                self.note(&mut skb, Some(link), Stage::Neighbour, || {
                    (EventKind::NeighbourAsked { addr: next, attempt: 1 }, None)
                });
                let cause = skb.last;
                let entry = NeighbourEntry {
                    state: NeighbourState::Incomplete,
                    mac: MacAddr::ZERO,
                    updated: now,
                    probes: 1,
                    has_header: false,
                    queue: VecDeque::from(vec![skb]),
                    candidates: SmallVec::new(),
                    origin: None,
                };
                self.st.neighbours.insert((link, next), entry);
                self.ask(link, next, cause);
            }
        }
    }

    fn ask(&mut self, link: u32, target: IpAddr, cause: EventId) {
        let Some(mac) = self.st.link(link).map(|l| l.mac) else { return };
        let netns = self.st.index;
        let bytes = match target {
            IpAddr::V4(target) => {
                let IpAddr::V4(sender) =
                    self.asks_as(link, IpAddr::V4(target)).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
                else {
                    return;
                };
                packet::arp(true, (mac, sender), (MacAddr::ZERO, target))
            }
            IpAddr::V6(target) => {
                let IpAddr::V6(sender) =
                    self.asks_as(link, IpAddr::V6(target)).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
                else {
                    return;
                };
                packet::ndp_solicitation((mac, sender), target)
            }
        };
        let mut question = self.make(FlowKind::Neighbour, cause, bytes);
        self.note(&mut question, Some(link), Stage::Neighbour, || (EventKind::Sent, None));
        let again = Timer::NeighbourRetry { netns, link, addr: target };
        self.io.wake_at(self.now + RETRANSMIT, again);
        self.transmit(link, question);
    }

    /// The source address of a question: that of the packet that waits, where it is this machine's own (`arp_solicit` with
    /// `arp_announce` 0) or, in IPv6, this link's (`ndisc_solicit`). For other packets IPv6 asks from the link-local address.
    fn asks_as(&self, link: u32, target: IpAddr) -> Option<IpAddr> {
        let waiting = self.st.neighbours.get(&(link, target)).and_then(|entry| entry.queue.front());
        let src = waiting.and_then(Skb::ip).map(|ip| ip.src);
        let plan = self.plan.links.get(link as usize)?;
        let of_link = |addr: &IpAddr| plan.addresses.iter().any(|own| own.net.addr() == *addr);
        let own = match Family::of(target) {
            Family::V4 => src.filter(|addr| !addr.is_loopback() && self.st.local_link(*addr).is_some()),
            Family::V6 if plan.mac == MacAddr::ZERO => None,
            Family::V6 => Some(src.filter(of_link).unwrap_or(IpAddr::V6(plan.mac.to_link_local()))),
        };
        own.or_else(|| self.source_on(link, target))
    }

    pub(super) fn neighbour_retry(&mut self, link: u32, addr: IpAddr) {
        let Some(entry) = self.st.neighbours.get_mut(&(link, addr)) else { return };
        if entry.state != NeighbourState::Incomplete || !entry.candidates.is_empty() {
            return;
        }
        if entry.probes < TRIES {
            entry.probes += 1;
            let attempt = entry.probes;
            let mut waiting = entry.queue.pop_front();
            if let Some(skb) = &mut waiting {
                self.note(skb, Some(link), Stage::Neighbour, || {
                    (EventKind::NeighbourAsked { addr, attempt }, None)
                });
            }
            let cause = waiting.as_ref().map_or(EventId::NONE, |skb| skb.last);
            if let (Some(skb), Some(entry)) = (waiting, self.st.neighbours.get_mut(&(link, addr))) {
                entry.queue.push_front(skb);
            }
            self.ask(link, addr, cause);
            return;
        }
        entry.state = NeighbourState::Failed;
        let waiting = core::mem::take(&mut entry.queue);
        for skb in waiting {
            let about = skb.clone();
            let name = self.link_name(link);
            let cause = self.drop(skb, Some(link), Stage::Neighbour, DropReason::NeighFailed, || {
                (format!("nobody answered for {addr} on {name} after {TRIES} tries"), None)
            });
            self.icmp_error(about, cause, IcmpError::HostUnreachable);
        }
    }

    pub(super) fn neighbour_flush(&mut self, link: u32, addr: IpAddr) {
        let name = self.link_name(link);
        let Some(entry) = self.st.neighbours.get_mut(&(link, addr)) else { return };
        let mut candidates = core::mem::take(&mut entry.candidates);
        candidates.sort_unstable();
        candidates.dedup();
        let Some(first) = candidates.first().copied() else { return };
        let mac = if candidates.len() > 1 {
            let weights = vec![1; candidates.len()];
            let picked = self.choices.pick(format_args!("race neighbour {addr} dev {name}"), &weights);
            candidates.get(picked).copied().unwrap_or(first)
        } else {
            first
        };
        entry.mac = mac;
        entry.state = NeighbourState::Reachable;
        entry.updated = self.now;
        entry.has_header |= !entry.queue.is_empty();
        let waiting = core::mem::take(&mut entry.queue);
        let own = self.st.link(link).map_or(MacAddr::ZERO, |l| l.mac);
        for mut skb in waiting {
            self.note(&mut skb, Some(link), Stage::Neighbour, || {
                (EventKind::NeighbourResolved { addr, mac }, None)
            });
            packet::set_macs(&mut skb.bytes, own, mac);
            self.transmit(link, skb);
        }
    }

    /// Somebody says that `addr` is at `mac`. `asked`: it answers a question; else it only asks one itself.
    fn learn(&mut self, link: u32, addr: IpAddr, mac: MacAddr, asked: bool, create: bool) {
        let now = self.now;
        let netns = self.st.index;
        match self.st.neighbours.get_mut(&(link, addr)) {
            Some(entry) if matches!(entry.state, NeighbourState::Permanent | NeighbourState::Noarp) => {}
            Some(entry) if entry.state == NeighbourState::Incomplete => {
                // All answers of this instant are taken together: one nanosecond later the queue goes out.
                if entry.candidates.is_empty() {
                    let flush = Timer::NeighbourFlush { netns, link, addr };
                    self.io.wake_at(now + Duration::from_nanos(1), flush);
                }
                if entry.candidates.len() < ANSWERS && !entry.candidates.contains(&mac) {
                    entry.candidates.push(mac);
                }
            }
            Some(entry) => {
                // `locktime`: a fresh entry is not overwritten within a second (arp_process).
                let fresh = now.saturating_since(entry.updated) < Duration::from_secs(1);
                if entry.mac != mac && fresh && entry.state == NeighbourState::Reachable {
                    return;
                }
                // What is known already is not changed by a question, and its time only by a change (`__neigh_update`).
                let is_known = usable(entry.state) && entry.mac == mac;
                let state = match (asked, is_known) {
                    (true, _) => NeighbourState::Reachable,
                    (false, true) => entry.state,
                    (false, false) => NeighbourState::Stale,
                };
                if !is_known || state != entry.state {
                    (entry.mac, entry.state, entry.updated) = (mac, state, now);
                }
            }
            None if create => {
                if !self.st.has_room_for_neighbour(now) {
                    return;
                }
                let entry = NeighbourEntry {
                    state: NeighbourState::Stale,
                    mac,
                    updated: now,
                    probes: 0,
                    has_header: false,
                    queue: VecDeque::new(),
                    candidates: SmallVec::new(),
                    origin: None,
                };
                self.st.neighbours.insert((link, addr), entry);
            }
            None => {}
        }
    }

    pub(super) fn arp_input(&mut self, link: u32, arp: &Arp, mut skb: Skb) {
        let Some(state) = self.st.link(link) else { return };
        let own = state.mac;
        if !arp.request {
            self.learn(link, arp.sender, arp.sender_mac, true, false);
            self.note(&mut skb, Some(link), Stage::Neighbour, || (delivered(), None));
            return;
        }
        let for_us = self.answers_for(link, arp.target);
        self.learn(link, arp.sender, arp.sender_mac, false, for_us && !arp.sender.is_unspecified());
        if !for_us {
            self.drop(skb, Some(link), Stage::Neighbour, DropReason::NotSpecified, || {
                (format!("{} is not an address of this namespace", arp.target), None)
            });
            return;
        }
        self.note(&mut skb, Some(link), Stage::Neighbour, || (delivered(), None));
        let (IpAddr::V4(target), IpAddr::V4(sender)) = (arp.target, arp.sender) else { return };
        let bytes = packet::arp(false, (own, target), (arp.sender_mac, sender));
        let mut answer = self.make(FlowKind::Neighbour, skb.last, bytes);
        self.note(&mut answer, Some(link), Stage::Neighbour, || (EventKind::Sent, None));
        self.transmit(link, answer);
    }

    /// Whether this namespace answers a question for an address on a link (`arp_ignore`, proxy ARP, a program that answers for it).
    fn answers_for(&mut self, link: u32, target: IpAddr) -> bool {
        let Some(plan) = self.plan.links.get(link as usize) else { return false };
        if !plan.answers_neighbours {
            return false;
        }
        let holder = self.st.local.get(&target).copied();
        let own = || plan.addresses.iter().any(|a| a.net.addr() == target);
        let local = match (target, self.plan.sysctls.arp_ignore) {
            // Several links may hold the same address; each answers for itself (`ipv6_get_ifaddr` with the device).
            (IpAddr::V6(_), _) => holder == Some(link) || own(),
            (IpAddr::V4(_), 0) => holder.is_some(),
            (IpAddr::V4(_), 8..) => false,
            (IpAddr::V4(_), _) => own(),
        };
        let for_another = || self.plan.proxies.iter().any(|p| p.addr == target && p.dev == plan.name);
        if local || for_another() {
            return true;
        }
        if !plan.proxy_arp {
            return false;
        }
        let fib = self.st.fib(self.plan, target);
        let query = Query { dst: target, src: None, iif: None, oif: None, mark: 0 };
        match fib.lookup(self.plan, &query) {
            Found::Route { route, hops, .. } => {
                self.plan.routes.get(route as usize).is_some_and(|r| r.kind == RouteKind::Unicast)
                    && hops.iter().all(|h| h.link != Some(link))
            }
            Found::None | Found::Rule(_) | Found::Unmodelled(_) => false,
        }
    }

    /// A neighbour solicitation (RFC 4861 §7.2.3).
    pub(super) fn ndp_solicited(&mut self, link: u32, body: &[u8], mut skb: Skb) {
        let (Some(target), Some(ip)) = (ipv6_at(body, 8), skb.ip().copied()) else { return };
        let from = option_mac(body, 1).unwrap_or_else(|| packet::source_mac(&skb.bytes));
        let for_us = self.answers_for(link, IpAddr::V6(target));
        if !for_us {
            self.drop(skb, Some(link), Stage::Neighbour, DropReason::NotSpecified, || {
                (format!("{target} is not an address of this link"), None)
            });
            return;
        }
        if !ip.src.is_unspecified() {
            self.learn(link, ip.src, from, false, true);
        }
        self.note(&mut skb, Some(link), Stage::Neighbour, || (delivered(), None));
        let (Some(own), IpAddr::V6(asker)) = (self.st.link(link).map(|l| l.mac), ip.src) else { return };
        let router = self.plan.sysctls.ipv6_forwarding;
        let bytes = packet::ndp_advertisement((own, target), (from, asker), router);
        let mut answer = self.make(FlowKind::Neighbour, skb.last, bytes);
        self.note(&mut answer, Some(link), Stage::Neighbour, || (EventKind::Sent, None));
        self.transmit(link, answer);
    }

    /// A neighbour advertisement (RFC 4861 §7.2.5).
    pub(super) fn ndp_advertised(&mut self, link: u32, body: &[u8], mut skb: Skb) {
        let Some(target) = ipv6_at(body, 8) else { return };
        let mac = option_mac(body, 2).unwrap_or_else(|| packet::source_mac(&skb.bytes));
        self.learn(link, IpAddr::V6(target), mac, true, false);
        self.note(&mut skb, Some(link), Stage::Neighbour, || (delivered(), None));
    }
}

const fn delivered() -> EventKind {
    EventKind::Delivered { listener: None, port: None }
}

/// `NUD_CONNECTED`.
const fn is_connected(state: NeighbourState) -> bool {
    matches!(state, NeighbourState::Permanent | NeighbourState::Noarp | NeighbourState::Reachable)
}

pub(super) const fn usable(state: NeighbourState) -> bool {
    match state {
        NeighbourState::Permanent
        | NeighbourState::Noarp
        | NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe => true,
        NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None => false,
    }
}

fn ipv6_at(body: &[u8], at: usize) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = body.get(at..at + 16)?.try_into().ok()?;
    Some(Ipv6Addr::from(octets))
}

/// The link-layer address option of a kind (RFC 4861 §4.6.1); options start behind the target.
fn option_mac(body: &[u8], kind: u8) -> Option<MacAddr> {
    let mut rest = body.get(24..)?;
    while let [option, units, ..] = *rest {
        let len = usize::from(units) * 8;
        if len == 0 {
            return None;
        }
        if option == kind {
            return Some(MacAddr(rest.get(2..8)?.try_into().ok()?));
        }
        rest = rest.get(len..)?;
    }
    None
}
