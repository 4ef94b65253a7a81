//! IPVS: `ipvsadm -Sn`, and the tables of `/proc/net/ip_vs` and `ipvsadm -Ln`.
//!
//! In: one of the three; the first line tells which. Out: [`VirtualServer`]s. The saved form says no counters and, as `ipvsadm`
//! itself prints it, no thresholds (`-x`, `-y` are read and printed where they are set). Tables say counters; addresses are in
//! hexadecimal in `/proc`. Forms: `ipvsadm.c print_service_entry` 1.31, Linux `ip_vs_ctl.c ip_vs_info_seq_show`.

mod table;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use self::table::{parse_table, render_table};
use super::Parsed;
use super::line::{Line, Word, is_blank, lines, number};
use super::reader::{Fault, Reader};
use crate::addr::Family;
use crate::plan::{Forwarding, IpvsProtocol, Persistence, RealServer, Scheduler, VirtualId, VirtualServer};

/// What persistence lasts when `-p` says no number, in seconds (`IP_VS_SVC_PERSISTENT` default of ipvsadm).
const PERSISTENT_SECS: u32 = 300;

/// Reads what `ipvsadm -Sn` prints, or `ipvsadm -R` takes.
pub fn parse(text: &str, file: &str) -> Parsed<VirtualServer> {
    let mut reader = Reader::new(file);
    let mut out = Vec::new();
    for mut line in lines(text).filter(|line| !line.is_empty()) {
        let read = command(&mut line, &mut out, &mut reader);
        reader.take(read);
    }
    reader.finish(out)
}

/// Reads either form.
pub fn parse_any(text: &str, file: &str) -> Parsed<VirtualServer> {
    let first = text.trim_start_matches('\u{feff}').trim_start();
    if first.starts_with('-') && !first.starts_with("->") {
        parse(text, file)
    } else {
        parse_table(text, file)
    }
}

/// What `ipvsadm -Sn` prints. It leaves out thresholds; here they are printed where they are set.
pub fn render<T: Borrow<VirtualServer>>(servers: &[T]) -> String {
    let mut out = String::new();
    for server in servers.iter().map(Borrow::borrow) {
        let service = print_service(&server.id);
        out.push_str(&format!("-A {service} -s {}", one_word(server.scheduler.as_str())));
        if let Some(Persistence { timeout_secs, mask }) = server.persistence {
            out.push_str(&format!(" -p {timeout_secs}"));
            out.push_str(&print_mask(mask, " -M "));
        }
        if let Some(engine) = &server.persistence_engine {
            out.push_str(&format!(" --pe {}", one_word(engine)));
        }
        out.push_str(if server.one_packet { " -o" } else { "" });
        let flags = flag_words(server);
        if !flags.is_empty() {
            out.push_str(&format!(" -b {flags}"));
        }
        out.push('\n');
        for real in &server.servers {
            let end = print_end(real.addr, real.port);
            let (switch, tunnel) = match &real.forwarding {
                Forwarding::Masquerade => ("-m", None),
                Forwarding::Tunnel(kind) => ("-i", kind.as_deref()),
                Forwarding::Route | Forwarding::Local => ("-g", None),
            };
            out.push_str(&format!("-a {service} -r {end} {switch} -w {}", real.weight));
            for word in tunnel.unwrap_or("").split(' ').filter(|word| !word.is_empty()) {
                out.push_str(&format!(" {word}"));
            }
            for (option, limit) in [("-x", real.upper_threshold), ("-y", real.lower_threshold)] {
                if limit != 0 {
                    out.push_str(&format!(" {option} {limit}"));
                }
            }
            out.push('\n');
        }
    }
    out
}

fn command(line: &mut Line<'_>, out: &mut Vec<VirtualServer>, reader: &mut Reader) -> Result<(), Fault> {
    let span = line.span;
    let verb = line.next().ok_or_else(|| Fault::new(span, "an empty command"))?;
    match verb.text {
        "-A" | "--add-service" => {
            let server = virtual_server(line, verb, reader)?;
            if out.iter().any(|other| other.id == server.id) {
                return Err(Fault::new(span, "this virtual server is added twice"));
            }
            out.push(server);
        }
        "-a" | "--add-server" => {
            let (service, real) = real_server(line, verb, reader)?;
            // Servers follow their service, so the last one is nearly always the one.
            let server = out.iter_mut().rev().find(|server| server.id == service);
            let Some(server) = server else {
                return Err(Fault::new(span, "the virtual server of this line was not added before it"));
            };
            server.servers.push(real);
        }
        other => return Err(Fault::new(verb.span, format!("'{other}' is neither '-A' nor '-a'"))),
    }
    Ok(())
}

