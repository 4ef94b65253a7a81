//! Runs of comparisons: scenarios, and random flows through random clusters.
//!
//! In: where labs come from, what is to be run, the known gaps. Out: a [`Report`]. A lab is made for each cluster, and gone after it.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use kubenet_core::assume::ProxyMode;
use kubenet_core::network::{Network, Question};
use kubenet_core::scenario::{Kernel, Scenario};

use super::dice::Dice;
use super::draw::{Flow, OUTSIDE, draw};
use super::gaps::Gaps;
use super::generate::cluster;
use super::report::{Failure, Report};
use super::site::{Compared, Place, Site, SiteError, outside};
use crate::lab::Records;
use crate::netns::Netns;

/// How many flows go through one random cluster.
pub const FLOWS_PER_CLUSTER: usize = 20;

/// A cluster that is there: it goes when this is dropped.
#[derive(Debug)]
pub struct Standing {
    /// The namespaces of its machines.
    pub spaces: BTreeMap<Place, Arc<Netns>>,
    /// What its servers receive.
    pub records: Arc<Records>,
    /// What holds it.
    pub hold: Box<dyn Any>,
}

/// Makes clusters.
pub trait Labs {
    /// Makes one, with hosts outside.
    ///
    /// # Errors
    ///
    /// What went wrong, in words.
    fn up(&mut self, network: &Network, outside: &[IpAddr]) -> Result<Standing, String>;
}

/// A run.
#[derive(Debug)]
pub struct Suite<'g> {
    /// What is known to be different.
    pub gaps: &'g Gaps,
    /// Whether the rules that packets meet are compared too: `nft` must be there and list them.
    pub traced: bool,
}

impl Suite<'_> {
    /// So many random flows, through as many random clusters as they need.
    pub fn random(
        &self,
        labs: &mut dyn Labs,
        mode: ProxyMode,
        seed: u64,
        flows: usize,
        mut progress: impl FnMut(usize),
    ) -> Report {
        let mut report = Report::default();
        let mut done = 0;
        for at in 0_u64.. {
            if done >= flows {
                break;
            }
            let count = FLOWS_PER_CLUSTER.min(flows - done);
            self.cluster(labs, mode, seed.wrapping_add(at), count, &mut report);
            done += count;
            progress(done);
        }
        report
    }

    /// The flows of one random cluster.
    pub fn cluster(
        &self,
        labs: &mut dyn Labs,
        mode: ProxyMode,
        seed: u64,
        flows: usize,
        report: &mut Report,
    ) {
        let mut dice = Dice::new(seed);
        let network = Network::from_text("random.yaml", &cluster(&mut dice, mode));
        let flows = draw(&network, &mut dice, flows, &OUTSIDE);
        let name = format!("seed {seed}, mode {mode}");
        self.flows(labs, &network, &flows, &name, report);
    }

    /// Flows through a network of which a lab is made.
    pub fn flows(
        &self,
        labs: &mut dyn Labs,
        network: &Network,
        flows: &[Flow],
        name: &str,
        report: &mut Report,
    ) {
        match self.site(labs, network, &OUTSIDE) {
            Ok((_hold, mut site)) => self.through(&mut site, flows, name, report),
            Err(error) => failed(report, name, error),
        }
    }

    /// Flows through a cluster that is there.
    pub fn through(&self, site: &mut Site, flows: &[Flow], name: &str, report: &mut Report) {
        let mode = site.network().cluster().settings.proxy_mode.value.to_string();
        for (what, why) in site.lacking() {
            report.lacking.insert(format!("{mode}, {what}"), why);
        }
        for flow in flows {
            let Flow { from, to, protocol, sport, .. } = flow;
            let what = format!("{name}: {from} {to} --proto {protocol} --sport {sport}");
            self.note(report, flow.feature, &mode, &what, compared(site, &flow.question()));
        }
    }

    /// The questions of a scenario, each in a lab of its own cluster.
    pub fn scenario(&self, labs: &mut dyn Labs, scenario: &Scenario, report: &mut Report) {
        if scenario.kernel != Kernel::Yes {
            return;
        }
        for asked in scenario.asked() {
            let mode = asked.network.cluster().settings.proxy_mode.value.to_string();
            let what = format!("{}:{}", scenario.file, asked.line);
            let Ok(trace) = asked.network.trace(&asked.question) else {
                report.add_unknown(&scenario.id, &mode);
                continue;
            };
            let hosts = outside(&trace);
            match self.site(labs, &asked.network, &hosts) {
                Ok((_hold, mut site)) => {
                    let compared = compared(&mut site, &asked.question);
                    self.note(report, &scenario.id, &mode, &what, compared);
                }
                Err(error) => failed(report, &what, error),
            }
        }
    }

    fn site(
        &self,
        labs: &mut dyn Labs,
        network: &Network,
        outside: &[IpAddr],
    ) -> Result<(Box<dyn Any>, Site), String> {
        let standing = labs.up(network, outside)?;
        let site = Site::new(network.clone(), standing.spaces, outside, self.traced);
        let site = site.map_err(|error| error.to_string())?.with_records(standing.records);
        Ok((standing.hold, site))
    }

    fn note(
        &self,
        report: &mut Report,
        feature: &str,
        mode: &str,
        what: &str,
        compared: Result<Compared, SiteError>,
    ) {
        match compared {
            Ok(compared) => report.add(feature, mode, what, &compared, self.gaps),
            // What has no answer in the model has none to compare.
            Err(SiteError::Unknown(_) | SiteError::Ask(_)) => report.add_unknown(feature, mode),
            Err(SiteError::Lacking(why)) => {
                report.lacking.insert(format!("{mode}, {feature}"), why);
            }
            Err(error) => failed(report, what, error.to_string()),
        }
    }
}

/// Sends a flow through both. One that is different is sent once more, and that counts: of what a busy kernel tells of rules, now and
/// then a line is lost.
fn compared(site: &mut Site, question: &Question) -> Result<Compared, SiteError> {
    let compared = site.compare(question)?;
    if compared.agrees() { Ok(compared) } else { site.compare(question) }
}

fn failed(report: &mut Report, what: &str, error: String) {
    report.failures.push(Failure { what: what.into(), differences: vec![error] });
}
