use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::testing::{Packet, STATES, Walker, element, in_state, nft, set};
use super::*;
use crate::addr::Family;
use crate::dataplane::choices::{Probability, Seeded, explore};
use crate::plan::netfilter::{CtState, LimitRate, NatFlags, Reject};
use crate::plan::nft::{
    BinaryOp, CtKey, Data, Element, Expr, FibKey, FibResult, Field, Meta, Nat, Op, Set, SetOp, Value,
};
use crate::time::{Duration, Instant};

const PACKET: &str = "tcp 10.0.0.1 1234 192.168.0.1 80";

fn number(n: u64) -> Expr {
    Expr::Value(Value::Number(n))
}

fn addr(text: &str) -> Value {
    Value::Addr(text.parse().expect("an address"))
}

fn prefix(text: &str) -> Value {
    Value::Prefix(text.parse().expect("a prefix"))
}

fn is(left: Expr, right: Expr) -> Statement {
    Statement::Match { left, op: Op::Implicit, right }
}

fn is_not(left: Expr, right: Expr) -> Statement {
    Statement::Match { left, op: Op::Ne, right }
}

fn field(field: Field) -> Expr {
    Expr::Field(field)
}

const fn verdict(verdict: Verdict) -> Statement {
    Statement::Verdict(verdict)
}

fn goto(name: &str) -> Verdict {
    Verdict::Goto(name.into())
}

fn mark(value: Expr) -> Statement {
    Statement::Assign { target: Expr::Meta(Meta::Mark), value }
}

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    Expr::Binary { op, left: Box::new(left), right: Box::new(right) }
}

/// `ip daddr . meta l4proto . th dport`.
fn vip_key() -> Expr {
    Expr::Concat(vec![field(Field::IpDaddr), Expr::Meta(Meta::L4proto), field(Field::ThDport)])
}

fn dnat(addr: Expr, addr_and_port: bool, port: Option<Expr>) -> Statement {
    Statement::Dnat(Nat { family: None, addr: Some(addr), addr_and_port, port, flags: NatFlags::default() })
}

#[track_caller]
fn walk(sets: Vec<Set>, chains: Vec<(&str, Vec<Vec<Statement>>)>, packet: &str, expected: &str) {
    for mode in [WalkMode::Plain, WalkMode::Indexed] {
        let netfilter = nft(TableFamily::Inet, sets.clone(), chains.clone());
        let mut walker = Walker { mode, ..Walker::new(netfilter) };
        assert_eq!(walker.ask(&Packet::new(packet), &mut Seeded(0)), expected, "{mode:?}");
    }
}

/// Whether a condition holds for a packet coming in: yes, no or not known.
#[track_caller]
fn check(condition: Statement, packet: &str, expected: &str) {
    let rules = vec![vec![condition, verdict(Verdict::Drop)]];
    let mut walker = Walker::new(nft(TableFamily::Inet, Vec::new(), vec![("prerouting", rules)]));
    let told = walker.ask(&Packet::new(packet), &mut Seeded(0));
    let told = match &*told {
        "drop, dropped" => "yes",
        "accepted" => "no",
        _ => "unknown",
    };
    assert_eq!(told, expected);
}

#[test]
fn fields_hold_only_for_packets_that_have_them() {
    check(is(field(Field::IpSaddr), Expr::Value(prefix("10.0.0.0/8"))), PACKET, "yes");
    check(is_not(field(Field::IpSaddr), Expr::Value(prefix("10.0.0.0/8"))), PACKET, "no");
    check(is_not(field(Field::Ip6Saddr), Expr::Value(addr("::1"))), PACKET, "no");
    check(is(field(Field::TcpDport), number(80)), PACKET, "yes");
    check(is_not(field(Field::UdpDport), number(53)), PACKET, "no");
    check(is(field(Field::TcpFlags), Expr::Flags(vec![Value::Number(2), Value::Number(16)])), PACKET, "yes");
    check(
        is_not(field(Field::TcpFlags), Expr::Flags(vec![Value::Number(2), Value::Number(16)])),
        PACKET,
        "yes",
    );
    check(is(field(Field::IpTtl), number(64)), PACKET, "yes");
    check(is(field(Field::IcmpType), number(8)), "icmp 10.0.0.1 10.0.0.2", "yes");
    let range = Value::Range(Box::new(Value::Number(1000)), Box::new(Value::Number(2000)));
    check(is(field(Field::ThSport), Expr::Value(range)), PACKET, "yes");
    let before = Statement::Match { left: field(Field::ThDport), op: Op::Lt, right: number(80) };
    check(before, PACKET, "no");
    let masked = binary(BinaryOp::And, field(Field::IpDaddr), Expr::Value(addr("255.255.0.0")));
    check(is(masked, Expr::Value(addr("192.168.0.0"))), PACKET, "yes");
}

