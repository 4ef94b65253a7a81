//! What the path of a file says about what is in it.

use alloc::borrow::Cow;
use alloc::string::String;

/// Kinds and the names under which the API and dumps list them.
const RESOURCES: [(&str, &[&str]); 26] = [
    ("Node", &["nodes", "node", "no"]),
    ("Namespace", &["namespaces", "namespace", "ns"]),
    ("Pod", &["pods", "pod", "po"]),
    ("Deployment", &["deployments", "deployment", "deploy"]),
    ("ReplicaSet", &["replicasets", "replicaset", "replica-sets", "rs"]),
    ("StatefulSet", &["statefulsets", "statefulset", "stateful-sets", "sts"]),
    ("DaemonSet", &["daemonsets", "daemonset", "daemon-sets", "ds"]),
    ("Job", &["jobs", "job"]),
    ("CronJob", &["cronjobs", "cronjob", "cron-jobs", "cj"]),
    (
        "ReplicationController",
        &["replicationcontrollers", "replicationcontroller", "replication-controllers", "rc"],
    ),
    ("Service", &["services", "service", "svc"]),
    ("Endpoints", &["endpoints", "ep"]),
    ("EndpointSlice", &["endpointslices", "endpointslice", "endpoint-slices"]),
    ("ConfigMap", &["configmaps", "configmap", "config-maps", "cm"]),
    (
        "NetworkPolicy",
        &["networkpolicies", "networkpolicy", "network-policies", "network-policy", "netpols", "netpol"],
    ),
    ("Ingress", &["ingresses", "ingress", "ing"]),
    ("IngressClass", &["ingressclasses", "ingressclass", "ingress-classes"]),
    ("IPAddressPool", &["ipaddresspools", "ipaddresspool"]),
    ("L2Advertisement", &["l2advertisements", "l2advertisement"]),
    ("BGPAdvertisement", &["bgpadvertisements", "bgpadvertisement"]),
    ("GlobalNetworkPolicy", &["globalnetworkpolicies"]),
    ("CiliumNetworkPolicy", &["ciliumnetworkpolicies"]),
    ("ClusterNetworkPolicy", &["clusternetworkpolicies"]),
    ("Secret", &["secrets", "secret"]),
    ("Event", &["events", "event"]),
    ("ServiceAccount", &["serviceaccounts", "serviceaccount", "service-accounts", "sa"]),
];

/// Whether a file of a folder is worth reading, from its path alone.
///
/// Manifests and dumps are `.yaml`, `.yml` and `.json` files. Left out are those that tools put beside them and that hold no objects,
/// hidden files and folders, and dependencies. A file that is named on its own is worth reading whatever it is called.
///
/// ```
/// use kubenet_core::k8s::load::wants;
///
/// assert!(wants("dump/kube-system/pods.json"));
/// assert!(!wants("dump/kube-system/coredns-5d78c9869d-4hx2z/logs.txt"));
/// assert!(!wants("chart/Chart.yaml"));
/// ```
pub fn wants(path: &str) -> bool {
    const FOLDERS: [&str; 4] = ["node_modules", "__pycache__", "venv", "podlogs"];
    const NAMES: [&str; 22] = [
        "chart",
        "chart.lock",
        "compose",
        "docker-compose",
        "package",
        "package-lock",
        "composer",
        "tsconfig",
        "requirements",
        "values.schema",
        "openapi",
        "swagger",
        "mkdocs",
        "renovate",
        "skaffold",
        "serverversion",
        "server_version",
        "servergroups",
        "cluster_version",
        "pnpm-lock",
        "configz",
        "healthz",
    ];
    let mut parts = path.split(['/', '\\']).rev();
    let name = parts.next().unwrap_or("");
    let hidden = |part: &str| part.starts_with('.') && part != "." && part != "..";
    if hidden(name) || parts.any(|part| hidden(part) || FOLDERS.contains(&part)) {
        return false;
    }
    if matches!(name, "Kustomization") {
        return true;
    }
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let stem = stem.to_ascii_lowercase();
    let values = stem == "values" || stem.starts_with("values-") || stem.starts_with("values.");
    matches!(&*extension.to_ascii_lowercase(), "yaml" | "yml" | "json") && !values && !NAMES.contains(&&*stem)
}

