//! Checks of the adapter that any kernel has to stand, this machine's or one in memory.

use std::sync::Arc;
use std::time::Duration;

use kubenet_core::network::Network;
use kubenet_core::origin::Origin;
use kubenet_core::plan::{Change, MachineId, MachinePlan, PlanSource as _, diff};
use kubenet_core::time::Instant;
use kubenet_linux::{Agent, Error, Flaky, Kernel, Observe, Reason, Step, difference, undo};

/// CNIs with their ways from node to node.
const CNIS: [(&str, &str); 3] = [("bridge", "host-gw"), ("flannel", "vxlan"), ("kindnet", "host-gw")];

const FAMILIES: [(&str, &str); 3] = [
    ("IPv4", "clusterCidr: [10.244.0.0/16], serviceCidr: [10.96.0.0/12], nodeNetwork: [172.18.0.0/24]"),
    (
        "IPv6",
        "clusterCidr: ['fd00:10:244::/56'], serviceCidr: ['fd00:10:96::/112'], nodeNetwork: ['fd00:172:18::/64']",
    ),
    (
        "dual stack",
        "clusterCidr: [10.244.0.0/16, 'fd00:10:244::/56'], serviceCidr: [10.96.0.0/12, 'fd00:10:96::/112'], \
         nodeNetwork: [172.18.0.0/24, 'fd00:172:18::/64']",
    ),
];

