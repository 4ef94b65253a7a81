//! Looks an endpoint up in a cluster.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use super::suggest::near;
use super::{Endpoint, Kind, PortName, QuestionError, QuestionFault, Target, Url};
use crate::addr::Protocol;
use crate::cluster::Cluster;
use crate::origin::ObjectRef;

/// What an endpoint means in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// What is meant: one thing, or with `[*]` all pods of a workload. Never empty.
    pub targets: Vec<Resolution>,
    /// The URL's scheme and path, if it is one.
    pub url: Option<Url>,
    /// What was chosen for the asker, in words.
    pub said: Vec<String>,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// What it is.
    pub what: What,
    /// The port, if one was said.
    pub port: Option<u16>,
    /// The transport, when the port was said by a name that has one.
    pub protocol: Option<Protocol>,
}

/// What an end of a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A pod, as an index into [`Cluster::pods`].
    Pod(u32),
    /// A node, as an index into [`Cluster::nodes`].
    Node(u32),
    /// A Service, as an index into [`Cluster::services`].
    Service(u32),
    /// An address; [`Cluster::pod_by_address`] and its sisters say whose.
    Address(IpAddr),
    /// A host outside of the cluster, any or this one.
    Internet(Option<IpAddr>),
    /// A host name, for DNS to look up.
    Host {
        /// The name.
        name: Arc<str>,
        /// What of the cluster could have been meant instead, in the grammar.
        near: Vec<String>,
    },
}

impl Endpoint {
    /// Looks up what it names. Objects without a namespace are looked for in `default_namespace`.
    ///
    /// # Errors
    ///
    /// [`QuestionFault::NotFound`] with near names, [`QuestionFault::Ambiguous`] with the candidates,
    /// [`QuestionFault::Unusable`] for a workload without pods.
    pub fn resolve(&self, cluster: &Cluster, default_namespace: &str) -> Result<Resolved, QuestionError> {
        let look = Look { endpoint: self, cluster, default_namespace };
        let mut said = Vec::new();
        let found = match &self.target {
            Target::Object { namespace, kind, name, all } => {
                look.object(namespace.as_deref(), *kind, name, *all, &mut said)?
            }
            Target::Named { namespace, name, all } => look.named(namespace, name, *all, &mut said)?,
            Target::Address(addr) => alloc::vec![What::Address(*addr)],
            Target::Internet(addr) => alloc::vec![What::Internet(*addr)],
            Target::Host(name) if name.eq_ignore_ascii_case("localhost") => {
                said.push("localhost is 127.0.0.1".into());
                alloc::vec![What::Address(Ipv4Addr::LOCALHOST.into())]
            }
            Target::Host(name) => alloc::vec![What::Host { name: name.clone(), near: look.near_host(name) }],
        };
        let with_port = |what| look.port(&what).map(|(port, protocol)| Resolution { what, port, protocol });
        let targets = found.into_iter().map(with_port).collect::<Result<_, _>>()?;
        Ok(Resolved { targets, url: self.url.clone(), said })
    }
}

/// An object that exists.
#[derive(Clone, PartialEq, Eq)]
struct Candidate {
    kind: Kind,
    namespace: Arc<str>,
    name: Arc<str>,
}

impl Candidate {
    fn grammar(&self) -> String {
        if self.kind == Kind::Node {
            return format!("node/{}", self.name);
        }
        format!("{}/{}/{}", self.namespace, self.kind.short(), self.name)
    }
}

struct Look<'a> {
    endpoint: &'a Endpoint,
    cluster: &'a Cluster,
    default_namespace: &'a str,
}

/// A part of the question's text, for the place of an error.
#[derive(Clone, Copy)]
enum Piece {
    Namespace,
    Name,
    Port,
}

