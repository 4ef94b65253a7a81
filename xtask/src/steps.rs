//! The steps of `cargo xtask test`: one row each. A new check is a row and, at most, a function.

use std::path::PathBuf;
use std::process::Command;

use crate::machine::{Machine, Need, output};

/// One check.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its name, for the command line and `ci/capabilities.toml`.
    pub(crate) name: &'static str,
    /// What holds when it passes.
    pub(crate) about: &'static str,
    /// What it cannot do without.
    pub(crate) needs: &'static [Need],
    /// The check.
    pub(crate) run: fn(&Machine) -> Result<(), Stop>,
}

/// Why a step did not pass.
#[derive(Debug)]
pub(crate) enum Stop {
    /// What it looks at is wrong.
    Failed(String),
    /// It could not look: something is not on this machine, or not in the repository yet.
    Missing(String),
}

/// A bare error of a command is a failure of what it looks at.
impl From<String> for Stop {
    fn from(error: String) -> Self {
        Self::Failed(error)
    }
}

const NO_STD: &str = "wasm32v1-none";
const BROWSER: &str = "wasm32-unknown-unknown";

/// The arguments of cargo that run the corpus.
pub(crate) const CORPUS: &[&str] =
    &["run", "--quiet", "--package", "kubenet-tests", "--example", "corpus", "--"];

/// The arguments of cargo that run the comparison of model and kernel.
pub(crate) const PARITY: &[&str] =
    &["run", "--quiet", "--package", "kubenet-linux", "--example", "parity", "--"];

/// Every step, the quick ones first.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "the code is formatted",
        needs: &[Need::Component("rustfmt")],
        run: |machine| cargo(machine, &["fmt", "--all", "--check"]),
    },
    Step {
        name: "clippy",
        about: "no lint speaks up; benches and examples compile",
        needs: &[Need::Component("clippy")],
        run: |machine| {
            cargo(machine, &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
            let core =
                ["clippy", "--package", "kubenet-core", "--no-default-features", "--", "--deny", "warnings"];
            cargo(machine, &core)
        },
    },
    Step {
        name: "test",
        about: "the tests pass",
        needs: &[Need::Program("git", "git")],
        run: |machine| cargo(machine, &["test", "--workspace", "--no-fail-fast"]),
    },
    Step {
        name: "corpus",
        about: "the library says what the facts say",
        needs: &[],
        run: |machine| cargo(machine, CORPUS),
    },
    Step {
        name: "rules",
        about: "iptables, nft and ipset load what is rendered, and then print what is said that they print",
        needs: &[
            Need::Program("iptables-nft-save", "iptables"),
            Need::Program("nft", "nftables"),
            Need::Program("ipset", "ipset"),
            Need::Program("unshare", "util-linux"),
        ],
        run: rules,
    },
    Step {
        name: "lab",
        about: "a cluster in namespaces answers, changes, breaks and goes as it is told, with root's rights and without",
        needs: &[
            Need::Program("iptables-nft-save", "iptables"),
            Need::Program("nft", "nftables"),
            Need::Program("ip", "iproute2"),
            Need::Program("unshare", "util-linux"),
            Need::Program("curl", "curl"),
            Need::Program("bash", "bash"),
        ],
        run: lab,
    },
    Step {
        name: "kernel",
        about: "a node of the kernel is observed, becomes its plan, survives stops, and loses nothing that is not ours",
        needs: &[
            Need::Program("iptables-nft-save", "iptables"),
            Need::Program("nft", "nftables"),
            Need::Program("ipset", "ipset"),
            Need::Program("conntrack", "conntrack"),
            Need::Program("ip", "iproute2"),
            Need::Program("unshare", "util-linux"),
        ],
        run: kernel,
    },
    Step {
        name: "parity",
        about: "model and kernel do the same with the same packets, in every scenario and with random ones in each proxy mode",
        needs: &[
            Need::Program("iptables-nft-save", "iptables"),
            Need::Program("nft", "nftables"),
            Need::Program("ip", "iproute2"),
            Need::Program("unshare", "util-linux"),
        ],
        run: |machine| {
            alone(LAB)?;
            parity(machine, &["iptables", "nftables", "userspace", "scenarios"])
        },
    },
    Step {
        name: "parity-ipvs",
        about: "likewise in mode ipvs, under a user-mode kernel that has it",
        needs: &[
            Need::Program("linux.uml", "user-mode-linux"),
            Need::Program("modprobe", "kmod"),
            Need::Program("ipvsadm", "ipvsadm"),
            Need::Program("ipset", "ipset"),
            Need::Program("iptables-nft-save", "iptables"),
            Need::Program("ip", "iproute2"),
        ],
        run: |machine| parity(machine, &["ipvs"]),
    },
    Step { name: "examples", about: "the library's examples run to their end", needs: &[], run: examples },
    Step {
        name: "doc",
        about: "the documentation builds without a warning",
        needs: &[],
        run: |machine| {
            let mut doc = machine.cargo(["doc", "--workspace", "--no-deps"]);
            Ok(machine.run(doc.env("RUSTDOCFLAGS", "--deny warnings"))?)
        },
    },
    Step {
        name: "no-std",
        about: "the model needs no operating system: it can do no I/O and read no clock",
        needs: &[Need::Target(NO_STD)],
        run: |machine| {
            let build = ["build", "--package", "kubenet-core", "--no-default-features", "--target", NO_STD];
            Ok(machine.run(machine.wasm_cargo(NO_STD)?.args(build))?)
        },
    },
    Step {
        name: "wasm",
        about: "built for the browser, the model imports nothing and answers as it does natively",
        needs: &[Need::Target(BROWSER)],
        run: wasm,
    },
    Step {
        name: "package",
        about: "the library can be packaged",
        needs: &[],
        run: |machine| {
            cargo(machine, &["package", "--package", "kubenet-core", "--no-verify", "--allow-dirty"])
        },
    },
    Step {
        name: "windows",
        about: "what is not Linux's compiles for Windows",
        needs: &[Need::Target("x86_64-pc-windows-gnu")],
        run: |machine| cargo(machine, &["check", "--target", "x86_64-pc-windows-gnu"]),
    },
    Step {
        name: "macos",
        about: "what is not Linux's compiles for macOS",
        needs: &[Need::Target("aarch64-apple-darwin")],
        run: |machine| cargo(machine, &["check", "--target", "aarch64-apple-darwin"]),
    },
    Step {
        name: "deny",
        about: "the dependencies are as deny.toml allows",
        needs: &[Need::ByHand("cargo-deny", "cargo install --locked cargo-deny takes some minutes")],
        run: |machine| cargo(machine, &["deny", "--offline", "check", "licenses", "bans", "sources"]),
    },
];

