//! How much memory loading a dump of 10,000 pods takes at most, beside the input itself (`max alloc`).
//!
//! `cargo bench -p kubenet-core --bench load_memory`. The goal is four times the input with
//! the input counted: `max alloc` stays below three times its size.

#[path = "load/dump.rs"]
mod dump;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use dump::{COMPACT, JSON, YAML, loaded};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    dump::check();
    divan::main();
}

fn run(bencher: Bencher<'_, '_>, name: &str, text: &'static str) {
    bencher.counter(BytesCount::of_str(text)).bench(|| loaded(name, text));
}

#[divan::bench(sample_count = 1, sample_size = 1)]
fn json_indented(bencher: Bencher<'_, '_>) {
    run(bencher, "pods.json", &JSON);
}

#[divan::bench(sample_count = 1, sample_size = 1)]
fn json_compact(bencher: Bencher<'_, '_>) {
    run(bencher, "pods.json", &COMPACT);
}

#[divan::bench(sample_count = 1, sample_size = 1)]
fn yaml(bencher: Bencher<'_, '_>) {
    run(bencher, "pods.yaml", &YAML);
}
