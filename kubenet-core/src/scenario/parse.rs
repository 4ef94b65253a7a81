//! Reads a scenario file: front matter, then Markdown of which only fenced blocks are read.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Block, BlockKind, Kernel, Scenario, ScenarioError};
use crate::assume::Assume;
use crate::k8s::load::{LoadOptions, Source, load};
use crate::origin::Severity;

const FENCES: &str = "yaml, change, trace, simulate, render, diagnostics, expect or ask";

impl Scenario {
    /// Reads the text of a scenario.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] with the line: front matter that is missing or wrong, an unknown fence, an expectation without a
    /// question, a question without an expectation.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let file: Arc<str> = file.into();
        let fail =
            |line: usize, message: String| ScenarioError { file: file.clone(), line: line as u32, message };
        let lines: Vec<(usize, &str)> = lines(text).collect();
        let is_end = |(_, line): &&(usize, &str)| line.trim_end() == "---";
        if lines.first().map(|(_, line)| line.trim_end()) != Some("---") {
            return Err(fail(1, "a scenario begins with front matter between two lines of '---'".into()));
        }
        let Some(end) = lines.iter().skip(1).position(|line| is_end(&line)).map(|at| at + 1) else {
            return Err(fail(1, "the front matter has no end: a second line of '---'".into()));
        };
        let front = lines.get(1..end).unwrap_or(&[]);
        let mut scenario = Self {
            id: String::new(),
            title: String::new(),
            assume: Assume::default(),
            kernel: Kernel::Yes,
            lesson: None,
            blocks: Vec::new(),
            text: text.into(),
            file: file.clone(),
        };
        front_matter(&mut scenario, front).map_err(|(line, message)| fail(line, message))?;
        scenario.blocks = blocks(lines.get(end + 1..).unwrap_or(&[]), end + 2)
            .map_err(|(line, message)| fail(line, message))?;
        pairs(&scenario).map_err(|(line, message)| fail(line, message))?;
        Ok(scenario)
    }
}

type Fault = (usize, String);

/// Lines with the byte at which each begins.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, line)
    })
}

fn front_matter(scenario: &mut Scenario, front: &[(usize, &str)]) -> Result<(), Fault> {
    let mut place = 0;
    let mut kernel = None;
    while let Some((_, line)) = front.get(place) {
        let number = place + 2;
        place += 1;
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once(':').filter(|(key, _)| !key.starts_with(' ')) else {
            return Err((number, format!("expected 'key: value', found '{line}'")));
        };
        let value = value.trim();
        match key {
            "id" => scenario.id = value.to_string(),
            "title" => scenario.title = value.to_string(),
            "lesson" => scenario.lesson = Some(value.to_string()),
            "kernel" => kernel = Some(read_kernel(value).map_err(|message| (number, message))?),
            "assume" => {
                let inside = front
                    .iter()
                    .skip(place)
                    .take_while(|(_, line)| line.starts_with(' ') || line.trim().is_empty());
                let inside: Vec<&str> = inside.map(|(_, line)| *line).collect();
                scenario.assume = read_assume(&scenario.file, number, value, &inside)?;
                place += inside.len();
            }
            other => {
                return Err((
                    number,
                    format!("'{other}' is not a field; use id, title, assume, kernel or lesson"),
                ));
            }
        }
    }
    if scenario.id.is_empty() || scenario.title.is_empty() {
        return Err((1, "the front matter lacks an id or a title".into()));
    }
    scenario.kernel = kernel.ok_or((1, "say 'kernel: yes', or 'kernel: no' and why".to_string()))?;
    Ok(())
}

fn read_kernel(value: &str) -> Result<Kernel, String> {
    if value == "yes" {
        return Ok(Kernel::Yes);
    }
    let reason = value.strip_prefix("no").map(|rest| rest.trim_matches([' ', ',', '(', ')', ':', ';']));
    match reason {
        Some(reason) if !reason.is_empty() => Ok(Kernel::No(reason.to_string())),
        Some(_) => Err("say why it is not run against a kernel: 'kernel: no (why)'".into()),
        None => Err(format!("'{value}' is neither 'yes' nor 'no (why)'")),
    }
}

