//! Pod addresses, as the CNI plugin `host-local` gives them.
//!
//! In: range sets, one per family (each with one range or more), and requests by container id and interface. Out: one
//! address of every set. The search starts behind the last address that was given (`last_reserved_ip.<n>`), goes to the
//! end of the range, on through the set's other ranges and around, and skips the gateway; a released address is
//! therefore used again only after the pointer has come round.
//! Source: containernetworking/plugins `plugins/ipam/host-local/backend/allocator/{range,allocator}.go`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use smallvec::SmallVec;

use super::{Family, Held, IpNet, IpamError, bounds, from_number, host, to_number};

/// A part of a subnet that addresses are given from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    subnet: IpNet,
    start: u128,
    end: u128,
    gateway: IpAddr,
}

impl Range {
    /// The whole subnet: from the first host to the last, the first being the gateway. In IPv4 the last host is the one
    /// before the broadcast address, in IPv6 the all-ones address. Host bits of `subnet` are cut off.
    ///
    /// # Errors
    ///
    /// [`IpamError::TooSmall`] for /31 and /32 (/127 and /128).
    pub fn new(subnet: IpNet) -> Result<Self, IpamError> {
        let subnet = subnet.trunc();
        let longest = subnet.max_prefix_len() - 2;
        if subnet.prefix_len() > longest {
            return Err(IpamError::TooSmall { pool: subnet, longest });
        }
        let (network, last) = bounds(subnet);
        let end = match subnet {
            IpNet::V4(_) => last - 1,
            IpNet::V6(_) => last,
        };
        let gateway = from_number(Family::of_net(subnet), network + 1);
        Ok(Self { subnet, start: network + 1, end, gateway })
    }

    /// Narrows the range to `start..=end` (`rangeStart`, `rangeEnd`).
    ///
    /// # Errors
    ///
    /// [`IpamError::Outside`] of the subnet, [`IpamError::Reserved`] for its network or broadcast address,
    /// [`IpamError::Backwards`].
    pub fn between(mut self, start: IpAddr, end: IpAddr) -> Result<Self, IpamError> {
        for addr in [start, end] {
            if !self.subnet.contains(&addr) {
                return Err(IpamError::Outside { net: host(addr), pool: self.subnet });
            }
            if let Some(role) = self.reserved(addr).filter(|role| *role != "gateway") {
                return Err(IpamError::Reserved { addr, role, pool: self.subnet });
            }
        }
        (self.start, self.end) = (to_number(start), to_number(end));
        if self.start > self.end { Err(IpamError::Backwards { start, end }) } else { Ok(self) }
    }

    /// Says which address is the gateway. It may lie outside of the range.
    #[must_use]
    pub fn with_gateway(mut self, gateway: IpAddr) -> Self {
        self.gateway = gateway;
        self
    }

    /// The subnet.
    pub const fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// The gateway.
    pub const fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Whether an address lies in the range.
    pub fn contains(&self, addr: IpAddr) -> bool {
        Family::of(addr) == Family::of_net(self.subnet) && (self.start..=self.end).contains(&to_number(addr))
    }

    /// How many addresses it can give.
    pub fn size(&self) -> u128 {
        self.end - self.start + u128::from(!self.contains(self.gateway))
    }

    fn reserved(&self, addr: IpAddr) -> Option<&'static str> {
        let (network, last) = bounds(self.subnet);
        let number = to_number(addr);
        match self.subnet {
            _ if addr == self.gateway => Some("gateway"),
            _ if number == network => Some("network"),
            IpNet::V4(_) if number == last => Some("broadcast"),
            IpNet::V4(_) | IpNet::V6(_) => None,
        }
    }
}

/// What a pod's interface got from one range set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// The address with its subnet's prefix length.
    pub addr: IpNet,
    /// The subnet's gateway.
    pub gateway: IpAddr,
}

/// Gives out the addresses of one node. Every operation: O(log n) in the addresses that are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLocal {
    sets: Vec<RangeSet>,
    holders: BTreeMap<IpAddr, Arc<str>>,
    by_holder: BTreeMap<Arc<str>, SmallVec<[IpAddr; 2]>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RangeSet {
    ranges: Vec<(Range, Held)>,
    last_reserved: Option<IpAddr>,
}

impl HostLocal {
    /// An allocator with these range sets; a pod gets one address of each.
    pub fn new(sets: impl IntoIterator<Item = impl IntoIterator<Item = Range>>) -> Self {
        let sets = sets
            .into_iter()
            .map(|ranges| RangeSet {
                ranges: ranges.into_iter().map(|range| (range, Held::new())).collect(),
                last_reserved: None,
            })
            .collect();
        Self { sets, holders: BTreeMap::new(), by_holder: BTreeMap::new() }
    }

    /// Gives an interface one address of every set, or of none when one is full.
    ///
    /// # Errors
    ///
    /// [`IpamError::Again`] when the interface has an address already, [`IpamError::Exhausted`].
    pub fn allocate(&mut self, id: &str, ifname: &str) -> Result<SmallVec<[Allocated; 2]>, IpamError> {
        let holder = holder(id, ifname);
        if let Some(&addr) = self.by_holder.get(&holder).and_then(|held| held.first()) {
            return Err(IpamError::Again { holder, addr });
        }
        let mut given = SmallVec::new();
        for set in 0..self.sets.len() {
            match self.sets.get_mut(set).map(RangeSet::take_next) {
                Some(Ok(one)) => {
                    self.note(&holder, one.addr.addr());
                    given.push(one);
                }
                Some(Err(error)) => {
                    self.release(id, ifname);
                    return Err(error);
                }
                None => {}
            }
        }
        Ok(given)
    }

