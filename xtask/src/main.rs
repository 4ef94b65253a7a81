//! One command for every chore of kubenet: `cargo xtask help`.
//!
//! `test` is the whole of it: the table in `steps` says what is checked, `machine` gets what is missing, `run` goes through
//! the table and sums up. It builds with few dependencies, so that it starts soon in a fresh clone.

mod capabilities;
mod machine;
mod run;
mod steps;

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use machine::Machine;
use run::Wanted;

const HELP: &str = "\
cargo xtask test [--fail-fast] [STEP…]   installs what is missing, then checks everything, or the steps that are named
cargo xtask steps                        the steps of `test`
cargo xtask corpus [DIR…]                runs the cases below a folder (default tests/corpus)
cargo xtask parity random MODE SEED FLOWS | scenarios PATH | check SEED FLOWS PART… | table SEED FLOWS [PART…]
                                         compares model and kernel; `table` writes that of docs/parity.md (Linux)
cargo xtask soak --flows N [--seed S]    sends N random flows in each proxy mode through model and kernel (Linux)
cargo xtask bench [ARG…]                 runs the benches and prints their tables; ARG as for `cargo bench -p kubenet-core`
cargo xtask bench-linux [SERVICES]       the adapter beside ip, nft and iptables, and the model beside the kernel (Linux)
cargo xtask doc                          builds the documentation
cargo xtask fmt                          formats the code
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_else(|| "help".into());
    let rest: Vec<OsString> = arguments.collect();
    let machine = match Machine::here() {
        Ok(machine) => machine,
        Err(error) => return refuse(&error),
    };
    let is_good = match command.to_str() {
        Some("test") => match Wanted::parse(&rest) {
            Ok(wanted) => run::all(&machine, &wanted),
            Err(error) => return refuse(&error),
        },
        Some("steps") => {
            steps::STEPS.iter().for_each(|step| say(&format!("{:14} {}", step.name, step.about)));
            true
        }
        Some("corpus") => passed(&machine, machine.here_cargo(steps::CORPUS).args(&rest)),
        Some("parity") => passed(&machine, machine.here_cargo(steps::PARITY).args(&rest)),
        Some("soak") => {
            passed(&machine, machine.cargo(steps::PARITY.iter().copied()).arg("soak").args(&rest))
        }
        Some("bench") => passed(&machine, machine.cargo(["bench", "--package", "kubenet-core"]).args(&rest)),
        Some("bench-linux") => {
            let run =
                ["run", "--quiet", "--release", "--package", "kubenet-linux", "--example", "bench", "--"];
            passed(&machine, machine.cargo(run).args(&rest))
        }
        Some("doc") => passed(&machine, &mut machine.cargo(["doc", "--workspace", "--no-deps"])),
        Some("fmt") => passed(&machine, &mut machine.cargo(["fmt", "--all"])),
        Some("help" | "--help" | "-h") => {
            say(HELP.trim_end());
            true
        }
        _ => return refuse(&format!("no chore is called {}\n{HELP}", command.display())),
    };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passed(machine: &Machine, command: &mut std::process::Command) -> bool {
    match machine.run(command) {
        Ok(()) => true,
        Err(error) => {
            refuse(&error);
            false
        }
    }
}

/// A line on stdout. A reader that has gone away has seen enough.
fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

fn refuse(message: &str) -> ExitCode {
    let _ = writeln!(stderr(), "xtask: {message}");
    ExitCode::from(2)
}
