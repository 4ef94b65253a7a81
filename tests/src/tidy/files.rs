//! The files of the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a file is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rust.
    Rust,
    /// Markdown.
    Markdown,
    /// Any other text of ours.
    Text,
    /// Facts and captured output, kept as they came: `tests/corpus`, `fuzz/corpus`, folders named `data`, tab-separated tables.
    Data,
}

/// A text file.
#[derive(Debug)]
pub struct File {
    /// Where it is, below the root, with `/`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub text: String,
}

impl File {
    /// A file with this text; its kind is told by its path.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let path = path.into();
        Self { kind: kind(&path), path, text: text.into() }
    }
}

fn kind(path: &str) -> Kind {
    let is_data = path.starts_with("tests/corpus/")
        || path.starts_with("fuzz/corpus/")
        || path.split('/').any(|part| part == "data" || part == "testdata")
        || path.ends_with(".tsv");
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    match extension {
        _ if is_data => Kind::Data,
        Some("rs") => Kind::Rust,
        Some("md") => Kind::Markdown,
        _ => Kind::Text,
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The text files of the repository: those that git tracks, and those that it would.
///
/// # Errors
///
/// Where git cannot be asked, what it said.
pub fn files(root: &Path) -> Result<Vec<File>, String> {
    // The owner of a clone need not be who runs the tests.
    let list = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git: {error}"))?;
    if !list.status.success() {
        return Err(String::from_utf8_lossy(&list.stderr).into_owned());
    }
    let paths = String::from_utf8_lossy(&list.stdout).into_owned();
    let mut files: Vec<File> = paths
        .split_terminator('\0')
        .filter_map(|path| {
            // Gone from the tree and not yet from the index, or a link to a folder.
            let bytes = std::fs::read(root.join(path)).ok()?;
            let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))?;
            Some(File::new(path, text))
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}
