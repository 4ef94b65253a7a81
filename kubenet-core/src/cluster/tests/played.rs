//! The control plane's part, on inputs that are made in memory.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{ip, net, node, pod};
use crate::addr::{Family, Protocol};
use crate::assume::Assume;
use crate::cluster::control_plane::{Make, Template, WorkloadIn};
use crate::cluster::resolve::{Input, PodIn, finish, resolve_input};
use crate::cluster::schedule::{Asks, Toleration};
use crate::cluster::services::{FamilyPolicy, ServiceIn};
use crate::cluster::{Cluster, Service, ServicePort, Settings, TargetPort};
use crate::origin::{Diagnostic, ObjectRef, Origin};

pub(super) fn workload(kind: &'static str, name: &str, make: Make) -> WorkloadIn {
    let object = ObjectRef::namespaced(kind, "default", name);
    let origin = Origin::object(object.clone());
    let label = (Arc::from("app"), Arc::from(name));
    let template = Template { labels: alloc::vec![label], ..Template::default() };
    WorkloadIn { object, make, template: Arc::new(template), origin }
}

fn asking(mut workload: WorkloadIn, asks: Asks) -> WorkloadIn {
    workload.template = Arc::new(Template { asks, ..(*workload.template).clone() });
    workload
}

pub(super) fn pod_in(name: &str, node_name: Option<&str>, addresses: &[&str]) -> PodIn {
    let asks = Asks { node_name: node_name.map(Arc::from), ..Asks::default() };
    PodIn {
        pod: pod(name, None, addresses),
        template: Arc::new(Template { asks, ..Template::default() }),
        host_ips: Vec::new(),
        controller: None,
    }
}

fn service(name: &str, cluster_ips: &[&str], ports: &[(Protocol, u16, Option<u16>)]) -> ServiceIn {
    let port = |(protocol, port, node_port): &(Protocol, u16, Option<u16>)| ServicePort {
        name: None,
        port: *port,
        protocol: *protocol,
        target: TargetPort::Number(*port),
        node_port: *node_port,
    };
    ServiceIn {
        service: Service {
            namespace: "default".into(),
            name: name.into(),
            cluster_ips: cluster_ips.iter().map(|addr| ip(addr)).collect(),
            selector: Vec::new(),
            ports: ports.iter().map(port).collect(),
            load_balancer: None,
            origin: Origin::object(ObjectRef::namespaced("Service", "default", name)),
        },
        policy: None,
        families: Vec::new(),
        virtual_addresses: true,
        node_ports: false,
        wishes: None,
    }
}

pub(super) fn run(input: Input, assume: &str) -> (Cluster, Vec<Diagnostic>) {
    let assume: Assume = serde_json::from_str(assume).unwrap();
    let (parts, mut log) = resolve_input(input, Settings::default(), &assume, None);
    let cluster = finish(parts, &assume, &mut log);
    (cluster, log)
}

