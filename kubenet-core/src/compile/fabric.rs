//! What lies around the nodes: the switch between them, their gateway, the internet and its hosts.
//!
//! | segment | stations |
//! |---|---|
//! | [`SWITCH`] | the nodes' cards, the gateway, the load balancer |
//! | [`POD_NETWORK`] | pods and nodes, where the CNI is not modelled |
//! | [`INTERNET`] | the gateway, the load balancer, hosts outside |
//!
//! Who answers for an address is looked up in the cluster's indexes; for a hardware address too, since the cards' follow from
//! their addresses.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cni::{self, POD_NETWORK_LINK};
use super::internet::{self, is_private};
use super::kernel::{
    add_address, any, card_mac, node_mac, onlink_route, refusing_route, route, setting_origin, sort_routes,
};
use super::load_balancer;
use super::node::{CARD, card_net, gateway_of};
use super::pod::{self, INTERFACE};
use crate::addr::{Family, MacAddr};
use crate::assume::{Fault, Where};
use crate::cluster::{Cluster, Underlay};
use crate::origin::Origin;
use crate::plan::{
    Audience, Link, LinkKind, MachineId, MachineKind, MachinePlan, Netns, RouteKind, Segment, SegmentId,
    Station, Sysctls, Undeclared,
};

/// The gateway's name.
pub const GATEWAY: &str = "gateway";
/// The load balancer's name.
pub const LOAD_BALANCER: &str = "loadbalancer";
/// The segment of the nodes' cards.
pub const SWITCH: SegmentId = SegmentId(0);
/// The segment that stands for a pod network that is not modelled.
pub(super) const POD_NETWORK: SegmentId = SegmentId(1);
/// The segment beyond the gateway.
pub(super) const INTERNET: SegmentId = SegmentId(2);

/// The card of the gateway and the load balancer towards the internet.
pub(super) const UPLINK: &str = "eth1";
/// The gateway's public addresses, in the ranges for documentation (RFC 5737, RFC 3849).
pub(super) const PUBLIC: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 1), 24)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1), 64)),
];

/// The load balancer's own public addresses.
pub(super) const LOAD_BALANCER_PUBLIC: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 2), 24)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 2), 64)),
];

/// The number of the load balancer, where it is a machine: it follows the gateway.
pub(super) fn load_balancer_id(cluster: &Cluster) -> Option<MachineId> {
    cluster.has_load_balancer_machine().then(|| MachineId(gateway_id(cluster).0 + 1))
}

/// The number of the first host outside.
pub(super) fn first_outside(cluster: &Cluster) -> u32 {
    load_balancer_id(cluster).unwrap_or_else(|| gateway_id(cluster)).0 + 1
}

/// The gateway's number: it follows the nodes.
pub(super) fn gateway_id(cluster: &Cluster) -> MachineId {
    MachineId(cluster.nodes.len() as u32)
}

/// The gateway's addresses in the nodes' networks: the first host of each that no node holds.
pub(super) fn gateway_addresses(cluster: &Cluster) -> impl Iterator<Item = IpAddr> {
    cluster.settings.node_network.value.iter().filter_map(|net| {
        let mut addr = gateway_of(*net);
        while net.contains(&addr) {
            if cluster.node_by_address(addr).is_none() {
                return Some(addr);
            }
            addr = match addr {
                IpAddr::V4(addr) => IpAddr::V4(u32::from(addr).checked_add(1)?.into()),
                IpAddr::V6(addr) => IpAddr::V6(u128::from(addr).checked_add(1)?.into()),
            };
        }
        None
    })
}

/// The gateway's machine, if the address is one of its own.
pub fn gateway_with(cluster: &Cluster, addr: IpAddr) -> Option<MachineId> {
    let mut own = gateway_addresses(cluster).chain(PUBLIC.iter().map(|net| net.addr()));
    own.any(|other| other == addr).then(|| gateway_id(cluster))
}

