//! The controllers' part: pods from workloads, named as Kubernetes names them.
//!
//! In: workloads with their templates. Out: pods without a node, each with what it asks of one.
//! Names follow from the workload's name and the replica's number, so a change of anything else leaves them alone:
//!
//! | workload | pod name |
//! |---|---|
//! | Deployment | `NAME-<hash>-<suffix>`, hash as `pod-template-hash` looks, suffix of five letters |
//! | ReplicaSet, ReplicationController, Job | `NAME-<suffix>` |
//! | DaemonSet | `NAME-<suffix>`, one per node that fits |
//! | StatefulSet | `NAME-<ordinal>` |
//! | indexed Job | `NAME-<index>-<suffix>` |
//! | CronJob | those of one Job `NAME-<number>` |
//!
//! Sources: `k8s.io/apiserver/pkg/storage/names`, `pkg/controller/{deployment,statefulset,daemon,job,cronjob}`, v1.36. The real
//! hash covers the template; this one covers the identity, so that editing an image renames nothing.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::schedule::Asks;
use super::{Container, Pod};
use crate::identity::{identity, name_suffix, template_hash};
use crate::origin::{ObjectRef, Origin};

/// What a pod template or a pod says, as far as the network is concerned.
#[derive(Clone, Debug, Default)]
pub(super) struct Template {
    pub(super) labels: Vec<(Arc<str>, Arc<str>)>,
    pub(super) asks: Asks,
    pub(super) hostname: Option<Arc<str>>,
    pub(super) subdomain: Option<Arc<str>>,
    pub(super) host_network: bool,
    pub(super) containers: Vec<Container>,
}

/// What a workload makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    /// So many pods by way of a ReplicaSet.
    Deployment(u32),
    /// So many pods.
    Replicas(u32),
    /// Pods with ordinals from the first number on.
    Ordinals { first: u32, count: u32 },
    /// One pod on every node that fits.
    PerNode,
    /// Pods of a Job.
    Job { count: u32, indexed: bool },
    /// Pods of one run of a CronJob.
    CronJob { count: u32, indexed: bool },
}

impl Make {
    /// The same with another number of pods. What runs once per node stays so.
    pub(super) const fn with_count(self, count: u32) -> Self {
        match self {
            Self::Deployment(_) => Self::Deployment(count),
            Self::Replicas(_) => Self::Replicas(count),
            Self::Ordinals { first, .. } => Self::Ordinals { first, count },
            Self::PerNode => Self::PerNode,
            Self::Job { indexed, .. } => Self::Job { count, indexed },
            Self::CronJob { indexed, .. } => Self::CronJob { count, indexed },
        }
    }
}

/// A workload of the input.
#[derive(Clone, Debug)]
pub(super) struct WorkloadIn {
    pub(super) object: ObjectRef,
    pub(super) make: Make,
    pub(super) template: Arc<Template>,
    pub(super) origin: Origin,
}

/// A pod before it is scheduled.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) pod: Pod,
    pub(super) template: Arc<Template>,
    /// Ranks the nodes.
    pub(super) key: u64,
    /// Its number among the pods of its workload.
    pub(super) replica: u32,
}

/// The pod names that are in use. A generated name that is in use gets another suffix.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<Arc<str>, BTreeSet<Arc<str>>, foldhash::fast::FixedState>);

impl Names {
    /// Takes a name; false when it is in use.
    pub(super) fn claim(&mut self, namespace: &Arc<str>, name: &Arc<str>) -> bool {
        match self.0.get_mut(&**namespace) {
            Some(names) => names.insert(name.clone()),
            None => self.0.entry(namespace.clone()).or_default().insert(name.clone()),
        }
    }
}

impl WorkloadIn {
    /// The hash that ranks nodes for this workload.
    pub(super) fn key(&self) -> u64 {
        identity(&[&self.object.kind, self.namespace(), &self.object.name])
    }

    fn namespace(&self) -> &str {
        self.object.namespace.as_deref().unwrap_or("default")
    }

    fn namespace_shared(&self) -> Arc<str> {
        self.object.namespace.clone().unwrap_or_else(|| "default".into())
    }

