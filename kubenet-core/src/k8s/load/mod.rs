//! Loading input: manifests and dumps become [`Objects`].
//!
//! In: [`Source`]s, each the bytes of a file or of standard input and its name. Out: [`Loaded`]: everything that could be understood,
//! and a [`Diagnostic`] with file, line, column, object and field for everything that could not. Loading does no I/O and never
//! fails as a whole.
//!
//! - YAML is read in one pass into a tree per object that knows its places; `kubectl`'s reading of YAML 1.1 applies. JSON is read
//!   straight into the types, an order of magnitude faster, and into a tree only where something is wrong.
//! - A source may hold many documents, lists, lists of lists, JSON values one after the other, bare arrays (their kind is told by
//!   the file's name), and the logs between the objects of `kubectl cluster-info dump`.
//! - A field that cannot be read costs the innermost item of a list that it is part of, or else only itself; where what is
//!   left would mean more than was written (a policy without one of its rules, a selector without one of its labels), the
//!   whole object is left out.
//! - Secret data and values of environment variables are neither kept nor quoted.
//!
//! [`Objects::collected`] gets the kind of each typed list (`PodList`), also of an empty one, and of each list whose file is named
//! after a kind (`pods.json`, `core_v1_pods.json`, `network-policy/default.json`): both show that somebody asked for that kind. An
//! empty plain `List` says nothing. A list of one namespace counts like one of all: nothing in it tells them apart.

mod de;
mod embedded;
mod field;
mod group;
mod json;
mod json_seed;
mod json_stream;
mod json_tree;
mod keep;
mod object;
mod path;
mod scalar;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod yaml;
mod yaml_map;
mod yaml_node;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub(crate) use self::embedded::embedded;
pub(super) use self::group::serves;
use self::object::Sink;
pub use self::path::wants;
use self::text::Text;
use super::Objects;
use crate::assume::Assume;
use crate::origin::Diagnostic;

/// One text of the input.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name: the path as the user wrote it, `-` for standard input, `example:NAME` for an embedded example.
    pub name: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The namespace of namespaced objects that name none; `default` when absent.
    pub default_namespace: Option<Arc<str>>,
    /// How much is too much.
    pub limits: Limits,
}

/// How much is too much. What goes beyond is diagnosed and left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one source. Never more than 4 GiB.
    pub bytes: usize,
    /// Levels of mappings and sequences in one document.
    pub depth: usize,
    /// Nodes in one object.
    pub nodes: usize,
    /// What the aliases of one document may stand for, in bytes.
    pub alias_bytes: usize,
}

impl Default for Limits {
    /// 2 GiB, 128 levels, ten million nodes, 16 MiB.
    fn default() -> Self {
        Self { bytes: 2 << 30, depth: 128, nodes: 10_000_000, alias_bytes: 16 << 20 }
    }
}

/// What was loaded.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The objects.
    pub objects: Objects,
    /// What documents of kind `Assumptions` say, later ones over earlier ones.
    pub assume: Option<Assume>,
    /// What could not be understood, in order of the sources.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads sources, in order: of two objects of the same kind and name the later one counts.
///
/// ```
/// use kubenet_core::k8s::load::{LoadOptions, Source, load};
///
/// let bytes = b"
/// apiVersion: v1
/// kind: Service
/// metadata: {name: web}
/// spec:
///   ports: [{port: 80}, {port: 80000}]
/// ";
/// let loaded = load(&[Source { name: "web.yaml", bytes }], &LoadOptions::default());
/// assert_eq!(loaded.objects.services.len(), 1);
/// assert_eq!(
///     loaded.diagnostics[0].to_string(),
///     "web.yaml:6:30: error[field]: Service default/web: spec.ports[1].port is the number 80000, \
///      not a whole number from 0 to 65535",
/// );
/// ```
pub fn load(sources: &[Source<'_>], options: &LoadOptions) -> Loaded {
    let mut sink = Sink::new(options);
    for source in sources {
        let file: Arc<str> = source.name.into();
        sink.source(&file);
        let limit = options.limits.bytes.min(u32::MAX as usize);
        if source.bytes.len() > limit {
            let message = format!("{file} has {} bytes; more than {limit} are not read", source.bytes.len());
            sink.log.push(Diagnostic::error("limit", message));
            continue;
        }
        for mut text in text::texts(&file, source.bytes, &mut sink.log) {
            read(&mut text, &mut sink);
        }
    }
    let (objects, assume, diagnostics) = sink.into_parts();
    Loaded { objects, assume, diagnostics }
}

/// Reads JSON as long as it is JSON, and the rest as YAML.
fn read(text: &mut Text<'_>, sink: &mut Sink<'_>) {
    let Some(rest) = json::read(text, sink) else { return };
    let mut text = text.tail(rest);
    if template::is_template(text.text) {
        let start = text.text.find("{{").unwrap_or(0);
        sink.helm(Some(text.look_up(start, start + 2)));
        return;
    }
    yaml::read(&mut text, sink);
}
