//! TCP as a connection attempt lives it: handshake, one segment of data and its echo, resets, retransmissions, and how it ends.
//!
//! Sources: RFC 9293 §3.5, `net/ipv4/tcp_timer.c`, `ip-sysctl.rst` (`tcp_syn_linear_timeouts` 4, `tcp_syn_retries` 6:
//! the last SYN after 67 s, the end after 131 s). Whoever gets a FIN closes its own end too. Not modelled: windows, congestion,
//! half-closed connections, TIME_WAIT (of the process; conntrack has it).

use alloc::format;

use etherparse::TcpHeaderSlice;

use super::relay::RELAYS_IN_A_ROW;
use super::{Connection, ConnectionKey, NoticeKind, Owner, State};
use crate::dataplane::choices::Choices;
use crate::dataplane::event::{EventId, FlowKind, Recorder, Stage};
use crate::dataplane::frame::Skb;
use crate::dataplane::machine::{Stack, Timer};
use crate::dataplane::reason::DropReason;
use crate::packet::{self, Ip, TcpSegment};
use crate::plan::Process;
use crate::time::Duration;

/// Retransmissions of a SYN: four linear ones and six that double.
pub(super) const SYN_RETRIES: u8 = 10;
/// Retransmissions of data before the trace gives up; the kernel's `tcp_retries2` goes on for a quarter of an hour.
const DATA_RETRIES: u8 = 5;
/// How long a client waits for the answer to what was acknowledged: longer than a relay tries to pass it on.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// What a segment of a connection that is up says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub(super) seq: u32,
    /// The number that it acknowledges; 0 without an acknowledgment.
    pub(super) acked: u32,
    /// Bytes of data.
    pub(super) data: u32,
    pub(super) fin: bool,
}

