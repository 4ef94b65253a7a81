//! The JSON of `nft -j list ruleset`, by way of the words that the plain form has for it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::expr::{Tokens, elements};
use super::lex::tokens;
use super::read::{FAMILIES, HOOKS, named};
use super::statement::statements;
use super::types::{quoted, read_duration};
use crate::origin::Origin;
use crate::plan::nft::{Base, Chain, ChainKind, Object, Rule, Set, Statement, Table, TableFamily};
use crate::plan::xt::Policy;
use crate::text::json::{Cursor, place_of, word};
use crate::text::line::Span;
use crate::text::reader::{Fault, Reader};

type Fields = Map<String, Value>;

/// Reads the tables.
pub(super) fn tables(text: &str, reader: &mut Reader) -> Vec<Table> {
    #[derive(serde::Deserialize)]
    struct Root<'t> {
        #[serde(borrow)]
        nftables: Vec<&'t RawValue>,
    }
    let text = text.trim_start_matches('\u{feff}');
    let root: Root<'_> = match serde_json::from_str(text) {
        Ok(root) => root,
        Err(error) => {
            reader.fault(Fault::new(place_of(text, &error), error.to_string()));
            return Vec::new();
        }
    };
    let mut cursor = Cursor::new(text);
    let mut out = Vec::new();
    for raw in root.nftables {
        let span = cursor.of(raw);
        let object = serde_json::from_str::<Value>(raw.get()).ok();
        let read = match object.as_ref().and_then(only) {
            Some((kind, Value::Object(fields))) => part(kind, fields, span, &mut out, reader),
            _ => Err(Fault::new(span, "this element is not an object of nft")),
        };
        reader.take(read);
    }
    out
}

/// The only field of an object.
fn only(value: &Value) -> Option<(&str, &Value)> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    fields.iter().next().map(|(key, value)| (&**key, value))
}

fn text_of<'v>(fields: &'v Fields, key: &str) -> Option<&'v str> {
    fields.get(key).and_then(Value::as_str)
}

fn number_of(fields: &Fields, key: &str) -> Option<u64> {
    fields.get(key).and_then(Value::as_u64)
}

/// A text, or the texts of a list.
fn list_of(value: Option<&Value>) -> Vec<Arc<str>> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(Into::into).collect(),
        Some(Value::String(text)) => Vec::from([Arc::from(&**text)]),
        _ => Vec::new(),
    }
}

fn part(
    kind: &str,
    fields: &Fields,
    span: Span,
    out: &mut Vec<Table>,
    reader: &mut Reader,
) -> Result<(), Fault> {
    if kind == "metainfo" {
        return Ok(());
    }
    let missing = |what: &str| Fault::new(span, format!("this '{kind}' has no '{what}'"));
    let family = text_of(fields, "family").ok_or_else(|| missing("family"))?;
    let family = FAMILIES.iter().find(|(name, _)| *name == family).map(|(_, family)| *family);
    let family = family.ok_or_else(|| Fault::new(span, "a family that nft does not have"))?;
    let name = || text_of(fields, "name").ok_or_else(|| missing("name"));
    let origin = reader.origin(span);
    if kind == "table" {
        out.push(table(name()?, family, fields, origin));
        return Ok(());
    }
    let of = text_of(fields, "table").ok_or_else(|| missing("table"))?;
    let table = out.iter_mut().find(|table| table.family == family && &*table.name == of);
    let table =
        table.ok_or_else(|| Fault::new(span, format!("table '{of}' does not stand before this '{kind}'")))?;
    match kind {
        "chain" => {
            let base = if fields.contains_key("hook") {
                Some(base(fields).ok_or_else(|| Fault::new(span, "the hook of this chain cannot be read"))?)
            } else {
                None
            };
            let comment = text_of(fields, "comment").map(Into::into);
            let chain = Chain { name: name()?.into(), base, comment, rules: Vec::new() };
            table.chains.push(Arc::new(chain));
        }
        "rule" => {
            let of = text_of(fields, "chain").ok_or_else(|| missing("chain"))?;
            // Rules follow each other in their chain.
            let chain = table.chains.iter_mut().rev().find(|chain| &*chain.name == of);
            let chain = chain
                .ok_or_else(|| Fault::new(span, format!("chain '{of}' does not stand before this rule")))?;
            let parts = fields.get("expr").and_then(Value::as_array).ok_or_else(|| missing("expr"))?;
            let statements: Vec<Statement> = parts.iter().flat_map(read_statement).collect();
            for statement in &statements {
                if let Statement::Other(text) = statement {
                    let short: String = text.chars().take(24).collect();
                    reader.warn(span, format!("'{short} …' of a rule is kept but not modelled"));
                }
            }
            let comment = text_of(fields, "comment").map(Into::into);
            let handle = number_of(fields, "handle");
            Arc::make_mut(chain).rules.push(Rule { statements, comment, handle, origin });
        }
        "set" | "map" => {
            let set = set(name()?, fields, origin);
            let set = set.ok_or_else(|| Fault::new(span, "the elements of this set cannot be read"))?;
            table.sets.push(Arc::new(set));
        }
        _ => {
            let left_out = ["family", "table", "name", "handle"];
            let lines: Vec<String> = fields
                .iter()
                .filter(|(key, _)| !left_out.contains(&&***key))
                .map(|(key, value)| format!("{key} {}", word(value).unwrap_or_else(|| value.to_string())))
                .collect();
            reader.note(span, format!("'{kind}' is kept but not modelled"));
            table.others.push(Object {
                kind: kind.into(),
                name: name()?.into(),
                text: lines.join("\n").into(),
            });
        }
    }
    Ok(())
}

