//! The TCP connection as conntrack follows it, from both directions' flags.
//!
//! Source: `net/netfilter/nf_conntrack_proto_tcp.c` (`tcp_conntracks`, `tcp_timeouts`). Not modelled: the window
//! check, so a segment out of the window is not INVALID.

use core::fmt;

use super::Timeouts;
use crate::time::Duration;

/// The state of a tracked TCP connection (`enum tcp_conntrack`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names of the kernel")]
pub enum TcpState {
    None,
    SynSent,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    SynSent2,
}

impl TcpState {
    /// The name that `conntrack -L` prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::SynSent2 => "SYN_SENT2",
        }
    }

    /// The state that `conntrack -L` prints so.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [TcpState; 10] = [
            TcpState::None,
            TcpState::SynSent,
            TcpState::SynRecv,
            TcpState::Established,
            TcpState::FinWait,
            TcpState::CloseWait,
            TcpState::LastAck,
            TcpState::TimeWait,
            TcpState::Close,
            TcpState::SynSent2,
        ];
        ALL.into_iter().find(|state| state.name() == name)
    }

    pub(super) const fn timeout(self, timeouts: &Timeouts) -> Duration {
        match self {
            Self::None | Self::SynSent | Self::SynSent2 => timeouts.tcp_syn_sent,
            Self::SynRecv => timeouts.tcp_syn_recv,
            Self::Established => timeouts.tcp_established,
            Self::FinWait => timeouts.tcp_fin_wait,
            Self::CloseWait => timeouts.tcp_close_wait,
            Self::LastAck => timeouts.tcp_last_ack,
            Self::TimeWait => timeouts.tcp_time_wait,
            Self::Close => timeouts.tcp_close,
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a segment does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is in this state now.
    To(TcpState),
    /// Nothing: the segment passes, the state stays.
    Ignore,
    /// The segment fits no state.
    Invalid,
}

#[derive(Clone, Copy)]
enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    None,
}

/// The kind of a segment by its flag byte (`get_conntrack_index`).
const fn kind(flags: u8) -> Kind {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    if flags & RST != 0 {
        Kind::Rst
    } else if flags & SYN != 0 {
        if flags & ACK != 0 { Kind::SynAck } else { Kind::Syn }
    } else if flags & FIN != 0 {
        Kind::Fin
    } else if flags & ACK != 0 {
        Kind::Ack
    } else {
        Kind::None
    }
}

/// The next state. A row of the kernel's table for each kind and direction.
#[allow(clippy::wildcard_enum_match_arm, reason = "the rest of a row of the kernel's table")]
pub(super) const fn step(state: TcpState, flags: u8, original: bool) -> Step {
    use TcpState as S;
    match (kind(flags), original) {
        (Kind::None, _) => Step::Invalid,
        (Kind::Rst, _) => match state {
            S::None => Step::Invalid,
            _ => Step::To(S::Close),
        },
        (Kind::Syn, true) => match state {
            S::None | S::SynSent | S::TimeWait | S::Close => Step::To(S::SynSent),
            S::SynSent2 => Step::To(S::SynSent2),
            _ => Step::Ignore,
        },
        (Kind::Syn, false) => match state {
            S::SynSent | S::SynSent2 => Step::To(S::SynSent2),
            S::TimeWait => Step::To(S::SynSent),
            _ => Step::Invalid,
        },
        (Kind::SynAck, true) => match state {
            S::SynRecv | S::SynSent2 => Step::To(S::SynRecv),
            _ => Step::Invalid,
        },
        (Kind::SynAck, false) => match state {
            S::None => Step::Invalid,
            S::SynSent | S::SynSent2 => Step::To(S::SynRecv),
            _ => Step::Ignore,
        },
        (Kind::Fin, _) => match state {
            S::None | S::SynSent | S::SynSent2 => Step::Invalid,
            S::SynRecv | S::Established => Step::To(S::FinWait),
            S::FinWait | S::CloseWait | S::LastAck => Step::To(S::LastAck),
            S::TimeWait => Step::To(S::TimeWait),
            S::Close => Step::To(S::Close),
        },
        (Kind::Ack, _) => match state {
            // A connection that began before conntrack looked is picked up (`nf_conntrack_tcp_loose`).
            S::None if original => Step::To(S::Established),
            S::None => Step::Invalid,
            S::SynSent | S::SynSent2 if original => Step::Invalid,
            S::SynSent | S::SynSent2 => Step::Ignore,
            S::SynRecv if original => Step::To(S::Established),
            S::SynRecv => Step::To(S::SynRecv),
            S::Established => Step::To(S::Established),
            S::FinWait | S::CloseWait => Step::To(S::CloseWait),
            S::LastAck | S::TimeWait => Step::To(S::TimeWait),
            S::Close => Step::To(S::Close),
        },
    }
}
