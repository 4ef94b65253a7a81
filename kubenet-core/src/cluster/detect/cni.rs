//! Which CNI connects the pods, and what follows from that.
//!
//! An agent that runs tells most; then what a CNI leaves behind (ConfigMaps, annotations, objects of its own kinds); then the
//! distribution, whose usual CNI it is. Of several CNIs the one that stands first in [`KNOWN`] counts and the others are told:
//! combinations before their parts, the CNIs of clouds and distributions before those that are added to a cluster. Multus,
//! istio-cni, whereabouts and the plugins for ports and bandwidth add to what another CNI made, and are none of them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::agent::{flag, image, image_is, option};
use super::{Agent, Claim, Found, Rank, named};
use crate::cluster::{Cni, Setting, Underlay};
use crate::k8s::Objects;
use crate::k8s::types::Container;
use crate::origin::{Diagnostic, Origin};

/// A CNI that is recognised.
struct Known {
    /// As `Assume::cni` has it.
    name: &'static str,
    /// Its DaemonSets; `*` at the end stands for anything.
    agents: &'static [&'static str],
    /// The only namespace that they are in, where their names say little.
    namespace: Option<&'static str>,
    /// The last parts of the paths of its images.
    images: &'static [&'static str],
    /// It enforces NetworkPolicies, whatever it is told.
    enforces: bool,
}

const fn known(
    name: &'static str,
    agents: &'static [&'static str],
    images: &'static [&'static str],
    enforces: bool,
) -> Known {
    Known { name, agents, namespace: None, images, enforces }
}

/// In the order in which one of several is chosen.
const KNOWN: [Known; 18] = [
    known("canal", &["canal", "rke2-canal"], &[], true),
    known("gke-dataplane-v2", &["anetd", "anetd-*"], &[], true),
    known("aws-vpc-cni", &["aws-node"], &["amazon-k8s-cni"], false),
    known("azure-cni", &["azure-cns", "azure-cni-networkmonitor"], &["azure-cns"], false),
    known("terway", &["terway", "terway-eni", "terway-eniip"], &["terway"], true),
    known("nsx-t", &["nsx-node-agent"], &[], true),
    Known { namespace: Some("openshift-sdn"), ..known("openshift-sdn", &["sdn"], &[], true) },
    known("ovn-kubernetes", &["ovnkube-*", "ovnkube"], &["ovn-kube", "ovnkube"], true),
    known("kube-ovn", &["kube-ovn-cni"], &["kubeovn/kube-ovn"], true),
    known(
        "cilium",
        &["cilium"],
        &["cilium/cilium", "cilium/cilium-ci", "cilium/cilium-distroless", "mirrored-cilium-cilium"],
        true,
    ),
    known("calico", &["calico-node", "calico-node-*"], &["calico/node", "mirrored-calico-node"], true),
    known("antrea", &["antrea-agent"], &["antrea-agent-ubuntu", "antrea-agent-ubi", "antrea-ubuntu"], true),
    known("weave", &["weave-net"], &["weaveworks/weave-kube"], true),
    known("kube-router", &["kube-router"], &["kube-router"], false),
    known(
        "flannel",
        &["kube-flannel", "kube-flannel-*", "flannel"],
        &["flannel/flannel", "coreos/flannel", "flannelcni/flannel", "mirrored-flannelcni-flannel"],
        false,
    ),
    known("kindnet", &["kindnet"], &["kindnetd", "networking/kindnet"], false),
    // Only seen by their nodes' labels.
    known("gke", &[], &[], false),
    known("openshift", &[], &[], true),
];

/// How sure a sign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    /// It is the distribution's usual CNI.
    Distribution,
    /// It left something behind.
    Trace,
    /// It runs.
    Agent,
}

/// A sign of a CNI.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) cni: &'static str,
    pub(super) because: String,
    pub(super) origin: Origin,
    pub(super) sign: Sign,
}