/// The router of the nodes. With a routed underlay it has a route to every node's pod range, and, as routers of clouds do,
/// sends no redirects.
pub(super) fn gateway(cluster: &Cluster) -> MachinePlan {
    let origin = setting_origin(&cluster.settings.node_network, "nodeNetwork");
    let mut host = Netns::new("", origin.clone());
    host.sysctls = Sysctls {
        ip_forward: true,
        ipv6_forwarding: true,
        send_redirects: cluster.settings.underlay.value != Underlay::Routed,
        ..Sysctls::default()
    };
    let inner: Vec<IpAddr> = gateway_addresses(cluster).collect();
    let mtu = cluster.settings.mtu.value;
    let card = |name: &str, segment, addresses: &[IpAddr]| {
        let kind = LinkKind::Nic { segment: Some(segment) };
        Link::new(name, kind, card_mac(name, addresses), mtu, origin.clone())
    };
    host.links.push(card(CARD, SWITCH, &inner));
    host.links.push(card(UPLINK, INTERNET, &PUBLIC.map(|net| net.addr())));
    for addr in &inner {
        add_address(&mut host, CARD, card_net(cluster, *addr), &origin);
    }
    for net in PUBLIC {
        let family = Family::of_net(net);
        if inner.iter().any(|addr| Family::of(*addr) == family) {
            add_address(&mut host, UPLINK, net, &origin);
            host.routes.push(route(any(family), None, UPLINK, &origin));
        }
    }
    if cluster.settings.underlay.value == Underlay::Routed && cluster.pod_network_gap().is_none() {
        let name: Arc<str> = CARD.into();
        for range in cluster.node_ranges() {
            if let Some(router) = range.router {
                host.routes.push(route(range.net, Some(router), name.clone(), &range.origin));
            }
        }
    }
    load_balancer::add_to_gateway(cluster, &mut host, UPLINK);
    let mut families: Vec<Family> = inner.iter().map(|addr| Family::of(*addr)).collect();
    families.dedup();
    host.netfilter = internet::rules(cluster, UPLINK, &families);
    sort_routes(&mut host);
    MachinePlan { name: GATEWAY.into(), kind: MachineKind::Gateway, netns: Vec::from([host]), origin }
}

/// A host on the internet. Private ranges are not routed there.
pub(super) fn outside(cluster: &Cluster, addr: IpAddr) -> MachinePlan {
    let origin = Origin::implied("a host outside of the cluster");
    let mut host = Netns::new("", origin.clone());
    // Nothing says what it serves.
    host.undeclared = Undeclared::Unsaid;
    let name = format!("internet/{addr}");
    let kind = LinkKind::Nic { segment: Some(INTERNET) };
    host.links.push(Link::new(CARD, kind, card_mac(&name, &[addr]), 1500, origin.clone()));
    add_address(&mut host, CARD, IpNet::from(addr), &origin);
    let family = Family::of(addr);
    if let Some(router) = PUBLIC.iter().find(|net| Family::of_net(**net) == family) {
        host.routes.push(onlink_route(any(family), router.addr(), CARD, &origin));
    }
    let private = Origin::implied("private ranges are not routed on the internet (RFC 1918, RFC 4193)");
    let settings = &cluster.settings;
    let ranges = [&settings.cluster_cidr, &settings.service_cidr, &settings.node_network];
    for net in ranges.into_iter().flat_map(|setting| &setting.value) {
        if Family::of_net(*net) == family && is_private(*net) {
            host.routes.push(refusing_route(*net, RouteKind::Unreachable, &private));
        }
    }
    load_balancer::add_to_outside(cluster, &mut host, family);
    sort_routes(&mut host);
    MachinePlan { name: name.into(), kind: MachineKind::Outside, netns: Vec::from([host]), origin }
}

