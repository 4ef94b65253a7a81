//! From trees to objects: which kind it is, whether it can be read, and what is told when it cannot.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::Deserialize;

use super::de::{At, Fault};
use super::field::{Cost, Field};
use super::path::Hint;
use super::scalar::Scalar;
use super::text::Text;
use super::tree::{Kind, NodeId, Tree};
use super::{Limits, LoadOptions, group, keep, template};
use crate::assume::{Assume, Assumptions};
use crate::k8s::types::ObjectMeta;
use crate::k8s::{AnyObject, DEFAULT_NAMESPACE, Objects, Other};
use crate::origin::{Diagnostic, Location, ObjectRef, Origin, OriginKind};

/// How many faults an object may have before it is given up.
const MOST_FAULTS: usize = 32;

/// How many faults of YAML and JSON themselves are told of one source. Each costs a look at all of it.
const MOST_TOLD: usize = 100;

/// What a list says about its items.
#[derive(Clone, Debug, Default)]
pub(super) struct ListHead<'h> {
    /// Their kind.
    pub(super) kind: Option<&'h str>,
    /// Their API group and version.
    pub(super) api_version: Option<&'h str>,
}

/// What kind of object it is, and its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'h> {
    pub(super) kind: &'h str,
    pub(super) api_version: Option<&'h str>,
    pub(super) namespace: Option<&'h str>,
    pub(super) name: Option<&'h str>,
    /// It is part of a list, which may say some of that for it.
    pub(super) in_list: bool,
}

/// How an object is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// A kind that is read.
    Typed(&'static str),
    /// A list of objects.
    List,
    /// [`Assumptions`].
    Assumptions,
    /// Nothing more than its name matters, or it is told already why it cannot be read.
    Done,
}

/// A state of a [`Sink`] to come back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    log: usize,
    others: usize,
    told_source: bool,
}

/// Where objects and diagnostics go.
#[derive(Debug)]
pub(super) struct Sink<'s> {
    pub(super) limits: Limits,
    pub(super) log: Vec<Diagnostic>,
    pub(super) hint: Hint,
    pub(super) objects: Objects,
    pub(super) assume: Option<Assume>,
    options: &'s LoadOptions,
    path: Arc<str>,
    /// Templates and kustomizations are told once for each source.
    told_source: bool,
    /// That it has documents about something else is told.
    told_nothing: bool,
    /// How many faults of YAML and JSON this source has.
    broken: usize,
}

impl<'s> Sink<'s> {
    pub(super) fn new(options: &'s LoadOptions) -> Self {
        Self {
            limits: options.limits,
            log: Vec::new(),
            hint: Hint::default(),
            objects: Objects::default(),
            assume: None,
            options,
            path: "".into(),
            told_source: false,
            told_nothing: false,
            broken: 0,
        }
    }

    /// Tells of a fault of YAML or JSON itself, if not too many are told already.
    pub(super) fn broken(&mut self, found: impl FnOnce() -> Diagnostic) {
        self.broken += 1;
        match self.broken {
            ..=MOST_TOLD => self.log.push(found()),
            _ if self.broken == MOST_TOLD + 1 => {
                let message = format!("{} has more faults than are told", self.path);
                self.log.push(Diagnostic::warning("limit", message));
            }
            _ => {}
        }
    }

    /// Whether it has so many faults that it is not worth to read on.
    pub(super) fn gives_up(&self) -> bool {
        self.broken > MOST_TOLD
    }

    /// What follows comes from another source.
    pub(super) fn source(&mut self, path: &Arc<str>) {
        (self.path, self.hint) = (path.clone(), Hint::of(path));
        (self.told_source, self.told_nothing, self.broken) = (false, false, 0);
    }

    /// Remembers what was told and met so far.
    pub(super) fn mark(&self) -> Mark {
        Mark { log: self.log.len(), others: self.objects.others.len(), told_source: self.told_source }
    }

    /// Forgets what was told and met since.
    pub(super) fn reset(&mut self, mark: Mark) {
        self.log.truncate(mark.log);
        self.objects.others.truncate(mark.others);
        self.told_source = mark.told_source;
    }

