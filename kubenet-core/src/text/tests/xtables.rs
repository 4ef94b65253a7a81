//! What is printed of iptables rules reads back as what it was printed from, in both forms.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::properties::{addr, family, link_name, net, origin};
use crate::addr::Family;
use crate::plan::netfilter::{CtState, CtStatus, LimitRate, NatFlags, PortRange, Reject};
use crate::plan::xt::{
    AddrType, Addrtype, Chain, Connmark, Conntrack, IcmpType, Inv, Masked, Match, Multiport, NatTo, Physdev,
    Policy, PortSide, Ports, Recent, RecentOp, Rule, SetRef, Statistic, Table, Target, Tcp,
};
use crate::text::WithoutOrigin;
use crate::text::iptables_save::{Dialect, Marks, parse, render, render_restore};

fn inv<T: core::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Inv<T>> {
    (any::<bool>(), value).prop_map(|(not, value)| Inv { not, value })
}

fn maybe<T: core::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<Inv<T>>> {
    option::of(inv(value))
}

fn name() -> impl Strategy<Value = Arc<str>> {
    "[A-Za-z][A-Za-z0-9_.:/-]{0,20}".prop_map(|name| Arc::from(["c-", &name].concat()))
}

/// Anything that stays on its line.
fn comment() -> impl Strategy<Value = Arc<str>> {
    "[^\n\r\0]{0,20}".prop_map(Arc::from)
}

fn ports() -> impl Strategy<Value = PortRange> {
    any::<(u16, u16)>().prop_map(|(first, last)| PortRange { first, last })
}

fn masked() -> impl Strategy<Value = Masked> {
    (any::<u32>(), prop_oneof![Just(u32::MAX), any::<u32>()]).prop_map(|(value, mask)| Masked { value, mask })
}

fn some_of<T: Clone + core::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = Vec<T>> + use<T> {
    subsequence(all.to_vec(), 1..=all.len())
}

fn states() -> impl Strategy<Value = Vec<CtState>> {
    use CtState::{Established, Invalid, New, Related, Untracked};
    some_of(&[Invalid, New, Related, Established, Untracked])
}

fn of_ports() -> BoxedStrategy<Match> {
    let udp = || {
        let both = (maybe(ports()), maybe(ports()));
        both.prop_map(|(sport, dport)| Ports { sport, dport, words: Vec::new() })
    };
    let tcp = (maybe(ports()), maybe(ports()), maybe((0..64_u8, 0..64_u8)), maybe(any::<u8>()));
    prop_oneof![
        tcp.prop_map(|(sport, dport, flags, option)| Match::Tcp(Tcp { sport, dport, flags, option })),
        udp().prop_map(Match::Udp),
        udp().prop_map(|mut ports| {
            ports.words = ["--chunk-types", "any", "INIT"].map(Arc::from).into();
            Match::Sctp(ports)
        }),
    ]
    .boxed()
}

fn conntrack(family: Family) -> impl Strategy<Value = Match> {
    let statuses =
        some_of(&[CtStatus::Expected, CtStatus::SeenReply, CtStatus::Assured, CtStatus::Confirmed]);
    let nats = subsequence(Vec::from([CtStatus::Snat, CtStatus::Dnat]), 0..=2);
    let of = (maybe((states(), nats)), maybe(statuses), maybe(any::<u8>().prop_filter("any", |p| *p != 0)));
    let nets = (maybe(net(family)), maybe(net(family)), maybe(net(family)), maybe(net(family)));
    let all_ports = (maybe(ports()), maybe(ports()), maybe(ports()), maybe(ports()));
    (of, nets, all_ports, option::of(any::<bool>())).prop_map(|(of, nets, ports, original)| {
        Match::Conntrack(Box::new(Conntrack {
            state: of.0,
            status: of.1,
            protocol: of.2,
            orig_src: nets.0,
            orig_dst: nets.1,
            reply_src: nets.2,
            reply_dst: nets.3,
            orig_sport: ports.0,
            orig_dport: ports.1,
            reply_sport: ports.2,
            reply_dport: ports.3,
            original,
            words: ["--ctexpire", "1:5"].map(Arc::from).into(),
        }))
    })
}

fn recent(family: Family) -> impl Strategy<Value = Match> {
    use RecentOp::{Rcheck, Remove, Set, Update};
    let op = inv(select(Vec::from([Set, Rcheck, Update, Remove])));
    let rest =
        (option::of(any::<u32>()), any::<bool>(), option::of(any::<u32>()), any::<bool>(), any::<bool>());
    // All bits are what is meant without a mask.
    let mask =
        option::of(addr(family)).prop_map(|mask| mask.filter(|mask| IpNet::from(*mask).netmask() != *mask));
    (op, rest, name(), mask).prop_map(|(op, (seconds, reap, hitcount, rttl, by_destination), name, mask)| {
        Match::Recent(Box::new(Recent { op, seconds, reap, hitcount, rttl, name, mask, by_destination }))
    })
}

