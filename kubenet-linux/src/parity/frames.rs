//! The frames of the model beside those of the kernel, device by device.
//!
//! In: a case of a trace, and what was captured. Out: where they are different. Frames of one device are compared in order. Left out,
//! on both sides, is what only a switch with every station awake shows: a broadcast that asks for somebody else's address, and a
//! frame for somebody else's MAC, at a card that is plugged into a switch. O(frames).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use kubenet_core::addr::MacAddr;
use kubenet_core::dataplane::{EventKind, Stage};
use kubenet_core::packet;
use kubenet_core::plan::{LinkKind, MachinePlan};
use kubenet_core::time::Instant;
use kubenet_core::trace::Case;

use super::likeness::{Likeness, Ports, is_housekeeping};

/// A device of a namespace of a machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// The machine.
    pub machine: String,
    /// The namespace there; empty for the machine's own.
    pub netns: String,
    /// The link.
    pub link: String,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.netns.is_empty() { &self.machine } else { &self.netns };
        write!(f, "{place} {}", self.link)
    }
}

/// A frame that a device sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Sent; else received.
    pub sent: bool,
    /// What it says.
    pub likeness: Likeness,
}

impl fmt::Display for Shot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.sent { "sends" } else { "gets" }, self.likeness)
    }
}

/// The frames of each device, in order.
pub type Shots = BTreeMap<Device, Vec<Shot>>;

/// A frame that one has and the other has not, at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub device: Device,
    /// The place in the device's frames, from 0.
    pub place: usize,
    /// The frame of the model; `None` where it has no more.
    pub model: Option<Shot>,
    /// The frame of the kernel; `None` where it has no more.
    pub kernel: Option<Shot>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |shot: &Option<Shot>| shot.as_ref().map_or("nothing".into(), Shot::to_string);
        writeln!(f, "{}, frame {}:", self.device, self.place + 1)?;
        writeln!(f, "  model   {}", shown(&self.model))?;
        write!(f, "  kernel  {}", shown(&self.kernel))
    }
}

/// What is known of a card that is plugged into a switch.
#[derive(Clone, Debug)]
struct Card {
    mac: MacAddr,
    /// Addresses that the machine answers for.
    answers: BTreeSet<IpAddr>,
}

/// The cards of a machine that are plugged into switches.
#[derive(Clone, Debug, Default)]
pub struct Cards(BTreeMap<Device, Card>);

impl Cards {
    /// Adds those of a machine.
    pub fn add(&mut self, machine: &MachinePlan) {
        for netns in &machine.netns {
            let held = netns.addresses().map(|net| net.addr());
            let answers: BTreeSet<IpAddr> =
                held.chain(netns.proxies.iter().map(|proxy| proxy.addr)).collect();
            for link in &netns.links {
                if matches!(link.kind, LinkKind::Nic { segment: Some(_) }) {
                    let device = device(&machine.name, &netns.name, &link.name);
                    self.0.insert(device, Card { mac: link.mac, answers: answers.clone() });
                }
            }
        }
    }

    /// Whether a frame that a device received counts.
    fn counts(&self, device: &Device, sent: bool, frame: &[u8]) -> bool {
        if is_housekeeping(frame) {
            return false;
        }
        let Some(card) = self.0.get(device).filter(|_| !sent) else { return true };
        let to = packet::destination_mac(frame);
        if !to.is_multicast() {
            return to == card.mac;
        }
        let asked = packet::view(frame).ok().and_then(|view| packet::asked_address(frame, &view));
        asked.is_none_or(|addr| card.answers.contains(&addr))
    }
}

/// A device by its names.
pub fn device(machine: &str, netns: &str, link: &str) -> Device {
    Device { machine: machine.into(), netns: netns.into(), link: link.into() }
}

/// Puts a captured frame into its place, if it counts.
pub fn take(shots: &mut Shots, cards: &Cards, device: Device, sent: bool, frame: &[u8]) {
    if cards.counts(&device, sent, frame) {
        let shot = Shot { sent, likeness: Likeness::of(frame) };
        shots.entry(device).or_default().push(shot);
    }
}

/// The frames of a case up to a moment.
pub fn of_case(case: &Case, cards: &Cards, until: Instant) -> Shots {
    let events = case.flows.iter().flat_map(|flow| &flow.events);
    let mut hops: Vec<_> = events
        .filter(|hop| matches!(hop.event, EventKind::Received | EventKind::Transmitted))
        .filter(|hop| hop.stage != Stage::Switch && hop.at <= until)
        .collect();
    hops.sort_by_key(|hop| hop.id);
    let mut shots = Shots::new();
    for hop in hops {
        let Some(link) = &hop.device else { continue };
        let sent = hop.event == EventKind::Transmitted;
        take(&mut shots, cards, device(&hop.machine, &hop.netns, link), sent, &hop.bytes);
    }
    shots
}

/// Where the two are different, each device up to its first difference.
pub fn compare(model: &Shots, kernel: &Shots, ports: &mut Ports) -> Vec<Difference> {
    let devices: BTreeSet<&Device> = model.keys().chain(kernel.keys()).collect();
    let mut differences = Vec::new();
    for device in devices {
        let none = Vec::new();
        let (ours, theirs) = (model.get(device).unwrap_or(&none), kernel.get(device).unwrap_or(&none));
        for place in 0..ours.len().max(theirs.len()) {
            let (model, kernel) = (ours.get(place), theirs.get(place));
            let same = match (model, kernel) {
                (Some(model), Some(kernel)) => {
                    model.sent == kernel.sent && ports.same(&model.likeness, &kernel.likeness)
                }
                (Some(_), None) | (None, Some(_)) | (None, None) => false,
            };
            if !same {
                let (model, kernel) = (model.cloned(), kernel.cloned());
                differences.push(Difference { device: device.clone(), place, model, kernel });
                break;
            }
        }
    }
    differences
}

/// How many frames there are.
pub fn count(shots: &Shots) -> usize {
    shots.values().map(Vec::len).sum()
}
