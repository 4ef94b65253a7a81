//! What of an object is not kept although it is read.
//!
//! Secret data and values of environment variables are never read in the first place: no type here has a field for them. They hide in
//! two more places: `kubectl apply` and other tools copy the whole manifest into an annotation, and ConfigMaps hold the
//! settings of applications. So annotations that hold a manifest are taken off, and of ConfigMaps only those keep their data that say
//! how the network is set up.

use crate::k8s::types::{ConfigMap, ObjectMeta};

/// Namespaces of the parts of a cluster that set the network up.
const NAMESPACES: [&str; 10] = [
    "kube-system",
    "kube-flannel",
    "kube-public",
    "calico-system",
    "tigera-operator",
    "metallb-system",
    "ingress-nginx",
    "istio-system",
    "cilium",
    "antrea-system",
];

/// Prefixes of names of ConfigMaps that set the network up, wherever they are.
const NAMES: [&str; 27] = [
    "amazon-vpc-cni",
    "antrea",
    "aws-node",
    "azure-ip-masq",
    "calico",
    "canal",
    "cilium",
    "cluster-dns",
    "cni",
    "coredns",
    "flannel",
    "ip-masq-agent",
    "istio",
    "kindnet",
    "kube-dns",
    "kube-flannel",
    "kube-ovn",
    "kube-proxy",
    "kube-router",
    "kubeadm-config",
    "kubelet-config",
    "linkerd",
    "metallb",
    "node-local-dns",
    "ovn",
    "sdn",
    "weave",
];

/// Takes the data off a ConfigMap that says nothing about the network.
pub(super) fn config_map(map: &mut ConfigMap) {
    let ObjectMeta { namespace, name, .. } = &map.metadata;
    let namespace = namespace.as_deref().unwrap_or_default();
    let openshift = namespace.starts_with("openshift-")
        && ["sdn", "ovn", "network", "multus", "dns", "ingress"].iter().any(|part| namespace.contains(part));
    let keep =
        NAMESPACES.contains(&namespace) || openshift || NAMES.iter().any(|prefix| name.starts_with(prefix));
    if !keep {
        map.data.clear();
    }
}

/// Takes off the annotations that hold a whole manifest.
pub(super) fn metadata(metadata: &mut ObjectMeta) {
    metadata.annotations.retain(|key, value| {
        let manifest = value.contains("\"apiVersion\"") && value.contains("\"kind\"");
        &**key != "kubectl.kubernetes.io/last-applied-configuration" && !manifest
    });
}
