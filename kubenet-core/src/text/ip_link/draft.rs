//! A link while it is read: what both forms say, before it is known what the rest of the list says about it.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{NETNS_UNSAID, NumberedLink};
use crate::addr::MacAddr;
use crate::plan::{Address, BridgePort, Link, LinkKind, Vxlan};
use crate::text::line::Span;
use crate::text::reader::Reader;

/// The kernel's default `ageing_time`, in seconds.
const AGEING_SECS: u32 = 300;

pub(super) struct Draft {
    pub(super) span: Span,
    pub(super) ifindex: u32,
    pub(super) name: Arc<str>,
    /// What stands behind `@`.
    pub(super) partner: Option<String>,
    pub(super) flags: Vec<String>,
    pub(super) mtu_bytes: u32,
    pub(super) master: Option<Arc<str>>,
    /// `link/ether`.
    pub(super) link_type: String,
    pub(super) mac: MacAddr,
    pub(super) netnsid: Option<u32>,
    pub(super) other_netns: bool,
    /// `-d` was given: a link without a kind is hardware.
    pub(super) detailed: bool,
    /// The first word of the details.
    pub(super) kind: Option<String>,
    pub(super) ageing_centisecs: Option<u32>,
    pub(super) hairpin: bool,
    pub(super) isolated: bool,
    pub(super) vxlan: Vxlan,
    pub(super) addresses: Vec<Address>,
}

impl Draft {
    pub(super) fn new(span: Span, ifindex: u32, name: &str, mtu_bytes: u32) -> Self {
        Self {
            span,
            ifindex,
            name: name.into(),
            partner: None,
            flags: Vec::new(),
            mtu_bytes,
            master: None,
            link_type: String::from("ether"),
            mac: MacAddr::ZERO,
            netnsid: None,
            other_netns: false,
            detailed: false,
            kind: None,
            ageing_centisecs: None,
            hairpin: false,
            isolated: false,
            vxlan: Vxlan { vni: 0, port: 0, local: None, dev: None, learning: true },
            addresses: Vec::new(),
        }
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    fn finish(mut self, bridges: &BTreeSet<Arc<str>>, reader: &mut Reader) -> NumberedLink {
        for flag in &self.flags {
            let read =
                ["UP", "LOWER_UP", "NO-CARRIER", "M-DOWN", "NOARP", "LOOPBACK", "BROADCAST", "MULTICAST"];
            if !read.contains(&&**flag) {
                reader.note(self.span, format!("the flag {flag} of a link is not modelled"));
            }
        }
        let kind = self.link_kind(bridges, reader);
        let mut link = Link::new(self.name.clone(), kind, self.mac, self.mtu_bytes, reader.origin(self.span));
        link.up = self.has("UP");
        // A link that is down does not say whether its cable is in.
        link.carrier = self.has("LOWER_UP") || !link.up;
        link.noarp = self.has("NOARP");
        link.port = self.master.take().map(|bridge| BridgePort {
            bridge,
            hairpin: self.hairpin,
            isolated: self.isolated,
        });
        link.addresses = self.addresses;
        NumberedLink { ifindex: self.ifindex, link }
    }

    fn link_kind(&mut self, bridges: &BTreeSet<Arc<str>>, reader: &mut Reader) -> LinkKind {
        if self.has("LOOPBACK") {
            return LinkKind::Loopback;
        }
        let ageing_secs = self.ageing_centisecs.map_or(AGEING_SECS, |time| time / 100);
        match self.kind.as_deref() {
            Some("veth") => return self.veth(),
            Some("bridge") => return LinkKind::Bridge { ageing_secs },
            Some("vxlan") => {
                return LinkKind::Vxlan(self.vxlan.clone());
            }
            Some("dummy") => return LinkKind::Dummy,
            Some(other) => return LinkKind::Other(other.into()),
            None => {}
        }
        if self.link_type != "ether" {
            return LinkKind::Other(self.link_type.clone());
        }
        if bridges.contains(&self.name) {
            return LinkKind::Bridge { ageing_secs };
        }
        if self.partner.is_some() {
            return self.veth();
        }
        if self.detailed {
            return LinkKind::Nic { segment: None };
        }
        let message = "what kind of link this is is not said: it counts as a network card (ip -d link tells)";
        reader.note(self.span, message);
        LinkKind::Nic { segment: None }
    }

    fn veth(&mut self) -> LinkKind {
        let partner = self.partner.take().unwrap_or_else(|| String::from("NONE"));
        let elsewhere = self.other_netns || partner.strip_prefix("if").is_some_and(is_number);
        let peer_netns =
            if elsewhere { self.netnsid.unwrap_or(NETNS_UNSAID) } else { self.netnsid.unwrap_or(0) };
        LinkKind::Veth { peer_netns, peer: partner.into() }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The links of a whole list.
pub(super) fn finish(drafts: Vec<Draft>, reader: &mut Reader) -> Vec<NumberedLink> {
    let bridges: BTreeSet<Arc<str>> = drafts.iter().filter_map(|draft| draft.master.clone()).collect();
    drafts.into_iter().map(|draft| draft.finish(&bridges, reader)).collect()
}

/// What is told of an address that has more than the plan holds.
pub(super) fn check_broadcast(net: ipnet::IpNet, broadcast: IpAddr, span: Span, reader: &mut Reader) {
    if net.broadcast() != broadcast {
        reader.note(span, format!("the broadcast address {broadcast} of {net} is not modelled"));
    }
}
