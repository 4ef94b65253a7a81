//! Host ports: what the portmap plugin writes for the pods of a node (containernetworking/plugins `plugins/meta/portmap`, with
//! its iptables backend).
//!
//! In: the pods of a node with their host ports. Out: `CNI-HOSTPORT-DNAT` with one `CNI-DN-…` chain per pod, after kube-proxy's rules,
//! so that a node port of the same number wins; `CNI-HOSTPORT-SETMARK` and `CNI-HOSTPORT-MASQ` for what comes back to the pod's own
//! network. Two pods that want one port of a node are told when the cluster is resolved.
//!
//! The name of a chain is a hash of the container's id, which no object states: it is made up from the pod's name.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use sha2::{Digest, Sha256, Sha512};

use crate::addr::{Family, Protocol};
use crate::cluster::{Cluster, Cni, ContainerPort, Pod};
use crate::compile::node::{own_pods, pod_net};
use crate::compile::tables::{Draft, Tables, chain, dnat, masquerade, set_mark};
use crate::origin::Origin;
use crate::plan::netfilter::PortRange;
use crate::plan::xt::{Inv, Match, Multiport, PortSide, Rule};

/// The mark of packets to be masqueraded: bit 13 (`markMasqBit`).
const MARK: u32 = 1 << 13;
/// How many ports one multiport match takes.
const MULTIPORT: usize = 15;
/// The longest name of a chain.
const MAX_CHAIN: usize = 28;
/// The longest comment.
const MAX_COMMENT: usize = 255;

/// Adds the rules for the pods of a node, in the order of the pods. Nothing where no pod has a host port.
pub(in crate::compile) fn add(cluster: &Cluster, node: u32, tables: &mut Tables, family: Family) {
    let mut entries = Vec::new();
    for (_, pod) in own_pods(cluster, node) {
        let Some(addr) = pod.addresses.iter().copied().find(|addr| Family::of(*addr) == family) else {
            continue;
        };
        let ports: Vec<(&ContainerPort, u16)> = pod
            .containers
            .iter()
            .flat_map(|container| &container.ports)
            .filter_map(|port| Some((port, port.host_port?)))
            .collect();
        if !ports.is_empty() && !pod.terminal {
            let name = add_pod(cluster, node, pod, addr, &ports, tables);
            entries.extend(entry_rules(cluster, pod, &ports, &name));
        }
    }
    if !entries.is_empty() {
        add_shared(tables, entries);
    }
}

/// The plugin's chains that all pods share.
fn add_shared(tables: &mut Tables, entries: Vec<Rule>) {
    let origin = Origin::implied("portmap plugin");
    let draft = || Draft::new(&origin);
    let mark = draft().comment("CNI portfwd masquerade mark").target(set_mark(MARK));
    tables.chain("nat", Arc::new(chain("CNI-HOSTPORT-SETMARK", Vec::from([mark]))));
    let marked = draft().mark(Inv::is(MARK)).target(masquerade(false));
    tables.chain("nat", Arc::new(chain("CNI-HOSTPORT-MASQ", Vec::from([marked]))));
    let to_masquerade = draft().comment("CNI portfwd requiring masquerade").jump("CNI-HOSTPORT-MASQ");
    tables.prepend("nat", "POSTROUTING", to_masquerade);
    tables.chain("nat", Arc::new(chain("CNI-HOSTPORT-DNAT", entries)));
    for from in ["PREROUTING", "OUTPUT"] {
        tables.append("nat", from, draft().local_destination().jump("CNI-HOSTPORT-DNAT"));
    }
}

/// A pod's own chain: what comes from its own network or from the node itself is marked, then everything is sent to the pod.
fn add_pod(
    cluster: &Cluster,
    node: u32,
    pod: &Pod,
    addr: IpAddr,
    ports: &[(&ContainerPort, u16)],
    tables: &mut Tables,
) -> Arc<str> {
    let name = chain_name(cluster, pod);
    let node = cluster.nodes.get(node as usize);
    let prefix = node.and_then(|node| pod_net(node, addr)).map(|net| net.prefix_len());
    let network = prefix.and_then(|prefix| IpNet::new(addr, prefix).ok()).unwrap_or(addr.into()).trunc();
    let mut rules = Vec::new();
    for (port, host_port) in ports {
        let other_family = |host: IpAddr| Family::of(host) != Family::of(addr);
        if port.host_ip.is_some_and(other_family) {
            continue;
        }
        let draft = || {
            let draft = Draft::new(&port.origin).dport(port.protocol, *host_port);
            match port.host_ip.filter(|host| !host.is_unspecified()) {
                Some(host) => draft.to(host),
                None => draft,
            }
        };
        rules.push(draft().source(Inv::is(network)).jump("CNI-HOSTPORT-SETMARK"));
        if addr.is_ipv4() {
            rules.push(draft().from(Ipv4Addr::LOCALHOST.into()).jump("CNI-HOSTPORT-SETMARK"));
        }
        rules.push(draft().target(dnat(addr, port.port)));
    }
    tables.chain("nat", Arc::new(chain(name.clone(), rules)));
    name
}

/// What leads to a pod's chain: one rule per transport and fifteen ports.
fn entry_rules(cluster: &Cluster, pod: &Pod, ports: &[(&ContainerPort, u16)], name: &Arc<str>) -> Vec<Rule> {
    let mut by_protocol: BTreeMap<&'static str, (Protocol, Vec<u16>)> = BTreeMap::new();
    for (port, host_port) in ports {
        let (_, list) = by_protocol.entry(port.protocol.as_str()).or_insert((port.protocol, Vec::new()));
        list.push(*host_port);
    }
    let words = format!("dnat name: \"{}\" id: \"{}\"", network_name(cluster), container_id(pod));
    let comment: String = words.chars().take(MAX_COMMENT).collect();
    let mut rules = Vec::new();
    for (protocol, list) in by_protocol.into_values() {
        for some in list.chunks(MULTIPORT) {
            let ports = Inv::is(some.iter().copied().map(PortRange::one).collect());
            let multiport = Multiport { side: PortSide::Destination, ports };
            let draft = Draft::new(&pod.origin).comment(comment.as_str()).module(Match::Multiport(multiport));
            rules.push(draft.only_protocol(protocol).jump(name.clone()));
        }
    }
    rules
}

/// The name of the network in the CNI's configuration.
fn network_name(cluster: &Cluster) -> &str {
    let cni = &cluster.settings.cni.value;
    if *cni == Cni::Flannel { "cbr0" } else { cni.as_str() }
}

fn container_id(pod: &Pod) -> String {
    hexadecimal(&Sha256::digest(format!("{}/{}", pod.namespace, pod.name).as_bytes()))
}

/// `MustFormatChainNameWithPrefix` of `pkg/utils/utils.go`: the beginning of a SHA-512 of network and container.
fn chain_name(cluster: &Cluster, pod: &Pod) -> Arc<str> {
    let words = format!("{}{}", network_name(cluster), container_id(pod));
    let mut name = format!("CNI-DN-{}", hexadecimal(&Sha512::digest(words.as_bytes())));
    name.truncate(MAX_CHAIN);
    name.into()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
