//! From a question's words to a request for the dataplane.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Limits, Network};
use crate::addr::{Family, Protocol};
use crate::cluster::{Cluster, Node, Pod, Service};
use crate::compile::{self, Plans};
use crate::dataplane::{self, Probability};
use crate::k8s::DEFAULT_NAMESPACE;
use crate::plan::{MachineId, PlanSource};
use crate::question::{Endpoint, QuestionError, QuestionFault, Resolution, Resolved, What};
use crate::trace::{self, Asked, Case, Chance, End, Request, RunError, Trace, Who};

/// What is to be traced.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where the packet starts, in the [grammar](crate::question).
    pub from: String,
    /// Where it is sent.
    pub to: String,
    /// The namespace of names that say none.
    pub namespace: Arc<str>,
    /// The transport; what the port is declared for when `None`, else TCP.
    pub protocol: Option<Protocol>,
    /// The IP version; the first that both ends have when `None`.
    pub family: Option<Family>,
    /// The source port, or the identifier of an echo request; 40000 when `None`.
    pub sport: Option<u16>,
    /// Bytes of payload: sent with the datagram or echo, or once the TCP connection is up.
    pub payload: u16,
    /// How chance falls.
    pub chance: Chance,
    /// How much it may cost.
    pub limits: Limits,
}

impl Question {
    /// A question with everything else as usual: the namespace `default`, seed 0.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            namespace: DEFAULT_NAMESPACE.into(),
            protocol: None,
            family: None,
            sport: None,
            payload: 0,
            chance: Chance::Seeded { seed: 0, pins: BTreeMap::new() },
            limits: Limits::default(),
        }
    }
}

/// Which end of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source.
    From,
    /// The destination.
    To,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The source's words.
    #[error("{0}")]
    From(QuestionError),
    /// The destination's words.
    #[error("{0}")]
    To(QuestionError),
    /// The caller's cancel check said so.
    #[error("the trace was cancelled")]
    Cancelled,
}

impl AskError {
    /// The end of the question that is wrong, with the error.
    pub const fn question(&self) -> Option<(Side, &QuestionError)> {
        match self {
            Self::From(error) => Some((Side::From, error)),
            Self::To(error) => Some((Side::To, error)),
            Self::Cancelled => None,
        }
    }
}

/// What a host outside of the cluster is called.
const OUTSIDE: &str = "Outside";
/// The source port when the question says none.
const SPORT: u16 = 40000;

pub(super) fn one(
    network: &Network,
    question: &Question,
    cancelled: &dyn Fn() -> bool,
) -> Result<Trace, AskError> {
    let (from, to) = looked_up(network, question)?;
    let (from, to) = (
        only(&question.from, &from).map_err(AskError::From)?,
        only(&question.to, &to).map_err(AskError::To)?,
    );
    ask(network, None, question, &from, &to, cancelled)
}

pub(super) fn through(
    network: &Network,
    plans: &dyn PlanSource,
    question: &Question,
    cancelled: &dyn Fn() -> bool,
) -> Result<Trace, AskError> {
    let (from, to) = looked_up(network, question)?;
    let (from, to) = (
        only(&question.from, &from).map_err(AskError::From)?,
        only(&question.to, &to).map_err(AskError::To)?,
    );
    ask(network, Some(plans), question, &from, &to, cancelled)
}

pub(super) fn all(
    network: &Network,
    question: &Question,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Trace>, AskError> {
    let (from, to) = looked_up(network, question)?;
    let mut traces = Vec::new();
    for source in each(&from) {
        for destination in each(&to) {
            traces.push(ask(network, None, question, &source, &destination, cancelled)?);
        }
    }
    Ok(traces)
}

fn looked_up(network: &Network, question: &Question) -> Result<(Resolved, Resolved), AskError> {
    let look = |text: &str| Endpoint::parse(text)?.resolve(network.cluster(), &question.namespace);
    Ok((look(&question.from).map_err(AskError::From)?, look(&question.to).map_err(AskError::To)?))
}

/// One end with what was chosen for it.
struct Chosen {
    end: Resolution,
    said: Vec<String>,
}

fn only(text: &str, resolved: &Resolved) -> Result<Chosen, QuestionError> {
    match &resolved.targets[..] {
        [one] => Ok(Chosen { end: one.clone(), said: resolved.said.clone() }),
        all => Err(unusable(text, format!("'{text}' means {} pods; name one", all.len()))),
    }
}

fn each(resolved: &Resolved) -> impl Iterator<Item = Chosen> {
    resolved.targets.iter().map(|end| Chosen { end: end.clone(), said: resolved.said.clone() })
}

pub(super) fn unusable(text: &str, message: String) -> QuestionError {
    QuestionError {
        fault: QuestionFault::Unusable,
        text: text.into(),
        offset: 0,
        length: text.chars().count().max(1),
        message,
        candidates: Vec::new(),
    }
}

/// A machine's namespace, and what it is.
struct Place {
    at: (MachineId, u32),
    addresses: Vec<IpAddr>,
    who: Option<Who>,
}

/// A question that is looked up: what is sent, and how its answer is told.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) plans: Plans,
    pub(super) request: Request,
    from: End,
    to: End,
    src: Option<IpAddr>,
    said: Vec<String>,
}