/// The `assume` of the front matter is the `spec` of an Assumptions document at the same lines.
fn read_assume(file: &str, number: usize, value: &str, inside: &[&str]) -> Result<Assume, Fault> {
    let mut text = String::from("apiVersion: kubenet/v1\nkind: Assumptions");
    // Two lines of head stand before line three.
    text.extend(core::iter::repeat_n('\n', number.saturating_sub(2)));
    text += &format!("spec: {value}\n");
    inside.iter().for_each(|line| text += line);
    let loaded = load(&[Source { name: file, bytes: text.as_bytes() }], &LoadOptions::default());
    match loaded.diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error) {
        Some(error) => {
            let line = error.location.as_ref().map_or(number, |location| location.line as usize);
            Err((line, error.message.clone()))
        }
        None => Ok(loaded.assume.unwrap_or_default()),
    }
}

fn blocks(lines: &[(usize, &str)], first: usize) -> Result<Vec<Block>, Fault> {
    let mut found = Vec::new();
    let mut place = 0;
    while let Some((_, line)) = lines.get(place) {
        place += 1;
        let ticks = line.chars().take_while(|c| *c == '`').count();
        if ticks < 3 {
            continue;
        }
        let number = first + place - 1;
        let fence = line.get(..ticks).unwrap_or("");
        let words = line.get(ticks..).unwrap_or("").trim();
        let closes = |(_, line): &(usize, &str)| line.trim_end() == fence;
        let Some(len) = lines.get(place..).unwrap_or(&[]).iter().position(closes) else {
            return Err((number, "the block has no end".into()));
        };
        let start = lines.get(place).map_or(0, |(at, _)| *at);
        let end = lines.get(place + len).map_or(start, |(at, _)| *at);
        // A block without a word is prose.
        if !words.is_empty() && words != "text" && words != "console" {
            let kind = block_kind(words).map_err(|message| (number, message))?;
            found.push(Block { kind, range: start..end, line: number as u32 + 1 });
        }
        place += len + 1;
    }
    Ok(found)
}

fn block_kind(words: &str) -> Result<BlockKind, String> {
    let (word, rest) = words.split_once(' ').map_or((words, ""), |(word, rest)| (word, rest.trim()));
    let alone = |kind: BlockKind| match rest {
        "" => Ok(kind),
        more => Err(format!("'{more}' says nothing behind {word}")),
    };
    match word {
        "yaml" => match rest.strip_prefix("file=") {
            Some(file) => Ok(BlockKind::Yaml { file: Some(file.to_string()) }),
            None => alone(BlockKind::Yaml { file: None }),
        },
        "change" => alone(BlockKind::Change),
        "trace" => alone(BlockKind::Trace),
        "simulate" => alone(BlockKind::Simulate),
        "render" => alone(BlockKind::Render),
        "diagnostics" => alone(BlockKind::Diagnostics),
        "ask" => alone(BlockKind::Ask),
        "expect" if rest == "full" => Ok(BlockKind::Expect { full: true }),
        "expect" => alone(BlockKind::Expect { full: false }),
        other => Err(format!("'{other}' is not a block of a scenario; use {FENCES}")),
    }
}

/// Questions and expectations follow each other, and a quiz has one right answer.
fn pairs(scenario: &Scenario) -> Result<(), Fault> {
    let mut open: Option<&Block> = None;
    for block in &scenario.blocks {
        let is_question = matches!(
            block.kind,
            BlockKind::Trace | BlockKind::Simulate | BlockKind::Render | BlockKind::Diagnostics
        );
        match (&block.kind, open) {
            (BlockKind::Expect { .. }, None) => {
                return Err((block.line as usize, "an expectation without a question before it".into()));
            }
            (BlockKind::Expect { .. }, Some(_)) => open = None,
            (_, Some(question)) => {
                return Err((question.line as usize, "a question without an expectation behind it".into()));
            }
            (BlockKind::Ask, None) => {
                let right = scenario.content(block).lines().filter(|line| line.starts_with("- [x] ")).count();
                if right != 1 {
                    return Err((
                        block.line as usize,
                        format!("{right} choices are marked '- [x]'; one is right"),
                    ));
                }
            }
            (_, None) if is_question => open = Some(block),
            (_, None) => {}
        }
    }
    match open {
        Some(question) => Err((question.line as usize, "a question without an expectation behind it".into())),
        None => Ok(()),
    }
}
