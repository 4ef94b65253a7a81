//! `ip rule`: the rules that choose a routing table.
//!
//! In: plain lines or `-j` JSON of one family (neither form says which). Out: [`IpRule`]s. Selectors that the model does not
//! read (`tos`, `uidrange`, `ipproto`, `sport`, `dport`, `suppress_prefixlength` …) are kept in [`IpRule::carried`]: a packet
//! that gets to such a rule has an unknown fate. Form: iproute2 `iprule.c print_rule`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::Parsed;
use super::ip_route::{table_name, table_of};
use super::json::{self, Writer, array, is_json, word};
use super::line::{Line, Span, Word, any_number, lines, name, net, number, number_and_mask};
use super::reader::{Fault, Reader};
use crate::addr::Family;
use crate::plan::{IpRule, RuleAction};

/// Carried words that stand before the action, each with one value, in the order in which iproute2 prints them.
const SELECTORS: [&str; 6] = ["tos", "uidrange", "ipproto", "sport", "dport", "tun_id"];
/// Carried words that stand behind the action.
const TRAILING: [&str; 3] = ["suppress_prefixlength", "suppress_ifgroup", "realms"];

/// Reads plain lines.
pub fn parse(text: &str, file: &str, family: Family) -> Parsed<IpRule> {
    let mut reader = Reader::new(file);
    let mut out = Vec::new();
    for mut line in lines(text).filter(|line| !line.is_empty()) {
        let read = rule(&mut line, family, &mut reader);
        out.extend(reader.take(read));
    }
    reader.finish(out)
}

/// Reads the JSON of `ip -j rule`.
pub fn parse_json(text: &str, file: &str, family: Family) -> Parsed<IpRule> {
    let mut reader = Reader::new(file);
    let mut out = Vec::new();
    for object in json::objects(text, &mut reader) {
        let words = words(&object.map, object.span, &mut reader);
        let read = rule(&mut Line::of_words(&words, object.span), family, &mut reader);
        out.extend(reader.take(read));
    }
    reader.finish(out)
}

/// Reads either form.
pub fn parse_any(text: &str, file: &str, family: Family) -> Parsed<IpRule> {
    if is_json(text) { parse_json(text, file, family) } else { parse(text, file, family) }
}

/// The lines of `ip rule` (`ip -6 rule`) for the rules of one family.
pub fn render(rules: &[IpRule], family: Family) -> String {
    rules.iter().filter(|rule| rule.family == family).map(|rule| format!("{}\n", line(rule))).collect()
}

/// What `ip -j rule` prints for the rules of one family.
pub fn render_json(rules: &[IpRule], family: Family) -> String {
    format!("{}\n", array(rules.iter().filter(|rule| rule.family == family).map(object)))
}

