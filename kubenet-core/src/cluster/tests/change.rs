use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use expect_test::expect;
use proptest::prelude::*;

use super::node;
use super::played::{run, show, workload};
use crate::cluster::control_plane::Make;
use crate::cluster::resolve::Input;
use crate::cluster::{Changed, Cluster};

fn cluster(deployments: &[(&str, u32)], nodes: &[&str]) -> Cluster {
    let workloads =
        deployments.iter().map(|(name, n)| workload("Deployment", name, Make::Deployment(*n))).collect();
    let nodes = nodes.iter().map(|name| node(name, &[])).collect();
    run(Input { workloads, nodes, ..Input::default() }, "{}").0
}

fn words(changed: &Changed) -> String {
    let names = |list: &[(Arc<str>, Arc<str>)]| list.iter().map(|(_, n)| format!(" {n}")).collect::<String>();
    let nodes: String = changed.nodes.iter().map(|n| format!(" {n}")).collect();
    let by_pods: String = changed.nodes_by_pods.iter().map(|n| format!(" {n}")).collect();
    format!(
        "everything: {}\nnodes:{nodes}\nby pods:{by_pods}\npods:{}\n",
        changed.everything,
        names(&changed.pods)
    )
}

#[test]
fn one_more_replica_touches_its_node_only() {
    let before = cluster(&[("web", 2), ("db", 1)], &["a", "b", "c"]);
    let (_, changed) = cluster(&[("web", 3), ("db", 1)], &["a", "b", "c"]).changed_since(&before);
    expect![[r#"
        everything: false
        nodes:
        by pods: a
        pods: web-7d46f85c8d-fwt8l
    "#]]
    .assert_eq(&words(&changed));
    let (_, nothing) = cluster(&[("web", 2), ("db", 1)], &["a", "b", "c"]).changed_since(&before);
    assert!(nothing.is_empty());
}

#[test]
fn a_node_that_comes_takes_only_its_share() {
    let before = cluster(&[("web", 2), ("db", 1), ("api", 1), ("cart", 1)], &["b", "c"]);
    let after = cluster(&[("web", 2), ("db", 1), ("api", 1), ("cart", 1)], &["a", "b", "c"]);
    let (_, changed) = after.changed_since(&before);
    expect![[r#"
        everything: false
        nodes: a
        by pods: b c
        pods: api-f6bb7bbc4-2mlwb cart-859cfbf578-dvslr db-7956d86ff-wqb2n
    "#]]
    .assert_eq(&words(&changed));
}

#[test]
fn a_setting_touches_everything() {
    let one = |assume| run(Input::default(), assume).0;
    let (_, changed) = one(r#"{"mtu": 9000}"#).changed_since(&one("{}"));
    assert!(changed.everything && changed.nodes.is_empty());
}

proptest! {
    #[test]
    fn what_is_not_named_is_the_same_object(before in proptest::collection::vec(0u32..4, 4), after in proptest::collection::vec(0u32..4, 4), nodes in 1usize..4, nodes_after in 1usize..4) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let make = |counts: &[u32], nodes: usize| {
            let deployments: Vec<(&str, u32)> = NAMES.into_iter().zip(counts.iter().copied()).collect();
            cluster(&deployments, &NAMES[..nodes])
        };
        let (old, new) = (make(&before, nodes), make(&after, nodes_after));
        let (shared, changed) = new.clone().changed_since(&old);
        prop_assert_eq!(show(&shared, &[]), show(&new, &[]));
        let place = |c: &Cluster, p: &crate::cluster::Pod| p.node.map(|n| c.nodes[n as usize].name.clone());
        for pod in shared.pods.iter() {
            let earlier = old.pod_named(&pod.namespace, &pod.name).map(|at| &old.pods[at as usize]);
            let named = changed.pods.contains(&(pod.namespace.clone(), pod.name.clone()));
            let same = earlier.is_some_and(|e| e.addresses == pod.addresses && place(&old, e) == place(&shared, pod));
            prop_assert_eq!(named, !same, "{}", pod.name);
            if let Some(earlier) = earlier.filter(|e| e.node == pod.node && !named) {
                prop_assert!(Arc::ptr_eq(earlier, pod));
            }
        }
        for pod in old.pods.iter().filter(|p| shared.pod_named(&p.namespace, &p.name).is_none()) {
            prop_assert!(changed.pods.contains(&(pod.namespace.clone(), pod.name.clone())));
        }
        prop_assert_eq!(changed.nodes.len(), nodes.abs_diff(nodes_after));
    }
}
