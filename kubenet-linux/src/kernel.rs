//! What is done to a machine.

use std::io;

use kubenet_core::plan::{Change, MachinePlan};
use rustix::io::Errno;

use crate::tool::ToolError;

/// A machine that can be changed.
pub trait Kernel {
    /// Does changes in their order. Each may be done again.
    ///
    /// # Errors
    ///
    /// [`Error::Change`] names the first change that was refused; some after it may have been done.
    fn apply(&mut self, changes: &[Change]) -> Result<(), Error>;

    /// Whether this machine can do such a change at all. A setting that only the first namespace has is one that it cannot.
    fn can(&self, _change: &Change) -> bool {
        true
    }
}

/// A machine that says what it holds.
pub trait Observe {
    /// What the machine holds, its own namespace first.
    ///
    /// # Errors
    ///
    /// Where something that is there cannot be read.
    fn observe(&mut self) -> Result<MachinePlan, Error>;
}

/// Why a machine was not observed or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A change was refused.
    #[error("{change}: {why}")]
    Change {
        /// The change, as the command that does it.
        change: String,
        /// Why.
        why: String,
    },
    /// Something could not be read.
    #[error("{what}: {why}")]
    Observe {
        /// What was read.
        what: String,
        /// Why it could not be.
        why: String,
    },
    /// It was made to fail here.
    #[error("step {0} fails, as it was told to")]
    Flaky(usize),
}

impl Error {
    pub(crate) fn change(change: &Change, why: impl Into<String>) -> Self {
        Self::Change { change: change.to_string(), why: why.into() }
    }

    pub(crate) fn observe(what: impl Into<String>, why: &io::Error) -> Self {
        Self::Observe { what: what.into(), why: explain(why) }
    }

    pub(crate) fn tool(change: &Change, error: &ToolError) -> Self {
        Self::change(change, error.to_string())
    }
}

/// An error of the system in words, with what helps where a right is missing.
pub(crate) fn explain(error: &io::Error) -> String {
    let missing =
        [Errno::PERM, Errno::ACCESS].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    if missing {
        return format!(
            "{error}; it needs CAP_NET_ADMIN and CAP_SYS_ADMIN over the network namespace: run it as root, or in namespaces of your own \
             (unshare --user --map-root-user --net --mount)"
        );
    }
    error.to_string()
}
