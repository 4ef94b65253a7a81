//! Node pod ranges, as kube-controller-manager's range allocator cuts them from the cluster's.
//!
//! In: the cluster's range and the blocks' prefix length. Out: blocks, in order, each once.
//!
//! Block `i` is the base with `i` shifted left by (address length − mask). The next candidate moves upward and wraps, so
//! a released block is not used again before the pointer comes round. What overlaps the Service range is marked
//! before the first block is given (`filterOutServiceRange`).
//! Source: `pkg/controller/nodeipam/ipam/{range_allocator.go,cidrset/cidr_set.go}`, v1.36.

use super::{Family, Held, IpNet, IpamError, bounds, from_number};

/// Cuts one cluster range into equal blocks. A dual-stack cluster has one per family.
///
/// Allocate, occupy and release one block: O(log(blocks/4096)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrSet {
    cluster: IpNet,
    mask: u8,
    count: u64,
    next: u64,
    held: Held,
}

impl CidrSet {
    /// The largest distance of the two prefixes for IPv6 (`clusterSubnetMaxDiff`).
    pub const IPV6_MAX_DIFFERENCE: u8 = 16;

    /// A set without held blocks. Host bits of `cluster` are cut off.
    ///
    /// # Errors
    ///
    /// [`IpamError::Mask`] when the mask is shorter than the cluster's prefix or longer than an address,
    /// [`IpamError::TooManyBlocks`] for IPv6 with more than 16 bits between the two.
    pub fn new(cluster: IpNet, mask: u8) -> Result<Self, IpamError> {
        let cluster = cluster.trunc();
        if mask < cluster.prefix_len() || mask > cluster.max_prefix_len() {
            return Err(IpamError::Mask { cluster, mask });
        }
        let difference = mask - cluster.prefix_len();
        if Family::of_net(cluster) == Family::V6 && difference > Self::IPV6_MAX_DIFFERENCE {
            return Err(IpamError::TooManyBlocks { cluster, mask });
        }
        Ok(Self { cluster, mask, count: 1 << difference, next: 0, held: Held::new() })
    }

    /// The cluster's range.
    pub const fn cluster(&self) -> IpNet {
        self.cluster
    }

    /// The blocks' prefix length.
    pub const fn mask(&self) -> u8 {
        self.mask
    }

    /// How many blocks there are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many blocks are held.
    pub const fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// Block number `index`; `None` past the last.
    pub fn block(&self, index: u64) -> Option<IpNet> {
        if index >= self.count {
            return None;
        }
        let (base, _) = bounds(self.cluster);
        let number = base | u128::from(index).checked_shl(self.host_bits()).unwrap_or(0);
        IpNet::new(from_number(Family::of_net(self.cluster), number), self.mask).ok()
    }

    /// The number of the block that a prefix begins in.
    ///
    /// # Errors
    ///
    /// [`IpamError::Outside`] when it begins outside of the cluster's range.
    pub fn index_of(&self, net: IpNet) -> Result<u64, IpamError> {
        if !self.cluster.contains(&net.addr()) {
            return Err(IpamError::Outside { net, pool: self.cluster });
        }
        Ok(self.index_of_number(bounds(net).0))
    }

    /// Takes the next free block.
    ///
    /// # Errors
    ///
    /// [`IpamError::Exhausted`] when every block is held (the node stays without a range: event `CIDRNotAvailable`).
    pub fn allocate_next(&mut self) -> Result<IpNet, IpamError> {
        let full = IpamError::Exhausted { pool: self.cluster, size: self.count.into() };
        let last = u128::from(self.count - 1);
        let index = self.held.next_free_around(self.next.into(), 0, last).ok_or_else(|| full.clone())? as u64;
        let block = self.block(index).ok_or(full)?;
        self.held.insert(index.into());
        self.next = (index + 1) % self.count;
        Ok(block)
    }

    /// Takes the first free block from number `index` (modulo the count) on and around, and leaves the pointer behind it.
    /// The original has no such call: it is for blocks that follow from a node's name instead of its age.
    ///
    /// # Errors
    ///
    /// [`IpamError::Exhausted`].
    pub fn allocate_from(&mut self, index: u64) -> Result<IpNet, IpamError> {
        self.next = index % self.count;
        self.allocate_next()
    }

    /// Marks every block that a prefix overlaps, whether it was held or not. The pointer stays where it is.
    ///
    /// # Errors
    ///
    /// [`IpamError::Outside`] when it overlaps none.
    pub fn occupy(&mut self, net: IpNet) -> Result<(), IpamError> {
        let (first, last) = self.overlapped(net)?;
        self.held.insert_range(first.into(), last.into());
        Ok(())
    }

    /// Gives back every block that a prefix overlaps.
    ///
    /// # Errors
    ///
    /// [`IpamError::Outside`] when it overlaps none.
    pub fn release(&mut self, net: IpNet) -> Result<(), IpamError> {
        let (first, last) = self.overlapped(net)?;
        for index in first..=last {
            self.held.remove(index.into());
        }
        Ok(())
    }

    /// Whether the block that a prefix begins in is held.
    pub fn is_held(&self, net: IpNet) -> bool {
        self.index_of(net).is_ok_and(|index| self.held.contains(index.into()))
    }

    fn overlapped(&self, net: IpNet) -> Result<(u64, u64), IpamError> {
        let outside = IpamError::Outside { net, pool: self.cluster };
        if Family::of_net(net) != Family::of_net(self.cluster) {
            return Err(outside);
        }
        let ((low, high), (first, last)) = (bounds(self.cluster), bounds(net));
        if last < low || first > high {
            return Err(outside);
        }
        Ok((self.index_of_number(first.max(low)), self.index_of_number(last.min(high))))
    }

    fn index_of_number(&self, number: u128) -> u64 {
        let offset = number - bounds(self.cluster).0;
        offset.checked_shr(self.host_bits()).unwrap_or(0) as u64
    }

    const fn host_bits(&self) -> u32 {
        match self.cluster {
            IpNet::V4(_) => 32 - self.mask as u32,
            IpNet::V6(_) => 128 - self.mask as u32,
        }
    }
}
