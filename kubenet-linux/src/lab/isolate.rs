//! A place of one's own: user, mount, PID and network namespaces for a process, so that whatever it builds ends with it.
//!
//! In: whether the caller has privileges, or does without. Out: a process that is PID 1 of its PID namespace, root where it counts, with
//! an empty `/run` and a network namespace without links. When it ends, however it ends, the kernel ends every process, mount and
//! network namespace inside (`pid_namespaces(7)`, `user_namespaces(7)`).
//!
//! A PID namespace is for children, so the program is started a second time, with the same arguments, inside.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command};

use rustix::mount::{MountFlags, mount};
use rustix::process::{Signal, getgid, getpid, getuid, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};

use crate::netns::{keep_mounts_private, mount_tmpfs};

/// Where the named network namespaces are mounted, as for `ip netns`.
pub const NETNS_FOLDER: &str = crate::netns::FOLDER;

/// Says to the program that it was started inside.
const MARK: &str = "KUBENET_INSIDE";

/// Why there is no such place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolateError {
    /// Neither privileges, nor user namespaces.
    #[error(
        "making namespaces as an ordinary user: {0}; this system may not let users make them (sysctl \
         user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns): run as root"
    )]
    Users(io::Error),
    /// Privileges do not go far enough.
    #[error("making namespaces: {0}; it needs CAP_SYS_ADMIN: run as root, or with --rootless")]
    Privileges(io::Error),
    /// The program could not be started again.
    #[error("starting {program} inside: {error}")]
    Start {
        /// Its path.
        program: String,
        /// What went wrong.
        error: io::Error,
    },
    /// What is to be mounted is not.
    #[error("mounting {what}: {error}")]
    Mount {
        /// Where.
        what: &'static str,
        /// What went wrong.
        error: io::Error,
    },
}

/// Whether the caller may make namespaces and links without a user namespace: `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`.
pub fn is_privileged() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Puts the program into a place of its own. Returns there; outside, it waits for the program inside and exits as it did.
///
/// To be called first in `main`, while there is one thread. `rootless` uses a user namespace that maps the caller to root; so does a
/// caller without privileges. What is inside is killed when what is outside ends.
///
/// # Errors
///
/// [`IsolateError`], for each thing that the system does not allow.
pub fn isolate(rootless: bool) -> Result<(), IsolateError> {
    if is_inside() {
        // The kernel kills what is inside with its parent.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        return furnish();
    }
    let mut command = again();
    let mut child = spawn(&mut command, rootless)?;
    let status = child.wait().map_err(|error| IsolateError::Start { program: program(&command), error })?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    std::process::exit(code)
}

/// Whether this process is the one inside.
pub fn is_inside() -> bool {
    std::env::var_os(MARK).is_some() && getpid().as_raw_nonzero().get() == 1
}

/// This program with the arguments that it was started with.
pub(super) fn again() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1));
    command
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Starts a program as the first process of new namespaces. The caller's own thread has left its mount and network namespaces
/// then, and can make no further threads: it is to wait, or to end.
///
/// # Errors
///
/// [`IsolateError`], for each thing that the system does not allow.
pub(super) fn spawn(command: &mut Command, rootless: bool) -> Result<Child, IsolateError> {
    let rootless = rootless || !is_privileged();
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWNET;
    let refused = if rootless {
        flags |= UnshareFlags::NEWUSER;
        IsolateError::Users
    } else {
        IsolateError::Privileges
    };
    // An open file survives the change of the mount namespace.
    #[expect(unsafe_code, reason = "rustix marks every unshare unsafe, because of CLONE_FILES")]
    // SAFETY: no file descriptor table is unshared.
    let done = unsafe { rustix::thread::unshare_unsafe(flags) };
    done.map_err(|error| refused(error.into()))?;
    if rootless {
        let map = |file: &str, text: String| fs::write(Path::new("/proc/self").join(file), text);
        // Without privileges over the group outside, groups have to be given up first (user_namespaces(7)).
        map("setgroups", "deny".into()).map_err(IsolateError::Users)?;
        map("uid_map", format!("0 {uid} 1")).map_err(IsolateError::Users)?;
        map("gid_map", format!("0 {gid} 1")).map_err(IsolateError::Users)?;
    }
    let child = command.env(MARK, "1").spawn();
    child.map_err(|error| IsolateError::Start { program: program(command), error })
}

/// Mounts what belongs inside: an empty `/run` and a `/proc` of the new PID namespace.
pub(super) fn furnish() -> Result<(), IsolateError> {
    let failed = |what| move |error: io::Error| IsolateError::Mount { what, error };
    keep_mounts_private().map_err(failed("/"))?;
    mount_tmpfs(Path::new("/run")).map_err(failed("/run"))?;
    fs::create_dir(NETNS_FOLDER).map_err(failed(NETNS_FOLDER))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // A container that hides parts of its /proc does not let another be mounted. The old one serves as well, but for `ps`.
    let _hidden = mount("proc", "/proc", "proc", flags, None);
    Ok(())
}
