//! Load manifests, trace a packet, read the verdict.
//!
//! `cargo run -p kubenet-core --example network`

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use kubenet_core::network::{Network, Question};
use kubenet_core::trace::{Detail, Verdict, lines};

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: client }
spec: { nodeName: alpha, containers: [{ name: main }] }
---
apiVersion: v1
kind: Pod
metadata: { name: server }
spec: { nodeName: beta, containers: [{ name: main, ports: [{ containerPort: 8080 }] }] }
"#;

fn main() -> Result<(), kubenet_core::network::AskError> {
    let network = Network::from_text("pods.yaml", MANIFESTS);
    // Loading never fails: what is wrong with the input is told beside what could be read.
    network.diagnostics().for_each(|diagnostic| println!("{diagnostic}"));

    let trace = network.trace(&Question::new("pod/client", "pod/server:8080"))?;
    for case in &trace.outcomes {
        for line in lines(&trace, case, Detail::Changes) {
            println!("{:<15} {:<10} {}", line.place, line.stage, line.text());
        }
    }
    // What the answer rests on is part of the answer.
    for assumption in &trace.assumptions {
        println!("assuming {} [{}]", assumption.text, assumption.key);
    }
    assert_eq!(trace.verdict(), Some(Verdict::Connected));
    Ok(())
}
