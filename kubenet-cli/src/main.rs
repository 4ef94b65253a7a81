//! `kubenet`: asks a Kubernetes cluster's network about packets.
//!
//! In: manifests, snapshots, assumptions. Out: traces, tables, an inventory; diagnostics on standard error. Exit status: 0 as
//! hoped, 1 not, 2 bad input, 3 not known.

mod args;
mod diagnostics;
mod drift;
mod examples;
mod input;
mod inventory;
mod lab;
mod node;
mod output;
mod render;
mod simulate;
mod trace;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Args, Command};
use crate::output::Out;

/// The exit status of a command whose input is bad.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = Out::new();
    let status = match args.command {
        Command::Trace(args) => trace::trace(&args, &mut out),
        Command::Simulate(args) => simulate::simulate(&args, &mut out),
        Command::Render(args) => render::render(&args, &mut out),
        Command::Drift(args) => drift::drift(&args, &mut out),
        Command::Inventory(args) => inventory::inventory(&args, &mut out),
        Command::Lab(args) => lab::lab(args, &mut out),
        Command::Observe(args) => node::observe(&args, &mut out),
        Command::Apply(args) => node::apply(&args, &mut out),
        Command::Examples => examples::list(&mut out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "kubenet", &mut script);
            out.bytes(&script).map(|()| 0)
        }
        Command::Man => man(&mut out),
    };
    match status {
        Ok(status) => ExitCode::from(status),
        // The reader went away, as `head` does.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// The manual page, subcommands included, in roff.
fn man(out: &mut Out) -> anyhow::Result<u8> {
    let mut command = Args::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        clap_mangen::Man::new(sub.clone()).render(&mut page)?;
    }
    out.bytes(&page)?;
    Ok(0)
}
