//! `bridge fdb`: behind which port of a bridge, or which remote of a VXLAN device, a MAC address is.
//!
//! In: plain lines or `-j` JSON. Out: [`FdbEntry`]s. Entries for a VLAN of the bridge are told and left out: the model's
//! bridges have no VLAN filtering, and the kernel lists the same address without a VLAN too. `static` entries, which do not
//! age, are held as learned ones. Form: iproute2 `bridge/fdb.c print_fdb`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::Parsed;
use super::json::{self, Writer, array, is_json, word};
use super::line::{Line, addr, lines, name};
use super::reader::{Fault, Reader};
use crate::plan::FdbEntry;

/// Reads plain lines.
pub fn parse(text: &str, file: &str) -> Parsed<FdbEntry> {
    let mut reader = Reader::new(file);
    let mut out = Vec::new();
    for mut line in lines(text).filter(|line| !line.is_empty()) {
        let read = entry(&mut line, &mut reader);
        out.extend(reader.take(read).flatten());
    }
    reader.finish(out)
}

/// Reads the JSON of `bridge -j fdb`.
pub fn parse_json(text: &str, file: &str) -> Parsed<FdbEntry> {
    let mut reader = Reader::new(file);
    let mut out = Vec::new();
    for object in json::objects(text, &mut reader) {
        let words = words(&object.map);
        let read = entry(&mut Line::of_words(&words, object.span), &mut reader);
        out.extend(reader.take(read).flatten());
    }
    reader.finish(out)
}

/// Reads either form.
pub fn parse_any(text: &str, file: &str) -> Parsed<FdbEntry> {
    if is_json(text) { parse_json(text, file) } else { parse(text, file) }
}

/// The lines of `bridge fdb`.
pub fn render(entries: &[FdbEntry]) -> String {
    let line = |entry: &FdbEntry| {
        let dst = entry.dst.map_or_else(String::new, |dst| format!(" dst {dst}"));
        let of = entry.master.as_ref().map_or_else(|| " self".into(), |master| format!(" master {master}"));
        let permanent = if entry.permanent { " permanent" } else { "" };
        format!("{} dev {}{dst}{of}{permanent}\n", entry.mac, entry.dev)
    };
    entries.iter().map(line).collect()
}

/// What `bridge -j fdb` prints.
pub fn render_json(entries: &[FdbEntry]) -> String {
    let object = |entry: &FdbEntry| {
        let mut out = Writer::default();
        out.text("mac", entry.mac).text("ifname", &entry.dev).maybe("dst", entry.dst);
        let flags: &[&str] = if entry.master.is_none() { &["self"] } else { &[] };
        out.words("flags", flags).maybe("master", entry.master.as_ref());
        out.text("state", if entry.permanent { "permanent" } else { "" }).end()
    };
    format!("{}\n", array(entries.iter().map(object)))
}

fn entry(line: &mut Line<'_>, reader: &mut Reader) -> Result<Option<FdbEntry>, Fault> {
    let span = line.span;
    let first = line.next().ok_or_else(|| Fault::new(span, "an empty entry"))?;
    let mac = first.read("a MAC address", |text| text.parse().ok())?;
    let (mut dev, mut master, mut dst, mut permanent, mut itself, mut vlan) =
        (None, None, None, false, false, false);
    while let Some(key) = line.next() {
        match key.text {
            "dev" => dev = Some(line.read(key, "a link's name", name)?),
            "master" => master = Some(line.read(key, "a link's name", name)?),
            "dst" => dst = Some(line.read(key, "an IP address", addr)?),
            "self" => itself = true,
            "permanent" => permanent = true,
            "static" => reader.note(key.span, "a 'static' entry is held as a learned one: it would age"),
            // `stale` has aged, `extern_learn` came from a control plane: both are used like learned ones.
            "stale" | "extern_learn" | "dynamic" => {}
            "vlan" => {
                line.value(key)?;
                vlan = true;
            }
            "port" | "vni" | "src_vni" | "via" | "nhid" | "link-netnsid" | "used" => {
                line.value(key)?;
                reader.warn(key.span, format!("'{}' of a forwarding entry is not modelled", key.text));
            }
            _ => reader.unmodelled(key),
        }
    }
    let dev = dev.ok_or_else(|| Fault::new(span, format!("{mac} has no 'dev'")))?;
    if vlan {
        reader.note(span, "an entry of one VLAN is left out: VLANs of a bridge are not modelled");
        return Ok(None);
    }
    if master.is_none() && !itself {
        let fault =
            Fault::new(span, format!("{mac} is neither of the device ('self') nor of a bridge ('master')"));
        return Err(fault.help("bridge fdb, without 'br', prints which"));
    }
    // `self` of a bridge's port: the device's own filter list; `self` with `master` is printed as two lines.
    let master = master.map(Into::into);
    Ok(Some(FdbEntry { mac, dev: dev.into(), master, dst, permanent, origin: reader.origin(span) }))
}

/// The words that the plain form has for a JSON object.
fn words(map: &Map<String, Value>) -> Vec<String> {
    let mut out: Vec<String> = map.get("mac").and_then(word).into_iter().collect();
    for (key, value) in map.iter().filter(|(key, _)| *key != "mac") {
        match (&**key, value) {
            ("flags", Value::Array(flags)) => out.extend(flags.iter().filter_map(word)),
            ("state", value) => out.extend(word(value).filter(|state| !state.is_empty())),
            ("ifname", value) => out.extend([Some("dev".into()), word(value)].into_iter().flatten()),
            (key, value) => out.extend([Some(key.into()), word(value)].into_iter().flatten()),
        }
    }
    out
}
