//! Random clusters and random flows through them, the same for the same seed.
//!
//! In: a seed and a proxy mode. Out: manifests, and questions whose ends exist in them. What is drawn covers what a plan can differ in: the
//! CNI and the underlay, the families, types of Services with their policies, endpoints that are not ready or not there, host ports,
//! pods in the network of their node; and senders in pods, on nodes and outside.

use std::fmt::Write as _;

use kubenet_core::addr::{Family, Protocol};
use kubenet_core::assume::ProxyMode;

/// Numbers that look random, the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..of`; 0 where there is none.
    pub const fn below(&mut self, of: usize) -> usize {
        if of == 0 { 0 } else { (self.roll() % of as u64) as usize }
    }

    /// Yes, this many times in a hundred.
    pub const fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of a list, which is not empty.
    fn of<'t, T>(&mut self, list: &'t [T]) -> Option<&'t T> {
        list.get(self.below(list.len()))
    }
}

/// A flow of a random cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where it starts, in the grammar of questions.
    pub from: String,
    /// Where it is sent.
    pub to: String,
    /// The transport.
    pub protocol: Protocol,
    /// The family, where the words leave it open.
    pub family: Option<Family>,
    /// Bytes of payload.
    pub payload: u16,
    /// The source port, another for each flow.
    pub sport: u16,
    /// What it tries, in a word: the row of the table.
    pub feature: &'static str,
}

/// A random cluster with flows through it.
#[derive(Clone, Debug)]
pub struct Random {
    /// Its manifests, with an Assumptions document first.
    pub manifests: String,
    /// The flows.
    pub flows: Vec<Flow>,
}

/// What the flows are drawn from.
struct Drawn {
    families: Vec<Family>,
    nodes: usize,
    pods: Vec<Pod>,
    services: Vec<Service>,
}

struct Pod {
    name: String,
    tcp: u16,
    udp: u16,
    on_host: bool,
    host_port: Option<u16>,
}

struct Service {
    name: String,
    protocol: Protocol,
    kind: Kind,
    node_port: u16,
    external_ip: Option<String>,
    vip: Option<String>,
    family: Family,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cluster,
    NodePort,
    LoadBalancer,
}

/// The hosts outside that flows go to and come from.
pub const OUTSIDE: [&str; 2] = ["198.51.100.7", "2001:db8:ffff::7"];

/// Draws a cluster and flows through it.
pub fn random(seed: u64, mode: ProxyMode, flows: usize) -> Random {
    let mut dice = Dice::new(seed);
    let mut manifests = String::new();
    let drawn = cluster(&mut dice, mode, &mut manifests);
    let mut list = Vec::new();
    while list.len() < flows {
        let sport = 20_000 + (list.len() % 10_000) as u16;
        list.extend(flow(&mut dice, &drawn, sport));
    }
    Random { manifests, flows: list }
}

