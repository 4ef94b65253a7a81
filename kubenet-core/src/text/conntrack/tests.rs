use expect_test::expect;

use super::{Layer3, parse, render};
use crate::plan::{ConntrackHold, ConntrackKey};
use crate::text::tests::told;

/// Printed by conntrack 1.4.7, but for the counters, the zones of one direction and the offloaded flow.
const LISTED: &str = "\
gre      47 99 src=10.0.0.1 dst=10.0.0.3 srckey=0x1 dstkey=0x2 [UNREPLIED] src=10.0.0.3 dst=10.0.0.1 srckey=0x2 dstkey=0x1 mark=0 zone=7 use=1
unknown  89 99 src=10.0.0.1 dst=10.0.0.3 [UNREPLIED] src=10.0.0.3 dst=10.0.0.1 mark=0 use=1
icmp     1 99 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=77 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=77 mark=0 use=1 id=1997594601
udp      17 99 src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=53 [UNREPLIED] src=10.9.0.1 dst=10.0.0.1 sport=53 dport=1000 mark=0 use=1
tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 packets=3 bytes=180 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1000 zone-reply=4 packets=2 bytes=120 [ASSURED] mark=5 secctx=system_u:object_r:unlabeled_t:s0 use=1
tcp      6 src=10.0.0.1 dst=10.0.0.2 sport=1001 dport=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1001 [OFFLOAD] mark=5 helper=ftp use=2 delta-time=4 [start=Tue Nov 24 21:47:31 2026]
icmpv6   58 99 src=fe80::1 dst=fe80::2 type=128 code=0 id=77 [UNREPLIED] src=fe80::2 dst=fe80::1 type=129 code=0 id=77 mark=0 use=1
";

#[test]
fn connections_are_printed_as_they_were_read() {
    let parsed = parse(LISTED, "x");
    assert_eq!(told(&parsed), "");
    assert_eq!(render(&parsed.items, Layer3::Hide), LISTED);
    let icmp = &parsed.items[2];
    assert_eq!(icmp.original.key, ConntrackKey::Icmp { kind: 8, code: 0, id: 77 });
    assert_eq!(icmp.id, Some(1_997_594_601));
    assert_eq!((parsed.items[0].zone, parsed.items[5].timeout_secs), (7, None));
    assert_eq!(parsed.items[5].hold, ConntrackHold::Offload);
}

#[test]
fn the_family_at_the_beginning_and_the_count_at_the_end_are_skipped() {
    let text = "\
ipv6     10 icmpv6   58 99 src=fe80::1 dst=fe80::2 type=128 code=0 id=77 [UNREPLIED] src=fe80::2 dst=fe80::1 type=129 code=0 id=77 mark=0 use=1
";
    let all = [text, "conntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.\n"].concat();
    let parsed = parse(&all, "x");
    assert_eq!(told(&parsed), "");
    assert_eq!(render(&parsed.items, Layer3::Show), text);
}

#[test]
fn what_the_kernel_lists_is_read() {
    let text = "ipv4     2 gre      47 99 timeout=0, stream_timeout=0 src=10.0.0.1 dst=10.0.0.3 srckey=0x1 dstkey=0x2 [UNREPLIED] src=10.0.0.3 dst=10.0.0.1 srckey=0x2 dstkey=0x1 mark=0 zone=0 use=2\n";
    let parsed = parse(text, "x");
    assert_eq!(told(&parsed), "");
    expect![[r#"
        gre      47 99 src=10.0.0.1 dst=10.0.0.3 srckey=0x1 dstkey=0x2 [UNREPLIED] src=10.0.0.3 dst=10.0.0.1 srckey=0x2 dstkey=0x1 mark=0 use=2 timeout=0, stream_timeout=0
    "#]]
    .assert_eq(&render(&parsed.items, Layer3::Hide));
}

#[test]
fn a_line_that_cannot_be_read_is_told_and_the_others_are_kept() {
    let text = "\
tcp
tcp x
tcp 6 9 src=10.0.0.1
tcp 6 9 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2
tcp 6 9 src=10.0.0.1 dst=10.0.0.2 sport=1 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1
tcp 6 9 src=10.0.0.1 dst=x
tcp 6 9 src=10.0.0.1 dst=::1 src=10.0.0.1 dst=::1
udp 17 9 src=10.0.0.1 dst=10.0.0.2 sport=70000
icmp 1 9 src=10.0.0.1 dst=10.0.0.2 type=300 code=1 id=1 src=10.0.0.1 dst=10.0.0.2
udp 17 9 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1
";
    let parsed = parse(text, "x");
    expect![[r#"
        1:1 error unreadable: the line ends before its protocol's number
        2:5 error unreadable: 'x' is not the number of a protocol
        3:1 error unreadable: the original direction has no 'dst'
        4:1 error unreadable: the reply direction has no 'src'
        5:1 error unreadable: the original direction has no 'sport and dport, or type, code and id'
        6:22 error unreadable: 'dst=x' does not say an address
        7:1 error unreadable: 10.0.0.1 and ::1 are of two families
        8:36 error unreadable: 'sport=70000' does not say a number up to 65535
        9:1 error unreadable: the original direction has no 'type and code of ICMP'"#]]
    .assert_eq(&told(&parsed));
    assert_eq!(parsed.items.len(), 1);
}
