//! Changes: what has to be done to a machine, one step each, as plain data.
//!
//! In: nothing; [`diff`](super::diff) makes them. Out: what the Linux adapter does to a kernel and [`apply`](super::apply) to a plan.
//! Each says the whole of what it needs, so that it can be done twice. Printed, a change is the command that a person would type;
//! text from outside is quoted.

mod show;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::ipvs::VirtualServer;
use super::{
    BridgePort, FdbEntry, IpRule, IpSet, IpSetEntry, Link, LinkKind, MacAddr, Neighbour, Route, RouteScope,
    VirtualId, nft, xt,
};
use crate::addr::Family;

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The namespace, by its name; empty for the machine's own.
    pub netns: Arc<str>,
    /// What is done there.
    pub what: What,
}

/// What is done in a namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// The namespace itself is made. Its `lo` is down.
    AddNetns,
    /// The namespace goes, and what is left in it.
    RemoveNetns,
    /// A link is made: with its kind, MAC address and MTU; down, and no port of a bridge.
    AddLink {
        /// The link, without addresses.
        link: Box<Link>,
        /// The other end of a veth pair, which is made with it.
        peer: Option<Box<Peer>>,
    },
    /// A link goes, and the other end of a veth pair with it.
    RemoveLink {
        /// Its name.
        link: Arc<str>,
        /// What it is.
        kind: LinkKind,
    },
    /// A link is set.
    SetLink {
        /// Its name.
        link: Arc<str>,
        /// What is set.
        setting: LinkSetting,
    },
    /// An address is put on a link. It brings no route of its prefix with it.
    AddAddress {
        /// The link's name.
        link: Arc<str>,
        /// The address with its prefix length.
        net: IpNet,
        /// How far it is valid.
        scope: RouteScope,
    },
    /// An address goes.
    RemoveAddress {
        /// The link's name.
        link: Arc<str>,
        /// The address with its prefix length.
        net: IpNet,
    },
    /// A route is added.
    AddRoute(Route),
    /// A route goes.
    RemoveRoute(Route),
    /// A routing rule is added.
    AddRule(IpRule),
    /// A routing rule goes.
    RemoveRule(IpRule),
    /// A neighbour entry is set.
    AddNeighbour(Neighbour),
    /// A neighbour entry goes.
    RemoveNeighbour(Neighbour),
    /// A forwarding entry is set.
    AddFdb(FdbEntry),
    /// A forwarding entry goes.
    RemoveFdb(FdbEntry),
    /// A sysctl is set.
    Sysctl {
        /// Its name, with `/` between the words, since names of links may hold dots.
        key: Arc<str>,
        /// Its value.
        value: u32,
    },
    /// Sets of `ipset` change.
    Ipset(IpsetChange),
    /// Tables of `nft` change, in one transaction.
    Nft(NftChange),
    /// Tables of `iptables` or `ip6tables` change, those of one family in one transaction each.
    Xt(XtChange),
    /// Virtual servers change.
    Ipvs(IpvsChange),
}

/// The other end of a veth pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// The namespace that it is in, by its name.
    pub netns: Arc<str>,
    /// The link there, without addresses.
    pub link: Link,
}

/// What is set on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkSetting {
    /// The hardware address.
    Mac(MacAddr),
    /// The largest IP packet, in bytes.
    Mtu(u32),
    /// Administratively up or down.
    Up(bool),
    /// `NOARP`.
    Noarp(bool),
    /// The bridge that it is a port of, and how; `None` takes it out.
    Port(Option<BridgePort>),
    /// How long a bridge keeps a learned entry, in seconds.
    Ageing(u32),
}

/// Sets of `ipset` that change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IpsetChange {
    /// Sets that are made, with their entries.
    pub added: Vec<Arc<IpSet>>,
    /// Sets that stay and change.
    pub edited: Vec<IpsetEdit>,
    /// Sets that go.
    pub removed: Vec<Arc<str>>,
}

/// A set of `ipset` that stays and changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IpsetEdit {
    /// The set, without entries.
    pub set: Arc<IpSet>,
    /// Entries that come.
    pub added: Vec<IpSetEntry>,
    /// Entries that go.
    pub removed: Vec<IpSetEntry>,
}

/// Tables of `nft` that change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NftChange {
    /// Tables that are made whole. What has the same name goes.
    pub added: Vec<nft::Table>,
    /// Tables that stay and change.
    pub edited: Vec<NftEdit>,
    /// Tables that go.
    pub removed: Vec<(nft::TableFamily, Arc<str>)>,
}

/// A table of `nft` that stays and changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NftEdit {
    /// The table's family.
    pub family: nft::TableFamily,
    /// The table's name.
    pub table: Arc<str>,
    /// Sets and maps that are made, with their elements.
    pub sets_added: Vec<Arc<nft::Set>>,
    /// Sets and maps that go, with their elements.
    pub sets_removed: Vec<Arc<nft::Set>>,
    /// Sets and maps whose elements change: the set with the elements that come only.
    pub elements_added: Vec<nft::Set>,
    /// The same with the elements that go only.
    pub elements_removed: Vec<nft::Set>,
    /// Chains that are made.
    pub chains_added: Vec<Arc<nft::Chain>>,
    /// Chains whose rules are replaced.
    pub chains_replaced: Vec<Arc<nft::Chain>>,
    /// Chains that go.
    pub chains_removed: Vec<Arc<str>>,
}

/// Tables of one family of x_tables that change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct XtChange {
    /// `iptables` or `ip6tables`.
    pub family: Family,
    /// What changes in each table, in the order of the plan.
    pub tables: Vec<XtEdit>,
}

/// A table of x_tables that changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct XtEdit {
    /// The table's name.
    pub table: Arc<str>,
    /// Chains of our own that are made, or whose rules are replaced.
    pub chains: Vec<Arc<xt::Chain>>,
    /// Chains of our own that go.
    pub removed: Vec<Arc<str>>,
    /// Built-in chains, which others use too.
    pub builtin: Vec<XtBuiltin>,
}

/// A built-in chain in which rules of ours come and go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct XtBuiltin {
    /// The chain's name.
    pub chain: Arc<str>,
    /// The policy, where it changes.
    pub policy: Option<xt::Policy>,
    /// Rules of ours that go.
    pub removed: Vec<xt::Rule>,
    /// Rules of ours that come, before all others, in this order.
    pub inserted: Vec<xt::Rule>,
}

/// Virtual servers that change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IpvsChange {
    /// Virtual servers that are made, with their real servers.
    pub added: Vec<Arc<VirtualServer>>,
    /// Virtual servers that stay and change: as they were, and as they become.
    pub edited: Vec<(Arc<VirtualServer>, Arc<VirtualServer>)>,
    /// Virtual servers that go.
    pub removed: Vec<VirtualId>,
}
