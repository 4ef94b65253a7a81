//! What is printed reads back as what it was printed from, in both forms.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::addr::{Family, MacAddr};
use crate::plan::{
    Address, BridgePort, FdbEntry, IpRule, Link, LinkKind, MachineKind, MachinePlan, Neighbour,
    NeighbourState, Netns, NextHop, Origin, Process, Protocol, Route, RouteKind, RouteProtocol, RouteScope,
    RuleAction, Socket, SocketState, Vxlan,
};
use crate::text::ip_link::{Details, connect};
use crate::text::{WithoutOrigin, bridge_fdb, ip_addr, ip_link, ip_neigh, ip_route, ip_rule, ss};

pub(super) fn origin() -> Origin {
    Origin::new(crate::origin::OriginKind::Embedder)
}

pub(super) fn link_name() -> impl Strategy<Value = Arc<str>> {
    "[a-z][a-z0-9_.-]{0,14}".prop_map(Arc::from)
}

pub(super) fn addr(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => any::<[u8; 4]>().prop_map(IpAddr::from).boxed(),
        Family::V6 => any::<[u8; 16]>().prop_map(IpAddr::from).boxed(),
    }
}

pub(super) fn net(family: Family) -> impl Strategy<Value = IpNet> {
    let longest: u8 = match family {
        Family::V4 => 32,
        Family::V6 => 128,
    };
    (addr(family), 0..=longest).prop_map(|(addr, len)| IpNet::new(addr, len).expect("a valid length"))
}

pub(super) fn family() -> impl Strategy<Value = Family> {
    select(&[Family::V4, Family::V6][..])
}

pub(super) fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn scope() -> impl Strategy<Value = RouteScope> {
    use RouteScope::{Global, Host, Link, Nowhere, Other, Site};
    select(&[Global, Site, Link, Host, Nowhere, Other(7), Other(252)][..])
}

fn next_hop(family: Family, kind: RouteKind) -> impl Strategy<Value = NextHop> {
    let via = match (kind, family) {
        (RouteKind::Unicast, Family::V4) => {
            option::of(prop_oneof![3 => addr(Family::V4), 1 => addr(Family::V6)]).boxed()
        }
        (RouteKind::Unicast, Family::V6) => option::of(addr(Family::V6)).boxed(),
        _ => Just(None).boxed(),
    };
    (via, link_name(), 1..=256u32, any::<bool>(), any::<bool>()).prop_map(
        |(via, dev, weight, onlink, linkdown)| NextHop { via, dev: Some(dev), weight, onlink, linkdown },
    )
}

fn next_hops(family: Family, kind: RouteKind) -> BoxedStrategy<Vec<NextHop>> {
    use RouteKind::{Blackhole, Prohibit, Throw, Unicast, Unreachable};
    match kind {
        Blackhole | Prohibit | Throw | Unreachable => Just(Vec::new()).boxed(),
        Unicast => prop_oneof![
            next_hop(family, kind).prop_map(|hop| Vec::from([NextHop { weight: 1, ..hop }])),
            proptest::collection::vec(next_hop(family, kind), 1..4),
        ]
        .boxed(),
        RouteKind::Local | RouteKind::Broadcast | RouteKind::Anycast | RouteKind::Multicast => {
            next_hop(family, kind).prop_map(|hop| Vec::from([NextHop { weight: 1, ..hop }])).boxed()
        }
    }
}

