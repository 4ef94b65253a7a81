//! Namespaces, Services, endpoints, policies and Ingresses (`api/core/v1`, `api/discovery/v1`, `api/networking/v1`).

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::meta::{LabelSelector, Map, ObjectMeta};
use super::pod::IntOrString;
use super::read::{list, map, nullable, optional_text, text, texts};

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Namespace {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
}

/// A ConfigMap. Kept are those that say how the network is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConfigMap {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// Its texts.
    #[serde(deserialize_with = "map", skip_serializing_if = "Map::is_empty")]
    pub data: Map,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Service {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: ServiceSpec,
    /// What is.
    #[serde(deserialize_with = "nullable")]
    pub status: ServiceStatus,
}

/// `Service.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP` (the default), `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub r#type: Option<Arc<str>>,
    /// Labels of its pods.
    #[serde(deserialize_with = "map", skip_serializing_if = "Map::is_empty")]
    pub selector: Map,
    /// Its ports.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// Its first virtual address, or `None`.
    #[serde(
        rename = "clusterIP",
        deserialize_with = "optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub cluster_ip: Option<Arc<str>>,
    /// All of them.
    #[serde(rename = "clusterIPs", deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<Arc<str>>,
    /// `IPv4`, `IPv6`.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub ip_families: Vec<Arc<str>>,
    /// `SingleStack`, `PreferDualStack` or `RequireDualStack`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<Arc<str>>,
    /// Addresses that are routed to nodes by somebody else.
    #[serde(rename = "externalIPs", deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub external_ips: Vec<Arc<str>>,
    /// The DNS name of an `ExternalName`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub external_name: Option<Arc<str>>,
    /// `Cluster` or `Local`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<Arc<str>>,
    /// `Cluster` or `Local`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<Arc<str>>,
    /// Preference for near endpoints.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub traffic_distribution: Option<Arc<str>>,
    /// `None` or `ClientIP`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<Arc<str>>,
    /// Its timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<serde_json::Value>,
    /// The address that is asked for.
    #[serde(
        rename = "loadBalancerIP",
        deserialize_with = "optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub load_balancer_ip: Option<Arc<str>>,
    /// Who makes the load balancer.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub load_balancer_class: Option<Arc<str>>,
    /// Who may come in by it.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_source_ranges: Vec<Arc<str>>,
    /// Whether a load balancer needs node ports; yes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocate_load_balancer_node_ports: Option<bool>,
    /// The port of the health check with policy `Local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_node_port: Option<u16>,
    /// DNS names pods that are not ready too.
    #[serde(deserialize_with = "nullable")]
    pub publish_not_ready_addresses: bool,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// Its name.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Its number.
    pub port: u16,
    /// `TCP` (the default), `UDP` or `SCTP`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Arc<str>>,
    /// The pods' port; the same number when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<IntOrString>,
    /// The port on every node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
    /// What is spoken there.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<Arc<str>>,
}

/// `Service.status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// The load balancer.
    #[serde(deserialize_with = "nullable")]
    pub load_balancer: LoadBalancerStatus,
}

/// The ways in of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadBalancerStatus {
    /// Its ways in.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// A way in of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadBalancerIngress {
    /// Its address.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub ip: Option<Arc<str>>,
    /// Its name.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
    /// `VIP` or `Proxy`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub ip_mode: Option<Arc<str>>,
}

/// The old list of a Service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoints {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// Addresses with ports.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub subsets: Vec<EndpointSubset>,
}

/// Addresses that share ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSubset {
    /// Ready.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Not ready.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub not_ready_addresses: Vec<Address>,
    /// Their ports.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
}

/// An address of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Address {
    /// The address.
    #[serde(deserialize_with = "text")]
    pub ip: Arc<str>,
    /// Its own DNS name.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
    /// Its node.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub node_name: Option<Arc<str>>,
    /// Its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
}

/// The object behind an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TargetRef {
    /// Its kind.
    #[serde(deserialize_with = "text")]
    pub kind: Arc<str>,
    /// Its namespace.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
}

/// A port of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointPort {
    /// Its name.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Its number; all ports when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `TCP` (the default), `UDP` or `SCTP`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Arc<str>>,
    /// What is spoken there.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<Arc<str>>,
}

/// A part of a Service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Metadata; label `kubernetes.io/service-name` names the Service.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    #[serde(deserialize_with = "text")]
    pub address_type: Arc<str>,
    /// The endpoints.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Their ports.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
}

/// An endpoint. Until `discovery.k8s.io/v1` its node and zone were in `topology`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", from = "AnyEndpoint")]
pub struct Endpoint {
    /// Its addresses.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Arc<str>>,
    /// Whether it can be used.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Conditions,
    /// Its own DNS name.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
    /// Its node.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub node_name: Option<Arc<str>>,
    /// Its zone.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// Who should use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<EndpointHints>,
    /// Its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
}

/// [`Endpoint`] in its old and its new shape.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AnyEndpoint {
    #[serde(deserialize_with = "texts")]
    addresses: Vec<Arc<str>>,
    #[serde(deserialize_with = "nullable")]
    conditions: Conditions,
    hostname: Option<Arc<str>>,
    node_name: Option<Arc<str>>,
    zone: Option<Arc<str>>,
    hints: Option<EndpointHints>,
    target_ref: Option<TargetRef>,
    #[serde(alias = "deprecatedTopology", deserialize_with = "map")]
    topology: Map,
}

