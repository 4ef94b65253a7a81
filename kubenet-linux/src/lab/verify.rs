//! Model and kernel, compared in a lab that is up.
//!
//! In: the lab and its network, and which random flows. Out: a [`Report`]. What switches tracing on goes again, and sysctls are as they
//! were; connections, neighbours and forwarding entries that the namespaces learned are forgotten. O(flows × namespaces).

use kubenet_core::network::Network;

use super::Lab;
use super::protocol::Drawn;
use crate::parity::dice::Dice;
use crate::parity::draw::draw;
use crate::parity::gaps::Gaps;
use crate::parity::report::Report;
use crate::parity::rules::can_trace;
use crate::parity::site::Site;
use crate::parity::suite::Suite;

/// Sends flows through both. An error is told in words.
pub(super) fn verify(network: &Network, lab: &Lab, drawn: Drawn) -> Result<Report, String> {
    let Drawn { seed, skip, flows } = drawn;
    let outside = lab.outside();
    let all = draw(network, &mut Dice::new(seed), skip.saturating_add(flows), &outside);
    let wanted = all.get(skip..).unwrap_or(&[]);
    let spaces = lab.spaces();
    let traced = spaces.values().next().is_some_and(|netns| can_trace(netns));
    let gaps = Gaps::known()?;
    let site = Site::new(network.clone(), spaces, &outside, traced)
        .map(|site| site.with_records(lab.records().clone()));
    let mut site = site.map_err(|error| error.to_string())?;
    let mut report = Report::default();
    Suite { gaps: &gaps, traced }.through(&mut site, wanted, "kubenet trace", &mut report);
    Ok(report)
}
