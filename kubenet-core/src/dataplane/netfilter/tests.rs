//! What holds for both languages: order of base chains, rules that are made when they are looked up, bounded memory.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::index::{ChainIndex, Required};
use super::testing::{Packet, Walker, element, iptables, nft, rule, set};
use super::*;
use crate::dataplane::choices::{Seeded, explore};
use crate::plan::nft::{
    Base as PlanBase, ChainKind, Data, Element, Expr, Field, Meta, SetOp, Statement, TableFamily, Value,
    Verdict,
};
use crate::plan::xt::{Inv, Match, Policy, Recent, RecentOp, Target, Tcp};
use crate::plan::{
    Family, IpSetEntry, IpSetPart, Netfilter, Ruleset, Supply, VirtualId, VirtualServer, nft as plan_nft,
    xt as plan_xt,
};
use crate::time::Duration;

#[test]
fn a_packet_meets_the_rules_for_its_own_address_and_those_that_ask_for_none() {
    let of = |number: u32| Required {
        dst: Some(core::net::Ipv4Addr::from_bits(0x0a60_0000 + number).into()),
        protocol: Some(6),
        dport: Some(80),
        ..Required::default()
    };
    let index = ChainIndex::new((0..10_000).map(of).chain([Required::default()]));
    let packet = Packet::new("tcp 10.0.0.1 1 10.96.0.7 80");
    let mut cursor = index.cursor(&packet.seen()).expect("a whole header");
    let met: Vec<u32> = core::iter::from_fn(|| cursor.next()).collect();
    assert_eq!(met, [7, 10_000]);
}

#[test]
fn chains_of_a_hook_run_by_priority_and_those_of_iptables_first() {
    let xt_of = |table: &str| match iptables(table, vec![("PREROUTING", vec![]), ("OTHER", vec![])]) {
        Netfilter::Whole(ruleset) => ruleset.xt[0].clone(),
        Netfilter::Empty | Netfilter::Supplied(_) => panic!("a whole ruleset"),
    };
    let nft_of = |priority, kind| match nft(TableFamily::Inet, vec![], vec![("prerouting", vec![])]) {
        Netfilter::Whole(ruleset) => {
            let mut table = ruleset.nft[0].clone();
            let base =
                PlanBase { kind, hook: Hook::Prerouting, devices: vec![], priority, policy: Policy::Accept };
            Arc::make_mut(&mut table.chains[0]).base = Some(base);
            table
        }
        Netfilter::Empty | Netfilter::Supplied(_) => panic!("a whole ruleset"),
    };
    let ruleset = Ruleset {
        xt: ["filter", "nat", "mangle", "raw"].map(xt_of).into(),
        nft: vec![
            nft_of(-150, ChainKind::Filter),
            nft_of(-110, ChainKind::Filter),
            nft_of(-90, ChainKind::Nat),
            nft_of(-300, ChainKind::Filter),
        ],
        ..Ruleset::default()
    };
    let prepared = Prepared::new(&Netfilter::Whole(Arc::new(ruleset)));
    let order = |family| -> Vec<String> {
        let bases = prepared.bases(family, Hook::Prerouting).iter();
        bases.map(|base| format!("{} {:?}", base.priority, base.at)).collect()
    };
    let expected = [
        "-300 Xt(3, 0)",
        "-300 Nft(3, 0)",
        "-150 Xt(2, 0)",
        "-150 Nft(0, 0)",
        "-110 Nft(1, 0)",
        "-100 Xt(1, 0)",
        "-100 Nft(2, 0)",
    ];
    assert_eq!(order(Family::V4), expected);
    assert_eq!(order(Family::V6), ["-300 Nft(3, 0)", "-150 Nft(0, 0)", "-110 Nft(1, 0)", "-100 Nft(2, 0)"]);
}

/// Makes what a whole ruleset has, as narrowly as it may.
#[derive(Debug)]
struct Narrow {
    base: Ruleset,
    whole: Ruleset,
}