impl From<AnyEndpoint> for Endpoint {
    fn from(any: AnyEndpoint) -> Self {
        let AnyEndpoint { addresses, conditions, hostname, node_name, zone, hints, target_ref, topology } =
            any;
        let node_name = node_name.or_else(|| topology.get("kubernetes.io/hostname").cloned());
        let zone = zone.or_else(|| topology.get("topology.kubernetes.io/zone").cloned());
        Self { addresses, conditions, hostname, node_name, zone, hints, target_ref }
    }
}

/// The conditions of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Conditions {
    /// Yes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// As `ready` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// No when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

/// Who should use an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointHints {
    /// Clients of these zones.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub for_zones: Vec<NamedZone>,
    /// Clients of these nodes.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub for_nodes: Vec<NamedZone>,
}

/// A zone or node by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamedZone {
    /// The name.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
}

/// A NetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: NetworkPolicySpec,
}

/// `NetworkPolicy.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    /// Whom it protects.
    #[serde(deserialize_with = "nullable")]
    pub pod_selector: LabelSelector,
    /// `Ingress`, `Egress`.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub policy_types: Vec<Arc<str>>,
    /// What may come in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<NetworkPolicyRule>>,
    /// What may go out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<NetworkPolicyRule>>,
}

/// What a policy allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NetworkPolicyRule {
    /// Senders, in an ingress rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<NetworkPolicyPeer>>,
    /// Receivers, in an egress rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<NetworkPolicyPeer>>,
    /// Ports; all when absent or empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<NetworkPolicyPort>>,
}

/// One side of allowed traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NetworkPolicyPeer {
    /// Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_block: Option<IpBlock>,
}

/// A block of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IpBlock {
    /// The block.
    #[serde(deserialize_with = "text")]
    pub cidr: Arc<str>,
    /// But not these.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Arc<str>>,
}

/// An allowed port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NetworkPolicyPort {
    /// `TCP` (the default), `UDP` or `SCTP`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Arc<str>>,
    /// The port, by number or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<IntOrString>,
    /// The last of a range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_port: Option<u16>,
}

/// An Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ingress {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: IngressSpec,
    /// What is.
    #[serde(deserialize_with = "nullable")]
    pub status: ServiceStatus,
}

/// `Ingress.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressSpec {
    /// Its class.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub ingress_class_name: Option<Arc<str>>,
    /// For what no rule matches; `backend` until `networking.k8s.io/v1`.
    #[serde(alias = "backend", skip_serializing_if = "Option::is_none")]
    pub default_backend: Option<IngressBackend>,
    /// Hosts with certificates.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<IngressTls>,
    /// Its rules.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<IngressRule>,
}

/// Hosts with a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressTls {
    /// The hosts.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Arc<str>>,
    /// Where the certificate is.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<Arc<str>>,
}

/// Rules of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressRule {
    /// The host; all when absent.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// Its paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpIngressRuleValue>,
}

/// Paths of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpIngressRuleValue {
    /// The paths.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<HttpIngressPath>,
}

/// A path and its backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpIngressPath {
    /// The path.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub path: Option<Arc<str>>,
    /// `Exact`, `Prefix` or `ImplementationSpecific`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub path_type: Option<Arc<str>>,
    /// Who answers.
    #[serde(deserialize_with = "nullable")]
    pub backend: IngressBackend,
}

/// Who answers. Until `networking.k8s.io/v1` a Service was `serviceName` and `servicePort`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", from = "AnyIngressBackend")]
pub struct IngressBackend {
    /// A Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<IngressServiceBackend>,
    /// Another object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<TargetRef>,
}

/// [`IngressBackend`] in its old and its new shape.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AnyIngressBackend {
    service: Option<IngressServiceBackend>,
    resource: Option<TargetRef>,
    service_name: Option<Arc<str>>,
    service_port: Option<IntOrString>,
}

impl From<AnyIngressBackend> for IngressBackend {
    fn from(any: AnyIngressBackend) -> Self {
        let AnyIngressBackend { service, resource, service_name, service_port } = any;
        let port = match service_port {
            Some(IntOrString::Int(number)) => {
                ServiceBackendPort { number: u16::try_from(number).ok(), name: None }
            }
            Some(IntOrString::String(name)) => ServiceBackendPort { number: None, name: Some(name) },
            None => ServiceBackendPort::default(),
        };
        let old = service_name.map(|name| IngressServiceBackend { name, port });
        Self { service: service.or(old), resource }
    }
}

/// A Service that answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressServiceBackend {
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
    /// Its port.
    #[serde(deserialize_with = "nullable")]
    pub port: ServiceBackendPort,
}

/// A port by number or name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceBackendPort {
    /// The number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u16>,
    /// The name.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
}

/// An IngressClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressClass {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// Who serves it.
    #[serde(deserialize_with = "nullable")]
    pub spec: IngressClassSpec,
}

/// `IngressClass.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressClassSpec {
    /// The controller's name.
    #[serde(deserialize_with = "text")]
    pub controller: Arc<str>,
}
