//! What Nodes say: annotations of CNIs and of k3s, labels of distributions, versions, pod ranges.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::agent::words;
use super::cni::{Enforcer, Sign};
use super::{Claim, Claims, Found, Rank, config};
use crate::addr::Family;
use crate::k8s::Objects;
use crate::k8s::types::{Node, Shared};

/// Annotations that a CNI's agent writes on its node.
const TRACES: [(&str, &str); 8] = [
    ("flannel.alpha.coreos.com/backend-type", "flannel"),
    ("projectcalico.org/IPv4Address", "calico"),
    ("projectcalico.org/IPv6Address", "calico"),
    ("k8s.ovn.org/node-subnets", "ovn-kubernetes"),
    ("network.cilium.io/ipv4-cilium-host", "cilium"),
    ("io.cilium.network.ipv4-cilium-host", "cilium"),
    ("node.antrea.io/mac-address", "antrea"),
    ("ovn.kubernetes.io/allocated", "kube-ovn"),
];

/// Labels that a distribution gives its nodes, with its usual CNI.
const DISTRIBUTIONS: [(&str, &str, &str); 9] = [
    ("cloud.google.com/gke-nodepool", "GKE", "gke"),
    ("eks.amazonaws.com/nodegroup", "EKS", "aws-vpc-cni"),
    ("eks.amazonaws.com/compute-type", "EKS", "aws-vpc-cni"),
    ("kubernetes.azure.com/azure-cni-overlay", "AKS", "azure-cni"),
    ("kubernetes.azure.com/podnetwork-type", "AKS", "azure-cni"),
    ("node.openshift.io/os_id", "OpenShift, by OpenShift SDN or OVN-Kubernetes", "openshift"),
    ("microk8s.io/cluster", "MicroK8s", "calico"),
    ("ibm-cloud.kubernetes.io/worker-id", "IBM Cloud", "calico"),
    ("doks.digitalocean.com/node-id", "DigitalOcean", "cilium"),
];

/// Reads all Nodes.
pub(super) fn read(objects: &Objects, found: &mut Found) {
    let mut networks: Vec<(IpNet, String, &Shared<Node>)> = Vec::new();
    for node in objects.nodes.values() {
        traces(node, found);
        k3s(objects, node, found);
        version(node, found);
        networks.extend(card_networks(node).map(|(net, key)| (net, key, node)));
    }
    microk8s(objects, found);
    minikube(objects, found);
    node_networks(objects, &networks, found);
    masks(objects, found);
}

fn shown(node: &Node) -> String {
    format!("Node {}", node.metadata.name)
}

fn traces(node: &Shared<Node>, found: &mut Found) {
    for (key, cni) in TRACES {
        if node.metadata.annotations.contains_key(key) {
            found.sees(cni, Sign::Trace, format!("{} has the annotation {key}", shown(node)), &node.origin);
        }
    }
    for (key, name, cni) in DISTRIBUTIONS {
        if node.metadata.labels.contains_key(key) {
            let because = format!("{} has the label {key}: {name}", shown(node));
            found.sees(cni, Sign::Distribution, because, &node.origin);
        }
    }
    if node.spec.provider_id.as_deref().is_some_and(|id| id.starts_with("kind://")) {
        let because = format!("{} is a node of kind, whose usual CNI is kindnet", shown(node));
        found.sees("kindnet", Sign::Distribution, because, &node.origin);
    }
}

/// What flannel's agents say that they do between the nodes.
pub(super) fn flannel_backends(objects: &Objects, cni: &str, found: &mut Found) {
    for node in objects.nodes.values().filter(|_| cni == "flannel") {
        if let Some(backend) = node.metadata.annotations.get("flannel.alpha.coreos.com/backend-type") {
            let because = format!("{} has flannel's annotation backend-type {backend}", shown(node));
            config::flannel_backend(backend, because, &node.origin, Rank::Running, found);
        }
    }
}

