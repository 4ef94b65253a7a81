//! One service port: its rules in the chains that all share, and its own chains.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::net::IpAddr;

use super::{ClusterSize, Part};
use crate::addr::{Family, Protocol};
use crate::compile::service::{Detector, Endpoint, NoEndpoints, Port, ProxyConfig, names};
use crate::compile::tables::{Draft, chain, dnat};
use crate::origin::Origin;
use crate::plan::netfilter::Reject;
use crate::plan::xt::{Chain, Inv, Match, Recent, RecentOp, Rule, Statistic, Target};

/// Compiles one service port.
pub(super) struct Maker<'a> {
    config: &'a ProxyConfig,
    port: &'a Port,
    size: ClusterSize,
    /// `ns/name:port`.
    label: String,
    hash: String,
    masquerade: Arc<str>,
    /// The chains of the endpoints, by their places: each is named by a hash that two chains ask for.
    names: Vec<OnceCell<Arc<str>>>,
}

impl<'a> Maker<'a> {
    pub(super) fn new(config: &'a ProxyConfig, port: &'a Port, size: ClusterSize) -> Self {
        let label = format!("{}", port.record);
        let hash = names::service_hash(&port.record);
        let names = port.endpoints.iter().map(|_| OnceCell::new()).collect();
        Self { config, port, size, label, hash, masquerade: "KUBE-MARK-MASQ".into(), names }
    }

    fn origin(&self) -> &Origin {
        &self.port.record.origin
    }

    fn draft(&self) -> Draft {
        Draft::new(self.origin())
    }

    fn said(&self, words: &str) -> Draft {
        self.draft().comment(format!("{} {words}", self.label))
    }

    /// Packets to a frontend.
    fn at(&self, draft: Draft, addr: IpAddr) -> Draft {
        draft.to(addr).dport(self.port.record.protocol, self.port.record.port)
    }

    fn svc(&self) -> String {
        format!("KUBE-SVC-{}", self.hash)
    }

    fn svl(&self) -> String {
        format!("KUBE-SVL-{}", self.hash)
    }

    fn ext(&self) -> String {
        format!("KUBE-EXT-{}", self.hash)
    }

    fn fw(&self) -> String {
        format!("KUBE-FW-{}", self.hash)
    }

    fn internal_chain(&self) -> String {
        if self.port.record.internal_local { self.svl() } else { self.svc() }
    }

    fn external_chain(&self) -> String {
        if self.port.record.external_local { self.svl() } else { self.svc() }
    }

    /// The rules in the chains that all service ports share.
    pub(super) fn dispatch(&self) -> Part {
        let mut part = Part::default();
        let record = &*self.port.record;
        match self.port.internal() {
            Ok(()) => {
                let rule = self.at(self.said("cluster IP"), record.cluster_ip).jump(self.internal_chain());
                part.nat_services.push(rule);
            }
            Err(why) => {
                part.filter_services.push(self.at(self.without(why), record.cluster_ip).target(stop(why)));
            }
        }
        for addr in &record.external_ips {
            if self.port.selected.any {
                part.nat_services.push(self.at(self.said("external IP"), *addr).jump(self.ext()));
            }
            self.refuse_external(&mut part, *addr);
        }
        for addr in &record.vips {
            if self.port.selected.any {
                let firewall = self.port.has_firewall();
                let to = if firewall { self.fw() } else { self.ext() };
                part.nat_services.push(self.at(self.said("loadbalancer IP"), *addr).jump(to));
                if firewall {
                    let words = format!("traffic not accepted by {}", self.fw());
                    part.filter_firewall.push(self.at(self.said(&words), *addr).target(Target::Drop));
                }
            }
            self.refuse_external(&mut part, *addr);
        }
        if let Some(number) = record.node_port {
            if self.port.selected.any {
                let rule = self.draft().comment(&*self.label).dport(record.protocol, number).jump(self.ext());
                part.nat_node_ports.push(rule);
            }
            if let Err(why) = self.port.external() {
                let draft = self.without(why).local_destination().dport(record.protocol, number);
                part.filter_external.push(draft.target(stop(why)));
            }
        }
        if let Some(number) = record.health_check_node_port {
            let draft = self.said("health check node port").dport(Protocol::Tcp, number);
            part.filter_node_ports.push(draft.target(Target::Accept));
        }
        part
    }

