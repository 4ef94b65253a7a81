use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use expect_test::expect;

use super::{Dialect, parse, parse_any, parse_json, render, render_feed};
use crate::plan::nft::{Expr, Op, Statement, Value, Verdict};
use crate::text::tests::told;

/// Listed by nft 1.0.6 for rules with one use of each statement and type or more.
const LISTED: &str = include_str!("data/listed.txt");
/// Listed by it for rules that spread connections over endpoints by sets and maps.
const SERVICES: &str = include_str!("data/rules_of_services.txt");

fn same_lines(left: &str, right: &str) {
    let differ: Vec<_> = left.lines().zip(right.lines()).filter(|(left, right)| left != right).collect();
    assert_eq!(differ, []);
    assert_eq!(left.lines().count(), right.lines().count());
}

#[test]
fn what_the_program_lists_is_printed_as_it_was_read() {
    for text in [LISTED, SERVICES] {
        let parsed = parse(text, "x");
        assert!(!parsed.has_errors(), "{}", told(&parsed));
        same_lines(&render(&parsed.items, Dialect::of(text)), text);
    }
}

#[test]
fn only_what_has_no_type_is_told() {
    let all: Vec<String> = [LISTED, SERVICES].map(|text| told(&parse(text, "x"))).into();
    expect![[r#"
        2:2 note not-modelled: 'ct helper' is kept but not modelled
        172:3 warning not-modelled: 'meta mark …' of a rule is kept but not modelled
        176:3 warning not-modelled: 'vlan id …' of a rule is kept but not modelled
        187:3 warning not-modelled: 'quota 5 …' of a rule is kept but not modelled
        190:3 warning not-modelled: 'limit rate …' of a rule is kept but not modelled
        193:3 warning not-modelled: 'synproxy mss …' of a rule is kept but not modelled
        194:3 warning not-modelled: 'ct helper …' of a rule is kept but not modelled
        198:3 warning not-modelled: 'meta hour …' of a rule is kept but not modelled
        199:3 warning not-modelled: 'meta day …' of a rule is kept but not modelled
        206:3 warning not-modelled: 'tcp option …' of a rule is kept but not modelled
        207:3 warning not-modelled: 'ct count …' of a rule is kept but not modelled
        3:2 note not-modelled: 'counter' is kept but not modelled
        8:2 note not-modelled: 'quota' is kept but not modelled
        12:2 note not-modelled: 'limit' is kept but not modelled
        16:2 note not-modelled: 'ct helper' is kept but not modelled
        250:3 warning not-modelled: 'meta mark …' of a rule is kept but not modelled
        254:3 warning not-modelled: 'tcp option …' of a rule is kept but not modelled (and 1 more)
        262:3 warning not-modelled: 'ct count …' of a rule is kept but not modelled
        263:3 warning not-modelled: 'quota over …' of a rule is kept but not modelled
        264:3 warning not-modelled: 'meta cpu …' of a rule is kept but not modelled
        265:3 warning not-modelled: 'socket transparent …' of a rule is kept but not modelled
        266:3 warning not-modelled: 'rt classid …' of a rule is kept but not modelled"#]]
    .assert_eq(&all.join("\n"));
}

/// One rule, read.
fn rule(text: &str) -> Vec<Statement> {
    let parsed = parse(&alloc::format!("table inet t {{\n\tchain c {{\n\t\t{text}\n\t}}\n}}\n"), "x");
    parsed.items[0].chains[0].rules[0].statements.clone()
}

#[test]
fn words_of_other_versions_mean_the_same() {
    for (old, new) in [
        ("tcp flags & (fin | syn | rst | ack) == syn drop", "tcp flags syn / fin,syn,rst,ack drop"),
        ("tcp flags & (syn|ack) != syn", "tcp flags != syn / syn,ack"),
        (
            "mark and 0x4000 != 0 mark set mark xor 0x4000",
            "meta mark & 0x00004000 != 0x00000000 meta mark set meta mark ^ 0x00004000",
        ),
        (
            "dnat ip addr . port to numgen random mod 1 map { 0 : 1.2.3.4 . 80 }",
            "dnat ip to numgen random mod 1 map { 0: 1.2.3.4 . 80 }",
        ),
        ("reject with icmp type host-prohibited", "reject with icmp host-prohibited"),
        ("iif lo oif \"eth0\"", "meta iif \"lo\" meta oif eth0"),
    ] {
        assert_eq!(rule(old), rule(new), "{old}");
    }
}

#[test]
fn constants_are_what_the_kernel_holds() {
    let [Statement::Match { op, right, .. }, Statement::Verdict(Verdict::Drop)] =
        &*rule("ct state established,related drop")
    else {
        panic!("a match and a verdict")
    };
    assert_eq!((*op, right), (Op::Implicit, &Expr::Flags(Vec::from([Value::Number(2), Value::Number(4)]))));
    let [Statement::Match { right, .. }] = &*rule("meta l4proto udp") else { panic!("a match") };
    assert_eq!(right, &Expr::Value(Value::Number(17)));
}

#[test]
fn what_is_carried_keeps_the_verdict_behind_it() {
    assert_eq!(
        rule("ct count over 5 jump there"),
        [Statement::Other("ct count over 5".into()), Statement::Verdict(Verdict::Jump("there".into()))]
    );
    assert_eq!(rule("quota over 5 mbytes drop").len(), 2);
}

#[test]
fn what_is_fed_comes_in_an_order_that_loads() {
    let text = "\
table ip p {
	comment \"rules\"
	set affinity {
		type ipv4_addr
		flags dynamic,timeout
		timeout 3h
	}

	map services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.1 . tcp . 443 comment \"a/b\" : goto service-A/b }
	}

	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr . meta l4proto . th dport vmap @services
	}

	chain service-A/b {
		meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.2 . 80 } comment \"c\"
	}
}
";
    let parsed = parse(text, "x");
    assert_eq!(told(&parsed), "");
    assert_eq!(render(&parsed.items, Dialect::Listed), text);
    expect![[r#"
        add table ip p { comment "rules" ; }
        add chain ip p nat-prerouting { type nat hook prerouting priority dstnat; policy accept; }
        add chain ip p service-A/b
        add set ip p affinity { type ipv4_addr ; flags dynamic,timeout ; timeout 3h ; }
        add map ip p services { type ipv4_addr . inet_proto . inet_service : verdict ; }
        add rule ip p nat-prerouting ip daddr . meta l4proto . th dport vmap @services
        add rule ip p service-A/b meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.2 . 80 } comment "c"
        add element ip p services { 10.96.0.1 . tcp . 443 comment "a/b" : goto service-A/b }
    "#]].assert_eq(&render_feed(&parsed.items));
}

