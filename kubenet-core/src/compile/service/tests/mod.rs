mod cost;
mod iptables;
mod ipvs;
mod nftables;
mod others;
mod rules;
mod shop;
mod userspace;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Value, json};

use super::{NodePortAddresses, ProxyConfig, ServicePort, ports_of_objects, service_ports};
use crate::addr::Family;
use crate::k8s::Objects;

pub(super) fn objects(list: &[Value]) -> Objects {
    let mut objects = Objects::default();
    list.iter().for_each(|object| objects.put_json(object).expect("a good object"));
    objects
}

fn records(service: Value, family: Family) -> Vec<ServicePort> {
    let objects = objects(&[service]);
    let (_, service) = objects.services.first_key_value().expect("a Service");
    service_ports(service, None, family)
}

fn text<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn balancer() -> Value {
    json!({
        "kind": "Service",
        "metadata": {"namespace": "shop", "name": "cart"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "172.30.0.041",
            "externalIPs": ["192.168.99.022", "fd00:99::22", "nonsense"],
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30100,
            "sessionAffinity": "ClientIP",
            "loadBalancerSourceRanges": [" 010.0.0.1/08", "fd00::/8"],
            "ports": [
                {"name": "web", "port": 80, "nodePort": 30080},
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "odd", "port": 1, "protocol": "QUIC"},
            ],
        },
        "status": {"loadBalancer": {"ingress": [
            {"ip": "1.2.3.004"}, {"ip": "5.6.7.8", "ipMode": "Proxy"}, {"hostname": "lb.example.org"},
        ]}},
    })
}

#[test]
fn addresses_are_read_with_decimal_zeros_and_by_family() {
    let ports = records(balancer(), Family::V4);
    assert_eq!(text(&ports), ["shop/cart:dns", "shop/cart:web"]);
    let web = &ports[1];
    assert_eq!(web.cluster_ip.to_string(), "172.30.0.41");
    assert_eq!(text(&web.external_ips), ["192.168.99.22"]);
    assert_eq!(text(&web.vips), ["1.2.3.4"], "a proxy's address is not caught");
    assert_eq!(text(&web.source_ranges), ["10.0.0.0/8"]);
    assert_eq!((web.node_port, web.health_check_node_port), (Some(30080), Some(30100)));
    assert_eq!((web.affinity_secs, web.external_local, web.internal_local), (Some(10_800), true, false));
    assert_eq!(ports[0].node_port, None);
    assert_eq!(web.origin.to_string(), "Service shop/cart spec.ports[0]");
    assert!(records(balancer(), Family::V6).is_empty(), "it has no address of the family");
}

#[test]
fn services_without_virtual_address_or_of_another_proxy_have_no_ports() {
    let with = |path: &str, value: Value| {
        let mut service = balancer();
        *service.pointer_mut(path).expect("a field") = value;
        records(service, Family::V4).len()
    };
    assert_eq!(with("/spec/clusterIP", json!("None")), 0);
    assert_eq!(with("/spec/clusterIP", json!("")), 0);
    assert_eq!(with("/spec/type", json!("ExternalName")), 0);
    let labels = json!({"namespace": "shop", "name": "cart", "labels": {"service.kubernetes.io/service-proxy-name": ""}});
    assert_eq!(with("/metadata", labels), 0);
    assert_eq!(with("/spec/type", json!("NodePort")), 2);
}

#[test]
fn a_range_of_everything_takes_the_firewall_away() {
    let mut service = balancer();
    service["spec"]["loadBalancerSourceRanges"] = json!(["10.0.0.0/8", "0.0.0.0/0"]);
    assert!(records(service, Family::V4)[0].source_ranges.is_empty());
}

#[test]
fn policy_local_counts_only_where_the_service_can_be_reached_from_outside() {
    let cluster_ip = |external_ips: Value| {
        json!({
            "kind": "Service", "metadata": {"name": "a"},
            "spec": {
                "clusterIP": "172.30.0.1", "externalTrafficPolicy": "Local", "externalIPs": external_ips,
                "healthCheckNodePort": 30100, "ports": [{"port": 80}],
            },
        })
    };
    assert!(!records(cluster_ip(json!([])), Family::V4)[0].external_local);
    let reachable = &records(cluster_ip(json!(["192.0.2.1"])), Family::V4)[0];
    assert!(reachable.external_local && reachable.health_check_node_port.is_none());
    assert_eq!(reachable.to_string(), "default/a");
}

#[test]
fn endpoints_are_in_the_order_of_their_texts_and_the_later_of_two_counts_unless_it_ends() {
    let slice = |name: &str, endpoints: Value, headless: bool| {
        let mut slice = json!({
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "a"}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "", "port": 8080}, {"name": "other", "port": 1}, {"name": ""}],
        });
        if headless {
            slice["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
        }
        slice
    };
    let list = [
        json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"clusterIP": "172.30.0.1", "ports": [{"port": 80}]}}),
        slice(
            "a-1",
            json!([{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.10", "10.0.0.11"], "nodeName": "n"}]),
            false,
        ),
        slice(
            "a-2",
            json!([
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "terminating": true}},
                {"addresses": ["10.0.0.10"], "conditions": {"ready": false}},
            ]),
            false,
        ),
        slice("a-3", json!([{"addresses": ["10.0.0.9"]}]), true),
    ];
    let ports = ports_of_objects(&objects(&list), &ProxyConfig::new(Family::V4, "n"));
    assert_eq!(text(&ports[0].endpoints), ["10.0.0.10:8080", "10.0.0.2:8080"]);
    let ready: Vec<_> = ports[0].endpoints.iter().map(|e| (e.ready, e.local)).collect();
    assert_eq!(ready, [(false, false), (true, false)]);
    assert_eq!(ports[0].selected.cluster, Some([1].into()));
}

#[test]
fn node_ports_answer_at_the_addresses_that_the_setting_names() {
    let mut config = ProxyConfig::new(Family::V4, "n");
    config.node_ip = "192.168.0.2".parse().ok();
    config.local_addresses =
        ["127.0.0.1", "192.168.0.2", "10.9.0.1"].map(|a| a.parse().expect("an address")).into();
    let mut with = |addresses: NodePortAddresses| {
        config.node_port_addresses = addresses;
        (
            config.matches_all_addresses(),
            text(&config.node_port_ips()),
            config.effective_localhost_node_ports(),
        )
    };
    let nets =
        |nets: &[&str]| NodePortAddresses::In(nets.iter().map(|net| net.parse().expect("a range")).collect());
    let all: Vec<String> = ["127.0.0.1", "192.168.0.2", "10.9.0.1"].map(Into::into).into();
    assert_eq!(with(NodePortAddresses::All), (true, all, true));
    assert_eq!(with(NodePortAddresses::Primary), (false, ["192.168.0.2".into()].into(), false));
    assert_eq!(with(nets(&["10.0.0.0/8"])), (false, ["10.9.0.1".into()].into(), false));
    let loopback = ["127.0.0.1".into(), "10.9.0.1".into()].into();
    assert_eq!(with(nets(&["127.0.0.0/8", "10.0.0.0/8"])), (false, loopback, true));
    assert!(with(nets(&["10.0.0.0/8", "0.0.0.0/0"])).0);
    assert!(with(nets(&["fd00::/8"])).0, "nothing is said of the family");
}
