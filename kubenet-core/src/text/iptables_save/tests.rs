use alloc::vec::Vec;

use expect_test::expect;

use super::{Dialect, Marks, family_of, parse, render, render_restore};
use crate::addr::Family;
use crate::plan::xt::{Inv, Match, Statistic, Target};
use crate::text::WithoutOrigin;
use crate::text::tests::told;

/// Printed by iptables-save 1.8.9 for rules with one use of each module and target or more.
const SAVED: &str = include_str!("tests/saved.txt");
/// The same of ip6tables-save.
const SAVED6: &str = include_str!("tests/saved6.txt");

fn same_lines(left: &str, right: &str) {
    let differ: Vec<_> = left.lines().zip(right.lines()).filter(|(left, right)| left != right).collect();
    assert_eq!(differ, []);
    assert_eq!(left.lines().count(), right.lines().count());
}

#[test]
fn what_the_program_saves_is_printed_as_it_was_read() {
    for (text, family) in [(SAVED, Family::V4), (SAVED6, Family::V6)] {
        let parsed = parse(text, "x", family);
        assert!(!parsed.has_errors(), "{}", told(&parsed));
        same_lines(&render(&parsed.items, Dialect::Current), text);
    }
}

#[test]
fn only_what_has_no_type_is_told() {
    let parsed = parse(SAVED, "x", Family::V4);
    let names: Vec<&str> = parsed.diagnostics.iter().filter_map(|d| d.message.split('\'').nth(1)).collect();
    expect!["-j TPROXY, -j TTL, -j DSCP, -j TOS, -j TEE, -j SET, -j TCPMSS, -j CLASSIFY, -m length, -m ttl, -m tos, -m hashlimit, -m u32, -m string, -m cpu, -m pkttype, -m dscp, -m mac, -m helper, -m connbytes, -m time, -m quota, -m socket, -m bpf, -j DNAT, -j NETMAP"]
        .assert_eq(&names.join(", "));
}

