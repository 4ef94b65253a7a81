//! What the adapter costs beside the tools, and the model beside the kernel: `cargo xtask bench-linux [SERVICES]`.
//!
//! Runs in namespaces of its own, which end with it, one thing after the other in one run. Prints one table of medians; a row of less
//! than three rounds says so.

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
use kubenet_core::dataplane::{Client, Event, EventKind, Limits, Log, Seeded, World};
use kubenet_core::network::Network;
use kubenet_core::origin::Origin;
use kubenet_core::plan::{
    Change, Family, MachineId, MachinePlan, PlanSource, Process, Relay, Replaced, Socket, SocketState, What,
    diff,
};
use kubenet_core::text::{iptables_save, nft};
use kubenet_core::time::Instant as Moment;
use kubenet_linux::lab::{self, Lab, Options};
use kubenet_linux::netns::Netns;
use kubenet_linux::{Kernel as _, Netlink, NoWiring, Others, tool};

const ENDPOINTS: usize = 10;
const PODS: usize = 200;
/// How long packets are sent for.
const SEND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
/// A port that nothing answers on.
const SILENT: u16 = 9;

fn main() -> Result<(), Box<dyn Error>> {
    lab::isolate(std::env::var_os("KUBENET_ROOTLESS").is_some())?;
    say("| what | kubenet | beside it | ratio |\n|---|---|---|---|")?;
    lab_up()?;
    packets()?;
    let sizes = match std::env::args().nth(1) {
        Some(word) => vec![word.parse::<usize>()?.max(10)],
        None => vec![1_000, 10_000],
    };
    for (mode, count) in
        ["nftables", "iptables"].iter().flat_map(|mode| sizes.iter().map(move |size| (mode, *size)))
    {
        rules(mode, count)?;
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
    let here = Netns::current()?;
    let (mut up, mut down, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    let mut commands = 0;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let lab = Lab::up(&network, &Options::default())?;
        up.push(begin.elapsed());
        let machines = lab.machines();
        let plans: Vec<Arc<MachinePlan>> =
            machines.iter().filter_map(|machine| lab.plan(&machine.name).cloned()).collect();
        let begin = Instant::now();
        drop(lab);
        down.push(begin.elapsed());
        let batches: Vec<Batches> = plans.iter().map(|plan| Batches::of(plan)).collect();
        commands = batches.iter().map(Batches::commands).sum();
        let begin = Instant::now();
        batches.iter().try_for_each(|batches| batches.run(&here))?;
        by_hand.push(begin.elapsed());
        for plan in &plans {
            for netns in &plan.netns {
                tool::run(&here, "ip", &["netns", "delete", &lab::netns_file(&plan.name, &netns.name)], "")?;
            }
        }
    }
    row(
        &format!(
            "lab up: 3 nodes, 200 pods, with sysctls, rules, wires and servers; beside it {commands} commands of `ip -batch` without them"
        ),
        median(up),
        median(by_hand),
    )?;
    say(&format!("| lab down | {} | | |", millis(median(down))))
}

/// A machine's links, addresses, routes and neighbours as texts for `ip -batch`: one for the namespaces and one for each of them. A
/// card's far end stays beside it: nothing is plugged in.
struct Batches {
    names: String,
    /// By the file of the namespace. The machine's own is first: the far ends of its pairs are in the others.
    inside: Vec<(String, String)>,
}

impl Batches {
    fn of(plan: &MachinePlan) -> Self {
        let file = |netns: &str| lab::netns_file(&plan.name, netns);
        let mut names = format!("netns add {}\n", file(""));
        let mut inside: BTreeMap<String, String> = BTreeMap::new();
        for change in &diff(None, plan) {
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
                        // A batch has no options of `ip` in it.
                        let command = match command.strip_prefix("-6 ") {
                            Some(command) => command.replace(" default ", " ::/0 "),
                            None => command.to_owned(),
                        };
                        _ = writeln!(batch, "{command}");
                    }
                }
            }
        }
        let own = file("");
        let (mut inside, rest): (Vec<_>, Vec<_>) = inside.into_iter().partition(|(netns, _)| *netns == own);
        inside.extend(rest);
        Self { names, inside }
    }

    fn commands(&self) -> usize {
        self.names.lines().count() + self.inside.iter().map(|(_, batch)| batch.lines().count()).sum::<usize>()
    }

    /// A command that `ip` refuses is an error.
    fn run(&self, here: &Netns) -> Result<(), tool::ToolError> {
        tool::run(here, "ip", &["-batch", "-"], &self.names)?;
        let run = |(netns, batch): &(String, String)| {
            tool::run(here, "ip", &["-n", netns, "-batch", "-"], batch).map(drop)
        };
        self.inside.iter().try_for_each(run)
    }
}

