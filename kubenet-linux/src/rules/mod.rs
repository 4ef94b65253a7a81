//! Rulesets: loaded and listed with the tools of the machine, one transaction for each change.
//!
//! In: a change of `nft`, `iptables`, `ipset` or `ipvsadm`. Out: its text, fed to the tool. A tool that says no is asked what is there,
//! and is then told only what is left to do, once: so a change may be done again.

mod feed;
mod list;

use std::sync::Arc;

use std::sync::OnceLock;

use kubenet_core::addr::Family;
use kubenet_core::origin::Origin;
use kubenet_core::plan::{
    Change, MachinePlan, Netfilter, Netns as NetnsPlan, Ruleset, What, XtChange, apply, diff, same, xt,
};

use crate::kernel::Error;
use crate::netns::Netns;
use crate::tool::{self, ToolError};

/// Which tools are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// Which `iptables` is used.
    pub xt: XtTools,
}

/// The two kinds of `iptables`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XtTools {
    /// `iptables-nft`: rules of nf_tables in the words of `iptables`.
    Nft,
    /// `iptables-legacy`.
    Legacy,
    /// What is called `iptables`.
    Plain,
}

impl XtTools {
    fn name(self, family: Family, verb: &str) -> String {
        let six = if family == Family::V6 { "6" } else { "" };
        let kind = match self {
            Self::Nft => "-nft",
            Self::Legacy => "-legacy",
            Self::Plain => "",
        };
        format!("ip{six}tables{kind}-{verb}")
    }
}

/// Whether the kernel takes a table of nf_tables. It is asked once.
fn has_nf_tables() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    let ask = || {
        let refused = |error: &ToolError| matches!(error, ToolError::Failed { said, .. } if said.contains("not supported"));
        let Ok(netns) = Netns::unnamed() else { return true };
        let asked = tool::run(&netns, "nft", &["-c", "-f", "-"], "add table ip kubenet-probe\n");
        !asked.is_err_and(|error| refused(&error))
    };
    *ANSWER.get_or_init(ask)
}

/// A plan's virtual servers hand their connections to conntrack, as kube-proxy wants it (`net.ipv4.vs.conntrack`,
/// `ipvs-sysctl.rst`). Where the kernel cannot, the setting is not there.
fn track_ipvs(netns: &Netns) {
    let _ = netns.run(|| std::fs::write("/proc/sys/net/ipv4/vs/conntrack", "1"));
}

impl Tools {
    /// Those that are installed; of two kinds of `iptables`, that of nf_tables where the kernel has it.
    pub fn probe() -> Self {
        let installed = |kind: &&XtTools| {
            tool::is_installed(&kind.name(Family::V4, "restore"))
                && (**kind != XtTools::Nft || has_nf_tables())
        };
        let xt = [XtTools::Nft, XtTools::Legacy].iter().find(installed).copied();
        Self { xt: xt.unwrap_or(XtTools::Plain) }
    }

    /// Does a change.
    pub(crate) fn apply(&self, netns: &Netns, change: &Change) -> Result<(), Error> {
        let told = |error: &ToolError| Error::tool(change, error);
        let first = match &change.what {
            What::Xt(xt) if xt.tables.iter().any(|table| !table.builtin.is_empty()) => {
                // Rules among others' rules: those that are there are not put there again.
                let there = self.list_xt(netns, xt.family).map_err(|error| told(&error))?;
                self.feed(netns, &What::Xt(left_to_do(xt, &there)))
            }
            what => self.feed(netns, what),
        };
        let Err(error @ ToolError::Failed { .. }) = first else {
            return first.map_err(|error| told(&error));
        };
        let there = self.list(netns, &change.what).map_err(|_| told(&error))?;
        rest(change, there).iter().try_for_each(|what| self.feed(netns, what)).map_err(|_| told(&error))
    }

    fn feed(&self, netns: &Netns, what: &What) -> Result<(), ToolError> {
        match what {
            What::Nft(change) => {
                let text = feed::nft(change);
                tool::run(netns, "nft", &["-f", "-"], &text).map(drop)
            }
            What::Xt(change) => {
                let text = feed::xt(change, self.xt);
                if text.is_empty() {
                    return Ok(());
                }
                let program = self.xt.name(change.family, "restore");
                tool::run(netns, &program, &["--noflush", "--wait", "5"], &text).map(drop)
            }
            What::Ipset(change) => {
                let text = feed::ipset(change);
                if !text.is_empty() {
                    tool::run(netns, "ipset", &["restore", "-exist"], &text)?;
                }
                change.removed.iter().try_for_each(|name| self.destroy(netns, name))
            }
            What::Ipvs(change) => {
                track_ipvs(netns);
                tool::run(netns, "ipvsadm", &["--restore"], &feed::ipvs(change)).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// A set that is not there is gone.
    fn destroy(&self, netns: &Netns, name: &str) -> Result<(), ToolError> {
        match tool::run(netns, "ipset", &["destroy", name], "") {
            Err(ToolError::Failed { said, .. }) if said.contains("does not exist") => Ok(()),
            done => done.map(drop),
        }
    }
}

/// A namespace that has only these rules.
fn with_rules(rules: Ruleset) -> MachinePlan {
    let mut netns = NetnsPlan::new("", Origin::implied("observed"));
    netns.netfilter = Netfilter::Whole(Arc::new(rules));
    netns.into()
}

/// What a change still has to do where these rules are.
fn rest(change: &Change, there: Ruleset) -> Vec<What> {
    let before = with_rules(there);
    let mut after = before.clone();
    let here = Change { netns: "".into(), what: change.what.clone() };
    apply(&mut after, &here);
    // The name of a machine's own namespace is empty.
    for netns in after.netns.iter_mut() {
        netns.name = "".into();
    }
    diff(Some(&before), &after).into_iter().map(|change| change.what).collect()
}

/// The same change without rules of built-in chains that are there already, and without taking away those that are not.
fn left_to_do(change: &XtChange, there: &[xt::Table]) -> XtChange {
    let mut change = change.clone();
    for edit in &mut change.tables {
        let table = there.iter().find(|table| table.name == edit.table);
        for builtin in &mut edit.builtin {
            let chain = table.and_then(|table| table.chain(&builtin.chain));
            let rules = chain.map_or(&[][..], |chain| &chain.rules);
            let is_there = |rule: &xt::Rule| rules.iter().any(|other| same::xt_rules(rule, other));
            let ours =
                rules.iter().filter(|rule| builtin.inserted.iter().any(|new| same::xt_rules(rule, new)));
            let done = ours.clone().count() == builtin.inserted.len()
                && ours.zip(&builtin.inserted).all(|(old, new)| same::xt_rules(old, new));
            builtin.removed.retain(|rule| {
                is_there(rule) && !(done && builtin.inserted.iter().any(|new| same::xt_rules(rule, new)))
            });
            if done {
                builtin.inserted.clear();
            } else {
                let again = builtin.inserted.iter().filter(|rule| is_there(rule));
                let again: Vec<xt::Rule> = again
                    .filter(|rule| !builtin.removed.iter().any(|old| same::xt_rules(old, rule)))
                    .cloned()
                    .collect();
                builtin.removed.extend(again);
            }
        }
        edit.builtin.retain(|it| it.policy.is_some() || !it.removed.is_empty() || !it.inserted.is_empty());
    }
    change
        .tables
        .retain(|edit| !edit.chains.is_empty() || !edit.removed.is_empty() || !edit.builtin.is_empty());
    change
}
