//! Compilers: from a resolved cluster to the plan of one machine.
//!
//! In: a [`Cluster`]. Out: [`MachinePlan`]s, segments and stations, each built when it is asked for; nothing is kept. One file per
//! concept: pods, the CNIs, what lies between the nodes, the fabric around them, faults. A compiler decides everything and touches
//! nothing.
//!
//! A node's tables cost O(nodes) with host routes and VXLAN, O(its pods) with a routed underlay: what a real node holds.

mod cni;
mod egress;
mod fabric;
mod fault;
mod internet;
mod kernel;
mod load_balancer;
mod node;
mod pod;
pub mod service;
mod services;
mod sockets;
mod tables;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

pub use self::fabric::{GATEWAY, LOAD_BALANCER, SWITCH, gateway_with, some_outside_address};
pub use self::kernel::node_mac;
pub use self::load_balancer::l2_leader;
pub use self::pod::{pod_netns, pod_of_netns};
use crate::cluster::Cluster;
use crate::plan::{Audience, MachineId, MachinePlan, PlanSource, Segment, SegmentId, Station, Unknown};

/// One machine of the desired plan: nodes come first in the cluster's order, then the gateway, then the
/// load balancer where a Service has one. Pure and uncached.
///
/// ```
/// use std::sync::Arc;
///
/// use kubenet_core::assume::Assume;
/// use kubenet_core::cluster::resolve;
/// use kubenet_core::compile;
/// use kubenet_core::k8s::Objects;
/// use kubenet_core::plan::MachineId;
///
/// let mut objects = Objects::default();
/// objects.put_json(&serde_json::json!({"kind": "Pod", "metadata": {"name": "web"}}))?;
/// let (cluster, _) = resolve(&Arc::new(objects), &Assume::default(), None);
/// let node = compile::machine(&cluster, MachineId(0)).expect("a node");
/// assert_eq!(&*node.name, "node-1");
/// assert!(node.netns[0].link_named("eth0").is_some());
/// # Ok::<(), kubenet_core::k8s::ObjectError>(())
/// ```
pub fn machine(cluster: &Cluster, id: MachineId) -> Option<MachinePlan> {
    let mut plan = if id == fabric::gateway_id(cluster) {
        fabric::gateway(cluster)
    } else if Some(id) == fabric::load_balancer_id(cluster) {
        load_balancer::machine::machine(cluster)
    } else {
        node::node(cluster, id.0)?
    };
    fault::apply(cluster, id, &mut plan);
    Some(plan)
}

/// The machines of a cluster as a [`PlanSource`], with hosts outside of it.
#[derive(Clone, Debug)]
pub struct Plans {
    cluster: Cluster,
    outside: Vec<IpAddr>,
    observed: Vec<(MachineId, Arc<MachinePlan>)>,
    beyond: Option<Unknown>,
}

impl Plans {
    /// The plan of a cluster.
    pub const fn new(cluster: Cluster) -> Self {
        Self { cluster, outside: Vec::new(), observed: Vec::new(), beyond: None }
    }

    /// Puts a machine that was observed in the place of the compiled one.
    #[must_use]
    pub fn with_observed(mut self, id: MachineId, machine: Arc<MachinePlan>) -> Self {
        self.observed.retain(|(other, _)| *other != id);
        self.observed.push((id, machine));
        self
    }

    /// Says that the input does not tell what is behind the gateway at private addresses.
    #[must_use]
    pub fn with_unknown_beyond(mut self, unknown: Unknown) -> Self {
        self.beyond = Some(unknown);
        self
    }

    /// Adds a host on the internet. Its machine is the one that [`Plans::outside`] gives.
    #[must_use]
    pub fn with_outside(mut self, addr: IpAddr) -> Self {
        if !self.outside.contains(&addr) {
            self.outside.push(addr);
        }
        self
    }

    /// The hosts on the internet, in the order in which they were added.
    pub fn outside_addresses(&self) -> &[IpAddr] {
        &self.outside
    }

    /// The cluster that it is compiled from.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The machine of a host on the internet, if there is one with this address.
    pub fn outside(&self, addr: IpAddr) -> Option<MachineId> {
        let place = self.outside.iter().position(|other| *other == addr)?;
        Some(MachineId(fabric::first_outside(&self.cluster) + place as u32))
    }

    fn outside_address(&self, id: MachineId) -> Option<IpAddr> {
        let first = fabric::first_outside(&self.cluster);
        self.outside.get(id.0.checked_sub(first)? as usize).copied()
    }
}

impl PlanSource for Plans {
    fn machine_count(&self) -> u32 {
        fabric::first_outside(&self.cluster) + self.outside.len() as u32
    }

    fn machine(&self, id: MachineId) -> Option<Arc<MachinePlan>> {
        if let Some((_, observed)) = self.observed.iter().find(|(other, _)| *other == id) {
            return Some(observed.clone());
        }
        let mut plan = match self.outside_address(id) {
            Some(addr) => fabric::outside(&self.cluster, addr),
            None => machine(&self.cluster, id)?,
        };
        if let (Some(unknown), true) = (&self.beyond, id == fabric::gateway_id(&self.cluster)) {
            internet::hide_private(&mut plan, unknown);
        }
        Some(Arc::new(plan))
    }

    fn machine_named(&self, name: &str) -> Option<MachineId> {
        if let Some(node) = self.cluster.node_named(name) {
            return Some(MachineId(node));
        }
        if name == GATEWAY {
            return Some(fabric::gateway_id(&self.cluster));
        }
        if name == LOAD_BALANCER {
            return fabric::load_balancer_id(&self.cluster);
        }
        self.outside(name.strip_prefix("internet/")?.parse().ok()?)
    }

    fn segment(&self, id: SegmentId) -> Option<Segment> {
        fabric::segment(&self.cluster, id)
    }

    fn stations(&self, segment: SegmentId, audience: Audience) -> Vec<Station> {
        fabric::stations(&self.cluster, &self.outside, segment, audience)
    }
}
