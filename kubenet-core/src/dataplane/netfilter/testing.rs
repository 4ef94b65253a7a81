//! What tests of rules share: packets, and a machine that knows a few addresses.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::{CtSeen, Decision, Host, Prepared, RuleState, Rules, Seen, Sets, Tuple, WalkMode, run};
use crate::dataplane::choices::Choices;
use crate::packet::{self, Ip, Ipv4Meta, TcpSegment, View};
use crate::plan::netfilter::CtState;
use crate::plan::nft::Statement;
use crate::plan::xt::{self, AddrType, Policy, SetRef, Target};
use crate::plan::{Family, Hook, Netfilter, Origin, Ruleset, Truth, Unknown, nft};
use crate::time::Instant;

/// 192.168.0.1 is local on `eth0`, 10.244.0.0/16 behind `cni0`, the rest behind `eth0`. The set `known` holds 10.0.0.1.
pub(super) struct Machine;

impl Host for Machine {
    fn addr_type(&self, addr: IpAddr, link: Option<&str>) -> AddrType {
        let local = addr.is_loopback() || addr.to_string() == "192.168.0.1";
        match link {
            _ if addr.is_multicast() => AddrType::Multicast,
            Some(link) if local && link != "eth0" => AddrType::Unicast,
            _ if local => AddrType::Local,
            _ => AddrType::Unicast,
        }
    }

    fn route_link(&self, dst: IpAddr, _: u32) -> Option<(&str, u32)> {
        Some(if dst.to_string().starts_with("10.244.") { ("cni0", 3) } else { ("eth0", 2) })
    }

    fn link_index(&self, name: &str) -> Option<u32> {
        ["lo", "eth0", "cni0"].iter().position(|n| *n == name).map(|at| at as u32 + 1)
    }
}

impl Sets for Machine {
    fn contains(&self, set: &SetRef, seen: &Seen<'_>) -> Truth {
        if &*set.name != "known" {
            let why = format!("set {} is not known", set.name);
            return Truth::Unknown(Unknown { why, what_would_settle_it: "ipset save".into() });
        }
        let addr = if set.src.first() == Some(&true) { seen.ip.src } else { seen.ip.dst };
        if addr.to_string() == "10.0.0.1" { Truth::Yes } else { Truth::No }
    }
}

/// A packet with what it owns.
#[derive(Clone)]
pub(super) struct Packet {
    pub(super) frame: Vec<u8>,
    pub(super) ip: Ip,
    pub(super) hook: Hook,
    pub(super) iif: Option<&'static str>,
    pub(super) oif: Option<&'static str>,
    pub(super) from_socket: bool,
    pub(super) mark: u32,
    pub(super) ct: Option<CtSeen>,
    pub(super) now: Instant,
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ip { src, dst, protocol, ports, .. } = self.ip;
        write!(f, "{:?} {protocol} {src} → {dst} {ports:?} at {}", self.hook, self.now)
    }
}

impl Packet {
    /// Of a frame, coming in by `eth0` at prerouting, its connection new.
    pub(super) fn of(frame: Vec<u8>) -> Self {
        let Ok(View::Ip(ip)) = packet::view(&frame) else { panic!("not IP: {frame:?}") };
        let (sport, dport) = ip.ports.unwrap_or((0, 0));
        let orig = Tuple { src: ip.src, dst: ip.dst, sport, dport, protocol: ip.protocol };
        let reply = Tuple { src: ip.dst, dst: ip.src, sport: dport, dport: sport, ..orig };
        let ct = Some(CtSeen { state: CtState::New, status: 0, mark: 0, original: true, orig, reply });
        let (hook, iif, oif) = (Hook::Prerouting, Some("eth0"), None);
        Self { frame, ip, hook, iif, oif, from_socket: false, mark: 0, ct, now: Instant::START }
    }

