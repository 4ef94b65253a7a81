//! A cluster with a Service of each kind, and how its rules are written down.

use alloc::format;
use alloc::vec::Vec;

use serde_json::{Value, json};

use super::objects;
use crate::addr::Family;
use crate::compile::service::{Detector, Port, ProxyConfig, ports_of_objects};

/// A kube-proxy on node `here` that tells pods by 10.244.0.0/16.
pub(super) fn config() -> ProxyConfig {
    let mut config = ProxyConfig::new(Family::V4, "here");
    config.node_ip = "192.168.0.2".parse().ok();
    config.local_addresses =
        ["127.0.0.1", "192.168.0.2"].map(|addr| addr.parse().expect("an address")).into();
    config.detector = Some(Detector::Source("10.244.0.0/16".parse().expect("a range")));
    config.service_cidrs = ["10.96.0.0/12".parse().expect("a range")].into();
    config
}

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("ports").is_none() {
        spec["ports"] = json!([{"name": "web", "port": 80}]);
    }
    json!({"kind": "Service", "metadata": {"namespace": "shop", "name": name}, "spec": spec})
}

/// Endpoints on port 8080: here, elsewhere.
fn slice(service: &str, here: &[&str], elsewhere: &[&str]) -> Value {
    let endpoint = |node: &'static str| move |addr: &&str| json!({"addresses": [addr], "nodeName": node});
    let endpoints: Vec<Value> =
        here.iter().map(endpoint("here")).chain(elsewhere.iter().map(endpoint("elsewhere"))).collect();
    json!({
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "shop", "name": format!("{service}-1"),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "web", "port": 8080}],
    })
}

/// Services: plain, with affinity, on node ports with policy `Local`, behind a load balancer with a firewall, with local policy
/// and no local endpoint, without any endpoint.
pub(super) fn ports(config: &ProxyConfig) -> Vec<Port> {
    let mut balancer = service(
        "balanced",
        json!({
            "type": "LoadBalancer", "clusterIP": "10.96.0.4",
            "loadBalancerSourceRanges": ["203.0.113.0/24", "192.168.0.0/16"],
            "externalIPs": ["198.51.100.7"],
            "ports": [{"name": "web", "port": 80, "nodePort": 30004}],
        }),
    );
    balancer["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.4"}]}});
    let mut local = service(
        "local",
        json!({
            "type": "LoadBalancer", "clusterIP": "10.96.0.3", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30100, "ports": [{"name": "web", "port": 80, "nodePort": 30003}],
        }),
    );
    local["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.3"}]}});
    let away = json!({"clusterIP": "10.96.0.5", "internalTrafficPolicy": "Local"});
    let empty = json!({
        "type": "NodePort", "clusterIP": "10.96.0.6",
        "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30006}],
    });
    let list = [
        service("plain", json!({"clusterIP": "10.96.0.1"})),
        slice("plain", &["10.244.1.1"], &["10.244.2.1", "10.244.2.2"]),
        service("sticky", json!({"clusterIP": "10.96.0.2", "sessionAffinity": "ClientIP"})),
        slice("sticky", &["10.244.1.2"], &["10.244.2.3"]),
        local,
        slice("local", &["10.244.1.3"], &["10.244.2.4"]),
        balancer,
        slice("balanced", &[], &["10.244.2.5"]),
        service("away", away),
        slice("away", &[], &["10.244.2.6"]),
        service("empty", empty),
    ];
    ports_of_objects(&objects(&list), config)
}
