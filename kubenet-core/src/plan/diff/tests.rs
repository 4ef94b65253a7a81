//! What stands in a plan, and what a diff makes of it.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::{diff, remove};
use crate::assume::Assume;
use crate::network::Network;
use crate::plan::{LinkKind, MachinePlan, NeighbourState, PlanSource, Vxlan, apply};

const SHOP: &str = include_str!("../../../../examples/shop.yaml");
const DUAL: &str = include_str!("../../../../examples/dual-stack.yaml");

/// Machines of clusters that differ in what makes their plans.
fn machines() -> Vec<MachinePlan> {
    [(SHOP, "shop.yaml"), (DUAL, "dual.yaml")]
        .into_iter()
        .flat_map(|(text, file)| machines_of(text, file))
        .collect()
}

fn machines_of(text: &str, file: &str) -> Vec<MachinePlan> {
    let mut all = Vec::new();
    for (cni, underlay, proxy) in [
        ("bridge", "host-gw", "iptables"),
        ("flannel", "vxlan", "nftables"),
        ("kindnet", "host-gw", "ipvs"),
        ("bridge", "routed", "userspace"),
        ("calico", "routed", "iptables"),
    ] {
        let mut assume = Assume::default();
        for (key, value) in [("cni", cni), ("underlay", underlay), ("proxyMode", proxy)] {
            assume.set(key, value).expect(key);
        }
        let network = Network::from_text(file, text).with_assume(assume);
        let plans = network.plans();
        let ids = (0..plans.machine_count()).map(crate::plan::MachineId);
        all.extend(ids.filter_map(|id| plans.machine(id)).map(|machine| (*machine).clone()));
    }
    all
}

fn printed(from: Option<&MachinePlan>, to: &MachinePlan) -> Vec<String> {
    diff(from, to).iter().map(ToString::to_string).collect()
}

/// Does the changes from the one to the other; what comes out differs in nothing from the other.
fn check(from: Option<&MachinePlan>, to: &MachinePlan) {
    let empty = MachinePlan { netns: Vec::new(), ..to.clone() };
    let mut plan = from.unwrap_or(&empty).clone();
    for change in diff(from, to) {
        apply(&mut plan, &change);
        let once = plan.clone();
        apply(&mut plan, &change);
        assert_eq!(once, plan, "done twice: {change}");
    }
    assert_eq!(printed(Some(&plan), to), [""; 0]);
    assert_eq!(printed(Some(to), &plan), [""; 0]);
}

#[test]
fn a_machine_is_made_of_nothing_and_of_any_other() {
    let machines = machines();
    for (place, to) in machines.iter().enumerate() {
        check(None, to);
        for step in [1, 7] {
            check(machines.get((place + step) % machines.len()), to);
        }
    }
}

#[test]
fn what_is_equal_but_for_where_it_comes_from_is_left() {
    let (one, other) = (machines_of(SHOP, "shop.yaml"), machines_of(SHOP, "other-name.yaml"));
    for (from, to) in one.iter().zip(&other) {
        assert_eq!(from.name, to.name);
        assert_eq!(printed(Some(from), to), [""; 0], "{}", to.name);
    }
}

#[test]
fn changes_are_printed_as_commands_whatever_the_names_hold() {
    let network = Network::from_text("shop.yaml", SHOP);
    let plans = network.plans();
    let machine = plans.machine(crate::plan::MachineId(0)).expect("a node");
    let mut other = (*machine).clone();
    other.netns[0].sysctls.ip_forward = false;
    other.netns[0].links[1].up = false;
    other.netns[1].name = "a b/c'\u{1b}[2J".into();
    let all = printed(Some(&machine), &other);
    for line in [
        "sysctl -w net/ipv4/ip_forward=0",
        "ip link set eth0 down",
        "ip netns add $'a b/c\\'\\u001b[2J'",
        "ip -n $'a b/c\\'\\u001b[2J' link set lo up",
    ] {
        assert!(all.iter().any(|other| other == line), "{line}: {all:#?}");
    }
}

#[test]
fn nothing_is_left_of_what_is_removed() {
    for machine in machines() {
        let mut plan = machine.clone();
        for change in remove(&machine) {
            apply(&mut plan, &change);
        }
        let [host] = &plan.netns[..] else { panic!("{plan:?}") };
        assert_eq!(host.links.len(), 1);
        assert!(host.routes.is_empty() && host.neighbours.is_empty() && host.fdb.is_empty());
        assert!(host.netfilter.is_empty(), "{:?}", host.netfilter);
    }
}

