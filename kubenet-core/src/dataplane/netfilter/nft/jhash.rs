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