fn cluster(dice: &mut Dice, mode: ProxyMode, out: &mut String) -> Drawn {
    let nodes = 1 + dice.below(3);
    let cni = ["bridge", "kindnet", "flannel"][dice.below(3)];
    let underlay = match cni {
        "flannel" => ["vxlan", "host-gw"][dice.below(2)],
        _ => "host-gw",
    };
    let families = match dice.below(4) {
        0 | 1 => vec![Family::V4],
        2 => vec![Family::V6],
        _ => vec![Family::V4, Family::V6],
    };
    let range = |v4: &str, v6: &str| {
        let of = |family: &Family| match family {
            Family::V4 => format!("\"{v4}\""),
            Family::V6 => format!("\"{v6}\""),
        };
        families.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    let _ = writeln!(
        out,
        "apiVersion: kubenet/v1\nkind: Assumptions\nspec:\n  cni: {cni}\n  underlay: {underlay}\n  proxyMode: {mode}\n  nodes: {nodes}\n  \
         clusterCidr: [{}]\n  serviceCidr: [{}]\n  nodeNetwork: [{}]",
        range("10.244.0.0/16", "fd00:10:244::/56"),
        range("10.96.0.0/16", "fd00:10:96::/112"),
        range("172.18.0.0/24", "fd00:172:18::/64"),
    );
    if dice.percent(30) {
        let _ = writeln!(out, "  masqueradeAll: true");
    }
    let apps = 1 + dice.below(3);
    let mut pods = Vec::new();
    let mut place = String::new();
    for at in 0..3 + dice.below(5) {
        let app = dice.below(apps);
        let pod = pod(dice, at, app, nodes, &mut place);
        pods.push(pod);
    }
    let _ = writeln!(out, "  place: {{ {} }}", place.trim_end_matches(", "));
    for (at, (pod, app, node)) in pods.iter().enumerate() {
        write_pod(dice, out, pod, *app, *node, at);
    }
    let services = (0..2 + dice.below(3)).map(|at| service(dice, out, at, apps, &families)).collect();
    Drawn { families, nodes, pods: pods.into_iter().map(|(pod, ..)| pod).collect(), services }
}

fn pod(dice: &mut Dice, at: usize, app: usize, nodes: usize, place: &mut String) -> (Pod, usize, usize) {
    let node = 1 + dice.below(nodes);
    let name = format!("p{at}");
    let _ = write!(place, "default/{name}: node-{node}, ");
    let on_host = dice.percent(12);
    let (tcp, udp) = if on_host { (9000 + at as u16, 9100 + at as u16) } else { (8080, 5353) };
    let host_port = (!on_host && dice.percent(25)).then_some(7000 + at as u16);
    (Pod { name, tcp, udp, on_host, host_port }, app, node)
}

fn write_pod(dice: &mut Dice, out: &mut String, pod: &Pod, app: usize, _node: usize, _at: usize) {
    let Pod { name, tcp, udp, on_host, host_port } = pod;
    let host = host_port.map_or(String::new(), |port| format!(", hostPort: {port}"));
    let network = if *on_host { "hostNetwork: true, " } else { "" };
    let _ = writeln!(
        out,
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ app: a{app} }} }}\nspec: {{ {network}containers: [{{ name: c, \
         ports: [{{ name: web, containerPort: {tcp}{host} }}, {{ name: dns, containerPort: {udp}, protocol: UDP }}] }}] }}"
    );
    if dice.percent(15) {
        let _ = writeln!(out, "status: {{ conditions: [{{ type: Ready, status: \"False\" }}] }}");
    }
}

fn service(dice: &mut Dice, out: &mut String, at: usize, apps: usize, families: &[Family]) -> Service {
    let kind = [Kind::Cluster, Kind::NodePort, Kind::LoadBalancer][dice.below(3)];
    let protocol = if dice.percent(70) { Protocol::Tcp } else { Protocol::Udp };
    let node_port = 30_100 + at as u16;
    let family = families.first().copied().unwrap_or(Family::V4);
    let name = format!("s{at}");
    // An application that nothing belongs to has no endpoints.
    let app = dice.below(apps + 1);
    let (word, target) = match protocol {
        Protocol::Udp => ("UDP", "dns"),
        Protocol::Tcp | Protocol::Sctp | Protocol::Icmp => ("TCP", "web"),
    };
    let mut port = format!("name: p, port: 80, targetPort: {target}, protocol: {word}");
    let mut spec = format!("selector: {{ app: a{app} }}");
    let mut status = String::new();
    let (mut external_ip, mut vip) = (None, None);
    if kind != Kind::Cluster {
        let _ = write!(port, ", nodePort: {node_port}");
        let policy = ["Cluster", "Local"][dice.below(2)];
        let word = if kind == Kind::NodePort { "NodePort" } else { "LoadBalancer" };
        let _ = write!(spec, ", type: {word}, externalTrafficPolicy: {policy}");
    } else if dice.percent(30) {
        let addr = address(family, 40 + at);
        let _ = write!(spec, ", externalIPs: [\"{addr}\"]");
        external_ip = Some(addr);
    }
    if kind == Kind::LoadBalancer {
        let addr = address(family, 60 + at);
        status = format!("status: {{ loadBalancer: {{ ingress: [{{ ip: \"{addr}\" }}] }} }}\n");
        vip = Some(addr);
    }
    if dice.percent(25) {
        spec.push_str(", internalTrafficPolicy: Local");
    }
    if dice.percent(20) {
        spec.push_str(", sessionAffinity: ClientIP");
    }
    let _ = write!(
        out,
        "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ {spec}, ports: [{{ {port} }}] }}\n{status}"
    );
    Service { name, protocol, kind, node_port, external_ip, vip, family }
}

fn address(family: Family, last: usize) -> String {
    match family {
        Family::V4 => format!("203.0.113.{last}"),
        Family::V6 => format!("2001:db8:1::{last:x}"),
    }
}

