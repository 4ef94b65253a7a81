//! The clean-up of conntrack after a change of UDP endpoints (`pkg/proxy/conntrack/cleanup.go`, v1.36).
//!
//! In: the service ports with their endpoints, an entry. Out: whether kube-proxy deletes it. Entries of UDP service ports go
//! when they lead to anything but a serving endpoint; traffic policies and hints do not matter. Entries of TCP and SCTP stay, as
//! do those of service ports that have no serving endpoint at all.
//!
//! In mode `userspace` entries lead to kube-proxy itself, whichever endpoint it asks, so only a UDP service port that is gone matters:
//! every UDP entry to its cluster IP goes, of whatever port (`pkg/proxy/userspace/proxier.go unmergeService`, v1.21).

use core::net::IpAddr;

use hashbrown::{HashMap, HashSet};

use super::{Port, ServicePort};
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
    gone: HashSet<IpAddr, foldhash::fast::FixedState>,
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

    /// In mode `userspace`: notes the cluster IPs of UDP service ports that there were before a change and are not there after it.
    /// O(service ports).
    pub fn of_userspace<'a>(
        before: impl IntoIterator<Item = &'a ServicePort>,
        after: impl IntoIterator<Item = &'a ServicePort>,
    ) -> Self {
        let name = |record: &'a ServicePort| (&record.namespace, &record.name, &record.port_name);
        let after: HashSet<_, foldhash::fast::FixedState> = after.into_iter().map(name).collect();
        let is_gone = |record: &&ServicePort| {
            record.protocol == Protocol::Udp
                && !after.contains(&(&record.namespace, &record.name, &record.port_name))
        };
        let gone = before.into_iter().filter(is_gone).map(|record| record.cluster_ip).collect();
        Self { gone, ..Self::default() }
    }

    /// Whether kube-proxy deletes the entry. A node port counts at any address.
    pub fn deletes(&self, entry: &Entry) -> bool {
        let (addr, port) = entry.original_destination;
        let leads_astray = |at: Option<&usize>| {
            at.and_then(|at| self.serving.get(*at))
                .is_some_and(|serving| !serving.contains(&entry.reply_source))
        };
        entry.protocol == Protocol::Udp
            && (self.gone.contains(&addr)
                || leads_astray(self.frontends.get(&(addr, port)))
                || leads_astray(self.node_ports.get(&port)))
    }
}
