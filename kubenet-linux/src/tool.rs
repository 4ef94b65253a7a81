//! The tools of the machine (`nft`, `iptables-nft-restore`, `ipset`, `ipvsadm`, `conntrack`), run in a namespace.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::netns::Netns;

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// It is not on this machine.
    #[error("{program} is not installed")]
    Missing {
        /// Its name.
        program: String,
    },
    /// It could not be started, fed or read.
    #[error("{line}: {error}")]
    Io {
        /// The command.
        line: String,
        /// What went wrong.
        error: io::Error,
    },
    /// It said no.
    #[error("{line}: {said}")]
    Failed {
        /// The command.
        line: String,
        /// What it wrote to its standard error, or how it ended.
        said: String,
    },
}

/// Runs a tool in a namespace, feeds it a text and gives what it prints.
///
/// # Errors
///
/// [`ToolError`], for each way not to come to a good end.
pub fn run(netns: &Netns, program: &str, arguments: &[&str], input: &str) -> Result<String, ToolError> {
    let line = || {
        let words = std::iter::once(program).chain(arguments.iter().copied());
        words.collect::<Vec<_>>().join(" ")
    };
    let failed = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            return ToolError::Missing { program: program.into() };
        }
        ToolError::Io { line: line(), error }
    };
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    // The child is in the namespace of the thread that starts it.
    let output = netns.run(|| fed(&mut command, input)).map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(ToolError::Failed { line: line(), said })
}

/// Whether a tool is on this machine.
pub fn is_installed(program: &str) -> bool {
    find(program).is_some()
}

/// The file of a tool, where it is on this machine.
pub fn find(program: &str) -> Option<PathBuf> {
    find_in(&path(), program)
}

/// The file of a program on a search path.
pub(crate) fn find_in(path: &OsStr, program: &str) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn fed(command: &mut Command, input: &str) -> io::Result<Output> {
    let mut child = command.process_group(0).spawn()?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        let feeding = stdin.map(|mut stdin| scope.spawn(move || stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output()?;
        match feeding.map(std::thread::ScopedJoinHandle::join) {
            // A tool that says no may close its input early; what it said is the better message.
            Some(Ok(Err(error))) if output.status.success() => Err(error),
            _ => Ok(output),
        }
    })
}

/// The search path with the folders of administrators' tools, which users often lack.
pub(crate) fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin:/usr/local/sbin");
    path
}