fn rule(line: &mut Line<'_>, family: Family, reader: &mut Reader) -> Result<IpRule, Fault> {
    let span = line.span;
    let first = line.next().ok_or_else(|| Fault::new(span, "an empty rule"))?;
    let priority = first.read("a priority such as '100:'", |text| number(text.strip_suffix(':')?))?;
    let mut out = IpRule {
        family,
        priority,
        invert: line.eat("not"),
        from: None,
        to: None,
        iif: None,
        oif: None,
        fwmark: None,
        action: RuleAction::Nop,
        carried: None,
        origin: reader.origin(span),
    };
    let mut acts = false;
    let mut carried: Vec<(usize, String)> = Vec::new();
    while let Some(key) = line.next() {
        let action = match key.text {
            "from" => {
                out.from = prefix(line.value(key)?, family)?;
                continue;
            }
            "to" => {
                out.to = prefix(line.value(key)?, family)?;
                continue;
            }
            "iif" | "dev" => {
                out.iif = Some(line.read(key, "a link's name", name)?.into());
                continue;
            }
            "oif" => {
                out.oif = Some(line.read(key, "a link's name", name)?.into());
                continue;
            }
            "fwmark" => {
                out.fwmark = Some(line.read(key, "a mark or MARK/MASK", number_and_mask)?);
                continue;
            }
            // The name stands for no link now, the target for no rule: both follow from the rest.
            "[detached]" | "[unresolved]" => continue,
            "proto" | "protocol" => {
                let by = line.value(key)?;
                reader.note(key.span, format!("'proto {}' of a rule is not kept", by.text));
                continue;
            }
            "lookup" | "table" if line.peek() == Some("[l3mdev-table]") => {
                carried.push((0, "lookup [l3mdev-table]".into()));
                line.next();
                continue;
            }
            "lookup" | "table" => RuleAction::Lookup(line.read(key, "a table", table_of)?),
            "goto" => RuleAction::Goto(line.read(key, "a priority", any_number)?),
            "blackhole" => RuleAction::Blackhole,
            "unreachable" => RuleAction::Unreachable,
            "prohibit" => RuleAction::Prohibit,
            "nop" => RuleAction::Nop,
            other => {
                let order = SELECTORS.iter().chain(&TRAILING);
                let words = match order.clone().position(|known| *known == other) {
                    Some(rank) => (rank, format!("{other} {}", line.value(key)?.text)),
                    None => (0, other.into()),
                };
                carried.push(words);
                continue;
            }
        };
        out.action = action;
        acts = true;
    }
    if !carried.is_empty() {
        carried.sort_by_key(|(rank, _)| *rank);
        let carried = carried.into_iter().map(|(_, words)| words).collect::<Vec<_>>().join(" ");
        reader.warn(span, format!("'{carried}' of a rule is kept but not modelled: what it does is unknown"));
        out.carried = Some(carried);
    } else if !acts {
        return Err(Fault::new(span, format!("rule {priority} does nothing: no 'lookup' and no action")));
    }
    Ok(out)
}

fn prefix(word: Word<'_>, family: Family) -> Result<Option<IpNet>, Fault> {
    if matches!(word.text, "all" | "any") {
        return Ok(None);
    }
    let net = word.read("a prefix, an address or 'all'", net)?;
    if Family::of_net(net) != family {
        let message = format!("{net} is {}, the rules are {family}", Family::of_net(net));
        return Err(Fault::new(word.span, message));
    }
    Ok(Some(net))
}

/// The words that the plain form has for a JSON object.
fn words(map: &Map<String, Value>, span: Span, reader: &mut Reader) -> Vec<String> {
    let text = |key: &str| map.get(key).and_then(word);
    let mut out = Vec::new();
    out.extend(text("priority").map(|priority| format!("{priority}:")));
    out.extend(map.contains_key("not").then(|| "not".into()));
    for (key, word) in [("src", "from"), ("dst", "to")] {
        let Some(addr) = text(key) else { continue };
        let len = text(&format!("{key}len"));
        out.extend([word.into(), len.map_or_else(|| addr.clone(), |len| format!("{addr}/{len}"))]);
    }
    if let Some(mark) = text("fwmark") {
        let mask = text("fwmask");
        out.extend(["fwmark".into(), mask.map_or_else(|| mark.clone(), |mask| format!("{mark}/{mask}"))]);
    }
    for (key, value) in map {
        let plain = match &**key {
            "priority" | "not" | "src" | "srclen" | "dst" | "dstlen" | "fwmark" | "fwmask" | "table"
            | "suppress_prefixlen" | "oif_detached" | "iif_detached" | "unresolved" => continue,
            "action" => {
                out.extend(word(value));
                continue;
            }
            other => other,
        };
        out.push(plain.into());
        match (word(value), value) {
            (Some(value), _) => out.push(value),
            (None, Value::Null) => {}
            (None, _) => reader.note(span, format!("'{key}' is not modelled")),
        }
    }
    out.extend(text("table").map(|table| [String::from("lookup"), table]).into_iter().flatten());
    let suppress = text("suppress_prefixlen");
    out.extend(suppress.map(|len| [String::from("suppress_prefixlength"), len]).into_iter().flatten());
    out
}

