//! The rules of a node, made when a packet looks them up.
//!
//! In: a cluster and a node. Out: a [`Supply`] that holds what does not depend on Services, and compiles for each look-up the service
//! ports that the packet's destination may mean: by address, and by port for node ports. A look-up costs those service ports and
//! their endpoints, whatever else there is in the cluster; the answer is that of [`NodeRules`].

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU8, Ordering};

use super::iptables::{self, ClusterSize, Part};
use super::nftables::{self, Shared};
use super::rules::{add_others, families, is_served};
use super::userspace::{self, ProxyPorts, ProxySockets};
use super::{NodeRules, Port, ProxyConfig, ipvs, ports_of_service};
use crate::addr::Family;
use crate::cluster::{Cluster, ProxyMode};
use crate::compile::tables::Tables;
use crate::plan::netfilter::{PacketKey, Ruleset, Supply};
use crate::plan::{IpSetEntry, IpSetPart, VirtualId, VirtualServer, nft, xt};

/// Chains of `iptables` mode that depend on Services, as table and name.
const DISPATCH: [(&str, &str); 6] = [
    ("filter", "KUBE-SERVICES"),
    ("filter", "KUBE-EXTERNAL-SERVICES"),
    ("filter", "KUBE-NODEPORTS"),
    ("filter", "KUBE-PROXY-FIREWALL"),
    ("nat", "KUBE-SERVICES"),
    ("nat", "KUBE-NODEPORTS"),
];

/// The rules of a node, made when they are looked up.
#[derive(Debug)]
pub struct NodeSupply {
    cluster: Cluster,
    node: u32,
    mode: ProxyMode,
    families: Vec<Proxy>,
    /// Where kube-proxy listens, in mode `userspace`.
    numbers: Arc<ProxyPorts>,
    base: Ruleset,
}

/// kube-proxy in one family.
#[derive(Debug)]
struct Proxy {
    config: ProxyConfig,
    /// The size of the cluster, once it was counted: 1 for small, 2 for large.
    size: AtomicU8,
}

impl Proxy {
    /// Counts at the first call. Two that call at once count the same.
    fn size(&self, cluster: &Cluster) -> ClusterSize {
        match self.size.load(Ordering::Relaxed) {
            1 => ClusterSize::Small,
            2 => ClusterSize::Large,
            _ => {
                let size = cluster_size(cluster, &self.config);
                let number = if size == ClusterSize::Small { 1 } else { 2 };
                self.size.store(number, Ordering::Relaxed);
                size
            }
        }
    }
}

impl NodeSupply {
    /// The rules of a node, by its place in [`Cluster::nodes`]. `None` where there is no such node.
    /// O(pods of the node), and in nftables mode O(Services + endpoints of those with affinity), whose sets are all there.
    pub fn new(cluster: &Cluster, node: u32) -> Option<Self> {
        let mode = cluster.settings.proxy_mode.value;
        let mut numbers = Arc::<ProxyPorts>::default();
        let mut all = Vec::new();
        let mut base = Ruleset::default();
        for family in families(cluster) {
            let config = ProxyConfig::of_node(cluster, node, family)?;
            let mut tables = Tables::new(family);
            let served = is_served(cluster, node, mode, family);
            match mode {
                ProxyMode::Nftables => {
                    let mut table = nftables::base_table(&config);
                    table.sets.extend(affinity_sets(cluster, &config));
                    base.nft.push(table);
                }
                ProxyMode::Ipvs => {
                    ipvs::add_jumps(&mut tables);
                    ipvs::add_constant(&config, &mut tables);
                    base.ipsets.extend(ipvs::empty_sets(&config));
                }
                ProxyMode::Iptables => iptables::add_jumps(&mut tables),
                ProxyMode::Userspace => {
                    if served {
                        userspace::add_jumps(&mut tables);
                        numbers = cluster.proxy_ports(node, family);
                    }
                }
            }
            iptables::add_kubelet(&mut tables, family);
            add_others(cluster, node, &mut tables, family);
            if mode == ProxyMode::Iptables {
                for (table, name) in
                    [("filter", "KUBE-FORWARD"), ("nat", "KUBE-POSTROUTING"), ("nat", "KUBE-MARK-MASQ")]
                {
                    let chain = iptables::shared_chain(&config, table, name, core::iter::empty::<&Part>());
                    chain.into_iter().for_each(|chain| tables.chain(table, Arc::new(chain)));
                }
            }
            base.xt.extend(tables.finish());
            if served {
                all.push(Proxy { config, size: AtomicU8::new(0) });
            }
        }
        Some(Self { cluster: cluster.clone(), node, mode, families: all, numbers, base })
    }

