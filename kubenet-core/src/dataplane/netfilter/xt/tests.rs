use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::Prepared;
use super::super::testing::{Packet, STATES, Walker, in_state, iptables, rule};
use super::*;
use crate::dataplane::choices::{Probability, Seeded, explore};
use crate::plan::netfilter::{CtState, CtStatus, LimitRate, NatFlags, PortRange, Reject};
use crate::plan::xt::{
    AddrType, Addrtype, Connmark, Conntrack, IcmpType, Masked, Multiport, NatTo, Physdev, PortSide, Ports,
    Recent, RecentOp, SetRef, Tcp,
};
use crate::plan::{Hook, Netfilter};
use crate::time::{Duration, Instant};

const PACKET: &str = "tcp 10.0.0.1 1234 192.168.0.1 80";

/// What a match says where there are no sets.
fn pure(condition: &Match, seen: &Seen<'_>) -> Truth {
    let (netfilter, prepared) = (Netfilter::Empty, Prepared::default());
    let rules = walk::Rules { netfilter: &netfilter, prepared: &prepared, mode: WalkMode::Indexed };
    eval::pure(condition, seen, &super::super::testing::Machine, rules)
}

fn truth(condition: &Match, packet: &str, hook: Hook) -> &'static str {
    let packet = Packet::new(packet).at(hook);
    match pure(condition, &packet.seen()) {
        Truth::Yes => "yes",
        Truth::No => "no",
        Truth::Unknown(_) => "unknown",
    }
}

/// What a match says of a packet coming in, and of the same one sent from here.
#[track_caller]
fn check(condition: Match, packet: &str, expected: [&str; 2]) {
    assert_eq!([Hook::Prerouting, Hook::Output].map(|hook| truth(&condition, packet, hook)), expected);
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a prefix")
}

fn jump(name: &str) -> Target {
    Target::Jump(name.into())
}

fn other() -> Match {
    Match::Other { module: "bpf".into(), words: vec!["--bytecode".into()] }
}

fn dport(port: u16) -> Match {
    Match::Tcp(Tcp { dport: Some(Inv::is(PortRange::one(port))), ..Tcp::default() })
}

fn one_in(n: u32) -> Match {
    Match::Statistic(Statistic::one_in(n))
}

fn dnat(last: u8) -> Target {
    let addr = core::net::IpAddr::from([10, 244, 0, last]);
    Target::Dnat(NatTo {
        addrs: Some((addr, addr)),
        ports: Some(PortRange::one(8080)),
        flags: NatFlags::default(),
    })
}

/// What a table does with a packet.
#[track_caller]
fn walk_table(table: &str, chains: Vec<(&str, Vec<Rule>)>, packet: &Packet, expected: &str) {
    for mode in [WalkMode::Plain, WalkMode::Indexed] {
        let mut walker = Walker { mode, ..Walker::new(iptables(table, chains.clone())) };
        assert_eq!(walker.ask(packet, &mut Seeded(0)), expected, "{mode:?}");
    }
}

#[track_caller]
fn walk_prerouting(chains: Vec<(&str, Vec<Rule>)>, expected: &str) {
    walk_table("nat", chains, &Packet::new(PACKET), expected);
}

#[test]
fn addresses_links_and_protocols() {
    check(Match::Source(Inv::is(net("10.0.0.0/8"))), PACKET, ["yes", "yes"]);
    check(Match::Source(Inv::not(net("10.0.0.0/8"))), PACKET, ["no", "no"]);
    check(Match::Destination(Inv::is(net("10.0.0.0/8"))), PACKET, ["no", "no"]);
    check(Match::Iif(Inv::is("eth+".into())), PACKET, ["yes", "no"]);
    check(Match::Oif(Inv::not("eth0".into())), PACKET, ["yes", "no"]);
    check(Match::Protocol(Inv::is(6)), PACKET, ["yes", "yes"]);
    check(Match::Protocol(Inv::not(0)), PACKET, ["yes", "yes"]);
    check(Match::Fragment(Inv::is(())), PACKET, ["no", "no"]);
}