impl Narrow {
    /// Base chains are there, all else is made.
    fn of(netfilter: &Netfilter) -> Netfilter {
        let whole = (*netfilter.whole()).clone();
        let mut base = whole.clone();
        for table in &mut base.xt {
            table.chains.retain(|chain| chain.policy.is_some());
        }
        for table in &mut base.nft {
            table.chains.retain(|chain| chain.base.is_some());
            table.sets.clear();
        }
        Netfilter::Supplied(Arc::new(Self { base, whole }))
    }
}

impl Supply for Narrow {
    fn ruleset(&self) -> &Ruleset {
        &self.base
    }

    fn xt_chain(
        &self,
        family: Family,
        table: &str,
        chain: &str,
        key: &PacketKey,
    ) -> Option<Arc<plan_xt::Chain>> {
        let mut chain = (**self.whole.xt_table(family, table)?.chain(chain)?).clone();
        chain.rules.retain(|rule| xt::required(rule).dst.is_none_or(|dst| dst == key.dst));
        Some(Arc::new(chain))
    }

    fn nft_chain(&self, family: TableFamily, table: &str, chain: &str) -> Option<Arc<plan_nft::Chain>> {
        self.whole.nft_table(family, table)?.chain(chain).cloned()
    }

    fn nft_element(&self, family: TableFamily, table: &str, set: &str, key: &[Value]) -> Option<Element> {
        let set = self.whole.nft_table(family, table)?.set(set)?;
        set.elements.iter().find(|element| element.key == key).cloned()
    }

    fn nft_set(&self, family: TableFamily, table: &str, set: &str) -> Option<Arc<plan_nft::Set>> {
        self.whole.nft_table(family, table)?.set(set).cloned()
    }

    fn asks_elements(&self, _: TableFamily, _: &str, set: &str) -> bool {
        set == "vips"
    }

    fn asks_entries(&self, _: &str) -> bool {
        false
    }

    fn ipset_entry(&self, _: &str, _: &[IpSetPart]) -> Option<IpSetEntry> {
        None
    }

    fn virtual_server(&self, _: &VirtualId) -> Option<Arc<VirtualServer>> {
        None
    }

    fn has_ipvs(&self) -> bool {
        false
    }

    fn whole(&self) -> Ruleset {
        self.whole.clone()
    }
}

fn vip(n: u8) -> IpAddr {
    [10, 96, 0, n].into()
}

fn jump(name: &str) -> Target {
    Target::Jump(name.into())
}

fn iptables_vips() -> Netfilter {
    let dport = |port| Match::Tcp(Tcp { dport: Some(Inv::is(PortRange::one(port))), ..Tcp::default() });
    let one_in = |n| Match::Statistic(plan_xt::Statistic::one_in(n));
    let names: Vec<String> = (0..40).map(|n| format!("SVC-{n}")).collect();
    let dispatch = names
        .iter()
        .zip(0..)
        .map(|(name, n)| rule([Match::Destination(Inv::is(vip(n).into())), dport(80)], jump(name)));
    let mut chains = vec![("PREROUTING", vec![rule([], jump("VIPS"))]), ("VIPS", dispatch.collect())];
    let mark = |value| Target::Mark(plan_xt::Masked { value, mask: u32::MAX });
    for name in &names {
        chains.push((
            name,
            vec![rule([one_in(3)], Target::Accept), rule([one_in(2)], mark(2)), rule([], mark(3))],
        ));
    }
    iptables("nat", chains)
}

fn nft_vips() -> Netfilter {
    let key = |n: u8| vec![Value::Addr(vip(n)), Value::Number(80)];
    let elements =
        (0..40).map(|n| element(key(n), Some(Data::Verdict(Verdict::Goto(format!("svc-{n}").into())))));
    let sets = vec![set("vips", elements.collect()), affinity("affinity", Some(30))];
    let names: Vec<String> = (0..40).map(|n| format!("svc-{n}")).collect();
    let key = Expr::Concat(vec![Expr::Field(Field::IpDaddr), Expr::Field(Field::TcpDport)]);
    let vmap = Statement::Vmap { key, map: Expr::Named("vips".into()) };
    let mut chains = vec![("prerouting", vec![vec![vmap]])];
    let mark = |value| Statement::Assign { target: Expr::Meta(Meta::Mark), value };
    let numgen = Expr::Numgen { random: true, modulus: 3, offset: 1 };
    let known = Statement::Match {
        left: Expr::Field(Field::IpSaddr),
        op: plan_nft::Op::Implicit,
        right: Expr::Named("affinity".into()),
    };
    let four = Expr::Value(Value::Number(4));
    for name in &names {
        chains.push((
            name,
            vec![vec![known.clone(), mark(four.clone())], vec![mark(numgen.clone()), note("affinity")]],
        ));
    }
    nft(TableFamily::Ip, sets, chains)
}

