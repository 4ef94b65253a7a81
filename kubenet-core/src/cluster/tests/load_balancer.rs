//! Addresses of load balancers.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde_json::{Value, json};

use crate::assume::Assume;
use crate::cluster::{Announcement, Cluster, IpMode, resolve};
use crate::k8s::Objects;

fn service(name: &str, spec: Value, status: Value) -> Value {
    let mut spec = spec;
    spec["type"] = "LoadBalancer".into();
    spec["ports"] = json!([{"port": 80}]);
    json!({"kind": "Service", "metadata": {"name": name}, "spec": spec, "status": status})
}

fn pool(name: &str, addresses: Value) -> Value {
    let api_version = "metallb.io/v1beta1";
    json!({"apiVersion": api_version, "kind": "IPAddressPool", "metadata": {"name": name}, "spec": {"addresses": addresses}})
}

fn advertisement(kind: &str, pools: Value) -> Value {
    let api_version = "metallb.io/v1beta1";
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "all"}, "spec": {"ipAddressPools": pools}})
}

fn resolved(all: &[Value]) -> (Cluster, Vec<String>) {
    let mut objects = Objects::default();
    all.iter().for_each(|object| objects.put_json(object).unwrap());
    let (cluster, log) = resolve(&Arc::new(objects), &Assume::default(), None);
    (cluster, log.iter().map(ToString::to_string).collect())
}

/// Every address as `SERVICE ADDRESS`.
fn addresses(cluster: &Cluster) -> Vec<String> {
    let all = cluster.services.iter().flat_map(|service| {
        let addresses = service.load_balancer.iter().flat_map(|balancer| &balancer.addresses);
        addresses.map(|address| alloc::format!("{} {}", service.name, address.addr))
    });
    all.collect()
}

#[test]
fn another_service_moves_no_made_up_address() {
    let one = |name: &str| service(name, json!({}), json!({}));
    let (alone, log) = resolved(&[one("web")]);
    let (both, _) = resolved(&[one("api"), one("web")]);
    assert_eq!(log, [""; 0]);
    let [web] = &addresses(&alone)[..] else { panic!("{:?}", addresses(&alone)) };
    assert!(web.starts_with("web 203.0.113."), "{web}");
    assert!(addresses(&both).contains(web), "{:?}", addresses(&both));
    assert_eq!(addresses(&both).len(), 2);
}

#[test]
fn what_the_status_says_is_kept_with_its_mode() {
    let proxy = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.7", "ipMode": "Proxy"}]}});
    let named = json!({"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}});
    let (cluster, _) = resolved(&[service("a", json!({}), proxy), service("b", json!({}), named)]);
    let balancer = |place: usize| cluster.services[place].load_balancer.clone().unwrap().addresses;
    assert_eq!(balancer(0)[0].mode, IpMode::Proxy);
    assert_eq!(addresses(&cluster), ["a 198.51.100.7"]);
    assert!(balancer(1).is_empty(), "it has a name");
}

#[test]
fn a_wish_is_granted_once() {
    let wish = json!({"loadBalancerIP": "192.0.2.9"});
    let (cluster, log) = resolved(&[service("a", wish.clone(), json!({})), service("b", wish, json!({}))]);
    assert_eq!(addresses(&cluster), ["a 192.0.2.9"]);
    assert!(log.iter().any(|line| line.contains("service default/b stays without an address")), "{log:?}");
}

#[test]
fn pools_give_their_own_addresses_until_they_are_empty() {
    let one = |name: &str| service(name, json!({}), json!({}));
    let (cluster, log) = resolved(&[
        pool("small", json!(["192.0.2.8-192.0.2.9"])),
        advertisement("L2Advertisement", json!(["small"])),
        one("a"),
        one("b"),
        one("c"),
    ]);
    let given = addresses(&cluster);
    assert_eq!(given.len(), 2, "{given:?}");
    assert!(given.iter().all(|line| line.ends_with("192.0.2.8") || line.ends_with("192.0.2.9")), "{given:?}");
    assert!(log.iter().any(|line| line.contains("no IPAddressPool has an IPv4 address left")), "{log:?}");
}

#[test]
fn an_address_is_announced_as_its_pool_is() {
    let by = |kind: &str, pools: Value| {
        let all = [
            pool("one", json!(["192.0.2.0/24"])),
            advertisement(kind, pools),
            service("a", json!({}), json!({})),
        ];
        let (cluster, _) = resolved(&all);
        cluster.services[0].load_balancer.clone().unwrap().addresses[0].by.clone()
    };
    assert_eq!(by("L2Advertisement", json!(["one"])), Announcement::Layer2("one".into()));
    assert_eq!(by("L2Advertisement", json!([])), Announcement::Layer2("one".into()), "all pools");
    assert_eq!(by("BGPAdvertisement", json!(["one"])), Announcement::Bgp("one".into()));
    assert_eq!(by("BGPAdvertisement", json!(["two"])), Announcement::Nobody("one".into()));
}

#[test]
fn local_policy_gives_a_port_for_health_checks() {
    let port = |spec: Value| {
        let (cluster, _) = resolved(&[service("a", spec, json!({}))]);
        let service = &cluster.services[0];
        let port = service.load_balancer.as_ref().unwrap().health_check_node_port;
        (port, service.ports[0].node_port)
    };
    let (health, node_port) = port(json!({"externalTrafficPolicy": "Local"}));
    assert!(health.is_some_and(|port| port >= 30000) && health != node_port, "{health:?} {node_port:?}");
    assert_eq!(port(json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 32000})).0, Some(32000));
    assert_eq!(port(json!({})).0, None);
    let without = json!({"externalTrafficPolicy": "Local", "allocateLoadBalancerNodePorts": false});
    assert_eq!(port(without).1, None);
}