#[test]
fn ports_flags_and_options_of_tcp() {
    check(dport(80), PACKET, ["yes", "yes"]);
    check(dport(80), "udp 10.0.0.1 1 10.0.0.2 80", ["no", "no"]);
    let tcp = |flags, option| Match::Tcp(Tcp { flags, option, ..Tcp::default() });
    check(tcp(Some(Inv::is((0x17, 0x02))), None), PACKET, ["yes", "yes"]);
    check(tcp(Some(Inv::not((0x17, 0x02))), None), PACKET, ["no", "no"]);
    check(tcp(None, Some(Inv::is(2))), PACKET, ["yes", "yes"]);
    check(tcp(None, Some(Inv::is(8))), PACKET, ["no", "no"]);
    let words = vec!["--chunk-types".into()];
    check(Match::Sctp(Ports { words, ..Ports::default() }), PACKET, ["no", "no"]);
    let range = |side, not| {
        let value = vec![PortRange { first: 1000, last: 2000 }];
        Match::Multiport(Multiport { side, ports: Inv { not, value } })
    };
    check(range(PortSide::Source, false), PACKET, ["yes", "yes"]);
    check(range(PortSide::Destination, false), PACKET, ["no", "no"]);
    check(range(PortSide::Either, true), PACKET, ["no", "no"]);
}

#[test]
fn any_icmp_type_matches_even_inverted() {
    let echo = Some(IcmpType { kind: 8, code: None });
    check(Match::Icmp(Inv::is(echo)), "icmp 10.0.0.1 10.0.0.2", ["yes", "yes"]);
    check(Match::Icmp(Inv::not(echo)), "icmp 10.0.0.1 10.0.0.2", ["no", "no"]);
    check(Match::Icmp(Inv::not(None)), "icmp 10.0.0.1 10.0.0.2", ["yes", "yes"]);
    check(Match::Icmp(Inv::is(None)), PACKET, ["no", "no"]);
}

#[test]
fn without_a_connection_only_its_state_can_match() {
    let state = |states: Vec<CtState>, statuses: Vec<CtStatus>, not| {
        let state = Some(Inv { not, value: (states, statuses) });
        Match::Conntrack(Box::new(Conntrack { state, ..Conntrack::default() }))
    };
    check(state(vec![CtState::New], vec![], false), PACKET, ["yes", "yes"]);
    check(state(vec![CtState::Established], vec![CtStatus::Dnat], true), PACKET, ["yes", "yes"]);
    let direction = Match::Conntrack(Box::new(Conntrack { original: Some(true), ..Conntrack::default() }));
    check(direction.clone(), PACKET, ["yes", "yes"]);
    let untracked = Packet { ct: None, ..Packet::new(PACKET) };
    assert_eq!(pure(&direction, &untracked.seen()), Truth::No);
    assert_eq!(pure(&state(vec![CtState::Invalid], vec![], false), &untracked.seen()), Truth::Yes);
    let mut seen = untracked.seen();
    seen.notrack = true;
    assert_eq!(pure(&state(vec![CtState::Untracked], vec![], false), &seen), Truth::Yes);
    let mark = Match::Connmark(Inv::not(Masked { value: 1, mask: 1 }));
    assert_eq!(pure(&mark, &untracked.seen()), Truth::No);
}

#[test]
fn what_routing_says_of_an_address() {
    let dst = |kind, limit_in, limit_out| {
        let dst = Some(Inv::is(vec![kind]));
        Match::Addrtype(Box::new(Addrtype { src: None, dst, limit_in, limit_out }))
    };
    check(dst(AddrType::Local, false, false), PACKET, ["yes", "yes"]);
    check(dst(AddrType::Local, true, false), PACKET, ["yes", "yes"]);
    check(dst(AddrType::Unicast, false, false), PACKET, ["no", "no"]);
    // IPv6 looks at the address first: a local one is unicast too.
    check(dst(AddrType::Unicast, false, false), "udp fd00::1 1 ::1 2", ["yes", "yes"]);
    check(dst(AddrType::Local, false, false), "udp fd00::1 1 ::1 2", ["yes", "yes"]);
}

