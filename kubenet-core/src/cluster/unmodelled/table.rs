//! What is recognised, as data.
//!
//! Kinds and names are those of the projects' own API types and installers.

use crate::cluster::Effect::{self, Change, Forbid};

/// Whose packets objects of a kind could touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Those of the pods of its namespace; every packet where the input does not say the namespace.
    Namespace,
    /// Every packet.
    Everything,
    /// Those of the pods of its namespace, in manifests: in a snapshot a pod of a mesh shows its sidecar.
    Meshed,
    /// Those to virtual addresses of Services.
    Services,
    /// Those between the pods of its namespace and hosts outside of the cluster.
    NamespaceOutside,
    /// Those between the cluster and hosts outside of it.
    Outside,
}

/// What objects of some kinds could do.
#[derive(Clone, Copy, Debug)]
pub(super) struct KindRule {
    pub(super) group: &'static str,
    pub(super) kinds: &'static [&'static str],
    pub(super) whose: Whose,
    pub(super) effect: Effect,
    /// To follow the object's name.
    pub(super) does: &'static str,
}

const fn rule(
    group: &'static str,
    kinds: &'static [&'static str],
    whose: Whose,
    effect: Effect,
    does: &'static str,
) -> KindRule {
    KindRule { group, kinds, whose, effect, does }
}

const POLICY: &str = "could forbid it";
const ADDRESS: &str = "could change the address that it leaves with";

/// Kinds that are not read.
pub(super) const KINDS: [KindRule; 30] = [
    rule("cilium.io", &["CiliumNetworkPolicy"], Whose::Namespace, Forbid, POLICY),
    rule("cilium.io", &["CiliumClusterwideNetworkPolicy"], Whose::Everything, Forbid, POLICY),
    rule("cilium.io", &["CiliumLocalRedirectPolicy"], Whose::Everything, Change, "could redirect it"),
    rule(
        "cilium.io",
        &["CiliumEnvoyConfig", "CiliumClusterwideEnvoyConfig"],
        Whose::Services,
        Change,
        "could send it through Envoy",
    ),
    rule("cilium.io", &["CiliumEgressGatewayPolicy"], Whose::Outside, Change, ADDRESS),
    rule("isovalent.com", &["IsovalentEgressGatewayPolicy"], Whose::Outside, Change, ADDRESS),
    rule("crd.projectcalico.org", &["NetworkPolicy"], Whose::Namespace, Forbid, POLICY),
    rule("crd.projectcalico.org", &["GlobalNetworkPolicy"], Whose::Everything, Forbid, POLICY),
    rule("crd.projectcalico.org", &["EgressGatewayPolicy"], Whose::Outside, Change, ADDRESS),
    rule("projectcalico.org", &["NetworkPolicy"], Whose::Namespace, Forbid, POLICY),
    rule("projectcalico.org", &["GlobalNetworkPolicy"], Whose::Everything, Forbid, POLICY),
    rule("projectcalico.org", &["EgressGatewayPolicy"], Whose::Outside, Change, ADDRESS),
    rule("crd.antrea.io", &["NetworkPolicy"], Whose::Namespace, Forbid, POLICY),
    rule("crd.antrea.io", &["ClusterNetworkPolicy"], Whose::Everything, Forbid, POLICY),
    rule("crd.antrea.io", &["TrafficControl"], Whose::Everything, Change, "could redirect it"),
    rule("crd.antrea.io", &["Egress"], Whose::Outside, Change, ADDRESS),
    rule("security.antrea.tanzu.vmware.com", &["NetworkPolicy"], Whose::Namespace, Forbid, POLICY),
    rule("security.antrea.tanzu.vmware.com", &["ClusterNetworkPolicy"], Whose::Everything, Forbid, POLICY),
    rule(
        "policy.networking.k8s.io",
        &["AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"],
        Whose::Everything,
        Forbid,
        POLICY,
    ),
    rule("networking.k8s.aws", &["ApplicationNetworkPolicy"], Whose::Namespace, Forbid, POLICY),
    rule("networking.k8s.aws", &["ClusterNetworkPolicy"], Whose::Everything, Forbid, POLICY),
    rule("network.openshift.io", &["EgressNetworkPolicy"], Whose::NamespaceOutside, Forbid, POLICY),
    rule("k8s.ovn.org", &["EgressFirewall"], Whose::NamespaceOutside, Forbid, POLICY),
    rule("k8s.ovn.org", &["EgressIP", "EgressService"], Whose::Outside, Change, ADDRESS),
    rule(
        "k8s.ovn.org",
        &["AdminPolicyBasedExternalRoute"],
        Whose::Outside,
        Change,
        "could send it by another gateway",
    ),
    rule(
        "k8s.ovn.org",
        &["UserDefinedNetwork"],
        Whose::Namespace,
        Change,
        "could give its pods another network",
    ),
    rule(
        "k8s.ovn.org",
        &["ClusterUserDefinedNetwork"],
        Whose::Everything,
        Change,
        "could give pods another network",
    ),
    rule("kubeovn.io", &["SecurityGroup", "Vpc"], Whose::Everything, Change, "could separate pods"),
    rule("networking.gke.io", &["EgressNATPolicy"], Whose::Outside, Change, ADDRESS),
    rule("security.istio.io", &["AuthorizationPolicy", "PeerAuthentication"], Whose::Meshed, Forbid, POLICY),
];

