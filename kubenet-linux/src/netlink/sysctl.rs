//! Sysctls: files under `/proc/sys`, which show the namespace of the thread that looks.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::netns::Netns;

/// What became of a setting.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is as it shall be.
    Set,
    /// It cannot be.
    Cannot(Why),
    /// It could not be written.
    Failed(io::Error),
}

/// Why a setting cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// This namespace does not let it be set; this is what it is.
    Fixed(u32),
    /// This kernel has no such setting now.
    Absent,
}

impl Why {
    /// In words, and what helps.
    pub(crate) fn tell(self, key: &str, value: u32) -> String {
        match self {
            Self::Fixed(now) => format!("{key} is {now}, not {value}: this namespace does not let it be set"),
            Self::Absent => {
                let help = if key.starts_with("net/bridge/") {
                    "; br_netfilter is not loaded: modprobe br_netfilter"
                } else if key.starts_with(OF_NETFILTER) {
                    "; nf_conntrack is not loaded: modprobe nf_conntrack"
                } else {
                    ""
                };
                format!("{key} is not there to be set to {value}{help}")
            }
        }
    }
}

/// Settings that come with the first rule that asks for a connection.
pub(crate) const OF_NETFILTER: &str = "net/netfilter/";

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}

fn read(key: &str) -> io::Result<u32> {
    let text = fs::read_to_string(path(key))?;
    text.trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("'{}' is no number", text.trim())))
}

/// Writes settings inside of a namespace, those that differ.
pub(crate) fn write(netns: &Netns, settings: &[(Arc<str>, u32)]) -> io::Result<Vec<Outcome>> {
    netns.run(|| Ok(settings.iter().map(|(key, value)| set(key, *value)).collect()))
}

fn set(key: &str, value: u32) -> Outcome {
    let now = match read(key) {
        Ok(now) => now,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Outcome::Cannot(Why::Absent),
        Err(error) => return Outcome::Failed(error),
    };
    if now == value {
        return Outcome::Set;
    }
    match fs::write(path(key), value.to_string()) {
        Ok(()) => Outcome::Set,
        Err(error) => {
            let kind = error.kind();
            let fixed = matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
            if fixed { Outcome::Cannot(Why::Fixed(now)) } else { Outcome::Failed(error) }
        }
    }
}

/// A setting as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) value: u32,
    /// Whether this namespace does not let it be set.
    pub(crate) is_fixed: bool,
}

/// Reads settings inside of a namespace; `None` for those that are not there.
pub(crate) fn list(netns: &Netns, keys: &[String]) -> io::Result<Vec<Option<Now>>> {
    let now = |key: &String| {
        // By the rights that a write would have, which may be more than the user's.
        let may = accessat(CWD, path(key), Access::WRITE_OK, AtFlags::EACCESS);
        let is_fixed = matches!(may, Err(Errno::ACCESS | Errno::PERM | Errno::ROFS));
        Some(Now { value: read(key).ok()?, is_fixed })
    };
    netns.run(|| Ok(keys.iter().map(now).collect()))
}
