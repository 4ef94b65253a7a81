//! What a namespace of the kernel learned: read, and forgotten as if nothing had happened in it yet. What was put there by hand stays.
//!
//! In: a namespace. Out: [`Learned`]. Sockets and files are opened once. O(entries) for each call.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use kubenet_core::addr::MacAddr;
use kubenet_core::text::conntrack;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::learned::{self, Learned};
use crate::netlink::decode;
use crate::netlink::nfnetlink::Nfnetlink;
use crate::netlink::socket::{Request, Route};
use crate::netlink::tables::{self, Names};
use crate::netns::Netns;

/// The memory of a namespace.
#[derive(Debug)]
pub(super) struct Memory {
    route: Route,
    netfilter: Nfnetlink,
    /// The listing of connections; `None` where the kernel has none.
    connections: Option<File>,
    /// What is written to so that cached routes go. That of a family is not there where the family is not.
    caches: Vec<File>,
    devices: Names,
}

impl Memory {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// Where the kernel gives no sockets, or does not list the links.
    pub(super) fn open(netns: &Arc<Netns>) -> io::Result<Self> {
        let mut route = Route::open(netns)?;
        let rows = decode::links(&mut route)?.into_values();
        let devices = rows.map(|row| (row.index, row.name.into())).collect();
        let (netfilter, connections, caches) = netns.run(|| {
            let cache = |family: &str| {
                let file = format!("/proc/sys/net/{family}/route/flush");
                File::options().write(true).open(file).ok()
            };
            let caches = ["ipv4", "ipv6"].into_iter().filter_map(cache).collect();
            Ok((Nfnetlink::open()?, File::open("/proc/thread-self/net/nf_conntrack").ok(), caches))
        })?;
        Ok(Self { route, netfilter, connections, caches, devices })
    }

    /// The links by their numbers.
    pub(super) const fn devices(&self) -> &Names {
        &self.devices
    }

    /// Whether the connections can be read.
    pub(super) const fn lists_connections(&self) -> bool {
        self.connections.is_some()
    }

    /// Forgets all that was learned.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_ADMIN` in the namespace.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        for family in [AddressFamily::Unspec, AddressFamily::Bridge] {
            let learned = tables::entries(&mut self.route, family)?.into_iter().filter(is_learned);
            let requests: Vec<Request> = learned.map(|message| removal(message, family)).collect();
            if let Err(refused) = self.route.send(&requests)? {
                return Err(refused.error);
            }
        }
        self.netfilter.forget_connections()?;
        for file in &self.caches {
            file.write_at(b"1", 0)?;
        }
        Ok(())
    }

    /// What it holds now. `talkers` said something of their own accord: a bridge saw their MACs, and a router learned their link-local
    /// addresses.
    ///
    /// # Errors
    ///
    /// Where the kernel does not list its tables.
    pub(super) fn read(&mut self, talkers: &BTreeSet<MacAddr>) -> io::Result<Learned> {
        let mut learned = Learned::default();
        for one in tables::neighbours(&mut self.route, &self.devices)? {
            let is_talk = one
                .mac
                .is_some_and(|mac| talkers.contains(&mac) && one.addr == IpAddr::V6(mac.to_link_local()));
            let list = if is_talk { &mut learned.talk } else { &mut learned.neighbours };
            list.extend(learned::neighbour(&one.dev, one.addr, one.mac, one.state));
        }
        let entries = tables::entries(&mut self.route, AddressFamily::Bridge)?;
        let entries = entries.iter().filter(|it| is_learned(it));
        for one in entries.filter_map(|it| tables::one_fdb(it, &self.devices)) {
            // A VXLAN device is a port of no bridge here: its own entries have a destination.
            if one.master.is_some() || one.dst.is_some() {
                let list =
                    if talkers.contains(&one.mac) { &mut learned.talk } else { &mut learned.forwarding };
                list.extend(learned::forwarding(one.mac, &one.dev, one.dst));
            }
        }
        if let Some(file) = &mut self.connections {
            let mut text = String::new();
            file.rewind()?;
            file.read_to_string(&mut text)?;
            let entries = conntrack::parse(&text, "nf_conntrack");
            if let Some(wrong) = entries.diagnostics.iter().find(|_| entries.has_errors()) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, wrong.message.to_string()));
            }
            learned.connections = entries.items.iter().filter_map(learned::connection).collect();
        }
        Ok(learned)
    }
}

/// Whether an entry was put there by nobody.
fn is_learned(message: &NeighbourMessage) -> bool {
    const BY_HAND: u16 = 0x40 | 0x80;
    u16::from(message.header.state) & BY_HAND == 0
}

/// Takes an entry out; it may have gone by itself meanwhile.
fn removal(mut message: NeighbourMessage, family: AddressFamily) -> Request {
    if family == AddressFamily::Bridge && !message.header.flags.contains(NeighbourFlags::Own) {
        message.header.flags = NeighbourFlags::Controller;
    }
    message.attributes.retain(|it| {
        matches!(it, NeighbourAttribute::Destination(_) | NeighbourAttribute::LinkLayerAddress(_))
    });
    Request { message: RouteNetlinkMessage::DelNeighbour(message), flags: 0, fine: &[Errno::NOENT] }
}
