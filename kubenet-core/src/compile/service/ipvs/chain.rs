//! The chains of kube-proxy in `iptables`: the same few for every service port, which stands in the sets that they ask.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Shared;
use crate::addr::Protocol;
use crate::compile::service::ProxyConfig;
use crate::compile::service::config::loopback_net;
use crate::compile::service::iptables::by_detector;
use crate::compile::tables::{Draft, Tables, chain, masquerade, set_mark, xor_mark};
use crate::origin::Origin;
use crate::plan::netfilter::{CtState, Reject};
use crate::plan::xt::{AddrType, Addrtype, Chain, Conntrack, Inv, Match, Physdev, Rule, SetRef, Target};

/// The chains, by table and name.
pub(super) const CHAINS: [(&str, &str); 11] = [
    ("nat", "KUBE-SERVICES"),
    ("nat", "KUBE-POSTROUTING"),
    ("nat", "KUBE-NODE-PORT"),
    ("nat", "KUBE-LOAD-BALANCER"),
    ("nat", "KUBE-MARK-MASQ"),
    ("filter", "KUBE-FORWARD"),
    ("filter", "KUBE-NODE-PORT"),
    ("filter", "KUBE-PROXY-FIREWALL"),
    ("filter", "KUBE-SOURCE-RANGES-FIREWALL"),
    ("filter", "KUBE-IPVS-FILTER"),
    ("filter", "KUBE-IPVS-OUT-FILTER"),
];

/// Whether a chain is the same whatever Services there are.
pub(super) fn is_constant(table: &str, name: &str) -> bool {
    let constant = [
        ("nat", "KUBE-MARK-MASQ"),
        ("filter", "KUBE-FORWARD"),
        ("filter", "KUBE-NODE-PORT"),
        ("filter", "KUBE-IPVS-FILTER"),
    ];
    constant.contains(&(table, name))
}

/// What the rules of a chain depend on.
pub(super) struct Present<'a> {
    /// Whether a set has entries: rules ask only those that have.
    pub(super) has: &'a dyn Fn(Shared) -> bool,
    /// The rules of `KUBE-IPVS-OUT-FILTER`.
    pub(super) out_filter: Vec<Rule>,
}

/// Directions of a set's parts.
const DST: &[bool] = &[false];
const DST_DST: &[bool] = &[false, false];
const SRC_DST: &[bool] = &[true, false];
const DST_DST_SRC: &[bool] = &[false, false, true];