#[test]
fn who_sends_is_known_only_of_what_is_not_sent_from_here() {
    let owner = |not| Match::Owner { uid: Some(Inv { not, value: (0, 0) }), gid: None, socket_exists: None };
    check(owner(false), PACKET, ["no", "unknown"]);
    check(owner(true), PACKET, ["yes", "unknown"]);
    let exists = Match::Owner { uid: None, gid: None, socket_exists: Some(Inv::is(())) };
    check(exists, PACKET, ["no", "yes"]);
}

#[test]
fn what_crossed_no_bridge_matches_what_is_inverted() {
    let is_in =
        |not| Match::Physdev(Box::new(Physdev { is_in: Some(Inv { not, value: () }), ..Physdev::default() }));
    check(is_in(true), PACKET, ["yes", "yes"]);
    check(is_in(false), PACKET, ["no", "no"]);
}

#[test]
fn sets_ranges_and_matches_without_a_variant() {
    let set = |name: &str, not| {
        let set = Inv { not, value: SetRef { name: name.into(), src: vec![true] } };
        Match::Set { set: Box::new(set), options: vec![] }
    };
    check(set("known", false), PACKET, ["yes", "yes"]);
    check(set("known", true), PACKET, ["no", "no"]);
    check(set("lost", true), PACKET, ["unknown", "unknown"]);
    let (first, last) = ([10, 0, 0, 0].into(), [10, 0, 0, 9].into());
    check(Match::Iprange { src: Some(Box::new(Inv::is((first, last)))), dst: None }, PACKET, ["yes", "yes"]);
    check(other(), PACKET, ["unknown", "unknown"]);
    let reverse = |word: &str| Match::Other { module: "rpfilter".into(), words: vec![word.into()] };
    check(reverse("--validmark"), PACKET, ["yes", "no"]);
    check(reverse("--invert"), "udp 10.244.0.1 1 192.168.0.1 2", ["yes", "yes"]);
    check(reverse("--bogus"), PACKET, ["unknown", "unknown"]);
}

#[test]
fn a_chain_returns_to_its_caller_and_a_goto_does_not() {
    let chains = |step| {
        vec![
            ("PREROUTING", vec![rule([], step), rule([], dnat(1))]),
            ("A", vec![rule([], Target::Return), rule([], Target::Drop)]),
        ]
    };
    walk_prerouting(chains(jump("A")), "jump A, return, dnat to 10.244.0.1:8080, bound");
    walk_prerouting(chains(Target::Goto("A".into())), "goto A, return, accepted");
}

#[test]
fn marks_are_set_and_a_reject_ends_the_packet() {
    let rules = vec![
        rule([], Target::Mark(Masked { value: 0x4000, mask: 0x4000 })),
        rule(
            [Match::Mark(Inv::is(Masked { value: 0x4000, mask: 0x4000 }))],
            Target::Mark(Masked { value: 1, mask: 0 }),
        ),
        rule([], Target::Connmark(Connmark::Save { nfmask: 0xffff, ctmask: 0xffff })),
        rule([], Target::Mark(Masked { value: 0, mask: u32::MAX })),
        rule([], Target::Connmark(Connmark::Restore { nfmask: 1, ctmask: 1 })),
        rule([], Target::Reject(Reject::PortUnreachable)),
    ];
    let expected = "mark set 0x4000, mark set 0x4001, ct mark set 0x4001, mark set 0x0, mark set 0x1, \
        reject with icmp-port-unreachable, rejected";
    walk_prerouting(vec![("PREROUTING", rules)], expected);
}

#[test]
fn a_match_that_is_not_modelled_matters_only_where_it_decides() {
    let prerouting = |rule: Rule| vec![("PREROUTING", vec![rule])];
    let unknown = "unknown: the match `-m bpf --bytecode` is not modelled";
    walk_prerouting(prerouting(rule([other()], Target::Drop)), unknown);
    walk_prerouting(prerouting(rule([other(), dport(81)], Target::Drop)), "accepted");
    walk_prerouting(prerouting(rule([other()], Target::Pass("LOG".into(), vec![]))), "accepted");
    walk_prerouting(prerouting(rule([other()], None)), "accepted");
    let target = Target::Other { name: "NFQUEUE".into(), words: vec![] };
    walk_prerouting(
        prerouting(rule([], target)),
        "unknown: the target `-j NFQUEUE` in chain PREROUTING of table nat is not modelled",
    );
}

