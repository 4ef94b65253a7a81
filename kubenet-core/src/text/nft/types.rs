//! What constants mean: the types of nft, and the names that they have for numbers.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::plan::nft::{CtKey, Expr, FibResult, Field, Meta, Value};
use crate::text::line::number;
use crate::text::protocol;

/// A type of constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Addr,
    Addr6,
    Ether,
    Proto,
    Port,
    Mark,
    LinkName,
    Link,
    State,
    Status,
    Direction,
    Icmp,
    Icmpv6,
    AddrKind,
    TcpFlags,
    Dscp,
    Family,
    EtherKind,
    Pkt,
    LinkKind,
    ArpOp,
    Id,
    Verdict,
    Plain,
}

/// Names of nft's types, and how many elements of a set of it stand on one line.
const NAMES: [(&str, Type, usize); 24] = [
    ("ipv4_addr", Type::Addr, 2),
    ("ipv6_addr", Type::Addr6, 1),
    ("ether_addr", Type::Ether, 1),
    ("inet_proto", Type::Proto, 5),
    ("inet_service", Type::Port, 5),
    ("mark", Type::Mark, 5),
    ("ifname", Type::LinkName, 1),
    ("iface_index", Type::Link, 5),
    ("ct_state", Type::State, 2),
    ("ct_status", Type::Status, 2),
    ("ct_dir", Type::Direction, 5),
    ("icmp_type", Type::Icmp, 1),
    ("icmpv6_type", Type::Icmpv6, 1),
    ("fib_addrtype", Type::AddrKind, 1),
    ("tcp_flag", Type::TcpFlags, 5),
    ("dscp", Type::Dscp, 1),
    ("nf_proto", Type::Family, 5),
    ("ether_type", Type::EtherKind, 1),
    ("pkt_type", Type::Pkt, 2),
    ("iface_type", Type::LinkKind, 1),
    ("arp_op", Type::ArpOp, 5),
    ("uid", Type::Id, 5),
    ("verdict", Type::Verdict, 1),
    ("integer", Type::Plain, 5),
];

