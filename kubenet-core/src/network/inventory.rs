//! The inventory: what was loaded, made up, detected, and not understood.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Network;
use crate::assume::{Assume, Assumptions};
use crate::cluster::{Evidence, InputMode, Missing, Setting, Settings, Unmodelled};
use crate::k8s::AnyObject;
use crate::origin::{Diagnostic, Origin, OriginKind};

/// The name of the serialised form.
const SCHEMA: &str = "kubenet/inventory/v1";

/// What a network is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// `kubenet/inventory/v1`.
    pub schema: Cow<'static, str>,
    /// Whether kubenet plays the control plane.
    pub mode: InputMode,
    /// Objects of the input by kind.
    pub kinds: Vec<KindCount>,
    /// How the network is set up, each setting with its evidence.
    pub settings: Vec<SettingLine>,
    /// The nodes.
    pub nodes: Vec<NodeLine>,
    /// How many pods there are, ended ones included.
    pub pods: usize,
    /// How many of them the control plane's part made up.
    pub pods_made_up: usize,
    /// Kinds that the snapshot lacks, and what that leaves open.
    pub missing: Vec<Missing>,
    /// Objects that could change a packet and are not modelled.
    pub unmodelled: Vec<Unmodelled>,
    /// What is wrong with the input.
    pub diagnostics: Vec<Diagnostic>,
}

