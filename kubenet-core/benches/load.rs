//! Loading a dump of 10,000 pods, as `kubectl get pods -A -o json|yaml` prints it, beside named parsers in the same run.
//!
//! `cargo bench -p kubenet-core --bench load`. JSON is compared with `serde_json`'s `Value` (alone, and as a way to objects: read
//! into a `Value`, then into objects), YAML with `serde-saphyr` into the same types, which knows no places.

#[path = "load/dump.rs"]
mod dump;

use divan::Bencher;
use divan::counter::BytesCount;
use dump::{COMPACT, JSON, YAML, loaded};
use kubenet_core::k8s::Objects;
use kubenet_core::k8s::types::Pod;
use serde::Deserialize;
use serde_json::Value;

fn main() {
    dump::check();
    divan::main();
}

#[derive(Deserialize)]
struct List {
    #[expect(dead_code, reason = "is read, and dropped")]
    items: Vec<Pod>,
}

/// What is made is dropped within the time that is measured, as a program that goes on has to.
fn run<T>(bencher: Bencher<'_, '_>, text: &'static str, read: impl Fn(&'static str) -> T + Sync) {
    bencher.counter(BytesCount::of_str(text)).bench(|| drop(read(text)));
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn by_value(text: &str) -> Objects {
    let mut objects = Objects::default();
    objects.put_json(&value(text)).expect("objects");
    objects
}

fn typed(text: &str) -> List {
    serde_json::from_str(text).expect("JSON")
}

#[divan::bench_group(sample_count = 8, sample_size = 1)]
mod json_indented {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        run(bencher, &JSON, |text| loaded("pods.json", text));
    }

    #[divan::bench]
    fn serde_json_typed(bencher: Bencher<'_, '_>) {
        run(bencher, &JSON, typed);
    }

    #[divan::bench]
    fn serde_json_value(bencher: Bencher<'_, '_>) {
        run(bencher, &JSON, value);
    }

    #[divan::bench]
    fn serde_json_value_to_objects(bencher: Bencher<'_, '_>) {
        run(bencher, &JSON, by_value);
    }
}

#[divan::bench_group(sample_count = 8, sample_size = 1)]
mod json_compact {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        run(bencher, &COMPACT, |text| loaded("pods.json", text));
    }

    #[divan::bench]
    fn serde_json_typed(bencher: Bencher<'_, '_>) {
        run(bencher, &COMPACT, typed);
    }

    #[divan::bench]
    fn serde_json_value(bencher: Bencher<'_, '_>) {
        run(bencher, &COMPACT, value);
    }

    #[divan::bench]
    fn serde_json_value_to_objects(bencher: Bencher<'_, '_>) {
        run(bencher, &COMPACT, by_value);
    }
}

#[divan::bench_group(sample_count = 4, sample_size = 1)]
mod yaml {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        run(bencher, &YAML, |text| loaded("pods.yaml", text));
    }

    #[divan::bench]
    fn serde_saphyr_typed(bencher: Bencher<'_, '_>) {
        run(bencher, &YAML, |text| {
            let options = serde_saphyr::options! { budget: None };
            serde_saphyr::from_str_with_options::<List>(text, options).expect("YAML")
        });
    }
}
