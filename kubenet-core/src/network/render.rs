//! Tables of a node or pod, as the command on it would print them.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Network;
use crate::addr::Family;
use crate::compile;
use crate::plan::{
    IpRule, MachinePlan, Netfilter, Netns, PlanSource, RuleAction, Socket, TABLE_DEFAULT, TABLE_LOCAL,
    TABLE_MAIN, xt,
};
use crate::question::{Endpoint, QuestionError, QuestionFault, Target, What};
use crate::text::ip_link::Details;
use crate::text::{
    bridge_fdb, ip_addr, ip_link, ip_neigh, ip_route, ip_rule, ipset, iptables_save, ipvsadm, nft, ss,
};

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `ip route show`, then `ip -6 route show`.
    IpRoute,
    /// `ip rule show`, then `ip -6 rule show`.
    IpRule,
    /// `ip addr show`.
    IpAddr,
    /// `ip link show`, with details.
    IpLink,
    /// `ip neigh show`: the permanent entries; the others come and go with packets.
    IpNeigh,
    /// `bridge fdb show`: the permanent entries.
    BridgeFdb,
    /// `ss -lntu`.
    Ss,
    /// `iptables-save`.
    IptablesSave,
    /// `ip6tables-save`.
    Ip6tablesSave,
    /// What `iptables-restore` is fed with.
    IptablesRestore,
    /// What `ip6tables-restore` is fed with.
    Ip6tablesRestore,
    /// `nft list ruleset`.
    Nft,
    /// What `nft -f` is fed with.
    NftFeed,
    /// `ipset save`.
    Ipset,
    /// `ipvsadm -Sn`.
    Ipvsadm,
}

impl Table {
    /// All tables with the names that `--as` and scenarios give them.
    pub const ALL: [(&str, Self); 15] = [
        ("ip-route", Self::IpRoute),
        ("ip-rule", Self::IpRule),
        ("ip-addr", Self::IpAddr),
        ("ip-link", Self::IpLink),
        ("ip-neigh", Self::IpNeigh),
        ("bridge-fdb", Self::BridgeFdb),
        ("ss", Self::Ss),
        ("iptables-save", Self::IptablesSave),
        ("ip6tables-save", Self::Ip6tablesSave),
        ("iptables-restore", Self::IptablesRestore),
        ("ip6tables-restore", Self::Ip6tablesRestore),
        ("nft", Self::Nft),
        ("nft-feed", Self::NftFeed),
        ("ipset", Self::Ipset),
        ("ipvsadm", Self::Ipvsadm),
    ];

    /// The table with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(other, _)| *other == name).map(|(_, table)| *table)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, other)| *other == self).map_or("", |(name, _)| name)
    }
}

/// Why a table cannot be printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The words name no node or pod.
    #[error("{0}")]
    What(QuestionError),
    /// The command has no JSON form.
    #[error("{0} has no JSON form")]
    NoJson(&'static str),
}

pub(super) fn render(
    network: &Network,
    what: &str,
    namespace: &str,
    table: Table,
    json: bool,
) -> Result<String, RenderError> {
    let (machine, netns) = find(network, what, namespace).map_err(RenderError::What)?;
    let Some(inside) = machine.netns.get(netns) else { return Ok(String::new()) };
    let rules =
        |family| if inside.rules.is_empty() { kernel_rules(family, inside) } else { inside.rules.clone() };
    Ok(match (table, json) {
        (Table::IpRoute, false) => {
            ip_route::render_table(&inside.routes, Family::V4, TABLE_MAIN)
                + &ip_route::render_table(&inside.routes, Family::V6, TABLE_MAIN)
        }
        (Table::IpRoute, true) => ip_route::render_json(&inside.routes),
        (Table::IpRule, false) => {
            ip_rule::render(&rules(Family::V4), Family::V4) + &ip_rule::render(&rules(Family::V6), Family::V6)
        }
        (Table::IpRule, true) => ip_rule::render_json(&rules(Family::V4), Family::V4),
        (Table::IpAddr, false) => ip_addr::render(&machine, netns, Details::Hide),
        (Table::IpAddr, true) => ip_addr::render_json(&machine, netns, Details::Hide),
        (Table::IpLink, false) => ip_link::render(&machine, netns, Details::Show),
        (Table::IpLink, true) => ip_link::render_json(&machine, netns, Details::Show),
        (Table::IpNeigh, false) => ip_neigh::render(&inside.neighbours),
        (Table::IpNeigh, true) => ip_neigh::render_json(&inside.neighbours),
        (Table::BridgeFdb, false) => bridge_fdb::render(&inside.fdb),
        (Table::BridgeFdb, true) => bridge_fdb::render_json(&inside.fdb),
        (Table::Ss, false) => ss::render(&all_sockets(inside)),
        (rules, false) => return Ok(render_rules(&inside.netfilter, rules)),
        (other, true) => return Err(RenderError::NoJson(other.name())),
    })
}

