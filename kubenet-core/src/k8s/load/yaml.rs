//! YAML: from the parser's events to trees, one per object.
//!
//! In: a text. Out: objects, handed to the [`Sink`] as soon as each is complete, so that a list of any length needs the memory of
//! one item. After an error the parser goes on at the next `---`; what was complete before it is kept. Aliases are copied, up to
//! a budget. Merge keys and keys that are no text follow go-yaml v2 (`decode.go` in `sigs.k8s.io/yaml/goyaml.v2`): a merge
//! counts where it stands, so that it overrides what is above it.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde::Deserialize;

use super::de::At;
use super::object::{ListHead, Sink};
use super::scalar::Scalar;
use super::text::Text;
use super::tree::{Kind, Node, NodeId, Tree};
use crate::origin::Diagnostic;

/// Reads all documents of a text.
///
/// Files that are joined with `cat` and that lack a last line break glue the `---` of the next one to their last line, which
/// breaks that document. kubectl refuses such a file; here the line is split.
pub(super) fn read(text: &mut Text<'_>, sink: &mut Sink<'_>) {
    let mut rest = text.tail(0);
    while let Some((document, glued)) = read_documents(&mut rest, sink, true) {
        let message = "a line break is missing before '---', and kubectl would refuse the file";
        let location = rest.look_up(glued, glued + 3);
        sink.log.push(Diagnostic::warning("yaml-joined", message).at(Some(location)));
        read_documents(&mut rest.slice(document, glued), sink, false);
        rest = rest.tail(glued);
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
enum Stop {
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
struct Anchor<'a> {
    tree: Tree<'a>,
    height: usize,
    cost: usize,
}

struct Reader<'r, 'a, 's> {
    parser: Parser<'a, StrInput<'a>>,
    source: &'a str,
    anchors: BTreeMap<usize, Anchor<'a>>,
    /// What aliases have been expanded to, in bytes of this document.
    copied: usize,
    /// Where the document starts.
    document: usize,
    /// Items of the document were handed on.
    streamed: bool,
    text: &'r mut Text<'a>,
    sink: &'r mut Sink<'s>,
}

type Step<'a> = (Event<'a>, Span);

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

    fn next(&mut self) -> Result<Step<'a>, Stop> {
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

    /// A node and all below it.
    fn node(&mut self, tree: &mut Tree<'a>, event: Event<'a>, span: &Span, depth: usize) -> Result<(), Stop> {
        let at = start(span);
        if tree.end() as usize >= self.sink.limits.nodes {
            return Err(Stop::Limit { what: "nodes in one object", limit: self.sink.limits.nodes, at });
        }
        if depth > self.sink.limits.depth {
            return Err(Stop::Limit { what: "levels", limit: self.sink.limits.depth, at });
        }
        let id = tree.end();
        let anchor = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let range = span.byte_range().unwrap_or(at..at);
                let kind = self.scalar_kind(style, tag.as_deref(), &text, range.start);
                match self.within(&text) {
                    Some(within) => tree.push_borrowed(range, kind, within),
                    None => tree.push_owned(range, kind, &text),
                }
                anchor
            }
            Event::SequenceStart(_, anchor, _) => {
                tree.open(at, Kind::Seq);
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                        break;
                    }
                    self.node(tree, event, &span, depth + 1)?;
                }
                tree.close(id);
                anchor
            }
            Event::MappingStart(_, anchor, _) => {
                tree.open(at, Kind::Map);
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                        break;
                    }
                    let key = tree.end();
                    self.node(tree, event, &span, depth + 1)?;
                    let (event, span) = self.next()?;
                    self.value(tree, key, event, &span, depth + 1)?;
                }
                tree.close(id);
                self.finish_map(tree, id);
                anchor
            }
            Event::Alias(anchor) => return self.alias(tree, anchor, span, depth),
            Event::UnresolvedAlias(name) => {
                let range = span.byte_range().unwrap_or(at..at);
                let message = format!("the alias *{name} stands for nothing: no &{name} is above it");
                let location = self.text.look_up(range.start, range.end);
                self.sink.log.push(Diagnostic::error("yaml-alias", message).at(Some(location)));
                tree.push_borrowed(range, Kind::Bad, 0..0);
                0
            }
            _ => {
                tree.push_borrowed(at..at, Kind::Bad, 0..0);
                0
            }
        };
        if anchor != 0 {
            let copy = tree.copy_of(id);
            let height = copy.height(0);
            let cost = cost(&copy);
            self.charge(cost, at)?;
            self.anchors.insert(anchor, Anchor { tree: copy, height, cost });
        }
        Ok(())
    }

    /// The value of a mapping's key. What servers note about who changed which field is never read.
    fn value(
        &mut self,
        tree: &mut Tree<'a>,
        key: NodeId,
        event: Event<'a>,
        span: &Span,
        depth: usize,
    ) -> Result<(), Stop> {
        if tree.text(key) != "managedFields" {
            return self.node(tree, event, span, depth);
        }
        let at = start(span);
        let mut open = usize::from(matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)));
        while open > 0 {
            match self.next()?.0 {
                Event::SequenceStart(..) | Event::MappingStart(..) => open += 1,
                Event::SequenceEnd | Event::MappingEnd => open -= 1,
                Event::StreamEnd => break,
                _ => {}
            }
        }
        tree.push_borrowed(at..at, Kind::Plain, at..at);
        Ok(())
    }

    fn alias(&mut self, tree: &mut Tree<'a>, anchor: usize, span: &Span, depth: usize) -> Result<(), Stop> {
        let range = span.byte_range().unwrap_or(0..0);
        let Some((height, cost)) = self.anchors.get(&anchor).map(|anchor| (anchor.height, anchor.cost))
        else {
            let location = self.text.look_up(range.start, range.end);
            let name = &self.source[range.clone()];
            let message = format!("the alias {name} stands for something that it is itself part of");
            self.sink.log.push(Diagnostic::error("yaml-alias", message).at(Some(location)));
            tree.push_borrowed(range, Kind::Bad, 0..0);
            return Ok(());
        };
        if depth + height > self.sink.limits.depth {
            return Err(Stop::Limit { what: "levels", limit: self.sink.limits.depth, at: range.start });
        }
        self.charge(cost, range.start)?;
        if let Some(anchor) = self.anchors.get(&anchor) {
            tree.append(&anchor.tree, 0..anchor.tree.end());
        }
        Ok(())
    }

    fn charge(&mut self, cost: usize, at: usize) -> Result<(), Stop> {
        self.copied += cost;
        let limit = self.sink.limits.alias_bytes;
        if self.copied > limit {
            return Err(Stop::Limit { what: "bytes that aliases stand for", limit, at });
        }
        Ok(())
    }

    fn scalar_kind(&mut self, style: ScalarStyle, tag: Option<&Tag>, text: &str, at: usize) -> Kind {
        let plain = if style == ScalarStyle::Plain { Kind::Plain } else { Kind::Quoted };
        let Some(tag) = tag else { return plain };
        match tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() {
            Some("str" | "timestamp" | "merge") => Kind::Quoted,
            Some("int" | "float" | "bool" | "null") => Kind::Plain,
            Some("binary") => {
                let location = self.text.look_up(at, at + text.len());
                let message = "a !!binary value is not read: write the text itself";
                self.sink.log.push(Diagnostic::error("yaml-tag", message).at(Some(location)));
                Kind::Bad
            }
            Some(_) => plain,
            None => Kind::Quoted,
        }
    }

    /// Where in the source a text lies, if it was not unescaped.
    fn within(&self, text: &Cow<'a, str>) -> Option<Range<usize>> {
        let Cow::Borrowed(text) = text else { return None };
        let start = (text.as_ptr() as usize).checked_sub(self.source.as_ptr() as usize)?;
        (start + text.len() <= self.source.len()).then(|| start..start + text.len())
    }

    /// Keys become text, the last of equal keys stays, merges are carried out.
    fn finish_map(&mut self, tree: &mut Tree<'a>, id: NodeId) {
        let mut merges = false;
        let mut key = id + 1;
        while key < tree.end() {
            let node = *tree.node(key);
            let value = node.next;
            if value >= tree.end() {
                tree.truncate(key);
                tree.close(id);
                break;
            }
            match tree.scalar(key) {
                Some(Scalar::Text(text)) => merges |= text == "<<" && node.kind == Kind::Plain,
                Some(Scalar::Null) => {
                    self.bad_key(&node, "null is no key: a key must be text");
                    tree.drop_node(key);
                }
                Some(scalar @ (Scalar::Bool(_) | Scalar::Int(_) | Scalar::UInt(_) | Scalar::Float(_))) => {
                    let spelt = spelt(scalar);
                    self.spell_key(tree, key, &spelt);
                }
                None => {
                    if node.kind != Kind::Bad {
                        self.bad_key(&node, "a list or mapping is no key: a key must be text");
                    }
                    tree.drop_node(key);
                }
            }
            key = tree.node(value).next;
        }
        if merges {
            self.merge(tree, id);
        }
        self.drop_repeated(tree, id);
    }

    fn bad_key(&mut self, key: &Node, message: &str) {
        let location = self.text.look_up(key.start as usize, key.end as usize);
        self.sink.log.push(Diagnostic::error("yaml-key", message).at(Some(location)));
    }

    fn spell_key(&mut self, tree: &mut Tree<'a>, key: NodeId, spelt: &str) {
        let text = tree.text(key).to_string();
        if text != spelt {
            let location = self.text.look_up(tree.node(key).start as usize, tree.node(key).end as usize);
            self.sink.log.push(
                Diagnostic::warning("yaml-key", format!("the key {text} is read as \"{spelt}\""))
                    .at(Some(location))
                    .help(format!(
                        "write \"{text}\": unquoted it is no text in YAML 1.1, which kubectl reads"
                    )),
            );
        }
        tree.respell(key, spelt);
    }

    fn drop_repeated(&mut self, tree: &mut Tree<'a>, id: NodeId) {
        for (earlier, later) in tree.repeated(id) {
            tree.drop_node(earlier);
            self.sink.log.push(repeated(tree, self.text, earlier, later));
        }
    }

    /// Puts the entries of merged mappings in the place of `<<`.
    fn merge(&mut self, tree: &mut Tree<'a>, id: NodeId) {
        let old = tree.copy_of(id);
        tree.truncate(id + 1);
        let mut made: BTreeMap<String, (NodeId, bool)> = BTreeMap::new();
        let entries: Vec<(NodeId, NodeId)> = old.entries(0).collect();
        for (key, value) in entries {
            let is_merge = old.text(key) == "<<" && old.node(key).kind == Kind::Plain;
            if !is_merge {
                let at = tree.end();
                tree.append(&old, key..old.node(value).next);
                // An entry that comes from a merge is overridden without a word.
                if let Some((earlier, true)) = made.insert(old.text(key).into(), (at, false)) {
                    tree.drop_node(earlier);
                }
                continue;
            }
            let sources: Vec<NodeId> = match old.node(value).kind {
                Kind::Map => alloc::vec![value],
                Kind::Seq => old.children(value).collect(),
                Kind::Plain | Kind::Quoted | Kind::Bad => Vec::new(),
            };
            if sources.iter().any(|&source| old.node(source).kind != Kind::Map) || sources.is_empty() {
                self.bad_key(old.node(key), "<< must be followed by a mapping, or a list of mappings");
                continue;
            }
            // The first of several wins.
            for source in sources.into_iter().rev() {
                for (key, value) in old.entries(source) {
                    let at = tree.end();
                    tree.append(&old, key..old.node(value).next);
                    let earlier = made.insert(old.text(key).into(), (at, true));
                    if let Some((earlier, true)) = earlier {
                        tree.drop_node(earlier);
                    }
                }
            }
        }
        tree.close(id);
    }

    fn tell(&mut self, stop: Stop) {
        let found = match stop {
            Stop::Syntax(error) => {
                let at = error.marker().byte_offset().unwrap_or(0);
                let location = self.text.look_up(at, at + 1);
                let mut found = Diagnostic::error("yaml-syntax", format!("not YAML: {}", error.info()))
                    .at(Some(location));
                found.help = syntax_help(error.kind()).map(Into::into);
                found
            }
            Stop::Limit { what, limit, at } => {
                let location = self.text.look_up(at, at + 1);
                let message =
                    format!("the document has more than {limit} {what}: the rest of it is left out");
                Diagnostic::error("limit", message).at(Some(location))
            }
        };
        self.sink.log.push(found);
    }
}

/// Tells of a key that stands twice.
pub(super) fn repeated(tree: &Tree<'_>, text: &Text<'_>, earlier: NodeId, later: NodeId) -> Diagnostic {
    let place = |key: NodeId| text.look_up(tree.node(key).start as usize, tree.node(key).end as usize);
    let message = format!("the key {} stands twice in one mapping; the last one counts", tree.text(later));
    Diagnostic::warning("duplicate-key", message)
        .at(Some(place(later)))
        .related("the first one is here", Some(place(earlier)))
}

fn start(span: &Span) -> usize {
    span.start.byte_offset().unwrap_or(0)
}

/// What a copy of a tree takes, with its texts spelt out.
fn cost(tree: &Tree<'_>) -> usize {
    (0..tree.end()).map(|id| 24 + tree.text(id).len()).sum()
}

/// A key that is a boolean or number, as `sigs.k8s.io/yaml` spells it.
fn spelt(scalar: Scalar<'_>) -> String {
    match scalar {
        Scalar::Null => "null".into(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(number) => number.to_string(),
        Scalar::UInt(number) => number.to_string(),
        Scalar::Float(number) => number.to_string(),
        Scalar::Text(text) => text.into(),
    }
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
