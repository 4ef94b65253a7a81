//! Runs a scenario: loads its manifests, asks its questions, and sets the answers beside what is expected.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::{Block, BlockKind, Scenario};
use crate::k8s::ObjectChange;
use crate::k8s::load::{LoadOptions, Source, load};
use crate::network::{Network, Outcome, Question, Simulation, Table, words};
use crate::origin::ObjectRef;
use crate::trace::{Detail, LineKind, Trace, lines};

/// What was expected, and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The line of the expectation, from 1.
    pub line: u32,
    /// Its bytes in the file.
    pub range: Range<usize>,
    /// What stands there.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// A question of a scenario.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The line of its block, from 1.
    pub line: u32,
    /// The network at that place of the file.
    pub network: Network,
    /// The question.
    pub question: Question,
}

impl Check {
    /// Whether both are the same, spaces at line ends aside.
    pub fn is_good(&self) -> bool {
        let plain = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        plain(&self.expected) == plain(&self.got)
    }
}

impl Scenario {
    /// Runs it. The first check that is not good is the first thing that went wrong; later ones may follow from it.
    pub fn run(&self) -> Vec<Check> {
        let mut network = self.network();
        let mut answer = Answer::None;
        let mut checks = Vec::new();
        for block in &self.blocks {
            match &block.kind {
                BlockKind::Yaml { .. } | BlockKind::Ask => {}
                BlockKind::Change => match change(self, block) {
                    Ok(changes) => network = network.with(&changes),
                    Err(message) => answer = Answer::Text(message),
                },
                BlockKind::Trace => answer = ask(&network, self.content(block)),
                BlockKind::Simulate => answer = simulate(&network, self.content(block)),
                BlockKind::Render => answer = table(&network, self.content(block)),
                BlockKind::Diagnostics => answer = Answer::Text(diagnostics(&network)),
                BlockKind::Expect { full } => {
                    let detail = if *full { Detail::Full } else { Detail::Changes };
                    checks.push(Check {
                        line: block.line,
                        range: block.range.clone(),
                        expected: self.content(block).into(),
                        got: core::mem::replace(&mut answer, Answer::None).text(detail),
                    });
                }
            }
        }
        checks
    }

    /// The questions of its `trace` blocks, each with the network that it is asked of: for whoever asks a real kernel. Questions that
    /// cannot be read are left out; [`Scenario::run`] tells of them.
    pub fn asked(&self) -> Vec<Asked> {
        let mut network = self.network();
        let mut asked = Vec::new();
        for block in &self.blocks {
            match &block.kind {
                BlockKind::Change => {
                    if let Ok(changes) = change(self, block) {
                        network = network.with(&changes);
                    }
                }
                BlockKind::Trace => asked.extend(words(self.content(block)).ok().map(|question| Asked {
                    line: block.line,
                    network: network.clone(),
                    question,
                })),
                BlockKind::Yaml { .. }
                | BlockKind::Simulate
                | BlockKind::Render
                | BlockKind::Diagnostics
                | BlockKind::Expect { .. }
                | BlockKind::Ask => {}
            }
        }
        asked
    }

    /// The network of all its manifests, before any change.
    pub fn network(&self) -> Network {
        let padded: Vec<(Arc<str>, String)> = self
            .blocks
            .iter()
            .filter_map(|block| match &block.kind {
                BlockKind::Yaml { file } => {
                    let name = file.as_deref().map_or_else(|| self.file.clone(), Arc::from);
                    Some((name, self.at_its_lines(block)))
                }
                BlockKind::Change
                | BlockKind::Trace
                | BlockKind::Simulate
                | BlockKind::Render
                | BlockKind::Diagnostics
                | BlockKind::Expect { .. }
                | BlockKind::Ask => None,
            })
            .collect();
        let sources: Vec<Source<'_>> =
            padded.iter().map(|(name, text)| Source { name, bytes: text.as_bytes() }).collect();
        Network::load(&sources, &LoadOptions::default(), self.assume.clone(), None)
    }

    /// A block's text with as many empty lines before it as bring it to the lines of the file.
    fn at_its_lines(&self, block: &Block) -> String {
        let mut text: String = core::iter::repeat_n('\n', block.line.saturating_sub(1) as usize).collect();
        text += self.content(block);
        text
    }
}

enum Answer {
    None,
    Text(String),
    Traces(Vec<Trace>),
    Simulation(Simulation),
}

impl Answer {
    fn text(self, detail: Detail) -> String {
        match self {
            Self::None => "no answer\n".into(),
            Self::Text(text) => text,
            Self::Simulation(simulation) => describe_simulation(&simulation, detail),
            Self::Traces(traces) => traces.iter().map(|trace| describe(trace, detail)).collect(),
        }
    }
}

