//! The Linux adapter: a plan made real, and a machine seen as a plan.
//!
//! In: plans of `kubenet-core`. Out: the same on real interfaces, and what real interfaces hold as a plan. It decides nothing: what
//! stands in a plan is what is applied.
#![cfg(target_os = "linux")]

pub mod guest;
pub mod netns;
pub mod parity;
pub mod tool;