impl Prepared {
    /// The trace of the cases that came.
    pub(super) fn finish(self, cluster: &Cluster, cases: Vec<Case>, unexplored: Probability) -> Trace {
        let seen = cases.first().and_then(|case| case.hops.first()).and_then(|hop| hop.packet.as_ref());
        let src = self.src.or_else(|| seen.and_then(|packet| packet.ip.as_ref()).map(|ip| ip.src));
        let from = End { ip: src, ..self.from };
        let asked = Asked { from, to: self.to, protocol: self.request.protocol, said: self.said };
        trace::finish(cluster, &self.request, asked, cases, unexplored)
    }
}

/// What looking a question up comes to.
pub(super) enum LookedUp {
    /// A packet can be sent.
    Ready(Box<Prepared>),
    /// The answer needs no packet.
    Answered(Box<Trace>),
}

/// A question of one packet, looked up.
pub(super) fn prepare_one(network: &Network, question: &Question) -> Result<LookedUp, AskError> {
    let (from, to) = looked_up(network, question)?;
    let (from, to) = (
        only(&question.from, &from).map_err(AskError::From)?,
        only(&question.to, &to).map_err(AskError::To)?,
    );
    prepare(network, question, &from, &to)
}

fn prepare(network: &Network, question: &Question, from: &Chosen, to: &Chosen) -> Result<LookedUp, AskError> {
    let cluster = network.cluster();
    let mut said = from.said.clone();
    said.extend(to.said.iter().filter(|words| !from.said.contains(words)).cloned());
    let mut plans = network.plans();
    let source = source(cluster, &mut plans, question, &from.end).map_err(AskError::From)?;
    let (protocol, dport) = port(cluster, question, &to.end, &mut said).map_err(AskError::To)?;
    let end = |text: &str, who, ip, port| End { text: text.into(), who, ip, port };
    let ports = protocol != Protocol::Icmp;
    let sport = question.sport.or(from.end.port).unwrap_or(SPORT);
    let aim = Aim { protocol, dport };
    let target =
        destination(cluster, &mut plans, question, &source, &to.end, aim, &mut said).map_err(AskError::To)?;
    let asker = end(&question.from, source.who.clone(), None, Some(sport));
    let (dst, target, service) = match target {
        Target::Place(addr, place) => (addr, place, None),
        Target::Service(addr, who) => (addr, None, Some(who)),
        Target::NotKnown { who, why, settle } => {
            let to = end(&question.to, who, None, ports.then_some(dport));
            let trace = trace::not_known(Asked { from: asker, to, protocol, said }, why, settle);
            return Ok(LookedUp::Answered(Box::new(trace)));
        }
    };
    let src = match from.end.what {
        What::Address(addr) => Some(addr),
        What::Internet(_) => source.addresses.first().copied(),
        What::Pod(_) | What::Node(_) | What::Service(_) | What::Host { .. } => None,
    };
    let request = Request {
        machine: source.at.0,
        netns: source.at.1,
        protocol,
        src,
        sport,
        dst,
        dport: if ports { dport } else { 0 },
        payload: question.payload,
        intended: target.as_ref().map(|place| place.at),
        most_bytes: question.limits.bytes,
    };
    let who = target.and_then(|place| place.who).or(service);
    let to = end(&question.to, who, Some(dst), ports.then_some(dport));
    Ok(LookedUp::Ready(Box::new(Prepared { plans, request, from: asker, to, src, said })))
}

