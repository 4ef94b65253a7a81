//! `kubenet lab`: the cluster in network namespaces of its own.

pub(crate) mod args;
#[cfg(target_os = "linux")]
mod commands;
#[cfg(target_os = "linux")]
mod progress;
#[cfg(target_os = "linux")]
mod status;

#[cfg(target_os = "linux")]
pub(crate) use self::commands::lab;

/// What it stands on is Linux's.
#[cfg(not(target_os = "linux"))]
pub(crate) fn lab(_: args::LabArgs, _: &mut crate::output::Out) -> anyhow::Result<u8> {
    anyhow::bail!("kubenet lab builds network namespaces, which only Linux has")
}
