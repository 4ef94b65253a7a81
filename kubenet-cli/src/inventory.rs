//! `kubenet inventory`.

use kubenet_core::cluster::{Evidence, InputMode};
use kubenet_core::network::{Inventory, Network};
use kubenet_core::origin::Severity;

use crate::args::{InventoryArgs, InventoryOutput};
use crate::output::{Out, clean, paint, style};
use crate::{BAD_INPUT, input};

/// How many nodes and unmodelled objects are listed; the rest is counted.
const LISTED: usize = 20;

pub(crate) fn inventory(args: &InventoryArgs, out: &mut Out) -> anyhow::Result<u8> {
    let network = input::network(&args.input)?;
    match args.output {
        InventoryOutput::Text => text(&network, &network.inventory(), out)?,
        InventoryOutput::Json => out.json(&network.inventory())?,
        InventoryOutput::Assumptions => {
            // JSON is YAML, and every reader of YAML takes it.
            out.json(&network.assumptions())?;
        }
    }
    Ok(if network.has_errors() { BAD_INPUT } else { 0 })
}

fn heading(text: &str, out: &mut Out) -> anyhow::Result<()> {
    out.line("")?;
    out.line(&paint(style::PLACE, text))
}

fn text(network: &Network, inventory: &Inventory, out: &mut Out) -> anyhow::Result<()> {
    let mode = match inventory.mode {
        InputMode::Manifests => "manifests: kubenet plays the control plane",
        InputMode::Snapshot => "snapshot: nothing is made up",
    };
    out.line(&format!("{} {mode}", paint(style::PLACE, "input")))?;

    heading("objects", out)?;
    for kind in &inventory.kinds {
        let note = if kind.read { "" } else { "  not read" };
        out.line(&format!("{:>7}  {}{}", kind.count, clean(&kind.kind), paint(style::DIM, note)))?;
    }

    heading("network", out)?;
    for line in &inventory.settings {
        let why = match &line.evidence {
            Evidence::Assumed => "assumed".to_string(),
            Evidence::Given => "given".to_string(),
            Evidence::Detected { because, .. } => format!("detected: {because}"),
        };
        out.line(&format!("  {:<15} {:<32} {}", line.key, clean(&line.value), paint(style::DIM, &why)))?;
    }

    heading(&format!("nodes ({})", inventory.nodes.len()), out)?;
    for node in inventory.nodes.iter().take(LISTED) {
        let list = |items: Vec<String>| if items.is_empty() { "–".to_string() } else { items.join(", ") };
        let addresses = list(node.addresses.iter().map(ToString::to_string).collect());
        let ranges = list(node.pod_cidrs.iter().map(ToString::to_string).collect());
        let made_up = if node.made_up { "  made up" } else { "" };
        out.line(&format!(
            "  {:<24} {addresses:<24} pods {:<4} from {ranges}{}",
            clean(&node.name),
            node.pods,
            paint(style::DIM, made_up)
        ))?;
    }
    more(inventory.nodes.len(), out)?;

    let cluster = network.cluster();
    heading("pods and Services", out)?;
    let made_up = match inventory.pods_made_up {
        0 => String::new(),
        n => format!(", {n} of them made up from workloads"),
    };
    out.line(&format!("  {} pods{made_up}; {} Services", inventory.pods, cluster.services.len()))?;

    if !inventory.missing.is_empty() {
        heading("not in the snapshot", out)?;
        for missing in &inventory.missing {
            out.line(&format!("  {}", clean(&missing.why)))?;
            out.line(&format!("    {}", paint(style::DIM, &missing.command)))?;
        }
    }
    if !inventory.unmodelled.is_empty() {
        heading("not modelled", out)?;
        for thing in inventory.unmodelled.iter().take(LISTED) {
            out.line(&format!("  {}  {}", clean(&thing.why), paint(style::DIM, &thing.origin.to_string())))?;
        }
        more(inventory.unmodelled.len(), out)?;
    }
    let count = |severity| inventory.diagnostics.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
    heading("diagnostics", out)?;
    out.line(&format!("  {errors} errors, {warnings} warnings, {notes} notes (-v tells them too)"))
}

fn more(all: usize, out: &mut Out) -> anyhow::Result<()> {
    if all > LISTED {
        out.line(&paint(style::DIM, &format!("  and {} more (-o json has all)", all - LISTED)))?;
    }
    Ok(())
}
