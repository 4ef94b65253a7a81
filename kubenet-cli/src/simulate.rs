//! `kubenet simulate`.

use std::fs;
use std::io::Read;

use anyhow::Context;
use kubenet_core::network::{Outcome, Simulation};
use kubenet_core::scenario::describe_simulation;
use kubenet_core::trace::Detail;

use crate::args::{SimulateArgs, SimulateOutput};
use crate::output::{Out, clean};
use crate::{BAD_INPUT, input};

pub(crate) fn simulate(args: &SimulateArgs, out: &mut Out) -> anyhow::Result<u8> {
    let name = args.script.display().to_string();
    let script = if args.script.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        text
    } else {
        fs::read_to_string(&args.script).with_context(|| name.clone())?
    };
    let network = input::network(&args.input)?;
    let simulation = network.simulate(&script, &args.input.namespace).with_context(|| name)?;
    match args.output {
        SimulateOutput::Text => {
            let detail = if args.full { Detail::Full } else { Detail::Changes };
            for line in describe_simulation(&simulation, detail).lines() {
                out.line(&clean(line))?;
            }
        }
        SimulateOutput::Json => out.json(&simulation)?,
    }
    Ok(if network.has_errors() { BAD_INPUT } else { status(&simulation) })
}

/// The worst of what came: a line that could not be done, a packet without an answer, one whose fate is not known.
fn status(simulation: &Simulation) -> u8 {
    let of = |outcome: &Outcome| match outcome {
        Outcome::Changed(_) | Outcome::Shown(_) => 0,
        Outcome::Trace(trace) => trace.exit_status(),
        Outcome::Refused(_) => BAD_INPUT,
    };
    let all = || simulation.steps.iter().map(|step| of(&step.result));
    match () {
        () if all().any(|status| status == BAD_INPUT) => BAD_INPUT,
        () if all().any(|status| status == 1) => 1,
        () => all().max().unwrap_or(0),
    }
}