    /// `tcp SRC SPORT DST DPORT`, likewise `udp`, or `icmp SRC DST`.
    pub(super) fn new(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        let meta = |src: &str, dst: &str| Ipv4Meta {
            src: addr(src),
            dst: addr(dst),
            ttl: 64,
            dont_fragment: true,
            id: 1,
        };
        let port = |word: &str| word.parse().expect("a port");
        Self::of(match words[..] {
            ["tcp", src, sport, dst, dport] => {
                let segment = TcpSegment {
                    sport: port(sport),
                    dport: port(dport),
                    syn: true,
                    mss: Some(1460),
                    ..TcpSegment::default()
                };
                packet::tcp(&meta(src, dst), &segment, &[])
            }
            ["udp", src, sport, dst, dport] => packet::udp(&meta(src, dst), port(sport), port(dport), b"x"),
            ["icmp", src, dst] => packet::icmp_echo(&meta(src, dst), false, 7, 1, b"x"),
            _ => panic!("{text}"),
        })
    }

    pub(super) fn at(mut self, hook: Hook) -> Self {
        self.hook = hook;
        (self.iif, self.oif) = match hook {
            Hook::Ingress | Hook::Prerouting | Hook::Input => (Some("eth0"), None),
            Hook::Forward => (Some("eth0"), Some("cni0")),
            Hook::Output | Hook::Postrouting | Hook::Egress => (None, Some("eth0")),
        };
        self.from_socket = hook == Hook::Output;
        self
    }

    pub(super) fn seen(&self) -> Seen<'_> {
        Seen {
            hook: self.hook,
            ip: &self.ip,
            frame: &self.frame,
            iif: self.iif,
            oif: self.oif,
            phys_iif: None,
            phys_oif: None,
            bridged: false,
            from_socket: self.from_socket,
            mark: self.mark,
            ct: self.ct,
            notrack: false,
            ipvs: None,
            now: self.now,
        }
    }

    pub(super) fn family(&self) -> Family {
        self.ip.family()
    }
}

/// Rules with what they remember.
pub(super) struct Walker {
    pub(super) netfilter: Netfilter,
    pub(super) prepared: Prepared,
    pub(super) state: RuleState,
    pub(super) mode: WalkMode,
}

impl Walker {
    pub(super) fn new(netfilter: Netfilter) -> Self {
        let prepared = Prepared::new(&netfilter);
        Self { netfilter, prepared, state: RuleState::new(), mode: WalkMode::Indexed }
    }

    /// All base chains of the packet's hook up to the first that does not accept: what was done, then the decision.
    pub(super) fn ask(&mut self, packet: &Packet, choices: &mut impl Choices) -> String {
        let mut seen = packet.seen();
        let mut hits = Vec::new();
        let mut decision = Decision::Accept;
        let rules = Rules { netfilter: &self.netfilter, prepared: &self.prepared, mode: self.mode };
        for base in self.prepared.bases(packet.family(), packet.hook) {
            decision = run(base, &mut seen, rules, &mut self.state, &Machine, choices, &mut hits);
            if decision != Decision::Accept {
                break;
            }
        }
        let mut text: Vec<String> = hits.iter().map(|hit| hit.did.clone()).collect();
        text.push(match decision {
            Decision::Accept => "accepted".into(),
            Decision::Drop => "dropped".into(),
            Decision::Reject(_) => "rejected".into(),
            Decision::Nat(_) => "bound".into(),
            Decision::Unknown(unknown) => format!("unknown: {}", unknown.why),
        });
        text.join(", ")
    }

    /// Whether the first base chain of the packet's hook is said to let the packet pass. Checks that the plain walk then does
    /// nothing to it, remembers nothing, and leaves nothing to chance.
    pub(super) fn lets_pass(&mut self, packet: &Packet) -> bool {
        let mut seen = packet.seen();
        let bases = self.prepared.bases(packet.family(), packet.hook);
        let base = bases.first().expect("a base chain");
        let passing = self.prepared.passing(&self.netfilter, base);
        if seen.is_cut_off() || !passing.contain(seen.ct_state(), seen.mark) {
            return false;
        }
        let rules = Rules { netfilter: &self.netfilter, prepared: &self.prepared, mode: WalkMode::Plain };
        let before = (seen.mark, seen.ct, seen.notrack, format!("{:?}", self.state));
        let decision = run(base, &mut seen, rules, &mut self.state, &Machine, &mut Never, &mut ());
        assert_eq!(decision, Decision::Accept);
        assert_eq!((seen.mark, seen.ct, seen.notrack, format!("{:?}", self.state)), before);
        true
    }
}

