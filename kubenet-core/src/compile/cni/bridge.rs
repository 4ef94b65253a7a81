//! The `bridge` plugin: a bridge `cni0` with the node's address in its pod range, and a port for every pod.
//!
//! As `isDefaultGateway` and `hairpinMode` set it up (containernetworking/plugins `plugins/main/bridge/bridge.go`; flannel's
//! `cni-conf.json` asks for both). flannel's delegate adds a route to the whole pod network.

use alloc::vec::Vec;

use super::super::kernel::{add_address, any, own_link, route, setting_origin};
use super::super::node::{gateway_of, own_pods, pod_net, range_origin};
use super::super::pod::{self, INTERFACE};
use crate::addr::{Family, MacAddr};
use crate::cluster::{Cluster, Cni, Node};
use crate::origin::Origin;
use crate::plan::{BridgePort, LinkKind, MachinePlan, Netns};

/// The bridge's name.
const BRIDGE: &str = "cni0";
/// `br_ageing_time` as the kernel sets it.
const AGEING_SECS: u32 = 300;

pub(super) fn add(cluster: &Cluster, node: &Node, place: u32, mtu: u32, plan: &mut MachinePlan) {
    let cni = setting_origin(&cluster.settings.cni, "cni");
    let mut insides: Vec<Netns> = Vec::new();
    let Some(host) = plan.netns.first_mut() else { return };
    add_bridge(node, host, mtu, &cni);
    for (_, one) in own_pods(cluster, place) {
        let mut inside = pod::netns(one);
        let netns = insides.len() as u32 + 1;
        let mut port = pod::veth_pair(one, &mut inside, netns, mtu, &Origin::implied("bridge plugin"));
        port.port = Some(BridgePort { bridge: BRIDGE.into(), hairpin: true, isolated: false });
        host.links.push(port);
        for (own, gateway) in pod::add_addresses(one, &mut inside, |addr| pod_net(node, addr)) {
            let family = Family::of(gateway);
            inside.routes.push(route(
                any(family),
                Some(gateway),
                INTERFACE,
                &Origin::implied("bridge plugin"),
            ));
            if cluster.settings.cni.value != Cni::Flannel {
                continue;
            }
            for net in
                cluster.settings.cluster_cidr.value.iter().filter(|net| Family::of_net(**net) == family)
            {
                if *net != own.trunc() {
                    inside.routes.push(route(*net, Some(gateway), INTERFACE, &cni));
                }
            }
        }
        insides.push(inside);
    }
    plan.netns.append(&mut insides);
}

fn add_bridge(node: &Node, host: &mut Netns, mtu: u32, cni: &Origin) {
    let kind = LinkKind::Bridge { ageing_secs: AGEING_SECS };
    let mut bridge = own_link(node, BRIDGE, kind, mtu, cni);
    for net in &node.pod_cidrs {
        if let core::net::IpAddr::V4(gateway) = gateway_of(*net) {
            bridge.mac = MacAddr::from_ipv4(gateway);
        }
    }
    host.links.push(bridge);
    for net in &node.pod_cidrs {
        if let Ok(own) = ipnet::IpNet::new(gateway_of(*net), net.prefix_len()) {
            add_address(host, BRIDGE, own, &range_origin(node));
        }
    }
}
