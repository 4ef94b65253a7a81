//! Compares model and kernel: `parity random MODE SEED FLOWS`, or `parity scenarios FOLDER…`.
//!
//! Runs in namespaces of its own, which end with it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kubenet_core::network::Network;
use kubenet_core::scenario::Scenario;
use kubenet_linux::lab::{self, Lab, Options};
use kubenet_linux::netns::Netns;
use kubenet_linux::parity::gaps::Gaps;
use kubenet_linux::parity::report::Report;
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
        Ok(Standing { spaces, hold: Box::new(lab) })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    lab::isolate(std::env::var_os("KUBENET_ROOTLESS").is_some())?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let gaps = match std::env::var_os("KUBENET_GAPS") {
        Some(path) => Gaps::parse(&fs::read_to_string(path)?)?,
        None => Gaps::default(),
    };
    let report = match words[..] {
        ["random", mode, seed, flows] => {
            let mode: kubenet_core::assume::ProxyMode = mode.parse()?;
            let suite = Suite { gaps: &gaps, traced: true };
            suite.random(&mut Here, mode, seed.parse()?, flows.parse()?, |_| {})
        }
        ["scenarios", ..] => {
            let suite = Suite { gaps: &gaps, traced: true };
            let mut report = Report::default();
            for path in words.iter().skip(1).flat_map(|folder| files(Path::new(folder))) {
                let name = path.display().to_string();
                let scenario = Scenario::parse(&name, &fs::read_to_string(&path)?)?;
                suite.scenario(&mut Here, &scenario, &mut report);
            }
            report
        }
        _ => return Err("parity random MODE SEED FLOWS, or parity scenarios FOLDER…".into()),
    };
    writeln!(std::io::stdout(), "{report}")?;
    if report.failures.is_empty() { Ok(()) } else { Err("model and kernel differ".into()) }
}

/// The scenarios below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.into()];
    }
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| if path.is_dir() || path.extension().is_some_and(|ext| ext == "md") { files(path) } else { Vec::new() }).collect()
}