/// kube-proxy's rules of all Services on one node, loaded by the adapter and by the mode's tool; then one endpoint.
fn rules(mode: &str, count: usize) -> Result<(), Box<dyn Error>> {
    let network = services(mode, &service_objects(count))?;
    let plan = node(&network)?;
    let rules = |changes: Vec<Change>| -> Vec<Change> {
        let is_rule = |change: &Change| matches!(change.what, What::Nft(_) | What::Xt(_) | What::Ipset(_));
        changes.into_iter().filter(is_rule).collect()
    };
    let new_kernel = || -> Result<Netlink, Box<dyn Error>> {
        let others = Others { folder: "/run/netns".into(), prefix: "bench-".into() };
        Ok(Netlink::new(mode, Netns::unnamed()?, others, Box::new(NoWiring)))
    };
    let texts = tool_texts(mode, &plan)?;
    let size = texts.iter().map(|(_, _, text)| text.len()).sum::<usize>() as f64 / 1e6;
    // The tool needs half a minute for the largest.
    let rounds = if mode == "iptables" && count > 2_000 { 1 } else { ROUNDS };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut kernel = new_kernel()?;
    for round in 0..rounds {
        if round > 0 {
            kernel = new_kernel()?;
        }
        let begin = Instant::now();
        kernel.apply(&rules(diff(None, &plan)))?;
        ours.push(begin.elapsed());
        let bare = Netns::unnamed()?;
        let begin = Instant::now();
        for (program, arguments, text) in &texts {
            tool::run(&bare, program, arguments, text)?;
        }
        theirs.push(begin.elapsed());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let times = if rounds < ROUNDS { ", one round" } else { "" };
    row(
        &format!(
            "{mode}, {count} Services × {ENDPOINTS} endpoints{times}; beside it the tool with the same text, {size:.1} MB"
        ),
        ours,
        theirs,
    )?;

    let (mut compiled, mut compared, mut done) = (Vec::new(), Vec::new(), Vec::new());
    let mut before = (network, plan);
    for round in 0..5 {
        let begin = Instant::now();
        let network =
            before.0.with(&[kubenet_core::k8s::ObjectChange::Put(slice(count / 2 + round, ENDPOINTS - 1)?)]);
        let plan = node(&network)?;
        // A plan makes its rules when they are asked for.
        for netns in &plan.netns {
            netns.netfilter.whole();
        }
        compiled.push(begin.elapsed());
        let begin = Instant::now();
        let changes = rules(diff(Some(&before.1), &plan));
        compared.push(begin.elapsed());
        if changes.is_empty() {
            return Err("an endpoint went, and no rule changed".into());
        }
        let begin = Instant::now();
        kernel.apply(&changes)?;
        done.push(begin.elapsed());
        before = (network, plan);
    }
    row(
        &format!("{mode}, {count} Services: one endpoint goes, applied; beside it all anew by the tool"),
        median(done),
        theirs,
    )?;
    say(&format!(
        "| {mode}, {count} Services: one endpoint goes, the new plan made | {} | | |",
        millis(median(compiled))
    ))?;
    say(&format!(
        "| {mode}, {count} Services: one endpoint goes, the two plans compared | {} | | |",
        millis(median(compared))
    ))
}

type ToolText = (&'static str, &'static [&'static str], String);

/// The finished texts of a plan's rules, of both families, each with the tool that takes it.
fn tool_texts(mode: &str, plan: &MachinePlan) -> Result<Vec<ToolText>, Box<dyn Error>> {
    let rules = plan.netns.first().ok_or("a node without a namespace")?.netfilter.whole();
    if mode == "nftables" {
        return Ok(vec![("nft", &["-f", "-"], nft::render_feed(&rules.nft))]);
    }
    let mut texts: Vec<ToolText> = Vec::new();
    for (family, program) in [(Family::V4, "iptables-nft-restore"), (Family::V6, "ip6tables-nft-restore")] {
        let tables: Vec<_> = rules.xt.iter().filter(|table| table.family == family).cloned().collect();
        if !tables.is_empty() {
            texts.push((program, &[], iptables_save::render_restore(&tables, iptables_save::Marks::Padded)));
        }
    }
    Ok(texts)
}

fn service_objects(count: usize) -> kubenet_core::k8s::Objects {
    let mut objects = kubenet_core::k8s::Objects::default();
    let mut put = |value: serde_json::Value| drop(objects.put_json(&value));
    put(serde_json::json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0", "uid": "1"}, "spec": {"podCIDR": "10.128.0.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]},
    }));
    for service in 0..count {
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

/// Datagrams from a pod to a pod on another node, one way: in the kernel those that arrive at the pod's card, where nobody reads them; in
/// the model those that a socket takes and says nothing to.
fn packets() -> Result<(), Box<dyn Error>> {
    let network = Network::from_text("pair.yaml", PAIR);
    let cluster = network.cluster();
    let pod = |name: &str| {
        let place = cluster.pods.iter().position(|pod| &*pod.name == name)?;
        let place = u32::try_from(place).ok()?;
        Some((pod_netns(cluster, place)?, *cluster.pods.get(place as usize)?.addresses.first()?))
    };
    let ((client, inside), _) = pod("client").ok_or("no client")?;
    let ((host, within), server) = pod("server").ok_or("no server")?;
    let plans = network.plans();
    let mut machine = MachinePlan::clone(&*plans.machine(host).ok_or("no node of the server")?);
    let netns = machine.netns.get_mut(within as usize).ok_or("no plan of the server")?;
    netns.sockets.push(silent());
    let plans = Replaced::new(plans, host, Arc::new(machine));
    let mut all: Vec<(f64, f64)> = Vec::new();
    for _ in 0..ROUNDS {
        all.push((forwarded(&network, server)?, modelled(&plans, client, inside, server)?));
    }
    let middle = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let (kernel, model): (Vec<f64>, Vec<f64>) = all.into_iter().unzip();
    let (kernel, model) = (middle(kernel), middle(model));
    say(&format!(
        "| datagrams a second, one way, pod to pod on another node; beside it the kernel | {model:.0} | {kernel:.0} | {:.1} |",
        model / kernel
    ))
}

/// A socket that takes datagrams and answers none: a relay to nobody.
fn silent() -> Socket {
    let relay = Relay { backends: Vec::new(), affinity: None, udp_idle: Duration::from_secs(30) };
    Socket {
        protocol: Protocol::Udp,
        addr: None,
        dev: None,
        port: SILENT,
        state: SocketState::Listen,
        process: Process::Relay(Arc::new(relay)),
        origin: Origin::implied("bench"),
    }
}

fn forwarded(network: &Network, server: IpAddr) -> Result<f64, Box<dyn Error>> {
    let lab = Lab::up(network, &Options::default())?;
    let to = lab.netns("node-2", "default/server").ok_or("no namespace of the server")?;
    let from = lab.netns("node-1", "default/client").ok_or("no namespace of the client")?;
    let unread = to.run(|| UdpSocket::bind((server, SILENT)))?;
    let socket = from.run(|| UdpSocket::bind(("0.0.0.0", 0)))?;
    socket.connect((server, SILENT))?;
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
    Ok(rate)
}

fn modelled(
    plans: &impl PlanSource,
    id: MachineId,
    netns: u32,
    server: IpAddr,
) -> Result<f64, Box<dyn Error>> {
    let mut world = World::new(plans);
    let protocol = Protocol::Udp;
    let client = Client { netns, protocol, src: None, sport: 40_000, dst: server, dport: SILENT, payload: 1 };
    let limits = Limits { steps: u64::MAX, until: Moment::from_nanos(u64::MAX) };
    // Until no frame is under way: time stands still, and nobody is waited for.
    let run = |world: &mut World<'_, _>| {
        world.run(limits, &mut Seeded(0), &mut (), |_| true, &|| false);
        std::iter::from_fn(|| world.poll_notice()).count()
    };
    let opened = world.open(id, client, &mut Seeded(0), &mut ()).ok_or("the model has no client")?;
    // The neighbours become known.
    world.wait_until(Moment::from_nanos(100_000_000), &mut Seeded(0), &mut ());
    let mut log = Log::default();
    world.send(id, (netns, opened), 1, &mut Seeded(0), &mut log);
    world.run(limits, &mut Seeded(0), &mut log, |_| true, &|| false);
    let is_delivered = |event: &Event| matches!(event.kind, EventKind::Delivered { port: Some(SILENT), .. });
    if log.events().iter().filter(|event| is_delivered(event)).count() != 1 {
        return Err("the model does not deliver a datagram".into());
    }
    let (mut sent, mut told, begin) = (0_u32, 0, Instant::now());
    while begin.elapsed() < SEND {
        for _ in 0..64 {
            sent += u32::from(world.send(id, (netns, opened), 1, &mut Seeded(0), &mut ()));
            told += run(&mut world);
        }
    }
    // An answer, an error or a loss would be told.
    if told > 0 {
        return Err(format!("the model's client was told of something {told} times").into());
    }
    Ok(f64::from(sent) / begin.elapsed().as_secs_f64())
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
