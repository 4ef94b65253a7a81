//! How the cluster's network is set up, as far as the input shows it.
//!
//! In: [`Objects`]. Out: [`Detected`]: the settings that something states, each with its evidence, and the parts of the network
//! that are recognised but not modelled. Read are the programs on the nodes (DaemonSets, pods on the nodes' network: names,
//! images, arguments), ConfigMaps of kube-proxy, kubeadm and CNIs, and annotations, labels and versions of Nodes.
//! Nothing is guessed: what no source states stays assumed.
//!
//! Where two sources contradict each other, the more specific one counts and the other is told: what runs, before what it is
//! configured with, before what the installer was told, before what a distribution does when nobody says.
//! O(Nodes + pods + DaemonSets + ConfigMaps).

mod agent;
mod args;
mod claim;
mod cni;
mod config;
mod node;
mod version;

#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

use ipnet::IpNet;

use self::agent::Agent;
use self::claim::{Claim, Claims, Rank};
use super::{Cni, DetectLocalMode, Effect, NodePortAddresses, ProxyMode, Setting, Settings, Underlay};
use crate::addr::Family;
use crate::assume::Assume;
use crate::k8s::Objects;
use crate::origin::{Diagnostic, Origin};

/// What the input shows.
#[derive(Debug, Default)]
pub(super) struct Detected {
    /// The settings; what nothing states is assumed.
    pub(super) settings: Settings,
    /// What the CNI does in a way that is not modelled.
    pub(super) dataplanes: Vec<Dataplane>,
}

/// A part of the network that is not modelled.
#[derive(Clone, Debug)]
pub(super) struct Dataplane {
    /// For `Unmodelled::why`.
    pub(super) why: String,
    /// For `Unmodelled::what_would_settle_it`.
    pub(super) what_would_settle_it: String,
    /// What it could do to a packet.
    pub(super) effect: Effect,
    /// Which packets.
    pub(super) reach: Reach,
    /// Where it is seen.
    pub(super) origin: Origin,
}

/// Which packets a [`Dataplane`] handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those to virtual addresses of Services.
    Services,
    /// Those between pods of different nodes.
    BetweenNodes,
}

/// What the sources say, before it is decided.
#[derive(Debug, Default)]
struct Found {
    cnis: Vec<cni::Seen>,
    /// What enforces NetworkPolicies.
    enforcers: Vec<cni::Enforcer>,
    /// A CNI that would enforce them and is told not to.
    declines: Option<cni::Enforcer>,
    /// Cilium adds to another CNI.
    cilium_chained: bool,
    underlay: Claims<Underlay>,
    cluster_cidr: Claims<Vec<IpNet>>,
    service_cidr: Claims<Vec<IpNet>>,
    node_network: Claims<Vec<IpNet>>,
    mask_v4: Claims<u8>,
    mask_v6: Claims<u8>,
    mtu: Claims<u32>,
    proxy_mode: Claims<ProxyMode>,
    detect_local_mode: Claims<DetectLocalMode>,
    masquerade_all: Claims<bool>,
    node_port_addresses: Claims<NodePortAddresses>,
    localhost_node_ports: Claims<bool>,
    ipvs_scheduler: Claims<String>,
    /// The version of kube-proxy, such as `v1.21.1`.
    proxy_version: Claims<String>,
    /// kube-proxy, where it is seen to run.
    kube_proxy: Option<Origin>,
    dataplanes: Vec<Dataplane>,
}

/// Looks for what states how the network is set up. Where the user says which CNI it is, what would follow from another one
/// does not count.
pub(super) fn detect(objects: &Objects, assume: &Assume, log: &mut Vec<Diagnostic>) -> Detected {
    let mut found = Found::default();
    for agent in agent::agents(objects) {
        cni::see(&agent, &mut found);
        args::read(&agent, &mut found);
    }
    cni::see_elsewhere(objects, &mut found);
    node::read(objects, &mut found);
    let cni = match &assume.cni {
        Some(said) => found.cnis.iter().find(|seen| named(seen.cni) == *said).cloned(),
        None => cni::choose(&found, log),
    };
    if let Some(seen) = &cni {
        node::flannel_backends(objects, seen.cni, &mut found);
        config::read(objects, Some(seen.cni), &mut found);
        cni::consequences(objects, seen, &mut found);
    } else {
        config::read(objects, None, &mut found);
    }
    settle(objects, assume, cni, found, log)
}

