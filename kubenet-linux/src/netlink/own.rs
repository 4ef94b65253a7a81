//! Origins of what is observed.

use kubenet_core::origin::Origin;

/// Of what carries our mark.
pub(crate) fn ours() -> Origin {
    Origin::implied("kubenet")
}

/// Of everything else.
pub(crate) fn seen() -> Origin {
    Origin::implied("observed")
}
