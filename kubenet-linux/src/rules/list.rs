//! Rulesets as the tools list them.

use kubenet_core::addr::Family;
use kubenet_core::plan::{Ruleset, What, nft, xt};
use kubenet_core::text::{ipset, iptables_save, ipvsadm, nft as nft_text};

use super::{Tools, XtTools};
use crate::netns::Netns;
use crate::tool::{self, ToolError};

/// What was listed, and what could not be.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) rules: Ruleset,
    pub(crate) warnings: Vec<String>,
}

impl Tools {
    /// All rules of a namespace. A tool that is not there, or that this kernel has nothing for, is told. `tables`: whether there may be any
    /// of `nft` or `iptables`; `sets`: whether sets and virtual servers are asked for.
    pub(crate) fn list_all(&self, netns: &Netns, tables: bool, sets: bool) -> Listed {
        let mut warnings = Vec::new();
        let mut take = |what: &str, listed: Result<(), ToolError>| {
            if let Err(error) = listed {
                warnings.push(format!("{what} are not observed: {error}"));
            }
        };
        let mut rules = Ruleset::default();
        if tables {
            let listed = list_nft(netns).map(|tables| rules.nft = tables);
            for family in [Family::V4, Family::V6] {
                if listed.is_err() || self.may_have_xt(&rules.nft, family) {
                    let xt = self.list_xt(netns, family);
                    take("rules of iptables", xt.map(|tables| rules.xt.extend(tables)));
                }
            }
            take("rules of nft", listed);
        }
        if sets {
            take("sets of ipset", list_ipset(netns).map(|sets| rules.ipsets = sets));
            take("virtual servers", list_ipvs(netns).map(|servers| rules.ipvs = servers));
        }
        drop_doubles(&mut rules);
        Listed { rules, warnings }
    }

    /// Whether there can be tables of `iptables` in a family, where these are those of `nft`. Those of `iptables-nft` are among them.
    fn may_have_xt(&self, tables: &[nft::Table], family: Family) -> bool {
        self.xt != XtTools::Nft || tables.iter().any(|table| family_of(table) == Some(family))
    }

    /// What the tools print of a namespace, each by the name of its file in a dump.
    pub(crate) fn print_all(&self, netns: &Netns) -> Vec<(&'static str, Result<String, ToolError>)> {
        let run = |program: &str, arguments: &[&str]| tool::run(netns, program, arguments, "");
        let save = |family| run(&self.xt.name(family, "save"), &[]);
        vec![
            ("iptables-save.txt", save(Family::V4)),
            ("ip6tables-save.txt", save(Family::V6)),
            ("nft-list-ruleset.txt", run("nft", &["list", "ruleset"])),
            ("ipset-save.txt", run("ipset", &["save"])),
            ("ipvsadm.txt", print_ipvs(netns)),
            ("conntrack.txt", run("conntrack", &["-L"])),
        ]
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
    let text = print_ipvs(netns)?;
    Ok(ipvsadm::parse(&text, "ipvsadm").items.into_iter().map(Into::into).collect())
}

/// A kernel without ip_vs has no virtual servers; the tool would ask for the module.
fn print_ipvs(netns: &Netns) -> Result<String, ToolError> {
    if !std::path::Path::new("/proc/net/ip_vs").exists() {
        return Ok(String::new());
    }
    tool::run(netns, "ipvsadm", &["-S", "-n"], "")
}

/// Tables of `iptables-nft` are listed by `nft` too; what its own tool says of them is better.
fn drop_doubles(rules: &mut Ruleset) {
    let xt = &rules.xt;
    rules.nft.retain(|table| {
        let family = family_of(table);
        !xt.iter().any(|other| Some(other.family) == family && other.name == table.name)
    });
}

/// The family of `iptables` that a table can be of.
const fn family_of(table: &nft::Table) -> Option<Family> {
    match table.family {
        nft::TableFamily::Ip => Some(Family::V4),
        nft::TableFamily::Ip6 => Some(Family::V6),
        nft::TableFamily::Inet
        | nft::TableFamily::Arp
        | nft::TableFamily::Bridge
        | nft::TableFamily::Netdev => None,
    }
}
