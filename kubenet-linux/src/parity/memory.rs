//! What a namespace of the kernel learned: read, and forgotten as if nothing had happened in it yet. What was put there by hand stays.
//!
//! In: a namespace. Out: [`Learned`]. Sockets and files are opened once. O(entries) for each call.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use kubenet_core::addr::MacAddr;
use kubenet_core::plan::NeighbourState;
use kubenet_core::text::conntrack;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as State,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

use super::learned::{self, Learned};
use crate::netlink::decode;
use crate::netlink::socket::{Request, Route};
use crate::netns::Netns;

/// The memory of a namespace.
#[derive(Debug)]
pub(super) struct Memory {
    route: Route,
    netfilter: Socket,
    /// The listing of connections; `None` where the kernel has none.
    connections: Option<File>,
    /// What is written to so that cached routes go. That of a family is not there where the family is not.
    caches: Vec<File>,
    devices: BTreeMap<u32, String>,
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
        let devices = rows.map(|row| (row.index, row.name)).collect();
        let (netfilter, connections, caches) = netns.run(|| {
            let mut netfilter = Socket::new(NETLINK_NETFILTER)?;
            netfilter.bind_auto()?;
            netfilter.connect(&SocketAddr::new(0, 0))?;
            let cache = |family: &str| {
                let file = format!("/proc/sys/net/{family}/route/flush");
                File::options().write(true).open(file).ok()
            };
            let caches = ["ipv4", "ipv6"].into_iter().filter_map(cache).collect();
            Ok((netfilter, File::open("/proc/thread-self/net/nf_conntrack").ok(), caches))
        })?;
        Ok(Self { route, netfilter, connections, caches, devices })
    }

    /// The links by their numbers.
    pub(super) const fn devices(&self) -> &BTreeMap<u32, String> {
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
            let learned = self.neighbours(family)?.into_iter().filter(is_learned);
            let requests: Vec<Request> = learned.map(|message| removal(message, family)).collect();
            if let Err(refused) = self.route.send(&requests)? {
                return Err(refused.error);
            }
        }
        self.forget_connections()?;
        for file in &self.caches {
            file.write_at(b"1", 0)?;
        }
        Ok(())
    }

    fn forget_connections(&self) -> io::Result<()> {
        /// `IPCTNL_MSG_CT_DELETE` of `NFNL_SUBSYS_CTNETLINK`; without a tuple it deletes all.
        const DELETE: u16 = 1 << 8 | 2;
        /// `NLM_F_REQUEST | NLM_F_ACK`.
        const FLAGS: u16 = 1 | 4;
        let mut message = Vec::from(20_u32.to_ne_bytes());
        message.extend(DELETE.to_ne_bytes());
        message.extend(FLAGS.to_ne_bytes());
        message.resize(20, 0);
        self.netfilter.send(&message, 0)?;
        let (answer, _) = self.netfilter.recv_from_full()?;
        // The acknowledgement has the error behind its header.
        let code = answer.get(16..20).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
        // A namespace that tracks nothing may not know the word.
        match code.checked_neg() {
            None | Some(0 | libc::EOPNOTSUPP) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// What it holds now. `talkers` said something of their own accord: a bridge saw their MACs, and a router learned their link-local
    /// addresses.
    ///
    /// # Errors
    ///
    /// Where the kernel does not list its tables.
    pub(super) fn read(&mut self, talkers: &BTreeSet<MacAddr>) -> io::Result<Learned> {
        let mut learned = Learned::default();
        for message in self.neighbours(AddressFamily::Unspec)? {
            let (Some(dev), Some(addr)) = (self.devices.get(&message.header.ifindex), destination(&message))
            else {
                continue;
            };
            let (mac, state) = (mac(&message), state(message.header.state));
            let is_talk =
                mac.is_some_and(|mac| talkers.contains(&mac) && addr == IpAddr::V6(mac.to_link_local()));
            let list = if is_talk { &mut learned.talk } else { &mut learned.neighbours };
            list.extend(learned::neighbour(dev, addr, mac, state));
        }
        for message in self.neighbours(AddressFamily::Bridge)?.into_iter().filter(is_learned) {
            let Some((dev, mac)) = self.devices.get(&message.header.ifindex).zip(mac(&message)) else {
                continue;
            };
            // A VXLAN device is a port of no bridge here: its own entries have a destination.
            let dst = destination(&message);
            let is_of_bridge =
                message.attributes.iter().any(|it| matches!(it, NeighbourAttribute::Controller(_)));
            if is_of_bridge || dst.is_some() {
                let list = if talkers.contains(&mac) { &mut learned.talk } else { &mut learned.forwarding };
                list.extend(learned::forwarding(mac, dev, dst));
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

    fn neighbours(&mut self, family: AddressFamily) -> io::Result<Vec<NeighbourMessage>> {
        let mut message = NeighbourMessage::default();
        message.header.family = family;
        let listing = self.route.dump(RouteNetlinkMessage::GetNeighbour(message))?;
        let each = listing.into_iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewNeighbour(message) => Some(message),
            _ => None,
        });
        Ok(each.collect())
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

fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(addr)) => Some(IpAddr::V4(*addr)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(addr)) => Some(IpAddr::V6(*addr)),
        _ => None,
    })
}

fn mac(message: &NeighbourMessage) -> Option<MacAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Some(decode::mac(bytes)),
        _ => None,
    })
}

const fn state(state: State) -> NeighbourState {
    match state {
        State::Incomplete => NeighbourState::Incomplete,
        State::Reachable => NeighbourState::Reachable,
        State::Stale => NeighbourState::Stale,
        State::Delay => NeighbourState::Delay,
        State::Probe => NeighbourState::Probe,
        State::Failed => NeighbourState::Failed,
        State::Noarp => NeighbourState::Noarp,
        State::Permanent => NeighbourState::Permanent,
        _ => NeighbourState::None,
    }
}
