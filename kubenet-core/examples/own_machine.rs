//! The plan of one machine replaced by the embedder's own: here, a node with another routing table.
//!
//! `cargo run -p kubenet-core --example own_machine`

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::sync::Arc;

use kubenet_core::network::{Network, Question};
use kubenet_core::plan::{PlanSource, Replaced};
use kubenet_core::text::ip_route;
use kubenet_core::trace::{Detail, lines};

const MANIFESTS: &str = r#"
apiVersion: kubenet/v1
kind: Assumptions
spec: { place: { default/client: node-1, default/server: node-2 } }
---
apiVersion: v1
kind: Pod
metadata: { name: client }
---
apiVersion: v1
kind: Pod
metadata: { name: server }
spec: { containers: [{ name: main, ports: [{ containerPort: 8080 }] }] }
"#;

/// What `ip route` printed on the real node: somebody has blocked the other node's pods.
const ROUTES: &str = "\
default via 172.18.0.1 dev eth0
10.244.0.0/24 dev cni0 proto kernel scope link src 10.244.0.1
prohibit 10.244.1.0/24
172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2
";

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let network = Network::from_text("pods.yaml", MANIFESTS);
    let plans = network.plans();
    let node = plans.machine_named("node-1").ok_or("no node-1")?;
    let mut machine = (*plans.machine(node).ok_or("no plan of node-1")?).clone();
    if let Some(host) = machine.netns.first_mut() {
        host.routes = ip_route::parse(ROUTES, "node-1/ip-route").items;
    }
    let plans = Replaced::new(plans, node, Arc::new(machine));
    let trace = network.trace_through(&plans, &Question::new("pod/client", "pod/server:8080"))?;
    for line in trace.outcomes.iter().flat_map(|case| lines(&trace, case, Detail::Changes)) {
        println!("{:<15} {:<12} {}  {}", line.place, line.stage, line.text(), line.origin_words());
    }
    Ok(())
}
