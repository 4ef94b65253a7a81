//! A model of the whole Kubernetes network.

#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod addr;
pub mod assume;
pub mod cluster;
pub mod compile;
pub mod dataplane;
pub mod identity;
pub mod ipam;
pub mod k8s;
pub mod lpm;
pub mod network;
pub mod origin;
pub mod packet;
pub mod plan;
pub mod question;
pub mod scenario;
pub mod text;
pub mod time;
pub mod trace;
