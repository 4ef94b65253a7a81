//! What of a machine is ours, and how it differs from what it shall be.
//!
//! In: a machine as it was observed, and plans whose names are ours. Out: the part of it that is ours; changes. Ours is what carries a
//! mark (namespaces, links, addresses, routes, routing rules, neighbours), what hangs on a link that does, and rules by name: tables of
//! `nft`, chains of `iptables` with the rules of built-in chains that jump there, sets, virtual servers. Names are those of the plans,
//! and, where a plan has a kube-proxy, those that kube-proxy has in any mode. What is there without a mark and is just what a plan wants
//! counts as there; a NIC that kubenet did not make counts as it is wanted, whatever it is, since it is never set, and so do the routes to
//! its own network and the default routes by it. Nothing else is seen, so that nothing else is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubenet_core::origin::Origin;
use kubenet_core::plan::{
    Change, Link, LinkKind, MachinePlan, NeighbourState, Netfilter, Netns, RouteProtocol, Ruleset, diff, nft,
    same, xt,
};
use kubenet_core::text::nft::settle;

/// The origin of what carries our mark.
pub(crate) fn ours() -> Origin {
    Origin::implied("kubenet")
}

/// The origin of what was observed and carries none.
pub(crate) fn seen() -> Origin {
    Origin::implied("observed")
}

/// The changes that make a machine what a plan says. `before` are plans that were applied, or begun with, where those are known: what
/// they name and the plan does not, goes.
pub fn difference(observed: &MachinePlan, before: &[&MachinePlan], plan: &MachinePlan) -> Vec<Change> {
    let plan = settled(plan);
    let mut known = vec![&plan];
    known.extend(before);
    diff(Some(&part(observed, &known, Unmarked::Counts)), &plan)
}

/// The changes that take everything of ours away from a machine. The plans say which names are ours.
pub fn undo(observed: &MachinePlan, plans: &[&MachinePlan]) -> Vec<Change> {
    let ours = part(observed, plans, Unmarked::IsOthers);
    let mut rest = ours.clone();
    rest.netns.retain(|netns| netns.name.is_empty());
    for netns in &mut rest.netns {
        let (sysctls, mut links) = (netns.sysctls.clone(), std::mem::take(&mut netns.links));
        links.retain(|link| matches!(link.kind, LinkKind::Loopback) || is_others(link));
        links.iter_mut().for_each(|link| link.addresses.clear());
        *netns = Netns { sysctls, links, ..Netns::new("", seen()) };
    }
    diff(Some(&ours), &rest)
}

/// Whether a link stands in a part only for what hangs on it.
fn is_others(link: &Link) -> bool {
    matches!(link.kind, LinkKind::Other(_)) && link.origin != ours()
}

/// The same plan with its tables of nf_tables as they are listed once they are loaded.
fn settled(plan: &MachinePlan) -> MachinePlan {
    let mut plan = plan.clone();
    for netns in &mut plan.netns {
        let mut whole = netns.netfilter.whole();
        if !whole.nft.is_empty() {
            settle(&mut Arc::make_mut(&mut whole).nft);
            netns.netfilter = Netfilter::Whole(whole);
        }
    }
    plan
}

/// What is made of what is there without a mark, and is wanted just so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unmarked {
    Counts,
    IsOthers,
}

fn part(observed: &MachinePlan, plans: &[&MachinePlan], unmarked: Unmarked) -> MachinePlan {
    let mut out = observed.clone();
    keep_netns(&mut out, |netns| {
        let is_named = || plans.iter().any(|plan| plan.netns_named(&netns.name).is_some());
        netns.name.is_empty() || netns.origin == ours() || is_named()
    });
    for netns in &mut out.netns {
        let wanted: Vec<&Netns> =
            plans.iter().filter_map(|plan| plan.netns_named(&netns.name)).map(|(_, netns)| netns).collect();
        Part { wanted: &wanted, unmarked }.keep(netns);
    }
    out
}

/// Keeps some namespaces. Ends of pairs in others are links of which nothing more is known.
fn keep_netns(machine: &mut MachinePlan, keeps: impl Fn(&Netns) -> bool) {
    let mut count = 0;
    let mut place = |netns: &Netns| {
        keeps(netns).then(|| {
            count += 1;
            count - 1
        })
    };
    let places: Vec<Option<u32>> = machine.netns.iter().map(&mut place).collect();
    let mut kept = places.iter();
    machine.netns.retain(|_| kept.next().is_some_and(Option::is_some));
    for link in machine.netns.iter_mut().flat_map(|netns| &mut netns.links) {
        if let LinkKind::Veth { peer_netns, .. } = &mut link.kind {
            match places.get(*peer_netns as usize).copied().flatten() {
                Some(place) => *peer_netns = place,
                None => link.kind = LinkKind::Other("veth".into()),
            }
        }
    }
}

struct Part<'p> {
    wanted: &'p [&'p Netns],
    unmarked: Unmarked,
}