/// How many objects of a kind the input has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KindCount {
    /// The kind, with its API group where it is not one that is read.
    pub kind: String,
    /// How many.
    pub count: usize,
    /// Whether kubenet reads objects of this kind.
    pub read: bool,
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingLine {
    /// The field of `Assume`.
    pub key: Cow<'static, str>,
    /// Its value, as `Assume` would say it.
    pub value: String,
    /// Why.
    pub evidence: Evidence,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLine {
    /// Its name.
    pub name: Arc<str>,
    /// Its internal addresses.
    pub addresses: Vec<IpAddr>,
    /// Its pod ranges.
    pub pod_cidrs: Vec<IpNet>,
    /// The version of its kubelet, where the input says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet_version: Option<Arc<str>>,
    /// How many pods run on it.
    pub pods: usize,
    /// Whether it is made up.
    pub made_up: bool,
}

pub(super) fn inventory(network: &Network) -> Inventory {
    let cluster = network.cluster();
    let made_up = |origin: &Origin| matches!(origin.kind(), OriginKind::MadeUp { .. });
    // A pod that the input has stands there under its own name.
    let of_input = |namespace: &Arc<str>, name: &Arc<str>| {
        network.objects().pods.contains_key(&(namespace.clone(), name.clone()))
    };
    let version = |name: &Arc<str>| {
        let node = network.objects().nodes.get(&("".into(), name.clone()))?;
        Some(node.status.node_info.kubelet_version.clone()).filter(|version| !version.is_empty())
    };
    let nodes = cluster.nodes.iter().enumerate().map(|(place, node)| NodeLine {
        name: node.name.clone(),
        addresses: node.addresses.clone(),
        pod_cidrs: node.pod_cidrs.clone(),
        kubelet_version: version(&node.name),
        pods: cluster.pods_on_node.get(place).map_or(0, Vec::len),
        made_up: made_up(&node.origin),
    });
    Inventory {
        schema: Cow::Borrowed(SCHEMA),
        mode: cluster.mode,
        kinds: kinds(network),
        settings: setting_lines(&cluster.settings),
        nodes: nodes.collect(),
        pods: cluster.pods.len(),
        pods_made_up: cluster.pods.iter().filter(|pod| !of_input(&pod.namespace, &pod.name)).count(),
        missing: cluster.missing.to_vec(),
        unmodelled: cluster.unmodelled.to_vec(),
        diagnostics: network.diagnostics().cloned().collect(),
    }
}

fn kinds(network: &Network) -> Vec<KindCount> {
    let objects = network.objects();
    let read = AnyObject::KINDS.iter().map(|kind| KindCount {
        kind: (*kind).to_string(),
        count: objects.count(kind),
        read: true,
    });
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for other in &objects.others {
        let group = other.api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = if group.is_empty() {
            other.object.kind.to_string()
        } else {
            format!("{}.{group}", other.object.kind)
        };
        *others.entry(kind).or_default() += 1;
    }
    let others = others.into_iter().map(|(kind, count)| KindCount { kind, count, read: false });
    read.filter(|kind| kind.count > 0).chain(others).collect()
}

fn setting_lines(settings: &Settings) -> Vec<SettingLine> {
    fn line<T>(key: &'static str, setting: &Setting<T>, text: impl Fn(&T) -> String) -> SettingLine {
        SettingLine {
            key: Cow::Borrowed(key),
            value: text(&setting.value),
            evidence: setting.evidence.clone(),
        }
    }
    fn list<T: ToString>(items: &[T]) -> String {
        items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
    let Settings {
        cni,
        underlay,
        cluster_cidr,
        service_cidr,
        node_network,
        node_cidr_mask_v4,
        node_cidr_mask_v6,
        mtu,
        proxy_mode,
        proxy_version,
        detect_local_mode,
        masquerade_all,
        node_port_addresses,
        localhost_node_ports,
        ipvs_scheduler,
        policy_enforced,
        sysctls,
        resolver,
    } = settings;
    alloc::vec![
        line("cni", cni, ToString::to_string),
        line("underlay", underlay, ToString::to_string),
        line("clusterCidr", cluster_cidr, |nets| list(nets)),
        line("serviceCidr", service_cidr, |nets| list(nets)),
        line("nodeNetwork", node_network, |nets| list(nets)),
        line("nodeCidrMaskV4", node_cidr_mask_v4, ToString::to_string),
        line("nodeCidrMaskV6", node_cidr_mask_v6, ToString::to_string),
        line("mtu", mtu, ToString::to_string),
        line("proxyMode", proxy_mode, ToString::to_string),
        line("proxyVersion", proxy_version, Clone::clone),
        line("detectLocalMode", detect_local_mode, ToString::to_string),
        line("masqueradeAll", masquerade_all, ToString::to_string),
        line("nodePortAddresses", node_port_addresses, ToString::to_string),
        line("localhostNodePorts", localhost_node_ports, ToString::to_string),
        line("ipvsScheduler", ipvs_scheduler, Clone::clone),
        line("policyEnforced", policy_enforced, ToString::to_string),
        line("sysctls", sysctls, |all| {
            all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
        }),
        line("resolver", resolver, ToString::to_string),
    ]
}

impl Network {
    /// All settings in force as a file of assumptions: loading the same objects with it gives the same network whatever a later
    /// version would detect or assume.
    pub fn assumptions(&self) -> Assumptions {
        let settings = &self.cluster().settings;
        let said = self.assume();
        let spec = Assume {
            cni: Some(settings.cni.value.clone()),
            underlay: Some(settings.underlay.value),
            cluster_cidr: Some(settings.cluster_cidr.value.clone()),
            service_cidr: Some(settings.service_cidr.value.clone()),
            node_network: Some(settings.node_network.value.clone()),
            node_cidr_mask_v4: Some(settings.node_cidr_mask_v4.value),
            node_cidr_mask_v6: Some(settings.node_cidr_mask_v6.value),
            mtu: Some(settings.mtu.value),
            proxy_mode: Some(settings.proxy_mode.value),
            proxy_version: Some(settings.proxy_version.value.clone()),
            detect_local_mode: Some(settings.detect_local_mode.value.clone()),
            masquerade_all: Some(settings.masquerade_all.value),
            node_port_addresses: Some(settings.node_port_addresses.value.clone()),
            localhost_node_ports: Some(settings.localhost_node_ports.value),
            ipvs_scheduler: Some(settings.ipvs_scheduler.value.clone()),
            policy_enforced: Some(settings.policy_enforced.value),
            sysctls: settings.sysctls.value.clone(),
            resolver: Some(settings.resolver.value),
            nodes: said.nodes,
            place: said.place.clone(),
            pods: said.pods.clone(),
            replicas: said.replicas.clone(),
            listeners: said.listeners.clone(),
            closed: said.closed.clone(),
            faults: said.faults.clone(),
        };
        Assumptions::from(spec)
    }
}
