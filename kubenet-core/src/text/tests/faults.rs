use alloc::string::String;

use expect_test::expect;

use super::told;
use crate::addr::Family;
use crate::text::{bridge_fdb, ip_link, ip_neigh, ip_route, ip_rule, nmstate, ss};

#[test]
fn a_line_that_cannot_be_read_is_told_and_the_others_are_kept() {
    let text = "\u{feff}default via 10.0.0.1 dev eth0\r
10.0.0.0/33 dev eth0
10.0.0.1/24 dev eth0
10.1.0.0/16 via fe80::1 dev eth0
10.2.0.0/16 via
10.3.0.0/16
 ünïcode/8 dev eth0
10.4.0.0/16 metric 99999999999 dev eth0
\tnexthop via 10.0.0.1
# a comment alone
10.5.0.0/16 dev eth0 shiny
10.6.0.0/16 dev eth0 shiny
10.7.0.0/16 via 10.0.0.1
";
    let parsed = ip_route::parse(text, "x");
    expect![[r#"
        2:1 error unreadable: '10.0.0.0/33' is not a prefix, an address or 'default'
        3:1 error unreadable: 10.0.0.1/24 has bits set behind its prefix length (EINVAL)
        4:17 error unreadable: this is IPv6, the route is IPv4
        5:13 error unreadable: nothing follows 'via'
        6:1 error unreadable: 10.3.0.0/16 leads nowhere: neither 'via' nor 'dev'
        7:2 error unreadable: 'ünïcode/8' is not a prefix, an address or 'default'
        8:20 error unreadable: '99999999999' is not a metric
        11:22 note not-modelled: 'shiny' is kept but not modelled (and 1 more)
        13:1 warning not-modelled: no link is said for 10.0.0.1: nothing leaves by it"#]]
    .assert_eq(&told(&parsed));
    let kept: alloc::vec::Vec<String> = parsed.items.iter().map(|r| alloc::format!("{}", r.dst)).collect();
    assert_eq!(kept, ["0.0.0.0/0", "10.5.0.0/16", "10.6.0.0/16", "10.7.0.0/16"]);
    let place = parsed.items[1].origin.location().expect("a place").clone();
    assert_eq!(text.get(place.start..place.end), Some("10.5.0.0/16 dev eth0 shiny"));
}

#[test]
fn json_that_is_cut_or_of_other_shape_is_told() {
    for (text, says) in [
        ("[{\"dst\":\"default\"", "1:17 error unreadable: EOF while parsing an object at line 1 column 17"),
        (
            "{\"dst\":\"default\"}",
            "1:1 error unreadable: invalid type: map, expected a sequence at line 1 column 0",
        ),
        ("[1]", "1:2 error unreadable: this element is not an object"),
        ("[{},\n {\"dst\":\"x\"}]", "2:2 error unreadable: 'x' is not a prefix, an address or 'default'"),
        ("", ""),
        (" \n", ""),
    ] {
        assert_eq!(told(&ip_route::parse_json(text, "x")), says, "{text}");
    }
}

#[test]
fn words_of_a_json_string_stay_one_word() {
    let parsed = ip_route::parse_json(r#"[{"dst":"default via 10.0.0.1","dev":"eth0"}]"#, "x");
    assert!(parsed.items.is_empty() && parsed.has_errors());
}

#[test]
fn every_parser_says_what_is_wrong_with_nonsense() {
    let text = "what is this: nothing";
    let all = [
        told(&ip_route::parse(text, "x")),
        told(&ip_rule::parse(text, "x", Family::V4)),
        told(&ip_link::parse(text, "x")),
        told(&ip_neigh::parse(text, "x")),
        told(&bridge_fdb::parse(text, "x")),
        told(&ss::parse(text, "x")),
        alloc::format!("{}", nmstate::parse(text, "x").diagnostics[0]),
    ];
    expect![[r#"
        1:1 error unreadable: 'what' is not a prefix, an address or 'default'
        1:1 error unreadable: 'what' is not a priority such as '100:'
        1:1 error unreadable: 'what' is not an ifindex such as '2:'
        1:1 error unreadable: 'what' is not an IP address
        1:1 error unreadable: 'what' is not a MAC address
        1:1 error unreadable: 'what' is not the state of a socket
        x:1:1: error[unreadable]: expected value at line 1 column 1"#]]
    .assert_eq(&all.join("\n"));
}