    /// The pods, except for those of a DaemonSet. The first `existing` of them are in the input already.
    pub(super) fn pods(&self, existing: u32, names: &mut Names) -> Vec<Made> {
        let plain = &*self.object.name;
        match self.make {
            Make::Deployment(count) => {
                let hash = template_hash(self.key());
                let set = format!("{plain}-{hash}");
                let replica_set = ObjectRef::namespaced("ReplicaSet", self.namespace(), &set);
                let label = [("pod-template-hash".into(), hash.into())];
                let one = |i| self.generated(&set, i, names, Some(replica_set.clone()), &label);
                (existing..count).map(one).collect()
            }
            Make::Replicas(count) => {
                (existing..count).map(|i| self.generated(plain, i, names, None, &[])).collect()
            }
            Make::Ordinals { first, count } => {
                let ordinals = (0..count).filter_map(|i| Some((i, first.checked_add(i)?)));
                ordinals.filter_map(|(i, ordinal)| self.ordinal(i, ordinal, names)).collect()
            }
            Make::PerNode => Vec::new(),
            Make::Job { count, indexed } => self.job(plain, None, indexed, existing..count, names),
            Make::CronJob { count, indexed } => {
                // A CronJob names its Jobs by the scheduled minute since 1970: eight digits in this century.
                let name = format!("{plain}-{}", 29_000_000 + self.key() % 1_000_000);
                let job = ObjectRef::namespaced("Job", self.namespace(), &name);
                self.job(&name, Some(job), indexed, existing..count, names)
            }
        }
    }

    /// The pod of a DaemonSet on a node.
    pub(super) fn daemon(&self, node: u32, node_name: &str, names: &mut Names) -> Made {
        let mut made = self.named(&self.object.name, &["on", node_name], 0, names, None, &[]);
        made.pod.node = Some(node);
        made
    }

    fn job(
        &self,
        name: &str,
        job: Option<ObjectRef>,
        indexed: bool,
        replicas: core::ops::Range<u32>,
        names: &mut Names,
    ) -> Vec<Made> {
        let one = |i: u32| {
            let mut labels = alloc::vec![
                (Arc::from("batch.kubernetes.io/job-name"), Arc::from(name)),
                (Arc::from("job-name"), Arc::from(name)),
            ];
            if !indexed {
                return self.generated(name, i, names, job.clone(), &labels);
            }
            labels.push(("batch.kubernetes.io/job-completion-index".into(), format!("{i}").into()));
            self.generated(&format!("{name}-{i}"), i, names, job.clone(), &labels)
        };
        replicas.map(one).collect()
    }

    fn ordinal(&self, replica: u32, ordinal: u32, names: &mut Names) -> Option<Made> {
        let name = format!("{}-{ordinal}", self.object.name);
        let name: Arc<str> = name.into();
        if !names.claim(&self.namespace_shared(), &name) {
            return None;
        }
        let labels = [
            (Arc::from("apps.kubernetes.io/pod-index"), Arc::from(format!("{ordinal}"))),
            (Arc::from("statefulset.kubernetes.io/pod-name"), name.clone()),
        ];
        Some(self.made(name, replica, None, &labels))
    }

    fn generated(
        &self,
        base: &str,
        replica: u32,
        names: &mut Names,
        via: Option<ObjectRef>,
        labels: &[(Arc<str>, Arc<str>)],
    ) -> Made {
        self.named(base, &["replica", &format!("{replica}")], replica, names, via, labels)
    }

    /// `base-<suffix>`, cut to 63 letters as `generateName` is.
    fn named(
        &self,
        base: &str,
        which: &[&str; 2],
        replica: u32,
        names: &mut Names,
        via: Option<ObjectRef>,
        labels: &[(Arc<str>, Arc<str>)],
    ) -> Made {
        let base: String = format!("{base}-").chars().take(58).collect();
        let namespace = self.namespace_shared();
        let mut attempt = 0_u32;
        loop {
            let words = [&*self.object.kind, self.namespace(), &self.object.name, which[0], which[1]];
            let hash = identity(&words).wrapping_add(u64::from(attempt));
            let name: Arc<str> = format!("{base}{}", name_suffix(hash)).into();
            if names.claim(&namespace, &name) || attempt > 1000 {
                return self.made(name, replica, via, labels);
            }
            attempt += 1;
        }
    }

    fn made(
        &self,
        name: Arc<str>,
        replica: u32,
        via: Option<ObjectRef>,
        labels: &[(Arc<str>, Arc<str>)],
    ) -> Made {
        let mut all = self.template.labels.clone();
        for (key, value) in labels {
            match all.binary_search_by(|(k, _)| k.cmp(key)) {
                Ok(_) => {}
                Err(at) => all.insert(at, (key.clone(), value.clone())),
            }
        }
        let hostname = match self.make {
            Make::Ordinals { .. } => Some(name.clone()),
            Make::Deployment(_)
            | Make::Replicas(_)
            | Make::PerNode
            | Make::Job { .. }
            | Make::CronJob { .. } => self.template.hostname.clone(),
        };
        let pod = Pod {
            namespace: self.namespace_shared(),
            name,
            hostname,
            subdomain: self.template.subdomain.clone(),
            labels: all,
            node: None,
            addresses: Vec::new(),
            host_network: self.template.host_network,
            terminal: false,
            ready: true,
            terminating: false,
            containers: self.template.containers.clone(),
            owners: core::iter::once(self.object.clone()).chain(via).collect(),
            origin: self.origin.clone(),
        };
        Made { pod, template: self.template.clone(), key: self.key(), replica }
    }
}