#[test]
fn what_is_fed_reads_as_what_is_then_saved() {
    let fed = "\
*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SEP-A - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A KUBE-SERVICES -m comment --comment \"a/b:c cluster IP\" -m tcp -p tcp -d 10.96.0.9 --dport 80 -j KUBE-SVC-A
-A KUBE-SERVICES -m comment --comment \"node ports; NOTE: last\" -m addrtype --dst-type LOCAL ! -d 127.0.0.0/8 -j KUBE-SVC-A
-A KUBE-SVC-A -m comment --comment \"a/b:c cluster IP\" -m tcp -p tcp -d 10.96.0.9 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-SVC-A -m comment --comment \"a/b:c -> 10.244.1.2:8080\" -m recent --name KUBE-SEP-A --rcheck --seconds 10800 --reap -j KUBE-SEP-A
-A KUBE-SVC-A -m comment --comment \"a/b:c -> 10.244.1.2:8080\" -m statistic --mode random --probability 0.3333333333 -j KUBE-SEP-A
-A KUBE-SVC-A -m comment --comment \"a/b:c -> 10.244.1.2:8080\" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-A
-A KUBE-SEP-A -m comment --comment a/b:c -s 10.244.1.2 -j KUBE-MARK-MASQ
-A KUBE-SEP-A -m comment --comment a/b:c -m recent --name KUBE-SEP-A --set -m tcp -p tcp -j DNAT --to-destination 10.244.1.2:8080
-A KUBE-MARK-MASQ -j MARK --or-mark 0x00004000
-A KUBE-POSTROUTING -m mark ! --mark 0x00004000/0x00004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x00004000
-A KUBE-POSTROUTING -m comment --comment \"needs SNAT\" -j MASQUERADE --random-fully
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-EXTERNAL - [0:0]
-A KUBE-FIREWALL -m comment --comment \"block localnet\" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-EXTERNAL -m comment --comment \"a/b has no endpoints\" -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30080 -j REJECT
-A KUBE-EXTERNAL -m comment --comment \"a/b:c\" -m set --match-set S dst,dst ! -s 10.244.0.0/16 -j DROP
COMMIT
";
    let parsed = parse(fed, "x", Family::V4);
    assert_eq!(told(&parsed), "");
    let quoted = fed.replace("\"a/b:c\" -m set", "a/b:c -m set");
    same_lines(&render_restore(&parsed.items, Marks::Padded), &quoted);
    let short = render_restore(&parsed.items, Marks::Short);
    same_lines(&short, &quoted.replace("0x00004000", "0x4000"));
    expect![[r#"
        *nat
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-A - [0:0]
        :KUBE-SEP-A - [0:0]
        :KUBE-MARK-MASQ - [0:0]
        :KUBE-POSTROUTING - [0:0]
        -A KUBE-SERVICES -d 10.96.0.9/32 -p tcp -m comment --comment "a/b:c cluster IP" -m tcp --dport 80 -j KUBE-SVC-A
        -A KUBE-SERVICES ! -d 127.0.0.0/8 -m comment --comment "node ports; NOTE: last" -m addrtype --dst-type LOCAL -j KUBE-SVC-A
        -A KUBE-SVC-A ! -s 10.244.0.0/16 -d 10.96.0.9/32 -p tcp -m comment --comment "a/b:c cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
        -A KUBE-SVC-A -m comment --comment "a/b:c -> 10.244.1.2:8080" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-A --rsource -j KUBE-SEP-A
        -A KUBE-SVC-A -m comment --comment "a/b:c -> 10.244.1.2:8080" -m statistic --mode random --probability 0.33333333349 -j KUBE-SEP-A
        -A KUBE-SVC-A -m comment --comment "a/b:c -> 10.244.1.2:8080" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A
        -A KUBE-SEP-A -s 10.244.1.2/32 -m comment --comment "a/b:c" -j KUBE-MARK-MASQ
        -A KUBE-SEP-A -p tcp -m comment --comment "a/b:c" -m recent --set --name KUBE-SEP-A --rsource -m tcp -j DNAT --to-destination 10.244.1.2:8080
        -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
        -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
        -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
        -A KUBE-POSTROUTING -m comment --comment "needs SNAT" -j MASQUERADE --random-fully
        COMMIT
        *filter
        :KUBE-FIREWALL - [0:0]
        :KUBE-EXTERNAL - [0:0]
        -A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block localnet" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
        -A KUBE-EXTERNAL -p tcp -m comment --comment "a/b has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j REJECT --reject-with icmp-port-unreachable
        -A KUBE-EXTERNAL ! -s 10.244.0.0/16 -m comment --comment "a/b:c" -m set --match-set S dst,dst -j DROP
        COMMIT
    "#]]
    .assert_eq(&render(&parsed.items, Dialect::Current));
}

#[test]
fn shares_are_exact_and_print_as_one_in_n() {
    for n in [1, 2, 3, 7, 10, 99, 1000, 30011] {
        let Statistic::Random(Inv { value, .. }) = Statistic::one_in(n) else { panic!("a share") };
        let decimals = 1.0 / f64::from(n);
        let text = alloc::format!(
            "*filter\n-A INPUT -m statistic --mode random --probability {decimals:.10}\nCOMMIT\n"
        );
        let parsed = parse(&text, "x", Family::V4);
        assert_eq!(
            parsed.items[0].chains[0].rules[0].matches,
            [Match::Statistic(Statistic::one_in(n))],
            "{n}"
        );
        assert!(
            render_restore(&parsed.items, Marks::Short)
                .contains(&alloc::format!("--probability {decimals:.10}\n"))
        );
        let shown = alloc::format!("{:.11}\n", f64::from(value) / 2_147_483_648.0);
        assert!(render(&parsed.items, Dialect::Current).contains(&shown), "{n} {shown}");
    }
}

#[test]
fn commands_change_chains() {
    let text = "\
*filter
-P INPUT DROP
-N A
-A A -j ACCEPT
-I A -j DROP
-I A 2 -j RETURN
[3:180] -A A -j B
-A B -c 1 60 -j ACCEPT
-F B
-X B
COMMIT
";
    let parsed = parse(text, "x", Family::V4);
    assert_eq!(told(&parsed), "");
    assert_eq!(
        render(&parsed.items, Dialect::Current),
        "*filter\n:INPUT DROP [0:0]\n:A - [0:0]\n-A A -j DROP\n-A A -j RETURN\n-A A -j ACCEPT\n[3:180] -A A -j B\nCOMMIT\n"
    );
}

#[test]
fn a_chain_may_have_the_name_of_no_target() {
    let text = "*filter\n:LOGDROP - [0:0]\n:TEE - [0:0]\n-A INPUT -j LOGDROP\n-A INPUT -j TEE\n-A INPUT -j elsewhere\n-A INPUT -j NFQUEUE\nCOMMIT\n";
    let parsed = parse(text, "x", Family::V4);
    let rules = &parsed.items[0].chains[2].rules;
    let targets: Vec<_> = rules.iter().filter_map(|rule| rule.target.clone()).collect();
    let jump = |name: &str| Target::Jump(name.into());
    let other = Target::Other { name: "NFQUEUE".into(), words: Vec::new() };
    assert_eq!(targets, [jump("LOGDROP"), jump("TEE"), jump("elsewhere"), other]);
}

#[test]
fn a_line_that_cannot_be_read_is_told_and_the_others_are_kept() {
    let text = "\
-A INPUT -j ACCEPT
*filter
:INPUT ACCEPT
:FORWARD QUEUE [0:0]
:OUTPUT
:A - [x]
: ACCEPT
-A
-A INPUT -s 10.0.0.0/33
-A INPUT -s fe80::1 -j DROP
-A INPUT -p nonsense
-A INPUT --dport 80
-A INPUT nonsense
-A INPUT -m
-A INPUT !
-A INPUT -m comment --comment \"open
-D INPUT 1
[1] -A INPUT
-A INPUT -p tcp --dport http -j ACCEPT
-A INPUT -j REJECT --reject-with icmp6-no-route
-A INPUT -j ACCEPT
";
    let parsed = parse(text, "x", Family::V4);
    expect![[r#"
        1:1 error unreadable: '-A' stands before a table such as '*filter'
        4:10 error unreadable: 'QUEUE' is not a policy: ACCEPT, DROP or '-'
        5:1 error unreadable: nothing follows ':OUTPUT'
        6:6 error unreadable: '[x]' is not [PACKETS:BYTES]
        7:1 error unreadable: a chain without a name
        8:1 error unreadable: nothing follows '-A'
        9:13 error unreadable: '10.0.0.0/33' is not a prefix of IPv4
        10:13 error unreadable: 'fe80::1' is not a prefix of IPv4
        11:13 error unreadable: 'nonsense' is not a protocol
        12:10 error unreadable: '--dport' belongs to no module
        13:10 error unreadable: 'nonsense' is not an option of a rule
        14:10 error unreadable: nothing follows '-m'
        15:10 error unreadable: nothing follows '!'
        16:31 error unreadable: a quote is not closed on its line
        17:1 error unreadable: '-D' is not a command of iptables-restore
        18:1 error unreadable: '[1]' is not [PACKETS:BYTES]
        19:17 warning not-modelled: '-m tcp' as it stands here is kept but not modelled
        20:13 warning not-modelled: '-j REJECT' as it stands here is kept but not modelled
        2:1 warning cut-table: table 'filter' has no COMMIT: the dump may be cut"#]]
    .assert_eq(&told(&parsed));
    assert_eq!(parsed.items[0].chains[0].rules.len(), 3);
}

#[test]
fn names_and_comments_end_no_line() {
    let text =
        "*filter\n:A - [0:0]\n-A A -i eth0 -m comment --comment x -m set --match-set s src -j B\nCOMMIT\n";
    let mut parsed = parse(text, "x", Family::V4);
    let mut chain = (*parsed.items[0].chains[0]).clone();
    chain.name = "a b\n-A INPUT -j DROP".into();
    let evil = "\"\nCOMMIT\n*nat\n-A x \\";
    chain.rules[0].matches[0] = Match::Iif(Inv::is(evil.into()));
    chain.rules[0].matches[1] = Match::Comment(evil.into());
    chain.rules[0].target = Some(Target::Goto(evil.into()));
    parsed.items[0].chains[0] = chain.into();
    for printed in [render(&parsed.items, Dialect::Current), render_restore(&parsed.items, Marks::Padded)] {
        assert_eq!(printed.lines().count(), 4, "{printed}");
        let again = parse(&printed, "x", Family::V4);
        assert!(!again.has_errors(), "{printed}\n{}", told(&again));
        let comment = |it: &Match| matches!(it, Match::Comment(text) if **text == evil.replace('\n', " "));
        assert!(again.items[0].chains[0].rules[0].matches.iter().any(comment), "{printed}");
    }
}

#[test]
fn the_heading_tells_the_family_and_the_rules_tell_the_age() {
    assert_eq!(family_of("# Generated by ip6tables-save v1.8.9 (nf_tables) on …\n*nat\n"), Some(Family::V6));
    assert_eq!(family_of("# Generated by iptables-save v1.4.21 on …\n*nat\n"), Some(Family::V4));
    assert_eq!(family_of("*nat\n"), None);
    let old =
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p icmpv6 -m icmp6 --icmpv6-type 133 -j ACCEPT\nCOMMIT\n";
    let parsed = parse(old, "x", Family::V6);
    assert_eq!(render(&parsed.items, Dialect::of(old)), old);
    assert_eq!(Dialect::of(SAVED6), Dialect::Current);
    let again = parse(&render(&parsed.items, Dialect::Current), "x", Family::V6);
    assert_eq!(again.items.without_origin(), parsed.items.without_origin());
}

#[test]
fn an_option_of_a_module_is_not_one_of_the_rule() {
    let text = "\
*filter
:INPUT ACCEPT [0:0]
-A INPUT -m policy --dir in --pol ipsec --proto esp -j DROP
-A INPUT -m string --hex-string \"|0d0a|\" --algo kmp -j DROP
-A INPUT -m statistic --mode nth --every 3 --packet 0 -j ACCEPT
-A INPUT -m cgroup --path \"/a.b\" -j DROP
COMMIT
";
    let parsed = parse(text, "x", Family::V4);
    assert_eq!(render(&parsed.items, Dialect::Current), text);
    assert_eq!(parsed.items[0].chains[0].rules[0].matches.len(), 1);
}
