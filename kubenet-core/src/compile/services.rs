//! What kube-proxy and the others that write rules do on a node.
//!
//! In: a node of a cluster. Out: its rules, made when a packet looks them up ([`NodeSupply`]), and in mode `ipvs` the link that has
//! the addresses of Services. In mode `userspace`, which is not compiled, a packet that kube-proxy would touch meets a rule whose
//! action is unknown, with the words that a trace shows; every other packet passes.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ipnet::IpNet;

use super::kernel::{own_link, setting_origin};
use super::node::CARD;
use super::service::{NodeSupply, ProxyConfig, ipvs};
use crate::addr::Family;
use crate::cluster::{Cluster, Cni, Node, ProxyMode};
use crate::origin::Origin;
use crate::plan::{
    Action, Address, Chain, Hook, LinkKind, MachinePlan, Match, Netfilter, Netns, Protocol, RouteScope, Rule,
    Unknown,
};

/// `dstnat` and `srcnat` of `enum nf_ip_hook_priorities`.
const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;
/// What a dummy device gets (`ether_setup`).
const DUMMY_MTU: u32 = 1500;
/// The API server's default node port range.
const NODE_PORTS: (u16, u16) = (30000, 32767);

/// Adds a node's rules.
pub(super) fn add(cluster: &Cluster, node: &Node, plan: &mut MachinePlan) {
    let Some(host) = plan.netns.first_mut() else { return };
    let supply = cluster.node_named(&node.name).and_then(|place| NodeSupply::new(cluster, place));
    let compiled = supply.is_some();
    match supply {
        Some(supply) => {
            if cluster.settings.proxy_mode.value == ProxyMode::Ipvs {
                add_dummy(cluster, node, &supply, host);
            }
            host.netfilter = Netfilter::Supplied(Arc::new(supply));
        }
        None => {
            let rules = service_rules(cluster, node);
            if !rules.is_empty() {
                host.chains.push(chain("services", Hook::Prerouting, DSTNAT, rules.clone()));
                host.chains.push(chain("services", Hook::Output, DSTNAT, rules));
            }
        }
    }
    if !compiled || matches!(cluster.settings.cni.value, Cni::Other(_)) {
        host.chains.push(chain("masquerade", Hook::Postrouting, SRCNAT, Vec::from([masquerade(cluster)])));
    }
}

/// The link that has the addresses of Services, which makes them the node's own. kube-proxy never sets it up: it is there for its
/// addresses only (`pkg/proxy/ipvs/netlink_linux.go EnsureDummyDevice`, v1.36).
fn add_dummy(cluster: &Cluster, node: &Node, supply: &NodeSupply, host: &mut Netns) {
    let origin = Origin::implied("kube-proxy");
    let mut link = own_link(node, ipvs::LINK, LinkKind::Dummy, DUMMY_MTU, &origin);
    (link.up, link.carrier, link.noarp) = (false, false, true);
    for config in supply.configs() {
        for (addr, origin) in ipvs::bound(cluster, config) {
            link.addresses.push(Address { net: addr.into(), scope: RouteScope::Global, origin });
        }
    }
    host.links.push(link);
}

/// Whether kube-proxy sets `net.ipv4.conf.all.route_localnet`, so that node ports answer at 127.0.0.1
/// (`pkg/proxy/iptables/proxier.go`, v1.36).
pub(super) fn sets_route_localnet(cluster: &Cluster, node: u32) -> bool {
    cluster.settings.proxy_mode.value == ProxyMode::Iptables
        && ProxyConfig::of_node(cluster, node, Family::V4)
            .is_some_and(|config| config.node_ip.is_some() && config.effective_localhost_node_ports())
}

fn chain(name: &str, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), hook, priority, policy: Action::Accept, rules }
}

fn unknown(why: String, what_would_settle_it: String) -> Action {
    Action::Unknown(Unknown { why, what_would_settle_it })
}

fn service_rules(cluster: &Cluster, node: &Node) -> Vec<Rule> {
    let settings = &cluster.settings;
    let mode = settings.proxy_mode.value;
    let settle = || format!("the node's own rules: iptables-save or nft list ruleset on {}", node.name);
    let mut rules = Vec::new();
    let ranges = settings.service_cidr.value.clone();
    if !ranges.is_empty() {
        let why = format!("kube-proxy's {mode} rules for Services are not modelled");
        let origin = setting_origin(&settings.service_cidr, "serviceCidr");
        let matches = Vec::from([Match::Destination(ranges)]);
        rules.push(Rule { matches, action: unknown(why, settle()), origin });
    }
    let mut protocols: Vec<Protocol> = cluster
        .services
        .iter()
        .flat_map(|service| &service.ports)
        .filter_map(|port| port.node_port.map(|_| port.protocol))
        .collect();
    protocols.sort_unstable();
    protocols.dedup();
    let own: Vec<IpNet> = node.addresses.iter().copied().map(IpNet::from).collect();
    for protocol in protocols {
        let why = format!("kube-proxy's {mode} rules for node ports are not modelled");
        let (low, high) = NODE_PORTS;
        let matches =
            Vec::from([Match::Protocol(protocol), Match::Destination(own.clone()), Match::Dport(low, high)]);
        rules.push(Rule { matches, action: unknown(why, settle()), origin: node.origin.clone() });
    }
    rules.extend(host_port_rules(cluster, node, &own));
    rules
}

/// Host ports of the pods of this node (the portmap plugin's).
fn host_port_rules(cluster: &Cluster, node: &Node, own: &[IpNet]) -> Vec<Rule> {
    let Some(place) = cluster.node_named(&node.name) else { return Vec::new() };
    let ports = super::node::own_pods(cluster, place).flat_map(|(_, pod)| {
        pod.containers.iter().flat_map(|c| &c.ports).filter_map(|port| Some((port, port.host_port?)))
    });
    let rule = |(port, number): (&crate::cluster::ContainerPort, u16)| {
        let at = port.host_ip.filter(|addr| !addr.is_unspecified());
        let to = at.map_or_else(|| own.to_vec(), |addr| Vec::from([IpNet::from(addr)]));
        Rule {
            matches: Vec::from([
                Match::Protocol(port.protocol),
                Match::Destination(to),
                Match::Dport(number, number),
            ]),
            action: unknown(
                "the portmap plugin's rules for host ports are not modelled".into(),
                format!("iptables-save -t nat on {}", node.name),
            ),
            origin: port.origin.clone(),
        }
    };
    ports.map(rule).collect()
}

/// Packets of pods that leave the pod network get the node's address. flannel and kindnet do so for everything outside of the
/// pod network, the nodes' own network included; with plain bridges only what leaves the nodes' network is taken to be
/// translated, as ip-masq-agent does.
fn masquerade(cluster: &Cluster) -> Rule {
    let settings = &cluster.settings;
    let pods = settings.cluster_cidr.value.clone();
    let mut inside = pods.clone();
    match settings.cni.value {
        Cni::Flannel | Cni::Kindnet => {}
        Cni::Bridge | Cni::Other(_) => inside.extend(settings.node_network.value.iter().copied()),
    }
    Rule {
        matches: Vec::from([
            Match::Oif(CARD.into()),
            Match::Source(pods),
            Match::Not(Box::new(Match::Destination(inside))),
        ]),
        action: unknown(
            "the source address translation of packets that leave the pod network is not modelled".into(),
            "iptables-save -t nat on the node".into(),
        ),
        origin: setting_origin(&settings.cni, "cni"),
    }
}
