//! How the cluster's network is set up, each setting with the evidence for it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::assume::PROXY_VERSION;
pub use crate::assume::{Cni, DetectLocalMode, NodePortAddresses, ProxyMode, Resolver, Underlay};
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
    /// How kube-proxy tells packets of pods from others.
    pub detect_local_mode: Setting<DetectLocalMode>,
    /// Whether kube-proxy masquerades everything to a cluster IP.
    pub masquerade_all: Setting<bool>,
    /// At which addresses of nodes node ports answer.
    pub node_port_addresses: Setting<NodePortAddresses>,
    /// Whether node ports answer at 127.0.0.1 too.
    pub localhost_node_ports: Setting<bool>,
    /// How IPVS chooses among endpoints, in mode `ipvs`.
    pub ipvs_scheduler: Setting<String>,
    /// Whether the CNI enforces NetworkPolicies.
    pub policy_enforced: Setting<bool>,
    /// Sysctls that every node has, by name, such as `net.bridge.bridge-nf-call-iptables`.
    pub sysctls: Setting<BTreeMap<String, i64>>,
    /// The C library whose resolver pods use.
    pub resolver: Setting<Resolver>,
}

/// The pod range that is assumed when nothing says: kubeadm's and flannel's usual one.
pub const DEFAULT_CLUSTER_CIDR: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16));
/// The Service range that is assumed when nothing says: kubeadm's default.
pub const DEFAULT_SERVICE_CIDR: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12));
/// The node network that is assumed when nothing says: kind's first Docker network.
pub const DEFAULT_NODE_NETWORK: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(172, 18, 0, 0), 16));

impl Default for Settings {
    /// What is assumed of a cluster that says nothing: IPv4 only, the bridge plugin with host routes, kube-proxy 1.36 in
    /// iptables mode, bridged packets seen by iptables (kubeadm's preflight check asks for it).
    fn default() -> Self {
        Self {
            cni: Setting::assumed(Cni::Bridge),
            underlay: Setting::assumed(Underlay::HostGw),
            cluster_cidr: Setting::assumed(alloc::vec![DEFAULT_CLUSTER_CIDR]),
            service_cidr: Setting::assumed(alloc::vec![DEFAULT_SERVICE_CIDR]),
            node_network: Setting::assumed(alloc::vec![DEFAULT_NODE_NETWORK]),
            node_cidr_mask_v4: Setting::assumed(24),
            node_cidr_mask_v6: Setting::assumed(64),
            mtu: Setting::assumed(1500),
            proxy_mode: Setting::assumed(ProxyMode::Iptables),
            proxy_version: Setting::assumed(PROXY_VERSION.into()),
            detect_local_mode: Setting::assumed(DetectLocalMode::ClusterCidr),
            masquerade_all: Setting::assumed(false),
            node_port_addresses: Setting::assumed(NodePortAddresses::All),
            localhost_node_ports: Setting::assumed(true),
            ipvs_scheduler: Setting::assumed("rr".into()),
            policy_enforced: Setting::assumed(false),
            sysctls: Setting::assumed(BTreeMap::from([("net.bridge.bridge-nf-call-iptables".into(), 1)])),
            resolver: Setting::assumed(Resolver::Glibc),
        }
    }
}