impl Type {
    /// The type with this name.
    pub(super) fn named(name: &str) -> Self {
        NAMES.iter().find(|(known, ..)| *known == name).map_or(Self::Plain, |(_, kind, _)| *kind)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, kind, _)| *kind == self).map_or("integer", |(name, ..)| name)
    }

    /// How many elements of a set stand on one line.
    pub(super) fn per_line(self) -> usize {
        NAMES.iter().find(|(_, kind, _)| *kind == self).map_or(1, |(.., count)| *count)
    }

    /// Whether values of it are bits that are written as a list.
    pub(super) const fn is_flags(self) -> bool {
        matches!(self, Self::State | Self::Status | Self::TcpFlags)
    }

    /// Numbers and their names. The first name of a number is printed.
    fn symbols(self) -> &'static [(u64, &'static str)] {
        match self {
            Self::State => {
                &[(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")]
            }
            Self::Status => &[
                (1, "expected"),
                (2, "seen-reply"),
                (4, "assured"),
                (8, "confirmed"),
                (16, "snat"),
                (32, "dnat"),
                (512, "dying"),
            ],
            Self::Direction => &[(0, "original"), (1, "reply")],
            Self::TcpFlags => &[
                (1, "fin"),
                (2, "syn"),
                (4, "rst"),
                (8, "psh"),
                (16, "ack"),
                (32, "urg"),
                (64, "ecn"),
                (128, "cwr"),
            ],
            Self::Icmp => &[
                (0, "echo-reply"),
                (3, "destination-unreachable"),
                (4, "source-quench"),
                (5, "redirect"),
                (8, "echo-request"),
                (9, "router-advertisement"),
                (10, "router-solicitation"),
                (11, "time-exceeded"),
                (12, "parameter-problem"),
                (13, "timestamp-request"),
                (14, "timestamp-reply"),
                (15, "info-request"),
                (16, "info-reply"),
                (17, "address-mask-request"),
                (18, "address-mask-reply"),
            ],
            Self::Icmpv6 => &[
                (1, "destination-unreachable"),
                (2, "packet-too-big"),
                (3, "time-exceeded"),
                (4, "parameter-problem"),
                (128, "echo-request"),
                (129, "echo-reply"),
                (130, "mld-listener-query"),
                (131, "mld-listener-report"),
                (132, "mld-listener-done"),
                (132, "mld-listener-reduction"),
                (133, "nd-router-solicit"),
                (134, "nd-router-advert"),
                (135, "nd-neighbor-solicit"),
                (136, "nd-neighbor-advert"),
                (137, "nd-redirect"),
                (138, "router-renumbering"),
                (141, "ind-neighbor-solicit"),
                (142, "ind-neighbor-advert"),
                (143, "mld2-listener-report"),
            ],
            Self::AddrKind => &[
                (0, "unspec"),
                (1, "unicast"),
                (2, "local"),
                (3, "broadcast"),
                (4, "anycast"),
                (5, "multicast"),
                (6, "blackhole"),
                (7, "unreachable"),
                (8, "prohibit"),
            ],
            Self::Dscp => &[
                (0, "cs0"),
                (8, "cs1"),
                (16, "cs2"),
                (24, "cs3"),
                (32, "cs4"),
                (40, "cs5"),
                (48, "cs6"),
                (56, "cs7"),
                (0, "df"),
                (0, "be"),
                (1, "lephb"),
                (10, "af11"),
                (12, "af12"),
                (14, "af13"),
                (18, "af21"),
                (20, "af22"),
                (22, "af23"),
                (26, "af31"),
                (28, "af32"),
                (30, "af33"),
                (34, "af41"),
                (36, "af42"),
                (38, "af43"),
                (44, "va"),
                (46, "ef"),
            ],
            Self::Family => &[(2, "ipv4"), (10, "ipv6")],
            Self::EtherKind => {
                &[(0x0800, "ip"), (0x0806, "arp"), (0x86dd, "ip6"), (0x8100, "8021q"), (0x8100, "vlan")]
            }
            Self::Pkt => &[(0, "host"), (0, "unicast"), (1, "broadcast"), (2, "multicast"), (3, "other")],
            Self::LinkKind => {
                &[(1, "ether"), (512, "ppp"), (768, "ipip"), (772, "loopback"), (776, "sit"), (778, "ipgre")]
            }
            Self::ArpOp => &[
                (1, "request"),
                (2, "reply"),
                (3, "rrequest"),
                (4, "rreply"),
                (8, "inrequest"),
                (9, "inreply"),
                (10, "nak"),
            ],
            Self::Addr
            | Self::Addr6
            | Self::Ether
            | Self::Proto
            | Self::Port
            | Self::Mark
            | Self::LinkName
            | Self::Link
            | Self::Id
            | Self::Verdict
            | Self::Plain => &[],
        }
    }

    /// Reads one constant.
    pub(super) fn read(self, text: &str) -> Option<Value> {
        if let Some(name) = text.strip_prefix('"') {
            let name = name.strip_suffix('"')?;
            return matches!(self, Self::LinkName | Self::Link).then(|| Value::Name(name.into()));
        }
        if let Some((value, _)) = self.symbols().iter().find(|(_, name)| *name == text) {
            return Some(Value::Number(*value));
        }
        if self == Self::Proto
            && let Some(number) = protocol::number_of(text)
        {
            return Some(Value::Number(number.into()));
        }
        if let Some(value) = single(text) {
            return Some(value);
        }
        if let Some((first, last)) = text.split_once('-')
            && let (Some(first), Some(last)) = (single(first), single(last))
            && core::mem::discriminant(&first) == core::mem::discriminant(&last)
        {
            return Some(Value::Range(first.into(), last.into()));
        }
        if matches!(self, Self::Addr | Self::Addr6) && text.contains('/') {
            return text.parse().ok().map(Value::Prefix);
        }
        let symbol = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let named = matches!(self, Self::Port | Self::LinkName | Self::Link | Self::EtherKind);
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let ether = self == Self::Ether && text.parse::<crate::addr::MacAddr>().is_ok();
        (ether || (named && starts && text.chars().all(symbol))).then(|| Value::Name(text.into()))
    }

    /// Prints one constant.
    pub(super) fn print(self, value: &Value) -> String {
        match value {
            Value::Number(number) => self.print_number(*number),
            Value::Addr(addr) => addr.to_string(),
            Value::Prefix(net) => net.to_string(),
            Value::Range(first, last) => format!("{}-{}", self.print(first), self.print(last)),
            Value::Name(name) => {
                let bare =
                    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'));
                let bare = bare && !name.is_empty();
                let of_link = matches!(self, Self::Link | Self::LinkName);
                let said = self == Self::Link && matches!(&**name, "missing" | "exists");
                if said || (bare && !of_link) { name.to_string() } else { quoted(name) }
            }
        }
    }

    fn print_number(self, number: u64) -> String {
        if let Some((_, name)) = self.symbols().iter().find(|(value, _)| *value == number) {
            return (*name).into();
        }
        let protocol = || protocol::name_of(u8::try_from(number).ok()?);
        match self {
            Self::Proto => protocol().map_or_else(|| number.to_string(), Into::into),
            Self::Mark => format!("0x{number:08x}"),
            Self::Dscp | Self::TcpFlags | Self::State | Self::Status => format!("0x{number:02x}"),
            Self::EtherKind => format!("0x{number:04x}"),
            Self::Addr
            | Self::Addr6
            | Self::Ether
            | Self::Port
            | Self::LinkName
            | Self::Link
            | Self::Direction
            | Self::Icmp
            | Self::Icmpv6
            | Self::AddrKind
            | Self::Family
            | Self::Pkt
            | Self::LinkKind
            | Self::ArpOp
            | Self::Id
            | Self::Verdict
            | Self::Plain => number.to_string(),
        }
    }
}

/// A number or an address.
fn single(text: &str) -> Option<Value> {
    if let Some(value) = number(text) {
        return Some(Value::Number(value));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')).map(Value::Number);
    }
    text.parse().ok().map(Value::Addr)
}

/// A text between quotes. nft has no way to write a quote or the end of a line in it.
pub(super) fn quoted(text: &str) -> String {
    let inner: String = text.chars().filter(|c| *c != '"').map(crate::text::quoted::on_one_line).collect();
    format!("\"{inner}\"")
}

/// The types of an expression, one for each part.
pub(super) fn types_of(expr: &Expr) -> Vec<Type> {
    match expr {
        Expr::Concat(parts) => parts.iter().flat_map(types_of).collect(),
        Expr::Binary { left, .. } => types_of(left),
        Expr::Field(field) => Vec::from([type_of_field(*field)]),
        Expr::Meta(meta) => Vec::from([type_of_meta(*meta)]),
        Expr::Ct { key, .. } => Vec::from([type_of_ct(*key)]),
        Expr::Fib { result, .. } => Vec::from([match result {
            FibResult::Type => Type::AddrKind,
            FibResult::Oif | FibResult::Check => Type::Link,
            FibResult::Oifname => Type::LinkName,
        }]),
        Expr::Map { .. }
        | Expr::Numgen { .. }
        | Expr::Jhash { .. }
        | Expr::Value(_)
        | Expr::Elements(_)
        | Expr::Named(_)
        | Expr::Flags(_)
        | Expr::Other(_) => Vec::from([Type::Plain]),
    }
}

const fn type_of_field(field: Field) -> Type {
    match field {
        Field::IpSaddr | Field::IpDaddr | Field::ArpSaddrIp | Field::ArpDaddrIp => Type::Addr,
        Field::Ip6Saddr | Field::Ip6Daddr => Type::Addr6,
        Field::IpProtocol | Field::Ip6Nexthdr => Type::Proto,
        Field::IpDscp => Type::Dscp,
        Field::ThSport
        | Field::ThDport
        | Field::TcpSport
        | Field::TcpDport
        | Field::UdpSport
        | Field::UdpDport
        | Field::SctpSport
        | Field::SctpDport => Type::Port,
        Field::TcpFlags => Type::TcpFlags,
        Field::IcmpType => Type::Icmp,
        Field::Icmpv6Type => Type::Icmpv6,
        Field::EtherSaddr | Field::EtherDaddr => Type::Ether,
        Field::EtherType => Type::EtherKind,
        Field::ArpOperation => Type::ArpOp,
        Field::IpTtl
        | Field::IpLength
        | Field::IpId
        | Field::IpFragOff
        | Field::Ip6Hoplimit
        | Field::Ip6Length
        | Field::IcmpCode
        | Field::Icmpv6Code => Type::Plain,
    }
}

const fn type_of_meta(meta: Meta) -> Type {
    match meta {
        Meta::Mark => Type::Mark,
        Meta::Iif | Meta::Oif => Type::Link,
        Meta::Iifname | Meta::Oifname | Meta::Ibrname | Meta::Obrname => Type::LinkName,
        Meta::Iiftype | Meta::Oiftype => Type::LinkKind,
        Meta::L4proto => Type::Proto,
        Meta::Nfproto => Type::Family,
        Meta::Protocol => Type::EtherKind,
        Meta::Pkttype => Type::Pkt,
        Meta::Skuid | Meta::Skgid => Type::Id,
        Meta::Length | Meta::Priority | Meta::Cgroup | Meta::Time | Meta::Hour | Meta::Day => Type::Plain,
    }
}

const fn type_of_ct(key: CtKey) -> Type {
    match key {
        CtKey::State => Type::State,
        CtKey::Status => Type::Status,
        CtKey::Mark => Type::Mark,
        CtKey::Direction => Type::Direction,
        CtKey::L3proto => Type::Family,
        CtKey::Protocol => Type::Proto,
        CtKey::IpSaddr | CtKey::IpDaddr => Type::Addr,
        CtKey::Ip6Saddr | CtKey::Ip6Daddr => Type::Addr6,
        CtKey::ProtoSrc | CtKey::ProtoDst => Type::Port,
        CtKey::Expiration
        | CtKey::Helper
        | CtKey::Zone
        | CtKey::Id
        | CtKey::Count
        | CtKey::Packets
        | CtKey::Bytes
        | CtKey::Avgpkt => Type::Plain,
    }
}

/// Milliseconds as nft writes them: `1h30m`, `5s828ms`.
pub(super) fn duration(ms: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let (mut rest, mut out) = (ms, String::new());
    for (unit, size) in units {
        if rest >= size {
            out.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if out.is_empty() { "0s".into() } else { out }
}

/// Reads it; a bare number is seconds.
pub(super) fn read_duration(text: &str) -> Option<u64> {
    if let Some(secs) = number::<u64>(text) {
        return secs.checked_mul(1000);
    }
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (amount, after) = (number::<u64>(rest.get(..digits)?)?, rest.get(digits..)?);
        let units = [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let (unit, size) = units.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        total = total.checked_add(amount.checked_mul(size)?)?;
        rest = after.get(unit.len()..)?;
    }
    Some(total)
}
