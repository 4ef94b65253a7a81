//! A machine of the lab: its namespaces, the adapter that brings them to their plan, and what listens in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kubenet_core::plan::{
    Change, LinkKind, MachineKind, MachinePlan, MoreSockets, Netns as NetnsPlan, Process, Protocol, Socket,
    SocketState, What, diff, remove,
};
use serde::{Deserialize, Serialize};

use super::servers::{Place, Proxy, Servers};
use super::switch::Cables;
use super::{LabError, netns_file, silence};
use crate::netns::Netns;
use crate::{Kernel as _, Netlink, Others};

/// A machine.
#[derive(Debug)]
pub(super) struct Machine {
    name: Arc<str>,
    kind: MachineKind,
    folder: PathBuf,
    kernel: Netlink,
    /// By name; that of the machine's own is empty.
    netns: BTreeMap<Arc<str>, Arc<Netns>>,
    /// What it was brought to. `None`: nothing is there yet.
    plan: Option<Arc<MachinePlan>>,
    /// Plans that parts of may be there, since the last changes ended in the middle.
    tried: Vec<Arc<MachinePlan>>,
    gaps: BTreeMap<Arc<str>, Vec<String>>,
    /// What the kernel has otherwise than it was told.
    warnings: Vec<String>,
    silent: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl Machine {
    /// A machine with an empty namespace, mounted in the folder.
    pub(super) fn new(
        name: Arc<str>,
        plan: &MachinePlan,
        folder: &Path,
        cables: Cables,
    ) -> Result<Self, LabError> {
        let path = folder.join(netns_file(&name, ""));
        let failed = |error| LabError::Netns { name: name.clone(), error };
        let host = Netns::named(&path).map_err(failed)?;
        let own = Arc::new(Netns::open(&path).map_err(failed)?);
        let others = Others { folder: folder.into(), prefix: String::new() };
        Ok(Self {
            kernel: Netlink::new(name.clone(), host, others, Box::new(cables)),
            kind: plan.kind,
            folder: folder.into(),
            netns: BTreeMap::from([("".into(), own)]),
            plan: None,
            tried: Vec::new(),
            gaps: BTreeMap::new(),
            warnings: Vec::new(),
            silent: BTreeMap::new(),
            name,
        })
    }

    /// Brings it to a plan. What listens is set when everything else is there.
    pub(super) fn bring(&mut self, plan: Arc<MachinePlan>, servers: &Servers) -> Result<(), LabError> {
        self.forget_gone(&plan, servers);
        let changes = self.changes(&plan);
        if !self.tried.contains(&plan) {
            self.tried.push(plan.clone());
        }
        self.kernel.apply(&changes).map_err(|error| LabError::machine(&self.name, error))?;
        self.open_new(&plan)?;
        self.set_silence(&plan)?;
        self.set_servers(&plan, servers);
        for warning in self.kernel.take_warnings() {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        self.plan = Some(plan);
        self.tried.clear();
        Ok(())
    }

    /// What has to be done. Each change can be done again: after a failure, what was tried goes, and what is wanted is done as if
    /// nothing were there.
    fn changes(&self, plan: &MachinePlan) -> Vec<Change> {
        let before = self.plan.as_deref();
        if self.tried.is_empty() {
            return diff(before, plan);
        }
        let going = before.into_iter().chain(self.tried.iter().map(|tried| &**tried));
        going.flat_map(|tried| diff(Some(tried), plan)).chain(diff(None, plan)).collect()
    }

    /// Closes what holds namespaces that the plan does not have.
    fn forget_gone(&mut self, plan: &MachinePlan, servers: &Servers) {
        let gone: Vec<Arc<str>> =
            self.netns.keys().filter(|name| plan.netns_named(name).is_none()).cloned().collect();
        let closing: Vec<_> =
            gone.iter().map(|name| servers.forget(self.name.clone(), name.clone())).collect();
        closing.into_iter().for_each(|closed| drop(closed.wait()));
        for name in gone {
            self.netns.remove(&name);
            self.gaps.remove(&name);
            self.silent.remove(&name);
        }
    }

    fn open_new(&mut self, plan: &MachinePlan) -> Result<(), LabError> {
        for netns in &plan.netns {
            if self.netns.contains_key(&netns.name) {
                continue;
            }
            let path = self.folder.join(netns_file(&self.name, &netns.name));
            let opened = Netns::open(&path);
            let opened = opened.map_err(|error| LabError::Netns { name: netns.name.clone(), error })?;
            self.netns.insert(netns.name.clone(), Arc::new(opened));
        }
        Ok(())
    }

    fn set_silence(&mut self, plan: &MachinePlan) -> Result<(), LabError> {
        for netns in &plan.netns {
            let silent: BTreeSet<Arc<str>> = netns
                .links
                .iter()
                .filter(|link| !link.answers_neighbours)
                .map(|link| link.name.clone())
                .collect();
            let before = self.silent.get(&netns.name);
            if before.map_or(silent.is_empty(), |before| *before == silent) {
                continue;
            }
            let Some(inside) = self.netns.get(&netns.name) else { continue };
            let set = silence::set(inside, &silent);
            set.map_err(|error| LabError::Silence { netns: self.words(&netns.name), error })?;
            self.silent.insert(netns.name.clone(), silent);
        }
        Ok(())
    }

    fn set_servers(&mut self, plan: &MachinePlan, servers: &Servers) {
        let mut asked = Vec::new();
        for netns in &plan.netns {
            let before = self.plan.as_ref().and_then(|plan| plan.netns_named(&netns.name));
            if before.is_some_and(|(_, before)| is_served_alike(before, netns)) {
                continue;
            }
            let Some(inside) = self.netns.get(&netns.name) else { continue };
            let place = Place { machine: self.name.clone(), name: netns.name.clone(), netns: inside.clone() };
            asked.push((netns.name.clone(), servers.set(place, sockets(netns), proxies(netns))));
        }
        for (name, gaps) in asked {
            let gaps = gaps.wait();
            self.gaps.remove(&name);
            if !gaps.is_empty() {
                self.gaps.insert(name, gaps);
            }
        }
    }

    /// Takes the machine out of a lab that stays up: its cards first, so that their ports are free at once.
    pub(super) fn remove(mut self, servers: &Servers) {
        let going = self.plan.as_deref().map(remove).unwrap_or_default();
        let is_card =
            |change: &Change| matches!(&change.what, What::RemoveLink { kind: LinkKind::Nic { .. }, .. });
        let cards: Vec<Change> = going.into_iter().filter(is_card).collect();
        // A port that stays a little longer is told when its name is wanted again.
        let _ = self.kernel.apply(&cards);
        self.close(servers);
    }

    /// Lets go of everything. The kernel ends namespaces, with all that is in them, when nothing holds them any more.
    pub(super) fn close(mut self, servers: &Servers) {
        let closing: Vec<_> =
            self.netns.keys().map(|name| servers.forget(self.name.clone(), name.clone())).collect();
        closing.into_iter().for_each(|closed| drop(closed.wait()));
        self.netns.clear();
        let plans = self.plan.iter().chain(&self.tried);
        let names = plans.flat_map(|plan| plan.netns.iter().map(|netns| netns.name.clone()));
        for name in names.chain(["".into()]).collect::<BTreeSet<Arc<str>>>() {
            // One that was not made, or is gone, is as it should be.
            let _ = Netns::remove(&self.folder.join(netns_file(&self.name, &name)));
        }
    }

    pub(super) fn netns(&self, name: &str) -> Option<&Netns> {
        self.netns.get(name).map(|netns| &**netns)
    }

    /// Its namespaces, by machine and name.
    pub(super) fn spaces(&self) -> impl Iterator<Item = ((String, String), Arc<Netns>)> + '_ {
        self.netns.iter().map(|(name, netns)| ((self.name.to_string(), name.to_string()), netns.clone()))
    }

    pub(super) const fn plan(&self) -> Option<&Arc<MachinePlan>> {
        self.plan.as_ref()
    }

    /// What could not be done, in words.
    pub(super) fn gaps(&self) -> impl Iterator<Item = String> + '_ {
        let all = self.gaps.iter().flat_map(|(name, gaps)| gaps.iter().map(move |gap| (name, gap)));
        let warnings = self.warnings.iter().map(|warning| format!("{}: {warning}", self.name));
        all.map(|(name, gap)| format!("{}: {gap}", self.words(name))).chain(warnings)
    }

