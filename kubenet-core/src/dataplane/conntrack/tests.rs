use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::dataplane::netfilter::NatRange;
use crate::packet::{IcmpError, Ipv4Meta, Side, TcpSegment, View, icmp_echo, icmp_error, tcp, udp};
use crate::plan::netfilter::{NatFlags, PortRange};

const CLIENT: &str = "10.244.0.9";
const SERVER: &str = "10.244.1.5";

fn meta(src: &str, dst: &str) -> Ipv4Meta {
    let (src, dst) = (src.parse().expect("address"), dst.parse().expect("address"));
    Ipv4Meta { src, dst, ttl: 64, dont_fragment: true, id: 7 }
}

fn segment(reply: bool, flags: &str) -> Vec<u8> {
    let (sport, dport) = if reply { (80, 40000) } else { (40000, 80) };
    let has = |flag| flags.contains(flag);
    let ack = has('A').then_some(1);
    let (syn, fin, rst) = (has('S'), has('F'), has('R'));
    let segment = TcpSegment { sport, dport, ack, syn, fin, rst, ..TcpSegment::default() };
    let (from, to) = if reply { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
    tcp(&meta(from, to), &segment, b"")
}

fn ip(frame: &[u8]) -> Ip {
    match packet::view(frame).expect("a frame") {
        View::Ip(ip) => ip,
        View::Arp(_) | View::Other(_) => unreachable!("built as IP"),
    }
}

fn at(secs: u64) -> Instant {
    Instant::START + Duration::from_secs(secs)
}

struct Table(Conntrack);

impl Table {
    fn new() -> Self {
        Self(Conntrack::new(&ConntrackSysctls::default()))
    }

    /// The packet's state; it leaves, so that a new connection is kept.
    fn see(&mut self, frame: &[u8], now: Instant) -> String {
        let ct = self.0.track(&ip(frame), frame, now);
        let state = match &ct {
            Err(refused) => return refused.to_string(),
            Ok(ct) => self.0.seen(ct).map_or("INVALID", |seen| seen.state.name()),
        };
        if let Ok(Ct::New(connection)) = ct
            && let Err(refused) = self.0.confirm(*connection, now)
        {
            return refused.to_string();
        }
        state.to_string()
    }

    fn lines(&self, now: Instant) -> Vec<String> {
        self.0.list(now).iter().map(ToString::to_string).collect()
    }

    /// The states that a row of segments has; `<` is a reply.
    fn run(row: &str) -> (Vec<String>, Self) {
        let mut table = Self::new();
        let states = row
            .split(' ')
            .map(|word| table.see(&segment(word.starts_with('<'), word), Instant::START))
            .collect();
        (states, table)
    }
}

fn states(row: &str) -> String {
    Table::run(row).0.join(" ")
}

#[test]
fn a_handshake_is_new_until_the_reply_and_assured_after_it() {
    let (states, table) = Table::run("S S <SA A");
    assert_eq!(states.join(" "), "NEW NEW ESTABLISHED ESTABLISHED");
    assert_eq!(
        table.lines(Instant::START),
        ["tcp 6 ESTABLISHED src=10.244.0.9 dst=10.244.1.5 sport=40000 dport=80 \
          src=10.244.1.5 dst=10.244.0.9 sport=80 dport=40000 [ASSURED] mark=0"]
    );
}

#[test]
fn what_fits_no_state_is_invalid() {
    assert_eq!(states("SA"), "INVALID", "no SYN before it");
    assert_eq!(states("<SA"), "INVALID");
    assert_eq!(states("S A"), "NEW INVALID", "nothing to acknowledge yet");
    assert_eq!(states("F"), "INVALID");
    assert_eq!(states("R"), "INVALID");
    assert_eq!(states(""), "INVALID", "no flag");
}

#[test]
fn a_connection_from_before_is_picked_up() {
    assert_eq!(states("A <A"), "NEW ESTABLISHED", "nf_conntrack_tcp_loose");
}

#[test]
fn a_refused_connection_leaves_nothing() {
    let (states, table) = Table::run("S <RA");
    assert_eq!(states.join(" "), "NEW ESTABLISHED");
    assert_eq!(table.lines(Instant::START), [""; 0]);
}

#[test]
fn a_port_is_used_again_after_the_connection_ended() {
    let (states, _) = Table::run("S <SA A FA <FA A S");
    assert_eq!(states.last().map(String::as_str), Some("NEW"));
}

#[test]
fn timeouts_are_those_of_the_kernel() {
    let lives = |row: &str, secs| Table::run(row).1.lines(at(secs)).len();
    assert_eq!((lives("S", 119), lives("S", 120)), (1, 0), "syn_sent");
    assert_eq!((lives("S <SA", 59), lives("S <SA", 60)), (1, 0), "syn_recv");
    assert_eq!((lives("S <SA A", 431_999), lives("S <SA A", 432_000)), (1, 0), "established");
    assert_eq!((lives("S <SA A FA", 119), lives("S <SA A FA", 120)), (1, 0), "fin_wait");
    assert_eq!((lives("S <SA A R", 9), lives("S <SA A R", 10)), (1, 0), "close");
}

#[test]
fn a_datagram_lives_thirty_seconds_and_a_stream_two_minutes() {
    let there = udp(&meta(CLIENT, SERVER), 53000, 53, b"q");
    let back = udp(&meta(SERVER, CLIENT), 53, 53000, b"a");
    let mut table = Table::new();
    assert_eq!(table.see(&there, at(0)), "NEW");
    assert_eq!((table.lines(at(29)).len(), table.lines(at(30)).len()), (1, 0));
    assert_eq!(table.see(&back, at(1)), "ESTABLISHED");
    assert_eq!((table.lines(at(30)).len(), table.lines(at(31)).len()), (1, 0), "not a stream yet");
    assert_eq!(table.see(&there, at(3)), "ESTABLISHED");
    assert_eq!((table.lines(at(122)).len(), table.lines(at(123)).len()), (1, 0));
    assert_eq!(table.see(&there, at(123)), "NEW", "the old entry is gone");
}

#[test]
fn an_icmp_error_is_related_to_what_it_quotes() {
    let mut table = Table::new();
    let there = udp(&meta(CLIENT, SERVER), 53000, 53, b"q");
    let quote = packet::ip_bytes(&there, &ip(&there)).to_vec();
    let error = icmp_error(&meta("10.244.1.1", CLIENT), IcmpError::HostUnreachable, &quote);
    assert_eq!(table.see(&error, at(0)), "INVALID", "nothing that it could belong to");
    assert_eq!(table.see(&there, at(0)), "NEW");
    assert_eq!(table.see(&error, at(0)), "RELATED");
    assert_eq!(table.0.len(), 1);
}

#[test]
fn an_echo_is_a_connection_and_an_answer_alone_is_not() {
    let mut table = Table::new();
    assert_eq!(table.see(&icmp_echo(&meta(SERVER, CLIENT), true, 7, 1, b""), at(0)), "INVALID");
    assert_eq!(table.see(&icmp_echo(&meta(CLIENT, SERVER), false, 7, 1, b""), at(0)), "NEW");
    assert_eq!(table.see(&icmp_echo(&meta(SERVER, CLIENT), true, 7, 1, b""), at(0)), "ESTABLISHED");
    assert_eq!(
        table.lines(at(0)),
        ["icmp 1 src=10.244.0.9 dst=10.244.1.5 type=8 code=0 id=7 \
          src=10.244.1.5 dst=10.244.0.9 type=0 code=0 id=7 mark=0"]
    );
}

#[test]
fn a_full_table_gives_up_what_is_not_assured_and_then_refuses() {
    let small = ConntrackSysctls { max: 2, ..ConntrackSysctls::default() };
    let mut table = Table(Conntrack::new(&small));
    for (row, now) in [("S", 0), ("<SA", 0), ("A", 0)] {
        table.see(&segment(row.starts_with('<'), row), at(now));
    }
    let datagram = |sport| udp(&meta(CLIENT, SERVER), sport, 53, b"q");
    assert_eq!(table.see(&datagram(1000), at(1)), "NEW");
    assert_eq!(table.see(&datagram(1001), at(2)), "NEW", "in the place of the one before");
    assert_eq!(table.0.len(), 2);
    assert!(table.lines(at(2)).iter().all(|line| !line.contains("sport=1000 ")));
    let one = ConntrackSysctls { max: 1, ..ConntrackSysctls::default() };
    let mut table = Table(Conntrack::new(&one));
    for row in ["S", "<SA", "A"] {
        table.see(&segment(row.starts_with('<'), row), at(0));
    }
    assert_eq!(table.see(&datagram(1000), at(1)), "nf_conntrack: table full, dropping packet");
}

fn masquerade(ports: Option<PortRange>, fully_random: bool) -> NatRange {
    let addr = "172.18.0.2".parse().expect("address");
    NatRange { addrs: Some((addr, addr)), ports, flags: NatFlags { fully_random, ..NatFlags::default() } }
}

fn masqueraded(table: &mut Conntrack, sport: u16, range: NatRange) -> Option<u16> {
    let frame = udp(&meta(&alloc::format!("10.244.0.{}", sport % 250 + 1), "8.8.8.8"), 5000, 53, b"");
    let Ok(Ct::New(mut connection)) = table.track(&ip(&frame), &frame, at(0)) else { return None };
    let mut pick = |count: u64| u64::from(sport) % count;
    connection.bind(table, Side::Source, Some(range), at(0), &mut pick).ok()?;
    let port = connection.reply.dport;
    table.confirm(*connection, at(0)).ok()?;
    Some(port)
}

#[test]
fn a_port_is_kept_when_it_is_free_and_replaced_in_its_class_when_not() {
    let mut table = Conntrack::new(&ConntrackSysctls::default());
    assert_eq!(masqueraded(&mut table, 1, masquerade(None, false)), Some(5000));
    let second = masqueraded(&mut table, 2, masquerade(None, false)).expect("a port is free");
    assert!(second >= 1024 && second != 5000, "{second}");
    let mut table = Conntrack::new(&ConntrackSysctls::default());
    assert_ne!(masqueraded(&mut table, 3, masquerade(None, true)), Some(5000), "fully-random");
}

#[test]
fn ports_run_out() {
    let mut table = Conntrack::new(&ConntrackSysctls::default());
    let three = Some(PortRange { first: 6000, last: 6002 });
    let mut given: Vec<_> =
        (1..4).filter_map(|n| masqueraded(&mut table, n, masquerade(three, false))).collect();
    given.sort_unstable();
    assert_eq!(given, [6000, 6001, 6002]);
    assert_eq!(masqueraded(&mut table, 4, masquerade(three, false)), None);
}

proptest! {
    /// NAT and its reverse: every reply finds the connection that it belongs to, whatever was bound before.
    #[test]
    fn a_reply_finds_its_own_connection(flows in proptest::collection::vec((0_u8..20, 1_u16..6, any::<bool>()), 1..60)) {
        let mut table = Conntrack::new(&ConntrackSysctls::default());
        let mut kept: Vec<(Tuple, Tuple)> = Vec::new();
        for (host, sport, random) in flows {
            let frame = udp(&meta(&alloc::format!("10.244.0.{}", host + 1), "8.8.8.8"), 5000 + sport, 53, b"");
            let Ok(Ct::New(mut connection)) = table.track(&ip(&frame), &frame, at(0)) else { continue };
            let mut pick = |count: u64| u64::from(host) % count;
            let range = masquerade(Some(PortRange { first: 5001, last: 5040 }), random);
            if connection.bind(&mut table, Side::Source, Some(range), at(0), &mut pick).is_err() {
                continue;
            }
            let (orig, reply) = (connection.orig, connection.reply);
            prop_assert!(table.confirm(*connection, at(0)).is_ok());
            kept.push((orig, reply));
        }
        for (orig, reply) in kept {
            let found = table.find(&reply, at(0)).and_then(|(id, original)| Some((table.entry(id)?.orig, original)));
            prop_assert_eq!(found, Some((orig, false)));
        }
    }
}
