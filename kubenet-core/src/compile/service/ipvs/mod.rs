//! ipvs mode: what kube-proxy 1.36 writes as virtual servers, sets and rules (`pkg/proxy/ipvs/{proxier,ipset}.go`).
//!
//! In: service ports on a node. Out: a virtual server for every frontend, whose real servers are the endpoints; sets of
//! `ipset` that say what is a Service; a few rules that ask them, to masquerade and to filter. The addresses of Services are the
//! node's own, on the link `kube-ipvs0`, so that their packets come to the input hook, where IPVS takes them.
//!
//! Every service port makes one [`Part`], independent of the others. Where two of them claim one virtual server the later counts;
//! kube-proxy visits them in the random order of a Go map. Unlike in the other modes, policy `Local` without an endpoint on the
//! node uses those of the whole cluster.
//!
//! Not modelled: `--ipvs-strict-arp` (its sysctls can be assumed), `--ipvs-exclude-cidrs`, and the timeouts of connections.

mod chain;
mod part;
mod set;
mod supply;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use self::chain::{CHAINS, Present};
pub(super) use self::chain::{add_constant, add_jumps};
pub use self::part::entries;
pub use self::set::Shared;
pub(in crate::compile) use self::supply::bound;
pub(super) use self::supply::{chain, entry, virtual_server};
use super::{Port, ProxyConfig, iptables};
use crate::compile::tables::Tables;
use crate::plan::netfilter::Ruleset;
use crate::plan::xt::Rule;
use crate::plan::{IpSet, IpSetEntry, IpSetPart, VirtualId, VirtualServer};

/// The link that has the addresses of Services.
pub const LINK: &str = "kube-ipvs0";

/// What one service port makes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Entries of the shared sets.
    pub entries: Vec<(Shared, IpSetEntry)>,
    /// Virtual servers.
    pub servers: Vec<Arc<VirtualServer>>,
    /// `filter` `KUBE-IPVS-OUT-FILTER`.
    pub out_filter: Vec<Rule>,
}

/// Compiles one service port. O(its frontends × endpoints).
pub fn part(config: &ProxyConfig, port: &Port) -> Part {
    Part {
        entries: part::loop_back(port).chain(entries(config, &port.record)).collect(),
        servers: part::servers(config, port),
        out_filter: part::out_filter(config, &port.record),
    }
}

/// kube-proxy's chains, sets and virtual servers with what these parts make. O(parts × log).
pub(super) fn add<'a>(
    config: &ProxyConfig,
    parts: impl Iterator<Item = &'a Part> + Clone,
    tables: &mut Tables,
    ruleset: &mut Ruleset,
) {
    let mut entries: BTreeMap<Shared, Vec<IpSetEntry>> = BTreeMap::new();
    for (shared, entry) in parts.clone().flat_map(|part| &part.entries) {
        entries.entry(*shared).or_default().push(entry.clone());
    }
    for (table, name) in CHAINS {
        let out_filter = parts.clone().flat_map(|part| &part.out_filter).cloned().collect();
        let present = Present { has: &|shared| entries.contains_key(&shared), out_filter };
        if let Some(chain) = chain::made(config, table, name, present) {
            tables.chain(table, Arc::new(chain));
        }
    }
    for shared in Shared::ALL {
        let entries = ordered(entries.remove(&shared).unwrap_or_default());
        ruleset.ipsets.push(Arc::new(shared.set(config.family, entries)));
    }
    let servers = parts.flat_map(|part| &part.servers);
    let servers: BTreeMap<VirtualId, &Arc<VirtualServer>> = servers.map(|s| (s.id, s)).collect();
    ruleset.ipvs.extend(servers.into_values().cloned());
}

/// The sets without their entries.
pub(super) fn empty_sets(config: &ProxyConfig) -> impl Iterator<Item = Arc<IpSet>> {
    Shared::ALL.into_iter().map(|shared| Arc::new(shared.set(config.family, Vec::new())))
}

/// The rules of one family as a node shows them, with kubelet's chains and nothing of others. O(rules).
pub(super) fn shown(config: &ProxyConfig, ports: &[Port]) -> Ruleset {
    let parts: Vec<Part> = ports.iter().map(|port| part(config, port)).collect();
    let (mut tables, mut ruleset) = (Tables::new(config.family), Ruleset::default());
    add_jumps(&mut tables);
    iptables::add_kubelet(&mut tables, config.family);
    add(config, parts.iter(), &mut tables, &mut ruleset);
    ruleset.xt = tables.finish();
    ruleset
}

/// Entries of one set, sorted; of two that are equal the later counts.
fn ordered(entries: impl IntoIterator<Item = IpSetEntry>) -> Vec<IpSetEntry> {
    let by_parts: BTreeMap<Vec<IpSetPart>, IpSetEntry> =
        entries.into_iter().map(|entry| (entry.parts.clone(), entry)).collect();
    by_parts.into_values().collect()
}