    /// The sockets of kube-proxy, in mode `userspace`.
    pub(in crate::compile) fn sockets(&self) -> Option<ProxySockets> {
        let proxy = self.families.first().filter(|_| self.mode == ProxyMode::Userspace)?;
        Some(ProxySockets::new(self.cluster.clone(), proxy.config.clone(), self.numbers.clone()))
    }

    /// The kube-proxies of the node, one for each family.
    pub(in crate::compile) fn configs(&self) -> impl Iterator<Item = &ProxyConfig> {
        self.families.iter().map(|proxy| &proxy.config)
    }

    fn family(&self, family: Family) -> Option<&Proxy> {
        self.families.iter().find(|proxy| proxy.config.family == family)
    }

    fn ports(&self, config: &ProxyConfig, services: impl IntoIterator<Item = u32>) -> Vec<Port> {
        services.into_iter().flat_map(|place| ports_of_service(&self.cluster, place, config)).collect()
    }

    /// The service ports that a packet may be for.
    fn meant(&self, config: &ProxyConfig, key: &PacketKey) -> Vec<Port> {
        let Some((_, dport)) = key.ports else { return Vec::new() };
        let of_node = self.cluster.services_with_node_port(dport);
        let mut services: Vec<u32> =
            self.cluster.services_at(key.dst).iter().chain(of_node).copied().collect();
        services.sort_unstable();
        services.dedup();
        let mut ports = self.ports(config, services);
        ports.retain(|port| {
            let record = &port.record;
            let on_node = [record.node_port, record.health_check_node_port];
            record.port == dport || on_node.contains(&Some(dport))
        });
        ports
    }

    fn own_chain(&self, proxy: &Proxy, name: &str, key: &PacketKey) -> Option<Arc<xt::Chain>> {
        let config = &proxy.config;
        let size = proxy.size(&self.cluster);
        let find =
            |ports: &[Port]| ports.iter().find_map(|port| iptables::own_chain(config, port, size, name));
        // The packet came here from one of its own service ports; anybody else who asks pays for the search.
        find(&self.meant(config, key)).or_else(|| {
            let services = 0..u32::try_from(self.cluster.services.len()).unwrap_or(u32::MAX);
            services.into_iter().find_map(|place| find(&ports_of_service(&self.cluster, place, config)))
        })
    }
}

impl Supply for NodeSupply {
    fn ruleset(&self) -> &Ruleset {
        &self.base
    }

    fn xt_chain(&self, family: Family, table: &str, chain: &str, key: &PacketKey) -> Option<Arc<xt::Chain>> {
        let proxy = self.family(family)?;
        let config = &proxy.config;
        match self.mode {
            ProxyMode::Iptables => {}
            ProxyMode::Ipvs => return ipvs::chain(&self.cluster, config, (table, chain), key),
            ProxyMode::Userspace => {
                return userspace::looked_up(&self.cluster, config, &self.numbers, (table, chain), key);
            }
            ProxyMode::Nftables => return None,
        }
        if DISPATCH.contains(&(table, chain)) {
            let parts: Vec<Part> =
                self.meant(config, key).iter().map(|port| iptables::dispatch(config, port)).collect();
            return iptables::shared_chain(config, table, chain, parts.iter()).map(Arc::new);
        }
        let own = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-"];
        if table != "nat" || !own.iter().any(|start| chain.starts_with(start)) {
            return None;
        }
        self.own_chain(proxy, chain, key)
    }

    fn nft_chain(&self, family: nft::TableFamily, table: &str, chain: &str) -> Option<Arc<nft::Chain>> {
        let config = &self.nft_proxy(family, table)?.config;
        // `KIND-HASH-NAMESPACE/SERVICE/PROTOCOL/PORT`.
        let (_, words) = chain.split_once('-')?.1.split_once('-')?;
        let mut words = words.split('/');
        let service = self.cluster.service_named(words.next()?, words.next()?)?;
        let ports = ports_of_service(&self.cluster, service, config);
        ports.iter().find_map(|port| nftables::own_chain(config, port, chain))
    }