/// The sockets of a namespace, those too that are made when a packet asks for them.
fn all_sockets(inside: &Netns) -> Vec<Socket> {
    let mut all = inside.sockets.clone();
    all.extend(inside.more_sockets.whole());
    all.sort_by_key(|socket| (socket.protocol, socket.port));
    all
}

/// Rules, sets and virtual servers.
fn render_rules(netfilter: &Netfilter, table: Table) -> String {
    let whole = netfilter.whole();
    let xt = |family: Family| -> Vec<xt::Table> {
        whole.xt.iter().filter(|table| table.family == family).cloned().collect()
    };
    match table {
        Table::IptablesSave => iptables_save::render(&xt(Family::V4), iptables_save::Dialect::default()),
        Table::Ip6tablesSave => iptables_save::render(&xt(Family::V6), iptables_save::Dialect::default()),
        Table::IptablesRestore => {
            iptables_save::render_restore(&xt(Family::V4), iptables_save::Marks::Padded)
        }
        Table::Ip6tablesRestore => {
            iptables_save::render_restore(&xt(Family::V6), iptables_save::Marks::Padded)
        }
        Table::Nft => {
            let mut tables = whole.nft.clone();
            if netfilter.supply().is_some() {
                nft::settle(&mut tables);
            }
            nft::render(&tables, nft::Dialect::default())
        }
        Table::NftFeed => nft::render_feed(&whole.nft),
        Table::Ipset => ipset::render(&whole.ipsets),
        Table::Ipvsadm => ipvsadm::render(&whole.ipvs),
        Table::IpRoute
        | Table::IpRule
        | Table::IpAddr
        | Table::IpLink
        | Table::IpNeigh
        | Table::BridgeFdb
        | Table::Ss => String::new(),
    }
}

/// The three rules that every namespace begins with (`fib_default_rules_init`); IPv6 has no default table.
fn kernel_rules(family: Family, inside: &Netns) -> Vec<IpRule> {
    let tables = [(0, TABLE_LOCAL), (32766, TABLE_MAIN), (32767, TABLE_DEFAULT)];
    let wanted = tables.iter().filter(|(_, table)| family == Family::V4 || *table != TABLE_DEFAULT);
    let rule = |(priority, table): &(u32, u32)| IpRule {
        family,
        priority: *priority,
        invert: false,
        from: None,
        to: None,
        iif: None,
        oif: None,
        fwmark: None,
        action: RuleAction::Lookup(*table),
        carried: None,
        origin: inside.origin.clone(),
    };
    wanted.map(rule).collect()
}

/// The machine and namespace of a node, a pod, the gateway, or a workload's first pod. A bare word is a node first, then a pod.
pub(super) fn find(
    network: &Network,
    what: &str,
    namespace: &str,
) -> Result<(Arc<MachinePlan>, usize), QuestionError> {
    let cluster = network.cluster();
    let plans = network.plans();
    let endpoint = Endpoint::parse(what)?;
    let refuse = |message: String| QuestionError {
        fault: QuestionFault::Unusable,
        text: what.into(),
        offset: 0,
        length: what.chars().count().max(1),
        message,
        candidates: Vec::new(),
    };
    let named = match &endpoint.target {
        Target::Host(name) if [compile::GATEWAY, compile::LOAD_BALANCER].contains(&&**name) => {
            plans.machine_named(name).map(|id| (id, 0))
        }
        Target::Host(name) => {
            let node = plans.machine_named(name).map(|id| (id, 0));
            let pod = || compile::pod_netns(cluster, cluster.pod_named(namespace, name)?);
            node.or_else(pod)
        }
        Target::Object { .. } | Target::Named { .. } | Target::Address(_) | Target::Internet(_) => None,
    };
    let place = match named {
        Some(place) => place,
        None => {
            let resolved = endpoint.resolve(cluster, namespace)?;
            let no_netns = || refuse(format!("'{what}' has no network namespace"));
            let one = resolved.targets.first().ok_or_else(no_netns)?;
            match &one.what {
                What::Pod(pod) => compile::pod_netns(cluster, *pod).ok_or_else(no_netns)?,
                What::Node(node) => (crate::plan::MachineId(*node), 0),
                What::Address(addr) => cluster
                    .pod_by_address(*addr)
                    .and_then(|pod| compile::pod_netns(cluster, pod))
                    .or_else(|| Some((crate::plan::MachineId(cluster.node_by_address(*addr)?), 0)))
                    .ok_or_else(no_netns)?,
                What::Service(_) | What::Internet(_) => return Err(no_netns()),
                What::Host { near, .. } => {
                    let mut error = refuse(format!("no node or pod '{what}' in namespace '{namespace}'"));
                    error.candidates.clone_from(near);
                    return Err(error);
                }
            }
        }
    };
    let machine = plans.machine(place.0).ok_or_else(|| refuse(format!("'{what}' is no machine")))?;
    Ok((machine, place.1 as usize))
}
