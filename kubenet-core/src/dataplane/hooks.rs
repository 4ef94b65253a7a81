//! Netfilter hooks: rules, connection tracking and NAT in the order of their priorities.
//!
//! Sources: `net/netfilter/core.c nf_hook_slow`, `uapi/linux/netfilter_ipv4.h`; spec/linux.md §1. Chains for NAT see the
//! first packet of a connection only. Where nothing is configured a hook costs one test.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::choices::Choices;
use super::conntrack::{Ct, Refused};
use super::event::{EventKind, Recorder, Stage};
use super::fib::{Fib, Found, Query};
use super::frame::Skb;
use super::ipvs::Passed;
use super::machine::Stack;
use super::nat;
use super::netfilter::{
    Base, Decision, Hit, Host, Kinds, NatKind, Prepared, Rules, Seen, Sets, WalkMode, is_cut_off, run,
};
use super::netns::NetnsState;
use super::reason::DropReason;
use crate::addr::{Family, Protocol};
use crate::packet::{IcmpError, Ip, Side};
use crate::plan::netfilter::{CtState, Reject};
use crate::plan::nft::ChainKind;
use crate::plan::xt::{AddrType, SetRef};
use crate::plan::{Hook, Netfilter, Netns, Origin, RouteKind, Truth, Unknown};

