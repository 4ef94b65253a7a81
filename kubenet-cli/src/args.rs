//! The command line's words.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use kubenet_core::addr::{Family, Protocol};
use kubenet_core::assume::Assume;
use kubenet_core::cluster::InputMode;
use kubenet_core::network::Table;

use crate::lab::args::LabArgs;
use crate::node::args::{ApplyArgs, ObserveArgs};

/// Answers what happens to a packet in a Kubernetes cluster, from its manifests or a snapshot of it.
#[derive(Debug, Parser)]
#[command(name = "kubenet", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit status: 0 connected or answered, 1 not, 2 bad input, 3 not known.

Try it:
  kubenet trace --example shop deploy/web deploy/cart:7070")]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Follow a packet and its answer, hop by hop
    Trace(TraceArgs),
    /// Follow packets while things change: a script of events on virtual time
    Simulate(SimulateArgs),
    /// Print a node's or pod's table as the command on it would
    Render(RenderArgs),
    /// Say how observed nodes differ from what their manifests call for
    Drift(DriftArgs),
    /// Say what was loaded, made up, detected and not understood
    Inventory(InventoryArgs),
    /// Build the cluster in network namespaces of its own, and try things in it (Linux)
    Lab(LabArgs),
    /// Write what this machine's kernel holds of its network into a folder, for --dump (Linux)
    Observe(ObserveArgs),
    /// Make a node of this machine, or of a network namespace of it, what its manifests call for (Linux)
    Apply(ApplyArgs),
    /// List the examples that are built in
    Examples,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// What is asked about.
#[derive(Debug, ClapArgs)]
pub(crate) struct InputArgs {
    /// A file or folder of manifests, dumps or assumptions; `-` is standard input
    #[arg(short = 'f', long = "file", value_name = "PATH", help_heading = "Input")]
    pub(crate) files: Vec<PathBuf>,
    /// An example that is built in (`kubenet examples` lists them)
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub(crate) example: Vec<String>,
    /// The namespace of names and objects that say none
    #[arg(short = 'n', long, value_name = "NS", default_value = "default", help_heading = "Input")]
    pub(crate) namespace: Arc<str>,
    /// Play the control plane for manifests, or take a snapshot as it is (objects with uids)
    #[arg(long, value_name = "KIND", help_heading = "Input")]
    pub(crate) input: Option<InputKind>,
    /// A node as the files in DIR show it (docs/collect.sh writes such a folder), the rest as the manifests call for
    #[arg(long, value_name = "NODE=DIR", help_heading = "Input")]
    pub(crate) dump: Vec<String>,
    /// How many nodes to make up when the input has none
    #[arg(long, value_name = "N", help_heading = "Assumptions")]
    pub(crate) nodes: Option<u32>,
    /// Who gives pods their interfaces: bridge, kindnet, flannel, or another's name
    #[arg(long, value_name = "CNI", help_heading = "Assumptions")]
    pub(crate) cni: Option<String>,
    /// How packets get from node to node: host-gw, vxlan or routed
    #[arg(long, value_name = "UNDERLAY", help_heading = "Assumptions")]
    pub(crate) underlay: Option<String>,
    /// How kube-proxy works: iptables, nftables, ipvs or userspace
    #[arg(long, value_name = "MODE", help_heading = "Assumptions")]
    pub(crate) proxy_mode: Option<String>,
    /// On which node a made-up pod or a workload's pods run
    #[arg(long, value_name = "WHAT=NODE", help_heading = "Assumptions")]
    pub(crate) place: Vec<String>,
    /// A port that nothing listens on
    #[arg(long, value_name = "POD:PORT", help_heading = "Assumptions")]
    pub(crate) closed: Vec<String>,
    /// Something that is broken, such as "link-down node-1 dev eth0"
    #[arg(long, value_name = "FAULT", help_heading = "Assumptions")]
    pub(crate) fault: Vec<String>,
    /// Any field of an Assumptions file
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Assumptions")]
    pub(crate) assume: Vec<String>,
    /// Tell notes about the input too
    #[arg(short, long, help_heading = "Output")]
    pub(crate) verbose: bool,
}

/// `--input`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum InputKind {
    /// Objects as a person writes them: what the control plane would add is made up
    Manifests,
    /// Objects as an API server hands them out: nothing is made up
    Snapshot,
}

impl InputArgs {
    /// The input mode, if it is said.
    pub(crate) fn mode(&self) -> Option<InputMode> {
        self.input.map(|kind| match kind {
            InputKind::Manifests => InputMode::Manifests,
            InputKind::Snapshot => InputMode::Snapshot,
        })
    }

