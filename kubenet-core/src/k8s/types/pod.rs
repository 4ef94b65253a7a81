//! Nodes and Pods (`api/core/v1`).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::meta::{Map, ObjectMeta};
use super::read::{list, map, nullable, optional_text, quantity, text, texts};

/// A number, or the name of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A name, or a number in quotes.
    String(Arc<str>),
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrString;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a name")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(IntOrString::Int(number))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                let too_large = |_| E::invalid_value(de::Unexpected::Unsigned(number), &self);
                i64::try_from(number).map(IntOrString::Int).map_err(too_large)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(IntOrString::String(text.into()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: NodeSpec,
    /// What is.
    #[serde(deserialize_with = "nullable")]
    pub status: NodeStatus,
}

/// `Node.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSpec {
    /// The first pod range.
    #[serde(rename = "podCIDR", deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<Arc<str>>,
    /// All pod ranges, the first included.
    #[serde(rename = "podCIDRs", deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<Arc<str>>,
    /// The cloud's name for the machine.
    #[serde(
        rename = "providerID",
        deserialize_with = "optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub provider_id: Option<Arc<str>>,
    /// What keeps pods away.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Cordoned.
    #[serde(deserialize_with = "nullable")]
    pub unschedulable: bool,
}

/// A taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Taint {
    /// Its key.
    #[serde(deserialize_with = "text")]
    pub key: Arc<str>,
    /// Its value.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub value: Option<Arc<str>>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[serde(deserialize_with = "text")]
    pub effect: Arc<str>,
}

/// `Node.status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    /// Addresses and names.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    /// Conditions, such as `Ready`.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What runs on it.
    #[serde(deserialize_with = "nullable")]
    pub node_info: NodeInfo,
    /// What pods may use of it.
    #[serde(deserialize_with = "nullable")]
    pub allocatable: Allocatable,
}

/// `Node.status.allocatable`, as far as EndpointSlice hints depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Allocatable {
    /// CPUs, as a quantity such as `3920m`.
    #[serde(deserialize_with = "quantity", skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Arc<str>>,
}

/// An address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, `InternalDNS` or `ExternalDNS`.
    #[serde(deserialize_with = "text")]
    pub r#type: Arc<str>,
    /// The address.
    #[serde(deserialize_with = "text")]
    pub address: Arc<str>,
}

/// `Node.status.nodeInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeInfo {
    /// `linux` or `windows`.
    #[serde(deserialize_with = "text")]
    pub operating_system: Arc<str>,
    /// The distribution.
    #[serde(deserialize_with = "text")]
    pub os_image: Arc<str>,
    /// The kernel.
    #[serde(deserialize_with = "text")]
    pub kernel_version: Arc<str>,
    /// The container runtime.
    #[serde(deserialize_with = "text")]
    pub container_runtime_version: Arc<str>,
    /// The kubelet.
    #[serde(deserialize_with = "text")]
    pub kubelet_version: Arc<str>,
    /// kube-proxy; wrong on some clusters, gone since 1.33.
    #[serde(deserialize_with = "text")]
    pub kube_proxy_version: Arc<str>,
}

/// A condition of a node or pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub r#type: Arc<str>,
    /// `True`, `False` or `Unknown`.
    #[serde(deserialize_with = "text")]
    pub status: Arc<str>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pod {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: PodSpec,
    /// What is.
    #[serde(deserialize_with = "nullable")]
    pub status: PodStatus,
}

/// `Pod.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// The node that it runs on.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub node_name: Option<Arc<str>>,
    /// Labels that its node must have.
    #[serde(deserialize_with = "map", skip_serializing_if = "Map::is_empty")]
    pub node_selector: Map,
    /// It shares the node's network namespace.
    #[serde(deserialize_with = "nullable")]
    pub host_network: bool,
    /// It shares the node's IPC namespace.
    #[serde(rename = "hostIPC", deserialize_with = "nullable")]
    pub host_ipc: bool,
    /// Its own host name.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
    /// The headless Service that its DNS name is under.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<Arc<str>>,
    /// Its service account.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<Arc<str>>,
    /// Its runtime class.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<Arc<str>>,
    /// How its `resolv.conf` is made.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub dns_policy: Option<Arc<str>>,
    /// `Always`, `OnFailure` or `Never`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<Arc<str>>,
    /// Taints that it bears.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Containers that run before the others, or with them (`restartPolicy: Always`).
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    /// Its containers.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
}

/// A toleration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key; all when absent.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub key: Option<Arc<str>>,
    /// `Equal` (the default) or `Exists`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub operator: Option<Arc<str>>,
    /// The taint's value.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub value: Option<Arc<str>>,
    /// The taint's effect; all when absent.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub effect: Option<Arc<str>>,
}

/// A container. Environment variables are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
    /// Its image.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub image: Option<Arc<str>>,
    /// Its command.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Arc<str>>,
    /// Its arguments.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Arc<str>>,
    /// Its declared ports.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
    /// `Always` makes a sidecar of an init container.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<Arc<str>>,
    /// Asks whether it is alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Box<Probe>>,
    /// Asks whether it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Box<Probe>>,
    /// Asks whether it has started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Box<Probe>>,
}

/// A declared port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Its name.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Its number.
    pub container_port: u16,
    /// `TCP` (the default), `UDP` or `SCTP`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Arc<str>>,
    /// The port on the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// The node's address for it.
    #[serde(rename = "hostIP", deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<Arc<str>>,
}

/// A probe, as far as it opens a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Probe {
    /// An HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<PortAction>,
    /// A TCP connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<PortAction>,
    /// A gRPC health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<PortAction>,
}

/// What a probe connects to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PortAction {
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<IntOrString>,
    /// Another host than the pod.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// `HTTP` or `HTTPS`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Arc<str>>,
    /// The path.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub path: Option<Arc<str>>,
}

/// `Pod.status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub phase: Option<Arc<str>>,
    /// Its first address.
    #[serde(rename = "podIP", deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub pod_ip: Option<Arc<str>>,
    /// All addresses, the first included.
    #[serde(rename = "podIPs", deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
    /// Its node's first address.
    #[serde(rename = "hostIP", deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<Arc<str>>,
    /// Its node's addresses.
    #[serde(rename = "hostIPs", deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub host_ips: Vec<PodIp>,
    /// Conditions, such as `Ready`.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// An address in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodIp {
    /// The address.
    #[serde(deserialize_with = "text")]
    pub ip: Arc<str>,
}