#[test]
fn chains_that_lead_in_a_circle_or_nowhere_are_not_known() {
    let circle = |step: fn(Arc<str>) -> Target| {
        vec![
            ("PREROUTING", vec![rule([], step("A".into()))]),
            ("A", vec![rule([], step("B".into()))]),
            ("B", vec![rule([], step("A".into()))]),
        ]
    };
    let why = "unknown: chain A leads back to itself, which the kernel does not load";
    walk_prerouting(circle(Target::Jump), &format!("jump A, jump B, jump A, {why}"));
    walk_prerouting(circle(Target::Goto), &format!("goto A, goto B, goto A, {why}"));
    walk_prerouting(
        vec![("PREROUTING", vec![rule([], jump("A"))])],
        "unknown: chain PREROUTING of table nat leads to A, which is not there",
    );
}

#[test]
fn a_cut_off_header_ends_the_packet_where_a_match_reads_it() {
    let mut packet = Packet::new(PACKET);
    packet.ip.ports = None;
    let chains = vec![(
        "PREROUTING",
        vec![rule([Match::Protocol(Inv::is(17)), dport(80)], None), rule([dport(80)], None)],
    )];
    walk_table("nat", chains, &packet, "drop, dropped");
}

#[test]
fn a_drop_policy_is_taken_down() {
    let mut netfilter = iptables("filter", vec![("INPUT", vec![rule([dport(81)], Target::Accept)])]);
    if let crate::plan::Netfilter::Whole(ruleset) = &mut netfilter {
        let ruleset = Arc::make_mut(ruleset);
        Arc::make_mut(&mut ruleset.xt[0].chains[0]).policy = Some(Policy::Drop);
    }
    let packet = Packet::new(PACKET).at(Hook::Input);
    assert_eq!(Walker::new(netfilter).ask(&packet, &mut Seeded(0)), "policy drop, dropped");
}

#[test]
fn a_rate_passes_its_burst_and_then_as_time_goes_by() {
    let rate = LimitRate { amount: 2, unit_bytes: None, per_secs: 60 };
    let rules = vec![rule([Match::Limit { rate, burst: 3 }], Target::Drop)];
    let mut walker = Walker::new(iptables("mangle", vec![("PREROUTING", rules)]));
    let mut ask = |secs| {
        let now = Instant::START + Duration::from_secs(secs);
        walker.ask(&Packet { now, ..Packet::new(PACKET) }, &mut Seeded(0)) == "drop, dropped"
    };
    assert_eq!(
        [0, 0, 0, 0, 29, 30, 31, 1000, 1000, 1000, 1000].map(&mut ask),
        [true, true, true, false, false, true, false, true, true, true, false]
    );
}

#[test]
fn every_third_packet_from_the_second_on() {
    let nth = Match::Statistic(Statistic::Nth { every: 3, packet: 1, not: false });
    let mut walker = Walker::new(iptables("nat", vec![("PREROUTING", vec![rule([nth], dnat(1))])]));
    let bound: Vec<_> =
        (0..7).map(|_| walker.ask(&Packet::new(PACKET), &mut Seeded(0)) != "accepted").collect();
    assert_eq!(bound, [false, true, false, false, true, false, false]);
}

/// The ends of a chain of rules with their probabilities.
fn ends(rules: Vec<Rule>) -> (usize, Vec<(String, String)>) {
    let netfilter = iptables("nat", vec![("PREROUTING", vec![rule([], jump("SVC"))]), ("SVC", rules)]);
    let mut points = 0;
    let found = explore(4096, |choices| {
        let end = Walker::new(netfilter.clone()).ask(&Packet::new(PACKET), choices);
        points = points.max(choices.taken().count());
        assert!(choices.taken().all(|taken| taken.point == "statistic nat SVC"));
        end
    });
    assert_eq!(found.unexplored, Probability::ZERO);
    let mut ends: Vec<_> = found.runs.into_iter().map(|(p, _, end)| (end, p.to_string())).collect();
    ends.sort();
    (points, ends)
}