/// `NF_IP_PRI_CONNTRACK`.
const CONNTRACK: i32 = -200;
/// `NF_IP_PRI_NAT_DST`.
const DSTNAT: i32 = -100;
/// `NF_IP_PRI_NAT_SRC`.
const SRCNAT: i32 = 100;

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// Runs what hangs at a hook; `None` when the packet ended there.
    #[inline]
    pub(super) fn hooks(&mut self, hook: Hook, skb: Skb, iif: Option<u32>, oif: Option<u32>) -> Option<Skb> {
        let skb = if self.plan.chains.is_empty() { skb } else { self.guards(hook, skb, iif, oif)? };
        if self.plan.netfilter.is_empty() { Some(skb) } else { self.netfilter(hook, skb, iif, oif) }
    }

    /// What hangs at a hook, in the order of its priorities.
    fn netfilter(&mut self, hook: Hook, mut skb: Skb, iif: Option<u32>, oif: Option<u32>) -> Option<Skb> {
        let (at, stage) = (link_of(hook, iif, oif), stage_of(hook));
        if hook == Hook::Prerouting {
            let ip = skb.ip().copied()?;
            skb = self.defragment(iif.unwrap_or(0), &ip, skb)?;
        }
        let family = skb.ip()?.family();
        let stations = self.st.stations(&self.plan.netfilter, family, hook);
        for station in &*stations {
            let passed = match station {
                Station::Rules(_, passing) if !R::ON && self.passes(*passing, &skb) => Ok(()),
                Station::Rules(base, _) => self.consult(hook, base, &mut skb, iif, oif).map(|_| ()),
                Station::Track => self.track(&mut skb, at, stage),
                Station::Translate(bases) => self.translate(hook, bases, &mut skb, iif, oif),
                Station::Balance => {
                    skb = self.balance(hook, skb, at, stage)?;
                    Ok(())
                }
                Station::Confirm => self.confirm(&mut skb),
            };
            if let Err(end) = passed {
                self.end(skb, at, stage, end);
                return None;
            }
        }
        Some(skb)
    }

    /// Whether a packet is of the kinds that pass a base chain.
    fn passes(&self, passing: Kinds, skb: &Skb) -> bool {
        let state = match self.st.conntrack.as_ref().and_then(|table| table.state(&skb.ct)) {
            Some(state) => state,
            None if skb.ct == Ct::Untracked => CtState::Untracked,
            None => CtState::Invalid,
        };
        passing.contain(state, skb.mark) && skb.ip().is_some_and(|ip| !is_cut_off(ip, &skb.bytes))
    }

    /// IPVS's hook.
    fn balance(&mut self, hook: Hook, skb: Skb, at: Option<u32>, stage: Stage) -> Option<Skb> {
        let passed = match hook {
            Hook::Input | Hook::Output => self.ipvs_in(hook, skb, at, stage),
            Hook::Forward | Hook::Prerouting | Hook::Postrouting | Hook::Ingress | Hook::Egress => {
                self.ipvs_out(skb, at, stage)
            }
        };
        match passed {
            Passed::On(skb) => Some(skb),
            Passed::Gone => None,
        }
    }

    /// Conntrack's hook.
    fn track(&mut self, skb: &mut Skb, at: Option<u32>, stage: Stage) -> Result<(), End> {
        let Some(table) = self.st.conntrack.as_mut() else { return Ok(()) };
        let Some(ip) = skb.ip().copied() else { return Ok(()) };
        // Seen before: it comes back by the loopback, or answers a packet (`nf_conntrack_in`).
        if skb.ct == Ct::None {
            skb.ct = table.track(&ip, &skb.bytes, self.now).map_err(|refused| End::of(&refused))?;
        }
        if R::ON
            && let Some(table) = self.st.conntrack.as_ref()
            && let (Some(seen), Some(connection)) = (table.seen(&skb.ct), table.of(&skb.ct))
        {
            let kind = EventKind::Tracked { state: seen.state, connection: connection.to_string() };
            self.note(skb, at, stage, || (kind, None));
        }
        Ok(())
    }

    /// NAT's hook: the first packet's connection is bound, then every packet is changed as its connection says.
    fn translate(
        &mut self,
        hook: Hook,
        bases: &[Base],
        skb: &mut Skb,
        iif: Option<u32>,
        oif: Option<u32>,
    ) -> Result<(), End> {
        let (at, stage) = (link_of(hook, iif, oif), stage_of(hook));
        let Some(side) = nat::side_of(hook) else { return Ok(()) };
        let mut origin = None;
        if let Ct::New(connection) = &skb.ct
            && !connection.is_bound(side)
        {
            let mut range = None;
            for base in bases {
                if let Some((kind, why)) = self.consult(hook, base, skb, iif, oif)? {
                    origin = why;
                    range = self.nat_range(kind, hook, skb, iif, oif);
                    if range.is_none() {
                        return Err(End::Drop("no address to translate to".into(), origin));
                    }
                    break;
                }
            }
            if let Err(why) = self.nat_bind(skb, side, range) {
                return Err(End::Drop(why, origin));
            }
        }
        self.nat_packet(skb, side, at, stage, origin);
        Ok(())
    }

    /// The connection of a packet that leaves, or that a socket gets, is kept.
    fn confirm(&mut self, skb: &mut Skb) -> Result<(), End> {
        if !matches!(skb.ct, Ct::New(_)) {
            return Ok(());
        }
        let (Ct::New(connection), Some(table)) = (core::mem::take(&mut skb.ct), self.st.conntrack.as_mut())
        else {
            return Ok(());
        };
        skb.ct = table.confirm(*connection, self.now).map_err(|refused| End::of(&refused))?;
        Ok(())
    }

    /// Asks a base chain. A chain for NAT may say how the connection is to be bound, and why.
    fn consult(
        &mut self,
        hook: Hook,
        base: &Base,
        skb: &mut Skb,
        iif: Option<u32>,
        oif: Option<u32>,
    ) -> Result<Option<(NatKind, Option<Origin>)>, End> {
        let (plan, at, stage) = (self.plan, link_of(hook, iif, oif), stage_of(hook));
        let Some(ip) = skb.ip().copied() else { return Ok(None) };
        let name = |link: Option<u32>| link.and_then(|l| plan.links.get(l as usize)).map(|l| &*l.name);
        // Taken out while the rules look at the rest of the namespace.
        let Some(prepared) = self.st.prepared.take() else { return Ok(None) };
        let mut rules = self.st.rules.take().unwrap_or_default();
        let mut hits: Vec<Hit> = Vec::new();
        let mut seen = Seen {
            hook,
            ip: &ip,
            frame: &skb.bytes,
            iif: name(iif),
            oif: name(oif),
            phys_iif: name(skb.phys_in),
            phys_oif: name(skb.phys_out),
            bridged: skb.phys_out.is_some(),
            from_socket: skb.from_socket,
            mark: skb.mark,
            ct: self.st.conntrack.as_ref().and_then(|table| table.seen(&skb.ct)),
            notrack: skb.ct == Ct::Untracked,
            ipvs: skb.ipvs,
            now: self.now,
        };
        let ct_mark = seen.ct.map(|ct| ct.mark);
        let host = HostView { plan, state: self.st };
        let what = Rules { netfilter: &plan.netfilter, prepared: &prepared, mode: WalkMode::Indexed };
        let decision = if R::ON {
            run(base, &mut seen, what, &mut rules, &host, self.choices, &mut hits)
        } else {
            run(base, &mut seen, what, &mut rules, &host, self.choices, &mut ())
        };
        let (mark, notrack, new_ct_mark) = (seen.mark, seen.notrack, seen.ct.map(|ct| ct.mark));
        self.st.rules = Some(rules);
        self.st.prepared = Some(prepared);
        skb.mark = mark;
        if notrack && skb.ct == Ct::None {
            skb.ct = Ct::Untracked;
        }
        if let (true, Some(mark), Some(table)) =
            (ct_mark != new_ct_mark, new_ct_mark, self.st.conntrack.as_mut())
            && let Some(connection) = table.of_mut(&mut skb.ct)
        {
            connection.mark = mark;
        }
        let by = hits.last().map_or_else(String::new, |hit| {
            let rule = hit.rule.map_or_else(String::new, |rule| format!(" rule {rule}"));
            format!(" ({} {}{rule})", hit.table, hit.chain)
        });
        let mut decided = None;
        for hit in hits {
            decided = hit.origin.clone();
            let Hit { table, chain, rule, did, origin } = hit;
            self.note(skb, at, stage, || (EventKind::Rule { table, chain, rule, did }, origin));
        }
        match decision {
            Decision::Accept => Ok(None),
            Decision::Nat(kind) => Ok(Some((kind, decided))),
            Decision::Drop => {
                self.st.refused = true;
                Err(End::Drop(format!("a rule drops it{by}"), decided))
            }
            Decision::Reject(reject) => Err(End::Reject(reject, by, decided)),
            Decision::Unknown(unknown) => Err(End::Unknown(unknown, decided)),
        }
    }

    /// Ends a packet at a hook.
    #[cold]
    fn end(&mut self, skb: Skb, at: Option<u32>, stage: Stage, end: End) {
        match end {
            End::Drop(why, origin) => {
                self.drop(skb, at, stage, DropReason::NetfilterDrop, || (why, origin));
            }
            End::Reject(reject, by, origin) => self.reject(skb, at, stage, reject, (by, origin)),
            End::Unknown(unknown, origin) => self.lose(skb, at, stage, unknown, origin),
        }
    }

    /// Ends a packet with an answer (`nf_send_unreach`, `nf_send_reset`).
    fn reject(
        &mut self,
        skb: Skb,
        at: Option<u32>,
        stage: Stage,
        reject: Reject,
        (by, origin): (String, Option<Origin>),
    ) {
        let about = skb.clone();
        let Some(ip) = skb.ip().copied() else { return };
        let answer = answer_of(reject, ip.family());
        let words = match answer {
            Some(_) => "a rule rejects it with an ICMP error",
            None => "a rule rejects it with a TCP reset",
        };
        let cause = self.drop(skb, at, stage, DropReason::NetfilterDrop, || (format!("{words}{by}"), origin));
        self.st.refused = true;
        match answer {
            Some(error) => self.icmp_error(about, cause, error),
            None => self.reject_reset(&about, &ip, cause),
        }
    }
}

