//! Doubts: what the input lacks, or what is not modelled, and could have changed the answer.
//!
//! In: a case, its ends, and the cluster's lists. A doubt that touches the path makes the answer unknown, names what would settle
//! it, and keeps what the verdict would be if it turned out to be harmless. What can only forbid changes no packet that got
//! nowhere by itself.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::run::Request;
use super::{Case, Outcome, Reason, Verdict};
use crate::cluster::{Cluster, Effect, Touches};
use crate::compile;
use crate::origin::Origin;
use crate::plan::MachineId;

/// Where a case's packets went, as far as doubts ask.
pub(super) struct Ends {
    /// The pod that opens the connection.
    from: Option<u32>,
    /// The pod that it is opened to.
    to: Option<u32>,
    /// A pod, and the namespace of its own node.
    own_node: bool,
    /// One of the two is not part of the cluster.
    outside: bool,
    nodes: Vec<u32>,
    destinations: Vec<IpAddr>,
    /// The sender and the receiver are different namespaces.
    apart: bool,
    /// Two pods of different nodes.
    between_nodes: bool,
}

impl Ends {
    pub(super) fn of(cluster: &Cluster, request: &Request, case: &Case) -> Self {
        let from = (request.machine, request.netns);
        let got = case.delivered_to.as_ref().and_then(|d| {
            let namespace = d.who.namespace.as_deref()?;
            compile::pod_netns(cluster, cluster.pod_named(namespace, &d.who.name)?)
        });
        let to = got.or(request.intended);
        let ends = || [Some(from), to].into_iter().flatten();
        let pod = |(machine, netns): (MachineId, u32)| compile::pod_of_netns(cluster, machine, netns);
        let reply = case.reply.iter().flat_map(|reply| &reply.hops);
        let mut nodes: Vec<u32> = Vec::new();
        let mut destinations: Vec<IpAddr> = Vec::from([request.dst]);
        for hop in case.hops.iter().chain(reply) {
            if let Some(node) = cluster.node_named(&hop.machine)
                && !nodes.contains(&node)
            {
                nodes.push(node);
            }
            if let Some(ip) = hop.packet.as_ref().and_then(|packet| packet.ip.as_ref())
                && !destinations.contains(&ip.dst)
            {
                destinations.push(ip.dst);
            }
        }
        nodes.extend(
            ends().map(|(machine, _)| machine.0).filter(|node| !nodes.contains(node)).collect::<Vec<_>>(),
        );
        nodes.retain(|node| (*node as usize) < cluster.nodes.len());
        let own_node = to.is_some_and(|to| to.0 == from.0 && (to.1 == 0) != (from.1 == 0));
        Self {
            from: pod(from),
            to: to.and_then(pod),
            own_node,
            outside: ends().any(|(machine, _)| machine.0 as usize >= cluster.nodes.len()),
            nodes,
            destinations,
            apart: to.is_none_or(|to| to != from),
            between_nodes: to.is_some_and(|to| to.0 != from.0),
        }
    }

    fn touched(&self, touches: &Touches) -> bool {
        let among = |pods: &[u32], pod: Option<u32>| pod.is_some_and(|pod| pods.binary_search(&pod).is_ok());
        let either = |pods: &[u32]| among(pods, self.from) || among(pods, self.to);
        match touches {
            Touches::Everything => self.apart,
            Touches::Pods(pods) => self.apart && either(pods),
            Touches::Opened(pods) => self.apart && !self.own_node && among(pods, self.from),
            Touches::Accepted(pods) => self.apart && !self.own_node && among(pods, self.to),
            Touches::PodsOutside(pods) => self.outside && either(pods),
            Touches::Outside => self.outside,
            Touches::Nodes(nodes) => {
                self.apart && self.nodes.iter().any(|node| nodes.binary_search(node).is_ok())
            }
            Touches::BetweenNodes => self.between_nodes,
            Touches::To(nets) => {
                self.destinations.iter().any(|addr| nets.iter().any(|net| net.contains(addr)))
            }
        }
    }
}

/// Makes the answer unknown if something that is not known could have changed it.
pub(super) fn apply(cluster: &Cluster, ends: &Ends, case: &mut Case) {
    if case.outcome == Outcome::Unknown {
        return;
    }
    let delivered = case.outcome == Outcome::Delivered;
    let counts =
        |effect: Effect, touches: &Touches| (delivered || effect == Effect::Change) && ends.touched(touches);
    let missing = cluster.missing.iter().filter(|m| counts(m.effect, &m.touches));
    let missing = missing.map(|m| (&m.why, &m.command, None::<&Origin>));
    let unmodelled = cluster.unmodelled.iter().filter(|u| counts(u.effect, &u.touches));
    let unmodelled = unmodelled.map(|u| (&u.why, &u.what_would_settle_it, Some(&u.origin)));
    let mut all = unmodelled.chain(missing);
    let Some((why, settle, origin)) = all.next() else { return };
    let more = all.count();
    let mut text = why.clone();
    if more > 0 {
        text += &alloc::format!(" (and {more} more that could change it)");
    }
    case.otherwise = Some(case.verdict).filter(|verdict| *verdict != Verdict::Unknown);
    case.outcome = Outcome::Unknown;
    case.verdict = Verdict::Unknown;
    case.reason = Some(Reason {
        origin: origin.cloned(),
        what_would_settle_it: Some(settle.clone()),
        ..Reason::of_text(text)
    });
}
