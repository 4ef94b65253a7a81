//! What a rule requires for certain, for the index of its chain.

use super::super::index::Required;
use super::value::{self, Kind, Scalar};
use crate::packet::number;
use crate::plan::nft::{Expr, Field, Meta, Op, Rule, Statement, Value};

/// What a packet must be so that a rule goes past its first conditions.
pub(in super::super) fn required(rule: &Rule) -> Required {
    let mut required = Required::default();
    let mut any_transport = None;
    for statement in &rule.statements {
        let Statement::Match { left, op, right } = statement else {
            if matches!(statement, Statement::Counter(_) | Statement::Log(_)) {
                continue;
            }
            break;
        };
        if !super::expr::is_pure(left) || !super::expr::is_pure(right) {
            break;
        }
        let (Op::Implicit | Op::Eq, Expr::Value(constant)) = (op, right) else { continue };
        let port = |required: &mut Required, protocol: u8| {
            required.protocol = Some(protocol);
            required.dport = number_of(constant).and_then(|n| u16::try_from(n).ok());
        };
        if let Expr::Field(field) = left {
            if matches!(field, Field::IpSaddr | Field::Ip6Saddr) {
                required.src = addr_of(constant);
            } else if matches!(field, Field::IpDaddr | Field::Ip6Daddr) {
                required.dst = addr_of(constant);
            } else if *field == Field::TcpDport {
                port(&mut required, number::TCP);
            } else if *field == Field::UdpDport {
                port(&mut required, number::UDP);
            } else if *field == Field::SctpDport {
                port(&mut required, number::SCTP);
            } else if *field == Field::ThDport {
                any_transport = number_of(constant).and_then(|n| u16::try_from(n).ok());
            }
        } else if let Expr::Meta(key) = left {
            if *key == Meta::L4proto {
                required.protocol = number_of(constant).and_then(|n| u8::try_from(n).ok());
            } else if matches!(key, Meta::Iif | Meta::Iifname) {
                required.iif = name_of(constant);
            } else if matches!(key, Meta::Oif | Meta::Oifname) {
                required.oif = name_of(constant);
            }
        }
    }
    // Other protocols have something else where these have a port.
    if matches!(required.protocol, Some(number::TCP | number::UDP | number::SCTP)) {
        required.dport = required.dport.or(any_transport);
    }
    required
}

fn number_of(constant: &Value) -> Option<u128> {
    match value::exact(constant)? {
        Scalar::Bits(Kind::Number, bits) => Some(bits),
        Scalar::Bits(..) | Scalar::Name(_) => None,
    }
}

fn addr_of(constant: &Value) -> Option<core::net::IpAddr> {
    match constant {
        Value::Addr(addr) => Some(*addr),
        Value::Prefix(net) if net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
        Value::Prefix(_) | Value::Number(_) | Value::Range(..) | Value::Name(_) => None,
    }
}

fn name_of(constant: &Value) -> Option<alloc::sync::Arc<str>> {
    match constant {
        Value::Name(name) if !name.ends_with('*') => Some(name.clone()),
        Value::Name(_) | Value::Number(_) | Value::Addr(_) | Value::Prefix(_) | Value::Range(..) => None,
    }
}
