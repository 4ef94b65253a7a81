//! How packets to the addresses of load balancers, and to `externalIPs`, get to nodes.
//!
//! In: a cluster. Out: the routes, rules and answers for neighbours that bring them there:
//!
//! | announced by | who has what |
//! |---|---|
//! | a machine | [`machine`]: a router or a proxy before the nodes, which checks their health |
//! | MetalLB, layer 2 | one node answers ARP and NDP: the [leader](l2_leader) |
//! | MetalLB, BGP | the gateway has a route with a next hop for every node that announces it |
//! | nobody (`externalIPs`) | the gateway has a route to every node, as an administrator sets it up |
//!
//! Traffic then is kube-proxy's. spec/lb-egress.md §1, §3, §4. Not modelled: `klipper-lb`, whose addresses are those of nodes.

mod leader;
pub(super) mod machine;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

pub use self::leader::l2_leader;
use super::fabric::LOAD_BALANCER_PUBLIC;
use super::internet::is_private;
use super::kernel::{onlink_route, refusing_route, route};
use super::node::CARD;
use crate::addr::Family;
use crate::cluster::{
    Announcement, BalancedAddress, Cluster, Endpoint, LoadBalancer, Node, ProxyMode, Service,
};
use crate::origin::Origin;
use crate::plan::{Netns, NextHop, ProxyNeighbour, Route, RouteKind, RouteProtocol, RouteScope};

/// The label that takes a node out (`service.kubernetes.io`, well-known labels).
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The taint of a node that is about to go.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// An address of a Service's load balancer.
#[derive(Clone, Copy, Debug)]
pub(super) struct WayIn<'c> {
    pub(super) place: u32,
    pub(super) service: &'c Arc<Service>,
    pub(super) balancer: &'c LoadBalancer,
    pub(super) address: &'c BalancedAddress,
}

impl WayIn<'_> {
    pub(super) fn origin(&self) -> Origin {
        self.service.origin.with_field("status.loadBalancer")
    }
}

/// The ways in through one Service.
fn of_service(cluster: &Cluster, place: u32) -> impl Iterator<Item = WayIn<'_>> {
    let service = cluster.services.get(place as usize);
    let balancer = service.and_then(|service| Some((service, service.load_balancer.as_ref()?)));
    balancer.into_iter().flat_map(move |(service, balancer)| {
        balancer.addresses.iter().map(move |address| WayIn { place, service, balancer, address })
    })
}

/// All ways in, by address. O(Services with load balancers).
pub(super) fn by_address(cluster: &Cluster) -> BTreeMap<IpAddr, Vec<WayIn<'_>>> {
    let mut all: BTreeMap<IpAddr, Vec<WayIn<'_>>> = BTreeMap::new();
    for way in cluster.services_with_load_balancer().iter().flat_map(|place| of_service(cluster, *place)) {
        all.entry(way.address.addr).or_default().push(way);
    }
    all
}

/// The ways in by one address.
fn at(cluster: &Cluster, addr: IpAddr) -> impl Iterator<Item = WayIn<'_>> {
    let services = cluster.services_at(addr).iter().flat_map(|place| of_service(cluster, *place));
    services.filter(move |way| way.address.addr == addr)
}

/// Whether an address is in one of the nodes' networks, so that it is asked for there.
pub(super) fn is_on_switch(cluster: &Cluster, addr: IpAddr) -> bool {
    cluster.settings.node_network.value.iter().any(|net| net.contains(&addr))
}

/// Whether the load balancer's machine answers for an address on the nodes' network.
pub(super) fn machine_answers(cluster: &Cluster, addr: IpAddr) -> bool {
    is_on_switch(cluster, addr) && at(cluster, addr).any(|way| way.address.by == Announcement::Machine)
}

/// The node that answers for an address on the nodes' network without holding it. O(nodes + endpoints of the Service).
pub(super) fn answering_node(cluster: &Cluster, addr: IpAddr) -> Option<u32> {
    let way = at(cluster, addr).find(|way| matches!(way.address.by, Announcement::Layer2(_)))?;
    leading_node(cluster, &way)
}