fn statistic() -> impl Strategy<Value = Statistic> {
    prop_oneof![
        inv(0..=Statistic::ONE).prop_map(Statistic::Random),
        (1..100_u32, 0..100_u32, any::<bool>()).prop_map(|(every, packet, not)| Statistic::Nth {
            every,
            packet,
            not
        }),
    ]
}

fn module(family: Family) -> BoxedStrategy<Match> {
    let icmp =
        option::of((0..255_u8, option::of(any::<u8>())).prop_map(|(kind, code)| IcmpType { kind, code }));
    let sides = select(Vec::from([PortSide::Source, PortSide::Destination, PortSide::Either]));
    let multiport = (sides, inv(vec(ports(), 1..4)));
    let kinds = || some_of(&[AddrType::Unicast, AddrType::Local, AddrType::Broadcast, AddrType::Xresolve]);
    let addrtype = (maybe(kinds()), maybe(kinds()), any::<bool>(), any::<bool>());
    let range = || (addr(family), addr(family));
    let rate = (1..1000_u64, select(Vec::from([1, 60, 3600, 86400])), any::<u32>());
    let physdev = (maybe(link_name()), maybe(link_name()), maybe(Just(())), maybe(Just(())), maybe(Just(())));
    let set = (name(), vec(any::<bool>(), 1..4));
    let ids = || (any::<u32>(), any::<u32>());
    let ipvs =
        (maybe(Just(())), maybe(1..=255_u8), maybe(addr(family).prop_map(IpNet::from)), maybe(any::<u16>()));
    let words = vec("[a-z0-9/:., \"'\\\\]{0,8}", 0..3);
    prop_oneof![
        comment().prop_map(Match::Comment),
        inv(icmp).prop_map(Match::Icmp),
        multiport.prop_map(|(side, ports)| Match::Multiport(Multiport { side, ports })),
        conntrack(family),
        inv(states()).prop_map(Match::State),
        addrtype.prop_map(|(src, dst, limit_in, limit_out)| {
            Match::Addrtype(Box::new(Addrtype { src, dst, limit_in, limit_out }))
        }),
        inv(masked()).prop_map(Match::Mark),
        inv(masked()).prop_map(Match::Connmark),
        (maybe(range()), maybe(range()))
            .prop_map(|(src, dst)| Match::Iprange { src: src.map(Box::new), dst: dst.map(Box::new) }),
        rate.prop_map(|(amount, per_secs, burst)| {
            Match::Limit { rate: LimitRate { amount, unit_bytes: None, per_secs }, burst }
        }),
        (maybe(ids()), maybe(ids()), maybe(Just(()))).prop_map(|(uid, gid, socket_exists)| Match::Owner {
            uid,
            gid,
            socket_exists
        }),
        physdev.prop_map(|(iif, oif, is_in, is_out, is_bridged)| {
            Match::Physdev(Box::new(Physdev { iif, oif, is_in, is_out, is_bridged }))
        }),
        recent(family),
        (inv(set), any::<bool>()).prop_map(|(set, more)| Match::Set {
            set: Box::new(Inv { not: set.not, value: SetRef { name: set.value.0, src: set.value.1 } }),
            options: if more { ["--return-nomatch"].map(Arc::from).into() } else { Vec::new() },
        }),
        statistic().prop_map(Match::Statistic),
        ipvs.prop_map(|(ipvs, protocol, addr, port)| Match::Ipvs { ipvs, protocol, addr, port }),
        words.prop_map(|words| Match::Other {
            module: "x_other".into(),
            words: core::iter::once("--option".into()).chain(words.iter().map(|w| Arc::from(&**w))).collect(),
        }),
    ]
    .boxed()
}

fn flags() -> impl Strategy<Value = NatFlags> {
    any::<(bool, bool, bool)>().prop_map(|(random, fully_random, persistent)| NatFlags {
        random,
        fully_random,
        persistent,
    })
}

fn nat_to(family: Family) -> impl Strategy<Value = NatTo> {
    let addrs = (addr(family), addr(family));
    let to = prop_oneof![(addrs.prop_map(Some), option::of(ports())), (Just(None), ports().prop_map(Some)),];
    (to, flags()).prop_map(|((addrs, ports), flags)| NatTo { addrs, ports, flags })
}

