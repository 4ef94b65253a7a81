//! The subcommands of `kubenet lab`, each a word to the lab's keeper.

use std::time::Instant;

use anyhow::{Context, bail};
use kubenet_core::assume::Fault;
use kubenet_core::cluster::Kind;
use kubenet_core::k8s::load::{LoadOptions, Source, load};
use kubenet_core::k8s::{AnyObject, Objects};
use kubenet_core::origin::{ObjectRef, Severity};
use kubenet_linux::lab::client::{self, ClientError};
use kubenet_linux::lab::home::Home;
use kubenet_linux::lab::protocol::{Answer, Drawn, Input, Request, SCHEMA, Start, Status, Text};
use kubenet_linux::lab::{enter, keeper};
use kubenet_linux::parity::report::Report;

use super::args::{
    ApplyArgs, DeleteArgs, DownArgs, ExecArgs, FaultArgs, LabArgs, LabCommand, StatusArgs, StatusFormat,
    UpArgs, VerifyArgs,
};
use super::progress::Progress;
use super::status;
use crate::args::InputArgs;
use crate::output::{Out, clean};
use crate::{BAD_INPUT, diagnostics, input, output};

/// How many flows the keeper is asked for in one request.
const FLOWS_AT_ONCE: usize = 50;
/// The exit status of `lab exec` where the command could not even be tried.
const NO_PLACE: u8 = 125;

pub(crate) fn lab(args: LabArgs, out: &mut Out) -> anyhow::Result<u8> {
    match args.command {
        LabCommand::Up(args) => up(&args, out),
        LabCommand::Exec(args) => Ok(exec(&args)),
        LabCommand::Apply(args) => apply(&args, out),
        LabCommand::Delete(args) => delete(&args, out),
        LabCommand::Fault(args) => fault(&args, out),
        LabCommand::Status(args) => show(&args, out),
        LabCommand::Verify(args) => verify(&args, out),
        LabCommand::Down(args) => down(&args, out),
        LabCommand::Keeper(args) => {
            let home = Home::at(args.folder);
            Ok(if keeper::run(&home, args.rootless) == std::process::ExitCode::SUCCESS { 0 } else { 1 })
        }
    }
}

fn up(args: &UpArgs, out: &mut Out) -> anyhow::Result<u8> {
    let home = Home::of(&args.lab.name)?;
    if home.keeper().is_some() {
        return Err(ClientError::IsUp(args.lab.name.clone()).into());
    }
    if !args.input.dump.is_empty() {
        bail!("--dump: a lab is built as the manifests call for, not as a node was seen");
    }
    let (network, texts) = input::network_and_texts(&args.input)?;
    let start = Start {
        schema: SCHEMA.into(),
        name: args.lab.name.clone(),
        input: said(&args.input, texts)?,
        outside: args.outside.clone(),
    };
    let folder = home.path().to_str().context("the lab's folder: its name is no text")?;
    let mut words = vec!["lab".into(), "keeper".into(), "--folder".into(), folder.into()];
    if args.rootless {
        words.push("--rootless".into());
    }
    let begin = Instant::now();
    let mut progress = Progress::new("namespaces");
    let status = client::up(&home, &start, &words, &mut |done, of, machine| progress.step(done, of, machine));
    progress.end();
    let status = status?;
    out.line(&format!(
        "lab {} is up: {} machines, {} pods, mode {}, in {:.1} s",
        status.name,
        status.machines.len(),
        status::pods(&status),
        status.proxy_mode,
        begin.elapsed().as_secs_f64(),
    ))?;
    status::show_gaps(&status, out)?;
    Ok(if network.has_errors() { BAD_INPUT } else { 0 })
}

/// What the keeper is to load.
fn said(args: &InputArgs, texts: Vec<input::Text>) -> anyhow::Result<Input> {
    let text =
        |text: input::Text| Text { name: text.name, text: String::from_utf8_lossy(&text.bytes).into_owned() };
    Ok(Input {
        texts: texts.into_iter().map(text).collect(),
        namespace: args.namespace.clone(),
        assume: args.assumptions()?,
        mode: args.mode(),
    })
}

fn exec(args: &ExecArgs) -> u8 {
    try_exec(args).unwrap_or_else(|error| {
        output::error(&error);
        let status = error.downcast_ref::<enter::EnterError>().map(enter::EnterError::exit_status);
        status.unwrap_or(NO_PLACE)
    })
}

fn try_exec(args: &ExecArgs) -> anyhow::Result<u8> {
    let home = Home::of(&args.lab.name)?;
    let request = Request::Find { what: args.place.clone(), namespace: args.namespace.as_str().into() };
    let Answer::Found { file, said, .. } = client::ask(&home, &request)? else {
        bail!("the keeper does not say where {} is", args.place);
    };
    for line in said {
        output::note(&line);
    }
    let keeper = home.keeper().ok_or_else(|| ClientError::IsDown(args.lab.name.clone()))?;
    let (program, arguments) = args.command.split_first().context("no command")?;
    Ok(enter::run(&keeper, &file, program, arguments)?)
}