    fn nft_element(
        &self,
        family: nft::TableFamily,
        table: &str,
        set: &str,
        key: &[nft::Value],
    ) -> Option<nft::Element> {
        let config = &self.nft_proxy(family, table)?.config;
        let shared = Shared::named(set)?;
        let services = match shared {
            Shared::HairpinConnections => self.cluster.services_with_endpoint(address(key.first()?)?),
            Shared::ClusterIps | Shared::NoEndpointServices | Shared::FirewallIps | Shared::ServiceIps => {
                self.cluster.services_at(address(key.first()?)?).to_vec()
            }
            Shared::NoEndpointNodePorts | Shared::ServiceNodePorts => {
                let nft::Value::Number(port) = key.get(1)? else { return None };
                self.cluster.services_with_node_port(u16::try_from(*port).ok()?).to_vec()
            }
        };
        let ports = self.ports(config, services);
        let elements = ports.iter().flat_map(|port| nftables::elements(config, port));
        elements
            .filter(|(of, element)| *of == shared && element.key == key)
            .last()
            .map(|(_, element)| element)
    }

    fn asks_elements(&self, family: nft::TableFamily, table: &str, set: &str) -> bool {
        self.nft_proxy(family, table).is_some() && Shared::named(set).is_some()
    }

    fn asks_entries(&self, set: &str) -> bool {
        self.mode == ProxyMode::Ipvs && ipvs::Shared::named(set).is_some()
    }

    fn ipset_entry(&self, set: &str, parts: &[IpSetPart]) -> Option<IpSetEntry> {
        let (shared, family) = ipvs::Shared::named(set).filter(|_| self.mode == ProxyMode::Ipvs)?;
        let proxy = self.family(family)?;
        ipvs::entry(&self.cluster, &proxy.config, shared, parts)
    }

    fn virtual_server(&self, service: &VirtualId) -> Option<Arc<VirtualServer>> {
        let VirtualId::Addr { addr, .. } = service else { return None };
        let proxy = self.family(Family::of(*addr)).filter(|_| self.mode == ProxyMode::Ipvs)?;
        ipvs::virtual_server(&self.cluster, &proxy.config, service)
    }

    fn has_ipvs(&self) -> bool {
        self.mode == ProxyMode::Ipvs && !self.cluster.services.is_empty()
    }

    fn whole(&self) -> Ruleset {
        let rules = NodeRules::new(&self.cluster, self.node);
        rules.map(|rules| rules.ruleset(&self.cluster)).unwrap_or_default()
    }
}

impl NodeSupply {
    fn nft_proxy(&self, family: nft::TableFamily, table: &str) -> Option<&Proxy> {
        let family = match family {
            nft::TableFamily::Ip => Family::V4,
            nft::TableFamily::Ip6 => Family::V6,
            nft::TableFamily::Inet
            | nft::TableFamily::Arp
            | nft::TableFamily::Bridge
            | nft::TableFamily::Netdev => return None,
        };
        self.family(family).filter(|_| self.mode == ProxyMode::Nftables && table == nftables::TABLE)
    }
}

const fn address(value: &nft::Value) -> Option<IpAddr> {
    match value {
        nft::Value::Addr(addr) => Some(*addr),
        nft::Value::Number(_) | nft::Value::Prefix(_) | nft::Value::Range(..) | nft::Value::Name(_) => None,
    }
}

/// The sets of all Services with affinity, in the order of the Services.
fn affinity_sets(cluster: &Cluster, config: &ProxyConfig) -> Vec<Arc<nft::Set>> {
    let stated = cluster.objects.services.iter();
    let sticky = stated.filter(|(_, s)| s.spec.session_affinity.as_deref() == Some("ClientIP"));
    let mut sets = Vec::new();
    for ((namespace, name), _) in sticky {
        let Some(place) = cluster.service_named(namespace, name) else { continue };
        let ports = ports_of_service(cluster, place, config);
        sets.extend(ports.iter().flat_map(|port| nftables::part(config, port).sets));
    }
    sets
}

/// Counts endpoints, no further than it matters. O(Services + 1,000).
fn cluster_size(cluster: &Cluster, config: &ProxyConfig) -> ClusterSize {
    let places = || (0_u32..).zip(cluster.services.iter());
    let mut at_most = 0;
    let few = places().all(|(place, service)| {
        at_most += cluster.endpoint_bound(place) * service.ports.len().max(1);
        at_most <= iptables::LARGE
    });
    if few {
        return ClusterSize::Small;
    }
    let mut count = 0;
    for (place, _) in places() {
        let ports = ports_of_service(cluster, place, config);
        count += ports.iter().map(|port| port.endpoints.len()).sum::<usize>();
        if count > iptables::LARGE {
            break;
        }
    }
    ClusterSize::of(count)
}
