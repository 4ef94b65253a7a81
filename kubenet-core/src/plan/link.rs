//! Links and what hangs on them: addresses, neighbours, forwarding entries.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{MacAddr, Origin, RouteScope, SegmentId};

/// A network device, as `ip link` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The interface name.
    pub name: Arc<str>,
    /// The hardware address; all zero for `lo`.
    pub mac: MacAddr,
    /// The largest IP packet, in bytes.
    pub mtu_bytes: u32,
    /// Administratively up.
    pub up: bool,
    /// The cable is in (`LOWER_UP`); a link that is up without it is `NO-CARRIER`.
    pub carrier: bool,
    /// What it is.
    pub kind: LinkKind,
    /// The bridge that it is a port of, and its port settings.
    pub port: Option<BridgePort>,
    /// Its addresses, primary ones first.
    pub addresses: Vec<Address>,
    /// `net.ipv4.conf.IFACE.rp_filter`.
    pub rp_filter: u8,
    /// `net.ipv4.conf.IFACE.accept_local`.
    pub accept_local: bool,
    /// `net.ipv4.conf.IFACE.route_localnet`.
    pub route_localnet: bool,
    /// `net.ipv4.conf.IFACE.proxy_arp`.
    pub proxy_arp: bool,
    /// `NOARP`: frames go out without asking for a MAC address.
    pub noarp: bool,
    /// Answers ARP and NDP for its addresses (off for a fault: `neighbour silent`).
    pub answers_neighbours: bool,
    /// Why it is there.
    pub origin: Origin,
}

impl Link {
    /// A link of a kind that is up, with kernel defaults.
    pub fn new(
        name: impl Into<Arc<str>>,
        kind: LinkKind,
        mac: MacAddr,
        mtu_bytes: u32,
        origin: Origin,
    ) -> Self {
        Self {
            name: name.into(),
            mac,
            mtu_bytes,
            up: true,
            carrier: true,
            kind,
            port: None,
            addresses: Vec::new(),
            rp_filter: 0,
            accept_local: false,
            route_localnet: false,
            proxy_arp: false,
            noarp: false,
            answers_neighbours: true,
            origin,
        }
    }

    /// The loopback device: `lo`, MTU 65536, 127.0.0.1/8 and ::1/128.
    pub fn loopback() -> Self {
        let origin = Origin::implied("loopback device");
        let mut lo = Self::new("lo", LinkKind::Loopback, MacAddr::ZERO, 65536, origin.clone());
        for net in ["127.0.0.1/8", "::1/128"] {
            if let Ok(net) = net.parse() {
                lo.addresses.push(Address { net, scope: RouteScope::Host, origin: origin.clone() });
            }
        }
        lo
    }
}

/// What a link is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// `lo`.
    Loopback,
    /// One end of a veth pair; the other end is in a namespace of the same machine.
    Veth {
        /// The namespace of the other end, by its place in `MachinePlan::netns`.
        peer_netns: u32,
        /// The name of the other end there.
        peer: Arc<str>,
    },
    /// A bridge. Ports name it in [`BridgePort::bridge`].
    Bridge {
        /// How long a learned entry lives (`ageing_time`), in seconds.
        ageing_secs: u32,
    },
    /// A VXLAN device.
    Vxlan(Vxlan),
    /// A network card, plugged into a segment (or into nothing).
    Nic {
        /// The segment; `None` when no cable is plugged in.
        segment: Option<SegmentId>,
    },
    /// A dummy device: what is sent to it is gone.
    Dummy,
    /// A device that kubenet does not model (a tunnel, a VLAN, an Open vSwitch port …); frames that leave by it have
    /// an unknown fate.
    Other(String),
}

/// Settings of a VXLAN device (`ip -d link`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vxlan {
    /// The VXLAN network identifier.
    pub vni: u32,
    /// The UDP port, 8472 for flannel (the Linux default), 4789 by IANA.
    pub port: u16,
    /// The outer source address.
    pub local: Option<IpAddr>,
    /// The link that carries the outer packets.
    pub dev: Option<Arc<str>>,
    /// Whether it learns remote addresses from what arrives (`nolearning` = false).
    pub learning: bool,
}

/// A link's membership in a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePort {
    /// The bridge's name.
    pub bridge: Arc<str>,
    /// Frames may leave by the port they came in by.
    pub hairpin: bool,
    /// Isolated ports do not talk to each other.
    pub isolated: bool,
}

/// An address on a link, as `ip addr` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address with its prefix length.
    pub net: IpNet,
    /// How far it is valid.
    pub scope: RouteScope,
    /// Why it is there.
    pub origin: Origin,
}

/// A neighbour entry, as `ip neigh` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The IP address.
    pub addr: IpAddr,
    /// The link that it is reached by.
    pub dev: Arc<str>,
    /// Its MAC address; `None` while unresolved.
    pub mac: Option<MacAddr>,
    /// Its state.
    pub state: NeighbourState,
    /// Why it is there.
    pub origin: Origin,
}

/// An address that a machine answers ARP and NDP for on a link without holding it.
///
/// A program that opens a packet socket does so (MetalLB's speaker, a load balancer's), whatever the routes are. The kernel's own
/// entries (`ip neigh add proxy`) answer only where the address is routed by another link (`arp_process`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyNeighbour {
    /// The address.
    pub addr: IpAddr,
    /// The link on which it is asked for.
    pub dev: Arc<str>,
    /// Why it is there.
    pub origin: Origin,
}

/// States of a neighbour entry (`NUD_*`, RFC 4861 §7.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NeighbourState {
    /// Set by hand, never expires.
    Permanent,
    /// Set by hand, valid without a probe.
    Noarp,
    /// Confirmed lately.
    Reachable,
    /// Known, not confirmed lately: used, then probed.
    Stale,
    /// Used, probe scheduled.
    Delay,
    /// Being probed.
    Probe,
    /// Asked for, no answer yet.
    Incomplete,
    /// No answer.
    Failed,
    /// Nothing known.
    None,
}

/// A forwarding entry of a bridge or VXLAN device, as `bridge fdb` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbEntry {
    /// The MAC address.
    pub mac: MacAddr,
    /// The port (of a bridge) or the VXLAN device.
    pub dev: Arc<str>,
    /// `Some`: an entry of the bridge with this name; `None`: of the device itself (`self`).
    pub master: Option<Arc<str>>,
    /// For VXLAN: the machine to send to.
    pub dst: Option<IpAddr>,
    /// `permanent` entries never expire; others were learned or set `static`.
    pub permanent: bool,
    /// Why it is there.
    pub origin: Origin,
}