/// The ICMP error of a rejection; `None` is a TCP reset.
const fn answer_of(reject: Reject, family: Family) -> Option<IcmpError> {
    Some(match (reject, family) {
        (Reject::TcpReset, _) => return None,
        (Reject::NetUnreachable | Reject::IcmpxNoRoute, _) => IcmpError::NetUnreachable,
        (Reject::HostUnreachable | Reject::IcmpxHostUnreachable, _) => IcmpError::HostUnreachable,
        (Reject::ProtoUnreachable, _) => IcmpError::ProtocolUnreachable,
        (Reject::PortUnreachable | Reject::IcmpxPortUnreachable, _) => IcmpError::PortUnreachable,
        (Reject::NetProhibited, _) => IcmpError::Unreachable(9),
        (Reject::HostProhibited, _) => IcmpError::Unreachable(10),
        (Reject::AdminProhibited | Reject::IcmpxAdminProhibited, _) => IcmpError::Prohibited,
        (Reject::PolicyFail, _) => IcmpError::Unreachable(5),
        (Reject::RejectRoute, _) => IcmpError::Unreachable(6),
    })
}

/// How a packet ends at a hook, and by what.
enum End {
    Drop(String, Option<Origin>),
    /// With an answer; the words name the rule.
    Reject(Reject, String, Option<Origin>),
    Unknown(Unknown, Option<Origin>),
}

