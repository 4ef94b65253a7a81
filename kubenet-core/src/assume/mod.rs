//! What the user says about the network: one type for command line flags, scenario front matter, links, Python and files.
//!
//! In: words from outside, by serde or by [`Assume::set`]. Out: an [`Assume`] whose fields have the names of
//! [`cluster::Settings`](crate::cluster::Settings); a field that is not said stays as detected or assumed. Several are laid
//! over each other with [`Assume::over`].
//!
//! As a file it is an object like any other, with the fields below `spec` ([`Assumptions`]):
//!
//! ```yaml
//! apiVersion: kubenet/v1
//! kind: Assumptions
//! spec:
//!   cni: flannel
//!   underlay: vxlan
//!   clusterCidr: [10.244.0.0/16, "fd00:10:244::/56"]
//!   nodes: 3
//!   place: { deploy/frontend: node-2, shop/cart-0: node-1 }
//!   closed: ["shop/cart-0:9090"]
//!   faults: ["mtu node-1 dev eth0 1400"]
//! ```

mod fault;
mod port_ref;
mod proxy;
#[cfg(test)]
mod tests;
mod words;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use ipnet::IpNet;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

pub use self::fault::{Fault, FaultError, Where};
pub use self::port_ref::{PortRef, PortRefError};
pub use self::proxy::{DetectLocalMode, NodePortAddresses, ProxyWordsError};
pub use self::words::{Cni, PodState, ProxyMode, Resolver, Underlay, WordError};
use crate::addr::Family;

/// The one kube-proxy version that is modelled so far.
pub const PROXY_VERSION: &str = "1.36";

/// The sysctls that are modelled, by name, as `sysctl -a` has them.
pub const SYSCTLS: [&str; 14] = [
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-iptables",
    "net.ipv4.conf.all.accept_local",
    "net.ipv4.conf.all.arp_ignore",
    "net.ipv4.conf.all.forwarding",
    "net.ipv4.conf.all.route_localnet",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.all.send_redirects",
    "net.ipv4.fib_multipath_hash_policy",
    "net.ipv4.icmp_echo_ignore_all",
    "net.ipv4.ip_default_ttl",
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.disable_ipv6",
    "net.ipv6.conf.all.forwarding",
];

/// What the user says about the network. Every field may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assume {
    /// Who gives pods their interfaces: `bridge`, `kindnet`, `flannel`, or the name of another (not modelled) CNI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<Cni>,
    /// How packets get from node to node: `host-gw`, `vxlan` or `routed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underlay: Option<Underlay>,
    /// The pod ranges of the whole cluster, at most one per family, the primary family first. A list, or one text with
    /// commas.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "nets")]
    pub cluster_cidr: Option<Vec<IpNet>>,
    /// The Service ranges, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "nets")]
    pub service_cidr: Option<Vec<IpNet>>,
    /// The network of the nodes' own addresses, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "nets")]
    pub node_network: Option<Vec<IpNet>>,
    /// Prefix length of a node's IPv4 pod range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_cidr_mask_v4: Option<u8>,
    /// Prefix length of a node's IPv6 pod range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_cidr_mask_v6: Option<u8>,
    /// MTU of the nodes' network cards, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// How kube-proxy works: `iptables`, `nftables`, `ipvs` or `userspace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_mode: Option<ProxyMode>,
    /// Which kube-proxy. Only `1.36` so far.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "proxy_version")]
    pub proxy_version: Option<String>,
    /// How kube-proxy tells packets of pods from others: `ClusterCIDR` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_local_mode: Option<DetectLocalMode>,
    /// Whether kube-proxy masquerades everything to a cluster IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masquerade_all: Option<bool>,
    /// At which addresses of nodes node ports answer: `all`, `primary` or prefixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port_addresses: Option<NodePortAddresses>,
    /// Whether node ports answer at 127.0.0.1 too, in mode `iptables`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub localhost_node_ports: Option<bool>,
    /// How IPVS chooses among endpoints in mode `ipvs`: `rr`, `lc`, `sh`, `mh` and so on, as `ipvsadm` names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipvs_scheduler: Option<String>,
    /// Whether the CNI enforces NetworkPolicies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_enforced: Option<bool>,
    /// Sysctls that every node has, by name, such as `net.bridge.bridge-nf-call-iptables`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, i64>,
    /// The resolver in the pods: `glibc` or `musl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<Resolver>,
    /// How many nodes to make up when the input has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
    /// On which node made-up pods are placed: `[NAMESPACE/]KIND/NAME` or `NAMESPACE/POD` to a node's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub place: BTreeMap<String, String>,
    /// What befell single pods, as `NAMESPACE/NAME`: `gone`, `unready` or `terminating`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pods: BTreeMap<String, PodState>,
    /// How many pods workloads have instead of what their manifests say, as `NAMESPACE/KIND/NAME` with the kind as in a manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replicas: BTreeMap<String, u32>,
    /// Ports that a process listens on although nothing declares them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<PortRef>,
    /// Ports that nothing listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<PortRef>,
    /// What is broken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// The file form of [`Assume`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assumptions {
    /// `kubenet/v1`.
    pub api_version: ApiVersion,
    /// `Assumptions`.
    pub kind: AssumptionsKind,
    /// A name and the like, read by nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    /// What is said.
    #[serde(default)]
    pub spec: Assume,
}

