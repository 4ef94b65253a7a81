//! `kubenet observe` and `kubenet apply`: a node of this machine's kernel.

#[cfg(target_os = "linux")]
mod apply;
pub(crate) mod args;
#[cfg(target_os = "linux")]
mod observe;
#[cfg(target_os = "linux")]
mod place;

#[cfg(target_os = "linux")]
pub(crate) use self::{apply::apply, observe::observe};

/// What it looks at is Linux's.
#[cfg(not(target_os = "linux"))]
pub(crate) fn observe(_: &args::ObserveArgs, _: &mut crate::output::Out) -> anyhow::Result<u8> {
    anyhow::bail!("kubenet observe reads the network of a Linux kernel, and this is none")
}

/// What it changes is Linux's.
#[cfg(not(target_os = "linux"))]
pub(crate) fn apply(_: &args::ApplyArgs, _: &mut crate::output::Out) -> anyhow::Result<u8> {
    anyhow::bail!("kubenet apply changes the network of a Linux kernel, and this is none")
}