/// What can happen to a machine.
fn mutate(plan: &mut MachinePlan, what: u8, at: usize) {
    let count = plan.netns.len();
    let Some(netns) = plan.netns.get_mut(at % count.max(1)) else { return };
    let links = netns.links.len();
    match what {
        0 => netns.sysctls.ip_forward ^= true,
        1 => netns.sysctls.rp_filter = (at % 3) as u8,
        2 if !netns.routes.is_empty() => drop(netns.routes.remove(at % netns.routes.len())),
        3 if !netns.neighbours.is_empty() => drop(netns.neighbours.remove(at % netns.neighbours.len())),
        4 if !netns.fdb.is_empty() => drop(netns.fdb.remove(at % netns.fdb.len())),
        5 => netns.links[at % links].up ^= true,
        6 => netns.links[at % links].mtu_bytes = 1400 + (at % 3) as u32,
        7 => netns.links[at % links].proxy_arp ^= true,
        8 => drop(netns.links[at % links].addresses.pop()),
        9 => netns.links[at % links].port = None,
        10 => netns.links.iter_mut().for_each(|link| {
            if let LinkKind::Vxlan(Vxlan { vni, .. }) = &mut link.kind {
                *vni += 1;
            }
        }),
        11 => {
            netns.links.iter_mut().filter_map(|link| link.port.as_mut()).for_each(|port| port.hairpin ^= true)
        }
        12 => netns
            .neighbours
            .iter_mut()
            .for_each(|it| it.mac = it.mac.map(|mac| mac.to_string().parse().unwrap_or(mac))),
        13 => netns.neighbours.iter_mut().for_each(|it| it.state = NeighbourState::Permanent),
        14 => netns.routes.iter_mut().for_each(|route| route.metric += 1),
        15 if !at.is_multiple_of(count) => {
            // A pod goes, with both ends of its pair.
            let place = at % count;
            plan.netns.remove(place);
            for netns in &mut plan.netns {
                netns.links.retain(|link| !matches!(link.kind, LinkKind::Veth { peer_netns, .. } if peer_netns as usize == place));
                let names: Vec<Arc<str>> = netns.links.iter().map(|link| link.name.clone()).collect();
                netns.routes.retain(|route| {
                    route.next_hops.iter().all(|hop| hop.dev.as_ref().is_none_or(|dev| names.contains(dev)))
                });
                for link in &mut netns.links {
                    if let LinkKind::Veth { peer_netns, .. } = &mut link.kind
                        && *peer_netns as usize > place
                    {
                        *peer_netns -= 1;
                    }
                }
            }
        }
        16 => {
            let mut whole = netns.netfilter.whole();
            let rules = Arc::make_mut(&mut whole);
            rules.xt.iter_mut().for_each(|table| {
                if !table.chains.is_empty() {
                    let place = at % table.chains.len();
                    let chain = Arc::make_mut(&mut table.chains[place]);
                    chain.rules.pop();
                }
            });
            rules.nft.iter_mut().for_each(|table| {
                if !table.sets.is_empty() {
                    let place = at % table.sets.len();
                    Arc::make_mut(&mut table.sets[place]).elements.pop();
                }
                if !table.chains.is_empty() {
                    let place = at % table.chains.len();
                    Arc::make_mut(&mut table.chains[place]).rules.pop();
                }
            });
            rules.ipvs.pop();
            rules.ipsets.iter_mut().for_each(|set| drop(Arc::make_mut(set).entries.pop()));
            netns.netfilter = crate::plan::Netfilter::Whole(whole);
        }
        _ => {}
    }
}

#[test]
fn a_route_by_a_link_that_is_down_is_not_there_when_the_link_comes_up() {
    for from in machines() {
        let mut to = from.clone();
        for netns in &mut to.netns {
            netns.links.iter_mut().for_each(|link| link.up = false);
            netns.routes.iter_mut().for_each(|route| route.metric += 1);
        }
        check(Some(&from), &to);
        check(Some(&to), &from);
    }
}

#[test]
fn any_mutation_of_a_machine_is_made_and_taken_back() {
    let machines = machines();
    let steps = proptest::collection::vec((0..17_u8, 0..1000_usize), 1..5);
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(place in 0..machines.len(), steps in steps)| {
        let from = &machines[place];
        let mut to = from.clone();
        steps.iter().for_each(|(what, at)| mutate(&mut to, *what, *at));
        check(Some(from), &to);
        check(Some(&to), from);
    });
}

#[test]
fn routes_that_the_kernel_drops_with_the_last_ipv4_address_of_a_link_are_made_again() {
    let before = machines_of(SHOP, "shop.yaml").swap_remove(0);
    let mut after = before.clone();
    let eth0 = after.netns[0].links.iter_mut().find(|link| &*link.name == "eth0").expect("a card");
    let [address] = &mut eth0.addresses[..] else { panic!("one address: {:?}", eth0.addresses) };
    address.net = "172.18.0.200/24".parse().expect("an address");
    let route = "ip route add 10.244.1.0/24 via 172.18.0.3 dev eth0";
    assert!(printed(Some(&before), &after).iter().any(|change| change == route), "the route is in both");
    check(Some(&before), &after);
    // With one that stays, they stay.
    let mut more = before.clone();
    let eth0 = more.netns[0].links.iter_mut().find(|link| &*link.name == "eth0").expect("a card");
    eth0.addresses
        .extend(after.netns[0].link_named("eth0").into_iter().flat_map(|it| it.1.addresses.clone()));
    assert!(printed(Some(&before), &more).iter().all(|change| change != route));
}
