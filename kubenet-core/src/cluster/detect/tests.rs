use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::detect;
use crate::assume::Assume;
use crate::cluster::{Evidence, Setting};
use crate::k8s::Objects;

/// What is detected of these objects: settings with their evidence, what is not modelled, and what is told.
fn check(values: &[Value], expect: Expect) {
    expect.assert_eq(&shown(values));
}

fn shown(values: &[Value]) -> String {
    shown_under(values, "{}")
}

/// The same where the user says something too.
fn shown_under(values: &[Value], assume: &str) -> String {
    let mut objects = Objects::default();
    for value in values {
        objects.put_json(value).unwrap_or_else(|e| panic!("{e}"));
    }
    let mut log = Vec::new();
    let assume = serde_json::from_str(assume).unwrap();
    let detected = detect(&objects, &assume, &mut log);
    let mut lines: Vec<String> = Vec::new();
    fn line<T>(lines: &mut Vec<String>, key: &str, setting: &Setting<T>, text: impl Fn(&T) -> String) {
        if let Evidence::Detected { because, .. } = &setting.evidence {
            lines.push(format!("{key} {}: {because}", text(&setting.value)));
        }
    }
    let list = |nets: &Vec<ipnet::IpNet>| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let s = &detected.settings;
    line(&mut lines, "cni", &s.cni, ToString::to_string);
    line(&mut lines, "underlay", &s.underlay, ToString::to_string);
    line(&mut lines, "clusterCidr", &s.cluster_cidr, list);
    line(&mut lines, "serviceCidr", &s.service_cidr, list);
    line(&mut lines, "nodeNetwork", &s.node_network, list);
    line(&mut lines, "nodeCidrMaskV4", &s.node_cidr_mask_v4, ToString::to_string);
    line(&mut lines, "nodeCidrMaskV6", &s.node_cidr_mask_v6, ToString::to_string);
    line(&mut lines, "mtu", &s.mtu, ToString::to_string);
    line(&mut lines, "proxyMode", &s.proxy_mode, ToString::to_string);
    line(&mut lines, "ipvsScheduler", &s.ipvs_scheduler, Clone::clone);
    line(&mut lines, "proxyVersion", &s.proxy_version, Clone::clone);
    line(&mut lines, "policyEnforced", &s.policy_enforced, ToString::to_string);
    lines.extend(detected.dataplanes.iter().map(|d| format!("not modelled, {:?}: {}", d.reach, d.why)));
    lines.extend(log.iter().map(ToString::to_string));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A DaemonSet on the nodes' network with one container.
fn agent(namespace: &str, name: &str, image: &str, command: &[&str]) -> Value {
    json!({"kind": "DaemonSet", "metadata": {"namespace": namespace, "name": name}, "spec": {"template": {"spec": {
        "hostNetwork": true,
        "containers": [{"name": "main", "image": image, "command": command}],
    }}}})
}

/// A static pod of the control plane.
fn control_plane(name: &str, command: &[&str]) -> Value {
    json!({"kind": "Pod", "metadata": {"namespace": "kube-system", "name": format!("{name}-cp-1")}, "spec": {
        "hostNetwork": true,
        "containers": [{"name": name, "image": format!("registry.k8s.io/{name}:v1.36.1"), "command": command}],
    }})
}

fn config_map(namespace: &str, name: &str, data: Value) -> Value {
    json!({"kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}, "data": data})
}

fn node(name: &str, annotations: Value, labels: Value) -> Value {
    json!({"kind": "Node", "metadata": {"name": name, "annotations": annotations, "labels": labels}})
}

#[test]
fn nothing_is_detected_of_nothing() {
    check(&[], expect![""]);
    check(&[agent("shop", "cart", "shop/cart:1", &[])], expect![""]);
}

#[test]
fn the_control_planes_arguments_state_ranges_and_masks() {
    check(
        &[
            control_plane(
                "kube-apiserver",
                &["kube-apiserver", "--service-cluster-ip-range=10.97.0.0/16,fd00:97::/112"],
            ),
            control_plane(
                "kube-controller-manager",
                &[
                    "kube-controller-manager",
                    "--cluster-cidr",
                    "10.200.0.0/16,fd00:200::/56",
                    "--node-cidr-mask-size-ipv4=26",
                    "--node-cidr-mask-size-ipv6=72",
                    "--allocate-node-cidrs=true",
                ],
            ),
        ],
        expect![[r#"
            clusterCidr 10.200.0.0/16,fd00:200::/56: Pod kube-system/kube-controller-manager-cp-1 runs with --cluster-cidr=10.200.0.0/16,fd00:200::/56
            serviceCidr 10.97.0.0/16,fd00:97::/112: Pod kube-system/kube-apiserver-cp-1 runs with --service-cluster-ip-range=10.97.0.0/16,fd00:97::/112
            nodeCidrMaskV4 26: Pod kube-system/kube-controller-manager-cp-1 runs with --node-cidr-mask-size-ipv4=26
            nodeCidrMaskV6 72: Pod kube-system/kube-controller-manager-cp-1 runs with --node-cidr-mask-size-ipv6=72
        "#]],
    );
}

#[test]
fn a_control_plane_with_a_network_of_its_own_is_another_clusters() {
    let mut pod =
        control_plane("kube-apiserver", &["kube-apiserver", "--service-cluster-ip-range=10.97.0.0/16"]);
    pod["spec"]["hostNetwork"] = json!(false);
    check(&[pod], expect![""]);
}

#[test]
fn kube_proxy_says_its_mode_by_its_file_or_its_arguments() {
    let file = |mode: &str| {
        let text = format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.5.0.0/16\n{mode}"
        );
        config_map("kube-system", "kube-proxy", json!({"config.conf": text, "kubeconfig.conf": "mode: ipvs"}))
    };
    let with_file = agent(
        "kube-system",
        "kube-proxy",
        "registry.k8s.io/kube-proxy:v1.36.4",
        &["kube-proxy", "--config=/c", "--proxy-mode=ipvs"],
    );
    check(
        &[with_file.clone(), file("mode: nftables\nipvs: {scheduler: sh}")],
        expect![[r#"
        clusterCidr 10.5.0.0/16: ConfigMap kube-system/kube-proxy says clusterCIDR 10.5.0.0/16
        proxyMode nftables: ConfigMap kube-system/kube-proxy says mode nftables
        ipvsScheduler sh: ConfigMap kube-system/kube-proxy says ipvs.scheduler sh
        proxyVersion 1.36: DaemonSet kube-system/kube-proxy runs kube-proxy v1.36.4
    "#]],
    );
    check(
        &[with_file.clone(), file("mode: \"\"")],
        expect![[r#"
        clusterCidr 10.5.0.0/16: ConfigMap kube-system/kube-proxy says clusterCIDR 10.5.0.0/16
        proxyMode iptables: ConfigMap kube-system/kube-proxy leaves the mode empty, which means iptables
        proxyVersion 1.36: DaemonSet kube-system/kube-proxy runs kube-proxy v1.36.4
    "#]],
    );
    check(
        &[with_file.clone(), file("mode: [broken")],
        expect![[r#"
        proxyVersion 1.36: DaemonSet kube-system/kube-proxy runs kube-proxy v1.36.4
    "#]],
    );
    check(
        &[with_file],
        expect![[r#"
        proxyVersion 1.36: DaemonSet kube-system/kube-proxy runs kube-proxy v1.36.4
    "#]],
    );
    let shell = "exec kube-proxy --cluster-cidr=10.5.0.0/16 --proxy-mode=ipvs --ipvs-scheduler=lc 1>>/var/log/kube-proxy.log";
    check(
        &[agent("kube-system", "kube-proxy", "k8s/kube-proxy-amd64:v1.30.2", &["/bin/sh", "-c", shell])],
        expect![[r#"
            clusterCidr 10.5.0.0/16: DaemonSet kube-system/kube-proxy runs with --cluster-cidr=10.5.0.0/16
            proxyMode ipvs: DaemonSet kube-system/kube-proxy runs with --proxy-mode=ipvs
            ipvsScheduler lc: DaemonSet kube-system/kube-proxy runs with --ipvs-scheduler=lc
            proxyVersion 1.36: DaemonSet kube-system/kube-proxy runs kube-proxy v1.30.2; kube-proxy is modelled as 1.36
            note[proxy-version]: DaemonSet kube-system/kube-proxy runs kube-proxy v1.30.2; Services are modelled as kube-proxy 1.36 does them
        "#]],
    );
    check(
        &[agent("kube-system", "kube-proxy", "gcr.io/kube-proxy", &["kube-proxy", "--v=2"])],
        expect![[r#"
        proxyMode iptables: DaemonSet kube-system/kube-proxy runs without --proxy-mode, which means iptables
    "#]],
    );
}

#[test]
fn kubeadm_says_what_the_installer_was_told() {
    let config =
        |text: &str| config_map("kube-system", "kubeadm-config", json!({"ClusterConfiguration": text}));
    check(
        &[config(
            "kubernetesVersion: v1.29.1
networking: {podSubnet: 10.6.0.0/16, serviceSubnet: 10.7.0.0/20}
controllerManager:
  extraArgs: {node-cidr-mask-size: '25'}
",
        )],
        expect![[r#"
            clusterCidr 10.6.0.0/16: ConfigMap kube-system/kubeadm-config says networking.podSubnet 10.6.0.0/16
            serviceCidr 10.7.0.0/20: ConfigMap kube-system/kubeadm-config says networking.serviceSubnet 10.7.0.0/20
            nodeCidrMaskV4 25: ConfigMap kube-system/kubeadm-config says node-cidr-mask-size: 25
            proxyVersion 1.36: ConfigMap kube-system/kubeadm-config says kubernetesVersion v1.29.1; kube-proxy is modelled as 1.36
            note[proxy-version]: ConfigMap kube-system/kubeadm-config says kubernetesVersion v1.29.1; Services are modelled as kube-proxy 1.36 does them
        "#]],
    );
    check(
        &[config(
            "networking: {podSubnet: ''}
controllerManager:
  extraArgs:
  - {name: node-cidr-mask-size-ipv4, value: '26'}
  - {name: node-cidr-mask-size-ipv6, value: '300'}
",
        )],
        expect![[r#"
            nodeCidrMaskV4 26: ConfigMap kube-system/kubeadm-config says node-cidr-mask-size-ipv4: 26
        "#]],
    );
}

#[test]
fn where_sources_contradict_each_other_the_more_specific_one_counts() {
    check(
        &[
            config_map(
                "kube-system",
                "kubeadm-config",
                json!({"ClusterConfiguration": "networking: {podSubnet: 10.6.0.0/16, serviceSubnet: 10.96.0.0/12}"}),
            ),
            control_plane(
                "kube-controller-manager",
                &["kube-controller-manager", "--cluster-cidr=10.8.0.0/16"],
            ),
            control_plane("kube-apiserver", &["kube-apiserver", "--service-cluster-ip-range=10.96.0.0/12"]),
        ],
        expect![[r#"
            clusterCidr 10.8.0.0/16: Pod kube-system/kube-controller-manager-cp-1 runs with --cluster-cidr=10.8.0.0/16
            serviceCidr 10.96.0.0/12: Pod kube-system/kube-apiserver-cp-1 runs with --service-cluster-ip-range=10.96.0.0/12
            warning[contradicting-settings]: clusterCidr: Pod kube-system/kube-controller-manager-cp-1 runs with --cluster-cidr=10.8.0.0/16, but ConfigMap kube-system/kubeadm-config says networking.podSubnet 10.6.0.0/16; the first counts
        "#]],
    );
}

#[test]
fn flannel_says_its_backend_its_network_and_its_mtu() {
    let flannel = || agent("kube-flannel", "kube-flannel-ds", "docker.io/flannel/flannel:v0.25.1", &[]);
    let config = |backend: &str| {
        let text = format!(
            "{{\"Network\": \"10.9.0.0/16\", \"IPv6Network\": \"fd00:9::/56\", \"Backend\": {backend}}}"
        );
        config_map("kube-flannel", "kube-flannel-cfg", json!({"net-conf.json": text}))
    };
    check(
        &[flannel(), config(r#"{"Type": "vxlan", "MTU": 8950}"#)],
        expect![[r#"
        cni flannel: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
        underlay vxlan: ConfigMap kube-flannel/kube-flannel-cfg says backend vxlan
        clusterCidr 10.9.0.0/16,fd00:9::/56: ConfigMap kube-flannel/kube-flannel-cfg says Network 10.9.0.0/16 and fd00:9::/56
        mtu 8950: ConfigMap kube-flannel/kube-flannel-cfg says Backend.MTU 8950
        policyEnforced false: nothing that is seen enforces NetworkPolicies: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
    "#]],
    );
    check(
        &[flannel(), config(r#"{"Type": "vxlan", "DirectRouting": true}"#)],
        expect![[r#"
        cni flannel: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
        underlay host-gw: ConfigMap kube-flannel/kube-flannel-cfg says backend vxlan with DirectRouting
        clusterCidr 10.9.0.0/16,fd00:9::/56: ConfigMap kube-flannel/kube-flannel-cfg says Network 10.9.0.0/16 and fd00:9::/56
        policyEnforced false: nothing that is seen enforces NetworkPolicies: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
    "#]],
    );
    check(
        &[flannel(), config(r#"{"Type": "wireguard"}"#)],
        expect![[r#"
        cni flannel: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
        clusterCidr 10.9.0.0/16,fd00:9::/56: ConfigMap kube-flannel/kube-flannel-cfg says Network 10.9.0.0/16 and fd00:9::/56
        policyEnforced false: nothing that is seen enforces NetworkPolicies: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
        not modelled, BetweenNodes: flannel joins the nodes by wireguard (ConfigMap kube-flannel/kube-flannel-cfg says backend wireguard); that is not modelled
    "#]],
    );
    check(
        &[flannel()],
        expect![[r#"
        cni flannel: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
        policyEnforced false: nothing that is seen enforces NetworkPolicies: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
    "#]],
    );
    let annotated = || node("a", json!({"flannel.alpha.coreos.com/backend-type": "vxlan"}), json!({}));
    check(
        &[annotated(), flannel(), config(r#"{"Type": "vxlan", "DirectRouting": true}"#)],
        expect![[r#"
        cni flannel: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
        underlay host-gw: ConfigMap kube-flannel/kube-flannel-cfg says backend vxlan with DirectRouting
        clusterCidr 10.9.0.0/16,fd00:9::/56: ConfigMap kube-flannel/kube-flannel-cfg says Network 10.9.0.0/16 and fd00:9::/56
        policyEnforced false: nothing that is seen enforces NetworkPolicies: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
    "#]],
    );
    check(
        &[annotated(), flannel(), config(r#"{"Type": "host-gw"}"#)],
        expect![[r#"
        cni flannel: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
        underlay vxlan: Node a has flannel's annotation backend-type vxlan
        clusterCidr 10.9.0.0/16,fd00:9::/56: ConfigMap kube-flannel/kube-flannel-cfg says Network 10.9.0.0/16 and fd00:9::/56
        policyEnforced false: nothing that is seen enforces NetworkPolicies: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
        warning[contradicting-settings]: underlay: Node a has flannel's annotation backend-type vxlan, but ConfigMap kube-flannel/kube-flannel-cfg says backend host-gw; the first counts
    "#]],
    );
    let annotations = json!({"flannel.alpha.coreos.com/backend-type": "host-gw"});
    check(
        &[node("a", annotations, json!({}))],
        expect![[r#"
        cni flannel: Node a has the annotation flannel.alpha.coreos.com/backend-type
        underlay host-gw: Node a has flannel's annotation backend-type host-gw
    "#]],
    );
    let policies =
        agent("kube-system", "netpol", "registry.k8s.io/networking/kube-network-policies:v0.8", &[]);
    check(
        &[flannel(), policies],
        expect![[r#"
        cni flannel: DaemonSet kube-flannel/kube-flannel-ds runs image docker.io/flannel/flannel:v0.25.1
        policyEnforced true: DaemonSet kube-system/netpol runs kube-network-policies, which enforces NetworkPolicies
    "#]],
    );
}

#[test]
fn k3s_has_flannel_kube_proxy_and_a_policy_controller_inside() {
    let k3s = |args: &str| {
        json!({"kind": "Node", "metadata": {"name": "a", "annotations": {
            "flannel.alpha.coreos.com/backend-type": "vxlan", "k3s.io/node-args": args}},
            "spec": {"podCIDR": "10.42.0.0/24"},
            "status": {"nodeInfo": {"kubeletVersion": "v1.31.2+k3s1", "operatingSystem": "linux"}}})
    };
    let service = json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"clusterIP": "10.43.0.1"}});
    check(
        &[k3s(r#"["server","--tls-san","x"]"#), service.clone()],
        expect![[r#"
        cni flannel: Node a has the annotation flannel.alpha.coreos.com/backend-type
        underlay vxlan: Node a has flannel's annotation backend-type vxlan
        clusterCidr 10.42.0.0/16: Node a runs k3s v1.31.2+k3s1, whose usual cluster-cidr is 10.42.0.0/16
        serviceCidr 10.43.0.0/16: Node a runs k3s v1.31.2+k3s1, whose usual service-cidr is 10.43.0.0/16
        nodeCidrMaskV4 24: Node a has the pod range 10.42.0.0/24
        proxyMode iptables: Node a runs k3s, whose kube-proxy uses iptables unless it is told otherwise
        proxyVersion 1.36: Node a runs kubelet v1.31.2+k3s1; kube-proxy is modelled as 1.36
        policyEnforced true: Node a runs k3s v1.31.2+k3s1, which enforces NetworkPolicies
        note[proxy-version]: Node a runs kubelet v1.31.2+k3s1; Services are modelled as kube-proxy 1.36 does them
    "#]],
    );
    let args = r#"["server","--cluster-cidr","10.42.0.0/15","--service-cidr=10.50.0.0/16","--disable-network-policy","--kube-proxy-arg","proxy-mode=ipvs"]"#;
    check(
        &[k3s(args), service],
        expect![[r#"
            cni flannel: Node a has the annotation flannel.alpha.coreos.com/backend-type
            underlay vxlan: Node a has flannel's annotation backend-type vxlan
            clusterCidr 10.42.0.0/15: Node a runs k3s with --cluster-cidr=10.42.0.0/15
            serviceCidr 10.50.0.0/16: Node a runs k3s with --service-cidr=10.50.0.0/16
            nodeCidrMaskV4 24: Node a has the pod range 10.42.0.0/24
            proxyMode ipvs: Node a runs k3s with proxy-mode=ipvs
            proxyVersion 1.36: Node a runs kubelet v1.31.2+k3s1; kube-proxy is modelled as 1.36
            policyEnforced false: Node a runs k3s with --disable-network-policy
            note[proxy-version]: Node a runs kubelet v1.31.2+k3s1; Services are modelled as kube-proxy 1.36 does them
        "#]],
    );
}

#[test]
fn kindnet_enforces_policies_since_2024() {
    let kindnet = |image: &str| agent("kube-system", "kindnet", image, &[]);
    check(
        &[kindnet("docker.io/kindest/kindnetd:v20240202-8f1494ea")],
        expect![[r#"
        cni kindnet: DaemonSet kube-system/kindnet runs image docker.io/kindest/kindnetd:v20240202-8f1494ea
        underlay host-gw: kindnet gives every node a route to the pods of every other: DaemonSet kube-system/kindnet runs image docker.io/kindest/kindnetd:v20240202-8f1494ea
        policyEnforced false: nothing that is seen enforces NetworkPolicies: DaemonSet kube-system/kindnet runs image docker.io/kindest/kindnetd:v20240202-8f1494ea
    "#]],
    );
    check(
        &[kindnet("docker.io/kindest/kindnetd:v20250512-df8de77b@sha256:00ff")],
        expect![[r#"
        cni kindnet: DaemonSet kube-system/kindnet runs image docker.io/kindest/kindnetd:v20250512-df8de77b
        underlay host-gw: kindnet gives every node a route to the pods of every other: DaemonSet kube-system/kindnet runs image docker.io/kindest/kindnetd:v20250512-df8de77b
        policyEnforced true: kindnet enforces NetworkPolicies: DaemonSet kube-system/kindnet runs image docker.io/kindest/kindnetd:v20250512-df8de77b
    "#]],
    );
    let enforces = |image: &str| shown(&[kindnet(image)]).contains("policyEnforced true");
    assert!(!enforces("kindest/kindnetd:0.5.4"));
    assert!(!enforces("aojea/kindnetd:v1.2.0"));
    assert!(enforces("aojea/kindnetd:v1.8.5"));
    assert!(enforces("registry.k8s.io/networking/kindnet:v1.0.0"));
}

#[test]
fn the_usual_cnis_are_known_by_what_runs() {
    let cni = |name: &str, image: &str, namespace: &str| {
        let all = shown(&[agent(namespace, name, image, &[])]);
        all.lines()
            .next()
            .and_then(|line| line.strip_prefix("cni ")?.split_once(':'))
            .map(|(cni, _)| cni.to_string())
    };
    for (name, image, expected) in [
        ("calico-node", "docker.io/calico/node:v3.28.0", "calico"),
        ("calico-node", "registry.example/mirror/node:v1", "calico"),
        ("network", "registry.example:5000/mirror/calico/node:v3", "calico"),
        ("canal", "calico/node:v3", "canal"),
        ("cilium", "quay.io/cilium/cilium:v1.16.0@sha256:00", "cilium"),
        ("anetd", "gke.gcr.io/cilium/cilium:v1", "gke-dataplane-v2"),
        ("antrea-agent", "antrea/antrea-agent-ubuntu:v2", "antrea"),
        ("weave-net", "weaveworks/weave-kube:2.8.1", "weave"),
        ("kube-router", "docker.io/cloudnativelabs/kube-router:v2", "kube-router"),
        ("ovnkube-node", "quay.io/openshift/x@sha256:00", "ovn-kubernetes"),
        ("kube-ovn-cni", "kubeovn/kube-ovn:v1.12", "kube-ovn"),
        ("aws-node", "602401143452.dkr.ecr.eu-west-1.amazonaws.com/amazon-k8s-cni:v1.18.1", "aws-vpc-cni"),
        ("azure-cns", "mcr.microsoft.com/containernetworking/azure-cns:v1", "azure-cni"),
        ("kube-flannel-ds-amd64", "quay.io/coreos/flannel:v0.11.0", "flannel"),
    ] {
        assert_eq!(cni(name, image, "kube-system").as_deref(), Some(expected), "{name} {image}");
    }
    assert_eq!(cni("sdn", "quay.io/x@sha256:00", "openshift-sdn").as_deref(), Some("openshift-sdn"));
    for (name, image) in [
        ("sdn", "shop/sdn:1"),
        ("aws-node-termination-handler", "public.ecr.aws/aws-node-termination-handler:v1"),
        ("kube-multus-ds", "ghcr.io/k8snetworkplumbingwg/multus-cni:v4"),
        ("istio-cni-node", "docker.io/istio/install-cni:1.22"),
        ("whereabouts", "ghcr.io/k8snetworkplumbingwg/whereabouts:v0.7"),
    ] {
        assert_eq!(cni(name, image, "kube-system"), None, "{name}");
    }
}

#[test]
fn a_pod_shows_its_cni_where_the_daemonset_is_not_there() {
    let pod = |owner: &str| {
        json!({"kind": "Pod", "metadata": {"namespace": "kube-system", "name": format!("{owner}-x7x2p"),
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner, "controller": true}]},
            "spec": {"hostNetwork": true, "containers": [{"name": "main", "image": "mirror/node:v2"}]}})
    };
    check(
        &[pod("calico-node"), pod("aws-node-termination-handler")],
        expect![[r#"
        cni calico: Pod kube-system/calico-node-x7x2p runs image mirror/node:v2
        policyEnforced true: calico enforces NetworkPolicies: Pod kube-system/calico-node-x7x2p runs image mirror/node:v2
    "#]],
    );
}

#[test]
fn of_several_cnis_one_is_chosen_and_the_others_are_told() {
    let calico = || agent("calico-system", "calico-node", "calico/node:v3.28.0", &[]);
    let flannel = || agent("kube-flannel", "kube-flannel-ds", "flannel/flannel:v0.25.1", &[]);
    let aws = || agent("kube-system", "aws-node", "amazon-k8s-cni:v1.18.1", &[]);
    check(
        &[calico(), flannel()],
        expect![[r#"
        cni canal: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0, and DaemonSet kube-flannel/kube-flannel-ds runs image flannel/flannel:v0.25.1
        policyEnforced true: canal enforces NetworkPolicies: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0, and DaemonSet kube-flannel/kube-flannel-ds runs image flannel/flannel:v0.25.1
    "#]],
    );
    check(
        &[calico(), aws()],
        expect![[r#"
        cni aws-vpc-cni: DaemonSet kube-system/aws-node runs image amazon-k8s-cni:v1.18.1
        underlay routed: the cloud's network routes the pods' addresses: DaemonSet kube-system/aws-node runs image amazon-k8s-cni:v1.18.1
        policyEnforced true: calico enforces NetworkPolicies: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
    "#]],
    );
    check(
        &[calico(), agent("kube-system", "weave-net", "weaveworks/weave-kube:2.8.1", &[])],
        expect![[r#"
        cni calico: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
        policyEnforced true: calico enforces NetworkPolicies: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
        warning[several-cnis]: cni: calico (DaemonSet calico-system/calico-node runs image calico/node:v3.28.0), but weave (DaemonSet kube-system/weave-net runs image weaveworks/weave-kube:2.8.1); calico is taken to connect the pods
    "#]],
    );
    let cilium = agent("kube-system", "cilium", "quay.io/cilium/cilium:v1.16.0", &[]);
    let chained = config_map("kube-system", "cilium-config", json!({"cni-chaining-mode": "aws-cni"}));
    check(
        &[aws(), cilium, chained],
        expect![[r#"
        cni aws-vpc-cni: DaemonSet kube-system/aws-node runs image amazon-k8s-cni:v1.18.1
        underlay routed: the cloud's network routes the pods' addresses: DaemonSet kube-system/aws-node runs image amazon-k8s-cni:v1.18.1
        policyEnforced true: cilium enforces NetworkPolicies: DaemonSet kube-system/cilium runs image quay.io/cilium/cilium:v1.16.0
    "#]],
    );
    let gke = node("a", json!({}), json!({"cloud.google.com/gke-nodepool": "pool"}));
    check(
        &[gke, calico()],
        expect![[r#"
        cni gke: Node a has the label cloud.google.com/gke-nodepool: GKE
        underlay routed: the cloud's network routes the pods' addresses: Node a has the label cloud.google.com/gke-nodepool: GKE
        policyEnforced true: calico enforces NetworkPolicies: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
    "#]],
    );
}

#[test]
fn what_the_user_says_ends_a_contradiction_and_what_follows_from_another_cni() {
    let values = [
        agent("calico-system", "calico-node", "calico/node:v3.28.0", &[]),
        agent("kube-system", "weave-net", "weaveworks/weave-kube:2.8.1", &[]),
        node("a", json!({"flannel.alpha.coreos.com/backend-type": "wireguard"}), json!({})),
        config_map(
            "kube-system",
            "kubeadm-config",
            json!({"ClusterConfiguration": "networking: {podSubnet: 10.6.0.0/16}"}),
        ),
        control_plane("kube-controller-manager", &["kube-controller-manager", "--cluster-cidr=10.8.0.0/16"]),
    ];
    let assume = r#"{"cni": "weave", "clusterCidr": "10.6.0.0/16"}"#;
    expect![[r#"
        cni weave: DaemonSet kube-system/weave-net runs image weaveworks/weave-kube:2.8.1
        clusterCidr 10.8.0.0/16: Pod kube-system/kube-controller-manager-cp-1 runs with --cluster-cidr=10.8.0.0/16
        policyEnforced true: weave enforces NetworkPolicies: DaemonSet kube-system/weave-net runs image weaveworks/weave-kube:2.8.1
    "#]].assert_eq(&shown_under(&values, assume));
    expect![[r#"
        clusterCidr 10.8.0.0/16: Pod kube-system/kube-controller-manager-cp-1 runs with --cluster-cidr=10.8.0.0/16
    "#]].assert_eq(&shown_under(&values, r#"{"cni": "bridge", "clusterCidr": "10.6.0.0/16"}"#));
}

#[test]
fn ciliums_config_says_what_it_replaces() {
    let cilium = || agent("kube-system", "cilium", "quay.io/cilium/cilium:v1.16.0", &[]);
    let config = |data: Value| config_map("kube-system", "cilium-config", data);
    let kcm = || {
        control_plane("kube-controller-manager", &["kube-controller-manager", "--cluster-cidr=10.244.0.0/16"])
    };
    check(
        &[
            cilium(),
            kcm(),
            config(
                json!({"kube-proxy-replacement": "true", "routing-mode": "tunnel", "tunnel-protocol": "vxlan",
                "ipam": "cluster-pool", "cluster-pool-ipv4-cidr": "10.0.0.0/9", "mtu": "8900"}),
            ),
        ],
        expect![[r#"
            cni cilium: DaemonSet kube-system/cilium runs image quay.io/cilium/cilium:v1.16.0
            underlay vxlan: ConfigMap kube-system/cilium-config says tunnel vxlan
            clusterCidr 10.0.0.0/9: ConfigMap kube-system/cilium-config says cluster-pool CIDR 10.0.0.0/9
            mtu 8900: ConfigMap kube-system/cilium-config says mtu 8900
            policyEnforced true: cilium enforces NetworkPolicies: DaemonSet kube-system/cilium runs image quay.io/cilium/cilium:v1.16.0
            not modelled, Services: Cilium's eBPF dataplane handles Services instead of kube-proxy (ConfigMap kube-system/cilium-config says kube-proxy-replacement true); that is not modelled
        "#]],
    );
    check(
        &[
            cilium(),
            config(
                json!({"kube-proxy-replacement": "false", "routing-mode": "native", "auto-direct-node-routes": "true",
                "enable-policy": "never", "ipam": "kubernetes"}),
            ),
        ],
        expect![[r#"
            cni cilium: DaemonSet kube-system/cilium runs image quay.io/cilium/cilium:v1.16.0
            underlay host-gw: ConfigMap kube-system/cilium-config says native routing with auto-direct-node-routes
            policyEnforced false: ConfigMap kube-system/cilium-config says enable-policy never
        "#]],
    );
}

#[test]
fn other_dataplanes_of_services_are_recognised() {
    let antrea = agent("kube-system", "antrea-agent", "antrea/antrea-agent-ubuntu:v2", &[]);
    let config = config_map(
        "kube-system",
        "antrea-config",
        json!({"antrea-agent.conf": "# antreaProxy:\ntunnelType: vxlan\n"}),
    );
    check(
        &[antrea, config],
        expect![[r#"
        cni antrea: DaemonSet kube-system/antrea-agent runs image antrea/antrea-agent-ubuntu:v2
        underlay vxlan: ConfigMap kube-system/antrea-config says tunnelType vxlan
        policyEnforced true: antrea enforces NetworkPolicies: DaemonSet kube-system/antrea-agent runs image antrea/antrea-agent-ubuntu:v2
        not modelled, Services: Antrea handles Services instead of kube-proxy (ConfigMap kube-system/antrea-config leaves AntreaProxy on); that is not modelled
    "#]],
    );
    let calico = || agent("calico-system", "calico-node", "calico/node:v3.28.0", &[]);
    let mut kept_off =
        agent("kube-system", "kube-proxy", "kube-proxy:v1.36.0", &["kube-proxy", "--config=/c"]);
    kept_off["spec"]["template"]["spec"]["nodeSelector"] = json!({"non-calico": "true"});
    check(
        &[calico(), kept_off],
        expect![[r#"
        cni calico: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
        policyEnforced true: calico enforces NetworkPolicies: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
        not modelled, Services: Calico's eBPF dataplane handles Services instead of kube-proxy (DaemonSet kube-proxy is kept off the nodes by its nodeSelector); that is not modelled
    "#]],
    );
    let endpoint = config_map(
        "tigera-operator",
        "kubernetes-services-endpoint",
        json!({"KUBERNETES_SERVICE_HOST": "x"}),
    );
    check(
        &[calico(), endpoint],
        expect![[r#"
            cni calico: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
            policyEnforced true: calico enforces NetworkPolicies: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
            not modelled, Services: Calico's eBPF dataplane handles Services instead of kube-proxy (the input has a ConfigMap kubernetes-services-endpoint, and kube-proxy does not run); that is not modelled
        "#]],
    );
    let routes_only = agent(
        "kube-system",
        "kube-router",
        "cloudnativelabs/kube-router:v2",
        &["kube-router", "--run-router=true", "--run-firewall=false", "--run-service-proxy=false"],
    );
    check(
        &[routes_only],
        expect![[r#"
        cni kube-router: DaemonSet kube-system/kube-router runs image cloudnativelabs/kube-router:v2
        policyEnforced false: nothing that is seen enforces NetworkPolicies: DaemonSet kube-system/kube-router runs image cloudnativelabs/kube-router:v2
    "#]],
    );
    let policies_only = agent(
        "kube-system",
        "kube-router",
        "cloudnativelabs/kube-router:v2",
        &["kube-router", "--run-router=false", "--run-service-proxy=false"],
    );
    let flannel = agent("kube-flannel", "kube-flannel-ds", "flannel/flannel:v0.25.1", &[]);
    check(
        &[policies_only, flannel],
        expect![[r#"
        cni flannel: DaemonSet kube-flannel/kube-flannel-ds runs image flannel/flannel:v0.25.1
        policyEnforced true: kube-router enforces NetworkPolicies: DaemonSet kube-system/kube-router
    "#]],
    );
}

#[test]
fn the_cloud_cnis_enforce_policies_only_with_help() {
    let aws = |args: &[&str]| {
        let mut set =
            agent("kube-system", "aws-node", "x.dkr.ecr.eu-west-1.amazonaws.com/amazon-k8s-cni:v1.18.1", &[]);
        let container = json!({"name": "aws-eks-nodeagent", "image": "x/amazon/aws-network-policy-agent:v1.1.2", "args": args});
        set["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(container);
        set
    };
    check(
        &[aws(&["--enable-network-policy=true"])],
        expect![[r#"
        cni aws-vpc-cni: DaemonSet kube-system/aws-node runs image x.dkr.ecr.eu-west-1.amazonaws.com/amazon-k8s-cni:v1.18.1
        underlay routed: the cloud's network routes the pods' addresses: DaemonSet kube-system/aws-node runs image x.dkr.ecr.eu-west-1.amazonaws.com/amazon-k8s-cni:v1.18.1
        policyEnforced true: DaemonSet kube-system/aws-node runs aws-eks-nodeagent with --enable-network-policy, which enforces NetworkPolicies
    "#]],
    );
    check(
        &[aws(&["--enable-network-policy=false"])],
        expect![[r#"
        cni aws-vpc-cni: DaemonSet kube-system/aws-node runs image x.dkr.ecr.eu-west-1.amazonaws.com/amazon-k8s-cni:v1.18.1
        underlay routed: the cloud's network routes the pods' addresses: DaemonSet kube-system/aws-node runs image x.dkr.ecr.eu-west-1.amazonaws.com/amazon-k8s-cni:v1.18.1
        policyEnforced false: nothing that is seen enforces NetworkPolicies: DaemonSet kube-system/aws-node runs image x.dkr.ecr.eu-west-1.amazonaws.com/amazon-k8s-cni:v1.18.1
    "#]],
    );
    let azure =
        || agent("kube-system", "azure-cns", "mcr.microsoft.com/containernetworking/azure-cns:v1", &[]);
    let npm = agent("kube-system", "azure-npm", "mcr.microsoft.com/containernetworking/azure-npm:v1.5", &[]);
    check(
        &[azure(), npm],
        expect![[r#"
        cni azure-cni: DaemonSet kube-system/azure-cns runs image mcr.microsoft.com/containernetworking/azure-cns:v1
        policyEnforced true: Azure NPM enforces NetworkPolicies: DaemonSet kube-system/azure-npm
    "#]],
    );
}

#[test]
fn nodes_annotations_labels_and_versions_tell() {
    let calico = |name: &str, net: &str, ip: &str| {
        json!({"kind": "Node", "metadata": {"name": name, "annotations": {"projectcalico.org/IPv4Address": net}},
            "spec": {"podCIDR": format!("10.244.{}.0/25", ip.len())},
            "status": {"addresses": [{"type": "InternalIP", "address": ip}], "nodeInfo": {"kubeletVersion": "v1.30.1"}}})
    };
    check(
        &[calico("a", "10.0.1.4/20", "10.0.1.4"), calico("b", "10.0.2.40/20", "10.0.2.40")],
        expect![[r#"
        cni calico: Node a has the annotation projectcalico.org/IPv4Address
        nodeNetwork 10.0.0.0/20: Node a has the annotation projectcalico.org/IPv4Address: 10.0.1.4/20
        nodeCidrMaskV4 25: Node a has the pod range 10.244.8.0/25
        proxyVersion 1.36: Node a runs kubelet v1.30.1; kube-proxy is modelled as 1.36
        policyEnforced true: calico enforces NetworkPolicies: Node a has the annotation projectcalico.org/IPv4Address
        note[proxy-version]: Node a runs kubelet v1.30.1; Services are modelled as kube-proxy 1.36 does them
    "#]],
    );
    // Each in a network of its own, or one outside of the other's: no network is that of all.
    check(
        &[calico("a", "10.0.1.4/24", "10.0.1.4"), calico("b", "10.0.2.4/24", "10.0.2.4")],
        expect![[r#"
        cni calico: Node a has the annotation projectcalico.org/IPv4Address
        nodeCidrMaskV4 25: Node a has the pod range 10.244.8.0/25
        proxyVersion 1.36: Node a runs kubelet v1.30.1; kube-proxy is modelled as 1.36
        policyEnforced true: calico enforces NetworkPolicies: Node a has the annotation projectcalico.org/IPv4Address
        note[proxy-version]: Node a runs kubelet v1.30.1; Services are modelled as kube-proxy 1.36 does them
    "#]],
    );
    let ovn = json!({"k8s.ovn.org/node-subnets": "{}", "k8s.ovn.org/node-primary-ifaddr": "{\"ipv4\":\"10.0.21.41/19\"}"});
    check(
        &[node("a", ovn, json!({}))],
        expect![[r#"
        cni ovn-kubernetes: Node a has the annotation k8s.ovn.org/node-subnets
        nodeNetwork 10.0.0.0/19: Node a has the annotation k8s.ovn.org/node-primary-ifaddr: 10.0.21.41/19
        policyEnforced true: ovn-kubernetes enforces NetworkPolicies: Node a has the annotation k8s.ovn.org/node-subnets
        not modelled, Services: ovn-kubernetes handles Services instead of kube-proxy (Node a has the annotation k8s.ovn.org/node-subnets); that is not modelled
    "#]],
    );
    check(
        &[node("a", json!({}), json!({"eks.amazonaws.com/nodegroup": "g"}))],
        expect![[r#"
        cni aws-vpc-cni: Node a has the label eks.amazonaws.com/nodegroup: EKS
        underlay routed: the cloud's network routes the pods' addresses: Node a has the label eks.amazonaws.com/nodegroup: EKS
    "#]],
    );
    check(
        &[node("a", json!({}), json!({"node.openshift.io/os_id": "rhcos"}))],
        expect![[r#"
        cni openshift: Node a has the label node.openshift.io/os_id: OpenShift, by OpenShift SDN or OVN-Kubernetes
        policyEnforced true: openshift enforces NetworkPolicies: Node a has the label node.openshift.io/os_id: OpenShift, by OpenShift SDN or OVN-Kubernetes
    "#]],
    );
    let kind =
        json!({"kind": "Node", "metadata": {"name": "a"}, "spec": {"providerID": "kind://docker/kind/a"}});
    check(
        &[kind],
        expect![[r#"
        cni kindnet: Node a is a node of kind, whose usual CNI is kindnet
        underlay host-gw: kindnet gives every node a route to the pods of every other: Node a is a node of kind, whose usual CNI is kindnet
    "#]],
    );
    let microk8s =
        json!({"kind": "Node", "metadata": {"name": "a", "labels": {"microk8s.io/cluster": "true"}}});
    let pod = json!({"kind": "Pod", "metadata": {"name": "p"}, "status": {"podIP": "10.1.7.9"}});
    check(
        &[microk8s, pod],
        expect![[r#"
        cni calico: Node a has the label microk8s.io/cluster: MicroK8s
        clusterCidr 10.1.0.0/16: Node a is a node of MicroK8s, whose usual range is 10.1.0.0/16
        policyEnforced true: calico enforces NetworkPolicies: Node a has the label microk8s.io/cluster: MicroK8s
    "#]],
    );
    let minikube = node("m", json!({}), json!({"minikube.k8s.io/name": "minikube"}));
    let proxy = agent("kube-system", "kube-proxy", "kube-proxy:v1.36.0", &["kube-proxy", "--config=/c"]);
    check(
        &[minikube, proxy],
        expect![[r#"
        cni bridge: Node m is minikube's, and no CNI runs as a pod: the bridge plugin
        proxyVersion 1.36: DaemonSet kube-system/kube-proxy runs kube-proxy v1.36.0
    "#]],
    );
}

#[test]
fn what_a_cni_leaves_behind_tells_where_it_is_not_seen_to_run() {
    let other = |api: &str, kind: &str, name: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}});
    check(
        &[other("network.openshift.io/v1", "ClusterNetwork", "default")],
        expect![[r#"
            cni openshift-sdn: the input has ClusterNetwork default
            underlay vxlan: OpenShift SDN joins the nodes by VXLAN: the input has ClusterNetwork default
            policyEnforced true: openshift-sdn enforces NetworkPolicies: the input has ClusterNetwork default
        "#]],
    );
    check(
        &[other("operator.openshift.io/v1", "Network", "cluster")],
        expect![[r#"
            cni openshift: the input has Network cluster: OpenShift SDN or OVN-Kubernetes
            policyEnforced true: openshift enforces NetworkPolicies: the input has Network cluster: OpenShift SDN or OVN-Kubernetes
        "#]],
    );
    check(
        &[other("cilium.io/v2", "CiliumNode", "a")],
        expect![[r#"
            cni cilium: the input has CiliumNode a
            policyEnforced true: cilium enforces NetworkPolicies: the input has CiliumNode a
        "#]],
    );
    check(&[other("example.com/v1", "IPPool", "a")], expect![""]);
    let pod = json!({"kind": "Pod", "metadata": {"name": "p", "annotations": {"cni.projectcalico.org/podIP": "10.2.0.1/32"}}});
    check(
        &[pod],
        expect![[r#"
        cni calico: Pod default/p has the annotation cni.projectcalico.org/podIP
        policyEnforced true: calico enforces NetworkPolicies: Pod default/p has the annotation cni.projectcalico.org/podIP
    "#]],
    );
    let applied = json!({"clusterNetwork": [{"cidr": "10.128.0.0/14", "hostPrefix": 23}], "serviceNetwork": ["172.30.0.0/16"]});
    check(
        &[config_map(
            "openshift-network-operator",
            "applied-cluster",
            json!({"applied": applied.to_string()}),
        )],
        expect![[r#"
            clusterCidr 10.128.0.0/14: ConfigMap openshift-network-operator/applied-cluster says clusterNetwork 10.128.0.0/14
            serviceCidr 172.30.0.0/16: ConfigMap openshift-network-operator/applied-cluster says serviceNetwork 172.30.0.0/16
        "#]],
    );
}

#[test]
fn a_range_that_the_pods_are_not_in_is_not_theirs() {
    let calico = agent("calico-system", "calico-node", "calico/node:v3.28.0", &[]);
    let kcm = control_plane(
        "kube-controller-manager",
        &["kube-controller-manager", "--cluster-cidr=10.244.0.0/16"],
    );
    let pod = |ip: &str| json!({"kind": "Pod", "metadata": {"name": "p"}, "status": {"podIP": ip, "phase": "Running"}});
    check(
        &[calico.clone(), kcm.clone(), pod("192.168.3.4")],
        expect![[r#"
        cni calico: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
        policyEnforced true: calico enforces NetworkPolicies: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
        note[setting-unused]: clusterCidr: Pod kube-system/kube-controller-manager-cp-1 runs with --cluster-cidr=10.244.0.0/16, but its pods have other addresses, such as 192.168.3.4
    "#]],
    );
    check(
        &[calico, kcm, pod("10.244.3.4")],
        expect![[r#"
        cni calico: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
        clusterCidr 10.244.0.0/16: Pod kube-system/kube-controller-manager-cp-1 runs with --cluster-cidr=10.244.0.0/16
        policyEnforced true: calico enforces NetworkPolicies: DaemonSet calico-system/calico-node runs image calico/node:v3.28.0
    "#]],
    );
}

proptest! {
    #[test]
    fn no_text_in_a_config_map_is_too_strange(text in "\\PC{0,60}|[\\[\\]{}:,&*a \n\"'-]{0,40}", backend in "\\PC{0,20}") {
        let mut objects = Objects::default();
        let maps = [
            ("kube-proxy", "config.conf", format!("kind: KubeProxyConfiguration\n{text}")),
            ("kubeadm-config", "ClusterConfiguration", text.clone()),
            ("kube-flannel-cfg", "net-conf.json", json!({"Network": text, "Backend": {"Type": backend}}).to_string()),
            ("cilium-config", "cluster-pool-ipv4-cidr", text.clone()),
        ];
        for (name, key, text) in maps {
            objects.put_json(&config_map("kube-system", name, json!({ key: text }))).unwrap();
        }
        objects.put_json(&node("a", json!({"k3s.io/node-args": text, "k8s.ovn.org/node-primary-ifaddr": text}), json!({}))).unwrap();
        objects.put_json(&agent("kube-system", "kube-proxy", &text, &[&text, "--proxy-mode", &backend])).unwrap();
        detect(&objects, &Assume::default(), &mut Vec::new());
    }
}