/// One of [`CHAINS`]; `None` for another name.
pub(super) fn made(config: &ProxyConfig, table: &str, name: &str, present: Present<'_>) -> Option<Chain> {
    let writer = Writer { config, origin: Origin::implied("kube-proxy") };
    let has = present.has;
    let mark = config.masquerade_mark;
    let rules = match (table, name) {
        ("nat", "KUBE-SERVICES") => writer.services(has),
        ("nat", "KUBE-POSTROUTING") => {
            let mut rules = Vec::new();
            if has(Shared::LoopBack) {
                rules.push(writer.said(Shared::LoopBack, DST_DST_SRC).target(masquerade(false)));
            }
            rules.push(writer.draft().mark(Inv::not(mark)).target(Target::Return));
            rules.push(writer.draft().target(xor_mark(mark)));
            let words = "kubernetes service traffic requiring SNAT";
            rules.push(writer.draft().comment(words).target(masquerade(true)));
            rules
        }
        ("nat", "KUBE-NODE-PORT") => writer.node_ports(has),
        ("nat", "KUBE-LOAD-BALANCER") => {
            let local = has(Shared::LoadBalancerLocal);
            let local = local.then(|| writer.said(Shared::LoadBalancerLocal, DST_DST).target(Target::Return));
            local.into_iter().chain([writer.draft().jump("KUBE-MARK-MASQ")]).collect()
        }
        ("nat", "KUBE-MARK-MASQ") => Vec::from([writer.draft().target(set_mark(mark))]),
        ("filter", "KUBE-FORWARD") => {
            let marked = writer.draft().comment("kubernetes forwarding rules").mark(Inv::is(mark));
            let known = writer.draft().comment("kubernetes forwarding conntrack rule");
            let known = known.module(state(&[CtState::Related, CtState::Established]));
            Vec::from([marked.target(Target::Accept), known.target(Target::Accept)])
        }
        ("filter", "KUBE-NODE-PORT") => {
            Vec::from([writer.said(Shared::HealthCheckNodePort, DST).target(Target::Accept)])
        }
        ("filter", "KUBE-PROXY-FIREWALL") => {
            let rule = || writer.said(Shared::LoadBalancerFw, DST_DST).jump("KUBE-SOURCE-RANGES-FIREWALL");
            has(Shared::LoadBalancerFw).then(rule).into_iter().collect()
        }
        ("filter", "KUBE-SOURCE-RANGES-FIREWALL") => {
            let allowed = [Shared::LoadBalancerSourceCidr, Shared::LoadBalancerSourceIp];
            let allowed = allowed.into_iter().filter(|shared| has(*shared));
            let allowed = allowed.map(|shared| writer.said(shared, DST_DST_SRC).target(Target::Return));
            allowed.chain([writer.draft().target(Target::Drop)]).collect()
        }
        ("filter", "KUBE-IPVS-FILTER") => writer.only_services(),
        ("filter", "KUBE-IPVS-OUT-FILTER") => present.out_filter,
        _ => return None,
    };
    Some(chain(name, rules))
}

struct Writer<'a> {
    config: &'a ProxyConfig,
    origin: Origin,
}

impl Writer<'_> {
    fn draft(&self) -> Draft {
        Draft::new(&self.origin)
    }

    fn asks(&self, draft: Draft, shared: Shared, src: &[bool]) -> Draft {
        let set = SetRef { name: shared.name(self.config.family), src: src.to_vec() };
        draft.module(Match::Set { set: Box::new(Inv::is(set)), options: Vec::new() })
    }

    /// What a set holds, with its comment.
    fn said(&self, shared: Shared, src: &[bool]) -> Draft {
        self.asks(self.draft().comment(shared.comment()), shared, src)
    }

    fn services(&self, has: &dyn Fn(Shared) -> bool) -> Vec<Rule> {
        let from_loopback = self.draft().source(Inv::is(loopback_net(self.config.family)));
        let mut rules = Vec::from([from_loopback.target(Target::Return)]);
        if has(Shared::LoadBalancer) {
            rules.push(self.said(Shared::LoadBalancer, DST_DST).jump("KUBE-LOAD-BALANCER"));
        }
        if has(Shared::ClusterIp) {
            let draft = match &self.config.detector {
                _ if self.config.masquerade_all => self.said(Shared::ClusterIp, DST_DST),
                Some(detector) => by_detector(self.said(Shared::ClusterIp, DST_DST), detector, true),
                // The node itself comes with the address that it speaks to.
                None => self.said(Shared::ClusterIp, SRC_DST),
            };
            rules.push(draft.jump("KUBE-MARK-MASQ"));
        }
        if has(Shared::ExternalIp) {
            rules.push(self.said(Shared::ExternalIp, DST_DST).jump("KUBE-MARK-MASQ"));
            rules.extend(self.external(Shared::ExternalIp));
        }
        if has(Shared::ExternalIpLocal) {
            rules.extend(self.external(Shared::ExternalIpLocal));
        }
        rules.push(self.draft().local_destination().jump("KUBE-NODE-PORT"));
        for shared in [Shared::ClusterIp, Shared::LoadBalancer].into_iter().filter(|shared| has(*shared)) {
            rules.push(self.asks(self.draft(), shared, DST_DST).target(Target::Accept));
        }
        rules
    }

    /// What comes to external IPs from another machine, or to those that are the node's own.
    fn external(&self, shared: Shared) -> [Rule; 2] {
        let bridged = Match::Physdev(Box::new(Physdev { is_in: Some(Inv::not(())), ..Physdev::default() }));
        let src = Some(Inv::not(Vec::from([AddrType::Local])));
        let foreign = Match::Addrtype(Box::new(Addrtype { src, ..Addrtype::default() }));
        [
            self.said(shared, DST_DST).module(bridged).module(foreign).target(Target::Accept),
            self.said(shared, DST_DST).local_destination().target(Target::Accept),
        ]
    }

    fn node_ports(&self, has: &dyn Fn(Shared) -> bool) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (protocol, local, all, src) in [
            (Protocol::Tcp, Shared::NodePortLocalTcp, Shared::NodePortTcp, DST),
            (Protocol::Udp, Shared::NodePortLocalUdp, Shared::NodePortUdp, DST),
            (Protocol::Sctp, Shared::NodePortLocalSctp, Shared::NodePortSctp, DST_DST),
        ] {
            if has(local) {
                rules.push(self.said(local, src).only_protocol(protocol).target(Target::Return));
            }
            if has(all) {
                rules.push(self.said(all, src).only_protocol(protocol).jump("KUBE-MARK-MASQ"));
            }
        }
        rules
    }

    /// `KUBE-IPVS-FILTER`: at the addresses of `kube-ipvs0` only Services answer, no process of the node.
    fn only_services(&self) -> Vec<Rule> {
        let known = [
            (Shared::LoadBalancer, DST_DST),
            (Shared::ClusterIp, DST_DST),
            (Shared::ExternalIp, DST_DST),
            (Shared::ExternalIpLocal, DST_DST),
            (Shared::HealthCheckNodePort, DST),
        ];
        let known = known.map(|(shared, src)| self.asks(self.draft(), shared, src).target(Target::Return));
        let others = self.asks(self.draft().module(state(&[CtState::New])), Shared::IpvsIps, DST);
        known.into_iter().chain([others.target(Target::Reject(Reject::PortUnreachable))]).collect()
    }
}

