//! Hints: which clients should use an endpoint.
//!
//! In: a Service, the CPUs of the zones, its endpoints of one family. Out: hints on the ready ones, as
//! `spec.trafficDistribution` (KEP-4444, KEP-3015) or the annotation `service.kubernetes.io/topology-mode: Auto` (KEP-2433) asks.
//!
//! With the annotation each zone gets endpoints in proportion to its CPUs (`topologycache`, v1.36). Numbers of endpoints are
//! compared as fractions of all CPUs, so that nothing is rounded. Where the controller takes any zone of equals, the first by
//! name is taken.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use super::Endpoint;
use super::controller::ZONE;
use crate::k8s::Objects;
use crate::k8s::types;

/// CPUs per zone in thousandths, of at least two zones.
pub(in crate::cluster) type ZoneCpu = BTreeMap<Arc<str>, u64>;

/// Nodes with one of these labels do not count.
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// The CPUs of the zones; `None` unless every node that counts says its zone and its CPUs. Without a condition a node is ready.
pub(in crate::cluster) fn zone_cpu(objects: &Objects) -> Option<ZoneCpu> {
    let mut zones = ZoneCpu::new();
    for node in objects.nodes.values() {
        let labels = &node.metadata.labels;
        let ready = node.status.conditions.iter().find(|condition| &*condition.r#type == "Ready");
        let counts = !CONTROL_PLANE.iter().any(|label| labels.contains_key(*label));
        if !counts || ready.is_some_and(|ready| &*ready.status != "True") {
            continue;
        }
        let zone = labels.get(ZONE).filter(|zone| !zone.is_empty())?;
        let cpu = node.status.allocatable.cpu.as_deref().and_then(milli).filter(|cpu| *cpu > 0)?;
        let all = zones.entry(zone.clone()).or_default();
        *all = all.saturating_add(cpu);
    }
    (zones.len() > 1).then_some(zones)
}

/// Gives a Service's endpoints of one family their hints.
pub(super) fn give(service: &types::Service, zones: Option<&ZoneCpu>, endpoints: &mut [&mut Endpoint]) {
    let annotations = &service.metadata.annotations;
    let mode = annotations
        .get("service.kubernetes.io/topology-aware-hints")
        .or_else(|| annotations.get("service.kubernetes.io/topology-mode"));
    if let Some("Auto" | "auto") = mode.map(|mode| &**mode) {
        if zones.and_then(|zones| proportional(zones, endpoints)).is_none() {
            endpoints.iter_mut().for_each(|endpoint| endpoint.for_zones.clear());
        }
        return;
    }
    let (zone, node) = match service.spec.traffic_distribution.as_deref() {
        Some("PreferClose" | "PreferSameZone") => (true, false),
        Some("PreferSameNode") => (true, true),
        Some(_) | None => return,
    };
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.ready) {
        if zone {
            endpoint.for_zones = endpoint.zone.iter().cloned().collect();
        }
        if node {
            endpoint.for_nodes = endpoint.node.iter().cloned().collect();
        }
    }
}

/// `None` where there are no hints, because an endpoint has no zone or a zone would be overloaded by more than a fifth.
fn proportional(zones: &ZoneCpu, endpoints: &mut [&mut Endpoint]) -> Option<()> {
    let total: i128 = zones.values().map(|cpu| i128::from(*cpu)).sum();
    let ready = i128::try_from(endpoints.iter().filter(|endpoint| endpoint.ready).count()).ok()?;
    if i128::try_from(zones.len()).ok()? > ready {
        return None;
    }
    // What each zone lacks (or has too much of, below zero), times `total`.
    let mut lacks: BTreeMap<Arc<str>, i128> = BTreeMap::new();
    let mut least_of_all = 0;
    for (zone, cpu) in zones {
        let wanted = i128::from(*cpu) * ready;
        // `wanted / total / 1.2`, rounded up.
        let least = (wanted * 5 + total * 6 - 1) / (total * 6);
        least_of_all += least;
        lacks.insert(zone.clone(), wanted.max(least * total));
    }
    if least_of_all > ready {
        return None;
    }
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.ready) {
        let zone = endpoint.zone.clone()?;
        if let Some(lack) = lacks.get_mut(&zone) {
            *lack -= total;
        }
        endpoint.for_zones = alloc::vec![zone];
    }
    let (mut giving, mut receiving) = moves(lacks, total);
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.ready) {
        let Some(zone) = &endpoint.zone else { continue };
        let Some(left) = giving.get_mut(zone).filter(|left| **left > 0) else { continue };
        let Some((to, wanted)) = receiving.iter_mut().find(|(_, wanted)| **wanted > 0) else { break };
        endpoint.for_zones = alloc::vec![to.clone()];
        *left -= 1;
        *wanted -= 1;
    }
    Some(())
}

type Counts = BTreeMap<Arc<str>, u32>;

/// How many endpoints each zone gives away and gets: one at a time from the zone with the most to the zone with the least,
/// while one of the two is off by a whole endpoint and the other by half of one.
fn moves(mut lacks: BTreeMap<Arc<str>, i128>, total: i128) -> (Counts, Counts) {
    let (mut giving, mut receiving) = (Counts::new(), Counts::new());
    loop {
        let most = |sign: i128| {
            let mut most: Option<(&Arc<str>, i128)> = None;
            for (zone, lack) in &lacks {
                let lack = *lack * sign;
                if lack > most.map_or(0, |(_, most)| most) {
                    most = Some((zone, lack));
                }
            }
            most.map(|(zone, lack)| (zone.clone(), lack))
        };
        let (Some((from, surplus)), Some((to, lack))) = (most(-1), most(1)) else { break };
        if (surplus < total && lack < total) || surplus * 2 < total || lack * 2 < total {
            break;
        }
        for (zone, counts, change) in [(from, &mut giving, total), (to, &mut receiving, -total)] {
            if let Some(lack) = lacks.get_mut(&zone) {
                *lack += change;
            }
            *counts.entry(zone).or_default() += 1;
        }
    }
    (giving, receiving)
}

/// A quantity of CPUs in thousandths, rounded up: `4`, `3920m`, `0.5`, `1k`.
fn milli(quantity: &str) -> Option<u64> {
    let digits = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let nano = match unit {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => 1_000_000_000,
        "k" => 1_000_000_000_000,
        _ => return None,
    };
    if fraction.len() > 9 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()?.into() };
    let scale = 10_u128.pow(fraction.len() as u32);
    let all = whole * nano + (part * nano).div_ceil(scale);
    u64::try_from(all.div_ceil(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::milli;

    #[test]
    fn quantities_of_cpus_are_read_in_thousandths() {
        let read = ["4", "3920m", "0.5", "1k", "1500000n", ".25"].map(milli);
        assert_eq!(read, [Some(4000), Some(3920), Some(500), Some(1_000_000), Some(2), Some(250)]);
        assert_eq!(["", "m", "x", "4Gi", "1.2.3", "99999999999999999999", "-1"].map(milli), [None; 7]);
    }
}