/// The version of the [`Assumptions`] file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    /// The only one.
    #[serde(rename = "kubenet/v1")]
    V1,
}

/// The kind of the [`Assumptions`] file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AssumptionsKind {
    /// The only one.
    Assumptions,
}

impl From<Assume> for Assumptions {
    fn from(spec: Assume) -> Self {
        Self { api_version: ApiVersion::V1, kind: AssumptionsKind::Assumptions, metadata: None, spec }
    }
}

/// A `key=value` that says nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[non_exhaustive]
pub enum AssumeError {
    /// There is no such field.
    #[error("'{key}' is not a setting; use one of {}", KEYS.join(", "))]
    Key {
        /// What was said.
        key: String,
    },
    /// The value does not fit the field.
    #[error("{key}: {message}")]
    Value {
        /// The field.
        key: String,
        /// What is wrong with the value.
        message: String,
    },
}

/// The names of all fields, as serde has them.
pub const KEYS: [&str; 23] = [
    "cni",
    "underlay",
    "clusterCidr",
    "serviceCidr",
    "nodeNetwork",
    "nodeCidrMaskV4",
    "nodeCidrMaskV6",
    "mtu",
    "proxyMode",
    "proxyVersion",
    "detectLocalMode",
    "masqueradeAll",
    "nodePortAddresses",
    "localhostNodePorts",
    "ipvsScheduler",
    "policyEnforced",
    "sysctls",
    "resolver",
    "nodes",
    "place",
    "listeners",
    "closed",
    "faults",
];

impl Assume {
    /// Lays this over another: what this says wins, maps are joined key by key, lists are appended to the other's.
    #[must_use]
    pub fn over(self, mut below: Self) -> Self {
        below.sysctls.extend(self.sysctls);
        below.place.extend(self.place);
        below.pods.extend(self.pods);
        below.replicas.extend(self.replicas);
        append(&mut below.listeners, self.listeners);
        append(&mut below.closed, self.closed);
        append(&mut below.faults, self.faults);
        Self {
            cni: self.cni.or(below.cni),
            underlay: self.underlay.or(below.underlay),
            cluster_cidr: self.cluster_cidr.or(below.cluster_cidr),
            service_cidr: self.service_cidr.or(below.service_cidr),
            node_network: self.node_network.or(below.node_network),
            node_cidr_mask_v4: self.node_cidr_mask_v4.or(below.node_cidr_mask_v4),
            node_cidr_mask_v6: self.node_cidr_mask_v6.or(below.node_cidr_mask_v6),
            mtu: self.mtu.or(below.mtu),
            proxy_mode: self.proxy_mode.or(below.proxy_mode),
            proxy_version: self.proxy_version.or(below.proxy_version),
            detect_local_mode: self.detect_local_mode.or(below.detect_local_mode),
            masquerade_all: self.masquerade_all.or(below.masquerade_all),
            node_port_addresses: self.node_port_addresses.or(below.node_port_addresses),
            localhost_node_ports: self.localhost_node_ports.or(below.localhost_node_ports),
            ipvs_scheduler: self.ipvs_scheduler.or(below.ipvs_scheduler),
            policy_enforced: self.policy_enforced.or(below.policy_enforced),
            sysctls: below.sysctls,
            resolver: self.resolver.or(below.resolver),
            nodes: self.nodes.or(below.nodes),
            place: below.place,
            pods: below.pods,
            replicas: below.replicas,
            listeners: below.listeners,
            closed: below.closed,
            faults: below.faults,
        }
    }

