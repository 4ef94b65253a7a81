//! The sets: how their files are cut into cases, who judges them, and which are not judged yet.

use super::case::Handler;
use super::{facts, flow, ipvs, services};

/// How a file of a set is cut into cases.
#[derive(Debug)]
pub(super) enum Layout {
    /// JSON lines: one case each.
    Lines,
    /// YAML: every item of the lists named first. The lists named second are shared by the cases.
    Lists(&'static [&'static str], &'static [&'static str]),
    /// YAML: the file is one case.
    File,
    /// A folder with `case.json` is one case.
    Folder,
}

/// Every known set. YAML files say theirs in `schema: kubenet/SET/v1`; JSON lines are named by folder and file, case
/// folders by `netpol` and the folder that holds them. A name stands for what lies below it too (`netpol/spec`).
pub(super) const LAYOUTS: &[(&str, Layout)] = &[
    ("dns/podconf", Layout::Lines),
    ("dns/query", Layout::Lines),
    ("dns/resolver", Layout::Lines),
    ("facts/alloc-band", Layout::Lists(&["nodePort", "clusterIP"], &[])),
    ("facts/categorize", Layout::Lists(&["cases"], &[])),
    ("facts/cidrset", Layout::Lists(&["index_to_block", "block_to_index", "sequences"], &[])),
    ("facts/conntrack-cleanup", Layout::Lists(&["entries"], &["service", "endpoints"])),
    ("facts/host-local", Layout::Lists(&["cases"], &[])),
    ("facts/ipvs-state", Layout::Lists(&["cases"], &[])),
    ("facts/names", Layout::Lists(&["iptables", "nftables"], &[])),
    ("gateway/route", Layout::Lines),
    ("ingress/match", Layout::Lines),
    ("lb/l2leader", Layout::Lines),
    ("netpol", Layout::Folder),
    ("service-flow", Layout::File),
];

/// The finished sets and their judges.
const HANDLERS: &[(&str, &dyn Handler)] = &[
    ("facts/alloc-band", &facts::alloc_band),
    ("facts/categorize", &services::categorize),
    ("facts/cidrset", &facts::cidrset),
    ("facts/conntrack-cleanup", &services::conntrack_cleanup),
    ("facts/host-local", &facts::host_local),
    ("facts/ipvs-state", &ipvs::ipvs_state),
    ("facts/names", &services::chain_names),
    ("lb/l2leader", &services::l2_leader),
    ("service-flow", &flow::service_flow),
];

/// The sets that nothing judges yet, and what they wait for. Shorter is better; empty is the aim.
pub const UNSUPPORTED: &[(&str, &str)] = &[
    ("dns/podconf", "a pod's resolv.conf is not modelled"),
    ("dns/query", "cluster DNS is not modelled"),
    ("dns/resolver", "the resolvers of glibc and musl are not modelled"),
    ("gateway/route", "the Gateway API is not modelled"),
    ("ingress/match", "Ingress is not modelled"),
    ("netpol", "network policy is not modelled"),
];

/// What is done with a set.
pub(super) enum Support {
    /// Its cases are judged.
    Handled(&'static dyn Handler),
    /// It stands in [`UNSUPPORTED`].
    Listed((&'static str, &'static str)),
    /// Nobody knows it.
    Unknown,
}

/// What is done with the set of that name.
pub(super) fn support(set: &str) -> Support {
    if let Some((_, handler)) = named(HANDLERS, set) {
        return Support::Handled(*handler);
    }
    named(UNSUPPORTED, set).map_or(Support::Unknown, |entry| Support::Listed(*entry))
}

/// How the set of that name is laid out.
pub(super) fn layout(set: &str) -> Option<&'static Layout> {
    named(LAYOUTS, set).map(|(_, layout)| layout)
}

fn named<T>(table: &'static [(&'static str, T)], set: &str) -> Option<&'static (&'static str, T)> {
    let holds =
        |name: &str| set.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    table.iter().find(|(name, _)| holds(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_either_judged_or_listed() {
        for (set, _) in LAYOUTS {
            let judged = HANDLERS.iter().any(|(name, _)| name == set);
            let listed = UNSUPPORTED.iter().any(|(name, _)| name == set);
            assert!(judged != listed, "{set}: judged {judged}, listed {listed}");
        }
        assert_eq!(LAYOUTS.len(), HANDLERS.len() + UNSUPPORTED.len(), "a judge or a reason without a set");
    }

    #[test]
    fn a_name_stands_for_what_lies_below_it_and_for_nothing_else() {
        assert!(named(LAYOUTS, "netpol/spec").is_some());
        assert!(named(LAYOUTS, "netpolicy").is_none());
        assert!(named(LAYOUTS, "facts").is_none());
    }
}
