//! Servers of streams: TCP, and SCTP in its one-to-one style (RFC 6458 §4).
//!
//! In: a socket that listens. Out: to a client that speaks HTTP, an answer that says what was seen; to any other, its own bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kubenet_core::addr::Protocol;
use kubenet_core::plan::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::http::{self, Parsed, Seen, Sniff};
use super::records::canonical;
use super::{Post, relay};

/// How long bytes that could be the beginning of a request wait for more.
const SHORT: Duration = Duration::from_millis(200);
/// How long a server that has no room for another connection waits.
const REST: Duration = Duration::from_millis(50);

/// Accepts until it is aborted; its connections end with it.
pub(super) async fn serve(listener: TcpListener, protocol: Protocol, post: Arc<Post>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Ok(local) = stream.local_addr() {
                        post.note(protocol, local, peer);
                    }
                    connections.spawn(one(stream, peer, post.clone()));
                }
                // A client that went away at once, or no file descriptor left.
                Err(_) => sleep(REST).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn one(stream: TcpStream, peer: SocketAddr, post: Arc<Post>) {
    // A connection ends as its client wants, or as it breaks; nobody else is concerned.
    let _ended = match post.process() {
        Process::Relay(now) => relay::connection(stream, peer, &now, &post).await,
        Process::Echo => speak(stream, 200, &post.name()).await,
        Process::Http { status } => speak(stream, status, &post.name()).await,
    };
}

/// Serves one client: answers HTTP with this status, and sends anything else back.
pub(super) async fn speak(mut stream: TcpStream, status: u16, name: &str) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4096);
    loop {
        let read = match http::sniff(&bytes) {
            Sniff::Http => return serve_http(stream, bytes, status, name).await,
            Sniff::Other => break,
            Sniff::Short if bytes.is_empty() => stream.read_buf(&mut bytes).await?,
            Sniff::Short => match timeout(SHORT, stream.read_buf(&mut bytes)).await {
                Ok(read) => read?,
                Err(_) => break,
            },
        };
        if read == 0 {
            break;
        }
    }
    loop {
        stream.write_all(&bytes).await?;
        bytes.clear();
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}

async fn serve_http(mut stream: TcpStream, mut bytes: Vec<u8>, status: u16, name: &str) -> io::Result<()> {
    let (source, destination) = (canonical(stream.peer_addr()?), canonical(stream.local_addr()?));
    loop {
        let head = loop {
            match http::parse(&bytes) {
                Parsed::Head(head) => break head,
                Parsed::Partial => {
                    if stream.read_buf(&mut bytes).await? == 0 {
                        return Ok(());
                    }
                }
                Parsed::Bad => return stream.write_all(http::BAD_REQUEST).await,
            }
        };
        bytes.drain(..head.len.min(bytes.len()));
        if head.expects {
            stream.write_all(http::CONTINUE).await?;
        }
        skip_body(&mut stream, &mut bytes, head.body).await?;
        let seen = Seen {
            server: name.into(),
            source,
            destination,
            method: head.method.clone(),
            path: head.path.clone(),
            host: head.host.clone(),
        };
        stream.write_all(&http::answer(status, &head, &seen)).await?;
        if head.closes {
            return Ok(());
        }
    }
}

/// Reads over a body, part of which may be there already.
async fn skip_body(stream: &mut TcpStream, bytes: &mut Vec<u8>, mut left: u64) -> io::Result<()> {
    loop {
        let here = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        bytes.drain(..here);
        left -= u64::try_from(here).unwrap_or(left);
        if left == 0 {
            return Ok(());
        }
        if stream.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
