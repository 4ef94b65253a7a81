//! A new connection through the rules of 10,000 Services with 10 endpoints each, nat table alone.
//!
//! `cargo bench -p kubenet-core --bench netfilter`. `iptables_plain` walks every rule of the dispatch chain,
//! `iptables_indexed` those that the index finds, `nft_map` looks the Service up in a verdict map; each asks for Services all
//! over the chain in turn. `iptables_first_packet` also makes the names and indexes that later packets find made. The run
//! fails when the index is not far faster than the plain walk.

mod gate;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use kubenet_core::dataplane::Seeded;
use kubenet_core::dataplane::netfilter::{
    CtSeen, Decision, Host, Prepared, RuleState, Rules, Seen, Sets, Tuple, WalkMode, run,
};
use kubenet_core::packet::{self, Ipv4Meta, TcpSegment, View};
use kubenet_core::plan::netfilter::{CtState, NatFlags, PortRange};
use kubenet_core::plan::nft::{
    self, Base, ChainKind, Data, Element, Expr, Field, Meta, Nat, SetFlags, Statement, TableFamily, Value,
    Verdict,
};
use kubenet_core::plan::xt::{self, AddrType, Inv, Match, NatTo, Policy, SetRef, Statistic, Target, Tcp};
use kubenet_core::plan::{Family, Hook, Netfilter, Origin, Ruleset, Truth};
use kubenet_core::time::Instant;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

fn main() {
    divan::main();
    let netfilter = iptables();
    let prepared = Prepared::new(&netfilter);
    let walk = |mode| {
        let rules = Rules { netfilter: &netfilter, prepared: &prepared, mode };
        let (frames, mut state, mut choices) = (frames(), RuleState::new(), Seeded(1));
        move || connect(&frames, rules, &mut state, &mut choices)
    };
    let (mut plain, mut indexed) = (walk(WalkMode::Plain), walk(WalkMode::Indexed));
    // Names and indexes are made by the first packets.
    plain();
    indexed();
    gate::at_least("256 connections, plainly against by the index", 10.0, gate::best_of(3, plain, indexed));
}

struct Machine;

impl Host for Machine {
    fn addr_type(&self, _: IpAddr, _: Option<&str>) -> AddrType {
        AddrType::Unicast
    }

    fn route_link(&self, _: IpAddr, _: u32) -> Option<(&str, u32)> {
        None
    }

    fn link_index(&self, _: &str) -> Option<u32> {
        None
    }
}

impl Sets for Machine {
    fn contains(&self, _: &SetRef, _: &Seen<'_>) -> Truth {
        Truth::No
    }
}

fn service_addr(service: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a60_0000 + service + 1))
}

fn endpoint_addr(service: u32, endpoint: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a80_0000 + service * ENDPOINTS + endpoint))
}

fn xt_rule(matches: Vec<Match>, target: Target) -> xt::Rule {
    xt::Rule { matches, target: Some(target), counters: None, origin: Origin::implied("bench") }
}

fn xt_chain(name: String, rules: Vec<xt::Rule>) -> Arc<xt::Chain> {
    let policy = xt::base("nat", &name).map(|_| Policy::Accept);
    Arc::new(xt::Chain { name: name.into(), policy, counters: None, rules })
}

