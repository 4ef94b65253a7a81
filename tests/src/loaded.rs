//! Rules that the real tools loaded, beside what we say that they then show.
//!
//! In: a network and a node. Out: the places where `iptables-save`, `ip6tables-save`, `nft list ruleset` and `ipset save` print
//! something else than the model does, after the kernel took what kube-proxy feeds. The tools run in a network namespace of their own,
//! which ends with them. `ipvsadm` is not among them: few kernels let a user's namespace load `ip_vs`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kubenet_core::network::{Network, Table};

/// What is fed, what is then printed, and the commands between. `IN` and `OUT` stand for files.
struct Tool {
    feed: Table,
    shown: Table,
    load: &'static str,
    print: &'static str,
}

/// In an order in which none sees the others' objects: sets are there before the rules that name them, and `nft` would print the
/// tables of `iptables-nft`.
const TOOLS: [Tool; 4] = [
    Tool { feed: Table::NftFeed, shown: Table::Nft, load: "nft -f", print: "nft list ruleset" },
    Tool { feed: Table::Ipset, shown: Table::Ipset, load: "ipset restore -f", print: "ipset save" },
    Tool {
        feed: Table::IptablesRestore,
        shown: Table::IptablesSave,
        load: "iptables-nft-restore",
        print: "iptables-nft-save",
    },
    Tool {
        feed: Table::Ip6tablesRestore,
        shown: Table::Ip6tablesSave,
        load: "ip6tables-nft-restore",
        print: "ip6tables-nft-save",
    },
];

/// What this machine's kernel lacks, in the words of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Whether it has `xt_ipvs`. Rules that need it are left out otherwise.
    pub ipvs: bool,
}

impl Kernel {
    /// Asks this machine's kernel.
    pub fn here(folder: &Path) -> Self {
        Self { ipvs: isolated("iptables-nft -A INPUT -m ipvs --ipvs", folder).is_ok() }
    }

    fn takes(self, line: &str) -> bool {
        self.ipvs || !line.contains("-m ipvs ")
    }
}

/// Loads a node's rules and compares. The number of lines that were the same.
///
/// # Errors
///
/// The first lines that differ, or what a tool said.
pub fn compare(network: &Network, node: &str, kernel: Kernel, folder: &Path) -> Result<usize, String> {
    let render = |table: Table| {
        let text = network.render(node, "default", table, false).map_err(|error| error.to_string())?;
        Ok::<_, String>(text.split_inclusive('\n').filter(|line| kernel.takes(line)).collect::<String>())
    };
    let mut script = String::from("set -e\n");
    let mut asked = Vec::new();
    for (place, tool) in TOOLS.iter().enumerate() {
        let feed = render(tool.feed)?;
        if feed.trim().is_empty() {
            continue;
        }
        fs::write(folder.join(format!("{place}.in")), feed).map_err(|error| error.to_string())?;
        let _ = writeln!(script, "{} {place}.in\n{} > {place}.out", tool.load, tool.print);
        asked.push((place, tool));
    }
    isolated(&script, folder)?;
    let mut same = 0;
    for (place, tool) in asked {
        let got =
            fs::read_to_string(folder.join(format!("{place}.out"))).map_err(|error| error.to_string())?;
        let (got, said) = (canonical(&got), canonical(&render(tool.shown)?));
        if let Some(at) = (0..got.len().max(said.len())).find(|at| got.get(*at) != said.get(*at)) {
            let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_else(|| "the end".into());
            let (shown, ours) = (line(&got), line(&said));
            return Err(format!("{}, line {}:\n  shown  {shown}\n  ours   {ours}", tool.print, at + 1));
        }
        same += got.len();
    }
    Ok(same)
}

/// Runs a script as root of a user namespace, in a network namespace of its own.
///
/// # Errors
///
/// What it said where it did not end well.
pub fn isolated(script: &str, folder: &Path) -> Result<(), String> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "sh", "-c", script]);
    let output = command.current_dir(folder).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("unshare: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// The lines of a listing without what is chance: the comments with the time, and the order of a set's elements, which is that of
/// the kernel's hash.
fn canonical(listing: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut elements: Option<String> = None;
    for line in listing.lines().filter(|line| !line.starts_with('#')) {
        match &mut elements {
            Some(open) => {
                open.push(' ');
                open.push_str(line.trim());
            }
            None if line.trim_start().starts_with("elements = {") => elements = Some(line.trim().into()),
            None => lines.push(line.into()),
        }
        if let Some(whole) = elements.take_if(|open| open.ends_with('}')) {
            let inside = whole.trim_start_matches("elements = {").trim_end_matches('}');
            let mut each: Vec<String> = inside.split(',').map(|element| element.trim().into()).collect();
            each.sort_unstable();
            lines.push("elements".into());
            lines.append(&mut each);
        }
    }
    // `ipset save` prints the entries in the order of the hash, too, and how the kernel made it.
    for line in lines.iter_mut().filter(|line| line.starts_with("create ")) {
        if let Some((before, _)) = line.split_once(" bucketsize ") {
            *line = before.into();
        }
    }
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let end = lines.iter().skip(at).take_while(|line| line.starts_with("add ")).count() + at;
        if line.starts_with("add ") {
            lines[at..end].sort_unstable();
        }
        at = end.max(at + 1);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn the_order_of_elements_is_no_difference_and_their_number_is() {
        let set = |elements: &str| format!("set a {{\n\telements = {{ {elements} }}\n}}\n");
        assert_eq!(canonical(&set("1, 2,\n\t\t3")), canonical(&set("3, 1,\n\t\t2")));
        assert_ne!(canonical(&set("1, 2")), canonical(&set("1, 2, 3")));
        assert_eq!(canonical("# now\ncreate a\nadd a 2\nadd a 1\n"), ["create a", "add a 1", "add a 2"]);
    }
}