fn cargo(machine: &Machine, arguments: &[&str]) -> Result<(), Stop> {
    Ok(machine.run(&mut machine.cargo(arguments.iter().copied()))?)
}

/// A kernel without namespaces for users, or without what the tools talk to, is a gap of the machine.
fn rules(machine: &Machine) -> Result<(), Stop> {
    alone("iptables-nft-save && nft list ruleset && ipset save")?;
    cargo(machine, &["run", "--quiet", "--package", "kubenet-tests", "--example", "rules"])
}

/// What a lab does first, as words of a shell.
const LAB: &str = "iptables-nft-save && nft list ruleset && ip link add br0 type bridge && ip link add veth0 type veth peer name veth1";

/// The lab of the library and that of the command, each as root and as a user where we are root.
fn lab(machine: &Machine) -> Result<(), Stop> {
    alone(LAB)?;
    let example = ["run", "--quiet", "--package", "kubenet-linux", "--example", "lab", "--", "--rootless"];
    cargo(machine, &example)?;
    cargo(
        machine,
        &["test", "--package", "kubenet-cli", "--test", "lab", "--", "--ignored", "--test-threads=1"],
    )
}

/// The adapter against this machine's kernel, as an ordinary user may do it, and the commands that stand on it.
fn kernel(machine: &Machine) -> Result<(), Stop> {
    alone(
        "iptables-nft-save && nft list ruleset && ipset save && conntrack -L && ip link add br0 type bridge && \
         ip link add veth0 type veth peer name veth1 && ip link add vxlan0 type vxlan id 1 dstport 4789",
    )?;
    let example = ["run", "--quiet", "--package", "kubenet-linux", "--example", "kernel", "--", "--rootless"];
    cargo(machine, &example)?;
    cargo(machine, &["test", "--package", "kubenet-cli", "--test", "node", "--", "--ignored"])
}

/// Parts of the comparison. A kernel of its own that does not start is a gap of the machine.
fn parity(machine: &Machine, parts: &[&str]) -> Result<(), Stop> {
    /// What the example ends with where the machine lacks what it needs.
    const LACKING: i32 = 4;
    let mut run = machine.cargo(PARITY.iter().copied());
    match machine.status(run.args(["check", "1", "500"]).args(parts))? {
        Some(0) => Ok(()),
        Some(LACKING) => Err(Stop::Missing(format!("{} could not be compared", parts.join(", ")))),
        _ => Err(Stop::Failed("model and kernel differ, or were not compared".into())),
    }
}

/// Whether a user's own namespaces can do what the words of a shell say.
fn alone(probe: &str) -> Result<(), Stop> {
    let mut alone = Command::new("unshare");
    alone.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", probe]);
    output(alone).map(drop).map_err(Stop::Missing)
}

fn examples(machine: &Machine) -> Result<(), Stop> {
    let names =
        example_names(machine).map_err(|error| Stop::Missing(format!("kubenet-core/examples: {error}")))?;
    if names.is_empty() {
        return Err(Stop::Missing("kubenet-core/examples is empty".into()));
    }
    names.iter().try_for_each(|name| {
        cargo(machine, &["run", "--quiet", "--package", "kubenet-core", "--example", name])
    })
}

fn example_names(machine: &Machine) -> std::io::Result<Vec<String>> {
    let mut paths: Vec<PathBuf> = machine
        .root
        .join("kubenet-core/examples")
        .read_dir()?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    paths.sort();
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let name = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Ok(paths.into_iter().filter(is_rust).filter_map(name).collect())
}

fn wasm(machine: &Machine) -> Result<(), Stop> {
    // A folder of its own, so that the place of the module is known whatever the configuration says.
    let target = machine.root.join("target/wasm-probe");
    let mut build = machine.wasm_cargo(BROWSER)?;
    build.args(["build", "--package", "kubenet-wasm-probe", "--lib", "--target", BROWSER, "--target-dir"]);
    machine.run(build.arg(&target))?;
    let mut check =
        machine.cargo(["run", "--quiet", "--package", "kubenet-wasm-probe", "--example", "check", "--"]);
    let module = target.join(BROWSER).join("debug/kubenet_wasm_probe.wasm");
    Ok(machine.run(check.arg(module))?)
}
