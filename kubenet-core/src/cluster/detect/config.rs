//! ConfigMaps that say how kube-proxy, kubeadm and CNIs are set up.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::Value;

use super::cni::Enforcer;
use super::{Claim, Claims, Found, Rank, args};
use crate::cluster::{DetectLocalMode, Underlay};
use crate::k8s::Objects;
use crate::k8s::load::embedded;
use crate::k8s::types::{ConfigMap, Shared};
use crate::origin::Origin;

/// Reads those that matter under the CNI that is seen.
pub(super) fn read(objects: &Objects, cni: Option<&'static str>, found: &mut Found) {
    for map in objects.config_maps.values() {
        let file = |key: &str| map.data.get(key).and_then(|text| Some(File::of(map, key, embedded(text)?)));
        match &*map.metadata.name {
            "kubeadm-config" => {
                // `MasterConfiguration` until 1.12.
                for file in ["ClusterConfiguration", "MasterConfiguration"].into_iter().filter_map(file) {
                    kubeadm(&file, found);
                }
            }
            "cilium-config" if cni == Some("cilium") => cilium(map, found),
            "antrea-config" if cni == Some("antrea") => {
                antrea(&file("antrea-agent.conf").unwrap_or_else(|| File::of(map, "", Value::Null)), found);
            }
            "calico-config" | "canal-config" if cni == Some("calico") => calico(map, found),
            "applied-cluster" => {
                if let Some(file) = file("applied") {
                    openshift(&file, found);
                }
            }
            name if name.starts_with("kube-proxy") || name == "sdn-config" => {
                let is = |text: &str| text.contains("KubeProxyConfiguration");
                for key in map.data.iter().filter(|(_, text)| is(text)).map(|(key, _)| key) {
                    if let Some(file) = file(key) {
                        kube_proxy(&file, found);
                    }
                }
            }
            name if name.contains("flannel") || name.contains("canal") => {
                if let (Some(cni @ ("flannel" | "canal")), Some(file)) = (cni, file("net-conf.json")) {
                    flannel(&file, cni, found);
                }
            }
            _ => {}
        }
    }
}

/// A setting's file inside of a ConfigMap.
struct File {
    value: Value,
    /// `ConfigMap kube-system/kube-proxy`.
    shown: String,
    origin: Origin,
}

impl File {
    fn of(map: &Shared<ConfigMap>, key: &str, value: Value) -> Self {
        let namespace = map.metadata.namespace.as_deref().unwrap_or(crate::k8s::DEFAULT_NAMESPACE);
        let origin = match key {
            "" => map.origin.clone(),
            key => map.origin.with_field(format!("data.{key}")),
        };
        Self { value, shown: format!("ConfigMap {namespace}/{}", map.metadata.name), origin }
    }

    fn claim<T>(&self, value: T, said: &str, rank: Rank) -> Claim<T> {
        Claim { value, because: format!("{} says {said}", self.shown), origin: self.origin.clone(), rank }
    }

    /// A text at a path; the empty one is none.
    fn text(&self, path: &[&str]) -> Option<&str> {
        at(&self.value, path)?.as_str().filter(|text| !text.is_empty())
    }

