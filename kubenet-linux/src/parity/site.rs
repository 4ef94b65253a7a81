//! One flow through a cluster that is there, beside the same flow through the model.
//!
//! In: a network, the namespaces of its machines, and a question. Out: [`Compared`]. The kernel goes first; then the model is asked for the
//! way that chance fell: of all that its `Choices` can come to, the one whose frames are the kernel's. Before each flow the
//! namespaces forget what they learned, so that both begin alike.
//!
//! Cost: a flow forgets and reads back in each namespace, O(namespaces); the search asks the model at most [`WAYS`] times.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kubenet_core::addr::MacAddr;
use kubenet_core::dataplane::Client;
use kubenet_core::network::{Network, Question};
use kubenet_core::packet::{self, View, number};
use kubenet_core::plan::{MachineId, PlanSource as _};
use kubenet_core::time::Instant as Moment;
use kubenet_core::trace::{Case, Chance, End, Trace, Verdict};

use super::calm::Calm;
use super::capture::Capture;
use super::client::send;
use super::drops::{Drops, Heard};
use super::frames::{self, Cards, device};
use super::judge::{Judge, Passed, Seen};
use super::learned::Learned;
use super::likeness::{Ports, is_housekeeping};
use super::lists::{self, ByPlace};
use super::memory::Memory;
use super::quiet::{Quiet, most_hops, quiet};
use super::received;
use super::rules::{self, Monitor};
use crate::lab::Records;
use crate::netns::Netns;

/// How many ways for chance to fall are tried to find the kernel's.
pub const WAYS: usize = 400;
/// How long a client waits where the model says that nothing will come. No timer of the kernel ends between this and [`CUT`].
const SILENCE: Duration = Duration::from_millis(100);
/// What the model says of later is left out where nothing will come.
const CUT: Moment = Moment::from_nanos(240_000_000);
/// How much longer than in the model an answer may take. Segments are repeated at whole seconds.
const SLACK: Duration = Duration::from_millis(2500);
/// Nothing more is under way when no frame came for so long.
const QUIET: Duration = Duration::from_millis(4);
/// Likewise, while less came than the model has.
const SHORT: Duration = Duration::from_millis(16);
/// Likewise, where nothing of the model was the same.
const AGAIN: Duration = Duration::from_millis(60);
/// Likewise, the last time: timers of a second may be under way that the model does not have.
const LATE: Duration = Duration::from_millis(1100);
/// Likewise, after everything is forgotten.
const GIVEN_UP: Duration = Duration::from_millis(1);
/// The longest wait for that is so many times as long, or this.
const TIMES: u32 = 2;
const RESTLESS: Duration = Duration::from_millis(300);
/// How long a server may take to say what it received.
const SAYING: Duration = Duration::from_millis(20);

const TRACEPOINT: &str = "the tracepoint skb:kfree_skb";

/// Where a namespace is.
pub type Place = (String, String);

/// What a namespace is called in a difference: a machine's own by the machine.
pub(super) fn called(place: &Place) -> &str {
    if place.1.is_empty() { &place.0 } else { &place.1 }
}

/// A namespace that is watched.
#[derive(Debug)]
struct Tap {
    place: Place,
    netns: Arc<Netns>,
    capture: Capture,
    memory: Memory,
    monitor: Option<Monitor>,
    /// Holds the limits of errors open.
    _calm: Calm,
}

/// A cluster that is there, and its model.
#[derive(Debug)]
pub struct Site {
    network: Network,
    taps: Vec<Tap>,
    cards: Cards,
    known: Vec<u16>,
    /// The addresses that stand for all hosts of a network.
    broadcasts: BTreeSet<IpAddr>,
    most_hops: usize,
    records: Option<Arc<Records>>,
    drops: Result<Drops, String>,
    /// Who said something of its own accord since the flow began.
    talkers: BTreeSet<MacAddr>,
}

/// What became of one flow, here and there.
#[derive(Clone, Debug)]
pub struct Compared {
    /// What the client lives through in the model.
    pub model: Verdict,
    /// What it lived through.
    pub kernel: Verdict,
    /// Frames of the kernel.
    pub frames: usize,
    /// Rules of the kernel that led on or decided.
    pub rules: usize,
    /// Connections and datagrams that servers of the kernel's side received.
    pub received: usize,
    /// Entries of the kernel's tables at the end: connections, neighbours, forwarding entries.
    pub entries: usize,
    /// Reasons for which the model drops that this kernel can say.
    pub drops: usize,
    /// What is different.
    pub differences: Vec<String>,
}

