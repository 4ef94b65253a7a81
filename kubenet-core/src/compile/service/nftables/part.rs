//! One service port: its elements of the maps that all share, and its own chains and sets.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{
    Shared, Words, by_detector, chain, element, local_address, matches, prefix, rule, set, set_mark, words,
};
use crate::addr::{Family, Protocol};
use crate::compile::service::iptables::allows_node;
use crate::compile::service::{Endpoint, NoEndpoints, Port, ProxyConfig, names};
use crate::plan::netfilter::NatFlags;
use crate::plan::nft::{
    Chain, Data, Element, Expr, FibKey, Meta, Nat, Op, Rule, Set, SetFlags, SetOp, Statement, Value, Verdict,
};

/// Compiles one service port.
pub(super) struct Maker<'a> {
    config: &'a ProxyConfig,
    port: &'a Port,
    words: Words,
    base: String,
}

impl<'a> Maker<'a> {
    pub(super) fn new(config: &'a ProxyConfig, port: &'a Port) -> Self {
        Self { config, port, words: words(config.family), base: names::nft_service(&port.record) }
    }

    fn cluster_name(&self) -> Arc<str> {
        format!("service-{}", self.base).into()
    }

    fn local_name(&self) -> Arc<str> {
        format!("local-{}", self.base).into()
    }

    fn external_name(&self) -> Arc<str> {
        format!("external-{}", self.base).into()
    }

    fn firewall_name(&self) -> Arc<str> {
        format!("firewall-{}", self.base).into()
    }

    fn policy_name(&self, local: bool) -> Arc<str> {
        if local { self.local_name() } else { self.cluster_name() }
    }

    pub(super) fn elements(&self) -> Vec<(Shared, Element)> {
        let record = &*self.port.record;
        let any = self.port.selected.any;
        let at =
            |addr: IpAddr| Vec::from([Value::Addr(addr), number(record.protocol), record.port.into_value()]);
        let goto = |chain: Arc<str>| Some(Data::Verdict(Verdict::Goto(chain)));
        let mut elements = Vec::new();
        let mut add = |shared, key, data, commented: bool| {
            let comment = commented.then(|| Arc::from(format!("{record}")));
            let origin = Some(record.origin.clone());
            elements.push((
                shared,
                Element { key, data, timeout_ms: None, expires_ms: None, statements: None, comment, origin },
            ));
        };
        add(Shared::ClusterIps, Vec::from([Value::Addr(record.cluster_ip)]), None, false);
        match self.port.internal() {
            Ok(()) => {
                let to = self.policy_name(record.internal_local);
                add(Shared::ServiceIps, at(record.cluster_ip), goto(to), false);
            }
            Err(why) => add(Shared::NoEndpointServices, at(record.cluster_ip), stop(why), true),
        }
        let external = self.port.external();
        for (addr, balancer) in
            record.external_ips.iter().map(|a| (a, false)).chain(record.vips.iter().map(|a| (a, true)))
        {
            if any {
                add(Shared::ServiceIps, at(*addr), goto(self.external_name()), false);
            }
            if balancer && self.port.has_firewall() {
                add(Shared::FirewallIps, at(*addr), goto(self.firewall_name()), false);
            }
            if let Err(why) = external {
                add(Shared::NoEndpointServices, at(*addr), stop(why), true);
            }
        }
        if let Some(node_port) = record.node_port {
            let at = || Vec::from([number(record.protocol), node_port.into_value()]);
            if any {
                add(Shared::ServiceNodePorts, at(), goto(self.external_name()), false);
            }
            if let Err(why) = external {
                add(Shared::NoEndpointNodePorts, at(), stop(why), true);
            }
        }
        for endpoint in self.port.all().filter(|endpoint| endpoint.local) {
            let addr = Value::Addr(endpoint.addr);
            let key = Vec::from([addr.clone(), addr, number(record.protocol), endpoint.port.into_value()]);
            let origin = Some(endpoint.origin.clone());
            let element = Element {
                key,
                data: None,
                timeout_ms: None,
                expires_ms: None,
                statements: None,
                comment: None,
                origin,
            };
            elements.push((Shared::HairpinConnections, element));
        }
        elements
    }