/// A set of addresses that packets fill.
fn affinity(name: &str, size: Option<u64>) -> plan_nft::Set {
    let mut affinity = set(name, vec![]);
    (affinity.timeout_ms, affinity.size) = (Some(5_000), size);
    affinity
}

fn note(set: &str) -> Statement {
    let key = Expr::Field(Field::IpSaddr);
    Statement::SetOp { op: SetOp::Update, set: set.into(), key, timeout_ms: None, data: None }
}

#[test]
fn rules_that_are_made_mean_what_whole_rules_mean() {
    for whole in [iptables_vips(), nft_vips()] {
        let made = Narrow::of(&whole);
        for (dst, port) in [(vip(0), 80), (vip(39), 80), (vip(39), 81), (vip(40), 80)] {
            let packet = Packet::new(&format!("tcp 10.0.0.1 1 {dst} {port}"));
            let ends = |netfilter: &Netfilter| {
                let found = explore(64, |choices| {
                    let mut walker = Walker::new(netfilter.clone());
                    [(); 2].map(|()| walker.ask(&packet, choices))
                });
                found.runs
            };
            assert_eq!(ends(&whole), ends(&made), "{dst}:{port}");
        }
    }
}

#[test]
fn a_rule_of_a_made_chain_has_no_number() {
    let places = |netfilter: Netfilter| {
        let prepared = Prepared::new(&netfilter);
        let rules = Rules { netfilter: &netfilter, prepared: &prepared, mode: WalkMode::Indexed };
        let packet = Packet::new("tcp 10.0.0.1 1 10.96.0.7 80");
        let (mut seen, mut hits) = (packet.seen(), Vec::new());
        let base = prepared.bases(Family::V4, Hook::Prerouting)[0];
        run(&base, &mut seen, rules, &mut RuleState::new(), &testing::Machine, &mut Seeded(0), &mut hits);
        hits.iter().take(2).map(|hit| (hit.chain.to_string(), hit.rule)).collect::<Vec<_>>()
    };
    let chain = |name: &str, rule| (name.to_string(), rule);
    assert_eq!(places(iptables_vips()), [chain("PREROUTING", Some(1)), chain("VIPS", Some(8))]);
    let made = Narrow::of(&iptables_vips());
    assert_eq!(places(made), [chain("PREROUTING", Some(1)), chain("VIPS", None)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_rules_remember_is_bounded(
        clients in proptest::collection::vec((any::<u16>(), 0..3_u64), 1..400),
        size in 1..60_u64,
    ) {
        let note_recent = Match::Recent(Box::new(Recent {
            op: Inv::is(RecentOp::Set),
            seconds: None,
            reap: false,
            hitcount: None,
            rttl: false,
            name: "list".into(),
            mask: None,
            by_destination: false,
        }));
        let xt = iptables("mangle", vec![("PREROUTING", vec![rule([note_recent], None)])]);
        let nft = nft(TableFamily::Ip, vec![affinity("a", Some(size))], vec![("prerouting", vec![vec![note("a")]])]);
        let ruleset = Ruleset { nft: nft.whole().nft.clone(), xt: xt.whole().xt.clone(), ..Ruleset::default() };
        let mut walker = Walker::new(Netfilter::Whole(Arc::new(ruleset)));
        let mut now = Instant::START;
        for (client, secs) in clients {
            now = now + Duration::from_secs(secs);
            let [high, low] = client.to_be_bytes();
            let packet = Packet { now, ..Packet::new(&format!("udp 10.0.{high}.{low} 1 10.0.0.1 2")) };
            walker.ask(&packet, &mut Seeded(0));
            prop_assert!(walker.state.recent_len("list") <= 100);
            prop_assert!(walker.state.set_len(TableFamily::Ip, "t", "a").is_some_and(|len| len as u64 <= size));
        }
    }
}