/// A container that redirects its pod's connections to itself.
pub(super) struct Sidecar {
    pub(super) container: &'static str,
    pub(super) mesh: &'static str,
    /// The init container that redirects; without it the container is only a proxy.
    pub(super) by: Option<&'static str>,
}

const fn sidecar(container: &'static str, mesh: &'static str, by: Option<&'static str>) -> Sidecar {
    Sidecar { container, mesh, by }
}

pub(super) const SIDECARS: [Sidecar; 8] = [
    sidecar("istio-proxy", "Istio", None),
    sidecar("linkerd-proxy", "Linkerd", None),
    sidecar("kuma-sidecar", "Kuma", None),
    sidecar("consul-dataplane", "Consul", None),
    sidecar("envoy-sidecar", "Consul", None),
    sidecar("envoy", "App Mesh", Some("proxyinit")),
    sidecar("envoy", "Open Service Mesh", Some("osm-init")),
    sidecar("envoy", "Consul", Some("consul-connect-inject-init")),
];

/// A label or annotation that asks for a sidecar, on a pod or else on its namespace.
pub(super) struct Injection {
    pub(super) key: &'static str,
    /// The values that ask for it; any but `disabled` and `false` where there are none.
    pub(super) values: &'static [&'static str],
    pub(super) mesh: &'static str,
    /// There is no sidecar that a running pod would show.
    pub(super) ambient: bool,
}

const fn injection(key: &'static str, values: &'static [&'static str], mesh: &'static str) -> Injection {
    Injection { key, values, mesh, ambient: false }
}

pub(super) const INJECTIONS: [Injection; 8] = [
    injection("sidecar.istio.io/inject", &["true"], "Istio"),
    injection("istio-injection", &["enabled"], "Istio"),
    injection("istio.io/rev", &[], "Istio"),
    injection("linkerd.io/inject", &["enabled", "ingress"], "Linkerd"),
    injection("kuma.io/sidecar-injection", &["enabled", "true"], "Kuma"),
    injection("consul.hashicorp.com/connect-inject", &["true"], "Consul"),
    injection("openservicemesh.io/sidecar-injection", &["enabled", "true"], "Open Service Mesh"),
    Injection { ambient: true, ..injection("istio.io/dataplane-mode", &["ambient"], "Istio's ambient mode") },
];

/// The annotation by which Multus gives a pod further interfaces.
pub(super) const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// A label of pods that are virtual machines with a network stack of their own.
pub(super) const VIRTUAL_MACHINE: (&str, &str) = ("kubevirt.io", "virt-launcher");

/// A label or annotation of a node whose network is not that of Linux.
pub(super) struct NodeRule {
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    /// To follow the node's name.
    pub(super) is: &'static str,
}

pub(super) const NODES: [NodeRule; 4] = [
    NodeRule { key: "kubernetes.io/os", value: "windows", is: "runs Windows" },
    NodeRule { key: "beta.kubernetes.io/os", value: "windows", is: "runs Windows" },
    NodeRule { key: "type", value: "virtual-kubelet", is: "is virtual (virtual-kubelet)" },
    NodeRule { key: "kwok.x-k8s.io/node", value: "fake", is: "is simulated (kwok)" },
];
