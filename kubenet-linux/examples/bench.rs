//! What the adapter costs beside the tools, and the model beside the kernel: `cargo xtask bench-linux [SERVICES]`.
//!
//! Runs in namespaces of its own, which end with it, one thing after the other in one run. Prints tables of medians, or of single runs
//! where it says so.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kubenet_core::addr::Protocol;
use kubenet_core::compile::pod_netns;
use kubenet_core::dataplane::{Client, Limits, Seeded, World};
use kubenet_core::network::Network;
use kubenet_core::plan::{Change, MachineId, MachinePlan, PlanSource, What, diff};
use kubenet_core::text::{iptables_save, nft};
use kubenet_core::time::Instant as Moment;
use kubenet_linux::lab::{self, Lab, Options};
use kubenet_linux::netns::Netns;
use kubenet_linux::{Kernel as _, Netlink, NoWiring, Others, tool};

const ENDPOINTS: usize = 10;
const PODS: usize = 200;
/// How long packets are sent for.
const SEND: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    lab::isolate(std::env::var_os("KUBENET_ROOTLESS").is_some())?;
    say("| what | kubenet | beside it | ratio |\n|---|---|---|---|")?;
    lab_up()?;
    packets()?;
    for mode in ["nftables", "iptables"] {
        rules(mode)?;
    }
    match Path::new("/proc/net/ip_vs").exists() {
        true => say("| ipvs | | | not measured yet where the kernel has it |")?,
        false => say("| ipvs | | | gap: this kernel has no ip_vs |")?,
    }
    Ok(())
}

/// A lab of 3 nodes and 200 pods, against `ip -batch` with the same links, addresses and routes, and no rules or servers.
fn lab_up() -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    for pod in 0..PODS {
        let node = pod % 3 + 1;
        _ = writeln!(
            text,
            "{{apiVersion: v1, kind: Pod, metadata: {{name: pod-{pod}}}, spec: {{nodeName: node-{node}, containers: [{{name: c, ports: [{{containerPort: 80}}]}}]}}}}\n---"
        );
    }
    let network = Network::from_text("pods.yaml", &text);
    let begin = Instant::now();
    let lab = Lab::up(&network, &Options::default())?;
    let ours = begin.elapsed();
    let machines = lab.machines();
    let plans: Vec<Arc<MachinePlan>> =
        machines.iter().filter_map(|machine| lab.plan(&machine.name).cloned()).collect();
    let begin = Instant::now();
    drop(lab);
    let down = begin.elapsed();
    let here = Netns::current()?;
    let begin = Instant::now();
    let (mut commands, mut refused) = (0, 0);
    for plan in &plans {
        let (more, no) = by_ip(&here, plan)?;
        (commands, refused) = (commands + more, refused + no);
    }
    row(
        &format!(
            "lab up: 3 nodes, 200 pods, rules, servers; beside it `ip -batch` without both, {commands} commands of which it refused {refused}"
        ),
        ours,
        begin.elapsed(),
    )?;
    say(&format!("| lab down | {} | | |", millis(down)))?;
    for plan in &plans {
        for netns in &plan.netns {
            tool::run(&here, "ip", &["netns", "delete", &lab::netns_file(&plan.name, &netns.name)], "")?;
        }
    }
    Ok(())
}

/// The same machine by `ip -batch`, one run for the namespaces and one in each of them. A card's far end stays beside it: nothing is
/// plugged in. The words of a plan are a shell's: how many commands there were, and how many `ip` refused.
fn by_ip(here: &Netns, plan: &MachinePlan) -> Result<(usize, usize), Box<dyn Error>> {
    let file = |netns: &str| lab::netns_file(&plan.name, netns);
    let changes = diff(None, plan);
    let mut names = format!("netns add {}\n", file(""));
    let mut inside: BTreeMap<String, String> = BTreeMap::new();
    for change in &changes {
        match &change.what {
            What::AddNetns => _ = writeln!(names, "netns add {}", file(&change.netns)),
            What::Sysctl { .. } | What::Nft(_) | What::Xt(_) | What::Ipset(_) | What::Ipvs(_) => {}
            What::AddFdb(_) | What::RemoveFdb(_) => {}
            what => {
                let words = what.to_string();
                // The other end of a pair is in a namespace by its file.
                let words = words
                    .replace("netns 'default/", "netns 'default_")
                    .replace("netns default/", "netns default_");
                let batch = inside.entry(file(&change.netns)).or_default();
                for command in words.split(" && ").filter_map(|command| command.strip_prefix("ip ")) {
                    _ = writeln!(batch, "{command}");
                }
            }
        }
    }
    tool::run(here, "ip", &["-batch", "-"], &names)?;
    // The machine's own first: the far ends of its pairs are in the others.
    let own = file("");
    let (first, rest): (Vec<_>, Vec<_>) = inside.iter().partition(|(netns, _)| **netns == own);
    let (mut commands, mut refused) = (0, 0);
    for (netns, batch) in first.into_iter().chain(rest) {
        commands += batch.lines().count();
        match tool::run(here, "ip", &["-n", netns, "-force", "-batch", "-"], batch) {
            Err(tool::ToolError::Failed { said, .. }) => refused += said.matches("Command failed").count(),
            done => drop(done?),
        }
    }
    Ok((commands, refused))
}