/// A dispatch chain, a chain for each Service and one for each endpoint.
fn iptables() -> Netfilter {
    let jump = |name: String| Target::Jump(name.into());
    let dport = Match::Tcp(Tcp { dport: Some(Inv::is(PortRange::one(80))), ..Tcp::default() });
    let mut chains = vec![xt_chain("PREROUTING".into(), vec![xt_rule(Vec::new(), jump("SERVICES".into()))])];
    let dispatch = (0..SERVICES).map(|service| {
        let to = Match::Destination(Inv::is(service_addr(service).into()));
        xt_rule(vec![to, Match::Protocol(Inv::is(6)), dport.clone()], jump(format!("SVC-{service}")))
    });
    chains.push(xt_chain("SERVICES".into(), dispatch.collect()));
    for service in 0..SERVICES {
        let choice = (0..ENDPOINTS).map(|endpoint| {
            let target = jump(format!("SEP-{service}-{endpoint}"));
            match ENDPOINTS - endpoint {
                1 => xt_rule(Vec::new(), target),
                left => xt_rule(vec![Match::Statistic(Statistic::one_in(left))], target),
            }
        });
        chains.push(xt_chain(format!("SVC-{service}"), choice.collect()));
        for endpoint in 0..ENDPOINTS {
            let addr = endpoint_addr(service, endpoint);
            let (addrs, ports) = (Some((addr, addr)), Some(PortRange::one(8080)));
            let to = Target::Dnat(NatTo { addrs, ports, flags: NatFlags::default() });
            let rules = vec![
                xt_rule(vec![Match::Source(Inv::is(addr.into()))], Target::Accept),
                xt_rule(vec![Match::Protocol(Inv::is(6))], to),
            ];
            chains.push(xt_chain(format!("SEP-{service}-{endpoint}"), rules));
        }
    }
    let xt = vec![xt::Table { family: Family::V4, name: "nat".into(), chains }];
    Netfilter::Whole(Arc::new(Ruleset { xt, ..Ruleset::default() }))
}

fn element(key: Vec<Value>, data: Data) -> Element {
    Element {
        key,
        data: Some(data),
        timeout_ms: None,
        expires_ms: None,
        statements: None,
        comment: None,
        origin: None,
    }
}

fn nft_chain(name: String, base: Option<Base>, statements: Vec<Statement>) -> Arc<nft::Chain> {
    let rule = nft::Rule { statements, comment: None, handle: None, origin: Origin::implied("bench") };
    Arc::new(nft::Chain { name: name.into(), base, comment: None, rules: vec![rule] })
}

/// A verdict map of Services, and a chain for each that chooses among its endpoints.
fn nftables() -> Netfilter {
    let key = Expr::Concat(vec![
        Expr::Field(Field::IpDaddr),
        Expr::Meta(Meta::L4proto),
        Expr::Field(Field::ThDport),
    ]);
    let elements = (0..SERVICES).map(|service| {
        let key = vec![Value::Addr(service_addr(service)), Value::Number(6), Value::Number(80)];
        element(key, Data::Verdict(Verdict::Goto(format!("service-{service}").into())))
    });
    let services = nft::Set {
        name: "service-ips".into(),
        key: Vec::new(),
        key_typeof: None,
        data: vec!["verdict".into()],
        flags: SetFlags::default(),
        timeout_ms: None,
        gc_interval_ms: None,
        size: None,
        auto_merge: false,
        statements: None,
        comment: None,
        elements: elements.collect(),
        origin: Origin::implied("bench"),
    };
    let (kind, hook, policy) = (ChainKind::Nat, Hook::Prerouting, Policy::Accept);
    let base = Base { kind, hook, devices: Vec::new(), priority: -100, policy };
    let vmap = Statement::Vmap { key, map: Expr::Named("service-ips".into()) };
    let mut chains = vec![nft_chain("nat-prerouting".into(), Some(base), vec![vmap])];
    for service in 0..SERVICES {
        let to = (0..ENDPOINTS).map(|endpoint| {
            let to = vec![Value::Addr(endpoint_addr(service, endpoint)), Value::Number(8080)];
            element(vec![Value::Number(endpoint.into())], Data::Values(to))
        });
        let key = Box::new(Expr::Numgen { random: true, modulus: ENDPOINTS, offset: 0 });
        let addr = Some(Expr::Map { key, map: Box::new(Expr::Elements(to.collect())) });
        let nat = Nat { family: None, addr, addr_and_port: true, port: None, flags: NatFlags::default() };
        chains.push(nft_chain(format!("service-{service}"), None, vec![Statement::Dnat(nat)]));
    }
    let table = nft::Table {
        family: TableFamily::Ip,
        name: "proxy".into(),
        flags: Vec::new(),
        comment: None,
        sets: vec![Arc::new(services)],
        chains,
        others: Vec::new(),
        origin: Origin::implied("bench"),
    };
    Netfilter::Whole(Arc::new(Ruleset { nft: vec![table], ..Ruleset::default() }))
}

