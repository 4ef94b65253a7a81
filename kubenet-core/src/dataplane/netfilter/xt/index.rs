//! What a rule requires for certain, for the index of its chain.

use super::super::index::Required;
use super::eval;
use crate::packet::number;
use crate::plan::netfilter::PortRange;
use crate::plan::xt::{Inv, Match, Ports, Rule};

/// What a packet must be so that a rule matches, as far as conditions before any that remembers something say.
pub(in super::super) fn required(rule: &Rule) -> Required {
    let mut required = Required::default();
    for condition in rule.matches.iter().take_while(|m| eval::is_pure(m) || eval::is_random(m)) {
        match condition {
            Match::Source(Inv { not: false, value }) if value.prefix_len() == value.max_prefix_len() => {
                required.src = Some(value.addr());
            }
            Match::Destination(Inv { not: false, value }) if value.prefix_len() == value.max_prefix_len() => {
                required.dst = Some(value.addr());
            }
            Match::Protocol(Inv { not: false, value }) if *value != 0 => required.protocol = Some(*value),
            Match::Tcp(tcp) => ports(&mut required, number::TCP, tcp.dport),
            Match::Udp(Ports { dport, .. }) => ports(&mut required, number::UDP, *dport),
            Match::Sctp(Ports { dport, .. }) => ports(&mut required, number::SCTP, *dport),
            Match::Iif(Inv { not: false, value }) if !value.ends_with('+') => {
                required.iif = Some(value.clone());
            }
            Match::Oif(Inv { not: false, value }) if !value.ends_with('+') => {
                required.oif = Some(value.clone());
            }
            Match::Source(_)
            | Match::Destination(_)
            | Match::Protocol(_)
            | Match::Iif(_)
            | Match::Oif(_)
            | Match::Fragment(_)
            | Match::Comment(_)
            | Match::Icmp(_)
            | Match::Multiport(_)
            | Match::Conntrack(_)
            | Match::State(_)
            | Match::Addrtype(_)
            | Match::Mark(_)
            | Match::Connmark(_)
            | Match::Iprange { .. }
            | Match::Limit { .. }
            | Match::Owner { .. }
            | Match::Physdev(_)
            | Match::Recent(_)
            | Match::Set { .. }
            | Match::Statistic(_)
            | Match::Ipvs { .. }
            | Match::Other { .. } => {}
        }
    }
    required
}

fn ports(required: &mut Required, protocol: u8, dport: Option<Inv<PortRange>>) {
    required.protocol = Some(protocol);
    if let Some(Inv { not: false, value: PortRange { first, last } }) = dport
        && first == last
    {
        required.dport = Some(first);
    }
}
