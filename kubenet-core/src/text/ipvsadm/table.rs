//! The tables: `/proc/net/ip_vs` and `ipvsadm -Ln`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{all_bits, family_of, one_word, prefix_mask, read_end, read_flag, read_mask};
use crate::addr::Family;
use crate::plan::{
    Forwarding, IpvsProtocol, Persistence, RealServer, RealServerCounts, Scheduler, VirtualId, VirtualServer,
};
use crate::text::Parsed;
use crate::text::line::{Line, Word, lines, number};
use crate::text::reader::{Fault, Reader};

/// The heading of `/proc/net/ip_vs`, for the usual size of its table.
const HEADING: &str = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
";

/// Reads `/proc/net/ip_vs` or what `ipvsadm -Ln` prints.
pub fn parse_table(text: &str, file: &str) -> Parsed<VirtualServer> {
    let mut reader = Reader::new(file);
    let mut out: Vec<VirtualServer> = Vec::new();
    // Whether the last line of a virtual server was read: the real ones behind one that was not are told once, with it.
    let mut read_last = true;
    for mut line in lines(text).filter(|line| !line.is_empty()) {
        let span = line.span;
        if matches!(line.peek(), Some("IP" | "Prot")) {
            continue;
        }
        if line.eat("->") {
            if line.peek() == Some("RemoteAddress:Port") || !read_last {
                continue;
            }
            let read = real(&mut line, &mut reader);
            let read = read.and_then(|real| {
                let server = out.last_mut();
                let server =
                    server.ok_or_else(|| Fault::new(span, "a real server before any virtual one"))?;
                take_family(server, Family::of(real.addr));
                server.servers.push(real);
                Ok(())
            });
            reader.take(read);
            continue;
        }
        let read = service(&mut line, &mut reader);
        let server = reader.take(read);
        read_last = server.is_some();
        out.extend(server);
    }
    reader.finish(out)
}

/// What `/proc/net/ip_vs` shows. It has no place for the flags of a scheduler, a persistence engine, thresholds and the family of
/// a mark, which its real servers tell.
pub fn render_table(servers: &[VirtualServer]) -> String {
    let mut out = String::from(HEADING);
    for server in servers {
        match server.id {
            VirtualId::Addr { protocol, addr, port } => {
                let protocol = match protocol {
                    IpvsProtocol::Tcp => "TCP",
                    IpvsProtocol::Udp => "UDP",
                    IpvsProtocol::Sctp => "SCTP",
                };
                out.push_str(&format!("{protocol:<4} {}", hex_end(addr, port)));
            }
            VirtualId::Fwmark { mark, .. } => out.push_str(&format!("FWM  {mark:08X}")),
        }
        out.push_str(&format!(" {}", one_word(server.scheduler.as_str())));
        out.push_str(if server.one_packet { " ops" } else { "" });
        if let Some(Persistence { timeout_secs, mask }) = server.persistence {
            out.push_str(&format!(" persistent {timeout_secs} {:08X}", mask_bits(mask)));
        }
        out.push('\n');
        for real in &server.servers {
            let forward = match real.forwarding {
                Forwarding::Masquerade => "Masq",
                Forwarding::Tunnel(_) => "Tunnel",
                Forwarding::Route => "Route",
                Forwarding::Local => "Local",
            };
            let end = hex_end(real.addr, real.port);
            let RealServerCounts { active, inactive } =
                real.counts.unwrap_or(RealServerCounts { active: 0, inactive: 0 });
            let weight = real.weight;
            out.push_str(&format!("  -> {end}      {forward:<7} {weight:<6} {active:<10} {inactive:<10}\n"));
        }
    }
    out
}

/// The first real server of a mark tells the family, where the table does not.
const fn take_family(server: &mut VirtualServer, of_real: Family) {
    if let (VirtualId::Fwmark { family, .. }, true) = (&mut server.id, server.servers.is_empty()) {
        *family = of_real;
        if let Some(persistence) = &mut server.persistence
            && let (IpAddr::V4(mask), Family::V6) = (persistence.mask, of_real)
        {
            persistence.mask = prefix_mask(mask.to_bits().swap_bytes());
        }
    }
}

