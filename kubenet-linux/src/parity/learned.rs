//! What a namespace learned: connections, neighbours, forwarding entries. The model's and the kernel's, in the same words.
//!
//! In: the tables of a trace's end, or rows of the kernel. Out: [`Learned`]. Left out is what was put there by hand, what a namespace
//! does not know after all (`FAILED`: a kernel keeps such an entry while something holds it, and the model asks again as if there
//! were none), and groups.

use std::net::IpAddr;

use kubenet_core::addr::MacAddr;
use kubenet_core::network::Tables;
use kubenet_core::packet::number;
use kubenet_core::plan::{ConntrackEntry, ConntrackHold, ConntrackKey, ConntrackTuple, NeighbourState};

use super::likeness::{Likeness, Ports, is_vxlan};
use super::lists;
use super::site::{Place, called};

/// What one namespace learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Learned {
    pub(super) connections: Vec<Likeness>,
    pub(super) neighbours: Vec<Likeness>,
    pub(super) forwarding: Vec<Likeness>,
    /// Neighbours and forwarding entries that may come from what a kernel says of its own accord: they count where the other side has
    /// them.
    pub(super) talk: Vec<Likeness>,
}

impl Learned {
    /// Of a namespace of the model.
    pub(super) fn of_tables(tables: &Tables) -> Self {
        let neighbours = tables.neighbours.iter();
        let learned = tables.fdb.iter().filter(|entry| !entry.permanent);
        Self {
            connections: tables.conntrack.iter().filter_map(connection).collect(),
            neighbours: neighbours
                .filter_map(|one| neighbour(&one.dev, one.addr, one.mac, one.state))
                .collect(),
            forwarding: learned.filter_map(|one| forwarding(one.mac, &one.dev, one.dst)).collect(),
            talk: Vec::new(),
        }
    }

    /// Where the kernel holds something else.
    pub(super) fn compare(&self, place: &Place, kernel: &Self, ports: &mut Ports) -> Vec<String> {
        let name = called(place);
        let mut one = |what: &str, ours: &[Likeness], theirs: &[Likeness]| {
            let confirmed = kernel.talk.iter().filter(|one| ours.contains(one));
            let theirs: Vec<Likeness> = theirs.iter().chain(confirmed).cloned().collect();
            lists::compare(&format!("{name}, {what}"), ours, &theirs, ports)
        };
        let mut differences = one("connections", &self.connections, &kernel.connections);
        differences.extend(one("neighbours", &self.neighbours, &kernel.neighbours));
        differences.extend(one("forwarding", &self.forwarding, &kernel.forwarding));
        differences
    }

    /// How many entries there are.
    pub(super) const fn count(&self) -> usize {
        self.connections.len() + self.neighbours.len() + self.forwarding.len()
    }
}

/// A tracked connection: both tuples, the state, and how firmly it is kept. Its time is not compared.
pub(super) fn connection(entry: &ConntrackEntry) -> Option<Likeness> {
    // A machine joins and leaves groups of its own accord (IGMP).
    if entry.original.dst.is_multicast() {
        return None;
    }
    let mut out = Likeness { text: format!("{} ", protocol(entry.protocol)), ports: Vec::new() };
    tuple(&mut out, &entry.original);
    out.text.push_str(": reply ");
    tuple(&mut out, &entry.reply);
    if let Some(state) = &entry.state {
        out.text.push(' ');
        out.text.push_str(state);
    }
    if entry.unreplied {
        out.text.push_str(" UNREPLIED");
    }
    match entry.hold {
        ConntrackHold::Loose => {}
        ConntrackHold::Assured => out.text.push_str(" ASSURED"),
        ConntrackHold::Offload | ConntrackHold::HwOffload => out.text.push_str(" OFFLOAD"),
    }
    if let Some(mark) = entry.mark.filter(|mark| *mark != 0) {
        out.text.push_str(&format!(" mark {mark:#x}"));
    }
    Some(out)
}

fn tuple(out: &mut Likeness, tuple: &ConntrackTuple) {
    let ConntrackTuple { src, dst, key, .. } = tuple;
    out.text.push_str(&format!("{src} > {dst}"));
    match *key {
        // The source port of a tunnel is the kernel's hash.
        ConntrackKey::Ports(sport, dport) if is_vxlan(sport) || is_vxlan(dport) => {
            out.text.push_str(&format!(" ports of tunnel {}", if is_vxlan(dport) { dport } else { sport }));
        }
        ConntrackKey::Ports(sport, dport) => {
            out.text.push_str(" ports {} {}");
            out.ports.extend([sport, dport]);
        }
        ConntrackKey::Icmp { kind, code, id } => {
            out.text.push_str(&format!(" type {kind}/{code} id {{}}"));
            out.ports.push(id);
        }
        ConntrackKey::Gre(..) | ConntrackKey::Nothing => {}
    }
}