fn route() -> impl Strategy<Value = Route> {
    use RouteKind::{Anycast, Blackhole, Broadcast, Local, Multicast, Prohibit, Throw, Unicast, Unreachable};
    let kinds =
        [Unicast, Unicast, Local, Broadcast, Anycast, Multicast, Blackhole, Prohibit, Throw, Unreachable];
    (family(), select(kinds.to_vec())).prop_flat_map(|(family, kind)| {
        use RouteProtocol::{Bgp, Bird, Boot, Dhcp, Kernel, Ospf, Other, Ra, Redirect, Static, Unspec};
        let protocols = [
            Unspec,
            Redirect,
            Kernel,
            Boot,
            Static,
            Ra,
            Bird,
            Dhcp,
            Bgp,
            Ospf,
            Other(42),
            Other(77),
            Other(255),
        ];
        let carried: &[Option<&str>] = match family {
            Family::V4 => {
                &[None, Some("advmss 1400"), Some("tos 0x10"), Some("tos 0x08 window 9 rtt 2ms advmss 5")]
            }
            Family::V6 => &[None, Some("pref low"), Some("from 2001:db8::/32 hoplimit 3 pref high")],
        };
        let table = prop_oneof![Just(254), Just(255), Just(253), 1..2000u32];
        let said = (option::of(addr(family)), option::of(68..70000u32), select(carried.to_vec()));
        let parts = (next_hops(family, kind), net(family), table, select(protocols.to_vec()), scope());
        let comment = option::of("[a-z][a-z #]{0,8}[a-z]");
        (parts, any::<u32>(), said, comment).prop_map(move |(parts, metric, said, comment)| {
            let (next_hops, dst, table, protocol, scope) = parts;
            let (prefsrc, mtu_bytes, carried) = said;
            // A default route that nothing marks as IPv6 reads as IPv4: `pref` always does.
            Route {
                dst: dst.trunc(),
                kind,
                next_hops: next_hops.into(),
                table,
                protocol,
                scope,
                metric,
                prefsrc,
                mtu_bytes,
                carried: carried.map(Into::into),
                comment: comment.map(|c: String| c.into()),
                origin: origin(),
            }
        })
    })
}

fn rule(family: Family) -> impl Strategy<Value = IpRule> {
    use RuleAction::{Blackhole, Goto, Lookup, Nop, Prohibit, Unreachable};
    let actions = [Lookup(255), Lookup(254), Lookup(1000), Blackhole, Unreachable, Prohibit, Goto(9), Nop];
    let carried =
        [None, Some("ipproto tcp sport 5 dport 80"), Some("suppress_prefixlength 0"), Some("tos 0x10")];
    // `from all` and no prefix are the same.
    let prefix = || option::of(net(family));
    let ends = (prefix(), prefix(), option::of(link_name()), option::of(link_name()));
    let rest = (option::of(any::<(u32, u32)>()), select(actions.to_vec()), select(carried.to_vec()));
    (any::<u32>(), any::<bool>(), ends, rest).prop_map(move |(priority, invert, ends, rest)| {
        let ((from, to, iif, oif), (fwmark, action, carried)) = (ends, rest);
        let carried = carried.map(String::from);
        IpRule { family, priority, invert, from, to, iif, oif, fwmark, action, carried, origin: origin() }
    })
}

fn address() -> impl Strategy<Value = Address> {
    (family().prop_flat_map(net), scope()).prop_map(|(net, scope)| Address { net, scope, origin: origin() })
}

/// What `ip -d addr` can say of a link: not its segment, not its sysctls, and no cable of a link that is down.
fn link() -> impl Strategy<Value = Link> {
    let vxlan =
        (0..1u32 << 24, any::<u16>(), option::of(family().prop_flat_map(addr)), option::of(link_name()));
    let kind = prop_oneof![
        Just(LinkKind::Nic { segment: None }),
        Just(LinkKind::Dummy),
        Just(LinkKind::Other("wireguard".into())),
        (0..4_000_000u32).prop_map(|ageing_secs| LinkKind::Bridge { ageing_secs }),
        (vxlan, any::<bool>()).prop_map(|((vni, port, local, dev), learning)| {
            LinkKind::Vxlan(Vxlan { vni, port, local, dev, learning })
        }),
    ];
    let port = option::of((link_name(), any::<bool>(), any::<bool>()));
    let addresses = proptest::collection::vec(address(), 0..4);
    let state = (any::<bool>(), any::<bool>(), any::<bool>());
    (kind, mac(), any::<u32>(), port, addresses, state).prop_map(
        |(kind, mac, mtu, port, addresses, state)| {
            let (up, carrier, noarp) = state;
            let mut link = Link::new("", kind, mac, mtu, origin());
            (link.up, link.carrier, link.noarp) = (up, carrier || !up, noarp);
            link.port = port.map(|(bridge, hairpin, isolated)| BridgePort { bridge, hairpin, isolated });
            link.addresses = addresses;
            link
        },
    )
}

