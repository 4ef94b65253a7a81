//! What is printed of nft tables reads back as what it was printed from, as plain text.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::properties::{addr, net, origin};
use crate::addr::Family;
use crate::plan::netfilter::{Hook, LimitRate, NatFlags, Reject};
use crate::plan::nft::{
    Base, BinaryOp, Chain, ChainKind, CtKey, Data, Element, Expr, FibKey, FibResult, Field, Meta, Nat, Op,
    Rule, Set, SetFlags, SetOp, Statement, Table, TableFamily, Value, Verdict,
};
use crate::plan::xt::Policy;
use crate::text::WithoutOrigin;
use crate::text::nft::{Dialect, parse, render};

fn name() -> impl Strategy<Value = Arc<str>> {
    "[a-z][A-Za-z0-9_./-]{0,20}".prop_map(|name| Arc::from(["n-", &name].concat()))
}

fn comment() -> impl Strategy<Value = Option<Arc<str>>> {
    option::of("[ -!#-\\[\\]-~äöü]{1,20}".prop_map(Arc::from))
}

fn port() -> impl Strategy<Value = Value> {
    any::<u16>().prop_map(|port| Value::Number(port.into()))
}

fn ports() -> impl Strategy<Value = Value> {
    let range = (0..u16::MAX - 1, 1..100_u16)
        .prop_map(|(low, more)| (u64::from(low), u64::from(low.saturating_add(more))))
        .prop_map(|(low, high)| Value::Range(Value::Number(low).into(), Value::Number(high).into()));
    prop_oneof![port(), range]
}

/// One address, or a prefix that is not one address.
fn ends(family: Family) -> impl Strategy<Value = Value> {
    let whole = |net: &ipnet::IpNet| net.prefix_len() == net.max_prefix_len();
    let prefix = net(family).prop_filter("a prefix", move |net| !whole(net) && net.prefix_len() > 0);
    prop_oneof![addr(family).prop_map(Value::Addr), prefix.prop_map(|net| Value::Prefix(net.trunc()))]
}

fn elements(of: impl Strategy<Value = Value>) -> impl Strategy<Value = Expr> {
    vec(of, 1..4).prop_map(|values| {
        Expr::Elements(values.into_iter().map(|value| element(Vec::from([value]))).collect())
    })
}

const fn element(key: Vec<Value>) -> Element {
    Element {
        key,
        data: None,
        timeout_ms: None,
        expires_ms: None,
        statements: None,
        comment: None,
        origin: None,
    }
}

fn op() -> impl Strategy<Value = Op> {
    select(&[Op::Implicit, Op::Ne][..])
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Accept),
        Just(Verdict::Drop),
        Just(Verdict::Continue),
        Just(Verdict::Return),
        name().prop_map(Verdict::Jump),
        name().prop_map(Verdict::Goto),
    ]
}

/// A match on a field with a constant, an anonymous set or a named one.
fn compare(left: Expr, value: impl Strategy<Value = Value> + Clone + 'static) -> BoxedStrategy<Statement> {
    let right =
        prop_oneof![value.clone().prop_map(Expr::Value), elements(value), name().prop_map(Expr::Named),];
    (op(), right).prop_map(move |(op, right)| Statement::Match { left: left.clone(), op, right }).boxed()
}

