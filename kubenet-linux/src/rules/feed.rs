//! Changes of rulesets as the text that a tool is fed with.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use kubenet_core::origin::Origin;
use kubenet_core::plan::nft::{self, TableFamily};
use kubenet_core::plan::{
    Family, IpSet, IpSetEntry, IpSetKind, IpsetChange, IpvsChange, NftChange, NftEdit, Scheduler, VirtualId,
    VirtualServer, XtBuiltin, XtChange, XtEdit, xt,
};
use kubenet_core::text::{ipset as ipset_text, iptables_save, ipvsadm, nft as nft_text};

use super::XtTools;

/// One transaction of `nft -f`.
pub(super) fn nft(change: &NftChange) -> String {
    let mut out = String::new();
    let removed = change.removed.iter().map(|(family, name)| (*family, name));
    let anew = change.added.iter().map(|table| (table.family, &table.name));
    for (family, name) in removed.chain(anew) {
        // Adding what is there does nothing, so that deleting it always can.
        let add = nft_text::render_feed(&[table(family, name)]);
        out.push_str(&add);
        out.push_str(&add.replacen("add ", "delete ", 1));
    }
    out.push_str(&nft_text::render_feed(&change.added));
    change.edited.iter().for_each(|edit| edit_nft(edit, &mut out));
    out
}

fn table(family: TableFamily, name: &Arc<str>) -> nft::Table {
    nft::Table {
        family,
        name: name.clone(),
        flags: Vec::new(),
        comment: None,
        sets: Vec::new(),
        chains: Vec::new(),
        others: Vec::new(),
        origin: Origin::implied("kubenet"),
    }
}

