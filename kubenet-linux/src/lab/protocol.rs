//! What is said to the keeper of a lab, and what it says: the schema `kubenet/lab/v1`.
//!
//! One JSON document a line. To start, a [`Start`] goes to the keeper's standard input and [`Event`]s come back by its standard output.
//! Afterwards each connection to its socket carries one [`Request`] and one [`Answer`].

use std::net::IpAddr;
use std::sync::Arc;

use kubenet_core::addr::Protocol;
use kubenet_core::assume::{Assume, Fault};
use kubenet_core::cluster::{InputMode, Service, ServicePort};
use kubenet_core::k8s::load::{LoadOptions, Source};
use kubenet_core::network::Network;
use kubenet_core::origin::ObjectRef;
use serde::{Deserialize, Serialize};

use super::{MachineStatus, Received};
use crate::parity::report::Report;

/// The name of this version.
pub const SCHEMA: &str = "kubenet/lab/v1";

/// A text of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// What origins call it.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What a network is loaded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// The texts.
    pub texts: Vec<Text>,
    /// The namespace of objects that say none.
    pub namespace: Arc<str>,
    /// What is laid over the assumptions among the texts.
    pub assume: Assume,
    /// Whether the control plane is played; told by the texts when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<InputMode>,
}

impl Input {
    /// The network.
    pub fn network(&self) -> Network {
        Network::load(&self.sources(), &self.options(), self.assume.clone(), self.mode)
    }

    /// The texts, to be loaded.
    pub fn sources(&self) -> Vec<Source<'_>> {
        self.texts.iter().map(|text| Source { name: &text.name, bytes: text.text.as_bytes() }).collect()
    }

    /// How they are loaded.
    pub fn options(&self) -> LoadOptions {
        LoadOptions { default_namespace: Some(self.namespace.clone()), ..LoadOptions::default() }
    }
}

/// What a keeper begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Start {
    /// [`SCHEMA`].
    pub schema: String,
    /// The lab's name.
    pub name: String,
    /// The cluster.
    pub input: Input,
    /// Hosts on the internet.
    pub outside: Vec<IpAddr>,
}

/// What a keeper says while it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// How far it is.
    Progress {
        /// Namespaces that are done.
        done: usize,
        /// Namespaces that there will be.
        of: usize,
        /// The machine that is being made.
        machine: String,
    },
    /// The lab is up.
    Up(Box<Status>),
    /// It is not, and the keeper ends.
    Failed(String),
}

/// What a keeper is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// How the lab is.
    Status,
    /// Which namespace words of the question grammar mean.
    Find {
        /// The words.
        what: String,
        /// The namespace of names that say none.
        namespace: Arc<str>,
    },
    /// Objects come or change.
    Apply(Box<Input>),
    /// Objects go.
    Delete(Vec<ObjectRef>),
    /// Something breaks, or is mended.
    Fault {
        /// What.
        fault: Fault,
        /// It is mended.
        undo: bool,
    },
    /// What the servers received from this number on.
    Received {
        /// The number.
        since: u64,
    },
    /// Random flows through model and kernel.
    Verify(Drawn),
    /// The lab ends.
    Down,
}

/// Random flows of a lab's cluster: a part of those that a seed draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drawn {
    /// The seed.
    pub seed: u64,
    /// How many of its flows are left out, from the first on.
    pub skip: usize,
    /// How many are sent.
    pub flows: usize,
}

/// What a keeper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It is done: what has changed, in words.
    Done(Vec<String>),
    /// How the lab is.
    Status(Box<Status>),
    /// A namespace.
    Found {
        /// The file that it is mounted at, in the folder of namespaces.
        file: String,
        /// What the words mean, in full.
        words: String,
        /// What was chosen for the asker.
        said: Vec<String>,
    },
    /// What the servers received.
    Received(Vec<Received>),
    /// What the comparison of model and kernel came to.
    Verified(Box<Report>),
    /// It could not be done.
    Failed(String),
}

/// How a lab is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: String,
    /// The lab's name.
    pub name: String,
    /// The keeper's process, as seen from outside.
    pub pid: i32,
    /// It lives in a user namespace.
    pub is_rootless: bool,
    /// The mode of kube-proxy.
    pub proxy_mode: String,
    /// Its machines.
    pub machines: Vec<MachineStatus>,
    /// The cluster's Services.
    pub services: Vec<ServiceStatus>,
    /// What is broken on purpose.
    pub faults: Vec<Fault>,
    /// What is not as the cluster says, since this system cannot do it.
    pub gaps: Vec<String>,
}

/// Where a Service is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its cluster IPs; none of a headless one.
    pub cluster_ips: Vec<IpAddr>,
    /// Its load balancer's addresses.
    pub load_balancer: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<PortStatus>,
}

impl ServiceStatus {
    /// What a cluster says of a Service.
    pub(super) fn of(service: &Service) -> Self {
        let balancer = service.load_balancer.iter().flat_map(|balancer| &balancer.addresses);
        let port = |port: &ServicePort| PortStatus {
            protocol: port.protocol,
            port: port.port,
            node_port: port.node_port,
        };
        Self {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            cluster_ips: service.cluster_ips.clone(),
            load_balancer: balancer.map(|address| address.addr).collect(),
            ports: service.ports.iter().map(port).collect(),
        }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortStatus {
    /// The transport.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// The port at every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_reads_back() {
        let input = Input {
            texts: vec![Text { name: "a.yaml".into(), text: "kind: Pod".into() }],
            namespace: "shop".into(),
            assume: Assume::default(),
            mode: Some(InputMode::Manifests),
        };
        let fault: Fault = "link-down node-1 dev eth0".parse().expect("a fault");
        for request in [
            Request::Status,
            Request::Find { what: "pod/web".into(), namespace: "default".into() },
            Request::Apply(Box::new(input)),
            Request::Delete(vec![ObjectRef::namespaced("Pod", "default", "web")]),
            Request::Fault { fault, undo: true },
            Request::Received { since: 7 },
            Request::Verify(Drawn { seed: 1, skip: 20, flows: 10 }),
            Request::Down,
        ] {
            let line = serde_json::to_string(&request).expect("JSON");
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Request>(&line).expect("a request"), request);
        }
    }

    #[test]
    fn texts_become_a_network() {
        let text = "{apiVersion: v1, kind: Pod, metadata: {name: web}}".to_owned();
        let texts = vec![Text { name: "a.yaml".into(), text }];
        let input = Input { texts, namespace: "shop".into(), assume: Assume::default(), mode: None };
        assert!(input.network().cluster().pod_named("shop", "web").is_some());
    }
}
