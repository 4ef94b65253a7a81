//! Reading routes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::{LEADING, METRICS, PROTOCOLS, VALUED, protocol_of, scope_of, table_of};
use crate::addr::Family;
use crate::plan::{NextHop, Route, RouteKind, RouteProtocol, RouteScope};
use crate::text::Parsed;
use crate::text::json::{self, word};
use crate::text::line::{Line, Span, Word, addr, any_number, lines, name, net, number};
use crate::text::reader::{Fault, Reader};

pub(super) fn plain(text: &str, file: &str, table: u32) -> Parsed<Route> {
    let mut reader = Reader::new(file);
    let mut out: Vec<Route> = Vec::new();
    let mut open: Option<Draft> = None;
    let mut broken = false;
    for mut line in lines(text).filter(|line| !line.is_empty()) {
        if line.peek() == Some("nexthop") {
            // It goes on with the route before; nothing of a route that was not understood is kept.
            if let Some(draft) = &mut open {
                if let Err(fault) = draft.hops(&mut line, &mut reader) {
                    reader.fault(fault);
                    (open, broken) = (None, true);
                }
            } else if !broken {
                reader.fault(Fault::new(line.span, "a next hop without a route before it"));
            }
            continue;
        }
        close(&mut open, &mut reader, &mut out);
        let read = Draft::read(&mut line, table, &mut reader);
        open = reader.take(read);
        broken = open.is_none();
    }
    close(&mut open, &mut reader, &mut out);
    reader.finish(out)
}

pub(super) fn json(text: &str, file: &str, table: u32) -> Parsed<Route> {
    let mut reader = Reader::new(file);
    let mut out = Vec::new();
    for object in json::objects(text, &mut reader) {
        let words = words(&object.map, object.span, &mut reader);
        let mut line = Line::of_words(&words, object.span);
        let read = Draft::read(&mut line, table, &mut reader);
        let mut draft = reader.take(read);
        close(&mut draft, &mut reader, &mut out);
    }
    reader.finish(out)
}

/// The words that the plain form has for a JSON object.
fn words(map: &Map<String, Value>, span: Span, reader: &mut Reader) -> Vec<String> {
    let mut out = Vec::new();
    out.extend(["type", "dst"].iter().filter_map(|key| word(map.get(*key)?)));
    for (key, value) in map.iter().filter(|(key, _)| !matches!(&***key, "type" | "dst" | "nexthops")) {
        key_words(key, value, span, reader, &mut out);
    }
    for hop in map.get("nexthops").and_then(Value::as_array).into_iter().flatten() {
        out.push("nexthop".into());
        for (key, value) in hop.as_object().into_iter().flatten() {
            key_words(key, value, span, reader, &mut out);
        }
    }
    out
}

fn key_words(key: &str, value: &Value, span: Span, reader: &mut Reader, out: &mut Vec<String>) {
    let plain = match key {
        "gateway" => "via",
        "protocol" => "proto",
        "prefsrc" => "src",
        other => other,
    };
    match (key, value) {
        ("flags", Value::Array(flags)) => out.extend(flags.iter().filter_map(word)),
        ("metrics", Value::Array(metrics)) => {
            for (key, value) in metrics.iter().filter_map(Value::as_object).flatten() {
                out.extend(word(value).map(|value| [key.clone(), value]).into_iter().flatten());
            }
        }
        ("via", Value::Object(via)) => {
            out.push(plain.into());
            out.extend(["family", "host"].iter().filter_map(|key| word(via.get(*key)?)));
        }
        (_, Value::Null) => out.push(plain.into()),
        (_, value) => match word(value) {
            Some(value) => out.extend([plain.into(), value]),
            None => reader.note(span, format!("'{key}' is not modelled")),
        },
    }
}

fn close(open: &mut Option<Draft>, reader: &mut Reader, out: &mut Vec<Route>) {
    if let Some(draft) = open.take()
        && let Some(route) = draft.finish(reader)
    {
        out.push(route);
    }
}

/// The destination as it is written.
#[derive(Clone, Copy)]
enum Destination {
    Default,
    Net(IpNet),
}

/// A route whose next hops may still come.
struct Draft {
    span: Span,
    dst: Destination,
    kind: RouteKind,
    first: NextHop,
    /// The first next hop was said on the line itself.
    has_first: bool,
    hops: SmallVec<[NextHop; 1]>,
    table: u32,
    protocol: RouteProtocol,
    scope: RouteScope,
    metric: Option<u32>,
    prefsrc: Option<IpAddr>,
    mtu_bytes: Option<u32>,
    /// What `via`, `src` or `pref` say about the family, and which word.
    family: Option<(Family, Span)>,
    /// Words with their rank: both forms end in the order in which iproute2 prints.
    carried: Vec<(usize, String)>,
    comment: Option<String>,
}

