//! Service flows: a node with the rules that kube-proxy writes there, one packet, and every way that chance can fall.
//!
//! The rules are executed by the dataplane: the packet comes in by a card (from outside or from a pod) or from a socket of
//! the node, and what became of it is read from the events.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use kubenet_core::addr::{Family, MacAddr, Protocol};
use kubenet_core::assume::{Assume, ProxyMode};
use kubenet_core::cluster::{InputMode, resolve};
use kubenet_core::compile::machine;
use kubenet_core::compile::service::ipvs;
use kubenet_core::compile::service::{Detector, NodePortAddresses, ProxyConfig, ruleset_of_objects};
use kubenet_core::dataplane::{
    Client, DropReason, EventId, EventKind, Flow, FlowKind, Log, Machine, Probability, Recorder, Script, Skb,
    explore,
};
use kubenet_core::k8s::Objects;
use kubenet_core::packet::{self, Chunk, Ipv4Meta, Side, TcpSegment};
use kubenet_core::plan::{
    Address, IpSetPart, Link, LinkKind, MachineId, MachineKind, MachinePlan, Neighbour, NeighbourState,
    Netfilter, Netns, Origin, Process, RouteScope, Ruleset, SegmentId, Socket, Undeclared,
};
use kubenet_core::text::ip_route;
use kubenet_core::time::Instant;
use serde_json::{Value, json};

use super::case::{Case, Difference, Fault, Judgement, parse};

/// The links by which packets come in, behind `lo`.
const OUTSIDE: &str = "eth0";
const PODS: &str = "cni0";
const THEM: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xee]);

/// Judges a file: all flows in all modes, and again under each variant.
pub(super) fn service_flow(case: &Case<'_>) -> Judgement {
    let modes = case.items("modes")?.to_vec();
    let empty = Vec::new();
    let variants = case.optional("variants").and_then(Value::as_array).unwrap_or(&empty);
    let mut differences = Vec::new();
    for mode in modes.iter().filter_map(Value::as_str) {
        one(case, mode, None, &mut differences)?;
        for variant in variants {
            one(case, mode, Some(variant), &mut differences)?;
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(Fault::Differs(differences)) }
}

/// What becomes of the first packet of a connection at a node with these objects, in words; `proxy` and `packet` are those
/// of the schema `kubenet/service-flow/v1`. Every target with its probability and whether it is masqueraded. In mode `userspace`
/// that is what the process behind the packet's socket asks for it: with the node's address, so that every target is masqueraded.
/// Where it has nobody to ask, a connection is closed and a datagram is lost.
///
/// # Errors
///
/// What is wrong with the arguments.
pub fn outcome(objects: &Objects, proxy: &Value, mode: ProxyMode, packet: &Value) -> Result<String, String> {
    let told = |fault: Fault| format!("{fault:?}");
    match mode {
        ProxyMode::Iptables | ProxyMode::Nftables | ProxyMode::Ipvs => {
            let config = config(proxy, Family::V4).map_err(told)?;
            let rules = ruleset_of_objects(objects, &config, mode);
            let node = node(proxy, Family::V4, &config, rules).map_err(told)?;
            run(&node, packet, " masqueraded").map_err(told)
        }
        ProxyMode::Userspace => {
            let own = compiled(objects, proxy)?;
            let end = redirected(&own, proxy, packet).map_err(told)?;
            let Some(socket) = end.strip_suffix(" 1").and_then(|addr| addr.parse::<SocketAddr>().ok()) else {
                return Ok(end);
            };
            let sockets = &own.netns.first().ok_or("no namespace")?.more_sockets;
            let protocol = protocol_of(packet).map_err(told)?;
            let found = sockets.socket(protocol, Family::of(socket.ip()), socket.port());
            let socket = found.ok_or_else(|| format!("nobody listens at {socket}"))?;
            Ok(handed_on(&socket))
        }
    }
}

/// Where the first packet of a connection is redirected to in mode `userspace`, with arguments and words as of [`outcome`].
///
/// # Errors
///
/// What is wrong with the arguments.
pub fn redirection(objects: &Objects, proxy: &Value, packet: &Value) -> Result<String, String> {
    let told = |fault: Fault| format!("{fault:?}");
    redirected(&compiled(objects, proxy)?, proxy, packet).map_err(told)
}

/// The node as it is compiled in mode `userspace`: the sockets of kube-proxy are made for a cluster.
fn compiled(objects: &Objects, proxy: &Value) -> Result<MachinePlan, String> {
    let (name, addr) = (&proxy["nodeName"], &proxy["nodeIPs"]["IPv4"]);
    let mut objects = objects.clone();
    objects
        .put_json(&json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": addr}]},
        }))
        .map_err(|error| error.to_string())?;
    let ranges = proxy["serviceCIDRs"].as_array().into_iter().flatten().map(parse::<IpNet>);
    let ranges = ranges.collect::<Result<Vec<_>, Fault>>().map_err(|fault| format!("{fault:?}"))?;
    let assume =
        Assume { proxy_mode: Some(ProxyMode::Userspace), service_cidr: Some(ranges), ..Assume::default() };
    let (cluster, _) = resolve(&Arc::new(objects), &assume, Some(InputMode::Snapshot));
    let place = cluster.nodes.iter().position(|node| *name == *node.name).ok_or("no node")?;
    machine(&cluster, MachineId(place as u32)).ok_or_else(|| "no machine".to_string())
}

