//! YAML: from the parser's events to trees, one per object.
//!
//! In: a text. Out: objects, handed to the [`Sink`] as soon as each is complete, so that a list of any length needs the memory of
//! one item. After an error the parser goes on at the next `---`; what was complete before it is kept. Aliases are copied, up to
//! a budget.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums are open, and new variants are of no concern"
)]

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use granit_parser::{ErrorKind, Event, Parser, ScanError, Span, StrInput};
use serde::Deserialize;

use super::de::At;
use super::object::{ListHead, Sink};
use super::text::Text;
use super::tree::{Kind, Tree};
use crate::origin::Diagnostic;

/// Reads all documents of a text.
///
/// Files that are joined with `cat` and that lack a last line break glue the `---` of the next one to their last line, which
/// breaks that document. kubectl refuses such a file; here the line is split.
pub(super) fn read(text: &mut Text<'_>, sink: &mut Sink<'_>) {
    let mut rest = text.tail(0);
    let mut places = Vec::new();
    while let Some((document, glued)) = read_documents(&mut rest, sink, true) {
        places.push(rest.look_up(glued, glued + 3));
        read_documents(&mut rest.slice(document, glued), sink, false);
        rest = rest.tail(glued);
    }
    let mut places = places.into_iter();
    if let Some(first) = places.next() {
        let message = "a line break is missing before '---', and kubectl would refuse the file";
        let mut found = Diagnostic::warning("yaml-joined", message).at(Some(first));
        found.related = places.take(100).map(|place| ("and here".into(), place)).collect();
        sink.log.push(found.help("end each file with a line break before joining them"));
    }
}

/// Reads documents until the end, or until one that breaks because of a glued `---`: where it starts, and where that is.
fn read_documents(text: &mut Text<'_>, sink: &mut Sink<'_>, split: bool) -> Option<(usize, usize)> {
    let all = text.text;
    let mut reader = Reader::new(text, sink);
    loop {
        let stop = match reader.documents() {
            Ok(()) => return None,
            Err(stop) => stop,
        };
        if split
            && !reader.streamed
            && let Stop::Syntax(error) = &stop
            && let Some(glued) = glued(all, reader.document, error.marker().byte_offset().unwrap_or(0))
        {
            return Some((reader.document, glued));
        }
        reader.tell(stop);
        if reader.sink.gives_up() {
            return None;
        }
        match reader.parser.proceed_next_document() {
            Ok(true) => {}
            Ok(false) | Err(_) => return None,
        }
    }
}

/// The last `---` from an offset to the line of another that ends a line but does not start it.
fn glued(text: &str, from: usize, to: usize) -> Option<usize> {
    let to = to + text.get(to..)?.find('\n')? + 1;
    let part = text.get(from..to)?;
    let mut end = part.len();
    while let Some(at) = part[..end].rfind("---") {
        let before = part[..at].chars().next_back();
        let ends = part[at + 3..].starts_with(['\n', '\r']);
        if ends && before.is_some_and(|c| !c.is_whitespace() && c != '-') {
            return Some(from + at);
        }
        end = at;
    }
    None
}

/// The first document of a text as a plain value; `None` where there is none, or it is no YAML.
pub(super) fn value(text: &mut Text<'_>, sink: &mut Sink<'_>) -> Option<serde_json::Value> {
    let mut reader = Reader::new(text, sink);
    let mut tree = Tree::new(reader.source);
    loop {
        let (event, span) = reader.next().ok()?;
        if matches!(event, Event::StreamEnd) {
            return None;
        }
        if !matches!(event, Event::StreamStart | Event::DocumentStart(..)) {
            reader.node(&mut tree, event, &span, 1).ok()?;
            return serde_json::Value::deserialize(At { tree: &tree, id: 0 }).ok();
        }
    }
}

/// Whether a text is YAML without an error of syntax, and without mappings for keys.
pub(super) fn is_good(text: &str) -> bool {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let mut open: Vec<(bool, bool)> = Vec::new();
    for event in Parser::new_from_str_with_options(text, options) {
        let Ok((event, _)) = event else { return false };
        let (is_node, opens) = match event {
            Event::MappingStart(..) => (true, Some(true)),
            Event::SequenceStart(..) => (true, Some(false)),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                (false, None)
            }
            Event::Scalar(..) | Event::Alias(_) => (true, None),
            _ => (false, None),
        };
        if is_node && let Some((true, at_key)) = open.last_mut() {
            if *at_key && opens.is_some() {
                return false;
            }
            *at_key = !*at_key;
        }
        open.extend(opens.map(|mapping| (mapping, true)));
    }
    true
}

/// Why a document ends early.
pub(super) enum Stop {
    Syntax(ScanError),
    /// It is larger than is allowed.
    Limit {
        what: &'static str,
        limit: usize,
        at: usize,
    },
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Syntax(error)
    }
}

/// What an alias stands for.
pub(super) struct Anchor<'a> {
    pub(super) tree: Tree<'a>,
    pub(super) height: usize,
    pub(super) cost: usize,
}

pub(super) struct Reader<'r, 'a, 's> {
    pub(super) parser: Parser<'a, StrInput<'a>>,
    pub(super) source: &'a str,
    pub(super) anchors: BTreeMap<usize, Anchor<'a>>,
    /// What aliases have been expanded to, in bytes of this document.
    pub(super) copied: usize,
    /// Where the document starts.
    pub(super) document: usize,
    /// Items of the document were handed on.
    pub(super) streamed: bool,
    pub(super) text: &'r mut Text<'a>,
    pub(super) sink: &'r mut Sink<'s>,
}

