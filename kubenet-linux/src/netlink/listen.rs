//! Sockets that listen: `/proc/net/{tcp,udp}{,6}` of a thread inside of the namespace.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kubenet_core::plan::Socket;
use kubenet_core::text::ss;

use crate::netns::Netns;

/// The sockets of a namespace.
pub(super) fn list(netns: &Netns) -> io::Result<Vec<Socket>> {
    const FILES: [(&str, &str, &str); 4] = [
        ("tcp", "0A", "LISTEN"),
        ("tcp6", "0A", "LISTEN"),
        ("udp", "07", "UNCONN"),
        ("udp6", "07", "UNCONN"),
    ];
    let texts = netns.run(|| {
        Ok(FILES.map(|(file, ..)| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))))
    })?;
    let mut lines = String::new();
    for ((file, state, word), text) in FILES.into_iter().zip(texts) {
        let protocol = file.trim_end_matches('6');
        for (addr, port) in text.unwrap_or_default().lines().skip(1).filter_map(|line| row(line, state)) {
            let local = match addr {
                IpAddr::V6(addr) if addr.is_unspecified() => "*".into(),
                IpAddr::V6(addr) => format!("[{addr}]"),
                IpAddr::V4(addr) => addr.to_string(),
            };
            _ = writeln!(lines, "{protocol} {word} 0 0 {local}:{port} *:*");
        }
    }
    Ok(ss::parse(&lines, "ss").items)
}

/// `  sl  local_address rem_address   st …`: the local end of a row in this state.
fn row(line: &str, state: &str) -> Option<(IpAddr, u16)> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote, is) = (words.next()?, words.next()?, words.next()?);
    let to_all = remote.bytes().all(|byte| byte == b'0' || byte == b':');
    if is != state || !to_all {
        return None;
    }
    let (addr, port) = local.split_once(':')?;
    Some((address(addr)?, u16::from_str_radix(port, 16).ok()?))
}

/// Words of 32 bits, each in the byte order of this machine (`net/ipv4/tcp_ipv4.c`, `get_tcp4_sock`).
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (place, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(place)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_that_wait_for_anyone_are_read() {
        let here = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
        let listening = format!(
            "   0: {here}:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1"
        );
        let connected =
            "   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2";
        assert_eq!(row(&listening, "0A"), Some((IpAddr::from([127, 0, 0, 1]), 8080)));
        let last = format!("{:024}{:08X}", 0, u32::from_ne_bytes([0, 0, 0, 1]));
        assert_eq!(address(&last), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(row(connected, "0A"), None);
        assert_eq!(row("", "0A"), None);
        assert_eq!(row("a b c:d é", "é"), None);
        assert_eq!(address("éééé"), None);
    }
}
