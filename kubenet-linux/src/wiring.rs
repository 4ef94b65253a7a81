//! What NICs are plugged into.

use std::sync::Arc;

use kubenet_core::plan::{Link, SegmentId};

use crate::netns::Netns;

/// The far end of a NIC that the adapter may make: the other end of a veth pair.
#[derive(Clone, Debug)]
pub struct Cable {
    /// The namespace that it is in.
    pub netns: Arc<Netns>,
    /// Its name there. It is up.
    pub name: String,
    /// The bridge there that it is a port of.
    pub bridge: Option<String>,
}

/// Says what the NICs of a machine are plugged into.
pub trait Wiring {
    /// The cable of a NIC of a namespace; `None`: the NIC is there, or not, and is not ours.
    fn plug(&self, netns: &str, link: &Link, segment: SegmentId) -> Option<Cable>;
}

/// The wiring of a real node: its NICs are there, and are neither made nor set nor removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWiring;

impl Wiring for NoWiring {
    fn plug(&self, _netns: &str, _link: &Link, _segment: SegmentId) -> Option<Cable> {
        None
    }
}
