//! The words of `kubenet observe` and `kubenet apply`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::args::InputArgs;

/// Where the node is.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlaceArgs {
    /// The node's network namespace: a name as of `ip netns`, or a path (default: the one that this runs in)
    #[arg(long, value_name = "NAME|PATH", help_heading = "Node")]
    pub(crate) netns: Option<String>,
}

/// `kubenet observe`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  kubenet observe -o dump
  kubenet observe --netns node-1 -o dumps/node-1
  kubenet trace -f manifests/ --dump node-1=dumps/node-1 deploy/web svc/cart:7070

It only reads. The folder holds what docs/collect.sh writes, and is for --dump of the other commands. Rules are shown to
root alone, or to who made the namespace; what could not be read is left out and told.")]
pub(crate) struct ObserveArgs {
    /// The folder that is written; it must not be there yet
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Where the node is.
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// `kubenet apply`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  kubenet apply -f manifests/ --node node-1 --netns node-1            what would be changed
  kubenet apply -f manifests/ --node node-1 --netns node-1 --yes      changes it
  kubenet apply -f manifests/ --node node-1 --netns node-1 --undo --yes

What kubenet makes carries a mark; what does not is neither set nor removed. The node's own cards must be there. docs/linux.md
says what is applied and how it is known again.

Exit status: 0 done, or told what would be; 1 the kernel refused; 2 bad input.")]
pub(crate) struct ApplyArgs {
    /// The input.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Which node of the cluster it is
    #[arg(long, value_name = "NODE", help_heading = "Node")]
    pub(crate) node: String,
    /// Where the node is.
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Change it; without this, the changes are only printed
    #[arg(long, help_heading = "Node")]
    pub(crate) yes: bool,
    /// Take away what is kubenet's, instead
    #[arg(long, help_heading = "Node")]
    pub(crate) undo: bool,
}
