//! The CNIs that are modelled, and the opaque fabric that stands for the others.
//!
//! | CNI | on a node | between nodes |
//! |---|---|---|
//! | `bridge` | a `cni0` bridge with a veth port per pod | the underlay |
//! | `flannel` | the same, as its `cni-conf.json` delegates | `flannel.1` (VXLAN), or host routes |
//! | `kindnet` | a veth per pod with a host route (the `ptp` plugin) | host routes |
//! | any other | pods plugged into one segment whose inside is not known | the same segment |

mod bridge;
mod host_gw;
mod opaque;
mod ptp;
mod vxlan;

use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

pub(super) use self::opaque::POD_NETWORK_LINK;
use super::node::{gateway_of, own_pods, pod_net};
use crate::cluster::{Cluster, Cni, Node, Underlay};
use crate::plan::{MachinePlan, Unknown};

/// How the pods of this cluster are connected.
pub(super) enum Fabric {
    /// Bridges.
    Bridge,
    /// Point-to-point veths.
    PointToPoint,
    /// Not known, and why.
    Opaque(Unknown),
}

/// What connects the pods.
pub(super) fn fabric(cluster: &Cluster) -> Fabric {
    let settings = &cluster.settings;
    if let Some(gap) = cluster.pod_network_gap() {
        return Fabric::Opaque(Unknown {
            why: gap.into(),
            what_would_settle_it:
                "say which CNI it is (--assume cni=…), or add the Nodes with their pod ranges".into(),
        });
    }
    match &settings.cni.value {
        Cni::Bridge | Cni::Flannel => Fabric::Bridge,
        Cni::Kindnet => Fabric::PointToPoint,
        Cni::Other(name) => Fabric::Opaque(Unknown {
            why: format!("the inside of the pod network of {name} is not modelled"),
            what_would_settle_it: "kubenet observe on the nodes, or tcpdump on both of them".into(),
        }),
    }
}

/// Adds the pods of a node, and its ways to the pods of the other nodes.
pub(super) fn add(cluster: &Cluster, node: &Node, place: u32, plan: &mut MachinePlan) {
    let mtu = pod_mtu(cluster);
    match fabric(cluster) {
        Fabric::Bridge => bridge::add(cluster, node, place, mtu, plan),
        Fabric::PointToPoint => ptp::add(cluster, node, place, mtu, plan),
        Fabric::Opaque(_) => return opaque::add(cluster, node, place, plan),
    }
    let Some(host) = plan.netns.first_mut() else { return };
    match cluster.settings.underlay.value {
        Underlay::HostGw => host_gw::add(cluster, place, host),
        Underlay::Vxlan => vxlan::add(cluster, node, place, host),
        Underlay::Routed => {}
    }
}

/// The addresses that a node has on links of the CNI, those of one link after the other.
pub(super) fn node_addresses(cluster: &Cluster, node: &Node, place: u32) -> Vec<IpAddr> {
    let has_pod = |net: &IpNet| {
        own_pods(cluster, place)
            .any(|(_, pod)| pod.addresses.iter().any(|addr| pod_net(node, *addr) == Some(*net)))
    };
    let mut all: Vec<IpAddr> = match fabric(cluster) {
        Fabric::Bridge => node.pod_cidrs.iter().map(|net| gateway_of(*net)).collect(),
        // Each pod's link has it.
        Fabric::PointToPoint => {
            node.pod_cidrs.iter().filter(|net| has_pod(net)).map(|net| gateway_of(*net)).collect()
        }
        Fabric::Opaque(_) => return Vec::new(),
    };
    if cluster.settings.underlay.value == Underlay::Vxlan {
        all.extend(vxlan::addresses(node));
    }
    all
}

/// The MTU of pods' interfaces.
fn pod_mtu(cluster: &Cluster) -> u32 {
    let settings = &cluster.settings;
    match settings.underlay.value {
        Underlay::Vxlan => vxlan::inner_mtu(settings),
        Underlay::HostGw | Underlay::Routed => settings.mtu.value,
    }
}
