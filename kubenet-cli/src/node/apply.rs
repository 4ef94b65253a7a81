//! `kubenet apply`.

use std::sync::Arc;

use anyhow::{Context, bail};
use kubenet_core::plan::{Change, LinkKind, MachinePlan, PlanSource as _, What};
use kubenet_linux::{Error, Kernel as _, Netlink, NoWiring, Observe as _, Others, difference, undo};

use super::args::ApplyArgs;
use super::place;
use crate::input;
use crate::output::{self, Out, clean};

pub(crate) fn apply(args: &ApplyArgs, out: &mut Out) -> anyhow::Result<u8> {
    if !args.input.dump.is_empty() {
        bail!("--dump: a node is made as the manifests call for, not as one was seen");
    }
    let network = input::network(&args.input)?;
    if network.has_errors() {
        bail!("the input has errors: nothing is changed");
    }
    let plans = network.plans();
    let id = network.cluster().node_named(&args.node).and_then(|_| plans.machine_named(&args.node));
    let names = || network.cluster().nodes.iter().map(|node| &*node.name).collect::<Vec<_>>().join(", ");
    let plan = id
        .and_then(|id| plans.machine(id))
        .with_context(|| format!("--node {}: the cluster's nodes are {}", args.node, names()))?;
    let (netns, _) = place::of(&args.place)?;
    let others = Others::of_node(&args.node);
    let kernel = Netlink::new(&*args.node, netns, others.clone(), Box::new(NoWiring));
    let mut node = Node { kernel, others, plan, undo: args.undo };
    match node.apply(args.yes, out) {
        Ok(status) => Ok(status),
        // What the kernel says is no fault of the input.
        Err(error) => match error.downcast::<Error>() {
            Ok(refused) => {
                output::error(&refused.into());
                Ok(1)
            }
            Err(error) => Err(error),
        },
    }
}

struct Node {
    kernel: Netlink,
    others: Others,
    plan: Arc<MachinePlan>,
    undo: bool,
}

impl Node {
    fn apply(&mut self, is_wanted: bool, out: &mut Out) -> anyhow::Result<u8> {
        let name = self.plan.name.clone();
        let (changes, cannot) = self.left()?;
        for why in self.kernel.take_warnings().into_iter().chain(cannot) {
            output::note(&why);
        }
        if let Some(card) = changes.iter().find_map(card) {
            bail!(
                "node {name} has a card {card}, which is not in this namespace: kubenet makes none, so it must be there first"
            );
        }
        let count = format!("{} change{}", changes.len(), if changes.len() == 1 { "" } else { "s" });
        if changes.is_empty() {
            out.line(&clean(&format!("{name}: nothing to change")))?;
            return Ok(0);
        }
        if !is_wanted {
            for change in &changes {
                let text = self.named(change).to_string();
                text.lines().try_for_each(|line| out.line(&clean(line)))?;
            }
            output::note(&format!("{count}, none of them done: --yes does them"));
            return Ok(0);
        }
        self.kernel.apply(&changes)?;
        let mut told = self.kernel.take_warnings();
        told.dedup();
        told.iter().for_each(|why| output::note(why));
        let (left, _) = self.left()?;
        for change in &left {
            output::note(&format!("it is not so afterwards: {}", self.named(change)));
        }
        let word = if left.is_empty() { "done" } else { "tried" };
        out.line(&clean(&format!("{name}: {count} {word}")))?;
        Ok(u8::from(!left.is_empty()))
    }

    /// What is to be changed, and why what else differs cannot be.
    fn left(&mut self) -> Result<(Vec<Change>, Vec<String>), Error> {
        let observed = self.kernel.observe()?;
        let mut changes = match self.undo {
            true => undo(&observed, &[&self.plan]),
            false => difference(&observed, &[], &self.plan),
        };
        let mut cannot = Vec::new();
        changes.retain(|change| {
            let why = self.kernel.cannot(change);
            let can = why.is_none();
            cannot.extend(why);
            can
        });
        Ok((changes, cannot))
    }

    /// The same change with the names that the namespaces have for `ip netns`.
    fn named(&self, change: &Change) -> Change {
        let mut change = change.clone();
        let name = |netns: &mut Arc<str>| {
            if let (false, Some(file)) = (netns.is_empty(), self.others.path(netns).file_name()) {
                *netns = file.to_string_lossy().into();
            }
        };
        name(&mut change.netns);
        if let What::AddLink { peer: Some(peer), .. } = &mut change.what {
            name(&mut peer.netns);
        }
        change
    }
}

/// The card that a change would make.
fn card(change: &Change) -> Option<Arc<str>> {
    let What::AddLink { link, .. } = &change.what else { return None };
    matches!(link.kind, LinkKind::Nic { .. }).then(|| link.name.clone())
}
