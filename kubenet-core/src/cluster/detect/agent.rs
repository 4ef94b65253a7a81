//! Programs that run on the nodes' own network: what a cluster's network is made by.
//!
//! A DaemonSet is looked at before its pods, which may be all that there is. Pods with a network of their own are left out: they use
//! the network, and what looks like a control plane among them is that of another cluster.

use alloc::format;
use alloc::string::String;

use crate::k8s::types::{Container, ObjectMeta, PodSpec};
use crate::k8s::{DEFAULT_NAMESPACE, Objects};
use crate::origin::Origin;

/// A DaemonSet, or a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agent<'a> {
    kind: &'static str,
    pub(super) metadata: &'a ObjectMeta,
    pub(super) spec: &'a PodSpec,
    pub(super) origin: &'a Origin,
}

/// All agents, DaemonSets first.
pub(super) fn agents(objects: &Objects) -> impl Iterator<Item = Agent<'_>> {
    let sets = objects.daemon_sets.values().map(|set| Agent {
        kind: "DaemonSet",
        metadata: &set.metadata,
        spec: &set.spec.template.spec,
        origin: &set.origin,
    });
    let pods = objects.pods.values().map(|pod| Agent {
        kind: "Pod",
        metadata: &pod.metadata,
        spec: &pod.spec,
        origin: &pod.origin,
    });
    sets.chain(pods).filter(|agent| agent.spec.host_network)
}

impl<'a> Agent<'a> {
    /// `DaemonSet kube-system/kube-proxy`.
    pub(super) fn shown(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace(), self.metadata.name)
    }

    pub(super) fn namespace(&self) -> &'a str {
        self.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }

    /// The name that tells what it is: a pod's DaemonSet's.
    pub(super) fn name(&self) -> &'a str {
        match self.metadata.controller() {
            Some(owner) if &*owner.kind == "DaemonSet" => &owner.name,
            Some(_) | None => &self.metadata.name,
        }
    }

    /// All its containers, those that run first included.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Container> + use<'a> {
        self.spec.containers.iter().chain(&self.spec.init_containers)
    }
}

/// The path of an image, without registry digest and tag, and the tag.
pub(super) fn image(container: &Container) -> (&str, Option<&str>) {
    let image = container.image.as_deref().unwrap_or("");
    let image = image.split_once('@').map_or(image, |(path, _)| path);
    match image.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (image, None),
    }
}

/// Whether the last parts of an image's path are these.
pub(super) fn image_is(container: &Container, parts: &str) -> bool {
    let (path, _) = image(container);
    path.strip_suffix(parts).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// What an option of a container's command says: `--name=value`, `--name value`, also inside of a shell's script. A flag without
/// a value says the empty text.
pub(super) fn option<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    let parts = container.command.iter().chain(&container.args);
    words(parts.flat_map(|part| part.split_whitespace()), name)
}

/// The same of any words.
pub(super) fn words<'a>(words: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let mut words = words.peekable();
    let mut said = None;
    while let Some(word) = words.next() {
        let Some(option) = word.trim_start_matches(['"', '\'']).strip_prefix("--") else { continue };
        let value = match option.strip_prefix(name) {
            Some("") => words.peek().filter(|next| !next.starts_with('-')).copied().unwrap_or(""),
            Some(rest) => match rest.strip_prefix('=') {
                Some(value) => value,
                None => continue,
            },
            None => continue,
        };
        // Of an option that is given twice the last one counts.
        said = Some(value.trim_matches(['"', '\'']));
    }
    said
}

/// Whether a flag is on; `default` when it is not given.
pub(super) fn flag(container: &Container, name: &str, default: bool) -> bool {
    match option(container, name) {
        None => default,
        Some(value) => !matches!(value, "false" | "0" | "f" | "F" | "FALSE" | "False"),
    }
}