/// What enforces NetworkPolicies.
#[derive(Clone, Debug)]
pub(super) struct Enforcer {
    pub(super) who: &'static str,
    pub(super) because: String,
    pub(super) origin: Origin,
}

impl Seen {
    pub(super) fn setting(&self) -> Setting<Cni> {
        Setting::detected(named(self.cni), self.because.clone(), self.origin.clone())
    }

    fn place(&self) -> usize {
        KNOWN.iter().position(|known| known.name == self.cni).unwrap_or(KNOWN.len())
    }
}

impl Found {
    /// Notes a sign of a CNI; of several of a kind the first one.
    pub(super) fn sees(&mut self, cni: &'static str, sign: Sign, because: String, origin: &Origin) {
        if !self.cnis.iter().any(|seen| seen.cni == cni && seen.sign >= sign) {
            self.cnis.push(Seen { cni, because, origin: origin.clone(), sign });
        }
    }

    /// Notes what enforces NetworkPolicies.
    pub(super) fn enforces(&mut self, who: &'static str, because: String, origin: &Origin) {
        if !self.enforcers.iter().any(|known| known.who == who) {
            self.enforcers.push(Enforcer { who, because, origin: origin.clone() });
        }
    }

    fn agent_of(&self, cni: &str) -> Option<&Seen> {
        self.cnis.iter().find(|seen| seen.cni == cni && seen.sign == Sign::Agent)
    }
}

/// Looks at a program on the nodes.
pub(super) fn see(agent: &Agent<'_>, found: &mut Found) {
    enforcers(agent, found);
    let Some(known) = which(agent) else { return };
    let by_image = |container: &&Container| known.images.iter().any(|parts| image_is(container, parts));
    let main = agent.containers().find(by_image).or_else(|| agent.containers().next());
    let runs = main.map(shown_image).filter(|image| !image.is_empty());
    let because = match runs {
        Some(image) => format!("{} runs image {image}", agent.shown()),
        None => agent.shown(),
    };
    if known.enforces {
        found.enforces(
            known.name,
            format!("{} enforces NetworkPolicies: {because}", known.name),
            agent.origin,
        );
    }
    if let ("kube-router", Some(container)) = (known.name, main) {
        kube_router(agent, container, found);
        if !flag(container, "run-router", true) {
            return;
        }
    }
    if let ("kindnet", Some(container)) = (known.name, main) {
        if kindnet_enforces(container) == Some(true) {
            found.enforces("kindnet", format!("kindnet enforces NetworkPolicies: {because}"), agent.origin);
        }
        if flag(container, "ipsec-overlay", false) {
            let because = format!("{} runs with --ipsec-overlay", agent.shown());
            found.joins_nodes("kindnet", "IPsec", &because, agent.origin);
        }
        if flag(container, "disable-cni", false) {
            return;
        }
    }
    found.sees(known.name, Sign::Agent, because, agent.origin);
}

/// An image without its registry's digest.
fn shown_image(container: &Container) -> String {
    match image(container) {
        (path, Some(tag)) => format!("{path}:{tag}"),
        (path, None) => path.into(),
    }
}

fn which(agent: &Agent<'_>) -> Option<&'static Known> {
    let name = agent.name();
    let is = |pattern: &str| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    };
    let here = |known: &Known| known.namespace.is_none_or(|namespace| namespace == agent.namespace());
    let named = KNOWN.iter().find(|known| here(known) && known.agents.iter().any(|pattern| is(pattern)));
    if named.is_some() {
        return named;
    }
    let runs = |known: &&Known| {
        agent.containers().any(|container| known.images.iter().any(|parts| image_is(container, parts)))
    };
    let mut by_image = KNOWN.iter().filter(runs);
    match (by_image.next(), by_image.next()) {
        (Some(first), Some(second)) if (first.name, second.name) == ("calico", "flannel") => KNOWN.first(),
        (first, _) => first,
    }
}

