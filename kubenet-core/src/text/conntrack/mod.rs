//! `conntrack -L`: connections that the kernel tracks.
//!
//! In: plain lines, also of `-o extended` (which begin with the family, `ipv4 2`), of `-o id`, and of `/proc/net/nf_conntrack`;
//! the count at the end is skipped. Out: [`ConntrackEntry`]s. What has no place in them (`delta-time`, `[start=…]`, `labels`) is
//! kept as text and printed at the end of its line. Form: libnetfilter_conntrack 1.0.9 `src/conntrack/snprintf_default.c`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Parsed;
use super::line::{Line, Span, Word, addr, any_number, lines, number};
use super::reader::{Fault, Reader};
use crate::addr::Family;
use crate::plan::{ConntrackEntry, ConntrackHold, ConntrackKey, ConntrackTuple};

/// Whether lines begin with the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer3 {
    /// They do not (`conntrack -L`).
    Hide,
    /// They do (`conntrack -L -o extended`).
    Show,
}

/// Reads the lines.
pub fn parse(text: &str, file: &str) -> Parsed<ConntrackEntry> {
    let mut reader = Reader::new(file);
    let mut out = Vec::new();
    for mut line in lines(text).filter(|line| !line.is_empty()) {
        // `conntrack v1.4.7 (conntrack-tools): 8 flow entries have been shown.`
        if line.peek() == Some("conntrack") {
            continue;
        }
        let read = entry(&mut line, &reader);
        out.extend(reader.take(read));
    }
    reader.finish(out)
}

/// The lines of `conntrack -L`.
pub fn render(entries: &[ConntrackEntry], layer3: Layer3) -> String {
    let mut out = String::new();
    for entry in entries {
        print_entry(entry, layer3, &mut out);
    }
    out
}

/// What is read of one direction before it is whole.
#[derive(Default)]
struct Draft {
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    /// The ports or keys, or type, code and identifier.
    numbers: [Option<u16>; 5],
    keys: bool,
    zone: Option<u16>,
    packets: Option<u64>,
    bytes: Option<u64>,
}

impl Draft {
    fn finish(self, span: Span, which: &str) -> Result<ConntrackTuple, Fault> {
        let missing = |what: &str| Fault::new(span, format!("the {which} direction has no '{what}'"));
        let src = self.src.ok_or_else(|| missing("src"))?;
        let dst = self.dst.ok_or_else(|| missing("dst"))?;
        if src.is_ipv4() != dst.is_ipv4() {
            return Err(Fault::new(span, format!("{src} and {dst} are of two families")));
        }
        let key = match self.numbers {
            [Some(source), Some(destination), None, None, None] if self.keys => {
                ConntrackKey::Gre(source, destination)
            }
            [Some(source), Some(destination), None, None, None] => ConntrackKey::Ports(source, destination),
            [None, None, Some(kind), Some(code), Some(id)] => {
                let byte = |number: u16| u8::try_from(number).map_err(|_| missing("type and code of ICMP"));
                ConntrackKey::Icmp { kind: byte(kind)?, code: byte(code)?, id }
            }
            [None, None, None, None, None] => ConntrackKey::Nothing,
            _ => return Err(missing("sport and dport, or type, code and id")),
        };
        Ok(ConntrackTuple { src, dst, key, zone: self.zone, counters: self.packets.zip(self.bytes) })
    }
}

fn entry(line: &mut Line<'_>, reader: &Reader) -> Result<ConntrackEntry, Fault> {
    let span = line.span;
    let missing = |what: &str| Fault::new(span, format!("the line ends before its {what}"));
    if line.eat("ipv4") || line.eat("ipv6") {
        line.next().ok_or_else(|| missing("protocol"))?.read("the number of a family", number::<u8>)?;
    }
    line.next().ok_or_else(|| missing("protocol"))?;
    let protocol = line.next().ok_or_else(|| missing("protocol's number"))?;
    let protocol = protocol.read("the number of a protocol", number)?;
    let timeout_secs = line.peek().and_then(number);
    if timeout_secs.is_some() {
        line.next();
    }
    let state = line.peek().filter(|word| !word.contains('=') && !word.starts_with('['));
    if state.is_some() {
        line.next();
    }
    let mut drafts = [Draft::default(), Draft::default()];
    let mut out = ConntrackEntry {
        protocol,
        timeout_secs,
        state: state.map(Into::into),
        original: nothing(),
        reply: nothing(),
        unreplied: false,
        hold: ConntrackHold::Loose,
        mark: None,
        secctx: None,
        zone: 0,
        helper: None,
        uses: None,
        id: None,
        carried: None,
        origin: reader.origin(span),
    };
    let mut carried: Vec<&str> = Vec::new();
    while let Some(word) = line.next() {
        match word.text.split_once('=') {
            _ if word.text.starts_with('[') => match word.text {
                "[UNREPLIED]" => out.unreplied = true,
                "[ASSURED]" => out.hold = ConntrackHold::Assured,
                "[OFFLOAD]" => out.hold = ConntrackHold::Offload,
                "[HW_OFFLOAD]" => out.hold = ConntrackHold::HwOffload,
                other => carried.push(other),
            },
            Some((key, value)) => {
                let known = field(word, key, value, &mut drafts, &mut out)?;
                carried.extend((!known).then_some(word.text));
            }
            None => carried.push(word.text),
        }
    }
    let [original, reply] = drafts;
    out.original = original.finish(span, "original")?;
    out.reply = reply.finish(span, "reply")?;
    out.carried = (!carried.is_empty()).then(|| carried.join(" ").into());
    Ok(out)
}

