//! Which namespace words mean: those of the question grammar, a machine that no object names (`gateway`, `loadbalancer`, `switch`,
//! `internet/8.8.8.8`), an address that a machine holds, or the name of a namespace as `ip netns` has it.

use std::net::IpAddr;

use kubenet_core::compile::pod_netns;
use kubenet_core::network::Network;
use kubenet_core::plan::PlanSource as _;
use kubenet_core::question::{Endpoint, What};

use super::switch::SWITCH;
use super::{Lab, netns_file};

/// A namespace of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) file: String,
    pub(super) words: String,
    pub(super) said: Vec<String>,
}

pub(super) fn find(network: &Network, lab: &Lab, what: &str, namespace: &str) -> Result<Found, String> {
    let of = |machine: &str, netns: &str| {
        let words = if netns.is_empty() { machine } else { netns };
        Found { file: netns_file(machine, netns), words: words.into(), said: Vec::new() }
    };
    if what == SWITCH {
        return Ok(of(SWITCH, ""));
    }
    let machines = lab.machines();
    if let Some(machine) = machines.iter().find(|machine| &*machine.name == what) {
        return Ok(of(&machine.name, ""));
    }
    let everywhere =
        || machines.iter().flat_map(|machine| machine.netns.iter().map(move |netns| (machine, netns)));
    let endpoint = what.parse::<Endpoint>();
    let resolved = endpoint.and_then(|endpoint| endpoint.resolve(network.cluster(), namespace));
    let resolved = match resolved {
        Ok(resolved) => resolved,
        // The last chance: `default_web-0`, as `ip netns` has it; a bare word is also a pod of the namespace.
        Err(error) => {
            let pod = format!("{namespace}/{what}");
            let found = everywhere().find(|(_, netns)| netns.file == what || *netns.name == *pod);
            return found
                .map(|(machine, netns)| of(&machine.name, &netns.name))
                .ok_or_else(|| error.to_string());
        }
    };
    let cluster = network.cluster();
    let found = match resolved.targets.first().map(|target| &target.what) {
        Some(What::Pod(place)) => {
            let pod = cluster.pods.get(*place as usize);
            let words = pod.map_or_else(String::new, |pod| format!("{}/{}", pod.namespace, pod.name));
            let (machine, netns) = pod_netns(cluster, *place)
                .ok_or_else(|| format!("pod {words} runs nowhere: it has no namespace"))?;
            let plan = network.plans().machine(machine);
            let inside = plan.as_ref().and_then(|plan| Some((plan, plan.netns.get(netns as usize)?)));
            inside.map(|(plan, inside)| Found { words, ..of(&plan.name, &inside.name) })
        }
        Some(What::Node(place)) => cluster.nodes.get(*place as usize).map(|node| of(&node.name, "")),
        Some(What::Address(addr)) => {
            by_address(&everywhere, *addr).map(|(machine, netns)| of(&machine, &netns))
        }
        Some(What::Internet(addr)) => {
            let is_it = |name: &str| match addr {
                Some(addr) => name == format!("internet/{addr}"),
                None => name.starts_with("internet/"),
            };
            machines.iter().find(|machine| is_it(&machine.name)).map(|machine| of(&machine.name, ""))
        }
        Some(What::Host { name, .. }) => {
            let pod = format!("{namespace}/{name}");
            let found = everywhere().find(|(_, netns)| *netns.file == **name || *netns.name == *pod);
            found.map(|(machine, netns)| of(&machine.name, &netns.name))
        }
        Some(What::Service(_)) => {
            return Err(format!("{what} is a Service, which is no place: name a pod, a node or the gateway"));
        }
        None => None,
    };
    let found =
        found.ok_or_else(|| format!("{what}: the lab has no such machine; kubenet lab status lists them"))?;
    Ok(Found { said: resolved.said, ..found })
}

/// The namespace that holds an address: a pod's before its node's, in the order of the machines.
fn by_address<'a, I>(everywhere: &dyn Fn() -> I, addr: IpAddr) -> Option<(String, String)>
where
    I: Iterator<Item = (&'a super::MachineStatus, &'a super::NetnsStatus)>,
{
    let text = addr.to_string();
    let (machine, netns) = everywhere().find(|(_, netns)| netns.addresses.contains(&text))?;
    Some((machine.name.to_string(), netns.name.to_string()))
}
