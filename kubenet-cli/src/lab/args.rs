//! The words of `kubenet lab`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use crate::args::InputArgs;

/// `kubenet lab`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  kubenet lab up --example shop --nodes 3
  kubenet lab exec deploy/web -- curl -s http://10.96.65.63:7070
  kubenet lab exec internet -- ping -c 1 203.0.113.1
  kubenet lab fault link-down node-2 dev eth0
  kubenet lab status
  kubenet lab verify --flows 200
  kubenet lab down

It needs root, or a system that lets users make namespaces; and the tools that kube-proxy's mode stands on (iptables, nft, ipset).
What is built lives in namespaces of its own: nothing of this machine's network is touched, and when the lab ends, however it
ends, nothing is left.")]
pub(crate) struct LabArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: LabCommand,
}

/// Which lab.
#[derive(Debug, ClapArgs)]
pub(crate) struct NameArgs {
    /// The lab's name: several can be up at once
    #[arg(long, value_name = "LAB", default_value = "lab", help_heading = "Lab")]
    pub(crate) name: String,
}

/// The subcommands of `kubenet lab`.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Build the cluster, with servers that listen in its pods
    Up(Box<UpArgs>),
    /// Run a command in a pod, on a node or on a host outside
    Exec(ExecArgs),
    /// Change the cluster while it runs
    Apply(Box<ApplyArgs>),
    /// Take objects away while it runs
    Delete(Box<DeleteArgs>),
    /// Break something, or mend it
    Fault(FaultArgs),
    /// Say what is there
    Status(StatusArgs),
    /// Send the same flows through model and kernel, and compare
    Verify(VerifyArgs),
    /// Take the lab away
    Down(DownArgs),
    /// Keeps a lab up; `up` starts it
    #[command(hide = true)]
    Keeper(KeeperArgs),
}

/// `kubenet lab up`.
#[derive(Debug, ClapArgs)]
pub(crate) struct UpArgs {
    /// Which lab.
    #[command(flatten)]
    pub(crate) lab: NameArgs,
    /// The cluster.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// A host on the internet, besides 198.51.100.10 and 2001:db8:100::10
    #[arg(long, value_name = "IP", help_heading = "Lab")]
    pub(crate) outside: Vec<IpAddr>,
    /// Use a user namespace, also as root
    #[arg(long, help_heading = "Lab")]
    pub(crate) rootless: bool,
}

/// `kubenet lab exec`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "WHERE is a pod or node as in a question (deploy/web, shop/cart-0, node-1), an address that one of them holds, gateway,
loadbalancer, internet[/IP], switch, or a namespace as `ip netns` has it (default_web-0).

Exit status: that of CMD; 125 where there is no such place, 126 and 127 as a shell has them."
)]
pub(crate) struct ExecArgs {
    /// Where
    #[arg(value_name = "WHERE")]
    pub(crate) place: String,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    pub(crate) command: Vec<String>,
    /// The namespace of names that say none
    #[arg(short = 'n', long, value_name = "NS", default_value = "default", help_heading = "Lab")]
    pub(crate) namespace: String,
    /// Which lab.
    #[command(flatten)]
    pub(crate) lab: NameArgs,
}

/// `kubenet lab apply`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ApplyArgs {
    /// Which lab.
    #[command(flatten)]
    pub(crate) lab: NameArgs,
    /// What comes or changes.
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

/// `kubenet lab delete`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DeleteArgs {
    /// A kind and a name, such as `pod web-0`
    #[arg(value_name = "KIND NAME", num_args = 2, required_unless_present_any = ["files", "example"])]
    pub(crate) object: Vec<String>,
    /// Which lab.
    #[command(flatten)]
    pub(crate) lab: NameArgs,
    /// What goes.
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

/// `kubenet lab fault`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "A fault is one of
  link-down WHERE dev LINK
  route-removed WHERE PREFIX
  route-replaced WHERE [blackhole|unreachable|prohibit] PREFIX [via ADDR] [dev LINK]
  neighbour-silent WHERE dev LINK
  mtu WHERE dev LINK BYTES
  ip-forward-off WHERE
  duplicate-address WHERE dev LINK ADDR/LEN
where WHERE is a node, gateway or NAMESPACE/POD.")]
pub(crate) struct FaultArgs {
    /// What breaks
    #[arg(value_name = "FAULT", required = true)]
    pub(crate) words: Vec<String>,
    /// Mend it
    #[arg(long)]
    pub(crate) undo: bool,
    /// Which lab.
    #[command(flatten)]
    pub(crate) lab: NameArgs,
}

/// `kubenet lab status`.
#[derive(Debug, ClapArgs)]
pub(crate) struct StatusArgs {
    /// Which lab.
    #[command(flatten)]
    pub(crate) lab: NameArgs,
    /// The form of the answer
    #[arg(short = 'o', long = "format", value_name = "FORM", default_value = "text")]
    pub(crate) format: StatusFormat,
}

/// `--format` of `kubenet lab status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFormat {
    /// For people
    Text,
    /// The schema kubenet/lab/v1
    Json,
}

/// `kubenet lab verify`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Flows are drawn from the seed: pods, nodes and hosts outside ask pods, nodes, Services by each of their addresses, and the
internet. Each goes through model and kernel; compared is every frame on every device, the rules that it meets, and what the client
lives through. Before each flow the lab forgets its connections and neighbours; what else runs in it meanwhile is in the way.

Exit status: 0 where both do the same, 1 where they differ, 2 where they could not be compared."
)]
pub(crate) struct VerifyArgs {
    /// How many flows
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Lab")]
    pub(crate) flows: usize,
    /// Another seed draws other flows
    #[arg(long, value_name = "S", default_value_t = 1, help_heading = "Lab")]
    pub(crate) seed: u64,
    /// Which lab.
    #[command(flatten)]
    pub(crate) lab: NameArgs,
}

/// `kubenet lab down`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DownArgs {
    /// Which lab.
    #[command(flatten)]
    pub(crate) lab: NameArgs,
    /// All labs of this user
    #[arg(long, conflicts_with = "name")]
    pub(crate) all: bool,
}

/// `kubenet lab keeper`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeeperArgs {
    /// The lab's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// In a user namespace
    #[arg(long)]
    pub(crate) rootless: bool,
}