/// First packets of connections to Services all over the chain.
fn frames() -> Vec<Vec<u8>> {
    let src = IpAddr::V4(Ipv4Addr::new(10, 200, 0, 5));
    let frame = |n: u32| {
        let dst = service_addr(n.wrapping_mul(0x9e37_79b9) % SERVICES);
        let meta = Ipv4Meta { src, dst, ttl: 64, dont_fragment: true, id: 1 };
        packet::tcp(&meta, &TcpSegment { sport: 40_000, dport: 80, syn: true, ..TcpSegment::default() }, &[])
    };
    (0..256).map(frame).collect()
}

/// The first packet of a connection each.
fn connect(frames: &[Vec<u8>], rules: Rules<'_>, state: &mut RuleState, choices: &mut Seeded) {
    for frame in frames {
        let Ok(View::Ip(ip)) = packet::view(frame) else { panic!("not IP") };
        let orig = Tuple { src: ip.src, dst: ip.dst, sport: 40_000, dport: 80, protocol: 6 };
        let reply = Tuple { src: ip.dst, dst: ip.src, sport: 80, dport: 40_000, protocol: 6 };
        let ct = CtSeen { state: CtState::New, status: 0, mark: 0, original: true, orig, reply };
        let mut seen = Seen {
            hook: Hook::Prerouting,
            ip: &ip,
            frame,
            iif: Some("eth0"),
            oif: None,
            phys_iif: None,
            phys_oif: None,
            bridged: false,
            from_socket: false,
            mark: 0,
            ct: Some(ct),
            notrack: false,
            ipvs: None,
            now: Instant::START,
        };
        for base in rules.prepared.bases(Family::V4, Hook::Prerouting) {
            let decision = run(base, &mut seen, rules, state, &Machine, choices, &mut ());
            assert!(matches!(decision, Decision::Nat(_)), "{decision:?}");
        }
    }
}

fn bench(bencher: Bencher<'_, '_>, netfilter: &Netfilter, mode: WalkMode) {
    let prepared = Prepared::new(netfilter);
    let rules = Rules { netfilter, prepared: &prepared, mode };
    let (frames, mut state, mut choices) = (frames(), RuleState::new(), Seeded(1));
    let mut all = || connect(&frames, rules, &mut state, &mut choices);
    // Names and indexes are made by the first packets.
    all();
    bencher.counter(ItemsCount::new(frames.len())).bench_local(all);
}

#[divan::bench(sample_count = 20)]
fn iptables_plain(bencher: Bencher<'_, '_>) {
    bench(bencher, &iptables(), WalkMode::Plain);
}

#[divan::bench]
fn iptables_indexed(bencher: Bencher<'_, '_>) {
    bench(bencher, &iptables(), WalkMode::Indexed);
}

#[divan::bench]
fn nft_map(bencher: Bencher<'_, '_>) {
    bench(bencher, &nftables(), WalkMode::Indexed);
}

/// The first packet of all: names and indexes are made for it.
#[divan::bench(sample_count = 10)]
fn iptables_first_packet(bencher: Bencher<'_, '_>) {
    let netfilter = iptables();
    let frame = frames().swap_remove(0);
    bencher.bench_local(|| {
        let prepared = Prepared::new(&netfilter);
        let rules = Rules { netfilter: &netfilter, prepared: &prepared, mode: WalkMode::Indexed };
        let Ok(View::Ip(ip)) = packet::view(&frame) else { panic!("not IP") };
        let mut seen = Seen {
            hook: Hook::Prerouting,
            ip: &ip,
            frame: &frame,
            iif: Some("eth0"),
            oif: None,
            phys_iif: None,
            phys_oif: None,
            bridged: false,
            from_socket: false,
            mark: 0,
            ct: None,
            notrack: false,
            ipvs: None,
            now: Instant::START,
        };
        let mut state = RuleState::new();
        for base in prepared.bases(Family::V4, Hook::Prerouting) {
            let decision = run(base, &mut seen, rules, &mut state, &Machine, &mut Seeded(1), &mut ());
            assert!(matches!(decision, Decision::Nat(_)), "{decision:?}");
        }
    });
}