/// Sends the packet to a node with the compiled rules, which are made as the packet looks them up.
fn redirected(own: &MachinePlan, proxy: &Value, packet: &Value) -> Result<String, Fault> {
    let config = config(proxy, Family::V4)?;
    let supply = own.netns.first().map(|host| host.netfilter.clone()).unwrap_or_default();
    let mut node = node(proxy, Family::V4, &config, (*supply.whole()).clone())?;
    if let Some(host) = Arc::make_mut(&mut node).netns.first_mut() {
        host.netfilter = supply;
    }
    run(&node, packet, " masqueraded")
}

/// Whom the process behind a socket asks for the first client, in words.
fn handed_on(socket: &Socket) -> String {
    let backends = match &socket.process {
        Process::Relay(relay) => &relay.backends,
        Process::Echo | Process::Http { .. } => return format!("{:?}", socket.process),
    };
    let share = Probability::new(1, (backends.len() as u128).max(1));
    let mut words: Vec<String> = backends
        .iter()
        .map(|backend| format!("{} {share} masqueraded", SocketAddr::new(backend.addr, backend.port)))
        .collect();
    words.sort();
    match (words.is_empty(), socket.protocol) {
        (true, Protocol::Tcp) => "closed".to_string(),
        (true, Protocol::Udp | Protocol::Sctp | Protocol::Icmp) => "lost".to_string(),
        (false, _) => words.join(", "),
    }
}

fn protocol_of(packet: &Value) -> Result<Protocol, Fault> {
    Ok(match packet["proto"].as_str() {
        Some("TCP") | None => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some("ICMP") => Protocol::Icmp,
        Some(_) => return Err(Fault::Malformed(format!("the transport of a packet: {packet}"))),
    })
}

