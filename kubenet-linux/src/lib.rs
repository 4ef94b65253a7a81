//! The Linux adapter: a plan made real, and a machine seen as a plan.
//!
//! In: plans of `kubenet-core`. Out: the same on real interfaces, and what real interfaces hold as a plan. It decides nothing: what
//! stands in a plan is what is applied. [`Kernel`] is what it does: [`Netlink`] to a machine, [`Fake`] in memory, [`Flaky`] to either
//! until it fails.
#![cfg(target_os = "linux")]

mod agent;
mod dump;
mod fake;
pub mod guest;
mod kernel;
pub mod lab;
mod netlink;
pub mod netns;
mod own;
pub mod parity;
mod rules;
pub mod tool;
mod wiring;

pub use self::agent::{Agent, Reason, Step};
pub use self::dump::Dump;
pub use self::fake::{Fake, Flaky};
pub use self::kernel::{Error, Kernel, Observe};
pub use self::netlink::{Netlink, Others};
pub use self::own::{difference, undo};
pub use self::rules::{Tools, XtTools};
pub use self::wiring::{Cable, NoWiring, Wiring};
