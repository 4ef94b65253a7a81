//! What is printed of sets, virtual servers and connections reads back as what it was printed from.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::properties::{addr, family, link_name, mac, net, origin};
use crate::addr::Family;
use crate::plan::{
    ConntrackEntry, ConntrackHold, ConntrackKey, ConntrackTuple, Forwarding, IpSet, IpSetEntry, IpSetKind,
    IpSetOption, IpSetPart, IpSetPartKind, IpSetRange, IpvsProtocol, Persistence, RealServer,
    RealServerCounts, Scheduler, VirtualId, VirtualServer,
};
use crate::text::conntrack::{self, Layer3};
use crate::text::{WithoutOrigin, ipset, ipvsadm};

/// What a comment may hold and still be printed as it is.
fn comment() -> impl Strategy<Value = Arc<str>> {
    "[^\"\n\r\0]{0,20}".prop_map(Arc::from)
}

fn name() -> impl Strategy<Value = Arc<str>> {
    "[A-Za-z0-9:_.-]{1,31}".prop_filter("an option", |name| !name.starts_with('-')).prop_map(Arc::from)
}

fn part(kind: IpSetPartKind, family: Family) -> BoxedStrategy<IpSetPart> {
    match kind {
        IpSetPartKind::Addr => addr(family).prop_map(|addr| IpSetPart::Net(IpNet::from(addr))).boxed(),
        IpSetPartKind::Net => net(family).prop_map(IpSetPart::Net).boxed(),
        IpSetPartKind::Port => {
            (1..=255_u8, any::<u16>()).prop_map(|(protocol, port)| IpSetPart::Port(protocol, port)).boxed()
        }
        IpSetPartKind::PortAlone => any::<u16>().prop_map(IpSetPart::PortAlone).boxed(),
        IpSetPartKind::Mac => mac().prop_map(IpSetPart::Mac).boxed(),
        IpSetPartKind::Mark => any::<u32>().prop_map(IpSetPart::Mark).boxed(),
        IpSetPartKind::Link => {
            prop_oneof![link_name().prop_map(IpSetPart::Link), link_name().prop_map(IpSetPart::BridgePort)]
                .boxed()
        }
        IpSetPartKind::Set => name().prop_map(IpSetPart::Set).boxed(),
    }
}

fn parts(kind: IpSetKind, family: Family) -> BoxedStrategy<Vec<IpSetPart>> {
    let whole = kind.parts().iter().map(|kind| part(*kind, family)).collect::<Vec<_>>();
    let least = if kind == IpSetKind::BitmapIpMac { 1 } else { whole.len() };
    (whole.clone(), least..=whole.len())
        .prop_map(|(mut parts, length)| {
            parts.truncate(length);
            parts
        })
        .boxed()
}

fn entry(kind: IpSetKind, family: Family) -> impl Strategy<Value = IpSetEntry> {
    let carried = proptest::sample::subsequence(
        vec_of(&["packets 7", "bytes 90", "skbmark 0x1/0xff", "skbprio 1:2", "skbqueue 3"]),
        0..=5,
    );
    let rest = (any::<bool>(), option::of(any::<u32>()), any::<bool>(), carried, option::of(comment()));
    (parts(kind, family), rest).prop_map(|(parts, (nomatch, timeout_secs, wildcard, carried, comment))| {
        let carried = carried.into_iter().map(Arc::from).collect();
        IpSetEntry { parts, nomatch, timeout_secs, wildcard, carried, comment, origin: origin() }
    })
}

fn set_option(family: Family) -> impl Strategy<Value = IpSetOption> {
    prop_oneof![
        (addr(family), addr(family)).prop_map(|(a, b)| IpSetOption::Range(IpSetRange::Addrs(a, b))),
        any::<u8>().prop_map(IpSetOption::Netmask),
        addr(family).prop_map(IpSetOption::Bitmask),
        any::<u32>().prop_map(IpSetOption::Markmask),
        any::<u32>().prop_map(IpSetOption::Timeout),
        select(&["hashsize 1024", "maxelem 65536", "counters", "comment", "initval 0x8c48e8f6"][..])
            .prop_map(|text| IpSetOption::Other(text.into())),
    ]
}

fn set() -> impl Strategy<Value = IpSet> {
    (select(&IpSetKind::ALL[..]), family()).prop_flat_map(|(kind, family)| {
        let family = if kind.has_family() { family } else { Family::V4 };
        let options = if kind == IpSetKind::BitmapPort {
            vec(
                (any::<u16>(), any::<u16>()).prop_map(|(a, b)| IpSetOption::Range(IpSetRange::Ports(a, b))),
                1,
            )
            .boxed()
        } else {
            vec(set_option(family), 0..5).boxed()
        };
        (name(), options, vec(entry(kind, family), 0..5)).prop_map(move |(name, options, entries)| IpSet {
            name,
            kind,
            family,
            options,
            entries,
            origin: origin(),
        })
    })
}

