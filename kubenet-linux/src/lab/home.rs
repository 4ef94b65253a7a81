//! Where labs are kept: a folder for each, that only its owner can read.
//!
//! `$XDG_RUNTIME_DIR/kubenet/LAB`, else `/tmp/kubenet-UID/LAB`. In it: `keeper.json` (who keeps the lab: process and the time of its
//! start, which together name one process for ever), `control` (the keeper's socket) and `log`. A keeper that is gone leaves only this
//! folder behind.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::protocol::SCHEMA;

/// Why a lab's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// A name that is none.
    #[error("lab {0:?}: a name has 1 to 32 of a-z, 0-9 and -")]
    Name(String),
    /// Somebody else's folder.
    #[error(
        "{0}: it is not a folder that only you can read; remove it, or set XDG_RUNTIME_DIR to one that is"
    )]
    NotOurs(String),
    /// The file system said no.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What went wrong.
        error: io::Error,
    },
}

/// A lab's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    name: String,
    path: PathBuf,
}

/// Who keeps a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keeper {
    /// `kubenet/lab/v1`.
    pub schema: String,
    /// The process.
    pub pid: i32,
    /// When it started, in ticks since boot (`proc_pid_stat(5)`, field 22).
    pub started: u64,
}

impl Keeper {
    /// This process, by the number that it has where `/proc` was mounted.
    pub(super) fn here() -> io::Result<Self> {
        let pid = fs::read_link("/proc/self")?;
        let pid = pid.to_str().and_then(|pid| pid.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let started = started(pid).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { schema: SCHEMA.into(), pid, started })
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// When a process started, if it runs.
fn started(pid: i32) -> Option<u64> {
    started_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/PID/stat`. A process that has ended and was not waited for is none.
fn started_of(stat: &str) -> Option<u64> {
    // The second field is the program's name, in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl Home {
    /// The folder of a lab with this name.
    ///
    /// # Errors
    ///
    /// [`HomeError`]: a bad name, or a place that is not ours alone.
    pub fn of(name: &str) -> Result<Self, HomeError> {
        let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 32 || !name.chars().all(is_good) {
            return Err(HomeError::Name(name.into()));
        }
        Ok(Self { name: name.into(), path: base()?.join(name) })
    }

    /// The folder that [`Home::of`] gave to the process that starts a keeper. A user namespace has other numbers of users, so the
    /// keeper does not look for it.
    pub fn at(path: PathBuf) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, path }
    }

    /// The folders of all labs, by name.
    ///
    /// # Errors
    ///
    /// [`HomeError`]: a place that is not ours alone, or cannot be read.
    pub fn all() -> Result<Vec<Self>, HomeError> {
        let base = base()?;
        let entries = fs::read_dir(&base).map_err(|error| failed(&base, error))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut all: Vec<Self> = names.filter_map(|name| Self::of(&name).ok()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keeper's socket.
    pub fn control(&self) -> PathBuf {
        self.path.join("control")
    }

    /// What the keeper and its tools had to say.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Makes the folder, empty. What a keeper that is gone has left there goes.
    ///
    /// # Errors
    ///
    /// [`HomeError::Io`], `AlreadyExists` where a keeper lives.
    pub fn make(&self) -> Result<(), HomeError> {
        if self.keeper().is_some() {
            return Err(failed(&self.path, io::ErrorKind::AlreadyExists.into()));
        }
        self.remove()?;
        DirBuilder::new().mode(0o700).create(&self.path).map_err(|error| failed(&self.path, error))
    }

    /// Removes the folder.
    ///
    /// # Errors
    ///
    /// [`HomeError::Io`].
    pub fn remove(&self) -> Result<(), HomeError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&self.path, error)),
            _ => Ok(()),
        }
    }

    /// Who keeps the lab, if anybody does.
    pub fn keeper(&self) -> Option<Keeper> {
        let mut text = String::new();
        File::open(self.path.join("keeper.json")).ok()?.take(4096).read_to_string(&mut text).ok()?;
        let keeper: Keeper = serde_json::from_str(&text).ok()?;
        keeper.is_alive().then_some(keeper)
    }

    /// Writes down who keeps the lab.
    pub(super) fn set_keeper(&self, keeper: &Keeper) -> io::Result<()> {
        let text = serde_json::to_vec(keeper).map_err(io::Error::other)?;
        let (path, next) = (self.path.join("keeper.json"), self.path.join("keeper.json.new"));
        fs::write(&next, text)?;
        fs::rename(next, path)
    }
}

/// Where the folders are.
fn base() -> Result<PathBuf, HomeError> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| is_ours(path));
    let base = match runtime {
        Some(path) => path.join("kubenet"),
        None => PathBuf::from(format!("/tmp/kubenet-{}", geteuid().as_raw())),
    };
    match DirBuilder::new().mode(0o700).create(&base) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(&base, error)),
        _ if is_ours(&base) => Ok(base),
        _ => Err(HomeError::NotOurs(base.display().to_string())),
    }
}

/// Whether this is a folder, no link to one, that is ours and that nobody else can enter.
fn is_ours(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|it| it.is_dir() && it.uid() == geteuid().as_raw() && it.mode() & 0o077 == 0)
}

fn failed(path: &Path, error: io::Error) -> HomeError {
    HomeError::Io { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        for name in ["", "..", "a/b", "A", "a b", "0123456789012345678901234567890123"] {
            assert!(matches!(Home::of(name), Err(HomeError::Name(_))), "{name}");
        }
    }

    #[test]
    fn a_process_is_known_by_its_start_whatever_its_name_is() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(started_of(&format!("9 (a) b) S {rest}")), Some(4711));
        assert_eq!(started_of(&format!("9 (a) Z {rest}")), None);
        assert_eq!(started_of("9 (a"), None);
        let here = Keeper::here().expect("this process");
        assert!(here.is_alive());
        assert!(!Keeper { started: here.started + 1, ..here }.is_alive());
    }
}
