//! Random flows through any cluster, the same for the same seed.
//!
//! In: a network and dice. Out: [`Flow`]s whose ends exist in it, or deliberately do not: from pods, nodes and outside, to pods, nodes and
//! Services by each of their frontends, and to the internet. O(objects) once, O(1) for a flow.

use std::net::{IpAddr, SocketAddr};

use kubenet_core::addr::{Family, Protocol};
use kubenet_core::network::{Network, Question};

use super::dice::Dice;

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where it starts, in the grammar of questions.
    pub from: String,
    /// Where it is sent.
    pub to: String,
    /// The transport.
    pub protocol: Protocol,
    /// The family.
    pub family: Family,
    /// Bytes of payload.
    pub payload: u16,
    /// The source port, another for each flow.
    pub sport: u16,
    /// What it tries, in words: the row of the table.
    pub feature: &'static str,
}

impl Flow {
    /// The question that it asks the model.
    pub fn question(&self) -> Question {
        let mut question = Question::new(self.from.clone(), self.to.clone());
        question.protocol = Some(self.protocol);
        question.family = Some(self.family);
        question.sport = Some(self.sport);
        question.payload = self.payload;
        question
    }
}

/// The hosts outside of random clusters: those of documentation (RFC 5737, RFC 3849).
pub const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7)),
];

const FIRST_PORT: u16 = 20_000;
const PORTS: usize = 9_000;
/// A port that nothing listens at.
const CLOSED: u16 = 9;
/// Bytes of a datagram.
const DATAGRAM: u16 = 12;

/// Where a flow can go.
struct Aim {
    to: String,
    protocol: Protocol,
    family: Family,
    feature: &'static str,
    /// Hosts outside may ask for it.
    is_public: bool,
}

/// Draws flows through a network with these hosts outside, of which the first of each family takes part. None where it has nobody
/// to send to.
pub fn draw(network: &Network, dice: &mut Dice, count: usize, outside: &[IpAddr]) -> Vec<Flow> {
    let outside_of = |family| outside.iter().copied().find(|addr| Family::of(*addr) == family);
    let hosts = [Family::V4, Family::V6].into_iter().filter_map(outside_of);
    let aims = aims(network, hosts);
    let senders = senders(network);
    let groups = groups(&aims);
    let mut flows = Vec::new();
    while flows.len() < count {
        let (Some(group), sport) = (dice.of(&groups), FIRST_PORT + (flows.len() % PORTS) as u16) else {
            return flows;
        };
        let Some(aim) = dice.of(group) else { return flows };
        let inside = |dice: &mut Dice| {
            let can = |sender: &&(String, Vec<Family>)| sender.1.contains(&aim.family);
            let able: Vec<&(String, Vec<Family>)> = senders.iter().filter(can).collect();
            dice.of(&able).map(|(name, _)| name.clone())
        };
        let outside = outside_of(aim.family).filter(|_| aim.is_public && dice.percent(50));
        let from = match outside {
            Some(outside) => Some(format!("internet/{outside}")),
            None => inside(dice),
        };
        let Some(from) = from else { return flows };
        let payload = if aim.protocol == Protocol::Tcp { 0 } else { DATAGRAM };
        flows.push(Flow {
            from,
            to: aim.to.clone(),
            protocol: aim.protocol,
            family: aim.family,
            payload,
            sport,
            feature: aim.feature,
        });
    }
    flows
}

/// The aims by feature, so that each feature is drawn as often, however many pods there are.
fn groups(aims: &[Aim]) -> Vec<Vec<&Aim>> {
    let mut groups: Vec<Vec<&Aim>> = Vec::new();
    for aim in aims {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| first.feature == aim.feature))
        {
            Some(group) => group.push(aim),
            None => groups.push(vec![aim]),
        }
    }
    groups
}

fn senders(network: &Network) -> Vec<(String, Vec<Family>)> {
    let families = |addrs: &[IpAddr]| addrs.iter().map(|addr| Family::of(*addr)).collect();
    let cluster = network.cluster();
    let pods = cluster.pods.iter().filter(|pod| !pod.host_network && !pod.terminal && pod.node.is_some());
    let pods = pods.map(|pod| (format!("{}/pod/{}", pod.namespace, pod.name), families(&pod.addresses)));
    let nodes = cluster.nodes.iter().map(|node| (format!("node/{}", node.name), families(&node.addresses)));
    pods.chain(nodes).collect()
}

fn aims(network: &Network, outside: impl Iterator<Item = IpAddr>) -> Vec<Aim> {
    let cluster = network.cluster();
    let mut aims = Vec::new();
    let mut aim = |addr: IpAddr, port: u16, protocol, feature, is_public| {
        let to = if protocol == Protocol::Icmp {
            addr.to_string()
        } else {
            SocketAddr::new(addr, port).to_string()
        };
        aims.push(Aim { to, protocol, family: Family::of(addr), feature, is_public });
    };
    let mut host_ports = Vec::new();
    for pod in cluster.pods.iter().filter(|pod| !pod.terminal && pod.node.is_some()) {
        let node = pod.node.and_then(|node| cluster.nodes.get(node as usize));
        for addr in pod.addresses.iter().copied() {
            aim(addr, 0, Protocol::Icmp, "ping a pod", false);
            aim(addr, CLOSED, Protocol::Tcp, "closed port, TCP", false);
            aim(addr, CLOSED, Protocol::Udp, "closed port, UDP", false);
        }
        for port in pod.containers.iter().flat_map(|container| &container.ports) {
            let feature = if pod.host_network { "pod on the host's network" } else { "pod to pod" };
            for addr in pod.addresses.iter().copied() {
                aim(addr, port.port, port.protocol, feature, false);
            }
            if let (Some(host_port), Some(node)) = (port.host_port.filter(|_| !pod.host_network), node) {
                host_ports.extend(node.addresses.iter().map(|addr| (*addr, host_port, port.protocol)));
            }
        }
    }
    for (addr, port, protocol) in host_ports {
        aim(addr, port, protocol, "hostPort", true);
    }
    for service in cluster.services.iter() {
        for port in &service.ports {
            for addr in service.cluster_ips.iter().copied() {
                aim(addr, port.port, port.protocol, "ClusterIP", false);
            }
            let families: Vec<Family> = service.cluster_ips.iter().map(|addr| Family::of(*addr)).collect();
            for node in
                port.node_port.iter().flat_map(|port| cluster.nodes.iter().map(move |node| (node, *port)))
            {
                for addr in
                    node.0.addresses.iter().copied().filter(|addr| families.contains(&Family::of(*addr)))
                {
                    aim(addr, node.1, port.protocol, "NodePort", true);
                }
            }
            for balanced in service.load_balancer.iter().flat_map(|balancer| &balancer.addresses) {
                aim(balanced.addr, port.port, port.protocol, "LoadBalancer", true);
            }
        }
    }
    for (addr, service) in cluster.external_ips() {
        for port in cluster.services.get(*service as usize).iter().flat_map(|service| &service.ports) {
            aim(*addr, port.port, port.protocol, "externalIPs", true);
        }
    }
    let has = |family| {
        cluster.nodes.iter().any(|node| node.addresses.iter().any(|addr| Family::of(*addr) == family))
    };
    for outside in outside.filter(|outside| has(Family::of(*outside))) {
        aim(outside, 443, Protocol::Tcp, "egress to the internet", false);
        aim(outside, 0, Protocol::Icmp, "ping the internet", false);
    }
    aims
}
