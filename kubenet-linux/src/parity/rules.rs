//! The rules that a packet meets, as the kernel says (`nft monitor trace`) and as the model says.
//!
//! In: the lines of a monitor, or a case. Out: [`Hit`]s, in order, for each namespace. Compared is what leads on or decides: jumps, gotos and verdicts, each with its table and chain. A rule that only sets a mark goes on without a word in the
//! model; NDP is left out. Only rules of nf_tables can be traced so, those of `iptables-nft` among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use kubenet_core::dataplane::EventKind;
use kubenet_core::packet::{self, View, number};
use kubenet_core::time::Instant;
use kubenet_core::trace::{Case, Hop};

use crate::netns::Netns;
use crate::tool::{self, ToolError};

/// A rule that led on or decided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// The table, without the family where `iptables` has it.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// `jump X`, `goto X`, `accept`, `drop` or `return`.
    pub did: String,
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.table, self.chain, self.did)
    }
}

/// The table that switches tracing on. It is nobody else's.
const TABLE: &str = "kubenet-trace";

/// Whether packets can be traced through the rules of a namespace: `nft` is there, and the kernel has nf_tables.
pub fn can_trace(netns: &Netns) -> bool {
    tool::run(netns, "nft", &["list", "tables"], "").is_ok()
}

/// A monitor of the rules of a namespace. Dropped, it takes away what switched tracing on.
#[derive(Debug)]
pub struct Monitor {
    netns: Arc<Netns>,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Monitor {
    /// Begins, with every packet traced from its first hook on.
    ///
    /// # Errors
    ///
    /// Where `nft` is missing, or says no.
    pub fn begin(netns: &Arc<Netns>) -> Result<Self, ToolError> {
        let rules = format!(
            "table inet {TABLE} {{\n\
             chain in {{\ntype filter hook prerouting priority -450\nmeta nftrace set 1\n}}\n\
             chain out {{\ntype filter hook output priority -450\nmeta nftrace set 1\n}}\n}}\n"
        );
        tool::run(netns, "nft", &["-f", "-"], &rules)?;
        let failed = |error| ToolError::Io { line: "nft monitor trace".into(), error };
        let mut command = Command::new("nft");
        command.args(["monitor", "trace"]).env("PATH", tool::path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = netns.run(|| command.spawn()).map_err(failed)?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        if let Some(stdout) = child.stdout.take() {
            let kept = lines.clone();
            // Ends with the child's output.
            std::thread::spawn(move || read(stdout, &kept));
        }
        Ok(Self { netns: netns.clone(), child, lines })
    }

    /// Takes what came since the last time.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Nor is there a table in a namespace that is on its way out.
        let _ = tool::run(&self.netns, "nft", &["delete", "table", "inet", TABLE], "");
    }
}

fn read(stdout: impl io::Read, lines: &Mutex<Vec<String>>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { return };
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// The hits in a monitor's lines, in order.
pub fn of_lines<'l>(lines: impl IntoIterator<Item = &'l str>) -> Vec<Hit> {
    let mut hits: Vec<(&str, Hit)> = Vec::new();
    let mut left_out: BTreeSet<&str> = BTreeSet::new();
    for line in lines {
        let Some((id, rest)) = line.strip_prefix("trace id ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let mut words = rest.splitn(4, ' ');
        let (Some(family), Some(table), Some(chain), Some(what)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        // Each base chain shows the packet first. The number is made of its place in memory, which others have after it.
        if what.starts_with("packet:") {
            if is_flow(what) {
                left_out.remove(id);
            } else {
                left_out.insert(id);
            }
        }
        if table == TABLE {
            continue;
        }
        if left_out.contains(&id) {
            continue;
        }
        let Some(did) = what.strip_prefix("rule ").and_then(verdict) else { continue };
        let table = if is_of_iptables(table) { table.to_owned() } else { format!("{family} {table}") };
        // A packet that is rejected is dropped when its answer has gone its way through the rules.
        let last = || hits.iter().rposition(|(other, _)| *other == id).map(|at| at + 1);
        let at = if did == "drop" { last() } else { None };
        hits.insert(at.unwrap_or(hits.len()), (id, Hit { table, chain: chain.to_owned(), did }));
    }
    hits.into_iter().map(|(_, hit)| hit).collect()
}

/// Whether a traced packet is one that counts: not NDP, and not what a kernel says to everybody.
fn is_flow(packet: &str) -> bool {
    let talk =
        ["icmpv6 type nd-", "icmpv6 type mld", "ip6 nexthdr ip ", "ip protocol igmp", "ip6 daddr ff02:"];
    !talk.iter().any(|words| packet.contains(words))
}

fn is_of_iptables(table: &str) -> bool {
    matches!(table, "nat" | "filter" | "mangle" | "raw" | "security")
}

/// The verdict at the end of a line, if it leads on or decides.
fn verdict(rule: &str) -> Option<String> {
    let (_, verdict) = rule.trim_end().trim_end_matches(')').rsplit_once("(verdict ")?;
    (verdict != "continue").then(|| verdict.to_owned())
}

/// The hits in a case up to a moment, in order, by machine and namespace.
pub fn of_case(case: &Case, until: Instant) -> BTreeMap<(String, String), Vec<Hit>> {
    let mut hops: Vec<&Hop> = case.flows.iter().flat_map(|flow| &flow.events).collect();
    hops.sort_by_key(|hop| hop.id);
    let mut found: BTreeMap<(String, String), Vec<Hit>> = BTreeMap::new();
    for hop in hops.into_iter().filter(|hop| hop.at <= until && !is_ndp(&hop.bytes)) {
        let EventKind::Rule { table, chain, did, .. } = &hop.event else { continue };
        let Some(did) = decided(did) else { continue };
        let hit = Hit { table: table.to_string(), chain: chain.to_string(), did };
        found.entry((hop.machine.to_string(), hop.netns.to_string())).or_default().push(hit);
    }
    found
}

fn is_ndp(frame: &[u8]) -> bool {
    match packet::view(frame) {
        Ok(View::Ip(ip)) if ip.protocol == number::ICMPV6 => {
            matches!(packet::l4_bytes(frame, &ip).first(), Some(130..=137 | 143))
        }
        Ok(View::Ip(_) | View::Arp(_) | View::Other(_)) | Err(_) => false,
    }
}

/// What the model's words are as a verdict of nf_tables.
fn decided(did: &str) -> Option<String> {
    let (word, rest) = did.split_once(' ').map_or((did, ""), |(word, rest)| (word, rest));
    match word {
        "jump" | "goto" => Some(format!("{word} {}", rest.split(' ').next().unwrap_or_default())),
        "accept" | "drop" | "return" => Some(word.into()),
        "dnat" | "snat" | "masquerade" | "redirect" => Some("accept".into()),
        "reject" => Some("drop".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
trace id 2b84 inet kubenet-trace out packet: oif \"eth0\" ip saddr 172.18.0.2 ip daddr 10.106.214.80 ip protocol tcp
trace id 2b84 inet kubenet-trace out rule meta nftrace set 1 (verdict continue)
trace id 2b84 inet kubenet-trace out policy accept
trace id 2b84 ip kube-proxy nat-output rule jump services (verdict jump services)
trace id e245 inet kubenet-trace out packet: oif \"eth0\" ip6 saddr :: ip6 daddr ff02::16 ip6 nexthdr ip ip6 length 36
trace id e245 ip6 nat OUTPUT rule counter packets 0 bytes 0 jump X (verdict jump X)
trace id 2b84 ip kube-proxy services rule ip daddr @cluster-ips meta mark set 0x4000 comment \"a (verdict drop)\" (verdict continue)
trace id 2b84 ip kube-proxy services rule ip daddr . th dport vmap @service-ips (verdict goto service-PF-default/web/tcp/)
trace id 2b84 ip nat OUTPUT rule  counter packets 0 bytes 0 dnat to 10.244.1.38:8080 (verdict accept)
trace id 2b84 ip nat OUTPUT policy accept
";

    #[test]
    fn a_monitors_lines_are_jumps_and_verdicts() {
        let shown: Vec<String> = of_lines(LINES.lines()).iter().map(Hit::to_string).collect();
        let hits = [
            "ip kube-proxy nat-output: jump services",
            "ip kube-proxy services: goto service-PF-default/web/tcp/",
            "nat OUTPUT: accept",
        ];
        assert_eq!(shown, hits);
    }
}
