//! Tables as `nft list ruleset` prints them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::prio;
use super::read::{FAMILIES, HOOKS, named};
use super::types::{Type, duration, quoted};
use super::write::{Dialect, Style, element, name};
use crate::plan::nft::{Base, Chain, ChainKind, Object, Set, SetFlags, Table, TableFamily};
use crate::plan::xt::Policy;

/// What `nft list ruleset` prints.
pub fn render(tables: &[Table], dialect: Dialect) -> String {
    tables.iter().map(|table| print_table(table, dialect)).collect()
}

pub(super) fn family_name(family: TableFamily) -> &'static str {
    FAMILIES.iter().find(|(_, known)| *known == family).map_or("ip", |(name, _)| name)
}

fn print_table(table: &Table, dialect: Dialect) -> String {
    let mut out = format!("table {} {} {{\n", family_name(table.family), name(&table.name));
    if !table.flags.is_empty() {
        out.push_str(&format!("\tflags {}\n", table.flags.join(",")));
    }
    if let Some(comment) = &table.comment {
        out.push_str(&format!("\tcomment {}\n", quoted(comment)));
    }
    let style = Style { dialect, family: table.family };
    let (flowtables, objects): (Vec<&Object>, Vec<&Object>) =
        table.others.iter().partition(|object| &*object.kind == "flowtable");
    let mut blocks: Vec<String> = objects.into_iter().map(print_object).collect();
    blocks.extend(table.sets.iter().map(|set| print_set(set)));
    blocks.extend(flowtables.into_iter().map(print_object));
    blocks.extend(table.chains.iter().map(|chain| print_chain(chain, style)));
    for (place, block) in blocks.iter().enumerate() {
        out.push_str(if place > 0 || !table.flags.is_empty() { "\n" } else { "" });
        out.push_str(block);
    }
    out.push_str("}\n");
    out
}

fn print_object(object: &Object) -> String {
    let lines: String = object.text.lines().map(|line| format!("\t\t{line}\n")).collect();
    format!("\t{} {} {{\n{lines}\t}}\n", object.kind, name(&object.name))
}

/// The properties of a set, one on a line, without its elements.
pub(super) fn properties(set: &Set) -> Vec<String> {
    let mut out = Vec::new();
    let joined = |names: &[alloc::sync::Arc<str>]| names.join(" . ");
    out.push(match &set.key_typeof {
        Some(text) => format!("typeof {text}"),
        None if set.data.is_empty() => format!("type {}", joined(&set.key)),
        None => format!("type {} : {}", joined(&set.key), joined(&set.data)),
    });
    out.extend(set.size.map(|size| format!("size {size}")));
    out.extend(flags(set.flags).map(|flags| format!("flags {flags}")));
    out.extend(set.statements.as_ref().map(ToString::to_string));
    out.extend(set.auto_merge.then(|| "auto-merge".to_string()));
    out.extend(set.timeout_ms.map(|ms| format!("timeout {}", duration(ms))));
    out.extend(set.gc_interval_ms.map(|ms| format!("gc-interval {}", duration(ms))));
    out.extend(set.comment.as_ref().map(|comment| format!("comment {}", quoted(comment))));
    out
}

fn flags(flags: SetFlags) -> Option<String> {
    let all = [
        (flags.constant, "constant"),
        (flags.dynamic, "dynamic"),
        (flags.interval, "interval"),
        (flags.timeout, "timeout"),
    ];
    let set: Vec<&str> = all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    (!set.is_empty()).then(|| set.join(","))
}

/// `set` or `map`.
pub(super) fn set_word(set: &Set) -> &'static str {
    if set.data.is_empty() { "set" } else { "map" }
}

fn print_set(set: &Set) -> String {
    let mut out = format!("\t{} {} {{\n", set_word(set), name(&set.name));
    for line in properties(set) {
        out.push_str(&format!("\t\t{line}\n"));
    }
    if !set.elements.is_empty() {
        let (key, data) = (named(&set.key), named(&set.data));
        let per_line = match &*key {
            [only] => only.per_line(),
            _ => 1,
        };
        out.push_str("\t\telements = { ");
        for (place, it) in set.elements.iter().enumerate() {
            out.push_str(match place {
                0 => "",
                _ if place % per_line == 0 => ",\n\t\t\t     ",
                _ => ", ",
            });
            out.push_str(&element(it, &key, &data));
        }
        out.push_str(" }\n");
    }
    out.push_str("\t}\n");
    out
}

/// `type filter hook input priority filter; policy accept;`
pub(super) fn print_base(base: &Base, priority: &str) -> String {
    let kind = match base.kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Route => "route",
    };
    let hook = HOOKS.iter().find(|(_, known)| *known == base.hook).map_or("", |(name, _)| name);
    let devices = match &*base.devices {
        [] => String::new(),
        [device] => format!(" device {}", quoted(device)),
        devices => {
            let names: Vec<String> = devices.iter().map(|device| name(device)).collect();
            format!(" devices = {{ {} }}", names.join(", "))
        }
    };
    let policy = match base.policy {
        Policy::Accept => "accept",
        Policy::Drop => "drop",
    };
    format!("type {kind} hook {hook}{devices} priority {priority}; policy {policy};")
}

fn print_chain(chain: &Chain, style: Style) -> String {
    let mut out = format!("\tchain {} {{\n", name(&chain.name));
    if let Some(comment) = &chain.comment {
        out.push_str(&format!("\t\tcomment {}\n", quoted(comment)));
    }
    if let Some(base) = &chain.base {
        let priority = prio::print(base.priority, base.hook, style.family);
        out.push_str(&format!("\t\t{}\n", print_base(base, &priority)));
    }
    for rule in &chain.rules {
        out.push_str(&format!("\t\t{}\n", style.rule(rule)));
    }
    out.push_str("\t}\n");
    out
}

/// The types of a set's key and data.
pub(super) fn types(set: &Set) -> (Vec<Type>, Vec<Type>) {
    (named(&set.key), named(&set.data))
}
