//! Servers of datagrams: each is sent back to where it came from, from the address that it was sent to.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use kubenet_core::addr::Protocol;
use kubenet_core::plan::Process;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage,
    recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::relay::Sessions;
use super::{Post, retry};

/// Bytes of the largest datagram.
pub(super) const LARGEST: usize = 65_535;

/// Serves until it is aborted.
pub(super) async fn serve(socket: UdpSocket, post: Arc<Post>) {
    let socket = Arc::new(socket);
    let mut sessions = Sessions::default();
    let mut bytes = vec![0; LARGEST];
    loop {
        let Ok((len, from, to)) = receive(&socket, &mut bytes).await else {
            retry().await;
            continue;
        };
        let Some(datagram) = bytes.get(..len) else { continue };
        let port = socket.local_addr().map_or(0, |addr| addr.port());
        let local = to.map_or_else(|| socket.local_addr().ok(), |to| Some(SocketAddr::new(to.addr, port)));
        if let Some(local) = local {
            post.note(Protocol::Udp, local, from);
        }
        match post.process() {
            Process::Echo | Process::Http { .. } => {
                // Who sent it may be out of reach; then nobody gets it.
                let _lost = send(&socket, datagram, from, to).await;
            }
            Process::Relay(relay) => sessions.pass(&socket, from, datagram, &relay, &post).await,
        }
    }
}

/// Where a datagram was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct To {
    /// The address; that of an IPv4 datagram is a mapped one on a socket of both families.
    addr: IpAddr,
    /// The link that it came by.
    link: u32,
}

async fn receive(socket: &UdpSocket, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<To>)> {
    socket.async_io(Interest::READABLE, || receive_now(socket, bytes)).await
}

fn receive_now(socket: &UdpSocket, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<To>)> {
    let mut space = nix::cmsg_space!(libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(bytes)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let from = message.address.as_ref().and_then(std_addr).ok_or(io::ErrorKind::InvalidData)?;
    let to = message.cmsgs()?.find_map(|one| sent_to(&one));
    Ok((message.bytes, from, to))
}

fn sent_to(message: &ControlMessageOwned) -> Option<To> {
    if let ControlMessageOwned::Ipv4PacketInfo(info) = message {
        let addr = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into();
        return Some(To { addr, link: u32::try_from(info.ipi_ifindex).unwrap_or(0) });
    }
    let ControlMessageOwned::Ipv6PacketInfo(info) = message else { return None };
    Some(To { addr: Ipv6Addr::from(info.ipi6_addr.s6_addr).into(), link: info.ipi6_ifindex })
}

fn std_addr(addr: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = addr.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    let v6 = addr.as_sockaddr_in6()?;
    Some(std::net::SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id()).into())
}

async fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr, from: Option<To>) -> io::Result<()> {
    let Some(from) = from else { return socket.send_to(bytes, to).await.map(drop) };
    socket.async_io(Interest::WRITABLE, || send_now(socket, bytes, to, from)).await
}

fn send_now(socket: &UdpSocket, bytes: &[u8], to: SocketAddr, from: To) -> io::Result<()> {
    match (to, from.addr) {
        (SocketAddr::V4(to), IpAddr::V4(addr)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(addr).to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            say(socket, bytes, &ControlMessage::Ipv4PacketInfo(&info), &SockaddrIn::from(to))
        }
        (SocketAddr::V6(to), IpAddr::V6(addr)) => {
            // The route chooses the link, but for addresses that mean nothing without one.
            let link = if addr.is_unicast_link_local() { from.link } else { 0 };
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: addr.octets() },
                ipi6_ifindex: link,
            };
            say(socket, bytes, &ControlMessage::Ipv6PacketInfo(&info), &SockaddrIn6::from(to))
        }
        (SocketAddr::V4(_), IpAddr::V6(_)) | (SocketAddr::V6(_), IpAddr::V4(_)) => {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }
}

fn say(
    socket: &UdpSocket,
    bytes: &[u8],
    from: &ControlMessage<'_>,
    to: &impl SockaddrLike,
) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    sendmsg(socket.as_raw_fd(), &parts, std::slice::from_ref(from), MsgFlags::MSG_DONTWAIT, Some(to))?;
    Ok(())
}
