//! Reads an endpoint, word by word, keeping the place of every part.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use super::{Endpoint, Kind, PortName, QuestionError, QuestionFault, Scheme, Target, Url};

const FORMS: &str = "[NS/]KIND/NAME[:PORT], NS/NAME[:PORT], IP[:PORT], internet[/IP], HOST[:PORT] or a URL";

impl Endpoint {
    /// Reads the text of an endpoint.
    ///
    /// # Errors
    ///
    /// [`QuestionFault::Syntax`] with the character and what was expected there.
    ///
    /// ```
    /// use kubenet_core::question::{Endpoint, Kind, PortName, Target};
    ///
    /// let cart = Endpoint::parse("shop/deploy/cart:7070")?;
    /// assert!(matches!(cart.target, Target::Object { kind: Kind::Deployment, .. }));
    /// assert_eq!(cart.port, Some(PortName::Number(7070)));
    ///
    /// let error = Endpoint::parse("10.244.1.5:http:80").unwrap_err();
    /// assert_eq!(error.offset, 11);
    /// # Ok::<(), kubenet_core::question::QuestionError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, QuestionError> {
        let whole = Text(text);
        if text.is_empty() {
            return Err(whole.error(0, 1, format!("expected an endpoint: {FORMS}")));
        }
        if let Some((at, c)) = text.char_indices().find(|(_, c)| c.is_whitespace() || c.is_control()) {
            return Err(whole.error(at, c.len_utf8(), "an endpoint is one word, without spaces".into()));
        }
        let part = Part { whole, start: 0, text };
        let (target, port, url) = match text.split_once("://") {
            Some((scheme, _)) => part.url(scheme)?,
            None => {
                let (target, port) = part.plain()?;
                (target, port, None)
            }
        };
        Ok(Self { text: text.into(), target, port, url })
    }
}

/// The whole text, for errors.
#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

impl Text<'_> {
    fn error(self, byte: usize, bytes: usize, message: String) -> QuestionError {
        let chars = |range: Option<&str>| range.map_or(0, |text| text.chars().count());
        QuestionError {
            fault: QuestionFault::Syntax,
            text: self.0.into(),
            offset: chars(self.0.get(..byte)),
            length: chars(self.0.get(byte..byte + bytes)).max(1),
            message,
            candidates: Vec::new(),
        }
    }
}

/// A part of the text and where it starts, in bytes.
#[derive(Clone, Copy)]
struct Part<'a> {
    whole: Text<'a>,
    start: usize,
    text: &'a str,
}

type Read = (Target, Option<PortName>);

impl<'a> Part<'a> {
    fn error(self, message: impl Into<String>) -> QuestionError {
        self.whole.error(self.start, self.text.len(), message.into())
    }

    /// The part from a byte of this one on.
    fn from(self, byte: usize) -> Self {
        Self { start: self.start + byte, text: self.text.get(byte..).unwrap_or(""), ..self }
    }

    fn before(self, byte: usize) -> Self {
        Self { text: self.text.get(..byte).unwrap_or(self.text), ..self }
    }

    /// Splits at the first separator, a single byte.
    fn split(self, at: char) -> (Self, Option<Self>) {
        match self.text.find(at) {
            Some(byte) => (self.before(byte), Some(self.from(byte + 1))),
            None => (self, None),
        }
    }

    fn url(self, scheme: &str) -> Result<(Target, Option<PortName>, Option<Url>), QuestionError> {
        let scheme_part = self.before(scheme.len());
        let scheme = match scheme {
            s if s.eq_ignore_ascii_case("http") => Scheme::Http,
            s if s.eq_ignore_ascii_case("https") => Scheme::Https,
            other => return Err(scheme_part.error(format!("'{other}' is not a scheme; use http or https"))),
        };
        let rest = self.from(scheme_part.text.len() + 3);
        let end = rest.text.find(['/', '?', '#']).unwrap_or(rest.text.len());
        let (authority, tail) = (rest.before(end), rest.from(end));
        if let Some(at) = authority.text.find('@') {
            return Err(authority
                .before(at + 1)
                .error("a URL with a user name or password is not understood"));
        }
        if authority.text.is_empty() {
            return Err(rest.before(1).error("expected a host or an address"));
        }
        let (target, port) = authority.single()?;
        let path = tail.text.split('#').next().unwrap_or("");
        let path = if path.starts_with('/') { path.to_string() } else { format!("/{path}") };
        let port = port.or(Some(PortName::Number(scheme.default_port())));
        Ok((target, port, Some(Url { scheme, path: path.into() })))
    }

    fn plain(self) -> Result<Read, QuestionError> {
        if self.text.starts_with('[') {
            return self.single();
        }
        let (first, rest) = self.split('/');
        let Some(rest) = rest else { return self.single() };
        if first.text == "internet" {
            let (target, port) = rest.single()?;
            return match target {
                Target::Address(addr) => Ok((Target::Internet(Some(addr)), port)),
                Target::Internet(_) | Target::Host(_) | Target::Object { .. } | Target::Named { .. } => {
                    Err(rest.error(format!("expected an address of the internet, found '{}'", rest.text)))
                }
            };
        }
        if first.text.parse::<IpAddr>().is_ok() {
            return Err(self.error("a prefix is not an endpoint; name one address"));
        }
        let (second, third) = rest.split('/');
        match third {
            None => {
                let name = second.name_all_port()?;
                first.check_name("a namespace or a kind")?;
                Ok((named(first.text, &name), name.port))
            }
            Some(third) => {
                first.check_name("a namespace")?;
                let kind = Kind::from_word(second.text).ok_or_else(|| {
                    let kinds = Kind::ALL.map(Kind::short).join(", ");
                    second.error(format!("'{}' is not a kind; use {kinds}", second.text))
                })?;
                if kind == Kind::Node {
                    return Err(first.error("a node has no namespace; write node/NAME"));
                }
                if let (_, Some(fourth)) = third.split('/') {
                    return Err(
                        fourth.error(format!("expected nothing after NS/KIND/NAME, found '{}'", fourth.text))
                    );
                }
                let name = third.name_all_port()?;
                if name.all && !kind.is_workload() {
                    return Err(third.error("[*] means all pods of a workload, such as deploy/web[*]"));
                }
                let target = Target::Object {
                    namespace: Some(first.text.into()),
                    kind,
                    name: name.name.into(),
                    all: name.all,
                };
                Ok((target, name.port))
            }
        }
    }