fn one(
    case: &Case<'_>,
    mode: &str,
    variant: Option<&Value>,
    differences: &mut Vec<Difference>,
) -> Result<(), Fault> {
    let family = match case.field("family")?.as_str() {
        Some("IPv4") => Family::V4,
        Some("IPv6") => Family::V6,
        other => return Err(Fault::Malformed(format!("family {other:?}"))),
    };
    let mut proxy = case.field("proxy")?.clone();
    let replaced = variant.and_then(|v| v.get("proxy")).and_then(Value::as_object);
    if let (Some(replaced), Some(proxy)) = (replaced, proxy.as_object_mut()) {
        proxy.extend(replaced.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    let dropped: Vec<&Value> =
        variant.and_then(|v| v["dropObjects"].as_array()).into_iter().flatten().collect();
    let mut objects = Objects::default();
    for object in case.items("objects")? {
        if dropped.iter().any(|dropped| means(dropped, object)) {
            continue;
        }
        objects.put_json(object).map_err(|error| Fault::Malformed(error.to_string()))?;
    }
    let proxy_mode = match mode {
        "iptables" => ProxyMode::Iptables,
        "nftables" => ProxyMode::Nftables,
        "ipvs" => ProxyMode::Ipvs,
        "userspace" => ProxyMode::Userspace,
        other => return Err(Fault::Malformed(format!("mode {other}"))),
    };
    let config = config(&proxy, family)?;
    let rules = ruleset_of_objects(&objects, &config, proxy_mode);
    let node = node(&proxy, family, &config, rules)?;
    let flows = case.items("flows")?;
    if let Some(changed) = variant.and_then(|v| v["flows"].as_object()) {
        let known = |name: &String| flows.iter().any(|flow| flow["name"] == **name);
        if let Some(name) = changed.keys().find(|name| !known(name)) {
            return Err(Fault::Malformed(format!("a variant changes the flow {name:?}, which is not there")));
        }
    }
    for flow in flows {
        let name = flow["name"].as_str().unwrap_or_default();
        let mut expected = flow["expectByMode"].get(mode).unwrap_or(&flow["expect"]).clone();
        if let Some(changed) = variant.and_then(|v| v["flows"].get(name)) {
            let changed =
                changed["expectByMode"].get(mode).or_else(|| changed.get("expect")).unwrap_or(changed);
            match (changed.get("verdict").is_some(), changed.as_object(), expected.as_object_mut()) {
                (false, Some(changed), Some(expected)) => {
                    expected.extend(changed.iter().map(|(key, value)| (key.clone(), value.clone())));
                }
                _ => expected = changed.clone(),
            }
        }
        let at = match variant {
            Some(variant) => format!("{mode}, {}, {name}", variant["name"].as_str().unwrap_or_default()),
            None => format!("{mode}, {name}"),
        };
        let expected = words_of(&expected)?;
        let got = run(&node, &flow["packet"], &expected)?;
        if expected != got {
            differences.push(Difference::new(at, expected, got));
        }
    }
    Ok(())
}

/// A fraction as a probability prints it: `2/4` is `1/2`, and `3/3` is `1`.
fn lowest_terms(fraction: &str) -> String {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (above, below) = fraction.split_once('/').unwrap_or((fraction, "1"));
    let (Some(above), Some(below)) = (number(above), number(below).filter(|below| *below > 0)) else {
        return fraction.to_string();
    };
    let (mut a, mut b) = (above, below);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    let (above, below) = (above / a, below / a);
    if below == 1 { above.to_string() } else { format!("{above}/{below}") }
}

/// Whether what a variant drops is this object: by kind, and by name and namespace where they are said.
fn means(dropped: &Value, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let said = |key: &str| dropped.get(key).or_else(|| dropped["metadata"].get(key));
    let same = |key: &str| said(key).is_none_or(|value| *value == metadata[key]);
    dropped["kind"] == object["kind"] && same("name") && same("namespace")
}

/// The expectation as words: the verdict, and for DNAT every target with its probability and whether it is masqueraded.
fn words_of(expected: &Value) -> Result<String, Fault> {
    let verdict = expected["verdict"].as_str().unwrap_or_default();
    if verdict != "DNAT" {
        return Ok(verdict.to_string());
    }
    let masquerade = expected.get("masquerade").map_or("", |m| if *m == true { " masqueraded" } else { "" });
    let mut targets: Vec<String> = expected["targets"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|target| {
            let p = target["p"].as_str().map_or_else(|| target["p"].to_string(), str::to_string);
            let to = target["to"].as_str().unwrap_or_default();
            let to = to.parse().map_or_else(|_| to.to_string(), |to: SocketAddr| to.to_string());
            format!("{to} {}{masquerade}", lowest_terms(&p))
        })
        .collect();
    targets.sort();
    Ok(targets.join(", "))
}

fn config(proxy: &Value, family: Family) -> Result<ProxyConfig, Fault> {
    let key = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let mut config = ProxyConfig::new(family, proxy["nodeName"].as_str().unwrap_or_default());
    config.zone = proxy["nodeLabels"]["topology.kubernetes.io/zone"].as_str().map(Into::into);
    config.node_ip = proxy["nodeIPs"].get(key).map(parse).transpose()?;
    config.local_addresses =
        addresses(proxy)?.into_iter().filter(|addr| Family::of(*addr) == family).collect();
    config.detector = proxy["detectLocal"].get(key).map(parse::<IpNet>).transpose()?.map(Detector::Source);
    config.masquerade_all = proxy["masqueradeAll"] == true;
    if let Some(bit) = proxy["masqueradeBit"].as_u64() {
        config.masquerade_mark = 1 << bit;
    }
    config.localhost_node_ports = proxy["localhostNodePorts"] == true;
    let ranges = proxy["nodePortAddresses"].as_array().into_iter().flatten();
    let ranges = ranges.map(parse::<IpNet>).collect::<Result<Vec<_>, Fault>>()?;
    if !ranges.is_empty() {
        config.node_port_addresses = NodePortAddresses::In(ranges);
    }
    let ranges = proxy["serviceCIDRs"].as_array().into_iter().flatten().map(parse::<IpNet>);
    config.service_cidrs = ranges.collect::<Result<Vec<_>, Fault>>()?;
    config.service_cidrs.retain(|net| Family::of_net(*net) == family);
    Ok(config)
}

fn addresses(proxy: &Value) -> Result<Vec<IpAddr>, Fault> {
    proxy["localAddresses"].as_array().into_iter().flatten().map(parse).collect()
}

/// The node: its addresses on one card, pods behind another, and routers on both.
fn node(
    proxy: &Value,
    family: Family,
    config: &ProxyConfig,
    rules: Ruleset,
) -> Result<Arc<MachinePlan>, Fault> {
    let origin = Origin::implied("corpus");
    let mut host = Netns::new("", origin.clone());
    host.sysctls.ip_forward = true;
    host.sysctls.ipv6_forwarding = true;
    host.sysctls.route_localnet = config.effective_localhost_node_ports();
    host.undeclared = Undeclared::Unsaid;
    for (place, name) in [OUTSIDE, PODS].into_iter().enumerate() {
        let kind = LinkKind::Nic { segment: Some(SegmentId(place as u32)) };
        let mac = MacAddr([2, 0, 0, 0, 0, place as u8 + 1]);
        host.links.push(Link::new(name, kind, mac, 1500, origin.clone()));
    }
    let add = |host: &mut Netns, link: usize, addr: IpAddr| {
        let (net, scope) = (IpNet::from(addr), RouteScope::Global);
        host.links[link].addresses.push(Address { net, scope, origin: origin.clone() });
    };
    for addr in addresses(proxy)? {
        add(&mut host, usize::from(!addr.is_loopback()), addr);
    }
    let (routes, router): (&str, IpAddr) = match family {
        Family::V4 => ("default via 100.64.0.1 dev eth0 onlink", parse_text("100.64.0.1")?),
        Family::V6 => ("default via 2001:db8:ffff::1 dev eth0 onlink", parse_text("2001:db8:ffff::1")?),
    };
    host.routes.extend(ip_route::parse(routes, "corpus").items);
    host.neighbours.push(Neighbour {
        addr: router,
        dev: OUTSIDE.into(),
        mac: Some(THEM),
        state: NeighbourState::Permanent,
        origin: origin.clone(),
    });
    add_links_of_modes(&mut host, family, &rules)?;
    host.netfilter = Netfilter::Whole(Arc::new(rules));
    let (name, kind) = (config.node_name.clone(), MachineKind::Node);
    Ok(Arc::new(MachinePlan { name, kind, netns: Vec::from([host]), origin }))
}

/// In mode `ipvs` the link that has the addresses of Services; in mode `userspace` an address at which pods reach the node, since a
/// packet is redirected to the address of the link that it came by.
fn add_links_of_modes(host: &mut Netns, family: Family, rules: &Ruleset) -> Result<(), Fault> {
    let origin = Origin::implied("corpus");
    let address = |net: IpNet| Address { net, scope: RouteScope::Global, origin: origin.clone() };
    let name = match family {
        Family::V4 => "KUBE-IPVS-IPS",
        Family::V6 => "KUBE-6-IPVS-IPS",
    };
    if let Some(set) = rules.ipset(name) {
        let mut link =
            Link::new(ipvs::LINK, LinkKind::Dummy, MacAddr([2, 0, 0, 0, 0, 9]), 1500, origin.clone());
        (link.up, link.carrier, link.noarp) = (false, false, true);
        let parts = set.entries.iter().flat_map(|entry| &entry.parts);
        link.addresses.extend(parts.filter_map(|part| {
            let IpSetPart::Net(net) = part else { return None };
            Some(address(*net))
        }));
        host.links.push(link);
    }
    if rules.xt.iter().any(|table| table.chain("KUBE-PORTALS-CONTAINER").is_some()) {
        let gateway = match family {
            Family::V4 => "10.0.0.1/32",
            Family::V6 => "fd00:10::1/128",
        };
        host.links[2].addresses.push(address(parse_text(gateway)?));
    }
    Ok(())
}

fn parse_text<T: std::str::FromStr>(text: &str) -> Result<T, Fault> {
    parse(&Value::from(text))
}

/// Sends the packet in every way, and says what becomes of it, as [`words_of`] does.
fn run(node: &Arc<MachinePlan>, stated: &Value, expected: &str) -> Result<String, Fault> {
    let (src, dst): (IpAddr, IpAddr) = (parse(&stated["src"])?, parse(&stated["dst"])?);
    let protocol = protocol_of(stated)?;
    let dport = stated["dport"].as_u64().and_then(|port| u16::try_from(port).ok());
    let dport = match protocol {
        Protocol::Icmp => dport.unwrap_or(0),
        Protocol::Tcp | Protocol::Udp | Protocol::Sctp => {
            dport.ok_or_else(|| Fault::Malformed(format!("the port of a packet: {stated}")))?
        }
    };
    let link = match stated["origin"].as_str() {
        Some("node") => None,
        Some("pod") => Some((2, PODS)),
        Some("external") => Some((1, OUTSIDE)),
        _ => return Err(Fault::Malformed(format!("the origin of a packet: {stated}"))),
    };
    let found = explore(4096, |script: &mut Script| {
        let (mut machine, mut log) = (Machine::new(MachineId(0), node.clone()), Log::default());
        match link {
            None => {
                let (src, sport) = (Some(src), 40_000);
                let client = Client { netns: 0, protocol, src, sport, dst, dport, payload: 0 };
                machine.open(Instant::START, client, script, &mut log);
            }
            Some((place, _)) => {
                let flow = log.flow(Flow { kind: FlowKind::Injected, cause: EventId::NONE });
                let frame = frame(protocol, (src, dst), dport, MacAddr([2, 0, 0, 0, 0, place as u8]));
                let skb = Skb::new(frame, flow, EventId::NONE);
                machine.handle_frame(Instant::START, (0, place), skb, script, &mut log);
            }
        }
        told(&log)
    });
    let mut shares: BTreeMap<String, Probability> = BTreeMap::new();
    for (probability, _, end) in found.runs {
        let share = shares.entry(end).or_insert(Probability::ZERO);
        *share = share.plus(probability);
    }
    let says_masquerade = expected.contains(" masqueraded");
    let mut words: Vec<String> = shares
        .into_iter()
        .map(|(end, share)| match end.strip_prefix("DNAT ") {
            Some(end) => match end.strip_suffix(" masqueraded") {
                Some(to) if says_masquerade => format!("{to} {share} masqueraded"),
                Some(to) => format!("{to} {share} MASQUERADED"),
                None => format!("{end} {share}"),
            },
            None => end,
        })
        .collect();
    words.sort();
    Ok(words.join(", "))
}

fn frame(protocol: Protocol, (src, dst): (IpAddr, IpAddr), dport: u16, to: MacAddr) -> Vec<u8> {
    let ip = Ipv4Meta { src, dst, ttl: 64, dont_fragment: true, id: 1 };
    let sport = 40_000;
    let mut frame = match protocol {
        Protocol::Udp => packet::udp(&ip, sport, dport, b"corpus"),
        Protocol::Sctp => packet::sctp(&ip, sport, dport, 0, Chunk::Init, 1),
        Protocol::Icmp => packet::icmp_echo(&ip, false, sport, 1, b"corpus"),
        Protocol::Tcp => {
            packet::tcp(&ip, &TcpSegment { sport, dport, syn: true, ..TcpSegment::default() }, &[])
        }
    };
    packet::set_macs(&mut frame, THEM, to);
    frame
}

fn rejected(log: &Log, id: usize) -> &'static str {
    let answered = log.flows().iter().any(|flow| flow.cause.0 as usize >= id);
    if answered { "REJECT" } else { "REJECT without an answer" }
}

/// What became of the first packet.
#[allow(clippy::wildcard_enum_match_arm, reason = "most events say nothing of its fate")]
fn told(log: &Log) -> String {
    let (mut target, mut masqueraded, mut accepted): (Option<SocketAddr>, bool, bool) = (None, false, false);
    let mut end = None;
    for (id, event) in log.events().iter().enumerate() {
        if event.flow.0 != 0 {
            continue;
        }
        match &event.kind {
            EventKind::Translated { side: Side::Destination, to, reply: false, .. } => target = Some(*to),
            EventKind::Rule { did, .. } if did.starts_with("masquerade") => masqueraded = true,
            EventKind::Rule { did, .. } if did == "accept" => accepted = true,
            EventKind::Rule { did, .. } if did == "drop" => end = Some("DROP"),
            EventKind::Rule { did, .. } if did.starts_with("reject") => end = Some(rejected(log, id)),
            // No rule did it: a virtual server without real servers.
            EventKind::Dropped { reason: DropReason::NetfilterDrop, .. } if end.is_none() => {
                end = Some(rejected(log, id));
            }
            EventKind::Unknown(unknown) => return format!("unknown: {}", unknown.why),
            _ => {}
        }
    }
    match (end, target) {
        (Some(end), _) => end.to_string(),
        (None, Some(to)) => format!("DNAT {to}{}", if masqueraded { " masqueraded" } else { "" }),
        (None, None) if accepted => "ACCEPT".to_string(),
        (None, None) => "PASS".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fractions_are_compared_in_lowest_terms() {
        let pairs =
            [("2/4", "1/2"), ("3/3", "1"), ("1", "1"), ("1/1000", "1/1000"), ("x", "x"), ("1/0", "1/0")];
        for (fraction, lowest) in pairs {
            assert_eq!(lowest_terms(fraction), lowest);
        }
    }

    #[test]
    fn what_a_variant_drops_may_be_named() {
        let object = json!({"kind": "EndpointSlice", "metadata": {"namespace": "ns1", "name": "svc1-1"}});
        assert!(means(&json!({"kind": "EndpointSlice"}), &object));
        assert!(means(&json!({"kind": "EndpointSlice", "name": "svc1-1"}), &object));
        assert!(means(&json!({"kind": "EndpointSlice", "metadata": {"name": "svc1-1"}}), &object));
        assert!(!means(&json!({"kind": "EndpointSlice", "name": "svc1-2"}), &object));
        assert!(!means(&json!({"kind": "Service", "name": "svc1-1"}), &object));
    }
}
