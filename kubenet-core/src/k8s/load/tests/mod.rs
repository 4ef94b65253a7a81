use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;

use expect_test::Expect;

use super::{LoadOptions, Loaded, Source, load};
use crate::origin::Severity;

mod equal;
mod faults;
mod hostile;
mod layouts;
mod secrets;
mod yaml;

/// Loads sources with names.
fn load_all(sources: &[(&str, &[u8])]) -> Loaded {
    let sources: Vec<Source<'_>> = sources.iter().map(|&(name, bytes)| Source { name, bytes }).collect();
    load(&sources, &LoadOptions::default())
}

fn load_one(name: &str, text: &str) -> Loaded {
    load_all(&[(name, text.as_bytes())])
}

/// The objects and what was told, as text.
fn shown(loaded: &Loaded) -> String {
    let mut text = String::new();
    for object in loaded.objects.iter() {
        writeln!(text, "{}", object.origin()).expect("memory");
    }
    for other in &loaded.objects.others {
        writeln!(text, "other {} {}", other.api_version, other.origin).expect("memory");
    }
    for kind in &loaded.objects.collected {
        writeln!(text, "collected {kind}").expect("memory");
    }
    for found in &loaded.diagnostics {
        writeln!(text, "{found}").expect("memory");
        for (what, place) in &found.related {
            writeln!(text, "    {what}: {}:{}", place, place.column).expect("memory");
        }
        if let Some(help) = &found.help {
            writeln!(text, "    help: {help}").expect("memory");
        }
    }
    text
}

#[expect(clippy::needless_pass_by_value, reason = "that is how expectations are written")]
fn check(name: &str, text: &str, expected: Expect) {
    expected.assert_eq(&shown(&load_one(name, text)));
}

fn errors(loaded: &Loaded) -> Vec<String> {
    loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).map(ToString::to_string).collect()
}