fn line(rule: &IpRule) -> String {
    let mut out = format!("{}:\t", rule.priority);
    if rule.invert {
        out.push_str("not ");
    }
    out.push_str(&rule.from.map_or_else(|| "from all".into(), |net| format!("from {}", short(net))));
    out.push_str(&rule.to.map_or_else(String::new, |net| format!(" to {}", short(net))));
    if let Some((mark, mask)) = rule.fwmark {
        out.push_str(&format!(" fwmark {mark:#x}"));
        if mask != u32::MAX {
            out.push_str(&format!("/{mask:#x}"));
        }
    }
    for (key, link) in [("iif", &rule.iif), ("oif", &rule.oif)] {
        out.push_str(&link.as_ref().map_or_else(String::new, |link| format!(" {key} {link}")));
    }
    let (selectors, trailing) = split_carried(rule);
    out.push_str(&words_of(&selectors));
    match rule.action {
        RuleAction::Lookup(table) => out.push_str(&format!(" lookup {}", table_name(table))),
        RuleAction::Goto(priority) => out.push_str(&format!(" goto {priority}")),
        RuleAction::Blackhole => out.push_str(" blackhole"),
        RuleAction::Unreachable => out.push_str(" unreachable"),
        RuleAction::Prohibit => out.push_str(" prohibit"),
        RuleAction::Nop => out.push_str(" nop"),
    }
    out.push_str(&words_of(&trailing));
    out
}

fn object(rule: &IpRule) -> String {
    let mut out = Writer::default();
    out.raw("priority", rule.priority);
    if rule.invert {
        out.raw("not", "null");
    }
    for (key, net) in [("src", rule.from), ("dst", rule.to)] {
        match net {
            Some(net) => {
                out.text(key, net.addr());
                if net.prefix_len() != net.max_prefix_len() {
                    out.raw(&format!("{key}len"), net.prefix_len());
                }
            }
            None if key == "src" => _ = out.text(key, "all"),
            None => {}
        }
    }
    if let Some((mark, mask)) = rule.fwmark {
        out.text("fwmark", format!("{mark:#x}"));
        if mask != u32::MAX {
            out.text("fwmask", format!("{mask:#x}"));
        }
    }
    out.maybe("iif", rule.iif.as_ref()).maybe("oif", rule.oif.as_ref());
    let (selectors, trailing) = split_carried(rule);
    pairs(&mut out, &selectors);
    match rule.action {
        RuleAction::Lookup(table) => _ = out.text("table", table_name(table)),
        RuleAction::Goto(priority) => _ = out.raw("goto", priority),
        RuleAction::Blackhole => _ = out.text("action", "blackhole"),
        RuleAction::Unreachable => _ = out.text("action", "unreachable"),
        RuleAction::Prohibit => _ = out.text("action", "prohibit"),
        RuleAction::Nop => _ = out.raw("nop", "null"),
    }
    pairs(&mut out, &trailing);
    out.end()
}

fn pairs(out: &mut Writer, carried: &[Carried<'_>]) {
    for pair in carried {
        match *pair {
            ("suppress_prefixlength", Some(value)) => _ = out.scalar("suppress_prefixlen", value),
            (key, Some(value)) => _ = out.scalar(key, value),
            (key, None) => _ = out.raw(key, "null"),
        }
    }
}

fn words_of(carried: &[Carried<'_>]) -> String {
    let words = carried.iter().flat_map(|(key, value)| [Some(*key), *value]).flatten();
    words.map(|word| format!(" {word}")).collect()
}

/// A carried word, with its value if it is one that has a value.
type Carried<'r> = (&'r str, Option<&'r str>);

/// What is carried, apart by whether it stands before or behind the action.
fn split_carried(rule: &IpRule) -> (Vec<Carried<'_>>, Vec<Carried<'_>>) {
    let (mut selectors, mut trailing) = (Vec::new(), Vec::new());
    let mut words = rule.carried.as_deref().unwrap_or("").split(' ').filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if TRAILING.contains(&word) {
            trailing.push((word, words.next()));
        } else if SELECTORS.contains(&word) || word == "lookup" {
            selectors.push((word, words.next()));
        } else {
            selectors.push((word, None));
        }
    }
    (selectors, trailing)
}

fn short(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}
