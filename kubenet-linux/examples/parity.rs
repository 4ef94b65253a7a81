//! Compares model and kernel: `parity random MODE SEED FLOWS`, `parity scenarios FOLDER`, or `parity all SEED FLOWS TABLE`, which writes the
//! table of what was compared.
//!
//! Runs in namespaces of its own, which end with it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kubenet_core::network::Network;
use kubenet_core::scenario::Scenario;
use kubenet_linux::guest::{Guest, SHARED};
use kubenet_linux::lab::{self, Lab, Options};
use kubenet_linux::netns::Netns;
use kubenet_linux::parity::gaps::Gaps;
use kubenet_linux::parity::report::{Failure, Report};
use kubenet_linux::parity::suite::{Labs, Standing, Suite};

struct Here;

impl Labs for Here {
    fn up(&mut self, network: &Network, outside: &[IpAddr]) -> Result<Standing, String> {
        let options = Options { outside: outside.to_vec(), ..Options::default() };
        let lab = Lab::up(network, &options).map_err(|error| error.to_string())?;
        let mut spaces = BTreeMap::new();
        for machine in lab.machines() {
            for netns in &machine.netns {
                let path = options.folder.join(lab::netns_file(&machine.name, &netns.name));
                let opened = Netns::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                spaces.insert((machine.name.to_string(), netns.name.to_string()), Arc::new(opened));
            }
        }
        Ok(Standing { spaces, records: lab.records().clone(), hold: Box::new(lab) })
    }
}

/// How long the kernel with `ip_vs` may take.
const PATIENCE: Duration = Duration::from_secs(400);

fn main() -> Result<(), Box<dyn Error>> {
    lab::isolate(std::env::var_os("KUBENET_ROOTLESS").is_some())?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let gaps = Gaps::parse(&fs::read_to_string(repository.join("known_gaps.toml"))?)?;
    let traced = Suite { gaps: &gaps, traced: true };
    let report = match words[..] {
        ["random", mode, seed, flows] => random(&traced, mode, seed, flows)?,
        // What a kernel without nf_tables can do; the report is for the one who asked.
        ["untraced", mode, seed, flows, file] => {
            let report = random(&Suite { gaps: &gaps, traced: false }, mode, seed, flows)?;
            fs::write(file, serde_json::to_string(&report)?)?;
            report
        }
        ["scenarios", folder] => scenarios(&traced, Path::new(folder))?,
        ["all", seed, flows, table] => {
            // The other kernel is a process of its own, beside.
            let (asked_seed, asked_flows) = (seed.to_owned(), flows.to_owned());
            let other =
                thread::spawn(move || ipvs(&asked_seed, &asked_flows).map_err(|error| error.to_string()));
            let mut report = Report::default();
            for mode in ["iptables", "nftables", "userspace"] {
                report.join(random(&traced, mode, seed, flows)?);
            }
            match other.join().unwrap_or_else(|_| Err("it panicked".into())) {
                Ok(other) => report.join(other),
                Err(error) => drop(report.lacking.insert("ipvs".into(), error)),
            }
            report.join(scenarios(&traced, &repository.join("tests/scenarios"))?);
            for gap in gaps.closed(&report.used, &report.modes()) {
                let differences = vec!["nothing shows it any more: take it out of known_gaps.toml".into()];
                report.failures.push(Failure { what: format!("the gap {}", gap.id), differences });
            }
            fs::write(table, report.markdown())?;
            report
        }
        _ => {
            let usage =
                "parity random MODE SEED FLOWS, parity scenarios FOLDER, or parity all SEED FLOWS TABLE";
            return Err(usage.into());
        }
    };
    writeln!(std::io::stdout(), "{report}")?;
    if report.failures.is_empty() { Ok(()) } else { Err("model and kernel differ".into()) }
}

fn random(suite: &Suite<'_>, mode: &str, seed: &str, flows: &str) -> Result<Report, Box<dyn Error>> {
    let mode: kubenet_core::assume::ProxyMode = mode.parse()?;
    Ok(suite.random(&mut Here, mode, seed.parse()?, flows.parse()?, |_| {}))
}

/// The same program under a kernel that has `ip_vs`, where this one has not.
fn ipvs(seed: &str, flows: &str) -> Result<Report, Box<dyn Error>> {
    let guest = Guest::find()?;
    let folder = std::env::temp_dir().join(format!("kubenet-parity-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let program = std::env::current_exe()?;
    let report = format!("{SHARED}/report.json");
    let command = [&*program.to_string_lossy(), "untraced", "ipvs", seed, flows, &report];
    let ended = guest.run(&command, &folder, PATIENCE);
    let report = fs::read_to_string(folder.join("report.json"));
    fs::remove_dir_all(&folder)?;
    let ended = ended?;
    let report = report.map_err(|_| ended.output)?;
    Ok(serde_json::from_str(&report)?)
}

fn scenarios(suite: &Suite<'_>, folder: &Path) -> Result<Report, Box<dyn Error>> {
    let mut report = Report::default();
    for path in files(folder) {
        let name = path.display().to_string();
        let scenario = Scenario::parse(&name, &fs::read_to_string(&path)?)?;
        suite.scenario(&mut Here, &scenario, &mut report);
    }
    Ok(report)
}

/// The scenarios below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.into()];
    }
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .flat_map(|path| {
            if path.is_dir() || path.extension().is_some_and(|ext| ext == "md") {
                files(path)
            } else {
                Vec::new()
            }
        })
        .collect()
}
