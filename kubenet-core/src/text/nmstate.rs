//! nmstate: the state of a node as `nmstatectl show --json` and the `NodeNetworkState` of kubernetes-nmstate print it.
//!
//! In: JSON. Out: links with their addresses, and the routes that run (`routes.running`; those of `routes.config` are a
//! wish). Open vSwitch bridges and ports, tunnels and bonds are links of a kind that the model does not walk. A MAC address
//! that was made unreadable before the file was published is told, and the permanent one used.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::json::{Cursor, place_of};
use super::line::{Span, addr, name};
use super::reader::{Fault, Reader};
use crate::addr::MacAddr;
use crate::origin::Diagnostic;
use crate::plan::{Address, BridgePort, Link, LinkKind, Route, RouteKind, RouteScope, Vxlan};

/// What a node's state said.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeState {
    /// Its links, in the order of the file.
    pub links: Vec<Link>,
    /// The routes that run, in the order of the file.
    pub routes: Vec<Route>,
    /// What was wrong, and what has no place in the plan.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a state: the whole object (`status.currentState`), or the state alone.
pub fn parse(text: &str, file: &str) -> NodeState {
    let mut reader = Reader::new(file);
    let document = match serde_json::from_str::<Document<'_>>(text) {
        Ok(document) => document,
        Err(error) => {
            reader.fault(Fault::new(place_of(text, &error), error.to_string()));
            Document::default()
        }
    };
    let state = match document.status {
        Some(status) => status.current_state,
        None => State { interfaces: document.interfaces, routes: document.routes },
    };
    let mut places = Cursor::new(text);
    let mut links = Vec::new();
    for raw in state.interfaces {
        let span = places.of(raw);
        let read = read::<Interface>(raw, span).and_then(|interface| link(&interface, span, &mut reader));
        links.extend(reader.take(read).flatten());
    }
    let mut places = Cursor::new(text);
    let mut routes = Vec::new();
    for raw in state.routes.running {
        let span = places.of(raw);
        let read = read::<RunningRoute>(raw, span).and_then(|running| route(&running, span, &mut reader));
        routes.extend(reader.take(read));
    }
    let links = with_ports(links, &mut reader);
    NodeState { links, routes, diagnostics: reader.finish::<()>(Vec::new()).diagnostics }
}

/// A `NodeNetworkState`, or the state alone.
#[derive(Default, Deserialize)]
struct Document<'t> {
    #[serde(borrow)]
    status: Option<Status<'t>>,
    #[serde(borrow, default)]
    interfaces: Vec<&'t RawValue>,
    #[serde(borrow, default)]
    routes: Routes<'t>,
}

#[derive(Deserialize)]
struct Status<'t> {
    #[serde(borrow, default, rename = "currentState")]
    current_state: State<'t>,
}

#[derive(Default, Deserialize)]
struct State<'t> {
    #[serde(borrow, default)]
    interfaces: Vec<&'t RawValue>,
    #[serde(borrow, default)]
    routes: Routes<'t>,
}

