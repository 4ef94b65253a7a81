//! `nft list ruleset`: tables, sets and chains of nf_tables.
//!
//! In: what `nft list ruleset` prints (`-a` too), or blocks of it as a file has them. Out: [`Table`]s. A statement that the plan
//! has no type for is kept as text, with what follows it up to a verdict ([`Statement::Other`](crate::plan::nft::Statement)),
//! and told once. Constants are numbers; their names come from the expression beside them. Counters of sets are not kept.
//! Printed in two forms: [`render`] as `nft list ruleset`, [`render_feed`] as commands for `nft -f`. [`settle`] makes of what is fed
//! what is then listed.
//! Forms: nftables 1.0.6 `src/rule.c`, `src/expression.c`, `src/statement.c`, `src/datatype.c`.

mod expr;
mod feed;
mod json;
mod lex;
mod list;
mod names;
mod prio;
mod read;
mod settled;
mod statement;
mod types;
mod write;

pub use self::feed::render_feed;
pub use self::list::render;
pub use self::settled::settle;
pub use self::write::Dialect;
use super::Parsed;
use super::reader::Reader;
use crate::plan::nft::Table;

/// Reads the tables. O(text).
pub fn parse(text: &str, file: &str) -> Parsed<Table> {
    let mut reader = Reader::new(file);
    let tables = read::tables(text, &mut reader);
    reader.finish(tables)
}

/// Reads the JSON of `nft -j list ruleset`. A rule's statements are those that the plain form has.
pub fn parse_json(text: &str, file: &str) -> Parsed<Table> {
    let mut reader = Reader::new(file);
    let tables = json::tables(text, &mut reader);
    reader.finish(tables)
}

/// Reads either form.
pub fn parse_any(text: &str, file: &str) -> Parsed<Table> {
    if super::json::is_json(text) { parse_json(text, file) } else { parse(text, file) }
}

#[cfg(test)]
mod tests;
