//! What the kernel itself adds to what is configured: connected routes, hardware addresses, the order of tables.

use alloc::format;
use alloc::sync::Arc;
use core::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::addr::{Family, MacAddr};
use crate::cluster::{Cluster, Node};
use crate::identity::identity;
use crate::origin::Origin;
use crate::plan::{
    Address, Link, LinkKind, Netns, Route, RouteKind, RouteProtocol, RouteScope, Sysctls, TABLE_MAIN,
};

/// Puts an address on a link, and adds the routes that the kernel derives from it (`fib_add_ifaddr`, `addrconf_prefix_route`):
/// none for a host prefix of IPv4.
pub(super) fn add_address(netns: &mut Netns, dev: &str, net: IpNet, origin: &Origin) {
    let Some(link) = netns.links.iter_mut().find(|link| &*link.name == dev) else { return };
    let first_v6 = matches!(net, IpNet::V6(_))
        && !link.addresses.iter().any(|address| matches!(address.net, IpNet::V6(_)));
    link.addresses.push(Address { net, scope: RouteScope::Global, origin: origin.clone() });
    let name = link.name.clone();
    let connected = |dst: IpNet, metric, prefsrc, scope| Route {
        protocol: RouteProtocol::Kernel,
        scope,
        metric,
        prefsrc,
        ..Route::unicast(dst, None, name.clone(), Origin::implied("connected route"))
    };
    match net {
        IpNet::V4(v4) if v4.prefix_len() < 32 => {
            netns.routes.push(connected(net.trunc(), 0, Some(net.addr()), RouteScope::Link));
        }
        IpNet::V4(_) => {}
        IpNet::V6(_) => {
            netns.routes.push(connected(net.trunc(), 256, None, RouteScope::Global));
            if first_v6 && let Ok(link_local) = "fe80::/64".parse() {
                netns.routes.push(connected(link_local, 256, None, RouteScope::Global));
            }
        }
    }
}

/// A route as a plugin or daemon adds it: no source, the scope that the kernel gives.
pub(super) fn route(dst: IpNet, via: Option<IpAddr>, dev: impl Into<Arc<str>>, origin: &Origin) -> Route {
    Route::unicast(dst, via, dev, origin.clone())
}

/// A route by a router that no prefix of the link holds (`onlink`).
pub(super) fn onlink_route(dst: IpNet, via: IpAddr, dev: impl Into<Arc<str>>, origin: &Origin) -> Route {
    let mut route = Route::unicast(dst, Some(via), dev, origin.clone());
    route.next_hops.iter_mut().for_each(|hop| hop.onlink = true);
    route
}

/// A route that refuses.
pub(super) fn refusing_route(dst: IpNet, kind: RouteKind, origin: &Origin) -> Route {
    Route {
        kind,
        next_hops: SmallVec::new(),
        table: TABLE_MAIN,
        scope: RouteScope::Global,
        ..Route::unicast(dst, None, "lo", origin.clone())
    }
}