#[test]
fn a_thousand_ends_are_one_choice_and_each_exactly_one_in_a_thousand() {
    let rules = (0..1000_u32).map(|at| match 1000 - at {
        1 => rule([], Target::Mark(Masked { value: at, mask: u32::MAX })),
        left => rule([dport(80), one_in(left)], Target::Goto(format!("SEP-{at}").into())),
    });
    let mut chains = vec![("PREROUTING", vec![rule([], jump("SVC"))]), ("SVC", rules.collect())];
    let names: Vec<String> = (0..999).map(|at| format!("SEP-{at}")).collect();
    for name in &names {
        chains.push((name, vec![rule([], Target::Accept)]));
    }
    let mut walker = Walker::new(iptables("nat", chains));
    let packet = Packet::new(PACKET);
    let found = explore(4096, |choices| walker.ask(&packet, choices));
    assert_eq!((found.runs.len(), found.unexplored), (1000, Probability::ZERO));
    assert!(found.runs.iter().all(|(p, taken, _)| taken.len() == 1 && p.to_string() == "1/1000"));
    let distinct: alloc::collections::BTreeSet<_> = found.runs.iter().map(|run| &run.2).collect();
    assert_eq!(distinct.len(), 1000);
}

#[test]
fn rules_that_do_not_match_take_no_part_in_the_choice() {
    let rules = vec![
        rule([one_in(3)], dnat(1)),
        rule([dport(81), one_in(2)], dnat(9)),
        rule([one_in(2)], dnat(2)),
        rule([], dnat(3)),
    ];
    let (points, ends) = ends(rules);
    assert_eq!(points, 1);
    assert_eq!(ends.iter().map(|end| &*end.1).collect::<Vec<_>>(), ["1/3"; 3]);
}

#[test]
fn a_rule_that_comes_back_lets_chance_decide_again() {
    let mark = Target::Mark(Masked { value: 1, mask: 1 });
    let (points, ends) = ends(vec![rule([one_in(2)], mark), rule([one_in(2)], dnat(1)), rule([], dnat(2))]);
    assert_eq!(points, 2);
    let text: Vec<_> = ends.iter().map(|(end, p)| format!("{p} {end}")).collect();
    assert_eq!(
        text,
        [
            "1/4 jump SVC, dnat to 10.244.0.1:8080, bound",
            "1/4 jump SVC, dnat to 10.244.0.2:8080, bound",
            "1/4 jump SVC, mark set 0x1, dnat to 10.244.0.1:8080, bound",
            "1/4 jump SVC, mark set 0x1, dnat to 10.244.0.2:8080, bound",
        ]
    );
}

fn recent(op: RecentOp, seconds: Option<u32>, hitcount: Option<u32>) -> Match {
    Match::Recent(Box::new(Recent {
        op: Inv::is(op),
        seconds,
        reap: seconds.is_some(),
        hitcount,
        rttl: false,
        name: "list".into(),
        mask: Some([255, 255, 255, 255].into()),
        by_destination: false,
    }))
}

/// At which of these seconds a client is still known that was noted at 0.
#[track_caller]
fn known(check: Match, at: &[u64], expected: &[bool]) {
    let rules = vec![rule([check], Target::Drop), rule([recent(RecentOp::Set, None, None)], None)];
    let mut walker = Walker::new(iptables("mangle", vec![("PREROUTING", rules.clone()), ("OUTPUT", rules)]));
    let mut ask = |secs: &u64| {
        let now = Instant::START + Duration::from_secs(*secs);
        walker.ask(&Packet { now, ..Packet::new(PACKET) }, &mut Seeded(0)) == "drop, dropped"
    };
    assert!(!ask(&0));
    assert_eq!(at.iter().map(&mut ask).collect::<Vec<_>>(), expected);
}