    /// All assumptions of the command line. Short flags are fields of [`Assume`] too.
    pub(crate) fn assumptions(&self) -> anyhow::Result<Assume> {
        let mut assume = Assume::default();
        for text in &self.assume {
            let (key, value) = text
                .split_once('=')
                .with_context(|| format!("--assume {text}: expected KEY=VALUE, such as mtu=1400"))?;
            assume.set(key, value).with_context(|| format!("--assume {text}"))?;
        }
        let one = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
        let nodes = self.nodes.map(|nodes| nodes.to_string());
        for (flag, key, values) in [
            ("--nodes", "nodes", one(&nodes)),
            ("--cni", "cni", one(&self.cni)),
            ("--underlay", "underlay", one(&self.underlay)),
            ("--proxy-mode", "proxyMode", one(&self.proxy_mode)),
            ("--place", "place", self.place.clone()),
            ("--closed", "closed", self.closed.clone()),
            ("--fault", "faults", self.fault.clone()),
        ] {
            for value in values {
                assume.set(key, &value).with_context(|| flag.to_string())?;
            }
        }
        Ok(assume)
    }
}

/// `kubenet trace`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "SRC and DST are one of
  [NS/]KIND/NAME[:PORT]   pod/web-0   shop/deploy/cart:7070   node/node-1   svc/api:http
  NS/NAME[:PORT]          shop/cart-0:7070
  IP[:PORT]               10.244.1.5:80   [fd00::5]:80
  internet[/IP][:PORT]    internet   internet/8.8.8.8:53
  http[s]://HOST[:PORT]/  http://10.244.1.5:8080/
A workload means its first pod by name; deploy/web[*] means all of its pods.

Examples:
  kubenet trace --example shop deploy/web deploy/cart:7070
  kubenet trace --example shop --nodes 3 --underlay vxlan deploy/web deploy/cart:7070
  kubenet trace -f manifests/ -n shop pod/web-0 pod/cart-0:7070 --proto udp
  kubenet trace --example shop deploy/web deploy/cart:7070 --fault 'link-down node-2 dev eth0'
  kubectl get all,nodes -A -o yaml | kubenet trace -f - pod/a 10.244.1.5:80 -o json
  kubenet trace --example shop deploy/web deploy/cart:7070 -o pcapng > trace.pcapng

Exit status: 0 connected or answered, 1 not, 2 bad input, 3 not known.")]
pub(crate) struct TraceArgs {
    /// Where the packet starts
    #[arg(value_name = "SRC")]
    pub(crate) from: String,
    /// Where it is sent
    #[arg(value_name = "DST")]
    pub(crate) to: String,
    /// The input.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// The transport: tcp, udp, sctp or icmp (default: what the port is declared for, else tcp)
    #[arg(long, value_name = "PROTO", help_heading = "Packet")]
    pub(crate) proto: Option<Protocol>,
    /// The source port, or the identifier of an echo request
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Packet")]
    pub(crate) sport: Option<u16>,
    /// Bytes of payload; over TCP they are sent once the connection is up, at most one segment
    #[arg(long, value_name = "BYTES", default_value_t = 0, help_heading = "Packet")]
    pub(crate) payload: u16,
    /// The IP version, 4 or 6 (default: the first that both ends have)
    #[arg(long, value_name = "4|6", value_parser = parse_family, help_heading = "Packet")]
    pub(crate) family: Option<Family>,
    /// Where the kernel would be free, decide by this seed
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "explore", help_heading = "Chance")]
    pub(crate) seed: u64,
    /// Follow every way that chance can fall, each with its probability
    #[arg(long, help_heading = "Chance")]
    pub(crate) explore: bool,
    /// Decide one point; its name is told by -o json
    #[arg(long, value_name = "POINT=VALUE", conflicts_with = "explore", help_heading = "Chance")]
    pub(crate) pin: Vec<String>,
    /// The form of the answer
    #[arg(short, long, value_name = "FORM", default_value = "text", help_heading = "Output")]
    pub(crate) output: TraceOutput,
    /// Only what changes the packet or decides its fate
    #[arg(short, long, help_heading = "Output")]
    pub(crate) brief: bool,
    /// All assumptions, not only the first five
    #[arg(long, help_heading = "Output")]
    pub(crate) all_assumptions: bool,
}

/// `-o` of `kubenet trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceOutput {
    /// For people
    Text,
    /// The schema kubenet/trace/v1
    Json,
    /// A sequence diagram
    Mermaid,
    /// A capture file with one interface per device
    Pcapng,
}

fn parse_family(text: &str) -> Result<Family, String> {
    match text {
        "4" => Ok(Family::V4),
        "6" => Ok(Family::V6),
        other => Err(format!("'{other}' is not an IP version; use 4 or 6")),
    }
}

