//! The sets of `ipset` that kube-proxy keeps: their names, types and what their rules are commented with.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::addr::Family;
use crate::origin::Origin;
use crate::plan::{IpSet, IpSetEntry, IpSetKind, IpSetOption, IpSetRange};

/// The longest name of a set (`IPSET_MAXNAMELEN` without its end).
const MAX_NAME: usize = 31;

/// The sets that all service ports share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shared {
    /// Endpoints on this node, each with itself as the source.
    LoopBack,
    /// Cluster IPs.
    ClusterIp,
    /// External IPs with policy `Cluster`.
    ExternalIp,
    /// External IPs with policy `Local`.
    ExternalIpLocal,
    /// Addresses of load balancers.
    LoadBalancer,
    /// Those of them with policy `Local`.
    LoadBalancerLocal,
    /// Those of them that not everyone may use.
    LoadBalancerFw,
    /// The addresses of load balancers as sources, where the node itself may use them.
    LoadBalancerSourceIp,
    /// The ranges that may use a load balancer.
    LoadBalancerSourceCidr,
    /// TCP node ports.
    NodePortTcp,
    /// Those of them with policy `Local`.
    NodePortLocalTcp,
    /// UDP node ports.
    NodePortUdp,
    /// Those of them with policy `Local`.
    NodePortLocalUdp,
    /// SCTP node ports at every address of the node.
    NodePortSctp,
    /// Those of them with policy `Local`.
    NodePortLocalSctp,
    /// Ports that tell load balancers whether the node has endpoints.
    HealthCheckNodePort,
    /// The addresses of `kube-ipvs0`.
    IpvsIps,
}

impl Shared {
    /// All.
    pub const ALL: [Self; 17] = [
        Self::LoopBack,
        Self::ClusterIp,
        Self::ExternalIp,
        Self::ExternalIpLocal,
        Self::LoadBalancer,
        Self::LoadBalancerLocal,
        Self::LoadBalancerFw,
        Self::LoadBalancerSourceIp,
        Self::LoadBalancerSourceCidr,
        Self::NodePortTcp,
        Self::NodePortLocalTcp,
        Self::NodePortUdp,
        Self::NodePortLocalUdp,
        Self::NodePortSctp,
        Self::NodePortLocalSctp,
        Self::HealthCheckNodePort,
        Self::IpvsIps,
    ];

    /// Its name on a node: in IPv6 with `KUBE-6-` at the beginning, cut to what a name may hold.
    pub fn name(self, family: Family) -> Arc<str> {
        let words = self.words();
        match family {
            Family::V4 => format!("KUBE-{words}").into(),
            Family::V6 => {
                let mut name: String = format!("KUBE-6-{words}");
                name.truncate(MAX_NAME);
                name.into()
            }
        }
    }

    /// The one of that name, and its family.
    pub fn named(name: &str) -> Option<(Self, Family)> {
        let families = [Family::V4, Family::V6].into_iter();
        let mut all = families.flat_map(|family| Self::ALL.map(|shared| (shared, family)));
        all.find(|(shared, family)| *shared.name(*family) == *name)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::LoopBack => "LOOP-BACK",
            Self::ClusterIp => "CLUSTER-IP",
            Self::ExternalIp => "EXTERNAL-IP",
            Self::ExternalIpLocal => "EXTERNAL-IP-LOCAL",
            Self::LoadBalancer => "LOAD-BALANCER",
            Self::LoadBalancerLocal => "LOAD-BALANCER-LOCAL",
            Self::LoadBalancerFw => "LOAD-BALANCER-FW",
            Self::LoadBalancerSourceIp => "LOAD-BALANCER-SOURCE-IP",
            Self::LoadBalancerSourceCidr => "LOAD-BALANCER-SOURCE-CIDR",
            Self::NodePortTcp => "NODE-PORT-TCP",
            Self::NodePortLocalTcp => "NODE-PORT-LOCAL-TCP",
            Self::NodePortUdp => "NODE-PORT-UDP",
            Self::NodePortLocalUdp => "NODE-PORT-LOCAL-UDP",
            Self::NodePortSctp => "NODE-PORT-SCTP-HASH",
            Self::NodePortLocalSctp => "NODE-PORT-LOCAL-SCTP-HASH",
            Self::HealthCheckNodePort => "HEALTH-CHECK-NODE-PORT",
            Self::IpvsIps => "IPVS-IPS",
        }
    }

    pub(super) const fn kind(self) -> IpSetKind {
        match self {
            Self::LoopBack | Self::LoadBalancerSourceIp => IpSetKind::HashIpPortIp,
            Self::LoadBalancerSourceCidr => IpSetKind::HashIpPortNet,
            Self::ClusterIp
            | Self::ExternalIp
            | Self::ExternalIpLocal
            | Self::LoadBalancer
            | Self::LoadBalancerLocal
            | Self::LoadBalancerFw
            | Self::NodePortSctp
            | Self::NodePortLocalSctp => IpSetKind::HashIpPort,
            Self::NodePortTcp
            | Self::NodePortLocalTcp
            | Self::NodePortUdp
            | Self::NodePortLocalUdp
            | Self::HealthCheckNodePort => IpSetKind::BitmapPort,
            Self::IpvsIps => IpSetKind::HashIp,
        }
    }

    /// What the rules that ask it are commented with.
    pub(super) const fn comment(self) -> &'static str {
        match self {
            Self::LoopBack => "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
            Self::ClusterIp => "Kubernetes service cluster ip + port for masquerade purpose",
            Self::ExternalIp => "Kubernetes service external ip + port for masquerade and filter purpose",
            Self::ExternalIpLocal => "Kubernetes service external ip + port with externalTrafficPolicy=local",
            Self::LoadBalancer => "Kubernetes service lb portal",
            Self::LoadBalancerLocal => {
                "Kubernetes service load balancer ip + port with externalTrafficPolicy=local"
            }
            Self::LoadBalancerFw => {
                "Kubernetes service load balancer ip + port for load balancer with sourceRange"
            }
            Self::LoadBalancerSourceIp => {
                "Kubernetes service load balancer ip + port + source IP for packet filter purpose"
            }
            Self::LoadBalancerSourceCidr => {
                "Kubernetes service load balancer ip + port + source cidr for packet filter purpose"
            }
            Self::NodePortTcp => "Kubernetes nodeport TCP port for masquerade purpose",
            Self::NodePortLocalTcp => "Kubernetes nodeport TCP port with externalTrafficPolicy=local",
            Self::NodePortUdp => "Kubernetes nodeport UDP port for masquerade purpose",
            Self::NodePortLocalUdp => "Kubernetes nodeport UDP port with externalTrafficPolicy=local",
            Self::NodePortSctp => {
                "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'"
            }
            Self::NodePortLocalSctp => {
                "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'"
            }
            Self::HealthCheckNodePort => "Kubernetes health check node port",
            Self::IpvsIps => "",
        }
    }

    /// The set with these entries, as kube-proxy creates it.
    pub(super) fn set(self, family: Family, entries: Vec<IpSetEntry>) -> IpSet {
        let kind = self.kind();
        let origin = Origin::implied("kube-proxy");
        // Types without addresses belong to no family.
        let of = if kind.has_family() { family } else { Family::V4 };
        let mut set = IpSet::new(self.name(family), kind, of, origin);
        set.options = if kind == IpSetKind::BitmapPort {
            Vec::from([IpSetOption::Range(IpSetRange::Ports(0, u16::MAX))])
        } else {
            ["hashsize 1024", "maxelem 65536"].map(|words| IpSetOption::Other(words.into())).into()
        };
        set.entries = entries;
        set
    }
}
