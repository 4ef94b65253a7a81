//! Tests over several commands; what concerns one alone stands in the file of its name.

mod faults;
mod links;
mod lists;
mod nftables;
mod properties;
mod routes;
mod tables;
mod xtables;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Parsed;

/// What was told, one line each: `3:17 error unreadable: …`.
pub(super) fn told<T>(parsed: &Parsed<T>) -> String {
    let line = |d: &crate::origin::Diagnostic| {
        let at = d.location.as_ref().map_or_else(String::new, |l| alloc::format!("{}:{} ", l.line, l.column));
        alloc::format!("{at}{} {}: {}", d.severity, d.code, d.message)
    };
    parsed.diagnostics.iter().map(line).collect::<Vec<_>>().join("\n").to_string()
}
