//! `ip neigh`: which MAC address owns a neighbour's address.
//!
//! In: plain lines or `-j` JSON. Out: [`Neighbour`]s. Entries of `ip neigh show proxy` are told and left out; a link's proxy
//! ARP is a setting of the link. Form: iproute2 `ipneigh.c print_neigh`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::Parsed;
use super::json::{self, Writer, array, is_json, word};
use super::line::{Line, addr, lines, name};
use super::reader::{Fault, Reader};
use crate::plan::{Neighbour, NeighbourState};

const STATES: [(NeighbourState, &str); 9] = [
    (NeighbourState::Permanent, "PERMANENT"),
    (NeighbourState::Noarp, "NOARP"),
    (NeighbourState::Reachable, "REACHABLE"),
    (NeighbourState::Stale, "STALE"),
    (NeighbourState::Delay, "DELAY"),
    (NeighbourState::Probe, "PROBE"),
    (NeighbourState::Incomplete, "INCOMPLETE"),
    (NeighbourState::Failed, "FAILED"),
    (NeighbourState::None, "NONE"),
];

/// Reads plain lines.
pub fn parse(text: &str, file: &str) -> Parsed<Neighbour> {
    let mut reader = Reader::new(file);
    let mut out = Vec::new();
    for mut line in lines(text).filter(|line| !line.is_empty()) {
        let read = neighbour(&mut line, &mut reader);
        out.extend(reader.take(read).flatten());
    }
    reader.finish(out)
}

/// Reads the JSON of `ip -j neigh`.
pub fn parse_json(text: &str, file: &str) -> Parsed<Neighbour> {
    let mut reader = Reader::new(file);
    let mut out = Vec::new();
    for object in json::objects(text, &mut reader) {
        let words = words(&object.map);
        let read = neighbour(&mut Line::of_words(&words, object.span), &mut reader);
        out.extend(reader.take(read).flatten());
    }
    reader.finish(out)
}

/// Reads either form.
pub fn parse_any(text: &str, file: &str) -> Parsed<Neighbour> {
    if is_json(text) { parse_json(text, file) } else { parse(text, file) }
}

/// The lines of `ip neigh show nud all`.
pub fn render(neighbours: &[Neighbour]) -> String {
    let line = |n: &Neighbour| {
        let mac = n.mac.map_or_else(String::new, |mac| format!(" lladdr {mac}"));
        format!("{} dev {}{mac} {}\n", n.addr, n.dev, state_name(n.state))
    };
    neighbours.iter().map(line).collect()
}

/// What `ip -j neigh show nud all` prints.
pub fn render_json(neighbours: &[Neighbour]) -> String {
    let object = |n: &Neighbour| {
        let mut out = Writer::default();
        out.text("dst", n.addr).text("dev", &n.dev).maybe("lladdr", n.mac);
        out.words("state", &[state_name(n.state)]).end()
    };
    format!("{}\n", array(neighbours.iter().map(object)))
}

fn neighbour(line: &mut Line<'_>, reader: &mut Reader) -> Result<Option<Neighbour>, Fault> {
    let span = line.span;
    let first = line.next().ok_or_else(|| Fault::new(span, "an empty entry"))?;
    let addr = first.read("an IP address", addr)?;
    let (mut dev, mut mac, mut state, mut proxy) = (None, None, None, false);
    while let Some(key) = line.next() {
        match key.text {
            "dev" => dev = Some(line.read(key, "a link's name", name)?),
            "lladdr" => mac = Some(line.read(key, "a MAC address", |text| text.parse().ok())?),
            "proxy" => proxy = true,
            // Counters and times of `ip -s neigh`.
            "used" | "probes" | "ref" => _ = line.value(key)?,
            other => match STATES.iter().find(|(_, name)| *name == other) {
                Some((known, _)) => state = Some(*known),
                None => reader.unmodelled(key),
            },
        }
    }
    if proxy {
        reader.warn(span, "a proxy entry is not modelled and left out (a link's proxy_arp is)");
        return Ok(None);
    }
    let dev = dev.ok_or_else(|| {
        let fault = Fault::new(span, format!("{addr} has no 'dev'"));
        fault.help("ip neigh show, without 'dev', prints the link of each entry")
    })?;
    let state = state.unwrap_or(NeighbourState::None);
    Ok(Some(Neighbour { addr, dev: dev.into(), mac, state, origin: reader.origin(span) }))
}

/// The words that the plain form has for a JSON object.
fn words(map: &Map<String, Value>) -> Vec<String> {
    let mut out: Vec<String> = map.get("dst").and_then(word).into_iter().collect();
    for (key, value) in map.iter().filter(|(key, _)| *key != "dst") {
        match (&**key, value) {
            ("state", Value::Array(states)) => out.extend(states.iter().filter_map(word)),
            // `"used":1,"confirmed":2,"updated":3` is one word in the plain form.
            ("used" | "confirmed" | "updated" | "probes" | "refcnt", _) => {}
            (key, value) => out.extend([Some(key.into()), word(value)].into_iter().flatten()),
        }
    }
    out
}

fn state_name(state: NeighbourState) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map_or("NONE", |(_, name)| *name)
}
