//! EndpointSlices: which addresses and ports a Service leads to, and what is known of each.
//!
//! In: a Service of the cluster. Out: its [`EndpointSlice`]s. Those of the input are used as given; where it has none, they are
//! what the EndpointSlice controller makes of the Service's pods, or what the mirroring controller makes of its `Endpoints`
//! (`staging/src/k8s.io/endpointslice`, `pkg/controller/endpointslicemirroring`, v1.36). One Service at a time: O(its pods).
//!
//! Not modelled: the controllers' memory. Slices are packed as if all pods had come at once.

mod controller;
mod hints;
mod read;
mod stale;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub(super) use self::hints::{ZoneCpu, zone_cpu};
pub use self::read::read_slice;
pub(super) use self::read::service_of;
pub(super) use self::stale::stale;
use super::{Cluster, InputMode, Service};
use crate::addr::{Family, Protocol};
use crate::origin::Origin;

/// A part of a Service's endpoints: addresses of one family that share their ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The Service that it belongs to, of the same namespace.
    pub service: Arc<str>,
    /// The family of its addresses.
    pub family: Family,
    /// It belongs to a Service without virtual address, so that no kube-proxy reads it (label
    /// `service.kubernetes.io/headless`).
    pub headless: bool,
    /// The ports of every endpoint.
    pub ports: Vec<EndpointPort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Where it comes from.
    pub origin: Origin,
}

/// A port of the endpoints of a slice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointPort {
    /// The name of the Service's port; empty for the only one.
    pub name: Arc<str>,
    /// Its number. `None` stands for every port, which kube-proxy passes over.
    pub port: Option<u16>,
    /// Its transport.
    pub protocol: Protocol,
}

/// An endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its addresses; kube-proxy reads the first.
    pub addresses: SmallVec<[IpAddr; 1]>,
    /// New connections may go to it.
    pub ready: bool,
    /// It answers, even if it is shutting down.
    pub serving: bool,
    /// It is shutting down.
    pub terminating: bool,
    /// Its node.
    pub node: Option<Arc<str>>,
    /// Its node's zone.
    pub zone: Option<Arc<str>>,
    /// Its own DNS name below the Service's.
    pub hostname: Option<Arc<str>>,
    /// Clients of these zones should use it.
    pub for_zones: Vec<Arc<str>>,
    /// Clients of these nodes should use it.
    pub for_nodes: Vec<Arc<str>>,
    /// Its pod, as namespace and name.
    pub pod: Option<(Arc<str>, Arc<str>)>,
    /// Where it comes from: its pod, or its place in a slice of the input.
    pub origin: Origin,
}

impl Cluster {
    /// The EndpointSlices of a Service, by its place in [`Cluster::services`], sorted by name where the input has them.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use kubenet_core::assume::Assume;
    /// use kubenet_core::cluster::resolve;
    /// use kubenet_core::k8s::Objects;
    ///
    /// let mut objects = Objects::default();
    /// objects.put_json(&serde_json::json!({
    ///     "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}},
    /// }))?;
    /// objects.put_json(&serde_json::json!({
    ///     "kind": "Service", "metadata": {"name": "web"},
    ///     "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    /// }))?;
    /// let (cluster, _) = resolve(&Arc::new(objects), &Assume::default(), None);
    /// let slices = cluster.endpoint_slices(0);
    /// assert_eq!(slices[0].ports[0].port, Some(8080));
    /// assert_eq!(slices[0].endpoints[0].addresses[0], cluster.pods[0].addresses[0]);
    /// # Ok::<(), kubenet_core::k8s::ObjectError>(())
    /// ```
    pub fn endpoint_slices(&self, service: u32) -> Vec<EndpointSlice> {
        let Some(service) = self.services.get(service as usize) else { return Vec::new() };
        let given = self.given_slices(&service.namespace, &service.name);
        if !given.is_empty() {
            return given.iter().filter_map(read_slice).collect();
        }
        match self.slices_come_from(service) {
            From::Nothing => Vec::new(),
            From::Pods => controller::from_pods(self, service),
            From::Endpoints => read::mirrored(self, service),
        }
    }

    /// The most endpoints that a Service may have per port, without a look at them. O(1) but for the input's own slices.
    pub(crate) fn endpoint_bound(&self, service: u32) -> usize {
        let Some(service) = self.services.get(service as usize) else { return 0 };
        let given = self.given_slices(&service.namespace, &service.name);
        if !given.is_empty() {
            return given.iter().map(|slice| slice.endpoints.len()).sum();
        }
        match self.slices_come_from(service) {
            From::Nothing => 0,
            From::Pods => self.pods_with_rarest_label(service),
            From::Endpoints => {
                let key = (service.namespace.clone(), service.name.clone());
                let subsets = self.objects.endpoints.get(&key).into_iter().flat_map(|e| &e.subsets);
                subsets.map(|s| s.addresses.len() + s.not_ready_addresses.len()).sum()
            }
        }
    }

    fn slices_come_from(&self, service: &Service) -> From {
        if self.mode == InputMode::Snapshot && self.objects.collected.contains("EndpointSlice") {
            return From::Nothing;
        }
        let no_pods = self.mode == InputMode::Snapshot && self.objects.pods.is_empty();
        if service.selector.is_empty() || no_pods { From::Endpoints } else { From::Pods }
    }
}

/// What slices that the input lacks are made of.
enum From {
    /// The input has all slices that there are, and this Service has none.
    Nothing,
    /// The pods that the Service selects.
    Pods,
    /// The old list of endpoints.
    Endpoints,
}
