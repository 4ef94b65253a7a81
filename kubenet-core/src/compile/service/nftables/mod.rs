//! nftables mode: what kube-proxy 1.36 writes into its table `kube-proxy` (`pkg/proxy/nftables/proxier.go`, KEP-3866).
//!
//! In: service ports on a node. Out: a table of one family. The way of a packet is looked up in maps from address, transport and
//! port to the chain of a service port; one rule there chooses the endpoint. Packets to frontends without endpoints are found in maps
//! of their own. Every service port makes one [`Part`]: elements of the shared maps, and chains.

mod part;

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ipnet::IpNet;

use self::part::Maker;
use super::config::loopback_net;
use super::{Detector, Port, ProxyConfig};
use crate::addr::Family;
use crate::origin::Origin;
use crate::plan::Hook;
use crate::plan::netfilter::{CtState, CtStatus, NatFlags};
use crate::plan::nft::{
    Base, BinaryOp, Chain, ChainKind, CtKey, Data, Element, Expr, FibKey, FibResult, Field, Meta, Op, Rule,
    Set, SetFlags, Statement, Table, TableFamily, Value, Verdict,
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
        statements: None,
        comment: comment.map(Into::into),
        elements: Vec::new(),
        origin: origin.clone(),
    }
}

fn element(key: Vec<Value>, data: Option<Data>, origin: Option<&Origin>) -> Element {
    Element {
        key,
        data,
        timeout_ms: None,
        expires_ms: None,
        statements: None,
        comment: None,
        origin: origin.cloned(),
    }
}

/// A range; one of a single address is that address, as `nft` shows it.
fn prefix(net: IpNet) -> Value {
    if net.prefix_len() == net.max_prefix_len() { Value::Addr(net.addr()) } else { Value::Prefix(net) }
}

fn origin() -> Origin {
    Origin::implied("kube-proxy")
}
