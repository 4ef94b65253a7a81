//! Reading links.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::NumberedLink;
use super::draft::{Draft, check_broadcast, finish};
use crate::addr::MacAddr;
use crate::plan::{Address, RouteScope};
use crate::text::Parsed;
use crate::text::ip_route::scope_of;
use crate::text::json::{self, word};
use crate::text::line::{Line, Span, Word, addr, lines, name, net, number};
use crate::text::reader::{Fault, Reader};

pub(super) fn plain(text: &str, file: &str) -> Parsed<NumberedLink> {
    let mut reader = Reader::new(file);
    let mut drafts: Vec<Draft> = Vec::new();
    let mut open = false;
    for mut line in lines(text).filter(|line| !line.is_empty()) {
        if !line.indented {
            let read = header(&mut line, &mut reader);
            let draft = reader.take(read);
            open = draft.is_some();
            drafts.extend(draft);
            continue;
        }
        // Lines below a header that was not understood say nothing alone.
        let Some(draft) = drafts.last_mut().filter(|_| open) else { continue };
        let read = detail(draft, &mut line, &mut reader);
        reader.take(read);
    }
    let links = finish(drafts, &mut reader);
    reader.finish(links)
}

/// `2: eth0@if5: <UP,LOWER_UP> mtu 1500 qdisc noqueue master cni0 state UP …`
fn header(line: &mut Line<'_>, reader: &mut Reader) -> Result<Draft, Fault> {
    let span = line.span;
    let missing = || Fault::new(span, "not a link: expected 'IFINDEX: NAME: <FLAGS> mtu …'");
    let ifindex = line.next().ok_or_else(missing)?;
    let ifindex = ifindex.read("an ifindex such as '2:'", |text| number(text.strip_suffix(':')?))?;
    let named = line.next().ok_or_else(missing)?;
    let Some(label) = named.text.strip_suffix(':') else {
        let fault = Fault::new(named.span, "expected 'NAME:' behind the ifindex");
        return Err(fault.help("ip addr, without -o and -br, prints what a link is"));
    };
    let (label, partner) = label.split_once('@').map_or((label, None), |(name, at)| (name, Some(at)));
    let label = Word { text: label, span: named.span }.read("a link's name", name)?;
    let flags = line.next().ok_or_else(missing)?;
    let flags = flags.read("a list of flags", |text| text.strip_prefix('<')?.strip_suffix('>'))?;
    let mut draft = Draft::new(span, ifindex, label, 0);
    draft.partner = partner.map(String::from);
    draft.flags = flags.split(',').filter(|flag| !flag.is_empty()).map(String::from).collect();
    let mut mtu = None;
    while let Some(key) = line.next() {
        match key.text {
            "mtu" => mtu = Some(line.read(key, "an MTU", number)?),
            "master" => draft.master = Some(line.read(key, "a link's name", name)?.into()),
            // Follow from the rest, or queue frames without changing them.
            "qdisc" | "state" | "mode" | "group" | "qlen" => _ = line.value(key)?,
            _ => reader.unmodelled(key),
        }
    }
    draft.mtu_bytes = mtu.ok_or_else(|| Fault::new(span, format!("{label} has no 'mtu'")))?;
    Ok(draft)
}

/// A line below a header.
fn detail(draft: &mut Draft, line: &mut Line<'_>, reader: &mut Reader) -> Result<(), Fault> {
    let Some(first) = line.next() else { return Ok(()) };
    match first.text {
        "inet" | "inet6" => address(draft, first, line, reader),
        "valid_lft" => {
            if [line.next(), line.next(), line.next()].iter().flatten().any(|word| word.text.ends_with("sec"))
            {
                reader.note(first.span, "an address expires, which is not modelled");
            }
            Ok(())
        }
        "bridge_slave" => port(draft, line, reader),
        "vxlan" => vxlan(draft, line, reader),
        "bridge" => {
            draft.kind = Some("bridge".into());
            let mut others = None;
            while let Some(key) = line.next() {
                if key.text == "ageing_time" {
                    draft.ageing_centisecs = Some(line.read(key, "a time", number)?);
                } else {
                    others = others.or(Some(key.span));
                }
            }
            told(others, "bridge", reader);
            Ok(())
        }
        // Counters of `ip -s`, four lines with two heads.
        "RX:" | "TX:" => Ok(()),
        text if text.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        "altname" | "alias" | "prog/xdp" | "vf" => {
            reader.unmodelled(first);
            Ok(())
        }
        text => match text.strip_prefix("link/") {
            Some(kind) => hardware(draft, kind, line, reader),
            None if draft.kind.is_none() => {
                draft.kind = Some(text.into());
                told(line.next().filter(|word| !is_general(word.text)).map(|word| word.span), text, reader);
                Ok(())
            }
            None => {
                reader.unmodelled(first);
                Ok(())
            }
        },
    }
}

