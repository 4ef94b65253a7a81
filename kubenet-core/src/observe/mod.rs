//! A node as its dumps show it: what was seen in place of what was computed.
//!
//! In: the machine that the manifests call for, and the files of a dump (`docs/collect.sh` writes such a folder; any file whose
//! name or content tells what it is will do). Out: the same machine with every table that a file shows replaced by what
//! it shows, and [`Diagnostic`]s for what could not be read or is not known by its name. What no file shows stays as computed,
//! the pods' namespaces among it: a pod is plugged into the link behind which the dump shows its address. A packet that would ask rules
//! which could not be read whole comes to an unknown end there. O(text).

mod broken;
mod file;
mod pods;
mod sysctl;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use self::broken::Broken;
pub use self::file::Kind;
use crate::addr::Family;
use crate::origin::{Diagnostic, Location, Origin, OriginKind};
use crate::plan::netfilter::Ruleset;
use crate::plan::nft::TableFamily;
use crate::plan::{Address, FdbEntry, Link, LinkKind, MachinePlan, Netfilter, Netns, Route, SegmentId};
use crate::text::ip_link::{self, NumberedLink};
use crate::text::{
    Parsed, bridge_fdb, conntrack, ip_addr, ip_neigh, ip_route, ip_rule, ipset, iptables_save, ipvsadm, nft,
    ss,
};

/// A file of a dump.
#[derive(Clone, Copy, Debug)]
pub struct File<'f> {
    /// Its name, as diagnostics and origins say it.
    pub name: &'f str,
    /// Its content.
    pub text: &'f str,
}

/// What a dump says of a machine.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The machine.
    pub machine: MachinePlan,
    /// The tables that were seen.
    pub seen: Vec<Kind>,
    /// What was wrong with the files.
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether a machine, or a part of it, was observed.
pub fn is_observed(origin: &Origin) -> bool {
    matches!(origin.kind(), OriginKind::Dump { .. })
}

