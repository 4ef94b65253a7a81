//! A node's routing table, read from text and asked.
//!
//! ```sh
//! cargo run -p kubenet-core --example routing_table
//! ```

#![allow(clippy::print_stdout, reason = "an example shows something")]

use std::net::IpAddr;
use std::sync::Arc;

use kubenet_core::addr::MacAddr;
use kubenet_core::dataplane::{EventId, EventKind, FlowId, Log, Machine, Seeded, Skb};
use kubenet_core::packet::{self, Ipv4Meta};
use kubenet_core::plan::{
    Address, Link, LinkKind, MachineId, MachinePlan, Netns, Origin, RouteScope, SegmentId,
};
use kubenet_core::text::ip_route;
use kubenet_core::time::Instant;

/// What somebody noted down of a node; one line stands there twice, with another link.
const TABLE: &str = "\
default via 172.18.0.1 dev eth0
10.244.0.0/24 via 172.18.0.4 dev eth0
10.244.2.0/24 via 172.18.0.3 dev eth0  # send to node2
10.244.1.1 dev veth2609878b scope host
10.244.1.1 dev veth23974a9d scope host
172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2
";

fn main() {
    // Reading never fails: what cannot be read is a diagnostic, and the rest is kept.
    let lines = ip_route::parse(TABLE, "node-1.txt");
    // Adding the routes one by one shows what the kernel would hold.
    let table = ip_route::load_table(lines);
    println!("The kernel holds:\n{}", ip_route::render(&table.items));
    for diagnostic in &table.diagnostics {
        println!("{diagnostic}");
    }

    // The table in a machine: links by the names in the table, and one by which packets come in.
    let origin = Origin::new(kubenet_core::origin::OriginKind::Embedder);
    let mut netns = Netns::new("", origin.clone());
    netns.sysctls.ip_forward = true;
    netns.routes = table.items;
    for (place, name, net) in
        [(1, "eth0", "172.18.0.2/16"), (2, "veth2609878b", "10.244.1.9/32"), (3, "in0", "192.168.7.1/24")]
    {
        let nic = LinkKind::Nic { segment: Some(SegmentId(place)) };
        let mut link = Link::new(name, nic, MacAddr([2, 0, 0, 0, 0, place as u8]), 1500, origin.clone());
        let net = net.parse().expect("a prefix");
        link.addresses.push(Address { net, scope: RouteScope::Global, origin: origin.clone() });
        netns.links.push(link);
    }
    let plan = Arc::new(MachinePlan::from(netns));

    println!();
    for dst in ["10.244.0.5", "10.244.2.5", "10.244.1.1", "8.8.8.8"] {
        ask(&plan, dst.parse().expect("an address"));
    }
}

/// Sends an echo request through the machine and prints what the routing decision was.
fn ask(plan: &Arc<MachinePlan>, dst: IpAddr) {
    let src = IpAddr::from([192, 168, 7, 2]);
    let meta = Ipv4Meta { src, dst, ttl: 64, dont_fragment: true, id: 1 };
    let mut frame = packet::icmp_echo(&meta, false, 1, 1, b"where to?");
    packet::set_macs(&mut frame, MacAddr([2, 0, 0, 0, 1, 0]), MacAddr([2, 0, 0, 0, 0, 3]));

    let mut machine = Machine::new(MachineId(0), plan.clone());
    let mut log = Log::default();
    let skb = Skb::new(frame, FlowId(0), EventId::NONE);
    machine.handle_frame(Instant::START, (0, 3), skb, &mut Seeded(0), &mut log);
    for event in log.events() {
        if let EventKind::Routed { dst: prefix, via, dev, .. } = &event.kind {
            let via = via.map_or_else(|| "directly".into(), |via| format!("via {via}"));
            let dev = dev.as_deref().unwrap_or("nothing");
            let origin = event.origin.as_ref().map(ToString::to_string).unwrap_or_default();
            println!("{dst:<11} matches {prefix:<15} and leaves by {dev}, {via} ({origin})");
        }
    }
}