const OBJECTS: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web-0, labels: {app: web}},
 spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 8080, hostPort: 7000}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-1, labels: {app: web}},
 spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 8080}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: agent, labels: {app: agent}},
 spec: {nodeName: node-1, hostNetwork: true, containers: [{name: c, ports: [{containerPort: 9100}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web},
 spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: sticky},
 spec: {type: LoadBalancer, externalTrafficPolicy: Local, sessionAffinity: ClientIP, selector: {app: web}, ports: [{port: 443, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: empty}, spec: {selector: {app: none}, ports: [{port: 80}]}}
";

/// A plan, and what it is of.
pub(crate) type Named = (String, Arc<MachinePlan>);

/// The machines of a cluster in a mode of kube-proxy.
fn cluster(cni: (&str, &str), family: (&str, &str), proxy: &str) -> Vec<Named> {
    let ((cni, underlay), (name, ranges)) = (cni, family);
    let text = format!(
        "apiVersion: kubenet/v1\nkind: Assumptions\n\
         spec: {{cni: {cni}, underlay: {underlay}, proxyMode: {proxy}, nodes: 3, {ranges}}}\n---{OBJECTS}"
    );
    let network = Network::from_text("cluster.yaml", &text);
    assert!(!network.has_errors(), "{:?}", network.diagnostics().collect::<Vec<_>>());
    let plans = network.plans();
    let machines = (0..plans.machine_count()).filter_map(|id| plans.machine(MachineId(id)));
    machines
        .map(|machine| (format!("{} of {cni} {underlay}, {name}, {proxy}", machine.name), machine))
        .collect()
}

/// A node of every CNI, family and mode; and of one cluster, what is no node too.
pub(crate) fn plans(proxies: &[&str]) -> Vec<Named> {
    let mut all = Vec::new();
    for (place, cni) in CNIS.into_iter().enumerate() {
        for (of, family) in FAMILIES.into_iter().enumerate() {
            // Every mode with every CNI and every family, once.
            let proxy = proxies[(place + of) % proxies.len()];
            let mut machines = cluster(cni, family, proxy);
            if (place, of) != (1, 2) {
                machines.truncate(1);
            }
            all.extend(machines);
        }
    }
    all
}

/// A small node, and one that it becomes: another pod, another mode of kube-proxy.
pub(crate) fn small() -> (Arc<MachinePlan>, Arc<MachinePlan>) {
    let of = |pod: &str, proxy: &str| {
        let text = format!(
            "apiVersion: kubenet/v1\nkind: Assumptions\nspec: {{cni: flannel, underlay: vxlan, proxyMode: {proxy}, nodes: 2}}\n---\n\
             {{apiVersion: v1, kind: Pod, metadata: {{name: {pod}, labels: {{app: web}}}},\
             \n spec: {{nodeName: node-1, containers: [{{name: c, ports: [{{containerPort: 80}}]}}]}}}}\n---\n\
             {{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}}}\n"
        );
        Network::from_text("small.yaml", &text).plans().machine(MachineId(0)).expect("node-1")
    };
    (of("one", "iptables"), of("other", "nftables"))
}

/// A machine is what its plan says, as far as it can be. What it is.
fn is_as<K: Kernel + Observe>(kernel: &mut K, plan: &MachinePlan, name: &str) -> MachinePlan {
    let observed = kernel.observe().expect("observed");
    let mut left = difference(&observed, &[], plan);
    left.retain(|change| kernel.can(change));
    assert_eq!(left.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0], "{name}");
    observed
}

/// Takes away what is ours: then nothing is left.
fn clean<K: Kernel + Observe>(kernel: &mut K, observed: &MachinePlan, plans: &[&MachinePlan], name: &str) {
    let changes = undo(observed, plans);
    kernel.apply(&changes).unwrap_or_else(|error| panic!("{name}: {error}"));
    is_clean(kernel, plans, name);
}

fn is_clean<K: Kernel + Observe>(kernel: &mut K, plans: &[&MachinePlan], name: &str) {
    let observed = kernel.observe().expect("observed");
    let rest: Vec<String> = undo(&observed, plans).iter().map(ToString::to_string).collect();
    assert_eq!(rest, [""; 0], "{name}");
    assert_eq!(observed.netns.len(), 1, "{name}: namespaces are left");
    let host = &observed.netns[0];
    let ours = |origin: &Origin| *origin == Origin::implied("kubenet");
    let links = host.links.iter().filter(|link| ours(&link.origin)).map(|link| &*link.name);
    assert_eq!(links.collect::<Vec<_>>(), [""; 0], "{name}: links are left");
    assert!(!host.routes.iter().any(|route| ours(&route.origin)), "{name}: {:?}", host.routes);
    let rules = format!("{:?}", host.netfilter.whole());
    for word in ["KUBE-", "kube-proxy", "CNI-", "FLANNEL", "KIND-"] {
        assert!(!rules.contains(word), "{name}: rules of {word} are left");
    }
}

/// A machine is what its plan says, again when it is done again, and nothing is left at the end.
pub(crate) fn becomes_its_plan<K: Kernel + Observe>(kernel: &mut K, (name, plan): &Named) {
    let changes = difference(&kernel.observe().expect("observed"), &[], plan);
    assert!(changes.len() > 10, "{name}");
    kernel.apply(&changes).unwrap_or_else(|error| panic!("{name}: {error}"));
    is_as(kernel, plan, name);
    kernel.apply(&changes).unwrap_or_else(|error| panic!("{name}, again: {error}"));
    let observed = is_as(kernel, plan, name);
    clean(kernel, &observed, &[plan], name);
}

/// One plan becomes the other without the machine being looked at in between.
pub(crate) fn becomes_others<K: Kernel + Observe>(kernel: &mut K, all: &[Named]) {
    let mut before: Option<&MachinePlan> = None;
    for (name, plan) in all {
        kernel.apply(&diff(before, plan)).unwrap_or_else(|error| panic!("to {name}: {error}"));
        is_as(kernel, plan, name);
        before = Some(plan);
    }
}

/// A machine that stops before any of its steps comes to the same when it is run again, and is cleaned up; `steps` chooses them.
pub(crate) fn stops_anywhere<K: Kernel + Observe>(kernel: K, steps: &dyn Fn(usize) -> bool) {
    let (one, other) = small();
    let (to_one, to_other) = (diff(None, &one), diff(Some(&one), &other));
    let mut kernel = Flaky { kernel, left: None };
    for left in (0..to_one.len()).filter(|left| steps(*left)) {
        let name = format!("stopped before step {left}");
        kernel.left = Some(left);
        assert!(matches!(kernel.apply(&to_one), Err(Error::Flaky(_))), "{name}");
        // Half of them go on, the others are given up.
        let observed = match left % 2 {
            0 => settles(&mut kernel, &one, &name),
            _ => kernel.observe().expect("observed"),
        };
        clean(&mut kernel, &observed, &[&one], &name);
    }
    for left in (0..to_other.len()).filter(|left| steps(*left)) {
        let name = format!("changed, and stopped before step {left}");
        kernel.apply(&to_one).unwrap_or_else(|error| panic!("{name}: {error}"));
        kernel.left = Some(left);
        assert!(matches!(kernel.apply(&to_other), Err(Error::Flaky(_))), "{name}");
        if left % 2 == 1 {
            let observed = settles(&mut kernel, &other, &name);
            // The new plan is reached: the old one need not be known any more.
            clean(&mut kernel, &observed, &[&other], &name);
        } else {
            let observed = kernel.observe().expect("observed");
            clean(&mut kernel, &observed, &[&one, &other], &name);
        }
    }
}

fn settles<K: Kernel + Observe>(kernel: &mut K, plan: &MachinePlan, name: &str) -> MachinePlan {
    let rest: Vec<Change> = difference(&kernel.observe().expect("observed"), &[], plan);
    kernel.apply(&rest).unwrap_or_else(|error| panic!("{name}: {error}"));
    is_as(kernel, plan, name)
}

/// An agent does what differs, looks again after an error and when its time has come, and mends what others undid.
pub(crate) fn is_kept<K: Kernel + Observe>(kernel: K) {
    let at = |secs: u64| Instant::from_nanos(secs * 1_000_000_000);
    let (one, other) = small();
    let mut agent = Agent::new(Flaky::new(kernel, 20), Duration::from_secs(30));
    agent.step(&one, at(0), Reason::Plan).expect_err("it fails at step 20");
    let second = agent.step(&one, at(1), Reason::Plan).expect("the rest");
    assert!(second.observed && second.changes > 10, "{second:?}");
    let quiet = Step { changes: 0, observed: false };
    assert_eq!(agent.step(&one, at(2), Reason::Plan).expect("nothing"), quiet);
    let third = agent.step(&other, at(3), Reason::Plan).expect("the other");
    assert!(!third.observed && third.changes > 5, "{third:?}");
    is_as(&mut agent.kernel, &other, "the other");

    // Somebody takes everything away. More is done to have it back, since what goes with a link comes in steps of its own.
    let harm: Vec<Change> = undo(&agent.kernel.observe().expect("observed"), &[&other]);
    assert!(harm.len() > 1, "{harm:?}");
    agent.kernel.apply(&harm).expect("harm");
    assert_eq!(agent.step(&other, at(30), Reason::Plan).expect("nothing"), quiet);
    assert_eq!(agent.next_look(), Some(at(31)));
    let mended = agent.step(&other, at(31), Reason::Plan).expect("mended");
    assert!(mended.observed && mended.changes > harm.len(), "{mended:?}");
    assert_eq!(
        agent.step(&other, at(32), Reason::Resync).expect("nothing"),
        Step { changes: 0, observed: true }
    );
    agent.undo(&other).expect("undone");
    is_clean(&mut agent.kernel, &[&one, &other], "after the agent");
}
