//! Addresses of load balancers: which Services have which, and how packets to them get to nodes.
//!
//! In: what Services of type `LoadBalancer` state, and the pools of MetalLB. Out: [`LoadBalancer`]s. From manifests a Service
//! without an address gets one, chosen by its [`identity`], the next free one where that is held: from a pool of MetalLB where there
//! are pools (`internal/allocator`), else from a range for documentation, as a cloud would give one. `spec.loadBalancerIP` and
//! `metallb.io/loadBalancerIPs` are wishes; with pools they have to be in one. spec/lb-egress.md §1–2.
//! Not modelled: `loadBalancerClass` (somebody serves every class), pools pinned to namespaces and Services (`serviceAllocation`),
//! addresses that Services share on purpose.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::addr::Family;
use crate::identity::identity;
use crate::k8s::types::{self, AdvertisementSpec, Map, Shared};
use crate::k8s::{Objects, sloppy};
use crate::origin::{Diagnostic, Origin};

/// What a Service of type `LoadBalancer` has beside its node ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// The addresses, at most one per family where they are made up. Empty while it has none, and where it has only a name.
    pub addresses: Vec<BalancedAddress>,
    /// `externalTrafficPolicy: Local`.
    #[serde(default)]
    pub local: bool,
    /// The port of nodes that says whether they have an endpoint, with `externalTrafficPolicy: Local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_node_port: Option<u16>,
}

impl LoadBalancer {
    /// What a Service itself states; `None` where it has no load balancer.
    pub fn stated(service: &types::Service) -> Option<Self> {
        read(service).map(|(balancer, _)| balancer)
    }
}

/// An address of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BalancedAddress {
    /// The address.
    pub addr: IpAddr,
    /// What packets have as their destination when they reach a node.
    pub mode: IpMode,
    /// How they get there.
    pub by: Announcement,
}

/// What packets through a load balancer have as their destination (`ipMode`, KEP-1860).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IpMode {
    /// The load balancer's address. kube-proxy takes it up, inside of the cluster too.
    #[serde(rename = "VIP")]
    Vip,
    /// The node's address and the node port. kube-proxy leaves the load balancer's address alone.
    Proxy,
}

/// How packets to an address of a load balancer get to nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Announcement {
    /// By a machine before the nodes.
    Machine,
    /// It is a node's own address.
    Node,
    /// One node answers ARP and NDP for it: MetalLB's layer 2 mode, by the pool of this name.
    Layer2(Arc<str>),
    /// Nodes tell their router by BGP: MetalLB, by the pool of this name.
    Bgp(Arc<str>),
    /// Not at all: the address is in this pool of MetalLB, but nothing announces it.
    Nobody(Arc<str>),
}

/// What a Service asks its load balancer for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// Addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// A pool of MetalLB.
    pub(super) pool: Option<Arc<str>>,
    /// It has a name, and so needs no address.
    pub(super) has_name: bool,
}

/// What a Service states and asks for; `None` where it has no load balancer. Other types keep the addresses of their status, since
/// kube-proxy looks at nothing else.
pub(super) fn read(service: &types::Service) -> Option<(LoadBalancer, Wishes)> {
    let spec = &service.spec;
    let ingress = &service.status.load_balancer.ingress;
    let is_type = spec.r#type.as_deref() == Some("LoadBalancer");
    if !is_type && ingress.is_empty() {
        return None;
    }
    let mode = |text: Option<&str>| match text {
        None | Some("VIP" | "") => Some(IpMode::Vip),
        Some("Proxy") => Some(IpMode::Proxy),
        Some(_) => None,
    };
    let address = |way: &types::LoadBalancerIngress| {
        let (addr, mode) = (sloppy::addr(way.ip.as_deref()?)?, mode(way.ip_mode.as_deref())?);
        Some(BalancedAddress { addr, mode, by: Announcement::Machine })
    };
    let local = is_type && spec.external_traffic_policy.as_deref() == Some("Local");
    let asked = service.metadata.annotations.get("metallb.io/loadBalancerIPs");
    let asked =
        asked.into_iter().flat_map(|text| text.split(',')).filter_map(|text| sloppy::addr(text.trim()));
    let wishes = Wishes {
        addresses: asked.chain(spec.load_balancer_ip.as_deref().and_then(sloppy::addr)).collect(),
        pool: service.metadata.annotations.get("metallb.io/address-pool").cloned(),
        has_name: ingress.iter().any(|way| way.hostname.as_deref().is_some_and(|name| !name.is_empty())),
    };
    let balancer = LoadBalancer {
        addresses: ingress.iter().filter_map(address).collect(),
        local,
        health_check_node_port: spec.health_check_node_port.filter(|port| local && *port > 0),
    };
    Some((balancer, wishes))
}