/// Programs that enforce NetworkPolicies beside a CNI.
fn enforcers(agent: &Agent<'_>, found: &mut Found) {
    let name = agent.name();
    if name == "azure-npm" || agent.containers().any(|container| image_is(container, "azure-npm")) {
        let because = format!("Azure NPM enforces NetworkPolicies: {}", agent.shown());
        found.enforces("azure-npm", because, agent.origin);
    }
    for container in agent.containers() {
        let eks = ["aws-eks-nodeagent", "aws-network-policy-agent"];
        let eks = eks.iter().any(|name| &*container.name == *name || image_is(container, name));
        if eks && flag(container, "enable-network-policy", false) {
            let because = format!(
                "{} runs {} with --enable-network-policy, which enforces NetworkPolicies",
                agent.shown(),
                container.name
            );
            found.enforces("aws-network-policy-agent", because, agent.origin);
        }
        if image_is(container, "kube-network-policies") {
            let because =
                format!("{} runs kube-network-policies, which enforces NetworkPolicies", agent.shown());
            found.enforces("kube-network-policies", because, agent.origin);
        }
    }
}

/// kube-router has three parts, each on unless it is switched off.
fn kube_router(agent: &Agent<'_>, container: &Container, found: &mut Found) {
    if flag(container, "run-firewall", true) {
        let because = format!("kube-router enforces NetworkPolicies: {}", agent.shown());
        found.enforces("kube-router", because, agent.origin);
    }
    if flag(container, "run-service-proxy", true) {
        let because = format!("{} runs with --run-service-proxy", agent.shown());
        found.handles_services("kube-router", &because, agent.origin);
        found.proxy_mode.add(Claim {
            value: crate::assume::ProxyMode::Ipvs,
            because: format!("{because}, and kube-router uses IPVS"),
            origin: agent.origin.clone(),
            rank: Rank::Running,
        });
    }
    if let Some(said) = option(container, "service-cluster-ip-range") {
        let because = format!("{} runs with --service-cluster-ip-range={said}", agent.shown());
        Found::ranges(&mut found.service_cidr, Rank::Config, said, because, agent.origin);
    }
}

/// kind's kindnetd enforces policies since kind 0.24 (its images are named by date), kindnet as a project of its own since 1.3,
/// and since it is one of Kubernetes'. `None` where the tag tells nothing.
fn kindnet_enforces(container: &Container) -> Option<bool> {
    if option(container, "network-policy").is_some() || image_is(container, "networking/kindnet") {
        return Some(flag(container, "network-policy", true));
    }
    // 23 July 2024, as the images' tags write days.
    const FIRST_DAY: u32 = 20_240_723;
    let (_, tag) = image(container);
    let tag = tag?.trim_start_matches('v');
    let mut numbers = tag.split(['.', '-']).map_while(|word| word.parse::<u32>().ok());
    match (numbers.next()?, numbers.next()) {
        (day, _) if day > 20_000_000 => Some(day >= FIRST_DAY),
        (major, Some(minor)) => Some((major, minor) >= (1, 3)),
        _ => None,
    }
}