    /// Gives an interface the very address that it asks for.
    ///
    /// # Errors
    ///
    /// [`IpamError::Held`], [`IpamError::Again`], [`IpamError::Reserved`], [`IpamError::Outside`] of every range.
    pub fn allocate_addr(&mut self, id: &str, ifname: &str, addr: IpAddr) -> Result<Allocated, IpamError> {
        let mut outside = IpamError::Outside { net: host(addr), pool: host(addr) };
        let mine = self.by_holder.get(&holder(id, ifname)).cloned().unwrap_or_default();
        for set in &mut self.sets {
            for (range, held) in &mut set.ranges {
                if !range.contains(addr) {
                    outside = IpamError::Outside { net: host(addr), pool: range.subnet };
                    continue;
                }
                if let Some(role) = range.reserved(addr) {
                    return Err(IpamError::Reserved { addr, role, pool: range.subnet });
                }
                if let Some(&addr) = mine.iter().find(|held| range.contains(**held)) {
                    return Err(IpamError::Again { holder: holder(id, ifname), addr });
                }
                if !held.insert(to_number(addr) - range.start) {
                    let holder = self.holders.get(&addr).cloned().unwrap_or_else(|| Arc::from("nobody"));
                    return Err(IpamError::Held { addr, holder });
                }
                set.last_reserved = Some(addr);
                let given = range.given(addr);
                self.note(&holder(id, ifname), addr);
                return Ok(given);
            }
        }
        Err(outside)
    }

    /// Takes back what an interface has, and says what it was. The pointers stay where they are.
    pub fn release(&mut self, id: &str, ifname: &str) -> SmallVec<[IpAddr; 2]> {
        let addrs = self.by_holder.remove(&holder(id, ifname)).unwrap_or_default();
        for &addr in &addrs {
            self.holders.remove(&addr);
            for (range, held) in self.sets.iter_mut().flat_map(|set| &mut set.ranges) {
                if range.contains(addr) {
                    held.remove(to_number(addr) - range.start);
                }
            }
        }
        addrs
    }

    /// Who holds an address: `ID IFNAME`.
    pub fn holder(&self, addr: IpAddr) -> Option<&Arc<str>> {
        self.holders.get(&addr)
    }

    /// How many addresses are held.
    pub fn held(&self) -> usize {
        self.holders.len()
    }

    /// The address that a set gave last.
    pub fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        self.sets.get(set)?.last_reserved
    }

    /// Sets a set's pointer, as found in its `last_reserved_ip` file. An address outside of the set starts it anew.
    pub fn set_last_reserved(&mut self, set: usize, addr: Option<IpAddr>) {
        if let Some(set) = self.sets.get_mut(set) {
            set.last_reserved = addr;
        }
    }

    fn note(&mut self, holder: &Arc<str>, addr: IpAddr) {
        self.holders.insert(addr, holder.clone());
        self.by_holder.entry(holder.clone()).or_default().push(addr);
    }
}

impl RangeSet {
    /// One round from behind the last reserved address (or from the very start) back to there.
    fn take_next(&mut self) -> Result<Allocated, IpamError> {
        let from = self.last_reserved.and_then(|last| {
            let at = self.ranges.iter().position(|(range, _)| range.contains(last))?;
            Some((at, to_number(last) - self.ranges.get(at)?.0.start))
        });
        let count = self.ranges.len();
        let (at, behind) = from.map_or((0, None), |(at, last)| (at, Some(last)));
        let first = behind.map_or(0, |last| last + 1);
        let mut found = self.take_in(at, first, u128::MAX);
        for step in 1..count {
            found = found.or_else(|| self.take_in((at + step) % count, 0, u128::MAX));
        }
        if let (None, Some(last)) = (&found, behind) {
            found = self.take_in(at, 0, last);
        }
        found.ok_or_else(|| self.exhausted())
    }

    fn take_in(&mut self, at: usize, first: u128, last: u128) -> Option<Allocated> {
        let (range, held) = self.ranges.get_mut(at)?;
        let last = last.min(range.end - range.start);
        let mut index = held.next_free(first, last)?;
        if from_number(Family::of_net(range.subnet), range.start + index) == range.gateway {
            index = held.next_free(index + 1, last)?;
        }
        held.insert(index);
        let addr = from_number(Family::of_net(range.subnet), range.start + index);
        let given = range.given(addr);
        self.last_reserved = Some(addr);
        Some(given)
    }

    fn exhausted(&self) -> IpamError {
        let pool = self.ranges.first().map_or_else(|| IpNet::from(IpAddr::from([0; 4])), |(r, _)| r.subnet);
        IpamError::Exhausted { pool, size: self.ranges.iter().map(|(range, _)| range.size()).sum() }
    }
}

impl Range {
    fn given(&self, addr: IpAddr) -> Allocated {
        let net = IpNet::new(addr, self.subnet.prefix_len()).unwrap_or_else(|_| host(addr));
        Allocated { addr: net, gateway: self.gateway }
    }
}

fn holder(id: &str, ifname: &str) -> Arc<str> {
    Arc::from(format!("{id} {ifname}"))
}
