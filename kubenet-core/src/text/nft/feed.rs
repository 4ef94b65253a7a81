//! Tables as commands for `nft -f`: `add table …`, `add chain …`, `add set …`, `add rule …`, `add element …`.
//!
//! All chains stand before the first rule and all sets before the first element, since both name others.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::list::{family_name, print_base, properties, set_word, types};
use super::prio;
use super::types::quoted;
use super::write::{Dialect, Style, element, name};
use crate::plan::nft::Table;

/// The commands that make these tables. Objects other than sets and chains are left out.
pub fn render_feed(tables: &[Table]) -> String {
    tables.iter().map(feed).collect()
}

fn feed(table: &Table) -> String {
    let of = format!("{} {}", family_name(table.family), name(&table.name));
    let style = Style { dialect: Dialect::Whole, family: table.family };
    let mut out = String::new();
    let mut settings: Vec<String> = Vec::new();
    settings.extend(table.comment.as_ref().map(|comment| format!("comment {} ;", quoted(comment))));
    settings.extend((!table.flags.is_empty()).then(|| format!("flags {} ;", table.flags.join(","))));
    out.push_str(&line(&format!("add table {of}"), &settings));
    for chain in &table.chains {
        let mut settings: Vec<String> = Vec::new();
        settings.extend(chain.base.as_ref().map(|base| {
            let priority = prio::print(base.priority, base.hook, table.family);
            print_base(base, &priority)
        }));
        settings.extend(chain.comment.as_ref().map(|comment| format!("comment {} ;", quoted(comment))));
        out.push_str(&line(&format!("add chain {of} {}", name(&chain.name)), &settings));
    }
    for set in &table.sets {
        let settings: Vec<String> = properties(set).into_iter().map(|line| format!("{line} ;")).collect();
        out.push_str(&line(&format!("add {} {of} {}", set_word(set), name(&set.name)), &settings));
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            out.push_str(&format!("add rule {of} {} {}\n", name(&chain.name), style.rule(rule)));
        }
    }
    for set in &table.sets {
        let (key, data) = types(set);
        for it in &set.elements {
            out.push_str(&format!(
                "add element {of} {} {{ {} }}\n",
                name(&set.name),
                element(it, &key, &data)
            ));
        }
    }
    out
}

fn line(command: &str, settings: &[String]) -> String {
    if settings.is_empty() {
        format!("{command}\n")
    } else {
        format!("{command} {{ {} }}\n", settings.join(" "))
    }
}
