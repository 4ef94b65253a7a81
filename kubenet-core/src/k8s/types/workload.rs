//! Workloads (`api/apps/v1`, `api/batch/v1` and `api/core/v1`).

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use super::meta::{LabelSelector, ObjectMeta};
use super::pod::PodSpec;
use super::read::{nullable, optional_text};

/// A pod template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodTemplate {
    /// Metadata of its pods.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What its pods are like.
    #[serde(deserialize_with = "nullable")]
    pub spec: PodSpec,
}

/// The `spec` of Deployment, ReplicaSet, StatefulSet, DaemonSet and ReplicationController.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadSpec {
    /// How many pods; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Which pods belong to it: a label selector, or plain labels in a ReplicationController.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<serde_json::Value>,
    /// A StatefulSet's headless Service.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub service_name: Option<Arc<str>>,
    /// Where a StatefulSet starts to count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordinals: Option<Ordinals>,
    /// What its pods are like.
    #[serde(deserialize_with = "nullable")]
    pub template: PodTemplate,
}

/// `StatefulSet.spec.ordinals`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ordinals {
    /// The first ordinal.
    pub start: u32,
}

/// A Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Deployment {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: WorkloadSpec,
}

/// A ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicaSet {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: WorkloadSpec,
}

/// A StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSet {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: WorkloadSpec,
}

/// A DaemonSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSet {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: WorkloadSpec,
}

/// A ReplicationController.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicationController {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: WorkloadSpec,
}

/// A Job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Job {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: JobSpec,
}

/// `Job.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobSpec {
    /// How many pods at once; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// How many pods in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completions: Option<u32>,
    /// `NonIndexed` (the default) or `Indexed`.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub completion_mode: Option<Arc<str>>,
    /// No pods now.
    #[serde(deserialize_with = "nullable")]
    pub suspend: bool,
    /// Which pods belong to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// What its pods are like.
    #[serde(deserialize_with = "nullable")]
    pub template: PodTemplate,
}

/// A CronJob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJob {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is wished for.
    #[serde(deserialize_with = "nullable")]
    pub spec: CronJobSpec,
}

/// `CronJob.spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobSpec {
    /// When.
    #[serde(deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Arc<str>>,
    /// Not now.
    #[serde(deserialize_with = "nullable")]
    pub suspend: bool,
    /// What its Jobs are like.
    #[serde(deserialize_with = "nullable")]
    pub job_template: JobTemplate,
}

/// `CronJob.spec.jobTemplate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobTemplate {
    /// Metadata of its Jobs.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What its Jobs are like.
    #[serde(deserialize_with = "nullable")]
    pub spec: JobSpec,
}
