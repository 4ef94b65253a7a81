//! Reads what `-f` and `--example` name.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use kubenet_core::k8s::load::{LoadOptions, Source, wants};
use kubenet_core::network::{Dump, Network};

use crate::args::InputArgs;
use crate::diagnostics;
use crate::examples;

/// A text that was read, under the name that diagnostics use.
pub(crate) struct Text {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The network that the arguments mean. What is wrong with the input is told on standard error.
pub(crate) fn network(args: &InputArgs) -> anyhow::Result<Network> {
    Ok(network_and_texts(args)?.0)
}

/// The network, and the texts that it was loaded from.
pub(crate) fn network_and_texts(args: &InputArgs) -> anyhow::Result<(Network, Vec<Text>)> {
    let mut texts = read(args)?;
    let assume = args.assumptions()?;
    let options = LoadOptions { default_namespace: Some(args.namespace.clone()), ..LoadOptions::default() };
    let sources: Vec<Source<'_>> =
        texts.iter().map(|text| Source { name: &text.name, bytes: &text.bytes }).collect();
    let network = Network::load(&sources, &options, assume, args.mode());
    let network = if args.dump.is_empty() {
        network
    } else {
        let dumps = dumps(&args.dump)?;
        for dump in &dumps {
            let text =
                |(name, text): &(String, String)| Text { name: name.clone(), bytes: text.clone().into() };
            texts.extend(dump.files.iter().map(text));
        }
        network.observe(dumps)
    };
    diagnostics::tell(network.diagnostics(), &texts, args.verbose);
    let objects = network.objects();
    if args.dump.is_empty()
        && objects.iter().next().is_none()
        && objects.others.is_empty()
        && !network.has_errors()
    {
        let names: Vec<&str> = texts.iter().map(|text| text.name.as_str()).collect();
        bail!("no objects in {}", names.join(", "));
    }
    Ok((network, texts))
}

/// The texts that `-f` and `--example` name.
pub(crate) fn read(args: &InputArgs) -> anyhow::Result<Vec<Text>> {
    if args.files.is_empty() && args.example.is_empty() && args.dump.is_empty() {
        bail!("nothing to load: name manifests with -f PATH, or an example with --example shop");
    }
    let mut texts = Vec::new();
    for name in &args.example {
        texts.push(examples::named(name)?);
    }
    for path in &args.files {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("standard input")?;
            texts.push(Text { name: "-".into(), bytes });
        } else if path.is_dir() {
            let before = texts.len();
            read_folder(path, &mut texts)?;
            if texts.len() == before {
                bail!("{}: no YAML or JSON file in this folder", path.display());
            }
        } else {
            texts.push(read_file(path)?);
        }
    }
    Ok(texts)
}

/// The folders of `--dump NODE=DIR`, each file with its name. Files that are no text are left out.
fn dumps(args: &[String]) -> anyhow::Result<Vec<Dump>> {
    let mut dumps = Vec::new();
    for arg in args {
        let (node, folder) = arg
            .split_once('=')
            .filter(|(node, folder)| !node.is_empty() && !folder.is_empty())
            .with_context(|| format!("--dump {arg}: expected NODE=DIR, such as node-1=dumps/node-1"))?;
        let entries = fs::read_dir(folder).with_context(|| format!("--dump {arg}"))?;
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        paths.sort();
        let mut files = Vec::new();
        for path in paths.iter().filter(|path| path.is_file()) {
            let bytes = fs::read(path).with_context(|| path.display().to_string())?;
            files.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
        if files.is_empty() {
            bail!("--dump {arg}: no files in {folder}");
        }
        dumps.push(Dump { node: node.into(), folder: folder.into(), files });
    }
    Ok(dumps)
}

fn read_file(path: &Path) -> anyhow::Result<Text> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(Text { name: path.display().to_string(), bytes })
}

/// All files of a folder that may hold objects, in order of their names. Links to folders are not followed.
fn read_folder(path: &Path, texts: &mut Vec<Text>) -> anyhow::Result<()> {
    let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    let mut entries: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        let link = fs::symlink_metadata(&entry).with_context(|| entry.display().to_string())?;
        if link.is_dir() {
            read_folder(&entry, texts)?;
        } else if wants(&entry.to_string_lossy()) && entry.is_file() {
            texts.push(read_file(&entry)?);
        }
    }
    Ok(())
}
