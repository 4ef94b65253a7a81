//! One reading of one text: what was wrong with it, and where.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Parsed;
use super::line::{Span, Word};
use crate::origin::{Diagnostic, Location, Origin, Severity};

/// Why a line could not be read.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    span: Span,
    message: String,
    help: Option<&'static str>,
}

impl Fault {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: &'static str) -> Self {
        self.help = Some(help);
        self
    }
}

pub(super) struct Reader {
    file: Arc<str>,
    diagnostics: Vec<Diagnostic>,
    /// What was told already: its place in `diagnostics`, and how often it came again.
    told: BTreeMap<String, (usize, u32)>,
}

impl Reader {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.into(), diagnostics: Vec::new(), told: BTreeMap::new() }
    }

    pub(super) fn location(&self, span: Span) -> Location {
        let Span { line, column, start, end } = span;
        Location { file: self.file.clone(), line, column, start, end }
    }

    pub(super) fn origin(&self, span: Span) -> Origin {
        Origin::dump(self.location(span))
    }

    /// A part of the text was not read.
    pub(super) fn fault(&mut self, fault: Fault) {
        let mut diagnostic =
            Diagnostic::error("unreadable", fault.message).at(Some(self.location(fault.span)));
        diagnostic.help = fault.help.map(Into::into);
        self.diagnostics.push(diagnostic);
    }

    /// Unwraps, or takes the fault down.
    pub(super) fn take<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.fault(fault)).ok()
    }

    /// Something was read that the plan has no place for and that changes no packet's way. Told once per message.
    pub(super) fn note(&mut self, span: Span, message: impl Into<String>) {
        self.tell(Severity::Note, span, message.into());
    }

    /// The same of something that could change a packet's way.
    pub(super) fn warn(&mut self, span: Span, message: impl Into<String>) {
        self.tell(Severity::Warning, span, message.into());
    }

    /// A word that the plan has no place for.
    pub(super) fn unmodelled(&mut self, word: Word<'_>) {
        self.note(word.span, format!("'{}' is not modelled", word.text));
    }

    fn tell(&mut self, severity: Severity, span: Span, message: String) {
        if let Some((_, again)) = self.told.get_mut(&message) {
            *again = again.saturating_add(1);
            return;
        }
        self.told.insert(message.clone(), (self.diagnostics.len(), 0));
        let diagnostic = Diagnostic::new(severity, "not-modelled", message).at(Some(self.location(span)));
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn finish<T>(mut self, items: Vec<T>) -> Parsed<T> {
        for (place, again) in self.told.into_values().filter(|(_, again)| *again > 0) {
            if let Some(diagnostic) = self.diagnostics.get_mut(place) {
                diagnostic.message.push_str(&format!(" (and {again} more)"));
            }
        }
        Parsed { items, diagnostics: self.diagnostics }
    }
}
