//! The clean-up of conntrack after a change of UDP endpoints (`pkg/proxy/conntrack/cleanup.go`, v1.36).
//!
//! In: the service ports with their endpoints, an entry. Out: whether kube-proxy deletes it. Entries of UDP service ports go
//! when they lead to anything but a serving endpoint; traffic policies and hints do not matter. Entries of TCP and SCTP stay, as
//! do those of service ports that have no serving endpoint at all.

use core::net::IpAddr;

use hashbrown::{HashMap, HashSet};

use super::Port;
use crate::addr::Protocol;

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;
type Place = (IpAddr, u16);

/// What the clean-up looks at in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The transport.
    pub protocol: Protocol,
    /// Where the client sends to, before any translation.
    pub original_destination: (IpAddr, u16),
    /// Where replies come from.
    pub reply_source: (IpAddr, u16),
}

/// What UDP frontends may lead to.
#[derive(Clone, Debug, Default)]
pub struct Cleanup {
    serving: alloc::vec::Vec<HashSet<Place, foldhash::fast::FixedState>>,
    frontends: Map<Place, usize>,
    node_ports: Map<u16, usize>,
}

impl Cleanup {
    /// Notes the frontends of all UDP service ports. O(service ports + endpoints).
    pub fn new<'a>(ports: impl IntoIterator<Item = &'a Port>) -> Self {
        let mut cleanup = Self::default();
        for port in ports.into_iter().filter(|port| port.record.protocol == Protocol::Udp) {
            let serving = port.endpoints.iter().filter(|endpoint| endpoint.serving);
            let serving: HashSet<Place, _> = serving.map(|endpoint| (endpoint.addr, endpoint.port)).collect();
            if serving.is_empty() {
                continue;
            }
            let at = cleanup.serving.len();
            cleanup.serving.push(serving);
            let record = &port.record;
            let virtual_addresses = [record.cluster_ip].into_iter();
            for addr in virtual_addresses
                .chain(record.vips.iter().copied())
                .chain(record.external_ips.iter().copied())
            {
                cleanup.frontends.insert((addr, record.port), at);
            }
            if let Some(node_port) = record.node_port {
                cleanup.node_ports.insert(node_port, at);
            }
        }
        cleanup
    }

    /// Whether kube-proxy deletes the entry. A node port counts at any address.
    pub fn deletes(&self, entry: &Entry) -> bool {
        let (addr, port) = entry.original_destination;
        let leads_astray = |at: Option<&usize>| {
            at.and_then(|at| self.serving.get(*at))
                .is_some_and(|serving| !serving.contains(&entry.reply_source))
        };
        entry.protocol == Protocol::Udp
            && (leads_astray(self.frontends.get(&(addr, port))) || leads_astray(self.node_ports.get(&port)))
    }
}
