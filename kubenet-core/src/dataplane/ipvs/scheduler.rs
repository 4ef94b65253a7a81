//! Which real server a new connection gets: one function for each scheduler, as its kernel file defines it.
//!
//! Sources: `net/netfilter/ipvs/ip_vs_{rr,wrr,lc,wlc,sed,nq,sh,dh,lblc,lblcr,mh}.c`. A server is usable when its weight is
//! above 0 and it is not overloaded. Costs: O(servers) a connection; `sh`, `dh` and `mh` build their table once, O(table).

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::dataplane::choices::Choices;
use crate::dataplane::netns::Map;
use crate::plan::Scheduler;
use crate::time::{Duration, Instant};

/// A real server at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) addr: IpAddr,
    pub(super) port: u16,
    pub(super) weight: u32,
    pub(super) active: u32,
    pub(super) inactive: u32,
    /// More connections than its upper threshold, and not yet fewer than its lower one.
    pub(super) overloaded: bool,
}

impl Server {
    const fn is_usable(&self) -> bool {
        self.weight > 0 && !self.overloaded
    }

    /// `ip_vs_dest_conn_overhead`.
    const fn overhead(&self) -> u64 {
        ((self.active as u64) << 8) + self.inactive as u64
    }

    /// `ip_vs_sed_dest_overhead`.
    const fn expected(&self) -> u64 {
        self.active as u64 + 1
    }
}

/// Who asks for a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) src: IpAddr,
    pub(super) sport: u16,
    pub(super) dst: IpAddr,
}

/// What a scheduler remembers of its virtual server.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// `rr` and `wrr`: the server that was served last.
    last: Option<usize>,
    /// `wrr`: the weight that is served now.
    current_weight: u32,
    /// `sh`, `dh` and `mh`: servers by bucket.
    buckets: Vec<Option<usize>>,
    /// `lblc` and `lblcr`: servers by destination, and when the set last changed.
    cached: Map<IpAddr, (Vec<usize>, Instant)>,
}

impl Memory {
    /// The place of the server that was served last.
    pub(super) const fn last(&self) -> Option<usize> {
        self.last
    }

    /// With the pointer at another place, and without what depends on the list of servers.
    pub(super) fn moved(&self, last: Option<usize>) -> Self {
        Self { last, current_weight: self.current_weight, ..Self::default() }
    }
}

/// `IP_VS_SVC_F_SCHED1` and `IP_VS_SVC_F_SCHED2`: fall back to another server, hash the port too.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) fallback: bool,
    pub(super) port: bool,
}

/// What was chosen, or that the scheduler is not modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    Server(usize),
    None,
    Unknown,
}

impl From<Option<usize>> for Chosen {
    fn from(server: Option<usize>) -> Self {
        server.map_or(Self::None, Self::Server)
    }
}

/// Chooses a server. Where the pointer of `rr` and `wrr` stood before is chance, named `point`.
#[allow(clippy::too_many_arguments, reason = "what a scheduler looks at")]
pub(super) fn schedule(
    scheduler: &Scheduler,
    flags: Flags,
    servers: &[Server],
    memory: &mut Memory,
    client: Client,
    now: Instant,
    choices: &mut impl Choices,
    point: fmt::Arguments<'_>,
) -> Chosen {
    match scheduler {
        Scheduler::Rr => round_robin(servers, memory, choices, point).into(),
        Scheduler::Wrr => weighted_round_robin(servers, memory, choices, point).into(),
        Scheduler::Lc => least(servers, |s| (s.overhead(), 1)).into(),
        Scheduler::Wlc => least(servers, |s| (s.overhead(), s.weight)).into(),
        Scheduler::Sed => least(servers, |s| (s.expected(), s.weight)).into(),
        Scheduler::Nq => {
            let idle = servers.iter().position(|s| s.is_usable() && s.active == 0);
            idle.or_else(|| least(servers, |s| (s.expected(), s.weight))).into()
        }
        Scheduler::Sh => source_hash(servers, flags, memory, client).into(),
        Scheduler::Dh => destination_hash(servers, memory, client).into(),
        Scheduler::Lblc => locality(servers, memory, client.dst, now).into(),
        Scheduler::Lblcr => locality_with_replication(servers, memory, client.dst, now).into(),
        Scheduler::Mh => maglev(servers, flags, memory, client).into(),
        Scheduler::Other(_) => Chosen::Unknown,
    }
}

