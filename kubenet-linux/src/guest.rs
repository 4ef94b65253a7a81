//! A kernel of its own for what the machine's kernel lacks: user-mode Linux, which starts within seconds and needs no virtualisation.
//!
//! In: a command and a folder. Out: what the command printed and how it ended, run as root under that kernel, with the machine's files
//! to read and the folder to write. Debian's package `user-mode-linux` brings the kernel with `ip_vs`, `ip_set` and the extensions of
//! iptables as modules (6.1, without `nf_tables`); `kmod` loads them. The kernel's guests are ordinary processes: they are gone when
//! the run is over, in time or not.
//!
//! Not supported: a processor with AMX (`amx_tile` in `/proc/cpuinfo`). The kernel of 6.1 keeps less room for a process' registers than
//! such a processor has, `ptrace(PTRACE_SETREGSET, NT_X86_XSTATE)` refuses what it hands back, and the run ends as
//! [`GuestError::Stopped`].

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::tool;

/// How often it is looked whether the run is over.
const LOOK: Duration = Duration::from_millis(20);

/// Why nothing was run under the other kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// Something is not on this machine.
    #[error("{what} is not installed (Debian: {package})")]
    Missing {
        /// What.
        what: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The kernel did not start, or stopped before the command ended.
    #[error("the user-mode kernel did not come to the end of the command; it said: {said}")]
    Stopped {
        /// The last lines of its console.
        said: String,
    },
    /// It took too long, and was stopped.
    #[error("the user-mode kernel was stopped after {} s; it said: {said}", .after.as_secs())]
    TimedOut {
        /// After what time.
        after: Duration,
        /// The last lines of its console.
        said: String,
    },
    /// Files could not be written or read.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status.
    pub status: u8,
    /// What it printed, on either stream.
    pub output: String,
}

/// A kernel that can be started.
#[derive(Clone, Debug)]
pub struct Guest {
    kernel: PathBuf,
    memory_mib: u32,
}

impl Guest {
    /// The user-mode kernel of this machine.
    ///
    /// # Errors
    ///
    /// [`GuestError::Missing`] where the kernel, its modules or what loads them is not installed.
    pub fn find() -> Result<Self, GuestError> {
        let uml = GuestError::Missing { what: "user-mode Linux", package: "user-mode-linux" };
        let kernel = tool::find("linux.uml").ok_or(uml)?;
        if !Path::new(MODULES).is_dir() {
            return Err(GuestError::Missing { what: "its modules", package: "user-mode-linux" });
        }
        tool::find("modprobe").ok_or(GuestError::Missing { what: "modprobe", package: "kmod" })?;
        Ok(Self { kernel, memory_mib: 1024 })
    }

    /// Runs a command of absolute path with its arguments. `folder` must be empty and the caller's alone; the command finds it at
    /// [`SHARED`] and may write there.
    ///
    /// # Errors
    ///
    /// [`GuestError`], where the command did not come to its end.
    pub fn run(&self, command: &[&str], folder: &Path, patience: Duration) -> Result<Ended, GuestError> {
        let at = |path: PathBuf| move |error| GuestError::Io { path, error };
        let init = folder.join("init");
        fs::write(&init, script(command, folder)).map_err(at(init.clone()))?;
        let executable = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&init, executable).map_err(at(init.clone()))?;
        let console = folder.join("console");
        let log = fs::File::create(&console).map_err(at(console.clone()))?;
        let errors = log.try_clone().map_err(at(console.clone()))?;
        let mut start = Command::new(&self.kernel);
        start.arg(format!("mem={}M", self.memory_mib)).arg(format!("init={}", init.display()));
        start.args([
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "quiet",
            "con=null",
            "con0=null,fd:1",
            "ssl=null",
        ]);
        start.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let child = start.spawn().map_err(at(self.kernel.clone()))?;
        let in_time = wait(child, patience).map_err(at(self.kernel.clone()))?;
        let said = || last_lines(&fs::read_to_string(&console).unwrap_or_default());
        if !in_time {
            return Err(GuestError::TimedOut { after: patience, said: said() });
        }
        let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
        let Ok(status) = status.trim().parse() else { return Err(GuestError::Stopped { said: said() }) };
        let output = folder.join("output");
        let bytes = fs::read(&output).map_err(at(output.clone()))?;
        Ok(Ended { status, output: String::from_utf8_lossy(&bytes).into_owned() })
    }
}

/// Where a command finds the caller's folder.
pub const SHARED: &str = "/mnt";

const MODULES: &str = "/usr/lib/uml/modules";

/// The first process under the kernel. The machine's files are read-only; what must be written is in memory. Modules that a
/// table or a device asks for are loaded by the kernel through a `modprobe` that knows where they are.
fn script(command: &[&str], folder: &Path) -> String {
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    let folder = quoted(&folder.to_string_lossy());
    format!(
        "#!/bin/sh\n\
         export PATH=/tmp/guest/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sys /sys\n\
         mount -t tmpfs tmpfs /run\n\
         mount -t tmpfs tmpfs /tmp\n\
         mkdir -p /tmp/guest/bin /tmp/guest/lib/modules\n\
         ln -s {MODULES}/$(uname -r) /tmp/guest/lib/modules/$(uname -r)\n\
         printf '#!/bin/sh\\nexec /sbin/modprobe -d /tmp/guest \"$@\"\\n' > /tmp/guest/bin/modprobe\n\
         chmod +x /tmp/guest/bin/modprobe\n\
         echo /tmp/guest/bin/modprobe > /proc/sys/kernel/modprobe\n\
         mount -t hostfs none {SHARED} -o {folder}\n\
         for module in br_netfilter ip_vs nf_conntrack_netlink; do modprobe $module; done\n\
         {} > {SHARED}/output 2>&1 < /dev/null\n\
         echo $? > {SHARED}/status\n\
         sync\n\
         echo o > /proc/sysrq-trigger\n\
         halt -f\n",
        words.join(" ")
    )
}

/// A word as a shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Waits for the end of a kernel; false where it was stopped because it took too long. Its guests are in its process group.
fn wait(mut child: Child, patience: Duration) -> io::Result<bool> {
    let until = Instant::now() + patience;
    let group = rustix::process::Pid::from_child(&child);
    let in_time = loop {
        if child.try_wait()?.is_some() {
            break true;
        }
        if Instant::now() >= until {
            break false;
        }
        std::thread::sleep(LOOK);
    };
    // Nobody is left where all went well.
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    child.wait()?;
    Ok(in_time)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(5)).copied().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_as_they_are() {
        let script = script(&["/bin/echo", "it's $(here)"], Path::new("/a b"));
        assert!(script.contains("'/bin/echo' 'it'\\''s $(here)' > /mnt/output"), "{script}");
        assert!(script.contains("-o '/a b'\n"), "{script}");
    }

    #[test]
    fn the_end_of_a_console_is_told() {
        assert_eq!(last_lines("a\n\nb\nc\nd\ne\nf\n"), "b; c; d; e; f");
    }
}