fn leading_node(cluster: &Cluster, way: &WayIn<'_>) -> Option<u32> {
    let nodes = announcing_nodes(cluster, way);
    let names: Vec<&str> =
        nodes.iter().filter_map(|at| Some(&*cluster.nodes.get(*at as usize)?.name)).collect();
    cluster.node_named(l2_leader(&names, way.address.addr)?)
}

/// The nodes whose MetalLB speaker announces an address: those that an advertisement selects and that are not excluded, with policy
/// `Local` those with an endpoint that serves; none where no endpoint of the Service serves.
fn announcing_nodes(cluster: &Cluster, way: &WayIn<'_>) -> Vec<u32> {
    let specs = cluster.advertisements(&way.address.by);
    let with_endpoint =
        nodes_with_endpoint(cluster, way.place, |endpoint| endpoint.ready || endpoint.serving);
    let selected = |node: &Node| {
        !node.labels.iter().any(|(key, _)| &**key == EXCLUDED)
            && specs.iter().any(|spec| {
                spec.node_selectors.is_empty() || spec.node_selectors.iter().any(|s| s.matches(&node.labels))
            })
            && if way.balancer.local { with_endpoint.names.contains(&*node.name) } else { with_endpoint.any }
    };
    nodes(cluster, selected)
}

/// The nodes that a load balancer sends to: those that belong to it and pass its health check. With policy `Cluster` every kube-proxy
/// is taken to be well; with `Local` it says whether its node has a ready endpoint, but for mode `userspace`, where nobody answers.
pub(super) fn healthy_nodes(cluster: &Cluster, way: &WayIn<'_>) -> Vec<u32> {
    if way.balancer.local && cluster.settings.proxy_mode.value == ProxyMode::Userspace {
        return Vec::new();
    }
    let with_endpoint = way
        .balancer
        .local
        .then(|| nodes_with_endpoint(cluster, way.place, |endpoint| endpoint.ready && !endpoint.terminating));
    let belongs = |node: &Node| {
        let excluded = |(key, value): &(Arc<str>, Arc<str>)| {
            &**key == EXCLUDED && !matches!(&**value, "0" | "f" | "F" | "false" | "FALSE" | "False")
        };
        let goes = |taint: &Arc<str>| taint.split(['=', ':']).next() == Some(TO_BE_DELETED);
        !node.labels.iter().any(excluded)
            && !node.taints.iter().any(goes)
            && with_endpoint.as_ref().is_none_or(|found| found.names.contains(&*node.name))
    };
    nodes(cluster, belongs)
}

fn nodes(cluster: &Cluster, holds: impl Fn(&Node) -> bool) -> Vec<u32> {
    (0..).zip(cluster.nodes.iter()).filter(|(_, node)| holds(node)).map(|(place, _)| place).collect()
}

struct WithEndpoint {
    names: BTreeSet<Arc<str>>,
    any: bool,
}

fn nodes_with_endpoint(cluster: &Cluster, service: u32, counts: impl Fn(&Endpoint) -> bool) -> WithEndpoint {
    let slices = cluster.endpoint_slices(service);
    let mut found = WithEndpoint { names: BTreeSet::new(), any: false };
    for endpoint in slices.iter().flat_map(|slice| &slice.endpoints).filter(|endpoint| counts(endpoint)) {
        found.any = true;
        found.names.extend(endpoint.node.clone());
    }
    found
}

/// A route to one address by every one of these nodes: each flow keeps its node. `None` where there is no node.
pub(super) fn route_to_nodes(
    cluster: &Cluster,
    addr: IpAddr,
    nodes: &[u32],
    protocol: RouteProtocol,
    origin: &Origin,
) -> Option<Route> {
    let own = |node: &Arc<Node>| {
        node.addresses.iter().copied().find(|other| Family::of(*other) == Family::of(addr))
    };
    let routers = nodes.iter().filter_map(|place| own(cluster.nodes.get(*place as usize)?));
    let mut made = route(IpNet::from(addr), None, CARD, origin);
    made.next_hops = routers
        .map(|via| NextHop {
            via: Some(via),
            dev: Some(CARD.into()),
            weight: 1,
            onlink: false,
            linkdown: false,
        })
        .collect();
    made.protocol = protocol;
    made.scope = RouteScope::Global;
    (!made.next_hops.is_empty()).then_some(made)
}

