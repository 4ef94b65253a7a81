//! A machine as the kernel shows it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;

use kubenet_core::plan::{
    BridgePort, Link, LinkKind, MachineKind, MachinePlan, Netfilter, Netns, SegmentId, sysctl as names_of,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use super::decode::{Row, RowKind};
use super::nfnetlink::Nfnetlink;
use super::sysctl::{self, Why};
use super::tables::{self, Names};
use super::{Netlink, Space, listen};
use crate::kernel::Error;
use crate::own::{ours, seen};

/// What one namespace shows, before the ends of pairs are known.
struct Seen {
    netns: Netns,
    /// Its links in the order of their numbers.
    rows: Vec<Row>,
    /// The machine's own namespace, as this one counts it.
    host: Option<i32>,
    /// Settings that cannot be made.
    fixed: Vec<(Arc<str>, Why)>,
}

/// The machine with all of its namespaces.
pub(super) fn observe(machine: &mut Netlink) -> Result<MachinePlan, Error> {
    let others = machine
        .others()
        .map_err(|error| Error::observe(machine.others.folder.display().to_string(), &error))?;
    machine.spaces.retain(|name, _| name.is_empty() || others.contains(name));
    let mut all = Vec::new();
    for name in std::iter::once(Arc::from("")).chain(others) {
        all.extend(inside(machine, &name)?);
    }
    join(&mut all);
    machine.fixed.clear();
    for seen in &mut all {
        let name = seen.netns.name.clone();
        machine.fixed.extend(seen.fixed.drain(..).map(|(key, why)| ((name.clone(), key), why)));
    }
    Ok(plan(machine, all))
}

/// The machine's own namespace, but for its rules.
pub(super) fn own(machine: &mut Netlink) -> Result<MachinePlan, Error> {
    let name = Arc::from("");
    let host = machine.host.clone();
    let failed = |error: io::Error| Error::observe("the machine's network namespace", &error);
    let space = machine.space(&name).map_err(failed)?;
    space.links = None;
    let mut all = vec![one(&name, space, &host).map_err(failed)?];
    join(&mut all);
    Ok(plan(machine, all))
}

fn plan(machine: &Netlink, all: Vec<Seen>) -> MachinePlan {
    let netns = all.into_iter().map(|seen| seen.netns).collect();
    MachinePlan { name: machine.machine.clone(), kind: MachineKind::Node, netns, origin: seen() }
}

/// A namespace; `None` for a file that was to become one when its maker was stopped.
fn inside(machine: &mut Netlink, name: &Arc<str>) -> Result<Option<Seen>, Error> {
    let failed = |error: io::Error| match name.is_empty() {
        true => Error::observe("the machine's network namespace", &error),
        false => Error::observe(format!("the network namespace {name}"), &error),
    };
    let host = machine.host.clone();
    let is_marked = !machine.others.prefix.is_empty();
    let space = machine.space(name).map_err(failed)?;
    if !space.netns.is_one().map_err(failed)? {
        machine.spaces.remove(name);
        return Ok(None);
    }
    space.links = None;
    let mut seen = one(name, space, &host).map_err(failed)?;
    if is_marked && !name.is_empty() {
        seen.netns.origin = ours();
    }
    let netns = space.netns.clone();
    let listed = machine.tools.list_all(&netns, may_have_rules(&netns), name.is_empty());
    listed.warnings.into_iter().for_each(|text| machine.warn(text));
    if !listed.rules.is_empty() {
        seen.netns.netfilter = Netfilter::Whole(Arc::new(listed.rules));
    }
    Ok(Some(seen))
}

fn one(name: &Arc<str>, space: &mut Space, host: &crate::netns::Netns) -> io::Result<Seen> {
    let mut rows: Vec<Row> = space.links()?.values().cloned().collect();
    rows.sort_by_key(|row| (row.kind != RowKind::Loopback, row.index));
    let names: Names = rows.iter().map(|row| (row.index, Arc::from(&*row.name))).collect();
    let bridges: BTreeMap<u32, Arc<str>> = rows
        .iter()
        .filter(|row| matches!(row.kind, RowKind::Bridge { .. }))
        .map(|row| (row.index, Arc::from(&*row.name)))
        .collect();
    let mut netns = Netns::new(name.clone(), seen());
    netns.links = rows.iter().map(|row| link(row, &names, &bridges)).collect();
    for (index, address) in tables::addresses(&mut space.route)? {
        let place = rows.iter().position(|row| row.index == index);
        if let Some(link) = place.and_then(|place| netns.links.get_mut(place)) {
            link.addresses.push(address);
        }
    }
    netns.routes = tables::routes(&mut space.route, &names)?;
    netns.rules = tables::rules(&mut space.route)?;
    netns.neighbours = tables::neighbours(&mut space.route, &names)?;
    netns.fdb = tables::fdb(&mut space.route, &names)?;
    netns.sockets = listen::list(&space.netns)?;
    let fixed = read_sysctls(space, &mut netns)?;
    let host = if name.is_empty() { None } else { number_of(space, host)? };
    Ok(Seen { netns, rows, host, fixed })
}

fn link(row: &Row, names: &Names, bridges: &BTreeMap<u32, Arc<str>>) -> Link {
    let kind = match &row.kind {
        RowKind::Loopback => LinkKind::Loopback,
        RowKind::Bridge { ageing_secs } => LinkKind::Bridge { ageing_secs: *ageing_secs },
        RowKind::Dummy => LinkKind::Dummy,
        RowKind::Card => LinkKind::Nic { segment: None },
        RowKind::Vxlan { vxlan, over } => {
            let mut vxlan = vxlan.clone();
            vxlan.dev = over.and_then(|index| names.get(&index).cloned());
            LinkKind::Vxlan(vxlan)
        }
        // What its other end is, is said where that is known.
        RowKind::Veth => match row.segment() {
            Some(segment) => LinkKind::Nic { segment: Some(SegmentId(segment)) },
            None => LinkKind::Other("veth".into()),
        },
        RowKind::Other(kind) => LinkKind::Other(kind.clone()),
    };
    let origin = if row.is_ours() { ours() } else { seen() };
    let mut link = Link::new(&*row.name, kind, row.mac, row.mtu, origin);
    (link.up, link.carrier, link.noarp) = (row.up, row.carrier, row.noarp);
    let bridge = row.master.and_then(|index| bridges.get(&index).cloned());
    link.port = bridge.map(|bridge| BridgePort { bridge, hairpin: row.hairpin, isolated: row.isolated });
    link
}

/// Reads the settings. Those that cannot be made.
fn read_sysctls(space: &Space, netns: &mut Netns) -> io::Result<Vec<(Arc<str>, Why)>> {
    let own = names_of::of_netns(&netns.sysctls).map(|(key, _)| key.to_owned());
    let of_links = netns.links.iter().flat_map(names_of::of_link).map(|(key, _)| key);
    let keys: Vec<String> = own.chain(of_links).collect();
    let all = sysctl::list(&space.netns, &keys)?;
    let mut fixed = Vec::new();
    for (key, now) in keys.into_iter().zip(all) {
        match now {
            Some(now) => {
                names_of::set(netns, &key, now.value);
                if now.is_fixed {
                    fixed.push((key.into(), Why::Fixed(now.value)));
                }
            }
            // They may come with the rules.
            None if key.starts_with(sysctl::OF_NETFILTER) => {}
            None => {
                // What is not there is off, and has no number.
                if key.starts_with("net/bridge/") {
                    names_of::set(netns, &key, 0);
                }
                fixed.push((key.into(), Why::Absent));
            }
        }
    }
    Ok(fixed)
}

/// The number that a namespace has for another one, if it has seen a link into it.
fn number_of(space: &mut Space, other: &crate::netns::Netns) -> io::Result<Option<i32>> {
    let mut message = NsidMessage::default();
    let file =
        u32::try_from(other.as_fd().as_raw_fd()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    message.attributes.push(NsidAttribute::Fd(file));
    let RouteNetlinkMessage::NewNsId(answer) = space.route.ask(RouteNetlinkMessage::GetNsId(message))? else {
        return Ok(None);
    };
    let number = answer.attributes.iter().find_map(|attribute| match attribute {
        NsidAttribute::Id(number) => Some(*number),
        _ => None,
    });
    Ok(number.filter(|number| *number >= 0))
}

/// Says of either end of a veth pair what the other one is, where both are on this machine.
fn join(all: &mut [Seen]) {
    let mut pairs: Vec<((usize, usize), (usize, usize))> = Vec::new();
    let host: BTreeMap<u32, usize> = match all.first() {
        Some(host) => host.rows.iter().enumerate().map(|(place, row)| (row.index, place)).collect(),
        None => return,
    };
    for (at, seen) in all.iter().enumerate() {
        let here: BTreeMap<u32, usize> =
            seen.rows.iter().enumerate().map(|(place, row)| (row.index, place)).collect();
        for (place, row) in seen.rows.iter().enumerate() {
            match row.peer {
                Some((index, None)) => {
                    pairs.extend(here.get(&index).map(|other| ((at, place), (at, *other))))
                }
                Some((index, netns)) if netns == seen.host && at > 0 => {
                    let other = host.get(&index).map(|other| ((at, place), (0, *other)));
                    pairs.extend(other.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]));
                }
                Some(_) | None => {}
            }
        }
    }
    for ((at, place), (other, there)) in pairs {
        let peer = all.get(other).and_then(|seen| seen.rows.get(there)).map(|row| Arc::from(&*row.name));
        let link = all.get_mut(at).and_then(|seen| seen.netns.links.get_mut(place));
        if let (Some(peer), Some(link)) = (peer, link) {
            link.kind = LinkKind::Veth { peer_netns: other as u32, peer };
        }
    }
}

/// Whether there can be rules of `nft` or `iptables` in a namespace, asked without a tool: a table of nf_tables, or one of legacy x_tables.
fn may_have_rules(netns: &crate::netns::Netns) -> bool {
    let found = netns.run(|| {
        let legacy = ["ip_tables_names", "ip6_tables_names"].iter().any(|file| {
            std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))
                .is_ok_and(|text| !text.is_empty())
        });
        Ok(legacy || Nfnetlink::open().and_then(|it| it.has_tables()).unwrap_or(true))
    });
    found.unwrap_or(true)
}