/// Takes one `key=value`; whether it has a place.
fn field(
    word: Word<'_>,
    key: &str,
    value: &str,
    [original, reply]: &mut [Draft; 2],
    out: &mut ConntrackEntry,
) -> Result<bool, Fault> {
    let bad = |what: &str| Fault::new(word.span, format!("'{}' does not say {what}", word.text));
    let small =
        || any_number(value).and_then(|n| u16::try_from(n).ok()).ok_or_else(|| bad("a number up to 65535"));
    // Both directions have the same keys; the second time a source comes, the reply begins.
    let replying = original.src.is_some() && (reply.src.is_some() || key == "src");
    let draft = if replying { reply } else { original };
    // The identifier of ICMP stands behind its code; any other is that of the whole entry.
    let whole_id = key == "id" && (draft.numbers[3].is_none() || draft.numbers[4].is_some());
    match key {
        "src" => draft.src = Some(addr(value).ok_or_else(|| bad("an address"))?),
        "dst" => draft.dst = Some(addr(value).ok_or_else(|| bad("an address"))?),
        "sport" => draft.numbers[0] = Some(small()?),
        "dport" => draft.numbers[1] = Some(small()?),
        "srckey" => (draft.numbers[0], draft.keys) = (Some(small()?), true),
        "dstkey" => (draft.numbers[1], draft.keys) = (Some(small()?), true),
        "type" => draft.numbers[2] = Some(small()?),
        "code" => draft.numbers[3] = Some(small()?),
        "id" if whole_id => out.id = Some(number(value).ok_or_else(|| bad("a number"))?),
        "id" => draft.numbers[4] = Some(small()?),
        "zone-orig" | "zone-reply" => draft.zone = Some(small()?),
        "packets" => draft.packets = Some(number(value).ok_or_else(|| bad("a number"))?),
        "bytes" => draft.bytes = Some(number(value).ok_or_else(|| bad("a number"))?),
        "mark" => out.mark = Some(number(value).ok_or_else(|| bad("a number"))?),
        "secctx" => out.secctx = Some(value.into()),
        "zone" => out.zone = small()?,
        "helper" => out.helper = Some(value.into()),
        "use" => out.uses = Some(number(value).ok_or_else(|| bad("a number"))?),
        _ => return Ok(false),
    }
    Ok(true)
}

const fn nothing() -> ConntrackTuple {
    let any = IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED);
    ConntrackTuple { src: any, dst: any, key: ConntrackKey::Nothing, zone: None, counters: None }
}

fn print_entry(entry: &ConntrackEntry, layer3: Layer3, out: &mut String) {
    if layer3 == Layer3::Show {
        out.push_str(match entry.family() {
            Family::V4 => "ipv4     2 ",
            Family::V6 => "ipv6     10 ",
        });
    }
    out.push_str(&format!("{:<8} {} ", protocol_name(entry.protocol), entry.protocol));
    let mut word = |text: &str| {
        out.push_str(text);
        out.push(' ');
    };
    if let Some(secs) = entry.timeout_secs {
        word(&secs.to_string());
    }
    if let Some(state) = &entry.state {
        word(state);
    }
    word(&print_tuple(&entry.original, "orig"));
    if entry.unreplied {
        word("[UNREPLIED]");
    }
    word(&print_tuple(&entry.reply, "reply"));
    match entry.hold {
        ConntrackHold::Loose => {}
        ConntrackHold::Assured => word("[ASSURED]"),
        ConntrackHold::Offload => word("[OFFLOAD]"),
        ConntrackHold::HwOffload => word("[HW_OFFLOAD]"),
    }
    if let Some(mark) = entry.mark {
        word(&format!("mark={mark}"));
    }
    if let Some(secctx) = &entry.secctx {
        word(&format!("secctx={secctx}"));
    }
    if entry.zone != 0 {
        word(&format!("zone={}", entry.zone));
    }
    if let Some(helper) = &entry.helper {
        word(&format!("helper={helper}"));
    }
    if let Some(uses) = entry.uses {
        word(&format!("use={uses}"));
    }
    if let Some(id) = entry.id {
        word(&format!("id={id}"));
    }
    if let Some(carried) = &entry.carried {
        word(carried);
    }
    out.pop();
    out.push('\n');
}

fn print_tuple(tuple: &ConntrackTuple, which: &str) -> String {
    let mut out = format!("src={} dst={}", tuple.src, tuple.dst);
    match tuple.key {
        ConntrackKey::Ports(source, destination) => {
            out.push_str(&format!(" sport={source} dport={destination}"));
        }
        ConntrackKey::Icmp { kind, code, id } => out.push_str(&format!(" type={kind} code={code} id={id}")),
        ConntrackKey::Gre(source, destination) => {
            out.push_str(&format!(" srckey={source:#x} dstkey={destination:#x}"));
        }
        ConntrackKey::Nothing => {}
    }
    if let Some(zone) = tuple.zone {
        out.push_str(&format!(" zone-{which}={zone}"));
    }
    if let Some((packets, bytes)) = tuple.counters {
        out.push_str(&format!(" packets={packets} bytes={bytes}"));
    }
    out
}

/// The names that the library has for protocols.
const fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        1 => "icmp",
        2 => "igmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        47 => "gre",
        58 => "icmpv6",
        132 => "sctp",
        136 => "udplite",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests;
