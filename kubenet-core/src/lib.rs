//! A model of the whole Kubernetes network.

#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod addr;
pub mod cluster;
pub mod origin;
pub mod plan;
pub mod time;
