//! The lab: a cluster in network namespaces of its own, with servers that listen in them.
//!
//! In: a [`Network`]. Out: its machines and pods as namespaces, wired as the plan says, and changed as the network changes. What is
//! made is made in the namespaces that the caller is in, and goes when [`Lab`] is dropped; [`isolate()`] gives a process a place where
//! the kernel sees to that, however the process ends. [`keeper`] is the program that keeps a lab up for others.
//!
//! | plan | lab |
//! |---|---|
//! | a machine, a pod | a network namespace, mounted below [`Options::folder`] |
//! | a segment | a bridge in the namespace `switch` |
//! | a card | one end of a veth pair; the other is a port of that bridge |
//! | a socket and its process | a socket in the namespace, served by this process |
//! | an address that is answered for but not held | a responder on a packet socket |
//! | a neighbour that is silent | a rule of `nft` that drops its answers |
//!
//! Not in the lab: pod networks of CNIs that are not modelled, ports of pods that nothing declares (nobody listens there), and
//! connections that a plan says are tracked already.

pub mod client;
pub mod enter;
mod find;
pub mod home;
pub mod isolate;
pub mod keeper;
mod machine;
mod needs;
pub mod protocol;
mod servers;
mod silence;
mod switch;
mod verify;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use kubenet_core::addr::Family;
use kubenet_core::compile::{Plans, some_outside_address};
use kubenet_core::network::Network;
use kubenet_core::plan::{MachineId, MachinePlan, PlanSource as _};

pub use self::isolate::isolate;
use self::machine::Machine;
pub use self::machine::{ListenerStatus, MachineStatus, NetnsStatus};
pub use self::needs::Missing;
use self::servers::Servers;
pub use self::servers::{Received, Records, Seen};
use self::switch::{SWITCH, Switch};
use crate::netns::{self, Netns};

/// How a lab is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hosts on the internet, besides one of each family that the cluster has.
    pub outside: Vec<IpAddr>,
    /// Where the namespaces are mounted.
    pub folder: PathBuf,
}

impl Default for Options {
    /// No further hosts, and the folder of `ip netns`.
    fn default() -> Self {
        Self { outside: Vec::new(), folder: isolate::NETNS_FOLDER.into() }
    }
}

/// How far a lab has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Namespaces that are done.
    pub done: usize,
    /// Namespaces that there will be.
    pub of: usize,
    /// The machine that is being made.
    pub machine: &'a str,
}

/// Why a lab is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Something is not on this machine.
    #[error("{0}")]
    Missing(Missing),
    /// A segment's inside is not modelled.
    #[error("{segment}: {why}; a lab cannot be made of it: use --cni bridge")]
    Opaque {
        /// The segment.
        segment: Arc<str>,
        /// Why it is not.
        why: String,
    },
    /// A namespace could not be made or found.
    #[error("namespace {name}: {error}")]
    Netns {
        /// Its name.
        name: Arc<str>,
        /// What went wrong.
        error: io::Error,
    },
    /// A machine could not be brought to its plan.
    #[error("{machine}: {error}")]
    Machine {
        /// Its name.
        machine: Arc<str>,
        /// What went wrong.
        error: crate::Error,
    },
    /// A silent neighbour could not be silenced.
    #[error("{netns}: {error}")]
    Silence {
        /// The namespace.
        netns: Arc<str>,
        /// What the tool said.
        error: crate::tool::ToolError,
    },
    /// There are no servers.
    #[error("starting the servers: {0}")]
    Servers(io::Error),
}

impl LabError {
    /// Whether the network was refused before anything was done.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Opaque { .. })
    }

    fn machine(machine: &str, error: crate::Error) -> Self {
        Self::Machine { machine: machine.into(), error }
    }
}

/// A cluster in namespaces. It goes when this is dropped.
#[derive(Debug)]
pub struct Lab {
    machines: BTreeMap<Arc<str>, Machine>,
    switch: Switch,
    servers: Servers,
    options: Options,
    gaps: Vec<String>,
}

impl Lab {
    /// Makes a lab of a network, in the namespaces that the caller is in.
    ///
    /// # Errors
    ///
    /// [`LabError`]; what was made until then is gone.
    pub fn up(network: &Network, options: &Options) -> Result<Self, LabError> {
        Self::up_with(network, options, &mut |_| {})
    }

