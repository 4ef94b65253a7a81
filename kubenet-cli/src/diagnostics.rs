//! Diagnostics on standard error, drawn as rustc draws them.

use std::io::{IsTerminal, Write};

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use kubenet_core::network::{AskError, Side};
use kubenet_core::origin::{Diagnostic, Location, Severity};
use kubenet_core::question::QuestionError;

use crate::input::Text;
use crate::output::clean;

/// How many diagnostics of one severity are drawn; the rest is counted.
const DRAWN: usize = 20;
/// How many lines of a source are drawn at most.
const LINES: usize = 4;

/// Draws what is wrong with the input, the worst first. Notes only where they are asked for.
pub(crate) fn tell<'a>(diagnostics: impl Iterator<Item = &'a Diagnostic>, texts: &[Text], notes: bool) {
    let all: Vec<&Diagnostic> = diagnostics.collect();
    let renderer = renderer();
    let mut stderr = anstream::stderr();
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        if severity == Severity::Note && !notes {
            continue;
        }
        let of: Vec<_> = all.iter().filter(|diagnostic| diagnostic.severity == severity).collect();
        for diagnostic in of.iter().take(DRAWN) {
            let _gone = writeln!(stderr, "{}\n", draw(&renderer, diagnostic, texts));
        }
        if of.len() > DRAWN {
            let _gone = writeln!(stderr, "{severity}: {} more like these\n", of.len() - DRAWN);
        }
    }
}

fn renderer() -> Renderer {
    let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
    let decor = if std::io::stderr().is_terminal() { DecorStyle::Unicode } else { DecorStyle::Ascii };
    Renderer::styled().term_width(width.max(40)).decor_style(decor)
}

fn draw(renderer: &Renderer, diagnostic: &Diagnostic, texts: &[Text]) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(clean(&diagnostic.message)).id(diagnostic.code.to_string());
    let mut group = Group::with_title(title);
    let label = diagnostic.field.as_deref().unwrap_or("");
    let places = diagnostic.location.iter().map(|location| (location, label, AnnotationKind::Primary));
    let related = diagnostic.related.iter().map(|(text, at)| (at, text.as_str(), AnnotationKind::Context));
    let mut told = false;
    for (location, label, kind) in places.chain(related) {
        match excerpt(location, texts) {
            Some((source, line, span)) => {
                let annotation = kind.span(span);
                let annotation = if label.is_empty() { annotation } else { annotation.label(clean(label)) };
                group = group.element(
                    Snippet::source(source)
                        .line_start(line)
                        .path(clean(&location.file))
                        .annotation(annotation),
                );
            }
            None => {
                group = group.element(
                    annotate_snippets::Origin::path(clean(&location.file))
                        .line(location.line as usize)
                        .char_column(location.column as usize),
                );
            }
        }
        told = true;
    }
    if let (false, Some(object)) = (told, &diagnostic.object) {
        let field = diagnostic.field.as_ref().map_or_else(String::new, |field| format!(" {field}"));
        group = group.element(Level::NOTE.message(clean(&format!("in {object}{field}"))));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(clean(help)));
    }
    renderer.render(&[group])
}

/// The lines of a source that a location covers, the number of the first, and the location within them.
fn excerpt(location: &Location, texts: &[Text]) -> Option<(String, usize, std::ops::Range<usize>)> {
    let text = texts.iter().find(|text| *text.name == *location.file)?;
    let start = location.start.min(text.bytes.len());
    let end = location.end.clamp(start, text.bytes.len());
    let newline = |byte: &u8| *byte == b'\n';
    let first = text.bytes.get(..start)?.iter().rposition(newline).map_or(0, |at| at + 1);
    let mut last = first;
    for _ in 0..LINES {
        let rest = text.bytes.get(last..)?;
        last += rest.iter().position(newline).map_or(rest.len(), |at| at + 1);
        if last >= end {
            break;
        }
    }
    let source = std::str::from_utf8(text.bytes.get(first..last)?).ok()?.trim_end_matches(['\n', '\r']);
    let span = start - first..(end.min(last) - first).min(source.len());
    let whole = source.is_char_boundary(span.start.min(source.len())) && source.is_char_boundary(span.end);
    let within = span.start <= span.end && whole;
    within.then(|| (source.to_string(), location.line as usize, span))
}

/// Draws a question's error below the question's words.
pub(crate) fn tell_question(error: &AskError) {
    match error.question() {
        Some((Side::From, error)) => tell_words("SRC", error),
        Some((Side::To, error)) => tell_words("DST", error),
        None => {
            let group = Group::with_title(Level::ERROR.primary_title(error.to_string()));
            let _gone = writeln!(anstream::stderr(), "{}", renderer().render(&[group]));
        }
    }
}

/// Draws what is wrong with an argument below its words.
pub(crate) fn tell_words(argument: &str, error: &QuestionError) {
    let text = clean(&error.text);
    let at = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(byte, _)| byte);
    let span = at(error.offset)..at(error.offset + error.length);
    let snippet = Snippet::source(text.as_str()).path(argument).line_numbering(false);
    let title = Level::ERROR.primary_title(clean(&error.message));
    let mut group = Group::with_title(title).element(snippet.annotation(AnnotationKind::Primary.span(span)));
    if !error.candidates.is_empty() {
        let help = format!("could be {}", error.candidates.join(", "));
        group = group.element(Level::HELP.message(clean(&help)));
    }
    let _gone = writeln!(anstream::stderr(), "{}", renderer().render(&[group]));
}
