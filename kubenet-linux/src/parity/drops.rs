//! Why packets are dropped, as the kernel says (tracepoint `skb:kfree_skb`) and as the model says.
//!
//! In: an instance of tracefs of our own, and a case. Out: the reasons that the model gives and the kernel does not. The tracepoint tells
//! of the whole system and names no namespace, so it is compared one way: what the model says must have been said meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kubenet_core::dataplane::{DropReason, EventKind, Stage};
use kubenet_core::packet::{self, View};
use kubenet_core::time::Instant;
use kubenet_core::trace::Case;
use rustix::mount::{MountFlags, mount};
use rustix::thread::UnshareFlags;

use super::site::{Place, called};
use crate::netns::keep_mounts_private;

const TRACEFS: &str = "/sys/kernel/tracing";
/// What the names of our instances begin with.
const PREFIX: &str = "kubenet-parity-";
/// An instance that is not in use after so long was left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// The kernel's reasons, as they come.
#[derive(Debug)]
pub(super) struct Drops {
    instance: PathBuf,
    /// `None` only while it goes.
    pipe: Option<File>,
    /// The reasons that this kernel can give.
    known: BTreeSet<String>,
    /// The beginning of a line whose end has not come.
    rest: String,
}

impl Drops {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// Where this kernel has no such tracepoint, or does not let us: it wants root outside of user namespaces.
    pub(super) fn begin() -> io::Result<Self> {
        within_tracefs(|| {
            let instances = Path::new(TRACEFS).join("instances");
            sweep(&instances);
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let instance = instances.join(format!("{PREFIX}{}", now.as_nanos()));
            fs::create_dir(&instance)?;
            listen(&instance).inspect_err(|_| {
                // It is empty, and ours.
                let _ = fs::remove_dir(&instance);
            })
        })
    }

    /// The reasons that were given since the last time.
    ///
    /// # Errors
    ///
    /// Where the kernel does not tell.
    pub(super) fn take(&mut self) -> io::Result<Heard> {
        let mut buffer = vec![0; 1 << 14];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => self.rest.push_str(&String::from_utf8_lossy(buffer.get(..got).unwrap_or(&[]))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let whole = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let lines: String = self.rest.drain(..whole).collect();
        let said = lines.lines().filter_map(reason).map(str::to_owned).collect();
        Ok(Heard { said, can_say: self.known.clone() })
    }
}

impl Drop for Drops {
    fn drop(&mut self) {
        self.pipe = None;
        // What is in the way is swept up by the next one.
        let _ = within_tracefs(|| fs::remove_dir(&self.instance));
    }
}

/// Does something where tracefs is mounted: on a thread in a mount namespace of its own, so that nobody else sees the mount. Files
/// that are opened there stay open.
fn within_tracefs<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            unshare_mounts()?;
            keep_mounts_private()?;
            mount("tracefs", TRACEFS, "tracefs", MountFlags::NOSUID | MountFlags::NOEXEC, None)?;
            work()
        });
        done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[expect(unsafe_code, reason = "rustix marks every unshare unsafe, because of CLONE_FILES")]
fn unshare_mounts() -> io::Result<()> {
    // SAFETY: mounts, root and current folder of this thread change; no file descriptor table is unshared.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?)
}

/// Removes what runs left behind that were killed. An instance that somebody reads is busy and stays.
fn sweep(instances: &Path) {
    for entry in fs::read_dir(instances).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let made = entry.metadata().and_then(|data| data.modified());
        let is_old = made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > LEFT_BEHIND));
        if is_ours && is_old {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn listen(instance: &Path) -> io::Result<Drops> {
    let event = instance.join("events/skb/kfree_skb");
    let known = names(&fs::read_to_string(event.join("format"))?);
    // The reason that is none would be most of it.
    fs::write(event.join("filter"), "reason > 2")?;
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let pipe = OpenOptions::new().read(true).custom_flags(nonblocking).open(instance.join("trace_pipe"))?;
    fs::write(event.join("enable"), "1")?;
    Ok(Drops { instance: instance.into(), pipe: Some(pipe), known, rest: String::new() })
}

/// The names in the format of the event: `{ 3, "NO_SOCKET" }`.
fn names(format: &str) -> BTreeSet<String> {
    let quoted = format.split("{ ").skip(1).filter_map(|piece| piece.split('"').nth(1));
    quoted.map(str::to_owned).collect()
}

/// The reason in a line of a trace.
fn reason(line: &str) -> Option<&str> {
    let (_, said) = line.split_once(" kfree_skb: ")?;
    Some(said.split_once(" reason: ")?.1.trim())
}

/// What the kernel said.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The reasons that it gave.
    said: BTreeSet<String>,
    /// Those that it can give: another kernel has others.
    can_say: BTreeSet<String>,
}

/// What a case says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Where it is said first.
    place: Place,
    why: String,
}

