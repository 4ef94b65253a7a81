//! The keeper: the process that a lab lives as long as.
//!
//! In: a [`Start`] on standard input. Out: [`Event`]s on standard output until the lab is up; then it answers at its socket. It is the first
//! process of its PID namespace, so when it ends, killed or not, the kernel ends all that is inside.

use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::time::Duration;

use kubenet_core::assume::{Assume, PodState};
use kubenet_core::k8s::load::load;
use kubenet_core::k8s::{ObjectChange, Objects};
use kubenet_core::network::Network;
use kubenet_core::origin::{ObjectRef, Severity};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, setrlimit, setsid, waitpid};

use super::home::{Home, Keeper};
use super::isolate::{self, IsolateError};
use super::protocol::{Answer, Event, Input, Request, SCHEMA, ServiceStatus, Start, Status};
use super::{Lab, Options, find, verify};

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the largest request.
const LARGEST: u64 = 256 << 20;

/// Why a keeper does not start.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Isolate(#[from] IsolateError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("what the lab is to be could not be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Lab(#[from] super::LabError),
    #[error("the keeper speaks {SCHEMA}, and was told of {0}")]
    Schema(String),
}

/// Runs a keeper for the lab with this folder. Called by a hidden subcommand, first in `main`.
///
/// The process that is called first makes the namespaces, starts the program inside them with the same arguments, and ends.
pub fn run(home: &Home, rootless: bool) -> ExitCode {
    let kept = if isolate::is_inside() { keep(home, rootless) } else { leave(rootless) };
    match kept {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            tell(&Event::Failed(stop.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Starts the keeper inside.
fn leave(rootless: bool) -> Result<(), Stop> {
    // It is nobody's child in the end: whoever started this process does not wait for it.
    isolate::spawn(&mut isolate::again(), rootless)?;
    Ok(())
}

fn keep(home: &Home, rootless: bool) -> Result<(), Stop> {
    // The folder may be below /run, which is another one soon: what is needed of it is opened now.
    let keeper = Keeper::here()?;
    let listener = UnixListener::bind(home.control())?;
    home.set_keeper(&keeper)?;
    // Without a terminal, nobody's Ctrl-C ends it. A process that leads a group already stays where it is.
    let _ = setsid();
    isolate::furnish()?;
    allow_many_files();
    let mut text = Vec::new();
    io::stdin().lock().take(LARGEST).read_to_end(&mut text)?;
    let start: Start = serde_json::from_slice(&text)?;
    if start.schema != SCHEMA {
        return Err(Stop::Schema(start.schema));
    }
    let network = start.input.network();
    let options = Options { outside: start.outside, ..Options::default() };
    let lab = Lab::up_with(&network, &options, &mut |progress| {
        let (done, of, machine) = (progress.done, progress.of, progress.machine.into());
        tell(&Event::Progress { done, of, machine });
    })?;
    let is_rootless = rootless || has_own_users();
    let mut kept = Kept { name: start.name, pid: keeper.pid, is_rootless, network, lab };
    tell(&Event::Up(Box::new(kept.status())));
    kept.serve(&listener)
}

/// Whether the process is in a user namespace that is not the first.
fn has_own_users() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}

/// Each connection is a file; the kernel's limit for a process is larger than what it mostly begins with.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // With fewer it works as well.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn tell(event: &Event) {
    let mut stdout = io::stdout().lock();
    // Who started it may have gone away; the lab does not depend on it.
    let _ = write_line(&mut stdout, event);
}

fn write_line<T: serde::Serialize>(out: &mut impl Write, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// A lab that is up.
struct Kept {
    name: String,
    pid: i32,
    is_rootless: bool,
    network: Network,
    lab: Lab,
}

impl Kept {
    fn serve(&mut self, listener: &UnixListener) -> Result<(), Stop> {
        let mut orphan = None;
        loop {
            let mut waits = [PollFd::new(listener, PollFlags::IN)];
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            let ready = poll(&mut waits, Some(&second)).or_else(|error| match error {
                rustix::io::Errno::INTR => Ok(0),
                error => Err(io::Error::from(error)),
            })?;
            orphan = reap(orphan);
            if ready == 0 {
                continue;
            }
            let Ok((stream, _)) = listener.accept() else { continue };
            // A client that breaks off concerns nobody else.
            if let Ok(Ended::Down) = self.serve_one(stream) {
                return Ok(());
            }
        }
    }

    fn serve_one(&mut self, mut stream: UnixStream) -> io::Result<Ended> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = Vec::new();
        BufReader::new(&stream).take(LARGEST).read_until(b'\n', &mut line)?;
        let (answer, ended) = match serde_json::from_slice(&line) {
            Ok(Request::Down) => (Answer::Done(Vec::new()), Ended::Down),
            Ok(request) => (self.answer(request), Ended::Answered),
            Err(error) => (Answer::Failed(format!("the request cannot be read: {error}")), Ended::Answered),
        };
        write_line(&mut stream, &answer)?;
        Ok(ended)
    }

    fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Status => Answer::Status(Box::new(self.status())),
            Request::Find { what, namespace } => {
                match find::find(&self.network, &self.lab, &what, &namespace) {
                    Ok(found) => Answer::Found { file: found.file, words: found.words, said: found.said },
                    Err(error) => Answer::Failed(error),
                }
            }
            Request::Apply(input) => self.apply(&input),
            Request::Delete(objects) => self.delete(&objects),
            Request::Fault { fault, undo } => {
                let mut assume = self.network.assume().clone();
                let before = assume.faults.len();
                assume.faults.retain(|other| *other != fault);
                match (undo, assume.faults.len() == before) {
                    (true, true) => return Answer::Failed(format!("there is no fault '{fault}'")),
                    (true, false) => {}
                    (false, _) => assume.faults.push(fault),
                }
                self.assume(assume)
            }
            Request::Received { since } => Answer::Received(self.lab.received_since(since)),
            Request::Verify(drawn) => match verify::verify(&self.network, &self.lab, drawn) {
                Ok(report) => Answer::Verified(Box::new(report)),
                Err(error) => Answer::Failed(error),
            },
            Request::Down => Answer::Done(Vec::new()),
        }
    }

    fn apply(&mut self, input: &Input) -> Answer {
        let loaded = load(&input.sources(), &input.options());
        if let Some(error) = loaded.diagnostics.iter().find(|one| one.severity == Severity::Error) {
            return Answer::Failed(error.message.clone());
        }
        let changes: Vec<ObjectChange> = loaded.objects.iter().map(ObjectChange::Put).collect();
        let mut network = self.network.with(&changes);
        let said = input.assume.clone().over(loaded.assume.unwrap_or_default());
        if said != Assume::default() {
            network = network.with_assume(said.over(network.assume().clone()));
        }
        self.change(network)
    }

    /// Objects go; a pod that is made up for a workload is gone like one that was deleted.
    fn delete(&mut self, objects: &[ObjectRef]) -> Answer {
        let mut assume = self.network.assume().clone();
        let mut changes = Vec::new();
        let mut probe: Objects = (**self.network.objects()).clone();
        for object in objects {
            let namespace = object.namespace.as_deref().unwrap_or("default");
            if let Some(found) = probe.delete(object) {
                // One that is named twice is there both times.
                probe.put(found);
                changes.push(ObjectChange::Delete(object.clone()));
            } else if object.kind == "Pod"
                && self.network.cluster().pod_named(namespace, &object.name).is_some()
            {
                assume.pods.insert(format!("{namespace}/{}", object.name), PodState::Gone);
            } else {
                return Answer::Failed(format!("{object}: there is no such object"));
            }
        }
        self.change(self.network.with(&changes).with_assume(assume))
    }

    fn assume(&mut self, assume: Assume) -> Answer {
        self.change(self.network.with_assume(assume))
    }

    /// Brings the lab to another network. What could not be done is tried again with the next change.
    fn change(&mut self, network: Network) -> Answer {
        let before = names(&self.network);
        let changed = self.lab.change(&network);
        if let Err(error) = &changed
            && error.is_refusal()
        {
            return Answer::Failed(error.to_string());
        }
        let after = names(&network);
        self.network = network;
        if let Err(error) = changed {
            return Answer::Failed(error.to_string());
        }
        let gone = before.iter().filter(|name| !after.contains(name)).map(|name| format!("- {name}"));
        let new = after.iter().filter(|name| !before.contains(name)).map(|name| format!("+ {name}"));
        Answer::Done(gone.chain(new).collect())
    }

    fn status(&self) -> Status {
        Status {
            schema: SCHEMA.into(),
            name: self.name.clone(),
            pid: self.pid,
            is_rootless: self.is_rootless,
            proxy_mode: self.network.cluster().settings.proxy_mode.value.to_string(),
            machines: self.lab.machines(),
            services: self.network.cluster().services.iter().map(|it| ServiceStatus::of(it)).collect(),
            faults: self.network.assume().faults.clone(),
            gaps: self.lab.gaps(),
        }
    }
}

enum Ended {
    Answered,
    Down,
}

/// What a network is made of, in words.
fn names(network: &Network) -> Vec<String> {
    let cluster = network.cluster();
    let nodes = cluster.nodes.iter().map(|node| format!("node {}", node.name));
    let pods = cluster.pods.iter().map(|pod| format!("pod {}/{}", pod.namespace, pod.name));
    let services = cluster.services.iter().map(|it| format!("service {}/{}", it.namespace, it.name));
    nodes.chain(pods).chain(services).collect()
}

/// Waits for a process that somebody inside has left behind: the first process inherits those. Its own children are waited for at
/// once, so one that is there twice in a row is no child.
fn reap(before: Option<i32>) -> Option<i32> {
    let processes = std::fs::read_dir("/proc").ok()?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let found = pids.into_iter().find(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with("Z 1 "))
    })?;
    if before != Some(found) {
        return Some(found);
    }
    let _ = waitpid(Pid::from_raw(found), WaitOptions::NOHANG);
    None
}