fn virtual_server<'t>(
    line: &mut Line<'t>,
    verb: Word<'t>,
    reader: &mut Reader,
) -> Result<VirtualServer, Fault> {
    let service = read_service(line, verb)?;
    let mut out = VirtualServer::new(service, Scheduler::Wlc, reader.origin(line.span));
    let (mut timeout, mut mask) = (None, None);
    let mut flags = "";
    while let Some(key) = line.next() {
        match key.text {
            "-s" | "--scheduler" => out.scheduler = Scheduler::from_name(line.value(key)?.text),
            "-p" | "--persistent" => {
                let secs = line.peek().and_then(number);
                if secs.is_some() {
                    line.next();
                }
                timeout = Some(secs.unwrap_or(PERSISTENT_SECS));
            }
            "-M" | "--netmask" => mask = Some(line.read(key, "a mask", |text| read_mask(text, &service))?),
            "--pe" => out.persistence_engine = Some(line.value(key)?.text.into()),
            "-o" | "--ops" => out.one_packet = true,
            "-b" | "--sched-flags" => flags = line.value(key)?.text,
            other => reader.unmodelled(Word { text: other, span: key.span }),
        }
    }
    for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
        read_flag(flag, &mut out)
            .ok_or_else(|| Fault::new(line.span, format!("'{flag}' is not a flag of a scheduler")))?;
    }
    let mask = mask.unwrap_or_else(|| all_bits(family_of(&service)));
    out.persistence = timeout.map(|timeout_secs| Persistence { timeout_secs, mask });
    if let Scheduler::Other(name) = &out.scheduler {
        reader.warn(
            line.span,
            format!("scheduler '{name}' is kept but not modelled: whom it chooses is unknown"),
        );
    }
    Ok(out)
}

fn real_server<'t>(
    line: &mut Line<'t>,
    verb: Word<'t>,
    reader: &mut Reader,
) -> Result<(VirtualId, RealServer), Fault> {
    let service = read_service(line, verb)?;
    let span = line.span;
    let mut end = None;
    let mut out = RealServer::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0, reader.origin(span));
    out.forwarding = Forwarding::Route;
    let mut tunnel: Vec<&str> = Vec::new();
    while let Some(key) = line.next() {
        match key.text {
            "-r" | "--real-server" => {
                end = Some(line.read(key, "ADDRESS:PORT", |text| read_real(text, &service))?)
            }
            "-m" | "--masquerading" => out.forwarding = Forwarding::Masquerade,
            "-i" | "--ipip" => out.forwarding = Forwarding::Tunnel(None),
            "-g" | "--gatewaying" => out.forwarding = Forwarding::Route,
            "-w" | "--weight" => out.weight = line.read(key, "a weight", number)?,
            "-x" | "--u-threshold" => out.upper_threshold = line.read(key, "a number", number)?,
            "-y" | "--l-threshold" => out.lower_threshold = line.read(key, "a number", number)?,
            "--tun-type" | "--tun-port" => tunnel.extend([key.text, line.value(key)?.text]),
            "--tun-nocsum" | "--tun-csum" | "--tun-remcsum" => tunnel.push(key.text),
            other => reader.unmodelled(Word { text: other, span: key.span }),
        }
    }
    (out.addr, out.port) = end.ok_or_else(|| Fault::new(span, "the real server has no '-r'"))?;
    if let Forwarding::Tunnel(kind) = &mut out.forwarding {
        *kind = (!tunnel.is_empty()).then(|| tunnel.join(" ").into());
    }
    Ok((service, out))
}

/// `-t ADDRESS:PORT`, `-u …`, `--sctp-service …`, `-f MARK [-6]`.
fn read_service<'t>(line: &mut Line<'t>, verb: Word<'t>) -> Result<VirtualId, Fault> {
    let key = line.value(verb)?;
    let protocol = match key.text {
        "-t" | "--tcp-service" => IpvsProtocol::Tcp,
        "-u" | "--udp-service" => IpvsProtocol::Udp,
        "--sctp-service" => IpvsProtocol::Sctp,
        "-f" | "--fwmark-service" => {
            let mark = line.read(key, "a mark, not 0", |text| number(text).filter(|mark| *mark != 0))?;
            let family = if line.eat("-6") || line.eat("--ipv6") { Family::V6 } else { Family::V4 };
            return Ok(VirtualId::Fwmark { family, mark });
        }
        other => {
            return Err(Fault::new(
                key.span,
                format!("'{other}' is none of '-t', '-u', '--sctp-service', '-f'"),
            ));
        }
    };
    let (addr, port) = line.read(key, "ADDRESS:PORT", read_end)?;
    Ok(VirtualId::Addr { protocol, addr, port })
}