fn table(name: &str, family: TableFamily, fields: &Fields, origin: Origin) -> Table {
    Table {
        family,
        name: name.into(),
        flags: list_of(fields.get("flags")),
        comment: text_of(fields, "comment").map(Into::into),
        sets: Vec::new(),
        chains: Vec::new(),
        others: Vec::new(),
        origin,
    }
}

fn base(fields: &Fields) -> Option<Base> {
    let kind = match text_of(fields, "type")? {
        "filter" => ChainKind::Filter,
        "nat" => ChainKind::Nat,
        "route" => ChainKind::Route,
        _ => return None,
    };
    let hook = text_of(fields, "hook")?;
    let hook = HOOKS.iter().find(|(name, _)| *name == hook)?.1;
    let priority = i32::try_from(fields.get("prio")?.as_i64()?).ok()?;
    let policy = match text_of(fields, "policy") {
        Some("drop") => Policy::Drop,
        _ => Policy::Accept,
    };
    Some(Base { kind, hook, devices: list_of(fields.get("dev")), priority, policy })
}

fn set(name: &str, fields: &Fields, origin: Origin) -> Option<Set> {
    let (key, data) = (list_of(fields.get("type")), list_of(fields.get("map")));
    let flags = list_of(fields.get("flags"));
    let has = |flag: &str| flags.iter().any(|known| &**known == flag);
    let secs = |key: &str| number_of(fields, key).and_then(|secs| secs.checked_mul(1000));
    let mut held = Vec::new();
    if let Some(items) = fields.get("elem") {
        let text = format!("{{ {} }}", print_elements(items)?);
        held = elements(&mut Tokens::new(&tokens(&text)), &named(&key), &named(&data))?;
        held.iter_mut().for_each(|element| element.origin = Some(origin.clone()));
    }
    Some(Set {
        name: name.into(),
        key,
        key_typeof: None,
        data,
        flags: crate::plan::nft::SetFlags {
            constant: has("constant"),
            dynamic: has("dynamic"),
            interval: has("interval"),
            timeout: has("timeout"),
        },
        timeout_ms: secs("timeout"),
        gc_interval_ms: secs("gc-interval"),
        size: number_of(fields, "size"),
        auto_merge: fields.get("auto-merge").and_then(Value::as_bool).unwrap_or(false),
        statements: set_statements(fields),
        comment: text_of(fields, "comment").map(Into::into),
        elements: held,
        origin,
    })
}

/// One statement; JSON that has no words is carried as it is.
fn read_statement(value: &Value) -> Vec<Statement> {
    let Some(text) = print_statement(value) else {
        return Vec::from([Statement::Other(value.to_string().into())]);
    };
    statements(&tokens(&text), &text)
}

