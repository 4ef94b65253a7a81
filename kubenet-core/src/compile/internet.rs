//! The way to the internet: address translation at the gateway of the nodes' network.
//!
//! A node with a public address (`status.addresses` of type `ExternalIP`) has it to itself: destination and source are
//! translated one to one, ports stay (an internet gateway). Everybody else shares the gateway's own address, with ports
//! of its choice, and cannot be reached from outside (a NAT gateway). Public sources that are not the gateway's to
//! translate pass as they are. The rules are those of `iptables`; the gateways of clouds are not Linux, but what they do
//! to a packet is the same. spec/lb-egress.md §7.
//!
//! O(nodes with public addresses).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use super::kernel::setting_origin;
use crate::addr::Family;
use crate::cluster::Cluster;
use crate::origin::Origin;
use crate::plan::netfilter::{CtState, NatFlags, Netfilter, Ruleset};
use crate::plan::xt::{Chain, Inv, Match, NatTo, Policy, Rule, Table, Target};
use crate::plan::{self, MachinePlan, Unknown};

/// The gateway's rules. `inside` are the ranges that have no way back from the internet.
pub(super) fn rules(cluster: &Cluster, uplink: &str, families: &[Family]) -> Netfilter {
    let mut xt = Vec::new();
    for family in families {
        xt.extend(tables(cluster, uplink, *family));
    }
    Netfilter::Whole(Arc::new(Ruleset { xt, ..Ruleset::default() }))
}

fn tables(cluster: &Cluster, uplink: &str, family: Family) -> [Table; 2] {
    let gateway = Origin::implied("internet gateway");
    let out = || Match::Oif(Inv::is(uplink.into()));
    let (mut back, mut there) = (Vec::new(), Vec::new());
    for node in cluster.nodes.iter() {
        let of_family = |addrs: &[IpAddr]| addrs.iter().copied().find(|addr| Family::of(*addr) == family);
        let (Some(own), Some(public)) = (of_family(&node.addresses), of_family(&node.external_addresses))
        else {
            continue;
        };
        if own == public {
            continue;
        }
        let origin = node.origin.with_field("status.addresses");
        back.push(rule(
            Vec::from([Match::Destination(Inv::is(IpNet::from(public))), Match::Iif(Inv::is(uplink.into()))]),
            Target::Dnat(to(own)),
            &origin,
        ));
        there.push(rule(
            Vec::from([Match::Source(Inv::is(IpNet::from(own))), out()]),
            Target::Snat(to(public)),
            &origin,
        ));
    }
    let settings = &cluster.settings;
    let private = [(&settings.node_network, "nodeNetwork"), (&settings.cluster_cidr, "clusterCidr")];
    for (setting, name) in private {
        for net in setting.value.iter().filter(|net| Family::of_net(**net) == family && is_private(**net)) {
            there.push(rule(
                Vec::from([Match::Source(Inv::is(*net)), out()]),
                Target::Masquerade { ports: None, flags: NatFlags::default() },
                &setting_origin(setting, name),
            ));
        }
    }
    // What nobody inside asked for ends here.
    let unasked = rule(
        Vec::from([Match::Iif(Inv::is(uplink.into())), Match::State(Inv::is(Vec::from([CtState::New])))]),
        Target::Drop,
        &gateway,
    );
    let nat = Vec::from([
        chain("PREROUTING", back),
        chain("INPUT", Vec::new()),
        chain("OUTPUT", Vec::new()),
        chain("POSTROUTING", there),
    ]);
    let filter = Vec::from([
        chain("INPUT", Vec::from([unasked])),
        chain("FORWARD", Vec::new()),
        chain("OUTPUT", Vec::new()),
    ]);
    let table = |name: &str, chains| Table { family, name: name.into(), chains };
    [table("filter", filter), table("nat", nat)]
}

/// Whether a range has no way back from the internet (RFC 1918, RFC 3927, RFC 4193, RFC 6598).
pub(super) fn is_private(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => {
            let addr = net.network();
            addr.is_private()
                || addr.is_link_local()
                || (addr.octets()[0] == 100 && addr.octets()[1] & 0xc0 == 64)
        }
        IpNet::V6(net) => net.network().segments()[0] & 0xfe00 == 0xfc00,
    }
}

/// Says of packets to private addresses behind the gateway that their fate is not known.
pub(super) fn hide_private(gateway: &mut MachinePlan, unknown: &Unknown) {
    let Some(host) = gateway.netns.first_mut() else { return };
    let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
    let private = private.iter().filter_map(|net| net.parse().ok()).collect();
    let origin = gateway.origin.clone();
    let matches = Vec::from([plan::Match::Destination(private)]);
    let rule = plan::Rule { matches, action: plan::Action::Unknown(unknown.clone()), origin };
    host.chains.push(plan::Chain {
        name: "beyond".into(),
        hook: plan::Hook::Forward,
        priority: 0,
        policy: plan::Action::Accept,
        rules: Vec::from([rule]),
    });
}

fn to(addr: IpAddr) -> NatTo {
    NatTo { addrs: Some((addr, addr)), ports: None, flags: NatFlags::default() }
}

fn rule(matches: Vec<Match>, target: Target, origin: &Origin) -> Rule {
    Rule { matches, target: Some(target), counters: None, origin: origin.clone() }
}

fn chain(name: &str, rules: Vec<Rule>) -> Arc<Chain> {
    Arc::new(Chain { name: name.into(), policy: Some(Policy::Accept), counters: None, rules })
}