/// Chance that nobody may ask.
struct Never;

impl Choices for Never {
    fn pick(&mut self, point: fmt::Arguments<'_>, _: &[u64]) -> usize {
        panic!("{point} is left to chance")
    }
}

/// The same packet in a state of its connection, none at all for a packet that is not tracked, with a mark.
pub(super) fn in_state(packet: Packet, state: CtState, mark: u32) -> Packet {
    let ct = match state {
        CtState::Invalid => None,
        CtState::Established | CtState::Related | CtState::New | CtState::Untracked => packet.ct,
    };
    Packet { ct: ct.map(|ct| CtSeen { state, mark, ..ct }), mark, ..packet }
}

pub(super) const STATES: [CtState; 5] =
    [CtState::Invalid, CtState::Established, CtState::Related, CtState::New, CtState::Untracked];

/// A namespace with these chains in one table of `iptables`; names in capitals of a hook are built-in ones.
pub(super) fn iptables(table: &str, chains: Vec<(&str, Vec<xt::Rule>)>) -> Netfilter {
    let chains = chains.into_iter().map(|(name, rules)| {
        let policy = xt::base(table, name).map(|_| Policy::Accept);
        Arc::new(xt::Chain { name: name.into(), policy, counters: None, rules })
    });
    let table = xt::Table { family: Family::V4, name: table.into(), chains: chains.collect() };
    Netfilter::Whole(Arc::new(Ruleset { xt: alloc::vec![table], ..Ruleset::default() }))
}

/// A rule of `iptables`.
pub(super) fn rule(matches: impl Into<Vec<xt::Match>>, target: impl Into<Option<Target>>) -> xt::Rule {
    xt::Rule {
        matches: matches.into(),
        target: target.into(),
        counters: None,
        origin: Origin::implied("test"),
    }
}

/// A namespace with one table of `nft`, whose chains by the names of hooks hang there.
pub(super) fn nft(
    family: nft::TableFamily,
    sets: Vec<nft::Set>,
    chains: Vec<(&str, Vec<Vec<Statement>>)>,
) -> Netfilter {
    let chains = chains.into_iter().map(|(name, rules)| {
        let hook = match name {
            "prerouting" => Some(Hook::Prerouting),
            "output" => Some(Hook::Output),
            "postrouting" => Some(Hook::Postrouting),
            _ => None,
        };
        let kind = nft::ChainKind::Filter;
        let base = |hook| nft::Base { kind, hook, devices: Vec::new(), priority: 0, policy: Policy::Accept };
        let origin = Origin::implied("test");
        let rule = |statements| nft::Rule { statements, comment: None, handle: None, origin: origin.clone() };
        let rules = rules.into_iter().map(rule).collect();
        Arc::new(nft::Chain { name: name.into(), base: hook.map(base), comment: None, rules })
    });
    let table = nft::Table {
        family,
        name: "t".into(),
        flags: Vec::new(),
        comment: None,
        sets: sets.into_iter().map(Arc::new).collect(),
        chains: chains.collect(),
        others: Vec::new(),
        origin: Origin::implied("test"),
    };
    Netfilter::Whole(Arc::new(Ruleset { nft: alloc::vec![table], ..Ruleset::default() }))
}

/// A set or map of `nft`.
pub(super) fn set(name: &str, elements: Vec<nft::Element>) -> nft::Set {
    nft::Set {
        name: name.into(),
        key: Vec::new(),
        key_typeof: None,
        data: Vec::new(),
        flags: nft::SetFlags::default(),
        timeout_ms: None,
        gc_interval_ms: None,
        size: None,
        auto_merge: false,
        statements: None,
        comment: None,
        elements,
        origin: Origin::implied("test"),
    }
}

/// An element of it.
pub(super) fn element(key: Vec<nft::Value>, data: Option<nft::Data>) -> nft::Element {
    nft::Element {
        key,
        data,
        timeout_ms: None,
        expires_ms: None,
        statements: None,
        comment: None,
        origin: None,
    }
}
