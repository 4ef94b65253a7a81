//! The load balancer: a machine between the internet and the nodes.
//!
//! In `VIP` mode it is a router: packets keep the load balancer's address as their destination and the client's as their source, each
//! flow goes to one healthy node by the hash of its addresses and ports, and answers do not come back through it. In `Proxy` mode it
//! opens the connection to a node's port itself, so that the node sees its address. It takes only the ports of its Services, and
//! where no node is healthy, nothing.
//! Not modelled: a proxy's own TCP connection (the client's is translated), the PROXY protocol, targets other than node ports.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::{WayIn, by_address, healthy_nodes, is_on_switch, route_to_nodes};
use crate::addr::Family;
use crate::cluster::{Announcement, Cluster, IpMode, ServicePort};
use crate::compile::fabric::{INTERNET, LOAD_BALANCER, LOAD_BALANCER_PUBLIC, PUBLIC, SWITCH, UPLINK};
use crate::compile::kernel::{
    add_address, any, card_mac, refusing_route, route, setting_origin, sort_routes,
};
use crate::compile::node::{CARD, card_net};
use crate::compile::tables::{Draft, Tables, dnat, masquerade};
use crate::origin::Origin;
use crate::plan::netfilter::{Netfilter, Ruleset};
use crate::plan::xt::{Conntrack, Inv, Match, Statistic, Target};
use crate::plan::{
    self, Link, LinkKind, MachineKind, MachinePlan, Netns, ProxyNeighbour, RouteKind, RouteProtocol, Sysctls,
    Unknown,
};

/// Its addresses in the nodes' networks: the last host of each that no node holds.
pub(in crate::compile) fn addresses(cluster: &Cluster) -> Vec<IpAddr> {
    let last = |net: &IpNet| -> Option<IpAddr> {
        let mut addr = net.broadcast();
        while net.contains(&addr) {
            let is_broadcast = addr == net.broadcast() && matches!(net, IpNet::V4(_));
            if !is_broadcast && cluster.node_by_address(addr).is_none() {
                return Some(addr);
            }
            addr = match addr {
                IpAddr::V4(addr) => IpAddr::V4(u32::from(addr).checked_sub(1)?.into()),
                IpAddr::V6(addr) => IpAddr::V6(u128::from(addr).checked_sub(1)?.into()),
            };
        }
        None
    };
    cluster.settings.node_network.value.iter().filter_map(last).collect()
}

/// The machine. O(Services with load balancers × nodes).
pub(in crate::compile) fn machine(cluster: &Cluster) -> MachinePlan {
    let origin = Origin::implied("load balancer");
    let mut host = Netns::new("", origin.clone());
    host.sysctls = Sysctls {
        ip_forward: true,
        ipv6_forwarding: true,
        send_redirects: false,
        fib_multipath_hash_policy: 1,
        ..Sysctls::default()
    };
    let inner = addresses(cluster);
    let card = |name: &str, segment, addresses: &[IpAddr]| {
        let mac = card_mac(LOAD_BALANCER, addresses);
        Link::new(
            name,
            LinkKind::Nic { segment: Some(segment) },
            mac,
            cluster.settings.mtu.value,
            origin.clone(),
        )
    };
    host.links.push(card(CARD, SWITCH, &inner));
    host.links.push(card(UPLINK, INTERNET, &LOAD_BALANCER_PUBLIC.map(|net| net.addr())));
    let network = setting_origin(&cluster.settings.node_network, "nodeNetwork");
    for addr in &inner {
        add_address(&mut host, CARD, card_net(cluster, *addr), &network);
    }
    let mut families: Vec<Family> = inner.iter().map(|addr| Family::of(*addr)).collect();
    families.dedup();
    for net in LOAD_BALANCER_PUBLIC.into_iter().filter(|net| families.contains(&Family::of_net(*net))) {
        add_address(&mut host, UPLINK, net, &origin);
        host.routes.push(route(any(Family::of_net(net)), None, UPLINK, &origin));
    }
    // The gateway translates what is for a node's public address, and nobody else answers for it.
    for node in cluster.nodes.iter() {
        for public in node.external_addresses.iter().filter(|addr| !node.addresses.contains(addr)) {
            let router = PUBLIC.iter().find(|net| Family::of_net(**net) == Family::of(*public));
            let router = router.filter(|_| families.contains(&Family::of(*public)));
            host.routes.extend(
                router.map(|net| route(IpNet::from(*public), Some(net.addr()), UPLINK, &node.origin)),
            );
        }
    }
    let mut tables: Vec<Tables> = families.iter().map(|family| Tables::new(*family)).collect();
    for (addr, ways) in by_address(cluster) {
        let at = families.iter().position(|family| *family == Family::of(addr));
        let Some(tables) = at.and_then(|at| tables.get_mut(at)) else { continue };
        if ways.iter().any(|way| way.address.by == Announcement::Machine) {
            add_address_of_service(cluster, addr, &ways, &mut host, tables);
        }
    }
    let xt = tables.into_iter().flat_map(Tables::finish).collect();
    host.netfilter = Netfilter::Whole(Arc::new(Ruleset { xt, ..Ruleset::default() }));
    sort_routes(&mut host);
    MachinePlan { name: LOAD_BALANCER.into(), kind: MachineKind::Gateway, netns: Vec::from([host]), origin }
}