/// Lays a dump over the machine that is called for. `folder` names the dump.
pub fn machine(desired: &MachinePlan, folder: &str, files: &[File<'_>]) -> Observed {
    let mut reading = Reading { seen: Vec::new(), diagnostics: Vec::new() };
    let mut machine = desired.clone();
    machine.origin = origin(folder);
    let Some(mut host) = machine.netns.first().cloned() else {
        return Observed { machine, seen: Vec::new(), diagnostics: Vec::new() };
    };
    let mut tables = Tables::default();
    for file in files {
        match Kind::of(file.name, file.text) {
            Some(kind) => reading.read(kind, file, &mut tables),
            None => reading.diagnostics.push(
                Diagnostic::note(
                    "dump-file",
                    format!("{}: nothing tells what this file is; it is left out", file.name),
                )
                .help("name it as docs/collect.sh does, such as iptables-save.txt"),
            ),
        }
    }
    // The tables of `iptables-nft` are in `nft list ruleset` too; what its own tool prints says more.
    let xt: Vec<(Family, Arc<str>)> =
        tables.rules.xt.iter().map(|table| (table.family, table.name.clone())).collect();
    tables.rules.nft.retain(|table| {
        let family = match table.family {
            TableFamily::Ip => Family::V4,
            TableFamily::Ip6 => Family::V6,
            TableFamily::Inet | TableFamily::Arp | TableFamily::Bridge | TableFamily::Netdev => return true,
        };
        !xt.iter().any(|(other, name)| *other == family && *name == table.name)
    });
    if tables.saw_rules {
        // What stood for rules that are not known is known now, but for what could not be read.
        host.chains = broken::guards(&tables.broken, &desired.name, &tables.rules);
        host.netfilter = Netfilter::Whole(Arc::new(tables.rules));
    }
    if !tables.conntrack.is_empty() {
        host.conntrack = tables.conntrack;
    }
    if !tables.routes.is_empty() {
        host.routes = tables.routes;
    }
    if !tables.ip_rules.is_empty() {
        host.rules = tables.ip_rules;
    }
    if !tables.neighbours.is_empty() {
        host.neighbours = tables.neighbours;
    }
    if let Some(sockets) = tables.sockets {
        host.sockets = sockets;
        host.undeclared = crate::plan::Undeclared::Closed;
    }
    let fdb = tables.fdb;
    if !tables.links.is_empty() {
        take_links(&mut host, &tables.links, desired);
        host.fdb.clone_from(&fdb);
        sysctl::apply(&tables.sysctls, &mut host);
        pods::plug_in(&mut machine, &mut host, &fdb);
    } else {
        sysctl::apply(&tables.sysctls, &mut host);
        if !fdb.is_empty() {
            host.fdb = fdb;
        }
    }
    if let Some(first) = machine.netns.first_mut() {
        *first = host;
    }
    let Reading { mut seen, diagnostics } = reading;
    seen.sort_unstable();
    seen.dedup();
    Observed { machine, seen, diagnostics }
}

fn origin(folder: &str) -> Origin {
    let location = Location { file: folder.into(), line: 1, column: 1, start: 0, end: 0 };
    Origin::new(OriginKind::Dump { location })
}

/// What the files showed.
#[derive(Default)]
struct Tables {
    links: Vec<NumberedLink>,
    routes: Vec<Route>,
    ip_rules: Vec<crate::plan::IpRule>,
    neighbours: Vec<crate::plan::Neighbour>,
    fdb: Vec<FdbEntry>,
    sockets: Option<Vec<crate::plan::Socket>>,
    rules: Ruleset,
    saw_rules: bool,
    broken: Vec<Broken>,
    conntrack: Vec<crate::plan::ConntrackEntry>,
    sysctls: Vec<(String, String)>,
}

struct Reading {
    seen: Vec<Kind>,
    diagnostics: Vec<Diagnostic>,
}

impl Reading {
    fn take<T>(&mut self, parsed: Parsed<T>) -> Vec<T> {
        self.diagnostics.extend(parsed.diagnostics);
        parsed.items
    }

    /// The same of rules: which of them are not known is kept.
    fn take_rules<T>(&mut self, parsed: Parsed<T>, kind: Kind, text: &str, tables: &mut Tables) -> Vec<T> {
        tables.saw_rules = true;
        tables.broken.extend(broken::of_file(kind, text, &parsed.diagnostics));
        self.take(parsed)
    }

    fn read(&mut self, kind: Kind, file: &File<'_>, tables: &mut Tables) {
        let File { name, text } = *file;
        self.seen.push(kind);
        match kind {
            Kind::Links => {
                let links = self.take(ip_link::parse_any(text, name));
                merge_links(&mut tables.links, links, false);
            }
            Kind::Addresses => {
                let links = self.take(ip_addr::parse_any(text, name));
                merge_links(&mut tables.links, links, true);
            }
            Kind::Routes => tables.routes.extend(self.take(ip_route::parse_any(text, name))),
            Kind::Rules(family) => tables.ip_rules.extend(self.take(ip_rule::parse_any(text, name, family))),
            Kind::Neighbours => tables.neighbours.extend(self.take(ip_neigh::parse_any(text, name))),
            Kind::Fdb => tables.fdb.extend(self.take(bridge_fdb::parse_any(text, name))),
            Kind::Sockets => {
                let sockets = self.take(ss::parse(text, name));
                tables.sockets.get_or_insert_default().extend(sockets);
            }
            Kind::Iptables(family) => {
                let parsed = self.take_rules(iptables_save::parse(text, name, family), kind, text, tables);
                tables.rules.xt.extend(parsed);
            }
            Kind::Nft => {
                let parsed = self.take_rules(nft::parse_any(text, name), kind, text, tables);
                tables.rules.nft.extend(parsed);
            }
            Kind::Ipsets => {
                let parsed = self.take_rules(ipset::parse(text, name), kind, text, tables);
                tables.rules.ipsets.extend(parsed.into_iter().map(Arc::new));
            }
            Kind::Ipvs => {
                let parsed = self.take_rules(ipvsadm::parse_any(text, name), kind, text, tables);
                tables.rules.ipvs.extend(parsed.into_iter().map(Arc::new));
            }
            Kind::Conntrack => tables.conntrack.extend(self.take(conntrack::parse(text, name))),
            Kind::Sysctl => tables.sysctls.extend(sysctl::read(text)),
        }
    }
}

/// Lists of links and of addresses show the same links: the first gives the details, the second the addresses.
fn merge_links(all: &mut Vec<NumberedLink>, more: Vec<NumberedLink>, with_addresses: bool) {
    for numbered in more {
        match all.iter_mut().find(|known| known.ifindex == numbered.ifindex) {
            Some(known) if with_addresses => known.link.addresses = numbered.link.addresses,
            Some(known) => {
                let addresses: Vec<Address> = core::mem::take(&mut known.link.addresses);
                known.link = Link { addresses, ..numbered.link };
            }
            None => all.push(numbered),
        }
    }
}

/// Takes the links of the dump. The card that the node is reached by is the one that holds an address of the computed card.
fn take_links(host: &mut Netns, links: &[NumberedLink], desired: &MachinePlan) {
    let card = desired.netns.first().into_iter().flat_map(|netns| &netns.links).find_map(|link| {
        let LinkKind::Nic { segment: Some(segment) } = link.kind else { return None };
        Some((segment, link))
    });
    let mut taken: Vec<Link> = links.iter().map(|numbered| numbered.link.clone()).collect();
    if !taken.first().is_some_and(|link| link.kind == LinkKind::Loopback) {
        let at = taken.iter().position(|link| link.kind == LinkKind::Loopback);
        let loopback = at.map_or_else(Link::loopback, |at| taken.remove(at));
        taken.insert(0, loopback);
    }
    if let Some((segment, wanted)) = card {
        plug_card(&mut taken, segment, wanted);
    }
    host.links = taken;
}

fn plug_card(links: &mut [Link], segment: SegmentId, wanted: &Link) {
    let holds = |link: &Link| {
        link.addresses
            .iter()
            .any(|own| wanted.addresses.iter().any(|other| own.net.addr() == other.net.addr()))
    };
    let by_address = links.iter().position(holds);
    let by_name = || links.iter().position(|link| link.name == wanted.name);
    let Some(link) = by_address.or_else(by_name).and_then(|at| links.get_mut(at)) else { return };
    if matches!(link.kind, LinkKind::Nic { .. }) {
        link.kind = LinkKind::Nic { segment: Some(segment) };
    }
}

#[cfg(test)]
mod tests;
