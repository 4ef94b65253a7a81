//! What stands in for rules that a dump shows in part.
//!
//! In: the text of a file of rules and what was wrong with it. Out: the [`Part`]s of the node's rules that are not known
//! for it, and for these [`Chain`]s whose action is unknown, at the hooks where a packet would ask the rules. A file that
//! was read whole gives none, whatever it says that is not modelled. O(text log errors).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Kind;
use crate::addr::Family;
use crate::origin::{Diagnostic, Location, Origin, Severity};
use crate::plan::netfilter::Ruleset;
use crate::plan::nft::TableFamily;
use crate::plan::{Action, Chain, Hook, Match, Rule, Unknown, xt};
use crate::text::iptables_save::CUT;

/// Where rules of IP packets hang, by the names of the built-in chains.
const HOOKS: [(Hook, &str); 5] = [
    (Hook::Prerouting, "PREROUTING"),
    (Hook::Input, "INPUT"),
    (Hook::Forward, "FORWARD"),
    (Hook::Output, "OUTPUT"),
    (Hook::Postrouting, "POSTROUTING"),
];
/// The tables of x_tables.
const TABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];
const BOTH: [Family; 2] = [Family::V4, Family::V6];
/// Where IPVS looks for virtual servers (`net/netfilter/ipvs/ip_vs_core.c ip_vs_ops4`, Linux 6.18).
const IPVS: [(Hook, i32); 2] = [(Hook::Input, 98), (Hook::Output, -99)];

/// Rules of a node that a file did not show whole.
#[derive(Debug)]
pub(super) struct Broken {
    kind: Kind,
    part: Part,
    /// The first thing that was wrong.
    origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// A table of x_tables.
    Xt(Family, Arc<str>),
    /// A table of nf_tables.
    Nft(TableFamily, Arc<str>),
    /// Some tables of nf_tables; which ones is not known.
    AnyNft,
    /// Sets of `ipset`.
    Ipsets,
    /// Virtual servers.
    Ipvs,
}

/// What is not known for what was wrong with a file.
pub(super) fn of_file(kind: Kind, text: &str, diagnostics: &[Diagnostic]) -> Vec<Broken> {
    let faults = || diagnostics.iter().filter(|told| told.severity == Severity::Error || told.code == CUT);
    if faults().next().is_none() {
        return Vec::new();
    }
    let mut parts: BTreeMap<Part, Option<&Location>> = BTreeMap::new();
    let mut add = |part: Part, at| {
        parts.entry(part).or_insert(at);
    };
    match kind {
        Kind::Iptables(family) => {
            let tables = Sections::of_xt(text);
            for fault in faults() {
                let at = fault.location.as_ref();
                let table = at.and_then(|at| tables.at(at.line)).copied().filter(|name| is_table(name));
                if let Some(table) = table {
                    add(Part::Xt(family, table.into()), at);
                }
                // Behind where a file is cut, or under a heading that is lost, any table may stand that it does not show.
                if table.is_none() || table == tables.open_at_end().copied() && fault.code == CUT {
                    for name in tables.not_among(&TABLES) {
                        add(Part::Xt(family, name.into()), at);
                    }
                }
            }
        }
        Kind::Nft => {
            let tables = Sections::of_nft(text);
            for fault in faults() {
                let at = fault.location.as_ref();
                match at.and_then(|at| tables.at(at.line)) {
                    Some((family, name)) if tables.open_at_end().is_none() => {
                        add(Part::Nft(*family, (*name).into()), at);
                    }
                    _ => add(Part::AnyNft, at),
                }
            }
        }
        Kind::Ipsets => add(Part::Ipsets, faults().find_map(|fault| fault.location.as_ref())),
        Kind::Ipvs => add(Part::Ipvs, faults().find_map(|fault| fault.location.as_ref())),
        Kind::Links
        | Kind::Addresses
        | Kind::Routes
        | Kind::Rules(_)
        | Kind::Neighbours
        | Kind::Fdb
        | Kind::Sockets
        | Kind::Conntrack
        | Kind::Sysctl => {}
    }
    let broken = |(part, at): (Part, Option<&Location>)| Broken {
        kind,
        part,
        origin: at.map_or_else(|| Origin::implied("dump"), |at| Origin::dump(at.clone())),
    };
    parts.into_iter().map(broken).collect()
}

/// The chains that stand in for what is not known of the rules of a node: one for each hook, priority, family and tool.
pub(super) fn guards(broken: &[Broken], node: &str, rules: &Ruleset) -> Vec<Chain> {
    let mut chains: BTreeMap<(Hook, i32, Family, Kind), Chain> = BTreeMap::new();
    for Broken { kind, part, origin } in broken {
        let unknown = || {
            let tool = tool(*kind);
            Unknown {
                why: format!("{tool} of {node} could not be read whole"),
                what_would_settle_it: format!("the file collected again: {tool} on {node}"),
            }
        };
        for (hook, priority, family) in places(part, rules) {
            chains.entry((hook, priority, family, *kind)).or_insert_with(|| Chain {
                name: tool(*kind).into(),
                hook,
                priority,
                policy: Action::Accept,
                rules: Vec::from([Rule {
                    matches: Vec::from([Match::Source(Vec::from([everything(family)]))]),
                    action: Action::Unknown(unknown()),
                    origin: origin.clone(),
                }]),
            });
        }
    }
    chains.into_values().collect()
}