    fn words(&self, netns: &Arc<str>) -> Arc<str> {
        if netns.is_empty() { self.name.clone() } else { netns.clone() }
    }

    pub(super) fn status(&self) -> MachineStatus {
        let netns = self.plan.iter().flat_map(|plan| &plan.netns);
        MachineStatus {
            name: self.name.clone(),
            kind: self.kind,
            is_pending: !self.tried.is_empty(),
            netns: netns.map(|netns| self.netns_status(netns)).collect(),
        }
    }

    fn netns_status(&self, netns: &NetnsPlan) -> NetnsStatus {
        let listeners = sockets(netns).into_iter().map(|socket| ListenerStatus {
            protocol: socket.protocol,
            addr: socket.addr,
            port: socket.port,
            process: match socket.process {
                Process::Echo => "echo".into(),
                Process::Http { status } => format!("http {status}"),
                Process::Relay(relay) => format!("relay to {}", relay.backends.len()),
            },
        });
        NetnsStatus {
            name: netns.name.clone(),
            file: netns_file(&self.name, &netns.name),
            addresses: netns
                .links
                .iter()
                .filter(|link| &*link.name != "lo")
                .flat_map(|link| link.addresses.iter().map(|address| address.net.addr().to_string()))
                .collect(),
            listeners: listeners.collect(),
        }
    }
}

