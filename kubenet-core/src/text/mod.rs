//! Text: what `ip`, `bridge`, `ss`, `iptables-save`, `nft`, `ipset`, `ipvsadm`, `conntrack` and nmstate print, read into the
//! plan's types and printed from them.
//!
//! In: a dump and the name of its file. Out: [`Parsed`]: what was understood, and a [`Diagnostic`] with line and column
//! for the rest; reading never fails. Each command has a module with `parse` (plain), `parse_json` (`-j`), `parse_any`
//! (by the first character) and their counterparts `render` and `render_json`, which print what iproute2 6.1 prints,
//! without the blanks that it leaves at line ends. `parse(render(x))` is `x`, origins aside ([`WithoutOrigin`]).
//!
//! Words that the plan has no place for are told as notes, once each; those that could change a packet's way as warnings.
//! `#` starts a comment, at the beginning of a line or, except where words may be quoted, behind a blank. One pass, O(text).

mod json;
mod line;
mod origin;
mod protocol;
mod quoted;
mod reader;

pub mod bridge_fdb;
pub mod conntrack;
pub mod ip_addr;
pub mod ip_link;
pub mod ip_neigh;
pub mod ip_route;
pub mod ip_rule;
pub mod ipset;
pub mod iptables_save;
pub mod ipvsadm;
pub mod nft;
pub mod nmstate;
pub mod ss;

use alloc::vec::Vec;

pub use self::origin::WithoutOrigin;
use crate::origin::{Diagnostic, Severity};

/// What a text said, as far as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<T> {
    /// What was read, in the order of the text.
    pub items: Vec<T>,
    /// What was wrong with the rest, and what was read but has no place in the plan.
    pub diagnostics: Vec<Diagnostic>,
}

impl<T> Parsed<T> {
    /// Whether some part of the text was not read.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}

#[cfg(test)]
mod tests;
