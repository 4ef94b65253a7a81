//! From outcomes to findings, one service port at a time.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::bench::{Fate, Outcome, Packet};
use super::{Finding, FindingKind, Sender};
use crate::addr::Protocol;
use crate::compile::service::{Endpoint, Port};
use crate::dataplane::Probability;

/// What becomes of a packet by the rules that are called for, and by those that were observed.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) packet: Packet,
    pub(super) desired: Outcome,
    pub(super) observed: Outcome,
}

/// Judges a service port.
#[derive(Debug)]
pub(super) struct Judge<'j> {
    node: Arc<str>,
    port: &'j Port,
    service: String,
    all: Vec<Compared>,
    unknown: Vec<(Packet, String)>,
}

impl<'j> Judge<'j> {
    pub(super) fn new(node: &Arc<str>, port: &'j Port) -> Self {
        let record = &port.record;
        let service =
            format!("{}/{}:{}{}", record.namespace, record.name, record.port, suffix(record.protocol));
        Self { node: node.clone(), port, service, all: Vec::new(), unknown: Vec::new() }
    }

    pub(super) fn take(&mut self, compared: Compared) {
        match compared.observed.unknown().or_else(|| compared.desired.unknown()) {
            Some(why) => self.unknown.push((compared.packet, why.to_string())),
            None => self.all.push(compared),
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.missing_frontends(&mut findings);
        findings.extend(self.missing_endpoints());
        self.stray_endpoints(&mut findings);
        findings.extend(self.ends());
        self.masquerade(&mut findings);
        findings.extend(self.shares());
        if let Some((_, why)) = self.unknown.first() {
            let message = format!(
                "what {} does with packets to Service {} is not known: {why}",
                self.node, self.service
            );
            let packets = self.unknown.iter().map(|(packet, _)| *packet).collect();
            findings.push(self.finding(FindingKind::NotKnown, message, Vec::new(), packets));
        }
        findings
    }

    fn finding(
        &self,
        kind: FindingKind,
        message: String,
        endpoints: Vec<SocketAddr>,
        packets: Vec<Packet>,
    ) -> Finding {
        let origin = Some(self.port.record.origin.clone());
        Finding { kind, message, service: Some(self.service.clone()), endpoints, packets, origin }
    }

    /// Packets that should reach an endpoint and reach none.
    fn missing_frontends(&self, findings: &mut Vec<Finding>) {
        let should = || self.all.iter().filter(|one| !one.desired.endpoints().is_empty());
        let mut lost: BTreeMap<&Fate, Vec<&Compared>> = BTreeMap::new();
        for one in should().filter(|one| one.observed.endpoints().is_empty()) {
            lost.entry(one.observed.end().unwrap_or(&Fate::Untouched)).or_default().push(one);
        }
        for (fate, some) in lost {
            let packets: Vec<Packet> = some.iter().map(|one| one.packet).collect();
            let (node, service) = (&self.node, &self.service);
            let everywhere = some.len() == should().count();
            let count = some.iter().map(|one| one.desired.endpoints().len()).max().unwrap_or(0);
            let what = match fate {
                Fate::Rejected => "refuses",
                Fate::Dropped => "drops",
                Fate::Untouched | Fate::Endpoint(_) | Fate::Unknown(_) => "does not know",
            };
            let (kind, message) = match (fate, everywhere) {
                (Fate::Untouched, true) => {
                    (FindingKind::MissingFrontend, format!("Service {service} is not known to {node}"))
                }
                (Fate::Untouched, false) => (
                    FindingKind::MissingFrontend,
                    format!("{node} does not answer {} for Service {service}", where_to(&packets)),
                ),
                (_, true) => (
                    FindingKind::Fate,
                    format!("Service {service} has {}, but {node} {what} packets to it", endpoints(count)),
                ),
                (_, false) => (
                    FindingKind::Fate,
                    format!(
                        "Service {service} has {}, but {node} {what} packets to {}",
                        endpoints(count),
                        where_to(&packets)
                    ),
                ),
            };
            findings.push(self.finding(kind, message, Vec::new(), packets));
        }
    }

    /// Packets that reach endpoints on both sides.
    fn answered(&self) -> impl Iterator<Item = (&Compared, Vec<SocketAddr>, Vec<SocketAddr>)> {
        let both = self.all.iter().map(|one| (one, one.desired.endpoints(), one.observed.endpoints()));
        both.filter(|(_, desired, observed)| !desired.is_empty() && !observed.is_empty())
    }

    fn missing_endpoints(&self) -> Option<Finding> {
        let mut missing: BTreeSet<SocketAddr> = BTreeSet::new();
        let (mut packets, mut most, mut all) = (Vec::new(), (0, 0), 0);
        for (one, desired, observed) in self.answered() {
            let lacks: Vec<SocketAddr> =
                desired.iter().copied().filter(|addr| !observed.contains(addr)).collect();
            all += 1;
            if !lacks.is_empty() {
                most = most.max((desired.len(), desired.len() - lacks.len()));
                missing.extend(lacks);
                packets.push(one.packet);
            }
        }
        let missing: Vec<SocketAddr> = missing.into_iter().collect();
        let verb = match missing.len() {
            0 => return None,
            1 => "is",
            _ => "are",
        };
        let for_some = match packets.len() == all {
            true => String::new(),
            false => format!(" for packets from {} to {}", sources(&packets), where_to(&packets)),
        };
        let message = format!(
            "Service {} has {}, {} knows {}: {} {verb} missing{for_some}",
            self.service,
            endpoints(most.0),
            self.node,
            if most.1 == 0 { "none of them".to_string() } else { most.1.to_string() },
            list(&missing),
        );
        Some(self.finding(FindingKind::MissingEndpoint, message, missing, packets))
    }

    fn stray_endpoints(&self, findings: &mut Vec<Finding>) {
        let mut stray: BTreeMap<SocketAddr, Vec<Packet>> = BTreeMap::new();
        for one in &self.all {
            let desired = one.desired.endpoints();
            for addr in one.observed.endpoints() {
                if !desired.contains(&addr) {
                    stray.entry(addr).or_default().push(one.packet);
                }
            }
        }
        let is_at = |addr: &SocketAddr, endpoint: &Endpoint| {
            endpoint.addr == addr.ip() && endpoint.port == addr.port()
        };
        let (node, service) = (&self.node, &self.service);
        for (addr, packets) in stray {
            let message = match self.port.endpoints.iter().find(|endpoint| is_at(&addr, endpoint)) {
                None => format!("{node} still sends to {addr}, which is no endpoint of Service {service}"),
                Some(endpoint) if !endpoint.ready => {
                    format!("{node} sends to {addr}, an endpoint of Service {service} that is not ready")
                }
                Some(_) => format!(
                    "{node} sends packets from {} to {addr}, an endpoint of Service {service} that it should not use for them",
                    sources(&packets)
                ),
            };
            findings.push(self.finding(FindingKind::StrayEndpoint, message, Vec::from([addr]), packets));
        }
    }

    /// Packets that should end in one way and end in another, with no endpoint on either side.
    fn ends(&self) -> Option<Finding> {
        let differ = |one: &&Compared| {
            let (desired, observed) = (one.desired.end(), one.observed.end());
            matches!(desired, Some(Fate::Rejected | Fate::Dropped))
                && desired != observed
                && one.desired.endpoints().is_empty()
                && one.observed.endpoints().is_empty()
        };
        let some: Vec<&Compared> = self.all.iter().filter(differ).collect();
        let first = some.first()?;
        let packets: Vec<Packet> = some.iter().map(|one| one.packet).collect();
        let message = format!(
            "Service {} has no endpoint for packets from {}, which are to be {}; {} {} them",
            self.service,
            sources(&packets),
            if first.desired.end() == Some(&Fate::Dropped) { "dropped" } else { "refused" },
            self.node,
            match first.observed.end() {
                Some(Fate::Rejected) => "refuses",
                Some(Fate::Dropped) => "drops",
                _ => "knows nothing of",
            },
        );
        Some(self.finding(FindingKind::Fate, message, Vec::new(), packets))
    }

    fn masquerade(&self, findings: &mut Vec<Finding>) {
        for wanted in [false, true] {
            let mut packets = Vec::new();
            // The node's own packets have the node's address either way.
            for (one, ..) in self.answered().filter(|(one, ..)| one.packet.from != Sender::Node) {
                let differs = one.observed.masqueraded.iter().any(|(addr, observed)| {
                    let desired = one.desired.masqueraded.get(addr).copied().flatten();
                    desired == Some(wanted) && *observed == Some(!wanted)
                });
                if differs {
                    packets.push(one.packet);
                }
            }
            if packets.is_empty() {
                continue;
            }
            let (is, should) = if wanted { ("is not", "should be") } else { ("is", "should not be") };
            let message = format!(
                "Service {} {is} masqueraded on {}, but {should}: packets from {} to {}",
                self.service,
                self.node,
                sources(&packets),
                where_to(&packets),
            );
            findings.push(self.finding(FindingKind::Masquerade, message, Vec::new(), packets));
        }
    }

    /// Other shares with the same endpoints: the greatest difference.
    fn shares(&self) -> Option<Finding> {
        let mut packets = Vec::new();
        let mut told = None;
        for (one, desired, observed) in self.answered() {
            if desired != observed {
                continue;
            }
            let share = |of: &Outcome, addr: SocketAddr| {
                of.shares.get(&Fate::Endpoint(addr)).copied().unwrap_or(Probability::ZERO)
            };
            let pairs =
                desired.iter().map(|addr| (*addr, share(&one.desired, *addr), share(&one.observed, *addr)));
            let differ = pairs.filter(|(_, desired, observed)| !about_equal(*desired, *observed));
            let Some(worst) = differ.max_by(|a, b| a.2.cmp(&b.2)) else { continue };
            packets.push(one.packet);
            told.get_or_insert(worst);
        }
        let (addr, desired, observed) = told?;
        let message = format!(
            "{} sends {} of the connections to Service {} to {addr}; its share is {}",
            self.node,
            percent(observed),
            self.service,
            percent(desired)
        );
        Some(self.finding(FindingKind::Share, message, Vec::from([addr]), packets))
    }
}

/// A frontend that no Service has.
pub(super) fn stray_frontend(node: &str, packet: Packet, endpoints: Vec<SocketAddr>) -> Finding {
    let message = format!(
        "{node} answers {}{}, which no Service has: it sends to {}",
        packet.to,
        suffix(packet.protocol),
        list(&endpoints)
    );
    Finding {
        kind: FindingKind::StrayFrontend,
        message,
        service: None,
        endpoints,
        packets: Vec::from([packet]),
        origin: None,
    }
}

/// Whether two shares are the same but for rounding: within a hundredth of each other.
fn about_equal(a: Probability, b: Probability) -> bool {
    let (low, high) = (Probability::new(99, 100), Probability::new(101, 100));
    a.times(low) <= b && b <= a.times(high)
}

fn percent(share: Probability) -> String {
    let tenths = (0..=1000_u128).rev().find(|tenths| Probability::new(*tenths, 1000) <= share).unwrap_or(0);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn suffix(protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => String::new(),
        Protocol::Udp | Protocol::Sctp | Protocol::Icmp => format!("/{protocol}"),
    }
}

fn endpoints(count: usize) -> String {
    if count == 1 { "1 endpoint".into() } else { format!("{count} endpoints") }
}

/// The first of a list, and how many more there are.
fn list(addresses: &[SocketAddr]) -> String {
    const TOLD: usize = 5;
    let told: Vec<String> = addresses.iter().take(TOLD).map(ToString::to_string).collect();
    match addresses.len().saturating_sub(TOLD) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

fn where_to(packets: &[Packet]) -> String {
    let all: BTreeSet<SocketAddr> = packets.iter().map(|packet| packet.to).collect();
    list(&all.into_iter().collect::<Vec<_>>())
}

fn sources(packets: &[Packet]) -> String {
    let all: BTreeSet<Sender> = packets.iter().map(|packet| packet.from).collect();
    all.into_iter().map(Sender::words).collect::<Vec<_>>().join(" and from ")
}
