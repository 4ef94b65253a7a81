//! Frontends: the addresses and ports at which a node takes packets for Services.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::addr::{Family, Protocol};
use crate::compile::service::Port;
use crate::plan::{IpvsProtocol, Ruleset, VirtualId, nft, xt};

/// Those of a service port that are called for; node ports at the node's own address.
pub(super) fn called_for(port: &Port, node_ip: IpAddr) -> Vec<SocketAddr> {
    let record = &port.record;
    let virtual_ones = [record.cluster_ip].into_iter().chain(record.external_ips.iter().copied());
    let mut all: Vec<SocketAddr> = virtual_ones
        .chain(record.vips.iter().copied())
        .map(|addr| SocketAddr::new(addr, record.port))
        .collect();
    all.extend(record.node_port.map(|port| SocketAddr::new(node_ip, port)));
    all.sort_unstable();
    all.dedup();
    all
}

/// Those that the observed rules of a kube-proxy name, whatever they do there. O(rules).
pub(super) fn observed(rules: &Ruleset, family: Family, node_ip: IpAddr) -> BTreeSet<(SocketAddr, Protocol)> {
    let mut all = BTreeSet::new();
    for table in rules.xt.iter().filter(|table| table.family == family && &*table.name == "nat") {
        for chain in table.chains.iter().filter(|chain| chain.name.starts_with("KUBE-")) {
            let to_node = chain.name.starts_with("KUBE-NODEPORT");
            all.extend(chain.rules.iter().filter_map(|rule| of_rule(rule, to_node.then_some(node_ip))));
        }
    }
    let wanted = match family {
        Family::V4 => nft::TableFamily::Ip,
        Family::V6 => nft::TableFamily::Ip6,
    };
    for table in rules.nft.iter().filter(|table| table.family == wanted && &*table.name == "kube-proxy") {
        for set in &table.sets {
            let to_node = matches!(&*set.name, "service-nodeports" | "no-endpoint-nodeports");
            if to_node || matches!(&*set.name, "service-ips" | "no-endpoint-services" | "firewall-ips") {
                let of_element = |element: &nft::Element| of_key(&element.key, to_node.then_some(node_ip));
                all.extend(set.elements.iter().filter_map(of_element));
            }
        }
    }
    for server in &rules.ipvs {
        if let VirtualId::Addr { protocol, addr, port } = server.id
            && Family::of(addr) == family
        {
            all.insert((SocketAddr::new(addr, port), transport(protocol)));
        }
    }
    all
}

/// `-d ADDR -p PROTO --dport PORT -j KUBE-…`; in a chain of node ports, without the address.
#[allow(clippy::wildcard_enum_match_arm, reason = "other matches narrow the rule and name no frontend")]
fn of_rule(rule: &xt::Rule, node_ip: Option<IpAddr>) -> Option<(SocketAddr, Protocol)> {
    let (xt::Target::Jump(to) | xt::Target::Goto(to)) = rule.target.as_ref()? else { return None };
    let leads_on = to.starts_with("KUBE-") && &**to != "KUBE-MARK-MASQ";
    let (mut addr, mut port) = (node_ip, None);
    for one in &rule.matches {
        match one {
            xt::Match::Destination(to) if !to.not && to.value.prefix_len() == to.value.max_prefix_len() => {
                addr = Some(to.value.addr());
            }
            xt::Match::Tcp(tcp) => port = exactly(tcp.dport.as_ref()).map(|port| (port, Protocol::Tcp)),
            xt::Match::Udp(ports) => port = exactly(ports.dport.as_ref()).map(|port| (port, Protocol::Udp)),
            xt::Match::Sctp(ports) => port = exactly(ports.dport.as_ref()).map(|port| (port, Protocol::Sctp)),
            _ => {}
        }
    }
    let (port, protocol) = port.filter(|_| leads_on)?;
    Some((SocketAddr::new(addr?, port), protocol))
}

fn exactly(range: Option<&xt::Inv<crate::plan::netfilter::PortRange>>) -> Option<u16> {
    range.filter(|range| !range.not && range.value.first == range.value.last).map(|range| range.value.first)
}

/// `ADDR . PROTO . PORT`, or `PROTO . PORT` of a node port.
fn of_key(key: &[nft::Value], node_ip: Option<IpAddr>) -> Option<(SocketAddr, Protocol)> {
    let (addr, rest) = match (node_ip, key) {
        (Some(addr), rest) => (addr, rest),
        (None, [nft::Value::Addr(addr), rest @ ..]) => (*addr, rest),
        (None, _) => return None,
    };
    let [protocol, nft::Value::Number(port)] = rest else { return None };
    let protocol = match protocol {
        nft::Value::Number(6) => Protocol::Tcp,
        nft::Value::Number(17) => Protocol::Udp,
        nft::Value::Number(132) => Protocol::Sctp,
        nft::Value::Name(name) => name.parse().ok()?,
        nft::Value::Number(_) | nft::Value::Addr(_) | nft::Value::Prefix(_) | nft::Value::Range(..) => {
            return None;
        }
    };
    Some((SocketAddr::new(addr, u16::try_from(*port).ok()?), protocol))
}

const fn transport(protocol: IpvsProtocol) -> Protocol {
    match protocol {
        IpvsProtocol::Tcp => Protocol::Tcp,
        IpvsProtocol::Udp => Protocol::Udp,
        IpvsProtocol::Sctp => Protocol::Sctp,
    }
}
