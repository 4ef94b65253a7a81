//! YAML: what makes mappings of keys and values: keys become text, the last of equal keys counts, merges are carried out.
//!
//! As go-yaml v2 does it (`decode.go` in `sigs.k8s.io/yaml/goyaml.v2`, `yaml.go` in `sigs.k8s.io/yaml`): a key that is a boolean or
//! number is spelt as text, a merge counts where it stands, so that it overrides what is above it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::scalar::Scalar;
use super::text::Text;
use super::tree::{Kind, Node, NodeId, Tree};
use super::yaml::Reader;
use crate::origin::Diagnostic;

impl<'a> Reader<'_, 'a, '_> {
    /// Keys become text, the last of equal keys stays, merges are carried out.
    pub(super) fn finish_map(&mut self, tree: &mut Tree<'a>, id: NodeId) {
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
        self.sink.broken(|| {
            let location = self.text.look_up(key.start as usize, key.end as usize);
            Diagnostic::error("yaml-key", message).at(Some(location))
        });
    }

    fn spell_key(&mut self, tree: &mut Tree<'a>, key: NodeId, spelt: &str) {
        let text = tree.text(key).to_string();
        if text != spelt {
            self.sink.broken(|| {
                let location = self.text.look_up(tree.node(key).start as usize, tree.node(key).end as usize);
                Diagnostic::warning("yaml-key", format!("the key {text} is read as \"{spelt}\""))
                    .at(Some(location))
                    .help(format!(
                        "write \"{text}\": unquoted it is no text in YAML 1.1, which kubectl reads"
                    ))
            });
        }
        tree.respell(key, spelt);
    }

    fn drop_repeated(&mut self, tree: &mut Tree<'a>, id: NodeId) {
        for (earlier, later) in tree.repeated(id) {
            tree.drop_node(earlier);
            self.sink.broken(|| repeated(tree, self.text, earlier, later));
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
}

/// Tells of a key that stands twice.
pub(super) fn repeated(tree: &Tree<'_>, text: &Text<'_>, earlier: NodeId, later: NodeId) -> Diagnostic {
    let place = |key: NodeId| text.look_up(tree.node(key).start as usize, tree.node(key).end as usize);
    let message = format!("the key {} stands twice in one mapping; the last one counts", tree.text(later));
    Diagnostic::warning("duplicate-key", message)
        .at(Some(place(later)))
        .related("the first one is here", Some(place(earlier)))
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