/// `kubenet simulate`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "A line of the script is
  [at TIME] trace SRC DST [OPTIONS] [as NAME]    a packet on a new connection; options as of kubenet trace
  [at TIME] send NAME [BYTES]                    one more packet on that connection
  [at TIME] delete|ready|unready|terminate pod [NS/]NAME
  [at TIME] scale KIND NAME REPLICAS
  [at TIME] drain node NAME
  [at TIME] patch KIND [NS/]NAME FIELD=VALUE     patch service web spec.internalTrafficPolicy=Local
  [at TIME] assume KEY=VALUE                     assume proxyMode=nftables
TIME is 500ms, 3s, 5m or 2h from the beginning; without it, that of the line before. # starts a comment.

Examples:
  kubenet simulate --example shop rollout.txt
  printf 'trace deploy/web svc/cart:7070 as it\nat 5s delete pod/cart-0\nat 6s send it\n' | kubenet simulate -f shop.yaml -

Exit status: 0 every packet was answered, 1 one was not, 2 bad input, 3 one is not known.")]
pub(crate) struct SimulateArgs {
    /// The script; `-` is standard input
    #[arg(value_name = "SCRIPT")]
    pub(crate) script: PathBuf,
    /// The input.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// The form of the answer
    #[arg(short, long, value_name = "FORM", default_value = "text", help_heading = "Output")]
    pub(crate) output: SimulateOutput,
    /// Every hop, not only those that change the packet or decide its fate
    #[arg(long, help_heading = "Output")]
    pub(crate) full: bool,
}

/// `-o` of `kubenet simulate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SimulateOutput {
    /// For people
    Text,
    /// The schema kubenet/simulation/v1
    Json,
}

/// `kubenet render`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  kubenet render --example shop node-1 --as ip-route
  kubenet render --example shop --underlay vxlan node-1 --as bridge-fdb
  kubenet render --example shop node-1 --as iptables-save
  kubenet render --example shop --proxy-mode nftables node-1 --as nft
  kubenet render --example shop deploy/cart --as ip-addr --json")]
pub(crate) struct RenderArgs {
    /// A node, or a pod as in a question
    #[arg(value_name = "NODE|POD")]
    pub(crate) what: String,
    /// Which table, as the command that prints it: ip-route, ip-rule, ip-addr, ip-link, ip-neigh, bridge-fdb, ss,
    /// iptables-save, ip6tables-save, nft, ipset, ipvsadm; or as kube-proxy feeds it: iptables-restore,
    /// ip6tables-restore, nft-feed
    #[arg(long = "as", value_name = "TABLE", value_parser = parse_table)]
    pub(crate) table: Table,
    /// As the command prints it with -j
    #[arg(long)]
    pub(crate) json: bool,
    /// The input.
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

fn parse_table(text: &str) -> Result<Table, String> {
    Table::named(text).ok_or_else(|| {
        let names: Vec<&str> = Table::ALL.iter().map(|(name, _)| *name).collect();
        format!("'{text}' is not a table; use one of {}", names.join(", "))
    })
}

/// `kubenet drift`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "What a node does with packets to every Service is compared, not the text of its rules: another version or
mode of kube-proxy is no difference.

Examples:
  sh docs/collect.sh node-2                                  (on the node)
  kubenet drift --dump node-2=node-2 -f manifests/
  kubectl get all,nodes,endpointslices -A -o yaml | kubenet drift --dump node-2=node-2 -f -

Exit status: 0 no drift, 1 drift, 2 bad input, 3 not known."
)]
pub(crate) struct DriftArgs {
    /// The input.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// The form of the answer
    #[arg(short, long, value_name = "FORM", default_value = "text", help_heading = "Output")]
    pub(crate) output: DriftOutput,
}

/// `-o` of `kubenet drift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DriftOutput {
    /// For people
    Text,
    /// The schema kubenet/drift/v1
    Json,
}

/// `kubenet inventory`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  kubenet inventory -f manifests/
  kubectl cluster-info dump -A --output-directory=dump && kubenet inventory -f dump
  kubenet inventory -f dump -o assumptions > assumptions.yaml")]
pub(crate) struct InventoryArgs {
    /// The input.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// The form of the answer
    #[arg(short, long, value_name = "FORM", default_value = "text", help_heading = "Output")]
    pub(crate) output: InventoryOutput,
}

/// `-o` of `kubenet inventory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InventoryOutput {
    /// For people
    Text,
    /// The schema kubenet/inventory/v1
    Json,
    /// A file that fixes every setting as it is now
    Assumptions,
}
