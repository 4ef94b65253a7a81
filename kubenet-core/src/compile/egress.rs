//! Source address translation of what leaves the pod network, as the program writes it that does it on a node.
//!
//! In: a node and the CNI. Out: rules in `nat` `POSTROUTING`, after those of kube-proxy:
//!
//! | CNI | chain | what is masqueraded |
//! |---|---|---|
//! | flannel | `FLANNEL-POSTRTG` (`pkg/trafficmngr/iptables`, v0.27) | from the pod network to anywhere else, and into it from elsewhere, but for the node's own pods |
//! | kindnet | `KIND-MASQ-AGENT` (kindnetd `masq.go`) | everything to other machines but for the pod network |
//! | bridge | `IP-MASQ` (ip-masq-agent) | everything to other machines but for `nonMasqueradeCIDRs`: here the pod network, the nodes' network and link-local addresses |
//!
//! What another CNI does is not known, and nothing is written for it.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::kernel::setting_origin;
use super::tables::{Draft, Tables, chain, masquerade};
use crate::addr::Family;
use crate::cluster::{Cluster, Cni, Node};
use crate::origin::Origin;
use crate::plan::xt::{AddrType, Addrtype, Inv, Match, Rule, Target};

/// The mark of kube-proxy, which flannel leaves to it.
const KUBE_MARK: u32 = 1 << 14;

/// Adds a node's rules.
pub(super) fn add(cluster: &Cluster, node: &Node, tables: &mut Tables, family: Family) {
    let settings = &cluster.settings;
    let origin = setting_origin(&settings.cni, "cni");
    let of_family = |nets: &[IpNet]| -> Vec<IpNet> {
        nets.iter().copied().filter(|net| Family::of_net(*net) == family).collect()
    };
    let pods = of_family(&settings.cluster_cidr.value);
    let Some(cluster_net) = pods.first().copied() else { return };
    match settings.cni.value {
        Cni::Flannel => {
            let own = of_family(&node.pod_cidrs).first().copied();
            add_flannel(tables, cluster_net, own, family, &origin);
        }
        Cni::Kindnet => add_agent(tables, &KINDNET, &pods, &origin),
        Cni::Bridge => {
            let mut inside = pods;
            inside.extend(of_family(&settings.node_network.value));
            inside.push(link_local(family));
            add_agent(tables, &IP_MASQ_AGENT, &inside, &origin);
        }
        Cni::Other(_) => {}
    }
}

fn add_flannel(tables: &mut Tables, all: IpNet, own: Option<IpNet>, family: Family, origin: &Origin) {
    let draft = || Draft::new(origin);
    let said = |draft: Draft| draft.comment("flanneld masq");
    let mut rules = Vec::from([said(draft().mark(Inv::is(KUBE_MARK))).target(Target::Return)]);
    if let Some(own) = own {
        rules.extend([
            said(draft().source(Inv::is(own)).destination(Inv::is(all))).target(Target::Return),
            said(draft().source(Inv::is(all)).destination(Inv::is(own))).target(Target::Return),
            said(draft().source(Inv::not(all)).destination(Inv::is(own))).target(Target::Return),
        ]);
    }
    let out = draft().source(Inv::is(all)).destination(Inv::not(multicast(family)));
    let into = draft().source(Inv::not(all)).destination(Inv::is(all));
    rules.extend([said(out).target(masquerade(true)), said(into).target(masquerade(true))]);
    tables.chain("nat", Arc::new(chain("FLANNEL-POSTRTG", rules)));
    tables.append("nat", "POSTROUTING", said(draft()).jump("FLANNEL-POSTRTG"));

    let said = |draft: Draft| draft.comment("flanneld forward");
    let forward = Vec::from([
        said(draft().source(Inv::is(all))).target(Target::Accept),
        said(draft().destination(Inv::is(all))).target(Target::Accept),
    ]);
    tables.chain("filter", Arc::new(chain("FLANNEL-FWD", forward)));
    tables.append("filter", "FORWARD", said(draft()).jump("FLANNEL-FWD"));
}

/// A program that masquerades everything but for some ranges.
struct Agent {
    name: &'static str,
    chain: &'static str,
    /// Whether the comment stands before the test of the address' type.
    comment_first: bool,
    random_fully: bool,
}

const KINDNET: Agent =
    Agent { name: "kind-masq-agent", chain: "KIND-MASQ-AGENT", comment_first: false, random_fully: false };
const IP_MASQ_AGENT: Agent =
    Agent { name: "ip-masq-agent", chain: "IP-MASQ", comment_first: true, random_fully: true };

fn add_agent(tables: &mut Tables, agent: &Agent, inside: &[IpNet], origin: &Origin) {
    let Agent { name, chain: own, comment_first, random_fully } = *agent;
    let draft = || Draft::new(origin);
    let local = format!("{name}: local traffic is not subject to MASQUERADE");
    let outbound = format!("{name}: outbound traffic is subject to MASQUERADE (must be last in chain)");
    let returns = inside
        .iter()
        .map(|net| draft().destination(Inv::is(*net)).comment(local.as_str()).target(Target::Return));
    let mut rules: Vec<Rule> = returns.collect();
    rules.push(draft().comment(outbound).target(masquerade(random_fully)));
    tables.chain("nat", Arc::new(chain(own, rules)));

    let words = format!(
        "{name}: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom {own} chain"
    );
    let dst = Some(Inv::not(Vec::from([AddrType::Local])));
    let others = Match::Addrtype(Box::new(Addrtype { dst, ..Addrtype::default() }));
    let entry = match comment_first {
        true => draft().comment(words).module(others),
        false => draft().module(others).comment(words),
    };
    tables.append("nat", "POSTROUTING", entry.jump(own));
}

const fn multicast(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4)),
        Family::V6 => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)),
    }
}

const fn link_local(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
        Family::V6 => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
    }
}