fn round_robin(
    servers: &[Server],
    memory: &mut Memory,
    choices: &mut impl Choices,
    point: fmt::Arguments<'_>,
) -> Option<usize> {
    let count = servers.len();
    let weights: Vec<u64> = servers.iter().map(|s| u64::from(s.is_usable())).collect();
    let chosen = match memory.last {
        None => weights.iter().any(|w| *w > 0).then(|| choices.pick(point, &weights))?,
        Some(last) => {
            (1..=count).map(|step| (last + step) % count).find(|at| weights.get(*at) == Some(&1))?
        }
    };
    memory.last = Some(chosen);
    Some(chosen)
}

fn weighted_round_robin(
    servers: &[Server],
    memory: &mut Memory,
    choices: &mut impl Choices,
    point: fmt::Arguments<'_>,
) -> Option<usize> {
    let step = servers.iter().map(|s| s.weight).filter(|w| *w > 0).fold(0, gcd).max(1);
    let most = servers.iter().map(|s| s.weight).max()?.checked_sub(step - 1).filter(|w| *w > 0)?;
    if memory.last.is_none() {
        // In the long run a server gets its weight's share; where the round stands is not known.
        let weights: Vec<u64> =
            servers.iter().map(|s| if s.is_usable() { u64::from(s.weight) } else { 0 }).collect();
        let chosen = weights.iter().any(|w| *w > 0).then(|| choices.pick(point, &weights))?;
        memory.last = Some(chosen);
        memory.current_weight = servers.get(chosen)?.weight.min(most);
        return Some(chosen);
    }
    let mut at = memory.last?;
    memory.current_weight = memory.current_weight.clamp(1, most);
    // Every weight is served once at most before it is clear that nobody can be.
    let rounds = (most / step) as usize + 2;
    for _ in 0..servers.len() * rounds {
        at += 1;
        if at >= servers.len() {
            at = 0;
            memory.current_weight =
                memory.current_weight.checked_sub(step).filter(|w| *w > 0).unwrap_or(most);
        }
        if servers.get(at).is_some_and(|s| s.is_usable() && s.weight >= memory.current_weight) {
            memory.last = Some(at);
            return Some(at);
        }
    }
    None
}

