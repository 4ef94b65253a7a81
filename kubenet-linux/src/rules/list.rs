//! Rulesets as the tools list them.

use kubenet_core::addr::Family;
use kubenet_core::plan::{Ruleset, What, nft, xt};
use kubenet_core::text::{ipset, iptables_save, ipvsadm, nft as nft_text};

use super::Tools;
use crate::netns::Netns;
use crate::tool::{self, ToolError};

/// What was listed, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) rules: Ruleset,
    pub(crate) warnings: Vec<String>,
}

impl Tools {
    /// All rules of a namespace. A tool that is not there, or that this kernel has nothing for, is told.
    pub(crate) fn list_all(&self, netns: &Netns) -> Listed {
        let mut out = Listed::default();
        let mut take = |what: &str, listed: Result<(), ToolError>| {
            if let Err(error) = listed {
                out.warnings.push(format!("{what} not observed: {error}"));
            }
        };
        let mut rules = Ruleset::default();
        for family in [Family::V4, Family::V6] {
            take("rules of iptables", self.list_xt(netns, family).map(|tables| rules.xt.extend(tables)));
        }
        take("rules of nft", list_nft(netns).map(|tables| rules.nft = tables));
        take("sets", list_ipset(netns).map(|sets| rules.ipsets = sets));
        take("virtual servers", list_ipvs(netns).map(|servers| rules.ipvs = servers));
        drop_doubles(&mut rules);
        out.rules = rules;
        out
    }

    /// The rules that a change is about.
    pub(super) fn list(&self, netns: &Netns, what: &What) -> Result<Ruleset, ToolError> {
        let mut rules = Ruleset::default();
        match what {
            What::Xt(change) => rules.xt = self.list_xt(netns, change.family)?,
            What::Nft(_) => rules.nft = list_nft(netns)?,
            What::Ipset(_) => rules.ipsets = list_ipset(netns)?,
            What::Ipvs(_) => rules.ipvs = list_ipvs(netns)?,
            _ => {}
        }
        Ok(rules)
    }

    pub(super) fn list_xt(&self, netns: &Netns, family: Family) -> Result<Vec<xt::Table>, ToolError> {
        let text = tool::run(netns, &self.xt.name(family, "save"), &[], "")?;
        Ok(iptables_save::parse(&text, "iptables-save", family).items)
    }
}

fn list_nft(netns: &Netns) -> Result<Vec<nft::Table>, ToolError> {
    let text = tool::run(netns, "nft", &["list", "ruleset"], "")?;
    Ok(nft_text::parse(&text, "nft").items)
}

fn list_ipset(netns: &Netns) -> Result<Vec<std::sync::Arc<kubenet_core::plan::IpSet>>, ToolError> {
    let text = tool::run(netns, "ipset", &["save"], "")?;
    Ok(ipset::parse(&text, "ipset").items.into_iter().map(Into::into).collect())
}

fn list_ipvs(netns: &Netns) -> Result<Vec<std::sync::Arc<kubenet_core::plan::VirtualServer>>, ToolError> {
    // A kernel without ip_vs has no virtual servers; the tool would ask for the module.
    if !std::path::Path::new("/proc/net/ip_vs").exists() {
        return Ok(Vec::new());
    }
    let text = tool::run(netns, "ipvsadm", &["-S", "-n"], "")?;
    Ok(ipvsadm::parse(&text, "ipvsadm").items.into_iter().map(Into::into).collect())
}

/// Tables of `iptables-nft` are listed by `nft` too; what its own tool says of them is better.
fn drop_doubles(rules: &mut Ruleset) {
    let xt = &rules.xt;
    rules.nft.retain(|table| {
        let family = match table.family {
            nft::TableFamily::Ip => Family::V4,
            nft::TableFamily::Ip6 => Family::V6,
            nft::TableFamily::Inet
            | nft::TableFamily::Arp
            | nft::TableFamily::Bridge
            | nft::TableFamily::Netdev => {
                return true;
            }
        };
        !xt.iter().any(|other| other.family == family && other.name == table.name)
    });
}
