//! Which port of a node kube-proxy listens at for each service port.
//!
//! In: a cluster and a node, or service ports that stand alone. Out: a number for each. kube-proxy makes no rules for a service port
//! that finds no free one.

use crate::cluster::Cluster;
pub(in crate::compile::service) use crate::cluster::proxy_ports::ProxyPorts;
use crate::compile::service::ServicePort;

/// Those for service ports that stand alone, each the first port of a Service with its place in the list.
pub(in crate::compile::service) fn of_records(records: &[&ServicePort]) -> ProxyPorts {
    let held = records.iter().filter_map(|record| Some((record.protocol, record.node_port?)));
    let mut all = ProxyPorts::new(held.collect(), records.len());
    for (place, record) in (0..).zip(records) {
        all.give((place, 0), [&record.namespace, &record.name, &record.port_name], record.protocol);
    }
    all
}

/// The number of a service port of a cluster.
pub(in crate::compile::service) fn of_record(
    ports: &ProxyPorts,
    cluster: &Cluster,
    service: u32,
    record: &ServicePort,
) -> Option<u16> {
    let all = &cluster.services.get(service as usize)?.ports;
    let at = all.iter().position(|port| {
        let name = port.name.as_deref().unwrap_or_default();
        (port.protocol, port.port, name) == (record.protocol, record.port, &*record.port_name)
    })?;
    ports.number(service, u32::try_from(at).ok()?)
}