fn print_statement(value: &Value) -> Option<String> {
    let (kind, of) = only(value)?;
    let fields = of.as_object();
    let get = |key: &str| fields.and_then(|fields| fields.get(key));
    Some(match kind {
        "accept" | "drop" | "continue" | "return" | "notrack" => kind.into(),
        "jump" | "goto" => format!("{kind} {}", quoted(get("target")?.as_str()?)),
        "match" => {
            let (left, right) = (get("left")?, get("right")?);
            let masked = only(left).is_some_and(|(key, _)| matches!(key, "&" | "|" | "^" | "<<" | ">>"));
            let sign = match get("op")?.as_str()? {
                "in" => "",
                "==" if !masked => "",
                other => other,
            };
            format!("{} {sign} {}", print(left)?, print(right)?)
        }
        "vmap" => format!("{} vmap {}", print(get("key")?)?, print(get("data")?)?),
        "mangle" => format!("{} set {}", print(get("key")?)?, print(get("value")?)?),
        "counter" if of.is_null() => kind.into(),
        "counter" => format!("counter packets {} bytes {}", get("packets")?, get("bytes")?),
        "reject" if of.is_null() => kind.into(),
        "reject" => match (get("type")?.as_str()?, get("expr").and_then(Value::as_str)) {
            (_, Some("port-unreachable")) => kind.into(),
            ("tcp reset", _) => "reject with tcp reset".into(),
            (kind, Some(name)) => format!("reject with {kind} {name}"),
            (_, None) => kind.into(),
        },
        "limit" => {
            let over = get("inv").and_then(Value::as_bool).unwrap_or(false);
            let size = get("rate_unit").and_then(Value::as_str).filter(|unit| *unit != "packets");
            let size = size.map_or_else(String::new, |size| format!(" {size}"));
            let burst = get("burst").and_then(Value::as_u64).filter(|burst| *burst > 0);
            let unit = get("burst_unit").and_then(Value::as_str).unwrap_or("packets");
            // What is the burst when none is said is not printed in the plain form.
            let burst = burst.filter(|burst| *burst != 5 || !size.is_empty());
            let burst = burst.map_or_else(String::new, |burst| format!(" burst {burst} {unit}"));
            let over = if over { "over " } else { "" };
            format!("limit rate {over}{}{size}/{}{burst}", get("rate")?, get("per")?.as_str()?)
        }
        "log" => {
            let mut out = String::from("log");
            for key in ["prefix", "group", "snaplen", "queue-threshold", "level", "flags"] {
                match get(key) {
                    Some(Value::String(text)) if key == "prefix" => {
                        out.push_str(&format!(" prefix {}", quoted(text)));
                    }
                    Some(value) => out.push_str(&format!(" {key} {}", word(value)?)),
                    None => {}
                }
            }
            out
        }
        "dnat" | "snat" | "masquerade" | "redirect" => print_nat(kind, fields)?,
        "set" => {
            let elem = get("elem")?;
            format!("{} {} {{ {} }}", get("op")?.as_str()?, get("set")?.as_str()?, print(elem)?)
        }
        _ => return None,
    })
}

fn print_nat(kind: &str, fields: Option<&Fields>) -> Option<String> {
    let get = |key: &str| fields.and_then(|fields| fields.get(key));
    let mut out = String::from(kind);
    if let Some(family) = get("family").and_then(Value::as_str) {
        out.push_str(&format!(" {family}"));
    }
    let port = match get("port") {
        Some(port) => Some(print(port)?),
        None => None,
    };
    match (get("addr"), port) {
        (Some(addr), port) => {
            let addr = print(addr)?;
            let port = port.map(|port| format!(":{port}"));
            let brackets = port.is_some() && addr.contains(':');
            let (open, close) = if brackets { ("[", "]") } else { ("", "") };
            out.push_str(&format!(" to {open}{addr}{close}{}", port.unwrap_or_default()));
        }
        (None, Some(port)) => out.push_str(&format!(" to :{port}")),
        (None, None) => {}
    }
    let flags = list_of(get("flags"));
    if !flags.is_empty() {
        out.push_str(&format!(" {}", flags.join(",")));
    }
    Some(out)
}

/// The elements of a list, or the only one.
fn print_elements(value: &Value) -> Option<String> {
    let items = value.as_array().map_or_else(|| core::slice::from_ref(value), Vec::as_slice);
    items.iter().map(print_element).collect::<Option<Vec<_>>>().map(|items| items.join(", "))
}

/// `[KEY, DATA]` of a map, or a key.
fn print_element(value: &Value) -> Option<String> {
    match value.as_array().map(Vec::as_slice) {
        Some([key, data]) => {
            let verdict = only(data).is_some_and(|(kind, _)| {
                matches!(kind, "accept" | "drop" | "continue" | "return" | "jump" | "goto")
            });
            let data = if verdict { print_statement(data)? } else { print(data)? };
            Some(format!("{} : {data}", print(key)?))
        }
        _ => print(value),
    }
}