/// No two of one name.
fn distinct(mut sets: Vec<IpSet>) -> Vec<IpSet> {
    for (place, set) in sets.iter_mut().enumerate() {
        set.name = format!("{place}-{}", set.name).into();
    }
    sets
}

fn service() -> impl Strategy<Value = VirtualId> {
    let protocol = select(&[IpvsProtocol::Tcp, IpvsProtocol::Udp, IpvsProtocol::Sctp][..]);
    family().prop_flat_map(move |family| {
        prop_oneof![
            3 => (protocol.clone(), addr(family), any::<u16>())
                .prop_map(|(protocol, addr, port)| VirtualId::Addr { protocol, addr, port }),
            1 => (1..=u32::MAX).prop_map(move |mark| VirtualId::Fwmark { family, mark }),
        ]
    })
}

const fn service_family(service: &VirtualId) -> Family {
    match service {
        VirtualId::Addr { addr, .. } => Family::of(*addr),
        VirtualId::Fwmark { family, .. } => *family,
    }
}

fn persistence(family: Family) -> impl Strategy<Value = Persistence> {
    let mask = match family {
        Family::V4 => any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())).boxed(),
        Family::V6 => (0..=128_u8)
            .prop_map(|len| IpNet::new(IpAddr::V6([0; 16].into()), len).expect("a length").netmask())
            .boxed(),
    };
    (any::<u32>(), mask).prop_map(|(timeout_secs, mask)| Persistence { timeout_secs, mask })
}

fn real_server(family: Family) -> impl Strategy<Value = RealServer> {
    let forwarding = prop_oneof![
        Just(Forwarding::Masquerade),
        Just(Forwarding::Route),
        Just(Forwarding::Tunnel(None)),
        Just(Forwarding::Tunnel(Some("--tun-type gre --tun-nocsum".into()))),
    ];
    (addr(family), any::<u16>(), any::<u32>(), forwarding, any::<u32>(), any::<u32>()).prop_map(
        |(addr, port, weight, forwarding, upper_threshold, lower_threshold)| RealServer {
            addr,
            port,
            weight,
            forwarding,
            upper_threshold,
            lower_threshold,
            counts: None,
            origin: origin(),
        },
    )
}

fn virtual_server() -> impl Strategy<Value = VirtualServer> {
    let schedulers = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo"];
    let scheduler = select(schedulers.to_vec()).prop_map(Scheduler::from_name);
    service().prop_flat_map(move |service| {
        let family = service_family(&service);
        let engine = option::of(Just(Arc::from("sip")));
        let persistence = option::of(persistence(family));
        let rest = (any::<[bool; 3]>(), any::<bool>(), engine, persistence);
        (scheduler.clone(), rest, vec(real_server(family), 0..4)).prop_map(
            move |(scheduler, (scheduler_flags, one_packet, persistence_engine, persistence), servers)| {
                VirtualServer {
                    id: service,
                    scheduler,
                    scheduler_flags,
                    one_packet,
                    persistence,
                    persistence_engine,
                    servers,
                    origin: origin(),
                }
            },
        )
    })
}

/// No two for the same packets.
fn each_once(mut servers: Vec<VirtualServer>) -> Vec<VirtualServer> {
    servers.sort_by_key(|server| server.id);
    servers.dedup_by_key(|server| server.id);
    servers
}

/// What the kernel's table has a place for.
fn in_the_table(server: VirtualServer) -> VirtualServer {
    let counts = Some(RealServerCounts { active: 7, inactive: 9 });
    let forwarding = |old: Forwarding| match old {
        Forwarding::Tunnel(_) => Forwarding::Tunnel(None),
        Forwarding::Masquerade | Forwarding::Route | Forwarding::Local => old,
    };
    let real = |real: RealServer| RealServer {
        counts,
        upper_threshold: 0,
        lower_threshold: 0,
        forwarding: forwarding(real.forwarding),
        ..real
    };
    let servers: Vec<RealServer> = server.servers.into_iter().map(real).collect();
    let service = match server.id {
        VirtualId::Fwmark { mark, .. } if servers.is_empty() => {
            VirtualId::Fwmark { family: Family::V4, mark }
        }
        VirtualId::Fwmark { .. } | VirtualId::Addr { .. } => server.id,
    };
    let persistence =
        server.persistence.filter(|it| it.mask.is_ipv4() == (service_family(&service) == Family::V4));
    VirtualServer {
        scheduler_flags: [false; 3],
        persistence_engine: None,
        servers,
        id: service,
        persistence,
        ..server
    }
}

