//! The cluster: what the input says, resolved so that a compiler can read it.
//!
//! In: typed objects and assumptions. Out: nodes with addresses and pod ranges, pods with nodes and addresses,
//! settings with their evidence, and diagnostics. From *manifests* the control plane's part is played (pods made from
//! workloads, scheduled, given addresses), deterministically by identity; from a *snapshot* nothing is made up.

mod address;
mod change;
mod check;
mod control_plane;
mod detect;
mod index;
mod kind;
mod layers;
mod load_balancer;
mod missing;
mod nodes;
mod play;
pub(crate) mod proxy_ports;
mod read;
mod resolve;
mod said;
mod schedule;
mod services;
mod settings;
mod slices;
#[cfg(test)]
mod tests;
mod unmodelled;
mod virtual_address;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::change::Changed;
pub use self::index::{Cluster, NodeRange, Parts};
pub use self::kind::Kind;
pub use self::load_balancer::{Announcement, BalancedAddress, IpMode, LoadBalancer};
pub use self::resolve::resolve;
pub use self::settings::{
    Cni, DEFAULT_CLUSTER_CIDR, DEFAULT_NODE_NETWORK, DEFAULT_SERVICE_CIDR, DetectLocalMode, Evidence,
    NodePortAddresses, ProxyMode, Resolver, Setting, Settings, Underlay,
};
pub use self::slices::{Endpoint, EndpointPort, EndpointSlice, read_slice};
pub use self::virtual_address::is_proxied;
pub(crate) use self::virtual_address::{cluster_ip, external_ips, transport, vips};
use crate::addr::Protocol;
use crate::origin::{ObjectRef, Origin};

/// Whether kubenet plays the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputMode {
    /// Objects as a person writes them, without uids: what the control plane would add is made up.
    Manifests,
    /// Objects as an API server hands them out: nothing is made up.
    Snapshot,
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
    /// Its own host name, where it states one or belongs to a StatefulSet.
    pub hostname: Option<Arc<str>>,
    /// The Service that its host name is below.
    pub subdomain: Option<Arc<str>>,
    /// It shares the node's namespace.
    pub host_network: bool,
    /// `Succeeded` or `Failed`: it holds no address any more.
    pub terminal: bool,
    /// Its ready condition; assumed true for made-up pods.
    pub ready: bool,
    /// It has a deletion timestamp.
    pub terminating: bool,
    /// Its containers, then its restartable init containers.
    pub containers: Vec<Container>,
    /// The workload that it belongs to, outermost first: `Deployment`, then `ReplicaSet`.
    pub owners: Vec<ObjectRef>,
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

/// A Service with the addresses and node ports that it has or was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its virtual addresses, the primary family first. Empty for headless Services, for `ExternalName`, and where a
    /// snapshot has none.
    pub cluster_ips: Vec<IpAddr>,
    /// Labels that its pods have, sorted by key. Empty where endpoints come from somebody else.
    pub selector: Vec<(Arc<str>, Arc<str>)>,
    /// Its ports, in the order of the input.
    pub ports: Vec<ServicePort>,
    /// Its load balancer, for `LoadBalancer`.
    pub load_balancer: Option<LoadBalancer>,
    /// Where it comes from.
    pub origin: Origin,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Its number.
    pub port: u16,
    /// Its transport.
    pub protocol: Protocol,
    /// The port of its pods.
    pub target: TargetPort,
    /// The port on every node, for `NodePort` and `LoadBalancer`.
    pub node_port: Option<u16>,
}

/// Which port of a pod a Service's port leads to (`targetPort`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TargetPort {
    /// This one; the Service's own number when the input does not say.
    Number(u16),
    /// The one that a container gives this name.
    Name(Arc<str>),
}

/// A workload and its pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The kind as in the manifest, the namespace and the name.
    pub object: ObjectRef,
    /// Its pods as indices into [`Cluster::pods`], ascending, which is by name.
    pub pods: Vec<u32>,
}

/// A namespace, as far as an object or the use of its name shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels, sorted by key. `kubernetes.io/metadata.name` is always there (KEP-2161).
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Where it comes from.
    pub origin: Origin,
}

/// A kind that a snapshot does not hold, so that what it could change is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The kind as in a manifest.
    pub kind: Cow<'static, str>,
    /// What it could change, for `Unknown::why`.
    pub why: String,
    /// The command that settles it, for `Unknown::what_would_settle_it`.
    pub command: String,
    /// What it could do to them.
    pub effect: Effect,
    /// Whose packets it could touch.
    pub touches: Touches,
}

/// What a thing that is not known could do to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Stop it, and nothing else: an answer that it gets nowhere stays as it is.
    Forbid,
    /// Anything.
    Change,
}

/// A port of a pod that a process listens on, or that nothing listens on, because the user says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodPort {
    /// The pod as an index into [`Cluster::pods`].
    pub pod: u32,
    /// The port.
    pub port: u16,
    /// Its transport.
    pub protocol: Protocol,
}

/// An object that was loaded but that the model does not execute, and which answers it could change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmodelled {
    /// What it is and why it matters, for `Unknown::why`.
    pub why: String,
    /// How to find out, for `Unknown::what_would_settle_it`.
    pub what_would_settle_it: String,
    /// What it could do to them.
    pub effect: Effect,
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
    /// Packets that these pods (indices into [`Cluster::pods`], ascending) send or get.
    Pods(Vec<u32>),
    /// Connections that these pods (likewise) open, but for those to their own node.
    Opened(Vec<u32>),
    /// Connections that are opened to these pods (likewise), but for those from their own node.
    Accepted(Vec<u32>),
    /// Packets between these pods (likewise) and hosts outside of the cluster.
    PodsOutside(Vec<u32>),
    /// Packets between the cluster and hosts outside of it.
    Outside,
    /// Packets that these nodes (indices into [`Cluster::nodes`], ascending) or pods on them send or get.
    Nodes(Vec<u32>),
    /// Packets between pods of different nodes.
    BetweenNodes,
    /// Packets to an address of these prefixes.
    To(Vec<IpNet>),
}
