//! `ip link` and `ip addr`: the links of one namespace.
//!
//! In: plain lines or `-j` JSON, with or without `-d`, with or without addresses. Out: [`NumberedLink`]s; the number is what
//! the other end of a veth pair is known by, until [`connect`] gives it its name. Form: iproute2 `ipaddress.c
//! print_linkinfo`, `print_addrinfo`.
//!
//! Only `-d` says what a link is. Without it, `lo` is known by its flag, a bridge by its ports, a veth end by `@`; any other
//! Ethernet device counts as a network card, which is told. What no form says keeps the kernel's default: sysctls
//! (`rp_filter`, `proxy_arp` …) and the segment of a card.

mod draft;
mod peers;
mod read;
mod write;

pub use self::peers::{NETNS_UNSAID, connect};
pub(super) use self::write::{With, json_of, lines_of};
use super::Parsed;
use super::json::is_json;
use crate::plan::{Link, MachinePlan};

/// A link and its ifindex.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedLink {
    /// The number in front of its line.
    pub ifindex: u32,
    /// The link. A veth end whose other end is in another namespace names it `if` and its ifindex (`if5`).
    pub link: Link,
}

/// Reads plain lines.
pub fn parse(text: &str, file: &str) -> Parsed<NumberedLink> {
    read::plain(text, file)
}

/// Reads the JSON of `ip -j link` or `ip -j addr`.
pub fn parse_json(text: &str, file: &str) -> Parsed<NumberedLink> {
    read::json(text, file)
}

/// Reads either form.
pub fn parse_any(text: &str, file: &str) -> Parsed<NumberedLink> {
    if is_json(text) { parse_json(text, file) } else { parse(text, file) }
}

/// How much is printed of each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Details {
    /// As without `-d`.
    Hide,
    /// As with `-d`, as far as the plan knows them: the kind, and what the model reads of its settings.
    Show,
}

/// The lines of `ip link` in a namespace, by its place in the machine.
///
/// A link's ifindex is its place plus one; `link-netnsid` is the place of the other end's namespace.
pub fn render(machine: &MachinePlan, netns: usize, details: Details) -> alloc::string::String {
    lines_of(machine, netns, details, With::Links)
}

/// What `ip -j link` prints.
pub fn render_json(machine: &MachinePlan, netns: usize, details: Details) -> alloc::string::String {
    json_of(machine, netns, details, With::Links)
}