/// An expression.
fn print(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => return Some(number.to_string()),
        Value::Bool(on) => return Some(String::from(if *on { "exists" } else { "missing" })),
        Value::String(text) => {
            let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '@');
            let plain = !text.is_empty() && (text == "*" || text.chars().all(bare));
            return Some(if plain { text.clone() } else { quoted(text) });
        }
        Value::Array(items) => {
            return items.iter().map(print).collect::<Option<Vec<_>>>().map(|items| items.join(","));
        }
        Value::Null => return None,
        Value::Object(_) => {}
    }
    let (kind, of) = only(value)?;
    let get = |key: &str| of.as_object().and_then(|fields| fields.get(key));
    let text = |key: &str| get(key).and_then(Value::as_str);
    let offset = || match get("offset").and_then(Value::as_u64) {
        Some(offset) if offset > 0 => format!(" offset {offset}"),
        _ => String::new(),
    };
    let all = || of.as_array().map(|items| items.iter().map(print).collect::<Option<Vec<_>>>());
    Some(match kind {
        "payload" => format!("{} {}", text("protocol")?, text("field")?),
        "meta" => format!("meta {}", text("key")?),
        "ct" => {
            let direction = text("dir").map_or_else(String::new, |direction| format!("{direction} "));
            let family = text("family").map_or_else(String::new, |family| format!("{family} "));
            format!("ct {direction}{family}{}", text("key")?)
        }
        "fib" => format!("fib {} {}", list_of(get("flags")).join(" . "), text("result")?),
        "numgen" => format!("numgen {} mod {}{}", text("mode")?, get("mod")?, offset()),
        "jhash" => {
            let seed =
                get("seed").and_then(Value::as_u64).map_or_else(String::new, |seed| format!(" seed {seed}"));
            format!("jhash {} mod {}{seed}{}", print(get("expr")?)?, get("mod")?, offset())
        }
        "concat" => all()??.join(" . "),
        "set" => format!("{{ {} }}", print_elements(of)?),
        "elem" => print_elem(of.as_object()?)?,
        "prefix" => format!("{}/{}", print(get("addr")?)?, get("len")?),
        "range" => all()??.join("-"),
        "map" => format!("{} map {}", print(get("key")?)?, print(get("data")?)?),
        "&" | "|" | "^" | "<<" | ">>" => {
            let operand = |value: &Value| {
                let printed = match value.as_array() {
                    Some(items) => items.iter().map(print).collect::<Option<Vec<_>>>()?.join(" | "),
                    None => print(value)?,
                };
                let nested = value.is_array()
                    || only(value).is_some_and(|(key, _)| matches!(key, "&" | "|" | "^" | "<<" | ">>"));
                Some(if nested { format!("({printed})") } else { printed })
            };
            let operands = of.as_array()?.iter().map(operand).collect::<Option<Vec<_>>>()?;
            operands.join(&format!(" {kind} "))
        }
        _ => return None,
    })
}

/// `"stmt": [{"counter": null}, …]`: those that can be printed.
fn set_statements(fields: &Fields) -> Option<Arc<str>> {
    let statements = fields.get("stmt")?.as_array()?.iter();
    let printed: Vec<String> = statements.filter_map(print_statement).collect();
    (!printed.is_empty()).then(|| printed.join(" ").into())
}

/// `{"val": …, "timeout": …, "comment": …}`.
fn print_elem(fields: &Fields) -> Option<String> {
    let mut out = print(fields.get("val")?)?;
    if let Some(counter) = fields.get("counter") {
        let count = |key: &str| counter.get(key).and_then(Value::as_u64).unwrap_or_default();
        out.push_str(&format!(" counter packets {} bytes {}", count("packets"), count("bytes")));
    }
    for key in ["timeout", "expires"] {
        match fields.get(key) {
            Some(Value::Number(secs)) => out.push_str(&format!(" {key} {secs}s")),
            Some(Value::String(text)) if read_duration(text).is_some() => {
                out.push_str(&format!(" {key} {text}"))
            }
            _ => {}
        }
    }
    if let Some(comment) = text_of(fields, "comment") {
        out.push_str(&format!(" comment {}", quoted(comment)));
    }
    Some(out)
}