/// What `kubenet lab status` shows of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// Its name.
    pub name: Arc<str>,
    /// What it is for.
    pub kind: MachineKind,
    /// The last change to it ended in the middle: the next one does everything anew.
    pub is_pending: bool,
    /// Its namespaces, its own first.
    pub netns: Vec<NetnsStatus>,
}

/// What `kubenet lab status` shows of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetnsStatus {
    /// Empty for the machine's own, `NAMESPACE/NAME` for a pod's.
    pub name: Arc<str>,
    /// The file in the folder of namespaces: the name for `ip netns`.
    pub file: String,
    /// Its addresses, those of `lo` aside.
    pub addresses: Vec<String>,
    /// What listens there.
    pub listeners: Vec<ListenerStatus>,
}

/// What `kubenet lab status` shows of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The transport.
    pub protocol: Protocol,
    /// The address; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<std::net::IpAddr>,
    /// The port.
    pub port: u16,
    /// Who answers: `echo`, `http STATUS` or `relay to N`.
    pub process: String,
}

/// The sockets that listen in a namespace.
fn sockets(netns: &NetnsPlan) -> Vec<Socket> {
    let mut all: Vec<Socket> =
        netns.sockets.iter().filter(|it| it.state == SocketState::Listen).cloned().collect();
    let more = match &netns.more_sockets {
        MoreSockets::None => Vec::new(),
        more @ MoreSockets::Supplied(_) => more.whole(),
    };
    for socket in more {
        // Those that the plan lists come first.
        let is_taken = |it: &Socket| it.protocol == socket.protocol && it.port == socket.port;
        if !netns.sockets.iter().any(is_taken) {
            all.push(socket);
        }
    }
    all
}

/// The addresses that are answered for.
fn proxies(netns: &NetnsPlan) -> Vec<Proxy> {
    let of = |proxy: &kubenet_core::plan::ProxyNeighbour| {
        let (_, link) = netns.link_named(&proxy.dev)?;
        Some(Proxy { addr: proxy.addr, dev: proxy.dev.clone(), mac: link.mac })
    };
    netns.proxies.iter().filter_map(of).collect()
}

fn is_served_alike(before: &NetnsPlan, now: &NetnsPlan) -> bool {
    before.sockets == now.sockets
        && before.more_sockets == now.more_sockets
        && proxies(before) == proxies(now)
}
