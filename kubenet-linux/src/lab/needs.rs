//! What a lab cannot do without on this machine: looked at before anything is made, and said in one sentence.

use std::path::Path;

use kubenet_core::plan::MachinePlan;

/// Something that is not here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// A program.
    #[error("{program} is not installed, and {what} needs it (on Debian: apt install {package})")]
    Program {
        /// Its name.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
        /// Who needs it.
        what: String,
    },
    /// IPVS.
    #[error(
        "this kernel has no IPVS (module ip_vs is not loaded), and {what} needs it: modprobe ip_vs, or use another --proxy-mode"
    )]
    Ipvs {
        /// Who needs it.
        what: String,
    },
}

/// A program under any of its names, and the package that has it.
struct Program {
    any_of: &'static [&'static str],
    package: &'static str,
}

const IPTABLES: Program =
    Program { any_of: &["iptables-nft-restore", "iptables-legacy-restore"], package: "iptables" };
const NFT: Program = Program { any_of: &["nft"], package: "nftables" };
const IPSET: Program = Program { any_of: &["ipset"], package: "ipset" };
const IPVSADM: Program = Program { any_of: &["ipvsadm"], package: "ipvsadm" };

/// What one of these machines needs and this one has not.
pub(super) fn missing<'a>(machines: impl Iterator<Item = &'a MachinePlan>) -> Option<Missing> {
    let has_ipvs = Path::new("/proc/net/ip_vs").exists();
    missing_where(machines, &crate::tool::is_installed, has_ipvs)
}

fn missing_where<'a>(
    machines: impl Iterator<Item = &'a MachinePlan>,
    is_installed: &dyn Fn(&str) -> bool,
    has_ipvs: bool,
) -> Option<Missing> {
    for machine in machines {
        for netns in &machine.netns {
            let Some(rules) = netns.netfilter.ruleset() else { continue };
            let what = || match &*netns.name {
                "" => machine.name.to_string(),
                pod => pod.to_owned(),
            };
            let needed = [
                (!rules.xt.is_empty(), IPTABLES),
                (!rules.nft.is_empty(), NFT),
                (!rules.ipsets.is_empty(), IPSET),
                (netns.netfilter.has_ipvs(), IPVSADM),
            ];
            let needed = needed.into_iter().filter_map(|(is_needed, program)| is_needed.then_some(program));
            for Program { any_of, package } in needed {
                if let Some(program) = any_of.first().copied()
                    && !any_of.iter().any(|program| is_installed(program))
                {
                    return Some(Missing::Program { program, package, what: what() });
                }
            }
            if netns.netfilter.has_ipvs() && !has_ipvs {
                return Some(Missing::Ipvs { what: what() });
            }
        }
    }
    None
}

/// What this kernel will not do as the plan says, though the rest works: in words.
pub(super) fn gaps<'a>(machines: impl Iterator<Item = &'a MachinePlan>) -> Vec<String> {
    let mut gaps = Vec::new();
    let has_bridge_netfilter = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists();
    let mut netns = machines.flat_map(|machine| &machine.netns).peekable();
    if !has_bridge_netfilter && netns.any(|netns| netns.sysctls.bridge_nf_call_iptables) {
        gaps.push(
            "bridged packets pass no rules: this kernel has no br_netfilter (modprobe br_netfilter)".into(),
        );
    }
    gaps
}

#[cfg(test)]
mod tests {
    use kubenet_core::network::Network;
    use kubenet_core::plan::{MachineId, PlanSource as _};

    use super::*;

    fn node(mode: &str) -> MachinePlan {
        let service = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}}";
        let mut network = Network::from_text("web.yaml", service);
        let mut assume = network.assume().clone();
        assume.set("proxyMode", mode).expect("a mode");
        network = network.with_assume(assume);
        network.plans().machine(MachineId(0)).expect("a node").as_ref().clone()
    }

    #[test]
    fn what_the_mode_needs_is_named_with_its_package() {
        let cases = [
            ("iptables", "iptables-nft-restore"),
            ("nftables", "nft"),
            ("ipvs", "ipset"),
            ("ipvs", "ipvsadm"),
        ];
        for (mode, program) in cases {
            let has_others = |name: &str| name != program && name != "iptables-legacy-restore";
            let missing = missing_where([node(mode)].iter(), &has_others, true).expect("something");
            let words = missing.to_string();
            assert!(words.starts_with(&format!("{program} is not installed, and node-1")), "{mode}: {words}");
        }
        let is_legacy = |name: &str| name == "iptables-legacy-restore";
        assert_eq!(missing_where([node("iptables")].iter(), &is_legacy, true), None);
    }

    #[test]
    fn ipvs_needs_a_kernel_that_has_it() {
        let missing = |has_ipvs| missing_where([node("ipvs")].iter(), &|_| true, has_ipvs);
        assert_eq!(missing(false), Some(Missing::Ipvs { what: "node-1".into() }));
        assert_eq!(missing(true), None);
    }
}
