//! Kubernetes objects: their types, and a set of them.
//!
//! In: objects, one by one, from a loader or from a program. Out: [`Objects`], by kind, each object once.

pub mod build;
pub mod load;
mod objects;
pub mod sloppy;
pub mod types;

pub use self::objects::{AnyObject, DEFAULT_NAMESPACE, Key, ObjectChange, ObjectError, Objects, Other};
