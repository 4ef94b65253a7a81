//! A set of objects, each once, by kind, namespace and name.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::Deserialize;

use super::load::serves;
use super::types::{
    BGPAdvertisement, ConfigMap, CronJob, DaemonSet, Deployment, EndpointSlice, Endpoints, IPAddressPool,
    Ingress, IngressClass, Job, L2Advertisement, Namespace, NetworkPolicy, Node, Object, ObjectMeta, Pod,
    ReplicaSet, ReplicationController, Service, Shared, StatefulSet,
};
use crate::origin::{ObjectRef, Origin};

/// The namespace of namespaced objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Namespace and name; the namespace is empty for cluster-scoped kinds.
pub type Key = (Arc<str>, Arc<str>);

/// An object that is recognised but not read: its kind may still matter (foreign policies, meshes, routes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// API group and version.
    pub api_version: Arc<str>,
    /// Which object.
    pub object: ObjectRef,
    /// Where it stands.
    pub origin: Origin,
}

/// A change of a set of objects.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectChange {
    /// The object comes, or replaces the one of its kind and name.
    Put(AnyObject),
    /// The object goes.
    Delete(ObjectRef),
}

/// Why a JSON value is not an object.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[non_exhaustive]
pub enum ObjectError {
    /// There is no `kind`.
    #[error("an object without a kind")]
    NoKind,
    /// There is no `metadata.name`.
    #[error("a {kind} without a name")]
    NoName {
        /// The kind.
        kind: String,
    },
    /// A field has the wrong type.
    #[error("{kind} {name}: {message}")]
    Field {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// What is wrong.
        message: String,
    },
}

macro_rules! kinds {
    ($($kind:ident $field:ident $namespaced:literal),+ $(,)?) => {
        /// Objects by kind. Cloning copies references, not objects.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Objects {
            $(
                #[doc = concat!("Objects of kind `", stringify!($kind), "`.")]
                pub $field: BTreeMap<Key, Shared<$kind>>,
            )+
            /// Objects of kinds that are not read, in order of arrival.
            pub others: Vec<Other>,
            /// Kinds that the input holds completely, even if there is none of them: what a snapshot lacks is not here.
            pub collected: BTreeSet<Cow<'static, str>>,
        }

        /// An object of any kind that is read.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each variant is the kind that it is named after")]
        pub enum AnyObject {
            $($kind(Shared<$kind>),)+
        }

        impl AnyObject {
            /// The kinds that are read.
            pub const KINDS: &'static [&'static str] = &[$(stringify!($kind)),+];

            /// The kind as in a manifest.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$kind(_) => stringify!($kind),)+ }
            }

            /// Its metadata.
            pub fn metadata(&self) -> &ObjectMeta {
                match self { $(Self::$kind(object) => &object.metadata,)+ }
            }

            /// Where it stands.
            pub fn origin(&self) -> &Origin {
                match self { $(Self::$kind(object) => &object.origin,)+ }
            }

            /// The object as JSON, as far as it is read.
            ///
            /// # Errors
            ///
            /// That of the serializer.
            pub fn to_json(&self) -> Result<serde_json::Value, serde_json::Error> {
                let mut json = match self { $(Self::$kind(object) => serde_json::to_value(&***object)?,)+ };
                if let Some(map) = json.as_object_mut() {
                    map.insert("kind".into(), self.kind().into());
                }
                Ok(json)
            }

            /// Whether objects of this kind are in a namespace; `None` for a kind that is not read.
            pub fn is_namespaced(kind: &str) -> Option<bool> {
                match kind {
                    $(stringify!($kind) => Some($namespaced),)+
                    _ => None,
                }
            }

            /// Reads an object of a kind; `None` for a kind that is not read. The caller says where it stands when its
            /// metadata are known, and may complete them.
            ///
            /// # Errors
            ///
            /// That of the deserializer.
            pub fn deserialize<'de, D: serde::Deserializer<'de>>(
                kind: &str,
                origin: impl FnOnce(&mut ObjectMeta) -> Origin,
                deserializer: D,
            ) -> Option<Result<Self, D::Error>> {
                match kind {
                    $(stringify!($kind) => Some($kind::deserialize(deserializer).map(|mut value| {
                        let origin = origin(&mut value.metadata);
                        Self::$kind(Arc::new(Object::new(value, origin)))
                    })),)+
                    _ => None,
                }
            }
        }

        $(
            impl From<Object<$kind>> for AnyObject {
                fn from(object: Object<$kind>) -> Self {
                    Self::$kind(Arc::new(object))
                }
            }
        )+

        impl Objects {
            /// Takes an object; gives back the one of the same kind and name that it replaces.
            pub fn put(&mut self, object: AnyObject) -> Option<AnyObject> {
                match object {
                    $(AnyObject::$kind(object) => {
                        let key = key(&object.metadata, $namespaced);
                        self.$field.insert(key, object).map(AnyObject::$kind)
                    })+
                }
            }

            /// Takes an object away.
            pub fn delete(&mut self, object: &ObjectRef) -> Option<AnyObject> {
                let namespace = |namespaced| match (&object.namespace, namespaced) {
                    (Some(namespace), true) => namespace.clone(),
                    (None, true) => DEFAULT_NAMESPACE.into(),
                    (_, false) => "".into(),
                };
                match &*object.kind {
                    $(stringify!($kind) => self
                        .$field
                        .remove(&(namespace($namespaced), object.name.clone()))
                        .map(AnyObject::$kind),)+
                    _ => None,
                }
            }

            /// How many objects of a kind there are.
            pub fn count(&self, kind: &str) -> usize {
                match kind {
                    $(stringify!($kind) => self.$field.len(),)+
                    _ => self.others.iter().filter(|other| other.object.kind == kind).count(),
                }
            }

            /// All objects that are read, kind by kind, each in order of namespace and name.
            pub fn iter(&self) -> impl Iterator<Item = AnyObject> + '_ {
                core::iter::empty()$(.chain(self.$field.values().cloned().map(AnyObject::$kind)))+
            }
        }
    };
}

