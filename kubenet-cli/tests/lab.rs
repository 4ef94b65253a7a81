//! `kubenet lab` on this machine's kernel: `cargo xtask test lab`, or `cargo test -p kubenet-cli --test lab -- --ignored`.
//!
//! Each test has a folder of its own for its labs, and takes them down however it ends. As root, both ways are tested: with root's
//! privileges, and in a user namespace.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long something that happens soon may take.
const SOON: Duration = Duration::from_secs(20);

const CLUSTER: &str = r#"
{apiVersion: v1, kind: Pod, metadata: {name: server-0, labels: {app: web}},
 spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: server-1, labels: {app: web}},
 spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.80
  type: NodePort
  selector: {app: web}
  ports:
    - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
    - {name: dns, port: 53, targetPort: 53, protocol: UDP, nodePort: 30053}
"#;

/// Labs with a folder of their own.
struct Labs {
    folder: PathBuf,
}

impl Labs {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("kubenet-lab-test-{}-{number}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&folder, mode).expect("a private folder");
        Self { folder }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubenet"));
        command.arg("lab").args(words).env("XDG_RUNTIME_DIR", &self.folder).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("kubenet runs")
    }

    /// Runs what is to succeed, and gives what it prints.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "kubenet lab {}: {}\n{out}{err}", words.join(" "), output.status);
        out
    }

    fn exec(&self, place: &str, words: &[&str]) -> Output {
        self.run(&[&["exec", place, "--"], words].concat())
    }

    /// The lab of [`CLUSTER`].
    fn up(&self, how: &[&str]) {
        let file = self.write("cluster.yaml", CLUSTER);
        self.ok(&[&["up", "-f", &file, "--nodes", "3"], how].concat());
    }

    /// What a server says that it saw of a request.
    fn seen(&self, place: &str, url: &str) -> Option<Seen> {
        let output = self.exec(place, &["curl", "-sS", "--max-time", "3", url]);
        let seen: Value = serde_json::from_slice(&output.stdout).ok()?;
        let source = seen["source"].as_str()?.parse::<std::net::SocketAddr>().ok()?;
        Some(Seen { server: seen["server"].as_str()?.into(), source: source.ip() })
    }

    /// The first address of a pod.
    fn address(&self, pod: &str) -> String {
        self.addresses(pod).into_iter().next().expect("an address")
    }

    fn addresses(&self, pod: &str) -> Vec<String> {
        let status = self.status();
        let machines = status["machines"].as_array().expect("machines").iter();
        let mut netns = machines.flat_map(|machine| machine["netns"].as_array().expect("namespaces"));
        let found = netns.find(|netns| netns["name"] == pod).expect("the pod");
        let addresses = found["addresses"].as_array().expect("addresses");
        addresses.iter().filter_map(Value::as_str).map(Into::into).collect()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--format", "json"])).expect("JSON")
    }
}

impl Drop for Labs {
    fn drop(&mut self) {
        let down = self.run(&["down", "--all"]);
        if !std::thread::panicking() {
            assert!(down.status.success(), "{}", text(&down.stderr));
        }
        fs::remove_dir_all(&self.folder).expect("the folder goes");
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    server: String,
    source: IpAddr,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The ways to make namespaces that there are here.
fn ways() -> Vec<&'static [&'static str]> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    if is_root { vec![&[], &["--rootless"]] } else { vec![&["--rootless"]] }
}

/// The modes of kube-proxy that this kernel can have.
fn modes() -> Vec<&'static str> {
    let mut modes = vec!["iptables", "nftables", "userspace"];
    if Path::new("/proc/net/ip_vs").exists() {
        modes.push("ipvs");
    }
    modes
}