#[test]
fn what_the_connection_and_routing_say() {
    let ct = |original, key| Expr::Ct { original, key };
    check(is(ct(None, CtKey::State), number(8)), PACKET, "yes");
    check(is(ct(None, CtKey::State), Expr::Flags(vec![Value::Number(2), Value::Number(4)])), PACKET, "no");
    // Compared as a whole, as nft compiles it.
    check(
        is_not(ct(None, CtKey::State), Expr::Flags(vec![Value::Number(8), Value::Number(4)])),
        PACKET,
        "yes",
    );
    check(is(ct(Some(true), CtKey::IpDaddr), Expr::Value(addr("192.168.0.1"))), PACKET, "yes");
    check(is(ct(Some(false), CtKey::ProtoDst), number(1234)), PACKET, "yes");
    check(is(ct(None, CtKey::Direction), number(0)), PACKET, "yes");
    check(is(ct(None, CtKey::Helper), number(0)), PACKET, "unknown");
    let fib = |keys: &[FibKey], result| Expr::Fib { keys: keys.to_vec(), result };
    check(
        is(fib(&[FibKey::Daddr], FibResult::Type), Expr::Value(Value::Name("local".into()))),
        PACKET,
        "yes",
    );
    check(is(fib(&[FibKey::Saddr], FibResult::Type), number(2)), PACKET, "no");
    let reverse = fib(&[FibKey::Saddr, FibKey::Iif], FibResult::Oif);
    check(is(reverse.clone(), Expr::Value(Value::Name("missing".into()))), PACKET, "no");
    check(is(reverse, number(0)), "udp 10.244.0.1 1 192.168.0.1 2", "yes");
    check(
        is(fib(&[FibKey::Saddr], FibResult::Oifname), Expr::Value(Value::Name("eth*".into()))),
        PACKET,
        "yes",
    );
    check(is(Expr::Meta(Meta::Iif), number(2)), PACKET, "yes");
    check(is(Expr::Meta(Meta::Skuid), number(0)), PACKET, "no");
    check(is(Expr::Other("osf name".into()), number(0)), PACKET, "unknown");
}

#[test]
fn an_expression_that_is_not_modelled_matters_only_where_it_decides() {
    let unknown = || is(Expr::Other("osf".into()), number(0));
    let prerouting = |rule| vec![("prerouting", vec![rule])];
    let drop = || verdict(Verdict::Drop);
    walk(
        vec![],
        prerouting(vec![unknown(), is(field(Field::ThDport), number(81)), drop()]),
        PACKET,
        "accepted",
    );
    walk(vec![], prerouting(vec![unknown(), Statement::Counter(None)]), PACKET, "accepted");
    let why = "unknown: the expression `osf` is not modelled";
    walk(vec![], prerouting(vec![unknown(), is(field(Field::ThDport), number(80)), drop()]), PACKET, why);
    walk(
        vec![],
        prerouting(vec![Statement::Other("queue to 0".into())]),
        PACKET,
        "unknown: the statement `queue to 0` in chain prerouting of table inet t is not modelled",
    );
}