/// What a path says about objects that do not say what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hint {
    /// Their kind.
    pub(super) kind: Option<Cow<'static, str>>,
    /// It is JSON by its name.
    pub(super) json: bool,
    /// It is kustomize's file by its name.
    pub(super) kustomization: bool,
}

impl Hint {
    /// Reads a path: `resources/ns/NAME/Pods.json` and `core_v1_pods.json` (Sonobuoy), `NS/pods.json` (`cluster-info dump`),
    /// `cluster-resources/pods/NS.json` (troubleshoot), `namespaces/NS/core/pods.yaml` (must-gather).
    pub(super) fn of(path: &str) -> Self {
        let mut parts = path.split(['/', '\\']).rev();
        let name = parts.next().unwrap_or("");
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let folder = parts.next().unwrap_or("");
        let resource = stem.rsplit('_').next().unwrap_or(stem);
        // In a folder that is named after a resource, files are named after namespaces or objects.
        let foreign = stem.split_once('_').is_some_and(|(group, _)| !ours(group));
        let known = kind_of(resource).filter(|_| !foreign);
        let kind = known
            .map(Cow::Borrowed)
            .or_else(|| camel(resource))
            .or_else(|| kind_of(folder).map(Cow::Borrowed));
        Self {
            kind,
            json: extension.eq_ignore_ascii_case("json"),
            kustomization: matches!(name, "kustomization.yaml" | "kustomization.yml" | "Kustomization"),
        }
    }
}

/// Whether the first word of `GROUP_VERSION_RESOURCE` names a group of Kubernetes itself.
fn ours(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io")
}

fn kind_of(resource: &str) -> Option<&'static str> {
    let resource = resource.to_ascii_lowercase();
    RESOURCES.iter().find(|(_, names)| names.contains(&&*resource)).map(|(kind, _)| *kind)
}

/// `LimitRanges` and the like, as old Sonobuoys name files: the kind is the singular.
fn camel(resource: &str) -> Option<Cow<'static, str>> {
    let singular = resource.strip_suffix('s')?;
    let is_camel = resource.starts_with(|c: char| c.is_ascii_uppercase())
        && resource.chars().all(|c| c.is_ascii_alphanumeric());
    is_camel.then(|| Cow::Owned(String::from(singular)))
}

#[cfg(test)]
mod tests {
    use super::{Hint, wants};

    #[test]
    fn manifests_and_dumps_are_read_and_what_lies_beside_them_is_not() {
        for path in [
            "web.yaml",
            "a/b/web.YML",
            "pods.json",
            "kustomization.yaml",
            "../shared/x.yaml",
            "./x.yaml",
            "chart/templates/deployment.yaml",
            "cluster-scoped-resources/core/nodes/ip-10-0-1-2.ec2.internal.yaml",
        ] {
            assert!(wants(path), "{path}");
        }
        for path in [
            "README.md",
            "iptables-save",
            "logs.txt",
            "dump.tar.gz",
            "chart/Chart.yaml",
            "chart/values.yaml",
            "chart/values-prod.yaml",
            "chart/templates/_helpers.tpl",
            ".github/workflows/ci.yaml",
            "a/.hidden.yaml",
            "node_modules/x/package.json",
            "docker-compose.yml",
            "serverversion.json",
            "",
        ] {
            assert!(!wants(path), "{path}");
        }
    }

    #[test]
    fn a_path_tells_the_kind() {
        for (path, kind) in [
            ("resources/ns/kube-system/Pods.json", Some("Pod")),
            ("resources/ns/default/core_v1_pods.json", Some("Pod")),
            ("resources/ns/default/extensions_v1beta1_daemonsets.json", Some("DaemonSet")),
            ("resources/ns/default/networking.k8s.io_v1_networkpolicies.json", Some("NetworkPolicy")),
            ("resources/ns/default/crd.projectcalico.org_v1_networkpolicies.json", None),
            ("kube-system/replication-controllers.json", Some("ReplicationController")),
            ("nodes.json", Some("Node")),
            ("cluster-resources/network-policy/default.json", Some("NetworkPolicy")),
            ("cluster-resources/pods/kube-system.json", Some("Pod")),
            ("resources/ns/default/LimitRanges.json", Some("LimitRange")),
            ("bookinfo_pods_list.json", None),
            ("web.yaml", None),
            ("-", None),
        ] {
            assert_eq!(Hint::of(path).kind.as_deref(), kind, "{path}");
        }
    }
}