/// Looks for what CNIs leave behind: objects of their own kinds, annotations of pods. ConfigMaps are looked at by name only.
pub(super) fn see_elsewhere(objects: &Objects, found: &mut Found) {
    const MAPS: [(&str, &str); 8] = [
        ("kube-flannel-cfg", "flannel"),
        ("calico-config", "calico"),
        ("canal-config", "canal"),
        ("cilium-config", "cilium"),
        ("antrea-config", "antrea"),
        ("kube-router-cfg", "kube-router"),
        ("amazon-vpc-cni", "aws-vpc-cni"),
        ("ovnkube-config", "ovn-kubernetes"),
    ];
    for ((_, name), map) in &objects.config_maps {
        if &**name == "cilium-config"
            && map
                .data
                .get("cni-chaining-mode")
                .is_some_and(|mode| !matches!(&**mode, "" | "none" | "portmap"))
        {
            found.cilium_chained = true;
        }
        if let Some((_, cni)) = MAPS.iter().find(|(known, _)| *known == &**name) {
            found.sees(cni, Sign::Trace, format!("the input has a ConfigMap {name}"), &map.origin);
        }
    }
    const KINDS: [(&str, &[&str], &str); 9] = [
        ("crd.projectcalico.org", &["ClusterInformation", "FelixConfiguration", "IPPool"], "calico"),
        ("operator.tigera.io", &["Installation"], "calico"),
        ("cilium.io", &["CiliumNode", "CiliumEndpoint", "CiliumIdentity"], "cilium"),
        ("crd.antrea.io", &["AntreaAgentInfo"], "antrea"),
        ("kubeovn.io", &["Subnet", "IP", "Vpc"], "kube-ovn"),
        ("vpcresources.k8s.aws", &["CNINode"], "aws-vpc-cni"),
        ("acn.azure.com", &["NodeNetworkConfig"], "azure-cni"),
        ("network.openshift.io", &["ClusterNetwork", "HostSubnet", "NetNamespace"], "openshift-sdn"),
        ("k8s.ovn.org", &["EgressIP", "EgressFirewall"], "ovn-kubernetes"),
    ];
    for other in &objects.others {
        let group = other.api_version.split_once('/').map_or("", |(group, _)| group);
        let is =
            |(of, kinds, _): &&(&str, &[&str], &str)| *of == group && kinds.contains(&&*other.object.kind);
        if let Some((_, _, cni)) = KINDS.iter().find(is) {
            found.sees(cni, Sign::Trace, format!("the input has {}", other.object), &other.origin);
        } else if group == "operator.openshift.io" && other.object.kind == "Network" {
            let because = format!("the input has {}: OpenShift SDN or OVN-Kubernetes", other.object);
            found.sees("openshift", Sign::Distribution, because, &other.origin);
        }
    }
    const ANNOTATIONS: [(&str, &str); 2] =
        [("cni.projectcalico.org/podIP", "calico"), ("k8s.ovn.org/pod-networks", "ovn-kubernetes")];
    for pod in objects.pods.values() {
        for (key, cni) in ANNOTATIONS.iter().filter(|(key, _)| pod.metadata.annotations.contains_key(*key)) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or(crate::k8s::DEFAULT_NAMESPACE);
            let because = format!("Pod {namespace}/{} has the annotation {key}", pod.metadata.name);
            found.sees(cni, Sign::Trace, because, &pod.origin);
        }
    }
}

/// Decides between the CNIs that are seen, and tells of those that do not count.
pub(super) fn choose(found: &Found, log: &mut Vec<Diagnostic>) -> Option<Seen> {
    let sign = found.cnis.iter().map(|seen| seen.sign).max()?;
    let mut seen: Vec<Seen> = found.cnis.iter().filter(|seen| seen.sign == sign).cloned().collect();
    seen.sort_by_key(Seen::place);
    // Cilium that is chained to another CNI does not connect the pods.
    if found.cilium_chained && seen.len() > 1 {
        seen.retain(|seen| seen.cni != "cilium");
    }
    let has = |seen: &[Seen], cni: &str| seen.iter().any(|seen| seen.cni == cni);
    // flannel between the nodes, Calico in the pods: what is called canal.
    if has(&seen, "calico") && has(&seen, "flannel") {
        let parts = seen.iter().filter(|seen| matches!(seen.cni, "calico" | "flannel"));
        let because = parts.map(|seen| seen.because.as_str()).collect::<Vec<_>>().join(", and ");
        seen.retain(|seen| seen.cni != "flannel");
        if let Some(calico) = seen.iter_mut().find(|seen| seen.cni == "calico") {
            *calico = Seen { cni: "canal", because, ..calico.clone() };
        }
        seen.sort_by_key(Seen::place);
        seen.dedup_by_key(|seen| seen.cni);
    }
    // GKE's own plugin gives the addresses; Calico is there for policies.
    let gke = found.cnis.iter().find(|seen| seen.cni == "gke").cloned();
    if let (Some(gke), true) = (gke, has(&seen, "calico")) {
        seen.insert(0, gke);
    }
    let mut rest = seen.into_iter();
    let first = rest.next()?;
    let adds_policies = ["aws-vpc-cni", "azure-cni", "gke"].contains(&first.cni);
    for other in rest.filter(|other| !(adds_policies && other.cni == "calico")) {
        let message = format!(
            "cni: {} ({}), but {} ({}); {} is taken to connect the pods",
            first.cni, first.because, other.cni, other.because, first.cni
        );
        log.push(
            Diagnostic::warning("several-cnis", message)
                .from_origin(&other.origin)
                .related(format!("{} is here", first.cni), first.origin.location().cloned())
                .help("--assume cni=… says which one it is"),
        );
    }
    Some(first)
}

