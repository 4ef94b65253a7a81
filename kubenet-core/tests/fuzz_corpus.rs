//! The fuzz targets on stable Rust: every file of the corpus is replayed, and mutated a bounded number of times.
//!
//! The mutations are the same in every run. `KUBENET_FUZZ_INPUTS=N` makes N of them for `frames` and more for the
//! faster targets, `KUBENET_FUZZ_SEED=S` makes
//! others. A failing input is written to the build's temporary folder; put it into `fuzz/corpus/TARGET/` under a name that
//! says what was wrong.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/targets.rs"]
mod targets;

/// Mutated inputs of `frames`, where nothing else is said; faster targets take more, some 120,000 in all.
const INPUTS: u64 = 400;

#[expect(clippy::disallowed_methods, reason = "a test reads its environment")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[expect(clippy::disallowed_methods, reason = "a test reads its files")]
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> =
        folder.read_dir().into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a readable file"))).collect()
}

/// Runs a target, and keeps the input when it panics.
fn run(target: &targets::Target, input: &[u8]) {
    if catch_unwind(|| (target.run)(input)).is_err() {
        let name = target.name;
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        std::fs::write(&path, input).expect("a writable folder");
        panic!("target '{name}' fails on {}", path.display());
    }
}

#[test]
fn every_file_of_the_corpus_passes() {
    for target in targets::ALL {
        let corpus = corpus(target.name);
        assert!(!corpus.is_empty(), "fuzz/corpus/{} holds no file", target.name);
        for (_, input) in corpus {
            run(&target, &input);
        }
    }
}

#[test]
fn mutated_inputs_pass() {
    let inputs = setting("KUBENET_FUZZ_INPUTS", INPUTS);
    for target in targets::ALL {
        let seeds: Vec<Vec<u8>> = corpus(target.name).into_iter().map(|(_, input)| input).collect();
        let mut chance = Xorshift(setting("KUBENET_FUZZ_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..inputs * target.pace {
            let input = mutate(&seeds, &mut chance);
            run(&target, &input);
        }
    }
}

/// Marsaglia's xorshift64.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `bound`, or 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound.max(1)
    }
}

/// Bytes and words that parsers and checks turn on.
const WORDS: [&[u8]; 24] = [
    b"\0",
    b"\xff\xff",
    b"\x7f",
    b"\x80\0",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x08\x00\x45",
    b"\x86\xdd\x60",
    b"\x08\x06",
    b"10.244.1.5",
    b"fe80::1",
    b"0.0.0.0/0",
    b" dev ",
    b" via ",
    b"\n\tnexthop",
    b"default",
    b"4294967296",
    b"-1",
    b" # ",
    b"\\",
    b"[{",
    b"\"",
    b"null",
    "\u{a0}\u{feff}".as_bytes(),
];

/// A seed with one to eight changes.
fn mutate(seeds: &[Vec<u8>], chance: &mut Xorshift) -> Vec<u8> {
    let mut out = seeds.get(chance.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=chance.below(8) {
        let at = chance.below(out.len() + 1);
        let end = (at + chance.below(16)).min(out.len());
        match chance.below(8) {
            0 => {
                if let Some(byte) = out.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
            1 => {
                if let Some(byte) = out.get_mut(at) {
                    *byte = chance.next() as u8;
                }
            }
            2 => _ = out.drain(at..end),
            3 => out.truncate(at),
            4 => {
                let piece = out[at..end].to_vec();
                let times = 1 + chance.below(6);
                out.splice(at..at, piece.repeat(times));
            }
            5 => {
                let word = WORDS[chance.below(WORDS.len())];
                let over = if chance.below(2) == 0 { at } else { (at + word.len()).min(out.len()) };
                out.splice(at..over, word.iter().copied());
            }
            6 => {
                let other = &seeds[chance.below(seeds.len())];
                let from = chance.below(other.len() + 1);
                let piece = &other[from..(from + chance.below(200)).min(other.len())];
                out.splice(at..at, piece.iter().copied());
            }
            _ => {
                if let Some(byte) = out.get_mut(at) {
                    *byte = byte.wrapping_add(if chance.below(2) == 0 { 1 } else { 255 });
                }
            }
        }
    }
    out.truncate(16 * 1024);
    out
}