impl Draft {
    fn read(line: &mut Line<'_>, table: u32, reader: &mut Reader) -> Result<Self, Fault> {
        let span = line.span;
        let first = line.next().ok_or_else(|| Fault::new(span, "an empty route"))?;
        let (kind, dst) = match kind_of(first.text) {
            Some(kind) => (kind, line.value(first)?),
            None => (RouteKind::Unicast, first),
        };
        let dst = match dst.text {
            "default" => Destination::Default,
            _ => Destination::Net(destination(dst)?),
        };
        let mut draft = Self {
            span,
            dst,
            kind,
            first: empty_hop(),
            has_first: false,
            hops: SmallVec::new(),
            table,
            protocol: RouteProtocol::Boot,
            scope: RouteScope::Global,
            metric: None,
            prefsrc: None,
            mtu_bytes: None,
            family: None,
            carried: Vec::new(),
            comment: None,
        };
        draft.comment(line);
        while let Some(key) = line.next() {
            if key.text == "nexthop" {
                draft.hop(line, reader)?;
                continue;
            }
            draft.key(key, line, reader)?;
        }
        Ok(draft)
    }

    /// One word of the route itself, with its value.
    fn key<'t>(&mut self, key: Word<'t>, line: &mut Line<'t>, reader: &mut Reader) -> Result<(), Fault> {
        match key.text {
            "via" | "dev" | "onlink" | "linkdown" => {
                self.has_first |= matches!(key.text, "via" | "dev");
                let mut hop = core::mem::replace(&mut self.first, empty_hop());
                self.hop_key(&mut hop, key, line, reader)?;
                self.first = hop;
            }
            "table" => self.table = line.read(key, "a table", table_of)?,
            "proto" => self.protocol = line.read(key, "a routing protocol", protocol)?,
            "scope" => self.scope = line.read(key, "a scope", scope_of)?,
            "metric" | "priority" | "preference" => {
                self.metric = Some(line.read(key, "a metric", any_number)?);
            }
            "src" => {
                let at = line.value(key)?;
                let source = at.read("an IP address", addr)?;
                self.prefsrc = Some(source);
                self.says_family(Family::of(source), at.span)?;
            }
            "mtu" => {
                if line.eat("lock") {
                    reader.note(key.span, "'mtu lock' is read as 'mtu'");
                }
                self.mtu_bytes = Some(line.read(key, "an MTU", number)?);
            }
            "pref" => {
                let level = line.value(key)?;
                self.says_family(Family::V6, key.span)?;
                // Every IPv6 route has one; medium is the default (RFC 4191 §2.1).
                if level.text != "medium" {
                    self.carry("pref", Some(level.text));
                }
            }
            "tos" | "dsfield" | "from" | "nhid" => {
                reader.warn(key.span, without(key.text));
                self.carry(key.text, Some(line.value(key)?.text));
            }
            "encap" => {
                reader.warn(key.span, without(key.text));
                self.carry(key.text, None);
            }
            other if METRICS.contains(&other) || VALUED.contains(&other) => {
                self.carry(other, Some(line.value(key)?.text));
            }
            other => {
                reader.note(key.span, format!("'{other}' is kept but not modelled"));
                self.carry(other, None);
            }
        }
        Ok(())
    }

    fn carry(&mut self, key: &str, value: Option<&str>) {
        let order = LEADING.iter().chain(&METRICS).chain(&VALUED).chain(&["pref"]);
        let rank = order.clone().position(|known| *known == key).unwrap_or_else(|| order.count());
        let words = value.map_or_else(|| key.to_string(), |value| format!("{key} {value}"));
        self.carried.push((rank, words));
    }

    /// `nexthop` lines behind the route.
    fn hops(&mut self, line: &mut Line<'_>, reader: &mut Reader) -> Result<(), Fault> {
        self.comment(line);
        while line.eat("nexthop") {
            self.hop(line, reader)?;
        }
        Ok(())
    }

    /// What follows one word `nexthop`.
    fn hop(&mut self, line: &mut Line<'_>, reader: &mut Reader) -> Result<(), Fault> {
        let mut hop = empty_hop();
        let span = line.span;
        while line.peek().is_some_and(|next| next != "nexthop") {
            let Some(key) = line.next() else { break };
            self.hop_key(&mut hop, key, line, reader)?;
        }
        if hop.via.is_none() && hop.dev.is_none() {
            return Err(Fault::new(span, "a next hop leads nowhere: neither 'via' nor 'dev'"));
        }
        self.hops.push(hop);
        Ok(())
    }

    fn hop_key<'t>(
        &mut self,
        hop: &mut NextHop,
        key: Word<'t>,
        line: &mut Line<'t>,
        reader: &mut Reader,
    ) -> Result<(), Fault> {
        match key.text {
            "via" => {
                let said = line.eat("inet6") || line.eat("inet");
                let at = line.value(key)?;
                let router = at.read("an IP address", addr)?;
                hop.via = Some(router);
                if !said {
                    self.says_family(Family::of(router), at.span)?;
                }
            }
            "dev" => hop.dev = Some(Arc::from(line.read(key, "a link's name", name)?)),
            "weight" => hop.weight = line.read(key, "a weight", number)?,
            "onlink" => hop.onlink = true,
            "linkdown" => hop.linkdown = true,
            _ => reader.unmodelled(key),
        }
        Ok(())
    }

    fn says_family(&mut self, family: Family, span: Span) -> Result<(), Fault> {
        let known = match self.dst {
            Destination::Net(net) => Some(Family::of_net(net)),
            Destination::Default => self.family.map(|(family, _)| family),
        };
        if let Some(known) = known.filter(|known| *known != family) {
            return Err(Fault::new(span, format!("this is {family}, the route is {known}")));
        }
        self.family = Some((family, span));
        Ok(())
    }

    fn comment(&mut self, line: &Line<'_>) {
        if let Some(comment) = line.comment {
            match &mut self.comment {
                Some(before) => before.push_str(&format!("; {comment}")),
                None => self.comment = Some(comment.to_string()),
            }
        }
    }

    fn finish(mut self, reader: &mut Reader) -> Option<Route> {
        let family = match self.dst {
            Destination::Net(net) => Family::of_net(net),
            Destination::Default => self.family.map_or(Family::V4, |(family, _)| family),
        };
        let dst = match (self.dst, family) {
            (Destination::Net(net), _) => net,
            (Destination::Default, Family::V4) => IpNet::V4(Ipv4Net::default()),
            (Destination::Default, Family::V6) => IpNet::V6(Ipv6Net::default()),
        };
        let drops = match self.kind {
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw => true,
            RouteKind::Unicast
            | RouteKind::Local
            | RouteKind::Broadcast
            | RouteKind::Anycast
            | RouteKind::Multicast => false,
        };
        if drops {
            self.hops.clear(); // IPv6 prints `dev lo`
        } else if self.hops.is_empty() && self.has_first {
            self.hops.push(self.first);
        } else if self.hops.is_empty() && !self.carried.iter().any(|(_, words)| words.starts_with("nhid ")) {
            reader.fault(Fault::new(self.span, format!("{dst} leads nowhere: neither 'via' nor 'dev'")));
            return None;
        }
        if let Some(hop) = self.hops.iter().find(|hop| hop.dev.is_none()) {
            let router = hop.via.map_or_else(|| dst.to_string(), |via| via.to_string());
            reader.warn(self.span, format!("no link is said for {router}: nothing leaves by it"));
        }
        self.carried.sort_by_key(|(rank, _)| *rank);
        let carried: Vec<String> = self.carried.into_iter().map(|(_, words)| words).collect();
        Some(Route {
            dst,
            kind: self.kind,
            next_hops: self.hops,
            table: self.table,
            protocol: self.protocol,
            scope: self.scope,
            metric: self.metric.unwrap_or(match family {
                Family::V4 => 0,
                Family::V6 => 1024,
            }),
            prefsrc: self.prefsrc,
            mtu_bytes: self.mtu_bytes,
            carried: (!carried.is_empty()).then(|| carried.join(" ").into()),
            comment: self.comment.map(Into::into),
            origin: reader.origin(self.span),
        })
    }
}