impl End {
    fn of(refused: &Refused) -> Self {
        Self::Drop(refused.to_string(), None)
    }
}

/// Something that hangs at a hook.
#[derive(Debug)]
pub(super) enum Station {
    /// A base chain that is not for NAT, and the packets that it lets pass.
    Rules(Base, Kinds),
    /// Conntrack looks the packet up.
    Track,
    /// NAT, with the base chains that say how.
    Translate(Vec<Base>),
    /// IPVS.
    Balance,
    /// The connection is kept.
    Confirm,
}

/// What hangs at a hook for a family, in order.
pub(super) fn stations(
    netfilter: &Netfilter,
    prepared: &Prepared,
    family: Family,
    hook: Hook,
    ipvs: bool,
) -> Vec<Station> {
    let mut stations: Vec<(i32, Station)> = Vec::new();
    let mut nat = Vec::new();
    for base in prepared.bases(family, hook) {
        match base.kind {
            ChainKind::Nat => nat.push(*base),
            ChainKind::Filter | ChainKind::Route => {
                let passing = prepared.passing(netfilter, base);
                stations.push((base.priority, Station::Rules(*base, passing)));
            }
        }
    }
    let mut hang = |priority, station| {
        // Before the chains of the same priority: the kernel's own are registered first.
        let at = stations.partition_point(|(other, _)| *other < priority);
        stations.insert(at, (priority, station));
    };
    match nat::side_of(hook) {
        Some(Side::Destination) => {
            hang(CONNTRACK, Station::Track);
            hang(DSTNAT, Station::Translate(nat));
            if ipvs && hook == Hook::Output {
                hang(DSTNAT + 1, Station::Balance);
            }
        }
        Some(Side::Source) => {
            if ipvs && hook == Hook::Input {
                hang(SRCNAT - 2, Station::Balance);
            }
            hang(SRCNAT, Station::Translate(nat));
            hang(i32::MAX, Station::Confirm);
        }
        None if ipvs && hook == Hook::Forward => hang(SRCNAT - 1, Station::Balance),
        None => {}
    }
    stations.into_iter().map(|(_, station)| station).collect()
}

/// What rules ask of routing, answered from a namespace's own tables.
struct HostView<'n> {
    plan: &'n Netns,
    state: &'n NetnsState,
}