fn service(line: &mut Line<'_>, reader: &mut Reader) -> Result<VirtualServer, Fault> {
    let span = line.span;
    let missing = |what: &str| Fault::new(span, format!("the line ends before its {what}"));
    let first = line.next().ok_or_else(|| missing("protocol"))?;
    let protocol = match first.text {
        "TCP" => Some(IpvsProtocol::Tcp),
        "UDP" => Some(IpvsProtocol::Udp),
        "SCTP" => Some(IpvsProtocol::Sctp),
        "FWM" => None,
        other => return Err(Fault::new(first.span, format!("'{other}' is none of TCP, UDP, SCTP, FWM"))),
    };
    let word = line.value(first)?;
    let service = match protocol {
        Some(protocol) => {
            let (addr, port) = word.read("ADDRESS:PORT", read_any_end)?;
            VirtualId::Addr { protocol, addr, port }
        }
        None => {
            // The kernel prints eight digits of hexadecimal, `ipvsadm` a decimal number.
            let mark = word.read("a mark, not 0", |text| {
                let hex = (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok()).flatten();
                hex.or_else(|| number(text)).filter(|mark| *mark != 0)
            })?;
            let family = if line.eat("IPv6") { Family::V6 } else { Family::V4 };
            VirtualId::Fwmark { family, mark }
        }
    };
    let scheduler = line.next().ok_or_else(|| missing("scheduler"))?;
    let mut out = VirtualServer::new(service, Scheduler::from_name(scheduler.text), reader.origin(span));
    while let Some(key) = line.next() {
        match key.text {
            "persistent" => {
                let timeout_secs = line.read(key, "seconds", number)?;
                out.persistence = Some(Persistence { timeout_secs, mask: all_bits(family_of(&service)) });
            }
            "mask" => {
                let mask = line.read(key, "a mask", |text| read_mask(text, &service))?;
                if let Some(persistence) = &mut out.persistence {
                    persistence.mask = mask;
                }
            }
            "pe" => out.persistence_engine = Some(line.value(key)?.text.into()),
            "ops" => out.one_packet = true,
            other => flags(other, &mut out, key, reader),
        }
    }
    if let Scheduler::Other(name) = &out.scheduler {
        reader.warn(span, format!("scheduler '{name}' is kept but not modelled: whom it chooses is unknown"));
    }
    Ok(out)
}

/// `(sh-port)`, or the mask of a persistent service as `/proc` prints it, `FFFFFFFF`.
fn flags(text: &str, server: &mut VirtualServer, word: Word<'_>, reader: &mut Reader) {
    let hex = (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok()).flatten();
    if let (Some(bits), Some(persistence)) = (hex, &mut server.persistence) {
        persistence.mask = match family_of(&server.id) {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            // The length of the prefix, its bytes the wrong way round.
            Family::V6 => prefix_mask(bits.swap_bytes().min(128)),
        };
        return;
    }
    let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let known = inner.is_some_and(|inner| inner.split(',').all(|flag| read_flag(flag, server).is_some()));
    if !known {
        reader.unmodelled(word);
    }
}

fn real(line: &mut Line<'_>, reader: &mut Reader) -> Result<RealServer, Fault> {
    let span = line.span;
    let missing = |what: &str| Fault::new(span, format!("the line ends before its {what}"));
    let end = line.next().ok_or_else(|| missing("address"))?;
    let (addr, port) = end.read("ADDRESS:PORT", read_any_end)?;
    let mut out = RealServer::new(addr, port, reader.origin(span));
    let forward = line.next().ok_or_else(|| missing("way of forwarding"))?;
    out.forwarding = forward.read("a way of forwarding", |text| match text {
        "Masq" => Some(Forwarding::Masquerade),
        "Tunnel" => Some(Forwarding::Tunnel(None)),
        "Route" => Some(Forwarding::Route),
        "Local" => Some(Forwarding::Local),
        _ => None,
    })?;
    let mut count = |what: &str| line.next().ok_or_else(|| missing(what))?.read("a number", number::<u32>);
    out.weight = count("weight")?;
    let (active, inactive) = (count("active connections")?, count("inactive connections")?);
    out.counts = Some(RealServerCounts { active, inactive });
    Ok(out)
}

/// `0A000001:0050`, `[2001:0db8:…]:0050` (both numbers in hexadecimal), or `10.0.0.1:80`, `[2001:db8::1]:80`.
fn read_any_end(text: &str) -> Option<(IpAddr, u16)> {
    let hex_port = |port: &str| (port.len() == 4).then(|| u16::from_str_radix(port, 16).ok()).flatten();
    if let Some(rest) = text.strip_prefix('[') {
        let (addr, port) = rest.split_once("]:")?;
        // Only the kernel prints all digits.
        if addr.len() == 39 {
            return Some((IpAddr::V6(addr.parse().ok()?), hex_port(port)?));
        }
        return read_end(text);
    }
    let (addr, port) = text.split_once(':')?;
    if addr.len() == 8 && addr.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let bits = u32::from_str_radix(addr, 16).ok()?;
        return Some((IpAddr::V4(Ipv4Addr::from_bits(bits)), hex_port(port)?));
    }
    read_end(text)
}

const fn mask_bits(mask: IpAddr) -> u32 {
    match mask {
        IpAddr::V4(mask) => mask.to_bits(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones().swap_bytes(),
    }
}

fn hex_end(addr: IpAddr, port: u16) -> String {
    match addr {
        IpAddr::V4(addr) => format!("{:08X}:{port:04X}", addr.to_bits()),
        IpAddr::V6(addr) => format!("[{}]:{port:04X}", all_digits(addr)),
    }
}

fn all_digits(addr: Ipv6Addr) -> String {
    addr.segments().map(|segment| format!("{segment:04x}")).join(":")
}
