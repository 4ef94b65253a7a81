//! Network namespaces: made, found by name, entered.
//!
//! A namespace is held by a file descriptor; while one is open, or the file is mounted somewhere, it lives. Named ones are mounted in
//! a folder (`/run/netns` for `ip netns`), as `ip-netns(8)` does it. What has to run inside is run on a thread of its own, so that the
//! caller never changes its place (`setns(2)` moves one thread).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// The folder in which `ip netns` mounts namespaces.
pub const FOLDER: &str = "/run/netns";

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
    path: Option<PathBuf>,
}

impl Netns {
    /// The one that the calling thread is in.
    ///
    /// # Errors
    ///
    /// Where `/proc` is not mounted.
    pub fn current() -> io::Result<Self> {
        Ok(Self { file: File::open("/proc/thread-self/ns/net")?.into(), path: None })
    }

    /// Opens the one that is mounted at a path.
    ///
    /// # Errors
    ///
    /// Where there is none, or it may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?.into(), path: Some(path.into()) })
    }

    /// Whether it is a namespace, and not a plain file where one was to be mounted.
    ///
    /// # Errors
    ///
    /// Where the system cannot say.
    pub fn is_one(&self) -> io::Result<bool> {
        const NSFS_MAGIC: i64 = 0x6e73_6673;
        Ok(rustix::fs::fstatfs(&self.file)?.f_type == NSFS_MAGIC)
    }

    /// A new one without a name: it ends with the last file descriptor, thread and link that are in it.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_SYS_ADMIN`.
    pub fn unnamed() -> io::Result<Self> {
        alone(|| {
            unshare()?;
            Self::current()
        })
    }

    /// A new one, mounted at a path. The folder is made where it is not there.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_SYS_ADMIN`, `EEXIST` where the path is taken.
    pub fn named(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        File::create_new(path)?;
        let made = alone(|| {
            unshare()?;
            let here = Path::new("/proc/thread-self/ns/net");
            rustix::mount::mount_bind(here, path)?;
            Self::current()
        });
        match made {
            Ok(Self { file, .. }) => Ok(Self { file, path: Some(path.into()) }),
            Err(error) => {
                // What is left is our own empty file.
                let _ = fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// Takes the name away. The namespace ends when nothing else holds it.
    ///
    /// # Errors
    ///
    /// Where it may not be unmounted.
    pub fn remove(path: &Path) -> io::Result<()> {
        match rustix::mount::unmount(path, UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => fs::remove_file(path),
            Err(error) => Err(error.into()),
        }
    }

    /// Where it is mounted, if it was opened or made there.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Moves the calling thread into it, if it is not there yet.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_SYS_ADMIN` over it.
    pub fn enter(&self) -> io::Result<()> {
        let there = rustix::fs::fstat(&self.file)?;
        // A thread outside of the PID namespace of `/proc` is not in it.
        let here = rustix::fs::stat("/proc/thread-self/ns/net");
        if here.is_ok_and(|here| (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)) {
            return Ok(());
        }
        let kind = Some(LinkNameSpaceType::Network);
        Ok(rustix::thread::move_into_link_name_space(self.file.as_fd(), kind)?)
    }

    /// Runs something inside, on a thread of its own. Sockets that it makes stay in the namespace wherever they are used.
    ///
    /// # Errors
    ///
    /// Where the thread cannot go there, or what the work gives.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        alone(|| {
            self.enter()?;
            work()
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Makes what is mounted here invisible outside: for a process that is in a mount namespace of its own.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN` over the mount namespace.
pub fn keep_mounts_private() -> io::Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", flags)?)
}

/// Mounts an empty file system in memory.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN` over the mount namespace.
pub fn mount_tmpfs(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)?)
}

/// A name as that of a file: `_` stands for `/`.
pub fn file_name(name: &str) -> String {
    name.replace('/', "_")
}

fn unshare() -> io::Result<()> {
    // A thread that shares nothing else is moved; the others stay.
    #[expect(unsafe_code, reason = "rustix marks every unshare unsafe, because of CLONE_FILES")]
    // SAFETY: only the network namespace changes; no file descriptor table is unshared.
    let done = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
    Ok(done?)
}

fn alone<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let done = scope.spawn(work).join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
