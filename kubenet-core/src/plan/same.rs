//! Whether two things are one for a kernel, wherever they come from.

use super::{IpRule, Route, diff, xt};

/// The same route: destination, table, metric, kind, next hops and what else the kernel tells routes apart by.
pub fn routes(one: &Route, other: &Route) -> bool {
    diff::are_same_routes(one, other)
}

/// The same routing rule.
pub fn rules(one: &IpRule, other: &IpRule) -> bool {
    diff::are_same_ip_rules(one, other)
}

/// The same rule of `iptables`, whatever it has counted.
pub fn xt_rules(one: &xt::Rule, other: &xt::Rule) -> bool {
    one.matches == other.matches && one.target == other.target
}