impl Part<'_> {
    fn keep(&self, netns: &mut Netns) {
        let marked = |origin: &Origin| *origin == ours();
        let (mut links, mut mine) = (Vec::new(), BTreeSet::new());
        for mut link in std::mem::take(&mut netns.links) {
            let wanted =
                self.wanted.iter().find_map(|netns| netns.link_named(&link.name)).map(|(_, link)| link);
            let lo = matches!(link.kind, LinkKind::Loopback);
            let nearly = self.counts() && wanted.is_some_and(|wanted| is_almost(&link, wanted));
            if lo || marked(&link.origin) || nearly {
                let has =
                    |net| wanted.is_some_and(|it| it.addresses.iter().any(|address| address.net == net));
                link.addresses.retain(|address| marked(&address.origin) || self.counts() && has(address.net));
                if !lo {
                    mine.insert(link.name.clone());
                }
                links.push(link);
            } else if !self.counts() {
                // Routes of ours may lead there.
                link.addresses.clear();
                link.kind = LinkKind::Other("".into());
                links.push(link);
            } else if let Some(wanted) = wanted.filter(|wanted| matches!(wanted.kind, LinkKind::Nic { .. })) {
                links.push(wanted.clone());
            }
        }
        netns.links = links;
        self.keep_tables(netns, &mine);
        let names = Names::of(self.wanted);
        let mut whole = netns.netfilter.whole();
        names.keep(Arc::make_mut(&mut whole), self.wanted);
        netns.netfilter = if whole.is_empty() { Netfilter::Empty } else { Netfilter::Whole(whole) };
    }

    fn counts(&self) -> bool {
        self.unmarked == Unmarked::Counts
    }

    /// Keeps what is marked, what hangs on links of ours alone, and what counts.
    fn keep_tables(&self, netns: &mut Netns, mine: &BTreeSet<Arc<str>>) {
        let marked = |origin: &Origin| *origin == ours();
        netns.routes.retain(|route| {
            let on_ours =
                route.next_hops.iter().filter_map(|hop| hop.dev.as_ref()).all(|dev| mine.contains(dev));
            let wanted =
                || self.wanted.iter().flat_map(|netns| &netns.routes).any(|it| same::routes(it, route));
            marked(&route.origin) || !route.next_hops.is_empty() && on_ours || self.counts() && wanted()
        });
        if self.counts() {
            // The connected routes of a NIC, and the default ones, are the business of who sets its addresses.
            let links = &netns.links;
            let foreign = |dev: &Arc<str>| !mine.contains(dev) && links.iter().any(|link| link.name == *dev);
            for route in self.wanted.first().into_iter().flat_map(|netns| &netns.routes) {
                let connected = (route.protocol == RouteProtocol::Kernel || route.dst.prefix_len() == 0)
                    && route.next_hops.iter().filter_map(|hop| hop.dev.as_ref()).any(foreign);
                if connected && !netns.routes.iter().any(|it| same::routes(it, route)) {
                    netns.routes.push(route.clone());
                }
            }
        }
        netns.rules.retain(|rule| {
            let wanted = || self.wanted.iter().flat_map(|netns| &netns.rules).any(|it| same::rules(it, rule));
            marked(&rule.origin) || self.counts() && wanted()
        });
        netns.neighbours.retain(|neighbour| {
            let wanted = || {
                let all = self.wanted.iter().flat_map(|netns| &netns.neighbours);
                all.into_iter()
                    .any(|it| (it.addr, &it.dev, it.mac) == (neighbour.addr, &neighbour.dev, neighbour.mac))
            };
            neighbour.state == NeighbourState::Permanent
                && (marked(&neighbour.origin) || mine.contains(&neighbour.dev) || self.counts() && wanted())
        });
        netns.fdb.retain(|fdb| {
            let wanted = || {
                let all = self.wanted.iter().flat_map(|netns| &netns.fdb);
                all.into_iter().any(|it| (it.mac, &it.dev, it.dst) == (fdb.mac, &fdb.dev, fdb.dst))
            };
            mine.contains(&fdb.dev) || self.counts() && wanted()
        });
        netns.sockets.clear();
        netns.conntrack.clear();
    }
}

/// A link that is all but marked: its maker was stopped in between. MAC addresses are made up, each for one link.
fn is_almost(link: &Link, wanted: &Link) -> bool {
    let kinds = match (&link.kind, &wanted.kind) {
        (LinkKind::Veth { .. }, LinkKind::Veth { .. })
        | (LinkKind::Bridge { .. }, LinkKind::Bridge { .. })
        | (LinkKind::Dummy, LinkKind::Dummy) => true,
        (LinkKind::Vxlan(link), LinkKind::Vxlan(wanted)) => link.vni == wanted.vni,
        _ => false,
    };
    kinds && link.mac == wanted.mac
}

/// Chains that kube-proxy takes for its own by how their names begin (`pkg/proxy/iptables/proxier.go`, `syncProxyRules`).
const PROXY_CHAINS: [&str; 6] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-", "KUBE-XLB-"];