fn flow(dice: &mut Dice, drawn: &Drawn, sport: u16) -> Option<Flow> {
    let family = *dice.of(&drawn.families)?;
    let outside = OUTSIDE[usize::from(family == Family::V6)];
    let from_outside = || format!("internet/{outside}");
    let pods: Vec<&Pod> = drawn.pods.iter().filter(|pod| !pod.on_host).collect();
    let node = format!("node/node-{}", 1 + dice.below(drawn.nodes));
    let inside = |dice: &mut Dice| match dice.of(&pods) {
        Some(pod) if !dice.percent(20) => format!("pod/{}", pod.name),
        _ => format!("node/node-{}", 1 + dice.below(drawn.nodes)),
    };
    let make = |from: String, to: String, protocol, family, payload, feature| {
        Some(Flow { from, to, protocol, family, payload, sport, feature })
    };
    let datagram = |protocol| if protocol == Protocol::Udp { 12 } else { 0 };
    match dice.below(10) {
        0 => {
            let pod = dice.of(&drawn.pods)?;
            let (from, to) = (inside(dice), format!("pod/{}", pod.name));
            make(from, to, Protocol::Icmp, Some(family), 20, "ping a pod")
        }
        1 | 2 => {
            let pod = dice.of(&drawn.pods)?;
            let protocol = if dice.percent(60) { Protocol::Tcp } else { Protocol::Udp };
            let port = if protocol == Protocol::Tcp { pod.tcp } else { pod.udp };
            let (port, feature) =
                if dice.percent(15) { (9, "closed port of a pod") } else { (port, "pod to pod") };
            let to = format!("pod/{}:{port}", pod.name);
            make(inside(dice), to, protocol, Some(family), datagram(protocol), feature)
        }
        3 => {
            let to = end(outside, 443);
            make(inside(dice), to, Protocol::Tcp, None, 0, "egress to the internet")
        }
        4 => {
            let port = drawn.pods.iter().find_map(|pod| pod.host_port)?;
            let from = if dice.percent(50) { from_outside() } else { inside(dice) };
            make(from, format!("{node}:{port}"), Protocol::Tcp, Some(family), 0, "host port")
        }
        _ => {
            let service = dice.of(&drawn.services)?;
            let (protocol, payload) = (service.protocol, datagram(service.protocol));
            let family = service.family;
            let outside = format!("internet/{}", OUTSIDE[usize::from(family == Family::V6)]);
            let aims: [(Option<String>, &'static str, bool); 4] = [
                (Some(format!("svc/{}:80", service.name)), "ClusterIP", false),
                (
                    (service.kind != Kind::Cluster).then(|| format!("{node}:{}", service.node_port)),
                    "NodePort",
                    true,
                ),
                (service.vip.as_ref().map(|addr| end(addr, 80)), "LoadBalancer", true),
                (service.external_ip.as_ref().map(|addr| end(addr, 80)), "externalIPs", true),
            ];
            let aims: Vec<(String, &'static str, bool)> = aims
                .into_iter()
                .filter_map(|(aim, feature, is_public)| Some((aim?, feature, is_public)))
                .collect();
            let (to, feature, is_public) = dice.of(&aims)?.clone();
            let from = if is_public && dice.percent(50) { outside } else { inside(dice) };
            make(from, to, protocol, Some(family), payload, feature)
        }
    }
}

/// A port of an address.
fn end(addr: &str, port: u16) -> String {
    if addr.contains(':') { format!("[{addr}]:{port}") } else { format!("{addr}:{port}") }
}

#[cfg(test)]
mod tests {
    use kubenet_core::network::Network;

    use super::*;
    use crate::parity::question;

    #[test]
    fn every_flow_of_a_random_cluster_has_an_answer() {
        for seed in 0..40 {
            for mode in [ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs, ProxyMode::Userspace] {
                let random = random(seed, mode, 20);
                let network = Network::from_text("random.yaml", &random.manifests);
                let errors: Vec<String> = network
                    .diagnostics()
                    .filter(|diagnostic| diagnostic.severity == kubenet_core::origin::Severity::Error)
                    .map(|diagnostic| diagnostic.message.clone())
                    .collect();
                assert!(errors.is_empty(), "seed {seed}: {errors:?}\n{}", random.manifests);
                for flow in &random.flows {
                    let trace = network.trace(&question(flow));
                    assert!(trace.is_ok(), "seed {seed}: {flow:?}: {trace:?}\n{}", random.manifests);
                }
            }
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_cluster_and_another_seed_another() {
        let drawn = |seed| random(seed, ProxyMode::Iptables, 10);
        assert_eq!(drawn(7).manifests, drawn(7).manifests);
        assert_eq!(drawn(7).flows, drawn(7).flows);
        assert_ne!(drawn(7).manifests, drawn(8).manifests);
    }
}
