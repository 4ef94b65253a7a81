//! `kubenet drift`.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use kubenet_core::drift::{Drift, FindingKind};

use crate::args::{DriftArgs, DriftOutput};
use crate::output::{Out, clean, paint, style};
use crate::{BAD_INPUT, input};

pub(crate) fn drift(args: &DriftArgs, out: &mut Out) -> anyhow::Result<u8> {
    if args.input.dump.is_empty() {
        bail!("nothing to compare: name a node's dump with --dump NODE=DIR (docs/collect.sh writes one)");
    }
    let network = input::network(&args.input)?;
    let nodes: BTreeSet<_> = network.observed().map(|machine| machine.name.clone()).collect();
    let mut all = Vec::new();
    for node in nodes {
        all.push(network.drift(&node).with_context(|| format!("node {node} cannot be compared"))?);
    }
    if all.is_empty() {
        bail!("no dump is one of a node");
    }
    match args.output {
        DriftOutput::Text => all.iter().try_for_each(|drift| text(drift, out))?,
        // One object each, so that every one follows the schema.
        DriftOutput::Json => all.iter().try_for_each(|drift| out.json(drift))?,
    }
    if network.has_errors() {
        return Ok(BAD_INPUT);
    }
    Ok(all.iter().map(status).min_by_key(|status| (*status != 1, *status == 0)).unwrap_or(0))
}

/// Drift is worse than what is not known.
fn status(drift: &Drift) -> u8 {
    match (drift.is_drift(), drift.findings.is_empty()) {
        (true, _) => 1,
        (false, false) => 3,
        (false, true) => 0,
    }
}

fn text(drift: &Drift, out: &mut Out) -> anyhow::Result<()> {
    let mode = drift.proxy_mode.map_or_else(String::new, |mode| format!(", kube-proxy in mode {mode}"));
    out.line(&format!(
        "{}  {} service port{} compared{}",
        paint(style::PLACE, &drift.node),
        drift.service_ports,
        if drift.service_ports == 1 { "" } else { "s" },
        clean(&mode)
    ))?;
    for finding in &drift.findings {
        let (style, word) = match finding.kind {
            FindingKind::NotKnown => (style::OPEN, "not known"),
            FindingKind::MissingFrontend
            | FindingKind::MissingEndpoint
            | FindingKind::StrayEndpoint
            | FindingKind::Fate
            | FindingKind::Masquerade
            | FindingKind::Share
            | FindingKind::StrayFrontend
            | FindingKind::Route
            | FindingKind::Setting => (style::BAD, "drift"),
        };
        let word = paint(style, &format!("{word:<9}"));
        out.line(&format!("  {word}  {}", clean(&finding.message)))?;
        if let Some(origin) = &finding.origin {
            out.line(&format!("             {}", paint(style::DIM, &origin.to_string())))?;
        }
    }
    if drift.findings.is_empty() {
        out.line(&format!("  {}", paint(style::GOOD, "no drift")))?;
    }
    for left_out in &drift.not_compared {
        out.line(&format!("  {}  {}", paint(style::DIM, "left out "), clean(left_out)))?;
    }
    Ok(())
}
