//! iptables mode: what kube-proxy 1.36 writes into the tables `filter` and `nat` (`pkg/proxy/iptables/proxier.go`).
//!
//! In: service ports on a node. Out: chains and rules with kube-proxy's names and comments. A packet to a frontend goes
//! `KUBE-SERVICES` → `KUBE-SVC-…` (or by `KUBE-NODEPORTS`, `KUBE-EXT-…`, `KUBE-FW-…`) → `KUBE-SEP-…`, where its destination is
//! changed; a frontend without endpoints is refused or dropped in `filter`, which sees what was not changed.
//!
//! Every service port makes one [`Part`], independent of the others; kube-proxy visits them in the random order of a Go map, here
//! they are visited in the order that they are given in.
//!
//! Not modelled: the `nfacct` counters, which only count.

mod part;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use self::part::Maker;
pub(super) use self::part::{allows_node, by_detector};
use super::config::loopback_net;
use super::{Port, ProxyConfig};
use crate::addr::Family;
use crate::compile::tables::{Draft, Tables, chain, masquerade, set_mark, xor_mark};
use crate::origin::Origin;
use crate::plan::netfilter::{CtState, CtStatus};
use crate::plan::xt::{Chain, Conntrack, Inv, Match, Rule, Table, Target};

/// More endpoints than this make a cluster large.
pub(super) const LARGE: usize = 1000;

/// Whether rules per endpoint have comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterSize {
    /// They have.
    Small,
    /// More than 1,000 endpoints: they have none.
    Large,
}

impl ClusterSize {
    /// The size of a cluster with so many endpoints, counted once for each service port of one family.
    pub const fn of(endpoints: usize) -> Self {
        if endpoints > LARGE { Self::Large } else { Self::Small }
    }
}

/// The rules of one service port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// `filter` `KUBE-SERVICES`.
    pub filter_services: Vec<Rule>,
    /// `filter` `KUBE-EXTERNAL-SERVICES`.
    pub filter_external: Vec<Rule>,
    /// `filter` `KUBE-NODEPORTS`.
    pub filter_node_ports: Vec<Rule>,
    /// `filter` `KUBE-PROXY-FIREWALL`.
    pub filter_firewall: Vec<Rule>,
    /// `nat` `KUBE-SERVICES`.
    pub nat_services: Vec<Rule>,
    /// `nat` `KUBE-NODEPORTS`.
    pub nat_node_ports: Vec<Rule>,
    /// Chains of its own in `nat`.
    pub chains: Vec<Arc<Chain>>,
}

/// Compiles one service port. O(its endpoints).
pub fn part(config: &ProxyConfig, port: &Port, size: ClusterSize) -> Part {
    let maker = Maker::new(config, port, size);
    let mut part = maker.dispatch();
    part.chains = maker.chains();
    part
}

/// The rules of one service port in the chains that all share, without its own chains. O(its frontends).
pub fn dispatch(config: &ProxyConfig, port: &Port) -> Part {
    Maker::new(config, port, ClusterSize::Small).dispatch()
}

/// One chain of a service port; `None` if it has no chain of that name.
pub fn own_chain(config: &ProxyConfig, port: &Port, size: ClusterSize, name: &str) -> Option<Arc<Chain>> {
    Maker::new(config, port, size).chain_named(name).map(Arc::new)
}

/// Chains that all service ports share, in the order in which kube-proxy writes them.
const FILTER_CHAINS: [&str; 5] =
    ["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-FORWARD", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL"];
const NAT_CHAINS: [&str; 4] = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"];

/// A chain that service ports share, with the rules of these parts. `None` for another name.
pub fn shared_chain<'a>(
    config: &ProxyConfig,
    table: &str,
    name: &str,
    parts: impl Iterator<Item = &'a Part> + Clone,
) -> Option<Chain> {
    let origin = origin();
    let draft = || Draft::new(&origin);
    let mark = config.masquerade_mark;
    let all = |of: fn(&Part) -> &Vec<Rule>| -> Vec<Rule> { parts.clone().flat_map(of).cloned().collect() };
    let rules = match (table, name) {
        ("filter", "KUBE-SERVICES") => all(|part| &part.filter_services),
        ("filter", "KUBE-EXTERNAL-SERVICES") => all(|part| &part.filter_external),
        ("filter", "KUBE-NODEPORTS") => all(|part| &part.filter_node_ports),
        ("filter", "KUBE-PROXY-FIREWALL") => all(|part| &part.filter_firewall),
        ("filter", "KUBE-FORWARD") => forward_rules(config, &origin),
        ("nat", "KUBE-SERVICES") => {
            let mut rules = all(|part| &part.nat_services);
            rules.extend(node_port_rules(config, &origin));
            rules
        }
        ("nat", "KUBE-NODEPORTS") => all(|part| &part.nat_node_ports),
        ("nat", "KUBE-POSTROUTING") => Vec::from([
            draft().mark(Inv::not(mark)).target(Target::Return),
            draft().target(xor_mark(mark)),
            draft().comment("kubernetes service traffic requiring SNAT").target(masquerade(true)),
        ]),
        ("nat", "KUBE-MARK-MASQ") => Vec::from([draft().target(set_mark(mark))]),
        _ => return None,
    };
    Some(chain(name, rules))
}

