//! Whether nf_tables holds a table, asked of the kernel itself: a tool for each of many namespaces would take too long.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE`.
const GET_TABLE: u16 = 10 << 8 | 1;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE`.
const NEW_TABLE: u16 = 10 << 8;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const LIST: u16 = 1 | 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Whether the namespace of the calling thread has a table; a kernel without nf_tables has none. Who may not ask gets an error.
pub(super) fn has_tables() -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // `struct nlmsghdr`, then `struct nfgenmsg` for all families.
    let mut request = Vec::with_capacity(20);
    request.extend(20_u32.to_ne_bytes());
    request.extend(GET_TABLE.to_ne_bytes());
    request.extend(LIST.to_ne_bytes());
    request.extend([1_u32.to_ne_bytes(), [0; 4], [0; 4]].concat());
    socket.send(&request, 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let kind = answer.get(4..6).and_then(|it| it.try_into().ok()).map(u16::from_ne_bytes);
        match kind {
            Some(NEW_TABLE) => return Ok(true),
            // The answer of a kernel is a negative number behind the header.
            Some(ERROR) => {
                let number =
                    answer.get(16..20).and_then(|it| it.try_into().ok()).map_or(0, i32::from_ne_bytes);
                let error = io::Error::from_raw_os_error(number.saturating_neg());
                return if error.kind() == io::ErrorKind::PermissionDenied { Err(error) } else { Ok(false) };
            }
            Some(DONE) | None => return Ok(false),
            Some(_) => {}
        }
    }
}
