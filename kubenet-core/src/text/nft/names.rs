//! The words of fields and keys.

use crate::plan::nft::{CtKey, FibKey, FibResult, Field, Meta};

/// Protocol, field and what it is.
pub(super) const FIELDS: [(&str, &str, Field); 32] = [
    ("ip", "saddr", Field::IpSaddr),
    ("ip", "daddr", Field::IpDaddr),
    ("ip", "protocol", Field::IpProtocol),
    ("ip", "ttl", Field::IpTtl),
    ("ip", "length", Field::IpLength),
    ("ip", "id", Field::IpId),
    ("ip", "dscp", Field::IpDscp),
    ("ip", "frag-off", Field::IpFragOff),
    ("ip6", "saddr", Field::Ip6Saddr),
    ("ip6", "daddr", Field::Ip6Daddr),
    ("ip6", "nexthdr", Field::Ip6Nexthdr),
    ("ip6", "hoplimit", Field::Ip6Hoplimit),
    ("ip6", "length", Field::Ip6Length),
    ("th", "sport", Field::ThSport),
    ("th", "dport", Field::ThDport),
    ("tcp", "sport", Field::TcpSport),
    ("tcp", "dport", Field::TcpDport),
    ("tcp", "flags", Field::TcpFlags),
    ("udp", "sport", Field::UdpSport),
    ("udp", "dport", Field::UdpDport),
    ("sctp", "sport", Field::SctpSport),
    ("sctp", "dport", Field::SctpDport),
    ("icmp", "type", Field::IcmpType),
    ("icmp", "code", Field::IcmpCode),
    ("icmpv6", "type", Field::Icmpv6Type),
    ("icmpv6", "code", Field::Icmpv6Code),
    ("ether", "saddr", Field::EtherSaddr),
    ("ether", "daddr", Field::EtherDaddr),
    ("ether", "type", Field::EtherType),
    ("arp", "operation", Field::ArpOperation),
    ("arp", "saddr ip", Field::ArpSaddrIp),
    ("arp", "daddr ip", Field::ArpDaddrIp),
];

/// Keys of `meta`, and whether they are printed without the word.
pub(super) const METAS: [(&str, Meta, bool); 21] = [
    ("mark", Meta::Mark, false),
    ("iif", Meta::Iif, true),
    ("oif", Meta::Oif, true),
    ("iifname", Meta::Iifname, true),
    ("oifname", Meta::Oifname, true),
    ("iiftype", Meta::Iiftype, false),
    ("oiftype", Meta::Oiftype, false),
    ("l4proto", Meta::L4proto, false),
    ("nfproto", Meta::Nfproto, false),
    ("protocol", Meta::Protocol, false),
    ("length", Meta::Length, false),
    ("pkttype", Meta::Pkttype, false),
    ("priority", Meta::Priority, false),
    ("skuid", Meta::Skuid, false),
    ("skgid", Meta::Skgid, false),
    ("cgroup", Meta::Cgroup, false),
    ("ibrname", Meta::Ibrname, false),
    ("obrname", Meta::Obrname, false),
    ("time", Meta::Time, false),
    ("hour", Meta::Hour, false),
    ("day", Meta::Day, false),
];

/// Keys of `ct`.
pub(super) const CTS: [(&str, CtKey); 20] = [
    ("state", CtKey::State),
    ("status", CtKey::Status),
    ("mark", CtKey::Mark),
    ("direction", CtKey::Direction),
    ("expiration", CtKey::Expiration),
    ("helper", CtKey::Helper),
    ("l3proto", CtKey::L3proto),
    ("protocol", CtKey::Protocol),
    ("ip saddr", CtKey::IpSaddr),
    ("ip daddr", CtKey::IpDaddr),
    ("ip6 saddr", CtKey::Ip6Saddr),
    ("ip6 daddr", CtKey::Ip6Daddr),
    ("proto-src", CtKey::ProtoSrc),
    ("proto-dst", CtKey::ProtoDst),
    ("zone", CtKey::Zone),
    ("id", CtKey::Id),
    ("count", CtKey::Count),
    ("packets", CtKey::Packets),
    ("bytes", CtKey::Bytes),
    ("avgpkt", CtKey::Avgpkt),
];

/// What `fib` looks up by.
pub(super) const FIB_KEYS: [(&str, FibKey); 5] = [
    ("saddr", FibKey::Saddr),
    ("daddr", FibKey::Daddr),
    ("mark", FibKey::Mark),
    ("iif", FibKey::Iif),
    ("oif", FibKey::Oif),
];

/// What `fib` gives.
pub(super) const FIB_RESULTS: [(&str, FibResult); 4] = [
    ("type", FibResult::Type),
    ("oif", FibResult::Oif),
    ("oifname", FibResult::Oifname),
    ("check", FibResult::Check),
];