/// Asks again until it is so.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn a_service_is_reached_from_everywhere_in_every_mode() {
    for way in ways() {
        for mode in modes() {
            let labs = Labs::new();
            labs.up(&[way, &["--proxy-mode", mode]].concat());
            let told = format!("{mode} {way:?}: {}", labs.ok(&["status"]));
            for place in ["pod/client", "node-1", "node-3"] {
                let seen = labs.seen(place, "http://10.96.0.80").unwrap_or_else(|| panic!("{place}: {told}"));
                assert!(seen.server.starts_with("default/server-"), "{place}: {seen:?} {told}");
            }
            // A client outside of the cluster, on the nodes' network, asks each node.
            for node in ["172.18.0.2", "172.18.0.3", "172.18.0.4"] {
                let seen = labs.seen("gateway", &format!("http://{node}:30080"));
                assert!(seen.is_some(), "{node}: {told}");
            }
            if mode != "userspace" {
                let direct = labs.seen("pod/client", "http://10.96.0.80").expect("an answer");
                assert_eq!(direct.source, addr(&labs.address("default/client")), "{told}");
            }
        }
    }
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn the_internet_is_reached_by_the_gateways_address_and_reaches_nobody() {
    for way in ways() {
        let labs = Labs::new();
        labs.up(&[way, &["--outside", "8.8.8.8"]].concat());
        // Nobody listens there: a refusal has come all the way from it.
        let ask = |place: &str, addr: &str| {
            let connect = format!("exec 3<>/dev/tcp/{addr}/81");
            text(&labs.exec(place, &["timeout", "5", "bash", "-c", &connect]).stderr)
        };
        for place in ["pod/client", "node-1"] {
            let answer = ask(place, "8.8.8.8");
            assert!(answer.contains("Connection refused"), "{place}: {answer}");
        }
        for addr in ["172.18.0.2", &labs.address("default/client")] {
            let answer = ask("internet/8.8.8.8", addr);
            assert!(!answer.contains("Connection refused"), "{addr}: {answer}");
        }
    }
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn a_command_has_its_input_its_output_and_its_exit_status() {
    for way in ways() {
        let labs = Labs::new();
        labs.up(way);
        assert_eq!(labs.exec("pod/client", &["sh", "-c", "exit 7"]).status.code(), Some(7));
        assert_eq!(labs.exec("pod/client", &["sh", "-c", "kill -9 $$"]).status.code(), Some(137));
        assert_eq!(labs.exec("pod/client", &["no-such-command"]).status.code(), Some(127));
        let nowhere = labs.exec("pod/nobody", &["true"]);
        assert_eq!(nowhere.status.code(), Some(125));
        assert!(text(&nowhere.stderr).contains("nobody"), "{}", text(&nowhere.stderr));
        let mut child = labs.command(&["exec", &labs.address("default/server-1"), "--", "cat"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("kubenet runs");
        std::io::Write::write_all(&mut child.stdin.take().expect("its input"), b"hello").expect("written");
        assert_eq!(text(&child.wait_with_output().expect("it ends").stdout), "hello");
        let client = labs.address("default/client");
        for (place, has) in [("default_client", &*client), ("node-2", "172.18.0.3"), ("switch", "br0")] {
            let shown = text(&labs.exec(place, &["ip", "addr"]).stdout);
            assert!(shown.contains(has), "{place}: {shown}");
        }
    }
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn the_cluster_changes_while_it_runs() {
    for way in ways() {
        for mode in ["iptables", "nftables"] {
            let labs = Labs::new();
            labs.up(&[way, &["--proxy-mode", mode]].concat());
            labs.ok(&["delete", "pod", "server-0"]);
            let from_node_3 = || labs.seen("node-3", "http://10.96.0.80").expect("an answer").server;
            assert_eq!([from_node_3(), from_node_3(), from_node_3()], ["default/server-1"; 3]);
            let more = labs.write(
                "more.yaml",
                "{apiVersion: v1, kind: Pod, metadata: {name: server-2, labels: {app: web}}, \
                 spec: {nodeName: node-3, containers: [{name: c, ports: [{containerPort: 8080}]}]}}",
            );
            let said = labs.ok(&["apply", "-f", &more]);
            assert!(said.contains("+ pod default/server-2"), "{said}");
            soon("the new pod is asked", || from_node_3() == "default/server-2");
            labs.ok(&["delete", "-f", &more]);
            assert_eq!([from_node_3(), from_node_3(), from_node_3()], ["default/server-1"; 3]);
            let status = labs.status().to_string();
            assert!(!status.contains("server-2") && !status.contains("server-0"), "{status}");
            let unknown = labs.run(&["delete", "pod", "nobody"]);
            assert!(!unknown.status.success());
            assert!(text(&unknown.stderr).contains("nobody"), "{}", text(&unknown.stderr));
        }
    }
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn pods_that_go_together_take_no_foreign_link_along() {
    for way in ways() {
        let labs = Labs::new();
        let pod = |number: usize| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: many-{number}}}, spec: {{nodeName: node-1, containers: [{{name: c}}]}}}}\n---\n"
            )
        };
        let file = labs.write("many.yaml", &(0..12).map(pod).collect::<String>());
        labs.up(way);
        let links = || text(&labs.exec("node-1", &["ip", "-o", "link"]).stdout);
        let before = links().lines().count();
        labs.ok(&["apply", "-f", &file]);
        assert_eq!(links().lines().count(), before + 12);
        // The first group that anybody would take.
        let foreign = ["ip", "link", "add", "foreign", "group", "1", "type", "bridge"];
        assert!(labs.exec("node-1", &foreign).status.success());
        labs.ok(&["delete", "-f", &file]);
        let left = links();
        assert!(left.contains("foreign"), "{left}");
        assert_eq!(left.lines().count(), before + 1, "{left}");
        assert!(labs.seen("pod/client", "http://10.96.0.80").is_some());
    }
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn what_is_broken_can_be_mended() {
    for way in ways() {
        let labs = Labs::new();
        labs.up(way);
        let url = format!("http://{}:8080", labs.address("default/server-1"));
        let works = || labs.seen("pod/client", &url).is_some();
        for fault in [
            "link-down node-2 dev eth0",
            "route-removed node-1 10.244.1.0/24",
            "route-replaced node-1 blackhole 10.244.1.0/24",
            "ip-forward-off node-2",
            "neighbour-silent default/server-1 dev eth0",
        ] {
            let words: Vec<&str> = fault.split(' ').collect();
            assert!(works(), "before {fault}");
            labs.ok(&[&["fault"], &words[..]].concat());
            // Neighbours that are known already are asked for again.
            for place in ["node-1", "node-2"] {
                labs.exec(place, &["ip", "neigh", "flush", "all", "nud", "reachable"]);
                labs.exec(place, &["ip", "neigh", "flush", "all", "nud", "stale"]);
                labs.exec(place, &["ip", "neigh", "flush", "all", "nud", "delay"]);
            }
            assert!(!works(), "with {fault}: {}", labs.ok(&["status"]));
            assert!(labs.ok(&["status"]).contains(fault));
            labs.ok(&[&["fault", "--undo"], &words[..]].concat());
            soon(&format!("mended: {fault}"), works);
        }
        assert!(!labs.run(&["fault", "--undo", "link-down", "node-2", "dev", "eth0"]).status.success());
    }
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn model_and_kernel_are_compared_and_the_lab_stays_as_it_was() {
    for (how, mode) in ways().into_iter().zip(["nftables", "iptables"]) {
        let labs = Labs::new();
        labs.up(&[how, &["--proxy-mode", mode, "--cni", "kindnet"]].concat());
        let state = || {
            let probe = "cat /proc/sys/net/ipv4/icmp_ratelimit; nft list tables; ip neigh show nud permanent";
            text(&labs.exec("node-1", &["sh", "-c", probe]).stdout)
        };
        let before = state();
        let table = labs.ok(&["verify", "--flows", "60", "--seed", "3"]);
        assert!(table.contains("NodePort") && table.contains("ping the internet"), "{table}");
        assert_eq!(state(), before);
        assert!(labs.seen("client", "http://10.96.0.80").is_some(), "the lab goes on");
        // A kernel that does something else than the model is found out.
        let rule = "add table ip other; add chain ip other c { type filter hook forward priority 0; }; add rule ip other c drop";
        let added = labs.exec("node-1", &["nft", rule]);
        assert!(added.status.success(), "{}", text(&added.stderr));
        let output = labs.run(&["verify", "--flows", "5", "--seed", "3"]);
        let out = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{out}{}", text(&output.stderr));
        assert!(out.contains("  model   ") && out.contains("  kernel  "), "{out}");
    }
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn datagrams_are_answered_from_the_address_that_was_asked() {
    for way in ways() {
        for mode in modes() {
            let labs = Labs::new();
            labs.up(&[way, &["--proxy-mode", mode]].concat());
            let ask = "exec 3<>/dev/udp/10.96.0.80/53; echo hello >&3; timeout 5 head -n 1 <&3";
            let asked = labs.exec("pod/client", &["bash", "-c", ask]);
            assert_eq!(text(&asked.stdout), "hello\n", "{mode} {way:?}: {}", text(&asked.stderr));
        }
    }
}

/// One pod behind a load balancer whose address a node answers for without holding it.
const BALANCED: &str = r#"
{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: pool, namespace: metallb-system},
 spec: {addresses: [172.18.255.192/28, "fc00:f853:ccd:e793::ff00/124"]}}
---
{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: l2, namespace: metallb-system}, spec: {ipAddressPools: [pool]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}},
 spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 80}]}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  healthCheckNodePort: 31000
  selector: {app: web}
  ports: [{port: 80}]
