//! Files that are no manifests yet: Helm templates and kustomizations.

use alloc::format;
use alloc::string::String;

use super::yaml;
use crate::origin::Diagnostic;

/// Whether a text is a template and not YAML as it stands. Manifests may hold templates in strings (`"{{ pod }}"`, the ConfigMap of
/// a sidecar injector); they are good YAML.
pub(super) fn is_template(text: &str) -> bool {
    let acts = |line: &str| {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("{{") {
            let word = after.trim_start_matches(['-', ' ']);
            if word.starts_with(['.', '$'])
                || [
                    "if ",
                    "else",
                    "end",
                    "range ",
                    "with ",
                    "include ",
                    "template ",
                    "define ",
                    "toYaml ",
                    "/*",
                    "tpl ",
                    "required ",
                    "default ",
                ]
                .iter()
                .any(|start| word.starts_with(start))
            {
                return true;
            }
            rest = after;
        }
        false
    };
    text.contains("{{") && text.lines().any(acts) && !yaml::is_good(text)
}

/// Says how to load a chart.
pub(super) fn helm(path: &str) -> Diagnostic {
    let chart = match path.rsplit_once("/templates/") {
        Some((chart, _)) => chart,
        None => "CHART",
    };
    Diagnostic::error("helm-template", format!("{path} is a template, not a manifest"))
        .help(format!("render it first, a Helm chart with: helm template RELEASE {chart} | kubenet … -f -"))
}

/// Says how to load a kustomization.
pub(super) fn kustomization(path: &str) -> Diagnostic {
    let folder: String = match path.rsplit_once('/') {
        Some((folder, _)) => folder.into(),
        None if path == "-" => "DIR".into(),
        None => ".".into(),
    };
    let message = format!(
        "{path} is a kustomization: it says how to change manifests, which are loaded here without the change"
    );
    Diagnostic::warning("kustomization", message)
        .help(format!("render it first: kubectl kustomize {folder} | kubenet … -f -"))
}
