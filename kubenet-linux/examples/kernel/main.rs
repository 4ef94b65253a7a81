//! The adapter against this machine's kernel: whole machines, stops at every step, what others have made, an agent, a dump.
//!
//! Runs in namespaces of its own, which end with it, as root or as an ordinary user (also as root with `--rootless`). Other words on the
//! command line choose the checks whose names hold one of them.

#[path = "bodies.rs"]
mod bodies;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use self::bodies::Named;
use kubenet_core::network::{Dump, Network, Question};
use kubenet_core::plan::{Link, SegmentId};
use kubenet_linux::lab::{self, Lab, Options};
use kubenet_linux::netns::Netns;
use kubenet_linux::{
    Cable, Kernel as _, Netlink, NoWiring, Observe as _, Others, Wiring, difference, tool, undo,
};

/// A kernel of its own is compared in mode ipvs elsewhere: that of most machines has none.
const PROXIES: [&str; 3] = ["iptables", "nftables", "userspace"];

type Check = (&'static str, fn());

const CHECKS: &[Check] = &[
    ("a machine becomes its plan, stays so, and is cleaned up", all_machines),
    ("one plan becomes any other", every_other),
    ("a machine that stops at any step goes on, or is cleaned up", stopped_anywhere),
    ("what others have made stays as it is", others_things),
    ("an agent keeps a machine as its plan says", kept),
    ("a dump of a node gives the answers that the manifests give", dumped),
];

fn main() -> Result<(), Box<dyn Error>> {
    lab::isolate(std::env::args().any(|word| word == "--rootless"))?;
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--rootless").collect();
    let mut out = std::io::stdout();
    let mut failed = 0;
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(&**word));
    for (name, check) in CHECKS.iter().filter(|(name, _)| wanted(name)) {
        let start = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(check)).is_ok();
        let word = if done { "ok" } else { "FAILED" };
        writeln!(out, "{word}: {name} ({:.1} s)", start.elapsed().as_secs_f64())?;
        failed += usize::from(!done);
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} checks failed").into()) }
}

/// Every NIC ends at a bridge of its segment in one namespace.
struct Switch {
    netns: Arc<Netns>,
    /// Which cable a NIC has.
    cables: Mutex<BTreeMap<(String, String), usize>>,
}

impl Wiring for Switch {
    fn plug(&self, netns: &str, link: &Link, segment: SegmentId) -> Option<Cable> {
        let mut cables = self.cables.lock().unwrap_or_else(PoisonError::into_inner);
        let next = cables.len();
        let number = *cables.entry((netns.into(), link.name.to_string())).or_insert(next);
        Some(Cable {
            netns: self.netns.clone(),
            name: format!("p{number}"),
            bridge: Some(format!("sw{}", segment.0)),
        })
    }
}

/// A machine of the kernel, and its own namespace.
fn machine(name: &str) -> (Netlink, Arc<Netns>) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = Options::default().folder;
    let switch = Arc::new(Netns::unnamed().expect("a namespace"));
    for segment in 0..3 {
        run(&switch, &format!("ip link add sw{segment} type bridge"));
    }
    let path = folder.join(format!("host-{number}"));
    let host = Netns::named(&path).expect("a namespace");
    let others = Others { folder, prefix: format!("{number}-") };
    let wiring = Switch { netns: switch, cables: Mutex::default() };
    let kernel = Netlink::new(name, host, others, Box::new(wiring));
    (kernel, Arc::new(Netns::open(&path).expect("the namespace")))
}

