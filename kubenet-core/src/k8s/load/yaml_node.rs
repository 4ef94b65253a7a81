//! YAML: nodes, anchors and aliases.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums are open, and new variants are of no concern"
)]

use alloc::borrow::Cow;
use alloc::format;
use core::ops::Range;

use granit_parser::{Event, ScalarStyle, Span, Tag};

use super::tree::{Kind, NodeId, Tree};
use super::yaml::{Anchor, Reader, Stop, start};
use crate::origin::Diagnostic;

impl<'a> Reader<'_, 'a, '_> {
    /// A node and all below it.
    pub(super) fn node(
        &mut self,
        tree: &mut Tree<'a>,
        event: Event<'a>,
        span: &Span,
        depth: usize,
    ) -> Result<(), Stop> {
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
                let within = match &text {
                    Cow::Borrowed(text) => self.within(text),
                    Cow::Owned(_) => None,
                };
                match within {
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
                self.sink.broken(|| {
                    let location = self.text.look_up(range.start, range.end);
                    Diagnostic::error("yaml-alias", message).at(Some(location))
                });
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
    pub(super) fn value(
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
            let name = &self.source[range.clone()];
            let message = format!("the alias {name} stands for something that it is itself part of");
            self.sink.broken(|| {
                let location = self.text.look_up(range.start, range.end);
                Diagnostic::error("yaml-alias", message).at(Some(location))
            });
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
                self.sink.broken(|| {
                    let location = self.text.look_up(at, at + text.len());
                    let message = "a !!binary value is not read: write the text itself";
                    Diagnostic::error("yaml-tag", message).at(Some(location))
                });
                Kind::Bad
            }
            Some(_) => plain,
            None => Kind::Quoted,
        }
    }

    /// Where in the source a text lies, if it was not unescaped.
    fn within(&self, text: &str) -> Option<Range<usize>> {
        let start = (text.as_ptr() as usize).checked_sub(self.source.as_ptr() as usize)?;
        (start + text.len() <= self.source.len()).then(|| start..start + text.len())
    }
}

/// What a copy of a tree takes, with its texts spelt out.
fn cost(tree: &Tree<'_>) -> usize {
    (0..tree.end()).map(|id| 24 + tree.text(id).len()).sum()
}
