//! Random clusters, the same for the same seed.
//!
//! In: a seed and a proxy mode. Out: manifests. What is drawn covers what a plan can differ in: the CNI and the underlay, the
//! families, types of Services with their policies, endpoints that are not ready or not there, host ports, pods in the network of their
//! node.

use std::fmt::Write as _;

use kubenet_core::addr::Family;
use kubenet_core::assume::ProxyMode;

use super::dice::Dice;

/// Draws the manifests of a cluster, with an Assumptions document first.
pub fn cluster(dice: &mut Dice, mode: ProxyMode) -> String {
    let mut out = String::new();
    let nodes = 1 + dice.below(3);
    let cni = ["bridge", "kindnet", "flannel"][dice.below(3)];
    let underlay = match cni {
        "flannel" => ["vxlan", "host-gw"][dice.below(2)],
        _ => "host-gw",
    };
    let families = match dice.below(4) {
        0 | 1 => vec![Family::V4],
        2 => vec![Family::V6],
        _ => vec![Family::V4, Family::V6],
    };
    let range = |v4: &str, v6: &str| {
        let of = |family: &Family| match family {
            Family::V4 => format!("\"{v4}\""),
            Family::V6 => format!("\"{v6}\""),
        };
        families.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    let _ = writeln!(
        out,
        "apiVersion: kubenet/v1\nkind: Assumptions\nspec:\n  cni: {cni}\n  underlay: {underlay}\n  proxyMode: {mode}\n  nodes: {nodes}\n  \
         clusterCidr: [{}]\n  serviceCidr: [{}]\n  nodeNetwork: [{}]",
        range("10.244.0.0/16", "fd00:10:244::/56"),
        range("10.96.0.0/16", "fd00:10:96::/112"),
        range("172.18.0.0/24", "fd00:172:18::/64"),
    );
    if dice.percent(30) {
        let _ = writeln!(out, "  masqueradeAll: true");
    }
    let apps = 1 + dice.below(3);
    let pods: Vec<Pod> = (0..3 + dice.below(5)).map(|at| pod(dice, at, apps, nodes)).collect();
    let places: Vec<String> =
        pods.iter().map(|pod| format!("default/{}: node-{}", pod.name, pod.node)).collect();
    let _ = writeln!(out, "  place: {{ {} }}", places.join(", "));
    for pod in &pods {
        write_pod(dice, &mut out, pod);
    }
    for at in 0..2 + dice.below(3) {
        write_service(dice, &mut out, at, apps, &families);
    }
    out
}

struct Pod {
    name: String,
    app: usize,
    node: usize,
    tcp: u16,
    udp: u16,
    on_host: bool,
    host_port: Option<u16>,
}

fn pod(dice: &mut Dice, at: usize, apps: usize, nodes: usize) -> Pod {
    let (app, node, on_host) = (dice.below(apps), 1 + dice.below(nodes), dice.percent(12));
    let (tcp, udp) = if on_host { (9000 + at as u16, 9100 + at as u16) } else { (8080, 5353) };
    let host_port = (!on_host && dice.percent(25)).then_some(7000 + at as u16);
    Pod { name: format!("p{at}"), app, node, tcp, udp, on_host, host_port }
}

fn write_pod(dice: &mut Dice, out: &mut String, pod: &Pod) {
    let Pod { name, app, tcp, udp, on_host, host_port, .. } = pod;
    let host = host_port.map_or(String::new(), |port| format!(", hostPort: {port}"));
    let network = if *on_host { "hostNetwork: true, " } else { "" };
    let _ = writeln!(
        out,
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ app: a{app} }} }}\nspec: {{ {network}containers: [{{ name: c, \
         ports: [{{ name: web, containerPort: {tcp}{host} }}, {{ name: dns, containerPort: {udp}, protocol: UDP }}] }}] }}"
    );
    if dice.percent(15) {
        let _ = writeln!(out, "status: {{ conditions: [{{ type: Ready, status: \"False\" }}] }}");
    }
}

fn write_service(dice: &mut Dice, out: &mut String, at: usize, apps: usize, families: &[Family]) {
    let kind = ["ClusterIP", "NodePort", "LoadBalancer"][dice.below(3)];
    let family = families.first().copied().unwrap_or(Family::V4);
    // An application that nothing belongs to has no endpoints.
    let app = dice.below(apps + 1);
    let (protocol, target) = if dice.percent(70) { ("TCP", "web") } else { ("UDP", "dns") };
    let mut port = format!("name: p, port: 80, targetPort: {target}, protocol: {protocol}");
    let mut spec = format!("type: {kind}, selector: {{ app: a{app} }}");
    let mut status = String::new();
    if kind == "ClusterIP" {
        if dice.percent(30) {
            let _ = write!(spec, ", externalIPs: [\"{}\"]", address(family, 40 + at));
        }
    } else {
        let policy = ["Cluster", "Local"][dice.below(2)];
        let _ = write!(spec, ", externalTrafficPolicy: {policy}");
        let _ = write!(port, ", nodePort: {}", 30_100 + at);
    }
    if kind == "LoadBalancer" {
        let addr = address(family, 60 + at);
        status = format!("status: {{ loadBalancer: {{ ingress: [{{ ip: \"{addr}\" }}] }} }}\n");
    }
    if families.len() > 1 && dice.percent(40) {
        spec.push_str(", ipFamilyPolicy: PreferDualStack");
    }
    if dice.percent(25) {
        spec.push_str(", internalTrafficPolicy: Local");
    }
    if dice.percent(20) {
        spec.push_str(", sessionAffinity: ClientIP");
    }
    let _ = write!(
        out,
        "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: s{at} }}\nspec: {{ {spec}, ports: [{{ {port} }}] }}\n{status}"
    );
}

fn address(family: Family, last: usize) -> String {
    match family {
        Family::V4 => format!("203.0.113.{last}"),
        Family::V6 => format!("2001:db8:1::{last:x}"),
    }
}

#[cfg(test)]
mod tests {
    use kubenet_core::network::Network;
    use kubenet_core::origin::Severity;

    use super::*;
    use crate::parity::draw::{OUTSIDE, draw};

    #[test]
    fn every_flow_of_a_random_cluster_has_an_answer() {
        for seed in 0..8 {
            for mode in [ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs, ProxyMode::Userspace] {
                let mut dice = Dice::new(seed);
                let manifests = cluster(&mut dice, mode);
                let network = Network::from_text("random.yaml", &manifests);
                let errors: Vec<&str> = network
                    .diagnostics()
                    .filter(|diagnostic| diagnostic.severity == Severity::Error)
                    .map(|diagnostic| &*diagnostic.message)
                    .collect();
                assert!(errors.is_empty(), "seed {seed}: {errors:?}\n{manifests}");
                let flows = draw(&network, &mut dice, 20, &OUTSIDE);
                assert_eq!(flows.len(), 20, "seed {seed}\n{manifests}");
                for flow in &flows {
                    let trace = network.trace(&flow.question());
                    assert!(trace.is_ok(), "seed {seed}: {flow:?}: {trace:?}\n{manifests}");
                }
            }
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_cluster_and_another_seed_another() {
        let drawn = |seed| cluster(&mut Dice::new(seed), ProxyMode::Iptables);
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }
}