#[test]
fn recent_knows_a_client_for_its_seconds() {
    known(recent(RecentOp::Rcheck, Some(10), None), &[5, 10, 11, 12], &[true, true, false, true]);
    known(recent(RecentOp::Update, Some(10), None), &[5, 15, 25, 36], &[true, true, true, false]);
    known(recent(RecentOp::Rcheck, None, Some(3)), &[1, 2, 3, 4], &[false, false, true, true]);
    known(recent(RecentOp::Remove, None, None), &[1, 2, 3], &[true, false, true]);
}

#[test]
fn a_list_of_recent_holds_a_hundred_clients_and_forgets_the_one_noted_longest_ago() {
    let rules = vec![
        rule([recent(RecentOp::Rcheck, None, None)], Target::Drop),
        rule([recent(RecentOp::Set, None, None)], None),
    ];
    let mut walker = Walker::new(iptables("mangle", vec![("PREROUTING", rules)]));
    let mut is_known = |client: u32| {
        let packet = Packet::new(&format!("tcp 10.0.0.{client} 1 192.168.0.1 80"));
        walker.ask(&packet, &mut Seeded(0)) == "drop, dropped"
    };
    assert!((0..100).all(|client| !is_known(client)));
    assert!(is_known(0));
    assert!(!is_known(100));
    assert!(!is_known(0), "the 101st took the place of the first");
    assert!(is_known(2));
    assert_eq!(walker.state.recent_len("list"), 100);
}

fn random_match() -> impl Strategy<Value = Match> {
    let addr = (0..4_u8).prop_map(|last| net(&format!("10.0.0.{last}/32")));
    prop_oneof![
        (addr.clone(), any::<bool>()).prop_map(|(value, not)| Match::Destination(Inv { not, value })),
        addr.prop_map(|net| Match::Source(Inv::is(net))),
        Just(Match::Source(Inv::is(net("10.0.0.0/31")))),
        (80..84_u16).prop_map(dport),
        (80..84_u16).prop_map(|port| Match::Udp(Ports {
            dport: Some(Inv::is(PortRange::one(port))),
            ..Ports::default()
        })),
        prop_oneof![Just(6), Just(17), Just(1)].prop_map(|p| Match::Protocol(Inv::is(p))),
        prop_oneof![Just("eth0"), Just("eth1"), Just("eth+")]
            .prop_map(|name| Match::Iif(Inv::is(name.into()))),
        Just(other()),
        Just(one_in(2)),
        (0..2_u32).prop_map(|value| Match::Mark(Inv::is(Masked { value, mask: 1 }))),
        Just(recent(RecentOp::Update, Some(5), None)),
        Just(recent(RecentOp::Set, None, None)),
        Just(Match::Icmp(Inv::is(None))),
        Just(Match::Statistic(Statistic::Nth { every: 2, packet: 0, not: false })),
    ]
}

fn random_rule() -> impl Strategy<Value = Rule> {
    let target = prop_oneof![
        2 => Just(None),
        1 => Just(Some(Target::Accept)),
        1 => Just(Some(Target::Return)),
        2 => (0..2_u32).prop_map(|value| Some(Target::Mark(Masked { value, mask: 1 }))),
        2 => Just(Some(jump("A"))),
        1 => (1..9_u8).prop_map(|last| Some(dnat(last))),
    ];
    (proptest::collection::vec(random_match(), 0..4), target)
        .prop_map(|(matches, target)| rule(matches, target))
}

