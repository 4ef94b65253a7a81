//! Which node answers for an address in MetalLB's layer 2 mode (`speaker/layer2_controller.go`, `ShouldAnnounce`).

use alloc::format;
use core::net::IpAddr;

use sha2::{Digest, Sha256};

/// The node with the smallest SHA-256 of `NODE#ADDRESS`. A node that comes or goes moves only its own addresses. O(candidates).
///
/// ```
/// use kubenet_core::compile::l2_leader;
///
/// let addr = "192.0.2.201".parse()?;
/// assert_eq!(l2_leader(&["node1", "node2", "node3", "node4"], addr), Some("node3"));
/// assert_eq!(l2_leader(&[], addr), None);
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
pub fn l2_leader<'n>(candidates: &[&'n str], addr: IpAddr) -> Option<&'n str> {
    candidates.iter().copied().min_by_key(|node| Sha256::digest(format!("{node}#{addr}")))
}
