//! The adapter against this machine's kernel, in namespaces of its own.
//!
//! Started by anyone: it runs itself again under `unshare`, as root of a user namespace, and touches nothing outside of it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use kubenet_core::assume::Assume;
use kubenet_core::network::Network;
use kubenet_core::plan::{Link, MachineId, MachinePlan, PlanSource, SegmentId, diff, remove};
use kubenet_linux::netns::{Netns, keep_mounts_private, mount_tmpfs};
use kubenet_linux::{Cable, Kernel, Netlink, Others, Wiring, tool};

const INSIDE: &str = "KUBENET_KERNEL_TEST";
const SHOP: &str = include_str!("../../examples/shop.yaml");

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_none() {
        return again();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = PathBuf::from("/run");
    keep_mounts_private().expect("private mounts");
    mount_tmpfs(&folder).expect("a tmpfs");
    let mut assume = Assume::default();
    let pick = |at: usize, or: &str| arguments.get(at).cloned().unwrap_or_else(|| or.into());
    for (key, value) in [("cni", pick(0, "bridge")), ("underlay", pick(1, "host-gw")), ("proxyMode", pick(2, "iptables"))] {
        assume.set(key, &value).expect(key);
    }
    let network = Network::from_text("shop.yaml", SHOP).with_assume(assume);
    let plans = network.plans();
    let switch = Arc::new(Netns::named(&folder.join("netns/switch")).expect("switch"));
    tool::run(&switch, "ip", &["link", "add", "sw0", "type", "bridge"], "").expect("bridge");
    let id = MachineId(pick(3, "0").parse().expect("a number"));
    let machine = plans.machine(id).expect("a machine");
    let host = Netns::named(&folder.join("netns/node")).expect("node");
    let others = Others { folder: folder.join("netns"), prefix: "pod-".into() };
    let mut kernel = Netlink::new(&*machine.name, host, others, Box::new(Switch(switch)));
    let start = Instant::now();
    let changes = diff(None, &machine);
    let done = kernel.apply(&changes);
    println!("{} changes in {:?}: {done:?}", changes.len(), start.elapsed());
    println!("{:#?}", kernel.take_warnings());
    for change in changes.iter().take(if done.is_err() { 2000 } else { 0 }) {
        println!("  {change}");
    }
    let node = Netns::open(&folder.join("netns/node")).expect("node");
    for command in ["ip -d addr", "ip route show table all", "ip -6 route", "bridge fdb", "ip neigh", "iptables-save", "nft list ruleset"] {
        let words: Vec<&str> = command.split(' ').collect();
        println!("# {command}\n{}", tool::run(&node, words[0], &words[1..], "").unwrap_or_else(|error| error.to_string()));
    }
    let again = kernel.apply(&changes);
    println!("again: {again:?}");
    println!("removed: {:?}", kernel.apply(&remove(&machine)));
    for command in ["ip -d addr", "ip route show table all", "iptables-save", "nft list ruleset"] {
        let words: Vec<&str> = command.split(' ').collect();
        println!("# {command}\n{}", tool::run(&node, words[0], &words[1..], "").unwrap_or_else(|error| error.to_string()));
    }
    ExitCode::SUCCESS
}

struct Switch(Arc<Netns>);

impl Wiring for Switch {
    fn plug(&self, _netns: &str, link: &Link, segment: SegmentId) -> Option<Cable> {
        let name = format!("s{}-{}", segment.0, link.name);
        Some(Cable { netns: self.0.clone(), name, bridge: Some("sw0".into()) })
    }
}

fn again() -> ExitCode {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount"]).arg(program).args(std::env::args_os().skip(1));
    let status = command.env(INSIDE, "1").status().expect("unshare");
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[expect(dead_code, reason = "for later")]
fn unused(_: &MachinePlan, _: &Path) {}