    fn refuse_external(&self, part: &mut Part, addr: IpAddr) {
        if let Err(why) = self.port.external() {
            part.filter_external.push(self.at(self.without(why), addr).target(stop(why)));
        }
    }

    fn without(&self, why: NoEndpoints) -> Draft {
        self.said(match why {
            NoEndpoints::Anywhere => "has no endpoints",
            NoEndpoints::Here => "has no local endpoints",
        })
    }

    pub(super) fn chains(&self) -> Vec<Arc<Chain>> {
        let few = [self.cluster_chain(), self.local_chain(), self.outside_chain(), self.firewall_chain()];
        let endpoints = self.port.selected.all.iter().filter_map(|place| self.endpoint_chain(*place));
        few.into_iter().flatten().chain(endpoints).map(Arc::new).collect()
    }

    pub(super) fn chain_named(&self, name: &str) -> Option<Chain> {
        let (kind, hash) = name.strip_prefix("KUBE-")?.split_once('-')?;
        match kind {
            "SEP" => {
                let mut all = self.port.selected.all.iter();
                let place =
                    all.find(|place| self.endpoint(**place).is_some_and(|(own, _)| **own == *name))?;
                self.endpoint_chain(*place)
            }
            _ if hash != self.hash => None,
            "SVC" => self.cluster_chain(),
            "SVL" => self.local_chain(),
            "EXT" => self.outside_chain(),
            "FW" => self.firewall_chain(),
            _ => None,
        }
    }

    /// Everything to the cluster IP that does not come from a pod is masqueraded.
    fn masquerade_internal(&self) -> Option<Rule> {
        let draft = self.at(self.said("cluster IP"), self.port.record.cluster_ip);
        let draft = match &self.config.detector {
            _ if self.config.masquerade_all => draft,
            Some(detector) => by_detector(draft, detector, true),
            None => return None,
        };
        Some(draft.jump(self.masquerade.clone()))
    }

    fn cluster_chain(&self) -> Option<Chain> {
        let places = self.port.selected.cluster.as_deref().filter(|places| !places.is_empty())?;
        Some(self.policy_chain(self.svc(), self.port.record.internal_local, places))
    }

    fn local_chain(&self) -> Option<Chain> {
        let places = self.port.selected.local.as_deref().filter(|places| !places.is_empty())?;
        Some(self.policy_chain(self.svl(), !self.port.record.internal_local, places))
    }

    /// Chooses among endpoints: the client's last one, where there is affinity, else each with the same probability. Traffic to
    /// the cluster IP comes here too unless it has a chain of its own policy.
    fn policy_chain(&self, name: String, other_policy: bool, places: &[usize]) -> Chain {
        let endpoints: Vec<(&Arc<str>, &Endpoint)> =
            places.iter().filter_map(|place| self.endpoint(*place)).collect();
        let mut rules = Vec::with_capacity(endpoints.len() + 1);
        if !other_policy && self.port.internal().is_ok() {
            rules.extend(self.masquerade_internal());
        }
        let draft = |endpoint: &Endpoint| {
            let draft = Draft::new(&endpoint.origin);
            match self.size {
                ClusterSize::Small => draft.comment(format!("{} -> {endpoint}", self.label)),
                ClusterSize::Large => draft,
            }
        };
        if let Some(seconds) = self.port.record.affinity_secs {
            for &(chain, endpoint) in &endpoints {
                let recent = Recent {
                    seconds: Some(seconds),
                    reap: true,
                    ..self.recent(RecentOp::Rcheck, chain.clone())
                };
                rules.push(draft(endpoint).module(Match::Recent(Box::new(recent))).jump(chain.clone()));
            }
        }
        let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        for (left, (chain, endpoint)) in (1..=count).rev().zip(endpoints) {
            let draft = match left {
                1 => draft(endpoint),
                _ => draft(endpoint).module(Match::Statistic(Statistic::one_in(left))),
            };
            rules.push(draft.jump(chain.clone()));
        }
        chain(name, rules)
    }

