//! IP address management: who gets which range, address and port.
//!
//! Four allocators, each as the program that it is named after does it, each usable alone:
//!
//! | allocator | gives | as |
//! |---|---|---|
//! | [`CidrSet`] | a pod range to each node | kube-controller-manager, `pkg/controller/nodeipam/ipam/cidrset` |
//! | [`HostLocal`] | an address to each pod of a node | CNI plugin `host-local`, `backend/allocator` |
//! | [`ClusterIps`] | a virtual address to each Service | kube-apiserver, `pkg/registry/core/service/ipallocator` |
//! | [`NodePorts`] | a port on every node | kube-apiserver, `pkg/registry/core/service/portallocator` |
//!
//! In: a pool and requests. Out: an address, or an [`IpamError`] that says which pool is full or who holds the address.
//! No address is given twice. Where the original starts at a random place, the start is an argument here, so that
//! the answer is a function of the input.
//!
//! Cost: what is held is a set of bits in pages ([`Held`]), so finding, taking and giving back an address is
//! O(log(pool/4096)) and touches a few machine words, however full the pool is; memory is at most one bit per address
//! plus a constant per touched page, nothing for untouched and wholly taken pages. An IPv6 /64 costs what is used of it.
//!
//! ```
//! use kubenet_core::ipam::{CidrSet, HostLocal, Range};
//!
//! let mut nodes = CidrSet::new("10.244.0.0/16".parse()?, 24)?;
//! let node_range = nodes.allocate_next()?;
//! assert_eq!(node_range.to_string(), "10.244.0.0/24");
//!
//! let mut pods = HostLocal::new([[Range::new(node_range)?]]);
//! let given = pods.allocate("shop/cart-0", "eth0")?;
//! assert_eq!(given[0].addr.to_string(), "10.244.0.2/24");
//! assert_eq!(given[0].gateway.to_string(), "10.244.0.1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod band;
mod cidr_set;
mod cluster_ip;
mod held;
mod host_local;
mod node_port;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

pub use self::band::{cluster_ip_band, node_port_band};
pub use self::cidr_set::CidrSet;
pub use self::cluster_ip::ClusterIps;
pub use self::held::Held;
pub use self::host_local::{Allocated, HostLocal, Range};
pub use self::node_port::{NodePortWish, NodePorts};

use crate::addr::Family;

/// Why there is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[non_exhaustive]
pub enum IpamError {
    /// Nothing is free.
    #[error("pool {pool} is full: all {size} of it are held")]
    Exhausted {
        /// The pool; the first one where there are several.
        pool: IpNet,
        /// How many addresses (or blocks) it has to give.
        size: u128,
    },
    /// No port is free.
    #[error("port range {first}-{last} is full")]
    PortsExhausted {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// Somebody else has it.
    #[error("{addr} is already held by {holder}")]
    Held {
        /// The address.
        addr: IpAddr,
        /// Who has it.
        holder: Arc<str>,
    },
    /// It was given before, to a Service that the allocator does not know by name.
    #[error("{addr} is already allocated")]
    Taken {
        /// The address.
        addr: IpAddr,
    },
    /// The port was given before.
    #[error("port {port} is already allocated")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The same interface asks twice.
    #[error("{holder} already has {addr}; release it first")]
    Again {
        /// The container and its interface.
        holder: Arc<str>,
        /// What it has.
        addr: IpAddr,
    },
    /// It is not in the pool.
    #[error("{net} is outside of {pool}")]
    Outside {
        /// What was asked for.
        net: IpNet,
        /// The pool.
        pool: IpNet,
    },
    /// The port is not in the range.
    #[error("port {port} is outside of {first}-{last}")]
    PortOutside {
        /// What was asked for.
        port: u16,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// It is the network's, the gateway's or the broadcast address.
    #[error("{addr} is the {role} address of {pool} and never given out")]
    Reserved {
        /// The address.
        addr: IpAddr,
        /// `network`, `gateway` or `broadcast`.
        role: &'static str,
        /// The pool.
        pool: IpNet,
    },
    /// A subnet without room for hosts, or a Service range of fewer than 8 addresses.
    #[error("{pool} is too small: it needs a prefix of at most /{longest}")]
    TooSmall {
        /// The pool.
        pool: IpNet,
        /// The longest prefix that would do.
        longest: u8,
    },
    /// An IPv6 Service range with a prefix shorter than 64 bits.
    #[error("{pool} is too large: it needs a prefix of at least /{shortest}")]
    TooLarge {
        /// The pool.
        pool: IpNet,
        /// The shortest prefix that would do.
        shortest: u8,
    },
    /// A node's range cannot be larger than the cluster's, nor longer than an address.
    #[error("{cluster} cannot be cut into blocks of /{mask}")]
    Mask {
        /// The cluster's range.
        cluster: IpNet,
        /// The blocks' prefix length.
        mask: u8,
    },
    /// For IPv6 the two prefixes may differ by 16 at most.
    #[error("{cluster} has too many blocks of /{mask}: at most 16 bits may lie between the two prefixes")]
    TooManyBlocks {
        /// The cluster's range.
        cluster: IpNet,
        /// The blocks' prefix length.
        mask: u8,
    },
    /// The range ends before it starts.
    #[error("range {start}-{end} ends before it starts")]
    Backwards {
        /// First address.
        start: IpAddr,
        /// Last address.
        end: IpAddr,
    },
}

/// An address as a number.
pub(crate) const fn to_number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => a.to_bits() as u128,
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// The address with this number; bits that IPv4 lacks are cut off.
pub(crate) const fn from_number(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

/// First and last number of a prefix.
pub(crate) fn bounds(net: IpNet) -> (u128, u128) {
    (to_number(net.network()), to_number(net.broadcast()))
}

/// The one-address prefix of an address.
pub(crate) fn host(addr: IpAddr) -> IpNet {
    IpNet::from(addr)
}