impl HostView<'_> {
    /// What routing says of a destination. O(routes) where no packet had the tables built yet.
    fn route<T>(&self, dst: IpAddr, mark: u32, read: impl FnOnce(Found<'_>) -> T) -> T {
        let query = Query { dst, src: None, iif: None, oif: None, mark };
        match self.state.built_fib(dst) {
            Some(fib) => read(fib.lookup(self.plan, &query)),
            None => read(Fib::for_destination(self.plan, dst).lookup(self.plan, &query)),
        }
    }
}

impl Sets for HostView<'_> {
    fn contains(&self, set: &SetRef, _: &Seen<'_>) -> Truth {
        Truth::Unknown(Unknown {
            why: format!("a rule asks for the set {}, which is not there", set.name),
            what_would_settle_it: format!("ipset save {}", set.name),
        })
    }
}

impl Host for HostView<'_> {
    fn addr_type(&self, addr: IpAddr, link: Option<&str>) -> AddrType {
        let group = match addr {
            IpAddr::V4(a) if a.is_broadcast() || self.state.broadcast.contains_key(&a) => {
                return AddrType::Broadcast;
            }
            IpAddr::V4(a) => a.is_multicast(),
            IpAddr::V6(a) => a.is_multicast(),
        };
        if group {
            return AddrType::Multicast;
        }
        if let Some(holder) = self.state.local_link(addr) {
            let holds = link.is_none_or(|name| {
                self.plan.links.get(holder as usize).is_some_and(|holder| &*holder.name == name)
            });
            if holds {
                return AddrType::Local;
            }
        }
        self.route(addr, 0, |found| match found {
            Found::Route { route, .. } => {
                self.plan.routes.get(route as usize).map_or(AddrType::Unicast, |route| match route.kind {
                    RouteKind::Unicast | RouteKind::Local => AddrType::Unicast,
                    RouteKind::Broadcast => AddrType::Broadcast,
                    RouteKind::Anycast => AddrType::Anycast,
                    RouteKind::Multicast => AddrType::Multicast,
                    RouteKind::Blackhole => AddrType::Blackhole,
                    RouteKind::Unreachable => AddrType::Unreachable,
                    RouteKind::Prohibit => AddrType::Prohibit,
                    RouteKind::Throw => AddrType::Throw,
                })
            }
            Found::Rule(_) | Found::None | Found::Unmodelled(_) => AddrType::Unicast,
        })
    }

    fn route_link(&self, dst: IpAddr, mark: u32) -> Option<(&str, u32)> {
        let link = self.route(dst, mark, |found| match found {
            Found::Route { hops, .. } => hops.first()?.link,
            Found::Rule(_) | Found::None | Found::Unmodelled(_) => None,
        })?;
        Some((&self.plan.links.get(link as usize)?.name, link + 1))
    }

    fn link_index(&self, name: &str) -> Option<u32> {
        self.plan.link_named(name).map(|(place, _)| place as u32 + 1)
    }
}

/// The link that an event at a hook names: on the way out, the one that the packet leaves by.
pub(super) fn link_of(hook: Hook, iif: Option<u32>, oif: Option<u32>) -> Option<u32> {
    match hook {
        Hook::Ingress | Hook::Prerouting | Hook::Input | Hook::Forward => iif.or(oif),
        Hook::Output | Hook::Postrouting | Hook::Egress => oif.or(iif),
    }
}

pub(super) const fn stage_of(hook: Hook) -> Stage {
    match hook {
        Hook::Ingress => Stage::Ingress,
        Hook::Prerouting => Stage::Prerouting,
        Hook::Input => Stage::Input,
        Hook::Forward => Stage::Forward,
        Hook::Output => Stage::Output,
        Hook::Postrouting => Stage::Postrouting,
        Hook::Egress => Stage::Egress,
    }
}

/// The transport of an IP packet, if it is one that the model names.
pub(super) fn transport(ip: &Ip) -> Option<Protocol> {
    let family = ip.family();
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Icmp]
        .into_iter()
        .find(|p| p.number(family) == ip.protocol)
}
