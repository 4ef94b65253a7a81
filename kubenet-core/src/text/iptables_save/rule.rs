//! One rule: its own options, its modules and its target.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::matches::{self, knows};
use super::options::{Opt, prefix, words};
use super::targets;
use crate::addr::Family;
use crate::plan::xt::{Inv, Match, Rule, Target};
use crate::text::line::{Line, Span, Word, number};
use crate::text::protocol;
use crate::text::quoted::{Backslash, unquote};
use crate::text::reader::{Fault, Reader};

/// Which chains there are.
pub(super) trait Known {
    /// The name of a chain of the table, shared with it.
    fn chain(&self, name: &str) -> Option<Arc<str>>;
}

/// A module or target and its options so far.
pub(super) struct Draft<'t> {
    pub(super) name: &'t str,
    pub(super) options: Vec<Opt<'t>>,
    pub(super) span: Span,
}

/// The options of a rule's own that have one value.
#[derive(Default)]
struct Own {
    source: Option<Match>,
    destination: Option<Match>,
    iif: Option<Match>,
    oif: Option<Match>,
    protocol: Option<Inv<u8>>,
    fragment: Option<Inv<()>>,
}

/// Reads what follows `-A CHAIN`.
pub(super) fn read<'t>(
    line: &mut Line<'t>,
    family: Family,
    known: &impl Known,
    reader: &mut Reader,
) -> Result<Rule, Fault> {
    let mut own = Own::default();
    let mut modules: Vec<Draft<'t>> = Vec::with_capacity(4);
    let mut target: Option<(Draft<'t>, bool)> = None;
    let mut counters = None;
    // Options belong to the target, once there is one, until the next module.
    let mut of_target = false;
    while let Some(word) = line.next() {
        let not = word.text == "!";
        let word = if not { line.value(word)? } else { word };
        match word.text {
            "-s" | "--source" | "--src" => {
                own.source = Some(address(line, word, not, family, Match::Source)?)
            }
            "-d" | "--destination" | "--dst" => {
                own.destination = Some(address(line, word, not, family, Match::Destination)?);
            }
            "-i" | "--in-interface" => own.iif = Some(Match::Iif(Inv { not, value: text(line, word)? })),
            "-o" | "--out-interface" => own.oif = Some(Match::Oif(Inv { not, value: text(line, word)? })),
            // `-m policy` has an option of this name.
            "--proto" if !of_target && modules.last().is_some_and(|module| module.name == "policy") => {
                let option = option(line, word, not);
                owner(&mut modules, &own, option)?;
            }
            "-p" | "--protocol" | "--proto" => {
                let value = line.value(word)?;
                if !matches!(value.text, "all" | "0") {
                    let lower = value.text.to_ascii_lowercase();
                    let value = value.read("a protocol", |_| protocol::number_of(&lower))?;
                    own.protocol = Some(Inv { not, value });
                }
            }
            "-f" | "--fragment" => own.fragment = Some(Inv { not, value: () }),
            "-m" | "--match" => {
                modules.push(Draft { name: line.value(word)?.text, options: Vec::new(), span: word.span });
                of_target = false;
            }
            "-j" | "--jump" | "-g" | "--goto" => {
                let goto = matches!(word.text, "-g" | "--goto");
                let name = line.value(word)?;
                target = Some((Draft { name: name.text, options: Vec::new(), span: name.span }, goto));
                of_target = true;
            }
            "-c" | "--set-counters" => {
                counters = Some((line.read(word, "a number", number)?, line.read(word, "a number", number)?));
            }
            "-4" | "-6" => {}
            key if is_long(key) => {
                let option = option(line, word, not);
                match (&mut target, of_target) {
                    (Some((target, _)), true) => target.options.push(option),
                    _ => owner(&mut modules, &own, option)?,
                }
            }
            other => return Err(Fault::new(word.span, format!("'{other}' is not an option of a rule"))),
        }
    }
    let mut out: Vec<Match> = Vec::with_capacity(modules.len() + 4);
    out.extend([own.source, own.destination, own.iif, own.oif].into_iter().flatten());
    out.extend(own.protocol.map(Match::Protocol));
    out.extend(own.fragment.map(Match::Fragment));
    out.extend(modules.into_iter().map(|module| matched(module, reader)));
    let target = match target {
        Some((draft, true)) => Some(Target::Goto(chain_name(&draft, known))),
        Some((draft, false)) => Some(targeted(draft, family, known, reader)),
        None => None,
    };
    Ok(Rule { matches: out, target, counters, origin: reader.origin(line.span) })
}

/// Whether a word is the long name of an option.
fn is_long(word: &str) -> bool {
    let name = word.strip_prefix("--").unwrap_or("");
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Puts an option where it belongs: to the last module that has one of this name, to that of the protocol, which need not
/// be named, or to the last one.
fn owner<'t>(modules: &mut Vec<Draft<'t>>, own: &Own, option: Opt<'t>) -> Result<(), Fault> {
    if let Some(module) = modules.iter_mut().rev().find(|module| knows(module.name, option.key)) {
        module.options.push(option);
        return Ok(());
    }
    let implied = match own.protocol {
        Some(Inv { not: false, value: 6 }) => Some("tcp"),
        Some(Inv { not: false, value: 17 }) => Some("udp"),
        Some(Inv { not: false, value: 132 }) => Some("sctp"),
        Some(Inv { not: false, value: 1 }) => Some("icmp"),
        Some(Inv { not: false, value: 58 }) => Some("icmp6"),
        _ => None,
    };
    let span = option.span;
    if let Some(name) = implied.filter(|name| knows(name, option.key)) {
        modules.push(Draft { name, options: Vec::from([option]), span });
        return Ok(());
    }
    match modules.last_mut() {
        Some(module) => module.options.push(option),
        None => return Err(Fault::new(span, format!("'{}' belongs to no module", option.key))),
    }
    Ok(())
}

/// An option and its values: the words up to the next option.
fn option<'t>(line: &mut Line<'t>, key: Word<'t>, not: bool) -> Opt<'t> {
    let mut values = Vec::new();
    while let Some(next) = line.peek() {
        let ends = next == "!"
            || next.starts_with("--")
            || matches!(next, "-s" | "-d" | "-i" | "-o" | "-p" | "-f" | "-m" | "-j" | "-g" | "-c");
        if ends {
            break;
        }
        line.next();
        values.push(unquote(next, Backslash::Escapes));
    }
    Opt { not, key: key.text, values, span: key.span }
}

fn text(line: &mut Line<'_>, key: Word<'_>) -> Result<Arc<str>, Fault> {
    let word = line.next().ok_or_else(|| Fault::new(key.span, format!("nothing follows '{}'", key.text)))?;
    Ok(unquote(word.text, Backslash::Escapes).into())
}

/// `-s PREFIX`. A mask with holes is carried.
fn address<'t>(
    line: &mut Line<'t>,
    key: Word<'t>,
    not: bool,
    family: Family,
    make: impl FnOnce(Inv<ipnet::IpNet>) -> Match,
) -> Result<Match, Fault> {
    let word = line.value(key)?;
    if let Some(value) = prefix(word.text, family) {
        return Ok(make(Inv { not, value }));
    }
    let masked = word.text.split_once('/').is_some_and(|(addr, mask)| {
        let of_family = |text: &str| text.parse().is_ok_and(|addr| Family::of(addr) == family);
        of_family(addr) && of_family(mask)
    });
    if !masked {
        return Err(Fault::new(word.span, format!("'{}' is not a prefix of {family}", word.text)));
    }
    let mut words: Vec<Arc<str>> = Vec::new();
    words.extend(not.then(|| "!".into()));
    let short = if matches!(key.text, "-s" | "--source" | "--src") { "-s" } else { "-d" };
    words.extend([short.into(), word.text.into()]);
    Ok(Match::Other { module: "".into(), words })
}

fn matched(module: Draft<'_>, reader: &mut Reader) -> Match {
    if let Some(found) = matches::typed(&module) {
        return found;
    }
    let name = unquote(module.name, Backslash::Escapes);
    reader.warn(module.span, format!("'-m {name}' as it stands here is kept but not modelled"));
    Match::Other { module: name.into(), words: words(&module.options) }
}

fn chain_name(draft: &Draft<'_>, known: &impl Known) -> Arc<str> {
    let name = unquote(draft.name, Backslash::Escapes);
    known.chain(&name).unwrap_or_else(|| name.into())
}

fn targeted(draft: Draft<'_>, family: Family, known: &impl Known, reader: &mut Reader) -> Target {
    if draft.options.is_empty()
        && let Some(chain) = known.chain(draft.name)
    {
        return Target::Jump(chain);
    }
    if let Some(found) = targets::typed(&draft, family) {
        return found;
    }
    if draft.options.is_empty() && !targets::is_extension(draft.name) {
        return Target::Jump(chain_name(&draft, known));
    }
    let name = unquote(draft.name, Backslash::Escapes);
    reader.warn(draft.span, format!("'-j {name}' as it stands here is kept but not modelled"));
    Target::Other { name: name.into(), words: words(&draft.options) }
}
