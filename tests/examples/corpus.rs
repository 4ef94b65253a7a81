//! Runs the corpus: `cargo xtask corpus [DIR…]`.
//!
//! One line for each failing case, then a table of the sets. Ends with 1 where a case failed or a folder has none.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kubenet_tests::corpus::{self, Report};

fn main() -> ExitCode {
    let mut folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"));
    }
    let mut sum = Report::default();
    let mut empty = Vec::new();
    for folder in folders {
        let report = corpus::run(&folder);
        if report.cases() == 0 {
            empty.push(folder);
        }
        sum.merge(report);
    }
    let mut text = sum.to_string();
    for folder in &empty {
        text.push_str(&format!("FAIL {}: there is no case below it\n", folder.display()));
    }
    // A reader that has gone away has seen enough.
    let _ = stdout().write_all(text.as_bytes());
    if sum.is_good() && empty.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
