//! Files that are no manifests yet: Helm templates and kustomizations.

use alloc::format;
use alloc::string::String;

use super::yaml;
use crate::origin::Diagnostic;

/// Whether a text is a template and not YAML as it stands. Manifests may hold templates in strings (`"{{ pod }}"`, the ConfigMap of
/// a sidecar injector); they are good YAML.
pub(super) fn is_template(text: &str) -> bool {
    let acts = |line: &str| {
        let actions = line.split("{{").skip(1).filter(|action| action.contains("}}"));
        let mut words = actions.map(|action| action.trim_start_matches(['-', ' ']));
        words.any(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || ".$/\"(`".contains(c)))
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
