//! Who gives out which address: node ranges, pod addresses, ClusterIPs and node ports.
//!
//! ```sh
//! cargo run -p kubenet-core --example ipam
//! ```

#![allow(clippy::print_stdout, reason = "an example shows something")]

use kubenet_core::identity::identity;
use kubenet_core::ipam::{CidrSet, ClusterIps, HostLocal, IpamError, NodePorts, Range};

fn main() -> Result<(), IpamError> {
    // kube-controller-manager gives every node a range of the cluster CIDR (--cluster-cidr, --node-cidr-mask-size).
    let cluster = "10.244.0.0/16".parse().expect("a prefix");
    let mut ranges = CidrSet::new(cluster, 24)?;
    println!("{cluster} holds {} nodes", ranges.count());
    for node in ["node-1", "node-2"] {
        let range = ranges.allocate_next()?;
        println!("{node}: {range}");

        // On the node, host-local gives out the addresses: the first is the bridge's own, and what was released is used
        // again only after the rest (round-robin behind the last reserved address).
        let mut pods = HostLocal::new([[Range::new(range)?]]);
        for pod in ["web-0", "web-1"] {
            let given = pods.allocate(pod, "eth0")?;
            println!("  {pod}: {} by {}", given[0].addr, given[0].gateway);
        }
        pods.release("web-0", "eth0");
        println!("  web-0 goes, web-2 comes: {}", pods.allocate("web-2", "eth0")?[0].addr);
    }

    // The API server gives Services their ClusterIP: from the upper band first, so that the lower stays for addresses that
    // people choose (KEP-3070). Which one is chance; the seed stands for it.
    let mut services = ClusterIps::new("10.96.0.0/12".parse().expect("a prefix"))?;
    services.allocate("10.96.0.10".parse().expect("an address"))?;
    let chosen = services.allocate_next(identity(&["Service", "shop", "cart"]))?;
    println!("Service kube-system/kube-dns: 10.96.0.10, by hand\nService shop/cart: {chosen}");
    match services.allocate(chosen) {
        Ok(()) => println!("given twice: a bug"),
        Err(error) => println!("once more by hand: {error}"),
    }

    let mut ports = NodePorts::new(30000..=32767);
    println!("its node port: {}", ports.allocate_next(identity(&["Service", "shop", "cart", "http"]))?);
    Ok(())
}