/// Runs a line of words.
fn run(netns: &Netns, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    tool::run(netns, words[0], &words[1..], "").unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn all_machines() {
    for plan in bodies::plans(&PROXIES) {
        bodies::becomes_its_plan(&mut machine(&plan.1.name).0, &plan);
    }
}

fn every_other() {
    bodies::becomes_others(&mut machine("node-1").0, &bodies::plans(&PROXIES));
}

fn stopped_anywhere() {
    // Many at a time: the kernel lets most of the time go by.
    const THREADS: usize = 8;
    std::thread::scope(|scope| {
        let turns: [_; THREADS] = std::array::from_fn(|turn| {
            scope.spawn(move || {
                bodies::stops_anywhere(machine("node-1").0, &|step| step / 2 % THREADS == turn);
            })
        });
        let done = turns.map(std::thread::ScopedJoinHandle::join);
        assert!(done.iter().all(Result::is_ok));
    });
}

fn kept() {
    bodies::is_kept(machine("node-1").0);
}

/// What somebody else has in a namespace, in the words of the tools that show it.
fn shown(netns: &Netns) -> String {
    let mut out = String::new();
    for command in [
        "ip -d link show dev foreign0",
        "ip addr show dev foreign0",
        "ip route show table all dev foreign0",
        "ip -6 route show dev foreign0",
        "ip route show table 99",
        "ip rule show priority 500",
        "ip neigh show dev foreign0",
        "bridge fdb show dev foreignbr",
        "nft list table inet foreign",
        "ipset list foreign",
        "iptables-nft -S FOREIGN",
        "iptables-nft -t nat -S FOREIGN",
    ] {
        // A node that forwards listens to the group of all routers, and to the address of any router.
        let of_routers = |line: &&str| line.starts_with("33:33:") || line.starts_with("anycast ");
        let text = run(netns, command);
        out.extend(text.lines().filter(|line| !of_routers(line)).flat_map(|line| [line, "\n"]));
    }
    for chain in ["INPUT", "FORWARD", "OUTPUT"] {
        let rules = run(netns, &format!("iptables-nft -S {chain}"));
        let theirs = rules.lines().filter(|line| line.contains("FOREIGN") || line.starts_with("-P"));
        out.extend(theirs.flat_map(|line| [line, "\n"]));
    }
    out
}

/// The lines that only one of two texts has.
fn differing(before: &str, now: &str) -> String {
    let only = |one: &str, other: &str, mark: char| -> String {
        let lines = one.lines().filter(|line| !other.lines().any(|it| it == *line));
        lines.map(|line| format!("{mark} {line}\n")).collect()
    };
    only(before, now, '-') + &only(now, before, '+')
}

fn others_things() {
    // Of each CNI and each mode, with both families.
    let chosen = |(name, plan): &Named| plan.name.starts_with("node-1") && name.contains("dual stack");
    for (name, plan) in bodies::plans(&PROXIES).into_iter().filter(chosen) {
        let (mut kernel, host) = machine(&plan.name);
        for line in FOREIGN.lines() {
            tool::run(&host, "sh", &["-c", line], "").unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        let before = shown(&host);
        let stays = |when: &str| assert_eq!(differing(&before, &shown(&host)), "", "{name}: {when}");
        let changes = difference(&kernel.observe().expect("observed"), &[], &plan);
        assert!(changes.iter().all(|change| !change.to_string().contains("foreign")), "{changes:#?}");
        for turn in ["applied", "applied again"] {
            kernel.apply(&changes).unwrap_or_else(|error| panic!("{name}: {error}"));
            stays(turn);
        }
        let left = difference(&kernel.observe().expect("observed"), &[], &plan);
        assert!(left.iter().all(|change| !kernel.can(change)), "{name}: {left:?}");
        let observed = kernel.observe().expect("observed");
        kernel.apply(&undo(&observed, &[&plan])).unwrap_or_else(|error| panic!("{name}: {error}"));
        stays("undone");
        let links = kernel.observe().expect("observed").netns[0].links.len();
        assert_eq!(links, 4, "{name}: lo, foreign0, foreign1, foreignbr");
    }
}

const CLUSTER: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: server, labels: {app: web}},
 spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.80, selector: {app: web}, ports: [{port: 80}]}}
";

/// The dump of a node of a lab, as the core reads it.
fn dump_of(node: &str, folder: &Path) -> Dump {
    let host = Netns::open(&folder.join(lab::netns_file(node, ""))).expect("the node");
    let others = Others { folder: folder.into(), prefix: String::new() };
    let dump = Netlink::new(node, host, others, Box::new(NoWiring)).dump().expect("a dump");
    assert_eq!(dump.left_out, [], "every tool is there and may list");
    let files = dump.files.into_iter().map(|(name, text)| (name.into(), text)).collect();
    Dump { node: node.into(), folder: "dump".into(), files }
}

/// The answer to a question, in the words that have to be the same.
fn answer(network: &Network, to: &str, relays: bool) -> String {
    let trace = network.trace(&Question::new("pod/client", to)).expect("an answer");
    let case = trace.outcomes.first().expect("a case");
    // A relay in user space is a program: a dump shows the socket and not where it sends to.
    let source = (!relays).then_some(&case.source_seen);
    format!("{:?} {:?} {source:?}", case.verdict, case.outcome)
}

fn dumped() {
    let options = Options::default();
    for mode in PROXIES {
        let text = format!(
            "{{apiVersion: kubenet/v1, kind: Assumptions, spec: {{nodes: 2, proxyMode: {mode}}}}}\n---{CLUSTER}"
        );
        let network = Network::from_text("cluster.yaml", &text);
        let lab = Lab::up(&network, &options).expect("a lab");
        let dumps = ["node-1", "node-2"].map(|node| dump_of(node, &options.folder));
        let seen = network.observe(dumps.into());
        assert_eq!(seen.observed().count(), 2, "{mode}");
        for to in ["service/web:80", "pod/server:80", "pod/server:81"] {
            let relays = mode == "userspace" && to.starts_with("service");
            assert_eq!(answer(&seen, to, relays), answer(&network, to, relays), "{mode}: {to}");
        }
        drop(lab);
    }
}

const FOREIGN: &str = "ip link set lo up
ip link add foreign0 type veth peer name foreign1
ip link set foreign1 up
echo 0 > /proc/sys/net/ipv6/conf/foreign0/accept_dad
ip link set foreign0 address 02:00:00:00:00:01
ip link set foreign0 up
ip addr add 192.0.2.1/24 dev foreign0
ip route add 198.51.100.0/24 via 192.0.2.2 dev foreign0
ip route add 203.0.113.0/24 dev foreign0 metric 7 table 99
ip rule add from 192.0.2.0/24 lookup 99 priority 500
ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev foreign0 nud permanent
ip link add foreignbr type bridge
bridge fdb add 02:00:00:00:00:0a dev foreignbr self permanent
nft add table inet foreign
nft add chain inet foreign c '{ type filter hook forward priority 5; }'
ipset create foreign hash:ip
ipset add foreign 192.0.2.7
iptables-nft -N FOREIGN
iptables-nft -A FOREIGN -s 192.0.2.3 -j DROP
iptables-nft -A FORWARD -s 192.0.2.4 -j FOREIGN
iptables-nft -A INPUT -s 192.0.2.5 -j FOREIGN
iptables-nft -P FORWARD DROP
iptables-nft -t nat -N FOREIGN
iptables-nft -t nat -A FOREIGN -j RETURN";
