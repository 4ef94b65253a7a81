use alloc::string::String;
use alloc::vec::Vec;

use expect_test::expect;

use super::told;
use crate::addr::Family;
use crate::plan::{NeighbourState, RuleAction};
use crate::text::{WithoutOrigin, bridge_fdb, ip_neigh, ip_rule, ss};

const RULES: &str = "\
0:\tfrom all lookup local
100:\tfrom 10.0.0.0/8 to 10.1.2.3 fwmark 0x1/0xff iif v1 lookup 100
200:\tnot from all fwmark 0x5 lookup 7
201:\tfrom all lookup main suppress_prefixlength 0
250:\tfrom all oif nope goto 32766
260:\tfrom 1.2.3.4 nop
270:\tfrom all ipproto tcp dport 80 lookup 8
282:\tfrom all fwmark 0x10/0x10 prohibit
300:\tfrom all blackhole
32766:\tfrom all lookup main
32767:\tfrom all lookup default
";

#[test]
fn rules_are_printed_as_they_were_read() {
    let parsed = ip_rule::parse(RULES, "x", Family::V4);
    expect![[r#"
        4:1 warning not-modelled: 'suppress_prefixlength 0' of a rule is kept but not modelled: what it does is unknown
        7:1 warning not-modelled: 'ipproto tcp dport 80' of a rule is kept but not modelled: what it does is unknown"#]]
    .assert_eq(&told(&parsed));
    assert_eq!(ip_rule::render(&parsed.items, Family::V4), RULES);
    assert_eq!(ip_rule::render(&parsed.items, Family::V6), "");
    assert_eq!(parsed.items[4].action, RuleAction::Goto(32766));
    let json = ip_rule::render_json(&parsed.items, Family::V4);
    expect![[r#"
        [{"priority":0,"src":"all","table":"local"},{"priority":100,"src":"10.0.0.0","srclen":8,"dst":"10.1.2.3","fwmark":"0x1","fwmask":"0xff","iif":"v1","table":"100"},{"priority":200,"not":null,"src":"all","fwmark":"0x5","table":"7"},{"priority":201,"src":"all","table":"main","suppress_prefixlen":0},{"priority":250,"src":"all","oif":"nope","goto":32766},{"priority":260,"src":"1.2.3.4","nop":null},{"priority":270,"src":"all","ipproto":"tcp","dport":80,"table":"8"},{"priority":282,"src":"all","fwmark":"0x10","fwmask":"0x10","action":"prohibit"},{"priority":300,"src":"all","action":"blackhole"},{"priority":32766,"src":"all","table":"main"},{"priority":32767,"src":"all","table":"default"}]
    "#]]
    .assert_eq(&json);
    let again = ip_rule::parse_any(&json, "x", Family::V4);
    assert_eq!(again.items.without_origin(), parsed.items.without_origin());
}

#[test]
fn a_rule_for_links_and_targets_that_are_gone_is_read() {
    let text = "250:\tfrom all oif nope [detached] goto 4000 [unresolved] proto static\n";
    let parsed = ip_rule::parse(text, "x", Family::V4);
    assert_eq!(told(&parsed), "1:58 note not-modelled: 'proto static' of a rule is not kept");
    assert_eq!(parsed.items[0].carried, None);
}

#[test]
fn rules_of_the_other_family_are_told() {
    let parsed = ip_rule::parse("9:\tfrom fe80::/10 lookup 8\n10: from all\n", "x", Family::V4);
    expect![[r#"
        1:9 error unreadable: fe80::/10 is IPv6, the rules are IPv4
        2:1 error unreadable: rule 10 does nothing: no 'lookup' and no action"#]]
    .assert_eq(&told(&parsed));
}

#[test]
fn neighbours_are_printed_as_they_were_read() {
    let text = "\
10.0.0.1 dev br0 lladdr 0a:00:00:00:00:01 PERMANENT
10.0.0.2 dev br0 lladdr 0a:00:00:00:00:02 REACHABLE
10.0.0.6 dev br0 INCOMPLETE
10.0.0.7 dev br0 FAILED
2001:db8::9 dev br0 lladdr 0a:58:0a:00:00:09 STALE
";
    let parsed = ip_neigh::parse(text, "x");
    assert_eq!(told(&parsed), "");
    assert_eq!(ip_neigh::render(&parsed.items), text);
    let json = ip_neigh::render_json(&parsed.items);
    assert!(json.starts_with(
        r#"[{"dst":"10.0.0.1","dev":"br0","lladdr":"0a:00:00:00:00:01","state":["PERMANENT"]},"#
    ));
    assert_eq!(ip_neigh::parse_any(&json, "x").items.without_origin(), parsed.items.without_origin());
}

#[test]
fn what_a_neighbour_says_beyond_the_plan_is_told() {
    let text = "\
fe80::1 dev eth0 lladdr 0a:00:00:00:00:01 router used 12/3/4 probes 1 DELAY
fe80::2 dev eth0 lladdr 0a:00:00:00:00:02 router extern_learn STALE
10.0.0.99 dev br0 proxy
10.0.0.98 lladdr 0a:00:00:00:00:02 STALE
";
    let parsed = ip_neigh::parse(text, "x");
    expect![[r#"
        1:43 note not-modelled: 'router' is not modelled (and 1 more)
        2:50 note not-modelled: 'extern_learn' is not modelled
        3:1 warning not-modelled: a proxy entry is not modelled and left out (a link's proxy_arp is)
        4:1 error unreadable: 10.0.0.98 has no 'dev'"#]]
    .assert_eq(&told(&parsed));
    let states: Vec<NeighbourState> = parsed.items.iter().map(|n| n.state).collect();
    assert_eq!(states, [NeighbourState::Delay, NeighbourState::Stale]);
}

#[test]
fn forwarding_entries_are_printed_as_they_were_read() {
    let text = "\
33:33:00:00:00:01 dev br0 self permanent
4a:12:2c:60:4e:cb dev v0 master br0 permanent
0a:58:0a:00:00:35 dev v0 master br0
0a:58:0a:00:00:33 dev vx dst 10.0.0.51 self permanent
00:00:00:00:00:00 dev vx dst 2001:db8::50 self permanent
";
    let parsed = bridge_fdb::parse(text, "x");
    assert_eq!(told(&parsed), "");
    assert_eq!(bridge_fdb::render(&parsed.items), text);
    let json = bridge_fdb::render_json(&parsed.items);
    assert_eq!(bridge_fdb::parse_any(&json, "x").items.without_origin(), parsed.items.without_origin());
}

#[test]
fn forwarding_entries_beyond_the_plan_are_told() {
    let text = "\
0a:58:0a:00:00:34 dev v0 master br0 static
0a:58:0a:00:00:34 dev v0 vlan 1 master br0 static
0a:58:0a:00:00:36 dev vx dst 10.0.0.2 port 4789 self
0a:58:0a:00:00:37 dev v0
";
    let parsed = bridge_fdb::parse(text, "x");
    expect![[r#"
        1:37 note not-modelled: a 'static' entry is held as a learned one: it would age (and 1 more)
        2:1 note not-modelled: an entry of one VLAN is left out: VLANs of a bridge are not modelled
        3:39 warning not-modelled: 'port' of a forwarding entry is not modelled
        4:1 error unreadable: 0a:58:0a:00:00:37 is neither of the device ('self') nor of a bridge ('master')"#]]
    .assert_eq(&told(&parsed));
    assert_eq!(parsed.items.len(), 2);
}

/// As iproute2 6.1 prints it into a pipe, but for the blanks at line ends.
const SOCKETS: &str = "\
Netid State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess
udp   UNCONN 0      0            0.0.0.0:8472       0.0.0.0:*
udp   UNCONN 0      0        0.0.0.0%br0:68         0.0.0.0:*
udp   UNCONN 0      0      [2001:db8::1]:5353          [::]:*
tcp   LISTEN 0      4096               *:10250            *:*
tcp   LISTEN 0      4096            [::]:80            [::]:*
";

#[test]
fn sockets_are_printed_as_they_were_read() {
    let parsed = ss::parse(SOCKETS, "x");
    assert_eq!(told(&parsed), "");
    assert_eq!(ss::render(&parsed.items), SOCKETS);
    let ends: Vec<String> =
        parsed.items.iter().map(|s| alloc::format!("{:?} {:?} {:?}", s.addr, s.dev, s.port)).collect();
    expect![[r#"
        Some(0.0.0.0) None 8472
        Some(0.0.0.0) Some("br0") 68
        Some(2001:db8::1) None 5353
        None None 10250
        Some(::) None 80"#]]
    .assert_eq(&ends.join("\n"));
}

#[test]
fn sockets_that_do_not_listen_are_told() {
    let text = "\
State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess
LISTEN 0      5            0.0.0.0:22         0.0.0.0:*    users:((\"sshd\",pid=8209,fd=3))
ESTAB  0      0          10.0.0.1:22         10.0.0.2:55000
tcp LISTEN 0 5 0.0.0.0:ssh 0.0.0.0:*
udp UNCONN 0 0 [fe80::1]%eth0:546 [::]:*
";
    let parsed = ss::parse(text, "x");
    expect![[r#"
        2:60 note not-modelled: 'users' of a socket is not modelled
        3:1 note not-modelled: a socket that does not listen is left out
        4:16 error unreadable: '0.0.0.0:ssh' is not ADDRESS:PORT: the port is not a number"#]]
    .assert_eq(&told(&parsed));
    assert_eq!(parsed.items[1].dev.as_deref(), Some("eth0"));
}
