//! Input that nobody here wrote resolves without a false error.
//!
//! Runs where the folder is: `$KUBENET_SHARED/real`, or `shared/real` beside the repository. The YAML is read by serde-saphyr,
//! which is not the library's own loader.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kubenet_core::assume::Assume;
use kubenet_core::cluster::{Cluster, InputMode, resolve};
use kubenet_core::k8s::Objects;
use kubenet_core::origin::{Diagnostic, Severity};

fn real() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/real");
    #[expect(clippy::disallowed_methods, reason = "a test reads its environment")]
    let named = std::env::var("KUBENET_SHARED").ok().map(|shared| Path::new(&shared).join("real"));
    named.into_iter().chain([beside]).find(|path| path.is_dir())
}

#[expect(clippy::disallowed_methods, reason = "a test reads its files")]
fn load(path: &Path, objects: &mut Objects) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = path
            .read_dir()
            .expect("a readable folder")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        entries.sort();
        entries.iter().for_each(|entry| load(entry, objects));
        return;
    }
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let values: Vec<serde_json::Value> = match extension {
        "json" => serde_json::from_str(&text).into_iter().collect(),
        "yaml" | "yml" => serde_saphyr::from_multiple(&text).unwrap_or_default(),
        _ => Vec::new(),
    };
    for value in values {
        let Some(value) = with_kind(path, value) else { continue };
        if let Err(error) = objects.put_json(&value) {
            panic!("{}: {error}", path.display());
        }
    }
}

/// Old exports are bare lists; the kind is in the file's name (`Pods.json`, `core_v1_pods.json`).
fn with_kind(path: &Path, value: serde_json::Value) -> Option<serde_json::Value> {
    if value.get("kind").is_some() {
        return Some(value);
    }
    let items = value.get("items").cloned().unwrap_or(value);
    items.as_array()?;
    let stem = path.file_stem()?.to_str()?.rsplit('_').next()?.to_lowercase();
    let kinds = ["Pod", "Node", "Service", "Endpoints", "DaemonSet", "ConfigMap"];
    let kind =
        kinds.iter().find(|kind| stem.trim_end_matches('s') == kind.to_lowercase().trim_end_matches('s'))?;
    Some(serde_json::json!({"kind": format!("{kind}List"), "items": items}))
}

fn resolved(name: &str) -> Option<(Cluster, Vec<Diagnostic>)> {
    let folder = real()?.join(name);
    if !folder.exists() {
        return None;
    }
    let mut objects = Objects::default();
    load(&folder, &mut objects);
    Some(resolve(&Arc::new(objects), &Assume::default(), None))
}

#[test]
fn what_nobody_here_wrote_resolves_without_a_warning() {
    use InputMode::{Manifests, Snapshot};
    // Folder, mode, nodes, pods, pods with an address of their own, Services.
    let all = [
        ("online-boutique", Manifests, 2, 12, 12, 12),
        ("kube-router-ipset", Manifests, 2, 2, 2, 6),
        ("manifests", Manifests, 2, 11, 0, 1),
        ("insights-nodes", Snapshot, 6, 0, 0, 0),
        ("npguard-iks-calico", Snapshot, 3, 29, 11, 0),
        ("npguard-istio-bookinfo", Snapshot, 1, 6, 6, 0),
        ("npguard-minikube", Snapshot, 1, 12, 3, 0),
        ("openshift-aws-sdn", Snapshot, 6, 230, 100, 78),
        ("sonobuoy-calico-1.8", Snapshot, 3, 19, 3, 5),
        ("sonobuoy-kind-1.14", Snapshot, 1, 16, 3, 3),
        ("sonobuoy-kind-1.21", Snapshot, 1, 22, 7, 206),
        ("troubleshoot-k3s", Snapshot, 1, 8, 6, 4),
    ];
    for (name, mode, nodes, pods, own, services) in all {
        let Some((cluster, log)) = resolved(name) else { continue };
        let told: Vec<&Diagnostic> = log.iter().filter(|d| d.severity > Severity::Note).collect();
        assert!(told.is_empty(), "{name}: {told:?}");
        let with_own = cluster.pods.iter().filter(|p| !p.host_network && !p.addresses.is_empty()).count();
        let got = (cluster.mode, cluster.nodes.len(), cluster.pods.len(), with_own, cluster.services.len());
        assert_eq!(got, (mode, nodes, pods, own, services), "{name}");
        for pod in cluster.pods.iter().filter(|pod| !pod.terminal && !pod.addresses.is_empty()) {
            let inside = |addr| cluster.settings.cluster_cidr.value.iter().any(|net| net.contains(addr));
            assert!(pod.host_network || pod.addresses.iter().all(inside), "{name}: {pod:?}");
        }
        for service in cluster.services.iter() {
            let inside = |addr| cluster.settings.service_cidr.value.iter().any(|net| net.contains(addr));
            assert!(service.cluster_ips.iter().all(inside), "{name}: {service:?}");
        }
    }
}

#[test]
fn a_snapshot_names_the_kinds_that_it_lacks() {
    let Some((cluster, _)) = resolved("npguard-istio-bookinfo") else { return };
    let commands: Vec<&str> = cluster.missing.iter().map(|missing| &*missing.command).collect();
    assert_eq!(
        commands,
        [
            "kubectl get nodes -o yaml",
            "kubectl get networkpolicies -A -o yaml",
            "kubectl get services -A -o yaml",
            "kubectl get endpointslices.discovery.k8s.io -A -o yaml",
        ]
    );
}
