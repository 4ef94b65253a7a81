//! A client in a namespace: opens one connection, or sends one datagram, and tells what it lived through.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use kubenet_core::addr::{Family, Protocol};
use kubenet_core::dataplane::Client;
use kubenet_core::packet::{self, Ipv4Meta};
use kubenet_core::trace::Verdict;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use crate::netns::Netns;

/// A connection that was opened, or tried. Dropped, it ends at once, with a reset where it was up.
#[derive(Debug)]
pub struct Open {
    /// What the client lived through.
    pub verdict: Verdict,
    /// The error that it got, if any.
    pub error: Option<io::Error>,
    _socket: Option<OwnedFd>,
}

/// Sends from a namespace, and waits for what comes of it; with `to_the_end`, until the other side ends a connection on which nothing
/// is client.
///
/// # Errors
///
/// Where no socket can be had: that is no answer of the network.
pub fn send(netns: &Netns, client: &Client, to_the_end: bool, patience: Duration) -> io::Result<Open> {
    let socket = netns.run(|| Ok(socket(client)?))?;
    let until = Instant::now() + patience;
    let (verdict, error) = match exchange(&socket, client, to_the_end, until) {
        Ok(verdict) => (verdict, None),
        Err(errno) => (verdict_of(errno), Some(errno.into())),
    };
    Ok(Open { verdict, error, _socket: Some(socket) })
}

/// What an error means to a client (`connect(2)`, `icmp_err_convert` in `net/ipv4/icmp.c`).
fn verdict_of(errno: Errno) -> Verdict {
    match errno {
        Errno::CONNREFUSED => Verdict::Refused,
        Errno::CONNRESET | Errno::PIPE => Verdict::Reset,
        Errno::TIMEDOUT | Errno::AGAIN => Verdict::Timeout,
        _ => Verdict::Unreachable,
    }
}

fn socket(client: &Client) -> rustix::io::Result<OwnedFd> {
    let (family, any) = match Family::of(client.dst) {
        Family::V4 => (AddressFamily::INET, IpAddr::from([0_u8; 4])),
        Family::V6 => (AddressFamily::INET6, IpAddr::from([0_u16; 8])),
    };
    let (kind, protocol) = match (client.protocol, Family::of(client.dst)) {
        (Protocol::Tcp, _) => (SocketType::STREAM, ipproto::TCP),
        (Protocol::Udp, _) => (SocketType::DGRAM, ipproto::UDP),
        (Protocol::Sctp, _) => (SocketType::STREAM, ipproto::SCTP),
        (Protocol::Icmp, Family::V4) => (SocketType::RAW, ipproto::ICMP),
        (Protocol::Icmp, Family::V6) => (SocketType::RAW, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, kind, flags, Some(protocol))?;
    if client.protocol == Protocol::Icmp {
        ask_for_errors(&socket, client.dst.is_ipv4())?;
        if let Some(src) = client.src {
            net::bind(&socket, &SocketAddr::new(src, 0))?;
        }
        return Ok(socket);
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if client.protocol == Protocol::Tcp {
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    }
    net::bind(&socket, &SocketAddr::new(client.src.unwrap_or(any), client.sport))?;
    Ok(socket)
}

/// Has a raw socket hear of errors about what it sent, as `ping` does (`IP_RECVERR`, `IPV6_RECVERR`).
#[expect(unsafe_code, reason = "setsockopt has no safe form for this option")]
fn ask_for_errors(socket: &OwnedFd, is_v4: bool) -> rustix::io::Result<()> {
    let (level, option) = match is_v4 {
        true => (libc::IPPROTO_IP, libc::IP_RECVERR),
        false => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    let on: libc::c_int = 1;
    // SAFETY: the value is a live c_int of the size that is told; the descriptor is open as long as the socket is borrowed.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    }
}

fn exchange(
    socket: &OwnedFd,
    client: &Client,
    to_the_end: bool,
    until: Instant,
) -> rustix::io::Result<Verdict> {
    let port = if client.protocol == Protocol::Icmp { 0 } else { client.dport };
    match net::connect(socket, &SocketAddr::new(client.dst, port)) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            wait(socket, PollFlags::OUT, until)?;
            sockopt::socket_error(socket)??;
        }
        Err(error) => return Err(error),
    }
    match client.protocol {
        Protocol::Tcp | Protocol::Sctp if client.payload == 0 && !to_the_end => {
            return Ok(Verdict::Connected);
        }
        Protocol::Tcp | Protocol::Sctp if client.payload == 0 => {}
        Protocol::Tcp | Protocol::Sctp | Protocol::Udp => {
            tried(net::send(socket, &vec![0; usize::from(client.payload)], SendFlags::NOSIGNAL))?;
        }
        Protocol::Icmp => tried(net::send(socket, &echo_request(client), SendFlags::NOSIGNAL))?,
    }
    let mut answer = vec![0; 0xffff];
    loop {
        wait(socket, PollFlags::IN, until)?;
        let got = match net::recv(socket, &mut answer[..], RecvFlags::empty()) {
            Ok((_, got)) => got,
            Err(Errno::AGAIN) => continue,
            Err(error) => return Err(error),
        };
        match client.protocol {
            Protocol::Tcp | Protocol::Sctp if got == 0 => return Ok(Verdict::Closed),
            Protocol::Icmp if !is_echo_reply(client, answer.get(..got).unwrap_or(&[])) => {}
            Protocol::Tcp | Protocol::Sctp | Protocol::Udp | Protocol::Icmp => return Ok(Verdict::Answered),
        }
    }
}

/// A packet that a rule of the sender's own machine dropped (`EPERM`) may have an answer all the same.
fn tried(sent: rustix::io::Result<usize>) -> rustix::io::Result<()> {
    match sent {
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Of the kernel are the addresses, and the checksum of ICMPv6, which covers them.
fn echo_request(client: &Client) -> Vec<u8> {
    let (src, dst) = (client.src.unwrap_or(client.dst), client.dst);
    let meta = Ipv4Meta { src, dst, ttl: 64, dont_fragment: true, id: 0 };
    let payload = vec![0; usize::from(client.payload)];
    let frame = packet::icmp_echo(&meta, false, client.sport, 1, &payload);
    let ip_header = if dst.is_ipv4() { 20 } else { 40 };
    frame.get(packet::ETHERNET_BYTES + ip_header..).unwrap_or(&[]).to_vec()
}

fn is_echo_reply(client: &Client, bytes: &[u8]) -> bool {
    // A raw IPv4 socket gets the IP header too.
    let header =
        if client.dst.is_ipv4() { bytes.first().map_or(0, |byte| usize::from(byte & 15) * 4) } else { 0 };
    let kind = if client.dst.is_ipv4() { 0 } else { 129 };
    let body = bytes.get(header..).unwrap_or(&[]);
    body.first() == Some(&kind) && body.get(4..6) == Some(&client.sport.to_be_bytes())
}

fn wait(socket: &OwnedFd, what: PollFlags, until: Instant) -> rustix::io::Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), what)];
        match poll(&mut fds, Some(&left)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
