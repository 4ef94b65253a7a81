//! `ss -lntu`: listening sockets.
//!
//! In: plain lines with the heading or without it (`-H`). Out: [`Socket`]s that listen. `*:PORT` listens in both families,
//! `[::]:PORT` in IPv6 alone, `0.0.0.0:PORT` in IPv4 alone. Connected sockets (of `-a`) are told and left out. Who answers is
//! not said: [`Process::Echo`] stands for it. A socket that is known to be closed has no line. `ss` 6.1 has no JSON.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Parsed;
use super::line::{Line, Word, addr, lines, name, number};
use super::reader::{Fault, Reader};
use crate::plan::{Process, Protocol, Socket, SocketState};

/// Reads plain lines. Lines without the column `Netid` (`ss -lnt`) are TCP if they say LISTEN, else UDP.
pub fn parse(text: &str, file: &str) -> Parsed<Socket> {
    let mut reader = Reader::new(file);
    let mut out = Vec::new();
    for mut line in lines(text).filter(|line| !line.is_empty()) {
        if matches!(line.peek(), Some("Netid" | "State")) {
            continue;
        }
        let read = socket(&mut line, &mut reader);
        out.extend(reader.take(read).flatten());
    }
    reader.finish(out)
}

/// The lines of `ss -lntu`, heading included.
pub fn render(sockets: &[Socket]) -> String {
    let shown: Vec<Row> = sockets.iter().filter(|s| s.state == SocketState::Listen).map(Row::new).collect();
    let width = |of: fn(&Row) -> usize, least: usize| shown.iter().map(of).max().unwrap_or(0).max(least);
    let netid = width(|row| row.netid.len(), "Netid".len());
    let state = width(|row| row.state.len(), "State".len());
    let local = width(|row| row.local.len(), "Local Address".len());
    let port = width(|row| row.port.len(), "Port".len());
    let peer = width(|row| row.peer.len(), "Peer Address".len());
    // iproute2 puts what is left of the heading's cell right behind the port.
    let mut out = format!(
        "{:netid$} {:state$} Recv-Q Send-Q {:>local$}:{:port$} {:>peer$}:PortProcess\n",
        "Netid", "State", "Local Address", "Port", "Peer Address"
    );
    for row in &shown {
        let line = format!(
            "{:netid$} {:state$} 0      {:6} {:>local$}:{:port$} {:>peer$}:*",
            row.netid, row.state, row.backlog, row.local, row.port, row.peer
        );
        out.push_str(&line);
        out.push('\n');
    }
    out
}

struct Row {
    netid: &'static str,
    state: &'static str,
    backlog: &'static str,
    local: String,
    port: String,
    peer: &'static str,
}

impl Row {
    fn new(socket: &Socket) -> Self {
        let (state, backlog) = match socket.protocol {
            Protocol::Udp | Protocol::Icmp => ("UNCONN", "0"),
            Protocol::Tcp | Protocol::Sctp => ("LISTEN", "4096"),
        };
        let (mut local, peer) = match socket.addr {
            None => (String::from("*"), "*"),
            Some(IpAddr::V4(addr)) => (addr.to_string(), "0.0.0.0"),
            Some(IpAddr::V6(addr)) => (format!("[{addr}]"), "[::]"),
        };
        if let Some(dev) = &socket.dev {
            local.push_str(&format!("%{dev}"));
        }
        Self { netid: socket.protocol.as_str(), state, backlog, local, port: socket.port.to_string(), peer }
    }
}

fn socket(line: &mut Line<'_>, reader: &mut Reader) -> Result<Option<Socket>, Fault> {
    let span = line.span;
    let missing = |what: &str| Fault::new(span, format!("the line ends before its {what}"));
    let first = line.next().ok_or_else(|| missing("state"))?;
    let (protocol, state) = match first.text {
        "tcp" => (Some(Protocol::Tcp), line.value(first)?),
        "udp" => (Some(Protocol::Udp), line.value(first)?),
        "sctp" => (Some(Protocol::Sctp), line.value(first)?),
        "icmp6" | "icmp" | "raw" | "p_raw" | "p_dgr" | "nl" | "mptcp" | "dccp" | "v_str" | "v_dgr"
        | "xdp" | "u_str" | "u_dgr" | "u_seq" | "tipc" | "???" => {
            reader.note(span, format!("sockets of '{}' are not modelled", first.text));
            return Ok(None);
        }
        _ => (None, first),
    };
    let protocol = match (protocol, state.text) {
        (protocol, "LISTEN") => protocol.unwrap_or(Protocol::Tcp),
        (protocol, "UNCONN") => protocol.unwrap_or(Protocol::Udp),
        (
            _,
            "ESTAB" | "SYN-SENT" | "SYN-RECV" | "FIN-WAIT-1" | "FIN-WAIT-2" | "TIME-WAIT" | "CLOSE-WAIT"
            | "LAST-ACK" | "CLOSING" | "CLOSED",
        ) => {
            reader.note(span, "a socket that does not listen is left out");
            return Ok(None);
        }
        _ => return Err(Fault::new(state.span, format!("'{}' is not the state of a socket", state.text))),
    };
    for what in ["Recv-Q", "Send-Q"] {
        line.next().ok_or_else(|| missing(what))?.read("a number", number::<u64>)?;
    }
    let local = line.next().ok_or_else(|| missing("local address"))?;
    let (addr, dev, port) = end(local)?;
    let peer = line.next().ok_or_else(|| missing("peer address"))?;
    if !peer.text.ends_with(":*") {
        reader.warn(peer.span, "the peer of a socket is not modelled: it takes packets of every peer");
    }
    while let Some(word) = line.next() {
        let what = word.text.split([':', '(']).next().unwrap_or(word.text);
        reader.note(word.span, format!("'{what}' of a socket is not modelled"));
    }
    let (state, process, origin) = (SocketState::Listen, Process::Echo, reader.origin(span));
    Ok(Some(Socket { protocol, addr, dev: dev.map(Into::into), port, state, process, origin }))
}

/// `ADDRESS[%LINK]:PORT`
fn end(word: Word<'_>) -> Result<(Option<IpAddr>, Option<&str>, u16), Fault> {
    let bad = |what: &str| Fault::new(word.span, format!("'{}' is not ADDRESS:PORT: {what}", word.text));
    let (host, port) = word.text.rsplit_once(':').ok_or_else(|| bad("there is no port"))?;
    let port = number(port).ok_or_else(|| bad("the port is not a number").help("ss -n prints numbers"))?;
    let (host, dev) = host.split_once('%').map_or((host, None), |(host, dev)| (host, Some(dev)));
    // A bound link stands behind the bracket, a zone of the address within: `[fe80::1]%eth0` and `[fe80::1%eth0]`.
    let dev = dev.map(|dev| dev.strip_suffix(']').unwrap_or(dev));
    if dev.is_some_and(|dev| name(dev).is_none()) {
        return Err(bad("the link has no name"));
    }
    let bare = host.strip_prefix('[').map_or(host, |inner| inner.strip_suffix(']').unwrap_or(inner));
    match bare {
        "*" => Ok((None, dev, port)),
        bare => Ok((Some(addr(bare).ok_or_else(|| bad("the address is not an IP address"))?), dev, port)),
    }
}
