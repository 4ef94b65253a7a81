//! What a target does.
//!
//! Sources: `net/netfilter/xt_mark.c`, `xt_connmark.c`, `xt_CT.c`, `xt_nat.c`, iptables-extensions(8).

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write as _;
use core::net::IpAddr;

use super::super::call::Frame;
use super::super::walk::{Hits, Step};
use super::super::{Decision, Host, NatKind, NatRange, Sets};
use super::{Lead, Run};
use crate::dataplane::choices::Choices;
use crate::plan::Unknown;
use crate::plan::netfilter::{PortRange, Reject};
use crate::plan::xt::{Chain, Connmark, NatTo, Rule, Target};

/// Targets without a variant of their own that leave a packet on its way.
const HARMLESS: [&str; 14] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNSECMARK",
    "DSCP",
    "IDLETIMER",
    "LED",
    "NFLOG",
    "RATEEST",
    "SECMARK",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TOS",
    "ULOG",
];

/// Whether a rule can change what becomes of a packet.
pub(super) fn acts(rule: &Rule) -> bool {
    match &rule.target {
        None | Some(Target::Pass(..)) => false,
        Some(Target::Ct(words)) => has_zone(words),
        Some(Target::Other { name, .. }) => !HARMLESS.contains(&&**name),
        Some(
            Target::Accept
            | Target::Drop
            | Target::Return
            | Target::Jump(_)
            | Target::Goto(_)
            | Target::Reject(_)
            | Target::Dnat(_)
            | Target::Snat(_)
            | Target::Masquerade { .. }
            | Target::Redirect { .. }
            | Target::Mark(_)
            | Target::Connmark(_)
            | Target::Notrack(_),
        ) => true,
    }
}

fn has_zone(words: &[Arc<str>]) -> bool {
    words.iter().any(|word| word.starts_with("--zone"))
}

impl<'w, H: Host + Sets, C: Choices, R: Hits> Run<'w, '_, '_, H, C, R> {
    /// Lets a target act that is no chain.
    pub(super) fn act(&mut self, frame: &Frame<'w, Chain>, at: u32, target: &Target) -> Step<Lead<'w>> {
        match target {
            Target::Accept => self.done(frame, at, Decision::Accept, || "accept".into()),
            Target::Drop => self.done(frame, at, Decision::Drop, || "drop".into()),
            Target::Return => {
                self.hit(frame, at, || "return".into());
                Step::Return
            }
            Target::Reject(with) => {
                let decision = Decision::Reject(*with);
                self.done(frame, at, decision, || format!("reject with {}", reject_name(*with)))
            }
            Target::Dnat(to) => self.nat(frame, at, NatKind::Dnat(range(to)), "dnat to"),
            Target::Snat(to) => self.nat(frame, at, NatKind::Snat(range(to)), "snat to"),
            Target::Masquerade { ports, flags } => {
                let range = NatRange { addrs: None, ports: *ports, flags: *flags };
                self.nat(frame, at, NatKind::Masquerade(range), "masquerade")
            }
            Target::Redirect { ports, flags } => {
                let range = NatRange { addrs: None, ports: *ports, flags: *flags };
                self.nat(frame, at, NatKind::Redirect(range), "redirect")
            }
            Target::Mark(mark) => {
                self.mark(frame, at, (self.seen.mark & !mark.mask) ^ mark.value);
                Step::Next
            }
            Target::Connmark(op) => {
                self.connmark(frame, at, *op);
                Step::Next
            }
            Target::Notrack(_) => {
                if self.seen.ct.is_none() && !self.seen.notrack {
                    self.seen.notrack = true;
                    self.hit(frame, at, || "notrack".into());
                }
                Step::Next
            }
            Target::Ct(words) if has_zone(words) => self.unknown(frame, "CT --zone"),
            Target::Ct(_) | Target::Pass(..) | Target::Jump(_) | Target::Goto(_) => Step::Next,
            Target::Other { name, .. } if HARMLESS.contains(&&**name) => Step::Next,
            Target::Other { name, .. } => self.unknown(frame, name),
        }
    }

    fn done(
        &mut self,
        frame: &Frame<'w, Chain>,
        at: u32,
        decision: Decision,
        did: impl FnOnce() -> String,
    ) -> Step<Lead<'w>> {
        self.hit(frame, at, did);
        Step::Done(decision)
    }