/// What a segment is.
pub(super) fn segment(cluster: &Cluster, id: SegmentId) -> Option<Segment> {
    let settings = &cluster.settings;
    match id {
        SWITCH => Some(Segment {
            name: "switch".into(),
            mtu_bytes: settings.mtu.value,
            opaque: None,
            origin: setting_origin(&settings.node_network, "nodeNetwork"),
        }),
        POD_NETWORK => match cni::fabric(cluster) {
            cni::Fabric::Opaque(unknown) => Some(Segment {
                name: match settings.cni.is_assumed() {
                    true => "pod network".into(),
                    false => format!("pod network ({})", settings.cni.value).into(),
                },
                mtu_bytes: settings.mtu.value,
                opaque: Some(unknown),
                origin: setting_origin(&settings.cni, "cni"),
            }),
            cni::Fabric::Bridge | cni::Fabric::PointToPoint => None,
        },
        INTERNET => Some(Segment {
            name: "internet".into(),
            mtu_bytes: 1500,
            opaque: None,
            origin: Origin::implied("the internet"),
        }),
        SegmentId(_) => None,
    }
}

/// The stations of a segment that are meant, in order of machine and namespace.
pub(super) fn stations(
    cluster: &Cluster,
    outside: &[IpAddr],
    segment: SegmentId,
    audience: Audience,
) -> Vec<Station> {
    match segment {
        SWITCH => on_switch(cluster, audience),
        POD_NETWORK => on_pod_network(cluster, audience),
        INTERNET => on_internet(cluster, outside, audience),
        SegmentId(_) => Vec::new(),
    }
}

fn station(machine: MachineId, netns: u32, link: &str) -> Station {
    Station { machine, netns, link: link.into() }
}

