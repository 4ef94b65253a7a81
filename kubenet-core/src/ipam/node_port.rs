//! Node ports, as kube-apiserver gives them.
//!
//! In: a port range (30000–32767 unless said otherwise). Out: ports. A port that a Service names may be anywhere in the
//! range; others come from the dynamic band (30086–32767) and, when that is full, from the static one.
//! Source: `pkg/registry/core/service/portallocator` and `storage/alloc.go`, v1.36; KEP-3668.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::{Held, IpamError, band, node_port_band};
use crate::addr::Protocol;

/// Gives out node ports. Every operation is O(1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePorts {
    first: u16,
    last: u16,
    held: Held,
}

/// One port of a Service as its author wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePortWish {
    /// Its transport.
    pub protocol: Protocol,
    /// The Service's port.
    pub port: u16,
    /// The node port that is asked for.
    pub node_port: Option<u16>,
}

impl Default for NodePorts {
    fn default() -> Self {
        Self::new(30000..=32767)
    }
}

impl NodePorts {
    /// An allocator without held ports. An empty range gives nothing.
    pub const fn new(range: RangeInclusive<u16>) -> Self {
        Self { first: *range.start(), last: *range.end(), held: Held::new() }
    }

    /// How many ports it can give.
    pub fn size(&self) -> u64 {
        (u64::from(self.last) + 1).saturating_sub(self.first.into())
    }

    /// Takes a free port: of the dynamic band from `seed` (modulo its size) on and around, else of the static band.
    ///
    /// # Errors
    ///
    /// [`IpamError::PortsExhausted`].
    pub fn allocate_next(&mut self, seed: u64) -> Result<u16, IpamError> {
        let size = self.size();
        band::allocate(&mut self.held, node_port_band(size), size, seed)
            .and_then(|index| u16::try_from(index).ok()?.checked_add(self.first))
            .ok_or(IpamError::PortsExhausted { first: self.first, last: self.last })
    }

    /// Takes a port by its number.
    ///
    /// # Errors
    ///
    /// [`IpamError::PortOutside`], [`IpamError::PortTaken`].
    pub fn allocate(&mut self, port: u16) -> Result<(), IpamError> {
        let index = self.index(port)?;
        if self.held.insert(index) { Ok(()) } else { Err(IpamError::PortTaken { port }) }
    }

    /// Takes the node ports of one Service, all or none.
    ///
    /// Ports that ask for the same number with different protocols share it, and a port that asks for none gets that of
    /// another port of the Service with the same `port` and another protocol (`initNodePorts`).
    ///
    /// # Errors
    ///
    /// As [`NodePorts::allocate`] and [`NodePorts::allocate_next`].
    pub fn allocate_service(&mut self, ports: &[NodePortWish], seed: u64) -> Result<Vec<u16>, IpamError> {
        let mut mine: Vec<u16> = Vec::new();
        let given = self.take_service(ports, seed, &mut mine);
        if given.is_err() {
            for port in mine {
                self.release(port);
            }
        }
        given
    }

    /// Gives a port back; false when it was not held.
    pub fn release(&mut self, port: u16) -> bool {
        self.index(port).is_ok_and(|index| self.held.remove(index))
    }

    /// Whether a port is held.
    pub fn is_held(&self, port: u16) -> bool {
        self.index(port).is_ok_and(|index| self.held.contains(index))
    }

    fn take_service(
        &mut self,
        ports: &[NodePortWish],
        seed: u64,
        mine: &mut Vec<u16>,
    ) -> Result<Vec<u16>, IpamError> {
        let mut given: Vec<(NodePortWish, u16)> = Vec::with_capacity(ports.len());
        for wish in ports {
            let sibling = |other: &NodePortWish| other.port == wish.port && other.protocol != wish.protocol;
            let wanted = wish
                .node_port
                .or_else(|| given.iter().find(|(other, _)| sibling(other)).map(|(_, port)| *port))
                .or_else(|| ports.iter().filter(|other| sibling(other)).find_map(|other| other.node_port));
            let port = match wanted {
                Some(port) => {
                    let shared = given.iter().any(|(o, p)| *p == port && o.protocol != wish.protocol);
                    let clash = given.iter().any(|(o, p)| *p == port && o.protocol == wish.protocol);
                    if clash || !shared {
                        self.allocate(port)?;
                        mine.push(port);
                    }
                    port
                }
                None => {
                    let port = self.allocate_next(seed)?;
                    mine.push(port);
                    port
                }
            };
            given.push((*wish, port));
        }
        Ok(given.into_iter().map(|(_, port)| port).collect())
    }

    fn index(&self, port: u16) -> Result<u128, IpamError> {
        let outside = IpamError::PortOutside { port, first: self.first, last: self.last };
        if port > self.last {
            return Err(outside);
        }
        port.checked_sub(self.first).map(u128::from).ok_or(outside)
    }
}
