//! How one node's kube-proxy is set up, in one family.
//!
//! In: a node of a cluster, or what a caller says. Out: a [`ProxyConfig`]. Defaults are those of kube-proxy 1.36
//! (`cmd/kube-proxy/app`, `pkg/proxy/util/{localdetector,nodeport_addresses}.go`).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::addr::Family;
pub use crate::cluster::NodePortAddresses;
use crate::cluster::{Cluster, DetectLocalMode, Node};
use crate::compile::cni;
use crate::plan::Scheduler;

/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// The mark of packets to be masqueraded: bit 14.
const MARK: u32 = 1 << 14;

/// One kube-proxy in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// The family that it is for.
    pub family: Family,
    /// Its node.
    pub node_name: Arc<str>,
    /// Its node's zone.
    pub zone: Option<Arc<str>>,
    /// Its node's own address of the family.
    pub node_ip: Option<IpAddr>,
    /// All addresses of the node in the family, loopback included.
    pub local_addresses: Vec<IpAddr>,
    /// How packets of pods are told from others.
    pub detector: Option<Detector>,
    /// The mark of packets to be masqueraded, one bit.
    pub masquerade_mark: u32,
    /// Everything to a cluster IP is masqueraded (`--masquerade-all`).
    pub masquerade_all: bool,
    /// At which addresses node ports answer.
    pub node_port_addresses: NodePortAddresses,
    /// Node ports answer at 127.0.0.1 too (`--iptables-localhost-nodeports`).
    pub localhost_node_ports: bool,
    /// The ranges of cluster IPs of the family.
    pub service_cidrs: Vec<IpNet>,
    /// How IPVS chooses among endpoints, in mode `ipvs`.
    pub scheduler: Scheduler,
    /// `net.netfilter.nf_conntrack_tcp_be_liberal` is set, so that nothing is dropped as invalid.
    pub be_liberal: bool,
}

/// How packets of pods are told from others (`--detect-local-mode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detector {
    /// By their source: `ClusterCIDR` and `NodeCIDR`.
    Source(IpNet),
    /// By the bridge that they come from: `BridgeInterface`.
    Bridge(Arc<str>),
    /// By the beginning of the name of the link that they come from: `InterfaceNamePrefix`.
    LinkPrefix(Arc<str>),
}

impl ProxyConfig {
    /// A kube-proxy with defaults: no detector, no addresses, node ports everywhere.
    pub fn new(family: Family, node_name: impl Into<Arc<str>>) -> Self {
        Self {
            family,
            node_name: node_name.into(),
            zone: None,
            node_ip: None,
            local_addresses: Vec::new(),
            detector: None,
            masquerade_mark: MARK,
            masquerade_all: false,
            node_port_addresses: NodePortAddresses::All,
            localhost_node_ports: true,
            service_cidrs: Vec::new(),
            scheduler: Scheduler::Rr,
            be_liberal: false,
        }
    }

    /// The kube-proxy of a node, by its place in [`Cluster::nodes`]; `None` where there is no such node. The node's addresses are
    /// those that the cluster knows, and those that the CNI gives its links.
    pub fn of_node(cluster: &Cluster, place: u32, family: Family) -> Option<Self> {
        let node = cluster.nodes.get(place as usize)?;
        let settings = &cluster.settings;
        let of_family = |nets: &[IpNet]| -> Vec<IpNet> {
            nets.iter().copied().filter(|net| Family::of_net(*net) == family).collect()
        };
        let mine = |addr: &IpAddr| Family::of(*addr) == family;
        let own = node.addresses.iter().copied().filter(mine);
        let links = cni::node_addresses(cluster, node, place).into_iter().filter(mine);
        Some(Self {
            zone: node.labels.iter().find(|(key, _)| &**key == ZONE).map(|(_, zone)| zone.clone()),
            node_ip: own.clone().next(),
            local_addresses: [loopback(family)].into_iter().chain(own).chain(links).collect(),
            detector: detector(cluster, node, family),
            masquerade_all: settings.masquerade_all.value,
            node_port_addresses: settings.node_port_addresses.value.clone(),
            localhost_node_ports: settings.localhost_node_ports.value,
            service_cidrs: of_family(&settings.service_cidr.value),
            scheduler: Scheduler::from_name(&settings.ipvs_scheduler.value),
            be_liberal: settings
                .sysctls
                .value
                .get("net.netfilter.nf_conntrack_tcp_be_liberal")
                .is_some_and(|value| *value != 0),
            ..Self::new(family, node.name.clone())
        })
    }

    /// Whether node ports answer at every local address, so that rules go by the type of the address.
    pub fn matches_all_addresses(&self) -> bool {
        match &self.node_port_addresses {
            NodePortAddresses::All => true,
            NodePortAddresses::In(nets) => self.of_family(nets).next().is_none_or(|first| {
                first.prefix_len() == 0 || self.of_family(nets).any(|net| net.prefix_len() == 0)
            }),
            NodePortAddresses::Primary => false,
        }
    }

    /// The local addresses at which node ports answer, where they do not answer at all of them. In order of the node's addresses.
    pub fn node_port_ips(&self) -> Vec<IpAddr> {
        match &self.node_port_addresses {
            NodePortAddresses::All => self.local_addresses.clone(),
            NodePortAddresses::Primary => self.node_ip.into_iter().collect(),
            NodePortAddresses::In(nets) => {
                let own = self.local_addresses.iter().copied();
                own.filter(|addr| nets.iter().any(|net| net.contains(addr))).collect()
            }
        }
    }

    /// Whether node ports answer at 127.0.0.1: in IPv4, where the setting and the addresses allow it.
    pub fn effective_localhost_node_ports(&self) -> bool {
        self.localhost_node_ports
            && self.family == Family::V4
            && (self.matches_all_addresses() || self.node_port_ips().iter().any(IpAddr::is_loopback))
    }

    fn of_family<'a>(&self, nets: &'a [IpNet]) -> impl Iterator<Item = IpNet> + use<'a> {
        let family = self.family;
        nets.iter().copied().filter(move |net| Family::of_net(*net) == family)
    }
}

fn detector(cluster: &Cluster, node: &Node, family: Family) -> Option<Detector> {
    let settings = &cluster.settings;
    let source = |nets: &[IpNet]| {
        nets.iter().copied().find(|net| Family::of_net(*net) == family).map(Detector::Source)
    };
    match &settings.detect_local_mode.value {
        DetectLocalMode::ClusterCidr => source(&settings.cluster_cidr.value),
        DetectLocalMode::NodeCidr => source(&node.pod_cidrs),
        DetectLocalMode::BridgeInterface(name) => Some(Detector::Bridge(name.as_str().into())),
        DetectLocalMode::InterfaceNamePrefix(prefix) => Some(Detector::LinkPrefix(prefix.as_str().into())),
        DetectLocalMode::None => None,
    }
}

/// The loopback address of a family.
pub(super) const fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// The range of loopback addresses of a family.
pub(super) const fn loopback_net(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    }
}
