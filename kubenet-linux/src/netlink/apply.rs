//! Changes done to the kernel.
//!
//! Changes of one kind that follow each other are gathered and sent at once, each namespace by its own socket. What the next kind
//! needs of them (numbers of links, ends of cables) is looked up in between.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;

use kubenet_core::addr::MacAddr;
use kubenet_core::plan::{Change, Link, LinkKind, LinkSetting, Peer, What};
use netlink_packet_route::link::LinkFlags;

use super::decode::{Row, RowKind};
use super::encode::{self, ALIAS, NewLink};
use super::socket::{Refused, Request};
use super::sysctl::{self, Outcome, Why};
use super::{Netlink, Space};
use crate::kernel::{Error, explain};
use crate::netns::Netns;
use crate::wiring::Cable;

/// What can be sent together: nothing in it waits for the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Netns,
    LinksGo,
    LinksCome,
    Set,
    Sysctl,
    Rules,
}

const fn kind_of(what: &What) -> Kind {
    match what {
        What::AddNetns | What::RemoveNetns => Kind::Netns,
        What::RemoveLink { .. } => Kind::LinksGo,
        What::AddLink { .. } => Kind::LinksCome,
        What::SetLink { .. }
        | What::AddAddress { .. }
        | What::RemoveAddress { .. }
        | What::AddRoute(_)
        | What::RemoveRoute(_)
        | What::AddRule(_)
        | What::RemoveRule(_)
        | What::AddNeighbour(_)
        | What::RemoveNeighbour(_)
        | What::AddFdb(_)
        | What::RemoveFdb(_) => Kind::Set,
        What::Sysctl { .. } => Kind::Sysctl,
        What::Ipset(_) | What::Nft(_) | What::Xt(_) | What::Ipvs(_) => Kind::Rules,
    }
}

/// What is to be done when links were made.
#[derive(Default)]
struct After {
    /// Ends of pairs in other namespaces: to be marked.
    peers: Vec<(usize, Arc<str>, String)>,
    /// Ends of cables: to be plugged in.
    cables: Vec<(usize, Cable)>,
}

pub(super) fn apply(machine: &mut Netlink, changes: &[Change]) -> Result<(), Error> {
    // What an earlier run that failed has left behind is not sent.
    for space in machine.spaces.values_mut().chain(machine.far.values_mut()) {
        space.queue.clear();
        space.going.clear();
        space.files.clear();
        space.links = None;
    }
    let mut turn = Turn { machine, changes, after: After::default() };
    let mut before = None;
    for (place, change) in changes.iter().enumerate() {
        let kind = kind_of(&change.what);
        let waits =
            matches!(&change.what, What::AddLink { link, .. } if matches!(link.kind, LinkKind::Vxlan(_)));
        if before != Some(kind) || kind == Kind::Netns || waits {
            turn.flush()?;
        }
        before = Some(kind);
        turn.one(place, change)?;
    }
    turn.flush()
}

struct Turn<'a> {
    machine: &'a mut Netlink,
    changes: &'a [Change],
    after: After,
}

