use alloc::string::String;

use expect_test::expect;

use super::{parse, parse_any, parse_table, render, render_table};
use crate::addr::Family;
use crate::plan::{Forwarding, Scheduler, VirtualId};
use crate::text::tests::told;

const SAVED: &str = "\
-A -t 10.96.0.1:443 -s rr
-a -t 10.96.0.1:443 -r 172.18.0.3:6443 -m -w 1
-A -u 10.96.0.10:53 -s wrr -p 10800 -M 255.255.0.0 --pe sip -o
-a -u 10.96.0.10:53 -r 10.244.0.2:53 -i -w 0 --tun-type gue --tun-port 6080 --tun-nocsum
-a -u 10.96.0.10:53 -r 10.244.0.3:53 -g -w 5 -x 100 -y 50
-A --sctp-service [fd00:10:96::a]:9 -s mh -p 360 -M 64 -b mh-fallback,mh-port
-a --sctp-service [fd00:10:96::a]:9 -r [fd00:10:244::2]:9 -m -w 1
-A -f 7 -s sh -b sh-port
-A -f 7 -6 -s lc -b flag-1,flag-3
";

#[test]
fn saved_servers_are_printed_as_they_were_read() {
    let parsed = parse_any(SAVED, "x");
    assert_eq!(told(&parsed), "");
    assert_eq!(render(&parsed.items), SAVED);
    assert_eq!(parsed.items[1].servers[1].forwarding, Forwarding::Route);
    assert_eq!(parsed.items[4].id, VirtualId::Fwmark { family: Family::V6, mark: 7 });
}

#[test]
fn defaults_of_the_command_are_filled_in() {
    let text = "-A -t 10.0.0.1:80 -p\n-a -t 10.0.0.1:80 -r 10.0.0.2\n-A -t 10.0.0.1:81 -s fo\n";
    let parsed = parse(text, "x");
    assert_eq!(
        told(&parsed),
        "3:1 warning not-modelled: scheduler 'fo' is kept but not modelled: whom it chooses is unknown"
    );
    assert_eq!(
        render(&parsed.items),
        "-A -t 10.0.0.1:80 -s wlc -p 300\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n-A -t 10.0.0.1:81 -s fo\n"
    );
    assert_eq!(parsed.items[1].scheduler, Scheduler::Other("fo".into()));
}

const TABLE: &str = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr persistent 10800 FFFFFFFF
  -> AC120003:192B      Masq    1      2          3
UDP  0A60000A:0035 rr ops persistent 60 FFFFFF00
TCP  [fd00:0010:0096:0000:0000:0000:0000:0001]:01BB sh persistent 60 40000000
  -> [fd00:0018:0000:0000:0000:0000:0000:0003]:192B      Local   1      0          0
FWM  10001000 wlc persistent 60 40000000
  -> [fd00:0018:0000:0000:0000:0000:0000:0003]:192B      Tunnel  1      0          0
";

#[test]
fn the_table_of_the_kernel_is_printed_as_it_was_read() {
    let parsed = parse_any(TABLE, "x");
    assert_eq!(told(&parsed), "");
    let printed: String =
        render_table(&parsed.items).lines().map(|line| [line.trim_end(), "\n"].concat()).collect();
    assert_eq!(printed, TABLE);
    expect![[r#"
        -A -t 10.96.0.1:443 -s rr -p 10800
        -a -t 10.96.0.1:443 -r 172.18.0.3:6443 -m -w 1
        -A -u 10.96.0.10:53 -s rr -p 60 -M 255.255.255.0 -o
        -A -t [fd00:10:96::1]:443 -s sh -p 60 -M 64
        -a -t [fd00:10:96::1]:443 -r [fd00:18::3]:6443 -g -w 1
        -A -f 268439552 -6 -s wlc -p 60 -M 64
        -a -f 268439552 -6 -r [fd00:18::3]:6443 -i -w 1
    "#]]
    .assert_eq(&render(&parsed.items));
}

#[test]
fn the_table_of_the_command_is_read_too() {
    let text = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.96.0.1:443 mh (mh-port) persistent 10800 mask 255.255.0.0 pe sip
  -> 172.18.0.3:6443              Masq    1      0          0
FWM  7 IPv6 rr
";
    let parsed = parse_any(text, "x");
    assert_eq!(told(&parsed), "");
    expect![[r#"
        -A -t 10.96.0.1:443 -s mh -p 10800 -M 255.255.0.0 --pe sip -b mh-port
        -a -t 10.96.0.1:443 -r 172.18.0.3:6443 -m -w 1
        -A -f 7 -6 -s rr
    "#]]
    .assert_eq(&render(&parsed.items));
}

#[test]
fn a_line_that_cannot_be_read_is_told_and_the_others_are_kept() {
    let text = "\
-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1
-A -t 10.0.0.1 -s rr
-A -t 10.0.0.1:99999 -s rr
-A -f 0 -s rr
-A -x 10.0.0.1:80
-A -t 10.0.0.3:80 -b shiny
-A -t 10.0.0.4:80 -M 255.0 -p 3
-a -t 10.0.0.1:0 -m
-a -t 10.0.0.1:0 -r 10.0.0.9:1 -w x
-a -t 10.0.0.1:0 -r 10.0.0.9:1 --shiny
-A -t 10.0.0.1:0
-E
";
    let parsed = parse(text, "x");
    expect![[r#"
        1:1 error unreadable: the virtual server of this line was not added before it
        3:7 error unreadable: '10.0.0.1:99999' is not ADDRESS:PORT
        4:7 error unreadable: '0' is not a mark, not 0
        5:4 error unreadable: '-x' is none of '-t', '-u', '--sctp-service', '-f'
        6:1 error unreadable: 'shiny' is not a flag of a scheduler
        7:22 error unreadable: '255.0' is not a mask
        8:1 error unreadable: the real server has no '-r'
        9:35 error unreadable: 'x' is not a weight
        10:32 note not-modelled: '--shiny' is not modelled
        11:1 error unreadable: this virtual server is added twice
        12:1 error unreadable: '-E' is neither '-A' nor '-a'"#]]
    .assert_eq(&told(&parsed));
    let text = "  -> 0A000001:0050 Masq 1 0 0\nTCP nonsense rr\n  -> x\nTCP 0A000001:0050\nFWM 0 rr\nTCP 0A000001:0050 rr what\n -> 0A000001:0050 Post 1 0 0\n -> 0A000001:0050 Masq 1 0\n";
    expect![[r#"
        1:3 error unreadable: a real server before any virtual one
        2:5 error unreadable: 'nonsense' is not ADDRESS:PORT
        4:1 error unreadable: the line ends before its scheduler
        5:5 error unreadable: '0' is not a mark, not 0
        6:22 note not-modelled: 'what' is not modelled
        7:19 error unreadable: 'Post' is not a way of forwarding
        8:2 error unreadable: the line ends before its inactive connections"#]]
    .assert_eq(&told(&parse_table(text, "x")));
}
