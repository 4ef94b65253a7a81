//! What the files may not say, and how they are written.

use super::files::{File, Kind};
use super::scan::{identifiers, macro_calls, tokens};

/// Names of Kubernetes, which the dataplane does not know. `ingress` and `namespace` are Linux's too.
const KUBERNETES: &[&str] = &[
    "cluster",
    "compile",
    "daemonset",
    "deployment",
    "endpoint",
    "endpoints",
    "endpointslice",
    "k8s",
    "kube",
    "kubelet",
    "kubernetes",
    "node",
    "nodes",
    "pod",
    "pods",
    "service",
    "services",
];

/// Identifiers of the dataplane that name something of Kubernetes.
pub fn dataplane_words(files: &[File]) -> Vec<String> {
    let mut offences = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("kubenet-core/src/dataplane/")) {
        let Ok(tokens) = tokens(&file.text) else { continue };
        identifiers(&tokens, &mut |name, line| {
            if words(name).iter().any(|word| KUBERNETES.contains(&word.as_str())) {
                offences.push(format!("{}:{line}: `{name}` is a word of Kubernetes", file.path));
            }
        });
    }
    offences
}

/// `PodRef`, `pod_ref` and `POD_REF` are all pod and ref.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for letter in identifier.chars() {
        if letter == '_' || (letter.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        after_lower = letter.is_lowercase() || letter.is_ascii_digit();
        if let (true, Some(word)) = (letter != '_', words.last_mut()) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// Rust files that do not open with what they are.
pub fn headers(files: &[File]) -> Vec<String> {
    let bare =
        of(files, Kind::Rust).filter(|file| !is_test_module(&file.path) && !file.text.starts_with("//! "));
    bare.map(|file| format!("{}:1: the file opens without `//!` and what it is", file.path)).collect()
}

/// `foo/tests.rs` and `foo/tests/*.rs` are explained by what they test.
fn is_test_module(path: &str) -> bool {
    path.contains("/src/") && (path.ends_with("/tests.rs") || path.contains("/tests/"))
}

/// Code that is not finished, and calls that are left over from looking.
pub fn unfinished(files: &[File]) -> Vec<String> {
    let mut offences = Vec::new();
    for file in of(files, Kind::Rust) {
        match tokens(&file.text) {
            Ok(tokens) => macro_calls(&tokens, &mut |name, line| {
                if ["todo", "unimplemented", "dbg"].contains(&name) {
                    offences.push(format!("{}:{line}: {name}!", file.path));
                }
            }),
            Err(error) => offences.push(format!("{}: {error}", file.path)),
        }
    }
    offences
}

/// Tabs, spaces at the end of a line, carriage returns, and files that do not end with a line. In Rust, rustfmt holds the
/// blanks outside strings, and strings hold what they must.
pub fn form(files: &[File]) -> Vec<String> {
    let mut offences = Vec::new();
    for file in files.iter().filter(|file| file.kind != Kind::Data) {
        for (at, line) in file.text.split('\n').enumerate() {
            let fault = match line {
                _ if line.contains('\r') => "a carriage return",
                _ if file.kind == Kind::Rust => continue,
                _ if line.contains('\t') => "a tab",
                _ if line.ends_with(' ') => "a space at the end",
                _ => continue,
            };
            offences.push(format!("{}:{}: {fault}", file.path, at + 1));
        }
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            offences.push(format!("{}: no newline at the end", file.path));
        }
    }
    offences
}

/// Lines that a Rust file may have before it wants a seam.
const LINES: usize = 900;

/// Rust files that are longer for a reason, which stands beside them.
const LONG: &[(&str, &str)] = &[];

/// Rust files that are too long, and exceptions that are none.
pub fn length(files: &[File]) -> Vec<String> {
    let long: Vec<&File> = of(files, Kind::Rust).filter(|file| file.text.lines().count() > LINES).collect();
    let excused = |file: &File| LONG.iter().any(|(path, _)| *path == file.path);
    let mut offences: Vec<String> = long
        .iter()
        .filter(|file| !excused(file))
        .map(|file| format!("{}: {} lines; look for the seam", file.path, file.text.lines().count()))
        .collect();
    let idle = LONG.iter().filter(|(path, _)| !long.iter().any(|file| file.path == *path));
    offences.extend(idle.map(|(path, _)| format!("{path}: no longer too long; take it off the list")));
    offences
}

