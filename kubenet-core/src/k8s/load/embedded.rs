//! Texts inside of objects: ConfigMaps hold the settings of kube-proxy, kubeadm and CNIs as YAML or JSON.

use alloc::vec::Vec;

use serde_json::Value;

use super::object::Sink;
use super::{Limits, LoadOptions, text, yaml};

/// Such a text is written by a person or an installer.
const LIMITS: Limits = Limits { bytes: 1 << 20, depth: 50, nodes: 100_000, alias_bytes: 64 << 10 };

/// The first document of a text. `None` where it is neither YAML nor JSON, or larger than a setting is.
pub(crate) fn embedded(text: &str) -> Option<Value> {
    if text.len() > LIMITS.bytes {
        return None;
    }
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let options = LoadOptions { limits: LIMITS, ..LoadOptions::default() };
    let mut sink = Sink::new(&options);
    let mut texts = text::texts(&"".into(), text.as_bytes(), &mut Vec::new()).into_iter();
    yaml::value(&mut texts.next()?, &mut sink)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::embedded;

    #[test]
    fn yaml_and_json_become_values_and_other_text_nothing() {
        assert_eq!(embedded("{\"a\": [1]}"), Some(json!({"a": [1]})));
        assert_eq!(
            embedded("# c\na:\n  b: on\n  c: \"\"\n---\nd: 1"),
            Some(json!({"a": {"b": true, "c": ""}}))
        );
        assert_eq!(embedded("a: &x {b: 1}\nc: *x"), Some(json!({"a": {"b": 1}, "c": {"b": 1}})));
        assert_eq!(embedded("{"), None);
        assert_eq!(embedded(""), None);
        assert_eq!(embedded(&"[".repeat(10_000)), None);
    }
}