kinds! {
    Node nodes false,
    Namespace namespaces false,
    Pod pods true,
    Deployment deployments true,
    ReplicaSet replica_sets true,
    StatefulSet stateful_sets true,
    DaemonSet daemon_sets true,
    Job jobs true,
    CronJob cron_jobs true,
    ReplicationController replication_controllers true,
    Service services true,
    Endpoints endpoints true,
    EndpointSlice endpoint_slices true,
    ConfigMap config_maps true,
    NetworkPolicy network_policies true,
    Ingress ingresses true,
    IngressClass ingress_classes false,
    IPAddressPool ip_address_pools true,
    L2Advertisement l2_advertisements true,
    BGPAdvertisement bgp_advertisements true,
}

impl Objects {
    /// Applies changes in order.
    pub fn apply(&mut self, changes: &[ObjectChange]) {
        for change in changes {
            match change {
                ObjectChange::Put(object) => drop(self.put(object.clone())),
                ObjectChange::Delete(object) => drop(self.delete(object)),
            }
        }
    }

    /// Whether an API server gave one of the objects a uid.
    pub fn has_uid(&self) -> bool {
        self.iter().any(|object| object.metadata().uid.is_some())
    }

    /// Reads one object from JSON, or the items of a `List`. Kinds that are not read become [`Objects::others`].
    ///
    /// # Errors
    ///
    /// [`ObjectError`] for the first object that cannot be read; those before it are taken.
    pub fn put_json(&mut self, value: &serde_json::Value) -> Result<(), ObjectError> {
        let kind = value.get("kind").and_then(|v| v.as_str()).ok_or(ObjectError::NoKind)?;
        match (kind.strip_suffix("List"), value.get("items").and_then(|v| v.as_array())) {
            // The items of a PodList do not repeat that they are Pods.
            (Some(of), Some(items)) => items.iter().try_for_each(|item| {
                let kind = item.get("kind").and_then(|v| v.as_str()).unwrap_or(of);
                self.put_one(kind, item)
            }),
            (Some(_) | None, _) => self.put_one(kind, value),
        }
    }

    fn put_one(&mut self, kind: &str, value: &serde_json::Value) -> Result<(), ObjectError> {
        if kind.is_empty() {
            return Err(ObjectError::NoKind);
        }
        let text = |key: &str| value.get(key).and_then(|v| v.as_str());
        let metadata = value.get("metadata");
        let of_metadata = |key: &str| metadata.and_then(|m| m.get(key)).and_then(|v| v.as_str());
        let name = of_metadata("name").ok_or_else(|| ObjectError::NoName { kind: kind.into() })?;
        // A kind of the same name in another group is another kind.
        let ours = text("apiVersion").is_none_or(|version| version.is_empty() || serves(version, kind));
        let namespace = match AnyObject::is_namespaced(kind).filter(|_| ours) {
            Some(true) => Some(of_metadata("namespace").unwrap_or(DEFAULT_NAMESPACE)),
            Some(false) => None,
            None => of_metadata("namespace"),
        };
        let object = ObjectRef {
            kind: String::from(kind).into(),
            namespace: namespace.map(Arc::from),
            name: name.into(),
        };
        let origin = Origin::object(object.clone());
        let read = ours.then(|| AnyObject::deserialize(kind, |_| origin.clone(), value)).flatten();
        match read {
            Some(Ok(object)) => drop(self.put(object)),
            Some(Err(error)) => {
                let message = error.to_string();
                return Err(ObjectError::Field { kind: kind.into(), name: name.into(), message });
            }
            None => {
                let api_version = text("apiVersion").unwrap_or_default().into();
                self.others.push(Other { api_version, object, origin });
            }
        }
        Ok(())
    }
}

fn key(metadata: &ObjectMeta, namespaced: bool) -> Key {
    let namespace = match (&metadata.namespace, namespaced) {
        (Some(namespace), true) => namespace.clone(),
        (None, true) => DEFAULT_NAMESPACE.into(),
        (_, false) => "".into(),
    };
    (namespace, metadata.name.clone())
}
