//! A machine of this kernel: its namespaces, observed and changed by netlink, `/proc/sys` and the tools of rulesets.
//!
//! In: changes. Out: the same in the kernel, or the first that was refused. Requests of many links, addresses and routes go in one
//! send; nothing is started for them. Ours are links with the alias `kubenet`, addresses, routing rules and neighbours with the
//! protocol 107, and what the plan names; a link without the mark is never set and never removed, `lo` aside.

mod apply;
pub(crate) mod decode;
mod encode;
mod listen;
pub(crate) mod nfnetlink;
mod observe;
pub(crate) mod socket;
mod sysctl;
pub(crate) mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kubenet_core::plan::{Change, MachinePlan, What};

use self::socket::{Request, Route};
use crate::dump::{self, Dump};
use crate::kernel::{Error, Kernel, Observe};
use crate::netns::{self, Netns};
use crate::rules::Tools;
use crate::wiring::Wiring;

/// Where the other namespaces of a machine are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Others {
    /// The folder; `/run/netns` for `ip netns`.
    pub folder: PathBuf,
    /// What the names of its files begin with. The namespace's name follows, with `_` for `/`.
    pub prefix: String,
}

impl Others {
    /// Those of a node, among the namespaces of `ip netns`. Those of no other node are called alike: no node's name holds a `_`.
    pub fn of_node(node: &str) -> Self {
        Self { folder: netns::FOLDER.into(), prefix: format!("kubenet_{}_", netns::file_name(node)) }
    }

    /// The file of a namespace.
    pub fn path(&self, netns: &str) -> PathBuf {
        self.folder.join(format!("{}{}", self.prefix, netns::file_name(netns)))
    }
}

/// A machine of this kernel.
pub struct Netlink {
    machine: Arc<str>,
    host: Arc<Netns>,
    others: Others,
    wiring: Box<dyn Wiring + Send>,
    tools: Tools,
    spaces: BTreeMap<Arc<str>, Space>,
    /// Namespaces at the far ends of cables, by the number that the kernel gives them.
    far: BTreeMap<u64, Space>,
    /// Sysctls that cannot be set here, as far as that has been seen.
    fixed: BTreeMap<(Arc<str>, Arc<str>), sysctl::Why>,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Netlink");
        out.field("machine", &self.machine).field("host", &self.host).field("others", &self.others);
        out.finish_non_exhaustive()
    }
}

impl Netlink {
    /// A machine by its name, its own namespace, where its others are, and what its NICs are plugged into.
    pub fn new(
        machine: impl Into<Arc<str>>,
        host: Netns,
        others: Others,
        wiring: Box<dyn Wiring + Send>,
    ) -> Self {
        Self {
            machine: machine.into(),
            host: Arc::new(host),
            others,
            wiring,
            tools: Tools::probe(),
            spaces: BTreeMap::new(),
            far: BTreeMap::new(),
            fixed: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    /// The tools that rulesets are loaded and listed with.
    pub const fn tools_mut(&mut self) -> &mut Tools {
        &mut self.tools
    }

    /// What went otherwise than it was asked for, and what could not be seen, since this was asked last.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// What the machine's own namespace holds, as the files of a dump. Nothing is changed.
    ///
    /// # Errors
    ///
    /// Where links, addresses or routes cannot be read. A tool that is not there, or that says no, is told in the dump.
    pub fn dump(&mut self) -> Result<Dump, Error> {
        let machine = observe::own(self)?;
        Ok(dump::of(&machine, self.tools.print_all(&self.host)))
    }

    /// Why a change cannot be done here at all, as far as that has been seen: a setting that only the first namespace has.
    pub fn cannot(&self, change: &Change) -> Option<String> {
        let What::Sysctl { key, value } = &change.what else { return None };
        let why = self.fixed.get(&(change.netns.clone(), key.clone()))?;
        Some(why.tell(key, *value))
    }

    fn warn(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// The namespace with this name, opened where it was not.
    fn space(&mut self, name: &Arc<str>) -> io::Result<&mut Space> {
        use std::collections::btree_map::Entry;
        match self.spaces.entry(name.clone()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let netns = match name.is_empty() {
                    true => self.host.clone(),
                    false => Arc::new(Netns::open(&self.others.path(name))?),
                };
                Ok(entry.insert(Space::open(netns)?))
            }
        }
    }

    /// The other namespaces that are there, by name: of the first `_` in the name of a file, `/` is made.
    fn others(&self) -> io::Result<Vec<Arc<str>>> {
        let mut names = Vec::new();
        let listing = match fs::read_dir(&self.others.folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(error),
        };
        for entry in listing {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let rest = name.strip_prefix(&*self.others.prefix).filter(|rest| !rest.is_empty());
            names.extend(rest.map(|rest| Arc::from(rest.replacen('_', "/", 1))));
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl Observe for Netlink {
    fn observe(&mut self) -> Result<MachinePlan, Error> {
        observe::observe(self)
    }
}

impl Kernel for Netlink {
    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        apply::apply(self, changes)
    }

    fn can(&self, change: &Change) -> bool {
        self.cannot(change).is_none()
    }
}

/// A namespace with a socket in it.
#[derive(Debug)]
struct Space {
    netns: Arc<Netns>,
    route: Route,
    /// Its links by name, as they were last listed.
    links: Option<BTreeMap<String, decode::Row>>,
    /// Requests that are not sent yet, with the places of their changes.
    queue: Vec<(usize, Request)>,
    /// Links that are to go.
    going: Vec<(usize, Arc<str>)>,
    /// Sysctls that are not written yet.
    files: Vec<(usize, Arc<str>, u32)>,
}

impl Space {
    fn open(netns: Arc<Netns>) -> io::Result<Self> {
        let route = Route::open(&netns)?;
        Ok(Self { netns, route, links: None, queue: Vec::new(), going: Vec::new(), files: Vec::new() })
    }

    fn links(&mut self) -> io::Result<&BTreeMap<String, decode::Row>> {
        if self.links.is_none() {
            self.links = Some(decode::links(&mut self.route)?);
        }
        Ok(self.links.get_or_insert_default())
    }

    /// Asks for the end of the links that are to go. The kernel waits for all who may still read a link (`rcu_barrier`, some 20 ms):
    /// once for those of a group, and else for each.
    fn let_go(&mut self) -> io::Result<()> {
        let going = std::mem::take(&mut self.going);
        let group = if going.len() > 1 { self.free_group()? } else { None };
        let ask = |link: &str| match group {
            Some(group) => encode::set_group(link, group),
            None => encode::delete_link(link),
        };
        self.queue.extend(going.iter().map(|(place, link)| (*place, ask(link))));
        if let (Some(group), Some((first, _))) = (group, going.first()) {
            self.queue.push((*first, encode::delete_group(group)));
        }
        Ok(())
    }

    /// A group that no link is in: those of another one would go along.
    fn free_group(&mut self) -> io::Result<Option<u32>> {
        let taken: BTreeSet<u32> = self.links()?.values().map(|row| row.group).collect();
        Ok((1..=u32::MAX).find(|group| !taken.contains(group)))
    }
}
