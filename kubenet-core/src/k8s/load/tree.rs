//! A document as a compact tree that knows where each of its parts stands.
//!
//! Nodes lie in one vector in document order: a sequence or mapping is followed by its children, and knows where the node after
//! them is. Text is a range of the source, or of a store of what had to be unescaped. Numbers and booleans stay text until
//! somebody asks.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::scalar::{self, Scalar};

/// A node's place in its [`Tree`].
pub(super) type NodeId = u32;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A scalar without quotes: its text says whether it is a number.
    Plain,
    /// A scalar that is text whatever it looks like.
    Quoted,
    /// A sequence.
    Seq,
    /// A mapping: key, value, key, value.
    Map,
    /// What cannot be used; the fault is told already.
    Bad,
}

/// A node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// First byte in the source.
    pub(super) start: u32,
    /// One past the last byte in the source; for sequences and mappings one past the first.
    pub(super) end: u32,
    /// The node after this one and all below it.
    pub(super) next: NodeId,
    text: u32,
    len: u32,
    pub(super) kind: Kind,
    owned: bool,
    /// Not to be read: a fault was found in it, or another entry replaces it.
    pub(super) dropped: bool,
}

/// A tree over a source text.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    source: &'a str,
    nodes: Vec<Node>,
    owned: String,
}

