//! A module for `wasm32-unknown-unknown` that does with kubenet-core what a page would, and imports nothing.
//!
//! In: a Kubernetes `List` as JSON. Out: the pods with their addresses, and what a client of the first lives through
//! that opens a connection to the second. The same function runs natively, so `examples/check.rs` can compare.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use kubenet_core::addr::{MacAddr, Protocol};
use kubenet_core::assume::Assume;
use kubenet_core::cluster::resolve;
use kubenet_core::dataplane::{Client, Limits, Log, Seeded, World};
use kubenet_core::k8s::Objects;
use kubenet_core::plan::{
    Address, Audience, Link, LinkKind, MachineId, MachineKind, MachinePlan, Netns, Origin, PlanSource,
    Process, Route, RouteScope, Segment, SegmentId, Socket, SocketState, Station,
};

/// Loads the objects, gives the pods their places, and sends packets between the first two on a cable.
pub fn answer(input: &str) -> String {
    let mut objects = Objects::default();
    let value: serde_json::Value = match serde_json::from_str(input) {
        Ok(value) => value,
        Err(error) => return error.to_string(),
    };
    if let Err(error) = objects.put_json(&value) {
        return error.to_string();
    }
    let (cluster, diagnostics) = resolve(&Arc::new(objects), &Assume::default(), None);
    let mut lines: Vec<String> =
        diagnostics.iter().map(|diagnostic| diagnostic.message.to_string()).collect();
    let mut hosts = Vec::new();
    for pod in cluster.pods.iter() {
        lines.push(format!("{}/{} {:?}", pod.namespace, pod.name, pod.addresses));
        hosts.extend(pod.addresses.first().copied());
    }
    if let [from, to, ..] = hosts.as_slice() {
        lines.extend(walk(&Cable([*from, *to])));
    }
    lines.join("\n")
}

const PORT: u16 = 80;

/// The packets of one connection and what became of it.
fn walk(cable: &Cable) -> Vec<String> {
    let mut log = Log::default();
    let mut world = World::new(cable);
    let client = Client {
        netns: 0,
        protocol: Protocol::Tcp,
        src: None,
        sport: 40000,
        dst: cable.0[1],
        dport: PORT,
        payload: 1,
    };
    world.open(MachineId(0), client, &mut Seeded(1), &mut log);
    let stopped = world.run(Limits::default(), &mut Seeded(1), &mut log, |_| false, &|| false);
    let mut lines: Vec<String> = log.events().iter().map(|event| format!("{:?}", event.kind)).collect();
    while let Some((_, notice)) = world.poll_notice() {
        lines.push(format!("{:?}", notice.kind));
    }
    lines.push(format!("{stopped:?}"));
    lines
}

/// Two hosts on one cable.
struct Cable([IpAddr; 2]);

impl PlanSource for Cable {
    fn machine_count(&self) -> u32 {
        2
    }

    fn machine(&self, id: MachineId) -> Option<Arc<MachinePlan>> {
        let addr = *self.0.get(id.0 as usize)?;
        let origin = Origin::implied("probe");
        let mut netns = Netns::new("", origin.clone());
        let kind = LinkKind::Nic { segment: Some(SegmentId(0)) };
        let mut link = Link::new("eth0", kind, mac(id), 1500, origin.clone());
        let net = IpNet::new(addr, 8).ok()?;
        link.addresses.push(Address { net, scope: RouteScope::Global, origin: origin.clone() });
        netns.links.push(link);
        netns.routes.push(Route::unicast(net, None, "eth0", origin.clone()));
        netns.sockets.push(Socket {
            protocol: Protocol::Tcp,
            addr: None,
            dev: None,
            port: PORT,
            state: SocketState::Listen,
            process: Process::Echo,
            origin: origin.clone(),
        });
        let name = format!("host-{}", id.0).into();
        Some(Arc::new(MachinePlan { name, kind: MachineKind::Outside, netns: vec![netns], origin }))
    }

    fn machine_named(&self, name: &str) -> Option<MachineId> {
        ["host-0", "host-1"].iter().position(|host| *host == name).map(|place| MachineId(place as u32))
    }

    fn segment(&self, id: SegmentId) -> Option<Segment> {
        let segment =
            Segment { name: "cable".into(), mtu_bytes: 1500, opaque: None, origin: Origin::implied("probe") };
        (id == SegmentId(0)).then_some(segment)
    }

    fn stations(&self, _segment: SegmentId, audience: Audience) -> Vec<Station> {
        let is_meant = |id: MachineId, addr: IpAddr| match audience {
            Audience::Everyone => true,
            Audience::Mac(meant) => meant == mac(id),
            Audience::Address(meant) => meant == addr,
        };
        let places = (0..).map(MachineId).zip(self.0);
        let meant = places.filter(|(id, addr)| is_meant(*id, *addr));
        meant.map(|(machine, _)| Station { machine, netns: 0, link: "eth0".into() }).collect()
    }
}

const fn mac(id: MachineId) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, id.0 as u8])
}

/// The text that goes in, then the text that comes out. Byte by byte, so that no pointer crosses the border.
static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Appends a byte to the text.
#[unsafe(no_mangle)]
pub extern "C" fn put(byte: u32) {
    TEXT.lock().unwrap_or_else(PoisonError::into_inner).push(byte as u8);
}

/// Replaces the text by its answer, and gives its length in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn run() -> u32 {
    let mut text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
    *text = answer(&String::from_utf8_lossy(&text)).into_bytes();
    text.len() as u32
}

/// A byte of the text.
#[unsafe(no_mangle)]
pub extern "C" fn get(place: u32) -> u32 {
    let text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
    text.get(place as usize).copied().unwrap_or_default().into()
}
