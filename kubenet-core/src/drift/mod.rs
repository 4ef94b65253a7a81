//! Drift: how a node that was observed differs from what its manifests call for, by what it does with packets.
//!
//! In: a cluster, and a node's machine as its dump shows it. Out: a [`Drift`] with [`Finding`]s in words. Rules are not compared as
//! text: the first packet to every frontend of every service port is sent from a pod, from the node and from outside through the
//! observed rules and through the ones that are called for, in every way that chance can fall, and what becomes of it
//! is compared. So another version or mode of kube-proxy is no difference, nor are weights that differ by rounding; the rules
//! that are called for are those of the mode in which the node works.
//!
//! Cost: O(service ports × their endpoints) packets on both sides, and one pass over the observed rules.
//!
//! Not compared: what filters do to a packet once its endpoint is chosen (network policies do that), hairpin, affinity, and
//! host ports.

mod bench;
mod frontends;
mod judge;
mod routes;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use self::bench::Packet;
use self::bench::{Bench, Outcome, Sources};
use self::judge::{Compared, Judge};
use crate::addr::{Family, Protocol};
use crate::cluster::{Cluster, ProxyMode};
use crate::compile;
use crate::compile::service::{Port, ProxyConfig, ports_of_service};
use crate::observe::is_observed;
use crate::origin::Origin;
use crate::plan::{MachineId, MachinePlan, Netfilter, Netns, Ruleset, nft};

/// The name of the serialised form.
pub const SCHEMA: &str = "kubenet/drift/v1";

/// How a node differs from what is called for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// `kubenet/drift/v1`.
    pub schema: Cow<'static, str>,
    /// The node's name.
    pub node: Arc<str>,
    /// The mode in which its kube-proxy works, where its rules tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_mode: Option<ProxyMode>,
    /// How many service ports were compared.
    pub service_ports: usize,
    /// How many packets were sent to compare them, each in every way that chance can fall.
    pub packets: usize,
    /// The differences, by Service, then those of the node itself.
    pub findings: Vec<Finding>,
    /// What the dump does not show, and so was not compared.
    pub not_compared: Vec<String>,
}

impl Drift {
    /// Whether anything differs. What is not known is no difference.
    pub fn is_drift(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind != FindingKind::NotKnown)
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What kind of difference it is.
    pub kind: FindingKind,
    /// The difference as a sentence.
    pub message: String,
    /// The Service and its port, as `shop/cart:7070`, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The endpoints that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
    /// The packets that show it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packets: Vec<Packet>,
    /// What calls for something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Kinds of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The node does not know the Service, or one of its frontends.
    MissingFrontend,
    /// Endpoints that the node should use and does not know.
    MissingEndpoint,
    /// The node sends to an address that is no endpoint, or none that it should use.
    StrayEndpoint,
    /// The node refuses or loses packets that should reach an endpoint, or refuses in another way than it should.
    Fate,
    /// The source address is replaced where it should not be, or the other way round.
    Masquerade,
    /// The endpoints get other shares of the connections.
    Share,
    /// The node answers at an address and port that no Service has.
    StrayFrontend,
    /// A pod range of another node that the node has no way to.
    Route,
    /// A setting of the kernel.
    Setting,
    /// What the node does is not known; no difference is told.
    NotKnown,
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sender {
    /// A pod of the node.
    Pod,
    /// The node itself.
    Node,
    /// A host outside of the cluster.
    Outside,
    /// A host that the Service's source ranges allow.
    Allowed,
}

impl Sender {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Pod => "a pod",
            Self::Node => "the node itself",
            Self::Outside => "outside",
            Self::Allowed => "a client in its source ranges",
        }
    }
}