/// What follows from a CNI by itself.
pub(super) fn consequences(objects: &Objects, seen: &Seen, found: &mut Found) {
    let enforces = KNOWN.iter().any(|known| known.name == seen.cni && known.enforces);
    let declines = found.declines.as_ref().is_some_and(|by| by.who == seen.cni);
    if enforces && !declines {
        let because = format!("{} enforces NetworkPolicies: {}", seen.cni, seen.because);
        found.enforces(seen.cni, because, &seen.origin);
    }
    match seen.cni {
        "ovn-kubernetes" | "kube-ovn" | "gke-dataplane-v2" => {
            found.handles_services(seen.cni, &seen.because, &seen.origin);
        }
        "calico" => calico_ebpf(objects, found),
        _ => {}
    }
    let underlay = match seen.cni {
        "kindnet" => Some((Underlay::HostGw, "kindnet gives every node a route to the pods of every other")),
        "openshift-sdn" => Some((Underlay::Vxlan, "OpenShift SDN joins the nodes by VXLAN")),
        "aws-vpc-cni" | "gke" => Some((Underlay::Routed, "the cloud's network routes the pods' addresses")),
        _ => None,
    };
    if let Some((value, why)) = underlay {
        let (because, origin) = (format!("{why}: {}", seen.because), seen.origin.clone());
        found.underlay.add(Claim { value, because, origin, rank: Rank::Default });
    }
}

/// Calico's eBPF dataplane needs kube-proxy out of its way, and the API server's real address.
fn calico_ebpf(objects: &Objects, found: &mut Found) {
    let kept_off = objects
        .daemon_sets
        .values()
        .find(|set| set.spec.template.spec.node_selector.contains_key("non-calico"));
    if let Some(set) = kept_off {
        let because = format!("DaemonSet {} is kept off the nodes by its nodeSelector", set.metadata.name);
        return found.handles_services("Calico's eBPF dataplane", &because, &set.origin);
    }
    let map = objects.config_maps.iter().find(|((_, name), _)| &**name == "kubernetes-services-endpoint");
    if let (Some((_, map)), None, Some(_)) = (map, &found.kube_proxy, found.agent_of("calico")) {
        let because = "the input has a ConfigMap kubernetes-services-endpoint, and kube-proxy does not run";
        found.handles_services("Calico's eBPF dataplane", because, &map.origin);
    }
}

/// A CNI that is seen to run and that enforces nothing, with nothing beside it that does.
pub(super) fn enforces_none(seen: &Seen, setting: &mut Setting<bool>) {
    let none = match seen.cni {
        "flannel" | "kindnet" | "aws-vpc-cni" | "azure-cni" | "kube-router" => seen.sign == Sign::Agent,
        _ => false,
    };
    if none {
        let because = format!("nothing that is seen enforces NetworkPolicies: {}", seen.because);
        *setting = Setting::detected(false, because, seen.origin.clone());
    }
}
