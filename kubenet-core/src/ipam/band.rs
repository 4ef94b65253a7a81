//! Static and dynamic bands: the low end of a Service range is spared for addresses and ports that people choose.
//!
//! `calculateRangeOffset` of the two allocators: KEP-3070 for addresses, KEP-3668 for node ports.

use super::{Held, IpNet, bounds};

/// How many numbers at the low end of a Service range are given out last: `min(max(16, size/16), 256)`, none when the
/// range has 16 addresses or fewer. `size` counts every address of the prefix.
pub fn cluster_ip_band(net: IpNet) -> u64 {
    let (first, last) = bounds(net);
    let size = (last - first).saturating_add(1).min(i64::MAX as u128) as u64;
    if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
}

/// The same for `size` node ports: `min(max(16, size/32), 128)`, none when there are 16 or fewer.
pub fn node_port_band(size: u64) -> u64 {
    if size <= 16 { 0 } else { (size / 32).clamp(16, 128) }
}

/// Takes the next free number of `0..size`: the dynamic band (`band..size`) from a start on and around, and when that is
/// full the static band in the same way. The start is `seed` modulo the band's size.
pub(super) fn allocate(held: &mut Held, band: u64, size: u64, seed: u64) -> Option<u64> {
    let mut search = |first: u64, end: u64| {
        let width = end.checked_sub(first).filter(|w| *w > 0)?;
        let start = first + seed % width;
        let found = held.next_free_around(start.into(), first.into(), (end - 1).into())?;
        held.insert(found);
        u64::try_from(found).ok()
    };
    search(band, size).or_else(|| search(0, band))
}