impl Turn<'_> {
    fn one(&mut self, place: usize, change: &Change) -> Result<(), Error> {
        let failed = |error: io::Error| Error::change(change, explain(&error));
        match &change.what {
            What::AddNetns => self.add_netns(&change.netns).map_err(failed),
            What::RemoveNetns => self.remove_netns(&change.netns).map_err(failed),
            What::Ipset(_) | What::Nft(_) | What::Xt(_) | What::Ipvs(_) => {
                let netns = self.machine.space(&change.netns).map_err(failed)?.netns.clone();
                self.machine.tools.apply(&netns, change)
            }
            What::AddLink { link, peer } => self.add_link(place, change, link, peer.as_deref()),
            What::RemoveLink { link, .. } => {
                let Ok(space) = self.machine.space(&change.netns) else { return Ok(()) };
                if space.links().map_err(failed)?.get(&**link).is_some_and(Row::is_ours) {
                    space.going.push((place, link.clone()));
                }
                Ok(())
            }
            What::Sysctl { key, value } => {
                let space = self.machine.space(&change.netns).map_err(failed)?;
                if let Some(link) = link_of(key)
                    && is_foreign(space, link).map_err(failed)?
                {
                    return Ok(());
                }
                space.files.push((place, key.clone(), *value));
                Ok(())
            }
            What::SetLink { .. }
            | What::AddAddress { .. }
            | What::RemoveAddress { .. }
            | What::AddRoute(_)
            | What::RemoveRoute(_)
            | What::AddRule(_)
            | What::RemoveRule(_)
            | What::AddNeighbour(_)
            | What::RemoveNeighbour(_)
            | What::AddFdb(_)
            | What::RemoveFdb(_) => {
                let space = self.machine.space(&change.netns).map_err(failed)?;
                let requests = requests(space, &change.what).map_err(failed)?;
                let Some(requests) = requests else {
                    return Err(Error::change(change, "a link that it names is not there"));
                };
                space.queue.extend(requests.into_iter().map(|request| (place, request)));
                Ok(())
            }
        }
    }

    /// One that is there already is taken as it is.
    fn add_netns(&mut self, name: &Arc<str>) -> io::Result<()> {
        let path = self.machine.others.path(name);
        let netns = match Netns::named(&path) {
            Ok(netns) => netns,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => opened(&path)?,
            Err(error) => return Err(error),
        };
        self.machine.spaces.insert(name.clone(), Space::open(Arc::new(netns))?);
        Ok(())
    }

    fn remove_netns(&mut self, name: &Arc<str>) -> io::Result<()> {
        self.machine.spaces.remove(name);
        match Netns::remove(&self.machine.others.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn add_link(
        &mut self,
        place: usize,
        change: &Change,
        link: &Link,
        peer: Option<&Peer>,
    ) -> Result<(), Error> {
        let failed = |error: io::Error| Error::change(change, explain(&error));
        let space = self.machine.space(&change.netns).map_err(failed)?;
        let there = space.links().map_err(failed)?.get(&*link.name).cloned();
        let cable = match &link.kind {
            LinkKind::Nic { segment: Some(segment) } => {
                self.machine.wiring.plug(&change.netns, link, *segment)
            }
            _ => None,
        };
        if let Some(row) = &there {
            let card = matches!(link.kind, LinkKind::Nic { .. }) && cable.is_none();
            if card {
                return Ok(());
            }
            if !is_as_wanted(row, link) {
                return Err(Error::change(change, "a link of this name is there that kubenet did not make"));
            }
        }
        let new = NewLink { name: &link.name, mac: link.mac, mtu: link.mtu_bytes };
        let mut alias = String::from(ALIAS);
        let make = match &link.kind {
            LinkKind::Bridge { ageing_secs } => new.bridge(*ageing_secs),
            LinkKind::Dummy => new.dummy(),
            LinkKind::Vxlan(vxlan) => {
                let space = self.machine.space(&change.netns).map_err(failed)?;
                let over = match &vxlan.dev {
                    None => None,
                    Some(dev) => match space.links().map_err(failed)?.get(&**dev) {
                        Some(row) => Some(row.index),
                        None => {
                            return Err(Error::change(
                                change,
                                format!("{dev}, which it is over, is not there"),
                            ));
                        }
                    },
                };
                new.vxlan(vxlan, over)
            }
            LinkKind::Veth { .. } => {
                let Some(peer) = peer else {
                    return Err(Error::change(change, "the plan does not have its other end"));
                };
                let far = self.machine.space(&peer.netns).map_err(failed)?;
                let netns = far.netns.clone();
                far.links = None;
                self.after.peers.push((place, peer.netns.clone(), peer.link.name.to_string()));
                let other = NewLink { name: &peer.link.name, mac: peer.link.mac, mtu: peer.link.mtu_bytes };
                new.veth(&other, netns.as_fd().as_raw_fd(), false)
            }
            LinkKind::Nic { segment } => {
                let Some(cable) = cable else {
                    return Err(Error::change(
                        change,
                        "the machine has no such card, and nothing says what to plug it into",
                    ));
                };
                if let Some(segment) = segment {
                    alias = format!("{ALIAS} segment {}", segment.0);
                }
                let other = NewLink { name: &cable.name, mac: MacAddr::ZERO, mtu: link.mtu_bytes };
                let make = new.veth(&other, cable.netns.as_fd().as_raw_fd(), false);
                self.after.cables.push((place, cable));
                make
            }
            LinkKind::Loopback | LinkKind::Other(_) => {
                return Err(Error::change(change, "kubenet cannot make a link of this kind"));
            }
        };
        let space = self.machine.space(&change.netns).map_err(failed)?;
        if there.is_none() {
            space.queue.push((place, make));
        }
        space.queue.push((place, encode::mark(&link.name, alias)));
        space.files.push((place, keeps_addresses(&link.name), 1));
        space.queue.push((place, encode::no_address_of_its_own(&link.name)));
        Ok(())
    }

    /// Sends what is gathered, and sees to the far ends of what was made.
    fn flush(&mut self) -> Result<(), Error> {
        self.send()?;
        let After { peers, cables } = std::mem::take(&mut self.after);
        for (place, netns, name) in peers {
            let space = self.space_of(place, &netns)?;
            space.queue.push((place, encode::mark(&name, ALIAS.into())));
            space.queue.push((place, encode::no_address_of_its_own(&name)));
            space.files.push((place, keeps_addresses(&name), 1));
        }
        for (place, cable) in cables {
            self.plug(place, &cable)?;
        }
        self.send()?;
        self.write()
    }

    fn space_of(&mut self, place: usize, netns: &Arc<str>) -> Result<&mut Space, Error> {
        let changes = self.changes;
        self.machine.space(netns).map_err(|error| refusal(changes, place, &error, None))
    }

    fn plug(&mut self, place: usize, cable: &Cable) -> Result<(), Error> {
        let changes = self.changes;
        let failed = |error: io::Error| refusal(changes, place, &error, None);
        let number = rustix::fs::fstat(&cable.netns).map_err(|error| failed(error.into()))?.st_ino;
        let space = match self.machine.far.entry(number) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Space::open(cable.netns.clone()).map_err(failed)?)
            }
        };
        space.queue.push((place, encode::mark(&cable.name, ALIAS.into())));
        space.queue.push((place, encode::no_address_of_its_own(&cable.name)));
        if let Some(bridge) = &cable.bridge {
            let index = space.links().map_err(failed)?.get(bridge).map(|row| row.index);
            let Some(index) = index else {
                let why = format!("the bridge {bridge}, which its cable ends at, is not there");
                return Err(refused(changes, place, why));
            };
            space.queue.push((place, encode::set_master(&cable.name, index)));
        }
        space.queue.push((place, encode::set_flag(&cable.name, LinkFlags::Up, true)));
        Ok(())
    }

    fn send(&mut self) -> Result<(), Error> {
        for space in self.machine.spaces.values_mut().chain(self.machine.far.values_mut()) {
            let going = space.going.first().map_or(0, |going| going.0);
            space.let_go().map_err(|error| refusal(self.changes, going, &error, None))?;
            if space.queue.is_empty() {
                continue;
            }
            let (places, requests): (Vec<usize>, Vec<Request>) =
                std::mem::take(&mut space.queue).into_iter().unzip();
            let anew = requests.iter().any(changes_links);
            let sent = space.route.send(&requests);
            if anew {
                space.links = None;
            }
            let at = |place: usize| places.get(place).copied().unwrap_or_default();
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(Refused { place, error, said })) => {
                    return Err(refusal(self.changes, at(place), &error, said));
                }
                Err(error) => return Err(refusal(self.changes, at(0), &error, None)),
            }
        }
        Ok(())
    }

    /// Writes the sysctls that are gathered.
    fn write(&mut self) -> Result<(), Error> {
        let mut told = Vec::new();
        for (name, space) in &mut self.machine.spaces {
            if space.files.is_empty() {
                continue;
            }
            let files = std::mem::take(&mut space.files);
            let settings: Vec<(Arc<str>, u32)> =
                files.iter().map(|(_, key, value)| (key.clone(), *value)).collect();
            let first = files.first().map_or(0, |file| file.0);
            let outcomes = sysctl::write(&space.netns, &settings)
                .map_err(|error| refusal(self.changes, first, &error, None))?;
            for ((place, key, value), outcome) in files.into_iter().zip(outcomes) {
                match outcome {
                    Outcome::Set => {}
                    Outcome::Failed(error) => return Err(refusal(self.changes, place, &error, None)),
                    Outcome::Cannot(Why::Absent) if value == 0 || key.ends_with(KEEPS_ADDRESSES) => {}
                    Outcome::Cannot(why) => {
                        told.push(why.tell(&key, value));
                        self.machine.fixed.insert((name.clone(), key), why);
                    }
                }
            }
        }
        told.into_iter().for_each(|text| self.machine.warn(text));
        Ok(())
    }
}