/// kube-proxy's rules of all Services on one node, loaded by the adapter and by the mode's tool; then one endpoint.
fn rules(mode: &str) -> Result<(), Box<dyn Error>> {
    let count = service_count();
    let network = services(mode, &service_objects())?;
    let plan = node(&network)?;
    let rules = |changes: Vec<Change>| -> Vec<Change> {
        let is_rule = |change: &Change| matches!(change.what, What::Nft(_) | What::Xt(_) | What::Ipset(_));
        changes.into_iter().filter(is_rule).collect()
    };
    let others = Others { folder: "/run/netns".into(), prefix: "bench-".into() };
    let mut kernel = Netlink::new(mode, Netns::unnamed()?, others, Box::new(NoWiring));
    let begin = Instant::now();
    let whole = rules(diff(None, &plan));
    kernel.apply(&whole)?;
    let ours = begin.elapsed();
    let text_of = plan.netns.first().ok_or("a node without a namespace")?.netfilter.whole();
    let bare = Netns::unnamed()?;
    let theirs = if mode == "nftables" {
        let text = nft::render_feed(&text_of.nft);
        let begin = Instant::now();
        tool::run(&bare, "nft", &["-f", "-"], &text)?;
        begin.elapsed()
    } else {
        let four: Vec<_> = text_of
            .xt
            .iter()
            .filter(|table| table.family == kubenet_core::plan::Family::V4)
            .cloned()
            .collect();
        let text = iptables_save::render_restore(&four, iptables_save::Marks::Padded);
        let begin = Instant::now();
        tool::run(&bare, "iptables-nft-restore", &[], &text)?;
        begin.elapsed()
    };
    row(
        &format!("{mode}: {count} Services × {ENDPOINTS} endpoints; beside it the tool with the same text"),
        ours,
        theirs,
    )?;

    let (mut compiled, mut done) = (Vec::new(), Vec::new());
    let mut before = (network, plan);
    for round in 0..5 {
        let begin = Instant::now();
        let network =
            before.0.with(&[kubenet_core::k8s::ObjectChange::Put(slice(count / 2 + round, ENDPOINTS - 1)?)]);
        let plan = node(&network)?;
        let changes = rules(diff(Some(&before.1), &plan));
        compiled.push(begin.elapsed());
        if changes.is_empty() {
            return Err("an endpoint went, and no rule changed".into());
        }
        let begin = Instant::now();
        kernel.apply(&changes)?;
        done.push(begin.elapsed());
        before = (network, plan);
    }
    let (compiled, done) = (median(compiled), median(done));
    row(&format!("{mode}: one endpoint goes, applied; beside it all anew by the tool"), done, theirs)?;
    say(&format!("| {mode}: one endpoint goes, its changes found | {} | | |", millis(compiled)))?;
    Ok(())
}

/// How many Services are asked for; `iptables-nft-restore` takes minutes for more than some thousand.
fn service_count() -> usize {
    std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(10_000).max(10)
}

fn service_objects() -> kubenet_core::k8s::Objects {
    let mut objects = kubenet_core::k8s::Objects::default();
    let mut put = |value: serde_json::Value| drop(objects.put_json(&value));
    put(serde_json::json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0", "uid": "1"}, "spec": {"podCIDR": "10.128.0.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]},
    }));
    for service in 0..service_count() {
        put(serde_json::json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("app-{service}")},
            "spec": {
                "clusterIP": format!("10.96.{}.{}", service / 250, 1 + service % 250),
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            },
        }));
        put(slice_json(service, ENDPOINTS));
    }
    objects
}

fn slice_json(service: usize, endpoints: usize) -> serde_json::Value {
    let of = |endpoint: usize| {
        let number = service * ENDPOINTS + endpoint;
        let address = format!("10.{}.{}.{}", 129 + number / 50_000, number / 200 % 250, 2 + number % 200);
        serde_json::json!({"addresses": [address], "nodeName": "node-1", "conditions": {"ready": true}})
    };
    serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("app-{service}-x"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": format!("app-{service}")},
        },
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..endpoints).map(of).collect::<Vec<_>>(),
    })
}

