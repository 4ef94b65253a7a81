//! The network namespace that a node is in.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kubenet_linux::netns::{FOLDER, Netns};

use super::args::PlaceArgs;

/// The namespace, and what it is called where that is known.
pub(super) fn of(args: &PlaceArgs) -> anyhow::Result<(Netns, Option<String>)> {
    let Some(word) = &args.netns else {
        return Ok((Netns::current().context("this network namespace")?, None));
    };
    let path = if word.contains('/') { PathBuf::from(word) } else { Path::new(FOLDER).join(word) };
    let said = || format!("--netns {word}");
    let netns = Netns::open(&path).with_context(said)?;
    if !netns.is_one().with_context(said)? {
        anyhow::bail!("--netns {word}: {} is no namespace", path.display());
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok((netns, name))
}
