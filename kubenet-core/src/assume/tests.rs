use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::plan::RouteKind;

fn check_faults(lines: &[&str], expect: Expect) {
    let mut out = String::new();
    for line in lines {
        match line.parse::<Fault>() {
            Ok(fault) => out += &format!("{fault}\n"),
            Err(error) => out += &format!("{error}\n"),
        }
    }
    expect.assert_eq(&out);
}

#[test]
fn faults_read_as_they_are_written() {
    check_faults(
        &[
            "link-down node-1 dev eth0",
            "route-removed gateway 10.244.1.0/24",
            "route-removed node-1 default",
            "route-replaced node-1 10.244.1.7/24 via 172.18.0.9 dev eth0",
            "route-replaced node-1 default via fd00::1",
            "route-replaced node-1 10.0.0.7 dev cni0",
            "route-replaced shop/cart-0 blackhole 10.244.1.0/24",
            "  neighbour-silent   shop/cart-0 dev eth0 ",
            "mtu node-1 dev eth0 1400",
            "ip-forward-off node-1",
            "duplicate-address node-2 dev eth0 172.18.0.2/16",
        ],
        expect![[r#"
            link-down node-1 dev eth0
            route-removed gateway 10.244.1.0/24
            route-removed node-1 0.0.0.0/0
            route-replaced node-1 10.244.1.0/24 via 172.18.0.9 dev eth0
            route-replaced node-1 ::/0 via fd00::1
            route-replaced node-1 10.0.0.7/32 dev cni0
            route-replaced shop/cart-0 blackhole 10.244.1.0/24
            neighbour-silent shop/cart-0 dev eth0
            mtu node-1 dev eth0 1400
            ip-forward-off node-1
            duplicate-address node-2 dev eth0 172.18.0.2/16
        "#]],
    );
}

#[test]
fn a_wrong_fault_says_where_and_what_was_expected() {
    check_faults(
        &[
            "",
            "link-dwn node-1 dev eth0",
            "link-down",
            "link-down shop/ dev eth0",
            "link-down node-1 eth0",
            "link-down node-1 dev",
            "link-down node-1 dev eth0 now",
            "route-removed node-1 10.244.1.0/33",
            "route-replaced node-1 10.244.1.0/24",
            "route-replaced node-1 10.244.1.0/24 via dev eth0",
            "mtu node-1 dev eth0 big",
            "duplicate-address node-2 dev eth0 172.18.0.2",
            "ip-forward-off ünïcode ünïcode",
        ],
        expect![[r#"
            fault '': expected link-down, route-removed, route-replaced, neighbour-silent, mtu, ip-forward-off or duplicate-address at character 1, found the end
            fault 'link-dwn node-1 dev eth0': expected link-down, route-removed, route-replaced, neighbour-silent, mtu, ip-forward-off or duplicate-address at character 1, found 'link-dwn'
            fault 'link-down': expected a node, 'gateway' or a pod as NAMESPACE/NAME at character 10, found the end
            fault 'link-down shop/ dev eth0': expected a node, 'gateway' or a pod as NAMESPACE/NAME at character 11, found 'shop/'
            fault 'link-down node-1 eth0': expected 'dev' at character 18, found 'eth0'
            fault 'link-down node-1 dev': expected a link at character 21, found the end
            fault 'link-down node-1 dev eth0 now': expected nothing more at character 27, found 'now'
            fault 'route-removed node-1 10.244.1.0/33': expected a prefix, an address or 'default' at character 22, found '10.244.1.0/33'
            fault 'route-replaced node-1 10.244.1.0/24': expected 'via ADDR' or 'dev LINK' at character 36, found the end
            fault 'route-replaced node-1 10.244.1.0/24 via dev eth0': expected a router's address at character 41, found 'dev'
            fault 'mtu node-1 dev eth0 big': expected an MTU in bytes at character 21, found 'big'
            fault 'duplicate-address node-2 dev eth0 172.18.0.2': expected an address with its prefix length at character 35, found '172.18.0.2'
            fault 'ip-forward-off ünïcode ünïcode': expected nothing more at character 24, found 'ünïcode'
        "#]],
    );
}

#[test]
fn ports_of_pods_read_as_they_are_written() {
    let read = |text: &str| text.parse::<PortRef>().map(|port| port.to_string()).map_err(|e| e.to_string());
    for text in ["web:80", "shop/cart-0:7070", "kube-system/coredns-x:53/udp", "a:1/sctp"] {
        assert_eq!(read(text), Ok(text.into()));
    }
    assert_eq!(read("web:80/tcp"), Ok("web:80".into()));
    for text in
        ["", "web", "web:", ":80", "web:0", "web:65536", "/web:80", "a/b/c:80", "web:80/icmp", "web:80/"]
    {
        assert!(read(text).unwrap_err().contains("does not name a port"), "{text}");
    }
}

#[test]
fn every_field_is_optional_and_unknown_ones_are_refused() {
    let nothing: Assume = serde_json::from_str("{}").unwrap();
    assert_eq!(nothing, Assume::default());
    assert_eq!(serde_json::to_string(&nothing).unwrap(), "{}");
    let error = serde_json::from_str::<Assume>(r#"{"clusterCIDR": "10.0.0.0/8"}"#).unwrap_err().to_string();
    assert!(error.starts_with("unknown field `clusterCIDR`, expected one of `cni`"), "{error}");
}

fn example() -> Assume {
    serde_json::from_str(
        r#"{
          "cni": "calico", "underlay": "routed", "clusterCidr": "10.244.0.0/16,fd00:10:244::/56",
          "serviceCidr": ["10.96.0.0/12"], "nodeNetwork": ["172.18.0.0/16"], "nodeCidrMaskV4": 24,
          "nodeCidrMaskV6": 64, "mtu": 1450, "proxyMode": "nftables", "proxyVersion": 1.36, "policyEnforced": true,
          "detectLocalMode": "BridgeInterface=cni0", "masqueradeAll": true, "nodePortAddresses": "primary",
          "localhostNodePorts": false, "ipvsScheduler": "lc",
          "sysctls": {"net.ipv4.ip_forward": 0}, "resolver": "musl", "nodes": 3, "place": {"deploy/web": "node-2"},
          "listeners": ["web-0:9090"], "closed": ["shop/db-0:5432"], "faults": ["ip-forward-off node-1"]
        }"#,
    )
    .unwrap()
}

#[test]
fn json_goes_round_and_the_keys_are_complete() {
    let assume = example();
    let json = serde_json::to_value(&assume).unwrap();
    assert_eq!(serde_json::from_value::<Assume>(json.clone()).unwrap(), assume);
    let keys: vec::Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let mut sorted = KEYS;
    sorted.sort_unstable();
    assert_eq!(keys, sorted);
    assert_eq!(assume.cni, Some(Cni::Other("calico".into())));
    assert_eq!(assume.cluster_cidr.as_ref().map(vec::Vec::len), Some(2));
}

#[test]
fn the_file_form_checks_version_and_kind() {
    let read =
        |text: &str| serde_json::from_str::<Assumptions>(text).map(|f| f.spec).map_err(|e| e.to_string());
    let file = r#"{"apiVersion": "kubenet/v1", "kind": "Assumptions", "metadata": {"name": "x"}, "spec": {"nodes": 3}}"#;
    assert_eq!(read(file).unwrap().nodes, Some(3));
    assert!(read(&file.replace("v1", "v2")).unwrap_err().contains("unknown variant `kubenet/v2`"));
    assert!(read(&file.replace("nodes", "node")).unwrap_err().contains("unknown field `node`"));
    let written = serde_json::to_string(&Assumptions::from(example())).unwrap();
    assert_eq!(read(&written).unwrap(), example());
}

#[test]
fn values_that_cannot_be_are_refused_with_the_reason() {
    let mut assume = Assume::default();
    let mut say = |key: &str, value: &str| assume.set(key, value).unwrap_err().to_string();
    expect![[r#"
        clusterCidr: '10.0.0.0' is not a prefix, such as 10.244.0.0/16
        clusterCidr: has two IPv4 prefixes (10.0.0.0/8 and 11.0.0.0/8); one per family is the most
        proxyVersion: kube-proxy '1.20' is not modelled yet; only 1.36 is
        proxyVersion: kube-proxy '1.360' is not modelled yet; only 1.36 is
        underlay: 'ipip': 'ipip' is not an underlay; use host-gw, vxlan or routed
        sysctls: 'net.ipv4.ip_forward' is not of the form NAME=VALUE
        mtu: '-1': invalid digit found in string
        'mtus' is not a setting; use one of cni, underlay, clusterCidr, serviceCidr, nodeNetwork, nodeCidrMaskV4, nodeCidrMaskV6, mtu, proxyMode, proxyVersion, detectLocalMode, masqueradeAll, nodePortAddresses, localhostNodePorts, ipvsScheduler, policyEnforced, sysctls, resolver, nodes, place, listeners, closed, faults"#]]
    .assert_eq(
        &[
            say("clusterCidr", "10.0.0.0"),
            say("clusterCidr", "10.0.0.0/8,11.0.0.0/8"),
            say("proxyVersion", "1.20"),
            say("proxyVersion", "1.360"),
            say("underlay", "ipip"),
            say("sysctls", "net.ipv4.ip_forward"),
            say("mtu", "-1"),
            say("mtus", "1"),
        ]
        .join("\n"),
    );
    assert_eq!(assume, Assume::default(), "a refused value changes nothing");
    assert!(assume.set("proxyVersion", "v1.36.2").is_ok());
    assert_eq!(assume.proxy_version.as_deref(), Some("1.36"));
}

#[test]
fn set_says_the_same_as_json() {
    let mut assume = Assume::default();
    for (key, value) in [
        ("cni", "calico"),
        ("underlay", "routed"),
        ("clusterCidr", "10.244.0.0/16, fd00:10:244::/56"),
        ("serviceCidr", "10.96.0.0/12"),
        ("nodeNetwork", "172.18.0.0/16"),
        ("nodeCidrMaskV4", "24"),
        ("nodeCidrMaskV6", "64"),
        ("mtu", "1450"),
        ("proxyMode", "nftables"),
        ("proxyVersion", "1.36"),
        ("detectLocalMode", "BridgeInterface=cni0"),
        ("masqueradeAll", "true"),
        ("nodePortAddresses", "primary"),
        ("localhostNodePorts", "false"),
        ("ipvsScheduler", "lc"),
        ("policyEnforced", "true"),
        ("sysctls", "net.ipv4.ip_forward=0"),
        ("resolver", "musl"),
        ("nodes", "3"),
        ("place", "deploy/web=node-2"),
        ("listeners", "web-0:9090"),
        ("closed", "shop/db-0:5432"),
        ("faults", "ip-forward-off node-1"),
    ] {
        assume.set(key, value).unwrap();
    }
    assert_eq!(assume, example());
}

#[test]
fn the_upper_layer_wins_maps_join_and_lists_grow() {
    let upper: Assume = serde_json::from_str(
        r#"{"cni": "flannel", "sysctls": {"a": 1}, "closed": ["web:1", "shop/db-0:5432"], "nodes": 5}"#,
    )
    .unwrap();
    let both = upper.clone().over(example());
    assert_eq!((both.cni, both.nodes, both.mtu), (Some(Cni::Flannel), Some(5), Some(1450)));
    assert_eq!(both.sysctls.len(), 2);
    assert_eq!(
        both.closed.iter().map(ToString::to_string).collect::<vec::Vec<_>>(),
        ["shop/db-0:5432", "web:1"]
    );
    assert_eq!(upper.clone().over(Assume::default()), upper);
    assert_eq!(Assume::default().over(upper.clone()), upper);
}

fn word() -> impl Strategy<Value = Arc<str>> {
    "[a-z][a-z0-9.-]{0,8}".prop_filter("a word of the grammar", |w| w != "gateway").prop_map(Arc::from)
}

fn place() -> impl Strategy<Value = Where> {
    prop_oneof![
        Just(Where::Gateway),
        word().prop_map(Where::Node),
        (word(), word()).prop_map(|(namespace, name)| Where::Pod { namespace, name }),
    ]
}

fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0u8..=32).prop_map(|(a, l)| IpNet::new(core::net::Ipv4Addr::from(a).into(), l));
    let v6 = (any::<u128>(), 0u8..=128).prop_map(|(a, l)| IpNet::new(core::net::Ipv6Addr::from(a).into(), l));
    prop_oneof![v4, v6].prop_map(|net| net.unwrap())
}

fn fault() -> impl Strategy<Value = Fault> {
    let link = || (place(), word());
    let kind = prop_oneof![
        Just(RouteKind::Blackhole),
        Just(RouteKind::Unreachable),
        Just(RouteKind::Prohibit),
        Just(RouteKind::Unicast)
    ];
    prop_oneof![
        link().prop_map(|(at, dev)| Fault::LinkDown { at, dev }),
        link().prop_map(|(at, dev)| Fault::NeighbourSilent { at, dev }),
        (place(), prefix()).prop_map(|(at, dst)| Fault::RouteRemoved { at, dst: dst.trunc() }),
        (link(), any::<u32>()).prop_map(|((at, dev), bytes)| Fault::Mtu { at, dev, bytes }),
        place().prop_map(|at| Fault::IpForwardOff { at }),
        (link(), prefix()).prop_map(|((at, dev), addr)| Fault::DuplicateAddress { at, dev, addr }),
        (place(), prefix(), kind, proptest::option::of(prefix()), word()).prop_map(
            |(at, dst, kind, via, dev)| {
                let unicast = kind == RouteKind::Unicast;
                let via = via.filter(|_| unicast).map(|net| net.addr());
                Fault::RouteReplaced { at, dst: dst.trunc(), kind, via, dev: unicast.then_some(dev) }
            }
        ),
    ]
}

proptest! {
    #[test]
    fn a_printed_fault_reads_back(fault in fault()) {
        prop_assert_eq!(fault.to_string().parse(), Ok(fault));
    }

    #[test]
    fn no_text_is_too_strange_to_be_refused(text in "\\PC*", line in "(link-down|mtu|route-replaced|) ?\\PC{0,20}") {
        for text in [text, line] {
            if let Err(error) = text.parse::<Fault>() {
                prop_assert!(error.offset <= text.chars().count());
            }
            let _ = text.parse::<PortRef>();
            let mut assume = Assume::default();
            for key in KEYS {
                let _ = assume.set(key, &text);
            }
        }
    }
}