fn ask(
    network: &Network,
    through: Option<&dyn PlanSource>,
    question: &Question,
    from: &Chosen,
    to: &Chosen,
    cancelled: &dyn Fn() -> bool,
) -> Result<Trace, AskError> {
    let cluster = network.cluster();
    let mut prepared = match prepare(network, question, from, to)? {
        LookedUp::Ready(prepared) => prepared,
        LookedUp::Answered(trace) => return Ok(*trace),
    };
    let limits = dataplane::Limits { steps: question.limits.steps, ..dataplane::Limits::default() };
    let chance = match &question.chance {
        Chance::Explored { branches } => {
            Chance::Explored { branches: (*branches).min(question.limits.branches) }
        }
        seeded @ Chance::Seeded { .. } => seeded.clone(),
    };
    let own: &dyn PlanSource = &prepared.plans;
    let request = &prepared.request;
    let ran = trace::run(through.unwrap_or(own), cluster, request, &chance, limits, cancelled);
    match ran {
        Ok((cases, unexplored)) => {
            if let Chance::Seeded { pins, .. } = &chance {
                prepared.said.extend(idle_pins(pins, &cases));
            }
            Ok(prepared.finish(cluster, cases, unexplored))
        }
        Err(RunError::Cancelled) => Err(AskError::Cancelled),
        Err(RunError::NoMachine(_) | RunError::NoConnection) => {
            Err(AskError::From(unusable(&question.from, "there is no such machine".into())))
        }
    }
}

/// Pins that decided nothing, and what there was to pin.
fn idle_pins(pins: &BTreeMap<String, usize>, cases: &[Case]) -> Vec<String> {
    let taken = || cases.iter().flat_map(|case| &case.choices);
    let told = |(point, index): (&String, &usize)| {
        let met = taken().find(|taken| taken.point == *point);
        if met.is_some_and(|taken| *index < taken.of) {
            return None;
        }
        let there = match met {
            Some(taken) => format!("has {} ways, counted from 0", taken.of),
            None if taken().next().is_none() => "met no choice; nothing was left to chance".into(),
            None => {
                let mut all: Vec<String> =
                    taken().map(|taken| format!("'{}' of {}", taken.point, taken.of)).collect();
                all.dedup();
                format!("met no choice; there were {}", all.join(", "))
            }
        };
        Some(format!("the pin '{point}={index}' {there}"))
    };
    pins.iter().filter_map(told).collect()
}

fn source(
    cluster: &Cluster,
    plans: &mut Plans,
    question: &Question,
    end: &Resolution,
) -> Result<Place, QuestionError> {
    let refuse = |message: String| unusable(&question.from, message);
    match &end.what {
        What::Pod(pod) => of_pod(cluster, *pod, &question.from),
        What::Node(node) => Ok(of_node(cluster, *node)),
        What::Address(addr) => match of_address(cluster, *addr) {
            Some(place) => Ok(place),
            None if !can_be_a_source(*addr) => {
                Err(refuse(format!("{addr} is no address that somebody sends from")))
            }
            None if is_inside(cluster, *addr) => Err(refuse(format!("nobody has the address {addr}"))),
            None => Ok(of_outside(plans, *addr)),
        },
        What::Internet(addr) => {
            let family = question.family.unwrap_or_else(|| first_family(cluster));
            let addr = addr.unwrap_or_else(|| compile::some_outside_address(family));
            Ok(of_outside(plans, addr))
        }
        What::Service(_) => Err(refuse("a Service sends nothing; name a pod, a node or an address".into())),
        What::Host { name, near } => {
            let mut error = refuse(format!("'{name}' is a host name; name a pod, a node or an address"));
            error.candidates.clone_from(near);
            Err(error)
        }
    }
}

/// Where a packet is sent.
enum Target {
    /// To this address, where this is who should get it, if anybody known should.
    Place(IpAddr, Option<Place>),
    /// To a Service's virtual address: whoever gets it is right.
    Service(IpAddr, Who),
    /// The address itself is not known.
    NotKnown { who: Option<Who>, why: String, settle: String },
}

/// The transport and port that are aimed at.
#[derive(Clone, Copy)]
struct Aim {
    protocol: Protocol,
    dport: u16,
}

