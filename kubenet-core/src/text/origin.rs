//! Comparing what was read with what was printed: the same, wherever it came from.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::origin::{Origin, OriginKind};
use crate::plan::{
    Address, ConntrackEntry, FdbEntry, IpRule, IpSet, IpSetEntry, Link, Neighbour, RealServer, Route, Socket,
    VirtualServer, nft, xt,
};

/// The same thing with no particular origin, to compare two that came from different places.
pub trait WithoutOrigin {
    /// Replaces every origin in it by [`OriginKind::Embedder`].
    #[must_use]
    fn without_origin(self) -> Self;
}

impl<T: WithoutOrigin> WithoutOrigin for Vec<T> {
    fn without_origin(self) -> Self {
        self.into_iter().map(WithoutOrigin::without_origin).collect()
    }
}

macro_rules! replace_origin {
    ($($kind:ty),*) => {$(
        impl WithoutOrigin for $kind {
            fn without_origin(mut self) -> Self {
                self.origin = Origin::new(OriginKind::Embedder);
                self
            }
        }
    )*};
}

replace_origin!(Address, ConntrackEntry, FdbEntry, IpRule, IpSetEntry, Neighbour, RealServer, Route, Socket);

impl WithoutOrigin for xt::Table {
    fn without_origin(mut self) -> Self {
        for chain in &mut self.chains {
            for rule in &mut Arc::make_mut(chain).rules {
                rule.origin = Origin::new(OriginKind::Embedder);
            }
        }
        self
    }
}

impl WithoutOrigin for nft::Table {
    fn without_origin(mut self) -> Self {
        self.origin = Origin::new(OriginKind::Embedder);
        for chain in &mut self.chains {
            for rule in &mut Arc::make_mut(chain).rules {
                rule.origin = Origin::new(OriginKind::Embedder);
            }
        }
        for set in &mut self.sets {
            let set = Arc::make_mut(set);
            set.origin = Origin::new(OriginKind::Embedder);
            set.elements.iter_mut().for_each(|element| element.origin = None);
        }
        self
    }
}

impl WithoutOrigin for IpSet {
    fn without_origin(mut self) -> Self {
        self.origin = Origin::new(OriginKind::Embedder);
        self.entries = self.entries.without_origin();
        self
    }
}

impl WithoutOrigin for VirtualServer {
    fn without_origin(mut self) -> Self {
        self.origin = Origin::new(OriginKind::Embedder);
        self.servers = self.servers.without_origin();
        self
    }
}

impl WithoutOrigin for Link {
    fn without_origin(mut self) -> Self {
        self.origin = Origin::new(OriginKind::Embedder);
        self.addresses = self.addresses.without_origin();
        self
    }
}
