//! The modes come to the same from end to end: a pod of a small cluster asks a Service, every way that chance can fall is traced
//! through all machines, and the same pods get it with the same probabilities, the client living through the same. Only where pods refuse is it not the same in mode
//! userspace, which asks the next one, and ends in its own way: that is said exactly.

use std::collections::BTreeMap;

use kubenet_core::assume::{Assume, ProxyMode};
use kubenet_core::dataplane::Probability;
use kubenet_core::k8s::Objects;
use kubenet_core::network::{Network, Question};
use kubenet_core::trace::{Chance, Verdict};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Two nodes with pods, one Service of one port.
#[derive(Clone, Debug)]
struct Small {
    cni: &'static str,
    underlay: &'static str,
    udp: bool,
    affinity: bool,
    /// The Service's pods: the node of each, whether it is ready, and whether it listens.
    pods: Vec<(usize, bool, bool)>,
    /// The pod that asks is one of the Service's.
    asks_itself: bool,
    /// The node at whose node port it asks; the cluster IP else.
    node_port_of: Option<usize>,
}

fn small() -> impl Strategy<Value = Small> {
    let cni = prop::sample::select(&["bridge", "kindnet", "flannel"][..]);
    let underlay = prop::sample::select(&["host-gw", "vxlan"][..]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let pods = vec((0_usize..2, prop::bool::weighted(0.8), prop::bool::weighted(0.6)), 0..6);
    (cni, underlay, flags, pods, prop::option::of(0_usize..2)).prop_map(
        |(cni, underlay, (udp, affinity, asks_itself), pods, node_port_of)| Small {
            cni,
            underlay,
            udp,
            affinity,
            pods,
            asks_itself,
            node_port_of,
        },
    )
}

const NODES: [(&str, &str); 2] = [("n1", "172.18.0.2"), ("n2", "172.18.0.3")];

/// Who gets it and what the client lives through, and how likely that is.
type Ends = BTreeMap<(String, &'static str), Probability>;

impl Small {
    fn protocol(&self) -> &'static str {
        if self.udp { "UDP" } else { "TCP" }
    }

    fn pod(&self, name: &str, node: usize, serves: bool, ready: bool) -> Value {
        let labels = if serves { json!({"app": "web"}) } else { json!({}) };
        let port = json!({"containerPort": 8080, "protocol": self.protocol()});
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": NODES[node].0, "containers": [{"name": "main", "ports": [port]}]},
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        })
    }

    fn objects(&self) -> Objects {
        let mut all: Vec<Value> = NODES
            .iter()
            .map(|(name, addr)| {
                json!({
                    "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                    "status": {"addresses": [{"type": "InternalIP", "address": addr}]},
                })
            })
            .collect();
        all.push(self.pod("client", 0, self.asks_itself, true));
        let servers = self.pods.iter().enumerate();
        all.extend(servers.map(|(at, (node, ready, _))| self.pod(&format!("web-{at}"), *node, true, *ready)));
        let port = json!({"port": 80, "targetPort": 8080, "nodePort": 30080, "protocol": self.protocol()});
        all.push(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {
                "type": "NodePort", "selector": {"app": "web"}, "ports": [port],
                "sessionAffinity": if self.affinity { "ClientIP" } else { "None" },
            },
        }));
        let mut objects = Objects::default();
        all.iter().for_each(|object| objects.put_json(object).expect("an object"));
        objects
    }

    fn ends(&self, mode: ProxyMode) -> Ends {
        let mut assume = Assume { proxy_mode: Some(mode), ..Assume::default() };
        assume.set("cni", self.cni).expect("a CNI");
        assume.set("underlay", self.underlay).expect("an underlay");
        for (at, (.., listens)) in self.pods.iter().enumerate() {
            if !listens {
                let port = format!("default/web-{at}:8080/{}", self.protocol().to_lowercase());
                assume.set("closed", &port).expect("a port");
            }
        }
        let network = Network::new(self.objects(), assume, None);
        let to = match self.node_port_of {
            Some(node) => format!("node/{}:30080", NODES[node].0),
            None => "svc/web:80".to_string(),
        };
        let question = Question {
            protocol: Some(self.protocol().to_lowercase().parse().expect("a transport")),
            payload: 10,
            chance: Chance::Explored { branches: 256 },
            ..Question::new("pod/client", to)
        };
        let mut ends = Ends::new();
        for trace in network.traces(&question).expect("an answer") {
            assert_eq!(trace.unexplored, Probability::ZERO);
            for case in &trace.outcomes {
                let who = case.delivered_to.as_ref().map_or_else(String::new, |got| got.who.name.to_string());
                add(&mut ends, who, case.verdict, case.probability);
            }
        }
        ends
    }

    /// In mode userspace a datagram's answer has the address of the link by which the node reaches the client, which is not the
    /// one that the client asked where that link is the tunnel. Only the plugin `bridge` lets the pod's address go to another node.
    fn loses_answers(&self, mode: ProxyMode) -> bool {
        let by_tunnel = self.cni == "bridge" && self.underlay == "vxlan" && self.node_port_of == Some(1);
        mode == ProxyMode::Userspace && self.udp && by_tunnel
    }

    /// What the Service means: any of its pods that are ready, each with the same chance, the client itself among them if it is
    /// one.
    fn meant(&self, mode: ProxyMode) -> Ends {
        let ready = self.pods.iter().enumerate().filter(|(_, (_, ready, _))| *ready);
        let mut asked: Vec<(String, bool)> =
            ready.map(|(at, (.., listens))| (format!("web-{at}"), *listens)).collect();
        if self.asks_itself {
            asked.push(("client".to_string(), true));
        }
        let all = asked.len() as u128;
        let closed = asked.iter().filter(|(_, listens)| !listens).count() as u128;
        // What a client lives through that nobody takes. What it has sent by the time that kube-proxy gives up is not read, which
        // resets the connection.
        let refused = match (mode, self.udp) {
            (ProxyMode::Userspace, false) if all == 0 => Verdict::Closed,
            (ProxyMode::Userspace, false) => Verdict::Reset,
            (ProxyMode::Userspace, true) => Verdict::Timeout,
            (ProxyMode::Iptables | ProxyMode::Nftables | ProxyMode::Ipvs, _) => Verdict::Refused,
        };
        let answer = if self.loses_answers(mode) { Verdict::Timeout } else { Verdict::Answered };
        // How likely it is that all that are asked refuse: one pod, but kube-proxy asks up to four for a connection, none twice
        // before each was asked.
        let asks_again = mode == ProxyMode::Userspace && !self.udp;
        let tries = all.min(if asks_again { 4 } else { 1 });
        let ways: u128 = (0..tries).map(|at| all - at).product();
        let without: u128 = (0..tries).map(|at| closed.saturating_sub(at)).product();
        let mut ends = Ends::new();
        if without > 0 {
            add(&mut ends, String::new(), refused, Probability::new(without, ways));
        }
        for (name, _) in asked.into_iter().filter(|(_, listens)| *listens) {
            let share = Probability::new(ways - without, ways * (all - closed));
            add(&mut ends, name, answer, share);
        }
        ends
    }
}

fn add(ends: &mut Ends, who: String, verdict: Verdict, share: Probability) {
    let sum = ends.entry((who, verdict.as_str())).or_insert(Probability::ZERO);
    *sum = sum.plus(share);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_pod_gets_any_ready_pod_of_a_service_with_the_same_chance_in_all_modes(small in small()) {
        for mode in [ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs, ProxyMode::Userspace] {
            prop_assert_eq!(small.ends(mode), small.meant(mode), "{:?}", mode);
        }
    }
}