fn settle(
    objects: &Objects,
    assume: &Assume,
    cni: Option<cni::Seen>,
    mut found: Found,
    log: &mut Vec<Diagnostic>,
) -> Detected {
    let mut s = Settings::default();
    if let Some(seen) = cni {
        s.cni = seen.setting();
        let itself = found.enforcers.iter().find(|by| by.who == seen.cni);
        let declines = found.declines.as_ref().filter(|by| by.who == seen.cni);
        let says =
            |value, by: &cni::Enforcer| Setting::detected(value, by.because.clone(), by.origin.clone());
        match (itself.or_else(|| found.enforcers.first()), declines) {
            (Some(by), _) => s.policy_enforced = says(true, by),
            (None, Some(by)) => s.policy_enforced = says(false, by),
            (None, None) => cni::enforces_none(&seen, &mut s.policy_enforced),
        }
    }
    if !s.cni.value.uses_pod_cidr() {
        only_if_pods_fit(objects, &mut found.cluster_cidr, log);
    }
    let a = assume;
    found.underlay.settle("underlay", a.underlay.is_some(), &mut s.underlay, log);
    found.cluster_cidr.settle("clusterCidr", a.cluster_cidr.is_some(), &mut s.cluster_cidr, log);
    found.service_cidr.settle("serviceCidr", a.service_cidr.is_some(), &mut s.service_cidr, log);
    found.node_network.settle("nodeNetwork", a.node_network.is_some(), &mut s.node_network, log);
    found.mask_v4.settle("nodeCidrMaskV4", a.node_cidr_mask_v4.is_some(), &mut s.node_cidr_mask_v4, log);
    found.mask_v6.settle("nodeCidrMaskV6", a.node_cidr_mask_v6.is_some(), &mut s.node_cidr_mask_v6, log);
    found.mtu.settle("mtu", a.mtu.is_some(), &mut s.mtu, log);
    found.proxy_mode.settle("proxyMode", a.proxy_mode.is_some(), &mut s.proxy_mode, log);
    let said = a.detect_local_mode.is_some();
    found.detect_local_mode.settle("detectLocalMode", said, &mut s.detect_local_mode, log);
    found.masquerade_all.settle("masqueradeAll", a.masquerade_all.is_some(), &mut s.masquerade_all, log);
    let said = a.node_port_addresses.is_some();
    found.node_port_addresses.settle("nodePortAddresses", said, &mut s.node_port_addresses, log);
    let said = a.localhost_node_ports.is_some();
    found.localhost_node_ports.settle("localhostNodePorts", said, &mut s.localhost_node_ports, log);
    let said = a.ipvs_scheduler.is_some();
    found.ipvs_scheduler.settle("ipvsScheduler", said, &mut s.ipvs_scheduler, log);
    version::settle(found.proxy_version, &mut s.proxy_version, log);
    Detected { settings: s, dataplanes: found.dataplanes }
}

/// A CNI that gives addresses by itself need not take them from the range that Kubernetes was told: what pods have tells.
fn only_if_pods_fit(objects: &Objects, ranges: &mut Claims<Vec<IpNet>>, log: &mut Vec<Diagnostic>) {
    let own = objects.pods.values().filter(|pod| !pod.spec.host_network);
    let running = own.filter(|pod| !matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")));
    let addresses = running.flat_map(|pod| pod.status.pod_ip.iter().map(move |ip| (pod, ip)));
    let mut addresses = addresses.filter_map(|(pod, ip)| Some((pod, ip.parse().ok()?)));
    let Some(best) = ranges.best() else { return };
    let outside = addresses.find(|(_, addr): &(_, core::net::IpAddr)| {
        let mut of_family = best.value.iter().filter(|net| Family::of_net(**net) == Family::of(*addr));
        !of_family.any(|net| net.contains(addr))
    });
    if let Some((pod, addr)) = outside {
        let message = alloc::format!(
            "clusterCidr: {}, but its pods have other addresses, such as {addr}",
            best.because
        );
        log.push(Diagnostic::note("setting-unused", message).from_origin(&pod.origin));
        *ranges = Claims::default();
    }
}

/// Reads prefixes from a text with commas or spaces: at most one per family, the first of each.
fn nets(text: &str) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> = Vec::new();
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    for net in words.filter_map(|word| word.trim_matches(['"', '\'']).parse::<IpNet>().ok()) {
        if !nets.iter().any(|other| Family::of_net(*other) == Family::of_net(net)) {
            nets.push(net.trunc());
        }
    }
    nets
}

impl Found {
    fn ranges(claims: &mut Claims<Vec<IpNet>>, rank: Rank, text: &str, because: String, origin: &Origin) {
        let value = nets(text);
        if !value.is_empty() {
            claims.add(Claim { value, because, origin: origin.clone(), rank });
        }
    }

    fn joins_nodes(&mut self, who: &str, how: &str, because: &str, origin: &Origin) {
        if self.dataplanes.iter().any(|known| known.reach == Reach::BetweenNodes) {
            return;
        }
        self.dataplanes.push(Dataplane {
            why: alloc::format!("{who} joins the nodes by {how} ({because}); that is not modelled"),
            what_would_settle_it: "tcpdump on both nodes".into(),
            effect: Effect::Change,
            reach: Reach::BetweenNodes,
            origin: origin.clone(),
        });
    }

    fn handles_services(&mut self, who: &str, because: &str, origin: &Origin) {
        if self.dataplanes.iter().any(|known| known.reach == Reach::Services) {
            return;
        }
        self.dataplanes.push(Dataplane {
            why: alloc::format!(
                "{who} handles Services instead of kube-proxy ({because}); that is not modelled"
            ),
            what_would_settle_it: "what the CNI's agent on the node shows of its Services".into(),
            effect: Effect::Change,
            reach: Reach::Services,
            origin: origin.clone(),
        });
    }
}

/// A CNI by its name.
fn named(name: &str) -> Cni {
    Cni::from(name)
}
