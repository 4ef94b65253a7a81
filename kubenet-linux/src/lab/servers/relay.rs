//! Relays: servers that hand their clients to backends over connections of their own, as kube-proxy's userspace mode did
//! (`pkg/proxy/userspace/proxysocket.go`, Kubernetes 1.21), and as the model's relay does.
//!
//! TCP: up to four backends are dialled in turn, for 250 ms, 500 ms, 1 s and 2 s; when none answers, the client is hung up on. An end
//! of either side closes both. UDP: each client's address and port has a socket of its own to one backend, until nothing passed for
//! a while or an error came; answers go out by the listening socket. Sockets to backends are made in the relay's own namespace.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kubenet_core::plan::Relay;
use tokio::io::copy;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::Post;
use super::datagram::LARGEST;

/// How long each dial waits for its backend.
const DIAL_TIMEOUTS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Serves one client of a relay of streams.
pub(super) async fn connection(
    client: TcpStream,
    peer: SocketAddr,
    relay: &Relay,
    post: &Post,
) -> io::Result<()> {
    let Some(backend) = dial(peer.ip().to_canonical(), relay, post).await else {
        // Closing is all that is left; the kernel makes it a reset where the client's bytes were not read.
        return Ok(());
    };
    let ((mut from_client, mut to_client), (mut from_backend, mut to_backend)) =
        (client.into_split(), backend.into_split());
    tokio::select! {
        ended = copy(&mut from_client, &mut to_backend) => ended.map(drop),
        ended = copy(&mut from_backend, &mut to_client) => ended.map(drop),
    }
}

async fn dial(client: IpAddr, relay: &Relay, post: &Post) -> Option<TcpStream> {
    for (dials, wait) in DIAL_TIMEOUTS.into_iter().enumerate() {
        let backend = post.next_backend(client, relay.affinity, dials > 0)?;
        let made = post.inside(|| match backend {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        });
        let Ok(socket) = made else { continue };
        if let Ok(Ok(stream)) = timeout(wait, socket.connect(backend)).await {
            return Some(stream);
        }
    }
    None
}

/// The clients of a relay of datagrams.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_client: HashMap<SocketAddr, Session>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Session {
    backend: Arc<UdpSocket>,
    ends: Arc<Mutex<Instant>>,
    task: AbortHandle,
}

impl Sessions {
    /// Hands a client's datagram to its backend.
    pub(super) async fn pass(
        &mut self,
        listener: &Arc<UdpSocket>,
        client: SocketAddr,
        datagram: &[u8],
        relay: &Relay,
        post: &Post,
    ) {
        while self.tasks.try_join_next().is_some() {}
        self.by_client.retain(|_, session| !session.task.is_finished());
        let idle = relay.udp_idle;
        if !self.by_client.contains_key(&client) {
            let Some(session) = self.open(listener, client, relay, post).await else { return };
            self.by_client.insert(client, session);
        }
        let Some(session) = self.by_client.get(&client) else { return };
        match session.backend.send(datagram).await {
            Ok(_) => set(&session.ends, Instant::now() + idle),
            // What came back for an earlier one (ECONNREFUSED) ends the session.
            Err(_) => {
                session.task.abort();
                self.by_client.remove(&client);
            }
        }
    }

    async fn open(
        &mut self,
        listener: &Arc<UdpSocket>,
        client: SocketAddr,
        relay: &Relay,
        post: &Post,
    ) -> Option<Session> {
        let backend = post.next_backend(client.ip().to_canonical(), relay.affinity, false)?;
        let any: IpAddr = match backend {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = post.inside(|| {
            let socket = std::net::UdpSocket::bind((any, 0))?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket)
        });
        let socket = Arc::new(socket.ok()?);
        socket.connect(backend).await.ok()?;
        let ends = Arc::new(Mutex::new(Instant::now() + relay.udp_idle));
        let answers = answers(socket.clone(), listener.clone(), client, ends.clone(), relay.udp_idle);
        Some(Session { backend: socket, ends, task: self.tasks.spawn(answers) })
    }
}

/// Hands a backend's datagrams to the client, until nothing passed for a while.
async fn answers(
    backend: Arc<UdpSocket>,
    listener: Arc<UdpSocket>,
    client: SocketAddr,
    ends: Arc<Mutex<Instant>>,
    idle: Duration,
) {
    let mut bytes = vec![0; LARGEST];
    loop {
        let end = *ends.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::select! {
            read = backend.recv(&mut bytes) => {
                let Some(datagram) = read.ok().and_then(|len| bytes.get(..len)) else { return };
                set(&ends, Instant::now() + idle);
                if listener.send_to(datagram, client).await.is_err() {
                    return;
                }
            }
            () = sleep_until(end) => {
                if *ends.lock().unwrap_or_else(PoisonError::into_inner) <= Instant::now() {
                    return;
                }
            }
        }
    }
}

fn set(ends: &Mutex<Instant>, at: Instant) {
    *ends.lock().unwrap_or_else(PoisonError::into_inner) = at;
}