    fn nat(&mut self, frame: &Frame<'w, Chain>, at: u32, kind: NatKind, word: &str) -> Step<Lead<'w>> {
        self.done(frame, at, Decision::Nat(kind), || describe_nat(word, kind))
    }

    fn mark(&mut self, frame: &Frame<'w, Chain>, at: u32, mark: u32) {
        self.seen.mark = mark;
        self.hit(frame, at, || format!("mark set {mark:#x}"));
    }

    fn connmark(&mut self, frame: &Frame<'w, Chain>, at: u32, op: Connmark) {
        let Some(ct) = self.seen.tracked().copied() else { return };
        let new = match op {
            Connmark::Restore { nfmask, ctmask } => {
                self.mark(frame, at, (self.seen.mark & !nfmask) ^ (ct.mark & ctmask));
                return;
            }
            Connmark::Set(mark) => (ct.mark & !mark.mask) ^ mark.value,
            Connmark::Save { nfmask, ctmask } => (ct.mark & !ctmask) ^ (self.seen.mark & nfmask),
        };
        if let Some(ct) = &mut self.seen.ct {
            ct.mark = new;
        }
        self.hit(frame, at, || format!("ct mark set {new:#x}"));
    }

    fn unknown(&self, frame: &Frame<'w, Chain>, target: &str) -> Step<Lead<'w>> {
        Step::Done(Decision::Unknown(Unknown {
            why: format!(
                "the target `-j {target}` in chain {} of table {} is not modelled",
                frame.chain.name, self.table.name
            ),
            what_would_settle_it:
                "what becomes of the packet behind it, on the machine: nft monitor trace, or -j TRACE".into(),
        }))
    }
}

const fn range(to: &NatTo) -> NatRange {
    NatRange { addrs: to.addrs, ports: to.ports, flags: to.flags }
}

/// A NAT in the words of the tools: `dnat to 10.244.1.5:8080`.
pub(in super::super) fn describe_nat(word: &str, kind: NatKind) -> String {
    let (NatKind::Dnat(range) | NatKind::Snat(range) | NatKind::Masquerade(range) | NatKind::Redirect(range)) =
        kind;
    let mut text = String::from(word);
    // Writing to a string does not fail.
    if let Some((first, last)) = range.addrs {
        let brackets = range.ports.is_some() && first.is_ipv6();
        let _ = match first {
            IpAddr::V6(_) if brackets => write!(text, " [{first}]"),
            IpAddr::V4(_) | IpAddr::V6(_) => write!(text, " {first}"),
        };
        if first != last {
            let _ = write!(text, "-{last}");
        }
    }
    if let Some(PortRange { first, last }) = range.ports {
        let space = if range.addrs.is_none() { " " } else { "" };
        let _ = write!(text, "{space}:{first}");
        if first != last {
            let _ = write!(text, "-{last}");
        }
    }
    text
}

/// The name of an answer, as the tools have it.
pub(in super::super) const fn reject_name(with: Reject) -> &'static str {
    match with {
        Reject::TcpReset => "tcp-reset",
        Reject::NetUnreachable => "icmp-net-unreachable",
        Reject::HostUnreachable => "icmp-host-unreachable",
        Reject::ProtoUnreachable => "icmp-proto-unreachable",
        Reject::PortUnreachable => "icmp-port-unreachable",
        Reject::NetProhibited => "icmp-net-prohibited",
        Reject::HostProhibited => "icmp-host-prohibited",
        Reject::AdminProhibited => "icmp-admin-prohibited",
        Reject::PolicyFail => "icmp6-policy-fail",
        Reject::RejectRoute => "icmp6-reject-route",
        Reject::IcmpxPortUnreachable => "icmpx port-unreachable",
        Reject::IcmpxHostUnreachable => "icmpx host-unreachable",
        Reject::IcmpxNoRoute => "icmpx no-route",
        Reject::IcmpxAdminProhibited => "icmpx admin-prohibited",
    }
}