fn forward_rules(config: &ProxyConfig, origin: &Origin) -> Vec<Rule> {
    let draft = || Draft::new(origin);
    let state = |states: &[CtState]| {
        let state = Some(Inv::is((states.to_vec(), Vec::new())));
        Match::Conntrack(Box::new(Conntrack { state, ..Conntrack::default() }))
    };
    let mut rules = Vec::new();
    if !config.be_liberal {
        rules.push(draft().module(state(&[CtState::Invalid])).target(Target::Drop));
    }
    let marked = draft().comment("kubernetes forwarding rules").mark(Inv::is(config.masquerade_mark));
    rules.push(marked.target(Target::Accept));
    let known = draft().comment("kubernetes forwarding conntrack rule");
    rules.push(known.module(state(&[CtState::Related, CtState::Established])).target(Target::Accept));
    rules
}

/// The last rules of `KUBE-SERVICES`: what is for the node itself may be for a node port.
fn node_port_rules(config: &ProxyConfig, origin: &Origin) -> Vec<Rule> {
    let draft = || {
        let words = "kubernetes service nodeports; NOTE: this must be the last rule in this chain";
        Draft::new(origin).comment(words)
    };
    let localhost = config.effective_localhost_node_ports();
    if config.matches_all_addresses() {
        let draft = draft().local_destination();
        let draft = if localhost { draft } else { draft.destination(Inv::not(loopback_net(config.family))) };
        return Vec::from([draft.jump("KUBE-NODEPORTS")]);
    }
    let addrs = config.node_port_ips().into_iter().filter(|addr| localhost || !addr.is_loopback());
    addrs.map(|addr| draft().to(addr).jump("KUBE-NODEPORTS")).collect()
}

/// The rules in built-in chains that lead to kube-proxy's, and kubelet's chains, in the order in which they are made.
pub(in crate::compile) fn add_jumps(tables: &mut Tables) {
    let origin = origin();
    let draft = |words: &'static str| Draft::new(&origin).comment(words);
    let new = |words: &'static str| Draft::new(&origin).new_connection().comment(words);
    const PORTALS: &str = "kubernetes service portals";
    const EXTERNAL: &str = "kubernetes externally-visible service portals";
    const FIREWALL: &str = "kubernetes load balancer firewall";
    for (chain, rule) in [
        ("INPUT", new(EXTERNAL).jump("KUBE-EXTERNAL-SERVICES")),
        ("FORWARD", new(EXTERNAL).jump("KUBE-EXTERNAL-SERVICES")),
        ("INPUT", draft("kubernetes health check service ports").jump("KUBE-NODEPORTS")),
        ("FORWARD", new(PORTALS).jump("KUBE-SERVICES")),
        ("OUTPUT", new(PORTALS).jump("KUBE-SERVICES")),
        ("FORWARD", draft("kubernetes forwarding rules").jump("KUBE-FORWARD")),
        ("INPUT", new(FIREWALL).jump("KUBE-PROXY-FIREWALL")),
        ("OUTPUT", new(FIREWALL).jump("KUBE-PROXY-FIREWALL")),
        ("FORWARD", new(FIREWALL).jump("KUBE-PROXY-FIREWALL")),
    ] {
        tables.prepend("filter", chain, rule);
    }
    tables.prepend("nat", "OUTPUT", draft(PORTALS).jump("KUBE-SERVICES"));
    tables.prepend("nat", "PREROUTING", draft(PORTALS).jump("KUBE-SERVICES"));
    tables.prepend("nat", "POSTROUTING", draft("kubernetes postrouting rules").jump("KUBE-POSTROUTING"));
    for table in ["mangle", "nat", "filter"] {
        tables.chain(table, Arc::new(chain("KUBE-PROXY-CANARY", Vec::new())));
    }
}