/// k3s and RKE2 keep their arguments in an annotation, those of their configuration files included. k3s has flannel, kube-proxy
/// and a controller for NetworkPolicies inside of its own process.
fn k3s(objects: &Objects, node: &Shared<Node>, found: &mut Found) {
    let version = &node.status.node_info.kubelet_version;
    let (k3s, rke2) = (version.contains("+k3s"), version.contains("+rke2"));
    if !k3s && !rke2 {
        return;
    }
    let annotations = &node.metadata.annotations;
    let args = annotations.get("k3s.io/node-args").or_else(|| annotations.get("rke2.io/node-args"));
    let args: Vec<String> = args.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let server = args.first().is_some_and(|first| first == "server");
    let option = |name: &str| words(args.iter().map(String::as_str), name);
    let who = if k3s { "k3s" } else { "RKE2" };
    let ranges = [
        ("cluster-cidr", "10.42.0.0/16", &mut found.cluster_cidr),
        ("service-cidr", "10.43.0.0/16", &mut found.service_cidr),
    ];
    for (name, usual, claims) in ranges {
        match option(name) {
            Some(said) if server => {
                let because = format!("{} runs {who} with --{name}={said}", shown(node));
                Found::ranges(claims, Rank::Running, said, because, &node.origin);
            }
            Some(_) | None => {
                let because = format!("{} runs {who} {version}, whose usual {name} is {usual}", shown(node));
                usual_range(objects, name == "cluster-cidr", usual, because, node, claims);
            }
        }
    }
    if !k3s {
        return;
    }
    let mode = args.iter().find_map(|arg| Some(arg.split_once("proxy-mode=")?.1));
    if let Some(Ok(value)) = mode.map(str::parse) {
        let because = format!("{} runs k3s with proxy-mode={}", shown(node), mode.unwrap_or_default());
        found.proxy_mode.add(Claim { value, because, origin: node.origin.clone(), rank: Rank::Running });
    } else if option("disable-kube-proxy").is_none() {
        let because =
            format!("{} runs k3s, whose kube-proxy uses iptables unless it is told otherwise", shown(node));
        let value = crate::assume::ProxyMode::Iptables;
        found.proxy_mode.add(Claim { value, because, origin: node.origin.clone(), rank: Rank::Default });
        found.kube_proxy.get_or_insert_with(|| node.origin.clone());
    }
    if option("disable-network-policy").is_none() {
        let because = format!("{} runs k3s {version}, which enforces NetworkPolicies", shown(node));
        found.enforces("k3s", because, &node.origin);
    } else {
        let because = format!("{} runs k3s with --disable-network-policy", shown(node));
        let origin = node.origin.clone();
        found.declines.get_or_insert(Enforcer { who: "flannel", because, origin });
    }
}

/// Claims a distribution's usual range where what objects have is inside of it.
fn usual_range(
    objects: &Objects,
    of_pods: bool,
    usual: &str,
    because: String,
    node: &Shared<Node>,
    claims: &mut Claims<Vec<IpNet>>,
) {
    let Ok(net) = usual.parse::<IpNet>() else { return };
    let texts: Vec<&Arc<str>> = if of_pods {
        let nodes = objects.nodes.values().flat_map(|node| node.spec.pod_cidr.iter());
        let own = objects.pods.values().filter(|pod| !pod.spec.host_network);
        nodes.chain(own.flat_map(|pod| pod.status.pod_ip.iter())).collect()
    } else {
        objects.services.values().flat_map(|service| service.spec.cluster_ip.iter()).collect()
    };
    let address = |text: &&Arc<str>| {
        let net = text.parse::<IpNet>().ok();
        net.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    };
    let mut stated = texts.iter().filter_map(address).peekable();
    if stated.peek().is_some() && stated.all(|inner| net.contains(&inner)) {
        let origin = node.origin.clone();
        claims.add(Claim { value: Vec::from([net]), because, origin, rank: Rank::Default });
    }
}

fn microk8s(objects: &Objects, found: &mut Found) {
    let is = |node: &&Shared<Node>| node.metadata.labels.contains_key("microk8s.io/cluster");
    let Some(node) = objects.nodes.values().find(is) else { return };
    let ranges =
        [(true, "10.1.0.0/16", &mut found.cluster_cidr), (false, "10.152.183.0/24", &mut found.service_cidr)];
    for (of_pods, usual, claims) in ranges {
        let because = format!("{} is a node of MicroK8s, whose usual range is {usual}", shown(node));
        usual_range(objects, of_pods, usual, because, node, claims);
    }
}