/// The pools of addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Pools {
    pools: Vec<Pool>,
}

#[derive(Clone, Debug)]
struct Pool {
    name: Arc<str>,
    /// First and last addresses.
    ranges: Vec<(IpAddr, IpAddr)>,
    auto_assign: bool,
    avoid_buggy: bool,
    by: Announcement,
}

impl Pools {
    /// Reads MetalLB's pools. Where both kinds of advertisement name a pool, BGP counts. O(pools × advertisements).
    pub(super) fn read(objects: &Objects, log: &mut Vec<Diagnostic>) -> Self {
        let pools = objects.ip_address_pools.values().map(|pool| Pool {
            name: pool.metadata.name.clone(),
            ranges: pool.spec.addresses.iter().filter_map(|text| range(text, &pool.origin, log)).collect(),
            auto_assign: pool.spec.auto_assign != Some(false),
            avoid_buggy: pool.spec.avoid_buggy_ips,
            by: announcement(objects, pool),
        });
        Self { pools: pools.collect() }
    }

    /// How packets to an address get to nodes.
    pub(super) fn announcement(&self, addr: IpAddr) -> Announcement {
        let pool = self.pools.iter().find(|pool| pool.contains(addr));
        pool.map_or(Announcement::Machine, |pool| pool.by.clone())
    }

    /// Gives addresses of these families; those that are wished for first. `held` takes what is given.
    pub(super) fn give(
        &self,
        families: &[Family],
        wishes: &Wishes,
        name: (&str, &str),
        held: &mut BTreeSet<IpAddr>,
    ) -> Result<Vec<IpAddr>, alloc::string::String> {
        let mut given = Vec::new();
        for wish in &wishes.addresses {
            if !self.pools.is_empty() && !self.pools.iter().any(|pool| pool.contains(*wish)) {
                return Err(format!("no IPAddressPool holds {wish}, which it asks for"));
            }
            if !held.insert(*wish) {
                return Err(format!("{wish}, which it asks for, is held by another"));
            }
            given.push(*wish);
        }
        if !given.is_empty() {
            return Ok(given);
        }
        let fits = |pool: &&Pool| match &wishes.pool {
            Some(name) => pool.name == *name,
            None => pool.auto_assign,
        };
        let documentation = Pool::documentation();
        let pools: Vec<&Pool> = match &self.pools[..] {
            [] => Vec::from([&documentation]),
            pools => pools.iter().filter(fits).collect(),
        };
        for family in families {
            let seed = identity(&["Service", name.0, name.1, "loadBalancer", &family.to_string()]);
            let Some(addr) = pools.iter().find_map(|pool| pool.free(*family, seed, held)) else {
                return Err(format!("no IPAddressPool has an {family} address left for it"));
            };
            held.insert(addr);
            given.push(addr);
        }
        Ok(given)
    }
}

impl Pool {
    /// The ranges for documentation (RFC 5737, RFC 3849), but for the first addresses, which routers have.
    fn documentation() -> Self {
        let v4 = |last| IpAddr::V4(Ipv4Addr::new(203, 0, 113, last));
        let v6 = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, last));
        Self {
            name: "".into(),
            ranges: Vec::from([(v4(10), v4(254)), (v6(0x10), v6(0xffff))]),
            auto_assign: true,
            avoid_buggy: false,
            by: Announcement::Machine,
        }
    }

    fn contains(&self, addr: IpAddr) -> bool {
        let within = |(first, last): &(IpAddr, IpAddr)| {
            Family::of(*first) == Family::of(addr) && (*first..=*last).contains(&addr)
        };
        self.ranges.iter().any(within)
    }

    /// The first free address from `seed` on and around. O(held).
    fn free(&self, family: Family, seed: u64, held: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let ranges: Vec<(u128, u128)> = self
            .ranges
            .iter()
            .filter(|(first, _)| Family::of(*first) == family)
            .map(|(first, last)| (number(*first), number(*last)))
            .collect();
        let size = ranges.iter().fold(0_u128, |sum, (first, last)| {
            sum.saturating_add(last.saturating_sub(*first)).saturating_add(1)
        });
        let start = u128::from(seed).checked_rem(size)?;
        let at = |mut index: u128| {
            for (first, last) in &ranges {
                let len = last - first;
                if index <= len {
                    return address(family, first + index);
                }
                index -= len + 1;
            }
            None
        };
        // Whoever is passed over is held, or one of two in 256.
        let tries = (held.len() as u128 + 1).saturating_mul(2).saturating_add(2).min(size);
        let candidates = (0..tries).filter_map(|step| at((start + step) % size));
        let mut usable = candidates.filter(|addr| !(self.avoid_buggy && is_buggy(*addr)));
        usable.find(|addr| !held.contains(addr))
    }
}