fn edit_nft(edit: &NftEdit, out: &mut String) {
    let empty = || table(edit.family, &edit.table);
    // The lines of commands for these sets and chains that begin so.
    let lines = |sets: Vec<Arc<nft::Set>>, chains: Vec<Arc<nft::Chain>>, begin: &[&str]| -> Vec<String> {
        let text = nft_text::render_feed(&[nft::Table { sets, chains, ..empty() }]);
        let fits = |line: &&str| begin.iter().any(|begin| line.starts_with(begin));
        text.lines().filter(fits).map(String::from).collect()
    };
    let named = |name: &Arc<str>| {
        Arc::new(nft::Chain { name: name.clone(), base: None, comment: None, rules: Vec::new() })
    };
    let mut push = |lines: Vec<String>, from: &str, to: &str| {
        for line in lines {
            let line = line.strip_prefix(from).map_or(line.clone(), |rest| format!("{to}{rest}"));
            out.push_str(&line);
            out.push('\n');
        }
    };
    let going: Vec<Arc<nft::Chain>> = edit.chains_removed.iter().map(named).collect();
    let replaced: Vec<Arc<nft::Chain>> =
        edit.chains_replaced.iter().map(|chain| named(&chain.name)).collect();
    push(
        lines(edit.sets_added.clone(), edit.chains_added.clone(), &["add chain ", "add set ", "add map "]),
        "",
        "",
    );
    push(lines(Vec::new(), going.clone(), &["add chain "]), "add ", "flush ");
    push(lines(Vec::new(), replaced, &["add chain "]), "add ", "flush ");
    let less = edit.elements_removed.iter().map(|set| {
        let bare = set.elements.iter().map(|element| nft::Element {
            timeout_ms: None,
            expires_ms: None,
            statements: None,
            comment: None,
            ..element.clone()
        });
        Arc::new(nft::Set { elements: bare.collect(), ..set.clone() })
    });
    push(lines(less.collect(), Vec::new(), &["add element "]), "add ", "delete ");
    let more: Vec<Arc<nft::Set>> =
        edit.sets_added.iter().cloned().chain(edit.elements_added.iter().cloned().map(Arc::new)).collect();
    let written: Vec<Arc<nft::Chain>> =
        edit.chains_added.iter().chain(&edit.chains_replaced).cloned().collect();
    push(lines(more, written, &["add rule ", "add element "]), "", "");
    let gone = |set: &Arc<nft::Set>| {
        let line = lines(vec![set.clone()], Vec::new(), &["add set ", "add map "]);
        line.into_iter()
            .map(|line| line.split(" {").next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    push(edit.sets_removed.iter().flat_map(gone).collect(), "add ", "delete ");
    push(lines(Vec::new(), going, &["add chain "]), "add ", "delete ");
}

/// From how many chains on a change of a table is read faster by `iptables-nft-restore` after a look at the whole table.
const MANY: usize = 2_000;

/// One transaction of `iptables-restore --noflush`.
///
/// `iptables-nft-restore` keeps the chains that a text names as a sorted list, and goes along it for each rule and each jump (1.8.9,
/// `cache_chain_list_insert` of `nft-cache.c`): its time grows with the square of the chains. A command that is about a whole table
/// makes it read the table at once and keep no list, so a large change has a listing of its table in it. After a listing the tool takes
/// the built-in chains of a table that is not there for made, so what is about them comes before. `iptables-legacy` keeps no list and
/// takes no such command.
pub(super) fn xt(change: &XtChange, tools: XtTools) -> String {
    change.tables.iter().map(|edit| edit_xt(edit, change.family, tools)).collect()
}

fn edit_xt(edit: &XtEdit, family: Family, tools: XtTools) -> String {
    let mut chains: Vec<Arc<xt::Chain>> = edit.chains.clone();
    let empty = |name: &Arc<str>| {
        Arc::new(xt::Chain { name: name.clone(), policy: None, counters: Some((0, 0)), rules: Vec::new() })
    };
    chains.extend(edit.removed.iter().map(empty));
    let whole = |chains: Vec<Arc<xt::Chain>>| {
        let table = xt::Table { family, name: edit.table.clone(), chains };
        iptables_save::render_restore(&[table], iptables_save::Marks::Padded)
    };
    let mut out = String::new();
    let text = whole(chains);
    let (head, rules) =
        text.split_at(text.find("\n-A ").or(text.find("\nCOMMIT")).map_or(text.len(), |at| at + 1));
    let mut front = String::new();
    for builtin in &edit.builtin {
        if let Some(policy) = builtin.policy {
            let policy = if policy == xt::Policy::Drop { "DROP" } else { "ACCEPT" };
            _ = writeln!(front, ":{} {policy} [0:0]", builtin.chain);
        }
    }
    for builtin in &edit.builtin {
        let bodies = |rules: &[xt::Rule]| bodies(&whole(vec![of(builtin, rules)]));
        for (begin, rest) in bodies(&builtin.removed) {
            _ = writeln!(front, "-D {begin} {rest}");
        }
        for (place, (begin, rest)) in bodies(&builtin.inserted).into_iter().enumerate() {
            _ = writeln!(front, "-I {begin} {} {rest}", place + 1);
        }
    }
    if edit.chains.len() + edit.removed.len() >= MANY && tools == XtTools::Nft {
        let named: BTreeSet<&str> = front.split_whitespace().collect();
        let (table, chains) = head.split_once('\n').unwrap_or((head, ""));
        let is_named = |line: &&str| {
            line.get(1..).and_then(|line| line.split(' ').next()).is_some_and(|name| named.contains(name))
        };
        let (first, later): (Vec<&str>, Vec<&str>) = chains.lines().partition(is_named);
        for line in std::iter::once(table).chain(first) {
            _ = writeln!(out, "{line}");
        }
        out.push_str(&front);
        for line in std::iter::once("-S").chain(later) {
            _ = writeln!(out, "{line}");
        }
    } else {
        out.push_str(head);
        out.push_str(&front);
    }
    out.push_str(rules.strip_suffix("COMMIT\n").unwrap_or(rules));
    for name in &edit.removed {
        let line = whole(vec![empty(name)]);
        let word = line
            .lines()
            .find_map(|line| line.strip_prefix(':'))
            .and_then(|line| line.strip_suffix(" - [0:0]"));
        _ = writeln!(out, "-X {}", word.unwrap_or(name));
    }
    out.push_str("COMMIT\n");
    out
}

fn of(builtin: &XtBuiltin, rules: &[xt::Rule]) -> Arc<xt::Chain> {
    let (name, policy) = (builtin.chain.clone(), Some(xt::Policy::Accept));
    Arc::new(xt::Chain { name, policy, counters: Some((0, 0)), rules: rules.to_vec() })
}

/// The chain and the rest of every rule of a text.
fn bodies(text: &str) -> Vec<(String, String)> {
    let rules = text.lines().filter_map(|line| line.strip_prefix("-A ")?.split_once(' '));
    rules.map(|(chain, rest)| (chain.into(), rest.into())).collect()
}

/// What `ipset restore -exist` is fed with. Sets that go are not in it.
pub(super) fn ipset(change: &IpsetChange) -> String {
    let mut out = String::new();
    for set in &change.added {
        let (create, adds) = split(set);
        let name = word_of(&create, set.kind);
        // A set of this name with other entries may be left from before.
        _ = write!(out, "{create}flush {name}\n{adds}");
    }
    for edit in &change.edited {
        let bare = edit.removed.iter().map(|it| IpSetEntry::new(it.parts.clone(), it.origin.clone()));
        let less = IpSet { entries: bare.collect(), ..(*edit.set).clone() };
        let more = IpSet { entries: edit.added.clone(), ..(*edit.set).clone() };
        for line in split(&less).1.lines() {
            _ = writeln!(out, "del{}", line.strip_prefix("add").unwrap_or(line));
        }
        out.push_str(&split(&more).1);
    }
    out
}

fn split(set: &IpSet) -> (String, String) {
    let text = ipset_text::render(std::slice::from_ref(set));
    let at = text.find('\n').map_or(text.len(), |at| at + 1);
    let (create, adds) = text.split_at(at);
    (create.into(), adds.into())
}

fn word_of(create: &str, kind: IpSetKind) -> &str {
    let rest = create.strip_prefix("create ").unwrap_or(create);
    rest.find(&format!(" {}", kind.as_str())).map_or(rest, |at| &rest[..at])
}

/// What `ipvsadm --restore` is fed with.
pub(super) fn ipvs(change: &IpvsChange) -> String {
    let mut out = String::new();
    for id in &change.removed {
        let line = ipvsadm::render(&[service(*id)]);
        let words: Vec<&str> = line.split_whitespace().collect();
        // `-A -t 10.0.0.1:80 -s rr`; of a mark, the family follows.
        let six = if words.contains(&"-6") { " -6" } else { "" };
        if let [_, kind, end, ..] = &words[..] {
            _ = writeln!(out, "-D {kind} {end}{six}");
        }
    }
    out.push_str(&ipvsadm::render(&change.added));
    for (old, new) in &change.edited {
        edit_ipvs(old, new, &mut out);
    }
    out
}

fn service(id: VirtualId) -> VirtualServer {
    VirtualServer::new(id, Scheduler::Rr, Origin::implied("kubenet"))
}

fn edit_ipvs(old: &VirtualServer, new: &VirtualServer, out: &mut String) {
    let head = |of: &VirtualServer| ipvsadm::render(&[VirtualServer { servers: Vec::new(), ..of.clone() }]);
    if head(old) != head(new) {
        out.push_str(&head(new).replacen("-A", "-E", 1));
    }
    // One line for each real server, by what it is of and where it is.
    let lines = |of: &VirtualServer| -> Vec<(String, String)> {
        let text = ipvsadm::render(std::slice::from_ref(of));
        let real = text.lines().filter(|line| line.starts_with("-a "));
        real.filter_map(|line| {
            let at = line.find(" -r ")? + 4;
            let end = line[at..].find(' ').map_or(line.len(), |length| at + length);
            Some((line[..end].to_owned(), line.to_owned()))
        })
        .collect()
    };
    let (was, shall) = (lines(old), lines(new));
    let keys: BTreeSet<&str> = shall.iter().map(|(key, _)| &**key).collect();
    for (key, _) in was.iter().filter(|(key, _)| !keys.contains(&**key)) {
        _ = writeln!(out, "{}", key.replacen("-a", "-d", 1));
    }
    for (key, line) in &shall {
        match was.iter().find(|(other, _)| other == key) {
            None => _ = writeln!(out, "{line}"),
            Some((_, before)) if before != line => _ = writeln!(out, "{}", line.replacen("-a", "-e", 1)),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(chains: usize, tools: XtTools) -> String {
        fed_with(chains, tools, Vec::new())
    }

    fn fed_with(chains: usize, tools: XtTools, builtin: Vec<XtBuiltin>) -> String {
        let chain = |number: usize| {
            let name = format!("CHAIN-{number}").into();
            Arc::new(xt::Chain { name, policy: None, counters: Some((0, 0)), rules: Vec::new() })
        };
        let chains = (0..chains).map(chain).collect();
        let edit = XtEdit { table: "nat".into(), chains, removed: Vec::new(), builtin };
        xt(&XtChange { family: Family::V4, tables: vec![edit] }, tools)
    }

    #[test]
    fn a_large_change_for_iptables_nft_begins_with_a_listing_of_its_table() {
        assert!(fed(MANY, XtTools::Nft).starts_with("*nat\n-S\n:CHAIN-0 "));
        assert_eq!(fed(2, XtTools::Nft), "*nat\n:CHAIN-0 - [0:0]\n:CHAIN-1 - [0:0]\nCOMMIT\n");
    }

    #[test]
    fn built_in_chains_and_what_they_jump_to_come_before_the_listing() {
        let text = "*nat\n:OUTPUT ACCEPT [0:0]\n:CHAIN-7 - [0:0]\n-A OUTPUT -j CHAIN-7\nCOMMIT\n";
        let tables = iptables_save::parse(text, "test", Family::V4).items;
        let inserted = tables[0].chain("OUTPUT").map(|chain| chain.rules.clone()).unwrap_or_default();
        let builtin = XtBuiltin { chain: "OUTPUT".into(), policy: None, removed: Vec::new(), inserted };
        let fed = fed_with(MANY, XtTools::Nft, vec![builtin]);
        assert!(
            fed.starts_with("*nat\n:CHAIN-7 - [0:0]\n-I OUTPUT 1 -j CHAIN-7\n-S\n:CHAIN-0 - [0:0]\n"),
            "{}",
            fed.get(..120).unwrap_or(&fed)
        );
    }

    #[test]
    fn iptables_legacy_is_never_asked_for_a_listing_in_a_change() {
        assert!(fed(MANY, XtTools::Legacy).starts_with("*nat\n:CHAIN-0 "));
    }
}