const fn gcd(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The first usable server with the least load for its weight, compared by cross multiplication.
fn least(servers: &[Server], load: impl Fn(&Server) -> (u64, u32)) -> Option<usize> {
    least_of(servers, 0..servers.len(), load)
}

fn least_of(
    servers: &[Server],
    among: impl Iterator<Item = usize>,
    load: impl Fn(&Server) -> (u64, u32),
) -> Option<usize> {
    let mut best: Option<(usize, u64, u32)> = None;
    for at in among {
        let Some(server) = servers.get(at).filter(|s| s.is_usable()) else { continue };
        let (own, weight) = load(server);
        if best.is_none_or(|(_, least, of)| least * u64::from(weight) > own * u64::from(of)) {
            best = Some((at, own, weight));
        }
    }
    best.map(|(at, ..)| at)
}

/// `hash_32` of `linux/hash.h`.
const fn hash_32(value: u32, bits: u32) -> u32 {
    value.wrapping_mul(0x61c8_8647) >> (32 - bits)
}

/// An address as 32 bits: itself, or the words of an IPv6 address folded by xor.
fn fold(addr: IpAddr) -> u32 {
    match addr {
        IpAddr::V4(a) => u32::from(a),
        IpAddr::V6(a) => {
            let bits = u128::from(a);
            (0..4).fold(0, |folded, word| folded ^ (bits >> (32 * word)) as u32)
        }
    }
}

const HASH_BITS: u32 = 8;

fn source_hash(servers: &[Server], flags: Flags, memory: &mut Memory, client: Client) -> Option<usize> {
    if memory.buckets.is_empty() {
        let mut at = 0;
        let mut filled = 0;
        for _ in 0..1 << HASH_BITS {
            let server = servers.get(at)?;
            memory.buckets.push(Some(at));
            filled += 1;
            if filled >= server.weight {
                (at, filled) = ((at + 1) % servers.len(), 0);
            }
        }
    }
    let port = if flags.port { u32::from(client.sport) } else { 0 };
    let bucket = |offset: u32| {
        let hash = hash_32(port.wrapping_add(fold(client.src)), HASH_BITS);
        let at = (offset.wrapping_add(hash) & 0xff) as usize;
        memory.buckets.get(at).copied().flatten()
    };
    let usable = |at: &usize| servers.get(*at).is_some_and(Server::is_usable);
    let first = bucket(0).filter(usable);
    if first.is_some() || !flags.fallback {
        return first;
    }
    let start = hash_32(port.wrapping_add(fold(client.src)), HASH_BITS);
    (0..1 << HASH_BITS).find_map(|offset| bucket((offset + start) & 0xff).filter(usable))
}

fn destination_hash(servers: &[Server], memory: &mut Memory, client: Client) -> Option<usize> {
    if memory.buckets.is_empty() && !servers.is_empty() {
        memory.buckets = (0..1 << HASH_BITS).map(|bucket: usize| Some(bucket % servers.len())).collect();
    }
    let at = memory.buckets.get(hash_32(fold(client.dst), HASH_BITS) as usize).copied().flatten()?;
    servers.get(at).is_some_and(Server::is_usable).then_some(at)
}

/// A server has too many connections while another is half empty (`is_overloaded` of lblc and lblcr).
fn is_strained(server: &Server, servers: &[Server]) -> bool {
    server.active > server.weight && servers.iter().any(|s| u64::from(s.active) * 2 < u64::from(s.weight))
}

fn locality(servers: &[Server], memory: &mut Memory, dst: IpAddr, now: Instant) -> Option<usize> {
    let usable = |at: usize| servers.get(at).is_some_and(|s| s.is_usable() && !is_strained(s, servers));
    if let Some((cached, seen)) = memory.cached.get_mut(&dst)
        && let Some(at) = cached.first().copied().filter(|at| usable(*at))
    {
        *seen = now;
        return Some(at);
    }
    let chosen = least(servers, |s| (s.overhead(), s.weight))?;
    memory.cached.insert(dst, (vec![chosen], now));
    Some(chosen)
}

/// How long a set of servers stays as large as it is (`sysctl_lblcr_expiration`).
const REPLICATION: Duration = Duration::from_secs(24 * 60 * 60);

fn locality_with_replication(
    servers: &[Server],
    memory: &mut Memory,
    dst: IpAddr,
    now: Instant,
) -> Option<usize> {
    let load = |s: &Server| (s.overhead(), s.weight);
    let Some((set, changed)) = memory.cached.get_mut(&dst) else {
        let chosen = least(servers, load)?;
        memory.cached.insert(dst, (vec![chosen], now));
        return Some(chosen);
    };
    let best = least_of(servers, set.iter().copied(), load);
    if set.len() > 1 && now.saturating_since(*changed) > REPLICATION {
        let heaviest =
            set.iter().copied().filter(|at| servers.get(*at).is_some_and(|s| s.weight > 0)).reduce(
                |worst, at| {
                    let (Some(a), Some(b)) = (servers.get(worst), servers.get(at)) else { return worst };
                    if a.overhead() * u64::from(b.weight) < b.overhead() * u64::from(a.weight) {
                        at
                    } else {
                        worst
                    }
                },
            );
        set.retain(|at| Some(*at) != heaviest);
        *changed = now;
    }
    if let Some(at) = best.filter(|at| servers.get(*at).is_some_and(|s| !is_strained(s, servers))) {
        return Some(at);
    }
    let chosen = least(servers, load)?;
    if !set.contains(&chosen) {
        set.push(chosen);
        *changed = now;
    }
    Some(chosen)
}

/// `ip_vs_mh_primes` of the default `CONFIG_IP_VS_MH_TAB_INDEX`, 12.
const MAGLEV: u32 = 4093;
/// The keys of the two hashes (`generate_hash_secret`).
const HASH1: u64 = 2_654_435_761;
const HASH2: u64 = 2_654_446_892;

fn maglev(servers: &[Server], flags: Flags, memory: &mut Memory, client: Client) -> Option<usize> {
    if memory.buckets.is_empty() && !servers.is_empty() {
        memory.buckets = maglev_table(servers);
    }
    let port = if flags.port { client.sport } else { 0 };
    let bucket = |offset: u32| {
        let hash = keyed(client.src, port, offset, HASH1) % MAGLEV;
        memory.buckets.get(hash as usize).copied().flatten()
    };
    let usable = |at: &usize| servers.get(*at).is_some_and(Server::is_usable);
    let first = bucket(0).filter(usable);
    if first.is_some() || !flags.fallback {
        return first;
    }
    let start = keyed(client.src, port, 0, HASH1) % MAGLEV;
    (0..MAGLEV).find_map(|offset| bucket((offset + start) % MAGLEV).filter(usable))
}

/// Every server takes its next free bucket in turn, as often as its weight says (`ip_vs_mh_populate`).
fn maglev_table(servers: &[Server]) -> Vec<Option<usize>> {
    let gcd = servers.iter().map(|s| s.weight).filter(|w| *w > 0).fold(0, gcd).max(1);
    let most = servers.iter().map(|s| s.weight).max().unwrap_or(0) / gcd;
    let shift = (32 - most.leading_zeros()).saturating_sub(6);
    let turns = |s: &Server| match (s.weight / gcd) >> shift {
        0 if s.weight > 0 => 1,
        turns => turns,
    };
    let mut table = vec![None; MAGLEV as usize];
    // Offset and skip of each server's walk through the table.
    let mut walks: Vec<(u32, u32)> = servers
        .iter()
        .map(|s| {
            let offset = keyed(s.addr, s.port, 0, HASH1) % MAGLEV;
            (offset, keyed(s.addr, s.port, 0, HASH2) % (MAGLEV - 1) + 1)
        })
        .collect();
    let mut free = MAGLEV;
    if servers.iter().all(|s| turns(s) == 0) {
        return table;
    }
    while free > 0 {
        for (at, server) in servers.iter().enumerate() {
            let Some((next, skip)) = walks.get_mut(at) else { continue };
            for _ in 0..turns(server) {
                if free == 0 {
                    break;
                }
                while table.get(*next as usize).is_some_and(Option::is_some) {
                    *next = (*next + *skip) % MAGLEV;
                }
                if let Some(slot) = table.get_mut(*next as usize) {
                    *slot = Some(at);
                    free -= 1;
                }
            }
        }
    }
    table
}

/// `ip_vs_mh_hashkey`: `hsiphash` of one word, which is SipHash-1-3 on 64-bit machines.
fn keyed(addr: IpAddr, port: u16, offset: u32, key: u64) -> u32 {
    let word = offset.wrapping_add(u32::from(port)).wrapping_add(fold(addr));
    siphash_1_3(word, key, key) as u32
}

const fn siphash_1_3(word: u32, key0: u64, key1: u64) -> u64 {
    const fn round(v: [u64; 4]) -> [u64; 4] {
        let [mut a, mut b, mut c, mut d] = v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        [a, b, c, d]
    }
    let last = (4 << 56) | word as u64;
    let mut v = [
        0x736f_6d65_7073_6575 ^ key0,
        0x646f_7261_6e64_6f6d ^ key1,
        0x6c79_6765_6e65_7261 ^ key0,
        0x7465_6462_7974_6573 ^ key1,
    ];
    v[3] ^= last;
    v = round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    v = round(round(round(v)));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use proptest::prelude::*;

    use super::*;
    use crate::dataplane::choices::{Seeded, explore};

    fn server(place: usize, weight: u32, active: u32, inactive: u32) -> Server {
        let addr = core::net::Ipv4Addr::from(0x0af4_0101 + place as u32).into();
        Server { addr, port: 8080, weight, active, inactive, overloaded: false }
    }

    /// `WEIGHT[/ACTIVE[+INACTIVE]]` for each server.
    fn servers(row: &str) -> Vec<Server> {
        row.split(' ')
            .enumerate()
            .map(|(place, word)| {
                let (weight, load) = word.split_once('/').unwrap_or((word, "0"));
                let (active, inactive) = load.split_once('+').unwrap_or((load, "0"));
                let number = |text: &str| text.parse().expect("a number");
                server(place, number(weight), number(active), number(inactive))
            })
            .collect()
    }

    struct First;

    impl Choices for First {
        fn pick(&mut self, _: fmt::Arguments<'_>, weights: &[u64]) -> usize {
            weights.iter().position(|w| *w > 0).unwrap_or(0)
        }
    }

    fn client(src: u8, sport: u16) -> Client {
        Client { src: IpAddr::from([10, 0, 0, src]), sport, dst: IpAddr::from([10, 96, 0, 10]) }
    }

    /// The servers of so many connections of one client, each staying open if `stay`.
    fn run(scheduler: Scheduler, row: &str, connections: u16, stay: bool) -> String {
        let mut all = servers(row);
        let mut memory = Memory::default();
        let words = (0..connections).map(|n| {
            let point = format_args!("ipvs");
            let client = client(7, 40000 + n);
            let flags = Flags::default();
            match schedule(&scheduler, flags, &all, &mut memory, client, Instant::START, &mut First, point) {
                Chosen::Server(at) => {
                    all[at].active += u32::from(stay);
                    at.to_string()
                }
                Chosen::None => "-".to_string(),
                Chosen::Unknown => "?".to_string(),
            }
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn round_robin_takes_turns_and_leaves_out_weight_zero() {
        assert_eq!(run(Scheduler::Rr, "1 1 1", 7, true), "0 1 2 0 1 2 0");
        assert_eq!(run(Scheduler::Rr, "1 0 5", 5, true), "0 2 0 2 0");
        assert_eq!(run(Scheduler::Rr, "0 0", 2, true), "- -");
    }

    #[test]
    fn weighted_round_robin_serves_by_weight() {
        let row = run(Scheduler::Wrr, "4 2 1", 14, false);
        let count = |at: &str| row.split(' ').filter(|w| *w == at).count();
        assert_eq!((count("0"), count("1"), count("2")), (8, 4, 2), "{row}");
        assert_eq!(run(Scheduler::Wrr, "1 1 1", 6, false), "0 1 2 0 1 2");
        assert_eq!(run(Scheduler::Wrr, "0 0", 1, false), "-");
    }

    #[test]
    fn least_connection_counts_active_ones_most() {
        assert_eq!(run(Scheduler::Lc, "1/2 1/1+300 1/1", 1, true), "2");
        assert_eq!(run(Scheduler::Lc, "1 1 1", 4, true), "0 1 2 0", "the first wins a tie");
        assert_eq!(run(Scheduler::Lc, "0/0 1/9", 1, true), "1");
    }

    #[test]
    fn weighted_schedulers_compare_load_for_weight() {
        assert_eq!(run(Scheduler::Wlc, "1/1 3/2", 1, true), "1");
        assert_eq!(run(Scheduler::Sed, "1/0 3/1", 1, true), "1", "(1+1)/3 is less than (0+1)/1");
        assert_eq!(run(Scheduler::Nq, "1/0 3/1", 1, true), "0", "an idle server first");
        assert_eq!(run(Scheduler::Nq, "1/1 3/1", 1, true), "1");
    }

    #[test]
    fn a_client_of_source_hash_keeps_its_server() {
        assert_eq!(
            run(Scheduler::Sh, "1 1 1", 3, true)
                .split(' ')
                .collect::<alloc::collections::BTreeSet<_>>()
                .len(),
            1
        );
        // 10.0.0.7: hash_32(0x0a000007, 8) = 184; 184 % 3 = 1.
        assert_eq!(
            hash_32(0x0a00_0007, 8) % 3,
            run(Scheduler::Sh, "1 1 1", 1, true).parse::<u32>().expect("a server")
        );
    }

    #[test]
    fn an_unusable_bucket_is_nobody_unless_it_may_fall_back() {
        let mut row = servers("1 1 1");
        let taken: usize = run(Scheduler::Sh, "1 1 1", 1, true).parse().expect("a server");
        row[taken].overloaded = true;
        let ask = |fallback| {
            let flags = Flags { fallback, port: false };
            let (mut memory, point) = (Memory::default(), format_args!("ipvs"));
            schedule(
                &Scheduler::Sh,
                flags,
                &row,
                &mut memory,
                client(7, 1),
                Instant::START,
                &mut First,
                point,
            )
        };
        assert_eq!(ask(false), Chosen::None);
        assert!(matches!(ask(true), Chosen::Server(at) if at != taken));
    }

    #[test]
    fn destination_hash_and_locality_stick_to_one_server() {
        assert_eq!(
            run(Scheduler::Dh, "1 1 1", 2, true)
                .split(' ')
                .collect::<alloc::collections::BTreeSet<_>>()
                .len(),
            1
        );
        assert_eq!(
            run(Scheduler::Lblc, "2 2", 4, true),
            "0 0 0 1",
            "until it is strained and another half empty"
        );
        assert_eq!(run(Scheduler::Lblcr, "2 2", 5, true), "0 0 0 1 1", "then a second one joins its set");
    }

    #[test]
    fn siphash_of_one_word() {
        // Not a constant of the RFC but a check that all bits of the word and both keys count.
        let base = siphash_1_3(0, 1, 2);
        assert!((0..32).all(|bit| siphash_1_3(1 << bit, 1, 2) != base));
        assert_ne!(siphash_1_3(0, 1, 3), base);
        assert_ne!(siphash_1_3(0, 2, 2), base);
    }

    #[test]
    fn maglev_fills_its_table_by_weight_and_moves_little() {
        let share = |table: &[Option<usize>], at| table.iter().filter(|s| **s == Some(at)).count();
        let table = maglev_table(&servers("1 1 2"));
        assert!(table.iter().all(Option::is_some));
        let (a, c) = (share(&table, 0), share(&table, 2));
        assert!(a.abs_diff(1023) <= 1 && c.abs_diff(2046) <= 2, "{a} {c}");
        let all = maglev_table(&servers("1 1 1 1 1 1 1 1 1 1"));
        let less = maglev_table(&servers("1 1 1 1 1 1 1 1 1"));
        let moved = all.iter().zip(&less).filter(|(a, b)| **a != Some(9) && a != b).count();
        assert!(moved < 500, "{moved} of the others' buckets moved");
    }

    #[test]
    fn a_scheduler_that_is_not_known_is_said_so() {
        assert_eq!(run(Scheduler::Other("fo".into()), "1", 1, true), "?");
    }

    #[test]
    fn where_round_robin_stands_is_an_even_chance() {
        let row = servers(&["1"; 1000].join(" "));
        let found = explore(4096, |script| {
            let mut memory = Memory::default();
            let point = format_args!("ipvs");
            let flags = Flags::default();
            schedule(&Scheduler::Rr, flags, &row, &mut memory, client(7, 1), Instant::START, script, point)
        });
        assert_eq!(found.runs.len(), 1000);
        assert!(found.runs.iter().all(|(p, _, _)| p.to_string() == "1/1000"));
    }

    proptest! {
        /// Nobody gets a server that takes no connections, and somebody is found where one does.
        #[test]
        fn only_usable_servers_are_chosen(
            weights in proptest::collection::vec((0_u32..4, 0_u32..5, any::<bool>()), 1..8),
            src in any::<u8>(),
            which in 0_usize..11,
        ) {
            let all: Vec<Server> = weights
                .iter()
                .enumerate()
                .map(|(at, (weight, active, overloaded))| Server {
                    overloaded: *overloaded,
                    ..server(at, *weight, *active, 0)
                })
                .collect();
            let schedulers = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh"];
            let scheduler = Scheduler::from_name(schedulers[which]);
            let mut memory = Memory::default();
            for round in 0..6 {
                let point = format_args!("ipvs");
                let chosen = schedule(
                    &scheduler, Flags::default(), &all, &mut memory, client(src, round), Instant::START, &mut Seeded(3), point,
                );
                let hashes = ["sh", "dh", "mh"].contains(&schedulers[which]);
                match chosen {
                    Chosen::Server(at) => prop_assert!(all[at].is_usable()),
                    Chosen::None => prop_assert!(hashes || !all.iter().any(Server::is_usable)),
                    Chosen::Unknown => prop_assert!(false),
                }
            }
        }
    }
}
