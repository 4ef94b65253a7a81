use alloc::string::String;
use alloc::vec::Vec;

use expect_test::expect;

use super::{parse, render};
use crate::plan::{IpSetKind, IpSetPart};
use crate::text::tests::told;

/// Printed by ipset 7.17 on Linux 6.18, but for the sets of the types that kernel lacked (`b…`).
const SAVED: &str = "\
create a1 bitmap:port range 0-65535 counters comment
add a1 443 packets 0 bytes 0 comment \"web \\ x\"
create a2 bitmap:ip range 10.0.0.0-10.0.0.255 timeout 30
add a2 10.0.0.5 timeout 29
create a2b bitmap:ip range 10.0.0.0-10.0.255.255 netmask 24
add a2b 10.0.5.0
create a3 hash:ip family inet hashsize 1024 maxelem 65536 comment skbinfo bucketsize 12 initval 0xe4541306
add a3 1.2.3.4 comment \"x y\" skbmark 0x1/0xff skbprio 1:2 skbqueue 3
create a4 hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x26f2e7c3
add a4 10.1.2.3
add a4 10.0.0.0/8 nomatch
create a5 hash:ip,port family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x36c3063a
add a5 10.0.0.1,sctp:9
add a5 10.0.0.1,udp:53
add a5 10.0.0.1,udplite:4
add a5 10.0.0.1,gre:0
add a5 10.0.0.1,icmp:echo-request
create a5b hash:ip,port family inet6 hashsize 1024 maxelem 65536 bucketsize 12 initval 0x72b2494f
add a5b fe80::1,ipv6-icmp:echo-request
add a5b fe80::1,ipv6-icmp:200/7
create a6 hash:ip,port,ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x2c93838e
add a6 10.0.0.1,tcp:80,10.0.0.2
create a7 hash:ip,port,net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x67bec2bc
add a7 10.0.0.1,tcp:80,10.0.0.0/8
create a9 hash:net,iface family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x4df97c2a
add a9 10.0.0.0/8,physdev:eth1 nomatch
add a9 0.0.0.0/0,eth2 wildcard
create b7 bitmap:ip,mac range 10.0.0.0-10.0.0.255
add b7 10.0.0.1,02:AA:00:00:00:01
add b7 10.0.0.2
create b8 hash:ip family inet hashsize 1024 maxelem 65536 timeout 100 counters bucketsize 12 initval 0x1a40ca5c
add b8 10.0.0.1 timeout 0 packets 5 bytes 600
create b9 hash:net,port,net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1
add b9 10.0.0.0/8,tcp:80,0.0.0.0/0
create b10 hash:mac hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1
add b10 02:AA:00:00:00:01
create b11 hash:ip,mark family inet markmask 0x000000ff hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1
add b11 10.0.0.1,0x00000012
create b4 list:set size 8
add b4 a3
";

#[test]
fn sets_are_printed_as_they_were_read() {
    let parsed = parse(SAVED, "x");
    assert_eq!(told(&parsed), "");
    assert_eq!(render(&parsed.items), SAVED);
    let ports = &parsed.items[5];
    assert_eq!((ports.kind, ports.timeout_secs()), (IpSetKind::HashIpPort, None));
    assert_eq!(ports.entries[4].parts[1], IpSetPart::Port(1, 0x0800));
    assert_eq!(parsed.items[2].timeout_secs(), None);
    assert_eq!(parsed.items[1].timeout_secs(), Some(30));
}

#[test]
fn what_restore_takes_is_read() {
    let text = "create -exist x hash:ip\n-N s hash:ip,port family inet6 hashsize 1024 -exist\n-A s fe80::1,80\n-! add s ::2,udp:53 -exist\nCOMMIT\n";
    let parsed = parse(text, "x");
    assert_eq!(told(&parsed), "");
    let printed: Vec<String> = render(&parsed.items).lines().map(String::from).collect();
    assert_eq!(
        printed,
        [
            "create x hash:ip family inet",
            "create s hash:ip,port family inet6 hashsize 1024",
            "add s fe80::1,tcp:80",
            "add s ::2,udp:53"
        ]
    );
}

#[test]
fn a_line_that_cannot_be_read_is_told_and_the_others_are_kept() {
    let text = "\
create s hash:ip,port family inet
add t 10.0.0.1,tcp:80
add s 10.0.0.1
add s fe80::1,tcp:80
add s 10.0.0.1,tcp:70000
add s 10.0.0.1,icmp:nonsense
add s 10.0.0.1,tcp:80 shiny
add s 10.0.0.2,tcp:80 comment \"open
create s hash:ip
create u hash:x
create v bitmap:port range x-y
del s 10.0.0.1,tcp:80
add s
";
    let parsed = parse(text, "x");
    expect![[r#"
        2:5 error unreadable: set 't' was not created before this line
        3:7 error unreadable: '10.0.0.1' has 1 parts, a 'hash:ip,port' has 2
        4:7 error unreadable: 'fe80::1' is not an address of the set's family
        5:7 error unreadable: 'tcp:70000' is not PROTOCOL:PORT
        6:7 error unreadable: 'icmp:nonsense' is not PROTOCOL:PORT
        7:23 warning not-modelled: 'shiny' of an entry is kept but not modelled
        8:31 error unreadable: a quote is not closed on its line
        9:1 error unreadable: set 's' is created twice
        10:10 error unreadable: 'hash:x' is not a type of set
        11:28 error unreadable: 'x-y' is not a range such as 10.0.0.0-10.0.0.255 or 0-65535
        12:1 error unreadable: 'del' is neither 'create' nor 'add'
        13:1 error unreadable: the line ends before its entry"#]]
    .assert_eq(&told(&parsed));
    assert_eq!(parsed.items[0].entries.len(), 1);
}

#[test]
fn names_and_comments_end_no_line() {
    let mut parsed = parse("create s list:set\nadd s t comment \"c\"\n", "x");
    parsed.items[0].name = "a b\nadd".into();
    parsed.items[0].entries[0].parts = Vec::from([IpSetPart::Set("x\ny\"z".into())]);
    parsed.items[0].entries[0].comment = Some("c\"\nadd s u".into());
    let printed = render(&parsed.items);
    assert_eq!(printed, "create \"a b add\" list:set\nadd \"a b add\" \"x yz\" comment \"c add s u\"\n");
}
