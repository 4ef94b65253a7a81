//! Addresses and ranges as Kubernetes reads them: leading zeros count as decimal.
//!
//! In: text of an object. Out: the address or the range without host bits. `10.0.0.041` is `10.0.0.41`, as it was for Go before
//! 1.17, because objects that were stored then must keep their meaning (`k8s.io/utils/net`, `ParseIPSloppy`).

use alloc::string::String;
use core::net::IpAddr;

use ipnet::IpNet;

/// An address.
///
/// ```
/// use kubenet_core::k8s::sloppy;
///
/// assert_eq!(sloppy::addr("172.30.0.041"), "172.30.0.41".parse().ok());
/// assert_eq!(sloppy::addr("172.30.0.256"), None);
/// ```
pub fn addr(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| without_zeros(text)?.parse().ok())
}

/// A range, its host bits cleared.
///
/// ```
/// use kubenet_core::k8s::sloppy;
///
/// assert_eq!(sloppy::net("010.0.0.1/08"), "10.0.0.0/8".parse().ok());
/// ```
pub fn net(text: &str) -> Option<IpNet> {
    let (network, prefix) = text.split_once('/')?;
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| digits)?;
    IpNet::new(addr(network)?, prefix).ok().map(|net| net.trunc())
}

/// The decimal parts of an IPv4 address, or of the end of an IPv6 address, without their leading zeros.
fn without_zeros(text: &str) -> Option<String> {
    let (head, dotted) = text.rsplit_once(':').map_or(("", text), |(head, last)| (head, last));
    if !dotted.contains('.') {
        return None;
    }
    let mut plain = String::with_capacity(text.len());
    if !head.is_empty() || dotted.len() < text.len() {
        plain.push_str(head);
        plain.push(':');
    }
    for (at, part) in dotted.split('.').enumerate() {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        if at > 0 {
            plain.push('.');
        }
        let shorter = part.trim_start_matches('0');
        plain.push_str(if shorter.is_empty() { "0" } else { shorter });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_decimal_and_everything_else_is_as_usual() {
        let read = |text: &str| addr(text).map(|addr| alloc::string::ToString::to_string(&addr));
        assert_eq!(read("010.000.00.08").as_deref(), Some("10.0.0.8"));
        assert_eq!(read("::ffff:010.0.0.1").as_deref(), Some("::ffff:10.0.0.1"));
        assert_eq!(read("2001:db8::0001").as_deref(), Some("2001:db8::1"));
        for wrong in
            ["", "1.2.3", "1.2.3.4.5", "1..3.4", "a.2.3.4", "1.2.3.-4", "0300.1.1.1", ":", "1.2.3.4:"]
        {
            assert_eq!(addr(wrong), None, "{wrong}");
        }
        for wrong in ["10.0.0.0", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/33", "/8"] {
            assert_eq!(net(wrong), None, "{wrong}");
        }
    }
}
