//! The modes come to the same from end to end: a pod of a small cluster asks a Service, every way that chance can fall is traced
//! through all machines, and the same pods get it with the same probabilities, the client living through the same.

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
    /// The Service's pods: the node of each, and whether it is ready.
    pods: Vec<(usize, bool)>,
    /// The pod that asks is one of the Service's.
    asks_itself: bool,
    /// The node at whose node port it asks; the cluster IP else.
    node_port_of: Option<usize>,
}

fn small() -> impl Strategy<Value = Small> {
    let cni = prop::sample::select(&["bridge", "kindnet", "flannel"][..]);
    let underlay = prop::sample::select(&["host-gw", "vxlan"][..]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let pods = vec((0_usize..2, prop::bool::weighted(0.8)), 0..5);
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

/// Who gets it, how likely that is, and what the client lives through.
type End = (String, Probability, Verdict);

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
        all.extend(servers.map(|(at, (node, ready))| self.pod(&format!("web-{at}"), *node, true, *ready)));
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

    fn ends(&self, mode: ProxyMode) -> Vec<End> {
        let mut assume = Assume { proxy_mode: Some(mode), ..Assume::default() };
        assume.set("cni", self.cni).expect("a CNI");
        assume.set("underlay", self.underlay).expect("an underlay");
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
        let mut ends = Vec::new();
        for trace in network.traces(&question).expect("an answer") {
            assert_eq!(trace.unexplored, Probability::ZERO);
            ends.extend(trace.outcomes.iter().map(|case| {
                let who = case.delivered_to.as_ref().map_or_else(String::new, |got| got.who.name.to_string());
                (who, case.probability, case.verdict)
            }));
        }
        ends.sort_by(|a, b| (&a.0, a.2.as_str()).cmp(&(&b.0, b.2.as_str())));
        ends
    }

    /// What the Service means: any of its pods that are ready, each with the same chance, the client itself among them if it is one.
    fn meant(&self) -> Vec<End> {
        let servers = self.pods.iter().enumerate().filter(|(_, (_, ready))| *ready);
        let mut names: Vec<String> = servers.map(|(at, _)| format!("web-{at}")).collect();
        if self.asks_itself {
            names.insert(0, "client".to_string());
        }
        let share = Probability::new(1, names.len().max(1) as u128);
        names.into_iter().map(|name| (name, share, Verdict::Answered)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_pod_gets_any_ready_pod_of_a_service_with_the_same_chance_in_all_modes(small in small()) {
        let meant = small.meant();
        for mode in [ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs, ProxyMode::Userspace] {
            let nobody = match (mode, small.udp) {
                (ProxyMode::Userspace, false) => Verdict::Closed,
                (ProxyMode::Userspace, true) => Verdict::Timeout,
                (ProxyMode::Iptables | ProxyMode::Nftables | ProxyMode::Ipvs, _) => Verdict::Refused,
            };
            let expected =
                if meant.is_empty() { vec![(String::new(), Probability::ONE, nobody)] } else { meant.clone() };
            prop_assert_eq!(small.ends(mode), expected, "{:?}", mode);
        }
    }
}
