//! Connection tracking with a million entries: look-ups that hit and that miss, beside std's `HashMap` with the same keys.
//!
//! `cargo bench -p kubenet-core --bench conntrack`. The ratios at the end are of the best rounds of each, taken in turn. The goal
//! is 2.5 times as fast as std's on hits; the run fails below 2.0, which other work on the machine does not bring about.

mod gate;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use kubenet_core::dataplane::conntrack::{Connection, Conntrack};
use kubenet_core::dataplane::netfilter::Tuple;
use kubenet_core::plan::{
    ConntrackEntry, ConntrackHold, ConntrackKey, ConntrackSysctls, ConntrackTuple, Origin,
};
use kubenet_core::time::Instant as Virtual;

const ENTRIES: u32 = 1_000_000;
const ASKED: usize = 1 << 16;
const ROUNDS: u32 = 15;

fn entry(n: u32) -> ConntrackEntry {
    let client = IpAddr::V4(Ipv4Addr::from_bits(0x0af4_0000 | (n >> 5)));
    let server = IpAddr::V4(Ipv4Addr::from_bits(0x0a60_0000 | (n % 4096)));
    let port = 1024 + (n & 31) as u16 * 1999;
    let tuple = |src, dst, sport, dport| ConntrackTuple {
        src,
        dst,
        key: ConntrackKey::Ports(sport, dport),
        zone: None,
        counters: None,
    };
    ConntrackEntry {
        protocol: 6,
        timeout_secs: Some(86_400),
        state: Some("ESTABLISHED".into()),
        original: tuple(client, server, port, 443),
        reply: tuple(server, client, 443, port),
        unreplied: false,
        hold: ConntrackHold::Assured,
        mark: None,
        secctx: None,
        zone: 0,
        helper: None,
        uses: None,
        id: None,
        carried: None,
        origin: Origin::implied("bench"),
    }
}

fn main() {
    let mut table = Conntrack::new(&ConntrackSysctls { max: ENTRIES * 2, ..ConntrackSysctls::default() });
    let mut plain: HashMap<Tuple, (u32, bool)> = HashMap::new();
    let mut keys = Vec::new();
    for n in 0..ENTRIES {
        let connection = Connection::from_entry(&entry(n), Virtual::START);
        let (orig, reply) = (connection.orig, connection.reply);
        let id = table.insert(connection, Virtual::START).expect("room, and no clash");
        plain.insert(orig, (id, true));
        plain.insert(reply, (id, false));
        keys.push(orig);
    }
    // In an order without a pattern, so that neither profits from neighbours.
    let asked: Vec<Tuple> = (0..ASKED).map(|n| keys[(n * 2_654_435_761) % ENTRIES as usize]).collect();
    let absent: Vec<Tuple> = asked.iter().map(|key| Tuple { dport: 444, ..*key }).collect();
    for (name, keys, goal) in [("hits", &asked, 2.0), ("misses", &absent, 1.0)] {
        let ours = || keys.iter().filter(|key| table.find(key, Virtual::START).is_some()).count();
        let std = || keys.iter().filter(|key| plain.contains_key(*key)).count();
        gate::at_least(
            &format!("{ASKED} {name}: std against conntrack"),
            goal,
            gate::best_of(ROUNDS, std, ours),
        );
    }
}
