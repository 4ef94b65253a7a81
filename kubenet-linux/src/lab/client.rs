//! The other side of a keeper: starts it, asks it, ends it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::home::{Home, HomeError, Keeper};
use super::protocol::{Answer, Event, Request, Start, Status};

/// How long a keeper may take to end when it is asked to.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// How long it may take to do what it is asked.
const WORK: Duration = Duration::from_secs(600);

/// Why a keeper did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is one already.
    #[error("lab {0} is up already: kubenet lab down --name {0}")]
    IsUp(String),
    /// There is none.
    #[error("lab {0} is not up: kubenet lab up --name {0} -f PATH")]
    IsDown(String),
    /// It said why.
    #[error("{0}")]
    Refused(String),
    /// It ended without a word.
    #[error("the keeper of lab {name} ended; its last words are in {log}")]
    Died {
        /// The lab.
        name: String,
        /// Its log.
        log: String,
    },
    /// It cannot be reached, or understood.
    #[error("the keeper of lab {name}: {error}")]
    Io {
        /// The lab.
        name: String,
        /// What went wrong.
        error: io::Error,
    },
    /// The lab's folder.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// Starts a keeper and waits until its lab is up. `arguments` are those of this program that make it [`run`](super::keeper::run) one.
///
/// # Errors
///
/// [`ClientError`]; nothing is left behind but the log, where there is something in it.
pub fn up(
    home: &Home,
    start: &Start,
    arguments: &[String],
    progress: &mut dyn FnMut(usize, usize, &str),
) -> Result<Status, ClientError> {
    let failed = |error| ClientError::Io { name: home.name().into(), error };
    if home.keeper().is_some() {
        return Err(ClientError::IsUp(home.name().into()));
    }
    home.make()?;
    let log = File::create(home.log()).map_err(failed)?;
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    if let Some(mut stdin) = stdin {
        let text = serde_json::to_vec(start).map_err(|error| failed(error.into()))?;
        // A keeper that ended before has said why.
        let _ = stdin.write_all(&text);
    }
    let ended = follow(home, stdout, progress);
    // The process that was started is not the keeper, and ends at once.
    let _ = child.wait();
    if matches!(ended, Err(ClientError::Refused(_) | ClientError::Io { .. })) {
        home.remove()?;
    }
    ended
}

fn follow(
    home: &Home,
    stdout: Option<std::process::ChildStdout>,
    progress: &mut dyn FnMut(usize, usize, &str),
) -> Result<Status, ClientError> {
    let failed = |error| ClientError::Io { name: home.name().into(), error };
    let lines = stdout.map(|stdout| BufReader::new(stdout).lines()).into_iter().flatten();
    for line in lines {
        let event = serde_json::from_str(&line.map_err(failed)?).map_err(|error| failed(error.into()))?;
        match event {
            Event::Progress { done, of, machine } => progress(done, of, &machine),
            Event::Up(status) => return Ok(*status),
            Event::Failed(error) => return Err(ClientError::Refused(error)),
        }
    }
    Err(ClientError::Died { name: home.name().into(), log: home.log().display().to_string() })
}

/// Asks a keeper, and waits for its answer.
///
/// # Errors
///
/// [`ClientError`]; a refusal is [`ClientError::Refused`].
pub fn ask(home: &Home, request: &Request) -> Result<Answer, ClientError> {
    let failed = |error| ClientError::Io { name: home.name().into(), error };
    if home.keeper().is_none() {
        return Err(ClientError::IsDown(home.name().into()));
    }
    let mut stream = UnixStream::connect(home.control()).map_err(failed)?;
    stream.set_read_timeout(Some(WORK)).map_err(failed)?;
    let mut line = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    let answer = serde_json::from_str(&text).map_err(|error| failed(error.into()))?;
    if let Answer::Failed(error) = answer {
        return Err(ClientError::Refused(error));
    }
    Ok(answer)
}

/// Ends a lab, and waits until it is gone. What a keeper that was killed has left goes too. Whether there was anything.
///
/// # Errors
///
/// [`ClientError`].
pub fn down(home: &Home) -> Result<bool, ClientError> {
    let failed = |error| ClientError::Io { name: home.name().into(), error };
    let was_there = home.path().exists();
    if let Some(keeper) = home.keeper() {
        // A number that names another process by now is not signalled: the file descriptor holds on to the one that was looked at.
        if let Some(process) = open(&keeper).map_err(failed)? {
            // One that does not listen is ended all the same.
            let _ = ask(home, &Request::Down);
            if !has_ended(&process, &PATIENCE).map_err(failed)? {
                pidfd_send_signal(&process, Signal::KILL).map_err(|error| failed(error.into()))?;
                has_ended(&process, &PATIENCE).map_err(failed)?;
            }
        }
    }
    home.remove()?;
    Ok(was_there)
}

fn open(keeper: &Keeper) -> io::Result<Option<std::os::fd::OwnedFd>> {
    let Some(pid) = Pid::from_raw(keeper.pid) else { return Ok(None) };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(keeper.is_alive().then_some(process))
}

fn has_ended(process: &std::os::fd::OwnedFd, wait: &Timespec) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(wait))? > 0)
}
