//! The plan's own chains ([`Chain`]): what the input does not tell of, said where a packet meets it.
//!
//! Source: `net/netfilter/core.c nf_hook_slow`. Accept ends only its chain, drop ends the packet.

use alloc::format;
use alloc::vec::Vec;

use super::choices::Choices;
use super::event::{EventKind, Recorder};
use super::frame::Skb;
use super::hooks::{link_of, stage_of};
use super::machine::Stack;
use super::reason::DropReason;
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
    /// Runs the plan's own chains of a hook; `None` when the packet ended there.
    pub(super) fn guards(
        &mut self,
        hook: Hook,
        mut skb: Skb,
        iif: Option<u32>,
        oif: Option<u32>,
    ) -> Option<Skb> {
        let plan = self.plan;
        let name = |link: Option<u32>| link.and_then(|l| plan.links.get(l as usize)).map(|l| &*l.name);
        let mut chains: Vec<&Chain> = plan.chains.iter().filter(|c| c.hook == hook).collect();
        chains.sort_by_key(|c| c.priority);
        let stage = stage_of(hook);
        let at = link_of(hook, iif, oif);
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
