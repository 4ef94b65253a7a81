//! A pod's network namespace: `lo`, and `eth0` with the pod's addresses.

use alloc::format;

use super::kernel::{add_address, veth_name};
use super::node::{gateway_of, own_pods};
use crate::addr::MacAddr;
use crate::cluster::{Cluster, Pod};
use crate::identity::identity;
use crate::origin::Origin;
use crate::plan::{Link, LinkKind, MachineId, Netns, Undeclared};
use core::net::IpAddr;

use ipnet::IpNet;

/// The name of a pod's interface.
pub(super) const INTERFACE: &str = "eth0";

/// Whether a pod has a namespace of its own: it is not on the host's network, has not ended, and has an address.
pub(super) fn has_netns(pod: &Pod) -> bool {
    !pod.host_network && !pod.terminal && !pod.addresses.is_empty()
}

/// Where a pod's processes run: its node's machine, and the namespace there. `None` for a pod that has none (pending, or ended).
/// O(pods of its node).
pub fn pod_netns(cluster: &Cluster, pod: u32) -> Option<(MachineId, u32)> {
    let one = cluster.pods.get(pod as usize)?;
    let node = one.node?;
    if one.host_network {
        return (!one.terminal).then_some((MachineId(node), 0));
    }
    let place = own_pods(cluster, node).position(|(at, _)| at == pod)?;
    Some((MachineId(node), place as u32 + 1))
}

/// The pod whose namespace this is, if it is one.
pub fn pod_of_netns(cluster: &Cluster, machine: MachineId, netns: u32) -> Option<u32> {
    own_pods(cluster, machine.0).nth(netns.checked_sub(1)? as usize).map(|(at, _)| at)
}

/// An empty namespace for a pod.
pub(super) fn netns(pod: &Pod) -> Netns {
    let mut netns = Netns::new(format!("{}/{}", pod.namespace, pod.name), pod.origin.clone());
    netns.undeclared = Undeclared::Unsaid;
    netns
}

/// The hardware address of a pod's interface: from its IPv4 address, as the bridge plugin forms it, else from its name.
pub(super) fn mac(pod: &Pod) -> MacAddr {
    let v4 = pod.addresses.iter().find_map(|addr| match addr {
        IpAddr::V4(addr) => Some(MacAddr::from_ipv4(*addr)),
        IpAddr::V6(_) => None,
    });
    v4.unwrap_or_else(|| MacAddr::local_from_hash(identity(&["Pod", &pod.namespace, &pod.name, "eth0"])))
}

/// Joins a pod's namespace to its node's by a veth pair: `eth0` inside, `vethXXXXXXXX` outside. Gives the outer end.
pub(super) fn veth_pair(pod: &Pod, inside: &mut Netns, place: u32, mtu: u32, origin: &Origin) -> Link {
    let outer = veth_name(&pod.namespace, &pod.name);
    let kind = LinkKind::Veth { peer_netns: 0, peer: outer.clone() };
    inside.links.push(Link::new(INTERFACE, kind, mac(pod), mtu, origin.clone()));
    let kind = LinkKind::Veth { peer_netns: place, peer: INTERFACE.into() };
    let mac = MacAddr::local_from_hash(identity(&["Pod", &pod.namespace, &pod.name, "veth mac"]));
    Link::new(outer, kind, mac, mtu, origin.clone())
}

/// Gives a pod's interface its addresses, each with the prefix of the range that `net` says, and tells the gateways.
pub(super) fn add_addresses(
    pod: &Pod,
    inside: &mut Netns,
    net: impl Fn(IpAddr) -> Option<IpNet>,
) -> alloc::vec::Vec<(IpNet, IpAddr)> {
    let origin = pod.origin.with_field("status.podIPs");
    let mut gateways = alloc::vec::Vec::new();
    for addr in &pod.addresses {
        let range = net(*addr).unwrap_or_else(|| IpNet::from(*addr));
        if let Ok(own) = IpNet::new(*addr, range.prefix_len()) {
            add_address(inside, INTERFACE, own, &origin);
            gateways.push((own, gateway_of(range)));
        }
    }
    gateways
}
