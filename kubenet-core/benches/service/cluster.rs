//! 10,000 Services of ten endpoints each, in each mode of kube-proxy.

use std::sync::{Arc, LazyLock, OnceLock};

use kubenet_core::assume::{Assume, Cni, ProxyMode, Underlay};
use kubenet_core::cluster::{Cluster, InputMode, resolve};
use kubenet_core::k8s::Objects;
use serde_json::json;

/// The modes that are compiled.
pub(crate) const MODES: &[ProxyMode] =
    &[ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs, ProxyMode::Userspace];

pub(crate) const SERVICES: usize = 10_000;
pub(crate) const ENDPOINTS: usize = 10;
pub(crate) const NODES: usize = 1_000;

/// The cluster with kube-proxy in a mode, made once. The objects are shared.
pub(crate) fn of(mode: ProxyMode) -> &'static Cluster {
    static OBJECTS: LazyLock<Arc<Objects>> = LazyLock::new(|| Arc::new(objects()));
    static CLUSTERS: [OnceLock<Cluster>; 4] = [const { OnceLock::new() }; 4];
    let place = match mode {
        ProxyMode::Iptables => 0,
        ProxyMode::Nftables => 1,
        ProxyMode::Ipvs => 2,
        ProxyMode::Userspace => 3,
    };
    CLUSTERS[place].get_or_init(|| {
        let assume = Assume {
            proxy_mode: Some(mode),
            cni: Some(Cni::Bridge),
            underlay: Some(Underlay::HostGw),
            cluster_cidr: Some(vec!["10.128.0.0/9".parse().expect("a range")]),
            ..Assume::default()
        };
        resolve(&OBJECTS, &assume, Some(InputMode::Snapshot)).0
    })
}

/// 10,000 Services and 100,000 pods on 1,000 nodes, without EndpointSlices.
fn objects() -> Objects {
    let mut objects = Objects::default();
    let mut put = |value| objects.put_json(&value).expect("a good object");
    for node in 0..NODES {
        let cidr = format!("10.{}.{}.0/24", 128 + node / 256, node % 256);
        let own = format!("172.18.{}.{}", node / 200, 2 + node % 200);
        put(json!({
            "kind": "Node", "metadata": {"name": format!("node-{node}"), "uid": "1"}, "spec": {"podCIDR": cidr},
            "status": {"addresses": [{"type": "InternalIP", "address": own}]},
        }));
    }
    for service in 0..SERVICES {
        let app = format!("app-{service}");
        put(json!({
            "kind": "Service", "metadata": {"name": app},
            "spec": {
                "clusterIP": format!("10.96.{}.{}", service / 250, 1 + service % 250),
                "selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            },
        }));
        for endpoint in 0..ENDPOINTS {
            let pod = service * ENDPOINTS + endpoint;
            let (node, place) = (pod % NODES, pod / NODES);
            put(json!({
                "kind": "Pod", "metadata": {"name": format!("{app}-{endpoint}"), "labels": {"app": app}},
                "spec": {"nodeName": format!("node-{node}")},
                "status": {
                    "phase": "Running", "podIP": format!("10.{}.{}.{}", 128 + node / 256, node % 256, 2 + place),
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }));
        }
    }
    objects
}