/// What the nodes' gateway knows. O(Services with load balancers), and O(nodes) for each address of BGP and of `externalIPs`.
pub(super) fn add_to_gateway(cluster: &Cluster, host: &mut Netns, uplink: &str) {
    for (addr, ways) in by_address(cluster) {
        let Some(way) = ways.first() else { continue };
        let origin = way.origin();
        match &way.address.by {
            Announcement::Machine if is_on_switch(cluster, addr) => {}
            Announcement::Machine => {
                let family = Family::of(addr);
                let router = LOAD_BALANCER_PUBLIC.iter().find(|net| Family::of_net(**net) == family);
                host.routes
                    .extend(router.map(|net| route(IpNet::from(addr), Some(net.addr()), uplink, &origin)));
            }
            Announcement::Layer2(_) if is_on_switch(cluster, addr) => {}
            Announcement::Layer2(_) => host.routes.push(route(IpNet::from(addr), None, CARD, &origin)),
            Announcement::Bgp(_) => {
                let nodes: BTreeSet<u32> =
                    ways.iter().flat_map(|way| announcing_nodes(cluster, way)).collect();
                let nodes: Vec<u32> = nodes.into_iter().collect();
                host.routes.extend(route_to_nodes(cluster, addr, &nodes, RouteProtocol::Bgp, &origin));
                host.sysctls.fib_multipath_hash_policy = 1;
            }
            Announcement::Node | Announcement::Nobody(_) => {}
        }
    }
    for (addr, service) in cluster.external_ips() {
        let taken = host.routes.iter().any(|route| route.dst == IpNet::from(*addr));
        let service = cluster.services.get(*service as usize).filter(|_| !taken);
        if let (Some(service), None) = (service, cluster.node_by_address(*addr)) {
            let origin = service.origin.with_field("spec.externalIPs");
            let nodes = nodes(cluster, |_| true);
            host.routes.extend(route_to_nodes(cluster, *addr, &nodes, RouteProtocol::Static, &origin));
            host.sysctls.fib_multipath_hash_policy = 1;
        }
    }
}

/// What a node answers for. O(addresses of MetalLB's layer 2 mode × nodes).
pub(super) fn add_to_node(cluster: &Cluster, place: u32, host: &mut Netns) {
    for way in cluster.services_with_load_balancer().iter().flat_map(|service| of_service(cluster, *service))
    {
        if matches!(way.address.by, Announcement::Layer2(_)) && leading_node(cluster, &way) == Some(place) {
            let proxy = ProxyNeighbour { addr: way.address.addr, dev: CARD.into(), origin: way.origin() };
            if !host.proxies.iter().any(|other| other.addr == proxy.addr) {
                host.proxies.push(proxy);
            }
        }
    }
}

/// How a host on the internet gets to addresses of load balancers: private ones are not routed there.
pub(super) fn add_to_outside(cluster: &Cluster, host: &mut Netns, family: Family) {
    for (addr, ways) in by_address(cluster) {
        let net = IpNet::from(addr);
        let Some(way) = ways.first().filter(|_| Family::of(addr) == family) else { continue };
        if is_private(net) {
            let private =
                Origin::implied("private ranges are not routed on the internet (RFC 1918, RFC 4193)");
            host.routes.push(refusing_route(net, RouteKind::Unreachable, &private));
        } else if way.address.by == Announcement::Machine && !is_on_switch(cluster, addr) {
            let router = LOAD_BALANCER_PUBLIC.iter().find(|net| Family::of_net(**net) == family);
            host.routes.extend(router.map(|router| onlink_route(net, router.addr(), CARD, &way.origin())));
        }
    }
}
