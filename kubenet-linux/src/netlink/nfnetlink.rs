//! The little that is asked of nfnetlink itself: whether nf_tables holds a table (a tool for each of many namespaces would take too
//! long), and that connections are forgotten.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE`.
const GET_TABLE: u16 = 10 << 8 | 1;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE`.
const NEW_TABLE: u16 = 10 << 8;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`; without a tuple it deletes all.
const DELETE_CONNECTIONS: u16 = 1 << 8 | 2;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const LIST: u16 = 1 | 0x300;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const DO: u16 = 1 | 4;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// A socket of nfnetlink.
#[derive(Debug)]
pub(crate) struct Nfnetlink(Socket);

enum Answer {
    /// A message of this kind.
    Message(u16),
    /// The end of a listing, or that a request is done.
    Done,
    Refused(io::Error),
}

impl Nfnetlink {
    /// Opens one in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Whether there is a table of nf_tables; a kernel without nf_tables has none. Who may not ask gets an error.
    pub(crate) fn has_tables(&self) -> io::Result<bool> {
        self.ask(GET_TABLE, LIST)?;
        loop {
            match self.answer()? {
                Answer::Message(NEW_TABLE) => return Ok(true),
                Answer::Message(_) => {}
                Answer::Refused(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(error);
                }
                Answer::Done | Answer::Refused(_) => return Ok(false),
            }
        }
    }

    /// Forgets all tracked connections. A namespace that tracks nothing may not know the word.
    pub(crate) fn forget_connections(&self) -> io::Result<()> {
        self.ask(DELETE_CONNECTIONS, DO)?;
        match self.answer()? {
            Answer::Refused(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => Err(error),
            Answer::Done | Answer::Message(_) | Answer::Refused(_) => Ok(()),
        }
    }

    /// `struct nlmsghdr`, then `struct nfgenmsg` for all families.
    fn ask(&self, kind: u16, flags: u16) -> io::Result<()> {
        let mut request = Vec::from(20_u32.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(flags.to_ne_bytes());
        request.extend([1_u32.to_ne_bytes(), [0; 4], [0; 4]].concat());
        self.0.send(&request, 0).map(drop)
    }

    fn answer(&self) -> io::Result<Answer> {
        let (answer, _) = self.0.recv_from_full()?;
        let kind = answer.get(4..6).and_then(|it| it.try_into().ok()).map(u16::from_ne_bytes);
        // The answer of a kernel is a negative number behind the header.
        let number = || answer.get(16..20).and_then(|it| it.try_into().ok()).map_or(0, i32::from_ne_bytes);
        Ok(match kind {
            Some(ERROR) if number() != 0 => {
                Answer::Refused(io::Error::from_raw_os_error(number().saturating_neg()))
            }
            Some(ERROR | DONE) | None => Answer::Done,
            Some(kind) => Answer::Message(kind),
        })
    }
}