    fn recent(&self, op: RecentOp, name: Arc<str>) -> Recent {
        Recent {
            op: Inv::is(op),
            seconds: None,
            reap: false,
            hitcount: None,
            rttl: false,
            name,
            mask: Some(match self.config.family {
                Family::V4 => IpAddr::from([0xff_u8; 4]),
                Family::V6 => IpAddr::from([0xff_u8; 16]),
            }),
            by_destination: false,
        }
    }

    /// `KUBE-EXT-…`: with policy `Local`, pods and the node itself may use all endpoints.
    fn outside_chain(&self) -> Option<Chain> {
        if !self.port.uses_external() {
            return None;
        }
        let label = &self.label;
        let said = |head: &str| self.draft().comment(format!("{head} for {label} external destinations"));
        let mut rules = Vec::new();
        if self.port.record.external_local {
            if let Some(detector) = &self.config.detector {
                rules.push(by_detector(said("pod traffic"), detector, false).jump(self.svc()));
            }
            rules.push(said("masquerade LOCAL traffic").local_source().jump(self.masquerade.clone()));
            rules.push(said("route LOCAL traffic").local_source().jump(self.svc()));
        } else {
            rules.push(said("masquerade traffic").jump(self.masquerade.clone()));
        }
        if self.port.external().is_ok() {
            rules.push(self.draft().jump(self.external_chain()));
        }
        Some(chain(self.ext(), rules))
    }

    /// `KUBE-FW-…`: who may use the load balancer's addresses.
    fn firewall_chain(&self) -> Option<Chain> {
        if !self.port.has_firewall() || !self.port.selected.any {
            return None;
        }
        let record = &self.port.record;
        let mut rules = Vec::new();
        for range in &record.source_ranges {
            rules.push(self.said("loadbalancer IP").source(Inv::is(*range)).jump(self.ext()));
        }
        // The node itself comes with the load balancer's address, where that is one of its own.
        if allows_node(self.config, &record.source_ranges) {
            rules.extend(
                record.vips.iter().map(|addr| self.said("loadbalancer IP").from(*addr).jump(self.ext())),
            );
        }
        let words = format!("other traffic to {} will be dropped by KUBE-PROXY-FIREWALL", self.label);
        rules.push(self.draft().comment(words).finish(None));
        Some(chain(self.fw(), rules))
    }

    /// An endpoint and the name of its chain.
    fn endpoint(&self, place: usize) -> Option<(&Arc<str>, &Endpoint)> {
        let (name, endpoint) = (self.names.get(place)?, self.port.endpoints.get(place)?);
        Some((name.get_or_init(|| names::endpoint_chain(&self.port.record, endpoint)), endpoint))
    }

    fn endpoint_chain(&self, place: usize) -> Option<Chain> {
        let (name, endpoint) = self.endpoint(place)?;
        let draft = || {
            let draft = Draft::new(&endpoint.origin);
            match self.size {
                ClusterSize::Small => draft.comment(&*self.label),
                ClusterSize::Large => draft,
            }
        };
        let hairpin = draft().from(endpoint.addr).jump(self.masquerade.clone());
        let mut forward = draft();
        if self.port.record.affinity_secs.is_some() {
            forward = forward.module(Match::Recent(Box::new(self.recent(RecentOp::Set, name.clone()))));
        }
        let forward = forward.protocol(self.port.record.protocol).target(dnat(endpoint.addr, endpoint.port));
        Some(chain(name.clone(), Vec::from([hairpin, forward])))
    }
}

/// Whether the node itself is among those who may use a load balancer.
pub(in crate::compile::service) fn allows_node(config: &ProxyConfig, ranges: &[ipnet::IpNet]) -> bool {
    config.node_ip.is_some_and(|own| ranges.iter().any(|range| range.contains(&own)))
}

/// Packets of pods, or of all others.
pub(in crate::compile::service) fn by_detector(draft: Draft, detector: &Detector, not: bool) -> Draft {
    match detector {
        Detector::Source(net) => draft.source(Inv { not, value: *net }),
        Detector::Bridge(name) => draft.iif(Inv { not, value: name.clone() }),
        Detector::LinkPrefix(prefix) => draft.iif(Inv { not, value: format!("{prefix}+").into() }),
    }
}

const fn stop(why: NoEndpoints) -> Target {
    match why {
        NoEndpoints::Anywhere => Target::Reject(Reject::PortUnreachable),
        NoEndpoints::Here => Target::Drop,
    }
}
