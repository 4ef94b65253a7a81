//! `kubenet observe` and `kubenet apply` on this machine's kernel: `cargo xtask test kernel`, or
//! `cargo test -p kubenet-cli --test node -- --ignored`. What needs no kernel is tested without that.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const CLUSTER: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: server, labels: {app: web}},
 spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 8080}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web},
 spec: {clusterIP: 10.96.0.80, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}
";

/// An address of a pod that no pod has.
const NOBODY: &str = "10.244.1.250:80";

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("kubenet-node-test-{}-{name}", std::process::id()));
        // Labs are kept in it only where nobody else may look.
        fs::DirBuilder::new().mode(0o700).create(&folder).expect("a folder");
        fs::write(folder.join("cluster.yaml"), CLUSTER).expect("a file");
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubenet"));
        command.args(words).env("XDG_RUNTIME_DIR", &self.0).stdin(Stdio::null());
        command.output().expect("kubenet runs")
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "kubenet {}: {}\n{out}{err}", words.join(" "), output.status);
        out
    }

    /// Runs lines of a shell in namespaces of their own: `kubenet` is this program, `$F` the folder.
    fn alone(&self, lines: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_kubenet")).parent().expect("a folder");
        let path = format!("{}:{}:/usr/sbin:/sbin", program.display(), std::env::var("PATH").expect("PATH"));
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-e", "-c", lines]);
        let output = command.env("PATH", path).env("F", &self.0).output().expect("unshare runs");
        let told = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{}\n{told}", output.status);
        told
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = self.run(&["lab", "down", "--all"]);
        fs::remove_dir_all(&self.0).expect("the folder goes");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A node's card, as somebody else has set it up, and a table of theirs.
const CARD: &str = "
mount -t tmpfs none /run
ip link set lo up
ip link add eth0 type veth peer name far0
ip addr add 172.18.0.2/24 dev eth0
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set far0 up
ip link set eth0 up
ip route add default via 172.18.0.1
nft add table inet foreign
";

/// What kubenet says, line by line, beneath a heading for each run.
fn section<'t>(told: &'t str, name: &str) -> &'t str {
    let begin = told.find(&format!("== {name}\n")).unwrap_or_else(|| panic!("{name}: {told}"));
    let rest = &told[begin + name.len() + 4..];
    &rest[..rest.find("== ").unwrap_or(rest.len())]
}

#[test]
#[ignore = "makes namespaces: cargo xtask test kernel"]
fn a_node_is_made_what_its_manifests_call_for_and_is_what_it_was_afterwards() {
    for mode in ["iptables", "nftables"] {
        let folder = Folder::new(mode);
        let kubenet = format!("kubenet apply -f $F/cluster.yaml --nodes 2 --proxy-mode {mode} --node node-1");
        let told = folder.alone(&format!(
            "{CARD}exec 2>&1
            shown() {{ ip addr show eth0; ip route; nft list ruleset | grep -A1 foreign; ls /run/netns 2>/dev/null || true; ip -o link | wc -l; }}
            shown > $F/before
            echo '== dry'; {kubenet}
            shown | diff $F/before -
            echo '== done'; {kubenet} --yes
            echo '== made'; ls /run/netns; nft list ruleset | grep -c 10.96.0.80
            echo '== again'; {kubenet}
            echo '== and again'; {kubenet} --yes
            echo '== undo dry'; {kubenet} --undo
            ls /run/netns
            echo '== undo'; {kubenet} --undo --yes
            echo '== after'; shown | diff $F/before -
            echo '== undo again'; {kubenet} --undo --yes"
        ));
        let dry = section(&told, "dry");
        assert!(dry.lines().any(|line| line == "ip netns add kubenet_node-1_default_client"), "{dry}");
        assert!(dry.contains(" changes, none of them done: --yes does them"), "{dry}");
        assert!(!dry.contains("foreign"), "{dry}");
        assert!(section(&told, "done").contains(" changes done\n"), "{told}");
        assert!(section(&told, "made").starts_with("kubenet_node-1_default_client\n"), "{told}");
        for again in ["again", "and again", "undo again"] {
            assert!(section(&told, again).ends_with("node-1: nothing to change\n"), "{again}: {told}");
        }
        assert!(
            section(&told, "undo dry").contains("ip netns delete kubenet_node-1_default_client\n"),
            "{told}"
        );
        assert!(section(&told, "undo dry").ends_with("kubenet_node-1_default_client\n"), "{told}");
        assert!(section(&told, "undo").contains(" changes done\n"), "{told}");
        assert_eq!(section(&told, "after"), "", "{told}");
    }
}

