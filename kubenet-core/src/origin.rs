//! Where a thing came from, and what was wrong with what we were given.
//!
//! Every part of a plan carries an [`Origin`]; every fault in the input becomes a [`Diagnostic`]. Both point at
//! the file, the line and the object, so that an answer can name its cause.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

/// A place in the input text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The input's name: a path, `-` for standard input, `example:NAME` for an embedded example.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// First byte in the file, for drawing the line.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Names one Kubernetes object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The kind as in the manifest, such as `Service`.
    pub kind: Cow<'static, str>,
    /// The namespace; `None` for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// A reference to a namespaced object.
    pub fn namespaced(kind: impl Into<Cow<'static, str>>, namespace: &str, name: &str) -> Self {
        Self { kind: kind.into(), namespace: Some(namespace.into()), name: name.into() }
    }

    /// A reference to a cluster-scoped object.
    pub fn cluster(kind: impl Into<Cow<'static, str>>, name: &str) -> Self {
        Self { kind: kind.into(), namespace: None, name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    /// `Service shop/cart`, `Node node-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(ns) => write!(f, "{} {ns}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Why a thing is there: the object, assumption, dump line or kernel habit that it came from.
///
/// Cheap to clone (one reference count).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(Arc<OriginKind>);

/// What an [`Origin`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "from")]
#[non_exhaustive]
pub enum OriginKind {
    /// An object of the input.
    Object {
        /// Which.
        object: ObjectRef,
        /// The field, as a path such as `spec.podCIDR`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        field: Option<Cow<'static, str>>,
        /// Where it stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<Location>,
    },
    /// A setting that nothing in the input states; the key is the field name of `Assume`.
    Assumption {
        /// The field name.
        key: Cow<'static, str>,
    },
    /// kubenet plays the control plane: what it made up, and for which object.
    MadeUp {
        /// The object that it was made up for.
        object: ObjectRef,
        /// What was made up, such as `node` or `address`.
        what: Cow<'static, str>,
    },
    /// The kernel or a CNI plugin does this by itself.
    Implied {
        /// What does it, such as `connected route` or `bridge plugin`.
        by: Cow<'static, str>,
    },
    /// A line of a node's dump.
    Dump {
        /// Where it stands.
        location: Location,
    },
    /// A program that links the library put it there.
    Embedder,
}

impl Origin {
    /// Wraps what is to be said.
    pub fn new(kind: OriginKind) -> Self {
        Self(Arc::new(kind))
    }

    /// From an object without a place in a file.
    pub fn object(object: ObjectRef) -> Self {
        Self::new(OriginKind::Object { object, field: None, location: None })
    }

    /// From an assumption.
    pub fn assumption(key: &'static str) -> Self {
        Self::new(OriginKind::Assumption { key: Cow::Borrowed(key) })
    }

    /// From a habit of the kernel or of a plugin.
    pub fn implied(by: &'static str) -> Self {
        Self::new(OriginKind::Implied { by: Cow::Borrowed(by) })
    }

    /// Made up for an object.
    pub fn made_up(object: ObjectRef, what: &'static str) -> Self {
        Self::new(OriginKind::MadeUp { object, what: Cow::Borrowed(what) })
    }

    /// From a line of a dump.
    pub fn dump(location: Location) -> Self {
        Self::new(OriginKind::Dump { location })
    }

    /// The same object, at one of its fields.
    #[must_use]
    pub fn with_field(&self, field: impl Into<Cow<'static, str>>) -> Self {
        if let OriginKind::Object { object, location, .. } = &*self.0 {
            let (object, location) = (object.clone(), location.clone());
            return Self::new(OriginKind::Object { object, field: Some(field.into()), location });
        }
        self.clone()
    }

    /// What it says.
    pub fn kind(&self) -> &OriginKind {
        &self.0
    }

    /// The object that it names, if it names one.
    pub fn object_ref(&self) -> Option<&ObjectRef> {
        match &*self.0 {
            OriginKind::Object { object, .. } | OriginKind::MadeUp { object, .. } => Some(object),
            OriginKind::Assumption { .. }
            | OriginKind::Implied { .. }
            | OriginKind::Dump { .. }
            | OriginKind::Embedder => None,
        }
    }

    /// The place in the input, if it has one.
    pub fn location(&self) -> Option<&Location> {
        match &*self.0 {
            OriginKind::Object { location, .. } => location.as_ref(),
            OriginKind::Dump { location } => Some(location),
            OriginKind::Assumption { .. }
            | OriginKind::MadeUp { .. }
            | OriginKind::Implied { .. }
            | OriginKind::Embedder => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            OriginKind::Object { object, field, location } => {
                write!(f, "{object}")?;
                if let Some(field) = field {
                    write!(f, " {field}")?;
                }
                if let Some(location) = location {
                    write!(f, " ({location})")?;
                }
                Ok(())
            }
            OriginKind::Assumption { key } => write!(f, "assumed: {key}"),
            OriginKind::MadeUp { object, what } => write!(f, "{what} made up for {object}"),
            OriginKind::Implied { by } => f.write_str(by),
            OriginKind::Dump { location } => write!(f, "{location}"),
            OriginKind::Embedder => f.write_str("given by the embedding program"),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Loaded, but probably not what was meant.
    Warning,
    /// The part that it points at was not loaded.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Something to tell about the input. Collected, never thrown: loading returns what it understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// A stable name to search for, such as `duplicate-object`.
    pub code: Cow<'static, str>,
    /// What is wrong: lower case, the object first.
    pub message: String,
    /// The object it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// The field, as a path such as `spec.ports[0].port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// Other places that matter, each with what it shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<(String, Location)>,
    /// What to do about it, when we know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic with only a severity, a code and a message.
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code: Cow::Borrowed(code),
            message: message.into(),
            object: None,
            field: None,
            location: None,
            related: Vec::new(),
            help: None,
        }
    }

    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A note.
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, message)
    }

    /// Says which object it is about.
    #[must_use]
    pub fn on(mut self, object: ObjectRef) -> Self {
        self.object = Some(object);
        self
    }

    /// Says which field it is about.
    #[must_use]
    pub fn field(mut self, field: impl ToString) -> Self {
        self.field = Some(field.to_string());
        self
    }

    /// Says where it stands.
    #[must_use]
    pub fn at(mut self, location: Option<Location>) -> Self {
        self.location = location;
        self
    }

    /// Takes object, field and place from an origin.
    #[must_use]
    pub fn from_origin(mut self, origin: &Origin) -> Self {
        self.object = origin.object_ref().cloned();
        self.location = origin.location().cloned();
        if let OriginKind::Object { field: Some(field), .. } = origin.kind() {
            self.field = Some(field.to_string());
        }
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn related(mut self, text: impl Into<String>, location: Option<Location>) -> Self {
        if let Some(location) = location {
            self.related.push((text.into(), location));
        }
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}:{}: ", location.column)?;
        }
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)
    }
}
