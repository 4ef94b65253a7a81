//! The one question grammar: how an end of a connection is named on the command line, in scenarios, assertions, the
//! browser and Python.
//!
//! ```text
//! [NS/]KIND/NAME[:PORT]     shop/deploy/cart:7070   pod/web-0   node/node-1   svc/api:http   deploy/web[*]
//! NS/NAME[:PORT]            shop/cart-0:7070        (listed when it could mean several things)
//! IP[:PORT]                 10.244.1.5:80   fd00::5   [fd00::5]:80
//! internet[/IP][:PORT]      internet   internet/8.8.8.8:53
//! HOST[:PORT]               api.shop:80   www.example.org
//! http[s]://HOST|IP[:PORT][/PATH]
//! ```
//!
//! In: text ([`Endpoint::parse`]), then a cluster and a default namespace ([`Endpoint::resolve`]). Out: what it names, or a
//! [`QuestionError`] that points at the character and offers near names. Kinds have kubectl's names, plurals and short
//! names; a workload means its first pod by name (said so in [`Resolved::said`]), `[*]` all of its pods. A port is a number
//! or the name of a container's or Service's port. A host name is kept as it is: looking it up is the work of DNS.

mod parse;
mod resolve;
mod suggest;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

pub use self::resolve::{Resolution, Resolved, What};
pub use crate::cluster::Kind;

/// One end of a connection, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The text.
    pub text: Arc<str>,
    /// What it names.
    pub target: Target,
    /// The port, if it says one.
    pub port: Option<PortName>,
    /// The URL's scheme and path, if it is one.
    pub url: Option<Url>,
}

/// What an [`Endpoint`] names, before it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `[NS/]KIND/NAME`.
    Object {
        /// The namespace, if it says one.
        namespace: Option<Arc<str>>,
        /// The kind.
        kind: Kind,
        /// The name.
        name: Arc<str>,
        /// `[*]`: all pods of the workload.
        all: bool,
    },
    /// `NS/NAME`: any kind of object.
    Named {
        /// The namespace.
        namespace: Arc<str>,
        /// The name.
        name: Arc<str>,
        /// `[*]`: all pods of the workload.
        all: bool,
    },
    /// An address.
    Address(IpAddr),
    /// A host outside of the cluster, any or this one.
    Internet(Option<IpAddr>),
    /// A host name.
    Host(Arc<str>),
}

/// A port by its number or by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortName {
    /// A number from 1.
    Number(u16),
    /// The name of a container's or Service's port.
    Name(Arc<str>),
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What a URL says beyond its host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The scheme.
    pub scheme: Scheme,
    /// Path and query, at least `/`.
    pub path: Arc<str>,
}

/// A URL's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `http`, port 80 unless said otherwise.
    Http,
    /// `https`, port 443 unless said otherwise.
    Https,
}

impl Scheme {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port when the URL says none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuestionFault {
    /// It does not follow the grammar.
    Syntax,
    /// There is no such object, namespace or port.
    NotFound,
    /// It could mean several things; they are in [`QuestionError::candidates`].
    Ambiguous,
    /// The object exists but cannot be an end of a connection (a workload without pods).
    Unusable,
}

/// The text names nothing, or not one thing.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("{message}")]
pub struct QuestionError {
    /// What kind of fault it is.
    pub fault: QuestionFault,
    /// The whole text.
    pub text: Arc<str>,
    /// Where the fault begins, in characters from 0.
    pub offset: usize,
    /// How many characters it covers, at least 1.
    pub length: usize,
    /// What is wrong and what was expected.
    pub message: String,
    /// What could have been meant, in the grammar, best first.
    pub candidates: Vec<String>,
}

impl FromStr for Endpoint {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        Self::parse(text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