fn matches() -> BoxedStrategy<Statement> {
    let of_ports =
        select(&[Field::TcpDport, Field::TcpSport, Field::UdpDport, Field::ThDport, Field::SctpSport][..])
            .prop_flat_map(|field| compare(Expr::Field(field), ports().boxed()));
    let of_addresses = select(
        &[
            (Field::IpSaddr, Family::V4),
            (Field::IpDaddr, Family::V4),
            (Field::Ip6Saddr, Family::V6),
            (Field::Ip6Daddr, Family::V6),
        ][..],
    )
    .prop_flat_map(|(field, family)| compare(Expr::Field(field), ends(family).boxed()));
    let links = select(&[Meta::Iifname, Meta::Oifname, Meta::Ibrname][..]).prop_flat_map(|meta| {
        let link = "[a-z]{1,8}[0-9*]?".prop_map(|name| Value::Name(name.into()));
        compare(Expr::Meta(meta), link.boxed())
    });
    let marks = (option::of(any::<u32>()), any::<u32>(), op()).prop_map(|(mask, value, op)| {
        let number = |value: u32| Expr::Value(Value::Number(value.into()));
        let left = match mask {
            Some(mask) => {
                let (left, right) = (Box::new(Expr::Meta(Meta::Mark)), Box::new(number(mask)));
                Expr::Binary { op: BinaryOp::And, left, right }
            }
            None => Expr::Meta(Meta::Mark),
        };
        Statement::Match { left, op, right: number(value) }
    });
    let fib = select(&[FibKey::Saddr, FibKey::Daddr][..]).prop_map(|key| Statement::Match {
        left: Expr::Fib { keys: Vec::from([key]), result: FibResult::Type },
        op: Op::Implicit,
        right: Expr::Value(Value::Number(2)),
    });
    let concat = (addr(Family::V4), 0..2_usize, port()).prop_map(|(addr, protocol, port)| {
        let protocol = Value::Number([6, 17][protocol]);
        let parts = [Expr::Field(Field::IpDaddr), Expr::Meta(Meta::L4proto), Expr::Field(Field::ThDport)];
        let key = Vec::from([Value::Addr(addr), protocol, port]);
        let right = Expr::Elements(Vec::from([element(key)]));
        Statement::Match { left: Expr::Concat(parts.into()), op: Op::Implicit, right }
    });
    let random = (2..100_u32).prop_flat_map(|modulus| {
        let numgen = Expr::Numgen { random: true, modulus, offset: 0 };
        compare(numgen, (0..u64::from(modulus)).prop_map(Value::Number).boxed())
    });
    let zone = compare(Expr::Ct { original: Some(true), key: CtKey::ProtoDst }, ports().boxed());
    prop_oneof![of_ports, of_addresses, links, marks, fib, concat, random, zone].boxed()
}

fn vmap() -> impl Strategy<Value = Statement> {
    let written = vec((port(), verdict()), 1..4).prop_map(|all| {
        let one =
            |(port, verdict)| Element { data: Some(Data::Verdict(verdict)), ..element(Vec::from([port])) };
        Expr::Elements(all.into_iter().map(one).collect())
    });
    prop_oneof![written, name().prop_map(Expr::Named)]
        .prop_map(|map| Statement::Vmap { key: Expr::Field(Field::TcpDport), map })
}

fn flags() -> impl Strategy<Value = NatFlags> {
    any::<(bool, bool, bool)>().prop_map(|(random, fully_random, persistent)| NatFlags {
        random,
        fully_random,
        persistent,
    })
}

/// What changes or ends a packet in a table of IPv4.
fn action() -> BoxedStrategy<Statement> {
    let to = (addr(Family::V4), option::of(ports()), flags())
        .prop_map(|(addr, port, flags)| Nat {
            family: None,
            addr: Some(Expr::Value(Value::Addr(addr))),
            addr_and_port: false,
            port: port.map(Expr::Value),
            flags,
        })
        .boxed();
    let assign = (any::<bool>(), any::<u32>()).prop_map(|(ct, mark)| Statement::Assign {
        target: if ct { Expr::Ct { original: None, key: CtKey::Mark } } else { Expr::Meta(Meta::Mark) },
        value: Expr::Value(Value::Number(mark.into())),
    });
    let rate = (1..1000_u64, select(&[1_u32, 60, 3600, 86400][..]), any::<bool>(), option::of(1..100_u32))
        .prop_map(|(amount, per_secs, over, burst)| Statement::Limit {
            rate: LimitRate { amount, unit_bytes: None, per_secs },
            over,
            // The kernel's own, which is always shown.
            burst: burst.or(Some(5)),
        });
    let set = (select(&[SetOp::Add, SetOp::Update, SetOp::Delete][..]), name(), option::of(1..100_000_u64))
        .prop_map(|(op, set, secs)| Statement::SetOp {
            op,
            set,
            key: Expr::Field(Field::IpSaddr),
            timeout_ms: secs.map(|secs| secs * 1000),
            data: None,
        });
    prop_oneof![
        verdict().prop_map(Statement::Verdict),
        to.clone().prop_map(Statement::Dnat),
        to.prop_map(Statement::Snat),
        (option::of(ports()), flags())
            .prop_map(|(port, flags)| Statement::Masquerade { port: port.map(Expr::Value), flags }),
        (option::of(ports()), flags())
            .prop_map(|(port, flags)| Statement::Redirect { port: port.map(Expr::Value), flags }),
        option::of(Just(Reject::TcpReset)).prop_map(Statement::Reject),
        select(&[Reject::HostUnreachable, Reject::AdminProhibited][..])
            .prop_map(|reject| Statement::RejectOf(Family::V4, reject)),
        Just(Statement::Notrack),
        option::of(any::<(u32, u32)>())
            .prop_map(|counts| Statement::Counter(counts.map(|(p, b)| (p.into(), b.into())))),
        assign,
        rate,
        set,
        vmap(),
    ]
    .boxed()
}