    /// Takes an object. What was told since `told` is about it.
    pub(super) fn object(
        &mut self,
        text: &mut Text<'_>,
        tree: &mut Tree<'_>,
        root: NodeId,
        list: Option<&ListHead<'_>>,
        told: usize,
    ) {
        if tree.is_empty() {
            return;
        }
        // An object stands where its first key does.
        let first = match tree.children(root).next() {
            Some(key) if tree.node(root).kind == Kind::Map => *tree.node(key),
            Some(_) | None => *tree.node(root),
        };
        let location = text.location(first.start as usize, first.end as usize);
        match tree.node(root).kind {
            Kind::Map => {}
            Kind::Plain if tree.scalar(root) == Some(Scalar::Null) => return,
            Kind::Plain | Kind::Quoted | Kind::Seq | Kind::Bad => {
                return self.no_object(location, list.is_some());
            }
        }
        let kind = tree.get_text(root, "kind").or_else(|| list.and_then(|list| list.kind)).map(String::from);
        let Some(kind) = kind else {
            let keys: Vec<&str> = tree.entries(root).map(|(key, _)| tree.text(key)).collect();
            return self.no_kind(location, &keys);
        };
        let metadata = tree.get(root, "metadata");
        let of_metadata = |key: &str| metadata.and_then(|metadata| tree.get_text(metadata, key));
        let head = Head {
            kind: &kind,
            api_version: tree.get_text(root, "apiVersion").or_else(|| list.and_then(|list| list.api_version)),
            namespace: of_metadata("namespace"),
            name: of_metadata("name"),
            in_list: list.is_some(),
        };
        let items = tree.get(root, "items").filter(|&items| tree.node(items).kind == Kind::Seq);
        let unnamed = metadata
            .and_then(|metadata| tree.get(metadata, "name"))
            .is_some_and(|name| !matches!(tree.scalar(name), Some(Scalar::Text(_) | Scalar::Null)));
        let object = match self.route(&head, items.is_some(), unnamed, &location) {
            Route::Done => None,
            Route::Assumptions => {
                self.assumptions(text, tree, root);
                None
            }
            Route::List => {
                let api_version = head.api_version.map(String::from);
                let of = self.item_kind(&kind, api_version.as_deref());
                let items: Vec<NodeId> =
                    items.map(|items| tree.children(items).collect()).unwrap_or_default();
                for item in items {
                    let of = ListHead { kind: of.as_deref(), api_version: api_version.as_deref() };
                    self.object(text, tree, item, Some(&of), self.log.len());
                }
                None
            }
            Route::Typed(kind) => {
                let object = object_ref(kind, head.namespace, head.name.unwrap_or_default(), self.options);
                self.typed(text, tree, root, kind, &location);
                Some(object)
            }
        };
        if let Some(object) = object {
            for found in self.log[told..].iter_mut().filter(|found| found.object.is_none()) {
                found.object = Some(object.clone());
            }
        }
    }

    /// Takes what remains of a list whose items were handed on one by one: its head, and those that do not say what they are.
    pub(super) fn list(&mut self, text: &mut Text<'_>, head: &mut Tree<'_>, waiting: Vec<Tree<'_>>) {
        let kind = head.get_text(0, "kind").map(String::from);
        let api_version = head.get_text(0, "apiVersion").map(String::from);
        let of = match &kind {
            Some(kind) if !kind.ends_with("List") => return self.object(text, head, 0, None, self.log.len()),
            Some(kind) => self.item_kind(kind, api_version.as_deref()),
            None => self.hinted_kind(),
        };
        let of = ListHead { kind: of.as_deref(), api_version: api_version.as_deref() };
        for mut item in waiting {
            self.object(text, &mut item, 0, Some(&of), self.log.len());
        }
    }

    /// Takes the items of a sequence that is no object.
    pub(super) fn bare_items(&mut self, text: &mut Text<'_>, waiting: Vec<Tree<'_>>) {
        let kind = self.hinted_kind();
        let of = ListHead { kind: kind.as_deref(), api_version: None };
        for mut item in waiting {
            self.object(text, &mut item, 0, Some(&of), self.log.len());
        }
    }

    /// The kind of a list's items. Such a list shows that the kind was collected.
    pub(super) fn item_kind(&mut self, list: &str, api_version: Option<&str>) -> Option<String> {
        match list.strip_suffix("List") {
            Some("") | None => {
                // A plain List says nothing, but its file's name may.
                self.hinted_kind();
                None
            }
            Some(kind) => {
                if api_version.is_none_or(|api_version| is_ours(api_version, kind)) {
                    self.objects
                        .collected
                        .insert(known(kind).map_or_else(|| String::from(kind).into(), Cow::Borrowed));
                }
                Some(kind.into())
            }
        }
    }

    /// The kind that the path tells. The file shows that it was collected.
    pub(super) fn hinted_kind(&mut self) -> Option<String> {
        let kind = self.hint.kind.clone()?;
        self.objects.collected.insert(kind.clone());
        Some(kind.into_owned())
    }