    /// An address, `internet` or a host, with or without a port.
    fn single(self) -> Result<Read, QuestionError> {
        if let Some(inner) = self.text.strip_prefix('[') {
            return self.bracketed(inner);
        }
        if let Ok(addr) = self.text.parse::<IpAddr>() {
            return Ok((Target::Address(addr), None));
        }
        let (host, port) = self.split(':');
        if let Some(port) = port
            && port.text.contains(':')
            && looks_like_ipv6(self.text)
        {
            let hint = "an IPv6 address with a port is written in brackets, such as [fd00::5]:80";
            return Err(self.error(format!("'{}' is not an address; {hint}", self.text)));
        }
        let target = host.host()?;
        Ok((target, port.map(Self::port).transpose()?))
    }

    fn bracketed(self, inner: &str) -> Result<Read, QuestionError> {
        let Some(end) = inner.find(']') else {
            return Err(self.error("expected ']' behind the IPv6 address"));
        };
        let (addr, rest) = (self.from(1).before(end), self.from(end + 2));
        let Ok(IpAddr::V6(v6)) = addr.text.parse() else {
            return Err(addr.error(format!("'{}' is not an IPv6 address", addr.text)));
        };
        let target = Target::Address(IpAddr::V6(v6));
        match rest.text.strip_prefix(':') {
            Some(_) => Ok((target, Some(rest.from(1).port()?))),
            None if rest.text.is_empty() => Ok((target, None)),
            None => Err(rest.error(format!("expected ':PORT', found '{}'", rest.text))),
        }
    }

    fn host(self) -> Result<Target, QuestionError> {
        if self.text == "internet" {
            return Ok(Target::Internet(None));
        }
        if let Ok(addr) = self.text.parse::<Ipv4Addr>() {
            return Ok(Target::Address(addr.into()));
        }
        if self.text.ends_with("[*]") {
            return Err(self.error("[*] means all pods of a workload, such as deploy/web[*]"));
        }
        self.check_name("a host, an address or KIND/NAME")?;
        if self.text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(self.error(format!("'{}' is not an IPv4 address", self.text)));
        }
        Ok(Target::Host(self.text.into()))
    }

    fn port(self) -> Result<PortName, QuestionError> {
        let expected = "a port number from 1 to 65535 or a port's name";
        if self.text.is_empty() {
            return Err(self.whole.error(self.start, 1, format!("expected {expected}, found the end")));
        }
        if self.text.bytes().all(|b| b.is_ascii_digit()) {
            let number = self.text.parse().ok().filter(|n| *n > 0).map(PortName::Number);
            return number.ok_or_else(|| self.error(format!("expected {expected}, found '{}'", self.text)));
        }
        let good = self.text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !good || self.text.len() > 63 {
            return Err(self.error(format!("expected {expected}, found '{}'", self.text)));
        }
        Ok(PortName::Name(self.text.into()))
    }

    /// `NAME[*]:PORT`, the last two optional.
    fn name_all_port(self) -> Result<NameAllPort<'a>, QuestionError> {
        let (name, port) = self.split(':');
        let port = port.map(Self::port).transpose()?;
        let bare = name.text.strip_suffix("[*]").map_or(name, |bare| name.before(bare.len()));
        let all = bare.text.len() < name.text.len();
        bare.check_name("a name")?;
        Ok(NameAllPort { name: bare.text, all, port })
    }

    /// Names of objects and hosts: letters, digits, `-`, `_` and `.`.
    fn check_name(self, what: &str) -> Result<(), QuestionError> {
        if self.text.is_empty() {
            let found = self.whole.0.get(self.start..).and_then(|rest| rest.chars().next());
            let found = found.map_or_else(|| "the end".into(), |c| format!("'{c}'"));
            return Err(self.whole.error(self.start, 1, format!("expected {what}, found {found}")));
        }
        let bad = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        match self.text.char_indices().find(|(_, c)| bad(*c)) {
            Some((at, c)) => {
                let place = self.from(at).before(c.len_utf8());
                Err(place.error(format!("'{c}' cannot stand in {what}")))
            }
            None => Ok(()),
        }
    }
}

struct NameAllPort<'a> {
    name: &'a str,
    all: bool,
    port: Option<PortName>,
}

/// `A/B`: a kind and a name, or a namespace and a name.
fn named(first: &str, name: &NameAllPort<'_>) -> Target {
    let (all, name) = (name.all, Arc::from(name.name));
    match Kind::from_word(first) {
        Some(kind) => Target::Object { namespace: None, kind, name, all },
        None => Target::Named { namespace: first.into(), name, all },
    }
}

fn looks_like_ipv6(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '%');
    text.chars().all(hex)
}