#[test]
fn an_address_is_found_in_a_verdict_map_and_its_backend_in_a_map() {
    let key = |last: u64| vec![addr(&format!("10.96.0.{last}")), Value::Number(6), Value::Number(80)];
    let elements = (0..50).map(|n| element(key(n), Some(Data::Verdict(goto(&format!("svc-{}", n % 2))))));
    let backend = |n: u64| {
        let to = vec![addr(&format!("10.244.0.{n}")), Value::Number(8080)];
        element(vec![Value::Number(n)], Some(Data::Values(to)))
    };
    let numgen = Expr::Numgen { random: true, modulus: 1000, offset: 0 };
    let map = Expr::Elements(
        (0..1000)
            .map(|n| backend(n % 250))
            .enumerate()
            .map(|(n, e)| Element { key: vec![Value::Number(n as u64)], ..e })
            .collect(),
    );
    let to = Expr::Map { key: Box::new(numgen), map: Box::new(map) };
    let chains = vec![
        ("prerouting", vec![vec![Statement::Vmap { key: vip_key(), map: Expr::Named("vips".into()) }]]),
        ("svc-0", vec![vec![is(Expr::Meta(Meta::L4proto), number(6)), dnat(to, true, None)]]),
        ("svc-1", vec![vec![Statement::Reject(None)]]),
    ];
    let sets = vec![set("vips", elements.collect())];
    walk(
        sets.clone(),
        chains.clone(),
        "tcp 10.0.0.1 1 10.96.0.7 80",
        "goto svc-1, reject with icmpx port-unreachable, rejected",
    );
    walk(sets.clone(), chains.clone(), "tcp 10.0.0.1 1 10.96.0.6 81", "accepted");
    let mut walker = Walker::new(nft(TableFamily::Ip, sets, chains));
    let packet = Packet::new("tcp 10.0.0.1 1 10.96.0.6 80");
    let found = explore(4096, |choices| walker.ask(&packet, choices));
    assert_eq!((found.runs.len(), found.unexplored), (1000, Probability::ZERO));
    assert!(
        found
            .runs
            .iter()
            .all(|(p, taken, _)| p.to_string() == "1/1000" && taken[0].point == "numgen ip t svc-0")
    );
    assert!(found.runs.iter().any(|run| run.2 == "goto svc-0, dnat to 10.244.0.249:8080, bound"));
}

#[test]
fn marks_are_set_by_bits_and_masquerade_ends_the_chain() {
    let mark_of = || Expr::Meta(Meta::Mark);
    let ct_mark = Expr::Ct { original: None, key: CtKey::Mark };
    let rules = vec![
        vec![mark(binary(BinaryOp::Or, mark_of(), number(0x4000)))],
        vec![
            is_not(binary(BinaryOp::And, mark_of(), number(0x4000)), number(0)),
            Statement::Assign { target: ct_mark, value: mark_of() },
        ],
        vec![mark(binary(BinaryOp::Xor, mark_of(), number(0x4000)))],
        vec![Statement::Masquerade {
            port: None,
            flags: NatFlags { fully_random: true, ..NatFlags::default() },
        }],
        vec![verdict(Verdict::Drop)],
    ];
    walk(
        vec![],
        vec![("prerouting", rules)],
        PACKET,
        "mark set 0x4000, ct mark set 0x4000, mark set 0x0, masquerade, bound",
    );
}

#[test]
fn nat_of_the_other_family_ends_the_rule() {
    let to = || dnat(Expr::Value(addr("fd00::1")), false, Some(number(80)));
    walk(vec![], vec![("prerouting", vec![vec![to()]])], PACKET, "accepted");
    walk(
        vec![],
        vec![("prerouting", vec![vec![to()]])],
        "udp fd00::2 1 fd00::3 2",
        "dnat to [fd00::1]:80, bound",
    );
}

#[test]
fn verdicts_return_to_the_caller_and_calls_are_limited() {
    let back = vec![
        ("prerouting", vec![vec![verdict(Verdict::Jump("a".into()))], vec![verdict(Verdict::Drop)]]),
        ("a", vec![vec![verdict(Verdict::Return)], vec![verdict(Verdict::Accept)]]),
    ];
    walk(vec![], back, PACKET, "jump a, return, drop, dropped");
    let names: Vec<String> = (0..18).map(|n| format!("c{n}")).collect();
    let mut chains = vec![("prerouting", vec![vec![verdict(Verdict::Jump("c0".into()))]])];
    for pair in names.windows(2) {
        chains.push((&pair[0], vec![vec![verdict(Verdict::Jump(pair[1].as_str().into()))]]));
    }
    chains.push(("c17", Vec::new()));
    let mut walker = Walker::new(nft(TableFamily::Ip, vec![], chains));
    let told = walker.ask(&Packet::new(PACKET), &mut Seeded(0));
    assert!(
        told.ends_with("more than 16 calls are open at chain c16, which the kernel does not load"),
        "{told}"
    );
}