/// What kubelet keeps in the tables in every mode: a hint which iptables is in use, canaries, and in IPv4 the protection of the
/// node's loopback services (`pkg/kubelet/kubelet_network_linux.go`, v1.36).
pub(in crate::compile) fn add_kubelet(tables: &mut Tables, family: Family) {
    let origin = Origin::implied("kubelet");
    tables.chain("mangle", Arc::new(chain("KUBE-IPTABLES-HINT", Vec::new())));
    for table in ["mangle", "nat", "filter"] {
        tables.chain(table, Arc::new(chain("KUBE-KUBELET-CANARY", Vec::new())));
    }
    if family == Family::V6 {
        return;
    }
    let states = (Vec::from([CtState::Related, CtState::Established]), Vec::from([CtStatus::Dnat]));
    let conntrack = Conntrack { state: Some(Inv::not(states)), ..Conntrack::default() };
    let rule = Draft::new(&origin)
        .comment("block incoming localnet connections")
        .source(Inv::not(loopback_net(family)))
        .destination(Inv::is(loopback_net(family)))
        .module(Match::Conntrack(Box::new(conntrack)))
        .target(Target::Drop);
    tables.chain("filter", Arc::new(chain("KUBE-FIREWALL", Vec::from([rule]))));
    for chain in ["INPUT", "OUTPUT"] {
        tables.prepend("filter", chain, Draft::new(&origin).jump("KUBE-FIREWALL"));
    }
}

/// kube-proxy's chains with the rules of these parts.
pub(in crate::compile) fn add_chains<'a>(
    config: &ProxyConfig,
    parts: impl Iterator<Item = &'a Part> + Clone,
    tables: &mut Tables,
) {
    let filter = FILTER_CHAINS.iter().map(|name| ("filter", *name));
    for (table, name) in filter.chain(NAT_CHAINS.iter().map(|name| ("nat", *name))) {
        if let Some(chain) = shared_chain(config, table, name, parts.clone()) {
            tables.chain(table, Arc::new(chain));
        }
    }
    for chain in parts.flat_map(|part| &part.chains) {
        tables.chain("nat", chain.clone());
    }
}

/// What kube-proxy feeds to `iptables-restore --noflush` in a full sync: its own chains in the order in which it writes them.
///
/// ```
/// use kubenet_core::addr::Family;
/// use kubenet_core::compile::service::{ProxyConfig, iptables};
///
/// let tables = iptables::fed(&ProxyConfig::new(Family::V4, "node-1"), &[]);
/// let names: Vec<&str> = tables[1].chains.iter().map(|chain| &*chain.name).collect();
/// assert_eq!(names, ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"]);
/// ```
pub fn fed(config: &ProxyConfig, ports: &[Port]) -> Vec<Table> {
    let size = ClusterSize::of(ports.iter().map(|port| port.endpoints.len()).sum());
    let parts: Vec<Part> = ports.iter().map(|port| part(config, port, size)).collect();
    let shared = |table: &'static str, names: &[&str]| -> Vec<Arc<Chain>> {
        let chains = names.iter().filter_map(|name| shared_chain(config, table, name, parts.iter()));
        chains.map(Arc::new).collect()
    };
    let mut filter = shared("filter", &FILTER_CHAINS);
    if config.effective_localhost_node_ports() {
        let mut kubelet = Tables::new(config.family);
        add_kubelet(&mut kubelet, config.family);
        let tables = kubelet.finish();
        let firewall = tables.iter().find_map(|table| table.chain("KUBE-FIREWALL"));
        filter.extend(firewall.cloned());
    }
    let mut nat = shared("nat", &NAT_CHAINS);
    nat.extend(parts.into_iter().flat_map(|part| part.chains));
    let table = |name: &str, chains| Table { family: config.family, name: name.into(), chains };
    Vec::from([table("filter", filter), table("nat", nat)])
}

/// The tables of one family as a node shows them, with kubelet's chains and nothing of others. O(rules).
pub fn shown(config: &ProxyConfig, ports: &[Port]) -> Vec<Table> {
    let size = ClusterSize::of(ports.iter().map(|port| port.endpoints.len()).sum());
    let parts: Vec<Part> = ports.iter().map(|port| part(config, port, size)).collect();
    let mut tables = Tables::new(config.family);
    add_jumps(&mut tables);
    add_kubelet(&mut tables, config.family);
    add_chains(config, parts.iter(), &mut tables);
    tables.finish()
}

fn origin() -> Origin {
    Origin::implied("kube-proxy")
}
