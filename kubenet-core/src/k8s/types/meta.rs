//! Metadata and label selectors (`apimachinery/pkg/apis/meta/v1`).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::read::{list, map, optional_text, text, texts};

/// Labels, annotations, selectors.
pub type Map = BTreeMap<Arc<str>, Arc<str>>;

/// `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectMeta {
    /// The name; empty where a template or `generateName` has none.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
    /// What the API server makes the name from.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub generate_name: Option<Arc<str>>,
    /// The namespace.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Given by the API server: shows that the object is part of a snapshot.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub uid: Option<Arc<str>>,
    /// Labels.
    #[serde(deserialize_with = "map", skip_serializing_if = "Map::is_empty")]
    pub labels: Map,
    /// Annotations.
    #[serde(deserialize_with = "map", skip_serializing_if = "Map::is_empty")]
    pub annotations: Map,
    /// Who made it.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// It is being deleted since.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Arc<str>>,
}

impl ObjectMeta {
    /// The owner that controls it.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller == Some(true))
    }
}

/// Names an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    /// The owner's API group and version.
    #[serde(deserialize_with = "text")]
    pub api_version: Arc<str>,
    /// The owner's kind.
    #[serde(deserialize_with = "text")]
    pub kind: Arc<str>,
    /// The owner's name.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
    /// Whether it is the controlling one.
    pub controller: Option<bool>,
}

/// A label selector. The empty one selects everything; an absent one, where it matters, is an `Option`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there.
    #[serde(deserialize_with = "map", skip_serializing_if = "Map::is_empty")]
    pub match_labels: Map,
    /// Conditions that must hold.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

impl LabelSelector {
    /// Whether it selects something with these labels, which are sorted by key. An operator that does not exist selects
    /// nothing: the API server refuses it.
    pub fn matches(&self, labels: &[(Arc<str>, Arc<str>)]) -> bool {
        let value = |key: &str| {
            let at = labels.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
            labels.get(at).map(|(_, value)| value)
        };
        self.match_labels.iter().all(|(key, wanted)| value(key) == Some(wanted))
            && self.match_expressions.iter().all(|wanted| match (&*wanted.operator, value(&wanted.key)) {
                ("In", Some(value)) => wanted.values.contains(value),
                ("NotIn", Some(value)) => !wanted.values.contains(value),
                ("NotIn" | "DoesNotExist", None) | ("Exists", Some(_)) => true,
                _ => false,
            })
    }
}

/// A condition on a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelectorRequirement {
    /// The label.
    #[serde(deserialize_with = "text")]
    pub key: Arc<str>,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    #[serde(deserialize_with = "text")]
    pub operator: Arc<str>,
    /// The values for the first two.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::LabelSelector;

    fn selects(selector: serde_json::Value) -> bool {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let label = |key: &str, value: &str| (Arc::from(key), Arc::from(value));
        selector.matches(&[label("app", "web"), label("tier", "front")])
    }

    #[test]
    fn a_selector_selects_what_has_all_its_labels_and_meets_all_its_conditions() {
        let condition = |key: &str, operator: &str, values: &[&str]| {
            selects(
                serde_json::json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
            )
        };
        assert!(selects(serde_json::json!({})));
        assert!(selects(serde_json::json!({"matchLabels": {"app": "web", "tier": "front"}})));
        assert!(!selects(serde_json::json!({"matchLabels": {"app": "web", "zone": "a"}})));
        assert!(condition("app", "In", &["web", "api"]) && !condition("app", "In", &["api"]));
        assert!(condition("zone", "NotIn", &["a"]) && !condition("app", "NotIn", &["web"]));
        assert!(condition("app", "Exists", &[]) && !condition("zone", "Exists", &[]));
        assert!(condition("zone", "DoesNotExist", &[]) && !condition("app", "DoesNotExist", &[]));
        assert!(!condition("app", "Likes", &["web"]) && !condition("zone", "In", &["a"]));
    }
}
