//! Lists in which the order does not count: what a table holds, what servers received.
//!
//! In: the model's entries and the kernel's, as [`Likeness`]es `SUBJECT: WHAT`. Out: those that only one side has, in words; two with
//! one subject are told together. O(n·m), for short lists.

use std::collections::{BTreeMap, BTreeSet};

use super::likeness::{Likeness, Ports};
use super::site::{Place, called};

/// The lists of each namespace.
pub(super) type ByPlace = BTreeMap<Place, Vec<Likeness>>;

/// Where the lists of two sides are different, each told with its namespace.
pub(super) fn compare_all(what: &str, model: &ByPlace, kernel: &ByPlace, ports: &mut Ports) -> Vec<String> {
    let places: BTreeSet<&Place> = model.keys().chain(kernel.keys()).collect();
    let (mut differences, none) = (Vec::new(), Vec::new());
    for place in places {
        let name = called(place);
        let (ours, theirs) = (model.get(place).unwrap_or(&none), kernel.get(place).unwrap_or(&none));
        differences.extend(compare(&format!("{name}, {what}"), ours, theirs, ports));
    }
    differences
}

/// How many entries there are.
pub(super) fn count(lists: &ByPlace) -> usize {
    lists.values().map(Vec::len).sum()
}

/// Where two lists are different; `what` they are is told with each. Ports that are met for the first time are bound.
pub(super) fn compare(what: &str, model: &[Likeness], kernel: &[Likeness], ports: &mut Ports) -> Vec<String> {
    let mut theirs: Vec<&Likeness> = kernel.iter().collect();
    let mut ours = Vec::new();
    for one in model {
        match theirs.iter().position(|other| ports.same(one, other)) {
            Some(at) => drop(theirs.remove(at)),
            None => ours.push(one),
        }
    }
    let mut differences = Vec::new();
    for one in ours {
        let other = theirs.iter().position(|other| subject(other) == subject(one));
        differences.push(words(what, Some(one), other.map(|at| theirs.remove(at))));
    }
    differences.extend(theirs.into_iter().map(|other| words(what, None, Some(other))));
    differences
}

fn subject(one: &Likeness) -> &str {
    one.text.split(": ").next().unwrap_or_default()
}

fn words(what: &str, model: Option<&Likeness>, kernel: Option<&Likeness>) -> String {
    let shown = |one: Option<&Likeness>| one.map_or_else(|| "nothing".into(), Likeness::to_string);
    format!("{what}:\n  model   {}\n  kernel  {}", shown(model), shown(kernel))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str, ports: &[u16]) -> Likeness {
        Likeness { text: text.into(), ports: ports.to_vec() }
    }

    #[test]
    fn the_same_entries_in_another_order_and_with_other_free_ports_are_no_difference() {
        let model = [entry("a port {}: up", &[1000]), entry("b port {}: up", &[80])];
        let kernel = [entry("b port {}: up", &[80]), entry("a port {}: up", &[2000])];
        let mut ports = Ports::with_known([80]);
        assert!(compare("x", &model, &kernel, &mut ports).is_empty());
        assert_eq!(ports.of_model(1000), 2000);
    }

    #[test]
    fn entries_of_one_subject_are_told_together_and_others_alone() {
        let model = [entry("a: up", &[]), entry("c: up", &[])];
        let kernel = [entry("b: up", &[]), entry("a: down", &[])];
        let told = compare("x", &model, &kernel, &mut Ports::default());
        let wanted = [
            "x:\n  model   a: up\n  kernel  a: down",
            "x:\n  model   c: up\n  kernel  nothing",
            "x:\n  model   nothing\n  kernel  b: up",
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn an_entry_that_stands_twice_is_not_the_same_as_one_that_stands_once() {
        let one = entry("a: up", &[]);
        let told = compare("x", &[one.clone(), one.clone()], &[one], &mut Ports::default());
        assert_eq!(told, ["x:\n  model   a: up\n  kernel  nothing"]);
    }
}