/// Where packets ask a part of the rules.
fn places(part: &Part, rules: &Ruleset) -> Vec<(Hook, i32, Family)> {
    match part {
        Part::Xt(family, table) => of_table(*family, table).collect(),
        // What `iptables-save` shows of such a table is what counts.
        Part::Nft(TableFamily::Ip, name) if rules.xt_table(Family::V4, name).is_some() => Vec::new(),
        Part::Nft(TableFamily::Ip6, name) if rules.xt_table(Family::V6, name).is_some() => Vec::new(),
        Part::Nft(TableFamily::Ip, _) => everywhere(&[Family::V4]),
        Part::Nft(TableFamily::Ip6, _) => everywhere(&[Family::V6]),
        Part::Nft(TableFamily::Inet | TableFamily::Netdev, _) | Part::AnyNft => everywhere(&BOTH),
        // They see no IP packets.
        Part::Nft(TableFamily::Arp | TableFamily::Bridge, _) => Vec::new(),
        Part::Ipsets => rules
            .xt
            .iter()
            .filter(|table| asks_sets(table))
            .flat_map(|table| of_table(table.family, &table.name))
            .collect(),
        Part::Ipvs => {
            IPVS.iter().flat_map(|(hook, priority)| BOTH.map(|family| (*hook, *priority, family))).collect()
        }
    }
}

/// The hooks of a table of x_tables.
fn of_table(family: Family, table: &str) -> impl Iterator<Item = (Hook, i32, Family)> {
    let base = move |(_, chain): &(Hook, &str)| xt::base(table, chain);
    HOOKS.iter().filter_map(base).map(move |(hook, priority)| (hook, priority, family))
}

/// All hooks, before everything else: where a table of nf_tables hangs is for itself to say.
fn everywhere(families: &[Family]) -> Vec<(Hook, i32, Family)> {
    families.iter().flat_map(|family| HOOKS.map(|(hook, _)| (hook, i32::MIN, *family))).collect()
}

fn is_table(name: &str) -> bool {
    TABLES.contains(&name)
}

/// Whether a rule of a table asks whether a set holds a packet.
fn asks_sets(table: &xt::Table) -> bool {
    let mut matches =
        table.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule: &xt::Rule| &rule.matches);
    matches.any(|condition| matches!(condition, xt::Match::Set { .. }))
}

fn everything(family: Family) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::default().into(),
        Family::V6 => Ipv6Net::default().into(),
    }
}

/// What prints such a file.
const fn tool(kind: Kind) -> &'static str {
    match kind {
        Kind::Iptables(Family::V4) => "iptables-save",
        Kind::Iptables(Family::V6) => "ip6tables-save",
        Kind::Nft => "nft list ruleset",
        Kind::Ipsets => "ipset save",
        Kind::Ipvs => "ipvsadm -Sn",
        Kind::Links
        | Kind::Addresses
        | Kind::Routes
        | Kind::Rules(_)
        | Kind::Neighbours
        | Kind::Fdb
        | Kind::Sockets
        | Kind::Conntrack
        | Kind::Sysctl => "the dump",
    }
}

/// Which table the lines of a file are of.
struct Sections<T> {
    /// From which line on, and of which table; between tables of none.
    from: Vec<(u32, Option<T>)>,
}

impl<'t> Sections<&'t str> {
    fn of_xt(text: &'t str) -> Self {
        Self::new(text, |line| match line.trim().strip_prefix('*') {
            Some(name) => Turn::Begin(name.trim()),
            None if line.trim() == "COMMIT" => Turn::End,
            None => Turn::On,
        })
    }

    /// Those of the tables that no line begins; all of them where each is begun.
    fn not_among<'n>(&self, tables: &[&'n str]) -> Vec<&'n str> {
        let begun: BTreeSet<&str> = self.from.iter().filter_map(|(_, table)| *table).collect();
        let lost: Vec<&'n str> = tables.iter().copied().filter(|name| !begun.contains(name)).collect();
        if lost.is_empty() { tables.to_vec() } else { lost }
    }
}

impl<'t> Sections<(TableFamily, &'t str)> {
    fn of_nft(text: &'t str) -> Self {
        Self::new(text, |line| {
            if line.starts_with('}') {
                return Turn::End;
            }
            let mut words = line.split_whitespace().filter(|word| *word != "{");
            if !line.starts_with("table") || words.next() != Some("table") {
                return Turn::On;
            }
            match (words.next().unwrap_or_default(), words.next()) {
                ("ip6", Some(name)) => Turn::Begin((TableFamily::Ip6, name)),
                ("inet", Some(name)) => Turn::Begin((TableFamily::Inet, name)),
                ("arp", Some(name)) => Turn::Begin((TableFamily::Arp, name)),
                ("bridge", Some(name)) => Turn::Begin((TableFamily::Bridge, name)),
                ("netdev", Some(name)) => Turn::Begin((TableFamily::Netdev, name)),
                ("ip", Some(name)) => Turn::Begin((TableFamily::Ip, name)),
                // A family that is lost.
                _ => Turn::End,
            }
        })
    }
}

/// What a line does to the table that is open.
enum Turn<T> {
    Begin(T),
    End,
    On,
}

impl<T> Sections<T> {
    fn new<'t>(text: &'t str, read: impl Fn(&'t str) -> Turn<T>) -> Self {
        let mut from = Vec::new();
        for (number, line) in (1_u32..).zip(text.lines()) {
            match read(line) {
                Turn::Begin(table) => from.push((number, Some(table))),
                // The line that ends a table is still of it.
                Turn::End => from.push((number.saturating_add(1), None)),
                Turn::On => {}
            }
        }
        Self { from }
    }

    /// The table that a line is of.
    fn at(&self, line: u32) -> Option<&T> {
        let place = self.from.partition_point(|(first, _)| *first <= line).checked_sub(1)?;
        self.from.get(place)?.1.as_ref()
    }

    /// The table that nothing ends.
    fn open_at_end(&self) -> Option<&T> {
        self.from.last()?.1.as_ref()
    }
}
