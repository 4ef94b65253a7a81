//! The machine that the checks run on, and how it gets what it lacks.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Something that a step cannot do without.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// A program, and the Debian package that brings it.
    Program(&'static str, &'static str),
    /// A program, and how to get it by hand.
    ByHand(&'static str, &'static str),
    /// A component of the toolchain.
    Component(&'static str),
    /// The standard library of a target.
    Target(&'static str),
}

/// The repository on this machine.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// Whether `CI` is `true`: what is listed must be there.
    pub(crate) is_ci: bool,
    /// Where the command was given: what its arguments are relative to.
    from: PathBuf,
}

impl Machine {
    /// The machine that this runs on.
    ///
    /// # Errors
    ///
    /// Where the current folder is gone.
    pub(crate) fn here() -> Result<Self, String> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().unwrap_or(manifest).to_path_buf();
        let from = env::current_dir().map_err(|error| format!("the current folder: {error}"))?;
        Ok(Self { root, is_ci: env::var_os("CI").is_some_and(|ci| ci == "true"), from })
    }

    /// A cargo command in the repository.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// A cargo command where the user stands, for what takes paths.
    pub(crate) fn here_cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.cargo(arguments.iter().copied());
        command.current_dir(&self.from);
        command
    }

    /// A cargo command whose toolchain can build for a target of WebAssembly.
    ///
    /// # Errors
    ///
    /// Where the target cannot be had.
    pub(crate) fn wasm_cargo(&self, target: &str) -> Result<Command, String> {
        let words = self.target(target)?;
        let mut words = words.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or("cargo"));
        command.args(words).current_dir(&self.root);
        Ok(command)
    }

    /// Runs a command to its end, without input, and gives its exit status; `None` where a signal ended it.
    ///
    /// # Errors
    ///
    /// Where it did not start.
    pub(crate) fn status(&self, command: &mut Command) -> Result<Option<i32>, String> {
        let status = command.stdin(Stdio::null()).status();
        status.map(|status| status.code()).map_err(|error| format!("{}: {error}", line(command)))
    }

    /// Runs a command to its end, without input.
    ///
    /// # Errors
    ///
    /// How it ended, where it did not end well.
    pub(crate) fn run(&self, command: &mut Command) -> Result<(), String> {
        let status = command.stdin(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{}: {status}", line(command))),
            Err(error) => Err(format!("{}: {error}", line(command))),
        }
    }

    /// Sees that something is there, and gets it where that is possible.
    ///
    /// # Errors
    ///
    /// What is missing, and why it could not be had.
    pub(crate) fn provide(&self, need: Need) -> Result<(), String> {
        match need {
            Need::Program(program, _) | Need::ByHand(program, _) if on_path(program) => Ok(()),
            Need::Program(program, package) => apt_install(package).and_then(|()| {
                on_path(program).then_some(()).ok_or(format!("{package} has no program {program}"))
            }),
            Need::ByHand(program, how) => Err(format!("{program} is not here; {how}")),
            Need::Component(component) => self.component(component),
            Need::Target(target) => self.target(target).map(drop),
        }
    }

    fn component(&self, component: &str) -> Result<(), String> {
        let command = if component == "rustfmt" { "fmt" } else { component };
        if output(self.cargo([command, "--version"])).is_ok() {
            return Ok(());
        }
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", component]).current_dir(&self.root);
        output(rustup).map(drop)
    }

    /// The words of a cargo command that can build for a target.
    fn target(&self, target: &str) -> Result<String, String> {
        if target.starts_with("wasm32") {
            let mut script = Command::new("bash");
            script.arg(self.root.join("ci/setup-wasm-target.sh")).arg(target).current_dir(&self.root);
            return output(script);
        }
        let sysroot = output({
            let mut rustc = Command::new("rustc");
            rustc.args(["--print", "sysroot"]).current_dir(&self.root);
            rustc
        })?;
        if !Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir() {
            let mut rustup = Command::new("rustup");
            rustup.args(["target", "add", target]).current_dir(&self.root);
            output(rustup)?;
        }
        Ok("cargo".into())
    }
}

/// A command as one would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

/// What a command prints, without the blanks around it.
pub(crate) fn output(mut command: Command) -> Result<String, String> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{}: {error}", line(&command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(format!("{}: {last}", line(&command)))
}

fn on_path(program: &str) -> bool {
    let file = format!("{program}{}", env::consts::EXE_SUFFIX);
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(&file).is_file()))
}

/// Installs a Debian package, where the machine is Debian's or Ubuntu's and we are root.
fn apt_install(package: &str) -> Result<(), String> {
    if !on_path("apt-get") {
        return Err(format!("{package} is not installed, and there is no apt-get"));
    }
    let id = output({
        let mut id = Command::new("id");
        id.arg("-u");
        id
    })?;
    if id != "0" {
        return Err(format!("{package} is not installed; as root: apt-get install {package}"));
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        output(apt).map(drop)
    };
    let install = || apt(&["install", "--no-install-recommends", package]);
    // The lists may be older than the archive, or not there yet.
    install().or_else(|_| apt(&["update"]).and_then(|()| install()))
}
