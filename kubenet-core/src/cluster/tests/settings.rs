use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use expect_test::{Expect, expect};

use super::{ip, net};
use crate::assume::Assume;
use crate::cluster::Settings;
use crate::cluster::layers::{self, Facts};

/// `assume` is JSON; the facts are addresses.
fn check(assume: &str, facts: Facts, expect: Expect) {
    let assume: Assume = serde_json::from_str(assume).unwrap();
    let s = layers::settings(Settings::default(), &facts, &assume);
    let nets =
        |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<String>>().join(", ");
    expect.assert_eq(&format!(
        "{} over {}, pods {} ({:?}), services {}, nodes {}, policy {}",
        s.cni.value,
        s.underlay.value,
        nets(&s.cluster_cidr.value),
        s.cluster_cidr.evidence,
        nets(&s.service_cidr.value),
        nets(&s.node_network.value),
        s.policy_enforced.value,
    ));
}

#[test]
fn nothing_said_is_a_kubeadm_cluster() {
    check(
        "{}",
        Facts::default(),
        expect![
            "bridge over host-gw, pods 10.244.0.0/16 (Assumed), services 10.96.0.0/12, nodes 172.18.0.0/16, policy false"
        ],
    );
}

#[test]
fn the_cni_brings_its_underlay_and_its_policy() {
    check(
        r#"{"cni": "flannel"}"#,
        Facts::default(),
        expect![
            "flannel over vxlan, pods 10.244.0.0/16 (Assumed), services 10.96.0.0/12, nodes 172.18.0.0/16, policy false"
        ],
    );
    check(
        r#"{"cni": "flannel", "underlay": "host-gw"}"#,
        Facts::default(),
        expect![
            "flannel over host-gw, pods 10.244.0.0/16 (Assumed), services 10.96.0.0/12, nodes 172.18.0.0/16, policy false"
        ],
    );
    check(
        r#"{"cni": "kindnet"}"#,
        Facts::default(),
        expect![
            "kindnet over host-gw, pods 10.244.0.0/16 (Assumed), services 10.96.0.0/12, nodes 172.18.0.0/16, policy true"
        ],
    );
    check(
        r#"{"cni": "calico", "policyEnforced": false}"#,
        Facts::default(),
        expect![
            "calico over host-gw, pods 10.244.0.0/16 (Assumed), services 10.96.0.0/12, nodes 172.18.0.0/16, policy false"
        ],
    );
}

#[test]
fn two_families_of_the_cluster_are_two_families_everywhere() {
    check(
        r#"{"clusterCidr": "fd00:10:244::/56,10.244.0.0/16"}"#,
        Facts::default(),
        expect![
            "bridge over host-gw, pods fd00:10:244::/56, 10.244.0.0/16 (Given), services fd00:10:96::/112, 10.96.0.0/12, nodes fd00:172:18::/64, 172.18.0.0/16, policy false"
        ],
    );
    check(
        r#"{"clusterCidr": "fd00:1::/56"}"#,
        Facts::default(),
        expect![
            "bridge over host-gw, pods fd00:1::/56 (Given), services fd00:10:96::/112, nodes fd00:172:18::/64, policy false"
        ],
    );
}

#[test]
fn assumed_ranges_hold_what_the_input_states() {
    let k3s = Facts {
        pod_cidrs: alloc::vec![net("10.42.0.0/24")],
        pod_addresses: alloc::vec![ip("10.42.0.7")],
        node_addresses: alloc::vec![ip("192.168.56.10")],
        cluster_ips: alloc::vec![ip("10.43.0.1"), ip("10.43.211.4")],
        nodes: 1,
    };
    check(
        "{}",
        k3s,
        expect![
            "bridge over host-gw, pods 10.42.0.0/16 (Assumed), services 10.43.0.0/16, nodes 192.168.0.0/16, policy false"
        ],
    );
    let openshift = Facts {
        pod_addresses: alloc::vec![ip("10.128.0.7"), ip("10.131.3.2")],
        node_addresses: alloc::vec![ip("10.0.129.220"), ip("10.0.187.218")],
        cluster_ips: alloc::vec![ip("172.30.0.1"), ip("172.30.211.4")],
        ..Facts::default()
    };
    check(
        "{}",
        openshift,
        expect![
            "bridge over host-gw, pods 10.128.0.0/14 (Assumed), services 172.30.0.0/16, nodes 10.0.128.0/18, policy false"
        ],
    );
    let dual =
        Facts { pod_cidrs: alloc::vec![net("fd01:2:3:4::/64"), net("10.244.3.0/24")], ..Facts::default() };
    check(
        "{}",
        dual,
        expect![
            "bridge over host-gw, pods fd01:2:3::/48, 10.244.0.0/16 (Assumed), services fd00:10:96::/112, 10.96.0.0/12, nodes fd00:172:18::/64, 172.18.0.0/16, policy false"
        ],
    );
}

#[test]
fn assumed_ranges_keep_out_of_the_way_of_what_is_said() {
    check(
        r#"{"clusterCidr": "10.96.0.0/14"}"#,
        Facts::default(),
        expect![
            "bridge over host-gw, pods 10.96.0.0/14 (Given), services 10.43.0.0/16, nodes 172.18.0.0/16, policy false"
        ],
    );
    check(
        r#"{"serviceCidr": "172.18.0.0/16"}"#,
        Facts::default(),
        expect![
            "bridge over host-gw, pods 10.244.0.0/16 (Assumed), services 172.18.0.0/16, nodes 192.168.0.0/16, policy false"
        ],
    );
}

#[test]
fn many_nodes_widen_the_assumed_pod_range() {
    check(
        "{}",
        Facts { nodes: 257, ..Facts::default() },
        expect![
            "bridge over host-gw, pods 10.128.0.0/9 (Assumed), services 10.96.0.0/12, nodes 172.18.0.0/16, policy false"
        ],
    );
    check(
        r#"{"nodeCidrMaskV4": 26}"#,
        Facts { nodes: 257, ..Facts::default() },
        expect![
            "bridge over host-gw, pods 10.244.0.0/16 (Assumed), services 10.96.0.0/12, nodes 172.18.0.0/16, policy false"
        ],
    );
}
