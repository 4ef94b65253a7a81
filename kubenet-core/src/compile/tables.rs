//! Rules and tables of `iptables`, as the programs of a node make them one after the other.
//!
//! In: rules, prepended or appended as a program does it, and chains. Out: tables as `iptables-save` shows them: built-in chains
//! first, then the others by name (iptables 1.8.9, `nft_cmd.c`).

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
    chains: BTreeMap<(&'static str, Arc<str>), Arc<Chain>>,
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
        self.chains.insert((table, chain.name.clone()), chain);
    }

    /// The tables in which there is something.
    pub(super) fn finish(mut self) -> Vec<Table> {
        let mut tables = Vec::new();
        for (name, builtin) in TABLES {
            let own: Vec<Arc<Chain>> =
                self.chains.iter().filter(|((table, _), _)| *table == name).map(|(_, c)| c.clone()).collect();
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

/// A chain of a program's own.
pub(super) fn chain(name: impl Into<Arc<str>>, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), policy: None, counters: Some((0, 0)), rules }
}

/// A rule in the making. Its matches come in the order in which `iptables-save` prints them, whatever the order of the calls:
/// addresses, the link, the protocol, then modules as they were added.
#[derive(Debug)]
pub(super) struct Draft {
    source: Option<Inv<IpNet>>,
    destination: Option<Inv<IpNet>>,
    iif: Option<Inv<Arc<str>>>,
    protocol: Option<u8>,
    modules: Vec<Match>,
    origin: Origin,
}

impl Draft {
    pub(super) fn new(origin: &Origin) -> Self {
        Self {
            source: None,
            destination: None,
            iif: None,
            protocol: None,
            modules: Vec::new(),
            origin: origin.clone(),
        }
    }

    pub(super) fn source(mut self, net: Inv<IpNet>) -> Self {
        self.source = Some(net);
        self
    }

    pub(super) fn destination(mut self, net: Inv<IpNet>) -> Self {
        self.destination = Some(net);
        self
    }

    /// To this address.
    pub(super) fn to(self, addr: IpAddr) -> Self {
        self.destination(Inv::is(IpNet::from(addr)))
    }

    /// From this address.
    pub(super) fn from(self, addr: IpAddr) -> Self {
        self.source(Inv::is(IpNet::from(addr)))
    }

    pub(super) fn iif(mut self, name: Inv<Arc<str>>) -> Self {
        self.iif = Some(name);
        self
    }

    pub(super) fn module(mut self, module: Match) -> Self {
        self.modules.push(module);
        self
    }

    pub(super) fn comment(self, text: impl Into<Arc<str>>) -> Self {
        self.module(Match::Comment(text.into()))
    }

    /// `-p`, without the module.
    pub(super) fn only_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol.number(Family::V4));
        self
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
        self.module(Match::Conntrack(Conntrack { state, ..Conntrack::default() }))
    }

    /// `-m addrtype --src-type LOCAL`.
    pub(super) fn local_source(self) -> Self {
        let src = Some(Inv::is(Vec::from([AddrType::Local])));
        self.module(Match::Addrtype(Addrtype { src, ..Addrtype::default() }))
    }

    /// `-m addrtype --dst-type LOCAL`.
    pub(super) fn local_destination(self) -> Self {
        let dst = Some(Inv::is(Vec::from([AddrType::Local])));
        self.module(Match::Addrtype(Addrtype { dst, ..Addrtype::default() }))
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
        let mut matches = Vec::with_capacity(self.modules.len() + 3);
        matches.extend(self.source.map(Match::Source));
        matches.extend(self.destination.map(Match::Destination));
        matches.extend(self.iif.map(Match::Iif));
        matches.extend(self.protocol.map(|number| Match::Protocol(Inv::is(number))));
        matches.extend(self.modules);
        Rule { matches, target, counters: None, origin: self.origin }
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