/// `link/ether MAC brd MAC link-netnsid 0 …`
fn hardware(draft: &mut Draft, kind: &str, line: &mut Line<'_>, reader: &mut Reader) -> Result<(), Fault> {
    draft.link_type = kind.into();
    if let Some(mac) = line.peek().and_then(|text| text.parse().ok()) {
        draft.mac = mac;
        line.next();
    } else if kind == "ether" {
        let found = line.peek().unwrap_or("nothing");
        return Err(Fault::new(line.span, format!("'{found}' is not a MAC address")));
    }
    while let Some(key) = line.next() {
        match key.text {
            "link-netnsid" => {
                draft.netnsid = Some(line.read(key, "a number", number)?);
                draft.other_netns = true;
            }
            "link-netns" => {
                line.value(key)?;
                draft.other_netns = true;
            }
            "brd" | "peer" | "permaddr" => _ = line.next(),
            text if is_general(text) => {
                draft.detailed = true;
                line.next();
            }
            // The address of a tunnel's end stands where a MAC would.
            text if addr(text).is_some() => {}
            _ => reader.unmodelled(key),
        }
    }
    Ok(())
}

/// Settings that `-d` prints for every link and that change no packet's way; each has one value.
fn is_general(key: &str) -> bool {
    const GENERAL: [&str; 16] = [
        "promiscuity",
        "allmulti",
        "minmtu",
        "maxmtu",
        "addrgenmode",
        "numtxqueues",
        "numrxqueues",
        "gso_max_size",
        "gso_max_segs",
        "tso_max_size",
        "tso_max_segs",
        "gro_max_size",
        "gso_ipv4_max_size",
        "gro_ipv4_max_size",
        "parentbus",
        "parentdev",
    ];
    GENERAL.contains(&key)
}

fn told(others: Option<Span>, kind: &str, reader: &mut Reader) {
    if let Some(span) = others {
        reader.note(span, format!("other settings of '{kind}' are not modelled"));
    }
}

fn port(draft: &mut Draft, line: &mut Line<'_>, reader: &mut Reader) -> Result<(), Fault> {
    let mut others = None;
    while let Some(key) = line.next() {
        match key.text {
            "hairpin" => draft.hairpin = line.read(key, "'on' or 'off'", on_or_off)?,
            "isolated" => draft.isolated = line.read(key, "'on' or 'off'", on_or_off)?,
            _ => others = others.or(Some(key.span)),
        }
    }
    told(others, "bridge_slave", reader);
    Ok(())
}

