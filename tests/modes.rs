//! kube-proxy's modes come to the same: for random Services and packets the possible ends, each with its probability and whether
//! the source is masqueraded, are those of the other mode, but for what `docs/proxy-modes.md` lists.

#![allow(clippy::disallowed_methods, reason = "tests")]

use kubenet_core::assume::ProxyMode;
use kubenet_core::k8s::Objects;
use kubenet_tests::corpus::outcome;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

const NODE: &str = "192.168.0.2";

/// An endpoint: whether it is on this node, ready, and terminating.
type Ep = (bool, bool, bool);

#[derive(Clone, Debug)]
struct Shape {
    kind: usize,
    external_local: bool,
    internal_local: bool,
    endpoints: Vec<Ep>,
}

fn shape() -> impl Strategy<Value = Shape> {
    (0_usize..3, any::<bool>(), any::<bool>(), vec(any::<Ep>(), 0..5)).prop_map(
        |(kind, external_local, internal_local, endpoints)| Shape {
            kind,
            external_local,
            internal_local,
            endpoints,
        },
    )
}

fn objects(shapes: &[Shape]) -> Objects {
    let mut objects = Objects::default();
    let mut put = |object: Value| objects.put_json(&object).expect("an object");
    for (n, shape) in shapes.iter().enumerate() {
        let types = ["ClusterIP", "NodePort", "LoadBalancer"];
        let ip = format!("172.30.0.{}", n + 1);
        let mut port = json!({"name": "p", "port": 80, "protocol": "TCP"});
        let mut spec = json!({
            "type": types[shape.kind],
            "clusterIP": ip,
            "clusterIPs": [ip],
            "internalTrafficPolicy": if shape.internal_local { "Local" } else { "Cluster" },
        });
        if shape.kind > 0 {
            port["nodePort"] = json!(30001 + n);
            spec["externalTrafficPolicy"] = json!(if shape.external_local { "Local" } else { "Cluster" });
        }
        spec["ports"] = json!([port]);
        let vips = if shape.kind == 2 { json!([{"ip": format!("5.6.7.{}", n + 1)}]) } else { json!([]) };
        put(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "ns", "name": format!("s{n}")},
            "spec": spec, "status": {"loadBalancer": {"ingress": vips}},
        }));
        let endpoints: Vec<Value> = shape
            .endpoints
            .iter()
            .enumerate()
            .map(|(at, (local, ready, terminating))| {
                json!({
                    "addresses": [format!("10.180.{n}.{}", at + 1)],
                    "nodeName": if *local { "test-node" } else { "other-node" },
                    "conditions": {"ready": ready & !terminating, "serving": ready, "terminating": terminating},
                })
            })
            .collect();
        put(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "namespace": "ns", "name": format!("s{n}-x"),
                "labels": {"kubernetes.io/service-name": format!("s{n}")},
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "p", "port": 8080, "protocol": "TCP"}],
        }));
    }
    objects
}

proptest! {
    #[test]
    fn iptables_and_nftables_come_to_the_same(
        shapes in vec(shape(), 1..4),
        which in any::<prop::sample::Index>(),
        frontend in 0_usize..3,
        origin in 0_usize..3,
        detector in any::<bool>(),
    ) {
        let objects = objects(&shapes);
        let n = which.index(shapes.len());
        // The node's own address stands for its node ports; a type without the frontend has its cluster address.
        let (dst, dport) = match frontend.min(shapes[n].kind) {
            0 => (format!("172.30.0.{}", n + 1), 80),
            1 => (NODE.to_string(), 30001 + n),
            _ => (format!("5.6.7.{}", n + 1), 80),
        };
        let (origin, src) = [("pod", "10.0.0.9"), ("node", NODE), ("external", "203.0.113.9")][origin];
        let packet = json!({"origin": origin, "src": src, "proto": "TCP", "dst": dst, "dport": dport});
        let detect = if detector { json!({"IPv4": "10.0.0.0/8"}) } else { json!({}) };
        let proxy = json!({
            "nodeName": "test-node", "nodeIPs": {"IPv4": NODE}, "localAddresses": ["127.0.0.1", NODE],
            "nodeLabels": {}, "detectLocal": detect, "masqueradeAll": false, "masqueradeBit": 14,
            "localhostNodePorts": true, "nodePortAddresses": [], "serviceCIDRs": ["172.30.0.0/16"],
        });
        let ends = |mode| outcome(&objects, &proxy, mode, &packet).expect("a node");
        let (iptables, nftables) = (ends(ProxyMode::Iptables), ends(ProxyMode::Nftables));
        // A packet of the node itself to a load balancer's address without endpoints leaves the node in mode iptables.
        let listed = origin == "node" && dst.starts_with("5.6.7.") && iptables == "PASS"
            && (nftables == "REJECT" || nftables == "DROP");
        prop_assert!(listed || iptables == nftables, "{packet}: iptables {iptables}, nftables {nftables}");
    }
}
