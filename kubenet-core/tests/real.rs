//! Input that nobody here wrote: it loads without a false error, what it shows is recognised, and pods that run reach each
//! other or the reason is told why that is not known.
//!
//! Runs where the folder is: `$KUBENET_SHARED/real`, or `shared/real` beside the repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use kubenet_core::cluster::{Cluster, Evidence, InputMode, Setting};
use kubenet_core::k8s::load::{LoadOptions, Source, wants};
use kubenet_core::network::{Network, Question};
use kubenet_core::origin::Severity;
use kubenet_core::trace::{Outcome, Trace};

fn real() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/real");
    #[expect(clippy::disallowed_methods, reason = "a test reads its environment")]
    let named = std::env::var("KUBENET_SHARED").ok().map(|shared| Path::new(&shared).join("real"));
    named.into_iter().chain([beside]).find(|path| path.is_dir())
}

#[expect(clippy::disallowed_methods, reason = "a test reads its files")]
fn read(root: &Path, path: &Path, texts: &mut Vec<(String, Vec<u8>)>) {
    if path.is_dir() {
        let entries = path.read_dir().expect("a readable folder");
        let mut entries: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        entries.sort();
        entries.iter().for_each(|entry| read(root, entry, texts));
        return;
    }
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    if wants(&name) {
        texts.push((name, std::fs::read(path).expect("a readable file")));
    }
}

/// The network of a folder or file below `real`; `None` where that is not there.
fn network(name: &str) -> Option<Network> {
    let root = real()?;
    let path = root.join(name);
    if !path.exists() {
        return None;
    }
    let mut texts = Vec::new();
    read(&root, &path, &mut texts);
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, bytes)| Source { name, bytes }).collect();
    Some(Network::load(&sources, &LoadOptions::default(), Default::default(), None))
}

/// Errors and warnings, with their code and file.
fn told(network: &Network) -> String {
    let mut lines = String::new();
    for found in network.diagnostics().filter(|found| found.severity > Severity::Note) {
        let file = found.location.as_ref().map_or("", |location| &location.file);
        writeln!(lines, "{}[{}] {file}", found.severity, found.code).expect("text");
    }
    lines
}

#[test]
fn only_what_is_wrong_is_told() {
    for name in [
        "online-boutique/kubernetes-manifests.yaml",
        "kube-router-ipset",
        "insights-nodes",
        "npguard-iks-calico",
        "npguard-istio-bookinfo",
        "npguard-minikube",
        "openshift-aws-sdn",
        "sonobuoy-calico-1.8",
        "sonobuoy-kind-1.14",
        "sonobuoy-kind-1.21",
        "troubleshoot-k3s",
        "manifests/kube-flannel.yml",
        "manifests/kindnet-sigs-install.yaml",
        "manifests/antrea.yml",
        "manifests/azure-cilium-v1.18-overlay-daemonset.yaml",
        "manifests/kube-router-generic-kuberouter-all-features.yaml",
        "manifests/kube-router-kubeadm-kuberouter-all-features-dsr.yaml",
    ] {
        let Some(network) = network(name) else { continue };
        assert_eq!(told(&network), "", "{name}");
    }
    // A separator that does not stand on a line of its own is no separator for kubectl; here the line is split.
    if let Some(network) = network("online-boutique/network-policies.yaml") {
        let line = "warning[yaml-joined] online-boutique/network-policies.yaml\n";
        assert_eq!(told(&network), line);
    }
    if let Some(network) = network("manifests/microshift-ovn-node-daemonset.yaml") {
        let line = "error[helm-template] manifests/microshift-ovn-node-daemonset.yaml\n";
        assert_eq!(told(&network), line);
    }
}

/// A setting with a mark where nothing confirms it.
fn shown<T>(setting: &Setting<T>, text: impl Fn(&T) -> String) -> String {
    let mark = if setting.is_assumed() { "?" } else { "" };
    format!("{}{mark}", text(&setting.value))
}

fn recognised(network: &Network) -> String {
    let cluster: &Cluster = network.cluster();
    let s = &cluster.settings;
    let list = |nets: &Vec<_>| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mode = match cluster.mode {
        InputMode::Manifests => "manifests",
        InputMode::Snapshot => "snapshot",
    };
    let own = cluster.pods.iter().filter(|pod| !pod.host_network && !pod.addresses.is_empty()).count();
    let version = network.inventory().nodes.iter().find_map(|node| node.kubelet_version.clone());
    format!(
        "{mode}: {} nodes {}, {} pods ({own} with own address), {} Services\n{}, {}, {}, pods {}, Services {}, policies {}\n",
        cluster.nodes.len(),
        version.as_deref().unwrap_or("?"),
        cluster.pods.len(),
        cluster.services.len(),
        shown(&s.cni, ToString::to_string),
        shown(&s.underlay, ToString::to_string),
        shown(&s.proxy_mode, ToString::to_string),
        shown(&s.cluster_cidr, list),
        shown(&s.service_cidr, list),
        shown(&s.policy_enforced, ToString::to_string),
    )
}

