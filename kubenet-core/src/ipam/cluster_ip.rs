//! Service addresses, as kube-apiserver gives them.
//!
//! In: a Service range. Out: addresses. Usable are all but network and broadcast address in IPv4 and all but the first in
//! IPv6. A Service that does not name an address gets one of the dynamic band (see [`cluster_ip_band`]); only when that is
//! full, one of the static band. `kubernetes.default` has the first usable address.
//! Source: `pkg/registry/core/service/ipallocator`, v1.36; KEP-3070, KEP-1880.

use core::net::IpAddr;

use super::{Family, Held, IpNet, IpamError, band, bounds, cluster_ip_band, from_number, host, to_number};

/// Gives out the addresses of one Service range. A dual-stack cluster has one per family.
///
/// Every operation: O(log(size/4096)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIps {
    net: IpNet,
    size: u64,
    band: u64,
    held: Held,
}

impl ClusterIps {
    /// An allocator without held addresses. Host bits of `net` are cut off.
    ///
    /// # Errors
    ///
    /// [`IpamError::TooSmall`] below 8 addresses, [`IpamError::TooLarge`] for IPv6 with a prefix shorter than /64.
    pub fn new(net: IpNet) -> Result<Self, IpamError> {
        let pool = net.trunc();
        let longest = pool.max_prefix_len() - 3;
        if pool.prefix_len() > longest {
            return Err(IpamError::TooSmall { pool, longest });
        }
        if Family::of_net(pool) == Family::V6 && pool.prefix_len() < 64 {
            return Err(IpamError::TooLarge { pool, shortest: 64 });
        }
        let (first, last) = bounds(pool);
        let all = (last - first).saturating_add(1).min(i64::MAX as u128) as u64;
        let size = match pool {
            IpNet::V4(_) => all - 2,
            IpNet::V6(_) => all - 1,
        };
        Ok(Self { net: pool, size, band: cluster_ip_band(pool), held: Held::new() })
    }

    /// The range.
    pub const fn net(&self) -> IpNet {
        self.net
    }

    /// How many addresses it can give.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// How many addresses are held.
    pub const fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// The first usable address, that of Service `default/kubernetes`.
    pub fn first(&self) -> IpAddr {
        self.addr(0)
    }

    /// Takes a free address: of the dynamic band from `seed` (modulo its size) on and around, else of the static band.
    ///
    /// # Errors
    ///
    /// [`IpamError::Exhausted`].
    pub fn allocate_next(&mut self, seed: u64) -> Result<IpAddr, IpamError> {
        let index = band::allocate(&mut self.held, self.band, self.size, seed)
            .ok_or(IpamError::Exhausted { pool: self.net, size: self.size.into() })?;
        Ok(self.addr(index))
    }

    /// Takes the address that a Service names, in either band.
    ///
    /// # Errors
    ///
    /// [`IpamError::Outside`], [`IpamError::Reserved`] for network and broadcast address, [`IpamError::Taken`].
    pub fn allocate(&mut self, addr: IpAddr) -> Result<(), IpamError> {
        let index = self.index(addr)?;
        if self.held.insert(index) { Ok(()) } else { Err(IpamError::Taken { addr }) }
    }

    /// Gives an address back; false when it was not held.
    pub fn release(&mut self, addr: IpAddr) -> bool {
        self.index(addr).is_ok_and(|index| self.held.remove(index))
    }

    /// Whether an address is held.
    pub fn is_held(&self, addr: IpAddr) -> bool {
        self.index(addr).is_ok_and(|index| self.held.contains(index))
    }

    fn addr(&self, index: u64) -> IpAddr {
        from_number(Family::of_net(self.net), bounds(self.net).0 + 1 + u128::from(index))
    }

    fn index(&self, addr: IpAddr) -> Result<u128, IpamError> {
        if !self.net.contains(&addr) {
            return Err(IpamError::Outside { net: host(addr), pool: self.net });
        }
        let offset = to_number(addr) - bounds(self.net).0;
        let role = if offset == 0 { "network" } else { "broadcast" };
        match offset.checked_sub(1) {
            Some(index) if index < self.size.into() => Ok(index),
            _ => Err(IpamError::Reserved { addr, role, pool: self.net }),
        }
    }
}
