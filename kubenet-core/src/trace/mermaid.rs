//! A trace as a Mermaid sequence diagram: a participant per namespace and switch, an arrow per link that the packet crosses.
//!
//! Names come from the input and are escaped, so that none of them becomes markup.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::show::{Detail, LineKind, lines};
use super::{Case, Hop, Trace};
use crate::dataplane::EventKind;

/// The main path of a case and of its reply.
pub fn mermaid(trace: &Trace, case: &Case) -> String {
    let mut out = String::from("sequenceDiagram\n");
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let reply = case.reply.as_ref().map_or(&[][..], |reply| &reply.hops);
    for hop in case.hops.iter().chain(reply) {
        let name = hop.place().to_string();
        if !ids.contains_key(&name) {
            ids.insert(name.clone(), order.len());
            order.push(name);
        }
    }
    for (place, name) in order.iter().enumerate() {
        out += &format!("    participant p{place} as {}\n", escape(name));
    }
    let id = |hop: &Hop| ids.get(&hop.place().to_string()).copied().unwrap_or(0);
    let notes = lines(trace, case, Detail::Changes);
    for (hops, is_reply, arrow) in [(&case.hops[..], false, "->>"), (reply, true, "-->>")] {
        let mut at: Option<usize> = None;
        for hop in hops {
            let here = id(hop);
            if let Some(from) = at
                && from != here
            {
                let packet = hop.packet.as_ref().map_or_else(String::new, |packet| packet.to_string());
                out += &format!("    p{from}{arrow}p{here}: {}\n", escape(&packet));
            }
            at = Some(here);
            let told = notes.iter().find(|line| line.event == Some(hop.id));
            if let Some(line) = told.filter(|_| hop.event != EventKind::Sent) {
                out += &format!("    Note over p{here}: {}\n", escape(&line.text()));
            }
        }
        let end = notes.iter().find(|line| !is_reply && line.kind == LineKind::Outcome);
        if let (Some(line), Some(here)) = (end, at) {
            out +=
                &format!("    Note over p{here}: {}\n", escape(&format!("{}: {}", line.stage, line.text())));
        }
    }
    if let (Some(line), Some(first)) =
        (notes.iter().find(|line| line.kind == LineKind::Verdict), case.hops.first())
    {
        out += &format!(
            "    Note over p{}: {}\n",
            id(first),
            escape(&format!("{}: {}", line.stage, line.text()))
        );
    }
    out
}

/// Mermaid reads `#`, `;` and markup in texts; entity codes keep them as they are.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '#' | ';' | '<' | '>' | '"' | '&' | '%' | '{' | '}' | '`' | '\\' => {
                out += &format!("#{};", c as u32)
            }
            '\n' | '\r' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