    pub(super) fn affinity_sets(&self) -> Vec<Arc<Set>> {
        let Some(secs) = self.port.record.affinity_secs else { return Vec::new() };
        let set = |endpoint: &Endpoint| {
            Arc::new(Set {
                name: format!("affinity-{}", names::nft_endpoint(&self.port.record, endpoint)).into(),
                flags: SetFlags { dynamic: true, timeout: true, ..SetFlags::default() },
                timeout_ms: Some(u64::from(secs) * 1000),
                ..set("", &[self.words.addr_type], &[], None, &endpoint.origin)
            })
        };
        self.port.all().map(set).collect()
    }

    pub(super) fn chains(&self) -> Vec<Arc<Chain>> {
        let few = [self.cluster_chain(), self.local_chain(), self.external_chain(), self.firewall_chain()];
        let affinity = self.port.record.affinity_secs.is_some();
        let endpoints = self.port.all().filter(|_| affinity).map(|endpoint| self.endpoint_chain(endpoint));
        few.into_iter().flatten().chain(endpoints).map(Arc::new).collect()
    }

    pub(super) fn chain_named(&self, name: &str) -> Option<Chain> {
        let (kind, base) = name.split_once('-')?;
        match kind {
            "endpoint" if self.port.record.affinity_secs.is_some() => {
                let mut all = self.port.all();
                let endpoint = all.find(|e| names::nft_endpoint(&self.port.record, e) == base)?;
                Some(self.endpoint_chain(endpoint))
            }
            _ if base != self.base => None,
            "service" => self.cluster_chain(),
            "local" => self.local_chain(),
            "external" => self.external_chain(),
            "firewall" => self.firewall_chain(),
            _ => None,
        }
    }

    fn rule(&self, statements: impl Into<Vec<Statement>>, comment: Option<&str>) -> Rule {
        rule(statements, comment, &self.port.record.origin)
    }

    fn cluster_chain(&self) -> Option<Chain> {
        let endpoints = self.port.cluster();
        (endpoints.len() > 0).then(|| self.policy_chain(self.cluster_name(), endpoints))
    }

    fn local_chain(&self) -> Option<Chain> {
        let endpoints = self.port.local();
        (endpoints.len() > 0).then(|| self.policy_chain(self.local_name(), endpoints))
    }