#[test]
fn a_client_stays_with_its_backend_until_the_timeout() {
    let mut affinity = set("affinity", vec![]);
    affinity.flags.dynamic = true;
    affinity.timeout_ms = Some(10_000);
    let update = Statement::SetOp {
        op: SetOp::Update,
        set: "affinity".into(),
        key: field(Field::IpSaddr),
        timeout_ms: None,
        data: None,
    };
    let known = is(field(Field::IpSaddr), Expr::Named("affinity".into()));
    let later = is(field(Field::ThDport), number(80));
    let rules = vec![vec![known, later.clone(), mark(number(1))], vec![update]];
    let mut walker = Walker::new(nft(TableFamily::Ip, vec![affinity], vec![("prerouting", rules)]));
    let mut ask = |secs: u64, packet: &str| {
        let now = Instant::START + Duration::from_secs(secs);
        walker.ask(&Packet { now, ..Packet::new(packet) }, &mut Seeded(0)).starts_with("mark set")
    };
    assert_eq!([0, 9, 18, 28, 29].map(|secs| ask(secs, PACKET)), [false, true, true, false, true]);
    assert!(!ask(29, "tcp 10.0.0.2 1 192.168.0.1 80"));
    assert_eq!(walker.state.set_len(TableFamily::Ip, "t", "affinity"), Some(2));
}

#[test]
fn elements_that_were_there_expire_and_can_be_deleted() {
    let mut held =
        set("held", vec![element(vec![addr("10.0.0.1")], None), element(vec![addr("10.0.0.2")], None)]);
    held.elements[0].expires_ms = Some(5_000);
    let delete = Statement::SetOp {
        op: SetOp::Delete,
        set: "held".into(),
        key: field(Field::IpSaddr),
        timeout_ms: None,
        data: None,
    };
    let known = is(field(Field::IpSaddr), Expr::Named("held".into()));
    let rules = vec![vec![known, mark(number(1))], vec![is(field(Field::ThDport), number(81)), delete]];
    let mut walker = Walker::new(nft(TableFamily::Ip, vec![held], vec![("prerouting", rules)]));
    let mut ask = |secs: u64, client: u8, port: u16| {
        let now = Instant::START + Duration::from_secs(secs);
        let packet = Packet::new(&format!("tcp 10.0.0.{client} 1 192.168.0.1 {port}"));
        walker.ask(&Packet { now, ..packet }, &mut Seeded(0)).starts_with("mark set")
    };
    assert_eq!([ask(4, 1, 80), ask(5, 1, 80)], [true, false]);
    assert_eq!([ask(5, 2, 81), ask(5, 2, 80)], [true, false]);
}

#[test]
fn a_full_set_ends_the_rule() {
    let mut small = set("small", vec![]);
    small.size = Some(2);
    let add = Statement::SetOp {
        op: SetOp::Add,
        set: "small".into(),
        key: field(Field::IpSaddr),
        timeout_ms: Some(1000),
        data: None,
    };
    let rules = vec![vec![add, mark(number(1))]];
    let mut walker = Walker::new(nft(TableFamily::Ip, vec![small], vec![("prerouting", rules)]));
    let mut ask = |secs: u64, client: u8| {
        let now = Instant::START + Duration::from_secs(secs);
        let packet = Packet::new(&format!("tcp 10.0.0.{client} 1 192.168.0.1 80"));
        walker.ask(&Packet { now, ..packet }, &mut Seeded(0)) != "accepted"
    };
    assert_eq!([ask(0, 1), ask(0, 2), ask(0, 3), ask(0, 1), ask(2, 3)], [true, true, false, true, true]);
    assert!(walker.state.set_len(TableFamily::Ip, "t", "small") <= Some(2));
}

#[test]
fn rates_let_pass_or_catch_what_is_above_them() {
    let rate = LimitRate { amount: 1, unit_bytes: None, per_secs: 1 };
    let limit = |over| Statement::Limit { rate, over, burst: Some(2) };
    let mut counts = Vec::new();
    for over in [false, true] {
        let rules = vec![vec![limit(over), verdict(Verdict::Drop)]];
        let mut walker = Walker::new(nft(TableFamily::Ip, vec![], vec![("prerouting", rules)]));
        counts
            .push((0..5).filter(|_| walker.ask(&Packet::new(PACKET), &mut Seeded(0)) != "accepted").count());
    }
    assert_eq!(counts, [2, 3]);
}

#[test]
fn counting_up_begins_again_at_the_modulus() {
    let rules = vec![vec![mark(Expr::Numgen { random: false, modulus: 3, offset: 10 })]];
    let mut walker = Walker::new(nft(TableFamily::Ip, vec![], vec![("prerouting", rules)]));
    let marks: Vec<String> = (0..4).map(|_| walker.ask(&Packet::new(PACKET), &mut Seeded(0))).collect();
    assert_eq!(
        marks.join(" "),
        "mark set 0xa, accepted mark set 0xb, accepted mark set 0xc, accepted mark set 0xa, accepted"
    );
}