    fn ranges(&self, path: &[&str], claims: &mut Claims<Vec<ipnet::IpNet>>, rank: Rank) {
        let Some(text) = self.text(path) else { return };
        let value = super::nets(text);
        if !value.is_empty() {
            claims.add(self.claim(value, &format!("{} {text}", path.join(".")), rank));
        }
    }
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// `KubeProxyConfiguration`.
fn kube_proxy(file: &File, found: &mut Found) {
    file.ranges(&["clusterCIDR"], &mut found.cluster_cidr, Rank::Config);
    detect_local(file, found);
    for (key, claims) in [
        ("masqueradeAll", &mut found.masquerade_all),
        ("localhostNodePorts", &mut found.localhost_node_ports),
    ] {
        if let Some(on) = at(&file.value, &["iptables", key]).and_then(Value::as_bool) {
            claims.add(file.claim(on, &format!("iptables.{key} {on}"), Rank::Running));
        }
    }
    if let Some(name) = file.text(&["ipvs", "scheduler"]) {
        let said = format!("ipvs.scheduler {name}");
        found.ipvs_scheduler.add(file.claim(name.into(), &said, Rank::Running));
    }
    let addresses = file.value.get("nodePortAddresses").and_then(Value::as_array);
    if let Some(list) = addresses.filter(|list| !list.is_empty()) {
        let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
        if let Ok(addresses) = words.join(",").parse() {
            let said = format!("nodePortAddresses {}", words.join(", "));
            found.node_port_addresses.add(file.claim(addresses, &said, Rank::Running));
        }
    }
    let Some(mode) = file.value.get("mode").and_then(Value::as_str) else {
        let because = format!("{} says no mode, which means iptables", file.shown);
        return args::default_mode(because, &file.origin, found);
    };
    if mode.is_empty() {
        let because = format!("{} leaves the mode empty, which means iptables", file.shown);
        args::default_mode(because, &file.origin, found);
    } else if let Ok(value) = mode.to_ascii_lowercase().parse() {
        found.proxy_mode.add(file.claim(value, &format!("mode {mode}"), Rank::Running));
    }
}

/// How kube-proxy tells packets of pods from others. `ClusterCIDR` is the default, and tells nothing without a range.
fn detect_local(file: &File, found: &mut Found) {
    let stated = file.text(&["detectLocalMode"]);
    let name = |key: &str| file.text(&["detectLocal", key]).map(String::from);
    let mode = match stated.unwrap_or("ClusterCIDR") {
        "NodeCIDR" => Some(DetectLocalMode::NodeCidr),
        "BridgeInterface" => name("bridgeInterface").map(DetectLocalMode::BridgeInterface),
        "InterfaceNamePrefix" => name("interfaceNamePrefix").map(DetectLocalMode::InterfaceNamePrefix),
        "ClusterCIDR" if file.text(&["clusterCIDR"]).is_none() => Some(DetectLocalMode::None),
        "ClusterCIDR" => Some(DetectLocalMode::ClusterCidr),
        _ => None,
    };
    let Some(mode) = mode else { return };
    let said = match (stated, &mode) {
        (Some(stated), DetectLocalMode::None) => format!("detectLocalMode {stated} and no clusterCIDR"),
        (Some(stated), _) => format!("detectLocalMode {stated}"),
        (None, DetectLocalMode::None) => "no clusterCIDR to detect local traffic by".to_string(),
        (None, _) => "no detectLocalMode, which means ClusterCIDR".to_string(),
    };
    found.detect_local_mode.add(file.claim(mode, &said, Rank::Running));
}

/// kubeadm's `ClusterConfiguration`.
fn kubeadm(file: &File, found: &mut Found) {
    file.ranges(&["networking", "podSubnet"], &mut found.cluster_cidr, Rank::Installer);
    file.ranges(&["networking", "serviceSubnet"], &mut found.service_cidr, Rank::Installer);
    if let Some(version) = file.text(&["kubernetesVersion"]) {
        let because = format!("{} says kubernetesVersion {version}", file.shown);
        let origin = file.origin.clone();
        found.proxy_version.add(Claim { value: version.into(), because, origin, rank: Rank::Installer });
    }
    let paths: [&[&str]; 2] = [&["controllerManager", "extraArgs"], &["controllerManagerExtraArgs"]];
    let args = paths.into_iter().find_map(|path| at(&file.value, path)).map(extra_args).unwrap_or_default();
    for (name, value) in &args {
        let claims = match name.as_str() {
            "node-cidr-mask-size" | "node-cidr-mask-size-ipv4" => &mut found.mask_v4,
            "node-cidr-mask-size-ipv6" => &mut found.mask_v6,
            _ => continue,
        };
        if let Ok(mask) = value.parse::<u8>()
            && (1..=128).contains(&mask)
        {
            claims.add(file.claim(mask, &format!("{name}: {value}"), Rank::Installer));
        }
    }
}

/// A mapping, or since `v1beta4` a list of names and values.
fn extra_args(value: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match value {
        Value::Object(map) => {
            map.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
        }
        Value::Array(list) => {
            let pair =
                |item: &Value| Some((item.get("name").and_then(text)?, item.get("value").and_then(text)?));
            list.iter().filter_map(pair).collect()
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => BTreeMap::new(),
    }
}

/// flannel's `net-conf.json`.
fn flannel(file: &File, cni: &str, found: &mut Found) {
    let networks = [file.text(&["Network"]), file.text(&["IPv6Network"])];
    let networks: Vec<&str> = networks.into_iter().flatten().collect();
    let value = super::nets(&networks.join(","));
    if !value.is_empty() {
        let said = format!("Network {}", networks.join(" and "));
        found.cluster_cidr.add(file.claim(value, &said, Rank::Config));
    }
    // The backend's devices subtract what they add to a packet from this.
    if let Some(mtu) = at(&file.value, &["Backend", "MTU"]).and_then(Value::as_u64)
        && let Ok(value) = u32::try_from(mtu)
        && value > 0
    {
        found.mtu.add(file.claim(value, &format!("Backend.MTU {mtu}"), Rank::Config));
    }
    let Some(backend) = file.text(&["Backend", "Type"]) else { return };
    if cni != "flannel" {
        return;
    }
    let direct = at(&file.value, &["Backend", "DirectRouting"]).and_then(Value::as_bool) == Some(true);
    let said =
        if direct { format!("backend {backend} with DirectRouting") } else { format!("backend {backend}") };
    let because = format!("{} says {said}", file.shown);
    if direct {
        // The nodes' annotations say vxlan all the same.
        found.underlay = Claims::default();
    }
    flannel_backend(if direct { "host-gw" } else { backend }, because, &file.origin, Rank::Config, found);
}

/// What a backend of flannel does between the nodes.
pub(super) fn flannel_backend(
    backend: &str,
    because: String,
    origin: &Origin,
    rank: Rank,
    found: &mut Found,
) {
    let value = match backend {
        "vxlan" => Underlay::Vxlan,
        "host-gw" => Underlay::HostGw,
        // Subnets are given out, and whoever runs the network routes them.
        "alloc" => Underlay::Routed,
        _ => return found.joins_nodes("flannel", backend, &because, origin),
    };
    found.underlay.add(Claim { value, because, origin: origin.clone(), rank });
}

/// `cilium-config`: one entry per option of the agent.
fn cilium(map: &Shared<ConfigMap>, found: &mut Found) {
    let file = File::of(map, "", Value::Null);
    let get = |key: &str| map.data.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
    if let Some(mode @ ("true" | "strict" | "probe" | "partial")) = get("kube-proxy-replacement") {
        let because = format!("{} says kube-proxy-replacement {mode}", file.shown);
        found.handles_services("Cilium's eBPF dataplane", &because, &map.origin);
    }
    if get("enable-policy") == Some("never") {
        found.enforcers.retain(|enforcer| enforcer.who != "cilium");
        let because = format!("{} says enable-policy never", file.shown);
        found.declines = Some(Enforcer { who: "cilium", because, origin: map.origin.clone() });
    }
    if matches!(get("ipam"), Some("cluster-pool" | "cluster-pool-v2beta")) {
        let pools = ["cluster-pool-ipv4-cidr", "cluster-pool-ipv6-cidr"];
        let pools: Vec<&str> = pools.into_iter().filter_map(get).collect();
        let value = super::nets(&pools.join(" "));
        if !value.is_empty() {
            let said = format!("cluster-pool CIDR {}", pools.join(" and "));
            // What Kubernetes was told does not count then.
            found.cluster_cidr = Claims::default();
            found.cluster_cidr.add(file.claim(value, &said, Rank::Running));
        }
    }
    let tunnel = match get("routing-mode") {
        Some("native") => Some("disabled"),
        _ => get("tunnel-protocol").or_else(|| get("tunnel")),
    };
    match tunnel {
        Some("vxlan") => found.underlay.add(file.claim(Underlay::Vxlan, "tunnel vxlan", Rank::Config)),
        Some("disabled") if get("auto-direct-node-routes") == Some("true") => {
            let said = "native routing with auto-direct-node-routes";
            found.underlay.add(file.claim(Underlay::HostGw, said, Rank::Config));
        }
        Some("disabled") => {
            found.underlay.add(file.claim(Underlay::Routed, "native routing", Rank::Config));
        }
        _ => {}
    }
    if let Some(Ok(mtu @ 1..)) = get("mtu").map(str::parse::<u32>) {
        found.mtu.add(file.claim(mtu, &format!("mtu {mtu}"), Rank::Config));
    }
}

/// `antrea-agent.conf`; what is commented out has its default.
fn antrea(file: &File, found: &mut Found) {
    let proxied = at(&file.value, &["featureGates", "AntreaProxy"])
        .or_else(|| at(&file.value, &["antreaProxy", "enable"]))
        .and_then(Value::as_bool);
    if proxied != Some(false) {
        let because = match proxied {
            Some(_) => format!("{} enables AntreaProxy", file.shown),
            None => format!("{} leaves AntreaProxy on", file.shown),
        };
        found.handles_services("Antrea", &because, &file.origin);
    }
    if file.text(&["tunnelType"]) == Some("vxlan") {
        found.underlay.add(file.claim(Underlay::Vxlan, "tunnelType vxlan", Rank::Config));
    }
}

fn calico(map: &Shared<ConfigMap>, found: &mut Found) {
    if map.data.get("calico_backend").map(|backend| &**backend) == Some("vxlan") {
        let file = File::of(map, "calico_backend", Value::Null);
        found.underlay.add(file.claim(Underlay::Vxlan, "calico_backend vxlan", Rank::Config));
    }
}

/// What OpenShift's network operator applied.
fn openshift(file: &File, found: &mut Found) {
    let list = |key: &str| file.value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let pods = list("clusterNetwork");
    let cidrs: Vec<&str> = pods.iter().filter_map(|pool| pool.get("cidr")?.as_str()).collect();
    let services = list("serviceNetwork");
    let services: Vec<&str> = services.iter().filter_map(Value::as_str).collect();
    let named = [
        ("clusterNetwork", cidrs, &mut found.cluster_cidr),
        ("serviceNetwork", services, &mut found.service_cidr),
    ];
    for (key, texts, claims) in named {
        let value = super::nets(&texts.join(","));
        if !value.is_empty() {
            claims.add(file.claim(value, &format!("{key} {}", texts.join(" and ")), Rank::Config));
        }
    }
}