fn random_packet() -> impl Strategy<Value = Packet> {
    let text = (0..3_u8, 0..5_u8, 0..5_u8, 80..84_u16).prop_map(|(kind, src, dst, port)| match kind {
        0 => format!("tcp 10.0.0.{src} 1 10.0.0.{dst} {port}"),
        1 => format!("udp 10.0.0.{src} 1 10.0.0.{dst} {port}"),
        _ => format!("icmp 10.0.0.{src} 10.0.0.{dst}"),
    });
    (text, 0..20_u64, prop::bool::weighted(0.1)).prop_map(|(text, secs, cut)| {
        let mut packet = Packet { now: Instant::START + Duration::from_secs(secs), ..Packet::new(&text) };
        if cut {
            packet.ip.ports = None;
        }
        packet
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_index_means_what_the_plain_walk_means(
        base in proptest::collection::vec(random_rule(), 17..60),
        inner in proptest::collection::vec(random_rule(), 0..40),
        packets in proptest::collection::vec(random_packet(), 1..6),
    ) {
        let inner: Vec<Rule> = inner.into_iter().filter(|rule| rule.target != Some(jump("A"))).collect();
        let netfilter = iptables("nat", vec![("PREROUTING", base), ("A", inner)]);
        // The same choices at the same points, in the same order.
        let all = |mode| explore(24, |choices| {
            let mut walker = Walker { mode, ..Walker::new(netfilter.clone()) };
            packets.iter().map(|packet| walker.ask(packet, choices)).collect::<Vec<_>>()
        });
        let (plain, indexed) = (all(WalkMode::Plain), all(WalkMode::Indexed));
        prop_assert_eq!(plain.runs, indexed.runs);
    }

    #[test]
    fn a_chain_that_lets_a_packet_pass_does_nothing_to_it(
        base in proptest::collection::vec(random_stateful_rule(), 0..8),
        inner in proptest::collection::vec(random_stateful_rule(), 0..4),
        packet in random_packet(),
        state in prop::sample::select(&STATES[..]),
        mark in 0..2_u32,
        cut in any::<bool>(),
    ) {
        let netfilter = iptables("mangle", vec![("PREROUTING", base), ("A", inner)]);
        let mut packet = in_state(packet, state, mark);
        packet.ip.ports = packet.ip.ports.filter(|_| !cut);
        Walker::new(netfilter).lets_pass(&packet);
    }
}

/// Rules most of which ask for a state or a mark.
fn random_stateful_rule() -> impl Strategy<Value = Rule> {
    let states = || proptest::collection::vec(prop::sample::select(&STATES[..]), 1..3);
    let state = prop_oneof![
        (states(), any::<bool>()).prop_map(|(value, not)| Match::State(Inv { not, value })),
        (states(), any::<bool>(), any::<bool>()).prop_map(|(states, nat, not)| {
            let statuses = if nat { vec![CtStatus::Dnat] } else { Vec::new() };
            let state = Some(Inv { not, value: (states, statuses) });
            Match::Conntrack(Box::new(Conntrack { state, ..Conntrack::default() }))
        }),
        (0..2_u32, any::<bool>())
            .prop_map(|(value, not)| Match::Mark(Inv { not, value: Masked { value, mask: 1 } })),
    ];
    (random_rule(), proptest::collection::vec(state, 0..3), any::<bool>()).prop_map(|(rule, states, last)| {
        let (mut matches, states) = if last { (rule.matches, states) } else { (states, rule.matches) };
        matches.extend(states);
        Rule { matches, ..rule }
    })
}

#[test]
fn an_established_packet_passes_rules_for_new_ones_and_for_marks() {
    let states = |not, states: &[CtState]| Match::State(Inv { not, value: states.to_vec() });
    let (new, old) = (states(false, &[CtState::New]), states(true, &[CtState::Established]));
    let marked = Match::Mark(Inv::is(Masked { value: 0x4000, mask: 0x4000 }));
    let base = vec![
        rule([new], jump("NOT-THERE")),
        rule([], jump("A")),
        rule([old, other()], Target::Drop),
        rule([states(false, &[CtState::Established])], Target::Accept),
    ];
    let inner = vec![rule([marked], Target::Drop), rule([other()], None)];
    let mut walker = Walker::new(iptables("mangle", vec![("PREROUTING", base), ("A", inner)]));
    let of = |state, mark| in_state(Packet::new(PACKET), state, mark);
    assert!(walker.lets_pass(&of(CtState::Established, 0)));
    assert!(!walker.lets_pass(&of(CtState::Established, 1)));
    assert!(!walker.lets_pass(&of(CtState::Related, 0)));
    assert!(!walker.lets_pass(&of(CtState::New, 0)));
}

#[test]
fn chains_that_lead_in_a_circle_let_nothing_pass() {
    let chains = vec![("PREROUTING", vec![rule([], jump("A"))]), ("A", vec![rule([], jump("A"))])];
    let mut walker = Walker::new(iptables("mangle", chains));
    assert!(!walker.lets_pass(&Packet::new(PACKET)));
}