#[derive(Default, Deserialize)]
struct Routes<'t> {
    #[serde(borrow, default)]
    running: Vec<&'t RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Interface {
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    state: String,
    mtu: Option<u32>,
    mac_address: Option<String>,
    permanent_mac_address: Option<String>,
    controller: Option<String>,
    #[serde(default)]
    ipv4: Ip,
    #[serde(default)]
    ipv6: Ip,
    bridge: Option<BridgeSettings>,
    vxlan: Option<VxlanSettings>,
    veth: Option<VethSettings>,
    patch: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Ip {
    #[serde(default)]
    address: Vec<IpAddress>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct IpAddress {
    ip: IpAddr,
    prefix_length: u8,
}

#[derive(Deserialize)]
struct BridgeSettings {
    #[serde(default)]
    options: BridgeOptions,
    #[serde(default)]
    port: Vec<PortSettings>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct BridgeOptions {
    mac_ageing_time: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PortSettings {
    name: String,
    #[serde(default)]
    stp_hairpin_mode: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct VxlanSettings {
    id: u32,
    base_iface: Option<String>,
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    destination_port: Option<u16>,
    #[serde(default = "yes")]
    learning: bool,
}

#[derive(Deserialize)]
struct VethSettings {
    peer: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RunningRoute {
    destination: IpNet,
    next_hop_address: Option<String>,
    next_hop_interface: Option<String>,
    metric: Option<u32>,
    table_id: Option<u32>,
    source: Option<IpAddr>,
    route_type: Option<String>,
    weight: Option<u32>,
}

const fn yes() -> bool {
    true
}

fn read<T: DeserializeOwned>(raw: &RawValue, span: Span) -> Result<T, Fault> {
    serde_json::from_str(raw.get()).map_err(|error| Fault::new(span, error.to_string()))
}

/// A link, and what names it as a port: its controller.
type Controlled = (Link, Option<Arc<str>>, Vec<PortSettings>);

fn link(interface: &Interface, span: Span, reader: &mut Reader) -> Result<Option<Controlled>, Fault> {
    let label = name(&interface.name).ok_or_else(|| Fault::new(span, "an interface without a name"))?;
    if interface.kind == "ovs-bridge" || interface.patch.is_some() {
        let message = "an Open vSwitch bridge or patch port is no link of the kernel and is left out";
        reader.note(span, message);
        return Ok(None);
    }
    let kind = kind(interface, span, reader);
    let mtu = interface.mtu.unwrap_or_else(|| {
        reader.note(span, "an interface does not say its MTU: 1500 is used");
        1500
    });
    let mac = mac(interface, span, reader)?;
    let mut link = Link::new(label, kind, mac, mtu, reader.origin(span));
    // `ignore` means: up, but not NetworkManager's.
    link.up = matches!(&*interface.state, "up" | "ignore" | "");
    for address in interface.ipv4.address.iter().chain(&interface.ipv6.address) {
        let net = IpNet::new(address.ip, address.prefix_length).map_err(|_| {
            Fault::new(span, format!("{label}: /{} is too long for {}", address.prefix_length, address.ip))
        })?;
        link.addresses.push(Address { net, scope: scope(address.ip), origin: reader.origin(span) });
    }
    let ports = interface.bridge.as_ref().map(|bridge| bridge.port.iter());
    let ports = ports.into_iter().flatten().map(|port| PortSettings { name: port.name.clone(), ..*port });
    Ok(Some((link, interface.controller.as_deref().map(Arc::from), ports.collect())))
}

/// nmstate does not print scopes: the kernel gives these by itself (`ipv6_addr_scope`, `inet_rtm_newaddr`).
const fn scope(addr: IpAddr) -> RouteScope {
    match addr {
        IpAddr::V4(addr) if addr.is_loopback() => RouteScope::Host,
        IpAddr::V6(addr) if addr.is_loopback() => RouteScope::Host,
        IpAddr::V6(addr) if addr.is_unicast_link_local() => RouteScope::Link,
        IpAddr::V4(_) | IpAddr::V6(_) => RouteScope::Global,
    }
}

fn kind(interface: &Interface, span: Span, reader: &mut Reader) -> LinkKind {
    match &*interface.kind {
        "loopback" => LinkKind::Loopback,
        "ethernet" => LinkKind::Nic { segment: None },
        "dummy" => LinkKind::Dummy,
        "linux-bridge" => {
            let ageing = interface.bridge.as_ref().and_then(|bridge| bridge.options.mac_ageing_time);
            LinkKind::Bridge { ageing_secs: ageing.unwrap_or(300) }
        }
        "veth" => match &interface.veth {
            // nmstate knows pairs within one namespace alone.
            Some(veth) => LinkKind::Veth { peer_netns: 0, peer: veth.peer.as_str().into() },
            None => LinkKind::Other("veth".into()),
        },
        "vxlan" => match &interface.vxlan {
            Some(vxlan) => {
                if vxlan.remote.is_some() {
                    let message =
                        "'remote' of a VXLAN device is not modelled: only its forwarding entries are";
                    reader.warn(span, message);
                }
                LinkKind::Vxlan(Vxlan {
                    vni: vxlan.id,
                    port: vxlan.destination_port.unwrap_or(4789),
                    local: vxlan.local,
                    dev: vxlan.base_iface.as_deref().map(Arc::from),
                    learning: vxlan.learning,
                })
            }
            None => LinkKind::Other("vxlan".into()),
        },
        other => {
            reader.note(span, format!("links of type '{other}' are not modelled"));
            LinkKind::Other(other.into())
        }
    }
}

fn mac(interface: &Interface, span: Span, reader: &mut Reader) -> Result<MacAddr, Fault> {
    let Some(text) = &interface.mac_address else { return Ok(MacAddr::ZERO) };
    if let Ok(mac) = text.parse() {
        return Ok(mac);
    }
    if !text.bytes().all(|byte| matches!(byte, b'x' | b'X' | b'*' | b':')) {
        return Err(Fault::new(span, format!("{}: '{text}' is not a MAC address", interface.name)));
    }
    reader.warn(span, "a MAC address was made unreadable: the permanent one is used, or none");
    Ok(interface.permanent_mac_address.as_deref().and_then(|mac| mac.parse().ok()).unwrap_or(MacAddr::ZERO))
}

/// Ties ports to their bridges, if these are the kernel's own.
fn with_ports(links: Vec<Controlled>, reader: &mut Reader) -> Vec<Link> {
    let mut hairpins: BTreeMap<Arc<str>, BTreeMap<String, bool>> = BTreeMap::new();
    for (link, _, ports) in &links {
        if matches!(link.kind, LinkKind::Bridge { .. }) {
            let ports = ports.iter().map(|port| (port.name.clone(), port.stp_hairpin_mode));
            hairpins.insert(link.name.clone(), ports.collect());
        }
    }
    let joined = links.into_iter().map(|(mut link, controller, _)| {
        let Some(controller) = controller else { return link };
        match hairpins.get(&controller) {
            Some(ports) => {
                let hairpin = ports.get(&*link.name).copied().unwrap_or(false);
                link.port = Some(BridgePort { bridge: controller, hairpin, isolated: false });
            }
            None => {
                let message =
                    format!("{} is a port of {controller}, which is no bridge of the kernel", link.name);
                reader.push(Diagnostic::note("not-modelled", message).from_origin(&link.origin));
            }
        }
        link
    });
    joined.collect()
}

fn route(running: &RunningRoute, span: Span, reader: &mut Reader) -> Result<Route, Fault> {
    let via = match running.next_hop_address.as_deref() {
        None | Some("") => None,
        Some(text) => {
            let via = addr(text).ok_or_else(|| Fault::new(span, format!("'{text}' is not an IP address")))?;
            Some(via).filter(|via| !via.is_unspecified())
        }
    };
    if let Some(hop) = via.filter(|via| via.is_ipv4() != running.destination.addr().is_ipv4()) {
        let destination = running.destination;
        return Err(Fault::new(span, format!("{destination} leads to {hop}, of the other family")));
    }
    let kind = match running.route_type.as_deref() {
        None => RouteKind::Unicast,
        Some("blackhole") => RouteKind::Blackhole,
        Some("unreachable") => RouteKind::Unreachable,
        Some("prohibit") => RouteKind::Prohibit,
        Some(other) => return Err(Fault::new(span, format!("'{other}' is not a type of route"))),
    };
    let dev = running.next_hop_interface.as_deref().and_then(name);
    let mut route = Route::unicast(running.destination, via, dev.unwrap_or(""), reader.origin(span));
    if kind != RouteKind::Unicast {
        route.next_hops.clear();
    } else if dev.is_none() {
        return Err(Fault::new(span, format!("{} does not say its interface", running.destination)));
    }
    route.kind = kind;
    if running.weight.is_some_and(|weight| weight > 1) {
        reader.note(span, "the weight of a route is not read: nmstate lists each next hop as a route");
    }
    route.metric = running.metric.unwrap_or(route.metric);
    // 0 means: the main one.
    route.table = running.table_id.filter(|table| *table != 0).unwrap_or(route.table);
    route.prefsrc = running.source;
    Ok(route)
}
