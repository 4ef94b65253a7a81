//! A model of the whole Kubernetes network: what happens to a packet, hop by hop, and why.
//!
//! Load manifests (or a snapshot of a cluster), trace a packet, read the verdict:
//!
//! ```
//! use kubenet_core::network::{Network, Question};
//! use kubenet_core::trace::{Outcome, Verdict};
//!
//! let manifests = r#"
//! apiVersion: apps/v1
//! kind: Deployment
//! metadata: { name: cart }
//! spec:
//!   replicas: 2
//!   template:
//!     metadata: { labels: { app: cart } }
//!     spec: { containers: [{ name: server, ports: [{ containerPort: 7070 }] }] }
//! ---
//! apiVersion: v1
//! kind: Pod
//! metadata: { name: client }
//! "#;
//! let network = Network::from_text("shop.yaml", manifests);
//! assert!(network.diagnostics().next().is_none());
//!
//! let trace = network.trace(&Question::new("pod/client", "deploy/cart:7070"))?;
//! let case = &trace.outcomes[0];
//! assert_eq!((case.outcome, case.verdict), (Outcome::Delivered, Verdict::Connected));
//! // Every hop has the frame's bytes, and what decided.
//! assert!(case.hops.iter().any(|hop| hop.device.as_deref() == Some("cni0")));
//! // What the answer rests on is part of it.
//! assert!(trace.assumptions.iter().any(|assumption| assumption.key == "cni"));
//! # Ok::<(), kubenet_core::network::AskError>(())
//! ```
//!
//! [`network`] is the façade; start there. The layers below can be used alone: [`ipam`] (addresses as the control plane gives
//! them), [`dataplane`] (a Linux host that is fed frames), [`text`] (what `ip`, `bridge` and `ss` print, both ways), [`compile`]
//! (from a cluster to the plan of one machine), [`k8s::load`] (manifests and dumps). `examples/` has one for each.
//!
//! The crate does no I/O, reads no clock, starts no thread and rolls no dice of its own: the same input gives the same answer.
//! Without the default feature `std` it needs only `alloc`; the feature changes no answer. What it does not model is *unknown*
//! in an answer, with the reason and what would settle it.

#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod addr;
pub mod assume;
pub mod cluster;
pub mod compile;
pub mod dataplane;
pub mod drift;
pub mod identity;
pub mod ipam;
pub mod k8s;
pub mod lpm;
pub mod network;
pub mod observe;
pub mod origin;
pub mod packet;
pub mod plan;
pub mod question;
pub mod scenario;
pub mod text;
pub mod time;
pub mod trace;