/// IPv6 addresses of a link stay when it goes down, as those of IPv4 do.
const KEEPS_ADDRESSES: &str = "/keep_addr_on_down";

fn keeps_addresses(link: &str) -> Arc<str> {
    format!("net/ipv6/conf/{link}{KEEPS_ADDRESSES}").into()
}

fn opened(path: &std::path::Path) -> io::Result<Netns> {
    let netns = Netns::open(path)?;
    // What a run that was stopped has left may be a file that is no namespace.
    if netns.is_one()? {
        return Ok(netns);
    }
    drop(netns);
    Netns::remove(path)?;
    Netns::named(path)
}

fn refusal(changes: &[Change], place: usize, error: &io::Error, said: Option<String>) -> Error {
    let mut why = explain(error);
    if let Some(said) = said {
        why = format!("{why} ({said})");
    }
    refused(changes, place, why)
}

fn refused(changes: &[Change], place: usize, why: String) -> Error {
    match changes.get(place) {
        Some(change) => Error::change(change, why),
        None => Error::Change { change: "the change".into(), why },
    }
}

const fn changes_links(request: &Request) -> bool {
    use netlink_packet_route::RouteNetlinkMessage as Message;
    matches!(request.message, Message::NewLink(_) | Message::SetLink(_) | Message::DelLink(_))
}

