//! Which module of `kubenet-core` may name which.

use super::files::File;
use super::scan::{root_modules, tokens};

/// Every module at the root of `kubenet-core`, lowest first, with the modules that it may name. A module names none
/// that stands after it.
pub const LAYERS: &[(&str, &[&str])] = &[
    ("addr", &[]),
    ("time", &[]),
    ("origin", &[]),
    ("identity", &[]),
    ("lpm", &[]),
    ("packet", &["addr"]),
    ("plan", &["addr", "origin"]),
    // What Linux does. Nothing of Kubernetes.
    ("dataplane", &["addr", "lpm", "packet", "plan", "time"]),
    ("text", &["addr", "lpm", "origin", "plan"]),
    ("observe", &["addr", "origin", "plan", "text"]),
    // What Kubernetes says.
    ("assume", &["addr", "origin", "plan"]),
    ("k8s", &["addr", "assume", "origin"]),
    ("ipam", &["addr"]),
    ("cluster", &["addr", "assume", "identity", "ipam", "k8s", "lpm", "origin"]),
    ("question", &["addr", "cluster", "origin"]),
    // From the one to the other.
    ("compile", &["addr", "assume", "cluster", "identity", "ipam", "k8s", "lpm", "origin", "plan"]),
    ("reach", &["addr", "assume", "cluster", "k8s", "lpm", "origin", "packet", "plan"]),
    ("drift", &["addr", "cluster", "compile", "dataplane", "observe", "origin", "packet", "plan", "time"]),
    (
        "trace",
        &[
            "addr",
            "assume",
            "cluster",
            "compile",
            "dataplane",
            "identity",
            "k8s",
            "lpm",
            "observe",
            "origin",
            "packet",
            "plan",
            "question",
            "reach",
            "time",
        ],
    ),
    (
        "network",
        &[
            "addr",
            "assume",
            "cluster",
            "compile",
            "dataplane",
            "drift",
            "identity",
            "ipam",
            "k8s",
            "lpm",
            "observe",
            "origin",
            "packet",
            "plan",
            "question",
            "reach",
            "text",
            "time",
            "trace",
        ],
    ),
    ("scenario", &["addr", "assume", "cluster", "k8s", "network", "origin", "time", "trace"]),
];

/// Rows of [`LAYERS`] that contradict its order: a module that stands twice, or may name one that is not below it.
pub fn order() -> Vec<String> {
    let place = |name: &str| LAYERS.iter().position(|(module, _)| *module == name);
    let mut offences = Vec::new();
    for (at, (module, below)) in LAYERS.iter().enumerate() {
        if place(module) != Some(at) {
            offences.push(format!("{module} stands twice"));
        }
        let upward = below.iter().filter(|name| place(name).is_none_or(|below| below >= at));
        offences.extend(upward.map(|name| format!("{module} may name {name}, which is not below it")));
    }
    offences
}

/// Modules that name what [`LAYERS`] does not let them name, and modules without a row.
pub fn layering(files: &[File]) -> Vec<String> {
    let mut offences = Vec::new();
    for file in files {
        let Some(inside) = file.path.strip_prefix("kubenet-core/src/") else { continue };
        // Tests of a module may stand on what is above it.
        if inside.contains("/tests/") || inside.ends_with("/tests.rs") {
            continue;
        }
        let module = module_path(inside);
        let Some((root, _)) = module.split_first() else { continue };
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| name == root) else {
            offences.push(format!("{}: module {root} has no row in tests/src/tidy/layers.rs", file.path));
            continue;
        };
        let tokens = match tokens(&file.text) {
            Ok(tokens) => tokens,
            Err(error) => {
                offences.push(format!("{}: {error}", file.path));
                continue;
            }
        };
        // Items at the root of the crate count too: a re-export would be a way around the table.
        let above = root_modules(&tokens, &module)
            .into_iter()
            .filter(|named| named.module != *root && !below.contains(&named.module.as_str()));
        offences.extend(above.map(|n| format!("{}:{}: {root} names {}", file.path, n.line, n.module)));
    }
    offences
}

/// `plan/route.rs` is `["plan", "route"]`, `plan/mod.rs` is `["plan"]`, and the root is nothing.
fn module_path(inside: &str) -> Vec<&str> {
    let Some(inside) = inside.strip_suffix(".rs") else { return Vec::new() };
    let mut module: Vec<&str> = inside.split('/').collect();
    if matches!(module.as_slice(), ["lib"]) || module.last() == Some(&"mod") {
        module.pop();
    }
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_upward_is_told_with_its_place() {
        let file = File::new(
            "kubenet-core/src/plan/route.rs",
            "//! Routes.\nuse super::super::addr;\nuse crate::cluster::Cluster;\n",
        );
        assert_eq!(layering(&[file]), ["kubenet-core/src/plan/route.rs:3: plan names cluster"]);
    }

    #[test]
    fn a_module_without_a_row_is_told() {
        let file = File::new("kubenet-core/src/colour.rs", "//! Colours.\n");
        let told = "kubenet-core/src/colour.rs: module colour has no row in tests/src/tidy/layers.rs";
        assert_eq!(layering(&[file]), [told]);
    }
}