/// `10.0.0.1:80`, `[fd00::1]:80`. Without a port, port 0.
fn read_end(text: &str) -> Option<(IpAddr, u16)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (addr, port) = rest.split_once(']')?;
        let port = if port.is_empty() { 0 } else { number(port.strip_prefix(':')?)? };
        return Some((IpAddr::V6(addr.parse().ok()?), port));
    }
    match text.split_once(':') {
        Some((addr, port)) => Some((IpAddr::V4(addr.parse().ok()?), number(port)?)),
        None => Some((IpAddr::V4(text.parse().ok()?), 0)),
    }
}

/// A real server without a port has that of its service.
fn read_real(text: &str, service: &VirtualId) -> Option<(IpAddr, u16)> {
    let (addr, port) = read_end(text)?;
    let said = if text.starts_with('[') { text.contains("]:") } else { text.contains(':') };
    match service {
        VirtualId::Addr { port: same, .. } if !said => Some((addr, *same)),
        VirtualId::Addr { .. } | VirtualId::Fwmark { .. } => Some((addr, port)),
    }
}

/// `255.255.0.0`, or a prefix length for IPv6.
fn read_mask(text: &str, service: &VirtualId) -> Option<IpAddr> {
    match family_of(service) {
        Family::V4 => text.parse().ok().map(IpAddr::V4),
        Family::V6 => number(text).filter(|len| *len <= 128).map(prefix_mask),
    }
}

/// The mask of an IPv6 prefix of a length; all bits from 128 on.
const fn prefix_mask(len: u32) -> IpAddr {
    let bits = match u128::MAX.checked_shl(128_u32.saturating_sub(len)) {
        Some(bits) => bits,
        None => 0,
    };
    IpAddr::V6(Ipv6Addr::from_bits(bits))
}

/// ` -M 255.255.0.0`, ` -M 64`; nothing for all bits.
fn print_mask(mask: IpAddr, key: &str) -> String {
    match mask {
        IpAddr::V4(mask) if mask == Ipv4Addr::BROADCAST => String::new(),
        IpAddr::V4(mask) => format!("{key}{mask}"),
        IpAddr::V6(mask) => match mask.to_bits().leading_ones() {
            128 => String::new(),
            len => format!("{key}{len}"),
        },
    }
}

const fn all_bits(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::BROADCAST),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
    }
}

const fn family_of(service: &VirtualId) -> Family {
    match service {
        VirtualId::Addr { addr, .. } => Family::of(*addr),
        VirtualId::Fwmark { family, .. } => *family,
    }
}

/// The names of a scheduler's flags, lowest bit first.
const fn flag_names(scheduler: &Scheduler) -> [&'static str; 3] {
    match scheduler {
        Scheduler::Sh => ["sh-fallback", "sh-port", "flag-3"],
        Scheduler::Mh => ["mh-fallback", "mh-port", "flag-3"],
        Scheduler::Rr
        | Scheduler::Wrr
        | Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Dh
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Other(_) => ["flag-1", "flag-2", "flag-3"],
    }
}

fn flag_words(server: &VirtualServer) -> String {
    let named = flag_names(&server.scheduler).into_iter().zip(server.scheduler_flags);
    named.filter(|(_, set)| *set).map(|(name, _)| name).collect::<Vec<_>>().join(",")
}

fn read_flag(flag: &str, server: &mut VirtualServer) -> Option<()> {
    let names = flag_names(&server.scheduler);
    let place = names.iter().position(|name| *name == flag);
    let place = place.or_else(|| ["flag-1", "flag-2", "flag-3"].iter().position(|name| *name == flag))?;
    server.scheduler_flags.get_mut(place).map(|bit| *bit = true)
}

fn print_service(service: &VirtualId) -> String {
    match *service {
        VirtualId::Addr { protocol, addr, port } => {
            let option = match protocol {
                IpvsProtocol::Tcp => "-t",
                IpvsProtocol::Udp => "-u",
                IpvsProtocol::Sctp => "--sctp-service",
            };
            format!("{option} {}", print_end(addr, port))
        }
        VirtualId::Fwmark { family: Family::V4, mark } => format!("-f {mark}"),
        VirtualId::Fwmark { family: Family::V6, mark } => format!("-f {mark} -6"),
    }
}

fn print_end(addr: IpAddr, port: u16) -> String {
    match addr {
        IpAddr::V4(addr) => format!("{addr}:{port}"),
        IpAddr::V6(addr) => format!("[{addr}]:{port}"),
    }
}

/// A name that the kernel prints as one word.
fn one_word(name: &str) -> String {
    let fits = |c: &char| !is_blank(*c) && !matches!(c, '\n' | '\\');
    let word: String = name.trim_start_matches('#').chars().filter(fits).collect();
    if word.is_empty() { "none".to_string() } else { word }
}

#[cfg(test)]
mod tests;