#[test]
fn a_block_that_cannot_be_read_is_told_and_the_others_are_kept() {
    let text = "\
nonsense
table what t {
}
table ip a {
	set s {
		type ipv4_addr
		elements = { 1.2.3.4, nonsense }
	}
	nonsense
	chain c {
		type filter hook nowhere priority 0; policy accept;
		accept
	}
	chain d {
		policy drop
		drop # handle 7
	}
}
}
table ip b {
	chain c {
		accept
";
    let parsed = parse(text, "x");
    expect![[r#"
        19:1 error unreadable: '}' closes nothing
        20:1 error unreadable: a '{' is not closed
        1:1 error unreadable: 'nonsense' is not the beginning of a table
        2:7 error unreadable: 'what' is not a family of nft
        7:34 error unreadable: the elements of 's' cannot be read from here on
        9:2 error unreadable: 'nonsense' is not known in a table
        11:3 error unreadable: the hook of this chain cannot be read
        11:47 error unreadable: a policy that cannot be read
        15:10 error unreadable: a policy that cannot be read
        21:2 error unreadable: a '{' is not closed"#]]
    .assert_eq(&told(&parsed));
    let rules: Vec<usize> =
        parsed.items.iter().flat_map(|table| &table.chains).map(|chain| chain.rules.len()).collect();
    assert_eq!(rules, [1, 1, 1]);
    assert_eq!(parsed.items[0].chains[1].rules[0].handle, Some(7));
}

#[test]
fn names_and_comments_end_no_line() {
    let text = "table ip t {\n\tchain c {\n\t\tcomment \"x\"\n\t\taccept comment \"y\"\n\t}\n}\n";
    let mut parsed = parse(text, "x");
    let evil = "\"\n\t}\n\tchain d { drop; }";
    let mut chain = (*parsed.items[0].chains[0]).clone();
    chain.name = evil.into();
    chain.comment = Some(evil.into());
    chain.rules[0].comment = Some(evil.into());
    parsed.items[0].chains[0] = chain.into();
    let printed = render(&parsed.items, Dialect::Listed);
    assert_eq!(printed.lines().count(), text.lines().count(), "{printed}");
    let again = parse(&printed, "x");
    assert_eq!(told(&again), "");
    assert_eq!(again.items[0].chains.len(), 1);
    let fed = render_feed(&parsed.items);
    assert_eq!(fed.lines().count(), 3, "{fed}");
}

/// What nft 1.0.6 prints with `-j` for the rules of [`SERVICES`].
const JSON: &str = include_str!("data/rules_of_services.json");

#[test]
fn json_says_the_same_as_the_plain_form() {
    let (json, plain) = (parse_any(JSON, "x"), parse_any(SERVICES, "x"));
    assert!(!json.has_errors(), "{}", told(&json));
    let listed = |tables: &[crate::plan::nft::Table]| render(tables, Dialect::Listed);
    let (json, plain) = (listed(&json.items), listed(&plain.items));
    let differ: Vec<_> = plain
        .lines()
        .map(str::trim)
        .filter(|line| !json.lines().any(|other| other.trim() == *line))
        .collect();
    expect![[r#"
        comment "rules for kube-proxy"
        comment "x"
        packets 5 bytes 7
        over 5 mbytes
        rate 5/second
        type "ftp" protocol tcp
        flags dynamic,timeout
        auto-merge
        elements = { 1.2.3.4 . 80 timeout 10m expires 9m58s752ms,
        1.2.3.5 . 80-90 expires 1h29m58s752ms }
        typeof ip daddr : meta mark
        meta mark 0x00000000/16
        tcp option maxseg size set 1400
        tcp option maxseg size set rt mtu
        ct count over 5 drop
        quota over 5 mbytes drop
        socket transparent 1 accept
        rt classid 1"#]]
    .assert_eq(&differ.join("\n"));
}

#[test]
fn json_that_is_not_a_ruleset_is_told() {
    for text in [
        "{",
        "[]",
        "{\"nftables\": [1, {\"rule\": {}}, {\"chain\": {\"family\": \"ip\", \"table\": \"t\", \"name\": \"c\"}}]}",
    ] {
        let parsed = parse_json(text, "x");
        assert!(parsed.has_errors() && parsed.items.is_empty(), "{text}");
    }
}

#[test]
fn sets_keep_the_statements_of_their_elements() {
    let text = "\
table ip t {
\tset a {
\t\ttype ipv4_addr
\t\tflags interval,timeout
\t\tcounter
\t\tauto-merge
\t\ttimeout 1h
\t\tgc-interval 5s
\t\tcomment \"x\"
\t\telements = { 1.1.1.0/24 counter packets 3 bytes 180 timeout 5s comment \"y\" }
\t}

\tset l {
\t\ttype ipv4_addr
\t\tsize 5
\t\tflags dynamic
\t\tlimit rate 10/second burst 5 packets
\t\telements = { 1.1.1.1 limit rate 10/second burst 5 packets, 1.1.1.2 limit rate 10/second burst 5 packets }
\t}

\tmap m {
\t\ttype ipv4_addr : verdict
\t\tcounter quota 5 mbytes
\t\telements = { 1.1.1.1 counter packets 0 bytes 0 quota 5 mbytes : accept }
\t}
}
";
    let parsed = parse(text, "x");
    assert_eq!(told(&parsed), "");
    assert_eq!(render(&parsed.items, Dialect::Listed), text);
}

#[test]
fn a_reject_of_one_family_is_printed_as_it_was() {
    for reject in ["icmp net-unreachable", "icmpv6 no-route", "icmpv6 admin-prohibited", "icmpx no-route"] {
        let text = format!("table inet t {{\n\tchain c {{\n\t\treject with {reject}\n\t}}\n}}\n");
        let parsed = parse(&text, "x");
        assert_eq!(told(&parsed), "");
        assert_eq!(render(&parsed.items, Dialect::Listed), text);
    }
}
