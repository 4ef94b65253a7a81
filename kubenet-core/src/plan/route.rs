//! Routes and routing rules, as `ip route` and `ip rule` show them.

use alloc::string::String;
use alloc::sync::Arc;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{Family, Origin};

/// The table of local and broadcast addresses.
pub const TABLE_LOCAL: u32 = 255;
/// The table that `ip route` shows.
pub const TABLE_MAIN: u32 = 254;
/// The last of the kernel's three tables, usually empty.
pub const TABLE_DEFAULT: u32 = 253;

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// What it matches; `0.0.0.0/0` or `::/0` for `default`.
    pub dst: IpNet,
    /// What it does.
    pub kind: RouteKind,
    /// Where it leads: one for most, several for multipath, none for `blackhole` and its sisters.
    pub next_hops: SmallVec<[NextHop; 1]>,
    /// The table, [`TABLE_MAIN`] for most.
    pub table: u32,
    /// Who made it.
    pub protocol: RouteProtocol,
    /// How far the destination is.
    pub scope: RouteScope,
    /// Lower is preferred among equal prefixes; 0 in IPv4 and 1024 in IPv6 when not said.
    pub metric: u32,
    /// The source address to use (`src`).
    pub prefsrc: Option<IpAddr>,
    /// A smaller path MTU than the link's.
    pub mtu_bytes: Option<u32>,
    /// Words that were parsed and are printed again, but mean nothing to the model (`pref medium`, `advmss 1460`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Arc<str>>,
    /// A `#` comment that stood behind it in a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Arc<str>>,
    /// Why it is there.
    pub origin: Origin,
}

impl Route {
    /// A unicast route of the main table by one next hop.
    pub fn unicast(dst: IpNet, via: Option<IpAddr>, dev: impl Into<Arc<str>>, origin: Origin) -> Self {
        let mut next_hops = SmallVec::new();
        next_hops.push(NextHop { via, dev: Some(dev.into()), weight: 1, onlink: false, linkdown: false });
        Self {
            dst: dst.trunc(),
            kind: RouteKind::Unicast,
            next_hops,
            table: TABLE_MAIN,
            protocol: RouteProtocol::Boot,
            scope: if via.is_some() || matches!(dst, IpNet::V6(_)) {
                RouteScope::Global
            } else {
                RouteScope::Link
            },
            metric: match dst {
                IpNet::V4(_) => 0,
                IpNet::V6(_) => 1024,
            },
            prefsrc: None,
            mtu_bytes: None,
            carried: None,
            comment: None,
            origin,
        }
    }
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// The router; `None` when the destination itself is a neighbour.
    pub via: Option<IpAddr>,
    /// The link.
    pub dev: Option<Arc<str>>,
    /// Its share among several next hops, from 1.
    pub weight: u32,
    /// The router counts as a neighbour even when no prefix says so.
    pub onlink: bool,
    /// The kernel marked it `linkdown`.
    pub linkdown: bool,
}

/// What a route does (`RTN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Forwards to a next hop.
    Unicast,
    /// The address is ours.
    Local,
    /// A broadcast address of ours.
    Broadcast,
    /// An anycast address of ours.
    Anycast,
    /// A multicast destination.
    Multicast,
    /// Drops in silence.
    Blackhole,
    /// Drops with ICMP host unreachable (3/1; ICMPv6 1/0 address family as the kernel says).
    Unreachable,
    /// Drops with ICMP administratively prohibited (3/13).
    Prohibit,
    /// Goes on with the next rule.
    Throw,
}

/// Who made a route (`RTPROT_*`); numbers without a name are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteProtocol {
    /// 0.
    Unspec,
    /// 1: an ICMP redirect.
    Redirect,
    /// 2: the kernel itself.
    Kernel,
    /// 3: a plain `ip route add`.
    Boot,
    /// 4: an administrator.
    Static,
    /// 9: router advertisement.
    Ra,
    /// 12: BIRD.
    Bird,
    /// 16: DHCP.
    Dhcp,
    /// 186: BGP (FRR).
    Bgp,
    /// 188: OSPF (FRR).
    Ospf,
    /// Any other number.
    Other(u8),
}

impl RouteProtocol {
    /// Its number (`RTPROT_*`).
    pub const fn number(self) -> u8 {
        match self {
            Self::Unspec => 0,
            Self::Redirect => 1,
            Self::Kernel => 2,
            Self::Boot => 3,
            Self::Static => 4,
            Self::Ra => 9,
            Self::Bird => 12,
            Self::Dhcp => 16,
            Self::Bgp => 186,
            Self::Ospf => 188,
            Self::Other(number) => number,
        }
    }

    /// The one with this number.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Unspec,
            1 => Self::Redirect,
            2 => Self::Kernel,
            3 => Self::Boot,
            4 => Self::Static,
            9 => Self::Ra,
            12 => Self::Bird,
            16 => Self::Dhcp,
            186 => Self::Bgp,
            188 => Self::Ospf,
            other => Self::Other(other),
        }
    }
}

/// How far a destination is (`RT_SCOPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteScope {
    /// Anywhere (0).
    Global,
    /// Within the site (200).
    Site,
    /// On the link (253).
    Link,
    /// On this machine (254).
    Host,
    /// Nowhere (255).
    Nowhere,
    /// Any other number.
    Other(u8),
}

/// One line of `ip rule`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpRule {
    /// Its family.
    pub family: Family,
    /// Lower comes first.
    pub priority: u32,
    /// Matches when none of the rest does (`not`).
    pub invert: bool,
    /// Source prefix.
    pub from: Option<IpNet>,
    /// Destination prefix.
    pub to: Option<IpNet>,
    /// Input link.
    pub iif: Option<Arc<str>>,
    /// Output link, for local sockets.
    pub oif: Option<Arc<str>>,
    /// Firewall mark and mask.
    pub fwmark: Option<(u32, u32)>,
    /// What it does.
    pub action: RuleAction,
    /// Words that are carried and printed but not modelled; a packet that gets here has an unknown fate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<String>,
    /// Why it is there.
    pub origin: Origin,
}

/// What a routing rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// Looks up a table.
    Lookup(u32),
    /// Drops in silence.
    Blackhole,
    /// Drops with ICMP unreachable.
    Unreachable,
    /// Drops with ICMP prohibited.
    Prohibit,
    /// Goes on at another priority.
    Goto(u32),
    /// Does nothing.
    Nop,
}