impl<'a> Tree<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, nodes: Vec::new(), owned: String::new() }
    }

    /// Empties it; keeps the memory.
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.owned.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// One past the last node.
    pub(super) fn end(&self) -> NodeId {
        self.nodes.len() as NodeId
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    /// Marks a node as not to be read.
    pub(super) fn drop_node(&mut self, id: NodeId) {
        self.nodes[id as usize].dropped = true;
    }

    /// The text of a scalar; empty for others.
    pub(super) fn text(&self, id: NodeId) -> &str {
        let node = self.node(id);
        let store = if node.owned { self.owned.as_str() } else { self.source };
        &store[node.text as usize..(node.text + node.len) as usize]
    }

    /// The value of a scalar; `None` for others.
    pub(super) fn scalar(&self, id: NodeId) -> Option<Scalar<'_>> {
        match self.node(id).kind {
            Kind::Plain => Some(scalar::resolve(self.text(id))),
            Kind::Quoted => Some(Scalar::Text(self.text(id))),
            Kind::Seq | Kind::Map | Kind::Bad => None,
        }
    }

    /// The children of a sequence or mapping, those that are dropped included; for a mapping keys and values in turn.
    pub(super) fn children(&self, id: NodeId) -> Children<'_, 'a> {
        Children { tree: self, at: id + 1, end: self.node(id).next }
    }

    /// The entries of a mapping that are to be read; none for other nodes.
    pub(super) fn entries(&self, id: NodeId) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        let mut children = match self.node(id).kind {
            Kind::Map => self.children(id),
            Kind::Plain | Kind::Quoted | Kind::Seq | Kind::Bad => Children { tree: self, at: 0, end: 0 },
        };
        core::iter::from_fn(move || Some((children.next()?, children.next()?)))
            .filter(|&(key, _)| !self.node(key).dropped)
    }

    /// The value of a mapping's key.
    pub(super) fn get(&self, id: NodeId, key: &str) -> Option<NodeId> {
        self.entries(id).filter(|&(k, _)| self.text(k) == key).last().map(|(_, value)| value)
    }

    /// The text below a key, if it is text.
    pub(super) fn get_text(&self, id: NodeId, key: &str) -> Option<&str> {
        match self.scalar(self.get(id, key)?)? {
            Scalar::Text(text) => Some(text),
            Scalar::Null | Scalar::Bool(_) | Scalar::Int(_) | Scalar::UInt(_) | Scalar::Float(_) => None,
        }
    }

    /// Keys of a mapping that stand twice: each earlier one and the next.
    pub(super) fn repeated(&self, id: NodeId) -> Vec<(NodeId, NodeId)> {
        const FEW: usize = 16;
        let mut repeated = Vec::new();
        let mut seen = [0; FEW];
        let mut count = 0;
        for (key, _) in self.entries(id) {
            let text = self.text(key);
            if let Some(earlier) = seen[..count].iter_mut().find(|earlier| self.text(**earlier) == text) {
                repeated.push((core::mem::replace(earlier, key), key));
            } else if count < FEW {
                seen[count] = key;
                count += 1;
            } else {
                return self.repeated_of_many(id);
            }
        }
        repeated
    }

    fn repeated_of_many(&self, id: NodeId) -> Vec<(NodeId, NodeId)> {
        let mut seen: HashMap<&str, NodeId, FixedState> = HashMap::default();
        let again = |(key, _)| seen.insert(self.text(key), key).map(|earlier| (earlier, key));
        self.entries(id).filter_map(again).collect()
    }

    /// Adds a scalar whose text is a range of the source.
    pub(super) fn push_borrowed(&mut self, span: Range<usize>, kind: Kind, text: Range<usize>) {
        self.push(span, kind, text, false);
    }

    /// Adds a scalar whose text is not in the source as it is.
    pub(super) fn push_owned(&mut self, span: Range<usize>, kind: Kind, text: &str) {
        let start = self.owned.len();
        self.owned.push_str(text);
        self.push(span, kind, start..self.owned.len(), true);
    }

    /// Adds a sequence or mapping, to be closed after its children.
    pub(super) fn open(&mut self, start: usize, kind: Kind) -> NodeId {
        let id = self.end();
        self.push(start..start + 1, kind, 0..0, false);
        id
    }

    /// Ends the children of a sequence or mapping.
    pub(super) fn close(&mut self, id: NodeId) {
        self.nodes[id as usize].next = self.end();
    }

    /// Sources are below 4 GiB, and so is what they unescape to.
    fn push(&mut self, span: Range<usize>, kind: Kind, text: Range<usize>, owned: bool) {
        self.nodes.push(Node {
            start: span.start as u32,
            end: span.end as u32,
            next: self.nodes.len() as NodeId + 1,
            text: text.start as u32,
            len: text.len() as u32,
            kind,
            owned,
            dropped: false,
        });
    }

    /// Makes a text of its own of a scalar: how a key that is no text is spelt as one.
    pub(super) fn respell(&mut self, id: NodeId, text: &str) {
        let start = self.owned.len();
        self.owned.push_str(text);
        let node = &mut self.nodes[id as usize];
        (node.kind, node.owned, node.text, node.len) = (Kind::Quoted, true, start as u32, text.len() as u32);
    }

    /// A node and what is below it, as a tree.
    pub(super) fn copy_of(&self, id: NodeId) -> Self {
        let mut copy = Self::new(self.source);
        copy.append(self, id..self.node(id).next);
        copy
    }

    /// Adds nodes of another tree over the same source.
    pub(super) fn append(&mut self, other: &Self, range: Range<NodeId>) {
        let shift = self.end();
        for node in &other.nodes[range.start as usize..range.end as usize] {
            let mut node = *node;
            node.next = node.next - range.start + shift;
            if node.owned {
                let text = &other.owned[node.text as usize..(node.text + node.len) as usize];
                node.text = self.owned.len() as u32;
                self.owned.push_str(text);
            }
            self.nodes.push(node);
        }
    }

    /// Takes away a node and all after it.
    pub(super) fn truncate(&mut self, id: NodeId) {
        self.nodes.truncate(id as usize);
    }

    /// How deep the nodes below one lie; 0 for a scalar.
    pub(super) fn height(&self, id: NodeId) -> usize {
        let mut open: Vec<NodeId> = Vec::new();
        let mut height = 0;
        for at in id..self.node(id).next {
            while open.last().is_some_and(|&end| end <= at) {
                open.pop();
            }
            if matches!(self.node(at).kind, Kind::Seq | Kind::Map) {
                open.push(self.node(at).next);
                height = height.max(open.len());
            }
        }
        height
    }
}

/// Children of a node.
#[derive(Clone, Debug)]
pub(super) struct Children<'t, 'a> {
    tree: &'t Tree<'a>,
    at: NodeId,
    end: NodeId,
}

impl Iterator for Children<'_, '_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        let id = self.at;
        if id >= self.end {
            return None;
        }
        self.at = self.tree.node(id).next;
        Some(id)
    }
}
