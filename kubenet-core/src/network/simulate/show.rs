//! What a command on a machine would print in the middle of a simulation.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Outcome, Run};
use crate::dataplane::Machine;
use crate::network::render::{RenderError, find, render};
use crate::network::{Network, Table};
use crate::plan::{IpvsProtocol, PlanSource, RealServer, VirtualId, VirtualServer};
use crate::text::conntrack::Layer3;
use crate::text::{conntrack, ip_neigh, ipvsadm};
use crate::time::Instant;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// `conntrack -L`.
    Conntrack,
    /// A table, with what was learned where packets change it.
    Table(Table),
}

impl Shown {
    /// By the name that a script gives it.
    pub(super) fn named(name: &str) -> Option<Self> {
        if name == "conntrack" { Some(Self::Conntrack) } else { Table::named(name).map(Self::Table) }
    }
}

impl Run {
    /// What a command prints at a time.
    pub(super) fn show(&mut self, at: Instant, shown: Shown, what: &str) -> Result<Outcome, String> {
        let network: Network = self.network.clone();
        let namespace: Arc<str> = self.namespace.clone();
        let told = |error: RenderError| error.to_string();
        let (place, netns) =
            find(&network, what, &namespace).map_err(|error| told(RenderError::What(error)))?;
        let plans = self.with_outside(network.plans());
        let mut world = self.world(&plans, at);
        let machine = plans.machine_named(&place.name).and_then(|id| world.machine(id));
        let text = match (shown, machine) {
            (Shown::Conntrack, Some(machine)) => {
                Ok(conntrack::render(&machine.conntrack(netns as u32, at), Layer3::Hide))
            }
            (Shown::Table(Table::IpNeigh), Some(machine)) => {
                Ok(ip_neigh::render(&machine.neighbours(netns as u32)))
            }
            (Shown::Table(Table::Ipvsadm), Some(machine)) => Ok(virtual_servers(machine, netns, at)),
            (Shown::Table(table), _) => render(&network, what, &namespace, table, false).map_err(told),
            (Shown::Conntrack, None) => Err(format!("'{what}' is no machine")),
        };
        self.parked = world.park();
        text.map(Outcome::Shown)
    }
}

/// The virtual servers of a node. A real server that was removed stays with weight 0 while it has
/// connections over TCP, as kube-proxy keeps it (`pkg/proxy/ipvs/graceful_termination.go`, v1.36, which looks once a minute).
fn virtual_servers(machine: &Machine, netns: usize, at: Instant) -> String {
    let Some(plan) = machine.plan().netns.get(netns) else { return String::new() };
    let connections = machine.ipvs_connections(netns as u32, at);
    let mut servers: Vec<VirtualServer> =
        plan.netfilter.whole().ipvs.iter().map(|server| (**server).clone()).collect();
    for server in &mut servers {
        let is_tcp = matches!(server.id, VirtualId::Addr { protocol: IpvsProtocol::Tcp, .. });
        let mut removed: Vec<(IpAddr, u16)> = connections
            .iter()
            .filter(|connection| connection.virtual_id == server.id)
            .map(|connection| connection.server)
            .filter(|end| !server.servers.iter().any(|real| (real.addr, real.port) == *end))
            .collect();
        removed.dedup();
        let origin = server.origin.clone();
        let weightless = |(addr, port)| {
            let real = RealServer::new(addr, port, origin.clone());
            RealServer { weight: 0, ..real }
        };
        server.servers.extend(removed.into_iter().filter(|_| is_tcp).map(weightless));
    }
    ipvsadm::render(&servers)
}
