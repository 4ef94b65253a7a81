//! Links of Markdown files to files of the repository.

use std::path::{Component, Path};

use super::files::{File, Kind};

/// Relative links that lead nowhere.
pub fn links(files: &[File], root: &Path) -> Vec<String> {
    let mut offences = Vec::new();
    for file in files.iter().filter(|file| file.kind == Kind::Markdown) {
        for (line, target) in targets(&file.text) {
            let path = target.split('#').next().unwrap_or_default();
            let is_elsewhere = path.is_empty() || path.contains(':') || path.starts_with('/');
            let base = Path::new(&file.path).parent().unwrap_or_else(|| Path::new(""));
            if !is_elsewhere && !exists(root, &base.join(path)) {
                offences.push(format!("{}:{line}: {target} leads nowhere", file.path));
            }
        }
    }
    offences
}

/// What `[text](target)` and `[name]: target` point to, with their lines. Code does not count.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    let mut fence: Option<&str> = None;
    for (at, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let marks = start.len() - start.trim_start_matches(['`', '~']).len();
        if marks >= 3 {
            let mark = &start[..marks];
            match fence {
                None => fence = Some(mark),
                Some(open) if mark.starts_with(open) => fence = None,
                Some(_) => {}
            }
            continue;
        }
        if fence.is_some() {
            continue;
        }
        let line = without_code(line);
        let mut rest = line.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let target = after.split([')', ' ']).next().unwrap_or_default();
            targets.push((at + 1, target.trim_matches(['<', '>']).to_string()));
            rest = after;
        }
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
            && !name.starts_with("[^")
        {
            let target = target.split(' ').next().unwrap_or_default();
            targets.push((at + 1, target.trim_matches(['<', '>']).to_string()));
        }
    }
    targets
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Whether the path is there and does not leave the repository.
fn exists(root: &Path, path: &Path) -> bool {
    let mut depth = 0_i32;
    for part in path.components() {
        depth += match part {
            Component::ParentDir => -1,
            Component::Normal(_) => 1,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => 0,
        };
        if depth < 0 {
            return false;
        }
    }
    root.join(path).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code() {
        let text = "[a](b.md#c) and [d](<e.md> \"title\") `[x](y)`\n```md\n[no](no.md)\n```\n[name]: f.md\n[^1]: note\n";
        let expected = [(1, "b.md#c"), (1, "e.md"), (5, "f.md")];
        assert_eq!(targets(text), expected.map(|(line, target)| (line, target.to_string())));
    }

    #[test]
    fn a_link_out_of_the_repository_leads_nowhere() {
        let root = super::super::root();
        let told = links(
            &[File::new("tests/a.md", "[a](../Cargo.toml) [b](../../x) [c](https://x.example) [d](#e)\n")],
            &root,
        );
        assert_eq!(told, ["tests/a.md:1: ../../x leads nowhere"]);
    }
}