fn rule() -> impl Strategy<Value = Rule> {
    (vec(matches(), 0..3), action(), comment()).prop_map(|(mut statements, action, comment)| {
        statements.push(action);
        Rule { statements, comment, handle: None, origin: origin() }
    })
}

fn base() -> impl Strategy<Value = Base> {
    let hooks = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
    let kinds = [ChainKind::Filter, ChainKind::Nat, ChainKind::Route];
    (select(kinds.to_vec()), select(hooks.to_vec()), -400..400_i32, any::<bool>()).prop_map(
        |(kind, hook, priority, drop)| {
            let policy = if drop { Policy::Drop } else { Policy::Accept };
            Base { kind, hook, devices: Vec::new(), priority, policy }
        },
    )
}

fn chain() -> impl Strategy<Value = Chain> {
    (name(), option::of(base()), comment(), vec(rule(), 0..5))
        .prop_map(|(name, base, comment, rules)| Chain { name, base, comment, rules })
}

/// Addresses, prefixes, or a verdict map from address, protocol and port.
fn set() -> impl Strategy<Value = Set> {
    let timeout = option::of(1..100_000_u64).prop_map(|secs| secs.map(|secs| secs * 1000));
    let of = prop_oneof![
        vec(addr(Family::V4).prop_map(Value::Addr), 0..5).prop_map(|all| {
            (&["ipv4_addr"][..], &[][..], false, all.into_iter().map(|v| element(Vec::from([v]))).collect())
        }),
        vec(ends(Family::V6), 0..5).prop_map(|all| {
            (&["ipv6_addr"][..], &[][..], true, all.into_iter().map(|v| element(Vec::from([v]))).collect())
        }),
        vec((addr(Family::V4), port(), verdict()), 0..5).prop_map(|all| {
            let one = |(addr, port, verdict)| Element {
                data: Some(Data::Verdict(verdict)),
                ..element(Vec::from([Value::Addr(addr), Value::Number(6), port]))
            };
            let key = &["ipv4_addr", "inet_proto", "inet_service"][..];
            (key, &["verdict"][..], false, all.into_iter().map(one).collect::<Vec<Element>>())
        }),
    ];
    (name(), of, timeout, option::of(1..65_536_u64), comment(), any::<bool>()).prop_map(
        |(name, (key, data, interval, elements), timeout_ms, size, comment, auto_merge)| Set {
            name,
            key: key.iter().copied().map(Arc::from).collect(),
            key_typeof: None,
            data: data.iter().copied().map(Arc::from).collect(),
            flags: SetFlags { interval, timeout: timeout_ms.is_some(), ..SetFlags::default() },
            timeout_ms,
            gc_interval_ms: None,
            size,
            auto_merge: auto_merge && interval,
            statements: None,
            comment,
            elements,
            origin: origin(),
        },
    )
}

fn table() -> impl Strategy<Value = Table> {
    (name(), comment(), vec(set(), 0..4), vec(chain(), 0..4)).prop_map(|(name, comment, sets, chains)| {
        Table {
            family: TableFamily::Ip,
            name,
            flags: Vec::new(),
            comment,
            sets: sets.into_iter().map(Arc::new).collect(),
            chains: chains.into_iter().map(Arc::new).collect(),
            others: Vec::new(),
            origin: origin(),
        }
    })
}

/// Tables whose names differ, and so do those of each one's sets and chains.
fn tables() -> impl Strategy<Value = Vec<Table>> {
    let number = |name: &mut Arc<str>, place: usize| *name = alloc::format!("{name}{place}").into();
    vec(table(), 0..3).prop_map(move |mut all| {
        for (at, table) in all.iter_mut().enumerate() {
            number(&mut table.name, at);
            for (place, set) in table.sets.iter_mut().enumerate() {
                number(&mut Arc::make_mut(set).name, place);
            }
            for (place, chain) in table.chains.iter_mut().enumerate() {
                number(&mut Arc::make_mut(chain).name, place);
            }
        }
        all
    })
}

proptest! {
    #[test]
    fn tables_read_back(tables in tables()) {
        let text = render(&tables, Dialect::default());
        let parsed = parse(&text, "x");
        prop_assert!(parsed.diagnostics.is_empty(), "{text}{:?}", parsed.diagnostics);
        prop_assert_eq!(parsed.items.without_origin(), tables.without_origin(), "{}", text);
    }
}
