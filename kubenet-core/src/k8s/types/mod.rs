//! Kubernetes objects, as far as the network is concerned.
//!
//! Field names and meaning are those of the Kubernetes API (v1.36 reference); fields that nothing here reads are not kept, so
//! that neither Secret data nor values of environment variables ever are. Addresses and enumerations stay text: what is wrong with
//! one of them is diagnosed where it is read, and does not cost the object. Every struct has a `Default` and may lack any
//! field, as objects in dumps do.

mod meta;
mod metallb;
mod net;
mod pod;
mod read;
mod workload;

use alloc::sync::Arc;
use core::ops::Deref;

use serde::{Deserialize, Serialize};

pub use self::meta::{LabelSelector, LabelSelectorRequirement, Map, ObjectMeta, OwnerReference};
pub use self::metallb::{
    AdvertisementSpec, BGPAdvertisement, IPAddressPool, IPAddressPoolSpec, L2Advertisement,
};
pub use self::net::{
    Address, Conditions, ConfigMap, Endpoint, EndpointHints, EndpointPort, EndpointSlice, EndpointSubset,
    Endpoints, HttpIngressPath, HttpIngressRuleValue, Ingress, IngressBackend, IngressClass,
    IngressClassSpec, IngressRule, IngressServiceBackend, IngressSpec, IngressTls, IpBlock,
    LoadBalancerIngress, LoadBalancerStatus, NamedZone, Namespace, NetworkPolicy, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicyRule, NetworkPolicySpec, Service, ServiceBackendPort, ServicePort,
    ServiceSpec, ServiceStatus, TargetRef,
};
pub use self::pod::{
    Allocatable, Condition, Container, ContainerPort, IntOrString, Node, NodeAddress, NodeInfo, NodeSpec,
    NodeStatus, Pod, PodIp, PodSpec, PodStatus, PortAction, Probe, Taint, Toleration,
};
pub use self::workload::{
    CronJob, CronJobSpec, DaemonSet, Deployment, Job, JobSpec, JobTemplate, Ordinals, PodTemplate,
    ReplicaSet, ReplicationController, StatefulSet, WorkloadSpec,
};
use crate::origin::Origin;

/// An object and where it comes from. Reads like the object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object<T> {
    /// What it says.
    pub value: T,
    /// Where it stands.
    pub origin: Origin,
}

impl<T> Object<T> {
    /// An object from a place.
    pub const fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A shared object.
pub type Shared<T> = Arc<Object<T>>;