/// The default route of a family.
pub(super) fn any(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

/// Sorts routes as `ip route` prints them: IPv4 by prefix with the default route first, IPv6 by prefix with it last.
pub(super) fn sort_routes(netns: &mut Netns) {
    netns.routes.sort_by_key(|route| {
        let last = matches!(route.dst, IpNet::V6(net) if net.prefix_len() == 0);
        (Family::of_net(route.dst), last, route.dst.addr(), route.dst.prefix_len(), route.metric)
    });
}

/// The hardware address of a machine's card: `02:42` and the four bytes of its IPv4 address, as container engines form them for
/// the containers that kind's nodes are; by the hash of its name where it has none.
pub(super) fn card_mac(name: &str, addresses: &[IpAddr]) -> MacAddr {
    let v4 = addresses.iter().find_map(|addr| match addr {
        IpAddr::V4(addr) => Some(addr.octets()),
        IpAddr::V6(_) => None,
    });
    match v4 {
        Some([a, b, c, d]) => MacAddr([0x02, 0x42, a, b, c, d]),
        None => MacAddr::local_from_hash(identity(&["Node", name, "eth0"])),
    }
}

/// The hardware address of a node's card.
pub fn node_mac(node: &Node) -> MacAddr {
    card_mac(&node.name, &node.addresses)
}

/// A link of a node with a made-up but stable hardware address.
pub(super) fn own_link(node: &Node, name: &str, kind: LinkKind, mtu: u32, origin: &Origin) -> Link {
    let mac = MacAddr::local_from_hash(identity(&["Node", &node.name, name]));
    Link::new(name, kind, mac, mtu, origin.clone())
}

/// The host's end of a pod's veth pair: `veth` and eight hexadecimal digits, as the bridge plugin makes them.
pub(super) fn veth_name(namespace: &str, name: &str) -> Arc<str> {
    format!("veth{:08x}", identity(&["Pod", namespace, name, "veth"]) >> 32).into()
}

/// The sysctls that every node has, from the settings.
pub(super) fn sysctls(cluster: &Cluster) -> Sysctls {
    let mut sysctls = Sysctls { ip_forward: true, ipv6_forwarding: true, ..Sysctls::default() };
    for (name, value) in &cluster.settings.sysctls.value {
        set_sysctl(&mut sysctls, name, *value);
    }
    sysctls
}

/// Sets one of [`SYSCTLS`](crate::assume::SYSCTLS), with `.` or `/` between the words; gives whether it is one of them.
fn set_sysctl(sysctls: &mut Sysctls, name: &str, value: i64) -> bool {
    let name = name.replace('/', ".");
    let on = value != 0;
    let small = u8::try_from(value).unwrap_or(0);
    match &*name {
        "net.ipv4.ip_forward" | "net.ipv4.conf.all.forwarding" => sysctls.ip_forward = on,
        "net.ipv6.conf.all.forwarding" => sysctls.ipv6_forwarding = on,
        "net.ipv4.conf.all.rp_filter" => sysctls.rp_filter = small,
        "net.ipv4.conf.all.accept_local" => sysctls.accept_local = on,
        "net.ipv4.conf.all.route_localnet" => sysctls.route_localnet = on,
        "net.ipv4.conf.all.send_redirects" => sysctls.send_redirects = on,
        "net.ipv4.conf.all.arp_ignore" => sysctls.arp_ignore = small,
        "net.bridge.bridge-nf-call-iptables" | "net.bridge.bridge-nf-call-ip6tables" => {
            sysctls.bridge_nf_call_iptables = on;
        }
        "net.ipv4.fib_multipath_hash_policy" => sysctls.fib_multipath_hash_policy = small,
        "net.ipv4.icmp_echo_ignore_all" => sysctls.icmp_echo_ignore_all = on,
        "net.ipv6.conf.all.disable_ipv6" => sysctls.disable_ipv6 = on,
        "net.ipv4.ip_default_ttl" => sysctls.default_ttl = small.max(1),
        _ => return false,
    }
    true
}

/// The origin of a thing that follows from a setting: the input's, or the assumption's.
pub(super) fn setting_origin<T>(setting: &crate::cluster::Setting<T>, key: &'static str) -> Origin {
    match &setting.evidence {
        crate::cluster::Evidence::Detected { origin, .. } => origin.clone(),
        crate::cluster::Evidence::Assumed | crate::cluster::Evidence::Given => Origin::assumption(key),
    }
}

#[cfg(test)]
mod tests {
    use super::set_sysctl;
    use crate::assume::SYSCTLS;
    use crate::plan::Sysctls;

    #[test]
    fn every_sysctl_that_is_told_to_be_modelled_changes_something() {
        for name in SYSCTLS {
            let set = |value| {
                let mut sysctls = Sysctls::default();
                assert!(set_sysctl(&mut sysctls, &name.replace('.', "/"), value), "{name}");
                sysctls
            };
            assert_ne!(set(0), set(7), "{name}");
        }
        assert!(!set_sysctl(&mut Sysctls::default(), "net.ipv4.tcp_syncookies", 1));
    }
}
