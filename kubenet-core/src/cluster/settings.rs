//! How the cluster's network is set up, each setting with the evidence for it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use crate::assume::{Cni, ProxyMode, Resolver, Underlay};
use crate::origin::Origin;

/// Why a setting has its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Evidence {
    /// Nothing says; this is the default.
    Assumed,
    /// The user said so (a flag or an Assumptions file).
    Given,
    /// The input says so.
    Detected {
        /// In words, such as `DaemonSet kube-flannel/kube-flannel-ds runs image flannel`.
        because: String,
        /// Where it says so.
        origin: Origin,
    },
}

/// A value and why it is that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Why.
    pub evidence: Evidence,
}

impl<T> Setting<T> {
    /// A default that nothing confirms.
    pub const fn assumed(value: T) -> Self {
        Self { value, evidence: Evidence::Assumed }
    }

    /// What the user said.
    pub const fn given(value: T) -> Self {
        Self { value, evidence: Evidence::Given }
    }

    /// What the input says.
    pub fn detected(value: T, because: impl Into<String>, origin: Origin) -> Self {
        Self { value, evidence: Evidence::Detected { because: because.into(), origin } }
    }

    /// Whether nothing confirms it.
    pub const fn is_assumed(&self) -> bool {
        matches!(self.evidence, Evidence::Assumed)
    }
}

/// The settings that the compilers read. The field names are those of `Assume`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Who gives pods their interfaces.
    pub cni: Setting<Cni>,
    /// How packets get from node to node.
    pub underlay: Setting<Underlay>,
    /// The pod ranges of the whole cluster, at most one per family, the primary family first.
    pub cluster_cidr: Setting<Vec<IpNet>>,
    /// The Service ranges.
    pub service_cidr: Setting<Vec<IpNet>>,
    /// The network that the nodes' own addresses are in, at most one per family.
    pub node_network: Setting<Vec<IpNet>>,
    /// Prefix length of a node's IPv4 pod range.
    pub node_cidr_mask_v4: Setting<u8>,
    /// Prefix length of a node's IPv6 pod range.
    pub node_cidr_mask_v6: Setting<u8>,
    /// MTU of the nodes' network cards, in bytes.
    pub mtu: Setting<u32>,
    /// How kube-proxy works.
    pub proxy_mode: Setting<ProxyMode>,
    /// Which kube-proxy, such as `1.36`.
    pub proxy_version: Setting<String>,
    /// Whether the CNI enforces NetworkPolicies.
    pub policy_enforced: Setting<bool>,
    /// Sysctls that every node has, by name, such as `net.bridge.bridge-nf-call-iptables`.
    pub sysctls: Setting<BTreeMap<String, i64>>,
    /// The C library whose resolver pods use.
    pub resolver: Setting<Resolver>,
}
