//! Rules and tables of `iptables`, as the programs of a node make them one after the other.
//!
//! In: rules, prepended or appended as a program does it, and chains. Out: tables as `iptables-save` shows them: built-in chains
//! first, then the others by name (iptables 1.8.9, `nft_cmd.c`).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use crate::addr::{Family, Protocol};
use crate::origin::Origin;
use crate::plan::netfilter::{CtState, NatFlags, PortRange};
use crate::plan::xt::{
    AddrType, Addrtype, Chain, Conntrack, Inv, Masked, Match, NatTo, Policy, Ports, Rule, Table, Target, Tcp,
};

/// A table with its built-in chains.
pub(super) type Builtin = (&'static str, &'static [&'static str]);

/// The tables that node programs use, in the order of `iptables-save`.
const TABLES: [Builtin; 3] = [
    ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
    ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
    ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
];

/// Tables in the making.
#[derive(Debug)]
pub(super) struct Tables {
    family: Family,
    builtin: BTreeMap<(&'static str, &'static str), Vec<Rule>>,
    /// The programs' own chains, by table, in the order in which they were made.
    chains: BTreeMap<&'static str, Vec<Arc<Chain>>>,
}

impl Tables {
    /// Without any rule.
    pub(super) const fn new(family: Family) -> Self {
        Self { family, builtin: BTreeMap::new(), chains: BTreeMap::new() }
    }

    /// `-I`: the rule comes before those that are there.
    pub(super) fn prepend(&mut self, table: &'static str, chain: &'static str, rule: Rule) {
        self.builtin.entry((table, chain)).or_default().insert(0, rule);
    }

    /// `-A`: the rule comes after those that are there.
    pub(super) fn append(&mut self, table: &'static str, chain: &'static str, rule: Rule) {
        self.builtin.entry((table, chain)).or_default().push(rule);
    }

    /// A chain of the program's own.
    pub(super) fn chain(&mut self, table: &'static str, chain: Arc<Chain>) {
        self.chains.entry(table).or_default().push(chain);
    }

    /// The tables in which there is something.
    pub(super) fn finish(mut self) -> Vec<Table> {
        let mut tables = Vec::new();
        for (name, builtin) in TABLES {
            let own = by_name(self.chains.remove(name).unwrap_or_default());
            if own.is_empty() && !builtin.iter().any(|chain| self.builtin.contains_key(&(name, *chain))) {
                continue;
            }
            let mut chains = Vec::with_capacity(builtin.len() + own.len());
            for chain in builtin {
                let rules = self.builtin.remove(&(name, *chain)).unwrap_or_default();
                let policy = Some(Policy::Accept);
                chains.push(Arc::new(Chain { name: (*chain).into(), policy, counters: Some((0, 0)), rules }));
            }
            chains.extend(own);
            tables.push(Table { family: self.family, name: name.into(), chains });
        }
        tables
    }
}

/// Chains in the order of their names; of two with one name the later counts.
fn by_name(chains: Vec<Arc<Chain>>) -> Vec<Arc<Chain>> {
    // A name's first bytes stand beside it: nearly always they decide, and two pointers less are followed.
    let mut keyed: Vec<([u8; 32], Arc<Chain>)> =
        chains.into_iter().map(|chain| (head(&chain.name), chain)).collect();
    keyed.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.name.cmp(&other.name)));
    let mut sorted: Vec<Arc<Chain>> = Vec::with_capacity(keyed.len());
    for (_, chain) in keyed {
        match sorted.last_mut() {
            Some(last) if last.name == chain.name => *last = chain,
            _ => sorted.push(chain),
        }
    }
    sorted
}

/// The first bytes of a name, and zeros.
fn head(name: &str) -> [u8; 32] {
    let mut head = [0; 32];
    head.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to = byte);
    head
}

/// A chain of a program's own.
pub(super) fn chain(name: impl Into<Arc<str>>, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), policy: None, counters: Some((0, 0)), rules }
}

/// A rule in the making. Its matches come in the order in which `iptables-save` prints them, whatever the order of the calls:
/// addresses, the link, the protocol, then modules as they were added.
#[derive(Debug)]
pub(super) struct Draft {
    matches: Vec<Match>,
    origin: Origin,
}

impl Draft {
    pub(super) fn new(origin: &Origin) -> Self {
        Self { matches: Vec::with_capacity(4), origin: origin.clone() }
    }

    pub(super) fn source(self, net: Inv<IpNet>) -> Self {
        self.with(Match::Source(net))
    }

    pub(super) fn destination(self, net: Inv<IpNet>) -> Self {
        self.with(Match::Destination(net))
    }

    /// To this address.
    pub(super) fn to(self, addr: IpAddr) -> Self {
        self.destination(Inv::is(IpNet::from(addr)))
    }

