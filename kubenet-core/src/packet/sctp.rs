//! As much of SCTP (RFC 9260) as a connection attempt needs: one chunk per packet, CRC32c.

use alloc::vec::Vec;

use super::build::{Ipv4Meta, raw};
use super::number;

/// The chunks that a connection attempt exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Opens an association.
    Init,
    /// Answers an INIT.
    InitAck,
    /// Refuses or ends an association.
    Abort,
    /// Hands the cookie back.
    CookieEcho,
    /// The association is up.
    CookieAck,
    /// Any other chunk type.
    Other(u8),
}

impl Chunk {
    const fn number(self) -> u8 {
        match self {
            Self::Init => 1,
            Self::InitAck => 2,
            Self::Abort => 6,
            Self::CookieEcho => 10,
            Self::CookieAck => 11,
            Self::Other(n) => n,
        }
    }

    /// The chunk's name in the RFC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::InitAck => "INIT ACK",
            Self::Abort => "ABORT",
            Self::CookieEcho => "COOKIE ECHO",
            Self::CookieAck => "COOKIE ACK",
            Self::Other(_) => "chunk",
        }
    }
}

/// An SCTP packet with one chunk in a frame. `tag` is the receiver's verification tag, 0 for an INIT.
pub fn sctp(ip: &Ipv4Meta, sport: u16, dport: u16, tag: u32, chunk: Chunk, initiate_tag: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(40);
    body.extend_from_slice(&sport.to_be_bytes());
    body.extend_from_slice(&dport.to_be_bytes());
    body.extend_from_slice(&tag.to_be_bytes());
    body.extend_from_slice(&[0; 4]);
    let start = body.len();
    body.extend_from_slice(&[chunk.number(), 0, 0, 0]);
    match chunk {
        Chunk::Init | Chunk::InitAck => {
            body.extend_from_slice(&initiate_tag.to_be_bytes());
            body.extend_from_slice(&106_496_u32.to_be_bytes()); // advertised receiver window, Linux's default
            body.extend_from_slice(&10_u16.to_be_bytes()); // outbound streams
            body.extend_from_slice(&65_535_u16.to_be_bytes()); // inbound streams
            body.extend_from_slice(&initiate_tag.to_be_bytes()); // initial TSN
            if chunk == Chunk::InitAck {
                body.extend_from_slice(&[0, 7, 0, 8]); // state cookie, four bytes
                body.extend_from_slice(&initiate_tag.to_be_bytes());
            }
        }
        Chunk::CookieEcho => body.extend_from_slice(&initiate_tag.to_be_bytes()),
        Chunk::Abort | Chunk::CookieAck | Chunk::Other(_) => {}
    }
    let len = u16::try_from(body.len() - start).unwrap_or(0).to_be_bytes();
    body[start + 2..start + 4].copy_from_slice(&len);
    set_checksum(&mut body);
    raw(ip, number::SCTP, &body)
}

/// Makes the checksum of an SCTP packet anew. NAT does so because a CRC cannot be mended by a difference.
pub(super) fn set_checksum(packet: &mut [u8]) {
    let Some(field) = packet.get_mut(8..12) else { return };
    field.fill(0);
    let crc = crc32c(packet).to_le_bytes();
    if let Some(field) = packet.get_mut(8..12) {
        field.copy_from_slice(&crc);
    }
}

/// The first chunk of an SCTP packet, the packet's verification tag, and the initiate tag of an INIT or INIT ACK.
pub fn chunk_of(bytes: &[u8]) -> Option<(Chunk, u32, u32)> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let tag = word(4)?;
    let chunk = match *bytes.get(12)? {
        1 => Chunk::Init,
        2 => Chunk::InitAck,
        6 => Chunk::Abort,
        10 => Chunk::CookieEcho,
        11 => Chunk::CookieAck,
        other => Chunk::Other(other),
    };
    Some((chunk, tag, word(16).unwrap_or(0)))
}

pub(super) fn checksum_is_right(bytes: &[u8]) -> bool {
    let (Some(head), Some(sum), Some(rest)) = (bytes.get(..8), bytes.get(8..12), bytes.get(12..)) else {
        return false;
    };
    let crc = !rest.iter().fold(crc_of([0; 4].iter(), crc_of(head.iter(), !0)), |crc, b| crc_step(crc, *b));
    crc.to_le_bytes() == sum
}

fn crc32c(bytes: &[u8]) -> u32 {
    !crc_of(bytes.iter(), !0)
}

fn crc_of<'b>(bytes: impl Iterator<Item = &'b u8>, start: u32) -> u32 {
    bytes.fold(start, |crc, b| crc_step(crc, *b))
}

/// One byte of CRC32c (Castagnoli, RFC 9260 appendix A), bit by bit: only handshakes are summed.
const fn crc_step(crc: u32, byte: u8) -> u32 {
    let mut crc = crc ^ byte as u32;
    let mut bit = 0;
    while bit < 8 {
        crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        bit += 1;
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_check_string() {
        // The standard check value of CRC-32C.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
