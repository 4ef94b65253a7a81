//! `ip addr`: the links of one namespace with their addresses.
//!
//! What `ip link` says, and the addresses: both are read by the parser of [`ip_link`], which see. A subnet's
//! own broadcast address is what an address has without being asked for; other addresses of broadcast, the far end of a
//! point-to-point address, labels, lifetimes and flags (`dynamic`, `tentative` …) are told as notes.

use alloc::string::String;

use super::Parsed;
use super::ip_link::{self, Details, NumberedLink, With};
use crate::plan::MachinePlan;

/// Reads plain lines.
///
/// ```
/// let text = "\
/// 2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP group default qlen 1000
///     link/ether 0a:58:0a:f4:01:05 brd ff:ff:ff:ff:ff:ff
///     inet 10.244.1.5/24 brd 10.244.1.255 scope global eth0
///        valid_lft forever preferred_lft forever
/// ";
/// let read = kubenet_core::text::ip_addr::parse(text, "ip-addr.txt");
/// assert_eq!(read.items[0].link.addresses[0].net.to_string(), "10.244.1.5/24");
/// ```
pub fn parse(text: &str, file: &str) -> Parsed<NumberedLink> {
    ip_link::parse(text, file)
}

/// Reads the JSON of `ip -j addr`.
pub fn parse_json(text: &str, file: &str) -> Parsed<NumberedLink> {
    ip_link::parse_json(text, file)
}

/// Reads either form.
pub fn parse_any(text: &str, file: &str) -> Parsed<NumberedLink> {
    ip_link::parse_any(text, file)
}

/// The lines of `ip addr` in a namespace, by its place in the machine. IPv4 addresses are shown with their subnet's
/// broadcast address, as CNI plugins and DHCP clients set it.
pub fn render(machine: &MachinePlan, netns: usize, details: Details) -> String {
    ip_link::lines_of(machine, netns, details, With::Addresses)
}

/// What `ip -j addr` prints.
pub fn render_json(machine: &MachinePlan, netns: usize, details: Details) -> String {
    ip_link::json_of(machine, netns, details, With::Addresses)
}
