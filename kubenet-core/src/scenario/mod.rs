//! Scenarios: Markdown files that hold a cluster, questions, and what is expected of the answers.
//!
//! In: the text of a file ([`Scenario::parse`]). Out: its parts in order, and, when it is run ([`Scenario::run`]), for every
//! expectation what was expected and what came. The same file is a test, a page of the book and an example to play with. The
//! format is described in `docs/scenarios.md`.

mod parse;
mod run;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

pub use self::run::{Asked, Check, describe, describe_simulation};
use crate::assume::Assume;

/// A scenario file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// A short name, the same in every version of the file.
    pub id: String,
    /// What it shows, as a sentence.
    pub title: String,
    /// What is assumed beside what the manifests say.
    pub assume: Assume,
    /// Whether it is run against a real kernel too, or why not.
    pub kernel: Kernel,
    /// The lesson that it is a part of, if it is one.
    pub lesson: Option<String>,
    /// Its blocks, in order. Prose between them is not kept.
    pub blocks: Vec<Block>,
    /// The whole text.
    pub text: Arc<str>,
    /// The name of the file.
    pub file: Arc<str>,
}

/// Whether a scenario is run against a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// It is.
    Yes,
    /// It is not, and why.
    No(String),
}

/// A fenced block that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// The bytes of its content in the file.
    pub range: Range<usize>,
    /// The line of its first line of content, from 1.
    pub line: u32,
}

/// Kinds of [`Block`], named after the word behind the fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// `yaml [file=NAME]`: objects of the cluster.
    Yaml {
        /// The name of the file that it stands for.
        file: Option<String>,
    },
    /// `change`: objects that come or are replaced, and `delete KIND NS/NAME` lines.
    Change,
    /// `trace`: a question, as on the command line.
    Trace,
    /// `simulate`: a script of events and packets on virtual time.
    Simulate,
    /// `render`: a table, as on the command line.
    Render,
    /// `diagnostics`: what is wrong with the input.
    Diagnostics,
    /// `expect [full]`: what the block before it answers.
    Expect {
        /// Every hop, not only those that change something.
        full: bool,
    },
    /// `ask`: a question to the reader with choices, the right one marked.
    Ask,
}

/// The text is not a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct ScenarioError {
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl Scenario {
    /// The content of a block.
    pub fn content(&self, block: &Block) -> &str {
        self.text.get(block.range.clone()).unwrap_or("")
    }

    /// The text with every expectation replaced by what came.
    pub fn updated(&self, checks: &[Check]) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for check in checks {
            out += self.text.get(at..check.range.start).unwrap_or("");
            out += &check.got;
            at = check.range.end;
        }
        out += self.text.get(at..).unwrap_or("");
        out
    }
}
