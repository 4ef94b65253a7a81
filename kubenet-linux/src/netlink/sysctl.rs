//! Sysctls: files under `/proc/sys`, which show the namespace of the thread that looks.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::netns::Netns;

/// What became of a setting.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is as it shall be.
    Set,
    /// This namespace does not let it be set; this is what it is.
    Fixed(u32),
    /// This kernel has no such setting now.
    Absent,
    /// It could not be written.
    Failed(io::Error),
}

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
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Outcome::Absent,
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
            if fixed { Outcome::Fixed(now) } else { Outcome::Failed(error) }
        }
    }
}

/// Reads settings inside of a namespace; `None` for those that are not there.
pub(crate) fn list(netns: &Netns, keys: &[String]) -> io::Result<Vec<Option<u32>>> {
    netns.run(|| Ok(keys.iter().map(|key| read(key).ok()).collect()))
}
