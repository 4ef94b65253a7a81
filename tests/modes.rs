//! kube-proxy's modes come to the same: for random Services and packets the possible ends, each with its probability and whether
//! the source is masqueraded, are those of the other modes, but for what `docs/proxy-modes.md` lists. What a listed difference
//! leads to is said exactly: as the end of another case, or as the same end with another source.

#![allow(clippy::disallowed_methods, reason = "tests")]

#[path = "modes/traced.rs"]
mod traced;

use kubenet_core::assume::ProxyMode;
use kubenet_core::k8s::Objects;
use kubenet_tests::corpus::{outcome, redirection};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

const NODE: &str = "192.168.0.2";
const OUTSIDE: &str = "203.0.113.9";

/// An endpoint: whether it is on this node, serves, and is terminating.
type Ep = (bool, bool, bool);

/// A Service of one port.
#[derive(Clone, Debug)]
struct Shape {
    /// Cluster IP alone, with a node port, with a load balancer.
    kind: usize,
    /// It has an external address.
    external_ip: bool,
    external_local: bool,
    internal_local: bool,
    affinity: bool,
    udp: bool,
    /// Everyone may use the load balancer, only [`OUTSIDE`], only somebody else.
    ranges: usize,
    endpoints: Vec<Ep>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (0_usize..3, flags, 0_usize..3, vec(any::<Ep>(), 0..5)).prop_map(|(kind, flags, ranges, endpoints)| {
        let (external_ip, external_local, internal_local, affinity, udp) = flags;
        Shape { kind, external_ip, external_local, internal_local, affinity, udp, ranges, endpoints }
    })
}

impl Shape {
    /// Endpoints that serve: those that are ready, or else those that terminate.
    fn serves(&self) -> bool {
        self.endpoints.iter().any(|(_, serving, _)| *serving)
    }

    fn serves_here(&self) -> bool {
        self.endpoints.iter().any(|(here, serving, _)| *here && *serving)
    }

    /// Whether it has another frontend than its cluster IP.
    fn is_reachable(&self) -> bool {
        self.kind > 0 || self.external_ip
    }

    fn has(&self, frontend: Frontend) -> bool {
        match frontend {
            Frontend::ClusterIp => true,
            Frontend::NodePort => self.kind > 0,
            Frontend::Vip => self.kind > 1,
            Frontend::ExternalIp => self.external_ip,
        }
    }

    fn protocol(&self) -> &'static str {
        if self.udp { "UDP" } else { "TCP" }
    }
}

fn endpoint(service: usize, at: usize) -> String {
    format!("10.180.{service}.{}", at + 1)
}