fn destination(
    cluster: &Cluster,
    plans: &mut Plans,
    question: &Question,
    source: &Place,
    end: &Resolution,
    aim: Aim,
    said: &mut Vec<String>,
) -> Result<Target, QuestionError> {
    let outside = source.who.as_ref().is_some_and(|who| who.kind == OUTSIDE);
    let on_node = |target: Target, node: u32| match target {
        Target::Place(addr, Some(place)) => behind_node(cluster, node, addr, place, aim),
        other @ (Target::Place(_, None) | Target::Service(..) | Target::NotKnown { .. }) => other,
    };
    let pick = |place: Place| {
        let wanted = |addr: &&IpAddr| question.family.is_none_or(|family| Family::of(**addr) == family);
        let both = |addr: &&IpAddr| source.addresses.iter().any(|own| Family::of(*own) == Family::of(**addr));
        let mut usable = place.addresses.iter().filter(wanted);
        let addr = usable.clone().find(both).or_else(|| usable.next()).copied();
        let family = question.family.map_or_else(String::new, |family| format!("{family} "));
        match addr {
            Some(addr) => Ok(Target::Place(addr, Some(place))),
            None => Err(unusable(&question.to, format!("{} has no {family}address", question.to))),
        }
    };
    match &end.what {
        What::Pod(pod) => pick(of_pod(cluster, *pod, &question.to)?),
        What::Node(node) => {
            let mut place = of_node(cluster, *node);
            let public = cluster.nodes.get(*node as usize).map_or(&[][..], |node| &node.external_addresses);
            if outside && !public.is_empty() {
                place.addresses = public.to_vec();
            }
            pick(place).map(|target| on_node(target, *node))
        }
        What::Address(addr) if addr.is_loopback() => {
            let place = Place { at: source.at, addresses: Vec::from([*addr]), who: source.who.clone() };
            let target = Target::Place(*addr, Some(place));
            let of_node = source.at.1 == 0 && (source.at.0.0 as usize) < cluster.nodes.len();
            Ok(if of_node { on_node(target, source.at.0.0) } else { target })
        }
        What::Address(addr) => {
            if let Some(service) = frontend(cluster, *addr, aim) {
                return Ok(Target::Service(*addr, service));
            }
            let place = of_address(cluster, *addr);
            if let (Some(place), Some(node)) = (&place, cluster.node_by_address(*addr))
                && place.at == (MachineId(node), 0)
            {
                let place = Place { at: place.at, addresses: Vec::from([*addr]), who: place.who.clone() };
                return Ok(behind_node(cluster, node, *addr, place, aim));
            }
            if place.is_none() && !is_inside(cluster, *addr) {
                return Ok(Target::Place(*addr, Some(of_outside(plans, *addr))));
            }
            Ok(Target::Place(*addr, place))
        }
        What::Internet(addr) => {
            let family = question
                .family
                .or_else(|| source.addresses.first().map(|addr| Family::of(*addr)))
                .unwrap_or(Family::V4);
            let addr = addr.unwrap_or_else(|| compile::some_outside_address(family));
            Ok(Target::Place(addr, Some(of_outside(plans, addr))))
        }
        What::Service(place) => {
            let Some(service) = cluster.services.get(*place as usize) else {
                return Err(unusable(&question.to, "there is no such Service".into()));
            };
            let who = of_service(service);
            let wanted = |addr: &&IpAddr| question.family.is_none_or(|family| Family::of(**addr) == family);
            let both =
                |addr: &&IpAddr| source.addresses.iter().any(|own| Family::of(*own) == Family::of(**addr));
            let balanced = service.load_balancer.as_ref().filter(|_| outside);
            if let Some(balancer) = balanced {
                let mut usable = balancer.addresses.iter().map(|address| &address.addr).filter(wanted);
                return Ok(match usable.clone().find(both).or_else(|| usable.next()) {
                    Some(addr) => {
                        said.push(format!("from outside, {} means its load balancer at {addr}", question.to));
                        Target::Service(*addr, who)
                    }
                    None => Target::NotKnown {
                        who: Some(who),
                        why: "its load balancer has no address of its own, or has none yet".into(),
                        settle: format!("kubectl get service -n {} {}", service.namespace, service.name),
                    },
                });
            }
            let mut usable = service.cluster_ips.iter().filter(wanted);
            match usable.clone().find(both).or_else(|| usable.next()) {
                Some(addr) => Ok(Target::Service(*addr, who)),
                None => Ok(Target::NotKnown {
                    who: Some(who),
                    why: "it has no virtual address: its clients look its pods up by DNS, which is not modelled".into(),
                    settle: format!("name a pod of it, or kubectl get endpointslices -n {}", service.namespace),
                }),
            }
        }
        What::Host { name, near } => {
            let mut settle = String::from("name an object or an address instead");
            if !near.is_empty() {
                settle += &format!(" ({})", near.join(", "));
            }
            Ok(Target::NotKnown { who: None, why: format!("looking up '{name}' is not modelled"), settle })
        }
    }
}

