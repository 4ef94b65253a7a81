//! Service ports: what kube-proxy keeps of a Service.
//!
//! In: a Service of the input, and the addresses and node ports that it was given where it states none. Out: a [`ServicePort`]
//! for every port in one family (`pkg/proxy/serviceport.go`, `servicechangetracker.go`, `util/utils.go`, v1.36).

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use ipnet::IpNet;

use crate::addr::{Family, Protocol};
use crate::cluster::{self, cluster_ip, external_ips, is_proxied, transport, vips};
use crate::k8s::types::{self, Object};
use crate::k8s::{DEFAULT_NAMESPACE, sloppy};
use crate::origin::Origin;

/// How long a client stays with its endpoint when the Service does not say.
const AFFINITY_SECS: u32 = 10_800;

/// One port of a Service in one family: the unit of all rules. Displays as `ns/name:port`, without the colon where the port
/// has no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The Service's namespace.
    pub namespace: Arc<str>,
    /// The Service's name.
    pub name: Arc<str>,
    /// The port's name; empty where it has none.
    pub port_name: Arc<str>,
    /// Its transport.
    pub protocol: Protocol,
    /// The virtual address.
    pub cluster_ip: IpAddr,
    /// The port at the virtual addresses.
    pub port: u16,
    /// The port on nodes.
    pub node_port: Option<u16>,
    /// `spec.externalIPs` of the family.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of load balancers that packets keep as their destination (`ipMode: VIP`).
    pub vips: Vec<IpAddr>,
    /// Who may use the load balancer; empty: everyone.
    pub source_ranges: Vec<IpNet>,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`, where the Service can be reached from outside.
    pub external_local: bool,
    /// With `sessionAffinity: ClientIP`: for how many seconds.
    pub affinity_secs: Option<u32>,
    /// The port that tells load balancers whether the node has endpoints.
    pub health_check_node_port: Option<u16>,
    /// The port in the Service.
    pub origin: Origin,
}

impl ServicePort {
    /// Whether it has a frontend beside its cluster IP.
    pub fn externally_accessible(&self) -> bool {
        self.node_port.is_some() || !self.vips.is_empty() || !self.external_ips.is_empty()
    }

    /// Whether endpoints of the whole cluster are used.
    pub fn uses_cluster(&self) -> bool {
        !self.internal_local || self.externally_accessible()
    }

    /// Whether endpoints of the own node are used apart from the others.
    pub fn uses_local(&self) -> bool {
        self.internal_local || (self.external_local && self.externally_accessible())
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        Family::of(self.cluster_ip)
    }

    /// What orders service ports: namespace, name, port name, transport.
    pub(super) fn key(&self) -> (&str, &str, &str, Protocol) {
        (&self.namespace, &self.name, &self.port_name, self.protocol)
    }
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if !self.port_name.is_empty() {
            write!(f, ":{}", self.port_name)?;
        }
        Ok(())
    }
}

/// The service ports of a Service in a family, sorted by name and transport. `given` has the addresses and node ports that the
/// API server chose; without it only those count that the Service states. Values that cannot be read are left out.
pub fn service_ports(
    service: &Object<types::Service>,
    given: Option<&cluster::Service>,
    family: Family,
) -> Vec<ServicePort> {
    if !is_proxied(service) {
        return Vec::new();
    }
    let Some(cluster_ip) = cluster_ip(service, given, family) else { return Vec::new() };
    let spec = &service.spec;
    let kind = spec.r#type.as_deref().unwrap_or("ClusterIP");
    let is_balanced = kind == "LoadBalancer";
    let external_ips: Vec<IpAddr> = external_ips(spec, family).collect();
    let balancer = balancer(service, given);
    let vips: Vec<IpAddr> = vips(balancer.as_deref(), family).collect();
    let reachable = is_balanced || kind == "NodePort" || !spec.external_ips.is_empty();
    let external_local = reachable && spec.external_traffic_policy.as_deref() == Some("Local");
    let affinity = spec.session_affinity.as_deref() == Some("ClientIP");
    let health = balancer.and_then(|balancer| balancer.health_check_node_port).filter(|_| external_local);
    let source_ranges = source_ranges(spec, family);
    let mut ports = Vec::with_capacity(spec.ports.len());
    for (at, port) in spec.ports.iter().enumerate() {
        let Some(protocol) = transport(port) else { continue };
        let port_name = port.name.clone().unwrap_or_default();
        let mine = |p: &&cluster::ServicePort| {
            p.protocol == protocol && p.port == port.port && p.name.as_deref().unwrap_or("") == &*port_name
        };
        let given_port = given.and_then(|given| given.ports.iter().find(mine));
        ports.push(ServicePort {
            namespace: service.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.into()),
            name: service.metadata.name.clone(),
            port_name,
            protocol,
            cluster_ip,
            port: port.port,
            node_port: given_port.map_or(port.node_port, |port| port.node_port).filter(|port| *port > 0),
            external_ips: external_ips.clone(),
            vips: vips.clone(),
            source_ranges: source_ranges.clone(),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local,
            affinity_secs: affinity.then(|| affinity_secs(spec)),
            health_check_node_port: health,
            origin: service.origin.with_field(port_field(at)),
        });
    }
    ports.sort_by(|a, b| a.key().cmp(&b.key()));
    ports.dedup_by(|b, a| a.key() == b.key());
    ports
}

fn balancer<'a>(
    service: &types::Service,
    given: Option<&'a cluster::Service>,
) -> Option<Cow<'a, cluster::LoadBalancer>> {
    match given {
        Some(given) => given.load_balancer.as_ref().map(Cow::Borrowed),
        None => cluster::LoadBalancer::stated(service).map(Cow::Owned),
    }
}

fn port_field(at: usize) -> Cow<'static, str> {
    match at {
        0 => Cow::Borrowed("spec.ports[0]"),
        _ => Cow::Owned(format!("spec.ports[{at}]")),
    }
}

/// A range of everything makes the others meaningless: there is no firewall then.
fn source_ranges(spec: &types::ServiceSpec, family: Family) -> Vec<IpNet> {
    let read = spec.load_balancer_source_ranges.iter().filter_map(|text| sloppy::net(text.trim()));
    let ranges: Vec<IpNet> = read.filter(|net| Family::of_net(*net) == family).collect();
    if ranges.iter().any(|net| net.prefix_len() == 0) { Vec::new() } else { ranges }
}

fn affinity_secs(spec: &types::ServiceSpec) -> u32 {
    let stated = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.get("clientIP")?.get("timeoutSeconds")?.as_u64());
    stated.and_then(|secs| u32::try_from(secs).ok()).unwrap_or(AFFINITY_SECS)
}

/// `ns/name` or `ns/name:port`, as comments and hashes have it.
impl From<&ServicePort> for String {
    fn from(port: &ServicePort) -> Self {
        format!("{port}")
    }
}