fn apply(args: &ApplyArgs, out: &mut Out) -> anyhow::Result<u8> {
    let home = Home::of(&args.lab.name)?;
    let assume = args.input.assumptions()?;
    // Assumptions alone can be changed too.
    let is_only_assumed = args.input.files.is_empty() && args.input.example.is_empty();
    let texts = if is_only_assumed && assume != kubenet_core::assume::Assume::default() {
        Vec::new()
    } else {
        input::read(&args.input)?
    };
    objects(&args.input, &texts)?;
    let request = Request::Apply(Box::new(said(&args.input, texts)?));
    changed(client::ask(&home, &request)?, out)
}

fn delete(args: &DeleteArgs, out: &mut Out) -> anyhow::Result<u8> {
    let home = Home::of(&args.lab.name)?;
    let mut going = Vec::new();
    if let [kind, name] = args.object.as_slice() {
        going.push(object(kind, name, &args.input.namespace)?);
    }
    if !args.input.files.is_empty() || !args.input.example.is_empty() {
        let texts = input::read(&args.input)?;
        going.extend(objects(&args.input, &texts)?.iter().map(|object| reference(&object)));
    }
    changed(client::ask(&home, &Request::Delete(going))?, out)
}

/// The objects of texts. What is wrong with them is told, and nothing is done then.
fn objects(args: &InputArgs, texts: &[input::Text]) -> anyhow::Result<Objects> {
    let sources: Vec<Source<'_>> =
        texts.iter().map(|text| Source { name: &text.name, bytes: &text.bytes }).collect();
    let options = LoadOptions { default_namespace: Some(args.namespace.clone()), ..LoadOptions::default() };
    let loaded = load(&sources, &options);
    diagnostics::tell(loaded.diagnostics.iter(), texts, args.verbose);
    if loaded.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        bail!("the lab stays as it is");
    }
    Ok(loaded.objects)
}

fn reference(object: &AnyObject) -> ObjectRef {
    let metadata = object.metadata();
    if AnyObject::is_namespaced(object.kind()) == Some(false) {
        return ObjectRef::cluster(object.kind(), &metadata.name);
    }
    ObjectRef::namespaced(object.kind(), metadata.namespace.as_deref().unwrap_or("default"), &metadata.name)
}

/// An object by the words of kubectl.
fn object(word: &str, name: &str, namespace: &str) -> anyhow::Result<ObjectRef> {
    let kind = match Kind::from_word(word) {
        Some(kind) => kind.as_str(),
        None => AnyObject::KINDS
            .iter()
            .copied()
            .find(|kind| word.eq_ignore_ascii_case(kind) || word.eq_ignore_ascii_case(&format!("{kind}s")))
            .with_context(|| format!("'{word}' is no kind that is read"))?,
    };
    Ok(match (AnyObject::is_namespaced(kind), name.split_once('/')) {
        (Some(false), _) => ObjectRef::cluster(kind, name),
        (_, Some((namespace, name))) => ObjectRef::namespaced(kind, namespace, name),
        (_, None) => ObjectRef::namespaced(kind, namespace, name),
    })
}

fn fault(args: &FaultArgs, out: &mut Out) -> anyhow::Result<u8> {
    let home = Home::of(&args.lab.name)?;
    let fault: Fault = args.words.join(" ").parse()?;
    changed(client::ask(&home, &Request::Fault { fault, undo: args.undo })?, out)
}

/// Says what a change has changed.
fn changed(answer: Answer, out: &mut Out) -> anyhow::Result<u8> {
    if let Answer::Done(lines) = answer {
        for line in lines {
            out.line(&clean(&line))?;
        }
    }
    Ok(0)
}

fn show(args: &StatusArgs, out: &mut Out) -> anyhow::Result<u8> {
    let home = Home::of(&args.lab.name)?;
    let status: Status = match client::ask(&home, &Request::Status)? {
        Answer::Status(status) => *status,
        Answer::Done(_)
        | Answer::Found { .. }
        | Answer::Received(_)
        | Answer::Verified(_)
        | Answer::Failed(_) => {
            bail!("the keeper does not say how the lab is")
        }
    };
    match args.format {
        StatusFormat::Text => status::show(&status, out)?,
        StatusFormat::Json => out.json(&status)?,
    }
    Ok(0)
}

/// Asks for some flows at a time, so that others can ask the keeper in between.
fn verify(args: &VerifyArgs, out: &mut Out) -> anyhow::Result<u8> {
    let home = Home::of(&args.lab.name)?;
    let mut report = Report::default();
    let mut progress = Progress::new("flows");
    let mut skip = 0;
    while skip < args.flows {
        progress.step(skip, args.flows, "");
        let flows = FLOWS_AT_ONCE.min(args.flows - skip);
        let request = Request::Verify(Drawn { seed: args.seed, skip, flows });
        let Answer::Verified(part) = client::ask(&home, &request)? else {
            bail!("the keeper does not say what it compared");
        };
        report.join(*part);
        skip += flows;
    }
    progress.end();
    for line in report.to_string().lines() {
        out.line(&clean(line))?;
    }
    if report.total().compared == 0 {
        bail!("nothing was compared");
    }
    Ok(u8::from(!report.failures.is_empty()))
}

fn down(args: &DownArgs, out: &mut Out) -> anyhow::Result<u8> {
    let homes = if args.all { Home::all()? } else { vec![Home::of(&args.lab.name)?] };
    for home in homes {
        let word = if client::down(&home)? { "is gone" } else { "was not there" };
        out.line(&format!("lab {} {word}", home.name()))?;
    }
    Ok(0)
}