pub(super) type Step<'a> = (Event<'a>, Span);

impl<'r, 'a, 's> Reader<'r, 'a, 's> {
    fn new(text: &'r mut Text<'a>, sink: &'r mut Sink<'s>) -> Self {
        let depth = sink.limits.depth;
        let mut options = granit_parser::options! {
            emit_unresolved_aliases: true,
            flow_nesting_limit: depth,
            block_nesting_limit: depth,
        };
        options.set_emit_comments(false);
        let source = text.text;
        let parser = Parser::new_from_str_with_options(source, options);
        Self { parser, source, anchors: BTreeMap::new(), copied: 0, document: 0, streamed: false, text, sink }
    }

    pub(super) fn next(&mut self) -> Result<Step<'a>, Stop> {
        match self.parser.next_event() {
            Some(step) => Ok(step?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn documents(&mut self) -> Result<(), Stop> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(..) => {
                    self.anchors.clear();
                    (self.copied, self.document, self.streamed) = (0, start(&span), false);
                    self.document()?;
                }
                Event::StreamStart | Event::DocumentEnd => {}
                _ => {}
            }
        }
    }

    /// A document: an object, a list whose items are handed on one by one, or a bare sequence of objects.
    fn document(&mut self) -> Result<(), Stop> {
        let mut head = Tree::new(self.source);
        let mut item = Tree::new(self.source);
        let (event, span) = self.next()?;
        let Event::MappingStart(_, anchor, ref tag) = event else {
            if let Event::SequenceStart(_, 0, _) = event {
                let mut waiting = Vec::new();
                self.items(&mut item, &mut waiting)?;
                self.sink.bare_items(self.text, waiting);
                return Ok(());
            }
            if matches!(event, Event::DocumentEnd | Event::StreamEnd) {
                return Ok(());
            }
            let told = self.sink.log.len();
            self.node(&mut head, event, &span, 1)?;
            self.sink.object(self.text, &mut head, 0, None, told);
            return Ok(());
        };
        if anchor != 0 || tag.is_some() {
            let told = self.sink.log.len();
            self.node(&mut head, event, &span, 1)?;
            self.sink.object(self.text, &mut head, 0, None, told);
            return Ok(());
        }
        let told = self.sink.log.len();
        let root = head.open(start(&span), Kind::Map);
        let mut list = None;
        let result = self.list_head(&mut head, &mut item, &mut list);
        head.close(root);
        // What was complete before an error is kept.
        if result.is_ok() {
            self.finish_map(&mut head, root);
        }
        match list {
            Some(waiting) => self.sink.list(self.text, &mut head, waiting),
            None if result.is_ok() => self.sink.object(self.text, &mut head, root, None, told),
            None => {}
        }
        result
    }

    /// The entries of a document's top mapping; the items of a list are not kept.
    fn list_head(
        &mut self,
        head: &mut Tree<'a>,
        item: &mut Tree<'a>,
        list: &mut Option<Vec<Tree<'a>>>,
    ) -> Result<(), Stop> {
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(());
            }
            let key = head.end();
            self.node(head, event, &span, 2)?;
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceStart(_, 0, _)) && head.text(key) == "items" && list.is_none() {
                let value = head.open(start(&span), Kind::Seq);
                head.close(value);
                let waiting = list.insert(Vec::new());
                self.items(item, waiting)?;
                continue;
            }
            self.value(head, key, event, &span, 2)?;
        }
    }

    /// The items of a list: those that say what they are are handed on, the others wait for what the list says.
    fn items(&mut self, item: &mut Tree<'a>, waiting: &mut Vec<Tree<'a>>) -> Result<(), Stop> {
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(());
            }
            item.clear();
            let told = self.sink.log.len();
            self.node(item, event, &span, 3)?;
            if item.get(0, "kind").is_some() {
                self.streamed = true;
                self.sink.object(self.text, item, 0, Some(&ListHead::default()), told);
            } else {
                waiting.push(core::mem::replace(item, Tree::new(self.source)));
            }
        }
    }

    fn tell(&mut self, stop: Stop) {
        let found = match stop {
            Stop::Syntax(error) => {
                let at = error.marker().byte_offset().unwrap_or(0);
                let location = self.text.location(at, at + 1);
                let mut found = Diagnostic::error("yaml-syntax", format!("not YAML: {}", error.info()))
                    .at(Some(location));
                found.help = syntax_help(error.kind()).map(Into::into);
                found
            }
            Stop::Limit { what, limit, at } => {
                let location = self.text.location(at, at + 1);
                let message =
                    format!("the document has more than {limit} {what}: the rest of it is left out");
                Diagnostic::error("limit", message).at(Some(location))
            }
        };
        self.sink.broken(|| found);
    }
}

pub(super) fn start(span: &Span) -> usize {
    span.start.byte_offset().unwrap_or(0)
}

fn syntax_help(kind: &ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => {
            Some("YAML is indented with spaces, never with tabs")
        }
        ErrorKind::BomInsideDocument => Some("remove the byte-order mark: two files were joined"),
        _ => None,
    }
}