/// The transport and the port to send to.
fn port(
    cluster: &Cluster,
    question: &Question,
    end: &Resolution,
    said: &mut Vec<String>,
) -> Result<(Protocol, u16), QuestionError> {
    let asked = question.protocol;
    if asked == Some(Protocol::Icmp) {
        return Ok((Protocol::Icmp, 0));
    }
    let declared = declared_ports(cluster, &end.what);
    if let Some(port) = end.port {
        let of_port = || {
            let mut all =
                declared.iter().filter(|(_, number)| *number == port).map(|(protocol, _)| *protocol);
            let first = all.next()?;
            (first != Protocol::Tcp && !all.any(|other| other == Protocol::Tcp)).then_some(first)
        };
        let protocol = asked.or(end.protocol).or_else(|| {
            let found = of_port()?;
            said.push(format!("port {port} is declared for {found}"));
            Some(found)
        });
        return Ok((protocol.unwrap_or(Protocol::Tcp), port));
    }
    let mut fitting = declared.iter().filter(|(protocol, _)| asked.is_none_or(|wanted| wanted == *protocol));
    match (fitting.next(), fitting.next()) {
        (Some((protocol, port)), more) => {
            let words = if more.is_some() { "the first of its ports" } else { "its only port" };
            said.push(format!("no port was said: {protocol} {port}, {words}"));
            Ok((*protocol, *port))
        }
        (None, _) => {
            let text = &question.to;
            Err(unusable(text, format!("say which port: {text}:PORT, or --proto icmp for an echo request")))
        }
    }
}

/// The ports that the receiver declares, in order.
fn declared_ports(cluster: &Cluster, what: &What) -> Vec<(Protocol, u16)> {
    let of_pod = |place: u32| {
        let pod = cluster.pods.get(place as usize);
        let ports = pod.into_iter().flat_map(|pod| &pod.containers).flat_map(|container| &container.ports);
        ports.map(|port| (port.protocol, port.port)).collect()
    };
    let of_service = |place: u32| {
        let service = cluster.services.get(place as usize);
        service
            .into_iter()
            .flat_map(|service| &service.ports)
            .map(|port| (port.protocol, port.port))
            .collect()
    };
    match what {
        What::Pod(place) => of_pod(*place),
        What::Service(place) => of_service(*place),
        What::Address(addr) => {
            let pod = cluster.pod_by_address(*addr).map(of_pod);
            let service = || cluster.services_at(*addr).first().copied().map(of_service);
            pod.or_else(service).unwrap_or_default()
        }
        What::Node(_) | What::Internet(_) | What::Host { .. } => Vec::new(),
    }
}

fn of_pod(cluster: &Cluster, place: u32, text: &str) -> Result<Place, QuestionError> {
    let Some(pod) = cluster.pods.get(place as usize) else {
        return Err(unusable(text, "there is no such pod".into()));
    };
    let Some(at) = compile::pod_netns(cluster, place) else {
        return Err(unusable(text, format!("pod {}/{} {}", pod.namespace, pod.name, why_no_netns(pod))));
    };
    let node = cluster.nodes.get(at.0.0 as usize).map(|node| node.name.clone());
    let who = Who {
        kind: Cow::Borrowed("Pod"),
        namespace: Some(pod.namespace.clone()),
        name: pod.name.clone(),
        node,
    };
    Ok(Place { at, addresses: pod.addresses.clone(), who: Some(who) })
}

fn why_no_netns(pod: &Pod) -> &'static str {
    if pod.terminal {
        "has ended: it holds no address any more"
    } else if pod.node.is_none() {
        "is not scheduled to a node"
    } else {
        "has no address yet"
    }
}

fn of_node(cluster: &Cluster, place: u32) -> Place {
    let node = cluster.nodes.get(place as usize);
    let who = node.map(|node| Who {
        kind: Cow::Borrowed("Node"),
        namespace: None,
        name: node.name.clone(),
        node: None,
    });
    let addresses = node.map_or_else(Vec::new, |node| node.addresses.clone());
    Place { at: (MachineId(place), 0), addresses, who }
}

fn of_service(service: &Service) -> Who {
    Who {
        kind: Cow::Borrowed("Service"),
        namespace: Some(service.namespace.clone()),
        name: service.name.clone(),
        node: None,
    }
}