    /// Likewise, and says how far it has come.
    ///
    /// # Errors
    ///
    /// [`LabError`]; what was made until then is gone.
    pub fn up_with(
        network: &Network,
        options: &Options,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Self, LabError> {
        let plans = plans(network, options);
        let machines = machines(&plans);
        check(&plans, &machines)?;
        let mut lab = Self {
            machines: BTreeMap::new(),
            switch: Switch::new(&options.folder)?,
            servers: Servers::start().map_err(LabError::Servers)?,
            options: options.clone(),
            gaps: needs::gaps(machines.values().map(|plan| &**plan)),
        };
        lab.bring(&plans, machines, progress)?;
        Ok(lab)
    }

    /// Brings the lab to another network. What is the same stays as it is, with its connections.
    ///
    /// # Errors
    ///
    /// [`LabError`] of the first machine that could not be brought to its plan; the others are tried too. What a machine has then
    /// is done anew with the next change.
    pub fn change(&mut self, network: &Network) -> Result<(), LabError> {
        let plans = plans(network, &self.options);
        let machines = machines(&plans);
        check(&plans, &machines)?;
        self.gaps = needs::gaps(machines.values().map(|plan| &**plan));
        self.bring(&plans, machines, &mut |_| {})
    }

    fn bring(
        &mut self,
        plans: &Plans,
        wanted: BTreeMap<Arc<str>, Arc<MachinePlan>>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), LabError> {
        let gone: Vec<Arc<str>> =
            self.machines.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(machine) = self.machines.remove(&name) {
                machine.remove(&self.servers);
            }
        }
        let of = wanted.values().map(|plan| plan.netns.len()).sum();
        let (mut done, mut first) = (0, Ok(()));
        for (name, plan) in wanted {
            progress(Progress { done, of, machine: &name });
            done += plan.netns.len();
            let ended = self.bring_one(plans, name, plan);
            if first.is_ok() {
                first = ended;
            }
        }
        progress(Progress { done, of, machine: "" });
        first
    }

    fn bring_one(&mut self, plans: &Plans, name: Arc<str>, plan: Arc<MachinePlan>) -> Result<(), LabError> {
        self.switch.add_segments(plans, &plan)?;
        if !self.machines.contains_key(&name) {
            let cables = self.switch.wiring(&name);
            let machine = Machine::new(name.clone(), &plan, &self.options.folder, cables)?;
            self.machines.insert(name.clone(), machine);
        }
        match self.machines.get_mut(&name) {
            Some(machine) => machine.bring(plan, &self.servers),
            None => Ok(()),
        }
    }

    /// A namespace: of a machine by its name, and there by its own, empty for the machine's own. The switch is a machine too.
    pub fn netns(&self, machine: &str, netns: &str) -> Option<&Netns> {
        if machine == SWITCH && netns.is_empty() {
            return Some(self.switch.netns());
        }
        self.machines.get(machine)?.netns(netns)
    }

    /// The namespaces of its machines, by machine and name; that of the machine's own has an empty one.
    pub fn spaces(&self) -> BTreeMap<(String, String), Arc<Netns>> {
        self.machines.values().flat_map(Machine::spaces).collect()
    }

    /// The hosts outside that it has.
    pub fn outside(&self) -> Vec<IpAddr> {
        let named = self.machines.keys().filter_map(|name| name.strip_prefix("internet/"));
        named.filter_map(|addr| addr.parse().ok()).collect()
    }

    /// The plan that a machine was brought to last.
    pub fn plan(&self, machine: &str) -> Option<&Arc<MachinePlan>> {
        self.machines.get(machine)?.plan()
    }

    /// What the servers received, the oldest first; the last 65,536 are kept.
    pub fn received(&self) -> Vec<Received> {
        self.received_since(0)
    }

    /// What they received from this number on.
    pub fn received_since(&self, number: u64) -> Vec<Received> {
        self.records().since(number)
    }

    /// What they received, for who reads it while the lab is elsewhere.
    pub const fn records(&self) -> &Arc<Records> {
        self.servers.records()
    }

    /// Its machines, in the order of their names.
    pub fn machines(&self) -> Vec<MachineStatus> {
        self.machines.values().map(Machine::status).collect()
    }

    /// What is not as the plan says since this system cannot do it: in words.
    pub fn gaps(&self) -> Vec<String> {
        let of_machines = self.machines.values().flat_map(Machine::gaps);
        self.gaps.iter().cloned().chain(of_machines).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for (_, machine) in std::mem::take(&mut self.machines) {
            machine.close(&self.servers);
        }
        // A folder that is gone already has nothing mounted.
        let _ = Netns::remove(&self.options.folder.join(SWITCH));
    }
}

/// The plan of a network, with the lab's hosts on the internet.
fn plans(network: &Network, options: &Options) -> Plans {
    let mut plans = network.plans();
    let nodes = &network.cluster().nodes;
    for family in [Family::V4, Family::V6] {
        if nodes.iter().flat_map(|node| &node.addresses).any(|addr| Family::of(*addr) == family) {
            plans = plans.with_outside(some_outside_address(family));
        }
    }
    options.outside.iter().fold(plans, |plans, addr| plans.with_outside(*addr))
}

/// Its machines by name: all are compiled.
fn machines(plans: &Plans) -> BTreeMap<Arc<str>, Arc<MachinePlan>> {
    let all = (0..plans.machine_count()).filter_map(|id| plans.machine(MachineId(id)));
    all.map(|plan| (plan.name.clone(), plan)).collect()
}

/// Whether a lab can be made of this, before anything is.
fn check(plans: &Plans, machines: &BTreeMap<Arc<str>, Arc<MachinePlan>>) -> Result<(), LabError> {
    if let Some(missing) = needs::missing(machines.values().map(|plan| &**plan)) {
        return Err(LabError::Missing(missing));
    }
    machines.values().try_for_each(|machine| switch::check(plans, machine))
}

/// The name of the file that a namespace is mounted at: that of the machine for its own, else its own.
pub fn netns_file(machine: &str, netns: &str) -> String {
    netns::file_name(if netns.is_empty() { machine } else { netns })
}
