//! Statements: conditions, changes of the packet, NAT and sets.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write as _;

use smallvec::SmallVec;

use super::super::state::Price;
use super::super::walk::Hits;
use super::super::xt::{describe_nat, reject_name};
use super::super::{Decision, Host, NatKind, NatRange, Sets};
use super::expr::{Stop, is_flags, is_single, unmodelled};
use super::lookup::At;
use super::value::{self, Kind, Part, Scalar};
use super::{Go, Run};
use crate::addr::Family;
use crate::dataplane::choices::Choices;
use crate::packet::number;
use crate::plan::Unknown;
use crate::plan::netfilter::{PortRange, Reject};
use crate::plan::nft::{CtKey, Data, Expr, Meta, Nat, Op, SetOp, Statement, TableFamily, Value};

impl<'w, 'p, H: Host + Sets, C: Choices, R: Hits> Run<'w, '_, 'p, H, C, R> {
    /// Executes one statement.
    pub(super) fn statement(&mut self, at: &At<'_>, statement: &Statement) -> Result<Go<'w>, Stop> {
        match statement {
            Statement::Match { left, op, right } => {
                Ok(if self.holds(at, left, *op, right)? { Go::On } else { Go::Break })
            }
            Statement::Verdict(verdict) => Ok(self.verdict(at, verdict)),
            Statement::Vmap { key, map } => {
                let key = self.eval(at, key)?;
                let Some(found) = self.find(map, &key)? else { return Ok(Go::Break) };
                let verdict =
                    found.verdict().ok_or_else(|| unmodelled(format_args!("vmap without verdicts")))?;
                Ok(self.verdict(at, &verdict))
            }
            Statement::Assign { target, value } => self.assign(at, target, value),
            Statement::Dnat(nat) => self.nat(at, nat, NatKind::Dnat, "dnat to"),
            Statement::Snat(nat) => self.nat(at, nat, NatKind::Snat, "snat to"),
            Statement::Masquerade { port, flags } => {
                let ports = self.ports(at, port.as_ref())?;
                let kind = NatKind::Masquerade(NatRange { addrs: None, ports, flags: *flags });
                Ok(self.bind(at, kind, "masquerade"))
            }
            Statement::Redirect { port, flags } => {
                let ports = self.ports(at, port.as_ref())?;
                let kind = NatKind::Redirect(NatRange { addrs: None, ports, flags: *flags });
                Ok(self.bind(at, kind, "redirect"))
            }
            Statement::Reject(with) => self.reject(at, *with),
            Statement::RejectOf(family, with) => {
                if Family::of(self.seen.ip.dst) == *family {
                    self.reject(at, Some(*with))
                } else {
                    Ok(Go::Break)
                }
            }
            Statement::Notrack => {
                if self.seen.ct.is_none() && !self.seen.notrack {
                    self.seen.notrack = true;
                    self.hit(at, || "notrack".into());
                }
                Ok(Go::On)
            }
            Statement::Counter(_) | Statement::Log(_) => Ok(Go::On),
            Statement::Limit { rate, over, burst } => {
                let price = Price::of_nft(*rate, *burst, self.seen.ip.len);
                let within = self.walk.state.within(self.memory(at), price, self.seen.now);
                Ok(if within == *over { Go::Break } else { Go::On })
            }
            Statement::SetOp { op, set, key, timeout_ms, data } => {
                self.set_op(at, *op, set, key, *timeout_ms, data.as_ref())
            }
            Statement::Other(text) => Err(Stop::Unknown(Unknown {
                why: format!(
                    "the statement `{text}` in chain {} of table {} is not modelled",
                    at.chain.name, self.name
                ),
                what_would_settle_it:
                    "what becomes of the packet behind it, on the machine: nft monitor trace".into(),
            })),
        }
    }

    /// Whether a comparison holds. `!=` with flags compares all of them, as `nft` compiles it.
    pub(super) fn holds(&mut self, at: &At<'_>, left: &Expr, op: Op, right: &Expr) -> Result<bool, Stop> {
        if is_single(left) && !matches!(right, Expr::Elements(_) | Expr::Named(_)) {
            let part = self.single(at, left)?;
            return self.one_holds(at, (left, &part), op, right);
        }
        let parts = self.eval(at, left)?;
        if matches!(right, Expr::Elements(_) | Expr::Named(_)) {
            return Ok(self.find(right, &parts)?.is_some() != (op == Op::Ne));
        }
        if let [part] = &parts[..] {
            return self.one_holds(at, (left, part), op, right);
        }
        let wanted = self.eval(at, right)?;
        if !matches!(op, Op::Implicit | Op::Eq | Op::Ne) || parts.len() != wanted.len() {
            return Err(unlike());
        }
        let mut equal = true;
        for (part, wanted) in parts.iter().zip(&wanted) {
            equal &= self.compares(part, Op::Eq, &wanted.value())?;
        }
        Ok(equal != (op == Op::Ne))
    }

    /// Whether a comparison of one part holds.
    fn one_holds(
        &mut self,
        at: &At<'_>,
        (left, part): (&Expr, &Part<'_>),
        op: Op,
        right: &Expr,
    ) -> Result<bool, Stop> {
        if op == Op::Implicit
            && is_flags(left)
            && let (Ok(Part::Number(bits)), Part::Number(left)) = (self.eval_one(at, right), part)
        {
            return Ok(left & bits != 0);
        }
        if let Expr::Value(constant) = right {
            return self.compares(part, op, constant);
        }
        let wanted = self.eval(at, right)?;
        let [wanted] = &wanted[..] else { return Err(unlike()) };
        match op {
            Op::Lt | Op::Le | Op::Gt | Op::Ge => self.compares(part, op, &wanted.value()),
            Op::Implicit | Op::Eq | Op::Ne => {
                Ok(self.compares(part, Op::Eq, &wanted.value())? != (op == Op::Ne))
            }
        }
    }

    fn compares(&self, part: &Part<'_>, op: Op, constant: &Value) -> Result<bool, Stop> {
        let Some(scalar) = part.scalar() else {
            return Err(unmodelled(format_args!("a comparison of a range")));
        };
        // `iif 2`: a link by its number.
        if let (Scalar::Name(name), Value::Number(index)) = (scalar, constant) {
            let is = self.walk.host.link_index(name).is_some_and(|i| u64::from(i) == *index);
            return Ok(is != (op == Op::Ne));
        }
        // `fib … oif "eth0"`: a number by the link's name.
        if let (Scalar::Bits(Kind::Number, bits), Value::Name(name)) = (scalar, constant)
            && let Some(index) = self.walk.host.link_index(name)
        {
            return Ok((bits == u128::from(index)) != (op == Op::Ne));
        }
        if matches!(op, Op::Implicit | Op::Eq | Op::Ne) {
            let unknown = || Unknown {
                why: format!("what {constant:?} stands for is not known"),
                what_would_settle_it: "the rules with numbers: nft -nn list ruleset".into(),
            };
            let holds = value::holds(scalar, constant).ok_or_else(|| Stop::Unknown(unknown()))?;
            return Ok(holds != (op == Op::Ne));
        }
        let (Scalar::Bits(kind, bits), Some((other, bound, _))) = (scalar, value::bounds(constant)) else {
            return Err(unmodelled(format_args!("an order of names")));
        };
        Ok(kind == other
            && match op {
                Op::Lt => bits < bound,
                Op::Le => bits <= bound,
                Op::Gt => bits > bound,
                Op::Ge => bits >= bound,
                Op::Implicit | Op::Eq => bits == bound,
                Op::Ne => bits != bound,
            })
    }

    fn assign(&mut self, at: &At<'_>, target: &Expr, value: &Expr) -> Result<Go<'w>, Stop> {
        if matches!(target, Expr::Meta(Meta::Mark)) {
            let mark = self.number(at, value)?;
            self.seen.mark = mark;
            self.hit(at, || format!("mark set {mark:#x}"));
            return Ok(Go::On);
        }
        if matches!(target, Expr::Ct { key: CtKey::Mark, .. }) {
            let mark = self.number(at, value)?;
            if self.seen.tracked().is_some()
                && let Some(ct) = &mut self.seen.ct
            {
                ct.mark = mark;
                self.hit(at, || format!("ct mark set {mark:#x}"));
            }
            return Ok(Go::On);
        }
        // No expression that is modelled looks at these.
        let harmless = matches!(target, Expr::Meta(Meta::Priority))
            || matches!(target, Expr::Other(text) if text.starts_with("meta nftrace"));
        if harmless { Ok(Go::On) } else { Err(unmodelled(format_args!("{target:?} set …"))) }
    }

    fn number(&mut self, at: &At<'_>, value: &Expr) -> Result<u32, Stop> {
        match self.eval_one(at, value)? {
            Part::Number(number) => Ok(number as u32),
            Part::Addr(_) | Part::Name(_) | Part::Made(_) | Part::Numbers(..) | Part::Addrs(..) => {
                Err(unmodelled(format_args!("a mark that is no number")))
            }
        }
    }

    fn nat(
        &mut self,
        at: &At<'_>,
        nat: &Nat,
        kind: fn(NatRange) -> NatKind,
        word: &str,
    ) -> Result<Go<'w>, Stop> {
        if nat.family.is_some_and(|family| family != self.seen.ip.family()) {
            return Ok(Go::Break);
        }
        let no_addr = || unmodelled(format_args!("{word} what is no address"));
        let (mut addrs, mut ports) = (None, None);
        if let Some(expr) = &nat.addr {
            let mut parts = self.eval(at, expr)?;
            if parts.len() == 2 {
                ports = Some(parts.pop().as_ref().and_then(ports_of).ok_or_else(no_addr)?);
            }
            addrs = match &parts[..] {
                [Part::Addr(addr)] => Some((*addr, *addr)),
                [Part::Addrs(first, last)] => Some((*first, *last)),
                _ => return Err(no_addr()),
            };
        }
        if let Some((first, _)) = addrs
            && Family::of(first) != self.seen.ip.family()
        {
            return Ok(Go::Break);
        }
        if nat.port.is_some() {
            ports = self.ports(at, nat.port.as_ref())?;
        }
        Ok(self.bind(at, kind(NatRange { addrs, ports, flags: nat.flags }), word))
    }

    fn ports(&mut self, at: &At<'_>, expr: Option<&Expr>) -> Result<Option<PortRange>, Stop> {
        let Some(expr) = expr else { return Ok(None) };
        let part = self.eval_one(at, expr)?;
        ports_of(&part).map(Some).ok_or_else(|| unmodelled(format_args!("a port that is no number")))
    }

    fn bind(&mut self, at: &At<'_>, kind: NatKind, word: &str) -> Go<'w> {
        self.done(at, Decision::Nat(kind), || describe_nat(word, kind))
    }

    fn reject(&mut self, at: &At<'_>, with: Option<Reject>) -> Result<Go<'w>, Stop> {
        let with = with.unwrap_or(match self.table.family {
            TableFamily::Ip | TableFamily::Ip6 => Reject::PortUnreachable,
            TableFamily::Inet | TableFamily::Arp | TableFamily::Bridge | TableFamily::Netdev => {
                Reject::IcmpxPortUnreachable
            }
        });
        if with == Reject::TcpReset && self.seen.ip.protocol != number::TCP {
            return Ok(Go::Break);
        }
        Ok(self.done(at, Decision::Reject(with), || format!("reject with {}", reject_name(with))))
    }

    fn set_op(
        &mut self,
        at: &At<'_>,
        op: SetOp,
        set: &Arc<str>,
        key: &Expr,
        timeout_ms: Option<u64>,
        data: Option<&Expr>,
    ) -> Result<Go<'w>, Stop> {
        let parts = self.eval(at, key)?;
        let values: SmallVec<[Value; 4]> = parts.iter().map(Part::value).collect();
        let data = match data {
            Some(data) => {
                let values = self.eval(at, data)?.iter().map(Part::value).collect();
                Some(Arc::new(Data::Values(values)))
            }
            None => None,
        };
        let Some(key) = value::key_of(&parts) else {
            return Err(unmodelled(format_args!("a range as an element")));
        };
        let now = self.seen.now;
        let dynamic = self.dynamic(set)?;
        let done = match op {
            SetOp::Add => dynamic.add(&key, &values, timeout_ms, data, false, now),
            SetOp::Update => dynamic.add(&key, &values, timeout_ms, data, true, now),
            SetOp::Delete => {
                dynamic.remove(&key);
                true
            }
        };
        if !done {
            return Ok(Go::Break);
        }
        self.hit(at, || {
            let word = match op {
                SetOp::Add => "add",
                SetOp::Update => "update",
                SetOp::Delete => "delete",
            };
            let mut text = format!("{word} @{set} {{ ");
            for (place, value) in values.iter().enumerate() {
                describe(&mut text, if place == 0 { "" } else { " . " }, value);
            }
            text.push_str(" }");
            text
        });
        Ok(Go::On)
    }
}

fn ports_of(part: &Part<'_>) -> Option<PortRange> {
    let port = |number: u64| u16::try_from(number).ok();
    match part {
        Part::Number(number) => port(*number).map(PortRange::one),
        Part::Numbers(first, last) => Some(PortRange { first: port(*first)?, last: port(*last)? }),
        Part::Addr(_) | Part::Name(_) | Part::Made(_) | Part::Addrs(..) => None,
    }
}

fn describe(text: &mut String, before: &str, value: &Value) {
    // Writing to a string does not fail.
    let _ = match value {
        Value::Number(number) => write!(text, "{before}{number}"),
        Value::Addr(addr) => write!(text, "{before}{addr}"),
        Value::Prefix(net) => write!(text, "{before}{net}"),
        Value::Range(..) => write!(text, "{before}…"),
        Value::Name(name) => write!(text, "{before}{name}"),
    };
}

fn unlike() -> Stop {
    unmodelled(format_args!("a comparison of unlike values"))
}