/// Paths of one machine and hosts of package registries: neither holds for who reads the file elsewhere.
pub fn foreign_words(files: &[File]) -> Vec<String> {
    // Put together here, so that this file does not hold them.
    let folders = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let hosts = [
        ("index.crates", "io"),
        ("static.crates", "io"),
        ("registry.npmjs", "org"),
        ("files.pythonhosted", "org"),
        ("pypi", "org"),
        ("deb.debian", "org"),
        ("security.debian", "org"),
        ("static.rust-lang", "org"),
        ("proxy.golang", "org"),
    ]
    .map(|(name, top)| format!("{name}.{top}"));
    let mut offences = Vec::new();
    for file in files {
        for (at, line) in file.text.lines().enumerate() {
            let folder = folders.iter().find(|folder| begins_a_path(line, folder));
            let host = hosts.iter().find(|host| line.contains(host.as_str()));
            if let Some(word) = folder.or(host) {
                offences.push(format!("{}:{}: {word}", file.path, at + 1));
            }
        }
    }
    offences
}

/// Whether the folder stands at the beginning of a path, not within one.
fn begins_a_path(line: &str, folder: &str) -> bool {
    let inside = |before: char| before.is_alphanumeric() || "._-~}/".contains(before);
    line.match_indices(folder).any(|(at, _)| !line[..at].chars().next_back().is_some_and(inside))
}

/// Crates that `deny.toml` bans everywhere and `Cargo.lock` holds all the same.
///
/// # Errors
///
/// Where one of the two is not TOML.
pub fn banned_crates(deny: &str, lock: &str) -> Result<Vec<String>, toml::de::Error> {
    let (deny, lock): (toml::Table, toml::Table) = (deny.parse()?, lock.parse()?);
    let entries = |table: Option<&toml::Value>| table.and_then(|t| t.as_array()).cloned().unwrap_or_default();
    let held = entries(lock.get("package"));
    let everywhere = |ban: &toml::Value| ban.get("wrappers").is_none();
    let banned = entries(deny.get("bans").and_then(|bans| bans.get("deny")));
    let names = banned.iter().filter(|ban| everywhere(ban)).filter_map(|ban| ban.get("crate")?.as_str());
    let is_held =
        |name: &&str| held.iter().any(|package| package.get("name").and_then(|n| n.as_str()) == Some(name));
    Ok(names.filter(is_held).map(Into::into).collect())
}

fn of(files: &[File], kind: Kind) -> impl Iterator<Item = &File> {
    files.iter().filter(move |file| file.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offences(check: fn(&[File]) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
        check(&[File::new(path, text)])
    }

    #[test]
    fn words_of_kubernetes_are_found_in_identifiers_alone() {
        let path = "kubenet-core/src/dataplane/x.rs";
        assert_eq!(offences(dataplane_words, path, "struct PodRef; // a Service").len(), 1);
        assert_eq!(offences(dataplane_words, path, "fn f(by_service: u8) { g(\"pod\") }").len(), 1);
        assert_eq!(offences(dataplane_words, path, "fn podium(serviced: Tripod) {}"), [""; 0]);
        assert_eq!(offences(dataplane_words, "kubenet-core/src/compile/x.rs", "struct Pod;"), [""; 0]);
    }

    #[test]
    fn a_file_opens_with_what_it_is() {
        assert_eq!(offences(headers, "a/src/b.rs", "use std::fs;\n").len(), 1);
        assert_eq!(offences(headers, "a/src/b.rs", "//! What it is.\n"), [""; 0]);
        assert_eq!(offences(headers, "a/src/b/tests.rs", "use super::*;\n"), [""; 0]);
    }

    #[test]
    fn unfinished_code_is_found_and_talk_about_it_is_not() {
        assert_eq!(offences(unfinished, "a.rs", "fn f() { match x { _ => todo!() } }"), ["a.rs:1: todo!"]);
        assert_eq!(offences(unfinished, "a.rs", "// todo!()\nconst A: &str = \"dbg!(x)\";"), [""; 0]);
    }

    #[test]
    fn blanks_are_found_outside_data() {
        assert_eq!(offences(form, "a.md", "a \nb\tc\r\nd").len(), 3);
        assert_eq!(offences(form, "tests/corpus/a.yaml", "a \nb\tc\r\nd"), [""; 0]);
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(offences(length, "a.rs", &"//! x\n".repeat(901)).len(), 1);
        assert_eq!(offences(length, "a.rs", &"//! x\n".repeat(900)), [""; 0]);
    }

    #[test]
    fn paths_of_a_machine_are_found_and_paths_below_something_are_not() {
        let path = ["", "home", "me"].join("/");
        assert_eq!(offences(foreign_words, "a.md", &format!("see {path}/x")).len(), 1);
        assert_eq!(offences(foreign_words, "a.md", "https://shop.example/home/page"), [""; 0]);
    }

    #[test]
    fn a_banned_crate_in_the_lock_file_is_told() {
        let deny = "[bans]\ndeny = [{ crate = \"chrono\" }, { crate = \"rand\", wrappers = [\"proptest\"] }]";
        let lock = "[[package]]\nname = \"chrono\"\n[[package]]\nname = \"rand\"\n";
        assert_eq!(banned_crates(deny, lock), Ok(vec!["chrono".into()]));
    }
}
