//! What rtnetlink lists, as rows with the words of a plan.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use kubenet_core::addr::MacAddr;
use kubenet_core::plan::Vxlan;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkLayerType, LinkMessage,
};

use super::encode::ALIAS;
use super::socket::Route;

/// A link as the kernel lists it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) carrier: bool,
    pub(crate) noarp: bool,
    pub(crate) alias: String,
    /// The group that it is in; 0 where nobody has put it into one.
    pub(crate) group: u32,
    pub(crate) kind: RowKind,
    /// The bridge, by its number.
    pub(crate) master: Option<u32>,
    pub(crate) hairpin: bool,
    pub(crate) isolated: bool,
    /// Of a veth: the number of the other end, and of its namespace as this one counts them; `None` for this one.
    pub(crate) peer: Option<(u32, Option<i32>)>,
}

/// What a link is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RowKind {
    Loopback,
    /// A card, or what passes for one.
    Card,
    Veth,
    Bridge {
        ageing_secs: u32,
    },
    /// Without the name of the link below it.
    Vxlan {
        vxlan: Vxlan,
        over: Option<u32>,
    },
    Dummy,
    Other(String),
}

impl Row {
    /// The segment that its cable leads to, as its mark says.
    pub(crate) fn segment(&self) -> Option<u32> {
        self.alias.strip_prefix(ALIAS)?.strip_prefix(" segment ")?.parse().ok()
    }

    /// Whether it was made here.
    pub(crate) fn is_ours(&self) -> bool {
        self.alias == ALIAS || self.alias.strip_prefix(ALIAS).is_some_and(|rest| rest.starts_with(' '))
    }
}

/// The links of a namespace by name.
pub(crate) fn links(route: &mut Route) -> io::Result<BTreeMap<String, Row>> {
    let listing = route.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let rows = listing.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(message) => Some(row(&message)),
        _ => None,
    });
    Ok(rows.map(|row| (row.name.clone(), row)).collect())
}

/// A hardware address of six bytes.
pub(crate) fn mac(bytes: &[u8]) -> MacAddr {
    bytes.try_into().map_or(MacAddr::ZERO, MacAddr)
}

fn row(message: &LinkMessage) -> Row {
    let flags = message.header.flags;
    let loopback = message.header.link_layer_type == LinkLayerType::Loopback;
    let mut row = Row {
        index: message.header.index,
        name: String::new(),
        mac: MacAddr::ZERO,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        noarp: flags.contains(LinkFlags::Noarp),
        alias: String::new(),
        group: 0,
        kind: if loopback { RowKind::Loopback } else { RowKind::Card },
        master: None,
        hairpin: false,
        isolated: false,
        peer: None,
    };
    let (mut link, mut link_netns) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => row.name.clone_from(name),
            LinkAttribute::Address(bytes) => row.mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => row.mtu = *mtu,
            LinkAttribute::IfAlias(alias) => row.alias.clone_from(alias),
            LinkAttribute::Group(group) => row.group = *group,
            LinkAttribute::Controller(index) => row.master = Some(*index),
            LinkAttribute::Link(index) => link = Some(*index),
            LinkAttribute::LinkNetNsId(id) => link_netns = Some(*id),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| read_info(info, &mut row)),
            _ => {}
        }
    }
    if row.kind == RowKind::Veth {
        row.peer = link.map(|index| (index, link_netns));
    }
    row
}

fn read_info(info: &LinkInfo, row: &mut Row) {
    match info {
        LinkInfo::Kind(kind) => {
            row.kind = match kind {
                InfoKind::Veth => RowKind::Veth,
                InfoKind::Bridge => RowKind::Bridge { ageing_secs: 300 },
                InfoKind::Vxlan => {
                    let vxlan = Vxlan { vni: 0, port: 8472, local: None, dev: None, learning: true };
                    RowKind::Vxlan { vxlan, over: None }
                }
                InfoKind::Dummy => RowKind::Dummy,
                other => RowKind::Other(other.to_string()),
            }
        }
        LinkInfo::Data(InfoData::Bridge(data)) => {
            for it in data {
                if let (InfoBridge::AgeingTime(time), RowKind::Bridge { ageing_secs }) = (it, &mut row.kind) {
                    *ageing_secs = time / 100;
                }
            }
        }
        LinkInfo::Data(InfoData::Vxlan(data)) => {
            let RowKind::Vxlan { vxlan, over } = &mut row.kind else { return };
            for it in data {
                match it {
                    InfoVxlan::Id(vni) => vxlan.vni = *vni,
                    InfoVxlan::Port(port) => vxlan.port = *port,
                    InfoVxlan::Local(local) => vxlan.local = Some(IpAddr::V4(*local)),
                    InfoVxlan::Local6(local) => vxlan.local = Some(IpAddr::V6(*local)),
                    InfoVxlan::Learning(learning) => vxlan.learning = *learning,
                    InfoVxlan::Link(index) => *over = Some(*index),
                    _ => {}
                }
            }
        }
        LinkInfo::PortData(InfoPortData::BridgePort(data)) => {
            for it in data {
                match it {
                    InfoBridgePort::HairpinMode(on) => row.hairpin = *on,
                    InfoBridgePort::Isolated(on) => row.isolated = *on,
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