#[test]
fn a_hash_with_a_seed_is_that_of_the_kernel() {
    // What Linux 6.18 set for `jhash ip saddr . udp sport mod 100000 seed 0x1`.
    let of = Box::new(Expr::Concat(vec![field(Field::IpSaddr), field(Field::UdpSport)]));
    let rules = vec![vec![mark(Expr::Jhash { of, modulus: 100_000, seed: Some(1), offset: 0 })]];
    let packet = "udp 10.9.0.1 40000 10.9.0.1 9";
    walk(vec![], vec![("prerouting", rules)], packet, "mark set 0xae7f, accepted");
}

#[test]
fn a_hash_without_a_seed_is_a_choice_that_stays() {
    let jhash = Expr::Jhash { of: Box::new(field(Field::IpSaddr)), modulus: 3, seed: None, offset: 0 };
    let rules = vec![vec![mark(jhash)]];
    let found = explore(100, |choices| {
        let mut walker = Walker::new(nft(TableFamily::Ip, vec![], vec![("prerouting", rules.clone())]));
        let packet = Packet::new(PACKET);
        assert_eq!(walker.ask(&packet, choices), walker.ask(&packet, choices));
    });
    assert_eq!(found.runs.iter().map(|run| run.0.to_string()).collect::<Vec<_>>(), ["1/3"; 3]);
}

fn random_condition() -> impl Strategy<Value = Statement> {
    let address = (0..4_u8).prop_map(|last| Expr::Value(addr(&format!("10.0.0.{last}"))));
    let port = (80..84_u64).prop_map(number);
    prop_oneof![
        (address.clone(), any::<bool>()).prop_map(|(a, not)| if not {
            is_not(field(Field::IpDaddr), a)
        } else {
            is(field(Field::IpDaddr), a)
        }),
        address.prop_map(|a| is(field(Field::IpSaddr), a)),
        port.clone().prop_map(|p| is(field(Field::TcpDport), p)),
        port.prop_map(|p| is(field(Field::ThDport), p)),
        prop_oneof![Just(6), Just(17), Just(1)].prop_map(|p| is(Expr::Meta(Meta::L4proto), number(p))),
        prop_oneof![Just("eth0"), Just("eth1"), Just("eth*")]
            .prop_map(|name| is(Expr::Meta(Meta::Iifname), Expr::Value(Value::Name(name.into())))),
        Just(is(Expr::Other("osf".into()), number(0))),
        Just(is(Expr::Numgen { random: true, modulus: 2, offset: 0 }, number(0))),
        Just(is(Expr::Numgen { random: false, modulus: 2, offset: 0 }, number(0))),
        (0..2_u64).prop_map(|bit| is(Expr::Meta(Meta::Mark), number(bit))),
        Just(Statement::Counter(None)),
    ]
}