/// The reasons of a case up to a moment. `broadcasts` are addresses that stand for all hosts of a network.
pub(super) fn of_case(
    case: &Case,
    broadcasts: &BTreeSet<IpAddr>,
    until: Instant,
) -> BTreeMap<DropReason, Dropped> {
    let mut reasons = BTreeMap::new();
    let events = case.flows.iter().flat_map(|flow| &flow.events);
    // The switch is a bridge here, which drops for reasons of its own.
    for hop in events.filter(|hop| hop.at <= until && hop.stage != Stage::Switch) {
        if let EventKind::Dropped { reason, why } = &hop.event {
            // What is for many and nobody wants is consumed, not dropped (`__udp4_lib_mcast_deliver`).
            if *reason == DropReason::NoSocket && is_for_many(&hop.bytes, broadcasts) {
                continue;
            }
            let place = (hop.machine.to_string(), hop.netns.to_string());
            reasons.entry(*reason).or_insert_with(|| Dropped { place, why: why.clone() });
        }
    }
    reasons
}

fn is_for_many(frame: &[u8], broadcasts: &BTreeSet<IpAddr>) -> bool {
    match packet::view(frame) {
        Ok(View::Ip(ip)) => ip.dst.is_multicast() || broadcasts.contains(&ip.dst),
        Ok(View::Arp(_) | View::Other(_)) | Err(_) => false,
    }
}

/// How many of the reasons this kernel can say.
pub(super) fn count(model: &BTreeMap<DropReason, Dropped>, kernel: &Heard) -> usize {
    let can_say = |reason: &&DropReason| class(**reason).iter().any(|name| kernel.can_say.contains(*name));
    model.keys().filter(can_say).count()
}

/// Where the model gives a reason of which the kernel said nothing.
pub(super) fn compare(model: &BTreeMap<DropReason, Dropped>, kernel: &Heard) -> Vec<String> {
    let mut differences = Vec::new();
    for (reason, Dropped { place, why }) in model {
        let names = class(*reason);
        let is_in = |list: &BTreeSet<String>| names.iter().any(|name| list.contains(*name));
        if is_in(&kernel.can_say) && !is_in(&kernel.said) {
            let said: Vec<&str> = kernel.said.iter().map(String::as_str).collect();
            let said = if said.is_empty() { "nothing".into() } else { said.join(", ") };
            let name = called(place);
            differences.push(format!("{name}, drop:\n  model   {reason}: {why}\n  kernel  {said}"));
        }
    }
    differences
}

/// What the kernel says where the model gives a reason: any of these is the same. None where it says nothing.
///
/// | the model | the kernel |
/// |---|---|
/// | `NOT_SPECIFIED` | frees the packet without a reason |
/// | `NO_SOCKET`, for a group or a broadcast | consumes the packet, which is no drop |
/// | `IP_OUTNOROUTES` | makes no packet where a process has no route for it |
/// | `BRIDGE_NO_EGRESS_PORT`, `VXLAN_NO_REMOTE` | the same up to Linux 6.12, `NO_TX_TARGET` since |
/// | any other | the same |
fn class(reason: DropReason) -> Vec<&'static str> {
    match reason {
        DropReason::NotSpecified | DropReason::IpOutNoRoutes => Vec::new(),
        DropReason::BridgeNoEgressPort | DropReason::VxlanNoRemote => vec![reason.name(), "NO_TX_TARGET"],
        _ => vec![reason.name()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_line_and_the_names_of_a_format_are_read() {
        let line = "          <idle>-0       [001] ..s2.  71543.110: kfree_skb: skbaddr=0000000012 rx_sk=0 protocol=2048 \
                    location=icmp_rcv+0x1 reason: NO_SOCKET ";
        assert_eq!(reason(line), Some("NO_SOCKET"));
        assert_eq!(reason("CPU:1 [LOST 12 EVENTS]"), None);
        let format = "print fmt: \"reason: %s\", __print_symbolic(REC->reason, { 2, \"NOT_SPECIFIED\" }, { 3, \"NO_SOCKET\" })";
        assert_eq!(
            names(format).into_iter().collect::<Vec<_>>(),
            ["NOT_SPECIFIED", "NO_SOCKET"].map(String::from)
        );
    }

    #[test]
    fn a_reason_that_the_kernel_gave_or_cannot_give_is_no_difference() {
        let dropped = || Dropped { place: ("node-1".into(), String::new()), why: "nobody".into() };
        let model = |reason| BTreeMap::from([(reason, dropped())]);
        let heard = |said: &[&str]| Heard {
            said: said.iter().map(|name| (*name).to_owned()).collect(),
            can_say: ["NO_SOCKET", "NO_TX_TARGET", "PKT_TOO_BIG"].map(String::from).into(),
        };
        let told = compare(&model(DropReason::NoSocket), &heard(&["PKT_TOO_BIG"]));
        assert_eq!(told, ["node-1, drop:\n  model   NO_SOCKET: nobody\n  kernel  PKT_TOO_BIG"]);
        assert!(compare(&model(DropReason::NoSocket), &heard(&["NO_SOCKET"])).is_empty());
        assert!(compare(&model(DropReason::VxlanNoRemote), &heard(&["NO_TX_TARGET"])).is_empty());
        assert!(compare(&model(DropReason::IpRpfilter), &heard(&[])).is_empty());
        assert!(compare(&model(DropReason::NotSpecified), &heard(&[])).is_empty());
    }
}