#[test]
fn what_the_input_shows_is_recognised() {
    let check = |name: &str, expect: Expect| {
        if let Some(network) = network(name) {
            expect.assert_eq(&recognised(&network));
        }
    };
    check(
        "online-boutique/kubernetes-manifests.yaml",
        expect![[r#"
        manifests: 2 nodes ?, 12 pods (12 with own address), 12 Services
        bridge?, host-gw?, iptables?, pods 10.244.0.0/16?, Services 10.96.0.0/12?, policies false?
    "#]],
    );
    check(
        "kube-router-ipset",
        expect![[r#"
        manifests: 2 nodes ?, 2 pods (2 with own address), 6 Services
        bridge?, host-gw?, iptables?, pods 10.242.0.0/16,2001:db8:42::/48?, Services 10.96.0.0/12,2001:db8:42:1::/112?, policies false?
    "#]],
    );
    check(
        "manifests/kube-flannel.yml",
        expect![[r#"
        manifests: 2 nodes ?, 2 pods (0 with own address), 0 Services
        flannel, vxlan, iptables?, pods 10.244.0.0/16, Services 10.96.0.0/12?, policies false
    "#]],
    );
    check(
        "manifests/kindnet-sigs-install.yaml",
        expect![[r#"
            manifests: 2 nodes ?, 2 pods (0 with own address), 0 Services
            kindnet, host-gw, iptables?, pods 10.244.0.0/16?, Services 10.96.0.0/12?, policies true
        "#]],
    );
    check(
        "manifests/antrea.yml",
        expect![[r#"
        manifests: 2 nodes ?, 3 pods (0 with own address), 1 Services
        antrea, host-gw?, iptables?, pods 10.244.0.0/16?, Services 10.96.0.0/12?, policies true
    "#]],
    );
    check(
        "manifests/azure-cilium-v1.18-overlay-daemonset.yaml",
        expect![[r#"
        manifests: 2 nodes ?, 2 pods (0 with own address), 0 Services
        cilium, host-gw?, iptables?, pods 10.244.0.0/16?, Services 10.96.0.0/12?, policies true
    "#]],
    );
    check(
        "manifests/kube-router-generic-kuberouter-all-features.yaml",
        expect![[r#"
        manifests: 2 nodes ?, 2 pods (0 with own address), 0 Services
        kube-router, host-gw?, ipvs, pods 10.244.0.0/16?, Services 10.96.0.0/12?, policies true
    "#]],
    );
    check(
        "insights-nodes",
        expect![[r#"
        snapshot: 6 nodes v1.17.1, 0 pods (0 with own address), 0 Services
        openshift, host-gw?, iptables?, pods 10.244.0.0/16?, Services 10.96.0.0/12?, policies true
    "#]],
    );
    check(
        "npguard-iks-calico",
        expect![[r#"
        snapshot: 3 nodes ?, 29 pods (11 with own address), 0 Services
        calico, host-gw?, iptables?, pods 172.30.0.0/16?, Services 10.96.0.0/12?, policies true
    "#]],
    );
    check(
        "npguard-istio-bookinfo",
        expect![[r#"
        snapshot: 1 nodes ?, 6 pods (6 with own address), 0 Services
        bridge?, host-gw?, iptables?, pods 10.244.0.0/16?, Services 10.96.0.0/12?, policies false?
    "#]],
    );
    check(
        "npguard-minikube",
        expect![[r#"
        snapshot: 1 nodes ?, 12 pods (3 with own address), 0 Services
        calico, host-gw?, iptables?, pods 10.244.0.0/16, Services 10.96.0.0/12, policies true
    "#]],
    );
    check(
        "openshift-aws-sdn",
        expect![[r#"
        snapshot: 6 nodes v1.21.1+38b3ecc, 230 pods (100 with own address), 78 Services
        openshift-sdn, vxlan, iptables?, pods 10.128.0.0/14, Services 172.30.0.0/16, policies true
    "#]],
    );
    check(
        "sonobuoy-calico-1.8",
        expect![[r#"
        snapshot: 3 nodes v1.8.4, 19 pods (3 with own address), 5 Services
        calico, host-gw?, iptables, pods 192.168.0.0/16?, Services 10.96.0.0/12, policies true
    "#]],
    );
    check(
        "sonobuoy-kind-1.14",
        expect![[r#"
        snapshot: 1 nodes v1.14.2, 16 pods (3 with own address), 3 Services
        kindnet, host-gw, iptables?, pods 10.244.0.0/16, Services 10.96.0.0/12, policies false
    "#]],
    );
    check(
        "sonobuoy-kind-1.21",
        expect![[r#"
        snapshot: 1 nodes v1.21.1, 22 pods (7 with own address), 206 Services
        kindnet, host-gw, iptables, pods 10.244.0.0/16, Services 10.96.0.0/16, policies false
    "#]],
    );
    check(
        "troubleshoot-k3s",
        expect![[r#"
        snapshot: 1 nodes v1.24.4+k3s1, 8 pods (6 with own address), 4 Services
        flannel, vxlan, iptables, pods 10.42.0.0/16, Services 10.43.0.0/16, policies true
    "#]],
    );
}

#[test]
fn what_is_detected_says_where() {
    for name in ["openshift-aws-sdn", "sonobuoy-kind-1.21", "troubleshoot-k3s", "npguard-minikube"] {
        let Some(network) = network(name) else { continue };
        for line in network.inventory().settings {
            if let Evidence::Detected { because, origin } = line.evidence {
                assert!(!because.is_empty(), "{name}: {}", line.key);
                assert!(origin.location().is_some(), "{name}: {} {origin}", line.key);
            }
        }
    }
}

#[test]
fn a_snapshot_names_the_kinds_that_it_lacks() {
    let Some(network) = network("npguard-istio-bookinfo") else { return };
    let commands: Vec<&str> = network.cluster().missing.iter().map(|missing| &*missing.command).collect();
    assert_eq!(
        commands,
        [
            "kubectl get nodes -o yaml > nodes.yaml",
            "kubectl get networkpolicies -A -o yaml > networkpolicies.yaml",
            "kubectl get services -A -o yaml > services.yaml",
            "kubectl get endpointslices.discovery.k8s.io -A -o yaml > endpointslices.yaml",
        ]
    );
}

/// Pairs of pods that are ready and have addresses of their own: on one node and on two.
fn pairs(cluster: &Cluster) -> Vec<(u32, u32)> {
    let fit = |place: &u32| {
        let pod = &cluster.pods[*place as usize];
        !pod.host_network && !pod.terminal && pod.ready && !pod.terminating && !pod.addresses.is_empty()
    };
    let fit: Vec<u32> = (0..cluster.pods.len() as u32).filter(fit).collect();
    let node = |place: &u32| cluster.pods[*place as usize].node;
    let mut pairs = Vec::new();
    for from in fit.iter().take(8) {
        pairs.extend(fit.iter().find(|to| *to != from && node(to) == node(from)).map(|to| (*from, *to)));
        pairs.extend(fit.iter().rev().find(|to| node(to) != node(from)).map(|to| (*from, *to)));
    }
    pairs
}

#[test]
fn pods_that_run_reach_each_other_or_it_is_told_why_that_is_not_known() {
    // Input, and whether anything of it is known for certain.
    let all = [
        ("online-boutique/kubernetes-manifests.yaml", true),
        ("kube-router-ipset", true),
        ("npguard-iks-calico", false),
        ("npguard-istio-bookinfo", false),
        ("npguard-minikube", false),
        ("openshift-aws-sdn", false),
        ("sonobuoy-calico-1.8", false),
        ("sonobuoy-kind-1.14", true),
        ("sonobuoy-kind-1.21", true),
        ("troubleshoot-k3s", true),
    ];
    for (name, certain) in all {
        let Some(network) = network(name) else { continue };
        let cluster = network.cluster();
        let pairs = pairs(cluster);
        assert!(!pairs.is_empty(), "{name}");
        let mut delivered = 0;
        for (from, to) in pairs {
            let (from, to) = (&cluster.pods[from as usize], &cluster.pods[to as usize]);
            let port = to.containers.iter().flat_map(|c| &c.ports).map(|port| port.port).next().unwrap_or(80);
            let question = Question::new(
                format!("{}/pod/{}", from.namespace, from.name),
                format!("{}/pod/{}:{port}", to.namespace, to.name),
            );
            let trace = network.trace(&question).unwrap_or_else(|error| panic!("{name}: {error}"));
            delivered += delivered_or_unknown(name, &trace);
        }
        assert_eq!(delivered > 0, certain, "{name}: {delivered}");
    }
}

/// How many cases are delivered; the others say why that is not known.
fn delivered_or_unknown(name: &str, trace: &Trace) -> usize {
    let mut delivered = 0;
    for case in &trace.outcomes {
        match case.outcome {
            Outcome::Delivered => delivered += 1,
            Outcome::Unknown => {
                let reason = case.reason.as_ref().unwrap_or_else(|| panic!("{name}: no reason"));
                assert!(!reason.text.is_empty(), "{name}");
                let settle = reason.what_would_settle_it.as_deref();
                assert!(settle.is_some_and(|settle| !settle.is_empty()), "{name}: {}", reason.text);
            }
            Outcome::Dropped | Outcome::Rejected | Outcome::Loop => {
                panic!("{name}: {:?}: {:?}", case.outcome, case.reason)
            }
        }
    }
    delivered
}