fn without(key: &str) -> String {
    format!("'{key}' of a route is kept but not modelled: the route is used without it")
}

const fn empty_hop() -> NextHop {
    NextHop { via: None, dev: None, weight: 1, onlink: false, linkdown: false }
}

fn destination(word: Word<'_>) -> Result<IpNet, Fault> {
    let dst = word.read("a prefix, an address or 'default'", net)?;
    if dst.trunc() != dst {
        let message = format!("{dst} has bits set behind its prefix length (EINVAL)");
        return Err(Fault::new(word.span, message).help("give the address of the network"));
    }
    Ok(dst)
}

fn protocol(text: &str) -> Option<RouteProtocol> {
    let named = PROTOCOLS.iter().find(|(_, name)| *name == text).map(|(number, _)| *number);
    named.or_else(|| number(text)).map(protocol_of)
}

fn kind_of(text: &str) -> Option<RouteKind> {
    Some(match text {
        "unicast" => RouteKind::Unicast,
        "local" => RouteKind::Local,
        "broadcast" => RouteKind::Broadcast,
        "anycast" => RouteKind::Anycast,
        "multicast" => RouteKind::Multicast,
        "blackhole" => RouteKind::Blackhole,
        "unreachable" => RouteKind::Unreachable,
        "prohibit" => RouteKind::Prohibit,
        "throw" => RouteKind::Throw,
        _ => return None,
    })
}
