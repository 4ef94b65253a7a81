//! A router tells a sender of a shorter way, and how often.
//!
//! Sources: `net/ipv4/route.c ip_rt_send_redirect` with its `ip_rt_redirect_number`, `_load` and `_silence`;
//! `net/ipv6/ip6_output.c ip6_forward`, `net/ipv6/ndisc.c ndisc_send_redirect`, `inet_peer_xrlim_allow`. O(1) each.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::choices::Choices;
use super::event::{FlowKind, Recorder};
use super::frame::Skb;
use super::machine::Stack;
use super::neigh::usable;
use super::netns::Map;
use crate::addr::MacAddr;
use crate::packet::{self, IcmpError, Ip};
use crate::time::{Duration, Instant};

/// Redirects in a row, after which a sender that does not listen gets none.
const NUMBER: u8 = 9;
/// The pause after the first; it doubles with each.
const LOAD: Duration = Duration::from_millis(20);
/// After so long without any, a sender counts as a new one.
const SILENCE: Duration = Duration::from_millis(20 << 10);
/// Senders that are remembered (`inet_peer_threshold`).
const SENDERS: usize = 65_664;

/// How often an IPv6 host is told of, or told, in the long run.
const PAUSE: Duration = Duration::from_secs(1);
/// How many times at once (`XRLIM_BURST_FACTOR`).
const BURST: u32 = 6;

/// What a router remembers of those that it told.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    v4: Map<Ipv4Addr, Told>,
    v6: Map<Ipv6Addr, Bucket>,
}

/// What is left of a host's allowance, in time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: Duration,
    asked: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    times: u8,
    last: Instant,
}

impl Redirects {
    /// Whether a sender is told now; if so, that counts.
    pub(super) fn may_tell(&mut self, sender: Ipv4Addr, now: Instant) -> bool {
        let known = self.v4.get(&sender).filter(|told| now <= told.last + SILENCE).copied();
        let told = match known {
            None => Told { times: 1, last: now },
            Some(told) if told.times >= NUMBER => Told { last: now, ..told },
            Some(told) if now > told.last + LOAD * (1 << told.times) => {
                Told { times: told.times + 1, last: now }
            }
            Some(_) => return false,
        };
        if self.v4.len() < SENDERS || self.v4.contains_key(&sender) {
            self.v4.insert(sender, told);
        }
        known.is_none_or(|known| known.times < NUMBER)
    }
    /// The same for a host of IPv6, of the packets to it and of those from it.
    fn has_allowance(&mut self, host: Ipv6Addr, now: Instant) -> bool {
        let most = PAUSE * BURST;
        let mut bucket = match self.v6.get(&host) {
            Some(known) => {
                Bucket { left: most.min(known.left + now.saturating_since(known.asked)), asked: now }
            }
            None => Bucket { left: most, asked: now },
        };
        let may = bucket.left >= PAUSE;
        if may {
            bucket.left = bucket.left.saturating_sub(PAUSE);
        }
        if self.v6.len() < SENDERS || self.v6.contains_key(&host) {
            self.v6.insert(host, bucket);
        }
        may
    }
}

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// Tells the sender of a packet that leaves by the link it came by, where that is a neighbour.
    pub(super) fn redirect_v4(&mut self, link: u32, ip: &Ip, next: IpAddr, skb: &Skb) {
        if let (IpAddr::V4(router), IpAddr::V4(sender)) = (next, ip.src)
            && self.plan.sysctls.send_redirects
            && self.is_neighbour(link, ip)
            && self.st.redirects.may_tell(sender, self.now)
        {
            self.icmp_error(skb.clone(), skb.last, IcmpError::RedirectHost(router));
        }
    }

    /// The same in IPv6. It needs a router with a link-local address, or a receiver on the link itself.
    pub(super) fn redirect_v6(&mut self, link: u32, ip: &Ip, next: IpAddr, skb: &Skb) {
        let (IpAddr::V6(target), IpAddr::V6(dst), IpAddr::V6(sender)) = (next, ip.dst, ip.src) else {
            return;
        };
        let Some(own) = self.plan.links.get(link as usize).map(|plan| plan.mac) else { return };
        if !self.st.redirects.has_allowance(dst, self.now)
            || own == MacAddr::ZERO
            || (target != dst && !target.is_unicast_link_local())
            || !self.is_neighbour(link, ip)
            || !self.st.redirects.has_allowance(sender, self.now)
        {
            return;
        }
        let known = self.st.neighbours.get(&(link, next)).filter(|entry| usable(entry.state));
        let (router, mac) = (own.to_link_local(), known.map(|entry| entry.mac));
        let about = packet::ip_bytes(&skb.bytes, ip);
        let (src, nesting) = (Some(IpAddr::V6(router)), skb.nesting);
        // To conntrack it belongs to nothing. No route back: it is lost.
        let _ = self.send_with(FlowKind::IcmpError, skb.last, src, ip.src, nesting, |_| {
            packet::ndp_redirect(router, sender, (target, mac), dst, about)
        });
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const SENDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn told(millis: impl IntoIterator<Item = u64>) -> Vec<bool> {
        let mut redirects = Redirects::default();
        millis.into_iter().map(|at| redirects.may_tell(SENDER, Instant::from_nanos(at * 1_000_000))).collect()
    }

    #[test]
    fn a_sender_is_told_at_once_and_then_after_pauses_that_double() {
        assert_eq!(told([0, 0, 40, 41, 120, 122]), [true, false, false, true, false, true]);
    }

    #[test]
    fn who_does_not_listen_nine_times_is_told_again_only_after_a_silence() {
        let eager = told((0..100).map(|turn| turn * 6_000));
        assert_eq!(eager.iter().filter(|told| **told).count(), 9);
        assert_eq!(told((0..10).map(|turn| turn * 12_000).chain([140_000])).last(), Some(&true));
    }

    #[test]
    fn a_host_of_ipv6_is_told_six_times_at_once_and_then_once_a_second() {
        let mut redirects = Redirects::default();
        let mut at = |millis: u64| {
            redirects.has_allowance(Ipv6Addr::LOCALHOST, Instant::from_nanos(millis * 1_000_000))
        };
        assert_eq!((0..8).filter(|_| at(0)).count(), 6);
        assert_eq!([at(500), at(1_000), at(1_001), at(60_000)], [false, true, false, true]);
    }
}
