//! HTTP/1, as far as an echo server needs it: to see that somebody speaks it, and to say what was seen.
//!
//! In: the first bytes of a connection. Out: whether they begin a request (RFC 9112 §3), where its head ends, and an answer that
//! names the server and both ends of the connection.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Methods that begin a request (RFC 9110 §9, RFC 5789).
const METHODS: [&[u8]; 8] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE "];
/// Fields of a head that are read; a head with more is refused.
const FIELDS: usize = 64;
/// Bytes of a head.
pub(super) const HEAD: usize = 32 << 10;

/// Whether bytes are HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniff {
    /// They begin a request.
    Http,
    /// They do not.
    Other,
    /// They could, with more to come.
    Short,
}

/// Looks at the first bytes of a connection.
pub(super) fn sniff(bytes: &[u8]) -> Sniff {
    if METHODS.iter().any(|method| bytes.starts_with(method)) {
        return Sniff::Http;
    }
    if METHODS.iter().any(|method| method.starts_with(bytes)) { Sniff::Short } else { Sniff::Other }
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) host: Option<String>,
    /// Bytes of the head.
    pub(super) len: usize,
    /// Bytes of the body that follows.
    pub(super) body: u64,
    /// The client waits to be told that it may send its body.
    pub(super) expects: bool,
    /// The connection ends with the answer.
    pub(super) closes: bool,
}

/// What stands at the beginning of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A whole head.
    Head(Head),
    /// The beginning of one.
    Partial,
    /// None.
    Bad,
}

/// Reads the head of a request.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD => return Parsed::Partial,
        Ok(httparse::Status::Partial) | Err(_) => return Parsed::Bad,
    };
    let field = |name: &str| {
        let found = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| String::from_utf8_lossy(field.value).into_owned())
    };
    let says = |name: &str, word: &str| {
        field(name).is_some_and(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    };
    let is_old = request.version == Some(0);
    // A body whose end is not told in advance is not read: the connection ends with the answer.
    let is_chunked = field("transfer-encoding").is_some();
    let Ok(body) = field("content-length").map_or(Ok(0), |value| value.trim().parse()) else {
        return Parsed::Bad;
    };
    Parsed::Head(Head {
        method: request.method.unwrap_or("").into(),
        path: request.path.unwrap_or("").into(),
        host: field("host"),
        len,
        body: if is_chunked { 0 } else { body },
        expects: says("expect", "100-continue"),
        closes: is_chunked || says("connection", "close") || (is_old && !says("connection", "keep-alive")),
    })
}

/// What a server of the lab says of a request: the body of its answer, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The pod, as `NAMESPACE/NAME`, or the machine.
    pub server: String,
    /// The source that the server sees.
    pub source: SocketAddr,
    /// Where the packet came to.
    pub destination: SocketAddr,
    /// The request's method.
    pub method: String,
    /// The request's path.
    pub path: String,
    /// The request's `Host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// An answer.
pub(super) fn answer(status: u16, head: &Head, seen: &Seen) -> Vec<u8> {
    // Plain strings and addresses can always be written.
    let body = serde_json::to_string(seen).unwrap_or_default() + "\n";
    let closes = if head.closes { "Connection: close\r\n" } else { "" };
    let mut text = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{closes}\r\n",
        reason(status),
        body.len(),
    );
    if head.method != "HEAD" {
        text += &body;
    }
    text.into_bytes()
}

/// What answers a head that is none.
pub(super) const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// What asks for the body.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The reason phrases that the plans' statuses have (RFC 9110 §15); it may be empty (RFC 9112 §4).
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_http_from_anything_else() {
        for (bytes, sniffed) in [
            (&b"GET / HTTP/1.1\r\n"[..], Sniff::Http),
            (b"PATCH ", Sniff::Http),
            (b"GE", Sniff::Short),
            (b"", Sniff::Short),
            (b"GETTING", Sniff::Other),
            (b"hello", Sniff::Other),
            (b"\0\0", Sniff::Other),
        ] {
            assert_eq!(sniff(bytes), sniffed, "{bytes:?}");
        }
    }

    #[test]
    fn a_head_is_read_with_what_decides_about_its_connection() {
        let Parsed::Head(head) = parse(b"POST /a?b HTTP/1.1\r\nhost: web\r\nContent-Length: 5\r\n\r\nhello")
        else {
            panic!("a head")
        };
        assert_eq!((head.method.as_str(), head.path.as_str(), head.body), ("POST", "/a?b", 5));
        assert_eq!((head.host.as_deref(), head.closes, head.expects), (Some("web"), false, false));
        let closes = |bytes: &[u8]| match parse(bytes) {
            Parsed::Head(head) => Some(head.closes),
            Parsed::Partial | Parsed::Bad => None,
        };
        assert_eq!(closes(b"GET / HTTP/1.0\r\n\r\n"), Some(true));
        assert_eq!(closes(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), Some(false));
        assert_eq!(closes(b"GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n"), Some(true));
        assert_eq!(closes(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(true));
    }

    #[test]
    fn what_is_cut_is_partial_and_what_is_wrong_is_bad() {
        assert_eq!(parse(b"GET / HTT"), Parsed::Partial);
        assert_eq!(parse(b"GET \0 HTTP/1.1\r\n\r\n"), Parsed::Bad);
        assert_eq!(parse(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), Parsed::Bad);
        let long = [b"GET /".to_vec(), vec![b'a'; HEAD]].concat();
        assert_eq!(parse(&long), Parsed::Bad);
    }

    #[test]
    fn an_answer_names_the_server_and_both_ends() {
        let Parsed::Head(head) = parse(b"GET /x HTTP/1.1\r\n\r\n") else { panic!("a head") };
        let seen = Seen {
            server: "default/web".into(),
            source: SocketAddr::from(([10, 0, 0, 1], 4000)),
            destination: SocketAddr::from(([10, 0, 0, 2], 80)),
            method: head.method.clone(),
            path: head.path.clone(),
            host: None,
        };
        let text = String::from_utf8(answer(503, &head, &seen)).expect("text");
        let (above, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(above.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{above}");
        assert!(above.contains(&format!("Content-Length: {}", body.len())), "{above}");
        assert_eq!(serde_json::from_str::<Seen>(body).expect("JSON"), seen);
        let head = Head { method: "HEAD".into(), ..head };
        assert!(answer(200, &head, &seen).ends_with(b"\r\n\r\n"));
    }
}