    /// Decides how an object is read; tells what is missing.
    pub(super) fn route(
        &mut self,
        head: &Head<'_>,
        has_items: bool,
        unnamed: bool,
        location: &Location,
    ) -> Route {
        let &Head { kind, api_version, namespace, name, in_list } = head;
        let at = || Some(location.clone());
        let (group, _) = api_version.and_then(|v| v.rsplit_once('/')).unwrap_or(("", ""));
        if group == "kustomize.config.k8s.io" || (self.hint.kustomization && api_version.is_none()) {
            self.kustomization(at());
            return Route::Done;
        }
        if kind.ends_with("List") && has_items {
            return Route::List;
        }
        if kind == "Assumptions" && group == "kubenet" {
            return Route::Assumptions;
        }
        let templated = |text: Option<&str>| text.is_some_and(|text| text.contains("{{"));
        if templated(name) || templated(namespace) {
            self.helm(at());
            return Route::Done;
        }
        let known = known(kind).filter(|kind| api_version.is_none_or(|version| group::serves(version, kind)));
        let Some(known) = known else {
            let object = ObjectRef {
                kind: String::from(kind).into(),
                namespace: namespace.map(Arc::from),
                name: name.unwrap_or_default().into(),
            };
            let origin =
                Origin::new(OriginKind::Object { object: object.clone(), field: None, location: at() });
            let api_version = api_version.unwrap_or_default().into();
            self.objects.others.push(Other { api_version, object, origin });
            return Route::Done;
        };
        if name.is_none_or(str::is_empty) && !unnamed {
            let message = format!("a {kind} without metadata.name");
            let help = "give it a name; of generateName only the API server makes one";
            self.log.push(Diagnostic::error("no-name", message).at(at()).help(help));
            return Route::Done;
        }
        if api_version.is_none() && !in_list {
            let object = object_ref(known, namespace, name.unwrap_or_default(), self.options);
            let message = format!("{object} has no apiVersion, and kubectl would refuse it");
            self.log.push(Diagnostic::warning("no-api-version", message).on(object).at(at()));
        }
        Route::Typed(known)
    }

    fn typed(
        &mut self,
        text: &Text<'_>,
        tree: &mut Tree<'_>,
        root: NodeId,
        kind: &'static str,
        location: &Location,
    ) {
        for _ in 0..MOST_FAULTS {
            let options = self.options;
            let origin = |metadata: &mut ObjectMeta| complete(kind, metadata, options, location.clone());
            let Some(read) = AnyObject::deserialize(kind, origin, At { tree, id: root }) else { return };
            let fault = match read {
                Ok(object) => return self.put(object),
                Err(fault) => fault,
            };
            if self.fault(text, tree, root, kind, fault) == Cost::Object {
                return;
            }
        }
        let message = format!("a {kind} with more than {MOST_FAULTS} faults is left out");
        self.log.push(Diagnostic::error("field", message).at(Some(location.clone())));
    }

    /// Tells of a fault and takes the part away that it costs.
    fn fault(
        &mut self,
        text: &Text<'_>,
        tree: &mut Tree<'_>,
        root: NodeId,
        kind: &str,
        fault: Fault,
    ) -> Cost {
        let node = fault.node.unwrap_or(root);
        let field = Field::of(tree, root, node);
        let cost = field.cost(kind);
        let told_already = tree.node(node).kind == Kind::Bad;
        if let Cost::Part(part) = cost {
            tree.drop_node(part);
        }
        if told_already && cost != Cost::Object {
            return cost;
        }
        let metadata = tree.get(root, "metadata");
        let of_metadata = |key: &str| metadata.and_then(|metadata| tree.get_text(metadata, key));
        let name = of_metadata("name").unwrap_or_default();
        let object = object_ref(kind, of_metadata("namespace"), name, self.options);
        let path = field.path();
        // The data of a ConfigMap could be anything: it is not shown.
        let hidden = kind == "ConfigMap" && field.is_below(&["data"]);
        let (what, help) = match hidden {
            true => ("is not text".into(), Some("write it in quotes".into())),
            false => (fault.message, fault.help),
        };
        let named = if name.is_empty() { String::from(kind) } else { format!("{object}") };
        let lost = match cost {
            Cost::Object => format!("; the {kind} is left out"),
            Cost::Part(_) => String::new(),
        };
        let place = tree.node(node);
        let mut found = Diagnostic::error("field", format!("{named}: {path} {what}{lost}"))
            .field(path)
            .at(Some(text.look_up(place.start as usize, place.end as usize)));
        found.object = Some(object).filter(|_| !name.is_empty());
        found.help = help;
        self.log.push(found);
        cost
    }

