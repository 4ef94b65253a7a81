//! Going into a lab: a command in one of its namespaces, as `ip netns exec` would run it there.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::home::Keeper;
use super::isolate::NETNS_FOLDER;
use crate::netns::Netns;
use crate::tool;

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// The keeper's namespaces cannot be entered.
    #[error("entering the {what} namespace of the lab: {error}")]
    Lab {
        /// Which.
        what: &'static str,
        /// What went wrong.
        error: io::Error,
    },
    /// The network namespace cannot.
    #[error("entering {file}: {error}")]
    Netns {
        /// Its file.
        file: String,
        /// What went wrong.
        error: io::Error,
    },
    /// The command cannot be started.
    #[error("{program}: {error}")]
    Start {
        /// The command's name.
        program: String,
        /// What went wrong.
        error: io::Error,
    },
}

impl EnterError {
    /// The exit status that a shell gives in such a case: 127 where the command was not found, 126 where it cannot be run.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Start { error, .. } if error.kind() == io::ErrorKind::NotFound => 127,
            // A folder on the way that may not be searched hides that it is nowhere.
            Self::Start { program, .. } if !program.contains('/') && !is_on_path(program) => 127,
            Self::Start { .. } => 126,
            Self::Lab { .. } | Self::Netns { .. } => 125,
        }
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    tool::find_in(&path, program).is_some()
}

/// Runs a command in a namespace of a lab, with the caller's standard input and output, and gives its exit status: 128 and the number of
/// the signal that ended it, if one did. To be called while the program has one thread, which stays in the lab.
///
/// # Errors
///
/// [`EnterError`], for each step.
pub fn run(keeper: &Keeper, file: &str, program: &str, arguments: &[String]) -> Result<u8, EnterError> {
    let folder = std::env::current_dir().ok();
    enter(keeper, file)?;
    if let Some(folder) = folder {
        // A folder below /run is not there.
        let _ = std::env::set_current_dir(folder);
    }
    let start = |error| EnterError::Start { program: program.into(), error };
    let mut child = Command::new(program).args(arguments).spawn().map_err(start)?;
    for key in [Signal::SIGINT, Signal::SIGQUIT] {
        #[expect(unsafe_code, reason = "handlers of signals may be unsound")]
        // SAFETY: to ignore a signal runs no handler.
        let _ignored = unsafe { signal(key, SigHandler::SigIgn) };
    }
    let status = child.wait().map_err(start)?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Moves the program into a namespace of a lab, its PID namespace aside, which its children are born into.
fn enter(keeper: &Keeper, file: &str) -> Result<(), EnterError> {
    let of = |what: &'static str, link: &str| {
        let path = PathBuf::from(format!("/proc/{}/ns/{link}", keeper.pid));
        File::open(path).map_err(|error| EnterError::Lab { what, error })
    };
    let kinds = [
        ("user", "user", LinkNameSpaceType::User),
        ("PID", "pid", LinkNameSpaceType::ProcessID),
        ("mount", "mnt", LinkNameSpaceType::Mount),
    ];
    // All are opened before the first is entered: afterwards /proc is another one.
    let mut opened = Vec::new();
    for (what, link, kind) in kinds {
        opened.push((what, link, kind, of(what, link)?));
    }
    for (what, link, kind, file) in opened {
        if is_here(&file, link) {
            continue;
        }
        let moved = move_into_link_name_space(file.as_fd(), Some(kind));
        moved.map_err(|error| EnterError::Lab { what, error: error.into() })?;
    }
    let path = Path::new(NETNS_FOLDER).join(file);
    let failed = |error| EnterError::Netns { file: path.display().to_string(), error };
    Netns::open(&path).and_then(|netns| netns.enter()).map_err(failed)?;
    // /sys shows the links of the namespace that it was mounted in. Without one of our own, the old one stays.
    let _stays = show_links();
    Ok(())
}

/// Whether the program is there already. One's own user namespace cannot be entered again.
fn is_here(file: &File, link: &str) -> bool {
    let here = std::fs::metadata(format!("/proc/self/ns/{link}"));
    let there = file.metadata();
    matches!((here, there), (Ok(here), Ok(there)) if (here.dev(), here.ino()) == (there.dev(), there.ino()))
}

fn show_links() -> rustix::io::Result<()> {
    #[expect(unsafe_code, reason = "rustix marks every unshare unsafe, because of CLONE_FILES")]
    // SAFETY: only the mount namespace is unshared, no file descriptor table.
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)?;
    }
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("sysfs", "/sys", "sysfs", flags, None)
}