/// minikube without a CNI that runs as a pod writes a configuration of the bridge plugin.
fn minikube(objects: &Objects, found: &mut Found) {
    let is = |node: &&Shared<Node>| node.metadata.labels.contains_key("minikube.k8s.io/name");
    let Some(node) = objects.nodes.values().find(is) else { return };
    let runs_agents = found.kube_proxy.is_some();
    if runs_agents && objects.nodes.len() == 1 {
        let because = format!("{} is minikube's, and no CNI runs as a pod: the bridge plugin", shown(node));
        found.sees("bridge", Sign::Distribution, because, &node.origin);
    }
}

/// Which kube-proxy a kubelet comes with.
fn version(node: &Shared<Node>, found: &mut Found) {
    let version = &node.status.node_info.kubelet_version;
    if !version.is_empty() {
        let because = format!("{} runs kubelet {version}", shown(node));
        let (value, origin) = (version.to_string(), node.origin.with_field("status.nodeInfo.kubeletVersion"));
        found.proxy_version.add(Claim { value, because, origin, rank: Rank::Default });
    }
}

/// The networks of a node's card, as its CNI writes them down.
fn card_networks(node: &Node) -> impl Iterator<Item = (IpNet, String)> + '_ {
    let annotations = &node.metadata.annotations;
    let calico = ["projectcalico.org/IPv4Address", "projectcalico.org/IPv6Address"];
    let calico =
        calico.into_iter().filter_map(|key| Some((annotations.get(key)?.parse().ok()?, key.to_string())));
    const OVN: &str = "k8s.ovn.org/node-primary-ifaddr";
    let ovn: Option<serde_json::Value> =
        annotations.get(OVN).and_then(|text| serde_json::from_str(text).ok());
    let ovn = ["ipv4", "ipv6"].into_iter().filter_map(move |family| {
        let net = ovn.as_ref()?.get(family)?.as_str()?.parse().ok()?;
        Some((net, OVN.to_string()))
    });
    calico.chain(ovn).filter(|(net, _): &(IpNet, String)| net.prefix_len() < net.max_prefix_len())
}

/// The nodes' network, where all that know theirs are in the same one and no node has an address outside of it.
fn node_networks(objects: &Objects, networks: &[(IpNet, String, &Shared<Node>)], found: &mut Found) {
    let mut value: Vec<IpNet> = Vec::new();
    let mut because = None;
    for family in [Family::V4, Family::V6] {
        let mut of_family = networks.iter().filter(|(net, ..)| Family::of_net(*net) == family);
        let Some((first, key, node)) = of_family.next() else { continue };
        let addresses = objects.nodes.values().flat_map(|node| &node.status.addresses);
        let internal = addresses.filter(|address| &*address.r#type == "InternalIP");
        let mut internal = internal.filter_map(|address| address.address.parse::<IpAddr>().ok());
        let holds = |addr: IpAddr| Family::of(addr) != family || first.contains(&addr);
        if of_family.all(|(net, ..)| net.trunc() == first.trunc()) && internal.all(holds) {
            value.push(first.trunc());
            let said = || (format!("{} has the annotation {key}: {first}", shown(node)), node.origin.clone());
            because = because.or_else(|| Some(said()));
        }
    }
    if let Some((because, origin)) = because {
        found.node_network.add(Claim { value, because, origin, rank: Rank::Running });
    }
}

/// How long the prefixes of nodes' ranges are, where they all are alike.
fn masks(objects: &Objects, found: &mut Found) {
    for family in [Family::V4, Family::V6] {
        let ranges = objects.nodes.values().flat_map(|node| {
            let first = node.spec.pod_cidr.iter().filter(|_| node.spec.pod_cidrs.is_empty());
            node.spec.pod_cidrs.iter().chain(first).map(move |text| (node, text))
        });
        let ranges = ranges.filter_map(|(node, text)| Some((node, text.parse::<IpNet>().ok()?)));
        let mut ranges = ranges.filter(|(_, net)| Family::of_net(*net) == family);
        let Some((node, first)) = ranges.next() else { continue };
        if ranges.all(|(_, net)| net.prefix_len() == first.prefix_len()) {
            let claims = if family == Family::V4 { &mut found.mask_v4 } else { &mut found.mask_v6 };
            claims.add(Claim {
                value: first.prefix_len(),
                because: format!("{} has the pod range {first}", shown(node)),
                origin: node.origin.with_field("spec.podCIDRs"),
                rank: Rank::Default,
            });
        }
    }
}
