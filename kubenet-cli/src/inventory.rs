//! `kubenet inventory`.

use kubenet_core::cluster::{Cni, Evidence, InputMode};
use kubenet_core::network::{Inventory, Network, NodeLine};
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
    settings(network, inventory, out)?;
    nodes(inventory, out)?;
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

fn settings(network: &Network, inventory: &Inventory, out: &mut Out) -> anyhow::Result<()> {
    let cni = &network.cluster().settings.cni.value;
    let width = inventory.settings.iter().map(|line| line.value.chars().count()).max().unwrap_or(0).min(40);
    for line in &inventory.settings {
        let (mut value, mut why) = (clean(&line.value), evidence(&line.evidence));
        // Between the nodes of a CNI that is not modelled, no underlay is.
        if line.key == "underlay" && line.evidence == Evidence::Assumed && matches!(cni, Cni::Other(_)) {
            value = "–".into();
            why = format!("not known: the inside of {} is not modelled", clean(cni.as_str()));
        }
        out.line(&format!("  {:<18} {value:<width$} {}", line.key, paint(style::DIM, &why)))?;
    }
    Ok(())
}

fn evidence(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Assumed => "assumed".into(),
        Evidence::Given => "given".into(),
        Evidence::Detected { because, .. } => format!("detected: {}", clean(because)),
    }
}

fn nodes(inventory: &Inventory, out: &mut Out) -> anyhow::Result<()> {
    let list = |items: Vec<String>| if items.is_empty() { "–".to_string() } else { items.join(", ") };
    let row = |node: &NodeLine| {
        let addresses = list(node.addresses.iter().map(ToString::to_string).collect());
        let version = node.kubelet_version.as_deref().map(clean).unwrap_or_default();
        [clean(&node.name), addresses, version]
    };
    heading(&format!("nodes ({})", inventory.nodes.len()), out)?;
    let listed: Vec<(&NodeLine, [String; 3])> =
        inventory.nodes.iter().take(LISTED).map(|node| (node, row(node))).collect();
    let width = |column: usize| listed.iter().map(|(_, row)| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for (node, [name, addresses, version]) in &listed {
        let [a, b, c] = widths;
        let ranges = list(node.pod_cidrs.iter().map(ToString::to_string).collect());
        let made_up = if node.made_up { "  made up" } else { "" };
        out.line(&format!(
            "  {name:<a$}  {addresses:<b$}  {version:<c$}  pods {:<4} from {ranges}{}",
            node.pods,
            paint(style::DIM, made_up)
        ))?;
    }
    Ok(())
}

fn more(all: usize, out: &mut Out) -> anyhow::Result<()> {
    if all > LISTED {
        out.line(&paint(style::DIM, &format!("  and {} more (-o json has all)", all - LISTED)))?;
    }
    Ok(())
}
