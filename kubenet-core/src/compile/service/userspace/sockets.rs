//! The sockets of kube-proxy: one per service port, behind which endpoints are asked, and one per node port, which only holds it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use super::ProxyPorts;
use crate::addr::Family;
use crate::cluster::Cluster;
use crate::compile::service::port::records_of_service;
use crate::compile::service::{Port, ProxyConfig, ServicePort, ports_of_service};
use crate::plan::{Backend, Process, Protocol, Relay, Socket, SocketState, SocketSupply};

/// `--udp-timeout`.
const UDP_IDLE: Duration = Duration::from_millis(250);

/// The sockets of a node's kube-proxy, made when a packet asks for them.
#[derive(Debug)]
pub(in crate::compile) struct ProxySockets {
    cluster: Cluster,
    config: ProxyConfig,
    numbers: Arc<ProxyPorts>,
}

impl ProxySockets {
    pub(in crate::compile::service) const fn new(
        cluster: Cluster,
        config: ProxyConfig,
        numbers: Arc<ProxyPorts>,
    ) -> Self {
        Self { cluster, config, numbers }
    }

    fn number(&self, service: u32, record: &ServicePort) -> Option<u16> {
        super::of_record(&self.numbers, &self.cluster, service, record)
    }

    /// The socket that packets for a service port are redirected to. It asks endpoints that are ready, near or not.
    fn relaying(&self, port: &Port, number: u16) -> Socket {
        let record = &port.record;
        let ready = port.endpoints.iter().filter(|endpoint| endpoint.ready);
        let backends =
            ready.map(|it| Backend { addr: it.addr, port: it.port, origin: it.origin.clone() }).collect();
        let affinity = record.affinity_secs.map(|secs| Duration::from_secs(secs.into()));
        let relay = Relay { backends, affinity, udp_idle: UDP_IDLE };
        let addr = match self.config.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        socket(record, Some(addr), number, relay)
    }

    /// The socket that keeps a node port from others (`claimNodePort`). Nobody takes connections there: packets to it are redirected.
    fn holding(&self, service: u32, record: &ServicePort) -> Option<Socket> {
        self.number(service, record)?;
        let relay = Relay { backends: Vec::new(), affinity: None, udp_idle: UDP_IDLE };
        Some(socket(record, None, record.node_port?, relay))
    }
}

fn socket(record: &ServicePort, addr: Option<IpAddr>, port: u16, relay: Relay) -> Socket {
    Socket {
        protocol: record.protocol,
        addr,
        dev: None,
        port,
        state: SocketState::Listen,
        process: Process::Relay(Arc::new(relay)),
        origin: record.origin.clone(),
    }
}

impl SocketSupply for ProxySockets {
    fn socket(&self, protocol: Protocol, family: Family, port: u16) -> Option<Socket> {
        let (cluster, config) = (&self.cluster, &self.config);
        let owner = self.numbers.owner(protocol, port).filter(|_| family == config.family);
        if let Some(place) = owner {
            let mut ports = ports_of_service(cluster, place, config);
            ports.retain(|it| it.record.protocol == protocol && self.number(place, &it.record) == Some(port));
            return ports.first().map(|it| self.relaying(it, port));
        }
        cluster.services_with_node_port(port).iter().find_map(|place| {
            let mut records = records_of_service(cluster, *place, config);
            records.retain(|record| record.protocol == protocol && record.node_port == Some(port));
            records.iter().find_map(|record| self.holding(*place, record))
        })
    }

    fn whole(&self) -> Vec<Socket> {
        let mut all = Vec::new();
        for place in 0..u32::try_from(self.cluster.services.len()).unwrap_or(u32::MAX) {
            for port in ports_of_service(&self.cluster, place, &self.config) {
                let number = self.number(place, &port.record);
                all.extend(number.map(|number| self.relaying(&port, number)));
                all.extend(self.holding(place, &port.record));
            }
        }
        all.sort_by_key(|socket| (socket.protocol, socket.port));
        // Of two Services that want one node port the first has it.
        all.dedup_by_key(|socket| (socket.protocol, socket.port));
        all
    }
}