"#;

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn an_address_that_nobody_holds_is_answered_for_and_health_is_told() {
    for way in ways() {
        let labs = Labs::new();
        let file = labs.write("balanced.yaml", BALANCED);
        let words = ["up", "-f", &file, "--nodes", "2", "--assume", DUAL_PODS, "--assume", DUAL_NODES];
        labs.ok(&[&words, way].concat());
        let status = labs.status();
        let addresses = status["services"][0]["loadBalancer"].as_array().expect("addresses");
        assert_eq!(addresses.len(), 2, "{status}");
        for balancer in addresses.iter().filter_map(Value::as_str).map(addr) {
            let url = url(balancer, 80);
            let seen =
                labs.seen("gateway", &url).unwrap_or_else(|| panic!("{url}: {}", labs.ok(&["status"])));
            assert_eq!(seen.server, "default/web");
            // With the policy `Local` the source stays.
            let gateway = text(&labs.exec("gateway", &["ip", "-o", "addr"]).stdout);
            assert!(gateway.contains(&seen.source.to_string()), "{seen:?}: {gateway}");
        }
        for (node, code) in [("node-1", "503"), ("node-2", "200")] {
            let ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:31000"];
            assert_eq!(text(&labs.exec(node, &ask).stdout), code, "{node}");
        }
    }
}