fn state(states: &[CtState]) -> Match {
    let state = Some(Inv::is((states.to_vec(), Vec::new())));
    Match::Conntrack(Box::new(Conntrack { state, ..Conntrack::default() }))
}

/// The rules in built-in chains that lead to kube-proxy's, in the order in which they are made.
pub(in crate::compile::service) fn add_jumps(tables: &mut Tables) {
    let origin = Origin::implied("kube-proxy");
    for (table, from, to, words) in [
        ("nat", "OUTPUT", "KUBE-SERVICES", "kubernetes service portals"),
        ("nat", "PREROUTING", "KUBE-SERVICES", "kubernetes service portals"),
        ("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules"),
        ("filter", "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules"),
        ("filter", "INPUT", "KUBE-NODE-PORT", "kubernetes health check rules"),
        ("filter", "INPUT", "KUBE-PROXY-FIREWALL", "kube-proxy firewall rules"),
        ("filter", "FORWARD", "KUBE-PROXY-FIREWALL", "kube-proxy firewall rules"),
        ("filter", "INPUT", "KUBE-IPVS-FILTER", "kubernetes ipvs access filter"),
        ("filter", "OUTPUT", "KUBE-IPVS-OUT-FILTER", "kubernetes ipvs access filter"),
    ] {
        tables.prepend(table, from, Draft::new(&origin).comment(words).jump(to));
    }
}

/// The chains that are the same whatever Services there are.
pub(in crate::compile::service) fn add_constant(config: &ProxyConfig, tables: &mut Tables) {
    for (table, name) in CHAINS.into_iter().filter(|(table, name)| is_constant(table, name)) {
        let present = Present { has: &|_| false, out_filter: Vec::new() };
        if let Some(chain) = made(config, table, name, present) {
            tables.chain(table, Arc::new(chain));
        }
    }
}