/// Chains that it has in one mode or another (`CleanupLeftovers` of `pkg/proxy/{iptables,ipvs}/proxier.go`). Those that
/// only kubelet has are not among them; older ones of kubelet make some of these too.
const PROXY_FIXED: [&str; 13] = [
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FORWARD",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
    "KUBE-LOAD-BALANCER",
    "KUBE-MARK-MASQ",
    "KUBE-NODE-PORT",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-PROXY-CANARY",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SERVICES",
    "KUBE-SOURCE-RANGES-FIREWALL",
];

/// Its table of nf_tables, in both families.
const PROXY_TABLE: &str = "kube-proxy";

/// How the names of its sets of mode ipvs begin.
const PROXY_SETS: &str = "KUBE-";

fn is_proxy_chain(name: &str) -> bool {
    PROXY_FIXED.contains(&name) || PROXY_CHAINS.iter().any(|begin| name.starts_with(begin))
}

/// Names of rulesets that are ours.
struct Names {
    chains: BTreeSet<(kubenet_core::addr::Family, Arc<str>, Arc<str>)>,
    has_proxy: bool,
    tables: BTreeSet<(nft::TableFamily, Arc<str>)>,
    sets: BTreeSet<Arc<str>>,
    servers: BTreeSet<kubenet_core::plan::VirtualId>,
    policies: BTreeMap<(kubenet_core::addr::Family, Arc<str>, Arc<str>), xt::Policy>,
}

impl Names {
    fn of(wanted: &[&Netns]) -> Self {
        let mut out = Self {
            chains: BTreeSet::new(),
            has_proxy: false,
            tables: BTreeSet::new(),
            sets: BTreeSet::new(),
            servers: BTreeSet::new(),
            policies: BTreeMap::new(),
        };
        for rules in wanted.iter().map(|netns| netns.netfilter.whole()) {
            for table in &rules.xt {
                for chain in &table.chains {
                    let key = (table.family, table.name.clone(), chain.name.clone());
                    match chain.policy {
                        Some(policy) => drop(out.policies.entry(key).or_insert(policy)),
                        None => {
                            out.has_proxy |= is_proxy_chain(&chain.name);
                            out.chains.insert(key);
                        }
                    }
                }
            }
            out.has_proxy |= rules.nft.iter().any(|table| &*table.name == PROXY_TABLE);
            out.tables.extend(rules.nft.iter().map(|table| (table.family, table.name.clone())));
            out.sets.extend(rules.ipsets.iter().map(|set| set.name.clone()));
            out.servers.extend(rules.ipvs.iter().map(|server| server.id));
        }
        out
    }

    fn keep(&self, rules: &mut Ruleset, wanted: &[&Netns]) {
        let is_proxy_table = |table: &nft::Table| {
            self.has_proxy
                && &*table.name == PROXY_TABLE
                && matches!(table.family, nft::TableFamily::Ip | nft::TableFamily::Ip6)
        };
        rules.nft.retain(|table| {
            self.tables.contains(&(table.family, table.name.clone())) || is_proxy_table(table)
        });
        let is_proxy_set = |name: &str| self.has_proxy && name.starts_with(PROXY_SETS);
        rules.ipsets.retain(|set| self.sets.contains(&set.name) || is_proxy_set(&set.name));
        rules.ipvs.retain(|server| self.servers.contains(&server.id));
        let plans: Vec<Arc<Ruleset>> = wanted.iter().map(|netns| netns.netfilter.whole()).collect();
        for table in &mut rules.xt {
            let (family, name) = (table.family, table.name.clone());
            let is_ours = |chain: &Arc<str>| {
                let of_proxy = || self.has_proxy && is_proxy_chain(chain);
                self.chains.contains(&(family, name.clone(), chain.clone())) || of_proxy()
            };
            table.chains.retain(|chain| chain.policy.is_some() || is_ours(&chain.name));
            for chain in table.chains.iter_mut().filter(|chain| chain.policy.is_some()) {
                let wanted: Vec<&xt::Rule> = plans
                    .iter()
                    .filter_map(|rules| rules.xt_table(family, &name)?.chain(&chain.name))
                    .flat_map(|chain| &chain.rules)
                    .collect();
                let jumps = |rule: &xt::Rule| match &rule.target {
                    Some(xt::Target::Jump(to) | xt::Target::Goto(to)) => is_ours(to),
                    _ => false,
                };
                let policy = self.policies.get(&(family, name.clone(), chain.name.clone())).copied();
                let chain = Arc::make_mut(chain);
                let is_wanted = |rule: &xt::Rule| wanted.iter().any(|other| same::xt_rules(other, rule));
                chain.rules.retain(|rule| jumps(rule) || is_wanted(rule));
                // A policy that others set is theirs.
                chain.policy = Some(policy.unwrap_or(xt::Policy::Accept));
            }
        }
    }
}
