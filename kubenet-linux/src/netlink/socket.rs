//! A route socket in a namespace: many requests in one send, answers matched to their requests.

use std::io;
use std::sync::Arc;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::netns::Netns;

/// Requests in one send. The answers to more would not fit into the socket's buffer.
const BATCH: usize = 100;

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    /// What is asked for.
    pub(crate) message: RouteNetlinkMessage,
    /// `NLM_F_CREATE` and its sisters.
    pub(crate) flags: u16,
    /// Errors that mean that it is done already.
    pub(crate) fine: &'static [rustix::io::Errno],
}

/// Why a request was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its place among the requests.
    pub(crate) place: usize,
    /// The kernel's answer.
    pub(crate) error: io::Error,
    /// What the kernel says to it, if it does.
    pub(crate) said: Option<String>,
}

/// A socket.
#[derive(Debug)]
pub(crate) struct Route {
    socket: Socket,
    sequence: u32,
}

impl Route {
    /// Opens one in a namespace.
    pub(crate) fn open(netns: &Arc<Netns>) -> io::Result<Self> {
        let socket = netns.run(|| {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        })?;
        // Short answers, and words to them. An old kernel does without.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        Ok(Self { socket, sequence: 0 })
    }

    /// Does requests in their order; the first that is refused ends the batch that it is in.
    pub(crate) fn send(&mut self, requests: &[Request]) -> io::Result<Result<(), Refused>> {
        for (batch, requests) in requests.chunks(BATCH).enumerate() {
            if let Err(mut refused) = self.send_batch(requests)? {
                refused.place += batch * BATCH;
                return Ok(Err(refused));
            }
        }
        Ok(Ok(()))
    }

    fn send_batch(&mut self, requests: &[Request]) -> io::Result<Result<(), Refused>> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let header = header(request.flags | NLM_F_REQUEST | NLM_F_ACK, self.sequence);
            append(&mut bytes, header, request.message.clone());
        }
        self.socket.send(&bytes, 0)?;
        let mut left = requests.len();
        let mut refused: Option<Refused> = None;
        while left > 0 {
            let (answer, _) = self.socket.recv_from_full()?;
            for message in Messages(&answer) {
                let message = message?;
                let place = message.header.sequence_number.wrapping_sub(first) as usize;
                let (NetlinkPayload::Error(error), Some(request)) = (message.payload, requests.get(place))
                else {
                    continue;
                };
                left -= 1;
                let number = error.raw_code().unsigned_abs();
                let fine = number == 0
                    || request.fine.iter().any(|errno| errno.raw_os_error().unsigned_abs() == number);
                if !fine && refused.as_ref().is_none_or(|other| place < other.place) {
                    refused = Some(Refused { place, error: error.to_io(), said: said(&error.header) });
                }
            }
        }
        Ok(refused.map_or(Ok(()), Err))
    }

    /// Lists all that a request asks for.
    pub(crate) fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        // A listing that something changed under is taken again, a few times.
        for _ in 0..8 {
            self.sequence = self.sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            append(&mut bytes, header(NLM_F_REQUEST | NLM_F_DUMP, self.sequence), message.clone());
            self.socket.send(&bytes, 0)?;
            if let Some(all) = self.listing()? {
                return Ok(all);
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the tables change faster than they are read"))
    }

    /// Asks one question that has one answer.
    pub(crate) fn ask(&mut self, message: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        append(&mut bytes, header(NLM_F_REQUEST, self.sequence), message);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            for message in Messages(&answer) {
                let message = message?;
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => return Ok(inner),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    fn listing(&self) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        let mut all = Vec::new();
        let mut whole = true;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            for message in Messages(&answer) {
                let message = message?;
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                whole &= message.header.flags & netlink_packet_core::NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => all.push(inner),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Done(_) => return Ok(whole.then_some(all)),
                    _ => {}
                }
            }
        }
    }
}

fn header(flags: u16, sequence: u32) -> NetlinkHeader {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    header
}

fn append(bytes: &mut Vec<u8>, header: NetlinkHeader, message: RouteNetlinkMessage) {
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let at = bytes.len();
    bytes.resize((at + message.buffer_len()).next_multiple_of(4), 0);
    message.serialize(&mut bytes[at..]);
}

/// The messages of a datagram. One of a kind that is not known is passed over, so that a new kernel is no obstacle.
struct Messages<'b>(&'b [u8]);

impl Iterator for Messages<'_> {
    type Item = io::Result<NetlinkMessage<RouteNetlinkMessage>>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_ne_bytes(self.0.get(..4)?.try_into().ok()?) as usize;
        if length < 16 || length > self.0.len() {
            self.0 = &[];
            return None;
        }
        let (message, rest) = self.0.split_at(length);
        self.0 = rest.get(length.next_multiple_of(4) - length..).unwrap_or(&[]);
        Some(parsed(message))
    }
}

fn parsed(bytes: &[u8]) -> io::Result<NetlinkMessage<RouteNetlinkMessage>> {
    NetlinkMessage::deserialize(bytes).or_else(|error| {
        let field =
            |from: usize| bytes.get(from..from + 2).and_then(|it| it.try_into().ok()).map(u16::from_ne_bytes);
        let kind = field(4).unwrap_or_default();
        // Links, addresses, routes, neighbours and rules are known; a listing must not leave one out in silence.
        let known = [16, 20, 24, 28, 32].contains(&kind);
        if known {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a netlink message: {error}")));
        }
        Ok(NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::Noop))
    })
}

/// `NLMSGERR_ATTR_MSG` behind the header of the refused request.
fn said(after: &[u8]) -> Option<String> {
    let mut rest = after.get(16..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        if kind == 1 {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}
