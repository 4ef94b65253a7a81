//! A client in a namespace: opens one connection, or sends one datagram, and tells what it lived through.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use kubenet_core::addr::{Family, Protocol};
use kubenet_core::trace::Verdict;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use crate::netns::Netns;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The transport.
    pub protocol: Protocol,
    /// The source address to bind; the route chooses when `None`.
    pub src: Option<IpAddr>,
    /// The source port, or the identifier of an echo request.
    pub sport: u16,
    /// The destination.
    pub dst: IpAddr,
    /// The destination port.
    pub dport: u16,
    /// Bytes of payload.
    pub payload: u16,
    /// Whether the client waits until the other side ends the connection, where it sends nothing.
    pub to_the_end: bool,
}

/// A connection that was opened, or tried. Dropped, it ends at once, with a reset where it was up.
#[derive(Debug)]
pub struct Open {
    /// What the client lived through.
    pub verdict: Verdict,
    /// The error that it got, if any.
    pub error: Option<io::Error>,
    _socket: Option<OwnedFd>,
}

/// Sends from a namespace, and waits for what comes of it.
///
/// # Errors
///
/// Where no socket can be had: that is no answer of the network.
pub fn send(netns: &Netns, sent: &Sent, patience: Duration) -> io::Result<Open> {
    let socket = netns.run(|| Ok(socket(sent)?))?;
    let until = Instant::now() + patience;
    let (verdict, error) = match exchange(&socket, sent, until) {
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

fn socket(sent: &Sent) -> rustix::io::Result<OwnedFd> {
    let (family, any) = match Family::of(sent.dst) {
        Family::V4 => (AddressFamily::INET, IpAddr::from([0_u8; 4])),
        Family::V6 => (AddressFamily::INET6, IpAddr::from([0_u16; 8])),
    };
    let (kind, protocol) = match (sent.protocol, Family::of(sent.dst)) {
        (Protocol::Tcp, _) => (SocketType::STREAM, ipproto::TCP),
        (Protocol::Udp, _) => (SocketType::DGRAM, ipproto::UDP),
        (Protocol::Sctp, _) => (SocketType::STREAM, ipproto::SCTP),
        (Protocol::Icmp, Family::V4) => (SocketType::RAW, ipproto::ICMP),
        (Protocol::Icmp, Family::V6) => (SocketType::RAW, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, kind, flags, Some(protocol))?;
    if sent.protocol == Protocol::Icmp {
        if let Some(src) = sent.src {
            net::bind(&socket, &SocketAddr::new(src, 0))?;
        }
        return Ok(socket);
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if sent.protocol == Protocol::Tcp {
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    }
    net::bind(&socket, &SocketAddr::new(sent.src.unwrap_or(any), sent.sport))?;
    Ok(socket)
}

fn exchange(socket: &OwnedFd, sent: &Sent, until: Instant) -> rustix::io::Result<Verdict> {
    let port = if sent.protocol == Protocol::Icmp { 0 } else { sent.dport };
    match net::connect(socket, &SocketAddr::new(sent.dst, port)) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            wait(socket, PollFlags::OUT, until)?;
            sockopt::socket_error(socket)??;
        }
        Err(error) => return Err(error),
    }
    match sent.protocol {
        Protocol::Tcp | Protocol::Sctp if sent.payload == 0 && !sent.to_the_end => {
            return Ok(Verdict::Connected);
        }
        Protocol::Tcp | Protocol::Sctp if sent.payload == 0 => {}
        Protocol::Tcp | Protocol::Sctp | Protocol::Udp => {
            tried(net::send(socket, &vec![0; usize::from(sent.payload)], SendFlags::NOSIGNAL))?;
        }
        Protocol::Icmp => tried(net::send(socket, &echo_request(sent), SendFlags::NOSIGNAL))?,
    }
    let mut answer = vec![0; 0xffff];
    loop {
        wait(socket, PollFlags::IN, until)?;
        let got = match net::recv(socket, &mut answer[..], RecvFlags::empty()) {
            Ok((_, got)) => got,
            Err(Errno::AGAIN) => continue,
            Err(error) => return Err(error),
        };
        match sent.protocol {
            Protocol::Tcp | Protocol::Sctp if got == 0 => return Ok(Verdict::Closed),
            Protocol::Icmp if !is_echo_reply(sent, answer.get(..got).unwrap_or(&[])) => {}
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

fn echo_request(sent: &Sent) -> Vec<u8> {
    let kind = if sent.dst.is_ipv4() { 8 } else { 128 };
    let [high, low] = sent.sport.to_be_bytes();
    let mut bytes = vec![kind, 0, 0, 0, high, low, 0, 1];
    bytes.resize(8 + usize::from(sent.payload), 0);
    // The kernel sums ICMPv6 of raw sockets itself.
    let sum = checksum(&bytes).to_be_bytes();
    bytes.splice(2..4, sum);
    bytes
}

fn is_echo_reply(sent: &Sent, bytes: &[u8]) -> bool {
    // A raw IPv4 socket gets the IP header too.
    let header =
        if sent.dst.is_ipv4() { bytes.first().map_or(0, |byte| usize::from(byte & 15) * 4) } else { 0 };
    let kind = if sent.dst.is_ipv4() { 0 } else { 129 };
    let body = bytes.get(header..).unwrap_or(&[]);
    body.first() == Some(&kind) && body.get(4..6) == Some(&sent.sport.to_be_bytes())
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| {
        u32::from(pair.first().copied().unwrap_or(0)) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))
    };
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
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
