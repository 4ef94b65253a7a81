//! `kubenet observe`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context;
use kubenet_linux::{Netlink, NoWiring, Others};

use super::args::ObserveArgs;
use super::place;
use crate::output::{self, Out, clean};

pub(crate) fn observe(args: &ObserveArgs, out: &mut Out) -> anyhow::Result<u8> {
    let (netns, name) = place::of(&args.place)?;
    let node = match name {
        Some(name) => name,
        None => {
            std::fs::read_to_string("/proc/sys/kernel/hostname").context("the host's name")?.trim().into()
        }
    };
    let others = Others::of_node(&node);
    let dump = match Netlink::new(&*node, netns, others, Box::new(NoWiring)).dump() {
        Ok(dump) => dump,
        Err(error) => {
            output::error(&error.into());
            return Ok(1);
        }
    };
    write(&args.output, &dump.files).map_err(|error| {
        let why = if error.kind() == ErrorKind::AlreadyExists {
            "it is there already; a dump gets a folder of its own".into()
        } else {
            error.to_string()
        };
        anyhow::anyhow!("{}: {why}", args.output.display())
    })?;
    for (file, why) in &dump.left_out {
        output::note(&format!("{file} is left out: {why}"));
    }
    let folder = args.output.display();
    out.line(&clean(&format!("written to {folder}, for kubenet: --dump {node}={folder}")))?;
    Ok(0)
}

/// Addresses of pods and connections of their users are nobody else's business.
fn write(folder: &Path, files: &[(&'static str, String)]) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)?;
    for (name, text) in files {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(name))?;
        file.write_all(text.as_bytes())?;
    }
    Ok(())
}
