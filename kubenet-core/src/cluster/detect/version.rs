//! The version of kube-proxy: only noted, since one version is modelled.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Claims;
use crate::assume::PROXY_VERSION;
use crate::cluster::Setting;
use crate::origin::Diagnostic;

/// Keeps the value that is modelled, and says what is seen.
pub(super) fn settle(claims: Claims<String>, setting: &mut Setting<String>, log: &mut Vec<Diagnostic>) {
    let Some(best) = claims.best() else { return };
    let (value, origin) = (String::from(PROXY_VERSION), best.origin.clone());
    if is_modelled(&best.value) {
        *setting = Setting::detected(value, best.because.clone(), origin);
        return;
    }
    let because = format!("{}; kube-proxy is modelled as {PROXY_VERSION}", best.because);
    let message = format!("{}; Services are modelled as kube-proxy {PROXY_VERSION} does them", best.because);
    log.push(Diagnostic::note("proxy-version", message).from_origin(&best.origin));
    *setting = Setting::detected(value, because, origin);
}

/// `v1.36.2+k3s1` is 1.36.
fn is_modelled(version: &str) -> bool {
    let plain = version.trim_start_matches('v');
    let rest = plain.strip_prefix(PROXY_VERSION);
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}
