//! The servers, over the loopback device of wherever the tests run.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use kubenet_core::plan::{Backend, Origin, Relay, SocketState};

use super::*;

const WAIT: Duration = Duration::from_secs(20);

/// Servers at one place: the namespace of the test.
struct Lab {
    servers: Servers,
    place: Place,
}

impl Lab {
    fn new() -> Self {
        let netns = Arc::new(Netns::current().expect("a namespace"));
        let place = Place { machine: "node-1".into(), name: "default/web".into(), netns };
        Self { servers: Servers::start().expect("servers"), place }
    }

    fn set(&self, sockets: &[Socket]) {
        let gaps = self.servers.set(self.place.clone(), sockets.to_vec(), Vec::new()).wait();
        assert_eq!(gaps, [""; 0]);
    }
}

/// A port that is free at this moment.
fn free_port() -> u16 {
    let probe = std::net::UdpSocket::bind("[::]:0").expect("a socket");
    let other = std::net::TcpListener::bind(("::", probe.local_addr().expect("bound").port()));
    other.expect("a socket").local_addr().expect("bound").port()
}

fn socket(protocol: Protocol, port: u16, process: Process) -> Socket {
    let origin = Origin::implied("test");
    Socket { protocol, addr: None, dev: None, port, state: SocketState::Listen, process, origin }
}

fn relay(ports: &[u16]) -> Process {
    let backend =
        |port: &u16| Backend { addr: [127, 0, 0, 1].into(), port: *port, origin: Origin::implied("test") };
    let udp_idle = Duration::from_millis(250);
    Process::Relay(Arc::new(Relay {
        backends: ports.iter().map(backend).collect(),
        affinity: None,
        udp_idle,
    }))
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(WAIT)).expect("a timeout");
    stream
}

/// Sends, ends, and reads to the end.
fn ask(port: u16, text: &str) -> String {
    let mut stream = connect(port);
    stream.write_all(text.as_bytes()).expect("sent");
    stream.shutdown(Shutdown::Write).expect("ended");
    read(stream)
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn seen(answer: &str) -> Seen {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn bytes_come_back_and_a_request_is_told_who_asked_whom() {
    let (lab, port) = (Lab::new(), free_port());
    lab.set(&[socket(Protocol::Tcp, port, Process::Echo)]);
    assert_eq!(ask(port, "hello"), "hello");
    assert_eq!(ask(port, "GE"), "GE");
    let answer = ask(port, "GET /a HTTP/1.1\r\nHost: web\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let seen = seen(&answer);
    assert_eq!((seen.server.as_str(), seen.path.as_str()), ("default/web", "/a"));
    assert_eq!(seen.destination, SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!(seen.source.ip(), IpAddr::from([127, 0, 0, 1]));
    let received = lab.servers.records().since(0);
    assert_eq!(received.len(), 3);
    assert_eq!(received.last().map(|one| one.peer), Some(seen.source));
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let (lab, port) = (Lab::new(), free_port());
    lab.set(&[socket(Protocol::Tcp, port, Process::Http { status: 503 })]);
    let two = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /two HTTP/1.1\r\nConnection: close\r\n\r\n";
    let answer = ask(port, two);
    assert_eq!(answer.matches("HTTP/1.1 503 Service Unavailable\r\n").count(), 2, "{answer}");
    assert!(answer.contains(r#""path":"/two""#), "{answer}");
}

#[test]
fn what_is_no_longer_listened_at_is_refused_and_its_connections_end() {
    let (lab, port) = (Lab::new(), free_port());
    lab.set(&[socket(Protocol::Tcp, port, Process::Echo)]);
    let mut stream = connect(port);
    stream.write_all(b"x").expect("sent");
    stream.read_exact(&mut [0]).expect("an echo");
    lab.set(&[]);
    // The end, or a reset.
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_datagram_comes_back_from_the_address_that_it_was_sent_to() {
    let (lab, port) = (Lab::new(), free_port());
    lab.set(&[socket(Protocol::Udp, port, Process::Echo)]);
    for (from, to) in [("127.0.0.1:0", "127.0.0.9"), ("[::1]:0", "::1")] {
        let client = std::net::UdpSocket::bind(from).expect("a socket");
        client.set_read_timeout(Some(WAIT)).expect("a timeout");
        // A connected socket hears only the address that it is connected to.
        client.connect((to, port)).expect("connected");
        client.send(b"hello").expect("sent");
        let mut bytes = [0; 16];
        assert_eq!(client.recv(&mut bytes).expect("an answer"), 5);
    }
    let locals: Vec<SocketAddr> = lab.servers.records().since(0).iter().map(|one| one.local).collect();
    assert_eq!(locals.first(), Some(&SocketAddr::from(([127, 0, 0, 9], port))));
}

#[test]
fn a_relay_of_streams_asks_its_backends_in_turn_and_passes_over_one_that_refuses() {
    let (lab, front, backend, closed) = (Lab::new(), free_port(), free_port(), free_port());
    lab.set(&[
        socket(Protocol::Tcp, front, relay(&[backend, closed])),
        socket(Protocol::Tcp, backend, Process::Echo),
    ]);
    for _ in 0..3 {
        // An end of either side closes both, so the client does not end before it has its answer.
        let mut stream = connect(front);
        stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("sent");
        let seen = seen(&read(stream));
        assert_eq!(seen.destination.port(), backend);
    }
}

#[test]
fn a_relay_without_backends_accepts_and_hangs_up() {
    let (lab, front) = (Lab::new(), free_port());
    lab.set(&[socket(Protocol::Tcp, front, relay(&[]))]);
    assert_eq!(connect(front).read(&mut [0]).expect("the end"), 0);
}

#[test]
fn a_relay_of_datagrams_keeps_a_client_to_its_backend_until_it_is_idle() {
    let (lab, front, one, two) = (Lab::new(), free_port(), free_port(), free_port());
    lab.set(&[
        socket(Protocol::Udp, front, relay(&[one, two])),
        socket(Protocol::Udp, one, Process::Echo),
        socket(Protocol::Udp, two, Process::Echo),
    ]);
    let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.set_read_timeout(Some(WAIT)).expect("a timeout");
    client.connect(("127.0.0.1", front)).expect("connected");
    let ask = || {
        let before = lab.servers.records().since(0).len() as u64;
        client.send(b"hello").expect("sent");
        client.recv(&mut [0; 16]).expect("an answer");
        let received = lab.servers.records().since(before);
        received.iter().map(|it| it.local.port()).find(|port| *port != front).expect("a backend")
    };
    let first = ask();
    assert_eq!(ask(), first);
    std::thread::sleep(Duration::from_millis(700));
    assert_ne!(ask(), first);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let (lab, port) = (Lab::new(), free_port());
    let _taken = std::net::TcpListener::bind(("::", port)).expect("a socket");
    let sockets = vec![socket(Protocol::Tcp, port, Process::Echo)];
    let gaps = lab.servers.set(lab.place.clone(), sockets, Vec::new()).wait();
    assert!(gaps.iter().any(|gap| gap.contains(&port.to_string())), "{gaps:?}");
}