/// The link of a setting of one.
fn link_of(key: &str) -> Option<&str> {
    let (link, _) = key.strip_prefix("net/ipv4/conf/")?.rsplit_once('/')?;
    (link != "all" && link != "default").then_some(link)
}

/// Whether a link is there that was not made here.
fn is_foreign(space: &mut Space, link: &str) -> io::Result<bool> {
    Ok(space.links()?.get(link).is_some_and(|row| row.kind != RowKind::Loopback && !row.is_ours()))
}

/// Whether a link that is there is the one that is wanted: made here, or all but marked when the maker was stopped.
fn is_as_wanted(row: &Row, link: &Link) -> bool {
    let kind = match &link.kind {
        LinkKind::Veth { .. } | LinkKind::Nic { .. } => row.kind == RowKind::Veth,
        LinkKind::Bridge { .. } => matches!(row.kind, RowKind::Bridge { .. }),
        LinkKind::Vxlan(wanted) => {
            matches!(&row.kind, RowKind::Vxlan { vxlan, .. } if (vxlan.vni, vxlan.port) == (wanted.vni, wanted.port))
        }
        LinkKind::Dummy => row.kind == RowKind::Dummy,
        LinkKind::Loopback => row.kind == RowKind::Loopback,
        LinkKind::Other(_) => false,
    };
    kind && (row.is_ours() || row.mac == link.mac)
}