fn on_or_off(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn vxlan(draft: &mut Draft, line: &mut Line<'_>, reader: &mut Reader) -> Result<(), Fault> {
    draft.kind = Some("vxlan".into());
    let mut others = None;
    while let Some(key) = line.next() {
        let vxlan = &mut draft.vxlan;
        match key.text {
            "id" => vxlan.vni = line.read(key, "a VNI", number)?,
            "local" => vxlan.local = Some(line.read(key, "an IP address", addr)?),
            "dev" => vxlan.dev = Some(line.read(key, "a link's name", name)?.into()),
            "dstport" => vxlan.port = line.read(key, "a port", number)?,
            "nolearning" => vxlan.learning = false,
            "remote" | "group" => {
                let to = line.value(key)?;
                let message = format!(
                    "'{} {}' of a VXLAN device is not modelled: only its forwarding entries are",
                    key.text, to.text
                );
                reader.warn(key.span, message);
            }
            "learning" => {}
            _ => others = others.or(Some(key.span)),
        }
    }
    told(others, "vxlan", reader);
    Ok(())
}

/// `inet 10.0.0.1/24 brd 10.0.0.255 scope global eth0`
fn address<'t>(
    draft: &mut Draft,
    family: Word<'t>,
    line: &mut Line<'t>,
    reader: &mut Reader,
) -> Result<(), Fault> {
    let at = line.value(family)?;
    let mut net: IpNet = at.read("an address", net)?;
    if net.addr().is_ipv6() != (family.text == "inet6") {
        return Err(Fault::new(at.span, format!("{net} is not of the family '{}'", family.text)));
    }
    let mut scope = RouteScope::Global;
    let mut broadcast = None;
    while let Some(key) = line.next() {
        match key.text {
            "scope" => scope = line.read(key, "a scope", scope_of)?,
            "brd" => broadcast = Some(line.read(key, "an IP address", addr)?),
            "peer" => {
                let far: IpNet = line.read(key, "a prefix", crate::text::line::net)?;
                // The prefix length is the far end's.
                net = IpNet::new(net.addr(), far.prefix_len()).unwrap_or(net);
                reader.note(key.span, "the far end ('peer') of an address is not modelled");
            }
            "metric" | "proto" => {
                let value = line.value(key)?;
                reader.note(key.span, format!("'{} {}' of an address is not modelled", key.text, value.text));
            }
            // Follows from the addresses before it.
            "secondary" => {}
            label if label == &*draft.name => {}
            _ => reader.unmodelled(key),
        }
    }
    if let Some(broadcast) = broadcast {
        check_broadcast(net, broadcast, at.span, reader);
    }
    draft.addresses.push(Address { net, scope, origin: reader.origin(line.span) });
    Ok(())
}

pub(super) fn json(text: &str, file: &str) -> Parsed<NumberedLink> {
    let mut reader = Reader::new(file);
    let mut drafts = Vec::new();
    for object in json::objects(text, &mut reader) {
        let read = of_object(&object.map, object.span, &mut reader);
        drafts.extend(reader.take(read));
    }
    let links = finish(drafts, &mut reader);
    reader.finish(links)
}

fn of_object(map: &Map<String, Value>, span: Span, reader: &mut Reader) -> Result<Draft, Fault> {
    let text = |key: &str| map.get(key).and_then(Value::as_str);
    let need = |key: &str| Fault::new(span, format!("a link without a readable '{key}'"));
    let label = text("ifname").and_then(name).ok_or_else(|| need("ifname"))?;
    let ifindex = u32_of(map, "ifindex").ok_or_else(|| need("ifindex"))?;
    let mtu = u32_of(map, "mtu").ok_or_else(|| need("mtu"))?;
    let mut draft = Draft::new(span, ifindex, label, mtu);
    draft.partner = text("link").map(String::from);
    if let Some(index) = u32_of(map, "link_index") {
        draft.partner = Some(format!("if{index}"));
        draft.other_netns = true;
    }
    draft.netnsid = u32_of(map, "link_netnsid");
    draft.flags = map.get("flags").and_then(Value::as_array).into_iter().flatten().filter_map(word).collect();
    draft.master = text("master").map(Into::into);
    draft.link_type = text("link_type").unwrap_or("ether").into();
    draft.mac = match text("address").map(str::parse::<MacAddr>) {
        Some(Ok(mac)) => mac,
        // A tunnel has an IP address there, or nothing.
        _ if draft.link_type != "ether" => MacAddr::ZERO,
        Some(Err(error)) => return Err(Fault::new(span, error.to_string())),
        None => return Err(need("address")),
    };
    draft.detailed = map.contains_key("promiscuity");
    if let Some(info) = map.get("linkinfo").and_then(Value::as_object) {
        details(&mut draft, info, reader);
    }
    for address in map.get("addr_info").and_then(Value::as_array).into_iter().flatten() {
        let read = address_of(&mut draft, address, reader);
        reader.take(read);
    }
    for key in map.keys().filter(|key| !KEYS.contains(&&***key)) {
        reader.note(span, format!("'{key}' is not modelled"));
    }
    Ok(draft)
}

/// Fields that are read, follow from others, or change no packet's way.
const KEYS: [&str; 40] = [
    "ifindex",
    "ifname",
    "link",
    "link_index",
    "link_netnsid",
    "flags",
    "mtu",
    "qdisc",
    "master",
    "operstate",
    "linkmode",
    "group",
    "txqlen",
    "link_type",
    "address",
    "broadcast",
    "linkinfo",
    "addr_info",
    "promiscuity",
    "allmulti",
    "min_mtu",
    "max_mtu",
    "inet6_addr_gen_mode",
    "num_tx_queues",
    "num_rx_queues",
    "gso_max_size",
    "gso_max_segs",
    "tso_max_size",
    "tso_max_segs",
    "gro_max_size",
    "gso_ipv4_max_size",
    "gro_ipv4_max_size",
    "parentbus",
    "parentdev",
    "permaddr",
    "stats",
    "stats64",
    "link_pointtopoint",
    "num_vf",
    "vfinfo_list",
];