fn objects(shapes: &[Shape]) -> Objects {
    let mut objects = Objects::default();
    let mut put = |object: Value| objects.put_json(&object).expect("an object");
    for (n, shape) in shapes.iter().enumerate() {
        let types = ["ClusterIP", "NodePort", "LoadBalancer"];
        let ip = format!("172.30.0.{}", n + 1);
        let mut port = json!({"name": "p", "port": 80, "protocol": shape.protocol()});
        let mut spec = json!({
            "type": types[shape.kind],
            "clusterIP": ip,
            "clusterIPs": [ip],
            "internalTrafficPolicy": if shape.internal_local { "Local" } else { "Cluster" },
            "sessionAffinity": if shape.affinity { "ClientIP" } else { "None" },
        });
        if shape.kind > 0 {
            port["nodePort"] = json!(30001 + n);
        }
        if shape.external_ip {
            spec["externalIPs"] = json!([format!("198.18.0.{}", n + 1)]);
        }
        if shape.is_reachable() {
            spec["externalTrafficPolicy"] = json!(if shape.external_local { "Local" } else { "Cluster" });
        }
        if shape.kind == 2 && shape.ranges > 0 {
            let range = ["203.0.113.0/24", "198.51.100.0/24"][shape.ranges - 1];
            spec["loadBalancerSourceRanges"] = json!([range]);
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
            .map(|(at, (local, serving, terminating))| {
                json!({
                    "addresses": [endpoint(n, at)],
                    "nodeName": if *local { "test-node" } else { "other-node" },
                    "conditions": {
                        "ready": serving & !terminating, "serving": serving, "terminating": terminating,
                    },
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
            "ports": [{"name": "p", "port": 8080, "protocol": shape.protocol()}],
        }));
    }
    objects
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Frontend {
    ClusterIp,
    NodePort,
    Vip,
    ExternalIp,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    Pod,
    Node,
    Outside,
    /// The first endpoint of the Service, if it is on this node; else a pod that is none.
    Endpoint,
}

/// A packet to one of some Services.
#[derive(Clone, Debug)]
struct Case {
    shapes: Vec<Shape>,
    /// The place of the Service.
    at: usize,
    frontend: Frontend,
    from: From,
    /// Pods are told by their source.
    detector: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let frontends = [Frontend::ClusterIp, Frontend::NodePort, Frontend::Vip, Frontend::ExternalIp];
    let frontends = prop::sample::select(frontends.to_vec());
    let senders = prop::sample::select(&[From::Pod, From::Node, From::Outside, From::Endpoint][..]);
    (vec(shape(), 1..4), any::<prop::sample::Index>(), frontends, senders, any::<bool>()).prop_map(
        |(shapes, at, frontend, from, detector)| {
            let at = at.index(shapes.len());
            // A Service without the frontend has its cluster address.
            let frontend = if shapes[at].has(frontend) { frontend } else { Frontend::ClusterIp };
            Case { shapes, at, frontend, from, detector }
        },
    )
}

impl Case {
    fn shape(&self) -> &Shape {
        &self.shapes[self.at]
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut case = self.clone();
        change(&mut case);
        case
    }

    fn with_shape(&self, change: impl FnOnce(&mut Shape)) -> Self {
        self.with(|case| change(&mut case.shapes[case.at]))
    }

    /// Whether the load balancer's firewall keeps the sender out.
    fn is_refused(&self) -> bool {
        self.frontend == Frontend::Vip
            && match self.shape().ranges {
                0 => false,
                1 => self.from != From::Outside,
                _ => true,
            }
    }

    fn end(&self, mode: ProxyMode) -> String {
        let (objects, proxy, packet) = self.asked(mode);
        outcome(&objects, &proxy, mode, &packet).expect("a node")
    }

    /// The socket to which mode userspace redirects it.
    fn redirection(&self) -> String {
        let (objects, proxy, packet) = self.asked(ProxyMode::Userspace);
        redirection(&objects, &proxy, &packet).expect("a node")
    }

    /// The objects, kube-proxy's settings and the packet.
    fn asked(&self, mode: ProxyMode) -> (Objects, Value, Value) {
        let (dst, dport) = match self.frontend {
            Frontend::ClusterIp => (format!("172.30.0.{}", self.at + 1), 80),
            Frontend::NodePort => (NODE.to_string(), 30001 + self.at),
            Frontend::Vip => (format!("5.6.7.{}", self.at + 1), 80),
            Frontend::ExternalIp => (format!("198.18.0.{}", self.at + 1), 80),
        };
        let is_here = self.shape().endpoints.first().is_some_and(|(here, ..)| *here);
        let (origin, src) = match self.from {
            From::Endpoint if is_here => ("pod", endpoint(self.at, 0)),
            From::Pod | From::Endpoint => ("pod", "10.0.0.9".to_string()),
            // An address of the node's own is reached from that address.
            From::Node if mode == ProxyMode::Ipvs => ("node", dst.clone()),
            From::Node => ("node", NODE.to_string()),
            From::Outside => ("external", OUTSIDE.to_string()),
        };
        let protocol = self.shape().protocol();
        let packet = json!({"origin": origin, "src": src, "proto": protocol, "dst": dst, "dport": dport});
        let detect = if self.detector { json!({"IPv4": "10.0.0.0/8"}) } else { json!({}) };
        let proxy = json!({
            "nodeName": "test-node", "nodeIPs": {"IPv4": NODE}, "localAddresses": ["127.0.0.1", NODE],
            "nodeLabels": {}, "detectLocal": detect, "masqueradeAll": false, "masqueradeBit": 14,
            "localhostNodePorts": true, "nodePortAddresses": [], "serviceCIDRs": ["172.30.0.0/16"],
        });
        (objects(&self.shapes), proxy, packet)
    }
}

/// What becomes of a packet in mode nftables, by what becomes of it in mode iptables.
fn nftables_by_iptables(case: &Case) -> String {
    if !case.shape().serves() && matches!(case.frontend, Frontend::Vip | Frontend::ExternalIp) {
        if case.is_refused() {
            // The firewall is there without endpoints too.
            return "DROP".into();
        }
        if case.from == From::Node {
            // In mode iptables the node's own packet leaves the node.
            assert_eq!(case.end(ProxyMode::Iptables), "PASS");
            return "REJECT".into();
        }
    }
    case.end(ProxyMode::Iptables)
}

/// What becomes of a packet in mode ipvs, by what becomes of packets in mode nftables.
fn ipvs_by_nftables(case: &Case) -> String {
    let shape = case.shape();
    let end = |case: &Case| case.end(ProxyMode::Nftables);
    match case.frontend {
        Frontend::ClusterIp => {
            let falls_back = shape.internal_local && !shape.serves_here();
            let end = match (falls_back, shape.is_reachable()) {
                // The virtual server has nobody, which is told.
                (true, false) => "REJECT".into(),
                (true, true) => end(&case.with_shape(|shape| shape.internal_local = false)),
                (false, _) => end(case),
            };
            // The node comes from the cluster IP itself.
            if case.from == From::Node { masqueraded(&end, |_| true) } else { end }
        }
        Frontend::NodePort | Frontend::Vip | Frontend::ExternalIp => {
            if case.is_refused() {
                // The node's own packet meets the firewall behind the virtual server, which refuses it first where it has nobody.
                let refuses_first = case.from == From::Node && !shape.serves();
                return if refuses_first { "REJECT".into() } else { "DROP".into() };
            }
            if !shape.external_local {
                return end(case);
            }
            // Nobody is served as from within the cluster, and nobody is masqueraded but who reaches himself.
            let end = if shape.serves_here() {
                end(&case.with(|case| case.from = From::Outside))
            } else {
                end(&case.with_shape(|shape| shape.external_local = false))
            };
            let itself = format!("{}:8080 ", endpoint(case.at, 0));
            let is_endpoint =
                case.from == From::Endpoint && shape.endpoints.first().is_some_and(|(here, ..)| *here);
            masqueraded(&end, |to| is_endpoint && to.starts_with(&itself))
        }
    }
}

/// What becomes of a packet in mode userspace, by what becomes of packets in mode iptables.
fn userspace_by_iptables(case: &Case) -> String {
    if case.from == From::Node && case.frontend == Frontend::ExternalIp {
        // kube-proxy takes an external address for that of a host, and leaves the node's own packets to it alone.
        return "PASS".into();
    }
    // Whoever asks is served: no policy and no firewall decides. Endpoints that terminate are not asked.
    let plain = case.with_shape(|shape| {
        (shape.external_local, shape.internal_local, shape.ranges) = (false, false, 0);
        shape.endpoints.iter_mut().for_each(|(_, serving, terminating)| *serving &= !*terminating);
    });
    if plain.shape().serves() {
        // They see the node.
        return masqueraded(&plain.end(ProxyMode::Iptables), |_| true);
    }
    // kube-proxy finds nobody when it has taken the packet already.
    let with_answer = plain.with(|case| case.from = From::Outside);
    assert_eq!(with_answer.end(ProxyMode::Iptables), "REJECT");
    if case.shape().udp { "lost".into() } else { "closed".into() }
}

/// The same endpoints, with other sources.
fn masqueraded(end: &str, is: impl Fn(&str) -> bool) -> String {
    let words = end.split(", ").map(|way| {
        let way = way.trim_end_matches(" masqueraded");
        if way.contains(':') && is(way) { format!("{way} masqueraded") } else { way.to_string() }
    });
    words.collect::<Vec<_>>().join(", ")
}

proptest! {
    #[test]
    fn nftables_comes_to_the_same_as_iptables(case in case()) {
        prop_assert_eq!(case.end(ProxyMode::Nftables), nftables_by_iptables(&case));
    }

    #[test]
    fn ipvs_comes_to_the_same_as_nftables(case in case()) {
        prop_assert_eq!(case.end(ProxyMode::Ipvs), ipvs_by_nftables(&case));
    }

    #[test]
    fn userspace_comes_to_the_same_as_iptables(case in case()) {
        prop_assert_eq!(case.end(ProxyMode::Userspace), userspace_by_iptables(&case));
    }

    #[test]
    fn userspace_sends_every_frontend_of_a_service_to_one_socket_of_the_node(case in case(), other in case()) {
        let end = case.redirection();
        if case.from == From::Node && case.frontend == Frontend::ExternalIp {
            // The node's own packet leaves the node.
            prop_assert_eq!(end, "PASS");
            return Ok(());
        }
        let (by, to) = end.split_once(' ').expect("one way");
        prop_assert_eq!(to, "1", "{}", end);
        let (addr, port) = by.split_once(':').expect("an address");
        let redirected = case.from == From::Pod || case.from == From::Endpoint;
        prop_assert_eq!(addr, if redirected { "10.0.0.1" } else { NODE });
        let port: u16 = port.parse().expect("a port");
        prop_assert!((32768..=60999).contains(&port));
        // Neither who asks nor for which frontend, nor any policy or endpoint, makes a difference.
        let mut again = case.with(|case| (case.from, case.detector) = (From::Outside, other.detector));
        again = again.with_shape(|shape| {
            shape.endpoints = other.shape().endpoints.clone();
            (shape.external_local, shape.internal_local) = (!shape.external_local, !shape.internal_local);
        });
        again.frontend = Frontend::ClusterIp;
        prop_assert_eq!(again.redirection(), format!("{NODE}:{port} 1"));
    }
}
