//! A namespace as if nothing had happened in it yet: without neighbours, forwarding entries, connections and cached routes that it
//! learned. What was put there by hand stays.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use crate::netns::Netns;

/// `RTM_GETNEIGH`, `RTM_DELNEIGH` and `RTM_NEWNEIGH` (`rtnetlink(7)`).
const GET_NEIGHBOURS: u16 = 30;
const DELETE_NEIGHBOUR: u16 = 29;
const NEW_NEIGHBOUR: u16 = 28;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_DUMP`.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
/// `NFNL_SUBSYS_CTNETLINK` with `IPCTNL_MSG_CT_DELETE`; without a tuple it deletes all.
const DELETE_CONNECTIONS: u16 = 1 << 8 | 2;
/// `NUD_NOARP` and `NUD_PERMANENT`.
const BY_HAND: u16 = 0x40 | 0x80;
/// `NTF_MASTER`: the entry is the bridge's.
const OF_BRIDGE: u8 = 4;
const BRIDGE: u8 = 7;
const HEADER_BYTES: usize = 16;

/// Forgets what a namespace learned.
///
/// # Errors
///
/// `EPERM` without `CAP_NET_ADMIN` in it.
pub fn forget(netns: &Netns) -> io::Result<()> {
    netns.run(|| {
        for family in [0, BRIDGE] {
            neighbours(family)?;
        }
        connections()?;
        for family in ["ipv4", "ipv6"] {
            // Not there where the family is not.
            let _ = fs::write(format!("/proc/sys/net/{family}/route/flush"), "1");
        }
        Ok(())
    })
}

fn neighbours(family: u8) -> io::Result<()> {
    let socket = socket(None)?;
    let mut body = vec![0; 12];
    if let Some(first) = body.first_mut() {
        *first = family;
    }
    send(&socket, GET_NEIGHBOURS, REQUEST | DUMP, &body)?;
    let mut learned = Vec::new();
    answers(&socket, |kind, body| {
        let state = word(body, 8);
        if kind == NEW_NEIGHBOUR && state & BY_HAND == 0 {
            let mut body = body.to_vec();
            if let (BRIDGE, Some(flags)) = (family, body.get_mut(10)) {
                *flags = OF_BRIDGE;
            }
            learned.push(body);
        }
    })?;
    for body in learned {
        send(&socket, DELETE_NEIGHBOUR, REQUEST | ACKNOWLEDGE, &body)?;
        // It may have gone by itself meanwhile.
        let _ = answers(&socket, |_, _| {});
    }
    Ok(())
}

fn connections() -> io::Result<()> {
    let socket = socket(Some(netlink::NETFILTER))?;
    send(&socket, DELETE_CONNECTIONS, REQUEST | ACKNOWLEDGE, &[0; 4])?;
    match answers(&socket, |_, _| {}) {
        // A namespace that tracks nothing may not know the word.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        done => done,
    }
}

/// Without a protocol it is `NETLINK_ROUTE`, number 0.
fn socket(protocol: Option<net::Protocol>) -> io::Result<OwnedFd> {
    Ok(net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
}

fn send(socket: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let len = (HEADER_BYTES + body.len()) as u32;
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    message.extend(len.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend_from_slice(body);
    net::send(socket, &message, SendFlags::empty())?;
    Ok(())
}

/// Reads messages up to the end of a list or an acknowledgement.
fn answers(socket: &OwnedFd, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (_, got) = net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..got).unwrap_or(&[]);
        while rest.len() >= HEADER_BYTES {
            let len = rest.get(..4).and_then(|len| len.try_into().ok()).map_or(0, u32::from_ne_bytes);
            let len = (len as usize).clamp(HEADER_BYTES, rest.len());
            let (kind, body) = (word(rest, 4), rest.get(HEADER_BYTES..len).unwrap_or(&[]));
            match kind {
                DONE => return Ok(()),
                ERROR => {
                    let code =
                        body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => each(kind, body),
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        }
    }
}

/// A number of 16 bits.
fn word(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|pair| pair.try_into().ok()).map_or(0, u16::from_ne_bytes)
}
