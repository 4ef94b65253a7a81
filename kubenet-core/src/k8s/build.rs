//! Builders: objects made by a program, without text.
//!
//! In: names and numbers. Out: [`AnyObject`]s for [`Objects::put`](super::Objects::put) and
//! [`ObjectChange::Put`](super::ObjectChange::Put). What a builder has no method for is set on the types themselves, all of
//! whose fields are public.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::types::{
    self, ContainerPort, Deployment, IntOrString, NodeAddress, Object, ObjectMeta, PodSpec, PodTemplate,
    ServicePort, WorkloadSpec,
};
use super::{AnyObject, DEFAULT_NAMESPACE};
use crate::addr::Protocol;
use crate::origin::{ObjectRef, Origin};

/// A pod, or the template of a workload's pods.
///
/// ```
/// use kubenet_core::addr::Protocol;
/// use kubenet_core::k8s::Objects;
/// use kubenet_core::k8s::build::{Pod, Service};
///
/// let mut objects = Objects::default();
/// objects.put(Pod::new("web").label("app", "web").port(Protocol::Tcp, 8080).on_node("node-1").build());
/// objects.put(Service::new("web").selector("app", "web").port(Protocol::Tcp, 80, 8080).build());
/// assert_eq!(objects.count("Pod"), 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    meta: ObjectMeta,
    spec: PodSpec,
}

fn meta(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta { name: name.into(), namespace: namespace.map(Arc::from), ..ObjectMeta::default() }
}

fn origin(kind: &'static str, meta: &ObjectMeta) -> Origin {
    let namespace = meta.namespace.as_deref();
    Origin::object(match namespace {
        Some(namespace) => ObjectRef::namespaced(kind, namespace, &meta.name),
        None => ObjectRef::cluster(kind, &meta.name),
    })
}

fn word(protocol: Protocol) -> Arc<str> {
    match protocol {
        Protocol::Tcp | Protocol::Icmp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
    .into()
}

impl Pod {
    /// A pod in the namespace `default` with one container.
    pub fn new(name: &str) -> Self {
        let container = types::Container { name: "main".into(), ..types::Container::default() };
        let spec = PodSpec { containers: Vec::from([container]), ..PodSpec::default() };
        Self { meta: meta(name, Some(DEFAULT_NAMESPACE)), spec }
    }

    /// In another namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.meta.namespace = Some(namespace.into());
        self
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.meta.labels.insert(key.into(), value.into());
        self
    }

    /// With a port that its container declares. ICMP has no ports and counts as TCP.
    #[must_use]
    pub fn port(mut self, protocol: Protocol, port: u16) -> Self {
        if let Some(container) = self.spec.containers.first_mut() {
            let port = ContainerPort {
                container_port: port,
                protocol: Some(word(protocol)),
                ..ContainerPort::default()
            };
            container.ports.push(port);
        }
        self
    }

    /// On this node.
    #[must_use]
    pub fn on_node(mut self, node: &str) -> Self {
        self.spec.node_name = Some(node.into());
        self
    }

    /// On the host's network.
    #[must_use]
    pub const fn on_host_network(mut self) -> Self {
        self.spec.host_network = true;
        self
    }

    /// The object.
    pub fn build(self) -> AnyObject {
        let origin = origin("Pod", &self.meta);
        let pod = types::Pod { metadata: self.meta, spec: self.spec, ..types::Pod::default() };
        Object::new(pod, origin).into()
    }

    /// A Deployment of this pod, named as it is, with a number of replicas.
    pub fn deployment(self, replicas: u32) -> AnyObject {
        let metadata = ObjectMeta { labels: types::Map::new(), ..self.meta.clone() };
        let origin = origin("Deployment", &metadata);
        let template_meta = ObjectMeta { name: "".into(), namespace: None, ..self.meta };
        let template = PodTemplate { metadata: template_meta, spec: self.spec };
        let spec = WorkloadSpec { replicas: Some(replicas), template, ..WorkloadSpec::default() };
        Object::new(Deployment { metadata, spec }, origin).into()
    }
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service(types::Service);

impl Service {
    /// A Service in the namespace `default`.
    pub fn new(name: &str) -> Self {
        Self(types::Service { metadata: meta(name, Some(DEFAULT_NAMESPACE)), ..types::Service::default() })
    }

    /// In another namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.0.metadata.namespace = Some(namespace.into());
        self
    }

    /// A label that its pods have.
    #[must_use]
    pub fn selector(mut self, key: &str, value: &str) -> Self {
        self.0.spec.selector.insert(key.into(), value.into());
        self
    }

    /// A port that leads to a port of its pods. ICMP has no ports and counts as TCP.
    #[must_use]
    pub fn port(mut self, protocol: Protocol, port: u16, target: u16) -> Self {
        self.0.spec.ports.push(ServicePort {
            port,
            protocol: Some(word(protocol)),
            target_port: Some(IntOrString::Int(target.into())),
            ..ServicePort::default()
        });
        self
    }

    /// The object.
    pub fn build(self) -> AnyObject {
        let origin = origin("Service", &self.0.metadata);
        Object::new(self.0, origin).into()
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node(types::Node);

impl Node {
    /// A node.
    pub fn new(name: &str) -> Self {
        Self(types::Node { metadata: meta(name, None), ..types::Node::default() })
    }

    /// With an internal address.
    #[must_use]
    pub fn address(mut self, addr: &str) -> Self {
        self.0.status.addresses.push(NodeAddress { r#type: "InternalIP".into(), address: addr.into() });
        self
    }

    /// With a pod range.
    #[must_use]
    pub fn pod_cidr(mut self, net: &str) -> Self {
        self.0.spec.pod_cidrs.push(net.into());
        self
    }

    /// The object.
    pub fn build(self) -> AnyObject {
        let origin = origin("Node", &self.0.metadata);
        Object::new(self.0, origin).into()
    }
}
