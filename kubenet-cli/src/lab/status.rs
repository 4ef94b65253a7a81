//! `kubenet lab status`, for people.

use kubenet_linux::lab::protocol::{ServiceStatus, Status};
use kubenet_linux::lab::{ListenerStatus, MachineStatus, NetnsStatus};

use crate::output::{Out, clean, paint, style};

pub(crate) fn show(status: &Status, out: &mut Out) -> anyhow::Result<()> {
    let how = if status.is_rootless { ", in a user namespace" } else { "" };
    out.line(&format!(
        "{} is up: mode {}, {} machines, {} pods, process {}{how}",
        paint(style::PLACE, &status.name),
        status.proxy_mode,
        status.machines.len(),
        pods(status),
        status.pid,
    ))?;
    for machine in &status.machines {
        show_machine(machine, out)?;
    }
    for service in &status.services {
        show_service(service, out)?;
    }
    for fault in &status.faults {
        out.line(&format!("{} {}", paint(style::BAD, "fault:"), clean(&fault.to_string())))?;
    }
    show_gaps(status, out)
}

/// What is not as the cluster says.
pub(crate) fn show_gaps(status: &Status, out: &mut Out) -> anyhow::Result<()> {
    for gap in &status.gaps {
        out.line(&format!("{} {}", paint(style::OPEN, "gap:"), clean(gap)))?;
    }
    Ok(())
}

/// How many pods there are.
pub(crate) fn pods(status: &Status) -> usize {
    status.machines.iter().map(|machine| machine.netns.len().saturating_sub(1)).sum()
}

fn show_machine(machine: &MachineStatus, out: &mut Out) -> anyhow::Result<()> {
    let pending = if machine.is_pending {
        "  its last change failed: the next one begins with a look at it"
    } else {
        ""
    };
    for netns in &machine.netns {
        let (indent, name) = if netns.name.is_empty() { ("", &machine.name) } else { ("  ", &netns.name) };
        let pending = if netns.name.is_empty() { pending } else { "" };
        out.line(&format!("{indent}{}  {}{pending}", paint(style::PLACE, name), words(netns)))?;
    }
    Ok(())
}

fn show_service(service: &ServiceStatus, out: &mut Out) -> anyhow::Result<()> {
    let addresses = service.cluster_ips.iter().chain(&service.load_balancer).map(ToString::to_string);
    let ports = service.ports.iter().map(|port| {
        let node_port = port.node_port.map(|number| format!(" (node port {number})")).unwrap_or_default();
        format!("{}/{}{node_port}", port.protocol, port.port)
    });
    let name = paint(style::PLACE, &format!("service {}/{}", service.namespace, service.name));
    let addresses = addresses.collect::<Vec<_>>().join(" ");
    out.line(&format!("{name}  {addresses}  {}", ports.collect::<Vec<_>>().join(", ")))
}

fn words(netns: &NetnsStatus) -> String {
    let listeners = netns.listeners.iter().map(listener).collect::<Vec<_>>().join(", ");
    let listens = if listeners.is_empty() { String::new() } else { format!("  {listeners}") };
    clean(&format!("{}{listens}", netns.addresses.join(" ")))
}

fn listener(listener: &ListenerStatus) -> String {
    format!("{}/{} {}", listener.protocol, listener.port, listener.process)
}
