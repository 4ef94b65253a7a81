//! Servers: what listens in the lab's namespaces.
//!
//! In: the sockets of a plan, place by place. Out: processes' work without processes: one thread serves all sockets of all namespaces, since
//! a socket stays in the namespace that it was made in. The thread goes to a namespace to make one there, and is at home nowhere.
//! Streams: [`stream`]; datagrams: [`datagram`]; relays to others: [`relay`]; addresses that are answered for: [`responder`].

mod datagram;
mod http;
mod records;
mod relay;
mod responder;
mod stream;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kubenet_core::addr::Protocol;
use kubenet_core::plan::{Process, Socket};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub use self::http::Seen;
pub use self::records::{Received, Records};
pub(crate) use self::responder::Proxy;
use self::turns::Turns;
use crate::netns::Netns;

/// Connections that wait to be accepted; the kernel's own limit is `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// The thread that serves, and what it is told. It ends, with all its sockets, when this is dropped.
#[derive(Debug)]
pub(crate) struct Servers {
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
    records: Arc<Records>,
}

/// A namespace of the lab.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) machine: Arc<str>,
    /// Empty for the machine's own.
    pub(crate) name: Arc<str>,
    pub(crate) netns: Arc<Netns>,
}

/// What the thread is told.
#[derive(Debug)]
enum Order {
    /// These listen at a place, and nothing else.
    Set { place: Place, sockets: Vec<Socket>, proxies: Vec<Proxy>, answer: Sender<Vec<String>> },
    /// Nothing listens at a place.
    Forget { machine: Arc<str>, name: Arc<str>, answer: Sender<Vec<String>> },
}

/// What could not be done at a place, once it is known.
#[derive(Debug)]
pub(crate) struct Gaps(Receiver<Vec<String>>);

impl Gaps {
    /// Waits until it is done.
    pub(crate) fn wait(self) -> Vec<String> {
        self.0.recv().unwrap_or_else(|_| vec!["the servers have stopped".into()])
    }
}

impl Servers {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system gives no thread, or nothing to wait with.
    pub(crate) fn start() -> io::Result<Self> {
        let records = Arc::new(Records::default());
        let (orders, inbox) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let work = {
            let records = records.clone();
            move || runtime.block_on(serve(inbox, records))
        };
        let thread = std::thread::Builder::new().name("servers".into()).spawn(work)?;
        Ok(Self { orders: Some(orders), thread: Some(thread), records })
    }

    /// Lets these listen at a place, and nothing else. Sockets that stay keep their connections.
    pub(crate) fn set(&self, place: Place, sockets: Vec<Socket>, proxies: Vec<Proxy>) -> Gaps {
        self.tell(|answer| Order::Set { place, sockets, proxies, answer })
    }

    /// Closes everything at a place.
    pub(crate) fn forget(&self, machine: Arc<str>, name: Arc<str>) -> Gaps {
        self.tell(|answer| Order::Forget { machine, name, answer })
    }

    fn tell(&self, order: impl FnOnce(Sender<Vec<String>>) -> Order) -> Gaps {
        let (answer, gaps) = channel();
        if let Some(orders) = &self.orders {
            // A thread that is gone does not answer, and that is told.
            let _ = orders.send(order(answer));
        }
        Gaps(gaps)
    }

    /// What was received.
    pub(crate) const fn records(&self) -> &Arc<Records> {
        &self.records
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// What a socket is known by while its process becomes another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    protocol: Protocol,
    addr: Option<IpAddr>,
    dev: Option<Arc<str>>,
    port: u16,
}

impl Key {
    fn of(socket: &Socket) -> Self {
        Self { protocol: socket.protocol, addr: socket.addr, dev: socket.dev.clone(), port: socket.port }
    }

    fn words(&self) -> String {
        let addr = self.addr.map_or_else(|| "*".into(), |addr| addr.to_string());
        format!("{} {addr} port {}", self.protocol, self.port)
    }
}

/// A task that ends when it is forgotten.
#[derive(Debug)]
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A socket, and who serves it.
#[derive(Debug)]
struct Listener {
    post: Arc<Post>,
    _task: Task,
}

#[derive(Debug, Default)]
struct Host {
    listeners: BTreeMap<Key, Listener>,
    proxies: BTreeMap<Proxy, Task>,
}

async fn serve(mut inbox: UnboundedReceiver<Order>, records: Arc<Records>) {
    let mut hosts: BTreeMap<(Arc<str>, Arc<str>), Host> = BTreeMap::new();
    while let Some(order) = inbox.recv().await {
        let (answer, gaps) = match order {
            Order::Set { place, sockets, proxies, answer } => {
                let host = hosts.entry((place.machine.clone(), place.name.clone())).or_default();
                let mut gaps = host.set_sockets(&place, sockets, &records);
                gaps.extend(host.set_proxies(&place, proxies));
                (answer, gaps)
            }
            Order::Forget { machine, name, answer } => {
                hosts.remove(&(machine, name));
                // Aborted tasks drop their sockets when they are looked at next.
                tokio::task::yield_now().await;
                (answer, Vec::new())
            }
        };
        // Nobody has to wait for it.
        let _ = answer.send(gaps);
    }
}

impl Host {
    fn set_sockets(&mut self, place: &Place, sockets: Vec<Socket>, records: &Arc<Records>) -> Vec<String> {
        let mut wanted = BTreeMap::new();
        for socket in sockets {
            wanted.entry(Key::of(&socket)).or_insert(socket.process);
        }
        self.listeners.retain(|key, _| wanted.contains_key(key));
        let mut gaps = Vec::new();
        for (key, process) in wanted {
            if let Some(listener) = self.listeners.get(&key) {
                listener.post.replace(process);
                continue;
            }
            let post = Arc::new(Post::new(place.clone(), process, records.clone()));
            match open(&key, &post) {
                Ok(task) => drop(self.listeners.insert(key, Listener { post, _task: Task(task) })),
                Err(error) => gaps.push(format!("{}: {}", key.words(), said(&key, &error))),
            }
        }
        gaps
    }