fn is_buggy(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V4(addr) if matches!(addr.octets(), [.., 0 | 255]))
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u32::from(addr).into(),
        IpAddr::V6(addr) => addr.into(),
    }
}

fn address(family: Family, number: u128) -> Option<IpAddr> {
    match family {
        Family::V4 => u32::try_from(number).ok().map(|number| IpAddr::V4(number.into())),
        Family::V6 => Some(IpAddr::V6(number.into())),
    }
}

/// `192.0.2.0/28` or `192.0.2.1-192.0.2.9`.
fn range(text: &str, origin: &Origin, log: &mut Vec<Diagnostic>) -> Option<(IpAddr, IpAddr)> {
    let found = match text.split_once('-') {
        Some((first, last)) => sloppy::addr(first.trim()).zip(sloppy::addr(last.trim())),
        None => sloppy::net(text.trim()).map(|net| (net.network(), net.broadcast())),
    };
    let found = found.filter(|(first, last)| Family::of(*first) == Family::of(*last) && first <= last);
    if found.is_none() {
        let message = match origin.object_ref() {
            Some(object) => format!("{object}: '{text}' is not a range of addresses"),
            None => format!("'{text}' is not a range of addresses"),
        };
        log.push(
            Diagnostic::warning("unreadable-value", message).from_origin(origin).field("spec.addresses"),
        );
    }
    found
}

fn announcement(objects: &Objects, pool: &Shared<types::IPAddressPool>) -> Announcement {
    let name = pool.metadata.name.clone();
    let is_named = |spec: &AdvertisementSpec| selects_pool(spec, &name, &pool.metadata.labels);
    if objects.bgp_advertisements.values().any(|advertisement| is_named(&advertisement.spec)) {
        return Announcement::Bgp(name);
    }
    if objects.l2_advertisements.values().any(|advertisement| is_named(&advertisement.spec)) {
        return Announcement::Layer2(name);
    }
    Announcement::Nobody(name)
}

/// Whether an advertisement is for a pool: by name, by label, or as one for all.
fn selects_pool(spec: &AdvertisementSpec, name: &Arc<str>, labels: &Map) -> bool {
    let (names, selectors) = (&spec.ip_address_pools, &spec.ip_address_pool_selectors);
    let labels: Vec<(Arc<str>, Arc<str>)> = labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    (names.is_empty() && selectors.is_empty())
        || names.contains(name)
        || selectors.iter().any(|selector| selector.matches(&labels))
}

/// The advertisements of an address; each says which nodes it is for.
pub(super) fn advertisements<'o>(objects: &'o Objects, by: &Announcement) -> Vec<&'o AdvertisementSpec> {
    let (pool, specs): (&Arc<str>, Vec<&AdvertisementSpec>) = match by {
        Announcement::Layer2(pool) => (pool, objects.l2_advertisements.values().map(|a| &a.spec).collect()),
        Announcement::Bgp(pool) => (pool, objects.bgp_advertisements.values().map(|a| &a.spec).collect()),
        Announcement::Machine | Announcement::Node | Announcement::Nobody(_) => return Vec::new(),
    };
    let mut pools = objects.ip_address_pools.values().filter(|other| other.metadata.name == *pool);
    let Some(stated) = pools.next() else { return Vec::new() };
    specs.into_iter().filter(|spec| selects_pool(spec, pool, &stated.metadata.labels)).collect()
}