/// The slice of a Service as an object.
fn slice(service: usize, endpoints: usize) -> Result<kubenet_core::k8s::AnyObject, Box<dyn Error>> {
    let mut objects = kubenet_core::k8s::Objects::default();
    objects.put_json(&slice_json(service, endpoints))?;
    Ok(objects.iter().next().ok_or("no slice")?)
}

fn services(mode: &str, objects: &kubenet_core::k8s::Objects) -> Result<Network, Box<dyn Error>> {
    let mut assume = kubenet_core::assume::Assume::default();
    assume.set("proxyMode", mode)?;
    assume.set("clusterCidr", "10.128.0.0/9")?;
    Ok(Network::new(objects.clone(), assume, Some(kubenet_core::cluster::InputMode::Snapshot)))
}

fn node(network: &Network) -> Result<Arc<MachinePlan>, Box<dyn Error>> {
    let plans = network.plans();
    let id = plans.machine_named("node-0").ok_or("there is no node-0")?;
    Ok(plans.machine(id).ok_or("node-0 has no plan")?)
}

const PAIR: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: server},
 spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
";

/// Datagrams from a pod to a pod on another node: what arrives at the pod's card in the kernel, and at sockets in the model. In the
/// kernel nobody reads them, so that no reader takes part; in the model each is answered, and the answer counts as well.
fn packets() -> Result<(), Box<dyn Error>> {
    let network = Network::from_text("pair.yaml", PAIR);
    let cluster = network.cluster();
    let pod = |name: &str| {
        let place = cluster.pods.iter().position(|pod| &*pod.name == name)?;
        let place = u32::try_from(place).ok()?;
        Some((pod_netns(cluster, place)?, *cluster.pods.get(place as usize)?.addresses.first()?))
    };
    let ((client, inside), _) = pod("client").ok_or("no client")?;
    let (_, server) = pod("server").ok_or("no server")?;
    let kernel = {
        let lab = Lab::up(&network, &Options::default())?;
        let to = lab.netns("node-2", "default/server").ok_or("no namespace of the server")?;
        let from = lab.netns("node-1", "default/client").ok_or("no namespace of the client")?;
        let unread = to.run(|| UdpSocket::bind((server, 9)))?;
        let socket = from.run(|| UdpSocket::bind(("0.0.0.0", 0)))?;
        socket.connect((server, 9))?;
        // The neighbours become known.
        socket.send(b"x")?;
        std::thread::sleep(Duration::from_millis(100));
        let (before, begin) = (arrived(to)?, Instant::now());
        while begin.elapsed() < SEND {
            for _ in 0..64 {
                // A queue that is full is not the end.
                let _ = socket.send(b"x");
            }
        }
        let rate = (arrived(to)? - before) as f64 / begin.elapsed().as_secs_f64();
        drop(unread);
        rate
    };
    let model = modelled(&network.plans(), client, inside, server);
    say(&format!(
        "| packets a second, pod to pod on another node; beside it the kernel | {model:.0} | {kernel:.0} | {:.1} |",
        model / kernel
    ))
}

fn modelled(plans: &impl PlanSource, id: MachineId, netns: u32, server: IpAddr) -> f64 {
    let mut world = World::new(plans);
    let protocol = Protocol::Udp;
    let client = Client { netns, protocol, src: None, sport: 40_000, dst: server, dport: 53, payload: 1 };
    let limits = Limits { steps: u64::MAX, until: Moment::from_nanos(u64::MAX) };
    let opened = world.open(id, client, &mut Seeded(0), &mut ());
    world.run(limits, &mut Seeded(0), &mut (), |_| false, &|| false);
    let Some(opened) = opened else { return 0.0 };
    let (mut sent, begin) = (0_u32, Instant::now());
    while begin.elapsed() < SEND {
        for _ in 0..64 {
            sent += u32::from(world.send(id, (netns, opened), 1, &mut Seeded(0), &mut ()));
            world.run(limits, &mut Seeded(0), &mut (), |_| false, &|| false);
            while world.poll_notice().is_some() {}
        }
    }
    f64::from(sent) * 2.0 / begin.elapsed().as_secs_f64()
}

/// Packets that have come to the card of a pod.
fn arrived(pod: &Netns) -> io::Result<u64> {
    let text = pod.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    let count = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    count.ok_or_else(|| io::Error::other("the pod has no eth0"))
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn row(what: &str, ours: Duration, theirs: Duration) -> Result<(), Box<dyn Error>> {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    say(&format!("| {what} | {} | {} | {ratio:.2} |", millis(ours), millis(theirs)))
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn say(line: &str) -> Result<(), Box<dyn Error>> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
