//! The adapter against a kernel in memory, with the checks that `cargo xtask test kernel` does on this machine's.
#![cfg(target_os = "linux")]

#[path = "../examples/kernel/bodies.rs"]
mod bodies;

use std::sync::Arc;

use kubenet_core::origin::Origin;
use kubenet_core::plan::{Link, LinkKind, Route};
use kubenet_linux::{Fake, Flaky, Kernel as _, difference, undo};

const PROXIES: [&str; 4] = ["iptables", "nftables", "ipvs", "userspace"];

#[test]
fn a_machine_becomes_its_plan_stays_so_and_is_cleaned_up() {
    for plan in bodies::plans(&PROXIES) {
        bodies::becomes_its_plan(&mut Fake::new(&plan.1.name), &plan);
    }
}

#[test]
fn one_plan_becomes_any_other() {
    bodies::becomes_others(&mut Fake::new("node-1"), &bodies::plans(&PROXIES));
}

#[test]
fn a_machine_that_stops_at_any_step_goes_on_or_is_cleaned_up() {
    bodies::stops_anywhere(Fake::new("node-1"), &|_| true);
}

#[test]
fn an_agent_keeps_a_machine_as_its_plan_says() {
    bodies::is_kept(Fake::new("node-1"));
    bodies::is_kept(Flaky { kernel: Fake::new("node-1"), left: None });
}

#[test]
fn a_card_that_is_not_ours_stays_and_our_routes_by_it_go() {
    // Its routes to other nodes' pods lead by the card.
    let (_, plan) = bodies::plans(&PROXIES).swap_remove(0);
    let mut machine = Fake::new("node-1");
    let cards = plan.netns[0].links.iter().filter(|link| matches!(link.kind, LinkKind::Nic { .. }));
    machine.plan.netns[0].links.extend(cards.cloned());
    let named = |links: &[Link]| -> Vec<(Arc<str>, usize)> {
        links.iter().map(|link| (link.name.clone(), link.addresses.len())).collect()
    };
    let before = named(&machine.plan.netns[0].links);
    assert!(before.len() > 1, "a node has a card");
    machine.apply(&difference(&machine.plan, &[], &plan)).expect("applied");
    let ours = |machine: &Fake| -> Vec<Route> {
        let routes = machine.plan.netns[0].routes.iter();
        routes.filter(|route| route.origin == Origin::implied("kubenet")).cloned().collect()
    };
    let is_card = |dev: &Arc<str>| before.iter().any(|(name, _)| name == dev);
    let by_card = |route: &Route| route.next_hops.iter().any(|hop| hop.dev.as_ref().is_some_and(is_card));
    assert!(ours(&machine).iter().any(by_card), "{:#?}", ours(&machine));
    machine.apply(&undo(&machine.plan, &[&plan])).expect("undone");
    assert_eq!(named(&machine.plan.netns[0].links), before);
    assert_eq!(ours(&machine), []);
}
