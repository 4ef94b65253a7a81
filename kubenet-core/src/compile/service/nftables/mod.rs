//! nftables mode: what kube-proxy 1.36 writes into its table `kube-proxy` (`pkg/proxy/nftables/proxier.go`, KEP-3866).
//!
//! In: service ports on a node. Out: a table of one family. The way of a packet is looked up in maps from address, transport and
//! port to the chain of a service port; one rule there chooses the endpoint. Packets to frontends without endpoints are found in maps
//! of their own. Every service port makes one [`Part`]: elements of the shared maps, and chains.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::config::loopback_net;
use super::iptables::allows_node;
use super::{Detector, Endpoint, NoEndpoints, Port, ProxyConfig, names};
use crate::addr::{Family, Protocol};
use crate::origin::Origin;
use crate::plan::Hook;
use crate::plan::netfilter::{CtState, CtStatus, NatFlags};
use crate::plan::nft::{
    Base, BinaryOp, Chain, ChainKind, CtKey, Data, Element, Expr, FibKey, FibResult, Field, Meta, Nat, Op,
    Rule, Set, SetFlags, SetOp, Statement, Table, TableFamily, Value, Verdict,
};
use crate::plan::xt::Policy;

/// The name of the table.
pub const TABLE: &str = "kube-proxy";
/// `RTN_LOCAL` of `linux/rtnetlink.h`.
const LOCAL: u64 = 2;

/// The sets and maps that all service ports share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shared {
    /// Endpoints on this node, for packets that come back to where they are from.
    HairpinConnections,
    /// Virtual addresses.
    ClusterIps,
    /// Frontends without endpoints.
    NoEndpointServices,
    /// Node ports without endpoints.
    NoEndpointNodePorts,
    /// Addresses of load balancers that not everyone may use.
    FirewallIps,
    /// Frontends.
    ServiceIps,
    /// Node ports.
    ServiceNodePorts,
}

impl Shared {
    /// All, in the order in which kube-proxy makes them.
    pub const ALL: [Self; 7] = [
        Self::HairpinConnections,
        Self::ClusterIps,
        Self::NoEndpointServices,
        Self::NoEndpointNodePorts,
        Self::FirewallIps,
        Self::ServiceIps,
        Self::ServiceNodePorts,
    ];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HairpinConnections => "hairpin-connections",
            Self::ClusterIps => "cluster-ips",
            Self::NoEndpointServices => "no-endpoint-services",
            Self::NoEndpointNodePorts => "no-endpoint-nodeports",
            Self::FirewallIps => "firewall-ips",
            Self::ServiceIps => "service-ips",
            Self::ServiceNodePorts => "service-nodeports",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shared| shared.name() == name)
    }

    const fn comment(self) -> &'static str {
        match self {
            Self::HairpinConnections => "service hairpin connections",
            Self::ClusterIps => "Active ClusterIPs",
            Self::NoEndpointServices => "vmap to drop or reject packets to services with no endpoints",
            Self::NoEndpointNodePorts => {
                "vmap to drop or reject packets to service nodeports with no endpoints"
            }
            Self::FirewallIps => "destinations that are subject to LoadBalancerSourceRanges",
            Self::ServiceIps => "ClusterIP, ExternalIP and LoadBalancer IP traffic",
            Self::ServiceNodePorts => "NodePort traffic",
        }
    }
}

/// The rules of one service port.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Elements of the shared sets and maps.
    pub elements: Vec<(Shared, Element)>,
    /// Affinity sets.
    pub sets: Vec<Arc<Set>>,
    /// Chains of its own.
    pub chains: Vec<Arc<Chain>>,
}

/// Compiles one service port. O(its endpoints).
pub fn part(config: &ProxyConfig, port: &Port) -> Part {
    let maker = Maker::new(config, port);
    Part { elements: maker.elements(), sets: maker.affinity_sets(), chains: maker.chains() }
}

/// The elements of one service port in the sets and maps that all share. O(its frontends + its local endpoints).
pub fn elements(config: &ProxyConfig, port: &Port) -> Vec<(Shared, Element)> {
    Maker::new(config, port).elements()
}