    fn set_proxies(&mut self, place: &Place, proxies: Vec<Proxy>) -> Vec<String> {
        self.proxies.retain(|proxy, _| proxies.contains(proxy));
        let mut gaps = Vec::new();
        for proxy in proxies {
            if self.proxies.contains_key(&proxy) {
                continue;
            }
            match proxy.start(&place.netns) {
                Ok(task) => drop(self.proxies.insert(proxy, Task(task))),
                Err(error) => gaps.push(format!("{} on {}: {error}", proxy.addr, proxy.dev)),
            }
        }
        gaps
    }
}

/// The words for an error, where the kernel's say little.
fn said(key: &Key, error: &io::Error) -> String {
    match (key.protocol, error.raw_os_error()) {
        (Protocol::Sctp, Some(nix::libc::EPROTONOSUPPORT)) => {
            "this kernel has no SCTP (module sctp): nothing listens there".into()
        }
        _ => error.to_string(),
    }
}

/// Makes the socket and starts to serve it.
fn open(key: &Key, post: &Arc<Post>) -> io::Result<tokio::task::JoinHandle<()>> {
    let socket = post.inside(|| bind(key))?;
    Ok(match key.protocol {
        Protocol::Udp => {
            let socket = UdpSocket::from_std(std::net::UdpSocket::from(socket))?;
            tokio::spawn(datagram::serve(socket, post.clone()))
        }
        // A one-to-one SCTP socket is used as a TCP socket is.
        Protocol::Tcp | Protocol::Sctp => {
            let listener = TcpListener::from_std(std::net::TcpListener::from(socket))?;
            tokio::spawn(stream::serve(listener, key.protocol, post.clone()))
        }
        Protocol::Icmp => return Err(io::Error::other("nothing listens for ICMP")),
    })
}

/// A socket that is bound, and listens where it is one of streams.
fn bind(key: &Key) -> io::Result<OwnedFd> {
    match bind_at(key, key.addr.unwrap_or(Ipv6Addr::UNSPECIFIED.into())) {
        // A kernel without IPv6.
        Err(error) if key.addr.is_none() && error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {
            bind_at(key, Ipv4Addr::UNSPECIFIED.into())
        }
        done => done,
    }
}

fn bind_at(key: &Key, addr: IpAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, protocol) = match key.protocol {
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
        Protocol::Tcp | Protocol::Icmp => (SocketType::STREAM, ipproto::TCP),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, kind, flags, Some(protocol))?;
    if addr.is_ipv6() {
        // Bound to any address, it takes both families.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    if let Some(dev) = &key.dev {
        setsockopt(&socket, sockopt::BindToDevice, &std::ffi::OsString::from(&**dev))?;
    }
    if kind == SocketType::DGRAM && addr.is_unspecified() {
        match addr {
            IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
    }
    if kind == SocketType::STREAM {
        // What ended before does not keep its port.
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(addr, key.port))?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// What the tasks of one socket share: where it is, and what its process is now.
#[derive(Debug)]
struct Post {
    place: Place,
    process: Mutex<Process>,
    turns: Mutex<Turns>,
    records: Arc<Records>,
}

impl Post {
    fn new(place: Place, process: Process, records: Arc<Records>) -> Self {
        let post = Self { place, process: Mutex::new(Process::Echo), turns: Mutex::default(), records };
        post.replace(process);
        post
    }

    fn replace(&self, process: Process) {
        if let Process::Relay(relay) = &process {
            self.turns.lock().unwrap_or_else(PoisonError::into_inner).learn(relay);
        }
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }

    fn process(&self) -> Process {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The name that the server gives itself: the pod's, or the machine's.
    fn name(&self) -> Arc<str> {
        if self.place.name.is_empty() { self.place.machine.clone() } else { self.place.name.clone() }
    }

    fn next_backend(&self, client: IpAddr, affinity: Option<Duration>, again: bool) -> Option<SocketAddr> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.next(client, affinity, std::time::Instant::now(), again)
    }

    /// Makes something in the namespace of the socket. The thread stays there, which concerns nobody.
    fn inside<T>(&self, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.place.netns.enter()?;
        make()
    }

    fn note(&self, protocol: Protocol, local: SocketAddr, peer: SocketAddr) {
        self.records.add((&self.place.machine, &self.place.name), protocol, local, peer);
    }
}

/// After an error that concerns one packet, or one that time mends.
async fn retry() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