/// Compares a node, by its place in [`Cluster::nodes`], with the machine that its dump shows. `None` where there is no such node.
pub fn drift(cluster: &Cluster, node: u32, observed: &MachinePlan) -> Option<Drift> {
    let name = cluster.nodes.get(node as usize)?.name.clone();
    let seen = observed.netns.first()?;
    let mut drift = Drift {
        schema: Cow::Borrowed(SCHEMA),
        node: name,
        proxy_mode: None,
        service_ports: 0,
        packets: 0,
        findings: Vec::new(),
        not_compared: Vec::new(),
    };
    // Rules that are not those of the dump are made when they are looked up, or are none.
    if let Netfilter::Whole(rules) = &seen.netfilter {
        drift.proxy_mode = mode_of(rules);
        services(cluster, node, seen, rules, &mut drift)?;
    } else {
        drift
            .not_compared
            .push("Services: the dump has no iptables-save, nft list ruleset or ipvsadm".to_string());
    }
    let desired = compile::machine(cluster, MachineId(node))?;
    let called_for = desired.netns.first()?;
    if seen.routes.iter().any(|route| is_observed(&route.origin)) {
        drift.findings.extend(routes::compare(cluster, node, called_for, seen));
    } else {
        drift.not_compared.push("routes: the dump has no ip route".to_string());
    }
    settings(called_for, seen, &mut drift);
    Some(drift)
}

/// The mode in which a kube-proxy wrote these rules.
fn mode_of(rules: &Ruleset) -> Option<ProxyMode> {
    let has_chain =
        |name: &str| rules.xt.iter().any(|table| &*table.name == "nat" && table.chain(name).is_some());
    if rules.nft.iter().any(|table| &*table.name == "kube-proxy") {
        Some(ProxyMode::Nftables)
    } else if !rules.ipvs.is_empty() {
        Some(ProxyMode::Ipvs)
    } else if has_chain("KUBE-PORTALS-CONTAINER") {
        Some(ProxyMode::Userspace)
    } else if has_chain("KUBE-SERVICES") {
        Some(ProxyMode::Iptables)
    } else {
        None
    }
}

/// What is called for, in a mode: that in which the node works.
fn called_for(cluster: &Cluster, node: u32, mode: ProxyMode) -> Option<(Cluster, Netns)> {
    let mut cluster = cluster.clone();
    if cluster.settings.proxy_mode.value != mode {
        let mut settings = (*cluster.settings).clone();
        settings.proxy_mode.value = mode;
        cluster.settings = Arc::new(settings);
    }
    let machine = compile::machine(&cluster, MachineId(node))?;
    let host = machine.netns.into_iter().next()?;
    Some((cluster, host))
}

fn services(cluster: &Cluster, node: u32, seen: &Netns, rules: &Ruleset, drift: &mut Drift) -> Option<()> {
    let mode = drift.proxy_mode;
    let wanted = mode.unwrap_or(cluster.settings.proxy_mode.value);
    if wanted == ProxyMode::Userspace {
        let why =
            "Services: in mode userspace the endpoints are in the memory of kube-proxy, where no dump looks";
        drift.not_compared.push(why.to_string());
        return Some(());
    }
    let (cluster, host) = called_for(cluster, node, wanted)?;
    for family in [Family::V4, Family::V6] {
        let config = ProxyConfig::of_node(&cluster, node, family)?;
        let Some(node_ip) = config.node_ip else { continue };
        if !translates(rules, family) {
            let mut places = 0..u32::try_from(cluster.services.len()).unwrap_or(u32::MAX);
            if places.any(|place| !ports_of_service(&cluster, place, &config).is_empty()) {
                drift.findings.push(no_nat(&drift.node, family));
            }
            continue;
        }
        let sources = Sources::new(&cluster, node, family, node_ip);
        let (mut desired, mut observed) = (Bench::new(&host, &sources), Bench::new(seen, &sources));
        let named = frontends::observed(rules, family, node_ip);
        // In this mode addresses of Services that the node does not know have a fate of their own.
        let unnamed = |packet: &Packet| {
            mode == Some(ProxyMode::Nftables) && !named.contains(&(packet.to, packet.protocol))
        };
        let mut known: BTreeSet<(SocketAddr, Protocol)> = BTreeSet::new();
        for place in 0..cluster.services.len() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            for port in ports_of_service(&cluster, place, &config) {
                let frontends = frontends::called_for(&port, node_ip);
                known.extend(frontends.iter().map(|to| (*to, port.record.protocol)));
                let mut judge = Judge::new(&drift.node, &port);
                for packet in packets(&port, &frontends, &sources) {
                    drift.packets += 1;
                    let source = sources.address(&packet, &port)?;
                    let mut seen = observed.send(&packet, source);
                    if seen.endpoints().is_empty() && unnamed(&packet) {
                        seen = Outcome::untouched();
                    }
                    judge.take(Compared { desired: desired.send(&packet, source), observed: seen, packet });
                }
                drift.service_ports += 1;
                drift.findings.extend(judge.findings());
            }
        }
        for &(to, protocol) in named.difference(&known) {
            // In mode `ipvs` a node port is a virtual server at every address of the node.
            let at_node = SocketAddr::new(node_ip, to.port());
            if config.local_addresses.contains(&to.ip()) && known.contains(&(at_node, protocol)) {
                continue;
            }
            let mut answers = sources.of_node().filter_map(|(from, source)| {
                drift.packets += 1;
                let packet = Packet { from, to, protocol };
                let endpoints = observed.send(&packet, source).endpoints();
                (!endpoints.is_empty()).then_some((packet, endpoints))
            });
            if let Some((packet, endpoints)) = answers.next() {
                drop(answers);
                drift.findings.push(judge::stray_frontend(&drift.node, packet, endpoints));
            }
        }
    }
    Some(())
}