/// The node or gateway whose hardware address this is. The address is read back from the MAC; only nodes without IPv4 are
/// searched. O(1), O(nodes) for those.
fn owners_of_mac(cluster: &Cluster, mac: MacAddr) -> Vec<MachineId> {
    let gateway: Vec<IpAddr> = gateway_addresses(cluster).collect();
    if card_mac(CARD, &gateway) == mac {
        return Vec::from([gateway_id(cluster)]);
    }
    if let Some(id) = load_balancer_id(cluster)
        && card_mac(LOAD_BALANCER, &load_balancer::machine::addresses(cluster)) == mac
    {
        return Vec::from([id]);
    }
    let has_mac = |place: u32| cluster.nodes.get(place as usize).is_some_and(|node| node_mac(node) == mac);
    if let MacAddr([0x02, 0x42, a, b, c, d]) = mac
        && let Some(place) = cluster.node_by_address(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        && has_mac(place)
    {
        return Vec::from([MachineId(place)]);
    }
    (0..cluster.nodes.len() as u32).filter(|place| has_mac(*place)).map(MachineId).collect()
}

fn on_switch(cluster: &Cluster, audience: Audience) -> Vec<Station> {
    let gateway = gateway_id(cluster);
    let mut machines = match audience {
        Audience::Everyone => (0..=gateway.0).map(MachineId).chain(load_balancer_id(cluster)).collect(),
        Audience::Mac(mac) => owners_of_mac(cluster, mac),
        Audience::Address(addr) => owners_of_address(cluster, addr),
    };
    machines.sort_unstable();
    machines.dedup();
    machines.into_iter().map(|machine| station(machine, 0, CARD)).collect()
}

fn owners_of_address(cluster: &Cluster, addr: IpAddr) -> Vec<MachineId> {
    let mut owners = Vec::new();
    // An address of any link is answered for on the card too (`arp_ignore` 0): the node's own address in its pod range.
    let on_card =
        |place: &u32| cluster.nodes.get(*place as usize).is_some_and(|node| node.addresses.contains(&addr));
    owners.extend(cluster.node_by_address(addr).filter(on_card).map(MachineId));
    owners.extend(cluster.other_nodes_by_address(addr).filter(on_card).map(MachineId));
    owners.extend(cluster.node_by_range_head(addr).map(MachineId));
    if gateway_addresses(cluster).any(|own| own == addr) || PUBLIC.iter().any(|net| net.addr() == addr) {
        owners.push(gateway_id(cluster));
    }
    owners.extend(load_balancer::answering_node(cluster, addr).map(MachineId));
    owners.extend(load_balancer_id(cluster).filter(|_| {
        load_balancer::machine_answers(cluster, addr)
            || LOAD_BALANCER_PUBLIC.iter().any(|net| net.addr() == addr)
            || load_balancer::machine::addresses(cluster).contains(&addr)
    }));
    if let IpAddr::V6(v6) = addr
        && v6.is_unicast_link_local()
    {
        owners.extend(mac_of_link_local(v6).into_iter().flat_map(|mac| owners_of_mac(cluster, mac)));
    }
    for fault in cluster.faults.iter() {
        let Fault::DuplicateAddress { at, addr: net, .. } = fault else { continue };
        if net.addr() != addr {
            continue;
        }
        match at {
            Where::Node(name) => owners.extend(cluster.node_named(name).map(MachineId)),
            Where::Gateway => owners.push(gateway_id(cluster)),
            Where::Pod { .. } => {}
        }
    }
    owners
}

/// The hardware address that an EUI-64 link-local address was formed from.
fn mac_of_link_local(addr: Ipv6Addr) -> Option<MacAddr> {
    let o = addr.octets();
    (o[11] == 0xff && o[12] == 0xfe).then_some(MacAddr([o[8] ^ 2, o[9], o[10], o[13], o[14], o[15]]))
}

fn on_pod_network(cluster: &Cluster, audience: Audience) -> Vec<Station> {
    let of_node = |place: u32| station(MachineId(place), 0, POD_NETWORK_LINK);
    match audience {
        Audience::Address(addr) => {
            if let Some((machine, netns)) =
                cluster.pod_by_address(addr).and_then(|place| pod::pod_netns(cluster, place))
            {
                return Vec::from([station(machine, netns, INTERFACE)]);
            }
            cluster.node_by_address(addr).map(of_node).into_iter().collect()
        }
        // Frames on this segment carry no hardware addresses.
        Audience::Mac(_) => Vec::new(),
        Audience::Everyone => {
            let nodes = (0..cluster.nodes.len() as u32).map(of_node);
            let pods = (0..cluster.pods.len() as u32).filter_map(|place| {
                let (machine, netns) = pod::pod_netns(cluster, place)?;
                (netns > 0).then(|| station(machine, netns, INTERFACE))
            });
            let mut all: Vec<Station> = nodes.chain(pods).collect();
            all.sort_by_key(|s| (s.machine, s.netns));
            all
        }
    }
}

fn on_internet(cluster: &Cluster, outside: &[IpAddr], audience: Audience) -> Vec<Station> {
    let gateway = gateway_id(cluster);
    let up = PUBLIC.map(|net| net.addr());
    let hosts = (first_outside(cluster)..).map(MachineId).zip(outside);
    let mut all = Vec::new();
    let is_gateway = match audience {
        Audience::Everyone => true,
        Audience::Mac(mac) => card_mac(UPLINK, &up) == mac,
        Audience::Address(addr) => up.contains(&addr) || gateway_addresses(cluster).any(|own| own == addr),
    };
    if is_gateway {
        all.push(station(gateway, 0, UPLINK));
    }
    let balancer = LOAD_BALANCER_PUBLIC.map(|net| net.addr());
    let is_balancer = match audience {
        Audience::Everyone => true,
        Audience::Mac(mac) => card_mac(LOAD_BALANCER, &balancer) == mac,
        Audience::Address(addr) => {
            balancer.contains(&addr) || load_balancer::machine::addresses(cluster).contains(&addr)
        }
    };
    all.extend(load_balancer_id(cluster).filter(|_| is_balancer).map(|id| station(id, 0, UPLINK)));
    all.extend(hosts.filter_map(|(machine, own)| {
        let meant = match audience {
            Audience::Everyone => true,
            Audience::Mac(mac) => card_mac(&format!("internet/{own}"), &[*own]) == mac,
            Audience::Address(addr) => addr == *own,
        };
        meant.then(|| station(machine, 0, CARD))
    }));
    all
}

/// The address of a host on the internet when the question names none (RFC 5737, RFC 3849).
pub fn some_outside_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(198, 51, 100, 10).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10).into(),
    }
}
