//! kube-proxy: from Services and EndpointSlices to what one node does with packets to a Service.
//!
//! In: a [`Cluster`](crate::cluster::Cluster) (or bare objects) and a node's [`ProxyConfig`]. Out: the rules that kube-proxy 1.36 writes there, in each of
//! its modes, and those that 1.21 wrote in the mode `userspace`, which is gone since. On the way stand the records that kube-proxy itself keeps: [`ServicePort`] (`pkg/proxy/serviceport.go`),
//! [`Endpoint`] (`endpointslicecache.go`), and which endpoints are used ([`select`], `topology.go`).
//!
//! Every mode compiles one service port at a time, so that a change costs the service ports that it touches and a look-up the
//! one that it is for.

mod config;
pub mod conntrack_cleanup;
mod endpoint;
pub mod iptables;
pub mod ipvs;
pub mod names;
pub mod nftables;
mod port;
mod portmap;
mod record;
mod rules;
mod select;
mod supply;
#[cfg(test)]
mod tests;
pub mod userspace;

pub use self::config::{Detector, NodePortAddresses, ProxyConfig};
pub use self::endpoint::{Endpoint, endpoints};
pub use self::port::{NoEndpoints, Port, ports_of_objects, ports_of_service};
pub use self::record::{ServicePort, service_ports};
pub use self::rules::{NodeRules, ServiceName, ruleset_of_objects, touched_services};
pub use self::select::{Selected, select};
pub use self::supply::NodeSupply;
pub use crate::cluster::is_proxied;