    /// From this address.
    pub(super) fn from(self, addr: IpAddr) -> Self {
        self.source(Inv::is(IpNet::from(addr)))
    }

    pub(super) fn iif(self, name: Inv<Arc<str>>) -> Self {
        self.with(Match::Iif(name))
    }

    pub(super) fn module(self, module: Match) -> Self {
        self.with(module)
    }

    fn with(mut self, new: Match) -> Self {
        let place = self.matches.partition_point(|there| rank(there) <= rank(&new));
        self.matches.insert(place, new);
        self
    }

    pub(super) fn comment(self, text: impl Into<Arc<str>>) -> Self {
        self.module(Match::Comment(text.into()))
    }

    /// `-p`, without the module.
    pub(super) fn only_protocol(self, protocol: Protocol) -> Self {
        self.with(Match::Protocol(Inv::is(protocol.number(Family::V4))))
    }

    /// `-p tcp -m tcp`.
    pub(super) fn protocol(self, protocol: Protocol) -> Self {
        self.only_protocol(protocol).ports(protocol, None)
    }

    /// `-p tcp -m tcp --dport`.
    pub(super) fn dport(self, protocol: Protocol, port: u16) -> Self {
        self.only_protocol(protocol).ports(protocol, Some(Inv::is(PortRange::one(port))))
    }

    fn ports(self, protocol: Protocol, dport: Option<Inv<PortRange>>) -> Self {
        let ports = Ports { dport, ..Ports::default() };
        match protocol {
            Protocol::Tcp => self.module(Match::Tcp(Tcp { dport, ..Tcp::default() })),
            Protocol::Udp => self.module(Match::Udp(ports)),
            Protocol::Sctp => self.module(Match::Sctp(ports)),
            // It has no ports.
            Protocol::Icmp => self,
        }
    }

    /// `-m conntrack --ctstate NEW`.
    pub(super) fn new_connection(self) -> Self {
        let state = Some(Inv::is((Vec::from([CtState::New]), Vec::new())));
        self.module(Match::Conntrack(Box::new(Conntrack { state, ..Conntrack::default() })))
    }

    /// `-m addrtype --src-type LOCAL`.
    pub(super) fn local_source(self) -> Self {
        let src = Some(Inv::is(Vec::from([AddrType::Local])));
        self.module(Match::Addrtype(Box::new(Addrtype { src, ..Addrtype::default() })))
    }

    /// `-m addrtype --dst-type LOCAL`.
    pub(super) fn local_destination(self) -> Self {
        let dst = Some(Inv::is(Vec::from([AddrType::Local])));
        self.module(Match::Addrtype(Box::new(Addrtype { dst, ..Addrtype::default() })))
    }

    /// `-m mark --mark BIT/BIT`, or its opposite.
    pub(super) fn mark(self, bit: Inv<u32>) -> Self {
        let value = Masked { value: bit.value, mask: bit.value };
        self.module(Match::Mark(Inv { not: bit.not, value }))
    }

    pub(super) fn jump(self, chain: impl Into<Arc<str>>) -> Rule {
        self.target(Target::Jump(chain.into()))
    }

    pub(super) fn target(self, target: Target) -> Rule {
        self.finish(Some(target))
    }

    pub(super) fn finish(self, target: Option<Target>) -> Rule {
        Rule { matches: self.matches, target, counters: None, origin: self.origin }
    }
}

/// What a rule's own options are printed by; modules follow them.
const fn rank(condition: &Match) -> u8 {
    if matches!(condition, Match::Source(_)) {
        0
    } else if matches!(condition, Match::Destination(_)) {
        1
    } else if matches!(condition, Match::Iif(_)) {
        2
    } else if matches!(condition, Match::Protocol(_)) {
        3
    } else {
        4
    }
}

/// `MARK --set-xmark BIT/BIT`: sets a bit.
pub(super) const fn set_mark(bit: u32) -> Target {
    Target::Mark(Masked { value: bit, mask: bit })
}

/// `MARK --xor-mark BIT`.
pub(super) const fn xor_mark(bit: u32) -> Target {
    Target::Mark(Masked { value: bit, mask: 0 })
}

/// `MASQUERADE`, with `--random-fully`.
pub(super) const fn masquerade(fully_random: bool) -> Target {
    Target::Masquerade { ports: None, flags: NatFlags { random: false, fully_random, persistent: false } }
}

/// `DNAT --to-destination ADDR:PORT`.
pub(super) fn dnat(addr: IpAddr, port: u16) -> Target {
    Target::Dnat(NatTo {
        addrs: Some((addr, addr)),
        ports: Some(PortRange::one(port)),
        flags: NatFlags::default(),
    })
}