/// Some namespaces with links, and veth pairs within and between them.
fn machine() -> impl Strategy<Value = MachinePlan> {
    let namespaces = proptest::collection::vec(proptest::collection::vec(link(), 0..4), 1..4);
    (namespaces, proptest::collection::vec(any::<(u8, u8)>(), 0..5)).prop_map(|(namespaces, pairs)| {
        let mut all: Vec<Netns> = Vec::new();
        for links in namespaces {
            let mut netns = Netns::new(if all.is_empty() { "" } else { "pod" }, origin());
            netns.links.extend(links);
            all.push(netns);
        }
        for (one, two) in pairs {
            let ends = [usize::from(one) % all.len(), usize::from(two) % all.len()];
            let places =
                [all[ends[0]].links.len(), all[ends[1]].links.len() + usize::from(ends[0] == ends[1])];
            for (own, other) in [(0, 1), (1, 0)] {
                let peer = alloc::format!("l{}", places[other]).into();
                let kind = LinkKind::Veth { peer_netns: ends[other] as u32, peer };
                all[ends[own]].links.push(Link::new("", kind, MacAddr::ZERO, 1500, origin()));
            }
        }
        for netns in &mut all {
            for (place, link) in netns.links.iter_mut().enumerate().skip(1) {
                link.name = alloc::format!("l{place}").into();
            }
            // A link without a kind that has ports is read as the bridge that it must be.
            let plain = |link: &&Link| matches!(link.kind, LinkKind::Nic { .. });
            let nics: Vec<Arc<str>> =
                netns.links.iter().filter(plain).map(|link| link.name.clone()).collect();
            for link in &mut netns.links {
                link.port.take_if(|port| nics.contains(&port.bridge));
            }
        }
        MachinePlan { name: "m".into(), kind: MachineKind::Node, netns: all, origin: origin() }
    })
}

fn neighbour() -> impl Strategy<Value = Neighbour> {
    use NeighbourState::{Delay, Failed, Incomplete, Noarp, None, Permanent, Probe, Reachable, Stale};
    let states = [Permanent, Noarp, Reachable, Stale, Delay, Probe, Incomplete, Failed, None];
    (family().prop_flat_map(addr), link_name(), option::of(mac()), select(states.to_vec()))
        .prop_map(|(addr, dev, mac, state)| Neighbour { addr, dev, mac, state, origin: origin() })
}

fn fdb() -> impl Strategy<Value = FdbEntry> {
    let dst = option::of(family().prop_flat_map(addr));
    (mac(), link_name(), option::of(link_name()), dst, any::<bool>()).prop_map(
        |(mac, dev, master, dst, permanent)| FdbEntry { mac, dev, master, dst, permanent, origin: origin() },
    )
}

fn socket() -> impl Strategy<Value = Socket> {
    let protocol = select(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp][..]);
    let addr = option::of(family().prop_flat_map(addr));
    (protocol, addr, option::of(link_name()), any::<u16>()).prop_map(|(protocol, addr, dev, port)| {
        let (state, process) = (SocketState::Listen, Process::Echo);
        Socket { protocol, addr, dev, port, state, process, origin: origin() }
    })
}