fn add_address_of_service(
    cluster: &Cluster,
    addr: IpAddr,
    ways: &[WayIn<'_>],
    host: &mut Netns,
    tables: &mut Tables,
) {
    let mut targets: Vec<u32> = Vec::new();
    for way in ways {
        let nodes = healthy_nodes(cluster, way);
        for port in &way.service.ports {
            match way.address.mode {
                IpMode::Vip => {
                    let takes = Draft::new(&way.origin()).to(addr).dport(port.protocol, port.port);
                    tables.append("filter", "FORWARD", takes.target(Target::Accept));
                }
                IpMode::Proxy => proxy(cluster, way, port, &nodes, host, tables),
            }
        }
        if way.address.mode == IpMode::Vip {
            targets.extend(nodes);
        }
    }
    let Some(first) = ways.first() else { return };
    let origin = first.origin();
    targets.sort_unstable();
    targets.dedup();
    let silence = || refusing_route(IpNet::from(addr), RouteKind::Blackhole, &origin);
    let way = route_to_nodes(cluster, addr, &targets, RouteProtocol::Static, &origin);
    host.routes.push(way.unwrap_or_else(silence));
    tables.append("filter", "FORWARD", Draft::new(&origin).to(addr).target(Target::Drop));
    if is_on_switch(cluster, addr) {
        host.proxies.push(ProxyNeighbour { addr, dev: CARD.into(), origin });
    }
}

/// Sends connections to one port on, to one of the nodes with the same chance.
fn proxy(
    cluster: &Cluster,
    way: &WayIn<'_>,
    port: &ServicePort,
    nodes: &[u32],
    host: &mut Netns,
    tables: &mut Tables,
) {
    let (addr, origin) = (way.address.addr, way.origin());
    let Some(node_port) = port.node_port else {
        let name = format!("{}/{}", way.service.namespace, way.service.name);
        let unknown = Unknown {
            why: format!(
                "service {name} has no node port for its port {}, so where its load balancer in proxy mode sends to is not known",
                port.port
            ),
            what_would_settle_it: "the settings of the load balancer".into(),
        };
        let matches = Vec::from([
            plan::Match::Protocol(port.protocol),
            plan::Match::Destination(Vec::from([IpNet::from(addr)])),
            plan::Match::Dport(port.port, port.port),
        ]);
        host.chains.push(plan::Chain {
            name: "targets".into(),
            hook: plan::Hook::Forward,
            priority: 0,
            policy: plan::Action::Accept,
            rules: Vec::from([plan::Rule { matches, action: plan::Action::Unknown(unknown), origin }]),
        });
        return;
    };
    let own = |place: &u32| {
        let node = cluster.nodes.get(*place as usize)?;
        node.addresses.iter().copied().find(|other| Family::of(*other) == Family::of(addr))
    };
    let targets: Vec<IpAddr> = nodes.iter().filter_map(own).collect();
    for (left, target) in (1_u32..=targets.len() as u32).rev().zip(&targets) {
        let mut draft = Draft::new(&origin).to(addr).dport(port.protocol, port.port);
        if left > 1 {
            draft = draft.module(Match::Statistic(Statistic::one_in(left)));
        }
        tables.append("nat", "PREROUTING", draft.target(dnat(*target, node_port)));
    }
    let orig_dst = Some(Inv::is(IpNet::from(addr)));
    let taken = Match::Conntrack(Box::new(Conntrack { orig_dst, ..Conntrack::default() }));
    tables.append("nat", "POSTROUTING", Draft::new(&origin).module(taken).target(masquerade(false)));
}