impl Look<'_> {
    fn error(
        &self,
        fault: QuestionFault,
        piece: Piece,
        message: String,
        candidates: Vec<String>,
    ) -> QuestionError {
        let text = &self.endpoint.text;
        let last = text.rfind('/').map_or(0, |at| at + 1);
        let colon = text.get(last..).and_then(|tail| tail.find(':')).map_or(text.len(), |at| last + at);
        let (start, end) = match piece {
            Piece::Namespace => (0, text.find('/').unwrap_or(text.len())),
            Piece::Name => (last, colon),
            Piece::Port => (text.rfind(':').map_or(0, |at| at + 1), text.len()),
        };
        let chars = |range: Option<&str>| range.map_or(0, |t| t.chars().count());
        QuestionError {
            fault,
            text: text.clone(),
            offset: chars(text.get(..start)),
            length: chars(text.get(start..end)).max(1),
            message,
            candidates,
        }
    }

    fn object(
        &self,
        namespace: Option<&str>,
        kind: Kind,
        name: &str,
        all: bool,
        said: &mut Vec<String>,
    ) -> Result<Vec<What>, QuestionError> {
        let exact = self.candidate(kind, namespace.unwrap_or(self.default_namespace), name);
        if namespace.is_none() {
            let word = self.endpoint.text.split('/').next().unwrap_or("");
            let others = self.candidates_in(word, name);
            match (&exact, &others[..]) {
                (_, []) => {}
                (None, [one]) => {
                    said.push(format!("'{word}' is read as the namespace: {}", one.grammar()));
                    return self.pods_of(one, all, said);
                }
                (exact, others) => {
                    return Err(self.ambiguous(exact.iter().chain(others)));
                }
            }
        }
        match exact {
            Some(one) => self.pods_of(&one, all, said),
            None => Err(self.no_object(kind, namespace.unwrap_or(self.default_namespace), name)),
        }
    }

    fn named(
        &self,
        namespace: &str,
        name: &str,
        all: bool,
        said: &mut Vec<String>,
    ) -> Result<Vec<What>, QuestionError> {
        match &self.candidates_in(namespace, name)[..] {
            [one] => self.pods_of(one, all, said),
            [] => Err(self.nothing_named(namespace, name)),
            several => Err(self.ambiguous(several.iter())),
        }
    }

    fn ambiguous<'c>(&self, several: impl Iterator<Item = &'c Candidate>) -> QuestionError {
        let several: Vec<String> = several.map(Candidate::grammar).collect();
        let message = format!("'{}' could be {}; name the kind", self.endpoint.text, or_list(&several));
        self.error(QuestionFault::Ambiguous, Piece::Name, message, several)
    }

    fn candidate(&self, kind: Kind, namespace: &str, name: &str) -> Option<Candidate> {
        let exists = match kind {
            Kind::Pod => self.cluster.pod_named(namespace, name).is_some(),
            Kind::Service => self.cluster.service_named(namespace, name).is_some(),
            Kind::Node => self.cluster.node_named(name).is_some(),
            Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::ReplicaSet
            | Kind::ReplicationController
            | Kind::Job
            | Kind::CronJob => self.cluster.workload(&workload_ref(kind, namespace, name)).is_some(),
        };
        exists.then(|| Candidate { kind, namespace: namespace.into(), name: name.into() })
    }

    fn candidates_in(&self, namespace: &str, name: &str) -> Vec<Candidate> {
        let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Node);
        kinds.filter_map(|kind| self.candidate(kind, namespace, name)).collect()
    }

    /// The pod, node or Service itself; for a workload its first pod by name, or all.
    fn pods_of(
        &self,
        one: &Candidate,
        all: bool,
        said: &mut Vec<String>,
    ) -> Result<Vec<What>, QuestionError> {
        let (kind, namespace, name) = (one.kind, &*one.namespace, &*one.name);
        let missing = || self.no_object(kind, namespace, name);
        if all && !kind.is_workload() {
            let message = format!("[*] means all pods of a workload; {} is a {kind}", one.grammar());
            return Err(self.error(QuestionFault::Unusable, Piece::Name, message, Vec::new()));
        }
        let what = match kind {
            Kind::Pod => What::Pod(self.cluster.pod_named(namespace, name).ok_or_else(missing)?),
            Kind::Service => What::Service(self.cluster.service_named(namespace, name).ok_or_else(missing)?),
            Kind::Node => What::Node(self.cluster.node_named(name).ok_or_else(missing)?),
            Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::ReplicaSet
            | Kind::ReplicationController
            | Kind::Job
            | Kind::CronJob => {
                let workload =
                    self.cluster.workload(&workload_ref(kind, namespace, name)).ok_or_else(missing)?;
                let alive =
                    |pod: &&u32| self.cluster.pods.get(**pod as usize).is_some_and(|pod| !pod.terminal);
                let pods: Vec<u32> = workload.pods.iter().filter(alive).copied().collect();
                let Some(first) = pods.first().copied() else {
                    let message =
                        format!("{} '{name}' in namespace '{namespace}' has no running pod", lower(kind));
                    return Err(self.error(QuestionFault::Unusable, Piece::Name, message, Vec::new()));
                };
                if all {
                    return Ok(pods.into_iter().map(What::Pod).collect());
                }
                let pod = self.cluster.pods.get(first as usize).map_or("", |pod| &*pod.name);
                said.push(match pods.len() {
                    1 => format!("{}/{name} means its only pod, {pod}", kind.short()),
                    n => format!("{}/{name} means the first of its {n} pods by name, {pod}", kind.short()),
                });
                What::Pod(first)
            }
        };
        Ok(alloc::vec![what])
    }

    fn port(&self, what: &What) -> Result<(Option<u16>, Option<Protocol>), QuestionError> {
        let name = match &self.endpoint.port {
            None => return Ok((None, None)),
            Some(PortName::Number(port)) => return Ok((Some(*port), None)),
            Some(PortName::Name(name)) => name,
        };
        let pod = match what {
            What::Pod(pod) => Some(*pod),
            What::Address(addr) => self.cluster.pod_by_address(*addr),
            What::Node(_) | What::Service(_) | What::Internet(_) | What::Host { .. } => None,
        };
        let (owner, named): (String, Vec<(&str, u16, Protocol)>) = match (what, pod) {
            (What::Service(service), _) => {
                let Some(service) = self.cluster.services.get(*service as usize) else {
                    return Ok((None, None));
                };
                let ports =
                    service.ports.iter().filter_map(|p| Some((p.name.as_deref()?, p.port, p.protocol)));
                (format!("service '{}'", service.name), ports.collect())
            }
            (_, Some(pod)) => {
                let Some(pod) = self.cluster.pods.get(pod as usize) else { return Ok((None, None)) };
                let ports = pod.containers.iter().flat_map(|container| &container.ports);
                let ports = ports.filter_map(|p| Some((p.name.as_deref()?, p.port, p.protocol)));
                (format!("pod '{}'", pod.name), ports.collect())
            }
            (_, None) => {
                let message =
                    format!("port '{name}' needs a pod or a Service that names its ports; write a number");
                return Err(self.error(QuestionFault::NotFound, Piece::Port, message, Vec::new()));
            }
        };
        if let Some((_, port, protocol)) = named.iter().find(|(n, ..)| *n == &**name) {
            return Ok((Some(*port), Some(*protocol)));
        }
        let names: Vec<String> = named.iter().map(|(n, ..)| n.to_string()).collect();
        let message = if names.is_empty() {
            format!("{owner} has no port with a name; write a number")
        } else {
            format!("{owner} has no port '{name}'; it has {}", names.join(", "))
        };
        Err(self.error(QuestionFault::NotFound, Piece::Port, message, names))
    }

    /// `no pod 'frontnd' in namespace 'default'; did you mean 'frontend-7d4f6c8b9-x2x4z'?`
    fn no_object(&self, kind: Kind, namespace: &str, name: &str) -> QuestionError {
        let what = lower(kind);
        if kind == Kind::Node {
            let names = near(name, self.cluster.nodes.iter().map(|n| &*n.name), 3);
            let message = format!("no node '{name}'{}", did_you_mean(&names));
            let candidates = names.iter().map(|n| format!("node/{n}")).collect();
            return self.error(QuestionFault::NotFound, Piece::Name, message, candidates);
        }
        if self.cluster.namespace(namespace).is_none() {
            return self.no_namespace(namespace, &format!("{}/{name}", kind.short()));
        }
        let all = self.names_of(kind);
        let here = near(name, all.iter().filter(|(ns, _)| *ns == namespace).map(|(_, n)| *n), 3);
        let elsewhere: Vec<&str> =
            all.iter().filter(|(_, n)| *n == name).map(|(ns, _)| *ns).take(3).collect();
        let mut message = format!("no {what} '{name}' in namespace '{namespace}'");
        let mut candidates: Vec<String> = Vec::new();
        if elsewhere.is_empty() {
            message += &did_you_mean(&here);
        } else {
            message += &format!("; there is one in namespace {}", quoted_list(&elsewhere, "and"));
            candidates.extend(elsewhere.iter().map(|ns| format!("{ns}/{}/{name}", kind.short())));
        }
        candidates.extend(here.iter().map(|n| format!("{namespace}/{}/{n}", kind.short())));
        self.error(QuestionFault::NotFound, Piece::Name, message, candidates)
    }

    fn nothing_named(&self, namespace: &str, name: &str) -> QuestionError {
        if self.cluster.namespace(namespace).is_none() {
            return self.no_namespace(namespace, name);
        }
        let candidates = self.near_names(namespace, name);
        let names: Vec<&str> = candidates.iter().map(String::as_str).collect();
        let message = format!("nothing is named '{name}' in namespace '{namespace}'{}", did_you_mean(&names));
        self.error(QuestionFault::NotFound, Piece::Name, message, candidates)
    }

    /// The first word is neither a namespace nor a kind.
    fn no_namespace(&self, namespace: &str, rest: &str) -> QuestionError {
        let names = near(namespace, self.cluster.namespaces.iter().map(|n| &*n.name), 3);
        let first_of_two = matches!(self.endpoint.target, Target::Named { .. });
        let kinds = near(namespace, Kind::ALL.map(Kind::short).into_iter().filter(|_| first_of_two), 1);
        let mut candidates: Vec<String> = names.iter().chain(&kinds).map(|n| format!("{n}/{rest}")).collect();
        candidates.truncate(3);
        let shown: Vec<&str> = candidates.iter().map(String::as_str).collect();
        let message = format!("no namespace '{namespace}'{}", did_you_mean(&shown));
        let in_text = self.endpoint.text.starts_with(namespace);
        let piece = if in_text { Piece::Namespace } else { Piece::Name };
        self.error(QuestionFault::NotFound, piece, message, candidates)
    }

    fn names_of(&self, kind: Kind) -> Vec<(&str, &str)> {
        match kind {
            Kind::Pod => self.cluster.pods.iter().map(|p| (&*p.namespace, &*p.name)).collect(),
            Kind::Service => self.cluster.services.iter().map(|s| (&*s.namespace, &*s.name)).collect(),
            Kind::Node => self.cluster.nodes.iter().map(|n| ("", &*n.name)).collect(),
            Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::ReplicaSet
            | Kind::ReplicationController
            | Kind::Job
            | Kind::CronJob => {
                let of_kind = self.cluster.workloads.iter().filter(|w| w.object.kind == kind.as_str());
                of_kind.map(|w| (w.object.namespace.as_deref().unwrap_or(""), &*w.object.name)).collect()
            }
        }
    }

    /// A bare word is a host name; objects of the default namespace and nodes of that name are worth telling, or else those of a
    /// near one.
    fn near_host(&self, name: &str) -> Vec<String> {
        let mut found: Vec<String> =
            self.candidates_in(self.default_namespace, name).iter().map(Candidate::grammar).collect();
        if self.cluster.node_named(name).is_some() {
            found.push(format!("node/{name}"));
        }
        if found.is_empty() { self.near_names(self.default_namespace, name) } else { found }
    }

    /// Objects of a namespace with a near name, in the grammar, at most four.
    fn near_names(&self, namespace: &str, name: &str) -> Vec<String> {
        let kinds = [Kind::Pod, Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::Service];
        let mut candidates = Vec::new();
        for kind in kinds {
            let all = self.names_of(kind);
            let here = near(name, all.iter().filter(|(ns, _)| *ns == namespace).map(|(_, n)| *n), 2);
            candidates.extend(here.iter().map(|n| format!("{namespace}/{}/{n}", kind.short())));
        }
        candidates.truncate(4);
        candidates
    }
}

fn workload_ref(kind: Kind, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef { kind: Cow::Borrowed(kind.as_str()), namespace: Some(namespace.into()), name: name.into() }
}

fn lower(kind: Kind) -> String {
    kind.as_str().to_ascii_lowercase()
}

fn did_you_mean(names: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", quoted_list(names, "or")) }
}

fn quoted_list(names: &[&str], word: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    match &quoted[..] {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} {word} {last}", rest.join(", ")),
    }
}

fn or_list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}
