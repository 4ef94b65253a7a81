//! Rulesets as the tools list them.

use kubenet_core::addr::Family;
use kubenet_core::plan::{Ruleset, What, nft, xt};
use kubenet_core::text::{ipset, iptables_save, ipvsadm, nft as nft_text};

use super::Tools;
use crate::netns::Netns;
use crate::tool::{self, ToolError};

impl Tools {
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
