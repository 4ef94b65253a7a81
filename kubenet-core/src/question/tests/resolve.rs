use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use expect_test::{Expect, expect};

use crate::addr::Protocol;
use crate::cluster::{
    Cluster, Container, ContainerPort, InputMode, Namespace, Node, Parts, Pod, Service, ServicePort,
    Settings, TargetPort, Workload,
};
use crate::origin::{ObjectRef, Origin};
use crate::question::{Endpoint, Resolution, What};

/// Two nodes; `shop` with a Deployment and a Service that are both called `cart`; a namespace that is called `job`.
pub(super) fn example() -> Cluster {
    let origin = Origin::implied("test");
    let mut parts = Parts::new(InputMode::Manifests, Settings::default());
    for (name, addr) in [("node-1", "172.18.0.2"), ("node-2", "172.18.0.3")] {
        parts.nodes.push(Arc::new(Node {
            name: name.into(),
            addresses: alloc::vec![addr.parse().unwrap()],
            external_addresses: Vec::new(),
            pod_cidrs: Vec::new(),
            labels: Vec::new(),
            taints: Vec::new(),
            origin: origin.clone(),
        }));
    }
    let pods = [
        ("default", "frontend-7d4f6c8b9-x2x4z", "10.244.1.2", false),
        ("default", "frontend-7d4f6c8b9-z9z9z", "10.244.2.2", false),
        ("job", "web", "10.244.1.9", false),
        ("shop", "cart-58b9d7c4f-p7k2m", "10.244.1.5", false),
        ("shop", "migrate-b2b2b", "", true),
    ];
    for (namespace, name, addr, terminal) in pods {
        let port = ContainerPort {
            name: Some("http".into()),
            port: 8080,
            protocol: Protocol::Tcp,
            host_port: None,
            host_ip: None,
            origin: origin.clone(),
        };
        parts.pods.push(Arc::new(Pod {
            namespace: namespace.into(),
            name: name.into(),
            labels: Vec::new(),
            node: Some(0),
            addresses: addr.parse::<IpAddr>().into_iter().collect(),
            hostname: None,
            subdomain: None,
            host_network: false,
            terminal,
            ready: !terminal,
            terminating: false,
            containers: alloc::vec![Container {
                name: "main".into(),
                ports: alloc::vec![port],
                probes: Vec::new()
            }],
            owners: Vec::new(),
            origin: origin.clone(),
        }));
    }
    for (kind, namespace, name, pods) in [
        ("Deployment", "default", "frontend", &[0, 1][..]),
        ("Deployment", "default", "idle", &[]),
        ("Deployment", "shop", "cart", &[3]),
        ("Job", "shop", "migrate", &[4]),
        ("Job", "default", "web", &[0]),
    ] {
        parts
            .workloads
            .push(Workload { object: ObjectRef::namespaced(kind, namespace, name), pods: pods.into() });
    }
    let dns = |name: &str, port, protocol| ServicePort {
        name: Some(name.into()),
        port,
        protocol,
        target: TargetPort::Number(port),
        node_port: None,
    };
    for (namespace, name) in [("shop", "cart"), ("default", "kubernetes")] {
        parts.services.push(Arc::new(Service {
            namespace: namespace.into(),
            name: name.into(),
            cluster_ips: Vec::new(),
            selector: Vec::new(),
            ports: alloc::vec![dns("dns", 53, Protocol::Udp), dns("https", 443, Protocol::Tcp)],
            load_balancer: None,
            origin: origin.clone(),
        }));
    }
    for name in ["default", "shop", "job"] {
        parts.namespaces.push(Arc::new(Namespace {
            name: name.into(),
            labels: Vec::new(),
            origin: origin.clone(),
        }));
    }
    Cluster::new(parts)
}

fn check_resolve(texts: &[&str], expect: Expect) {
    let cluster = example();
    let mut out = String::new();
    for text in texts {
        let endpoint = Endpoint::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        out += &match endpoint.resolve(&cluster, "default") {
            Ok(resolved) => {
                let one = |r: &Resolution| {
                    let what = match &r.what {
                        What::Pod(p) => format!("pod {}", cluster.pods[*p as usize].name),
                        What::Node(n) => format!("node {}", cluster.nodes[*n as usize].name),
                        What::Service(s) => format!("service {}", cluster.services[*s as usize].name),
                        other @ (What::Address(_) | What::Internet(_) | What::Host { .. }) => {
                            format!("{other:?}")
                        }
                    };
                    let port = r.port.map(|p| format!(" port {p}")).unwrap_or_default();
                    let protocol = r.protocol.map(|p| format!("/{p}")).unwrap_or_default();
                    format!("{what}{port}{protocol}")
                };
                let said = resolved.said.iter().map(|s| format!("    ({s})\n")).collect::<String>();
                let targets = resolved.targets.iter().map(one).collect::<Vec<_>>().join(", ");
                format!("{text}\n    {targets}\n{said}")
            }
            Err(error) => {
                let place = format!("{}{}", " ".repeat(error.offset), "^".repeat(error.length));
                format!("{text}\n{place} {:?}: {error}\n    {:?}\n", error.fault, error.candidates)
            }
        };
    }
    expect.assert_eq(&out);
}

