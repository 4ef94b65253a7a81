//! From objects to a resolved cluster: the cost curve over the number of pods, and of one change.
//!
//! `cargo bench -p kubenet-core --bench resolve`. `n` pods are `n/10` Deployments of ten replicas with a Service each, on
//! `n/20` nodes.

use std::sync::Arc;

use divan::Bencher;
use kubenet_core::assume::Assume;
use kubenet_core::cluster::resolve;
use kubenet_core::k8s::{ObjectChange, Objects};
use kubenet_core::origin::ObjectRef;
use serde_json::json;

fn main() {
    divan::main();
}

const PODS: [u32; 4] = [100, 1_000, 10_000, 100_000];

fn objects(pods: u32) -> Arc<Objects> {
    let mut objects = Objects::default();
    for i in 0..pods / 10 {
        let name = format!("app-{i}");
        let container = json!({"name": "main", "ports": [{"name": "http", "containerPort": 8080}]});
        let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}});
        let spec = json!({"replicas": 10, "template": template});
        let deployment = json!({"kind": "Deployment", "metadata": {"name": name}, "spec": spec});
        let ports = json!([{"port": 80, "targetPort": "http"}]);
        let service = json!({"kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}});
        for object in [deployment, service] {
            objects.put_json(&object).expect("a good object");
        }
    }
    Arc::new(objects)
}

fn assume(pods: u32) -> Assume {
    Assume { nodes: Some((pods / 20).max(2)), ..Assume::default() }
}

#[divan::bench(args = PODS, sample_count = 10)]
fn manifests(bencher: Bencher<'_, '_>, pods: u32) {
    let (objects, assume) = (objects(pods), assume(pods));
    bencher.bench(|| resolve(&objects, &assume, None));
}

#[divan::bench(args = PODS, sample_count = 10)]
fn one_change(bencher: Bencher<'_, '_>, pods: u32) {
    let (objects, assume) = (objects(pods), assume(pods));
    let (before, _) = resolve(&objects, &assume, None);
    let gone = [ObjectChange::Delete(ObjectRef::namespaced("Deployment", "default", "app-3"))];
    bencher.bench(|| {
        let mut changed = (*objects).clone();
        changed.apply(&gone);
        let (after, _) = resolve(&Arc::new(changed), &assume, None);
        after.changed_since(&before)
    });
}
