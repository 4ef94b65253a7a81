//! Arguments of the control plane's programs, of kube-proxy and of k3s.
//!
//! | program | options |
//! |---|---|
//! | kube-apiserver | `--service-cluster-ip-range` |
//! | kube-controller-manager | `--cluster-cidr`, `--service-cluster-ip-range`, `--node-cidr-mask-size`, `-ipv4`, `-ipv6` |
//! | kube-proxy | `--proxy-mode`, `--cluster-cidr`; with `--config` they do not count (`cmd/kube-proxy/app/options.go`) |

use alloc::format;
use alloc::string::String;

use super::agent::{image, image_is, option};
use super::{Agent, Claim, Claims, Found, Rank};
use crate::assume::ProxyMode;
use crate::k8s::types::Container;
use crate::origin::Origin;

/// Reads an agent's arguments.
pub(super) fn read(agent: &Agent<'_>, found: &mut Found) {
    for container in agent.containers() {
        let is = |name: &str| &*container.name == name || runs(container, name);
        let says = Says { agent, container };
        if is("kube-apiserver") {
            says.ranges("service-cluster-ip-range", &mut found.service_cidr);
        } else if is("kube-controller-manager") {
            says.ranges("cluster-cidr", &mut found.cluster_cidr);
            says.ranges("service-cluster-ip-range", &mut found.service_cidr);
            says.number("node-cidr-mask-size", &mut found.mask_v4);
            says.number("node-cidr-mask-size-ipv4", &mut found.mask_v4);
            says.number("node-cidr-mask-size-ipv6", &mut found.mask_v6);
        } else if is("kube-proxy") {
            kube_proxy(&says, found);
        }
    }
}

/// Whether a container's image is that of a program; older images are named after their architecture too.
fn runs(container: &Container, name: &str) -> bool {
    image_is(container, name)
        || ["amd64", "arm64"].iter().any(|arch| image_is(container, &format!("{name}-{arch}")))
}

struct Says<'a> {
    agent: &'a Agent<'a>,
    container: &'a Container,
}

impl Says<'_> {
    fn claim<T>(&self, name: &str, said: &str, value: T) -> Claim<T> {
        Claim {
            value,
            because: format!("{} runs with --{name}={said}", self.agent.shown()),
            origin: self.agent.origin.clone(),
            rank: Rank::Running,
        }
    }

    fn ranges(&self, name: &str, claims: &mut Claims<alloc::vec::Vec<ipnet::IpNet>>) {
        if let Some(said) = option(self.container, name) {
            let value = super::nets(said);
            if !value.is_empty() {
                claims.add(self.claim(name, said, value));
            }
        }
    }

    fn number(&self, name: &str, claims: &mut Claims<u8>) {
        if let Some(said) = option(self.container, name)
            && let Ok(value) = said.parse::<u8>()
            && (1..=128).contains(&value)
        {
            claims.add(self.claim(name, said, value));
        }
    }
}

fn kube_proxy(says: &Says<'_>, found: &mut Found) {
    let (agent, container) = (says.agent, says.container);
    // Where Calico handles Services, this selector keeps kube-proxy off every node.
    if agent.spec.node_selector.contains_key("non-calico") {
        return;
    }
    found.kube_proxy.get_or_insert_with(|| agent.origin.clone());
    if let (_, Some(tag)) = image(container)
        && tag.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit())
    {
        found.proxy_version.add(Claim {
            value: tag.into(),
            because: format!("{} runs kube-proxy {tag}", agent.shown()),
            origin: agent.origin.clone(),
            rank: Rank::Running,
        });
    }
    if option(container, "config").is_some() {
        return;
    }
    says.ranges("cluster-cidr", &mut found.cluster_cidr);
    if let Some(name) = option(container, "ipvs-scheduler").filter(|name| !name.is_empty()) {
        found.ipvs_scheduler.add(says.claim("ipvs-scheduler", name, name.into()));
    }
    match option(container, "proxy-mode") {
        Some(said) if !said.is_empty() => {
            if let Ok(mode) = said.to_ascii_lowercase().parse() {
                found.proxy_mode.add(says.claim("proxy-mode", said, mode));
            }
        }
        // Only a command that is there can lack an option.
        _ if !container.command.is_empty() || !container.args.is_empty() => {
            let because = format!("{} runs without --proxy-mode, which means iptables", agent.shown());
            default_mode(because, agent.origin, found);
        }
        _ => {}
    }
}

/// kube-proxy's mode on Linux where none is said (`getProxyMode`, since 1.2).
pub(super) fn default_mode(because: String, origin: &Origin, found: &mut Found) {
    found.proxy_mode.add(Claim {
        value: ProxyMode::Iptables,
        because,
        origin: origin.clone(),
        rank: Rank::Running,
    });
}
