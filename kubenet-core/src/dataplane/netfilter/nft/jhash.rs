//! `jhash`: Bob Jenkins' hash as the kernel computes it (`include/linux/jhash.h`), on a little-endian machine.

use core::num::Wrapping;

type Word = Wrapping<u32>;

const fn rotate(word: Word, by: u32) -> Word {
    Wrapping(word.0.rotate_left(by))
}

/// Hashes bytes with a seed.
pub(super) fn jhash(bytes: &[u8], seed: u32) -> u32 {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let begin = Wrapping(0xdead_beef) + Wrapping(length) + Wrapping(seed);
    let (mut a, mut b, mut c) = (begin, begin, begin);
    let mut rest = bytes;
    while rest.len() > 12 {
        let (block, after) = rest.split_at(12);
        rest = after;
        (a, b, c) = (a + word(block, 0), b + word(block, 4), c + word(block, 8));
        a = (a - c) ^ rotate(c, 4);
        c += b;
        b = (b - a) ^ rotate(a, 6);
        a += c;
        c = (c - b) ^ rotate(b, 8);
        b += a;
        a = (a - c) ^ rotate(c, 16);
        c += b;
        b = (b - a) ^ rotate(a, 19);
        a += c;
        c = (c - b) ^ rotate(b, 4);
        b += a;
    }
    if rest.is_empty() {
        return c.0;
    }
    (a, b, c) = (a + word(rest, 0), b + word(rest, 4), c + word(rest, 8));
    c = (c ^ b) - rotate(b, 14);
    a = (a ^ c) - rotate(c, 11);
    b = (b ^ a) - rotate(a, 25);
    c = (c ^ b) - rotate(b, 16);
    a = (a ^ c) - rotate(c, 4);
    b = (b ^ a) - rotate(a, 14);
    c = (c ^ b) - rotate(b, 24);
    c.0
}

/// Four bytes from `at` on; what is not there is zero.
fn word(bytes: &[u8], at: usize) -> Word {
    let mut word = [0; 4];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    Wrapping(u32::from_le_bytes(word))
}

/// From a hash to one of `count` (`reciprocal_scale`).
pub(super) fn scale(hash: u32, count: u32) -> u32 {
    ((u64::from(hash) * u64::from(count)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], seed: u32, expected: u32) {
        assert_eq!(scale(jhash(bytes, seed), 100_000), expected);
    }

    /// Marks that Linux 6.18 set by `meta mark set jhash … mod 100000 seed …`, read from a set.
    #[test]
    fn the_kernel_gives_the_same_numbers() {
        let concat = |addr: &[u8], port: u16| [addr, &port.to_be_bytes(), &[0, 0]].concat();
        let v4 = [10, 9, 0, 1];
        check(&concat(&v4, 40_000), 1, 0xae7f);
        check(&concat(&v4, 1000), 1, 0xfa45);
        check(&concat(&v4, 1001), 1, 0x126c1);
        check(&v4, 0xdead_beef, 0xfad7);
        let v6 = core::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets();
        check(&concat(&v6, 40_000), 7, 0x220c);
        check(&concat(&v6, 1001), 7, 0x304d);
        check(&concat(&v6, 1000), 7, 0x16157);
        check(&1000_u16.to_be_bytes(), 2, 0x7bb9);
        check(&40_000_u16.to_be_bytes(), 2, 0xc70e);
        check(&1001_u16.to_be_bytes(), 2, 0x184e1);
    }
}