/// The Service that takes what is aimed at an address of Services: one with this port, else the first of those that have it, unless
/// somebody holds the address.
fn frontend(cluster: &Cluster, addr: IpAddr, aim: Aim) -> Option<Who> {
    let services = || cluster.services_at(addr).iter().filter_map(|at| cluster.services.get(*at as usize));
    let takes = |service: &&Arc<Service>| {
        service.ports.iter().any(|port| (port.protocol, port.port) == (aim.protocol, aim.dport))
    };
    let held = cluster.node_by_address(addr).is_some() || cluster.pod_by_address(addr).is_some();
    let service = services().find(takes).or_else(|| services().next().filter(|_| !held))?;
    Some(of_service(service))
}

/// Who takes what is aimed at a node: the Service with this node port, the pod with this host port, else the node itself.
fn behind_node(cluster: &Cluster, node: u32, addr: IpAddr, place: Place, aim: Aim) -> Target {
    let services = cluster.services_with_node_port(aim.dport).iter();
    let mut services = services.filter_map(|at| cluster.services.get(*at as usize));
    let takes = |service: &&Arc<Service>| {
        let mut ports = service.ports.iter();
        ports.any(|port| (port.protocol, port.node_port) == (aim.protocol, Some(aim.dport)))
    };
    if let Some(service) = services.find(takes) {
        return Target::Service(addr, of_service(service));
    }
    let pods = cluster.pods_on_node.get(node as usize).into_iter().flatten();
    let asks = |at: &&u32| {
        cluster.pods.get(**at as usize).is_some_and(|pod| {
            let mut ports = pod.containers.iter().flat_map(|container| &container.ports);
            !pod.host_network
                && !pod.terminal
                && ports.any(|port| {
                    let at = port.host_ip.is_none_or(|ip| ip.is_unspecified() || ip == addr);
                    at && (port.protocol, port.host_port) == (aim.protocol, Some(aim.dport))
                })
        })
    };
    let pod = pods.clone().find(asks).and_then(|at| of_pod(cluster, *at, "").ok());
    Target::Place(addr, Some(pod.unwrap_or(place)))
}

/// The pod, node or gateway that has an address.
fn of_address(cluster: &Cluster, addr: IpAddr) -> Option<Place> {
    let found = cluster.pod_by_address(addr).and_then(|pod| of_pod(cluster, pod, "").ok());
    let found = found.or_else(|| {
        let node = cluster.node_by_address(addr)?;
        let has =
            |node: &Arc<Node>| node.addresses.contains(&addr) || node.external_addresses.contains(&addr);
        let on_card = cluster.nodes.get(node as usize).is_some_and(has);
        on_card.then(|| of_node(cluster, node))
    });
    let mut place = match found {
        Some(place) => place,
        None => {
            let machine = compile::gateway_with(cluster, addr)?;
            let name = Arc::from(compile::GATEWAY);
            let who = Who { kind: Cow::Borrowed("Gateway"), namespace: None, name, node: None };
            Place { at: (machine, 0), addresses: Vec::new(), who: Some(who) }
        }
    };
    place.addresses = Vec::from([addr]);
    Some(place)
}

fn of_outside(plans: &mut Plans, addr: IpAddr) -> Place {
    *plans = plans.clone().with_outside(addr);
    let machine = plans.outside(addr).unwrap_or(MachineId(u32::MAX));
    let name = Arc::from(addr.to_string());
    let who = Who { kind: Cow::Borrowed(OUTSIDE), namespace: None, name, node: None };
    Place { at: (machine, 0), addresses: Vec::from([addr]), who: Some(who) }
}

/// Loopback, group and unspecified addresses are nobody's outside of a namespace.
fn can_be_a_source(addr: IpAddr) -> bool {
    let broadcast = matches!(addr, IpAddr::V4(addr) if addr.is_broadcast());
    !(addr.is_loopback() || addr.is_multicast() || addr.is_unspecified() || broadcast)
}

/// Whether an address belongs to one of the cluster's own ranges.
fn is_inside(cluster: &Cluster, addr: IpAddr) -> bool {
    let settings = &cluster.settings;
    let ranges = [&settings.cluster_cidr, &settings.service_cidr, &settings.node_network];
    ranges.into_iter().flat_map(|setting| &setting.value).any(|net| net.contains(&addr))
}

fn first_family(cluster: &Cluster) -> Family {
    cluster.settings.node_network.value.first().map_or(Family::V4, |net| Family::of_net(*net))
}
