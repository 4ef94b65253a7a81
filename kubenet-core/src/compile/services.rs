//! What kube-proxy and the others that write rules do on a node.
//!
//! In: a node of a cluster. Out: its rules, made when a packet looks them up ([`NodeSupply`]); in mode `ipvs` the link that has
//! the addresses of Services, and in mode `userspace` the sockets of kube-proxy. What another CNI does to packets that leave the pod
//! network is a rule whose action is unknown, with the words that a trace shows.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::kernel::{own_link, setting_origin};
use super::node::CARD;
use super::service::{NodeSupply, ProxyConfig, ipvs};
use crate::addr::Family;
use crate::cluster::{Cluster, Cni, Node, ProxyMode};
use crate::origin::Origin;
use crate::plan::{
    Action, Address, Chain, Hook, LinkKind, MachinePlan, Match, MoreSockets, Netfilter, Netns, RouteScope,
    Rule, Unknown,
};

/// `srcnat` of `enum nf_ip_hook_priorities`.
const SRCNAT: i32 = 100;
/// What a dummy device gets (`ether_setup`).
const DUMMY_MTU: u32 = 1500;

/// Adds a node's rules.
pub(super) fn add(cluster: &Cluster, node: &Node, plan: &mut MachinePlan) {
    let Some(host) = plan.netns.first_mut() else { return };
    if let Some(supply) = cluster.node_named(&node.name).and_then(|place| NodeSupply::new(cluster, place)) {
        if cluster.settings.proxy_mode.value == ProxyMode::Ipvs {
            add_dummy(cluster, node, &supply, host);
        }
        if let Some(sockets) = supply.sockets() {
            host.more_sockets = MoreSockets::Supplied(Arc::new(sockets));
        }
        host.netfilter = Netfilter::Supplied(Arc::new(supply));
    }
    if matches!(cluster.settings.cni.value, Cni::Other(_)) {
        host.chains.push(Chain {
            name: "masquerade".into(),
            hook: Hook::Postrouting,
            priority: SRCNAT,
            policy: Action::Accept,
            rules: Vec::from([masquerade(cluster)]),
        });
    }
}

/// The link that has the addresses of Services, which makes them the node's own. kube-proxy never sets it up: it is there for its
/// addresses only (`pkg/proxy/ipvs/netlink_linux.go EnsureDummyDevice`, v1.36).
fn add_dummy(cluster: &Cluster, node: &Node, supply: &NodeSupply, host: &mut Netns) {
    let origin = Origin::implied("kube-proxy");
    let mut link = own_link(node, ipvs::LINK, LinkKind::Dummy, DUMMY_MTU, &origin);
    (link.up, link.carrier, link.noarp) = (false, false, true);
    for config in supply.configs() {
        let address = |(addr, origin): (IpAddr, &Origin)| Address {
            net: IpNet::from(addr),
            scope: RouteScope::Global,
            origin: origin.clone(),
        };
        link.addresses.extend(ipvs::bound(cluster, config).map(address));
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

/// Another CNI than those whose rules are written may give packets of pods the node's address when they leave the pod network.
fn masquerade(cluster: &Cluster) -> Rule {
    let settings = &cluster.settings;
    let pods = settings.cluster_cidr.value.clone();
    let mut inside = pods.clone();
    inside.extend(settings.node_network.value.iter().copied());
    Rule {
        matches: Vec::from([
            Match::Oif(CARD.into()),
            Match::Source(pods),
            Match::Not(Box::new(Match::Destination(inside))),
        ]),
        action: Action::Unknown(Unknown {
            why: "the source address translation of packets that leave the pod network is not modelled"
                .into(),
            what_would_settle_it: "iptables-save -t nat on the node".into(),
        }),
        origin: setting_origin(&settings.cni, "cni"),
    }
}
