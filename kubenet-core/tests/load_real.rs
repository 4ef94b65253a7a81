//! Input that nobody here wrote loads without a false error.
//!
//! Runs where the folder is: `$KUBENET_SHARED/real`, or `shared/real` beside the repository.

use std::path::{Path, PathBuf};

use kubenet_core::k8s::load::{LoadOptions, Loaded, Source, load, wants};
use kubenet_core::origin::{Diagnostic, Severity};

fn real() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/real");
    #[expect(clippy::disallowed_methods, reason = "a test reads its environment")]
    let named = std::env::var("KUBENET_SHARED").ok().map(|shared| Path::new(&shared).join("real"));
    named.into_iter().chain([beside]).find(|path| path.is_dir())
}

#[expect(clippy::disallowed_methods, reason = "a test reads its files")]
fn walk(path: &Path, root: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    let mut entries: Vec<PathBuf> =
        path.read_dir().expect("a readable folder").filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for entry in entries {
        let name = entry.strip_prefix(root).unwrap_or(&entry).to_string_lossy().into_owned();
        if entry.is_dir() {
            walk(&entry, root, files);
        } else if wants(&name) {
            files.push((name, std::fs::read(&entry).expect("a readable file")));
        }
    }
}

fn loaded(name: &str) -> Option<Loaded> {
    let root = real()?;
    let folder = root.join(name);
    if !folder.exists() {
        return None;
    }
    let mut files = Vec::new();
    walk(&folder, &root, &mut files);
    let sources: Vec<Source<'_>> = files.iter().map(|(name, bytes)| Source { name, bytes }).collect();
    Some(load(&sources, &LoadOptions::default()))
}

#[test]
fn what_nobody_here_wrote_loads_without_a_false_error() {
    // Folder; Nodes, Namespaces, Pods, Deployments, DaemonSets, Services, Endpoints, EndpointSlices, NetworkPolicies.
    let all: [(&str, [usize; 9]); 17] = [
        ("azure-aks-npm", [0; 9]),
        ("insights-nmstate", [0; 9]),
        ("insights-nodes", [6, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("iptables-plain", [0; 9]),
        ("jc-linux", [0; 9]),
        ("kube-router-ipset", [2, 0, 2, 0, 0, 6, 0, 0, 2]),
        ("manifests", [0, 1, 0, 1, 5, 1, 0, 0, 0]),
        ("npguard-iks-calico", [0, 8, 29, 0, 0, 0, 0, 0, 1]),
        ("npguard-istio-bookinfo", [0, 0, 6, 0, 0, 0, 0, 0, 0]),
        ("npguard-minikube", [0, 5, 12, 0, 0, 0, 0, 0, 0]),
        ("online-boutique", [0, 0, 0, 12, 0, 12, 0, 0, 13]),
        ("openshift-aws-sdn", [6, 0, 230, 0, 18, 78, 77, 77, 0]),
        ("procfs-ipvs", [0; 9]),
        ("sonobuoy-calico-1.8", [3, 0, 19, 0, 4, 5, 7, 0, 0]),
        ("sonobuoy-kind-1.14", [1, 0, 16, 0, 6, 3, 5, 0, 0]),
        ("sonobuoy-kind-1.21", [1, 0, 22, 0, 3, 206, 207, 0, 0]),
        ("troubleshoot-k3s", [1, 4, 8, 5, 0, 4, 0, 0, 0]),
    ];
    for (name, counts) in all {
        let Some(Loaded { objects, diagnostics, .. }) = loaded(name) else { continue };
        // A template is an error, and rightly so.
        let wrong = |found: &&Diagnostic| found.severity == Severity::Error && found.code != "helm-template";
        let told: Vec<String> = diagnostics.iter().filter(wrong).map(ToString::to_string).collect();
        assert!(told.is_empty(), "{name}: {told:#?}");
        let kinds = [
            "Node",
            "Namespace",
            "Pod",
            "Deployment",
            "DaemonSet",
            "Service",
            "Endpoints",
            "EndpointSlice",
            "NetworkPolicy",
        ];
        assert_eq!(kinds.map(|kind| objects.count(kind)), counts, "{name}");
        for object in objects.iter() {
            assert!(object.origin().location().is_some(), "{name}: {:?}", object.origin());
        }
    }
}

#[test]
fn a_kind_that_was_asked_for_and_found_empty_is_collected() {
    let Some(Loaded { objects, .. }) = loaded("troubleshoot-k3s") else { return };
    assert_eq!(objects.count("NetworkPolicy"), 0);
    assert!(objects.collected.contains("NetworkPolicy") && !objects.collected.contains("EndpointSlice"));
}
