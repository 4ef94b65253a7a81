//! Faults: what the user broke, in the plan of the machine where it is broken.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::kernel::{add_address, refusing_route, route, sort_routes};
use super::{fabric, pod};
use crate::addr::Family;
use crate::assume::{Fault, Where};
use crate::cluster::Cluster;
use crate::origin::Origin;
use crate::plan::{LinkKind, MachineId, MachinePlan, Netns, NextHop, Route, RouteKind};

/// Breaks what is to be broken on a machine.
pub(super) fn apply(cluster: &Cluster, id: MachineId, plan: &mut MachinePlan) {
    for fault in cluster.faults.iter() {
        if let Some((machine, netns)) = place(cluster, fault.at())
            && machine == id
        {
            break_it(plan, netns, fault);
        }
    }
}

/// The machine and namespace of a place.
pub(super) fn place(cluster: &Cluster, at: &Where) -> Option<(MachineId, u32)> {
    match at {
        Where::Node(name) => Some((MachineId(cluster.node_named(name)?), 0)),
        Where::Gateway => Some((fabric::gateway_id(cluster), 0)),
        Where::Pod { namespace, name } => pod::pod_netns(cluster, cluster.pod_named(namespace, name)?),
    }
}

fn break_it(plan: &mut MachinePlan, place: u32, fault: &Fault) {
    let origin = Origin::assumption("faults");
    if let Fault::LinkDown { dev, .. } = fault {
        link_down(plan, place, dev, &origin);
        return;
    }
    let Some(netns) = plan.netns.get_mut(place as usize) else { return };
    match fault {
        Fault::LinkDown { .. } => {}
        Fault::RouteRemoved { dst, .. } => netns.routes.retain(|route| route.dst != *dst),
        Fault::RouteReplaced { dst, kind, via, dev, .. } => {
            netns.routes.retain(|route| route.dst != *dst);
            let new = replaced(netns, *dst, *kind, *via, dev.as_deref(), &origin);
            netns.routes.push(new);
            sort_routes(netns);
        }
        Fault::NeighbourSilent { dev, .. } => on_link(netns, dev, |link| link.answers_neighbours = false),
        Fault::Mtu { dev, bytes, .. } => on_link(netns, dev, |link| link.mtu_bytes = *bytes),
        Fault::IpForwardOff { .. } => {
            netns.sysctls.ip_forward = false;
            netns.sysctls.ipv6_forwarding = false;
        }
        Fault::DuplicateAddress { dev, addr, .. } => {
            add_address(netns, dev, *addr, &origin);
            sort_routes(netns);
        }
    }
}

fn on_link(netns: &mut Netns, dev: &str, change: impl FnOnce(&mut crate::plan::Link)) {
    if let Some(link) = netns.links.iter_mut().find(|link| &*link.name == dev) {
        change(link);
        link.origin = Origin::assumption("faults");
    }
}

/// The link goes down; the other end of a pair loses its carrier.
fn link_down(plan: &mut MachinePlan, place: u32, dev: &str, origin: &Origin) {
    let Some(netns) = plan.netns.get_mut(place as usize) else { return };
    let mut other = None;
    on_link(netns, dev, |link| {
        link.up = false;
        if let LinkKind::Veth { peer_netns, peer } = &link.kind {
            other = Some((*peer_netns, peer.clone()));
        }
    });
    if let Some((peer_netns, peer)) = other
        && let Some(netns) = plan.netns.get_mut(peer_netns as usize)
        && let Some(link) = netns.links.iter_mut().find(|link| link.name == peer)
    {
        link.carrier = false;
        link.origin = origin.clone();
    }
}

fn replaced(
    netns: &Netns,
    dst: IpNet,
    kind: RouteKind,
    via: Option<IpAddr>,
    dev: Option<&str>,
    origin: &Origin,
) -> Route {
    if kind != RouteKind::Unicast {
        return refusing_route(dst, kind, origin);
    }
    // Without a link, the one whose prefix holds the router.
    let near = |addr: IpAddr| {
        let links = netns.links.iter().filter(|link| link.addresses.iter().any(|a| a.net.contains(&addr)));
        links.map(|link| link.name.clone()).next()
    };
    let found: Option<Arc<str>> = dev.map(Into::into).or_else(|| via.and_then(near));
    let mut new = route(dst, via, found.clone().unwrap_or_else(|| "lo".into()), origin);
    if found.is_none() {
        let hop = NextHop { via, dev: None, weight: 1, onlink: false, linkdown: false };
        new.next_hops = Vec::from([hop]).into();
        new.comment = Some(format!("no link reaches this {} router", Family::of_net(dst)).into());
    }
    new
}
