//! What holds for the whole of kubenet, and the tools that look.
//!
//! [`corpus`] runs folders of cases, each a fact with its source, against the library. [`tidy`] reads the tree itself:
//! which module names which, and what no file may hold. [`loaded`] has the real tools load what is rendered. The tests beside this crate and `cargo xtask` call both.

pub mod corpus;
pub mod loaded;
pub mod scenario_files;
pub mod tidy;