fn protocol(protocol: u8) -> String {
    match protocol {
        number::TCP => "tcp".into(),
        number::UDP => "udp".into(),
        number::SCTP => "sctp".into(),
        number::ICMP => "icmp".into(),
        number::ICMPV6 => "icmpv6".into(),
        other => format!("protocol {other}"),
    }
}

/// An address of a link with its MAC and the class of its state: a kernel moves an entry that it uses from `STALE` on to `DELAY` and
/// `PROBE`, which the model does not.
pub(super) fn neighbour(
    dev: &str,
    addr: IpAddr,
    mac: Option<MacAddr>,
    state: NeighbourState,
) -> Option<Likeness> {
    let class = match state {
        NeighbourState::Reachable => "reachable",
        NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => "stale",
        NeighbourState::Incomplete => "incomplete",
        NeighbourState::Permanent | NeighbourState::Noarp | NeighbourState::Failed | NeighbourState::None => {
            return None;
        }
    };
    let mac = mac.filter(|_| class != "incomplete").map_or_else(String::new, |mac| format!("{mac} "));
    (!addr.is_multicast()).then(|| plain(format!("{addr} dev {dev}: {mac}{class}")))
}

/// A MAC behind a port of a bridge, or behind another machine.
pub(super) fn forwarding(mac: MacAddr, dev: &str, dst: Option<IpAddr>) -> Option<Likeness> {
    let dst = dst.map_or_else(String::new, |dst| format!(" to {dst}"));
    (!mac.is_multicast()).then(|| plain(format!("{mac}: dev {dev}{dst}")))
}

const fn plain(text: String) -> Likeness {
    Likeness { text, ports: Vec::new() }
}

#[cfg(test)]
mod tests {
    use kubenet_core::text::conntrack::parse;

    use super::*;

    const LISTED: &str = "\
ipv4     2 tcp      6 431999 ESTABLISHED src=10.244.1.2 dst=10.96.0.10 sport=20000 dport=80 src=10.244.2.3 dst=10.244.1.2 sport=8080 dport=20000 [ASSURED] mark=0 zone=0 use=2
ipv4     2 icmp     1 29 src=10.244.1.2 dst=10.244.2.3 type=8 code=0 id=20001 [UNREPLIED] src=10.244.2.3 dst=10.244.1.2 type=0 code=0 id=20001 mark=16384 zone=0 use=2
ipv4     2 unknown  2 599 src=10.244.1.1 dst=224.0.0.22 [UNREPLIED] src=224.0.0.22 dst=10.244.1.1 mark=0 zone=0 use=2
";

    #[test]
    fn a_listing_of_connections_is_in_the_words_of_a_comparison() {
        let listed = parse(LISTED, "nf_conntrack");
        let shown: Vec<String> =
            listed.items.iter().filter_map(connection).map(|it| it.to_string()).collect();
        let wanted = [
            "tcp 10.244.1.2 > 10.96.0.10 ports 20000 80: reply 10.244.2.3 > 10.244.1.2 ports 8080 20000 ESTABLISHED ASSURED",
            "icmp 10.244.1.2 > 10.244.2.3 type 8/0 id 20001: reply 10.244.2.3 > 10.244.1.2 type 0/0 id 20001 UNREPLIED mark 0x4000",
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_neighbour_has_the_class_of_its_state_and_what_is_not_known_is_none() {
        let (addr, mac) = ("10.244.1.1".parse().expect("an address"), Some(MacAddr([2, 0, 0, 0, 0, 1])));
        let shown = |state| neighbour("eth0", addr, mac, state).map(|it| it.text);
        let known = |class: &str| Some(format!("10.244.1.1 dev eth0: 02:00:00:00:00:01 {class}"));
        assert_eq!(shown(NeighbourState::Reachable), known("reachable"));
        assert_eq!(shown(NeighbourState::Delay), known("stale"));
        assert_eq!(shown(NeighbourState::Incomplete).as_deref(), Some("10.244.1.1 dev eth0: incomplete"));
        assert_eq!(shown(NeighbourState::Failed), None);
        assert_eq!(shown(NeighbourState::Permanent), None);
    }
}