    /// Takes an object that is read. The same uid twice is one object that was dumped twice, and nobody's mistake.
    pub(super) fn put(&mut self, mut object: AnyObject) {
        if let AnyObject::ConfigMap(map) = &mut object
            && let Some(map) = Arc::get_mut(map)
        {
            keep::config_map(&mut map.value);
        }
        let (uid, origin) = (object.metadata().uid.clone(), object.origin().clone());
        let Some(earlier) = self.objects.put(object) else { return };
        if uid.is_some() && uid == earlier.metadata().uid {
            return;
        }
        let named = origin.object_ref().map(|object| format!("{object}")).unwrap_or_default();
        let found =
            Diagnostic::warning("duplicate-object", format!("{named} stands twice; the last one counts"));
        let earlier = earlier.origin().location().cloned();
        self.log.push(found.from_origin(&origin).related("the first one is here", earlier));
    }

    fn assumptions(&mut self, text: &Text<'_>, tree: &mut Tree<'_>, root: NodeId) {
        for _ in 0..MOST_FAULTS {
            match Assumptions::deserialize(At { tree, id: root }) {
                Ok(said) => {
                    let below = self.assume.take().unwrap_or_default();
                    self.assume = Some(said.spec.over(below));
                    return;
                }
                Err(fault) => {
                    if self.fault(text, tree, root, "Assumptions", fault) == Cost::Object {
                        return;
                    }
                }
            }
        }
    }

    fn no_object(&mut self, location: Location, in_list: bool) {
        if in_list {
            let found = Diagnostic::error("no-object", "an item of a list that is no object");
            self.log.push(found.at(Some(location)));
        } else {
            self.nothing(location);
        }
    }

    /// An object without a kind is a mistake if it looks like one of Kubernetes; else the file is about something else.
    fn no_kind(&mut self, location: Location, keys: &[&str]) {
        if self.hint.kustomization {
            return self.kustomization(Some(location));
        }
        if !["apiVersion", "metadata", "spec"].iter().any(|key| keys.contains(key)) {
            return self.nothing(location);
        }
        let found = Diagnostic::error("no-kind", "an object without a kind");
        self.log.push(found.at(Some(location)).help("say what it is, such as kind: Pod"));
    }

    /// A document about something else, which is told once for each source.
    fn nothing(&mut self, location: Location) {
        if !core::mem::replace(&mut self.told_nothing, true) {
            let message = format!("{} has a document that is no Kubernetes object", location.file);
            self.log.push(Diagnostic::note("no-object", message).at(Some(location)));
        }
    }

    pub(super) fn helm(&mut self, location: Option<Location>) {
        if !core::mem::replace(&mut self.told_source, true) {
            self.log.push(template::helm(&self.path).at(location));
        }
    }

    fn kustomization(&mut self, location: Option<Location>) {
        if !core::mem::replace(&mut self.told_source, true) {
            self.log.push(template::kustomization(&self.path).at(location));
        }
    }

    pub(super) fn into_parts(self) -> (Objects, Option<Assume>, Vec<Diagnostic>) {
        (self.objects, self.assume, self.log)
    }

    pub(super) fn options(&self) -> &'s LoadOptions {
        self.options
    }
}

/// Completes metadata, and says where the object stands.
pub(super) fn complete(
    kind: &'static str,
    metadata: &mut ObjectMeta,
    options: &LoadOptions,
    location: Location,
) -> Origin {
    let namespaced = AnyObject::is_namespaced(kind) == Some(true);
    if namespaced && metadata.namespace.as_deref().is_none_or(str::is_empty) {
        metadata.namespace.clone_from(&options.default_namespace);
    }
    keep::metadata(metadata);
    let namespace =
        namespaced.then(|| metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.into()));
    let object = ObjectRef { kind: Cow::Borrowed(kind), namespace, name: metadata.name.clone() };
    Origin::new(OriginKind::Object { object, field: None, location: Some(location) })
}

fn object_ref(kind: &str, namespace: Option<&str>, name: &str, options: &LoadOptions) -> ObjectRef {
    let default = || options.default_namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let kind = known(kind).map_or_else(|| Cow::Owned(kind.into()), Cow::Borrowed);
    let namespace = (AnyObject::is_namespaced(&kind) == Some(true))
        .then(|| namespace.filter(|namespace| !namespace.is_empty()).unwrap_or_else(default).into());
    ObjectRef { kind, namespace, name: name.into() }
}

/// The name of a kind that is read.
pub(super) fn known(kind: &str) -> Option<&'static str> {
    AnyObject::KINDS.iter().copied().find(|known| *known == kind)
}

/// A kind that is not read counts as collected whatever its group.
fn is_ours(api_version: &str, kind: &str) -> bool {
    known(kind).is_none_or(|kind| group::serves(api_version, kind))
}