/// Whether anything could change a destination in a family. A dump may show some of a node's tables only.
fn translates(rules: &Ruleset, family: Family) -> bool {
    let of_family = |table: &nft::Table| match table.family {
        nft::TableFamily::Ip => family == Family::V4,
        nft::TableFamily::Ip6 => family == Family::V6,
        nft::TableFamily::Inet => true,
        nft::TableFamily::Arp | nft::TableFamily::Bridge | nft::TableFamily::Netdev => false,
    };
    let nat =
        |chain: &Arc<nft::Chain>| chain.base.as_ref().is_some_and(|base| base.kind == nft::ChainKind::Nat);
    rules.xt_table(family, "nat").is_some()
        || rules.nft.iter().any(|table| of_family(table) && table.chains.iter().any(nat))
        || !rules.ipvs.is_empty()
}

fn no_nat(node: &str, family: Family) -> Finding {
    Finding {
        kind: FindingKind::NotKnown,
        message: format!(
            "the dump of {node} shows no table nat of {family}: either it was taken without, or {node} knows no Service"
        ),
        service: None,
        endpoints: Vec::new(),
        packets: Vec::new(),
        origin: None,
    }
}

/// The packets that tell what a node does with a service port.
fn packets<'p>(
    port: &'p Port,
    frontends: &'p [SocketAddr],
    sources: &'p Sources,
) -> impl Iterator<Item = Packet> + 'p {
    let record = &port.record;
    frontends.iter().flat_map(move |to| {
        let allowed =
            (record.vips.contains(&to.ip()) && !record.source_ranges.is_empty()).then_some(Sender::Allowed);
        let all = sources.of_node().map(|(from, _)| from).chain(allowed);
        all.map(|from| Packet { from, to: *to, protocol: record.protocol })
    })
}

fn settings(called_for: &Netns, seen: &Netns, drift: &mut Drift) {
    let pairs = [
        ("net.ipv4.ip_forward", called_for.sysctls.ip_forward, seen.sysctls.ip_forward),
        ("net.ipv6.conf.all.forwarding", called_for.sysctls.ipv6_forwarding, seen.sysctls.ipv6_forwarding),
    ];
    for (name, wanted, got) in pairs {
        if wanted && !got {
            drift.findings.push(Finding {
                kind: FindingKind::Setting,
                message: format!("{} does not forward packets: {name} is 0", drift.node),
                service: None,
                endpoints: Vec::new(),
                packets: Vec::new(),
                origin: None,
            });
        }
    }
}