    /// Sets one field from text, as `--assume KEY=VALUE` and links do. Lists take one more entry per call
    /// (`clusterCidr` takes all at once, with commas); maps take `KEY=VALUE` as the value.
    ///
    /// # Errors
    ///
    /// [`AssumeError::Key`] for an unknown field, [`AssumeError::Value`] for a value that does not fit.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), AssumeError> {
        let wrong = |message: String| AssumeError::Value { key: key.into(), message };
        match key {
            "cni" => self.cni = Some(Cni::from(value)),
            "underlay" => self.underlay = Some(read(key, value)?),
            "clusterCidr" => self.cluster_cidr = Some(parse_nets(value).map_err(wrong)?),
            "serviceCidr" => self.service_cidr = Some(parse_nets(value).map_err(wrong)?),
            "nodeNetwork" => self.node_network = Some(parse_nets(value).map_err(wrong)?),
            "nodeCidrMaskV4" => self.node_cidr_mask_v4 = Some(read(key, value)?),
            "nodeCidrMaskV6" => self.node_cidr_mask_v6 = Some(read(key, value)?),
            "mtu" => self.mtu = Some(read(key, value)?),
            "proxyMode" => self.proxy_mode = Some(read(key, value)?),
            "proxyVersion" => self.proxy_version = Some(parse_proxy_version(value).map_err(wrong)?),
            "detectLocalMode" => self.detect_local_mode = Some(read(key, value)?),
            "masqueradeAll" => self.masquerade_all = Some(read(key, value)?),
            "nodePortAddresses" => self.node_port_addresses = Some(read(key, value)?),
            "localhostNodePorts" => self.localhost_node_ports = Some(read(key, value)?),
            "ipvsScheduler" => self.ipvs_scheduler = Some(read(key, value)?),
            "policyEnforced" => self.policy_enforced = Some(read(key, value)?),
            "sysctls" => {
                let (name, number) = pair(key, value)?;
                self.sysctls.insert(name, read(key, &number)?);
            }
            "resolver" => self.resolver = Some(read(key, value)?),
            "nodes" => self.nodes = Some(read(key, value)?),
            "place" => {
                let (what, node) = pair(key, value)?;
                self.place.insert(what, node);
            }
            "pods" => {
                let (pod, state) = pair(key, value)?;
                self.pods.insert(pod, read(key, &state)?);
            }
            "replicas" => {
                let (workload, count) = pair(key, value)?;
                self.replicas.insert(workload, read(key, &count)?);
            }
            "listeners" => self.listeners.push(read(key, value)?),
            "closed" => self.closed.push(read(key, value)?),
            "faults" => self.faults.push(read(key, value)?),
            _ => return Err(AssumeError::Key { key: key.into() }),
        }
        Ok(())
    }
}

fn append<T: PartialEq>(below: &mut Vec<T>, above: Vec<T>) {
    for item in above {
        if !below.contains(&item) {
            below.push(item);
        }
    }
}

fn read<T: FromStr<Err: fmt::Display>>(key: &str, value: &str) -> Result<T, AssumeError> {
    value
        .trim()
        .parse()
        .map_err(|e: T::Err| AssumeError::Value { key: key.into(), message: format!("'{value}': {e}") })
}

fn pair(key: &str, value: &str) -> Result<(String, String), AssumeError> {
    let (name, value) = value.split_once('=').ok_or_else(|| AssumeError::Value {
        key: key.into(),
        message: format!("'{value}' is not of the form NAME=VALUE"),
    })?;
    Ok((name.trim().into(), value.trim().into()))
}

/// Checks what is true of every list of ranges: one or two, of different families.
fn check_nets(nets: Vec<IpNet>) -> Result<Vec<IpNet>, String> {
    match nets[..] {
        [] => Err("needs at least one prefix".into()),
        [a, b] if Family::of_net(a) == Family::of_net(b) => {
            Err(format!("has two {} prefixes ({a} and {b}); one per family is the most", Family::of_net(a)))
        }
        [_] | [_, _] => Ok(nets.into_iter().map(|net| net.trunc()).collect()),
        [..] => Err("has more than two prefixes; one per family is the most".into()),
    }
}

fn parse_nets(text: &str) -> Result<Vec<IpNet>, String> {
    let one = |word: &str| {
        let example = "such as 10.244.0.0/16";
        word.trim().parse::<IpNet>().map_err(|_| format!("'{}' is not a prefix, {example}", word.trim()))
    };
    check_nets(text.split(',').map(one).collect::<Result<_, _>>()?)
}

fn parse_proxy_version(text: &str) -> Result<String, String> {
    let plain = text.strip_prefix('v').unwrap_or(text);
    if plain == PROXY_VERSION || plain.strip_prefix(PROXY_VERSION).is_some_and(|rest| rest.starts_with('.')) {
        return Ok(PROXY_VERSION.into());
    }
    Err(format!("kube-proxy '{text}' is not modelled yet; only {PROXY_VERSION} is"))
}

fn nets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<IpNet>>, D::Error> {
    struct Nets;
    impl<'de> Visitor<'de> for Nets {
        type Value = Option<Vec<IpNet>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of prefixes, or one text with commas")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            parse_nets(text).map(Some).map_err(E::custom)
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut nets = Vec::new();
            while let Some(word) = seq.next_element::<String>()? {
                let not_one =
                    || de::Error::custom(format!("'{word}' is not a prefix, such as 10.244.0.0/16"));
                nets.push(word.parse().map_err(|_| not_one())?);
            }
            check_nets(nets).map(Some).map_err(de::Error::custom)
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Nets)
}

/// Accepts `"1.36"`, `v1.36.2` and the number `1.36` that YAML makes of it.
fn proxy_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Version;
    impl Visitor<'_> for Version {
        type Value = Option<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a kube-proxy version, such as \"{PROXY_VERSION}\"")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            parse_proxy_version(text).map(Some).map_err(E::custom)
        }
        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Version)
}
