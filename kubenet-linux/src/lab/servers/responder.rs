//! A responder: answers ARP (RFC 826) and neighbour solicitations (RFC 4861 §7.2) for an address that the machine does not hold, as
//! the speakers of load balancers do.
//!
//! In: requests, from a packet socket. Out: answers with the hardware address of the link that they came by.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use kubenet_core::addr::MacAddr;
use kubenet_core::packet::{self, View};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{LinkAddr, MsgFlags, recvfrom, sendto};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::retry;
use crate::netns::Netns;

/// An address that is answered for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Proxy {
    pub(crate) addr: IpAddr,
    /// The link on which it is asked for.
    pub(crate) dev: Arc<str>,
    /// The link's hardware address.
    pub(crate) mac: MacAddr,
}

impl Proxy {
    /// Begins to answer.
    ///
    /// # Errors
    ///
    /// Where the link is not there, or packet sockets are not allowed (`CAP_NET_RAW`).
    pub(super) fn start(&self, netns: &Netns) -> io::Result<tokio::task::JoinHandle<()>> {
        netns.enter()?;
        let link = if_nametoindex(&*self.dev)?;
        let ether_type: u16 = if self.addr.is_ipv4() { 0x0806 } else { 0x86dd };
        let protocol =
            std::num::NonZeroU32::new(ether_type.to_be().into()).map(rustix::net::Protocol::from_raw);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, protocol)?;
        #[expect(unsafe_code, reason = "tokio cannot know that a file descriptor stays the same")]
        // SAFETY: the socket is owned by what waits for it, and an `OwnedFd` is one descriptor for life.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(tokio::spawn(serve(socket, self.clone(), link)))
    }

    /// The answer to a frame, if it asks for the address.
    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        match (packet::view(frame).ok()?, self.addr) {
            (View::Arp(arp), IpAddr::V4(own)) if arp.request && arp.target == self.addr => {
                let IpAddr::V4(asker) = arp.sender else { return None };
                Some(packet::arp(false, (self.mac, own), (arp.sender_mac, asker)))
            }
            (View::Ip(ip), IpAddr::V6(own)) if ip.protocol == 58 => {
                let message = packet::l4_bytes(frame, &ip);
                let target: [u8; 16] = message.get(8..24)?.try_into().ok()?;
                if message.first() != Some(&135) || target != own.octets() {
                    return None;
                }
                let IpAddr::V6(asker) = ip.src else { return None };
                // Who has no address yet hears the answer with everybody (RFC 4861 §7.2.4).
                let to = if asker.is_unspecified() {
                    let all = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
                    (MacAddr::from_ipv6_multicast(all), all)
                } else {
                    (packet::source_mac(frame), asker)
                };
                Some(packet::ndp_advertisement((self.mac, own), to, false))
            }
            (View::Arp(_) | View::Ip(_) | View::Other(_), IpAddr::V4(_) | IpAddr::V6(_)) => None,
        }
    }
}

async fn serve(socket: AsyncFd<OwnedFd>, proxy: Proxy, link: u32) {
    let mut frame = vec![0; 2048];
    loop {
        let received = socket
            .async_io(Interest::READABLE, |socket| Ok(recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame)?));
        // A link that is down says so once (ENETDOWN).
        let Ok((len, Some(from))) = received.await else {
            retry().await;
            continue;
        };
        if u32::try_from(from.ifindex()) != Ok(link) {
            continue;
        }
        let Some(answer) = frame.get(..len).and_then(|frame| proxy.answer(frame)) else { continue };
        // An answer that is lost is asked for again.
        let _ = sendto(socket.get_ref().as_raw_fd(), &answer, &from, MsgFlags::MSG_DONTWAIT);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn proxy(addr: &str) -> Proxy {
        Proxy { addr: addr.parse().expect("an address"), dev: "eth0".into(), mac: OWN }
    }

    #[test]
    fn a_request_for_its_address_is_answered_and_no_other() {
        let ask = |target: [u8; 4]| {
            let from = (ASKER, Ipv4Addr::new(10, 0, 0, 9));
            packet::arp(true, from, (MacAddr::ZERO, target.into()))
        };
        let one = proxy("10.0.0.5");
        let answer = one.answer(&ask([10, 0, 0, 5])).expect("an answer");
        assert_eq!(packet::destination_mac(&answer), ASKER);
        let Ok(View::Arp(arp)) = packet::view(&answer) else { panic!("ARP") };
        assert_eq!((arp.request, arp.sender, arp.sender_mac), (false, one.addr, OWN));
        assert_eq!(one.answer(&ask([10, 0, 0, 6])), None);
        assert_eq!(one.answer(&answer), None);
        assert_eq!(one.answer(&[0; 3]), None);
    }

    #[test]
    fn a_solicitation_is_answered_to_who_asked() {
        let one = proxy("fd00::5");
        let asker: Ipv6Addr = "fd00::9".parse().expect("an address");
        let target: Ipv6Addr = "fd00::5".parse().expect("an address");
        let answer = one.answer(&packet::ndp_solicitation((ASKER, asker), target)).expect("an answer");
        assert_eq!(packet::destination_mac(&answer), ASKER);
        let Ok(View::Ip(ip)) = packet::view(&answer) else { panic!("IPv6") };
        assert_eq!((ip.src, ip.dst), (one.addr, IpAddr::V6(asker)));
        let nobody = packet::ndp_solicitation((ASKER, Ipv6Addr::UNSPECIFIED), target);
        let Ok(View::Ip(ip)) = packet::view(&one.answer(&nobody).expect("an answer")) else { panic!("IPv6") };
        assert_eq!(ip.dst.to_string(), "ff02::1");
        assert_eq!(one.answer(&packet::ndp_solicitation((ASKER, asker), asker)), None);
    }
}
