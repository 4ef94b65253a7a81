//! Every scenario below `tests/scenarios` is a test: its questions are answered as it expects.
//!
//! `UPDATE_EXPECT=1 cargo test -p kubenet-tests --test scenarios` writes what came into the files; read the difference.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kubenet_tests::scenario_files::{all, load};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = all(&folder);
    let mut trials: Vec<Trial> = files
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&folder).unwrap_or(path).with_extension("");
            let path = path.clone();
            Trial::test(name.display().to_string().replace('\\', "/"), move || run(&path))
        })
        .collect();
    trials.push(Trial::test("ids_are_used_once", move || ids(&files)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(path: &Path) -> Result<(), Failed> {
    let scenario = load(path)?;
    let checks = scenario.run();
    if checks.is_empty() {
        return Err(format!("{}: it expects nothing", path.display()).into());
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, scenario.updated(&checks))?;
        return Ok(());
    }
    let wrong: String = checks
        .iter()
        .filter(|check| !check.is_good())
        .map(|check| {
            format!(
                "{}:{}\n--- expected\n{}+++ got\n{}",
                path.display(),
                check.line,
                check.expected,
                check.got
            )
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

fn ids(files: &[PathBuf]) -> Result<(), Failed> {
    let mut seen: BTreeMap<String, &Path> = BTreeMap::new();
    for path in files {
        if let Some(other) = seen.insert(load(path)?.id, path) {
            return Err(format!("{} and {} have the same id", other.display(), path.display()).into());
        }
    }
    Ok(())
}
