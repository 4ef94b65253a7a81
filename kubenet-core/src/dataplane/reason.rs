//! Why a packet was dropped, in the kernel's words.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($(#[doc = $doc:literal] $variant:ident = $name:literal,)*) => {
        /// The kernel's `enum skb_drop_reason` (include/net/dropreason-core.h, Linux 6.18), as far as the model
        /// drops; `SKB_DROP_REASON_` stands before each name there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum DropReason {
            $(#[doc = $doc] #[serde(rename = $name)] $variant,)*
        }

        impl DropReason {
            /// The kernel's name without its prefix.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in a few words.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }.trim_ascii()
            }
        }
    };
}

reasons! {
    /// the kernel gives no reason here
    NotSpecified = "NOT_SPECIFIED",
    /// no socket for the packet
    NoSocket = "NO_SOCKET",
    /// the packet is shorter than its headers say
    PktTooSmall = "PKT_TOO_SMALL",
    /// the TCP checksum is wrong
    TcpCsum = "TCP_CSUM",
    /// the UDP checksum is wrong
    UdpCsum = "UDP_CSUM",
    /// an ICMP checksum is wrong
    IcmpCsum = "ICMP_CSUM",
    /// a netfilter rule dropped it
    NetfilterDrop = "NETFILTER_DROP",
    /// the frame is addressed to another station
    OtherHost = "OTHERHOST",
    /// the IPv4 header checksum is wrong
    IpCsum = "IP_CSUM",
    /// the IP header is wrong, or its TTL ran out
    IpInhdr = "IP_INHDR",
    /// the source would not be reached by the link it came in by
    IpRpfilter = "IP_RPFILTER",
    /// a unicast packet in a multicast or broadcast frame
    UnicastInL2Multicast = "UNICAST_IN_L2_MULTICAST",
    /// no route for a packet of this machine
    IpOutNoRoutes = "IP_OUTNOROUTES",
    /// no route for a packet that came in
    IpInNoRoutes = "IP_INNOROUTES",
    /// the destination is not of this machine, and it does not forward
    IpInAddrErrors = "IP_INADDRERRORS",
    /// the source is an address of this machine
    IpLocalSource = "IP_LOCAL_SOURCE",
    /// the source is not a unicast address
    IpInvalidSource = "IP_INVALID_SOURCE",
    /// a loopback address came from outside
    IpLocalnet = "IP_LOCALNET",
    /// the destination is not valid here
    IpInvalidDest = "IP_INVALID_DEST",
    /// nobody answered for the next hop
    NeighFailed = "NEIGH_FAILED",
    /// too many packets wait for the next hop
    NeighQueueFull = "NEIGH_QUEUEFULL",
    /// The neighbour table is full.
    NeighCreateFail = "NEIGH_CREATEFAIL",
    /// the link is down
    DevReady = "DEV_READY",
    /// larger than the next link's MTU, and it must not be fragmented
    PktTooBig = "PKT_TOO_BIG",
    /// fragments did not all arrive in time
    FragReasmTimeout = "FRAG_REASM_TIMEOUT",
    /// a fragment overlaps another
    DupFrag = "DUP_FRAG",
    /// IPv6 is switched off
    Ipv6Disabled = "IPV6DISABLED",
    /// the transport protocol is not known
    IpNoProto = "IP_NOPROTO",
    /// the bridge has no other port for it
    BridgeNoEgressPort = "BRIDGE_NO_EGRESS_PORT",
    /// the source MAC is not valid
    MacInvalidSource = "MAC_INVALID_SOURCE",
    /// the VXLAN header is wrong
    VxlanInvalidHdr = "VXLAN_INVALID_HDR",
    /// no VXLAN device for this VNI
    VxlanVniNotFound = "VXLAN_VNI_NOT_FOUND",
    /// the VXLAN device knows no machine for this MAC
    VxlanNoRemote = "VXLAN_NO_REMOTE",
    /// the tunnel would go through itself
    RecursionLimit = "RECURSION_LIMIT",
    /// the kernel's protocol handler does not know this EtherType
    UnhandledProto = "UNHANDLED_PROTO",
    /// a TCP segment that fits no connection
    TcpInvalidSequence = "TCP_INVALID_SEQUENCE",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
