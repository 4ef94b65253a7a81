//! TCP as a connection attempt lives it: handshake, one segment of data and its echo, resets, retransmissions.
//!
//! Sources: RFC 9293 §3.5, `net/ipv4/tcp_timer.c`, `ip-sysctl.rst` (`tcp_syn_linear_timeouts` 4, `tcp_syn_retries` 6:
//! the last SYN after 67 s, the end after 131 s). Not modelled: windows, congestion, FIN exchange.

use alloc::format;

use etherparse::TcpHeaderSlice;

use super::{Connection, ConnectionKey, NoticeKind, State};
use crate::dataplane::choices::Choices;
use crate::dataplane::event::{EventId, FlowKind, Recorder, Stage};
use crate::dataplane::frame::Skb;
use crate::dataplane::machine::{Stack, Timer};
use crate::dataplane::reason::DropReason;
use crate::packet::{self, Ip, TcpSegment};
use crate::time::Duration;

/// Retransmissions of a SYN: four linear ones and six that double.
pub(super) const SYN_RETRIES: u8 = 10;
/// Retransmissions of data before the trace gives up; the kernel's `tcp_retries2` goes on for a quarter of an hour.
const DATA_RETRIES: u8 = 5;

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
        let known = self.st.connections.by_key.get(&key).map(|c| (c.state, c.client, c.seq));
        match known {
            Some((State::Opening, client, own)) => {
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
                self.hand_to_client(link, &mut skb, &key);
                if rst && ack {
                    self.tcp_end(key, client, NoticeKind::Refused, skb.last);
                } else if syn && ack {
                    self.tcp_connected(key, seq, mss, skb.last);
                }
            }
            Some((State::Answered, ..)) if ack && !syn && !rst => {
                if let Some(connection) = self.st.connections.by_key.get_mut(&key) {
                    connection.state = State::Established;
                    connection.seq = acked;
                }
                self.tcp_established(link, key, (seq, acked), data, fin, skb);
            }
            Some((State::Answered, client, _)) if rst => {
                self.hand_to_client(link, &mut skb, &key);
                self.tcp_end(key, client, NoticeKind::Reset, skb.last);
            }
            Some((State::Established, client, _)) if rst => {
                self.hand_to_client(link, &mut skb, &key);
                self.tcp_end(key, client, NoticeKind::Reset, skb.last);
            }
            Some((State::Established, ..)) => {
                self.tcp_established(link, key, (seq, acked), data, fin, skb);
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
            let why = || ("too many connections are held".into(), None);
            self.drop(skb, Some(link), Stage::Socket, DropReason::NotSpecified, why);
            return;
        }
        if self.is_group(key.local.0) {
            // `tcp_v4_conn_request`, `tcp_v6_conn_request`: no answer, not even a RST.
            let why = || (format!("TCP takes no connection to {}, which many hold", key.local.0), None);
            self.drop(skb, Some(link), Stage::Socket, DropReason::NotSpecified, why);
            return;
        }
        match self.accept(link, &key, skb) {
            Ok(skb) => {
                let own = super::initial_sequence(&key);
                let own_mss = self.own_mss(key);
                let connection = Connection {
                    client: None,
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

    fn tcp_connected(&mut self, key: ConnectionKey, seq: u32, mss: Option<u16>, event: EventId) {
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        connection.state = State::Established;
        connection.seq = connection.seq.wrapping_add(1);
        connection.ack = seq.wrapping_add(1);
        connection.mss = connection.mss.min(mss.unwrap_or(536));
        connection.tries = 0;
        let (own, next, client, payload) =
            (connection.seq, connection.ack, connection.client, connection.payload);
        if let Some(client) = client {
            self.tell(client, NoticeKind::Connected, event);
        }
        let segment = TcpSegment { seq: own, ack: Some(next), ..ports(&key) };
        self.tcp_send(&key, FlowKind::Data, event, &segment, 0);
        if payload > 0 {
            self.tcp_send_data(key, FlowKind::Data, event);
        }
    }

    fn tcp_established(
        &mut self,
        link: u32,
        key: ConnectionKey,
        (seq, acked): (u32, u32),
        data: u32,
        fin: bool,
        mut skb: Skb,
    ) {
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        if connection.client.is_some() {
            self.hand_to_client(link, &mut skb, &key);
        } else if let Ok(kept) = self.accept(link, &key, skb) {
            skb = kept;
        } else {
            return;
        }
        if data == 0 && !fin {
            return;
        }
        let Some(connection) = self.st.connections.by_key.get_mut(&key) else { return };
        let again = seq != connection.ack;
        if acked != 0 {
            connection.seq = acked;
        }
        connection.ack = seq.wrapping_add(data).wrapping_add(u32::from(fin));
        let (own, next, client) = (connection.seq, connection.ack, connection.client);
        match client {
            Some(client) => {
                connection.payload = 0;
                let segment = TcpSegment { seq: own, ack: Some(next), ..ports(&key) };
                self.tcp_send(&key, FlowKind::Data, skb.last, &segment, 0);
                if !again {
                    self.tell(client, NoticeKind::Answered, skb.last);
                }
            }
            None => {
                let segment = TcpSegment { seq: own, ack: Some(next), psh: data > 0, ..ports(&key) };
                self.tcp_send(&key, FlowKind::Reply, skb.last, &segment, data as usize);
            }
        }
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
        let (client, tries, payload, sent) =
            (connection.client, connection.tries, connection.payload, connection.sent);
        if payload == 0 || client.is_none() {
            return;
        }
        if tries > DATA_RETRIES {
            self.give_up(key, client);
        } else {
            self.tcp_send_data(key, FlowKind::Retransmission, sent);
        }
    }

    fn tcp_end(
        &mut self,
        key: ConnectionKey,
        client: Option<super::ClientId>,
        kind: NoticeKind,
        event: EventId,
    ) {
        if let Some(connection) = self.st.connections.by_key.get_mut(&key) {
            connection.state = State::Done;
        }
        if let Some(client) = client {
            self.tell(client, kind, event);
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
