//! The parts of a run: the flows of a proxy mode, or the scenarios.

use std::error::Error;
use std::fs;
use std::io;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kubenet_core::assume::ProxyMode;
use kubenet_core::network::Network;
use kubenet_core::scenario::Scenario;
use kubenet_linux::guest::{Guest, GuestError, SHARED};
use kubenet_linux::lab::{self, Lab, Options};
use kubenet_linux::parity::gaps::Gaps;
use kubenet_linux::parity::report::Report;
use kubenet_linux::parity::suite::{Labs, Standing, Suite};

/// The scenarios marked for the kernel.
pub(crate) const SCENARIOS: &str = "scenarios";
/// The mode that has a kernel of its own.
const IPVS: &str = "ipvs";
/// All parts, those that take longest first.
pub(crate) const ALL: [&str; 5] = [IPVS, "iptables", "nftables", "userspace", SCENARIOS];

/// After how many flows something is said.
const SAY: usize = 100;
/// How long the kernel with `ip_vs` may take, besides what each flow may.
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_PER_FLOW: Duration = Duration::from_millis(500);

/// Why a part came to no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error("{0}")]
    Guest(#[from] GuestError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its report cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it ended without a report: {0}")]
    Ended(String),
}

struct Here;

impl Labs for Here {
    fn up(&mut self, network: &Network, outside: &[IpAddr]) -> Result<Standing, String> {
        let options = Options { outside: outside.to_vec(), ..Options::default() };
        let lab = Lab::up(network, &options).map_err(|error| error.to_string())?;
        Ok(Standing { spaces: lab.spaces(), records: lab.records().clone(), hold: Box::new(lab) })
    }
}

/// A part in a process of its own, under a kernel of its own where this one lacks what the mode needs.
pub(crate) fn apart(part: &str, seed: u64, flows: usize, folder: &Path) -> Result<Report, PartError> {
    fs::create_dir(folder)?;
    let program = std::env::current_exe()?;
    let (seed, count) = (seed.to_string(), flows.to_string());
    let report = folder.join("report.json");
    let ended = if part == IPVS {
        let inside = format!("{SHARED}/report.json");
        let command = [&*program.to_string_lossy(), "part", part, &seed, &count, &inside];
        let patience = PATIENCE + PATIENCE_PER_FLOW * u32::try_from(flows).unwrap_or(u32::MAX);
        Guest::find()?.run(&command, folder, patience)?.output
    } else {
        let status = Command::new(program).args(["part", part, &seed, &count]).arg(&report).status()?;
        status.to_string()
    };
    if !report.exists() {
        return Err(PartError::Ended(ended));
    }
    Ok(serde_json::from_str(&fs::read_to_string(report)?)?)
}

/// A part in this process.
pub(crate) fn part(gaps: &Gaps, part: &str, seed: u64, flows: usize) -> Result<Report, Box<dyn Error>> {
    if part == SCENARIOS {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        return scenarios(gaps, &repository.join("tests/scenarios"));
    }
    alone(gaps, part, seed, flows)
}

/// Random flows in a mode.
pub(crate) fn alone(gaps: &Gaps, mode: &str, seed: u64, flows: usize) -> Result<Report, Box<dyn Error>> {
    lab::isolate(std::env::var_os("KUBENET_ROOTLESS").is_some())?;
    let proxy_mode: ProxyMode = mode.parse()?;
    // The kernel that has ip_vs has no nf_tables.
    let suite = Suite { gaps, traced: proxy_mode != ProxyMode::Ipvs };
    Ok(suite.random(&mut Here, proxy_mode, seed, flows, |done| {
        if done % SAY == 0 || done == flows {
            let _gone = writeln!(io::stderr(), "{mode}: {done} of {flows} flows");
        }
    }))
}

/// The scenarios below a path that are marked for the kernel.
pub(crate) fn scenarios(gaps: &Gaps, path: &Path) -> Result<Report, Box<dyn Error>> {
    lab::isolate(std::env::var_os("KUBENET_ROOTLESS").is_some())?;
    let suite = Suite { gaps, traced: true };
    let mut report = Report::default();
    for path in files(path) {
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
    let is_one = |path: &&PathBuf| path.is_dir() || path.extension().is_some_and(|ext| ext == "md");
    paths.iter().filter(is_one).flat_map(|path| files(path)).collect()
}
