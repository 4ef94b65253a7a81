//! The `ptp` plugin, as kindnet uses it: a veth pair per pod, the node's address in the pod range on every outer end, and a host
//! route per pod.
//!
//! Source: containernetworking/plugins `plugins/main/ptp/ptp.go`: inside, the connected route is replaced by one through the
//! gateway, so that a pod speaks to its neighbours through the node.

use alloc::vec::Vec;

use ipnet::IpNet;

use super::super::kernel::{add_address, any, route};
use super::super::node::{own_pods, pod_net, range_origin};
use super::super::pod::{self, INTERFACE};
use crate::addr::Family;
use crate::cluster::{Cluster, Node};
use crate::origin::Origin;
use crate::plan::{MachinePlan, Netns, Route, RouteProtocol, RouteScope};

pub(super) fn add(cluster: &Cluster, node: &Node, place: u32, mtu: u32, plan: &mut MachinePlan) {
    let plugin = Origin::implied("ptp plugin");
    let mut insides: Vec<Netns> = Vec::new();
    let Some(host) = plan.netns.first_mut() else { return };
    for (_, one) in own_pods(cluster, place) {
        let mut inside = pod::netns(one);
        let netns = insides.len() as u32 + 1;
        let outer = pod::veth_pair(one, &mut inside, netns, mtu, &plugin);
        let outer_name = outer.name.clone();
        host.links.push(outer);
        for (own, gateway) in pod::add_addresses(one, &mut inside, |addr| pod_net(node, addr)) {
            let family = Family::of(gateway);
            let subnet = own.trunc();
            inside.routes.retain(|r| r.dst != subnet || r.protocol != RouteProtocol::Kernel);
            let to_gateway =
                Route { prefsrc: Some(own.addr()), ..route(gateway.into(), None, INTERFACE, &plugin) };
            let to_subnet =
                Route { prefsrc: Some(own.addr()), ..route(subnet, Some(gateway), INTERFACE, &plugin) };
            inside.routes.extend([
                to_gateway,
                to_subnet,
                route(any(family), Some(gateway), INTERFACE, &plugin),
            ]);
            add_address(host, &outer_name, IpNet::from(gateway), &range_origin(node));
            let to_pod = route(IpNet::from(own.addr()), None, outer_name.clone(), &one.origin);
            host.routes.push(match family {
                Family::V4 => Route { scope: RouteScope::Host, ..to_pod },
                Family::V6 => to_pod,
            });
        }
        insides.push(inside);
    }
    plan.netns.append(&mut insides);
}
