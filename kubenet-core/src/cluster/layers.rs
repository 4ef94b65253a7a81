//! The settings, layer over layer: what is assumed, what the input shows, what the user says.
//!
//! In: detected settings, facts of the input, an [`Assume`]. Out: [`Settings`]. Where nothing says anything, the assumed
//! ranges are chosen so that they hold what the input states and do not overlap each other.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::settings::{DEFAULT_CLUSTER_CIDR, DEFAULT_NODE_NETWORK, DEFAULT_SERVICE_CIDR};
use super::{Cni, NodePortAddresses, ProxyMode, Setting, Settings, Underlay};
use crate::addr::Family;
use crate::assume::{Assume, PROXY_VERSION};

/// The IPv6 pod range that is assumed beside [`DEFAULT_CLUSTER_CIDR`].
const DEFAULT_CLUSTER_CIDR_V6: IpNet = v6([0xfd00, 0x10, 0x244, 0], 56);
/// The IPv6 Service range that is assumed beside [`DEFAULT_SERVICE_CIDR`].
const DEFAULT_SERVICE_CIDR_V6: IpNet = v6([0xfd00, 0x10, 0x96, 0], 112);
/// The IPv6 node network that is assumed beside [`DEFAULT_NODE_NETWORK`].
const DEFAULT_NODE_NETWORK_V6: IpNet = v6([0xfd00, 0x172, 0x18, 0], 64);
/// The pod range that is assumed when the nodes are too many for [`DEFAULT_CLUSTER_CIDR`]; it contains that one.
const WIDE_CLUSTER_CIDR: IpNet = v4([10, 128, 0, 0], 9);

const fn v4(octets: [u8; 4], prefix: u8) -> IpNet {
    let [a, b, c, d] = octets;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(head: [u16; 4], prefix: u8) -> IpNet {
    let [a, b, c, d] = head;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix))
}

/// What the objects state about addresses, in the order of the input.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Pod ranges of nodes.
    pub(super) pod_cidrs: Vec<IpNet>,
    /// Addresses of pods that are not on the host's network.
    pub(super) pod_addresses: Vec<IpAddr>,
    /// Internal addresses of nodes.
    pub(super) node_addresses: Vec<IpAddr>,
    /// Virtual addresses of Services.
    pub(super) cluster_ips: Vec<IpAddr>,
    /// How many nodes there will be.
    pub(super) nodes: usize,
}

/// Lays the user's words over what was detected over what is assumed.
pub(super) fn settings(detected: Settings, facts: &Facts, assume: &Assume) -> Settings {
    let mut s = detected;
    give(&mut s.cni, assume.cni.clone());
    give(&mut s.underlay, assume.underlay);
    give(&mut s.cluster_cidr, assume.cluster_cidr.clone());
    give(&mut s.service_cidr, assume.service_cidr.clone());
    give(&mut s.node_network, assume.node_network.clone());
    give(&mut s.node_cidr_mask_v4, assume.node_cidr_mask_v4);
    give(&mut s.node_cidr_mask_v6, assume.node_cidr_mask_v6);
    give(&mut s.mtu, assume.mtu);
    give(&mut s.proxy_mode, assume.proxy_mode);
    give(&mut s.proxy_version, assume.proxy_version.clone());
    give(&mut s.detect_local_mode, assume.detect_local_mode.clone());
    give(&mut s.masquerade_all, assume.masquerade_all);
    give(&mut s.node_port_addresses, assume.node_port_addresses.clone());
    give(&mut s.localhost_node_ports, assume.localhost_node_ports);
    give(&mut s.ipvs_scheduler, assume.ipvs_scheduler.clone());
    give(&mut s.policy_enforced, assume.policy_enforced);
    give(&mut s.resolver, assume.resolver);
    if !assume.sysctls.is_empty() {
        let mut all = s.sysctls.value.clone();
        all.extend(assume.sysctls.iter().map(|(name, value)| (name.clone(), *value)));
        s.sysctls = Setting::given(all);
    }
    if s.underlay.is_assumed() {
        s.underlay.value = if s.cni.value == Cni::Flannel { Underlay::Vxlan } else { Underlay::HostGw };
    }
    if s.policy_enforced.is_assumed() {
        s.policy_enforced.value = match s.cni.value {
            Cni::Bridge | Cni::Flannel => false,
            Cni::Kindnet | Cni::Other(_) => true,
        };
    }
    if s.node_port_addresses.is_assumed() && s.proxy_mode.value == ProxyMode::Nftables {
        s.node_port_addresses.value = NodePortAddresses::Primary;
    }
    if s.proxy_version.is_assumed() {
        s.proxy_version.value = String::from(PROXY_VERSION);
    }
    assume_cluster_cidr(&mut s, facts);
    let families: Vec<Family> = s.cluster_cidr.value.iter().map(|net| Family::of_net(*net)).collect();
    if s.service_cidr.is_assumed() {
        let found = facts.cluster_ips.iter().copied().map(IpNet::from);
        let defaults = [
            DEFAULT_SERVICE_CIDR,
            v4([10, 43, 0, 0], 16),
            DEFAULT_SERVICE_CIDR_V6,
            v6([0xfd00, 0x10, 0x43, 0], 112),
        ];
        s.service_cidr.value = assumed_nets(&families, found, (16, 112), &defaults, &s.cluster_cidr.value);
    }
    if s.node_network.is_assumed() {
        let found = facts.node_addresses.iter().copied().map(IpNet::from);
        let defaults = [
            DEFAULT_NODE_NETWORK,
            v4([192, 168, 0, 0], 16),
            DEFAULT_NODE_NETWORK_V6,
            v6([0xfd00, 0x192, 0x168, 0], 64),
        ];
        let taken: Vec<IpNet> = s.cluster_cidr.value.iter().chain(&s.service_cidr.value).copied().collect();
        s.node_network.value = assumed_nets(&families, found, (24, 64), &defaults, &taken);
    }
    s
}

