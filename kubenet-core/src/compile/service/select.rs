//! Which endpoints of a service port a node uses (`pkg/proxy/topology.go`, v1.36; KEP-1669, KEP-2086, KEP-2433, KEP-3015).

use alloc::vec::Vec;

use super::{Endpoint, ServicePort};

/// The endpoints that a node uses, as places in the list that they were chosen from, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// Those for traffic with policy `Cluster`; `None` where no traffic has it.
    pub cluster: Option<Vec<usize>>,
    /// Those for traffic with policy `Local`; `None` where no traffic has it.
    pub local: Option<Vec<usize>>,
    /// Both.
    pub all: Vec<usize>,
    /// Somewhere in the cluster is an endpoint that could be used.
    pub any: bool,
}

/// Chooses among the endpoints of a service port on a node of that name and zone.
///
/// Ready endpoints are used, near ones alone where hints of all of them say so. Where none is left, those that still serve while
/// they shut down are used, near or not. Both lists fall back on their own.
pub fn select(port: &ServicePort, endpoints: &[Endpoint], node: &str, zone: Option<&str>) -> Selected {
    if endpoints.is_empty() {
        return Selected::default();
    }
    let draining = |endpoint: &Endpoint| endpoint.serving && endpoint.terminating;
    let places = |holds: &dyn Fn(&Endpoint) -> bool| -> Vec<usize> {
        endpoints.iter().enumerate().filter(|(_, endpoint)| holds(endpoint)).map(|(at, _)| at).collect()
    };
    let mut selected = Selected::default();
    if port.uses_cluster() {
        let near = Nearness::of(endpoints, node, zone);
        let mut cluster = places(&|endpoint| endpoint.ready && near.allows(endpoint));
        if cluster.is_empty() {
            cluster = places(&draining);
        }
        selected.any = !cluster.is_empty();
        selected.all.clone_from(&cluster);
        selected.cluster = Some(cluster);
    }
    if port.uses_local() {
        selected.any |= endpoints.iter().any(|endpoint| endpoint.ready || draining(endpoint));
        let mut local = places(&|endpoint| endpoint.local && endpoint.ready);
        if local.is_empty() {
            local = places(&|endpoint| endpoint.local && draining(endpoint));
        }
        selected.all.extend(&local);
        selected.all.sort_unstable();
        selected.all.dedup();
        selected.local = Some(local);
    }
    selected
}

/// How near an endpoint has to be.
enum Nearness<'a> {
    Node(&'a str),
    Zone(&'a str),
    Anywhere,
}

impl<'a> Nearness<'a> {
    /// The nearest that every ready endpoint has a hint for, and that one of them is hinted at.
    fn of(endpoints: &[Endpoint], node: &'a str, zone: Option<&'a str>) -> Self {
        let ready = || endpoints.iter().filter(|endpoint| endpoint.ready);
        let usable = |near: &Self| ready().any(|endpoint| near.allows(endpoint));
        let by_node = Self::Node(node);
        if ready().all(|endpoint| !endpoint.for_nodes.is_empty()) && usable(&by_node) {
            return by_node;
        }
        if let Some(by_zone) = zone.map(Self::Zone)
            && ready().all(|endpoint| !endpoint.for_zones.is_empty())
            && usable(&by_zone)
        {
            return by_zone;
        }
        Self::Anywhere
    }

    fn allows(&self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Node(node) => endpoint.for_nodes.iter().any(|name| &**name == *node),
            Self::Zone(zone) => endpoint.for_zones.iter().any(|name| &**name == *zone),
            Self::Anywhere => true,
        }
    }
}
