//! The files below `tests/scenarios`.

use std::fs;
use std::path::{Path, PathBuf};

use kubenet_core::scenario::Scenario;

/// All scenario files below a folder, sorted.
pub fn all(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    find(folder, &mut files);
    files.sort();
    files
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
}

/// Reads one.
///
/// # Errors
///
/// Where it cannot be read, or is not a scenario.
pub fn load(path: &Path) -> Result<Scenario, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Scenario::parse(&name, &text).map_err(|error| error.to_string())
}