fn target(family: Family) -> BoxedStrategy<Target> {
    let rejects = match family {
        Family::V4 => Vec::from([Reject::PortUnreachable, Reject::TcpReset, Reject::HostProhibited]),
        Family::V6 => Vec::from([Reject::PortUnreachable, Reject::TcpReset, Reject::PolicyFail]),
    };
    let masks = any::<(u32, u32)>();
    prop_oneof![
        select(Vec::from([Target::Accept, Target::Drop, Target::Return])),
        select(Vec::from([Target::Notrack(true), Target::Notrack(false)])),
        name().prop_map(Target::Jump),
        name().prop_map(Target::Goto),
        select(rejects).prop_map(Target::Reject),
        nat_to(family).prop_map(Target::Dnat),
        nat_to(family).prop_map(Target::Snat),
        (option::of(ports()), flags()).prop_map(|(ports, flags)| Target::Masquerade { ports, flags }),
        (option::of(ports()), flags()).prop_map(|(ports, flags)| Target::Redirect { ports, flags }),
        masked().prop_map(Target::Mark),
        masked().prop_map(|mark| Target::Connmark(Connmark::Set(mark))),
        masks.prop_map(|(nfmask, ctmask)| Target::Connmark(Connmark::Save { nfmask, ctmask })),
        masks.prop_map(|(nfmask, ctmask)| Target::Connmark(Connmark::Restore { nfmask, ctmask })),
        Just(Target::Ct(["--zone", "5"].map(Arc::from).into())),
        comment().prop_map(|text| Target::Pass("LOG".into(), Vec::from(["--log-prefix".into(), text]))),
        Just(Target::Other { name: "TPROXY".into(), words: ["--on-port", "5"].map(Arc::from).into() }),
    ]
    .boxed()
}

fn rule(family: Family) -> impl Strategy<Value = Rule> {
    let own = (maybe(net(family)), maybe(net(family)), maybe(link_name()), maybe(link_name()));
    let more = (maybe(1..=255_u8), maybe(Just(())));
    // Two modules that have an option of one name take it from each other.
    let modules = (option::of(of_ports()), option::of(module(family)));
    let counters = option::of(any::<(u64, u64)>());
    (own, more, modules, option::of(target(family)), counters).prop_map(
        |(own, more, modules, target, counters)| {
            let mut matches = Vec::new();
            matches.extend(own.0.map(Match::Source));
            matches.extend(own.1.map(Match::Destination));
            matches.extend(own.2.map(Match::Iif));
            matches.extend(own.3.map(Match::Oif));
            matches.extend(more.0.map(Match::Protocol));
            matches.extend(more.1.map(Match::Fragment));
            matches.extend([modules.1, modules.0].into_iter().flatten());
            Rule { matches, target, counters, origin: origin() }
        },
    )
}

fn chain(family: Family) -> impl Strategy<Value = Chain> {
    let policy = option::of(select(Vec::from([Policy::Accept, Policy::Drop])));
    (name(), policy, any::<(u64, u64)>(), vec(rule(family), 0..4))
        .prop_map(|(name, policy, counters, rules)| Chain { name, policy, counters: Some(counters), rules })
}

fn table() -> impl Strategy<Value = Table> {
    family().prop_flat_map(|family| {
        vec(chain(family), 0..4).prop_map(move |mut chains| {
            chains.sort_by(|a, b| a.name.cmp(&b.name));
            chains.dedup_by(|a, b| a.name == b.name);
            Table { family, name: "nat".into(), chains: chains.into_iter().map(Arc::new).collect() }
        })
    })
}

proptest! {
    #[test]
    fn rules_read_back(table in table()) {
        let printed = render(core::slice::from_ref(&table), Dialect::Current);
        let parsed = parse(&printed, "x", table.family);
        prop_assert!(!parsed.has_errors(), "{:?}\n{}", parsed.diagnostics, printed);
        prop_assert_eq!(parsed.items.without_origin(), Vec::from([table]), "{}", printed);
    }

    #[test]
    fn rules_that_are_fed_read_back(table in table()) {
        let printed = render_restore(core::slice::from_ref(&table), Marks::Padded);
        let parsed = parse(&printed, "x", table.family);
        prop_assert!(!parsed.has_errors(), "{:?}\n{}", parsed.diagnostics, printed);
        // Ten decimals hold not every share, and comments move to the front: it prints the same from then on.
        let again = render_restore(&parsed.items, Marks::Padded);
        prop_assert_eq!(&again, &printed);
        let rules = |tables: &[Table]| -> Vec<(usize, Option<Target>)> {
            let chains = tables.iter().flat_map(|table| &table.chains);
            chains.flat_map(|chain| &chain.rules).map(|rule| (rule.matches.len(), rule.target.clone())).collect()
        };
        prop_assert_eq!(rules(&parsed.items), rules(core::slice::from_ref(&table)), "{}", printed);
    }
}
