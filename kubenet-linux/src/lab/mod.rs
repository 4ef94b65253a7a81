//! The lab: a cluster in network namespaces of its own, with servers that listen in them.

pub mod isolate;
mod servers;

pub use self::isolate::isolate;
pub use self::servers::{Received, Seen};
