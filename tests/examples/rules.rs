//! Loads the rules of every scenario's nodes, in every mode, into the kernel, and compares what the tools then print.
//!
//! One line for each difference, then the sum. Ends with 1 where there was one. Needs a kernel that lets a user make namespaces.

use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use kubenet_core::assume::ProxyMode;
use kubenet_tests::loaded::{self, Kernel};
use kubenet_tests::scenario_files::{self, load};

const MODES: [ProxyMode; 4] =
    [ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Ipvs, ProxyMode::Userspace];

fn main() -> ExitCode {
    match run() {
        Ok(text) => {
            let _ = stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(text) => {
            let _ = stdout().write_all(text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let folder = std::env::temp_dir().join(format!("kubenet-rules-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}\n", folder.display()))?;
    let kernel = Kernel::here(&folder);
    let (mut rulesets, mut lines, mut wrong) = (0, 0, String::new());
    for path in scenario_files::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")) {
        let network = load(&path).map_err(|error| format!("{error}\n"))?.network();
        for mode in MODES {
            let mut assume = network.assume().clone();
            assume.proxy_mode = Some(mode);
            let network = network.with_assume(assume);
            for node in network.cluster().nodes.iter() {
                rulesets += 1;
                match loaded::compare(&network, &node.name, kernel, &folder) {
                    Ok(same) => lines += same,
                    Err(error) => {
                        wrong.push_str(&format!(
                            "FAIL {}: {}, mode {mode}: {error}\n",
                            path.display(),
                            node.name
                        ));
                    }
                }
            }
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    let gap = if kernel.ipvs { "" } else { "; without those of -m ipvs, which this kernel does not have" };
    let sum = format!("{rulesets} rulesets loaded, {lines} lines as the tools print them{gap}\n");
    if wrong.is_empty() && lines > 0 { Ok(sum) } else { Err(wrong + &sum) }
}
