//! Which port of a node kube-proxy listens at for each service port.
//!
//! In: the service ports of a cluster, the ports of a node that are taken. Out: a number for each. kube-proxy leaves the choice to the kernel, which
//! takes any free port of `net.ipv4.ip_local_port_range`; here it is made up from the service port's identity, in that range's
//! default: the hash of its namespace, name, port name and transport, and where that port is taken the next free one, in the order
//! of the Services. So one Service that comes or goes moves no other, but for those that wanted the same port.
//!
//! Node ports of Services are taken, and what pods of the node have as host ports or declare on the host's network. When there is no
//! free port left, a service port gets none, and kube-proxy makes no rules for it.

use hashbrown::HashMap;

use crate::addr::{Family, Protocol};
use crate::cluster::Cluster;
pub(in crate::compile::service) use crate::cluster::proxy_ports::Held;
use crate::cluster::proxy_ports::{self, COUNT, FIRST};
use crate::compile::service::ServicePort;
use crate::identity::identity;

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// The ports of a node at which kube-proxy listens, each for one service port.
#[derive(Clone, Debug, Default)]
pub struct ProxyPorts {
    /// By the Service's place, and the port's place in it.
    numbers: Map<(u32, u32), u16>,
    owners: Map<(Protocol, u16), u32>,
    held: Held,
}

impl ProxyPorts {
    /// Those of a node's kube-proxy, for Services whose first address is of the family. O(service ports).
    pub(in crate::compile::service) fn of_cluster(cluster: &Cluster, family: Family, held: Held) -> Self {
        let mut all = Self { held, ..Self::default() };
        all.reserve(cluster.services.len());
        for (place, service) in (0..).zip(cluster.services.iter()) {
            if service.cluster_ips.first().is_none_or(|addr| Family::of(*addr) != family) {
                continue;
            }
            for (at, port) in (0..).zip(&service.ports) {
                let name = port.name.as_deref().unwrap_or_default();
                all.give((place, at), [&service.namespace, &service.name, name], port.protocol);
            }
        }
        all
    }

    /// Those for service ports that stand alone, each the first port of a Service with its place in the list.
    pub(in crate::compile::service) fn of_records(records: &[&ServicePort]) -> Self {
        let held = records.iter().filter_map(|record| Some((record.protocol, record.node_port?)));
        let mut all = Self { held: held.collect(), ..Self::default() };
        all.reserve(records.len());
        for (place, record) in (0..).zip(records) {
            all.give((place, 0), [&record.namespace, &record.name, &record.port_name], record.protocol);
        }
        all
    }

    fn reserve(&mut self, count: usize) {
        self.numbers.reserve(count);
        self.owners.reserve(count);
    }

    fn give(&mut self, owner: (u32, u32), [namespace, name, port_name]: [&str; 3], protocol: Protocol) {
        match protocol {
            Protocol::Tcp | Protocol::Udp => {}
            // "SCTP is unsupported for user space" (`proxysocket.go`).
            Protocol::Sctp | Protocol::Icmp => return,
        }
        let wanted = identity(&["proxyPort", namespace, name, port_name, protocol.as_str()]);
        let wanted = (wanted % u64::from(COUNT)) as u16;
        let is_free = |number: &u16| {
            let at = (protocol, *number);
            !self.owners.contains_key(&at) && !self.held.contains(&at)
        };
        let found = (wanted..COUNT).chain(0..wanted).map(|step| FIRST + step).find(is_free);
        if let Some(number) = found {
            self.owners.insert((protocol, number), owner.0);
            self.numbers.insert(owner, number);
        }
    }

    /// The number of a port of a Service, by the places of both.
    pub(in crate::compile::service) fn number(&self, service: u32, port: u32) -> Option<u16> {
        self.numbers.get(&(service, port)).copied()
    }

    /// The number of a service port of a cluster.
    pub(in crate::compile::service) fn of_record(
        &self,
        cluster: &Cluster,
        service: u32,
        record: &ServicePort,
    ) -> Option<u16> {
        let ports = &cluster.services.get(service as usize)?.ports;
        let at = ports.iter().position(|port| {
            let name = port.name.as_deref().unwrap_or_default();
            (port.protocol, port.port, name) == (record.protocol, record.port, &*record.port_name)
        })?;
        self.number(service, u32::try_from(at).ok()?)
    }

    /// The Service that kube-proxy listens for at a port of the node, by its place.
    pub(super) fn owner(&self, protocol: Protocol, number: u16) -> Option<u32> {
        self.owners.get(&(protocol, number)).copied()
    }
}

/// The ports of a node that kube-proxy does not get. O(Services + pods of the node).
pub(in crate::compile::service) fn held(cluster: &Cluster, node: u32) -> Held {
    let places = cluster.pods_on_node.get(node as usize).into_iter().flatten();
    let pods = places.filter_map(|place| cluster.pods.get(*place as usize));
    proxy_ports::held(cluster.services.iter().map(|service| &**service), pods.map(|pod| &**pod))
}