/// How long the `tries`-th SYN waits for its answer.
pub(super) const fn syn_timeout(tries: u8) -> Duration {
    let doublings = tries.saturating_sub(5);
    Duration::from_secs(if doublings > 6 { 64 } else { 1 << doublings })
}

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    pub(super) fn tcp_input(&mut self, link: u32, key: ConnectionKey, ip: &Ip, mut skb: Skb) {
        let bytes = packet::l4_bytes(&skb.bytes, ip);
        let Ok(segment) = TcpHeaderSlice::from_slice(bytes) else {
            let why = || ("the TCP header is wrong".into(), None);
            self.drop(skb, Some(link), Stage::Socket, DropReason::PktTooSmall, why);
            return;
        };
        let (syn, ack, rst, fin) = (segment.syn(), segment.ack(), segment.rst(), segment.fin());
        let (seq, acked) = (segment.sequence_number(), segment.acknowledgment_number());
        let header = usize::from(segment.data_offset()) * 4;
        let data = bytes.len().saturating_sub(header) as u32;
        let mss = mss_option(&segment);
        let arrived = Arrived { seq, acked, data, fin };
        let known = self.st.connections.by_key.get(&key).map(|c| (c.state, c.owner, c.seq));
        match known {
            Some((State::Opening, owner, own)) => {
                if ack && acked != own.wrapping_add(1) {
                    // RFC 9293 §3.10.7.3: an unacceptable ACK is answered with a reset.
                    let why = || ("the segment acknowledges what was not sent".into(), None);
                    let cause =
                        self.drop(skb, Some(link), Stage::Socket, DropReason::TcpInvalidSequence, why);
                    if !rst {
                        self.tcp_reset(&key, cause, acked, None);
                    }
                    return;
                }
                self.hand_to(owner, link, &mut skb, &key);
                if rst && ack {
                    self.tcp_end(key, owner, NoticeKind::Refused, skb.last);
                } else if syn && ack {
                    self.tcp_connected(key, seq, mss, skb.last);
                }
            }
            Some((State::Answered, ..)) if ack && !syn && !rst => {
                if let Some(connection) = self.st.connections.by_key.get_mut(&key) {
                    connection.state = State::Established;
                    connection.seq = acked;
                }
                self.tcp_established(link, key, arrived, skb);
            }
            Some((State::Answered | State::Established | State::Draining | State::Closing, owner, _))
                if rst =>
            {
                self.hand_to(owner, link, &mut skb, &key);
                self.tcp_end(key, owner, NoticeKind::Reset, skb.last);
            }
            Some((State::Established | State::Draining, ..)) => {
                self.tcp_established(link, key, arrived, skb);
            }
            Some((State::Closing, owner, own)) => {
                self.hand_to(owner, link, &mut skb, &key);
                self.tcp_closing(key, owner, own, arrived, &skb);
            }
            Some((State::Answered, ..)) if syn => self.tcp_listen(link, key, seq, mss, skb),
            Some((State::Done | State::Answered, ..)) | None if syn && !ack && !rst => {
                self.tcp_listen(link, key, seq, mss, skb);
            }
            Some((State::Done | State::Answered, ..)) | None => {
                let why = || ("the segment fits no connection".into(), None);
                let cause = self.drop(skb, Some(link), Stage::Socket, DropReason::NoSocket, why);
                if !rst {
                    let answer = if ack { (acked, None) } else { (0, Some(seq.wrapping_add(data))) };
                    self.tcp_reset(&key, cause, answer.0, answer.1);
                }
            }
        }
    }

    fn tcp_listen(&mut self, link: u32, key: ConnectionKey, seq: u32, mss: Option<u16>, skb: Skb) {
        if self.st.connections.is_full() {
            self.too_many(link, skb);
            return;
        }
        if self.is_group(key.local.0) {
            // `tcp_v4_conn_request`, `tcp_v6_conn_request`: no answer, not even a RST.
            let why = || (format!("TCP takes no connection to {}, which many hold", key.local.0), None);
            self.drop(skb, Some(link), Stage::Socket, DropReason::NotSpecified, why);
            return;
        }
        match self.accept(link, &key, skb) {
            Ok((skb, bound)) => {
                let is_relay = bound.is_some_and(|bound| matches!(bound.process, Process::Relay(_)));
                if is_relay && skb.relays >= RELAYS_IN_A_ROW {
                    let cause = self.relay_refuse(link, skb);
                    self.tcp_reset(&key, cause, 0, Some(seq.wrapping_add(1)));
                    return;
                }
                if is_relay && self.st.connections.has_too_many_clients() {
                    self.too_many(link, skb);
                    return;
                }
                if is_relay {
                    self.relay_opened(key, &skb);
                }
                let own = super::initial_sequence(&key);
                let own_mss = self.own_mss(key);
                let connection = Connection {
                    owner: if is_relay { Owner::Accepted } else { Owner::Listener },
                    state: State::Answered,
                    seq: own,
                    ack: seq.wrapping_add(1),
                    payload: 0,
                    mss: mss.unwrap_or(536).min(own_mss),
                    tries: 0,
                    deadline: self.now,
                    sent: skb.last,
                };
                self.st.connections.by_key.insert(key, connection);
                let segment = TcpSegment {
                    syn: true,
                    seq: own,
                    ack: Some(seq.wrapping_add(1)),
                    mss: Some(own_mss),
                    ..ports(&key)
                };
                self.tcp_send(&key, FlowKind::Reply, skb.last, &segment, 0);
            }
            Err((skb, origin)) => {
                let cause = self.refuse(link, &key, skb, origin);
                self.tcp_reset(&key, cause, 0, Some(seq.wrapping_add(1)));
            }
        }
    }

    /// A client that there is no room for.
    pub(super) fn too_many(&mut self, link: u32, skb: Skb) {
        let why = || ("too many connections are held".into(), None);
        self.drop(skb, Some(link), Stage::Socket, DropReason::NotSpecified, why);
    }

    fn tcp_connected(&mut self, key: ConnectionKey, seq: u32, mss: Option<u16>, event: EventId) {
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        connection.state = State::Established;
        connection.seq = connection.seq.wrapping_add(1);
        connection.ack = seq.wrapping_add(1);
        connection.mss = connection.mss.min(mss.unwrap_or(536));
        connection.tries = 0;
        let (own, next, owner, payload) =
            (connection.seq, connection.ack, connection.owner, connection.payload);
        if let Owner::Client(client) = owner {
            self.tell(client, NoticeKind::Connected, event);
        }
        let segment = TcpSegment { seq: own, ack: Some(next), ..ports(&key) };
        self.tcp_send(&key, FlowKind::Data, event, &segment, 0);
        if payload > 0 {
            self.tcp_send_data(key, FlowKind::Data, event);
        }
        if let Owner::Dialled(client) = owner {
            self.relay_connected(client, event);
        }
    }

    fn tcp_established(&mut self, link: u32, key: ConnectionKey, arrived: Arrived, mut skb: Skb) {
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        match connection.owner {
            owner @ Owner::Client(_) => self.hand_to(owner, link, &mut skb, &key),
            Owner::Listener => match self.accept(link, &key, skb) {
                Ok((kept, _)) => skb = kept,
                Err(_) => return,
            },
            owner @ (Owner::Accepted | Owner::Dialled(_)) => {
                self.hand_to(owner, link, &mut skb, &key);
                self.relay_segment(link, key, owner, arrived, &skb);
                return;
            }
        }
        let Arrived { seq, acked, data, fin } = arrived;
        if data == 0 && !fin {
            self.tcp_only_acknowledged(key, acked);
            return;
        }
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        let again = seq != connection.ack;
        if acked != 0 {
            connection.seq = acked;
        }
        connection.ack = seq.wrapping_add(data).wrapping_add(u32::from(fin));
        let (own, next, owner) = (connection.seq, connection.ack, connection.owner);
        let closes = fin && !again;
        if closes {
            // Its process reads the end of the stream, and closes.
            connection.state = State::Closing;
            (connection.payload, connection.tries) = (0, 0);
        }
        let segment = TcpSegment { seq: own, ack: Some(next), fin: closes, ..ports(&key) };
        match owner {
            Owner::Client(client) => {
                connection.payload = 0;
                self.tcp_send(&key, FlowKind::Data, skb.last, &segment, 0);
                if !again && data > 0 {
                    self.tell(client, NoticeKind::Answered, skb.last);
                }
                if closes {
                    self.tell(client, NoticeKind::Closed, skb.last);
                }
            }
            Owner::Listener | Owner::Accepted | Owner::Dialled(_) => {
                let segment = TcpSegment { psh: data > 0, ..segment };
                self.tcp_send(&key, FlowKind::Reply, skb.last, &segment, data as usize);
                if closes && let Some(connection) = self.st.connections.by_key.get_mut(&key) {
                    connection.seq = own.wrapping_add(data);
                }
            }
        }
    }

    /// A segment without data acknowledges what was sent. Of a client's data it says that nothing has to be sent again; the
    /// answer is still to come.
    fn tcp_only_acknowledged(&mut self, key: ConnectionKey, acked: u32) {
        let now = self.now;
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        let waits = matches!(connection.owner, Owner::Client(_)) && connection.payload > 0;
        let count = acked.wrapping_sub(connection.seq);
        if !waits || count == 0 || count > u32::from(connection.payload) {
            return;
        }
        connection.seq = acked;
        connection.tries = DATA_RETRIES + 1;
        connection.deadline = now + ANSWER_WAIT;
        let (at, netns) = (connection.deadline, self.st.index);
        self.io.wake_at(at, Timer::Connection { netns, key });
    }

    /// Takes what a segment acknowledges of a relay's data. Whether some of it is left that was not sent yet.
    pub(super) fn tcp_acknowledged(&mut self, key: &ConnectionKey, acked: u32) -> bool {
        let Some(connection) = self.st.connections.by_key.get_mut(key) else { return false };
        let count = acked.wrapping_sub(connection.seq);
        match u16::try_from(count) {
            Ok(count @ 1..) if count <= connection.payload => {
                connection.seq = acked;
                connection.payload -= count;
                connection.tries = 0;
                connection.payload > 0
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Takes the data of a segment that is the next one, if there is room for it, and acknowledges what is there. Says how much
    /// is new, and whether the other side is at its end.
    pub(super) fn tcp_take(
        &mut self,
        key: ConnectionKey,
        arrived: Arrived,
        room: u16,
        event: EventId,
    ) -> (u16, bool) {
        let Arrived { seq, data, fin, .. } = arrived;
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return (0, false) };
        if data == 0 && !fin {
            return (0, false);
        }
        let taken = match u16::try_from(data) {
            Ok(data) if data <= room && seq == connection.ack => (data, fin),
            Ok(_) | Err(_) => (0, false),
        };
        connection.ack = connection.ack.wrapping_add(u32::from(taken.0)).wrapping_add(u32::from(taken.1));
        let segment = TcpSegment { seq: connection.seq, ack: Some(connection.ack), ..ports(&key) };
        self.tcp_send(&key, FlowKind::Data, event, &segment, 0);
        taken
    }

    /// A relay has more to send.
    pub(super) fn tcp_add_data(&mut self, key: ConnectionKey, more: u16, cause: EventId) {
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        let waits = connection.payload > 0;
        connection.payload = connection.payload.saturating_add(more);
        if !waits && more > 0 {
            connection.tries = 0;
            self.tcp_send_data(key, FlowKind::Data, cause);
        }
    }

    /// A process closes its end: FIN, once what was sent before is acknowledged.
    pub(super) fn tcp_close(&mut self, key: ConnectionKey, kind: FlowKind, cause: EventId) {
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        if connection.state != State::Established {
            return;
        }
        connection.state = State::Draining;
        if connection.payload == 0 {
            connection.tries = 0;
            self.tcp_finish(key, kind, cause);
        }
    }

    /// What was sent is acknowledged: the FIN that waits goes out.
    pub(super) fn tcp_drained(&mut self, key: ConnectionKey, cause: EventId) {
        let Some(connection) = self.st.connections.by_key.get(&key) else { return };
        if connection.state == State::Draining && connection.payload == 0 {
            self.tcp_finish(key, FlowKind::Data, cause);
        }
    }

    /// Sends (again) FIN.
    fn tcp_finish(&mut self, key: ConnectionKey, kind: FlowKind, cause: EventId) {
        let now = self.now;
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        connection.state = State::Closing;
        connection.tries += 1;
        connection.deadline = now + Duration::from_millis(200 << connection.tries.min(8));
        let segment = TcpSegment { fin: true, seq: connection.seq, ack: Some(connection.ack), ..ports(&key) };
        let (at, netns) = (connection.deadline, self.st.index);
        self.io.wake_at(at, Timer::Connection { netns, key });
        self.tcp_send(&key, kind, cause, &segment, 0);
    }

    pub(super) fn tcp_finish_timeout(&mut self, key: ConnectionKey) {
        let Some(connection) = self.st.connections.by_key.get(&key) else { return };
        let (owner, tries, sent) = (connection.owner, connection.tries, connection.sent);
        if tries > DATA_RETRIES {
            self.tcp_gone(key, owner);
        } else {
            self.tcp_finish(key, FlowKind::Retransmission, sent);
        }
    }

    /// A segment for an end whose FIN is sent. It is over when the other side has sent its own, or has acknowledged the one of
    /// this side: nothing more is expected of it then.
    fn tcp_closing(&mut self, key: ConnectionKey, owner: Owner, own: u32, arrived: Arrived, skb: &Skb) {
        let Arrived { seq, acked, data, fin } = arrived;
        if data > 0 {
            // Nobody reads it any more (`tcp_rcv_state_process`, TCPABORTONDATA).
            self.tcp_reset(&key, skb.last, acked, None);
            self.tcp_gone(key, owner);
            return;
        }
        let next = own.wrapping_add(1);
        if fin {
            let segment = TcpSegment { seq: next, ack: Some(seq.wrapping_add(1)), ..ports(&key) };
            self.tcp_send(&key, FlowKind::Data, skb.last, &segment, 0);
        }
        if fin || acked == next {
            self.tcp_gone(key, owner);
        }
    }

    /// Nothing more is expected of a connection.
    fn tcp_gone(&mut self, key: ConnectionKey, owner: Owner) {
        match owner {
            Owner::Client(_) | Owner::Listener => {
                if let Some(connection) = self.st.connections.by_key.get_mut(&key) {
                    connection.state = State::Done;
                }
            }
            Owner::Accepted | Owner::Dialled(_) => self.relay_gone(key, owner),
        }
    }

    /// Ends a connection at once, with RST.
    pub(super) fn tcp_abort(&mut self, key: ConnectionKey, owner: Owner, cause: EventId) {
        let Some(connection) = self.st.connections.by_key.get(&key) else { return };
        let (own, next) = (connection.seq, connection.ack);
        self.tcp_reset(&key, cause, own, Some(next));
        self.tcp_gone(key, owner);
    }

    /// Sends (again) the client's data, as much of it as one segment takes.
    pub(super) fn tcp_send_data(&mut self, key: ConnectionKey, kind: FlowKind, cause: EventId) {
        let mss = self.own_mss(key);
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        connection.mss = connection.mss.min(mss);
        connection.tries += 1;
        // RTO: 200 ms at least (TCP_RTO_MIN), doubling.
        connection.deadline = self.now + Duration::from_millis(200 << connection.tries.min(8));
        let len = connection.payload.min(connection.mss);
        let segment = TcpSegment { seq: connection.seq, ack: Some(connection.ack), psh: true, ..ports(&key) };
        let (deadline, netns) = (connection.deadline, self.st.index);
        self.io.wake_at(deadline, Timer::Connection { netns, key });
        self.tcp_send(&key, kind, cause, &segment, usize::from(len));
    }

    pub(super) fn tcp_data_timeout(&mut self, key: ConnectionKey) {
        let Some(connection) = self.st.connections.by_key.get(&key) else { return };
        let (owner, tries, payload, sent) =
            (connection.owner, connection.tries, connection.payload, connection.sent);
        if payload == 0 || owner == Owner::Listener {
            return;
        }
        if tries > DATA_RETRIES {
            self.give_up(key, owner);
        } else {
            self.tcp_send_data(key, FlowKind::Retransmission, sent);
        }
    }

    fn tcp_end(&mut self, key: ConnectionKey, owner: Owner, kind: NoticeKind, event: EventId) {
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        let ended = connection.state == State::Closing;
        connection.state = State::Done;
        match owner {
            // It has closed already, and does not look any more.
            Owner::Client(_) if ended => {}
            Owner::Client(client) => self.tell(client, kind, event),
            Owner::Accepted | Owner::Dialled(_) => self.relay_lost(key, owner, event),
            Owner::Listener => {}
        }
    }

    fn tcp_reset(&mut self, key: &ConnectionKey, cause: EventId, seq: u32, ack: Option<u32>) {
        let segment = TcpSegment { rst: true, seq, ack, ..ports(key) };
        self.tcp_send(key, FlowKind::Reply, cause, &segment, 0);
    }

    fn tcp_send(
        &mut self,
        key: &ConnectionKey,
        kind: FlowKind,
        cause: EventId,
        segment: &TcpSegment,
        len: usize,
    ) {
        let payload = alloc::vec![0x6b; len];
        let sent = self.send_with(kind, cause, Some(key.local.0), key.remote.0, 0, |meta| {
            packet::tcp(meta, segment, &payload)
        });
        if let (Ok(event), Some(connection)) = (sent, self.st.connections.by_key.get_mut(key)) {
            connection.sent = event;
        }
    }
}

fn ports(key: &ConnectionKey) -> TcpSegment {
    TcpSegment { sport: key.local.1, dport: key.remote.1, ..TcpSegment::default() }
}

fn mss_option(segment: &TcpHeaderSlice<'_>) -> Option<u16> {
    segment.options_iterator().find_map(|option| match option {
        Ok(etherparse::TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
        _ => None,
    })
}
