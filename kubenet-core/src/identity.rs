//! One stable hash: everything that is made up is a function of the identity of the object that it is made up for.
//!
//! In: the words that name an object. Out: 64 bits that are the same in every release, on every machine. FNV-1a over the
//! words' bytes, each word ended by `0xff` (which UTF-8 never contains), then the finaliser of splitmix64. **This function
//! never changes**: names, addresses and placements in stored scenarios depend on it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The hash of some words.
pub fn identity(words: &[&str]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for word in words {
        for byte in word.bytes().chain([0xff]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    mix(state)
}

/// The finaliser of splitmix64: every bit of the input changes half of the output's.
pub const fn mix(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// The characters of generated names: no vowels, no `0`, `1` and `3` (`k8s.io/apimachinery/pkg/util/rand`).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The five characters that Kubernetes appends for `generateName`.
pub fn name_suffix(mut hash: u64) -> String {
    let letter = |_| {
        let at = (hash % 27) as usize;
        hash /= 27;
        char::from(ALPHABET.get(at).copied().unwrap_or(b'b'))
    };
    (0..5).map(letter).collect()
}

/// What stands for `pod-template-hash`: 32 bits written in decimal, each digit moved into the alphabet of generated names
/// (`rand.SafeEncodeString` of `controller.ComputeHash`).
pub fn template_hash(hash: u64) -> String {
    let digits = ((hash >> 32) as u32).to_string();
    digits.bytes().map(|b| char::from(ALPHABET.get(usize::from(b) % 27).copied().unwrap_or(b'b'))).collect()
}

/// Ranks candidates for a key by rendezvous hashing: the order of the others stays when one comes or goes.
///
/// `candidates` are hashes of their names; ties are broken by the place in the list. O(n log n).
pub fn rendezvous(key: u64, candidates: &[u64]) -> Vec<u32> {
    let mut ranked: Vec<(u64, u32)> =
        candidates.iter().zip(0..).map(|(candidate, place)| (mix(key ^ *candidate), place)).collect();
    ranked.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_function_never_changes() {
        let all = [
            identity(&[]),
            identity(&["Pod", "default", "web-0"]),
            identity(&["Pod", "defaultweb", "-0"]),
            identity(&["é"]),
        ];
        expect![[r#"
            [
                17665956581633026203,
                7955884863322049248,
                12506511077026630903,
                8503699804437607036,
            ]
        "#]]
        .assert_debug_eq(&all);
        expect!["p79l2"].assert_eq(&name_suffix(identity(&["a"])));
        expect!["8679b76fb"].assert_eq(&template_hash(identity(&["a"])));
    }

    #[test]
    fn a_candidate_that_goes_leaves_the_order_of_the_others() {
        let nodes: Vec<u64> = (0..20).map(|i: u32| identity(&["Node", &i.to_string()])).collect();
        for pod in 0..50u64 {
            let all = rendezvous(mix(pod), &nodes);
            let fewer = rendezvous(mix(pod), nodes.split_last().map_or(&[], |(_, rest)| rest));
            let kept: Vec<u32> = all.into_iter().filter(|n| *n != 19).collect();
            assert_eq!(kept, fewer);
        }
    }

    #[test]
    fn first_ranks_are_spread_evenly() {
        let nodes: Vec<u64> = (0..4).map(|i: u32| identity(&["Node", &i.to_string()])).collect();
        let mut counts = [0u32; 4];
        for pod in 0..4000u32 {
            let first = rendezvous(identity(&["Pod", &pod.to_string()]), &nodes);
            counts[first[0] as usize] += 1;
        }
        assert!(counts.iter().all(|c| (900..1100).contains(c)), "{counts:?}");
    }
}
