//! Endpoints: what kube-proxy keeps of the EndpointSlices of a service port.
//!
//! In: slices, a port's name and transport, the own node. Out: [`Endpoint`]s in the order that all rules have: that of the
//! *text* `ip:port`, so that `10.0.0.10:80` comes before `10.0.0.2:80` (`pkg/proxy/endpointslicecache.go`, v1.36).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::addr::{Family, Protocol};
use crate::cluster::{self, EndpointSlice};
use crate::origin::Origin;

/// An endpoint of a service port. Displays as `ip:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// New connections may go to it.
    pub ready: bool,
    /// It answers.
    pub serving: bool,
    /// It is shutting down.
    pub terminating: bool,
    /// It is on the own node.
    pub local: bool,
    /// Zones whose clients should use it.
    pub for_zones: Vec<Arc<str>>,
    /// Nodes whose clients should use it.
    pub for_nodes: Vec<Arc<str>>,
    /// Its pod, or its place in a slice.
    pub origin: Origin,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            IpAddr::V4(addr) => write!(f, "{addr}:{}", self.port),
            IpAddr::V6(addr) => write!(f, "[{addr}]:{}", self.port),
        }
    }
}

/// The endpoints of a service port that slices of its Service hold. Of two with one address and port the later counts, unless it
/// is shutting down.
pub fn endpoints(
    slices: &[EndpointSlice],
    port_name: &str,
    protocol: Protocol,
    family: Family,
    node: &str,
) -> Vec<Endpoint> {
    let mut found: BTreeMap<alloc::string::String, Endpoint> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.family == family && !slice.headless) {
        let mine = |port: &&cluster::EndpointPort| &*port.name == port_name && port.protocol == protocol;
        for number in slice.ports.iter().filter(mine).filter_map(|port| port.port.filter(|port| *port > 0)) {
            for stated in &slice.endpoints {
                let Some(addr) = stated.addresses.first() else { continue };
                let endpoint = Endpoint {
                    addr: *addr,
                    port: number,
                    ready: stated.ready,
                    serving: stated.serving,
                    terminating: stated.terminating,
                    local: stated.node.as_deref() == Some(node),
                    for_zones: stated.for_zones.clone(),
                    for_nodes: stated.for_nodes.clone(),
                    origin: stated.origin.clone(),
                };
                let text = format!("{endpoint}");
                if !endpoint.terminating || !found.contains_key(&text) {
                    found.insert(text, endpoint);
                }
            }
        }
    }
    found.into_values().collect()
}
