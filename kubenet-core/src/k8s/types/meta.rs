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