fn tuple(protocol: u8, family: Family) -> impl Strategy<Value = ConntrackTuple> {
    let key = match protocol {
        6 | 17 | 132 => any::<(u16, u16)>().prop_map(|(a, b)| ConntrackKey::Ports(a, b)).boxed(),
        1 | 58 => {
            any::<(u8, u8, u16)>().prop_map(|(kind, code, id)| ConntrackKey::Icmp { kind, code, id }).boxed()
        }
        47 => any::<(u16, u16)>().prop_map(|(a, b)| ConntrackKey::Gre(a, b)).boxed(),
        _ => Just(ConntrackKey::Nothing).boxed(),
    };
    let rest = (option::of(any::<u16>()), option::of(any::<(u64, u64)>()));
    (addr(family), addr(family), key, rest).prop_map(|(src, dst, key, (zone, counters))| ConntrackTuple {
        src,
        dst,
        key,
        zone,
        counters,
    })
}

fn connection() -> impl Strategy<Value = ConntrackEntry> {
    use ConntrackHold::{Assured, HwOffload, Loose, Offload};
    (select(vec_of(&[6, 17, 132, 1, 58, 47, 89])), family()).prop_flat_map(|(protocol, family)| {
        let state = option::of(select(&["ESTABLISHED", "SYN_SENT", "TIME_WAIT"][..]));
        let hold = select(vec_of(&[Loose, Assured, Offload, HwOffload]));
        let words = (
            option::of(Just(Arc::from("system_u:object_r:x_t:s0"))),
            option::of(Just(Arc::from("ftp"))),
            option::of(Just(Arc::from("delta-time=4 [start=Tue Nov 24]"))),
        );
        let numbers =
            (option::of(any::<u32>()), option::of(any::<u32>()), option::of(any::<u32>()), any::<u16>());
        let flow = (tuple(protocol, family), tuple(protocol, family), any::<bool>(), hold);
        (flow, option::of(any::<u32>()), state, words, numbers).prop_map(
            move |((original, reply, unreplied, hold), timeout_secs, state, words, numbers)| ConntrackEntry {
                protocol,
                timeout_secs,
                state: state.map(Arc::from),
                original,
                reply,
                unreplied,
                hold,
                mark: numbers.0,
                secctx: words.0,
                zone: numbers.3,
                helper: words.1,
                uses: numbers.1,
                id: numbers.2,
                carried: words.2,
                origin: origin(),
            },
        )
    })
}

fn vec_of<T: Clone>(items: &[T]) -> Vec<T> {
    items.to_vec()
}

proptest! {
    #[test]
    fn virtual_servers_read_back(servers in vec(virtual_server(), 0..4).prop_map(each_once)) {
        let printed = ipvsadm::render(&servers);
        let parsed = ipvsadm::parse(&printed, "x");
        prop_assert!(!parsed.has_errors(), "{:?}\n{}", parsed.diagnostics, printed);
        prop_assert_eq!(parsed.items.without_origin(), servers, "{}", printed);
    }

    #[test]
    fn tables_of_virtual_servers_read_back(servers in vec(virtual_server().prop_map(in_the_table), 0..4)) {
        let printed = ipvsadm::render_table(&servers);
        let parsed = ipvsadm::parse_any(&printed, "x");
        prop_assert!(!parsed.has_errors(), "{:?}\n{}", parsed.diagnostics, printed);
        prop_assert_eq!(parsed.items.without_origin(), servers, "{}", printed);
    }

    #[test]
    fn connections_read_back(
        entries in vec(connection(), 0..4),
        layer3 in select(&[Layer3::Hide, Layer3::Show][..]),
    ) {
        let printed = conntrack::render(&entries, layer3);
        let parsed = conntrack::parse(&printed, "x");
        prop_assert_eq!(&parsed.diagnostics, &[], "{}", printed);
        prop_assert_eq!(parsed.items.without_origin(), entries, "{}", printed);
    }

    #[test]
    fn sets_read_back(sets in vec(set(), 0..4).prop_map(distinct)) {
        let printed = ipset::render(&sets);
        let parsed = ipset::parse(&printed, "x");
        prop_assert_eq!(&parsed.diagnostics, &[], "{}", printed);
        prop_assert_eq!(parsed.items.without_origin(), sets, "{}", printed);
    }
}
