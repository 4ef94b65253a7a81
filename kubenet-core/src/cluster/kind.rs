//! Kinds of objects that have a place in the network, with the words that kubectl knows them by.

use core::fmt;

/// A kind of object that can be an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `pod`, `po`.
    Pod,
    /// `deployment`, `deploy`.
    Deployment,
    /// `statefulset`, `sts`.
    StatefulSet,
    /// `daemonset`, `ds`.
    DaemonSet,
    /// `replicaset`, `rs`.
    ReplicaSet,
    /// `replicationcontroller`, `rc`.
    ReplicationController,
    /// `job`.
    Job,
    /// `cronjob`, `cj`.
    CronJob,
    /// `service`, `svc`.
    Service,
    /// `node`, `no`.
    Node,
}

impl Kind {
    /// Every kind, in the order in which candidates are listed.
    pub const ALL: [Self; 10] = [
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
        Self::Service,
        Self::Node,
    ];

    /// The kind as in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
            Self::Service => "Service",
            Self::Node => "Node",
        }
    }

    /// kubectl's short name, or the singular where there is none.
    pub const fn short(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Deployment => "deploy",
            Self::StatefulSet => "sts",
            Self::DaemonSet => "ds",
            Self::ReplicaSet => "rs",
            Self::ReplicationController => "rc",
            Self::Job => "job",
            Self::CronJob => "cj",
            Self::Service => "svc",
            Self::Node => "node",
        }
    }

    /// The kind that a word means: singular, plural or short name in any case, with or without its API group
    /// (`deployment.apps`).
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.split_once('.').map_or(word, |(kind, _)| kind);
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(|kind| {
            let singular = kind.as_str();
            let plural = word.strip_suffix(['s', 'S']).is_some_and(|w| w.eq_ignore_ascii_case(singular));
            let extra = match kind {
                Self::Pod => "po",
                Self::Node => "no",
                Self::Deployment
                | Self::StatefulSet
                | Self::DaemonSet
                | Self::ReplicaSet
                | Self::ReplicationController
                | Self::Job
                | Self::CronJob
                | Self::Service => singular,
            };
            is(singular) || plural || is(kind.short()) || is(extra)
        })
    }

    /// Whether it makes pods.
    pub const fn is_workload(self) -> bool {
        match self {
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::ReplicationController
            | Self::Job
            | Self::CronJob => true,
            Self::Pod | Self::Service | Self::Node => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
