//! The adapter against a kernel in memory, with the checks that `cargo xtask test kernel` does on this machine's.
#![cfg(target_os = "linux")]

#[path = "../examples/kernel/bodies.rs"]
mod bodies;

use kubenet_linux::{Fake, Flaky};

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