/// The requests of a change to what is there; `None` where a link that it names is not. What is not ours is left.
fn requests(space: &mut Space, what: &What) -> io::Result<Option<Vec<Request>>> {
    let one = |request: Request| Some(vec![request]);
    Ok(match what {
        What::SetLink { link, setting } => {
            if is_foreign(space, link)? {
                return Ok(Some(Vec::new()));
            }
            set_link(space, link, setting)?
        }
        What::AddAddress { link, net, scope } => {
            if is_foreign(space, link)? {
                return Ok(Some(Vec::new()));
            }
            let Some(row) = space.links()?.get(&**link) else { return Ok(None) };
            let link_local =
                net.addr().is_ipv6().then(|| encode::add_link_local(row.index, row.mac)).flatten();
            Some(
                [Some(encode::add_address(row.index, *net, *scope)), link_local]
                    .into_iter()
                    .flatten()
                    .collect(),
            )
        }
        What::RemoveAddress { link, net } => match space.links()?.get(&**link) {
            Some(row) if row.is_ours() || row.kind == RowKind::Loopback => {
                one(encode::delete_address(row.index, *net))
            }
            _ => Some(Vec::new()),
        },
        What::AddRoute(route) => {
            let links = space.links()?;
            encode::add_route(route, |name| Some(links.get(name)?.index)).and_then(one)
        }
        What::RemoveRoute(route) => {
            let links = space.links()?;
            let request = encode::delete_route(route, |name| Some(links.get(name)?.index));
            Some(request.into_iter().collect())
        }
        What::AddRule(rule) => one(encode::add_rule(rule)),
        What::RemoveRule(rule) => one(encode::delete_rule(rule)),
        What::AddNeighbour(of) => {
            space.links()?.get(&*of.dev).and_then(|row| one(encode::add_neighbour(row.index, of)))
        }
        What::RemoveNeighbour(of) => Some(
            space
                .links()?
                .get(&*of.dev)
                .map(|row| encode::delete_neighbour(row.index, of))
                .into_iter()
                .collect(),
        ),
        What::AddFdb(of) => space.links()?.get(&*of.dev).and_then(|row| one(encode::add_fdb(row.index, of))),
        What::RemoveFdb(of) => Some(
            space.links()?.get(&*of.dev).map(|row| encode::delete_fdb(row.index, of)).into_iter().collect(),
        ),
        What::AddNetns
        | What::RemoveNetns
        | What::AddLink { .. }
        | What::RemoveLink { .. }
        | What::Sysctl { .. }
        | What::Ipset(_)
        | What::Nft(_)
        | What::Xt(_)
        | What::Ipvs(_) => Some(Vec::new()),
    })
}

fn set_link(space: &mut Space, link: &str, setting: &LinkSetting) -> io::Result<Option<Vec<Request>>> {
    Ok(Some(match setting {
        LinkSetting::Mac(mac) => set_mac(space, link, *mac)?,
        LinkSetting::Mtu(mtu) => vec![encode::set_mtu(link, *mtu)],
        LinkSetting::Up(up) => vec![encode::set_flag(link, LinkFlags::Up, *up)],
        LinkSetting::Noarp(noarp) => vec![encode::set_flag(link, LinkFlags::Noarp, *noarp)],
        LinkSetting::Port(None) => vec![encode::set_master(link, 0)],
        LinkSetting::Port(Some(port)) => match space.links()?.get(&*port.bridge) {
            Some(bridge) => vec![encode::set_master(link, bridge.index), encode::set_port(link, port)],
            None => return Ok(None),
        },
        LinkSetting::Ageing(secs) => vec![encode::set_ageing(link, *secs)],
    }))
}

/// A hardware address, and the link-local address that was formed from the old one, where there is one.
fn set_mac(space: &mut Space, link: &str, mac: MacAddr) -> io::Result<Vec<Request>> {
    let mut requests = vec![encode::set_mac(link, mac)];
    space.links()?;
    let Some(row) = space.links.as_mut().and_then(|links| links.get_mut(link)) else {
        return Ok(requests);
    };
    // What comes behind this in the same send is about the new one.
    let (index, before) = (row.index, std::mem::replace(&mut row.mac, mac));
    let old = before.to_link_local();
    let formed = super::tables::addresses(&mut space.route)?
        .into_iter()
        .find(|(of, address)| *of == index && address.net.addr() == IpAddr::V6(old));
    if let Some((_, address)) = formed.filter(|_| before != mac) {
        requests.push(encode::delete_address(index, address.net));
        requests.extend(encode::add_link_local(index, mac));
    }
    Ok(requests)
}