fn give<T>(setting: &mut Setting<T>, said: Option<T>) {
    if let Some(value) = said {
        *setting = Setting::given(value);
    }
}

fn assume_cluster_cidr(s: &mut Settings, facts: &Facts) {
    if !s.cluster_cidr.is_assumed() {
        return;
    }
    let pods = facts.pod_addresses.iter().copied().map(IpNet::from);
    let found = || facts.pod_cidrs.iter().copied().chain(pods.clone());
    let mut families: Vec<Family> = Vec::new();
    for net in found() {
        let family = Family::of_net(net);
        if !families.contains(&family) {
            families.push(family);
        }
    }
    if families.is_empty() {
        families.push(Family::V4);
    }
    let blocks = 1_usize << s.node_cidr_mask_v4.value.saturating_sub(16).min(16);
    let of_v4 = if facts.nodes > blocks { WIDE_CLUSTER_CIDR } else { DEFAULT_CLUSTER_CIDR };
    let defaults = &[of_v4, DEFAULT_CLUSTER_CIDR_V6];
    s.cluster_cidr.value = assumed_nets(&families, found(), (16, 48), defaults, &s.service_cidr_if_said());
}

impl Settings {
    fn service_cidr_if_said(&self) -> Vec<IpNet> {
        if self.service_cidr.is_assumed() { Vec::new() } else { self.service_cidr.value.clone() }
    }
}

/// One range per family: the first default that holds everything found and overlaps nothing taken; else the smallest
/// prefix that holds everything found, at most as long as `longest` says; else the first default.
fn assumed_nets(
    families: &[Family],
    found: impl Iterator<Item = IpNet> + Clone,
    longest: (u8, u8),
    defaults: &[IpNet],
    taken: &[IpNet],
) -> Vec<IpNet> {
    let one = |family: &Family| {
        let found = || found.clone().filter(|net| Family::of_net(*net) == *family);
        let free = |net: &&IpNet| !taken.iter().any(|other| overlap(**net, *other));
        let mut fitting = defaults.iter().filter(|net| Family::of_net(**net) == *family);
        let holds = |net: &&IpNet| found().all(|inner| net.contains(&inner));
        let longest = if *family == Family::V4 { longest.0 } else { longest.1 };
        let default = fitting.clone().filter(free).find(holds).or_else(|| fitting.find(holds));
        default.copied().or_else(|| cover(found(), longest))
    };
    families.iter().filter_map(one).collect()
}

/// The smallest prefix that holds all of these, at most as long as `longest`.
pub(super) fn cover(mut nets: impl Iterator<Item = IpNet>, longest: u8) -> Option<IpNet> {
    let first = nets.next()?;
    let mut net = IpNet::new(first.addr(), first.prefix_len().min(longest)).ok()?.trunc();
    for other in nets {
        while !net.contains(&other) {
            net = net.supernet()?;
        }
    }
    Some(net)
}

/// Whether two prefixes share an address.
pub(super) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}
