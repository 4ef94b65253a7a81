//! The cluster: what the input says, resolved so that a compiler can read it.
//!
//! In: typed objects and assumptions. Out: nodes with addresses and pod ranges, pods with nodes and addresses,
//! settings with their evidence, and diagnostics. From *manifests* the control plane's part is played (pods made from
//! workloads, scheduled, given addresses), deterministically by identity; from a *snapshot* nothing is made up.

mod settings;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::settings::{Cni, Evidence, ProxyMode, Resolver, Setting, Settings, Underlay};
use crate::addr::Protocol;
use crate::origin::Origin;

/// Whether kubenet plays the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputMode {
    /// Objects as a person writes them, without uids: what the control plane would add is made up.
    Manifests,
    /// Objects as an API server hands them out: nothing is made up.
    Snapshot,
}

/// A cluster, resolved. Cheap to clone: everything is behind `Arc`.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Whether the control plane was played.
    pub mode: InputMode,
    /// How the network is set up.
    pub settings: Arc<Settings>,
    /// All nodes, sorted by name.
    pub nodes: Arc<Vec<Arc<Node>>>,
    /// All pods, sorted by namespace and name.
    pub pods: Arc<Vec<Arc<Pod>>>,
    /// For each node, its pods as indices into `pods`, ascending.
    pub pods_on_node: Arc<Vec<Vec<u32>>>,
    /// Things that the model does not execute.
    pub unmodelled: Arc<Vec<Unmodelled>>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Its internal addresses, at most one per family, the primary family first. Empty when the snapshot does not say.
    pub addresses: Vec<IpAddr>,
    /// Its external addresses.
    pub external_addresses: Vec<IpAddr>,
    /// Its pod ranges (`spec.podCIDRs`), at most one per family.
    pub pod_cidrs: Vec<IpNet>,
    /// Its labels.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Its taints, as `key[=value]:effect`.
    pub taints: Vec<Arc<str>>,
    /// Where it comes from.
    pub origin: Origin,
}

/// A pod that has, or will have, a network namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its labels, sorted by key.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Its node, as an index into [`Cluster::nodes`]; `None` while unscheduled.
    pub node: Option<u32>,
    /// Its addresses, at most one per family, the primary family first. Empty when it has none (yet, or any more).
    pub addresses: Vec<IpAddr>,
    /// It shares the node's namespace.
    pub host_network: bool,
    /// `Succeeded` or `Failed`: it holds no address any more.
    pub terminal: bool,
    /// Its ready condition; assumed true for made-up pods.
    pub ready: bool,
    /// It has a deletion timestamp.
    pub terminating: bool,
    /// Its containers, restartable init containers included.
    pub containers: Vec<Container>,
    /// The workload that it belongs to, outermost first: `Deployment`, then `ReplicaSet`.
    pub owners: Vec<crate::origin::ObjectRef>,
    /// Where it comes from.
    pub origin: Origin,
}

/// One container of a pod, as far as the network is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: Arc<str>,
    /// Its declared ports.
    pub ports: Vec<ContainerPort>,
    /// Ports that probes connect to, with whether the probe speaks HTTP.
    pub probes: Vec<(u16, bool)>,
}

/// A declared port of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPort {
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Its number.
    pub port: u16,
    /// Its transport.
    pub protocol: Protocol,
    /// The port on the node, if asked for.
    pub host_port: Option<u16>,
    /// The node address for it, if asked for.
    pub host_ip: Option<IpAddr>,
    /// Where it stands.
    pub origin: Origin,
}

/// An object that was loaded but that the model does not execute, and which answers it could change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmodelled {
    /// What it is and why it matters, for `Unknown::why`.
    pub why: String,
    /// How to find out, for `Unknown::what_would_settle_it`.
    pub what_would_settle_it: String,
    /// Whose packets it could touch.
    pub touches: Touches,
    /// Where it comes from.
    pub origin: Origin,
}

/// Whose packets an unmodelled thing could touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Touches {
    /// Every packet between two different pods, nodes or anything else.
    Everything,
    /// Packets that these pods (indices into [`Cluster::pods`]) send or get.
    Pods(Vec<u32>),
    /// Packets that these nodes (indices into [`Cluster::nodes`]) or pods on them send or get.
    Nodes(Vec<u32>),
    /// Packets between pods of different nodes.
    BetweenNodes,
    /// Packets to an address of these prefixes.
    To(Vec<IpNet>),
}