/// Lines `delete KIND [NS/]NAME`, and objects in YAML that come or are replaced.
fn change(scenario: &Scenario, block: &Block) -> Result<Vec<ObjectChange>, String> {
    let mut changes = Vec::new();
    let mut yaml = String::new();
    for line in scenario.at_its_lines(block).split_inclusive('\n') {
        let Some(words) = line.strip_prefix("delete ") else {
            yaml += line;
            continue;
        };
        yaml.push('\n');
        let parts: Vec<&str> = words.split_whitespace().collect();
        let [kind, name] = parts[..] else {
            return Err(format!("expected 'delete KIND [NS/]NAME', found '{}'\n", line.trim_end()));
        };
        let object = match name.split_once('/') {
            Some((namespace, name)) => ObjectRef::namespaced(kind.to_string(), namespace, name),
            None => ObjectRef::cluster(kind.to_string(), name),
        };
        changes.push(ObjectChange::Delete(object));
    }
    let loaded = load(&[Source { name: &scenario.file, bytes: yaml.as_bytes() }], &LoadOptions::default());
    if let Some(wrong) = loaded.diagnostics.first() {
        return Err(format!("{wrong}\n"));
    }
    changes.extend(loaded.objects.iter().map(ObjectChange::Put));
    Ok(changes)
}

fn diagnostics(network: &Network) -> String {
    let mut out = String::new();
    for diagnostic in network.diagnostics() {
        out += &format!("{}[{}]: {}\n", diagnostic.severity, diagnostic.code, diagnostic.message);
        if let Some(help) = &diagnostic.help {
            out += &format!("  help: {help}\n");
        }
    }
    if out.is_empty() { "nothing\n".into() } else { out }
}

fn ask(network: &Network, text: &str) -> Answer {
    let question = match words(text) {
        Ok(question) => question,
        Err(message) => return Answer::Text(format!("error: {message}\n")),
    };
    match network.traces(&question) {
        Ok(traces) => Answer::Traces(traces),
        Err(error) => Answer::Text(format!("error: {error}\n")),
    }
}

fn simulate(network: &Network, script: &str) -> Answer {
    match network.simulate(script, crate::k8s::DEFAULT_NAMESPACE) {
        Ok(simulation) => Answer::Simulation(simulation),
        Err(error) => Answer::Text(format!("error: {error}\n")),
    }
}

/// `WHAT TABLE`, the table as `--as` names it.
fn table(network: &Network, text: &str) -> Answer {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [what, name] = parts[..] else {
        return Answer::Text("error: expected WHAT TABLE, such as 'node-1 ip-route'\n".into());
    };
    let Some(table) = Table::named(name) else {
        return Answer::Text(format!("error: '{name}' is not a table\n"));
    };
    match network.render(what, crate::k8s::DEFAULT_NAMESPACE, table, false) {
        Ok(text) => Answer::Text(text),
        Err(error) => Answer::Text(format!("error: {error}\n")),
    }
}

/// A simulation, line by line: the time and words of each, and below what came of it.
pub fn describe_simulation(simulation: &Simulation, detail: Detail) -> String {
    let mut out = String::new();
    for step in &simulation.steps {
        out += &format!("{}  {}\n", seconds(step.at), step.text);
        let text = match &step.result {
            Outcome::Trace(trace) => describe(trace, detail),
            Outcome::Shown(text) if text.is_empty() => "(nothing)\n".into(),
            Outcome::Shown(text) => text.clone(),
            Outcome::Refused(why) => format!("not done: {why}\n"),
            Outcome::Changed(change) => {
                let deleted = change.conntrack_deleted.iter().map(|entry| format!("conntrack -D on {entry}"));
                let all: Vec<String> = change.pods.iter().cloned().chain(deleted).collect();
                if all.is_empty() { "nothing else changes\n".into() } else { all.join("\n") + "\n" }
            }
        };
        for line in text.lines() {
            out += &format!("    {line}\n");
        }
    }
    out
}

/// A time as a script writes it.
fn seconds(at: crate::time::Instant) -> String {
    let millis = at.as_nanos() / 1_000_000;
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

/// A trace in columns: place, link, stage, what happens, and what decided. Hops of the reply are marked with `<`; with several cases
/// each begins with its probability.
pub fn describe(trace: &Trace, detail: Detail) -> String {
    let mut out = String::new();
    for case in &trace.outcomes {
        if trace.outcomes.len() > 1 {
            out += &format!("probability {}\n", case.probability);
        }
        let lines = lines(trace, case, detail);
        let rows: Vec<[String; 4]> = lines
            .iter()
            .map(|line| {
                let origin = line.origin_without_place();
                let text = if origin.is_empty() { line.text() } else { format!("{}  {origin}", line.text()) };
                let (place, stage) = match line.kind {
                    LineKind::Hop(_) => (line.place.clone(), line.stage.clone()),
                    LineKind::ReplyHop(_) => (format!("< {}", line.place), line.stage.clone()),
                    LineKind::Aside => (format!("* {}", line.place), line.stage.clone()),
                    LineKind::Outcome | LineKind::Verdict => (line.stage.clone(), String::new()),
                };
                [place, line.device.clone(), stage, text]
            })
            .collect();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let (first, second, third) = (width(0), width(1), width(2));
        for [place, device, stage, text] in &rows {
            out += format!("{place:<first$}  {device:<second$}  {stage:<third$}  {text}").trim_end();
            out.push('\n');
        }
    }
    out
}