impl Compared {
    /// Whether both say the same.
    pub const fn agrees(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Why a flow was not compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// The question has no answer.
    #[error("{0}")]
    Ask(#[from] kubenet_core::network::AskError),
    /// The model does not know what happens.
    #[error("the model does not know: {0}")]
    Unknown(String),
    /// The machine's kernel lacks something.
    #[error("this kernel cannot be compared with: {0}")]
    Lacking(String),
    /// The namespace that the flow starts in is not there.
    #[error("{machine} {netns}: there is no such namespace")]
    NoPlace {
        /// The machine.
        machine: String,
        /// The namespace.
        netns: String,
    },
    /// The kernel or a tool said no.
    #[error("{what}: {error}")]
    Io {
        /// What was done.
        what: String,
        /// What went wrong.
        error: io::Error,
    },
    /// A tool said no.
    #[error("{0}")]
    Tool(#[from] crate::tool::ToolError),
}

impl Site {
    /// Watches the namespaces of a network's machines; `spaces` names them. With `traced` the rules that packets meet are compared
    /// too: in namespaces whose rules are those of nf_tables. Dropped, it leaves the namespaces as they were, but for what they
    /// learned: that is forgotten before each flow.
    ///
    /// # Errors
    ///
    /// Where a namespace cannot be watched.
    pub fn new(
        network: Network,
        spaces: BTreeMap<Place, Arc<Netns>>,
        outside: &[IpAddr],
        traced: bool,
    ) -> Result<Self, SiteError> {
        let plans = quiet(&network, outside, 0);
        let most_hops = most_hops(&plans.plans);
        let (mut cards, mut known) = (Cards::default(), Vec::new());
        let mut broadcasts = BTreeSet::from([IpAddr::V4(std::net::Ipv4Addr::BROADCAST)]);
        let (mut ruled, mut all) = (Vec::<Place>::new(), BTreeSet::<Place>::new());
        for id in 0..plans.machine_count() {
            let Some(machine) = plans.machine(MachineId(id)) else { continue };
            cards.add(&machine);
            for netns in &machine.netns {
                all.insert((machine.name.to_string(), netns.name.to_string()));
                let nets = netns.addresses().filter(|net| net.addr().is_ipv4() && net.prefix_len() < 31);
                broadcasts.extend(nets.map(|net| net.broadcast()));
                known.extend(netns.sockets.iter().map(|socket| socket.port));
                if !netns.netfilter.is_empty() {
                    ruled.push((machine.name.to_string(), netns.name.to_string()));
                }
            }
        }
        let mut taps = Vec::new();
        // A host that no flow concerns is not watched.
        for (place, netns) in spaces.into_iter().filter(|(place, _)| all.contains(place)) {
            let at = |error| SiteError::Io { what: format!("{} {}", place.0, place.1), error };
            let calm = Calm::begin(netns.clone()).map_err(at)?;
            let monitor = (traced && ruled.contains(&place)).then(|| Monitor::begin(&netns)).transpose()?;
            let capture = Capture::begin(&netns).map_err(at)?;
            let memory = Memory::open(&netns).map_err(at)?;
            taps.push(Tap { place, netns, capture, memory, monitor, _calm: calm });
        }
        let drops = Drops::begin().map_err(|error| format!("{TRACEPOINT}: {error}"));
        let (records, talkers) = (None, BTreeSet::new());
        Ok(Self { network, taps, cards, known, broadcasts, most_hops, records, drops, talkers })
    }

    /// What this kernel does not tell of, so that it is not compared: what, and why.
    pub fn lacking(&self) -> Vec<(&'static str, String)> {
        let mut lacking = Vec::new();
        if !self.taps.iter().all(|tap| tap.memory.lists_connections()) {
            lacking.push(("connections", "/proc/net/nf_conntrack is not there".into()));
        }
        if let Err(why) = &self.drops {
            lacking.push(("drop reasons", why.clone()));
        }
        lacking
    }

    /// Compares what servers receive too: those that take it down here.
    #[must_use]
    pub fn with_records(mut self, records: Arc<Records>) -> Self {
        self.records = Some(records);
        self
    }

    /// The model.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// Sends a flow through both.
    ///
    /// # Errors
    ///
    /// [`SiteError`], where they cannot be compared.
    pub fn compare(&mut self, question: &Question) -> Result<Compared, SiteError> {
        // Hosts outside are numbered as the question meets them.
        let outside = outside(&self.network.trace(&seeded(question, BTreeMap::new()))?);
        let plans = quiet(&self.network, &outside, 0);
        let first = self.network.trace_through(&plans, &seeded(question, BTreeMap::new()))?;
        let Some(case) = first.outcomes.first() else {
            return Err(SiteError::Unknown("no packet is sent".into()));
        };
        if case.verdict == Verdict::Unknown || case.hops.is_empty() {
            let why = case.reason.as_ref().map_or_else(String::new, |reason| reason.text.clone());
            return Err(SiteError::Unknown(why));
        }
        let mut seen = self.live(&first, case, question.payload)?;
        let compared = self.search(question, &outside, &first, &seen)?;
        if compared.agrees() {
            return Ok(compared);
        }
        // What a busy machine shows late may make it the same. The last wait is also for what the next flow would see of this one.
        for quiet in [AGAIN, LATE] {
            let came = self.collect(&mut seen.passed, quiet)?;
            let received = self.received(seen.number, 0);
            if came || received != seen.received {
                (seen.received, seen.learned) = (received, self.learned()?);
                let other = self.search(question, &outside, &first, &seen)?;
                if other.agrees() {
                    return Ok(other);
                }
            }
        }
        Ok(compared)
    }

    /// Looks for the way that chance fell: the model's that is the same as what was seen, else the one that is nearest.
    fn search(
        &self,
        question: &Question,
        outside: &[IpAddr],
        first: &Trace,
        seen: &Seen,
    ) -> Result<Compared, SiteError> {
        let mut known = self.known.clone();
        known.extend([first.question.from.port, first.question.to.port].into_iter().flatten());
        let judge = Judge { seen, cards: &self.cards, known: &known, broadcasts: &self.broadcasts };
        let mut best: Option<(usize, Compared)> = None;
        for hop in 0..self.most_hops {
            let plans = quiet(&self.network, outside, hop);
            // The ways that chance can fall, those with the least pinned first.
            let mut ways = VecDeque::from([BTreeMap::new()]);
            for _ in 0..WAYS {
                let Some(pins) = ways.pop_front() else { break };
                let trace = self.network.trace_through(&plans, &seeded(question, pins.clone()))?;
                let Some(case) = trace.outcomes.first() else { continue };
                let (mut apart, mut compared, ports) = judge.compared(case);
                if compared.agrees() {
                    let question = seeded(question, pins.clone());
                    compared = self.with_aftermath(&judge, &plans, question, compared, ports)?;
                } else if tells_of_shorter_way(case) {
                    // A kernel that told the same sender of a shorter way in an earlier flow keeps silent for a while.
                    let silent = quiet(&self.network, outside, hop).without_redirects();
                    let question = seeded(question, pins.clone());
                    let trace = self.network.trace_through(&silent, &question)?;
                    if let Some((nearer, again, ports)) =
                        trace.outcomes.first().map(|case| judge.compared(case))
                        && (again.agrees() || nearer < apart)
                    {
                        apart = nearer;
                        compared = match again.agrees() {
                            true => self.with_aftermath(&judge, &silent, question, again, ports)?,
                            false => again,
                        };
                    }
                }
                // Other ways may look the same from outside, and end elsewhere.
                if compared.agrees() {
                    return Ok(compared);
                }
                if best.as_ref().is_none_or(|(least, _)| apart < *least) {
                    best = Some((apart, compared));
                }
                branch(case, &pins, &mut ways);
            }
        }
        best.map(|(_, compared)| compared).ok_or_else(|| SiteError::Unknown("chance falls no way".into()))
    }

    /// Compares what comes of the same frames too.
    fn with_aftermath(
        &self,
        judge: &Judge<'_>,
        plans: &Quiet,
        question: Question,
        mut compared: Compared,
        mut ports: Ports,
    ) -> Result<Compared, SiteError> {
        let (trace, tables) = self.network.trace_through_with_tables(plans, &question, judge.seen.until)?;
        if let Some(case) = trace.outcomes.first() {
            compared.differences = judge.aftermath(case, &tables, &mut ports);
        }
        Ok(compared)
    }

    /// Sends the flow through the kernel, and takes down what passed.
    fn live(&mut self, trace: &Trace, case: &Case, payload: u16) -> Result<Seen, SiteError> {
        self.collect(&mut Passed::default(), QUIET)?;
        self.talkers.clear();
        forget_all(&mut self.taps)?;
        // A packet that waited for a neighbour is given up with it, and its sender is told: that is forgotten too.
        if self.collect(&mut Passed::default(), GIVEN_UP)? {
            forget_all(&mut self.taps)?;
            self.collect(&mut Passed::default(), GIVEN_UP)?;
        }
        if let Ok(drops) = &mut self.drops {
            drops.take().map_err(deaf)?;
        }
        let number = self.records.as_ref().map_or(0, |records| records.next_number());
        let (client, place) = aim(trace, case, payload)?;
        let Some(tap) = self.taps.iter().find(|tap| tap.place == place) else {
            return Err(SiteError::NoPlace { machine: place.0, netns: place.1 });
        };
        let last = case.client.last().map_or(0, |experience| experience.at.as_nanos());
        let is_silent = case.verdict == Verdict::Timeout || case.verdict == Verdict::Loop;
        let patience = if is_silent { SILENCE } else { Duration::from_nanos(last) + SLACK };
        let failed = |error| SiteError::Io { what: format!("a client in {} {}", place.0, place.1), error };
        let to_the_end = case.verdict == Verdict::Closed;
        let open =
            send(&tap.netns, &client, to_the_end, patience).map_err(|error| match error.raw_os_error() {
                Some(libc::EPROTONOSUPPORT) => SiteError::Lacking(format!("it has no {}", client.protocol)),
                _ => failed(error),
            })?;
        let until = match open.verdict {
            _ if is_silent => CUT,
            // Chance fell otherwise: what came after the client's patience was not seen.
            Verdict::Timeout => Moment::from_nanos(patience.as_nanos() as u64),
            _ => Moment::from_nanos(u64::MAX),
        };
        let mut passed = Passed::default();
        self.collect(&mut passed, QUIET)?;
        let model = frames::of_case(case, &self.cards, until);
        let rules = rules::of_case(case, until).values().map(Vec::len).sum::<usize>();
        let is_traced = self.taps.iter().any(|tap| tap.monitor.is_some());
        if frames::count(&passed.shots) < frames::count(&model)
            || is_traced && passed.hits.values().map(Vec::len).sum::<usize>() < rules
        {
            self.collect(&mut passed, SHORT)?;
        }
        let received = self.received(number, lists::count(&received::of_case(case, until)));
        let heard = match &mut self.drops {
            Ok(drops) => drops.take().map_err(deaf)?,
            Err(_) => Heard::default(),
        };
        let mut learned = self.learned()?;
        // Who spoke while the tables were read is known a moment later.
        if self.overhear()? {
            learned = self.learned()?;
        }
        let (verdict, sport) = (open.verdict, client.sport);
        Ok(Seen { verdict, passed, number, received, learned, heard, until, sport, _open: open })
    }

    /// Waits until nothing came for so long, and adds what passed since the last time. Whether there was anything.
    fn collect(&mut self, passed: &mut Passed, quiet: Duration) -> Result<bool, SiteError> {
        let begun = Instant::now();
        let (mut last, mut is_new) = (begun, false);
        loop {
            let mut came = false;
            for tap in &mut self.taps {
                let at = |error| SiteError::Io { what: format!("{} {}", tap.place.0, tap.place.1), error };
                for frame in tap.capture.take().map_err(at)? {
                    came = true;
                    let Some(link) = tap.memory.devices().get(&frame.ifindex) else { continue };
                    if is_housekeeping(&frame.bytes) {
                        self.talkers.insert(packet::source_mac(&frame.bytes));
                    }
                    let device = device(&tap.place.0, &tap.place.1, link);
                    frames::take(&mut passed.shots, &self.cards, device, frame.sent, &frame.bytes);
                }
                if let Some(monitor) = &tap.monitor {
                    let lines = monitor.take();
                    came |= !lines.is_empty();
                    passed.lines.entry(tap.place.clone()).or_default().extend(lines);
                }
            }
            let now = Instant::now();
            if came {
                (last, is_new) = (now, true);
            }
            if now - last >= quiet || now - begun >= (quiet * TIMES).max(RESTLESS) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let read = |lines: &Vec<String>| rules::of_lines(lines.iter().map(String::as_str));
        passed.hits = passed.lines.iter().map(|(place, lines)| (place.clone(), read(lines))).collect();
        Ok(is_new)
    }

    /// What the namespaces hold.
    fn learned(&mut self) -> Result<BTreeMap<Place, Learned>, SiteError> {
        let mut learned = BTreeMap::new();
        for tap in &mut self.taps {
            let at = |error| SiteError::Io { what: format!("{} {}", tap.place.0, tap.place.1), error };
            learned.insert(tap.place.clone(), tap.memory.read(&self.talkers).map_err(at)?);
        }
        Ok(learned)
    }

    /// Takes what passed since all was quiet; gives whether somebody spoke of its own accord who had not.
    fn overhear(&mut self) -> Result<bool, SiteError> {
        let before = self.talkers.len();
        for tap in &mut self.taps {
            let at = |error| SiteError::Io { what: format!("{} {}", tap.place.0, tap.place.1), error };
            let frames = tap.capture.take().map_err(at)?;
            let talk = frames.iter().filter(|frame| is_housekeeping(&frame.bytes));
            self.talkers.extend(talk.map(|frame| packet::source_mac(&frame.bytes)));
        }
        Ok(self.talkers.len() > before)
    }

    /// What servers received from a number on; so many are waited for, a little.
    fn received(&self, number: u64, wanted: usize) -> Option<ByPlace> {
        let (records, begun) = (self.records.as_ref()?, Instant::now());
        loop {
            let records = records.since(number);
            if records.len() >= wanted || begun.elapsed() >= SAYING {
                return Some(received::of_servers(&records));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Has every namespace forget what it learned, all at once: the kernel mostly waits for itself.
fn forget_all(taps: &mut [Tap]) -> Result<(), SiteError> {
    thread::scope(|scope| {
        let each = taps.iter_mut().map(|tap| (&tap.place, &mut tap.memory));
        let started: Vec<_> = each.map(|(place, memory)| (place, scope.spawn(|| memory.forget()))).collect();
        started.into_iter().try_for_each(|(place, run)| {
            let forgot = run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            forgot.map_err(|error| SiteError::Io { what: format!("{} {}", place.0, place.1), error })
        })
    })
}

/// A question with its chance pinned; what is not pinned falls alike each time.
fn seeded(question: &Question, pins: BTreeMap<String, usize>) -> Question {
    Question { chance: Chance::Seeded { seed: 0, pins }, ..question.clone() }
}

/// The hosts outside that a question names, in the order in which they are looked up.
pub fn outside(trace: &Trace) -> Vec<IpAddr> {
    let ends = [&trace.question.from, &trace.question.to];
    let is_outside = |end: &&End| end.who.as_ref().is_some_and(|who| who.kind == "Outside");
    ends.into_iter().filter(is_outside).filter_map(|end| end.ip).collect()
}

/// The other ways to fall at each choice that a run met after those that were pinned.
fn branch(case: &Case, pins: &BTreeMap<String, usize>, ways: &mut VecDeque<BTreeMap<String, usize>>) {
    let mut path = pins.clone();
    for taken in &case.choices {
        if path.contains_key(&taken.point) {
            continue;
        }
        for other in (0..taken.of).filter(|other| *other != taken.index) {
            let mut way = path.clone();
            way.insert(taken.point.clone(), other);
            ways.push_back(way);
        }
        path.insert(taken.point.clone(), taken.index);
    }
}

/// Whether a router tells a sender of a shorter way (ICMP redirect).
fn tells_of_shorter_way(case: &Case) -> bool {
    let mut events = case.flows.iter().flat_map(|flow| &flow.events);
    events.any(|hop| match packet::view(&hop.bytes) {
        Ok(View::Ip(ip)) => {
            let kind = packet::l4_bytes(&hop.bytes, &ip).first().copied();
            matches!((ip.protocol, kind), (number::ICMP, Some(5)) | (number::ICMPV6, Some(137)))
        }
        Ok(View::Arp(_) | View::Other(_)) | Err(_) => false,
    })
}

/// What a trace's client sends, and where it is; the place stands for the number of its namespace.
fn aim(trace: &Trace, case: &Case, payload: u16) -> Result<(Client, Place), SiteError> {
    let unknown = || SiteError::Unknown("nothing says what is sent".into());
    let (first, to) = (case.hops.first().ok_or_else(unknown)?, &trace.question.to);
    // A host outside has the address that the question names; the others leave the choice to the kernel, which is compared then.
    let is_named = trace.question.from.who.as_ref().is_none_or(|who| who.kind == "Outside");
    let bound: Option<IpAddr> = trace.question.from.ip.filter(|_| is_named);
    let client = Client {
        netns: 0,
        protocol: trace.question.protocol,
        src: bound,
        sport: trace.question.from.port.ok_or_else(unknown)?,
        dst: to.ip.ok_or_else(unknown)?,
        dport: to.port.unwrap_or(0),
        payload,
    };
    Ok((client, (first.machine.to_string(), first.netns.to_string())))
}

fn deaf(error: io::Error) -> SiteError {
    SiteError::Io { what: TRACEPOINT.into(), error }
}