#[test]
#[ignore = "makes namespaces: cargo xtask test kernel"]
fn a_node_without_its_card_is_refused_before_anything_is_changed() {
    let folder = Folder::new("card");
    let told = folder.alone(
        "mount -t tmpfs none /run
        exec 2>&1
        kubenet apply -f $F/cluster.yaml --node node-1 --yes && exit 1
        ip -o link | wc -l; ls /run",
    );
    assert!(told.contains("error: node node-1 has a card eth0, which is not in this namespace"), "{told}");
    assert!(told.ends_with("\n1\n"), "only lo is there, and no namespace: {told}");
}

#[test]
#[ignore = "makes namespaces: cargo xtask test kernel"]
fn nodes_that_are_observed_give_the_answers_that_their_manifests_give() {
    for mode in ["iptables", "nftables"] {
        let folder = Folder::new(&format!("observe-{mode}"));
        let cluster = folder.path("cluster.yaml");
        let input = ["-f", &cluster, "--nodes", "2", "--proxy-mode", mode];
        folder.ok(&[&["lab", "up", "--rootless"], &input[..]].concat());
        let mut dumps = Vec::new();
        for node in ["node-1", "node-2"] {
            let dump = folder.path(node);
            let kubenet = env!("CARGO_BIN_EXE_kubenet");
            let netns = format!("/run/netns/{node}");
            let told = folder
                .ok(&["lab", "exec", "gateway", "--", kubenet, "observe", "--netns", &netns, "-o", &dump]);
            assert_eq!(told, format!("written to {dump}, for kubenet: --dump {node}={dump}\n"));
            dumps.extend(["--dump".to_string(), format!("{node}={dump}")]);
            let again = folder
                .run(&["lab", "exec", "gateway", "--", kubenet, "observe", "--netns", node, "-o", &dump]);
            assert_eq!(again.status.code(), Some(2), "a folder that is there is not written into");
        }
        for to in ["svc/web:80", "pod/server:8080", NOBODY] {
            let answer = |dumps: &[&str]| {
                let output =
                    folder.run(&[&["trace", "pod/client", to, "-o", "json"], &input[..], dumps].concat());
                let trace: Value = serde_json::from_slice(&output.stdout).expect("a trace");
                let case = trace["outcomes"][0].clone();
                (
                    output.status.code(),
                    case["verdict"].clone(),
                    case["outcome"].clone(),
                    case["source_seen"].clone(),
                )
            };
            let dumps: Vec<&str> = dumps.iter().map(|word| &**word).collect();
            let seen = answer(&dumps);
            assert_eq!(seen, answer(&[]), "{mode}: {to}");
            assert_eq!(seen.0, Some(if to == NOBODY { 1 } else { 0 }), "{mode}: {to}: {seen:?}");
        }
    }
}

#[test]
fn what_cannot_be_is_said_before_the_kernel_is_asked() {
    let folder = Folder::new("words");
    let cluster = folder.path("cluster.yaml");
    let refused = |words: &[&str]| {
        let output = folder.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        text(&output.stderr)
    };
    let unknown = refused(&["apply", "-f", &cluster, "--node", "node-9"]);
    assert_eq!(unknown, "error: --node node-9: the cluster's nodes are node-1, node-2\n");
    let dump = folder.path("dump");
    let no_netns = refused(&["observe", "--netns", "no-such-namespace", "-o", &dump]);
    assert!(no_netns.starts_with("error: --netns no-such-namespace: "), "{no_netns}");
    let no_place = refused(&["observe", "--netns", &cluster, "-o", &dump]);
    assert_eq!(no_place, format!("error: --netns {cluster}: {cluster} is no namespace\n"));
    assert!(!Path::new(&dump).exists(), "nothing is written");
}
