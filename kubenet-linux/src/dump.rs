//! A machine that was observed, as the files of a dump: what `docs/collect.sh` writes and `kubenet --dump` reads.

use std::fmt::Write as _;

use kubenet_core::addr::Family;
use kubenet_core::plan::{MachinePlan, sysctl};
use kubenet_core::text::ip_link::Details;
use kubenet_core::text::{bridge_fdb, ip_addr, ip_link, ip_neigh, ip_route, ip_rule, ss};

use crate::tool::ToolError;

/// The files of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Each file: its name and its text.
    pub files: Vec<(&'static str, String)>,
    /// Files that are left out, each with why. What they would show is not known.
    pub left_out: Vec<(&'static str, String)>,
}

/// The files of a machine's own namespace: what netlink shows in the words of `ip`, `bridge`, `ss` and `sysctl`, and what tools printed as
/// they printed it.
pub(crate) fn of(machine: &MachinePlan, printed: Vec<(&'static str, Result<String, ToolError>)>) -> Dump {
    let Some(host) = machine.netns.first() else { return Dump::default() };
    let routes = |family: Family| {
        let of_family: Vec<_> =
            host.routes.iter().filter(|route| Family::of_net(route.dst) == family).cloned().collect();
        ip_route::render(&of_family)
    };
    let mut settings = String::new();
    for (key, value) in sysctl::of_netns(&host.sysctls) {
        _ = writeln!(settings, "{} = {value}", key.replace('/', "."));
    }
    let mut of_links = String::new();
    for (key, value) in host.links.iter().flat_map(sysctl::of_link) {
        // A link's name may hold dots itself; it is the last word but one that ends it.
        _ = writeln!(of_links, "{} = {value}", key.replace('/', "."));
    }
    let files = vec![
        ("ip-link.txt", ip_link::render(machine, 0, Details::Show)),
        ("ip-addr.txt", ip_addr::render(machine, 0, Details::Hide)),
        ("ip-route.txt", routes(Family::V4)),
        ("ip-6-route.txt", routes(Family::V6)),
        ("ip-rule.txt", ip_rule::render(&host.rules, Family::V4)),
        ("ip-6-rule.txt", ip_rule::render(&host.rules, Family::V6)),
        ("ip-neigh.txt", ip_neigh::render(&host.neighbours)),
        ("bridge-fdb.txt", bridge_fdb::render(&host.fdb)),
        ("ss-lntu.txt", ss::render(&host.sockets)),
        ("sysctl.txt", settings),
        ("sysctl-links.txt", of_links),
    ];
    let mut out = Dump { files, left_out: Vec::new() };
    for (name, text) in printed {
        match text {
            Ok(text) => out.files.push((name, text)),
            Err(error) => out.left_out.push((name, error.to_string())),
        }
    }
    out
}
