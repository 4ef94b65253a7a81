//! A cluster built from objects in memory, and changed.
//!
//! `cargo run -p kubenet-core --example change`

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use kubenet_core::addr::Protocol;
use kubenet_core::assume::Assume;
use kubenet_core::k8s::build::Pod;
use kubenet_core::k8s::{ObjectChange, Objects};
use kubenet_core::network::{Network, Question};
use kubenet_core::origin::ObjectRef;

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let mut objects = Objects::default();
    objects.put(Pod::new("web").label("app", "web").port(Protocol::Tcp, 8080).deployment(3));
    // What a program has as JSON is taken too.
    objects.put_json(&serde_json::json!({"kind": "Pod", "metadata": {"name": "client"}}))?;
    let before = Network::new(objects, Assume::default(), None);
    let question = Question::new("pod/client", "deploy/web:8080");
    println!("before: {:?}", before.trace(&question)?.verdict());

    // A network never changes; `with` gives another one that shares what is equal.
    let after = before.with(&[ObjectChange::Delete(ObjectRef::namespaced("Deployment", "default", "web"))]);
    println!("changed: {} pods", after.changed().pods.len());
    match after.trace(&question) {
        Ok(trace) => println!("after: {:?}", trace.verdict()),
        Err(error) => println!("after: {error}"),
    }
    Ok(())
}