const DUAL_PODS: &str = "clusterCidr=10.244.0.0/16,fd00:10:244::/56";
const DUAL_NODES: &str = "nodeNetwork=172.18.0.0/16,fc00:f853:ccd:e793::/64";

fn url(addr: IpAddr, port: u16) -> String {
    format!("http://{}", std::net::SocketAddr::new(addr, port))
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn both_families_and_every_underlay_carry_packets() {
    for way in ways() {
        for (cni, underlay) in
            [("bridge", "host-gw"), ("flannel", "vxlan"), ("kindnet", "host-gw"), ("bridge", "routed")]
        {
            let labs = Labs::new();
            let file = labs.write("cluster.yaml", CLUSTER);
            let words = [
                "up",
                "-f",
                &file,
                "--nodes",
                "3",
                "--cni",
                cni,
                "--underlay",
                underlay,
                "--assume",
                DUAL_PODS,
                "--assume",
                DUAL_NODES,
            ];
            labs.ok(&[&words, way].concat());
            let addresses = labs.addresses("default/server-1");
            assert_eq!(addresses.len(), 2, "{addresses:?}");
            for one in addresses.iter().map(|one| addr(one)) {
                let url = url(one, 8080);
                let seen = labs.seen("pod/client", &url);
                assert!(seen.is_some(), "{cni} {underlay} {way:?} {url}: {}", labs.ok(&["status"]));
            }
        }
    }
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn nothing_is_left_when_the_keeper_is_killed() {
    let mounts = || fs::read_to_string("/proc/self/mounts").expect("mounts");
    let links = || fs::read_to_string("/proc/self/net/dev").expect("links").lines().count();
    for way in ways() {
        let labs = Labs::new();
        let before = (mounts(), links());
        labs.up(way);
        let pid = labs.status()["pid"].as_u64().expect("a process");
        let inside = namespace_of(pid).expect("its PID namespace");
        let mut sleeper =
            labs.command(&["exec", "pod/client", "--", "sleep", "1000"]).spawn().expect("it runs");
        soon("the command runs", || processes_in(&inside) >= 2);
        assert_eq!((mounts(), links()), before);
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
        assert!(killed.success());
        soon("every process is gone", || processes_in(&inside) == 0);
        assert!(!sleeper.wait().expect("it ends").success());
        assert_eq!((mounts(), links()), before);
        let status = labs.run(&["status"]);
        assert!(text(&status.stderr).contains("is not up"), "{}", text(&status.stderr));
        // What is left of it does not keep the next one from coming up.
        labs.up(way);
        labs.ok(&["down"]);
        assert!(!labs.folder.join("kubenet/lab").exists());
    }
}

fn namespace_of(pid: u64) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

fn processes_in(namespace: &Path) -> usize {
    let processes = fs::read_dir("/proc").expect("processes");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    pids.filter(|pid| namespace_of(*pid).as_deref() == Some(namespace)).count()
}

#[test]
#[ignore = "makes namespaces: cargo xtask test lab"]
fn several_labs_are_up_at_once_and_what_cannot_be_is_said() {
    let labs = Labs::new();
    labs.up(&[]);
    let again = labs.run(&["up", "-f", &labs.write("cluster.yaml", CLUSTER)]);
    assert!(text(&again.stderr).contains("lab lab is up already"), "{}", text(&again.stderr));
    labs.up(&["--name", "other"]);
    assert!(labs.seen("pod/client", "http://10.96.0.80").is_some());
    let foreign = labs.run(&["up", "--name", "third", "--example", "shop", "--cni", "calico"]);
    assert!(text(&foreign.stderr).contains("use --cni bridge"), "{}", text(&foreign.stderr));
    if !Path::new("/proc/net/ip_vs").exists() {
        let ipvs = labs.run(&["up", "--name", "third", "--example", "shop", "--proxy-mode", "ipvs"]);
        assert!(text(&ipvs.stderr).contains("this kernel has no IPVS"), "{}", text(&ipvs.stderr));
    }
    let down = labs.ok(&["down", "--all"]);
    assert_eq!(down, "lab lab is gone\nlab other is gone\n");
}
