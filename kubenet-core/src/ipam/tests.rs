use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use core::ops::RangeInclusive;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::addr::Protocol;

fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Words: `next`, `occupy NET`, `release NET`.
fn check_cidr_set(cluster: &str, mask: u8, steps: &[&str], expect: Expect) {
    let mut set = CidrSet::new(net(cluster), mask).unwrap();
    let mut out = String::new();
    for step in steps {
        let answer = match step.split_once(' ') {
            None => set.allocate_next().map(|block| block.to_string()),
            Some(("occupy", n)) => set.occupy(net(n)).map(|()| String::from("ok")),
            Some((_, n)) => set.release(net(n)).map(|()| String::from("ok")),
        };
        out += &format!("{step}: {}\n", answer.unwrap_or_else(|e| e.to_string()));
    }
    out += &format!("held {} of {}\n", set.held(), set.count());
    expect.assert_eq(&out);
}

#[test]
fn a_released_block_waits_until_the_pointer_comes_round() {
    check_cidr_set(
        "10.244.0.0/22",
        24,
        &["next", "next", "release 10.244.0.0/24", "next", "next", "next", "next"],
        expect![[r#"
            next: 10.244.0.0/24
            next: 10.244.1.0/24
            release 10.244.0.0/24: ok
            next: 10.244.2.0/24
            next: 10.244.3.0/24
            next: 10.244.0.0/24
            next: pool 10.244.0.0/22 is full: all 4 of it are held
            held 4 of 4
        "#]],
    );
}

#[test]
fn an_occupied_prefix_takes_every_block_that_it_overlaps() {
    check_cidr_set(
        "10.96.0.0/12",
        16,
        &["occupy 10.96.0.0/14", "occupy 10.101.3.0/24", "occupy 10.0.0.0/8", "occupy 11.0.0.0/8", "next"],
        expect![[r#"
            occupy 10.96.0.0/14: ok
            occupy 10.101.3.0/24: ok
            occupy 10.0.0.0/8: ok
            occupy 11.0.0.0/8: 11.0.0.0/8 is outside of 10.96.0.0/12
            next: pool 10.96.0.0/12 is full: all 16 of it are held
            held 16 of 16
        "#]],
    );
}

#[test]
fn ipv6_blocks_are_counted_in_the_right_bits() {
    check_cidr_set(
        "fd00:10:244::/56",
        64,
        &["occupy fd00:10:244::/64", "next", "occupy 10.244.0.0/24"],
        expect![[r#"
            occupy fd00:10:244::/64: ok
            next: fd00:10:244:1::/64
            occupy 10.244.0.0/24: 10.244.0.0/24 is outside of fd00:10:244::/56
            held 2 of 256
        "#]],
    );
}

#[test]
fn masks_that_make_no_sense_are_refused() {
    let cut =
        |cluster, mask| CidrSet::new(net(cluster), mask).map(|set| set.count()).map_err(|e| e.to_string());
    assert_eq!(cut("10.0.0.0/8", 32), Ok(1 << 24));
    assert_eq!(cut("10.0.0.0/24", 24), Ok(1));
    assert_eq!(cut("0.0.0.0/0", 0), Ok(1));
    assert_eq!(CidrSet::new(net("::/0"), 0).unwrap().allocate_next(), Ok(net("::/0")));
    assert_eq!(cut("10.0.0.0/24", 16), Err("10.0.0.0/24 cannot be cut into blocks of /16".into()));
    assert_eq!(cut("10.0.0.0/24", 33), Err("10.0.0.0/24 cannot be cut into blocks of /33".into()));
    assert_eq!(cut("fd00::/48", 64), Ok(1 << 16));
    assert!(cut("fd00::/47", 64).unwrap_err().contains("at most 16 bits"));
}

/// Words: `add ID`, `ask ID ADDR`, `del ID`.
fn check_host_local(sets: &[&[&str]], steps: &[&str], expect: Expect) {
    let mut pods = HostLocal::new(
        sets.iter().map(|set| set.iter().map(|s| Range::new(net(s)).unwrap()).collect::<Vec<_>>()),
    );
    let mut out = String::new();
    for step in steps {
        let words: Vec<&str> = step.split(' ').collect();
        let answer = match words[..] {
            ["add", id] => pods.allocate(id, "eth0").map(|given| {
                let one = |g: &Allocated| format!("{} gw {}", g.addr, g.gateway);
                given.iter().map(one).collect::<Vec<_>>().join(", ")
            }),
            ["ask", id, addr] => pods.allocate_addr(id, "eth0", ip(addr)).map(|g| g.addr.to_string()),
            ["del", id] => Ok(format!("{:?}", pods.release(id, "eth0"))),
            _ => panic!("{step}"),
        };
        out += &format!("{step}: {}\n", answer.unwrap_or_else(|e| e.to_string()));
    }
    expect.assert_eq(&out);
}

#[test]
fn pod_addresses_go_round_before_one_is_used_again() {
    check_host_local(
        &[&["10.244.1.0/29"]],
        &["add a", "add b", "del a", "add c", "add d", "add e", "add f", "add g", "add b"],
        expect![[r#"
            add a: 10.244.1.2/29 gw 10.244.1.1
            add b: 10.244.1.3/29 gw 10.244.1.1
            del a: [10.244.1.2]
            add c: 10.244.1.4/29 gw 10.244.1.1
            add d: 10.244.1.5/29 gw 10.244.1.1
            add e: 10.244.1.6/29 gw 10.244.1.1
            add f: 10.244.1.2/29 gw 10.244.1.1
            add g: pool 10.244.1.0/29 is full: all 5 of it are held
            add b: b eth0 already has 10.244.1.3; release it first
        "#]],
    );
}

#[test]
fn dual_stack_pods_get_one_address_of_each_family_or_none() {
    check_host_local(
        &[&["fd00::/64"], &["10.0.0.0/30"]],
        &["add a", "add b", "del a", "add b", "del b"],
        expect![[r#"
            add a: fd00::2/64 gw fd00::1, 10.0.0.2/30 gw 10.0.0.1
            add b: pool 10.0.0.0/30 is full: all 1 of it are held
            del a: [fd00::2, 10.0.0.2]
            add b: fd00::4/64 gw fd00::1, 10.0.0.2/30 gw 10.0.0.1
            del b: [fd00::4, 10.0.0.2]
        "#]],
    );
}

#[test]
fn an_asked_for_address_is_refused_with_the_reason() {
    check_host_local(
        &[&["10.0.0.0/29", "10.0.1.0/29"]],
        &["ask a 10.0.0.4", "ask b 10.0.0.4", "ask b 10.0.0.1", "ask b 10.9.0.1", "ask a 10.0.0.5", "add c"],
        expect![[r#"
            ask a 10.0.0.4: 10.0.0.4/29
            ask b 10.0.0.4: 10.0.0.4 is already held by a eth0
            ask b 10.0.0.1: 10.0.0.1 is the gateway address of 10.0.0.0/29 and never given out
            ask b 10.9.0.1: 10.9.0.1/32 is outside of 10.0.1.0/29
            ask a 10.0.0.5: a eth0 already has 10.0.0.4; release it first
            add c: 10.0.0.5/29 gw 10.0.0.1
        "#]],
    );
}

#[test]
fn ranges_may_be_narrowed_but_never_to_reserved_addresses() {
    let between = |a, b| {
        let range = Range::new(net("10.0.0.0/24")).unwrap().between(ip(a), ip(b));
        range.map(|r| r.size()).map_err(|e| e.to_string())
    };
    assert_eq!(between("10.0.0.10", "10.0.0.19"), Ok(10));
    assert_eq!(between("10.0.0.1", "10.0.0.254"), Ok(253));
    assert!(between("10.0.0.0", "10.0.0.9").unwrap_err().contains("network address"));
    assert!(between("10.0.0.9", "10.0.0.255").unwrap_err().contains("broadcast address"));
    assert!(between("10.0.0.9", "10.0.0.8").unwrap_err().contains("ends before it starts"));
    assert!(between("10.0.1.9", "10.0.1.10").unwrap_err().contains("outside"));
    assert!(Range::new(net("10.0.0.0/31")).unwrap_err().to_string().contains("at most /30"));
}

#[test]
fn a_slash_24_yields_253_pods() {
    let mut pods = HostLocal::new([[Range::new(net("10.244.3.0/24")).unwrap()]]);
    let all: Vec<_> = (0..253).map(|i| pods.allocate(&format!("{i}"), "eth0").unwrap()).collect();
    assert_eq!(all.first().map(|g| g[0].addr), Some(net("10.244.3.2/24")));
    assert_eq!(all.last().map(|g| g[0].addr), Some(net("10.244.3.254/24")));
    assert!(pods.allocate("one more", "eth0").is_err());
}

#[test]
fn the_bands_are_those_of_the_api_server() {
    let bands = |cidrs: &[&str]| cidrs.iter().map(|c| cluster_ip_band(net(c))).collect::<Vec<_>>();
    assert_eq!(
        bands(&["10.0.0.0/28", "10.0.0.0/27", "10.0.0.0/24", "10.0.0.0/22", "10.0.0.0/20", "10.0.0.0/8"]),
        [0, 16, 16, 64, 256, 256]
    );
    assert_eq!(bands(&["2001:db8::/124", "2001:db8::/118", "2001:db8::/64"]), [0, 64, 256]);
    assert_eq!([10, 16, 128, 2048, 2768, 4096, 8192].map(node_port_band), [0, 0, 16, 64, 86, 128, 128]);
}

#[test]
fn services_take_the_dynamic_band_first_and_the_static_one_last() {
    let mut ips = ClusterIps::new(net("10.96.0.0/27")).unwrap();
    assert_eq!((ips.first(), ips.size()), (ip("10.96.0.1"), 30));
    let order: Vec<String> = (0..30).map(|_| ips.allocate_next(3).unwrap().to_string()).collect();
    assert_eq!(order[0], "10.96.0.20");
    assert_eq!(order[10], "10.96.0.30");
    assert_eq!(order[11], "10.96.0.17");
    assert_eq!(order[13], "10.96.0.19");
    assert_eq!(order[14], "10.96.0.4", "3 modulo the static band's 16");
    assert_eq!(
        ips.allocate_next(3).unwrap_err().to_string(),
        "pool 10.96.0.0/27 is full: all 30 of it are held"
    );
    assert_eq!(ips.allocate(ip("10.96.0.5")), Err(IpamError::Taken { addr: ip("10.96.0.5") }));
    assert!(ips.release(ip("10.96.0.5")) && ips.allocate(ip("10.96.0.5")).is_ok());
}

#[test]
fn addresses_that_no_service_can_have_are_refused() {
    let mut ips = ClusterIps::new(net("10.96.0.0/24")).unwrap();
    let mut say = |addr: &str| ips.allocate(ip(addr)).map_err(|e| e.to_string()).unwrap_err();
    assert!(say("10.96.0.0").contains("network address"));
    assert!(say("10.96.0.255").contains("broadcast address"));
    assert!(say("10.97.0.1").contains("outside of 10.96.0.0/24"));
    let mut six = ClusterIps::new(net("fd00::/112")).unwrap();
    assert!(six.allocate(ip("fd00::ffff")).is_ok(), "the last IPv6 address is usable");
    assert!(six.allocate(ip("fd00::")).is_err());
    assert!(matches!(ClusterIps::new(net("10.0.0.0/30")), Err(IpamError::TooSmall { longest: 29, .. })));
    assert!(matches!(ClusterIps::new(net("fd00::/48")), Err(IpamError::TooLarge { .. })));
    assert_eq!(ClusterIps::new(net("fd00::/64")).unwrap().size(), i64::MAX as u64 - 1);
}

#[test]
fn node_ports_of_one_service_are_shared_between_protocols() {
    let wish = |protocol, port, node_port| NodePortWish { protocol, port, node_port };
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    let mut ports = NodePorts::default();
    let dns = [wish(udp, 53, None), wish(tcp, 53, None), wish(tcp, 9153, None)];
    assert_eq!(ports.allocate_service(&dns, 0), Ok(alloc::vec![30086, 30086, 30087]));
    let asked = [wish(udp, 53, None), wish(tcp, 53, Some(30053))];
    assert_eq!(ports.allocate_service(&asked, 0), Ok(alloc::vec![30053, 30053]));
    let clash = [wish(tcp, 80, Some(30080)), wish(tcp, 81, Some(30053))];
    assert_eq!(ports.allocate_service(&clash, 0), Err(IpamError::PortTaken { port: 30053 }));
    assert!(!ports.is_held(30080), "all or none");
    let outside = [wish(tcp, 80, Some(8080))];
    assert!(ports.allocate_service(&outside, 0).unwrap_err().to_string().contains("outside of 30000-32767"));
}

#[test]
fn the_node_port_range_is_given_out_completely_and_once() {
    let mut ports = NodePorts::default();
    let given: BTreeSet<u16> = (0..2768).map(|i| ports.allocate_next(i * 7919).unwrap()).collect();
    assert_eq!(given.len(), 2768);
    assert_eq!(ports.allocate_next(0), Err(IpamError::PortsExhausted { first: 30000, last: 32767 }));
    assert!(NodePorts::new(RangeInclusive::new(5, 4)).allocate_next(0).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u128),
    InsertRange(u128, u128),
    Remove(u128),
    Next(u128, u128),
}

fn steps(max: u128) -> impl Strategy<Value = Vec<Step>> {
    let one = 0..max;
    let step = prop_oneof![
        4 => one.clone().prop_map(Step::Insert),
        2 => (one.clone(), 0..3 * 4096u128).prop_map(move |(a, n)| Step::InsertRange(a, (a + n).min(max - 1))),
        4 => one.clone().prop_map(Step::Remove),
        4 => (one.clone(), one).prop_map(|(a, b)| Step::Next(a, b)),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn held_behaves_as_a_plain_set(steps in steps(5 * 4096)) {
        let (mut held, mut plain) = (Held::new(), BTreeSet::new());
        for step in steps {
            match step {
                Step::Insert(n) => prop_assert_eq!(held.insert(n), plain.insert(n)),
                Step::InsertRange(a, b) => {
                    held.insert_range(a, b);
                    plain.extend(a..=b);
                }
                Step::Remove(n) => prop_assert_eq!(held.remove(n), plain.remove(&n)),
                Step::Next(a, b) => {
                    prop_assert_eq!(held.next_free(a, b), (a..=b).find(|n| !plain.contains(n)));
                }
            }
            prop_assert_eq!(held.len(), plain.len() as u128);
        }
        for n in 0..5 * 4096 {
            prop_assert_eq!(held.contains(n), plain.contains(&n));
        }
    }

    #[test]
    fn no_node_gets_a_block_that_another_has(mask in 20u8..=28, service in any::<u16>(), releases in proptest::collection::vec(any::<u16>(), 0..20)) {
        let mut set = CidrSet::new(net("10.244.0.0/18"), mask).unwrap();
        let service = IpNet::new(IpAddr::from([10, 244, service as u8 & 0x3f, 0]), 22).unwrap().trunc();
        set.occupy(service).unwrap();
        let mut held: BTreeSet<IpNet> = BTreeSet::new();
        let mut releases = releases.into_iter();
        loop {
            match set.allocate_next() {
                Ok(block) => {
                    prop_assert!(!service.contains(&block) && !block.contains(&service));
                    prop_assert!(held.insert(block), "{} twice", block);
                }
                Err(error) => {
                    let blocks = set.count();
                    prop_assert_eq!(error, IpamError::Exhausted { pool: net("10.244.0.0/18"), size: blocks.into() });
                    prop_assert_eq!(set.held(), blocks);
                    let Some(which) = releases.next() else { break };
                    let Some(&block) = held.iter().nth(usize::from(which) % held.len().max(1)) else { break };
                    held.remove(&block);
                    set.release(block).unwrap();
                }
            }
        }
    }

    #[test]
    fn no_address_is_given_twice(steps in proptest::collection::vec((any::<bool>(), 0u8..40), 1..200)) {
        let subnets = ["10.0.0.0/28", "10.0.1.0/29"].map(|s| Range::new(net(s)).unwrap());
        let mut pods = HostLocal::new([subnets.to_vec(), [Range::new(net("fd00::/64")).unwrap()].to_vec()]);
        let mut given: BTreeMap<IpAddr, u8> = BTreeMap::new();
        for (add, id) in steps {
            let name = format!("pod-{id}");
            if add {
                match pods.allocate(&name, "eth0") {
                    Ok(addrs) => for one in addrs {
                        prop_assert!(one.addr.addr() != one.gateway && one.addr.addr() != one.addr.network());
                        prop_assert_eq!(given.insert(one.addr.addr(), id), None);
                    },
                    Err(IpamError::Again { .. }) => prop_assert!(given.values().any(|holder| *holder == id)),
                    Err(error) => {
                        prop_assert!(matches!(error, IpamError::Exhausted { size: 18, .. }), "{}", error);
                        prop_assert_eq!(given.len(), 2 * 18);
                    }
                }
            } else {
                let back = pods.release(&name, "eth0");
                prop_assert_eq!(back.len(), given.values().filter(|holder| **holder == id).count());
                given.retain(|_, holder| *holder != id);
            }
            prop_assert_eq!(pods.held(), given.len());
        }
    }

    #[test]
    fn service_addresses_are_unique_and_a_function_of_the_seed(seeds in proptest::collection::vec(any::<u64>(), 1..300)) {
        let run = || {
            let mut ips = ClusterIps::new(net("10.96.0.0/24")).unwrap();
            seeds.iter().map(|seed| ips.allocate_next(*seed)).collect::<Vec<_>>()
        };
        let given = run();
        prop_assert_eq!(&given, &run());
        let unique: BTreeSet<_> = given.iter().flatten().collect();
        prop_assert_eq!(unique.len(), seeds.len().min(254));
        prop_assert_eq!(given.iter().filter(|g| g.is_err()).count(), seeds.len().saturating_sub(254));
    }
}
