//! Netfilter hooks: base chains of one hook, in order of priority.
//!
//! Source: `net/netfilter/core.c nf_hook_slow`. Accept ends only its chain, drop ends the packet.

use alloc::format;
use alloc::vec::Vec;

use super::choices::Choices;
use super::event::{EventKind, Recorder, Stage};
use super::frame::Skb;
use super::machine::Stack;
use super::reason::DropReason;
use crate::addr::Protocol;
use crate::packet::Ip;
use crate::plan::{Action, Chain, Hook, Match, Rule, Truth};

/// What a match can see of a packet.
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'p> {
    /// The IP header.
    pub ip: &'p Ip,
    /// The input link's name.
    pub iif: Option<&'p str>,
    /// The output link's name.
    pub oif: Option<&'p str>,
}

impl Match {
    /// Whether one packet satisfies this match.
    pub fn eval(&self, packet: &PacketView<'_>) -> Truth {
        let holds = match self {
            Self::Source(nets) => nets.iter().any(|n| n.contains(&packet.ip.src)),
            Self::Destination(nets) => nets.iter().any(|n| n.contains(&packet.ip.dst)),
            Self::Iif(name) => packet.iif == Some(&**name),
            Self::Oif(name) => packet.oif == Some(&**name),
            Self::Protocol(protocol) => packet.ip.protocol == protocol.number(packet.ip.family()),
            Self::Dport(low, high) => {
                packet.ip.ports.is_some_and(|(_, dport)| (*low..=*high).contains(&dport))
            }
            Self::Not(condition) => match condition.eval(packet) {
                Truth::Yes => false,
                Truth::No => true,
                unknown @ Truth::Unknown(_) => return unknown,
            },
            Self::Other(unknown) => return Truth::Unknown(unknown.clone()),
        };
        if holds { Truth::Yes } else { Truth::No }
    }
}

impl Rule {
    /// Whether all matches hold. A match that certainly fails decides, even beside one that is not known.
    fn applies(&self, packet: &PacketView<'_>) -> Truth {
        let mut result = Truth::Yes;
        for condition in &self.matches {
            match condition.eval(packet) {
                Truth::Yes => {}
                Truth::No => return Truth::No,
                unknown @ Truth::Unknown(_) => result = unknown,
            }
        }
        result
    }
}

impl<C: Choices, R: Recorder> Stack<'_, C, R> {
    /// Runs the chains of a hook; `None` when the packet ended there.
    #[inline]
    pub(super) fn hooks(&mut self, hook: Hook, skb: Skb, iif: Option<u32>, oif: Option<u32>) -> Option<Skb> {
        if self.plan.chains.is_empty() {
            return Some(skb);
        }
        self.run_hook(hook, skb, iif, oif)
    }

    fn run_hook(&mut self, hook: Hook, mut skb: Skb, iif: Option<u32>, oif: Option<u32>) -> Option<Skb> {
        let plan = self.plan;
        let name = |link: Option<u32>| link.and_then(|l| plan.links.get(l as usize)).map(|l| &*l.name);
        let mut chains: Vec<&Chain> = plan.chains.iter().filter(|c| c.hook == hook).collect();
        chains.sort_by_key(|c| c.priority);
        let stage = stage_of(hook);
        // What is told of a packet on its way out names the link that it leaves by.
        let at = match hook {
            Hook::Ingress | Hook::Prerouting | Hook::Input | Hook::Forward => iif.or(oif),
            Hook::Output | Hook::Postrouting | Hook::Egress => oif.or(iif),
        };
        for chain in chains {
            let Some(ip) = skb.ip() else { return Some(skb) };
            let packet = PacketView { ip, iif: name(iif), oif: name(oif) };
            let mut action = &chain.policy;
            let mut origin = None;
            for rule in &chain.rules {
                match rule.applies(&packet) {
                    Truth::No => {}
                    Truth::Yes => {
                        action = &rule.action;
                        origin = Some(rule.origin.clone());
                        break;
                    }
                    Truth::Unknown(unknown) => {
                        let origin = Some(rule.origin.clone());
                        self.lose(skb, at, stage, unknown, origin);
                        return None;
                    }
                }
            }
            match action {
                Action::Accept if origin.is_none() => {}
                Action::Accept => self.note(&mut skb, at, stage, || {
                    (EventKind::Filtered { chain: chain.name.clone(), verdict: "accept".into() }, origin)
                }),
                Action::Drop => {
                    self.drop(skb, at, stage, DropReason::NetfilterDrop, || {
                        (format!("dropped in chain {}", chain.name), origin)
                    });
                    return None;
                }
                Action::Unknown(unknown) => {
                    self.lose(skb, at, stage, unknown.clone(), origin);
                    return None;
                }
            }
        }
        Some(skb)
    }
}

const fn stage_of(hook: Hook) -> Stage {
    match hook {
        Hook::Ingress => Stage::Ingress,
        Hook::Prerouting => Stage::Prerouting,
        Hook::Input => Stage::Input,
        Hook::Forward => Stage::Forward,
        Hook::Output => Stage::Output,
        Hook::Postrouting => Stage::Postrouting,
        Hook::Egress => Stage::Egress,
    }
}

/// The transport of an IP packet, if it is one that the model names.
pub(super) fn transport(ip: &Ip) -> Option<Protocol> {
    let family = ip.family();
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Icmp]
        .into_iter()
        .find(|p| p.number(family) == ip.protocol)
}