fn random_rule() -> impl Strategy<Value = Vec<Statement>> {
    let end = prop_oneof![
        3 => (0..2_u64).prop_map(|bit| mark(number(bit))),
        1 => Just(verdict(Verdict::Accept)),
        1 => Just(verdict(Verdict::Return)),
        1 => Just(verdict(Verdict::Jump("a".into()))),
    ];
    (proptest::collection::vec(random_condition(), 0..4), end).prop_map(|(mut rule, end)| {
        rule.push(end);
        rule
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_index_means_what_the_plain_walk_means(
        rules in proptest::collection::vec(random_rule(), 17..50),
        packets in proptest::collection::vec((0..3_u8, 0..5_u8, 0..5_u8, 80..84_u16), 1..5),
    ) {
        let netfilter = nft(TableFamily::Inet, vec![], vec![("prerouting", rules), ("a", vec![])]);
        let packets: Vec<Packet> = packets.into_iter().map(|(kind, src, dst, port)| Packet::new(&match kind {
            0 => format!("tcp 10.0.0.{src} 1 10.0.0.{dst} {port}"),
            1 => format!("udp 10.0.0.{src} 1 10.0.0.{dst} {port}"),
            _ => format!("icmp 10.0.0.{src} 10.0.0.{dst}"),
        })).collect();
        let all = |mode| explore(16, |choices| {
            let mut walker = Walker { mode, ..Walker::new(netfilter.clone()) };
            packets.iter().map(|packet| walker.ask(packet, choices)).collect::<Vec<_>>()
        });
        prop_assert_eq!(all(WalkMode::Plain).runs, all(WalkMode::Indexed).runs);
    }

    #[test]
    fn a_chain_that_lets_a_packet_pass_does_nothing_to_it(
        base in proptest::collection::vec(random_stateful_rule(), 0..8),
        inner in proptest::collection::vec(random_stateful_rule(), 0..4),
        state in prop::sample::select(&STATES[..]),
        mark in 0..2_u32,
        last in 0..4_u8,
    ) {
        let netfilter = nft(TableFamily::Inet, vec![], vec![("prerouting", base), ("a", inner)]);
        let packet = Packet::new(&format!("tcp 10.0.0.{last} 1 10.0.0.1 80"));
        Walker::new(netfilter).lets_pass(&in_state(packet, state, mark));
    }
}

/// Rules most of which ask for a state or a mark.
fn random_stateful_rule() -> impl Strategy<Value = Vec<Statement>> {
    let bits = || prop::sample::select(&STATES[..]).prop_map(|state| u64::from(state.bit()));
    let op = || prop::sample::select(vec![Op::Implicit, Op::Eq, Op::Ne]);
    let state = prop_oneof![
        (bits(), bits(), op(), any::<bool>()).prop_map(|(one, other, op, flags)| {
            let right = if flags {
                Expr::Flags(vec![Value::Number(one), Value::Number(other)])
            } else {
                number(one | other)
            };
            Statement::Match { left: Expr::Ct { original: None, key: CtKey::State }, op, right }
        }),
        (0..2_u64, op(), any::<bool>()).prop_map(|(bit, op, masked)| {
            let mark = Expr::Meta(Meta::Mark);
            let and =
                |left| Expr::Binary { op: BinaryOp::And, left: Box::new(left), right: Box::new(number(1)) };
            Statement::Match { left: if masked { and(mark) } else { mark }, op, right: number(bit) }
        }),
    ];
    (random_rule(), proptest::collection::vec(state, 0..3), any::<bool>()).prop_map(
        |(rule, states, first)| {
            let (mut all, end) = (rule, states);
            let at = if first { 0 } else { all.len() - 1 };
            all.splice(at..at, end);
            all
        },
    )
}

#[test]
fn an_established_packet_passes_rules_for_new_ones_and_for_marks() {
    let state = |bits| is(Expr::Ct { original: None, key: CtKey::State }, number(bits));
    let new = u64::from(CtState::New.bit());
    let jump = |name: &str| verdict(Verdict::Jump(name.into()));
    let base = vec![
        vec![state(new), jump("not-there")],
        vec![jump("a")],
        vec![state(u64::from(CtState::Established.bit())), verdict(Verdict::Accept)],
    ];
    let inner = vec![vec![is(Expr::Meta(Meta::Mark), number(0x4000)), verdict(Verdict::Drop)]];
    let chains = vec![("prerouting", base), ("a", inner)];
    let mut walker = Walker::new(nft(TableFamily::Inet, vec![], chains));
    let of = |state, mark| in_state(Packet::new(PACKET), state, mark);
    assert!(walker.lets_pass(&of(CtState::Established, 0)));
    assert!(!walker.lets_pass(&of(CtState::Established, 1)));
    assert!(!walker.lets_pass(&of(CtState::New, 0)));
}

#[test]
fn a_reject_of_the_other_family_is_passed_by() {
    let reject = |family| vec![vec![Statement::RejectOf(family, Reject::NetUnreachable)]];
    walk(Vec::new(), vec![("prerouting", reject(Family::V6))], PACKET, "accepted");
    let rejected = "reject with icmp-net-unreachable, rejected";
    walk(Vec::new(), vec![("prerouting", reject(Family::V4))], PACKET, rejected);
}

#[test]
fn an_element_with_a_limit_is_not_known_to_be_found() {
    let with = |statements: &str| {
        let statements = Some(statements.into());
        vec![set("s", vec![Element { statements, ..element(vec![addr("10.0.0.1")], None) }])]
    };
    let found = is(field(Field::IpSaddr), Expr::Named("s".into()));
    let chains = vec![("prerouting", vec![vec![found, verdict(Verdict::Drop)]])];
    walk(with("counter packets 1 bytes 60"), chains.clone(), PACKET, "drop, dropped");
    let netfilter = nft(TableFamily::Inet, with("counter limit rate 1/second"), chains);
    let told = Walker::new(netfilter).ask(&Packet::new(PACKET), &mut Seeded(0));
    assert!(told.contains("unknown"), "{told}");
}
