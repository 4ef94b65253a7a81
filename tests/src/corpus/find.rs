//! Finds the cases below a folder.
//!
//! Files are taken in the order of their names. Not cases: `*.md`, `INDEX.tsv`, names that begin with a dot, and folders
//! named `worlds`, which hold what cases name as their input. Any other file is a case file or a fault.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::case::Case;
use super::sets::{self, Layout};

/// A file or line that is no case.
pub(super) struct Stray {
    pub(super) set: String,
    pub(super) id: String,
    pub(super) message: String,
}

type Take<'t> = dyn FnMut(Result<Case<'_>, Stray>) + 't;

/// Hands over every case below a folder, and what should be one and is not.
pub(super) fn each_case(root: &Path, take: &mut Take<'_>) {
    let mut finder = Finder { root, seen: BTreeSet::new(), take };
    finder.folder(root);
}

struct Finder<'f, 't> {
    root: &'f Path,
    seen: BTreeSet<(String, String)>,
    take: &'f mut Take<'t>,
}

impl Finder<'_, '_> {
    fn folder(&mut self, folder: &Path) {
        if folder.join("case.json").is_file() {
            return self.case_folder(folder);
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()),
            Err(error) => return self.stray(folder, error.to_string()),
        };
        let mut entries: Vec<_> = entries.collect();
        entries.sort();
        for path in entries {
            let name = text(path.file_name());
            match (path.is_dir(), text(path.extension())) {
                _ if name.starts_with('.') => {}
                (true, _) if name == "worlds" => {}
                (true, _) => self.folder(&path),
                (false, "md") => {}
                (false, "tsv") if name == "INDEX.tsv" => {}
                (false, "yaml" | "yml") => self.yaml(&path),
                (false, "jsonl") => self.lines(&path),
                (false, _) => self.stray(&path, "not a file that a corpus has".into()),
            }
        }
    }

    /// `netpol/SOURCE/CASE/{case.json, manifests.yaml, expected.tsv}`.
    fn case_folder(&mut self, folder: &Path) {
        let set = format!("netpol/{}", text(folder.parent().and_then(Path::file_name)));
        let value = read(&folder.join("case.json"))
            .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
        match value {
            Ok(value) => self.case(Case {
                set: &set,
                id: self.name(folder),
                list: None,
                value,
                file: &Value::Null,
                folder,
            }),
            Err(message) => self.stray(&folder.join("case.json"), message),
        }
    }

    fn lines(&mut self, path: &Path) {
        // The path as it is on the disk, so that a set that is named alone has the same name as one in a corpus.
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let folder = whole.parent().unwrap_or(&whole);
        let set = format!("{}/{}", text(folder.file_name()), text(path.file_stem()));
        let lines = match read(path) {
            Ok(lines) => lines,
            Err(message) => return self.stray(path, message),
        };
        for (number, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match serde_json::from_str::<Value>(line) {
                Ok(value) => {
                    let id = format!("{}#{}", self.name(path), id_of(&value, || (number + 1).to_string()));
                    self.case(Case { set: &set, id, list: None, value, file: &Value::Null, folder });
                }
                Err(error) => {
                    let id = format!("{}:{}", self.name(path), number + 1);
                    (self.take)(Err(Stray { set: set.clone(), id, message: error.to_string() }));
                }
            }
        }
    }

    fn yaml(&mut self, path: &Path) {
        let file = read(path)
            .and_then(|text| serde_saphyr::from_str::<Value>(&text).map_err(|error| error.to_string()));
        let file = match file {
            Ok(file) => file,
            Err(message) => return self.stray(path, message),
        };
        let Some(schema) = file["schema"].as_str() else {
            return self.stray(path, "it has no `schema:`".into());
        };
        let set = schema.strip_prefix("kubenet/").and_then(|rest| rest.strip_suffix("/v1")).unwrap_or(schema);
        let folder = path.parent().unwrap_or(path);
        match sets::layout(set) {
            Some(Layout::Lists(lists, shared)) => {
                self.not_in_schema(path, set, &file, &[*lists, *shared].concat());
                for list in *lists {
                    let items = file[*list].as_array().map_or(&[][..], Vec::as_slice);
                    for (place, item) in items.iter().enumerate() {
                        let place = id_of(item, || place.to_string());
                        let id = format!("{}#{list}[{place}]", self.name(path));
                        let value = item.clone();
                        self.case(Case { set, id, list: Some(list), value, file: &file, folder });
                    }
                }
            }
            Some(Layout::File) | None => {
                let (id, value) = (self.name(path), file.clone());
                self.case(Case { set, id, list: None, value, file: &file, folder });
            }
            Some(Layout::Lines | Layout::Folder) => {
                self.stray(path, format!("cases of {set:?} are not written as YAML"));
            }
        }
    }

    /// A list that the set's layout does not name would be cases that nobody runs.
    fn not_in_schema(&mut self, path: &Path, set: &str, file: &Value, known: &[&str]) {
        let told = ["schema", "source", "title", "note", "notes"];
        for (key, _) in file.as_object().into_iter().flatten() {
            if !known.contains(&key.as_str()) && !told.contains(&key.as_str()) {
                let id = format!("{}#{key}", self.name(path));
                let message = format!("the layout of {set:?} has no {key:?}");
                (self.take)(Err(Stray { set: set.into(), id, message }));
            }
        }
    }

    fn case(&mut self, case: Case<'_>) {
        if self.seen.insert((case.set.into(), case.id.clone())) {
            return (self.take)(Ok(case));
        }
        let message = "another case has the same id".into();
        (self.take)(Err(Stray { set: case.set.into(), id: case.id, message }));
    }

    fn stray(&mut self, path: &Path, message: String) {
        let id = self.name(path);
        (self.take)(Err(Stray { set: "not a case".into(), id, message }));
    }

    /// The path below the root, written alike on every system.
    fn name(&self, path: &Path) -> String {
        let name = path.strip_prefix(self.root).ok().filter(|rest| !rest.as_os_str().is_empty());
        name.unwrap_or(path).display().to_string().replace('\\', "/")
    }
}

fn id_of(value: &Value, otherwise: impl FnOnce() -> String) -> String {
    value["id"].as_str().map_or_else(otherwise, Into::into)
}

fn text(name: Option<&std::ffi::OsStr>) -> &str {
    name.and_then(std::ffi::OsStr::to_str).unwrap_or_default()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| error.to_string())
}