#[test]
fn names_are_looked_up() {
    check_resolve(
        &[
            "deploy/frontend:http",
            "deploy/frontend[*]:80",
            "shop/deploy/cart",
            "pod/frontend-7d4f6c8b9-x2x4z:1",
            "job/web",
            "shop/cart-58b9d7c4f-p7k2m",
            "node/node-1:10250",
            "shop/svc/cart:dns",
            "10.244.1.5:http",
            "internet/8.8.8.8:53",
            "localhost:80",
            "http://cart.shop/x",
            "kubernetes",
            "node-1",
            "frontnd",
        ],
        expect![[r#"
            deploy/frontend:http
                pod frontend-7d4f6c8b9-x2x4z port 8080/tcp
                (deploy/frontend means the first of its 2 pods by name, frontend-7d4f6c8b9-x2x4z)
            deploy/frontend[*]:80
                pod frontend-7d4f6c8b9-x2x4z port 80, pod frontend-7d4f6c8b9-z9z9z port 80
            shop/deploy/cart
                pod cart-58b9d7c4f-p7k2m
                (deploy/cart means its only pod, cart-58b9d7c4f-p7k2m)
            pod/frontend-7d4f6c8b9-x2x4z:1
                pod frontend-7d4f6c8b9-x2x4z port 1
            job/web
                ^^^ Ambiguous: 'job/web' could be default/job/web or job/pod/web; name the kind
                ["default/job/web", "job/pod/web"]
            shop/cart-58b9d7c4f-p7k2m
                pod cart-58b9d7c4f-p7k2m
            node/node-1:10250
                node node-1 port 10250
            shop/svc/cart:dns
                service cart port 53/udp
            10.244.1.5:http
                Address(10.244.1.5) port 8080/tcp
            internet/8.8.8.8:53
                Internet(Some(8.8.8.8)) port 53
            localhost:80
                Address(127.0.0.1) port 80
                (localhost is 127.0.0.1)
            http://cart.shop/x
                Host { name: "cart.shop", near: [] } port 80
            kubernetes
                Host { name: "kubernetes", near: ["default/svc/kubernetes"] }
            node-1
                Host { name: "node-1", near: ["node/node-1"] }
            frontnd
                Host { name: "frontnd", near: ["default/pod/frontend-7d4f6c8b9-x2x4z", "default/pod/frontend-7d4f6c8b9-z9z9z", "default/deploy/frontend"] }
        "#]],
    );
}

#[test]
fn what_is_not_there_is_answered_with_near_names() {
    check_resolve(
        &[
            "pod/frontnd",
            "shop/pod/frontend-7d4f6c8b9-x2x4z",
            "deploy/cart",
            "shop/cart",
            "shp/deploy/cart:80",
            "depoy/frontend",
            "shop/crat",
            "node/nod-1",
            "deploy/idle",
            "shop/job/migrate",
            "deploy/frontend:htp",
            "shop/svc/cart:metrics",
            "node/node-1:http",
            "10.0.0.1:http",
            "pod/frontend-7d4f6c8b9-x2x4z[*]",
        ],
        expect![[r#"
            pod/frontnd
                ^^^^^^^ NotFound: no pod 'frontnd' in namespace 'default'; did you mean 'frontend-7d4f6c8b9-x2x4z' or 'frontend-7d4f6c8b9-z9z9z'?
                ["default/pod/frontend-7d4f6c8b9-x2x4z", "default/pod/frontend-7d4f6c8b9-z9z9z"]
            shop/pod/frontend-7d4f6c8b9-x2x4z
                     ^^^^^^^^^^^^^^^^^^^^^^^^ NotFound: no pod 'frontend-7d4f6c8b9-x2x4z' in namespace 'shop'; there is one in namespace 'default'
                ["default/pod/frontend-7d4f6c8b9-x2x4z"]
            deploy/cart
                   ^^^^ NotFound: no deployment 'cart' in namespace 'default'; there is one in namespace 'shop'
                ["shop/deploy/cart"]
            shop/cart
                 ^^^^ Ambiguous: 'shop/cart' could be shop/deploy/cart or shop/svc/cart; name the kind
                ["shop/deploy/cart", "shop/svc/cart"]
            shp/deploy/cart:80
            ^^^ NotFound: no namespace 'shp'; did you mean 'shop/deploy/cart'?
                ["shop/deploy/cart"]
            depoy/frontend
            ^^^^^ NotFound: no namespace 'depoy'; did you mean 'deploy/frontend'?
                ["deploy/frontend"]
            shop/crat
                 ^^^^ NotFound: nothing is named 'crat' in namespace 'shop'; did you mean 'shop/pod/cart-58b9d7c4f-p7k2m', 'shop/deploy/cart' or 'shop/svc/cart'?
                ["shop/pod/cart-58b9d7c4f-p7k2m", "shop/deploy/cart", "shop/svc/cart"]
            node/nod-1
                 ^^^^^ NotFound: no node 'nod-1'; did you mean 'node-1' or 'node-2'?
                ["node/node-1", "node/node-2"]
            deploy/idle
                   ^^^^ Unusable: deployment 'idle' in namespace 'default' has no running pod
                []
            shop/job/migrate
                     ^^^^^^^ Unusable: job 'migrate' in namespace 'shop' has no running pod
                []
            deploy/frontend:htp
                            ^^^ NotFound: pod 'frontend-7d4f6c8b9-x2x4z' has no port 'htp'; it has http
                ["http"]
            shop/svc/cart:metrics
                          ^^^^^^^ NotFound: service 'cart' has no port 'metrics'; it has dns, https
                ["dns", "https"]
            node/node-1:http
                        ^^^^ NotFound: port 'http' needs a pod or a Service that names its ports; write a number
                []
            10.0.0.1:http
                     ^^^^ NotFound: port 'http' needs a pod or a Service that names its ports; write a number
                []
            pod/frontend-7d4f6c8b9-x2x4z[*]
                ^^^^^^^^^^^^^^^^^^^^^^^^^^^ Unusable: [*] means all pods of a workload; default/pod/frontend-7d4f6c8b9-x2x4z is a Pod
                []
        "#]],
    );
}