/// One chain of a service port; `None` if it has no chain of that name.
pub fn own_chain(config: &ProxyConfig, port: &Port, name: &str) -> Option<Arc<Chain>> {
    Maker::new(config, port).chain_named(name).map(Arc::new)
}

/// One affinity set of a service port; `None` if it has no set of that name.
pub fn own_set(config: &ProxyConfig, port: &Port, name: &str) -> Option<Arc<Set>> {
    Maker::new(config, port).affinity_sets().into_iter().find(|set| &*set.name == name)
}

/// Words that differ between the families.
#[derive(Clone, Copy)]
struct Words {
    saddr: Field,
    daddr: Field,
    addr_type: &'static str,
}

const fn words(family: Family) -> Words {
    match family {
        Family::V4 => Words { saddr: Field::IpSaddr, daddr: Field::IpDaddr, addr_type: "ipv4_addr" },
        Family::V6 => Words { saddr: Field::Ip6Saddr, daddr: Field::Ip6Daddr, addr_type: "ipv6_addr" },
    }
}

/// Compiles one service port.
struct Maker<'a> {
    config: &'a ProxyConfig,
    port: &'a Port,
    words: Words,
    base: String,
}

impl<'a> Maker<'a> {
    fn new(config: &'a ProxyConfig, port: &'a Port) -> Self {
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

    fn elements(&self) -> Vec<(Shared, Element)> {
        let record = &*self.port.record;
        let any = self.port.selected.any;
        let at =
            |addr: IpAddr| Vec::from([Value::Addr(addr), number(record.protocol), record.port.into_value()]);
        let goto = |chain: Arc<str>| Some(Data::Verdict(Verdict::Goto(chain)));
        let mut elements = Vec::new();
        let mut add = |shared, key, data, commented: bool| {
            let comment = commented.then(|| Arc::from(format!("{record}")));
            let origin = Some(record.origin.clone());
            elements
                .push((shared, Element { key, data, timeout_ms: None, expires_ms: None, comment, origin }));
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
            let element =
                Element { key, data: None, timeout_ms: None, expires_ms: None, comment: None, origin };
            elements.push((Shared::HairpinConnections, element));
        }
        elements
    }

    fn affinity_sets(&self) -> Vec<Arc<Set>> {
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

    fn chains(&self) -> Vec<Arc<Chain>> {
        let few = [self.cluster_chain(), self.local_chain(), self.external_chain(), self.firewall_chain()];
        let affinity = self.port.record.affinity_secs.is_some();
        let endpoints = self.port.all().filter(|_| affinity).map(|endpoint| self.endpoint_chain(endpoint));
        few.into_iter().flatten().chain(endpoints).map(Arc::new).collect()
    }

    fn chain_named(&self, name: &str) -> Option<Chain> {
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

/// The table without what depends on service ports: all base chains and their helpers, and the shared sets and maps without
/// elements.
pub fn base_table(config: &ProxyConfig) -> Table {
    let origin = origin();
    let words = words(config.family);
    let mut sets: Vec<Arc<Set>> =
        Shared::ALL.into_iter().map(|s| Arc::new(shared_set(config, s, Vec::new()))).collect();
    if !config.matches_all_addresses() {
        let own = config.node_port_ips().into_iter().filter(|addr| !addr.is_loopback());
        let comment = Some("IPs that accept NodePort traffic");
        let set = Set {
            elements: own.map(|addr| element(Vec::from([Value::Addr(addr)]), None, None)).collect(),
            ..set("nodeport-ips", &[words.addr_type], &[], comment, &origin)
        };
        sets.insert(2, Arc::new(set));
    }
    Table {
        family: match config.family {
            Family::V4 => TableFamily::Ip,
            Family::V6 => TableFamily::Ip6,
        },
        name: TABLE.into(),
        flags: Vec::new(),
        comment: Some("rules for kube-proxy".into()),
        sets,
        chains: base_chains(config, words, &origin).into_iter().map(Arc::new).collect(),
        others: Vec::new(),
        origin,
    }
}

/// A set or map that service ports share, with these elements. Of two with one key the later counts.
pub fn shared_set(config: &ProxyConfig, shared: Shared, elements: Vec<Element>) -> Set {
    let addr = words(config.family).addr_type;
    let (key, data): (&[&str], &[&str]) = match shared {
        Shared::HairpinConnections => (&[addr, addr, "inet_proto", "inet_service"], &[]),
        Shared::ClusterIps => (&[addr], &[]),
        Shared::NoEndpointServices | Shared::FirewallIps | Shared::ServiceIps => {
            (&[addr, "inet_proto", "inet_service"], &["verdict"])
        }
        Shared::NoEndpointNodePorts | Shared::ServiceNodePorts => {
            (&["inet_proto", "inet_service"], &["verdict"])
        }
    };
    Set { elements, ..set(shared.name(), key, data, Some(shared.comment()), &origin()) }
}

fn base_chains(config: &ProxyConfig, words: Words, origin: &Origin) -> Vec<Chain> {
    const PRE_DNAT: i32 = DSTNAT - 10;
    let plain = |statements: Vec<Statement>| rule(statements, None, origin);
    let jump = |to: &str| Statement::Verdict(Verdict::Jump(to.into()));
    let on_new = |to: &str| {
        let new = Expr::Value(Value::Number(u64::from(CtState::New.bit())));
        plain(Vec::from([matches(Expr::Ct { original: None, key: CtKey::State }, new), jump(to)]))
    };
    let always = |to: &str| plain(Vec::from([jump(to)]));
    let base = |name: &str, kind, hook, priority, rules| Chain {
        base: Some(Base { kind, hook, devices: Vec::new(), priority, policy: Policy::Accept }),
        ..chain(name.into(), rules)
    };
    let (filter, nat) = (ChainKind::Filter, ChainKind::Nat);
    let firewall = || Vec::from([on_new("firewall-check")]);
    let checks = || Vec::from([on_new("service-endpoints-check"), on_new("cluster-ips-check")]);
    let input = Vec::from([on_new("nodeport-endpoints-check"), on_new("service-endpoints-check")]);
    let destination = || {
        let parts = [Expr::Field(words.daddr), Expr::Meta(Meta::L4proto), Expr::Field(Field::ThDport)];
        Expr::Concat(parts.into())
    };
    let node_port = || Expr::Concat(Vec::from([Expr::Meta(Meta::L4proto), Expr::Field(Field::ThDport)]));
    let vmap = |key, map: Shared| Statement::Vmap { key, map: Expr::Named(map.name().into()) };
    let reject = Chain {
        comment: Some("helper for @no-endpoint-services / @no-endpoint-nodeports".into()),
        ..chain("reject-chain".into(), Vec::from([plain(Vec::from([Statement::Reject(None)]))]))
    };
    let mut for_node = at_node_port_addresses(config, words);
    let mut without_endpoints = for_node.clone();
    if config.matches_all_addresses() {
        for_node.insert(0, local_address(FibKey::Daddr));
    }
    without_endpoints.push(vmap(node_port(), Shared::NoEndpointNodePorts));
    for_node.push(vmap(node_port(), Shared::ServiceNodePorts));
    let mut services = Vec::new();
    services.extend(masquerade_cluster_ips(config, words, origin));
    services.push(plain(Vec::from([vmap(destination(), Shared::ServiceIps)])));
    services.push(plain(for_node));
    Vec::from([
        base("filter-prerouting-pre-dnat", filter, Hook::Prerouting, PRE_DNAT, firewall()),
        base("filter-output-pre-dnat", filter, Hook::Output, PRE_DNAT, firewall()),
        base("filter-input", filter, Hook::Input, FILTER, input),
        base("filter-forward", filter, Hook::Forward, FILTER, checks()),
        base("filter-output", filter, Hook::Output, FILTER, checks()),
        base("nat-prerouting", nat, Hook::Prerouting, DSTNAT, Vec::from([always("services")])),
        base("nat-output", nat, Hook::Output, DSTNAT, Vec::from([always("services")])),
        base("nat-postrouting", nat, Hook::Postrouting, SRCNAT, Vec::from([always("masquerading")])),
        chain("nodeport-endpoints-check".into(), Vec::from([plain(without_endpoints)])),
        chain(
            "service-endpoints-check".into(),
            Vec::from([plain(Vec::from([vmap(destination(), Shared::NoEndpointServices)]))]),
        ),
        chain(
            "firewall-check".into(),
            Vec::from([plain(Vec::from([vmap(destination(), Shared::FirewallIps)]))]),
        ),
        chain("services".into(), services),
        chain("masquerading".into(), masquerading(config, words, origin)),
        chain("cluster-ips-check".into(), cluster_ips_check(config, words, origin)),
        reject,
    ])
}

/// Priorities of nft(8).
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;

/// Packets to an address at which node ports answer.
fn at_node_port_addresses(config: &ProxyConfig, words: Words) -> Vec<Statement> {
    let left = Expr::Field(words.daddr);
    Vec::from([if config.matches_all_addresses() {
        let right = Expr::Value(prefix(loopback_net(config.family)));
        Statement::Match { left, op: Op::Ne, right }
    } else {
        matches(left, Expr::Named("nodeport-ips".into()))
    }])
}

/// Everything to a cluster IP that does not come from a pod is masqueraded, whatever its port.
fn masquerade_cluster_ips(config: &ProxyConfig, words: Words, origin: &Origin) -> Option<Rule> {
    let cluster_ips = matches(Expr::Field(words.daddr), Expr::Named(Shared::ClusterIps.name().into()));
    let mark = set_mark(config.masquerade_mark);
    if config.masquerade_all {
        return Some(rule([cluster_ips, mark], Some("masquerade all clusterIP traffic"), origin));
    }
    let others = by_detector(words, config.detector.as_ref()?, Op::Ne);
    let comment = Some("masquerade clusterIP traffic from outside cluster");
    Some(rule([cluster_ips, others, mark], comment, origin))
}

fn masquerading(config: &ProxyConfig, words: Words, origin: &Origin) -> Vec<Rule> {
    let mark = || Expr::Value(Value::Number(u64::from(config.masquerade_mark)));
    let bits = |op| Expr::Binary { op, left: Box::new(Expr::Meta(Meta::Mark)), right: Box::new(mark()) };
    let flags = NatFlags { fully_random: true, ..NatFlags::default() };
    let masquerade = || Statement::Masquerade { port: None, flags };
    let marked =
        Statement::Match { left: bits(BinaryOp::And), op: Op::Ne, right: Expr::Value(Value::Number(0)) };
    let unmark = Statement::Assign { target: Expr::Meta(Meta::Mark), value: bits(BinaryOp::Xor) };
    let translated = matches(
        Expr::Ct { original: None, key: CtKey::Status },
        Expr::Value(Value::Number(u64::from(CtStatus::Dnat.bit()))),
    );
    let key = Expr::Concat(Vec::from([
        Expr::Field(words.saddr),
        Expr::Field(words.daddr),
        Expr::Meta(Meta::L4proto),
        Expr::Field(Field::ThDport),
    ]));
    let hairpin = matches(key, Expr::Named(Shared::HairpinConnections.name().into()));
    Vec::from([
        rule([marked, unmark, masquerade()], None, origin),
        rule([translated, hairpin, masquerade()], None, origin),
    ])
}

fn cluster_ips_check(config: &ProxyConfig, words: Words, origin: &Origin) -> Vec<Rule> {
    let to = |right| matches(Expr::Field(words.daddr), right);
    let active = to(Expr::Named(Shared::ClusterIps.name().into()));
    let comment = Some("Reject traffic to invalid ports of ClusterIPs");
    let mut rules = Vec::from([rule([active, Statement::Reject(None)], comment, origin)]);
    if !config.service_cidrs.is_empty() {
        let ranges = config.service_cidrs.iter().map(|net| element(Vec::from([prefix(*net)]), None, None));
        let ranges = to(Expr::Elements(ranges.collect()));
        let comment = Some("Drop traffic to unallocated ClusterIPs");
        rules.push(rule([ranges, Statement::Verdict(Verdict::Drop)], comment, origin));
    }
    rules
}

/// kube-proxy's whole table of one family, as a node shows it. O(rules).
pub fn table(config: &ProxyConfig, ports: &[Port]) -> Table {
    let parts: Vec<Part> = ports.iter().map(|port| part(config, port)).collect();
    assemble(config, parts.iter())
}

/// The table with the rules of these parts.
pub fn assemble<'a>(config: &ProxyConfig, parts: impl Iterator<Item = &'a Part> + Clone) -> Table {
    let mut table = base_table(config);
    for set in &mut table.sets {
        let Some(shared) = Shared::named(&set.name) else { continue };
        let all = parts.clone().flat_map(|part| &part.elements).filter(|(of, _)| *of == shared);
        let mut last: alloc::collections::BTreeMap<&[Value], &Element> = alloc::collections::BTreeMap::new();
        for (_, element) in all {
            last.insert(&element.key, element);
        }
        *set = Arc::new(shared_set(config, shared, last.into_values().cloned().collect()));
    }
    for part in parts {
        table.sets.extend(part.sets.iter().cloned());
        table.chains.extend(part.chains.iter().cloned());
    }
    table
}

fn by_detector(words: Words, detector: &Detector, op: Op) -> Statement {
    let iifname = || Expr::Meta(Meta::Iifname);
    let (left, right) = match detector {
        Detector::Source(net) => (Expr::Field(words.saddr), prefix(*net)),
        Detector::Bridge(name) => (iifname(), Value::Name(name.clone())),
        Detector::LinkPrefix(start) => (iifname(), Value::Name(format!("{start}*").into())),
    };
    Statement::Match { left, op, right: Expr::Value(right) }
}

fn stop(why: NoEndpoints) -> Option<Data> {
    Some(Data::Verdict(match why {
        NoEndpoints::Anywhere => Verdict::Goto("reject-chain".into()),
        NoEndpoints::Here => Verdict::Drop,
    }))
}

fn local_address(key: FibKey) -> Statement {
    let left = Expr::Fib { keys: Vec::from([key]), result: FibResult::Type };
    matches(left, Expr::Value(Value::Number(LOCAL)))
}

fn set_mark(bit: u32) -> Statement {
    let mark = || Expr::Meta(Meta::Mark);
    let right = Expr::Value(Value::Number(u64::from(bit)));
    let value = Expr::Binary { op: BinaryOp::Or, left: Box::new(mark()), right: Box::new(right) };
    Statement::Assign { target: mark(), value }
}

const fn matches(left: Expr, right: Expr) -> Statement {
    Statement::Match { left, op: Op::Implicit, right }
}

fn rule(statements: impl Into<Vec<Statement>>, comment: Option<&str>, origin: &Origin) -> Rule {
    Rule {
        statements: statements.into(),
        comment: comment.map(Into::into),
        handle: None,
        origin: origin.clone(),
    }
}

const fn chain(name: Arc<str>, rules: Vec<Rule>) -> Chain {
    Chain { name, base: None, comment: None, rules }
}

fn set(name: &str, key: &[&str], data: &[&str], comment: Option<&str>, origin: &Origin) -> Set {
    let types = |words: &[&str]| words.iter().map(|word| Arc::from(*word)).collect();
    Set {
        name: name.into(),
        key: types(key),
        key_typeof: None,
        data: types(data),
        flags: SetFlags::default(),
        timeout_ms: None,
        gc_interval_ms: None,
        size: None,
        auto_merge: false,
        comment: comment.map(Into::into),
        elements: Vec::new(),
        origin: origin.clone(),
    }
}

fn element(key: Vec<Value>, data: Option<Data>, origin: Option<&Origin>) -> Element {
    Element { key, data, timeout_ms: None, expires_ms: None, comment: None, origin: origin.cloned() }
}

/// A range; one of a single address is that address, as `nft` shows it.
fn prefix(net: IpNet) -> Value {
    if net.prefix_len() == net.max_prefix_len() { Value::Addr(net.addr()) } else { Value::Prefix(net) }
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

fn origin() -> Origin {
    Origin::implied("kube-proxy")
}