    /// Chooses among endpoints.
    fn policy_chain<'e>(
        &self,
        name: Arc<str>,
        endpoints: impl ExactSizeIterator<Item = &'e Endpoint>,
    ) -> Chain {
        let modulus = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        let choice = Expr::Numgen { random: true, modulus, offset: 0 };
        let mut rules = Vec::new();
        let mut elements = Vec::with_capacity(endpoints.len());
        for (place, endpoint) in (0_u64..).zip(endpoints) {
            let data = if self.port.record.affinity_secs.is_some() {
                let base = names::nft_endpoint(&self.port.record, endpoint);
                let goto = Verdict::Goto(format!("endpoint-{base}").into());
                let set = Expr::Named(format!("affinity-{base}").into());
                let known =
                    Statement::Match { left: Expr::Field(self.words.saddr), op: Op::Implicit, right: set };
                rules.push(rule([known, Statement::Verdict(goto.clone())], None, &endpoint.origin));
                Data::Verdict(goto)
            } else {
                Data::Values(Vec::from([Value::Addr(endpoint.addr), endpoint.port.into_value()]))
            };
            elements.push(element(Vec::from([Value::Number(place)]), Some(data), Some(&endpoint.origin)));
        }
        let map = Expr::Elements(elements);
        rules.push(match self.port.record.affinity_secs {
            Some(_) => self.rule([Statement::Vmap { key: choice, map }], None),
            None => {
                let nat = Nat {
                    family: Some(self.config.family),
                    addr: Some(Expr::Map { key: Box::new(choice), map: Box::new(map) }),
                    addr_and_port: true,
                    port: None,
                    flags: NatFlags::default(),
                };
                self.rule([self.of_protocol(), Statement::Dnat(nat)], None)
            }
        });
        chain(name, rules)
    }

    fn of_protocol(&self) -> Statement {
        matches(Expr::Meta(Meta::L4proto), Expr::Value(number(self.port.record.protocol)))
    }

    /// With policy `Local`, pods and the node itself may use all endpoints.
    fn external_chain(&self) -> Option<Chain> {
        if !self.port.uses_external() {
            return None;
        }
        let mark = set_mark(self.config.masquerade_mark);
        let mut rules = Vec::new();
        if self.port.record.external_local {
            let cluster = || Statement::Verdict(Verdict::Goto(self.cluster_name()));
            if let Some(detector) = &self.config.detector {
                let pods = by_detector(self.words, detector, Op::Implicit);
                rules.push(self.rule([pods, cluster()], Some("short-circuit pod traffic")));
            }
            let local = || local_address(FibKey::Saddr);
            rules.push(self.rule([local(), mark], Some("masquerade local traffic")));
            rules.push(self.rule([local(), cluster()], Some("short-circuit local traffic")));
        } else {
            rules.push(self.rule([mark], Some("masquerade")));
        }
        if self.port.external().is_ok() {
            let to = Verdict::Goto(self.policy_name(self.port.record.external_local));
            rules.push(self.rule([Statement::Verdict(to)], None));
        }
        Some(chain(self.external_name(), rules))
    }

    /// Who may use the load balancer's addresses.
    fn firewall_chain(&self) -> Option<Chain> {
        if !self.port.has_firewall() {
            return None;
        }
        let record = &self.port.record;
        let mut sources: Vec<Element> = record
            .source_ranges
            .iter()
            .map(|range| element(Vec::from([prefix(*range)]), None, None))
            .collect();
        // The node itself comes with the load balancer's address, where that is one of its own.
        if allows_node(self.config, &record.source_ranges) {
            sources.extend(record.vips.iter().map(|a| element(Vec::from([Value::Addr(*a)]), None, None)));
        }
        let others = Statement::Match {
            left: Expr::Field(self.words.saddr),
            op: Op::Ne,
            right: Expr::Elements(sources),
        };
        let rule = self.rule([others, Statement::Verdict(Verdict::Drop)], None);
        Some(chain(self.firewall_name(), Vec::from([rule])))
    }

    /// With affinity: the client is noted, then sent on.
    fn endpoint_chain(&self, endpoint: &Endpoint) -> Chain {
        let base = names::nft_endpoint(&self.port.record, endpoint);
        let note = Statement::SetOp {
            op: SetOp::Update,
            set: format!("affinity-{base}").into(),
            key: Expr::Field(self.words.saddr),
            timeout_ms: None,
            data: None,
        };
        let nat = Nat {
            family: None,
            addr: Some(Expr::Value(Value::Addr(endpoint.addr))),
            addr_and_port: false,
            port: Some(Expr::Value(endpoint.port.into_value())),
            flags: NatFlags::default(),
        };
        let rules = [
            rule([note], None, &endpoint.origin),
            rule([self.of_protocol(), Statement::Dnat(nat)], None, &endpoint.origin),
        ];
        chain(format!("endpoint-{base}").into(), Vec::from(rules))
    }
}

fn stop(why: NoEndpoints) -> Option<Data> {
    Some(Data::Verdict(match why {
        NoEndpoints::Anywhere => Verdict::Goto("reject-chain".into()),
        NoEndpoints::Here => Verdict::Drop,
    }))
}

fn number(protocol: Protocol) -> Value {
    Value::Number(u64::from(protocol.number(Family::V4)))
}

/// A port as a constant.
trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for u16 {
    fn into_value(self) -> Value {
        Value::Number(u64::from(self))
    }
}