proptest! {
    #[test]
    fn routes_read_back(routes in proptest::collection::vec(route(), 0..8)) {
        let text = ip_route::render(&routes);
        let again = ip_route::parse_any(&text, "x");
        prop_assert!(!again.has_errors(), "{text}{:?}", again.diagnostics);
        prop_assert_eq!(&again.items.without_origin(), &routes, "{}", text);
        let json = ip_route::render_json(&routes);
        let again = ip_route::parse_any(&json, "x");
        prop_assert!(!again.has_errors(), "{json}{:?}", again.diagnostics);
        let plain: Vec<Route> = routes.into_iter().map(|route| Route { comment: None, ..route }).collect();
        prop_assert_eq!(&again.items.without_origin(), &plain, "{}", json);
    }

    #[test]
    fn rules_read_back(
        (family, rules) in family().prop_flat_map(|f| (Just(f), proptest::collection::vec(rule(f), 0..8))),
    ) {
        for text in [ip_rule::render(&rules, family), ip_rule::render_json(&rules, family)] {
            let again = ip_rule::parse_any(&text, "x", family);
            prop_assert!(!again.has_errors(), "{text}{:?}", again.diagnostics);
            prop_assert_eq!(&again.items.without_origin(), &rules, "{}", text);
        }
    }

    #[test]
    fn links_read_back(machine in machine()) {
        type Print = fn(&MachinePlan, usize, Details) -> String;
        let all: [(Print, bool); 4] = [
            (ip_addr::render, true), (ip_addr::render_json, true), (ip_link::render, false), (ip_link::render_json, false),
        ];
        for (print, with_addresses) in all {
            let texts: Vec<String> =
                (0..machine.netns.len()).map(|netns| print(&machine, netns, Details::Show)).collect();
            let mut lists = Vec::new();
            for text in &texts {
                let parsed = ip_link::parse_any(text, "x");
                prop_assert!(parsed.diagnostics.is_empty(), "{text}{:?}", parsed.diagnostics);
                lists.push(parsed.items);
            }
            prop_assert_eq!(connect(&mut lists), 0, "{:#?}", texts);
            for (list, netns) in lists.into_iter().zip(&machine.netns) {
                let links: Vec<Link> = list.into_iter().map(|n| n.link).collect();
                let mut expected = netns.links.clone().without_origin();
                if !with_addresses {
                    expected.iter_mut().for_each(|link| link.addresses.clear());
                }
                prop_assert_eq!(&links.without_origin(), &expected, "{:#?}", texts);
            }
        }
    }

    #[test]
    fn neighbours_read_back(neighbours in proptest::collection::vec(neighbour(), 0..8)) {
        for text in [ip_neigh::render(&neighbours), ip_neigh::render_json(&neighbours)] {
            let again = ip_neigh::parse_any(&text, "x");
            prop_assert!(again.diagnostics.is_empty() || neighbours.iter().any(|n| n.mac.is_none()));
            prop_assert_eq!(&again.items.without_origin(), &neighbours, "{}", text);
        }
    }

    #[test]
    fn forwarding_entries_read_back(entries in proptest::collection::vec(fdb(), 0..8)) {
        for text in [bridge_fdb::render(&entries), bridge_fdb::render_json(&entries)] {
            let again = bridge_fdb::parse_any(&text, "x");
            prop_assert_eq!(&again.items.without_origin(), &entries, "{}", text);
        }
    }

    #[test]
    fn sockets_read_back(sockets in proptest::collection::vec(socket(), 0..8)) {
        let text = ss::render(&sockets);
        let again = ss::parse(&text, "x");
        prop_assert!(again.diagnostics.is_empty(), "{text}{:?}", again.diagnostics);
        prop_assert_eq!(&again.items.without_origin(), &sockets, "{}", text);
    }

    #[test]
    fn printing_what_was_read_changes_nothing_more(text in "([a-z0-9:/. <>@,_-]{0,30}\n?){0,12}") {
        let routes = ip_route::parse(&text, "x").items;
        let printed = ip_route::render(&routes);
        prop_assert_eq!(ip_route::render(&ip_route::parse(&printed, "x").items), printed);
    }
}