fn details(draft: &mut Draft, info: &Map<String, Value>, reader: &mut Reader) {
    let span = draft.span;
    draft.kind = info.get("info_kind").and_then(Value::as_str).map(String::from);
    let empty = Map::new();
    let data = info.get("info_data").and_then(Value::as_object).unwrap_or(&empty);
    let known: &[&str] = match draft.kind.as_deref() {
        Some("bridge") => {
            draft.ageing_centisecs = u32_of(data, "ageing_time");
            &["ageing_time"]
        }
        Some("vxlan") => {
            let vxlan = &mut draft.vxlan;
            vxlan.vni = u32_of(data, "id").unwrap_or(0);
            vxlan.port = u32_of(data, "port").and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
            let local = data.get("local").or_else(|| data.get("local6")).and_then(Value::as_str);
            vxlan.local = local.and_then(addr);
            vxlan.dev = data.get("link").and_then(Value::as_str).map(Into::into);
            vxlan.learning = data.get("learning").and_then(Value::as_bool).unwrap_or(true);
            for key in ["remote", "remote6", "group", "group6"].iter().filter(|key| data.contains_key(**key))
            {
                let message =
                    format!("'{key}' of a VXLAN device is not modelled: only its forwarding entries are");
                reader.warn(span, message);
            }
            &["id", "port", "local", "local6", "link", "learning"]
        }
        Some(_) | None => &[],
    };
    if data.keys().any(|key| !known.contains(&&**key)) {
        told(Some(span), draft.kind.as_deref().unwrap_or("link"), reader);
    }
    if info.get("info_slave_kind").and_then(Value::as_str) == Some("bridge") {
        let port = info.get("info_slave_data").and_then(Value::as_object).unwrap_or(&empty);
        let on = |key: &str| port.get(key).and_then(Value::as_bool).unwrap_or(false);
        (draft.hairpin, draft.isolated) = (on("hairpin"), on("isolated"));
        if port.keys().any(|key| !matches!(&**key, "hairpin" | "isolated")) {
            told(Some(span), "bridge_slave", reader);
        }
    }
}

fn address_of(draft: &mut Draft, value: &Value, reader: &mut Reader) -> Result<(), Fault> {
    let span = draft.span;
    let bad =
        || Fault::new(span, format!("{}: an address without a readable 'local' and 'prefixlen'", draft.name));
    let map = value.as_object().ok_or_else(bad)?;
    if map.is_empty() {
        return Ok(());
    }
    let text = |key: &str| map.get(key).and_then(Value::as_str);
    let local = text("local").and_then(addr).ok_or_else(bad)?;
    let len = u32_of(map, "prefixlen").and_then(|len| u8::try_from(len).ok()).ok_or_else(bad)?;
    let net = IpNet::new(local, len).map_err(|_| bad())?;
    let scope = text("scope").map_or(Some(RouteScope::Global), scope_of).ok_or_else(bad)?;
    for (key, value) in map {
        match &**key {
            "family" | "local" | "prefixlen" | "scope" | "secondary" => {}
            "broadcast" => {
                if let Some(broadcast) = value.as_str().and_then(addr) {
                    check_broadcast(net, broadcast, span, reader);
                }
            }
            "label" if value.as_str() == Some(&*draft.name) => {}
            "valid_life_time" | "preferred_life_time" if value.as_u64() == Some(u64::from(u32::MAX)) => {}
            "valid_life_time" | "preferred_life_time" => {
                reader.note(span, "an address expires, which is not modelled");
            }
            "address" => reader.note(span, "the far end ('peer') of an address is not modelled"),
            other => reader.note(span, format!("'{other}' is not modelled")),
        }
    }
    let origin = reader.origin(span);
    draft.addresses.push(Address { net, scope, origin });
    Ok(())
}

fn u32_of(map: &Map<String, Value>, key: &str) -> Option<u32> {
    map.get(key)?.as_u64().and_then(|number| u32::try_from(number).ok())
}