pub(super) fn show(cluster: &Cluster, log: &[Diagnostic]) -> String {
    let mut out = String::new();
    let words = |addrs: &[IpAddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    for n in cluster.nodes.iter() {
        let nets: Vec<String> = n.pod_cidrs.iter().map(ToString::to_string).collect();
        out += &format!("{} [{}] pods [{}]\n", n.name, words(&n.addresses), nets.join(" "));
    }
    for p in cluster.pods.iter() {
        let on = p.node.map_or("pending", |n| &*cluster.nodes[n as usize].name);
        out += &format!("{}/{} on {on} [{}]\n", p.namespace, p.name, words(&p.addresses));
    }
    for s in cluster.services.iter() {
        let ports: Vec<String> = s
            .ports
            .iter()
            .map(|p| format!("{}:{}", p.port, p.node_port.map_or("-".into(), |n| n.to_string())))
            .collect();
        out += &format!("service {} [{}] {}\n", s.name, words(&s.cluster_ips), ports.join(" "));
    }
    for d in log {
        out += &format!("{d}\n");
    }
    out
}

fn check(input: Input, assume: &str, expect: Expect) {
    let (cluster, log) = run(input, assume);
    expect.assert_eq(&show(&cluster, &log));
}

#[test]
fn workloads_become_pods_with_the_names_that_kubernetes_gives() {
    let workloads = alloc::vec![
        workload("Deployment", "web", Make::Deployment(3)),
        workload("Deployment", "off", Make::Deployment(0)),
        workload("StatefulSet", "db", Make::Ordinals { first: 1, count: 2 }),
        workload("DaemonSet", "agent", Make::PerNode),
        workload("ReplicaSet", "bare", Make::Replicas(1)),
        workload("Job", "migrate", Make::Job { count: 1, indexed: false }),
        workload("Job", "shards", Make::Job { count: 2, indexed: true }),
        workload("CronJob", "backup", Make::CronJob { count: 1, indexed: false }),
    ];
    check(
        Input { workloads, ..Input::default() },
        "{}",
        expect![[r#"
        node-1 [172.18.0.2] pods [10.244.0.0/24]
        node-2 [172.18.0.3] pods [10.244.1.0/24]
        default/agent-r8sx7 on node-2 [10.244.1.104]
        default/agent-xfsvf on node-1 [10.244.0.26]
        default/backup-29130318-wn65q on node-1 [10.244.0.202]
        default/bare-zw2jt on node-2 [10.244.1.52]
        default/db-1 on node-1 [10.244.0.175]
        default/db-2 on node-2 [10.244.1.54]
        default/migrate-rfsnc on node-2 [10.244.1.185]
        default/shards-0-x8b8r on node-2 [10.244.1.66]
        default/shards-1-42kh8 on node-1 [10.244.0.87]
        default/web-7d46f85c8d-5jqvv on node-2 [10.244.1.12]
        default/web-7d46f85c8d-6qrrz on node-1 [10.244.0.103]
        default/web-7d46f85c8d-fwt8l on node-1 [10.244.0.194]
    "#]],
    );
}

#[test]
fn labels_and_owners_follow_the_workload() {
    let workloads = alloc::vec![
        workload("Deployment", "web", Make::Deployment(1)),
        workload("StatefulSet", "db", Make::Ordinals { first: 0, count: 1 }),
        workload("CronJob", "backup", Make::CronJob { count: 1, indexed: true }),
    ];
    let (cluster, _) = run(Input { workloads, ..Input::default() }, "{}");
    let mut out = String::new();
    for p in cluster.pods.iter() {
        let owners: Vec<String> = p.owners.iter().map(ToString::to_string).collect();
        let labels: Vec<String> = p.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        out += &format!("{}\n  {}\n  {}\n", p.name, owners.join(" > "), labels.join(" "));
    }
    for w in cluster.workloads.iter() {
        out += &format!("{}: {:?}\n", w.object, w.pods);
    }
    expect![[r#"
        backup-29130318-0-wn65q
          CronJob default/backup > Job default/backup-29130318
          app=backup batch.kubernetes.io/job-completion-index=0 batch.kubernetes.io/job-name=backup-29130318 job-name=backup-29130318
        db-0
          StatefulSet default/db
          app=db apps.kubernetes.io/pod-index=0 statefulset.kubernetes.io/pod-name=db-0
        web-7d46f85c8d-6qrrz
          Deployment default/web > ReplicaSet default/web-7d46f85c8d
          app=web pod-template-hash=7d46f85c8d
        CronJob default/backup: [0]
        Deployment default/web: [2]
        Job default/backup-29130318: [0]
        ReplicaSet default/web-7d46f85c8d: [2]
        StatefulSet default/db: [1]
    "#]].assert_eq(&out);
}

#[test]
fn long_names_are_cut_as_generate_name_does() {
    let long = "a".repeat(70);
    let input = Input {
        workloads: alloc::vec![workload("ReplicaSet", &long, Make::Replicas(1))],
        ..Input::default()
    };
    let (cluster, _) = run(input, "{}");
    assert_eq!(cluster.pods[0].name.len(), 63);
}

#[test]
fn taints_selectors_and_places_choose_the_node() {
    let mut control = node("control", &[]);
    control.taints.push("node-role.kubernetes.io/control-plane:NoSchedule".into());
    let mut fast = node("fast", &[]);
    fast.labels.push(("disk".into(), "ssd".into()));
    let disk = |value: &str| Asks { selector: alloc::vec![("disk".into(), value.into())], ..Asks::default() };
    let everything = Asks { tolerations: alloc::vec![Toleration::default()], ..Asks::default() };
    let named = Asks { node_name: Some("control".into()), ..Asks::default() };
    let workloads = alloc::vec![
        workload("Deployment", "plain", Make::Deployment(4)),
        asking(workload("Deployment", "ssd", Make::Deployment(2)), disk("ssd")),
        asking(workload("Deployment", "tape", Make::Deployment(1)), disk("tape")),
        asking(workload("Deployment", "named", Make::Deployment(1)), named),
        workload("Deployment", "placed", Make::Deployment(2)),
        workload("DaemonSet", "agent", Make::PerNode),
        asking(workload("DaemonSet", "proxy", Make::PerNode), everything),
    ];
    let nodes = alloc::vec![control, fast, node("slow", &[])];
    let place = r#"{"place": {"deploy/placed": "slow", "default/nobody": "gone", "x": "slow"}}"#;
    check(
        Input { workloads, nodes, ..Input::default() },
        place,
        expect![[r#"
            control [172.18.83.137] pods [10.244.216.0/24]
            fast [172.18.69.222] pods [10.244.46.0/24]
            slow [172.18.9.56] pods [10.244.224.0/24]
            default/agent-cdzts on fast [10.244.46.175]
            default/agent-gb24h on slow [10.244.224.143]
            default/named-68696b6854-v8wln on control [10.244.216.29]
            default/placed-665d4846bb-7x9ss on slow [10.244.224.44]
            default/placed-665d4846bb-pcvtd on slow [10.244.224.121]
            default/plain-767d4d5768-gdrbw on slow [10.244.224.102]
            default/plain-767d4d5768-t8spc on fast [10.244.46.171]
            default/plain-767d4d5768-tc4vl on slow [10.244.224.119]
            default/plain-767d4d5768-zm7l4 on fast [10.244.46.220]
            default/proxy-gn2k6 on fast [10.244.46.162]
            default/proxy-ltfvd on slow [10.244.224.37]
            default/proxy-vpg9p on control [10.244.216.66]
            default/ssd-85f5cc7c68-kw6c9 on fast [10.244.46.212]
            default/ssd-85f5cc7c68-t4p7f on fast [10.244.46.40]
            default/tape-5c66446f66-d5n5n on pending []
            error[assumption-unknown]: place: no node 'gone'; there are control, fast, slow
            error[assumption-unknown]: place: 'x' is neither [NAMESPACE/]KIND/NAME nor NAMESPACE/POD
            warning[unschedulable]: pods of Deployment default/tape stay pending: no node has the labels disk=tape
        "#]],
    );
}

#[test]
fn made_up_nodes_are_taken_to_have_the_labels_that_are_asked_for() {
    let linux =
        Asks { selector: alloc::vec![("kubernetes.io/os".into(), "linux".into())], ..Asks::default() };
    let gpu = Asks { selector: alloc::vec![("gpu".into(), "yes".into())], ..Asks::default() };
    let workloads = alloc::vec![
        asking(workload("Deployment", "linux", Make::Deployment(1)), linux),
        asking(workload("Deployment", "gpu", Make::Deployment(1)), gpu),
    ];
    check(
        Input { workloads, ..Input::default() },
        r#"{"nodes": 1}"#,
        expect![[r#"
        node-1 [172.18.0.2] pods [10.244.0.0/24]
        default/gpu-6675d5464-n6tlp on node-1 [10.244.0.186]
        default/linux-58759dff7c-npwz2 on node-1 [10.244.0.168]
        note[made-up-labels]: Deployment default/gpu asks for nodes with gpu=yes; the made-up nodes are treated as if they had it
    "#]],
    );
}

#[test]
fn pods_of_the_input_keep_what_they_state_and_count_as_replicas() {
    let set = ObjectRef::namespaced("ReplicaSet", "default", "web-55c9");
    let mut one = pod_in("web-55c9-abcde", Some("worker-7"), &["10.244.9.9"]);
    one.controller = Some(set.clone());
    let mut done = pod_in("web-55c9-zzzzz", None, &["10.244.9.10"]);
    (done.controller, done.pod.terminal) = (Some(set.clone()), true);
    done.pod.addresses.clear();
    let mut sts = pod_in("db-0", None, &[]);
    sts.controller = Some(ObjectRef::namespaced("StatefulSet", "default", "db"));
    let deployment = ObjectRef::namespaced("Deployment", "default", "web");
    let input = Input {
        pods: alloc::vec![one, done, sts],
        workloads: alloc::vec![
            workload("Deployment", "web", Make::Deployment(2)),
            workload("ReplicaSet", "web-55c9", Make::Replicas(2)),
            workload("StatefulSet", "db", Make::Ordinals { first: 0, count: 2 }),
        ],
        parents: BTreeMap::from([(set, deployment)]),
        ..Input::default()
    };
    check(
        input,
        r#"{"nodes": 1}"#,
        expect![[r#"
            node-1 [172.18.0.2] pods [10.244.0.0/24]
            worker-7 [172.18.58.253] pods [10.244.9.0/24]
            default/db-0 on node-1 [10.244.0.138]
            default/db-1 on worker-7 [10.244.9.175]
            default/web-55c9-abcde on worker-7 [10.244.9.9]
            default/web-55c9-zzzzz on pending []
            default/web-7d46f85c8d-5jqvv on worker-7 [10.244.9.12]
        "#]],
    );
}

#[test]
fn services_get_addresses_and_node_ports_that_follow_from_their_names() {
    let tcp = Protocol::Tcp;
    let mut headless = service("headless", &[], &[(tcp, 80, None)]);
    headless.virtual_addresses = false;
    let mut public = service("public", &[], &[(tcp, 80, None), (tcp, 443, Some(30443))]);
    public.node_ports = true;
    let services = alloc::vec![
        service("api", &[], &[(tcp, 80, None)]),
        headless,
        service("stated", &["10.96.0.10"], &[(tcp, 80, None)]),
        public,
        service("outside", &["10.9.9.9"], &[(tcp, 80, None)]),
    ];
    check(
        Input { services, ..Input::default() },
        r#"{"nodes": 0, "serviceCidr": "10.96.0.0/16"}"#,
        expect![[r#"
            service api [10.96.58.210] 80:-
            service headless [] 80:-
            service outside [10.9.9.9] 80:-
            service public [10.96.196.78] 80:32591 443:30443
            service stated [10.96.0.10] 80:-
            warning[service-outside-range]: service default/outside has 10.9.9.9, outside of 10.96.0.0/16
        "#]],
    );
}

#[test]
fn services_of_a_dual_stack_cluster_follow_their_policy() {
    let with = |name: &str, policy, families: &[Family]| ServiceIn {
        policy,
        families: families.to_vec(),
        ..service(name, &[], &[])
    };
    let input = || Input {
        services: alloc::vec![
            with("default", None, &[]),
            with("four", None, &[Family::V4]),
            with("prefer", Some(FamilyPolicy::Prefer), &[]),
            with("require", Some(FamilyPolicy::Require), &[Family::V4]),
            with("six", Some(FamilyPolicy::Single), &[Family::V6]),
        ],
        ..Input::default()
    };
    let dual = r#"{"nodes": 0, "clusterCidr": "fd00:10:244::/56,10.244.0.0/16"}"#;
    check(
        input(),
        dual,
        expect![[r#"
        service default [fd00:10:96::1d49] 
        service four [10.97.132.75] 
        service prefer [fd00:10:96::8323 10.101.162.166] 
        service require [10.111.179.7 fd00:10:96::e517] 
        service six [fd00:10:96::4f0] 
    "#]],
    );
    check(
        input(),
        r#"{"nodes": 0}"#,
        expect![[r#"
        service default [10.106.204.70] 
        service four [10.97.132.75] 
        service prefer [10.101.162.166] 
        service require [10.111.179.7] 
        service six [] 
        warning[service-address]: service default/require: it requires two families, but the cluster has one
        warning[service-address]: service default/six: the cluster has no IPv6 service range
    "#]],
    );
}

#[test]
fn assumptions_that_name_unknown_things_are_told() {
    let input = Input { pods: alloc::vec![pod_in("web", None, &[])], ..Input::default() };
    let assume = r#"{"nodes": 1, "listeners": ["web:9090", "wbe:1"], "closed": ["shop/web:1"],
        "faults": ["ip-forward-off node-9", "link-down default/web dev eth0", "link-down shop/x dev eth0"]}"#;
    let (cluster, log) = run(input, assume);
    assert_eq!(cluster.listeners.len(), 1);
    assert_eq!(cluster.faults.len(), 3);
    let lines: String = log.iter().map(|d| format!("{d}\n")).collect();
    expect![[r#"
        error[assumption-unknown]: listeners: no pod 'wbe' in namespace 'default'
        error[assumption-unknown]: closed: no pod 'web' in namespace 'shop'
        error[assumption-unknown]: faults: no node 'node-9'
        error[assumption-unknown]: faults: no pod 'x' in namespace 'shop'
    "#]]
    .assert_eq(&lines);
}

#[test]
fn a_snapshot_is_taken_as_it_is() {
    let set = ObjectRef::namespaced("ReplicaSet", "default", "web-55c9");
    let mut web = pod_in("web-55c9-abcde", Some("worker-1"), &["10.244.9.9"]);
    web.controller = Some(set);
    web.pod.labels.push(("pod-template-hash".into(), "55c9".into()));
    web.host_ips.push(ip("192.168.1.7"));
    let mut host = pod_in("proxy", Some("worker-1"), &[]);
    host.pod.host_network = true;
    let pending = pod_in("pending", None, &[]);
    let input = Input {
        pods: alloc::vec![web, host, pending],
        workloads: alloc::vec![workload("Deployment", "idle", Make::Deployment(3))],
        services: alloc::vec![service("api", &["10.96.0.10"], &[]), service("none", &[], &[])],
        has_uid: true,
        ..Input::default()
    };
    let (cluster, log) = run(input, r#"{"place": {"deploy/web": "worker-1"}}"#);
    let mut out = show(&cluster, &log);
    for w in cluster.workloads.iter() {
        out += &format!("{}: {:?}\n", w.object, w.pods);
    }
    expect![[r#"
        worker-1 [192.168.1.7] pods []
        default/pending on pending []
        default/proxy on worker-1 [192.168.1.7]
        default/web-55c9-abcde on worker-1 [10.244.9.9]
        service api [10.96.0.10] 
        service none [] 
        warning[assumption-unused]: place has no effect: in a snapshot every pod is where the input says
        Deployment default/idle: []
        Deployment default/web: [2]
        ReplicaSet default/web-55c9: [2]
    "#]]
    .assert_eq(&out);
    assert_eq!(cluster.settings.cluster_cidr.value, [net("10.244.0.0/16")]);
}

fn random_input(deployments: &[(u8, u32)], nodes: Option<u32>) -> Input {
    let mut workloads: Vec<WorkloadIn> = Vec::new();
    for (id, replicas) in deployments {
        workloads.push(workload("Deployment", &format!("d{id}"), Make::Deployment(*replicas)));
    }
    workloads.sort_by(|a, b| a.object.cmp(&b.object));
    workloads.dedup_by(|a, b| a.object == b.object);
    workloads.push(workload("DaemonSet", "agent", Make::PerNode));
    let nodes = (0..nodes.unwrap_or(0)).map(|i| node(&format!("worker-{i}"), &[])).collect();
    let services =
        workloads.iter().map(|w| service(&w.object.name, &[], &[(Protocol::Tcp, 80, None)])).collect();
    Input { workloads, nodes, services, ..Input::default() }
}

fn deployments() -> impl Strategy<Value = Vec<(u8, u32)>> {
    proptest::collection::vec((any::<u8>(), 0u32..6), 1..20)
}

proptest! {
    #[test]
    fn every_pod_and_service_has_its_own_address(deployments in deployments(), nodes in proptest::option::of(1u32..6), dual in any::<bool>()) {
        let assume = if dual { r#"{"clusterCidr": "10.244.0.0/16,fd00:10:244::/56"}"# } else { "{}" };
        let (cluster, log) = run(random_input(&deployments, nodes), assume);
        prop_assert!(log.is_empty(), "{:?}", log);
        let families = if dual { 2 } else { 1 };
        let of_pods = cluster.pods.iter().flat_map(|p| p.addresses.iter());
        let of_services = cluster.services.iter().flat_map(|s| s.cluster_ips.iter());
        let of_nodes = cluster.nodes.iter().flat_map(|n| n.addresses.iter());
        let mut all: Vec<&IpAddr> = of_pods.chain(of_services).chain(of_nodes).collect();
        let expected = families * (cluster.pods.len() + cluster.nodes.len()) + cluster.services.len();
        prop_assert_eq!(all.len(), expected);
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), expected);
        for pod in cluster.pods.iter() {
            let node = &cluster.nodes[pod.node.unwrap() as usize];
            prop_assert!(pod.addresses.iter().all(|addr| node.pod_cidrs.iter().any(|net| net.contains(addr))));
        }
        for (place, node) in cluster.nodes.iter().enumerate() {
            for other in cluster.nodes.iter().skip(place + 1) {
                let apart = node.pod_cidrs.iter().all(|a| other.pod_cidrs.iter().all(|b| !a.contains(b) && !b.contains(a)));
                prop_assert!(apart, "{} and {}", node.name, other.name);
            }
        }
    }

    #[test]
    fn replicas_spread_evenly(replicas in 1u32..20, nodes in 1u32..7) {
        let (cluster, _) = run(random_input(&[(1, replicas)], Some(nodes)), "{}");
        let mut counts = alloc::vec![0u32; nodes as usize];
        for pod in cluster.pods.iter().filter(|pod| pod.name.starts_with("d1-")) {
            counts[pod.node.unwrap() as usize] += 1;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", counts);
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(deployments in deployments(), seed in any::<u64>()) {
        let forward = random_input(&deployments, Some(3));
        let mut shuffled = random_input(&deployments, Some(3));
        let key = |text: &str| crate::identity::mix(seed ^ crate::identity::identity(&[text]));
        shuffled.workloads.sort_by_key(|w| key(&w.object.name));
        shuffled.nodes.sort_by_key(|n| key(&n.name));
        shuffled.services.sort_by_key(|s| key(&s.service.name));
        let (a, a_log) = run(forward, "{}");
        let (b, b_log) = run(shuffled, "{}");
        prop_assert_eq!(show(&a, &a_log), show(&b, &b_log));
    }

    #[test]
    fn another_workload_moves_no_pod_to_another_node_and_few_to_another_address(deployments in deployments(), new in any::<u8>()) {
        let run = |deployments: &[(u8, u32)]| {
            let (cluster, _) = run(random_input(deployments, Some(3)), "{}");
            let one = |p: &Arc<crate::cluster::Pod>| (p.name.clone(), (p.node, p.addresses.clone()));
            cluster.pods.iter().map(one).collect::<BTreeMap<_, _>>()
        };
        prop_assume!(!deployments.iter().any(|(id, _)| *id == new));
        let before = run(&deployments);
        let mut more = deployments.clone();
        more.push((new, 1));
        let after = run(&more);
        prop_assert_eq!(after.len(), before.len() + 1);
        let mut moved = 0;
        for (name, (node, addresses)) in &before {
            let (node_now, addresses_now) = &after[name];
            prop_assert_eq!(node, node_now);
            moved += usize::from(addresses != addresses_now);
        }
        prop_assert!(moved <= 8, "{} of {} moved for one pod", moved, before.len());
    }
}
