//! A lab inside of a program: brought up, asked, changed, and gone. `cargo run -p kubenet-linux --example lab [-- --rootless]`
//!
//! The program puts itself into namespaces of its own first, so it touches nothing of the machine that it runs on.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use kubenet_core::k8s::ObjectChange;
use kubenet_core::network::Network;
use kubenet_core::origin::ObjectRef;
use kubenet_linux::lab::{Lab, Options, isolate};
use kubenet_linux::netns::Netns;

const CLUSTER: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}},
 spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-2, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.80, selector: {app: web}, ports: [{port: 80}]}}
";

fn main() -> Result<(), Box<dyn Error>> {
    isolate(std::env::args().any(|word| word == "--rootless"))?;
    let network = Network::from_text("cluster.yaml", CLUSTER);
    let options = Options::default();
    let mut lab = Lab::up(&network, &options)?;

    let client = lab.netns("node-2", "default/client").ok_or("the client's namespace")?;
    let answer = client.run(|| get("10.96.0.80:80"))?;
    expect(answer.contains(r#""server":"default/web""#), &answer)?;
    let pod = network.cluster().pods.iter().find(|pod| &*pod.name == "client").ok_or("the client")?;
    let seen: Vec<IpAddr> = lab.received().iter().map(|received| received.peer.ip()).collect();
    expect(seen == pod.addresses, &format!("{seen:?}"))?;

    let without = network.with(&[ObjectChange::Delete(ObjectRef::namespaced("Pod", "default", "web"))]);
    lab.change(&without)?;
    expect(lab.netns("node-1", "default/web").is_none(), "the pod's namespace is still there")?;
    let client = lab.netns("node-2", "default/client").ok_or("the client's namespace")?;
    let refused = client.run(|| get("10.96.0.80:80")).err().map(|error| error.kind());
    expect(refused == Some(io::ErrorKind::ConnectionRefused), &format!("{refused:?}"))?;

    // Another kind of kube-proxy, while everything runs.
    let mut assume = network.assume().clone();
    assume.set("proxyMode", "nftables")?;
    lab.change(&network.with_assume(assume))?;
    let client = lab.netns("node-2", "default/client").ok_or("the client's namespace")?;
    let answer = client.run(|| get("10.96.0.80:80"))?;
    expect(answer.contains(r#""server":"default/web""#), &answer)?;

    drop(lab);
    let left = std::fs::read_dir(options.folder)?.count();
    expect(left == 0, &format!("{left} namespaces are left"))?;
    // A second one comes up where the first one was.
    let again = Lab::up(&network, &Options::default())?;
    expect(again.netns("gateway", "").is_some_and(|netns: &Netns| netns.path().is_some()), "no gateway")?;
    writeln!(io::stdout(), "a lab was up, was changed, and is gone")?;
    Ok(())
}

/// Asks for `/` as `curl` would.
fn get(addr: &str) -> io::Result<String> {
    let addr: SocketAddr = addr.parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn expect(holds: bool, otherwise: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
